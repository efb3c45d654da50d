//! The flags of trtexec, by version and step.
//!
//! | | until 10.x | from 11 |
//! |---|---|---|
//! | FP16 | `--fp16`, which lets TensorRT choose, on a file in FP32 | networks are strongly typed: a file in FP16, and `--fp16` is an error |
//! | CUDA graph, spin-wait | asked for | always |
//! | copies to and from the GPU | always | asked for: `--includeDataTransfers` |
//! | build only | `--buildOnly` before 8.6, then `--skipInference` | `--skipInference` |

use super::Version;
use crate::kernels::Compute;
use crate::weights::Precision;
use std::time::Duration;

/// The network, as trtexec's arguments describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Name of the network's input.
    pub input: String,
    /// Shape of the input, batch first.
    pub shape: [usize; 4],
    /// Whether the ONNX file leaves the batch open.
    pub dynamic_batch: bool,
    /// Precision to compute in.
    pub compute: Compute,
    /// The GPU's number.
    pub gpu: usize,
}

impl Query {
    fn shape_text(&self, batch: usize) -> String {
        let [_, c, h, w] = self.shape;
        format!("{}:{batch}x{c}x{h}x{w}", self.input)
    }

    fn gpu(&self) -> Option<String> {
        (self.gpu != 0).then(|| format!("--device={}", self.gpu))
    }

    /// Arguments of every step with an engine.
    fn with_engine(&self, engine: &str, inputs: &str) -> Vec<String> {
        let mut list = vec![format!("--loadEngine={engine}")];
        list.extend(self.gpu());
        if self.dynamic_batch {
            list.push(format!("--shapes={}", self.shape_text(self.shape[0])));
        }
        list.push(format!("--loadInputs={}:{inputs}", self.input));
        list
    }
}

impl Version {
    const STRONGLY_TYPED: Version = Version { major: 11, minor: 0, patch: 0 };
    const SKIP_INFERENCE: Version = Version { major: 8, minor: 6, patch: 0 };

    /// The type of the tensors in the ONNX file to be given.
    pub fn onnx_precision(self, compute: Compute) -> Precision {
        match compute {
            Compute::Fp16 if self >= Version::STRONGLY_TYPED => Precision::Fp16,
            _ => Precision::Fp32,
        }
    }

    /// Builds an engine from the file `onnx` into the file `engine`.
    pub fn build(self, query: &Query, onnx: &str, engine: &str) -> Vec<String> {
        let mut list = vec![format!("--onnx={onnx}"), format!("--saveEngine={engine}")];
        list.extend(query.gpu());
        let only = if self >= Version::SKIP_INFERENCE { "--skipInference" } else { "--buildOnly" };
        list.push(only.to_owned());
        match query.compute {
            Compute::Fp16 if self < Version::STRONGLY_TYPED => list.push("--fp16".to_owned()),
            Compute::Fp16 | Compute::Tf32 => {}
            // TF32 is on unless it is refused.
            Compute::Fp32 => list.push("--noTF32".to_owned()),
        }
        if query.dynamic_batch {
            list.push(format!("--minShapes={}", query.shape_text(1)));
            list.push(format!("--optShapes={}", query.shape_text(query.shape[0])));
            list.push(format!("--maxShapes={}", query.shape_text(query.shape[0])));
        }
        list
    }

    /// Times queries with the file `inputs` as their input into the file `times`.
    pub fn time(
        self,
        query: &Query,
        [engine, inputs, times]: [&str; 3],
        [warm_up, measured]: [Duration; 2],
        min_queries: usize,
    ) -> Vec<String> {
        let mut list = query.with_engine(engine, inputs);
        list.push(format!("--warmUp={}", warm_up.as_millis()));
        list.push(format!("--duration={}", measured.as_secs_f64()));
        list.push(format!("--iterations={min_queries}"));
        list.push("--infStreams=1".to_owned());
        list.push(format!("--exportTimes={times}"));
        if self >= Version::STRONGLY_TYPED {
            list.push("--includeDataTransfers".to_owned());
        } else {
            list.extend(["--useCudaGraph", "--useSpinWait"].map(str::to_owned));
        }
        list
    }

    /// Answers one query with the file `inputs` as its input into the file `outputs`.
    pub fn answer(self, query: &Query, [engine, inputs, outputs]: [&str; 3]) -> Vec<String> {
        let mut list = query.with_engine(engine, inputs);
        list.extend(["--warmUp=0", "--duration=0", "--iterations=1"].map(str::to_owned));
        list.push(format!("--exportOutput={outputs}"));
        if self >= Version::STRONGLY_TYPED {
            list.push("--includeDataTransfers".to_owned());
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(major: u32, minor: u32) -> Version {
        Version { major, minor, patch: 0 }
    }

    fn query(compute: Compute, dynamic_batch: bool) -> Query {
        let shape = [4, 3, 224, 240];
        Query { input: "input".to_owned(), shape, dynamic_batch, compute, gpu: 0 }
    }

    #[test]
    fn half_precision_is_a_flag_until_10_and_a_file_from_11() {
        let fp16 = query(Compute::Fp16, false);
        for (version, flag, file) in [
            (version(8, 6), true, Precision::Fp32),
            (version(10, 16), true, Precision::Fp32),
            (version(11, 0), false, Precision::Fp16),
        ] {
            let arguments = version.build(&fp16, "m.onnx", "m.plan");
            assert_eq!(arguments.contains(&"--fp16".to_owned()), flag, "{version}");
            assert_eq!(version.onnx_precision(Compute::Fp16), file, "{version}");
            assert_eq!(version.onnx_precision(Compute::Tf32), Precision::Fp32);
        }
    }

    #[test]
    fn single_precision_refuses_tf32_and_tf32_does_not() {
        for version in [version(8, 6), version(10, 0), version(11, 1)] {
            let refused = |compute| {
                let list = version.build(&query(compute, false), "m.onnx", "m.plan");
                list.contains(&"--noTF32".to_owned())
            };
            assert!(refused(Compute::Fp32), "{version}");
            assert!(!refused(Compute::Tf32) && !refused(Compute::Fp16), "{version}");
        }
    }

    #[test]
    fn an_engine_is_built_without_being_run() {
        let last = |version: Version| {
            version.build(&query(Compute::Tf32, false), "m.onnx", "m.plan").pop()
        };
        assert_eq!(last(version(8, 5)).as_deref(), Some("--buildOnly"));
        assert_eq!(last(version(8, 6)).as_deref(), Some("--skipInference"));
        assert_eq!(last(version(11, 4)).as_deref(), Some("--skipInference"));
    }

    #[test]
    fn an_open_batch_is_given_a_range_and_then_a_shape() {
        let (open, fixed) = (query(Compute::Fp32, true), query(Compute::Fp32, false));
        let built = version(10, 0).build(&open, "m.onnx", "m.plan").join(" ");
        assert!(built.contains("--minShapes=input:1x3x224x240"), "{built}");
        assert!(built.contains("--optShapes=input:4x3x224x240"), "{built}");
        assert!(built.contains("--maxShapes=input:4x3x224x240"), "{built}");
        let files = ["m.plan", "in.f32", "out.json"];
        let answer = |query| version(10, 0).answer(query, files).join(" ");
        assert!(answer(&open).contains("--shapes=input:4x3x224x240"));
        assert!(!answer(&fixed).contains("hapes="));
    }

    #[test]
    fn timing_has_copies_and_a_graph_in_every_version() {
        let files = ["m.plan", "in.f32", "times.json"];
        let times = [Duration::from_millis(200), Duration::from_millis(1500)];
        let time = |version: Version| {
            version.time(&query(Compute::Fp16, false), files, times, 10).join(" ")
        };
        let old = time(version(10, 9));
        assert!(old.contains("--warmUp=200 --duration=1.5 --iterations=10"), "{old}");
        assert!(old.ends_with("--useCudaGraph --useSpinWait"), "{old}");
        let strongly_typed = time(version(11, 1));
        assert!(strongly_typed.ends_with("--includeDataTransfers"), "{strongly_typed}");
        assert!(!strongly_typed.contains("--use"), "{strongly_typed}");
    }

    #[test]
    fn another_gpu_is_named_in_every_step() {
        let query = Query { gpu: 2, ..query(Compute::Fp16, false) };
        let version = version(10, 9);
        let second = [Duration::from_secs(1); 2];
        for arguments in [
            version.build(&query, "m.onnx", "m.plan"),
            version.time(&query, ["a", "b", "c"], second, 1),
            version.answer(&query, ["a", "b", "c"]),
        ] {
            assert!(arguments.contains(&"--device=2".to_owned()), "{arguments:?}");
        }
    }
}
