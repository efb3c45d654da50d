//! The time of a warp, and when what it works with is ready.

use super::events::Moment;
use super::result::Cause;
use crate::program::Program;
use crate::registers::{Reg, Width};
use std::collections::VecDeque;

/// Groups of copies that are told apart; what waits for older ones waits for none.
const MAX_GROUPS: usize = 256;

/// Asynchronous copies of a warp.
#[derive(Default)]
pub(super) struct Copies {
    /// When the last one of no group yet is done.
    open: Option<Moment>,
    /// For each group, the newest last: when it and all older ones are done.
    groups: VecDeque<Moment>,
}

impl Copies {
    fn clear(&mut self) {
        self.open = None;
        self.groups.clear();
    }

    /// A copy that will be done at a moment.
    pub fn begin(&mut self, done: Moment) {
        self.open = Some(self.open.map_or(done, |open| open.max(done)));
    }

    pub fn commit(&mut self) {
        let done = self.all();
        self.open = None;
        if self.groups.len() == MAX_GROUPS {
            self.groups.pop_front();
        }
        self.groups.push_back(done);
    }

    /// When all groups but the newest `newest` are done.
    pub fn all_but(&self, newest: u32) -> Moment {
        let last = self.groups.len().checked_sub(1 + newest as usize);
        last.map_or(Moment::START, |last| self.groups[last])
    }

    /// When every copy is done.
    pub fn all(&self) -> Moment {
        let done = self.all_but(0);
        self.open.map_or(done, |open| done.max(open))
    }
}

/// The clock of a warp.
pub(super) struct WarpTimer {
    /// When its next instruction may begin.
    pub now: Moment,
    /// When all instructions since the last one that holds up others have begun.
    pub begun: Moment,
    /// When all that it has begun is done.
    pub latest: f64,
    /// It has waited for the launch before, or need not.
    pub waited: bool,
    /// Where it began to ask whether an `mbarrier`'s phase has ended: instruction, and when.
    pub asking: Option<(u32, Moment)>,
    narrow: Vec<Moment>,
    wide: Vec<Moment>,
    preds: Vec<Moment>,
    pub pipes: [Moment; Cause::ALL.len()],
    pub copies: Copies,
    pub bulk: Copies,
}

impl WarpTimer {
    pub fn new(program: &Program) -> WarpTimer {
        WarpTimer {
            now: Moment::START,
            begun: Moment::START,
            latest: 0.0,
            waited: false,
            asking: None,
            narrow: vec![Moment::START; program.narrow as usize],
            wide: vec![Moment::START; program.wide as usize],
            preds: vec![Moment::START; program.preds as usize],
            pipes: [Moment::START; Cause::ALL.len()],
            copies: Copies::default(),
            bulk: Copies::default(),
        }
    }

    /// The clock starts anew, with everything at hand.
    pub fn restart(&mut self, waited: bool) {
        self.now = Moment::START;
        self.begun = Moment::START;
        self.latest = 0.0;
        self.waited = waited;
        self.asking = None;
        self.narrow.fill(Moment::START);
        self.wide.fill(Moment::START);
        self.preds.fill(Moment::START);
        self.pipes = [Moment::START; Cause::ALL.len()];
        self.copies.clear();
        self.bulk.clear();
    }

    #[inline(always)]
    pub fn ready(&self, width: Width, reg: Reg) -> Moment {
        let file = match width {
            Width::Pred => &self.preds,
            Width::B16 | Width::B32 => &self.narrow,
            Width::B64 => &self.wide,
        };
        file[reg.0 as usize]
    }

    #[inline(always)]
    pub fn set_ready(&mut self, width: Width, reg: Reg, at: Moment) {
        let file = match width {
            Width::Pred => &mut self.preds,
            Width::B16 | Width::B32 => &mut self.narrow,
            Width::B64 => &mut self.wide,
        };
        file[reg.0 as usize] = at;
    }
}
