//! Paddle 3's program: one JSON object, whose keys are abbreviated to a letter or two.
//!
//! `program.regions[0].blocks[0].ops` are the operations in order. Of each: `#` is its kind behind
//! a dialect's number, as in `1.conv2d`; `A` its settings, `{N: name, AT: {#: type, D: value}}`; `I`
//! its inputs and `O` its outputs, `{%: number, TT: {D: [type, sides, ..]}}`. A parameter is an
//! operation `p`, whose settings are a list that ends in its name.

use super::super::CheckpointError;
use super::super::error::{corrupt, quote, too_large, unsupported};
use super::super::graph::{Builder, Constant, Small};
use super::operation::{Operation, Setting};
use super::{Declared, Program, add_parameters};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

const WHAT: &str = "Paddle program";
/// Inputs of an operation that are looked at: the family's have five at most.
const MAX_INPUTS: usize = 16;
/// Objects in the text: B0's has 9 400 in 276 KB. One of eight bytes takes 640 when it is parsed.
const MAX_OBJECTS: usize = 1 << 16;
/// Where the mark of such a file stands at the latest.
const MARK_WITHIN: usize = 256;

/// Whether a file starts like this one.
pub(in super::super) fn recognises(file: &[u8]) -> bool {
    let start: Vec<u8> =
        file.iter().take(MARK_WITHIN).copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let mark = b"\"magic\":\"pir\"";
    start.first() == Some(&b'{') && start.windows(mark.len()).any(|window| window == mark)
}

/// Reads a program.
pub(super) fn read(file: &[u8]) -> Result<Program, CheckpointError> {
    // Those in strings are counted too, and are few.
    let objects = file.iter().filter(|&&byte| byte == b'{').count();
    if objects > MAX_OBJECTS {
        return Err(too_large("objects of a program", 0, MAX_OBJECTS as u64, objects as u64));
    }
    let program: Value = serde_json::from_slice(file).map_err(|error| {
        let at = if error.line() <= 1 { error.column() } else { 0 };
        corrupt(WHAT, at, "JSON", error.to_string())
    })?;
    let blocks = &program["program"]["regions"][0]["blocks"];
    let Some(ops) = blocks[0]["ops"].as_array() else {
        return Err(corrupt(WHAT, 0, "program.regions[0].blocks[0].ops", "no such list"));
    };
    let mut builder = Builder::default();
    // Numbers of the parameters' values, as they are declared.
    let mut parameters = BTreeMap::new();
    let mut values = HashMap::new();
    for op in ops.iter().filter(|op| kind(op) == "p") {
        let name = op["A"].as_array().and_then(|settings| settings.last()?.as_str());
        let shape = sides(&op["O"]);
        let (Some(name), Some(shape)) = (name, shape) else {
            return Err(corrupt(WHAT, 0, "a name and sides of each parameter", brief(op)));
        };
        values.insert(number(&op["O"]), name);
        if parameters.insert(name.to_owned(), Declared { shape }).is_some() {
            let name = name.to_owned();
            return Err(CheckpointError::DuplicateTensor { name, offset: 0 });
        }
    }
    add_parameters(&mut builder, &parameters);
    let name_of = |value: &Value| match number(value) {
        0 => String::new(),
        id => values.get(&id).map_or_else(|| format!("%{id}"), |&name| name.to_owned()),
    };
    for op in ops {
        builder.check(0)?;
        let inputs = list(&op["I"]).iter().take(MAX_INPUTS).map(&name_of).collect::<Vec<_>>();
        let outputs = list(&op["O"]);
        let output = outputs.first().map(&name_of).unwrap_or_default();
        let settings = settings(&op["A"]);
        match kind(op) {
            "p" => {}
            "data" | "feed" => {
                if !builder.graph.input_shape.is_empty() {
                    return Err(unsupported(WHAT, 0, "one input, the images", "more"));
                }
                let shape = outputs.first().and_then(sides).unwrap_or_default();
                let side = |&side: &i64| usize::try_from(side).ok().filter(|&side| side > 0);
                builder.input(&output, shape.iter().map(side).collect());
            }
            "fetch" => {
                let input = inputs.first().map_or("", String::as_str);
                let id = builder.find(input, 0)?;
                builder.graph.outputs.push(id);
            }
            "full_int_array" | "full" => {
                let small = match (settings.get("value"), settings.get("shape")) {
                    (Some(Setting::Numbers(data)), _) => Some(Small::ints(data.clone())),
                    (Some(&Setting::Number(value)), _) => {
                        Some(Small { shape: vec![], data: vec![value], int: false })
                    }
                    _ => None,
                };
                let small = small.filter(|small| small.data.len() <= Small::MAX_ELEMS);
                let shape = small.as_ref().map_or(vec![], |small| small.shape.clone());
                builder.constant(&output, Constant { name: output.clone(), shape, small });
            }
            kind => {
                let name = match settings.get("struct_name") {
                    Some(Setting::Text(name)) => name.trim_matches('/').to_owned(),
                    _ => String::new(),
                };
                Operation { kind, name, inputs, output, settings, at: 0 }.add(&mut builder)?;
            }
        }
    }
    if builder.graph.input_shape.is_empty() {
        return Err(unsupported(WHAT, 0, "an input, the images", "none"));
    }
    builder.graph.producer = "Paddle".to_owned();
    Ok(Program { builder, parameters })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The operation's name behind its dialect's number.
fn kind(op: &Value) -> &str {
    let kind = op["#"].as_str().unwrap_or_default();
    kind.split_once('.').map_or(kind, |(_, kind)| kind)
}

/// The number of a value; 0 for one that is left out.
fn number(value: &Value) -> i64 {
    value["%"].as_i64().unwrap_or(0)
}

/// The sides that an output declares.
fn sides(output: &Value) -> Option<Vec<i64>> {
    output["TT"]["D"].get(1)?.as_array()?.iter().map(Value::as_i64).collect()
}

fn brief(op: &Value) -> String {
    quote(&op.to_string())
}

fn plain(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::Number(number) => number.as_f64(),
        _ => None,
    }
}

fn settings(list: &Value) -> HashMap<String, Setting> {
    let mut settings = HashMap::new();
    for setting in list.as_array().into_iter().flatten() {
        let Some(name) = setting["N"].as_str() else { continue };
        let setting = match &setting["AT"]["D"] {
            Value::String(text) => Setting::Text(text.clone()),
            Value::Array(items) => {
                // Items are plain, or objects of their own.
                let number = |item: &Value| plain(item).or_else(|| plain(&item["D"]));
                match items.iter().map(number).collect() {
                    Some(numbers) => Setting::Numbers(numbers),
                    None => continue,
                }
            }
            value => match plain(value) {
                Some(number) => Setting::Number(number),
                None => continue,
            },
        };
        settings.insert(name.to_owned(), setting);
    }
    settings
}
