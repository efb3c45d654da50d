//! `effnet run`: ready tensors in, logits and features out, as NumPy arrays.

mod npy;
mod tensor;

use super::Status;
use super::device::RunArgs;
use super::models::ModelArgs;
use super::output::{self, Out};
use super::{paths, pipes};
use anyhow::{anyhow, bail};
use effnet::arch::Size;
use effnet::files::OutputFile;
use effnet::session::Session;
use serde::Serialize;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tensor::{Input, Layout, Raw};

/// Run the network on ready tensors; write logits and features as .npy.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
FILE holds the images of a run as one tensor, [n, height, width, 3], or [height, width, 3] for one
image; with --layout nchw [n, 3, height, width] or [3, height, width]. It is a .npy, .npz or
.safetensors file, recognised by content, - for one on standard input, or bare numbers with --raw.
Height and width are the input size that the network runs at.

  f32, f16, bf16, f64  what the network takes: an image already normalised
  u8                   pixels, 0 to 255: normalised by the weights' recipe, not resized

The logits go to logits.npy, f32 [n, classes]; those that are no numbers are written as they are,
and reported. Weights without a classifier have none: --features alone is written. An .npy file on
standard output (-o -) leaves the report to standard error.

With --json, one object: {\"schema\": \"effnet-run/1\", \"input\": {\"path\", \"tensor\", \"dtype\",
\"layout\", \"shape\"}, \"weights\", \"device\", \"compute\", \"batch\", \"images\", \"size\",
\"outputs\": [{\"name\", \"path\", \"shape\", \"not_finite\"}]}; not_finite counts numbers. A path that
is not Unicode has \"path_bytes\" beside it: its bytes in base64.

Examples:
  effnet run batch.npy --model lite0
  effnet run inputs.safetensors --tensor x --layout nchw --features features.npy -o logits.npy
  effnet run pixels.bin --raw u8 --size 224 --batch 8 --device cuda
  python -c 'import numpy; print(numpy.load(\"logits.npy\").argmax(1))'")]
pub struct Args {
    /// The images; - for standard input.
    file: PathBuf,
    /// Name of the tensor, where FILE has more than one.
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// FILE is bare little-endian numbers of this type: f32, f16 or u8.
    #[arg(
        long, value_name = "TYPE", value_parser = tensor::raw(), hide_possible_values = true,
        conflicts_with = "tensor"
    )]
    raw: Option<Raw>,
    /// Order of FILE's axes: nhwc or nchw.
    #[arg(
        long, value_name = "ORDER", value_parser = tensor::layout(), default_value = "nhwc",
        hide_possible_values = true
    )]
    layout: Layout,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    /// File for the logits, replacing what is there; - for standard output.
    #[arg(short, long, value_name = "OUT", default_value = "logits.npy")]
    output: PathBuf,
    /// Write the pooled features too: f32 [n, channels].
    #[arg(long, value_name = "OUT")]
    features: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was run, as JSON: schema `effnet-run/1`.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    input: InputReport<'a>,
    weights: String,
    device: String,
    compute: String,
    batch: usize,
    images: usize,
    size: Size,
    outputs: Vec<OutputReport<'a>>,
}

#[derive(Serialize)]
struct InputReport<'a> {
    #[serde(serialize_with = "output::lossy")]
    path: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    tensor: Option<&'a str>,
    dtype: String,
    layout: &'static str,
    shape: &'a [usize],
}

#[derive(Serialize)]
struct OutputReport<'a> {
    name: &'static str,
    #[serde(serialize_with = "output::lossy")]
    path: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    shape: [usize; 2],
    not_finite: usize,
}

/// An output that was asked for, and its rows so far.
struct Rows<'a> {
    name: &'static str,
    path: &'a Path,
    /// None for standard output.
    file: Option<OutputFile>,
    columns: usize,
    values: Vec<f32>,
}

/// Runs every image of the file, then writes the outputs.
pub fn run(args: Args, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    check_outputs(&args)?;
    let chosen = args.model.open()?;
    if chosen.by_default || verbose {
        output::note(&chosen.describe());
    }
    let metadata = chosen.weights.metadata().clone();
    let has_classifier = metadata.classes > 0;
    if !has_classifier && args.features.is_none() {
        bail!(
            "{}: the model has no classifier, so that there are no logits; give --features FILE for \
             its features",
            chosen.weights.path().display()
        );
    }
    let bare = args.raw.map(|raw| (raw, args.run.size().unwrap_or(metadata.recipe.size)));
    pipes::tell(&args.file);
    let input = Input::open(&args.file, args.tensor.as_deref(), bare, args.layout)?;
    if let Some(asked) = args.run.size().filter(|&asked| asked != input.size) {
        bail!(
            "{}: --size is {asked}, and the tensor's images are {}; a ready tensor is not resized: \
             leave --size out",
            args.file.display(),
            input.size
        );
    }
    let images = input.values(&metadata.recipe)?;

    let mut choice = args.run.choose(&metadata)?;
    choice.size = input.size;
    let mut session = Session::new(Arc::new(chosen.weights), choice.options(input.n))?;
    if verbose || !args.json {
        output::note(&format_args!("{}{}", session.description(), choice.reason(verbose)));
    }
    let network = &session.plan().network;
    let logits = Some(&args.output).filter(|_| has_classifier);
    let widths = [("logits", logits, network.classes)].into_iter().chain([(
        "features",
        args.features.as_ref(),
        network.c_head,
    )]);
    let mut rows = Vec::new();
    for (name, path, columns) in widths {
        let Some(path) = path else { continue };
        let file = (!is_stdout(path)).then(|| OutputFile::new(path)).transpose()?;
        rows.push(Rows { name, path, file, columns, values: Vec::new() });
    }
    let bar = output::progress(input.n as u64, "images", true);
    for run in images.chunks(session.batch() * session.input_elems()) {
        let outputs = session.run(run)?;
        for image in 0..outputs.len() {
            for rows in &mut rows {
                let row = match rows.name {
                    "logits" => outputs.logits(image),
                    _ => outputs.features(image),
                };
                rows.values.extend_from_slice(row);
            }
        }
        bar.inc(outputs.len() as u64);
    }
    bar.finish_and_clear();

    let mut reports = Vec::new();
    for Rows { name, path, file, columns, values } in rows {
        let shape = [input.n, columns];
        let not_finite = values.iter().filter(|value| !value.is_finite()).count();
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            output::warning(&format_args!(
                "{name}: {not_finite} of {} are no finite numbers, the first {} of image {} at \
                 index {}",
                values.len(),
                values[index],
                index / columns,
                index % columns,
            ));
        }
        let bytes = npy::encode(&shape, &values);
        match file {
            Some(file) => file.write(&bytes)?,
            None => out.bytes(&bytes)?,
        }
        let path_bytes = paths::path_bytes(path);
        reports.push(OutputReport { name, path, path_bytes, shape, not_finite });
    }
    let report = Report {
        schema: "effnet-run/1",
        input: InputReport {
            path: &args.file,
            path_bytes: paths::path_bytes(&args.file),
            tensor: input.tensor.as_deref(),
            dtype: input.dtype(),
            layout: args.layout.name(),
            shape: &input.shape,
        },
        weights: session.weights().path().display().to_string(),
        device: session.device().to_string(),
        compute: session.compute().to_string(),
        batch: session.batch(),
        images: input.n,
        size: input.size,
        outputs: reports,
    };
    if args.json {
        out.json(&report)?;
    } else if is_stdout(&args.output) {
        output::note(&text(&report));
    } else {
        out.line(text(&report))?;
    }
    Ok(Status::Complete)
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Refuses outputs that would get in each other's way, before anything is read.
fn check_outputs(args: &Args) -> anyhow::Result<()> {
    if args.features.as_deref().is_some_and(is_stdout) {
        bail!("--features -: standard output is for the logits; name a file");
    }
    if is_stdout(&args.output) {
        if args.json {
            bail!(
                "-o - and --json: standard output cannot carry the logits and the report; leave \
                 --json out, or name a file"
            );
        }
        if io::stdout().is_terminal() {
            bail!("-o -: standard output is a terminal; send it to a file or another program");
        }
    }
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    };
    if let Some(features) = &args.features
        && same(features, &args.output)
    {
        bail!("{}: logits and features need a file each", features.display());
    }
    for output in [Some(&args.output), args.features.as_ref()].into_iter().flatten() {
        if !is_stdout(output) && same(output, &args.file) {
            let path = output.display();
            return Err(anyhow!("{path}: this is the input; name another file for the output"));
        }
    }
    Ok(())
}

fn text(report: &Report<'_>) -> String {
    let mut lines = vec![format!(
        "input     {}: {} {:?}, {}",
        report.input.path.display(),
        report.input.dtype,
        report.input.shape,
        report.input.layout,
    )];
    lines.extend(report.outputs.iter().map(|output| {
        let path = match output.path {
            path if is_stdout(path) => "standard output".into(),
            path => path.display().to_string(),
        };
        format!("{:<9} {path}: f32 {:?}", output.name, output.shape)
    }));
    lines.join("\n")
}
