//! Checkpoints to packed weights.

use crate::buffer;
use crate::call::call;
use crate::error::effnet_error;
use crate::options;
use crate::status::effnet_status;
use effnet::weights::{ImportOptions, import};
use std::ffi::c_char;

/// Imports a checkpoint (PyTorch, safetensors, NumPy, Keras, ONNX and the others that `effnet
/// import` knows) into packed weights at output, which is replaced in one step, or left as it is.
/// Variant, family and recipe are recognised; where that is not enough, `effnet import` takes them
/// as options. precision is an effnet_precision: EFFNET_PRECISION_DEFAULT (fp16),
/// EFFNET_PRECISION_FP16 or EFFNET_PRECISION_FP32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_import_checkpoint(
    source: *const c_char,
    output: *const c_char,
    precision: i32,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or texts: the caller's promise.
        let (source, output) =
            unsafe { (buffer::path("source", source)?, buffer::path("output", output)?) };
        let precision = options::stored(precision)?;
        import(source, output, &ImportOptions { precision, ..ImportOptions::default() })?;
        Ok(())
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}
