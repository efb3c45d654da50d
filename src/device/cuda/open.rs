//! Which GPUs there are, which of them this build has kernels for, and opening one.

use super::driver::{Driver, OLDEST, call};
use super::error::{CudaError, Version};
use super::loaded::Loaded;
use super::resources::Context;
use crate::kernels::{self, Built};
use cudarc::driver::sys::CUdevice;
use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;

/// The first target with `griddepcontrol`.
const DEPENDENT_LAUNCHES_ARCH: u32 = 90;
/// The first driver that records dependent launches in a graph.
const DEPENDENT_LAUNCHES_DRIVER: Version = Version(12_030);
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
const CAPABILITY: [u32; 2] = [75, 76];
/// `CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN`.
const SHARED_OF_BLOCK: u32 = 97;

/// A GPU that the driver sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number.
    pub ordinal: usize,
    /// In the maker's words.
    pub name: String,
    /// Compute capability as in 90 for 9.0.
    pub arch: u32,
    /// Device memory.
    pub memory_bytes: usize,
    /// Shared memory of one block, where it asks for it.
    pub block_shared_bytes: u32,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, sm_{}", self.name, self.arch)
    }
}

impl DeviceInfo {
    /// Whether machine code for one of `archs` runs on it, or the driver can compile PTX of
    /// `ptx_arch` for it.
    pub fn runs(&self, archs: &[u32], ptx_arch: u32) -> bool {
        self.code(archs, ptx_arch).is_some()
    }

    /// Which code it runs: the newest machine code of its own generation, else the PTX, if that is
    /// not for later GPUs only.
    fn code(&self, archs: &[u32], ptx_arch: u32) -> Option<Code> {
        let of_its_generation = |arch: &u32| arch / 10 == self.arch / 10 && *arch <= self.arch;
        let machine_code = archs.iter().copied().filter(of_its_generation).max();
        let ptx = Some(Code::Ptx(ptx_arch)).filter(|_| ptx_arch <= self.arch);
        machine_code.map(Code::Machine).or(ptx)
    }

    /// Which of this build's code it runs.
    fn code_of(&self, built: &Built) -> Result<Code, CudaError> {
        self.code(built.archs, built.ptx_arch).ok_or_else(|| CudaError::Architecture {
            device: self.clone(),
            built: built.archs.to_vec(),
        })
    }
}

/// The form in which kernels are loaded, and its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Machine(u32),
    /// The driver compiles it when it is loaded.
    Ptx(u32),
}

impl Code {
    fn arch(self) -> u32 {
        match self {
            Code::Machine(arch) | Code::Ptx(arch) => arch,
        }
    }
}

/// The GPUs that the driver sees, whether or not this build has kernels for them.
pub fn devices() -> Result<Vec<DeviceInfo>, CudaError> {
    let driver = Driver::open(OLDEST)?;
    (0..count(&driver)?).map(|ordinal| Ok(look_at(&driver, ordinal)?.1)).collect()
}

/// The first GPU that this build has kernels for.
pub fn usable() -> Result<usize, CudaError> {
    let built = kernels::built()?;
    let driver = Driver::open(needed(built.nvcc))?;
    let mut refused = None;
    for ordinal in 0..count(&driver)? {
        let (_, device) = look_at(&driver, ordinal)?;
        match device.code_of(&built) {
            Ok(_) => return Ok(ordinal),
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    Err(refused.unwrap_or(CudaError::NoDevice))
}

pub(super) fn count(driver: &Driver) -> Result<usize, CudaError> {
    let mut count = 0;
    // SAFETY: the count is written.
    unsafe { call!(driver, "counting GPUs", device_count(&mut count))? };
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(CudaError::NoDevice),
    }
}

pub(super) fn look_at(
    driver: &Driver,
    ordinal: usize,
) -> Result<(CUdevice, DeviceInfo), CudaError> {
    let what = "looking at the GPU";
    let mut device = 0;
    // SAFETY: the device is written; any ordinal may be asked for.
    unsafe { call!(driver, what, device_get(&mut device, ordinal as i32))? };
    let attribute = |attribute: u32| {
        let mut value = 0;
        // SAFETY: the driver named the device; the value is written.
        unsafe { call!(driver, what, device_attribute(&mut value, attribute, device))? };
        Ok::<u32, CudaError>(value.max(0) as u32)
    };
    let mut name = [0u8; 256];
    let mut memory_bytes = 0;
    // SAFETY: the name's length is given, of which the driver writes no more; so is the size.
    unsafe {
        call!(driver, what, device_name(name.as_mut_ptr().cast(), name.len() as i32, device))?;
        call!(driver, what, device_memory(&mut memory_bytes, device))?;
    }
    let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    let info = DeviceInfo {
        ordinal,
        name: name.to_string_lossy().into_owned(),
        arch: attribute(CAPABILITY[0])? * 10 + attribute(CAPABILITY[1])?,
        memory_bytes,
        block_shared_bytes: attribute(SHARED_OF_BLOCK)?,
    };
    Ok((device, info))
}

/// Kernels built for an older target do not wait by themselves; older drivers do not record launches
/// that do in graphs.
fn has_dependent_launches(driver: &Driver, code: Code) -> bool {
    driver.version >= DEPENDENT_LAUNCHES_DRIVER && code.arch() >= DEPENDENT_LAUNCHES_ARCH
}

/// What a driver must be to load what this nvcc made: of the same major version. Later minor
/// versions of nvcc are no obstacle to machine code.
fn needed(nvcc: &str) -> Version {
    let major = nvcc
        .split_once("release ")
        .and_then(|(_, release)| release.split_once('.')?.0.trim().parse::<i32>().ok());
    major.map_or(OLDEST, |major| Version(major * 1000).max(OLDEST))
}

/// A GPU's context, with this build's kernels loaded.
pub(super) struct Opened {
    pub context: Arc<Context>,
    pub info: DeviceInfo,
    pub kernels: Loaded,
    /// Whether launches may begin while the one before still runs.
    pub dependent_launches: bool,
}

/// Opens GPU `ordinal`, where this build has kernels for it.
pub(super) fn open(ordinal: usize) -> Result<Opened, CudaError> {
    let built = kernels::built()?;
    let driver = Driver::open(needed(built.nvcc))?;
    let count = count(&driver)?;
    if ordinal >= count {
        return Err(CudaError::Ordinal { ordinal, count });
    }
    let (device, info) = look_at(&driver, ordinal)?;
    let code = info.code_of(&built)?;
    let dependent_launches = has_dependent_launches(&driver, code);
    let context = Context::new(driver, device)?;
    let kernels = Loaded::new(&context, &built, code, info.block_shared_bytes)?;
    Ok(Opened { context, info, kernels, dependent_launches })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(arch: u32) -> DeviceInfo {
        let name = "GPU".to_owned();
        DeviceInfo { ordinal: 0, name, arch, memory_bytes: 0, block_shared_bytes: 0 }
    }

    #[test]
    fn machine_code_runs_on_its_generation_and_ptx_on_later_ones() {
        let code = |arch, archs: &[u32]| gpu(arch).code(archs, 90);
        assert_eq!(code(80, &[75, 80]), Some(Code::Machine(80)));
        assert_eq!(code(86, &[80, 90]), Some(Code::Machine(80)));
        assert_eq!(code(89, &[80, 86, 90]), Some(Code::Machine(86)));
        assert_eq!(code(80, &[86, 90]), None, "code for 8.6 does not run on 8.0");
        assert_eq!(code(75, &[80]), None);
        assert_eq!(code(120, &[80]), Some(Code::Ptx(90)));
        assert_eq!(code(110, &[100, 120]), Some(Code::Ptx(90)), "12.0 is after 11.0");
        assert_eq!(code(80, &[]), None, "PTX of 9.0 is not for 8.0");
        assert_eq!(code(90, &[80, 90, 100]), Some(Code::Machine(90)));
        assert_eq!(code(90, &[75, 80]), Some(Code::Ptx(90)));
        assert_eq!(code(90, &[]), Some(Code::Ptx(90)));
        assert!(gpu(90).runs(&[], 90) && !gpu(80).runs(&[90], 90));
    }

    #[test]
    fn a_driver_must_be_of_nvcc_s_major_version() {
        assert_eq!(needed("Cuda compilation tools, release 13.0, V13.0.88"), Version(13_000));
        assert_eq!(needed("Cuda compilation tools, release 12.8, V12.8.93"), Version(12_000));
        assert_eq!(needed("Cuda compilation tools, release 11.8, V11.8.89"), OLDEST);
        assert_eq!(needed("something else"), OLDEST);
    }
}
