//! Sums over pixels as a pass of its own.

use super::LaunchOp;
use crate::kernels::params::PoolParams;
use crate::kernels::{LaunchError, head};
use crate::launches::Buf;
use crate::launches::prepare::{Context, UntypedLaunch, int};
use crate::weights::TensorId;

/// `partial_sums[n, tile, c]` is the sum of `input` over the pixels of a tile.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// Pixels of one image, `h * w`.
    pub pixels: usize,
    /// Channels.
    pub c: usize,
    /// `[n, h, w, c]`.
    pub input: Buf,
    /// `[n, tiles, c]`, f32, with [`Pool::tiles`] tiles.
    pub partial_sums: Buf,
}

impl Pool {
    /// Tiles that an image's pixels are cut into: the extent of `partial_sums`.
    pub fn tiles(pixels: usize) -> usize {
        head::pool_tiles(int(pixels)) as usize
    }
}

impl LaunchOp for Pool {
    fn reads(&self) -> Vec<Buf> {
        vec![self.input]
    }

    fn writes(&self) -> Vec<Buf> {
        vec![self.partial_sums]
    }

    fn tensors(&self) -> Vec<TensorId> {
        Vec::new()
    }

    fn launch(&self, context: &Context<'_>) -> Result<UntypedLaunch, LaunchError> {
        let params = PoolParams {
            input: context.buffer(self.input),
            partial_sums: context.buffer(self.partial_sums),
            n: context.images(),
            pixels: int(self.pixels),
            c: int(self.c),
            reserved: 0,
        };
        UntypedLaunch::new(head::pool(context.storage(), params))
    }
}
