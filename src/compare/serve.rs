//! The driver's side of the [`protocol`](super::protocol) for this runtime.

use super::protocol::{Answer, Answered, Ran, Ready, Reply, Request, Run};
use super::raw;
use crate::device::cuda::MeasuredDevice;
use crate::session::{Session, SessionError, SessionOptions};
use crate::weights::Weights;
use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Failure = Box<dyn Error + Send + Sync>;

/// A network on its device.
pub struct Network {
    machine: Timed,
    batch: usize,
    image_elems: usize,
}

enum Timed {
    /// A session on the CPU or the emulator, without a clock of its own.
    Session(Box<Session>),
    /// A GPU, whose own clock times the network.
    Gpu(Box<MeasuredDevice>),
}

impl Network {
    /// Makes the network.
    ///
    /// On a GPU its launches are one CUDA graph, with the copies beside it, as in `effnet bench`.
    pub fn new(weights: Weights, options: SessionOptions) -> Result<Network, SessionError> {
        let session = Session::new(Arc::new(weights), options)?;
        let (batch, image_elems) = (session.batch(), session.input_elems());
        let machine = match session.into_cuda() {
            Ok(device) => Timed::Gpu(Box::new(MeasuredDevice::new(device, batch, true)?)),
            Err(session) => Timed::Session(Box::new(session)),
        };
        Ok(Network { machine, batch, image_elems })
    }

    /// The device's own name of itself.
    pub fn device_name(&self) -> String {
        match &self.machine {
            Timed::Session(session) => session.device_name(),
            Timed::Gpu(device) => device.device().name(),
        }
    }

    /// Runs a batch; gives the time of the network alone in ms, where the device tells.
    fn run(&mut self, batch: &[f32]) -> Result<Option<f64>, SessionError> {
        match &mut self.machine {
            Timed::Session(session) => session.run(batch).map(|_| None),
            Timed::Gpu(device) => Ok(Some(device.run(batch)?.compute_us / 1e3)),
        }
    }

    /// Runs a batch, and adds its logits to `logits`.
    fn answer(&mut self, batch: &[f32], logits: &mut Vec<f32>) -> Result<(), SessionError> {
        match &mut self.machine {
            Timed::Session(session) => {
                let outputs = session.run(batch)?;
                (0..outputs.len()).for_each(|image| logits.extend(outputs.logits(image)));
            }
            Timed::Gpu(device) => {
                device.run(batch)?;
                logits.extend(device.device().logits());
            }
        }
        Ok(())
    }
}

/// A network with the facts of its `ready` reply.
pub struct Served {
    /// Ready to run.
    pub network: Network,
    /// `cpu`, `cuda:N` or `emulator`.
    pub device: String,
    /// `fp16`, `fp32` or `tf32`.
    pub precision: String,
    /// Further facts that a reader should know.
    pub notes: Vec<String>,
}

/// Answers requests until there are no more. `open` makes the session, at the first `load`.
pub fn serve(
    open: impl FnOnce() -> Result<Served, Failure>,
    requests: impl BufRead,
    mut replies: impl Write,
) -> std::io::Result<()> {
    let mut state = State { open: Some(open), loaded: None };
    for line in requests.lines() {
        let reply = serde_json::from_str(&line?)
            .map_err(Failure::from)
            .and_then(|request| state.reply(request))
            .unwrap_or_else(|error| Reply::Error(error.to_string()));
        let text = serde_json::to_string(&reply).expect("replies have only plain fields");
        writeln!(replies, "{text}")?;
        replies.flush()?;
    }
    Ok(())
}

struct State<F> {
    open: Option<F>,
    /// The network, and the batch that is timed.
    loaded: Option<(Network, Vec<f32>)>,
}

impl<F: FnOnce() -> Result<Served, Failure>> State<F> {
    fn reply(&mut self, request: Request) -> Result<Reply, Failure> {
        match request {
            Request::Load(load) => {
                let open = self.open.take().ok_or("the network is loaded already")?;
                let start = Instant::now();
                let Served { mut network, device, precision, notes } = open()?;
                let batch = raw::read_f32(&load.inputs, network.batch * network.image_elems)?;
                network.run(&batch)?;
                self.loaded = Some((network, batch));
                let build_ms = ms(start.elapsed());
                let runtime = format!("effnet {}", env!("CARGO_PKG_VERSION"));
                Ok(Reply::Ready(Ready { runtime, device, precision, build_ms, notes }))
            }
            Request::Answer(Answer { inputs, images, logits }) => {
                let (network, _) = self.loaded()?;
                let answers = answer(network, &inputs, images)?;
                raw::write_f32(&logits, &answers)?;
                Ok(Reply::Answered(Answered { images }))
            }
            Request::Run(run) => {
                let (network, batch) = self.loaded()?;
                time(network, batch, run).map(Reply::Ran)
            }
        }
    }

    fn loaded(&mut self) -> Result<&mut (Network, Vec<f32>), Failure> {
        self.loaded.as_mut().ok_or_else(|| "no network is loaded".into())
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn answer(network: &mut Network, inputs: &Path, images: usize) -> Result<Vec<f32>, Failure> {
    let inputs = raw::read_f32(inputs, images * network.image_elems)?;
    let mut answers = Vec::new();
    for batch in inputs.chunks_exact(network.batch * network.image_elems) {
        network.answer(batch, &mut answers)?;
    }
    Ok(answers)
}

fn time(network: &mut Network, batch: &[f32], run: Run) -> Result<Ran, Failure> {
    let mut timed = |ms_wanted: f64, min_runs: usize| {
        // Not finite, or too long for a clock: refused rather than run for ever.
        let wanted = Duration::try_from_secs_f64(ms_wanted / 1e3)?;
        let start = Instant::now();
        let (mut latencies_ms, mut device_ms) = (Vec::new(), Vec::new());
        while latencies_ms.len() < min_runs || start.elapsed() < wanted {
            let start = Instant::now();
            device_ms.extend(network.run(batch)?);
            latencies_ms.push(ms(start.elapsed()));
        }
        Ok::<_, Failure>(Ran { latencies_ms, device_ms, elapsed_ms: ms(start.elapsed()) })
    };
    timed(run.warm_up_ms, 1)?;
    timed(run.measure_ms, Run::MIN_RUNS)
}
