//! The comparison's turns and figures, with made-up contestants, and TensorRT as a contestant, with
//! stand-ins for trtexec.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::compare::comparison::{Entry, Measured};
use effnet::compare::contestant::{Burst, Memory, Started};
use effnet::compare::inputs::random_images;
use effnet::compare::trtexec::TrtexecContestant;
use effnet::compare::{
    BurstLength, CompareError, Contestant, Failure, Job, JobOptions, Outcome, Rounds, measure,
};
use effnet::kernels::Compute;
use effnet::session::Device;
use effnet::weights::Precision;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use support::compare::{trtexec, write_answers};

const SIZE: Size = Size { h: 32, w: 40 };

fn job(folder: &Path, images: usize, options: JobOptions) -> Rc<Job> {
    let mut metadata = support::metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    (metadata.recipe.size, metadata.classes) = (SIZE, 10);
    let weights = Arc::new(support::random_weights(&metadata, 3));
    let inputs = random_images(images, SIZE.pixels() * 3, 5);
    Rc::new(Job::new(weights, options, &inputs, folder).unwrap())
}

fn options(batch: usize, compute: Compute) -> JobOptions {
    JobOptions {
        batch,
        size: SIZE,
        device: Device::Cpu,
        compute,
        threads: 1,
        dynamic_batch: false,
        starts: 2,
        timeout: Duration::from_secs(20),
    }
}

const SHORT: BurstLength =
    BurstLength { warm_up: Duration::from_millis(200), measured: Duration::from_millis(1500) };

/// A contestant with given latencies, one a round; the first is of the round that does not count.
struct MadeUp {
    name: &'static str,
    latencies_ms: Vec<f64>,
    logits: Vec<f32>,
    turns: Rc<RefCell<Vec<&'static str>>>,
}

impl Contestant for MadeUp {
    fn name(&self) -> &str {
        self.name
    }

    fn start(&mut self) -> Result<Started, Failure> {
        Ok(Started {
            runtime: "made up".to_owned(),
            device: "none".to_owned(),
            precision: "fp32".to_owned(),
            build_ms: 7.0,
            start_up_ms: vec![30.0, 10.0, 20.0],
            disk_bytes: 1000,
            disk_file: "nothing",
            notes: vec!["a note".to_owned()],
        })
    }

    fn answer(&mut self) -> Result<Vec<f32>, Failure> {
        Ok(self.logits.clone())
    }

    fn burst(&mut self, length: BurstLength, counts: bool) -> Result<Burst, Failure> {
        assert_eq!(length, SHORT);
        let mut turns = self.turns.borrow_mut();
        assert_eq!(counts, turns.contains(&self.name), "only the first burst does not count");
        turns.push(self.name);
        if self.latencies_ms.is_empty() {
            return Err(Failure::new("timing", "worn out"));
        }
        let ms = self.latencies_ms.remove(0);
        let device_ms = if self.name == "with GPU" { vec![ms / 2.0] } else { Vec::new() };
        Ok(Burst { latencies_ms: vec![ms, ms, 9.0 * ms], device_ms, images_per_s: 1e3 / ms })
    }

    fn memory(&mut self) -> Memory {
        Memory { peak_resident_bytes: Some(5), gpu_bytes: None }
    }

    fn remarks(&self) -> Vec<String> {
        vec!["a remark".to_owned()]
    }
}

struct Field {
    folder: tempfile::TempDir,
    job: Rc<Job>,
    reference: Vec<f32>,
    turns: Rc<RefCell<Vec<&'static str>>>,
}

impl Field {
    fn new() -> Field {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path(), 1, options(1, Compute::Fp32));
        let reference = job.reference().unwrap();
        Field { folder, job, reference, turns: Rc::default() }
    }

    fn contestant(&self, name: &'static str, latencies_ms: &[f64]) -> Box<dyn Contestant> {
        let (logits, turns) = (self.reference.clone(), self.turns.clone());
        Box::new(MadeUp { name, latencies_ms: latencies_ms.to_vec(), logits, turns })
    }

    fn measure(&self, contestants: Vec<Box<dyn Contestant>>) -> Result<Vec<Entry>, CompareError> {
        assert!(self.folder.path().exists());
        measure(&self.job, Rounds { rounds: 3, length: SHORT }, contestants, &mut |_| {})
    }
}

fn measured(entry: &Entry) -> &Measured {
    match &entry.outcome {
        Outcome::Measured(measured) => measured,
        other => panic!("{}: {other:?}", entry.name),
    }
}

fn failure(entry: &Entry) -> &Failure {
    match &entry.outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{}: {other:?}", entry.name),
    }
}

#[test]
fn ratios_are_made_within_rounds_and_the_first_round_does_not_count() {
    let field = Field::new();
    let found = field
        .measure(vec![
            field.contestant("effnet", &[1e9, 10.0, 20.0, 40.0]),
            field.contestant("with GPU", &[1e9, 20.0, 30.0, 120.0]),
        ])
        .unwrap();
    let [ours, other] = &found[..] else { panic!("{found:?}") };
    assert_eq!((ours.name.as_str(), other.name.as_str()), ("effnet", "with GPU"));
    let (ours, other) = (measured(ours), measured(other));
    assert_eq!((ours.latency_ratio, ours.throughput_ratio), (None, None));
    let ratio = other.latency_ratio.unwrap();
    // 20/10, 30/20, 120/40.
    assert_eq!((ratio.min, ratio.median, ratio.max), (1.5, 2.0, 3.0));
    assert_eq!(other.throughput_ratio.unwrap().median, 2.0);
    assert_eq!((ours.latency_ms.n, ours.latency_ms.max), (9, 360.0));
    assert_eq!(ours.images_per_s, 50.0);
    assert_eq!(ours.device_ms, None);
    assert_eq!(other.device_ms.unwrap().median, 15.0);
    assert_eq!((other.start_up_ms, other.build_ms, other.disk_bytes), (20.0, 7.0, 1000));
    assert_eq!(other.accuracy.max_difference, 0.0);
    assert_eq!(other.notes, ["a note", "a remark"]);
}

#[test]
fn turns_alternate_and_every_other_round_goes_backwards() {
    let field = Field::new();
    let contestant = |name| field.contestant(name, &[1.0; 4]);
    field.measure(vec![contestant("effnet"), contestant("a"), contestant("b")]).unwrap();
    let expected = [
        "effnet", "a", "b", // does not count
        "b", "a", "effnet", "effnet", "a", "b", "b", "a", "effnet",
    ];
    assert_eq!(*field.turns.borrow(), expected);
}

#[test]
fn a_baseline_that_fails_is_left_out_and_the_others_go_on() {
    let field = Field::new();
    let mut wrong = MadeUp {
        name: "wrong",
        latencies_ms: vec![1.0; 4],
        logits: field.reference.clone(),
        turns: field.turns.clone(),
    };
    wrong.logits[3] = f32::NAN;
    let found = field
        .measure(vec![
            field.contestant("effnet", &[1.0; 4]),
            field.contestant("tires", &[1.0; 2]),
            Box::new(wrong),
            field.contestant("lasts", &[1.0; 4]),
        ])
        .unwrap();
    assert_eq!(failure(&found[1]).message, "worn out");
    assert!(failure(&found[2]).message.contains("class 3"), "{}", failure(&found[2]));
    assert_eq!(measured(&found[3]).latency_ratio.unwrap().median, 1.0);
    assert!(!field.turns.borrow().contains(&"wrong"));
}

#[test]
fn without_this_runtime_there_is_no_comparison() {
    let field = Field::new();
    let error = field
        .measure(vec![field.contestant("effnet", &[1.0]), field.contestant("a", &[1.0; 4])])
        .unwrap_err();
    assert!(matches!(error, CompareError::Runtime(_)), "{error}");
    assert!(error.to_string().contains("worn out"), "{error}");
}

#[cfg(unix)]
mod tensorrt {
    use super::*;

    /// A job with the answers of its reference.
    fn answered(folder: &Path, images: usize, options: JobOptions) -> (Rc<Job>, Vec<f32>) {
        let job = job(folder, images, options);
        let reference = job.reference().unwrap();
        write_answers(&folder.join("answers"), &job, &reference);
        (job, reference)
    }

    /// Everything that a contestant does; and the command lines of trtexec.
    fn all_steps(name: &str, options: JobOptions) -> (Started, Burst, Vec<String>, String) {
        // A comma and a colon, which trtexec would split in the path of a file.
        let folder = tempfile::Builder::new().prefix("a,b:c").tempdir().unwrap();
        let (job, reference) = answered(folder.path(), 4, options);
        let mut contestant = TrtexecContestant::new(&job, &trtexec(name));
        let started = contestant.start().unwrap_or_else(|failure| panic!("{name}: {failure}"));
        let logits = contestant.answer().unwrap_or_else(|failure| panic!("{name}: {failure}"));
        for (found, expected) in logits.iter().zip(&reference) {
            assert!((found - expected).abs() <= 1e-5 * expected.abs(), "{found} {expected}");
        }
        assert_eq!(logits.len(), reference.len());
        let burst = contestant.burst(SHORT, true).unwrap();
        let log = std::fs::read_to_string(folder.path().join("commands.log")).unwrap();
        (started, burst, contestant.remarks(), log)
    }

    #[test]
    fn every_version_gives_logits_and_times_in_its_own_flags() {
        for (name, version, fp16_flag, fp16_file) in [
            ("8.6", "8.6.1", true, "model.fp32.onnx"),
            ("10.16", "10.16.0", true, "model.fp32.onnx"),
            ("11.1", "11.1.0", false, "model.fp16.onnx"),
        ] {
            for compute in [Compute::Fp16, Compute::Fp32, Compute::Tf32] {
                let (started, burst, remarks, log) = all_steps(name, options(2, compute));
                assert_eq!(started.runtime, format!("TensorRT {version}, trtexec"));
                assert_eq!(started.device, "NVIDIA Stand-In");
                assert_eq!((started.build_ms, started.disk_file), (12_500.0, "engine"));
                assert_eq!((started.start_up_ms.len(), started.disk_bytes), (2, 14));
                assert_eq!(burst.latencies_ms, [1.54; 4]);
                assert_eq!(burst.device_ms, [1.5; 4]);
                // 650 queries of two images.
                assert_eq!(burst.images_per_s, 1300.0);
                assert_eq!(remarks, [""; 0]);
                let build = log.lines().next().unwrap();
                assert_eq!(build.contains("--fp16"), fp16_flag && compute == Compute::Fp16);
                let file = if compute == Compute::Fp16 { fp16_file } else { "model.fp32.onnx" };
                assert!(build.contains(file), "{build}");
                // A build, two starts, the second batch, a timing.
                assert_eq!(log.lines().count(), 5, "{log}");
                assert!(log.lines().last().unwrap().contains("--warmUp=200 --duration=1.5"));
            }
        }
    }

    #[test]
    fn an_open_batch_has_shapes_in_every_step() {
        for name in ["8.6", "10.16", "11.1"] {
            let open = JobOptions { dynamic_batch: true, ..options(2, Compute::Fp16) };
            let (_, _, _, log) = all_steps(name, open);
            let mut lines = log.lines();
            let build = lines.next().unwrap();
            assert!(build.contains("--minShapes=input:1x3x32x40"), "{build}");
            assert!(build.contains("--maxShapes=input:2x3x32x40"), "{build}");
            assert!(lines.all(|line| line.contains("--shapes=input:2x3x32x40")), "{log}");
        }
    }

    #[test]
    fn a_graph_that_was_not_captured_is_remarked() {
        let (_, burst, remarks, _) = all_steps("no-graph", options(4, Compute::Fp32));
        assert_eq!(burst.latencies_ms.len(), 4);
        assert!(remarks[0].contains("without a CUDA graph"), "{remarks:?}");
    }

    #[test]
    fn failures_say_the_step_and_the_last_words() {
        for (name, step, message, last_words) in [
            ("7.2", "version", "TensorRT 7.2.3: expected 8.0.0 or later", ""),
            ("no-banner", "version", "expected a line with [TensorRT vN]", "libnvinfer.so.10"),
            ("unknown-option", "building", "exit status: 1", "Unknown option: --onnx="),
            ("build-failure", "building", "exit status: 1", "Could not find any implementation"),
            ("killed", "building", "signal: 9", "NVIDIA Stand-In"),
            ("no-engine", "building", "expected an engine", "Skipped inference"),
            ("nan", "answering", "--exportOutput: expected a list", "PASSED"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let (job, _) = answered(folder.path(), 1, options(1, Compute::Fp32));
            let mut contestant = TrtexecContestant::new(&job, &trtexec(name));
            let failure = contestant.start().unwrap_err();
            assert!(failure.step.contains(step), "{name}: {failure}");
            assert!(failure.message.contains(message), "{name}: {failure}");
            assert!(failure.last_lines.join("\n").contains(last_words), "{name}: {failure}");
            assert!(failure.last_lines.len() <= 12, "{name}: {failure}");
        }
    }

    #[test]
    fn a_trtexec_that_hangs_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let timeout = Duration::from_millis(400);
        let options = JobOptions { timeout, ..options(1, Compute::Fp32) };
        let job = job(folder.path(), 1, options);
        let failure = TrtexecContestant::new(&job, &trtexec("hangs")).start().unwrap_err();
        assert!(failure.message.contains("not done after 0.4 s"), "{failure}");
    }
}
