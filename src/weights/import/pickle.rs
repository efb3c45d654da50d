//! A pickle interpreter that builds plain data and descriptions of tensors, and nothing else.
//!
//! Opcodes and globals are closed lists; no code is looked up, imported or called. Objects live in
//! an arena and name each other by index, so that shared and cyclic references cost nothing and
//! nothing here recurses. Strings and array bytes stay where they are in the file. Every opcode
//! adds one object at most, and the number of opcodes and objects is capped.

mod globals;
mod machine;
mod node;
mod objects;
mod operands;

pub(super) use globals::Global;
pub(super) use node::{Id, NdArray, Node, Storage, Tensor};

use super::{CheckpointError, Dtype};
use machine::Machine;
use std::ops::Range;

/// The outcome of one pickle.
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    /// The object that STOP left.
    pub(super) root: Id,
    /// Offset of the byte after STOP.
    pub(super) end: usize,
}

impl<'a> Pickle<'a> {
    /// Interprets the pickle that starts at `start`. Offsets, in errors and in objects, are those
    /// of `bytes`.
    pub(super) fn load(bytes: &'a [u8], start: usize) -> Result<Pickle<'a>, CheckpointError> {
        let mut machine = Machine::new(bytes, start);
        let root = machine.run()?;
        Ok(Pickle { bytes, nodes: machine.nodes, root, end: machine.pos })
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id.index()]
    }

    /// The text of a string object.
    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        self.node(id).text_range().and_then(|range| std::str::from_utf8(&self.bytes[range]).ok())
    }

    /// Whether an object is a string, without a look at its bytes.
    pub(super) fn is_text(&self, id: Id) -> bool {
        self.node(id).text_range().is_some()
    }

    /// Whether an object is the string `word`.
    pub(super) fn text_is(&self, id: Id, word: &str) -> bool {
        self.node(id).text_range().is_some_and(|range| &self.bytes[range] == word.as_bytes())
    }

    /// The text at `range`, which a string object named.
    pub(super) fn text_at(&self, range: &Range<usize>) -> &'a str {
        std::str::from_utf8(&self.bytes[range.clone()]).unwrap_or_default()
    }

    /// The pairs of a dict.
    pub(super) fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The value of a dict's key, the last one where it was set twice.
    pub(super) fn get(&self, dict: Id, key: &str) -> Option<Id> {
        let pairs = self.dict(dict)?;
        pairs.iter().rev().find(|(k, _)| self.text_is(*k, key)).map(|&(_, value)| value)
    }

    /// Every storage that the pickle refers to.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// Kind of an object, for messages.
    pub(super) fn kind(&self, id: Id) -> &'static str {
        self.node(id).kind()
    }
}
