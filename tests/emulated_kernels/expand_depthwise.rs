//! `kernels/expand_depthwise.cu`.

use super::*;
use crate::support::Random;
use crate::support::emulated::*;
use effnet::kernels::expand_depthwise;
use effnet::kernels::params::*;
use effnet::weights::Precision;
use std::collections::HashSet;

// --- A launch, and its expected outputs ---

/// Tensors and options of an expand_depthwise launch.
#[derive(Clone, Debug)]
pub struct ExpandDepthwise {
    pub precision: Precision,
    pub k: usize,
    pub stride: usize,
    pub n: usize,
    pub input_size: [usize; 2],
    pub output_size: [usize; 2],
    pub pad: [usize; 2],
    pub c_in: usize,
    pub c_mid: usize,
    pub activation: i32,
    pub squeeze: bool,
    pub data: Data,
    pub input: Vec<f32>,
    pub expand_weight: Vec<f32>,
    pub expand_scale: Vec<f32>,
    pub expand_shift: Vec<f32>,
    pub depthwise_weight: Vec<f32>,
    pub depthwise_scale: Vec<f32>,
    pub depthwise_shift: Vec<f32>,
}

impl ExpandDepthwise {
    /// The launch with random tensors; `shape` has none.
    pub fn filled(mut shape: ExpandDepthwise, seed: u64) -> ExpandDepthwise {
        let random = &mut Random::new(seed);
        let ExpandDepthwise { precision, k, n, input_size: [h, w], c_in, c_mid, data, .. } = shape;
        shape.input = data.values(random, precision, n * h * w * c_in);
        shape.expand_weight = data.values(random, precision, c_mid * c_in);
        shape.expand_scale = data.scales(random, c_mid);
        shape.expand_shift = data.values(random, Precision::Fp32, c_mid);
        shape.depthwise_weight = data.values(random, precision, k * k * c_mid);
        shape.depthwise_scale = data.scales(random, c_mid);
        shape.depthwise_shift = data.values(random, Precision::Fp32, c_mid);
        shape
    }

    /// A shape without tensors.
    pub fn shape(
        precision: Precision,
        [k, stride]: [usize; 2],
        input_size: [usize; 2],
        output_size: [usize; 2],
        pad: [usize; 2],
        [n, c_in, c_mid]: [usize; 3],
    ) -> ExpandDepthwise {
        ExpandDepthwise {
            precision,
            k,
            stride,
            n,
            input_size,
            output_size,
            pad,
            c_in,
            c_mid,
            activation: ACTIVATION_SWISH,
            squeeze: true,
            data: Data::Uniform,
            input: Vec::new(),
            expand_weight: Vec::new(),
            expand_scale: Vec::new(),
            expand_shift: Vec::new(),
            depthwise_weight: Vec::new(),
            depthwise_scale: Vec::new(),
            depthwise_shift: Vec::new(),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> ExpandDepthwise {
        let elems = self.input.len() / self.n;
        ExpandDepthwise { n: 1, input: self.input[i * elems..][..elems].to_vec(), ..self.clone() }
    }

    fn tiles(&self) -> usize {
        let [h_out, w_out] = self.output_size.map(|x| x as i32);
        expand_depthwise::tiles(self.stride, h_out, w_out) as usize
    }

    /// The expanded map of all images, as it is stored.
    fn expanded(&self) -> Vec<Bounded> {
        let ExpandDepthwise { c_in, data, .. } = *self;
        let roundings = match self.precision {
            Precision::Fp16 => tensor_core_roundings(c_in, 0),
            Precision::Fp32 => c_in as f64,
        };
        let weight: Vec<f64> = self.expand_weight.iter().map(|&w| w.into()).collect();
        let mut mid = Vec::with_capacity(self.input.len() / c_in * self.c_mid);
        for pixel in self.input.chunks(c_in) {
            let pixel: Vec<f64> = pixel.iter().map(|&x| x.into()).collect();
            for (c, weight) in weight.chunks(c_in).enumerate() {
                let products = pixel.iter().zip(weight).map(|(x, w)| x * w);
                let (value, magnitude) =
                    products.fold((0.0, 0.0), |(sum, all), p: f64| (sum + p, all + p.abs()));
                let y = Bounded { value, error: roundings * data.u() * magnitude }
                    .batch_norm(self.expand_scale[c], self.expand_shift[c], data)
                    .activate(self.activation, data, self.precision);
                mid.push(y.stored(self.precision));
            }
        }
        mid
    }
}

impl Case for ExpandDepthwise {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let (precision, f32) = (self.precision, Precision::Fp32);
        let pixels = self.output_size[0] * self.output_size[1];
        let squeezed = self.n * self.tiles() * self.c_mid;
        let params = ExpandDepthwiseParams {
            input: buffers.input("input", precision, &self.input),
            expand_weight: buffers.input("expand_weight", precision, &self.expand_weight),
            expand_scale: buffers.input("expand_scale", f32, &self.expand_scale),
            expand_shift: buffers.input("expand_shift", f32, &self.expand_shift),
            depthwise_weight: buffers.input("depthwise_weight", precision, &self.depthwise_weight),
            depthwise_scale: buffers.input("depthwise_scale", f32, &self.depthwise_scale),
            depthwise_shift: buffers.input("depthwise_shift", f32, &self.depthwise_shift),
            output: buffers.output("output", precision, self.n * pixels * self.c_mid),
            partial_sums: match self.squeeze {
                true => buffers.output("partial_sums", f32, squeezed),
                false => 0,
            },
            n: self.n as i32,
            h_in: self.input_size[0] as i32,
            w_in: self.input_size[1] as i32,
            h_out: self.output_size[0] as i32,
            w_out: self.output_size[1] as i32,
            c_in: self.c_in as i32,
            c_mid: self.c_mid as i32,
            pad_top: self.pad[0] as i32,
            pad_left: self.pad[1] as i32,
            activation: self.activation,
            ..Default::default()
        };
        let launch = expand_depthwise::launch(precision, self.k, self.stride, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let ExpandDepthwise { k, stride, data, .. } = *self;
        let c = self.c_mid;
        let ([h_in, w_in], [h_out, w_out]) = (self.input_size, self.output_size);
        let tile_rows = match stride {
            1 => EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_1 as usize,
            _ => EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_2 as usize,
        };
        let tile_cols = EXPAND_DEPTHWISE_TILE_COLS as usize;
        let mid = self.expanded();
        let mut output = Vec::with_capacity(self.n * h_out * w_out * c);
        let mut sums = vec![Bounded::default(); self.n * self.tiles() * c];
        let mut magnitudes = vec![0.0; sums.len()];
        let (mut acc, mut magnitude) = (vec![Bounded::default(); c], vec![0.0f64; c]);
        for image in 0..self.n {
            for (h, w) in (0..h_out * w_out).map(|pixel| (pixel / w_out, pixel % w_out)) {
                acc.fill(Bounded::default());
                magnitude.fill(0.0);
                for (i, j) in (0..k * k).map(|tap| (tap / k, tap % k)) {
                    let y = (h * stride + i).checked_sub(self.pad[0]);
                    let x = (w * stride + j).checked_sub(self.pad[1]);
                    let (Some(y), Some(x)) = (y.filter(|&y| y < h_in), x.filter(|&x| x < w_in))
                    else {
                        continue;
                    };
                    let row = &mid[((image * h_in + y) * w_in + x) * c..][..c];
                    let weight = &self.depthwise_weight[(i * k + j) * c..][..c];
                    for channel in 0..c {
                        let weight = f64::from(weight[channel]);
                        acc[channel].value += row[channel].value * weight;
                        // The error of the stored value, rounding to the other neighbour included.
                        acc[channel].error += row[channel].error * weight.abs();
                        magnitude[channel] += (row[channel].value * weight).abs();
                    }
                }
                let tile = h / tile_rows * w_out.div_ceil(tile_cols) + w / tile_cols;
                for channel in 0..c {
                    let Bounded { value, error } = acc[channel];
                    let error = error + (k * k) as f64 * data.u() * magnitude[channel];
                    let y = Bounded { value, error }
                        .batch_norm(
                            self.depthwise_scale[channel],
                            self.depthwise_shift[channel],
                            data,
                        )
                        .activate(self.activation, data, self.precision);
                    let sum = (image * self.tiles() + tile) * c + channel;
                    sums[sum].value += y.value;
                    sums[sum].error += y.error;
                    magnitudes[sum] += y.value.abs();
                    output.push(y.stored(self.precision));
                }
            }
        }
        // A thread adds at most 4 pixels, then another 16 threads' sums; in f32 it is 2 and 32.
        for (sum, magnitude) in sums.iter_mut().zip(magnitudes) {
            sum.error += 34.0 * data.u() * magnitude;
        }
        let mut expected =
            vec![Expected { name: "output", precision: self.precision, values: output }];
        if self.squeeze {
            let precision = Precision::Fp32;
            expected.push(Expected { name: "partial_sums", precision, values: sums });
        }
        expected
    }

    fn describe(&self) -> String {
        format!(
            "expand_depthwise k{}s{} {} {:?} -> {:?}, pad {:?}, n {}, c {} -> {}, activation {}, squeeze {}, {:?}",
            self.k,
            self.stride,
            self.precision,
            self.input_size,
            self.output_size,
            self.pad,
            self.n,
            self.c_in,
            self.c_mid,
            self.activation,
            self.squeeze,
            self.data
        )
    }
}

// --- On the emulator or a GPU ---

fn shape(precision: Precision, conv: &ConvGeometry, channels: [usize; 3]) -> ExpandDepthwise {
    ExpandDepthwise::shape(
        precision,
        [conv.k, conv.stride],
        [conv.input.h, conv.input.w],
        [conv.output.h, conv.output.w],
        [conv.pad_top, conv.pad_left],
        channels,
    )
}

/// The layers of B0 whose tiles fit, each shape once; maps of 112 and 56 pixels with one group of
/// channels, the part of the whole that is not the same again.
fn layers_of_b0(precision: Precision) {
    let machine = machine(expand_depthwise::IMAGE);
    let mut seen = HashSet::new();
    for padding in PADDINGS {
        let (network, geometry) = b0(padding);
        for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
            let (c_in, c_mid) = (block.c_in, block.c_mid);
            let fits = expand_depthwise::fits(precision, conv.k, conv.stride, c_in as i32);
            if c_in == c_mid || !fits || !seen.insert((*conv, c_in)) {
                continue;
            }
            let c_mid = if conv.input.h >= 56 { 48 } else { c_mid };
            let shape = shape(precision, conv, [1, c_in, c_mid]);
            ExpandDepthwise::filled(shape, seen.len() as u64).check(&machine);
        }
    }
    assert!(seen.len() >= 8, "{seen:?}");
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn expand_depthwise_f16_over_the_layers_of_b0() {
    layers_of_b0(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn expand_depthwise_f32_over_the_layers_of_b0() {
    layers_of_b0(Precision::Fp32);
}

/// Each distinct layer of B3 and Lite4 for a small image whose tiles fit, with one group of
/// channels.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn expand_depthwise_over_odd_layers() {
    let machine = machine(expand_depthwise::IMAGE);
    let mut seen = HashSet::new();
    for (network, geometry) in odd_networks() {
        for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
            let precision = [Precision::Fp16, Precision::Fp32][seen.len() % 2];
            let c_in = block.c_in;
            let fits = expand_depthwise::fits(precision, conv.k, conv.stride, c_in as i32);
            if block.has_expand() && fits && seen.insert((*conv, c_in)) {
                let shape = shape(precision, conv, [1, c_in, 48]);
                ExpandDepthwise::filled(shape, seen.len() as u64).check(&machine);
            }
        }
    }
    assert!(seen.len() >= 6, "{}", seen.len());
}

/// Every map, window, stride and padding; channel counts, the activation, the squeeze and the kind
/// of data go round.
fn awkward(precision: Precision) {
    let machine = machine(expand_depthwise::IMAGE);
    let mut seed = 0;
    for [h, w] in MAPS {
        for (k, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            for padding in PADDINGS {
                let conv = conv(padding, [h, w], k, stride);
                for _ in 0..2 {
                    let c_in = [8, 24, 40, 72][seed % 4];
                    // Where the widest does not fit shared memory, one that does.
                    let fits = expand_depthwise::fits(precision, k, stride, c_in as i32);
                    let c_in = if fits { c_in } else { 32 };
                    let c_mid = [8, 40, 72, 24, 104][seed % 5];
                    let mut shape = shape(precision, &conv, [BATCH, c_in, c_mid]);
                    shape.activation = ACTIVATIONS[seed % 3];
                    shape.squeeze = seed % 7 != 0;
                    if shape.activation != ACTIVATION_SWISH && seed / 3 % 2 == 0 {
                        shape.data = Data::Integers;
                    }
                    let case = ExpandDepthwise::filled(shape, 100 + seed as u64);
                    check_batch(&machine, &case, BATCH, |i| case.image(i));
                    seed += 1;
                }
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_expand_depthwise_f16() {
    awkward(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_expand_depthwise_f32() {
    awkward(Precision::Fp32);
}

/// Blocks that walk over more than one group of channels, as large maps and batches make them: the
/// same bytes as from one group each.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_block_walks_over_groups_of_channels() {
    let machine = machine(expand_depthwise::IMAGE);
    for (precision, c_mid) in [(Precision::Fp16, 120), (Precision::Fp32, 64)] {
        let conv = conv(Padding::Symmetric, [7, 9], 3, 1);
        // Three groups, two tiles, 180 images: 1080 blocks' worth, two groups for a block.
        let shape = shape(precision, &conv, [180, 8, c_mid]);
        let case = ExpandDepthwise::filled(shape, 7);
        let mut buffers = Buffers::exact();
        assert_eq!(case.prepare(&mut buffers).geometry.grid, [2, 2, 180]);
        let whole = case.check(&machine);
        for i in [0, 179] {
            let single = case.image(i).run(&machine, Buffers::exact());
            for (whole, single) in whole.iter().zip(&single) {
                assert!(whole[i * single.len()..][..single.len()] == single[..], "image {i}");
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_expand_depthwise() {
    let machine = machine(expand_depthwise::IMAGE);
    for precision in PRECISIONS {
        for [k, stride] in WINDOWS {
            let ConvGeometry { pad_top, pad_left, output, .. } =
                conv(Padding::Symmetric, [7, 13], k, stride);
            let (output, pad) = ([output.h, output.w], [pad_top, pad_left]);
            let shape =
                ExpandDepthwise::shape(precision, [k, stride], [7, 13], output, pad, [2, 24, 56]);
            let case = ExpandDepthwise::filled(shape, k as u64);
            check_batch(&machine, &case, 2, |i| case.image(i));
        }
    }
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

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
}
