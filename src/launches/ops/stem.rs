//! The stem: a convolution of the input image, batch-norm, activation.

use super::{BatchNorm, LaunchOp, with_bn};
use crate::arch::{Activation, ConvGeometry, Network};
use crate::image::Normalisation;
use crate::kernels::LaunchError;
use crate::kernels::params::{StemParams, activation_code};
use crate::kernels::stem::{self, StemInput};
use crate::launches::prepare::{Context, UntypedLaunch, int};
use crate::launches::{Buf, LaunchInput, Region};
use crate::weights::TensorId;

/// `output = act(conv(image) * scale + shift)`; the image is the whole of [`Region::Input`].
#[derive(Clone, Debug)]
pub(crate) struct Stem {
    /// Window and sizes.
    pub conv: ConvGeometry,
    /// Output channels.
    pub c_out: usize,
    /// Applied last.
    pub activation: Activation,
    /// What the image's elements are.
    pub input: LaunchInput,
    /// `[n, h_out, w_out, c_out]`.
    pub output: Buf,
    /// `[k, k, 3, c_out]`.
    pub weight: TensorId,
    /// `[c_out]` each.
    pub bn: Option<BatchNorm>,
}

impl LaunchOp for Stem {
    fn reads(&self) -> Vec<Buf> {
        Vec::new()
    }

    fn writes(&self) -> Vec<Buf> {
        vec![self.output]
    }

    fn tensors(&self) -> Vec<TensorId> {
        with_bn(self.weight, self.bn)
    }

    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError> {
        let [scale, shift] = context.bn(self.bn);
        let (elems, mean, std) = match self.input {
            LaunchInput::F32 => (StemInput::F32, [0.0; 3], [1.0; 3]),
            LaunchInput::U8(Normalisation { mean, std }) => (StemInput::U8, mean, std),
        };
        let params = StemParams {
            input: context.region(Region::Input),
            weight: context.weight(self.weight),
            scale,
            shift,
            output: context.buffer(self.output),
            mean,
            std,
            n: context.images(),
            h_in: int(self.conv.input.h),
            w_in: int(self.conv.input.w),
            h_out: int(self.conv.output.h),
            w_out: int(self.conv.output.w),
            c_out: int(self.c_out),
            pad_top: int(self.conv.pad_top),
            pad_left: int(self.conv.pad_left),
            activation: activation_code(self.activation),
            reserved: 0,
        };
        UntypedLaunch::new(stem::launch(elems, context.storage(), params))
    }

    /// The images, which are in no buffer.
    fn other_bytes(&self, context: &Context<'_>) -> u64 {
        let image_elems = self.conv.input.pixels() * Network::C_IMAGE;
        (image_elems * context.n * self.input.input_type().elem_bytes()) as u64
    }
}
