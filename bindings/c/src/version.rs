//! Which library, and which interface, a program has.

use std::ffi::{CStr, c_char};

/// The version of the interface that this header describes. It changes when a program built with an
/// earlier header would no longer work; functions, codes and fields at the end of structs are added
/// without a change.
pub const EFFNET_ABI_VERSION: u32 = 1;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => panic!("a version has no zero byte"),
    };

/// The library's version, as in "0.1.0". Never NULL; valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn effnet_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The interface that the library has: compare it with EFFNET_ABI_VERSION, where the library may be
/// another than the one that the program was built with.
#[unsafe(no_mangle)]
pub extern "C" fn effnet_abi_version() -> u32 {
    EFFNET_ABI_VERSION
}
