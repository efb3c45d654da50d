//! The bytes of an allocation, in words, and which of them have been written.

use super::access::Offsets;
use super::{Words, bytes_of_word, lanes};
use crate::registers::Mask;
use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// A word, of memory that one thread or several access.
pub(super) trait Word {
    fn get(&self) -> u32;
    fn set(&self, value: u32);
    /// Writes some bits, and leaves the others to whoever writes them meanwhile.
    fn replace(&self, bits: u32, value: u32);
}

impl Word for Cell<u32> {
    #[inline(always)]
    fn get(&self) -> u32 {
        Cell::get(self)
    }

    #[inline(always)]
    fn set(&self, value: u32) {
        Cell::set(self, value);
    }

    #[inline(always)]
    fn replace(&self, bits: u32, value: u32) {
        Cell::set(self, Cell::get(self) & !bits | value & bits);
    }
}

impl Word for AtomicU32 {
    #[inline(always)]
    fn get(&self) -> u32 {
        self.load(Relaxed)
    }

    #[inline(always)]
    fn set(&self, value: u32) {
        self.store(value, Relaxed);
    }

    #[inline(always)]
    fn replace(&self, bits: u32, value: u32) {
        let mut old = self.load(Relaxed);
        while let Err(found) =
            self.compare_exchange_weak(old, old & !bits | value & bits, Relaxed, Relaxed)
        {
            old = found;
        }
    }
}

/// What is known of a word's four bytes: the low bits tell which have been written.
pub(super) trait State {
    fn get(&self) -> u8;
    /// Sets bits.
    fn add(&self, bits: u8);
}

/// All bytes of a word.
pub(super) const WHOLE: u8 = 0xf;

impl State for Cell<u8> {
    #[inline(always)]
    fn get(&self) -> u8 {
        Cell::get(self)
    }

    #[inline(always)]
    fn add(&self, bits: u8) {
        Cell::set(self, Cell::get(self) | bits);
    }
}

impl State for AtomicU8 {
    #[inline(always)]
    fn get(&self) -> u8 {
        self.load(Relaxed)
    }

    #[inline(always)]
    fn add(&self, bits: u8) {
        if bits == WHOLE {
            self.store(WHOLE, Relaxed);
        } else if self.load(Relaxed) & bits != bits {
            self.fetch_or(bits, Relaxed);
        }
    }
}

/// Gives `report` the lanes of which a byte is not in `bits` of its state: its bytes' own bits and
/// `clear` ones that must not be set.
#[inline(always)]
pub(super) fn check<S: State, const WIDTH: usize>(
    states: &[S],
    offsets: &Offsets,
    mask: Mask,
    needs_written: bool,
    clear: u8,
    mut report: impl FnMut(usize),
) {
    if let Some((_, range)) = offsets.row::<WIDTH>(mask) {
        let needed = if needs_written { WHOLE } else { 0 };
        let wrong = |state: &S| (state.get() ^ needed) & (needed | clear);
        if states[range].iter().fold(0, |all, state| all | wrong(state)) == 0 {
            return;
        }
    }
    for lane in lanes(mask) {
        let offset = offsets.of[lane];
        let needed = if needs_written { bytes_of_word(offset, WIDTH.min(4) as u32) } else { 0 };
        let states = &states[(offset / 4) as usize..][..WIDTH.div_ceil(4)];
        let wrong = |state: &S| (state.get() ^ needed) & (needed | clear);
        if states.iter().fold(0, |all, state| all | wrong(state)) != 0 {
            report(lane);
        }
    }
}

#[inline(always)]
pub(super) fn read<W: Word, const WIDTH: usize>(
    words: &[W],
    offsets: &Offsets,
    mask: Mask,
    out: &mut Words,
) {
    if let Some((first, range)) = offsets.row::<WIDTH>(mask) {
        for (lane, words) in (first..).zip(words[range].chunks_exact(WIDTH / 4)) {
            for (out, word) in out.iter_mut().zip(words) {
                out[lane] = word.get();
            }
        }
        return;
    }
    for lane in lanes(mask) {
        let offset = offsets.of[lane];
        let word = (offset / 4) as usize;
        if WIDTH < 4 {
            out[0][lane] = words[word].get() >> (8 * (offset % 4)) & ((1 << (8 * WIDTH)) - 1);
        } else {
            for (out, word) in out.iter_mut().zip(&words[word..][..WIDTH / 4]) {
                out[lane] = word.get();
            }
        }
    }
}

/// As [`read`], of words that are zeros.
pub(super) fn read_zeros<const WIDTH: usize>(mask: Mask, out: &mut Words) {
    for out in out.iter_mut().take(WIDTH.div_ceil(4)) {
        lanes(mask).for_each(|lane| out[lane] = 0);
    }
}

/// Of lanes that write one place, the highest stays.
#[inline(always)]
pub(super) fn write<W: Word, S: State, const WIDTH: usize>(
    words: &[W],
    states: Option<&[S]>,
    offsets: &Offsets,
    mask: Mask,
    data: &Words,
) {
    if let Some((first, range)) = offsets.row::<WIDTH>(mask) {
        for (lane, words) in (first..).zip(words[range.clone()].chunks_exact(WIDTH / 4)) {
            for (data, word) in data.iter().zip(words) {
                word.set(data[lane]);
            }
        }
        if let Some(states) = states {
            states[range].iter().for_each(|state| state.add(WHOLE));
        }
        return;
    }
    for lane in lanes(mask) {
        let offset = offsets.of[lane];
        let word = (offset / 4) as usize;
        if WIDTH < 4 {
            let shift = 8 * (offset % 4);
            let bits = ((1u32 << (8 * WIDTH)) - 1) << shift;
            words[word].replace(bits, data[0][lane] << shift);
        } else {
            for (data, word) in data.iter().zip(&words[word..][..WIDTH / 4]) {
                word.set(data[lane]);
            }
        }
        if let Some(states) = states {
            let bytes = bytes_of_word(offset, WIDTH.min(4) as u32);
            states[word..][..WIDTH.div_ceil(4)].iter().for_each(|state| state.add(bytes));
        }
    }
}
