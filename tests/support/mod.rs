//! What several test files share: containers, the golden generator, and networks with seeded random
//! weights.
#![allow(dead_code)] // each test file uses a part of it

pub mod containers;
pub mod emulated;
pub mod generator;
pub mod oracle;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::image::{Framing, Interpolation, Recipe, Rounding, ShortSide};
use effnet::weights::{
    Family, Labels, Layer, Metadata, PackedTensor, Precision, Source, TensorKind, Weights,
    packed_tensors, write_packed,
};
use std::path::Path;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[-1, 1)`, a multiple of 2^-23.
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn vector(&mut self, elems: usize) -> Vec<f32> {
        (0..elems).map(|_| self.signed()).collect()
    }
}

pub fn metadata(variant: Variant, padding: Padding, precision: Precision) -> Metadata {
    Metadata {
        layout_version: Metadata::LAYOUT_VERSION,
        name: "random".into(),
        variant,
        family: Family::Timm,
        precision,
        padding,
        bn_eps: 1e-5,
        recipe: Recipe {
            interpolation: Interpolation::PillowBicubic,
            framing: Framing::ResizeThenCrop {
                short_side: ShortSide::CropPct(0.875),
                rounding: Rounding::Torchvision,
            },
            mean: [0.5; 3],
            std: [0.5; 3],
            exif_orientation: false,
            size: Size::square(variant.native_size()),
        },
        classes: 1000,
        labels: Labels::None,
        source: Source {
            file_name: "random".into(),
            sha256: "0".repeat(64),
            container: "none".into(),
        },
    }
}

/// Random values that keep activations of order one: weights uniform with the variance
/// `2 / fan_in` (less for the projection, whose results add up along the skips), scales near 1,
/// shifts and biases small.
pub fn values(tensor: &PackedTensor, random: &mut Random) -> Vec<f32> {
    let fan_in = match (tensor.layer, tensor.kind) {
        (Layer::Stem, TensorKind::Weight) => tensor.shape[..3].iter().product(),
        (Layer::Depthwise(_), TensorKind::Weight) => tensor.shape[0] * tensor.shape[1],
        (Layer::SeExpand(_), TensorKind::Weight) => tensor.shape[0],
        (_, TensorKind::Weight) => tensor.shape[1],
        _ => 1,
    };
    let gain = match tensor.layer {
        Layer::Project(_) => 1.0f32,
        _ => 2.0,
    };
    let limit = (3.0 * gain / fan_in as f32).sqrt();
    (0..tensor.elems())
        .map(|_| {
            let x = random.signed();
            match tensor.kind {
                TensorKind::Weight => limit * x,
                TensorKind::BnScale => 1.0 + 0.2 * x,
                TensorKind::BnShift | TensorKind::Bias => 0.3 * x,
            }
        })
        .collect()
}

/// Writes a packed file of random weights.
pub fn write_random(path: &Path, metadata: &Metadata, seed: u64) {
    let mut random = Random::new(seed);
    let network = Network::new(metadata.variant, metadata.classes);
    let data: Vec<_> =
        packed_tensors(&network).iter().map(|tensor| values(tensor, &mut random)).collect();
    write_packed(path, metadata, &data).expect("a temporary file can be written");
}

/// Random weights, opened from a file that is gone afterwards.
pub fn random_weights(metadata: &Metadata, seed: u64) -> Weights {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("random.safetensors");
    write_random(&path, metadata, seed);
    Weights::open(&path).expect("a packed file that was just written")
}
