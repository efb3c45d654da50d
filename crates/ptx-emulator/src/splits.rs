//! The lanes of a warp that go their own ways.
//!
//! A warp is a set of splits, each with its own program counter and lanes. A split that reaches a
//! `.sync` operation whose membermask names lanes of other splits is parked until those arrive or
//! exit; splits are joined where they meet, and under an adversarial schedule only at such
//! operations.

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

/// A warp's splits and the lanes that have not exited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Splits {
    pub list: Vec<Split>,
    pub live: Mask,
}

impl Splits {
    pub fn start(&mut self, lanes: Mask) {
        self.live = lanes;
        self.list.clear();
        self.list.push(Split { pc: 0, mask: lanes, state: State::Ready, resting: false });
    }

    pub fn push(&mut self, pc: u32, mask: Mask, state: State) {
        if mask != 0 {
            self.list.push(Split { pc, mask, state, resting: false });
        }
    }

    /// The runnable split of the lowest program counter, those that had their turn last.
    pub fn lowest(&mut self) -> Option<usize> {
        let best = |resting: bool| {
            (0..self.list.len())
                .filter(|&i| self.list[i].state.is_runnable() && self.list[i].resting == resting)
                .min_by_key(|&i| self.list[i].pc)
        };
        if let Some(i) = best(false) {
            return Some(i);
        }
        let i = best(true)?;
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
