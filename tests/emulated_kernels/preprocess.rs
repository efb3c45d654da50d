//! `kernels/preprocess.cu`, against the CPU's crops: the same levels, none off by even one step.

use super::*;
use crate::support::emulated::{Resampled, machine};
use effnet::image::{Framing, Interpolation, Recipe, Rounding, ShortSide};
use effnet::kernels::preprocess;

const INTERPOLATIONS: [Interpolation; 4] = [
    Interpolation::PillowBicubic,
    Interpolation::PillowBilinear,
    Interpolation::OpencvBilinear,
    Interpolation::TensorflowBicubic,
];

/// The families' framings, and PaddleClas's rounding with a part of the picture.
fn framings() -> [Framing; 6] {
    let resize_then_crop = |short_side, rounding| Framing::ResizeThenCrop { short_side, rounding };
    [
        resize_then_crop(ShortSide::CropPct(0.875), Rounding::Torchvision),
        resize_then_crop(ShortSide::Margin(0), Rounding::Torchvision),
        resize_then_crop(ShortSide::Margin(32), Rounding::Paddle),
        resize_then_crop(ShortSide::CropPct(0.9), Rounding::Paddle),
        Framing::Squash { crop_pct: 0.934 },
        Framing::CropThenResize { margin: 32 },
    ]
}

fn recipe(interpolation: Interpolation, framing: Framing, [h, w]: [usize; 2]) -> Recipe {
    let (mean, std) = ([0.5; 3], [0.5; 3]);
    Recipe { interpolation, framing, mean, std, exif_orientation: false, size: Size { h, w } }
}

/// The crop of the kernels is the CPU's.
fn check(machine: &dyn Machine, case: &Resampled) {
    let what = case.describe();
    let found = case.run(machine, Buffers::exact());
    assert!(found == case.run(machine, Buffers::guarded()), "{what}: not the same bytes twice");
    let expected = case.expected();
    let steps = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
    let (differ, worst) =
        steps.clone().fold((0, 0), |(n, worst), step| (n + usize::from(step > 0), worst.max(step)));
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(differ == 0, "{what}: {differ} of {} levels differ, by up to {worst}", found.len());
}

/// Up and down, odd aspects, single pixels and lines, the exact half and the exact size; crops that
/// are square and not.
fn resamples(interpolation: Interpolation) {
    let machine = machine(preprocess::IMAGE);
    let frames = [
        [75, 100],
        [61, 37],
        [23, 19],
        [1, 1],
        [1, 70],
        [90, 1],
        [64, 64],
        [32, 32],
        [17, 230],
        [300, 41],
    ];
    let crops = [[32, 32], [33, 33], [31, 45], [40, 26]];
    let mut seed = 0;
    for framing in framings() {
        for frame in frames {
            let crop = crops[seed % crops.len()];
            let recipe = recipe(interpolation, framing, crop);
            check(&machine, &Resampled::new(recipe, frame, seed as u64));
            seed += 1;
        }
    }
    // A native size, wider than a block.
    let recipe = recipe(interpolation, framings()[0], [160, 160]);
    check(&machine, &Resampled::new(recipe, [250, 333], 99));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pillow_bicubic_gives_the_levels_of_the_cpu() {
    resamples(INTERPOLATIONS[0]);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pillow_bilinear_gives_the_levels_of_the_cpu() {
    resamples(INTERPOLATIONS[1]);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn opencv_gives_the_levels_of_the_cpu() {
    resamples(INTERPOLATIONS[2]);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn tensorflow_gives_the_levels_of_the_cpu_rounded() {
    resamples(INTERPOLATIONS[3]);
}

/// The halving of both sides, for which OpenCV has code of its own.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn opencv_halves_as_the_cpu() {
    let machine = machine(preprocess::IMAGE);
    let framing =
        Framing::ResizeThenCrop { short_side: ShortSide::Margin(0), rounding: Rounding::Paddle };
    for [h, w] in [[16, 16], [48, 64], [40, 9]] {
        let recipe = recipe(Interpolation::OpencvBilinear, framing, [h, w]);
        check(&machine, &Resampled::new(recipe, [2 * h, 2 * w], h as u64));
    }
}

/// The taps alone, without the kernels: extremes do not panic, and need no more than their frame.
#[test]
fn extreme_frames_have_taps() {
    for interpolation in INTERPOLATIONS {
        for framing in framings() {
            for frame in [[65_535, 1], [1, 65_535], [13_000, 13_000], [1, 1]] {
                let recipe = recipe(interpolation, framing, [40, 33]);
                let resample = preprocess::resample(&recipe, frame).unwrap();
                assert!(resample.between_bytes() <= frame[0] * 36 * 3, "{recipe:?}");
            }
        }
    }
}
