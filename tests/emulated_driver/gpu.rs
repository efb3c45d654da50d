//! The GPU and its queues of work, which is done as late as a GPU may do it.

use super::results::{CUresult, INVALID_VALUE, LAUNCH_FAILED, NOT_READY, SUCCESS};
use super::settings::{FAIL, append, trace};
use effnet::emulator::{Buffer, Launch, Memory, Module};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{LazyLock, Mutex, MutexGuard};

pub const MEMORY_BYTES: usize = 8 << 30;
/// The addresses of everything that is not memory: only told apart, never followed.
pub type Handle = u64;

/// The stream that is there without having been made; other streams do not wait for it here.
const DEFAULT_STREAM: Handle = 0;

/// Something that a stream does when its turn comes.
#[derive(Clone)]
pub enum Work {
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
    /// A copy within device memory.
    Copy { to: u64, from: u64, bytes: usize },
    /// A recording: the work before it is done, and the call of this number has come.
    Record(u64),
    /// Later work waits until the recording by the call of this number has come.
    WaitFor(u64),
}

/// What a launch takes by events, and what two events add; what they tell where no launch is between
/// them, but copies.
const LAUNCH_MS: f32 = 0.05;
const EVENTS_MS: f32 = 0.004;
const COPY_MS: f32 = 1.0;

#[derive(Default)]
pub struct Driver {
    pub memory: Memory,
    pub buffers: BTreeMap<u64, Buffer>,
    pub allocated: usize,
    /// Addresses of buffers that were uploaded without a stream.
    pub uploaded: BTreeSet<u64>,
    /// Parsed PTX, by the image's place among the kernels' images.
    pub parsed: HashMap<usize, Module>,
    pub modules: HashMap<Handle, usize>,
    pub functions: HashMap<Handle, (usize, String)>,
    pub next: Handle,
    pub streams: BTreeMap<Handle, VecDeque<Work>>,
    /// The number of the last call that recorded an event.
    pub events: HashMap<Handle, u64>,
    pub recorded: u64,
    /// Numbers of recordings that have come, with the launches that were done before.
    pub come: BTreeMap<u64, u64>,
    /// Launches done.
    pub launched: u64,
    /// The stream that is captured, with the work captured so far, while one is.
    pub capture: Option<(Handle, Vec<Work>)>,
    pub graphs: HashMap<Handle, Vec<Work>>,
    /// The first failure of queued work; every call after it fails, as on a GPU, until nobody retains
    /// the context.
    pub broken: CUresult,
    /// How often the context is retained.
    pub retained: u32,
    /// Pinned memory of the host: bytes from each address.
    pub pinned: BTreeMap<usize, usize>,
    /// Looks at events that were not done, since the last that was.
    pub looks: u32,
    /// Calls so far of each function that `CALL=CODE@N` names.
    pub calls: HashMap<String, u32>,
}

pub static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(Mutex::default);

pub fn driver() -> MutexGuard<'static, Driver> {
    DRIVER.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Driver {
    pub fn handle(&mut self) -> Handle {
        self.next += 16;
        self.next
    }

    /// Milliseconds between two recordings that have come.
    pub fn milliseconds(&self, start: Handle, end: Handle) -> Result<f32, CUresult> {
        let launched = |event: Handle| {
            let number = self.events.get(&event).ok_or(INVALID_VALUE)?;
            self.come.get(number).copied().ok_or(NOT_READY)
        };
        match launched(end)?.saturating_sub(launched(start)?) {
            0 => Ok(COPY_MS),
            launches => Ok(launches as f32 * LAUNCH_MS + EVENTS_MS),
        }
    }

    /// The buffer that holds an address, and the offset within it.
    fn find(&self, address: u64) -> Option<(&Buffer, usize)> {
        let (&start, buffer) = self.buffers.range(..=address).next_back()?;
        let offset = (address - start) as usize;
        (offset < buffer.len_bytes()).then_some((buffer, offset))
    }

    pub fn enqueue(&mut self, stream: Handle, work: Work) -> CUresult {
        if stream == DEFAULT_STREAM {
            self.streams.entry(stream).or_default();
        }
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
        while up_to.is_none_or(|number| !self.come.contains_key(&number)) {
            let Some(work) = self.streams.get_mut(&stream).and_then(VecDeque::pop_front) else {
                return;
            };
            match work {
                Work::Record(number) => {
                    self.come.insert(number, self.launched);
                }
                Work::WaitFor(number) => self.reach(number),
                work if self.broken == SUCCESS => self.broken = self.perform(work),
                _ => {}
            }
        }
    }

    /// Does the work that is needed until a recording has come.
    pub fn reach(&mut self, number: u64) {
        let is_it = |work: &Work| matches!(work, Work::Record(n) if *n == number);
        let found = self.streams.iter().find(|(_, queue)| queue.iter().any(is_it));
        if let Some((&stream, _)) = found {
            self.advance(stream, Some(number));
        }
    }

    /// Does the work of other streams that may run before a wait, where they are to be early: all
    /// work that waits for nothing.
    pub fn run_ahead(&mut self) {
        if std::env::var("EFFNET_EMULATED_DRIVER_ORDER").is_ok_and(|order| order == "early") {
            let streams: Vec<Handle> = self.streams.keys().copied().collect();
            for stream in streams {
                while let Some(work) = self.streams.get_mut(&stream).and_then(VecDeque::pop_front) {
                    let waits =
                        matches!(&work, Work::WaitFor(number) if !self.come.contains_key(number));
                    if waits || matches!(work, Work::Launch { .. }) {
                        self.streams.entry(stream).or_default().push_front(work);
                        break;
                    }
                    match work {
                        Work::Record(number) => {
                            self.come.insert(number, self.launched);
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
    pub fn wait(&mut self, stream: Handle) -> CUresult {
        self.run_ahead();
        self.advance(stream, None);
        self.broken
    }

    /// Does everything that is queued.
    pub fn drain(&mut self) -> CUresult {
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
            Work::Copy { to, from, bytes } => {
                let (Some((source, start)), Some((target, at))) = (self.find(from), self.find(to))
                else {
                    return INVALID_VALUE;
                };
                if start + bytes > source.len_bytes() || at + bytes > target.len_bytes() {
                    return INVALID_VALUE;
                }
                trace(&format!("copy {bytes}"));
                let target = target.clone();
                let values: Vec<u8> = self.memory.read(source, start, bytes);
                self.memory.write(&target, at, &values);
            }
            Work::Launch { entry: (image, entry), grid, block, shared, params, dependent } => {
                self.launched += 1;
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

    pub fn fill(&mut self, to: u64, value: u8, bytes: usize) -> CUresult {
        let Some((buffer, offset)) = self.find(to) else { return INVALID_VALUE };
        let buffer = buffer.clone();
        if offset + bytes > buffer.len_bytes() {
            return INVALID_VALUE;
        }
        self.memory.write(&buffer, offset, &vec![value; bytes]);
        SUCCESS
    }

    /// At once.
    pub fn upload(&mut self, to: u64, from: usize, bytes: usize) -> CUresult {
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
