//! Why a command did not run a kernel.

use super::argument::{MAX_BUFFER_BYTES, Malformed};
use crate::{LaunchError, LoadError};
use std::io;
use std::path::PathBuf;

/// Why a kernel was not run, or its outputs not written.
#[derive(Debug, thiserror::Error)]
pub enum EmulateError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Not text, as of an object file.
    #[error("{0} is not text: expected PTX, as `nvcc -ptx` writes it")]
    NotText(PathBuf),
    /// PTX that the emulator does not take.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Not exactly one kernel.
    #[error("which kernel? expected --entry NAME; {path} has {available}")]
    WhichEntry {
        /// The file.
        path: PathBuf,
        /// The names of its kernels.
        available: String,
    },
    /// An argument that is not one.
    #[error("argument {number} '{text}': {source}")]
    Argument {
        /// From 1.
        number: usize,
        /// As written.
        text: String,
        /// What is wrong.
        source: Malformed,
    },
    /// More or fewer arguments than parameters.
    #[error("{found} given: {entry} takes {expected}{parameters}")]
    ArgumentCount {
        /// Number of arguments, with the word.
        found: String,
        /// The kernel.
        entry: String,
        /// Number of parameters, with the word.
        expected: String,
        /// A line for each parameter.
        parameters: String,
    },
    /// A value of another size than its parameter.
    #[error("argument {number} '{text}' has {found} bytes: expected {expected}, of {parameter}")]
    ArgumentBytes {
        /// From 1.
        number: usize,
        /// As written.
        text: String,
        /// Its size, or that of an address.
        found: usize,
        /// The parameter's size.
        expected: u32,
        /// The parameter.
        parameter: String,
    },
    /// More memory than the emulator is given.
    #[error(
        "argument {number} '{text}': all buffers together have more than {MAX_BUFFER_BYTES} bytes"
    )]
    TooLarge {
        /// From 1.
        number: usize,
        /// As written.
        text: String,
    },
    /// Two outputs in one file.
    #[error("argument {number} '{text}': an argument before it goes to the same file")]
    SameOutput {
        /// From 1.
        number: usize,
        /// As written.
        text: String,
    },
    /// A launch that hardware would not take.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Standard output, closed or full.
    #[error("standard output: {0}")]
    Stdout(#[source] io::Error),
    /// An output that cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}
