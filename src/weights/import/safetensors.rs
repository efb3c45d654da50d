//! The safetensors container: a JSON header, then the tensors' bytes without a gap.
//!
//! # Budget
//!
//! A parsed header takes up to 24 bytes of memory a byte: of a list of zeros, as a tensor's shape
//! may be one, every two bytes become a number of 8, in a vector that doubles as it grows; an empty
//! tensor of 50 bytes becomes 200 in each of the maps that hold it. The header's length stands
//! before it, and [`read_header`] refuses more than [`MAX_HEADER_BYTES`] before it parses any, so
//! that a header takes 100 MB at most. A header of this family has 60 to 200 KB.

use super::error::{corrupt, quote, too_large, unsupported};
use super::tensor::{Data, View, row_major};
use super::{CheckpointError, Contents, Dtype, facts};
use ::safetensors::tensor::{Dtype as StoredDtype, Metadata, SafeTensorError, SafeTensors};

/// Bytes of the header's length.
const LENGTH_BYTES: usize = 8;
/// Largest header that is parsed.
pub const MAX_HEADER_BYTES: u64 = 4_000_000;

/// Why a safetensors header could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The header is larger than any that describes a network's tensors. None of it was parsed.
    #[error("header: expected at most {MAX_HEADER_BYTES} bytes, found {found}")]
    TooLarge {
        /// Bytes of the header, all of which the file has.
        found: u64,
    },
    /// The file is cut short, or its header contradicts itself or the file's length.
    #[error(transparent)]
    Invalid(#[from] SafeTensorError),
}

/// Reads the header of the safetensors file `file`: gives the offset of the tensors' data, and what
/// the header says of them. Their extents are those of the file, without gap or overlap.
///
/// The header is copied before it is parsed, and only the copy counts: a mapped file may change
/// meanwhile, and text that has been found to be UTF-8 must stay so.
///
/// # Errors
///
/// [`HeaderError::TooLarge`] for a header of more than [`MAX_HEADER_BYTES`], which is not parsed.
/// A header that goes on beyond the file's end is invalid, whatever length it claims.
pub fn read_header(file: &[u8]) -> Result<(usize, Metadata), HeaderError> {
    let Some((&length, rest)) = file.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(SafeTensorError::HeaderTooSmall.into());
    };
    let found = u64::from_le_bytes(length);
    if found > rest.len() as u64 {
        return Err(SafeTensorError::InvalidHeaderLength.into());
    }
    if found > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLarge { found });
    }
    let header_bytes = found as usize;
    let header = [&length[..], &rest[..header_bytes]].concat();
    let data_start = header.len();
    let text = str::from_utf8(&header[LENGTH_BYTES..]).map_err(SafeTensorError::InvalidHeader)?;
    // Reads a header without the data that belong to it, as the crate's own reader does not.
    let metadata: Metadata = serde_json::from_str(text).map_err(|error| {
        // The crate's own reader says which rule was broken, where the JSON is sound.
        match SafeTensors::read_metadata(&header) {
            Err(rule) if !matches!(rule, SafeTensorError::MetadataIncompleteBuffer) => rule,
            _ => SafeTensorError::InvalidHeaderDeserialization(error),
        }
    })?;
    if data_start.checked_add(metadata.data_len()) != Some(file.len()) {
        return Err(SafeTensorError::MetadataIncompleteBuffer.into());
    }
    Ok((data_start, metadata))
}

/// Whether a file starts like this container. The length is not compared with the file's, so that
/// a truncated file is told so.
pub(super) fn recognises(file: &[u8]) -> bool {
    file.get(LENGTH_BYTES) == Some(&b'{')
}

pub(super) fn index(file: &[u8]) -> Result<Contents, CheckpointError> {
    let (data_start, metadata) = read_header(file).map_err(|error| match error {
        HeaderError::TooLarge { found } => {
            too_large("bytes of the safetensors header", 0, MAX_HEADER_BYTES, found)
        }
        HeaderError::Invalid(error) => fault(file, error),
    })?;
    let mut tensors = Vec::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = (data_start + info.data_offsets.0, data_start + info.data_offsets.1);
        let dtype = match info.dtype {
            StoredDtype::F16 => Dtype::F16,
            StoredDtype::BF16 => Dtype::Bf16,
            StoredDtype::F32 => Dtype::F32,
            StoredDtype::F64 => Dtype::F64,
            StoredDtype::I8 => Dtype::I8,
            StoredDtype::I16 => Dtype::I16,
            StoredDtype::I32 => Dtype::I32,
            StoredDtype::I64 => Dtype::I64,
            StoredDtype::U8 => Dtype::U8,
            StoredDtype::U16 => Dtype::U16,
            StoredDtype::U32 => Dtype::U32,
            StoredDtype::U64 => Dtype::U64,
            StoredDtype::BOOL => Dtype::Bool,
            other => {
                let what = format!("element type of tensor {}", quote(&name));
                return Err(unsupported(what, start, "plain numbers", format!("{other:?}")));
            }
        };
        let strides = row_major(&info.shape);
        let data = Data::File(start..end);
        let view = View::new(&name, start, data, dtype, info.shape.clone(), strides, 0)?;
        tensors.push((name, view));
    }
    // The crate lists them in no order.
    tensors.sort_by_key(|(_, view)| view.offset());
    let facts = facts::of_texts(metadata.metadata().iter().flatten());
    Ok(Contents { facts, ..Contents::of(tensors) })
}

/// The crate's errors in this reader's words: with offsets, and with the expected content of the
/// file.
fn fault(file: &[u8], error: SafeTensorError) -> CheckpointError {
    let declared = file.first_chunk().map_or(0, |&length| u64::from_le_bytes(length));
    let after_length = (file.len() - LENGTH_BYTES.min(file.len())) as u64;
    let data_start = LENGTH_BYTES.saturating_add(declared as usize);
    let header = "safetensors header";
    match error {
        SafeTensorError::HeaderTooSmall => CheckpointError::Truncated {
            what: header,
            offset: 0,
            needed: LENGTH_BYTES as u64,
            remaining: file.len() as u64,
        },
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooLarge => {
            CheckpointError::Truncated {
                what: header,
                offset: LENGTH_BYTES as u64,
                needed: declared,
                remaining: after_length,
            }
        }
        SafeTensorError::InvalidHeader(error) => {
            corrupt(header, LENGTH_BYTES + error.valid_up_to(), "UTF-8", "other bytes")
        }
        SafeTensorError::InvalidHeaderDeserialization(error)
        | SafeTensorError::JsonError(error) => {
            // The header is one line in every file seen, so that the column is the offset.
            let at = if error.line() <= 1 { error.column() } else { 0 };
            corrupt(header, LENGTH_BYTES + at, "JSON that describes tensors", error.to_string())
        }
        SafeTensorError::InvalidOffset(name) => corrupt(
            format!("data_offsets of tensor {}", quote(&name)),
            LENGTH_BYTES,
            "the byte after the tensor before, without gap or overlap",
            "another start, or an end before it",
        ),
        SafeTensorError::MetadataIncompleteBuffer => corrupt(
            "safetensors data",
            data_start,
            "as many bytes as the header describes",
            format!("{} bytes", file.len().saturating_sub(data_start)),
        ),
        SafeTensorError::TensorInvalidInfo => corrupt(
            header,
            LENGTH_BYTES,
            "data_offsets as far apart as shape and dtype say",
            "a tensor of another size",
        ),
        other => corrupt(header, LENGTH_BYTES, "a sound header", other.to_string()),
    }
}
