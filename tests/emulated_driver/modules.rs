//! The driver's functions that load kernels and launch them.

use super::calls::give;
use super::gpu::{self, Handle, Work, driver};
use super::results::{CUresult, INVALID_IMAGE, INVALID_VALUE, NO_BINARY_FOR_GPU, NOT_FOUND};
use super::settings::{fails, injected};
use effnet::emulator::Module;
use effnet::kernels;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// The first bytes of an ELF file.
const ELF: &[u8] = b"\x7fELF";

/// A kernel file as the caller of `cuModuleLoadData` gives it.
///
/// # Safety
///
/// A whole ELF file of nvcc, or a text that ends in a zero byte, is readable at `bytes` as long as
/// the result lives.
unsafe fn image<'a>(bytes: *const u8) -> &'a [u8] {
    const HEADER_BYTES: usize = 64;
    // SAFETY: an ELF file has a header; a text has at least one byte, and is read no further than
    // its zero.
    unsafe {
        if !ELF.iter().enumerate().all(|(i, byte)| *bytes.add(i) == *byte) {
            return CStr::from_ptr(bytes.cast()).to_bytes();
        }
        let header = std::slice::from_raw_parts(bytes, HEADER_BYTES);
        let half = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        // nvcc's files end with the table of program headers: its place, entries and their size.
        let place =
            header[32..40].iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte));
        std::slice::from_raw_parts(bytes, place + half(54) * half(56))
    }
}

/// The kernel file is told by its content: it is one of those that this library embeds too, as
/// machine code of any target or as PTX.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(to: *mut Handle, bytes: *const c_void) -> CUresult {
    if fails("load") {
        return NO_BINARY_FOR_GPU;
    }
    if let Some(code) = injected("cuModuleLoadData") {
        return code;
    }
    // SAFETY: the driver's own condition: a whole ELF file, or a text that ends in a zero, is
    // readable at `bytes`.
    let given = unsafe { image(bytes.cast()) };
    let Ok(built) = kernels::built() else { return INVALID_IMAGE };
    let is_given =
        |file: Result<Vec<u8>, kernels::UnpackError>| file.is_ok_and(|file| file == given);
    let found = built.images.iter().enumerate().find(|(_, image)| match given.starts_with(ELF) {
        true => built.archs.iter().any(|&arch| is_given(image.machine_code(arch))),
        false => is_given(image.ptx().map(String::into_bytes)),
    });
    let Some((index, image)) = found else { return INVALID_IMAGE };
    let Ok(ptx) = image.ptx() else { return INVALID_IMAGE };
    let mut driver = driver();
    if let std::collections::hash_map::Entry::Vacant(entry) = driver.parsed.entry(index) {
        match Module::parse(image.name, &ptx) {
            Ok(module) => entry.insert(module),
            Err(_) => return INVALID_IMAGE,
        };
    }
    let handle = driver.handle();
    driver.modules.insert(handle, index);
    // SAFETY: the driver's own condition: the caller's pointer takes a handle.
    unsafe { give(to, handle) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    to: *mut Handle,
    module: Handle,
    name: *const c_char,
) -> CUresult {
    // SAFETY: the driver's own condition: `name` is a string that ends in a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let mut driver = driver();
    let Some(&image) = driver.modules.get(&module) else { return INVALID_VALUE };
    if driver.parsed[&image].entry(&name).is_none() {
        return NOT_FOUND;
    }
    let handle = driver.handle();
    driver.functions.insert(handle, (image, name));
    // SAFETY: the driver's own condition: the caller's pointer takes a handle.
    unsafe { give(to, handle) }
}

/// `CUlaunchConfig` of cuda.h.
#[repr(C)]
struct LaunchConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    shared: c_uint,
    stream: Handle,
    attributes: *const LaunchAttribute,
    count: c_uint,
}

/// `CUlaunchAttribute` of cuda.h, of whose values only those that are one integer are looked at.
#[repr(C, align(8))]
struct LaunchAttribute {
    id: c_int,
    pad: [u8; 4],
    value: c_int,
    rest: [u8; 60],
}

/// `CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION`.
const PROGRAMMATIC: c_int = 6;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernelEx(
    config: *const LaunchConfig,
    function: Handle,
    params: *const *const c_void,
    _extra: *const *const c_void,
) -> CUresult {
    if let Some(code) = injected("cuLaunchKernelEx") {
        return code;
    }
    let mut driver = driver();
    let Some(entry) = driver.functions.get(&function).cloned() else { return INVALID_VALUE };
    let bytes = driver.parsed[&entry.0].entry(&entry.1).map_or(0, |e| e.param_bytes() as usize);
    // SAFETY: the driver's own condition: a pointer to a configuration, and within it to
    // attributes, whose number it states; a pointer for each parameter. Every kernel here has one
    // parameter, whose size its PTX states; all is copied before this call ends.
    let (config, attribute, params) = unsafe {
        let config = &*config;
        let attribute =
            (config.count > 0).then(|| ((*config.attributes).id, (*config.attributes).value));
        let params = std::slice::from_raw_parts((*params).cast::<u8>(), bytes);
        (config, attribute, params.to_vec())
    };
    let dependent = match attribute {
        None => false,
        Some((PROGRAMMATIC, value)) if config.count == 1 => value != 0,
        Some(_) => return INVALID_VALUE,
    };
    let &LaunchConfig { grid, block, shared, stream, .. } = config;
    if dependent {
        drop(driver);
        if let Some(code) = injected("dependent") {
            return code;
        }
        driver = gpu::driver();
    }
    driver.enqueue(stream, Work::Launch { entry, grid, block, shared, params, dependent })
}
