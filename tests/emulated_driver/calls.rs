//! The driver's functions: contexts, memory, streams, events, graphs.

use super::gpu::{Handle, MEMORY_BYTES, Work, driver};
use super::results::{
    CUresult, INVALID_DEVICE, INVALID_VALUE, NO_DEVICE, NOT_READY, OUT_OF_MEMORY, SUCCESS, name,
};
use super::settings::{capability, fails, gpus, injected, trace, version};
use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_uint, c_void};

thread_local! {
    /// The thread's context.
    static CURRENT: Cell<Handle> = const { Cell::new(0) };
}

/// Looks at an event that is not done before it is done: work is as late as it may be.
const LOOKS: u32 = 3;

/// Writes a result where the caller wants it.
///
/// # Safety
///
/// `to` must be null, or valid for a write of a `T`.
pub unsafe fn give<T>(to: *mut T, value: T) -> CUresult {
    if to.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: valid for a write, says the caller; not null.
    unsafe { to.write_unaligned(value) };
    SUCCESS
}

/// Functions of the driver that write one value through their first pointer.
macro_rules! gives {
    ($($name:ident($to:ident: $type:ty $(, $argument:ident: $kind:ty)*) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($to: *mut $type $(, $argument: $kind)*) -> CUresult {
            let call = || -> Result<$type, CUresult> { $body };
            match injected(stringify!($name)).map_or_else(call, Err) {
                // SAFETY: the driver's own condition: the caller's pointer takes a value of this
                // type.
                Ok(value) => unsafe { give($to, value) },
                Err(error) => error,
            }
        }
    )*};
}

/// Functions of the driver that write nothing.
macro_rules! does {
    ($($name:ident($($argument:ident: $kind:ty),*) $body:block)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $kind),*) -> CUresult {
            let call = || -> CUresult { $body };
            injected(stringify!($name)).unwrap_or_else(call)
        }
    )*};
}

does! {
    cuInit(_flags: c_uint) { if fails("no-device") { NO_DEVICE } else { SUCCESS } }
    cuCtxSetCurrent(context: Handle) {
        CURRENT.set(context);
        SUCCESS
    }
    cuDevicePrimaryCtxRelease_v2(_device: c_int) {
        let mut driver = driver();
        driver.retained = driver.retained.saturating_sub(1);
        if driver.retained == 0 {
            // The context is gone, and with it what broke it.
            driver.broken = SUCCESS;
            driver.streams.clear();
        }
        SUCCESS
    }
    cuStreamSynchronize(stream: Handle) { driver().wait(stream) }
    cuStreamDestroy_v2(stream: Handle) {
        let mut driver = driver();
        let waited = driver.wait(stream);
        driver.streams.remove(&stream);
        waited
    }
    cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) {
        let mut driver = driver();
        match driver.events.get(&event).copied() {
            // Nothing was recorded yet: nothing to wait for.
            Some(0) => SUCCESS,
            Some(number) => driver.enqueue(stream, Work::WaitFor(number)),
            None => INVALID_VALUE,
        }
    }
    cuEventRecord(event: Handle, stream: Handle) {
        let mut driver = driver();
        driver.recorded += 1;
        let number = driver.recorded;
        if driver.events.insert(event, number).is_none() {
            return INVALID_VALUE;
        }
        driver.enqueue(stream, Work::Record(number))
    }
    cuEventSynchronize(event: Handle) {
        let mut driver = driver();
        let Some(number) = driver.events.get(&event).copied() else { return INVALID_VALUE };
        trace("sleep for an event");
        driver.run_ahead();
        driver.reach(number);
        driver.broken
    }
    cuEventQuery(event: Handle) {
        let mut driver = driver();
        let Some(number) = driver.events.get(&event).copied() else { return INVALID_VALUE };
        if driver.looks < LOOKS && !driver.come.contains_key(&number) {
            driver.looks += 1;
            return NOT_READY;
        }
        trace(&format!("look {} at an event", driver.looks));
        driver.looks = 0;
        driver.run_ahead();
        driver.reach(number);
        driver.broken
    }
    cuEventDestroy_v2(event: Handle) {
        if driver().events.remove(&event).is_some() { SUCCESS } else { INVALID_VALUE }
    }
    cuModuleUnload(module: Handle) {
        let mut driver = driver();
        let drained = driver.drain();
        driver.modules.remove(&module);
        drained
    }
    cuFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) {
        trace(&format!("attribute {attribute} {value}"));
        // 227 KB, which sm_90 grants.
        let known = driver().functions.contains_key(&function);
        if known && (0..=227 * 1024).contains(&value) { SUCCESS } else { INVALID_VALUE }
    }
    cuMemFree_v2(address: u64) {
        let mut driver = driver();
        let drained = driver.drain();
        match driver.buffers.remove(&address) {
            Some(buffer) => {
                driver.allocated -= buffer.len_bytes();
                drained
            }
            None => INVALID_VALUE,
        }
    }
    cuMemsetD8_v2(to: u64, value: u8, bytes: usize) {
        driver().fill(to, value, bytes)
    }
    cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) {
        driver().upload(to, from as usize, bytes)
    }
    cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) {
        driver().enqueue(stream, Work::Upload { to, from: from as usize, bytes })
    }
    cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle) {
        driver().enqueue(stream, Work::Download { to: to as usize, from, bytes })
    }
    cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) {
        driver().enqueue(stream, Work::Copy { to, from, bytes })
    }
    cuStreamBeginCapture_v2(stream: Handle, _mode: c_int) {
        driver().capture = Some((stream, Vec::new()));
        SUCCESS
    }
    cuGraphDestroy(graph: Handle) {
        if driver().graphs.remove(&graph).is_some() { SUCCESS } else { INVALID_VALUE }
    }
    cuGraphExecDestroy(graph: Handle) { cuGraphDestroy(graph) }
    cuGraphUpload(graph: Handle, stream: Handle) {
        let driver = driver();
        trace(&format!("upload of graph {graph}"));
        let known = driver.graphs.contains_key(&graph) && driver.streams.contains_key(&stream);
        if known { driver.broken } else { INVALID_VALUE }
    }
    cuGraphLaunch(graph: Handle, stream: Handle) {
        let mut driver = driver();
        let Some(work) = driver.graphs.get(&graph).cloned() else { return INVALID_VALUE };
        trace(&format!("launch of graph {graph}"));
        match driver.streams.get_mut(&stream) {
            Some(queue) => queue.extend(work),
            None => return INVALID_VALUE,
        }
        driver.broken
    }
}

gives! {
    cuDriverGetVersion(to: c_int) { Ok(version()) }
    cuCtxGetCurrent(to: Handle) { Ok(CURRENT.get()) }
    cuDeviceGetCount(to: c_int) { Ok(gpus().len() as c_int) }
    cuDeviceGet(to: c_int, ordinal: c_int) {
        if (0..gpus().len() as c_int).contains(&ordinal) { Ok(ordinal) } else { Err(INVALID_DEVICE) }
    }
    cuDeviceTotalMem_v2(to: usize, _device: c_int) { Ok(MEMORY_BYTES) }
    cuDeviceGetAttribute(to: c_int, attribute: c_int, device: c_int) {
        Ok(match attribute {
            75 => capability(device) / 10,
            76 => capability(device) % 10,
            81 => 228 * 1024,     // shared memory of a multiprocessor
            97 => 227 * 1024,     // shared memory of a block, when asked for
            _ => 0,
        })
    }
    cuDevicePrimaryCtxRetain(to: Handle, _device: c_int) {
        let mut driver = driver();
        if driver.broken != SUCCESS {
            return Err(driver.broken);
        }
        driver.retained += 1;
        Ok(driver.handle())
    }
    cuStreamCreate(to: Handle, _flags: c_uint) {
        let mut driver = driver();
        let stream = driver.handle();
        driver.streams.insert(stream, VecDeque::new());
        Ok(stream)
    }
    cuEventCreate(to: Handle, _flags: c_uint) {
        let mut driver = driver();
        let event = driver.handle();
        driver.events.insert(event, 0);
        Ok(event)
    }
    cuEventElapsedTime(to: f32, start: Handle, end: Handle) { driver().milliseconds(start, end) }
    cuMemAlloc_v2(to: u64, bytes: usize) {
        let mut driver = driver();
        if fails("memory") || bytes == 0 || driver.allocated + bytes > MEMORY_BYTES {
            return Err(OUT_OF_MEMORY);
        }
        driver.allocated += bytes;
        let name = format!("allocation {}", driver.buffers.len());
        let buffer = driver.memory.uninitialised(&name, bytes);
        let address = buffer.address();
        driver.buffers.insert(address, buffer);
        Ok(address)
    }
    cuMemHostAlloc(to: *mut c_void, bytes: usize, _flags: c_uint) {
        // Never given back: a test's process is short. Aligned like pages.
        let words = vec![0u64; bytes.div_ceil(8) + 512].leak();
        let address = (words.as_mut_ptr() as usize).next_multiple_of(4096);
        driver().pinned.insert(address, bytes);
        Ok(address as *mut c_void)
    }
    cuStreamEndCaptureHandle(to: Handle) {
        let mut driver = driver();
        match driver.capture.take() {
            Some((_, work)) => {
                let graph = driver.handle();
                driver.graphs.insert(graph, work);
                Ok(graph)
            }
            None => Err(INVALID_VALUE),
        }
    }
    cuGraphInstantiateWithFlags(to: Handle, graph: Handle, _flags: u64) {
        let mut driver = driver();
        match driver.graphs.get(&graph).cloned() {
            Some(work) => {
                let executable = driver.handle();
                driver.graphs.insert(executable, work);
                Ok(executable)
            }
            None => Err(INVALID_VALUE),
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(_stream: Handle, to: *mut Handle) -> CUresult {
    if let Some(code) = injected("cuStreamEndCapture") {
        driver().capture = None;
        return code;
    }
    // SAFETY: the same condition.
    unsafe { cuStreamEndCaptureHandle(to) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamIsCapturing(stream: Handle, to: *mut c_int) -> CUresult {
    let captured = driver().capture.as_ref().is_some_and(|(captured, _)| *captured == stream);
    // SAFETY: the driver's own condition: the caller's pointer takes an integer.
    unsafe { give(to, c_int::from(captured)) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(address: *mut c_void) -> CUresult {
    match driver().pinned.remove(&(address as usize)) {
        Some(_) => SUCCESS,
        None => INVALID_VALUE,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: CUresult, to: *mut *const c_char) -> CUresult {
    // SAFETY: the same condition.
    unsafe { cuGetErrorString(error, to) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(error: CUresult, to: *mut *const c_char) -> CUresult {
    // As a driver has it for a number that it does not know.
    let (result, name) = match name(error) {
        Some(name) => (SUCCESS, name.as_ptr()),
        None => (INVALID_VALUE, std::ptr::null()),
    };
    // SAFETY: the driver's own condition: the caller's pointer takes a pointer.
    unsafe { give(to, name) };
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(to: *mut c_char, bytes: c_int, _device: c_int) -> CUresult {
    let name = c"PTX emulator".to_bytes_with_nul();
    if (bytes as usize) < name.len() {
        return INVALID_VALUE;
    }
    // SAFETY: the driver's own condition: `bytes` writable bytes at `to`; the name is no longer.
    unsafe { to.copy_from_nonoverlapping(name.as_ptr().cast(), name.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> CUresult {
    let allocated = driver().allocated;
    // SAFETY: the driver's own condition: both pointers take a size.
    unsafe {
        give(free, MEMORY_BYTES - allocated);
        give(total, MEMORY_BYTES)
    }
}
