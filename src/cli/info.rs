//! `effnet info`: the family, one variant, or one packed file.

use super::Status;
use super::args;
use super::error::CliError;
use super::output::{self, Align, Out, Table, thousands};
use effnet::arch::{Costs, Network, NetworkGeometry, Padding, Size, Variant};
use effnet::weights::{Metadata, Weights};
use serde::Serialize;
use std::path::Path;

/// Print what a variant is made of, what it costs and how accurate its checkpoints are.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MACs are multiply-accumulates per image (half of what is often called FLOPs). Parameters do not
count batch-norm statistics. Accuracy is what the checkpoint's publisher states, in percent.

Examples:
  effnet info                          every variant
  effnet info b4                       its stages and its public checkpoints
  effnet info b0 --size 320x240 --classes 10
  effnet info --json | jq -r '[.variant, .parameters] | @tsv'
  effnet info weights/efficientnet-lite0.safetensors   what a packed file says about itself")]
pub struct Args {
    /// A variant, or a packed file [default: every variant].
    #[arg(value_name = "VARIANT|FILE")]
    subject: Option<String>,
    /// Input size: HxW, or one number for a square [default: the variant's native size].
    #[arg(long, value_name = "HxW", value_parser = args::size)]
    size: Option<Size>,
    /// Outputs of the classifier.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = args::classes)]
    classes: usize,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// A variant as JSON.
#[derive(Serialize)]
struct VariantReport {
    variant: &'static str,
    width: f64,
    depth: f64,
    native_size: Size,
    size: Size,
    activation: String,
    squeeze_excite: bool,
    c_stem: usize,
    c_head: usize,
    classes: usize,
    blocks: usize,
    stages: Vec<StageReport>,
    parameters: u64,
    macs: u64,
}

/// One stage: `blocks` MBConv blocks, of which the first has the stride.
#[derive(Serialize)]
struct StageReport {
    stage: usize,
    blocks: usize,
    k: usize,
    stride: usize,
    expand: usize,
    c_in: usize,
    c_out: usize,
    output: Size,
}

/// A packed file as JSON.
#[derive(Serialize)]
struct FileReport<'a> {
    path: &'a Path,
    file_bytes: usize,
    tensors: usize,
    metadata: &'a Metadata,
}

/// Writes the report to standard output.
pub fn run(args: Args, out: &mut Out) -> Result<Status, CliError> {
    match &args.subject {
        None => family(&args, out)?,
        Some(subject) => match subject.parse::<Variant>() {
            Ok(variant) => one_variant(&args, variant, out)?,
            Err(error) if !Path::new(subject).exists() => {
                return Err(CliError::VariantOrFile(error));
            }
            Err(_) => file(&args, Path::new(subject), out)?,
        },
    }
    Ok(Status::Complete)
}

fn report(variant: Variant, args: &Args) -> Result<VariantReport, CliError> {
    let network = Network::new(variant, args.classes);
    let size = args.size.unwrap_or_else(|| variant.native());
    // Of the padding conventions, only the frozen one can change an output's size.
    let geometry = NetworkGeometry::new(&network, size, Padding::SameDynamic)?;
    let costs = Costs::new(&network, &geometry);
    let stages = (0..network.stages()).filter_map(|stage| {
        let blocks: Vec<_> = network.blocks.iter().filter(|block| block.stage == stage).collect();
        let (first, last) = (blocks.first()?, blocks.last()?);
        Some(StageReport {
            stage,
            blocks: blocks.len(),
            k: first.k,
            stride: first.stride,
            expand: first.c_mid / first.c_in,
            c_in: first.c_in,
            c_out: first.c_out,
            output: geometry.blocks[last.index].output,
        })
    });
    Ok(VariantReport {
        variant: variant.name(),
        width: variant.width(),
        depth: variant.depth(),
        native_size: variant.native(),
        size,
        activation: variant.activation().to_string(),
        squeeze_excite: variant.has_squeeze_excite(),
        c_stem: network.c_stem,
        c_head: network.c_head,
        classes: network.classes,
        blocks: network.blocks.len(),
        stages: stages.collect(),
        parameters: costs.parameters,
        macs: costs.macs,
    })
}

/// Multiply-accumulates in thousand millions, to three digits behind the point.
pub fn giga(macs: u64) -> String {
    format!("{:.3} G", macs as f64 / 1e9)
}

fn family(args: &Args, out: &mut Out) -> Result<(), CliError> {
    let mut table = Table::new(&[
        ("variant", Align::Left),
        ("input", Align::Left),
        ("blocks", Align::Right),
        ("parameters", Align::Right),
        ("MACs", Align::Right),
    ]);
    for variant in Variant::all() {
        let report = report(variant, args)?;
        if args.json {
            out.json(&report)?;
            continue;
        }
        table.row([
            report.variant.to_owned(),
            report.size.to_string(),
            report.blocks.to_string(),
            thousands(report.parameters),
            giga(report.macs),
        ]);
    }
    if !args.json {
        for line in table.lines() {
            out.line(line)?;
        }
    }
    Ok(())
}

fn one_variant(args: &Args, variant: Variant, out: &mut Out) -> Result<(), CliError> {
    let report = report(variant, args)?;
    if args.json {
        return out.json(&report);
    }
    let squeeze_excite = if report.squeeze_excite { "with" } else { "without" };
    out.line(format_args!(
        "{}: width {}, depth {}, {}, {squeeze_excite} squeeze-excite\n\
         input       {} (native {})\n\
         blocks      {} in {} stages\n\
         parameters  {}\n\
         MACs        {} ({})\n",
        report.variant,
        report.width,
        report.depth,
        report.activation,
        report.size,
        report.native_size,
        report.blocks,
        report.stages.len(),
        thousands(report.parameters),
        thousands(report.macs),
        giga(report.macs),
    ))?;
    let mut table = Table::new(&[
        ("stage", Align::Right),
        ("blocks", Align::Right),
        ("window", Align::Left),
        ("expand", Align::Right),
        ("channels", Align::Right),
        ("output", Align::Left),
    ]);
    for stage in &report.stages {
        table.row([
            stage.stage.to_string(),
            stage.blocks.to_string(),
            format!("{0}x{0}/{1}", stage.k, stage.stride),
            stage.expand.to_string(),
            format!("{} -> {}", stage.c_in, stage.c_out),
            stage.output.to_string(),
        ]);
    }
    for line in table.lines() {
        out.line(line)?;
    }
    out.line(format_args!(
        "\nstem 3 -> {}, head_conv -> {}, classifier -> {}",
        report.c_stem, report.c_head, report.classes
    ))
}

fn file(args: &Args, path: &Path, out: &mut Out) -> Result<(), CliError> {
    let weights = Weights::open(path)?;
    let metadata = weights.metadata();
    if args.json {
        return out.json(&FileReport {
            path,
            file_bytes: weights.file_bytes(),
            tensors: weights.tensors().len(),
            metadata,
        });
    }
    out.line(format_args!(
        "{}: packed weights of {}, {}, {} classes",
        path.display(),
        metadata.variant,
        metadata.precision,
        metadata.classes,
    ))?;
    out.line(format_args!(
        "file          {} in {} tensors",
        output::bytes(weights.file_bytes() as u64),
        weights.tensors().len()
    ))
}
