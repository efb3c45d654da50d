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
        let tiles = depthwise::Tiles::new(Precision::Fp32, conv.k, conv.stride, [h, w]);
        let tiles = tiles.count() as usize;
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

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_squeeze_excite() {
    let machine = machine(squeeze_excite::IMAGE);
    for precision in PRECISIONS {
        let case = SqueezeExcite::new(precision, [2, 3, 78], [232, 10], 1);
        check_batch(&machine, &case, 2, |i| case.image(i));
    }
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

    /// Every remainder of the loops that are unrolled by four, over tiles, channels and the squeeze's
    /// width, with one and with several threads to a sum.
    fn squeeze_excite_shapes(precision: Precision) -> Vec<Box<dyn Case>> {
        let shapes = [
            ([2, 3, 150], [104, 3]),
            ([1, 1, 1], [8, 1]),
            ([2, 20, 1225], [264, 35]),
            ([1, 6, 361], [4104, 2]),
            ([1, 7, 400], [1544, 6]),
            ([1, 50, 3136], [40, 70]),
        ];
        let cases = shapes.into_iter().enumerate();
        cases
            .map(|(i, (image, channels))| -> Box<dyn Case> {
                Box::new(SqueezeExcite::new(precision, image, channels, i as u64))
            })
            .collect()
    }

    fn squeeze_excite_subjects() -> Vec<Subject> {
        let precisions = [Precision::Fp16, Precision::Fp32].into_iter().enumerate();
        precisions
            .map(|(i, p)| {
                (squeeze_excite::IMAGE, squeeze_excite::ENTRIES[i], squeeze_excite_shapes(p))
            })
            .collect()
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn squeeze_excite_has_no_report_under_adversarial_schedules() {
        no_report(squeeze_excite_subjects());
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn mutants_of_squeeze_excite_are_reported() {
        all_are_reported(squeeze_excite_subjects(), 95.0);
    }
}
