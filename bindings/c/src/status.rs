//! How a call ended, as a code; and which code each of the runtime's errors has.

use effnet::cpu::CpuError;
use effnet::device::CudaError;
use effnet::image::ImageError;
use effnet::memory::TooLittleMemory;
use effnet::pipeline::{ImageFailureKind, PipelineError};
use effnet::session::SessionError;
use effnet::weights::{ImportError, StoreError};
use std::error::Error;
use std::ffi::{CStr, c_char};
use std::io;

/// How a call ended. Later versions may add codes: treat an unknown one as a failure.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum effnet_status {
    /// It did what it says.
    EFFNET_OK = 0,
    /// An argument cannot be right: a NULL, a buffer that is too short, a number out of range, a
    /// handle of another kind, options that this library does not know.
    EFFNET_INVALID_ARGUMENT = 1,
    /// There is no such file.
    EFFNET_NOT_FOUND = 2,
    /// The system could not read or write a file.
    EFFNET_IO = 3,
    /// This build, this device or this model cannot do it.
    EFFNET_UNSUPPORTED = 4,
    /// An image that cannot be decoded. It concerns that image alone.
    EFFNET_BAD_IMAGE = 5,
    /// A file that is no packed weights, or no checkpoint that is understood.
    EFFNET_BAD_WEIGHTS = 6,
    /// A GPU that cannot be used, or that failed.
    EFFNET_DEVICE_ERROR = 7,
    /// Memory or threads have run out.
    EFFNET_OUT_OF_MEMORY = 8,
    /// Another thread is in a call on the session, or runs have to be collected first.
    EFFNET_BUSY = 9,
    /// The network's values overflow on an image: some of its logits are NaN or infinite. It
    /// concerns that image alone.
    EFFNET_NOT_FINITE = 10,
    /// A fault of this library, which is worth a report.
    EFFNET_INTERNAL = 11,
}

use effnet_status::*;

/// A code's name, as "EFFNET_BUSY"; "unknown status" for a number that is no code. Never NULL;
/// valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn effnet_status_name(status: i32) -> *const c_char {
    const NAMES: [&CStr; 12] = [
        c"EFFNET_OK",
        c"EFFNET_INVALID_ARGUMENT",
        c"EFFNET_NOT_FOUND",
        c"EFFNET_IO",
        c"EFFNET_UNSUPPORTED",
        c"EFFNET_BAD_IMAGE",
        c"EFFNET_BAD_WEIGHTS",
        c"EFFNET_DEVICE_ERROR",
        c"EFFNET_OUT_OF_MEMORY",
        c"EFFNET_BUSY",
        c"EFFNET_NOT_FINITE",
        c"EFFNET_INTERNAL",
    ];
    let name = usize::try_from(status).ok().and_then(|status| NAMES.get(status).copied());
    name.unwrap_or(c"unknown status").as_ptr()
}

/// The code of what the system or the memory says at the bottom of an error; else `other`.
fn beneath(error: &(dyn Error + 'static), other: effnet_status) -> effnet_status {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return of_io(error);
        }
        if error.is::<TooLittleMemory>() {
            return EFFNET_OUT_OF_MEMORY;
        }
        if let Some(error) = error.downcast_ref::<StoreError>() {
            return of_store(error);
        }
        next = error.source();
    }
    other
}

fn of_io(error: &io::Error) -> effnet_status {
    match error.kind() {
        io::ErrorKind::NotFound => EFFNET_NOT_FOUND,
        io::ErrorKind::OutOfMemory => EFFNET_OUT_OF_MEMORY,
        _ => EFFNET_IO,
    }
}

/// Of weights that could not be opened, or that changed while they were in use.
pub fn of_store(error: &StoreError) -> effnet_status {
    match error {
        StoreError::Io { source, .. } => of_io(source),
        StoreError::Output(_) => EFFNET_IO,
        StoreError::TooLittleMemory { .. } => EFFNET_OUT_OF_MEMORY,
        _ => EFFNET_BAD_WEIGHTS,
    }
}

/// Of a checkpoint that could not be imported.
pub fn of_import(error: &ImportError) -> effnet_status {
    match error {
        ImportError::Store(error) => of_store(error),
        ImportError::SameFile { .. } => EFFNET_INVALID_ARGUMENT,
        error => beneath(error, EFFNET_BAD_WEIGHTS),
    }
}

/// Of an image.
pub fn of_image(error: &ImageError) -> effnet_status {
    match error {
        ImageError::TooLittleMemory(_) => EFFNET_OUT_OF_MEMORY,
        ImageError::WrongOutputLength { .. } | ImageError::WrongPixelCount { .. } => {
            EFFNET_INVALID_ARGUMENT
        }
        ImageError::Recipe(_) => EFFNET_UNSUPPORTED,
        _ => EFFNET_BAD_IMAGE,
    }
}

/// Of an image on its way through the network.
pub fn of_image_failure(error: &ImageFailureKind) -> effnet_status {
    match error {
        ImageFailureKind::Read(error) => of_io(error),
        ImageFailureKind::TooLong => EFFNET_BAD_IMAGE,
        ImageFailureKind::Decode(error) => of_image(error),
        ImageFailureKind::NonFinite(_) => EFFNET_NOT_FINITE,
        // The place of an image that the caller has left empty.
        ImageFailureKind::Input(_) => EFFNET_INVALID_ARGUMENT,
    }
}

/// Of many images.
pub fn of_pipeline(error: &PipelineError) -> effnet_status {
    match error {
        PipelineError::Image(failure) => of_image_failure(&failure.kind),
        PipelineError::Session(error) => of_session(error),
        PipelineError::Recipe(_) => EFFNET_UNSUPPORTED,
        PipelineError::Threads { .. } | PipelineError::TooLittleMemory(_) => EFFNET_OUT_OF_MEMORY,
        PipelineError::Panicked { .. } => EFFNET_INTERNAL,
    }
}

/// Of a session.
pub fn of_session(error: &SessionError) -> effnet_status {
    match error {
        SessionError::Cpu(error) => of_cpu(error),
        SessionError::Cuda(error) => of_cuda(error),
        SessionError::Emulated(error) => beneath(&**error, EFFNET_DEVICE_ERROR),
        SessionError::Precision { .. }
        | SessionError::NotOnGpu { .. }
        | SessionError::NoClassifier => EFFNET_UNSUPPORTED,
        SessionError::InputMemory { .. } => EFFNET_OUT_OF_MEMORY,
        SessionError::Busy { .. } => EFFNET_BUSY,
        SessionError::Plan(_)
        | SessionError::Launches(_)
        | SessionError::Input { .. }
        | SessionError::InputType(_)
        | SessionError::Images { .. }
        | SessionError::NotStaged { .. }
        | SessionError::DevicePointer { .. }
        | SessionError::TopK { .. }
        | SessionError::NothingSubmitted => EFFNET_INVALID_ARGUMENT,
    }
}

fn of_cpu(error: &CpuError) -> effnet_status {
    match error {
        CpuError::Weights(error) => of_store(error),
        CpuError::Memory { .. } | CpuError::Threads { .. } | CpuError::TooLittleMemory(_) => {
            EFFNET_OUT_OF_MEMORY
        }
        _ => EFFNET_INVALID_ARGUMENT,
    }
}

fn of_cuda(error: &CudaError) -> effnet_status {
    match error {
        CudaError::NoKernels(_) | CudaError::Captured => EFFNET_UNSUPPORTED,
        CudaError::OutOfMemory { .. } => EFFNET_OUT_OF_MEMORY,
        CudaError::Busy { .. } => EFFNET_BUSY,
        CudaError::Store(error) => of_store(error),
        CudaError::Ordinal { .. }
        | CudaError::Plan(_)
        | CudaError::Input { .. }
        | CudaError::InputType(_)
        | CudaError::NothingSubmitted => EFFNET_INVALID_ARGUMENT,
        _ => EFFNET_DEVICE_ERROR,
    }
}
