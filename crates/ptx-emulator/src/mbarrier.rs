//! `mbarrier` objects: phases that end when the expected arrivals and bytes have come.
//!
//! PTX ISA, "Parallel Synchronization and Communication Instructions: mbarrier". The 64 bits in
//! shared memory are opaque there; here they hold nothing, and the state is kept beside. A token is
//! `phase << 32 | pending`.

/// Largest count, from the ISA.
const MAX_COUNT: u32 = (1 << 20) - 1;

/// An `mbarrier`: block of the group, offset in its shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MbarrierPlace {
    pub block: usize,
    pub offset: u32,
}

/// An object's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mbarrier {
    /// Arrivals that each phase expects.
    expected: u32,
    /// Arrivals that are still to come.
    pending: u32,
    /// Bytes that are still to come; below zero when they came before they were expected.
    bytes: i64,
    phase: u32,
    /// A test of this phase has failed: what is under way may land before the next.
    asked: bool,
}

impl Mbarrier {
    pub fn new(count: u32) -> Result<Mbarrier, String> {
        if !(1..=MAX_COUNT).contains(&count) {
            return Err(format!("mbarrier count {count}, expected 1 to {MAX_COUNT}"));
        }
        Ok(Mbarrier { expected: count, pending: count, bytes: 0, phase: 0, asked: false })
    }

    pub fn token(&self) -> u64 {
        u64::from(self.phase) << 32 | u64::from(self.pending)
    }

    /// Takes `count` arrivals; says whether the phase has ended.
    pub fn arrive(&mut self, count: u32) -> Result<bool, String> {
        if count == 0 || count > self.pending {
            let pending = self.pending;
            return Err(format!("{count} arrivals at an mbarrier that expects {pending} more"));
        }
        self.pending -= count;
        Ok(self.turn())
    }

    /// One arrival fewer in the phases to come.
    pub fn drop_expected(&mut self, count: u32) -> Result<(), String> {
        if count > self.expected {
            return Err(format!("{count} arrivals dropped of {}", self.expected));
        }
        self.expected -= count;
        Ok(())
    }

    /// One arrival more in this phase.
    pub fn raise_pending(&mut self) -> Result<(), String> {
        if self.pending >= MAX_COUNT {
            return Err(format!("mbarrier count above {MAX_COUNT}"));
        }
        self.pending += 1;
        Ok(())
    }

    pub fn expect_bytes(&mut self, bytes: u32) -> Result<(), String> {
        self.bytes += i64::from(bytes);
        if self.bytes > i64::from(MAX_COUNT) {
            return Err(format!("{} bytes expected, at most {MAX_COUNT} are possible", self.bytes));
        }
        Ok(())
    }

    /// Says whether the phase has ended.
    pub fn complete_bytes(&mut self, bytes: u32) -> bool {
        self.bytes -= i64::from(bytes);
        self.turn()
    }

    fn turn(&mut self) -> bool {
        let ends = self.pending == 0 && self.bytes == 0;
        if ends {
            self.pending = self.expected;
            self.phase = self.phase.wrapping_add(1);
            self.asked = false;
        }
        ends
    }

    /// Notes a failed test; says whether there was one before.
    pub fn ask(&mut self) -> bool {
        std::mem::replace(&mut self.asked, true)
    }

    /// Whether the phase of a token has ended.
    pub fn is_past(&self, token: u64) -> bool {
        (token >> 32) as u32 != self.phase
    }

    /// Whether the phase of this parity, the current one or the one before, has ended.
    pub fn is_past_parity(&self, parity: u32) -> bool {
        self.phase & 1 != parity & 1
    }
}
