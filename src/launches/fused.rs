//! Everything fused that can be: fewer passes over the expanded tensor, which is the widest.

use super::Buf;
use super::build::{Builder, Pooled};
use super::ops::{Depthwise, ExpandDepthwise, Pointwise, Stem};
use crate::kernels::{Compute, expand_depthwise};
use crate::plan::{self, PointwiseRole};
use crate::weights::Precision;

/// In f32, expand and depthwise are joined where halos make the kernel expand at most this many times the
/// pixels that there are. A model of the traffic, not a measurement: joining saves a write and a read
/// of the expanded map, and pays with products and activations that are computed again.
const MAX_RECOMPUTE: f64 = 2.0;

/// Everything up to the classifier.
pub(super) fn nodes(b: &mut Builder<'_>) -> Pooled {
    let plan = b.plan;
    let mut pooled = None;
    // Partial sums of a block's squeeze, and their tiles.
    let mut squeezed: Option<(Buf, usize)> = None;
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
                let mut p = Pointwise {
                    pixels: size.pixels(),
                    c_in,
                    c_out,
                    activation,
                    input: b.buf(input),
                    gate: gate.map(|gate| b.buf(gate)),
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
                    b.pointwise(index, index..index + 1, p);
                }
            }
            plan::Op::Depthwise { squeeze, .. } => {
                let sums = depthwise_node(b, index, joined(b, index));
                squeezed = squeeze.and(sums);
            }
            plan::Op::SqueezeExcite { .. } => {
                if let Some(squeezed) = squeezed.take() {
                    b.squeeze_excite(index, squeezed);
                }
            }
            plan::Op::Pool { .. } | plan::Op::Classifier { .. } => {}
        }
    }
    let Some(pooled) = pooled else { unreachable!("a plan has a head convolution") };
    pooled
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
        Compute::Fp32 => expand_depthwise::recompute(storage, k, stride, output) <= MAX_RECOMPUTE,
        // `expand_depthwise` has no tensor cores in f32.
        Compute::Tf32 => false,
    };
    (pays && expand_depthwise::fits(storage, k, stride, c_in as i32)).then_some(expand)
}

/// A depthwise step, with the expand step before it where that joins. Returns the partial sums of
/// the squeeze and their tiles, if there is one.
fn depthwise_node(
    b: &mut Builder<'_>,
    index: usize,
    expand: Option<usize>,
) -> Option<(Buf, usize)> {
    let plan = b.plan;
    let step = &plan.steps[index];
    let plan::Op::Depthwise { conv, c, activation, input, output, squeeze, weight, scale, shift } =
        step.op
    else {
        unreachable!("only called for depthwise steps");
    };
    let tiles = match expand {
        Some(_) => ExpandDepthwise::tiles(b.options.compute.storage(), conv),
        None => Depthwise::tiles(b.options.compute.storage(), conv),
    };
    let sums = squeeze.map(|_| {
        let name = format!("{}.partial_sums", step.name);
        (b.buffer(&name, tiles * c, Precision::Fp32), tiles)
    });
    let partial_sums = sums.map(|(sums, _)| sums);
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
                weight,
                bn: Some([scale, shift]),
            };
            b.node(step.name.clone(), index..index + 1, b.image_macs(index), op);
        }
    }
    sums
}
