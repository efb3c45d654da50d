//! Arrays of NumPy, and tensors that other libraries lend through DLPack.

use effnet::arch::Size;
use numpy::{
    BorrowError, Element, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn,
    PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyAnyMethods;

/// The order of a tensor's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[n, h, w, 3]`.
    Nhwc,
    /// `[n, 3, h, w]`, as in PyTorch.
    Nchw,
}

impl Layout {
    /// By its name, `NHWC` or `NCHW`.
    pub fn named(name: &str) -> PyResult<Layout> {
        match name {
            "NHWC" => Ok(Layout::Nhwc),
            "NCHW" => Ok(Layout::Nchw),
            _ => Err(PyValueError::new_err(format!(
                "layout: expected 'NHWC' or 'NCHW', found '{name}'"
            ))),
        }
    }
}

/// Images ready to be run, `[n, h, w, 3]` in f32, row-major.
pub struct Tensor<'py> {
    /// Number of images.
    pub n: usize,
    values: Values<'py>,
}

enum Values<'py> {
    /// Lent by the array.
    Borrowed(PyReadonlyArrayDyn<'py, f32>),
    /// Put in order.
    Owned(Vec<f32>),
}

impl<'py> Tensor<'py> {
    /// The images of an array or of a DLPack object on the CPU, of `size`. A row-major `[n, h, w,
    /// 3]` is borrowed, anything else is copied.
    pub fn new(object: &Bound<'py, PyAny>, size: Size, layout: Layout) -> PyResult<Tensor<'py>> {
        let axes = || match layout {
            Layout::Nhwc => format!("[n, {}, {}, 3]", size.h, size.w),
            Layout::Nchw => format!("[n, 3, {}, {}]", size.h, size.w),
        };
        let Some(array) = array(object)? else {
            return Err(PyTypeError::new_err(format!(
                "expected a float32 array {}, or an object with __dlpack__ on the CPU; found {}; \
                 images go to model.classify(...) or model.predict(...)",
                axes(),
                crate::images::type_name(object)
            )));
        };
        let found = || format!("expected a float32 array {}, found {}", axes(), describe(&array));
        if !is::<f32>(&array) {
            let advice = match array.dtype().kind() {
                b'u' | b'i' => {
                    "levels are no normalised values: pictures go to model.classify(...) or \
                     model.predict(...), and model.preprocess(...) makes tensors of them"
                }
                b'f' => "convert it: x.astype(numpy.float32)",
                _ => "convert it to normalised values in float32",
            };
            return Err(PyTypeError::new_err(format!("{}; {advice}", found())));
        }
        let shape = array.shape();
        let (Size { h, w }, of_channels_last) = (size, layout == Layout::Nhwc);
        let n = match *shape {
            [n, a, b, c] if [a, b, c] == (if of_channels_last { [h, w, 3] } else { [3, h, w] }) => {
                n
            }
            _ => {
                let advice = match *shape {
                    [_, _, _] => "; one image is a batch of one: x[None]",
                    [_, 3, a, b] if of_channels_last && [a, b] == [h, w] => {
                        "; say layout=\"NCHW\" where the channels come first"
                    }
                    [_, a, b, 3] if !of_channels_last && [a, b] == [h, w] => {
                        "; leave layout=\"NCHW\" out where the channels come last"
                    }
                    [_, _, _, 3] | [_, 3, _, _] => {
                        "; the model was loaded for another size: effnet.load(..., size=(h, w))"
                    }
                    _ => "",
                };
                return Err(PyValueError::new_err(format!("{}{advice}", found())));
            }
        };
        let array = aligned(&array)?;
        let array = array.cast::<PyArrayDyn<f32>>()?.try_readonly().map_err(busy)?;
        // Memory without gaps may be in Fortran's order as well.
        let values = match layout {
            Layout::Nhwc if array.is_c_contiguous() => Values::Borrowed(array),
            Layout::Nhwc => Values::Owned(array.as_array().iter().copied().collect()),
            Layout::Nchw => {
                let view = array.as_array().permuted_axes(&[0, 2, 3, 1][..]);
                Values::Owned(view.iter().copied().collect())
            }
        };
        Ok(Tensor { n, values })
    }

    /// The values.
    pub fn values(&self) -> PyResult<&[f32]> {
        match &self.values {
            Values::Borrowed(array) => Ok(array.as_slice()?),
            Values::Owned(values) => Ok(values),
        }
    }
}

/// The object as an array: it is one, or lends its memory through DLPack. None for anything else.
pub fn array<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    if let Ok(array) = object.cast::<PyUntypedArray>() {
        return Ok(Some(array.clone()));
    }
    let py = object.py();
    if !object.hasattr(pyo3::intern!(py, "__dlpack__"))? {
        return Ok(None);
    }
    /// DLPack's numbers for memory that the CPU reads: its own, and pinned or managed memory of
    /// GPUs.
    const OF_THE_CPU: [i32; 4] = [1, 3, 11, 13];
    let (kind, _): (i32, i32) = object.call_method0("__dlpack_device__")?.extract()?;
    if !OF_THE_CPU.contains(&kind) {
        return Err(PyValueError::new_err(format!(
            "expected a tensor in the memory of the CPU, found one on a device of DLPack's type \
             {kind}; copy it first: x.cpu() in PyTorch, jax.device_get(x) in JAX"
        )));
    }
    let array = py.import("numpy")?.call_method1("from_dlpack", (object,))?;
    Ok(Some(array.cast_into::<PyUntypedArray>()?))
}

/// A new array of zeros, which owns its memory.
///
/// # Errors
///
/// `MemoryError` where there is not so much.
pub fn zeros<'py>(py: Python<'py>, shape: &[usize]) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
    let made = py.import("numpy")?.call_method1("zeros", (shape, dtype::<f32>(py)))?;
    Ok(made.cast_into::<PyArrayDyn<f32>>()?)
}

/// The array, or a copy of one whose elements lie where the machine cannot read them.
pub fn aligned<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyAny>> {
    if array.is_aligned() {
        return Ok(array.clone().into_any());
    }
    array.call_method0("copy")
}

/// Whether an array's elements are of this type, in the machine's order of bytes.
pub fn is<T: Element>(array: &Bound<'_, PyUntypedArray>) -> bool {
    array.dtype().is_equiv_to(&dtype::<T>(array.py()))
}

/// Type and shape, as in `float32 [1, 224, 224, 3]`.
pub fn describe(array: &Bound<'_, PyUntypedArray>) -> String {
    format!("{} {:?}", array.dtype(), array.shape())
}

/// An array that is being written to.
pub fn busy(error: BorrowError) -> PyErr {
    PyValueError::new_err(format!("the array is being written to by other native code: {error}"))
}
