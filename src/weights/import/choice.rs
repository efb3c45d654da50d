//! Which of a checkpoint's dicts of tensors is taken.

use super::error::quote;
use super::{CheckpointError, TensorInfo};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A dict of named tensors in a checkpoint, or the tensors of a module in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorDict {
    /// Keys that lead to the dict, joined by dots; empty for the outermost object.
    pub key: String,
    /// Rank of the dict when none is asked for.
    pub(super) rank: Rank,
    /// Names and descriptions, in the file's order.
    pub tensors: Vec<(String, TensorInfo)>,
}

/// What a dict's key says about it, the preferred first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// The moving average of a model: what timm takes.
    Average,
    /// The usual key at this place in the list of such keys.
    Usual(usize),
    /// Another key, or none.
    Other,
    /// The moving average of a part of a model, such as of its parameters without its statistics.
    PartOfAverage,
}

impl TensorDict {
    /// The dict of a container that has only one.
    pub(super) fn only(tensors: Vec<(String, TensorInfo)>) -> TensorDict {
        TensorDict { key: String::new(), rank: Rank::Other, tensors }
    }

    /// Elements of all tensors.
    pub fn elems(&self) -> u64 {
        let elems = |(_, info): &(String, TensorInfo)| {
            info.shape.iter().fold(1u64, |all, &n| all.saturating_mul(n as u64))
        };
        self.tensors.iter().map(elems).fold(0, u64::saturating_add)
    }

    /// Tensors that inference needs: training counts its steps where it likes.
    fn weights(&self) -> usize {
        self.tensors.iter().filter(|(name, _)| !name.ends_with("num_batches_tracked")).count()
    }

    /// The key in a message.
    fn title(&self) -> &str {
        if self.key.is_empty() { "the outermost dict" } else { &self.key }
    }
}

/// The dict that is taken, and the prefix that its tensors' names must have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) index: usize,
    pub(super) prefix: String,
}

/// Orders dicts: a moving average, if it is one of a whole model; usual keys; the others by their
/// number of tensors.
pub(super) fn order(dicts: &mut [TensorDict]) {
    let usual = dicts.iter().filter(|dict| match dict.rank {
        Rank::Usual(_) => true,
        rank => rank == Rank::Other && dict.key.is_empty(),
    });
    let whole = usual.map(TensorDict::weights).max().unwrap_or(0);
    for dict in dicts.iter_mut() {
        if dict.rank == Rank::Average && dict.weights() < whole {
            dict.rank = Rank::PartOfAverage;
        }
    }
    dicts.sort_by_key(|dict| (dict.rank, std::cmp::Reverse(dict.tensors.len())));
}

/// The dict that `key` names, or the first. A key may go on into the names of a dict's tensors, as
/// in `state_dict.teacher`, or be the start of such names alone.
pub(super) fn choose(dicts: &[TensorDict], key: Option<&str>) -> Result<Choice, CheckpointError> {
    let Some(key) = key else { return Ok(Choice::default()) };
    let plain = key.trim_end_matches('.');
    if let Some(index) = dicts.iter().position(|dict| dict.key == plain) {
        return Ok(Choice { index, prefix: String::new() });
    }
    let holding = |inside: &dyn Fn(&TensorDict) -> Option<String>| {
        dicts.iter().enumerate().find_map(|(index, dict)| {
            let prefix = format!("{}.", inside(dict).filter(|inside| !inside.is_empty())?);
            let held = dict.tensors.iter().any(|(name, _)| name.starts_with(&prefix));
            held.then_some(Choice { index, prefix })
        })
    };
    let below = holding(&|dict| Some(plain.strip_prefix(&dict.key)?.strip_prefix('.')?.to_owned()));
    below
        .or_else(|| holding(&|_| Some(plain.to_owned())))
        .ok_or_else(|| CheckpointError::UnknownKey { key: key.to_owned(), there: there(dicts) })
}

/// The keys that there are, for a message: the dicts', or the starts of the only one's names.
fn there(dicts: &[TensorDict]) -> String {
    const SHOWN: usize = 16;
    let keyed: Vec<_> = dicts.iter().filter(|dict| !dict.key.is_empty()).collect();
    let (list, more) = if keyed.is_empty() {
        let mut starts: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, _) in dicts.iter().flat_map(|dict| &dict.tensors) {
            *starts.entry(name.split('.').next().unwrap_or(name)).or_default() += 1;
        }
        let list = starts.iter().take(SHOWN).map(|(start, count)| entry(start, *count));
        (list.collect::<Vec<_>>(), starts.len() > SHOWN)
    } else {
        let list = keyed.iter().take(SHOWN).map(|dict| entry(&dict.key, dict.tensors.len()));
        (list.collect(), keyed.len() > SHOWN)
    };
    list.join(", ") + if more { ", ..." } else { "" }
}

fn entry(key: &str, tensors: usize) -> String {
    format!("{} ({tensors} tensors)", quote(key))
}

/// What was taken, where there was a choice or a moving average.
pub(super) fn note(dicts: &[TensorDict], choice: &Choice) -> Option<String> {
    let taken = dicts.get(choice.index)?;
    let average = matches!(taken.rank, Rank::Average | Rank::PartOfAverage);
    let others: Vec<_> = dicts
        .iter()
        .enumerate()
        .filter(|&(index, dict)| {
            index != choice.index && dict.tensors.len() * 2 >= taken.tensors.len()
        })
        .map(|(_, dict)| dict)
        .collect();
    if others.is_empty() && !average {
        return None;
    }
    let mut note = format!("took {}", taken.title());
    if average {
        note.push_str(", the moving average");
    }
    for other in others.iter().take(4) {
        let title = other.title();
        if other.rank == Rank::PartOfAverage {
            let (part, whole) = (other.weights(), taken.weights());
            let _ = write!(note, "; {title}, an average, has only {part} of {whole} tensors");
        } else {
            let _ = write!(note, "; {title} is there too");
        }
        if !other.key.is_empty() {
            let _ = write!(note, ": --key {}", other.key);
        }
    }
    Some(note.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
}
