//! Finding the state dict among the other things that a checkpoint's pickle holds.

use super::CheckpointError;
use super::error::quote;
use super::pickle::{Id, Pickle};
use std::collections::HashSet;

/// Keys under which checkpoints keep the state dict, in order of preference: averaged weights only
/// where there are no others.
const WRAPPERS: [&str; 13] = [
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "module",
    "net",
    "network",
    "weights",
    "state_dict_ema",
    "model_ema",
    "params_ema",
    "ema_state_dict",
    "ema",
];

/// Most wrappers that may be nested.
const MAX_WRAPPERS: usize = 2;

/// The named tensors of a pickle. `tensor` gives the tensor that a value is or holds, if any.
pub(super) fn find(
    pickle: &Pickle<'_>,
    start: usize,
    tensor: impl Fn(Id) -> Option<Id>,
) -> Result<Vec<(String, Id)>, CheckpointError> {
    let Some(dict) = search(pickle, pickle.root, MAX_WRAPPERS, &tensor, &mut Vec::new()) else {
        if let Some(error) = object_instead(pickle) {
            return Err(error);
        }
        let found = match pickle.dict(pickle.root) {
            Some(pairs) => {
                let keys: Vec<_> = pairs
                    .iter()
                    .filter_map(|&(key, _)| pickle.text(key))
                    .take(8)
                    .map(quote)
                    .collect();
                format!("a dict of {} with the keys {}", pairs.len(), keys.join(", "))
            }
            None => pickle.kind(pickle.root).to_owned(),
        };
        return Err(CheckpointError::NoTensors { offset: start as u64, found });
    };
    let mut names = HashSet::new();
    let mut tensors = Vec::new();
    for &(key, value) in pickle.dict(dict).unwrap_or_default() {
        let Some(tensor) = tensor(value) else { continue };
        let Some(name) = pickle.text(key) else { continue };
        if !names.insert(name) {
            let (name, offset) = (name.to_owned(), start as u64);
            return Err(CheckpointError::DuplicateTensor { name, offset });
        }
        tensors.push((name.to_owned(), tensor));
    }
    Ok(tensors)
}

/// The error of an object that stands where the state dict should: at the top, under a usual key, or
/// as every value of a dict.
fn object_instead(pickle: &Pickle<'_>) -> Option<CheckpointError> {
    let error = |what: String, (global, offset)| {
        let (expected, offset) = ("a state dict of tensors", offset as u64);
        CheckpointError::ForbiddenGlobal { what, expected, offset, global }
    };
    if let Some(foreign) = pickle.foreign(pickle.root) {
        return Some(error("the checkpoint".to_owned(), foreign));
    }
    let pairs = pickle.dict(pickle.root)?;
    let usual = WRAPPERS.iter().find_map(|key| {
        let foreign = pickle.foreign(pickle.get(pickle.root, key)?)?;
        Some((quote(key), foreign))
    });
    let all = pairs.iter().all(|&(_, value)| pickle.foreign(value).is_some());
    let first = pairs.first().filter(|_| all);
    let first = || {
        let &(key, value) = first?;
        Some((quote(pickle.text(key)?), pickle.foreign(value)?))
    };
    usual.or_else(first).map(|(what, foreign)| error(what, foreign))
}

/// The dict that holds tensors: one under a usual key, else `dict` itself. `seen` are the dicts
/// searched before, for a dict can hold itself.
fn search(
    pickle: &Pickle<'_>,
    dict: Id,
    wrappers: usize,
    tensor: &impl Fn(Id) -> Option<Id>,
    seen: &mut Vec<Id>,
) -> Option<Id> {
    let pairs = pickle.dict(dict)?;
    if seen.contains(&dict) {
        return None;
    }
    seen.push(dict);
    if wrappers > 0 {
        let mut wrapped = WRAPPERS.iter().filter_map(|key| pickle.get(dict, key));
        let inner = wrapped.find_map(|value| search(pickle, value, wrappers - 1, tensor, seen));
        if inner.is_some() {
            return inner;
        }
    }
    let named = |&(key, value): &(Id, Id)| pickle.is_text(key) && tensor(value).is_some();
    pairs.iter().any(named).then_some(dict)
}
