//! Code that several test files share: containers, the golden generator, and networks with seeded
//! random weights.
#![allow(dead_code, unused_imports)] // each test file uses a part of it

#[cfg(feature = "cli")]
pub mod compare;
pub mod containers;
#[cfg(feature = "emulator")]
pub mod emulated;
pub mod emulated_driver;
pub mod generator;
pub mod oracle;

use effnet::arch::{Padding, Size, Variant};
use effnet::weights::stand_in;
pub use effnet::weights::stand_in::{Random, metadata};
use effnet::weights::{Labels, Metadata, Precision, Weights};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a program: exit status, standard output, standard error.
pub fn run(program: &str, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Makes a named pipe.
#[cfg(unix)]
pub fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Writes Lite0 for pictures of 32x32 pixels: random weights, four classes without names.
pub fn write_tiny(path: &Path) {
    let mut metadata = metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    metadata.recipe.size = Size::square(32);
    metadata.classes = 4;
    metadata.labels = Labels::None;
    write_random(path, &metadata, 1);
}

/// Writes a packed file of random weights.
pub fn write_random(path: &Path, metadata: &Metadata, seed: u64) {
    stand_in::write(path, metadata, seed).expect("a temporary file can be written");
}

/// Random weights, opened from a file that is gone afterwards.
pub fn random_weights(metadata: &Metadata, seed: u64) -> Weights {
    stand_in::weights(metadata, seed).expect("a temporary file can be written and opened")
}
