//! A resident block: what its warps compute with, and what a block begins with.

use super::block_barrier::BlockBarrier;
use super::environment::Environment;
use super::mbarrier::Mbarrier;
use super::memory::{Local, Shared};
use super::program::{Constant, Program, Special};
use super::registers::{LANES, Mask, Reg, Registers, Width};
use super::report::Check;
use super::splits::Splits;
use super::warp::WarpData;
use super::warp_copies::WarpCopies;
use std::collections::{BTreeMap, HashMap};

/// A resident block.
pub(crate) struct Block {
    /// In x, y, z.
    pub at: [u32; 3],
    /// Among the blocks of the launch; so are its warps numbered.
    pub number: u32,
    /// Lanes of each warp.
    pub splits: Vec<Splits>,
    pub data: Vec<WarpData>,
    pub shared: Shared,
    pub barriers: BTreeMap<u32, BlockBarrier>,
    pub mbarriers: HashMap<u32, Mbarrier>,
    pub asynchronous: Vec<WarpCopies>,
    /// Warps' lanes that have waited for the launches before this one.
    pub waited: Vec<Mask>,
    /// Warps' lanes that have arrived at the cluster's barrier, and not waited yet.
    pub cluster_arrived: Vec<Mask>,
    /// Lanes whose arrival was completed before they waited.
    pub cluster_passed: Vec<Mask>,
}

impl Block {
    /// A block that is not started yet.
    pub fn new(program: &Program, environment: &Environment) -> Block {
        let warps = environment.warps_per_block as usize;
        let data = (0..warps).map(|_| {
            let mut registers = Registers {
                narrow: vec![[0; LANES]; program.narrow as usize],
                wide: vec![[0; LANES]; program.wide as usize],
                preds: vec![0; program.preds as usize],
                narrow_set: vec![0; program.narrow as usize],
                wide_set: vec![0; program.wide as usize],
                preds_set: vec![0; program.preds as usize],
            };
            for &(reg, constant) in &program.constants {
                match constant {
                    Constant::Bits(width, bits) => fill(&mut registers, width, reg, bits),
                    Constant::Variable { width, index, offset } => {
                        let bits = environment.variables[index].wrapping_add(offset as u64);
                        fill(&mut registers, width, reg, bits);
                    }
                    Constant::Special(_) => {}
                }
            }
            WarpData { registers, local: Local::new(program.local_bytes) }
        });
        let bytes = program.shared_bytes + environment.dynamic_shared_bytes;
        let mut variables = program.shared.clone();
        if environment.dynamic_shared_bytes > 0 {
            let name = "dynamic shared memory".to_owned();
            variables.push((name, program.shared_bytes, environment.dynamic_shared_bytes));
        }
        let records = environment.checks.has(Check::SharedRace);
        let granule = records.then_some(program.narrowest_shared);
        Block {
            at: [0; 3],
            number: 0,
            splits: vec![Splits::default(); warps],
            data: data.collect(),
            shared: Shared::new(bytes, &variables, granule),
            barriers: BTreeMap::new(),
            mbarriers: HashMap::new(),
            asynchronous: (0..warps).map(|_| WarpCopies::default()).collect(),
            waited: vec![0; warps],
            cluster_arrived: vec![0; warps],
            cluster_passed: vec![0; warps],
        }
    }

    /// Becomes the block `number` of the launch, with nothing left of the one that it was.
    pub fn start(
        &mut self,
        program: &Program,
        environment: &Environment,
        at: [u32; 3],
        number: u32,
    ) {
        let rank = environment.rank_in_cluster(at);
        self.at = at;
        self.number = number;
        self.shared.restart();
        self.barriers.clear();
        self.mbarriers.clear();
        self.asynchronous.iter_mut().for_each(|a| *a = WarpCopies::default());
        self.waited.fill(0);
        self.cluster_arrived.fill(0);
        self.cluster_passed.fill(0);
        let threads = environment.threads_per_block();
        for (warp, data) in self.data.iter_mut().enumerate() {
            let lanes = (threads - warp as u32 * LANES as u32).min(LANES as u32);
            let mask = if lanes == 32 { Mask::MAX } else { (1 << lanes) - 1 };
            self.splits[warp].start(mask);
            data.registers.narrow_set.fill(0);
            data.registers.wide_set.fill(0);
            data.registers.preds_set.fill(0);
            data.local.restart();
            for &(reg, constant) in &program.constants {
                if let Constant::Special(special) = constant {
                    data.registers.narrow[reg.0 as usize] =
                        special_value(environment, special, at, rank, warp as u32, program);
                }
            }
        }
    }
}

fn fill(registers: &mut Registers, width: Width, reg: Reg, bits: u64) {
    match width {
        Width::Pred => {
            registers.preds[reg.0 as usize] = if bits != 0 { Mask::MAX } else { 0 };
        }
        Width::B16 | Width::B32 => registers.narrow[reg.0 as usize] = [bits as u32; LANES],
        Width::B64 => registers.wide[reg.0 as usize] = [bits; LANES],
    }
}

fn special_value(
    environment: &Environment,
    special: Special,
    at: [u32; 3],
    rank: u32,
    warp: u32,
    program: &Program,
) -> [u32; LANES] {
    let per_lane = |f: &dyn Fn(u32) -> u32| std::array::from_fn(|lane| f(lane as u32));
    let [x, y, _] = environment.block;
    let cluster = environment.cluster;
    match special {
        Special::Tid(axis) => per_lane(&|lane| {
            let thread = warp * LANES as u32 + lane;
            [thread % x, thread / x % y, thread / (x * y)][axis]
        }),
        Special::Laneid => per_lane(&|lane| lane),
        Special::LanemaskEq => per_lane(&|lane| 1 << lane),
        Special::LanemaskLt => per_lane(&|lane| (1 << lane) - 1),
        Special::LanemaskLe => per_lane(&|lane| (1 << lane) | ((1 << lane) - 1)),
        Special::LanemaskGt => per_lane(&|lane| !((1 << lane) | ((1 << lane) - 1))),
        Special::LanemaskGe => per_lane(&|lane| !((1 << lane) - 1)),
        Special::Ntid(axis) => [environment.block[axis]; LANES],
        Special::Ctaid(axis) => [at[axis]; LANES],
        Special::Nctaid(axis) => [environment.grid[axis]; LANES],
        Special::Clusterid(axis) => [at[axis] / cluster[axis]; LANES],
        Special::Nclusterid(axis) => [environment.grid[axis] / cluster[axis]; LANES],
        Special::ClusterCtaid(axis) => [at[axis] % cluster[axis]; LANES],
        Special::ClusterNctaid(axis) => [cluster[axis]; LANES],
        Special::ClusterCtarank => [rank; LANES],
        Special::ClusterNctarank => [cluster.iter().product(); LANES],
        Special::Warpid => [warp; LANES],
        Special::Nwarpid => [environment.warps_per_block; LANES],
        Special::Smid => [0; LANES],
        Special::Nsmid => [1; LANES],
        Special::DynamicSmemSize => [environment.dynamic_shared_bytes; LANES],
        Special::TotalSmemSize => [program.shared_bytes + environment.dynamic_shared_bytes; LANES],
        // Cooperative groups finds its workspace here.
        Special::Envreg(1) => [(environment.workspace >> 32) as u32; LANES],
        Special::Envreg(2) => [environment.workspace as u32; LANES],
        Special::Envreg(_) => [0; LANES],
    }
}
