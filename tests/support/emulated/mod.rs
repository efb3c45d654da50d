//! The project's kernels on the emulator: cases with their buffers, the buffers' guards, and the
//! expected outputs, as naive loops in f64 with a bound of the rounding error for every value.
//!
//! The cases here are those that a bench runs too; the others stand with their kernel's tests.
//!
//! # The bounds
//!
//! `u = 2^-24` is the relative error of one rounding to f32. To first order in `u`:
//!
//! - a sum of `K` products, each added with one rounding (fma, or an exact product of two f16
//!   values and an addition), in any order: `K * u * sum |x * w|`, the sum taken for the very
//!   output;
//! - such a sum on tensor cores: see below;
//! - batch-norm, one fma: the error so far times `|scale|`, plus `u * |result|`;
//! - relu6 and no activation add nothing. Swish and sigmoid pass on at most [`SWISH_SLOPE`] and
//!   [`SIGMOID_SLOPE`] of the error so far. Their own error is relative: `exp` is an `ex2.approx`
//!   (2^-22 by the PTX ISA) of an argument that was reduced in f32 (another 2^-22 at the most), the
//!   addition of 1 and the division round once each: [`EXP_ERROR`]. In FP16 the argument is not
//!   reduced but multiplied by a rounded log2 e, with another rounding: [`exp_error`];
//! - a value stored as f16: half a unit in the last place, `2^-11 * |y|`, at least `2^-25`
//!   (subnormals).
//!
//! Where all values are small integers nothing rounds before the last step, and the bound is zero.
//!
//! # Tensor cores
//!
//! The PTX ISA asks an `mma` for single precision at least, and leaves order and rounding open.
//! Measurements (Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores",
//! PeerJ Computer Science 7:e330, 2021; Khattak and Mikaitis, "Accurate Models of NVIDIA Tensor
//! Cores", arXiv:2512.07004, 2025) found: products of f16 and of tf32 factors are exact. A block of
//! `b >= 4` of them and the accumulator are added in fixed point: each addend is shifted to the
//! exponent of the largest, and the part that then lies below the last of 24 bits, or of a few
//! more, is cut off; so is the part below the 24 bits of the result. No step rounds to nearest.
//!
//! A cut loses less than the last of 24 bits is worth, `2 * u` times a value of that exponent;
//! addends, results and accumulators are at most `m = sum |x * w|` in magnitude. One block has
//! `b + 1` addends and a result, so it loses less than `(b + 2) * 2 * u * m`, and `K / b` blocks
//! less than
//!
//!   `(K / b) * (b + 2) * 2 * u * m = (1 + 2 / b) * 2 * K * u * m <= 3 * K * u * m`.
//!
//! Where a sum is made of chunks, `K` is the length of the longest, as `m` of all chunks is the sum
//! of theirs, and each chunk adds one rounding to nearest: [`tensor_core_roundings`]. The emulator,
//! which rounds to nearest after each product, stays within a third of that. Factors are rounded to
//! tf32 by the kernel, to nearest, before they are multiplied; the loops round them likewise, so
//! that this adds nothing. Small integers lose nothing to a cut: all addends are multiples of the
//! least, and far from 24 bits.

mod buffers;
mod depthwise;
mod machine;
mod pointwise;
mod squeeze_excite;

#[allow(unused_imports)] // each test file uses a part of them
pub use self::{
    buffers::*,
    depthwise::Depthwise,
    machine::*,
    pointwise::{Outputs, Pointwise, Squeeze},
    squeeze_excite::SqueezeExcite,
};

use super::Random;
use effnet::emulator::{Launch, Module, Report};
use effnet::kernels::params::*;
use effnet::kernels::{self, Geometry};
use effnet::weights::Precision;
use half::f16;

/// Relative error of one rounding to f32.
pub const U: f64 = 1.0 / (1 << 24) as f64;
/// Relative error of swish and sigmoid, as evaluated in f32.
pub const EXP_ERROR: f64 = 8.0 * U + 2.0 * U;

/// Relative error of swish and sigmoid at `x`, as kernels of a precision evaluate them.
pub fn exp_error(x: f64, precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => EXP_ERROR,
        Precision::Fp16 => EXP_ERROR + 2.0 * U * x.abs(),
    }
}
/// Largest slope of `x / (1 + exp(-x))`: 1.0998.
pub const SWISH_SLOPE: f64 = 1.1;
/// Largest slope of `1 / (1 + exp(-x))`.
pub const SIGMOID_SLOPE: f64 = 0.25;

/// Roundings of a sum on tensor cores, in units of `u * sum |x * w|`: of `chunks` chunks, the
/// longest of `longest` products.
pub fn tensor_core_roundings(longest: usize, chunks: usize) -> f64 {
    (3 * longest + chunks) as f64
}

/// The PTX of a kernel file.
pub fn ptx(image: &str) -> String {
    let built = kernels::built().unwrap_or_else(|why| panic!("{why}"));
    built.images.iter().find(|i| i.name == image).expect("a built image").ptx().unwrap()
}

/// The parsed PTX of a kernel file.
pub fn module(image: &str) -> Module {
    Module::parse(&format!("{image}.ptx"), &ptx(image)).unwrap_or_else(|e| panic!("{e}"))
}

// --- Launches ---

/// A launch without its case.
pub struct Prepared {
    pub image: &'static str,
    pub kernel: &'static str,
    pub geometry: Geometry,
    pub params: Vec<u8>,
    /// Offsets of the addresses within `params`.
    pub addresses: &'static [usize],
}

impl<P: Params> From<kernels::Launch<P>> for Prepared {
    fn from(launch: kernels::Launch<P>) -> Prepared {
        Prepared {
            image: launch.image,
            kernel: launch.kernel,
            geometry: launch.geometry,
            params: bytemuck::bytes_of(&launch.params).to_vec(),
            addresses: P::ADDRESSES,
        }
    }
}

impl Prepared {
    /// The launch of `module`, to be refined.
    pub fn launch<'m>(&self, module: &'m Module) -> Launch<'m> {
        Launch::new(module, self.kernel)
            .unwrap_or_else(|e| panic!("{e}"))
            .grid(self.geometry.grid)
            .block(self.geometry.block)
            .shared_bytes(self.geometry.shared_bytes)
            .params(&self.params)
    }

    /// The parameters with another address for each that is not null.
    pub fn rebased(&self, place: impl Fn(u64) -> u64) -> Vec<u8> {
        let mut params = self.params.clone();
        for &at in self.addresses {
            let field = &mut params[at..at + 8];
            let address = bytemuck::pod_read_unaligned::<u64>(field);
            if address != 0 {
                field.copy_from_slice(&place(address).to_le_bytes());
            }
        }
        params
    }

    /// Warps of all blocks.
    pub fn warps(&self) -> u64 {
        let threads: u64 = self.geometry.block.iter().map(|&x| u64::from(x)).product();
        self.geometry.grid.iter().map(|&x| u64::from(x)).product::<u64>() * threads.div_ceil(32)
    }
}

/// Panics with every finding.
pub fn assert_clean(what: &str, report: &Report) {
    if !report.is_clean() {
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        panic!("{what}: {} findings\n{}", findings.len(), findings.join("\n"));
    }
}

/// One launch of one kernel with its data.
pub trait Case {
    /// Allocates the tensors and makes the launch.
    fn prepare(&self, buffers: &mut Buffers) -> Prepared;
    /// The outputs in the order of their allocation.
    fn expected(&self) -> Vec<Expected>;
    fn describe(&self) -> String;

    /// The outputs of a run in order; it must be clean.
    fn run(&self, machine: &dyn Machine, mut buffers: Buffers) -> Vec<Vec<u8>> {
        let prepared = self.prepare(&mut buffers);
        machine.run(&self.describe(), &[prepared], &mut buffers)
    }

    /// Runs with exact buffers and again with guards: the same bytes, and the right ones. Where an
    /// emulator is beside the machine, it has to give the right ones too.
    fn check(&self, machine: &dyn Machine) -> Vec<Vec<u8>> {
        let what = self.describe();
        let outputs = self.run(machine, Buffers::exact());
        assert!(
            outputs == self.run(machine, Buffers::guarded()),
            "{what}: not the same bytes twice"
        );
        let expected = self.expected();
        assert_eq!(outputs.len(), expected.len());
        let emulated = machine.emulator().map(|emulator| self.run(emulator, Buffers::exact()));
        let (mut error, mut difference) = (0.0f64, 0.0f64);
        for (i, expected) in expected.iter().enumerate() {
            error = error.max(expected.compare(&what, &outputs[i]));
            if let Some(emulated) = &emulated {
                expected.compare(&format!("{what}, on the emulator"), &emulated[i]);
                difference = difference.max(expected.difference(&outputs[i], &emulated[i]));
            }
        }
        machine.note(error, difference);
        outputs
    }
}

/// Expected values of an output.
pub struct Expected {
    pub name: &'static str,
    pub precision: Precision,
    /// Values and their error bounds.
    pub values: Vec<Bounded>,
}

impl Expected {
    /// Every value lies within its bound. Returns the largest error, as a part of the bound.
    fn compare(&self, what: &str, bytes: &[u8]) -> f64 {
        let found = decode(self.precision, bytes);
        assert_eq!(found.len(), self.values.len(), "{what}: elements of {}", self.name);
        let mut worst = 0.0f64;
        for (i, (&found, &Bounded { value, error })) in found.iter().zip(&self.values).enumerate() {
            assert!(value.is_finite() && error.is_finite(), "{what}: the reference is {value}");
            assert!(found.is_finite(), "{what}: {}[{i}] is {found}, expected {value}", self.name);
            let off = (found - value).abs();
            assert!(
                off <= error,
                "{what}: {}[{i}] is {found}, expected {value} +- {error:.3e}, off by {off:.3e}",
                self.name
            );
            if error > 0.0 {
                worst = worst.max(off / error);
            }
        }
        worst
    }

    /// The largest difference of two outputs that are right, as a part of the bound: 2 at the most.
    fn difference(&self, a: &[u8], b: &[u8]) -> f64 {
        let values = decode(self.precision, a).into_iter().zip(decode(self.precision, b));
        let differences = values.zip(&self.values).filter(|(_, bounded)| bounded.error > 0.0);
        differences.map(|((a, b), bounded)| (a - b).abs() / bounded.error).fold(0.0, f64::max)
    }
}

/// A value as the kernel may compute it: within `error` of `value`, to first order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounded {
    pub value: f64,
    pub error: f64,
}

/// The kind of values, which decides how far they round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Uniform in [-1, 1): everything rounds.
    Uniform,
    /// Small integers, and powers of two as scales and gates: nothing rounds but the stored value.
    /// Not for swish.
    Integers,
}

impl Data {
    /// The error of one rounding.
    pub fn u(self) -> f64 {
        match self {
            Data::Uniform => U,
            Data::Integers => 0.0,
        }
    }

    pub fn values(self, random: &mut Random, precision: Precision, elems: usize) -> Vec<f32> {
        let value = |_| match (self, precision) {
            (Data::Integers, _) => (random.bits() % 5) as f32 - 2.0,
            (Data::Uniform, Precision::Fp32) => random.signed(),
            (Data::Uniform, Precision::Fp16) => f16::from_f32(random.signed()).to_f32(),
        };
        (0..elems).map(value).collect()
    }

    /// Factors that are positive, of order 1.
    pub fn scales(self, random: &mut Random, elems: usize) -> Vec<f32> {
        let value = |_| match self {
            Data::Integers => [0.5, 1.0, 2.0][(random.bits() % 3) as usize],
            Data::Uniform => 1.0 + 0.5 * random.signed(),
        };
        (0..elems).map(value).collect()
    }

    /// Gates in (0, 1).
    pub fn gates(self, random: &mut Random, elems: usize) -> Vec<f32> {
        let value = |_| match self {
            Data::Integers => [0.5, 1.0][(random.bits() % 2) as usize],
            Data::Uniform => 0.5 + 0.5 * random.signed(),
        };
        (0..elems).map(value).collect()
    }
}

impl Bounded {
    pub fn activate(self, activation: i32, data: Data, precision: Precision) -> Bounded {
        let Bounded { value: x, error } = self;
        match activation {
            ACTIVATION_NONE => self,
            ACTIVATION_RELU6 => Bounded { value: x.clamp(0.0, 6.0), error },
            ACTIVATION_SWISH => {
                assert_eq!(data, Data::Uniform, "swish of integers rounds");
                let value = x / (1.0 + (-x).exp());
                Bounded {
                    value,
                    error: SWISH_SLOPE * error + exp_error(x, precision) * value.abs(),
                }
            }
            other => panic!("activation {other}"),
        }
    }

    pub fn sigmoid(self, precision: Precision) -> Bounded {
        let value = 1.0 / (1.0 + (-self.value).exp());
        Bounded {
            value,
            error: SIGMOID_SLOPE * self.error + exp_error(self.value, precision) * value,
        }
    }

    /// `self * scale + shift` in one fma.
    pub fn batch_norm(self, scale: f32, shift: f32, data: Data) -> Bounded {
        let (scale, shift) = (f64::from(scale), f64::from(shift));
        let value = self.value * scale + shift;
        Bounded { value, error: self.error * scale.abs() + data.u() * value.abs() }
    }

    /// Stored in the precision. Without an error so far, the one right value.
    pub fn stored(self, precision: Precision) -> Bounded {
        let Bounded { value, error } = self;
        match precision {
            Precision::Fp32 => self,
            Precision::Fp16 if error == 0.0 => {
                Bounded { value: f16::from_f64(value).to_f64(), error }
            }
            Precision::Fp16 => {
                let half_unit = (value.abs() + error) * 2f64.powi(-11);
                Bounded { value, error: error + half_unit.max(2f64.powi(-25)) }
            }
        }
    }
}
