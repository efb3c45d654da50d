//! The small form that the readers of ONNX files and of Paddle's programs bring a network into.
//!
//! Values are numbers; every node reads values that the input, a constant or a node before it
//! gave, so that a graph has no cycles by construction. What changes no number on the way
//! (`Identity`, `Cast`, dropout at inference, a constant in another shape) is no node: its output
//! is its input's value.

mod build;
mod small;

pub(super) use build::Builder;
pub use small::Small;

use std::collections::{BTreeMap, HashMap};

/// A value of the graph: its position in [`Graph::values`].
pub type ValueId = usize;

/// The network of a checkpoint that is an exported graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The program that wrote the file, as it names itself, and the graph's name.
    pub producer: String,
    /// Key-value pairs that the file carries about itself.
    pub properties: BTreeMap<String, String>,
    /// Name of each value.
    pub values: Vec<String>,
    /// The network's input.
    pub input: ValueId,
    /// Declared sides of the input, `[n, c, h, w]`; `None` for one that is free.
    pub input_shape: Vec<Option<usize>>,
    /// The network's outputs.
    pub outputs: Vec<ValueId>,
    /// Constants by value.
    pub constants: HashMap<ValueId, Constant>,
    /// The operations, in an order in which they can run.
    pub nodes: Vec<Node>,
}

/// A constant tensor.
#[derive(Clone, Debug)]
pub struct Constant {
    /// Name among the checkpoint's tensors.
    pub name: String,
    /// The shape, row-major.
    pub shape: Vec<usize>,
    /// The elements, where there are few: bounds, axes, pads.
    pub small: Option<Small>,
}

/// An operation.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name in the file; the first output's where it has none.
    pub name: String,
    /// The operator, as the file calls it.
    pub op_type: String,
    /// The operation, as far as it matters.
    pub op: Op,
    /// The values that it reads, in the order that [`Op`] gives; `None` for one left out.
    pub inputs: Vec<Option<ValueId>>,
    /// The first value that it writes.
    pub output: ValueId,
}

impl Node {
    /// Input number `index`, if it is there.
    pub fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }
}

/// The zeros around a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pads {
    /// Top, left, bottom, right.
    Explicit([usize; 4]),
    /// TensorFlow's SAME, computed from the input: `auto_pad` SAME_UPPER.
    SameUpper,
}

/// An operation, with its inputs in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `x, weight [c_out, c_in / group, k, k]`, and a bias `[c_out]` or none.
    Conv {
        /// Rows and columns.
        stride: [usize; 2],
        /// Zeros around the input.
        pads: Pads,
        /// Groups of channels.
        group: usize,
    },
    /// `x, gamma, beta, mean, variance`, at inference.
    BatchNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x * sigmoid(x)`.
    Swish,
    /// `min(max(x, min), max)`; a bound that is not there is infinite.
    Clip {
        /// The lower bound.
        min: f64,
        /// The upper bound.
        max: f64,
    },
    /// `x * y`.
    Mul,
    /// `x + y`.
    Add,
    /// Mean over all pixels.
    GlobalPool,
    /// Another shape, same elements: `Flatten`, `Reshape`, `Squeeze`.
    Flatten,
    /// `x, pads`: zeros around the input; pads are begins of all axes, then ends.
    Pad,
    /// The first `top` rows and `left` columns dropped.
    Crop {
        /// Rows.
        top: usize,
        /// Columns.
        left: usize,
    },
    /// `x, weight`, and a bias or none: `x * weight`.
    Linear {
        /// Whether the weights are `[out, in]`, not `[in, out]`.
        transposed: bool,
    },
    /// Softmax over the classes.
    Softmax,
    /// Arithmetic of shapes.
    Shaping(Shaping),
    /// Any other operation, or one of those above with settings that no EfficientNet has, in words.
    Other(String),
}

impl Op {
    /// The crop that a slice is: rows and columns from a start to the end.
    pub(super) fn crop(axes: &[f64], starts: &[f64], ends: &[f64], whole: bool) -> Op {
        // Exporters write "to the end" as the largest number that they have.
        let to_the_end = ends.iter().all(|&end| end >= f64::from(i32::MAX));
        let few = starts.iter().all(|&start| (0.0..16.0).contains(&start));
        match (axes, starts) {
            ([2.0, 3.0], &[top, left]) if whole && to_the_end && few => {
                Op::Crop { top: top as usize, left: left as usize }
            }
            _ => Op::Other(format!("a slice of the axes {axes:?} from {starts:?}")),
        }
    }
}

/// Operations by which exporters compute pads: on shapes and other small tensors alone, but for
/// [`Shape`](Shaping::Shape), which reads any value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // ONNX's operators of these names
pub enum Shaping {
    Shape,
    Gather {
        axis: i64,
    },
    /// The axes are the second input; `Squeeze` and `Unsqueeze` of a vector or a scalar.
    Unsqueeze,
    Squeeze,
    Reshape,
    Concat,
    ConstantOfShape {
        value: f64,
        int: bool,
    },
    Slice,
    Transpose,
    Add,
    Sub,
    Mul,
    Div,
    Ceil,
    Floor,
    Max,
    Min,
    Clip {
        min: f64,
        max: f64,
    },
    Cast {
        int: bool,
    },
}
