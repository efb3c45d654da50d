//! A device that runs a launch plan on the PTX emulator, with every check.

use super::{BestClasses, EmulatedWork};
use crate::emulator::{
    self, Buffer, Checks, Counters, Launch, LoadError, Memory, Module, Schedule,
};
use crate::kernels::{self, NotBuilt, UnpackError};
use crate::launches::{
    Address, Bases, Download, Input, InputTypeError, LaunchPlan, LaunchPlanError, LaunchRecord,
    Region,
};
use crate::memory::{self as system, TooLittleMemory};
use crate::weights::{StoreError, TensorId, Weights};
use bytemuck::Pod;
use std::ops::Range;
use std::time::Instant;

/// Why a launch plan cannot be run on the emulator, or what the emulator found.
#[derive(Debug, thiserror::Error)]
pub enum EmulatedError {
    /// There are no kernels in this build.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// A kernel's PTX is damaged.
    #[error(transparent)]
    Damaged(#[from] UnpackError),
    /// A kernel's PTX is not understood.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The plan is of other weights, or has no launches for a number of images.
    #[error(transparent)]
    Plan(#[from] LaunchPlanError),
    /// The emulated device's memory would need more than this process can have.
    #[error("{0}: use a smaller batch or size, or a GPU")]
    TooLittleMemory(#[from] TooLittleMemory),
    /// The file of the weights changed while they were uploaded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An input of the wrong length.
    #[error("input for {images} images: expected {expected} elements, found {found}")]
    Input {
        /// The number of images.
        images: usize,
        /// `images * h * w * 3`.
        expected: usize,
        /// The input's length.
        found: usize,
    },
    /// An input of a type that the plan does not take.
    #[error(transparent)]
    InputType(#[from] InputTypeError),
    /// A launch that the loaded run does not have.
    #[error("no launch {index}: the run that was loaded has {launches}, counted from 0")]
    NoLaunch {
        /// The number asked for.
        index: usize,
        /// The run's launches; 0 before an input has been loaded.
        launches: usize,
    },
    /// A copy that does not keep to its region.
    #[error(
        "a copy of {bytes} bytes at offset {} of {:?}, which has {region_bytes} bytes: it has to end \
         within the region",
        .at.offset_bytes, .at.region
    )]
    Range {
        /// Where the copy begins.
        at: Address,
        /// How much is copied.
        bytes: usize,
        /// The region's size.
        region_bytes: usize,
    },
    /// The emulator does not take a launch.
    #[error("{name}: {source}")]
    Launch {
        /// The launch.
        name: String,
        /// What is wrong with it.
        source: emulator::LaunchError,
    },
    /// A check of the emulator found a fault of a kernel.
    #[error("{name}: {count} findings of the emulator; the first: {first}")]
    Findings {
        /// The launch.
        name: String,
        /// How many.
        count: usize,
        /// The first, in words.
        first: String,
    },
}

/// A launch that is ready: nothing is looked up any more.
struct Ready {
    record: LaunchRecord,
    params: Vec<u8>,
}

/// How launches are run.
#[derive(Clone, Copy)]
struct How {
    schedule: Schedule,
    checks: Checks,
    counts_traffic: bool,
}

impl How {
    /// Runs one launch, whose module has been parsed. A finding is an error.
    fn run(
        self,
        modules: &[Option<Module>],
        memory: &mut Memory,
        record: &LaunchRecord,
        params: &[u8],
        dependent: bool,
    ) -> Result<Counters, EmulatedError> {
        let failed = |source| EmulatedError::Launch { name: record.name.clone(), source };
        let Some(module) = &modules[record.kernel.image] else {
            unreachable!("modules are parsed before their launches run");
        };
        let report = Launch::new(module, record.kernel.symbol())
            .map_err(failed)?
            .grid(record.geometry.grid)
            .block(record.geometry.block)
            .shared_bytes(record.geometry.shared_bytes)
            .dependent(dependent)
            .params(params)
            .schedule(self.schedule)
            .checks(self.checks)
            .count_traffic(self.counts_traffic)
            .run(memory)
            .map_err(failed)?;
        match report.findings.first() {
            None => Ok(report.counters),
            Some(first) => Err(EmulatedError::Findings {
                name: record.name.clone(),
                count: report.findings.len(),
                first: first.to_string(),
            }),
        }
    }
}

/// What the host gets of a run.
#[derive(Default)]
struct Outputs {
    logits: Vec<f32>,
    features: Vec<f32>,
    /// Classes, logits and probabilities.
    best: Option<(Vec<i32>, [Vec<f32>; 2])>,
}

/// Runs a launch plan on the PTX emulator.
///
/// The memory of a device is there as five allocations, one for each [`Region`]. Arena and outputs are
/// not initialised, so that the first run shows reads of what nothing has written. Launches are
/// checked as if each began while the one before still runs, as they do on a GPU that can.
pub struct EmulatedDevice {
    plan: LaunchPlan,
    /// By the image's place in the catalogue; parsed when the first launch needs it.
    modules: Vec<Option<Module>>,
    memory: Memory,
    weights: Buffer,
    arena: Buffer,
    input: Buffer,
    output: Buffer,
    counters: Buffer,
    bases: Bases,
    /// By number of images, from 1; filled at the first run with so many.
    ready: Vec<Option<Vec<Ready>>>,
    /// Images of the input that is there; 0 before the first.
    loaded: usize,
    how: How,
    outputs: Outputs,
    /// Of each launch of the last run.
    executed: Vec<Counters>,
    work: EmulatedWork,
}

impl std::fmt::Debug for EmulatedDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmulatedDevice")
            .field("options", &self.plan.options)
            .field("batch", &self.plan.batch)
            .finish_non_exhaustive()
    }
}

impl EmulatedDevice {
    /// Loads the kernels and the weights.
    pub fn new(plan: LaunchPlan, weights: &Weights) -> Result<EmulatedDevice, EmulatedError> {
        kernels::built()?;
        plan.check_weights(weights)?;
        weights.check()?;
        // Besides the bytes: whether each word was written, and the last accesses of each two or four
        // bytes, 8 bytes for them.
        let bytes = plan.device_bytes().saturating_mul(5).saturating_add(plan.device_bytes() / 4);
        system::require(|| "the emulated device's memory and its checks".into(), bytes)?;
        let mut memory = Memory::new();
        let allocation = |bytes: u64| bytes.max(LaunchPlan::ALIGN_BYTES as u64) as usize;
        let weights_buffer = memory.uninitialised("weights", allocation(plan.weights_bytes));
        for i in 0..plan.weight_offsets.len() {
            let id = TensorId(i as u32);
            let bytes = plan.tensor_bytes(weights, id);
            memory.write(&weights_buffer, plan.place(id, &bytes)? as usize, &bytes);
        }
        weights.check()?;
        memory.protect(&weights_buffer);
        let arena = memory.uninitialised("arena", allocation(plan.arena_bytes));
        let input = memory.uninitialised("input", allocation(plan.input_bytes));
        let output = memory.uninitialised("output", allocation(plan.output_bytes));
        let counters = memory.zeroed("counters", allocation(plan.counters_bytes));
        let bases = Bases {
            weights: weights_buffer.address(),
            arena: arena.address(),
            input: input.address(),
            output: output.address(),
            counters: counters.address(),
        };
        Ok(EmulatedDevice {
            ready: (0..plan.batch).map(|_| None).collect(),
            loaded: 0,
            plan,
            modules: kernels::CATALOGUE.iter().map(|_| None).collect(),
            memory,
            weights: weights_buffer,
            arena,
            input,
            output,
            counters,
            bases,
            how: How { schedule: Schedule::InOrder, checks: Checks::ALL, counts_traffic: false },
            outputs: Outputs::default(),
            executed: Vec::new(),
            work: EmulatedWork::default(),
        })
    }

    /// The launch plan.
    pub fn plan(&self) -> &LaunchPlan {
        &self.plan
    }

    /// In which order warps take their turns from now on.
    pub fn set_schedule(&mut self, schedule: Schedule) {
        self.how.schedule = schedule;
    }

    /// What is looked for from now on; everything until said otherwise.
    pub fn set_checks(&mut self, checks: Checks) {
        self.how.checks = checks;
    }

    /// Whether sectors, bytes and bank conflicts are counted from now on; not until asked for.
    pub fn set_count_traffic(&mut self, count: bool) {
        self.how.counts_traffic = count;
    }

    /// Runs `n` images, `1 <= n <= batch`: `input` is `[n, h, w, 3]`. Ends at the first launch with
    /// a finding.
    pub fn run<'a>(&mut self, input: impl Into<Input<'a>>, n: usize) -> Result<(), EmulatedError> {
        self.load(input, n)?;
        let ready = self.ready[n - 1].as_deref().unwrap_or_default();
        let start = Instant::now();
        for (index, Ready { record, params }) in ready.iter().enumerate() {
            let (modules, memory) = (&self.modules, &mut self.memory);
            let counters = self.how.run(modules, memory, record, params, index > 0)?;
            self.work.launches += 1;
            self.work.instructions += counters.instructions;
            self.executed.push(counters);
        }
        self.work.time += start.elapsed();
        let plan = &self.plan;
        let wanted = |elems| if plan.options.download == Download::All { n * elems } else { 0 };
        self.outputs = Outputs {
            logits: self.read(plan.logits, wanted(plan.classes)),
            features: self.read(plan.features, wanted(plan.c_head)),
            best: plan.top_k.map(|top| {
                let elems = n * top.k;
                let floats = [top.logits, top.probabilities].map(|at| self.read(at, elems));
                (self.read(top.classes, elems), floats)
            }),
        };
        Ok(())
    }

    /// Puts the input of `n` images where launches read it, and runs none.
    pub fn load<'a>(&mut self, input: impl Into<Input<'a>>, n: usize) -> Result<(), EmulatedError> {
        let input = input.into();
        input.expect(self.plan.input_type())?;
        self.prepare(n)?;
        let expected = n * self.plan.input_elems;
        if input.len() != expected {
            let found = input.len();
            return Err(EmulatedError::Input { images: n, expected, found });
        }
        self.memory.write(&self.input, 0, input.bytes());
        self.executed.clear();
        self.loaded = n;
        Ok(())
    }

    /// Runs one launch by itself on what is in memory. One that is `dependent` is checked as if the
    /// launch before it were still running. The record need not be one of the plan's: the emulator finds
    /// whatever it does wrong.
    pub fn launch(&mut self, record: &LaunchRecord, dependent: bool) -> Result<(), EmulatedError> {
        self.parse_for(record)?;
        let params = record.bind(&self.bases);
        self.how.run(&self.modules, &mut self.memory, record, &params, dependent).map(|_| ())
    }

    /// Runs launch `index` of a run of as many images as were loaded, as [`launch`](Self::launch) does.
    pub fn launch_loaded(&mut self, index: usize) -> Result<(), EmulatedError> {
        let ready = self.loaded.checked_sub(1).and_then(|i| self.ready[i].as_deref());
        let ready = ready.unwrap_or_default();
        let Some(Ready { record, params }) = ready.get(index) else {
            return Err(EmulatedError::NoLaunch { index, launches: ready.len() });
        };
        self.how.run(&self.modules, &mut self.memory, record, params, index > 0).map(|_| ())
    }

    fn parse_for(&mut self, record: &LaunchRecord) -> Result<(), EmulatedError> {
        let module = &mut self.modules[record.kernel.image];
        if module.is_none() {
            *module = Some(parse(record.kernel.image_name())?);
        }
        Ok(())
    }

    fn prepare(&mut self, n: usize) -> Result<(), EmulatedError> {
        if self.ready.get(n.wrapping_sub(1)).is_some_and(Option::is_some) {
            return Ok(());
        }
        let records = self.plan.launches(n)?;
        for record in &records {
            self.parse_for(record)?;
        }
        let ready = records
            .into_iter()
            .map(|record| Ready { params: record.bind(&self.bases), record })
            .collect();
        self.ready[n - 1] = Some(ready);
        Ok(())
    }

    /// `elems` values of a region from an address on.
    ///
    /// # Panics
    ///
    /// If they do not lie within the region.
    pub fn read<T: Pod>(&self, at: Address, elems: usize) -> Vec<T> {
        self.memory.read(self.region(at.region), at.offset_bytes as usize, elems)
    }

    /// `len_bytes` bytes from an address on; zeros where nothing has written any.
    pub fn read_bytes(&self, at: Address, len_bytes: usize) -> Result<Vec<u8>, EmulatedError> {
        self.check_range(at, len_bytes)?;
        Ok(self.read(at, len_bytes))
    }

    /// Overwrites what is at an address, weights included, as the host.
    pub fn write_bytes(&mut self, at: Address, bytes: &[u8]) -> Result<(), EmulatedError> {
        self.check_range(at, bytes.len())?;
        let buffer = match at.region {
            Region::Weights => &self.weights,
            Region::Arena => &self.arena,
            Region::Input => &self.input,
            Region::Output => &self.output,
            Region::Counters => &self.counters,
        };
        self.memory.write(buffer, at.offset_bytes as usize, bytes);
        Ok(())
    }

    fn check_range(&self, at: Address, bytes: usize) -> Result<(), EmulatedError> {
        let region_bytes = self.region(at.region).len_bytes();
        match at.offset_bytes.checked_add(bytes as u64) {
            Some(end) if end <= region_bytes as u64 => Ok(()),
            _ => Err(EmulatedError::Range { at, bytes, region_bytes }),
        }
    }

    /// How many bytes of a region's part something has written since it was allocated.
    ///
    /// # Panics
    ///
    /// If the part does not lie within the region.
    pub fn written_bytes(&self, region: Region, part: Range<usize>) -> usize {
        self.memory.initialised_bytes_in(self.region(region), part)
    }

    /// [`Region::Counters`] as it is now: zeros between runs.
    pub fn counters(&self) -> Vec<u32> {
        self.memory.download(&self.counters)
    }

    fn region(&self, region: Region) -> &Buffer {
        match region {
            Region::Weights => &self.weights,
            Region::Arena => &self.arena,
            Region::Input => &self.input,
            Region::Output => &self.output,
            Region::Counters => &self.counters,
        }
    }

    /// Logits of the last run, `[n, classes]`; empty where the host gets the best classes alone.
    pub fn logits(&self) -> &[f32] {
        &self.outputs.logits
    }

    /// Features of the last run, `[n, c_head]`, as [`logits`](EmulatedDevice::logits).
    pub fn features(&self) -> &[f32] {
        &self.outputs.features
    }

    /// The best classes of each image of the last run; none where they were not asked for.
    pub fn top_k(&self) -> Option<BestClasses<'_>> {
        let top = self.plan.top_k?;
        let (classes, [logits, probabilities]) = self.outputs.best.as_ref()?;
        Some(BestClasses { k: top.k, classes, logits, probabilities })
    }

    /// Logits of the last run, `[n, classes]`, for when the host does not get them with each run.
    pub fn read_logits(&self) -> Vec<f32> {
        self.read(self.plan.logits, self.loaded * self.plan.classes)
    }

    /// Work of all runs so far.
    pub fn work(&self) -> EmulatedWork {
        self.work
    }

    /// Warp instructions of the last run.
    pub fn instructions(&self) -> u64 {
        self.executed.iter().map(|counters| counters.instructions).sum()
    }

    /// What each launch of the last run executed, up to the first with a finding.
    pub fn executed(&self) -> &[Counters] {
        &self.executed
    }
}

/// The PTX of a kernel file.
fn parse(image: &str) -> Result<Module, EmulatedError> {
    let found = kernels::images().iter().find(|found| found.name == image);
    let ptx = found.map_or(Ok(String::new()), |image| image.ptx())?;
    Ok(Module::parse(&format!("{image}.ptx"), &ptx)?)
}
