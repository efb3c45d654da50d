//! Launches of `kernels/pointwise.cu`.

use super::launch::Check;
use super::params::{
    POINTWISE_LONG_CHUNK, POINTWISE_SHORT_CHUNK, POINTWISE_SHORT_SUM, PointwiseParams,
};
use super::{Geometry, Launch, LaunchError, PointwiseShape, Tiling};

/// The file's stem.
pub const IMAGE: &str = "pointwise";

/// The kernels of the file, one for each of [`TILES`].
pub const ENTRIES: [&str; 6] = [
    "effnet_pointwise_t128x128_f16",
    "effnet_pointwise_t128x64_f16",
    "effnet_pointwise_t128x32_f16",
    "effnet_pointwise_t64x64_f16",
    "effnet_pointwise_t64x32_f16",
    "effnet_pointwise_t32x32_f16",
];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
/// One: the largest tile has it to itself.
pub const RESIDENT_BLOCKS: u32 = 1;

/// Rows and output channels of the tiles.
pub const TILES: [[i32; 2]; 6] = [[128, 128], [128, 64], [128, 32], [64, 64], [64, 32], [32, 32]];

/// Threads of a block, for each of [`TILES`].
const THREADS: [u32; 6] = [256, 256, 128, 128, 128, 128];

/// Time of one product in each of [`TILES`], in hundredths of the first: the fewer outputs a tile
/// has, the more of its time goes into loads. An estimate.
const COSTS: [i64; 6] = [100, 111, 140, 125, 154, 200];

/// Fewest blocks to aim for: one for each multiprocessor of a large GPU.
const BLOCKS: i64 = 132;

/// Outputs of the largest tile that is worth splitting: chunks' sums pass through memory.
const SPLIT_TILE: i32 = 64 * 64;

/// Chunks that the sum over `c_in` channels is made of. Each is summed up from zero, and they are
/// added in order: whatever the tile, split over blocks or not.
pub fn chunks(c_in: i32) -> i32 {
    let is_short = c_in > POINTWISE_LONG_CHUNK && c_in <= POINTWISE_SHORT_SUM;
    let chunk = if is_short { POINTWISE_SHORT_CHUNK } else { POINTWISE_LONG_CHUNK };
    (c_in.max(1) as u32).div_ceil(chunk as u32) as i32
}

/// Tiles and chunks by the shape alone. The bytes of the output do not depend on them; those of the
/// pool's sums do on `tile_rows`, which follows from `pixels` where the output is pooled.
pub fn tiling(shape: PointwiseShape) -> Tiling {
    // The more rows a tile has, the fewer partial sums; few of them may be empty.
    let pooled_rows = match shape.pixels {
        ..=32 => 32,
        33..=256 => 64,
        _ => 128,
    };
    let mut best = None;
    for (&tile, &cost) in TILES.iter().zip(&COSTS) {
        if shape.pooled && tile[0] != pooled_rows {
            continue;
        }
        let whole = tiling_with(shape, tile, false);
        let blocks = output_tiles(shape, &whole);
        let chunks = i64::from(whole.chunks);
        let tile_cost = i64::from(tile[0] * tile[1]) * cost;
        let mut consider = |tiling: Tiling, cost: i64| {
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, tiling));
            }
        };
        consider(whole, tile_cost * blocks.max(BLOCKS));
        if chunks > 1 && blocks < BLOCKS && tile[0] * tile[1] <= SPLIT_TILE {
            // A quarter on top for the way of the chunks' sums through memory.
            let cost = tile_cost * (blocks * chunks).max(BLOCKS) / chunks * 5 / 4;
            consider(tiling_with(shape, tile, true), cost);
        }
    }
    best.expect("there is a tile of each height").1
}

/// The tiling with one of [`TILES`], and chunks split over blocks where there are several and
/// `split` asks for it.
pub fn tiling_with(shape: PointwiseShape, tile: [i32; 2], split: bool) -> Tiling {
    let tiles = |extent: i32, tile: i32| (extent.max(1) as u32).div_ceil(tile as u32) as i32;
    let chunks = chunks(shape.c_in);
    Tiling {
        tile_rows: tile[0],
        tile_cols: tile[1],
        row_tiles: tiles(if shape.pooled { shape.pixels } else { shape.rows }, tile[0]),
        col_tiles: tiles(shape.c_out, tile[1]),
        chunks,
        split: split && chunks > 1,
    }
}

fn output_tiles(shape: PointwiseShape, tiling: &Tiling) -> i64 {
    Tiling { split: true, ..*tiling }.arrivals_elems(shape)
}

/// The launch, or which argument the kernel does not take.
pub fn launch(params: PointwiseParams) -> Result<Launch<PointwiseParams>, LaunchError> {
    launch_with(tiling(shape(&params)), params)
}

fn shape(params: &PointwiseParams) -> PointwiseShape {
    PointwiseShape {
        rows: params.rows,
        pixels: params.pixels,
        c_in: params.c_in,
        c_out: params.c_out,
        pooled: params.partial_sums != 0,
    }
}

/// As [`launch`], with a tiling of [`tiling_with`]. The sum is split where `chunk_sums` is given;
/// where it is not, the same tiles go through the chunks one after the other.
pub fn launch_with(
    tiling: Tiling,
    params: PointwiseParams,
) -> Result<Launch<PointwiseParams>, LaunchError> {
    let p = &params;
    let check = Check(IMAGE);
    for (what, value) in
        [("rows", p.rows), ("pixels", p.pixels), ("c_in", p.c_in), ("c_out", p.c_out)]
    {
        check.at_least(what, value, 1)?;
    }
    check.that(p.rows % p.pixels == 0, "rows", p.rows.into(), "a multiple of pixels")?;
    check.that(p.c_in % 8 == 0, "c_in", p.c_in.into(), "a multiple of 8")?;
    check.that(p.c_out % 8 == 0, "c_out", p.c_out.into(), "a multiple of 8")?;
    check.activation(p.activation)?;

    let shape = shape(p);
    let tile = [tiling.tile_rows, tiling.tile_cols];
    let Some(kernel) = TILES.iter().position(|&t| t == tile) else {
        return Err(LaunchError::NoKernel {
            op: IMAGE,
            asked: format!("tiles of {} x {}", tile[0], tile[1]),
            available: "128 x 128, 128 x 64, 128 x 32, 64 x 64, 64 x 32 and 32 x 32",
        });
    };
    check.that(
        tiling == tiling_with(shape, tile, tiling.split),
        "tiling.row_tiles",
        tiling.row_tiles.into(),
        "the tiling of this shape",
    )?;

    check.elems("input", &[p.rows, p.c_in])?;
    check.elems("weight", &[p.c_out, p.c_in])?;
    check.elems("output", &[p.rows, p.c_out])?;
    check.address("input", p.input, 16)?;
    check.address("weight", p.weight, 16)?;
    if p.scale != 0 || p.shift != 0 {
        check.address("scale", p.scale, 8)?;
        check.address("shift", p.shift, 8)?;
    }
    check.optional("gate", p.gate, 16)?;
    check.optional("skip", p.skip, 16)?;
    if p.partial_sums == 0 {
        check.address("output", p.output, 16)?;
    } else {
        check.optional("output", p.output, 16)?;
        check.address("partial_sums", p.partial_sums, 4)?;
        check.elems("partial_sums", &[p.rows / p.pixels, tiling.row_tiles, p.c_out])?;
    }
    let split = p.chunk_sums != 0;
    if split {
        check.that(tiling.split, "chunk_sums", p.chunk_sums as i64, "null: nothing is split")?;
        check.address("chunk_sums", p.chunk_sums, 8)?;
        check.address("arrivals", p.arrivals, 4)?;
        check.elems("chunk_sums", &[tiling.chunks, p.rows, p.c_out])?;
        check.grid("chunks", tiling.chunks as u32)?;
    }

    let tiles = output_tiles(shape, &tiling);
    check.that(tiles <= i32::MAX.into(), "tiles", tiles, "fewer than 2^31")?;
    let geometry = Geometry {
        grid: [tiles as u32, 1, if split { tiling.chunks as u32 } else { 1 }],
        block: [THREADS[kernel], 1, 1],
        shared_bytes: 0,
    };
    Ok(Launch { image: IMAGE, kernel: ENTRIES[kernel], geometry, params })
}
