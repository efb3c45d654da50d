//! Launches of `kernels/pointwise.cu`.

use super::launch::Check;
use super::params::{
    POINTWISE_TILE_COLS, POINTWISE_TILE_ROWS, POINTWISE_WARPS, PointwiseParams, WARP_SIZE,
};
use super::{Geometry, Launch, LaunchError};
use crate::weights::Precision;

/// The file's stem.
pub const IMAGE: &str = "pointwise";

/// The kernels of the file.
pub const ENTRIES: [&str; 1] = ["effnet_pointwise_f16"];

/// The launch, or which argument the kernel does not take.
pub fn launch(
    precision: Precision,
    params: PointwiseParams,
) -> Result<Launch<PointwiseParams>, LaunchError> {
    let kernel = match precision {
        Precision::Fp16 => ENTRIES[0],
        Precision::Fp32 => {
            return Err(LaunchError::NoKernel {
                op: IMAGE,
                asked: precision.to_string(),
                available: "fp16",
            });
        }
    };

    let p = &params;
    let check = Check(IMAGE);
    for (what, value) in
        [("rows", p.rows), ("pixels", p.pixels), ("c_in", p.c_in), ("c_out", p.c_out)]
    {
        check.at_least(what, value, 1)?;
    }
    check.that(p.rows % p.pixels == 0, "rows", p.rows.into(), "a multiple of pixels")?;
    check.that(p.c_in % 8 == 0, "c_in", p.c_in.into(), "a multiple of 8")?;
    check.that(p.c_out % 2 == 0, "c_out", p.c_out.into(), "an even number")?;
    check.activation(p.activation)?;
    // Tiles reach past the last row and column, and those indices must not overflow either.
    check.elems("input", &[p.rows.saturating_add(POINTWISE_TILE_ROWS), p.c_in])?;
    check.elems("weight", &[p.c_out.saturating_add(POINTWISE_TILE_COLS), p.c_in])?;
    check.elems("output", &[p.rows, p.c_out])?;
    check.address("input", p.input, 16)?;
    check.address("weight", p.weight, 16)?;
    check.address("scale", p.scale, 8)?;
    check.address("shift", p.shift, 8)?;
    check.optional("gate", p.gate, 8)?;
    check.optional("skip", p.skip, 4)?;
    check.address("output", p.output, 4)?;

    let cols = (p.c_out as u32).div_ceil(POINTWISE_TILE_COLS as u32);
    check.grid("c_out / 64", cols)?;
    let geometry = Geometry {
        grid: [(p.rows as u32).div_ceil(POINTWISE_TILE_ROWS as u32), cols, 1],
        block: [(POINTWISE_WARPS * WARP_SIZE) as u32, 1, 1],
        shared_bytes: 0,
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}
