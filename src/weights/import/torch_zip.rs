//! PyTorch's zip container: `data.pkl` describes tensors, `data/<key>` holds their storages.

use super::archive::Member;
use super::error::{corrupt, quote, too_large, unsupported};
use super::pickle::{Node, Pickle};
use super::tensor::Data;
use super::{CheckpointError, Contents, state_dict, torch_legacy};
use std::collections::{BTreeMap, HashMap};

const PICKLE: &str = "data.pkl";
/// Real ones take about 150 bytes a tensor.
const MAX_INFLATED_PICKLE: usize = 16 << 20;

/// The folder that all entries of PyTorch's archives are in: `archive/`, or the name that the file
/// had when it was written. `None` if the archive is not PyTorch's.
pub(super) fn folder(members: &BTreeMap<String, Member>) -> Option<String> {
    members.keys().find_map(|name| {
        let folder = name.strip_suffix(PICKLE)?;
        (folder.is_empty() || folder.find('/') == Some(folder.len() - 1)).then(|| folder.to_owned())
    })
}

pub(super) fn index(
    file: &[u8],
    mut members: BTreeMap<String, Member>,
    folder: &str,
    key: Option<&str>,
) -> Result<Contents, CheckpointError> {
    for member in members.values_mut() {
        member.check_crc = false;
    }
    if let Some(member) = members.get(&format!("{folder}byteorder")) {
        let order = member.head(file, 16)?;
        if order.trim_ascii() != b"little" {
            let found = format!("\"{}\"", order.escape_ascii());
            return Err(unsupported("byte order", member.range.start, "\"little\"", found));
        }
    }

    let member = &members[&format!("{folder}{PICKLE}")];
    let inflated;
    let (bytes, start) = if member.is_stored() {
        // Offsets in errors are then the file's.
        (&file[..member.range.end], member.range.start)
    } else {
        if member.size > MAX_INFLATED_PICKLE {
            let (limit, found) = (MAX_INFLATED_PICKLE as u64, member.size as u64);
            return Err(too_large("inflated data.pkl", member.range.start, limit, found));
        }
        inflated = member.bytes(file)?;
        (&inflated[..], 0)
    };
    let storages_at = format!("{folder}data/");
    let storages: HashMap<&str, &Member> = members
        .iter()
        .filter_map(|(name, member)| Some((name.strip_prefix(&storages_at)?, member)))
        .collect();
    let pickle = Pickle::load(bytes, start)?;
    let found = state_dict::find(&pickle, start, key, |id| {
        matches!(pickle.node(id), Node::Tensor(_)).then_some(id)
    })
    .map_err(|error| frozen(file, &members, folder).unwrap_or(error))?;
    let tensors = found
        .tensors
        .iter()
        .map(|&(ref name, id)| {
            let view = torch_legacy::view(&pickle, name, id, |key, at| match storages.get(key) {
                Some(member) => Ok(Data::Member { member: (*member).clone(), skip: 0 }),
                None => Err(corrupt(
                    format!("storage of tensor {}", quote(name)),
                    at,
                    format!("a zip entry {}", quote(&format!("{storages_at}{key}"))),
                    "none",
                )),
            })?;
            Ok((name.clone(), view))
        })
        .collect::<Result<_, _>>()?;
    Ok(Contents::of_pickle(&pickle, found, tensors))
}

/// The error of a TorchScript archive whose modules have no tensors left, because all of them are
/// constants of its code.
fn frozen(
    file: &[u8],
    members: &BTreeMap<String, Member>,
    folder: &str,
) -> Option<CheckpointError> {
    let member = members.get(&format!("{folder}constants.pkl"))?;
    if member.size > MAX_INFLATED_PICKLE {
        return None;
    }
    let bytes = member.bytes(file).ok()?;
    let tensors = Pickle::load(&bytes, 0).ok()?.tensors();
    (tensors > 0).then(|| {
        let expected = "parameters and buffers in its modules; save it before torch.jit.freeze \
                        or torch.jit.optimize_for_inference, or save the state dict of the model \
                        that it was made from";
        let found = format!("a frozen module, whose {tensors} weights are constants without names");
        unsupported("TorchScript archive", member.range.start, expected, found)
    })
}
