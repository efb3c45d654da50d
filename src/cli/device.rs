//! Where a network runs, with how many threads and images at once.

use super::args;
use super::output;
use super::pipeline::{BoxError, Network, Pipeline};
use anyhow::bail;
use effnet::arch::Size;
use effnet::image::preprocess;
use effnet::kernels::{self, Compute};
use effnet::launches::Path;
use effnet::session::{Device, Prediction, Session, SessionOptions};
use effnet::weights::{Metadata, Precision, Weights};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How the network is run.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Where to run: auto (the first usable CUDA GPU, else the CPU), cuda, cuda:N, cpu, or emulator
    /// (the GPU's kernels interpreted with every check: for tests, not for speed).
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: Request,
    /// Which kernels a GPU or the emulator runs: fused or layerwise [default: fused].
    #[arg(long, value_name = "PATH", value_parser = args::path())]
    path: Option<Path>,
    /// In which precision a GPU or the emulator computes: fp16, fp32 or tf32 [default: that of the
    /// weights]. The CPU computes in fp32.
    #[arg(long, value_name = "PRECISION", value_parser = args::compute())]
    precision: Option<Compute>,
    /// Images that the network takes at once.
    #[arg(long, value_name = "N", default_value = "1", value_parser = args::batch)]
    batch: usize,
    /// Input size: HxW, or one number for a square [default: that of the weights' recipe].
    #[arg(long, value_name = "HxW", value_parser = args::size)]
    size: Option<Size>,
    /// Threads that decode and threads that compute [default: one per core].
    #[arg(long, value_name = "N", value_parser = args::threads)]
    threads: Option<usize>,
}

/// A place to run, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The best that there is.
    Auto,
    /// This one.
    This(Device),
}

/// Parses a place to run.
pub fn device(text: &str) -> Result<Request, String> {
    let number = |text: &str| text.parse().ok().filter(|&n: &usize| n < 1024);
    match text {
        "auto" => Ok(Request::Auto),
        "cpu" => Ok(Request::This(Device::Cpu)),
        "emulator" => Ok(Request::This(Device::Emulator)),
        "cuda" => Ok(Request::This(Device::Cuda(0))),
        _ => match text.strip_prefix("cuda:").and_then(number) {
            Some(ordinal) => Ok(Request::This(Device::Cuda(ordinal))),
            None => Err("expected auto, cuda, cuda:N, emulator or cpu".to_owned()),
        },
    }
}

/// A network ready to run.
pub struct Runner {
    session: Session,
    threads: usize,
    /// The device and why it was taken, for people.
    pub device: String,
    /// The device for programs: cpu, emulator or cuda:N.
    pub device_name: String,
    /// The precision that it computes in.
    pub compute: Compute,
}

/// Where and how to run, decided.
pub struct Choice {
    /// The device.
    pub device: Device,
    /// Why it was taken, for people; empty where it was asked for.
    pub reason: String,
    /// Which kernels; meaningless on the CPU.
    pub path: Path,
    /// In which precision.
    pub compute: Compute,
    /// Images at once.
    pub batch: usize,
    /// Size of the input.
    pub size: Size,
    /// Threads.
    pub threads: usize,
}

impl RunArgs {
    /// The precision asked for.
    pub fn precision(&self) -> Option<Compute> {
        self.precision
    }

    /// Decides how a network of these weights is run.
    pub fn choose(&self, metadata: &Metadata) -> anyhow::Result<Choice> {
        let size = self.size.unwrap_or(metadata.recipe.size);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(cores);
        let (device, reason) = match self.device {
            Request::This(device) => (device, String::new()),
            Request::Auto => auto(),
        };
        if device == Device::Cpu && self.path.is_some() {
            bail!(
                "--path: the CPU runs no kernels{reason}; leave it out, or use --device cuda or emulator"
            );
        }
        let compute = match (device, self.precision, metadata.precision) {
            (_, Some(compute), _) => compute,
            (Device::Cpu, None, _) | (_, None, Precision::Fp32) => Compute::Fp32,
            (_, None, Precision::Fp16) => Compute::Fp16,
        };
        let path = self.path.unwrap_or_default();
        Ok(Choice { device, reason, path, compute, batch: self.batch, size, threads })
    }

    /// Makes `weights` ready for `images` images.
    pub fn runner(&self, weights: Weights, images: usize) -> anyhow::Result<Runner> {
        let Choice { device, reason, path, compute, batch, size, threads } =
            self.choose(weights.metadata())?;
        let options = SessionOptions {
            device,
            batch: batch.min(images.max(1)),
            size: Some(size),
            threads: Some(threads),
            path,
            compute: Some(compute),
        };
        let session = Session::new(Arc::new(weights), options)?;
        let (device_name, device) = match device {
            Device::Cpu => {
                ("cpu".to_owned(), format!("CPU, f32, {}", output::count(threads, "thread")))
            }
            Device::Emulator => {
                ("emulator".to_owned(), format!("PTX emulator, {path}, {compute}, all checks on"))
            }
            Device::Cuda(ordinal) => {
                let name = session.device_name();
                (format!("cuda:{ordinal}"), format!("cuda:{ordinal}, {name}, {path}, {compute}"))
            }
        };
        Ok(Runner { session, threads, device: format!("{device}{reason}"), device_name, compute })
    }
}

/// The first usable GPU, else the CPU, and why.
pub fn auto() -> (Device, String) {
    if let Err(why) = kernels::built() {
        return (Device::Cpu, format!(" (auto: {why})"));
    }
    match effnet::device::cuda::usable() {
        Ok(ordinal) => (Device::Cuda(ordinal), " (auto: the first usable GPU)".to_owned()),
        Err(why) => (Device::Cpu, format!(" (auto: no GPU: {why})")),
    }
}

impl Runner {
    /// Weights, plan and device.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The way of images through this network.
    pub fn pipeline(&self) -> Pipeline {
        Pipeline {
            image_elems: self.session.input_elems(),
            batch: self.session.batch(),
            threads: self.threads,
        }
    }

    /// From encoded bytes to one image's part of the input tensor.
    pub fn prepare(&self) -> impl Fn(&[u8], &mut [f32]) -> Result<(), BoxError> + Sync + use<> {
        let recipe = self.session.recipe();
        move |bytes, image| Ok(preprocess(bytes, &recipe, image)?)
    }

    /// Gives the `k` best classes of each image.
    pub fn top_k(&mut self, k: usize) -> TopK<'_> {
        TopK { session: &mut self.session, k, busy: Duration::ZERO }
    }
}

/// A session that gives the best classes of each image.
pub struct TopK<'a> {
    session: &'a mut Session,
    k: usize,
    /// Time that was spent in the session: beginning runs, and waiting for them.
    pub busy: Duration,
}

impl Network<Vec<Prediction>> for TopK<'_> {
    fn capacity(&self) -> usize {
        self.session.capacity()
    }

    fn submit(&mut self, images: &[f32]) -> anyhow::Result<()> {
        let start = Instant::now();
        self.session.submit(images)?;
        self.busy += start.elapsed();
        Ok(())
    }

    fn collect(&mut self) -> anyhow::Result<Vec<Vec<Prediction>>> {
        let start = Instant::now();
        let outputs = self.session.collect()?;
        let best = (0..outputs.len()).map(|image| outputs.top_k(image, self.k)).collect();
        self.busy += start.elapsed();
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_name_and_others_refused() {
        let this = |device| Ok(Request::This(device));
        assert_eq!((device("auto"), device("cpu")), (Ok(Request::Auto), this(Device::Cpu)));
        assert_eq!(
            (device("emulator"), device("cuda"), device("cuda:3")),
            (this(Device::Emulator), this(Device::Cuda(0)), this(Device::Cuda(3)))
        );
        for absent in ["CPU ", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:99999"] {
            assert!(device(absent).unwrap_err().contains("expected auto, cuda"), "{absent}");
        }
    }
}
