//! What is printed: kernels with their parameters, counters, counters by line.

use super::error::EmulateError;
use super::streams::Streams;
use super::text::{Align, Table, thousands};
use crate::{Counters, Launch, Module, Traffic};

/// The kernels with their parameters: all, or the one that is named.
pub(super) fn list(
    module: &Module,
    only: Option<&str>,
    streams: &mut Streams,
) -> Result<(), EmulateError> {
    if let Some(name) = only {
        Launch::new(module, name)?;
    }
    for entry in module.entries().iter().filter(|e| only.is_none_or(|name| e.name == name)) {
        streams.line(&entry.name)?;
        let mut table = Table::new(&[
            ("  offset", Align::Right),
            ("bytes", Align::Right),
            ("type", Align::Left),
            ("parameter", Align::Left),
        ]);
        for param in &entry.params {
            table.row([
                param.offset_bytes.to_string(),
                param.size_bytes.to_string(),
                param.type_name.clone(),
                param.name.clone(),
            ]);
        }
        for line in table.lines().into_iter().skip(usize::from(entry.params.is_empty())) {
            streams.line(line)?;
        }
        if entry.shared_bytes > 0 {
            streams.line(format_args!("  static shared memory: {} bytes", entry.shared_bytes))?;
        }
        if let Some(threads) = entry.max_threads {
            streams.line(format_args!("  threads of a block: at most {threads}"))?;
        }
        if let Some([x, y, z]) = entry.required_block {
            streams.line(format_args!("  block: exactly {x},{y},{z}"))?;
        }
        if let Some([x, y, z]) = entry.required_cluster {
            streams.line(format_args!("  cluster: exactly {x},{y},{z}"))?;
        }
    }
    Ok(())
}

/// What was executed, counter by counter.
pub(super) fn counters(counters: &Counters, streams: &mut Streams) -> Result<(), EmulateError> {
    let mut table = Table::new(&[("counter", Align::Left), ("count", Align::Right)]);
    let mut row = |name: &str, count: u64| table.row([name.to_owned(), thousands(count)]);
    row("warp instructions", counters.instructions);
    for (class, &count) in &counters.by_class {
        row(&format!("  {}", format!("{class:?}").to_lowercase()), count);
    }
    row("lane instructions", counters.lane_instructions);
    row("matrix products", counters.mma);
    row("  multiply-accumulates", counters.mma_macs);
    row("barriers", counters.barriers);
    row("divergent branches", counters.divergent_branches);
    let mut memory = |name: &str, traffic: &Traffic, detail: &str, count: u64| {
        row(&format!("{name} requests"), traffic.requests);
        row("  bytes", traffic.bytes);
        row(detail, count);
    };
    let (global, shared) = (&counters.global, &counters.shared);
    memory("global memory", global, "  sectors of 32 bytes", global.sectors);
    memory("shared memory", shared, "  bank conflict cycles", shared.conflicts);
    for line in table.lines() {
        streams.line(line)?;
    }
    Ok(())
}

/// One row for each line of the source; nothing where the PTX has no line information.
pub(super) fn lines(counters: &Counters, streams: &mut Streams) -> Result<(), EmulateError> {
    let right = |name| (name, Align::Right);
    let mut table = Table::new(&[
        ("line", Align::Left),
        right("instructions"),
        right("global requests"),
        right("sectors"),
        right("shared requests"),
        right("conflict cycles"),
    ]);
    for ((file, line), counted) in &counters.by_line {
        let (global, shared) = (&counted.global, &counted.shared);
        table.row([
            format!("{file}:{line}"),
            thousands(counted.instructions),
            thousands(global.requests),
            thousands(global.sectors),
            thousands(shared.requests),
            thousands(shared.conflicts),
        ]);
    }
    if counters.by_line.is_empty() {
        streams.note("no counters by line: the PTX has no .loc; compile it with -lineinfo");
        return Ok(());
    }
    streams.line("")?;
    for line in table.lines() {
        streams.line(line)?;
    }
    Ok(())
}
