//! `effnet estimate`: what a GPU would take, predicted without one.

use super::Status;
use super::args::{self, PlanArgs};
use super::output::{self, Out, Table};
use anyhow::{anyhow, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use effnet::arch::Variant;
use effnet::environment::Environment;
use effnet::estimate::estimate;
use effnet::estimate::fit::{Fit, MeasuredRun, fit};
use effnet::estimate::gpu::Gpu;
use effnet::estimate::measured::Measured;
use effnet::estimate::report::{By, Estimate, Subject};
use effnet::files::OutputFile;
use effnet::kernels::Compute;
use effnet::launches::{LaunchOptions, LaunchPlan, Path};
use std::path::PathBuf;

/// Predict the time of every launch on a GPU, and what limits it, without having one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is measured: every time is predicted, and says so. The launches of the plan run on the PTX
emulator, a sample of the blocks of each; issue slots are weighted by the kernels' machine code, the
critical path of a block is followed through its registers, and caches are LRUs. What that comes to
on a GPU follows from constants with a source each: docs/performance.md has the formulas, and
--print-gpu a set of constants, which --gpu takes back as a file.

A launch's body is limited by the latency of its blocks, by issue slots, by a pipe (FMA, ALU,
special function, load/store, tensor), by first-level cache and shared memory (L1), by the L2 cache
or by device memory (DRAM). What lies between launches is the cause `launch`.

--measured FILE lays what `effnet profile --device cuda --json` printed beside the predictions.
--fit FILE prints the constants refitted to such files; --batch and the like then follow the files.

With --json the object has \"schema\": \"effnet-estimate/1\", \"predicted\": true, the model, the
GPU with its constants and their sources, notes, groups by block, op and cause, and the launches.

Examples:
  effnet estimate b0 --gpu h100
  effnet estimate b0 --gpu h100 --batch 128 --by cause
  effnet estimate b4 --gpu l4 --by launch --html estimate.html
  effnet estimate lite0 --gpu t4 --json | jq '.launches[] | [.name, .predicted_us, .cause]'
  effnet estimate --print-gpu h100 > mine.json && effnet estimate b0 --gpu ./mine.json
  effnet estimate b0 --gpu h100 --measured profile.json --by launch
  effnet estimate --gpu h100 --fit profile-1.json --fit profile-128.json > fitted.json")]
pub struct Args {
    /// The variant, as `effnet info` lists them.
    #[arg(value_parser = args::variant)]
    #[arg(required_unless_present_any = ["print_gpu", "fit"])]
    variant: Option<Variant>,
    /// The GPU: h100, h200, a100, l4, rtx4090, t4, orin, or a file of constants.
    #[arg(long, value_name = "GPU", required_unless_present = "print_gpu")]
    gpu: Option<String>,
    #[command(flatten)]
    planned: PlanArgs,
    /// What to put together in the table: launch, block, op or cause.
    #[arg(long, value_name = "WHAT", default_value = "op", value_parser = by())]
    by: By,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Write a report with plots, one HTML file that needs no other.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Measured times to lay beside, as `effnet profile --device cuda --json` prints them.
    #[arg(long, value_name = "FILE")]
    measured: Option<PathBuf>,
    /// Refit the constants to measured times, and print them as a file; may be repeated.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["variant", "json", "html", "measured"])]
    fit: Vec<PathBuf>,
    /// Print a set of constants, to start one's own from.
    #[arg(long, value_name = "GPU", conflicts_with_all = ["variant", "gpu", "fit"])]
    print_gpu: Option<String>,
}

fn by() -> impl TypedValueParser<Value = By> {
    PossibleValuesParser::new(By::ALL.map(By::name))
        .try_map(|name| By::ALL.into_iter().find(|by| by.name() == name).ok_or("no such grouping"))
}

/// Predicts, fits, or prints constants.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    if let Some(name) = &args.print_gpu {
        out.bytes(Gpu::find(name)?.file().as_bytes())?;
        return Ok(Status::Complete);
    }
    let Some(gpu) = &args.gpu else { bail!("--gpu: none given, expected one of the help's") };
    let gpu = Gpu::find(gpu)?;
    if !args.fit.is_empty() {
        return refit(&args, &gpu, out);
    }
    let Some(variant) = args.variant else { bail!("no variant: `effnet info` lists them") };
    // What can be wrong is found out before anything is emulated.
    let html = args.html.as_deref().map(OutputFile::new).transpose()?;
    let measured = args.measured.as_deref().map(Measured::read).transpose()?;
    let mut found = predict(variant, &args.planned, &gpu)?;
    if let Some(measured) = measured {
        same(&measured, &found.subject)?;
        found.measured = Some(measured);
    }
    if args.json {
        out.json(&found.json())?;
    } else {
        text(&found, args.by, out)?;
    }
    out.flush()?;
    if let Some(file) = html {
        file.write(found.html().as_bytes())?;
    }
    Ok(Status::Complete)
}

fn predict(variant: Variant, planned: &PlanArgs, gpu: &Gpu) -> anyhow::Result<Estimate> {
    let plan = planned.plan(variant)?;
    let launches = LaunchPlan::new(&plan, LaunchOptions::new(planned.path, planned.precision))?;
    let subject = Subject {
        variant: variant.name().to_owned(),
        batch: planned.batch,
        size: plan.input_size(),
        padding: args::padding_text(planned.padding.for_variant(variant)),
        precision: planned.precision.to_string(),
        path: planned.path.to_string(),
    };
    let environment = Environment::collect(&[]);
    Ok(estimate(&plan, &launches, gpu, subject, environment)?)
}

/// Measured times are of what is predicted, or an error says which argument would make them so.
fn same(measured: &Measured, subject: &Subject) -> anyhow::Result<()> {
    let pairs = [
        ("the variant", measured.variant.clone(), subject.variant.clone()),
        ("--batch", measured.batch.to_string(), subject.batch.to_string()),
        ("--size", measured.size.to_string(), subject.size.to_string()),
        ("--path", measured.path.clone(), subject.path.clone()),
        ("--precision", measured.precision.clone(), subject.precision.clone()),
    ];
    for (what, measured_is, predicted_is) in pairs {
        if measured_is != predicted_is {
            bail!(
                "{}: measured with {what} {measured_is}, predicted with {predicted_is}: expected \
                 the same",
                measured.file
            );
        }
    }
    Ok(())
}

/// Prints the constants that fit the measured files best.
fn refit(args: &Args, gpu: &Gpu, out: &mut Out) -> anyhow::Result<Status> {
    let mut runs = Vec::new();
    let mut names = Vec::new();
    for path in &args.fit {
        let measured = Measured::read(path)?;
        let file = &measured.file;
        let variant =
            args::variant(&measured.variant).map_err(|error| anyhow!("{file}: {error}"))?;
        let planned = PlanArgs {
            batch: measured.batch,
            size: Some(measured.size),
            path: match measured.path.as_str() {
                "fused" => Path::Fused,
                "layerwise" => Path::Layerwise,
                other => bail!("{file}: path {other:?}, expected fused or layerwise"),
            },
            precision: match measured.precision.as_str() {
                "fp16" => Compute::Fp16,
                "fp32" => Compute::Fp32,
                "tf32" => Compute::Tf32,
                other => bail!("{file}: precision {other:?}, expected fp16, fp32 or tf32"),
            },
            ..args.planned
        };
        let predicted = predict(variant, &planned, gpu)?;
        let mut launches_us = Vec::new();
        for launch in &predicted.launches {
            let name = &launch.item.name;
            let us = measured.launches.iter().find(|(other, _)| other == name);
            let Some((_, us)) = us else {
                bail!("{file}: no launch {name}, which this build has: measure with this build");
            };
            launches_us.push(*us);
        }
        runs.push(MeasuredRun {
            work: predicted.launches.into_iter().map(|launch| launch.work).collect(),
            launches_us,
            saved_us: measured.serial_run_us.map(|serial| serial - measured.run_us),
        });
        names.push(format!("{file} ({})", measured.device));
    }
    let source = format!("fitted by effnet estimate --fit to {}", names.join(", "));
    let Fit { gpu, error, measurements } =
        fit(gpu, &runs, &source).map_err(|error| anyhow!("--fit: {error}"))?;
    let percent = error.map(|error| format!("{:.0} %", 100.0 * (error.exp() - 1.0)));
    output::note(&format_args!(
        "{measurements} measurements, mean error {} before and {} after",
        percent[0], percent[1]
    ));
    out.bytes(gpu.file().as_bytes())?;
    Ok(Status::Complete)
}

fn text(found: &Estimate, by: By, out: &mut Out) -> anyhow::Result<()> {
    let lines = |table: &Table, out: &mut Out| table.lines().try_for_each(|line| out.line(line));
    out.line(format_args!("{}\n", found.title()))?;
    lines(&found.table(by), out)?;
    out.line("")?;
    for (name, value) in found.headlines() {
        out.line(format_args!("{name}: {value}"))?;
    }
    found.notes().into_iter().try_for_each(|note| out.line(note))
}
