//! A GPU, through CUDA's driver.
//!
//! All buffers are allocated, and every kernel looked up, when a device is made. A slot's first run
//! of `n` images records its launches as a CUDA graph, which allocates memory; the runs of `n` images
//! after it replay the graph, and allocate nothing. A run by itself has the copies of input and
//! outputs in the graph: the images in pinned memory, one call of the driver, and a wait. Runs that
//! overlap have their copies on streams of their own, beside the launches of other runs.
//!
//! In reading order: `driver` (the functions in use), `faults` (what their results mean), `error`,
//! `resources` (what the driver hands out), `open`, `loaded` (kernels), `slot` (what a run has for
//! itself), `upload` (weights), `wait`, `runs`, `on_device` (runs from device memory to device memory),
//! `kept` (the caller's context); `stepwise`, `measured` and `runner` for tools.

mod details;
mod driver;
mod error;
mod faults;
mod kept;
mod loaded;
mod measured;
mod on_device;
mod open;
mod pinned;
mod resources;
mod runner;
mod runs;
mod slot;
mod stepwise;
mod upload;
mod wait;

pub use details::{DeviceDetails, details};
pub use error::{CudaError, Version};
pub use kept::KeptContext;
pub use measured::{MeasuredDevice, RunTimes};
pub use on_device::{DevicePointer, StreamHandle};
pub use open::{Code, DeviceInfo, devices, driver_version, usable};
pub use pinned::PinnedInput;
pub use runner::{KernelBuffer, KernelRunner, Repeats};
pub use wait::Wait;

pub use super::BestClasses;
use crate::kernels;
use crate::launches::{Address, Bases, LaunchPlan};
use crate::weights::Weights;
use bytemuck::AnyBitPattern;
use driver::call;
use loaded::Loaded;
use open::{Opened, open};
use resources::{Context, DeviceBuffer, Stream};
use slot::Slot;
use std::collections::VecDeque;
use std::fmt;
use std::ptr::null_mut;
use std::sync::Arc;

/// A GPU with a network's weights, ready to run it.
///
/// A run is either [`run`](CudaDevice::run), the quickest for one at a time, or
/// [`submit`](CudaDevice::submit) and later [`collect`](CudaDevice::collect), by which the copies
/// of one run go on beside the launches of another. Both copy their input to memory that the GPU
/// reads; whoever makes the input may write it there at once, with
/// [`input_mut`](CudaDevice::input_mut), and then run it with
/// [`run_staged`](CudaDevice::run_staged) or [`submit_staged`](CudaDevice::submit_staged).
///
/// A device is not to be shared between threads, but it may be moved to another.
pub struct CudaDevice {
    // Fields are dropped from top to bottom: each one before those that it refers to.
    slots: Vec<Slot>,
    /// Slots whose runs have been submitted and not collected, the oldest first.
    under_way: VecDeque<usize>,
    /// The slot of the last run that ended well, until it is used again.
    last: Option<usize>,
    kernels: Loaded,
    regions: Regions,
    streams: Streams,
    context: Arc<Context>,
    info: DeviceInfo,
    plan: LaunchPlan,
    /// Whether a launch may begin while the one before it still runs.
    dependent_launches: bool,
    /// Whether launches are recorded as graphs, and replayed.
    graphs: bool,
    wait: Wait,
    /// What the driver refused, and what is done without it.
    notes: Vec<String>,
}

// SAFETY: the driver's handles may be used on any thread once the context is made the thread's,
// which every method does that calls the driver, drops included; nothing is tied to the thread that
// made it.
unsafe impl Send for CudaDevice {}

/// The regions of a plan that all runs share.
struct Regions {
    weights: DeviceBuffer,
    arena: DeviceBuffer,
    counters: DeviceBuffer,
}

impl Regions {
    fn new(context: &Arc<Context>, plan: &LaunchPlan) -> Result<Regions, CudaError> {
        let buffer = |what, bytes: u64| {
            DeviceBuffer::new(context, what, usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        Ok(Regions {
            weights: buffer("the weights", plan.weights_bytes)?,
            arena: buffer("the activations", plan.arena_bytes)?,
            counters: buffer("the counters", plan.counters_bytes)?,
        })
    }

    fn bases(&self, slot: &Slot) -> Bases {
        Bases {
            weights: self.weights.address,
            arena: self.arena.address,
            input: slot.input.address,
            output: slot.output.address,
            counters: self.counters.address,
        }
    }
}

/// Launches are on one stream, so that runs follow each other; copies on the others go on beside
/// them.
struct Streams {
    upload: Stream,
    compute: Stream,
    download: Stream,
}

impl Streams {
    fn new(context: &Arc<Context>) -> Result<Streams, CudaError> {
        Ok(Streams {
            upload: Stream::new(context)?,
            compute: Stream::new(context)?,
            download: Stream::new(context)?,
        })
    }

    fn synchronize(&self, what: &str) -> Result<(), CudaError> {
        let waited = [&self.upload, &self.compute, &self.download].map(|s| s.synchronize(what));
        waited.into_iter().collect()
    }
}

impl CudaDevice {
    /// Opens GPU `ordinal` for `plan`, and uploads the weights, each in the plan's precision.
    /// Nothing reads them afterwards.
    ///
    /// # Errors
    ///
    /// If the GPU cannot be used, if the plan is of another network than the weights, or if the
    /// weights' file changes meanwhile.
    pub fn new(
        ordinal: usize,
        plan: LaunchPlan,
        weights: &Weights,
    ) -> Result<CudaDevice, CudaError> {
        // First, so that a build without kernels says that it has none.
        kernels::built()?;
        plan.check_weights(weights)?;
        weights.check()?;
        let Opened { context, info, kernels, dependent_launches } = open(ordinal)?;
        let regions = Regions::new(&context, &plan)?;
        let slots = (0..LaunchPlan::SLOTS).map(|_| Slot::new(&context, &plan));
        let device = CudaDevice {
            slots: slots.collect::<Result<_, _>>()?,
            under_way: VecDeque::new(),
            last: None,
            kernels,
            regions,
            streams: Streams::new(&context)?,
            context,
            info,
            plan,
            dependent_launches,
            graphs: true,
            wait: Wait::default(),
            notes: Vec::new(),
        };
        device.upload_weights(weights)?;
        weights.check()?;
        let (at, bytes) = (device.regions.counters.address, device.plan.counters_bytes as usize);
        let what = "zeroing the counters";
        // Copies and fills are on the default stream, may go on after their calls, and no other
        // stream waits for them.
        // SAFETY: the length is that of the counters' buffer, and nothing runs on them yet; null is
        // the default stream, and is there.
        unsafe {
            call!(device.context.driver, what, fill(at, 0, bytes))?;
            call!(device.context.driver, what, stream_synchronize(null_mut()))?;
        }
        Ok(device)
    }

    /// Logits of the last run, `[n, classes]`; empty before the first, after one that failed, once
    /// the next has begun, and where the host gets none ([`LaunchOptions::download`]).
    ///
    /// [`LaunchOptions::download`]: crate::launches::LaunchOptions::download
    pub fn logits(&self) -> &[f32] {
        self.output(self.plan.logits, self.plan.classes)
    }

    /// Features of the last run, `[n, c_head]`, as [`logits`](CudaDevice::logits).
    pub fn features(&self) -> &[f32] {
        self.output(self.plan.features, self.plan.c_head)
    }

    /// Logits of the last run, `[n, classes]`, from the device: for when the host does not get them
    /// with each run. Waits for runs that are under way.
    pub fn read_logits(&self) -> Result<Vec<f32>, CudaError> {
        let Some(slot) = self.last else { return Ok(Vec::new()) };
        self.context.bind()?;
        let slot = &self.slots[slot];
        let mut logits = vec![0.0f32; slot.images * self.plan.classes];
        let from = slot.output.address + self.plan.logits.offset_bytes;
        let (stream, what) = (&self.streams.download, "reading the logits");
        // SAFETY: where the plan has its logits, the slot's outputs have as many bytes for each image,
        // and nothing runs on the slot; the copy is waited for below.
        let queued = unsafe {
            let (to, bytes) = (logits.as_mut_ptr().cast(), size_of_val(&logits[..]));
            call!(self.context.driver, what, download_async(to, from, bytes, stream.handle))
        };
        let waited = stream.synchronize(what);
        queued.and(waited).map(|()| logits)
    }

    /// The best classes of each image of the last run; none where they were not asked for, and when
    /// there are no [`logits`](CudaDevice::logits) of a run.
    pub fn top_k(&self) -> Option<BestClasses<'_>> {
        let top = self.plan.top_k?;
        self.last.map(|_| BestClasses {
            k: top.k,
            classes: self.output(top.classes, top.k),
            logits: self.output(top.logits, top.k),
            probabilities: self.output(top.probabilities, top.k),
        })
    }

    fn output<T: AnyBitPattern>(&self, at: Address, image_elems: usize) -> &[T] {
        self.last.map_or(&[], |slot| self.slots[slot].output(at, image_elems))
    }

    /// Name of the GPU, as in `NVIDIA H100 80GB HBM3, sm_90`.
    pub fn name(&self) -> String {
        self.info.to_string()
    }

    /// The GPU.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// The plan that the device was made for.
    pub fn plan(&self) -> &LaunchPlan {
        &self.plan
    }

    /// Whether a launch may begin while the one before it still runs (programmatic dependent
    /// launch): from compute capability 9.0 and driver 12.3 on.
    pub fn dependent_launches(&self) -> bool {
        self.dependent_launches
    }

    /// What the driver has refused so far of what makes runs quick (CUDA graphs, dependent
    /// launches), and what is done instead: a sentence each. Nothing is lost but time.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How the host waits for runs from now on; [`Wait::Auto`] until said otherwise.
    pub fn set_wait(&mut self, wait: Wait) {
        self.wait = wait;
    }

    /// Makes each launch begin only after the one before it has ended, to measure the gain of the
    /// overlap.
    pub fn without_dependent_launches(mut self) -> CudaDevice {
        self.dependent_launches = false;
        self.slots.iter_mut().for_each(|slot| slot.prepared.clear());
        self
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // Work under way may use the memory that the fields give back.
        if self.context.bind().is_ok() {
            let _ = self.streams.synchronize("closing the GPU");
        }
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaDevice")
            .field("info", &self.info)
            .field("under_way", &self.under_way)
            .finish_non_exhaustive()
    }
}
