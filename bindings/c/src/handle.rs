//! Objects that the caller holds by a pointer.
//!
//! Each begins with a word that tells its kind, by which a handle of another kind is refused. A
//! handle that was given back is no longer the library's memory: its word is wiped, so that it is
//! often recognised, and cannot be relied on.

use crate::error::Failure;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What can be behind a handle.
pub trait Kind {
    /// The word at its head.
    const MAGIC: u64;
    /// For messages.
    const NAME: &'static str;
    /// The type that C knows it by.
    type Opaque;
}

#[repr(C)]
struct Object<T> {
    magic: AtomicU64,
    /// How often the caller has it.
    count: AtomicUsize,
    value: T,
}

/// Puts a value behind a handle, held once.
pub fn new<T: Kind>(value: T) -> *mut T::Opaque {
    let magic = AtomicU64::new(T::MAGIC);
    Box::into_raw(Box::new(Object { magic, count: AtomicUsize::new(1), value })).cast()
}

/// # Safety
///
/// As of [`get`].
unsafe fn object<'a, T: Kind>(handle: *const T::Opaque) -> Result<&'a Object<T>, Failure> {
    let name = T::NAME;
    if handle.is_null() {
        return Err(Failure::argument(format!("expected a handle of {name}, found NULL")));
    }
    let object: *const Object<T> = handle.cast();
    let other = || {
        Failure::argument(format!("expected a handle of {name}, found another or one given back"))
    };
    if !object.is_aligned() {
        return Err(other());
    }
    // SAFETY: an object of this library, of whatever kind, has its word at its head.
    let magic = unsafe { &*object.cast::<AtomicU64>() };
    if magic.load(Ordering::Relaxed) != T::MAGIC {
        return Err(other());
    }
    // SAFETY: it is of this kind, and the caller holds it.
    Ok(unsafe { &*object })
}

/// What is behind a handle.
///
/// # Safety
///
/// `handle` is NULL, or one that this library gave, of any kind, and that is held until the result
/// is no longer used.
pub unsafe fn get<'a, T: Kind>(handle: *const T::Opaque) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    Ok(&unsafe { object::<T>(handle) }?.value)
}

/// Holds it once more.
///
/// # Safety
///
/// As of [`get`].
pub unsafe fn retain<T: Kind>(handle: *const T::Opaque) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let object = unsafe { object::<T>(handle) }?;
    object.count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Lets go of it once; gives what is behind it where that was the last time. Nothing for NULL, and
/// for a handle of another kind.
///
/// # Safety
///
/// As of [`get`]; the caller does not use the handle again for which this is called.
pub unsafe fn release<T: Kind>(handle: *mut T::Opaque) -> Option<T> {
    // SAFETY: the caller's promise.
    let object = unsafe { object::<T>(handle) }.ok()?;
    // What other holders did is done before the last one gives it back.
    if object.count.fetch_sub(1, Ordering::AcqRel) != 1 {
        return None;
    }
    object.magic.store(0, Ordering::Release);
    // SAFETY: made by `new`, and nobody holds it any more.
    Some(unsafe { Box::from_raw(handle.cast::<Object<T>>()) }.value)
}
