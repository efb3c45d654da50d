//! What the driver hands out, each given back when dropped.
//!
//! Handles are valid from their creation to the drop, and each keeps the context alive: that is what
//! the `SAFETY` comments here rely on. Results of giving back are not looked at: nothing could be
//! done about them.

use super::driver::{Driver, OUT_OF_MEMORY, call};
use super::error::CudaError;
use super::faults::{NOT_READY, NOT_SUPPORTED};
use super::loaded::Image;
use super::wait::Spin;
use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUmodule, CUstream,
};
use std::ffi::CString;
use std::ptr::null_mut;
use std::sync::Arc;
use std::time::Instant;

/// A device's primary context.
pub struct Context {
    pub driver: Driver,
    device: CUdevice,
    handle: CUcontext,
}

// SAFETY: the driver takes a context's handle on any thread, and its functions from many at once;
// nothing else in it changes after it was made.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Retains it, and makes it the thread's.
    pub fn new(driver: Driver, device: CUdevice) -> Result<Arc<Context>, CudaError> {
        let mut handle = null_mut();
        // SAFETY: the device is one that the driver named; the handle is written.
        unsafe { call!(driver, "opening the GPU", context_retain(&mut handle, device))? };
        let context = Arc::new(Context { driver, device, handle });
        context.bind()?;
        Ok(context)
    }

    /// Makes it the calling thread's. All else here works on the thread's context.
    pub fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained.
        unsafe { call!(self.driver, "using the GPU", context_set(self.handle)) }
    }

    /// For `drop`, which tells nobody.
    fn give_back(&self, give_back: impl FnOnce(&Driver)) {
        if self.bind().is_ok() {
            give_back(&self.driver);
        }
    }

    /// Says what memory there is where an allocation failed for lack of it.
    fn allocated(
        &self,
        what: &'static str,
        bytes: usize,
        result: Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        match result {
            Err(CudaError::Driver { code: OUT_OF_MEMORY, .. }) => {
                let (mut free_bytes, mut total_bytes) = (0, 0);
                // SAFETY: both are written. A failure leaves zeros.
                let _ = unsafe { (self.driver.memory_info.1)(&mut free_bytes, &mut total_bytes) };
                Err(CudaError::OutOfMemory { what, bytes, free_bytes, total_bytes })
            }
            other => other,
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, in `new`.
        unsafe { (self.driver.context_release.1)(self.device) };
    }
}

/// Device memory. The driver aligns it to 256 bytes at least.
pub struct DeviceBuffer {
    context: Arc<Context>,
    pub address: CUdeviceptr,
}

impl DeviceBuffer {
    pub fn new(
        context: &Arc<Context>,
        what: &'static str,
        bytes: usize,
    ) -> Result<DeviceBuffer, CudaError> {
        let mut address = 0;
        // The driver refuses sizes of 0, and those that there is no memory for.
        // SAFETY: the address is written.
        let result = unsafe { call!(context.driver, what, alloc(&mut address, bytes.max(1))) };
        context.allocated(what, bytes, result)?;
        Ok(DeviceBuffer { context: context.clone(), address })
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; nothing runs on it any more (see `CudaDevice::drop`).
        self.context.give_back(|driver| unsafe {
            (driver.free.1)(self.address);
        });
    }
}

/// Host memory that stays where it is, so that the device copies it without the CPU.
pub struct PinnedBuffer {
    context: Arc<Context>,
    start: *mut u8,
    bytes: usize,
}

impl PinnedBuffer {
    /// Zeros.
    pub fn new(
        context: &Arc<Context>,
        what: &'static str,
        bytes: usize,
    ) -> Result<PinnedBuffer, CudaError> {
        let mut start = null_mut();
        // SAFETY: the pointer is written.
        let result =
            unsafe { call!(context.driver, what, alloc_host(&mut start, bytes.max(4), 0)) };
        context.allocated(what, bytes, result)?;
        let start = start.cast::<u8>();
        // SAFETY: the driver returned at least `bytes` bytes of memory that nothing else uses.
        unsafe { start.write_bytes(0, bytes) };
        Ok(PinnedBuffer { context: context.clone(), start, bytes })
    }

    /// All of it. It begins at a page, so that what is aligned within it is aligned.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `bytes` bytes from `start`, initialised in `new`.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.bytes) }
    }

    /// For the device, which writes through it while nobody has borrowed the bytes.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    pub fn pointer(&self) -> *mut u8 {
        self.start
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; no copy from or to it is under way (see `CudaDevice::drop`).
        self.context.give_back(|driver| unsafe {
            (driver.free_host.1)(self.start.cast());
        });
    }
}

/// A loaded kernel file.
pub struct Module {
    context: Arc<Context>,
    handle: CUmodule,
}

impl Module {
    pub fn load(context: &Arc<Context>, name: &str, image: &Image) -> Result<Module, CudaError> {
        let mut handle = null_mut();
        let what = format!("loading the kernels of {name}");
        // SAFETY: nvcc wrote the image: an ELF file, whose length follows from its header, or a text,
        // which ends in a zero byte. The driver copies what it needs before it returns.
        unsafe { call!(context.driver, &what, module_load(&mut handle, image.as_ptr()))? };
        Ok(Module { context: context.clone(), handle })
    }

    /// A kernel. It lives as long as the module.
    pub fn function(&self, name: &str) -> Result<CUfunction, CudaError> {
        let what = format!("looking for the kernel {name}");
        let name = CString::new(name).unwrap_or_default();
        let mut function = null_mut();
        // SAFETY: the module is loaded, the name ends in a zero byte, the handle is written.
        unsafe {
            call!(
                self.context.driver,
                &what,
                module_function(&mut function, self.handle, name.as_ptr())
            )?;
        }
        Ok(function)
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded once; none of its kernels runs any more (see `CudaDevice::drop`).
        self.context.give_back(|driver| unsafe {
            (driver.module_unload.1)(self.handle);
        });
    }
}

/// A queue of work.
pub struct Stream {
    pub context: Arc<Context>,
    pub handle: CUstream,
}

// SAFETY: the driver takes a stream's handle on any thread, and its functions from many at once.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

/// Does not wait for the default stream.
const NON_BLOCKING: u32 = 1;
/// Other threads may go on calling what capture does not allow.
const THREAD_LOCAL: u32 = 1;

impl Stream {
    pub fn new(context: &Arc<Context>) -> Result<Stream, CudaError> {
        let mut handle = null_mut();
        // SAFETY: the handle is written.
        unsafe {
            call!(context.driver, "making a stream", stream_create(&mut handle, NON_BLOCKING))?;
        }
        Ok(Stream { context: context.clone(), handle })
    }

    /// Waits for all work.
    pub fn synchronize(&self, what: &str) -> Result<(), CudaError> {
        // SAFETY: the stream lives.
        unsafe { call!(self.context.driver, what, stream_synchronize(self.handle)) }
    }

    /// What is queued from now on waits for what was recorded last.
    pub fn wait_for(&self, event: &Event) -> Result<(), CudaError> {
        // SAFETY: both live, in one context; no flags are defined.
        unsafe {
            call!(self.context.driver, "joining streams", stream_wait(self.handle, event.handle, 0))
        }
    }

    /// What `enqueue` puts on the stream, as a graph that is on the GPU; none of it runs.
    pub fn capture(
        &self,
        enqueue: impl FnOnce() -> Result<(), CudaError>,
    ) -> Result<Graph, CudaError> {
        let driver = &self.context.driver;
        let what = "recording the launches";
        // SAFETY: the stream lives, and is not being captured: no reference to it is left to
        // `enqueue` by which a capture within this one could begin, and the guard ends this one.
        unsafe { call!(driver, what, capture_begin(self.handle, THREAD_LOCAL))? };
        // Also where `enqueue` panics: a stream that stays in capture takes no other work.
        let capture = Capture(self);
        let enqueued = enqueue();
        let ended = capture.end();
        let graph = enqueued.and(ended)?;
        let mut exec = null_mut();
        // SAFETY: the graph is whole; the handle is written.
        unsafe { call!(driver, what, graph_instantiate(&mut exec, graph.handle, 0))? };
        let graph = Graph { context: self.context.clone(), handle: exec };
        graph.upload(self)?;
        Ok(graph)
    }
}

/// A stream that is being captured, until it is dropped.
struct Capture<'a>(&'a Stream);

impl Capture<'_> {
    /// What was captured.
    fn end(self) -> Result<Recording, CudaError> {
        let stream = self.0;
        std::mem::forget(self);
        stream.end_capture()
    }
}

impl Drop for Capture<'_> {
    fn drop(&mut self) {
        // What was recorded before a panic is given back with the result.
        drop(self.0.end_capture());
    }
}

/// What was captured; nothing of it can run before it is instantiated, and what is instantiated
/// does not need it.
struct Recording {
    context: Arc<Context>,
    handle: CUgraph,
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the driver made it for us.
            self.context.give_back(|driver| unsafe {
                (driver.graph_destroy.1)(self.handle);
            });
        }
    }
}

impl Stream {
    fn end_capture(&self) -> Result<Recording, CudaError> {
        let mut recording = Recording { context: self.context.clone(), handle: null_mut() };
        let (driver, handle) = (&self.context.driver, &mut recording.handle);
        // SAFETY: the stream is being captured; the handle is written, null where capture failed.
        unsafe { call!(driver, "recording the launches", capture_end(self.handle, handle))? };
        Ok(recording)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made once; what is still queued goes on, and needs nothing of it.
        self.context.give_back(|driver| unsafe {
            (driver.stream_destroy.1)(self.handle);
        });
    }
}

/// Recorded work, to be run any number of times.
pub struct Graph {
    context: Arc<Context>,
    handle: CUgraphExec,
}

impl Graph {
    /// Queues the copy of it to the GPU, which its first launch would wait for.
    fn upload(&self, stream: &Stream) -> Result<(), CudaError> {
        let (name, function) = self.context.driver.graph_upload;
        // SAFETY: both live.
        match unsafe { function(self.handle, stream.handle) } {
            // The first launch does it.
            NOT_SUPPORTED => Ok(()),
            code => self.context.driver.check("putting the launches on the GPU", name, code),
        }
    }

    /// Queues all of it.
    ///
    /// # Safety
    /// The buffers and kernels that were recorded live, and nobody else touches the buffers before
    /// the stream has been waited for.
    pub unsafe fn launch(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both live; the rest is the caller's promise.
        unsafe {
            call!(
                self.context.driver,
                "running the network",
                graph_launch(self.handle, stream.handle)
            )
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated once.
        self.context.give_back(|driver| unsafe {
            (driver.exec_destroy.1)(self.handle);
        });
    }
}

/// A point in a stream.
pub struct Event {
    context: Arc<Context>,
    handle: CUevent,
}

/// A wait on the host sleeps until the GPU interrupts it.
const BLOCKING: u32 = 1;
/// An event without a time is the cheaper one to wait for.
const DISABLE_TIMING: u32 = 2;

impl Event {
    /// With its time.
    pub fn timed(context: &Arc<Context>) -> Result<Event, CudaError> {
        Event::new(context, 0)
    }

    /// To be waited for.
    pub fn marker(context: &Arc<Context>) -> Result<Event, CudaError> {
        Event::new(context, DISABLE_TIMING | BLOCKING)
    }

    fn new(context: &Arc<Context>, flags: u32) -> Result<Event, CudaError> {
        let mut handle = null_mut();
        // SAFETY: the handle is written.
        unsafe { call!(context.driver, "making an event", event_create(&mut handle, flags))? };
        Ok(Event { context: context.clone(), handle })
    }

    /// Waits on the host: looks again and again for as long as is said, and then sleeps.
    pub fn synchronize(&self, what: &str, spin: Spin) -> Result<(), CudaError> {
        let began = Instant::now();
        let may_look = || match spin {
            Spin::Never => false,
            Spin::For(time) => began.elapsed() < time,
            Spin::Always => true,
        };
        let (name, query) = self.context.driver.event_query;
        while may_look() {
            // SAFETY: the event lives.
            match unsafe { query(self.handle) } {
                NOT_READY => std::hint::spin_loop(),
                code => return self.context.driver.check(what, name, code),
            }
        }
        // SAFETY: the event lives.
        unsafe { call!(self.context.driver, what, event_synchronize(self.handle)) }
    }

    pub fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        // SAFETY: both live, in one context.
        unsafe {
            call!(self.context.driver, "marking a stream", event_record(self.handle, stream.handle))
        }
    }

    /// As [`record`](Event::record), on a stream of the caller's.
    ///
    /// # Safety
    ///
    /// The stream lives, in the same context.
    pub unsafe fn record_on(&self, stream: CUstream) -> Result<(), CudaError> {
        // SAFETY: the event lives; the rest is the caller's promise.
        unsafe {
            call!(
                self.context.driver,
                "marking the caller's stream",
                event_record(self.handle, stream)
            )
        }
    }

    /// What a stream of the caller's is given from now on waits for what was recorded last.
    ///
    /// # Safety
    ///
    /// The stream lives, in the same context.
    pub unsafe fn hold(&self, stream: CUstream) -> Result<(), CudaError> {
        let what = "joining the caller's stream";
        // SAFETY: the event lives, and no flags are defined; the rest is the caller's promise.
        unsafe { call!(self.context.driver, what, stream_wait(stream, self.handle, 0)) }
    }

    /// From `start` to this; both have been waited for.
    pub fn milliseconds_since(&self, start: &Event) -> Result<f32, CudaError> {
        let mut elapsed = 0.0;
        // SAFETY: both live, in one context; the time is written.
        unsafe {
            call!(
                self.context.driver,
                "timing",
                event_elapsed(&mut elapsed, start.handle, self.handle)
            )?;
        }
        Ok(elapsed)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made once; the driver waits for its completion by itself.
        self.context.give_back(|driver| unsafe {
            (driver.event_destroy.1)(self.handle);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::ffi::c_int;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// `CUDA_ERROR_ILLEGAL_STATE`.
    const ILLEGAL_STATE: c_int = 401;

    thread_local! {
        static CAPTURING: Cell<bool> = const { Cell::new(false) };
        /// Graphs that were recorded and not given back.
        static GRAPHS: Cell<i32> = const { Cell::new(0) };
    }

    unsafe extern "C" fn begin(_: CUstream, _: u32) -> c_int {
        if CAPTURING.replace(true) { ILLEGAL_STATE } else { 0 }
    }

    unsafe extern "C" fn end(_: CUstream, graph: *mut CUgraph) -> c_int {
        if !CAPTURING.replace(false) {
            return ILLEGAL_STATE;
        }
        GRAPHS.set(GRAPHS.get() + 1);
        // SAFETY: the caller's pointer is to a handle, which nobody follows here.
        unsafe { *graph = std::ptr::without_provenance_mut(1) };
        0
    }

    unsafe extern "C" fn destroy(_: CUgraph) -> c_int {
        GRAPHS.set(GRAPHS.get() - 1);
        0
    }

    /// A stream of a driver that captures, and does nothing else.
    fn stream() -> Stream {
        let mut driver = Driver::of_stubs();
        driver.capture_begin.1 = begin;
        driver.capture_end.1 = end;
        driver.graph_destroy.1 = destroy;
        Stream::new(&Context::new(driver, 0).unwrap()).unwrap()
    }

    #[test]
    fn a_capture_ends_whatever_happens_in_it() {
        let stream = stream();
        let refused = || Err(CudaError::NothingSubmitted);
        let panics = || -> Result<(), CudaError> { panic!("a fault while launches are recorded") };
        for _ in 0..2 {
            assert!(catch_unwind(AssertUnwindSafe(|| stream.capture(panics))).is_err());
            assert!(!CAPTURING.get());
            assert!(matches!(stream.capture(refused), Err(CudaError::NothingSubmitted)));
            assert!(!CAPTURING.get());
            let records = || {
                assert!(CAPTURING.get());
                Ok(())
            };
            stream.capture(records).unwrap();
            assert!(!CAPTURING.get());
        }
        assert_eq!(GRAPHS.get(), 0);
    }

    #[test]
    fn pinned_memory_whose_bytes_cannot_be_counted_is_refused() {
        unsafe extern "C" fn none(_: *mut *mut std::ffi::c_void, bytes: usize, _: u32) -> c_int {
            assert_eq!(bytes, usize::MAX);
            OUT_OF_MEMORY
        }
        let mut driver = Driver::of_stubs();
        driver.alloc_host.1 = none;
        let context = Context::new(driver, 0).unwrap();
        let refused = PinnedBuffer::new(&context, "a test", usize::MAX);
        assert!(matches!(refused, Err(CudaError::OutOfMemory { bytes: usize::MAX, .. })));
    }
}
