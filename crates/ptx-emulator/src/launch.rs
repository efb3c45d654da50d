//! A launch: its extents and arguments, the limits that hardware sets, and the run over all blocks.

use super::environment::Environment;
use super::group::{Group, Outcome};
use super::memory::Memory;
use super::module::{Entry, Module};
use super::registers::LANES;
use super::report::{Check, Checks, Finding, Findings, Report};
use super::threads::{ThreadsError, start_threads};
use super::timing::Timing;
use rayon::prelude::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Warp instructions that a group of resident blocks may execute, and as many again for each 32 of
/// its blocks.
pub const DEFAULT_BUDGET: u64 = 32 << 20;
/// Shared memory of a block on sm_90.
const MAX_SHARED_BYTES: u64 = 227 * 1024;
/// Registers and local memory of all warps that are resident together, as this machine holds them.
const MAX_RESIDENT_BYTES: u64 = 4 << 30;
/// Blocks of a cluster, beyond the portable eight.
const MAX_CLUSTER: u32 = 16;
/// Blocks that a cooperative launch may have: those of 132 multiprocessors with 2048 threads and
/// 228 KiB each.
const MULTIPROCESSORS: u64 = 132;

/// Why a launch is not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum LaunchError {
    #[error("no kernel {name} in {module}; it has {available}")]
    NoKernel { name: String, module: String, available: String },
    #[error("{kernel}: {what} is {found}, expected {expected}")]
    Limit { kernel: String, what: &'static str, found: String, expected: String },
    #[error("{kernel}: argument {index} has {found} bytes, expected {expected} ({param})")]
    Argument { kernel: String, index: usize, found: usize, expected: u32, param: String },
    #[error("{kernel}: {found} arguments, expected {expected}")]
    ArgumentCount { kernel: String, found: usize, expected: usize },
    #[error("{kernel}: parameters of {found} bytes, expected {expected}")]
    ParamBytes { kernel: String, found: usize, expected: u32 },
    #[error(transparent)]
    Threads(#[from] ThreadsError),
}

/// In which order warps take their turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// Warp after warp, each until it waits; parted lanes meet again as early as they can.
    #[default]
    InOrder,
    /// Random turns of random warps from a seed; parted lanes meet only where an instruction makes
    /// them.
    Adversarial(u64),
}

/// The groups of blocks that a launch runs, by number.
enum Groups {
    /// All of so many.
    All(u64),
    Some(Vec<u64>),
}

impl Groups {
    fn count(&self) -> u64 {
        match self {
            Groups::All(count) => *count,
            Groups::Some(numbers) => numbers.len() as u64,
        }
    }

    fn number(&self, index: u64) -> u64 {
        match self {
            Groups::All(_) => index,
            Groups::Some(numbers) => numbers[index as usize],
        }
    }
}

/// A launch that is being put together.
///
/// ```
/// use ptx_emulator::{Launch, Memory, Module};
///
/// let ptx = "
/// .version 8.0
/// .target sm_80
/// .address_size 64
/// .visible .entry double_all(.param .u64 data)
/// {
///     .reg .b32 %r<3>;
///     .reg .b64 %rd<4>;
///     ld.param.u64 %rd1, [data];
///     mov.u32 %r1, %tid.x;
///     mul.wide.u32 %rd2, %r1, 4;
///     add.s64 %rd3, %rd1, %rd2;
///     ld.global.u32 %r2, [%rd3];
///     shl.b32 %r2, %r2, 1;
///     st.global.u32 [%rd3], %r2;
///     ret;
/// }";
/// let module = Module::parse("double.ptx", ptx)?;
/// let mut memory = Memory::new();
/// let data = memory.upload("data", &[1u32, 2, 3, 4]);
/// let launch = Launch::new(&module, "double_all")?.block([4, 1, 1]).arg(data.address());
/// let report = launch.run(&mut memory)?;
/// assert!(report.is_clean());
/// assert_eq!(memory.download::<u32>(&data), [2, 4, 6, 8]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    module: &'a Module,
    entry: &'a Entry,
    grid: [u32; 3],
    block: [u32; 3],
    cluster: Option<[u32; 3]>,
    shared_bytes: u32,
    cooperative: bool,
    dependent: bool,
    params: Option<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
    checks: Checks,
    budget: Option<u64>,
    schedule: Schedule,
    count_traffic: bool,
    per_line: bool,
    per_instruction: bool,
    /// Those that run; all, where nothing is said.
    blocks: Option<Vec<u64>>,
    timing: Option<&'a Timing>,
}

impl<'a> Launch<'a> {
    /// A launch of a kernel, of one block of one thread until said otherwise.
    ///
    /// # Errors
    /// If the module has no such kernel.
    pub fn new(module: &'a Module, kernel: &str) -> Result<Launch<'a>, LaunchError> {
        let Some(entry) = module.entry(kernel) else {
            let names: Vec<&str> = module.entries().iter().map(|e| e.name.as_str()).collect();
            let available = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(LaunchError::NoKernel {
                name: kernel.to_owned(),
                module: module.name().to_owned(),
                available,
            });
        };
        Ok(Launch {
            module,
            entry,
            grid: [1; 3],
            block: [1; 3],
            cluster: None,
            shared_bytes: 0,
            cooperative: false,
            dependent: false,
            params: None,
            arguments: Vec::new(),
            checks: Checks::ALL,
            budget: None,
            schedule: Schedule::InOrder,
            count_traffic: false,
            per_line: false,
            per_instruction: false,
            blocks: None,
            timing: None,
        })
    }

    /// Blocks in x, y, z.
    pub fn grid(mut self, grid: [u32; 3]) -> Self {
        self.grid = grid;
        self
    }

    /// Threads of a block in x, y, z.
    pub fn block(mut self, block: [u32; 3]) -> Self {
        self.block = block;
        self
    }

    /// Blocks of a cluster in x, y, z.
    pub fn cluster(mut self, cluster: [u32; 3]) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Dynamic shared memory of a block.
    pub fn shared_bytes(mut self, bytes: u32) -> Self {
        self.shared_bytes = bytes;
        self
    }

    /// Keeps all blocks resident, so that they may wait for each other.
    pub fn cooperative(mut self, cooperative: bool) -> Self {
        self.cooperative = cooperative;
        self
    }

    /// As a programmatic dependent launch, which may begin while the launch before it still runs:
    /// until a thread has waited for it (`griddepcontrol.wait`), it may only read buffers that no
    /// kernel writes (see [`Memory::protect`]).
    pub fn dependent(mut self, dependent: bool) -> Self {
        self.dependent = dependent;
        self
    }

    /// All parameters as bytes.
    pub fn params(mut self, bytes: &[u8]) -> Self {
        self.params = Some(bytes.to_vec());
        self
    }

    /// The next argument, in the order of the kernel's parameters.
    pub fn arg<T: bytemuck::NoUninit>(mut self, value: T) -> Self {
        self.arguments.push(bytemuck::bytes_of(&value).to_vec());
        self
    }

    /// The next argument as bytes.
    pub fn arg_bytes(mut self, bytes: &[u8]) -> Self {
        self.arguments.push(bytes.to_vec());
        self
    }

    /// What to look for; everything until said otherwise.
    pub fn checks(mut self, checks: Checks) -> Self {
        self.checks = checks;
        self
    }

    /// Warp instructions that blocks which run together may execute: [`DEFAULT_BUDGET`] for a
    /// block, more for many.
    pub fn budget(mut self, instructions: u64) -> Self {
        self.budget = Some(instructions);
        self
    }

    /// The order of turns.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Counts sectors, bytes and bank conflicts.
    pub fn count_traffic(mut self, count: bool) -> Self {
        self.count_traffic = count;
        self
    }

    /// Counts by line of the source, too.
    pub fn per_line(mut self, count: bool) -> Self {
        self.per_line = count;
        self
    }

    /// Counts by instruction, too, in the order of [`Entry::instructions`].
    pub fn per_instruction(mut self, count: bool) -> Self {
        self.per_instruction = count;
        self
    }

    /// Runs these blocks only, in this order: a sample of the launch. Block (x, y, z) has the
    /// number `x + grid_x (y + grid_y z)`. With clusters, these are numbered so, and block `rank`
    /// of one has the number `cluster * blocks of a cluster + rank`; each cluster has to be there
    /// whole, as blocks of consecutive numbers, and so has the grid of a cooperative launch.
    pub fn blocks(mut self, numbers: &[u64]) -> Self {
        self.blocks = Some(numbers.to_vec());
        self
    }

    /// Goes by a clock, so that [`Report::timings`] says what each block would take on a GPU with
    /// these constants. What the launch does stays as it is.
    pub fn timed(mut self, timing: &'a Timing) -> Self {
        self.timing = Some(timing);
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// If hardware would not take it: extents, shared memory, arguments. What the kernel does wrong
    /// is in the report.
    pub fn run(&self, memory: &mut Memory) -> Result<Report, LaunchError> {
        let environment = self.environment(memory)?;
        let program = &self.entry.program;
        let records = environment.checks.has(Check::GlobalRace);
        let granule = records.then_some(program.narrowest_global);
        memory.begin_launch(granule);
        let groups = self.groups(&environment)?;
        if let Some(timing) = self.timing
            && let Some((what, found, expected)) = timing.fault(program.instructions.len())
        {
            let kernel = self.entry.name.clone();
            return Err(LaunchError::Limit { kernel, what, found, expected });
        }
        // Blocks that nothing orders may run at once: where that shows, the check of races finds
        // it.
        let parallel =
            groups.count() > 1 && !program.orders_blocks && records && environment.seed.is_none();
        if parallel {
            start_threads()?;
            let before = memory.snapshot();
            let outcome = self.run_parallel(&environment, memory, &groups);
            if outcome.findings.is_empty() {
                return Ok(self.report(outcome));
            }
            // Findings are told in the order of the blocks.
            memory.restore(&before);
            memory.begin_launch(granule);
        }
        let mut group = Group::new(program, memory, &environment, self.timing);
        for index in 0..groups.count() {
            group.run(groups.number(index));
            if group.stopped {
                break;
            }
        }
        Ok(self.report(group.finish(&self.module.files)))
    }

    fn report(&self, outcome: Outcome) -> Report {
        let Outcome { findings, counters, timings } = outcome;
        Report { findings: self.name_findings(&findings), counters, timings }
    }

    fn run_parallel(&self, environment: &Environment, memory: &Memory, groups: &Groups) -> Outcome {
        let next = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let workers = (rayon::current_num_threads() as u64).min(groups.count());
        let work = |_| {
            let mut group = Group::new(&self.entry.program, memory, environment, self.timing);
            let mut ran = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= groups.count() || stop.load(Ordering::Relaxed) {
                    break;
                }
                group.run(groups.number(index));
                ran.push(index);
                if !group.findings.is_empty() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            (ran, group.finish(&self.module.files))
        };
        let results: Vec<(Vec<u64>, Outcome)> =
            (0..workers as usize).into_par_iter().with_max_len(1).map(work).collect();
        let mut all = Outcome::default();
        let mut timings = Vec::new();
        for (ran, outcome) in results {
            all.counters.add(&outcome.counters);
            all.findings.by_place.extend(outcome.findings.by_place);
            // Each group has as many blocks as any other.
            let of_group = outcome.timings.len().checked_div(ran.len()).unwrap_or(0);
            let order = ran.into_iter().flat_map(|index| std::iter::repeat_n(index, of_group));
            timings.extend(order.zip(outcome.timings));
        }
        timings.sort_by_key(|&(index, _)| index);
        all.timings = timings.into_iter().map(|(_, timing)| timing).collect();
        all
    }

    fn name_findings(&self, findings: &Findings) -> Vec<Finding> {
        let program = &self.entry.program;
        let mut raw: Vec<_> = findings.by_place.values().collect();
        raw.sort_by_key(|raw| raw.number);
        raw.into_iter()
            .map(|raw| {
                let origin = &program.origins[raw.site.pc as usize];
                let source = origin.source.map(|(file, line)| {
                    let name = self.module.files.iter().find(|(index, _)| *index == file);
                    (name.map_or_else(|| format!("file {file}"), |(_, name)| name.clone()), line)
                });
                let thread = raw.site.warp * LANES as u32 + raw.lane;
                let [x, y, _] = self.block;
                Finding {
                    check: raw.check,
                    message: raw.message.clone(),
                    kernel: self.entry.name.clone(),
                    source,
                    ptx_line: origin.line,
                    instruction: origin.form.clone(),
                    block: raw.site.block,
                    thread: [thread % x, thread / x % y, thread / (x * y)],
                    address: raw.address,
                    buffer: raw.buffer.clone(),
                    times: raw.times,
                }
            })
            .collect()
    }

    fn environment(&self, memory: &mut Memory) -> Result<Environment, LaunchError> {
        let kernel = &self.entry.name;
        let limit = |what, found: String, expected: String| LaunchError::Limit {
            kernel: kernel.clone(),
            what,
            found,
            expected,
        };
        let show = |[x, y, z]: [u32; 3]| format!("{x},{y},{z}");
        let within = |extents: [u32; 3], most: [u32; 3]| {
            extents.iter().zip(most).all(|(&extent, most)| (1..=most).contains(&extent))
        };
        let most = [i32::MAX as u32, 65_535, 65_535];
        if !within(self.grid, most) {
            return Err(limit("grid", show(self.grid), format!("1 to {}", show(most))));
        }
        let most = [1024, 1024, 64];
        let threads: u64 = self.block.iter().map(|&e| u64::from(e)).product();
        if !within(self.block, most) || threads > 1024 {
            let expected = format!("1 to {}, 1024 threads in all", show(most));
            return Err(limit("block", show(self.block), expected));
        }
        let threads = threads as u32;
        if let Some(most) = self.entry.max_threads
            && threads > most
        {
            let expected = format!("at most {most} threads, the kernel's .maxntid");
            return Err(limit("block", show(self.block), expected));
        }
        if let Some(required) = self.entry.required_block
            && required != self.block
        {
            let expected = format!("{}, the kernel's .reqntid", show(required));
            return Err(limit("block", show(self.block), expected));
        }
        let cluster = self.cluster.or(self.entry.required_cluster).unwrap_or([1; 3]);
        if let Some(required) = self.entry.required_cluster
            && required != cluster
        {
            let expected = format!("{}, the kernel's .reqnctapercluster", show(required));
            return Err(limit("cluster", show(cluster), expected));
        }
        let whole = (0..3).all(|a| cluster[a] > 0 && self.grid[a].is_multiple_of(cluster[a]));
        let cluster_blocks: u64 = cluster.iter().map(|&e| u64::from(e)).product();
        if !whole || cluster_blocks > MAX_CLUSTER.into() {
            let expected =
                format!("divisors of the grid {}, at most {MAX_CLUSTER} blocks", show(self.grid));
            return Err(limit("cluster", show(cluster), expected));
        }
        let shared = u64::from(self.entry.shared_bytes) + u64::from(self.shared_bytes);
        if shared > MAX_SHARED_BYTES {
            let found =
                format!("{} static and {} dynamic", self.entry.shared_bytes, self.shared_bytes);
            return Err(limit("shared bytes", found, format!("at most {MAX_SHARED_BYTES}")));
        }
        let warps = threads.div_ceil(LANES as u32);
        let blocks: u128 = self.grid.iter().map(|&e| u128::from(e)).product();
        if blocks * u128::from(warps) > u128::from(u32::MAX) {
            let expected = format!("at most {} warps in all", u32::MAX);
            return Err(limit("grid", show(self.grid), expected));
        }
        let blocks = blocks as u64;
        if self.cooperative {
            let by_threads = u64::from(2048 / (warps * LANES as u32)).clamp(1, 32);
            let by_shared = (228 * 1024 / (shared + 1024)).max(1);
            let resident = MULTIPROCESSORS * by_threads.min(by_shared);
            if blocks > resident {
                let expected = format!(
                    "at most {resident} blocks of a cooperative launch, as {MULTIPROCESSORS} multiprocessors hold"
                );
                return Err(limit("grid", show(self.grid), expected));
            }
        }
        let resident = if self.cooperative { blocks } else { cluster_blocks };
        let program = &self.entry.program;
        // Bytes of a register with its record of written lanes, and of local memory with a record
        // of each word.
        let of_warp = 132 * u128::from(program.narrow)
            + 260 * u128::from(program.wide)
            + 8 * u128::from(program.preds)
            + 40 * u128::from(program.local_bytes);
        let bytes = u128::from(resident) * u128::from(warps) * of_warp;
        if bytes > u128::from(MAX_RESIDENT_BYTES) {
            let found = format!("{bytes} bytes of registers and local memory");
            let expected = format!("at most {MAX_RESIDENT_BYTES} for blocks that run together");
            return Err(limit("state", found, expected));
        }
        let params = self.param_bytes()?;
        let blocks_per_group = if self.cooperative { blocks } else { cluster_blocks };
        let budget = self.budget.unwrap_or(DEFAULT_BUDGET * (1 + blocks_per_group / 32));
        let workspace = if self.cooperative { memory.cooperative_workspace() } else { 0 };
        Ok(Environment {
            grid: self.grid,
            block: self.block,
            cluster,
            warps_per_block: warps,
            blocks_per_group,
            dynamic_shared_bytes: self.shared_bytes,
            params,
            variables: self.module.place_variables(memory),
            workspace,
            checks: self.checks,
            dependent: self.dependent && self.checks.has(Check::DependentLaunch),
            seed: match self.schedule {
                Schedule::InOrder => None,
                Schedule::Adversarial(seed) => Some(seed),
            },
            budget,
            count_traffic: self.count_traffic || self.per_line || self.per_instruction,
            per_line: self.per_line,
            per_instruction: self.per_instruction,
        })
    }

    /// The groups of blocks that run.
    fn groups(&self, environment: &Environment) -> Result<Groups, LaunchError> {
        let (blocks, of_group) = (environment.blocks(), environment.blocks_per_group);
        let Some(numbers) = &self.blocks else { return Ok(Groups::All(blocks / of_group)) };
        let refuse = |found: String, expected: String| LaunchError::Limit {
            kernel: self.entry.name.clone(),
            what: "list of blocks",
            found,
            expected,
        };
        let mut seen = HashSet::new();
        let mut groups = Vec::with_capacity(numbers.len() / of_group as usize);
        for members in numbers.chunks(of_group as usize) {
            let first = members[0];
            if let Some(&number) = members.iter().find(|&&number| number >= blocks) {
                return Err(refuse(format!("{number}"), format!("numbers below {blocks}")));
            }
            let is_whole = first.is_multiple_of(of_group)
                && members.len() as u64 == of_group
                && members.iter().zip(first..).all(|(&number, expected)| number == expected);
            if !is_whole {
                let expected = format!("whole groups of {of_group} blocks that run together");
                return Err(refuse(format!("{} from {first} on", members.len()), expected));
            }
            if !seen.insert(first) {
                return Err(refuse(format!("{first} twice"), "each block once".to_owned()));
            }
            groups.push(first / of_group);
        }
        Ok(Groups::Some(groups))
    }

    /// The parameters' bytes, from the whole or from the arguments.
    fn param_bytes(&self) -> Result<Vec<u8>, LaunchError> {
        let kernel = || self.entry.name.clone();
        let expected = self.entry.param_bytes();
        if let Some(params) = &self.params {
            if params.len() != expected as usize {
                return Err(LaunchError::ParamBytes {
                    kernel: kernel(),
                    found: params.len(),
                    expected,
                });
            }
            return Ok(params.clone());
        }
        let (found, wanted) = (self.arguments.len(), self.entry.params.len());
        if found != wanted {
            return Err(LaunchError::ArgumentCount { kernel: kernel(), found, expected: wanted });
        }
        let mut bytes = vec![0; expected as usize];
        for (index, (argument, param)) in self.arguments.iter().zip(&self.entry.params).enumerate()
        {
            if argument.len() != param.size_bytes as usize {
                return Err(LaunchError::Argument {
                    kernel: kernel(),
                    index,
                    found: argument.len(),
                    expected: param.size_bytes,
                    param: format!("{} {}", param.type_name, param.name),
                });
            }
            let at = param.offset_bytes as usize;
            bytes[at..at + argument.len()].copy_from_slice(argument);
        }
        Ok(bytes)
    }
}
