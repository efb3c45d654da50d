//! Devices that run a launch plan launch by launch.

use crate::device::{CudaDevice, CudaError, EmulatedDevice, EmulatedError};
use crate::launches::{Address, Input};

/// Why a device did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A GPU's.
    #[error(transparent)]
    Cuda(Box<CudaError>),
    /// The emulator's; findings of its checks among them.
    #[error(transparent)]
    Emulated(Box<EmulatedError>),
}

impl From<CudaError> for StepError {
    fn from(error: CudaError) -> StepError {
        StepError::Cuda(Box::new(error))
    }
}

impl From<EmulatedError> for StepError {
    fn from(error: EmulatedError) -> StepError {
        StepError::Emulated(Box::new(error))
    }
}

/// A device with a launch plan's regions, which runs one launch at a time and lets the host at its memory
/// in between.
pub trait Stepwise {
    /// Puts the input of `n` images, `[n, h, w, 3]`, where launches read it.
    fn load(&mut self, input: Input<'_>, n: usize) -> Result<(), StepError>;

    /// Runs launch `index` of the loaded run, and waits for it.
    fn launch(&mut self, index: usize) -> Result<(), StepError>;

    /// `bytes` bytes of a region.
    fn read(&mut self, at: Address, bytes: usize) -> Result<Vec<u8>, StepError>;

    /// Overwrites a part of a region.
    fn write(&mut self, at: Address, bytes: &[u8]) -> Result<(), StepError>;

    /// Whether factors in TF32 are rounded to it: from sm_80 on.
    fn has_tf32(&self) -> bool;
}

impl Stepwise for CudaDevice {
    fn load(&mut self, input: Input<'_>, n: usize) -> Result<(), StepError> {
        Ok(CudaDevice::load(self, input, n)?)
    }

    fn launch(&mut self, index: usize) -> Result<(), StepError> {
        Ok(CudaDevice::launch(self, index)?)
    }

    fn read(&mut self, at: Address, bytes: usize) -> Result<Vec<u8>, StepError> {
        Ok(self.read_bytes(at, bytes)?)
    }

    fn write(&mut self, at: Address, bytes: &[u8]) -> Result<(), StepError> {
        Ok(self.write_bytes(at, bytes)?)
    }

    fn has_tf32(&self) -> bool {
        self.info().arch >= 80
    }
}

#[cfg(feature = "emulator")]
impl Stepwise for EmulatedDevice {
    fn load(&mut self, input: Input<'_>, n: usize) -> Result<(), StepError> {
        Ok(EmulatedDevice::load(self, input, n)?)
    }

    fn launch(&mut self, index: usize) -> Result<(), StepError> {
        Ok(self.launch_loaded(index)?)
    }

    fn read(&mut self, at: Address, bytes: usize) -> Result<Vec<u8>, StepError> {
        Ok(self.read_bytes(at, bytes)?)
    }

    fn write(&mut self, at: Address, bytes: &[u8]) -> Result<(), StepError> {
        Ok(self.write_bytes(at, bytes)?)
    }

    /// The emulator runs the PTX of compute_90.
    fn has_tf32(&self) -> bool {
        true
    }
}

/// Of a device that nobody can make.
#[cfg(not(feature = "emulator"))]
impl Stepwise for EmulatedDevice {
    fn load(&mut self, _input: Input<'_>, _n: usize) -> Result<(), StepError> {
        match *self {}
    }

    fn launch(&mut self, _index: usize) -> Result<(), StepError> {
        match *self {}
    }

    fn read(&mut self, _at: Address, _bytes: usize) -> Result<Vec<u8>, StepError> {
        match *self {}
    }

    fn write(&mut self, _at: Address, _bytes: &[u8]) -> Result<(), StepError> {
        match *self {}
    }

    fn has_tf32(&self) -> bool {
        match *self {}
    }
}
