//! `effnet eval`: accuracy over images with known classes.

use super::dataset::Dataset;
use super::device::{self, RunArgs};
use super::models::ModelArgs;
use super::output::{self, Out};
use super::{Status, labels};
use anyhow::bail;
use effnet::arch::Size;
use effnet::pipeline::{Pipeline, PipelineError, PipelineOptions};
use effnet::session::Session;
use effnet::weights::Precision;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Measure top-1 and top-5 accuracy over a folder or list of images.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A DATASET is a folder or a list. In a folder, an image's class is told
  by its class folder, if every sub-folder is named after a class: by index, by ImageNet id
  (n01440764) or by label; else by the folders' sorted order, if there are exactly as many as the
  model has classes;
  by its name, in a folder without sub-folders, if every file begins with an ImageNet id, as in
  n01440764_tench.jpg;
  by --list FILE otherwise.
A list has one image a line: its path, a tab, comma or space, and its class: index, ImageNet id or
label. Empty lines and lines that begin with # are left out. Paths are relative to the list's own
folder, or with --list to DATASET. A list that ends in .json is an object of {\"PATH\": CLASS} or
{\"PATH\": {\"label\": CLASS}}.

Images that cannot be read or decoded, or whose logits are not finite, are reported and left out of
the accuracy; the exit status is then 1. Images per second include reading and decoding.

Examples:
  effnet eval imagenet/val --model lite0
  effnet eval labels.txt --weights mine.safetensors --json
  effnet eval photos/ --list classes.csv")]
pub struct Args {
    /// Folder or list of images.
    dataset: PathBuf,
    /// List of the images in DATASET and their classes.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Class names, one a line in the order of the classes, instead of the weights' own.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The result as JSON; accuracies in percent of the images that did not fail.
#[derive(Serialize)]
struct EvalReport<'a> {
    dataset: String,
    classes_told: &'static str,
    weights: String,
    model: &'a str,
    variant: &'static str,
    precision: Precision,
    size: Size,
    device: String,
    compute: String,
    batch: usize,
    images: usize,
    failed: usize,
    top1_correct: usize,
    top5_correct: usize,
    top1: f64,
    top5: f64,
    seconds: f64,
    network_seconds: f64,
    images_per_s: f64,
}

/// Classes among which the right one counts for top-5.
const K: usize = 5;

/// Runs the dataset through the network and prints the accuracy.
pub fn run(args: Args, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    let chosen = args.model.open()?;
    let metadata = chosen.weights.metadata().clone();
    let path = chosen.weights.path().display().to_string();
    let labels = labels::labels(&metadata, args.labels.as_deref())?;
    let classes = labels::classes(&metadata, &labels);
    let dataset = Dataset::open(&args.dataset, args.list.as_deref(), &classes)?;
    let total = dataset.images.len();
    let (paths, truths): (Vec<PathBuf>, Vec<usize>) = dataset.images.into_iter().unzip();

    if chosen.by_default || verbose {
        output::note(&chosen.describe());
    }
    let choice = args.run.choose(&metadata)?;
    let session = Session::new(Arc::new(chosen.weights), choice.options(total))?;
    if verbose || !args.json {
        output::note(&format_args!("{}{}", session.description(), choice.reason(verbose)));
    }

    let k = K.min(metadata.classes);
    let bar = output::progress(total as u64, "images", true);
    let (mut failed, mut top1, mut top5) = (0, 0, 0);
    let start = Instant::now();
    let options = PipelineOptions { threads: Some(choice.threads) };
    let mut pipeline = Pipeline::new(session, options).map_err(device::with_options)?;
    for result in pipeline.classify(paths, k).map_err(device::with_options)? {
        match result {
            Ok(image) => {
                let truth = truths[image.index];
                let rank = image.output.iter().position(|best| best.class == truth);
                top1 += usize::from(rank == Some(0));
                top5 += usize::from(rank.is_some());
            }
            Err(PipelineError::Image(failure)) => {
                failed += 1;
                bar.suspend(|| output::error(&failure));
            }
            Err(error) => return Err(device::with_options(error)),
        }
        bar.inc(1);
    }
    let (seconds, in_network) = (start.elapsed().as_secs_f64(), pipeline.session_time());
    let session = pipeline.into_session();
    bar.finish_and_clear();

    let done = total - failed;
    if done == 0 {
        bail!("none of {total} images has a result: no accuracy to report");
    }
    let percent = |n: usize| 100.0 * n as f64 / done as f64;
    let report = EvalReport {
        dataset: args.list.as_ref().unwrap_or(&args.dataset).display().to_string(),
        classes_told: dataset.rule,
        weights: path,
        model: &metadata.name,
        variant: metadata.variant.name(),
        precision: metadata.precision,
        size: session.plan().input_size(),
        device: session.device().to_string(),
        compute: session.compute().to_string(),
        batch: session.batch(),
        images: total,
        failed,
        top1_correct: top1,
        top5_correct: top5,
        top1: percent(top1),
        top5: percent(top5),
        seconds,
        network_seconds: in_network.as_secs_f64(),
        images_per_s: done as f64 / seconds,
    };
    if args.json {
        out.json(&report)?;
    } else {
        text(&report, out)?;
    }
    Ok(if failed == 0 { Status::Complete } else { Status::SomeFailed })
}

fn text(report: &EvalReport<'_>, out: &mut Out) -> anyhow::Result<()> {
    let done = report.images - report.failed;
    out.line(format_args!(
        "dataset  {} ({}; classes told {})\n\
         model    {} ({}, {}, input {})\n\
         top-1    {:6.2} %  ({} of {done})\n\
         top-5    {:6.2} %  ({} of {done})\n\
         speed    {:.1} images/s  ({:.2} s, of which {:.2} s in the network)",
        report.dataset,
        output::count(report.images, "image"),
        report.classes_told,
        report.model,
        report.variant,
        report.precision,
        report.size,
        report.top1,
        report.top1_correct,
        report.top5,
        report.top5_correct,
        report.images_per_s,
        report.seconds,
        report.network_seconds,
    ))?;
    if report.failed > 0 {
        out.line(format_args!(
            "failed   {} (left out above)",
            output::count(report.failed, "image")
        ))?;
    }
    Ok(())
}
