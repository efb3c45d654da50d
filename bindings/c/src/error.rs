//! What went wrong, in words, as an object of the caller's.

use crate::handle::{self, Kind};
use crate::status::{self, effnet_status};
use effnet::image::ImageError;
use effnet::pipeline::{ImageFailureKind, PipelineError};
use effnet::session::{NonFiniteLogits, SessionError};
use effnet::weights::{ImportError, StoreError};
use std::any::Any;
use std::borrow::Cow;
use std::ffi::{CString, c_char};
use std::fmt;
use std::path::Path;

/// Why a call failed: a code and a text. Calls that can fail take the place of one, which may be
/// NULL: a call that succeeds writes NULL there, one that fails a new object, which
/// effnet_error_free gives back. What was in that place before is overwritten, not freed.
///
/// It never changes, so that any number of threads may read it.
pub struct effnet_error(());

/// Why a call fails, before it is the caller's.
#[derive(Debug)]
pub struct Failure {
    pub status: effnet_status,
    pub message: Cow<'static, str>,
}

/// Behind an [`effnet_error`].
pub struct Told {
    status: effnet_status,
    message: CString,
}

impl Kind for Told {
    const MAGIC: u64 = u64::from_le_bytes(*b"effn_err");
    const NAME: &'static str = "effnet_error";
    type Opaque = effnet_error;
}

impl Failure {
    pub fn new(status: effnet_status, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure { status, message: message.into() }
    }

    /// An argument that cannot be right.
    pub fn argument(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(effnet_status::EFFNET_INVALID_ARGUMENT, message)
    }

    /// Of an image file.
    pub fn of_file(path: &Path, kind: ImageFailureKind) -> Failure {
        Failure::new(status::of_image_failure(&kind), format!("{}: {kind}", path.display()))
    }

    /// Of what a panic left.
    pub fn of_panic(panic: &(dyn Any + Send)) -> Failure {
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let said = said.unwrap_or("no message");
        let message = format!("a fault of libeffnet, which is worth a report: {said}");
        Failure::new(effnet_status::EFFNET_INTERNAL, message)
    }

    /// The caller's object.
    pub fn into_object(self) -> *mut effnet_error {
        handle::new(Told { status: self.status, message: c_string(&self.message) })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A text without the zero bytes that would end it early.
pub fn c_string(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().filter(|&byte| byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

macro_rules! failures {
    ($($error:ty: $status:path;)*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::new($status(&error), error.to_string())
            }
        }
    )*};
}

failures! {
    StoreError: status::of_store;
    ImportError: status::of_import;
    ImageError: status::of_image;
    ImageFailureKind: status::of_image_failure;
    PipelineError: status::of_pipeline;
    SessionError: status::of_session;
}

impl From<NonFiniteLogits> for Failure {
    fn from(error: NonFiniteLogits) -> Failure {
        Failure::new(effnet_status::EFFNET_NOT_FINITE, error.to_string())
    }
}

/// The error's text: what, where, what was expected and found, and what to do. UTF-8, of one or
/// more lines; valid until the error is freed. An empty text for NULL and for what is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_error_message(error: *const effnet_error) -> *const c_char {
    // SAFETY: NULL, or one of this library's objects: the caller's promise.
    match unsafe { handle::get::<Told>(error) } {
        Ok(error) => error.message.as_ptr(),
        Err(_) => c"".as_ptr(),
    }
}

/// The error's code. EFFNET_OK for NULL, EFFNET_INVALID_ARGUMENT for what is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_error_status(error: *const effnet_error) -> effnet_status {
    if error.is_null() {
        return effnet_status::EFFNET_OK;
    }
    // SAFETY: one of this library's objects: the caller's promise.
    match unsafe { handle::get::<Told>(error) } {
        Ok(error) => error.status,
        Err(_) => effnet_status::EFFNET_INVALID_ARGUMENT,
    }
}

/// Gives an error back. Does nothing for NULL, and for what is no error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_error_free(error: *mut effnet_error) {
    // SAFETY: NULL, or one of this library's objects, which the caller does not use again.
    drop(unsafe { handle::release::<Told>(error) });
}
