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

use super::Random;
use effnet::emulator::{Buffer, Launch, Memory, Module, Report, Schedule};
use effnet::kernels::params::*;
use effnet::kernels::{self, Geometry, KernelImage, depthwise, pointwise, squeeze_excite};
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

// --- depthwise ---

/// What a depthwise launch is made of.
#[derive(Clone, Debug)]
pub struct Depthwise {
    pub precision: Precision,
    pub k: usize,
    pub stride: usize,
    pub n: usize,
    pub input_size: [usize; 2],
    pub output_size: [usize; 2],
    pub pad: [usize; 2],
    pub c: usize,
    pub activation: i32,
    pub squeeze: bool,
    pub data: Data,
    pub input: Vec<f32>,
    pub weight: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl Depthwise {
    /// With random tensors; `shape` has none.
    pub fn filled(mut shape: Depthwise, seed: u64) -> Depthwise {
        let mut random = Random::new(seed);
        let Depthwise { precision, k, n, input_size: [h, w], c, data, .. } = shape;
        shape.input = data.values(&mut random, precision, n * h * w * c);
        shape.weight = data.values(&mut random, precision, k * k * c);
        shape.scale = data.scales(&mut random, c);
        shape.shift = data.values(&mut random, Precision::Fp32, c);
        shape
    }

    /// A shape without tensors.
    pub fn shape(
        precision: Precision,
        [k, stride]: [usize; 2],
        [h_in, w_in]: [usize; 2],
        [h_out, w_out]: [usize; 2],
        [pad_top, pad_left]: [usize; 2],
        [n, c]: [usize; 2],
    ) -> Depthwise {
        Depthwise {
            precision,
            k,
            stride,
            n,
            input_size: [h_in, w_in],
            output_size: [h_out, w_out],
            pad: [pad_top, pad_left],
            c,
            activation: ACTIVATION_SWISH,
            squeeze: true,
            data: Data::Uniform,
            input: Vec::new(),
            weight: Vec::new(),
            scale: Vec::new(),
            shift: Vec::new(),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> Depthwise {
        let elems = self.input.len() / self.n;
        Depthwise { n: 1, input: self.input[i * elems..][..elems].to_vec(), ..self.clone() }
    }

    fn tiles(&self) -> usize {
        depthwise::tiles(self.output_size[0] as i32, self.output_size[1] as i32) as usize
    }
}

impl Case for Depthwise {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let pixels = self.output_size[0] * self.output_size[1];
        let squeezed = self.n * self.tiles() * self.c;
        let params = DepthwiseParams {
            input: buffers.input("input", self.precision, &self.input),
            weight: buffers.input("weight", self.precision, &self.weight),
            scale: buffers.input("scale", Precision::Fp32, &self.scale),
            shift: buffers.input("shift", Precision::Fp32, &self.shift),
            output: buffers.output("output", self.precision, self.n * pixels * self.c),
            partial_sums: match self.squeeze {
                true => buffers.output("partial_sums", Precision::Fp32, squeezed),
                false => 0,
            },
            n: self.n as i32,
            h_in: self.input_size[0] as i32,
            w_in: self.input_size[1] as i32,
            h_out: self.output_size[0] as i32,
            w_out: self.output_size[1] as i32,
            c: self.c as i32,
            pad_top: self.pad[0] as i32,
            pad_left: self.pad[1] as i32,
            activation: self.activation,
            reserved: 0,
        };
        let launch = depthwise::launch(self.precision, self.k, self.stride, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let Depthwise { k, stride, c, data, .. } = *self;
        let ([h_in, w_in], [h_out, w_out]) = (self.input_size, self.output_size);
        let tile_pixels = DEPTHWISE_TILE_PIXELS as usize;
        let mut output = Vec::with_capacity(self.n * h_out * w_out * c);
        let mut sums = vec![Bounded::default(); self.n * self.tiles() * c];
        let mut magnitudes = vec![0.0; sums.len()];
        let (mut acc, mut magnitude) = (vec![0.0f64; c], vec![0.0f64; c]);
        for image in 0..self.n {
            for pixel in 0..h_out * w_out {
                acc.fill(0.0);
                magnitude.fill(0.0);
                for (i, j) in (0..k * k).map(|tap| (tap / k, tap % k)) {
                    let y = (pixel / w_out * stride + i).checked_sub(self.pad[0]);
                    let x = (pixel % w_out * stride + j).checked_sub(self.pad[1]);
                    let (Some(y), Some(x)) = (y.filter(|&y| y < h_in), x.filter(|&x| x < w_in))
                    else {
                        continue;
                    };
                    let row = &self.input[((image * h_in + y) * w_in + x) * c..][..c];
                    let weight = &self.weight[(i * k + j) * c..][..c];
                    for channel in 0..c {
                        let product = f64::from(row[channel]) * f64::from(weight[channel]);
                        acc[channel] += product;
                        magnitude[channel] += product.abs();
                    }
                }
                for channel in 0..c {
                    let error = (k * k) as f64 * data.u() * magnitude[channel];
                    let y = Bounded { value: acc[channel], error }
                        .batch_norm(self.scale[channel], self.shift[channel], data)
                        .activate(self.activation, data);
                    let sum = (image * self.tiles() + pixel / tile_pixels) * c + channel;
                    sums[sum].value += y.value;
                    sums[sum].error += y.error;
                    magnitudes[sum] += y.value.abs();
                    output.push(y.stored(self.precision));
                }
            }
        }
        // A warp adds eight pixels, then the first warp adds eight warps: no value goes through more than 16 additions.
        for (sum, magnitude) in sums.iter_mut().zip(magnitudes) {
            sum.error += 16.0 * data.u() * magnitude;
        }
        let mut expected =
            vec![Expected { name: "output", precision: self.precision, values: output }];
        if self.squeeze {
            let precision = Precision::Fp32;
            expected.push(Expected { name: "partial_sums", precision, values: sums });
        }
        expected
    }

    fn describe(&self) -> String {
        format!(
            "depthwise k{}s{} {} {:?} -> {:?}, pad {:?}, n {}, c {}, activation {}, squeeze {}",
            self.k,
            self.stride,
            self.precision,
            self.input_size,
            self.output_size,
            self.pad,
            self.n,
            self.c,
            self.activation,
            self.squeeze
        )
    }
}

// --- squeeze_excite ---

/// What a squeeze_excite launch is made of.
#[derive(Clone, Debug)]
pub struct SqueezeExcite {
    pub precision: Precision,
    pub n: usize,
    pub tiles: usize,
    pub pixels: usize,
    pub c: usize,
    pub c_se: usize,
    pub partial_sums: Vec<f32>,
    pub reduce_weight: Vec<f32>,
    pub reduce_bias: Vec<f32>,
    pub expand_weight: Vec<f32>,
    pub expand_bias: Vec<f32>,
}

impl SqueezeExcite {
    pub fn new(
        precision: Precision,
        [n, tiles, pixels]: [usize; 3],
        [c, c_se]: [usize; 2],
        seed: u64,
    ) -> SqueezeExcite {
        let mut random = Random::new(seed);
        let data = Data::Uniform;
        // Sums over up to 64 pixels of activations that are more often positive than not.
        let mut sum = |_| 20.0 * random.signed() + 12.0;
        let partial_sums = (0..n * tiles * c).map(&mut sum).collect();
        let random = &mut random;
        SqueezeExcite {
            precision,
            n,
            tiles,
            pixels,
            c,
            c_se,
            partial_sums,
            reduce_weight: data.values(random, precision, c_se * c),
            reduce_bias: data.values(random, Precision::Fp32, c_se),
            expand_weight: data.values(random, precision, c_se * c),
            expand_bias: data.values(random, Precision::Fp32, c),
        }
    }

    /// One image of the batch by itself.
    pub fn image(&self, i: usize) -> SqueezeExcite {
        let elems = self.tiles * self.c;
        let partial_sums = self.partial_sums[i * elems..][..elems].to_vec();
        SqueezeExcite { n: 1, partial_sums, ..self.clone() }
    }
}

impl Case for SqueezeExcite {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let (weights, f32) = (self.precision, Precision::Fp32);
        let params = SqueezeExciteParams {
            partial_sums: buffers.input("partial_sums", f32, &self.partial_sums),
            reduce_weight: buffers.input("reduce_weight", weights, &self.reduce_weight),
            reduce_bias: buffers.input("reduce_bias", f32, &self.reduce_bias),
            expand_weight: buffers.input("expand_weight", weights, &self.expand_weight),
            expand_bias: buffers.input("expand_bias", f32, &self.expand_bias),
            gate: buffers.output("gate", f32, self.n * self.c),
            n: self.n as i32,
            tiles: self.tiles as i32,
            pixels: self.pixels as i32,
            c: self.c as i32,
            c_se: self.c_se as i32,
            reserved: 0,
        };
        let launch = squeeze_excite::launch(self.precision, params);
        launch.unwrap_or_else(|e| panic!("{}: {e}", self.describe())).into()
    }

    fn expected(&self) -> Vec<Expected> {
        let SqueezeExcite { c, c_se, tiles, .. } = *self;
        // The sum of products of `x` and a weight, one fma each.
        let dot = |x: &[Bounded], weight: &dyn Fn(usize) -> f32, bias: f32, roundings: usize| {
            let (mut sum, mut magnitude) = (Bounded { value: bias.into(), error: 0.0 }, 0.0);
            magnitude += f64::from(bias).abs();
            for (i, x) in x.iter().enumerate() {
                let weight = f64::from(weight(i));
                sum.value += x.value * weight;
                sum.error += x.error * weight.abs();
                magnitude += (x.value * weight).abs();
            }
            Bounded { error: sum.error + roundings as f64 * U * magnitude, ..sum }
        };
        let mut gate = Vec::new();
        for image in self.partial_sums.chunks(tiles * c) {
            let squeeze: Vec<Bounded> = (0..c)
                .map(|channel| {
                    let terms = (0..tiles).map(|t| f64::from(image[t * c + channel]));
                    let magnitude: f64 = terms.clone().map(f64::abs).sum();
                    let pixels = self.pixels as f64;
                    let value = terms.sum::<f64>() / pixels;
                    // `tiles` additions and a division.
                    Bounded { value, error: (tiles as f64 + 1.0) * U * magnitude / pixels }
                })
                .collect();
            let reduced: Vec<Bounded> = (0..c_se)
                .map(|j| {
                    let weight = |channel| self.reduce_weight[j * c + channel];
                    // A lane's channels, five exchanges, the bias.
                    dot(&squeeze, &weight, self.reduce_bias[j], c.div_ceil(32) + 6)
                        .activate(ACTIVATION_SWISH, Data::Uniform)
                })
                .collect();
            gate.extend((0..c).map(|channel| {
                let weight = |j| self.expand_weight[j * c + channel];
                dot(&reduced, &weight, self.expand_bias[channel], c_se).sigmoid()
            }));
        }
        vec![Expected { name: "gate", precision: Precision::Fp32, values: gate }]
    }

    fn describe(&self) -> String {
        let SqueezeExcite { precision, n, tiles, pixels, c, c_se, .. } = self;
        format!("squeeze_excite {precision} n {n}, {pixels} pixels in {tiles}, c {c}, c_se {c_se}")
    }
}

// --- pointwise ---

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
