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

mod buffer;
mod device;
mod error;
mod machine;
mod outputs;

pub use buffer::InputBuffer;
pub use device::{ChoiceReason, Device, DeviceChoice, DeviceRequest, UnknownDevice};
pub use error::{NonFiniteLogits, SessionError};
pub use machine::Machine;
#[cfg(feature = "serve")]
pub(crate) use outputs::best;
pub use outputs::{Outputs, Prediction};

pub use crate::device::InputMut;
pub use crate::device::cuda::{DevicePointer, StreamHandle};
pub use crate::launches::{Input, InputType};

use crate::arch::Size;
use crate::cpu::CpuExecutor;
use crate::device::{CudaDevice, EmulatedDevice, EmulatedWork};
use crate::image::{LevelValues, Recipe};
use crate::kernels::Compute;
use crate::launches::{Download, LaunchInput, LaunchOptions, LaunchPlan, LaunchPlanError, Path};
use crate::plan::{Plan, PlanOptions};
use crate::weights::{OutputActivation, Weights};
use outputs::Given;
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
    /// Type of the images' elements. Levels in u8 are normalised by the network's first step as the
    /// weights' recipe normalises them: they take a quarter of the memory and of the copies, and give
    /// the logits of the same levels normalised in f32, bit for bit on the CPU.
    pub input: InputType,
    /// The number of best classes, where they are all that is wanted of each image: a GPU finds them
    /// and copies nothing else back, and there are neither logits nor features. At most as many as
    /// the network has classes.
    pub top_k: Option<usize>,
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
            input: InputType::F32,
            top_k: None,
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
    host: Box<Host>,
    /// Images of each run that was submitted and not collected, the oldest first.
    under_way: VecDeque<usize>,
}

/// What the host has to do with a run's images and outputs.
#[derive(Debug)]
struct Host {
    /// What the network takes for each level; none where the images are no levels.
    values: Option<Box<LevelValues>>,
    /// Number of best classes, where nothing else is wanted.
    top_k: Option<usize>,
    /// Memory that is lent for the next run's images, where the machine has none of its own.
    staged: Option<InputBuffer>,
    /// Images that it was lent for since the last run.
    lent: usize,
    /// Logits of the last run, where its best classes alone came and some of them say that not all
    /// logits are finite.
    overflowed: Vec<f32>,
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
        if let Some(k) = options.top_k {
            if metadata.classes == 0 {
                return Err(SessionError::NoClassifier);
            }
            let classes = plan.network.classes;
            if !(1..=classes).contains(&k) {
                return Err(LaunchPlanError::TopK { found: k, classes }.into());
            }
        }
        let normalisation = metadata.recipe.normalisation();
        let launch_options = LaunchOptions {
            input: match options.input {
                InputType::F32 => LaunchInput::F32,
                InputType::U8 => LaunchInput::U8(normalisation),
            },
            top_k: options.top_k.unwrap_or(0),
            download: if options.top_k.is_some() { Download::TopK } else { Download::All },
            ..LaunchOptions::new(options.path, compute)
        };
        let launches = || LaunchPlan::new(&plan, launch_options);
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
        Ok(Session {
            weights,
            device,
            compute,
            machine,
            activation,
            host: Box::new(Host {
                values: (options.input == InputType::U8).then(|| normalisation.level_values()),
                top_k: options.top_k,
                staged: None,
                lent: 0,
                overflowed: Vec::new(),
            }),
            under_way: VecDeque::new(),
        })
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

    /// Type of the images' elements.
    pub fn input_type(&self) -> InputType {
        if self.host.values.is_some() { InputType::U8 } else { InputType::F32 }
    }

    /// The number of best classes that come of each image, where nothing else does.
    pub fn top_k(&self) -> Option<usize> {
        self.host.top_k
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

    /// Runs the images of `input`, `[n, h, w, 3]` with `1 <= n <= batch`: a slice of f32, or of u8
    /// where the session was made for it. None may be under way.
    ///
    /// [`Outputs::logits`] are what the network computed, NaN and infinities included: an image
    /// whose values overflow is no error of the run, and keeps no other image from its outputs.
    /// [`Outputs::top_k`] refuses such an image.
    pub fn run<'a>(&mut self, input: impl Into<Input<'a>>) -> Result<Outputs<'_>, SessionError> {
        let input = input.into();
        let n = self.images(input, 1)?;
        self.machine.run(input, self.host.values.as_deref(), n)?;
        self.host.lent = 0;
        self.outputs(n)
    }

    /// Begins a run as [`run`](Session::run) does, beside others: at most
    /// [`capacity`](Session::capacity) are under way. The input may be changed when this returns.
    pub fn submit<'a>(&mut self, input: impl Into<Input<'a>>) -> Result<(), SessionError> {
        let input = input.into();
        let n = self.images(input, self.capacity())?;
        let begun = self.machine.submit(input, self.host.values.as_deref(), n);
        self.begun(begun, n)
    }

    /// Memory for the `n` images of the next run, `[n, h, w, 3]` with `1 <= n <= batch`, in the
    /// session's type: the network reads the images from where they are written, without a copy on
    /// the host. [`run_staged`](Session::run_staged) and [`submit_staged`](Session::submit_staged)
    /// run them. On a GPU the memory is one that it reads directly. What it holds until it is
    /// written are earlier images, or zeros.
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] where [`capacity`](Session::capacity) runs are under way, whose memory
    /// is not lent before they are collected.
    ///
    /// ```
    /// # use effnet::arch::{Padding, Size, Variant};
    /// # use effnet::session::{InputType, Session, SessionOptions};
    /// # use effnet::weights::{Precision, stand_in};
    /// # use std::sync::Arc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let weights = Arc::new(stand_in::random_weights(Variant::Lite0, Precision::Fp16)?);
    /// let size = Some(Size::square(32));
    /// let options = SessionOptions { size, input: InputType::U8, ..SessionOptions::default() };
    /// let mut session = Session::new(weights, options)?;
    /// session.input_mut(1)?.u8()?.fill(127); // levels, as a decoder writes them
    /// let outputs = session.run_staged(1)?;
    /// assert_eq!(outputs.logits(0).len(), 1000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn input_mut(&mut self, n: usize) -> Result<InputMut<'_>, SessionError> {
        self.room_for(n, self.capacity())?;
        let (batch, elems, input_type) = (self.batch(), self.input_elems(), self.input_type());
        if let Machine::Cuda(_, device) = &mut self.machine {
            return Ok(device.input_mut(n)?);
        }
        let buffer = match self.host.staged.take() {
            Some(buffer) => buffer,
            None => InputBuffer::owned(input_type, elems, batch).map_err(|_| {
                let bytes = batch.saturating_mul(elems).saturating_mul(input_type.elem_bytes());
                SessionError::InputMemory { bytes }
            })?,
        };
        self.host.lent = n;
        Ok(self.host.staged.insert(buffer).images_mut(n))
    }

    /// Runs as [`run`](Session::run) does the images in the memory that
    /// [`input_mut`](Session::input_mut) has lent since the last run: the first `n` of those that it
    /// was asked for.
    pub fn run_staged(&mut self, n: usize) -> Result<Outputs<'_>, SessionError> {
        self.room_for(n, 1)?;
        match &mut self.machine {
            Machine::Cuda(_, device) => device.run_staged(n)?,
            Machine::Cpu(_) | Machine::Emulated(..) => self.with_staged(n)?,
        }
        self.outputs(n)
    }

    /// Begins a run of images as [`run_staged`](Session::run_staged) runs them, beside others, as
    /// [`submit`](Session::submit) does.
    pub fn submit_staged(&mut self, n: usize) -> Result<(), SessionError> {
        self.room_for(n, self.capacity())?;
        let begun = match &mut self.machine {
            Machine::Cuda(_, device) => device.submit_staged(n).map_err(SessionError::from),
            Machine::Cpu(_) | Machine::Emulated(..) => self.with_staged(n),
        };
        self.begun(begun, n)
    }

    /// Runs what is in the session's own memory.
    fn with_staged(&mut self, n: usize) -> Result<(), SessionError> {
        let lent = std::mem::take(&mut self.host.lent);
        match &self.host.staged {
            Some(buffer) if n <= lent => {
                self.machine.run(buffer.images(n), self.host.values.as_deref(), n)
            }
            _ => Err(SessionError::NotStaged { asked: n, lent }),
        }
    }

    /// More memory for the images of a run, `[batch, h, w, 3]` in the session's type, zeros: for who
    /// prepares several runs at once, on any threads. On a GPU it is memory that it reads directly.
    pub fn input_buffer(&self) -> Result<InputBuffer, SessionError> {
        let (batch, elems, input_type) = (self.batch(), self.input_elems(), self.input_type());
        if let Machine::Cuda(_, device) = &self.machine {
            return Ok(InputBuffer::pinned(device.pinned_input()?, elems));
        }
        InputBuffer::owned(input_type, elems, batch).map_err(|_| {
            let bytes = batch.saturating_mul(elems).saturating_mul(input_type.elem_bytes());
            SessionError::InputMemory { bytes }
        })
    }

    /// Begins a run of the first `n` images of `buffer`, beside others, as
    /// [`submit`](Session::submit) does, without a copy on the host. The buffer may be changed when
    /// this returns: on a GPU it then has other memory, of a run that is over, in exchange.
    ///
    /// # Errors
    ///
    /// Also where the buffer is of a session whose images have another size or type.
    pub fn submit_buffer(
        &mut self,
        buffer: &mut InputBuffer,
        n: usize,
    ) -> Result<(), SessionError> {
        self.room_for(n, self.capacity())?;
        if n > buffer.capacity() {
            return Err(SessionError::Images { batch: buffer.capacity(), found: n });
        }
        self.images(buffer.images(n), self.capacity())?;
        let begun = self.machine.submit_buffer(buffer, self.host.values.as_deref(), n);
        self.begun(begun, n)
    }

    /// Queues a run of `n` images that are in the GPU's memory, `[n, h, w, 3]` in the session's type at
    /// `input`, whose logits go to the GPU's memory, `[n, classes]` in f32 at `logits`: nothing of it
    /// passes the host. The run follows what `stream` has been given so far, what `stream` is given
    /// later follows the run, and this returns without waiting. Other runs may be under way, fewer than
    /// [`capacity`](Session::capacity); this one counts as none of them, and is not collected. The logits
    /// are those of [`run`](Session::run), bit for bit.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotOnGpu`] for a session on another device; [`CudaError::Captured`] where `stream`
    /// is being captured as a graph. A fault of the run itself is told by whoever waits for `stream`,
    /// and by later calls.
    ///
    /// [`CudaError::Captured`]: crate::device::CudaError::Captured
    ///
    /// # Safety
    ///
    /// `stream` is a stream of the primary context of the session's GPU, the context of CUDA's runtime
    /// API, and lives until this returns. From the run's turn on `stream` until its end there, `input`
    /// is memory of `n` images that the GPU can read and nothing writes, and `logits` memory of `n` rows
    /// that it can write and nothing else uses.
    pub unsafe fn run_device(
        &mut self,
        input: DevicePointer,
        n: usize,
        logits: DevicePointer,
        stream: StreamHandle,
    ) -> Result<(), SessionError> {
        if self.device.gpu().is_none() {
            return Err(SessionError::NotOnGpu { device: self.device });
        }
        if !self.has_classifier() {
            return Err(SessionError::NoClassifier);
        }
        self.room_for(n, self.capacity())?;
        let elem_bytes = self.input_type().elem_bytes() as u64;
        for (what, found, align) in [("images", input.0, elem_bytes), ("logits", logits.0, 4)] {
            if found == 0 || !found.is_multiple_of(align) {
                return Err(SessionError::DevicePointer { what, found, align });
            }
        }
        let Machine::Cuda(_, device) = &mut self.machine else {
            return Err(SessionError::NotOnGpu { device: self.device });
        };
        // SAFETY: the caller's promise.
        let queued = unsafe { device.run_device(input, n, logits, stream) };
        if device.under_way() == 0 {
            // A device that fails gives up what is under way.
            self.under_way.clear();
        }
        Ok(queued?)
    }

    /// Waits for the oldest run that was submitted and not collected.
    pub fn collect(&mut self) -> Result<Outputs<'_>, SessionError> {
        let n = self.under_way.pop_front().ok_or(SessionError::NothingSubmitted)?;
        if let Err(error) = self.machine.collect() {
            self.under_way.clear();
            return Err(error);
        }
        self.outputs(n)
    }

    /// Waits for every run that was submitted and not collected, and drops its outputs or its
    /// error.
    pub fn abandon(&mut self) {
        while self.under_way() > 0 {
            let _ = self.collect();
        }
    }

    fn begun(&mut self, begun: Result<(), SessionError>, n: usize) -> Result<(), SessionError> {
        match begun {
            Ok(()) => self.under_way.push_back(n),
            // A device that fails gives up what is under way.
            Err(_) => self.under_way.clear(),
        }
        begun
    }

    /// Whether `n` images fit a run, and fewer than `capacity` runs are under way.
    fn room_for(&self, n: usize, capacity: usize) -> Result<(), SessionError> {
        let (under_way, batch) = (self.under_way.len(), self.batch());
        if under_way >= capacity {
            return Err(SessionError::Busy { under_way });
        }
        match (1..=batch).contains(&n) {
            true => Ok(()),
            false => Err(SessionError::Images { batch, found: n }),
        }
    }

    /// The number of images in an input, where fewer than `capacity` runs are under way.
    fn images(&self, input: Input<'_>, capacity: usize) -> Result<usize, SessionError> {
        let under_way = self.under_way.len();
        if under_way >= capacity {
            return Err(SessionError::Busy { under_way });
        }
        input.expect(self.input_type())?;
        let (batch, elems) = (self.batch(), self.input_elems());
        let n = input.len() / elems;
        if !input.len().is_multiple_of(elems) || !(1..=batch).contains(&n) {
            let size = self.plan().input_size();
            return Err(SessionError::Input { batch, elems, size, found: input.len() });
        }
        Ok(n)
    }

    /// Logits and features of the last run, of `n` images, or its best classes.
    fn outputs(&mut self, n: usize) -> Result<Outputs<'_>, SessionError> {
        self.host.overflowed.clear();
        if self.machine.best().is_some_and(|best| best.probabilities.iter().any(|p| p.is_nan())) {
            self.host.overflowed = self.machine.read_logits()?;
        }
        let (logits, features) = self.machine.outputs();
        let logits = if self.has_classifier() { logits } else { &[] };
        let best = self.machine.best();
        Ok(Outputs::new(
            n,
            self.activation,
            match (self.host.top_k, best) {
                (None, _) => Given::All { logits, features },
                (Some(k), None) => Given::Best { k, logits },
                (Some(_), Some(best)) => Given::Found { best, overflowed: &self.host.overflowed },
            },
        ))
    }
}
