//! Weights, a plan and an executor, ready to run batches.
//!
//! ```
//! use effnet::arch::{Network, Padding, Size, Variant};
//! use effnet::image::{Framing, Interpolation, Recipe, Rounding, ShortSide};
//! use effnet::session::{Session, SessionOptions};
//! use effnet::weights::{
//!     Family, Labels, Metadata, Precision, Source, Weights, packed_tensors, write_packed,
//! };
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `effnet import` writes such a file from a checkpoint; this one is all zeros.
//! let metadata = Metadata {
//!     layout_version: Metadata::LAYOUT_VERSION,
//!     name: "zeros".into(),
//!     variant: Variant::Lite0,
//!     family: Family::Timm,
//!     precision: Precision::Fp16,
//!     padding: Padding::Symmetric,
//!     bn_eps: 1e-5,
//!     recipe: Recipe {
//!         interpolation: Interpolation::PillowBicubic,
//!         framing: Framing::ResizeThenCrop {
//!             short_side: ShortSide::CropPct(0.875),
//!             rounding: Rounding::Torchvision,
//!         },
//!         mean: [0.5; 3],
//!         std: [0.5; 3],
//!         exif_orientation: false,
//!         size: Size::square(224),
//!     },
//!     classes: 10,
//!     labels: Labels::None,
//!     source: Source {
//!         file_name: "none".into(),
//!         sha256: "0".repeat(64),
//!         container: "none".into(),
//!     },
//! };
//! let tensors = packed_tensors(&Network::new(Variant::Lite0, 10));
//! let zeros: Vec<Vec<f32>> = tensors.iter().map(|tensor| vec![0.0; tensor.elems()]).collect();
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("zeros.safetensors");
//! write_packed(&path, &metadata, &zeros)?;
//!
//! let weights = Arc::new(Weights::open(&path)?);
//! let mut session = Session::new(weights, SessionOptions::default())?;
//! let grey = vec![0.0; session.input_elems()]; // [1, 224, 224, 3], normalised
//! let outputs = session.run(&grey)?;
//! assert_eq!(outputs.logits(0), [0.0; 10]);
//! for prediction in outputs.top_k(0, 3) {
//!     println!("class {}: {:.1} %", prediction.class, 100.0 * prediction.probability);
//! }
//! # Ok(())
//! # }
//! ```

use crate::arch::Size;
use crate::cpu::{CpuError, CpuExecutor};
use crate::device::{CudaDevice, CudaError, EmulatedDevice, EmulatedError};
use crate::image::Recipe;
use crate::kernels::Compute;
use crate::launches::{LaunchOptions, LaunchPlan, LaunchPlanError, Path};
use crate::plan::{Plan, PlanError, PlanOptions};
use crate::weights::{Precision, Weights};
use std::collections::VecDeque;
use std::sync::Arc;

/// The machine that a session runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The f32 executor on the host's cores.
    #[default]
    Cpu,
    /// A CUDA GPU, by its number.
    Cuda(usize),
    /// The kernels of the GPU, on the PTX emulator with every check: for tests, not for speed.
    Emulator,
}

/// What a session is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where the network runs.
    pub device: Device,
    /// Largest number of images in a run.
    pub batch: usize,
    /// Size of the input images; the recipe's where none is given.
    pub size: Option<Size>,
    /// Threads of the CPU executor; all cores where none is given.
    pub threads: Option<usize>,
    /// Which kernels run on a GPU or the emulator.
    pub path: Path,
    /// In which precision kernels compute: the weights' where none is given. The CPU executor
    /// computes in f32, and takes no other.
    pub compute: Option<Compute>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            device: Device::Cpu,
            batch: 1,
            size: None,
            threads: None,
            path: Path::Fused,
            compute: None,
        }
    }
}

/// Why a session could not be made or run.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Batch or size do not work.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There are no launches for the plan.
    #[error(transparent)]
    Launches(#[from] LaunchPlanError),
    /// The executor could not be made, or failed.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The emulator could not be set up, or found a fault.
    #[error(transparent)]
    Emulated(Box<EmulatedError>),
    /// The GPU cannot be used, or failed.
    #[error(transparent)]
    Cuda(Box<CudaError>),
    /// A precision that the device does not compute in.
    #[error(
        "the CPU computes in fp32, found {found}: leave the precision out, or run on another device"
    )]
    Precision {
        /// The precision asked for.
        found: Compute,
    },
    /// The input is no whole number of images, none, or too many.
    #[error(
        "input of {found} elements: expected 1 to {batch} images of {elems} elements each \
         ({size}, 3 channels)"
    )]
    Input {
        /// The session's batch.
        batch: usize,
        /// Elements of one image.
        elems: usize,
        /// The session's input size.
        size: Size,
        /// The input's length.
        found: usize,
    },
    /// A run was asked for that has to wait for one that is under way.
    #[error("{under_way} runs are under way: collect one before this one")]
    Busy {
        /// How many.
        under_way: usize,
    },
    /// A run was to be collected that nobody has submitted.
    #[error("no run is under way: submit one before collecting it")]
    NothingSubmitted,
    /// The network made a NaN: the weights or the input hold NaN, infinities or huge values.
    #[error(
        "image {image} of the batch: the logit of class {class} is NaN; expected numbers. Look for \
         NaN or infinity in the input, and in the checkpoint"
    )]
    Nan {
        /// The image's place in the batch.
        image: usize,
        /// The first class that is NaN.
        class: usize,
    },
}

impl From<EmulatedError> for SessionError {
    fn from(error: EmulatedError) -> SessionError {
        SessionError::Emulated(Box::new(error))
    }
}

impl From<CudaError> for SessionError {
    fn from(error: CudaError) -> SessionError {
        SessionError::Cuda(Box::new(error))
    }
}

/// Weights with a plan and an executor.
#[derive(Debug)]
pub struct Session {
    weights: Arc<Weights>,
    executor: Executor,
    /// Images of each run that was submitted and not collected, the oldest first.
    under_way: VecDeque<usize>,
}

/// A plan and the machine that runs it.
#[derive(Debug)]
enum Executor {
    Cpu(Box<CpuExecutor>),
    Emulated(Box<Plan>, Box<EmulatedDevice>),
    Cuda(Box<Plan>, Box<CudaDevice>),
}

impl Session {
    /// Plans and prepares everything; a run on the CPU or a GPU allocates nothing more.
    pub fn new(weights: Arc<Weights>, options: SessionOptions) -> Result<Session, SessionError> {
        let metadata = weights.metadata();
        let compute = match (options.device, options.compute, metadata.precision) {
            (Device::Cpu, None | Some(Compute::Fp32), _) => Compute::Fp32,
            (Device::Cpu, Some(found), _) => return Err(SessionError::Precision { found }),
            (_, Some(compute), _) => compute,
            (_, None, Precision::Fp16) => Compute::Fp16,
            (_, None, Precision::Fp32) => Compute::Fp32,
        };
        let plan_options = PlanOptions {
            batch: options.batch,
            size: options.size.unwrap_or(metadata.recipe.size),
            padding: metadata.padding,
            precision: compute.storage(),
        };
        let plan = Plan::new(weights.network(), plan_options)?;
        let launches = || LaunchPlan::new(&plan, LaunchOptions::new(options.path, compute));
        let executor = match options.device {
            Device::Cpu => {
                let executor = CpuExecutor::new(plan, weights.clone(), options.threads)?;
                Executor::Cpu(Box::new(executor))
            }
            Device::Emulator => {
                let device = EmulatedDevice::new(launches()?, &weights)?;
                Executor::Emulated(Box::new(plan), Box::new(device))
            }
            Device::Cuda(ordinal) => {
                let device = CudaDevice::new(ordinal, launches()?, &weights)?;
                Executor::Cuda(Box::new(plan), Box::new(device))
            }
        };
        Ok(Session { weights, executor, under_way: VecDeque::new() })
    }

    /// What the device calls itself.
    pub fn device_name(&self) -> String {
        match &self.executor {
            Executor::Cpu(_) => "CPU".to_owned(),
            Executor::Emulated(..) => "PTX emulator".to_owned(),
            Executor::Cuda(_, device) => device.name(),
        }
    }

    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        match &self.executor {
            Executor::Cpu(executor) => executor.plan(),
            Executor::Emulated(plan, _) | Executor::Cuda(plan, _) => plan,
        }
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// From a photograph to this session's input: the weights' recipe at the session's size.
    pub fn recipe(&self) -> Recipe {
        self.weights.metadata().recipe.with_size(self.plan().input_size())
    }

    /// Elements of one image's input, `[h, w, 3]`.
    pub fn input_elems(&self) -> usize {
        let plan = self.plan();
        plan.buffer(plan.input).elems_per_image()
    }

    /// The largest number of images in a run.
    pub fn batch(&self) -> usize {
        self.plan().batch
    }

    /// How many runs may be under way at once: one on the CPU and the emulator, where a run is over when
    /// it has been submitted; more on a GPU, which copies for one and works on another.
    pub fn capacity(&self) -> usize {
        match self.executor {
            Executor::Cpu(_) | Executor::Emulated(..) => 1,
            Executor::Cuda(..) => LaunchPlan::SLOTS,
        }
    }

    /// Runs that were submitted and not collected.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Runs the images of `input`, `[n, h, w, 3]` with `1 <= n <= batch`. None may be under way.
    pub fn run(&mut self, input: &[f32]) -> Result<Outputs<'_>, SessionError> {
        let n = self.images(input, 1)?;
        match &mut self.executor {
            Executor::Cpu(executor) => executor.run(input, n)?,
            Executor::Emulated(_, device) => device.run(input, n)?,
            Executor::Cuda(_, device) => device.run(input, n)?,
        }
        self.outputs(n)
    }

    /// Begins a run as [`run`](Session::run) does, beside others: at most [`capacity`](Session::capacity)
    /// are under way. The input may be changed when this returns.
    pub fn submit(&mut self, input: &[f32]) -> Result<(), SessionError> {
        let n = self.images(input, self.capacity())?;
        let begun = match &mut self.executor {
            Executor::Cpu(executor) => executor.run(input, n).map_err(SessionError::from),
            Executor::Emulated(_, device) => device.run(input, n).map_err(SessionError::from),
            Executor::Cuda(_, device) => device.submit(input, n).map_err(SessionError::from),
        };
        match begun {
            Ok(()) => self.under_way.push_back(n),
            // A device that fails gives up what is under way.
            Err(_) => self.under_way.clear(),
        }
        begun
    }

    /// Waits for the oldest run that was submitted and not collected.
    pub fn collect(&mut self) -> Result<Outputs<'_>, SessionError> {
        let n = self.under_way.pop_front().ok_or(SessionError::NothingSubmitted)?;
        if let Executor::Cuda(_, device) = &mut self.executor
            && let Err(error) = device.collect()
        {
            self.under_way.clear();
            return Err(error.into());
        }
        self.outputs(n)
    }

    /// The number of images in an input, where fewer than `capacity` runs are under way.
    fn images(&self, input: &[f32], capacity: usize) -> Result<usize, SessionError> {
        let under_way = self.under_way.len();
        if under_way >= capacity {
            return Err(SessionError::Busy { under_way });
        }
        let (batch, elems) = (self.batch(), self.input_elems());
        let n = input.len() / elems;
        if !input.len().is_multiple_of(elems) || !(1..=batch).contains(&n) {
            let size = self.plan().input_size();
            return Err(SessionError::Input { batch, elems, size, found: input.len() });
        }
        Ok(n)
    }

    /// What the last run left.
    fn outputs(&self, n: usize) -> Result<Outputs<'_>, SessionError> {
        let (logits, features) = match &self.executor {
            Executor::Cpu(executor) => (executor.logits(), executor.features()),
            Executor::Emulated(_, device) => (device.logits(), device.features()),
            Executor::Cuda(_, device) => (device.logits(), device.features()),
        };
        let classes = self.plan().network.classes;
        if let Some(index) = logits.iter().position(|logit| logit.is_nan()) {
            return Err(SessionError::Nan { image: index / classes, class: index % classes });
        }
        Ok(Outputs { n, logits, features })
    }
}

/// What a run gave, until the next run.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    n: usize,
    /// `[n, classes]`, none NaN.
    logits: &'a [f32],
    /// `[n, c_head]`.
    features: &'a [f32],
}

/// One class, and how sure the network is of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The class.
    pub class: usize,
    /// Its logit.
    pub logit: f32,
    /// Its part of the softmax over all classes.
    pub probability: f32,
}

impl<'a> Outputs<'a> {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are no images; a run has always one.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// An image's logits, one per class.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn logits(&self, image: usize) -> &'a [f32] {
        row(self.logits, self.n, image)
    }

    /// An image's features: the pooled head convolution, before the classifier.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn features(&self, image: usize) -> &'a [f32] {
        row(self.features, self.n, image)
    }

    /// An image's `k` best classes, the best first, equal logits in the order of their classes.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn top_k(&self, image: usize, k: usize) -> Vec<Prediction> {
        top_k(self.logits(image), k)
    }
}

fn row(rows: &[f32], n: usize, image: usize) -> &[f32] {
    assert!(image < n, "image {image} of {n}");
    let elems = rows.len() / n;
    &rows[image * elems..(image + 1) * elems]
}

/// The `k` best of `logits`, none of which is NaN.
fn top_k(logits: &[f32], k: usize) -> Vec<Prediction> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Not `total_cmp`, for which 0.0 is above -0.0.
    let better = |&a: &usize, &b: &usize| {
        let by_logit = logits[b].partial_cmp(&logits[a]).unwrap_or(std::cmp::Ordering::Equal);
        by_logit.then(a.cmp(&b))
    };
    let k = k.min(order.len());
    if k == 0 {
        return Vec::new();
    }
    order.select_nth_unstable_by(k - 1, better);
    order.truncate(k);
    order.sort_unstable_by(better);

    let best = f64::from(logits[order[0]]);
    // An infinite logit takes everything; infinity less infinity is no number.
    let above = |logit: f32| if f64::from(logit) == best { 0.0 } else { f64::from(logit) - best };
    let sum: f64 = logits.iter().map(|&logit| above(logit).exp()).sum();
    let prediction = |class: usize| {
        let logit = logits[class];
        Prediction { class, logit, probability: (above(logit).exp() / sum) as f32 }
    };
    order.into_iter().map(prediction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_keep_the_order_of_classes() {
        let found = top_k(&[1.0, 3.0, -0.0, 3.0, 0.0], 4);
        let classes: Vec<_> = found.iter().map(|p| p.class).collect();
        assert_eq!(classes, [1, 3, 0, 2]);
        assert!(top_k(&[1.0], 0).is_empty());
        assert_eq!(top_k(&[1.0, 2.0], 9).len(), 2);
    }

    #[test]
    fn probabilities_are_a_softmax_over_all_classes() {
        let found = top_k(&[1000.0, 1001.0, -1000.0], 3);
        let sum: f32 = found.iter().map(|p| p.probability).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        let expected = 1.0 / (1.0 + (-1.0f64).exp());
        assert!((f64::from(found[0].probability) - expected).abs() < 1e-7);
        assert_eq!(found[2].probability, 0.0);
    }

    #[test]
    fn infinite_logits_are_ordered_and_share_everything() {
        let found = top_k(&[f32::INFINITY, 0.0, f32::NEG_INFINITY, f32::INFINITY], 4);
        let all: Vec<_> = found.iter().map(|p| (p.class, p.probability)).collect();
        assert_eq!(all, [(0, 0.5), (3, 0.5), (1, 0.0), (2, 0.0)]);
    }
}
