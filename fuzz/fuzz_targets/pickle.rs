//! Any bytes as the body of a pickle, in each of the three places that hold one.
//!
//! The first byte chooses the place, so that the fuzzer need not find a container's magic number
//! and directory anew.

#![no_main]

use effnet::weights::import::Checkpoint;
use libfuzzer_sys::fuzz_target;

/// Magic number, protocol and system information of a PyTorch legacy file, and PROTO of its object.
const LEGACY: &[u8] =
    b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\
    \x80\x02}X\x0d\x00\x00\x00little_endian\x88s.\x80\x02";

fuzz_target!(|data: &[u8]| {
    let Some((place, pickle)) = data.split_first() else { return };
    let file = match place % 3 {
        0 => [b"\x80\x02", pickle].concat(),
        1 => [LEGACY, pickle].concat(),
        _ => zip(&[("a/data.pkl", pickle), ("a/data/0", &[0x3f; 256])]),
    };
    let Ok(checkpoint) = Checkpoint::from_bytes(file) else { return };
    for (name, info) in checkpoint.tensors() {
        if let Ok(values) = checkpoint.read_f32(name) {
            assert_eq!(values.len(), info.shape.iter().product::<usize>(), "{name}");
        }
    }
});

/// A zip archive of stored entries; checksums are left zero, which the PyTorch reader accepts.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let offset = file.len() as u32;
        let size = (data.len() as u32).to_le_bytes();
        // Version 2.0, no flags, stored, no time, no checksum; sizes; name's length, no extras.
        let mut fields = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fields.extend_from_slice(&size);
        fields.extend_from_slice(&size);
        fields.extend_from_slice(&(name.len() as u16).to_le_bytes());
        fields.extend_from_slice(&[0, 0]);
        file.extend_from_slice(b"PK\x03\x04");
        file.extend_from_slice(&fields);
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(data);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&fields);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let (at, len) = (file.len() as u32, directory.len() as u32);
    file.extend_from_slice(&directory);
    file.extend_from_slice(b"PK\x05\x06\x00\x00\x00\x00");
    file.extend_from_slice(&count);
    file.extend_from_slice(&count);
    file.extend_from_slice(&len.to_le_bytes());
    file.extend_from_slice(&at.to_le_bytes());
    file.extend_from_slice(&[0, 0]);
    file
}
