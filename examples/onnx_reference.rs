//! Weights and their logits, for `tests/onnx/check.py`.
//!
//! `onnx_reference pack VARIANT FAMILY WEIGHTS` writes the packed weights of a generated checkpoint
//! with the conventions of a family: `tests/golden/README.md` says why those weights tell faults
//! apart. `onnx_reference run WEIGHTS HxW N FOLDER` runs N generated images on the CPU executor,
//! and writes `input.f32` as `[N, 3, h, w]`, `logits.f32` and `features.f32` into the folder.

#[path = "../tests/support/mod.rs"]
mod support;

use effnet::arch::{Network, Size};
use effnet::session::{Session, SessionOptions};
use effnet::weights::{Family, ImportOptions, Precision, Weights, import};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use support::containers::{ContainerKind, write_container};
use support::generator;

const CLASSES: usize = 1000;
const SEED: u64 = 17;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["pack", variant, family, weights] => {
            let network = Network::new(variant.parse()?, CLASSES);
            pack(&network, family.parse()?, Path::new(weights))
        }
        ["run", weights, size, n, folder] => {
            let (h, w) = size.split_once('x').ok_or("a size is written HxW")?;
            let size = Size { h: h.parse()?, w: w.parse()? };
            run(Path::new(weights), size, n.parse()?, Path::new(folder))
        }
        _ => Err("usage: onnx_reference pack VARIANT FAMILY WEIGHTS\n       \
                  onnx_reference run WEIGHTS HxW N FOLDER"
            .into()),
    }
}

fn pack(network: &Network, family: Family, weights: &Path) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let kind = ContainerKind::Safetensors;
    let checkpoint = folder.path().join(format!("checkpoint.{}", kind.extension()));
    write_container(&checkpoint, kind, &generator::checkpoint(SEED, family, network));
    let options = ImportOptions {
        variant: Some(network.variant),
        family: Some(family),
        precision: Precision::Fp32,
        ..ImportOptions::default()
    };
    import(&checkpoint, weights, &options)?;
    Ok(())
}

fn run(weights: &Path, size: Size, n: usize, folder: &Path) -> Result<(), Box<dyn Error>> {
    let options = SessionOptions { batch: n, size: Some(size), ..SessionOptions::default() };
    let mut session = Session::new(Arc::new(Weights::open(weights)?), options)?;
    let images: Vec<Vec<f32>> =
        (0..n).map(|i| generator::image(SEED + i as u64, size.h, size.w)).collect();
    let outputs = session.run(&images.concat())?;
    let input: Vec<f32> = images.iter().flat_map(|image| generator::nchw(image)).collect();
    let logits: Vec<f32> = (0..n).flat_map(|i| outputs.logits(i)).copied().collect();
    let features: Vec<f32> = (0..n).flat_map(|i| outputs.features(i)).copied().collect();
    for (name, values) in [("input", input), ("logits", logits), ("features", features)] {
        std::fs::write(folder.join(format!("{name}.f32")), bytemuck::cast_slice::<_, u8>(&values))?;
    }
    Ok(())
}
