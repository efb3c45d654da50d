//! Launches of `kernels/depthwise.cu`.

use super::launch::Check;
use super::params::{
    DEPTHWISE_LANES, DEPTHWISE_STRIP_PIXELS, DEPTHWISE_TILE_STRIPS, DepthwiseParams,
};
use super::{Geometry, Launch, LaunchError};
use crate::weights::Precision;

/// The file's stem.
pub const IMAGE: &str = "depthwise";

/// The kernels of the file.
pub const ENTRIES: [&str; 8] = [
    "effnet_depthwise_k3s1_f16",
    "effnet_depthwise_k3s2_f16",
    "effnet_depthwise_k5s1_f16",
    "effnet_depthwise_k5s2_f16",
    "effnet_depthwise_k3s1_f32",
    "effnet_depthwise_k3s2_f32",
    "effnet_depthwise_k5s1_f32",
    "effnet_depthwise_k5s2_f32",
];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
pub const RESIDENT_BLOCKS: u32 = 3;

/// Tiles that one image's output is cut into: the extent of `partial_sums`. A matter of the
/// image's geometry alone, so that the order of the sums is too.
pub fn tiles(h_out: i32, w_out: i32) -> i32 {
    let strips_of_row = (w_out.max(0) as u64).div_ceil(DEPTHWISE_STRIP_PIXELS as u64);
    let strips = h_out.max(0) as u64 * strips_of_row;
    i32::try_from(strips.div_ceil(DEPTHWISE_TILE_STRIPS as u64)).unwrap_or(i32::MAX)
}

/// The launch for a `k` x `k` window, or which argument the kernels do not take.
pub fn launch(
    precision: Precision,
    k: usize,
    stride: usize,
    params: DepthwiseParams,
) -> Result<Launch<DepthwiseParams>, LaunchError> {
    let kernel = match (precision, k, stride) {
        (Precision::Fp16, 3, 1) => ENTRIES[0],
        (Precision::Fp16, 3, 2) => ENTRIES[1],
        (Precision::Fp16, 5, 1) => ENTRIES[2],
        (Precision::Fp16, 5, 2) => ENTRIES[3],
        (Precision::Fp32, 3, 1) => ENTRIES[4],
        (Precision::Fp32, 3, 2) => ENTRIES[5],
        (Precision::Fp32, 5, 1) => ENTRIES[6],
        (Precision::Fp32, 5, 2) => ENTRIES[7],
        _ => {
            return Err(LaunchError::NoKernel {
                op: IMAGE,
                asked: format!("k {k}, stride {stride}"),
                available: "k 3 and 5, stride 1 and 2",
            });
        }
    };

    let p = &params;
    let check = Check(IMAGE);
    for (what, value) in [
        ("n", p.n),
        ("h_in", p.h_in),
        ("w_in", p.w_in),
        ("h_out", p.h_out),
        ("w_out", p.w_out),
        ("c", p.c),
    ] {
        check.at_least(what, value, 1)?;
    }
    check.that(p.c % 8 == 0, "c", p.c.into(), "a multiple of 8")?;
    check.window([k, stride], [p.pad_top, p.pad_left], [p.h_in, p.w_in], [p.h_out, p.w_out])?;
    check.activation(p.activation)?;
    let tiles = tiles(p.h_out, p.w_out);
    check.elems("input", &[p.n, p.h_in, p.w_in, p.c])?;
    check.elems("weight", &[k as i32, k as i32, p.c])?;
    check.elems("output", &[p.n, p.h_out, p.w_out, p.c])?;
    check.elems("partial_sums", &[p.n, tiles, p.c])?;
    check.address("input", p.input, 16)?;
    check.address("weight", p.weight, 16)?;
    check.address("output", p.output, 16)?;
    // Both or neither.
    if p.scale != 0 || p.shift != 0 {
        check.address("scale", p.scale, 16)?;
        check.address("shift", p.shift, 16)?;
    }
    check.optional("partial_sums", p.partial_sums, 16)?;

    let group = DEPTHWISE_LANES as u32 * 16 / precision.elem_bytes() as u32;
    let groups = (p.c as u32).div_ceil(group);
    check.grid("channel groups", groups)?;
    check.grid("n", p.n as u32)?;
    let geometry = Geometry {
        grid: [tiles as u32, groups, p.n as u32],
        block: [(DEPTHWISE_LANES * DEPTHWISE_TILE_STRIPS) as u32, 1, 1],
        shared_bytes: 0,
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}
