//! Where a network runs, with how many threads and images at once.

use super::args;
use super::error::CliError;
use super::output;
use super::pipeline::{BoxError, Pipeline};
use effnet::arch::Size;
use effnet::image::preprocess;
use effnet::session::{Prediction, Session, SessionOptions};
use effnet::weights::Weights;
use std::sync::Arc;
use std::thread;

/// How the network is run.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Where to run: auto takes the best device there is, which in this build is the CPU.
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: Device,
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

/// A place to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The best that there is.
    Auto,
    /// The f32 executor on the host's cores.
    Cpu,
}

fn device(text: &str) -> Result<Device, String> {
    match text {
        "auto" => Ok(Device::Auto),
        "cpu" => Ok(Device::Cpu),
        _ if text.starts_with("cuda") || text.starts_with("gpu") => {
            Err("this build runs on the CPU only: expected auto or cpu".to_owned())
        }
        _ => Err("expected auto or cpu".to_owned()),
    }
}

/// A network ready to run.
pub struct Runner {
    session: Session,
    threads: usize,
    /// The device and why it was taken, for people.
    pub device: String,
}

impl RunArgs {
    /// Makes `weights` ready for `images` images.
    pub fn runner(&self, weights: Weights, images: usize) -> Result<Runner, CliError> {
        let size = self.size.unwrap_or(weights.metadata().recipe.size);
        let batch = self.batch.min(images.max(1));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or(cores);
        let options = SessionOptions { batch, size: Some(size), threads: Some(threads) };
        let session = Session::new(Arc::new(weights), options)?;
        let reason = match self.device {
            Device::Auto => " (auto: this build has no other device)",
            Device::Cpu => "",
        };
        let device = format!("CPU, f32, {}{reason}", output::count(threads, "thread"));
        Ok(Runner { session, threads, device })
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

    /// The `k` best classes of each image of `images`, `[n, h, w, 3]`.
    pub fn top_k(&mut self, images: &[f32], k: usize) -> Result<Vec<Vec<Prediction>>, CliError> {
        let outputs = self.session.run(images)?;
        Ok((0..outputs.len()).map(|image| outputs.top_k(image, k)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_do_not_exist_are_refused_by_name() {
        assert_eq!((device("auto"), device("cpu")), (Ok(Device::Auto), Ok(Device::Cpu)));
        for absent in ["cuda", "cuda:0", "gpu"] {
            assert!(device(absent).unwrap_err().contains("CPU only"), "{absent}");
        }
        assert!(device("CPU ").unwrap_err().contains("expected auto or cpu"));
    }
}
