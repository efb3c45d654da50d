//! Everything that all contestants are given: the network's files, the inputs, and the options.

use super::description::Description;
use super::protocol::Load;
use super::{CompareError, raw};
use crate::arch::{NetworkGeometry, Size};
use crate::export::onnx::{self, Batch, OnnxOptions};
use crate::kernels::Compute;
use crate::session::{Device, Session, SessionOptions};
use crate::weights::{Precision, Weights};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Options of all contestants.
#[derive(Clone, Debug, PartialEq)]
pub struct JobOptions {
    /// Images per run.
    pub batch: usize,
    /// Size of the input.
    pub size: Size,
    /// Device of this runtime, and of a baseline that can choose.
    pub device: Device,
    /// Precision to compute in.
    pub compute: Compute,
    /// Threads on the CPU.
    pub threads: usize,
    /// Whether the ONNX files leave the batch open.
    pub dynamic_batch: bool,
    /// Number of starts of each contestant; the last one stays.
    pub starts: usize,
    /// Most time that one request, or one step of trtexec, may take.
    pub timeout: Duration,
}

/// The files and options of one comparison.
#[derive(Debug)]
pub struct Job {
    /// Options of all contestants.
    pub options: JobOptions,
    /// The packed weights.
    pub weights: Arc<Weights>,
    /// Number of inputs: a multiple of the batch.
    pub images: usize,
    folder: PathBuf,
}

impl Job {
    /// The inputs as effnet takes them, `[images, h, w, 3]`.
    pub const INPUTS_NHWC: &str = "inputs.nhwc.f32";
    /// The inputs as ONNX and PyTorch take them, `[images, 3, h, w]`.
    pub const INPUTS_NCHW: &str = "inputs.nchw.f32";
    /// The network's [`Description`] as JSON.
    pub const DESCRIPTION: &str = "network.json";

    /// Writes inputs and description to `folder`, which is the caller's to remove. `inputs` is
    /// `[images, h, w, 3]`.
    ///
    /// # Panics
    ///
    /// If `inputs` is not a whole number of batches, at least one: that is a fault of the caller's
    /// code.
    pub fn new(
        weights: Arc<Weights>,
        options: JobOptions,
        inputs: &[f32],
        folder: &Path,
    ) -> Result<Job, CompareError> {
        let elems = options.size.pixels() * 3;
        let images = inputs.len() / elems;
        assert_eq!(inputs.len(), images * elems, "whole images");
        assert!(images > 0 && images.is_multiple_of(options.batch), "whole batches");
        let metadata = weights.metadata();
        let geometry = NetworkGeometry::new(weights.network(), options.size, metadata.padding)?;
        let description = Description::new(weights.network(), &geometry);
        // Absolute: trtexec is run in this folder, the drivers are not.
        let folder = std::path::absolute(folder)?;
        let job = Job { options, weights, images, folder };
        raw::write_f32(&job.path(Job::INPUTS_NHWC), inputs)?;
        let planes: Vec<f32> = inputs.chunks(elems).flat_map(planes).collect();
        raw::write_f32(&job.path(Job::INPUTS_NCHW), &planes)?;
        let text = serde_json::to_string(&description).expect("plain fields");
        std::fs::write(job.path(Job::DESCRIPTION), text)?;
        Ok(job)
    }

    /// Where the contestants' files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The packed weights' file, absolute.
    pub fn weights_path(&self) -> PathBuf {
        let path = self.weights.path();
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }

    /// Outputs of the network for one image.
    pub fn classes(&self) -> usize {
        self.weights.network().classes
    }

    /// The GPU's number; 0 where this runtime runs elsewhere.
    pub fn gpu(&self) -> usize {
        self.options.device.gpu().unwrap_or(0)
    }

    /// The part of a driver's request that is the same for all: without inputs and precision, and
    /// without the fields that only some drivers need.
    pub fn load(&self, device: Device) -> Load {
        Load {
            weights: self.weights_path(),
            description: self.path(Job::DESCRIPTION),
            images: self.images,
            batch: self.options.batch,
            height: self.options.size.h,
            width: self.options.size.w,
            device: device.to_string(),
            gpu: self.gpu(),
            threads: self.options.threads,
            ..Load::default()
        }
    }

    /// The name of the ONNX file of `precision`, which is written when it is first asked for.
    pub fn onnx(&self, precision: Precision) -> Result<String, CompareError> {
        let name = format!("model.{precision}.onnx");
        let path = self.path(&name);
        if !path.exists() {
            let batch = match self.options.dynamic_batch {
                true => Batch::Dynamic,
                false => Batch::Static(self.options.batch),
            };
            let size = Some(self.options.size);
            // Sums in the type that leaves a runtime the most freedom.
            let reductions = precision;
            let options = OnnxOptions { batch, size, reductions, ..OnnxOptions::new(precision) };
            onnx::write(&path, &self.weights, &options)?;
        }
        Ok(name)
    }

    /// The logits of all inputs by the CPU executor in f32, which all others are held against.
    pub fn reference(&self) -> Result<Vec<f32>, CompareError> {
        let batch = self.options.batch;
        let options = SessionOptions {
            device: Device::Cpu,
            batch,
            size: Some(self.options.size),
            threads: Some(self.options.threads),
            ..SessionOptions::default()
        };
        let mut session = Session::new(self.weights.clone(), options)?;
        let elems = session.input_elems();
        let inputs = raw::read_f32(&self.path(Job::INPUTS_NHWC), self.images * elems)?;
        let mut logits = Vec::with_capacity(self.images * self.classes());
        for images in inputs.chunks(batch * elems) {
            let outputs = session.run(images)?;
            (0..outputs.len()).for_each(|image| logits.extend_from_slice(outputs.logits(image)));
        }
        Ok(logits)
    }
}

/// An image `[h, w, 3]` as `[3, h, w]`.
fn planes(image: &[f32]) -> Vec<f32> {
    let (pixels, _) = image.as_chunks::<3>();
    (0..3).flat_map(|channel| pixels.iter().map(move |pixel| pixel[channel])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_planes() {
        assert_eq!(planes(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
