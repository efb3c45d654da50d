//! Launches of `kernels/pointwise_f32.cu`.

use super::launch::Check;
use super::params::PointwiseParams;
use super::{Compute, Geometry, Launch, LaunchError, PointwiseShape, Tiling};

/// The file's stem.
pub const IMAGE: &str = "pointwise_f32";

/// The kernels of the file.
pub const ENTRIES: [&str; 8] = [
    "effnet_pointwise_64x64_f32",
    "effnet_pointwise_64x32_f32",
    "effnet_pointwise_32x32_f32",
    "effnet_pointwise_16x32_f32",
    "effnet_pointwise_64x64_tf32",
    "effnet_pointwise_64x32_tf32",
    "effnet_pointwise_32x32_tf32",
    "effnet_pointwise_16x32_tf32",
];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
pub const RESIDENT_BLOCKS: u32 = 2;

/// Rows, output channels and threads of the tiles, in the order of the kernels of each precision.
const TILES: [(i32, i32, u32); 4] = [(64, 64, 128), (64, 32, 64), (32, 32, 64), (16, 32, 64)];

/// Input channels of one chunk: `kChunkChannels`. The same for all, so that the order of every sum
/// is that of its channels alone.
const CHUNK_CHANNELS: i32 = 128;

/// Fewest blocks that a launch should have, so that every multiprocessor of a large GPU has one.
const BLOCKS: i64 = 132;

/// A gate changes nothing of how these kernels are cut.
const UNGATED: PointwiseShape = PointwiseShape::EMPTY;

/// Cut of a convolution into blocks. Where its output is pooled, the tiles are a matter of one
/// image's geometry, as the order of the sums over its pixels is.
pub fn tiling(shape: PointwiseShape) -> Tiling {
    let extent = |x: i32| i64::from(x.max(1)) as u64;
    let tiles = |x: i32, of: i32| extent(x).div_ceil(of as u64) as i32;
    let rows = if shape.pooled { shape.pixels } else { shape.rows };
    let chunks = tiles(shape.c_in, CHUNK_CHANNELS);
    let cut = |(tile_rows, tile_cols, _): (i32, i32, u32)| Tiling {
        tile_rows,
        tile_cols,
        warps: [0, 0],
        row_tiles: tiles(rows, tile_rows),
        col_tiles: tiles(shape.c_out, tile_cols),
        chunks,
        split: false,
    };
    let enough = |tiling: &Tiling| {
        let chunks = if tiling.split { tiling.chunks } else { 1 };
        let tiles = i64::from(tiling.row_tiles) * i64::from(tiling.col_tiles);
        tiles * i64::from(chunks) >= BLOCKS
    };

    let [wide, narrow, small, smallest] = TILES.map(cut);
    // Wide tiles read x less often; narrow ones where these would be part empty by an eighth.
    let large = if 8 * narrow.col_tiles <= 7 * 2 * wide.col_tiles { narrow } else { wide };
    let split = |tiling| Tiling { split: chunks > 1, ..tiling };
    let candidates = [large, small, smallest, split(small)];
    candidates.into_iter().find(enough).unwrap_or(split(smallest))
}

/// The launch, or which argument the kernels do not take. Chunks are split over blocks where
/// `chunk_sums` is given, whatever [`tiling`] says.
pub fn launch(
    compute: Compute,
    params: PointwiseParams,
) -> Result<Launch<PointwiseParams>, LaunchError> {
    let entries = match compute {
        Compute::Fp32 => &ENTRIES[..4],
        Compute::Tf32 => &ENTRIES[4..],
        Compute::Fp16 => {
            return Err(LaunchError::NoKernel {
                op: IMAGE,
                asked: compute.to_string(),
                available: "fp32 and tf32",
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
    check.that(p.c_out % 8 == 0, "c_out", p.c_out.into(), "a multiple of 8")?;
    check.activation(p.activation)?;

    let pooled = p.partial_sums != 0;
    let split = p.chunk_sums != 0;
    let PointwiseParams { rows, pixels, c_in, c_out, .. } = params;
    let tiling = tiling(PointwiseShape { rows, pixels, c_in, c_out, pooled, ..UNGATED });
    let images = if pooled { rows / pixels } else { 1 };
    check.elems("input", &[rows, c_in])?;
    check.elems("weight", &[c_out, c_in])?;
    check.elems("output", &[rows, c_out])?;
    if split {
        check.elems("chunk_sums", &[tiling.chunks, rows, c_out])?;
    }
    check.address("input", p.input, 16)?;
    check.address("weight", p.weight, 16)?;
    if p.scale != 0 || p.shift != 0 {
        check.address("scale", p.scale, 16)?;
        check.address("shift", p.shift, 16)?;
    }
    check.optional("gate", p.gate, 16)?;
    check.optional("skip", p.skip, 16)?;
    check.optional("partial_sums", p.partial_sums, 16)?;
    if !pooled || p.output != 0 {
        check.address("output", p.output, 16)?;
    }
    if split || p.arrivals != 0 {
        check.address("chunk_sums", p.chunk_sums, 16)?;
        check.address("arrivals", p.arrivals, 4)?;
    }

    check.grid("tiles of c_out", tiling.col_tiles as u32)?;
    check.grid("chunks of c_in", tiling.chunks as u32)?;
    let (i, (_, _, threads)) = TILES
        .into_iter()
        .enumerate()
        .find(|(_, (rows, cols, _))| (*rows, *cols) == (tiling.tile_rows, tiling.tile_cols))
        .expect("a tile of the list");
    let chunks = if split { tiling.chunks as u32 } else { 1 };
    let geometry = Geometry {
        // No more than there are rows.
        grid: [(images * tiling.row_tiles) as u32, tiling.col_tiles as u32, chunks],
        block: [threads, 1, 1],
        shared_bytes: 0,
    };
    Ok(Launch { image: IMAGE, kernel: entries[i], geometry, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(rows: i32, pixels: i32, c_in: i32, c_out: i32) -> PointwiseShape {
        PointwiseShape { rows, pixels, c_in, c_out, ..UNGATED }
    }

    fn params() -> PointwiseParams {
        PointwiseParams {
            input: 0x1000,
            weight: 0x2000,
            scale: 0x3000,
            shift: 0x4000,
            gate: 0x5000,
            skip: 0x6000,
            output: 0x7000,
            rows: 98,
            pixels: 49,
            c_in: 1152,
            c_out: 192,
            activation: 2,
            ..PointwiseParams::default()
        }
    }

    fn split() -> PointwiseParams {
        PointwiseParams { chunk_sums: 0x8000, arrivals: 0x9000, ..params() }
    }

    #[test]
    fn chunk_has_a_twin() {
        let source = include_str!("../../kernels/tile_pointwise_f32.cuh");
        assert!(source.contains(&format!("constexpr int kChunkChannels = {CHUNK_CHANNELS};")));
    }

    #[test]
    fn tiles_follow_the_shape() {
        let tile = |s| {
            let t = tiling(s);
            ([t.tile_rows, t.tile_cols], [t.row_tiles, t.col_tiles, t.chunks], t.split)
        };
        assert_eq!(tile(shape(12544, 12544, 32, 16)), ([64, 32], [196, 1, 1], false));
        assert_eq!(tile(shape(3136, 3136, 24, 144)), ([64, 32], [49, 5, 1], false));
        assert_eq!(tile(shape(49 * 64, 49, 192, 1152)), ([64, 64], [49, 18, 2], false));
        assert_eq!(tile(shape(49, 49, 1152, 320)), ([32, 32], [2, 10, 9], true));
        assert_eq!(tile(shape(49, 49, 1152, 192)), ([16, 32], [4, 6, 9], true));
        assert_eq!(tile(shape(784, 784, 40, 240)), ([32, 32], [25, 8, 1], false));
        assert_eq!(tile(shape(196, 196, 80, 480)), ([16, 32], [13, 15, 1], false));
        assert_eq!(tile(shape(1, 1, 8, 8)), ([16, 32], [1, 1, 1], false));
    }

    #[test]
    fn pooled_tiles_do_not_depend_on_the_batch() {
        for (pixels, c_in, c_out) in [(49, 320, 1280), (144, 384, 1536), (1, 320, 1280)] {
            let one = PointwiseShape { pooled: true, ..shape(pixels, pixels, c_in, c_out) };
            for n in [2, 7, 128] {
                assert_eq!(tiling(one), tiling(PointwiseShape { rows: n * pixels, ..one }));
            }
        }
    }

    #[test]
    fn geometry_has_a_block_for_each_tile() {
        let geometry = |params| {
            let launch = launch(Compute::Fp32, params).unwrap();
            (launch.kernel, launch.geometry.grid, launch.geometry.block[0])
        };
        assert_eq!(geometry(params()), (ENTRIES[2], [4, 6, 1], 64));
        assert_eq!(geometry(split()), (ENTRIES[2], [4, 6, 9], 64));
        let pooled = PointwiseParams { partial_sums: 0xa000, output: 0, ..split() };
        assert_eq!(geometry(pooled), (ENTRIES[3], [2 * 4, 6, 9], 64));
        let large = PointwiseParams { rows: 49 * 64, ..params() };
        assert_eq!(geometry(large), (ENTRIES[0], [49, 3, 1], 128));
        assert_eq!(launch(Compute::Tf32, large).unwrap().kernel, ENTRIES[4]);
        let plain = PointwiseParams { scale: 0, shift: 0, gate: 0, skip: 0, ..params() };
        assert!(launch(Compute::Tf32, plain).is_ok());
    }

    #[test]
    fn refusals_name_the_argument() {
        let refused = |change: fn(&mut PointwiseParams), message: &str| {
            let mut params = split();
            change(&mut params);
            let error = launch(Compute::Tf32, params).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        refused(|p| p.rows = 0, "rows is 0");
        refused(|p| p.pixels = -1, "pixels is -1");
        refused(|p| p.rows = 97, "rows is 97, expected a multiple of pixels");
        refused(|p| p.c_in = 1156, "c_in is 1156, expected a multiple of 8");
        refused(|p| p.c_out = 196, "c_out is 196, expected a multiple of 8");
        refused(|p| p.activation = -1, "activation is -1");
        refused(|p| p.rows = 49 << 16, "input has");
        refused(|p| (p.rows, p.c_in, p.c_out) = (49 << 16, 8, 1024), "output has");
        refused(|p| p.rows = 49 << 15, "chunk_sums has");
        refused(|p| (p.c_in, p.c_out) = (1 << 16, 1 << 15), "weight has");
        refused(|p| p.input = 0x1008, "input is at address 0x1008");
        refused(|p| p.weight = 0, "weight is at address 0x0");
        refused(|p| p.shift = 0, "shift is at address 0x0");
        refused(|p| p.scale = 0, "scale is at address 0x0");
        refused(|p| p.gate = 0x5004, "gate is at address 0x5004");
        refused(|p| p.skip = 0x6008, "skip is at address 0x6008");
        refused(|p| p.output = 0, "output is at address 0x0");
        refused(|p| p.partial_sums = 0xa008, "partial_sums is at address 0xa008");
        refused(|p| p.chunk_sums = 0, "chunk_sums is at address 0x0");
        refused(|p| p.arrivals = 0, "arrivals is at address 0x0");
        refused(|p| (p.rows, p.pixels, p.c_in, p.c_out) = (1, 1, 8, 64 << 16), "tiles of c_out");
        let error = launch(Compute::Fp16, params()).unwrap_err().to_string();
        assert_eq!(error, "pointwise_f32: no kernel for fp16; there are fp32 and tf32");
    }
}
