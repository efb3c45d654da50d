//! Local memory of a warp: each thread's own bytes.

use super::shadow::{AccessKind, AccessPlace};
use super::{Actor, Words, bytes_of_word, lanes};
use crate::registers::{LANES, Mask};
use crate::report::Check;

/// Local memory of a warp.
#[derive(Default)]
pub(crate) struct Local {
    bytes: u32,
    /// Word by word, the lanes side by side.
    words: Vec<[u32; LANES]>,
    /// For each word and lane, a bit for each byte that has been written.
    written: Vec<[u8; LANES]>,
}

impl Local {
    /// Memory that nothing has written, of so many bytes for each thread.
    pub fn new(bytes_per_thread: u32) -> Local {
        let words = bytes_per_thread.div_ceil(4) as usize;
        Local {
            bytes: bytes_per_thread,
            words: vec![[0; LANES]; words],
            written: vec![[0; LANES]; words],
        }
    }

    /// As new, for another block.
    pub fn restart(&mut self) {
        self.written.fill([0; LANES]);
    }

    /// Bytes of a lane as a number, without a check; what lies outside is zero.
    pub fn peek(&self, lane: usize, address: u32, bytes: u32) -> u64 {
        (0..bytes).fold(0, |value, index| {
            let at = address + index;
            let word = self.words.get(at as usize / 4).map_or(0, |words| words[lane]);
            value | u64::from(word >> (8 * (at % 4)) & 0xff) << (8 * index)
        })
    }

    /// Whether the lane may access these bytes; reports why not.
    #[inline(always)]
    fn admits(&self, actor: &mut Actor, place: &AccessPlace) -> bool {
        let end = place.address + u64::from(place.width);
        if end > self.bytes.into() {
            place.report_outside(actor, self.bytes.into());
        } else if place.address & u64::from(place.width - 1) != 0 {
            place.report_misaligned(actor);
        } else {
            return true;
        }
        false
    }

    /// Loads `width` bytes (1, 2, 4, 8 or 16) for each lane of the mask.
    pub fn load(
        &self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u32; LANES],
        width: u32,
        out: &mut Words,
    ) {
        let checks_written = actor.checks.has(Check::UninitialisedMemory);
        let words = width.div_ceil(4) as usize;
        for lane in lanes(mask) {
            let place = place(AccessKind::Read, lane, width, addresses[lane]);
            if !self.admits(actor, &place) {
                out.iter_mut().for_each(|words| words[lane] = 0);
                continue;
            }
            let first = addresses[lane] as usize / 4;
            let needed = bytes_of_word(place.address, width.min(4));
            let mut found = 0xf;
            for (index, out) in out.iter_mut().enumerate().take(words) {
                out[lane] = self.words[first + index][lane];
                found &= self.written[first + index][lane];
            }
            if width < 4 {
                let shifted = out[0][lane] >> (8 * (addresses[lane] % 4));
                out[0][lane] = shifted & ((1 << (8 * width)) - 1);
            }
            if checks_written && found & needed != needed {
                let missing = (0..width).find(|index| {
                    let at = addresses[lane] + index;
                    self.written[at as usize / 4][lane] >> (at % 4) & 1 == 0
                });
                place.report_uninitialised(actor, missing.unwrap_or(0));
            }
        }
    }

    /// Stores `width` bytes (1, 2, 4, 8 or 16) for each lane of the mask.
    pub fn store(
        &mut self,
        actor: &mut Actor,
        mask: Mask,
        addresses: &[u32; LANES],
        width: u32,
        data: &Words,
    ) {
        for lane in lanes(mask) {
            let place = place(AccessKind::Write, lane, width, addresses[lane]);
            if !self.admits(actor, &place) {
                continue;
            }
            let first = addresses[lane] as usize / 4;
            if width < 4 {
                let shift = 8 * (addresses[lane] % 4);
                let bits = ((1 << (8 * width)) - 1) << shift;
                let word = &mut self.words[first][lane];
                *word = *word & !bits | data[0][lane] << shift & bits;
                self.written[first][lane] |= bytes_of_word(place.address, width);
            } else {
                for (index, data) in data.iter().enumerate().take(width as usize / 4) {
                    self.words[first + index][lane] = data[lane];
                    self.written[first + index][lane] = 0xf;
                }
            }
        }
    }
}

#[inline(always)]
fn place(kind: AccessKind, lane: usize, width: u32, address: u32) -> AccessPlace<'static> {
    let address = u64::from(address);
    AccessPlace { kind, lane: lane as u32, width, address, name: "local memory", offset: address }
}
