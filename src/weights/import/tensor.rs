//! Element types, and strided views of a checkpoint's bytes.

use super::archive::Member;
use super::error::{corrupt, quote, too_large, unsupported};
use super::inflated::Bytes;
use super::{CheckpointError, latin1};
use crate::mapped::MappedFile;
use half::{bf16, f16};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the names are the documentation
pub enum Dtype {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl Dtype {
    /// Bytes of one element.
    pub fn elem_bytes(self) -> usize {
        match self {
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 | Dtype::U16 => 2,
            Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
            Dtype::F64 | Dtype::I64 | Dtype::U64 => 8,
        }
    }

    /// The type of NumPy's kind letter and width, as in `f4`; `None` for a type that is not a plain
    /// number.
    pub(super) fn from_numpy(text: &str) -> Option<Dtype> {
        Some(match text {
            "f2" => Dtype::F16,
            "f4" => Dtype::F32,
            "f8" => Dtype::F64,
            "i1" => Dtype::I8,
            "i2" => Dtype::I16,
            "i4" => Dtype::I32,
            "i8" => Dtype::I64,
            "u1" => Dtype::U8,
            "u2" => Dtype::U16,
            "u4" => Dtype::U32,
            "u8" => Dtype::U64,
            "b1" => Dtype::Bool,
            _ => return None,
        })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
            Dtype::I8 => "i8",
            Dtype::I16 => "i16",
            Dtype::I32 => "i32",
            Dtype::I64 => "i64",
            Dtype::U8 => "u8",
            Dtype::U16 => "u16",
            Dtype::U32 => "u32",
            Dtype::U64 => "u64",
            Dtype::Bool => "bool",
        })
    }
}

/// A checkpoint's description of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type as stored.
    pub dtype: Dtype,
    /// Logical shape; empty for a scalar.
    pub shape: Vec<usize>,
}

/// Place of a tensor storage's bytes.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// The bytes stand in the file as they are.
    File(Range<usize>),
    /// The bytes stand in the file as UTF-8 text, one code point below 256 a byte.
    Latin1 {
        /// The text.
        text: Range<usize>,
        /// Number of code points in the text.
        len: usize,
    },
    /// The bytes stand in a file beside the checkpoint.
    Beside {
        /// That file.
        map: Arc<MappedFile>,
        /// The bytes in it.
        range: Range<usize>,
    },
    /// The bytes were made of numbers that are stored in another form.
    Owned(Arc<[u8]>),
    /// The bytes are in a zip entry, after the first `skip` bytes.
    Member {
        /// The entry.
        member: Member,
        /// Bytes before the elements, such as a `.npy` header.
        skip: usize,
    },
}

impl Data {
    /// Bytes, once decoded.
    pub(super) fn len(&self) -> usize {
        match self {
            Data::File(range) | Data::Beside { range, .. } => range.len(),
            Data::Owned(bytes) => bytes.len(),
            Data::Latin1 { len, .. } => *len,
            Data::Member { member, skip } => member.size.saturating_sub(*skip),
        }
    }

    fn offset(&self) -> usize {
        match self {
            Data::File(range) | Data::Beside { range, .. } => range.start,
            Data::Owned(_) => 0,
            Data::Latin1 { text, .. } => text.start,
            Data::Member { member, .. } => member.range.start,
        }
    }

    /// The bytes, decoded for this call where they are not stored as they are.
    pub(super) fn bytes<'a>(&'a self, file: &'a [u8]) -> Result<Bytes<'a>, CheckpointError> {
        Ok(match self {
            Data::File(range) => Bytes::Borrowed(&file[range.clone()]),
            Data::Beside { map, range } => Bytes::Borrowed(&map[range.clone()]),
            Data::Owned(bytes) => Bytes::Borrowed(bytes),
            Data::Latin1 { text, len } => Bytes::Owned(latin1::decode(&file[text.clone()], *len)),
            Data::Member { member, skip } => match member.bytes(file)? {
                Cow::Borrowed(bytes) => Bytes::Borrowed(&bytes[*skip..]),
                Cow::Owned(bytes) => Bytes::Shared(Arc::new(bytes), *skip),
            },
        })
    }
}

/// A tensor of a checkpoint: a strided view of a storage, checked to lie inside it.
#[derive(Clone, Debug)]
pub(super) struct View {
    data: Data,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Strides in elements, as `start` is.
    strides: Vec<usize>,
    start: usize,
}

/// Checkpoints of this family have four axes at most; NumPy's old limit leaves room.
const MAX_RANK: usize = 32;

/// Number of elements of `shape`.
pub(super) fn elems_of(
    name: &str,
    offset: usize,
    shape: &[usize],
) -> Result<usize, CheckpointError> {
    if shape.len() > MAX_RANK {
        let what = format!("axes of tensor {}", quote(name));
        return Err(too_large(what, offset, MAX_RANK as u64, shape.len() as u64));
    }
    // A zero extent must not hide an overflow of the others.
    let product = shape.iter().filter(|&&n| n != 0).try_fold(1usize, |all, &n| all.checked_mul(n));
    match product {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(elems) => Ok(elems),
        None => Err(corrupt(
            format!("shape of tensor {}", quote(name)),
            offset,
            "a number of elements that fits 64 bits",
            format!("{shape:?}"),
        )),
    }
}

/// Row-major strides, in elements. The product of `shape` must have been checked.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1);
    }
    strides
}

/// Column-major strides, in elements. The product of `shape` must have been checked.
pub(super) fn column_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1] * shape[axis - 1].max(1);
    }
    strides
}

impl View {
    /// A view of `data`, whose element `[i, j, ..]` is number `start + i * strides[0] + ..`.
    ///
    /// # Errors
    ///
    /// If an element lies outside the storage, or if there are more elements than the storage has:
    /// strides of zero or overlapping windows, which no state dict of weights needs, would let a
    /// small file ask for any amount of memory. `offset` is where the description stands.
    pub(super) fn new(
        name: &str,
        offset: usize,
        data: Data,
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        start: usize,
    ) -> Result<View, CheckpointError> {
        let elems = elems_of(name, offset, &shape)?;
        if strides.len() != shape.len() {
            return Err(corrupt(
                format!("strides of tensor {}", quote(name)),
                offset,
                format!("{} of them", shape.len()),
                strides.len().to_string(),
            ));
        }
        let stored = data.len() / dtype.elem_bytes();
        let axes = shape.iter().zip(&strides);
        if let Some((n, _)) = axes.clone().find(|&(&n, &stride)| n > 1 && stride == 0) {
            return Err(unsupported(
                format!("stride of tensor {}", quote(name)),
                offset,
                "a positive stride",
                format!("0 along an axis of {n}"),
            ));
        }
        let last = axes
            .map(|(&n, &stride)| (n.saturating_sub(1), stride))
            .try_fold(start, |last, (steps, stride)| {
                steps.checked_mul(stride).and_then(|far| last.checked_add(far))
            });
        let fits = last.is_some_and(|last| last < stored) && elems <= stored;
        if elems != 0 && !fits {
            return Err(corrupt(
                format!("extent of tensor {}", quote(name)),
                offset,
                format!("at most the {stored} {dtype} elements of its storage"),
                format!("shape {shape:?}, strides {strides:?}, first element {start}"),
            ));
        }
        Ok(View { data, dtype, shape, strides, start })
    }

    /// Offset of the tensor's storage in the file.
    pub(super) fn offset(&self) -> usize {
        self.data.offset()
    }

    /// Place of the storage's bytes.
    pub(super) fn data(&self) -> &Data {
        &self.data
    }

    /// The compressed zip entry that the storage is, if it is one.
    pub(super) fn deflated(&self) -> Option<&Member> {
        match &self.data {
            Data::Member { member, .. } if !member.is_stored() => Some(member),
            _ => None,
        }
    }

    /// Bytes of the elements, as stored.
    pub(super) fn stored_bytes(&self) -> u64 {
        let elems: usize = self.shape.iter().product();
        elems as u64 * self.dtype.elem_bytes() as u64
    }

    pub(super) fn info(&self) -> TensorInfo {
        TensorInfo { dtype: self.dtype, shape: self.shape.clone() }
    }

    /// The elements in row-major order, as f32; `storage` gives the bytes of the storage.
    pub(super) fn read_f32<'a>(
        &self,
        name: &str,
        storage: impl FnOnce() -> Result<Bytes<'a>, CheckpointError>,
    ) -> Result<Vec<f32>, CheckpointError> {
        match self.dtype {
            Dtype::F16 => self.gather(storage, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Dtype::Bf16 => self.gather(storage, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Dtype::F32 => self.gather(storage, f32::from_le_bytes),
            Dtype::F64 => self.gather(storage, |bytes| f64::from_le_bytes(bytes) as f32),
            dtype => Err(CheckpointError::NotFloat {
                name: name.to_owned(),
                dtype,
                offset: self.offset() as u64,
            }),
        }
    }

    /// The bytes in row-major order, of a tensor of u8; `storage` gives the bytes of the storage.
    pub(super) fn read_u8<'a>(
        &self,
        name: &str,
        storage: impl FnOnce() -> Result<Bytes<'a>, CheckpointError>,
    ) -> Result<Vec<u8>, CheckpointError> {
        match self.dtype {
            Dtype::U8 => self.gather(storage, |[byte]| byte),
            dtype => Err(CheckpointError::NotBytes {
                name: name.to_owned(),
                dtype,
                offset: self.offset() as u64,
            }),
        }
    }

    fn gather<'a, const N: usize, T>(
        &self,
        storage: impl FnOnce() -> Result<Bytes<'a>, CheckpointError>,
        convert: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, CheckpointError> {
        let elems: usize = self.shape.iter().product();
        if elems == 0 {
            return Ok(Vec::new());
        }
        let bytes = storage()?;
        let (stored, _) = bytes.as_chunks::<N>();
        let stored = &stored[self.start..];
        // Strides of axes of one element mean nothing, and PyTorch leaves them as they come.
        let axes = self.shape.iter().copied().zip(self.strides.iter().copied());
        let (shape, strides): (Vec<_>, Vec<_>) = axes.filter(|&(n, _)| n != 1).unzip();
        let (Some((&row, outer)), Some((&step, outer_strides))) =
            (shape.split_last(), strides.split_last())
        else {
            return Ok(vec![convert(stored[0])]);
        };
        if strides == row_major(&shape) {
            return Ok(stored[..elems].iter().map(|&bytes| convert(bytes)).collect());
        }

        let mut values = Vec::with_capacity(elems);
        let mut index = vec![0; outer.len()];
        while values.len() < elems {
            let first: usize = index.iter().zip(outer_strides).map(|(i, stride)| i * stride).sum();
            values.extend((0..row).map(|i| convert(stored[first + i * step])));
            for axis in (0..outer.len()).rev() {
                index[axis] += 1;
                if index[axis] < outer[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(len: usize, shape: &[usize], strides: &[usize], start: usize) -> Result<View, String> {
        let data = Data::File(0..len);
        View::new("t", 7, data, Dtype::F32, shape.to_vec(), strides.to_vec(), start)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn views_are_gathered_in_row_major_order() {
        let file: Vec<u8> = (0..24u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        let read = |shape: &[usize], strides: &[usize], start| {
            let view = view(96, shape, strides, start).unwrap();
            view.read_f32("t", || view.data().bytes(&file)).unwrap()
        };
        assert_eq!(read(&[2, 3], &[3, 1], 0), [0., 1., 2., 3., 4., 5.]);
        assert_eq!(read(&[2, 3], &[1, 2], 0), [0., 2., 4., 1., 3., 5.]);
        assert_eq!(read(&[2, 1, 2], &[10, 999, 5], 4), [4., 9., 14., 19.]);
        assert_eq!(read(&[], &[], 23), [23.]);
        assert!(read(&[0, 5], &[5, 1], 900).is_empty());
    }

    #[test]
    fn views_outside_their_storage_are_refused() {
        for (shape, strides, start, fault) in [
            (&[25][..], &[1][..], 0, "at most the 24 f32 elements"),
            (&[2, 3], &[12, 6], 1, "first element 1"),
            (&[2], &[usize::MAX], 1, "at most the 24"),
            (&[usize::MAX, 2, 0], &[1, 1, 1], 0, "fits 64 bits"),
            (&[2, 3], &[0, 1], 0, "positive stride"),
            (&[20, 5], &[1, 1], 0, "at most the 24"),
            (&[2, 3], &[1], 0, "2 of them"),
        ] {
            let error = view(96, shape, strides, start).unwrap_err();
            assert!(error.contains(fault), "{error}");
            assert!(error.starts_with("offset 7"), "{error}");
        }
    }
}
