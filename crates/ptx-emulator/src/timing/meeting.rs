//! Where warps wait for each other.

use super::events::Moment;

/// An arrival: when, at which instruction, and whether the warp had waited for the launch before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(super) at: Moment,
    pub(super) pc: u32,
    pub(super) waited: bool,
}

/// The last arrival of those that have come. A warp that has waited for the launch before comes
/// later than any that has not: the clock has started anew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meeting(Option<Arrival>);

impl Meeting {
    pub fn arrive(&mut self, arrival: Arrival) {
        let is_later =
            |last: &Arrival| (arrival.waited, arrival.at.time) >= (last.waited, last.at.time);
        if self.0.as_ref().is_none_or(is_later) {
            self.0 = Some(arrival);
        }
    }

    /// The last one, with which the meeting ends.
    pub fn end(&mut self) -> Option<Arrival> {
        self.0.take()
    }
}
