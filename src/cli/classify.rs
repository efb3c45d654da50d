//! `effnet classify`: the most probable classes of images.

use super::device::{self, RunArgs};
use super::inputs::{self, Found, InputError};
use super::labels::Named;
use super::models::ModelArgs;
use super::output::{self, Out};
use super::{Status, paths};
use anyhow::bail;
use effnet::pipeline::{
    ImageFailure, ImageInput, ImageOutput, Pipeline, PipelineError, PipelineOptions,
};
use effnet::session::{Prediction, Session, SessionOptions};
use effnet::weights::{Labels, OutputActivation};
use serde::Serialize;
use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

/// Print the most probable classes of images.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A PATH is a file, a folder, a pattern or `-`:
  FILE     JPEG, PNG, WebP, BMP, GIF (first frame) or TIFF, recognised by content
  FOLDER   the files in it and below it that end in .jpg .jpeg .jpe .jfif .png .apng .webp .bmp
           .gif .tif .tiff, sorted; hidden ones, pipes, devices, __MACOSX and @eaDir are left out
  PATTERN  quoted, with * ? [...] or **: what it matches, sorted
  -        one encoded image on standard input

Results are printed in the order of the PATHs, each as soon as it is known. An image that cannot be
read or decoded, or whose logits are not finite, is reported, and the others go on; the exit status
is then 1.

With --json each line is {\"path\", \"activation\", \"top\": [{\"index\", \"label\", \"probability\",
\"logit\"}], \"error\", \"warnings\"}; error is null, or a text, and then top is empty; warnings tell what
is wrong with a file that is decoded all the same, as a JPEG that lacks a restart marker. A path
that is not Unicode has \"path_bytes\" too: its bytes in base64. With --csv the columns are path,
rank, index, label, probability, and a path is written byte by byte as the system has it.
`effnet eval` reads either as a list.

The activation is the weights' own, softmax, sigmoid or none, or that of --activation. The order is
by logit with each. With none there are no probabilities: null in JSON, empty in CSV, and the text
has logits in their place.

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
    /// From logits to probabilities, instead of the weights' own: softmax, sigmoid or none.
    #[arg(long, value_name = "A", value_parser = super::args::activation)]
    activation: Option<OutputActivation>,
    /// Class names instead of the weights' own: a file with one a line in the order of the classes,
    /// or JSON as id2label, class_to_idx or a list.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
}

/// One image as JSON.
#[derive(Serialize)]
struct ImageReport<'a> {
    path: &'a str,
    /// The path's bytes in base64, where `path` cannot hold them.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    /// Null only where no weights were opened.
    activation: Option<OutputActivation>,
    top: Vec<ClassReport<'a>>,
    error: Option<String>,
    warnings: Vec<String>,
}

impl<'a> ImageReport<'a> {
    fn failed(
        path: &'a str,
        path_bytes: Option<String>,
        activation: Option<OutputActivation>,
        error: &dyn std::fmt::Display,
    ) -> ImageReport<'a> {
        let error = Some(error.to_string());
        ImageReport { path, path_bytes, activation, top: Vec::new(), error, warnings: Vec::new() }
    }
}

#[derive(Serialize)]
struct ClassReport<'a> {
    index: usize,
    label: Option<&'a str>,
    /// Null where the activation is none.
    probability: Option<f32>,
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
            for InputError { path, kind } in &errors {
                let (text, path_bytes) = (path.display().to_string(), paths::path_bytes(path));
                out.json(&ImageReport::failed(&text, path_bytes, None, kind))?;
            }
        }
        let lines: Vec<String> = errors.iter().map(|error| format!("  {error}")).collect();
        bail!("nothing to classify:\n{}", lines.join("\n"));
    }
    let total = images.len();

    let chosen = args.model.open()?;
    chosen.expect_classifier()?;
    let labels = Named::open(chosen.weights.metadata(), args.labels.as_deref())?.labels;
    let k = args.topk.min(chosen.weights.metadata().classes);
    if chosen.by_default || verbose {
        output::note(&chosen.describe());
    }
    let choice = args.run.choose(chosen.weights.metadata())?;
    let recipe = &chosen.weights.metadata().recipe;
    let options =
        SessionOptions { activation: args.activation, ..choice.classifies(recipe, total, k) };
    let session = Session::new(Arc::new(chosen.weights), options)?;
    if verbose || format == Format::Text {
        output::note(&format_args!("{}{}", session.description(), choice.reason(verbose)));
    }

    // Where results go to the terminal, they are the progress.
    let bar = output::progress(total as u64, "images", !std::io::stdout().is_terminal());
    let (activation, no_text) = (session.activation(), HashMap::new());
    let mut writer = Writer { format, labels: &labels, activation, no_text, first: true };
    let mut failed = 0;
    writer.start(out)?;
    // A PATH that gives no image keeps its place.
    let images: Vec<ImageInput> = images
        .into_iter()
        .enumerate()
        .map(|(index, found)| {
            let Found { image, no_text } = found.unwrap_or_else(Found::from);
            writer.no_text.extend(no_text.map(|path| (index, path)));
            image
        })
        .collect();
    let options = PipelineOptions { threads: Some(choice.threads) };
    let mut pipeline = Pipeline::new(session, options).map_err(device::with_options)?;
    for result in pipeline.classify(images, k).map_err(device::with_options)? {
        match result {
            Ok(image) => {
                bar.suspend(|| output::warnings(&image.name, &image.warnings));
                writer.image(&image, out)?
            }
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
    activation: OutputActivation,
    /// Of the images whose paths are no text, by their places.
    no_text: HashMap<usize, PathBuf>,
    first: bool,
}

impl Writer<'_> {
    fn start(&mut self, out: &mut Out) -> anyhow::Result<()> {
        match self.format {
            Format::Csv => {
                out.csv(["path", "rank", "index", "label", "probability"].map(str::as_bytes))
            }
            _ => Ok(()),
        }
    }

    fn failure(&mut self, failure: &ImageFailure, out: &mut Out) -> anyhow::Result<()> {
        match self.format {
            Format::Json => {
                let no_text = self.no_text.get(&failure.index);
                let path_bytes = no_text.and_then(|path| paths::path_bytes(path));
                let activation = Some(self.activation);
                let (name, kind) = (&failure.name, &failure.kind);
                out.json(&ImageReport::failed(name, path_bytes, activation, kind))
            }
            // Said on standard error: neither format has a place for it.
            Format::Csv | Format::Text => Ok(()),
        }
    }

    fn image(&mut self, image: &ImageOutput<Vec<Prediction>>, out: &mut Out) -> anyhow::Result<()> {
        let (path, top) = (&image.name, &image.output);
        let no_text = self.no_text.get(&image.index);
        match self.format {
            Format::Json => {
                let path_bytes = no_text.and_then(|path| paths::path_bytes(path));
                let top = top.iter().map(|prediction| ClassReport {
                    index: prediction.class,
                    label: self.labels.name(prediction.class),
                    probability: prediction.probability,
                    logit: prediction.logit,
                });
                let warnings = image.warnings.iter().map(ToString::to_string).collect();
                let (activation, top) = (Some(self.activation), top.collect());
                let error = None;
                out.json(&ImageReport { path, path_bytes, activation, top, error, warnings })
            }
            Format::Csv => {
                let path = no_text.map_or(path.as_bytes(), |path| paths::as_bytes(path));
                for (rank, prediction) in top.iter().enumerate() {
                    out.csv([
                        path,
                        (rank + 1).to_string().as_bytes(),
                        prediction.class.to_string().as_bytes(),
                        self.labels.name(prediction.class).unwrap_or("").as_bytes(),
                        prediction
                            .probability
                            .map(|p| p.to_string())
                            .unwrap_or_default()
                            .as_bytes(),
                    ])?;
                }
                Ok(())
            }
            Format::Text => self.text(path, top, out),
        }
    }

    /// The path, then a line per class: probability (without one, the logit), index, label.
    fn text(&mut self, path: &str, top: &[Prediction], out: &mut Out) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.first) {
            out.line("")?;
        }
        out.line(path)?;
        let width = top.iter().map(|p| p.class.to_string().len()).max().unwrap_or(0);
        for prediction in top {
            let label = self.labels.name(prediction.class).unwrap_or("");
            let score = match prediction.probability {
                Some(probability) => format!("{:6.2} %", f64::from(probability) * 100.0),
                None => format!("{:8.3}", prediction.logit),
            };
            let line = format!("  {score}  {:>width$}  {label}", prediction.class);
            out.line(line.trim_end())?;
        }
        Ok(())
    }
}
