//! A kernel per layer: the readable baseline, and the way to the first wrong layer.

use super::Buf;
use super::build::{Builder, Pooled};
use super::ops::{BatchNorm, BnSwish, Depthwise, Pointwise, Pool, Stem};
use crate::arch::Activation;
use crate::plan;
use crate::weights::Precision;

/// Everything up to the classifier.
pub(super) fn nodes(b: &mut Builder<'_>) -> Pooled {
    let plan = b.plan;
    let mut pooled = None;
    // Partial sums of a block's squeeze, and their tiles.
    let mut squeezed: Option<(Buf, usize)> = None;
    for (index, step) in plan.steps.iter().enumerate() {
        let steps = index..index + 1;
        let name = step.name.as_str();
        match step.op {
            plan::Op::Stem { conv, c_out, activation, output, weight, scale, shift, .. } => {
                let output = b.buf(output);
                let op = Stem {
                    conv,
                    c_out,
                    activation: Activation::None,
                    input: b.options.input,
                    output,
                    weight,
                    bn: None,
                };
                b.node(name.to_owned(), steps, b.image_macs(index), op);
                b.bn_swish(
                    index,
                    output,
                    [conv.output.pixels(), c_out],
                    activation,
                    [scale, shift],
                );
            }
            plan::Op::Pointwise {
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
                ..
            } => {
                let (input, output) = (b.buf(input), b.buf(output));
                if let Some(gate) = gate {
                    let gate = Some(b.buf(gate));
                    let extras = [gate, None];
                    b.elementwise(
                        format!("{name}.gate"),
                        index,
                        input,
                        [size.pixels(), c_in],
                        extras,
                    );
                }
                let p = Pointwise {
                    pixels: size.pixels(),
                    c_in,
                    c_out,
                    activation: Activation::None,
                    input,
                    gate: None,
                    squeezed_gate: None,
                    skip: None,
                    output: Some(output),
                    partial_sums: None,
                    chunk_sums: None,
                    weight,
                    bn: None,
                };
                b.pointwise(index, steps, p);
                b.bn_swish(index, output, [size.pixels(), c_out], activation, [scale, shift]);
                if let Some(skip) = skip {
                    let skip = Some(b.buf(skip));
                    let extras = [None, skip];
                    b.elementwise(
                        format!("{name}.skip"),
                        index,
                        output,
                        [size.pixels(), c_out],
                        extras,
                    );
                }
            }
            plan::Op::Depthwise {
                conv,
                c,
                activation,
                input,
                output,
                squeeze,
                weight,
                scale,
                shift,
            } => {
                let (input, output) = (b.buf(input), b.buf(output));
                let op = Depthwise {
                    conv,
                    c,
                    activation: Activation::None,
                    input,
                    output,
                    partial_sums: None,
                    squeeze: None,
                    weight,
                    bn: None,
                };
                b.node(name.to_owned(), steps, b.image_macs(index), op);
                let pixels = conv.output.pixels();
                b.bn_swish(index, output, [pixels, c], activation, [scale, shift]);
                if squeeze.is_some() {
                    let block = step.block.unwrap_or_default();
                    let name = format!("blocks.{block}.squeeze");
                    squeezed = Some(b.pool(name, index, output, [pixels, c]));
                }
            }
            plan::Op::SqueezeExcite { .. } => {
                if let Some(squeezed) = squeezed.take() {
                    b.squeeze_excite(index, squeezed);
                }
            }
            plan::Op::Pool { size, c, input, .. } => {
                let input = b.buf(input);
                let (partial_sums, tiles) =
                    b.pool(name.to_owned(), index, input, [size.pixels(), c]);
                pooled = Some(Pooled { partial_sums, tiles });
            }
            plan::Op::Classifier { .. } => {}
        }
    }
    let Some(pooled) = pooled else { unreachable!("a plan has a pool") };
    pooled
}

impl Builder<'_> {
    /// Batch-norm and activation of what a step's convolution left, in place.
    fn bn_swish(
        &mut self,
        step: usize,
        x: Buf,
        [pixels, c]: [usize; 2],
        activation: Activation,
        bn: BatchNorm,
    ) {
        let name = format!("{}.bn_swish", self.plan.steps[step].name);
        let op = BnSwish { pixels, c, activation, x, bn: Some(bn), gate: None, skip: None };
        self.node(name, step..step + 1, 0, op);
    }

    /// A gate or a skip by itself, in place.
    fn elementwise(
        &mut self,
        name: String,
        step: usize,
        x: Buf,
        [pixels, c]: [usize; 2],
        [gate, skip]: [Option<Buf>; 2],
    ) {
        let op = BnSwish { pixels, c, activation: Activation::None, x, bn: None, gate, skip };
        self.node(name, step..step + 1, 0, op);
    }

    /// Partial sums over all pixels, and the number of their tiles.
    fn pool(
        &mut self,
        name: String,
        step: usize,
        input: Buf,
        [pixels, c]: [usize; 2],
    ) -> (Buf, usize) {
        let tiles = Pool::tiles(pixels);
        let sums = self.buffer(&format!("{name}.partial_sums"), tiles * c, Precision::Fp32);
        let op = Pool { pixels, c, input, partial_sums: sums };
        self.node(name, step..step + 1, 0, op);
        (sums, tiles)
    }
}
