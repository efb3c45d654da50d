//! `effnet export`: the network in other programs' formats.

use super::Status;
use super::args;
use super::models::ModelArgs;
use super::output::{self, Out};
use anyhow::bail;
use effnet::arch::Size;
use effnet::export::onnx::{self, Batch, BatchNorm, OnnxOptions};
use effnet::weights::Precision;
use serde::Serialize;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Write the network, with its weights, for other programs.
#[derive(Debug, clap::Args)]
#[command(
    subcommand_value_name = "FORMAT",
    subcommand_help_heading = "Formats",
    after_help = "\
Examples:
  effnet export onnx --model lite0
  effnet export onnx --weights b0.safetensors --precision fp16 --dynamic-batch -o b0.onnx"
)]
pub struct Args {
    #[command(subcommand)]
    format: Option<Format>,
}

#[derive(Debug, clap::Subcommand)]
enum Format {
    Onnx(OnnxArgs),
}

/// Write an ONNX file, weights included.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Input `input` is [N, 3, height, width], f32: an image normalised by the weights' recipe, which is in
the file's metadata under effnet.*. Output `logits` is [N, classes], f32;
of weights without a classifier, `features` is the only output.

FP16 files are strongly typed: maps and weights are f16, and a cast stands beside input and outputs.
Squeeze, pool and classifier are f32 there unless --reductions says otherwise.

Folded batch-norms are part of the convolutions' weights; separate ones are nodes with mean 0,
variance 1 and epsilon 0.

With --json, one object: {\"schema\": \"effnet-export/1\", \"output\", \"output_bytes\", \"format\",
\"opset\", \"variant\", \"precision\", \"reductions\", \"batch_norm\", \"batch\", \"size\": {\"h\", \"w\"},
\"outputs\", \"nodes\", \"initializers\"}; batch is null if it is dynamic.

Without -o the file is NAME.PRECISION.onnx in the current folder, NAME as the weights are called.
With -o - the file goes to standard output, and the report to standard error.

TensorRT 8.0 reads opset 13, 8.6 reads 17; the same nodes are written for each.

Examples:
  effnet export onnx --model lite0
  effnet export onnx --model lite0 --opset 13 -o - | ssh box 'cat > lite0.onnx'
  effnet export onnx --weights b0.safetensors --precision fp16 --batch 8
  effnet export onnx --precision fp16 --dynamic-batch --features -o features.onnx")]
struct OnnxArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Type of maps and weights: fp32 or fp16.
    #[arg(
        long, value_name = "PRECISION", default_value = "fp32", hide_possible_values = true,
        value_parser = args::precision()
    )]
    precision: Precision,
    /// Images per run.
    #[arg(long, value_name = "N", default_value = "1", value_parser = args::batch)]
    batch: usize,
    /// Leave the number of images open: the side is called N.
    #[arg(long, conflicts_with = "batch")]
    dynamic_batch: bool,
    /// Input size: HxW, or one number for a square [default: that of the weights' recipe].
    #[arg(long, value_name = "HxW", value_parser = args::size)]
    size: Option<Size>,
    /// Batch-norms: folded into the weights, or separate.
    #[arg(
        long, value_name = "WHERE", default_value = "folded", hide_possible_values = true,
        value_parser = batch_norm()
    )]
    batch_norm: BatchNorm,
    /// Type of squeeze, pool and classifier: fp32 or fp16.
    #[arg(
        long, value_name = "PRECISION", default_value = "fp32", hide_possible_values = true,
        value_parser = args::precision()
    )]
    reductions: Precision,
    /// Give the pooled features too, as the output `features`: [N, channels], f32.
    #[arg(long)]
    features: bool,
    /// Version of the operators: 13 to 21.
    #[arg(
        long, value_name = "N", default_value_t = onnx::OPSET,
        value_parser = clap::value_parser!(i64).range(onnx::OPSETS)
    )]
    opset: i64,
    /// File to write, replacing what is there; - for standard output.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

const BATCH_NORMS: [(&str, BatchNorm); 2] =
    [("folded", BatchNorm::Folded), ("separate", BatchNorm::Separate)];

fn batch_norm() -> impl clap::builder::TypedValueParser<Value = BatchNorm> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    PossibleValuesParser::new(BATCH_NORMS.map(|(name, _)| name)).try_map(|name| {
        let found = BATCH_NORMS.iter().find(|(known, _)| *known == name);
        found.map(|(_, place)| *place).ok_or("unknown place")
    })
}

/// What was written, as JSON: schema `effnet-export/1`.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    #[serde(serialize_with = "output::lossy")]
    output: &'a Path,
    output_bytes: u64,
    format: &'static str,
    opset: i64,
    variant: &'static str,
    precision: Precision,
    reductions: Precision,
    batch_norm: &'static str,
    batch: Option<usize>,
    size: Size,
    outputs: Vec<&'static str>,
    nodes: usize,
    initializers: usize,
}

/// Exports, and prints what was written.
pub fn run(args: Args, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    match args.format {
        Some(Format::Onnx(args)) => onnx(args, verbose, out),
        None => bail!("which format? expected `effnet export onnx`, found none"),
    }
}

fn onnx(args: OnnxArgs, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    let chosen = args.model.open()?;
    if chosen.by_default || verbose {
        output::note(&chosen.describe());
    }
    let options = OnnxOptions {
        precision: args.precision,
        batch: if args.dynamic_batch { Batch::Dynamic } else { Batch::Static(args.batch) },
        size: args.size,
        batch_norm: args.batch_norm,
        reductions: args.reductions,
        features: args.features,
        opset: args.opset,
    };
    let to_stdout = args.output.as_deref().is_some_and(|path| path == Path::new("-"));
    if to_stdout && args.json {
        bail!(
            "-o - and --json: standard output cannot carry the file and the report; leave --json \
             out, or name a file"
        );
    }
    if to_stdout && std::io::stdout().is_terminal() {
        bail!("-o -: standard output is a terminal; send it to a file or another program");
    }
    let metadata = chosen.weights.metadata();
    let path = args.output.unwrap_or_else(|| {
        // Published names have a publisher before a slash, which no file name can have.
        let name = metadata.name.replace(['/', '\\'], "--");
        format!("{name}.{}.onnx", args.precision).into()
    });
    let written = if to_stdout {
        let (bytes, written) = onnx::encoded(&path, &chosen.weights, &options)?;
        out.bytes(&bytes)?;
        written
    } else {
        onnx::write(&path, &chosen.weights, &options)?
    };
    let place = BATCH_NORMS.iter().find(|(_, place)| *place == options.batch_norm);
    let report = Report {
        schema: "effnet-export/1",
        output: &written.path,
        output_bytes: written.bytes,
        format: "onnx",
        opset: options.opset,
        variant: metadata.variant.name(),
        precision: options.precision,
        reductions: options.reductions,
        batch_norm: place.map_or("", |(name, _)| name),
        batch: match options.batch {
            Batch::Static(batch) => Some(batch),
            Batch::Dynamic => None,
        },
        size: written.size,
        outputs: options.outputs(&chosen.weights).to_vec(),
        nodes: written.nodes,
        initializers: written.initializers,
    };
    if args.json {
        out.json(&report)?;
    } else if to_stdout {
        output::note(&text(&report));
    } else {
        out.line(text(&report))?;
    }
    Ok(Status::Complete)
}

fn text(report: &Report<'_>) -> String {
    let path = match report.output {
        path if path == Path::new("-") => "standard output".into(),
        path => path.display().to_string(),
    };
    let batch = report.batch.map_or("N".to_owned(), |batch| batch.to_string());
    let Size { h, w } = report.size;
    format!(
        "{path}: {}\n{}, {}, batch-norms {}, opset {}, {}\n\
         input [{batch}, 3, {h}, {w}], outputs: {}",
        output::bytes(report.output_bytes),
        report.variant,
        report.precision,
        report.batch_norm,
        report.opset,
        output::count(report.nodes, "node"),
        report.outputs.join(", ")
    )
}
