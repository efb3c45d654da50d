//! Launches of `kernels/squeeze_excite.cu`.

use super::launch::Check;
use super::params::{SQUEEZE_EXCITE_WARPS, SqueezeExciteParams, WARP_SIZE};
use super::{Geometry, Launch, LaunchError};
use crate::weights::Precision;

/// The file's stem.
pub const IMAGE: &str = "squeeze_excite";

/// The kernels of the file.
pub const ENTRIES: [&str; 2] = ["effnet_squeeze_excite_f16", "effnet_squeeze_excite_f32"];

/// Shared memory that every GPU grants a block without being asked.
const SHARED_LIMIT_BYTES: i64 = 48 * 1024;

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
    let shared_bytes = 4 * (i64::from(p.c) + i64::from(p.c_se));
    check.that(
        shared_bytes <= SHARED_LIMIT_BYTES,
        "4 * (c + c_se)",
        shared_bytes,
        "at most 49152 bytes of shared memory",
    )?;
    check.elems("partial_sums", &[p.n, p.tiles, p.c])?;
    check.elems("reduce_weight", &[p.c_se, p.c])?;
    check.elems("gate", &[p.n, p.c])?;
    let elem_bytes = precision.elem_bytes() as u64;
    check.address("reduce_weight", p.reduce_weight, elem_bytes)?;
    check.address("expand_weight", p.expand_weight, elem_bytes)?;
    for (what, address) in [
        ("partial_sums", p.partial_sums),
        ("reduce_bias", p.reduce_bias),
        ("expand_bias", p.expand_bias),
        ("gate", p.gate),
    ] {
        check.address(what, address, 4)?;
    }

    let geometry = Geometry {
        grid: [p.n as u32, 1, 1],
        block: [(SQUEEZE_EXCITE_WARPS * WARP_SIZE) as u32, 1, 1],
        shared_bytes: shared_bytes as u32,
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}
