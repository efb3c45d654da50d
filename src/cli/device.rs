//! The arguments that say where and how a network runs, and the session that they ask for.

use super::args;
#[cfg(feature = "serve")]
use super::output;
use anyhow::{anyhow, bail};
use effnet::arch::Size;
#[cfg(feature = "serve")]
use effnet::device::cuda;
use effnet::image::Recipe;
use effnet::kernels::Compute;
use effnet::launches::Path;
use effnet::pipeline::PipelineError;
use effnet::session::{
    ChoiceReason, Device, DeviceChoice, DeviceRequest, InputType, SessionError, SessionOptions,
    UnknownDevice,
};
use effnet::weights::Metadata;
use std::thread;

/// How the network is run.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Where to run: auto (the first usable CUDA GPU, else the CPU), cuda, cuda:N, cpu, or emulator
    /// (the GPU's kernels interpreted with every check: for tests, not for speed).
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = wish)]
    device: Wish,
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

/// One device, or what `effnet serve` alone takes: all GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    One(DeviceRequest),
    AllGpus,
}

fn wish(text: &str) -> Result<Wish, String> {
    if text == "cuda:all" { Ok(Wish::AllGpus) } else { device(text).map(Wish::One) }
}

/// Parses a device, or `auto`.
pub fn device(text: &str) -> Result<DeviceRequest, String> {
    // The parser of the command line names the argument and the value itself.
    text.parse().map_err(|UnknownDevice { expected, .. }| format!("expected {expected}"))
}

/// Where and how to run, decided.
pub struct Choice {
    /// The device.
    pub device: Device,
    reason: ChoiceReason,
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

    /// The input size asked for.
    pub fn size(&self) -> Option<Size> {
        self.size
    }

    /// Decides how a network of these weights is run on one device.
    pub fn choose(&self, metadata: &Metadata) -> anyhow::Result<Choice> {
        match self.device {
            Wish::One(device) => self.choose_on(device, metadata),
            Wish::AllGpus => {
                bail!("--device cuda:all: only effnet serve runs on several GPUs; expected one")
            }
        }
    }

    /// Decides how a network of these weights is run, and on which devices beside the first.
    #[cfg(feature = "serve")]
    pub fn choose_all(&self, metadata: &Metadata) -> anyhow::Result<(Choice, Vec<Device>)> {
        match self.device {
            Wish::One(device) => Ok((self.choose_on(device, metadata)?, Vec::new())),
            Wish::AllGpus => {
                let gpus = cuda::devices().map_err(output::within("--device cuda:all"))?.len();
                let first = DeviceRequest::This(Device::Cuda(0));
                let others = (1..gpus).map(Device::Cuda).collect();
                Ok((self.choose_on(first, metadata)?, others))
            }
        }
    }

    fn choose_on(&self, device: DeviceRequest, metadata: &Metadata) -> anyhow::Result<Choice> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let DeviceChoice { device, reason } = device.choose();
        if device == Device::Cpu && self.path.is_some() {
            let reason = said(&reason, true);
            bail!(
                "--path: the CPU runs no kernels{reason}; leave it out, or use --device cuda or \
                 emulator"
            );
        }
        Ok(Choice {
            device,
            reason,
            path: self.path.unwrap_or_default(),
            compute: self.precision.unwrap_or(device.default_compute(metadata.precision)),
            batch: self.batch,
            size: self.size.unwrap_or(metadata.recipe.size),
            threads: self.threads.unwrap_or(cores),
        })
    }
}

impl Choice {
    /// Why the device was taken, as an addition to a line; empty where it was asked for.
    pub fn reason(&self, verbose: bool) -> String {
        said(&self.reason, verbose)
    }

    /// The options of a session for `images` images; its batch is no larger than that.
    pub fn options(&self, images: usize) -> SessionOptions {
        SessionOptions {
            device: self.device,
            batch: self.batch.min(images.max(1)),
            size: Some(self.size),
            threads: Some(self.threads),
            path: self.path,
            compute: Some(self.compute),
            ..SessionOptions::default()
        }
    }

    /// The options of a session that classifies `images` photographs by their `k` best classes: it
    /// takes levels in u8 where the recipe rounds to them, and gives these classes alone.
    pub fn classifies(&self, recipe: &Recipe, images: usize, k: usize) -> SessionOptions {
        let input = if recipe.rounds_to_levels() { InputType::U8 } else { InputType::F32 };
        SessionOptions { input, top_k: Some(k), ..self.options(images) }
    }
}

/// Why a device was taken, as an addition to a line; empty where it was asked for. Why no GPU can
/// be used is long, and true of every run on a machine: it is told in full to who asks for more.
pub fn said(reason: &ChoiceReason, verbose: bool) -> String {
    match reason {
        ChoiceReason::AskedFor => String::new(),
        ChoiceReason::NoKernels(_) | ChoiceReason::NoGpu(_) if !verbose => {
            " (no GPU can be used; --verbose says why)".to_owned()
        }
        reason => format!(" (auto: {reason})"),
    }
}

/// An error of a pipeline, with the options that help against it.
pub fn with_options(error: PipelineError) -> anyhow::Error {
    match error {
        PipelineError::Threads { source, .. } => {
            anyhow!("cannot start the decoding threads: {source}; try fewer with --threads")
        }
        PipelineError::Session(SessionError::InputMemory { bytes }) => anyhow!(
            "cannot allocate {bytes} bytes for decoded images; use a smaller --batch or --size"
        ),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_name_and_others_refused() {
        let this = |device| Ok(DeviceRequest::This(device));
        assert_eq!((device("auto"), device("cpu")), (Ok(DeviceRequest::Auto), this(Device::Cpu)));
        assert_eq!(
            (device("emulator"), device("cuda"), device("cuda:3")),
            (this(Device::Emulator), this(Device::Cuda(0)), this(Device::Cuda(3)))
        );
        assert_eq!(wish("cuda:all"), Ok(Wish::AllGpus));
        for absent in ["CPU ", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:99999"] {
            assert!(device(absent).unwrap_err().contains("expected auto, cuda"), "{absent}");
        }
    }
}
