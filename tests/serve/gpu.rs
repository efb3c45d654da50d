//! The path of a GPU: on the PTX emulator, and by a driver whose GPU is the emulator, which fails when it
//! is told to.

use crate::support::*;
use effnet::serve::ModelOptions;
use effnet::session::{Device, InputType, Session, SessionOptions};
use effnet::weights::{Weights, stand_in};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use tempfile::TempDir;

#[path = "../support/emulated_driver.rs"]
mod emulated_driver;

fn raw(logits: &[f32]) -> Vec<u8> {
    logits.iter().flat_map(|logit| logit.to_le_bytes()).collect()
}

fn on_the_emulator() -> SessionOptions {
    SessionOptions { device: Device::Emulator, threads: None, ..session_options(2) }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn levels_and_values_have_the_logits_of_a_session_of_their_type() {
    let weights = weights();
    let session = on_the_emulator();
    let served = Served::new(weights.clone(), ModelOptions { session, ..model_options() });

    let options = SessionOptions { input: InputType::U8, ..session };
    let mut of_levels = Session::new(weights.clone(), options).unwrap();
    let expected = raw(of_levels.run(&levels(4)[..]).unwrap().logits(0));
    let found = ask(served.address, "m:pixels", "pixels", "UINT8", 1, &levels(4));
    assert!(found == expected, "levels");

    let mut of_values = Session::new(weights, session).unwrap();
    let values = of_values.recipe().normalisation().values(&levels(4));
    let expected = raw(of_values.run(&values[..]).unwrap().logits(0));
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let found = ask(served.address, "m:tensor", "input", "FP32", 1, &data);
    assert!(found == expected, "values");
}

/// `effnet serve` on all GPUs of the emulated driver; ended where a test does not.
#[cfg(target_os = "linux")] // the library is found through LD_LIBRARY_PATH
struct Program {
    child: Child,
    address: SocketAddr,
    logs: Option<JoinHandle<Vec<String>>>,
    _folder: TempDir,
}

#[cfg(target_os = "linux")]
impl Program {
    fn new(weights: &Weights, settings: &[(&str, &str)]) -> Program {
        let folder = tempfile::tempdir().unwrap();
        emulated_driver::link(folder.path());
        let path = folder.path().join("m.safetensors");
        stand_in::write(&path, weights.metadata(), 1).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command
            .args(["serve", "--device", "cuda:all", "--size", "32", "--http", "127.0.0.1:0"])
            .args(["--grpc", "none", "--drain-delay", "0", "--weights"])
            .arg(&path)
            .env("LD_LIBRARY_PATH", folder.path())
            .envs(settings.iter().copied())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.find_map(|line| {
            let line = line.unwrap();
            let address = line.strip_prefix("serving http://")?.split(',').next()?.to_owned();
            Some(address.parse::<SocketAddr>().unwrap())
        });
        let address = ready.expect("a start-up line");
        let logs = Some(std::thread::spawn(move || lines.map_while(Result::ok).collect()));
        Program { child, address, logs, _folder: folder }
    }

    fn infer(&self, levels: &[u8]) -> (u16, Vec<u8>) {
        let url = format!("http://{}/v2/models/m:pixels/infer", self.address);
        let request = agent().post(url).header("Inference-Header-Content-Length", "0");
        let (status, length, answer) = bytes(request.send(levels));
        (status, answer[length.unwrap_or(0)..].to_vec())
    }

    fn metrics(&self) -> String {
        text(agent().get(format!("http://{}/metrics", self.address)).call()).1
    }

    /// Ends it; its logs.
    fn end(mut self) -> Vec<String> {
        let _ = self.child.kill();
        self.logs.take().unwrap().join().unwrap()
    }
}

#[cfg(target_os = "linux")]
impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session that takes levels as the program's does, and the logits of an image.
fn of_levels(weights: Arc<Weights>, levels: &[u8]) -> (Session, Vec<u8>) {
    let options = SessionOptions { input: InputType::U8, batch: 1, ..on_the_emulator() };
    let mut session = Session::new(weights, options).unwrap();
    let logits = raw(session.run(levels).unwrap().logits(0));
    (session, logits)
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn all_gpus_answer_behind_one_queue() {
    let weights = weights();
    let program = Program::new(&weights, &[("EFFNET_EMULATED_DRIVER_GPUS", "80,80")]);
    let expected: Vec<Vec<u8>> =
        (0..4).map(|seed| of_levels(weights.clone(), &levels(seed)).1).collect();
    std::thread::scope(|scope| {
        for (seed, expected) in expected.iter().enumerate() {
            let program = &program;
            scope.spawn(move || {
                let (status, answer) = program.infer(&levels(seed));
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
                assert!(answer[..expected.len()] == expected[..], "{seed}");
            });
        }
    });
    for gpu in 0..2 {
        let name = format!("effnet_device_memory_bytes{{model=\"m\",gpu=\"{gpu}\"}}");
        assert!(program.metrics().contains(&name), "{}", program.metrics());
    }
}

/// A kernel fails: what was under way has an error, both networks on the GPU let go of it, and the
/// requests after that are answered as before.
#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_gpu_that_failed_is_taken_up_anew() {
    let weights = weights();
    let (session, expected) = of_levels(weights.clone(), &levels(4));
    let launches = session.launches().unwrap().len();
    // Each of the two networks runs once before the server is ready, and the first request's run fails.
    let failing = format!("kernel=700@{}", 2 * launches + launches / 2);
    let program = Program::new(&weights, &[("EFFNET_EMULATED_DRIVER_FAIL", &failing)]);
    let (status, answer) = program.infer(&levels(4));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(status == 500 && answer.contains("the device failed"), "{status}: {answer}");
    let (status, answer) = program.infer(&levels(4));
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    assert!(answer[..expected.len()] == expected);
    while !program.metrics().contains("effnet_device_renewals_total{model=\"m\"} 2\n") {
        std::thread::yield_now();
    }
    let logs = program.end();
    assert!(logs.iter().all(|line| !line.contains("panicked")), "{logs:?}");
}
