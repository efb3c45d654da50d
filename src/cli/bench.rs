//! `effnet bench`: latency and throughput.

use super::Status;
use super::args;
use super::device::{device, said};
use super::models::ModelArgs;
use super::output::{self, Out, Table};
use super::pipes;
use anyhow::{anyhow, bail};
use effnet::arch::{Size, Variant};
use effnet::environment::Environment;
use effnet::files::OutputFile;
use effnet::kernels::Compute;
use effnet::launches::{InputType, Path};
use effnet::measure::Sampling;
use effnet::measure::bench::{
    Comparison, Config, Document, Key, Options, Row, SCHEMA, measure, of_environment, of_row, page,
    read, tables,
};
use effnet::session::{Device, DeviceChoice, DeviceRequest};
use effnet::weights::stand_in::random_weights;
use effnet::weights::{Precision, Weights};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Measure latency and throughput, in trtexec's words.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every combination of the lists is measured. The weights are random, since times do not depend on
their values; with --weights or --model they are those of a file, and so is the variant.

In trtexec's words, each over all runs after the warm-up:
  Enqueue      the host's time to enqueue the launches
  H2D          the copy of the input to the device, from memory that the device reads directly
  GPU Compute  the launches
  D2H          the copy of the outputs to the host
  Latency      the three together on the device's clock; on the CPU, the time of the call
  Throughput   images by the time that passed on the host; on a GPU of as many runs more, submitted
               while the one before is under way (with --graph off and on the CPU, of the same runs)
CV is the coefficient of variation, the standard deviation by the mean. The 99th percentile is the
largest time left without the largest 1 %, rounded down, as trtexec has it; so are the others.

Inputs are taken in turn from more memory than the L2 holds, so that no run finds its own
in a cache. Runs go on until --duration has passed and --iterations are done.

A configuration that fails is reported, and the others go on; the exit status is then 1.

With --json the document has \"schema\": \"effnet-bench/1\", the environment, the options, and for
each configuration a row: variant, size, batch, precision, path, device, input, weights, result or
error, and warnings. Times are in microseconds. --save writes the same document to a file. --against
reads one, and shows the ratios of the medians, now by then: a latency below 1.000 is faster.

Examples:
  effnet bench b0
  effnet bench b0,b4 --batch 1,8,32,128 --precision fp16,fp32 --html report.html
  effnet bench lite0 --device cpu --threads 4 --duration 1
  effnet bench b0 --graph off
  effnet bench b0 --batch 1,8 --save before.json
  effnet bench b0 --batch 1,8 --against before.json
  effnet bench b0 --json | jq '.rows[] | [.batch, .result.latency_us.median]'")]
pub struct Args {
    /// Variants, as `effnet info` lists them [default: b0].
    #[arg(value_name = "VARIANT", value_delimiter = ',', value_parser = args::variant)]
    variants: Vec<Variant>,
    /// The same as VARIANT.
    #[arg(long = "variant", value_name = "LIST", value_delimiter = ',', value_parser = args::variant)]
    more_variants: Vec<Variant>,
    /// Packed weights, instead of a variant with random ones.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["variants", "more_variants", "model"])]
    weights: Option<PathBuf>,
    /// Name of packed weights, as for `effnet classify`, instead of a variant with random ones.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["variants", "more_variants"])]
    model: Option<String>,
    /// Images per run.
    #[arg(long, value_name = "LIST", default_value = "1", value_delimiter = ',',
          value_parser = args::batch)]
    batch: Vec<usize>,
    /// Precisions: fp16, fp32 or tf32 [default: that of the weights; fp16 for random ones]. The CPU
    /// computes in fp32.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = args::compute())]
    precision: Vec<Compute>,
    /// Which kernels a GPU runs: fused or layerwise.
    #[arg(long, value_name = "LIST", default_value = "fused", value_delimiter = ',',
          value_parser = args::path())]
    path: Vec<Path>,
    /// Type of the input: u8, levels that the network normalises, as `effnet classify` gives them to a
    /// GPU, or f32, normalised [default: u8 on a GPU, f32 on the CPU].
    #[arg(long, value_name = "TYPE", value_parser = args::input_type())]
    input: Option<InputType>,
    /// Where to run: auto (the first usable CUDA GPU, else the CPU), cuda, cuda:N or cpu.
    #[arg(long, value_name = "LIST", default_value = "auto", value_delimiter = ',',
          value_parser = device)]
    device: Vec<DeviceRequest>,
    /// Input size: HxW, or one number for a square [default: the variant's native size, or that of the
    /// weights' recipe].
    #[arg(long, value_name = "HxW", value_parser = args::size)]
    size: Option<Size>,
    /// Whether a GPU runs the launches as one CUDA graph: on or off.
    #[arg(long, value_name = "on|off", default_value = "on", action = clap::ArgAction::Set,
          value_parser = args::on_off())]
    graph: bool,
    /// Threads of the CPU [default: one per core].
    #[arg(long, value_name = "N", value_parser = args::threads)]
    threads: Option<usize>,
    /// Time before the runs that count; one run is made at least.
    #[arg(long, value_name = "MS", default_value = "200", value_parser = args::milliseconds)]
    warm_up: u64,
    /// Least time for the runs of a configuration, and on a GPU as much again for its throughput.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = args::seconds)]
    duration: Duration,
    /// Least number of runs of a configuration.
    #[arg(long, value_name = "N", default_value = "10", value_parser = args::iterations)]
    iterations: usize,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Write the JSON document to a file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with the document in a file that --save wrote.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Write a report with plots to a file, as one HTML page that needs nothing else.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Weights that can be had in each precision.
enum Subject {
    /// Random ones.
    Random(Variant),
    /// Those of a file.
    File(Arc<Weights>),
}

/// Measures everything that is asked for.
pub fn run(args: Args, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    // What can be wrong is found out before anything is measured.
    args.against.iter().for_each(|path| pipes::tell(path));
    let against = args.against.as_deref().map(read).transpose();
    let against = against.map_err(|error| anyhow!("--against {error}"))?;
    let save = args.save.as_deref().map(OutputFile::new).transpose()?;
    let html = args.html.as_deref().map(OutputFile::new).transpose()?;
    let devices = args.devices(verbose)?;
    let subjects = args.subjects()?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let options = Options {
        sampling: Sampling {
            warm_up_ms: args.warm_up,
            min_duration_ms: args.duration.as_millis().max(1) as u64,
            min_iterations: args.iterations,
            ..Sampling::default()
        },
        cuda_graph: args.graph,
        threads: args.threads.unwrap_or(cores),
    };
    let plan: Vec<(&Subject, Vec<Config>)> =
        subjects.iter().map(|subject| (subject, args.configs(subject, &devices))).collect();
    let total = plan.iter().map(|(_, configs)| configs.len()).sum::<usize>();
    if total == 0 {
        let found: Vec<String> = args.precision.iter().map(ToString::to_string).collect();
        bail!(
            "--precision: the CPU computes in fp32, found {}: leave the precision out, or run on \
             another device",
            found.join(", ")
        );
    }

    let gpus: Vec<usize> = devices.iter().filter_map(|device| device.gpu()).collect();
    let environment = Environment::collect(&gpus);
    let warnings = of_environment(&environment, &options, devices.contains(&Device::Cpu));
    let mut document = Document {
        schema: SCHEMA.to_owned(),
        environment,
        options,
        rows: Vec::new(),
        warnings,
        against: None,
    };

    let bar = output::progress(total as u64, "configurations", true);
    for (subject, configs) in plan {
        let mut random = None;
        for config in configs {
            let row = row(subject, &config, &options, &mut random)?;
            if let Some(error) = row.error.as_ref().filter(|_| !args.json) {
                bar.suspend(|| output::error(&format_args!("{}: {error}", row.key)));
            } else if let Some(result) = row.result.as_ref().filter(|_| verbose) {
                let said = format_args!(
                    "{}: latency {:.1} us, {:.1} images/s",
                    row.key, result.latency_us.median, result.images_per_s
                );
                bar.suspend(|| output::note(&said));
            }
            document.rows.push(row);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();

    if let (Some(then), Some(file)) = (&against, &args.against) {
        document.against = Some(Comparison::new(&document, then, file));
    }
    if args.json {
        out.json(&document)?;
    } else {
        text(&document, out)?;
    }
    out.flush()?;
    if let Some(file) = save {
        let text = serde_json::to_string(&document).expect("reports have only plain fields");
        file.write(format!("{text}\n").as_bytes())?;
    }
    if let Some(file) = html {
        file.write(page::page(&document).as_bytes())?;
    }
    let failed = document.rows.iter().any(|row| row.error.is_some());
    Ok(if failed { Status::SomeFailed } else { Status::Complete })
}

/// Prints tables, and says on standard error what is doubtful.
fn text(document: &Document, out: &mut Out) -> anyhow::Result<()> {
    let lines = |table: &Table, out: &mut Out| table.lines().try_for_each(|line| out.line(line));
    let fields = document.environment.fields();
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in &fields {
        out.line(format_args!("{name:<width$}  {value}"))?;
    }
    out.line(format_args!("\n{}", tables::LATENCY))?;
    lines(&tables::latency(document), out)?;
    if let Some(table) = tables::parts(document) {
        out.line(format_args!("\n{}", tables::PARTS))?;
        lines(&table, out)?;
    }
    out.line(format_args!("\n{}", tables::units(document)))?;
    for sentence in tables::against(document) {
        out.line(sentence)?;
    }
    out.flush()?;
    for warning in tables::warnings(document) {
        output::warning(&warning);
    }
    Ok(())
}

/// Measures a configuration. Random weights are made once for each type of weights.
fn row(
    subject: &Subject,
    config: &Config,
    options: &Options,
    random: &mut Option<(Precision, Arc<Weights>)>,
) -> anyhow::Result<Row> {
    let weights = match subject {
        Subject::File(weights) => weights.clone(),
        Subject::Random(variant) => {
            let precision = config.compute.storage();
            match random {
                Some((made, weights)) if *made == precision => weights.clone(),
                _ => {
                    let weights = Arc::new(random_weights(*variant, precision)?);
                    *random = Some((precision, weights.clone()));
                    weights
                }
            }
        }
    };
    let name = match subject {
        Subject::File(weights) => weights.path().display().to_string(),
        Subject::Random(_) => "random".to_owned(),
    };
    let (result, error) = match measure(&weights, config, options) {
        Ok(result) => (Some(result), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let key = Key::new(weights.metadata().variant.name(), config);
    let mut row = Row { key, weights: name, result, error, warnings: Vec::new() };
    row.warnings = of_row(&row, options);
    Ok(row)
}

impl Args {
    /// The devices, each once.
    fn devices(&self, verbose: bool) -> anyhow::Result<Vec<Device>> {
        let mut devices = Vec::new();
        for request in &self.device {
            let device = match *request {
                DeviceRequest::This(Device::Emulator) => bail!(
                    "--device: the emulator has no times, its instructions take none: expected auto, \
                     cuda, cuda:N or cpu; `effnet profile --device emulator` counts instructions, \
                     bytes and conflicts of every launch"
                ),
                DeviceRequest::This(device) => device,
                DeviceRequest::Auto => {
                    let DeviceChoice { device, reason } = Device::auto();
                    if verbose || !self.json {
                        let name = match device {
                            Device::Cpu => "CPU".to_owned(),
                            device => device.to_string(),
                        };
                        output::note(&format_args!("{name}{}", said(&reason, verbose)));
                    }
                    device
                }
            };
            if !devices.contains(&device) {
                devices.push(device);
            }
        }
        Ok(devices)
    }

    fn subjects(&self) -> anyhow::Result<Vec<Subject>> {
        if self.weights.is_some() || self.model.is_some() {
            let chosen = ModelArgs::new(self.weights.clone(), self.model.clone()).open()?;
            return Ok(vec![Subject::File(Arc::new(chosen.weights))]);
        }
        let variants = once(self.variants.iter().chain(&self.more_variants));
        let variants = if variants.is_empty() { vec![Variant::B0] } else { variants };
        Ok(variants.into_iter().map(Subject::Random).collect())
    }

    /// The combinations that devices run, those of one type of weights together.
    fn configs(&self, subject: &Subject, devices: &[Device]) -> Vec<Config> {
        let (native, stored) = match subject {
            Subject::Random(variant) => (variant.native(), Precision::Fp16),
            Subject::File(weights) => {
                (weights.metadata().recipe.size, weights.metadata().precision)
            }
        };
        let size = self.size.unwrap_or(native);
        let (paths, batches) = (once(&self.path), once(&self.batch));
        let mut list = Vec::new();
        for &device in devices {
            let on_cpu = device == Device::Cpu;
            let usual = if on_cpu { InputType::F32 } else { InputType::U8 };
            let input = self.input.unwrap_or(usual);
            let mut computes = once(&self.precision);
            if computes.is_empty() {
                computes.push(device.default_compute(stored));
            }
            let paths: Vec<Option<Path>> =
                if on_cpu { vec![None] } else { paths.iter().copied().map(Some).collect() };
            for compute in computes {
                if !device.computes_in(compute) {
                    continue;
                }
                for &path in &paths {
                    for &batch in &batches {
                        list.push(Config { device, path, compute, batch, size, input });
                    }
                }
            }
        }
        list.sort_by_key(|config| config.compute.storage() == Precision::Fp32);
        list
    }
}

/// The first of equal values, in order.
fn once<'a, T: Copy + PartialEq + 'a>(values: impl IntoIterator<Item = &'a T>) -> Vec<T> {
    let mut list = Vec::new();
    for value in values {
        if !list.contains(value) {
            list.push(*value);
        }
    }
    list
}
