//! Launches of `kernels/pointwise.cu`, and their expected outputs.

use super::*;
use effnet::kernels::pointwise::{self, Block};
use effnet::kernels::{PointwiseShape, Tiling};

/// Tensors and options of a pointwise launch.
#[derive(Clone, Debug)]
pub struct Pointwise {
    pub n: usize,
    pub pixels: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub activation: i32,
    pub data: Data,
    pub input: Vec<f32>,
    pub weight: Vec<f32>,
    /// Empty, with shift: neither is applied.
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    /// Empty: none.
    pub gate: Vec<f32>,
    /// In place of `gate`: what it is computed from.
    pub squeeze: Option<Squeeze>,
    /// Empty: none.
    pub skip: Vec<f32>,
    /// Whether the output is stored, and whether it is summed over the pixels.
    pub outputs: Outputs,
    /// Other blocks than the shape's own.
    pub forced: Option<Block>,
}

/// What a gate is computed from.
#[derive(Clone, Debug)]
pub struct Squeeze {
    pub parts: usize,
    pub c_se: usize,
    /// `[n, parts, c_se rounded up to 4]`, whose last values are zero.
    pub squeeze: Vec<f32>,
    pub reduce_bias: Vec<f32>,
    /// `[c_se, c_in]`.
    pub gate_weight: Vec<f32>,
    pub gate_bias: Vec<f32>,
}

impl Squeeze {
    /// The gates of an image, as f64 says and rounded to f16.
    fn gates(&self, image: usize, [c_in, pixels]: [usize; 2]) -> Vec<Bounded> {
        let stride = self.c_se.next_multiple_of(4);
        let parts = &self.squeeze[image * self.parts * stride..][..self.parts * stride];
        let reduced: Vec<Bounded> = (0..self.c_se)
            .map(|j| {
                let terms = parts.iter().skip(j).step_by(stride).map(|&x| f64::from(x));
                let bias = f64::from(self.reduce_bias[j]);
                let magnitude = terms.clone().map(f64::abs).sum::<f64>() / pixels as f64;
                let value = terms.sum::<f64>() / pixels as f64 + bias;
                // A part's share, of at least 8, and at most 32 shares; the inverse of pixels, off
                // by 2 u, and the fma that multiplies by it.
                let shares = match self.c_se {
                    ..=16 => 32,
                    17..=32 => 16,
                    _ => 8,
                };
                let roundings = (self.parts.div_ceil(shares) + shares + 3) as f64;
                let error = roundings * U * (magnitude + bias.abs());
                Bounded { value, error }.activate(ACTIVATION_SWISH, Data::Uniform, Precision::Fp16)
            })
            .collect();
        let gate = |channel: usize| {
            let bias = f64::from(self.gate_bias[channel]);
            let (mut sum, mut magnitude) = (Bounded { value: bias, error: 0.0 }, bias.abs());
            for (j, x) in reduced.iter().enumerate() {
                let weight = f64::from(self.gate_weight[j * c_in + channel]);
                sum.value += x.value * weight;
                sum.error += x.error * weight.abs();
                magnitude += (x.value * weight).abs();
            }
            // Each product, and the bias.
            sum.error += (self.c_se + 1) as f64 * U * magnitude;
            sum.sigmoid(Precision::Fp16).to_half()
        };
        (0..c_in).map(gate).collect()
    }
}

impl Bounded {
    /// Rounded to f16: to the one value that all within the bound round to, or with what the
    /// rounding adds at the most.
    fn to_half(self) -> Bounded {
        let round = |x: f64| f16::from_f64(x).to_f64();
        let nearest = round(self.value);
        if round(self.value - self.error) == nearest && round(self.value + self.error) == nearest {
            return Bounded { value: nearest, error: 0.0 };
        }
        self.stored(Precision::Fp16)
    }
}

/// Outputs of a pointwise launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs {
    Stored,
    Pooled,
    Both,
}

impl Pointwise {
    pub fn new(
        data: Data,
        [n, pixels, c_in, c_out]: [usize; 4],
        activation: i32,
        [gate, skip]: [bool; 2],
        seed: u64,
    ) -> Pointwise {
        let mut random = Random::new(seed);
        let random = &mut random;
        let half = Precision::Fp16;
        Pointwise {
            n,
            pixels,
            c_in,
            c_out,
            activation,
            data,
            input: data.values(random, half, n * pixels * c_in),
            weight: data.values(random, half, c_out * c_in),
            scale: data.scales(random, c_out),
            shift: data.values(random, Precision::Fp32, c_out),
            gate: if gate { data.gates(random, n * c_in) } else { Vec::new() },
            squeeze: None,
            skip: if skip { data.values(random, half, n * pixels * c_out) } else { Vec::new() },
            outputs: Outputs::Stored,
            forced: None,
        }
    }

    /// The product alone.
    pub fn without_batch_norm(self) -> Pointwise {
        Pointwise { scale: Vec::new(), shift: Vec::new(), ..self }
    }

    /// With a gate that is computed from `parts` parts of `c_se` values.
    pub fn squeezed(self, [parts, c_se]: [usize; 2], seed: u64) -> Pointwise {
        let mut random = Random::new(seed);
        let stride = c_se.next_multiple_of(4);
        let scale = 2.0 * self.pixels as f32 / (parts as f32).sqrt();
        let of_part = |i: usize, random: &mut Random| {
            if i % stride < c_se { scale * random.signed() } else { 0.0 }
        };
        let squeeze = (0..self.n * parts * stride).map(|i| of_part(i, &mut random)).collect();
        let (random, data) = (&mut random, Data::Uniform);
        let squeeze = Squeeze {
            parts,
            c_se,
            squeeze,
            reduce_bias: data.values(random, Precision::Fp32, c_se),
            gate_weight: data.values(random, Precision::Fp16, c_se * self.c_in),
            gate_bias: data.values(random, Precision::Fp32, self.c_in),
        };
        Pointwise { gate: Vec::new(), squeeze: Some(squeeze), ..self }
    }

    pub fn giving(self, outputs: Outputs) -> Pointwise {
        Pointwise { outputs, ..self }
    }

    /// The launch with other blocks, where the kernels have them for the shape.
    pub fn forced(self, block: Block) -> Option<Pointwise> {
        pointwise::tiling_with(self.shape(), block)?;
        Some(Pointwise { forced: Some(block), ..self })
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> Pointwise {
        let part = |values: &[f32]| {
            let elems = values.len() / self.n;
            values[i * elems..][..elems].to_vec()
        };
        Pointwise {
            n: 1,
            input: part(&self.input),
            gate: part(&self.gate),
            squeeze: self
                .squeeze
                .clone()
                .map(|squeeze| Squeeze { squeeze: part(&squeeze.squeeze), ..squeeze }),
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
            pooled: self.outputs != Outputs::Stored,
            gated: !self.gate.is_empty() || self.squeeze.is_some(),
            c_se: self.squeeze.as_ref().map_or(0, |squeeze| squeeze.c_se as i32),
        }
    }

    pub fn tiling(&self) -> Tiling {
        match self.forced {
            Some(block) => pointwise::tiling_with(self.shape(), block).expect("a known block"),
            None => pointwise::tiling(self.shape()),
        }
    }
}

impl Case for Pointwise {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let (half, f32) = (Precision::Fp16, Precision::Fp32);
        let (shape, tiling) = (self.shape(), self.tiling());
        let mut optional = |name, precision, values: &[f32]| match values {
            [] => 0,
            values => buffers.input(name, precision, values),
        };
        let scale = optional("scale", f32, &self.scale);
        let shift = optional("shift", f32, &self.shift);
        let gate = optional("gate", f32, &self.gate);
        let skip = optional("skip", half, &self.skip);
        let [squeeze, reduce_bias, gate_weight, gate_bias] = match &self.squeeze {
            Some(squeeze) => [
                optional("squeeze", f32, &squeeze.squeeze),
                optional("reduce_bias", f32, &squeeze.reduce_bias),
                optional("gate_weight", half, &squeeze.gate_weight),
                optional("gate_bias", f32, &squeeze.gate_bias),
            ],
            None => [0; 4],
        };
        let (mut chunk_sums, mut arrivals) = (0, 0);
        if tiling.split {
            // Chunks' sums are no output: of which order they are is another test's business. An
            // arrival count ends as it began, as an input.
            let [sums, tiles] =
                pointwise::scratch_elems(shape, &tiling).map(|elems| elems as usize);
            chunk_sums = buffers.scratch("chunk_sums", 4 * sums);
            let zeros = vec![0.0; tiles];
            arrivals = buffers.input("arrivals", f32, &zeros);
        }
        let (mut output, mut partial_sums) = (0, 0);
        if self.outputs != Outputs::Pooled {
            output = buffers.output("output", half, self.n * self.pixels * self.c_out);
        }
        if shape.pooled {
            let elems = self.n * tiling.row_tiles as usize * self.c_out;
            partial_sums = buffers.output("partial_sums", f32, elems);
        }
        let params = PointwiseParams {
            input: buffers.input("input", half, &self.input),
            weight: buffers.input("weight", half, &self.weight),
            scale,
            shift,
            gate,
            squeeze,
            reduce_bias,
            gate_weight,
            gate_bias,
            skip,
            output,
            partial_sums,
            chunk_sums,
            arrivals,
            rows: shape.rows,
            pixels: shape.pixels,
            c_in: shape.c_in,
            c_out: shape.c_out,
            activation: self.activation,
            parts: self.squeeze.as_ref().map_or(0, |squeeze| squeeze.parts as i32),
            c_se: shape.c_se,
            ..Default::default()
        };
        let launch = match self.forced {
            Some(_) => pointwise::launch_with(tiling, params),
            None => pointwise::launch(params),
        };
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let Pointwise { pixels, c_in, c_out, data, .. } = *self;
        let roundings = match pointwise::chunks(c_in as i32) as usize {
            1 => tensor_core_roundings(c_in, 1),
            chunks => {
                let is_short = c_in <= POINTWISE_SHORT_SUM as usize;
                let chunk = if is_short { POINTWISE_SHORT_CHUNK } else { POINTWISE_LONG_CHUNK };
                tensor_core_roundings(chunk as usize, chunks)
            }
        };
        // Before it is rounded to f16.
        let mut outputs = Vec::with_capacity(self.n * pixels * c_out);
        let weight: Vec<f64> = self.weight.iter().map(|&w| f64::from(w)).collect();
        let mut row = vec![Bounded::default(); c_in];
        let mut gates = Vec::new(); // of the row's image
        for r in 0..self.n * pixels {
            if r % pixels == 0 {
                gates = match &self.squeeze {
                    Some(squeeze) => squeeze.gates(r / pixels, [c_in, pixels]),
                    None => {
                        let of_image = self.gate.iter().skip(r / pixels * c_in).take(c_in);
                        let round = |&x: &f32| f16::from_f32(x).to_f64();
                        of_image.map(|x| Bounded { value: round(x), error: 0.0 }).collect()
                    }
                };
            }
            for (i, x) in row.iter_mut().enumerate() {
                // As the kernel's head states: the gate is rounded to f16, and so is x * gate.
                let value = f64::from(self.input[r * c_in + i]);
                *x = match gates.get(i) {
                    Some(gate) => {
                        let error = value.abs() * gate.error;
                        Bounded { value: value * gate.value, error }.to_half()
                    }
                    None => Bounded { value, error: 0.0 },
                };
            }
            for o in 0..c_out {
                let (mut sum, mut magnitude, mut inherited) = (0.0, 0.0, 0.0);
                for (x, w) in row.iter().zip(&weight[o * c_in..][..c_in]) {
                    sum += x.value * w;
                    magnitude += (x.value * w).abs();
                    inherited += x.error * w.abs();
                }
                let error = inherited + roundings * data.u() * (magnitude + inherited);
                let mut y = Bounded { value: sum, error };
                if !self.scale.is_empty() {
                    y = y.batch_norm(self.scale[o], self.shift[o], data);
                }
                y = y.activate(self.activation, data, Precision::Fp16);
                if let Some(&skip) = self.skip.get(r * c_out + o) {
                    y.value += f64::from(skip);
                    y.error += data.u() * y.value.abs();
                }
                outputs.push(y);
            }
        }

        let mut expected = Vec::new();
        if self.outputs != Outputs::Pooled {
            let values = outputs.iter().map(|y| y.stored(Precision::Fp16)).collect();
            expected.push(Expected { name: "output", precision: Precision::Fp16, values });
        }
        if self.outputs != Outputs::Stored {
            let tile_rows = self.tiling().tile_rows as usize;
            let mut values = Vec::new();
            for image in outputs.chunks(pixels * c_out) {
                for tile in image.chunks(tile_rows * c_out) {
                    let rows = tile.len() / c_out;
                    for o in 0..c_out {
                        let (mut sum, mut magnitude) = (Bounded::default(), 0.0);
                        for y in tile.iter().skip(o).step_by(c_out) {
                            sum.value += y.value;
                            sum.error += y.error;
                            magnitude += y.value.abs();
                        }
                        sum.error += rows as f64 * data.u() * magnitude;
                        values.push(sum);
                    }
                }
            }
            expected.push(Expected { name: "partial_sums", precision: Precision::Fp32, values });
        }
        expected
    }

    fn describe(&self) -> String {
        let Tiling { tile_rows, tile_cols, warps: [down, across], chunks, split, .. } =
            self.tiling();
        let squeeze = self.squeeze.as_ref().map(|squeeze| [squeeze.parts, squeeze.c_se]);
        format!(
            "pointwise n {}, {} pixels, {} -> {}, activation {}, batch-norm {}, gate {}, squeeze {squeeze:?}, skip {}, {:?}, {:?}, \
             tiles {tile_rows} x {tile_cols} of {down} x {across} warps, {chunks} chunks, split {split}",
            self.n,
            self.pixels,
            self.c_in,
            self.c_out,
            self.activation,
            !self.scale.is_empty(),
            !self.gate.is_empty(),
            !self.skip.is_empty(),
            self.outputs,
            self.data
        )
    }
}
