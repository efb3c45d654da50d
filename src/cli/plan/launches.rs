//! The launches of a plan, as a table and as JSON.

use crate::cli::output::{self, Align, Out, Table, thousands};
use effnet::kernels;
use effnet::launches::{KernelId, LaunchPlan, LaunchRecord, Region};
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

/// Registers of a thread, as ptxas gives them.
#[derive(Clone, Copy, Serialize)]
struct Registers {
    arch: u32,
    registers: u32,
    static_shared_bytes: u32,
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
pub fn report(plan: &LaunchPlan) -> anyhow::Result<Vec<LaunchReport>> {
    let records = plan.launches(plan.batch())?;
    let reports = records.into_iter().enumerate().map(|(index, record)| LaunchReport {
        index,
        steps: [record.steps.start, record.steps.end],
        kernel: record.kernel.symbol(),
        grid: record.geometry.grid,
        block: record.geometry.block,
        shared_bytes: record.geometry.shared_bytes,
        registers: registers(record.kernel),
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
pub fn tables(plan: &LaunchPlan, out: &mut Out) -> anyhow::Result<()> {
    let records = plan.launches(plan.batch())?;
    let known = records.iter().find_map(|record| registers(record.kernel));
    let mut table = Table::new(&[
        ("launch", Align::Right),
        ("name", Align::Left),
        ("kernel", Align::Left),
        ("grid", Align::Left),
        ("block", Align::Left),
        ("shared", Align::Right),
        ("registers", Align::Right),
        ("moved", Align::Right),
        ("MACs", Align::Right),
    ]);
    for (index, record) in records.iter().enumerate() {
        let [grid, block] = [record.geometry.grid, record.geometry.block].map(extents);
        let registers = registers(record.kernel);
        table.row([
            index.to_string(),
            record.name.clone(),
            record.kernel.symbol().trim_start_matches("effnet_").to_owned(),
            grid,
            block,
            shared(record, registers),
            registers.map_or("-".to_owned(), |r| r.registers.to_string()),
            output::bytes(record.bytes_moved),
            thousands(record.macs),
        ]);
    }
    for line in table.lines() {
        out.line(line)?;
    }
    if let Some(Registers { arch, .. }) = known {
        out.line(format_args!("\nregisters as ptxas reports them for sm_{arch}"))?;
    }
    let moved: u64 = records.iter().map(|record| record.bytes_moved).sum();
    let macs: u64 = records.iter().map(|record| record.macs).sum();
    out.line(format_args!(
        "\n{} launches, {} path, {}: {} moved, {} MACs\n\
         device memory {}: weights {}, arena {}, inputs {slots} x {}, outputs \
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

/// The lowest target from sm_80 on that this build has a report for.
fn registers(kernel: KernelId) -> Option<Registers> {
    let image = kernels::images().iter().find(|image| image.name == kernel.image_name())?;
    let mut reports: Vec<_> =
        image.resources.iter().filter(|r| r.entry == kernel.symbol()).collect();
    reports.sort_by_key(|r| (r.arch < 80, r.arch));
    reports.first().map(|r| Registers {
        arch: r.arch,
        registers: r.registers,
        static_shared_bytes: r.shared_bytes,
    })
}
