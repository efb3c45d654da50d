//! `kernels/pointwise.cu`.

use super::*;
use crate::support::emulated::{Outputs, Pointwise};
use effnet::kernels::pointwise;

/// Rows and columns that end in each eighth of a warp's tile, k that ends in each quarter of a
/// step; tiles of several images; sums of several chunks, split and not; every output.
fn pointwise_shapes(tile: [i32; 2]) -> Vec<Box<dyn Case>> {
    use Outputs::{Both, Pooled, Stored};
    let shapes = [
        ([3, 25, 40, 72], ACTIVATION_SWISH, [true, true], Stored, false),
        ([1, 37, 120, 40], ACTIVATION_SWISH, [false, true], Stored, false),
        ([2, 19, 264, 40], ACTIVATION_NONE, [true, false], Both, true),
        ([1, 49, 24, 80], ACTIVATION_NONE, [true, false], Pooled, false),
        ([1, 70, 296, 56], ACTIVATION_RELU6, [false, true], Stored, true),
        ([1, 1, 8, 112], ACTIVATION_SWISH, [false, true], Both, false),
        ([2, 37, 272, 8], ACTIVATION_NONE, [false, false], Stored, false),
    ];
    let cases = shapes.into_iter().enumerate();
    cases
        .map(|(i, (shape, activation, extras, outputs, split))| -> Box<dyn Case> {
            let case = Pointwise::new(Data::Uniform, shape, activation, extras, i as u64);
            let case = case.giving(outputs).forced(tile, split);
            Box::new(if i % 3 == 2 { case.without_batch_norm() } else { case })
        })
        .collect()
}

fn pointwise_subjects(tiles: &[[i32; 2]]) -> Vec<Subject> {
    let entry = |tile: &[i32; 2]| {
        let at = pointwise::TILES.iter().position(|t| t == tile).expect("one of the tiles");
        pointwise::ENTRIES[at]
    };
    tiles.iter().map(|tile| (pointwise::IMAGE, entry(tile), pointwise_shapes(*tile))).collect()
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_has_no_report_under_adversarial_schedules() {
    no_report(pointwise_subjects(&pointwise::TILES));
}

/// All entries are one template.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_pointwise_are_reported() {
    all_are_reported(pointwise_subjects(&[[32, 32]]), 85.0);
}
