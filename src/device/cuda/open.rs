//! Which GPUs there are, which of them this build has kernels for, and opening one.

use super::driver::{Driver, call};
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
/// `CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR`.
const SHARED_OF_MULTIPROCESSOR: u32 = 81;

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
    /// Shared memory of a multiprocessor, at most.
    pub shared_bytes: u32,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, sm_{}", self.name, self.arch)
    }
}

impl DeviceInfo {
    /// Which of a build's code it runs under a driver: the newest machine code for it, else the PTX,
    /// if that is not for later GPUs only.
    pub fn code(&self, built: &Built, driver: Version) -> Result<Code, CudaError> {
        let of_gpu =
            built.archs.iter().rev().copied().filter(|t| kernels::runs_machine_code(self.arch, *t));
        let machine_code = of_gpu.filter_map(|t| Some((Code::Machine(t), built.driver_for(t)?)));
        let ptx = Some((Code::Ptx(built.ptx_arch), built.driver_for_ptx()))
            .filter(|_| built.ptx_arch <= self.arch);
        let fitting: Vec<(Code, Version)> = machine_code.chain(ptx).collect();
        if let Some((code, _)) = fitting.iter().find(|(_, needed)| *needed <= driver) {
            return Ok(*code);
        }
        Err(match fitting.iter().map(|(_, needed)| *needed).min() {
            Some(needed) => CudaError::DriverTooOld { found: driver, needed },
            None => CudaError::Architecture { device: self.clone(), built: built.archs.to_vec() },
        })
    }
}

/// The form in which kernels are loaded, and its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Machine code of a target.
    Machine(u32),
    /// PTX of a target. The driver compiles it when it is loaded.
    Ptx(u32),
}

impl Code {
    /// The target.
    pub fn arch(self) -> u32 {
        match self {
            Code::Machine(arch) | Code::Ptx(arch) => arch,
        }
    }
}

/// The GPUs that the driver sees, whether or not this build has kernels for them.
pub fn devices() -> Result<Vec<DeviceInfo>, CudaError> {
    let driver = Driver::open()?;
    (0..count(&driver)?).map(|ordinal| Ok(look_at(&driver, ordinal)?.1)).collect()
}

/// The newest CUDA that the driver knows: told also where it is too old, or sees no GPU.
pub fn driver_version() -> Result<Version, CudaError> {
    super::driver::version()
}

/// The first GPU that this build has kernels for.
pub fn usable() -> Result<usize, CudaError> {
    let built = kernels::built()?;
    let driver = Driver::open()?;
    let mut refused = None;
    for ordinal in 0..count(&driver)? {
        let (_, device) = look_at(&driver, ordinal)?;
        match device.code(&built, driver.version) {
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
        shared_bytes: attribute(SHARED_OF_MULTIPROCESSOR)?,
    };
    Ok((device, info))
}

/// Kernels built for an older target do not wait by themselves; older drivers do not record launches
/// that do in graphs.
fn has_dependent_launches(driver: &Driver, code: Code) -> bool {
    driver.version >= DEPENDENT_LAUNCHES_DRIVER && code.arch() >= DEPENDENT_LAUNCHES_ARCH
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
    let driver = Driver::open()?;
    let count = count(&driver)?;
    if ordinal >= count {
        return Err(CudaError::Ordinal { ordinal, count });
    }
    let (device, info) = look_at(&driver, ordinal)?;
    let code = info.code(&built, driver.version)?;
    let dependent_launches = has_dependent_launches(&driver, code);
    let context = Context::new(driver, device)?;
    let kernels = Loaded::new(&context, &built, code, &info)?;
    Ok(Opened { context, info, kernels, dependent_launches })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(arch: u32) -> DeviceInfo {
        let name = "GPU".to_owned();
        let [block_shared_bytes, shared_bytes] = [0; 2];
        DeviceInfo { ordinal: 0, name, arch, memory_bytes: 0, block_shared_bytes, shared_bytes }
    }

    /// A build with machine code by ptxas of these releases, and PTX of a version, for 9.0.
    fn built(ptxas: &[(u32, Version)], ptx_version: (u32, u32)) -> Built {
        Built {
            nvcc: "",
            archs: ptxas.iter().map(|(arch, _)| *arch).collect::<Vec<_>>().leak(),
            ptxas: ptxas.iter().map(|(_, version)| *version).collect::<Vec<_>>().leak(),
            listed: Err("not asked for"),
            ptx_arch: 90,
            ptx_version,
            images: &[],
        }
    }

    const CUDA_12: Version = Version(12_090);
    const CUDA_13: Version = Version(13_000);

    #[test]
    fn machine_code_runs_on_its_generation_and_ptx_on_later_ones() {
        let code = |arch, archs: &[u32]| {
            let targets: Vec<_> = archs.iter().map(|arch| (*arch, CUDA_12)).collect();
            match gpu(arch).code(&built(&targets, (8, 0)), CUDA_13) {
                Err(CudaError::Architecture { built, .. }) => {
                    assert_eq!(built, archs);
                    None
                }
                code => Some(code.unwrap()),
            }
        };
        assert_eq!(code(80, &[75, 80]), Some(Code::Machine(80)));
        assert_eq!(code(86, &[80, 90]), Some(Code::Machine(80)));
        assert_eq!(code(89, &[80, 86, 90]), Some(Code::Machine(86)));
        assert_eq!(code(89, &[80, 86, 87, 90]), Some(Code::Machine(86)), "8.7 is on a chip");
        assert_eq!(code(87, &[80, 86, 87]), Some(Code::Machine(87)));
        assert_eq!(code(87, &[80, 86]), None, "code of cards is not for a system on a chip");
        assert_eq!(code(80, &[86, 90]), None, "code for 8.6 does not run on 8.0");
        assert_eq!(code(75, &[80]), None);
        assert_eq!(code(120, &[80]), Some(Code::Ptx(90)));
        assert_eq!(code(110, &[100, 120]), Some(Code::Ptx(90)), "12.0 is after 11.0");
        assert_eq!(code(80, &[]), None, "PTX of 9.0 is not for 8.0");
        assert_eq!(code(90, &[80, 90, 100]), Some(Code::Machine(90)));
        assert_eq!(code(90, &[75, 80]), Some(Code::Ptx(90)));
        assert_eq!(code(90, &[]), Some(Code::Ptx(90)));
    }

    #[test]
    fn what_a_driver_must_be_follows_from_what_it_loads() {
        let code = |arch, built: &Built, driver| match gpu(arch).code(built, Version(driver)) {
            Err(CudaError::DriverTooOld { found, needed }) => {
                assert_eq!(found, Version(driver));
                Err(needed)
            }
            code => Ok(code.unwrap()),
        };
        // By a ptxas of CUDA 12 all but the last.
        let mixed = built(&[(80, CUDA_12), (90, CUDA_12), (110, CUDA_13)], (8, 0));
        assert_eq!(code(80, &mixed, 12_000), Ok(Code::Machine(80)));
        assert_eq!(code(90, &mixed, 12_040), Ok(Code::Machine(90)));
        assert_eq!(code(110, &mixed, 13_000), Ok(Code::Machine(110)));
        assert_eq!(code(110, &mixed, 12_080), Ok(Code::Ptx(90)), "its machine code is too new");
        // All by nvcc 13's own, its PTX lowered or not.
        let own = built(&[(80, CUDA_13), (90, CUDA_13)], (8, 3));
        assert_eq!(code(80, &own, 12_090), Err(Version(13_000)));
        assert_eq!(code(80, &own, 13_000), Ok(Code::Machine(80)));
        assert_eq!(code(90, &own, 12_020), Err(Version(12_030)), "the lesser of both");
        assert_eq!(code(90, &own, 12_030), Ok(Code::Ptx(90)));
        let newest = built(&[(90, CUDA_13)], (9, 0));
        assert_eq!(code(90, &newest, 12_090), Err(Version(13_000)));
    }
}
