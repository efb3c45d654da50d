//! Buffers and weights placed, round the nodes that a path makes.

use super::node::Node;
use super::ops::{self, Classifier, Op, Pointwise, SqueezeExcite};
use super::{
    Address, Buf, Download, LaunchBuffer, LaunchOptions, LaunchPlan, LaunchPlanError, Path,
    Placement, Region, TopK, fused, layerwise,
};
use crate::arch::Network;
use crate::arena::{Lifetime, place};
use crate::plan::{BufferId, Plan};
use crate::weights::{Precision, packed_tensors};
use std::ops::Range;

/// Between buffers that are placed apart.
const GAP_BYTES: usize = 4096;

/// A launch plan under construction.
pub(super) struct Builder<'a> {
    pub plan: &'a Plan,
    pub options: LaunchOptions,
    pub buffers: Vec<LaunchBuffer>,
    pub nodes: Vec<Node>,
    /// The buffer that stands for one of the plan's, by its index there.
    of_plan: Vec<Option<Buf>>,
    /// Elements of [`Region::Counters`], u32.
    counters: i64,
}

/// What a path leaves for the classifier.
pub(super) struct Pooled {
    pub partial_sums: Buf,
    pub tiles: usize,
}

impl Builder<'_> {
    /// A buffer with this many elements for each image.
    pub fn buffer(&mut self, name: &str, image_elems: usize, precision: Precision) -> Buf {
        self.scratch(name, image_elems * self.plan.batch, image_elems, precision)
    }

    fn scratch(
        &mut self,
        name: &str,
        elems: usize,
        image_elems: usize,
        precision: Precision,
    ) -> Buf {
        self.buffers.push(LaunchBuffer {
            name: name.to_owned(),
            elems,
            image_elems,
            precision,
            region: Region::Arena,
            offset_bytes: 0,
            first_launch: usize::MAX,
            last_launch: 0,
        });
        Buf(self.buffers.len() - 1)
    }

    /// The buffer that stands for one of the plan's, made at its first use.
    pub fn buf(&mut self, id: BufferId) -> Buf {
        let index = id.0 as usize;
        if let Some(buf) = self.of_plan[index] {
            return buf;
        }
        let buffer = self.plan.buffer(id);
        let (name, image_elems) = (buffer.name.clone(), buffer.elems_per_image());
        // Vectors of an image are f32 in every precision.
        let vector = buffer.shape[1] * buffer.shape[2] == 1 && buffer.precision == Precision::Fp32;
        let precision = if vector { Precision::Fp32 } else { self.options.compute.storage() };
        let buf = self.buffer(&name, image_elems, precision);
        self.of_plan[index] = Some(buf);
        buf
    }

    /// Adds a launch.
    pub fn node(&mut self, name: String, steps: Range<usize>, image_macs: u64, op: impl Into<Op>) {
        let op = op.into();
        let index = self.nodes.len();
        for Buf(i) in op.reads().into_iter().chain(op.writes()) {
            let buffer = &mut self.buffers[i];
            buffer.first_launch = buffer.first_launch.min(index);
            buffer.last_launch = index;
        }
        self.nodes.push(Node { name, steps, image_macs, op });
    }

    /// A pointwise convolution, with room for its chunk sums where some number of images splits it.
    pub fn pointwise(&mut self, step: usize, steps: Range<usize>, mut p: Pointwise) {
        let name = self.plan.steps[step].name.clone();
        let [sums, arrivals] = p.scratch_elems(self.options.compute, self.plan.batch);
        self.counters = self.counters.max(arrivals);
        if sums > 0 {
            let name = format!("{name}.chunk_sums");
            p.chunk_sums = Some(self.scratch(&name, sums as usize, 0, Precision::Fp32));
        }
        let image_macs = steps.clone().map(|step| self.image_macs(step)).sum();
        self.node(name, steps, image_macs, p);
    }

    /// The gate of a squeeze-excite step.
    pub fn squeeze_excite(&mut self, step: usize, (partial_sums, tiles): (Buf, usize)) {
        let crate::plan::Op::SqueezeExcite {
            c,
            c_se,
            gate,
            reduce_weight,
            reduce_bias,
            expand_weight,
            expand_bias,
            ..
        } = self.plan.steps[step].op
        else {
            unreachable!("only called for squeeze-excite steps");
        };
        // The squeeze is of the depthwise step before.
        let crate::plan::Op::Depthwise { conv, .. } = self.plan.steps[step - 1].op else {
            unreachable!("squeeze-excite follows its depthwise step");
        };
        let gate = self.buf(gate);
        let op = SqueezeExcite {
            tiles,
            pixels: conv.output.pixels(),
            c,
            c_se,
            partial_sums,
            gate,
            weights: [reduce_weight, reduce_bias, expand_weight, expand_bias],
        };
        let name = self.plan.steps[step].name.clone();
        self.node(name, step..step + 1, self.image_macs(step), op);
    }

    pub fn image_macs(&self, step: usize) -> u64 {
        self.plan.steps[step].macs / self.plan.batch as u64
    }
}

pub(super) fn build(plan: &Plan, options: LaunchOptions) -> Result<LaunchPlan, LaunchPlanError> {
    plan.check()?;
    let Network { classes, c_head, .. } = plan.network;
    if options.top_k > classes {
        return Err(LaunchPlanError::TopK { found: options.top_k, classes });
    }
    if options.download == Download::TopK && options.top_k == 0 {
        return Err(LaunchPlanError::NoTopK);
    }
    let mut b = Builder {
        plan,
        options,
        buffers: Vec::new(),
        nodes: Vec::new(),
        of_plan: vec![None; plan.buffers.len()],
        counters: 0,
    };
    let pooled = match options.path {
        Path::Layerwise => layerwise::nodes(&mut b),
        Path::Fused => fused::nodes(&mut b),
    };
    let Outputs { features, logits, top_k } = b.outputs(pooled);
    let output_bytes =
        b.place_outputs([features, logits].into_iter().chain(top_k.into_iter().flatten()));
    let arena_bytes = b.place_buffers();

    let tensors = packed_tensors(&plan.network);
    let mut weight_offsets = Vec::with_capacity(tensors.len());
    let mut weights_bytes = 0;
    let precision = options.compute.storage();
    for tensor in &tensors {
        weight_offsets.push(weights_bytes as u64);
        let bytes = tensor.elems() * tensor.precision(precision).elem_bytes();
        weights_bytes = (weights_bytes + bytes).next_multiple_of(LaunchPlan::ALIGN_BYTES);
    }
    let Builder { buffers, nodes, counters, .. } = b;
    let address = |Buf(i): Buf| buffers[i].address();
    let input_elems = plan.buffer(plan.input).elems_per_image();
    let launch_plan = LaunchPlan {
        options,
        network: plan.network.clone(),
        batch: plan.batch,
        weight_offsets,
        weight_elems: tensors.iter().map(|tensor| tensor.elems()).collect(),
        weight_precisions: tensors.iter().map(|tensor| tensor.precision(precision)).collect(),
        weights_bytes: weights_bytes as u64,
        arena_bytes,
        input_bytes: (input_elems * plan.batch * options.input.input_type().elem_bytes()) as u64,
        output_bytes,
        counters_bytes: (counters as u64 * 4).next_multiple_of(LaunchPlan::ALIGN_BYTES as u64),
        logits: address(logits),
        features: address(features),
        top_k: top_k.map(|[classes, logits, probabilities]| TopK {
            k: options.top_k,
            classes: address(classes),
            logits: address(logits),
            probabilities: address(probabilities),
        }),
        classes,
        c_head,
        input_elems,
        buffers,
        nodes,
    };
    for (region, bytes) in [
        (Region::Weights, launch_plan.weights_bytes),
        (Region::Arena, launch_plan.arena_bytes),
        (Region::Input, launch_plan.input_bytes),
        (Region::Output, launch_plan.output_bytes),
        (Region::Counters, launch_plan.counters_bytes),
    ] {
        if bytes > 1 << Address::OFFSET_BITS {
            return Err(LaunchPlanError::Region { region, bytes });
        }
    }
    // Every launch is checked here, for the fewest and for the most images.
    launch_plan.launches(1)?;
    launch_plan.launches(plan.batch)?;
    Ok(launch_plan)
}

/// What a run leaves.
struct Outputs {
    features: Buf,
    logits: Buf,
    top_k: Option<[Buf; 3]>,
}

impl Builder<'_> {
    /// Classifier, and top-k where it is asked for.
    fn outputs(&mut self, pooled: Pooled) -> Outputs {
        let index = self.plan.steps.len() - 1;
        let crate::plan::Op::Classifier { c_in, classes, weight, bias, .. } =
            self.plan.steps[index].op
        else {
            unreachable!("a plan ends with its classifier");
        };
        let features = self.buf(self.plan.features);
        let logits = self.buf(self.plan.logits);
        let op = Classifier {
            tiles: pooled.tiles,
            pixels: self.plan.geometry.last().pixels(),
            c: c_in,
            classes,
            partial_sums: pooled.partial_sums,
            features,
            logits,
            weight,
            bias,
        };
        self.node("classifier".to_owned(), index..index + 1, self.image_macs(index), op);
        let k = self.options.top_k;
        let top_k = (k > 0).then(|| {
            let outputs = ["top_k.classes", "top_k.logits", "top_k.probabilities"]
                .map(|name| self.buffer(name, k, Precision::Fp32));
            let op = ops::TopK { classes, k, logits, outputs };
            self.node("top_k".to_owned(), index + 1..index + 1, 0, op);
            outputs
        });
        Outputs { features, logits, top_k }
    }

    /// Places what a run leaves, one after the other, and returns the region's size. What is copied
    /// together lies together: logits after features, and all of top-k after both.
    fn place_outputs(&mut self, outputs: impl Iterator<Item = Buf>) -> u64 {
        let mut end = 0;
        for Buf(i) in outputs {
            let buffer = &mut self.buffers[i];
            buffer.region = Region::Output;
            buffer.last_launch = self.nodes.len() - 1;
            buffer.offset_bytes = end as u64;
            end = (end + buffer.bytes()).next_multiple_of(LaunchPlan::ALIGN_BYTES);
        }
        end as u64
    }

    /// Places every other buffer, and returns the arena's size.
    fn place_buffers(&mut self) -> u64 {
        let align = LaunchPlan::ALIGN_BYTES;
        let inner = self.buffers.iter_mut().filter(|buffer| buffer.region == Region::Arena);
        match self.options.placement {
            Placement::Shared => {
                let inner: Vec<&mut LaunchBuffer> = inner.collect();
                let lifetimes: Vec<Lifetime> = inner
                    .iter()
                    .map(|buffer| Lifetime {
                        bytes: buffer.bytes(),
                        first: buffer.first_launch,
                        last: buffer.last_launch,
                    })
                    .collect();
                let (offsets, arena) = place(&lifetimes, align);
                for (buffer, offset) in inner.into_iter().zip(offsets) {
                    buffer.offset_bytes = offset as u64;
                }
                arena as u64
            }
            Placement::Apart => {
                let mut end = GAP_BYTES;
                for buffer in inner {
                    buffer.offset_bytes = end as u64;
                    end = (end + buffer.bytes() + GAP_BYTES).next_multiple_of(align);
                }
                end as u64
            }
        }
    }
}
