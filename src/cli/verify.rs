//! `effnet verify`: every launch of a network held against the same step in f64.

use super::Status;
use super::args;
use super::models::ModelArgs;
use super::output::{self, Out};
use super::pipes;
use anyhow::{anyhow, bail};
use effnet::arch::{Size, Variant};
use effnet::device::{CudaDevice, EmulatedDevice};
use effnet::environment::Environment;
use effnet::kernels::{self, Compute};
use effnet::launches::{Input, InputType, LaunchInput, LaunchOptions, LaunchPlan, Path, Placement};
use effnet::pipeline::ImageInput;
use effnet::plan::{Plan, PlanOptions};
use effnet::session::{ChoiceReason, Device, DeviceChoice, DeviceRequest, SessionError};
use effnet::verify::{LaunchCheck, Outcome, Part, Stepwise, Verification};
use effnet::weights::stand_in::{Random, random_weights};
use effnet::weights::{Precision, Weights};
use serde::Serialize;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

/// Find the first wrong layer: hold every kernel's results against the same step in f64.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each launch runs by itself, on the inputs that the device itself has produced, and each value that
it writes is held against the same step computed in f64 from those inputs. The bound of a value
follows from the rounding of that launch alone. Then the logits are held against the CPU executor's.
It stops at the first launch that is off, and tells its name, kernel, tensor, index, and what was
expected.

A line for each block tells the value that came nearest to its bound: the error, the bound, their
ratio, and where it is, as [image, row, column, channel], or [image, tile, channel] of partial sums.

With --json the object has \"schema\": \"effnet-verify/1\", what was verified, \"checks\" with a launch
each, \"logits\", \"fault\" (null where nothing is off) and \"verified\" (null where something is).

Exit status: 0 where everything is within its bounds, 1 where something is off, 2 where nothing
could be run.

Examples:
  effnet verify b0                           on the first usable GPU, else on the emulator
  effnet verify b0 --path layerwise          a kernel per layer: the closest look
  effnet verify b0 --input u8                with the stem that normalises levels
  effnet verify --model lite0 --image cat.jpg --device cuda:1
  effnet verify b4 --device emulator --size 64
  effnet verify b0 --json | jq '.fault'")]
pub struct Args {
    /// Variant to verify with seeded stand-in weights, as `effnet info` lists them [default: the
    /// packed weights that --weights or --model chooses].
    #[arg(value_name = "VARIANT", value_parser = args::variant)]
    #[arg(conflicts_with_all = ["weights", "model"])]
    variant: Option<Variant>,
    #[command(flatten)]
    model: ModelArgs,
    /// Where to run: auto (the first usable CUDA GPU, else the emulator), cuda, cuda:N or emulator.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceRequest,
    /// Which kernels: fused or layerwise.
    #[arg(long, value_name = "PATH", default_value = "fused", value_parser = args::path())]
    path: Path,
    /// In which precision the kernels compute: fp16, fp32 or tf32 [default: that of the weights, fp16
    /// for stand-ins].
    #[arg(long, value_name = "PRECISION", value_parser = args::compute())]
    precision: Option<Compute>,
    /// Input size: HxW, or one number for a square [default: that of the weights' recipe; on the
    /// emulator 64, which takes seconds].
    #[arg(long, value_name = "HxW", value_parser = args::size)]
    size: Option<Size>,
    /// Type of the input: f32, or u8, levels that the stem normalises.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = args::input_type())]
    input: InputType,
    /// Image to run [default: seeded random values].
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    json: bool,
}

/// Side of the input on the emulator, where none is asked for.
const EMULATOR_SIDE: usize = 64;
/// Best classes of a last launch, so that its kernel is verified too.
const TOP_K: usize = 5;

/// What was verified, and what was found, for programs.
#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    model: &'a str,
    variant: &'a str,
    weights: &'a str,
    image: Option<String>,
    device: String,
    device_name: &'a str,
    path: String,
    precision: String,
    /// Type of the input's elements.
    input: String,
    size: Size,
    #[serde(flatten)]
    outcome: &'a Outcome,
    verified: Option<&'a str>,
}

/// Verifies a network and prints what was found.
pub fn run(args: Args, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    // First, so that a build without kernels says that it has none.
    kernels::built()?;
    let (device, reason) = choose(args.device, verbose)?;
    let (weights, origin) = weights(&args, verbose)?;
    let metadata = weights.metadata();
    let compute = args.precision.unwrap_or_else(|| device.default_compute(metadata.precision));
    let size = match (args.size, device) {
        (Some(size), _) => size,
        (None, Device::Emulator) => {
            let native = metadata.recipe.size;
            output::note(&format_args!(
                "size {EMULATOR_SIDE}x{EMULATOR_SIDE}, so that the emulator takes seconds; \
                 --size {native} is the weights' own"
            ));
            Size::square(EMULATOR_SIDE)
        }
        (None, _) => metadata.recipe.size,
    };
    let input = input(&args, &weights, size)?;
    let options =
        PlanOptions { batch: 1, size, padding: metadata.padding, precision: compute.storage() };
    let plan = Plan::new(weights.network(), options)?;
    let launches = LaunchPlan::new(
        &plan,
        LaunchOptions {
            placement: Placement::Apart,
            input: match args.input {
                InputType::F32 => LaunchInput::F32,
                InputType::U8 => LaunchInput::U8(metadata.recipe.normalisation()),
            },
            top_k: TOP_K.min(metadata.classes),
            ..LaunchOptions::new(args.path, compute)
        },
    )?;
    let weights = Arc::new(weights);
    output::note(&format_args!("{device}{reason}"));
    let (mut stepwise, device_name) = open(device, &launches, &weights)?;

    let metadata = weights.metadata();
    let levels = if args.input == InputType::U8 { ", u8 input" } else { "" };
    let subject = format!("{}, {}, {compute}, {size}{levels}", metadata.variant, args.path);
    let verification = Verification {
        plan: &plan,
        launches: &launches,
        weights: &weights,
        input: input.as_input(),
        threads: None,
    };
    let mut lines = Lines { out, part: None, is_json: args.json, failed: Ok(()) };
    lines.heading(&format!("{subject}: {origin}"));
    let bar_wanted = args.json || !std::io::stdout().is_terminal();
    let bar = output::progress(launches.len() as u64, "launches", bar_wanted);
    let outcome = verification.run(stepwise.as_mut(), &mut |check| {
        lines.launch(check);
        bar.inc(1);
    });
    bar.finish_and_clear();
    lines.end();
    lines.failed?;
    let outcome = outcome.map_err(anyhow::Error::from)?;

    let verdict = verdict(&subject, &device_name, &outcome);
    if args.json {
        out.json(&Json {
            schema: "effnet-verify/1",
            model: &metadata.name,
            variant: metadata.variant.name(),
            weights: &origin,
            image: args.image.as_ref().map(|path| path.display().to_string()),
            device: device.to_string(),
            device_name: &device_name,
            path: args.path.to_string(),
            precision: compute.to_string(),
            input: args.input.to_string(),
            size,
            outcome: &outcome,
            verified: outcome.fault.is_none().then_some(verdict.as_str()),
        })?;
    } else {
        summary(&outcome, out)?;
        out.line(&verdict)?;
    }
    Ok(if outcome.fault.is_none() { Status::Complete } else { Status::SomeFailed })
}

/// The weights, and where they are from, for people.
fn weights(args: &Args, verbose: bool) -> anyhow::Result<(Weights, String)> {
    if let Some(variant) = args.variant {
        // As the device has them, so that the CPU executor computes with the same values.
        let precision = args.precision.map_or(Precision::Fp16, Compute::storage);
        return Ok((random_weights(variant, precision)?, "seeded stand-in weights".to_owned()));
    }
    let chosen = args.model.open()?;
    if chosen.by_default || verbose {
        output::note(&chosen.describe());
    }
    let origin = chosen.weights.path().display().to_string();
    Ok((chosen.weights, origin))
}

/// The input of a run, in either type.
enum Image {
    F32(Vec<f32>),
    U8(Vec<u8>),
}

impl Image {
    fn as_input(&self) -> Input<'_> {
        match self {
            Image::F32(values) => values.into(),
            Image::U8(levels) => levels.into(),
        }
    }
}

/// The image, or random values.
fn input(args: &Args, weights: &Weights, size: Size) -> anyhow::Result<Image> {
    let elems = size.pixels() * 3;
    let Some(path) = &args.image else {
        let mut random = Random::new(2);
        return Ok(match args.input {
            InputType::F32 => Image::F32(random.vector(elems)),
            InputType::U8 => Image::U8((0..elems).map(|_| random.bits() as u8).collect()),
        });
    };
    let failed = |error: &dyn std::fmt::Display| anyhow!("--image: {}: {error}", path.display());
    pipes::tell(path);
    let recipe = weights.metadata().recipe.with_size(size);
    let image = ImageInput::file(path);
    match args.input {
        InputType::F32 => {
            let mut values = vec![0.0; elems];
            image.prepare(&recipe, &mut values).map_err(|error| failed(&error))?;
            Ok(Image::F32(values))
        }
        InputType::U8 => {
            let mut levels = vec![0; elems];
            image.prepare_levels(&recipe, &mut levels).map_err(|error| failed(&error))?;
            Ok(Image::U8(levels))
        }
    }
}

/// A device that has launches, and why it was taken, for people; empty where it was asked for.
fn choose(request: DeviceRequest, verbose: bool) -> anyhow::Result<(Device, String)> {
    let DeviceChoice { device, reason } = request.choose();
    match (device, reason) {
        (Device::Cpu, ChoiceReason::AskedFor) => {
            bail!("--device: the CPU has no launches to verify; use cuda, cuda:N or emulator")
        }
        (device, ChoiceReason::AskedFor) => Ok((device, String::new())),
        (Device::Cpu, reason) => {
            let reason = match verbose {
                true => reason.to_string(),
                false => "no GPU can be used, --verbose says why".to_owned(),
            };
            Ok((Device::Emulator, format!(" (auto: {reason}; and the CPU has no launches)")))
        }
        (device, reason) => Ok((device, format!(" (auto: {reason})"))),
    }
}

/// The device, and what it is: card and driver, or that it is no GPU.
fn open(
    device: Device,
    launches: &LaunchPlan,
    weights: &Weights,
) -> anyhow::Result<(Box<dyn Stepwise>, String)> {
    Ok(match device {
        Device::Cuda(ordinal) => {
            let device = CudaDevice::new(ordinal, launches.clone(), weights);
            let device = device.map_err(SessionError::from)?;
            let environment = Environment::collect(&[ordinal]);
            let gpu = environment.gpus.first();
            let driver = gpu.and_then(|gpu| gpu.state.driver.as_ref());
            let cuda = gpu.and_then(|gpu| gpu.cuda.as_ref());
            let driver = match (driver, cuda) {
                (Some(driver), Some(cuda)) => format!("driver {driver}, CUDA {cuda}"),
                (None, Some(cuda)) => format!("driver of CUDA {cuda}"),
                (driver, None) => format!("driver {}", driver.map_or("unknown", String::as_str)),
            };
            let name = format!("cuda:{ordinal}, {}, {driver}", device.name());
            (Box::new(device), name)
        }
        Device::Emulator | Device::Cpu => {
            let device = EmulatedDevice::new(launches.clone(), weights);
            let device = device.map_err(SessionError::from)?;
            (Box::new(device), "the PTX emulator, which is no GPU".to_owned())
        }
    })
}

/// A line for each part of the network, printed when its last launch is done.
struct Lines<'a> {
    out: &'a mut Out,
    part: Option<Part>,
    is_json: bool,
    failed: anyhow::Result<()>,
}

impl Lines<'_> {
    fn line(&mut self, line: &str) {
        if self.failed.is_ok() && !self.is_json {
            self.failed = self.out.line(line).and_then(|()| self.out.flush());
        }
    }

    fn heading(&mut self, subject: &str) {
        self.line(subject);
        self.line("");
        self.line("part      launches    error    bound  ratio  nearest to its bound");
    }

    fn launch(&mut self, check: &LaunchCheck) {
        match &mut self.part {
            Some(part) if part.name == check.part => part.add(check),
            _ => {
                self.end();
                self.part = Some(Part::of(check));
            }
        }
    }

    fn end(&mut self) {
        if let Some(Part { name, launches, worst, .. }) = self.part.take() {
            self.line(&format!(
                "{name:<8}  {launches:>8}  {:>7.1e}  {:>7.1e}  {:>5.3}  {}",
                worst.error(),
                worst.bound,
                worst.ratio,
                worst.place()
            ));
        }
    }
}

/// What comes after the parts.
fn summary(outcome: &Outcome, out: &mut Out) -> anyhow::Result<()> {
    if let Some(logits) = &outcome.logits {
        out.line(format_args!(
            "logits    off the CPU executor's by {:.1e} of the largest, at most {:.1e} by rounding: \
             class {}",
            logits.difference, logits.bound, logits.class
        ))?;
    }
    out.line("")?;
    if let Some(fault) = &outcome.fault {
        out.line(fault)?;
        out.line("")?;
    }
    let (done, all) = (outcome.checks.len(), outcome.launches);
    let values = output::thousands(outcome.values() as u64);
    out.line(format_args!("{done} of {all} launches, {values} values: each within its bound"))
}

/// The last line: what was verified on which device, or what is off.
fn verdict(subject: &str, device: &str, outcome: &Outcome) -> String {
    match &outcome.fault {
        None => format!("verified: {subject} on {device}"),
        Some(fault) => {
            let what = fault.launch().map_or("the logits", |(launch, _)| launch);
            format!("off: {subject} on {device}: {what}")
        }
    }
}
