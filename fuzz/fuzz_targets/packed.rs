//! Bytes as a packed file, and as the header of one whose data are zeros (a real file's data would
//! drown the header, where all decisions are made): opening answers, and the tensors of a file that
//! it accepts can be viewed.
//!
//! A seed is the header of any packed file: `tail -c +9 FILE | head -c N`, with N the first 8
//! bytes.

#![no_main]

use effnet::weights::{TensorId, Weights};
use libfuzzer_sys::fuzz_target;

/// Longest data that a header may ask for here: a packed Lite0 with few classes has 7 MB.
const MAX_DATA_BYTES: u64 = 1 << 24;

fuzz_target!(|data: &[u8]| {
    open(data);
    let Ok(header) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let ends = header
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, tensor)| tensor.get("data_offsets")?.get(1)?.as_u64());
    let data_bytes = ends.max().unwrap_or(0);
    if data_bytes <= MAX_DATA_BYTES {
        let mut file = (data.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(data);
        file.resize(file.len() + data_bytes as usize, 0);
        open(&file);
    }
});

fn open(file: &[u8]) {
    let Ok(weights) = Weights::from_bytes(file) else { return };
    for (index, tensor) in weights.tensors().iter().enumerate() {
        let id = TensorId(index as u32);
        let elems = weights.f32(id).map_or(0, <[_]>::len) + weights.f16(id).map_or(0, <[_]>::len);
        assert_eq!(elems, tensor.elems(), "{}", tensor.name());
    }
}
