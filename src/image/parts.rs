//! A file as a decoder reads it, without the bytes that the picture does not need.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

/// Slices, read one after the other.
pub(super) struct Parts<'a> {
    parts: Vec<&'a [u8]>,
    /// The part that is read, and how far.
    part: usize,
    at: usize,
}

impl<'a> Parts<'a> {
    pub(super) fn new(parts: Vec<&'a [u8]>) -> Parts<'a> {
        Parts { parts, part: 0, at: 0 }
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(to)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Parts<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while let Some(part) = self.parts.get(self.part) {
            if self.at < part.len() {
                return Ok(&part[self.at..]);
            }
            (self.part, self.at) = (self.part + 1, 0);
        }
        Ok(&[])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

/// Which decoders ask for by their types, and do not use.
impl Seek for Parts<'_> {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_turn() {
        let mut read = Vec::new();
        Parts::new(vec![b"one", b"", b" and ", b"two"]).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"one and two");
        assert_eq!(Parts::new(vec![]).read_to_end(&mut read).unwrap(), 0);
    }
}
