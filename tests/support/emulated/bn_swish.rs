//! Launches of `kernels/bn_swish.cu`, and their expected outputs.

use super::*;
use effnet::kernels::bn_swish;

/// Tensors and options of a bn_swish launch.
#[derive(Clone, Debug)]
pub struct BnSwish {
    pub precision: Precision,
    pub n: usize,
    pub pixels: usize,
    pub c: usize,
    pub activation: i32,
    pub data: Data,
    pub input: Vec<f32>,
    /// Empty, with `shift`: none.
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    /// Empty: none.
    pub gate: Vec<f32>,
    /// Empty: none.
    pub skip: Vec<f32>,
}

impl BnSwish {
    pub fn new(
        precision: Precision,
        data: Data,
        [n, pixels, c]: [usize; 3],
        activation: i32,
        [batch_norm, gate, skip]: [bool; 3],
        seed: u64,
    ) -> BnSwish {
        let mut random = Random::new(seed);
        let random = &mut random;
        let elems = |present, elems| if present { elems } else { 0 };
        BnSwish {
            precision,
            n,
            pixels,
            c,
            activation,
            data,
            input: data.values(random, precision, n * pixels * c),
            scale: data.scales(random, elems(batch_norm, c)),
            shift: data.values(random, Precision::Fp32, elems(batch_norm, c)),
            gate: data.gates(random, elems(gate, n * c)),
            skip: data.values(random, precision, elems(skip, n * pixels * c)),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> BnSwish {
        let part = |values: &[f32]| {
            let elems = values.len() / self.n;
            values[i * elems..][..elems].to_vec()
        };
        BnSwish {
            n: 1,
            input: part(&self.input),
            gate: part(&self.gate),
            skip: part(&self.skip),
            ..self.clone()
        }
    }

    /// The parameters without input and output.
    fn params(&self, buffers: &mut Buffers) -> BnSwishParams {
        let mut optional = |name, precision, values: &[f32]| match values {
            [] => 0,
            values => buffers.input(name, precision, values),
        };
        BnSwishParams {
            scale: optional("scale", Precision::Fp32, &self.scale),
            shift: optional("shift", Precision::Fp32, &self.shift),
            gate: optional("gate", Precision::Fp32, &self.gate),
            skip: optional("skip", self.precision, &self.skip),
            rows: (self.n * self.pixels) as i32,
            pixels: self.pixels as i32,
            c: self.c as i32,
            activation: self.activation,
            ..BnSwishParams::default()
        }
    }

    fn launch(&self, params: BnSwishParams) -> Prepared {
        let launch = bn_swish::launch(self.precision, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    /// The output where it takes the place of the input.
    pub fn run_in_place(&self, machine: &dyn Machine) -> Vec<u8> {
        let mut buffers = Buffers::exact();
        let mut params = self.params(&mut buffers);
        params.input = buffers.in_place("input and output", self.precision, &self.input);
        params.output = params.input;
        let outputs = machine.run(&self.describe(), &[self.launch(params)], &mut buffers);
        outputs.into_iter().next().expect("one output")
    }
}

impl Case for BnSwish {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let mut params = self.params(buffers);
        params.input = buffers.input("input", self.precision, &self.input);
        params.output = buffers.output("output", self.precision, self.input.len());
        self.launch(params)
    }

    fn expected(&self) -> Vec<Expected> {
        let BnSwish { c, data, .. } = *self;
        let value = |(i, &x): (usize, &f32)| {
            let (row, channel) = (i / c, i % c);
            let mut y = Bounded { value: x.into(), error: 0.0 };
            if !self.scale.is_empty() {
                y = y.batch_norm(self.scale[channel], self.shift[channel], data);
            }
            y = y.activate(self.activation, data);
            if let Some(&gate) = self.gate.get(row / self.pixels * c + channel) {
                let gate = f64::from(gate);
                y.value *= gate;
                y.error = y.error * gate + data.u() * y.value.abs();
            }
            if let Some(&skip) = self.skip.get(i) {
                y.value += f64::from(skip);
                y.error += data.u() * y.value.abs();
            }
            y.stored(self.precision)
        };
        let values = self.input.iter().enumerate().map(value).collect();
        vec![Expected { name: "output", precision: self.precision, values }]
    }

    fn describe(&self) -> String {
        format!(
            "bn_swish {}, n {}, {} pixels, c {}, activation {}, scale {}, gate {}, skip {}, {:?}",
            self.precision,
            self.n,
            self.pixels,
            self.c,
            self.activation,
            !self.scale.is_empty(),
            !self.gate.is_empty(),
            !self.skip.is_empty(),
            self.data
        )
    }
}
