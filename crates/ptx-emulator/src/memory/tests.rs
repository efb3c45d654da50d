use super::*;
use crate::order::{Grouping, Order};
use crate::registers::{LANES, Mask};
use crate::report::{Check, Checks, Findings, Site};

mod global;
mod local;
mod shared;

const GROUPING: Grouping = Grouping { warps_per_block: 8, blocks_per_cluster: 1 };
const ALL: Mask = Mask::MAX;

/// The warps of a block, or of several that run together, and what has been found.
struct Group {
    order: Order,
    all: Vec<u32>,
    findings: Findings,
    checks: Checks,
    strong: bool,
    pc: u32,
}

impl Group {
    fn new(first: u32, warps: u32) -> Group {
        Group {
            order: Order::new(first, warps, GROUPING),
            all: (first..first + warps).collect(),
            findings: Findings::default(),
            checks: Checks::ALL,
            strong: false,
            pc: 0,
        }
    }

    /// The next instruction of a warp.
    fn warp(&mut self, warp: u32) -> Actor<'_> {
        self.pc += 1;
        Actor {
            site: Site { pc: self.pc, block: [0; 3], warp: warp % 8 },
            warp,
            clock: self.order.clock(warp),
            strong: self.strong,
            checks: self.checks,
            findings: &mut self.findings,
        }
    }

    fn barrier(&mut self) {
        let all = self.all.clone();
        self.order.barrier(&all, &all);
    }

    /// Takes what has been found since the last call: check, lane, buffer and message.
    fn take(&mut self) -> Vec<(Check, u32, Option<String>, String)> {
        std::mem::take(&mut self.findings)
            .by_place
            .into_values()
            .map(|found| (found.check, found.lane, found.buffer, found.message))
            .collect()
    }

    fn checks(&mut self) -> Vec<Check> {
        self.take().into_iter().map(|found| found.0).collect()
    }

    #[track_caller]
    fn is_clean(&mut self) {
        assert_eq!(self.take(), []);
    }

    /// The one finding's check, lane and message.
    #[track_caller]
    fn only(&mut self) -> (Check, u32, String) {
        let [(check, lane, _, message)] = &self.take()[..] else { panic!("not one finding") };
        (*check, *lane, message.clone())
    }
}

const NOTHING: Words = [[0; LANES]; 4];

/// Word 0 of lane `i`.
fn words(value: impl Fn(u32) -> u32) -> Words {
    let mut words = NOTHING;
    words[0] = std::array::from_fn(|lane| value(lane as u32));
    words
}

fn lane(lane: u32) -> Mask {
    1 << lane
}

#[test]
fn lanes_of_a_mask_come_in_order() {
    assert_eq!(lanes(0).count(), 0);
    assert_eq!(lanes(0x8000_0005).collect::<Vec<_>>(), [0, 2, 31]);
    assert_eq!(lanes(ALL).count(), 32);
}

#[test]
fn read_only_bytes_are_loaded_in_every_width() {
    let bytes: Vec<u8> = (1..=20).collect();
    let mut group = Group::new(0, 1);
    for (width, expected) in [
        (1u32, [17, 0, 0, 0]),
        (2, [0x1211, 0, 0, 0]),
        (4, [0x1413_1211, 0, 0, 0]),
        (8, [0x0c0b_0a09, 0x100f_0e0d, 0, 0]),
        (16, [0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d]),
    ] {
        let address = [16, 16, 16, 8, 0][width.ilog2() as usize];
        let mut out = [[9; LANES]; 4];
        load_bytes(&bytes, "p", &mut group.warp(0), lane(3), &[address; LANES], width, &mut out);
        group.is_clean();
        for word in 0..width.div_ceil(4) as usize {
            assert_eq!(out[word][3], expected[word]);
            assert_eq!(out[word][2], 9, "a lane that is not of the mask");
        }
    }
}

#[test]
fn read_only_bytes_end_where_they_end() {
    let bytes = [1; 10];
    let mut group = Group::new(0, 1);
    let mut out = [[9; LANES]; 4];
    let mut load = |address, width| {
        load_bytes(&bytes, "p", &mut group.warp(0), lane(5), &[address; LANES], width, &mut out);
        (group.only(), out[0][5])
    };
    let ((check, lane, message), value) = load(8, 4);
    assert_eq!((check, lane, value), (Check::OutOfBounds, 5, 0));
    assert_eq!(message, "read of 4 bytes at 0x8 reaches 2 bytes past the end of p (10 bytes)");
    assert_eq!(load(u32::MAX - 3, 4).0.0, Check::OutOfBounds);
    let ((check, _, message), value) = load(6, 4);
    assert_eq!((check, value), (Check::Misaligned, 0));
    assert!(message.contains("multiple of 4, found 0x6, which is 2 more"), "{message}");
}
