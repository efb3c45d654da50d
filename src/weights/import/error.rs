//! Errors of checkpoint files.

use super::Dtype;
use crate::mapped::FileError;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a checkpoint, or one of its tensors, could not be read.
///
/// `offset` counts bytes from the start of the file. Inside a compressed zip entry, whose bytes
/// have no offset of their own in the file, it counts from the start of the inflated entry.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {source}; expected a checkpoint file that can be read", path.display())]
    Io {
        /// The file asked for.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A folder, a device or a pipe, none of which is opened.
    #[error("{}: expected a checkpoint file, found {found}; save it as a file first", path.display())]
    NotAFile {
        /// The path given.
        path: PathBuf,
        /// What is there, in words.
        found: &'static str,
    },
    /// The file had another length when it was opened: another program truncated it or wrote to it.
    #[error(
        "{}: expected the {expected} bytes that it had when it was opened, found {found}: another \
         program changed the file while it was read; wait until it is whole, and import it again",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its length when it was opened.
        expected: u64,
        /// Its length now.
        found: u64,
    },
    /// A shard of the checkpoint is not there.
    #[error(
        "{}: expected this shard beside the others, {shards} in all, found no such file (missing: \
         {missing}); fetch it into the same folder", path.display()
    )]
    MissingShard {
        /// The first that is missing.
        path: PathBuf,
        /// Number of shards that are missing.
        missing: usize,
        /// Number of shards of the checkpoint.
        shards: usize,
    },
    /// A shard of the checkpoint cannot be read.
    #[error("{}: {source}", path.display())]
    InShard {
        /// The shard.
        path: PathBuf,
        /// Error of its reader.
        source: Box<CheckpointError>,
    },
    /// A folder that holds no checkpoint, or several.
    #[error("{}: expected a folder with one checkpoint, found {found}; {advice}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The checkpoints in it, or what it is.
        found: String,
        /// The way to a checkpoint that can be read.
        advice: String,
    },
    /// The file starts like none of the containers.
    #[error(
        "offset 0: expected the start of a safetensors, PyTorch (zip or legacy), Paddle, NumPy or \
         ONNX file, found {found}; {advice}"
    )]
    UnknownContainer {
        /// The file in words, where it is known; else its first bytes.
        found: String,
        /// The way to a checkpoint that can be read.
        advice: String,
    },
    /// The file ends, or its enclosing part does, before something it announced.
    #[error(
        "offset {offset}: truncated {what}: expected {needed} more bytes, found {remaining}; \
         fetch the file again"
    )]
    Truncated {
        /// The part that was being read.
        what: &'static str,
        /// Offset at which the missing bytes were to start.
        offset: u64,
        /// Number of bytes announced.
        needed: u64,
        /// Number of bytes that remain.
        remaining: u64,
    },
    /// The file contradicts itself or its format.
    #[error(
        "offset {offset}: {what}: expected {expected}, found {found}; the file is damaged or cut \
         short: fetch or save it again"
    )]
    Corrupt {
        /// Part of the file that is at fault.
        what: String,
        /// Offset of that part.
        offset: u64,
        /// The value that the format asks for.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// The file is sound as far as it was read, but uses a feature that this reader does not
    /// handle.
    #[error("offset {offset}: unsupported {what}: expected {expected}, found {found}")]
    Unsupported {
        /// The feature.
        what: String,
        /// Offset of the feature.
        offset: u64,
        /// The values that the reader handles.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// A pickle opcode outside the closed list.
    #[error(
        "offset {offset}: expected a pickle opcode that plain data needs, found 0x{opcode:02x}; \
         nothing was run; save the state dict alone"
    )]
    ForbiddenOpcode {
        /// Offset of the opcode.
        offset: u64,
        /// The opcode.
        opcode: u8,
    },
    /// An object of a pickle global outside the closed list, where a tensor or the state dict is
    /// needed.
    #[error(
        "offset {offset}: {what}: expected {expected}, found an object of {}, which this reader \
         does not make; nothing was run; save the state dict alone, or convert it to safetensors \
         where it is trusted",
        quote(global)
    )]
    ForbiddenGlobal {
        /// The place where the object stands, such as the tensor's name.
        what: String,
        /// The object that was needed.
        expected: &'static str,
        /// Offset of the opcode that was to make the object, or of the global's name.
        offset: u64,
        /// `module.name`.
        global: String,
    },
    /// More than the reader is ready to hold or do, or than the file's size can justify.
    #[error(
        "offset {offset}: {what}: expected at most {limit}, found {found}; fetch the file again, \
         or save the state dict alone"
    )]
    TooLarge {
        /// The counted quantity.
        what: String,
        /// Offset of the number.
        offset: u64,
        /// The largest accepted.
        limit: u64,
        /// The number that the file asks for.
        found: u64,
    },
    /// Two tensors of one name.
    #[error("offset {offset}: expected tensor names to be unique, found {} twice", quote(name))]
    DuplicateTensor {
        /// The name.
        name: String,
        /// Offset of the second tensor, or of the list that holds it.
        offset: u64,
    },
    /// The file is sound, but no state dict was found in it.
    #[error(
        "offset {offset}: expected a state dict of named tensors, or one under a usual key such \
         as \"state_dict\", found {found}; save the model's state dict and import that"
    )]
    NoTensors {
        /// Offset of the outermost object.
        offset: u64,
        /// Content of the outermost object.
        found: String,
    },
    /// No dict of tensors, and no start of tensor names, is the key that was asked for.
    #[error("expected a key of the checkpoint, found {}; there are {there}", quote(key))]
    UnknownKey {
        /// The key asked for.
        key: String,
        /// The keys that there are.
        there: String,
    },
    /// [`Checkpoint::read_f32`](super::Checkpoint::read_f32) was asked for a tensor that is not
    /// there.
    #[error("expected one of the checkpoint's {tensors} tensors, found no {}", quote(name))]
    UnknownTensor {
        /// The name asked for.
        name: String,
        /// Number of tensors in the checkpoint.
        tensors: usize,
    },
    /// [`Checkpoint::read_f32`](super::Checkpoint::read_f32) was asked for a tensor of integers.
    #[error(
        "offset {offset}: tensor {}: expected f16, bf16, f32 or f64, found {dtype}",
        quote(name)
    )]
    NotFloat {
        /// The name asked for.
        name: String,
        /// Element type of the tensor.
        dtype: Dtype,
        /// Offset of the tensor's data.
        offset: u64,
    },
    /// [`Checkpoint::read_u8`](super::Checkpoint::read_u8) was asked for a tensor of another type.
    #[error("offset {offset}: tensor {}: expected u8, found {dtype}", quote(name))]
    NotBytes {
        /// The name asked for.
        name: String,
        /// Element type of the tensor.
        dtype: Dtype,
        /// Offset of the tensor's data.
        offset: u64,
    },
}

impl CheckpointError {
    pub(super) fn of_file(path: &Path, error: FileError) -> CheckpointError {
        let path = path.to_owned();
        match error {
            FileError::Io(source) => CheckpointError::Io { path, source },
            FileError::NotAFile(found) => CheckpointError::NotAFile { path, found },
            FileError::Changed { expected, found } => {
                CheckpointError::Changed { path, expected, found }
            }
        }
    }
}

/// Text of a file, escaped and cut to a length fit for a message.
pub(super) fn quote(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    match text.char_indices().nth(MAX_CHARS) {
        Some((cut, _)) => format!("{:?} and {} more bytes", &text[..cut], text.len() - cut),
        None => format!("{text:?}"),
    }
}

/// Shorthand for [`CheckpointError::Corrupt`].
pub(super) fn corrupt(
    what: impl Into<String>,
    offset: usize,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> CheckpointError {
    CheckpointError::Corrupt {
        what: what.into(),
        offset: offset as u64,
        expected: expected.into(),
        found: found.into(),
    }
}

/// Shorthand for [`CheckpointError::Unsupported`].
pub(super) fn unsupported(
    what: impl Into<String>,
    offset: usize,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> CheckpointError {
    CheckpointError::Unsupported {
        what: what.into(),
        offset: offset as u64,
        expected: expected.into(),
        found: found.into(),
    }
}

/// Shorthand for [`CheckpointError::TooLarge`].
pub(super) fn too_large(
    what: impl Into<String>,
    offset: usize,
    limit: u64,
    found: u64,
) -> CheckpointError {
    CheckpointError::TooLarge { what: what.into(), offset: offset as u64, limit, found }
}
