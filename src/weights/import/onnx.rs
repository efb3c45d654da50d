//! ONNX files: a network as a graph, and its constants as the checkpoint's tensors.
//!
//! Only what an EfficientNet needs of `onnx.proto` is read, with the official field numbers; an
//! operation beyond that is kept by its name, for whoever walks the graph to refuse. Subgraphs and
//! functions are not entered. Opsets 7 and later: an operation's settings may be attributes or
//! inputs, and both are taken.

mod node;
mod tensor;

use super::error::{corrupt, quote, too_large, unsupported};
use super::exported::Beside;
use super::graph::{Builder, Constant, Graph};
use super::proto::{Field, Message, Value};
use super::tensor::View;
use super::{CheckpointError, Dtype, MAX_TENSORS};
use std::path::Path;

/// A graph, its tensors, and the files beside it that hold some of them.
pub(super) struct Indexed {
    pub(super) graph: Graph,
    pub(super) tensors: Vec<(String, View)>,
    pub(super) beside: Vec<Beside>,
}

/// Whether a file starts like this format, which has no mark of its own: a version, then fields of
/// a model only, one of which is the graph. A graph that is cut off counts.
pub(super) fn recognises(file: &[u8]) -> bool {
    const GRAPH: u32 = 7;
    const GRAPH_TAG: u8 = 0x3a;
    if !matches!(file, [0x08, 1..=63, ..]) {
        return false;
    }
    let mut model = Message::new(file, 0..file.len(), "ONNX model");
    loop {
        let at = model.position();
        match model.next() {
            Ok(Some(Field { number: GRAPH, value: Value::Bytes(_), .. })) => return true,
            Ok(Some(Field { number: 1..=8 | 14 | 20 | 25, .. })) => {}
            Ok(_) => return false,
            Err(_) => return file.get(at) == Some(&GRAPH_TAG),
        }
    }
}

/// Reads the graph of `file`; `folder` is where files beside it are looked for.
pub(super) fn index(file: &[u8], folder: Option<&Path>) -> Result<Indexed, CheckpointError> {
    let mut model = Message::new(file, 0..file.len(), "ONNX model");
    let (mut graph, mut opset) = (None, None);
    let mut builder = Builder::default();
    let mut producer = String::new();
    while let Some(field) = model.next()? {
        match field.number {
            2 => producer = field.text(file, "producer_name")?.to_owned(),
            7 if graph.is_some() => {
                return Err(unsupported("ONNX model", field.at, "one graph", "another"));
            }
            7 => graph = Some(field.bytes("graph")?),
            8 => {
                let (domain, version) = opset_import(file, &field)?;
                if domain.is_empty() || domain == "ai.onnx" {
                    opset = Some((version, field.at));
                }
            }
            14 => {
                let (key, value) = pair(file, &field)?;
                builder.graph.properties.insert(key, value);
            }
            _ => {}
        }
    }
    let Some(graph) = graph else {
        let end = file.len() as u64;
        let what = "ONNX model: its graph";
        return Err(CheckpointError::Truncated { what, offset: end, needed: 1, remaining: 0 });
    };
    match opset {
        Some((version, _)) if version >= MIN_OPSET => {}
        Some((version, at)) => {
            let expected = format!("{MIN_OPSET} or later");
            return Err(unsupported("ONNX opset", at, expected, version.to_string()));
        }
        None => return Err(corrupt("ONNX model", 0, "an opset", "none")),
    }
    builder.graph.producer = producer;
    let mut reader =
        Reader { file, builder, tensors: Vec::new(), beside: tensor::Beside::new(folder) };
    reader.graph(Message::new(file, graph, "ONNX graph"))?;
    let Reader { builder, tensors, beside, .. } = reader;
    Ok(Indexed { graph: builder.graph, tensors, beside: beside.files() })
}

/// The first opset whose operations are as they are today, but for settings that became inputs.
const MIN_OPSET: i64 = 7;

struct Reader<'a> {
    file: &'a [u8],
    builder: Builder,
    tensors: Vec<(String, View)>,
    beside: tensor::Beside<'a>,
}

impl Reader<'_> {
    fn graph(&mut self, message: Message<'_>) -> Result<(), CheckpointError> {
        let file = self.file;
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        // Nodes stand before the constants that they read.
        let mut fields = message.clone();
        while let Some(field) = fields.next()? {
            match field.number {
                2 => {
                    let name = field.text(file, "graph's name")?;
                    if !name.is_empty() {
                        let producer = &mut self.builder.graph.producer;
                        let joined = format!("{producer} {name}");
                        *producer = joined.trim().to_owned();
                    }
                }
                5 => {
                    self.builder.check(field.at)?;
                    let tensor = tensor::read(file, &field, &mut self.beside)?;
                    let name = tensor.name.clone();
                    self.constant(&name, tensor, field.at)?;
                }
                11 | 12 if inputs.len() + outputs.len() == MAX_TENSORS => {
                    let limit = MAX_TENSORS as u64;
                    let what = "inputs and outputs of a graph";
                    return Err(too_large(what, field.at, limit, limit + 1));
                }
                11 => inputs.push(value_info(file, &field)?),
                12 => outputs.push((value_info(file, &field)?.0, field.at)),
                15 => {
                    let found = "a sparse initializer";
                    return Err(unsupported("ONNX graph", field.at, "dense tensors", found));
                }
                _ => {}
            }
        }
        // Before IR version 4 the constants are inputs too.
        inputs.retain(|(name, _)| !self.builder.has(name));
        let [(input, shape)] = &inputs[..] else {
            let names: Vec<_> = inputs.iter().take(4).map(|(name, _)| quote(name)).collect();
            let found = format!("{} inputs: {}", inputs.len(), names.join(", "));
            return Err(unsupported("ONNX graph", 0, "one input, the images", found));
        };
        self.builder.input(input, shape.clone());

        let mut fields = message;
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                self.builder.check(field.at)?;
                self.node(&field)?;
            }
        }
        for (name, at) in outputs {
            let id = self.builder.find(&name, at)?;
            self.builder.graph.outputs.push(id);
        }
        Ok(())
    }

    /// Adds a tensor under `name`: to the graph, and to the tensors if it holds numbers.
    fn constant(
        &mut self,
        name: &str,
        tensor: tensor::Tensor,
        at: usize,
    ) -> Result<(), CheckpointError> {
        if self.builder.has(name) {
            let (name, offset) = (name.to_owned(), at as u64);
            return Err(CheckpointError::DuplicateTensor { name, offset });
        }
        let tensor::Tensor { shape, view, small, .. } = tensor;
        if let Some(view) = view {
            self.tensors.push((name.to_owned(), view));
        }
        self.builder.constant(name, Constant { name: name.to_owned(), shape, small });
        Ok(())
    }
}

fn opset_import<'a>(file: &'a [u8], field: &Field) -> Result<(&'a str, i64), CheckpointError> {
    let mut message = field.message(file, "opset_import")?;
    let (mut domain, mut version) = ("", 0);
    while let Some(field) = message.next()? {
        match field.number {
            1 => domain = field.text(file, "opset's domain")?,
            2 => version = field.int("opset's version")?,
            _ => {}
        }
    }
    Ok((domain, version))
}

/// A `StringStringEntryProto`.
fn pair(file: &[u8], field: &Field) -> Result<(String, String), CheckpointError> {
    let mut message = field.message(file, "key and value")?;
    let (mut key, mut value) = (String::new(), String::new());
    while let Some(field) = message.next()? {
        match field.number {
            1 => key = field.text(file, "key")?.to_owned(),
            2 => value = field.text(file, "value")?.to_owned(),
            _ => {}
        }
    }
    Ok((key, value))
}

/// Most axes of an input.
const MAX_AXES: usize = 16;

/// Name of an input or output, and its declared sides: `None` for one that has a name or nothing.
fn value_info(file: &[u8], field: &Field) -> Result<(String, Vec<Option<usize>>), CheckpointError> {
    let mut message = field.message(file, "value_info")?;
    let (mut name, mut shape) = (String::new(), Vec::new());
    // name = 1; type = 2 {tensor_type = 1 {shape = 2 {dim = 1 {dim_value = 1}}}}.
    while let Some(field) = message.next()? {
        match field.number {
            1 => name = field.text(file, "value's name")?.to_owned(),
            2 => {
                for tensor in nested(file, &field, 1)? {
                    for sides in nested(file, &tensor, 2)? {
                        for side in nested(file, &sides, 1)? {
                            if shape.len() == MAX_AXES {
                                let limit = MAX_AXES as u64;
                                return Err(too_large(
                                    "axes of a value",
                                    side.at,
                                    limit,
                                    limit + 1,
                                ));
                            }
                            shape.push(dimension(file, &side)?);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok((name, shape))
}

/// The fields of this number in the message that `field` holds.
fn nested(file: &[u8], field: &Field, number: u32) -> Result<Vec<Field>, CheckpointError> {
    let mut message = field.message(file, "value's type")?;
    let mut found = Vec::new();
    while let Some(field) = message.next()? {
        if field.number == number {
            if found.len() == MAX_AXES {
                let limit = MAX_AXES as u64;
                return Err(too_large("axes of a value", field.at, limit, limit + 1));
            }
            found.push(field);
        }
    }
    Ok(found)
}

fn dimension(file: &[u8], field: &Field) -> Result<Option<usize>, CheckpointError> {
    let mut message = field.message(file, "dimension")?;
    let mut side = None;
    while let Some(field) = message.next()? {
        if let (1, Value::Varint(number)) = (field.number, &field.value) {
            side = usize::try_from(*number as i64).ok().filter(|&side| side > 0);
        }
    }
    Ok(side)
}

/// The element type of an ONNX `data_type`.
fn dtype(number: i64) -> Option<Dtype> {
    Some(match number {
        1 => Dtype::F32,
        2 => Dtype::U8,
        3 => Dtype::I8,
        4 => Dtype::U16,
        5 => Dtype::I16,
        6 => Dtype::I32,
        7 => Dtype::I64,
        9 => Dtype::Bool,
        10 => Dtype::F16,
        11 => Dtype::F64,
        12 => Dtype::U32,
        13 => Dtype::U64,
        16 => Dtype::Bf16,
        _ => return None,
    })
}
