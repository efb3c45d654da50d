//! ONNX's operations as those of the small form.

use super::super::CheckpointError;
use super::super::error::quote;
use super::super::error::too_large;
use super::super::graph::{Constant, Op, Pads, Shaping, Small, ValueId};
use super::super::proto::{Field, MAX_INTS};
use super::{Reader, tensor};
use std::collections::HashMap;

/// A setting of an operation.
#[derive(Default)]
struct Attribute {
    float: Option<f64>,
    int: Option<i64>,
    ints: Vec<i64>,
    text: String,
    tensor: Option<Field>,
}

/// The settings of an operation, by name.
struct Attributes(HashMap<String, Attribute>);

impl Attributes {
    fn int(&self, name: &str, default: i64) -> i64 {
        self.0.get(name).and_then(|attribute| attribute.int).unwrap_or(default)
    }

    fn float(&self, name: &str, default: f64) -> f64 {
        self.0.get(name).and_then(|attribute| attribute.float).unwrap_or(default)
    }

    fn ints(&self, name: &str) -> Option<&[i64]> {
        self.0.get(name).map(|attribute| &attribute.ints[..])
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |attribute| &attribute.text)
    }
}

const WHAT: &str = "ONNX node";
/// Inputs, outputs and attributes of a node.
const MAX_PARTS: usize = 1 << 12;

impl Reader<'_> {
    /// Adds the `NodeProto` of a field.
    pub(super) fn node(&mut self, field: &Field) -> Result<(), CheckpointError> {
        let file = self.file;
        let mut message = field.message(file, WHAT)?;
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let (mut name, mut op_type, mut domain) = ("", "", "");
        let mut attributes = HashMap::new();
        while let Some(field) = message.next()? {
            if inputs.len() + outputs.len() + attributes.len() == MAX_PARTS {
                let (what, limit) = ("parts of a node", MAX_PARTS as u64);
                return Err(too_large(what, field.at, limit, limit + 1));
            }
            match field.number {
                1 => inputs.push(field.text(file, WHAT)?),
                2 => outputs.push(field.text(file, WHAT)?),
                3 => name = field.text(file, WHAT)?,
                4 => op_type = field.text(file, WHAT)?,
                5 => {
                    let (name, attribute) = attribute(file, &field)?;
                    attributes.insert(name, attribute);
                }
                7 => domain = field.text(file, WHAT)?,
                _ => {}
            }
        }
        let Some(&output) = outputs.first() else { return Ok(()) };
        for output in outputs.iter().filter(|output| !output.is_empty()) {
            if self.builder.has(output) {
                let (name, offset) = ((*output).to_owned(), field.at as u64);
                return Err(CheckpointError::DuplicateTensor { name, offset });
            }
        }
        let inputs = inputs
            .iter()
            .map(|name| match *name {
                "" => Ok(None),
                name => self.builder.find(name, field.at).map(Some),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let attributes = Attributes(attributes);
        if !matches!(domain, "" | "ai.onnx") {
            let op = Op::Other(format!("an operation of {}", quote(domain)));
            self.builder.node(name, op_type, op, inputs, output);
        } else if op_type == "Constant" {
            self.constant_node(output, &attributes, field.at)?;
        } else {
            self.operation(name, op_type, &attributes, inputs, output);
        }
        // What nobody reads of an EfficientNet, as a dropout's mask.
        for output in outputs.iter().skip(1).filter(|output| !output.is_empty()) {
            self.builder.check(field.at)?;
            let op = Op::Other(format!("a further output of {}", quote(op_type)));
            self.builder.node(name, op_type, op, vec![], output);
        }
        Ok(())
    }

    fn constant_node(
        &mut self,
        output: &str,
        attributes: &Attributes,
        at: usize,
    ) -> Result<(), CheckpointError> {
        if let Some(field) = attributes.0.get("value").and_then(|value| value.tensor.as_ref()) {
            let tensor = tensor::read(self.file, field, &mut self.beside)?;
            return self.constant(output, tensor, at);
        }
        let small = ["value_float", "value_int", "value_ints"].iter().find_map(|&name| {
            let value = attributes.0.get(name)?;
            let (shape, data) = match (value.float, value.int) {
                (Some(float), _) => (vec![], vec![float]),
                (_, Some(int)) => (vec![], vec![int as f64]),
                _ => (vec![value.ints.len()], value.ints.iter().map(|&x| x as f64).collect()),
            };
            let int = value.float.is_none();
            (data.len() <= Small::MAX_ELEMS).then_some(Small { shape, data, int })
        });
        let shape = small.as_ref().map_or(vec![], |small| small.shape.clone());
        self.builder.constant(output, Constant { name: output.to_owned(), shape, small });
        Ok(())
    }

    fn operation(
        &mut self,
        name: &str,
        op_type: &str,
        attributes: &Attributes,
        mut inputs: Vec<Option<ValueId>>,
        output: &str,
    ) {
        let x = inputs.first().copied().flatten();
        let small = |reader: &Self, index: usize| -> Option<Small> {
            reader.builder.small(inputs.get(index).copied().flatten()).cloned()
        };
        if let Some(shaping) = self.shaping(op_type, attributes, &inputs) {
            let same_elements = matches!(
                shaping,
                Shaping::Unsqueeze | Shaping::Squeeze | Shaping::Reshape | Shaping::Cast { .. }
            );
            let settles = shaping == Shaping::Shape || self.builder.all_shaping(&inputs);
            if same_elements && self.builder.reshaped(output, &shaping, &inputs) {
                return;
            }
            if settles {
                return self.builder.node(name, op_type, Op::Shaping(shaping), inputs, output);
            }
        }
        let op = match op_type {
            "Identity" | "Cast" | "CastLike" | "Dropout" => {
                let training = small(self, 2).is_some_and(|flag| flag.data != [0.0]);
                match x {
                    Some(x) if !training => return self.builder.alias(output, x),
                    _ => Op::Other("a dropout in training".into()),
                }
            }
            "Conv" => conv(attributes),
            "BatchNormalization" if attributes.int("training_mode", 0) != 0 => {
                Op::Other("a batch-norm in training".into())
            }
            "BatchNormalization" => Op::BatchNorm { eps: attributes.float("epsilon", 1e-5) },
            "Sigmoid" => Op::Sigmoid,
            "Swish" if attributes.float("alpha", 1.0) == 1.0 => Op::Swish,
            "Mul" => Op::Mul,
            "Add" => Op::Add,
            "Clip" => {
                let bound = |index, name, none| {
                    // Before opset 11 the bounds are attributes.
                    let given = inputs.get(index).copied().flatten().is_some();
                    match small(self, index) {
                        Some(bound) if bound.data.len() == 1 => bound.data[0],
                        _ if given => f64::NAN,
                        _ => attributes.float(name, none),
                    }
                };
                let min = bound(1, "min", f64::NEG_INFINITY);
                Op::Clip { min, max: bound(2, "max", f64::INFINITY) }
            }
            "GlobalAveragePool" => Op::GlobalPool,
            "ReduceMean" => {
                let axes = match attributes.ints("axes") {
                    Some(axes) => Some(axes.iter().map(|&axis| axis as f64).collect()),
                    None => small(self, 1).map(|axes| axes.data),
                };
                let mut axes: Vec<f64> = axes.unwrap_or_default();
                axes.iter_mut().filter(|axis| **axis < 0.0).for_each(|axis| *axis += 4.0);
                axes.sort_by(f64::total_cmp);
                match axes[..] {
                    [2.0, 3.0] => Op::GlobalPool,
                    _ => Op::Other(format!("a mean over the axes {axes:?}")),
                }
            }
            "Flatten" | "Reshape" | "Squeeze" => Op::Flatten,
            "Pad" => {
                let mode = attributes.text("mode");
                let value = small(self, 2).map_or(attributes.float("value", 0.0), |value| {
                    value.data.first().copied().unwrap_or(0.0)
                });
                if let Some(pads) = attributes.ints("pads") {
                    let pads = Small::ints(pads.iter().map(|&pad| pad as f64).collect());
                    let name = format!("{output}.pads");
                    let shape = pads.shape.clone();
                    let constant = Constant { name: name.clone(), shape, small: Some(pads) };
                    let pads = self.builder.constant(&name, constant);
                    inputs.splice(1.., [Some(pads)]);
                }
                if !matches!(mode, "" | "constant") || value != 0.0 {
                    Op::Other(format!("a pad of mode {} with {value}", quote(mode)))
                } else if inputs.get(3).copied().flatten().is_some() {
                    Op::Other("a pad of some axes".into())
                } else {
                    Op::Pad
                }
            }
            "Slice" => self.crop(attributes, &inputs),
            "Gemm" => {
                let trans = ["transA", "transB"].map(|name| attributes.int(name, 0));
                let factors = ["alpha", "beta"].map(|name| attributes.float(name, 1.0));
                match (trans, factors) {
                    ([0, 0 | 1], [1.0, 1.0]) => Op::Linear { transposed: trans[1] == 1 },
                    _ => Op::Other(format!(
                        "a Gemm with transA {} and factors {factors:?}",
                        trans[0]
                    )),
                }
            }
            "MatMul" => Op::Linear { transposed: false },
            "Softmax" => Op::Softmax,
            _ => Op::Other(op_type.to_owned()),
        };
        self.builder.node(name, op_type, op, inputs, output);
    }

    /// The operation on shapes that an operator is, if it is applied to shapes.
    fn shaping(
        &self,
        op_type: &str,
        attributes: &Attributes,
        inputs: &[Option<ValueId>],
    ) -> Option<Shaping> {
        let bound = |index: usize, name: &str, none: f64| {
            let given = self.builder.small(inputs.get(index).copied().flatten());
            given
                .and_then(|small| small.data.first().copied())
                .unwrap_or(attributes.float(name, none))
        };
        Some(match op_type {
            "Shape" => Shaping::Shape,
            "Gather" => Shaping::Gather { axis: attributes.int("axis", 0) },
            "Unsqueeze" => Shaping::Unsqueeze,
            "Squeeze" => Shaping::Squeeze,
            "Reshape" => Shaping::Reshape,
            "Concat" => Shaping::Concat,
            "ConstantOfShape" => {
                let value = attributes.0.get("value").and_then(|value| value.tensor.as_ref());
                let small = match value {
                    None => Some(Small { shape: vec![1], data: vec![0.0], int: false }),
                    Some(field) => {
                        let mut beside = tensor::Beside::new(None);
                        tensor::read(self.file, field, &mut beside).ok()?.small
                    }
                }?;
                Shaping::ConstantOfShape { value: *small.data.first()?, int: small.int }
            }
            "Slice" => Shaping::Slice,
            "Transpose" => Shaping::Transpose,
            "Add" => Shaping::Add,
            "Sub" => Shaping::Sub,
            "Mul" => Shaping::Mul,
            "Div" => Shaping::Div,
            "Ceil" => Shaping::Ceil,
            "Floor" => Shaping::Floor,
            "Max" => Shaping::Max,
            "Min" => Shaping::Min,
            "Clip" => Shaping::Clip {
                min: bound(1, "min", f64::NEG_INFINITY),
                max: bound(2, "max", f64::INFINITY),
            },
            "Identity" => Shaping::Cast { int: self.builder.small(inputs.first().copied()?)?.int },
            "Cast" => Shaping::Cast { int: !matches!(attributes.int("to", 1), 1 | 10 | 11 | 16) },
            _ => return None,
        })
    }

    /// A slice of rows and columns, from a row and a column on.
    fn crop(&self, attributes: &Attributes, inputs: &[Option<ValueId>]) -> Op {
        let numbers = |index: usize, name: &str| -> Option<Vec<f64>> {
            match attributes.ints(name) {
                Some(numbers) => Some(numbers.iter().map(|&number| number as f64).collect()),
                None => {
                    let small = self.builder.small(inputs.get(index).copied().flatten());
                    small.map(|small| small.data.clone())
                }
            }
        };
        let starts = numbers(1, "starts").unwrap_or_default();
        let ends = numbers(2, "ends").unwrap_or_default();
        let axes = numbers(3, "axes").unwrap_or_default();
        let whole = numbers(4, "steps").is_none_or(|steps| steps.iter().all(|&step| step == 1.0));
        Op::crop(&axes, &starts, &ends, whole)
    }
}

fn conv(attributes: &Attributes) -> Op {
    let sides = |name: &str, default: usize, count: usize| match attributes.ints(name) {
        None => Some(vec![default; count]),
        Some(sides) if sides.len() != count => None,
        Some(sides) => sides.iter().map(|&side| usize::try_from(side).ok()).collect(),
    };
    let (stride, pads) = (sides("strides", 1, 2), sides("pads", 0, 4));
    let dilation = attributes.ints("dilations").is_none_or(|sides| sides.iter().all(|&x| x == 1));
    let group = usize::try_from(attributes.int("group", 1)).ok();
    let pads = match (attributes.text("auto_pad"), pads.as_deref()) {
        ("" | "NOTSET", Some(&[top, left, bottom, right])) => {
            Some(Pads::Explicit([top, left, bottom, right]))
        }
        ("VALID", _) => Some(Pads::Explicit([0; 4])),
        ("SAME_UPPER", _) => Some(Pads::SameUpper),
        _ => None,
    };
    match (stride.as_deref(), pads, group) {
        (Some(&[rows, columns]), Some(pads), Some(group))
            if dilation && rows > 0 && columns > 0 =>
        {
            Op::Conv { stride: [rows, columns], pads, group }
        }
        _ => Op::Other("a convolution that is dilated, or padded in another way".into()),
    }
}

fn attribute(file: &[u8], field: &Field) -> Result<(String, Attribute), CheckpointError> {
    const WHAT: &str = "ONNX attribute";
    let mut message = field.message(file, WHAT)?;
    let (mut name, mut attribute) = (String::new(), Attribute::default());
    while let Some(field) = message.next()? {
        match field.number {
            1 => name = field.text(file, WHAT)?.to_owned(),
            2 => attribute.float = Some(field.float(WHAT)?),
            3 => attribute.int = Some(field.int(WHAT)?),
            4 => {
                let bytes = field.bytes(WHAT)?;
                attribute.text = String::from_utf8_lossy(&file[bytes]).into_owned();
            }
            5 => attribute.tensor = Some(field),
            8 => field.ints(file, WHAT, MAX_INTS, &mut attribute.ints)?,
            _ => {}
        }
    }
    Ok((name, attribute))
}
