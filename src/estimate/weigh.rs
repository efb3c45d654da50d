//! Issue slots, latencies and source lines of a kernel's instructions, as a GPU has them.

use super::combine::{self, Kind, PathCycles};
use super::gpu::Gpu;
use super::opcodes::Latencies;
use super::report::{Line, SlotsFrom};
use super::slots::{Pipes, Source, Weights};
use crate::emulator::{self, BlockTiming, Entry, InstructionTiming, Timing};
use sass_listing::Pipe;
use std::collections::BTreeMap;

/// Lines that an estimate keeps of each launch.
const LINES: usize = 8;
/// Multiply-accumulates of `mma.m16n8k16`; `mma.m16n8k8`, in TF32, has half as many, each of which
/// takes twice as long.
const PRODUCT_MACS: f64 = 2048.0;
const WARP_LANES: f64 = 32.0;

/// Latencies by class, as a GPU has them.
pub(super) fn latencies(gpu: &Gpu) -> Latencies {
    let c = &gpu.constants;
    Latencies {
        arithmetic: c.arithmetic_cycles,
        convert: c.convert_cycles,
        special: c.special_cycles,
        tensor: c.tensor_cycles,
        shuffle: c.shuffle_cycles,
        branch: c.branch_cycles,
        shared: c.shared_cycles,
        atomic: c.atomic_cycles,
        fence: c.fence_cycles,
    }
}

/// Slots by the pipes that the model has.
pub(super) fn slots(pipes: &Pipes) -> combine::Slots {
    combine::Slots {
        all: pipes.total(),
        fma: pipes.of(Pipe::Fma) + pipes.of(Pipe::Half),
        alu: pipes.of(Pipe::Alu),
        special: pipes.of(Pipe::Special),
        load_store: pipes.of(Pipe::LoadStore) + pipes.of(Pipe::Texture),
        tensor: pipes.of(Pipe::Tensor),
    }
}

/// Where slots come from.
pub(super) fn from(weights: &Weights) -> SlotsFrom {
    match weights.source() {
        Source::MachineCode => SlotsFrom::MachineCode,
        Source::Opcodes => SlotsFrom::OpcodeTable,
    }
}

/// What a warp's instructions take, for a block of whose first-level cache `l1_bytes` are its own.
/// Each warp finds its slots of issue free: that warps share them is what the issue term is for.
pub(super) fn timing(
    weights: &Weights,
    entry: &Entry,
    executed: &[f64],
    gpu: &Gpu,
    l1_bytes: u32,
) -> Timing {
    let c = &gpu.constants;
    let quarter = |lanes: f64| WARP_LANES * c.schedulers / lanes;
    let timed = weights.timing(executed, &latencies(gpu));
    let instructions = timed.iter().zip(entry.instructions()).map(|(timed, info)| {
        let pipe = match info.form.split('.').next().unwrap_or_default() {
            "mma" => PRODUCT_MACS * c.schedulers / c.tensor_macs,
            "ex2" | "lg2" | "rcp" | "rsqrt" | "sqrt" | "sin" | "cos" | "tanh" => {
                quarter(c.special_lanes)
            }
            // A reciprocal and its check.
            "div" => 2.0 * quarter(c.special_lanes),
            _ => 0.0,
        };
        InstructionTiming {
            issue: timed.issue as f32,
            latency: timed.latency as f32,
            pipe_cycles: pipe as f32,
            blocking: timed.blocking,
        }
    });
    Timing {
        instructions: instructions.collect(),
        latencies: emulator::Latencies {
            // The opcodes' own latency is that of shared memory.
            shared: 0.0,
            cluster_shared: c.l2_cycles as f32,
            l1: c.l1_cycles as f32,
            l2: (c.l2_cycles - c.l1_cycles).max(0.0) as f32,
            barrier: c.barrier_cycles as f32,
            cluster_barrier: c.atomic_cycles as f32,
        },
        warps_per_scheduler: 1.0,
        // ptxas does, as far as registers allow.
        reordered: true,
        l1_bytes,
        dependent: gpu.dependent_launches(),
    }
}

/// Cycles of a block's path by what they are spent on.
pub(super) fn path(timing: &BlockTiming) -> PathCycles {
    use crate::emulator::Cause;
    let mut found = PathCycles::default();
    for (cause, cycles) in timing.cycles_by_cause() {
        let kind = match cause {
            Cause::Issue => Kind::Issue,
            Cause::Arithmetic | Cause::Control => Kind::Arithmetic,
            Cause::Special => Kind::Special,
            Cause::Tensor => Kind::Tensor,
            Cause::Shared | Cause::Exchange => Kind::Shared,
            Cause::L1 => Kind::L1,
            Cause::L2 => Kind::Memory,
            Cause::Barrier => Kind::Barrier,
            Cause::Atomic => Kind::Atomic,
            Cause::Copy => Kind::Copy,
        };
        *found.of_mut(kind) += cycles;
    }
    // Where the emulator kept no path, its length is all that is known.
    if timing.path.is_empty() {
        *found.of_mut(Kind::Issue) = timing.cycles;
    }
    found
}

/// The last part of a file's name, and a line.
fn place(file: &str, line: u32) -> String {
    format!("{}:{line}", file.rsplit(['/', '\\']).next().unwrap_or(file))
}

/// The lines on a block's path, the longest first.
pub(super) fn path_lines(entry: &Entry, timing: &BlockTiming) -> Vec<Line> {
    let infos = entry.instructions();
    let mut cycles: BTreeMap<String, f64> = BTreeMap::new();
    for part in &timing.path {
        let Some(info) = infos.get(part.instruction) else { continue };
        let at = match info.source {
            Some((file, line)) => place(file, line),
            None => format!("PTX line {}", info.ptx_line),
        };
        *cycles.entry(at).or_default() += part.cycles;
    }
    largest(cycles)
}

/// The lines with most slots, the most first.
pub(super) fn slot_lines(slots: &super::slots::Slots) -> Vec<Line> {
    let mut of_line: BTreeMap<String, f64> = BTreeMap::new();
    for ((file, line), pipes) in &slots.by_line {
        *of_line.entry(place(file, *line)).or_default() += pipes.total();
    }
    largest(of_line)
}

/// The largest amounts, with their parts of all.
fn largest(amounts: BTreeMap<String, f64>) -> Vec<Line> {
    let all: f64 = amounts.values().sum();
    let mut lines: Vec<Line> = amounts
        .into_iter()
        .filter(|(_, amount)| *amount > 0.0)
        .map(|(at, amount)| Line { at, amount, part: amount / all })
        .collect();
    lines.sort_by(|a, b| b.amount.total_cmp(&a.amount));
    lines.truncate(LINES);
    lines
}
