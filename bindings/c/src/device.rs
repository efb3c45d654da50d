//! Devices: which there are, and which one is asked for.

use crate::buffer;
use crate::call::call;
use crate::error::{Failure, effnet_error};
use crate::options::chosen;
use crate::status::effnet_status;
use crate::versioned::{self, versioned};
use effnet::device::cuda::{self, DeviceInfo};
use effnet::kernels;
use effnet::session::{Device, DeviceRequest};
use std::ffi::c_char;

/// Where a network runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum effnet_device {
    /// The first GPU that can be used, else the CPU.
    EFFNET_DEVICE_AUTO = 0,
    /// The host's cores.
    EFFNET_DEVICE_CPU = 1,
    /// A CUDA GPU, by its number.
    EFFNET_DEVICE_CUDA = 2,
    /// A GPU's kernels interpreted with every check, in builds that have the emulator: for tests.
    EFFNET_DEVICE_EMULATOR = 3,
}

impl effnet_device {
    /// The device of a number.
    pub fn to_runtime(device: i32, index: u32) -> Result<Device, Failure> {
        use effnet_device::*;
        let choices = [
            (EFFNET_DEVICE_AUTO as i32, DeviceRequest::Auto),
            (EFFNET_DEVICE_CPU as i32, DeviceRequest::This(Device::Cpu)),
            (EFFNET_DEVICE_CUDA as i32, DeviceRequest::This(Device::Cuda(index as usize))),
            (EFFNET_DEVICE_EMULATOR as i32, DeviceRequest::This(Device::Emulator)),
        ];
        Ok(chosen("device", "effnet_device", device, &choices)?.choose().device)
    }

    /// The numbers of a device.
    pub fn numbers(device: Device) -> (i32, u32) {
        match device {
            Device::Cpu => (effnet_device::EFFNET_DEVICE_CPU as i32, 0),
            Device::Emulator => (effnet_device::EFFNET_DEVICE_EMULATOR as i32, 0),
            Device::Cuda(index) => {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                (effnet_device::EFFNET_DEVICE_CUDA as i32, index)
            }
        }
    }
}

/// A device that there is. Fields are added at its end alone.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct effnet_device_info {
    /// sizeof(effnet_device_info), set by the caller.
    pub struct_size: usize,
    /// Memory of a GPU in bytes; 0 of the CPU.
    pub memory_bytes: u64,
    /// An effnet_device: EFFNET_DEVICE_CUDA or EFFNET_DEVICE_CPU.
    pub device: i32,
    /// A GPU's number.
    pub device_index: u32,
    /// Compute capability of a GPU, 90 for 9.0; 0 of the CPU.
    pub compute_capability: u32,
    /// Whether a session can run on it: 1, else 0, and why_not says why.
    pub usable: i32,
    /// The maker's name, UTF-8, cut to fit.
    pub name: [c_char; 128],
    /// Why no session can run on it, and what to do; empty where one can. UTF-8, cut to fit.
    pub why_not: [c_char; 512],
}

versioned!(effnet_device_info {
    struct_size: usize,
    memory_bytes: u64,
    device: i32,
    device_index: u32,
    compute_capability: u32,
    usable: i32,
    name: [c_char; 128],
    why_not: [c_char; 512],
});

/// A text in a place of so many bytes, with a zero byte at its end; cut between characters.
fn cut<const BYTES: usize>(text: &str) -> [c_char; BYTES] {
    let mut place = [0; BYTES];
    let end = text.floor_char_boundary(BYTES - 1);
    for (to, byte) in place.iter_mut().zip(text[..end].bytes().filter(|&byte| byte != 0)) {
        *to = byte as c_char;
    }
    place
}

fn of_gpu(gpu: &DeviceInfo) -> effnet_device_info {
    let why_not = match kernels::built() {
        Err(why) => Some(why.to_string()),
        Ok(built) => cuda::driver_version()
            .and_then(|driver| gpu.code(&built, driver))
            .err()
            .map(|why| why.to_string()),
    };
    let (device, device_index) = effnet_device::numbers(Device::Cuda(gpu.ordinal));
    effnet_device_info {
        struct_size: size_of::<effnet_device_info>(),
        memory_bytes: gpu.memory_bytes as u64,
        device,
        device_index,
        compute_capability: gpu.arch,
        usable: i32::from(why_not.is_none()),
        name: cut(&gpu.name),
        why_not: cut(&why_not.unwrap_or_default()),
    }
}

/// GPUs in the order of their numbers, then the CPU.
fn devices() -> Vec<effnet_device_info> {
    // Without a driver or a GPU there is none to tell of.
    let gpus = cuda::devices().unwrap_or_default();
    let cpu = effnet_device_info {
        struct_size: size_of::<effnet_device_info>(),
        memory_bytes: 0,
        device: effnet_device::EFFNET_DEVICE_CPU as i32,
        device_index: 0,
        compute_capability: 0,
        usable: 1,
        name: cut("CPU"),
        why_not: cut(""),
    };
    gpus.iter().map(of_gpu).chain([cpu]).collect()
}

/// Writes the number of devices: the GPUs that the driver sees, whether or not they can be used,
/// and the CPU, which is the last. Without a CUDA driver it is 1; a session that asks for a GPU
/// then says why there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_device_count(
    count: *mut usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a place for a number: the caller's promise.
        let mut count = unsafe { buffer::place("count", count) }?;
        count.set(devices().len());
        Ok(())
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// Tells of device number `index` of effnet_device_count. info->struct_size is set by the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_device_get_info(
    index: usize,
    info: *mut effnet_device_info,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        let devices = devices();
        let device = devices.get(index).copied().ok_or_else(|| {
            let count = devices.len();
            Failure::argument(format!(
                "device {index}: expected a number below {count}, the devices"
            ))
        })?;
        // SAFETY: NULL, or a struct that begins with its own length: the caller's promise.
        unsafe { versioned::write(info, device) }
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// Reads a device's name as on effnet's command line: "auto", "cpu", "cuda", "cuda:N" or
/// "emulator"; writes an effnet_device and a GPU's number, for the options of a session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_device_parse(
    name: *const c_char,
    device: *mut i32,
    device_index: *mut u32,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a text: the caller's promise.
        let name = unsafe { buffer::text("name", name) }?.to_string_lossy();
        let request: DeviceRequest =
            name.parse().map_err(|error| Failure::argument(format!("{error}")))?;
        let (number, index) = match request {
            DeviceRequest::Auto => (effnet_device::EFFNET_DEVICE_AUTO as i32, 0),
            DeviceRequest::This(device) => effnet_device::numbers(device),
        };
        // SAFETY: NULL, or places for numbers: the caller's promise.
        let (mut device, mut device_index) = unsafe {
            (buffer::place("device", device)?, buffer::place("device_index", device_index)?)
        };
        device.set(number);
        device_index.set(index);
        Ok(())
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}
