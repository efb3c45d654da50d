//! A GPU, through CUDA's driver.
//!
//! All buffers are allocated, and every kernel looked up, when a device is made. A slot's first run
//! of `n` images records its launches as a CUDA graph, which allocates memory; the runs of `n` images
//! after it replay the graph, and allocate nothing. A run by itself has the copies of input and
//! outputs in the graph: a copy to pinned memory, one call of the driver, and a wait. Runs that
//! overlap have their copies on streams of their own, beside the launches of other runs.

mod details;
mod driver;
mod error;
mod loaded;
mod measured;
mod open;
mod resources;
mod runner;
mod slot;
mod stepwise;

pub use details::{DeviceDetails, details};
pub use error::{CudaError, Version};
pub use measured::{MeasuredDevice, RunTimes};
pub use open::{DeviceInfo, devices, usable};
pub use runner::{KernelBuffer, KernelRunner, Repeats};

use crate::kernels;
use crate::launches::{Bases, LaunchPlan, LaunchRecord};
use crate::weights::{TensorId, Weights};
use driver::call;
use loaded::{Loaded, enqueue};
use open::{Opened, open};
use resources::{Context, DeviceBuffer, Event, Stream};
use slot::{Bound, Prepared, Slot};
use std::collections::VecDeque;
use std::fmt;
use std::ptr::null_mut;
use std::sync::Arc;

/// Whole runs that are queued before launches with events between them. The host takes longer to
/// queue a short launch and its event than the GPU to run it; were there nothing ahead, the GPU
/// would wait for the host, and the launch's time would be the host's.
const REPLAYS_AHEAD: usize = 3;

/// A GPU with a network's weights, ready to run it.
///
/// A run is either [`run`](CudaDevice::run), the quickest for one at a time, or
/// [`submit`](CudaDevice::submit) and later [`collect`](CudaDevice::collect), by which the copies
/// of one run go on beside the launches of another.
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
        };
        for tensor in 0..device.plan.weight_offsets.len() {
            let id = TensorId(tensor as u32);
            device.upload(id, &device.plan.tensor_bytes(weights, id))?;
        }
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

    /// Copies one tensor to its place; its bytes may change when this returns.
    fn upload(&self, id: TensorId, bytes: &[u8]) -> Result<(), CudaError> {
        let at = self.regions.weights.address + self.plan.place(id, bytes)?;
        // SAFETY: the bytes are readable, and their place is theirs alone and lies within the region
        // that was allocated, as was just checked.
        unsafe {
            call!(
                self.context.driver,
                "uploading the weights",
                upload(at, bytes.as_ptr().cast(), bytes.len())
            )
        }
    }

    /// Binds the launches of a run of `n` images to a slot, where that has not been done.
    fn prepare(&mut self, slot: usize, n: usize) -> Result<(), CudaError> {
        if self.slots[slot].prepared.contains_key(&n) {
            return Ok(());
        }
        let launches = self.plan.launches(n)?;
        let bases = self.regions.bases(&self.slots[slot]);
        let launches =
            launches.iter().map(|l| self.bind(l, &bases)).collect::<Result<Vec<Bound>, _>>()?;
        let prepared = Prepared { launches, kernels: None, whole: None };
        self.slots[slot].prepared.insert(n, prepared);
        Ok(())
    }

    fn bind(&mut self, launch: &LaunchRecord, bases: &Bases) -> Result<Bound, CudaError> {
        let bytes = launch.geometry.shared_bytes;
        Ok(Bound {
            function: self.kernels.function(&launch.name, launch.kernel, bytes)?,
            geometry: launch.geometry,
            params: launch.bind(bases),
        })
    }

    fn enqueue(&self, launch: &Bound, dependent: bool) -> Result<(), CudaError> {
        let stream = &self.streams.compute;
        // SAFETY: the device has loaded the kernel. The launch is of the plan that the regions were
        // allocated for, which nobody outside this crate can have changed, and keeps to them: launch
        // modules check shapes, and the emulator runs the same launches with checks, those of
        // dependent launches among them.
        unsafe { enqueue(stream, launch.function, launch.geometry, &launch.params, dependent) }
    }

    /// Enqueues the launches of a run, in order. The first one does not follow a launch, and so is
    /// no dependent one.
    fn enqueue_all(&self, launches: &[Bound]) -> Result<(), CudaError> {
        launches.iter().enumerate().try_for_each(|(index, launch)| {
            self.enqueue(launch, self.dependent_launches && index > 0)
        })
    }

    /// Copies the input of `n` images to a slot's staging memory, from where the device reads it.
    fn stage(&mut self, slot: usize, input: &[f32], n: usize) -> Result<(), CudaError> {
        self.context.bind()?;
        self.prepare(slot, n)?;
        let (found, expected) = (input.len(), n * self.plan.input_elems);
        if found != expected {
            return Err(CudaError::Input { found, expected });
        }
        self.last = self.last.filter(|&last| last != slot);
        self.slots[slot].images = n;
        self.slots[slot].staged_input.as_mut_slice()[..expected].copy_from_slice(input);
        Ok(())
    }

    /// Runs `n` images, `[n, h, w, 3]` with `1 <= n <= batch`, and waits for the outputs. The first
    /// run of `n` images records their launches; later ones replay them.
    pub fn run(&mut self, input: &[f32], n: usize) -> Result<(), CudaError> {
        let slot = self.idle_slot()?;
        self.stage(slot, input, n)?;
        self.record_whole(slot, n)?;
        let graph = self.slots[slot].prepared.get(&n).and_then(|prepared| prepared.whole.as_ref());
        // SAFETY: the device owns everything that was recorded, and waits below.
        let launched = graph.map_or(Ok(()), |graph| unsafe { graph.launch(&self.streams.compute) });
        // Also after a failure: staging memory must not be in use when this returns.
        let waited = self.streams.compute.synchronize("running the network");
        launched.and(waited)?;
        self.last = Some(slot);
        Ok(())
    }

    /// Begins a run of `n` images as [`run`](CudaDevice::run) does, and returns while it is under
    /// way. At most [`LaunchPlan::SLOTS`] runs are, until they are collected; after a failure, none
    /// is.
    pub fn submit(&mut self, input: &[f32], n: usize) -> Result<(), CudaError> {
        let free = (0..self.slots.len()).find(|slot| !self.under_way.contains(slot));
        let Some(slot) = free else {
            return Err(CudaError::Busy { under_way: self.under_way.len() });
        };
        let queued = self
            .stage(slot, input, n)
            .and_then(|()| self.record_kernels(slot, n))
            .and_then(|()| self.enqueue_run(slot, n));
        match queued {
            Ok(()) => self.under_way.push_back(slot),
            Err(_) => self.abandon(),
        }
        queued
    }

    fn enqueue_run(&self, slot: usize, n: usize) -> Result<(), CudaError> {
        let Streams { upload, compute, download } = &self.streams;
        let slot = &self.slots[slot];
        let graph = slot.prepared.get(&n).and_then(|prepared| prepared.kernels.as_ref());
        slot.enqueue_upload(upload, &self.plan, n)?;
        slot.uploaded.record(upload)?;
        compute.wait_for(&slot.uploaded)?;
        // SAFETY: the device owns everything that was recorded; the slot's next run begins only
        // after this one has been collected, and the launches of others follow on the same stream.
        graph.map_or(Ok(()), |graph| unsafe { graph.launch(compute) })?;
        slot.computed.record(compute)?;
        download.wait_for(&slot.computed)?;
        slot.enqueue_download(download, &self.plan, n)?;
        slot.downloaded.record(download)
    }

    /// Waits for the oldest run that was submitted and not collected: its outputs are then there,
    /// until the next run begins. Returns its number of images.
    pub fn collect(&mut self) -> Result<usize, CudaError> {
        let slot = self.under_way.front().copied().ok_or(CudaError::NothingSubmitted)?;
        self.context.bind()?;
        if let Err(error) = self.slots[slot].downloaded.synchronize("running the network") {
            self.abandon();
            return Err(error);
        }
        self.under_way.pop_front();
        self.last = Some(slot);
        Ok(self.slots[slot].images)
    }

    /// After a failure: nothing is under way any more, and no outputs are there.
    fn abandon(&mut self) {
        let _ = self.streams.synchronize("giving up");
        self.under_way.clear();
        self.last = None;
    }

    /// The slot for a run that must not overlap with others.
    fn idle_slot(&self) -> Result<usize, CudaError> {
        match self.under_way.len() {
            0 => Ok(0),
            under_way => Err(CudaError::Busy { under_way }),
        }
    }

    /// Records copies and launches as one graph, where that has not been done.
    fn record_whole(&mut self, slot: usize, n: usize) -> Result<(), CudaError> {
        let compute = &self.streams.compute;
        let at = &self.slots[slot];
        let Some(Prepared { launches, whole: None, .. }) = at.prepared.get(&n) else {
            return Ok(());
        };
        let graph = compute.capture(|| {
            at.enqueue_upload(compute, &self.plan, n)?;
            self.enqueue_all(launches)?;
            at.enqueue_download(compute, &self.plan, n)
        })?;
        if let Some(prepared) = self.slots[slot].prepared.get_mut(&n) {
            prepared.whole = Some(graph);
        }
        Ok(())
    }

    /// Records the launches as one graph, where that has not been done.
    fn record_kernels(&mut self, slot: usize, n: usize) -> Result<(), CudaError> {
        let Some(Prepared { launches, kernels: None, .. }) = self.slots[slot].prepared.get(&n)
        else {
            return Ok(());
        };
        let graph = self.streams.compute.capture(|| self.enqueue_all(launches))?;
        if let Some(prepared) = self.slots[slot].prepared.get_mut(&n) {
            prepared.kernels = Some(graph);
        }
        Ok(())
    }

    /// As [`run`](CudaDevice::run), launch by launch and each after the one before it has ended,
    /// with the microseconds of each.
    pub fn run_timed(&mut self, input: &[f32], n: usize) -> Result<Vec<f32>, CudaError> {
        let slot = self.idle_slot()?;
        self.stage(slot, input, n)?;
        self.record_kernels(slot, n)?;
        let compute = &self.streams.compute;
        let at = &self.slots[slot];
        let Prepared { launches, kernels, .. } = &at.prepared[&n];
        let events = (0..=launches.len())
            .map(|_| Event::timed(&self.context))
            .collect::<Result<Vec<Event>, _>>()?;
        let queued = (|| {
            at.enqueue_upload(compute, &self.plan, n)?;
            for _ in 0..REPLAYS_AHEAD {
                // SAFETY: the device owns everything that was recorded, and waits below.
                kernels.as_ref().map_or(Ok(()), |graph| unsafe { graph.launch(compute) })?;
            }
            events[0].record(compute)?;
            for (launch, event) in launches.iter().zip(&events[1..]) {
                self.enqueue(launch, false)?;
                event.record(compute)?;
            }
            at.enqueue_download(compute, &self.plan, n)
        })();
        let waited = compute.synchronize("running the network launch by launch");
        queued.and(waited)?;
        self.last = Some(slot);
        events.windows(2).map(|pair| Ok(pair[1].milliseconds_since(&pair[0])? * 1e3)).collect()
    }

    /// Logits of the last run, `[n, classes]`; empty before the first, after one that failed, and
    /// once the next has begun.
    pub fn logits(&self) -> &[f32] {
        self.last.map_or(&[], |slot| self.slots[slot].logits(&self.plan))
    }

    /// Features of the last run, `[n, c_head]`, as [`logits`](CudaDevice::logits).
    pub fn features(&self) -> &[f32] {
        self.last.map_or(&[], |slot| self.slots[slot].features(&self.plan))
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
