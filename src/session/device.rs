//! Devices by name, the precision that each computes in, and the choice of one.

use crate::device::{CudaError, cuda};
use crate::kernels::{self, Compute, NotBuilt};
use crate::weights::Precision;
use std::fmt;
use std::str::FromStr;

/// The device that a session runs on.
///
/// A device's name is `cpu`, `emulator`, or `cuda:N` with the GPU's number; `cuda` alone reads as
/// `cuda:0`.
///
/// ```
/// use effnet::session::Device;
///
/// assert_eq!("cuda:1".parse(), Ok(Device::Cuda(1)));
/// assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
/// assert_eq!(Device::Cuda(0).to_string(), "cuda:0");
/// assert!("gpu".parse::<Device>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The f32 executor on the host's cores.
    #[default]
    Cpu,
    /// A CUDA GPU, by its number.
    Cuda(usize),
    /// The kernels of the GPU, on the PTX emulator with every check: for tests, not for speed.
    Emulator,
}

/// GPU numbers are below this; a larger one is a slip of the keyboard.
const GPUS: usize = 1024;

impl Device {
    /// The first GPU that this build has kernels for; where there is none, the CPU.
    pub fn auto() -> DeviceChoice {
        let no_gpu = |reason| DeviceChoice { device: Device::Cpu, reason };
        if let Err(why) = kernels::built() {
            return no_gpu(ChoiceReason::NoKernels(why));
        }
        match cuda::usable() {
            Ok(ordinal) => {
                DeviceChoice { device: Device::Cuda(ordinal), reason: ChoiceReason::FirstUsableGpu }
            }
            Err(why) => no_gpu(ChoiceReason::NoGpu(Box::new(why))),
        }
    }

    /// The GPU's number; none for the CPU and the emulator.
    pub fn gpu(self) -> Option<usize> {
        match self {
            Device::Cuda(ordinal) => Some(ordinal),
            Device::Cpu | Device::Emulator => None,
        }
    }

    /// The precision that the device computes in where none is asked for: that in which the weights
    /// are stored, and on the CPU fp32.
    pub fn default_compute(self, stored: Precision) -> Compute {
        match (self, stored) {
            (Device::Cpu, _) | (_, Precision::Fp32) => Compute::Fp32,
            (Device::Cuda(_) | Device::Emulator, Precision::Fp16) => Compute::Fp16,
        }
    }

    /// Whether the device computes in this precision. The CPU computes in fp32 alone.
    pub fn computes_in(self, compute: Compute) -> bool {
        self != Device::Cpu || compute == Compute::Fp32
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.pad("cpu"),
            Device::Emulator => f.pad("emulator"),
            Device::Cuda(ordinal) => f.pad(&format!("cuda:{ordinal}")),
        }
    }
}

/// A name that is no device's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown device '{found}': expected {expected}")]
pub struct UnknownDevice {
    /// The names that would have done.
    pub expected: &'static str,
    /// The name that was given.
    pub found: String,
}

impl FromStr for Device {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<Device, UnknownDevice> {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|&ordinal: &usize| digits && ordinal < GPUS)
        };
        match text {
            "cpu" => Ok(Device::Cpu),
            "emulator" => Ok(Device::Emulator),
            "cuda" => Ok(Device::Cuda(0)),
            _ => text.strip_prefix("cuda:").and_then(number).map(Device::Cuda).ok_or_else(|| {
                let expected = "cuda, cuda:N, emulator or cpu";
                UnknownDevice { expected, found: text.to_owned() }
            }),
        }
    }
}

/// A device as it is asked for: one by name, or `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceRequest {
    /// The device that [`Device::auto`] chooses.
    #[default]
    Auto,
    /// This device.
    This(Device),
}

impl FromStr for DeviceRequest {
    type Err = UnknownDevice;

    fn from_str(text: &str) -> Result<DeviceRequest, UnknownDevice> {
        if text == "auto" {
            return Ok(DeviceRequest::Auto);
        }
        text.parse().map(DeviceRequest::This).map_err(|error| UnknownDevice {
            expected: "auto, cuda, cuda:N, emulator or cpu",
            ..error
        })
    }
}

impl DeviceRequest {
    /// Chooses the device.
    pub fn choose(self) -> DeviceChoice {
        match self {
            DeviceRequest::Auto => Device::auto(),
            DeviceRequest::This(device) => DeviceChoice { device, reason: ChoiceReason::AskedFor },
        }
    }
}

/// A device, and why it was taken.
#[derive(Debug)]
pub struct DeviceChoice {
    /// The device.
    pub device: Device,
    /// Why it was taken.
    pub reason: ChoiceReason,
}

/// Why a device was taken, as data and as text.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceReason {
    /// It was asked for by name.
    #[error("asked for")]
    AskedFor,
    /// It is the first GPU that this build has kernels for.
    #[error("the first usable GPU")]
    FirstUsableGpu,
    /// It is the CPU, since this build has no kernels.
    #[error("{0}")]
    NoKernels(NotBuilt),
    /// It is the CPU, since no GPU can be used.
    #[error("no GPU: {0}")]
    NoGpu(Box<CudaError>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_back_from_its_name() {
        for device in [Device::Cpu, Device::Emulator, Device::Cuda(0), Device::Cuda(1023)] {
            assert_eq!(device.to_string().parse(), Ok(device));
            assert_eq!(device.to_string().parse(), Ok(DeviceRequest::This(device)));
        }
        assert_eq!("auto".parse(), Ok(DeviceRequest::Auto));
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        assert_eq!(format!("[{:<8}|{:>5}]", Device::Cuda(2), Device::Cpu), "[cuda:2  |  cpu]");
    }

    #[test]
    fn other_names_are_refused_with_those_that_would_do() {
        for absent in
            ["CPU", "cpu ", "gpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda:1024"]
        {
            let error = absent.parse::<Device>().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("unknown device '{absent}': expected cuda, cuda:N, emulator or cpu")
            );
            let error = absent.parse::<DeviceRequest>().unwrap_err();
            assert_eq!(
                (error.expected, &error.found[..]),
                ("auto, cuda, cuda:N, emulator or cpu", absent)
            );
        }
        // What is asked for by `auto` is no device by itself.
        assert!("auto".parse::<Device>().is_err());
    }

    #[test]
    fn the_weights_precision_is_the_default_except_on_the_cpu() {
        for gpu in [Device::Cuda(0), Device::Emulator] {
            assert_eq!(gpu.default_compute(Precision::Fp16), Compute::Fp16);
            assert_eq!(gpu.default_compute(Precision::Fp32), Compute::Fp32);
            assert!(gpu.computes_in(Compute::Tf32) && gpu.computes_in(Compute::Fp16));
        }
        for stored in [Precision::Fp16, Precision::Fp32] {
            assert_eq!(Device::Cpu.default_compute(stored), Compute::Fp32);
        }
        assert!(Device::Cpu.computes_in(Compute::Fp32));
        assert!(!Device::Cpu.computes_in(Compute::Fp16) && !Device::Cpu.computes_in(Compute::Tf32));
    }

    #[test]
    fn the_choice_agrees_with_its_reason() {
        let DeviceChoice { device, reason } = DeviceRequest::Auto.choose();
        match reason {
            ChoiceReason::FirstUsableGpu => assert!(device.gpu().is_some()),
            ChoiceReason::NoKernels(why) => {
                assert_eq!(device, Device::Cpu);
                assert_eq!(kernels::built().unwrap_err(), why);
            }
            ChoiceReason::NoGpu(_) => assert_eq!(device, Device::Cpu),
            ChoiceReason::AskedFor => panic!("nobody asked for {device}"),
        }
        let DeviceChoice { device, reason } = DeviceRequest::This(Device::Cuda(7)).choose();
        assert_eq!((device, reason.to_string().as_str()), (Device::Cuda(7), "asked for"));
    }
}
