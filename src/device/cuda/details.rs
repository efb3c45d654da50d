//! What reports say about a GPU, and roofs are computed from; nothing that running a network needs.

use super::driver::Driver;
use super::open::{count, look_at};
use super::{CudaError, Version};

/// A GPU's make. What the driver does not tell, or tells as 0, is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceDetails {
    /// The newest CUDA that the driver knows.
    pub driver: Version,
    /// Multiprocessors.
    pub multiprocessors: Option<u32>,
    /// The highest clock of the multiprocessors.
    pub clock_khz: Option<u32>,
    /// The highest clock of the memory. Memory moves data twice in a cycle of it.
    pub memory_clock_khz: Option<u32>,
    /// Width of the way to memory.
    pub memory_bus_bits: Option<u32>,
    /// Size of the L2 cache.
    pub l2_bytes: Option<u32>,
    /// Where it is plugged in, as `nvidia-smi` writes it: `00000000:65:00.0`. The driver's numbers and
    /// those of `nvidia-smi` need not agree; these do.
    pub pci_bus_id: Option<String>,
}

/// Attributes under the numbers that cuda.h gives them, each behind `CU_DEVICE_ATTRIBUTE_`.
mod attribute {
    pub const CLOCK_RATE: u32 = 13;
    pub const MULTIPROCESSOR_COUNT: u32 = 16;
    pub const PCI_BUS_ID: u32 = 33;
    pub const PCI_DEVICE_ID: u32 = 34;
    pub const MEMORY_CLOCK_RATE: u32 = 36;
    pub const GLOBAL_MEMORY_BUS_WIDTH: u32 = 37;
    pub const L2_CACHE_SIZE: u32 = 38;
    pub const PCI_DOMAIN_ID: u32 = 50;
}

/// Asks the driver about GPU `ordinal`.
pub fn details(ordinal: usize) -> Result<DeviceDetails, CudaError> {
    let driver = Driver::open()?;
    let count = count(&driver)?;
    if ordinal >= count {
        return Err(CudaError::Ordinal { ordinal, count });
    }
    let (device, _) = look_at(&driver, ordinal)?;
    // A driver that does not know an attribute refuses it: that is no reason to refuse the rest.
    let attribute = |attribute: u32| {
        let mut value = 0;
        // SAFETY: the driver named the device; the value is written.
        let code = unsafe { (driver.device_attribute.1)(&mut value, attribute, device) };
        (code == 0).then_some(value.max(0) as u32)
    };
    let positive = |number: u32| attribute(number).filter(|&value| value > 0);
    let pci = (
        attribute(attribute::PCI_DOMAIN_ID),
        attribute(attribute::PCI_BUS_ID),
        attribute(attribute::PCI_DEVICE_ID),
    );
    let pci_bus_id = match pci {
        (Some(domain), Some(bus), Some(device)) if (domain, bus, device) != (0, 0, 0) => {
            Some(format!("{domain:08X}:{bus:02X}:{device:02X}.0"))
        }
        _ => None,
    };
    Ok(DeviceDetails {
        driver: driver.version,
        multiprocessors: positive(attribute::MULTIPROCESSOR_COUNT),
        clock_khz: positive(attribute::CLOCK_RATE),
        memory_clock_khz: positive(attribute::MEMORY_CLOCK_RATE),
        memory_bus_bits: positive(attribute::GLOBAL_MEMORY_BUS_WIDTH),
        l2_bytes: positive(attribute::L2_CACHE_SIZE),
        pci_bus_id,
    })
}
