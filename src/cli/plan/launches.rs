//! The launches of a plan, as a table and as JSON.

use crate::cli::output::{self, Align, Out, Table, thousands};
use effnet::kernels::{self, occupancy::Multiprocessor};
use effnet::launches::{LaunchPlan, LaunchRecord, Region};
use serde::Serialize;

/// One launch as JSON.
#[derive(Serialize)]
pub struct LaunchReport {
    index: usize,
    name: String,
    /// The plan's steps that it computes, or a part of.
    steps: [usize; 2],
    kernel: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    /// Null where this build has no kernels.
    registers: Option<Registers>,
    bytes_moved: u64,
    macs: u64,
}

/// What a launch takes of a multiprocessor: registers of a thread as ptxas gives them.
#[derive(Clone, Copy, Serialize)]
struct Registers {
    arch: u32,
    registers: u32,
    static_shared_bytes: u32,
    /// Blocks that a multiprocessor holds at once, where its limits are known.
    resident_blocks: Option<u32>,
}

/// Device memory as JSON.
#[derive(Serialize)]
pub struct MemoryReport {
    weights_bytes: u64,
    arena_bytes: u64,
    /// Of one run; a GPU holds `slots` of inputs and of outputs.
    input_bytes: u64,
    output_bytes: u64,
    slots: usize,
    counters_bytes: u64,
    total_bytes: u64,
    buffers: Vec<BufferReport>,
}

#[derive(Serialize)]
struct BufferReport {
    name: String,
    precision: effnet::weights::Precision,
    bytes: usize,
    region: &'static str,
    offset_bytes: u64,
    first_launch: usize,
    last_launch: usize,
}

/// The launches at the full batch.
pub fn report(plan: &LaunchPlan, arch: u32) -> anyhow::Result<Vec<LaunchReport>> {
    let records = plan.launches(plan.batch())?;
    let reports = records.into_iter().enumerate().map(|(index, record)| LaunchReport {
        index,
        steps: [record.steps.start, record.steps.end],
        kernel: record.kernel.symbol(),
        grid: record.geometry.grid,
        block: record.geometry.block,
        shared_bytes: record.geometry.shared_bytes,
        registers: registers(&record, arch),
        bytes_moved: record.bytes_moved,
        macs: record.macs,
        name: record.name,
    });
    Ok(reports.collect())
}

/// What the regions of device memory take.
pub fn memory(plan: &LaunchPlan) -> MemoryReport {
    let buffers = plan.buffers().iter().map(|buffer| BufferReport {
        name: buffer.name.clone(),
        precision: buffer.precision,
        bytes: buffer.bytes(),
        region: if buffer.region == Region::Output { "output" } else { "arena" },
        offset_bytes: buffer.offset_bytes,
        first_launch: buffer.first_launch,
        last_launch: buffer.last_launch,
    });
    MemoryReport {
        weights_bytes: plan.weights_bytes(),
        arena_bytes: plan.arena_bytes(),
        input_bytes: plan.input_bytes(),
        output_bytes: plan.output_bytes(),
        slots: LaunchPlan::SLOTS,
        counters_bytes: plan.counters_bytes(),
        total_bytes: plan.device_bytes(),
        buffers: buffers.collect(),
    }
}

/// Prints the launches, and what they take together.
pub fn tables(plan: &LaunchPlan, arch: u32, out: &mut Out) -> anyhow::Result<()> {
    let records = plan.launches(plan.batch())?;
    let known = records.iter().find_map(|record| registers(record, arch));
    let mut table = Table::new(&[
        ("launch", Align::Right),
        ("name", Align::Left),
        ("kernel", Align::Left),
        ("grid", Align::Left),
        ("block", Align::Left),
        ("shared", Align::Right),
        ("registers", Align::Right),
        ("resident", Align::Right),
        ("moved", Align::Right),
        ("MACs", Align::Right),
    ]);
    for (index, record) in records.iter().enumerate() {
        let [grid, block] = [record.geometry.grid, record.geometry.block].map(extents);
        let registers = registers(record, arch);
        table.row([
            index.to_string(),
            record.name.clone(),
            record.kernel.symbol().trim_start_matches("effnet_").to_owned(),
            grid,
            block,
            shared(record, registers),
            registers.map_or("-".to_owned(), |r| r.registers.to_string()),
            registers.and_then(|r| r.resident_blocks).map_or("-".to_owned(), |n| n.to_string()),
            output::bytes(record.bytes_moved),
            thousands(record.macs),
        ]);
    }
    for line in table.lines() {
        out.line(line)?;
    }
    if let Some(Registers { arch, .. }) = known {
        out.line(format_args!(
            "\nregisters as ptxas reports them for sm_{arch}; resident: blocks that one of its \
             multiprocessors holds at once"
        ))?;
    }
    let moved: u64 = records.iter().map(|record| record.bytes_moved).sum();
    let macs: u64 = records.iter().map(|record| record.macs).sum();
    out.line(format_args!(
        "\n{} launches, {} path, {}: {} moved, {} MACs\n\
         device memory {}: weights {}, arena {}, inputs {slots} x {} ({}), outputs \
         {slots} x {}, counters {}",
        records.len(),
        plan.options().path,
        plan.options().compute,
        output::bytes(moved),
        thousands(macs),
        output::bytes(plan.device_bytes()),
        output::bytes(plan.weights_bytes()),
        output::bytes(plan.arena_bytes()),
        output::bytes(plan.input_bytes()),
        plan.input_type(),
        output::bytes(plan.output_bytes()),
        output::bytes(plan.counters_bytes()),
        slots = LaunchPlan::SLOTS,
    ))
}

/// `12x4`; extents of one are left out at the end.
fn extents([x, y, z]: [u32; 3]) -> String {
    match (y, z) {
        (1, 1) => x.to_string(),
        (_, 1) => format!("{x}x{y}"),
        _ => format!("{x}x{y}x{z}"),
    }
}

/// Dynamic and static shared memory of a block.
fn shared(record: &LaunchRecord, registers: Option<Registers>) -> String {
    let fixed = registers.map_or(0, |r| r.static_shared_bytes);
    output::bytes(u64::from(record.geometry.shared_bytes + fixed))
}

/// What ptxas' report says of a target that is built.
fn registers(record: &LaunchRecord, arch: u32) -> Option<Registers> {
    let kernel = record.kernel;
    let image = kernels::images().iter().find(|image| image.name == kernel.image_name())?;
    let mut reports = image.resources.iter();
    reports.find(|r| r.entry == kernel.symbol() && r.arch == arch).map(|r| Registers {
        arch,
        registers: r.registers,
        static_shared_bytes: r.shared_bytes,
        resident_blocks: Multiprocessor::of(arch)
            .map(|multiprocessor| multiprocessor.resident_blocks(r, &record.geometry)),
    })
}
