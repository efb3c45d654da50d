//! Conversion of a plan's steps to kernels with their weights.

use super::depthwise::{Depthwise, Expand, Tiling};
use super::layout::{Layout, Location};
use super::pointwise::Pointwise;
use super::simd::Simd;
use super::stem::Stem;
use super::tile::{MAX_PANEL_VECTORS, Panels, padded};
use super::vector::{Classifier, Pool, SeExpand, SeReduce};
use super::{Run, Values};
use crate::arch::Network;
use crate::plan::{BufferId, Op, Plan};
use crate::weights::{TensorId, Weights};

/// Everything that a run does, in order.
#[derive(Debug)]
pub(super) struct Program {
    pub kernels: Vec<Item>,
    /// Elements of scratch memory that a thread needs.
    pub scratch_elems: usize,
    /// Elements of partial sums that an image needs.
    pub partials_elems: usize,
    /// Elements between squeeze-excite's two halves that an image needs.
    pub reduced_elems: usize,
}

/// A kernel, and the step of the plan that it belongs to.
#[derive(Debug)]
pub(super) struct Item {
    pub step: usize,
    pub kernel: Kernel,
}

/// The kernels.
#[derive(Debug)]
pub(super) enum Kernel {
    Stem(Stem),
    Depthwise(Depthwise),
    SeReduce(SeReduce),
    SeExpand(SeExpand),
    Pointwise(Pointwise),
    Pool(Pool),
    Classifier(Classifier),
}

impl Kernel {
    /// Tasks of one image, or of all where the kernel shares weights between images.
    fn image_tasks(&self) -> usize {
        match self {
            Kernel::Stem(kernel) => kernel.tasks(),
            Kernel::Depthwise(kernel) => kernel.tasks(),
            Kernel::SeReduce(kernel) => kernel.tasks(),
            Kernel::SeExpand(kernel) => kernel.tasks(),
            Kernel::Pointwise(kernel) => kernel.tasks(),
            Kernel::Pool(kernel) => kernel.tasks(),
            Kernel::Classifier(kernel) => kernel.tasks(),
        }
    }

    /// Number of tasks for `n` images.
    pub(super) fn tasks(&self, n: usize) -> usize {
        match self {
            Kernel::Classifier(_) => self.image_tasks(),
            _ => self.image_tasks() * n,
        }
    }

    /// Runs a task. Neighbouring tasks are the same part of different images, for their weights'
    /// sake.
    pub(super) fn run<S: Simd>(&self, s: S, run: &Run<'_>, task: usize, scratch: &mut [f32]) {
        let (image, part) = (task % run.n, task / run.n);
        match self {
            Kernel::Stem(kernel) => kernel.run(s, run, image, part, scratch),
            Kernel::Depthwise(kernel) => kernel.run(s, run, image, part, scratch),
            Kernel::SeReduce(kernel) => kernel.run(s, run, image, part, scratch),
            Kernel::SeExpand(kernel) => kernel.run(s, run, image, part),
            Kernel::Pointwise(kernel) => kernel.run(s, run, image, part, scratch),
            Kernel::Pool(kernel) => kernel.run(s, run, image, part),
            Kernel::Classifier(kernel) => kernel.run(s, run, task),
        }
    }
}

/// The program under construction.
struct Builder<'a> {
    layout: &'a Layout,
    weights: &'a Weights,
    lanes: usize,
    program: Program,
}

impl Program {
    /// The kernels of `plan` for vectors of `lanes` elements.
    pub(super) fn new(plan: &Plan, layout: &Layout, weights: &Weights, lanes: usize) -> Program {
        let program =
            Program { kernels: Vec::new(), scratch_elems: 1, partials_elems: 0, reduced_elems: 0 };
        let mut b = Builder { layout, weights, lanes, program };
        // The bands of the last depthwise step, and its output's pixels, which the squeeze adds up.
        let mut squeezed = (1, 1);
        for (step, this) in plan.steps.iter().enumerate() {
            let op = &this.op;
            match op {
                Op::Stem { .. } => b.stem(step, op),
                // The depthwise step after it computes it.
                Op::Pointwise { .. } if plan.joins_next(step) => {}
                Op::Pointwise { .. } => b.pointwise(step, op),
                Op::Depthwise { .. } => {
                    let expand = this.expand.map(|expand| &plan.steps[expand].op);
                    squeezed = b.depthwise(step, op, expand);
                }
                Op::SqueezeExcite { .. } => b.squeeze_excite(step, op, squeezed),
                &Op::Pool { size, c, input, output } => {
                    let (input, output) = (b.location(input), b.location(output));
                    b.push(step, Kernel::Pool(Pool { size, c, input, output }));
                }
                &Op::Classifier { c_in, classes, input, output, weight, bias } => {
                    let kernel = Classifier {
                        c_in,
                        classes,
                        input: b.location(input),
                        output: b.location(output),
                        weight: b.values(weight),
                        bias: b.values(bias),
                    };
                    b.push(step, Kernel::Classifier(kernel));
                }
            }
        }
        b.program
    }
}

impl Builder<'_> {
    fn location(&self, id: BufferId) -> Location {
        self.layout.location(id)
    }

    fn values(&self, id: TensorId) -> Values {
        Values::new(self.weights, id)
    }

    /// A tensor with one value per channel, padded to whole vectors.
    fn channels(&self, id: TensorId) -> Vec<f32> {
        padded(self.values(id).get(self.weights), self.lanes)
    }

    fn push(&mut self, step: usize, kernel: Kernel) {
        let scratch = match &kernel {
            Kernel::Stem(kernel) => kernel.scratch_elems(),
            Kernel::Depthwise(kernel) => kernel.scratch_elems(self.lanes),
            Kernel::SeReduce(kernel) => kernel.c,
            Kernel::Pointwise(kernel) => kernel.scratch_elems(),
            Kernel::SeExpand(_) | Kernel::Pool(_) | Kernel::Classifier(_) => 0,
        };
        // Threads' parts start on lines of their own.
        let scratch = scratch.next_multiple_of(64);
        self.program.scratch_elems = self.program.scratch_elems.max(scratch);
        self.program.kernels.push(Item { step, kernel });
    }

    fn stem(&mut self, step: usize, op: &Op) {
        let &Op::Stem { conv, c_out, activation, input, output, weight, scale, shift } = op else {
            return;
        };
        let k = conv.k * conv.k * Network::C_IMAGE;
        let w = self.values(weight);
        let w = w.get(self.weights);
        let kernel = Stem {
            conv,
            c_out,
            activation,
            input: self.location(input),
            output: self.location(output),
            weight: Panels::pack(c_out, k, self.lanes, MAX_PANEL_VECTORS, |n, p| w[p * c_out + n]),
            scale: self.channels(scale),
            shift: self.channels(shift),
        };
        self.push(step, Kernel::Stem(kernel));
    }

    fn pointwise(&mut self, step: usize, op: &Op) {
        let &Op::Pointwise {
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
        } = op
        else {
            return;
        };
        let w = self.values(weight);
        let w = w.get(self.weights);
        let kernel = Pointwise {
            pixels: size.pixels(),
            c_in,
            c_out,
            activation,
            input: self.location(input),
            gate: gate.map(|gate| self.location(gate)),
            skip: skip.map(|skip| self.location(skip)),
            output: self.location(output),
            weight: Panels::pack(c_out, c_in, self.lanes, MAX_PANEL_VECTORS, |n, p| {
                w[n * c_in + p]
            }),
            scale: self.channels(scale),
            shift: self.channels(shift),
            block_rows: Pointwise::block_rows(size.pixels(), c_in),
        };
        self.weights.release(weight);
        self.push(step, Kernel::Pointwise(kernel));
    }

    /// Returns the number of bands and the pixels of the output.
    fn depthwise(&mut self, step: usize, op: &Op, expand: Option<&Op>) -> (usize, usize) {
        let &Op::Depthwise { conv, c, activation, input, output, squeeze, weight, scale, shift } =
            op
        else {
            return (1, 1);
        };
        let tiling = Tiling::new(&conv, c, expand.is_some(), self.lanes);
        let w = self.values(weight);
        let w = w.get(self.weights);
        let weight =
            Panels::pack(c, conv.k * conv.k, self.lanes, tiling.vectors, |n, p| w[p * c + n]);
        let mut input = self.location(input);
        let expand = match expand {
            Some(&Op::Pointwise {
                c_in, activation, input: from, weight, scale, shift, ..
            }) => {
                input = self.location(from);
                let w = self.values(weight);
                let w = w.get(self.weights);
                let packed = Expand {
                    activation,
                    weight: Panels::pack(c, c_in, self.lanes, tiling.vectors, |n, p| {
                        w[n * c_in + p]
                    }),
                    scale: self.channels(scale),
                    shift: self.channels(shift),
                };
                self.weights.release(weight);
                Some(packed)
            }
            _ => None,
        };
        let kernel = Depthwise {
            conv,
            c,
            activation,
            input,
            output: self.location(output),
            expand,
            tiling,
            sums: squeeze.is_some(),
            weight,
            scale: self.channels(scale),
            shift: self.channels(shift),
        };
        self.program.partials_elems = self.program.partials_elems.max(kernel.sums_elems());
        self.push(step, Kernel::Depthwise(kernel));
        (tiling.bands, conv.output.pixels())
    }

    fn squeeze_excite(&mut self, step: usize, op: &Op, (bands, pixels): (usize, usize)) {
        let &Op::SqueezeExcite {
            c,
            c_se,
            squeeze,
            gate,
            reduce_weight,
            reduce_bias,
            expand_weight,
            expand_bias,
        } = op
        else {
            return;
        };
        let reduce = SeReduce {
            c,
            c_se,
            bands,
            pixels,
            squeeze: self.location(squeeze),
            weight: self.values(reduce_weight),
            bias: self.values(reduce_bias),
        };
        let expand = SeExpand {
            c,
            c_se,
            gate: self.location(gate),
            weight: self.values(expand_weight),
            bias: self.values(expand_bias),
        };
        self.program.reduced_elems = self.program.reduced_elems.max(c_se);
        self.push(step, Kernel::SeReduce(reduce));
        self.push(step, Kernel::SeExpand(expand));
    }
}
