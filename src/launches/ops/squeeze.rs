//! A squeeze without a launch: its two sides, in the launch that makes the map and in the one that
//! is gated by it.

use crate::kernels::squeeze;
use crate::launches::Buf;
use crate::launches::prepare::{Context, int};
use crate::weights::TensorId;

/// The side of the launch that makes the map: sums of the output over tiles, multiplied by slices of
/// the reduce weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Squeeze {
    /// `[n, tiles, slices, c_se rounded up to 4]`, f32.
    pub parts: Buf,
    /// `[c_se, c]`.
    pub reduce_weight: TensorId,
    /// Channels between the two convolutions of the squeeze-excite step.
    pub c_se: usize,
}

/// The fields of a launch that makes a squeeze's parts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SqueezeFields {
    pub reduce_weight: u64,
    pub squeeze: u64,
    pub c_se: i32,
    pub slice: i32,
}

impl Squeeze {
    /// Elements of one image's parts, of a map of `c` channels in `tiles` tiles.
    pub fn elems(c: usize, tiles: usize, c_se: usize) -> usize {
        squeeze::elems(int(c), int(tiles), int(c_se))
    }

    /// Parts of one image: slices of channels of each tile.
    pub fn parts(c: usize, tiles: usize) -> usize {
        tiles * squeeze::slices(int(c), int(tiles)) as usize
    }

    /// What a launch gets; nothing where there is no squeeze.
    pub(super) fn fields(
        this: Option<Squeeze>,
        [c, tiles]: [usize; 2],
        context: &Context<'_>,
    ) -> SqueezeFields {
        let Some(Squeeze { parts, reduce_weight, c_se }) = this else {
            return SqueezeFields::default();
        };
        SqueezeFields {
            reduce_weight: context.weight(reduce_weight),
            squeeze: context.buffer(parts),
            c_se: int(c_se),
            slice: squeeze::slice(int(c), int(tiles)),
        }
    }
}

/// The side of the launch that is gated: `gate = sigmoid(expand(swish(reduce)))` of its own input
/// channels, from the parts of the squeeze.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SqueezedGate {
    /// `[n, parts, c_se rounded up to 4]`, f32.
    pub squeeze: Buf,
    /// Parts of one image.
    pub parts: usize,
    /// Channels between the two convolutions of the squeeze-excite step.
    pub c_se: usize,
    /// Reduce bias `[c_se]`, expand weight `[c_se, c_in]` and bias `[c_in]`.
    pub weights: [TensorId; 3],
}
