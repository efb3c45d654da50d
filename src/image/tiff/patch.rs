//! Changes of a TIFF's bytes that the `tiff` crate needs, which reads neither palettes nor the other
//! order of bits.

use super::layout::{Colour, Layout};
use super::{corrupt, directory};
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
    let photometric = Tag::PhotometricInterpretation.to_u16();
    let entry = directory::entries(bytes).into_iter().find(|entry| entry.tag == photometric)?;
    let field = bytes.get_mut(entry.value..entry.value + 2)?;
    field.copy_from_slice(&if big_endian { [0, 1] } else { [1, 0] });
    Some(())
}
