//! Any bytes as an ONNX file, and as the program of a Paddle inference model in a tar archive: an
//! error, or tensors of which each is read whole.
//!
//! A Paddle program follows the length of it, in 4 bytes; parameters follow the program.

#![no_main]

use effnet::weights::import::Checkpoint;
use libfuzzer_sys::fuzz_target;

fn read(bytes: Vec<u8>) {
    let Ok(checkpoint) = Checkpoint::from_bytes(bytes) else { return };
    for (name, info) in checkpoint.tensors() {
        if let Ok(values) = checkpoint.read_f32(name) {
            assert_eq!(values.len(), info.shape.iter().product::<usize>(), "{name}");
        }
    }
}

fn entry(archive: &mut Vec<u8>, name: &str, data: &[u8]) {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    header[257..263].copy_from_slice(b"ustar\0");
    archive.extend(header);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

// The first byte says what the rest is; a Paddle program's parameters follow its length.
fuzz_target!(|data: &[u8]| {
    let Some((&form, rest)) = data.split_first() else { return };
    let name = match form % 3 {
        0 => return read(rest.to_vec()),
        1 => "a.pdmodel",
        _ => "a.json",
    };
    let Some((length, rest)) = rest.split_first_chunk() else { return };
    let length = u32::from_le_bytes(*length) as usize;
    let (program, parameters) = rest.split_at(length.min(rest.len()));
    let mut archive = Vec::new();
    entry(&mut archive, name, program);
    entry(&mut archive, "a.pdiparams", parameters);
    read(archive);
});
