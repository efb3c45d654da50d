//! Everything fused that can be: fewer passes over the expanded tensor, which is the widest.

use super::Buf;
use super::build::{Builder, Pooled};
use super::ops::{Depthwise, ExpandDepthwise, Pointwise, Squeeze, SqueezedGate, Stem};
use crate::kernels::{Compute, expand_depthwise};
use crate::plan::{self, PointwiseRole};
use crate::weights::Precision;

/// In f32, expand and depthwise are joined where halos make the kernel expand at most this many times
/// the pixels that there are. A model of the traffic, not a measurement: joining saves a write and a
/// read of the expanded map, and pays with products and activations that are computed again.
const MAX_RECOMPUTE: f64 = 2.0;

/// What a depthwise launch leaves for the gate of its map.
enum Squeezed {
    /// Sums over tiles, and the number of tiles: for a launch that computes the gate.
    Sums(Buf, usize),
    /// Parts of the reduction, and their number: for the launch that is gated, which computes its
    /// own gate.
    Parts(Buf, usize),
}

/// Everything up to the classifier.
pub(super) fn nodes(b: &mut Builder<'_>) -> Pooled {
    let plan = b.plan;
    let mut pooled = None;
    let mut squeezed: Option<Squeezed> = None;
    for (index, step) in plan.steps.iter().enumerate() {
        match step.op {
            plan::Op::Stem { conv, c_out, activation, output, weight, scale, shift, .. } => {
                let output = b.buf(output);
                let bn = Some([scale, shift]);
                let input = b.options.input;
                let op = Stem { conv, c_out, activation, input, output, weight, bn };
                b.node(step.name.clone(), index..index + 1, b.image_macs(index), op);
            }
            // Part of the depthwise launch after it.
            plan::Op::Pointwise { .. }
                if plan.joins_next(index) && joined(b, index + 1) == Some(index) => {}
            plan::Op::Pointwise {
                role,
                size,
                c_in,
                c_out,
                activation,
                input,
                gate,
                skip,
                output,
                weight,
                scale,
                shift,
            } => {
                let (gate, squeezed_gate) = match (gate, squeezed.take()) {
                    (Some(_), Some(Squeezed::Parts(squeeze, parts))) => {
                        (None, Some(squeezed_gate(b, index, squeeze, parts)))
                    }
                    (gate, _) => (gate.map(|gate| b.buf(gate)), None),
                };
                // A gate of its own is of the squeeze-excite step before it.
                let first = index - usize::from(squeezed_gate.is_some());
                let mut p = Pointwise {
                    pixels: size.pixels(),
                    c_in,
                    c_out,
                    activation,
                    input: b.buf(input),
                    gate,
                    squeezed_gate,
                    skip: skip.map(|skip| b.buf(skip)),
                    output: None,
                    partial_sums: None,
                    chunk_sums: None,
                    weight,
                    bn: Some([scale, shift]),
                };
                if role == PointwiseRole::HeadConv {
                    // The map is only pooled: the step after.
                    let tiles = p.pooled_tiles(b.options.compute);
                    let name = "head_conv.partial_sums";
                    let partial_sums = b.buffer(name, tiles * c_out, Precision::Fp32);
                    p.partial_sums = Some(partial_sums);
                    pooled = Some(Pooled { partial_sums, tiles });
                    b.pointwise(index, index..index + 2, p);
                } else {
                    p.output = Some(b.buf(output));
                    b.pointwise(index, first..index + 1, p);
                }
            }
            plan::Op::Depthwise { .. } => squeezed = depthwise_node(b, index, joined(b, index)),
            plan::Op::SqueezeExcite { .. } => {
                if let Some(Squeezed::Sums(sums, tiles)) = squeezed {
                    b.squeeze_excite(index, (sums, tiles));
                    squeezed = None;
                }
            }
            plan::Op::Pool { .. } | plan::Op::Classifier { .. } => {}
        }
    }
    let Some(pooled) = pooled else { unreachable!("a plan has a head convolution") };
    pooled
}

/// The gate that a project step's launch computes, by the squeeze-excite step before it.
fn squeezed_gate(b: &Builder<'_>, project: usize, squeeze: Buf, parts: usize) -> SqueezedGate {
    let plan::Op::SqueezeExcite { c_se, reduce_bias, expand_weight, expand_bias, .. } =
        b.plan.steps[project - 1].op
    else {
        unreachable!("a gated step follows its squeeze-excite step");
    };
    SqueezedGate { squeeze, parts, c_se, weights: [reduce_bias, expand_weight, expand_bias] }
}

/// The expand step that a depthwise step's launch computes too, if it pays.
fn joined(b: &Builder<'_>, depthwise: usize) -> Option<usize> {
    let (steps, compute) = (&b.plan.steps, b.options.compute);
    let expand = steps[depthwise].expand?;
    let plan::Op::Depthwise { conv, .. } = steps[depthwise].op else { return None };
    let plan::Op::Pointwise { c_in, .. } = steps[expand].op else { return None };
    let (storage, k, stride) = (compute.storage(), conv.k, conv.stride);
    let output = [conv.output.h as i32, conv.output.w as i32];
    let pays = match compute {
        Compute::Fp16 => true,
        Compute::Fp32 => {
            let tiles = expand_depthwise::Tiles::new(storage, k, stride, output, c_in as i32);
            tiles.recompute() <= MAX_RECOMPUTE
        }
        // `expand_depthwise` has no tensor cores in f32.
        Compute::Tf32 => false,
    };
    (pays && expand_depthwise::fits(storage, k, stride, c_in as i32)).then_some(expand)
}

/// A depthwise step, with the expand step before it where that joins. Returns what it leaves for
/// the gate, if there is one.
fn depthwise_node(b: &mut Builder<'_>, index: usize, expand: Option<usize>) -> Option<Squeezed> {
    let plan = b.plan;
    let step = &plan.steps[index];
    let plan::Op::Depthwise { conv, c, activation, input, output, squeeze, weight, scale, shift } =
        step.op
    else {
        unreachable!("only called for depthwise steps");
    };
    let compute = b.options.compute;
    let tiles = match expand {
        Some(expand) => {
            let plan::Op::Pointwise { c_in, .. } = plan.steps[expand].op else {
                unreachable!("only pointwise steps are joined");
            };
            ExpandDepthwise::tiles(compute.storage(), conv, c_in)
        }
        None => Depthwise::tiles(compute.storage(), conv),
    };
    let (mut partial_sums, mut parts) = (None, None);
    let mut squeezed = None;
    if squeeze.is_some() {
        match plan.steps.get(index + 1).map(|step| &step.op) {
            // Reduced here, in f16: the kernels of f32 leave their sums to a launch of its own.
            Some(&plan::Op::SqueezeExcite { c_se, reduce_weight, .. })
                if compute == Compute::Fp16 =>
            {
                let name = format!("{}.squeeze", step.name);
                let elems = Squeeze::elems(c, tiles, c_se);
                let buffer = b.buffer(&name, elems, Precision::Fp32);
                parts = Some(Squeeze { parts: buffer, reduce_weight, c_se });
                squeezed = Some(Squeezed::Parts(buffer, Squeeze::parts(c, tiles)));
            }
            _ => {
                let name = format!("{}.partial_sums", step.name);
                let buffer = b.buffer(&name, tiles * c, Precision::Fp32);
                partial_sums = Some(buffer);
                squeezed = Some(Squeezed::Sums(buffer, tiles));
            }
        }
    }
    match expand.map(|expand| (expand, &plan.steps[expand].op)) {
        Some((expand, &plan::Op::Pointwise { c_in, input, weight: w, scale: s, shift: t, .. })) => {
            let op = ExpandDepthwise {
                conv,
                c_in,
                c_mid: c,
                activation,
                input: b.buf(input),
                output: b.buf(output),
                partial_sums,
                squeeze: parts,
                expand_weight: w,
                expand_bn: [s, t],
                depthwise_weight: weight,
                depthwise_bn: [scale, shift],
            };
            let block = step.block.unwrap_or_default();
            let macs = b.image_macs(expand) + b.image_macs(index);
            b.node(format!("blocks.{block}.expand_depthwise"), expand..index + 1, macs, op);
        }
        _ => {
            let op = Depthwise {
                conv,
                c,
                activation,
                input: b.buf(input),
                output: b.buf(output),
                partial_sums,
                squeeze: parts,
                weight,
                bn: Some([scale, shift]),
            };
            b.node(step.name.clone(), index..index + 1, b.image_macs(index), op);
        }
    }
    squeezed
}
