//! Times a variant with random weights, for `benches/compare_onnxruntime.py`.
//!
//! `time_network VARIANT THREADS` prints the input's side, then answers each line on stdin, a number
//! of runs, with a line of that many times in milliseconds.

#[path = "../tests/support/mod.rs"]
mod support;

use effnet::arch::{Padding, Variant};
use effnet::session::{Session, SessionOptions};
use effnet::weights::Precision;
use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::sync::Arc;
use std::time::Instant;
use support::{Random, metadata, random_weights};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, variant, threads] = &arguments[..] else {
        return Err("usage: time_network VARIANT THREADS".into());
    };
    let variant: Variant = variant.parse()?;
    let options = SessionOptions { threads: Some(threads.parse()?), ..SessionOptions::default() };
    let weights = random_weights(&metadata(variant, Padding::Symmetric, Precision::Fp32), 1);
    let mut session = Session::new(Arc::new(weights), options)?;
    let image = Random::new(2).vector(session.input_elems());
    println!("{}", variant.native_size());
    for line in stdin().lines() {
        let mut times = Vec::new();
        for _ in 0..line?.trim().parse()? {
            let start = Instant::now();
            session.run(&image)?;
            times.push(format!("{:.4}", start.elapsed().as_secs_f64() * 1e3));
        }
        println!("{}", times.join(" "));
        stdout().flush()?;
    }
    Ok(())
}
