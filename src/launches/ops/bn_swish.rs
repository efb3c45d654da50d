//! Batch-norm, activation, gate and skip as passes of their own, in place.

use super::{BatchNorm, LaunchOp};
use crate::arch::Activation;
use crate::kernels::params::{BnSwishParams, activation_code};
use crate::kernels::{LaunchError, bn_swish};
use crate::launches::Buf;
use crate::launches::prepare::{Context, UntypedLaunch, int};
use crate::weights::TensorId;

/// `x = act(x * scale + shift) * gate + skip`, each part where there is one.
#[derive(Clone, Debug)]
pub(crate) struct BnSwish {
    /// Pixels of one image, `h * w`.
    pub pixels: usize,
    /// Channels.
    pub c: usize,
    /// Applied after the batch-norm.
    pub activation: Activation,
    /// `[n, h, w, c]`, read and written.
    pub x: Buf,
    /// `[c]` each.
    pub bn: Option<BatchNorm>,
    /// `[n, c]`, f32.
    pub gate: Option<Buf>,
    /// `[n, h, w, c]`.
    pub skip: Option<Buf>,
}

impl LaunchOp for BnSwish {
    fn reads(&self) -> Vec<Buf> {
        [Some(self.x), self.gate, self.skip].into_iter().flatten().collect()
    }

    fn writes(&self) -> Vec<Buf> {
        vec![self.x]
    }

    fn tensors(&self) -> Vec<TensorId> {
        self.bn.into_iter().flatten().collect()
    }

    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError> {
        let [scale, shift] = context.bn(self.bn);
        let params = BnSwishParams {
            input: context.buffer(self.x),
            scale,
            shift,
            gate: context.optional(self.gate),
            skip: context.optional(self.skip),
            output: context.buffer(self.x),
            rows: int(context.n.saturating_mul(self.pixels)),
            pixels: int(self.pixels),
            c: int(self.c),
            activation: activation_code(self.activation),
        };
        UntypedLaunch::new(bn_swish::launch(context.storage(), params))
    }
}
