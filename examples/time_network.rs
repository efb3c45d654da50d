//! Times a packed file's network, for `benches/compare_onnxruntime.py`.
//!
//! `time_network WEIGHTS INPUT THREADS` runs the f32 NHWC image in the file INPUT once and prints its
//! logits on one line; then it answers each line on stdin, a number of runs, with a line of that many
//! times in milliseconds.

use effnet::session::{Session, SessionOptions};
use effnet::weights::Weights;
use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, weights, input, threads] = &arguments[..] else {
        return Err("usage: time_network WEIGHTS INPUT THREADS".into());
    };
    let options = SessionOptions { threads: Some(threads.parse()?), ..SessionOptions::default() };
    let weights = Weights::open(Path::new(weights))?;
    let mut session = Session::new(Arc::new(weights), options)?;
    let image: Vec<f32> = bytemuck::pod_collect_to_vec(&std::fs::read(input)?);
    let logits: Vec<String> =
        session.run(&image)?.logits(0).iter().map(|logit| logit.to_string()).collect();
    println!("{}", logits.join(" "));
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
