//! `kernels/squeeze_excite.cu`.

use super::*;
use crate::support::emulated::SqueezeExcite;
use effnet::kernels::squeeze_excite;

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
        .map(|(i, p)| (squeeze_excite::IMAGE, squeeze_excite::ENTRIES[i], squeeze_excite_shapes(p)))
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
