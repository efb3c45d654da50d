//! The command line: a kernel of a PTX file with its arguments, run with every check.
//!
//! It is a part of a program's command line, or, as `ptx-emulator`, all of it. [`Args`] are the
//! options, [`after_help`] is the help that goes with them, and [`run`] does what they ask for.

mod args;
mod argument;
mod error;
mod print;
mod run;
mod streams;
mod text;

pub use args::{Args, after_help};
pub use argument::{MAX_BUFFER_BYTES, Malformed};
pub use error::EmulateError;
pub use run::{Outcome, run};
pub use streams::Streams;
