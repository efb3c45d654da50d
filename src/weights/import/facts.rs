//! What a checkpoint says about itself beside its tensors.

use super::modules::{self, ModuleKind};
use super::pickle::{Id, Node, Pickle};
use std::collections::{BTreeMap, VecDeque};

/// Text, numbers and truth values by dotted key, as in `args.model`.
pub type Facts = BTreeMap<String, String>;

/// Most facts that are kept; those nearest to the top are found first.
const MAX_FACTS: usize = 4096;
/// Most items of dicts that are looked at.
const MAX_VISITS: usize = 1 << 16;
/// Dicts inside dicts.
const MAX_DEPTH: usize = 8;
/// Bytes of a dotted key.
const MAX_KEY_BYTES: usize = 256;
/// Bytes of a value's text; longer ones are no names of anything.
const MAX_VALUE_BYTES: usize = 4096;
/// Elements of a list of plain values.
const MAX_ITEMS: usize = 1024;

/// Attributes that hold the dict that an object stands for, as omegaconf's do: no part of a key.
const TRANSPARENT: [&str; 2] = ["_content", "_val"];

/// The facts of a pickle: of its dicts, and of the state of its opaque objects.
pub(super) fn of_pickle(pickle: &Pickle<'_>) -> Facts {
    let mut facts = Facts::new();
    let mut visits = 0;
    let mut queue = VecDeque::from([(String::new(), pickle.root, 0)]);
    while let Some((prefix, id, depth)) = queue.pop_front() {
        let is_object = matches!(pickle.node(id), Node::Opaque(_));
        for (key, value) in pickle.pairs(id) {
            visits += 1;
            if visits > MAX_VISITS || facts.len() == MAX_FACTS {
                return facts;
            }
            let Some(name) = pickle.name(key) else { continue };
            let transparent = is_object && TRANSPARENT.contains(&name);
            // The private attributes of modules and configurations are machinery.
            if is_object && name.starts_with('_') && !transparent {
                continue;
            }
            if prefix.len() + 1 + name.len() > MAX_KEY_BYTES {
                continue;
            }
            let path = match (transparent, prefix.as_str()) {
                (true, _) => prefix.clone(),
                (false, "") => name.to_owned(),
                (false, _) => format!("{prefix}.{name}"),
            };
            let listed = items(pickle, value);
            visits += listed.len();
            // A member of an enumeration is made from its value.
            let value = match pickle.node(value) {
                Node::Opaque(object) if object.state.is_none() && object.pairs.is_empty() => {
                    pickle.argument(object).unwrap_or(value)
                }
                _ => value,
            };
            if let Some(text) = plain(pickle, value).or_else(|| list(pickle, listed)) {
                facts.entry(path).or_insert(text);
            } else if depth < MAX_DEPTH
                && matches!(pickle.node(value), Node::Dict(_) | Node::Opaque(_))
                // The submodules of a script say nothing of their own.
                && modules::kind(pickle, value) != Some(ModuleKind::Script)
            {
                queue.push_back((path, value, depth + 1));
            }
        }
    }
    facts
}

/// The facts of a table of texts, such as safetensors' `__metadata__`.
pub(super) fn of_texts<'a>(texts: impl IntoIterator<Item = (&'a String, &'a String)>) -> Facts {
    texts
        .into_iter()
        .filter(|(key, value)| key.len() <= MAX_KEY_BYTES && value.len() <= MAX_VALUE_BYTES)
        .take(MAX_FACTS)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// A value that is text, a number or a truth value.
fn plain(pickle: &Pickle<'_>, id: Id) -> Option<String> {
    match pickle.node(id) {
        Node::Bool(value) => Some(value.to_string()),
        Node::Int(value) => Some(value.to_string()),
        Node::Float(value) => Some(value.to_string()),
        _ => pickle.text_within(id, MAX_VALUE_BYTES).map(str::to_owned),
    }
}

/// The items of a list or tuple, unless they are too many.
fn items<'p>(pickle: &'p Pickle<'_>, id: Id) -> &'p [Id] {
    let items = match pickle.node(id) {
        Node::List(items) => &items[..],
        Node::Tuple(items) => items,
        _ => &[],
    };
    if items.len() <= MAX_ITEMS { items } else { &[] }
}

/// A list of plain values, as JSON.
fn list(pickle: &Pickle<'_>, items: &[Id]) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let mut json = String::from("[");
    for (n, &item) in items.iter().enumerate() {
        if n > 0 {
            json.push_str(", ");
        }
        let text = plain(pickle, item)?;
        match pickle.is_text(item) {
            true => json.push_str(&serde_json::Value::from(text).to_string()),
            false => json.push_str(&text),
        }
        if json.len() > MAX_VALUE_BYTES {
            return None;
        }
    }
    json.push(']');
    Some(json)
}
