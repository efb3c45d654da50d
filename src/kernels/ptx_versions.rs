//! The newest version of PTX that each release of CUDA reads.
//!
//! Source: PTX ISA, "PTX Release History". `build.rs` includes this file as well.

/// A release of CUDA or a version of PTX: the major number, then the minor one.
type Release = (u32, u32);

/// Releases of CUDA, each with the newest PTX that its drivers and its ptxas read; ascending, from
/// the oldest supported release on. Releases that are not here read what the one before them reads.
pub const PTX_OF_CUDA: [(Release, Release); 11] = [
    ((12, 0), (8, 0)),
    ((12, 1), (8, 1)),
    ((12, 2), (8, 2)),
    ((12, 3), (8, 3)),
    ((12, 4), (8, 4)),
    ((12, 5), (8, 5)),
    ((12, 7), (8, 6)),
    ((12, 8), (8, 7)),
    ((12, 9), (8, 8)),
    ((13, 0), (9, 0)),
    ((13, 1), (9, 1)),
];
