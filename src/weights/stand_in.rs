//! Random weights and inputs. The time of a run does not depend on the values, as long as they are
//! ordinary numbers: that is why these keep activations of order one, far from infinity and from
//! subnormals.

use super::{
    Family, Labels, Layer, Metadata, PackedTensor, Precision, Source, StoreError, TensorKind,
    Weights, packed_tensors, write_packed,
};
use crate::arch::{Padding, Size, Variant};
use crate::files::TemporaryFolder;
use crate::image::{Framing, Interpolation, Recipe, Rounding, ShortSide};
use std::path::Path;

/// Classes of the stand-ins: ImageNet's.
pub const CLASSES: usize = 1000;

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[-1, 1)`.
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// `elems` numbers as those of [`Random::signed`].
    pub fn vector(&mut self, elems: usize) -> Vec<f32> {
        (0..elems).map(|_| self.signed()).collect()
    }
}

/// Metadata of a packed file of random weights: no labels, and a recipe of halves.
pub fn metadata(variant: Variant, padding: Padding, precision: Precision) -> Metadata {
    Metadata {
        layout_version: Metadata::LAYOUT_VERSION,
        name: "random".to_owned(),
        variant,
        family: Family::Timm,
        precision,
        padding,
        // Scales and shifts are random too, and have it in them.
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
        classes: CLASSES,
        activation: None,
        labels: Labels::None,
        source: Source {
            file_name: "random".to_owned(),
            sha256: "0".repeat(64),
            container: "none".to_owned(),
        },
    }
}

/// Random weights of a variant with ImageNet's number of classes, named `random`; padding is
/// TensorFlow's.
pub fn random_weights(variant: Variant, precision: Precision) -> Result<Weights, StoreError> {
    weights(&metadata(variant, Padding::SameDynamic, precision), 1)
}

/// Random weights from a seed. They are written to a temporary file that is gone when this returns.
pub fn weights(metadata: &Metadata, seed: u64) -> Result<Weights, StoreError> {
    let in_temp = |source| StoreError::Io { path: std::env::temp_dir(), source };
    let folder = TemporaryFolder::new().map_err(in_temp)?;
    let path = folder.path().join("random.safetensors");
    write(&path, metadata, seed)?;
    Weights::open(&path)
}

/// Writes a packed file of random weights from a seed.
pub fn write(path: &Path, metadata: &Metadata, seed: u64) -> Result<(), StoreError> {
    let mut random = Random::new(seed);
    let tensors = packed_tensors(&metadata.network());
    let data: Vec<Vec<f32>> = tensors.iter().map(|tensor| values(tensor, &mut random)).collect();
    write_packed(path, metadata, &data).map(|_| ())
}

/// Weights uniform with the variance `2 / fan_in` (less for the projection, whose results add up
/// along the skips), scales near 1, shifts and biases small.
fn values(tensor: &PackedTensor, random: &mut Random) -> Vec<f32> {
    let fan_in: usize = match (tensor.layer, tensor.kind) {
        (Layer::Stem, TensorKind::Weight) => tensor.shape[..3].iter().product(),
        (Layer::Depthwise(_), TensorKind::Weight) => tensor.shape[0] * tensor.shape[1],
        (Layer::SeExpand(_), TensorKind::Weight) => tensor.shape[0],
        (_, TensorKind::Weight) => tensor.shape[1],
        _ => 1,
    };
    let gain = if matches!(tensor.layer, Layer::Project(_)) { 1.0 } else { 2.0 };
    let limit = (3.0f32 * gain / fan_in as f32).sqrt();
    let value = |x: f32| match tensor.kind {
        TensorKind::Weight => limit * x,
        TensorKind::BnScale => 1.0 + 0.2 * x,
        TensorKind::BnShift | TensorKind::Bias => 0.3 * x,
    };
    (0..tensor.elems()).map(|_| value(random.signed())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Session, SessionOptions};
    use std::sync::Arc;

    /// The session refuses NaN; infinity would be no ordinary number either.
    #[test]
    fn logits_of_random_weights_are_ordinary() {
        for variant in [Variant::B0, Variant::Lite0] {
            let weights = Arc::new(random_weights(variant, Precision::Fp16).unwrap());
            let size = Some(Size::square(32));
            let options = SessionOptions { size, ..SessionOptions::default() };
            let mut session = Session::new(weights, options).unwrap();
            let image = Random::new(2).vector(session.input_elems());
            let outputs = session.run(&image).unwrap();
            let largest = outputs.logits(0).iter().fold(0.0f32, |most, x| most.max(x.abs()));
            assert!((1e-3..1e3).contains(&largest), "{variant}: {largest}");
        }
    }
}
