//! Runs of images that are in device memory already, in the order of a stream of the caller's.
//!
//! Nothing of such a run passes the host: the images are copied from device memory to where the
//! launches read them, and the logits from where they are computed to the caller's memory. Events tie
//! the caller's stream to the device's own. So the launches recorded for other runs serve, whose
//! addresses are the slot's.

use super::driver::call;
use super::resources::Stream;
use super::slot::{Recorded, Slot};
use super::{CudaDevice, CudaError, KeptContext};
use cudarc::driver::sys::{CUdeviceptr, CUstream};
use std::ffi::c_void;

/// An address in device memory, as `cuMemAlloc` and `cudaMalloc` give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DevicePointer(pub u64);

/// A stream of the caller's: a `CUstream` or `cudaStream_t`. Null is the default stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamHandle(pub *mut c_void);

impl CudaDevice {
    /// Queues a run of `n` images, `[n, h, w, 3]` in the plan's type, from `input` to `logits`,
    /// `[n, classes]` in f32, behind what `stream` has been given so far; what `stream` is given later
    /// follows the run. Returns without waiting. The run counts as none that is under way, and no other
    /// run has to wait for it on the host; [`logits`](CudaDevice::logits) are not those of this run.
    ///
    /// The calling thread has the same current context afterwards as before.
    ///
    /// # Errors
    ///
    /// [`CudaError::Busy`] while [`LaunchPlan::SLOTS`] runs are under way, [`CudaError::Captured`] where
    /// `stream` is being captured; these leave other runs as they are. After a failure of the driver no
    /// run is under way. A fault of the run itself is told by whoever waits for `stream`, and by later
    /// calls.
    ///
    /// # Safety
    ///
    /// `stream` is a stream of the GPU's primary context that lives until this returns. From the
    /// run's turn on `stream` until its end there, `input` is device memory of `n` images that the GPU
    /// can read and nothing writes, and `logits` device memory of `n` rows that it can write and nothing
    /// else uses.
    ///
    /// [`LaunchPlan::SLOTS`]: crate::launches::LaunchPlan::SLOTS
    pub unsafe fn run_device(
        &mut self,
        input: DevicePointer,
        n: usize,
        logits: DevicePointer,
        stream: StreamHandle,
    ) -> Result<(), CudaError> {
        let slot = self.free_slot()?;
        let _kept = KeptContext::of(&self.context.driver);
        self.context.bind()?;
        let stream = stream.0.cast();
        self.refuse_capture(stream)?;
        self.prepare(slot, n)?;
        self.last = self.last.filter(|&last| last != slot);
        self.slots[slot].staged = 0;
        let queued = loop {
            if let Err(error) = self.record(slot, n, Recorded::Kernels) {
                break Err(error);
            }
            // SAFETY: the caller's promise; the context is the thread's.
            let Err(error) = (unsafe { self.enqueue_on_device(slot, input, n, logits, stream) })
            else {
                break Ok(());
            };
            // All of it is queued anew behind the part that was.
            if let Err(error) = self.do_without(error) {
                break Err(error);
            }
        };
        match queued {
            Ok(()) => self.slots[slot].on_device = true,
            // The caller's memory must not be in use when this returns.
            Err(_) => self.abandon(),
        }
        queued
    }

    /// Runs that were submitted and not collected.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Work that is captured does not run now, but whenever its graph does: beside other runs, perhaps.
    fn refuse_capture(&self, stream: CUstream) -> Result<(), CudaError> {
        let mut status = 0;
        let what = "looking at the caller's stream";
        // SAFETY: the stream lives, as `run_device`'s caller promises; the status is written.
        unsafe { call!(self.context.driver, what, stream_captured(stream, &mut status))? };
        if status == 0 { Ok(()) } else { Err(CudaError::Captured) }
    }

    /// # Safety
    ///
    /// As of [`run_device`](CudaDevice::run_device).
    unsafe fn enqueue_on_device(
        &self,
        slot: usize,
        DevicePointer(input): DevicePointer,
        n: usize,
        DevicePointer(logits): DevicePointer,
        stream: CUstream,
    ) -> Result<(), CudaError> {
        let compute = &self.streams.compute;
        let at: &Slot = &self.slots[slot];
        let input_bytes = self.plan.input_bytes as usize / self.plan.batch * n;
        let from = at.output.address + self.plan.logits.offset_bytes;
        let logits_bytes = n * self.plan.classes * size_of::<f32>();
        // Earlier runs of the slot are over, or before this one on the stream of the launches.
        // SAFETY: the stream is the caller's, of the same context. `input` and `logits` are as the caller
        // promises. The slot holds a whole batch of images and of logits, and whoever uses it next waits
        // for this run: the launches' stream by its order, the others by `on_device`.
        unsafe {
            at.uploaded.record_on(stream)?;
            compute.wait_for(&at.uploaded)?;
            copy(compute, "taking the images", at.input.address, input, input_bytes)?;
            self.replay(&at.prepared[&n])?;
            copy(compute, "handing the logits over", logits, from, logits_bytes)?;
            at.computed.record(compute)?;
            at.computed.hold(stream)
        }
    }
}

/// Queues a copy within device memory.
///
/// # Safety
///
/// Both places have so many bytes, which nothing else uses before the copy has come.
unsafe fn copy(
    stream: &Stream,
    what: &str,
    to: CUdeviceptr,
    from: CUdeviceptr,
    bytes: usize,
) -> Result<(), CudaError> {
    // SAFETY: the stream lives; the rest is the caller's promise.
    unsafe { call!(stream.context.driver, what, copy_async(to, from, bytes, stream.handle)) }
}
