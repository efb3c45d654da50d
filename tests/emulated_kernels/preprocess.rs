//! `kernels/preprocess.cu`, against the CPU's crops: the same levels, none off by even one step.

use super::*;
use crate::support::Random;
use crate::support::emulated::*;
use effnet::image::{
    Framing, Interpolation, Recipe, RgbImage8, Rounding, ShortSide, resize_and_crop,
};
use effnet::kernels::preprocess::{self, Resample, ResampleAddresses};

// --- A launch, and its expected outputs ---

/// A frame and the recipe that is followed.
#[derive(Clone, Debug)]
pub struct Resampled {
    pub recipe: Recipe,
    pub frame: RgbImage8,
}

impl Resampled {
    /// A frame of noise, edges and plain parts, so that overshoot is met with clamping.
    pub fn new(recipe: Recipe, [height, width]: [usize; 2], seed: u64) -> Resampled {
        let random = &mut Random::new(seed);
        let pixel = |i: usize| match (i / width / 7 + i % width / 5) % 4 {
            0 => [0; 3],
            1 => [255; 3],
            _ => [0, 8, 16].map(|shift| (random.bits() >> shift) as u8),
        };
        let pixels = (0..height * width).flat_map(pixel).collect();
        let frame = RgbImage8 { width, height, pixels };
        Resampled { recipe, frame }
    }

    fn resample(&self) -> Resample {
        let RgbImage8 { width, height, .. } = self.frame;
        preprocess::resample(&self.recipe, [height, width])
            .unwrap_or_else(|e| panic!("{}: {e}", self.describe()))
    }

    /// The crop as the kernels make it. Every run must be clean, and every byte written.
    pub fn run(&self, machine: &dyn Machine, mut buffers: Buffers) -> Vec<u8> {
        let what = self.describe();
        let resample = self.resample();
        let addresses = self.allocate(&resample, &mut buffers, None);
        let launches = resample.launches(addresses).unwrap_or_else(|e| panic!("{what}: {e}"));
        let launches: Vec<Prepared> = launches.into_iter().map(Prepared::from).collect();
        machine.run(&what, &launches, &mut buffers).pop().expect("the crop comes last")
    }

    /// `between` is an output, or has contents.
    fn allocate(
        &self,
        resample: &Resample,
        buffers: &mut Buffers,
        between: Option<Vec<u8>>,
    ) -> ResampleAddresses {
        let taps = bytemuck::cast_slice(&resample.taps()).to_vec();
        ResampleAddresses {
            frame: buffers.bytes("frame", self.frame.pixels.clone()),
            taps: buffers.bytes("taps", taps),
            between: match (resample.between_bytes(), between) {
                (0, _) => 0,
                (_, Some(between)) => buffers.bytes("between", between),
                (bytes, None) => buffers.output_bytes("between", bytes),
            },
            output: buffers.output_bytes("output", resample.output_bytes()),
        }
    }

    /// The CPU's crop, in whole levels: TensorFlow's fractions clamped and rounded, halves to even.
    pub fn expected(&self) -> Vec<u8> {
        let mut levels = vec![f32::NAN; self.recipe.size.pixels() * 3];
        resize_and_crop(&self.frame, &self.recipe, &mut levels).expect("a valid recipe");
        levels.into_iter().map(|level| level.round_ties_even().clamp(0.0, 255.0) as u8).collect()
    }

    pub fn describe(&self) -> String {
        let RgbImage8 { width, height, .. } = self.frame;
        let Recipe { interpolation, framing, size, .. } = &self.recipe;
        format!("resample {interpolation:?}, {framing:?}, {height}x{width} to {size}")
    }
}

/// One of the launches by itself.
pub struct ResamplePass {
    pub resampled: Resampled,
    pub pass: usize,
}

impl Case for ResamplePass {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let resample = self.resampled.resample();
        let random = &mut Random::new(9);
        let noise = || (0..resample.between_bytes()).map(|_| random.bits() as u8).collect();
        let between = (self.pass == 1).then(noise);
        // The addresses that another pass writes are no outputs of this one.
        let addresses = match (self.pass, self.resampled.recipe.interpolation) {
            (0, Interpolation::PillowBicubic | Interpolation::PillowBilinear) => {
                let mut other = Buffers::exact();
                let nowhere = self.resampled.allocate(&resample, &mut other, None).output;
                let taps = bytemuck::cast_slice(&resample.taps()).to_vec();
                let pixels = self.resampled.frame.pixels.clone();
                ResampleAddresses {
                    frame: buffers.bytes("frame", pixels),
                    taps: buffers.bytes("taps", taps),
                    between: buffers.output_bytes("between", resample.between_bytes()),
                    output: nowhere,
                }
            }
            _ => self.resampled.allocate(&resample, buffers, between),
        };
        let launches = resample.launches(addresses).unwrap_or_else(|e| panic!("{e}"));
        launches[self.pass].into()
    }

    /// The crop is compared as a whole.
    fn expected(&self) -> Vec<Expected> {
        unreachable!("check does not ask")
    }

    fn check(&self, machine: &dyn Machine) -> Vec<Vec<u8>> {
        let outputs = self.run(machine, Buffers::exact());
        let what = self.describe();
        assert!(
            outputs == self.run(machine, Buffers::guarded()),
            "{what}: not the same bytes twice"
        );
        outputs
    }

    fn describe(&self) -> String {
        format!("pass {} of {}", self.pass, self.resampled.describe())
    }
}

// --- On the emulator or a GPU ---

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

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_preprocess() {
    let machine = machine(preprocess::IMAGE);
    let framing =
        Framing::ResizeThenCrop { short_side: ShortSide::Margin(0), rounding: Rounding::Paddle };
    for interpolation in [
        Interpolation::PillowBicubic,
        Interpolation::PillowBilinear,
        Interpolation::OpencvBilinear,
        Interpolation::TensorflowBicubic,
    ] {
        let recipe = Recipe {
            interpolation,
            framing,
            mean: [0.5; 3],
            std: [0.5; 3],
            exif_orientation: false,
            size: Size { h: 31, w: 45 },
        };
        let case = Resampled::new(recipe, [75, 100], 1);
        assert!(case.run(&machine, Buffers::exact()) == case.expected(), "{}", case.describe());
    }
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

    /// Crops with part-empty words and blocks, columns filled up to a multiple of four, rows that are
    /// none, up and down.
    fn preprocess_subjects() -> Vec<Subject> {
        let kernels = [
            (Interpolation::PillowBicubic, 0),
            (Interpolation::PillowBicubic, 1),
            (Interpolation::OpencvBilinear, 0),
            (Interpolation::TensorflowBicubic, 0),
        ];
        let crops =
            [([9, 7], [23, 30]), ([3, 129], [14, 150]), ([5, 8], [5, 8]), ([6, 10], [70, 100])];
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
                Box::new(ResamplePass {
                    resampled: Resampled::new(recipe, frame, entry as u64),
                    pass,
                })
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
}
