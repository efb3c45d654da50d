//! What the emulator counted of each launch: what a GPU would have been asked to do.

use super::{By, Item, groups};
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of a sector: what global memory is read and written in.
const SECTOR_BYTES: u64 = 32;

/// What one launch executed, as the emulator counts it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Executed {
    /// Warp instructions.
    pub instructions: u64,
    /// Lanes that took part, over all instructions.
    pub lane_instructions: u64,
    /// Warp instructions by class, as in `load`.
    pub by_class: BTreeMap<String, u64>,
    /// Matrix products of tensor cores, each by one warp.
    pub tensor_ops: u64,
    /// Their multiply-accumulates.
    pub tensor_macs: u64,
    /// Warp-wide accesses of global memory.
    pub global_requests: u64,
    /// Bytes that lanes asked global memory for.
    pub global_bytes: u64,
    /// Sectors of 32 bytes of global memory, over all requests.
    pub global_sectors: u64,
    /// Warp-wide accesses of shared memory.
    pub shared_requests: u64,
    /// Bytes that lanes asked shared memory for.
    pub shared_bytes: u64,
    /// Cycles that conflicts of shared memory's banks cost.
    pub bank_conflicts: u64,
    /// Barriers of a block or a cluster that were completed.
    pub barriers: u64,
    /// Branches that parted the lanes of a warp.
    pub divergent_branches: u64,
}

#[cfg(feature = "emulator")]
impl From<&crate::emulator::Counters> for Executed {
    fn from(counters: &crate::emulator::Counters) -> Executed {
        let class = |(class, &count): (&_, &u64)| (format!("{class:?}").to_lowercase(), count);
        Executed {
            instructions: counters.instructions,
            lane_instructions: counters.lane_instructions,
            by_class: counters.by_class.iter().map(class).collect(),
            tensor_ops: counters.mma,
            tensor_macs: counters.mma_macs,
            global_requests: counters.global.requests,
            global_bytes: counters.global.bytes,
            global_sectors: counters.global.sectors,
            shared_requests: counters.shared.requests,
            shared_bytes: counters.shared.bytes,
            bank_conflicts: counters.shared.conflicts,
            barriers: counters.barriers,
            divergent_branches: counters.divergent_branches,
        }
    }
}

impl Executed {
    /// Adds what another launch executed.
    fn add(&mut self, other: &Executed) {
        for (class, count) in &other.by_class {
            *self.by_class.entry(class.clone()).or_default() += count;
        }
        self.instructions += other.instructions;
        self.lane_instructions += other.lane_instructions;
        self.tensor_ops += other.tensor_ops;
        self.tensor_macs += other.tensor_macs;
        self.global_requests += other.global_requests;
        self.global_bytes += other.global_bytes;
        self.global_sectors += other.global_sectors;
        self.shared_requests += other.shared_requests;
        self.shared_bytes += other.shared_bytes;
        self.bank_conflicts += other.bank_conflicts;
        self.barriers += other.barriers;
        self.divergent_branches += other.divergent_branches;
    }
}

/// A counted run.
#[derive(Clone, Debug, PartialEq)]
pub struct CountProfile {
    /// What was run, in order.
    pub items: Vec<Item>,
    /// What each of them executed.
    pub executed: Vec<Executed>,
    /// The compute capability that occupancy is told for, as in 90.
    pub arch: u32,
}

/// What the counters of one or more launches come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counts {
    /// Warp instructions.
    pub instructions: u64,
    /// As a part of the instructions of all launches.
    pub share: f64,
    /// Warp instructions by class.
    pub by_class: BTreeMap<String, u64>,
    /// Lanes that took part in a mean instruction, as a part of 32.
    pub active_lanes: f64,
    /// Matrix products of tensor cores, each by one warp.
    pub tensor_ops: u64,
    /// Their multiply-accumulates.
    pub tensor_macs: u64,
    /// Bytes of all tensors read and written, each counted once: the compulsory minimum.
    pub bytes: u64,
    /// Floating-point operations by the plan: two for each multiply-accumulate.
    pub flops: u64,
    /// Warp-wide accesses of global memory.
    pub global_requests: u64,
    /// Bytes that lanes asked global memory for.
    pub global_bytes: u64,
    /// Sectors of 32 bytes of global memory, over all requests: what reaches the caches.
    pub global_sectors: u64,
    /// Sectors of a mean request.
    pub sectors_per_request: f64,
    /// Bytes of the sectors as a multiple of the compulsory minimum.
    pub times_compulsory: f64,
    /// Warp-wide accesses of shared memory.
    pub shared_requests: u64,
    /// Bytes that lanes asked shared memory for.
    pub shared_bytes: u64,
    /// Cycles beyond the least that requests of their widths take, for conflicts of banks.
    pub bank_conflicts: u64,
    /// Barriers of a block or a cluster that were completed.
    pub barriers: u64,
    /// Branches that parted the lanes of a warp.
    pub divergent_branches: u64,
}

/// Launches that belong together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CountGroup {
    /// As in `blocks.3`.
    pub name: String,
    /// Places of the launches in a run.
    pub items: Vec<usize>,
    /// What they come to.
    #[serde(flatten)]
    pub counts: Counts,
}

impl Counts {
    /// Bytes of the sectors.
    pub fn sector_bytes(&self) -> u64 {
        SECTOR_BYTES * self.global_sectors
    }
}

impl CountProfile {
    /// Launches put together.
    pub fn groups(&self, by: By) -> Vec<CountGroup> {
        let groups = groups(&self.items, by).into_iter();
        groups
            .map(|(name, items)| CountGroup { name, counts: self.counts(&items), items })
            .collect()
    }

    /// All launches together.
    pub fn total(&self) -> Counts {
        self.counts(&Vec::from_iter(0..self.items.len()))
    }

    /// What the launches at these places come to.
    ///
    /// # Panics
    ///
    /// If there is no launch at one of them.
    pub fn counts(&self, places: &[usize]) -> Counts {
        let all: u64 = self.executed.iter().map(|executed| executed.instructions).sum();
        let mut sum = Executed::default();
        let (mut bytes, mut flops) = (0, 0);
        for &place in places {
            sum.add(&self.executed[place]);
            bytes += self.items[place].bytes;
            flops += self.items[place].flops();
        }
        let part = |x: u64, of: u64| x as f64 / of.max(1) as f64;
        Counts {
            instructions: sum.instructions,
            share: part(sum.instructions, all),
            by_class: sum.by_class,
            active_lanes: part(sum.lane_instructions, 32 * sum.instructions),
            tensor_ops: sum.tensor_ops,
            tensor_macs: sum.tensor_macs,
            bytes,
            flops,
            global_requests: sum.global_requests,
            global_bytes: sum.global_bytes,
            global_sectors: sum.global_sectors,
            sectors_per_request: part(sum.global_sectors, sum.global_requests),
            times_compulsory: part(SECTOR_BYTES * sum.global_sectors, bytes),
            shared_requests: sum.shared_requests,
            shared_bytes: sum.shared_bytes,
            bank_conflicts: sum.bank_conflicts,
            barriers: sum.barriers,
            divergent_branches: sum.divergent_branches,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::times::tests::item;
    use super::*;

    #[cfg(feature = "emulator")]
    #[test]
    fn the_emulator_s_counters_are_taken_over_one_by_one() {
        use crate::emulator::{Class, Counters, Traffic};
        let counters = Counters {
            instructions: 1,
            lane_instructions: 2,
            by_class: BTreeMap::from([(Class::Load, 3), (Class::Tensor, 4)]),
            mma: 5,
            mma_macs: 6,
            global: Traffic { requests: 7, bytes: 8, sectors: 9, conflicts: 0 },
            shared: Traffic { requests: 10, bytes: 11, sectors: 0, conflicts: 12 },
            barriers: 13,
            divergent_branches: 14,
            ..Counters::default()
        };
        let expected = Executed {
            instructions: 1,
            lane_instructions: 2,
            by_class: BTreeMap::from([("load".into(), 3), ("tensor".into(), 4)]),
            tensor_ops: 5,
            tensor_macs: 6,
            global_requests: 7,
            global_bytes: 8,
            global_sectors: 9,
            shared_requests: 10,
            shared_bytes: 11,
            bank_conflicts: 12,
            barriers: 13,
            divergent_branches: 14,
        };
        assert_eq!(Executed::from(&counters), expected);
    }

    #[test]
    fn counters_of_a_group_are_the_sums_of_its_launches() {
        let executed = |x: u64| Executed {
            instructions: 10 * x,
            lane_instructions: 160 * x,
            by_class: BTreeMap::from([("load".into(), 4 * x), ("tensor".into(), 6 * x)]),
            tensor_ops: 3 * x,
            tensor_macs: 2048 * x,
            global_requests: 2 * x,
            global_bytes: 100 * x,
            global_sectors: 8 * x,
            shared_requests: x,
            shared_bytes: 64 * x,
            bank_conflicts: 5 * x,
            barriers: x,
            divergent_branches: 7 * x,
        };
        let profile = CountProfile {
            items: vec![
                item(0, "stem", 128, 5),
                item(1, "blocks.0.depthwise", 128, 6),
                item(2, "blocks.0.project", 256, 7),
            ],
            executed: vec![executed(1), executed(1), executed(2)],
            arch: 80,
        };
        let blocks = profile.groups(By::Block);
        let block = &blocks[1].counts;
        assert_eq!((blocks[1].name.as_str(), &blocks[1].items[..]), ("blocks.0", &[1, 2][..]));
        assert_eq!((block.instructions, block.share, block.active_lanes), (30, 0.75, 0.5));
        assert_eq!(block.by_class, BTreeMap::from([("load".into(), 12), ("tensor".into(), 18)]));
        assert_eq!((block.tensor_ops, block.tensor_macs, block.barriers), (9, 6144, 3));
        assert_eq!((block.global_sectors, block.sectors_per_request), (24, 4.0));
        assert_eq!((block.bytes, block.times_compulsory), (384, 2.0)); // 24 * 32 bytes
        assert_eq!((block.flops, block.bank_conflicts), (26, 15));
        for by in By::GROUPS {
            let sum: u64 = profile.groups(by).iter().map(|g| g.counts.instructions).sum();
            assert_eq!(sum, profile.total().instructions, "{by}");
        }
    }
}
