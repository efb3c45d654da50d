//! The tensors of a packed file: their order, shapes and layouts.
//!
//! This list is the contract between the importer, the plan and every executor: a [`TensorId`] is
//! an index into it, so nothing is looked up by name while a network runs.
//!
//! | tensor | shape | from PyTorch's | precision |
//! |---|---|---|---|
//! | `stem.weight` | `[k, k, 3, c_stem]` | `[c_stem, 3, k, k]` | as asked |
//! | `blocks.N.expand.weight` | `[c_mid, c_in]` | `[c_mid, c_in, 1, 1]` | as asked |
//! | `blocks.N.depthwise.weight` | `[k, k, c_mid]` | `[c_mid, 1, k, k]` | as asked |
//! | `blocks.N.se_reduce.weight` | `[c_se, c_mid]` | `[c_se, c_mid, 1, 1]` | as asked |
//! | `blocks.N.se_expand.weight` | `[c_se, c_mid]`, transposed | `[c_mid, c_se, 1, 1]` | as asked |
//! | `blocks.N.project.weight` | `[c_out, c_mid]` | `[c_out, c_mid, 1, 1]` | as asked |
//! | `head_conv.weight` | `[c_head, c_last]` | `[c_head, c_last, 1, 1]` | as asked |
//! | `classifier.weight` | `[classes, c_head]` | `[classes, c_head]` | as asked |
//! | `*.scale`, `*.shift` | `[c]` | gamma, beta, mean, variance, eps | always f32 |
//! | `*.bias` | `[c]` | the same | always f32 |
//!
//! Without a classifier, [`Metadata::outputs`](crate::weights::Metadata::outputs) is 1: its tensors
//! are there for that one output, and zeros.
//!
//! Batch-norm is kept as `scale = gamma / sqrt(variance + eps)` and `shift = beta - mean * scale`,
//! computed in f64, and applied after the convolution's f32 sums: folding `scale` into f16 weights
//! would push the zero-variance channels of the Lite checkpoints into f16 subnormals.

use crate::arch::Network;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Index of a tensor in [`packed_tensors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub u32);

/// The type of the convolution and classifier weights of a packed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE half precision.
    Fp16,
    /// IEEE single precision.
    Fp32,
}

impl Precision {
    /// Bytes of one element.
    pub fn elem_bytes(self) -> usize {
        match self {
            Precision::Fp16 => 2,
            Precision::Fp32 => 4,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Precision::Fp16 => "fp16",
            Precision::Fp32 => "fp32",
        })
    }
}

/// Role of a tensor in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TensorKind {
    /// Weights of a convolution or of the classifier, in the file's [`Precision`].
    Weight,
    /// `gamma / sqrt(variance + eps)`, f32.
    BnScale,
    /// `beta - mean * scale`, f32.
    BnShift,
    /// Bias of a squeeze-excite convolution or of the classifier, f32.
    Bias,
}

/// The layers that own tensors, in the paper's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the documentation; the number is the block's index
pub enum Layer {
    Stem,
    Expand(usize),
    Depthwise(usize),
    SeReduce(usize),
    SeExpand(usize),
    Project(usize),
    HeadConv,
    Classifier,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layer::Stem => f.write_str("stem"),
            Layer::Expand(block) => write!(f, "blocks.{block}.expand"),
            Layer::Depthwise(block) => write!(f, "blocks.{block}.depthwise"),
            Layer::SeReduce(block) => write!(f, "blocks.{block}.se_reduce"),
            Layer::SeExpand(block) => write!(f, "blocks.{block}.se_expand"),
            Layer::Project(block) => write!(f, "blocks.{block}.project"),
            Layer::HeadConv => f.write_str("head_conv"),
            Layer::Classifier => f.write_str("classifier"),
        }
    }
}

/// One tensor of a packed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedTensor {
    /// The layer that owns the tensor.
    pub layer: Layer,
    /// Role of the tensor in the layer.
    pub kind: TensorKind,
    /// Shape in the packed file; row-major.
    pub shape: Vec<usize>,
}

impl PackedTensor {
    /// Name in the packed file, as in `blocks.3.expand.weight`.
    pub fn name(&self) -> String {
        let kind = match self.kind {
            TensorKind::Weight => "weight",
            TensorKind::BnScale => "scale",
            TensorKind::BnShift => "shift",
            TensorKind::Bias => "bias",
        };
        format!("{}.{kind}", self.layer)
    }

    /// Number of elements.
    pub fn elems(&self) -> usize {
        self.shape.iter().product()
    }

    /// The element type in a file of `precision`.
    pub fn precision(&self, precision: Precision) -> Precision {
        if self.kind == TensorKind::Weight { precision } else { Precision::Fp32 }
    }
}

/// Every tensor of `network`'s packed file, in order.
pub fn packed_tensors(network: &Network) -> Vec<PackedTensor> {
    let mut list = Vec::new();
    let mut push = |layer, kind, shape: &[usize]| {
        list.push(PackedTensor { layer, kind, shape: shape.to_vec() });
    };
    let mut conv_bn = |layer, shape: &[usize], c_out: usize| {
        push(layer, TensorKind::Weight, shape);
        push(layer, TensorKind::BnScale, &[c_out]);
        push(layer, TensorKind::BnShift, &[c_out]);
    };

    let k = Network::STEM_K;
    conv_bn(Layer::Stem, &[k, k, Network::C_IMAGE, network.c_stem], network.c_stem);
    for block in &network.blocks {
        let n = block.index;
        if block.has_expand() {
            conv_bn(Layer::Expand(n), &[block.c_mid, block.c_in], block.c_mid);
        }
        conv_bn(Layer::Depthwise(n), &[block.k, block.k, block.c_mid], block.c_mid);
        conv_bn(Layer::Project(n), &[block.c_out, block.c_mid], block.c_out);
    }
    conv_bn(Layer::HeadConv, &[network.c_head, network.c_last()], network.c_head);

    for block in &network.blocks {
        if let Some(c_se) = block.c_se {
            let n = block.index;
            push(Layer::SeReduce(n), TensorKind::Weight, &[c_se, block.c_mid]);
            push(Layer::SeReduce(n), TensorKind::Bias, &[c_se]);
            push(Layer::SeExpand(n), TensorKind::Weight, &[c_se, block.c_mid]);
            push(Layer::SeExpand(n), TensorKind::Bias, &[block.c_mid]);
        }
    }
    push(Layer::Classifier, TensorKind::Weight, &[network.classes, network.c_head]);
    push(Layer::Classifier, TensorKind::Bias, &[network.classes]);
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Costs, NetworkGeometry, Padding, Variant};
    use std::collections::HashSet;

    #[test]
    fn the_packed_tensors_hold_every_parameter_once() {
        for variant in Variant::all() {
            let network = Network::new(variant, 1000);
            let geometry =
                NetworkGeometry::new(&network, variant.native(), Padding::Symmetric).unwrap();
            let tensors = packed_tensors(&network);
            let elems: usize = tensors.iter().map(PackedTensor::elems).sum();
            assert_eq!(elems as u64, Costs::new(&network, &geometry).parameters, "{variant}");
            let names: HashSet<_> = tensors.iter().map(PackedTensor::name).collect();
            assert_eq!(names.len(), tensors.len(), "{variant}: two tensors share a name");
        }
    }
}
