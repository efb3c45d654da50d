//! A depthwise convolution, batch-norm, activation, and sums of the output for the squeeze.

use super::squeeze::SqueezeFields;
use super::{BatchNorm, LaunchOp, Squeeze, with_bn};
use crate::arch::{Activation, ConvGeometry};
use crate::kernels::params::{DepthwiseParams, activation_code};
use crate::kernels::{LaunchError, depthwise};
use crate::launches::Buf;
use crate::launches::prepare::{Context, UntypedLaunch, int};
use crate::weights::{Precision, TensorId};

/// `output = act(conv(input) * scale + shift)`, each channel by itself.
#[derive(Clone, Debug)]
pub(crate) struct Depthwise {
    /// Window and sizes.
    pub conv: ConvGeometry,
    /// Channels.
    pub c: usize,
    /// Applied last.
    pub activation: Activation,
    /// `[n, h_in, w_in, c]`.
    pub input: Buf,
    /// `[n, h_out, w_out, c]`.
    pub output: Buf,
    /// `[n, tiles, c]`, f32: sums of the output over the pixels of each of [`Depthwise::tiles`].
    pub partial_sums: Option<Buf>,
    /// In place of `partial_sums`, in f16.
    pub squeeze: Option<Squeeze>,
    /// `[k, k, c]`.
    pub weight: TensorId,
    /// `[c]` each.
    pub bn: Option<BatchNorm>,
}

impl Depthwise {
    /// Tiles of one image's output: the extent of `partial_sums`, and of the squeeze's parts.
    pub fn tiles(precision: Precision, conv: ConvGeometry) -> usize {
        let size = [int(conv.output.h), int(conv.output.w)];
        depthwise::Tiles::new(precision, conv.k, conv.stride, size).count() as usize
    }
}

impl LaunchOp for Depthwise {
    fn reads(&self) -> Vec<Buf> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<Buf> {
        let parts = self.squeeze.map(|squeeze| squeeze.parts);
        [Some(self.output), self.partial_sums, parts].into_iter().flatten().collect()
    }

    fn tensors(&self) -> Vec<TensorId> {
        let reduce = self.squeeze.map(|squeeze| squeeze.reduce_weight);
        with_bn(self.weight, self.bn).into_iter().chain(reduce).collect()
    }

    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError> {
        let conv = self.conv;
        let [scale, shift] = context.bn(self.bn);
        let extents = [self.c, Depthwise::tiles(context.storage(), conv)];
        let SqueezeFields { reduce_weight, squeeze, c_se, slice } =
            Squeeze::fields(self.squeeze, extents, context);
        let params = DepthwiseParams {
            input: context.buffer(self.input),
            weight: context.weight(self.weight),
            scale,
            shift,
            output: context.buffer(self.output),
            partial_sums: context.optional(self.partial_sums),
            reduce_weight,
            squeeze,
            n: context.images(),
            h_in: int(conv.input.h),
            w_in: int(conv.input.w),
            h_out: int(conv.output.h),
            w_out: int(conv.output.w),
            c: int(self.c),
            pad_top: int(conv.pad_top),
            pad_left: int(conv.pad_left),
            activation: activation_code(self.activation),
            c_se,
            slice,
            ..Default::default()
        };
        UntypedLaunch::new(depthwise::launch(context.storage(), conv.k, conv.stride, params))
    }
}
