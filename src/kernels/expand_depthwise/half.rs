//! How the f16 kernels of `kernels/expand_depthwise.cu` cut a map into tiles, and channels into
//! blocks.

use super::{MAX_SHARED_BYTES, window};
use crate::kernels::params::{
    DEPTHWISE_STRIP_COLS, DEPTHWISE_STRIP_ROWS, EXPAND_DEPTHWISE_STRIPS,
    EXPAND_DEPTHWISE_THREADS_F16,
};

/// Most pixels of the expanded map under the windows of a tile.
const MAX_PATCH_PIXELS: u64 = 640;

// Where a pixel lies, in bytes of what a block keeps, is looked up in 16 bits.
const _: () = assert!(MAX_PATCH_PIXELS * 2 * (GROUPS[1] as u64 + 8) <= 1 << 16);

/// Pixels for which tiles are rather made smaller than channels expanded 16 at a time: the input is
/// read once for each group of channels. What a block keeps of 16 then leaves room for 640 input
/// channels of weights.
const ENOUGH_PATCH_PIXELS: u64 = 448;

/// Most pairs of strips of a tile: of no more pixels than that.
const MAX_PAIRS: u64 = EXPAND_DEPTHWISE_STRIPS as u64 / 2;

/// Channels that a block expands at a time.
const GROUPS: [i32; 2] = [16, 32];

/// Size of `ExpandPlace`.
const PLACE_BYTES: u64 = 80;

/// Rows and columns of a strip of output pixels.
const STRIP_ROWS: u64 = DEPTHWISE_STRIP_ROWS as u64;
const STRIP_COLS: u64 = DEPTHWISE_STRIP_COLS as u64;

/// What a tile costs besides its pixels, in expanded pixels: barriers, weights, and warps that wait
/// for others. A weight of the choice of tiles, as the following; a model, not a measurement.
const COST_OF_TILE: u64 = 40;

/// What an output pixel costs, in expanded pixels.
const COST_OF_OUTPUT: u64 = 1;

/// Blocks that a launch should have, where there are enough channels: some for each multiprocessor
/// of a large GPU.
const ENOUGH_BLOCKS: u64 = 400;

/// Blocks below which channels are expanded 16 at a time rather than 32.
const FEW_BLOCKS: u64 = 264;

/// An axis of the output, as far as the choice of tiles looks: beyond all maps that there are, and
/// below what the sums hold.
fn extent(side: i32) -> u64 {
    side.clamp(1, 1 << 20) as u64
}

/// Pixels of one axis under `outputs` windows.
fn span(k: usize, stride: usize, outputs: u64) -> u64 {
    outputs.saturating_sub(1) * stride as u64 + k as u64
}

/// Pixels of one axis that all tiles of `side` outputs expand, those outside the image left out. The
/// padding is taken as symmetric.
fn expanded(k: usize, stride: usize, outputs: u64, side: u64) -> u64 {
    let pad = (k.saturating_sub(stride) / 2) as u64;
    let end_of_image = outputs * stride as u64 + pad;
    let tiles = outputs.div_ceil(side);
    // Pixels from the first padded one on.
    let start = |tile: u64| tile * side * stride as u64;
    let end = |tile: u64| start(tile) + span(k, stride, side.min(outputs - tile * side));
    let last = tiles - 1;
    let all = last * span(k, stride, side) + end(last) - start(last);
    let before: u64 = (0..tiles).map_while(|tile| pad.checked_sub(start(tile))).sum();
    let after: u64 = (0..tiles).rev().map_while(|tile| end(tile).checked_sub(end_of_image)).sum();
    all - before - after
}

/// Strips of a tile, down and across.
fn strips(tile: [i32; 2]) -> [u64; 2] {
    let [rows, cols] = tile.map(|side| side as u64);
    [rows.div_ceil(STRIP_ROWS), cols.div_ceil(STRIP_COLS)]
}

/// Pairs of strips of a tile: a warp makes one at a time.
pub fn pairs(tile: [i32; 2]) -> u64 {
    strips(tile).iter().product::<u64>().div_ceil(2)
}

/// Pixels of the expanded map that a block keeps of its tile: those under the windows of all strips.
fn patch_pixels(k: usize, stride: usize, tile: [i32; 2]) -> u64 {
    let [down, across] = strips(tile);
    span(k, stride, down * STRIP_ROWS) * span(k, stride, across * STRIP_COLS)
}

/// Most pixels that a block of a layer with `c_in` input channels, and a squeeze to a quarter of
/// them, has room for: those of 32 channels, or of 16 where they would be few.
pub fn most_pixels(k: usize, c_in: i32) -> u64 {
    let channels = [c_in, c_in.saturating_add(3) / 4];
    let has_room =
        |group, pixels| shared_bytes(k, group, [pixels, MAX_PAIRS], channels) <= MAX_SHARED_BYTES;
    let pixels = || (ENOUGH_PATCH_PIXELS..=MAX_PATCH_PIXELS).rev().step_by(32);
    let of_wide = pixels().find(|&pixels| has_room(GROUPS[1], pixels));
    let of_narrow = || pixels().find(|&pixels| has_room(GROUPS[0], pixels));
    of_wide.or_else(of_narrow).unwrap_or(ENOUGH_PATCH_PIXELS)
}

/// Rows and columns of output pixels of a tile: those with which the kernel computes least, by the
/// weights above. A matter of the layer's geometry alone.
pub fn tile(k: usize, stride: usize, [h_out, w_out]: [i32; 2], c_in: i32) -> [i32; 2] {
    let most_pixels = most_pixels(k, c_in);
    let [h, w] = [h_out, w_out].map(extent);
    let mut best = (u64::MAX, [1, STRIP_COLS.min(w) as i32]);
    for cols in (1..=w.div_ceil(STRIP_COLS)).map(|strips| (strips * STRIP_COLS).min(w)) {
        if patch_pixels(k, stride, [1, cols as i32]) > most_pixels {
            break;
        }
        let wide = expanded(k, stride, w, cols);
        for rows in 1..=h {
            let tile = [rows as i32, cols as i32];
            if patch_pixels(k, stride, tile) > most_pixels {
                break;
            }
            let tiles = h.div_ceil(rows) * w.div_ceil(cols);
            let cost = expanded(k, stride, h, rows) * wide
                + COST_OF_OUTPUT * h * w.next_multiple_of(STRIP_COLS)
                + COST_OF_TILE * tiles;
            best = best.min((cost, tile));
        }
    }
    best.1
}

/// Pixels of the expanded map that all tiles of an image compute.
pub fn expanded_pixels(k: usize, stride: usize, output: [i32; 2], tile: [i32; 2]) -> u64 {
    let [rows, cols] = tile.map(|side| side as u64);
    let [h, w] = output.map(extent);
    expanded(k, stride, h, rows) * expanded(k, stride, w, cols)
}

/// Twin of `expand_place` in `kernels/tile_expand_depthwise_f16.cuh`: of a patch of `patch` pixels and
/// `pairs` of strips, with `c_in` input channels and `c_se` rows of the squeeze's weight.
fn shared_bytes(k: usize, group: i32, [patch, pairs]: [u64; 2], [c_in, c_se]: [i32; 2]) -> u64 {
    let [c_in, c_se] = [c_in, c_se].map(|channels| channels.max(0) as u64);
    let group = group as u64;
    let pitch = c_in.next_multiple_of(32) + 8;
    let mid = 2 * patch * (group + 8);
    let weight = group * (2 * 4 + 2 * pitch);
    let places = 16 * EXPAND_DEPTHWISE_STRIPS as u64 + (4 + 2) * patch.next_multiple_of(32);
    let sums = 4 * pairs * group;
    let depthwise = group * (2 * 4 + 2 * (k * k) as u64);
    let squeeze = 4 * (group + c_se.next_multiple_of(4)) + 2 * c_se * (group + 8);
    PLACE_BYTES + places + mid + weight + sums + depthwise + squeeze
}

/// Whether the weights of `c_in` input channels, and of a squeeze to a quarter of them, leave room
/// for a tile of any map.
pub fn fits(k: usize, stride: usize, c_in: i32) -> bool {
    window(k, stride).is_some()
        && c_in < 1 << 20
        && shared_bytes(k, GROUPS[0], [ENOUGH_PATCH_PIXELS, MAX_PAIRS], [c_in, c_in / 4])
            <= MAX_SHARED_BYTES
}

/// What of a launch depends on the batch. No byte of the output does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Whether a block expands 32 channels at a time, not 16.
    pub wide: bool,
    /// Expanded channels of a block.
    pub channels: i32,
    /// Blocks along the channels.
    pub ranges: u32,
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
}

/// Blocks of a launch on `n` images of `[c_in, c_mid]` channels. A block has whole slices of
/// `slice` channels, or any where `slice` is 0.
pub fn blocks(
    k: usize,
    stride: usize,
    n: i32,
    output: [i32; 2],
    [c_in, c_mid, c_se]: [i32; 3],
    slice: i32,
) -> Blocks {
    let tile = tile(k, stride, output, c_in);
    let patch = patch_pixels(k, stride, tile);
    let pairs = pairs(tile);
    let tiles = tile_count(tile, output) * n.max(1) as u64;
    let [c, slice] = [c_mid, slice].map(|channels| channels.max(0) as u64);
    let bytes = GROUPS.map(|group| shared_bytes(k, group, [patch, pairs], [c_in, c_se]));
    let wide = bytes[1] <= MAX_SHARED_BYTES
        && (slice >= GROUPS[1] as u64 || tiles * c.div_ceil(GROUPS[1] as u64) >= FEW_BLOCKS);
    let unit = slice.max(GROUPS[usize::from(wide)] as u64);
    let units = c.div_ceil(unit).max(1);
    // As few ranges as fill the device: each reads the input once more.
    let units_of_block = (units * tiles / ENOUGH_BLOCKS).clamp(1, units);
    Blocks {
        wide,
        channels: i32::try_from(units_of_block * unit).unwrap_or(i32::MAX),
        ranges: units.div_ceil(units_of_block) as u32,
        shared_bytes: u32::try_from(bytes[usize::from(wide)]).unwrap_or(u32::MAX),
    }
}

/// Tiles of a map.
pub fn tile_count([rows, cols]: [i32; 2], [h_out, w_out]: [i32; 2]) -> u64 {
    let count = |extent: i32, side: i32| (extent.max(0) as u64).div_ceil(side as u64);
    count(h_out, rows) * count(w_out, cols)
}

/// Threads of a block.
pub const THREADS: u32 = EXPAND_DEPTHWISE_THREADS_F16 as u32;

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel has room for where so many strips lie, and no more.
    #[test]
    fn a_patch_has_room_for_no_more_strips_than_are_looked_up() {
        for (k, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            for [down, across] in
                (1..=80).flat_map(|down| (1..=80).map(move |across| [down, across]))
            {
                let tile = [down * STRIP_ROWS, across * STRIP_COLS].map(|side| side as i32);
                if patch_pixels(k, stride, tile) <= MAX_PATCH_PIXELS {
                    assert!(pairs(tile) <= MAX_PAIRS, "k{k}s{stride}, {down} x {across} strips");
                }
            }
        }
    }
}
