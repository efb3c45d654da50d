//! A pickle interpreter that builds plain data and descriptions of tensors, and nothing else.
//!
//! No code is looked up, imported or called. Opcodes are a closed list, and so are the globals that
//! have a meaning here, those that tensors are described with. Every other global is kept as its
//! name, and what it was to make is an opaque object, whose arguments, items and state are plain
//! data that can be looked through.
//!
//! Objects live in an arena and name each other by index, so that shared and cyclic references cost
//! nothing and nothing here recurses. Strings and array bytes stay where they are in the file. Every
//! opcode adds three objects at most, and the number of opcodes and objects is capped.

mod globals;
mod machine;
mod node;
mod objects;
mod operands;

pub(super) use globals::Global;
pub(super) use node::{Class, Id, NdArray, Node, Opaque, OtherStorage, Storage, Tensor};

use super::{CheckpointError, Dtype, TensorInfo};
use machine::Machine;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// The outcome of one pickle.
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    /// Dicts that were looked at as the state of a module, and whether they are one: many objects
    /// can have one state.
    module_states: RefCell<HashMap<Id, bool>>,
    /// Storages of other elements than plain numbers.
    pub(super) others: Vec<OtherStorage>,
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
        let Machine { nodes, others, pos: end, .. } = machine;
        Ok(Pickle { bytes, nodes, module_states: RefCell::default(), others, root, end })
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id.index()]
    }

    /// The text of a string object.
    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        self.node(id).text_range().and_then(|range| std::str::from_utf8(&self.bytes[range]).ok())
    }

    /// The text of a string object that is fit for a name: one string can be a key many times.
    pub(super) fn name(&self, id: Id) -> Option<&'a str> {
        self.text_within(id, 1024)
    }

    /// The text of a string object of at most `max` bytes.
    pub(super) fn text_within(&self, id: Id, max: usize) -> Option<&'a str> {
        self.node(id).text_range().filter(|range| range.len() <= max)?;
        self.text(id)
    }

    /// The element type and shape of a tensor or array, as described.
    pub(super) fn tensor_info(&self, id: Id) -> Option<TensorInfo> {
        let (dtype, shape) = match self.node(id) {
            Node::Tensor(tensor) => {
                let Node::Storage(storage) = self.node(tensor.storage) else { return None };
                (tensor.dtype.unwrap_or(storage.dtype), &tensor.shape)
            }
            Node::NdArray(Some(array)) => {
                (Dtype::from_numpy(self.text_at(&array.descr))?, &array.shape)
            }
            _ => return None,
        };
        Some(TensorInfo { dtype, shape: shape.clone() })
    }

    /// The bytes of a name that an object holds.
    pub(super) fn bytes_at(&self, range: &Range<usize>) -> &'a [u8] {
        &self.bytes[range.clone()]
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

    /// The items of a dict, or those of an opaque object: its own where it is a kind of dict, those
    /// of a dict that was its only argument, and its attributes.
    pub(super) fn pairs(&self, id: Id) -> impl Iterator<Item = (Id, Id)> {
        let (items, argument, state) = match self.node(id) {
            Node::Dict(pairs) => (&pairs[..], None, None),
            Node::Opaque(object) => (&object.pairs[..], self.argument(object), object.state),
            _ => (&[][..], None, None),
        };
        let copied = argument.and_then(|argument| self.dict(argument)).unwrap_or_default();
        let attributes = match state.map(|state| self.node(state)) {
            Some(Node::Dict(pairs)) => [&pairs[..], &[]],
            // A class with slots: `(attributes, slots)`.
            Some(Node::Tuple(parts)) => match parts[..] {
                [first, second] => [first, second].map(|part| self.dict(part).unwrap_or_default()),
                _ => [&[][..]; 2],
            },
            _ => [&[][..]; 2],
        };
        items.iter().chain(copied).chain(attributes.into_iter().flatten()).copied()
    }

    /// The only argument of the call that was to make an object.
    pub(super) fn argument(&self, object: &Opaque) -> Option<Id> {
        match self.node(object.args) {
            Node::Tuple(args) => match args[..] {
                [argument] => Some(argument),
                _ => None,
            },
            _ => None,
        }
    }

    /// The name of what an opaque object was to be made by, or of a global, and where.
    pub(super) fn foreign(&self, id: Id) -> Option<(String, usize)> {
        match self.node(id) {
            Node::Opaque(object) => Some((self.class_name(&object.class), object.at)),
            Node::Foreign(class) => match &**class {
                Class::Foreign(module, _) => Some((self.class_name(class), module.start)),
                Class::Known(name) => Some(((*name).to_owned(), 0)),
            },
            _ => None,
        }
    }

    fn class_name(&self, class: &Class) -> String {
        /// Bytes of each part: a pickle can hold a name of any length, many times over.
        const MAX_BYTES: usize = 128;
        match class {
            Class::Known(name) => (*name).to_owned(),
            Class::Foreign(module, name) => {
                let part = |range: &Range<usize>| {
                    let bytes = &self.bytes[range.clone()];
                    let cut = &bytes[..bytes.len().min(MAX_BYTES)];
                    let more = if cut.len() < bytes.len() { "..." } else { "" };
                    String::from_utf8_lossy(cut).into_owned() + more
                };
                format!("{}.{}", part(module), part(name))
            }
        }
    }

    /// The value of a dict's key, the last one where it was set twice.
    pub(super) fn get(&self, dict: Id, key: &str) -> Option<Id> {
        let pairs = self.dict(dict)?;
        pairs.iter().rev().find(|(k, _)| self.text_is(*k, key)).map(|&(_, value)| value)
    }

    /// Whether a dict is the state of a module, which `tells` is asked once.
    pub(super) fn is_module_state(&self, state: Id, tells: impl FnOnce() -> bool) -> bool {
        let known = self.module_states.borrow().get(&state).copied();
        known.unwrap_or_else(|| {
            let is_state = tells();
            self.module_states.borrow_mut().insert(state, is_state);
            is_state
        })
    }

    /// Every storage that the pickle refers to.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// Number of tensors that the pickle describes.
    pub(super) fn tensors(&self) -> usize {
        self.nodes.iter().filter(|node| matches!(node, Node::Tensor(_))).count()
    }

    /// Names of the globals that opaque objects were to be made by, the first ones found.
    pub(super) fn objects(&self) -> BTreeSet<String> {
        const MAX_NAMES: usize = 64;
        let mut names = BTreeSet::new();
        for node in &self.nodes {
            if names.len() == MAX_NAMES {
                break;
            }
            if let Node::Opaque(object) = node {
                names.insert(self.class_name(&object.class));
            }
        }
        names
    }

    /// Kind of an object, for messages.
    pub(super) fn kind(&self, id: Id) -> &'static str {
        self.node(id).kind()
    }
}
