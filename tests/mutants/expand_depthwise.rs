//! `kernels/expand_depthwise.cu`.

use super::*;
use crate::support::emulated::{ExpandDepthwise, Expected, Prepared};
use effnet::kernels::expand_depthwise;

/// The launch of large maps and batches: each block walks over all groups of channels.
struct OneSlice(ExpandDepthwise);

impl Case for OneSlice {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let mut prepared = self.0.prepare(buffers);
        assert!(prepared.geometry.grid[1] > 1);
        prepared.geometry.grid[1] = 1;
        prepared
    }

    fn expected(&self) -> Vec<Expected> {
        self.0.expected()
    }

    fn describe(&self) -> String {
        format!("{}, one slice", self.0.describe())
    }
}

/// Part-empty tiles and groups of channels, channels that fill half of a matrix instruction, and
/// every border.
fn shapes(precision: Precision, k: usize, stride: usize) -> Vec<Box<dyn Case>> {
    let shapes = [
        (true, [k / 2, k / 2], [1, 8, 104], [5 * stride, 9 * stride]),
        (false, [0, 1], [1, 16, 8], [1, 1]),
        (true, [k - 1, k - 1], [2, 8, 8], [2, 3]),
    ];
    let shapes = shapes.into_iter().enumerate();
    shapes
        .map(|(i, (squeeze, pad, channels, input))| -> Box<dyn Case> {
            // The last window is the last that starts within the input.
            let output = [0, 1].map(|axis| (input[axis] - 1 + pad[axis]) / stride + 1);
            let mut shape =
                ExpandDepthwise::shape(precision, [k, stride], input, output, pad, channels);
            shape.squeeze = squeeze;
            shape.activation = [ACTIVATION_SWISH, ACTIVATION_NONE, ACTIVATION_RELU6][i % 3];
            let case = ExpandDepthwise::filled(shape, i as u64);
            if i == 0 { Box::new(OneSlice(case)) } else { Box::new(case) }
        })
        .collect()
}

fn subjects(precision: Precision) -> Vec<Subject> {
    let windows = [(3, 1), (3, 2), (5, 1), (5, 2)];
    let first = if precision == Precision::Fp16 { 0 } else { 4 };
    (0..4)
        .map(|i| {
            let (k, stride) = windows[i];
            let entry = expand_depthwise::ENTRIES[first + i];
            (expand_depthwise::IMAGE, entry, shapes(precision, k, stride))
        })
        .collect()
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn expand_depthwise_f16_has_no_report_under_adversarial_schedules() {
    no_report(subjects(Precision::Fp16));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn expand_depthwise_f32_has_no_report_under_adversarial_schedules() {
    no_report(subjects(Precision::Fp32));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_expand_depthwise_f16_are_reported() {
    all_are_reported(subjects(Precision::Fp16), 60.0);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_expand_depthwise_f32_are_reported() {
    all_are_reported(subjects(Precision::Fp32), 85.0);
}
