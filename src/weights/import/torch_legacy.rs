//! PyTorch's container before 1.6: five pickles (magic number, protocol, byte order, the object,
//! the storages' keys), then the storages in the order of their keys.

use super::error::{corrupt, quote, unsupported};
use super::pickle::{Id, Node, Pickle};
use super::tensor::{Data, View};
use super::{CheckpointError, Contents, state_dict};
use std::collections::HashMap;

/// A pickle of 0x1950a86a20f9469cfc6c, as every version of PyTorch wrote it.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
const PROTOCOL: i64 = 1001;
/// Bytes of the element count that stands before a storage's elements.
const COUNT_BYTES: usize = 8;

pub(super) fn recognises(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

pub(super) fn index(file: &[u8], key: Option<&str>) -> Result<Contents, CheckpointError> {
    let at = MAGIC.len();
    let protocol = Pickle::load(file, at)?;
    if !matches!(protocol.node(protocol.root), Node::Int(PROTOCOL)) {
        let found = match protocol.node(protocol.root) {
            Node::Int(version) => version.to_string(),
            _ => protocol.kind(protocol.root).to_owned(),
        };
        return Err(unsupported("version of PyTorch's container", at, PROTOCOL.to_string(), found));
    }
    let at = protocol.end;
    let system = Pickle::load(file, at)?;
    match system.get(system.root, "little_endian").map(|id| system.node(id)) {
        Some(Node::Bool(true)) => {}
        Some(Node::Bool(false)) => {
            return Err(unsupported("byte order", at, "little-endian storages", "big-endian ones"));
        }
        _ => return Err(corrupt("PyTorch's system information", at, "little_endian", "none")),
    }

    let at = system.end;
    let object = Pickle::load(file, at)?;
    let found = state_dict::find(&object, at, key, |id| {
        matches!(object.node(id), Node::Tensor(_)).then_some(id)
    })?;
    let storages = storages(file, &object)?;
    let tensors = found
        .tensors
        .iter()
        .map(|&(ref name, id)| {
            let view = view(&object, name, id, |key, at| match storages.get(key) {
                Some(data) => Ok(data.clone()),
                None => Err(corrupt(
                    format!("storage of tensor {}", quote(name)),
                    at,
                    format!("key {} in the file's list", quote(key)),
                    "none",
                )),
            })?;
            Ok((name.clone(), view))
        })
        .collect::<Result<_, _>>()?;
    Ok(Contents::of_pickle(&object, found, tensors))
}

/// The storages behind the pickles, by key.
fn storages<'a>(
    file: &'a [u8],
    object: &Pickle<'a>,
) -> Result<HashMap<&'a str, Data>, CheckpointError> {
    // Neither the list of keys nor the storages say how wide an element is.
    let mut described = HashMap::new();
    let plain = object.storages().map(|storage| {
        (&storage.key, storage.at, (storage.elems, storage.dtype.elem_bytes(), Some(storage.dtype)))
    });
    let others = object.others.iter();
    let others =
        others.map(|storage| (&storage.key, storage.at, (storage.elems, storage.elem_bytes, None)));
    for (key, at, of) in plain.chain(others) {
        let key = object.text_at(key);
        if *described.entry(key).or_insert(of) != of {
            return Err(corrupt(
                format!("storage {}", quote(key)),
                at,
                "one type and size",
                "another than before",
            ));
        }
    }

    let list = Pickle::load(file, object.end)?;
    let Node::List(keys) = list.node(list.root) else {
        let found = list.kind(list.root);
        return Err(corrupt("PyTorch's storage keys", object.end, "a list", found));
    };
    let mut storages = HashMap::new();
    let mut pos = list.end;
    for &key in keys {
        let Some(key) = list.text(key) else {
            let found = list.kind(key);
            return Err(corrupt("key of a storage", object.end, "a string", found));
        };
        let what = || format!("storage {}", quote(key));
        let Some(&(elems, elem_bytes, _)) = described.get(key) else {
            return Err(corrupt(what(), pos, "a tensor that tells its type", "none"));
        };
        let Some((count, rest)) = file[pos..].split_first_chunk::<COUNT_BYTES>() else {
            return Err(CheckpointError::Truncated {
                what: "length of a storage",
                offset: pos as u64,
                needed: COUNT_BYTES as u64,
                remaining: (file.len() - pos) as u64,
            });
        };
        let count = u64::from_le_bytes(*count);
        if count != elems as u64 {
            let found = format!("{count}");
            return Err(corrupt(what(), pos, format!("{elems} elements, as described"), found));
        }
        pos += COUNT_BYTES;
        let len = count.saturating_mul(elem_bytes as u64);
        if len > rest.len() as u64 {
            return Err(CheckpointError::Truncated {
                what: "storage",
                offset: pos as u64,
                needed: len,
                remaining: rest.len() as u64,
            });
        }
        let end = pos + len as usize;
        if storages.insert(key, Data::File(pos..end)).is_some() {
            return Err(corrupt(what(), pos, "each key once", "it a second time"));
        }
        pos = end;
    }
    if pos != file.len() {
        let found = format!("{} more bytes", file.len() - pos);
        return Err(corrupt("PyTorch legacy file", pos, "the end after the last storage", found));
    }
    Ok(storages)
}

/// The view that a pickled tensor describes. `data` finds a storage by key, and is told where it is
/// described.
pub(super) fn view(
    pickle: &Pickle<'_>,
    name: &str,
    tensor: Id,
    data: impl FnOnce(&str, usize) -> Result<Data, CheckpointError>,
) -> Result<View, CheckpointError> {
    let Node::Tensor(tensor) = pickle.node(tensor) else {
        return Err(corrupt(quote(name), 0, "a tensor", "another object"));
    };
    let Node::Storage(storage) = pickle.node(tensor.storage) else {
        return Err(corrupt(quote(name), tensor.at, "a storage", "another object"));
    };
    let key = pickle.text_at(&storage.key);
    let data = data(key, storage.at)?;
    let described = storage.elems.checked_mul(storage.dtype.elem_bytes());
    if described != Some(data.len()) {
        return Err(corrupt(
            format!("storage {} of tensor {}", quote(key), quote(name)),
            storage.at,
            format!("{} elements of {}, as described", storage.elems, storage.dtype),
            format!("{} bytes", data.len()),
        ));
    }
    let dtype = tensor.dtype.unwrap_or(storage.dtype);
    let (shape, strides) = (tensor.shape.clone(), tensor.strides.clone());
    View::new(name, tensor.at, data, dtype, shape, strides, tensor.start)
}
