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
//!
//! State dicts in shards are read as one checkpoint, and of a folder its usual file: `shards`.
//!
//! # Which tensors
//!
//! The state dict may be the pickle's outermost dict or sit under a usual key of a training
//! checkpoint: `state_dict`, `model_state_dict`, `model`, `params`, `module`, `net`, `network` or
//! `weights`, the first that holds tensors; failing those, under `state_dict_ema`, `model_ema`,
//! `params_ema`, `ema_state_dict` or `ema`. Two such levels may be nested. Its entries that are no
//! tensors (epochs, optimiser state, arguments) are skipped. A prefix `module.` that all names
//! share is removed, as `torch.nn.DataParallel` adds it; so is `torch.compile`'s `_orig_mod.`.

mod archive;
mod error;
mod facts;
mod latin1;
mod npz;
mod paddle;
mod pickle;
mod safetensors;
mod shards;
mod state_dict;
mod tensor;
mod torch_legacy;
mod torch_zip;
mod what;

pub use error::CheckpointError;
pub use facts::Facts;
pub use shards::{locate, stem};
pub use tensor::{Dtype, TensorInfo};

use memmap2::Mmap;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::{self, Write};
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use tensor::View;
use what::What;

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
        })
    }
}

/// The bytes of a checkpoint.
enum Source {
    Mapped(Mmap),
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
    facts: Facts,
}

/// What the reader of a container found in a file.
struct Contents {
    tensors: Vec<(String, View)>,
    facts: Facts,
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
        let failed = |source| CheckpointError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        // An empty file cannot be mapped everywhere.
        if file.metadata().map_err(failed)?.len() == 0 {
            return Ok(Part { path: Some(path), source: Source::Owned(Vec::new()) });
        }
        // SAFETY: the mapping is private and read-only, and every access goes through a bounds-
        // checked byte slice, so that any contents are sound to read. That nobody truncates the
        // file meanwhile cannot be enforced here; it is asked for in `Checkpoint::open`.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Part { path: Some(path), source: Source::Mapped(map) })
    }

    /// Recognises the container, and finds its tensors.
    fn index(&self) -> Result<(Container, Contents), CheckpointError> {
        let file: &[u8] = &self.source;
        let path = self.path.as_deref();
        Ok(if archive::recognises(file) {
            // Entries named `.npy` make it an `.npz`; PyTorch's archives always hold `data.pkl`.
            let members = archive::members(file)?;
            if npz::recognises(&members) {
                (Container::Npz, Contents::of(npz::index(file, members)?))
            } else if let Some(folder) = torch_zip::folder(&members) {
                (Container::TorchZip, torch_zip::index(file, members, &folder)?)
            } else {
                return Err(no_checkpoint(what::zip(&members)));
            }
        } else if npz::recognises_array(file) {
            (Container::Npy, Contents::of(npz::index_array(file)?))
        } else if torch_legacy::recognises(file) {
            (Container::TorchLegacy, torch_legacy::index(file)?)
        } else if let Some(other) = what::pickle(file) {
            return Err(no_checkpoint(other));
        } else if paddle::recognises(file) {
            (Container::Paddle, paddle::index(file)?)
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
    /// The files must not be truncated by another process while the checkpoint is open: like every
    /// mapped file, they would then fault when read.
    pub fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let files = shards::files(&locate(path)?)?;
        let parts = files.paths.into_iter().map(Part::map).collect::<Result<_, _>>()?;
        Checkpoint::from_parts(parts, &files.places)
    }

    /// Like [`open`](Checkpoint::open), from memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
        let part = Part { path: None, source: Source::Owned(bytes) };
        Checkpoint::from_parts(vec![part], &BTreeMap::new())
    }

    /// `places` gives the file of each tensor, where an index says so.
    fn from_parts(
        parts: Vec<Part>,
        places: &BTreeMap<String, String>,
    ) -> Result<Checkpoint, CheckpointError> {
        let mut tensors = Vec::new();
        let mut facts = Facts::new();
        let mut container = None;
        for (number, part) in parts.iter().enumerate() {
            let of_shard = |error| shards::in_shard(&parts, number, error);
            let (kind, contents) = part.index().map_err(of_shard)?;
            if contents.tensors.is_empty() {
                let found = format!("a {kind} file without any");
                return Err(of_shard(CheckpointError::NoTensors { offset: 0, found }));
            }
            container.get_or_insert(kind);
            facts.extend(contents.facts);
            let views = contents.tensors.into_iter();
            tensors.extend(views.map(|(name, view)| (name, (number, view))));
        }
        shards::all_found(&tensors, places)?;
        // There is one part at least, and none was of no container.
        let container = container.unwrap_or(Container::Safetensors);
        let views = by_name(tensors)?;
        let infos = views.iter().map(|(name, (_, view))| (name.clone(), view.info())).collect();
        Ok(Checkpoint { parts, container, infos, views, facts })
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
        &self.facts
    }

    /// The elements of a tensor in row-major order of its logical shape, whatever its strides.
    ///
    /// f16 and bf16 are widened exactly, f64 is rounded to the nearest f32. A compressed zip entry
    /// is inflated anew by every call.
    ///
    /// # Errors
    ///
    /// If there is no such tensor, if it holds integers, or if its compressed data are corrupt.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        self.read(name, |view, file| view.read_f32(name, file))
    }

    /// The elements of a tensor of u8, in row-major order of its logical shape.
    ///
    /// # Errors
    ///
    /// If there is no such tensor, if it has another type, or if its compressed data are corrupt.
    pub fn read_u8(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        self.read(name, |view, file| view.read_u8(name, file))
    }

    fn read<T>(
        &self,
        name: &str,
        read: impl Fn(&View, &[u8]) -> Result<T, CheckpointError>,
    ) -> Result<T, CheckpointError> {
        let (number, view) = self.views.get(name).ok_or_else(|| {
            CheckpointError::UnknownTensor { name: name.to_owned(), tensors: self.views.len() }
        })?;
        let of_shard = |error| shards::in_shard(&self.parts, *number, error);
        read(view, &self.parts[*number].source).map_err(of_shard)
    }

    /// SHA-256 of the whole file in lower-case hexadecimal; of shards, of their bytes one after
    /// another in order of their names.
    pub fn sha256(&self) -> String {
        let mut digest = Sha256::new();
        self.parts.iter().for_each(|part| digest.update(&*part.source));
        digest.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

impl Contents {
    /// Tensors and nothing else.
    fn of(tensors: Vec<(String, View)>) -> Contents {
        Contents { tensors, facts: Facts::new() }
    }
}

fn no_checkpoint(What { found, advice }: What) -> CheckpointError {
    CheckpointError::UnknownContainer { found, advice }
}

/// Orders tensors by name, without the prefixes that wrappers add to every name.
fn by_name(
    tensors: Vec<(String, (usize, View))>,
) -> Result<BTreeMap<String, (usize, View)>, CheckpointError> {
    const WRAPPER_PREFIXES: [&str; 2] = ["module.", "_orig_mod."];
    let mut skip = 0;
    while let Some(prefix) = WRAPPER_PREFIXES
        .iter()
        .find(|prefix| tensors.iter().all(|(name, _)| name[skip..].starts_with(**prefix)))
    {
        skip += prefix.len();
    }
    let mut views = BTreeMap::new();
    for (name, view) in tensors {
        match views.entry(name[skip..].to_owned()) {
            Entry::Vacant(entry) => entry.insert(view),
            Entry::Occupied(entry) => {
                return Err(CheckpointError::DuplicateTensor {
                    name: entry.key().clone(),
                    offset: view.1.offset() as u64,
                });
            }
        };
    }
    Ok(views)
}
