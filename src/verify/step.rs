//! From an op of the launch plan to what its launch has to leave.

use super::bounds::Bounded;
use super::reference::{self as step, Finish};
use crate::arch::Activation;
use crate::kernels::{Compute, pointwise, pointwise_f32, squeeze};
use crate::launches::ops::{BatchNorm, Op, Pointwise, Squeeze, SqueezedGate};
use crate::launches::{Buf, LaunchPlan};
use crate::plan::Plan;
use crate::weights::{Precision, TensorId, Weights};
use half::f16;
use std::collections::BTreeMap;

/// What a launch has to leave in one buffer.
pub(super) struct Expected {
    /// The buffer.
    pub buffer: Buf,
    /// What each extent of `shape` counts.
    pub axes: &'static str,
    /// Extents, the first the images.
    pub shape: Vec<usize>,
    /// Whether the elements are i32.
    pub is_integer: bool,
    /// The elements as they are stored.
    pub values: Vec<Bounded>,
}

impl Expected {
    /// Where an element is.
    pub fn index(&self, mut at: usize) -> Vec<usize> {
        let mut index = vec![0; self.shape.len()];
        for (place, &extent) in index.iter_mut().zip(&self.shape).rev() {
            (*place, at) = (at % extent, at / extent);
        }
        index
    }
}

/// What the step of one launch is computed from.
pub(super) struct Step<'a> {
    pub plan: &'a Plan,
    pub launches: &'a LaunchPlan,
    pub weights: &'a Weights,
    /// `[n, h, w, 3]`, levels normalised.
    pub input: &'a [f32],
    /// Number of images.
    pub n: usize,
    pub has_tf32: bool,
    /// What the launch reads, by the buffer, as it was on the device before the launch.
    pub buffers: BTreeMap<usize, Vec<f32>>,
}

/// Elements of f16 or f32, as f32.
pub(super) fn decode(precision: Precision, bytes: &[u8]) -> Vec<f32> {
    match precision {
        Precision::Fp16 => {
            let halves: Vec<f16> = bytemuck::pod_collect_to_vec(bytes);
            halves.into_iter().map(f16::to_f32).collect()
        }
        Precision::Fp32 => bytemuck::pod_collect_to_vec(bytes),
    }
}

impl Step<'_> {
    fn compute(&self) -> Compute {
        self.launches.options.compute
    }

    fn buffer(&self, Buf(i): Buf) -> &[f32] {
        self.buffers.get(&i).map_or(&[], Vec::as_slice)
    }

    fn optional(&self, buffer: Option<Buf>) -> Option<&[f32]> {
        buffer.map(|buffer| self.buffer(buffer))
    }

    /// A tensor of the host's, in the type that the device has it in.
    fn tensor(&self, id: TensorId) -> Vec<f32> {
        let precision = self.weights.tensors()[id.0 as usize].precision(self.compute().storage());
        decode(precision, &self.launches.tensor_bytes(self.weights, id))
    }

    fn bn(&self, bn: Option<BatchNorm>) -> Option<[Vec<f32>; 2]> {
        bn.map(|ids| ids.map(|id| self.tensor(id)))
    }

    /// A map of the plan's, `[n, h, w, c]`.
    fn map(&self, buffer: Buf, values: Vec<Bounded>) -> Expected {
        let launch_buffer = self.launches.buffer(buffer);
        let planned = self.plan.buffers.iter().find(|planned| planned.name == launch_buffer.name);
        let c = launch_buffer.image_elems;
        let [_, h, w, c] = planned.map_or([self.n, 1, 1, c], |planned| planned.shape);
        let values = values.into_iter().map(|y| y.stored(launch_buffer.precision)).collect();
        let shape = vec![self.n, h, w, c];
        Expected { buffer, axes: "n, h, w, c", shape, is_integer: false, values }
    }

    /// A vector for each image, in f32.
    fn vector(&self, buffer: Buf, values: Vec<Bounded>) -> Expected {
        let shape = vec![self.n, values.len() / self.n];
        Expected { buffer, axes: "n, c", shape, is_integer: false, values }
    }

    /// Partial sums with their number of tiles, in f32.
    fn sums(&self, buffer: Buf, (values, tiles): (Vec<Bounded>, usize)) -> Expected {
        let shape = vec![self.n, tiles, values.len() / (self.n * tiles)];
        Expected { buffer, axes: "n, tile, c", shape, is_integer: false, values }
    }

    fn finish<'b>(&self, bn: &'b Option<[Vec<f32>; 2]>, activation: Activation) -> Finish<'b> {
        let bn = bn.as_ref().map(|bn| bn.each_ref().map(Vec::as_slice));
        Finish { bn, activation, precision: self.compute().storage() }
    }

    /// The gate that a pointwise launch computes from a squeeze.
    fn own_gate(&self, gate: SqueezedGate, op: &Pointwise) -> Vec<Bounded> {
        let weights = gate.weights.map(|id| self.tensor(id));
        step::gate(&step::Gate {
            parts: gate.parts,
            pixels: op.pixels,
            c: op.c_in,
            c_se: gate.c_se,
            squeeze: self.buffer(gate.squeeze),
            weights: weights.each_ref().map(Vec::as_slice),
        })
    }

    /// What a depthwise launch leaves of its map's sums over tiles: the sums themselves, and the
    /// parts of the reduction.
    fn of_sums(
        &self,
        partial_sums: Option<Buf>,
        squeeze: Option<Squeeze>,
        c: usize,
        (sums, tiles): (Vec<Bounded>, usize),
    ) -> Vec<Expected> {
        let parts = squeeze.map(|Squeeze { parts, reduce_weight, c_se }| {
            let weight = self.tensor(reduce_weight);
            let slice = squeeze::slice(c as i32, tiles as i32) as usize;
            let p = step::Squeeze { c, c_se, slice, weight: &weight };
            let (values, slices) = step::squeeze(&p, &sums);
            let shape = vec![self.n, tiles, slices, values.len() / (self.n * tiles * slices)];
            let axes = "n, tile, slice, c_se";
            Expected { buffer: parts, axes, shape, is_integer: false, values }
        });
        let sums = partial_sums.map(|buffer| self.sums(buffer, (sums, tiles)));
        sums.into_iter().chain(parts).collect()
    }

    /// Everything that a launch of `op` writes, but for scratch.
    pub fn expected(&self, op: &Op) -> Vec<Expected> {
        let n = self.n;
        match op {
            Op::Stem(op) => {
                let (weight, bn) = (self.tensor(op.weight), self.bn(op.bn));
                let finish = self.finish(&bn, op.activation);
                let y = step::stem(self.input, n, &op.conv, op.c_out, &weight, finish);
                vec![self.map(op.output, y)]
            }
            Op::Pointwise(op) => {
                let (weight, bn) = (self.tensor(op.weight), self.bn(op.bn));
                let own_gate = op.squeezed_gate.map(|gate| self.own_gate(gate, op));
                let y = step::pointwise(&step::Pointwise {
                    compute: self.compute(),
                    has_tf32: self.has_tf32,
                    pixels: op.pixels,
                    c_in: op.c_in,
                    c_out: op.c_out,
                    x: self.buffer(op.input),
                    gate: self.optional(op.gate),
                    own_gate: own_gate.as_deref(),
                    weight: &weight,
                    finish: self.finish(&bn, op.activation),
                    skip: self.optional(op.skip),
                });
                let sums = op.partial_sums.map(|sums| {
                    let tiling = match self.compute() {
                        Compute::Fp16 => pointwise::tiling(op.shape(n)),
                        Compute::Fp32 | Compute::Tf32 => pointwise_f32::tiling(op.shape(n)),
                    };
                    let shape = [op.pixels, op.c_out];
                    self.sums(sums, step::pointwise_tiles(&y, shape, tiling.tile_rows as usize))
                });
                let map = op.output.map(|output| self.map(output, y));
                map.into_iter().chain(sums).collect()
            }
            Op::Depthwise(op) => {
                let (weight, bn) = (self.tensor(op.weight), self.bn(op.bn));
                let finish = self.finish(&bn, op.activation);
                let x = self.buffer(op.input);
                let y = step::depthwise(x, n, &op.conv, op.c, &weight, finish);
                let storage = self.compute().storage();
                let sums = step::depthwise_tiles(&y, storage, &op.conv, op.c);
                let beside = self.of_sums(op.partial_sums, op.squeeze, op.c, sums);
                [self.map(op.output, y)].into_iter().chain(beside).collect()
            }
            Op::ExpandDepthwise(op) => {
                let (expand_weight, expand_bn) =
                    (self.tensor(op.expand_weight), self.bn(Some(op.expand_bn)));
                let (weight, bn) =
                    (self.tensor(op.depthwise_weight), self.bn(Some(op.depthwise_bn)));
                let expand = step::Expand {
                    x: self.buffer(op.input),
                    c_in: op.c_in,
                    c_mid: op.c_mid,
                    weight: &expand_weight,
                    finish: self.finish(&expand_bn, op.activation),
                };
                let storage = self.compute().storage();
                let mid = step::expand(&expand, storage);
                let finish = self.finish(&bn, op.activation);
                let y = step::depthwise(&mid, n, &op.conv, op.c_mid, &weight, finish);
                let sums = step::expand_depthwise_tiles(&y, &op.conv, [op.c_in, op.c_mid], storage);
                let beside = self.of_sums(op.partial_sums, op.squeeze, op.c_mid, sums);
                [self.map(op.output, y)].into_iter().chain(beside).collect()
            }
            Op::BnSwish(op) => {
                let bn = self.bn(op.bn);
                let y = step::bn_swish(&step::BnSwish {
                    pixels: op.pixels,
                    c: op.c,
                    x: self.buffer(op.x),
                    finish: self.finish(&bn, op.activation),
                    gate: self.optional(op.gate),
                    skip: self.optional(op.skip),
                });
                vec![self.map(op.x, y)]
            }
            Op::Pool(op) => {
                let sums = step::pool(self.buffer(op.input), [op.pixels, op.c]);
                vec![self.sums(op.partial_sums, sums)]
            }
            Op::SqueezeExcite(op) => {
                let weights = op.weights.map(|id| self.tensor(id));
                let gate = step::squeeze_excite(&step::SqueezeExcite {
                    tiles: op.tiles,
                    pixels: op.pixels,
                    c: op.c,
                    c_se: op.c_se,
                    precision: self.compute().storage(),
                    partial_sums: self.buffer(op.partial_sums),
                    weights: weights.each_ref().map(Vec::as_slice),
                });
                vec![self.vector(op.gate, gate)]
            }
            Op::Classifier(op) => {
                let (weight, bias) = (self.tensor(op.weight), self.tensor(op.bias));
                let [features, logits] = step::classifier(&step::Classifier {
                    precision: self.compute().storage(),
                    tiles: op.tiles,
                    pixels: op.pixels,
                    c: op.c,
                    partial_sums: self.buffer(op.partial_sums),
                    weight: &weight,
                    bias: &bias,
                });
                vec![self.vector(op.features, features), self.vector(op.logits, logits)]
            }
            Op::TopK(op) => {
                let values = step::top_k(self.buffer(op.logits), op.classes, op.k);
                let outputs = op.outputs.into_iter().zip(values).enumerate();
                let vectors = outputs.map(|(i, (buffer, values))| Expected {
                    axes: "n, rank",
                    is_integer: i == 0,
                    ..self.vector(buffer, values)
                });
                vectors.collect()
            }
        }
    }
}
