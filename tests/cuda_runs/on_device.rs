//! Runs of images that are in device memory, on a stream of the caller's.

use super::*;
use effnet::session::{Device, DevicePointer, Session, SessionError, SessionOptions};

/// The driver's functions as a caller with CUDA code of its own uses them.
mod caller {
    use cudarc::driver::sys::{self, CUcontext, CUdeviceptr, CUresult, CUstream};
    use effnet::session::StreamHandle;
    use std::ffi::c_void;
    use std::ptr::null_mut;

    const SUCCESS: CUresult = CUresult::CUDA_SUCCESS;

    /// The context that the thread has; any is let be.
    pub fn context() -> usize {
        let mut context: CUcontext = null_mut();
        // SAFETY: the handle is written.
        assert_eq!(unsafe { sys::cuCtxGetCurrent(&mut context) }, SUCCESS);
        context as usize
    }

    pub fn set_context(context: usize) {
        // SAFETY: the emulated driver only tells contexts apart.
        assert_eq!(unsafe { sys::cuCtxSetCurrent(context as CUcontext) }, SUCCESS);
    }

    /// Device memory, to the process's end.
    pub fn alloc(bytes: usize) -> CUdeviceptr {
        let mut address = 0;
        // SAFETY: the address is written.
        assert_eq!(unsafe { sys::cuMemAlloc_v2(&mut address, bytes) }, SUCCESS);
        address
    }

    /// A queue of work, to the process's end.
    #[derive(Clone, Copy)]
    pub struct Stream(CUstream);

    impl Stream {
        pub const DEFAULT: Stream = Stream(null_mut());

        pub fn new() -> Stream {
            let mut stream = null_mut();
            // SAFETY: the handle is written.
            assert_eq!(unsafe { sys::cuStreamCreate(&mut stream, 1) }, SUCCESS);
            Stream(stream)
        }

        pub fn handle(self) -> StreamHandle {
            StreamHandle(self.0.cast::<c_void>())
        }

        /// The values live until the stream has been waited for.
        pub fn upload(self, to: CUdeviceptr, values: &[f32]) {
            let (from, bytes) = (values.as_ptr().cast(), size_of_val(values));
            // SAFETY: the tests below keep values and memory until they have waited.
            let code = unsafe { sys::cuMemcpyHtoDAsync_v2(to, from, bytes, self.0) };
            assert_eq!(code, SUCCESS);
        }

        /// As [`upload`](Stream::upload).
        pub fn download(self, values: &mut [f32], from: CUdeviceptr) {
            let (to, bytes) = (values.as_mut_ptr().cast(), size_of_val(values));
            // SAFETY: as above.
            let code = unsafe { sys::cuMemcpyDtoHAsync_v2(to, from, bytes, self.0) };
            assert_eq!(code, SUCCESS);
        }

        pub fn synchronize(self) {
            // SAFETY: the stream lives.
            assert_eq!(unsafe { sys::cuStreamSynchronize(self.0) }, SUCCESS);
        }

        pub fn begin_capture(self) {
            let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            // SAFETY: the stream lives, and is not captured.
            assert_eq!(unsafe { sys::cuStreamBeginCapture_v2(self.0, mode) }, SUCCESS);
        }

        pub fn end_capture(self) {
            let mut graph = null_mut();
            // SAFETY: the stream is captured; the graph is written.
            assert_eq!(unsafe { sys::cuStreamEndCapture(self.0, &mut graph) }, SUCCESS);
        }
    }
}

/// A session on the emulated driver's GPU.
fn session() -> Session {
    let options = SessionOptions {
        device: Device::Cuda(0),
        batch: BATCH,
        size: Some(Size::square(32)),
        ..SessionOptions::default()
    };
    Session::new(Arc::new(weights()), options).unwrap()
}

/// Images that are on the GPU, behind work of the caller's stream and before other work of it, beside
/// runs from the host; nobody waits but for the caller's stream.
#[test]
fn images_in_device_memory_give_the_logits_of_a_run() {
    const TEST: &str = "on_device::images_in_device_memory_give_the_logits_of_a_run";
    if !has_driver() {
        with_driver(TEST, &[("EFFNET_EMULATED_DRIVER_ORDER", "early")]);
        with_driver(TEST, &[("EFFNET_EMULATED_DRIVER_ORDER", "late")]);
        with_driver(TEST, &[("EFFNET_EMULATED_DRIVER_FAIL", "cuGraphLaunch=801")]);
        return;
    }
    let mut trace = Trace::new();
    let mut session = session();
    let plan = session.launches().unwrap().clone();
    let elems = plan.input_elems();
    let [images, swapped] = images(&plan);
    let both = |session: &mut Session, images: &[f32]| {
        let outputs = session.run(images).unwrap();
        bits(&[outputs.logits(0), outputs.logits(1)].concat())
    };
    let expected_both = both(&mut session, &images);
    let expected = expected_both[..10].to_vec();
    let expected_swapped = both(&mut session, &swapped);

    for stream in [caller::Stream::new(), caller::Stream::DEFAULT] {
        let (input, logits) = (caller::alloc(images.len() * 4), caller::alloc(BATCH * 10 * 4));
        let (mut first, mut second, mut one) = ([0.0; 20], [0.0; 20], [0.0; 10]);
        trace.take();
        // A run of the host's is under way, and another follows.
        session.submit(&swapped[..]).unwrap();
        stream.upload(input, &images);
        let run = |session: &mut Session, n| {
            let (from, to) = (DevicePointer(input), DevicePointer(logits));
            // SAFETY: both are as long as so many images, and used on the stream alone until it has
            // been waited for.
            unsafe { session.run_device(from, n, to, stream.handle()) }.unwrap();
        };
        run(&mut session, BATCH);
        stream.download(&mut first, logits);
        assert_eq!(session.under_way(), 1, "it counts as none");
        session.submit(&images[..]).unwrap();
        assert!(matches!(
            // SAFETY: nothing is queued.
            unsafe {
                session.run_device(DevicePointer(input), 1, DevicePointer(logits), stream.handle())
            },
            Err(SessionError::Busy { under_way: 2 })
        ));
        let outputs = session.collect().unwrap();
        assert_eq!(bits(&[outputs.logits(0), outputs.logits(1)].concat()), expected_swapped);
        // The same memory once more, on the same slot or another, for other images.
        stream.upload(input, &swapped);
        run(&mut session, BATCH);
        stream.download(&mut second, logits);
        // Its slot takes the next images only once it has taken its own.
        session.submit(&images[..elems]).unwrap();
        for _ in 0..2 {
            let outputs = session.collect().unwrap();
            assert_eq!(bits(outputs.logits(0)), expected);
        }
        stream.upload(input, &images[..elems]);
        run(&mut session, 1);
        stream.download(&mut one, logits);
        // A run by itself follows at once, of other images.
        assert_eq!(both(&mut session, &swapped), expected_swapped);
        stream.synchronize();
        assert_eq!(bits(&first), expected_both);
        assert_eq!(bits(&second), expected_swapped);
        assert_eq!(bits(&one), expected);
        let lines = trace.take();
        let copied = [BATCH * elems * 4, BATCH * 40, elems * 4, 40].map(|bytes| {
            let line = format!("copy {bytes}");
            lines.iter().filter(|found| **found == line).count()
        });
        assert_eq!(copied, [2, 2, 1, 1], "{lines:?}");
    }
}

/// What is refused, and what is left as it was: the thread's context, runs under way, memory.
#[test]
fn a_run_from_device_memory_leaves_what_is_the_callers() {
    const TEST: &str = "on_device::a_run_from_device_memory_leaves_what_is_the_callers";
    if !has_driver() {
        with_driver(TEST, &[]);
        return;
    }
    let mut session = session();
    let elems = session.input_elems();
    let [images, _] = images(session.launches().unwrap());
    let stream = caller::Stream::new();
    let (input, logits) = (caller::alloc(images.len() * 4), caller::alloc(BATCH * 10 * 4));
    let run = |session: &mut Session, input, n, logits| {
        // SAFETY: both are as long as a batch, and used on the stream alone.
        unsafe {
            session.run_device(DevicePointer(input), n, DevicePointer(logits), stream.handle())
        }
    };
    // The context of a thread that uses another GPU.
    caller::set_context(4711);
    run(&mut session, input, 1, logits).unwrap();
    assert_eq!(caller::context(), 4711);
    let kept = effnet::device::cuda::KeptContext::new();
    session.run(&images[..elems]).unwrap();
    assert_ne!(caller::context(), 4711);
    drop(kept);
    assert_eq!(caller::context(), 4711);

    let expected = bits(session.run(&images[..elems]).unwrap().logits(0));
    session.submit(&images[..elems]).unwrap();
    for n in [0, BATCH + 1] {
        let refused = run(&mut session, input, n, logits);
        assert!(matches!(refused, Err(SessionError::Images { found, .. }) if found == n));
    }
    for (input, logits, what) in [
        (0, logits, "images"),
        (input + 2, logits, "images"),
        (input, 0, "logits"),
        (input, 6, "logits"),
    ] {
        let refused = run(&mut session, input, 1, logits).unwrap_err();
        assert!(refused.to_string().contains(&format!("device memory of the {what}")), "{refused}");
    }
    stream.begin_capture();
    let refused = run(&mut session, input, 1, logits).unwrap_err();
    assert!(refused.to_string().contains("captured as a CUDA graph"), "{refused}");
    stream.end_capture();
    // The run under way is still there.
    assert_eq!(bits(session.collect().unwrap().logits(0)), expected);
    // What the driver does not take is told by who waits: addresses of nothing.
    run(&mut session, 64, 1, logits).unwrap();
    let lost = session.run(&images[..elems]).unwrap_err();
    assert!(lost.to_string().contains("INVALID_VALUE"), "{lost}");
}
