//! What the emulator counted of each launch: what a GPU would have been asked to do.

use super::{By, Item, groups};
use crate::emulator::Counters;
use serde::Serialize;
use std::collections::BTreeMap;

/// Bytes of a sector: what global memory is read and written in.
const SECTOR_BYTES: u64 = 32;

/// A counted run.
#[derive(Clone, Debug, PartialEq)]
pub struct CountProfile {
    /// What was run, in order.
    pub items: Vec<Item>,
    /// What was counted of each.
    pub counters: Vec<Counters>,
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
        let all: u64 = self.counters.iter().map(|counters| counters.instructions).sum();
        let mut sum = Counters::default();
        let (mut bytes, mut flops) = (0, 0);
        for &place in places {
            sum.add(&self.counters[place]);
            bytes += self.items[place].bytes;
            flops += self.items[place].flops();
        }
        let part = |x: u64, of: u64| x as f64 / of.max(1) as f64;
        let class = |(class, count): (&_, &u64)| (format!("{class:?}").to_lowercase(), *count);
        Counts {
            instructions: sum.instructions,
            share: part(sum.instructions, all),
            by_class: sum.by_class.iter().map(class).collect(),
            active_lanes: part(sum.lane_instructions, 32 * sum.instructions),
            tensor_ops: sum.mma,
            tensor_macs: sum.mma_macs,
            bytes,
            flops,
            global_requests: sum.global.requests,
            global_bytes: sum.global.bytes,
            global_sectors: sum.global.sectors,
            sectors_per_request: sum.global.sectors_per_request(),
            times_compulsory: part(SECTOR_BYTES * sum.global.sectors, bytes),
            shared_requests: sum.shared.requests,
            shared_bytes: sum.shared.bytes,
            bank_conflicts: sum.shared.conflicts,
            barriers: sum.barriers,
            divergent_branches: sum.divergent_branches,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::times::tests::item;
    use super::*;
    use crate::emulator::{Class, Traffic};

    #[test]
    fn counters_of_a_group_are_the_sums_of_its_launches() {
        let counters = |x: u64| Counters {
            instructions: 10 * x,
            lane_instructions: 160 * x,
            by_class: BTreeMap::from([(Class::Load, 4 * x), (Class::Tensor, 6 * x)]),
            mma: 3 * x,
            mma_macs: 2048 * x,
            global: Traffic { requests: 2 * x, bytes: 100 * x, sectors: 8 * x, conflicts: 0 },
            shared: Traffic { requests: x, bytes: 64 * x, sectors: 0, conflicts: 5 * x },
            barriers: x,
            divergent_branches: 7 * x,
            ..Counters::default()
        };
        let profile = CountProfile {
            items: vec![
                item(0, "stem", 128, 5),
                item(1, "blocks.0.depthwise", 128, 6),
                item(2, "blocks.0.project", 256, 7),
            ],
            counters: vec![counters(1), counters(1), counters(2)],
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
