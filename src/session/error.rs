//! Why a session could not be made or run.

use super::Device;
use crate::arch::Size;
use crate::cpu::CpuError;
use crate::device::{CudaError, EmulatedError};
use crate::kernels::Compute;
use crate::launches::{InputTypeError, LaunchPlanError};
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
    /// Images of a type that the session was not made for.
    #[error(transparent)]
    InputType(#[from] InputTypeError),
    /// Memory, or a run, for more images than the session takes, or none.
    #[error("{found} images: expected 1 to {batch}, the session's batch")]
    Images {
        /// The session's batch.
        batch: usize,
        /// The number asked for.
        found: usize,
    },
    /// A run of images that nobody has been lent memory for.
    #[error(
        "a run of {asked} images with memory lent for {lent}: ask for `input_mut` of all of them \
         before each run"
    )]
    NotStaged {
        /// Images of the run.
        asked: usize,
        /// Images that memory was lent for since the last run.
        lent: usize,
    },
    /// Memory for a run's images cannot be had.
    #[error("cannot allocate {bytes} bytes for the images of a run; use a smaller batch or size")]
    InputMemory {
        /// The number asked for.
        bytes: usize,
    },
    /// More best classes than the session gives.
    #[error(
        "the {asked} best classes of a session that gives {given}: make it for {asked}, or for all \
         outputs"
    )]
    TopK {
        /// The number asked for.
        asked: usize,
        /// The session's.
        given: usize,
    },
    /// A run was asked for that has to wait for one that is under way.
    #[error("{under_way} runs are under way: collect one before this one")]
    Busy {
        /// The number of runs under way.
        under_way: usize,
    },
    /// Device memory was given to a session that runs elsewhere.
    #[error(
        "device memory for a session on {device}: expected one on a CUDA GPU, as cuda or cuda:N; give \
         host memory to this one"
    )]
    NotOnGpu {
        /// The session's device.
        device: Device,
    },
    /// An address of device memory that cannot be one.
    #[error(
        "device memory of the {what} at {found:#x}: expected an address that is a multiple of \
         {align}, and not 0"
    )]
    DevicePointer {
        /// What it is of: images or logits.
        what: &'static str,
        /// The address.
        found: u64,
        /// What it has to be a multiple of.
        align: u64,
    },
    /// Classes were asked of a network without a classifier.
    #[error(
        "the model has no classifier, so that there are no classes to tell; it was imported from a \
         checkpoint without one, and gives features: ask for those, or import a checkpoint with a \
         classifier"
    )]
    NoClassifier,
    /// A run was to be collected that nobody has submitted.
    #[error("no run is under way: submit one before collecting it")]
    NothingSubmitted,
}

/// Logits of one image that are no finite numbers: neither an order nor probabilities can be had
/// from them.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "expected finite logits, found {count} of {classes} that are not, the first ({value}) of class \
     {class}: the network's values overflow on this image{advice}",
    advice = NonFiniteLogits::ADVICE
)]
pub struct NonFiniteLogits {
    /// Number of logits that are NaN or infinite.
    pub count: usize,
    /// Number of logits.
    pub classes: usize,
    /// Class of the first.
    pub class: usize,
    /// The first.
    pub value: f32,
}

impl NonFiniteLogits {
    const ADVICE: &str = "; computed in fp16, try fp32; else its checkpoint has values that are \
                          too large, or the input has";

    /// The fault of an image's logits; none where all are finite.
    pub fn of(logits: &[f32]) -> Option<NonFiniteLogits> {
        let class = logits.iter().position(|logit| !logit.is_finite())?;
        let count = logits[class..].iter().filter(|logit| !logit.is_finite()).count();
        Some(NonFiniteLogits { count, classes: logits.len(), class, value: logits[class] })
    }
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
