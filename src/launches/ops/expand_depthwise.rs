//! A block's expand convolution and its depthwise convolution in one kernel: the expanded map stays
//! on the chip.

use super::squeeze::SqueezeFields;
use super::{BatchNorm, LaunchOp, Squeeze};
use crate::arch::{Activation, ConvGeometry};
use crate::kernels::params::{ExpandDepthwiseParams, activation_code};
use crate::kernels::{LaunchError, expand_depthwise};
use crate::launches::Buf;
use crate::launches::prepare::{Context, UntypedLaunch, int};
use crate::weights::{Precision, TensorId};

/// `output = act(conv(act(input . expand_weight^T * scale + shift)) * scale + shift)`, with a scale
/// and a shift for each of the two convolutions.
#[derive(Clone, Debug)]
pub(crate) struct ExpandDepthwise {
    /// Window and sizes of the depthwise convolution.
    pub conv: ConvGeometry,
    /// Input channels.
    pub c_in: usize,
    /// Expanded channels, which are the output's.
    pub c_mid: usize,
    /// Applied after each of the two.
    pub activation: Activation,
    /// `[n, h_in, w_in, c_in]`.
    pub input: Buf,
    /// `[n, h_out, w_out, c_mid]`.
    pub output: Buf,
    /// `[n, tiles, c_mid]`, f32: sums of the output over the pixels of each of
    /// [`ExpandDepthwise::tiles`].
    pub partial_sums: Option<Buf>,
    /// In place of `partial_sums`, in f16.
    pub squeeze: Option<Squeeze>,
    /// `[c_mid, c_in]`.
    pub expand_weight: TensorId,
    /// `[c_mid]` each.
    pub expand_bn: BatchNorm,
    /// `[k, k, c_mid]`.
    pub depthwise_weight: TensorId,
    /// `[c_mid]` each.
    pub depthwise_bn: BatchNorm,
}

impl ExpandDepthwise {
    /// Tiles of one image's output: the extent of `partial_sums`, and of the squeeze's parts.
    pub fn tiles(precision: Precision, conv: ConvGeometry, c_in: usize) -> usize {
        let output = [conv.output.h, conv.output.w].map(int);
        expand_depthwise::Tiles::new(precision, conv.k, conv.stride, output, int(c_in)).count()
            as usize
    }
}

impl LaunchOp for ExpandDepthwise {
    fn reads(&self) -> Vec<Buf> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<Buf> {
        let parts = self.squeeze.map(|squeeze| squeeze.parts);
        [Some(self.output), self.partial_sums, parts].into_iter().flatten().collect()
    }

    fn tensors(&self) -> Vec<TensorId> {
        let weights = [self.expand_weight, self.depthwise_weight];
        let reduce = self.squeeze.map(|squeeze| squeeze.reduce_weight);
        let batch_norms = self.expand_bn.into_iter().chain(self.depthwise_bn);
        weights.into_iter().chain(batch_norms).chain(reduce).collect()
    }

    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError> {
        let conv = self.conv;
        let [expand_scale, expand_shift] = context.bn(Some(self.expand_bn));
        let [depthwise_scale, depthwise_shift] = context.bn(Some(self.depthwise_bn));
        let extents = [self.c_mid, ExpandDepthwise::tiles(context.storage(), conv, self.c_in)];
        let SqueezeFields { reduce_weight, squeeze, c_se, slice } =
            Squeeze::fields(self.squeeze, extents, context);
        let params = ExpandDepthwiseParams {
            input: context.buffer(self.input),
            expand_weight: context.weight(self.expand_weight),
            expand_scale,
            expand_shift,
            depthwise_weight: context.weight(self.depthwise_weight),
            depthwise_scale,
            depthwise_shift,
            output: context.buffer(self.output),
            partial_sums: context.optional(self.partial_sums),
            reduce_weight,
            squeeze,
            n: context.images(),
            h_in: int(conv.input.h),
            w_in: int(conv.input.w),
            h_out: int(conv.output.h),
            w_out: int(conv.output.w),
            c_in: int(self.c_in),
            c_mid: int(self.c_mid),
            pad_top: int(conv.pad_top),
            pad_left: int(conv.pad_left),
            activation: activation_code(self.activation),
            c_se,
            slice,
            ..Default::default()
        };
        UntypedLaunch::new(expand_depthwise::launch(context.storage(), conv.k, conv.stride, params))
    }
}
