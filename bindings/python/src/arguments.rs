//! Arguments that more than one function takes, each with an error that says what would do.

use crate::errors::{Failure, Kind, OrRaise};
use effnet::arch::Size;
use effnet::kernels::Compute;
use effnet::launches::Path;
use effnet::session::{Device, DeviceRequest};
use effnet::weights::{Precision, Weights, find, installed};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::path::{self, PathBuf};
use std::thread;

/// Ending of packed files, after the point.
const PACKED: &str = effnet::weights::PACKED_EXTENSION;

/// What is done with an image that has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Its exception ends the call.
    Raise,
    /// None stands in its place.
    None,
    /// Its exception stands in its place.
    Return,
}

impl OnError {
    /// By its name.
    pub fn named(name: &str) -> PyResult<OnError> {
        let all = [("raise", OnError::Raise), ("none", OnError::None), ("return", OnError::Return)];
        one_of("on_error", name, &all)
    }
}

/// One of the values that have names.
pub fn one_of<T: Copy>(argument: &str, name: &str, all: &[(&str, T)]) -> PyResult<T> {
    let found = all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|(name, _)| format!("'{name}'")).collect();
        PyValueError::new_err(format!("{argument}: expected {}, found '{name}'", names.join(", ")))
    })
}

/// A whole number within a range.
pub fn number(argument: &str, found: i64, least: usize, most: usize) -> PyResult<usize> {
    match usize::try_from(found) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(PyValueError::new_err(format!(
            "{argument}: expected a whole number from {least} to {most}, found {found}"
        ))),
    }
}

/// As many threads as were asked for, else one per core.
pub fn threads(argument: &str, found: Option<i64>) -> PyResult<usize> {
    match found {
        Some(found) => number(argument, found, 1, 1024),
        None => Ok(thread::available_parallelism().map_or(1, usize::from)),
    }
}

/// A size: the side of a square, or (height, width).
pub fn size(found: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Size>> {
    let Some(found) = found else { return Ok(None) };
    let sides = match (found.extract::<i64>(), found.extract::<(i64, i64)>()) {
        (Ok(side), _) => (side, side),
        (_, Ok(sides)) => sides,
        _ => {
            let found = found.repr()?;
            return Err(PyTypeError::new_err(format!(
                "size: expected a number of pixels or (height, width), found {found}"
            )));
        }
    };
    let side = |side| number("size", side, 1, Size::MAX_SIDE);
    Ok(Some(Size { h: side(sides.0)?, w: side(sides.1)? }))
}

/// A precision that kernels compute in.
pub fn compute(name: Option<&str>) -> PyResult<Option<Compute>> {
    let all = [("fp16", Compute::Fp16), ("fp32", Compute::Fp32), ("tf32", Compute::Tf32)];
    name.map(|name| one_of("precision", name, &all)).transpose()
}

/// A precision that weights are stored in.
pub fn precision(name: &str) -> PyResult<Precision> {
    one_of("precision", name, &[("fp16", Precision::Fp16), ("fp32", Precision::Fp32)])
}

/// Which kernels run.
pub fn kernels(name: &str) -> PyResult<Path> {
    one_of("path", name, &[("fused", Path::Fused), ("layerwise", Path::Layerwise)])
}

/// The device of a name, or the one that `auto` takes.
pub fn device(py: Python<'_>, name: &str) -> PyResult<Device> {
    let request: DeviceRequest = name.parse().or_raise(py)?;
    Ok(py.detach(|| request.choose().device))
}

/// Opens the packed file that is meant, by path or by name.
///
/// What is `os.PathLike` is a path. A text is one where it ends in `.safetensors`, where there is a
/// file of it, and where it has a separator and is no name in the catalogue, as
/// `timm/efficientnet_b0.ra_in1k` is. Any other text is a name.
pub fn weights(py: Python<'_>, found: &Bound<'_, PyAny>) -> PyResult<Weights> {
    let is_text = found.is_instance_of::<PyString>();
    if !is_text && !found.hasattr("__fspath__")? {
        return Err(PyTypeError::new_err(format!(
            "expected the path of a packed file (str or os.PathLike) or a model's name (str), \
             found {}",
            crate::images::type_name(found)
        )));
    }
    let path: PathBuf = found.extract()?;
    let opened = py.detach(|| {
        let name = path.to_str().filter(|text| {
            let has_separator = text.contains(path::is_separator);
            let is_packed = path.extension().is_some_and(|ending| ending == PACKED);
            is_text
                && !text.is_empty()
                && !is_packed
                && !path.is_file()
                && (!has_separator || find(text).is_ok())
        });
        match name {
            Some(name) => installed(Some(name)).map(|found| found.weights).map_err(Failure::from),
            None if path.as_os_str().is_empty() => {
                let text =
                    "expected the path of a packed file or a model's name, found an empty text";
                Err(Failure::new(Kind::Value, text))
            }
            None => Weights::open(&path).map_err(Failure::from),
        }
    });
    opened.or_raise(py)
}
