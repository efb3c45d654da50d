//! Launches of `kernels/pointwise.cu`, and their expected outputs.

use super::*;
use effnet::kernels::{PointwiseShape, Tiling, pointwise};

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
    /// Empty: none.
    pub skip: Vec<f32>,
    /// Whether the output is stored, and whether it is summed over the pixels.
    pub outputs: Outputs,
    /// Another tile than the shape's own, and whether chunks are split.
    pub forced: Option<([i32; 2], bool)>,
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
            skip: if skip { data.values(random, half, n * pixels * c_out) } else { Vec::new() },
            outputs: Outputs::Stored,
            forced: None,
        }
    }

    /// The product alone.
    pub fn without_batch_norm(self) -> Pointwise {
        Pointwise { scale: Vec::new(), shift: Vec::new(), ..self }
    }

    pub fn giving(self, outputs: Outputs) -> Pointwise {
        Pointwise { outputs, ..self }
    }

    /// The launch with one of the tiles, and chunks split over blocks or not.
    pub fn forced(self, tile: [i32; 2], split: bool) -> Pointwise {
        Pointwise { forced: Some((tile, split)), ..self }
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
        }
    }

    pub fn tiling(&self) -> Tiling {
        match self.forced {
            Some((tile, split)) => pointwise::tiling_with(self.shape(), tile, split),
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
        let (mut chunk_sums, mut arrivals) = (0, 0);
        if tiling.split {
            // Chunks' sums are no output: of which order they are is another test's business. An
            // arrival count ends as it began, as an input.
            let bytes = 4 * tiling.chunk_sums_elems(shape) as usize;
            chunk_sums = buffers.scratch("chunk_sums", bytes);
            let zeros = vec![0.0; tiling.arrivals_elems(shape) as usize];
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
        let mut row = vec![0.0f64; c_in];
        for r in 0..self.n * pixels {
            for (i, x) in row.iter_mut().enumerate() {
                // As the kernel's head states: x * gate is rounded to f16 once.
                let value = self.input[r * c_in + i];
                *x = match self.gate.get(r / pixels * c_in + i) {
                    Some(gate) => f16::from_f32(value * gate).to_f64(),
                    None => value.into(),
                };
            }
            for o in 0..c_out {
                let (mut sum, mut magnitude) = (0.0, 0.0);
                for (x, w) in row.iter().zip(&weight[o * c_in..][..c_in]) {
                    sum += x * w;
                    magnitude += (x * w).abs();
                }
                let error = roundings * data.u() * magnitude;
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
        let Tiling { tile_rows, tile_cols, chunks, split, .. } = self.tiling();
        format!(
            "pointwise n {}, {} pixels, {} -> {}, activation {}, batch-norm {}, gate {}, skip {}, {:?}, {:?}, \
             tiles {tile_rows} x {tile_cols}, {chunks} chunks, split {split}",
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
