//! Launches of `kernels/depthwise.cu`.

use super::launch::{Check, MAX_SHARED_BYTES};
use super::params::{
    DEPTHWISE_GROUP, DEPTHWISE_LANES, DEPTHWISE_STRIP_COLS, DEPTHWISE_STRIP_PIXELS,
    DEPTHWISE_STRIP_ROWS, DEPTHWISE_TILE_STRIPS, DEPTHWISE_WARPS, DepthwiseParams, WARP_SIZE,
};
use super::{Geometry, Launch, LaunchError, squeeze};
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
pub const RESIDENT_BLOCKS: u32 = 2;

/// Bytes of shared memory that the patch of a tile may take in f16: several blocks fit beside each
/// other.
const PATCH_BYTES: u64 = 32 << 10;

/// Tiles of an image from which on they are made long.
const ENOUGH_TILES: u64 = 48;

/// Output rows and columns of a strip in f16.
const STRIP: [i32; 2] = [DEPTHWISE_STRIP_ROWS, DEPTHWISE_STRIP_COLS];

/// Rows and columns of an extent of output under whole strips, and the input under their windows.
fn patch(k: usize, stride: usize, tile: [i32; 2]) -> u64 {
    let side = |axis: usize| {
        let outputs = (tile[axis].max(1) as u64).next_multiple_of(STRIP[axis] as u64);
        (outputs - 1) * stride as u64 + k as u64
    };
    side(0) * side(1)
}

/// Output rows and columns of a tile in f16: by the map and the window alone.
fn tile_f16(k: usize, stride: usize, [h_out, w_out]: [i32; 2]) -> [i32; 2] {
    let pixel = 2 * (DEPTHWISE_GROUP as u64 + 8);
    let fits = |tile| patch(k, stride, tile) * pixel <= PATCH_BYTES;
    // As many columns as four rows leave room for, and then as many rows.
    let most_cols = if fits([STRIP[0], 2 * STRIP[1]]) { 2 * STRIP[1] } else { STRIP[1] };
    let cols = most_cols.min(w_out.max(1));
    // An item for each warp, or two where that leaves tiles enough; a window of five has the larger
    // halo to share.
    let tiles = h_out.max(1).unsigned_abs().div_ceil(4 * STRIP[0] as u32) as u64
        * u64::from(w_out.max(1).unsigned_abs().div_ceil(cols as u32));
    let is_long = k == 5 || tiles >= ENOUGH_TILES;
    let most_rows = if is_long { 4 * STRIP[0] } else { 2 * STRIP[0] };
    let mut rows = STRIP[0];
    while rows < h_out.min(most_rows) && fits([rows + STRIP[0], cols]) {
        rows += STRIP[0];
    }
    [rows.min(h_out.max(1)), cols]
}

/// How one image's output is cut into tiles. A matter of the image's geometry alone, so that the
/// order of the sums is too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    precision: Precision,
    size: [i32; 2],
    tile: [i32; 2],
}

impl Tiles {
    /// Of a window and the size of its output, rows and columns.
    pub fn new(precision: Precision, k: usize, stride: usize, size: [i32; 2]) -> Tiles {
        Tiles { precision, size, tile: tile_f16(k, stride, size) }
    }

    /// Number of tiles: the extent of `partial_sums` and of `squeeze`.
    pub fn count(&self) -> i32 {
        let [h, w] = self.size.map(|side| side.max(0) as u64);
        let tiles = match self.precision {
            Precision::Fp16 => h.div_ceil(self.tile[0] as u64) * w.div_ceil(self.tile[1] as u64),
            Precision::Fp32 => {
                let strips = h * w.div_ceil(DEPTHWISE_STRIP_PIXELS as u64);
                strips.div_ceil(DEPTHWISE_TILE_STRIPS as u64)
            }
        };
        i32::try_from(tiles).unwrap_or(i32::MAX)
    }

    /// The tile that a row and column of the output are in.
    pub fn of(&self, row: usize, col: usize) -> usize {
        match self.precision {
            Precision::Fp16 => {
                let [rows, cols] = self.tile.map(|side| side as usize);
                let down = (self.size[0] as usize).div_ceil(rows);
                col / cols * down + row / rows
            }
            Precision::Fp32 => {
                let strip = DEPTHWISE_STRIP_PIXELS as usize;
                let strips_of_row = (self.size[1] as usize).div_ceil(strip);
                (row * strips_of_row + col / strip) / DEPTHWISE_TILE_STRIPS as usize
            }
        }
    }

    /// Additions that a value of a tile passes through on its way into the tile's sum.
    pub fn additions(&self) -> usize {
        match self.precision {
            // Four rows, two strips, three exchanges, the pairs of strips one after the other.
            Precision::Fp16 => 4 + 1 + 3 + self.pairs() as usize,
            // Four pixels of a strip, the eight strips of a warp in a tree, two warps.
            Precision::Fp32 => 4 + 3 + 1,
        }
    }

    /// Pairs of strips of a tile in f16.
    fn pairs(&self) -> u64 {
        let strips = |axis: usize| (self.tile[axis] as u64).div_ceil(STRIP[axis] as u64);
        (strips(0) * strips(1)).div_ceil(2)
    }
}

/// Twin of the shared memory of `depthwise_f16` in `kernels/depthwise.cu`.
fn shared_bytes(k: usize, stride: usize, tiles: &Tiles, c_se: i32) -> u64 {
    let (group, c_se) = (DEPTHWISE_GROUP as u64, c_se.max(0) as u64);
    let map = patch(k, stride, tiles.tile) * 2 * (group + 8);
    let strips = tiles.pairs() * 2 * 16;
    let sums = (tiles.pairs() + 1) * group * 4;
    map + strips + sums + c_se * 2 * (group + 8) + c_se * 4
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
    let tiles = Tiles::new(precision, k, stride, [p.h_out, p.w_out]);
    let count = tiles.count();
    check.elems("input", &[p.n, p.h_in, p.w_in, p.c])?;
    check.elems("weight", &[k as i32, k as i32, p.c])?;
    check.elems("output", &[p.n, p.h_out, p.w_out, p.c])?;
    check.elems("partial_sums", &[p.n, count, p.c])?;
    check.address("input", p.input, 16)?;
    check.address("weight", p.weight, 16)?;
    check.address("output", p.output, 16)?;
    // Both or neither.
    if p.scale != 0 || p.shift != 0 {
        check.address("scale", p.scale, 16)?;
        check.address("shift", p.shift, 16)?;
    }
    check.optional("partial_sums", p.partial_sums, 16)?;
    check.grid("n", p.n as u32)?;
    let squeezed = squeeze::Squeezed {
        squeeze: p.squeeze,
        reduce_weight: p.reduce_weight,
        extents: [p.n, count, p.c, p.c_se],
        slice: p.slice,
    };
    squeezed.check(&check, precision)?;

    let (geometry, params) = match precision {
        Precision::Fp16 => {
            let [tile_rows, tile_cols] = tiles.tile;
            let block_channels = DEPTHWISE_GROUP.max(p.slice);
            let groups = (p.c as u32).div_ceil(block_channels as u32);
            let shared_bytes = shared_bytes(k, stride, &tiles, p.c_se);
            check.that(
                shared_bytes <= MAX_SHARED_BYTES,
                "c_se",
                p.c_se.into(),
                "few enough values for shared memory",
            )?;
            let geometry = Geometry {
                grid: [count as u32, groups, p.n as u32],
                block: [(DEPTHWISE_WARPS * WARP_SIZE) as u32, 1, 1],
                shared_bytes: shared_bytes as u32,
            };
            (geometry, DepthwiseParams { tile_rows, tile_cols, block_channels, ..params })
        }
        Precision::Fp32 => {
            let group = DEPTHWISE_LANES as u32 * 16 / precision.elem_bytes() as u32;
            let geometry = Geometry {
                grid: [count as u32, (p.c as u32).div_ceil(group), p.n as u32],
                block: [(DEPTHWISE_LANES * DEPTHWISE_TILE_STRIPS) as u32, 1, 1],
                shared_bytes: 0,
            };
            (geometry, params)
        }
    };
    check.grid("channel groups", geometry.grid[1])?;
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}
