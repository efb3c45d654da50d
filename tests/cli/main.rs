//! The `effnet` binary from end to end: synthetic packed weights, generated pictures. `place` has the
//! folder that each test runs in.

mod about;
mod classify;
mod eval;
mod images;
mod place;
#[path = "../support/mod.rs"]
mod support;
mod weights;

use effnet::weights::Labels;
use place::{NAMES, Place, Ran, packed};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::process::Stdio;

fn paths(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["path"].as_str().unwrap()).collect()
}

/// The index of the most probable class.
fn best(line: &Value) -> u64 {
    line["top"][0]["index"].as_u64().unwrap()
}
