//! Launches of `kernels/preprocess.cu`, and the CPU's crop that they have to give.

use super::*;
use effnet::image::{Interpolation, Recipe, RgbImage8, resize_and_crop};
use effnet::kernels::preprocess::{self, Resample, ResampleAddresses};

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
