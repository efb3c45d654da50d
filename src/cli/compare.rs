//! `effnet compare`: this runtime and its baselines, side by side.

use super::Status;
use super::args;
use super::device::{Choice, RunArgs};
use super::inputs;
use super::models::ModelArgs;
use super::output::{self, Out, StdoutError};
use anyhow::{anyhow, bail};
use effnet::compare::python::Script;
use effnet::compare::report::{PublishedTable, Setup, html, tables};
use effnet::compare::serve::{Network, Served, serve};
use effnet::compare::{
    self, Baseline, BurstLength, CompareError, Contestant, DriverCommand, DriverContestant,
    Entrance, Entry, Job, JobOptions, Report, Rounds, SCHEMA, Tools,
};
use effnet::environment::Environment;
use effnet::files::{OutputFile, TemporaryFolder};
use effnet::measure::Sampling;
use effnet::measure::bench::{Options, of_environment};
use effnet::session::{Device, SessionError};
use effnet::weights::Weights;
use std::io::{stdin, stdout};
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Compare with TensorRT, ONNX Runtime and PyTorch: same weights, same inputs, same machine, in turn.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Baselines:
  trtexec                     TensorRT 8, 10 or 11, through its tool, from an exported ONNX file
  onnxruntime                 ONNX Runtime, on the CPU or with CUDA as --device says
  onnxruntime-cpu, onnxruntime-cuda, onnxruntime-tensorrt
                              ONNX Runtime with this provider
  pytorch                     PyTorch, eager; channels last, and amp in fp16
  torch-compile               PyTorch with torch.compile and CUDA graphs
  torch-compile-max-autotune  the same with a longer search for kernels
Without --baselines, those that suit the device are looked for: trtexec on PATH and in the usual
places, modules in the Python of the active virtual environment or on PATH. One that is not there is
a line that says how to get it. One that fails shows its last lines; the exit status is then 1.

The runtimes take turns in short bursts, and a ratio is made of two bursts of one round. Figures
that others have published, from other hardware, are shown apart.

With --json, one object: {\"schema\": \"effnet-compare/1\", \"environment\", \"setup\", \"warnings\",
\"contestants\": [{\"name\", \"status\", ...}], \"published\": {\"source\", \"runtime\", \"rows\"}}. A
contestant of status measured has runtime, device, precision, latency_ms, device_ms, images_per_s,
rounds, latency_ratio, device_ratio, throughput_ratio, accuracy, start_up_ms, start_ups_ms,
build_ms, peak_resident_bytes, gpu_bytes, disk_bytes, disk_file and notes; of status missing,
how_to_get; of status failed, step, message and last_lines. The library's documentation, at
compare::report, says what each is.

Examples:
  effnet compare --model lite0
  effnet compare --model b0 --batch 8 --precision fp16 --html b0.html
  effnet compare --baselines trtexec --trtexec /opt/TensorRT-10.9/bin/trtexec --json
  effnet compare --requirements onnxruntime > onnxruntime.txt
  effnet compare --baselines onnxruntime,pytorch --python .venv/bin/python --images photos/")]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    /// What to compare with, separated by commas [default: those found].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = Baseline::from_str)]
    baselines: Option<Vec<Baseline>>,
    /// TensorRT's trtexec, instead of looking for one.
    #[arg(long, value_name = "FILE")]
    trtexec: Option<PathBuf>,
    /// Python with the modules of the baselines [default: that of the virtual environment, or python3].
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Photographs to compare logits on: files, folders or patterns.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    images: Vec<PathBuf>,
    /// Random images to compare logits on, at least; more fill up the last batch.
    #[arg(long, value_name = "N", default_value = "4", value_parser = count)]
    random: usize,
    /// Export ONNX files with an open batch.
    #[arg(long)]
    dynamic_batch: bool,
    /// Seconds of counted runs for each runtime, over all rounds.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = args::seconds)]
    duration: Duration,
    /// Rounds: in each, every runtime has a burst.
    #[arg(long, value_name = "N", default_value = "5", value_parser = args::iterations)]
    rounds: usize,
    /// Milliseconds of runs before each burst that do not count.
    #[arg(long, value_name = "MS", default_value = "200", value_parser = args::milliseconds)]
    warm_up: u64,
    /// Times to start each runtime, for the start-up time.
    #[arg(long, value_name = "N", default_value = "3", value_parser = args::iterations)]
    starts: usize,
    /// Seconds that one step of a baseline may take, the build of an engine included.
    #[arg(long, value_name = "SECONDS", default_value = "1800", value_parser = args::seconds)]
    timeout: Duration,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Write a report with plots, as one file that needs no other.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print what pip has to install for a baseline in Python (onnxruntime or pytorch), and end.
    #[arg(long, value_name = "NAME", value_parser = script)]
    requirements: Option<Script>,
    /// Answer requests on standard input, as compare's own contestant.
    #[arg(long, hide = true)]
    driver: bool,
}

fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&n| n <= 1000)
        .ok_or_else(|| "expected a whole number, up to 1000".into())
}

fn script(text: &str) -> Result<Script, String> {
    let found = Script::ALL.into_iter().find(|script| script.name() == text);
    found.ok_or_else(|| "expected onnxruntime or pytorch".to_owned())
}

/// Measures everything and prints it.
pub fn run(args: Args, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    if let Some(script) = args.requirements {
        out.bytes(script.requirements().as_bytes())?;
        return Ok(Status::Complete);
    }
    let chosen = args.model.open()?;
    chosen.expect_classifier()?;
    let choice = args.run.choose(chosen.weights.metadata())?;
    if args.driver {
        answer(chosen.weights, &choice)?;
        return Ok(Status::Complete);
    }
    if choice.device == Device::Emulator {
        bail!(
            "--device: the emulator is for tests, and its times mean nothing: expected cuda or cpu"
        );
    }
    if !choice.device.computes_in(choice.compute) {
        return Err(SessionError::Precision { found: choice.compute }.into());
    }
    let page = args.html.as_deref().map(OutputFile::new).transpose()?;
    if chosen.by_default || verbose {
        output::note(&chosen.describe());
    }
    let spinner = output::spinner();
    let report = compare(&args, chosen.weights, &choice, &mut |step| {
        if verbose {
            output::note(&step);
        }
        spinner.set_message(step.to_owned());
        spinner.tick();
    })?;
    spinner.finish_and_clear();
    if args.json {
        out.json(&report)?;
    } else {
        text(&report, out)?;
    }
    if let Some(page) = page {
        page.write(html::report(&report).as_bytes())?;
    }
    Ok(if report.any_failed() { Status::SomeFailed } else { Status::Complete })
}

/// This runtime's side of the comparison, in a process of its own.
fn answer(weights: Weights, choice: &Choice) -> anyhow::Result<()> {
    let options = choice.options(choice.batch);
    let open = || {
        let network = Network::new(weights, options)?;
        let notes = match choice.device {
            Device::Cpu => vec![output::count(choice.threads, "thread")],
            _ => vec![network.device_name(), format!("{} path", choice.path)],
        };
        let (device, precision) = (choice.device.to_string(), choice.compute.to_string());
        Ok(Served { network, device, precision, notes })
    };
    Ok(serve(open, stdin().lock(), stdout().lock()).map_err(StdoutError)?)
}

fn compare(
    args: &Args,
    weights: Weights,
    choice: &Choice,
    progress: &mut dyn FnMut(&str),
) -> anyhow::Result<Report> {
    let gpus = Vec::from_iter(choice.device.gpu());
    // Before anything runs, whose load would be in it.
    let environment = Environment::collect(&gpus);
    let folder = TemporaryFolder::new().map_err(CompareError::Files)?;
    let batch = choice.batch;
    let photographs = photographs(args, &weights, choice)?;
    let elems = choice.size.pixels() * 3;
    let taken = photographs.len() / elems;
    let images = (taken + args.random).max(1).next_multiple_of(batch);
    let random_images = images - taken;
    let mut inputs = photographs;
    inputs.extend(compare::inputs::random_images(random_images, elems, 1));

    let options = JobOptions {
        batch,
        size: choice.size,
        device: choice.device,
        compute: choice.compute,
        threads: choice.threads,
        dynamic_batch: args.dynamic_batch,
        starts: args.starts,
        timeout: args.timeout,
    };
    let job = Rc::new(Job::new(Arc::new(weights), options, &inputs, folder.path())?);
    let rounds = Rounds {
        rounds: args.rounds,
        length: BurstLength {
            warm_up: Duration::from_millis(args.warm_up),
            measured: args.duration / u32::try_from(args.rounds).unwrap_or(u32::MAX),
        },
    };
    let (contestants, absent) = enter(args, &job)?;
    let order: Vec<String> = contestants.iter().map(|c| c.name().to_owned()).collect();
    progress(&format!("comparing {}", order.join(", ")));
    let mut entries = compare::measure(&job, rounds, contestants, progress)?;
    entries.extend(absent);
    Ok(report(environment, args, &job, choice, rounds, [taken, random_images], entries))
}

/// The photographs as inputs, `[n, h, w, 3]`.
fn photographs(args: &Args, weights: &Weights, choice: &Choice) -> anyhow::Result<Vec<f32>> {
    let recipe = weights.metadata().recipe.with_size(choice.size);
    let elems = choice.size.pixels() * 3;
    let mut images = Vec::new();
    for image in inputs::expand(&args.images) {
        let image = image.map_err(|error| anyhow!("--images: {error}"))?.image;
        let name = image.name().unwrap_or_default().to_owned();
        let start = images.len();
        images.resize(start + elems, 0.0);
        image
            .prepare(&recipe, &mut images[start..])
            .map_err(|error| anyhow!("--images: {name}: {error}"))?;
    }
    Ok(images)
}

type Entered = (Vec<Box<dyn Contestant>>, Vec<Entry>);

/// This runtime and the baselines that are here; and those that are not.
fn enter(args: &Args, job: &Rc<Job>) -> anyhow::Result<Entered> {
    // The same arguments again: the driver chooses what this process has chosen.
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    arguments.push("--driver".into());
    let program = std::env::current_exe().map_err(CompareError::Files)?;
    let command = DriverCommand { program, arguments, variables: Vec::new() };
    let load = compare::protocol::Load {
        inputs: job.path(Job::INPUTS_NHWC),
        ..job.load(job.options.device)
    };
    let weights = (job.weights_path(), "packed weights");
    let ours = DriverContestant::new("effnet", job, command, load, weights);
    let mut contestants: Vec<Box<dyn Contestant>> = vec![Box::new(ours)];

    let mut baselines = match &args.baselines {
        Some(baselines) => baselines.clone(),
        None => Baseline::by_default(job.options.device),
    };
    if args.trtexec.is_some() && !baselines.contains(&Baseline::Trtexec) {
        baselines.insert(0, Baseline::Trtexec);
    }
    let tools = Tools { trtexec: args.trtexec.clone(), python: args.python.clone() };
    let mut entrance = Entrance::new(job, tools);
    let mut absent = Vec::new();
    let mut seen = Vec::new();
    for baseline in baselines {
        if seen.contains(&baseline) {
            continue;
        }
        seen.push(baseline);
        match entrance.enter(baseline) {
            Ok(contestant) => contestants.push(contestant),
            Err(outcome) => absent.push(Entry { name: baseline.to_string(), outcome }),
        }
    }
    Ok((contestants, absent))
}

fn report(
    environment: Environment,
    args: &Args,
    job: &Job,
    choice: &Choice,
    rounds: Rounds,
    [photographs, random_images]: [usize; 2],
    contestants: Vec<Entry>,
) -> Report {
    let metadata = job.weights.metadata();
    let options =
        Options { sampling: Sampling::default(), cuda_graph: true, threads: choice.threads };
    let warnings = of_environment(&environment, &options, choice.device == Device::Cpu);
    Report {
        schema: SCHEMA,
        environment,
        warnings,
        setup: Setup {
            weights: job.weights.path().display().to_string(),
            model: metadata.name.clone(),
            variant: metadata.variant.name(),
            weights_precision: metadata.precision,
            size: choice.size,
            batch: choice.batch,
            dynamic_batch: args.dynamic_batch,
            precision: choice.compute.to_string(),
            device: choice.device.to_string(),
            threads: choice.threads,
            rounds: rounds.rounds,
            warm_up_ms: rounds.length.warm_up.as_secs_f64() * 1e3,
            burst_ms: rounds.length.measured.as_secs_f64() * 1e3,
            starts: args.starts,
            photographs,
            random_images,
        },
        contestants,
        published: PublishedTable::new(metadata.variant),
    }
}

fn text(report: &Report, out: &mut Out) -> anyhow::Result<()> {
    out.line(report.heading())?;
    for warning in tables::warnings(report) {
        out.line(format_args!("warning: {warning}"))?;
    }
    out.line("")?;
    for line in tables::measured(report).lines() {
        out.line(line)?;
    }
    for lines in [tables::legend(report), tables::notes(report), tables::absent(report)] {
        if !lines.is_empty() {
            out.line("")?;
        }
        for line in lines {
            out.line(line)?;
        }
    }
    if let Some(table) = tables::published(&report.published) {
        out.line(format_args!("\n{}", tables::published_heading(&report.published)))?;
        for line in table.lines() {
            out.line(line)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_random_image_is_enough_where_there_are_others() {
        assert_eq!((count("0"), count("1000")), (Ok(0), Ok(1000)));
        assert!(count("1001").is_err() && count("-1").is_err());
    }
}
