//! Launches of `kernels/pointwise_f32.cu`, and their expected outputs.
//!
//! In f32, chunks change no bound: where a sum of `K` products is cut, each product passes through
//! fewer than `K` roundings all the same. The factors that tf32 rounds are rounded in the loops
//! here, so that their products are exact in f64. On sm_75, which has no tf32, its kernels multiply
//! factors that were not rounded.

use super::*;
use effnet::kernels::{Compute, PointwiseShape, pointwise_f32};

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
                y = y.activate(self.activation, data);
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
