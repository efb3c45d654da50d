//! The bytes of a buffer, in chunks that are made when something first writes to them.
//!
//! A buffer takes memory only where it is used: 16 bytes for each chunk of 64 KiB, and the chunk
//! itself once something is written there, or its accesses are recorded. What has no chunk is zeros
//! that nothing has written.

use super::pages::{CELLS, Page};
use super::values::State;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

/// Bytes of a chunk: a whole number of pages of records, whatever a cell's size, so that no access
/// that is aligned lies in two.
pub(super) const CHUNK_BYTES: usize = 1 << 16;

/// A part of a buffer's bytes.
pub(super) struct Chunk {
    pub words: Box<[AtomicU32]>,
    /// For each word, a bit for each of its bytes that has been written; none: all have been.
    pub written: Option<Box<[AtomicU8]>>,
    /// Records of accesses; none before the first.
    pages: OnceLock<Box<[OnceLock<Box<Page>>]>>,
}

impl Chunk {
    fn new(bytes: usize, is_written: bool) -> Chunk {
        let words = bytes.div_ceil(4);
        Chunk {
            words: (0..words).map(|_| AtomicU32::new(0)).collect(),
            written: (!is_written).then(|| (0..words).map(|_| AtomicU8::new(0)).collect()),
            pages: OnceLock::new(),
        }
    }

    /// The records of a page's cells.
    pub fn page(&self, index: usize, granule_shift: u32) -> &Page {
        let count = (4 * self.words.len()).div_ceil(CELLS << granule_shift);
        let pages = self.pages.get_or_init(|| (0..count).map(|_| OnceLock::new()).collect());
        pages[index].get_or_init(Box::default)
    }

    pub fn mark_written(&self, word: usize, bytes: u8) {
        if let Some(written) = &self.written {
            written[word].add(bytes);
        }
    }
}

/// The chunks of one buffer.
pub(super) struct Chunks {
    bytes: usize,
    /// Whether bytes count as written before anything writes them.
    is_written: bool,
    chunks: Box<[OnceLock<Box<Chunk>>]>,
}

/// Values of a buffer, and which of its bytes have been written, at one time: chunk by chunk.
pub(super) struct Kept(Vec<Option<KeptChunk>>);

struct KeptChunk {
    words: Vec<u32>,
    written: Option<Vec<u8>>,
}

impl Chunks {
    /// Zeros.
    pub fn new(bytes: usize, is_written: bool) -> Chunks {
        let count = bytes.div_ceil(CHUNK_BYTES);
        Chunks { bytes, is_written, chunks: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// Bytes of a chunk; 0 where the buffer has none.
    #[inline(always)]
    pub fn bytes_of(&self, index: usize) -> usize {
        self.bytes.saturating_sub(index.saturating_mul(CHUNK_BYTES)).min(CHUNK_BYTES)
    }

    /// None: zeros that nothing has written.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Option<&Chunk> {
        self.chunks[index].get().map(Box::as_ref)
    }

    #[inline(always)]
    pub fn make(&self, index: usize) -> &Chunk {
        self.chunks[index]
            .get_or_init(|| Box::new(Chunk::new(self.bytes_of(index), self.is_written)))
    }

    /// Whether bytes of what has no chunk count as written.
    #[inline(always)]
    pub fn is_written(&self) -> bool {
        self.is_written
    }

    /// Appends bytes of a part of the buffer.
    pub fn read(&self, part: Range<usize>, out: &mut Vec<u8>) {
        out.reserve(part.len());
        let mut at = part.start;
        while at < part.end {
            let (index, start) = (at / CHUNK_BYTES, at % CHUNK_BYTES);
            let end = (start + part.end - at).min(CHUNK_BYTES);
            let length = out.len() + end - start;
            match self.get(index) {
                None => out.resize(length, 0),
                Some(chunk) => {
                    let words = &chunk.words[start / 4..end.div_ceil(4)];
                    let bytes = words.iter().flat_map(|word| word.load(Relaxed).to_le_bytes());
                    out.extend(bytes.skip(start % 4).take(end - start));
                }
            }
            at += end - start;
        }
    }

    /// How many bytes of a part of the buffer have been written.
    pub fn written_in(&self, part: Range<usize>) -> usize {
        let mut count = 0;
        let mut at = part.start;
        while at < part.end {
            let (index, start) = (at / CHUNK_BYTES, at % CHUNK_BYTES);
            let end = (start + part.end - at).min(CHUNK_BYTES);
            count += match self.get(index).map(|chunk| &chunk.written) {
                None if !self.is_written => 0,
                None | Some(None) => end - start,
                Some(Some(written)) => {
                    let is_written =
                        |&at: &usize| written[at / 4].load(Relaxed) >> (at % 4) & 1 != 0;
                    (start..end).filter(is_written).count()
                }
            };
            at += end - start;
        }
        count
    }

    /// Forgets recorded accesses. Cells that are to be of another size get pages anew.
    pub fn forget(&mut self, same_granule: bool) {
        for chunk in self.chunks.iter_mut().filter_map(OnceLock::get_mut) {
            if !same_granule {
                chunk.pages.take();
            }
            let pages = chunk.pages.get_mut().into_iter().flatten();
            pages.filter_map(OnceLock::get_mut).for_each(|page| page.clear());
        }
    }

    pub fn keep(&self) -> Kept {
        let keep = |chunk: &Chunk| {
            let words = chunk.words.iter().map(|word| word.load(Relaxed)).collect();
            let written = chunk.written.as_ref();
            let written = written.map(|bytes| bytes.iter().map(|b| b.load(Relaxed)).collect());
            KeptChunk { words, written }
        };
        Kept((0..self.chunks.len()).map(|index| self.get(index).map(keep)).collect())
    }

    pub fn restore(&mut self, kept: &Kept) {
        for (slot, kept) in self.chunks.iter_mut().zip(&kept.0) {
            let Some(KeptChunk { words, written }) = kept else {
                slot.take();
                continue;
            };
            let Some(chunk) = slot.get_mut() else { continue };
            for (word, &value) in chunk.words.iter_mut().zip(words) {
                *word.get_mut() = value;
            }
            let states = chunk.written.iter_mut().flatten();
            for (state, &bytes) in states.zip(written.iter().flatten()) {
                *state.get_mut() = bytes;
            }
        }
    }
}
