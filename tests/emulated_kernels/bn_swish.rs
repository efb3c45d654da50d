//! `kernels/bn_swish.cu`.

use super::*;
use crate::support::Random;
use crate::support::emulated::*;
use effnet::kernels::bn_swish;
use effnet::kernels::params::*;
use effnet::weights::Precision;
use std::collections::HashSet;

// --- A launch, and its expected outputs ---

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
            y = y.activate(self.activation, data, self.precision);
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

// --- On the emulator or a GPU ---

const EXTRAS: [[bool; 3]; 8] = [
    [true, false, false],
    [false, true, false],
    [false, false, true],
    [true, true, true],
    [true, false, true],
    [true, true, false],
    [false, true, true],
    [false, false, false],
];

/// Launches of B0's layerwise path, each shape once: batch-norm and activation of the expanded
/// maps, their gates, and batch-norm and skip of the projected ones.
fn bn_swish_of_b0(precision: Precision) {
    let machine = machine(bn_swish::IMAGE);
    let (network, geometry) = b0(Padding::Symmetric);
    let mut seen = HashSet::new();
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        let pixels = conv.output.pixels();
        for (c, activation, extras) in [
            (block.c_mid, ACTIVATION_SWISH, [true, false, false]),
            (block.c_mid, ACTIVATION_NONE, [false, true, false]),
            (block.c_out, ACTIVATION_NONE, [true, false, block.skip]),
        ] {
            if seen.insert((pixels, c, activation, extras)) {
                let shape = [1, pixels, c];
                let seed = seen.len() as u64;
                let case = BnSwish::new(precision, Data::Uniform, shape, activation, extras, seed);
                case.check(&machine);
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn bn_swish_f16_over_the_layers_of_b0() {
    bn_swish_of_b0(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn bn_swish_f32_over_the_layers_of_b0() {
    bn_swish_of_b0(Precision::Fp32);
}

/// Every map and channel count with every part present or absent; activation and kind of data go
/// round. In place too.
fn awkward_bn_swish(precision: Precision) {
    let machine = machine(bn_swish::IMAGE);
    let mut seed = 0;
    for [h, w] in MAPS {
        for c in CHANNELS {
            for extras in EXTRAS {
                let activation = ACTIVATIONS[seed % 3];
                let exact = activation != ACTIVATION_SWISH && seed % 5 < 3;
                let data = if exact { Data::Integers } else { Data::Uniform };
                let shape = [BATCH, h * w, c];
                let case = BnSwish::new(precision, data, shape, activation, extras, seed as u64);
                check_batch(&machine, &case, BATCH, |i| case.image(i));
                let apart = case.run(&machine, Buffers::exact());
                assert!(apart[0] == case.run_in_place(&machine), "{}: in place", case.describe());
                seed += 1;
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_bn_swish_f16() {
    awkward_bn_swish(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_bn_swish_f32() {
    awkward_bn_swish(Precision::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_bn_swish() {
    let machine = machine(bn_swish::IMAGE);
    for precision in PRECISIONS {
        let (shape, parts) = ([2, 15, 40], [true; 3]);
        let case = BnSwish::new(precision, Data::Uniform, shape, ACTIVATION_SWISH, parts, 1);
        check_batch(&machine, &case, 2, |i| case.image(i));
        let apart = case.run(&machine, Buffers::exact());
        assert!(apart[0] == case.run_in_place(&machine), "{}: in place", case.describe());
    }
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

    /// Blocks that are part empty, rows in odd and even number, each part present and absent.
    fn bn_swish_shapes(precision: Precision) -> Vec<Box<dyn Case>> {
        let shapes = [
            ([3, 17, 24], ACTIVATION_SWISH, [true, true, true]),
            ([1, 1, 8], ACTIVATION_NONE, [false, false, false]),
            ([2, 9, 232], ACTIVATION_RELU6, [true, false, true]),
            ([1, 64, 32], ACTIVATION_SWISH, [false, true, false]),
        ];
        let cases = shapes.into_iter().enumerate();
        cases
            .map(|(i, (shape, activation, parts))| -> Box<dyn Case> {
                let data = Data::Uniform;
                Box::new(BnSwish::new(precision, data, shape, activation, parts, i as u64))
            })
            .collect()
    }

    fn bn_swish_subjects() -> Vec<Subject> {
        let precisions = [Precision::Fp16, Precision::Fp32].into_iter().enumerate();
        precisions
            .map(|(i, p)| (bn_swish::IMAGE, bn_swish::ENTRIES[i], bn_swish_shapes(p)))
            .collect()
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn bn_swish_has_no_report_under_adversarial_schedules() {
        no_report(bn_swish_subjects());
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn mutants_of_bn_swish_are_reported() {
        all_are_reported(bn_swish_subjects(), 95.0);
    }
}
