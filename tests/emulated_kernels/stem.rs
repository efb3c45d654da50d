//! `kernels/stem.cu`.

use super::*;
use crate::support::Random;
use crate::support::emulated::*;
use effnet::kernels::params::*;
use effnet::kernels::stem::{self, StemInput};
use effnet::weights::Precision;
use half::f16;

// --- A launch, and its expected outputs ---

/// Means of ImageNet, as most checkpoints have them.
pub const STEM_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviations of ImageNet, as most checkpoints have them.
pub const STEM_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Tensors and options of a stem launch.
#[derive(Clone, Debug)]
pub struct Stem {
    pub input_type: StemInput,
    pub precision: Precision,
    pub n: usize,
    pub input_size: [usize; 2],
    pub output_size: [usize; 2],
    pub pad: [usize; 2],
    pub c_out: usize,
    pub activation: i32,
    pub batch_norm: bool,
    /// Blocks along the rows, where it is not for the launch module to say: each makes several tiles.
    pub row_blocks: Option<u32>,
    pub data: Data,
    /// Input values; levels where the input is u8.
    pub input: Vec<f32>,
    pub weight: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Stem {
    /// A stem with random tensors; [`Data::Integers`] is not for u8, whose normalisation rounds.
    pub fn new(
        (input_type, precision): (StemInput, Precision),
        [h_in, w_in]: [usize; 2],
        [h_out, w_out]: [usize; 2],
        [pad_top, pad_left]: [usize; 2],
        [n, c_out]: [usize; 2],
        (activation, data): (i32, Data),
        seed: u64,
    ) -> Stem {
        let mut random = Random::new(seed);
        let elems = n * h_in * w_in * 3;
        let input = match input_type {
            StemInput::U8 => (0..elems).map(|_| (random.bits() % 256) as f32).collect(),
            StemInput::F16 => data.values(&mut random, Precision::Fp16, elems),
            StemInput::F32 => data.values(&mut random, Precision::Fp32, elems),
        };
        Stem {
            input_type,
            precision,
            n,
            input_size: [h_in, w_in],
            output_size: [h_out, w_out],
            pad: [pad_top, pad_left],
            c_out,
            activation,
            batch_norm: true,
            row_blocks: None,
            data,
            input,
            weight: data.values(&mut random, precision, 27 * c_out),
            scale: data.scales(&mut random, c_out),
            shift: data.values(&mut random, Precision::Fp32, c_out),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> Stem {
        let elems = self.input.len() / self.n;
        Stem { n: 1, input: self.input[i * elems..][..elems].to_vec(), ..self.clone() }
    }

    /// u8 input, normalised by the host's f32 arithmetic: `src/image/mod.rs`.
    pub fn normalised(&self) -> Stem {
        assert_eq!(self.input_type, StemInput::U8);
        Stem { input_type: StemInput::F32, input: self.values(), ..self.clone() }
    }

    /// Values that the convolution multiplies: in FP16, rounded to f16.
    fn factors(&self) -> Vec<f32> {
        let values = self.values().into_iter();
        match self.precision {
            Precision::Fp16 => values.map(|x| f16::from_f32(x).to_f32()).collect(),
            Precision::Fp32 => values.collect(),
        }
    }

    /// Values that the convolution reads.
    fn values(&self) -> Vec<f32> {
        match self.input_type {
            StemInput::U8 => {
                let levels = self.input.iter().enumerate();
                levels.map(|(i, x)| (x / 255.0 - STEM_MEAN[i % 3]) / STEM_STD[i % 3]).collect()
            }
            _ => self.input.clone(),
        }
    }
}

impl Case for Stem {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let pixels = self.output_size[0] * self.output_size[1];
        let input = match self.input_type {
            StemInput::U8 => {
                let levels: Vec<u8> = self.input.iter().map(|&x| x as u8).collect();
                buffers.bytes("input", levels)
            }
            StemInput::F16 => buffers.input("input", Precision::Fp16, &self.input),
            StemInput::F32 => buffers.input("input", Precision::Fp32, &self.input),
        };
        let weight = buffers.input("weight", self.precision, &self.weight);
        let (scale, shift) = match self.batch_norm {
            true => (
                buffers.input("scale", Precision::Fp32, &self.scale),
                buffers.input("shift", Precision::Fp32, &self.shift),
            ),
            false => (0, 0),
        };
        let params = StemParams {
            input,
            weight,
            scale,
            shift,
            output: buffers.output("output", self.precision, self.n * pixels * self.c_out),
            mean: STEM_MEAN,
            std: STEM_STD,
            n: self.n as i32,
            h_in: self.input_size[0] as i32,
            w_in: self.input_size[1] as i32,
            h_out: self.output_size[0] as i32,
            w_out: self.output_size[1] as i32,
            c_out: self.c_out as i32,
            pad_top: self.pad[0] as i32,
            pad_left: self.pad[1] as i32,
            activation: self.activation,
            reserved: 0,
        };
        let launch = stem::launch(self.input_type, self.precision, params);
        let mut launch = launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe()));
        if let Some(blocks) = self.row_blocks {
            launch.geometry.grid[1] = blocks;
        }
        launch.into()
    }

    fn expected(&self) -> Vec<Expected> {
        let ([h_in, w_in], [h_out, w_out]) = (self.input_size, self.output_size);
        let (c, data, input) = (self.c_out, self.data, self.factors());
        let roundings = match self.precision {
            // 27 taps and zeros.
            Precision::Fp16 => tensor_core_roundings(32, 0),
            Precision::Fp32 => 27.0,
        };
        let mut values = Vec::with_capacity(self.n * h_out * w_out * c);
        let (mut acc, mut magnitude) = (vec![0.0f64; c], vec![0.0f64; c]);
        for (image, pixel) in
            (0..self.n).flat_map(|image| (0..h_out * w_out).map(move |p| (image, p)))
        {
            acc.fill(0.0);
            magnitude.fill(0.0);
            for tap in 0..27 {
                let (i, j, channel) = (tap / 9, tap / 3 % 3, tap % 3);
                let y = (pixel / w_out * 2 + i).checked_sub(self.pad[0]);
                let x = (pixel % w_out * 2 + j).checked_sub(self.pad[1]);
                let (Some(y), Some(x)) = (y.filter(|&y| y < h_in), x.filter(|&x| x < w_in)) else {
                    continue;
                };
                let value = f64::from(input[((image * h_in + y) * w_in + x) * 3 + channel]);
                for (out, &weight) in self.weight[tap * c..][..c].iter().enumerate() {
                    let product = value * f64::from(weight);
                    acc[out] += product;
                    magnitude[out] += product.abs();
                }
            }
            for out in 0..c {
                let error = roundings * data.u() * magnitude[out];
                let mut y = Bounded { value: acc[out], error };
                if self.batch_norm {
                    y = y.batch_norm(self.scale[out], self.shift[out], data);
                }
                values
                    .push(y.activate(self.activation, data, self.precision).stored(self.precision));
            }
        }
        vec![Expected { name: "output", precision: self.precision, values }]
    }

    fn describe(&self) -> String {
        format!(
            "stem {:?} {} {:?} -> {:?}, pad {:?}, n {}, c_out {}, activation {}, batch_norm {}",
            self.input_type,
            self.precision,
            self.input_size,
            self.output_size,
            self.pad,
            self.n,
            self.c_out,
            self.activation,
            self.batch_norm
        )
    }
}

// --- On the emulator or a GPU ---

const KERNELS: [(StemInput, Precision); 5] = [
    (StemInput::U8, Precision::Fp16),
    (StemInput::F16, Precision::Fp16),
    (StemInput::F32, Precision::Fp16),
    (StemInput::U8, Precision::Fp32),
    (StemInput::F32, Precision::Fp32),
];

fn stem_case(
    kernel: (StemInput, Precision),
    padding: Padding,
    size: [usize; 2],
    n_c: [usize; 2],
    values: (i32, Data),
    seed: u64,
) -> Stem {
    let conv = conv(padding, size, 3, 2);
    let output = [conv.output.h, conv.output.w];
    Stem::new(kernel, size, output, [conv.pad_top, conv.pad_left], n_c, values, seed)
}

/// 224 x 224 in both paddings, and by each kernel once.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn stem_of_b0() {
    let machine = machine(stem::IMAGE);
    for (i, kernel) in KERNELS.into_iter().enumerate() {
        let values = (ACTIVATION_SWISH, Data::Uniform);
        stem_case(kernel, PADDINGS[i % 2], [224, 224], [1, 32], values, i as u64).check(&machine);
    }
}

/// B3's 40 channels on a part of its odd map, and B5's and B7's channels.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn stem_of_wider_networks() {
    let machine = machine(stem::IMAGE);
    for (i, c) in [24, 40, 48, 56, 64].into_iter().enumerate() {
        for padding in PADDINGS {
            let values = (ACTIVATIONS[i % 3], Data::Uniform);
            stem_case(KERNELS[i], padding, [75, 37], [1, c], values, i as u64).check(&machine);
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_stem() {
    let machine = machine(stem::IMAGE);
    let mut seed = 0;
    for size in [[1, 1], [2, 3], [7, 7], [19, 34]] {
        for padding in PADDINGS {
            for kernel in KERNELS {
                for c in [8, 40] {
                    let activation = ACTIVATIONS[seed % 3];
                    let exact = kernel.0 != StemInput::U8 && activation != ACTIVATION_SWISH;
                    let data = if exact { Data::Integers } else { Data::Uniform };
                    let values = (activation, data);
                    let mut case =
                        stem_case(kernel, padding, size, [BATCH, c], values, seed as u64);
                    case.batch_norm = seed % 4 != 0;
                    check_batch(&machine, &case, BATCH, |i| case.image(i));
                    seed += 1;
                }
            }
        }
    }
}

/// Levels, the values that the host normalises them to, and in FP16 those rounded to f16 give the same
/// bytes: the kernel's normalisation is the host's, bit by bit, for all levels in all channels, whether
/// rows of the image are read by the quad or by the element.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn stem_of_levels_and_of_normalised_values_gives_the_same_bytes() {
    let machine = machine(stem::IMAGE);
    for (precision, w) in
        [Precision::Fp16, Precision::Fp32].into_iter().flat_map(|p| [(p, 34), (p, 36)])
    {
        let values = (ACTIVATION_NONE, Data::Uniform);
        let kernel = (StemInput::U8, precision);
        let mut levels = stem_case(kernel, Padding::Symmetric, [32, w], [1, 8], values, 1);
        for (i, level) in levels.input.iter_mut().enumerate() {
            *level = (i / 3 % 256) as f32;
        }
        let normalised = levels.normalised();
        let expected = normalised.run(&machine, Buffers::exact());
        assert!(levels.run(&machine, Buffers::exact()) == expected, "{}", levels.describe());
        if precision == Precision::Fp16 {
            let halves = Stem { input_type: StemInput::F16, ..normalised };
            assert!(halves.run(&machine, Buffers::exact()) == expected, "{}", halves.describe());
        }
    }
}

/// A block that makes several tiles, as those of large batches do, makes the same of each.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn stem_of_several_tiles_a_block_gives_the_same_bytes() {
    let machine = machine(stem::IMAGE);
    for (i, &kernel) in KERNELS[..3].iter().enumerate() {
        let values = (ACTIVATIONS[i], Data::Uniform);
        let one = stem_case(kernel, PADDINGS[i % 2], [75, 36], [2, 40], values, i as u64);
        let expected = one.run(&machine, Buffers::exact());
        for row_blocks in [1, 2, 3] {
            let several = Stem { row_blocks: Some(row_blocks), ..one.clone() };
            several.check(&machine);
            assert!(several.run(&machine, Buffers::exact()) == expected, "{row_blocks} blocks");
        }
    }
}

/// A NaN or an infinity of the image is in the outputs whose windows have it, and in no others: words
/// of shared memory that hold a neighbour beside a tap, and products with zeros, do not spread it.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn what_is_not_finite_stays_in_its_windows() {
    let machine = machine(stem::IMAGE);
    let [h, w] = [9, 40];
    for (i, pad) in [[0, 0], [1, 1], [2, 2], [1, 0]].into_iter().enumerate() {
        for (at, x) in [(0, f32::NAN), (3 * w * 4 + 55, f32::INFINITY), (3 * w * 7 + 2, f32::NAN)] {
            let kernel = ([StemInput::F16, StemInput::F32][i % 2], Precision::Fp16);
            let [h_out, w_out] = [4, 20];
            let values = (ACTIVATION_NONE, Data::Uniform);
            let mut case = Stem::new(kernel, [h, w], [h_out, w_out], pad, [1, 8], values, i as u64);
            case.input[at] = x;
            let outputs = case.run(&machine, Buffers::exact());
            let [found] = &outputs[..] else { panic!("{} outputs", outputs.len()) };
            let found = decode(Precision::Fp16, found);
            let (y, x) = (at / 3 / w, at / 3 % w);
            for (pixel, values) in found.chunks(8).enumerate() {
                let [oy, ox] = [pixel / w_out, pixel % w_out];
                let within = |at: usize, out: usize, pad: usize| {
                    (2 * out..2 * out + 3).contains(&(at + pad))
                };
                let has = within(y, oy, pad[0]) && within(x, ox, pad[1]);
                let message =
                    format!("{}, input {at}, output {oy}, {ox}: {values:?}", case.describe());
                assert!(values.iter().all(|value| value.is_finite() != has), "{message}");
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_stem() {
    let machine = machine(stem::IMAGE);
    for kernel in [
        (StemInput::U8, Precision::Fp16),
        (StemInput::F16, Precision::Fp16),
        (StemInput::F32, Precision::Fp16),
        (StemInput::U8, Precision::Fp32),
        (StemInput::F32, Precision::Fp32),
    ] {
        let values = (ACTIVATION_SWISH, Data::Uniform);
        let case = Stem::new(kernel, [19, 34], [10, 17], [1, 1], [2, 40], values, 1);
        check_batch(&machine, &case, 2, |i| case.image(i));
    }
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

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
        let subject = |(input, precision, entry)| {
            let mut shapes = stem_shapes((input, precision));
            if precision == Precision::Fp16 {
                // Three tiles of one block, by quads of the image.
                let values = (ACTIVATION_NONE, Data::Uniform);
                let kernel = (input, precision);
                let case = Stem::new(kernel, [35, 8], [18, 4], [1, 1], [1, 8], values, 3);
                shapes.push(Box::new(Stem { row_blocks: Some(1), ..case }));
            }
            (stem::IMAGE, stem::ENTRIES[entry], shapes)
        };
        kernels.into_iter().map(subject).collect()
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
}
