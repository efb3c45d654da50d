//! A node for `n` images: its kernel, its geometry, and its parameters as bytes.

use super::build::{pointwise_shape, tiling};
use super::node::{BatchNorm, Buf, Node, Op, Pointwise};
use super::{Address, Bases, LaunchPlan, LaunchPlanError, Region};
use crate::arch::ConvGeometry;
use crate::kernels::params::*;
use crate::kernels::stem::StemInput;
use crate::kernels::{
    CATALOGUE, Compute, Geometry, Launch, LaunchError, bn_swish, depthwise, expand_depthwise, head,
    pointwise, pointwise_f32, squeeze_excite, stem,
};
use crate::weights::TensorId;
use std::ops::Range;

/// A kernel as indices into [`CATALOGUE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId {
    /// Index of the image.
    pub image: usize,
    /// Index of the kernel within the image.
    pub entry: usize,
}

impl KernelId {
    /// The kernel file's stem.
    pub fn image_name(self) -> &'static str {
        CATALOGUE[self.image].0
    }

    /// The kernel's symbol.
    pub fn symbol(self) -> &'static str {
        CATALOGUE[self.image].1[self.entry]
    }

    /// By the kernel file's stem and the symbol.
    pub fn of(image: &str, kernel: &str) -> Option<KernelId> {
        let index = CATALOGUE.iter().position(|(name, _)| *name == image)?;
        let entry = CATALOGUE[index].1.iter().position(|name| *name == kernel)?;
        Some(KernelId { image: index, entry })
    }
}

/// One launch.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchRecord {
    /// For people, as in `blocks.3.project`.
    pub name: String,
    /// The plan's steps that it computes, or a part of.
    pub steps: Range<usize>,
    /// The kernel.
    pub kernel: KernelId,
    /// Grid, block, dynamic shared memory.
    pub geometry: Geometry,
    /// The parameter struct, its addresses symbolic.
    pub params: Vec<u8>,
    /// Offsets of the addresses within `params`.
    pub addresses: &'static [usize],
    /// Bytes of all tensors that it reads and of all that it writes.
    pub bytes_moved: u64,
    /// Multiply-accumulates, without those that halos make it compute again.
    pub macs: u64,
}

impl LaunchRecord {
    /// The parameter struct as the kernel gets it.
    pub fn bind(&self, bases: &Bases) -> Vec<u8> {
        let mut params = self.params.clone();
        for &at in self.addresses {
            let field = &mut params[at..at + 8];
            let mut symbolic = [0; 8];
            symbolic.copy_from_slice(field);
            if let Some(address) = Address::parse(u64::from_le_bytes(symbolic)) {
                field.copy_from_slice(&address.bind(bases).to_le_bytes());
            }
        }
        params
    }
}

/// A launch without the type of its parameters.
struct Prepared {
    kernel: KernelId,
    geometry: Geometry,
    params: Vec<u8>,
    addresses: &'static [usize],
}

fn prepared<P: Params>(launch: Launch<P>) -> Prepared {
    let kernel = KernelId::of(launch.image, launch.kernel);
    Prepared {
        // A test holds the launch modules against the catalogue.
        kernel: kernel.unwrap_or_else(|| unreachable!("{} is catalogued", launch.kernel)),
        geometry: launch.geometry,
        params: bytemuck::bytes_of(&launch.params).to_vec(),
        addresses: P::ADDRESSES,
    }
}

pub(super) fn record(
    plan: &LaunchPlan,
    node: &Node,
    n: usize,
) -> Result<LaunchRecord, LaunchPlanError> {
    let context = Context { plan, n };
    let launch = context
        .launch(&node.op)
        .map_err(|source| LaunchPlanError::Launch { name: node.name.clone(), source })?;
    Ok(LaunchRecord {
        name: node.name.clone(),
        steps: node.steps.clone(),
        kernel: launch.kernel,
        geometry: launch.geometry,
        params: launch.params,
        addresses: launch.addresses,
        bytes_moved: context.bytes_moved(&node.op),
        macs: node.image_macs * n as u64,
    })
}

struct Context<'a> {
    plan: &'a LaunchPlan,
    n: usize,
}

/// Extents are checked by the launch modules, for which this is too large.
fn int(x: usize) -> i32 {
    i32::try_from(x).unwrap_or(i32::MAX)
}

impl Context<'_> {
    fn buffer(&self, Buf(i): Buf) -> u64 {
        self.plan.buffers[i].address().symbolic()
    }

    fn optional(&self, buf: Option<Buf>) -> u64 {
        buf.map_or(0, |buf| self.buffer(buf))
    }

    fn weight(&self, id: TensorId) -> u64 {
        self.plan.weight(id).symbolic()
    }

    fn bn(&self, bn: Option<BatchNorm>) -> [u64; 2] {
        bn.map_or([0, 0], |ids| ids.map(|id| self.weight(id)))
    }

    fn launch(&self, op: &Op) -> Result<Prepared, LaunchError> {
        let compute = self.plan.options.compute;
        let precision = compute.storage();
        let n = int(self.n);
        match *op {
            Op::Stem { conv, c_out, activation, output, weight, bn } => {
                let [scale, shift] = self.bn(bn);
                let params = StemParams {
                    input: Address { region: Region::Input, offset_bytes: 0 }.symbolic(),
                    weight: self.weight(weight),
                    scale,
                    shift,
                    output: self.buffer(output),
                    mean: [0.0; 3],
                    std: [1.0; 3],
                    n,
                    h_in: int(conv.input.h),
                    w_in: int(conv.input.w),
                    h_out: int(conv.output.h),
                    w_out: int(conv.output.w),
                    c_out: int(c_out),
                    pad_top: int(conv.pad_top),
                    pad_left: int(conv.pad_left),
                    activation: activation_code(activation),
                    reserved: 0,
                };
                stem::launch(StemInput::F32, precision, params).map(prepared)
            }
            Op::Pointwise(ref p) => {
                let params = self.pointwise(p);
                match compute {
                    Compute::Fp16 => pointwise::launch(params).map(prepared),
                    Compute::Fp32 | Compute::Tf32 => {
                        pointwise_f32::launch(compute, params).map(prepared)
                    }
                }
            }
            Op::Depthwise { conv, c, activation, input, output, partial_sums, weight, bn } => {
                let [scale, shift] = self.bn(bn);
                let params = DepthwiseParams {
                    input: self.buffer(input),
                    weight: self.weight(weight),
                    scale,
                    shift,
                    output: self.buffer(output),
                    partial_sums: self.optional(partial_sums),
                    n,
                    c: int(c),
                    activation: activation_code(activation),
                    ..depthwise_window(conv)
                };
                depthwise::launch(precision, conv.k, conv.stride, params).map(prepared)
            }
            Op::ExpandDepthwise {
                conv,
                c_in,
                c_mid,
                activation,
                input,
                output,
                partial_sums,
                expand_weight,
                expand_bn,
                depthwise_weight,
                depthwise_bn,
            } => {
                let [expand_scale, expand_shift] = self.bn(Some(expand_bn));
                let [depthwise_scale, depthwise_shift] = self.bn(Some(depthwise_bn));
                let window = depthwise_window(conv);
                let params = ExpandDepthwiseParams {
                    input: self.buffer(input),
                    expand_weight: self.weight(expand_weight),
                    expand_scale,
                    expand_shift,
                    depthwise_weight: self.weight(depthwise_weight),
                    depthwise_scale,
                    depthwise_shift,
                    output: self.buffer(output),
                    partial_sums: self.optional(partial_sums),
                    n,
                    h_in: window.h_in,
                    w_in: window.w_in,
                    h_out: window.h_out,
                    w_out: window.w_out,
                    c_in: int(c_in),
                    c_mid: int(c_mid),
                    pad_top: window.pad_top,
                    pad_left: window.pad_left,
                    activation: activation_code(activation),
                };
                expand_depthwise::launch(precision, conv.k, conv.stride, params).map(prepared)
            }
            Op::BnSwish { pixels, c, activation, x, bn, gate, skip } => {
                let [scale, shift] = self.bn(bn);
                let params = BnSwishParams {
                    input: self.buffer(x),
                    scale,
                    shift,
                    gate: self.optional(gate),
                    skip: self.optional(skip),
                    output: self.buffer(x),
                    rows: int(self.n.saturating_mul(pixels)),
                    pixels: int(pixels),
                    c: int(c),
                    activation: activation_code(activation),
                };
                bn_swish::launch(precision, params).map(prepared)
            }
            Op::Pool { pixels, c, input, partial_sums } => {
                let params = PoolParams {
                    input: self.buffer(input),
                    partial_sums: self.buffer(partial_sums),
                    n,
                    pixels: int(pixels),
                    c: int(c),
                    reserved: 0,
                };
                head::pool(precision, params).map(prepared)
            }
            Op::SqueezeExcite { tiles, pixels, c, c_se, partial_sums, gate, weights } => {
                let [reduce_weight, reduce_bias, expand_weight, expand_bias] =
                    weights.map(|id| self.weight(id));
                let params = SqueezeExciteParams {
                    partial_sums: self.buffer(partial_sums),
                    reduce_weight,
                    reduce_bias,
                    expand_weight,
                    expand_bias,
                    gate: self.buffer(gate),
                    n,
                    tiles: int(tiles),
                    pixels: int(pixels),
                    c: int(c),
                    c_se: int(c_se),
                    reserved: 0,
                };
                squeeze_excite::launch(precision, params).map(prepared)
            }
            Op::Classifier {
                tiles,
                pixels,
                c,
                classes,
                partial_sums,
                features,
                logits,
                weight,
                bias,
            } => {
                let params = ClassifierParams {
                    partial_sums: self.buffer(partial_sums),
                    weight: self.weight(weight),
                    bias: self.weight(bias),
                    features: self.buffer(features),
                    logits: self.buffer(logits),
                    n,
                    tiles: int(tiles),
                    pixels: int(pixels),
                    c: int(c),
                    classes: int(classes),
                    reserved: 0,
                };
                head::classifier(precision, params).map(prepared)
            }
            Op::TopK { classes, k, logits, outputs } => {
                let [top_classes, top_logits, top_probabilities] =
                    outputs.map(|buf| self.buffer(buf));
                let params = TopKParams {
                    logits: self.buffer(logits),
                    top_classes,
                    top_logits,
                    top_probabilities,
                    n,
                    classes: int(classes),
                    k: int(k),
                    reserved: 0,
                };
                head::top_k(params).map(prepared)
            }
        }
    }

    fn pointwise(&self, p: &Pointwise) -> PointwiseParams {
        let shape = pointwise_shape(p, self.n);
        let split = tiling(self.plan.options.compute, shape).split;
        let [scale, shift] = self.bn(p.bn);
        let counters = Address { region: Region::Counters, offset_bytes: 0 }.symbolic();
        PointwiseParams {
            input: self.buffer(p.input),
            weight: self.weight(p.weight),
            scale,
            shift,
            gate: self.optional(p.gate),
            skip: self.optional(p.skip),
            output: self.optional(p.output),
            partial_sums: self.optional(p.partial_sums),
            chunk_sums: if split { self.optional(p.chunk_sums) } else { 0 },
            // All launches share them: each leaves them zero.
            arrivals: if split { counters } else { 0 },
            rows: shape.rows,
            pixels: shape.pixels,
            c_in: shape.c_in,
            c_out: shape.c_out,
            activation: activation_code(p.activation),
            reserved: 0,
        }
    }

    /// Bytes of every tensor, once for reading and once for writing.
    fn bytes_moved(&self, op: &Op) -> u64 {
        let touched = op.reads().into_iter().chain(op.writes());
        let buffers = touched.map(|Buf(i)| {
            let buffer = &self.plan.buffers[i];
            (buffer.image_elems * self.n * buffer.precision.elem_bytes()) as u64
        });
        let scratch = match op {
            Op::Pointwise(p) => {
                let shape = pointwise_shape(p, self.n);
                4 * tiling(self.plan.options.compute, shape).chunk_sums_elems(shape) as u64
            }
            _ => 0,
        };
        let input = match op {
            Op::Stem { .. } => (self.plan.input_elems * self.n * size_of::<f32>()) as u64,
            _ => 0,
        };
        let weights = op.tensors().into_iter().map(|id| self.plan.weight_bytes(id));
        buffers.sum::<u64>() + weights.sum::<u64>() + scratch + input
    }
}

fn depthwise_window(conv: ConvGeometry) -> DepthwiseParams {
    DepthwiseParams {
        h_in: int(conv.input.h),
        w_in: int(conv.input.w),
        h_out: int(conv.output.h),
        w_out: int(conv.output.w),
        pad_top: int(conv.pad_top),
        pad_left: int(conv.pad_left),
        ..DepthwiseParams::default()
    }
}
