//! Runs: images staged, launches recorded and replayed, outputs waited for.

use super::loaded::enqueue;
use super::resources::{Event, Graph};
use super::slot::{Bound, Prepared, Recorded, Slot, downloads};
use super::{CudaDevice, CudaError, Streams};
use crate::device::InputMut;
use crate::launches::{Bases, Input, LaunchRecord};

/// Microseconds that the repeats of all launches of a run come to, about.
const REPEATED_US: f32 = 8000.0;
/// The most repeats of a launch that is timed.
const MAX_REPEATS: usize = 16;

/// For messages.
const RUNNING: &str = "running the network";

/// Input.
impl CudaDevice {
    /// Memory for the images of the next run, `[n, h, w, 3]` with `1 <= n <= batch`, in the plan's
    /// type: the GPU reads the images from where they are written. Until they are, they are those
    /// that were last written to the same memory, or zeros.
    ///
    /// # Errors
    ///
    /// [`CudaError::Busy`] where all memory is of runs that are under way: what one of them may
    /// still read is not lent.
    pub fn input_mut(&mut self, n: usize) -> Result<InputMut<'_>, CudaError> {
        let slot = self.free_slot()?;
        self.context.bind()?;
        self.prepare(slot, n)?;
        self.slots[slot].staged = n;
        Ok(self.slots[slot].input_mut(&self.plan, n))
    }

    /// Copies the input of `n` images to where the next run's is read.
    pub(super) fn stage(&mut self, input: Input<'_>, n: usize) -> Result<(), CudaError> {
        input.expect(self.plan.input_type())?;
        let staged = self.input_mut(n)?;
        let (found, expected) = (input.len(), staged.len());
        if found != expected {
            return Err(CudaError::Input { found, expected });
        }
        Ok(staged.write(input)?)
    }

    /// Takes a slot with the input of `n` images for a run of them, whose outputs replace those
    /// that it holds.
    pub(super) fn begin(&mut self, slot: usize, n: usize) -> Result<(), CudaError> {
        self.context.bind()?;
        self.prepare(slot, n)?;
        let lent = std::mem::take(&mut self.slots[slot].staged);
        if lent < n {
            return Err(CudaError::NotStaged { asked: n, lent });
        }
        self.last = self.last.filter(|&last| last != slot);
        self.slots[slot].images = n;
        Ok(())
    }

    /// The slot for a run that must not overlap with others.
    pub(super) fn idle_slot(&self) -> Result<usize, CudaError> {
        match self.under_way.len() {
            0 => self.free_slot(),
            under_way => Err(CudaError::Busy { under_way }),
        }
    }

    /// The slot of the next run: the first of those without one.
    pub(super) fn free_slot(&self) -> Result<usize, CudaError> {
        let free = (0..self.slots.len()).find(|slot| !self.under_way.contains(slot));
        free.ok_or(CudaError::Busy { under_way: self.under_way.len() })
    }
}

/// Launches.
impl CudaDevice {
    /// Binds the launches of a run of `n` images to a slot, where that has not been done.
    pub(super) fn prepare(&mut self, slot: usize, n: usize) -> Result<(), CudaError> {
        if self.slots[slot].prepared.contains_key(&n) {
            return Ok(());
        }
        let launches = self.plan.launches(n)?;
        let bases = self.regions.bases(&self.slots[slot]);
        let launches = launches
            .into_iter()
            .map(|l| self.bind(l, &bases))
            .collect::<Result<Vec<Bound>, _>>()?;
        let downloads = downloads(&self.plan, n);
        let prepared = Prepared { launches, downloads, kernels: None, whole: None };
        self.slots[slot].prepared.insert(n, prepared);
        Ok(())
    }

    fn bind(&mut self, launch: LaunchRecord, bases: &Bases) -> Result<Bound, CudaError> {
        let bytes = launch.geometry.shared_bytes;
        Ok(Bound {
            function: self.kernels.function(&launch.name, launch.kernel, bytes)?,
            geometry: launch.geometry,
            params: launch.bind(bases),
            name: launch.name,
        })
    }

    pub(super) fn enqueue(&self, launch: &Bound, dependent: bool) -> Result<(), CudaError> {
        let stream = &self.streams.compute;
        let Bound { name, function, geometry, params } = launch;
        // SAFETY: the device has loaded the kernel. The launch is of the plan that the regions were
        // allocated for, which nobody outside this crate can have changed, and keeps to them: launch
        // modules check shapes, and the emulator runs the same launches with checks, those of
        // dependent launches among them.
        let queued = unsafe { enqueue(stream, *function, *geometry, params, dependent) };
        queued.map_err(|error| error.during(|| format!("launching {name}")))
    }

    /// Enqueues the launches of a run, in order. The first one does not follow a launch, and so is
    /// no dependent one.
    pub(super) fn enqueue_all(&self, launches: &[Bound]) -> Result<(), CudaError> {
        launches.iter().enumerate().try_for_each(|(index, launch)| {
            self.enqueue(launch, self.dependent_launches && index > 0)
        })
    }

    /// Records what a run queues as one graph, where that has not been done and the driver does it.
    pub(super) fn record(
        &mut self,
        slot: usize,
        n: usize,
        recorded: Recorded,
    ) -> Result<(), CudaError> {
        while self.graphs && recorded.of(&self.slots[slot].prepared[&n]).is_none() {
            match self.capture(slot, n, recorded) {
                Ok(graph) => {
                    if let Some(prepared) = self.slots[slot].prepared.get_mut(&n) {
                        *recorded.of_mut(prepared) = Some(graph);
                    }
                    return Ok(());
                }
                Err(error) => self.do_without(error)?,
            }
        }
        Ok(())
    }

    fn capture(&self, slot: usize, n: usize, recorded: Recorded) -> Result<Graph, CudaError> {
        let compute = &self.streams.compute;
        let at = &self.slots[slot];
        let prepared = &at.prepared[&n];
        compute.capture(|| match recorded {
            Recorded::Kernels => self.enqueue_all(&prepared.launches),
            Recorded::Whole => self.enqueue_whole(at, prepared, n),
        })
    }

    fn enqueue_whole(&self, at: &Slot, prepared: &Prepared, n: usize) -> Result<(), CudaError> {
        let compute = &self.streams.compute;
        at.enqueue_upload(compute, &self.plan, n)?;
        self.enqueue_all(&prepared.launches)?;
        at.enqueue_download(compute, prepared)
    }

    /// After an error that says that the driver does not take dependent launches, or graphs: does
    /// without from now on, and notes it. Any other error is given back.
    pub(super) fn do_without(&mut self, error: CudaError) -> Result<(), CudaError> {
        let of_launches = ["cuLaunchKernelEx", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"];
        let without = match error.refused_by() {
            Some(call) if self.dependent_launches && of_launches.contains(&call) => {
                self.dependent_launches = false;
                "each launch begins after the one before it has ended"
            }
            Some(_) if self.graphs => {
                self.graphs = false;
                "launches are queued one by one, without CUDA graphs"
            }
            _ => return Err(error),
        };
        self.notes.push(format!("{without}, since the driver refused more: {error}"));
        Ok(())
    }
}

/// Runs.
impl CudaDevice {
    /// Runs `n` images, `[n, h, w, 3]` with `1 <= n <= batch`, and waits for the outputs. The first
    /// run of `n` images records their launches; later ones replay them.
    pub fn run<'a>(&mut self, input: impl Into<Input<'a>>, n: usize) -> Result<(), CudaError> {
        self.idle_slot()?;
        self.stage(input.into(), n)?;
        self.run_staged(n)
    }

    /// As [`run`](CudaDevice::run), of the images that were written to
    /// [`input_mut`](CudaDevice::input_mut): the first `n` of those that it was asked for. Each run
    /// asks for it anew.
    pub fn run_staged(&mut self, n: usize) -> Result<(), CudaError> {
        let slot = self.idle_slot()?;
        self.begin(slot, n)?;
        loop {
            self.record(slot, n, Recorded::Whole)?;
            let spin = self.wait.alone();
            let at = &self.slots[slot];
            let prepared = &at.prepared[&n];
            let compute = &self.streams.compute;
            let queued = match &prepared.whole {
                // SAFETY: the device owns everything that was recorded, and waits below.
                Some(graph) if self.graphs => unsafe { graph.launch(compute) },
                _ => self.enqueue_whole(at, prepared, n),
            };
            let marked = queued.and_then(|()| at.downloaded.record(compute));
            let ended = marked.and_then(|()| at.downloaded.synchronize(RUNNING, spin));
            let Err(error) = ended else { break };
            // Staging memory must not be in use when this returns.
            let _ = compute.synchronize(RUNNING);
            self.do_without(error)?;
        }
        self.last = Some(slot);
        Ok(())
    }

    /// Begins a run of `n` images as [`run`](CudaDevice::run) does, and returns while it is under
    /// way. At most [`LaunchPlan::SLOTS`] runs are, until they are collected; after a failure, none
    /// is.
    ///
    /// [`LaunchPlan::SLOTS`]: crate::launches::LaunchPlan::SLOTS
    pub fn submit<'a>(&mut self, input: impl Into<Input<'a>>, n: usize) -> Result<(), CudaError> {
        self.free_slot()?;
        match self.stage(input.into(), n) {
            Ok(()) => self.submit_staged(n),
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    /// As [`submit`](CudaDevice::submit), of the images that were written to
    /// [`input_mut`](CudaDevice::input_mut), as [`run_staged`](CudaDevice::run_staged) runs them.
    pub fn submit_staged(&mut self, n: usize) -> Result<(), CudaError> {
        let slot = self.free_slot()?;
        let queued = self.begin(slot, n).and_then(|()| {
            loop {
                self.record(slot, n, Recorded::Kernels)?;
                match self.enqueue_run(slot, n) {
                    Ok(()) => return Ok(()),
                    // All of it is queued anew behind the part that was.
                    Err(error) => self.do_without(error)?,
                }
            }
        });
        match queued {
            Ok(()) => {
                self.slots[slot].on_device = false;
                self.under_way.push_back(slot);
            }
            Err(_) => self.abandon(),
        }
        queued
    }

    fn enqueue_run(&self, slot: usize, n: usize) -> Result<(), CudaError> {
        let Streams { upload, compute, download } = &self.streams;
        let slot = &self.slots[slot];
        let prepared = &slot.prepared[&n];
        if slot.on_device {
            upload.wait_for(&slot.computed)?;
        }
        slot.enqueue_upload(upload, &self.plan, n)?;
        slot.uploaded.record(upload)?;
        compute.wait_for(&slot.uploaded)?;
        // The slot's next run begins only after this one has been collected.
        self.replay(prepared)?;
        slot.computed.record(compute)?;
        download.wait_for(&slot.computed)?;
        slot.enqueue_download(download, prepared)?;
        slot.downloaded.record(download)
    }

    /// Waits for the oldest run that was submitted and not collected: its outputs are then there,
    /// until the next run begins. Returns its number of images.
    pub fn collect(&mut self) -> Result<usize, CudaError> {
        let slot = self.under_way.front().copied().ok_or(CudaError::NothingSubmitted)?;
        self.context.bind()?;
        let ended = self.slots[slot].downloaded.synchronize(RUNNING, self.wait.beside_others());
        if let Err(error) = ended {
            self.abandon();
            return Err(error);
        }
        self.under_way.pop_front();
        self.last = Some(slot);
        Ok(self.slots[slot].images)
    }

    /// After a failure: nothing is under way any more, and no outputs are there.
    pub(super) fn abandon(&mut self) {
        let _ = self.streams.synchronize("giving up");
        self.under_way.clear();
        self.last = None;
    }

    /// As [`run`](CudaDevice::run), and launch by launch before that, with the microseconds of each.
    ///
    /// A launch is repeated between two events, on the same memory and each time after the one before
    /// has ended, and its time is the mean. The two events add some two to four microseconds
    /// (predicted): a small part of sixteen short launches, as of few long ones; runs that take longer
    /// repeat less. A launch finds the caches as it left them itself, and the memory too: one that
    /// works in place works on its own results. The outputs are those of a run after all that.
    pub fn run_timed<'a>(
        &mut self,
        input: impl Into<Input<'a>>,
        n: usize,
    ) -> Result<Vec<f32>, CudaError> {
        let slot = self.idle_slot()?;
        self.stage(input.into(), n)?;
        self.begin(slot, n)?;
        self.record(slot, n, Recorded::Kernels)?;
        let compute = &self.streams.compute;
        let at = &self.slots[slot];
        let prepared @ Prepared { launches, .. } = &at.prepared[&n];
        let pair = || -> Result<[Event; 2], CudaError> {
            Ok([Event::timed(&self.context)?, Event::timed(&self.context)?])
        };
        let whole = pair()?;
        let events = launches.iter().map(|_| pair()).collect::<Result<Vec<_>, _>>()?;
        let what = "running the network launch by launch";

        // A first run may have to bring code and weights to the caches.
        let queued = (|| {
            at.enqueue_upload(compute, &self.plan, n)?;
            self.replay(prepared)?;
            whole[0].record(compute)?;
            self.replay(prepared)?;
            whole[1].record(compute)
        })();
        let waited = compute.synchronize(what);
        queued.and(waited)?;
        let repeats = repeats(microseconds(&whole)?);

        let queued = (|| {
            for _ in 0..repeats {
                self.replay(prepared)?;
            }
            for (launch, [start, end]) in launches.iter().zip(&events) {
                start.record(compute)?;
                for _ in 0..repeats {
                    self.enqueue(launch, false)?;
                }
                end.record(compute)?;
            }
            self.replay(prepared)?;
            at.enqueue_download(compute, prepared)
        })();
        let waited = compute.synchronize(what);
        queued.and(waited)?;
        self.last = Some(slot);
        events.iter().map(|pair| Ok(microseconds(pair)? / repeats as f32)).collect()
    }

    /// Queues the launches of a run: as a graph where they were recorded.
    pub(super) fn replay(&self, prepared: &Prepared) -> Result<(), CudaError> {
        match &prepared.kernels {
            // SAFETY: the device owns everything that was recorded; who queues the launches keeps the
            // run's slot until it has waited for them, and those of other runs follow on the stream.
            Some(graph) if self.graphs => unsafe { graph.launch(&self.streams.compute) },
            _ => self.enqueue_all(&prepared.launches),
        }
    }
}

/// How often a launch is repeated whose run takes so many microseconds, and how many whole runs are
/// queued ahead: were there nothing ahead, the GPU would wait for the host, which takes longer to queue
/// a short launch than the GPU to run it, and the launch's time would be the host's.
fn repeats(run_us: f32) -> usize {
    ((REPEATED_US / run_us.max(1.0)) as usize).clamp(1, MAX_REPEATS)
}

/// Between two events.
fn microseconds([start, end]: &[Event; 2]) -> Result<f32, CudaError> {
    Ok(end.milliseconds_since(start)? * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_repeat_their_launches_less() {
        let found = [0.0, 100.0, 500.0, 1000.0, 3999.0, 5000.0, 1e6].map(repeats);
        assert_eq!(found, [16, 16, 16, 8, 2, 1, 1]);
        assert_eq!(repeats(f32::NAN), MAX_REPEATS);
    }
}
