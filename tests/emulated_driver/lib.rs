//! A stand-in for CUDA's driver library whose GPU is the PTX emulator.
//!
//! Built as a shared library and put where a program looks for `libcuda.so`, it takes the calls
//! that `device::cuda` makes through cudarc: contexts, memory, modules, streams, graphs. Kernels
//! run on the emulator with all its checks. So the host's side of a GPU run can be tested without a
//! GPU: allocations, copies, captures and launches, and their order.
//!
//! Work on streams is queued and only done when something waits for it, as late as a GPU may: a
//! host that reads before it has waited, or changes a staging buffer too early, gets wrong values.
//! So does one that leaves out a wait between streams: work that a wait does not need is done after
//! it (`late`) or before it (`early`).
//!
//! A launch that may begin while the one before it runs is checked for waiting by itself (see
//! `emulator::Launch::dependent`). Uploads without a stream before the first of them count as
//! weights, which no launch writes.
//!
//! Environment variables:
//!
//! - `EFFNET_EMULATED_DRIVER_FAIL`: any of these, with commas between them: `no-device`,
//!   `old-driver`, `memory`, `architecture`, `load`; `CALL=CODE`, by which every call of a function
//!   has this result, or `CALL=CODE@N`, by which the Nth one has. `dependent` stands for launches that
//!   may begin early, and `kernel` for a kernel while it runs: what waits for it is told, and so is
//!   every call after that;
//! - `EFFNET_EMULATED_DRIVER_VERSION`: the CUDA that it is of, as a driver counts, instead of 13000;
//! - `EFFNET_EMULATED_DRIVER_GPUS`: the compute capability of each GPU, as in `75,90`, instead of one of
//!   the newest target that is built;
//! - `EFFNET_EMULATED_DRIVER_ORDER`: `late`, as where it is not set, or `early`;
//! - `EFFNET_EMULATED_DRIVER_LOG`: a file to which a line is added for each kernel that runs;
//! - `EFFNET_EMULATED_DRIVER_TRACE`: a file to which a line is added for each copy that is made, with
//!   the host's address and whether its memory is pinned, and for each call about a graph, a wait of
//!   the host or an attribute.

#![allow(non_snake_case)] // the driver's names

use effnet::emulator::{Buffer, Launch, Memory, Module};
use effnet::kernels;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{LazyLock, Mutex, MutexGuard};

type CUresult = c_int;
const SUCCESS: CUresult = 0;
const INVALID_VALUE: CUresult = 1;
const OUT_OF_MEMORY: CUresult = 2;
const NO_DEVICE: CUresult = 100;
const INVALID_DEVICE: CUresult = 101;
const INVALID_IMAGE: CUresult = 200;
const NO_BINARY_FOR_GPU: CUresult = 209;
const NOT_FOUND: CUresult = 500;
const NOT_READY: CUresult = 600;
const LAUNCH_FAILED: CUresult = 719;
/// Looks at an event that is not done before it is done: work is as late as it may be.
const LOOKS: u32 = 3;

/// CUDA 13.0.
const VERSION: c_int = 13_000;
const MEMORY_BYTES: usize = 8 << 30;
/// The addresses of everything that is not memory: only told apart, never followed.
type Handle = u64;

/// Something that a stream does when its turn comes.
#[derive(Clone)]
enum Work {
    Launch {
        entry: (usize, String),
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: Vec<u8>,
        dependent: bool,
    },
    /// A copy from a host address.
    Upload { to: u64, from: usize, bytes: usize },
    /// A copy to a host address.
    Download { to: usize, from: u64, bytes: usize },
    /// A recording: the work before it is done, and the call of this number has come.
    Record(u64),
    /// Later work waits until the recording by the call of this number has come.
    WaitFor(u64),
}

#[derive(Default)]
struct Driver {
    memory: Memory,
    buffers: BTreeMap<u64, Buffer>,
    allocated: usize,
    /// Addresses of buffers that were uploaded without a stream.
    uploaded: BTreeSet<u64>,
    /// Parsed PTX, by the image's place among the kernels' images.
    parsed: HashMap<usize, Module>,
    modules: HashMap<Handle, usize>,
    functions: HashMap<Handle, (usize, String)>,
    next: Handle,
    streams: BTreeMap<Handle, VecDeque<Work>>,
    /// The number of the last call that recorded an event.
    events: HashMap<Handle, u64>,
    recorded: u64,
    /// Numbers of recordings that have come.
    come: BTreeSet<u64>,
    /// The stream that is captured, with the work captured so far, while one is.
    capture: Option<(Handle, Vec<Work>)>,
    graphs: HashMap<Handle, Vec<Work>>,
    /// The first failure of queued work; every call after it fails, as on a GPU.
    broken: CUresult,
    /// Pinned memory of the host: bytes from each address.
    pinned: BTreeMap<usize, usize>,
    /// Looks at events that were not done, since the last that was.
    looks: u32,
    /// Calls so far of each function that `CALL=CODE@N` names.
    calls: HashMap<String, u32>,
}

static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(Mutex::default);

fn driver() -> MutexGuard<'static, Driver> {
    DRIVER.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What is to fail.
static FAIL: LazyLock<Vec<String>> = LazyLock::new(|| {
    let value = std::env::var("EFFNET_EMULATED_DRIVER_FAIL").unwrap_or_default();
    value.split(',').map(str::to_owned).collect()
});

fn fails(how: &str) -> bool {
    FAIL.iter().any(|fault| fault == how)
}

/// The result that this call is to have, where it is to fail.
fn injected(call: &str) -> Option<CUresult> {
    let fault = FAIL.iter().find_map(|fault| fault.strip_prefix(call)?.strip_prefix('='))?;
    let Some((code, number)) = fault.split_once('@') else { return fault.parse().ok() };
    let mut driver = driver();
    let calls = driver.calls.entry(call.to_owned()).or_default();
    *calls += 1;
    (number.parse() == Ok(*calls)).then(|| code.parse().ok())?
}

fn append(variable: &str, line: &str) {
    let Ok(path) = std::env::var(variable) else { return };
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("emulated driver: {path}: {error}");
    }
}

fn trace(line: &str) {
    append("EFFNET_EMULATED_DRIVER_TRACE", &format!("{line}\n"));
}

fn version() -> c_int {
    let given = std::env::var("EFFNET_EMULATED_DRIVER_VERSION").ok();
    let given = given.and_then(|version| version.parse().ok()).unwrap_or(VERSION);
    if fails("old-driver") { 11_020 } else { given }
}

/// Compute capabilities of the GPUs.
fn gpus() -> Vec<c_int> {
    if let Ok(list) = std::env::var("EFFNET_EMULATED_DRIVER_GPUS") {
        return list.split(',').filter_map(|word| word.parse().ok()).collect();
    }
    let built = kernels::built().ok();
    let newest = built.map(|built| built.archs.iter().copied().max().unwrap_or(built.ptx_arch));
    vec![if fails("architecture") { 50 } else { newest.map_or(80, |arch| arch as c_int) }]
}

fn capability(device: c_int) -> c_int {
    usize::try_from(device).ok().and_then(|at| gpus().get(at).copied()).unwrap_or(0)
}

impl Driver {
    fn handle(&mut self) -> Handle {
        self.next += 16;
        self.next
    }

    /// The buffer that holds an address, and the offset within it.
    fn find(&self, address: u64) -> Option<(&Buffer, usize)> {
        let (&start, buffer) = self.buffers.range(..=address).next_back()?;
        let offset = (address - start) as usize;
        (offset < buffer.len_bytes()).then_some((buffer, offset))
    }

    fn enqueue(&mut self, stream: Handle, work: Work) -> CUresult {
        match &mut self.capture {
            Some((captured, list)) if *captured == stream => list.push(work),
            _ => match self.streams.get_mut(&stream) {
                Some(queue) => queue.push_back(work),
                None => return INVALID_VALUE,
            },
        }
        self.broken
    }

    /// Does the stream's work up to its end, or up to a recording, and before that the work on
    /// other streams that it waits for.
    fn advance(&mut self, stream: Handle, up_to: Option<u64>) {
        while up_to.is_none_or(|number| !self.come.contains(&number)) {
            let Some(work) = self.streams.get_mut(&stream).and_then(VecDeque::pop_front) else {
                return;
            };
            match work {
                Work::Record(number) => {
                    self.come.insert(number);
                }
                Work::WaitFor(number) => self.reach(number),
                work if self.broken == SUCCESS => self.broken = self.perform(work),
                _ => {}
            }
        }
    }

    /// Does the work that is needed until a recording has come.
    fn reach(&mut self, number: u64) {
        let is_it = |work: &Work| matches!(work, Work::Record(n) if *n == number);
        let found = self.streams.iter().find(|(_, queue)| queue.iter().any(is_it));
        if let Some((&stream, _)) = found {
            self.advance(stream, Some(number));
        }
    }

    /// Does the work of other streams that may run before a wait, where they are to be early: all
    /// work that waits for nothing.
    fn run_ahead(&mut self) {
        if std::env::var("EFFNET_EMULATED_DRIVER_ORDER").is_ok_and(|order| order == "early") {
            let streams: Vec<Handle> = self.streams.keys().copied().collect();
            for stream in streams {
                while let Some(work) = self.streams.get_mut(&stream).and_then(VecDeque::pop_front) {
                    let waits =
                        matches!(&work, Work::WaitFor(number) if !self.come.contains(number));
                    if waits || matches!(work, Work::Launch { .. }) {
                        self.streams.entry(stream).or_default().push_front(work);
                        break;
                    }
                    match work {
                        Work::Record(number) => {
                            self.come.insert(number);
                        }
                        Work::WaitFor(_) => {}
                        work if self.broken == SUCCESS => self.broken = self.perform(work),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Waits for a stream, or for the recording of an event.
    fn wait(&mut self, stream: Handle) -> CUresult {
        self.run_ahead();
        self.advance(stream, None);
        self.broken
    }

    /// Does everything that is queued.
    fn drain(&mut self) -> CUresult {
        let streams: Vec<Handle> = self.streams.keys().copied().collect();
        streams.into_iter().for_each(|stream| self.advance(stream, None));
        self.broken
    }

    fn perform(&mut self, work: Work) -> CUresult {
        match work {
            Work::Upload { to, from, bytes } => {
                let Some((buffer, offset)) = self.find(to) else { return INVALID_VALUE };
                let buffer = buffer.clone();
                if offset + bytes > buffer.len_bytes() {
                    return INVALID_VALUE;
                }
                trace(&format!("upload {bytes} {} {from:#x}", self.kind(from, bytes)));
                // SAFETY: the caller of the copy gave `bytes` readable bytes at `from`, which stay
                // so until it has waited for the stream: the driver's own condition.
                let values = unsafe { std::slice::from_raw_parts(from as *const u8, bytes) };
                self.memory.write(&buffer, offset, values);
            }
            Work::Download { to, from, bytes } => {
                let Some((buffer, offset)) = self.find(from) else { return INVALID_VALUE };
                if offset + bytes > buffer.len_bytes() {
                    return INVALID_VALUE;
                }
                trace(&format!("download {bytes} {} {to:#x}", self.kind(to, bytes)));
                let values: Vec<u8> = self.memory.read(buffer, offset, bytes);
                // SAFETY: the caller of the copy gave `bytes` writable bytes at `to`, and uses them
                // for nothing else until it has waited for the stream: the driver's own condition.
                let to = unsafe { std::slice::from_raw_parts_mut(to as *mut u8, bytes) };
                to.copy_from_slice(&values);
            }
            Work::Launch { entry: (image, entry), grid, block, shared, params, dependent } => {
                if let Some(code) = self.fault_of_kernel() {
                    return code;
                }
                return self.launch(image, &entry, [grid, block], shared, &params, dependent);
            }
            Work::Record(_) | Work::WaitFor(_) => {}
        }
        SUCCESS
    }

    /// As [`injected`], for a kernel while it runs.
    fn fault_of_kernel(&mut self) -> Option<CUresult> {
        let fault = FAIL.iter().find_map(|fault| fault.strip_prefix("kernel="))?;
        let (code, number) = fault.split_once('@').unwrap_or((fault, "1"));
        let calls = self.calls.entry("kernel".to_owned()).or_default();
        *calls += 1;
        (number.parse() == Ok(*calls)).then(|| code.parse().ok())?
    }

    /// What the host's memory is.
    fn kind(&self, start: usize, bytes: usize) -> &'static str {
        let before = self.pinned.range(..=start).next_back();
        match before.is_some_and(|(at, len)| start + bytes <= at + len) {
            true => "pinned",
            false => "pageable",
        }
    }

    fn fill(&mut self, to: u64, value: u8, bytes: usize) -> CUresult {
        let Some((buffer, offset)) = self.find(to) else { return INVALID_VALUE };
        let buffer = buffer.clone();
        if offset + bytes > buffer.len_bytes() {
            return INVALID_VALUE;
        }
        self.memory.write(&buffer, offset, &vec![value; bytes]);
        SUCCESS
    }

    /// At once.
    fn upload(&mut self, to: u64, from: usize, bytes: usize) -> CUresult {
        let done = self.perform(Work::Upload { to, from, bytes });
        if let Some((buffer, _)) = self.find(to) {
            let address = buffer.address();
            self.uploaded.insert(address);
        }
        done
    }

    /// From the first dependent launch on, buffers that were uploaded at once are not written any
    /// more.
    fn protect_uploaded(&mut self) {
        for address in std::mem::take(&mut self.uploaded) {
            if let Some(buffer) = self.buffers.get(&address) {
                self.memory.protect(buffer);
            }
        }
    }

    fn launch(
        &mut self,
        image: usize,
        entry: &str,
        [grid, block]: [[u32; 3]; 2],
        shared: u32,
        params: &[u8],
        dependent: bool,
    ) -> CUresult {
        if dependent {
            self.protect_uploaded();
        }
        let module = &self.parsed[&image];
        let launch = Launch::new(module, entry).map(|launch| {
            let launch = launch.grid(grid).block(block).shared_bytes(shared).params(params);
            launch.dependent(dependent)
        });
        let report = match launch.and_then(|launch| launch.run(&mut self.memory)) {
            Ok(report) => report,
            Err(error) => {
                eprintln!("emulated driver: {error}");
                return INVALID_VALUE;
            }
        };
        let hex: String = params.iter().map(|byte| format!("{byte:02x}")).collect();
        let dependent = if dependent { "dependent " } else { "" };
        let line = format!("{dependent}{entry} {grid:?} {block:?} {shared} {hex}\n");
        append("EFFNET_EMULATED_DRIVER_LOG", &line);
        for finding in &report.findings {
            eprintln!("emulated driver: {entry}: {finding}");
        }
        if report.is_clean() { SUCCESS } else { LAUNCH_FAILED }
    }
}

/// Writes a result where the caller wants it.
///
/// # Safety
///
/// `to` must be null, or valid for a write of a `T`.
unsafe fn give<T>(to: *mut T, value: T) -> CUresult {
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
    cuCtxSetCurrent(_context: Handle) { SUCCESS }
    cuDevicePrimaryCtxRelease_v2(_device: c_int) { SUCCESS }
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
        if driver.looks < LOOKS && !driver.come.contains(&number) {
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
    cuDeviceGetCount(to: c_int) { Ok(gpus().len() as c_int) }
    cuDeviceGet(to: c_int, ordinal: c_int) {
        if (0..gpus().len() as c_int).contains(&ordinal) { Ok(ordinal) } else { Err(INVALID_DEVICE) }
    }
    cuDeviceTotalMem_v2(to: usize, _device: c_int) { Ok(MEMORY_BYTES) }
    cuDeviceGetAttribute(to: c_int, attribute: c_int, device: c_int) {
        Ok(match attribute {
            75 => capability(device) / 10,
            76 => capability(device) % 10,
            97 => 227 * 1024,     // shared memory of a block, when asked for
            _ => 0,
        })
    }
    cuDevicePrimaryCtxRetain(to: Handle, _device: c_int) { Ok(driver().handle()) }
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
    cuEventElapsedTime(to: f32, _start: Handle, _end: Handle) { Ok(1.0) }
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

fn name(error: CUresult) -> Option<&'static CStr> {
    Some(match error {
        SUCCESS => c"CUDA_SUCCESS",
        INVALID_VALUE => c"CUDA_ERROR_INVALID_VALUE",
        OUT_OF_MEMORY => c"CUDA_ERROR_OUT_OF_MEMORY",
        NO_DEVICE => c"CUDA_ERROR_NO_DEVICE",
        INVALID_DEVICE => c"CUDA_ERROR_INVALID_DEVICE",
        INVALID_IMAGE => c"CUDA_ERROR_INVALID_IMAGE",
        NO_BINARY_FOR_GPU => c"CUDA_ERROR_NO_BINARY_FOR_GPU",
        NOT_FOUND => c"CUDA_ERROR_NOT_FOUND",
        LAUNCH_FAILED => c"CUDA_ERROR_LAUNCH_FAILED",
        _ => return None,
    })
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

/// The first bytes of an ELF file.
const ELF: &[u8] = b"\x7fELF";

/// A kernel file as the caller of `cuModuleLoadData` gives it.
///
/// # Safety
///
/// A whole ELF file of nvcc, or a text that ends in a zero byte, is readable at `bytes` as long as
/// the result lives.
unsafe fn image<'a>(bytes: *const u8) -> &'a [u8] {
    const HEADER_BYTES: usize = 64;
    // SAFETY: an ELF file has a header; a text has at least one byte, and is read no further than
    // its zero.
    unsafe {
        if !ELF.iter().enumerate().all(|(i, byte)| *bytes.add(i) == *byte) {
            return CStr::from_ptr(bytes.cast()).to_bytes();
        }
        let header = std::slice::from_raw_parts(bytes, HEADER_BYTES);
        let half = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        // nvcc's files end with the table of program headers: its place, entries and their size.
        let place =
            header[32..40].iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte));
        std::slice::from_raw_parts(bytes, place + half(54) * half(56))
    }
}

/// The kernel file is told by its content: it is one of those that this library embeds too, as
/// machine code of any target or as PTX.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(to: *mut Handle, bytes: *const c_void) -> CUresult {
    if fails("load") {
        return NO_BINARY_FOR_GPU;
    }
    if let Some(code) = injected("cuModuleLoadData") {
        return code;
    }
    // SAFETY: the driver's own condition: a whole ELF file, or a text that ends in a zero, is
    // readable at `bytes`.
    let given = unsafe { image(bytes.cast()) };
    let Ok(built) = kernels::built() else { return INVALID_IMAGE };
    let is_given =
        |file: Result<Vec<u8>, kernels::UnpackError>| file.is_ok_and(|file| file == given);
    let found = built.images.iter().enumerate().find(|(_, image)| match given.starts_with(ELF) {
        true => built.archs.iter().any(|&arch| is_given(image.machine_code(arch))),
        false => is_given(image.ptx().map(String::into_bytes)),
    });
    let Some((index, image)) = found else { return INVALID_IMAGE };
    let Ok(ptx) = image.ptx() else { return INVALID_IMAGE };
    let mut driver = driver();
    if let std::collections::hash_map::Entry::Vacant(entry) = driver.parsed.entry(index) {
        match Module::parse(image.name, &ptx) {
            Ok(module) => entry.insert(module),
            Err(_) => return INVALID_IMAGE,
        };
    }
    let handle = driver.handle();
    driver.modules.insert(handle, index);
    // SAFETY: the driver's own condition: the caller's pointer takes a handle.
    unsafe { give(to, handle) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    to: *mut Handle,
    module: Handle,
    name: *const c_char,
) -> CUresult {
    // SAFETY: the driver's own condition: `name` is a string that ends in a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let mut driver = driver();
    let Some(&image) = driver.modules.get(&module) else { return INVALID_VALUE };
    if driver.parsed[&image].entry(&name).is_none() {
        return NOT_FOUND;
    }
    let handle = driver.handle();
    driver.functions.insert(handle, (image, name));
    // SAFETY: the driver's own condition: the caller's pointer takes a handle.
    unsafe { give(to, handle) }
}

/// `CUlaunchConfig` of cuda.h.
#[repr(C)]
struct LaunchConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared: c_uint,
    stream: Handle,
    attributes: *const LaunchAttribute,
    count: c_uint,
}

/// `CUlaunchAttribute` of cuda.h, of whose values only those that are one integer are looked at.
#[repr(C, align(8))]
struct LaunchAttribute {
    id: c_int,
    pad: [u8; 4],
    value: c_int,
    rest: [u8; 60],
}

/// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`.
const PROGRAMMATIC: c_int = 6;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernelEx(
    config: *const LaunchConfig,
    function: Handle,
    params: *const *const c_void,
    _extra: *const *const c_void,
) -> CUresult {
    if let Some(code) = injected("cuLaunchKernelEx") {
        return code;
    }
    let mut driver = driver();
    let Some(entry) = driver.functions.get(&function).cloned() else { return INVALID_VALUE };
    let bytes = driver.parsed[&entry.0].entry(&entry.1).map_or(0, |e| e.param_bytes() as usize);
    // SAFETY: the driver's own condition: a pointer to a configuration, and within it to
    // attributes, whose number it states; a pointer for each parameter. Every kernel here has one
    // parameter, whose size its PTX states; all is copied before this call ends.
    let (config, attribute, params) = unsafe {
        let config = &*config;
        let attribute =
            (config.count > 0).then(|| ((*config.attributes).id, (*config.attributes).value));
        let params = std::slice::from_raw_parts((*params).cast::<u8>(), bytes);
        (config, attribute, params.to_vec())
    };
    let dependent = match attribute {
        None => false,
        Some((PROGRAMMATIC, value)) if config.count == 1 => value != 0,
        Some(_) => return INVALID_VALUE,
    };
    let &LaunchConfig { grid, block, shared, stream, .. } = config;
    if dependent {
        drop(driver);
        if let Some(code) = injected("dependent") {
            return code;
        }
        driver = self::driver();
    }
    driver.enqueue(stream, Work::Launch { entry, grid, block, shared, params, dependent })
}
