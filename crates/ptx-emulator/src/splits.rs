//! The lanes of a warp that go their own ways.
//!
//! A warp is a set of splits, each with its own program counter and lanes. A split that reaches a
//! `.sync` operation whose membermask names lanes of other splits is parked until those arrive or
//! exit; splits are joined where they meet, and under an adversarial schedule only at such
//! operations.
//!
//! Lanes that a branch parts wait for each other at its immediate post-dominator, as machine code
//! has them do. They wait for as long as others of the warp get on: where all of these wait
//! themselves, or go round in vain, those at the meeting point go on without them. Lanes that have
//! ended are not waited for.

use super::postdominators::NOWHERE;
use super::registers::{LANES, Mask};

/// Lanes that share a program counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub pc: u32,
    pub mask: Mask,
    pub state: State,
    /// It had a long turn without an effect: others go first.
    pub resting: bool,
}

/// What a split waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// All the lanes that the instruction waits for are here: it can be executed.
    Gathered,
    /// The barrier that it waited at was completed, with the value of a reduction.
    Released(u32),
    /// Waits for other lanes of the warp.
    Lanes {
        members: Mask,
        meeting: Meeting,
    },
    /// Waits at a barrier of the block.
    Barrier(u32),
    /// Waits for the other blocks of its cluster.
    Cluster,
    /// Waits where it meets the lanes that a branch has parted from it.
    Meeting,
}

impl State {
    pub fn is_runnable(self) -> bool {
        matches!(self, State::Ready | State::Gathered | State::Released(_))
    }
}

/// What one instruction does to the split that executed it.
pub(crate) enum Flow {
    Next,
    Jump(u32),
    /// The lanes that executed it end.
    Exit,
    /// The lanes that executed it wait, at this instruction.
    Park(State),
    /// Goes on at the next instruction, after others have had a turn.
    Yield,
    /// Each executing lane goes to a place of its own.
    Scatter(Box<[u32; LANES]>),
    /// The launch ends.
    Stop,
}

/// Which operations of other lanes a waiting one meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// The same instruction.
    Here,
    /// Any `bar.warp.sync` of the same lanes.
    WarpSync,
}

/// Lanes that a branch has parted, and where they meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parting {
    meets_at: u32,
    /// Those that are still to come, or that wait there.
    members: Mask,
    /// Instructions of the group after which those that wait go on: others may have effects all
    /// the time, and have them in vain.
    until: u64,
}

/// Partings of a warp that are kept at a time; lanes of more meet where they happen to.
const MAX_PARTINGS: usize = 64;

/// A warp's splits and the lanes that have not exited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Splits {
    pub list: Vec<Split>,
    pub live: Mask,
    /// Outer ones first.
    partings: Vec<Parting>,
    /// How often all that can run had had a turn without an effect, while lanes waited for them.
    rests: u32,
}

impl Splits {
    pub fn start(&mut self, lanes: Mask) {
        self.live = lanes;
        self.list.clear();
        self.partings.clear();
        self.rests = 0;
        self.list.push(Split { pc: 0, mask: lanes, state: State::Ready, resting: false });
    }

    pub fn push(&mut self, pc: u32, mask: Mask, state: State) {
        if mask != 0 {
            self.list.push(Split { pc, mask, state, resting: false });
        }
    }

    /// A branch parts these lanes, which are to meet at an instruction, or give it up when the group
    /// has executed `until` instructions.
    pub fn part(&mut self, meets_at: u32, members: Mask, until: u64) {
        let is_known = |p: &Parting| p.meets_at == meets_at && members & !p.members == 0;
        if meets_at == NOWHERE
            || self.partings.len() >= MAX_PARTINGS
            || self.partings.iter().any(is_known)
        {
            return;
        }
        self.partings.push(Parting { meets_at, members, until });
    }

    /// Whether any lanes of the warp are to meet.
    pub fn has_partings(&self) -> bool {
        !self.partings.is_empty()
    }

    /// Whether any of these lanes meet others at an instruction.
    pub fn meets(&self, pc: u32, mask: Mask) -> bool {
        self.partings.iter().any(|p| p.meets_at == pc && p.members & mask != 0)
    }

    /// Ends the partings whose lanes have met, and has the others wait.
    pub fn meet(&mut self, now: u64) {
        if self.partings.is_empty() {
            return;
        }
        for split in self.list.iter_mut().filter(|split| split.state == State::Meeting) {
            split.state = State::Ready;
        }
        let Splits { list, live, partings, rests } = self;
        let before = partings.len();
        let mut given_up = None;
        partings.retain(|parting| {
            let is_here = |s: &&Split| s.state == State::Ready && s.pc == parting.meets_at;
            let here = list.iter().filter(is_here).fold(0, |here, split| here | split.mask);
            let is_over = now > parting.until && here & parting.members != 0;
            given_up = given_up.or(is_over.then_some(parting.meets_at));
            parting.members & *live & !here != 0 && !is_over
        });
        if partings.len() < before {
            *rests = 0;
        }
        if let Some(pc) = given_up {
            // Those that did not come have had their turns.
            let others = list.iter_mut().filter(|s| s.state == State::Ready && s.pc != pc);
            others.for_each(|split| split.resting = true);
        }
        for index in 0..self.list.len() {
            let Split { pc, mask, state, .. } = self.list[index];
            if state == State::Ready && self.meets(pc, mask) {
                self.list[index].state = State::Meeting;
            }
        }
    }

    /// Nobody gets on: lanes that wait at a meeting point go on by themselves. Says whether there
    /// were any.
    fn give_up_meetings(&mut self) -> bool {
        let mut any = false;
        self.rests = 0;
        for index in 0..self.list.len() {
            let Split { pc, mask, state, .. } = self.list[index];
            if state == State::Meeting {
                any = true;
                self.list[index].state = State::Ready;
                for parting in self.partings.iter_mut().filter(|p| p.meets_at == pc) {
                    parting.members &= !mask;
                }
            }
        }
        any
    }

    /// The runnable split of the lowest program counter, those that had their turn last. Lanes at a
    /// meeting point wait for so many of their turns.
    pub fn lowest(&mut self, patience: u32) -> Option<usize> {
        let best = |list: &[Split], resting: bool| {
            (0..list.len())
                .filter(|&i| list[i].state.is_runnable() && list[i].resting == resting)
                .min_by_key(|&i| list[i].pc)
        };
        if let Some(i) = best(&self.list, false) {
            return Some(i);
        }
        let resting = best(&self.list, true);
        if (resting.is_none() || self.rests >= patience) && self.give_up_meetings() {
            self.merge();
            return best(&self.list, false);
        }
        let i = resting?;
        self.rests += u32::from(self.list.iter().any(|split| split.state == State::Meeting));
        self.list.iter_mut().for_each(|split| split.resting = false);
        Some(i)
    }

    /// Joins ready splits that have come to the same instruction.
    pub fn merge(&mut self) {
        let mut i = 0;
        while i < self.list.len() {
            let mut j = i + 1;
            while j < self.list.len() {
                let (a, b) = (self.list[i], self.list[j]);
                if a.pc == b.pc && a.state == State::Ready && b.state == State::Ready {
                    self.list[i].mask |= b.mask;
                    self.list.remove(j);
                } else {
                    j += 1;
                }
            }
            i += 1;
        }
    }

    /// Lets those go whose other lanes have arrived or exited. Says whether any can.
    pub fn gather(&mut self) -> bool {
        let mut any = false;
        let mut i = 0;
        while i < self.list.len() {
            let State::Lanes { members, meeting } = self.list[i].state else {
                i += 1;
                continue;
            };
            let pc = self.list[i].pc;
            let meets = |other: &Split| {
                other.state == self.list[i].state
                    && (meeting == Meeting::WarpSync || other.pc == pc)
            };
            let arrived = self.list.iter().filter(|s| meets(s)).fold(0, |m, s| m | s.mask);
            if members & self.live & !arrived != 0 {
                i += 1;
                continue;
            }
            any = true;
            let state = self.list[i].state;
            for split in &mut self.list {
                if split.state == state && (meeting == Meeting::WarpSync || split.pc == pc) {
                    split.state = State::Gathered;
                }
            }
            // Those at the same instruction execute it together.
            let mut j = i + 1;
            while j < self.list.len() {
                if self.list[j].state == State::Gathered && self.list[j].pc == pc {
                    self.list[i].mask |= self.list[j].mask;
                    self.list.remove(j);
                } else {
                    j += 1;
                }
            }
            i += 1;
        }
        any
    }

    pub fn has_ended(&self) -> bool {
        self.list.is_empty()
    }
}
