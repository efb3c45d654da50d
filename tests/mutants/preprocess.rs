//! `kernels/preprocess.cu`.

use super::*;
use crate::support::emulated::{ResamplePass, Resampled};
use effnet::arch::Size;
use effnet::image::{Framing, Interpolation, Recipe, Rounding, ShortSide};
use effnet::kernels::preprocess;

/// Crops with part-empty words and blocks, columns filled up to a multiple of four, rows that are
/// none, up and down.
fn preprocess_subjects() -> Vec<Subject> {
    let kernels = [
        (Interpolation::PillowBicubic, 0),
        (Interpolation::PillowBicubic, 1),
        (Interpolation::OpencvBilinear, 0),
        (Interpolation::TensorflowBicubic, 0),
    ];
    let crops = [([9, 7], [23, 30]), ([3, 129], [14, 150]), ([5, 8], [5, 8]), ([6, 10], [70, 100])];
    let subject = |(entry, (interpolation, pass))| {
        let case = |([h, w], frame): ([usize; 2], [usize; 2])| -> Box<dyn Case> {
            let recipe = Recipe {
                interpolation,
                framing: Framing::ResizeThenCrop {
                    short_side: ShortSide::Margin(0),
                    rounding: Rounding::Torchvision,
                },
                mean: [0.5; 3],
                std: [0.5; 3],
                exif_orientation: false,
                size: Size { h, w },
            };
            Box::new(ResamplePass { resampled: Resampled::new(recipe, frame, entry as u64), pass })
        };
        let cases = crops.into_iter().map(case).collect();
        (preprocess::IMAGE, preprocess::ENTRIES[entry], cases)
    };
    kernels.into_iter().enumerate().map(subject).collect()
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn preprocess_has_no_report_under_adversarial_schedules() {
    no_report(preprocess_subjects());
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_preprocess_are_reported() {
    all_are_reported(preprocess_subjects(), 95.0);
}
