//! The L1 cache of a block: lines of 128 bytes in sectors of 32, the least recently used goes first.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Bytes of a line, which has four sectors.
const LINE_BYTES: u32 = 128;
/// No line.
const NONE: u32 = u32::MAX;

/// Spreads the numbers of lines over a table: a product with 2^64 divided by the golden ratio.
#[derive(Default)]
pub(super) struct LineHasher(u64);

impl Hasher for LineHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, value: u64) {
        let product = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}

struct Line {
    number: u64,
    /// Sectors that are there, or on their way.
    sectors: u8,
    /// When the last of them arrived.
    ready: f64,
    /// Lines that were used just before and just after it.
    older: u32,
    newer: u32,
}

/// An L1 cache.
pub(super) struct Cache {
    most_lines: usize,
    lines: Vec<Line>,
    places: HashMap<u64, u32, BuildHasherDefault<LineHasher>>,
    oldest: u32,
    newest: u32,
}

impl Cache {
    pub fn new(bytes: u32) -> Cache {
        Cache {
            most_lines: (bytes / LINE_BYTES) as usize,
            lines: Vec::new(),
            places: HashMap::default(),
            oldest: NONE,
            newest: NONE,
        }
    }

    /// As new.
    pub fn clear(&mut self) {
        self.lines.clear();
        self.places.clear();
        (self.oldest, self.newest) = (NONE, NONE);
    }

    /// A load of some sectors of a line: those that are not there, and when those that are arrived
    /// or will. The missing ones will be there at `arrival`.
    pub fn load(&mut self, number: u64, sectors: u8, arrival: f64) -> (u8, f64) {
        if self.most_lines == 0 {
            return (sectors, 0.0);
        }
        if let Some(&at) = self.places.get(&number) {
            self.unlink(at);
            self.link(at);
            let line = &mut self.lines[at as usize];
            let missing = sectors & !line.sectors;
            let ready = if missing == sectors { 0.0 } else { line.ready };
            line.sectors |= sectors;
            // One that asks earlier by its clock, though later in the run, would have fetched it.
            line.ready = if missing == 0 { line.ready.min(arrival) } else { arrival };
            return (missing, ready);
        }
        let line = Line { number, sectors, ready: arrival, older: NONE, newer: NONE };
        let at = if self.lines.len() < self.most_lines {
            self.lines.push(line);
            self.lines.len() as u32 - 1
        } else {
            let at = self.oldest;
            self.unlink(at);
            self.places.remove(&self.lines[at as usize].number);
            self.lines[at as usize] = line;
            at
        };
        self.places.insert(number, at);
        self.link(at);
        (sectors, 0.0)
    }

    fn unlink(&mut self, at: u32) {
        let Line { older, newer, .. } = self.lines[at as usize];
        match self.lines.get_mut(older as usize) {
            Some(line) => line.newer = newer,
            None => self.oldest = newer,
        }
        match self.lines.get_mut(newer as usize) {
            Some(line) => line.older = older,
            None => self.newest = older,
        }
    }

    /// As the newest.
    fn link(&mut self, at: u32) {
        let newest = self.newest;
        let line = &mut self.lines[at as usize];
        (line.older, line.newer) = (newest, NONE);
        match self.lines.get_mut(newest as usize) {
            Some(line) => line.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_line_goes() {
        let mut cache = Cache::new(3 * 128 + 127);
        let mut missing = |number| cache.load(number, 0b0001, 1.0).0 != 0;
        assert!([1, 2, 3].map(&mut missing).iter().all(|&m| m));
        assert!(!missing(1));
        assert!(missing(4), "in the place of 2");
        assert!([1, 3, 4].map(&mut missing).iter().all(|&m| !m));
        assert!(missing(2), "in the place of 1");
        assert!(missing(1));
    }

    #[test]
    fn sectors_of_a_line_come_one_by_one() {
        let mut cache = Cache::new(128);
        assert_eq!(cache.load(7, 0b0011, 10.0), (0b0011, 0.0));
        assert_eq!(cache.load(7, 0b0110, 20.0), (0b0100, 10.0));
        assert_eq!(cache.load(7, 0b0111, 30.0), (0, 20.0));
        assert_eq!(cache.load(7, 0b1000, 40.0), (0b1000, 0.0));
        assert_eq!(cache.load(7, 0b1111, 35.0), (0, 40.0));
        assert_eq!(cache.load(7, 0b1111, 50.0), (0, 35.0));
        cache.clear();
        assert_eq!(cache.load(7, 0b1111, 60.0), (0b1111, 0.0));
        let mut none = Cache::new(127);
        assert_eq!(none.load(7, 0b0001, 10.0), (0b0001, 0.0));
        assert_eq!(none.load(7, 0b0001, 20.0), (0b0001, 0.0));
    }

    /// Against a list that is kept in order.
    #[test]
    fn a_long_row_of_loads_is_as_a_list_has_it() {
        let mut cache = Cache::new(16 * 128);
        let mut list: Vec<u64> = Vec::new();
        let mut state = 1u64;
        for _ in 0..5000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = state >> 59;
            let expected = match list.iter().position(|&n| n == number) {
                Some(at) => {
                    list.remove(at);
                    0
                }
                None => 0b1111,
            };
            list.insert(0, number);
            list.truncate(16);
            assert_eq!(cache.load(number, 0b1111, 0.0).0, expected);
        }
    }
}
