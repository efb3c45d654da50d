//! Single launches on a GPU, without a network: for tests of kernels, and for measuring what a GPU gives.

use super::driver::call;
use super::error::CudaError;
use super::loaded::{Loaded, enqueue};
use super::open::{DeviceInfo, Opened, open};
use super::resources::{DeviceBuffer, Event, Stream};
use crate::kernels::{CATALOGUE, Geometry};
use crate::launches::KernelId;
use std::fmt;
use std::ptr::null_mut;
use std::sync::Arc;

/// A GPU with this build's kernels, to launch one at a time.
///
/// Launches are queued in order; copies wait for those before them. After a launch that faults every
/// call fails, as the driver has it.
///
/// ```no_run
/// use effnet::device::cuda::KernelRunner;
/// use effnet::kernels::{bn_swish, params::BnSwishParams};
/// use effnet::launches::KernelId;
/// use effnet::weights::Precision;
///
/// let mut gpu = KernelRunner::new(0)?;
/// let mut input = gpu.alloc(4 * 1024 * 8)?;
/// let output = gpu.alloc(4 * 1024 * 8)?;
/// input.fill(0)?;
/// let (rows, c) = (1024, 8);
/// let params = BnSwishParams {
///     input: input.address(),
///     output: output.address(),
///     rows,
///     pixels: rows,
///     c,
///     ..BnSwishParams::default()
/// };
/// let launch = bn_swish::launch(Precision::Fp32, params)?;
/// let kernel = KernelId::of(launch.image, launch.kernel).ok_or("not in the catalogue")?;
/// // SAFETY: the kernel takes these parameters, and both buffers hold all rows.
/// unsafe { gpu.launch(kernel, launch.geometry, bytemuck::bytes_of(&launch.params))? };
/// let bytes = output.download()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KernelRunner {
    // Dropped from top to bottom: what refers to something before that.
    kernels: Loaded,
    stream: Arc<Stream>,
    info: DeviceInfo,
}

// SAFETY: the driver's handles may be used on any thread once the context is made the thread's, which
// every method does that calls the driver, drops included; nothing is tied to the thread that made it.
unsafe impl Send for KernelRunner {}

/// How often a launch is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// Launches before the first that counts.
    pub warm_up: usize,
    /// Times that are taken.
    pub samples: usize,
    /// Launches back to back in each of them, at least 1: the more, the less an event's own time shows.
    pub launches: usize,
}

impl KernelRunner {
    /// Opens GPU `ordinal`, where this build has kernels for it.
    pub fn new(ordinal: usize) -> Result<KernelRunner, CudaError> {
        let Opened { context, info, kernels, .. } = open(ordinal)?;
        Ok(KernelRunner { kernels, stream: Arc::new(Stream::new(&context)?), info })
    }

    /// The GPU.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Device memory, aligned to 256 bytes, with whatever contents.
    pub fn alloc(&self, bytes: usize) -> Result<KernelBuffer, CudaError> {
        self.stream.context.bind()?;
        let memory = DeviceBuffer::new(&self.stream.context, "a kernel's buffer", bytes)?;
        Ok(KernelBuffer { memory, len_bytes: bytes, stream: self.stream.clone() })
    }

    /// Queues one launch.
    ///
    /// # Safety
    ///
    /// `params` is the kernel's parameter struct, whole. Every address in it that the kernel follows
    /// lies in a [`KernelBuffer`] of this runner that lives and holds what the kernel reads or writes
    /// there, for this grid and block: the launch modules of [`kernels`](crate::kernels) check shapes
    /// and make the geometry. A buffer that is dropped waits for what was queued before.
    pub unsafe fn launch(
        &mut self,
        kernel: KernelId,
        geometry: Geometry,
        params: &[u8],
    ) -> Result<(), CudaError> {
        self.stream.context.bind()?;
        let function = self.kernels.function(symbol(kernel), kernel, geometry.shared_bytes)?;
        // SAFETY: this runner has loaded the kernel; the rest is the caller's promise.
        unsafe { enqueue(&self.stream, function, geometry, params, false) }
    }

    /// Waits for all launches.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.context.bind()?;
        self.stream.synchronize("running a kernel")
    }

    /// Microseconds of a launch by the GPU's events: of each sample, the mean of its launches.
    ///
    /// # Safety
    ///
    /// As of [`launch`](KernelRunner::launch), and the kernel may run again on what it left.
    pub unsafe fn time(
        &mut self,
        kernel: KernelId,
        geometry: Geometry,
        params: &[u8],
        repeats: Repeats,
    ) -> Result<Vec<f32>, CudaError> {
        self.stream.context.bind()?;
        let function = self.kernels.function(symbol(kernel), kernel, geometry.shared_bytes)?;
        let launches = repeats.launches.max(1);
        let queue = |launches: usize| {
            (0..launches).try_for_each(|_| {
                // SAFETY: this runner has loaded the kernel; the rest is the caller's promise.
                unsafe { enqueue(&self.stream, function, geometry, params, false) }
            })
        };
        let context = &self.stream.context;
        let (start, end) = (Event::timed(context)?, Event::timed(context)?);
        let mut times = Vec::with_capacity(repeats.samples);
        queue(repeats.warm_up)?;
        for _ in 0..repeats.samples {
            start.record(&self.stream)?;
            queue(launches)?;
            end.record(&self.stream)?;
            self.stream.synchronize("timing a kernel")?;
            times.push(end.milliseconds_since(&start)? * 1e3 / launches as f32);
        }
        Ok(times)
    }
}

/// For messages: there need not be such a kernel.
fn symbol(kernel: KernelId) -> &'static str {
    let found = CATALOGUE.get(kernel.image).and_then(|(_, entries)| entries.get(kernel.entry));
    found.copied().unwrap_or("a launch")
}

impl Drop for KernelRunner {
    fn drop(&mut self) {
        // Before the kernels are given back. A failure was told by the call before, or is nobody's.
        let _ = self.synchronize();
    }
}

impl fmt::Debug for KernelRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelRunner").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Device memory of a [`KernelRunner`], which it may outlive.
pub struct KernelBuffer {
    memory: DeviceBuffer,
    len_bytes: usize,
    stream: Arc<Stream>,
}

impl KernelBuffer {
    /// Where it begins, for a kernel's parameters.
    pub fn address(&self) -> u64 {
        self.memory.address
    }

    /// Its length.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Sets every byte, after what was launched before; waits until it is done.
    pub fn fill(&mut self, value: u8) -> Result<(), CudaError> {
        let context = &self.stream.context;
        context.bind()?;
        let what = "filling a buffer";
        // The driver fills on the default stream, which this one does not wait for.
        self.stream.synchronize(what)?;
        // SAFETY: the buffer has as many bytes; null is the default stream, and is there.
        unsafe {
            call!(context.driver, what, fill(self.memory.address, value, self.len_bytes))?;
            call!(context.driver, what, stream_synchronize(null_mut()))
        }
    }

    /// Overwrites a part, after what was launched before; waits until it is done.
    pub fn upload(&mut self, offset_bytes: usize, bytes: &[u8]) -> Result<(), CudaError> {
        if offset_bytes.checked_add(bytes.len()).is_none_or(|end| end > self.len_bytes) {
            let (bytes, len_bytes) = (bytes.len(), self.len_bytes);
            return Err(CudaError::Range { offset_bytes, bytes, len_bytes });
        }
        let context = &self.stream.context;
        context.bind()?;
        let (what, to) = ("uploading to a buffer", self.memory.address + offset_bytes as u64);
        // SAFETY: the part lies within the buffer, and the bytes are borrowed until the copy is done.
        let queued = unsafe {
            let (from, handle) = (bytes.as_ptr().cast(), self.stream.handle);
            call!(context.driver, what, upload_async(to, from, bytes.len(), handle))
        };
        // Also after a failure: the copy must not be under way when this returns.
        let waited = self.stream.synchronize(what);
        queued.and(waited)
    }

    /// All of it, after what was launched before.
    pub fn download(&self) -> Result<Vec<u8>, CudaError> {
        let context = &self.stream.context;
        context.bind()?;
        let mut bytes = vec![0u8; self.len_bytes];
        let what = "downloading a buffer";
        // SAFETY: the buffer has as many bytes as there is room for; both live until the copy is done.
        let queued = unsafe {
            let (to, from) = (bytes.as_mut_ptr().cast(), self.memory.address);
            call!(
                context.driver,
                what,
                download_async(to, from, self.len_bytes, self.stream.handle)
            )
        };
        let waited = self.stream.synchronize(what);
        queued.and(waited).map(|()| bytes)
    }
}

impl Drop for KernelBuffer {
    fn drop(&mut self) {
        // A launch may be under way that uses the memory.
        if self.stream.context.bind().is_ok() {
            let _ = self.stream.synchronize("giving a buffer back");
        }
    }
}

impl fmt::Debug for KernelBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = format!("{:#x}", self.memory.address);
        f.debug_struct("KernelBuffer")
            .field("address", &address)
            .field("len_bytes", &self.len_bytes)
            .finish()
    }
}
