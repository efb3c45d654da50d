//! The blocks that a variant's scaling rules give.

use super::{Activation, Variant};
use std::fmt;

/// One MBConv block: `expand` (absent where the expansion is 1), `depthwise`, `squeeze_excite`
/// (absent in some variants), `project`, `skip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSpec {
    /// Position among all blocks, from 0.
    pub index: usize,
    /// Stage, from 0, and the position within it, from 0.
    pub stage: usize,
    /// Position within the stage, from 0.
    pub index_in_stage: usize,
    /// Input channels.
    pub c_in: usize,
    /// Channels between `expand` and `project`; equal to `c_in` where there is no expand.
    pub c_mid: usize,
    /// Output channels.
    pub c_out: usize,
    /// Width of the squeeze, where the variant has squeeze-excite: a quarter of `c_in`, at least 1.
    /// Only a multiple of 2: 4, 6, 10, 14, 22, ...
    pub c_se: Option<usize>,
    /// Side of the depthwise kernel: 3 or 5.
    pub k: usize,
    /// Stride of the depthwise convolution: 1 or 2.
    pub stride: usize,
    /// Whether the block's input is added to its output: stride 1, and output channels equal to
    /// input channels.
    pub skip: bool,
}

impl BlockSpec {
    /// Whether the block has an expand convolution: every block but those of the first stage.
    pub fn has_expand(&self) -> bool {
        self.c_mid != self.c_in
    }
}

/// A variant with a number of classes: everything about the network but its input size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The variant that the rest follows from.
    pub variant: Variant,
    /// The activation after the stem, expand, depthwise and head convolutions.
    pub activation: Activation,
    /// Output channels of the stem.
    pub c_stem: usize,
    /// The MBConv blocks, in order.
    pub blocks: Vec<BlockSpec>,
    /// Output channels of the head convolution: the width of the features.
    pub c_head: usize,
    /// Outputs of the classifier.
    pub classes: usize,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} classes", self.variant, self.classes)
    }
}

/// A stage before scaling: repeats, kernel, stride, expansion, channels out (table 1 of the paper).
struct Stage(usize, usize, usize, usize, usize);

#[rustfmt::skip]
const STAGES: [Stage; 7] = [
    // repeats k stride expand c_out
    Stage(1, 3, 1, 1,  16),
    Stage(2, 3, 2, 6,  24),
    Stage(2, 5, 2, 6,  40),
    Stage(3, 3, 2, 6,  80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
];
const C_STEM: usize = 32;
const C_HEAD: usize = 1280;
/// Width of the squeeze as a part of the block's input channels.
const SE_RATIO: f64 = 0.25;

impl Network {
    /// Kernel side and stride of the stem.
    pub const STEM_K: usize = 3;
    /// Stride of the stem.
    pub const STEM_STRIDE: usize = 2;
    /// Channels of the input image.
    pub const C_IMAGE: usize = 3;
    /// The most outputs of a classifier that any part of the project accepts.
    pub const MAX_CLASSES: usize = 1 << 20;

    /// The network of a variant with `classes` outputs.
    pub fn new(variant: Variant, classes: usize) -> Network {
        let lite = variant.is_lite();
        let scale = |base| if lite { base } else { variant.scale_channels(base) };
        let c_stem = scale(C_STEM);
        let c_head = scale(C_HEAD);

        let mut blocks = Vec::new();
        let mut c_in = c_stem;
        for (stage, &Stage(repeats, k, stride, expand, c_out)) in STAGES.iter().enumerate() {
            // The Lite family keeps the first and the last stage at one block.
            let unscaled = lite && (stage == 0 || stage == STAGES.len() - 1);
            let repeats = if unscaled { repeats } else { variant.scale_repeats(repeats) };
            let c_out = variant.scale_channels(c_out);
            for index_in_stage in 0..repeats {
                let stride = if index_in_stage == 0 { stride } else { 1 };
                let squeeze = || ((c_in as f64 * SE_RATIO) as usize).max(1);
                blocks.push(BlockSpec {
                    index: blocks.len(),
                    stage,
                    index_in_stage,
                    c_in,
                    c_mid: c_in * expand,
                    c_out,
                    c_se: variant.has_squeeze_excite().then(squeeze),
                    k,
                    stride,
                    skip: stride == 1 && c_in == c_out,
                });
                c_in = c_out;
            }
        }
        Network { variant, activation: variant.activation(), c_stem, blocks, c_head, classes }
    }

    /// Number of stages of MBConv blocks.
    pub fn stages(&self) -> usize {
        STAGES.len()
    }

    /// Output channels of the last block: the input of the head convolution.
    pub fn c_last(&self) -> usize {
        self.blocks.last().map_or(self.c_stem, |block| block.c_out)
    }
}
