//! Images as Python has them: paths, encoded bytes, pictures of Pillow, arrays of levels.

use crate::errors::{Failure, Kind};
use crate::tensors;
use effnet::image::{ImageWarning, Recipe, RgbImage8, preprocess_pixels};
use effnet::pipeline::ImageInput;
use numpy::{PyArray3, PyArrayDescrMethods, PyArrayMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyIterator, PyMapping, PyMemoryView, PySet, PyString};
use std::path::PathBuf;

/// One image, before it is read or decoded; nothing of it needs the interpreter any more.
pub enum Image {
    /// A file, or encoded bytes.
    Encoded(ImageInput),
    /// Levels of R, G, B.
    Levels(RgbImage8),
    /// The place of an object that is no image, or a picture that cannot be had.
    Unfit(Failure),
}

/// What a call was given: one image, or several.
pub enum Given<'py> {
    /// One image.
    One(Bound<'py, PyAny>),
    /// So many images.
    Many(Bound<'py, PyIterator>, usize),
}

const EXPECTED: &str = "expected a path (str or os.PathLike), encoded bytes, a PIL image, or a \
                        uint8 array [h, w, 3] of R, G, B";

/// Tells one image from several, by type; by shape only arrays, of which `[n, h, w, 3]` are `n`
/// images.
pub fn one_or_many<'py>(images: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
    let py = images.py();
    let many = |images: &Bound<'py, PyAny>| Ok(Given::Many(images.try_iter()?, images.len()?));
    if is_encoded(images)
        || is_picture(images)?
        || images.hasattr(pyo3::intern!(py, "__fspath__"))?
    {
        return Ok(Given::One(images.clone()));
    }
    if let Some(array) = tensors::array(images)? {
        let is_names = array.ndim() == 1 && matches!(array.dtype().kind(), b'O' | b'U');
        return match array.ndim() {
            4 => many(&array),
            _ if is_names => many(&array.call_method0("tolist")?),
            _ => Ok(Given::One(array.into_any())),
        };
    }
    if images.cast::<PyMapping>().is_ok() || images.cast::<PySet>().is_ok() {
        return Ok(Given::One(images.clone()));
    }
    let has = |name| images.hasattr(name);
    if has("__len__")? && has("__getitem__")? {
        return many(images);
    }
    if has("__iter__")? || has("__next__")? {
        return Err(PyTypeError::new_err(format!(
            "{EXPECTED}, or a sequence of these; found an iterable without a length ({}): pass \
             it to model.stream(...), or make it a list",
            type_name(images)
        )));
    }
    Ok(Given::One(images.clone()))
}

fn is_encoded(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyString>()
        || object.is_instance_of::<PyBytes>()
        || object.is_instance_of::<PyByteArray>()
        || object.is_instance_of::<PyMemoryView>()
}

/// Whether the object is a picture of Pillow; nobody has one who has not imported it.
fn is_picture(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let modules = object.py().import("sys")?.getattr("modules")?;
    let module = modules.call_method1("get", ("PIL.Image",))?;
    if module.is_none() {
        return Ok(false);
    }
    object.is_instance(&module.getattr("Image")?)
}

/// An image that does not need the interpreter any more.
///
/// # Errors
///
/// What ends the whole call, as an interrupt does. An object that is no image is [`Image::Unfit`].
pub fn image(object: &Bound<'_, PyAny>) -> PyResult<Image> {
    match read(object) {
        Ok(image) => Ok(image),
        Err(error) if error.is_instance_of::<PyException>(object.py()) => {
            // As of a picture that Pillow cannot finish to decode.
            let text = error.value(object.py()).to_string();
            let kind = if error.is_instance_of::<PyTypeError>(object.py()) {
                Kind::Type
            } else {
                Kind::Image
            };
            Ok(Image::Unfit(Failure::new(kind, text)))
        }
        Err(error) => Err(error),
    }
}

fn read(object: &Bound<'_, PyAny>) -> PyResult<Image> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Image::Encoded(ImageInput::bytes(PyBackedBytes::from(bytes.clone()))));
    }
    if let Ok(bytes) = object.cast::<PyByteArray>() {
        return Ok(Image::Encoded(ImageInput::bytes(bytes.to_vec())));
    }
    if object.is_instance_of::<PyMemoryView>() {
        let bytes = object.call_method0("tobytes")?.cast_into::<PyBytes>()?;
        return Ok(Image::Encoded(ImageInput::bytes(PyBackedBytes::from(bytes))));
    }
    if is_picture(object)? {
        return picture(object);
    }
    if object.is_instance_of::<PyString>() || object.hasattr("__fspath__")? {
        return Ok(Image::Encoded(ImageInput::file(object.extract::<PathBuf>()?)));
    }
    match tensors::array(object)? {
        Some(array) => levels(&array),
        None => Err(PyTypeError::new_err(format!("{EXPECTED}; found {}", type_name(object)))),
    }
}

/// A picture's levels, as Pillow converts its mode to RGB. Its orientation is the caller's affair.
fn picture(object: &Bound<'_, PyAny>) -> PyResult<Image> {
    let mode: String = object.getattr("mode")?.extract()?;
    let rgb =
        if mode == "RGB" { object.clone() } else { object.call_method1("convert", ("RGB",))? };
    let bytes = rgb.call_method0("tobytes")?.cast_into::<PyBytes>()?;
    let (width, height) = rgb.getattr("size")?.extract()?;
    Ok(Image::Levels(RgbImage8 { width, height, pixels: bytes.as_bytes().to_vec() }))
}

/// An array's levels, copied: whoever has the array may change it while the image waits.
fn levels(array: &Bound<'_, PyUntypedArray>) -> PyResult<Image> {
    let found = || format!("found {}", tensors::describe(array));
    let unfit = |kind, message: String| Ok(Image::Unfit(Failure::new(kind, message)));
    if !tensors::is::<u8>(array) {
        return unfit(
            Kind::Type,
            format!(
                "expected a uint8 array [h, w, 3] of R, G, B from 0 to 255, {}; levels of \
                 another type are converted by .astype(numpy.uint8), and a normalised \
                 tensor goes to model.run(...)",
                found()
            ),
        );
    }
    let &[height, width, 3] = array.shape() else {
        let advice = match array.shape() {
            [_, _] | [_, _, 1] => "; a grey picture is repeated: numpy.repeat(x[..., None], 3, -1)",
            [_, _, 4] => "; leave the alpha channel out: x[..., :3]",
            [3, _, _] => "; put the channels last: x.transpose(1, 2, 0)",
            _ => "",
        };
        return unfit(
            Kind::Value,
            format!("expected a uint8 array [h, w, 3], {}{advice}", found()),
        );
    };
    let array = tensors::aligned(array)?;
    let array = array.cast::<PyArray3<u8>>()?.try_readonly().map_err(tensors::busy)?;
    // Memory without gaps may be in Fortran's order as well.
    let pixels = match array.as_slice() {
        Ok(pixels) if array.is_c_contiguous() => pixels.to_vec(),
        _ => array.as_array().iter().copied().collect(),
    };
    Ok(Image::Levels(RgbImage8 { width, height, pixels }))
}

/// The name of an object's class.
pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}

impl Image {
    /// The name that it has by itself: a file's path.
    pub fn name(&self) -> Option<&str> {
        match self {
            Image::Encoded(input) => input.name(),
            Image::Levels(_) | Image::Unfit(_) => None,
        }
    }

    /// Writes the image as the recipe's tensor, `[size.h, size.w, 3]`.
    pub fn prepare(
        self,
        recipe: &Recipe,
        tensor: &mut [f32],
    ) -> Result<Vec<ImageWarning>, Failure> {
        match self {
            Image::Encoded(input) => Ok(input.prepare(recipe, tensor)?),
            Image::Levels(image) => {
                preprocess_pixels(&image, recipe, tensor)
                    .map_err(|error| Failure::new(Kind::Image, error))?;
                Ok(Vec::new())
            }
            Image::Unfit(failure) => Err(failure),
        }
    }
}
