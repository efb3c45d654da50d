//! Launches of `kernels/squeeze_excite.cu`.

use super::launch::Check;
use super::params::{
    SQUEEZE_EXCITE_MAX_SHARES, SQUEEZE_EXCITE_WARPS, SqueezeExciteParams, WARP_SIZE,
};
use super::{Geometry, Launch, LaunchError};
use crate::weights::Precision;

/// The file's stem.
pub const IMAGE: &str = "squeeze_excite";

/// The kernels of the file.
pub const ENTRIES: [&str; 2] = ["effnet_squeeze_excite_f16", "effnet_squeeze_excite_f32"];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
/// One: there is a block for each image.
pub const RESIDENT_BLOCKS: u32 = 1;

/// Shared memory that every GPU grants a block without being asked.
const SHARED_LIMIT_BYTES: i64 = 48 * 1024;

/// Threads of a block.
const THREADS: i32 = SQUEEZE_EXCITE_WARPS * WARP_SIZE;

/// Number of threads that share the `terms` of each sum, where `threads` threads have a sum each.
fn shares(terms: i32, threads: i32) -> i32 {
    terms.min(SQUEEZE_EXCITE_MAX_SHARES).min(THREADS / threads).max(1)
}

/// The launch, or which argument the kernels do not take.
pub fn launch(
    precision: Precision,
    params: SqueezeExciteParams,
) -> Result<Launch<SqueezeExciteParams>, LaunchError> {
    let kernel = match precision {
        Precision::Fp16 => ENTRIES[0],
        Precision::Fp32 => ENTRIES[1],
    };

    let p = &params;
    let check = Check(IMAGE);
    for (what, value) in
        [("n", p.n), ("tiles", p.tiles), ("pixels", p.pixels), ("c", p.c), ("c_se", p.c_se)]
    {
        check.at_least(what, value, 1)?;
    }
    check.that(p.c % 8 == 0, "c", p.c.into(), "a multiple of 8")?;
    let vector_channels = 16 / precision.elem_bytes() as i32;
    let slices = shares(p.tiles, p.c / 4);
    let parts = shares(p.c_se, p.c / vector_channels);
    let shared_bytes = 4 * (i64::from(slices.max(parts)) * i64::from(p.c) + i64::from(p.c_se));
    check.that(
        shared_bytes <= SHARED_LIMIT_BYTES,
        "what c and c_se need",
        shared_bytes,
        "at most 49152 bytes of shared memory",
    )?;
    check.elems("partial_sums", &[p.n, p.tiles, p.c])?;
    check.elems("reduce_weight", &[p.c_se, p.c])?;
    check.elems("gate", &[p.n, p.c])?;
    for (what, address) in [
        ("partial_sums", p.partial_sums),
        ("reduce_weight", p.reduce_weight),
        ("expand_weight", p.expand_weight),
        ("expand_bias", p.expand_bias),
        ("gate", p.gate),
    ] {
        check.address(what, address, 16)?;
    }
    check.address("reduce_bias", p.reduce_bias, 4)?;

    let geometry = Geometry {
        grid: [p.n as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: shared_bytes as u32,
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}
