//! Structs that grow: the caller says in the first field how long its own is.
//!
//! Fields are added at the end alone. A caller of an older header has fewer of them: what it does
//! not have is as if it were not there. One of a newer header has more: what this library does not
//! know has to be zeros in what it reads, and is zeros in what it writes.

use crate::error::Failure;
use std::ptr::{copy_nonoverlapping, write_bytes};

/// A struct of the header with its length in the first field.
///
/// # Safety
///
/// It is `repr(C)`, begins with a `usize`, and any bytes are a value of it.
pub unsafe trait Versioned: Copy {
    /// For messages.
    const NAME: &'static str;
    /// Where each field ends, in order.
    const ENDS: &'static [usize];
}

/// Longer than any version will be: a length beyond it was never set.
const MOST_BYTES: usize = 4096;

/// Where the last field ends that lies whole within `bytes`.
fn whole_fields<T: Versioned>(bytes: usize) -> usize {
    T::ENDS.iter().copied().filter(|&end| end <= bytes).max().unwrap_or(0)
}

/// The caller's length.
///
/// # Safety
///
/// `from` is NULL, or a length can be read there.
unsafe fn struct_size<T: Versioned>(from: *const T) -> Result<usize, Failure> {
    let name = T::NAME;
    if from.is_null() {
        return Err(Failure::argument(format!("{name}: expected a struct, found NULL")));
    }
    if !from.is_aligned() {
        return Err(Failure::argument(format!("{name}: the struct is not aligned")));
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { from.cast::<usize>().read() };
    if !(size_of::<usize>()..=MOST_BYTES).contains(&bytes) {
        return Err(Failure::argument(format!(
            "{name}: expected struct_size to be its length in bytes, as sizeof tells it, \
             found {bytes}"
        )));
    }
    Ok(bytes)
}

/// What the caller has set, over `default`.
///
/// # Safety
///
/// `from` is NULL, or begins with its own length, of which all can be read.
pub unsafe fn read<T: Versioned>(from: *const T, default: T) -> Result<T, Failure> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { struct_size(from) }?;
    let mut value = default;
    let known = whole_fields::<T>(bytes);
    // SAFETY: both have so many bytes, and any are a value.
    unsafe { copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast(), known) };
    let beyond = size_of::<T>().min(bytes);
    // SAFETY: they lie within the caller's length.
    let unknown =
        unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(beyond), bytes - beyond) };
    if unknown.iter().any(|&byte| byte != 0) {
        return Err(Failure::argument(format!(
            "{}: struct_size is {bytes}, and fields are set beyond the {} bytes that this libeffnet \
             {} knows: leave them 0, or use a newer library",
            T::NAME,
            size_of::<T>(),
            env!("CARGO_PKG_VERSION"),
        )));
    }
    Ok(value)
}

/// Writes as many fields as the caller has; its length stays.
///
/// # Safety
///
/// `to` is NULL, or begins with its own length, of which all can be written.
pub unsafe fn write<T: Versioned>(to: *mut T, value: T) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { struct_size(to.cast_const()) }?;
    let known = whole_fields::<T>(bytes);
    let head = size_of::<usize>();
    let (from, to) = ((&raw const value).cast::<u8>(), to.cast::<u8>());
    // SAFETY: `known` and `bytes` lie within the caller's length, `known` within the value, and
    // behind the length, which is whole.
    unsafe {
        copy_nonoverlapping(from.add(head), to.add(head), known - head);
        write_bytes(to.add(known), 0, bytes - known);
    }
    Ok(())
}

/// States the fields of a struct, once more than where it is declared, and that none is missing.
macro_rules! versioned {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        // SAFETY: the struct is repr(C), its fields are integers, floats, pointers and arrays of
        // them.
        unsafe impl $crate::versioned::Versioned for $name {
            const NAME: &'static str = stringify!($name);
            const ENDS: &'static [usize] =
                &[$(std::mem::offset_of!($name, $field) + size_of::<$type>(),)*];
        }
        const _: () = {
            // Every field is named here with its type, and none is left out.
            #[allow(dead_code)]
            fn fields(value: $name) {
                let $name { $($field,)* } = value;
                $(let _: $type = $field;)*
            }
            // No padding: a field that is added makes the struct longer.
            assert!(0 $(+ size_of::<$type>())* == size_of::<$name>());
        };
    };
}
pub(crate) use versioned;
