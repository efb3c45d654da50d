//! Read-only bytes, such as the parameters of a launch.

use super::shadow::{AccessKind, AccessPlace};
use super::words::{Words, put};
use super::{Actor, lanes};
use crate::registers::{LANES, Mask};

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
        let place = AccessPlace {
            kind: AccessKind::Read,
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
            None => place.report_outside(actor, bytes.len() as u64),
        }
        put(out, lane, width, padded);
    }
}
