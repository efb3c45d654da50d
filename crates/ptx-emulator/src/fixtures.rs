//! PTX of nvcc 13.0 for compute_90, made from the CUDA C++ of `tests/cuda` with `-lineinfo`.

/// Name and text.
pub(crate) const NVCC: [(&str, &str); 5] = [
    ("cluster", include_str!("../tests/fixtures/cluster.ptx")),
    ("local_array", include_str!("../tests/fixtures/local_array.ptx")),
    ("pipeline", include_str!("../tests/fixtures/pipeline.ptx")),
    ("reduction", include_str!("../tests/fixtures/reduction.ptx")),
    ("transpose", include_str!("../tests/fixtures/transpose.ptx")),
];
