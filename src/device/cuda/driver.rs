//! The driver's functions, and how they fail.
//!
//! `cudarc` finds and loads the library, and has the types. Its wrappers panic where a function is
//! missing, and read every result as one of an `enum`, which a newer driver's are not. So the
//! functions used here are looked up once, in a table, with integers as results.

use super::error::{CudaError, Version};
use super::faults::Fault;
use cudarc::driver::sys;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;
use sys::{
    CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUlaunchConfig,
    CUmodule, CUstream,
};

/// The oldest driver that has all functions.
pub const OLDEST: Version = Version(12_000);
/// `CUDA_ERROR_OUT_OF_MEMORY`.
pub const OUT_OF_MEMORY: c_int = 2;
/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: c_int = 100;

macro_rules! functions {
    ($($field:ident = $symbol:literal ($($type:ty),*);)*) => {
        /// The functions in use, under the names that the driver's headers give them.
        pub struct Driver {
            /// What it supports.
            pub version: Version,
            /// The fault that ended the context, in words, once one has.
            lost: OnceLock<String>,
            $(pub $field: (&'static str, unsafe extern "C" fn($($type),*) -> c_int),)*
        }

        #[cfg(test)]
        impl Driver {
            /// Functions that do nothing, write nothing, and succeed.
            pub fn of_stubs() -> Driver {
                Driver {
                    version: OLDEST,
                    lost: OnceLock::new(),
                    $($field: ($symbol, {
                        unsafe extern "C" fn stub($(_: $type),*) -> c_int {
                            0
                        }
                        stub
                    }),)*
                }
            }
        }

        impl Driver {
            /// Looks all of them up.
            fn look_up(version: Version) -> Result<Driver, CudaError> {
                // SAFETY: each symbol has the type that cuda.h declares for it.
                unsafe {
                    Ok(Driver {
                        version,
                        lost: OnceLock::new(),
                        $($field: ($symbol, look_up($symbol)?),)*
                    })
                }
            }
        }
    };
}

functions! {
    init = "cuInit"(c_uint);
    error_name = "cuGetErrorName"(c_int, *mut *const c_char);
    error_string = "cuGetErrorString"(c_int, *mut *const c_char);
    device_count = "cuDeviceGetCount"(*mut c_int);
    device_get = "cuDeviceGet"(*mut CUdevice, c_int);
    device_name = "cuDeviceGetName"(*mut c_char, c_int, CUdevice);
    device_attribute = "cuDeviceGetAttribute"(*mut c_int, c_uint, CUdevice);
    device_memory = "cuDeviceTotalMem_v2"(*mut usize, CUdevice);
    context_retain = "cuDevicePrimaryCtxRetain"(*mut CUcontext, CUdevice);
    context_release = "cuDevicePrimaryCtxRelease_v2"(CUdevice);
    context_get = "cuCtxGetCurrent"(*mut CUcontext);
    context_set = "cuCtxSetCurrent"(CUcontext);
    memory_info = "cuMemGetInfo_v2"(*mut usize, *mut usize);
    alloc = "cuMemAlloc_v2"(*mut CUdeviceptr, usize);
    free = "cuMemFree_v2"(CUdeviceptr);
    alloc_host = "cuMemHostAlloc"(*mut *mut c_void, usize, c_uint);
    free_host = "cuMemFreeHost"(*mut c_void);
    upload = "cuMemcpyHtoD_v2"(CUdeviceptr, *const c_void, usize);
    upload_async = "cuMemcpyHtoDAsync_v2"(CUdeviceptr, *const c_void, usize, CUstream);
    download_async = "cuMemcpyDtoHAsync_v2"(*mut c_void, CUdeviceptr, usize, CUstream);
    copy_async = "cuMemcpyDtoDAsync_v2"(CUdeviceptr, CUdeviceptr, usize, CUstream);
    fill = "cuMemsetD8_v2"(CUdeviceptr, u8, usize);
    module_load = "cuModuleLoadData"(*mut CUmodule, *const c_void);
    module_unload = "cuModuleUnload"(CUmodule);
    module_function = "cuModuleGetFunction"(*mut CUfunction, CUmodule, *const c_char);
    function_set = "cuFuncSetAttribute"(CUfunction, c_uint, c_int);
    launch = "cuLaunchKernelEx"(
        *const CUlaunchConfig, CUfunction, *mut *mut c_void, *mut *mut c_void
    );
    stream_create = "cuStreamCreate"(*mut CUstream, c_uint);
    stream_synchronize = "cuStreamSynchronize"(CUstream);
    stream_wait = "cuStreamWaitEvent"(CUstream, CUevent, c_uint);
    stream_captured = "cuStreamIsCapturing"(CUstream, *mut c_uint);
    stream_destroy = "cuStreamDestroy_v2"(CUstream);
    capture_begin = "cuStreamBeginCapture_v2"(CUstream, c_uint);
    capture_end = "cuStreamEndCapture"(CUstream, *mut CUgraph);
    graph_instantiate = "cuGraphInstantiateWithFlags"(*mut CUgraphExec, CUgraph, u64);
    graph_upload = "cuGraphUpload"(CUgraphExec, CUstream);
    graph_launch = "cuGraphLaunch"(CUgraphExec, CUstream);
    graph_destroy = "cuGraphDestroy"(CUgraph);
    exec_destroy = "cuGraphExecDestroy"(CUgraphExec);
    event_create = "cuEventCreate"(*mut CUevent, c_uint);
    event_record = "cuEventRecord"(CUevent, CUstream);
    event_query = "cuEventQuery"(CUevent);
    event_synchronize = "cuEventSynchronize"(CUevent);
    event_elapsed = "cuEventElapsedTime"(*mut f32, CUevent, CUevent);
    event_destroy = "cuEventDestroy_v2"(CUevent);
}

/// Calls one of the driver's functions, for `what`.
macro_rules! call {
    ($driver:expr, $what:expr, $field:ident($($arg:expr),* $(,)?)) => {{
        let (name, function) = $driver.$field;
        $driver.check($what, name, function($($arg),*))
    }};
}
pub(super) use call;

/// # Safety
/// `F` is a pointer to a function of the type that the library has under `symbol`.
unsafe fn look_up<F: Copy>(symbol: &'static str) -> Result<F, CudaError> {
    // SAFETY: `culib` loads NVIDIA's library or finds it loaded, and only after
    // `is_culib_present` said that it can; the caller knows the type.
    let found = unsafe { sys::culib().get::<F>(symbol.as_bytes()) };
    found.map(|f| *f).map_err(|_| CudaError::MissingFunction { symbol, needed: OLDEST })
}

/// The newest CUDA that the driver knows, whether or not it is too old, or sees a GPU. One that fails
/// to say so counts as the oldest that will do.
pub fn version() -> Result<Version, CudaError> {
    // SAFETY: loading the driver's library runs its initialisers, which expect nothing of us.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    // Told before any other function is asked for: an older driver may lack some.
    // SAFETY: the type is that of cuda.h, and has been since the first driver.
    let version: unsafe extern "C" fn(*mut c_int) -> c_int =
        unsafe { look_up("cuDriverGetVersion")? };
    let mut found = 0;
    // SAFETY: the pointer is to an integer of the type that is written.
    let code = unsafe { version(&mut found) };
    Ok(if code == 0 { Version(found) } else { OLDEST })
}

/// The two functions by which a thread's context is kept.
#[derive(Clone, Copy)]
pub struct ThreadContext {
    pub get: unsafe extern "C" fn(*mut CUcontext) -> c_int,
    pub set: unsafe extern "C" fn(CUcontext) -> c_int,
}

impl ThreadContext {
    /// Of the driver, where there is one: looked up once.
    pub fn find() -> Option<ThreadContext> {
        static FOUND: OnceLock<Option<ThreadContext>> = OnceLock::new();
        *FOUND.get_or_init(|| {
            // SAFETY: loading the driver's library runs its initialisers, which expect nothing of us.
            if !unsafe { sys::is_culib_present() } {
                return None;
            }
            // SAFETY: the types are those of cuda.h.
            let found = unsafe { (look_up("cuCtxGetCurrent"), look_up("cuCtxSetCurrent")) };
            let (Ok(get), Ok(set)) = found else { return None };
            Some(ThreadContext { get, set })
        })
    }
}

impl Driver {
    /// The functions by which a thread's context is kept.
    pub fn thread_context(&self) -> ThreadContext {
        ThreadContext { get: self.context_get.1, set: self.context_set.1 }
    }

    /// The driver, initialised, where it is there and not too old.
    pub fn open() -> Result<Driver, CudaError> {
        let found = version()?;
        if found < OLDEST {
            return Err(CudaError::DriverTooOld { found, needed: OLDEST });
        }
        let driver = Driver::look_up(found)?;
        // SAFETY: any argument is safe; 0 is the only one that is defined.
        match unsafe { (driver.init.1)(0) } {
            NO_DEVICE => Err(CudaError::NoDevice),
            code => driver.check("starting the CUDA driver", driver.init.0, code).map(|()| driver),
        }
    }

    /// An error where the driver's result is one. After a fault that ends the context every later
    /// result is the fault's, whatever was called: then the error says so.
    pub fn check(&self, what: &str, call: &'static str, code: c_int) -> Result<(), CudaError> {
        if code == 0 {
            return Ok(());
        }
        if let Some(first) = self.lost.get() {
            return Err(CudaError::Lost { what: what.to_owned(), first: first.clone() });
        }
        let told =
            |(_, function): (_, unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int)| {
                let mut text: *const c_char = std::ptr::null();
                // SAFETY: the driver writes a pointer to a string that lives as long as it does, or
                // leaves null, or writes it, for a result that it does not know.
                unsafe {
                    let known = function(code, &mut text) == 0 && !text.is_null();
                    known.then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
                }
            };
        let fault = Fault::of(code);
        let name = told(self.error_name).unwrap_or_else(|| fault.name.to_owned());
        let text = told(self.error_string).unwrap_or_else(|| fault.meaning.to_owned());
        let (what, advice) = (what.to_owned(), fault.advice);
        let error = CudaError::Driver { what, call, code, name, text, advice };
        if fault.ends_context {
            // Another thread may have been first, with the same fault.
            let _ = self.lost.set(error.to_string());
        }
        Err(error)
    }
}
