//! From a depthwise output's sums to the gate of its channels.

use super::LaunchOp;
use crate::kernels::params::SqueezeExciteParams;
use crate::kernels::{LaunchError, squeeze_excite};
use crate::launches::Buf;
use crate::launches::prepare::{Context, UntypedLaunch, int};
use crate::weights::TensorId;

/// `gate = sigmoid(expand(swish(reduce(mean))))`, where `mean` is the sum over all tiles divided by
/// the pixels.
#[derive(Clone, Debug)]
pub(crate) struct SqueezeExcite {
    /// Tiles of `partial_sums`.
    pub tiles: usize,
    /// Pixels of one image that the sums are over.
    pub pixels: usize,
    /// Channels of sums and gate.
    pub c: usize,
    /// Channels between.
    pub c_se: usize,
    /// `[n, tiles, c]`, f32.
    pub partial_sums: Buf,
    /// `[n, c]`, f32.
    pub gate: Buf,
    /// Reduce weight `[c_se, c]` and bias `[c_se]`, expand weight `[c_se, c]` and bias `[c]`.
    pub weights: [TensorId; 4],
}

impl LaunchOp for SqueezeExcite {
    fn reads(&self) -> Vec<Buf> {
        vec![self.partial_sums]
    }

    fn writes(&self) -> Vec<Buf> {
        vec![self.gate]
    }

    fn tensors(&self) -> Vec<TensorId> {
        self.weights.to_vec()
    }

    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError> {
        let [reduce_weight, reduce_bias, expand_weight, expand_bias] =
            self.weights.map(|id| context.weight(id));
        let params = SqueezeExciteParams {
            partial_sums: context.buffer(self.partial_sums),
            reduce_weight,
            reduce_bias,
            expand_weight,
            expand_bias,
            gate: context.buffer(self.gate),
            n: context.images(),
            tiles: int(self.tiles),
            pixels: int(self.pixels),
            c: int(self.c),
            c_se: int(self.c_se),
            reserved: 0,
        };
        UntypedLaunch::new(squeeze_excite::launch(context.storage(), params))
    }
}
