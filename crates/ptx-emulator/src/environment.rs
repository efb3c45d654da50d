//! What every block of a launch sees: the extents, the arguments, and what is looked for.

use super::order::Grouping;
use super::report::Checks;

/// What every block of a launch sees.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    pub warps_per_block: u32,
    /// Blocks that are resident together.
    pub blocks_per_group: u64,
    pub dynamic_shared_bytes: u32,
    pub params: Vec<u8>,
    /// Addresses of the module's variables.
    pub variables: Vec<u64>,
    /// What cooperative groups keeps a grid's barrier in.
    pub workspace: u64,
    pub checks: Checks,
    /// Whether threads have to wait for the launch before this one.
    pub dependent: bool,
    /// Of an adversarial schedule.
    pub seed: Option<u64>,
    pub budget: u64,
    pub count_traffic: bool,
    pub per_line: bool,
    pub per_instruction: bool,
}

impl Environment {
    pub fn blocks(&self) -> u64 {
        self.grid.iter().map(|&e| u64::from(e)).product()
    }

    pub fn threads_per_block(&self) -> u32 {
        self.block.iter().product()
    }

    pub fn rank_in_cluster(&self, [x, y, z]: [u32; 3]) -> u32 {
        let [cx, cy, cz] = self.cluster;
        x % cx + cx * (y % cy + cy * (z % cz))
    }

    /// The block of a number: clusters are numbered in x, y, z, and within one its blocks.
    pub fn block_at(&self, linear: u64) -> [u32; 3] {
        let [cx, cy, cz] = self.cluster.map(u64::from);
        let [gx, gy, _] = self.grid.map(u64::from);
        let (cluster, rank) = (linear / (cx * cy * cz), linear % (cx * cy * cz));
        let (nx, ny) = (gx / cx, gy / cy);
        let x = cluster % nx * cx + rank % cx;
        let y = cluster / nx % ny * cy + rank / cx % cy;
        let z = cluster / (nx * ny) * cz + rank / (cx * cy);
        [x as u32, y as u32, z as u32]
    }

    pub fn grouping(&self) -> Grouping {
        Grouping {
            warps_per_block: self.warps_per_block,
            blocks_per_cluster: self.cluster.iter().product(),
        }
    }

    /// Warps of a group.
    pub fn warps_per_group(&self) -> u32 {
        (self.blocks_per_group * u64::from(self.warps_per_block)) as u32
    }
}
