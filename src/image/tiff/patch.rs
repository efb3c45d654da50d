//! Changes of a TIFF's bytes that the `tiff` crate needs, which reads neither palettes nor the other
//! order of bits.

use super::corrupt;
use super::layout::{Colour, Layout};
use crate::image::ImageError;
use tiff::tags::Tag;

impl Layout {
    /// The file with the bytes of its strips in the usual order of bits, and a palette's indices
    /// declared as grey levels, for the `tiff` crate; none where nothing is to be changed.
    pub(super) fn patched(
        &self,
        encoded: &[u8],
        big_endian: bool,
    ) -> Result<Option<Vec<u8>>, ImageError> {
        if !self.bits_reversed && self.colour != Colour::Palette {
            return Ok(None);
        }
        let mut bytes = encoded.to_vec();
        if self.bits_reversed {
            for &(at, len) in &self.chunks {
                let end = at.saturating_add(len).min(bytes.len() as u64) as usize;
                let start = (at.min(end as u64)) as usize;
                for byte in &mut bytes[start..end] {
                    *byte = byte.reverse_bits();
                }
            }
        }
        if self.colour == Colour::Palette {
            set_grey(&mut bytes, big_endian)
                .ok_or_else(|| corrupt("its directory cannot be read"))?;
        }
        Ok(Some(bytes))
    }
}

/// Declares the first directory's samples as grey levels with black as zero.
fn set_grey(bytes: &mut [u8], big_endian: bool) -> Option<()> {
    let number = |bytes: &[u8], at: usize, len: usize| {
        let part = bytes.get(at..at.checked_add(len)?)?;
        let add = |n: u64, &byte: &u8| n << 8 | u64::from(byte);
        Some(if big_endian { part.iter().fold(0, add) } else { part.iter().rev().fold(0, add) })
    };
    let big = number(bytes, 2, 2)? == 43;
    let (at, offset, count, entry) = if big { (8, 8, 8, 20) } else { (4, 4, 2, 12) };
    let directory = usize::try_from(number(bytes, at, offset)?).ok()?;
    let entries = number(bytes, directory, count)?.min(u64::from(u16::MAX)) as usize;
    for i in 0..entries {
        let at = directory.checked_add(count + i * entry)?;
        if number(bytes, at, 2)? == u64::from(Tag::PhotometricInterpretation.to_u16()) {
            let value = at + if big { 12 } else { 8 };
            let field = bytes.get_mut(value..value + 2)?;
            field.copy_from_slice(&if big_endian { [0, 1] } else { [1, 0] });
            return Some(());
        }
    }
    None
}
