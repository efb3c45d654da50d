//! The tensors of modules, read out of the plain dicts that a module's state is made of.
//!
//! `torch.save(model)` pickles each module as an object whose attributes `_parameters`, `_buffers`
//! and `_modules` are dicts. A TorchScript archive has one object for each module, whose attributes
//! are its tensors and its submodules. Neither kind of object is made; names are what
//! `state_dict()` would give.

use super::error::too_large;
use super::pickle::{Class, Id, Node, Pickle};
use super::{CheckpointError, MAX_TENSORS};
use std::cell::Cell;
use std::collections::HashSet;

/// Modules inside modules. EfficientNet's need five.
const MAX_DEPTH: usize = 64;
/// Modules of one tree: a module that holds itself has no end. B8 has about 1 400.
const MAX_MODULES: usize = 1 << 15;
/// Attributes of one module.
const MAX_ATTRIBUTES: usize = 4096;
/// Items of the dicts of all modules of one tree, which can share a dict.
const MAX_ITEMS: usize = 1 << 20;
/// Bytes of the name of a module.
const MAX_NAME_BYTES: usize = 1024;

/// Limits of what is listed: names of modules are made of many parts, and a part can be shared.
pub(super) struct Budget {
    tensors: usize,
    name_bytes: usize,
}

impl Budget {
    const MAX_NAME_BYTES: usize = 16 << 20;

    pub(super) fn new() -> Budget {
        Budget { tensors: MAX_TENSORS, name_bytes: Self::MAX_NAME_BYTES }
    }

    /// Counts a named tensor.
    pub(super) fn charge(&mut self, name: &str, at: usize) -> Result<(), CheckpointError> {
        let names = Self::MAX_NAME_BYTES as u64;
        self.name_bytes = match self.name_bytes.checked_sub(name.len()) {
            Some(left) => left,
            None => return Err(too_large("bytes of tensor names", at, names, names + 1)),
        };
        let tensors = MAX_TENSORS as u64;
        self.tensors = match self.tensors.checked_sub(1) {
            Some(left) => left,
            None => return Err(too_large("tensors of all dicts", at, tensors, tensors + 1)),
        };
        Ok(())
    }
}

/// The two ways in which modules are pickled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ModuleKind {
    /// A `torch.nn.Module`.
    Python,
    /// A module of TorchScript.
    Script,
}

/// The kind of module that an object is.
pub(super) fn kind(pickle: &Pickle<'_>, id: Id) -> Option<ModuleKind> {
    let Node::Opaque(object) = pickle.node(id) else { return None };
    if matches!(&object.class, Class::Foreign(module, _)
        if pickle.bytes_at(module).starts_with(b"__torch__"))
    {
        return Some(ModuleKind::Script);
    }
    let state = object.state?;
    if pickle.dict(state).is_none_or(|pairs| pairs.len() > MAX_ATTRIBUTES) {
        return None;
    }
    let has = |key| pickle.get(state, key).is_some_and(|id| pickle.dict(id).is_some());
    let is_state = pickle.is_module_state(state, || has("_parameters") && has("_modules"));
    is_state.then_some(ModuleKind::Python)
}

/// The tensors of the module `root` in the order of its state dict. `visit` is told the name and the
/// value of each.
pub(super) fn walk(
    pickle: &Pickle<'_>,
    root: Id,
    kind: ModuleKind,
    mut visit: impl FnMut(String, Id) -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let at = pickle.foreign(root).map_or(0, |(_, at)| at);
    let mut stack = vec![(String::new(), root, 0)];
    let mut modules = 0;
    let seen = Cell::new(0);
    while let Some((prefix, id, depth)) = stack.pop() {
        modules += 1;
        for (what, limit, found) in [
            ("modules", MAX_MODULES, modules),
            ("modules inside modules", MAX_DEPTH, depth),
            ("items of modules", MAX_ITEMS, seen.get()),
            ("bytes of a module's name", MAX_NAME_BYTES, prefix.len()),
        ] {
            if found > limit {
                return Err(too_large(what, at, limit as u64, found as u64));
            }
        }
        let mut children = Vec::new();
        match kind {
            ModuleKind::Script => {
                for (key, value) in pickle.pairs(id) {
                    seen.set(seen.get() + 1);
                    let Some(name) = pickle.name(key) else { continue };
                    if self::kind(pickle, value) == Some(ModuleKind::Script) {
                        children.push((name, value));
                    } else if matches!(pickle.node(value), Node::Tensor(_)) {
                        visit(format!("{prefix}{name}"), value)?;
                    }
                }
            }
            ModuleKind::Python => {
                let Node::Opaque(object) = pickle.node(id) else { continue };
                let Some(state) = object.state else { continue };
                let transient = pickle.get(state, "_non_persistent_buffers_set");
                let transient: HashSet<&str> = match transient.map(|id| pickle.node(id)) {
                    Some(Node::List(names)) => {
                        let names = names.iter().take(MAX_ATTRIBUTES);
                        seen.set(seen.get() + names.len());
                        names.filter_map(|&name| pickle.name(name)).collect()
                    }
                    _ => HashSet::new(),
                };
                let items = |key| {
                    let dict = pickle.get(state, key).and_then(|id| pickle.dict(id));
                    let dict = dict.unwrap_or_default();
                    seen.set(seen.get() + dict.len());
                    dict.iter().filter_map(|&(key, value)| Some((pickle.name(key)?, value)))
                };
                for (name, value) in items("_parameters") {
                    visit(format!("{prefix}{name}"), value)?;
                }
                for (name, value) in items("_buffers").filter(|(name, _)| !transient.contains(name))
                {
                    visit(format!("{prefix}{name}"), value)?;
                }
                let modules = items("_modules");
                children.extend(
                    modules.filter(|&(_, id)| self::kind(pickle, id) == Some(ModuleKind::Python)),
                );
            }
        }
        let waiting = stack.len() + children.len();
        if waiting > MAX_MODULES {
            return Err(too_large("modules", at, MAX_MODULES as u64, waiting as u64));
        }
        for (name, child) in children.into_iter().rev() {
            stack.push((format!("{prefix}{name}."), child, depth + 1));
        }
    }
    Ok(())
}
