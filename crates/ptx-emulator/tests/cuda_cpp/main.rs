//! CUDA C++ through the real nvcc and the emulator: what is right gives the right values and no
//! finding, in order and under ten seeds of the adversarial schedule; what is broken is reported by
//! the right check at the right line.

mod nvcc;

mod copies;
mod counters;
mod sums;
mod threads;
mod waiting;

use bytemuck::{NoUninit, Pod};
use nvcc::{Compiled, CudaFile};
use ptx_emulator::{Buffer, Launch, Memory, Module, Report, Schedule};

/// The other tests are ignored in a build without nvcc; `EFFNET_REQUIRE_KERNELS=1` makes that a
/// failure.
#[test]
fn nvcc_is_there_where_it_is_required() {
    let is_required = std::env::var("EFFNET_REQUIRE_KERNELS").is_ok_and(|value| value == "1");
    assert!(
        cfg!(nvcc) || !is_required,
        "EFFNET_REQUIRE_KERNELS=1, but no nvcc was found in EFFNET_NVCC, CUDA_HOME, CUDA_PATH, PATH, \
         /usr/local/cuda or .cuda; run `make cuda`, or set EFFNET_NVCC to the nvcc of CUDA 12 or 13"
    );
}

fn schedules() -> impl Iterator<Item = Schedule> {
    std::iter::once(Schedule::InOrder).chain((0..10).map(Schedule::Adversarial))
}

/// The kernels of a file.
struct Kernels {
    cuda: &'static Compiled,
    module: Module,
}

impl Kernels {
    fn of(file: &'static CudaFile) -> Kernels {
        let cuda = file.compiled();
        let module = Module::parse(&cuda.path, &cuda.ptx).unwrap_or_else(|e| panic!("{e}"));
        Kernels { cuda, module }
    }

    fn call(&self, entry: &str, schedule: Schedule) -> Call<'_> {
        let launch = Launch::new(&self.module, entry).unwrap().schedule(schedule);
        Call { launch, schedule, memory: Memory::new(), buffers: Vec::new() }
    }

    /// Runs an entry under every schedule; there must be no finding.
    fn clean(&self, entry: &str, run: impl Fn(Call) -> Ran) -> Vec<Ran> {
        let runs = schedules().map(|schedule| run(self.call(entry, schedule)));
        runs.inspect(|ran| assert!(ran.report.is_clean(), "{entry}, {ran}")).collect()
    }

    /// Runs an entry under every schedule. There is a finding, and every finding is at a line of
    /// the file that is marked for this entry and check.
    fn broken(&self, entry: &str, run: impl Fn(Call) -> Ran) -> Vec<Ran> {
        let marks = self.cuda.marks(entry);
        let check = |ran: &Ran| {
            assert!(!ran.report.is_clean(), "{entry}, {:?}: nothing was found", ran.schedule);
            for finding in &ran.report.findings {
                assert_eq!(finding.kernel, entry);
                let place =
                    finding.source.as_ref().filter(|(file, _)| file.ends_with(&self.cuda.path));
                let marked = place
                    .is_some_and(|(_, line)| marks.contains(&(*line, finding.check.name().into())));
                assert!(
                    marked,
                    "{entry}, {:?}: a finding that is not marked:\n{finding}\nmarks: {marks:?}",
                    ran.schedule
                );
            }
        };
        schedules().map(|schedule| run(self.call(entry, schedule))).inspect(check).collect()
    }
}

/// A launch that is being put together, with its memory. Buffers are the next argument as they are
/// made.
struct Call<'a> {
    launch: Launch<'a>,
    schedule: Schedule,
    memory: Memory,
    buffers: Vec<(&'static str, Buffer)>,
}

impl Call<'_> {
    /// Blocks and threads in x.
    fn shape(self, blocks: u32, threads: u32) -> Self {
        self.with(|launch| launch.grid([blocks, 1, 1]).block([threads, 1, 1]))
    }

    fn with(mut self, change: impl FnOnce(Launch) -> Launch) -> Self {
        self.launch = change(self.launch);
        self
    }

    fn upload<T: Pod>(mut self, name: &'static str, values: &[T]) -> Self {
        let buffer = self.memory.upload(name, values);
        self.buffer(name, buffer)
    }

    fn zeroed(mut self, name: &'static str, bytes: usize) -> Self {
        let buffer = self.memory.zeroed(name, bytes);
        self.buffer(name, buffer)
    }

    fn uninitialised(mut self, name: &'static str, bytes: usize) -> Self {
        let buffer = self.memory.uninitialised(name, bytes);
        self.buffer(name, buffer)
    }

    fn buffer(mut self, name: &'static str, buffer: Buffer) -> Self {
        let address = buffer.address();
        self.buffers.push((name, buffer));
        self.arg(address)
    }

    fn arg<T: NoUninit>(self, value: T) -> Self {
        self.with(|launch| launch.arg(value))
    }

    fn run(mut self) -> Ran {
        let report = self.launch.run(&mut self.memory).unwrap();
        Ran { report, schedule: self.schedule, memory: self.memory, buffers: self.buffers }
    }
}

/// What a run left.
struct Ran {
    report: Report,
    schedule: Schedule,
    memory: Memory,
    buffers: Vec<(&'static str, Buffer)>,
}

impl Ran {
    fn buffer(&self, name: &str) -> &Buffer {
        &self.buffers.iter().find(|(n, _)| *n == name).unwrap().1
    }

    fn download<T: Pod>(&self, name: &str) -> Vec<T> {
        self.memory.download(self.buffer(name))
    }
}

/// The schedule and the findings.
impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}:", self.schedule)?;
        self.report.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014), its upper half.
fn random(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }
}

/// Small integers as f32: sums of them are exact in any order.
fn whole_numbers(elems: usize, seed: u64) -> Vec<f32> {
    let mut random = random(seed);
    (0..elems).map(|_| (random() % 33) as f32 - 16.0).collect()
}
