//! Why a session could not be made or run.

use crate::arch::Size;
use crate::cpu::CpuError;
use crate::device::{CudaError, EmulatedError};
use crate::kernels::Compute;
use crate::launches::LaunchPlanError;
use crate::plan::PlanError;

/// Why a session could not be made or run.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Batch or size do not work.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// There are no launches for the plan.
    #[error(transparent)]
    Launches(#[from] LaunchPlanError),
    /// The executor could not be made, or failed.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The emulator could not be set up, or found a fault.
    #[error(transparent)]
    Emulated(Box<EmulatedError>),
    /// The GPU cannot be used, or failed.
    #[error(transparent)]
    Cuda(Box<CudaError>),
    /// A precision that the device does not compute in.
    #[error(
        "the CPU computes in fp32, found {found}: leave the precision out, or run on another device"
    )]
    Precision {
        /// The precision asked for.
        found: Compute,
    },
    /// The input is no whole number of images, none, or too many.
    #[error(
        "input of {found} elements: expected 1 to {batch} images of {elems} elements each \
         ({size}, 3 channels)"
    )]
    Input {
        /// The session's batch.
        batch: usize,
        /// Elements of one image.
        elems: usize,
        /// The session's input size.
        size: Size,
        /// The input's length.
        found: usize,
    },
    /// A run was asked for that has to wait for one that is under way.
    #[error("{under_way} runs are under way: collect one before this one")]
    Busy {
        /// The number of runs under way.
        under_way: usize,
    },
    /// A run was to be collected that nobody has submitted.
    #[error("no run is under way: submit one before collecting it")]
    NothingSubmitted,
    /// The network made a NaN: the weights or the input hold NaN, infinities or huge values.
    #[error(
        "image {image} of the batch: the logit of class {class} is NaN; expected numbers. Look for \
         NaN or infinity in the input, and in the checkpoint"
    )]
    Nan {
        /// The image's place in the batch.
        image: usize,
        /// The first class that is NaN.
        class: usize,
    },
}

impl From<EmulatedError> for SessionError {
    fn from(error: EmulatedError) -> SessionError {
        SessionError::Emulated(Box::new(error))
    }
}

impl From<CudaError> for SessionError {
    fn from(error: CudaError) -> SessionError {
        SessionError::Cuda(Box::new(error))
    }
}
