//! A run launch by launch, with device memory open to the host in between: for `effnet verify`.
//!
//! All of it is on one stream and waited for, so that a fault of a launch is told by that launch.

use super::driver::call;
use super::{CudaDevice, CudaError};
use crate::launches::{Address, Input, Region};

/// The slot whose input and outputs are used: that of every run while none is under way.
const SLOT: usize = 0;

impl CudaDevice {
    /// Puts the input of `n` images, `[n, h, w, 3]`, where launches read it, and runs none. No run may
    /// be under way.
    pub fn load<'a>(&mut self, input: impl Into<Input<'a>>, n: usize) -> Result<(), CudaError> {
        self.idle_slot()?;
        self.stage(input.into(), n)?;
        self.begin(SLOT, n)?;
        let stream = &self.streams.compute;
        let queued = self.slots[SLOT].enqueue_upload(stream, &self.plan, n);
        let waited = stream.synchronize("uploading the input");
        queued.and(waited)
    }

    /// Runs launch `index` of a run of as many images as were loaded, on what is in memory, and waits
    /// for it.
    pub fn launch(&mut self, index: usize) -> Result<(), CudaError> {
        self.idle_slot()?;
        self.context.bind()?;
        // What a run left is overwritten.
        self.last = None;
        let slot = &self.slots[SLOT];
        let prepared = slot.prepared.get(&slot.images);
        let launch =
            prepared.and_then(|prepared| prepared.launches.get(index)).ok_or_else(|| {
                let launches = prepared.map_or(0, |prepared| prepared.launches.len());
                CudaError::NoLaunch { index, launches }
            })?;
        let queued = self.enqueue(launch, false);
        let waited = self.streams.compute.synchronize("running a launch by itself");
        let waited = waited.map_err(|error| error.during(|| format!("running {}", launch.name)));
        queued.and(waited)
    }

    /// `len_bytes` bytes from an address on.
    pub fn read_bytes(&self, at: Address, len_bytes: usize) -> Result<Vec<u8>, CudaError> {
        let from = self.part(at, len_bytes)?;
        self.context.bind()?;
        let stream = &self.streams.compute;
        let what = "reading device memory";
        let mut bytes = vec![0u8; len_bytes];
        // SAFETY: the part lies within its region, and there is room for as many bytes; both live until
        // the copy has been waited for, below.
        let queued = unsafe {
            let to = bytes.as_mut_ptr().cast();
            call!(self.context.driver, what, download_async(to, from, len_bytes, stream.handle))
        };
        let waited = stream.synchronize(what);
        queued.and(waited).map(|()| bytes)
    }

    /// Overwrites what is at an address, weights included.
    pub fn write_bytes(&mut self, at: Address, bytes: &[u8]) -> Result<(), CudaError> {
        let to = self.part(at, bytes.len())?;
        self.idle_slot()?;
        self.context.bind()?;
        let stream = &self.streams.compute;
        let what = "writing device memory";
        // SAFETY: the part lies within its region, and the bytes are borrowed until the copy has been
        // waited for, below; no run is under way that uses the region.
        let queued = unsafe {
            let from = bytes.as_ptr().cast();
            call!(self.context.driver, what, upload_async(to, from, bytes.len(), stream.handle))
        };
        let waited = stream.synchronize(what);
        queued.and(waited)
    }

    /// Where a part of a region is, if it lies within it.
    fn part(&self, at: Address, bytes: usize) -> Result<u64, CudaError> {
        let len_bytes = match at.region {
            Region::Weights => self.plan.weights_bytes,
            Region::Arena => self.plan.arena_bytes,
            Region::Input => self.plan.input_bytes,
            Region::Output => self.plan.output_bytes,
            Region::Counters => self.plan.counters_bytes,
        };
        match at.offset_bytes.checked_add(bytes as u64) {
            Some(end) if end <= len_bytes => Ok(at.bind(&self.regions.bases(&self.slots[SLOT]))),
            _ => {
                let (offset_bytes, len_bytes) = (at.offset_bytes as usize, len_bytes as usize);
                Err(CudaError::Range { offset_bytes, bytes, len_bytes })
            }
        }
    }
}
