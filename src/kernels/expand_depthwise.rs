//! Launches of `kernels/expand_depthwise.cu`.

mod half;

use super::launch::{Check, MAX_SHARED_BYTES};
use super::params::{
    EXPAND_DEPTHWISE_GROUP_F32, EXPAND_DEPTHWISE_TILE_COLS, EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_1,
    EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_2, EXPAND_DEPTHWISE_WARPS, ExpandDepthwiseParams, WARP_SIZE,
};
use super::{Geometry, Launch, LaunchError, squeeze};
use crate::weights::Precision;

/// The file's stem.
pub const IMAGE: &str = "expand_depthwise";

/// The kernels of the file. `g` is the number of channels that an f16 block expands at a time.
pub const ENTRIES: [&str; 12] = [
    "effnet_expand_depthwise_k3s1g16_f16",
    "effnet_expand_depthwise_k3s2g16_f16",
    "effnet_expand_depthwise_k5s1g16_f16",
    "effnet_expand_depthwise_k5s2g16_f16",
    "effnet_expand_depthwise_k3s1g32_f16",
    "effnet_expand_depthwise_k3s2g32_f16",
    "effnet_expand_depthwise_k5s1g32_f16",
    "effnet_expand_depthwise_k5s2g32_f16",
    "effnet_expand_depthwise_k3s1_f32",
    "effnet_expand_depthwise_k3s2_f32",
    "effnet_expand_depthwise_k5s1_f32",
    "effnet_expand_depthwise_k5s2_f32",
];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
pub const RESIDENT_BLOCKS: u32 = 2;

/// Blocks that an f32 launch should have, where there are enough channels: some for each
/// multiprocessor of a large GPU.
const ENOUGH_BLOCKS: u64 = 512;

/// The window's place in a row of [`ENTRIES`].
fn window(k: usize, stride: usize) -> Option<usize> {
    match (k, stride) {
        (3, 1) => Some(0),
        (3, 2) => Some(1),
        (5, 1) => Some(2),
        (5, 2) => Some(3),
        _ => None,
    }
}

/// How one image's output is cut into tiles. A matter of the layer's geometry alone, so that the
/// order of the sums over a tile is too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    precision: Precision,
    k: usize,
    stride: usize,
    output: [i32; 2],
    tile: [i32; 2],
}

impl Tiles {
    /// Of a window, the rows and columns of its output, and the input channels of the expansion.
    pub fn new(
        precision: Precision,
        k: usize,
        stride: usize,
        output: [i32; 2],
        c_in: i32,
    ) -> Tiles {
        let tile = match (precision, stride) {
            (Precision::Fp16, _) => half::tile(k, stride, output, c_in),
            (Precision::Fp32, _) => tile_f32(stride),
        };
        Tiles { precision, k, stride, output, tile }
    }

    /// Rows and columns of output pixels of a tile.
    pub fn tile(&self) -> [i32; 2] {
        self.tile
    }

    /// Number of tiles: the extent of `partial_sums` and of `squeeze`.
    pub fn count(&self) -> i32 {
        i32::try_from(half::tile_count(self.tile, self.output)).unwrap_or(i32::MAX)
    }

    /// Most additions that a value goes through in a tile's sum. In f16 a lane adds up four rows of
    /// two strips, eight lanes their sums in a tree, and another thread the pairs of strips; in f32
    /// a thread adds 2 pixels, another the sums of 32 threads.
    pub fn additions(&self) -> u64 {
        match self.precision {
            Precision::Fp16 => 4 + 1 + 3 + half::pairs(self.tile),
            Precision::Fp32 => 34,
        }
    }

    /// Pixels that the tiles expand, halo and, in f32, part-empty tiles included.
    fn expanded_pixels(&self) -> u64 {
        match self.precision {
            Precision::Fp16 => half::expanded_pixels(self.k, self.stride, self.output, self.tile),
            Precision::Fp32 => {
                half::tile_count(self.tile, self.output) * patch_pixels(self.k, self.stride)
            }
        }
    }

    /// Average number of times that the kernel expands a pixel: pixels that the tiles compute,
    /// divided by the pixels of the expanded map that the windows of the layer span.
    pub fn recompute(&self) -> f64 {
        let side = |side: i32| f64::from(side.max(1)) * self.stride as f64;
        self.expanded_pixels() as f64 / self.output.map(side).iter().product::<f64>()
    }
}

/// Rows and columns of output pixels of an f32 tile.
fn tile_f32(stride: usize) -> [i32; 2] {
    let rows = match stride {
        1 => EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_1,
        _ => EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_2,
    };
    [rows, EXPAND_DEPTHWISE_TILE_COLS]
}

/// Pixels of the expanded map under the windows of an f32 tile.
fn patch_pixels(k: usize, stride: usize) -> u64 {
    tile_f32(stride).iter().map(|&side| (side as u64 - 1) * stride as u64 + k as u64).product()
}

/// Twin of `ExpandDepthwiseShared` in `kernels/tile_expand_depthwise.cuh`.
fn shared_bytes(k: usize, stride: usize, c_in: i32) -> u64 {
    let vector = 4;
    let group = EXPAND_DEPTHWISE_GROUP_F32 as u64;
    let threads = (EXPAND_DEPTHWISE_WARPS * WARP_SIZE) as u64;
    let patch = patch_pixels(k, stride);
    let depth = c_in.max(0) as u64;
    let segments = threads / (group / 4);
    let mid = patch * (group + vector);
    let depthwise_weight = (k * k) as u64 * group;
    let expansion = (group + patch) * (depth + vector);
    4 * (segments * group + mid + depthwise_weight + expansion)
}

/// Whether the kernel can be launched: whether the window has a kernel, and the channels of the
/// input fit shared memory: in f16 weights of 16 expanded channels, which holds up to `c_in` = 640
/// at least; in f32 the input of a tile too, up to 32.
pub fn fits(precision: Precision, k: usize, stride: usize, c_in: i32) -> bool {
    let fits = || match precision {
        Precision::Fp16 => half::fits(k, stride, c_in),
        Precision::Fp32 => shared_bytes(k, stride, c_in) <= MAX_SHARED_BYTES,
    };
    window(k, stride).is_some() && c_in >= 8 && c_in % 8 == 0 && fits()
}

/// Multiplications and additions that the kernel executes for one image: the expansion with its
/// recomputed halo, and the depthwise convolution.
pub fn macs(
    precision: Precision,
    k: usize,
    stride: usize,
    output: [i32; 2],
    [c_in, c_mid]: [i32; 2],
) -> u64 {
    let expanded = Tiles::new(precision, k, stride, output, c_in).expanded_pixels();
    let expansion = expanded.saturating_mul(c_in.max(0) as u64);
    let pixels: u64 = output.iter().map(|&side| side.max(0) as u64).product();
    let depthwise = pixels.saturating_mul((k * k) as u64);
    expansion.saturating_add(depthwise).saturating_mul(c_mid.max(0) as u64)
}

/// The launch for a `k` x `k` window, or which argument the kernels do not take.
pub fn launch(
    precision: Precision,
    k: usize,
    stride: usize,
    mut params: ExpandDepthwiseParams,
) -> Result<Launch<ExpandDepthwiseParams>, LaunchError> {
    let Some(window) = window(k, stride) else {
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
    let output = [p.h_out, p.w_out];
    let cut = Tiles::new(precision, k, stride, output, p.c_in);
    let tiles = cut.count();
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
    let squeezed = squeeze::Squeezed {
        squeeze: p.squeeze,
        reduce_weight: p.reduce_weight,
        extents: [p.n, tiles, p.c_mid, p.c_se],
        slice: p.slice,
    };
    squeezed.check(&check, precision)?;
    check.grid("n", p.n as u32)?;

    let (kernel, geometry) = match precision {
        Precision::Fp16 => {
            let channels = [p.c_in, p.c_mid, p.c_se];
            let blocks = half::blocks(k, stride, p.n, output, channels, p.slice);
            let few = u64::from(blocks.shared_bytes) <= MAX_SHARED_BYTES;
            check.that(few, "c_se", p.c_se.into(), "few enough channels for shared memory")?;
            check.grid("c_mid by channels of a block", blocks.ranges)?;
            [params.tile_rows, params.tile_cols] = cut.tile();
            params.channels = blocks.channels;
            let geometry = Geometry {
                grid: [tiles as u32, blocks.ranges, params.n as u32],
                block: [half::THREADS, 1, 1],
                shared_bytes: blocks.shared_bytes,
            };
            (ENTRIES[4 * usize::from(blocks.wide) + window], geometry)
        }
        Precision::Fp32 => {
            // As few slices as fill the device: each reads the input once more. Groups are
            // independent of one another, so no byte depends on their number.
            let groups = u64::from(p.c_mid as u32).div_ceil(EXPAND_DEPTHWISE_GROUP_F32 as u64);
            let groups_of_block =
                (groups * tiles as u64 * p.n as u64 / ENOUGH_BLOCKS).clamp(1, groups);
            let slices = groups.div_ceil(groups_of_block) as u32;
            check.grid("c_mid by groups", slices)?;
            let geometry = Geometry {
                grid: [tiles as u32, slices, p.n as u32],
                block: [(EXPAND_DEPTHWISE_WARPS * WARP_SIZE) as u32, 1, 1],
                shared_bytes: shared_bytes(k, stride, p.c_in) as u32,
            };
            (ENTRIES[8 + window], geometry)
        }
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Network, NetworkGeometry, Padding, Variant};
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
        assert_eq!(one.kernel, "effnet_expand_depthwise_k5s1g16_f16");
        // 2 tiles of 28 x 16 pixels, 15 groups of 16 channels, 3 images.
        assert_eq!(one.geometry.grid, [2, 15, 3]);
        assert_eq!(one.geometry.block, [256, 1, 1]);
        let p = one.params;
        assert_eq!([p.tile_rows, p.tile_cols, p.channels], [28, 16, 16]);
        // place, 16 strips, where pixels lie in the input and in mid; mid; weights with their batch-norm; sums of 7 pairs of
        // strips; batch-norm and taps; sums of the tile
        let places = 80 + 16 * 16 + (4 + 2) * 640;
        let bytes = places + 2 * 640 * 24 + 16 * (8 + 2 * 72) + 4 * 7 * 16 + 16 * (8 + 2 * 25) + 64;
        assert_eq!(one.geometry.shared_bytes, bytes);
        let many = ExpandDepthwiseParams { n: 64, ..params() };
        let many = launch(Precision::Fp16, 5, 1, many).unwrap();
        assert_eq!(many.kernel, "effnet_expand_depthwise_k5s1g32_f16");
        // 8 groups of 32 channels: two for a block.
        assert_eq!(many.geometry.grid, [2, 4, 64]);
        assert_eq!(many.params.channels, 64);
        // With a squeeze a block has whole slices of 16 channels.
        let squeeze = ExpandDepthwiseParams {
            reduce_weight: 0xa000,
            squeeze: 0xb000,
            c_se: 10,
            slice: 16,
            ..params()
        };
        let squeeze = launch(Precision::Fp16, 5, 1, squeeze).unwrap();
        assert_eq!(squeeze.geometry.grid, [2, 15, 3]);
        assert_eq!(squeeze.geometry.shared_bytes, bytes + 4 * 12 + 2 * 10 * 24);
    }

    /// Every layer of every variant at its own size, with every padding: it fits, in f16, and what
    /// it expands again is little.
    #[test]
    fn every_layer_fits_in_f16() {
        for variant in Variant::all() {
            let network = Network::new(variant, 1000);
            for padding in [Padding::Symmetric, Padding::SameDynamic] {
                let size = variant.native();
                let geometry = NetworkGeometry::new(&network, size, padding).unwrap();
                let (mut expanded, mut map) = (0.0, 0.0);
                for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
                    if !block.has_expand() {
                        continue;
                    }
                    let (k, stride) = (conv.k, conv.stride);
                    let [c_in, c_mid] = [block.c_in, block.c_mid].map(|c| c as i32);
                    assert!(fits(Precision::Fp16, k, stride, c_in), "{c_in}");
                    let output = [conv.output.h, conv.output.w].map(|side| side as i32);
                    let pixels = (conv.input.pixels() * block.c_mid) as f64;
                    let tiles = Tiles::new(Precision::Fp16, k, stride, output, c_in);
                    expanded += pixels * tiles.recompute();
                    map += pixels;
                    for n in [1, 8, 128] {
                        let slice = squeeze::slice(c_mid, tiles.count());
                        for slice in [0, slice] {
                            let c = [c_in, c_mid, (c_in + 3) / 4];
                            let blocks = half::blocks(k, stride, n, output, c, slice);
                            assert!(u64::from(blocks.shared_bytes) <= MAX_SHARED_BYTES);
                            assert!(
                                blocks.ranges as i64 * i64::from(blocks.channels) >= c_mid.into()
                            );
                            assert!(slice == 0 || blocks.channels % slice == 0);
                        }
                    }
                }
                assert!(expanded <= 1.25 * map, "{variant}: {}", expanded / map);
            }
        }
    }

    #[test]
    fn what_fits_shared_memory() {
        for (k, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            let most = |precision| {
                (1..200).map(|i| 8 * i).take_while(|&c| fits(precision, k, stride, c)).last()
            };
            assert!(most(Precision::Fp16) >= Some(640), "k{k}s{stride}");
            assert!(most(Precision::Fp32) >= Some(32), "k{k}s{stride}");
            assert!(!fits(Precision::Fp16, k, stride, 20));
        }
        assert!(!fits(Precision::Fp16, 7, 1, 16));
        assert!(!fits(Precision::Fp16, 3, 1, i32::MAX - 7));
        assert!(!fits(Precision::Fp32, 5, 2, 80));
    }

    #[test]
    fn tiles_and_what_they_recompute() {
        let full = |k, stride, output| Tiles::new(Precision::Fp32, k, stride, output, 16);
        assert_eq!(full(3, 1, [28, 28]).count(), 16);
        assert_eq!(full(5, 2, [56, 56]).count(), 14 * 7);
        assert_eq!(full(3, 1, [i32::MAX; 2]).count(), i32::MAX);
        assert_eq!(full(3, 1, [8, 8]).recompute(), 100.0 / 64.0);
        assert_eq!(full(3, 2, [56, 56]).recompute(), 153.0 / 128.0);
        assert_eq!(macs(Precision::Fp32, 3, 1, [8, 8], [16, 96]), (100 * 16 + 64 * 9) * 96);

        let half = |k, stride, output, c_in| Tiles::new(Precision::Fp16, k, stride, output, c_in);
        // The whole map where it fits.
        assert_eq!(half(5, 1, [14, 14], 112).tile(), [14, 14]);
        assert_eq!(half(5, 1, [14, 14], 112).recompute(), 1.0);
        // Columns 0 ... 17 and 14 ... 27.
        let wide = half(5, 1, [28, 28], 40);
        assert_eq!((wide.tile(), wide.count()), ([28, 16], 2));
        assert_eq!(wide.recompute(), (18 + 14) as f64 / 28.0);
        let expanded = 28 * 32 * 40 + 28 * 28 * 25;
        assert_eq!(macs(Precision::Fp16, 5, 1, [28, 28], [40, 240]), expanded * 240);
        // Of 32 channels, more weights leave room for fewer pixels, down to 448; then of 16, likewise.
        let pixels = |c_in| half::most_pixels(5, c_in);
        assert_eq!([40, 80, 224, 384, 640, i32::MAX].map(pixels), [640, 608, 480, 640, 608, 448]);
        // Of any extents, and at once.
        assert_eq!(half(5, 2, [i32::MAX; 2], 16).count(), i32::MAX);
        assert_eq!(half(3, 1, [i32::MIN, 1], 16).tile(), [1, 1]);
        assert!(macs(Precision::Fp16, 5, 2, [i32::MAX; 2], [i32::MAX; 2]) > 0);
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
        assert_eq!(
            refusal(half, |p| p.c_se = 4),
            format!("{op}: c_se is 4, expected 0 without squeeze")
        );
        assert_eq!(
            refusal(half, |p| p.slice = 16),
            format!("{op}: slice is 16, expected 0 without squeeze")
        );
        let squeeze = |p: &mut ExpandDepthwiseParams| {
            (p.squeeze, p.reduce_weight, p.c_se, p.slice) = (0xa000, 0xb000, 10, 16);
        };
        let refusal = |precision, change: fn(&mut ExpandDepthwiseParams)| {
            refusal(precision, |p| {
                squeeze(p);
                change(p);
            })
        };
        assert!(refusal(Precision::Fp32, |_| ()).contains("squeeze is 1, expected none in f32"));
        assert!(refusal(half, |p| p.squeeze = 4).contains("squeeze is at address 0x4"));
        assert!(refusal(half, |p| p.reduce_weight = 0).contains("reduce_weight is at address 0x0"));
        assert!(refusal(half, |p| p.c_se = 0).contains("c_se is 0, expected at least 1"));
        assert!(refusal(half, |p| p.c_se = 4000).contains("c_se is 4000, expected few enough"));
        assert!(refusal(half, |p| p.slice = 32).contains("slice is 32, expected the slice of"));
    }
}
