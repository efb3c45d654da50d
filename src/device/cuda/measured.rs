//! Runs in parts, each with its time: what is enqueued, copied to the device, computed, copied back.
//!
//! The device's own clock is read by events before and after each part. A graph, where one is used, holds the
//! launches alone, so that the copies around it have their own times.

use super::resources::Event;
use super::slot::Recorded;
use super::{CudaDevice, CudaError};
use crate::launches::Input;
use std::time::Instant;

/// For messages.
const RUNNING: &str = "running the network with its times";

/// The times of one run, in the words of trtexec.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunTimes {
    /// The host's time to enqueue the launches: one call for a graph, else one a kernel.
    pub enqueue_us: f64,
    /// Copy of the input to the device.
    pub h2d_us: f64,
    /// The launches: GPU Compute Time.
    pub compute_us: f64,
    /// Copy of the outputs to the host.
    pub d2h_us: f64,
    /// The three together, from the start of the first copy to the end of the last, on the device.
    pub latency_us: f64,
    /// What the caller waits: the above, staging the input in memory that the device reads, and the waiting.
    pub host_us: f64,
}

/// A device made ready for runs of one number of images with their times.
pub struct MeasuredDevice {
    device: CudaDevice,
    /// Before the upload, after it, after the launches, after the download.
    events: [Event; 4],
    n: usize,
    graph: bool,
}

impl MeasuredDevice {
    /// For runs of `n` images, `1 <= n <= batch`; the launches as one CUDA graph, or one by one.
    pub fn new(mut device: CudaDevice, n: usize, graph: bool) -> Result<MeasuredDevice, CudaError> {
        let slot = device.idle_slot()?;
        device.context.bind()?;
        device.prepare(slot, n)?;
        if graph {
            device.record(slot, n, Recorded::Kernels)?;
        }
        let event = || Event::timed(&device.context);
        let events = [event()?, event()?, event()?, event()?];
        Ok(MeasuredDevice { device, events, n, graph })
    }

    /// Runs the images, `[n, h, w, 3]`, and waits for the outputs.
    pub fn run<'a>(&mut self, input: impl Into<Input<'a>>) -> Result<RunTimes, CudaError> {
        let began = Instant::now();
        let slot = self.device.idle_slot()?;
        self.device.stage(input.into(), self.n)?;
        self.device.begin(slot, self.n)?;
        let CudaDevice { plan, streams, slots, .. } = &self.device;
        let (at, stream) = (&slots[slot], &streams.compute);
        let prepared = &at.prepared[&self.n];
        let [start, uploaded, computed, end] = &self.events;
        let queued = (|| {
            start.record(stream)?;
            at.enqueue_upload(stream, plan, self.n)?;
            uploaded.record(stream)?;
            let began = Instant::now();
            match prepared.kernels.as_ref().filter(|_| self.graph) {
                // SAFETY: the device owns what was recorded, and waits below.
                Some(graph) => unsafe { graph.launch(stream)? },
                None => self.device.enqueue_all(&prepared.launches)?,
            }
            let enqueue = began.elapsed();
            computed.record(stream)?;
            at.enqueue_download(stream, prepared)?;
            end.record(stream)?;
            Ok(enqueue)
        })();
        let queued = queued.and_then(|enqueue| {
            end.synchronize(RUNNING, self.device.wait.alone())?;
            Ok(enqueue)
        });
        // Also after a failure: staging memory must not be in use when this returns.
        let waited = stream.synchronize(RUNNING);
        let enqueue = queued.and_then(|enqueue| waited.map(|()| enqueue))?;
        let host = began.elapsed();
        self.device.last = Some(slot);
        let between = |from: &Event, to: &Event| {
            Ok::<f64, CudaError>(f64::from(to.milliseconds_since(from)?) * 1e3)
        };
        Ok(RunTimes {
            enqueue_us: enqueue.as_nanos() as f64 / 1e3,
            h2d_us: between(start, uploaded)?,
            compute_us: between(uploaded, computed)?,
            d2h_us: between(computed, end)?,
            latency_us: between(start, end)?,
            host_us: host.as_nanos() as f64 / 1e3,
        })
    }

    /// The device: its outputs are those of the last run.
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// The same, to begin runs that overlap.
    pub fn device_mut(&mut self) -> &mut CudaDevice {
        &mut self.device
    }
}
