//! `effnet eval`: accuracy over images with known classes.

use super::classes::By;
use super::dataset::Dataset;
use super::device::{self, RunArgs};
use super::inputs;
use super::labels::Named;
use super::models::ModelArgs;
use super::output::{self, Out};
use super::{Status, args};
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
  by its class folder, if every sub-folder is named after a class: by label, by ImageNet id
  (n01440764) or by index; else by the folders' sorted order, if there are exactly as many as the
  model has classes; empty folders, hidden ones, __MACOSX and @eaDir are passed over;
  by its name, in a folder without sub-folders, if every file begins with an ImageNet id, as in
  n01440764_tench.jpg;
  by --list FILE otherwise.

A CLASS is a label, one of the synonyms in it, or an ImageNet id, else an index from 0. Case, _ and
- do not count in labels. A number is a label where there is a label of that name; a note tells
where it could be an index as well, and --classes-by says which. Folders of numbers without such
labels are indices by default, since a number then means the same in a list and whether or not all
folders are there; --classes-by name sorts them as torchvision and Keras do: 0, 1, 10, 11, 2. Where
the other reading, or every class one lower or higher, would be right far more often, a warning
tells that accuracy.

A list is UTF-8, or UTF-16 with a byte order mark, and one of
  TABLE  separated by tabs, semicolons, commas or spaces, quoted as in RFC 4180, with headings such
         as filename,label or image,class or path,target; or without, the path in the first column
         and the class in the second, or a column for each class with 0 and 1; others do not count
  LINES  PATH, a tab, semicolon, comma or spaces, and CLASS, where paths may have separators in them
  JSON   {\"PATH\": CLASS}, {\"PATH\": {\"label\": CLASS}}, a list of [PATH, CLASS], or records with a
         path and a class, in a list or one a line
  what `effnet classify` writes with --csv or --json: its first class is the class
Blank lines and lines that begin with # are left out. Paths are relative to the list's own folder,
or with --list to DATASET; where nothing is there, to the current folder; and if they have no
ending, that of an image is looked for.

Images that cannot be read or decoded, or whose logits are not finite, are reported and left out of
the accuracy; the exit status is then 1. Images per second include reading and decoding.

Examples:
  effnet eval imagenet/val --model lite0
  effnet eval labels.txt --weights mine.safetensors --json
  effnet eval photos/ --list classes.csv
  effnet eval val/ --model mine --labels class_to_idx.json")]
pub struct Args {
    /// Folder or list of images.
    dataset: PathBuf,
    /// List of the images in DATASET and their classes.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// What numbers in the place of classes are: index or name [default: names where the labels have
    /// them, else indices].
    #[arg(long, value_name = "WHAT", value_parser = args::classes_by())]
    classes_by: Option<By>,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Class names instead of the weights' own: a file with one a line in the order of the classes,
    /// or JSON as id2label, class_to_idx or a list.
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
    /// `name`, `index`, `name or index` (some by the one, some by the other) or `order`.
    classes_by: &'static str,
    /// The accuracy if the same words are read in another way; null where there is none.
    other_reading: Option<Instead>,
    /// The accuracy with every class one lower or higher, where nearly all answers are off by that.
    off_by_one: Option<Instead>,
    notes: Vec<String>,
    weights: String,
    model: &'a str,
    variant: &'static str,
    precision: Precision,
    size: Size,
    device: String,
    compute: String,
    /// Type of the images' elements: u8 where the recipe rounds to levels.
    input: String,
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

/// Another reading of the classes, with its accuracy.
#[derive(Debug, PartialEq, Serialize)]
struct Instead {
    /// `name`, `index`, `order`, `number` (the order of numbers), `lower` or `higher`.
    by: &'static str,
    top1_correct: usize,
    top1: f64,
}

/// Classes among which the right one counts for top-5.
const K: usize = 5;

/// Runs the dataset through the network and prints the accuracy.
pub fn run(args: Args, verbose: bool, out: &mut Out) -> anyhow::Result<Status> {
    let chosen = args.model.open()?;
    chosen.expect_classifier()?;
    let metadata = chosen.weights.metadata().clone();
    let path = chosen.weights.path().display().to_string();
    let classes = Named::open(&metadata, args.labels.as_deref())?.classes(&metadata);
    let dataset = Dataset::open(&args.dataset, args.list.as_deref(), &classes, args.classes_by)?;
    let Dataset { images, rule, by, other, mut notes } = dataset;
    let total = images.len();
    let (paths, truths): (Vec<PathBuf>, Vec<usize>) = images.into_iter().unzip();
    notes.extend(other.iter().map(|other| other.note.clone()));
    notes.iter().for_each(|note| output::note(note));

    if chosen.by_default || verbose {
        output::note(&chosen.describe());
    }
    let choice = args.run.choose(&metadata)?;
    let k = K.min(metadata.classes);
    let options = choice.classifies(&metadata.recipe, total, k);
    let session = Session::new(Arc::new(chosen.weights), options)?;
    if verbose || !args.json {
        output::note(&format_args!("{}{}", session.description(), choice.reason(verbose)));
    }

    let bar = output::progress(total as u64, "images", true);
    let (mut failed, mut tally) = (0, Tally::default());
    let start = Instant::now();
    let options = PipelineOptions { threads: Some(choice.threads) };
    let mut pipeline = Pipeline::new(session, options).map_err(device::with_options)?;
    let images = paths.into_iter().map(inputs::listed);
    for result in pipeline.classify(images, k).map_err(device::with_options)? {
        match result {
            Ok(image) => {
                bar.suspend(|| output::warnings(&image.name, &image.warnings));
                let classes: Vec<usize> = image.output.iter().map(|best| best.class).collect();
                let instead = other.as_ref().map(|other| other.classes[image.index]);
                tally.add(&classes, truths[image.index], instead);
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
    let instead = |by, right| Instead { by, top1_correct: right, top1: tally.percent(right) };
    let other_reading = other.as_ref().map(|other| instead(other.by, tally.other));
    if let (Some(other), Some(found)) = (&other, &other_reading)
        && tally.other > tally.top1
    {
        notes.push(format!(
            "top-1 is {:.2} % as the classes are read, and {:.2} % in the other way: {}",
            tally.percent(tally.top1),
            found.top1,
            other.advice,
        ));
        output::warning(&notes[notes.len() - 1]);
    }
    let off_by_one = tally.off_by_one().map(|(by, right)| instead(by, right));
    if let Some(found) = &off_by_one {
        notes.push(off_by_one_hint(&tally, found));
        output::warning(&notes[notes.len() - 1]);
    }
    let report = EvalReport {
        dataset: args.list.as_ref().unwrap_or(&args.dataset).display().to_string(),
        classes_told: rule,
        classes_by: by,
        other_reading,
        off_by_one,
        notes,
        weights: path,
        model: &metadata.name,
        variant: metadata.variant.name(),
        precision: metadata.precision,
        size: session.plan().input_size(),
        device: session.device().to_string(),
        compute: session.compute().to_string(),
        input: session.input_type().to_string(),
        batch: session.batch(),
        images: total,
        failed,
        top1_correct: tally.top1,
        top5_correct: tally.top5,
        top1: tally.percent(tally.top1),
        top5: tally.percent(tally.top5),
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

/// Right answers, for the classes as they are read and for other readings.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    top1: usize,
    top5: usize,
    /// Right if the words are read in the other way.
    other: usize,
    /// Right if every class is one lower.
    lower: usize,
    /// Right if every class is one higher.
    higher: usize,
    /// The first image's class.
    first: Option<usize>,
    /// Whether the images have several classes.
    several: bool,
}

impl Tally {
    /// Counts an image: its best classes, its class, and what that is in the other reading.
    fn add(&mut self, best: &[usize], truth: usize, other: Option<usize>) {
        self.done += 1;
        self.top1 += usize::from(best.first() == Some(&truth));
        self.top5 += usize::from(best.contains(&truth));
        self.other += usize::from(other.is_some() && best.first().copied() == other);
        self.lower += usize::from(best.first().is_some_and(|&best| best + 1 == truth));
        self.higher += usize::from(best.first().is_some_and(|&best| best == truth + 1));
        self.several |= *self.first.get_or_insert(truth) != truth;
    }

    fn percent(&self, right: usize) -> f64 {
        100.0 * right as f64 / self.done as f64
    }

    /// Which way all classes seem to be off by one, and what is right then: at least half of the
    /// images, of several classes, where as they are read at most a tenth is.
    fn off_by_one(&self) -> Option<(&'static str, usize)> {
        let (by, right) = match self.lower >= self.higher {
            true => ("lower", self.lower),
            false => ("higher", self.higher),
        };
        let seems = self.several && right >= 3 && right * 2 >= self.done;
        (seems && self.top1 * 10 <= self.done).then_some((by, right))
    }
}

fn off_by_one_hint(tally: &Tally, found: &Instead) -> String {
    let question = match found.by {
        "lower" => "do the labels count from 1?",
        _ => "has the model a class before the first one, as a background?",
    };
    format!(
        "top-1 is {:.2} %, and {:.2} % if every class is one {}: {question}",
        tally.percent(tally.top1),
        found.top1,
        found.by,
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(images: &[(usize, usize)]) -> Tally {
        let mut tally = Tally::default();
        for &(best, truth) in images {
            tally.add(&[best, truth], truth, None);
        }
        tally
    }

    #[test]
    fn classes_that_are_all_off_by_one_are_told() {
        assert_eq!(tally(&[(0, 1), (4, 5), (8, 9), (3, 7)]).off_by_one(), Some(("lower", 3)));
        assert_eq!(tally(&[(2, 1), (6, 5), (9, 8)]).off_by_one(), Some(("higher", 3)));
        // One class that is taken for its neighbour, too few images, or enough right answers.
        assert_eq!(tally(&[(2, 1); 9]).off_by_one(), None);
        assert_eq!(tally(&[(0, 1), (4, 5)]).off_by_one(), None);
        assert_eq!(tally(&[(0, 1), (4, 5), (8, 9), (3, 3)]).off_by_one(), None);
        assert_eq!(Tally::default().off_by_one(), None);
    }

    #[test]
    fn an_image_counts_for_every_reading() {
        let mut tally = Tally::default();
        tally.add(&[3, 2], 2, Some(3));
        tally.add(&[3, 2], 3, Some(2));
        tally.add(&[1], 0, None);
        assert_eq!((tally.done, tally.top1, tally.top5, tally.other), (3, 1, 2, 1));
        assert_eq!((tally.lower, tally.higher), (0, 2));
    }
}
