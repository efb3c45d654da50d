//! `effnet emulate`: the command line of the emulator's own crate.

use super::Status;
use super::output::{Out, StdoutError};
pub use ptx_emulator::cli::Args;
use ptx_emulator::cli::{self, EmulateError, Outcome, Streams};
use std::io;

/// What `--help` says after the options.
pub fn after_help() -> String {
    cli::after_help("effnet emulate")
}

/// Runs the kernel; outputs and counters go to standard output, findings to standard error.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    let mut streams =
        Streams { out: out.writer(), err: &mut io::stderr(), colour: Streams::stderr_has_colour() };
    match cli::run(args, &mut streams) {
        Ok(Outcome::Clean) => Ok(Status::Complete),
        Ok(Outcome::Findings) => Ok(Status::Findings),
        Err(EmulateError::Stdout(error)) => Err(StdoutError(error).into()),
        Err(error) => Err(error.into()),
    }
}
