//! Any bytes as a checkpoint: an error, or tensors of which each is read whole.
//!
//! Real files make good seeds: `cargo fuzz run checkpoint fuzz/corpus/checkpoint tests/fixtures`.

#![no_main]

use effnet::weights::import::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(checkpoint) = Checkpoint::from_bytes(data.to_vec()) else { return };
    for (name, info) in checkpoint.tensors() {
        if let Ok(values) = checkpoint.read_f32(name) {
            assert_eq!(values.len(), info.shape.iter().product::<usize>(), "{name}");
        }
    }
});
