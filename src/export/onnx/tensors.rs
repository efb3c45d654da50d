//! Conversion of packed tensors to ONNX's layouts and types.
//!
//! | tensor | packed | ONNX |
//! |---|---|---|
//! | stem | `[k, k, 3, c_out]` | `[c_out, 3, k, k]` |
//! | depthwise | `[k, k, c]` | `[c, 1, k, k]` |
//! | expand, project, head | `[c_out, c_in]` | `[c_out, c_in, 1, 1]` |
//! | squeeze-excite reduce | `[c_se, c]` | `[c_se, c, 1, 1]` |
//! | squeeze-excite expand | `[c_se, c]` | `[c, c_se, 1, 1]` |
//! | classifier | `[classes, c_head]` | the same, for a Gemm that transposes it |

use super::OnnxError;
use crate::weights::{Precision, TensorId, Weights};
use half::f16;

/// A packed tensor's elements.
enum Elements<'a> {
    Fp32(&'a [f32]),
    Fp16(&'a [f16]),
}

impl Elements<'_> {
    fn at(&self, index: usize) -> f64 {
        match self {
            Elements::Fp32(values) => f64::from(values[index]),
            Elements::Fp16(values) => values[index].to_f64(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Elements::Fp32(values) => values.len(),
            Elements::Fp16(values) => values.len(),
        }
    }
}

fn elements(weights: &Weights, id: TensorId) -> Elements<'_> {
    match weights.f32(id) {
        Some(values) => Elements::Fp32(values),
        None => Elements::Fp16(weights.f16(id).unwrap_or_default()),
    }
}

/// Numbers as little-endian bytes of `precision`, each rounded once, to nearest even.
pub(super) fn encode(
    tensor: &str,
    values: impl ExactSizeIterator<Item = f64>,
    precision: Precision,
) -> Result<Vec<u8>, OnnxError> {
    let mut bytes = Vec::with_capacity(values.len() * precision.elem_bytes());
    for (index, value) in values.enumerate() {
        let finite = match precision {
            Precision::Fp32 => {
                let rounded = value as f32;
                bytes.extend_from_slice(&rounded.to_le_bytes());
                rounded.is_finite()
            }
            Precision::Fp16 => {
                let rounded = f16::from_f64(value);
                bytes.extend_from_slice(&rounded.to_le_bytes());
                rounded.is_finite()
            }
        };
        if !finite {
            let tensor = tensor.to_owned();
            return Err(OnnxError::Value { tensor, index, value, precision });
        }
    }
    Ok(bytes)
}

/// A tensor in the order of the packed file.
pub(super) fn plain(
    weights: &Weights,
    id: TensorId,
    precision: Precision,
) -> Result<Vec<u8>, OnnxError> {
    let name = weights.tensors()[id.0 as usize].name();
    let elements = elements(weights, id);
    encode(&name, (0..elements.len()).map(|index| elements.at(index)), precision)
}

/// The weights of a convolution, one output channel after the other. `source` says where the packed
/// tensor has element `tap` of output channel `c`. With `scale`, a tensor of one number per output
/// channel, each weight is multiplied by its channel's, in f64.
pub(super) fn convolution(
    weights: &Weights,
    id: TensorId,
    c_out: usize,
    scale: Option<TensorId>,
    precision: Precision,
    source: impl Fn(usize, usize) -> usize,
) -> Result<Vec<u8>, OnnxError> {
    let name = weights.tensors()[id.0 as usize].name();
    let packed = elements(weights, id);
    let scale = scale.map(|id| elements(weights, id));
    let taps = packed.len() / c_out.max(1);
    let value = |index: usize| {
        let (c, tap) = (index / taps, index % taps);
        let factor = scale.as_ref().map_or(1.0, |scale| scale.at(c));
        packed.at(source(c, tap)) * factor
    };
    encode(&name, (0..packed.len()).map(value), precision)
}
