//! `kernels/pointwise_f32.cu`.
//!
//! In f32, chunks change no bound: where a sum of `K` products is cut, each product passes through
//! fewer than `K` roundings all the same. The factors that tf32 rounds are rounded in the loops
//! here, so that their products are exact in f64. On sm_75, which has no tf32, its kernels multiply
//! factors that were not rounded.

use super::*;
use crate::support::Random;
use crate::support::emulated::*;
use effnet::kernels::params::*;
use effnet::kernels::{Compute, PointwiseShape, pointwise_f32};
use std::collections::HashSet;

// --- A launch, and its expected outputs ---

/// Relative error of a product of two factors that are not rounded to tf32: 2^-11 of each, and
/// their product.
const UNROUNDED: f64 = 1.0 / 1024.0 + 1.0 / (1 << 22) as f64;

/// Channels of a chunk: `kChunkChannels`.
const CHUNK: usize = 128;

/// Tensors and options of a pointwise launch in f32 or tf32.
#[derive(Clone, Debug)]
pub struct PointwiseF32 {
    pub compute: Compute,
    pub n: usize,
    pub pixels: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub activation: i32,
    pub data: Data,
    /// Whether chunks are split over blocks; `None`: as the tiling says.
    pub split: Option<bool>,
    /// Whether there are partial sums.
    pub pooled: bool,
    /// Whether there is an output; always so where nothing is pooled.
    pub stored: bool,
    pub input: Vec<f32>,
    pub weight: Vec<f32>,
    /// Empty, with `shift`: none.
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    /// Empty: none.
    pub gate: Vec<f32>,
    /// Empty: none.
    pub skip: Vec<f32>,
}

impl PointwiseF32 {
    /// Neither pooled nor without output, and as the tiling says.
    pub fn new(
        compute: Compute,
        data: Data,
        [n, pixels, c_in, c_out]: [usize; 4],
        activation: i32,
        [batch_norm, gate, skip]: [bool; 3],
        seed: u64,
    ) -> PointwiseF32 {
        let mut random = Random::new(seed);
        let random = &mut random;
        let f32 = Precision::Fp32;
        let elems = |present, elems| if present { elems } else { 0 };
        PointwiseF32 {
            compute,
            n,
            pixels,
            c_in,
            c_out,
            activation,
            data,
            split: None,
            pooled: false,
            stored: true,
            input: data.values(random, f32, n * pixels * c_in),
            weight: data.values(random, f32, c_out * c_in),
            scale: data.scales(random, elems(batch_norm, c_out)),
            shift: data.values(random, f32, elems(batch_norm, c_out)),
            gate: data.gates(random, elems(gate, n * c_in)),
            skip: data.values(random, f32, elems(skip, n * pixels * c_out)),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> PointwiseF32 {
        let part = |values: &[f32]| {
            let elems = values.len() / self.n;
            values[i * elems..][..elems].to_vec()
        };
        PointwiseF32 {
            n: 1,
            input: part(&self.input),
            gate: part(&self.gate),
            skip: part(&self.skip),
            ..self.clone()
        }
    }

    pub fn shape(&self) -> PointwiseShape {
        PointwiseShape {
            rows: (self.n * self.pixels) as i32,
            pixels: self.pixels as i32,
            c_in: self.c_in as i32,
            c_out: self.c_out as i32,
            pooled: self.pooled,
            ..PointwiseShape::EMPTY
        }
    }

    /// Roundings of a sum over `c_in`, in units of `u * sum |x * w|`.
    fn roundings(&self) -> f64 {
        let chunks = pointwise_f32::tiling(self.shape()).chunks as usize;
        match self.compute {
            Compute::Tf32 => tensor_core_roundings(self.c_in.min(CHUNK), chunks),
            _ => self.c_in as f64,
        }
    }

    /// A factor as it is multiplied.
    fn factor(&self, x: f32) -> f64 {
        match self.compute {
            Compute::Tf32 => tf32(x).into(),
            _ => x.into(),
        }
    }
}

/// Rounds to 10 bits of fraction, to nearest, ties away from zero.
fn tf32(x: f32) -> f32 {
    f32::from_bits((x.to_bits() + 0x1000) & !0x1fff)
}

impl Case for PointwiseF32 {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let f32 = Precision::Fp32;
        let mut optional = |name, values: &[f32]| match values {
            [] => 0,
            values => buffers.input(name, f32, values),
        };
        let mut params = PointwiseParams {
            input: optional("input", &self.input),
            weight: optional("weight", &self.weight),
            scale: optional("scale", &self.scale),
            shift: optional("shift", &self.shift),
            gate: optional("gate", &self.gate),
            skip: optional("skip", &self.skip),
            rows: (self.n * self.pixels) as i32,
            pixels: self.pixels as i32,
            c_in: self.c_in as i32,
            c_out: self.c_out as i32,
            activation: self.activation,
            ..PointwiseParams::default()
        };
        let mut tiling = pointwise_f32::tiling(self.shape());
        tiling.split = self.split.unwrap_or(tiling.split);
        if self.stored {
            params.output = buffers.output("output", f32, self.n * self.pixels * self.c_out);
        }
        if self.pooled {
            let elems = self.n * tiling.row_tiles as usize * self.c_out;
            params.partial_sums = buffers.output("partial_sums", f32, elems);
        }
        if tiling.split {
            // No output: the scratch of the blocks. The counters have to be zero again: an input
            // that stays as it is.
            let elems = tiling.chunk_sums_elems(self.shape()) as usize;
            params.chunk_sums = buffers.scratch("chunk_sums", elems * 4);
            let tiles = tiling.arrivals_elems(self.shape()) as usize;
            params.arrivals = buffers.input("arrivals", f32, &vec![0.0; tiles]);
        }
        let launch = pointwise_f32::launch(self.compute, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let PointwiseF32 { n, pixels, c_in, c_out, data, .. } = *self;
        let roundings = self.roundings();
        let rounds = self.compute != Compute::Tf32 || data == Data::Integers || has_tf32();
        let unrounded = if rounds { 0.0 } else { UNROUNDED };
        let mut values: Vec<Bounded> = Vec::with_capacity(n * pixels * c_out);
        let weight: Vec<f64> = self.weight.iter().map(|&w| self.factor(w)).collect();
        let mut row = vec![0.0f64; c_in];
        for r in 0..n * pixels {
            for (i, x) in row.iter_mut().enumerate() {
                // As the kernel's head states: x * gate is rounded to f32 once.
                let gate = self.gate.get(r / pixels * c_in + i).copied().unwrap_or(1.0);
                *x = self.factor(self.input[r * c_in + i] * gate);
            }
            for o in 0..c_out {
                let (mut sum, mut magnitude) = (0.0, 0.0);
                for (x, w) in row.iter().zip(&weight[o * c_in..][..c_in]) {
                    sum += x * w;
                    magnitude += (x * w).abs();
                }
                let error = (roundings * data.u() + unrounded) * magnitude;
                let mut y = Bounded { value: sum, error };
                if !self.scale.is_empty() {
                    y = y.batch_norm(self.scale[o], self.shift[o], data);
                }
                y = y.activate(self.activation, data, Precision::Fp32);
                if let Some(&skip) = self.skip.get(r * c_out + o) {
                    y.value += f64::from(skip);
                    y.error += data.u() * y.value.abs();
                }
                values.push(y);
            }
        }

        let precision = Precision::Fp32;
        let mut expected = Vec::new();
        if self.pooled {
            let tile_rows = pointwise_f32::tiling(self.shape()).tile_rows as usize;
            let mut sums = Vec::new();
            for image in values.chunks(pixels * c_out) {
                for tile in image.chunks(tile_rows * c_out) {
                    for o in 0..c_out {
                        let rows = tile.iter().skip(o).step_by(c_out);
                        let (mut sum, mut magnitude) = (Bounded::default(), 0.0);
                        for y in rows.clone() {
                            sum.value += y.value;
                            sum.error += y.error;
                            magnitude += y.value.abs();
                        }
                        sum.error += rows.len() as f64 * data.u() * magnitude;
                        sums.push(sum);
                    }
                }
            }
            expected.push(Expected { name: "partial_sums", precision, values: sums });
        }
        if self.stored {
            expected.insert(0, Expected { name: "output", precision, values });
        }
        expected
    }

    fn describe(&self) -> String {
        format!(
            "pointwise {}, n {}, {} pixels, {} -> {}, activation {}, scale {}, gate {}, skip {}, split {:?}, \
             pooled {}, stored {}, {:?}",
            self.compute,
            self.n,
            self.pixels,
            self.c_in,
            self.c_out,
            self.activation,
            !self.scale.is_empty(),
            !self.gate.is_empty(),
            !self.skip.is_empty(),
            self.split,
            self.pooled,
            self.stored,
            self.data
        )
    }
}

// --- On the emulator or a GPU ---

const COMPUTES: [Compute; 2] = [Compute::Fp32, Compute::Tf32];
/// Batch-norm, gate, skip.
const EXTRAS: [[bool; 3]; 5] = [
    [true, false, false],
    [true, true, true],
    [true, true, false],
    [true, false, true],
    [false, false, false],
];

/// Pointwise launches of a network, each shape once: expand, project with gate and skip, and the
/// head convolution, which is pooled and not stored.
fn layers(variant: Variant, side: usize) -> Vec<([usize; 4], i32, [bool; 3], bool)> {
    let network = Network::new(variant, 1000);
    let size = Size::square(side);
    let geometry = NetworkGeometry::new(&network, size, Padding::Symmetric).expect("it works");
    let activation =
        if variant.to_string().contains("lite") { ACTIVATION_RELU6 } else { ACTIVATION_SWISH };
    let mut layers = Vec::new();
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        if block.has_expand() {
            let shape = [1, conv.input.pixels(), block.c_in, block.c_mid];
            layers.push((shape, activation, [true, false, false], false));
        }
        let shape = [1, conv.output.pixels(), block.c_mid, block.c_out];
        let gate = activation == ACTIVATION_SWISH;
        layers.push((shape, ACTIVATION_NONE, [true, gate, block.skip], false));
    }
    let head = [1, geometry.last().pixels(), network.c_last(), network.c_head];
    layers.push((head, activation, [true, false, false], true));
    let mut seen = HashSet::new();
    layers.retain(|layer| seen.insert(*layer));
    layers
}

fn check_layers(compute: Compute, layers: Vec<([usize; 4], i32, [bool; 3], bool)>) {
    let machine = machine(pointwise_f32::IMAGE);
    for (i, (shape, activation, extras, pooled)) in layers.into_iter().enumerate() {
        let case = PointwiseF32::new(compute, Data::Uniform, shape, activation, extras, i as u64);
        PointwiseF32 { pooled, stored: !pooled, ..case }.check(&machine);
    }
}

/// A part of the layers for each test, so that they share the cores.
fn part_of_b0(compute: Compute, part: usize) {
    check_layers(compute, layers(Variant::B0, 224).into_iter().skip(part).step_by(2).collect());
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f32_over_the_even_layers_of_b0() {
    part_of_b0(Compute::Fp32, 0);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f32_over_the_odd_layers_of_b0() {
    part_of_b0(Compute::Fp32, 1);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_tf32_over_the_even_layers_of_b0() {
    part_of_b0(Compute::Tf32, 0);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_tf32_over_the_odd_layers_of_b0() {
    part_of_b0(Compute::Tf32, 1);
}

/// The channels of B3 and Lite4 at a small size: widths such as 136, 232, 816, 1392, 1632 and 2304.
fn odd_layers(compute: Compute) {
    check_layers(compute, layers(Variant::B3, 64));
    check_layers(compute, layers(Variant::Lite4, 64));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f32_over_the_odd_layers_of_b3_and_lite4() {
    odd_layers(Compute::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_tf32_over_the_odd_layers_of_b3_and_lite4() {
    odd_layers(Compute::Tf32);
}

/// Every pair of channel counts and every map; activation, parts, the pool and the kind of data go
/// round.
fn awkward_pointwise(compute: Compute) {
    let machine = machine(pointwise_f32::IMAGE);
    let mut seed = 0;
    for [h, w] in MAPS {
        for c_in in CHANNELS {
            for c_out in CHANNELS {
                let activation = ACTIVATIONS[seed % 3];
                let exact = activation != ACTIVATION_SWISH && seed % 5 < 3;
                let data = if exact { Data::Integers } else { Data::Uniform };
                let shape = [BATCH, h * w, c_in, c_out];
                let extras = EXTRAS[seed / 3 % 5];
                let mut case =
                    PointwiseF32::new(compute, data, shape, activation, extras, seed as u64);
                case.pooled = seed % 4 == 1;
                case.stored = !case.pooled || seed % 8 == 1;
                check_batch(&machine, &case, BATCH, |i| case.image(i));
                seed += 1;
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_pointwise_f32() {
    awkward_pointwise(Compute::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_pointwise_tf32() {
    awkward_pointwise(Compute::Tf32);
}

/// A shape that ends within a tile both ways, in one chunk and a part of the next.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f32_and_tf32_with_every_activation_and_part() {
    let machine = machine(pointwise_f32::IMAGE);
    for compute in COMPUTES {
        for activation in ACTIVATIONS {
            for parts in 0..16 {
                let [batch_norm, gate, skip, pooled] = [1, 2, 4, 8].map(|bit| parts & bit != 0);
                for data in [Data::Uniform, Data::Integers] {
                    if data == Data::Integers && activation == ACTIVATION_SWISH {
                        continue;
                    }
                    let (shape, extras) = ([2, 19, 136, 40], [batch_norm, gate, skip]);
                    let case = PointwiseF32::new(compute, data, shape, activation, extras, parts);
                    let case = PointwiseF32 { pooled, ..case };
                    check_batch(&machine, &case, 2, |i| case.image(i));
                }
            }
        }
    }
}

/// Chunks of their own blocks give the bytes of chunks that one block adds.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn split_chunks_give_the_same_bytes() {
    let machine = machine(pointwise_f32::IMAGE);
    let shapes =
        [[1, 49, 1152, 320], [2, 49, 232, 72], [3, 1, 136, 24], [1, 5, 128, 8], [1, 20, 8, 8]];
    for compute in COMPUTES {
        for (i, shape) in shapes.into_iter().enumerate() {
            for pooled in [false, true] {
                let (activation, extras) = (ACTIVATIONS[i % 3], EXTRAS[i]);
                let case =
                    PointwiseF32::new(compute, Data::Uniform, shape, activation, extras, i as u64);
                let case = |split| PointwiseF32 { split: Some(split), pooled, ..case.clone() };
                let split = case(true).check(&machine);
                assert!(split == case(false).check(&machine), "{}", case(true).describe());
            }
        }
    }
}

/// A batch large enough for the largest tiles, and one image of it in smaller ones: that image's
/// bytes.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn tiles_of_every_shape_give_the_same_bytes() {
    let machine = machine(pointwise_f32::IMAGE);
    let shapes = [
        ([55, 100, 136, 72], [64, 32], [16, 32]),
        ([45, 100, 136, 120], [64, 64], [16, 32]),
        ([2, 1000, 136, 72], [32, 32], [16, 32]),
    ];
    for (shape, batch_tile, image_tile) in shapes {
        for compute in COMPUTES {
            let (activation, extras) = (ACTIVATION_SWISH, [true, true, true]);
            let case = PointwiseF32::new(compute, Data::Uniform, shape, activation, extras, 5);
            let single = case.image(shape[0] - 1);
            let tile = |case: &PointwiseF32| {
                let tiling = pointwise_f32::tiling(case.shape());
                [tiling.tile_rows, tiling.tile_cols]
            };
            assert_eq!([tile(&case), tile(&single)], [batch_tile, image_tile]);
            let whole = case.run(&machine, Buffers::exact());
            let alone = single.check(&machine);
            assert!(whole[0].ends_with(&alone[0]), "{}", case.describe());
        }
    }
}

/// Every layer of B0 at batch 1 has a block for each multiprocessor of a large GPU, or nearly.
#[test]
fn pointwise_f32_has_enough_blocks() {
    for ([n, pixels, c_in, c_out], _, _, pooled) in layers(Variant::B0, 224) {
        let [rows, pixels, c_in, c_out] = [n * pixels, pixels, c_in, c_out].map(|x| x as i32);
        let tiling = pointwise_f32::tiling(PointwiseShape {
            rows,
            pixels,
            c_in,
            c_out,
            pooled,
            ..PointwiseShape::EMPTY
        });
        let chunks = if tiling.split { tiling.chunks } else { 1 };
        let blocks = tiling.row_tiles * tiling.col_tiles * chunks;
        println!("{pixels} pixels, {c_in} -> {c_out}: {blocks} blocks, {tiling:?}");
        assert!(blocks >= 78, "{pixels} pixels, {c_in} -> {c_out}: {blocks} blocks, {tiling:?}");
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_pointwise_f32_and_tf32() {
    let machine = machine(pointwise_f32::IMAGE);
    for compute in [Compute::Fp32, Compute::Tf32] {
        for (shape, pooled) in [([2, 21, 136, 40], false), ([1, 130, 264, 72], true)] {
            let (activation, parts) = (ACTIVATION_SWISH, [true; 3]);
            let case = PointwiseF32::new(compute, Data::Uniform, shape, activation, parts, 1);
            let split = |split| PointwiseF32 { split: Some(split), pooled, ..case.clone() };
            let bytes = split(false).check(&machine);
            assert!(bytes == split(true).check(&machine), "{}", split(true).describe());
        }
    }
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

    /// A case whose chunks are split, and that is pooled, as it is said.
    fn pointwise_case(
        compute: Compute,
        shape: [usize; 4],
        activation: i32,
        parts: [bool; 3],
        [split, pooled, stored]: [bool; 3],
    ) -> Box<dyn Case> {
        let seed = shape[1] as u64;
        let case = PointwiseF32::new(compute, Data::Uniform, shape, activation, parts, seed);
        Box::new(PointwiseF32 { split: Some(split), pooled, stored, ..case })
    }

    /// Shapes for the smallest tiles: one step and several, one chunk and several, by one block and by
    /// one each; tiles that are part empty both ways; each part present and absent.
    fn pointwise_shapes(compute: Compute) -> Vec<Box<dyn Case>> {
        let (all, none) = ([true; 3], [false; 3]);
        vec![
            pointwise_case(compute, [3, 7, 40, 40], ACTIVATION_SWISH, all, [false, true, true]),
            pointwise_case(compute, [1, 1, 8, 8], ACTIVATION_NONE, none, [false, false, true]),
            pointwise_case(compute, [2, 9, 136, 24], ACTIVATION_RELU6, all, [true, true, false]),
            pointwise_case(compute, [1, 20, 264, 40], ACTIVATION_NONE, none, [true, false, true]),
            pointwise_case(compute, [2, 11, 168, 48], ACTIVATION_NONE, none, [false, false, true]),
        ]
    }

    fn pointwise_subject(compute: Compute) -> Vec<Subject> {
        let first = if compute == Compute::Fp32 { 0 } else { 4 };
        vec![(pointwise_f32::IMAGE, pointwise_f32::ENTRIES[first + 3], pointwise_shapes(compute))]
    }

    /// Each larger tile, with as few channels as may be: it takes many rows to be chosen.
    fn larger_subjects(compute: Compute) -> Vec<Subject> {
        let first = if compute == Compute::Fp32 { 0 } else { 4 };
        let shapes =
            [(0, [1, 8430, 40, 56]), (1, [2, 4200, 40, 24]), (2, [2, 33, 40, 1448])].into_iter();
        shapes
            .map(|(i, shape)| {
                let parts = [false, false, true];
                let case = pointwise_case(compute, shape, ACTIVATION_NONE, [true; 3], parts);
                (pointwise_f32::IMAGE, pointwise_f32::ENTRIES[first + i], vec![case])
            })
            .collect()
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn pointwise_f32_has_no_report_under_adversarial_schedules() {
        no_report(pointwise_subject(Compute::Fp32));
        no_report(larger_subjects(Compute::Fp32));
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn pointwise_tf32_has_no_report_under_adversarial_schedules() {
        no_report(pointwise_subject(Compute::Tf32));
        no_report(larger_subjects(Compute::Tf32));
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn mutants_of_pointwise_f32_are_reported() {
        all_are_reported(pointwise_subject(Compute::Fp32), 95.0);
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn mutants_of_pointwise_tf32_are_reported() {
        all_are_reported(pointwise_subject(Compute::Tf32), 95.0);
    }
}
