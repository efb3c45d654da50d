//! TensorRT as a contestant.

use super::arguments::Query;
use super::{Trtexec, output};
use crate::compare::contestant::{Burst, BurstLength, Contestant, Failure, Memory, Started};
use crate::compare::gpu_memory::gpu_bytes;
use crate::compare::job::Job;
use crate::compare::protocol::Run;
use crate::compare::raw;
use crate::process::{Ended, Program};
use crate::weights::Precision;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

// Relative to the folder that trtexec is run in: colons and commas in a path would be read as parts
// of its lists.
const ENGINE: &str = "trtexec.plan";
const INPUTS: &str = "trtexec.inputs.f32";
const OUTPUTS: &str = "trtexec.outputs.json";
const TIMES: &str = "trtexec.times.json";

/// Looks at a process's memory between looks at the GPU's.
const LOOKS: usize = 25;

/// TensorRT behind trtexec. Each step is a process of its own.
pub struct TrtexecContestant {
    job: Rc<Job>,
    path: PathBuf,
    opened: Option<(Trtexec, Query)>,
    /// The logits of the first batch, which the starts have given.
    first_logits: Vec<f32>,
    memory: Memory,
    /// Whether a timing ran without a CUDA graph.
    graph_missing: bool,
}

impl TrtexecContestant {
    /// A contestant that was not started yet.
    pub fn new(job: &Rc<Job>, path: &Path) -> TrtexecContestant {
        TrtexecContestant {
            job: job.clone(),
            path: path.to_owned(),
            opened: None,
            first_logits: Vec::new(),
            memory: Memory::default(),
            graph_missing: false,
        }
    }

    fn opened(&self, step: &str) -> Result<(Trtexec, Query), Failure> {
        self.opened.clone().ok_or_else(|| Failure::new(step, "not started"))
    }

    /// Runs trtexec to its end, which has to be a good one.
    fn run(
        &self,
        step: &str,
        arguments: &[String],
        look: impl FnMut(u32),
    ) -> Result<Ended, Failure> {
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(self.job.folder());
        let program = Program::start(command)
            .map_err(|error| Failure::new(step, format!("{}: {error}", self.path.display())))?;
        let ended = program.finish(step, self.job.options.timeout, look)?;
        if !ended.status.success() {
            return Err(failed(step, &ended, format!("trtexec failed ({})", ended.status)));
        }
        Ok(ended)
    }

    /// Writes a batch of inputs, by its number, for the next step.
    fn write_batch(&self, inputs: &[f32], index: usize) -> Result<(), Failure> {
        let elems = inputs.len() / self.job.images * self.job.options.batch;
        let batch = &inputs[index * elems..(index + 1) * elems];
        raw::write_f32(&self.job.path(INPUTS), batch)
            .map_err(|error| Failure::new("writing a batch of inputs", error))
    }

    fn inputs(&self) -> Result<Vec<f32>, Failure> {
        let elems = self.job.images * self.job.options.size.pixels() * 3;
        raw::read_f32(&self.job.path(Job::INPUTS_NCHW), elems)
            .map_err(|error| Failure::new("reading the inputs", error))
    }

    /// One query of the batch that [`write_batch`](Self::write_batch) wrote: its logits, and the
    /// time that the process took.
    fn query(&self, trtexec: &Trtexec, query: &Query) -> Result<(Vec<f32>, Duration), Failure> {
        const STEP: &str = "answering the inputs";
        let arguments = trtexec.version.answer(query, [ENGINE, INPUTS, OUTPUTS]);
        let _ = fs::remove_file(self.job.path(OUTPUTS));
        let ended = self.run(STEP, &arguments, |_| {})?;
        let elems = self.job.options.batch * self.job.classes();
        let logits = self.read(STEP, OUTPUTS, &ended).and_then(|text| {
            output::output(&text, "logits", elems).map_err(|message| failed(STEP, &ended, message))
        })?;
        Ok((logits, ended.wall))
    }

    /// The text of a file that a step was to write.
    fn read(&self, step: &str, name: &str, ended: &Ended) -> Result<String, Failure> {
        fs::read_to_string(self.job.path(name)).map_err(|error| {
            failed(step, ended, format!("expected trtexec to write {name}, found none: {error}"))
        })
    }
}

fn failed(step: &str, ended: &Ended, message: String) -> Failure {
    Failure { step: step.to_owned(), message, last_lines: ended.last_lines.clone() }
}

impl Contestant for TrtexecContestant {
    fn name(&self) -> &str {
        "trtexec"
    }

    fn start(&mut self) -> Result<Started, Failure> {
        const STEP: &str = "building the engine";
        let options = &self.job.options;
        let trtexec = Trtexec::open(&self.path, options.timeout)?;
        self.path.clone_from(&trtexec.path);
        let version = trtexec.version;
        let query = Query {
            input: "input".to_owned(),
            shape: [options.batch, 3, options.size.h, options.size.w],
            dynamic_batch: options.dynamic_batch,
            compute: options.compute,
            gpu: self.job.gpu(),
        };
        let typed = version.onnx_precision(options.compute);
        let onnx = self.job.onnx(typed).map_err(|error| Failure::new(STEP, error))?;
        let ended = self.run(STEP, &version.build(&query, &onnx, ENGINE), |_| {})?;
        let disk_bytes = fs::metadata(self.job.path(ENGINE))
            .map_err(|error| {
                failed(STEP, &ended, format!("expected an engine in {ENGINE}, found none: {error}"))
            })?
            .len();
        let device = output::device(&ended.text).unwrap_or("GPU").to_owned();
        let build_s = output::built_s(&ended.text).unwrap_or(ended.wall.as_secs_f64());

        self.write_batch(&self.inputs()?, 0)?;
        let mut start_up_ms = Vec::new();
        for _ in 0..options.starts.max(1) {
            let (logits, wall) = self.query(&trtexec, &query)?;
            start_up_ms.push(wall.as_secs_f64() * 1e3);
            self.first_logits = logits;
        }
        let typing = match typed {
            Precision::Fp16 => "strongly typed, from an ONNX file in FP16",
            Precision::Fp32 => "from an ONNX file in FP32",
        };
        self.opened = Some((trtexec, query));
        Ok(Started {
            runtime: format!("TensorRT {version}, trtexec"),
            device,
            precision: self.job.options.compute.to_string(),
            build_ms: build_s * 1e3,
            start_up_ms,
            disk_bytes,
            disk_file: "engine",
            notes: vec![
                typing.to_owned(),
                "latency is copy, network and copy by the GPU's clock, without the host's part; two \
                 queries are in flight, so its throughput overlaps them"
                    .to_owned(),
                "start-up is a whole process with one query, to its end".to_owned(),
            ],
        })
    }

    fn answer(&mut self) -> Result<Vec<f32>, Failure> {
        let (trtexec, query) = self.opened("answering the inputs")?;
        let inputs = self.inputs()?;
        let mut logits = self.first_logits.clone();
        for index in 1..self.job.images / self.job.options.batch {
            self.write_batch(&inputs, index)?;
            logits.extend(self.query(&trtexec, &query)?.0);
        }
        self.write_batch(&inputs, 0)?;
        Ok(logits)
    }

    fn burst(&mut self, length: BurstLength, counts: bool) -> Result<Burst, Failure> {
        const STEP: &str = "timing";
        let (trtexec, query) = self.opened(STEP)?;
        let lengths = [length.warm_up, length.measured];
        let files = [ENGINE, INPUTS, TIMES];
        let arguments = trtexec.version.time(&query, files, lengths, Run::MIN_RUNS);
        let _ = fs::remove_file(self.job.path(TIMES));
        let (mut looks, mut on_gpu) = (0, None);
        let ended = self.run(STEP, &arguments, |process| {
            looks += 1;
            if !counts && looks % LOOKS == 0 {
                on_gpu = on_gpu.max(gpu_bytes(process));
            }
        })?;
        let text = self.read(STEP, TIMES, &ended)?;
        let times = output::times(&text).map_err(|message| failed(STEP, &ended, message))?;
        let qps = output::throughput_qps(&ended.text).ok_or_else(|| {
            failed(STEP, &ended, "expected a line 'Throughput: N qps', found none".to_owned())
        })?;
        self.graph_missing |= !output::captured_graph(&ended.text);
        let Memory { peak_resident_bytes, gpu_bytes } = self.memory;
        self.memory = Memory {
            peak_resident_bytes: peak_resident_bytes.max(ended.peak_bytes),
            gpu_bytes: gpu_bytes.max(on_gpu),
        };
        Ok(Burst {
            latencies_ms: times.iter().map(|query| query.latency_ms).collect(),
            device_ms: times.iter().map(|query| query.compute_ms).collect(),
            images_per_s: qps * self.job.options.batch as f64,
        })
    }

    fn memory(&mut self) -> Memory {
        self.memory
    }

    fn remarks(&self) -> Vec<String> {
        let missing = self.graph_missing;
        let remark =
            "ran without a CUDA graph, at least in part: trtexec did not say that it captured one";
        missing.then(|| remark.to_owned()).into_iter().collect()
    }
}
