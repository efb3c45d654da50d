//! The compressed form in which machine code and PTX are embedded. `src/kernels/packed.rs` reads
//! it.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;

/// A zlib stream: its checksum is looked at when it is unpacked.
pub fn packed(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|e| format!("cannot compress {} bytes: {e}", bytes.len()))
}
