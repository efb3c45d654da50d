//! One step of a plan.

use super::BufferId;
use crate::arch::{Activation, ConvGeometry, Size};
use crate::weights::TensorId;

/// One step: an operation, the buffers that it reads and writes, and its cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// For people, as in `blocks.3.expand`.
    pub name: String,
    /// The MBConv block that the step belongs to, if any.
    pub block: Option<usize>,
    /// What is computed.
    pub op: Op,
    /// Of a depthwise step: the index of the expand step before it, if its block has one. A machine
    /// may compute that step within this one, for no other step reads its map.
    pub expand: Option<usize>,
    /// Multiply-accumulates at the full batch.
    pub macs: u64,
    /// Bytes read from and written to buffers at the full batch, each counted once.
    pub activation_bytes: u64,
    /// Bytes of weights read once.
    pub weight_bytes: u64,
}

/// Which pointwise convolution of the network this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PointwiseRole {
    /// Widens a block's input.
    Expand,
    /// Narrows the gated depthwise output; adds the skip.
    Project,
    /// The last convolution.
    HeadConv,
}

/// The operations. `y = act(conv(x) * scale + shift)` throughout, with `scale` and `shift` per
/// output channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// 3x3 stride-2 convolution of the image, batch-norm, activation.
    Stem {
        /// Window and sizes.
        conv: ConvGeometry,
        /// Output channels.
        c_out: usize,
        /// Applied last.
        activation: Activation,
        /// `[n, h, w, 3]`.
        input: BufferId,
        /// `[n, h_out, w_out, c_out]`.
        output: BufferId,
        /// `[k, k, 3, c_out]`.
        weight: TensorId,
        /// `[c_out]`.
        scale: TensorId,
        /// `[c_out]`.
        shift: TensorId,
    },
    /// 1x1 convolution: `y = act((x * gate) . w^T * scale + shift) + skip`.
    Pointwise {
        /// Which convolution of the network.
        role: PointwiseRole,
        /// Spatial size, the same for input and output.
        size: Size,
        /// Input channels.
        c_in: usize,
        /// Output channels.
        c_out: usize,
        /// Applied before the skip.
        activation: Activation,
        /// `[n, h, w, c_in]`.
        input: BufferId,
        /// `[n, 1, 1, c_in]`, f32: multiplies the input per channel.
        gate: Option<BufferId>,
        /// `[n, h, w, c_out]`: added last.
        skip: Option<BufferId>,
        /// `[n, h, w, c_out]`.
        output: BufferId,
        /// `[c_out, c_in]`.
        weight: TensorId,
        /// `[c_out]`.
        scale: TensorId,
        /// `[c_out]`.
        shift: TensorId,
    },
    /// Depthwise convolution, batch-norm, activation; sums of the output per channel if the block
    /// has squeeze-excite.
    Depthwise {
        /// Window and sizes.
        conv: ConvGeometry,
        /// Channels.
        c: usize,
        /// Applied last.
        activation: Activation,
        /// `[n, h_in, w_in, c]`.
        input: BufferId,
        /// `[n, h_out, w_out, c]`.
        output: BufferId,
        /// `[n, 1, 1, c]`, f32: the mean over all pixels (the squeeze).
        squeeze: Option<BufferId>,
        /// `[k, k, c]`.
        weight: TensorId,
        /// `[c]`.
        scale: TensorId,
        /// `[c]`.
        shift: TensorId,
    },
    /// `gate = sigmoid(expand(swish(reduce(squeeze))))`.
    SqueezeExcite {
        /// Channels of squeeze and gate.
        c: usize,
        /// Channels between.
        c_se: usize,
        /// `[n, 1, 1, c]`, f32.
        squeeze: BufferId,
        /// `[n, 1, 1, c]`, f32.
        gate: BufferId,
        /// `[c_se, c]`.
        reduce_weight: TensorId,
        /// `[c_se]`.
        reduce_bias: TensorId,
        /// `[c_se, c]`.
        expand_weight: TensorId,
        /// `[c]`.
        expand_bias: TensorId,
    },
    /// Mean over all pixels.
    Pool {
        /// Size of the input.
        size: Size,
        /// Channels.
        c: usize,
        /// `[n, h, w, c]`.
        input: BufferId,
        /// `[n, 1, 1, c]`, f32.
        output: BufferId,
    },
    /// `logits = features . w^T + bias`.
    Classifier {
        /// Features.
        c_in: usize,
        /// Outputs.
        classes: usize,
        /// `[n, 1, 1, c_in]`, f32.
        input: BufferId,
        /// `[n, 1, 1, classes]`, f32.
        output: BufferId,
        /// `[classes, c_in]`.
        weight: TensorId,
        /// `[classes]`.
        bias: TensorId,
    },
}

impl Op {
    /// The operation's name in the paper's words.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Stem { .. } => "stem",
            Op::Pointwise { role: PointwiseRole::Expand, .. } => "expand",
            Op::Pointwise { role: PointwiseRole::Project, .. } => "project",
            Op::Pointwise { role: PointwiseRole::HeadConv, .. } => "head_conv",
            Op::Depthwise { .. } => "depthwise",
            Op::SqueezeExcite { .. } => "squeeze_excite",
            Op::Pool { .. } => "pool",
            Op::Classifier { .. } => "classifier",
        }
    }

    /// Buffers that the step reads.
    pub fn reads(&self) -> Vec<BufferId> {
        match *self {
            Op::Stem { input, .. } | Op::Depthwise { input, .. } => vec![input],
            Op::Pointwise { input, gate, skip, .. } => {
                [Some(input), gate, skip].into_iter().flatten().collect()
            }
            Op::SqueezeExcite { squeeze, .. } => vec![squeeze],
            Op::Pool { input, .. } | Op::Classifier { input, .. } => vec![input],
        }
    }

    /// Buffers that the step writes.
    pub fn writes(&self) -> Vec<BufferId> {
        match *self {
            Op::Stem { output, .. }
            | Op::Pointwise { output, .. }
            | Op::Pool { output, .. }
            | Op::Classifier { output, .. } => vec![output],
            Op::Depthwise { output, squeeze, .. } => {
                [Some(output), squeeze].into_iter().flatten().collect()
            }
            Op::SqueezeExcite { gate, .. } => vec![gate],
        }
    }

    /// Tensors of the packed file that the step reads.
    pub fn weights(&self) -> Vec<TensorId> {
        match *self {
            Op::Stem { weight, scale, shift, .. }
            | Op::Pointwise { weight, scale, shift, .. }
            | Op::Depthwise { weight, scale, shift, .. } => vec![weight, scale, shift],
            Op::SqueezeExcite {
                reduce_weight, reduce_bias, expand_weight, expand_bias, ..
            } => vec![reduce_weight, reduce_bias, expand_weight, expand_bias],
            Op::Pool { .. } => vec![],
            Op::Classifier { weight, bias, .. } => vec![weight, bias],
        }
    }
}
