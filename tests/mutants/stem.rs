//! `kernels/stem.cu`.

use super::*;
use crate::support::emulated::Stem;
use effnet::kernels::stem::{self, StemInput};

/// Part-empty tiles in both directions, every border, one pixel.
fn stem_shapes(kernel: (StemInput, Precision)) -> Vec<Box<dyn Case>> {
    let shapes = [
        ([17, 35], [9, 18], [1, 1], [2, 24], ACTIVATION_SWISH),
        ([1, 1], [1, 1], [1, 1], [1, 8], ACTIVATION_NONE),
        ([6, 7], [3, 4], [0, 1], [1, 40], ACTIVATION_RELU6),
    ];
    let cases = shapes.into_iter().enumerate();
    cases
        .map(|(i, (input, output, pad, n_c, activation))| -> Box<dyn Case> {
            let values = (activation, Data::Uniform);
            Box::new(Stem::new(kernel, input, output, pad, n_c, values, i as u64))
        })
        .collect()
}

fn stem_subjects() -> Vec<Subject> {
    let kernels = [
        (StemInput::U8, Precision::Fp16, 0),
        (StemInput::F32, Precision::Fp16, 2),
        (StemInput::F32, Precision::Fp32, 4),
    ];
    kernels
        .into_iter()
        .map(|(input, precision, entry)| {
            (stem::IMAGE, stem::ENTRIES[entry], stem_shapes((input, precision)))
        })
        .collect()
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn stem_has_no_report_under_adversarial_schedules() {
    no_report(stem_subjects());
}

/// Bounds of the image decide which taps are zero, and are mostly met by selecting values: few
/// accesses depend on them.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_stem_are_reported() {
    all_are_reported(stem_subjects(), 50.0);
}
