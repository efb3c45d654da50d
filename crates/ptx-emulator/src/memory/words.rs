//! The data of an access.

use crate::registers::LANES;

/// Data of a warp's access, by word: `words[i][lane]` is word `i` of the lane. Accesses of 1 and 2
/// bytes have theirs zero-extended in word 0; 8 bytes are two words, 16 four.
pub(crate) type Words = [[u32; LANES]; 4];

/// Writes a lane's bytes into the words that its width has.
pub(super) fn put(out: &mut Words, lane: usize, width: u32, bytes: [u8; 16]) {
    let (words, _) = bytes.as_chunks();
    for (out, &word) in out.iter_mut().zip(words).take(width.div_ceil(4) as usize) {
        out[lane] = u32::from_le_bytes(word);
    }
}

/// Byte `index` of a lane's data.
pub(super) fn byte(data: &Words, lane: usize, index: u32) -> u8 {
    (data[index as usize / 4][lane] >> (8 * (index % 4))) as u8
}

/// One bit for each of `width` bytes from byte `offset` of a word on.
#[inline(always)]
pub(super) fn bytes_of_word(offset: u64, width: u32) -> u8 {
    ((1 << width) - 1) << (offset % 4)
}
