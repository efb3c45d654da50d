//! The best classes of each image, with their parts of the softmax.

use super::LaunchOp;
use crate::kernels::params::TopKParams;
use crate::kernels::{LaunchError, head};
use crate::launches::Buf;
use crate::launches::prepare::{Context, UntypedLaunch, int};
use crate::weights::TensorId;

/// The `k` largest logits of each image, in descending order.
#[derive(Clone, Debug)]
pub(crate) struct TopK {
    /// Logits of one image.
    pub classes: usize,
    /// Classes that are found, `1 <= k <= classes`.
    pub k: usize,
    /// `[n, classes]`, f32.
    pub logits: Buf,
    /// Classes (i32), logits and probabilities (f32), `[n, k]` each.
    pub outputs: [Buf; 3],
}

impl LaunchOp for TopK {
    fn reads(&self) -> Vec<Buf> {
        vec![self.logits]
    }

    fn writes(&self) -> Vec<Buf> {
        self.outputs.to_vec()
    }

    fn tensors(&self) -> Vec<TensorId> {
        Vec::new()
    }

    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError> {
        let [top_classes, top_logits, top_probabilities] =
            self.outputs.map(|buf| context.buffer(buf));
        let params = TopKParams {
            logits: context.buffer(self.logits),
            top_classes,
            top_logits,
            top_probabilities,
            n: context.images(),
            classes: int(self.classes),
            k: int(self.k),
            reserved: 0,
        };
        UntypedLaunch::new(head::top_k(params))
    }
}
