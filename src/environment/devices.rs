//! What networks can run on here, and in which form.

use super::Environment;
use crate::device::cuda::{self, Code, DeviceInfo, Version};
use crate::kernels::{self, Built, NotBuilt};
use crate::memory;
use crate::session::Device;
use serde::Serialize;

/// A device and what is known of it, or `cuda` where there is no GPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KnownDevice {
    /// The name that a session takes.
    pub device: String,
    /// In the maker's words.
    pub name: Option<String>,
    /// Compute capability of a GPU, as in `9.0`.
    pub capability: Option<String>,
    /// The newest CUDA that a GPU's driver knows, as in `13.0`.
    pub driver: Option<String>,
    /// A GPU's memory.
    pub memory_bytes: Option<u64>,
    /// The host's memory that is free; a GPU tells only a program that holds some of it.
    pub memory_free_bytes: Option<u64>,
    /// Whether networks run on it.
    pub usable: bool,
    /// The form in which kernels run: `machine code`, `ptx`, or none for the CPU.
    pub code: Option<&'static str>,
    /// The target of the code, as in `sm_90`.
    pub target: Option<String>,
    /// Whether `--device auto` takes it.
    pub auto: bool,
    /// Why it cannot be used, and what to do.
    pub why_not: Option<String>,
}

/// Every GPU, the CPU and the emulator.
pub fn devices() -> Vec<KnownDevice> {
    let built = kernels::built();
    let auto = Device::auto().device;
    let gpus = cuda::devices().and_then(|gpus| Ok((cuda::driver_version()?, gpus)));
    let mut rows = match gpus {
        Ok((driver, gpus)) => gpus.iter().map(|gpu| gpu_row(gpu, driver, &built)).collect(),
        Err(why_not) => vec![KnownDevice {
            driver: cuda::driver_version().ok().map(|version| version.to_string()),
            why_not: Some(why_not.to_string()),
            ..KnownDevice::new("cuda".to_owned())
        }],
    };
    rows.extend([cpu_row(), emulator_row(&built)]);
    for row in &mut rows {
        row.auto = row.device == auto.to_string();
    }
    rows
}

fn gpu_row(gpu: &DeviceInfo, driver: Version, built: &Result<Built, NotBuilt>) -> KnownDevice {
    let code = match built {
        Ok(built) => gpu.code(built, driver).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let (form, target, why_not) = match code {
        Ok(Code::Machine(arch)) => (Some("machine code"), Some(format!("sm_{arch}")), None),
        Ok(Code::Ptx(arch)) => (Some("ptx"), Some(format!("compute_{arch}")), None),
        Err(why_not) => (None, None, Some(why_not)),
    };
    KnownDevice {
        name: Some(gpu.name.clone()),
        capability: Some(format!("{}.{}", gpu.arch / 10, gpu.arch % 10)),
        driver: Some(driver.to_string()),
        memory_bytes: Some(gpu.memory_bytes as u64),
        usable: form.is_some(),
        code: form,
        target,
        why_not,
        ..KnownDevice::new(Device::Cuda(gpu.ordinal).to_string())
    }
}

fn cpu_row() -> KnownDevice {
    KnownDevice {
        name: Environment::collect(&[]).cpu.model,
        memory_free_bytes: memory::available().map(|available| available.bytes),
        usable: true,
        ..KnownDevice::new(Device::Cpu.to_string())
    }
}

fn emulator_row(built: &Result<Built, NotBuilt>) -> KnownDevice {
    let row = KnownDevice::new(Device::Emulator.to_string());
    match built {
        _ if !cfg!(feature = "emulator") => {
            let why_not = "no PTX emulator in this build: build effnet with its feature `emulator`";
            KnownDevice { why_not: Some(why_not.to_owned()), ..row }
        }
        Ok(built) => KnownDevice {
            usable: true,
            code: Some("ptx"),
            target: Some(format!("compute_{}", built.ptx_arch)),
            ..row
        },
        Err(error) => KnownDevice { why_not: Some(error.to_string()), ..row },
    }
}

impl KnownDevice {
    fn new(device: String) -> KnownDevice {
        KnownDevice {
            device,
            name: None,
            capability: None,
            driver: None,
            memory_bytes: None,
            memory_free_bytes: None,
            usable: false,
            code: None,
            target: None,
            auto: false,
            why_not: None,
        }
    }
}
