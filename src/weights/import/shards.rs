//! Checkpoints that are several files, and the files that a folder has to offer.
//!
//! Hugging Face's libraries cut large state dicts into shards named `model-00001-of-00002.safetensors`
//! or `pytorch_model-00001-of-00002.bin`, beside an index `model.safetensors.index.json` that says
//! which tensor is in which. The index, or any shard, stands for all of them.

use super::error::{corrupt, quote, too_large, unsupported};
use super::tensor::View;
use super::what::{self, What};
use super::{CheckpointError, Part, paddle_inference};
use crate::mapped::open_regular;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The files that a path stands for.
#[derive(Debug)]
pub(super) struct Files {
    /// The file itself, or all shards in order of their names.
    pub(super) paths: Vec<PathBuf>,
    /// Name of each tensor's shard, where an index was given.
    pub(super) places: BTreeMap<String, String>,
}

/// An index file, but for what the reader does not need.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The end of an index's name.
const INDEX: &str = ".index.json";
/// Real indices take about 80 bytes a tensor.
const MAX_INDEX_BYTES: u64 = 4 << 20;
/// Shards of a checkpoint, all of which are open at once: the largest public ones have 200.
const MAX_SHARDS: usize = 512;
/// Names in folders of Hugging Face, in the order in which its libraries look for them.
const USUAL: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
/// Ends of the names of checkpoints.
const ENDINGS: [&str; 9] =
    [".safetensors", ".bin", ".pth", ".pt", ".pth.tar", ".pt.tar", ".ckpt", ".pdparams", ".npz"];
/// Most entries of a folder that are looked at.
const MAX_ENTRIES: usize = 4096;

/// The checkpoint file that `path` stands for: itself, or, of a folder, the usual name of Hugging
/// Face's snapshots, else the folder's only checkpoint.
///
/// # Errors
///
/// If the folder cannot be read, holds no checkpoint, or several.
pub fn locate(path: &Path) -> Result<PathBuf, CheckpointError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(usual) = USUAL.iter().map(|name| path.join(name)).find(|file| file.exists()) {
        return Ok(usual);
    }
    if let Some(pair) = paddle_inference::in_folder(path) {
        return Ok(pair.program);
    }
    let failed = |source| CheckpointError::Io { path: path.to_owned(), source };
    let mut found = BTreeSet::new();
    let mut snapshots = BTreeSet::new();
    for entry in std::fs::read_dir(path).map_err(failed)?.take(MAX_ENTRIES) {
        let entry = entry.map_err(failed)?.path();
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        if ENDINGS.iter().any(|end| name.ends_with(end)) && entry.is_file() {
            // The shards of one checkpoint are one.
            let first = shard(&name).and_then(|shard| Some(entry.with_file_name(shard.name(1)?)));
            found.insert(first.unwrap_or(entry));
        } else if name == "snapshots" {
            // The folder of a model in Hugging Face's cache.
            let revisions = std::fs::read_dir(&entry).map_err(failed)?.take(MAX_ENTRIES);
            snapshots.extend(revisions.filter_map(|entry| Some(entry.ok()?.path())));
        }
    }
    let snapshot = (snapshots.len() == 1).then(|| snapshots.pop_first()).flatten();
    match (found.pop_first(), found.is_empty(), snapshot) {
        (Some(only), true, _) => Ok(only),
        // One level down, and no further.
        (None, _, Some(snapshot)) if !snapshot.join("snapshots").exists() => locate(&snapshot),
        (Some(first), ..) => {
            found.insert(first);
            let names = found.iter().filter_map(|file| file.file_name());
            const SHOWN: usize = 8;
            let names: Vec<_> =
                names.take(SHOWN).map(|name| quote(&name.to_string_lossy())).collect();
            Err(CheckpointError::Folder {
                path: path.to_owned(),
                found: format!("{}, as {}", found.len(), names.join(", ")),
                advice: "give one of them".to_owned(),
            })
        }
        (None, ..) => {
            let What { found, advice } = what::folder(path).unwrap_or(What {
                found: "none".to_owned(),
                advice: "give the file that holds the weights".to_owned(),
            });
            Err(CheckpointError::Folder { path: path.to_owned(), found, advice })
        }
    }
}

/// The files that are one checkpoint with `path`: all shards, if it is an index or a shard.
pub(super) fn files(path: &Path) -> Result<Files, CheckpointError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(INDEX) {
        return from_index(path);
    }
    let Some(shard) = shard(&name) else {
        return Ok(Files { paths: vec![path.to_owned()], places: BTreeMap::new() });
    };
    check_count(shard.count)?;
    let names = (1..=shard.count).map_while(|number| shard.name(number));
    Ok(Files { paths: all_there(path, names)?, places: BTreeMap::new() })
}

/// A shard's name, taken apart.
struct Shard<'a> {
    stem: &'a str,
    digits: usize,
    count: usize,
    ending: &'a str,
}

impl Shard<'_> {
    /// The name of shard `number`, from 1.
    fn name(&self, number: usize) -> Option<String> {
        let Shard { stem, digits, count, ending } = self;
        (number <= *count).then(|| format!("{stem}-{number:0digits$}-of-{count:0digits$}{ending}"))
    }
}

/// `STEM-00001-of-00002.safetensors`; `None` for a name of another kind.
fn shard(name: &str) -> Option<Shard<'_>> {
    let ending = [".safetensors", ".bin"].into_iter().find(|ending| name.ends_with(ending))?;
    let (rest, count) = name.strip_suffix(ending)?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let plain =
        |text: &str| (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !plain(number) || !plain(count) || number.len() != count.len() {
        return None;
    }
    let (digits, number, count) = (count.len(), number.parse().ok()?, count.parse().ok()?);
    let shard = Shard { stem, digits, count, ending };
    // A number beyond the count is no shard's.
    (1..=count).contains(&number).then_some(shard)
}

fn from_index(path: &Path) -> Result<Files, CheckpointError> {
    let failed = |source| CheckpointError::Io { path: path.to_owned(), source };
    let (file, bytes) =
        open_regular(path).map_err(|error| CheckpointError::of_file(path, error))?;
    if bytes as u64 > MAX_INDEX_BYTES {
        return Err(too_large("bytes of an index of shards", 0, MAX_INDEX_BYTES, bytes as u64));
    }
    let mut text = Vec::with_capacity(bytes);
    file.take(MAX_INDEX_BYTES).read_to_end(&mut text).map_err(failed)?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| {
        let expected = "JSON with the file of each tensor in \"weight_map\"";
        corrupt("index of shards", 0, expected, error.to_string())
    })?;
    let mut names = BTreeSet::new();
    for (tensor, file) in &index.weight_map {
        // Also what other systems take for a way out of the folder.
        let plain = !file.is_empty()
            && file != "."
            && file != ".."
            && !file.contains(['/', '\\', ':', '\0']);
        if !plain {
            return Err(unsupported(
                format!("file of tensor {} in the index", quote(tensor)),
                0,
                "the name of a file in the index's own folder",
                quote(file),
            ));
        }
        names.insert(file.clone());
    }
    if names.is_empty() {
        let found = "an index of shards that names none".to_owned();
        return Err(CheckpointError::NoTensors { offset: 0, found });
    }
    check_count(names.len())?;
    Ok(Files { paths: all_there(path, names.into_iter())?, places: index.weight_map })
}

fn check_count(shards: usize) -> Result<(), CheckpointError> {
    match shards > MAX_SHARDS {
        true => Err(too_large("shards of a checkpoint", 0, MAX_SHARDS as u64, shards as u64)),
        false => Ok(()),
    }
}

/// The paths of `names` beside `path`, if all of them exist.
fn all_there(
    path: &Path,
    names: impl Iterator<Item = String>,
) -> Result<Vec<PathBuf>, CheckpointError> {
    let (mut there, mut missing) = (Vec::new(), 0);
    let mut first = None;
    for name in names {
        let file = path.with_file_name(name);
        if file.is_file() {
            there.push(file);
        } else {
            missing += 1;
            first.get_or_insert(file);
        }
    }
    match first {
        None => {
            // Links to one file would have it read any number of times.
            let mut files = HashSet::new();
            let again = there.iter().find(|&file| match file.canonicalize() {
                Ok(file) => !files.insert(file),
                Err(_) => false,
            });
            match again {
                None => Ok(there),
                Some(file) => Err(unsupported(
                    format!("shard {}", quote(&file.to_string_lossy())),
                    0,
                    "a file of its own for each shard",
                    "a link to another shard",
                )),
            }
        }
        Some(path) => {
            Err(CheckpointError::MissingShard { path, missing, shards: there.len() + missing })
        }
    }
}

/// The name of a checkpoint file without what names its container and its place among shards:
/// `model` for `model-00001-of-00002.safetensors` and for `model.safetensors.index.json`.
pub fn stem(file_name: &str) -> &str {
    let name = file_name.strip_suffix(INDEX).unwrap_or(file_name);
    match shard(name) {
        Some(Shard { stem, .. }) => stem,
        None => Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name),
    }
}

/// An error of one of several files, with the file's name.
pub(super) fn in_shard(parts: &[Part], number: usize, error: CheckpointError) -> CheckpointError {
    match parts.get(number).and_then(|part| part.path.clone()) {
        Some(path) if parts.len() > 1 => CheckpointError::InShard { path, source: Box::new(error) },
        _ => error,
    }
}

/// Checks that every tensor of an index was found.
pub(super) fn all_found(
    tensors: &[(String, (usize, View))],
    places: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let found: HashSet<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    match places.iter().find(|(name, _)| !found.contains(name.as_str())) {
        None => Ok(()),
        Some((name, file)) => {
            let what = format!("tensor {} of the index", quote(name));
            Err(corrupt(what, 0, format!("it in {}", quote(file)), "no such tensor in any shard"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stems_are_without_container_and_number() {
        for (name, expected) in [
            ("model-00001-of-00002.safetensors", "model"),
            ("model.safetensors.index.json", "model"),
            ("pytorch_model.bin.index.json", "pytorch_model"),
            ("efficientnet_b0_ra-3dd342df.pth", "efficientnet_b0_ra-3dd342df"),
            ("model_best.pth.tar", "model_best.pth"),
            ("", ""),
        ] {
            assert_eq!(stem(name), expected, "{name}");
        }
    }

    #[test]
    fn shards_are_known_by_their_names() {
        let second = |name| shard(name).and_then(|shard| shard.name(2));
        for (name, expected) in [
            ("model-00001-of-00003.safetensors", Some("model-00002-of-00003.safetensors")),
            ("pytorch_model-00003-of-00003.bin", Some("pytorch_model-00002-of-00003.bin")),
            ("a-b-1-of-2.safetensors", Some("a-b-2-of-2.safetensors")),
            ("model-00001-of-00001.safetensors", None),
            ("model-00004-of-00003.safetensors", None),
            ("model-00000-of-00003.safetensors", None),
            ("model-0001-of-00003.safetensors", None),
            ("model-1234567-of-1234567.safetensors", None),
            ("model-00001-of-00003.pth", None),
            ("best-of-10.safetensors", None),
            ("-of-.bin", None),
        ] {
            assert_eq!(second(name).as_deref(), expected, "{name}");
        }
    }
}
