//! `kernels/pointwise_f32.cu`.

use super::*;
use crate::support::emulated::PointwiseF32;
use effnet::kernels::{Compute, pointwise_f32};

/// A case whose chunks are split, and that is pooled, as it is said.
fn pointwise_case(
    compute: Compute,
    shape: [usize; 4],
    activation: i32,
    parts: [bool; 3],
    [split, pooled, stored]: [bool; 3],
) -> Box<dyn Case> {
    let seed = shape[1] as u64;
    let case = PointwiseF32::new(compute, Data::Uniform, shape, activation, parts, seed);
    Box::new(PointwiseF32 { split: Some(split), pooled, stored, ..case })
}

/// Shapes for the smallest tiles: one step and several, one chunk and several, by one block and by
/// one each; tiles that are part empty both ways; each part present and absent.
fn pointwise_shapes(compute: Compute) -> Vec<Box<dyn Case>> {
    let (all, none) = ([true; 3], [false; 3]);
    vec![
        pointwise_case(compute, [3, 7, 40, 40], ACTIVATION_SWISH, all, [false, true, true]),
        pointwise_case(compute, [1, 1, 8, 8], ACTIVATION_NONE, none, [false, false, true]),
        pointwise_case(compute, [2, 9, 136, 24], ACTIVATION_RELU6, all, [true, true, false]),
        pointwise_case(compute, [1, 20, 264, 40], ACTIVATION_NONE, none, [true, false, true]),
        pointwise_case(compute, [2, 11, 168, 48], ACTIVATION_NONE, none, [false, false, true]),
    ]
}

fn pointwise_subject(compute: Compute) -> Vec<Subject> {
    let first = if compute == Compute::Fp32 { 0 } else { 4 };
    vec![(pointwise_f32::IMAGE, pointwise_f32::ENTRIES[first + 3], pointwise_shapes(compute))]
}

/// Each larger tile, with as few channels as may be: it takes many rows to be chosen.
fn larger_subjects(compute: Compute) -> Vec<Subject> {
    let first = if compute == Compute::Fp32 { 0 } else { 4 };
    let shapes =
        [(0, [1, 8430, 40, 56]), (1, [2, 4200, 40, 24]), (2, [2, 33, 40, 1448])].into_iter();
    shapes
        .map(|(i, shape)| {
            let parts = [false, false, true];
            let case = pointwise_case(compute, shape, ACTIVATION_NONE, [true; 3], parts);
            (pointwise_f32::IMAGE, pointwise_f32::ENTRIES[first + i], vec![case])
        })
        .collect()
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f32_has_no_report_under_adversarial_schedules() {
    no_report(pointwise_subject(Compute::Fp32));
    no_report(larger_subjects(Compute::Fp32));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_tf32_has_no_report_under_adversarial_schedules() {
    no_report(pointwise_subject(Compute::Tf32));
    no_report(larger_subjects(Compute::Tf32));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_pointwise_f32_are_reported() {
    all_are_reported(pointwise_subject(Compute::Fp32), 95.0);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_pointwise_tf32_are_reported() {
    all_are_reported(pointwise_subject(Compute::Tf32), 95.0);
}
