//! What of a run stays in the L2 cache, and what goes to device memory.
//!
//! The cache is an LRU of chunks over the addresses that the launches touch, in their order: the
//! whole run twice, of which the second is counted, since a run is repeated. A launch goes through
//! its activations side by side, each from its start to its end; its weights, which every block
//! reads, it touches at its start and again at each eighth of the way. Before a run the host writes
//! the input.

use crate::launches::{Region, Touched};
use std::collections::{BTreeMap, HashMap};

/// Bytes of a chunk: small against every cache, large against a line.
const CHUNK_BYTES: u64 = 32 * 1024;
/// Parts of a launch, at each of which it touches its weights again.
const PARTS: u64 = 8;

/// Bytes between the L2 cache and device memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dram {
    /// Read.
    pub read: f64,
    /// Written back while this launch needed the room.
    pub written: f64,
    /// Bytes that the launch read, wherever they were.
    pub asked: f64,
}

impl Dram {
    /// Part of what the launch read that came from device memory.
    pub fn part(&self) -> f64 {
        if self.asked > 0.0 { (self.read / self.asked).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A chunk that the cache holds.
#[derive(Clone, Copy)]
struct Held {
    /// When it was touched last.
    at: u64,
    /// The bytes of it that are there, as addresses: all between the first and the last touched.
    span: [u64; 2],
    dirty: bool,
}

impl Held {
    fn bytes(&self) -> u64 {
        self.span[1] - self.span[0]
    }
}

struct Cache {
    capacity: u64,
    held: HashMap<(Region, u64), Held>,
    /// By the time of the last touch.
    order: BTreeMap<u64, (Region, u64)>,
    bytes: u64,
    clock: u64,
}

impl Cache {
    fn new(capacity: u64) -> Cache {
        let (held, order) = (HashMap::new(), BTreeMap::new());
        Cache { capacity, held, order, bytes: 0, clock: 0 }
    }

    /// Touches a part of a chunk; what that costs goes to `cost`.
    fn touch(
        &mut self,
        chunk: (Region, u64),
        [from, to]: [u64; 2],
        written: bool,
        cost: &mut Dram,
    ) {
        self.clock += 1;
        let before = self.held.get(&chunk).copied();
        let mut now = Held { at: self.clock, span: [from, to], dirty: written };
        let mut had = 0;
        if let Some(before) = before {
            self.order.remove(&before.at);
            now.span = [from.min(before.span[0]), to.max(before.span[1])];
            now.dirty |= before.dirty;
            had = before.bytes();
        }
        // What is written need not be there before.
        if !written {
            cost.read += (now.bytes() - had).min(to - from) as f64;
        }
        self.bytes += now.bytes() - had;
        self.held.insert(chunk, now);
        self.order.insert(self.clock, chunk);
        while self.bytes > self.capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            let Some(gone) = self.held.remove(&oldest) else { break };
            self.bytes -= gone.bytes();
            if gone.dirty {
                cost.written += gone.bytes() as f64;
            }
        }
    }

    /// Touches the `part`-th of as many equal parts of a range.
    fn touch_part(&mut self, range: &Touched, part: u64, parts: u64, cost: &mut Dram) {
        let first = range.at.offset_bytes;
        let (from, to) = (cut(range.bytes, part, parts), cut(range.bytes, part + 1, parts));
        let (mut at, end) = (first + from, first + to);
        while at < end {
            let chunk = at / CHUNK_BYTES;
            let next = end.min((chunk + 1) * CHUNK_BYTES);
            self.touch((range.at.region, chunk), [at, next], range.written, cost);
            at = next;
        }
    }

    fn launch(&mut self, touched: &[Touched]) -> Dram {
        let mut cost = Dram::default();
        let is_weight = |range: &&Touched| range.at.region == Region::Weights;
        let weights: Vec<&Touched> = touched.iter().filter(is_weight).collect();
        let rest: Vec<&Touched> = touched.iter().filter(|range| !is_weight(range)).collect();
        let longest = rest.iter().map(|range| range.bytes).max().unwrap_or(0);
        let steps = longest.div_ceil(CHUNK_BYTES).max(PARTS);
        for step in 0..steps {
            if step == 0 || step * PARTS / steps != (step - 1) * PARTS / steps {
                for range in &weights {
                    self.touch_part(range, 0, 1, &mut cost);
                }
            }
            for range in &rest {
                self.touch_part(range, step, steps, &mut cost);
            }
        }
        let read = touched.iter().filter(|range| !range.written);
        cost.asked = read.map(|range| range.bytes as f64).sum();
        cost
    }
}

/// Start of the `part`-th of `parts` equal parts.
fn cut(bytes: u64, part: u64, parts: u64) -> u64 {
    (u128::from(bytes) * u128::from(part) / u128::from(parts.max(1))) as u64
}

/// Bytes between the cache and device memory of each launch of a run that follows another one;
/// `input` is what the host writes before each.
pub fn dram(launches: &[Vec<Touched>], input: &[Touched], capacity_bytes: u64) -> Vec<Dram> {
    let mut cache = Cache::new(capacity_bytes);
    let mut run = || -> Vec<Dram> {
        cache.launch(input);
        launches.iter().map(|touched| cache.launch(touched)).collect()
    };
    run();
    run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launches::Address;

    const MIB: u64 = 1 << 20;

    fn range(region: Region, offset_bytes: u64, bytes: u64, written: bool) -> Touched {
        Touched { at: Address { region, offset_bytes }, bytes, written }
    }

    fn copy(from: u64, to: u64, bytes: u64) -> Vec<Touched> {
        vec![range(Region::Arena, from, bytes, false), range(Region::Arena, to, bytes, true)]
    }

    #[test]
    fn a_run_that_fits_costs_nothing_the_second_time() {
        let launches = [copy(0, 8 * MIB, 8 * MIB), copy(8 * MIB, 0, 8 * MIB)];
        for cost in dram(&launches, &[], 17 * MIB) {
            assert_eq!((cost.read, cost.written, cost.part()), (0.0, 0.0, 0.0));
            assert_eq!(cost.asked, (8 * MIB) as f64);
        }
    }

    /// A copy of three caches reads everything, and writes everything back.
    #[test]
    fn a_run_that_streams_costs_every_byte() {
        let launches = [copy(0, 64 * MIB, 48 * MIB)];
        let [cost] = dram(&launches, &[], 16 * MIB)[..] else { panic!("one launch") };
        assert_eq!(cost.read, (48 * MIB) as f64);
        assert_eq!(cost.written, (48 * MIB) as f64);
        assert_eq!(cost.part(), 1.0);
    }

    /// The second launch finds the last of what the first wrote, and only that: 10 MiB do not fit
    /// beside 100.
    #[test]
    fn weights_that_every_run_streams_past_are_read_again() {
        let weight = vec![range(Region::Weights, 0, 10 * MIB, false)];
        let launches = [weight, copy(0, 100 * MIB, 100 * MIB)];
        let cost = dram(&launches, &[], 32 * MIB);
        assert_eq!(cost[0].read, (10 * MIB) as f64);
        let small = [launches[0].clone(), copy(0, 2 * MIB, 2 * MIB)];
        assert_eq!(dram(&small, &[], 32 * MIB)[0].read, 0.0);
    }

    /// Weights stay while a launch streams more than the cache past them.
    #[test]
    fn a_launch_keeps_its_weights() {
        let mut launch = copy(0, 64 * MIB, 64 * MIB);
        launch.push(range(Region::Weights, 0, MIB, false));
        let [cost] = dram(&[launch], &[], 32 * MIB)[..] else { panic!("one launch") };
        assert!(cost.read <= (65 * MIB) as f64, "{}", cost.read);
    }

    #[test]
    fn what_the_host_wrote_is_there() {
        let input = [range(Region::Input, 0, MIB, true)];
        let launches = [vec![range(Region::Input, 0, MIB, false)]];
        assert_eq!(dram(&launches, &input, 4 * MIB)[0].read, 0.0);
    }

    /// Ranges that begin and end within chunks: no byte is read twice.
    #[test]
    fn parts_of_chunks_count_once() {
        let launches =
            [vec![range(Region::Arena, 1000, 100_000, false)], copy(MIB, 9 * MIB, 8 * MIB)];
        assert_eq!(dram(&launches, &[], 4 * MIB)[0].read, 100_000.0);
    }
}
