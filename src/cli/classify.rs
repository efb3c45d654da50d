//! `effnet classify`: the most probable classes of images.

use super::device::{self, RunArgs};
use super::inputs;
use super::models::ModelArgs;
use super::output::{self, Out};
use super::{Status, labels};
use anyhow::bail;
use effnet::pipeline::{ImageFailure, ImageInput, Pipeline, PipelineError, PipelineOptions};
use effnet::session::{Prediction, Session};
use effnet::weights::Labels;
use serde::Serialize;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

/// Print the most probable classes of images.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A PATH is a file, a folder, a pattern or `-`:
  FILE     JPEG, PNG, WebP, BMP, GIF (first frame) or TIFF, recognised by content
  FOLDER   the files in it and below it that end in .jpg .jpeg .png .webp .bmp .gif .tif .tiff,
           sorted; hidden ones are left out
  PATTERN  quoted, with * ? [...] or **: what it matches, sorted
  -        one encoded image on standard input

Results are printed in the order of the PATHs, each as soon as it is known. An image that cannot be
read or decoded is reported, and the others go on; the exit status is then 1.

With --json each line is {\"path\", \"top\": [{\"index\", \"label\", \"probability\", \"logit\"}], \"error\"};
error is null, or a text, and then top is empty. With --csv the columns are path, rank, index,
label, probability.

Examples:
  effnet classify cat.jpg
  effnet classify --model lite0 --topk 1 photos/ 'more/**/*.png'
  effnet classify --json photos/ | jq -r '[.path, .top[0].label] | @tsv'
  curl -s URL | effnet classify -")]
pub struct Args {
    /// Images, folders, patterns, or - for standard input.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Classes to print for each image, the most probable first; at most all there are.
    #[arg(long, value_name = "K", default_value = "5", value_parser = super::args::topk)]
    topk: usize,
    /// Print one JSON object a line.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values under a line of headings.
    #[arg(long)]
    csv: bool,
    /// Class names, one a line in the order of the classes, instead of the weights' own.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
}

/// One image as JSON.
#[derive(Serialize)]
struct ImageReport<'a> {
    path: &'a str,
    top: Vec<ClassReport<'a>>,
    error: Option<String>,
}

#[derive(Serialize)]
struct ClassReport<'a> {
    index: usize,
    label: Option<&'a str>,
    probability: f32,
    logit: f32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Csv,
}

/// Classifies everything, printing results in order.
pub fn run(args: Args, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    let format = match (args.json, args.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        _ => Format::Text,
    };
    let images = inputs::expand(&args.paths);
    if !images.iter().any(Result::is_ok) {
        let errors: Vec<_> = images.into_iter().filter_map(Result::err).collect();
        if format == Format::Json {
            // A program that reads the lines finds every path that it asked for.
            for error in &errors {
                let (path, error) = (&error.path, Some(error.to_string()));
                out.json(&ImageReport { path, top: Vec::new(), error })?;
            }
        }
        let lines: Vec<String> = errors.iter().map(|error| format!("  {error}")).collect();
        bail!("nothing to classify:\n{}", lines.join("\n"));
    }
    let total = images.len();

    let chosen = args.model.open()?;
    let labels = labels::labels(chosen.weights.metadata(), args.labels.as_deref())?;
    let k = args.topk.min(chosen.weights.metadata().classes);
    if chosen.by_default || verbose {
        output::note(&chosen.describe());
    }
    let choice = args.run.choose(chosen.weights.metadata())?;
    let session = Session::new(Arc::new(chosen.weights), choice.options(total))?;
    if verbose || format == Format::Text {
        output::note(&format_args!("{}{}", session.description(), choice.reason));
    }

    // Where results go to the terminal, they are the progress.
    let bar = output::progress(total as u64, "images", !std::io::stdout().is_terminal());
    let mut writer = Writer { format, labels: &labels, first: true };
    let mut failed = 0;
    writer.start(out)?;
    // A PATH that gives no image keeps its place.
    let images = images.into_iter().map(|image| image.unwrap_or_else(ImageInput::from));
    let options = PipelineOptions { threads: Some(choice.threads) };
    let mut pipeline = Pipeline::new(session, options).map_err(device::with_options)?;
    for result in pipeline.classify(images, k).map_err(device::with_options)? {
        match result {
            Ok(image) => writer.image(&image.name, &image.output, out)?,
            Err(PipelineError::Image(failure)) => {
                failed += 1;
                bar.suspend(|| output::error(&failure));
                writer.failure(&failure, out)?;
            }
            Err(error) => return Err(device::with_options(error)),
        }
        out.flush()?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(work) = pipeline.session().emulated_work()
        && (verbose || format == Format::Text)
    {
        output::note(&work);
    }
    if failed == 0 {
        return Ok(Status::Complete);
    }
    if total > 1 {
        output::note(&format_args!("{failed} of {} failed", output::count(total, "image")));
    }
    Ok(Status::SomeFailed)
}

/// Writes results in the format asked for.
struct Writer<'a> {
    format: Format,
    labels: &'a Labels,
    first: bool,
}

impl Writer<'_> {
    fn start(&mut self, out: &mut Out) -> anyhow::Result<()> {
        match self.format {
            Format::Csv => out.csv(["path", "rank", "index", "label", "probability"]),
            _ => Ok(()),
        }
    }

    fn failure(&mut self, failure: &ImageFailure, out: &mut Out) -> anyhow::Result<()> {
        match self.format {
            Format::Json => {
                let (path, error) = (&failure.name, Some(failure.to_string()));
                out.json(&ImageReport { path, top: Vec::new(), error })
            }
            // Said on standard error: neither format has a place for it.
            Format::Csv | Format::Text => Ok(()),
        }
    }

    fn image(&mut self, path: &str, top: &[Prediction], out: &mut Out) -> anyhow::Result<()> {
        match self.format {
            Format::Json => {
                let top = top.iter().map(|prediction| ClassReport {
                    index: prediction.class,
                    label: self.labels.name(prediction.class),
                    probability: prediction.probability,
                    logit: prediction.logit,
                });
                out.json(&ImageReport { path, top: top.collect(), error: None })
            }
            Format::Csv => {
                for (rank, prediction) in top.iter().enumerate() {
                    out.csv([
                        path,
                        &(rank + 1).to_string(),
                        &prediction.class.to_string(),
                        self.labels.name(prediction.class).unwrap_or(""),
                        &prediction.probability.to_string(),
                    ])?;
                }
                Ok(())
            }
            Format::Text => self.text(path, top, out),
        }
    }

    /// The path, then a line per class: probability, index, label.
    fn text(&mut self, path: &str, top: &[Prediction], out: &mut Out) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.first) {
            out.line("")?;
        }
        out.line(path)?;
        let width = top.iter().map(|p| p.class.to_string().len()).max().unwrap_or(0);
        for prediction in top {
            let label = self.labels.name(prediction.class).unwrap_or("");
            let line = format!(
                "  {:6.2} %  {:>width$}  {label}",
                f64::from(prediction.probability) * 100.0,
                prediction.class,
            );
            out.line(line.trim_end())?;
        }
        Ok(())
    }
}
