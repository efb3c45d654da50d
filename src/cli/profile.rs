//! `effnet profile`: the time of every kernel, or what the emulator counts of it.

use super::Status;
use super::args;
use super::device::{Choice, RunArgs};
use super::models::ModelArgs;
use super::output::{self, Out, Table};
use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use effnet::arch::Variant;
use effnet::environment::Environment;
use effnet::files::OutputFile;
use effnet::kernels::Compute;
use effnet::measure::Sampling;
use effnet::profile::{
    By, CeilingWork, Found, Report, Subject, ceilings_table, cpu_product_side, cuda_ceilings,
    profile_cpu, profile_cuda, profile_emulated, serial_runs,
};
use effnet::session::{Device, Machine, Session, SessionError};
use effnet::weights::stand_in::{Random, random_weights};
use effnet::weights::{Precision, Weights};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Time every kernel of a network against what the device can do at best.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
On a GPU each launch is timed by the device's events, on the CPU each step. First the ceilings are
measured: a copy between large buffers, a large matrix product, and a launch with nothing to do. The
floor of a launch is the largest of what its bytes, its operations and the launch itself take at the
ceilings; `bound` says which that is. Bytes count each tensor once, and operations are two for each
multiply-accumulate. What a cache still holds may come faster than its floor.

On the emulator nothing has a time. The same table shows counters: warp instructions, tensor-core
operations, sectors of 32 bytes per request of global memory, their bytes against the compulsory
minimum, cycles lost to bank conflicts of shared memory, and barriers. Choose a small --size: 64
takes seconds.

--trace writes one run with the median times as a trace for Perfetto (ui.perfetto.dev). --html
writes a page with plots.

With --json the object has \"schema\": \"effnet-profile/1\", the environment, the subject (model,
device, batch and the like), notes, and \"kind\": \"times\" or \"counters\". Either kind has items, in
the order of a run, groups by layer, block, stage and op, which refer to items by their places, and
the total. Times are in microseconds: time_us is the median, samples_us sums up all runs, floor_us
is the floor, and times_floor the ratio. Shares and occupancy are parts of 1. Where launches of a
GPU begin early, serial_run_us are whole runs in which none does.

Examples:
  effnet profile b0
  effnet profile b0 --device cuda --path layerwise --by block
  effnet profile --model lite0 --device cpu --html profile.html --trace trace.json
  effnet profile b0 --svg blocks.svg
  effnet profile b0 --device emulator --size 64 --by op
  effnet profile b0 --device emulator --size 64 --by launch --arch 90
  effnet profile b4 --batch 8 --json | jq '.items[] | [.name, .time_us, .bound]'")]
pub struct Args {
    /// Variant to profile with random weights, as `effnet info` lists them [default: the packed
    /// weights that --weights or --model chooses].
    #[arg(value_name = "VARIANT", value_parser = args::variant)]
    #[arg(conflicts_with_all = ["weights", "model"])]
    variant: Option<Variant>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    /// What to put together in the table: launch, layer, block, stage or op.
    #[arg(long, value_name = "WHAT", default_value = "layer", value_parser = by())]
    by: By,
    /// Time before the runs that count; one run is made at least.
    #[arg(long, value_name = "MS", default_value = "200", value_parser = args::milliseconds)]
    warm_up: u64,
    /// Least time for the runs.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = args::seconds)]
    duration: Duration,
    /// Least number of runs.
    #[arg(long, value_name = "N", default_value = "10", value_parser = args::iterations)]
    iterations: usize,
    /// Buffers of the copy that measures memory, in MiB: far more than caches hold.
    #[arg(long, value_name = "MIB", default_value = "256")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=2047))]
    copy_mib: u64,
    /// Rows and channels of the product that measures arithmetic, a multiple of 8 [default: 8192 on a
    /// GPU, by the number of threads on the CPU].
    #[arg(long, value_name = "N", value_parser = side)]
    product_side: Option<usize>,
    /// Target whose occupancy is told on the emulator, as in 90 [default: 80]; a GPU has its own.
    #[arg(long, value_name = "TARGET", value_parser = args::target)]
    arch: Option<u32>,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Write a report with plots, one HTML file that needs no other.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the bars of the blocks alone, as an SVG picture.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write a trace for Perfetto.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// A product that keeps a large GPU busy for milliseconds.
const CUDA_PRODUCT_SIDE: usize = 8192;

fn by() -> impl TypedValueParser<Value = By> {
    const ALL: [By; 5] = [By::Launch, By::Layer, By::Block, By::Stage, By::Op];
    PossibleValuesParser::new(ALL.map(By::name))
        .try_map(|name| ALL.into_iter().find(|by| by.name() == name).ok_or("no such grouping"))
}

fn side(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(side) if (8..=32_768).contains(&side) && side % 8 == 0 => Ok(side),
        _ => Err("expected a multiple of 8, 8 to 32768".to_owned()),
    }
}

/// Profiles a network and prints what was found.
pub fn run(args: Args, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    // What can be wrong is found out before anything is measured.
    let html = args.html.as_deref().map(OutputFile::new).transpose()?;
    let svg = args.svg.as_deref().map(OutputFile::new).transpose()?;
    let trace = args.trace.as_deref().map(OutputFile::new).transpose()?;
    let (weights, origin) = weights(&args)?;
    let choice = args.run.choose(weights.metadata())?;
    if choice.device == Device::Emulator && args.trace.is_some() {
        bail!(
            "--trace: the emulator counts and does not time, and a trace is made of times; leave it \
             out, or use --device cuda or cpu"
        );
    }
    if choice.device != Device::Emulator && args.arch.is_some() {
        bail!(
            "--arch: the occupancy on {} is its own; leave it out, or use --device emulator",
            choice.device
        );
    }
    let report = profile(&args, &choice, weights, origin, verbose)?;

    if args.json {
        out.json(&report.json())?;
    } else {
        text(&report, args.by, out)?;
    }
    out.flush()?;
    if let Some(file) = html {
        file.write(report.html().as_bytes())?;
    }
    if let Some(file) = svg {
        file.write(report.svg().as_bytes())?;
    }
    if let (Some(file), Some(trace)) = (trace, report.trace()) {
        let text = serde_json::to_string(&trace).expect("a trace has only plain fields");
        file.write(text.as_bytes())?;
    }
    Ok(Status::Complete)
}

/// The weights, and where they are from, for people.
fn weights(args: &Args) -> anyhow::Result<(Weights, String)> {
    if let Some(variant) = args.variant {
        let precision = args.run.precision().map_or(Precision::Fp16, Compute::storage);
        return Ok((random_weights(variant, precision)?, "random".to_owned()));
    }
    let chosen = args.model.open()?;
    if chosen.by_default {
        output::note(&chosen.describe());
    }
    let origin = chosen.weights.path().display().to_string();
    Ok((chosen.weights, origin))
}

/// Measures; what is under way is told to a person who waits.
fn profile(
    args: &Args,
    choice: &Choice,
    weights: Weights,
    origin: String,
    verbose: bool,
) -> anyhow::Result<Report> {
    let &Choice { device, batch, size, threads, .. } = choice;
    let metadata = weights.metadata().clone();
    // First: a network that cannot be run needs no ceilings.
    let session = Session::new(Arc::new(weights), choice.options(batch))?;
    let (device_name, compute) = (session.device_name(), session.compute());
    let path = session.launches().map(|launches| launches.options().path);
    if verbose || !args.json {
        let what = match device {
            Device::Emulator => "one run, all checks on",
            _ => "measuring the ceilings, then the network",
        };
        output::note(&format_args!("{device}: {what}{}", choice.reason(verbose)));
    }
    let found = measure(args, choice, session)?;
    let subject = Subject {
        model: metadata.name,
        variant: metadata.variant.name().to_owned(),
        weights: origin,
        device: device.to_string(),
        device_name,
        path: path.map(|path| path.to_string()),
        precision: compute.to_string(),
        batch,
        size,
        threads: (device == Device::Cpu).then_some(threads),
    };
    let gpus = Vec::from_iter(device.gpu());
    Ok(Report { subject, found, environment: Environment::collect(&gpus) })
}

/// What is found on the session's device.
fn measure(args: &Args, choice: &Choice, session: Session) -> anyhow::Result<Found> {
    let &Choice { compute, batch, threads, .. } = choice;
    let input = Random::new(1).vector(batch * session.input_elems());
    let sampling = Sampling {
        warm_up_ms: args.warm_up,
        min_duration_ms: args.duration.as_millis() as u64,
        min_iterations: args.iterations,
        ..Sampling::default()
    };
    let work = |side| CeilingWork {
        copy_bytes: (args.copy_mib << 20) as usize,
        product_side: args.product_side.unwrap_or(side),
        samples: args.iterations.min(20),
    };
    Ok(match session.into_machine() {
        Machine::Cpu(mut executor) => {
            let work = work(cpu_product_side(threads));
            let profile = profile_cpu(&mut executor, &input, batch, &sampling, &work)
                .map_err(SessionError::from)?;
            Found::Times(profile, sampling)
        }
        Machine::Emulated(plan, mut device) => {
            let arch = args.arch.unwrap_or_else(args::default_target);
            let profile = profile_emulated(&mut device, &plan, &input, batch, arch)
                .map_err(SessionError::from)?;
            Found::Counts(profile)
        }
        Machine::Cuda(plan, mut device) => {
            let ordinal = device.info().ordinal;
            let ceilings = cuda_ceilings(ordinal, compute, &work(CUDA_PRODUCT_SIDE))?;
            let mut profile = profile_cuda(&mut device, &plan, &input, batch, &sampling, ceilings)
                .map_err(SessionError::from)?;
            profile.serial_run_us = serial_runs(*device, &input, batch, &sampling)
                .map_err(SessionError::from)?
                .map(Box::new);
            Found::Times(profile, sampling)
        }
    })
}

fn text(report: &Report, by: By, out: &mut Out) -> anyhow::Result<()> {
    let lines = |table: &Table, out: &mut Out| table.lines().try_for_each(|line| out.line(line));
    out.line(format_args!("{} ({})\n", report.subject.title(), report.subject.device_name))?;
    if let Found::Times(profile, _) = &report.found {
        lines(&ceilings_table(&profile.ceilings), out)?;
        out.line("")?;
    }
    lines(&report.table(by), out)?;
    if let Some(classes) = report.class_table(by) {
        out.line("\ninstructions by class, in percent")?;
        lines(&classes, out)?;
    }
    out.line("")?;
    for (name, value) in report.headlines() {
        out.line(format_args!("{name}: {value}"))?;
    }
    report.notes().into_iter().try_for_each(|note| out.line(note))
}
