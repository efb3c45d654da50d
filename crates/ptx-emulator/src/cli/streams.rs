//! Where a command writes.

use super::error::EmulateError;
use std::fmt;
use std::io::{IsTerminal, Write};

/// Where a command writes.
pub struct Streams<'a> {
    /// Outputs and counters, for programs and people.
    pub out: &'a mut dyn Write,
    /// Findings and notes, for the person at the terminal.
    pub err: &'a mut dyn Write,
    /// Whether `err` takes the escape sequences of a terminal.
    pub colour: bool,
}

impl Streams<'_> {
    /// Whether standard error is a terminal, and `NO_COLOR` is not set.
    pub fn stderr_has_colour() -> bool {
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
    }

    /// Reports what ends the command, or what a check has found.
    pub fn error(&mut self, message: impl fmt::Display) {
        self.say("error", "31", &message);
    }

    /// Says what was chosen or assumed.
    pub fn note(&mut self, message: impl fmt::Display) {
        self.say("note", "36", &message);
    }

    /// Writes a line to `out`.
    pub(super) fn line(&mut self, line: impl fmt::Display) -> Result<(), EmulateError> {
        writeln!(self.out, "{line}").map_err(EmulateError::Stdout)
    }

    /// With nobody there to read `err`, there is nothing left to do.
    fn say(&mut self, kind: &str, colour: &str, message: &dyn fmt::Display) {
        let _ = if self.colour {
            writeln!(self.err, "\x1b[1;{colour}m{kind}:\x1b[0m {message}")
        } else {
            writeln!(self.err, "{kind}: {message}")
        };
    }
}
