//! From a network to its plan.

use super::{Buffer, BufferId, Op, Plan, PlanError, PointwiseRole, Step};
use crate::arch::{Activation, BlockSpec, ConvGeometry, Network, NetworkGeometry, Padding, Size};
use crate::weights::{Layer, PackedTensor, Precision, TensorId, TensorKind, packed_tensors};
use std::collections::HashMap;

/// What a plan is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Largest number of images in a run: 1 to [`PlanOptions::MAX_BATCH`].
    pub batch: usize,
    /// Size of the input images.
    pub size: Size,
    /// Padding convention of the checkpoint.
    pub padding: Padding,
    /// Element type of activations. Squeeze, gate, features and logits are f32 in both.
    pub precision: Precision,
}

impl PlanOptions {
    /// The largest batch.
    pub const MAX_BATCH: usize = 1024;
}

/// The plan under construction.
struct Builder {
    options: PlanOptions,
    tensors: Vec<PackedTensor>,
    ids: HashMap<(Layer, TensorKind), TensorId>,
    steps: Vec<Step>,
    buffers: Vec<Buffer>,
}

pub(super) fn build(network: &Network, options: PlanOptions) -> Result<Plan, PlanError> {
    if !(1..=PlanOptions::MAX_BATCH).contains(&options.batch) {
        return Err(PlanError::Batch { found: options.batch });
    }
    let geometry = NetworkGeometry::new(network, options.size, options.padding)?;
    let tensors = packed_tensors(network);
    let ids = tensors
        .iter()
        .enumerate()
        .map(|(index, tensor)| ((tensor.layer, tensor.kind), TensorId(index as u32)))
        .collect();
    let mut b = Builder { options, tensors, ids, steps: Vec::new(), buffers: Vec::new() };

    let input = b.buffer("input", options.size, Network::C_IMAGE, options.precision);
    let mut x = b.stem(network, geometry.stem, input);
    for (block, &conv) in network.blocks.iter().zip(&geometry.blocks) {
        x = b.block(network, block, conv, x);
    }
    let size = geometry.last();
    let head = b.pointwise(
        PointwiseRole::HeadConv,
        Layer::HeadConv,
        size,
        [network.c_last(), network.c_head],
        network.activation,
        [Some(x), None, None],
    );
    let features = b.vector("pool", network.c_head);
    b.step("pool", None, Op::Pool { size, c: network.c_head, input: head, output: features }, 0);
    let logits = b.vector("classifier", network.classes);
    let op = Op::Classifier {
        c_in: network.c_head,
        classes: network.classes,
        input: features,
        output: logits,
        weight: b.id(Layer::Classifier, TensorKind::Weight),
        bias: b.id(Layer::Classifier, TensorKind::Bias),
    };
    b.step("classifier", None, op, network.c_head * network.classes);

    // What a run leaves is read when it has ended.
    for BufferId(id) in [features, logits] {
        b.buffers[id as usize].last_step = b.steps.len() - 1;
    }
    Ok(Plan {
        network: network.clone(),
        geometry,
        padding: options.padding,
        batch: options.batch,
        precision: options.precision,
        steps: b.steps,
        buffers: b.buffers,
        input,
        features,
        logits,
    })
}

impl Builder {
    fn id(&self, layer: Layer, kind: TensorKind) -> TensorId {
        self.ids[&(layer, kind)]
    }

    fn buffer(&mut self, name: &str, size: Size, c: usize, precision: Precision) -> BufferId {
        self.buffers.push(Buffer {
            name: name.to_owned(),
            shape: [self.options.batch, size.h, size.w, c],
            precision,
            first_step: usize::MAX,
            last_step: 0,
        });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// A map of activations.
    fn map(&mut self, name: &str, size: Size, c: usize) -> BufferId {
        self.buffer(name, size, c, self.options.precision)
    }

    /// A vector per image, always f32.
    fn vector(&mut self, name: &str, c: usize) -> BufferId {
        self.buffer(name, Size { h: 1, w: 1 }, c, Precision::Fp32)
    }

    fn step(&mut self, name: &str, block: Option<usize>, op: Op, macs_per_image: usize) {
        let index = self.steps.len();
        let mut activation_bytes = 0;
        for id in op.reads().into_iter().chain(op.writes()) {
            let buffer = &mut self.buffers[id.0 as usize];
            buffer.first_step = buffer.first_step.min(index);
            buffer.last_step = index;
            activation_bytes += buffer.bytes() as u64;
        }
        let weight_bytes = op.weights().into_iter().map(|id| {
            let tensor = &self.tensors[id.0 as usize];
            (tensor.elems() * tensor.precision(self.options.precision).elem_bytes()) as u64
        });
        self.steps.push(Step {
            name: name.to_owned(),
            block,
            macs: macs_per_image as u64 * self.options.batch as u64,
            activation_bytes,
            weight_bytes: weight_bytes.sum(),
            op,
            expand: None,
        });
    }

    fn stem(&mut self, network: &Network, conv: ConvGeometry, input: BufferId) -> BufferId {
        let output = self.map("stem", conv.output, network.c_stem);
        let op = Op::Stem {
            conv,
            c_out: network.c_stem,
            activation: network.activation,
            input,
            output,
            weight: self.id(Layer::Stem, TensorKind::Weight),
            scale: self.id(Layer::Stem, TensorKind::BnScale),
            shift: self.id(Layer::Stem, TensorKind::BnShift),
        };
        let taps = conv.k * conv.k * Network::C_IMAGE;
        self.step("stem", None, op, taps * network.c_stem * conv.output.pixels());
        output
    }

    /// `inputs` are the map, the gate and the skip.
    fn pointwise(
        &mut self,
        role: PointwiseRole,
        layer: Layer,
        size: Size,
        [c_in, c_out]: [usize; 2],
        activation: Activation,
        inputs: [Option<BufferId>; 3],
    ) -> BufferId {
        let name = layer.to_string();
        let output = self.map(&name, size, c_out);
        let [input, gate, skip] = inputs;
        let op = Op::Pointwise {
            role,
            size,
            c_in,
            c_out,
            activation,
            input: input.expect("every pointwise convolution has an input"),
            gate,
            skip,
            output,
            weight: self.id(layer, TensorKind::Weight),
            scale: self.id(layer, TensorKind::BnScale),
            shift: self.id(layer, TensorKind::BnShift),
        };
        let block = match layer {
            Layer::Expand(block) | Layer::Project(block) => Some(block),
            _ => None,
        };
        self.step(&name, block, op, c_in * c_out * size.pixels());
        output
    }

    fn block(
        &mut self,
        network: &Network,
        block: &BlockSpec,
        conv: ConvGeometry,
        x: BufferId,
    ) -> BufferId {
        let n = block.index;
        let expand = block.has_expand().then_some(self.steps.len());
        let mid = if block.has_expand() {
            self.pointwise(
                PointwiseRole::Expand,
                Layer::Expand(n),
                conv.input,
                [block.c_in, block.c_mid],
                network.activation,
                [Some(x), None, None],
            )
        } else {
            x
        };

        let name = Layer::Depthwise(n).to_string();
        let output = self.map(&name, conv.output, block.c_mid);
        let squeeze = block.c_se.map(|_| self.vector(&format!("blocks.{n}.squeeze"), block.c_mid));
        let op = Op::Depthwise {
            conv,
            c: block.c_mid,
            activation: network.activation,
            input: mid,
            output,
            squeeze,
            weight: self.id(Layer::Depthwise(n), TensorKind::Weight),
            scale: self.id(Layer::Depthwise(n), TensorKind::BnScale),
            shift: self.id(Layer::Depthwise(n), TensorKind::BnShift),
        };
        self.step(&name, Some(n), op, conv.k * conv.k * block.c_mid * conv.output.pixels());
        if let Some(depthwise) = self.steps.last_mut() {
            depthwise.expand = expand;
        }

        let gate = block.c_se.zip(squeeze).map(|(c_se, squeeze)| {
            let gate = self.vector(&format!("blocks.{n}.gate"), block.c_mid);
            let op = Op::SqueezeExcite {
                c: block.c_mid,
                c_se,
                squeeze,
                gate,
                reduce_weight: self.id(Layer::SeReduce(n), TensorKind::Weight),
                reduce_bias: self.id(Layer::SeReduce(n), TensorKind::Bias),
                expand_weight: self.id(Layer::SeExpand(n), TensorKind::Weight),
                expand_bias: self.id(Layer::SeExpand(n), TensorKind::Bias),
            };
            let name = format!("blocks.{n}.squeeze_excite");
            self.step(&name, Some(n), op, 2 * block.c_mid * c_se);
            gate
        });

        self.pointwise(
            PointwiseRole::Project,
            Layer::Project(n),
            conv.output,
            [block.c_mid, block.c_out],
            Activation::None,
            [Some(output), gate, block.skip.then_some(x)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Costs, GeometryError, Variant};

    fn plans() -> impl Iterator<Item = Plan> {
        Variant::all().flat_map(|variant| {
            [
                (1, Precision::Fp32),
                (3, Precision::Fp16),
                (8, Precision::Fp32),
                (32, Precision::Fp16),
            ]
            .into_iter()
            .map(move |(batch, precision)| {
                let options = PlanOptions {
                    batch,
                    size: variant.native(),
                    padding: Padding::SameDynamic,
                    precision,
                };
                Plan::new(&Network::new(variant, 1000), options).unwrap()
            })
        })
    }

    #[test]
    fn buffers_live_from_their_first_step_to_their_last() {
        for plan in plans() {
            for (index, step) in plan.steps.iter().enumerate() {
                for id in step.op.reads().into_iter().chain(step.op.writes()) {
                    let buffer = plan.buffer(id);
                    assert!((buffer.first_step..=buffer.last_step).contains(&index));
                }
            }
            for output in [plan.features, plan.logits] {
                assert_eq!(plan.buffer(output).last_step, plan.steps.len() - 1);
            }
        }
    }

    /// Every expand step is the one before its block's depthwise step, which alone reads its map.
    #[test]
    fn depthwise_steps_name_the_expand_step_before_them() {
        for plan in plans() {
            let mut named = 0;
            for (index, step) in plan.steps.iter().enumerate() {
                let is_expand = step.op.name() == "expand";
                assert_eq!(plan.joins_next(index), is_expand, "{}", step.name);
                let Some(expand) = step.expand else { continue };
                named += 1;
                assert_eq!(step.op.name(), "depthwise");
                assert_eq!((expand, plan.steps[expand].block), (index - 1, step.block));
                let map = plan.steps[expand].op.writes()[0];
                let buffer = plan.buffer(map);
                assert_eq!(step.op.reads(), [map]);
                assert_eq!((buffer.first_step, buffer.last_step), (expand, index));
            }
            assert_eq!(named, plan.network.blocks.iter().filter(|b| b.has_expand()).count());
        }
    }

    #[test]
    fn every_tensor_is_used_once_and_every_buffer_is_written_before_it_is_read() {
        for plan in plans() {
            let mut used = vec![0; packed_tensors(&plan.network).len()];
            let mut written = vec![false; plan.buffers.len()];
            written[plan.input.0 as usize] = true;
            for step in &plan.steps {
                for TensorId(id) in step.op.weights() {
                    used[id as usize] += 1;
                }
                for BufferId(id) in step.op.reads() {
                    assert!(written[id as usize], "{} reads an unwritten buffer", step.name);
                }
                for BufferId(id) in step.op.writes() {
                    assert!(!written[id as usize], "{} writes a buffer again", step.name);
                    written[id as usize] = true;
                }
            }
            assert!(used.iter().all(|&count| count == 1));
            assert!(written.iter().all(|&written| written));
        }
    }

    #[test]
    fn shapes_chain_and_macs_add_up() {
        for plan in plans() {
            let costs = Costs::new(&plan.network, &plan.geometry);
            assert_eq!(plan.macs(), costs.macs * plan.batch as u64);
            for step in &plan.steps {
                if let Op::Pointwise { size, c_in, c_out, input, output, skip, gate, .. } = step.op
                {
                    let n = plan.batch;
                    assert_eq!(plan.buffer(input).shape, [n, size.h, size.w, c_in]);
                    assert_eq!(plan.buffer(output).shape, [n, size.h, size.w, c_out]);
                    if let Some(skip) = skip {
                        assert_eq!(plan.buffer(skip).shape, plan.buffer(output).shape);
                    }
                    if let Some(gate) = gate {
                        assert_eq!(plan.buffer(gate).shape, [n, 1, 1, c_in]);
                    }
                }
                if let Op::Depthwise { conv, c, input, output, .. } = step.op {
                    let n = plan.batch;
                    assert_eq!(plan.buffer(input).shape, [n, conv.input.h, conv.input.w, c]);
                    assert_eq!(plan.buffer(output).shape, [n, conv.output.h, conv.output.w, c]);
                }
            }
        }
    }

    #[test]
    fn a_batch_out_of_range_is_refused() {
        let network = Network::new(Variant::B0, 1000);
        for batch in [0, 1025] {
            let options = PlanOptions {
                batch,
                size: Size::square(224),
                padding: Padding::Symmetric,
                precision: Precision::Fp32,
            };
            assert_eq!(Plan::new(&network, options), Err(PlanError::Batch { found: batch }));
        }
    }

    /// Sizes of the largest plan that there is, added up without a limit.
    #[test]
    fn the_largest_plan_stays_within_64_bits() {
        for variant in Variant::all() {
            let options = PlanOptions {
                batch: PlanOptions::MAX_BATCH,
                size: Size::square(Size::MAX_SIDE),
                padding: Padding::SameDynamic,
                precision: Precision::Fp32,
            };
            let plan = Plan::new(&Network::new(variant, Network::MAX_CLASSES), options).unwrap();
            let product = |shape: &[usize]| shape.iter().map(|&x| x as u128).product::<u128>();
            let buffers = plan.buffers.iter().map(|buffer| 4 * product(&buffer.shape));
            let tensors = packed_tensors(&plan.network);
            let weights = tensors.iter().map(|tensor| 4 * product(&tensor.shape));
            let bytes = buffers.sum::<u128>() + weights.sum::<u128>();
            assert!(bytes < 1 << 60, "{variant}: {bytes} bytes");
            // Each multiply-accumulate of a run, as `Step::macs` counts them.
            assert!(plan.macs() < 1 << 60, "{variant}");
        }
        for classes in [Network::MAX_CLASSES + 1, usize::MAX] {
            let options = PlanOptions {
                batch: 1,
                size: Size::square(64),
                padding: Padding::SameFrozen(Size::square(224)),
                precision: Precision::Fp32,
            };
            let refused = Plan::new(&Network::new(Variant::B0, classes), options);
            let expected = PlanError::Geometry(GeometryError::Classes { found: classes });
            assert_eq!(refused.unwrap_err(), expected);
        }
    }

    #[test]
    fn a_plan_that_was_changed_is_found() {
        let options = PlanOptions {
            batch: 2,
            size: Size::square(64),
            padding: Padding::SameDynamic,
            precision: Precision::Fp32,
        };
        let plan = Plan::new(&Network::new(Variant::B0, 10), options).unwrap();
        plan.check().unwrap();
        let changes: [fn(&mut Plan); 5] = [
            |plan| plan.buffers[3].last_step = 0,
            |plan| plan.buffers[2].shape[3] += 1,
            |plan| plan.steps.truncate(4),
            |plan| plan.input = plan.logits,
            |plan| plan.geometry.blocks[0].pad_top = 7,
        ];
        for change in changes {
            let mut plan = plan.clone();
            change(&mut plan);
            assert_eq!(plan.check(), Err(PlanError::Changed));
        }
        let mut plan = plan;
        plan.batch = 0;
        assert_eq!(plan.check(), Err(PlanError::Batch { found: 0 }));
    }
}
