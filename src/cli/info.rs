//! `effnet info`: the family, one variant, or one packed file.

use super::Status;
use super::args;
use super::output::{self, Align, Out, Table, thousands};
use anyhow::{anyhow, bail};
use effnet::arch::{Costs, Network, NetworkGeometry, Padding, Size, Variant};
use effnet::image::{Framing, Interpolation, ShortSide};
use effnet::weights::{
    CatalogueEntry, Labels, Metadata, OutputActivation, Weights, catalogue, settings,
};
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
  effnet info weights/mine.fp16.safetensors   what a packed file says about itself")]
pub struct Args {
    /// A variant, or a packed file [default: every variant].
    #[arg(value_name = "VARIANT|FILE")]
    subject: Option<String>,
    /// Input size: HxW, or one number for a square [default: the variant's native size].
    #[arg(long, value_name = "HxW", value_parser = args::size)]
    size: Option<Size>,
    /// Outputs of the classifier [default: 1000].
    #[arg(long, value_name = "N", value_parser = args::classes)]
    classes: Option<usize>,
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
    published: Vec<CheckpointReport>,
}

/// A public checkpoint of a variant; accuracies on ImageNet-1k's validation set, in percent.
#[derive(Serialize)]
struct CheckpointReport {
    name: &'static str,
    size: Size,
    top1: Option<f64>,
    top5: Option<f64>,
    license: &'static str,
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
    /// As recorded, or the usual one of a file that records none.
    activation: OutputActivation,
    metadata: &'a Metadata,
}

/// Writes the report to standard output.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    match &args.subject {
        None => family(&args, out)?,
        Some(subject) => match subject.parse::<Variant>() {
            Ok(variant) => one_variant(&args, variant, out)?,
            Err(error) if !Path::new(subject).exists() => {
                bail!("{error}; nor is there a file of this name");
            }
            Err(_) if args.size.is_some() || args.classes.is_some() => {
                bail!(
                    "--size and --classes are for variants: {subject} is a file, and a packed file's \
                     size and classes are recorded in it; leave them out"
                );
            }
            Err(_) => file(&args, Path::new(subject), out)?,
        },
    }
    Ok(Status::Complete)
}

fn report(variant: Variant, args: &Args) -> anyhow::Result<VariantReport> {
    let network = Network::new(variant, args.classes.unwrap_or(effnet::labels::imagenet1k().len()));
    let size = args.size.unwrap_or_else(|| variant.native());
    // Of the padding conventions, only the frozen one can change an output's size.
    let geometry = NetworkGeometry::new(&network, size, Padding::SameDynamic)
        .map_err(|error| anyhow!("--size: {error}"))?;
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
        published: published(variant),
    })
}

/// The catalogue's checkpoints of a variant, the most accurate first.
fn published(variant: Variant) -> Vec<CheckpointReport> {
    let of_variant = catalogue().iter().filter(|entry| entry.variant == variant);
    let mut list: Vec<_> = of_variant.map(checkpoint).collect();
    list.sort_by(|a, b| b.top1.unwrap_or(0.0).total_cmp(&a.top1.unwrap_or(0.0)));
    list
}

fn checkpoint(entry: &'static CatalogueEntry) -> CheckpointReport {
    let usual = settings(entry.family, entry.variant).recipe.size;
    CheckpointReport {
        name: &entry.name,
        size: entry.recipe.size.unwrap_or(usual),
        top1: entry.top1,
        top5: entry.top5,
        license: &entry.license,
    }
}

/// An accuracy in percent, where it is known.
fn percent(accuracy: Option<f64>) -> String {
    accuracy.map(|percent| format!("{percent:.3}")).unwrap_or_default()
}

/// Multiply-accumulates in thousand millions, to three digits behind the point.
pub fn giga(macs: u64) -> String {
    format!("{:.3} G", macs as f64 / 1e9)
}

/// A checkpoint's name, and the size at which its accuracy holds.
fn at_size(checkpoint: &CheckpointReport) -> String {
    format!("{} at {}", checkpoint.name, checkpoint.size)
}

fn family(args: &Args, out: &mut Out) -> anyhow::Result<()> {
    let mut table = Table::new(&[
        ("variant", Align::Left),
        ("input", Align::Left),
        ("blocks", Align::Right),
        ("parameters", Align::Right),
        ("MACs", Align::Right),
        ("top-1", Align::Right),
        ("top-5", Align::Right),
        ("most accurate checkpoint", Align::Left),
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
            percent(report.published.first().and_then(|best| best.top1)),
            percent(report.published.first().and_then(|best| best.top5)),
            report.published.first().map(at_size).unwrap_or_default(),
        ]);
    }
    if !args.json {
        for line in table.lines() {
            out.line(line)?;
        }
    }
    Ok(())
}

fn one_variant(args: &Args, variant: Variant, out: &mut Out) -> anyhow::Result<()> {
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
    ))?;
    if report.published.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let mut table = Table::new(&[
        ("published checkpoint", Align::Left),
        ("input", Align::Left),
        ("top-1", Align::Right),
        ("top-5", Align::Right),
        ("licence", Align::Left),
    ]);
    for checkpoint in &report.published {
        table.row([
            checkpoint.name.to_owned(),
            checkpoint.size.to_string(),
            percent(checkpoint.top1),
            percent(checkpoint.top5),
            checkpoint.license.to_owned(),
        ]);
    }
    for line in table.lines() {
        out.line(line)?;
    }
    Ok(())
}

fn file(args: &Args, path: &Path, out: &mut Out) -> anyhow::Result<()> {
    let weights = Weights::open(path)?;
    let metadata = weights.metadata();
    if args.json {
        return out.json(&FileReport {
            path,
            file_bytes: weights.file_bytes(),
            tensors: weights.tensors().len(),
            activation: metadata.activation(),
            metadata,
        });
    }
    out.line(format_args!(
        "{}: {} in {} tensors",
        path.display(),
        output::bytes(weights.file_bytes() as u64),
        weights.tensors().len(),
    ))?;
    self::metadata(metadata, out)
}

/// Prints what a packed file says about itself.
pub fn metadata(metadata: &Metadata, out: &mut Out) -> anyhow::Result<()> {
    let recipe = &metadata.recipe;
    let interpolation = match recipe.interpolation {
        Interpolation::PillowBicubic => "Pillow bicubic",
        Interpolation::PillowBilinear => "Pillow bilinear",
        Interpolation::OpencvBilinear => "OpenCV bilinear",
        Interpolation::TensorflowBicubic => "TensorFlow bicubic",
    };
    let framing = match recipe.framing {
        Framing::ResizeThenCrop { short_side: ShortSide::Margin(margin), .. } => {
            format!("short side resized to the crop's plus {margin}, centre crop")
        }
        Framing::ResizeThenCrop { short_side: ShortSide::CropPct(pct), .. } => {
            format!("short side resized to the crop's / {pct}, centre crop")
        }
        Framing::Squash { crop_pct } => {
            format!("both sides resized to the crop's / {crop_pct}, centre crop")
        }
        Framing::CropThenResize { margin } => {
            format!("centre crop with a margin of {margin}, then resized")
        }
    };
    let exif = if recipe.exif_orientation { "applied" } else { "ignored" };
    let labels = match &metadata.labels {
        Labels::Imagenet1k => "ImageNet-1k".to_owned(),
        Labels::Names(names) => format!("{}, ...", names.first().map_or("", String::as_str)),
        Labels::None => "unnamed".to_owned(),
    };
    let classes = match metadata.classes {
        0 => "none: features only".to_owned(),
        classes => format!("{classes} ({labels})"),
    };
    let rgb = |[r, g, b]: [f32; 3]| format!("{r} {g} {b}");
    out.line(format_args!(
        "  name       {}\n  \
           variant    {}, {}\n  \
           family     {}: padding {}, batch-norm eps {}\n  \
           classes    {classes}\n  \
           activation {}\n  \
           input      {}, {interpolation}, {framing}, EXIF orientation {exif}\n  \
           normalise  mean {}, std {}\n  \
           source     {} ({})\n  \
           sha256     {}",
        metadata.name,
        metadata.variant,
        metadata.precision,
        metadata.family,
        metadata.padding,
        metadata.bn_eps,
        metadata.activation(),
        recipe.size,
        rgb(recipe.mean),
        rgb(recipe.std),
        metadata.source.file_name,
        metadata.source.container,
        metadata.source.sha256,
    ))
}
