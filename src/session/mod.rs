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
//!     activation: None, // the usual one: softmax
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
//! for prediction in outputs.top_k(0, 3)? {
//!     let probability = prediction.probability.unwrap_or_default(); // a softmax has one
//!     println!("class {}: {:.1} %", prediction.class, 100.0 * probability);
//! }
//! # Ok(())
//! # }
//! ```

mod device;
mod error;
mod machine;
mod outputs;

pub use device::{ChoiceReason, Device, DeviceChoice, DeviceRequest, UnknownDevice};
pub use error::{NonFiniteLogits, SessionError};
pub use machine::Machine;
pub use outputs::{Outputs, Prediction};

use crate::arch::Size;
use crate::cpu::CpuExecutor;
use crate::device::{CudaDevice, EmulatedDevice, EmulatedWork};
use crate::image::Recipe;
use crate::kernels::Compute;
use crate::launches::{LaunchOptions, LaunchPlan, Path};
use crate::plan::{Plan, PlanOptions};
use crate::weights::{OutputActivation, Weights};
use std::collections::VecDeque;
use std::sync::Arc;

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
    /// From logits to probabilities; the weights' where none is given.
    pub activation: Option<OutputActivation>,
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
            activation: None,
        }
    }
}

/// Weights with a plan and the machine that runs it.
#[derive(Debug)]
pub struct Session {
    weights: Arc<Weights>,
    device: Device,
    compute: Compute,
    machine: Machine,
    activation: OutputActivation,
    /// Images of each run that was submitted and not collected, the oldest first.
    under_way: VecDeque<usize>,
}

impl Session {
    /// Plans and prepares everything. A run on the CPU allocates nothing more, but for the first of more
    /// images than any before, which asks the system for how much memory is left. On a GPU the first
    /// runs of each number of images record their launches as CUDA graphs, which allocates memory;
    /// the runs after them replay the graphs, and allocate nothing.
    pub fn new(weights: Arc<Weights>, options: SessionOptions) -> Result<Session, SessionError> {
        let metadata = weights.metadata();
        let device = options.device;
        let compute = options.compute.unwrap_or(device.default_compute(metadata.precision));
        if !device.computes_in(compute) {
            return Err(SessionError::Precision { found: compute });
        }
        let plan_options = PlanOptions {
            batch: options.batch,
            size: options.size.unwrap_or(metadata.recipe.size),
            padding: metadata.padding,
            precision: compute.storage(),
        };
        let plan = Plan::new(weights.network(), plan_options)?;
        let launches = || LaunchPlan::new(&plan, LaunchOptions::new(options.path, compute));
        let machine = match device {
            Device::Cpu => {
                let executor = CpuExecutor::new(plan, weights.clone(), options.threads)?;
                Machine::Cpu(Box::new(executor))
            }
            Device::Emulator => {
                let device = EmulatedDevice::new(launches()?, &weights)?;
                Machine::Emulated(Box::new(plan), Box::new(device))
            }
            Device::Cuda(ordinal) => {
                let device = CudaDevice::new(ordinal, launches()?, &weights)?;
                Machine::Cuda(Box::new(plan), Box::new(device))
            }
        };
        let activation = options.activation.unwrap_or(weights.metadata().activation());
        Ok(Session { weights, device, compute, machine, activation, under_way: VecDeque::new() })
    }

    /// The device that was asked for.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The device's own name, as in `NVIDIA H100 80GB HBM3, sm_90`.
    pub fn device_name(&self) -> String {
        self.machine.name()
    }

    /// The precision that the device computes in.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Whether the network ends in classes. Without a classifier there are features and no logits.
    pub fn has_classifier(&self) -> bool {
        self.weights.metadata().classes > 0
    }

    /// From logits to probabilities.
    pub fn activation(&self) -> OutputActivation {
        self.activation
    }

    /// The session in a line for people: device, kernels, precision.
    pub fn description(&self) -> String {
        let path = self.launches().map(|launches| launches.options.path).unwrap_or_default();
        let Session { device, compute, .. } = self;
        match &self.machine {
            Machine::Cpu(executor) => {
                let threads = executor.threads();
                let plural = if threads == 1 { "" } else { "s" };
                format!("CPU, f32, {threads} thread{plural}")
            }
            Machine::Emulated(..) => format!("PTX emulator, {path}, {compute}, all checks on"),
            Machine::Cuda(..) => format!("{device}, {}, {path}, {compute}", self.device_name()),
        }
    }

    /// The emulator's work so far; none on any other device.
    pub fn emulated_work(&self) -> Option<EmulatedWork> {
        match &self.machine {
            Machine::Emulated(_, device) => Some(device.work()),
            Machine::Cpu(_) | Machine::Cuda(..) => None,
        }
    }

    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        self.machine.plan()
    }

    /// The plan as launches; none on the CPU, which runs steps.
    pub fn launches(&self) -> Option<&LaunchPlan> {
        self.machine.launches()
    }

    /// Gives up the machine with its plan, to be measured or profiled by itself. Runs that are
    /// under way are waited for, and their outputs dropped.
    pub fn into_machine(mut self) -> Machine {
        self.abandon();
        self.machine
    }

    /// The GPU of a session that runs on one; else the session as it is. Runs that are under way
    /// are waited for, and their outputs dropped.
    pub fn into_cuda(mut self) -> Result<CudaDevice, Session> {
        self.abandon();
        match self.machine {
            Machine::Cuda(_, device) => Ok(*device),
            machine => Err(Session { machine, ..self }),
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

    /// Most runs that may be under way at once: one on the CPU and the emulator, where a run is
    /// over when it has been submitted; more on a GPU, which copies for one and works on another.
    pub fn capacity(&self) -> usize {
        self.machine.capacity()
    }

    /// Bytes of memory that a run of `n` images will use beside what is in use now; 0 where a run of so
    /// many has been, and where a device has memory of its own.
    pub fn untouched_bytes(&self, n: usize) -> u64 {
        self.machine.untouched_bytes(n)
    }

    /// Runs that were submitted and not collected.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Runs the images of `input`, `[n, h, w, 3]` with `1 <= n <= batch`. None may be under way.
    ///
    /// [`Outputs::logits`] are what the network computed, NaN and infinities included: an image
    /// whose values overflow is no error of the run, and keeps no other image from its outputs.
    /// [`Outputs::top_k`] refuses such an image.
    pub fn run(&mut self, input: &[f32]) -> Result<Outputs<'_>, SessionError> {
        let n = self.images(input, 1)?;
        self.machine.run(input, n)?;
        Ok(self.outputs(n))
    }

    /// Begins a run as [`run`](Session::run) does, beside others: at most
    /// [`capacity`](Session::capacity) are under way. The input may be changed when this returns.
    pub fn submit(&mut self, input: &[f32]) -> Result<(), SessionError> {
        let n = self.images(input, self.capacity())?;
        let begun = self.machine.submit(input, n);
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
        if let Err(error) = self.machine.collect() {
            self.under_way.clear();
            return Err(error);
        }
        Ok(self.outputs(n))
    }

    /// Waits for every run that was submitted and not collected, and drops its outputs or its
    /// error.
    pub fn abandon(&mut self) {
        while self.under_way() > 0 {
            let _ = self.collect();
        }
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

    /// Logits and features of the last run, of `n` images.
    fn outputs(&self, n: usize) -> Outputs<'_> {
        let (logits, features) = self.machine.outputs();
        let logits = if self.has_classifier() { logits } else { &[] };
        Outputs::new(n, logits, features, self.activation)
    }
}
