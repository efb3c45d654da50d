//! What every function does around its work: nothing unwinds into the caller, and a failure becomes
//! a code and, where the caller wants one, an object.

use crate::error::{Failure, effnet_error};
use crate::status::effnet_status;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

/// Does the work of a function.
///
/// # Safety
///
/// `error` is NULL, or can be written.
pub unsafe fn call(
    error: *mut *mut effnet_error,
    work: impl FnOnce() -> Result<(), Failure>,
) -> effnet_status {
    let tell = |object| {
        if !error.is_null() {
            // SAFETY: the caller's promise.
            unsafe { error.write(object) };
        }
    };
    tell(null_mut());
    // What the work may have left half done is behind a lock that the panic poisons, or gone.
    let done = catch_unwind(AssertUnwindSafe(work));
    match done.unwrap_or_else(|panic| Err(Failure::of_panic(&*panic))) {
        Ok(()) => effnet_status::EFFNET_OK,
        Err(failure) => {
            let status = failure.status;
            if !error.is_null() {
                tell(failure.into_object());
            }
            status
        }
    }
}
