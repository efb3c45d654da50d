//! A launch before it is known for how many images: shapes of one image, buffers, tensors.

use crate::arch::{Activation, ConvGeometry};
use crate::weights::TensorId;
use std::ops::Range;

/// Index of a buffer in [`LaunchPlan::buffers`](super::LaunchPlan::buffers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buf(pub usize);

/// Scale and shift of a batch-norm.
pub(super) type BatchNorm = [TensorId; 2];

#[derive(Clone, Debug)]
pub(super) struct Node {
    /// For people.
    pub name: String,
    /// The plan's steps that it computes, or a part of.
    pub steps: Range<usize>,
    /// Multiply-accumulates of one image.
    pub image_macs: u64,
    pub op: Op,
}

/// What is launched. Without a batch-norm the convolution's sums are stored as they are.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Stem {
        conv: ConvGeometry,
        c_out: usize,
        activation: Activation,
        output: Buf,
        weight: TensorId,
        bn: Option<BatchNorm>,
    },
    Pointwise(Pointwise),
    Depthwise {
        conv: ConvGeometry,
        c: usize,
        activation: Activation,
        input: Buf,
        output: Buf,
        partial_sums: Option<Buf>,
        weight: TensorId,
        bn: Option<BatchNorm>,
    },
    ExpandDepthwise {
        conv: ConvGeometry,
        c_in: usize,
        c_mid: usize,
        activation: Activation,
        input: Buf,
        output: Buf,
        partial_sums: Option<Buf>,
        expand_weight: TensorId,
        expand_bn: BatchNorm,
        depthwise_weight: TensorId,
        depthwise_bn: BatchNorm,
    },
    /// `x = act(bn(x)) * gate + skip`, in place, each part where there is one.
    BnSwish {
        pixels: usize,
        c: usize,
        activation: Activation,
        x: Buf,
        bn: Option<BatchNorm>,
        gate: Option<Buf>,
        skip: Option<Buf>,
    },
    Pool {
        pixels: usize,
        c: usize,
        input: Buf,
        partial_sums: Buf,
    },
    SqueezeExcite {
        tiles: usize,
        pixels: usize,
        c: usize,
        c_se: usize,
        partial_sums: Buf,
        gate: Buf,
        /// Reduce weight and bias, expand weight and bias.
        weights: [TensorId; 4],
    },
    Classifier {
        tiles: usize,
        pixels: usize,
        c: usize,
        classes: usize,
        partial_sums: Buf,
        features: Buf,
        logits: Buf,
        weight: TensorId,
        bias: TensorId,
    },
    TopK {
        classes: usize,
        k: usize,
        logits: Buf,
        /// Classes, logits, probabilities.
        outputs: [Buf; 3],
    },
}

#[derive(Clone, Debug)]
pub(super) struct Pointwise {
    pub pixels: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub activation: Activation,
    pub input: Buf,
    pub gate: Option<Buf>,
    pub skip: Option<Buf>,
    /// The map; none where only its sums over all pixels are wanted.
    pub output: Option<Buf>,
    pub partial_sums: Option<Buf>,
    /// Room for chunk sums, where some number of images splits them.
    pub chunk_sums: Option<Buf>,
    pub weight: TensorId,
    pub bn: Option<BatchNorm>,
}

impl Op {
    /// Buffers that are read.
    pub fn reads(&self) -> Vec<Buf> {
        match self {
            Op::Stem { .. } => Vec::new(),
            Op::Pointwise(p) => [Some(p.input), p.gate, p.skip].into_iter().flatten().collect(),
            Op::Depthwise { input, .. } | Op::ExpandDepthwise { input, .. } => vec![*input],
            Op::BnSwish { x, gate, skip, .. } => {
                [Some(*x), *gate, *skip].into_iter().flatten().collect()
            }
            Op::Pool { input, .. } => vec![*input],
            Op::SqueezeExcite { partial_sums, .. } | Op::Classifier { partial_sums, .. } => {
                vec![*partial_sums]
            }
            Op::TopK { logits, .. } => vec![*logits],
        }
    }

    /// Buffers that are written; scratch space among them.
    pub fn writes(&self) -> Vec<Buf> {
        match self {
            Op::Stem { output, .. } => vec![*output],
            Op::Pointwise(p) => {
                [p.output, p.partial_sums, p.chunk_sums].into_iter().flatten().collect()
            }
            Op::Depthwise { output, partial_sums, .. }
            | Op::ExpandDepthwise { output, partial_sums, .. } => {
                [Some(*output), *partial_sums].into_iter().flatten().collect()
            }
            Op::BnSwish { x, .. } => vec![*x],
            Op::Pool { partial_sums, .. } => vec![*partial_sums],
            Op::SqueezeExcite { gate, .. } => vec![*gate],
            Op::Classifier { features, logits, .. } => vec![*features, *logits],
            Op::TopK { outputs, .. } => outputs.to_vec(),
        }
    }

    /// Tensors of the packed file that are read.
    pub fn tensors(&self) -> Vec<TensorId> {
        let with_bn = |weight: TensorId, bn: &Option<BatchNorm>| {
            [weight].into_iter().chain(bn.iter().flatten().copied()).collect()
        };
        match self {
            Op::Stem { weight, bn, .. } | Op::Depthwise { weight, bn, .. } => with_bn(*weight, bn),
            Op::Pointwise(p) => with_bn(p.weight, &p.bn),
            Op::ExpandDepthwise {
                expand_weight,
                expand_bn,
                depthwise_weight,
                depthwise_bn,
                ..
            } => [*expand_weight, *depthwise_weight]
                .into_iter()
                .chain(*expand_bn)
                .chain(*depthwise_bn)
                .collect(),
            Op::BnSwish { bn, .. } => bn.iter().flatten().copied().collect(),
            Op::SqueezeExcite { weights, .. } => weights.to_vec(),
            Op::Classifier { weight, bias, .. } => vec![*weight, *bias],
            Op::Pool { .. } | Op::TopK { .. } => Vec::new(),
        }
    }
}
