//! From the image to the logits, one operation after the other.

use super::GraphFault;
use crate::arch::{Activation, BlockSpec, Network};
use crate::weights::import::graph::{Graph, Node, Op, Pads, ValueId};
use crate::weights::{Layer, RecogniseError, SourceRole, SourceTensor};

/// A network, found in a graph.
pub(super) struct Walked {
    pub(super) network: Network,
    /// Every tensor that the graph has for it.
    pub(super) tensors: Vec<SourceTensor>,
    /// The convolutions with a window: stem and depthwise, in order.
    pub(super) windows: Vec<Window>,
    /// Eps of the batch-norms; `None` where there are none.
    pub(super) eps: Option<f64>,
    /// Whether a convolution has no batch-norm after it.
    pub(super) folded: bool,
    pub(super) classifier_transposed: bool,
    /// Whether a sigmoid follows the logits.
    pub(super) sigmoid: bool,
}

/// A convolution's window, and the zeros around its input.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// The convolution's node, and its `Pad` node if there is one before it.
    pub(super) conv: usize,
    pub(super) pad: Option<usize>,
    /// Rows and columns of the output that are dropped.
    pub(super) crop: [usize; 2],
    pub(super) stride: usize,
}

struct Walk<'a> {
    graph: &'a Graph,
    /// Nodes that read each value, in order.
    readers: Vec<Vec<usize>>,
    found: Walked,
}

type Step<T> = Result<T, RecogniseError>;

/// Shapes of the network's convolutions, `[c_out, c_in / groups, k, k]`, in the order of the graph.
pub(super) fn convolutions(network: &Network) -> Vec<[usize; 4]> {
    let mut list = vec![[network.c_stem, Network::C_IMAGE, Network::STEM_K, Network::STEM_K]];
    for block in &network.blocks {
        let (c_mid, k) = (block.c_mid, block.k);
        if block.has_expand() {
            list.push([c_mid, block.c_in, 1, 1]);
        }
        list.push([c_mid, 1, k, k]);
        if let Some(c_se) = block.c_se {
            list.extend([[c_se, c_mid, 1, 1], [c_mid, c_se, 1, 1]]);
        }
        list.push([block.c_out, c_mid, 1, 1]);
    }
    list.push([network.c_head, network.c_last(), 1, 1]);
    list
}

/// Follows `network` through the graph; its number of classes is the graph's.
pub(super) fn walk(graph: &Graph, network: Network) -> Step<Walked> {
    let mut readers = vec![Vec::new(); graph.values.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for &input in node.inputs.iter().flatten() {
            // A square reads its input twice.
            if readers[input].last() != Some(&index) {
                readers[input].push(index);
            }
        }
    }
    let found = Walked {
        network: network.clone(),
        tensors: Vec::new(),
        windows: Vec::new(),
        eps: None,
        folded: false,
        classifier_transposed: false,
        sigmoid: false,
    };
    let mut walk = Walk { graph, readers, found };
    let k = Network::STEM_K;
    let stem = [network.c_stem, Network::C_IMAGE, k, k];
    let mut x =
        walk.conv_norm(graph.input, Layer::Stem, stem, Network::STEM_STRIDE, network.activation)?;
    for block in &network.blocks {
        x = walk.block(x, block, network.activation)?;
    }
    let head = [network.c_head, network.c_last(), 1, 1];
    let x = walk.conv_norm(x, Layer::HeadConv, head, 1, network.activation)?;
    walk.classifier(x)?;
    Ok(walk.found)
}

impl<'a> Walk<'a> {
    fn node(&self, index: usize) -> &'a Node {
        &self.graph.nodes[index]
    }

    /// The first node that reads `x` and fits, but for those that read its shape.
    fn reader(&self, x: ValueId, fits: impl Fn(&Node) -> bool) -> Option<usize> {
        self.readers[x].iter().copied().find(|&index| fits(self.node(index)))
    }

    /// The fault that the first reader of `x` is.
    fn fault(&self, x: ValueId, expected: impl Into<String>) -> RecogniseError {
        match self.reader(x, |node| !matches!(node.op, Op::Shaping(_))) {
            Some(index) => self.fault_at(index, expected),
            None => RecogniseError::Graph(Box::new(GraphFault {
                variant: self.found.network.variant,
                node: self.graph.values[x].clone(),
                op_type: "output".to_owned(),
                expected: expected.into(),
                found: "the end of the graph".to_owned(),
            })),
        }
    }

    fn fault_at(&self, index: usize, expected: impl Into<String>) -> RecogniseError {
        let node = self.node(index);
        let shape = node.input(1).and_then(|weight| self.graph.constants.get(&weight));
        let found = match (&node.op, shape) {
            (Op::Conv { stride, group, .. }, Some(weight)) => {
                format!("weights {:?}, stride {stride:?}, {group} groups", weight.shape)
            }
            (Op::Linear { .. }, Some(weight)) => format!("weights {:?}", weight.shape),
            (Op::Clip { min, max }, _) => format!("a clip from {min} to {max}"),
            (Op::BatchNorm { eps }, _) => format!("a batch-norm of eps {eps}"),
            (Op::Other(what), _) => what.clone(),
            _ => node.op_type.clone(),
        };
        RecogniseError::Graph(Box::new(GraphFault {
            variant: self.found.network.variant,
            node: node.name.clone(),
            op_type: node.op_type.clone(),
            expected: expected.into(),
            found,
        }))
    }

    /// The shape of the constant that a value is.
    fn shape(&self, value: Option<ValueId>) -> Option<&'a [usize]> {
        Some(&self.graph.constants.get(&value?)?.shape)
    }

    /// Notes the constant that input `input` of a node is, under its role; it must have `shape`, or
    /// as many elements if that is a vector: biases are reshaped to be added.
    fn take(
        &mut self,
        index: usize,
        input: usize,
        (layer, role): (Layer, SourceRole),
        shape: &[usize],
    ) -> Step<()> {
        let constant = self.node(index).input(input).and_then(|id| self.graph.constants.get(&id));
        let fits = constant.is_some_and(|constant| {
            let elems: usize = constant.shape.iter().product();
            constant.shape == shape || (shape.len() == 1 && elems == shape[0])
        });
        match constant {
            Some(constant) if fits => {
                let (name, shape) = (constant.name.clone(), shape.to_vec());
                self.found.tensors.push(SourceTensor { name, shape, layer, role });
                Ok(())
            }
            _ => {
                let found = constant.map(|constant| &constant.shape);
                let found = found.map_or("no constant".to_owned(), |shape| format!("{shape:?}"));
                let node = self.node(index);
                Err(RecogniseError::Graph(Box::new(GraphFault {
                    variant: self.found.network.variant,
                    node: node.name.clone(),
                    op_type: node.op_type.clone(),
                    expected: format!("{role:?} of {layer}, {shape:?}"),
                    found,
                })))
            }
        }
    }

    /// The convolution that reads `x`, noted with its bias; its output.
    fn conv(
        &mut self,
        x: ValueId,
        layer: Layer,
        shape: [usize; 4],
        stride: usize,
    ) -> Step<ValueId> {
        let [c_out, c_in, k, _] = shape;
        let group = if matches!(layer, Layer::Depthwise(_)) { c_out } else { 1 };
        let expected = format!(
            "a convolution of {c_out} channels from {}, {k}x{k}, stride {stride}, {group} groups, \
             for {layer}",
            c_in * group
        );
        let is_pad = |node: &Node| node.op == Op::Pad && node.input(0) == Some(x);
        let pad = self.reader(x, is_pad);
        let input = pad.map_or(x, |pad| self.node(pad).output);
        let is_conv =
            |node: &Node| matches!(node.op, Op::Conv { .. }) && node.input(0) == Some(input);
        let conv = self.reader(input, is_conv).ok_or_else(|| self.fault(input, &expected))?;
        let node = self.node(conv);
        let fits = match node.op {
            Op::Conv { stride: found, group: groups, .. } => {
                found == [stride; 2] && groups == group && self.shape(node.input(1)) == Some(&shape)
            }
            _ => false,
        };
        if !fits {
            return Err(self.fault_at(conv, expected));
        }
        self.take(conv, 1, (layer, SourceRole::Weight), &shape)?;
        let mut bias = node.input(2).is_some();
        if bias {
            self.take(conv, 2, (layer, SourceRole::Bias), &[c_out])?;
        }
        let mut y = node.output;
        let mut crop = [0; 2];
        // Bias, and the rows that Paddle drops, in either order.
        loop {
            let next = self.reader(y, |node| match node.op {
                Op::Crop { .. } => crop == [0; 2],
                Op::Add => !bias && node.inputs.iter().any(|&id| self.is_vector(id, c_out)),
                _ => false,
            });
            let Some(next) = next else { break };
            let node = self.node(next);
            if let Op::Crop { top, left } = node.op {
                crop = [top, left];
            } else {
                let input = usize::from(node.input(0) == Some(y));
                self.take(next, input, (layer, SourceRole::Bias), &[c_out])?;
                bias = true;
            }
            y = node.output;
        }
        if k > 1 {
            self.found.windows.push(Window { conv, pad, crop, stride });
        } else if pad.is_some() || crop != [0; 2] || !self.is_unpadded(conv) {
            return Err(self.fault_at(conv, format!("no pads in {layer}")));
        }
        Ok(y)
    }

    /// Whether a value is a constant of as many elements as there are channels.
    fn is_vector(&self, value: Option<ValueId>, channels: usize) -> bool {
        self.shape(value).is_some_and(|shape| shape.iter().product::<usize>() == channels)
    }

    fn is_unpadded(&self, conv: usize) -> bool {
        // SAME gives no pads to a window of one pixel.
        let unpadded = [Pads::Explicit([0; 4]), Pads::SameUpper];
        matches!(self.node(conv).op, Op::Conv { pads, .. } if unpadded.contains(&pads))
    }

    /// A convolution, its batch-norm if it has one, and the activation.
    fn conv_norm(
        &mut self,
        x: ValueId,
        layer: Layer,
        shape: [usize; 4],
        stride: usize,
        activation: Activation,
    ) -> Step<ValueId> {
        let c_out = shape[0];
        let y = self.conv(x, layer, shape, stride)?;
        let is_norm = |node: &Node| matches!(node.op, Op::BatchNorm { .. });
        let y = match self.reader(y, is_norm) {
            None => {
                self.found.folded = true;
                y
            }
            Some(norm) => {
                let Op::BatchNorm { eps } = self.node(norm).op else { return Ok(y) };
                let eps = shortest(eps);
                let usual = *self.found.eps.get_or_insert(eps);
                if usual != eps || !(0.0..1.0).contains(&eps) {
                    let expected = format!("the eps of the batch-norms before, {usual}");
                    return Err(self.fault_at(norm, expected));
                }
                let roles =
                    [SourceRole::Gamma, SourceRole::Beta, SourceRole::Mean, SourceRole::Variance];
                for (input, role) in roles.into_iter().enumerate() {
                    self.take(norm, input + 1, (layer, role), &[c_out])?;
                }
                self.node(norm).output
            }
        };
        self.activate(y, layer, activation)
    }

    fn activate(&self, x: ValueId, layer: Layer, activation: Activation) -> Step<ValueId> {
        let found = match activation {
            Activation::None => return Ok(x),
            Activation::Swish => {
                let is_swish = |node: &Node| node.op == Op::Swish;
                self.reader(x, is_swish).or_else(|| self.gated(x, x))
            }
            Activation::Relu6 => self.reader(x, |node| node.op == Op::Clip { min: 0.0, max: 6.0 }),
        };
        let expected = match activation {
            Activation::Relu6 => format!("relu6 after {layer}: a clip from 0 to 6"),
            _ => format!("swish after {layer}: x * sigmoid(x)"),
        };
        found.map(|index| self.node(index).output).ok_or_else(|| self.fault(x, expected))
    }

    /// The product of `x` with the sigmoid of `gate`.
    fn gated(&self, x: ValueId, gate: ValueId) -> Option<usize> {
        let sigmoid = self.reader(gate, |node| node.op == Op::Sigmoid)?;
        let sigmoid = Some(self.node(sigmoid).output);
        self.reader(x, |node| {
            let pair = (node.input(0), node.input(1));
            node.op == Op::Mul && (pair == (Some(x), sigmoid) || pair == (sigmoid, Some(x)))
        })
    }

    fn block(&mut self, x: ValueId, block: &BlockSpec, activation: Activation) -> Step<ValueId> {
        let (n, c_mid, k) = (block.index, block.c_mid, block.k);
        let mut y = x;
        if block.has_expand() {
            let shape = [c_mid, block.c_in, 1, 1];
            y = self.conv_norm(y, Layer::Expand(n), shape, 1, activation)?;
        }
        let shape = [c_mid, 1, k, k];
        y = self.conv_norm(y, Layer::Depthwise(n), shape, block.stride, activation)?;
        if let Some(c_se) = block.c_se {
            let pool = self.reader(y, |node| node.op == Op::GlobalPool).ok_or_else(|| {
                self.fault(y, format!("the mean over all pixels, for blocks.{n}.squeeze_excite"))
            })?;
            let pooled = self.node(pool).output;
            let reduced = self.conv(pooled, Layer::SeReduce(n), [c_se, c_mid, 1, 1], 1)?;
            let reduced = self.activate(reduced, Layer::SeReduce(n), Activation::Swish)?;
            let gate = self.conv(reduced, Layer::SeExpand(n), [c_mid, c_se, 1, 1], 1)?;
            let product = self.gated(y, gate).ok_or_else(|| {
                self.fault(gate, format!("the sigmoid and the product that gate blocks.{n}"))
            })?;
            y = self.node(product).output;
        }
        let shape = [block.c_out, c_mid, 1, 1];
        y = self.conv_norm(y, Layer::Project(n), shape, 1, Activation::None)?;
        if block.skip {
            let sum = self.reader(y, |node| {
                let pair = (node.input(0), node.input(1));
                node.op == Op::Add && (pair == (Some(x), Some(y)) || pair == (Some(y), Some(x)))
            });
            let sum = sum.ok_or_else(|| {
                self.fault(y, format!("the sum with the input of blocks.{n}, its skip"))
            })?;
            y = self.node(sum).output;
        }
        Ok(y)
    }

    /// The pool, the classifier and perhaps a softmax or sigmoid; the end must be an output.
    fn classifier(&mut self, x: ValueId) -> Step<()> {
        let c_head = self.found.network.c_head;
        let pool = self
            .reader(x, |node| node.op == Op::GlobalPool)
            .ok_or_else(|| self.fault(x, "the mean over all pixels, for the pool"))?;
        let mut y = self.node(pool).output;
        while let Some(flat) = self.reader(y, |node| node.op == Op::Flatten) {
            y = self.node(flat).output;
        }
        let expected = format!("a product with weights [classes, {c_head}] or [{c_head}, classes]");
        let is_linear = |node: &Node| matches!(node.op, Op::Linear { .. });
        let linear = self.reader(y, is_linear).ok_or_else(|| self.fault(y, &expected))?;
        let node = self.node(linear);
        let transposed = matches!(node.op, Op::Linear { transposed: true });
        let classes = match (self.shape(node.input(1)), transposed) {
            (Some(&[classes, c_in]), true) if c_in == c_head && node.input(0) == Some(y) => classes,
            (Some(&[c_in, classes]), false) if c_in == c_head && node.input(0) == Some(y) => {
                classes
            }
            _ => return Err(self.fault_at(linear, expected)),
        };
        let shape = if transposed { [classes, c_head] } else { [c_head, classes] };
        self.take(linear, 1, (Layer::Classifier, SourceRole::Weight), &shape)?;
        y = node.output;
        if node.input(2).is_some() {
            self.take(linear, 2, (Layer::Classifier, SourceRole::Bias), &[classes])?;
        } else if let Some(sum) = self.reader(y, |node| {
            node.op == Op::Add && node.inputs.iter().any(|&id| self.is_vector(id, classes))
        }) {
            let input = usize::from(self.node(sum).input(0) == Some(y));
            self.take(sum, input, (Layer::Classifier, SourceRole::Bias), &[classes])?;
            y = self.node(sum).output;
        }
        if let Some(softmax) = self.reader(y, |node| node.op == Op::Softmax) {
            y = self.node(softmax).output;
        } else if !self.graph.outputs.contains(&y)
            && let Some(sigmoid) = self.reader(y, |node| node.op == Op::Sigmoid)
        {
            y = self.node(sigmoid).output;
            self.found.sigmoid = true;
        }
        if !self.graph.outputs.contains(&y) {
            return Err(
                self.fault(y, "the logits, their softmax or sigmoid, as an output of the graph")
            );
        }
        self.found.network.classes = classes;
        self.found.classifier_transposed = !transposed;
        Ok(())
    }
}

/// The f64 of the fewest digits that is the same f32: files have 1e-3 as an f32.
fn shortest(eps: f64) -> f64 {
    let single = eps as f32;
    if f64::from(single) == eps { single.to_string().parse().unwrap_or(eps) } else { eps }
}
