//! Launches of `kernels/expand_depthwise.cu`.

use super::launch::Check;
use super::params::{
    EXPAND_DEPTHWISE_GROUP_F16, EXPAND_DEPTHWISE_GROUP_F32, EXPAND_DEPTHWISE_TILE_COLS,
    EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_1, EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_2,
    EXPAND_DEPTHWISE_WARPS, ExpandDepthwiseParams, WARP_SIZE,
};
use super::{Geometry, Launch, LaunchError};
use crate::weights::Precision;

/// The file's stem.
pub const IMAGE: &str = "expand_depthwise";

/// The kernels of the file.
pub const ENTRIES: [&str; 8] = [
    "effnet_expand_depthwise_k3s1_f16",
    "effnet_expand_depthwise_k3s2_f16",
    "effnet_expand_depthwise_k5s1_f16",
    "effnet_expand_depthwise_k5s2_f16",
    "effnet_expand_depthwise_k3s1_f32",
    "effnet_expand_depthwise_k3s2_f32",
    "effnet_expand_depthwise_k5s1_f32",
    "effnet_expand_depthwise_k5s2_f32",
];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
pub const RESIDENT_BLOCKS: u32 = 2;

/// The most dynamic shared memory of a block, which every device from sm_75 on grants by opt-in.
const MAX_SHARED_BYTES: u64 = 64 << 10;

/// Blocks that a launch should have, where there are enough channels: some for each multiprocessor
/// of a large GPU.
const ENOUGH_BLOCKS: u64 = 512;

fn kernel(precision: Precision, k: usize, stride: usize) -> Option<&'static str> {
    let window = match (k, stride) {
        (3, 1) => 0,
        (3, 2) => 1,
        (5, 1) => 2,
        (5, 2) => 3,
        _ => return None,
    };
    match precision {
        Precision::Fp16 => Some(ENTRIES[window]),
        Precision::Fp32 => Some(ENTRIES[4 + window]),
    }
}

/// Rows and columns of output pixels of a tile.
fn tile(stride: usize) -> [i32; 2] {
    let rows = match stride {
        1 => EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_1,
        _ => EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_2,
    };
    [rows, EXPAND_DEPTHWISE_TILE_COLS]
}

/// Pixels of the expanded map under the windows of a tile.
fn patch_pixels(k: usize, stride: usize) -> u64 {
    tile(stride).iter().map(|&side| (side as u64 - 1) * stride as u64 + k as u64).product()
}

/// Channels that are expanded at a time.
fn group(precision: Precision) -> i32 {
    match precision {
        Precision::Fp16 => EXPAND_DEPTHWISE_GROUP_F16,
        Precision::Fp32 => EXPAND_DEPTHWISE_GROUP_F32,
    }
}

/// Twin of `ExpandDepthwiseShared` in `kernels/tile_expand_depthwise.cuh`.
fn shared_bytes(precision: Precision, k: usize, stride: usize, c_in: i32) -> u64 {
    let elem_bytes = precision.elem_bytes() as u64;
    let vector = 16 / elem_bytes;
    let group = group(precision) as u64;
    let threads = (EXPAND_DEPTHWISE_WARPS * WARP_SIZE) as u64;
    let patch = patch_pixels(k, stride);
    let depth = match precision {
        Precision::Fp16 => (c_in.max(0) as u64).next_multiple_of(16),
        Precision::Fp32 => c_in.max(0) as u64,
    };
    let segments = threads / (group / 4);
    let mid = patch * (group + vector);
    let depthwise_weight = (k * k) as u64 * group;
    let expansion = (group + patch) * (depth + vector);
    4 * segments * group + elem_bytes * (mid + depthwise_weight + expansion)
}

/// Whether the kernel can be launched: whether the window has a kernel, and the input of a tile
/// fits shared memory. In f16 that holds up to `c_in` = 48 for every window, in f32 up to 32.
pub fn fits(precision: Precision, k: usize, stride: usize, c_in: i32) -> bool {
    kernel(precision, k, stride).is_some()
        && c_in >= 8
        && c_in % 8 == 0
        && shared_bytes(precision, k, stride, c_in) <= MAX_SHARED_BYTES
}

/// Rows and columns of the grid of tiles.
fn tile_grid(stride: usize, h_out: i32, w_out: i32) -> [u64; 2] {
    let [rows, cols] = tile(stride).map(|side| side as u64);
    [(h_out.max(0) as u64).div_ceil(rows), (w_out.max(0) as u64).div_ceil(cols)]
}

/// Tiles that one image's output is cut into: the extent of `partial_sums`. A matter of the image's
/// geometry alone, whatever the window's side, so that the order of the sums is too.
pub fn tiles(stride: usize, h_out: i32, w_out: i32) -> i32 {
    let [rows, cols] = tile_grid(stride, h_out, w_out);
    i32::try_from(rows * cols).unwrap_or(i32::MAX)
}

/// Average number of times that the kernel expands a pixel: pixels that the tiles compute, halo and
/// part-empty tiles included, divided by the pixels of the expanded map that the windows of the
/// layer span.
pub fn recompute(k: usize, stride: usize, h_out: i32, w_out: i32) -> f64 {
    let [rows, cols] = tile_grid(stride, h_out, w_out);
    let map = (h_out.max(1) as f64 * stride as f64) * (w_out.max(1) as f64 * stride as f64);
    (rows * cols * patch_pixels(k, stride)) as f64 / map
}

/// Multiplications and additions that the kernel executes for one image: the expansion with its
/// recomputed halo, and the depthwise convolution.
pub fn macs(k: usize, stride: usize, [h_out, w_out]: [i32; 2], [c_in, c_mid]: [i32; 2]) -> u64 {
    let [rows, cols] = tile_grid(stride, h_out, w_out);
    let expansion = rows * cols * patch_pixels(k, stride) * c_in.max(0) as u64;
    let depthwise = h_out.max(0) as u64 * w_out.max(0) as u64 * (k * k) as u64;
    (expansion + depthwise) * c_mid.max(0) as u64
}

/// The launch for a `k` x `k` window, or which argument the kernels do not take.
pub fn launch(
    precision: Precision,
    k: usize,
    stride: usize,
    params: ExpandDepthwiseParams,
) -> Result<Launch<ExpandDepthwiseParams>, LaunchError> {
    let Some(kernel) = kernel(precision, k, stride) else {
        return Err(LaunchError::NoKernel {
            op: IMAGE,
            asked: format!("k {k}, stride {stride}"),
            available: "k 3 and 5, stride 1 and 2",
        });
    };

    let p = &params;
    let check = Check(IMAGE);
    for (what, value) in [
        ("n", p.n),
        ("h_in", p.h_in),
        ("w_in", p.w_in),
        ("h_out", p.h_out),
        ("w_out", p.w_out),
        ("c_in", p.c_in),
        ("c_mid", p.c_mid),
    ] {
        check.at_least(what, value, 1)?;
    }
    check.that(p.c_in % 8 == 0, "c_in", p.c_in.into(), "a multiple of 8")?;
    check.that(p.c_mid % 8 == 0, "c_mid", p.c_mid.into(), "a multiple of 8")?;
    let fits = fits(precision, k, stride, p.c_in);
    check.that(fits, "c_in", p.c_in.into(), "few enough channels for a tile in shared memory")?;
    check.window([k, stride], [p.pad_top, p.pad_left], [p.h_in, p.w_in], [p.h_out, p.w_out])?;
    check.activation(p.activation)?;
    let tiles = tiles(stride, p.h_out, p.w_out);
    check.elems("input", &[p.n, p.h_in, p.w_in, p.c_in])?;
    check.elems("expand_weight", &[p.c_mid, p.c_in])?;
    check.elems("depthwise_weight", &[k as i32, k as i32, p.c_mid])?;
    check.elems("output", &[p.n, p.h_out, p.w_out, p.c_mid])?;
    check.elems("partial_sums", &[p.n, tiles, p.c_mid])?;
    for (what, address) in [
        ("input", p.input),
        ("expand_weight", p.expand_weight),
        ("expand_scale", p.expand_scale),
        ("expand_shift", p.expand_shift),
        ("depthwise_weight", p.depthwise_weight),
        ("depthwise_scale", p.depthwise_scale),
        ("depthwise_shift", p.depthwise_shift),
        ("output", p.output),
    ] {
        check.address(what, address, 16)?;
    }
    check.optional("partial_sums", p.partial_sums, 16)?;
    check.grid("n", p.n as u32)?;

    // As few slices as fill the device: each reads the input once more. Groups are independent of
    // one another, so no byte depends on their number.
    let groups = u64::from(p.c_mid as u32).div_ceil(group(precision) as u64);
    let groups_of_block = (groups * tiles as u64 * p.n as u64 / ENOUGH_BLOCKS).clamp(1, groups);
    let slices = groups.div_ceil(groups_of_block) as u32;
    check.grid("c_mid by groups", slices)?;
    let geometry = Geometry {
        grid: [tiles as u32, slices, p.n as u32],
        block: [(EXPAND_DEPTHWISE_WARPS * WARP_SIZE) as u32, 1, 1],
        shared_bytes: shared_bytes(precision, k, stride, p.c_in) as u32,
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::params::ACTIVATION_SWISH;

    /// 28 x 28 x 40 -> 240, 5 x 5, batch 3.
    fn params() -> ExpandDepthwiseParams {
        ExpandDepthwiseParams {
            input: 0x1000,
            expand_weight: 0x2000,
            expand_scale: 0x3000,
            expand_shift: 0x4000,
            depthwise_weight: 0x5000,
            depthwise_scale: 0x6000,
            depthwise_shift: 0x7000,
            output: 0x8000,
            partial_sums: 0x9000,
            n: 3,
            h_in: 28,
            w_in: 28,
            h_out: 28,
            w_out: 28,
            c_in: 40,
            c_mid: 240,
            pad_top: 2,
            pad_left: 2,
            activation: ACTIVATION_SWISH,
            ..Default::default()
        }
    }

    fn refusal(precision: Precision, change: impl FnOnce(&mut ExpandDepthwiseParams)) -> String {
        let mut params = params();
        change(&mut params);
        launch(precision, 5, 1, params).expect_err("a refusal").to_string()
    }

    #[test]
    fn geometry_of_a_launch() {
        let one = launch(Precision::Fp16, 5, 1, params()).unwrap();
        assert_eq!(one.kernel, "effnet_expand_depthwise_k5s1_f16");
        // 16 tiles, 5 groups of 48 channels, 3 images: too few blocks for two groups each.
        assert_eq!(one.geometry.grid, [16, 5, 3]);
        assert_eq!(one.geometry.block, [192, 1, 1]);
        // sums, mid, depthwise weights, then expand weights and patch with 48 + 8 halves a row
        let bytes = 4 * 16 * 48 + 2 * (144 * 56 + 25 * 48 + (48 + 144) * 56);
        assert_eq!(one.geometry.shared_bytes, bytes);
        let many = launch(Precision::Fp16, 5, 1, ExpandDepthwiseParams { n: 16, ..params() });
        assert_eq!(many.unwrap().geometry.grid, [16, 3, 16]);
    }

    #[test]
    fn what_fits_shared_memory() {
        for (k, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            let most = |precision| {
                (1..100).map(|i| 8 * i).take_while(|&c| fits(precision, k, stride, c)).last()
            };
            println!("k{k}s{stride}: {:?} {:?}", most(Precision::Fp16), most(Precision::Fp32));
            assert!(most(Precision::Fp16) >= Some(48), "k{k}s{stride}");
            assert!(most(Precision::Fp32) >= Some(32), "k{k}s{stride}");
            assert!(!fits(Precision::Fp16, k, stride, 20));
        }
        assert!(!fits(Precision::Fp16, 7, 1, 16));
        assert!(!fits(Precision::Fp32, 5, 2, 80));
    }

    #[test]
    fn tiles_and_what_they_recompute() {
        assert_eq!(tiles(1, 28, 28), 16);
        assert_eq!(tiles(2, 56, 56), 14 * 7);
        assert_eq!(tiles(1, i32::MAX, i32::MAX), i32::MAX);
        assert_eq!(recompute(3, 1, 8, 8), 100.0 / 64.0);
        assert_eq!(recompute(3, 2, 56, 56), 153.0 / 128.0);
        assert_eq!(macs(3, 1, [8, 8], [16, 96]), (100 * 16 + 64 * 9) * 96);
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let half = Precision::Fp16;
        let op = "expand_depthwise";
        assert_eq!(
            launch(half, 7, 1, params()).unwrap_err().to_string(),
            format!("{op}: no kernel for k 7, stride 1; there are k 3 and 5, stride 1 and 2")
        );
        assert_eq!(
            refusal(half, |p| p.c_in = 20),
            format!("{op}: c_in is 20, expected a multiple of 8")
        );
        assert_eq!(
            refusal(half, |p| p.c_mid = 100),
            format!("{op}: c_mid is 100, expected a multiple of 8")
        );
        assert_eq!(
            refusal(Precision::Fp32, |p| p.c_in = 512),
            format!("{op}: c_in is 512, expected few enough channels for a tile in shared memory")
        );
        assert_eq!(refusal(half, |p| p.n = 0), format!("{op}: n is 0, expected at least 1"));
        assert_eq!(
            refusal(half, |p| p.pad_left = 5),
            format!("{op}: pad_left is 5, expected between 0 and k - 1")
        );
        assert_eq!(
            refusal(half, |p| p.h_out = 31),
            format!("{op}: h_out is 31, expected an extent whose last window touches the input")
        );
        assert_eq!(
            refusal(half, |p| p.activation = 3),
            format!("{op}: activation is 3, expected 0, 1 or 2")
        );
        assert!(refusal(half, |p| p.input = 0x1008).contains("input is at address 0x1008"));
        assert!(refusal(half, |p| p.depthwise_shift = 0).contains("depthwise_shift is at address"));
        assert!(refusal(half, |p| p.partial_sums = 4).contains("partial_sums is at address 0x4"));
        assert!(refusal(half, |p| p.n = 60_000).contains("run a smaller batch"));
    }
}
