//! Conversion of a plan's steps to nodes.
//!
//! | step | nodes |
//! |---|---|
//! | stem, expand, depthwise, project, head | `Conv` (, `BatchNormalization`), activation |
//! | swish | `Sigmoid`, `Mul` |
//! | relu6 | `Clip` from 0 to 6 |
//! | squeeze | `GlobalAveragePool` |
//! | squeeze-excite | `Conv`, swish, `Conv`, `Sigmoid`; the projection's input `Mul` the gate |
//! | skip | `Add` |
//! | pool | `GlobalAveragePool`, `Flatten` |
//! | classifier | `Gemm` |
//!
//! A node is called as its plan step and its operation, as in `blocks.3.expand.conv`, so that a
//! profile by nodes can be read step by step.

use super::graph::{Graph, Value, element, float, int, ints};
use super::proto::AttributeProto;
use super::tensors::{convolution, encode, plain};
use super::{BatchNorm, OnnxError, OnnxOptions};
use crate::arch::{Activation, ConvGeometry, Network, Size};
use crate::plan::{BufferId, Op, Plan, Step};
use crate::weights::{Precision, TensorId, Weights};

/// A graph, and the values that its steps have written so far.
struct Builder<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
    options: &'a OnnxOptions,
    graph: Graph,
    /// Values of the buffers, by [`BufferId`].
    values: Vec<Option<Value>>,
    /// Names of the constants 0 and 6.
    bounds: Option<[String; 2]>,
}

/// A convolution's window: kernel, stride, pads as ONNX orders them, and groups.
struct Window {
    k: usize,
    stride: usize,
    pads: [usize; 4],
    groups: usize,
}

const POINTWISE: Window = Window { k: 1, stride: 1, pads: [0; 4], groups: 1 };

/// A batch-norm's tensors: one number per channel each.
#[derive(Clone, Copy)]
struct Norm {
    scale: TensorId,
    shift: TensorId,
}

/// The graph of `plan`, whose input and outputs are f32.
pub(super) fn build(
    plan: &Plan,
    weights: &Weights,
    options: &OnnxOptions,
) -> Result<Graph, OnnxError> {
    let network = &plan.network;
    let mut b = Builder {
        plan,
        weights,
        options,
        graph: Graph::new(&format!("efficientnet-{}", network.variant), options.batch),
        values: vec![None; plan.buffers.len()],
        bounds: None,
    };
    let Size { h, w } = plan.input_size();
    let dims = vec![Network::C_IMAGE, h, w];
    let image = Value { name: INPUT.to_owned(), precision: Precision::Fp32, dims };
    b.graph.input(&image);
    let typed = b.cast("input.cast", image, options.precision);
    b.set(plan.input, typed);
    for step in &plan.steps {
        b.step(step)?;
    }
    Ok(b.graph)
}

/// Name of the graph's input.
pub(super) const INPUT: &str = "input";
/// Name of the graph's first output.
pub(super) const LOGITS: &str = "logits";
/// Name of the graph's second output, where it has one.
pub(super) const FEATURES: &str = "features";

/// Begin and end pads along one direction.
///
/// A plan has the begin pad and both sizes. The end pad is the same where that gives the plan's
/// output, as with symmetric padding, and else the least that does: TensorFlow's SAME.
fn pads(begin: usize, input: usize, output: usize, k: usize, stride: usize) -> (usize, usize) {
    let padded = input + 2 * begin;
    if padded >= k && (padded - k) / stride + 1 == output {
        return (begin, begin);
    }
    (begin, ((output - 1) * stride + k).saturating_sub(input + begin))
}

impl Window {
    fn new(conv: &ConvGeometry, groups: usize) -> Window {
        let &ConvGeometry { k, stride, pad_top, pad_left, input, output } = conv;
        let (top, bottom) = pads(pad_top, input.h, output.h, k, stride);
        let (left, right) = pads(pad_left, input.w, output.w, k, stride);
        Window { k, stride, pads: [top, left, bottom, right], groups }
    }
}

impl Builder<'_> {
    /// The value that an earlier step has written.
    fn value(&self, id: BufferId) -> Value {
        // Every plan writes its buffers before it reads them: a test of the plan says so.
        self.values[id.0 as usize].clone().expect("a buffer is written before it is read")
    }

    fn set(&mut self, id: BufferId, value: Value) {
        self.values[id.0 as usize] = Some(value);
    }

    fn tensor_name(&self, id: TensorId) -> String {
        self.weights.tensors()[id.0 as usize].name()
    }

    fn step(&mut self, step: &Step) -> Result<(), OnnxError> {
        let name = step.name.as_str();
        match step.op {
            Op::Stem { ref conv, c_out, activation, input, output, weight, scale, shift } => {
                let window = Window::new(conv, 1);
                let (taps, c_in) = (conv.k * conv.k, Network::C_IMAGE);
                // [k * k, c_in, c_out] to [c_out, c_in, k * k].
                let source = |c: usize, i: usize| ((i % taps) * c_in + i / taps) * c_out + c;
                let x = self.value(input);
                let norm = Norm { scale, shift };
                let y = self.conv_norm(name, &x, &window, conv.output, weight, norm, source)?;
                let y = self.activate(name, y, activation);
                self.set(output, y);
            }
            Op::Depthwise {
                ref conv,
                c: channels,
                activation,
                input,
                output,
                squeeze,
                weight,
                scale,
                shift,
            } => {
                let window = Window::new(conv, channels);
                // [k * k, c] to [c, 1, k * k].
                let source = |c: usize, tap: usize| tap * channels + c;
                let x = self.value(input);
                let norm = Norm { scale, shift };
                let y = self.conv_norm(name, &x, &window, conv.output, weight, norm, source)?;
                let y = self.activate(name, y, activation);
                if let Some(squeeze) = squeeze {
                    let label = self.plan.buffer(squeeze).name.clone();
                    let mean = self.mean(&label, y.clone());
                    // The gate's two matrices are typed as the maps are.
                    let cast = format!("{label}.cast");
                    let mean = self.cast(&cast, mean, self.options.precision);
                    self.set(squeeze, mean);
                }
                self.set(output, y);
            }
            Op::Pointwise {
                size,
                c_in,
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
                let mut x = self.value(input);
                if let Some(gate) = gate {
                    let gate = self.value(gate);
                    x = self.binary("Mul", format!("{name}.gated"), &x, &gate);
                }
                let norm = Norm { scale, shift };
                let source = |c: usize, tap: usize| c * c_in + tap;
                let y = self.conv_norm(name, &x, &POINTWISE, size, weight, norm, source)?;
                let mut y = self.activate(name, y, activation);
                if let Some(skip) = skip {
                    let skip = self.value(skip);
                    y = self.binary("Add", format!("{name}.skip"), &y, &skip);
                }
                self.set(output, y);
            }
            Op::SqueezeExcite {
                c: channels,
                c_se,
                squeeze,
                gate,
                reduce_weight,
                reduce_bias,
                expand_weight,
                expand_bias,
            } => {
                let x = self.value(squeeze);
                let label = format!("{name}.reduce");
                let source = |c: usize, tap: usize| c * channels + tap;
                let y = self.conv_bias(&label, &x, c_se, reduce_weight, reduce_bias, source)?;
                let y = self.activate(&label, y, Activation::Swish);
                let label = format!("{name}.expand");
                // [c_se, c] to [c, c_se].
                let source = |c: usize, tap: usize| tap * channels + c;
                let y = self.conv_bias(&label, &y, channels, expand_weight, expand_bias, source)?;
                let y = self.unary("Sigmoid", format!("{name}.gate"), &y);
                self.set(gate, y);
            }
            Op::Pool { c, input, output, .. } => {
                let x = self.value(input);
                let mean = self.mean(name, x);
                let flat = Value { name: FEATURES.to_owned(), dims: vec![c], ..mean.clone() };
                let flat = self.last(
                    "Flatten",
                    format!("{name}.flatten"),
                    &[&mean.name],
                    int("axis", 1),
                    flat,
                );
                self.set(output, flat);
            }
            // The classifier that stands in for none is not written.
            Op::Classifier { input, .. } if self.weights.metadata().classes == 0 => {
                let features = self.cast(FEATURES, self.value(input), Precision::Fp32);
                self.graph.output(&features);
            }
            Op::Classifier { c_in, classes, input, output, weight, bias } => {
                let x = self.value(input);
                let weight = self.constant(weight, &[classes, c_in], x.precision)?;
                let bias = self.constant(bias, &[classes], x.precision)?;
                let y =
                    Value { name: LOGITS.to_owned(), precision: x.precision, dims: vec![classes] };
                let inputs = [x.name.as_str(), &weight, &bias];
                let y = self.last("Gemm", format!("{name}.gemm"), &inputs, int("transB", 1), y);
                let logits = self.cast(LOGITS, y.clone(), Precision::Fp32);
                self.graph.output(&logits);
                if self.options.features {
                    let features = self.cast(FEATURES, x, Precision::Fp32);
                    self.graph.output(&features);
                }
                self.set(output, y);
            }
        }
        Ok(())
    }

    /// A packed tensor as it is.
    fn constant(
        &mut self,
        id: TensorId,
        dims: &[usize],
        precision: Precision,
    ) -> Result<String, OnnxError> {
        let bytes = plain(self.weights, id, precision)?;
        Ok(self.graph.constant(self.tensor_name(id), dims, precision, bytes))
    }

    /// One number per channel, all the same.
    fn fill(&mut self, name: String, c: usize, value: f64, precision: Precision) -> String {
        let bytes = encode(&name, (0..c).map(|_| value), precision);
        let bytes = bytes.expect("0 and 1 are numbers in every type");
        self.graph.constant(name, &[c], precision, bytes)
    }

    /// A convolution without bias, and its batch-norm.
    #[allow(clippy::too_many_arguments)] // each one is a part of the operation
    fn conv_norm(
        &mut self,
        step: &str,
        x: &Value,
        window: &Window,
        size: Size,
        weight: TensorId,
        norm: Norm,
        source: impl Fn(usize, usize) -> usize,
    ) -> Result<Value, OnnxError> {
        let c_out = self.weights.tensors()[norm.shift.0 as usize].elems();
        let folded = self.options.batch_norm == BatchNorm::Folded;
        let y = Value {
            name: format!("{step}.conv"),
            precision: x.precision,
            dims: vec![c_out, size.h, size.w],
        };
        let scale = folded.then_some(norm.scale);
        let w = self.kernel(weight, x, c_out, window, scale, source)?;
        if folded {
            let bias = self.constant(norm.shift, &[c_out], x.precision)?;
            return Ok(self.conv(&[&x.name, &w, &bias], window, y));
        }
        let y = self.conv(&[&x.name, &w], window, y);
        let scale = self.constant(norm.scale, &[c_out], x.precision)?;
        let shift = self.constant(norm.shift, &[c_out], x.precision)?;
        // The mean is in the shift and the variance in the scale: a mean of 0 remains, and a
        // variance that is 1 with its epsilon.
        let mean = self.fill(format!("{step}.mean"), c_out, 0.0, x.precision);
        let variance = self.fill(format!("{step}.variance"), c_out, 1.0, x.precision);
        let inputs = [y.name.as_str(), &scale, &shift, &mean, &variance];
        let output = Value { name: format!("{step}.batch_norm"), ..y.clone() };
        let epsilon = vec![float("epsilon", 0.0)];
        Ok(self.graph.node("BatchNormalization", &inputs, epsilon, output))
    }

    /// A matrix of squeeze-excite with its bias, as a convolution of one pixel.
    fn conv_bias(
        &mut self,
        label: &str,
        x: &Value,
        c_out: usize,
        weight: TensorId,
        bias: TensorId,
        source: impl Fn(usize, usize) -> usize,
    ) -> Result<Value, OnnxError> {
        let w = self.kernel(weight, x, c_out, &POINTWISE, None, source)?;
        let bias = self.constant(bias, &[c_out], x.precision)?;
        let y = Value {
            name: format!("{label}.conv"),
            precision: x.precision,
            dims: vec![c_out, 1, 1],
        };
        Ok(self.conv(&[&x.name, &w, &bias], &POINTWISE, y))
    }

    /// A convolution's weights, `[c_out, c_in / groups, k, k]`, for the input `x`.
    fn kernel(
        &mut self,
        id: TensorId,
        x: &Value,
        c_out: usize,
        window: &Window,
        scale: Option<TensorId>,
        source: impl Fn(usize, usize) -> usize,
    ) -> Result<String, OnnxError> {
        let dims = [c_out, x.dims[0] / window.groups, window.k, window.k];
        let bytes = convolution(self.weights, id, c_out, scale, x.precision, source)?;
        Ok(self.graph.constant(self.tensor_name(id), &dims, x.precision, bytes))
    }

    fn conv(&mut self, inputs: &[&str], window: &Window, output: Value) -> Value {
        let attributes = vec![
            ints("kernel_shape", &[window.k; 2]),
            ints("strides", &[window.stride; 2]),
            ints("pads", &window.pads),
            ints("dilations", &[1; 2]),
            int("group", window.groups as i64),
        ];
        self.graph.node("Conv", inputs, attributes, output)
    }

    fn activate(&mut self, label: &str, x: Value, activation: Activation) -> Value {
        match activation {
            Activation::Swish => {
                let sigmoid = self.unary("Sigmoid", format!("{label}.sigmoid"), &x);
                self.binary("Mul", format!("{label}.swish"), &x, &sigmoid)
            }
            Activation::Relu6 => {
                let [low, high] = self.relu6_bounds(x.precision);
                let y = Value { name: format!("{label}.relu6"), ..x.clone() };
                self.graph.node("Clip", &[&x.name, &low, &high], vec![], y)
            }
            Activation::None => x,
        }
    }

    /// Names of relu6's bounds, which all of its nodes share.
    fn relu6_bounds(&mut self, precision: Precision) -> [String; 2] {
        if let Some(bounds) = &self.bounds {
            return bounds.clone();
        }
        let bounds = [("relu6.min", 0.0), ("relu6.max", 6.0)].map(|(name, value)| {
            let bytes = encode(name, [value].into_iter(), precision);
            let bytes = bytes.expect("0 and 6 are numbers in every type");
            self.graph.constant(name.to_owned(), &[], precision, bytes)
        });
        self.bounds.insert(bounds).clone()
    }

    /// The mean over all pixels, in the type that means are to have.
    fn mean(&mut self, label: &str, x: Value) -> Value {
        let precision = self.options.reductions;
        let x = self.cast(&format!("{label}.input"), x, precision);
        let c = x.dims[0];
        let y = Value { name: format!("{label}.mean"), precision, dims: vec![c, 1, 1] };
        self.graph.node("GlobalAveragePool", &[&x.name], vec![], y)
    }

    fn unary(&mut self, op_type: &str, name: String, x: &Value) -> Value {
        self.graph.node(op_type, &[&x.name], vec![], Value { name, ..x.clone() })
    }

    /// `x` and `y` have the same shape, or `y` has one number per channel.
    fn binary(&mut self, op_type: &str, name: String, x: &Value, y: &Value) -> Value {
        self.graph.node(op_type, &[&x.name, &y.name], vec![], Value { name, ..x.clone() })
    }

    /// `x` in `precision`: itself, where it has it already.
    fn cast(&mut self, name: &str, x: Value, precision: Precision) -> Value {
        if x.precision == precision {
            return x;
        }
        let y = Value { name: name.to_owned(), precision, dims: x.dims.clone() };
        let to = vec![int("to", i64::from(element(precision)))];
        self.graph.node("Cast", &[&x.name], to, y)
    }

    /// Adds a node whose output is the caller's too: by its name if it is f32, as outputs are, and
    /// else by the name of the node, which leaves the other to a cast.
    fn last(
        &mut self,
        op_type: &str,
        node: String,
        inputs: &[&str],
        attribute: AttributeProto,
        mut output: Value,
    ) -> Value {
        if output.precision != Precision::Fp32 {
            output.name.clone_from(&node);
        }
        self.graph.named_node(op_type, node, inputs, vec![attribute], output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{NetworkGeometry, Padding, Variant};

    /// Both conventions as their authors write them, frozen or not, and the plan's output sizes.
    #[test]
    fn end_pads_are_the_convention_s() {
        let sizes = [(224, 224), (66, 96), (97, 65), (33, 4), (1, 7)].map(|(h, w)| Size { h, w });
        for variant in Variant::all() {
            let network = Network::new(variant, 10);
            for padding in [
                Padding::Symmetric,
                Padding::SameDynamic,
                Padding::SameFrozen(variant.native()),
                Padding::SameFrozen(Size::square(97)),
                Padding::SameCropped(variant.native()),
            ] {
                for size in sizes {
                    let geometry = NetworkGeometry::new(&network, size, padding).unwrap();
                    for conv in std::iter::once(&geometry.stem).chain(&geometry.blocks) {
                        let Window { k, stride, pads, .. } = Window::new(conv, 1);
                        let sides = [
                            (conv.input.h, conv.output.h, pads[0], pads[2]),
                            (conv.input.w, conv.output.w, pads[1], pads[3]),
                        ];
                        for (input, output, begin, end) in sides {
                            let padded = input + begin + end;
                            assert!(padded >= k && (padded - k) / stride + 1 == output, "{conv:?}");
                            let expected = match padding {
                                Padding::Symmetric => k / 2,
                                Padding::SameDynamic => {
                                    ((output - 1) * stride + k).saturating_sub(input) - begin
                                }
                                Padding::SameFrozen(_) | Padding::SameCropped(_) => end,
                            };
                            assert_eq!(end, expected, "{variant} {padding} {size}: {conv:?}");
                        }
                    }
                }
            }
        }
    }
}
