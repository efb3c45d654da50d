//! Paddle 2's program: a `ProgramDesc`, with the field numbers of `framework.proto`.
//!
//! The first block's variables that are persistable, but for the queues of inputs and outputs, are
//! the parameters. Names are used again by operations that write where they read, so that a name
//! means what was written to it last.

use super::super::error::{corrupt, too_large, unsupported};
use super::super::graph::Builder;
use super::super::proto::{Field, MAX_INTS, Message};
use super::super::{CheckpointError, MAX_TENSORS};
use super::operation::{Operation, Setting};
use super::parameters::description;
use super::{Declared, Program, add_parameters};
use std::collections::{BTreeMap, HashMap};

const WHAT: &str = "Paddle program";

/// Whether a file starts like this one: a block, of index 0, whose parent is -1.
pub(in super::super) fn recognises(file: &[u8]) -> bool {
    let Some(rest) = file.strip_prefix(b"\x0a") else { return false };
    // The block's length: a number of at most ten bytes.
    let digits = rest.iter().take(9).take_while(|&&byte| byte >= 0x80).count();
    let root = b"\x08\x00\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    rest.get(digits + 1..).is_some_and(|rest| rest.starts_with(root))
}

/// Kinds of variables that are no tensors: `FEED_MINIBATCH`, `FETCH_LIST` and `RAW`.
const QUEUES: [i64; 3] = [9, 10, 17];

/// Reads a program.
pub(super) fn read(file: &[u8]) -> Result<Program, CheckpointError> {
    let mut program = Message::new(file, 0..file.len(), WHAT);
    let mut block = None;
    while let Some(field) = program.next()? {
        if field.number == 1 {
            if block.is_some() {
                let found = "more blocks, as loops and branches have";
                return Err(unsupported(WHAT, field.at, "one block", found));
            }
            block = Some(field.message(file, WHAT)?);
        }
    }
    let Some(block) = block else { return Err(corrupt(WHAT, 0, "a block", "none")) };

    let mut parameters = BTreeMap::new();
    let mut shapes = HashMap::new();
    let mut fields = block.clone();
    while let Some(field) = fields.next()? {
        if field.number != 3 {
            continue;
        }
        let variable = variable(file, &field)?;
        let variables = parameters.len() + shapes.len();
        if variables == MAX_TENSORS {
            let limit = MAX_TENSORS as u64;
            return Err(too_large("variables of a program", field.at, limit, limit + 1));
        }
        if variable.persistable && !QUEUES.contains(&variable.kind) {
            let declared = Declared { shape: variable.shape };
            if parameters.insert(variable.name.to_owned(), declared).is_some() {
                let (name, offset) = (variable.name.to_owned(), field.at as u64);
                return Err(CheckpointError::DuplicateTensor { name, offset });
            }
        } else {
            shapes.insert(variable.name, variable.shape);
        }
    }
    let mut builder = Builder::default();
    add_parameters(&mut builder, &parameters);
    let mut fields = block;
    while let Some(field) = fields.next()? {
        if field.number == 4 {
            builder.check(field.at)?;
            operation(file, &field, &shapes, &mut builder)?;
        }
    }
    if builder.graph.input_shape.is_empty() {
        return Err(unsupported(WHAT, 0, "an input, the images", "none"));
    }
    builder.graph.producer = "Paddle".to_owned();
    Ok(Program { builder, parameters })
}

struct Variable<'a> {
    name: &'a str,
    kind: i64,
    shape: Vec<i64>,
    persistable: bool,
}

/// A `VarDesc`: `name = 1; type = 2 {type = 1; lod_tensor = 3 {tensor = 1}}; persistable = 3`.
fn variable<'a>(file: &'a [u8], field: &Field) -> Result<Variable<'a>, CheckpointError> {
    let mut found = Variable { name: "", kind: 0, shape: vec![], persistable: false };
    let mut message = field.message(file, WHAT)?;
    while let Some(field) = message.next()? {
        match field.number {
            1 => found.name = field.text(file, WHAT)?,
            2 => {
                let mut kind = field.message(file, WHAT)?;
                while let Some(field) = kind.next()? {
                    match field.number {
                        1 => found.kind = field.int(WHAT)?,
                        3 => {
                            let mut dense = field.message(file, WHAT)?;
                            while let Some(field) = dense.next()? {
                                if field.number == 1 {
                                    found.shape = description(field.message(file, WHAT)?)?.1;
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
            3 => found.persistable = field.int(WHAT)? != 0,
            _ => {}
        }
    }
    Ok(found)
}

/// The names of an operation's inputs, in the order that Paddle 3 gives them.
fn order(kind: &str) -> &'static [&'static str] {
    match kind {
        "conv2d" | "depthwise_conv2d" => &["Input", "Filter", "Bias"],
        "batch_norm" | "sync_batch_norm" => &["X", "Mean", "Variance", "Scale", "Bias"],
        "slice" => &["Input"],
        "reshape2" | "reshape" => &["X", "Shape"],
        _ => &["X", "Y"],
    }
}

/// Adds an `OpDesc`: `inputs = 1; outputs = 2; type = 3; attrs = 4`.
fn operation(
    file: &[u8],
    field: &Field,
    shapes: &HashMap<&str, Vec<i64>>,
    builder: &mut Builder,
) -> Result<(), CheckpointError> {
    let at = field.at;
    let (mut inputs, mut outputs) = (HashMap::new(), Vec::new());
    let mut kind = "";
    let mut settings = HashMap::new();
    let mut message = field.message(file, WHAT)?;
    while let Some(field) = message.next()? {
        match field.number {
            1 => {
                if let (role, Some(name)) = argument(file, &field)? {
                    inputs.insert(role, name);
                }
            }
            2 => {
                if let (role, Some(name)) = argument(file, &field)? {
                    outputs.push((role, name));
                }
            }
            3 => kind = field.text(file, WHAT)?,
            4 => {
                if let Some((name, setting)) = attribute(file, &field)? {
                    settings.insert(name, setting);
                }
            }
            _ => {}
        }
    }
    let main = outputs.iter().find(|(role, _)| matches!(*role, "Out" | "Output" | "Y"));
    let output = main.or(outputs.first()).map_or("", |(_, name)| *name);
    match kind {
        "feed" => {
            if !builder.graph.input_shape.is_empty() {
                return Err(unsupported(WHAT, at, "one input, the images", "more"));
            }
            let shape = shapes.get(output).cloned().unwrap_or_default();
            let side = |&side: &i64| usize::try_from(side).ok().filter(|&side| side > 0);
            builder.input(output, shape.iter().map(side).collect());
            Ok(())
        }
        "fetch" => {
            let id = builder.find(inputs.get("X").copied().unwrap_or_default(), at)?;
            builder.graph.outputs.push(id);
            Ok(())
        }
        _ => {
            let inputs = order(kind)
                .iter()
                .map(|role| inputs.get(role).copied().unwrap_or_default().to_owned())
                .collect();
            let output = output.to_owned();
            let name = String::new();
            Operation { kind, name, inputs, output, settings, at }.add(builder)
        }
    }
}

/// `OpDesc.Var`: `parameter = 1; arguments = 2`; the first argument.
fn argument<'a>(
    file: &'a [u8],
    field: &Field,
) -> Result<(&'a str, Option<&'a str>), CheckpointError> {
    let mut message = field.message(file, WHAT)?;
    let (mut role, mut name) = ("", None);
    while let Some(field) = message.next()? {
        match field.number {
            1 => role = field.text(file, WHAT)?,
            2 if name.is_none() => name = Some(field.text(file, WHAT)?),
            _ => {}
        }
    }
    Ok((role, name))
}

/// `OpDesc.Attr`: `name = 1; type = 2`, and the value in a field of its type's own.
fn attribute(file: &[u8], field: &Field) -> Result<Option<(String, Setting)>, CheckpointError> {
    let mut message = field.message(file, WHAT)?;
    let mut name = "";
    let mut setting = None;
    let mut list = None;
    while let Some(field) = message.next()? {
        match field.number {
            1 => name = field.text(file, WHAT)?,
            // i, b, l.
            3 | 10 | 13 => setting = Some(Setting::Number(field.int(WHAT)? as i32 as f64)),
            // f, float64.
            4 | 19 => setting = Some(Setting::Number(field.float(WHAT)?)),
            5 => setting = Some(Setting::Text(field.text(file, WHAT)?.to_owned())),
            // ints, longs.
            6 | 15 => field.ints(file, WHAT, MAX_INTS, list.get_or_insert_default())?,
            _ => {}
        }
    }
    let list =
        list.map(|list: Vec<i64>| Setting::Numbers(list.iter().map(|&x| x as f64).collect()));
    Ok(list.or(setting).map(|setting| (name.to_owned(), setting)))
}
