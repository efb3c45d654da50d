//! `effnet import`: from a public checkpoint to packed weights.

mod list;

use super::args::{self, LabelsArg};
use super::output::{self, Out};
use super::{Status, info, labels};
use effnet::arch::{Size, Variant};
use effnet::image::Interpolation;
use effnet::weights::{
    Family, ImportOptions, ImportReport, Labels, OutputActivation, PaddingChoice, Precision,
    RecipeOverrides, default_output, import,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Read a public checkpoint and write packed weights.
///
/// Nothing found in the checkpoint is executed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Containers: safetensors; PyTorch .pth and .pt, zip and legacy; Paddle .pdparams; .npz; a Python
wheel (.whl) with one of them inside; shards, by their index or any of them; a folder with one.
Exported graphs: ONNX, with tensors in it or in files beside it; Paddle inference models, given as
.pdmodel, .json or .pdiparams, as their folder, or as a .tar or .tar.gz of it. A graph proves its
padding, eps and input size; --family says whose recipe it is where its names do not.
Families: timm, timm-tf, torchvision, lukemelas, lite-pytorch, paddle-clas, transformers, keras
(as .npz).

Of several models in a file the moving average is taken, as timm takes it, and said: --list shows
what there is, --key takes another. What a trainer puts before the names (model., backbone., ...) is
found and left out, and so are tensors outside it. Modules saved whole (torch.save(model)) and
TorchScript archives are read as their state dicts.

Variant and family are recognised from the tensors' names and shapes. What these leave open is told
by, in this order: the digest of known files; the file's own words (arch, args.model and the like);
a config.json beside it; the names of the folders above it, and its own. The line `evidence` says
which it was. Padding, batch-norm eps, input normalisation and the resize recipe follow the family,
the recipe and class names a config.json too; each option overrides what was recognised, and all of
it is recorded in the packed file.

Without -o the packed file is NAME.PRECISION.safetensors (NAME from --name, else FILE's) in the
folder EFFNET_WEIGHTS_DIR, else ./weights if there is one, else the user's cache folder.

Examples:
  effnet import efficientnet_b0_rwightman-7f5810bc.pth
  effnet import EfficientNetB4_pretrained.pdparams --precision fp32 -o b4.safetensors
  effnet import model_best.pth.tar --list
  effnet import model_best.pth.tar --key state_dict
  effnet import mine.pth --variant b0 --family timm --labels names.txt --crop-pct 0.95")]
pub struct Args {
    /// The checkpoint.
    file: PathBuf,
    /// Variant [default: recognised].
    #[arg(long, value_name = "V", value_parser = args::variant)]
    variant: Option<Variant>,
    /// Family [default: recognised].
    #[arg(long, value_name = "F", value_parser = args::family)]
    family: Option<Family>,
    /// Type of the convolution and classifier weights.
    #[arg(long, value_name = "PRECISION", default_value = "fp16", value_parser = args::precision())]
    precision: Precision,
    /// Packed file to write, replacing what is there.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Name to record in the packed file [default: the published name, else FILE's].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Dict of tensors to take, as in state_dict_ema or model.state_dict, or what stands before the
    /// names of its tensors, as in teacher [default: the moving average, else the usual key].
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Show what the file holds (dicts of tensors, tensors, facts) and write nothing.
    #[arg(long, conflicts_with_all = ["output", "variant", "family", "name", "labels", "activation"])]
    list: bool,
    /// Class names: a file with one a line, or JSON as id2label, class_to_idx or a list; imagenet;
    /// or none
    /// [default: those of a config.json; else imagenet if there are 1000 classes].
    #[arg(long, value_name = "FILE|imagenet|none", value_parser = args::labels)]
    labels: Option<LabelsArg>,
    /// From logits to probabilities: softmax, sigmoid (several classes may be right, or the only
    /// one), or none [default: softmax; sigmoid if there is one class].
    #[arg(long, value_name = "A", value_parser = args::activation)]
    activation: Option<OutputActivation>,
    /// Padding: symmetric, same, same-frozen (as at the native size) or same-cropped (the same as
    /// PaddleClas crops it) [default: the family's].
    #[arg(long, value_name = "PADDING", help_heading = OVERRIDES)]
    padding: Option<PaddingChoice>,
    /// Batch-norm eps [default: the family's].
    #[arg(long, value_name = "EPS", help_heading = OVERRIDES, value_parser = args::eps)]
    bn_eps: Option<f64>,
    /// Input size: HxW, or one number for a square [default: the checkpoint's].
    #[arg(long, value_name = "HxW", help_heading = OVERRIDES, value_parser = args::size)]
    size: Option<Size>,
    /// Part of the resized short side that the crop keeps, as timm's crop_pct.
    #[arg(long, value_name = "PCT", help_heading = OVERRIDES, conflicts_with = "margin")]
    crop_pct: Option<f64>,
    /// Pixels that the resized short side has more than the crop.
    #[arg(long, value_name = "PIXELS", help_heading = OVERRIDES)]
    margin: Option<usize>,
    /// Resampling: pillow-bicubic, pillow-bilinear, opencv-bilinear or tensorflow-bicubic.
    #[arg(
        long, value_name = "KERNEL", help_heading = OVERRIDES, hide_possible_values = true,
        value_parser = args::interpolation()
    )]
    interpolation: Option<Interpolation>,
    /// Subtracted from x / 255, per channel.
    #[arg(long, value_name = "R,G,B", help_heading = OVERRIDES, value_parser = args::rgb, allow_hyphen_values = true)]
    mean: Option<[f32; 3]>,
    /// Divides the difference, per channel.
    #[arg(long, value_name = "R,G,B", help_heading = OVERRIDES, value_parser = args::rgb)]
    std: Option<[f32; 3]>,
    /// Whether the EXIF orientation of photographs is applied.
    #[arg(long, value_name = "on|off", help_heading = OVERRIDES, value_parser = args::on_off())]
    exif: Option<bool>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

const OVERRIDES: &str = "Overrides";

/// What was written, as JSON.
#[derive(Serialize)]
pub struct Report<'a> {
    #[serde(serialize_with = "output::lossy")]
    output: &'a Path,
    output_bytes: u64,
    metadata: &'a effnet::weights::Metadata,
    /// What was decided, and by which evidence.
    evidence: &'a str,
    notes: &'a [String],
}

/// Imports, and prints what was recognised.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    if args.list {
        return list::run(&args.file, args.key.as_deref(), args.json, out);
    }
    let labels = match &args.labels {
        None => None,
        Some(LabelsArg::Imagenet) => Some(Labels::Imagenet1k),
        Some(LabelsArg::None) => Some(Labels::None),
        Some(LabelsArg::File(path)) => Some(labels::open(path)?),
    };
    let options = ImportOptions {
        variant: args.variant,
        family: args.family,
        precision: args.precision,
        padding: args.padding,
        bn_eps: args.bn_eps,
        recipe: RecipeOverrides {
            size: args.size,
            framing: None,
            crop_pct: args.crop_pct,
            margin: args.margin,
            interpolation: args.interpolation,
            mean: args.mean,
            std: args.std,
            exif_orientation: args.exif,
        },
        labels,
        activation: args.activation,
        name: args.name.clone(),
        key: args.key.clone(),
    };
    let output = match args.output {
        Some(output) => output,
        None => default_output(&args.file, &options)?,
    };
    let report = import(&args.file, &output, &options)?;
    print(&report, args.json, out)?;
    Ok(Status::Complete)
}

impl<'a> Report<'a> {
    /// The same in the words of JSON.
    pub fn new(report: &'a ImportReport) -> Report<'a> {
        Report {
            output: &report.output,
            output_bytes: report.output_bytes,
            metadata: &report.metadata,
            evidence: &report.evidence,
            notes: &report.notes,
        }
    }
}

/// Prints what an import did.
fn print(report: &ImportReport, json: bool, out: &mut Out) -> anyhow::Result<()> {
    for note in &report.notes {
        output::note(note);
    }
    if json { out.json(&Report::new(report)) } else { lines(report, out) }
}

/// What an import did, for people; `effnet pull` ends in one too.
pub fn lines(report: &ImportReport, out: &mut Out) -> anyhow::Result<()> {
    out.line(format_args!("{}: {}", report.output.display(), output::bytes(report.output_bytes)))?;
    info::metadata(&report.metadata, out)?;
    out.line(format_args!("  evidence   {}", report.evidence))
}
