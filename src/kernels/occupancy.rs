//! Number of a launch's blocks that a multiprocessor holds at once.
//!
//! Source: CUDA C++ Programming Guide, technical specifications per compute capability, and
//! `cuda_occupancy.h` of the toolkit (13.0), with which the limits and granules here were compared.

use super::launch::MAX_SHARED_BYTES;
use super::{Geometry, Resources};

/// Limits of one multiprocessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiprocessor {
    /// Resident threads.
    pub threads: u32,
    /// Resident blocks.
    pub blocks: u32,
    /// 32-bit registers.
    pub registers: u32,
    /// Shared memory, as kernels ask for it ([`SPLIT_BYTES`]). Each block takes
    /// `reserved_shared_bytes` more than it asks for from compute capability 8.0 on.
    pub shared_bytes: u32,
    /// Shared memory that one block may have.
    pub block_shared_bytes: u32,
    /// Shared memory of each block that the system keeps for itself.
    pub reserved_shared_bytes: u32,
    /// Granule in which shared memory is granted to a block.
    pub shared_granule_bytes: u32,
}

/// Shared memory of each block that the system keeps for itself, from compute capability 8.0 on.
const RESERVED_SHARED_BYTES: u32 = 1024;
/// Granule in which a warp gets registers, from those of its quarter of the multiprocessor.
const REGISTER_GRANULE: u32 = 256;
const QUARTERS: u32 = 4;
const WARP_SIZE: u32 = 32;
const KB: u32 = 1024;

/// Shared memory that every kernel asks a multiprocessor to have, where it can have more: the least
/// split with room for two blocks of 64 KB. The rest is first-level cache, in which the input of
/// expand_depthwise stays from one group of channels to the next where the map is small. One split
/// for all kernels, for a multiprocessor changes it only when it is empty.
pub const SPLIT_BYTES: u32 = 132 * KB;

const _: () = assert!(2 * (MAX_SHARED_BYTES as u32 + RESERVED_SHARED_BYTES) <= SPLIT_BYTES);

/// Per cent of the `most` bytes of shared memory of a multiprocessor that ask for [`SPLIT_BYTES`]: a
/// driver takes the least split that has as much or more.
pub fn split_per_cent(most: u32) -> u32 {
    let asked = u64::from(SPLIT_BYTES.min(most));
    (100 * asked).checked_div(most.into()).unwrap_or(100) as u32
}

impl Multiprocessor {
    /// The multiprocessor of a compute capability, as in 80 for 8.0.
    pub fn of(arch: u32) -> Option<Multiprocessor> {
        let (threads, blocks, shared, block_shared) = match arch {
            75 => (1024, 16, 64, 64),
            80 => (2048, 32, 164, 163),
            86 => (1536, 16, 100, 99),
            87 => (1536, 16, 164, 163),
            89 => (1536, 24, 100, 99),
            90 | 100 => (2048, 32, 228, 227),
            110 => (1536, 24, 228, 227),
            120 => (1536, 24, 100, 99),
            _ => return None,
        };
        Some(Multiprocessor {
            threads,
            blocks,
            registers: 64 * KB,
            shared_bytes: (shared * KB).min(SPLIT_BYTES),
            block_shared_bytes: block_shared * KB,
            reserved_shared_bytes: if arch == 75 { 0 } else { RESERVED_SHARED_BYTES },
            shared_granule_bytes: if arch == 75 { 256 } else { 128 },
        })
    }

    /// Number of blocks that are resident at once: the least of the limits by threads, blocks,
    /// registers and shared memory; 0 where a block does not fit.
    pub fn resident_blocks(&self, resources: &Resources, geometry: &Geometry) -> u32 {
        let threads: u32 = geometry.block.iter().product();
        let warps = threads.div_ceil(WARP_SIZE).max(1);
        let warp_registers =
            (resources.registers.max(1) * WARP_SIZE).next_multiple_of(REGISTER_GRANULE);
        let shared = resources.shared_bytes + geometry.shared_bytes;
        if shared > self.block_shared_bytes {
            return 0;
        }
        let granted = (shared + self.reserved_shared_bytes)
            .max(1)
            .next_multiple_of(self.shared_granule_bytes);
        let by_shared = self.shared_bytes / granted;
        let resident_warps = self.registers / QUARTERS / warp_registers * QUARTERS;
        (self.threads / (warps * WARP_SIZE))
            .min(self.blocks)
            .min(resident_warps / warps)
            .min(by_shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(registers: u32, shared_bytes: u32) -> Resources {
        Resources {
            arch: 80,
            entry: "k",
            registers,
            shared_bytes,
            stack_bytes: 0,
            spill_store_bytes: 0,
            spill_load_bytes: 0,
        }
    }

    /// The expected numbers are worked out by hand, from the same table.
    #[test]
    fn resident_blocks_are_the_least_of_four_limits() {
        let sm = Multiprocessor::of(80).unwrap();
        let blocks = |registers, shared, threads| {
            let geometry = Geometry { grid: [1; 3], block: [threads, 1, 1], shared_bytes: 0 };
            sm.resident_blocks(&resources(registers, shared), &geometry)
        };
        assert_eq!(blocks(32, 0, 256), 8); // threads: 2048 / 256
        assert_eq!(blocks(16, 0, 32), 32); // blocks
        assert_eq!(blocks(128, 0, 256), 2); // registers: 65536 / 128 / 256
        assert_eq!(blocks(65, 0, 128), 7); // 65 * 32 = 2080 registers, 2304 of them granted
        assert_eq!(blocks(32, 40 * 1024, 128), 3); // shared: 132 / 41
        assert_eq!(blocks(32, 43 * 1024 - 64, 128), 3); // rounded up to 44
        assert_eq!(blocks(168, 0, 64), 6); // 3 warps of 5376 registers in each quarter
        assert_eq!(blocks(32, 164 * 1024, 128), 0);
        assert_eq!(Multiprocessor::of(61), None);
    }

    /// The splits of the CUDA C++ Programming Guide, of 64, 100, 164 and 228 KB.
    #[test]
    fn the_per_cent_ask_for_the_split() {
        let splits = [0, 8, 16, 32, 64, 100, 132, 164, 196, 228].map(|kb| kb * KB);
        for (most, expected) in [(64, 64), (100, 100), (164, 132), (228, 132)] {
            let asked = split_per_cent(most * KB) * most * KB / 100;
            let granted = splits.into_iter().find(|&split| split >= asked);
            assert_eq!(granted, Some(expected * KB), "of {most} KB");
        }
        assert_eq!(split_per_cent(0), 100);
    }
}
