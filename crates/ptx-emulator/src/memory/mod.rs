//! The memories of the emulated device, and the checks of every access.
//!
//! All of them are accessed by a warp at once: a mask of lanes, and an address for each. A lane whose access is
//! outside of every allocation, or misaligned, is left out and reads zeros.

mod access;
mod buffers;
mod cells;
mod copies;
mod global;
mod local;
mod pages;
mod shadow;
mod shared;
mod values;

#[cfg(test)]
pub(crate) use buffers::FIRST_ADDRESS;
pub use buffers::{Buffer, Memory};
pub(crate) use local::Local;
pub(crate) use shared::Shared;

use super::order::Clock;
use super::registers::{LANES, Mask, lanes};
use super::report::{About, Check, Checks, Findings, Site};
use shadow::{Kind, Place};

/// Data of a warp's access, by word: `words[i][lane]` is word `i` of the lane. Accesses of 1 and 2 bytes have
/// theirs zero-extended in word 0; 8 bytes are two words, 16 four.
pub(crate) type Words = [[u32; LANES]; 4];

/// Who makes an access.
pub(crate) struct Actor<'a> {
    pub site: Site,
    /// Number of the warp in the launch: block times warps of a block, plus warp.
    pub warp: u32,
    pub clock: &'a Clock,
    /// Atomic, volatile, relaxed, acquire or release: two strong accesses do not race.
    pub strong: bool,
    pub checks: Checks,
    pub findings: &'a mut Findings,
}

/// Loads from read-only bytes, as parameters and constants: `addresses` are offsets.
pub(crate) fn load_bytes(
    bytes: &[u8],
    name: &str,
    actor: &mut Actor,
    mask: Mask,
    addresses: &[u32; LANES],
    width: u32,
    out: &mut Words,
) {
    for lane in lanes(mask) {
        let address = addresses[lane];
        let mut padded = [0; 16];
        let place = Place {
            kind: Kind::Read,
            lane: lane as u32,
            width,
            address: address.into(),
            name,
            offset: address.into(),
        };
        let start = address as usize;
        match start.checked_add(width as usize).and_then(|end| bytes.get(start..end)) {
            Some(_) if address & (width - 1) != 0 => place.report_misaligned(actor),
            Some(found) => padded[..found.len()].copy_from_slice(found),
            None => report_outside(&place, actor, bytes.len() as u64),
        }
        put(out, lane, width, padded);
    }
}

/// An access beyond the one allocation of its space.
#[cold]
fn report_outside(place: &Place, actor: &mut Actor, size: u64) {
    actor.findings.add(Check::OutOfBounds, actor.site, place.lane, || About {
        address: Some(place.address),
        buffer: (!place.name.is_empty()).then(|| place.name.to_owned()),
        message: format!(
            "{} of {} bytes at {:#x} reaches {} bytes past the end of {} ({size} bytes)",
            place.kind.name(),
            place.width,
            place.address,
            place.address + u64::from(place.width) - size,
            if place.name.is_empty() { "memory" } else { place.name },
        ),
    });
}

/// Writes a lane's bytes into the words that its width has.
fn put(out: &mut Words, lane: usize, width: u32, bytes: [u8; 16]) {
    let (words, _) = bytes.as_chunks();
    for (out, &word) in out.iter_mut().zip(words).take(width.div_ceil(4) as usize) {
        out[lane] = u32::from_le_bytes(word);
    }
}

/// Byte `index` of a lane's data.
fn byte(data: &Words, lane: usize, index: u32) -> u8 {
    (data[index as usize / 4][lane] >> (8 * (index % 4))) as u8
}

/// One bit for each of `width` bytes from byte `offset` of a word on.
#[inline(always)]
fn bytes_of_word(offset: u64, width: u32) -> u8 {
    ((1 << width) - 1) << (offset % 4)
}

#[cfg(test)]
mod tests;
