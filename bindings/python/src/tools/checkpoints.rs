//! Checkpoints, imported and fetched.

use super::{from_json, interruptible, report};
use crate::arguments;
use crate::errors::{Failure, Kind, OrRaise};
use effnet::arch::Variant;
use effnet::image::Interpolation;
use effnet::weights::{
    Checked, Family, ImportOptions, ImportReport, Labels, OutputActivation, PaddingChoice,
    Progress, PullOptions, RecipeOverrides, default_folder, default_output, find, import,
    packed_path,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::path::PathBuf;

/// Writes a public checkpoint as packed weights. Nothing found in the checkpoint is executed.
///
/// Args:
///     src: The checkpoint: safetensors, PyTorch's .pth and .pt, Paddle's .pdparams, .npz, a wheel
///         or a folder with one of them inside, ONNX, or a Paddle inference model.
///     dst: The packed file, which is replaced; ``NAME.PRECISION.safetensors`` in the folder that
///         ``effnet import`` takes where none is given.
///     precision: How weights are stored, ``"fp16"`` or ``"fp32"``.
///     variant, family: What the checkpoint is; recognised where they are not given.
///     name: The name to record.
///     key: The dict of tensors to take of several.
///     labels: Class names, a label file, ``"imagenet"`` or ``"none"``.
///     activation: ``"softmax"``, ``"sigmoid"`` or ``"none"``.
///     padding: ``"symmetric"``, ``"same"``, ``"same-frozen"`` or ``"same-cropped"``.
///     bn_eps: The batch-norms' eps.
///     size: Side of the input in pixels, or (height, width).
///     crop_pct, margin: How much of the resized picture is kept.
///     interpolation: ``"pillow-bicubic"``, ``"pillow-bilinear"``, ``"opencv-bilinear"`` or
///         ``"tensorflow-bicubic"``.
///     mean, std: Of the channels R, G, B, 0 to 1.
///     exif: Whether the EXIF orientation of photographs is applied.
///
/// Returns:
///     An :class:`ImportReport`, which ``effnet.load`` takes as a path.
#[pyfunction]
#[pyo3(signature = (
    src, dst = None, *, precision = "fp16", variant = None, family = None, name = None, key = None,
    labels = None, activation = None, padding = None, bn_eps = None, size = None, crop_pct = None,
    margin = None, interpolation = None, mean = None, std = None, exif = None,
))]
#[expect(clippy::too_many_arguments, reason = "each has a name and a default in Python")]
pub fn import_checkpoint<'py>(
    py: Python<'py>,
    src: PathBuf,
    dst: Option<PathBuf>,
    precision: &str,
    variant: Option<&str>,
    family: Option<&str>,
    name: Option<String>,
    key: Option<String>,
    labels: Option<&Bound<'_, PyAny>>,
    activation: Option<&str>,
    padding: Option<&str>,
    bn_eps: Option<f64>,
    size: Option<&Bound<'_, PyAny>>,
    crop_pct: Option<f64>,
    margin: Option<usize>,
    interpolation: Option<&str>,
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    exif: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    let kernels = [
        ("pillow-bicubic", Interpolation::PillowBicubic),
        ("pillow-bilinear", Interpolation::PillowBilinear),
        ("opencv-bilinear", Interpolation::OpencvBilinear),
        ("tensorflow-bicubic", Interpolation::TensorflowBicubic),
    ];
    let paddings = PaddingChoice::ALL.map(|choice| (choice.name(), choice));
    let activations = OutputActivation::ALL.map(|activation| (activation.name(), activation));
    let one_of_paddings = |name| arguments::one_of("padding", name, &paddings);
    let one_of_kernels = |name| arguments::one_of("interpolation", name, &kernels);
    let one_of_activations = |name| arguments::one_of("activation", name, &activations);
    let options = ImportOptions {
        variant: variant.map(parsed::<Variant>).transpose()?,
        family: family.map(parsed::<Family>).transpose()?,
        precision: arguments::precision(precision)?,
        padding: padding.map(one_of_paddings).transpose()?,
        bn_eps,
        recipe: RecipeOverrides {
            size: arguments::size(size)?,
            framing: None,
            crop_pct,
            margin,
            interpolation: interpolation.map(one_of_kernels).transpose()?,
            mean,
            std,
            exif_orientation: exif,
        },
        labels: labels.map(labels_of).transpose()?,
        activation: activation.map(one_of_activations).transpose()?,
        name,
        key,
    };
    let report = py.detach(|| {
        let output = match dst {
            Some(dst) => dst,
            None => default_output(&src, &options)?,
        };
        import(&src, &output, &options).map_err(Failure::from)
    });
    imported(py, &report.or_raise(py)?, "ImportReport", None)
}

fn parsed<T: std::str::FromStr<Err: ToString>>(name: &str) -> PyResult<T> {
    name.parse().map_err(|error: T::Err| PyValueError::new_err(error.to_string()))
}

/// Class names: a list of them, a label file, `imagenet` or `none`.
fn labels_of(labels: &Bound<'_, PyAny>) -> PyResult<Labels> {
    let py = labels.py();
    if let Ok(text) = labels.cast::<PyString>() {
        match &*text.to_cow()? {
            "imagenet" => return Ok(Labels::Imagenet1k),
            "none" => return Ok(Labels::None),
            _ => {}
        }
    }
    if let Ok(path) = labels.extract::<PathBuf>() {
        return py.detach(|| Labels::open(&path)).or_raise(py);
    }
    let names = labels.extract::<Vec<String>>().map_err(|_| {
        PyTypeError::new_err(
            "labels: expected a list of names, the path of a label file, 'imagenet' or 'none'",
        )
    })?;
    Ok(Labels::Names(names))
}

/// What an import did, with what a pull adds.
fn imported<'py>(
    py: Python<'py>,
    found: &ImportReport,
    class: &str,
    more: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let fields = PyDict::new(py);
    fields.set_item("path", &found.output)?;
    fields.set_item("bytes", found.output_bytes)?;
    fields.set_item("metadata", from_json(py, &found.metadata)?)?;
    fields.set_item("evidence", &found.evidence)?;
    fields.set_item("notes", pyo3::types::PyTuple::new(py, &found.notes)?)?;
    if let Some(more) = more {
        fields.update(more.as_mapping())?;
    }
    report(py, class, &fields)
}

/// Downloads a known public checkpoint, checks its digest and imports it.
///
/// Args:
///     name: A name of :func:`catalogue`, in full or as far as one publisher's is left, as in
///         ``"lite0"``.
///     output: The packed file; a name of its own in the folder that ``effnet pull`` takes where
///         none is given.
///     precision: How weights are stored, ``"fp16"`` or ``"fp32"``.
///     url: A mirror of the checkpoint's file.
///     sha256: What the file's SHA-256 must be.
///     progress: Called with (bytes that are there, length of the file or None) while it is
///         fetched.
///
/// Returns:
///     A :class:`PullReport`, which ``effnet.load`` takes as a path.
#[pyfunction]
#[pyo3(signature = (
    name, *, output = None, precision = "fp16", url = None, sha256 = None, progress = None,
))]
pub fn pull<'py>(
    py: Python<'py>,
    name: &str,
    output: Option<PathBuf>,
    precision: &str,
    url: Option<String>,
    sha256: Option<String>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let precision = arguments::precision(precision)?;
    let entry = find(name).map_err(|error| {
        Failure::new(Kind::Weights, format!("{error}; effnet.catalogue() has the known names"))
    });
    let entry = entry.or_raise(py)?;
    let sha256 = sha256.map(|digest| sha256_of(&digest)).transpose()?;
    let pulled = interruptible(py, |tell| {
        let output = match output {
            Some(output) => output,
            None => packed_path(&default_folder()?, entry, precision),
        };
        let options =
            PullOptions { url, output: Some(output), precision, sha256, ..PullOptions::default() };
        let report = effnet::weights::pull(entry, &options, &mut |done| {
            tell(&mut |py| match (&progress, done) {
                (Some(progress), Progress::Bytes { done, total }) => {
                    progress.call1(py, (done, total)).map(drop)
                }
                (_, Progress::Bytes { .. } | Progress::Waiting) => Ok(()),
            });
        });
        report.map_err(Failure::from)
    })?;
    let pulled = pulled.or_raise(py)?;
    let more = PyDict::new(py);
    more.set_item("checkpoint", &pulled.checkpoint)?;
    more.set_item("downloaded_bytes", pulled.downloaded_bytes)?;
    more.set_item("resumed_at_bytes", pulled.resumed_at_bytes)?;
    more.set_item("verified", pulled.is_verified())?;
    let checked = match pulled.checked {
        Checked::Sha256 => "sha256",
        Checked::Sha256Prefix => "sha256-prefix",
        Checked::Nothing => "nothing",
    };
    more.set_item("checked", checked)?;
    imported(py, &pulled.import, "PullReport", Some(&more))
}

fn sha256_of(text: &str) -> PyResult<String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(PyValueError::new_err("sha256: expected 64 hexadecimal digits, as sha256sum prints them"))
}
