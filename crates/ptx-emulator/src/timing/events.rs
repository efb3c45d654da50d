//! What waited for what: the events of a run, and the way back from its end.

use super::result::{Cause, PathPart};
use std::collections::HashMap;

/// Events that are kept of blocks that run together; 16 bytes each.
const MAX_EVENTS: usize = 1 << 22;
/// No event: the beginning.
const BEGINNING: u32 = u32::MAX;
/// An event that is not kept, for there are too many.
const FORGOTTEN: u32 = u32::MAX - 1;

/// A time, and how it came about: an event before it, and what the time since was spent on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub time: f64,
    event: u32,
    cause: Cause,
}

impl Moment {
    /// The beginning of the clock.
    pub const START: Moment = Moment { time: 0.0, event: BEGINNING, cause: Cause::Issue };

    /// The later of two; this one where they are the same.
    #[inline(always)]
    pub fn max(self, other: Moment) -> Moment {
        if other.time > self.time { other } else { self }
    }
}

/// An instruction that a warp began.
#[derive(Clone, Copy)]
struct Event {
    start: f64,
    /// The event that it waited for.
    before: u32,
    /// Its instruction, and what it spent the time since `before` on: `pc << 8 | cause`.
    pc_and_cause: u32,
}

/// A number that stands for an event.
#[derive(Clone, Copy)]
pub(super) struct EventId(u32);

impl EventId {
    /// So many cycles after a time, spent on a cause, at this event.
    #[inline(always)]
    pub fn then(self, time: f64, cause: Cause) -> Moment {
        Moment { time, event: self.0, cause }
    }
}

/// The events of blocks that run together.
pub(super) struct Log {
    events: Vec<Event>,
    /// Events that are kept.
    most: usize,
}

impl Log {
    pub fn new() -> Log {
        Log { events: Vec::new(), most: MAX_EVENTS }
    }

    pub fn clear(&mut self) {
        self.events.clear();
    }

    /// An instruction that begins at a moment.
    #[inline(always)]
    pub fn push(&mut self, pc: u32, start: Moment) -> EventId {
        if self.events.len() >= self.most {
            return EventId(FORGOTTEN);
        }
        let id = EventId(self.events.len() as u32);
        let pc_and_cause = pc << 8 | start.cause as u32;
        self.events.push(Event { start: start.time, before: start.event, pc_and_cause });
        id
    }

    /// The way that led to a moment, by instruction and cause, longest parts first; nothing where
    /// an event of it is not kept.
    pub fn path(&self, end: Moment) -> Vec<PathPart> {
        let mut cycles: HashMap<(u32, Cause), f64> = HashMap::new();
        let Moment { mut time, mut event, mut cause } = end;
        while event != BEGINNING {
            let Some(found) = self.events.get(event as usize) else { return Vec::new() };
            if time > found.start {
                *cycles.entry((found.pc_and_cause >> 8, cause)).or_default() += time - found.start;
            }
            time = found.start;
            event = found.before;
            cause = Cause::ALL[(found.pc_and_cause & 0xff) as usize];
        }
        let part = |((pc, cause), cycles)| PathPart { instruction: pc as usize, cause, cycles };
        let mut path: Vec<PathPart> = cycles.into_iter().map(part).collect();
        path.sort_by(|a, b| {
            let place = |part: &PathPart| (part.instruction, part.cause);
            b.cycles.total_cmp(&a.cycles).then_with(|| place(a).cmp(&place(b)))
        });
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_adds_up_and_is_left_out_where_too_much_happened() {
        let mut log = Log { events: Vec::new(), most: 3 };
        // Instruction 5 waits for a load of instruction 4, and 4 runs twice.
        let first = log.push(4, Moment::START);
        let second = log.push(4, first.then(10.0, Cause::L2));
        let third = log.push(5, second.then(40.0, Cause::L1));
        let part = |instruction, cause, cycles| PathPart { instruction, cause, cycles };
        let path = log.path(third.then(41.0, Cause::Issue));
        let expected =
            [part(4, Cause::L1, 30.0), part(4, Cause::L2, 10.0), part(5, Cause::Issue, 1.0)];
        assert_eq!(path, expected);
        assert_eq!(log.path(Moment::START), []);
        let fourth = log.push(6, third.then(41.0, Cause::Issue));
        assert_eq!(log.path(fourth.then(50.0, Cause::Issue)), []);
        assert_eq!(log.path(third.then(41.0, Cause::Issue)), expected);
        log.clear();
        let again = log.push(7, Moment::START);
        assert_eq!(log.path(again.then(2.0, Cause::Issue)), [part(7, Cause::Issue, 2.0)]);
    }
}
