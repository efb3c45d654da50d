//! `kernels/squeeze_excite.cu`.

use super::*;
use crate::support::emulated::{SqueezeExcite, machine};
use effnet::kernels::{depthwise, head, squeeze_excite};
use effnet::weights::Precision;

/// Each squeeze-excite of B0 once, also with the number of tiles that the pool kernel makes; then
/// channels from one vector to more quads than a block has threads, with one to many tiles, and
/// widths of the squeeze on both sides of a block's warps, their pairs, and the parts of a sum.
fn squeeze_excite_shapes() -> Vec<([usize; 3], [usize; 2])> {
    let (network, geometry) = b0(Padding::Symmetric);
    let mut shapes = Vec::new();
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        let (h, w) = (conv.output.h as i32, conv.output.w as i32);
        let tiles = depthwise::tiles(h, w) as usize;
        let c_se = block.c_se.expect("B0 has squeeze-excite");
        let pool_tiles = head::pool_tiles(h * w) as usize;
        for tiles in [tiles, pool_tiles] {
            let shape = ([1, tiles, conv.output.pixels()], [block.c_mid, c_se]);
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
    }
    for (i, c) in CHANNELS.into_iter().chain([520, 1032, 2304, 4104]).enumerate() {
        for (j, (tiles, pixels)) in [(1, 1), (1, 49), (2, 78), (7, 400)].into_iter().enumerate() {
            shapes.push((
                [BATCH, tiles, pixels],
                [c, [1, 2, 3, 4, 6, 10, 14, 33, 70][(i + 2 * j) % 9]],
            ));
        }
    }
    shapes
}

fn squeeze_excite_gates(precision: Precision) {
    let machine = machine(squeeze_excite::IMAGE);
    for (seed, (image, channels)) in squeeze_excite_shapes().into_iter().enumerate() {
        let case = SqueezeExcite::new(precision, image, channels, seed as u64);
        check_batch(&machine, &case, image[0], |i| case.image(i));
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn squeeze_excite_f16() {
    squeeze_excite_gates(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn squeeze_excite_f32() {
    squeeze_excite_gates(Precision::Fp32);
}
