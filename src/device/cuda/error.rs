//! Why a GPU cannot be used, or a run on it failed.

use super::driver::OLDEST;
use super::{DeviceInfo, faults};
pub use crate::kernels::CudaVersion as Version;
use crate::kernels::{NotBuilt, UnpackError};
use crate::launches::{InputTypeError, LaunchPlanError};
use crate::weights::StoreError;

/// Why a device cannot be used, or a run on it failed.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// This build has no kernels.
    #[error(transparent)]
    NoKernels(#[from] NotBuilt),
    /// This build's kernels are damaged.
    #[error(transparent)]
    Damaged(#[from] UnpackError),
    /// The driver's library cannot be loaded.
    #[error(
        "no CUDA driver: the system's libraries have no libcuda; install NVIDIA's driver, or run \
         on the CPU"
    )]
    NoDriver,
    /// The library is there, without a function that every supported driver has.
    #[error(
        "the CUDA driver library has no function {symbol}; expected a driver of CUDA {needed} or \
         newer: install one, or run on the CPU"
    )]
    MissingFunction {
        /// The function.
        symbol: &'static str,
        /// The oldest driver that will do.
        needed: Version,
    },
    /// The driver loads nothing of this build that the GPU runs, or no build at all.
    #[error(
        "the CUDA driver is of CUDA {found}, too old for kernels that need CUDA {needed}{} or newer; \
         update NVIDIA's driver{}, or run on the CPU", branch(*needed), way_to_build(*needed)
    )]
    DriverTooOld {
        /// The driver's.
        found: Version,
        /// The oldest that will do.
        needed: Version,
    },
    /// The driver sees no GPU.
    #[error(
        "the CUDA driver sees no GPU; look at `nvidia-smi` and at CUDA_VISIBLE_DEVICES, or run on \
         the CPU"
    )]
    NoDevice,
    /// Fewer GPUs than asked for.
    #[error(
        "there is no GPU {ordinal}: the CUDA driver sees {count}, counted from 0; choose one of them"
    )]
    Ordinal {
        /// The one asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// Neither machine code nor PTX of this build runs on the GPU.
    #[error(
        "{device}: this build has kernels for {}; build again with EFFNET_CUDA_ARCHS={}, or run \
         on the CPU", list(built), device.arch
    )]
    Architecture {
        /// The GPU.
        device: DeviceInfo,
        /// What was built.
        built: Vec<u32>,
    },
    /// Device memory, or memory that the device can read, has run out.
    #[error(
        "no memory for {what}: {bytes} bytes asked for, {free_bytes} of {total_bytes} free on the \
         GPU; choose a smaller batch, or end what else uses the GPU"
    )]
    OutOfMemory {
        /// What it was for.
        what: &'static str,
        /// How much of it.
        bytes: usize,
        /// What the device had left.
        free_bytes: usize,
        /// What it has.
        total_bytes: usize,
    },
    /// A kernel wants more shared memory than a block has.
    #[error(
        "{launch}: {bytes} bytes of shared memory asked for, a block of this GPU has {most}; \
         choose the layerwise path"
    )]
    SharedMemory {
        /// The launch.
        launch: String,
        /// What it asks for.
        bytes: u32,
        /// What there is.
        most: u32,
    },
    /// The launches do not fit this build's kernels.
    #[error("{launch}: kernel {image}/{entry} is not in this build")]
    Kernel {
        /// The launch.
        launch: String,
        /// Index of the image.
        image: usize,
        /// Index of the kernel.
        entry: usize,
    },
    /// A copy would leave its buffer.
    #[error(
        "a copy of {bytes} bytes to offset {offset_bytes} of a buffer of {len_bytes} bytes: it has to \
         end within the buffer"
    )]
    Range {
        /// Where the copy begins.
        offset_bytes: usize,
        /// How much is copied.
        bytes: usize,
        /// The buffer's length.
        len_bytes: usize,
    },
    /// A launch that the loaded run does not have.
    #[error("no launch {index}: the run that was loaded has {launches}, counted from 0")]
    NoLaunch {
        /// The number asked for.
        index: usize,
        /// The run's launches; 0 before an input has been loaded.
        launches: usize,
    },
    /// The input does not fit the number of images.
    #[error("the input has {found} values, expected {expected}")]
    Input {
        /// Values given.
        found: usize,
        /// Values of that many images.
        expected: usize,
    },
    /// An input of a type that the plan does not take.
    #[error(transparent)]
    InputType(#[from] InputTypeError),
    /// A run of images that nobody has been lent memory for.
    #[error(
        "a run of {asked} images with memory lent for {lent}: ask for `input_mut` of all of them \
         before each run"
    )]
    NotStaged {
        /// Images of the run.
        asked: usize,
        /// Images that there is input of.
        lent: usize,
    },
    /// A run was asked for while others are under way.
    #[error("{under_way} runs are under way: collect one before this one")]
    Busy {
        /// How many.
        under_way: usize,
    },
    /// A run from device memory on a stream whose work is being captured.
    #[error(
        "the stream is being captured as a CUDA graph: a run from device memory uses memory that other \
         runs use too, and cannot be replayed beside them; queue it on a stream that is not captured"
    )]
    Captured,
    /// A run was to be collected that nobody has submitted.
    #[error("no run is under way: submit one before collecting it")]
    NothingSubmitted,
    /// The plan is of other weights, or has no launches for a number of images.
    #[error(transparent)]
    Plan(#[from] LaunchPlanError),
    /// The file of the weights changed while they were uploaded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Any other refusal of the driver.
    #[error("{what}: {call} failed with {name} ({code}): {text}; {advice}")]
    Driver {
        /// What was being done.
        what: String,
        /// The driver's function.
        call: &'static str,
        /// Its result.
        code: i32,
        /// The result's name.
        name: String,
        /// The driver's words.
        text: String,
        /// What to do.
        advice: &'static str,
    },
    /// A call after a fault that ended the GPU's context, which then takes no more work.
    #[error(
        "{what}: not done, since a fault before it ended this process's work on the GPU; start the \
         program again. The fault: {first}"
    )]
    Lost {
        /// What was being done.
        what: String,
        /// The fault, in words.
        first: String,
    },
}

impl CudaError {
    /// A refusal of the driver, with other words for what was being done.
    pub(super) fn during(self, doing: impl FnOnce() -> String) -> CudaError {
        match self {
            CudaError::Driver { call, code, name, text, advice, .. } => {
                CudaError::Driver { what: doing(), call, code, name, text, advice }
            }
            other => other,
        }
    }

    /// The function that refused something that a run can do without: programmatic dependent
    /// launches, or graphs.
    pub(super) fn refused_by(&self) -> Option<&'static str> {
        match self {
            CudaError::Driver { call, code, .. } if faults::is_refusal(call, *code) => Some(call),
            _ => None,
        }
    }
}

/// The first driver of a major version of CUDA, under the number that drivers go by.
fn branch(version: Version) -> &'static str {
    match version {
        Version(12_000) => " (R525)",
        Version(13_000) => " (R580)",
        _ => "",
    }
}

/// What else to do, where another build would run on older drivers.
fn way_to_build(needed: Version) -> &'static str {
    match needed > OLDEST {
        true => ", build again with a ptxas of CUDA 12 (`make cuda` fetches one)",
        false => "",
    }
}

fn list(archs: &[u32]) -> String {
    if archs.is_empty() {
        return "no GPU but those that run its PTX".to_owned();
    }
    archs.iter().map(|arch| format!("sm_{arch}")).collect::<Vec<_>>().join(", ")
}
