//! What went wrong, in Rust's words, as the exceptions of `effnet/_errors.py`.

use effnet::cpu::CpuError;
use effnet::device::{CudaError, EmulatedError};
use effnet::kernels::NotBuilt;
use effnet::labels::LabelsError;
use effnet::labels::text::TextError;
use effnet::launches::LaunchPlanError;
use effnet::memory::TooLittleMemory;
use effnet::pipeline::ImageFailureKind;
use effnet::plan::PlanError;
use effnet::profile::CeilingError;
use effnet::session::{NonFiniteLogits, SessionError, UnknownDevice};
use effnet::verify::{StepError, VerifyError};
use effnet::weights::{ImportError, InstalledError, PullError, StoreError, UnknownModel};
use pyo3::exceptions::{PyFileNotFoundError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use std::error::Error;
use std::io;

/// The class of an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `effnet.Error` itself.
    Other,
    /// `effnet.ImageError`.
    Image,
    /// `effnet.ImageNotFoundError`, which is a `FileNotFoundError` too.
    ImageNotFound,
    /// `effnet.WeightsError`.
    Weights,
    /// `effnet.WeightsNotFoundError`, which is a `FileNotFoundError` too.
    WeightsNotFound,
    /// `effnet.DeviceError`.
    Device,
    /// `effnet.OutOfMemoryError`.
    OutOfMemory,
    /// `ValueError`: an argument that does not work.
    Value,
    /// `TypeError`: an argument of another type.
    Type,
    /// `FileNotFoundError`: a file that is neither an image nor weights.
    NotFound,
}

/// An exception that is not raised yet: it can be made, moved and kept without the interpreter.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its class.
    pub kind: Kind,
    /// Its text.
    pub message: String,
    /// An image's place among the inputs, from 0.
    pub index: Option<usize>,
    /// An image's name.
    pub name: Option<String>,
}

impl Failure {
    /// An exception of a class with a text.
    pub fn new(kind: Kind, message: impl ToString) -> Failure {
        Failure { kind, message: message.to_string(), index: None, name: None }
    }

    /// The same about an image: its text names it, and it tells which one it is.
    pub fn of_image(self, index: usize, name: &str) -> Failure {
        let message = format!("{name}: {}", self.message);
        Failure { message, index: Some(index), name: Some(name.to_owned()), ..self }
    }

    /// The same as an error of the image itself, whatever class it would be raised as.
    pub fn into_image(self) -> Failure {
        let kind = match self.kind {
            Kind::ImageNotFound => Kind::ImageNotFound,
            _ => Kind::Image,
        };
        Failure { kind, ..self }
    }

    /// The Python object.
    pub fn into_err(self, py: Python<'_>) -> PyErr {
        let class = match self.kind {
            Kind::Value => return PyValueError::new_err(self.message),
            Kind::Type => return PyTypeError::new_err(self.message),
            Kind::NotFound => return PyFileNotFoundError::new_err(self.message),
            Kind::Other => "Error",
            Kind::Image => "ImageError",
            Kind::ImageNotFound => "ImageNotFoundError",
            Kind::Weights => "WeightsError",
            Kind::WeightsNotFound => "WeightsNotFoundError",
            Kind::Device => "DeviceError",
            Kind::OutOfMemory => "OutOfMemoryError",
        };
        let made = class_named(py, class).and_then(|class| {
            let error = class.call1((self.message,))?;
            if matches!(self.kind, Kind::Image | Kind::ImageNotFound) {
                error.setattr("index", self.index)?;
                error.setattr("name", self.name)?;
            }
            Ok(error)
        });
        match made {
            Ok(error) => PyErr::from_value(error),
            Err(error) => error,
        }
    }
}

/// A class of `effnet/_errors.py`.
fn class_named<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("effnet._errors").map(Bound::unbind))?;
    module.bind(py).getattr(name)
}

/// The category of warnings about images.
pub fn image_warning(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    Ok(class_named(py, "ImageWarning")?.cast_into::<PyType>()?)
}

/// Whether the cause is a file that is not there.
pub fn is_missing(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::NotFound) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether the cause is that memory has run out.
fn is_out_of_memory(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TooLittleMemory>()
            || matches!(error.downcast_ref(), Some(CudaError::OutOfMemory { .. }))
            || error
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::OutOfMemory)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// One of two kinds, by whether a file is missing.
fn by_presence(error: &(dyn Error + 'static), missing: Kind, other: Kind) -> Failure {
    let kind = match error {
        _ if is_out_of_memory(error) => Kind::OutOfMemory,
        _ if is_missing(error) => missing,
        _ => other,
    };
    Failure::new(kind, error)
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Failure {
        let kind = match &error {
            SessionError::Cpu(error) => return Failure::of_cpu(error),
            SessionError::Emulated(error) => return Failure::of_emulated(error),
            SessionError::Cuda(error) => return Failure::of_cuda(error),
            SessionError::InputMemory { .. } => Kind::OutOfMemory,
            SessionError::NoClassifier => Kind::Weights,
            SessionError::Launches(_) => Kind::Device,
            SessionError::Plan(_)
            | SessionError::Precision { .. }
            | SessionError::Input { .. }
            | SessionError::InputType(_)
            | SessionError::Images { .. }
            | SessionError::TopK { .. } => Kind::Value,
            // Of ways to run that Python does not take.
            _ => Kind::Other,
        };
        Failure::new(kind, error)
    }
}

impl Failure {
    fn of_cpu(error: &CpuError) -> Failure {
        let kind = match error {
            CpuError::ThreadCount { .. } | CpuError::Images { .. } | CpuError::Input { .. } => {
                Kind::Value
            }
            CpuError::Memory { .. } | CpuError::TooLittleMemory(_) => Kind::OutOfMemory,
            CpuError::Weights(error) => return Failure::of_store(error),
            CpuError::Plan(_)
            | CpuError::Network { .. }
            | CpuError::Precision { .. }
            | CpuError::Threads { .. } => Kind::Device,
        };
        Failure::new(kind, error)
    }

    fn of_emulated(error: &EmulatedError) -> Failure {
        match error {
            EmulatedError::TooLittleMemory(_) => Failure::new(Kind::OutOfMemory, error),
            EmulatedError::Store(error) => Failure::of_store(error),
            _ => Failure::new(Kind::Device, error),
        }
    }

    fn of_cuda(error: &CudaError) -> Failure {
        match error {
            CudaError::OutOfMemory { .. } => Failure::new(Kind::OutOfMemory, error),
            CudaError::Store(error) => Failure::of_store(error),
            _ => Failure::new(Kind::Device, error),
        }
    }

    fn of_store(error: &StoreError) -> Failure {
        by_presence(error, Kind::WeightsNotFound, Kind::Weights)
    }
}

macro_rules! from {
    ($($error:ty => |$name:ident| $failure:expr;)+) => {
        $(impl From<$error> for Failure {
            fn from($name: $error) -> Failure {
                $failure
            }
        })+
    };
}

from! {
    StoreError => |error| Failure::of_store(&error);
    CpuError => |error| Failure::of_cpu(&error);
    EmulatedError => |error| Failure::of_emulated(&error);
    CudaError => |error| Failure::of_cuda(&error);
    InstalledError => |error| match &error {
        InstalledError::NotFound { .. } | InstalledError::NotOne { count: 0, .. } => {
            Failure::new(Kind::WeightsNotFound, &error)
        }
        InstalledError::Store(source) => Failure::of_store(source),
        InstalledError::NotOne { .. }
        | InstalledError::Ambiguous { .. }
        | InstalledError::Folder { .. }
        | InstalledError::NoFolder => Failure::new(Kind::Weights, &error),
    };
    ImportError => |error| by_presence(&error, Kind::WeightsNotFound, Kind::Weights);
    PullError => |error| match &error {
        PullError::Import(source) => by_presence(source, Kind::WeightsNotFound, Kind::Weights),
        PullError::Digest { .. } | PullError::Length { .. } | PullError::Wheel(_) => {
            Failure::new(Kind::Weights, &error)
        }
        PullError::Demand { .. } => Failure::new(Kind::Value, &error),
        _ => Failure::new(Kind::Other, &error),
    };
    UnknownModel => |error| Failure::new(Kind::Weights, error);
    UnknownDevice => |error| Failure::new(Kind::Value, error);
    NotBuilt => |error| Failure::new(Kind::Device, error);
    PlanError => |error| Failure::new(Kind::Value, error);
    LaunchPlanError => |error| Failure::new(Kind::Device, error);
    TooLittleMemory => |error| Failure::new(Kind::OutOfMemory, error);
    LabelsError => |error| match &error {
        LabelsError::Text { source: TextError::Io(source), .. }
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Failure::new(Kind::NotFound, &error)
        }
        _ => Failure::new(Kind::Value, &error),
    };
    CeilingError => |error| by_presence(&error, Kind::Device, Kind::Device);
    VerifyError => |error| match error {
        VerifyError::Plan(error) => error.into(),
        VerifyError::Launches(error) => error.into(),
        VerifyError::Device(StepError::Cuda(error)) => Failure::of_cuda(&error),
        VerifyError::Device(StepError::Emulated(error)) => Failure::of_emulated(&error),
        VerifyError::Cpu(error) => error.into(),
        VerifyError::Weights { .. } => Failure::new(Kind::Weights, error),
        VerifyError::Threads(_) => Failure::new(Kind::Device, error),
        VerifyError::InputType(_) | VerifyError::Input { .. } | VerifyError::InputValue { .. } => {
            Failure::new(Kind::Value, error)
        }
    };
    ImageFailureKind => |error| match &error {
        ImageFailureKind::Read(source) if source.kind() == io::ErrorKind::NotFound => {
            Failure::new(Kind::ImageNotFound, &error)
        }
        _ => Failure::new(Kind::Image, &error),
    };
    NonFiniteLogits => |error| Failure::new(Kind::Image, error);
}

/// From Rust's results to Python's.
pub trait OrRaise<T> {
    /// The value, or the exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T, E: Into<Failure>> OrRaise<T> for Result<T, E> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| error.into().into_err(py))
    }
}
