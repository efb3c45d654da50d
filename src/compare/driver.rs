//! A contestant behind the [`protocol`](super::protocol): a process that stays alive between turns.

use super::contestant::{Burst, BurstLength, Contestant, Failure, Memory, Started};
use super::gpu_memory::gpu_bytes;
use super::job::Job;
use super::protocol::{Answer, Load, Ran, Ready, Reply, Request, Run};
use super::raw;
use crate::process::Program;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverCommand {
    /// The program.
    pub program: PathBuf,
    /// Arguments of the program.
    pub arguments: Vec<OsString>,
    /// Environment variables of the program.
    pub variables: Vec<(&'static str, String)>,
}

impl DriverCommand {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A runtime that a driver runs.
pub struct DriverContestant {
    name: String,
    job: Rc<Job>,
    command: DriverCommand,
    load: Load,
    /// The file that the runtime runs, and the kind of that file.
    disk: (PathBuf, &'static str),
    running: Option<Program>,
    memory: Memory,
}

impl DriverContestant {
    /// A contestant that was not started yet.
    pub fn new(
        name: &str,
        job: &Rc<Job>,
        command: DriverCommand,
        load: Load,
        disk: (PathBuf, &'static str),
    ) -> DriverContestant {
        let (name, job, memory) = (name.to_owned(), job.clone(), Memory::default());
        DriverContestant { name, job, command, load, disk, running: None, memory }
    }

    fn ask(&mut self, step: &str, request: &Request, allowed: Duration) -> Result<Reply, Failure> {
        let running = self.running.as_mut().ok_or_else(|| Failure::new(step, "not running"))?;
        ask(running, step, request, allowed)
    }

    fn launch(&mut self) -> Result<(Ready, Duration), Failure> {
        const STEP: &str = "loading the network";
        let program = Program::start(self.command.command()).map_err(|error| {
            Failure::new(STEP, format!("{}: {error}", self.command.program.display()))
        })?;
        let program = self.running.insert(program);
        let request = Request::Load(self.load.clone());
        match ask(program, STEP, &request, self.job.options.timeout)? {
            Reply::Ready(ready) => Ok((ready, program.age())),
            other => Err(unexpected(STEP, program, &other)),
        }
    }
}

fn ask(
    program: &mut Program,
    step: &str,
    request: &Request,
    allowed: Duration,
) -> Result<Reply, Failure> {
    let text = serde_json::to_string(request).expect("requests have only plain fields");
    // Where the program ended before it could read, its own last words are the news.
    let written = program.write_line(&text);
    let reply = program.wait_for(step, allowed, |line| serde_json::from_str(line).ok())?;
    written.map_err(|error| program.failure(step, error.to_string()))?;
    match reply {
        Reply::Error(message) => Err(program.failure(step, message)),
        reply => Ok(reply),
    }
}

fn unexpected(step: &str, program: &mut Program, reply: &Reply) -> Failure {
    program.failure(step, format!("expected the reply to this request, found {reply:?}"))
}

impl Contestant for DriverContestant {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&mut self) -> Result<Started, Failure> {
        let mut start_up_ms = Vec::new();
        let mut first = None;
        for _ in 0..self.job.options.starts.max(1) {
            // The one before ends first: two would share the machine.
            self.running = None;
            let (ready, start_up) = self.launch()?;
            start_up_ms.push(start_up.as_secs_f64() * 1e3);
            first.get_or_insert(ready);
        }
        let ready = first.ok_or_else(|| Failure::new("loading the network", "not started"))?;
        let (path, disk_file) = &self.disk;
        let disk_bytes = path.metadata().map_or(0, |found| found.len());
        Ok(Started {
            runtime: ready.runtime,
            device: ready.device,
            precision: ready.precision,
            build_ms: ready.build_ms,
            start_up_ms,
            disk_bytes,
            disk_file,
            notes: ready.notes,
        })
    }

    fn answer(&mut self) -> Result<Vec<f32>, Failure> {
        const STEP: &str = "answering the inputs";
        let logits = self.job.path(&format!("{}.logits.f32", self.name));
        let request = Request::Answer(Answer {
            inputs: self.load.inputs.clone(),
            images: self.load.images,
            logits: logits.clone(),
        });
        match self.ask(STEP, &request, self.job.options.timeout)? {
            Reply::Answered(_) => raw::read_f32(&logits, self.job.images * self.job.classes())
                .map_err(|error| Failure::new(STEP, error)),
            other => Err(Failure::new(STEP, format!("unexpected reply {other:?}"))),
        }
    }

    fn burst(&mut self, length: BurstLength, counts: bool) -> Result<Burst, Failure> {
        const STEP: &str = "timing";
        let request = Request::Run(Run {
            warm_up_ms: length.warm_up.as_secs_f64() * 1e3,
            measure_ms: length.measured.as_secs_f64() * 1e3,
        });
        let allowed = self.job.options.timeout + length.warm_up + length.measured;
        let Ran { latencies_ms, device_ms, elapsed_ms } = match self.ask(STEP, &request, allowed)? {
            Reply::Ran(ran) => ran,
            other => return Err(Failure::new(STEP, format!("unexpected reply {other:?}"))),
        };
        let good = |ms: &f64| ms.is_finite() && *ms > 0.0;
        if latencies_ms.is_empty()
            || !latencies_ms.iter().chain(&device_ms).chain([&elapsed_ms]).all(good)
        {
            return Err(Failure::new(STEP, "expected times above 0, found others or none"));
        }
        if let Some(running) = &mut self.running {
            self.memory.peak_resident_bytes = running.peak_bytes();
            if !counts && self.load.device != "cpu" {
                self.memory.gpu_bytes = gpu_bytes(running.id());
            }
        }
        let images = (latencies_ms.len() * self.job.options.batch) as f64;
        let images_per_s = 1e3 * images / elapsed_ms;
        Ok(Burst { latencies_ms, device_ms, images_per_s })
    }

    fn memory(&mut self) -> Memory {
        self.memory
    }
}
