//! `kernels/bn_swish.cu`.

use super::*;
use crate::support::emulated::BnSwish;
use effnet::kernels::bn_swish;

/// Blocks that are part empty, rows in odd and even number, each part present and absent.
fn bn_swish_shapes(precision: Precision) -> Vec<Box<dyn Case>> {
    let shapes = [
        ([3, 17, 24], ACTIVATION_SWISH, [true, true, true]),
        ([1, 1, 8], ACTIVATION_NONE, [false, false, false]),
        ([2, 9, 232], ACTIVATION_RELU6, [true, false, true]),
        ([1, 64, 32], ACTIVATION_SWISH, [false, true, false]),
    ];
    let cases = shapes.into_iter().enumerate();
    cases
        .map(|(i, (shape, activation, parts))| -> Box<dyn Case> {
            let data = Data::Uniform;
            Box::new(BnSwish::new(precision, data, shape, activation, parts, i as u64))
        })
        .collect()
}

fn bn_swish_subjects() -> Vec<Subject> {
    let precisions = [Precision::Fp16, Precision::Fp32].into_iter().enumerate();
    precisions.map(|(i, p)| (bn_swish::IMAGE, bn_swish::ENTRIES[i], bn_swish_shapes(p))).collect()
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn bn_swish_has_no_report_under_adversarial_schedules() {
    no_report(bn_swish_subjects());
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_bn_swish_are_reported() {
    all_are_reported(bn_swish_subjects(), 95.0);
}
