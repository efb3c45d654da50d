//! The memory of all decodes together.
//!
//! A decode reads a picture's header, works out what its pixels take, by the formulas of the room's
//! documentation, and reserves that much before it allocates any of it. To all pictures
//! [`OWN_BYTES`] come, for what does not grow with them: tables, rows, a chunk of metadata. Encoded
//! bytes belong to whoever holds them, and are not counted here.
//!
//! A reservation that does not fit waits, in the order of arrival: small pictures do not overtake a
//! large one, so it is not waited for for ever. A picture larger than the whole budget has its turn
//! when nothing else is reserved, alone.
//!
//! Nothing here can wait in a circle. A decode reserves once and holds nothing while it waits; what
//! it holds afterwards it gives back when the picture is resized, or when it fails or panics; and
//! between the two it waits for nothing, neither for another reservation (a JPEG in a TIFF is part
//! of its TIFF's) nor for a thread of a pool, since decoders and resampling run on their caller's
//! thread. So of the threads that hold something one always goes on. What is decoded does not
//! depend on who waited: results are the same for every budget.

use super::ImageError;
use crate::memory;
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

/// Bytes that a decoder may take beside those for pixels: 4 MiB.
pub(super) const OWN_BYTES: u64 = 4 << 20;

/// Bytes that all decodes of the process may reserve at once: 1 GiB, or half of the memory that
/// there is at the first decode if that is less.
const SHARED_BYTES: u64 = 1 << 30;

/// A reservation of more bytes is compared with the memory that there is: 256 MiB.
const LARGE_BYTES: u64 = 256 << 20;

static SHARED: LazyLock<Budget> = LazyLock::new(|| {
    let half = memory::available().map_or(u64::MAX, |available| available.bytes / 2);
    Budget::new(half.min(SHARED_BYTES))
});

/// Bytes that decodes share.
pub(crate) struct Budget {
    capacity: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reserved: u64,
    /// The most that was reserved at once.
    most: u64,
    /// The number that the next to come gets, and the number whose turn it is.
    next: u64,
    turn: u64,
}

/// Bytes of a budget, until they are dropped.
pub(super) struct Reserved<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    /// A budget of `capacity` bytes.
    pub(crate) const fn new(capacity: u64) -> Budget {
        let state = State { reserved: 0, most: 0, next: 0, turn: 0 };
        Budget { capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The budget of the process.
    pub(crate) fn shared() -> &'static Budget {
        &SHARED
    }

    /// Waits for its turn, and then until `bytes` fit or nothing else is reserved.
    pub(super) fn reserve(&self, bytes: u64) -> Reserved<'_> {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let fits = |state: &State| {
            state.reserved == 0 || state.reserved.saturating_add(bytes) <= self.capacity
        };
        while state.turn != number || !fits(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.turn += 1;
        state.reserved = state.reserved.saturating_add(bytes);
        state.most = state.most.max(state.reserved);
        drop(state);
        self.changed.notify_all();
        Reserved { budget: self, bytes }
    }

    /// Sums of numbers are the same after a panic as before.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are reserved, and the most that ever were.
    #[cfg(test)]
    pub(crate) fn record(&self) -> (u64, u64) {
        let state = self.state();
        (state.reserved, state.most)
    }
}

impl Reserved<'_> {
    /// Gives back what is beyond `bytes`.
    fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.budget.state().reserved -= less;
        self.budget.changed.notify_all();
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// What one decode reserves, of a budget or as part of what another decode has reserved.
pub(super) struct Memory<'a> {
    budget: Option<&'a Budget>,
    reserved: Option<Reserved<'a>>,
}

impl<'a> Memory<'a> {
    pub(super) fn of(budget: &'a Budget) -> Memory<'a> {
        Memory { budget: Some(budget), reserved: None }
    }

    /// Of a picture inside another, whose reservation includes it.
    pub(super) fn included() -> Memory<'static> {
        Memory { budget: None, reserved: None }
    }

    /// Reserves, once in a decode, the bytes for pixels and [`OWN_BYTES`]. A large picture for
    /// which there is too little memory is refused when its turn comes.
    pub(super) fn reserve(&mut self, for_pixels: u64) -> Result<(), ImageError> {
        // A second reservation could wait for what the first one holds.
        assert!(self.reserved.is_none(), "a decode reserves once");
        let Some(budget) = self.budget else { return Ok(()) };
        let bytes = for_pixels.saturating_add(OWN_BYTES);
        self.reserved = Some(budget.reserve(bytes));
        if bytes > LARGE_BYTES {
            memory::require(|| "the pixels of an image".to_owned(), bytes)?;
        }
        Ok(())
    }

    /// What remains reserved for a picture of `bytes` that is decoded.
    pub(super) fn keep(mut self, bytes: usize) -> Option<Reserved<'a>> {
        if let Some(reserved) = &mut self.reserved {
            reserved.shrink_to(bytes as u64);
        }
        self.reserved
    }
}

/// The most bytes that a picture takes at once: `decoding` until it is RGB, then its RGB, and that
/// twice where its orientation turns it.
pub(super) fn peak(decoding: u64, pixels: u64, turned: bool) -> u64 {
    decoding.max(pixels * if turned { 6 } else { 3 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn no_more_than_the_budget_and_the_largest_alone() {
        let budget = Budget::new(100);
        let (held, done) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for i in 0..24_u64 {
                let (budget, held, done) = (&budget, &held, &done);
                scope.spawn(move || {
                    let bytes = if i % 6 == 5 { 1000 } else { 20 + i };
                    let reserved = budget.reserve(bytes);
                    let together = held.fetch_add(bytes, Ordering::SeqCst) + bytes;
                    assert!(together <= 100 || together == 1000, "{together} at once");
                    thread::sleep(Duration::from_millis(1));
                    held.fetch_sub(bytes, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst);
                    drop(reserved);
                });
            }
        });
        assert_eq!(done.into_inner(), 24);
        assert_eq!(budget.record(), (0, 1000));
    }

    #[test]
    fn the_small_do_not_overtake_the_large() {
        let budget = Budget::new(100);
        let first = budget.reserve(60);
        let order = Mutex::new(Vec::new());
        let waiting = |n: u64| {
            while budget.state().next < n {
                thread::yield_now();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                // The two do not fit together.
                let _large = budget.reserve(95);
                order.lock().unwrap().push("large");
            });
            waiting(2);
            scope.spawn(|| {
                let _small = budget.reserve(10);
                order.lock().unwrap().push("small");
            });
            waiting(3);
            // The small one would fit now.
            assert_eq!(budget.record(), (60, 60));
            drop(first);
        });
        assert_eq!(*order.lock().unwrap(), ["large", "small"]);
        assert_eq!(budget.record().0, 0);
    }

    #[test]
    fn a_panic_gives_back() {
        let budget = Budget::new(100);
        let panicked = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _reserved = budget.reserve(80);
                    std::panic::resume_unwind(Box::new(()));
                })
                .join()
        });
        assert!(panicked.is_err());
        assert_eq!(budget.record(), (0, 80));
        drop(budget.reserve(100));
    }
}
