//! The project's kernels on the emulator: one case per kernel, its buffers with their guards, and what it has to
//! give, as naive loops in f64 with a bound of the rounding error for every value.
//!
//! # The bounds
//!
//! `u = 2^-24` is the relative error of one rounding to f32. To first order in `u`:
//!
//! - a sum of `K` products, each added with one rounding (fma, or an exact product of two f16 values and an
//!   addition), in any order: `K * u * sum |x * w|`, the sum taken for the very output;
//! - batch-norm, one fma: the error so far times `|scale|`, plus `u * |result|`;
//! - relu6 and no activation add nothing. Swish and sigmoid pass on at most [`SWISH_SLOPE`] and [`SIGMOID_SLOPE`]
//!   of the error so far. Their own error is relative: `exp` is an `ex2.approx` (2^-22 by the PTX ISA) of an
//!   argument that was reduced in f32 (another 2^-22 at the most), the addition of 1 and the division round
//!   once each: [`EXP_ERROR`];
//! - a value stored as f16: half a unit in the last place, `2^-11 * |y|`, at least `2^-25` (subnormals).
//!
//! Where all values are small integers nothing rounds before the last step, and the bound is zero.

mod bn_swish;
mod depthwise;
mod head;
mod mbconv_expand_depthwise;
mod pointwise;
mod pointwise_f32;
mod preprocess;
mod squeeze_excite;
mod stem;

#[allow(unused_imports)] // each test file uses a part of them
pub use self::{
    bn_swish::*,
    depthwise::Depthwise,
    head::*,
    mbconv_expand_depthwise::*,
    pointwise::{Outputs, Pointwise},
    pointwise_f32::*,
    preprocess::*,
    squeeze_excite::SqueezeExcite,
    stem::*,
};

use super::Random;
use effnet::emulator::{Buffer, Launch, Memory, Module, Report, Schedule};
use effnet::kernels::params::*;
use effnet::kernels::{self, Geometry, KernelImage};
use effnet::weights::Precision;
use half::f16;

/// Of one rounding to f32.
pub const U: f64 = 1.0 / (1 << 24) as f64;
/// Relative error of swish and sigmoid, as evaluated in f32.
pub const EXP_ERROR: f64 = 8.0 * U + 2.0 * U;
/// Largest slope of `x / (1 + exp(-x))`: 1.0998.
pub const SWISH_SLOPE: f64 = 1.1;
/// Largest slope of `1 / (1 + exp(-x))`.
pub const SIGMOID_SLOPE: f64 = 0.25;

/// The images, unless this build has none and need not.
pub fn images_or_skip() -> Option<&'static [KernelImage]> {
    match kernels::built() {
        Ok(built) => Some(built.images),
        Err(why) => {
            let required = std::env::var("EFFNET_REQUIRE_KERNELS").is_ok_and(|v| v == "1");
            assert!(!required, "{why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

/// The PTX of a kernel file.
pub fn ptx(image: &str) -> &'static str {
    kernels::images().iter().find(|i| i.name == image).expect("a built image").ptx
}

/// The parsed PTX of a kernel file.
pub fn module(image: &str) -> Module {
    Module::parse(&format!("{image}.ptx"), ptx(image)).unwrap_or_else(|e| panic!("{e}"))
}

// --- Buffers ---

/// Round every buffer: these bytes before and after it, where guards are asked for.
const GUARD_BYTES: usize = 256;
const GUARD: u8 = 0xa5;

struct Region {
    name: &'static str,
    buffer: Buffer,
    len_bytes: usize,
    /// What was put in; `None`: an output.
    contents: Option<Vec<u8>>,
}

/// The buffers of one launch.
///
/// Without guards every allocation ends where its tensor ends, and the emulator sees each access beyond. With guards
/// tensors lie within larger allocations, where an access beyond goes unseen but a write leaves its trace.
pub struct Buffers {
    pub memory: Memory,
    guard_bytes: usize,
    regions: Vec<Region>,
}

impl Buffers {
    pub fn exact() -> Buffers {
        Buffers { memory: Memory::new(), guard_bytes: 0, regions: Vec::new() }
    }

    pub fn guarded() -> Buffers {
        Buffers { guard_bytes: GUARD_BYTES, ..Buffers::exact() }
    }

    fn region(&mut self, name: &'static str, len_bytes: usize, contents: Option<Vec<u8>>) -> u64 {
        let guard = vec![GUARD; self.guard_bytes];
        let buffer = self.memory.uninitialised(name, len_bytes + 2 * self.guard_bytes);
        self.memory.write(&buffer, 0, &guard);
        self.memory.write(&buffer, self.guard_bytes + len_bytes, &guard);
        if let Some(contents) = &contents {
            self.memory.write(&buffer, self.guard_bytes, contents);
        }
        let address = buffer.address() + self.guard_bytes as u64;
        self.regions.push(Region { name, buffer, len_bytes, contents });
        address
    }

    /// Address of a tensor of f16 or f32 values.
    pub fn input(&mut self, name: &'static str, precision: Precision, values: &[f32]) -> u64 {
        let bytes = encode(precision, values);
        self.region(name, bytes.len(), Some(bytes))
    }

    /// Address of a tensor given as bytes.
    pub fn bytes(&mut self, name: &'static str, bytes: Vec<u8>) -> u64 {
        self.region(name, bytes.len(), Some(bytes))
    }

    pub fn output(&mut self, name: &'static str, precision: Precision, elems: usize) -> u64 {
        self.region(name, elems * precision.elem_bytes(), None)
    }

    /// The bytes of the outputs, in the order of their allocation. Guards and inputs must be as they were, and every
    /// byte of every output written.
    pub fn outputs(&self, what: &str) -> Vec<Vec<u8>> {
        let mut outputs = Vec::new();
        for Region { name, buffer, len_bytes, contents } in &self.regions {
            let bytes: Vec<u8> = self.memory.download(buffer);
            let (before, rest) = bytes.split_at(self.guard_bytes);
            let (inside, after) = rest.split_at(*len_bytes);
            assert!(before.iter().all(|&b| b == GUARD), "{what}: written before {name}");
            assert!(after.iter().all(|&b| b == GUARD), "{what}: written after {name}");
            match contents {
                Some(contents) => assert!(contents == inside, "{what}: input {name} was written"),
                None => {
                    let initialised = self.memory.initialised_bytes(buffer);
                    assert_eq!(
                        initialised,
                        bytes.len(),
                        "{what}: bytes of {name} that are written"
                    );
                    outputs.push(inside.to_vec());
                }
            }
        }
        outputs
    }

    /// The bytes of the outputs as they are, whatever else happened.
    pub fn raw_outputs(&self) -> Vec<Vec<u8>> {
        let outputs = self.regions.iter().filter(|r| r.contents.is_none());
        outputs.map(|r| self.memory.download(&r.buffer)).collect()
    }
}

/// Values that are exact in the precision, as bytes.
fn encode(precision: Precision, values: &[f32]) -> Vec<u8> {
    match precision {
        Precision::Fp32 => bytemuck::cast_slice(values).to_vec(),
        Precision::Fp16 => {
            let halves: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
            bytemuck::cast_slice(&halves).to_vec()
        }
    }
}

fn decode(precision: Precision, bytes: &[u8]) -> Vec<f64> {
    match precision {
        Precision::Fp32 => {
            bytemuck::pod_collect_to_vec::<u8, f32>(bytes).into_iter().map(f64::from).collect()
        }
        Precision::Fp16 => {
            bytemuck::pod_collect_to_vec::<u8, f16>(bytes).into_iter().map(f64::from).collect()
        }
    }
}

// --- Launches ---

/// A launch without its case.
pub struct Prepared {
    pub image: &'static str,
    pub kernel: &'static str,
    pub geometry: Geometry,
    pub params: Vec<u8>,
}

impl<P: bytemuck::Pod> From<kernels::Launch<P>> for Prepared {
    fn from(launch: kernels::Launch<P>) -> Prepared {
        Prepared {
            image: launch.image,
            kernel: launch.kernel,
            geometry: launch.geometry,
            params: bytemuck::bytes_of(&launch.params).to_vec(),
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
    fn run(&self, module: &Module, mut buffers: Buffers) -> Vec<Vec<u8>> {
        let what = self.describe();
        let prepared = self.prepare(&mut buffers);
        let launch = prepared.launch(module).schedule(Schedule::InOrder);
        let report = launch.run(&mut buffers.memory).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_clean(&what, &report);
        buffers.outputs(&what)
    }

    /// Runs with exact buffers and again with guards: the same bytes, and the right ones.
    fn check(&self, module: &Module) -> Vec<Vec<u8>> {
        let what = self.describe();
        let outputs = self.run(module, Buffers::exact());
        assert!(
            outputs == self.run(module, Buffers::guarded()),
            "{what}: not the same bytes twice"
        );
        let expected = self.expected();
        assert_eq!(outputs.len(), expected.len());
        for (expected, bytes) in expected.iter().zip(&outputs) {
            expected.compare(&what, bytes);
        }
        outputs
    }
}

/// What an output has to be.
pub struct Expected {
    pub name: &'static str,
    pub precision: Precision,
    /// Values and their error bounds.
    pub values: Vec<Bounded>,
}

impl Expected {
    fn compare(&self, what: &str, bytes: &[u8]) {
        let found = decode(self.precision, bytes);
        assert_eq!(found.len(), self.values.len(), "{what}: elements of {}", self.name);
        for (i, (&found, &Bounded { value, error })) in found.iter().zip(&self.values).enumerate() {
            assert!(value.is_finite() && error.is_finite(), "{what}: the reference is {value}");
            assert!(found.is_finite(), "{what}: {}[{i}] is {found}, expected {value}", self.name);
            let off = (found - value).abs();
            assert!(
                off <= error,
                "{what}: {}[{i}] is {found}, expected {value} +- {error:.3e}, off by {off:.3e}",
                self.name
            );
        }
    }
}

/// A value as the kernel may compute it: within `error` of `value`, to first order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounded {
    pub value: f64,
    pub error: f64,
}

/// How values are made, and so how far they round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Uniform in [-1, 1): everything rounds.
    Uniform,
    /// Small integers, and powers of two as scales and gates: nothing rounds but the stored value. Not for swish.
    Integers,
}

impl Data {
    /// The error of one rounding.
    fn u(self) -> f64 {
        match self {
            Data::Uniform => U,
            Data::Integers => 0.0,
        }
    }

    fn values(self, random: &mut Random, precision: Precision, elems: usize) -> Vec<f32> {
        let value = |_| match (self, precision) {
            (Data::Integers, _) => (random.bits() % 5) as f32 - 2.0,
            (Data::Uniform, Precision::Fp32) => random.signed(),
            (Data::Uniform, Precision::Fp16) => f16::from_f32(random.signed()).to_f32(),
        };
        (0..elems).map(value).collect()
    }

    /// Positive, of order 1.
    fn scales(self, random: &mut Random, elems: usize) -> Vec<f32> {
        let value = |_| match self {
            Data::Integers => [0.5, 1.0, 2.0][(random.bits() % 3) as usize],
            Data::Uniform => 1.0 + 0.5 * random.signed(),
        };
        (0..elems).map(value).collect()
    }

    /// In (0, 1).
    fn gates(self, random: &mut Random, elems: usize) -> Vec<f32> {
        let value = |_| match self {
            Data::Integers => [0.5, 1.0][(random.bits() % 2) as usize],
            Data::Uniform => 0.5 + 0.5 * random.signed(),
        };
        (0..elems).map(value).collect()
    }
}

impl Bounded {
    fn activate(self, activation: i32, data: Data) -> Bounded {
        let Bounded { value: x, error } = self;
        match activation {
            ACTIVATION_NONE => self,
            ACTIVATION_RELU6 => Bounded { value: x.clamp(0.0, 6.0), error },
            ACTIVATION_SWISH => {
                assert_eq!(data, Data::Uniform, "swish of integers rounds");
                let value = x / (1.0 + (-x).exp());
                Bounded { value, error: SWISH_SLOPE * error + EXP_ERROR * value.abs() }
            }
            other => panic!("activation {other}"),
        }
    }

    fn sigmoid(self) -> Bounded {
        let value = 1.0 / (1.0 + (-self.value).exp());
        Bounded { value, error: SIGMOID_SLOPE * self.error + EXP_ERROR * value }
    }

    /// `self * scale + shift` in one fma.
    fn batch_norm(self, scale: f32, shift: f32, data: Data) -> Bounded {
        let (scale, shift) = (f64::from(scale), f64::from(shift));
        let value = self.value * scale + shift;
        Bounded { value, error: self.error * scale.abs() + data.u() * value.abs() }
    }

    /// Stored in the precision. Without an error so far, the one right value.
    fn stored(self, precision: Precision) -> Bounded {
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
