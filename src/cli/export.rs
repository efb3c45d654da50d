//! `effnet export`: the network in other programs' formats.

use super::Status;
use super::args;
use super::models::ModelArgs;
use super::output::{self, Out};
use effnet::arch::Size;
use effnet::export::onnx::{self, Batch, BatchNorm, OnnxOptions};
use effnet::weights::Precision;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Write the network, with its weights, for other programs.
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  effnet export onnx --model lite0
  effnet export onnx --weights b0.safetensors --precision fp16 --dynamic-batch -o b0.onnx"
)]
pub struct Args {
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, clap::Subcommand)]
enum Format {
    Onnx(OnnxArgs),
}

/// Write an ONNX file: opset 17, weights included.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Input `input` is [N, 3, height, width], f32: an image normalised by the weights' recipe, which is in
the file's metadata under effnet.*. Output `logits` is [N, classes], f32.

FP16 files are strongly typed: maps and weights are f16, and a cast stands beside input and outputs.
Squeeze, pool and classifier are f32 there unless --reductions says otherwise.

Folded batch-norms are part of the convolutions' weights; separate ones are nodes with mean 0,
variance 1 and epsilon 0.

With --json, one object: {\"schema\": \"effnet-export/1\", \"output\", \"output_bytes\", \"format\",
\"opset\", \"variant\", \"precision\", \"reductions\", \"batch_norm\", \"batch\", \"size\": {\"h\", \"w\"},
\"outputs\", \"nodes\", \"initializers\"}; batch is null if it is dynamic.

Without -o the file is NAME.PRECISION.onnx in the current folder, NAME as the weights are called.

Examples:
  effnet export onnx --model lite0
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
    /// File to write, replacing what is there.
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
        Format::Onnx(args) => onnx(args, verbose, out),
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
    };
    let metadata = chosen.weights.metadata();
    let path = args.output.unwrap_or_else(|| {
        // Published names have a publisher before a slash, which no file name can have.
        let name = metadata.name.replace(['/', '\\'], "--");
        format!("{name}.{}.onnx", args.precision).into()
    });
    let written = onnx::write(&path, &chosen.weights, &options)?;
    let place = BATCH_NORMS.iter().find(|(_, place)| *place == options.batch_norm);
    let report = Report {
        schema: "effnet-export/1",
        output: &written.path,
        output_bytes: written.bytes,
        format: "onnx",
        opset: onnx::OPSET,
        variant: metadata.variant.name(),
        precision: options.precision,
        reductions: options.reductions,
        batch_norm: place.map_or("", |(name, _)| name),
        batch: match options.batch {
            Batch::Static(batch) => Some(batch),
            Batch::Dynamic => None,
        },
        size: written.size,
        outputs: if options.features { vec!["logits", "features"] } else { vec!["logits"] },
        nodes: written.nodes,
        initializers: written.initializers,
    };
    if args.json {
        out.json(&report)?;
    } else {
        text(&report, out)?;
    }
    Ok(Status::Complete)
}

fn text(report: &Report<'_>, out: &mut Out) -> anyhow::Result<()> {
    let bytes = output::bytes(report.output_bytes);
    out.line(format_args!("{}: {bytes}", report.output.display()))?;
    let batch = report.batch.map_or("N".to_owned(), |batch| batch.to_string());
    let Size { h, w } = report.size;
    out.line(format_args!(
        "{}, {}, batch-norms {}, opset {}, {}",
        report.variant,
        report.precision,
        report.batch_norm,
        report.opset,
        output::count(report.nodes, "node"),
    ))?;
    out.line(format_args!("input [{batch}, 3, {h}, {w}], outputs: {}", report.outputs.join(", ")))
}
