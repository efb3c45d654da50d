//! What the launches of a run do: a sample of the blocks of each distinct launch on the PTX
//! emulator.
//!
//! Launches that differ only by the addresses of their tensors do the same, and are emulated once,
//! in parallel with the others. Memory is zeros: no kernel's way through a network depends on
//! values, but for divisions whose slow paths no network takes.

use super::combine::{Work, predict};
use super::gpu::Gpu;
use super::l2;
use super::report::{Estimate, Launch, Line, SlotsFrom, Subject};
use super::sample::{Run, runs};
use super::slots::{Image, Weights};
use super::weigh;
use crate::emulator::{self, BlockTiming, BlockTraffic, Checks, Counters, Memory, Module};
use crate::environment::Environment;
use crate::kernels::occupancy::Multiprocessor;
use crate::kernels::{self, Built, Geometry, NotBuilt, Resources, UnpackError};
use crate::launches::{Address, Bases, LaunchPlan, LaunchPlanError, LaunchRecord, Region, Touched};
use crate::plan::Plan;
use crate::profile::items_of_launches;
use crate::threads;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// Bytes of a sector: what memory is read and written in.
const SECTOR_BYTES: f64 = 32.0;
/// Bytes that banks deliver in a cycle.
const BANK_BYTES: u64 = 128;

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateError {
    /// There are no kernels in this build.
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    /// A kernel's PTX is damaged.
    #[error(transparent)]
    Damaged(#[from] UnpackError),
    /// A kernel's PTX is not understood.
    #[error(transparent)]
    Load(#[from] emulator::LoadError),
    /// There are no launches for this number of images.
    #[error(transparent)]
    Plan(#[from] LaunchPlanError),
    /// The emulator does not take a launch.
    #[error("{name}: {source}")]
    Launch {
        /// The launch.
        name: String,
        /// What is wrong with it.
        source: emulator::LaunchError,
    },
    /// A kernel that did not end as it should.
    #[error("{name}: the emulator reports: {first}")]
    Finding {
        /// The launch.
        name: String,
        /// The first finding.
        first: String,
    },
    /// A kernel of which a multiprocessor of the GPU holds no block.
    #[error(
        "{name}: no block of {kernel} fits a multiprocessor of {gpu} ({shared_bytes} bytes of \
         shared memory, {registers} registers a thread)"
    )]
    DoesNotFit {
        /// The launch.
        name: String,
        /// The kernel.
        kernel: &'static str,
        /// The GPU.
        gpu: String,
        /// Shared memory of a block.
        shared_bytes: u32,
        /// Registers of a thread.
        registers: u32,
    },
    /// The threads that the emulator shares could not be started.
    #[error(transparent)]
    Threads(#[from] std::io::Error),
}

/// What tells one launch from another: everything but where its tensors lie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    image: usize,
    entry: usize,
    geometry: Geometry,
    params: Vec<u8>,
}

impl Key {
    fn of(record: &LaunchRecord) -> Key {
        let mut params = record.params.clone();
        for &at in record.addresses {
            let is_there = params[at..at + 8].iter().any(|&byte| byte != 0);
            params[at..at + 8].copy_from_slice(&u64::from(is_there).to_le_bytes());
        }
        let (image, entry) = (record.kernel.image, record.kernel.entry);
        Key { image, entry, geometry: record.geometry, params }
    }
}

/// What the emulator says of a launch.
#[derive(Clone, Debug, Default)]
struct Emulated {
    work: Work,
    path_lines: Vec<Line>,
    slot_lines: Vec<Line>,
    instructions: f64,
    sectors: f64,
    bank_conflicts: f64,
    sampled: u64,
    from: Option<SlotsFrom>,
}

/// The target whose machine code a GPU would run, or the nearest of those that are built in.
fn code_arch(built: &Built, gpu: &Gpu) -> u32 {
    let runs = |arch: &&u32| **arch / 10 == gpu.arch / 10 && **arch <= gpu.arch;
    let nearest = || built.archs.iter().min_by_key(|arch| arch.abs_diff(gpu.arch));
    built.archs.iter().filter(runs).max().or_else(nearest).copied().unwrap_or(gpu.arch)
}

fn resources(record: &LaunchRecord, arch: u32) -> Option<Resources> {
    let image = kernels::images().iter().find(|image| image.name == record.kernel.image_name())?;
    let of = |r: &&Resources| r.entry == record.kernel.symbol() && r.arch == arch;
    image.resources.iter().find(of).copied()
}

/// Limits of a multiprocessor of the GPU, or of the target's where the GPU's are not known.
fn multiprocessor(gpu: &Gpu, arch: u32) -> Option<Multiprocessor> {
    Multiprocessor::of(gpu.arch).or_else(|| Multiprocessor::of(arch))
}

/// Blocks that a multiprocessor of the GPU holds at once.
fn resident(record: &LaunchRecord, gpu: &Gpu, arch: u32) -> Result<u32, EstimateError> {
    let resources = resources(record, arch).unwrap_or(Resources {
        arch,
        entry: "",
        registers: 0,
        shared_bytes: 0,
        stack_bytes: 0,
        spill_store_bytes: 0,
        spill_load_bytes: 0,
    });
    let Some(multiprocessor) = multiprocessor(gpu, arch) else { return Ok(1) };
    match multiprocessor.resident_blocks(&resources, &record.geometry) {
        0 => Err(EstimateError::DoesNotFit {
            name: record.name.clone(),
            kernel: record.kernel.symbol(),
            gpu: gpu.title.clone(),
            shared_bytes: resources.shared_bytes + record.geometry.shared_bytes,
            registers: resources.registers,
        }),
        blocks => Ok(blocks),
    }
}

/// Predicts a run of the plan's full batch on `gpu`.
///
/// # Errors
///
/// [`EstimateError`]: without kernels, and where a launch cannot be emulated or does not fit.
pub fn estimate(
    plan: &Plan,
    launches: &LaunchPlan,
    gpu: &Gpu,
    subject: Subject,
    environment: Environment,
) -> Result<Estimate, EstimateError> {
    let built = kernels::built()?;
    threads::start_shared()?;
    let arch = code_arch(&built, gpu);
    let batch = launches.batch();
    let records = launches.launches(batch)?;
    let kernels = load(&records, arch)?;

    let mut distinct: Vec<&LaunchRecord> = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut which: Vec<usize> = Vec::with_capacity(records.len());
    for record in &records {
        let place = *places.entry(Key::of(record)).or_insert_with(|| {
            distinct.push(record);
            distinct.len() - 1
        });
        which.push(place);
    }
    let emulated: Vec<Emulated> = distinct
        .par_iter()
        .with_max_len(1)
        .map(|record| {
            let kernel = &kernels[&record.kernel.image];
            Emulator { plan: launches, record, kernel, gpu, arch }.run()
        })
        .collect::<Result<_, EstimateError>>()?;

    let dram = dram(launches, gpu)?;
    let items = items_of_launches(plan, &records, gpu.arch);
    let work = which.iter().zip(&dram).map(|(&place, dram)| Work {
        dram_read: dram.read,
        dram_written: dram.written,
        dram_part: dram.part(),
        ..emulated[place].work.clone()
    });
    let work: Vec<Work> = work.collect();
    let predicted = predict(&work, gpu);
    let from_table = emulated.iter().any(|one| one.from != Some(SlotsFrom::MachineCode));
    let all = which.into_iter().zip(items).zip(work.into_iter().zip(predicted));
    let launches = all.map(|((place, mut item), (work, predicted))| {
        let emulated = &emulated[place];
        if let Some(kernel) = &mut item.kernel {
            kernel.resident_blocks = Some(work.resident);
        }
        Launch {
            item,
            work,
            predicted,
            path_lines: emulated.path_lines.clone(),
            slot_lines: emulated.slot_lines.clone(),
            instructions: emulated.instructions,
            sectors: emulated.sectors,
            bank_conflicts: emulated.bank_conflicts,
            sampled: emulated.sampled,
        }
    });
    Ok(Estimate {
        subject,
        gpu: gpu.clone(),
        code_arch: arch,
        slots_from: if from_table { SlotsFrom::OpcodeTable } else { SlotsFrom::MachineCode },
        launches: launches.collect(),
        measured: None,
        environment,
    })
}

/// Bytes between L2 cache and device memory of each launch of a second run.
fn dram(launches: &LaunchPlan, gpu: &Gpu) -> Result<Vec<l2::Dram>, EstimateError> {
    let touched = launches.touched(launches.batch())?;
    let at = Address { region: Region::Input, offset_bytes: 0 };
    let input = [Touched { at, bytes: launches.input_bytes(), written: true }];
    let capacity = gpu.constants.l2_mib * f64::from(1 << 20);
    Ok(l2::dram(&touched, &input, capacity as u64))
}

/// A kernel file.
struct Loaded {
    module: Module,
    /// Of each kernel that is launched.
    weights: Vec<Weights>,
}

/// Each kernel file that the launches are of, with the listing of its machine code for a target.
fn load(records: &[LaunchRecord], arch: u32) -> Result<HashMap<usize, Loaded>, EstimateError> {
    let mut files: Vec<usize> = records.iter().map(|record| record.kernel.image).collect();
    files.sort_unstable();
    files.dedup();
    let load = |&file: &usize| {
        let of_file = records.iter().filter(|record| record.kernel.image == file);
        let wanted: HashSet<&str> = of_file.map(|record| record.kernel.symbol()).collect();
        let name = kernels::CATALOGUE[file].0;
        let image = kernels::images().iter().find(|image| image.name == name);
        let ptx = image.map_or(Ok(String::new()), |image| image.ptx())?;
        let module = Module::parse(&format!("{name}.ptx"), &ptx)?;
        let listing = image.map_or(Ok(None), |image| image.listing(arch))?;
        let weighed = Image::new(&ptx, listing);
        let weights = weighed.weights(module.entries(), |kernel| wanted.contains(kernel));
        Ok((file, Loaded { module, weights }))
    };
    files.par_iter().with_max_len(1).map(load).collect()
}

/// One launch on the emulator.
struct Emulator<'a> {
    plan: &'a LaunchPlan,
    record: &'a LaunchRecord,
    kernel: &'a Loaded,
    gpu: &'a Gpu,
    /// Target of the machine code.
    arch: u32,
}

impl Emulator<'_> {
    fn run(&self) -> Result<Emulated, EstimateError> {
        let record = self.record;
        let Some(entry) = self.kernel.module.entry(record.kernel.symbol()) else {
            unreachable!("a test holds the PTX to the catalogue");
        };
        let Some(weights) = self.kernel.weights.iter().find(|w| w.kernel == entry.name) else {
            unreachable!("every kernel of a launch has weights");
        };
        let [grid, block] = [record.geometry.grid, record.geometry.block];
        let resident = resident(record, self.gpu, self.arch)?;
        let blocks: u64 = grid.iter().map(|&extent| u64::from(extent)).product();
        let (mut memory, params) = self.memory();
        let sample = runs(grid, self.is_split());
        let mut counted = Counted::default();
        for run in &sample {
            let launch = self.launch(&params)?.blocks(&run.blocks).per_instruction(true);
            let report = launch.run(&mut memory).map_err(|source| self.failed(source))?;
            self.check(&report)?;
            counted.add(&report.counters, run);
        }
        let slots = weights.slots(&counted.executed);

        let c = &self.gpu.constants;
        let warps = block.iter().product::<u32>().div_ceil(32);
        let beside = (blocks as f64 / c.multiprocessors).ceil().min(f64::from(resident)).max(1.0);
        let l1 = self.l1_bytes() / beside;
        let timing = weigh::timing(weights, entry, &counted.executed, self.gpu, l1 as u32);
        let mut timed = Timed::default();
        for run in &sample {
            let launch = self.launch(&params)?.blocks(&run.blocks).timed(&timing);
            let report = launch.run(&mut memory).map_err(|source| self.failed(source))?;
            self.check(&report)?;
            timed.add(report.timings, run);
        }
        let slowest = timed.slowest.unwrap_or_default();
        let mean = timed.cycles / blocks.max(1) as f64;
        let work = Work {
            blocks,
            warps,
            resident,
            slots: weigh::slots(&slots.by_pipe),
            tensor_macs: counted.mma_macs * self.product_time(),
            l1_bytes: counted.l1_cycles * BANK_BYTES as f64,
            l2_bytes: timed.l2_sectors * SECTOR_BYTES,
            path: weigh::path(&slowest),
            mean_path: if slowest.cycles > 0.0 { mean / slowest.cycles } else { 1.0 },
            hidden_cycles: slowest.hidden_cycles,
            memory_cycles: c.l2_cycles,
            ..Work::default()
        };
        Ok(Emulated {
            work,
            path_lines: weigh::path_lines(entry, &slowest),
            slot_lines: weigh::slot_lines(&slots),
            instructions: counted.instructions,
            sectors: counted.sectors,
            bank_conflicts: counted.conflicts,
            sampled: sample.iter().map(|run| run.blocks.len() as u64).sum(),
            from: Some(weigh::from(weights)),
        })
    }

    /// Bytes of a multiprocessor that are first-level cache: what the split leaves that every kernel
    /// asks for.
    fn l1_bytes(&self) -> f64 {
        let shared = multiprocessor(self.gpu, self.arch).map_or(0, |limits| limits.shared_bytes);
        (1024.0 * self.gpu.constants.l1_kib - f64::from(shared)).max(0.0)
    }

    /// Whether blocks of one column gather what the others leave: parameters of the pointwise
    /// kernels say so by having room for chunk sums, which only then are split over z.
    fn is_split(&self) -> bool {
        self.record.kernel.image_name().starts_with("pointwise") && self.record.geometry.grid[2] > 1
    }

    /// Time of a matrix product's multiply-accumulate as a multiple of that in f16.
    fn product_time(&self) -> f64 {
        if self.record.kernel.symbol().ends_with("_tf32") { 2.0 } else { 1.0 }
    }

    /// Zeros in the place of every region, and the parameters bound to it.
    fn memory(&self) -> (Memory, Vec<u8>) {
        let mut memory = Memory::new();
        let bytes = |bytes: u64| bytes.max(LaunchPlan::ALIGN_BYTES as u64) as usize;
        let mut region = |name, size| memory.zeroed(name, bytes(size));
        let weights = region("weights", self.plan.weights_bytes());
        let arena = region("arena", self.plan.arena_bytes());
        let input = region("input", self.plan.input_bytes());
        let output = region("output", self.plan.output_bytes());
        let counters = region("counters", self.plan.counters_bytes());
        let bases = Bases {
            weights: weights.address(),
            arena: arena.address(),
            input: input.address(),
            output: output.address(),
            counters: counters.address(),
        };
        (memory, self.record.bind(&bases))
    }

    fn launch(&self, params: &[u8]) -> Result<emulator::Launch<'_>, EstimateError> {
        let launch = emulator::Launch::new(&self.kernel.module, self.record.kernel.symbol())
            .map_err(|source| self.failed(source))?
            .grid(self.record.geometry.grid)
            .block(self.record.geometry.block)
            .shared_bytes(self.record.geometry.shared_bytes)
            .params(params)
            .checks(Checks::required())
            .count_traffic(true);
        Ok(launch)
    }

    fn failed(&self, source: emulator::LaunchError) -> EstimateError {
        EstimateError::Launch { name: self.record.name.clone(), source }
    }

    fn check(&self, report: &emulator::Report) -> Result<(), EstimateError> {
        match report.findings.first() {
            None => Ok(()),
            Some(first) => Err(EstimateError::Finding {
                name: self.record.name.clone(),
                first: first.to_string(),
            }),
        }
    }
}

/// Counters of the sample, each weighted to the whole launch.
#[derive(Default)]
struct Counted {
    /// Warp instructions, by instruction of the kernel.
    executed: Vec<f64>,
    instructions: f64,
    mma_macs: f64,
    sectors: f64,
    conflicts: f64,
    /// Cycles of first-level cache and shared memory.
    l1_cycles: f64,
}

impl Counted {
    fn add(&mut self, counters: &Counters, run: &Run) {
        let weight = run.weight;
        self.executed.resize(counters.by_instruction.len(), 0.0);
        for (sum, one) in self.executed.iter_mut().zip(&counters.by_instruction) {
            *sum += weight * one.executed as f64;
            // A request takes a cycle at least, and as many as its bytes or sectors fill.
            let shared = one.shared.requests.max(one.shared.bytes / BANK_BYTES);
            let global = one.global.requests.max(one.global.sectors / 4);
            self.l1_cycles += weight * (shared + one.shared.conflicts + global) as f64;
        }
        self.instructions += weight * counters.instructions as f64;
        self.mma_macs += weight * counters.mma_macs as f64;
        self.sectors += weight * counters.global.sectors as f64;
        self.conflicts += weight * counters.shared.conflicts as f64;
    }
}

/// Times of the sample, each weighted to the whole launch.
#[derive(Default)]
struct Timed {
    slowest: Option<BlockTiming>,
    /// Of all blocks together.
    cycles: f64,
    l2_sectors: f64,
}

impl Timed {
    fn add(&mut self, timings: Vec<BlockTiming>, run: &Run) {
        for timing in timings {
            self.cycles += run.weight * timing.cycles;
            let BlockTraffic { l2_read_sectors, l2_written_sectors, l2_atomic_sectors, .. } =
                timing.traffic;
            let sectors = l2_read_sectors + l2_written_sectors + l2_atomic_sectors;
            self.l2_sectors += run.weight * sectors as f64;
            if self.slowest.as_ref().is_none_or(|slowest| timing.cycles > slowest.cycles) {
                self.slowest = Some(timing);
            }
        }
    }
}
