//! Finding the dicts of tensors among the other things that a checkpoint's pickle holds.

use super::choice::{self, Choice, Rank, TensorDict};
use super::error::quote;
use super::modules::{self, Budget};
use super::pickle::{Id, Node, Pickle};
use super::{CheckpointError, Foreign};
use std::collections::{BTreeMap, HashSet, VecDeque};

/// Keys under which checkpoints keep the state dict, in order of preference.
const USUAL: [&str; 10] = [
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "module",
    "net",
    "network",
    "weights",
    "student",
    "teacher",
];

/// Keys of a moving average of the weights.
const AVERAGES: [&str; 12] = [
    "state_dict_ema",
    "model_ema",
    "model_state_dict_ema",
    "model_ema_state_dict",
    "ema_model_state_dict",
    "ema_state_dict",
    "params_ema",
    "ema_model",
    "ema",
    "averaged_model",
    "swa_model",
    "swa_state_dict",
];

/// Dicts inside dicts that are looked through.
const MAX_DEPTH: usize = 3;
/// Most dicts of tensors.
const MAX_DICTS: usize = 64;
/// Most items of dicts that are looked at.
const MAX_VISITS: usize = 1 << 20;
/// Most dicts and objects that are looked through.
const MAX_LOOKED_THROUGH: usize = 1 << 14;
/// Bytes of a dotted key.
const MAX_KEY_BYTES: usize = 256;
/// Objects that are kept by the tensor's name that they stand for.
const MAX_FOREIGN: usize = 4096;

/// The dicts of tensors in a pickle, and the contents of the one that is taken.
pub(super) struct Found {
    pub(super) dicts: Vec<TensorDict>,
    pub(super) choice: Choice,
    pub(super) tensors: Vec<(String, Id)>,
    pub(super) foreign: BTreeMap<String, Foreign>,
}

/// One dict: where it was found, and its values by name.
struct Candidate {
    rank: Rank,
    key: String,
    tensors: Vec<(String, Id)>,
    foreign: Vec<(String, Id)>,
}

/// The dicts of named tensors in a pickle that starts at `start`. `tensor` gives the tensor that a
/// value is or holds, if any.
pub(super) fn find(
    pickle: &Pickle<'_>,
    start: usize,
    key: Option<&str>,
    tensor: impl Fn(Id) -> Option<Id>,
) -> Result<Found, CheckpointError> {
    let mut candidates = candidates(pickle, &tensor)?;
    if candidates.is_empty() {
        return Err(object_instead(pickle).unwrap_or_else(|| none(pickle, start)));
    }
    let mut dicts: Vec<TensorDict> = candidates
        .iter()
        .map(|candidate| TensorDict {
            key: candidate.key.clone(),
            rank: candidate.rank,
            tensors: candidate
                .tensors
                .iter()
                .filter_map(|(name, id)| Some((name.clone(), pickle.tensor_info(*id)?)))
                .collect(),
        })
        .collect();
    choice::order(&mut dicts);
    let choice = choice::choose(&dicts, key)?;
    let taken = &dicts[choice.index].key;
    let taken = candidates.iter().position(|candidate| candidate.key == *taken).unwrap_or(0);
    let Candidate { tensors, foreign, .. } = candidates.swap_remove(taken);
    let mut names = HashSet::new();
    for (name, _) in &tensors {
        if !names.insert(name) {
            let (name, offset) = (name.to_owned(), start as u64);
            return Err(CheckpointError::DuplicateTensor { name, offset });
        }
    }
    let foreign = foreign
        .into_iter()
        .filter_map(|(name, id)| {
            let (global, at) = pickle.foreign(id)?;
            Some((name, Foreign { global, offset: at as u64 }))
        })
        .collect();
    Ok(Found { dicts, choice, tensors, foreign })
}

/// Every dict and module with tensors, the outermost first. A dict that holds itself, or that
/// several hold, is looked through once.
fn candidates(
    pickle: &Pickle<'_>,
    tensor: &impl Fn(Id) -> Option<Id>,
) -> Result<Vec<Candidate>, CheckpointError> {
    let mut budget = Budget::new();
    let mut found: Vec<Candidate> = Vec::new();
    let mut seen = HashSet::from([pickle.root]);
    let mut visits = 0;
    let mut queue = VecDeque::from([(String::new(), Rank::Other, pickle.root, 0)]);
    while let Some((key, rank, id, depth)) = queue.pop_front() {
        if found.len() == MAX_DICTS {
            break;
        }
        let mut candidate = Candidate { rank, key, tensors: Vec::new(), foreign: Vec::new() };
        let mut take = |name: &str, value: Id| {
            if let Some(tensor) = tensor(value) {
                budget.charge(name, 0)?;
                candidate.tensors.push((name.to_owned(), tensor));
            } else if matches!(pickle.node(value), Node::Opaque(_) | Node::Foreign(_))
                && candidate.foreign.len() < MAX_FOREIGN
            {
                budget.charge(name, 0)?;
                candidate.foreign.push((name.to_owned(), value));
            }
            Ok(())
        };
        if let Some(kind) = modules::kind(pickle, id) {
            modules::walk(pickle, id, kind, |name, value| take(&name, value))?;
        } else {
            let has_student = pickle.get(id, "student").is_some();
            for (name, value) in pickle.pairs(id) {
                visits += 1;
                if visits > MAX_VISITS {
                    break;
                }
                let Some(name) = pickle.name(name) else { continue };
                take(name, value)?;
                let prefix = &candidate.key;
                let is_dict = matches!(pickle.node(value), Node::Dict(_) | Node::Opaque(_));
                if is_dict
                    && depth < MAX_DEPTH
                    && prefix.len() + name.len() < MAX_KEY_BYTES
                    && seen.len() < MAX_LOOKED_THROUGH
                    && seen.insert(value)
                {
                    let rank = rank_of(candidate.rank, depth, name, has_student);
                    let key = match prefix.as_str() {
                        "" => name.to_owned(),
                        prefix => format!("{prefix}.{name}"),
                    };
                    queue.push_back((key, rank, value, depth + 1));
                }
            }
        }
        if !candidate.tensors.is_empty() {
            found.push(candidate);
        }
    }
    Ok(found)
}

/// The rank of the dict under `name` in a dict of rank `outer`.
fn rank_of(outer: Rank, depth: usize, name: &str, has_student: bool) -> Rank {
    const ITSELF: usize = 100;
    let average = AVERAGES.contains(&name) || (name == "teacher" && has_student);
    let usual = USUAL.iter().position(|usual| *usual == name);
    match (outer, usual) {
        // Below a key that says nothing, none does: an optimiser has parameters too.
        (Rank::Other, _) if depth > 0 => Rank::Other,
        (Rank::Average | Rank::PartOfAverage, Some(_)) => Rank::Average,
        _ if average => Rank::Average,
        // A dict inside another goes before the tensors beside it.
        (Rank::Usual(outer), Some(usual)) => Rank::Usual(outer / ITSELF * ITSELF + usual),
        (_, Some(usual)) => Rank::Usual((usual + 1) * ITSELF + ITSELF - 1),
        (_, None) => Rank::Other,
    }
}

/// The error of a pickle without a dict of tensors.
fn none(pickle: &Pickle<'_>, start: usize) -> CheckpointError {
    let found = match pickle.dict(pickle.root) {
        Some(pairs) => {
            let keys: Vec<_> =
                pairs.iter().filter_map(|&(key, _)| pickle.text(key)).take(8).map(quote).collect();
            format!("a dict of {} with the keys {}", pairs.len(), keys.join(", "))
        }
        None => pickle.kind(pickle.root).to_owned(),
    };
    CheckpointError::NoTensors { offset: start as u64, found }
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
    let usual = USUAL.iter().chain(&AVERAGES).find_map(|key| {
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
