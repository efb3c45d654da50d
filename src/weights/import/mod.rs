//! Reading public checkpoints without running anything found in them.
//!
//! [`Checkpoint::open`] maps a file, recognises its container from the first bytes, and indexes
//! its tensors; [`Checkpoint::read_f32`] reads one of them. Files are taken to be hostile: lengths
//! are compared with the bytes that remain before anything is allocated, pickles are interpreted
//! by a closed list of opcodes and globals, and tensors are proved to lie inside their storage when
//! the file is opened.
//!
//! | container | module | tensors |
//! |---|---|---|
//! | safetensors | `safetensors` | row-major |
//! | PyTorch zip (1.6 and later) | `torch_zip` | strided views of zip entries |
//! | PyTorch legacy | `torch_legacy` | strided views of storages after five pickles |
//! | Paddle `.pdparams` | `paddle` | NumPy arrays in one pickle of protocol 2 to 4 |
//! | `.npz` | `npz` | one `.npy` a zip entry |
//! | `.npy` | `npz` | one array, called `arr_0` |
//! | ONNX | `onnx` | constants of a [`Graph`], in the file or in files beside it |
//! | Paddle inference model | `paddle_inference` | parameters of a [`Graph`], in a file of their own |
//!
//! State dicts in shards are read as one checkpoint, and of a folder its usual file: `shards`.
//!
//! # What a file may cost
//!
//! Opening takes time and memory in proportion to what describes tensors, which is bounded in bytes
//! or in number before it is read: `safetensors`, `pickle`, `graph`, `paddle_inference`, `shards`;
//! and a checkpoint has at most 65 536 tensors. Reading takes time and memory in proportion to the
//! files and the tensors read: `inflated`. A storage that many tensors view and a file that many
//! names lead to are read once; a name that many things have is counted for each of them.
//!
//! # Which tensors
//!
//! A pickle may hold several dicts of tensors, up to three keys deep: [`Checkpoint::dicts`] has all
//! of them, and [`Checkpoint::open_at`] takes the one under a key. Without a key it is
//!
//! 1. a moving average, as timm takes it (`state_dict_ema`, `model_ema`, `ema` and the like; `teacher`
//!    beside `student`), if it is one of the whole model;
//! 2. the first under a usual key: `state_dict`, `model_state_dict`, `model`, `params`, `module`,
//!    `net`, `network`, `weights`;
//! 3. the one with the most tensors.
//!
//! Entries that are no tensors (epochs, optimiser state, arguments, objects of any class) are
//! skipped; the plain ones among them are [`Checkpoint::facts`]. A module that was pickled whole, or
//! archived by TorchScript, counts as the dict that its `state_dict()` would be (`modules`). A prefix
//! `module.` that all names share is removed, as `torch.nn.DataParallel` adds it; so is
//! `torch.compile`'s `_orig_mod.`.

mod archive;
mod choice;
mod contents;
mod error;
mod exported;
mod facts;
pub mod graph;
mod inflated;
mod latin1;
mod modules;
mod npz;
mod onnx;
mod paddle;
mod paddle_inference;
mod pickle;
mod proto;
pub mod safetensors;
mod shards;
mod state_dict;
mod tar;
mod tensor;
mod torch_legacy;
mod torch_zip;
mod what;

pub use choice::TensorDict;
pub use contents::Foreign;
pub use error::CheckpointError;
pub use facts::Facts;
pub use shards::{locate, stem};
pub use tensor::{Dtype, TensorInfo};

use crate::mapped::MappedFile;
use contents::Contents;
use error::{quote, too_large};
use exported::{Beside, Exported};
use graph::Graph;
use inflated::{Bytes, Inflated};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use tensor::View;
use what::What;

/// Most tensors of all dicts of a checkpoint. The largest network of the family has 2 000, and a
/// training checkpoint a few times that.
const MAX_TENSORS: usize = 1 << 16;

/// The file formats that hold checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// Hugging Face safetensors.
    Safetensors,
    /// `torch.save` since PyTorch 1.6.
    TorchZip,
    /// `torch.save` before PyTorch 1.6.
    TorchLegacy,
    /// `paddle.save` of a state dict.
    Paddle,
    /// `numpy.savez` and `numpy.savez_compressed`.
    Npz,
    /// `numpy.save`.
    Npy,
    /// An exported graph.
    Onnx,
    /// A program and its parameters, in two files or in a tar archive.
    PaddleInference,
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Container::Safetensors => "safetensors",
            Container::TorchZip => "PyTorch zip",
            Container::TorchLegacy => "PyTorch legacy",
            Container::Paddle => "Paddle",
            Container::Npz => "npz",
            Container::Npy => "npy",
            Container::Onnx => "ONNX",
            Container::PaddleInference => "Paddle inference model",
        })
    }
}

/// The bytes of a checkpoint.
enum Source {
    Mapped(MappedFile),
    Owned(Vec<u8>),
}

impl Deref for Source {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Source::Mapped(map) => map,
            Source::Owned(bytes) => bytes,
        }
    }
}

/// One file of a checkpoint.
struct Part {
    /// `None` for bytes in memory.
    path: Option<PathBuf>,
    source: Source,
}

/// An opened checkpoint: its bytes, and where each tensor is in them.
pub struct Checkpoint {
    /// One, or the shards in order of their names.
    parts: Vec<Part>,
    container: Container,
    infos: BTreeMap<String, TensorInfo>,
    /// Number of the part that each tensor is in, and its place there.
    views: BTreeMap<String, (usize, View)>,
    /// What else the file holds; its own tensors are `views`.
    contents: Contents,
    /// What was taken, where there was a choice.
    note: Option<String>,
    /// The network, where the file says it.
    graph: Option<Graph>,
    /// Files beside the only part that hold tensors.
    beside: Vec<Beside>,
    inflated: Inflated,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("container", &self.container)
            .field("bytes", &self.parts.iter().map(|part| part.source.len()).sum::<usize>())
            .field("tensors", &self.infos.len())
            .finish_non_exhaustive()
    }
}

impl Part {
    fn map(path: PathBuf) -> Result<Part, CheckpointError> {
        let file = map(&path)?;
        Ok(Part { path: Some(path), source: Source::Mapped(file) })
    }

    /// Whether the file has kept its length.
    fn check(&self) -> Result<(), CheckpointError> {
        match (&self.path, &self.source) {
            (Some(path), Source::Mapped(file)) => check(path, file),
            _ => Ok(()),
        }
    }

    /// Recognises the container, and finds its tensors.
    fn index(&self, key: Option<&str>) -> Result<(Container, Contents), CheckpointError> {
        let file: &[u8] = &self.source;
        let path = self.path.as_deref();
        Ok(if archive::recognises(file) {
            // Entries named `.npy` make it an `.npz`; PyTorch's archives always hold `data.pkl`.
            let members = archive::members(file)?;
            if npz::recognises(&members) {
                (Container::Npz, Contents::of(npz::index(file, members)?))
            } else if let Some(folder) = torch_zip::folder(&members) {
                (Container::TorchZip, torch_zip::index(file, members, &folder, key)?)
            } else {
                return Err(no_checkpoint(what::zip(&members)));
            }
        } else if npz::recognises_array(file) {
            (Container::Npy, Contents::of(npz::index_array(file)?))
        } else if torch_legacy::recognises(file) {
            (Container::TorchLegacy, torch_legacy::index(file, key)?)
        } else if let Some(other) = what::pickle(file) {
            return Err(no_checkpoint(other));
        } else if paddle::recognises(file) {
            (Container::Paddle, paddle::index(file, key)?)
        } else if safetensors::recognises(file) && !what::is_text(file) {
            (Container::Safetensors, safetensors::index(file)?)
        } else {
            return Err(no_checkpoint(what::name(file, path)));
        })
    }
}

impl Checkpoint {
    /// Maps the file at `path` and indexes its tensors. The container is recognised by its content,
    /// never by its name.
    ///
    /// A shard, as `model-00001-of-00002.safetensors`, or the index of shards beside them stands
    /// for all shards; a folder, for the file that [`locate`] takes.
    ///
    /// # The files while they are open
    ///
    /// The files are mapped, and are taken to be hostile in what they hold, not in when it changes:
    /// nobody may truncate or change them while the checkpoint is open. A file may be replaced by
    /// renaming another over it. A truncated file is [`CheckpointError::Changed`] to whoever reads
    /// a tensor next; a read beyond the new end before that ends the process with SIGBUS, which the
    /// program `effnet` tells as a message. Overwritten bytes are wrong numbers or another error;
    /// every length and offset is checked where it is used, but Rust calls bytes that change behind
    /// a shared reference undefined behaviour. [`from_bytes`](Checkpoint::from_bytes) is for those
    /// who cannot promise.
    ///
    /// # Errors
    ///
    /// If there is no such file, if it is a pipe, socket or device (none of which is opened), or if
    /// it holds no checkpoint that can be read.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open_at(path, None)
    }

    /// Like [`open`](Checkpoint::open), with the dict of tensors under `key`, as in
    /// `state_dict_ema` or `model.state_dict`, instead of the preferred one. A key may go on into
    /// the names of the tensors, or be the start of such names alone, as in `teacher`: then those
    /// tensors are taken, and named without it.
    ///
    /// # Errors
    ///
    /// Also if there is no such key; the error lists those that there are.
    pub fn open_at(path: &Path, key: Option<&str>) -> Result<Checkpoint, CheckpointError> {
        let files = shards::files(&locate(path)?)?;
        let parts = files.paths.into_iter().map(Part::map).collect::<Result<_, _>>()?;
        Checkpoint::from_parts(parts, &files.places, key)
    }

    /// Like [`open_at`](Checkpoint::open_at), of one file that has no name; `path` stands for it in
    /// errors.
    pub(crate) fn open_unnamed(
        file: File,
        path: &Path,
        key: Option<&str>,
    ) -> Result<Checkpoint, CheckpointError> {
        let file = MappedFile::of_file(file);
        let file = file.map_err(|error| CheckpointError::of_file(path, error))?;
        let part = Part { path: None, source: Source::Mapped(file) };
        Checkpoint::from_parts(vec![part], &BTreeMap::new(), key)
    }

    /// Like [`open`](Checkpoint::open), from memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
        let part = Part { path: None, source: Source::Owned(bytes) };
        Checkpoint::from_parts(vec![part], &BTreeMap::new(), None)
    }

    /// The same file with the dict of tensors under `key`: see [`open_at`](Checkpoint::open_at).
    pub fn at(self, key: &str) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::from_parts(self.parts, &BTreeMap::new(), Some(key))
    }

    /// `places` gives the file of each tensor, where an index says so.
    fn from_parts(
        parts: Vec<Part>,
        places: &BTreeMap<String, String>,
        key: Option<&str>,
    ) -> Result<Checkpoint, CheckpointError> {
        if let [part] = &parts[..]
            && let Some(exported) = exported::index(part)?
        {
            return Checkpoint::from_graph(parts, exported, key);
        }
        let mut tensors = Vec::new();
        let mut merged: Option<(Container, Contents)> = None;
        for (number, part) in parts.iter().enumerate() {
            let of_shard = |error| shards::in_shard(&parts, number, error);
            let (kind, mut contents) = part.index(key).map_err(of_shard)?;
            if contents.tensors.is_empty() {
                let found = format!("a {kind} file without any");
                return Err(of_shard(CheckpointError::NoTensors { offset: 0, found }));
            }
            let views = std::mem::take(&mut contents.tensors).into_iter();
            tensors.extend(views.map(|(name, view)| (name, (number, view))));
            if tensors.len() > MAX_TENSORS {
                let (limit, found) = (MAX_TENSORS as u64, tensors.len() as u64);
                return Err(of_shard(too_large("tensors", 0, limit, found)));
            }
            match &mut merged {
                Some((_, merged)) => merged.join(contents),
                None => merged = Some((kind, contents)),
            }
        }
        shards::all_found(&tensors, places)?;
        // There is one part at least, and none was of no container.
        let (container, mut contents) =
            merged.unwrap_or_else(|| (Container::Safetensors, Contents::of(Vec::new())));
        let views = contents.named(tensors, key)?;
        let infos = views.iter().map(|(name, (_, view))| (name.clone(), view.info())).collect();
        // The user who gave a key knows what it took.
        let note = match key {
            Some(_) => None,
            None => choice::note(&contents.dicts, &contents.choice),
        };
        let (graph, beside, inflated) = (None, vec![], Inflated::default());
        let mut checkpoint =
            Checkpoint { parts, container, infos, views, contents, note, graph, beside, inflated };
        checkpoint.count_viewers();
        Ok(checkpoint)
    }

    /// A checkpoint whose tensors' names are its graph's own.
    fn from_graph(
        parts: Vec<Part>,
        exported: Exported,
        key: Option<&str>,
    ) -> Result<Checkpoint, CheckpointError> {
        let Exported { container, graph, tensors, beside } = exported;
        let mut contents = Contents::of(tensors);
        let mut views = BTreeMap::new();
        for (name, view) in std::mem::take(&mut contents.tensors) {
            let offset = view.offset() as u64;
            if views.insert(name.clone(), (0, view)).is_some() {
                return Err(CheckpointError::DuplicateTensor { name, offset });
            }
        }
        // A graph has one dict: any key is a mistake, which is told as for other containers.
        contents.choice = choice::choose(&contents.dicts, key)?;
        let infos = views.iter().map(|(name, (_, view))| (name.clone(), view.info())).collect();
        let (graph, note, inflated) = (Some(graph), None, Inflated::default());
        Ok(Checkpoint { parts, container, infos, views, contents, note, graph, beside, inflated })
    }

    /// Finds the compressed entries that several tensors view.
    fn count_viewers(&mut self) {
        let file_bytes = self.parts.iter().map(|part| part.source.len() as u64).sum();
        self.inflated = Inflated::of(file_bytes, self.views.values());
    }

    /// Bytes that reading tensors has inflated of compressed entries so far. An entry that several
    /// tensors view counts once, if each of them is read once.
    pub fn inflated_bytes(&self) -> u64 {
        self.inflated.spent()
    }

    /// The network, in the containers that say it: its constants are among the tensors.
    pub fn graph(&self) -> Option<&Graph> {
        self.graph.as_ref()
    }

    /// Files beside the checkpoint that hold tensors of it, but are no shards.
    pub fn beside(&self) -> impl Iterator<Item = &Path> {
        self.beside.iter().map(|file| file.path.as_path())
    }

    /// The files that the checkpoint is read from; none where it came from memory.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter_map(|part| part.path.as_deref())
    }

    /// The container that the file turned out to be.
    pub fn container(&self) -> Container {
        self.container
    }

    /// Every tensor of the state dict by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.infos
    }

    /// What the file says about itself beside its tensors: text, numbers and truth values by dotted
    /// key, as in `arch`, `args.model` and `hyper_parameters.model_name`; lists of those as JSON.
    ///
    /// A pickle's are those of its dicts, and of the attributes and items of its objects (an
    /// `argparse.Namespace`, a configuration, a module), none of which is made; safetensors' are its
    /// `__metadata__`. At most 4096 of up to 4096 bytes are kept, those nearest to the top; the other
    /// containers have none.
    pub fn facts(&self) -> &Facts {
        &self.contents.facts
    }

    /// Every dict of tensors in the file, and every module, the preferred ones first: a moving
    /// average, then those under usual keys, then by the number of tensors. Names are the file's
    /// own.
    pub fn dicts(&self) -> &[TensorDict] {
        &self.contents.dicts
    }

    /// The dict that [`tensors`](Checkpoint::tensors) are of.
    pub fn taken(&self) -> &TensorDict {
        &self.contents.dicts[self.contents.choice.index]
    }

    /// What was taken of several models, or that a moving average was: one sentence without a full
    /// stop. `None` where there was nothing to choose, and where a key was given.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Objects of a pickle that stand in the dict under a name, as a tensor would; none was made.
    pub fn foreign(&self) -> &BTreeMap<String, Foreign> {
        &self.contents.foreign
    }

    /// Pickle globals outside the closed list that objects in the file were to be made by, at most
    /// 64 of them. None was looked up or called.
    pub fn objects(&self) -> &BTreeSet<String> {
        &self.contents.objects
    }

    /// Gives a tensor another name, which no other tensor may have.
    pub(crate) fn rename(&mut self, from: &str, to: String) {
        if let Some(view) = self.views.remove(from) {
            self.infos.remove(from);
            self.infos.insert(to.clone(), view.1.info());
            self.views.insert(to, view);
        }
    }

    /// Keeps the tensors whose names start with `prefix`, named without it. Gives the names of the
    /// others.
    pub fn keep_prefix(&mut self, prefix: &str) -> Vec<String> {
        let mut others = Vec::new();
        for (name, view) in std::mem::take(&mut self.views) {
            match name.strip_prefix(prefix) {
                Some(rest) => drop(self.views.insert(rest.to_owned(), view)),
                None => others.push(name),
            }
        }
        let infos = self.views.iter().map(|(name, (_, view))| (name.clone(), view.info()));
        self.infos = infos.collect();
        let foreign = std::mem::take(&mut self.contents.foreign).into_iter();
        let kept = foreign
            .filter_map(|(name, object)| Some((name.strip_prefix(prefix)?.to_owned(), object)));
        self.contents.foreign = kept.collect();
        self.count_viewers();
        others
    }

    /// The elements of a tensor in row-major order of its logical shape, whatever its strides.
    ///
    /// f16 and bf16 are widened exactly, f64 is rounded to the nearest f32. A compressed zip entry
    /// is inflated by the first call that needs it, and kept until every tensor in it was read; in
    /// all, at most 32 MiB, 4 times the files' bytes and twice those of the tensors read are.
    ///
    /// # Errors
    ///
    /// If there is no such tensor, if it holds integers, or if its compressed data are corrupt or
    /// far larger than file and tensors.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        self.read(name, |view, file| view.read_f32(name, || self.storage(name, view, file)))
    }

    /// The elements of a tensor of u8, in row-major order of its logical shape.
    ///
    /// # Errors
    ///
    /// If there is no such tensor, if it has another type, or if its compressed data are corrupt or
    /// far larger than file and tensors.
    pub fn read_u8(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        self.read(name, |view, file| view.read_u8(name, || self.storage(name, view, file)))
    }

    fn storage<'a>(
        &self,
        name: &str,
        view: &'a View,
        (number, file): (usize, &'a [u8]),
    ) -> Result<Bytes<'a>, CheckpointError> {
        self.inflated.bytes(name, view, (number, file))
    }

    fn read<'a, T>(
        &'a self,
        name: &str,
        read: impl FnOnce(&'a View, (usize, &'a [u8])) -> Result<T, CheckpointError>,
    ) -> Result<T, CheckpointError> {
        let (number, view) = self.views.get(name).ok_or_else(|| {
            let name = name.to_owned();
            match self.contents.foreign.get(&name) {
                Some(Foreign { global, offset }) => CheckpointError::ForbiddenGlobal {
                    what: quote(&name),
                    expected: "a tensor",
                    offset: *offset,
                    global: global.clone(),
                },
                None => CheckpointError::UnknownTensor { name, tensors: self.views.len() },
            }
        })?;
        let of_shard = |error| shards::in_shard(&self.parts, *number, error);
        let part = &self.parts[*number];
        let whole = || {
            part.check()?;
            self.beside.iter().try_for_each(|file| check(&file.path, &file.map))
        };
        // A file that shrank has zeros up to the end of its last page, and beyond it no bytes that
        // could be read.
        whole()?;
        let elems = read(view, (*number, &part.source)).map_err(of_shard)?;
        whole()?;
        Ok(elems)
    }

    /// SHA-256 of the whole file in lower-case hexadecimal; of shards, of their bytes one after
    /// another in order of their names; files [`beside`](Checkpoint::beside) it follow.
    pub fn sha256(&self) -> String {
        let mut digest = Sha256::new();
        self.parts.iter().for_each(|part| digest.update(&*part.source));
        self.beside.iter().for_each(|file| digest.update(&file.map[..]));
        digest.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// Maps a file of a checkpoint.
fn map(path: &Path) -> Result<MappedFile, CheckpointError> {
    MappedFile::open(path).map_err(|error| CheckpointError::of_file(path, error))
}

/// Whether a file of a checkpoint has kept its length.
fn check(path: &Path, file: &MappedFile) -> Result<(), CheckpointError> {
    file.check().map_err(|error| CheckpointError::of_file(path, error))
}

fn no_checkpoint(What { found, advice }: What) -> CheckpointError {
    CheckpointError::UnknownContainer { found, advice }
}
