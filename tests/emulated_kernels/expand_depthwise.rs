//! `kernels/expand_depthwise.cu`.

use super::*;
use crate::support::Random;
use crate::support::emulated::*;
use effnet::kernels::expand_depthwise::{self, Tiles};
use effnet::kernels::params::*;
use effnet::kernels::squeeze;
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
    /// `[c_se, c_mid]`; empty: only partial sums.
    pub reduce_weight: Vec<f32>,
    pub c_se: usize,
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
        shape.reduce_weight = data.values(random, precision, shape.c_se * c_mid);
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
            reduce_weight: Vec::new(),
            c_se: if precision == Precision::Fp16 { c_in.div_ceil(4) } else { 0 },
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> ExpandDepthwise {
        let elems = self.input.len() / self.n;
        ExpandDepthwise { n: 1, input: self.input[i * elems..][..elems].to_vec(), ..self.clone() }
    }

    fn cut(&self) -> Tiles {
        let output = self.output_size.map(|x| x as i32);
        Tiles::new(self.precision, self.k, self.stride, output, self.c_in as i32)
    }

    fn tiles(&self) -> usize {
        self.cut().count() as usize
    }

    /// Rows of the squeeze's weight that are multiplied.
    fn squeezed(&self) -> usize {
        if self.squeeze { self.c_se } else { 0 }
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

impl ExpandDepthwise {
    /// `[n, tiles, slices, c_se rounded up to 4]`, of the sums `[n, tiles, c_mid]`: a fused
    /// multiply-add for each channel.
    fn squeeze_parts(&self, sums: &[Bounded]) -> Vec<Bounded> {
        let c = self.c_mid;
        let slice = squeeze::slice(c as i32, self.tiles() as i32) as usize;
        let stride = squeeze::stride(self.squeezed() as i32) as usize;
        let mut parts = Vec::new();
        for sums in sums.chunks(c) {
            for first in (0..c).step_by(slice) {
                let channels = first..c.min(first + slice);
                for j in 0..stride {
                    let mut part = Bounded::default();
                    let mut magnitude = 0.0;
                    for channel in channels.clone().filter(|_| j < self.c_se) {
                        let weight = f64::from(self.reduce_weight[j * c + channel]);
                        let Bounded { value, error } = sums[channel];
                        part.value += value * weight;
                        part.error += error * weight.abs();
                        magnitude += (value.abs() + error) * weight.abs();
                    }
                    part.error += channels.len() as f64 * self.data.u() * magnitude;
                    parts.push(part);
                }
            }
        }
        parts
    }
}

impl Case for ExpandDepthwise {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let (precision, f32) = (self.precision, Precision::Fp32);
        let pixels = self.output_size[0] * self.output_size[1];
        let squeezed = self.n * self.tiles() * self.c_mid;
        let [tiles, c, c_se] = [self.tiles(), self.c_mid, self.squeezed()].map(|x| x as i32);
        let squeeze = self.n * squeeze::elems(c, tiles, c_se);
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
            reduce_weight: match c_se {
                0 => 0,
                _ => buffers.input("reduce_weight", precision, &self.reduce_weight),
            },
            squeeze: if c_se > 0 { buffers.output("squeeze", f32, squeeze) } else { 0 },
            c_se,
            slice: if c_se > 0 { squeeze::slice(c, tiles) } else { 0 },
            ..Default::default()
        };
        let launch = expand_depthwise::launch(precision, self.k, self.stride, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let ExpandDepthwise { k, stride, data, .. } = *self;
        let c = self.c_mid;
        let ([h_in, w_in], [h_out, w_out]) = (self.input_size, self.output_size);
        let [tile_rows, tile_cols] = self.cut().tile().map(|side| side as usize);
        // One fma each; on tensor cores six roundings of each product, see the module's head.
        let roundings = match self.precision {
            Precision::Fp32 => k * k,
            Precision::Fp16 => 6 * k * k,
        } as f64;
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
                    let error = error + roundings * data.u() * magnitude[channel];
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
        let additions = self.cut().additions() as f64;
        for (sum, magnitude) in sums.iter_mut().zip(magnitudes) {
            sum.error += additions * data.u() * magnitude;
        }
        let mut expected =
            vec![Expected { name: "output", precision: self.precision, values: output }];
        if self.squeeze {
            let precision = Precision::Fp32;
            let squeeze = self.squeeze_parts(&sums);
            expected.push(Expected { name: "partial_sums", precision, values: sums });
            if self.squeezed() > 0 {
                expected.push(Expected { name: "squeeze", precision, values: squeeze });
            }
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
            assert!(fits || precision == Precision::Fp32, "every layer has its f16 launch");
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

/// The widest inputs at their small maps: the last layers of B4 and B7, with two groups of channels.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn expand_depthwise_f16_over_wide_layers() {
    let machine = machine(expand_depthwise::IMAGE);
    let layers = [
        (160, 24, [5, 2]),
        (272, 12, [5, 1]),
        (448, 12, [3, 1]),
        (224, 38, [5, 2]),
        (384, 19, [5, 1]),
        (640, 19, [3, 1]),
    ];
    for (seed, (c_in, side, [k, stride])) in layers.into_iter().enumerate() {
        let conv = conv(PADDINGS[seed % 2], [side, side], k, stride);
        assert!(expand_depthwise::fits(Precision::Fp16, k, stride, c_in as i32));
        let shape = shape(Precision::Fp16, &conv, [1, c_in, 24]);
        ExpandDepthwise::filled(shape, seed as u64).check(&machine);
    }
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
                    let c_in = [8, 24, 48, 72, 104][seed % 5];
                    // Where the widest does not fit shared memory, one that does.
                    let fits = expand_depthwise::fits(precision, k, stride, c_in as i32);
                    let c_in = if fits { c_in } else { 32 };
                    let c_mid = [8, 40, 72, 24, 104, 16][seed % 6];
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
        // In f32 three groups, two tiles, 180 images: 1080 blocks' worth, two groups for a block.
        // In f16 four groups, one tile, 450 images: all groups for a block.
        let (n, grid) = match precision {
            Precision::Fp16 => (450, [1, 1, 450]),
            Precision::Fp32 => (180, [2, 2, 180]),
        };
        let shape = shape(precision, &conv, [n, 8, c_mid]);
        let case = ExpandDepthwise::filled(shape, 7);
        let mut buffers = Buffers::exact();
        assert_eq!(case.prepare(&mut buffers).geometry.grid, grid);
        let whole = case.check(&machine);
        for i in [0, n - 1] {
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

/// An infinity in x is in every expanded channel of its pixel, and so in all outputs whose windows
/// touch it; no other pixel sees it, whether or not zeros fill the last step of the sum.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn an_infinity_in_x_stays_under_its_windows() {
    let machine = machine(expand_depthwise::IMAGE);
    for (i, (k, stride)) in [(3, 1), (3, 2), (5, 1), (5, 2)].into_iter().enumerate() {
        let c_in = [24, 32, 40, 72][i];
        let conv = conv(Padding::SameDynamic, [14, 19], k, stride);
        let (input, output) = ([14, 19], [conv.output.h, conv.output.w]);
        let pad = [conv.pad_top, conv.pad_left];
        let mut shape =
            ExpandDepthwise::shape(Precision::Fp16, [k, stride], input, output, pad, [1, c_in, 40]);
        shape.activation = ACTIVATION_NONE;
        (shape.squeeze, shape.c_se) = (false, 0);
        let whole = ExpandDepthwise::filled(shape, 7);
        let mut hurt = whole.clone();
        hurt.input[(9 * 19 + 12) * c_in + 5] = f32::INFINITY;
        let outputs = [&hurt, &whole].map(|case| case.run(&machine, Buffers::exact()));
        let bytes = [&outputs[0][0][..], &outputs[1][0][..]];
        let what = whole.describe();
        an_infinity_stays_where_it_is_seen(&what, &conv, bytes, 40, [9, 12], 0..40);
    }
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

    /// The launch of large maps and batches: each block walks over all groups of channels.
    struct OneSlice(ExpandDepthwise);

    /// The f16 launch of large maps and batches, 32 channels at a time.
    struct Wide(Box<dyn Case>);

    impl Case for Wide {
        fn prepare(&self, buffers: &mut Buffers) -> Prepared {
            let mut prepared = self.0.prepare(buffers);
            let narrow = expand_depthwise::ENTRIES.iter().position(|e| *e == prepared.kernel);
            prepared.kernel = expand_depthwise::ENTRIES[narrow.expect("a kernel") + 4];
            // All that grows with the channels at a time, at the most doubles.
            prepared.geometry.shared_bytes *= 2;
            let params: &mut ExpandDepthwiseParams = bytemuck::from_bytes_mut(&mut prepared.params);
            params.channels = (params.channels + 31) / 32 * 32;
            prepared.geometry.grid[1] = (params.c_mid as u32).div_ceil(params.channels as u32);
            prepared
        }

        fn expected(&self) -> Vec<Expected> {
            self.0.expected()
        }

        fn describe(&self) -> String {
            format!("{}, 32 channels at a time", self.0.describe())
        }
    }

    impl Case for OneSlice {
        fn prepare(&self, buffers: &mut Buffers) -> Prepared {
            let mut prepared = self.0.prepare(buffers);
            assert!(prepared.geometry.grid[1] > 1);
            prepared.geometry.grid[1] = 1;
            let params: &mut ExpandDepthwiseParams = bytemuck::from_bytes_mut(&mut prepared.params);
            params.channels = params.channels.min(1) * (params.c_mid + 15) / 16 * 16; // 0 in f32
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
        let entries = match precision {
            Precision::Fp16 => 0..8,
            Precision::Fp32 => 8..12,
        };
        entries
            .into_iter()
            .map(|i| {
                let (k, stride) = windows[i % 4];
                let mut shapes = shapes(precision, k, stride);
                if (4..8).contains(&i) {
                    let wide = |case| -> Box<dyn Case> { Box::new(Wide(case)) };
                    shapes = shapes.into_iter().map(wide).collect();
                }
                (expand_depthwise::IMAGE, expand_depthwise::ENTRIES[i], shapes)
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
    #[ignore = "takes long: make test-all runs it"]
    fn mutants_of_expand_depthwise_f32_are_reported() {
        all_are_reported(subjects(Precision::Fp32), 85.0);
    }
}
