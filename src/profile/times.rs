//! Times of items, and what they come to against the device's ceilings.

use super::{Bound, By, Ceilings, Item, groups};
use crate::measure::Summary;
use serde::Serialize;

/// A timed run.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeProfile {
    /// What was run, in order.
    pub items: Vec<Item>,
    /// Microseconds of each, over all runs.
    pub times_us: Vec<Summary>,
    /// Microseconds of whole runs as a program gets them: the input's way to the device, everything
    /// that runs there, and the outputs' way back, without a clock between.
    pub run_us: Summary,
    /// The same where no launch begins before the one before it has ended; none where none does.
    pub serial_run_us: Option<Box<Summary>>,
    /// What the device can do at best.
    pub ceilings: Ceilings,
}

/// What the time of one or more items comes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The median; of several items, the sum of their medians.
    pub time_us: f64,
    /// As a part of the time of all items.
    pub share: f64,
    /// Bytes of all tensors read and written.
    pub bytes: u64,
    /// Floating-point operations: two for each multiply-accumulate.
    pub flops: u64,
    /// 10^9 of these bytes a second; none where the clock saw no time pass.
    pub gbps: Option<f64>,
    /// 10^12 of these operations a second.
    pub tflops: Option<f64>,
    /// The least time by the ceilings; of several items, the sum.
    pub floor_us: f64,
    /// Time as a multiple of the floor.
    pub times_floor: f64,
    /// What the floor comes from; of several items, where most of it does.
    pub bound: Bound,
}

/// Items that belong together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimeGroup {
    /// As in `blocks.3`.
    pub name: String,
    /// Places of the items in a run.
    pub items: Vec<usize>,
    /// What they come to.
    #[serde(flatten)]
    pub figures: Figures,
}

impl TimeProfile {
    /// Items put together.
    pub fn groups(&self, by: By) -> Vec<TimeGroup> {
        let groups = groups(&self.items, by).into_iter();
        groups
            .map(|(name, items)| TimeGroup { name, figures: self.figures(&items), items })
            .collect()
    }

    /// All items together.
    pub fn total(&self) -> Figures {
        self.figures(&Vec::from_iter(0..self.items.len()))
    }

    /// What the items at these places come to.
    ///
    /// # Panics
    ///
    /// If there is no item at one of them.
    pub fn figures(&self, places: &[usize]) -> Figures {
        let all_us: f64 = self.times_us.iter().map(|time| time.median).sum();
        let mut found = Figures {
            time_us: 0.0,
            share: 0.0,
            bytes: 0,
            flops: 0,
            gbps: None,
            tflops: None,
            floor_us: 0.0,
            times_floor: 0.0,
            bound: Bound::Launch,
        };
        let mut floors = [(0.0, Bound::Memory), (0.0, Bound::Compute), (0.0, Bound::Launch)];
        for &place in places {
            let item = &self.items[place];
            let floor = self.ceilings.floor(item);
            found.time_us += self.times_us[place].median;
            found.bytes += item.bytes;
            found.flops += item.flops();
            found.floor_us += floor.us;
            for (us, bound) in &mut floors {
                *us += if *bound == floor.bound { floor.us } else { 0.0 };
            }
        }
        let most = floors.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        found.bound = most.map_or(Bound::Launch, |(_, bound)| bound);
        let part = |x: f64, of: f64| if of > 0.0 { x / of } else { 0.0 };
        found.share = part(found.time_us, all_us);
        found.times_floor = part(found.time_us, found.floor_us);
        let a_second = |n: u64, unit: f64| {
            (found.time_us > 0.0).then(|| n as f64 / (found.time_us * 1e-6) / unit)
        };
        found.gbps = a_second(found.bytes, 1e9);
        found.tflops = a_second(found.flops, 1e12);
        found
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Method;
    use super::*;

    /// An item without a kernel.
    pub fn item(index: usize, name: &str, bytes: u64, macs: u64) -> Item {
        let layer = name.split('.').take(3).collect::<Vec<_>>().join(".");
        let (block, stage) = match name.strip_prefix("blocks.") {
            Some(rest) => (format!("blocks.{}", &rest[..1]), "stages.0".to_owned()),
            None => (name.to_owned(), name.to_owned()),
        };
        let op = name.rsplit('.').next().unwrap_or(name).to_owned();
        let steps = [index, index + 1];
        Item { index, name: name.into(), layer, block, stage, op, steps, kernel: None, bytes, macs }
    }

    pub fn ceilings() -> Ceilings {
        let method = Method { copy: "c".into(), product: "p".into(), launch: "l".into() };
        // 1000 bytes and 10^6 operations a microsecond.
        Ceilings { copy_gbps: 1.0, product_tflops: 1.0, launch_us: 2.0, method }
    }

    pub fn profile() -> TimeProfile {
        let items = vec![
            item(0, "stem", 10_000, 1_000_000), // memory: 10, compute 2
            item(1, "blocks.0.depthwise", 3_000, 4_000_000), // compute: 8, memory 3
            item(2, "blocks.0.depthwise.bn_swish", 100, 0), // launch: 2
            item(3, "blocks.1.depthwise", 5_000, 1_000_000), // memory: 5
        ];
        let times = [20.0, 10.0, 6.0, 4.0];
        TimeProfile {
            items,
            times_us: times.map(|us| Summary::new(&[us - 1.0, us, us + 3.0]).unwrap()).into(),
            run_us: Summary::new(&[50.0]).unwrap(),
            serial_run_us: None,
            ceilings: ceilings(),
        }
    }

    #[test]
    fn an_item_is_bound_by_what_takes_longest() {
        let profile = profile();
        let of = |place| profile.figures(&[place]);
        let floors: Vec<_> = (0..4).map(|i| (of(i).floor_us, of(i).bound)).collect();
        let expected = [
            (10.0, Bound::Memory),
            (8.0, Bound::Compute),
            (2.0, Bound::Launch),
            (5.0, Bound::Memory),
        ];
        assert_eq!(floors, expected);
        let stem = of(0);
        assert_eq!((stem.time_us, stem.share, stem.times_floor), (20.0, 0.5, 2.0));
        // 10,000 bytes and 2,000,000 operations in 20 us.
        assert!((stem.gbps.unwrap() - 0.5).abs() < 1e-12);
        assert!((stem.tflops.unwrap() - 0.1).abs() < 1e-12);
        assert_eq!(of(3).times_floor, 0.8, "a cache may beat memory");
    }

    #[test]
    fn every_grouping_adds_up_to_the_total() {
        let profile = profile();
        let total = profile.total();
        assert_eq!((total.time_us, total.share, total.floor_us), (40.0, 1.0, 25.0));
        for by in [By::Launch].into_iter().chain(By::GROUPS) {
            let groups = profile.groups(by);
            let sum = |f: fn(&Figures) -> f64| groups.iter().map(|g| f(&g.figures)).sum::<f64>();
            assert_eq!(sum(|f| f.time_us), total.time_us, "{by}");
            assert_eq!(sum(|f| f.floor_us), total.floor_us, "{by}");
            assert_eq!(sum(|f| f.bytes as f64), total.bytes as f64, "{by}");
            assert_eq!(sum(|f| f.flops as f64), total.flops as f64, "{by}");
            let mut places: Vec<_> = groups.iter().flat_map(|g| g.items.clone()).collect();
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2, 3], "{by}");
        }
        let names = |by| profile.groups(by).into_iter().map(|g| g.name).collect::<Vec<_>>();
        assert_eq!(names(By::Layer), ["stem", "blocks.0.depthwise", "blocks.1.depthwise"]);
        assert_eq!(names(By::Block), ["stem", "blocks.0", "blocks.1"]);
        assert_eq!(names(By::Stage), ["stem", "stages.0"]);
        assert_eq!(names(By::Op), ["stem", "depthwise", "bn_swish"]);
        // 8 of 10 us are arithmetic's.
        assert_eq!(profile.groups(By::Layer)[1].figures.bound, Bound::Compute);
    }

    #[test]
    fn no_time_has_no_rate() {
        let mut profile = profile();
        profile.times_us = vec![Summary::new(&[0.0]).unwrap(); 4];
        let total = profile.total();
        assert_eq!((total.gbps, total.tflops, total.share), (None, None, 0.0));
    }
}
