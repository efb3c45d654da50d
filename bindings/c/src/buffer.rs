//! The caller's memory: checked for NULL, alignment and length before anything is read or written.

use crate::error::Failure;
use std::ffi::{CStr, c_char};
use std::path::Path;

/// `len` elements to read. NULL is none where `len` is 0.
///
/// # Safety
///
/// `len` elements can be read at `start`, and nobody writes them meanwhile, unless it is NULL.
pub unsafe fn read<'a, T>(what: &str, start: *const T, len: usize) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    check::<T>(what, start.addr(), len)?;
    // SAFETY: not NULL, aligned and not too long; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(start, len) })
}

/// `len` elements to write, as [`read`].
///
/// # Safety
///
/// `len` elements can be read and written at `start`, and nobody else uses them meanwhile, unless
/// it is NULL.
pub unsafe fn write<'a, T>(what: &str, start: *mut T, len: usize) -> Result<&'a mut [T], Failure> {
    if len == 0 {
        return Ok(&mut []);
    }
    check::<T>(what, start.addr(), len)?;
    // SAFETY: not NULL, aligned and not too long; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(start, len) })
}

/// Whether `len` elements can be at an address.
pub fn check<T>(what: &str, address: usize, len: usize) -> Result<(), Failure> {
    let fault = |fault: String| Err(Failure::argument(format!("{what}: {fault}")));
    let align = align_of::<T>();
    if address == 0 {
        return fault(format!("expected {len} elements, found NULL"));
    }
    if !address.is_multiple_of(align) {
        return fault(format!(
            "expected an address that is a multiple of {align}, found {address:#x}"
        ));
    }
    if len > isize::MAX as usize / size_of::<T>() {
        return fault(format!("expected a number of elements, found {len}"));
    }
    Ok(())
}

/// A place for a result.
///
/// # Safety
///
/// `place` is NULL, or can be written.
pub unsafe fn place<'a, T>(what: &str, place: *mut T) -> Result<Place<'a, T>, Failure> {
    check::<T>(what, place.addr(), 1)?;
    Ok(Place { place, _lent: std::marker::PhantomData })
}

/// A place that can be written, of whatever contents.
pub struct Place<'a, T> {
    place: *mut T,
    _lent: std::marker::PhantomData<&'a mut T>,
}

impl<T> Place<'_, T> {
    pub fn set(&mut self, value: T) {
        // SAFETY: `place` had the promise that it can be written.
        unsafe { self.place.write(value) };
    }
}

/// A buffer of at least as many elements as are needed, or none where none are wanted.
pub fn expect_len(what: &str, found: usize, expected: usize) -> Result<(), Failure> {
    if found >= expected {
        return Ok(());
    }
    Err(Failure::argument(format!("{what}: expected room for {expected} elements, found {found}")))
}

/// A text that ends in a zero byte.
///
/// # Safety
///
/// `text` is NULL, or such a text.
pub unsafe fn text<'a>(what: &str, text: *const c_char) -> Result<&'a CStr, Failure> {
    if text.is_null() {
        return Err(Failure::argument(format!("{what}: expected a text, found NULL")));
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// A path: bytes as the system has them; UTF-8 where the system has none.
///
/// # Safety
///
/// As of [`text`].
pub unsafe fn path<'a>(what: &str, path: *const c_char) -> Result<&'a Path, Failure> {
    // SAFETY: the caller's promise.
    let path = unsafe { text(what, path) }?;
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        Ok(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())))
    }
    #[cfg(not(unix))]
    {
        let text = path.to_str();
        Ok(Path::new(text.map_err(|_| Failure::argument(format!("{what}: expected UTF-8")))?))
    }
}
