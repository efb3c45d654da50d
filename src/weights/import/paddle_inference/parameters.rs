//! `.pdiparams`: tensors one after the other, in the order of their names, which stand elsewhere.
//!
//! Each tensor is: u32 0 (version), u64 0 (levels of detail: none), u32 0 (version), i32 length of
//! a `TensorDesc` (`data_type = 1`, `dims = 2`), that, and the elements, row-major.

use super::super::error::{corrupt, quote, unsupported};
use super::super::proto::{MAX_INTS, Message};
use super::super::tensor::{Data, View, elems_of, row_major};
use super::super::{CheckpointError, Dtype};
use super::Declared;
use std::collections::BTreeMap;
use std::ops::Range;

/// Makes the place of bytes from their range in the file of parameters.
pub(in super::super) type ToData<'a> = dyn Fn(Range<usize>) -> Data + 'a;

const WHAT: &str = "Paddle parameters";
/// Versions and levels, all zero, and the description's length.
const HEAD_BYTES: usize = 16;
/// A description of many axes.
const MAX_DESCRIPTION_BYTES: usize = 256;

/// Whether a file starts like this one.
pub(in super::super) fn recognises(file: &[u8]) -> bool {
    let Some((head, rest)) = file.split_first_chunk::<HEAD_BYTES>() else { return false };
    let Some((length, rest)) = rest.split_first_chunk() else { return false };
    let length = u32::from_le_bytes(*length) as usize;
    *head == [0; HEAD_BYTES]
        && (1..=MAX_DESCRIPTION_BYTES).contains(&length)
        && rest.first() == Some(&0x08)
}

/// The tensors in `file` under the names that are `declared`, in their order.
pub(super) fn index(
    file: &[u8],
    declared: &BTreeMap<String, Declared>,
    data: &ToData<'_>,
) -> Result<Vec<(String, View)>, CheckpointError> {
    let mut at = 0;
    let mut tensors = Vec::new();
    for (name, declared) in declared {
        let (view, end) = tensor(file, at, name, declared, data)?;
        tensors.push((name.clone(), view));
        at = end;
    }
    if at != file.len() {
        let found = format!("{} more bytes", file.len() - at);
        let expected = format!("the end after the program's {} parameters", declared.len());
        return Err(corrupt(WHAT, at, expected, found));
    }
    Ok(tensors)
}

fn take(file: &[u8], at: usize, length: usize) -> Result<&[u8], CheckpointError> {
    let remaining = file.len().saturating_sub(at);
    if length > remaining {
        let (needed, remaining) = (length as u64, remaining as u64);
        return Err(CheckpointError::Truncated {
            what: WHAT,
            offset: at as u64,
            needed,
            remaining,
        });
    }
    Ok(&file[at..at + length])
}

/// The tensor at an offset, and the offset behind it.
fn tensor(
    file: &[u8],
    at: usize,
    name: &str,
    declared: &Declared,
    data: &ToData<'_>,
) -> Result<(View, usize), CheckpointError> {
    let head = take(file, at, HEAD_BYTES)?;
    if head != [0; HEAD_BYTES] {
        let (what, expected) = ("versions of a tensor", "16 bytes of 0");
        return Err(unsupported(what, at, expected, format!("{head:?}")));
    }
    let length = take(file, at + HEAD_BYTES, 4)?;
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let start = at + HEAD_BYTES + 4;
    if length > MAX_DESCRIPTION_BYTES {
        let expected = format!("a description of at most {MAX_DESCRIPTION_BYTES} bytes");
        return Err(corrupt(format!("tensor {}", quote(name)), at, expected, length.to_string()));
    }
    take(file, start, length)?;
    let (number, dims) = description(Message::new(file, start..start + length, WHAT))?;
    let Some(dtype) = dtype(number) else {
        let what = format!("element type of tensor {}", quote(name));
        return Err(unsupported(what, start, "plain numbers", format!("type {number}")));
    };
    if dims != declared.shape {
        let expected = format!("{:?}, as the program says", declared.shape);
        let what = format!("shape of tensor {}", quote(name));
        return Err(corrupt(what, start, expected, format!("{dims:?}")));
    }
    let side = |&side: &i64| usize::try_from(side).ok();
    let Some(shape) = dims.iter().map(side).collect::<Option<Vec<_>>>() else {
        let what = format!("shape of tensor {}", quote(name));
        return Err(corrupt(what, start, "sides of 0 or more", format!("{dims:?}")));
    };
    let bytes = elems_of(name, start, &shape)?.saturating_mul(dtype.elem_bytes());
    let start = start + length;
    take(file, start, bytes)?;
    let end = start + bytes;
    let strides = row_major(&shape);
    let view = View::new(name, at, data(start..end), dtype, shape, strides, 0)?;
    Ok((view, end))
}

/// Element type and sides of a `TensorDesc`.
pub(super) fn description(mut message: Message<'_>) -> Result<(i64, Vec<i64>), CheckpointError> {
    let (mut number, mut dims) = (-1, Vec::new());
    let file = message.file();
    while let Some(field) = message.next()? {
        match field.number {
            1 => number = field.int(WHAT)?,
            2 => field.ints(file, WHAT, MAX_INTS, &mut dims)?,
            _ => {}
        }
    }
    Ok((number, dims))
}

/// `VarType.Type` of `framework.proto`.
fn dtype(number: i64) -> Option<Dtype> {
    Some(match number {
        0 => Dtype::Bool,
        1 => Dtype::I16,
        2 => Dtype::I32,
        3 => Dtype::I64,
        4 => Dtype::F16,
        5 => Dtype::F32,
        6 => Dtype::F64,
        20 => Dtype::U8,
        21 => Dtype::I8,
        22 => Dtype::Bf16,
        _ => return None,
    })
}
