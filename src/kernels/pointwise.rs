//! Launches of `kernels/pointwise.cu`.

use super::launch::{Check, MAX_SHARED_BYTES};
use super::occupancy::SPLIT_BYTES;
use super::params::{
    POINTWISE_GATE_ROWS, POINTWISE_LONG_CHUNK, POINTWISE_SHORT_CHUNK, POINTWISE_SHORT_SUM,
    POINTWISE_STAGES, POINTWISE_STAY_ROWS, POINTWISE_THREADS, POINTWISE_WIDE_COLS,
    POINTWISE_WIDE_THREADS, PointwiseParams,
};
use super::{Geometry, Launch, LaunchError, PointwiseShape, Tiling};

/// The file's stem.
pub const IMAGE: &str = "pointwise";

/// The kernels of the file: a warp of kernel `i` makes `8 (i + 1)` output channels.
pub const ENTRIES: [&str; 7] = [
    "effnet_pointwise_n8_f16",
    "effnet_pointwise_n16_f16",
    "effnet_pointwise_n24_f16",
    "effnet_pointwise_n32_f16",
    "effnet_pointwise_n40_f16",
    "effnet_pointwise_n48_f16",
    "effnet_pointwise_n56_f16",
];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
/// One: the largest has as many warps as there are registers for.
pub const RESIDENT_BLOCKS: u32 = 1;

/// Rows that a warp makes at a time: `kGroupRows`.
const GROUP_ROWS: i32 = 16;
/// Channels of a panel of weight: `kPanel`.
const PANEL: i32 = 32;
/// Panels that are copied together: `kStepPanels`.
const STEP_PANELS: i32 = 2;
/// Most groups of rows whose sums for the pool are one tile's.
const POOLED_GROUPS: i32 = 8;
/// The most values of a part whose gates a lane makes by itself: `kGateShort`.
const GATE_SHORT: i32 = 16;
/// The most values of a part of the squeeze.
const MAX_C_SE: i32 = 256;
/// Most warps along the rows.
const MAX_DOWN: i32 = 16;
/// Most rows of a convolution whose chunks are split: more make enough blocks by themselves.
const SPLIT_ROWS: i32 = 2048;
/// Most row tiles of an image, or of all rows: the y extent of a grid.
const GRID: i32 = 65_535;

/// Chunks that the sum over `c_in` channels is made of. Each is summed up from zero, and they are
/// added in order: whatever the tile, split over blocks or not.
pub fn chunks(c_in: i32) -> i32 {
    up(c_in, chunk(c_in))
}

/// Channels of a chunk.
fn chunk(c_in: i32) -> i32 {
    let is_short = c_in > POINTWISE_LONG_CHUNK && c_in <= POINTWISE_SHORT_SUM;
    if is_short { POINTWISE_SHORT_CHUNK } else { POINTWISE_LONG_CHUNK }
}

/// `extent / of`, rounded up; an extent is taken to be positive.
fn up(extent: i32, of: i32) -> i32 {
    (extent.max(1) as u32).div_ceil(of.max(1) as u32) as i32
}

/// Rows of an image's tile where the output is pooled, by its pixels alone: the order of the sums is
/// that of a tile's rows.
fn pooled_rows(pixels: i32) -> i32 {
    let groups = up(pixels, GROUP_ROWS);
    up(groups, up(groups, POOLED_GROUPS)) * GROUP_ROWS
}

/// Rows that no tile crosses the end of: an image's, or all.
fn span(shape: PointwiseShape) -> i32 {
    if shape.pooled || shape.gated { shape.pixels } else { shape.rows }
}

/// Panels of the channels that a block adds up.
fn panels(shape: PointwiseShape, split: bool) -> i32 {
    let channels = if split { chunk(shape.c_in) } else { shape.c_in };
    up(channels, PANEL)
}

/// Whether all of a block's weights stay in shared memory.
fn stays(panels: i32, cols: i32) -> bool {
    i64::from(panels) * i64::from(cols) <= POINTWISE_STAY_ROWS.into()
}

/// A block's shared memory, as `pointwise_shared` lays it out.
fn shared_bytes(shape: PointwiseShape, tiling: &Tiling) -> i64 {
    let panels = panels(shape, tiling.split);
    let cols = i64::from(tiling.tile_cols);
    let copied =
        if stays(panels, tiling.tile_cols) { panels } else { POINTWISE_STAGES * STEP_PANELS };
    let panel_bytes = i64::from(2 * PANEL);
    let panels = i64::from(panels);
    let weight = i64::from(copied) * cols * panel_bytes;
    let batch_norm = 2 * 4 * cols;
    let gates = panels * panel_bytes;
    let c_se = i64::from(shape.c_se);
    let sums = 4 * gate_floats(c_se);
    let is_copied = gate_is_copied(shape, panels);
    let gate_weight = if is_copied { c_se * (panels | 1) * panel_bytes } else { 0 };
    let pool = if shape.pooled { i64::from(tiling.tile_rows / GROUP_ROWS) * 4 * cols } else { 0 };
    weight + batch_norm + gates + sums + gate_weight + pool
}

/// Floats that the gate's sums take: `gate_floats`.
fn gate_floats(c_se: i64) -> i64 {
    let quads = (c_se + 3) / 4;
    let shares = match quads {
        ..=4 => 32,
        5..=8 => 16,
        _ => 8,
    };
    shares * 4 * quads + (c_se + 15) / 16 * 16
}

/// Whether a block copies the gate's weights of its panels to shared memory.
fn gate_is_copied(shape: PointwiseShape, panels: i64) -> bool {
    i64::from(shape.c_se) * panels <= POINTWISE_GATE_ROWS.into()
}

/// What a block is: output channels of a warp, warps along rows and channels, groups of rows that a
/// warp makes one after the other, and whether chunks are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// A multiple of 8 up to 56.
    pub warp_cols: i32,
    /// Along the rows and along the output channels.
    pub warps: [i32; 2],
    /// More than one only where all weights stay in shared memory and nothing is split.
    pub turns: i32,
    /// Whether each chunk has a block of its own.
    pub split: bool,
}

/// The tiling by such blocks; none where the kernels have no such block for the shape.
pub fn tiling_with(shape: PointwiseShape, block: Block) -> Option<Tiling> {
    let Block { warp_cols, warps: [down, across], turns, split } = block;
    let known = (8..=56).contains(&warp_cols) && warp_cols % 8 == 0;
    let is_wide = warp_cols > POINTWISE_WIDE_COLS;
    let most = if is_wide { POINTWISE_WIDE_THREADS } else { POINTWISE_THREADS } / 32;
    if !known || down < 1 || across < 1 || turns < 1 || down > most || across > most / down {
        return None;
    }
    let chunks = chunks(shape.c_in);
    let split = split && chunks > 1;
    let tile_rows = if shape.pooled {
        pooled_rows(shape.pixels)
    } else {
        down.checked_mul(turns)?.checked_mul(GROUP_ROWS)?
    };
    let tile_cols = warp_cols * across;
    let in_turns = tile_rows > down * GROUP_ROWS;
    let tiling = Tiling {
        tile_rows,
        tile_cols,
        warps: [down, across],
        row_tiles: up(span(shape), tile_rows),
        col_tiles: up(shape.c_out, tile_cols),
        chunks,
        split,
    };
    let fits = shared_bytes(shape, &tiling) <= MAX_SHARED_BYTES as i64 && tiling.row_tiles <= GRID;
    let stays = stays(panels(shape, split), tile_cols);
    (fits && !(in_turns && (split || !stays))).then_some(tiling)
}

/// Elements of `chunk_sums` and of `arrivals`: none where nothing is split.
pub fn scratch_elems(shape: PointwiseShape, tiling: &Tiling) -> [i64; 2] {
    if !tiling.split {
        return [0, 0];
    }
    let tiles = output_tiles(shape, tiling);
    [i64::from(tiling.chunks).saturating_mul(tiles).saturating_mul(chunk_elems(tiling)), tiles]
}

/// Sums that a block hands in: of all its warps, some of whose rows may be beyond the tile's.
fn chunk_elems(tiling: &Tiling) -> i64 {
    i64::from(tiling.warps[0] * GROUP_ROWS) * i64::from(tiling.tile_cols)
}

/// Images, or one where tiles may hold rows of several.
fn spans(shape: PointwiseShape) -> i32 {
    (shape.rows / span(shape).max(1)).max(1)
}

fn output_tiles(shape: PointwiseShape, tiling: &Tiling) -> i64 {
    i64::from(spans(shape)) * i64::from(tiling.row_tiles) * i64::from(tiling.col_tiles)
}

/// Tiles and chunks by the shape alone. The bytes of the output do not depend on them; those of the
/// pool's sums do on `tile_rows`, which follows from `pixels` where the output is pooled.
pub fn tiling(shape: PointwiseShape) -> Tiling {
    let mut best: Option<(f64, Tiling)> = None;
    for (warp_cols, across) in columns(shape.c_out) {
        for down in downs(shape) {
            for (turns, split) in
                [(1, true), (1, false), (2, false), (4, false), (8, false), (16, false)]
            {
                if split && !may_split(shape) {
                    continue;
                }
                // The rows of pooled tiles are what they are, and half the turns make those of others.
                let groups = up(span(shape), GROUP_ROWS);
                if turns > 1 && (shape.pooled || down * (turns / 2) >= groups) {
                    break;
                }
                let block = Block { warp_cols, warps: [down, across], turns, split };
                let Some(tiling) = tiling_with(shape, block) else { continue };
                let cost = cost(shape, &tiling);
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, tiling));
                }
            }
        }
    }
    let smallest = || Tiling {
        tile_rows: GROUP_ROWS,
        tile_cols: 8,
        warps: [1, 1],
        row_tiles: up(span(shape), GROUP_ROWS),
        col_tiles: up(shape.c_out, 8),
        chunks: chunks(shape.c_in),
        split: false,
    };
    best.map_or_else(smallest, |(_, tiling)| tiling)
}

/// Columns of a warp, and warps along the columns, that leave few columns empty.
fn columns(c_out: i32) -> impl Iterator<Item = (i32, i32)> {
    let all =
        (8..=56).step_by(8).flat_map(|warp_cols| (1..=4).map(move |across| (warp_cols, across)));
    let made = move |(warp_cols, across): (i32, i32)| {
        let tile = i64::from(warp_cols * across);
        i64::from(up(c_out, warp_cols * across)) * tile
    };
    let fewest = all.clone().map(made).min().unwrap_or(0);
    all.filter(move |&columns| 16 * made(columns) <= 17 * fewest)
}

/// Warps along the rows.
fn downs(shape: PointwiseShape) -> impl Iterator<Item = i32> {
    let groups = up(span(shape), GROUP_ROWS);
    // What makes an image in one tile, or in two alike.
    let alike = [groups, up(groups, 2)].into_iter().filter(|&down| down <= MAX_DOWN);
    let others = [1, 2, 4, 6, 8, 12].into_iter().filter(move |&down| down < groups);
    alike.chain(others)
}

/// Whether some tiling of the shape may split chunks: never where rows alone make enough blocks.
pub fn may_split(shape: PointwiseShape) -> bool {
    shape.rows <= SPLIT_ROWS && chunks(shape.c_in) > 1
}

// --- A model of the time, in cycles of an H100: none of it measured ---

const MULTIPROCESSORS: f64 = 132.0;
/// Issue slots of a multiprocessor in a cycle, of which it gets 70 %.
const SLOTS: f64 = 4.0 * 0.7;
/// Bytes from the second cache in a cycle, of all multiprocessors.
const L2_BYTES: f64 = 3300.0;
/// Bytes from the second cache that a multiprocessor gets in a cycle.
const EACH_L2_BYTES: f64 = 64.0;
/// A load from the second cache.
const L2_CYCLES: f64 = 300.0;
/// Until first values of x are there.
const BEGIN_CYCLES: f64 = 500.0;
/// A panel's two products of one fragment, which wait for each other, and what goes with them.
const PANEL_CYCLES: f64 = 90.0;
/// What a panel takes longer where weights come as they are needed.
const STREAM_CYCLES: f64 = 60.0;
/// A chunk's way through memory: stores, and the counter.
const SPLIT_CYCLES: f64 = 1600.0;
/// Slots of a warp before its first product.
const BEGIN_SLOTS: f64 = 500.0;
/// Cycles of a gate before its sums over c_se: the parts, two barriers, the activation.
const GATE_CYCLES: f64 = 650.0;
/// Parts of a squeeze that a block adds up.
const PARTS: f64 = 96.0;
/// Bytes of shared memory and of the first cache in a cycle, four fifths of 128.
const L1_BYTES: f64 = 102.4;
/// Part of the slowest block's cycles that a block of many has.
const MEAN_BLOCK: f64 = 0.85;

/// Slots of a warp, and cycles of a block, that its gates take.
fn gate_cost(shape: PointwiseShape, panels: i64, warps: f64) -> (f64, f64) {
    if shape.c_se == 0 {
        return (0.0, 0.0);
    }
    let c_se = f64::from(shape.c_se);
    // On average, and of the busiest warp.
    let mean = panels as f64 / warps;
    let most = mean.ceil();
    let parts = 50.0 + 600.0 / warps;
    if shape.c_se <= GATE_SHORT {
        // A lane makes four channels.
        let slots = parts + mean / 4.0 * (10.0 * c_se + 150.0);
        return (slots, GATE_CYCLES + (mean / 4.0).ceil() * (5.0 * c_se + 75.0));
    }
    // A share's rows, eight or sixteen of them in flight.
    let rows = c_se / 4.0;
    let is_copied = gate_is_copied(shape, panels);
    let copies = if is_copied { c_se * panels as f64 / (8.0 * warps) * 6.0 } else { 0.0 };
    let wait =
        if is_copied { (rows / 8.0).ceil() * 35.0 } else { (rows / 16.0).ceil() * L2_CYCLES };
    let slots = parts + copies + mean * (16.0 * rows + 150.0);
    (slots, GATE_CYCLES + most * (wait + 8.0 * rows + 120.0))
}

fn cost(shape: PointwiseShape, tiling: &Tiling) -> f64 {
    let f = f64::from;
    let [down, across] = tiling.warps;
    let warps = f(down * across);
    let fragments = f(tiling.tile_cols / across / 8);
    let whole_panels = panels(shape, tiling.split);
    let stays = stays(whole_panels, tiling.tile_cols);
    let panels = f(whole_panels);
    let chunks = if tiling.split { f(tiling.chunks) } else { 1.0 };
    let turns = f(up(tiling.tile_rows.min(span(shape)), GROUP_ROWS * down));
    let blocks = output_tiles(shape, tiling) as f64 * chunks;
    let c_se = f(shape.c_se);
    let split = |x: f64| if tiling.split { x } else { 0.0 };

    // Slots of a warp.
    let (gate_slots, gate_cycles) = gate_cost(shape, whole_panels.into(), warps);
    let panel = 4.2 * fragments + if stays { 17.0 } else { 50.0 };
    let finish = fragments * if shape.pooled { 50.0 } else { 22.0 } + 150.0;
    let copies = panels * f(tiling.tile_cols) / (8.0 * warps) * 7.0;
    let gathered = split(22.0 * fragments + 60.0);
    let slots = BEGIN_SLOTS + copies + gate_slots + turns * (panels * panel + finish) + gathered;

    // Cycles of a block by itself.
    let quarter = (warps / 4.0).max(1.0);
    let products = panels * 2.0 * fragments * 6.4;
    let depth = if fragments <= 4.0 { 4.0 } else { 2.0 }; // panels of x in flight
    let streamed = if stays { 0.0 } else { STREAM_CYCLES };
    let wait = panels * (PANEL_CYCLES.max(L2_CYCLES / depth) + streamed);
    let rounds = (chunks / (12.0 / fragments).floor().max(3.0)).ceil();
    let between = if turns > 1.0 { 200.0 } else { 0.0 };
    let alone = BEGIN_CYCLES
        + gate_cycles
        + turns * (products.max(wait) + finish * quarter * 0.7 + between)
        + split(SPLIT_CYCLES + L2_CYCLES * rounds);

    // Blocks of the busiest multiprocessor, at once or one after the other.
    let registers = (if fragments > 2.0 { 12.0 } else { 16.0 } / warps).floor();
    let shared = (f64::from(SPLIT_BYTES) / (shared_bytes(shape, tiling) as f64 + 1024.0)).floor();
    let resident = registers.min(shared).max(1.0);
    let waves = blocks / (MULTIPROCESSORS * resident);
    let each = blocks / MULTIPROCESSORS;
    let busiest = if waves <= 1.0 { each.ceil() } else { each };

    let issue = busiest * warps * slots / SLOTS;
    let tensor = busiest * turns * products * warps / 4.0;
    let latency = if waves <= 1.0 { alone } else { waves * alone * MEAN_BLOCK };
    // Weights and gates' weights, parts, x, what is handed in, skip and output.
    let cols = f(tiling.tile_cols);
    let rows = turns * f(down * GROUP_ROWS);
    let weights = panels * 64.0 * (cols + c_se);
    let parts = 16.0 * (c_se / 4.0).ceil() * PARTS;
    let outputs = 4.0 * cols * rows / chunks;
    let handed = split(8.0 * chunk_elems(tiling) as f64);
    let bytes = weights + parts + rows * panels * 64.0 + handed + outputs;
    let l2 = (blocks * bytes / L2_BYTES).max(busiest * bytes / EACH_L2_BYTES);
    let of_warps = warps * turns * panels * (512.0 * fragments + 1536.0);
    let l1 = busiest * (of_warps + panels * 64.0 * (2.0 * cols + c_se)) / L1_BYTES;
    // The last wave drains.
    let drain = if waves <= 1.0 { 0.0 } else { 0.5 * alone * MEAN_BLOCK };
    // Each hides the others, but for what is as large.
    [issue, tensor, latency, l2, l1].map(|x| x.powi(4)).iter().sum::<f64>().powf(0.25) + drain
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
        gated: params.gate != 0 || params.squeeze != 0,
        c_se: params.c_se,
    }
}

/// As [`launch`], with a tiling of [`tiling_with`]. The sum is split where `chunk_sums` is given;
/// where it is not, a tiling that does not split takes the place of one that does.
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
    check_gate(&check, p)?;
    check_tensors(&check, p)?;

    let shape = shape(p);
    let split = p.chunk_sums != 0;
    check.that(
        tiling.split || !split,
        "chunk_sums",
        p.chunk_sums as i64,
        "null: nothing is split",
    )?;
    let warp_cols = tiling.tile_cols / tiling.warps[1].max(1);
    let rows = (tiling.warps[0] * GROUP_ROWS).max(1);
    let block =
        Block { warp_cols, warps: tiling.warps, turns: (tiling.tile_rows / rows).max(1), split };
    let unsplit = Tiling { split, ..tiling };
    if tiling_with(shape, block) != Some(unsplit) {
        if !split && tiling.split {
            // No room for the chunks' sums.
            return launch_with(tiling_unsplit(shape), params);
        }
        return Err(LaunchError::NoKernel {
            op: IMAGE,
            asked: format!(
                "tiles of {} x {} by {} x {} warps",
                tiling.tile_rows, tiling.tile_cols, tiling.warps[0], tiling.warps[1]
            ),
            available: "those of tiling_with",
        });
    }
    let tiling = unsplit;

    let tiles = output_tiles(shape, &tiling);
    check.that(tiles <= i32::MAX.into(), "tiles", tiles, "fewer than 2^31")?;
    check.grid("row tiles", tiling.row_tiles as u32)?;
    let chunks = if split { tiling.chunks } else { 1 };
    let spans = spans(shape).saturating_mul(chunks) as u32;
    check.grid("images", spans)?;
    if p.partial_sums != 0 {
        check.elems("partial_sums", &[p.rows / p.pixels, tiling.row_tiles, p.c_out])?;
    }
    if split {
        check.address("chunk_sums", p.chunk_sums, 16)?;
        check.address("arrivals", p.arrivals, 4)?;
        let elems = chunk_elems(&tiling) as i32;
        check.elems("chunk_sums", &[tiling.chunks, tiles as i32, elems])?;
    }
    let [down, across] = tiling.warps.map(|warps| warps as u32);
    let geometry = Geometry {
        grid: [tiling.col_tiles as u32, tiling.row_tiles as u32, spans],
        block: [32, down, across],
        shared_bytes: shared_bytes(shape, &tiling) as u32,
    };
    let kernel = ENTRIES[(warp_cols / 8 - 1) as usize];
    let params = PointwiseParams { tile_rows: tiling.tile_rows, ..params };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}

/// The smallest tiles that split nothing: of every shape.
fn tiling_unsplit(shape: PointwiseShape) -> Tiling {
    let down = if shape.pooled { pooled_rows(shape.pixels) / GROUP_ROWS } else { 4 };
    let block = |warp_cols| Block { warp_cols, warps: [down, 1], turns: 1, split: false };
    let tiling = [32, 16, 8].into_iter().find_map(|cols| tiling_with(shape, block(cols)));
    tiling.unwrap_or_else(|| self::tiling(shape))
}

fn check_gate(check: &Check, p: &PointwiseParams) -> Result<(), LaunchError> {
    check.optional("gate", p.gate, 16)?;
    if p.squeeze == 0 {
        let none = "0 without squeeze";
        check.that(p.parts == 0, "parts", p.parts.into(), none)?;
        return check.that(p.c_se == 0, "c_se", p.c_se.into(), none);
    }
    check.that(p.gate == 0, "gate", p.gate as i64, "null with squeeze")?;
    check.at_least("parts", p.parts, 1)?;
    check.at_least("c_se", p.c_se, 1)?;
    check.that(p.c_se <= MAX_C_SE, "c_se", p.c_se.into(), "at most 256")?;
    check.address("squeeze", p.squeeze, 16)?;
    check.address("reduce_bias", p.reduce_bias, 4)?;
    check.address("gate_weight", p.gate_weight, 16)?;
    check.address("gate_bias", p.gate_bias, 8)?;
    check.elems("squeeze", &[p.rows / p.pixels, p.parts, up(p.c_se, 4) * 4])?;
    check.elems("gate_weight", &[p.c_se, p.c_in])
}

fn check_tensors(check: &Check, p: &PointwiseParams) -> Result<(), LaunchError> {
    check.elems("input", &[p.rows, p.c_in])?;
    check.elems("weight", &[p.c_out, p.c_in])?;
    check.elems("output", &[p.rows, p.c_out])?;
    check.address("input", p.input, 16)?;
    check.address("weight", p.weight, 16)?;
    if p.scale != 0 || p.shift != 0 {
        check.address("scale", p.scale, 16)?;
        check.address("shift", p.shift, 16)?;
    }
    check.optional("skip", p.skip, 16)?;
    if p.partial_sums == 0 {
        return check.address("output", p.output, 16);
    }
    check.optional("output", p.output, 16)?;
    check.address("partial_sums", p.partial_sums, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_s_sums_take_what_the_kernel_lays_out() {
        // Shares times c_se in fours, and c_se in sixteens.
        for (c_se, shares, stride, reduced) in [
            (0, 32, 0, 0),
            (1, 32, 4, 16),
            (16, 32, 16, 16),
            (17, 16, 20, 32),
            (32, 16, 32, 32),
            (33, 8, 36, 48),
            (160, 8, 160, 160),
            (256, 8, 256, 256),
        ] {
            assert_eq!(gate_floats(c_se), shares * stride + reduced, "{c_se}");
        }
    }

    #[test]
    fn a_gate_s_weights_take_room_where_they_are_copied() {
        let shape = |c_in, c_se| PointwiseShape {
            rows: 49,
            pixels: 49,
            c_in,
            c_out: 64,
            pooled: false,
            gated: true,
            c_se,
        };
        let block = Block { warp_cols: 32, warps: [2, 2], turns: 1, split: false };
        let bytes = |shape| shared_bytes(shape, &tiling_with(shape, block).unwrap());
        // Weight, scale and shift, gates; then sums, and an odd number of panels a row.
        let rest = |panels: i64| panels * 64 * 64 + 2 * 4 * 64 + panels * 64;
        assert_eq!(bytes(shape(128, 48)), rest(4) + 4 * 9 * 48 + 48 * 5 * 64);
        assert_eq!(bytes(shape(96, 20)), rest(3) + 4 * (16 * 20 + 32) + 20 * 3 * 64);
        assert_eq!(bytes(shape(192, 48)), rest(6) + 4 * 9 * 48, "288 rows stay where they are");
    }
}
