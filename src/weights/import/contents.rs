//! What the reader of a container found in a file.

use super::choice::{self, Choice, TensorDict};
use super::facts::{self, Facts};
use super::pickle::Pickle;
use super::state_dict::Found;
use super::tensor::View;
use super::{CheckpointError, TensorInfo};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// A tensor's place: the number of the file, and the place in it.
type Placed = (usize, View);

/// An object of a pickle global outside the closed list, which stands under a tensor's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// `module.name` of the global that was to make the object.
    pub global: String,
    /// Offset of the opcode that was to call it.
    pub offset: u64,
}

/// The dicts of tensors in a file, and the tensors of the one that is taken.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) dicts: Vec<TensorDict>,
    pub(super) choice: Choice,
    pub(super) tensors: Vec<(String, View)>,
    /// Objects where tensors could stand.
    pub(super) foreign: BTreeMap<String, Foreign>,
    pub(super) facts: Facts,
    /// Globals outside the closed list that objects were to be made by.
    pub(super) objects: BTreeSet<String>,
}

impl Contents {
    /// The tensors of a container that has one dict.
    pub(super) fn of(tensors: Vec<(String, View)>) -> Contents {
        let infos: Vec<(String, TensorInfo)> =
            tensors.iter().map(|(name, view)| (name.clone(), view.info())).collect();
        Contents { dicts: vec![TensorDict::only(infos)], tensors, ..Contents::default() }
    }

    /// What was found in a pickle, with the tensors of the dict that is taken.
    pub(super) fn of_pickle(
        pickle: &Pickle<'_>,
        found: Found,
        tensors: Vec<(String, View)>,
    ) -> Contents {
        let Found { dicts, choice, foreign, .. } = found;
        let facts = facts::of_pickle(pickle);
        Contents { dicts, choice, tensors, foreign, facts, objects: pickle.objects() }
    }

    /// Adds another shard of the same dict.
    pub(super) fn join(&mut self, shard: Contents) {
        let dicts = std::mem::take(&mut self.dicts).into_iter().chain(shard.dicts);
        self.dicts = vec![TensorDict::only(dicts.flat_map(|dict| dict.tensors).collect())];
        self.choice = Choice::default();
        self.foreign.extend(shard.foreign);
        self.facts.extend(shard.facts);
        self.objects.extend(shard.objects);
    }

    /// Keeps those of the `tensors` under `key`, where it goes on into their names; removes the prefixes that
    /// wrappers add to every name.
    pub(super) fn named(
        &mut self,
        mut tensors: Vec<(String, Placed)>,
        key: Option<&str>,
    ) -> Result<BTreeMap<String, Placed>, CheckpointError> {
        if let [only] = &self.dicts[..] {
            // Readers of one dict know of no keys.
            self.choice = choice::choose(std::slice::from_ref(only), key)?;
        }
        let prefix = &self.choice.prefix;
        tensors.retain(|(name, _)| name.starts_with(prefix));
        let skip = prefix.len() + wrappers(&tensors, prefix.len());
        let foreign = std::mem::take(&mut self.foreign).into_iter();
        self.foreign = foreign
            .filter_map(|(name, object)| Some((name.get(skip..)?.to_owned(), object)))
            .collect();
        let mut views = BTreeMap::new();
        for (name, (part, view)) in tensors {
            match views.entry(name[skip..].to_owned()) {
                Entry::Vacant(entry) => entry.insert((part, view)),
                Entry::Occupied(entry) => {
                    return Err(CheckpointError::DuplicateTensor {
                        name: entry.key().clone(),
                        offset: view.offset() as u64,
                    });
                }
            };
        }
        Ok(views)
    }
}

/// Bytes after the first `skip` of every name that wrappers added.
fn wrappers(tensors: &[(String, Placed)], skip: usize) -> usize {
    const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];
    let mut len = 0;
    while let Some(prefix) = PREFIXES.iter().find(|prefix| {
        !tensors.is_empty()
            && tensors.iter().all(|(name, _)| name[skip + len..].starts_with(**prefix))
    }) {
        len += prefix.len();
    }
    len
}
