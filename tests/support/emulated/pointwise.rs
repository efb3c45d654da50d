//! Launches of `kernels/pointwise.cu`, and what they have to give.

use super::*;
use effnet::kernels::pointwise;

/// What a pointwise launch is made of.
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
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    /// Empty: none.
    pub gate: Vec<f32>,
    /// Empty: none.
    pub skip: Vec<f32>,
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
        }
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
}

impl Case for Pointwise {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let (half, f32) = (Precision::Fp16, Precision::Fp32);
        let mut optional = |name, precision, values: &[f32]| match values {
            [] => 0,
            values => buffers.input(name, precision, values),
        };
        let gate = optional("gate", f32, &self.gate);
        let skip = optional("skip", half, &self.skip);
        let params = PointwiseParams {
            input: buffers.input("input", half, &self.input),
            weight: buffers.input("weight", half, &self.weight),
            scale: buffers.input("scale", f32, &self.scale),
            shift: buffers.input("shift", f32, &self.shift),
            gate,
            skip,
            output: buffers.output("output", half, self.n * self.pixels * self.c_out),
            rows: (self.n * self.pixels) as i32,
            pixels: self.pixels as i32,
            c_in: self.c_in as i32,
            c_out: self.c_out as i32,
            activation: self.activation,
            reserved: 0,
        };
        let launch = pointwise::launch(half, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let Pointwise { pixels, c_in, c_out, data, .. } = *self;
        let mut values = Vec::with_capacity(self.n * pixels * c_out);
        let weight: Vec<f64> = self.weight.iter().map(|&w| f64::from(w)).collect();
        let mut row = vec![0.0f64; c_in];
        for r in 0..self.n * pixels {
            for (i, x) in row.iter_mut().enumerate() {
                // What the kernel's head says: x * gate is rounded to f16 once.
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
                let error = c_in as f64 * data.u() * magnitude;
                let mut y = Bounded { value: sum, error }
                    .batch_norm(self.scale[o], self.shift[o], data)
                    .activate(self.activation, data);
                if let Some(&skip) = self.skip.get(r * c_out + o) {
                    y.value += f64::from(skip);
                    y.error += data.u() * y.value.abs();
                }
                values.push(y.stored(Precision::Fp16));
            }
        }
        vec![Expected { name: "output", precision: Precision::Fp16, values }]
    }

    fn describe(&self) -> String {
        format!(
            "pointwise n {}, {} pixels, {} -> {}, activation {}, gate {}, skip {}, {:?}",
            self.n,
            self.pixels,
            self.c_in,
            self.c_out,
            self.activation,
            !self.gate.is_empty(),
            !self.skip.is_empty(),
            self.data
        )
    }
}
