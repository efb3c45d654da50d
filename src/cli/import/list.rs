//! `effnet import --list`: what a checkpoint holds.

use super::super::Status;
use super::super::output::{self, Out, count, thousands};
use effnet::weights::import::{Checkpoint, Facts, TensorDict, TensorInfo};
use effnet::weights::open_checkpoint;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// A file's contents, as JSON.
#[derive(Serialize)]
struct Listing<'a> {
    #[serde(serialize_with = "output::lossy")]
    path: &'a Path,
    container: String,
    dicts: Vec<Dict<'a>>,
    facts: &'a Facts,
    /// Classes of objects that the file describes and that were not made.
    objects: &'a BTreeSet<String>,
}

/// A dict of tensors.
#[derive(Serialize)]
struct Dict<'a> {
    /// Keys that lead to it, joined by dots; empty at the top.
    key: &'a str,
    /// Whether an import takes it.
    taken: bool,
    elems: u64,
    tensors: Vec<Tensor<'a>>,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    dtype: String,
    shape: &'a [usize],
}

impl<'a> Tensor<'a> {
    fn new((name, info): (&'a String, &'a TensorInfo)) -> Tensor<'a> {
        Tensor { name, dtype: info.dtype.to_string(), shape: &info.shape }
    }
}

/// The dicts of a file; with a key, the tensors under it.
fn dicts<'a>(checkpoint: &'a Checkpoint, key: Option<&'a str>) -> Vec<Dict<'a>> {
    if let Some(key) = key {
        let tensors: Vec<_> = checkpoint.tensors().iter().map(Tensor::new).collect();
        let elems = tensors
            .iter()
            .map(|tensor| tensor.shape.iter().fold(1u64, |all, &n| all.saturating_mul(n as u64)));
        let elems = elems.fold(0, u64::saturating_add);
        return vec![Dict { key, taken: true, elems, tensors }];
    }
    let taken = checkpoint.taken();
    let dict = |dict: &'a TensorDict| Dict {
        key: &dict.key,
        taken: std::ptr::eq(dict, taken),
        elems: dict.elems(),
        tensors: dict.tensors.iter().map(|(name, info)| Tensor::new((name, info))).collect(),
    };
    checkpoint.dicts().iter().map(dict).collect()
}

/// Prints what `path` holds.
pub fn run(path: &Path, key: Option<&str>, json: bool, out: &mut Out) -> anyhow::Result<Status> {
    let checkpoint = open_checkpoint(path, key)?;
    if let Some(note) = checkpoint.note() {
        output::note(&note);
    }
    let dicts = dicts(&checkpoint, key);
    let container = checkpoint.container().to_string();
    if json {
        let (facts, objects) = (checkpoint.facts(), checkpoint.objects());
        out.json(&Listing { path, container, dicts, facts, objects })?;
        return Ok(Status::Complete);
    }
    out.line(format_args!("{}: {container}", path.display()))?;
    for dict in &dicts {
        let title = if dict.key.is_empty() { "(top)".to_owned() } else { safe(dict.key) };
        let tensors = count(dict.tensors.len(), "tensor");
        let taken = if dict.taken && dicts.len() > 1 { ", taken" } else { "" };
        out.line(format_args!("\n{title}: {tensors}, {} elements{taken}", thousands(dict.elems)))?;
        let width = dict.tensors.iter().map(|tensor| tensor.name.chars().count()).max();
        let width = width.unwrap_or(0).min(60);
        for Tensor { name, dtype, shape } in &dict.tensors {
            out.line(format_args!("  {:<width$}  {dtype:<4}  {shape:?}", safe(name)))?;
        }
    }
    if !checkpoint.facts().is_empty() {
        out.line("\nfacts:")?;
        for (key, value) in checkpoint.facts() {
            const MAX_CHARS: usize = 100;
            let cut: String = value.chars().take(MAX_CHARS).collect();
            let more = if cut.len() < value.len() { "..." } else { "" };
            out.line(format_args!("  {}: {}{more}", safe(key), safe(&cut)))?;
        }
    }
    if !checkpoint.objects().is_empty() {
        let names: Vec<String> = checkpoint.objects().iter().map(|name| safe(name)).collect();
        out.line(format_args!("\nobjects that were not made: {}", names.join(", ")))?;
    }
    Ok(Status::Complete)
}

/// Text of a file without control characters.
fn safe(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}
