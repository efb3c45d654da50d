//! From the head's sums to features and logits.

use super::LaunchOp;
use crate::kernels::params::ClassifierParams;
use crate::kernels::{LaunchError, head};
use crate::launches::Buf;
use crate::launches::prepare::{Context, UntypedLaunch, int};
use crate::weights::TensorId;

/// `features` are the sums over all tiles divided by the pixels; `logits = features . w^T + bias`.
#[derive(Clone, Debug)]
pub(crate) struct Classifier {
    /// Tiles of `partial_sums`.
    pub tiles: usize,
    /// Pixels of one image that the sums are over.
    pub pixels: usize,
    /// Features.
    pub c: usize,
    /// Outputs.
    pub classes: usize,
    /// `[n, tiles, c]`, f32.
    pub partial_sums: Buf,
    /// `[n, c]`, f32.
    pub features: Buf,
    /// `[n, classes]`, f32.
    pub logits: Buf,
    /// `[classes, c]`.
    pub weight: TensorId,
    /// `[classes]`.
    pub bias: TensorId,
}

impl LaunchOp for Classifier {
    fn reads(&self) -> Vec<Buf> {
        vec![self.partial_sums]
    }

    fn writes(&self) -> Vec<Buf> {
        vec![self.features, self.logits]
    }

    fn tensors(&self) -> Vec<TensorId> {
        vec![self.weight, self.bias]
    }

    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError> {
        let params = ClassifierParams {
            partial_sums: context.buffer(self.partial_sums),
            weight: context.weight(self.weight),
            bias: context.weight(self.bias),
            features: context.buffer(self.features),
            logits: context.buffer(self.logits),
            n: context.images(),
            tiles: int(self.tiles),
            pixels: int(self.pixels),
            c: int(self.c),
            classes: int(self.classes),
            octets: 0,
        };
        UntypedLaunch::new(head::classifier(context.storage(), params))
    }
}
