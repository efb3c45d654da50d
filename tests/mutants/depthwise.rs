//! `kernels/depthwise.cu`.

use super::*;
use crate::support::emulated::Depthwise;
use effnet::kernels::depthwise;

/// Pads up to the k - 1 that the launch module allows, in both parities, so that a stride of 2 also
/// brings every tap to every border; one to five tiles, the last part empty; channels of part-empty
/// groups.
fn depthwise_shapes(precision: Precision, k: usize, stride: usize) -> Vec<Box<dyn Case>> {
    let plain = [
        (true, [k / 2, k / 2], [2, 72], [9 * stride, 8 * stride]),
        (false, [0, 1], [1, 8], [1, 1]),
    ];
    let wide = [
        (true, [k - 1, k - 1], [2, 8], [3, 4]),
        (false, [k - 2, k - 1], [2, 40], [3, 3]),
        (true, [k - 1, k - 2], [1, 8], [4, 3]),
        (false, [k - 2, k - 2], [2, 8], [4, 4]),
    ];
    let shapes = plain.into_iter().chain(wide).enumerate();
    shapes
        .map(|(i, (squeeze, pad, n_c, input))| -> Box<dyn Case> {
            // The last window is the last that starts within the input.
            let output = [0, 1].map(|axis| (input[axis] - 1 + pad[axis]) / stride + 1);
            let mut shape = Depthwise::shape(precision, [k, stride], input, output, pad, n_c);
            shape.squeeze = squeeze;
            shape.activation = [ACTIVATION_SWISH, ACTIVATION_NONE, ACTIVATION_RELU6][i % 3];
            Box::new(Depthwise::filled(shape, i as u64))
        })
        .collect()
}

fn depthwise_subjects(precision: Precision) -> Vec<Subject> {
    let windows = [(3, 1), (3, 2), (5, 1), (5, 2)];
    let first = if precision == Precision::Fp16 { 0 } else { 4 };
    (0..4)
        .map(|i| {
            let (k, stride) = windows[i];
            let shapes = depthwise_shapes(precision, k, stride);
            (depthwise::IMAGE, depthwise::ENTRIES[first + i], shapes)
        })
        .collect()
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn depthwise_f16_has_no_report_under_adversarial_schedules() {
    no_report(depthwise_subjects(Precision::Fp16));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn depthwise_f32_has_no_report_under_adversarial_schedules() {
    no_report(depthwise_subjects(Precision::Fp32));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_depthwise_f16_are_reported() {
    all_are_reported(depthwise_subjects(Precision::Fp16), 95.0);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_depthwise_f32_are_reported() {
    all_are_reported(depthwise_subjects(Precision::Fp32), 95.0);
}
