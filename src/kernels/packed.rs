//! The compressed form in which `build.rs` embeds machine code and PTX.

use flate2::read::ZlibDecoder;
use std::io::Read;

/// A compressed file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed {
    /// The file's length.
    pub len_bytes: usize,
    /// A zlib stream, which ends in a checksum of the file.
    pub zlib: &'static [u8],
}

/// Machine code or PTX of this program that is not as the build left it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernels of {image} that are embedded in this program are damaged: {damage}; install or \
     build the program again"
)]
pub struct UnpackError {
    /// Stem of the `.cu` file.
    pub image: &'static str,
    /// The fault: found and expected.
    pub damage: String,
}

impl UnpackError {
    pub(super) fn new(image: &'static str, damage: impl ToString) -> UnpackError {
        UnpackError { image, damage: damage.to_string() }
    }
}

impl Packed {
    /// The file. Never more than its recorded length is allocated, and one byte.
    pub fn unpack(&self, image: &'static str) -> Result<Vec<u8>, UnpackError> {
        let mut bytes = Vec::with_capacity(self.len_bytes + 1);
        // A byte more than expected is enough to see that there are more. The stream's end, where
        // its checksum is looked at, is only reached where there are none.
        let mut stream = ZlibDecoder::new(self.zlib).take(self.len_bytes as u64 + 1);
        stream.read_to_end(&mut bytes).map_err(|e| UnpackError::new(image, e))?;
        if bytes.len() == self.len_bytes {
            return Ok(bytes);
        }
        let found = if bytes.len() > self.len_bytes { "more" } else { "fewer" };
        Err(UnpackError::new(
            image,
            format_args!("{found} than the expected {} bytes", self.len_bytes),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::ZlibEncoder};
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn damage_is_an_error() {
        let bytes: Vec<u8> = (0..10_000u32).map(|i| ((i * i) >> 7) as u8).collect();
        let unpack = |len_bytes, zlib: &[u8]| {
            Packed { len_bytes, zlib: zlib.to_vec().leak() }.unpack("depthwise")
        };
        let zlib = packed(&bytes);
        assert_eq!(unpack(bytes.len(), &zlib).unwrap(), bytes);
        assert!(unpack(0, &packed(&[])).unwrap().is_empty());
        let damaged = |len_bytes, zlib: &[u8], says: &str| {
            let error = unpack(len_bytes, zlib).unwrap_err().to_string();
            assert!(error.contains("depthwise") && error.contains(says), "{error}");
        };
        damaged(9_999, &zlib, "more than the expected 9999 bytes");
        damaged(10_001, &zlib, "fewer than the expected 10001 bytes");
        damaged(10_000, &zlib[..zlib.len() / 2], "");
        damaged(10_000, &[], "");
        // The checksum, which is the stream's last four bytes, and the byte before it.
        for back in [1, 4] {
            let mut other = zlib.clone();
            let at = other.len() - back;
            other[at] ^= 1;
            damaged(10_000, &other, "");
        }
    }
}
