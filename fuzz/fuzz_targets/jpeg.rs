//! Any bytes as a JPEG, by itself and as the one strip of a TIFF, whose directory then has the size
//! and the colours.

#![no_main]

#[path = "shared/preprocess.rs"]
mod preprocess;

use libfuzzer_sys::fuzz_target;

/// Side of the TIFF's picture.
const SIDE: u32 = 16;

fuzz_target!(|data: &[u8]| {
    let mut jpeg = data.to_vec();
    // The fuzzer need not find out how every JPEG begins.
    if jpeg.len() >= 2 {
        jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
    }
    preprocess::check(&jpeg);
    // As RGB, YCbCr or grey; TIFF's numbers of them.
    let colours = [2, 6, 1][data.first().map_or(0, |byte| usize::from(byte % 3))];
    preprocess::check(&tiff(&jpeg, colours));
});

/// A TIFF of one strip that is a JPEG.
fn tiff(jpeg: &[u8], colours: u32) -> Vec<u8> {
    let samples: u32 = if colours == 1 { 1 } else { 3 };
    let mut file = b"II*\0".to_vec();
    file.extend_from_slice(&(8 + jpeg.len().next_multiple_of(2) as u32).to_le_bytes());
    file.extend_from_slice(jpeg);
    file.resize(8 + jpeg.len().next_multiple_of(2), 0);
    // Bits of a sample stand in the entry where there is one of them, else behind the directory.
    let bits = if samples == 1 { 8 } else { file.len() as u32 + 2 + 9 * 12 + 4 };
    // Tag, type (3: 16 bits, 4: 32 bits), count, value.
    let entries: [(u16, u16, u32, u32); 9] = [
        (256, 4, 1, SIDE),
        (257, 4, 1, SIDE),
        (258, 3, samples, bits),
        (259, 3, 1, 7),
        (262, 3, 1, colours),
        (273, 4, 1, 8),
        (277, 3, 1, samples),
        (278, 4, 1, SIDE),
        (279, 4, 1, jpeg.len() as u32),
    ];
    file.extend_from_slice(&(entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&count.to_le_bytes());
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&[8, 0, 8, 0, 8, 0]);
    file
}
