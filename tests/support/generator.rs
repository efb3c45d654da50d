//! The counter-based generator of weights and inputs: the twin of `tests/golden/generator.py`,
//! where the formulas are explained. Both give the same bits.

#![allow(dead_code)] // every test file uses its own part

use super::containers::NamedTensor;
use effnet::arch::{Activation, Network};
use effnet::weights::{Family, Layer, SourceRole, SourceTensor, source_names};
use sha2::{Digest, Sha256};

fn mix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The values of one name, each a function of its index alone.
#[derive(Clone, Copy)]
struct Uniform {
    key: u64,
}

impl Uniform {
    fn new(seed: u64, name: &str) -> Uniform {
        Uniform { key: mix64(seed.wrapping_add(fnv1a64(name))) }
    }

    /// A multiple of 2^-23 in [-1, 1).
    fn at(self, index: usize) -> f32 {
        let step = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = mix64(self.key.wrapping_add(step)) >> 40;
        bits as f32 * (1.0 / (1 << 23) as f32) - 1.0
    }
}

/// `weight variance * fan_in` per kind of layer, and as a part of it for a `project` whose output
/// is added to the block's input.
fn gain(layer: Layer, network: &Network, skip: bool) -> f64 {
    let relu6 = network.activation == Activation::Relu6;
    let pick = |with_se, without_se, lite| {
        let has_se = network.variant.has_squeeze_excite();
        if relu6 {
            lite
        } else if has_se {
            with_se
        } else {
            without_se
        }
    };
    match layer {
        Layer::Stem => 4.0,
        Layer::Expand(_) => pick(1.0, 1.0, 2.4),
        Layer::Depthwise(_) => pick(1.6, 1.6, 2.4),
        Layer::SeReduce(_) => 3.0,
        Layer::SeExpand(_) => 4.0,
        Layer::Project(_) => pick(3.2, 1.2, 0.7) * if skip { 0.125 } else { 1.0 },
        Layer::HeadConv => 0.8,
        Layer::Classifier => 6.0,
    }
}

const ZERO_VARIANCE_BELOW: f32 = -0.9375;
const ZERO_VARIANCE_GAMMA: f32 = 1.0 / 512.0;
const LARGE_GAMMA_ABOVE: f32 = 0.9375;

/// The network's own name of a tensor, as in `blocks.3.expand.gamma`.
pub fn canonical_name(layer: Layer, role: SourceRole) -> String {
    let kind = match role {
        SourceRole::Weight => "weight",
        SourceRole::Bias => "bias",
        SourceRole::Gamma => "gamma",
        SourceRole::Beta => "beta",
        SourceRole::Mean => "mean",
        SourceRole::Variance => "var",
        SourceRole::BatchesTracked => "batches_tracked",
    };
    format!("{layer}.{kind}")
}

/// Elements of a layer's tensor of PyTorch's `shape`, row-major.
pub fn tensor(
    seed: u64,
    network: &Network,
    layer: Layer,
    role: SourceRole,
    shape: &[usize],
) -> Vec<f32> {
    let u = Uniform::new(seed, &canonical_name(layer, role));
    let elems = 0..shape.iter().product();
    match role {
        SourceRole::Weight => {
            let skip = match layer {
                Layer::Project(block) => network.blocks[block].skip,
                _ => false,
            };
            let fan_in: usize = shape[1..].iter().product();
            let limit = (3.0 * gain(layer, network, skip) / fan_in as f64).sqrt() as f32;
            elems.map(|i| u.at(i) * limit).collect()
        }
        SourceRole::Gamma => {
            let variance = Uniform::new(seed, &canonical_name(layer, SourceRole::Variance));
            let value = |i| {
                let mut value = 1.0 + 0.25 * u.at(i);
                if u.at(i) > LARGE_GAMMA_ABOVE {
                    value *= 3.0;
                }
                if variance.at(i) < ZERO_VARIANCE_BELOW {
                    value *= ZERO_VARIANCE_GAMMA;
                }
                value
            };
            elems.map(value).collect()
        }
        SourceRole::Variance => {
            let value = |u: f32| if u < ZERO_VARIANCE_BELOW { 0.0 } else { 1.0 + 0.5 * u };
            elems.map(|i| value(u.at(i))).collect()
        }
        SourceRole::Beta | SourceRole::Mean => elems.map(|i| 0.25 * u.at(i)).collect(),
        SourceRole::Bias => elems.map(|i| 0.5 * u.at(i)).collect(),
        SourceRole::BatchesTracked => vec![1.0],
    }
}

/// The shape that PyTorch gives a tensor which its family may store transposed.
pub fn canonical_shape(family: Family, source: &SourceTensor) -> Vec<usize> {
    let weight = source.role == SourceRole::Weight;
    match (family, source.layer, &source.shape[..]) {
        (Family::Keras, Layer::Depthwise(_), &[h, w, c, 1]) if weight => vec![c, 1, h, w],
        (Family::Keras, _, &[h, w, c_in, c_out]) if weight => vec![c_out, c_in, h, w],
        (Family::PaddleClas | Family::Keras, Layer::Classifier, &[c_in, c_out]) if weight => {
            vec![c_out, c_in]
        }
        (.., shape) => shape.to_vec(),
    }
}

/// A tensor as its family stores it.
fn stored(seed: u64, family: Family, network: &Network, source: &SourceTensor) -> NamedTensor {
    let shape = canonical_shape(family, source);
    let values = tensor(seed, network, source.layer, source.role, &shape);
    let data = match (shape == source.shape, &shape[..]) {
        (true, _) => values,
        // [c, 1, h, w] to [h, w, c, 1], [c_out, c_in, h, w] to [h, w, c_in, c_out], and rows to
        // columns.
        (false, [rows, rest @ ..]) => {
            let (a, b) = match (rest, source.layer) {
                (&[c_in, h, w], _) => (c_in, h * w),
                (&[c_in], _) => (c_in, 1),
                _ => panic!("{}: {shape:?}", source.name),
            };
            let element = |tap, i, o| values[(o * a + i) * b + tap];
            let order = (0..b).flat_map(|tap| (0..a).map(move |i| (tap, i)));
            order
                .flat_map(|(tap, i)| (0..*rows).map(move |o| (tap, i, o)))
                .map(|(tap, i, o)| element(tap, i, o))
                .collect()
        }
        (false, []) => panic!("{}: a scalar is stored as it is", source.name),
    };
    NamedTensor { name: source.name.clone(), shape: source.shape.clone(), data }
}

/// A whole checkpoint of `network` in the naming of `family`.
pub fn checkpoint(seed: u64, family: Family, network: &Network) -> Vec<NamedTensor> {
    source_names(family, network)
        .iter()
        .map(|source| stored(seed, family, network, source))
        .collect()
}

/// The side of the input's squares.
const COARSE: usize = 16;

/// The input image of `seed`, NHWC.
pub fn image(seed: u64, h: usize, w: usize) -> Vec<f32> {
    let fine = Uniform::new(seed, "input");
    let coarse = Uniform::new(seed, "input.coarse");
    let (rows, columns) = (h.div_ceil(COARSE), w.div_ceil(COARSE));
    let mut image = Vec::with_capacity(h * w * Network::C_IMAGE);
    for y in 0..h {
        for x in 0..w {
            for c in 0..Network::C_IMAGE {
                // The streams count in NCHW order.
                let square = (c * rows + y / COARSE) * columns + x / COARSE;
                image.push(0.5 * fine.at((c * h + y) * w + x) + 0.5 * coarse.at(square));
            }
        }
    }
    image
}

/// An NHWC image in NCHW order, as the digests want it.
pub fn nchw(image: &[f32]) -> Vec<f32> {
    let c_image = Network::C_IMAGE;
    (0..c_image).flat_map(|c| image.iter().skip(c).step_by(c_image).copied()).collect()
}

/// SHA-256 of the little-endian bytes, in hexadecimal.
pub fn digest(values: &[f32]) -> String {
    let mut hash = Sha256::new();
    for value in values {
        hash.update(value.to_le_bytes());
    }
    hex(hash)
}

/// SHA-256 of a checkpoint's list of names and shapes, sorted, without the tensors that inference
/// ignores.
pub fn names_digest(sources: &[SourceTensor]) -> String {
    let mut lines: Vec<_> = sources
        .iter()
        .filter(|source| source.role != SourceRole::BatchesTracked)
        .map(|source| format!("{} {:?}\n", source.name, source.shape))
        .collect();
    lines.sort_unstable();
    let mut hash = Sha256::new();
    lines.iter().for_each(|line| hash.update(line));
    hex(hash)
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
