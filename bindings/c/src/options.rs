//! What a session is made for.

use crate::buffer;
use crate::call::call;
use crate::device::effnet_device;
use crate::error::{Failure, effnet_error};
use crate::status::effnet_status;
use crate::versioned::{self, Versioned, versioned};
use effnet::arch::Size;
use effnet::kernels::Compute;
use effnet::launches::Path;
use effnet::session::{InputType, SessionOptions};
use effnet::weights::{OutputActivation, Precision};
use std::ptr::null_mut;

/// Which kernels run on a GPU. The CPU has one way of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum effnet_path {
    /// Several operations in a kernel: the quick one.
    EFFNET_PATH_FUSED = 0,
    /// A kernel for each operation.
    EFFNET_PATH_LAYERWISE = 1,
}

/// In which precision a network computes, or its weights are stored.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum effnet_precision {
    /// The weights' on a GPU, fp32 on the CPU; of an import fp16.
    EFFNET_PRECISION_DEFAULT = 0,
    /// f16 with sums in f32. Not on the CPU.
    EFFNET_PRECISION_FP16 = 1,
    /// f32.
    EFFNET_PRECISION_FP32 = 2,
    /// f32 whose products a GPU's tensor cores round to TF32. Not on the CPU, and not of weights.
    EFFNET_PRECISION_TF32 = 3,
}

/// From logits to probabilities.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum effnet_activation {
    /// As the model was trained.
    EFFNET_ACTIVATION_DEFAULT = 0,
    /// One class is right.
    EFFNET_ACTIVATION_SOFTMAX = 1,
    /// Any number of classes may be right.
    EFFNET_ACTIVATION_SIGMOID = 2,
    /// There are no probabilities: the outputs are scores.
    EFFNET_ACTIVATION_NONE = 3,
}

/// The type of the elements of a session's images.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum effnet_input {
    /// float, normalised by the model's recipe.
    EFFNET_INPUT_F32 = 0,
    /// uint8_t levels from 0 to 255, which the network normalises by itself: a quarter of the
    /// memory and of the copies, and the same logits, bit for bit on the CPU.
    EFFNET_INPUT_U8 = 1,
}

/// What a session is made for: filled by effnet_session_options_init, then changed. Fields are
/// added at its end alone, and a program with an older header goes on to work.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct effnet_session_options {
    /// sizeof(effnet_session_options), which tells the fields that the caller knows.
    pub struct_size: usize,
    /// Where the network runs: an effnet_device. EFFNET_DEVICE_AUTO at first.
    pub device: i32,
    /// A GPU's number, where the device is EFFNET_DEVICE_CUDA.
    pub device_index: u32,
    /// Most images of a run; 0 is 1.
    pub batch: u32,
    /// Height of the images; 0 is the model's. Both or neither of height and width.
    pub height: u32,
    /// Width of the images; 0 is the model's.
    pub width: u32,
    /// Threads of the CPU, those that compute and those that decode; 0 is one for each core.
    pub threads: u32,
    /// An effnet_path.
    pub path: i32,
    /// An effnet_precision.
    pub precision: i32,
    /// An effnet_activation.
    pub activation: i32,
    /// An effnet_input.
    pub input: i32,
}

versioned!(effnet_session_options {
    struct_size: usize,
    device: i32,
    device_index: u32,
    batch: u32,
    height: u32,
    width: u32,
    threads: u32,
    path: i32,
    precision: i32,
    activation: i32,
    input: i32,
});

/// All zeros but for the length: what a caller does not know is as it was before there was such a
/// field.
const DEFAULT: effnet_session_options = effnet_session_options {
    struct_size: size_of::<effnet_session_options>(),
    device: 0,
    device_index: 0,
    batch: 0,
    height: 0,
    width: 0,
    threads: 0,
    path: 0,
    precision: 0,
    activation: 0,
    input: 0,
};

/// Fills options with what a session is made for where nothing else is wanted: one image at a time,
/// at the model's size, on the first GPU that can be used, else on the CPU. struct_size is
/// sizeof(effnet_session_options) and becomes the struct's first field.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_session_options_init(
    options: *mut effnet_session_options,
    struct_size: usize,
) -> effnet_status {
    let init = || {
        let name = effnet_session_options::NAME;
        // SAFETY: NULL, or a struct of so many bytes: the caller's promise.
        let bytes = unsafe { buffer::write(name, options.cast::<u8>(), struct_size) }?;
        let head = bytes.first_chunk_mut::<{ size_of::<usize>() }>();
        let Some(head) = head else {
            return Err(Failure::argument(format!("{name}: {struct_size} bytes are too few")));
        };
        *head = struct_size.to_ne_bytes();
        // SAFETY: as above, and it begins with its own length.
        unsafe { versioned::write(options, DEFAULT) }
    };
    // SAFETY: nobody is told the words.
    unsafe { call(null_mut::<*mut effnet_error>(), init) }
}

/// What a number of the header's means; `kind` is the enum that has them.
pub fn chosen<T: Copy>(
    field: &str,
    kind: &str,
    found: i32,
    choices: &[(i32, T)],
) -> Result<T, Failure> {
    let choice = choices.iter().find(|(number, _)| *number == found);
    choice.map(|(_, value)| *value).ok_or_else(|| {
        Failure::argument(format!("option {field}: expected a value of {kind}, found {found}"))
    })
}

/// The precision that is asked for, if one is.
fn compute(precision: i32) -> Result<Option<Compute>, Failure> {
    use effnet_precision::*;
    let choices = [
        (EFFNET_PRECISION_DEFAULT as i32, None),
        (EFFNET_PRECISION_FP16 as i32, Some(Compute::Fp16)),
        (EFFNET_PRECISION_FP32 as i32, Some(Compute::Fp32)),
        (EFFNET_PRECISION_TF32 as i32, Some(Compute::Tf32)),
    ];
    chosen("precision", "effnet_precision", precision, &choices)
}

/// The precision of stored weights.
pub fn stored(precision: i32) -> Result<Precision, Failure> {
    match compute(precision)? {
        None | Some(Compute::Fp16) => Ok(Precision::Fp16),
        Some(Compute::Fp32) => Ok(Precision::Fp32),
        Some(Compute::Tf32) => Err(Failure::argument(
            "precision: expected EFFNET_PRECISION_FP16 or EFFNET_PRECISION_FP32, in which weights \
             are stored, found EFFNET_PRECISION_TF32",
        )),
    }
}

/// The number of a precision.
pub fn precision_number(compute: Compute) -> i32 {
    let precision = match compute {
        Compute::Fp16 => effnet_precision::EFFNET_PRECISION_FP16,
        Compute::Fp32 => effnet_precision::EFFNET_PRECISION_FP32,
        Compute::Tf32 => effnet_precision::EFFNET_PRECISION_TF32,
    };
    precision as i32
}

/// The number of an activation.
pub fn activation_number(activation: OutputActivation) -> i32 {
    let activation = match activation {
        OutputActivation::Softmax => effnet_activation::EFFNET_ACTIVATION_SOFTMAX,
        OutputActivation::Sigmoid => effnet_activation::EFFNET_ACTIVATION_SIGMOID,
        OutputActivation::None => effnet_activation::EFFNET_ACTIVATION_NONE,
    };
    activation as i32
}

fn activation(number: i32) -> Result<Option<OutputActivation>, Failure> {
    use effnet_activation::*;
    let choices = [
        (EFFNET_ACTIVATION_DEFAULT as i32, None),
        (EFFNET_ACTIVATION_SOFTMAX as i32, Some(OutputActivation::Softmax)),
        (EFFNET_ACTIVATION_SIGMOID as i32, Some(OutputActivation::Sigmoid)),
        (EFFNET_ACTIVATION_NONE as i32, Some(OutputActivation::None)),
    ];
    chosen("activation", "effnet_activation", number, &choices)
}

fn path(number: i32) -> Result<Path, Failure> {
    use effnet_path::*;
    let choices =
        [(EFFNET_PATH_FUSED as i32, Path::Fused), (EFFNET_PATH_LAYERWISE as i32, Path::Layerwise)];
    chosen("path", "effnet_path", number, &choices)
}

fn input(number: i32) -> Result<InputType, Failure> {
    use effnet_input::*;
    let choices =
        [(EFFNET_INPUT_F32 as i32, InputType::F32), (EFFNET_INPUT_U8 as i32, InputType::U8)];
    chosen("input", "effnet_input", number, &choices)
}

impl effnet_session_options {
    /// The caller's options; the defaults for NULL.
    ///
    /// # Safety
    ///
    /// `options` is NULL, or begins with its own length, of which all can be read.
    pub unsafe fn read(options: *const effnet_session_options) -> Result<Self, Failure> {
        if options.is_null() {
            return Ok(DEFAULT);
        }
        // SAFETY: the caller's promise.
        unsafe { versioned::read(options, DEFAULT) }
    }

    /// The same for the runtime.
    pub fn to_runtime(self) -> Result<SessionOptions, Failure> {
        let size = match (self.height, self.width) {
            (0, 0) => None,
            (h, w) if h > 0 && w > 0 => Some(Size { h: h as usize, w: w as usize }),
            (h, w) => {
                return Err(Failure::argument(format!(
                    "options height and width: expected both or neither, found {h} and {w}"
                )));
            }
        };
        Ok(SessionOptions {
            device: effnet_device::to_runtime(self.device, self.device_index)?,
            batch: self.batch.max(1) as usize,
            size,
            threads: self.threads(),
            path: path(self.path)?,
            compute: compute(self.precision)?,
            activation: activation(self.activation)?,
            input: input(self.input)?,
            top_k: None,
        })
    }

    /// Threads, where a number is given.
    pub fn threads(&self) -> Option<usize> {
        (self.threads > 0).then_some(self.threads as usize)
    }

    /// Whether the calling thread's CUDA context may be changed while such a session is made.
    pub fn may_use_cuda(&self) -> bool {
        let (cuda, auto) = (effnet_device::EFFNET_DEVICE_CUDA, effnet_device::EFFNET_DEVICE_AUTO);
        self.device == cuda as i32 || self.device == auto as i32
    }
}
