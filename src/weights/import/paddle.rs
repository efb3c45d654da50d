//! Paddle's `.pdparams`: one pickle of NumPy arrays by name.

use super::error::{corrupt, quote, unsupported};
use super::pickle::{Node, Pickle};
use super::tensor::{Data, View, column_major, elems_of, row_major};
use super::{CheckpointError, Contents, Dtype, state_dict};

/// Paddle's mark of arrays that protocols 2 and 3 split because they pass 1 GiB.
const SPLIT_ARRAYS: &str = "UnpackBigParamInfor@@";

/// Whether a file starts like a pickle of protocol 2 or later.
pub(super) fn recognises(file: &[u8]) -> bool {
    matches!(file, [0x80, 2..=5, ..])
}

pub(super) fn index(file: &[u8], key: Option<&str>) -> Result<Contents, CheckpointError> {
    let pickle = Pickle::load(file, 0)?;
    if pickle.end != file.len() {
        let found = format!("{} more bytes", file.len() - pickle.end);
        return Err(corrupt("Paddle file", pickle.end, "the end after the pickle", found));
    }
    if pickle.get(pickle.root, SPLIT_ARRAYS).is_some() {
        let expected = "whole arrays, as protocol 4 writes them";
        return Err(unsupported("Paddle file", 0, expected, quote(SPLIT_ARRAYS)));
    }
    let found = state_dict::find(&pickle, 0, key, |id| match pickle.node(id) {
        Node::NdArray(_) => Some(id),
        // Saves of more than a state dict keep tensors as `(name, array)`.
        Node::Tuple(pair) => match **pair {
            [name, array]
                if pickle.is_text(name) && matches!(pickle.node(array), Node::NdArray(_)) =>
            {
                Some(array)
            }
            _ => None,
        },
        _ => None,
    })?;

    let tensors = found
        .tensors
        .iter()
        .map(|&(ref name, id)| {
            let Node::NdArray(Some(array)) = pickle.node(id) else {
                return Err(corrupt(quote(name), 0, "an array with its state", "one without"));
            };
            let descr = pickle.text_at(&array.descr);
            let dtype = Dtype::from_numpy(descr).ok_or_else(|| {
                let what = format!("element type of tensor {}", quote(name));
                unsupported(what, array.at, "plain numbers", quote(descr))
            })?;
            if array.big_endian && dtype.elem_bytes() > 1 {
                let what = format!("byte order of tensor {}", quote(name));
                return Err(unsupported(what, array.at, "little-endian", "big-endian"));
            }
            let elems = elems_of(name, array.at, &array.shape)?;
            let data = match array.latin1_len {
                Some(len) => Data::Latin1 { text: array.bytes.clone(), len },
                None => Data::File(array.bytes.clone()),
            };
            if elems.checked_mul(dtype.elem_bytes()) != Some(data.len()) {
                return Err(corrupt(
                    format!("data of tensor {}", quote(name)),
                    array.bytes.start,
                    format!("{elems} elements of {dtype}"),
                    format!("{} bytes", data.len()),
                ));
            }
            let strides = if array.fortran_order {
                column_major(&array.shape)
            } else {
                row_major(&array.shape)
            };
            let view = View::new(name, array.at, data, dtype, array.shape.clone(), strides, 0)?;
            Ok((name.clone(), view))
        })
        .collect::<Result<_, _>>()?;
    Ok(Contents::of_pickle(&pickle, found, tensors))
}
