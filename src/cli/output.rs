//! Standard output for programs and people, standard error for the person at the terminal.

use super::error::CliError;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

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

    /// Writes one line.
    pub fn line(&mut self, line: impl fmt::Display) -> Result<(), CliError> {
        writeln!(self.writer, "{line}").map_err(CliError::Stdout)
    }

    /// Writes a value as one line of JSON.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).expect("reports have only plain fields");
        self.line(text)
    }

    /// Writes one record of comma-separated values.
    pub fn csv<const N: usize>(&mut self, fields: [&str; N]) -> Result<(), CliError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(fields).expect("a vector takes every record");
        let record = writer.into_inner().expect("a vector takes every record");
        self.bytes(&record)
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.writer.write_all(bytes).map_err(CliError::Stdout)
    }

    /// Hands everything written so far to the reader.
    pub fn flush(&mut self) -> Result<(), CliError> {
        self.writer.flush().map_err(CliError::Stdout)
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

/// Says what was chosen or assumed.
pub fn note(message: &dyn fmt::Display) {
    say("note", "36", message);
}

/// A progress bar on standard error, if that is a terminal and there is more than one thing to do.
pub fn progress(total: u64, unit: &'static str, wanted: bool) -> ProgressBar {
    if !wanted || total < 2 {
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

/// Columns of text, each as wide as its widest cell.
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// Which edge of a column its cells keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// A table under these headings.
    pub fn new(columns: &[(&'static str, Align)]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: one cell per column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len());
        self.rows.push(cells.into());
    }

    /// The lines, headings first, without spaces at their ends.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let width = |i: usize| {
            let cells = self.rows.iter().map(|row| row[i].chars().count());
            cells.chain([self.columns[i].0.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let headings = self.columns.iter().map(|column| column.0.to_owned()).collect();
        std::iter::once(headings).chain(self.rows.iter().cloned()).map(move |row: Vec<String>| {
            let cells =
                row.iter().zip(&widths).zip(&self.columns).map(|((cell, &width), column)| {
                    match column.1 {
                        Align::Left => format!("{cell:<width$}"),
                        Align::Right => format!("{cell:>width$}"),
                    }
                });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
    }
}

/// A whole number with a comma between each three digits, as in `5,288,548`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, as in `1 image` and `2 images`.
pub fn count(n: usize, thing: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", thousands(n as u64))
}

/// A number of bytes in the largest unit that keeps at least one digit before the point.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut x = n as f64 / 1024.0;
    let mut unit = 0;
    while x >= 1024.0 && unit + 1 < UNITS.len() {
        x /= 1024.0;
        unit += 1;
    }
    format!("{x:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let found = [0, 999, 1000, 52_340, 5_288_548].map(thousands);
        assert_eq!(found, ["0", "999", "1,000", "52,340", "5,288,548"]);
    }

    #[test]
    fn bytes_take_the_unit_that_fits() {
        let found = [0, 1023, 1024, 1536, 5 << 20, 7 << 40, u64::MAX].map(bytes);
        let expected =
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "7.0 TiB", "16777216.0 TiB"];
        assert_eq!(found, expected);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.row(["a".into(), "1".into()]);
        table.row(["longer".into(), "1000".into()]);
        let lines: Vec<String> = table.lines().collect();
        assert_eq!(lines, ["name       n", "a          1", "longer  1000"]);
    }
}
