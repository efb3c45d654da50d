//! Constant tensors of ONNX files: in the file, in its typed fields, or in a file beside it.

use super::super::error::{corrupt, quote, unsupported};
use super::super::graph::Small;
use super::super::proto::{Field, MAX_INTS, Value};
use super::super::tensor::{Data, View, elems_of, row_major};
use super::super::{CheckpointError, exported};
use super::{Dtype, dtype, pair};
use crate::mapped::MappedFile;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// A tensor as it stands in a file.
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// `None` for texts and other elements that are no plain numbers.
    pub(super) view: Option<View>,
    pub(super) small: Option<Small>,
}

/// The files beside a model that hold its tensors.
pub(super) struct Beside<'a> {
    folder: Option<&'a Path>,
    open: BTreeMap<PathBuf, Arc<MappedFile>>,
    /// The same files by the locations that tensors give, and by the paths that links lead to: a
    /// file of many names is mapped, and hashed, once.
    known: HashMap<PathBuf, Arc<MappedFile>>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(folder: Option<&'a Path>) -> Beside<'a> {
        Beside { folder, open: BTreeMap::new(), known: HashMap::new() }
    }

    pub(super) fn files(self) -> Vec<exported::Beside> {
        self.open.into_iter().map(|(path, map)| exported::Beside { path, map }).collect()
    }

    /// The file at `location`, which is in the model's folder or below.
    fn open(&mut self, location: &str, offset: usize) -> Result<Arc<MappedFile>, CheckpointError> {
        let relative = Path::new(location);
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if location.is_empty() || !relative.components().all(plain) {
            let expected = "a file in the model's folder";
            return Err(unsupported("location of a tensor", offset, expected, quote(location)));
        }
        let Some(folder) = self.folder else {
            let found = format!("a tensor in {}", quote(location));
            return Err(unsupported("ONNX model", offset, "all tensors in the file", found));
        };
        // The parent of a plain file name is an empty path, which is no folder's name.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let names = relative.components().filter(|part| matches!(part, Component::Normal(_)));
        let path = folder.join(names.collect::<PathBuf>());
        if let Some(map) = self.known.get(&path) {
            return Ok(map.clone());
        }
        let failed = |source| CheckpointError::Io { path: path.clone(), source };
        // A link must not lead out of the folder either.
        let (real, inside) = (path.canonicalize(), folder.canonicalize());
        let (real, inside) = (real.map_err(failed)?, inside.map_err(failed)?);
        if !real.starts_with(&inside) {
            let (expected, found) = ("a file in the model's folder", quote(location));
            return Err(unsupported("location of a tensor", offset, expected, found));
        }
        let map = match self.known.get(&real) {
            Some(map) => map.clone(),
            None => {
                let map = Arc::new(super::super::map(&real)?);
                self.open.insert(path.clone(), map.clone());
                self.known.insert(real, map.clone());
                map
            }
        };
        self.known.insert(path, map.clone());
        Ok(map)
    }
}

/// Reads the `TensorProto` of a field.
pub(super) fn read(
    file: &[u8],
    field: &Field,
    beside: &mut Beside<'_>,
) -> Result<Tensor, CheckpointError> {
    const WHAT: &str = "ONNX tensor";
    let at = field.at;
    let mut message = field.message(file, WHAT)?;
    let (mut name, mut dims, mut number) = ("", Vec::new(), 0);
    let mut raw = None;
    let mut typed = Typed::default();
    let (mut external, mut location) = (false, BTreeMap::new());
    while let Some(field) = message.next()? {
        match field.number {
            1 => field.ints(file, WHAT, MAX_INTS, &mut dims)?,
            2 => number = field.int(WHAT)?,
            3 => {
                let found = "a segment of one";
                return Err(unsupported(WHAT, field.at, "whole tensors", found));
            }
            4 | 10 => typed.floats(file, &field)?,
            5 | 7 | 11 => field.ints(file, WHAT, file.len(), &mut typed.ints)?,
            8 => name = field.text(file, WHAT)?,
            9 => raw = Some(field.bytes(WHAT)?),
            13 => {
                let (key, value) = pair(file, &field)?;
                location.insert(key, value);
            }
            14 => external = field.int(WHAT)? == 1,
            _ => {}
        }
    }
    let what = || format!("tensor {}", quote(name));
    let side = |&side: &i64| usize::try_from(side).ok();
    let Some(shape) = dims.iter().map(side).collect::<Option<Vec<_>>>() else {
        return Err(corrupt(what(), at, "sides of 0 or more", format!("{dims:?}")));
    };
    let elems = elems_of(name, at, &shape)?;
    let name = name.to_owned();
    // Texts and 8-bit floats are no weights.
    let Some(dtype) = dtype(number) else {
        return Ok(Tensor { name, shape, view: None, small: None });
    };
    let expected = elems.checked_mul(dtype.elem_bytes());
    let data = if external {
        let map = beside.open(location.get("location").map_or("", String::as_str), at)?;
        let range = external_range(&location, expected, at)?;
        if range.end > map.len() {
            let expected = format!("at most {} bytes, as its file has", map.len());
            return Err(corrupt(what(), at, expected, format!("{range:?}")));
        }
        Data::Beside { map, range }
    } else if let Some(range) = raw {
        Data::File(range)
    } else {
        typed.data(dtype, at)?
    };
    if expected != Some(data.len()) {
        let expected = format!("{elems} elements of {dtype}");
        return Err(corrupt(what(), at, expected, format!("{} bytes", data.len())));
    }
    let small = match elems <= Small::MAX_ELEMS {
        true => small(&data.bytes(file)?, dtype, &shape),
        false => None,
    };
    let strides = row_major(&shape);
    let view = View::new(&name, at, data, dtype, shape.clone(), strides, 0)?;
    Ok(Tensor { name, shape, view: Some(view), small })
}

/// The place of a tensor in a file beside the model; without a length it is what the shape says.
fn external_range(
    location: &BTreeMap<String, String>,
    bytes: Option<usize>,
    at: usize,
) -> Result<Range<usize>, CheckpointError> {
    let number = |key: &str| match location.get(key) {
        None => Ok(None),
        Some(text) => text.parse::<usize>().map(Some).map_err(|_| {
            corrupt(format!("{key} of a tensor"), at, "a number of bytes", quote(text))
        }),
    };
    let start = number("offset")?.unwrap_or(0);
    let length = number("length")?.or(bytes).unwrap_or(usize::MAX);
    let end = start.checked_add(length);
    let end = end.ok_or_else(|| corrupt("offset of a tensor", at, "a place in a file", "more"))?;
    Ok(start..end)
}

/// The elements of a tensor in the fields of their types.
#[derive(Default)]
struct Typed {
    /// Where the floats stand, if that is one piece.
    range: Option<Range<usize>>,
    /// The floats' bytes, if they stand in more pieces.
    bytes: Vec<u8>,
    ints: Vec<i64>,
}

impl Typed {
    /// Floats of either width: packed, or one by one.
    fn floats(&mut self, file: &[u8], field: &Field) -> Result<(), CheckpointError> {
        if let Some(range) = self.range.take() {
            self.bytes.extend_from_slice(&file[range]);
        }
        match &field.value {
            Value::Bytes(range) if self.bytes.is_empty() => self.range = Some(range.clone()),
            Value::Bytes(range) => self.bytes.extend_from_slice(&file[range.clone()]),
            Value::Fixed32(bytes) => self.bytes.extend_from_slice(bytes),
            Value::Fixed64(bytes) => self.bytes.extend_from_slice(bytes),
            Value::Varint(_) => {
                let (what, found) = ("floats of a tensor", "a varint");
                return Err(corrupt(what, field.at, "four or eight bytes each", found));
            }
        }
        Ok(())
    }

    fn data(self, dtype: Dtype, at: usize) -> Result<Data, CheckpointError> {
        if let Some(range) = self.range {
            return Ok(Data::File(range));
        }
        if self.ints.is_empty() {
            return Ok(Data::Owned(self.bytes.into()));
        }
        let width = dtype.elem_bytes();
        let mut bytes = Vec::with_capacity(self.ints.len() * width);
        for number in self.ints {
            // Halves are stored as the whole numbers that their bits are.
            let fits = width == 8 || number >> (8 * width) == 0 || number >> (8 * width - 1) == -1;
            if !fits || matches!(dtype, Dtype::F32 | Dtype::F64) {
                let found = number.to_string();
                return Err(corrupt("tensor", at, format!("numbers of {dtype}"), found));
            }
            bytes.extend_from_slice(&number.to_le_bytes()[..width]);
        }
        Ok(Data::Owned(bytes.into()))
    }
}

/// The numbers of a small tensor.
fn small(bytes: &[u8], dtype: Dtype, shape: &[usize]) -> Option<Small> {
    fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|&bytes| convert(bytes)).collect()
    }
    let (data, int) = match dtype {
        Dtype::F32 => (each(bytes, |x| f64::from(f32::from_le_bytes(x))), false),
        Dtype::F64 => (each(bytes, f64::from_le_bytes), false),
        Dtype::F16 => (each(bytes, |x| half::f16::from_le_bytes(x).to_f64()), false),
        Dtype::I32 => (each(bytes, |x| f64::from(i32::from_le_bytes(x))), true),
        Dtype::I64 => (each(bytes, |x| i64::from_le_bytes(x) as f64), true),
        _ => return None,
    };
    Some(Small { shape: shape.to_vec(), data, int })
}
