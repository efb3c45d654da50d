//! Standard output for programs and people, standard error for the person at the terminal.

use effnet::image::ImageWarning;
pub use effnet::report::table::{Align, Table, bytes, count, thousands};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether notes and progress are left out.
static QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out notes and progress from here on; warnings and errors still show.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// An error, behind what it happened to.
pub fn within<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> anyhow::Error {
    move |error| anyhow::anyhow!("{what}: {error}")
}

/// Writes a path as JSON text; what is not Unicode in it becomes U+FFFD.
pub fn lossy<P: AsRef<Path>, S: serde::Serializer>(path: &P, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.as_ref().to_string_lossy())
}

/// Standard output that takes no more: it is closed or full.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
pub struct StdoutError(#[source] pub io::Error);

impl StdoutError {
    /// Whether the reader has closed its end.
    pub fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Standard output: buffered, flushed whenever a command has something complete to show. A closed
/// pipe is an error value, never a panic.
pub struct Out {
    writer: BufWriter<StdoutLock<'static>>,
}

impl Out {
    /// Takes standard output.
    pub fn stdout() -> Out {
        Out { writer: BufWriter::new(io::stdout().lock()) }
    }

    /// Where the command line of another crate writes.
    #[cfg(feature = "emulator")]
    pub fn writer(&mut self) -> &mut dyn Write {
        &mut self.writer
    }

    /// Writes one line.
    pub fn line(&mut self, line: impl fmt::Display) -> anyhow::Result<()> {
        Ok(writeln!(self.writer, "{line}").map_err(StdoutError)?)
    }

    /// Writes a value as one line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string(value).expect("reports have only plain fields");
        self.line(text)
    }

    /// Writes one record of comma-separated values.
    pub fn csv<const N: usize>(&mut self, fields: [&[u8]; N]) -> anyhow::Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(fields).expect("a vector takes every record");
        let record = writer.into_inner().expect("a vector takes every record");
        self.bytes(&record)
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.writer.write_all(bytes).map_err(StdoutError)?)
    }

    /// Hands everything written so far to the reader.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.writer.flush().map_err(StdoutError)?)
    }
}

/// Writes to standard error; with nobody there to read it, there is nothing left to do.
fn say(kind: &str, colour: &str, message: &dyn fmt::Display) {
    let mut stderr = io::stderr().lock();
    let plain = !stderr.is_terminal() || std::env::var_os("NO_COLOR").is_some();
    let _ = if plain {
        writeln!(stderr, "{kind}: {message}")
    } else {
        writeln!(stderr, "\x1b[1;{colour}m{kind}:\x1b[0m {message}")
    };
}

/// Reports what ends the command, or one input of it.
pub fn error(message: &dyn fmt::Display) {
    say("error", "31", message);
}

/// Says what makes a result doubtful.
pub fn warning(message: &dyn fmt::Display) {
    say("warning", "33", message);
}

/// Says what is wrong with an image that has a result all the same.
pub fn warnings(name: &str, warnings: &[ImageWarning]) {
    for message in warnings {
        warning(&format_args!("{name}: {message}"));
    }
}

/// Says what was chosen or assumed.
pub fn note(message: &dyn fmt::Display) {
    if is_quiet() {
        return;
    }
    say("note", "36", message);
}

/// A sign on standard error that work goes on, of a length that nobody knows.
pub fn spinner() -> ProgressBar {
    if is_quiet() { ProgressBar::hidden() } else { ProgressBar::new_spinner() }
}

/// A progress bar on standard error, if that is a terminal and there is more than one thing to do.
pub fn progress(total: u64, unit: &'static str, wanted: bool) -> ProgressBar {
    if !wanted || total < 2 || is_quiet() {
        return ProgressBar::hidden();
    }
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit}, {{rate}}/s, {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("the template is valid").with_key(
        "rate",
        |state: &ProgressState, text: &mut dyn fmt::Write| {
            // A bar that cannot be drawn is no reason to stop.
            let _ = write!(text, "{:.1}", state.per_sec());
        },
    );
    ProgressBar::new(total).with_style(style)
}
