//! Launches of `kernels/head.cu`: pool, classifier, and softmax with the best classes.

use super::launch::Check;
use super::params::{
    CLASSIFIER_IMAGES, CLASSIFIER_MAX_CHANNELS, CLASSIFIER_MAX_STAGES, CLASSIFIER_SHARES,
    CLASSIFIER_STEP_CHANNELS, CLASSIFIER_TILE_IMAGES, CLASSIFIER_WARP_CLASSES, CLASSIFIER_WARPS,
    ClassifierParams, POOL_MAX_TILES, POOL_STEP_PIXELS, POOL_TILE_CHANNELS, POOL_WARPS, PoolParams,
    TOP_K_WARPS, TopKParams, WARP_SIZE,
};
use super::{Geometry, Launch, LaunchError};
use crate::weights::Precision;

/// The file's stem.
pub const IMAGE: &str = "head";

/// The kernels of the file.
pub const ENTRIES: [&str; 5] = [
    "effnet_pool_f16",
    "effnet_pool_f32",
    "effnet_classifier_f16",
    "effnet_classifier_f32",
    "effnet_top_k_f32",
];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
pub const RESIDENT_BLOCKS: u32 = 3;

/// Fewest blocks of an f16 classifier for blocks of more than eight classes: nearly one for each of 132
/// multiprocessors.
const CLASSIFIER_BLOCKS: u64 = 120;

/// Pixels of one tile of a pooled image; at least one pixel.
fn pool_tile_pixels(pixels: i32) -> i32 {
    POOL_STEP_PIXELS * ((pixels.max(1) - 1) / (POOL_STEP_PIXELS * POOL_MAX_TILES) + 1)
}

/// Tiles that one image's pixels are cut into by [`pool`]: the extent of `partial_sums`. A matter
/// of the image's geometry alone, so that the order of the sums is too.
pub fn pool_tiles(pixels: i32) -> i32 {
    (pixels.max(0) as u32).div_ceil(pool_tile_pixels(pixels) as u32) as i32
}

/// The launch that sums the pixels of each tile, or which argument the kernels do not take.
pub fn pool(precision: Precision, params: PoolParams) -> Result<Launch<PoolParams>, LaunchError> {
    let kernel = match precision {
        Precision::Fp16 => ENTRIES[0],
        Precision::Fp32 => ENTRIES[1],
    };
    let p = &params;
    let check = Check("pool");
    for (what, value) in [("n", p.n), ("pixels", p.pixels), ("c", p.c)] {
        check.at_least(what, value, 1)?;
    }
    check.that(p.c % 8 == 0, "c", p.c.into(), "a multiple of 8")?;
    let tiles = pool_tiles(p.pixels);
    check.elems("input", &[p.n, p.pixels, p.c])?;
    check.elems("partial_sums", &[p.n, tiles, p.c])?;
    check.address("input", p.input, 16)?;
    check.address("partial_sums", p.partial_sums, 16)?;

    let groups = (p.c as u32).div_ceil(POOL_TILE_CHANNELS as u32);
    check.grid("c / 64", groups)?;
    check.grid("n", p.n as u32)?;
    let geometry = Geometry {
        grid: [tiles as u32, groups, p.n as u32],
        block: [(POOL_WARPS * WARP_SIZE) as u32, 1, 1],
        shared_bytes: 0,
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}

/// Steps of a share of an f16 classifier's channels, which are products of a sum that follow each
/// other on tensor cores: a matter of the channels alone.
pub fn classifier_share_steps(c: i32) -> i32 {
    let steps = (c.max(0) as u32).div_ceil(CLASSIFIER_STEP_CHANNELS as u32);
    steps.div_ceil(CLASSIFIER_SHARES as u32) as i32
}

/// The launch from sums over tiles to features and logits, or which argument the kernels do not
/// take. It says what `octets` is.
pub fn classifier(
    precision: Precision,
    mut params: ClassifierParams,
) -> Result<Launch<ClassifierParams>, LaunchError> {
    let p = &params;
    let check = Check("classifier");
    for (what, value) in
        [("n", p.n), ("tiles", p.tiles), ("pixels", p.pixels), ("c", p.c), ("classes", p.classes)]
    {
        check.at_least(what, value, 1)?;
    }
    check.that(
        p.c % 8 == 0 && p.c <= CLASSIFIER_MAX_CHANNELS,
        "c",
        p.c.into(),
        "a multiple of 8, at most 3072",
    )?;
    check.elems("partial_sums", &[p.n, p.tiles, p.c])?;
    check.elems("weight", &[p.classes, p.c])?;
    check.elems("features", &[p.n, p.c])?;
    check.elems("logits", &[p.n, p.classes])?;
    for (what, address) in
        [("partial_sums", p.partial_sums), ("weight", p.weight), ("features", p.features)]
    {
        check.address(what, address, 16)?;
    }
    check.address("bias", p.bias, 4)?;
    check.address("logits", p.logits, 4)?;

    let blocks = |classes: i32| (p.classes as u32).div_ceil(classes as u32);
    let (kernel, geometry) = match precision {
        Precision::Fp16 => {
            let groups = (p.n as u32).div_ceil(CLASSIFIER_TILE_IMAGES as u32);
            check.grid("n / 16", groups)?;
            let enough = |octets: i32| {
                u64::from(blocks(8 * octets)) * u64::from(groups) >= CLASSIFIER_BLOCKS
            };
            let octets = if enough(4) { 4 } else { 1 };
            let stages = classifier_share_steps(p.c).min(CLASSIFIER_MAX_STAGES / octets);
            let geometry = Geometry {
                grid: [blocks(8 * octets), groups, 1],
                block: [(CLASSIFIER_SHARES * WARP_SIZE) as u32, 1, 1],
                // A vector of 16 bytes for each lane.
                shared_bytes: (CLASSIFIER_SHARES * stages * octets * WARP_SIZE * 16) as u32,
            };
            params.octets = octets;
            (ENTRIES[2], geometry)
        }
        Precision::Fp32 => {
            let groups = (p.n as u32).div_ceil(CLASSIFIER_IMAGES as u32);
            check.grid("n / 4", groups)?;
            let geometry = Geometry {
                grid: [blocks(CLASSIFIER_WARPS * CLASSIFIER_WARP_CLASSES), groups, 1],
                block: [(CLASSIFIER_WARPS * WARP_SIZE) as u32, 1, 1],
                shared_bytes: (p.n.min(CLASSIFIER_IMAGES) * p.c * 4) as u32,
            };
            params.octets = 0;
            (ENTRIES[3], geometry)
        }
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}

/// The launch that finds each image's best classes and their parts of the softmax, or which
/// argument the kernel does not take.
///
/// Equal logits keep the order of their classes. A NaN stands before every number, so a NaN among
/// the logits is always the first logit that is reported; all probabilities are NaN then.
pub fn top_k(params: TopKParams) -> Result<Launch<TopKParams>, LaunchError> {
    let p = &params;
    let check = Check("top_k");
    for (what, value) in [("n", p.n), ("classes", p.classes), ("k", p.k)] {
        check.at_least(what, value, 1)?;
    }
    check.that(p.k <= p.classes, "k", p.k.into(), "at most the number of classes")?;
    check.elems("logits", &[p.n, p.classes])?;
    for (what, address) in [
        ("logits", p.logits),
        ("top_classes", p.top_classes),
        ("top_logits", p.top_logits),
        ("top_probabilities", p.top_probabilities),
    ] {
        check.address(what, address, 4)?;
    }

    let geometry = Geometry {
        grid: [p.n as u32, 1, 1],
        block: [(TOP_K_WARPS * WARP_SIZE) as u32, 1, 1],
        shared_bytes: 0,
    };
    Ok(Launch { image: IMAGE, kernel: ENTRIES[4], geometry, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<P: std::fmt::Debug>(result: Result<Launch<P>, LaunchError>, message: &str) {
        let error = result.expect_err(message).to_string();
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }

    fn pool_with(change: fn(&mut PoolParams)) -> Result<Launch<PoolParams>, LaunchError> {
        let mut params = PoolParams {
            input: 0x1000,
            partial_sums: 0x2000,
            n: 3,
            pixels: 112 * 112,
            c: 72,
            reserved: 0,
        };
        change(&mut params);
        pool(Precision::Fp16, params)
    }

    fn classifier_params() -> ClassifierParams {
        ClassifierParams {
            partial_sums: 0x1000,
            weight: 0x2000,
            bias: 0x3000,
            features: 0x4000,
            logits: 0x5000,
            n: 9,
            tiles: 1,
            pixels: 49,
            c: 1280,
            classes: 1001,
            octets: 0,
        }
    }

    fn classifier_with(
        change: fn(&mut ClassifierParams),
    ) -> Result<Launch<ClassifierParams>, LaunchError> {
        let mut params = classifier_params();
        change(&mut params);
        classifier(Precision::Fp32, params)
    }

    fn top_k_with(change: fn(&mut TopKParams)) -> Result<Launch<TopKParams>, LaunchError> {
        let mut params = TopKParams {
            logits: 0x1000,
            top_classes: 0x2000,
            top_logits: 0x3000,
            top_probabilities: 0x4000,
            n: 2,
            classes: 1000,
            k: 5,
            reserved: 0,
        };
        change(&mut params);
        top_k(params)
    }

    #[test]
    fn tiles_follow_the_pixels() {
        let tiles = [1, 64, 65, 64 * 128, 64 * 128 + 1, 112 * 112, 300 * 300].map(pool_tiles);
        assert_eq!(tiles, [1, 1, 2, 128, 65, 98, 128]);
        for pixels in 1..100_000 {
            let tiles = pool_tiles(pixels);
            assert!((1..=POOL_MAX_TILES).contains(&tiles), "{pixels}");
            assert!((tiles - 1) * pool_tile_pixels(pixels) < pixels, "{pixels}: an empty tile");
        }
        assert!(pool_tiles(i32::MAX) <= POOL_MAX_TILES);
    }

    #[test]
    fn geometry_covers_every_output() {
        let launch = pool_with(|_| ()).unwrap();
        assert_eq!(launch.geometry.grid, [98, 2, 3]);
        let launch = classifier_with(|_| ()).unwrap();
        let expected =
            Geometry { grid: [126, 3, 1], block: [128, 1, 1], shared_bytes: 4 * 1280 * 4 };
        assert_eq!(launch.geometry, expected);
        let launch = classifier_with(|p| (p.n, p.c) = (1, 3072)).unwrap();
        assert_eq!(launch.geometry.shared_bytes, 3072 * 4);
        assert_eq!(top_k_with(|_| ()).unwrap().geometry.grid, [2, 1, 1]);
        // Ten steps of a share; of more octets of classes, eight and four of them at once.
        for (n, octets, grid, shared_kb) in [
            (1, 1, [126, 1, 1], 20),
            (16, 1, [126, 1, 1], 20),
            (32, 1, [126, 2, 1], 20),
            (64, 4, [32, 4, 1], 32),
            (128, 4, [32, 8, 1], 32),
        ] {
            let params = ClassifierParams { n, ..classifier_params() };
            let launch = classifier(Precision::Fp16, params).unwrap();
            assert_eq!(launch.params, ClassifierParams { octets, ..params });
            let expected = Geometry { grid, block: [128, 1, 1], shared_bytes: shared_kb << 10 };
            assert_eq!(launch.geometry, expected);
        }
    }

    #[test]
    fn pool_refuses_what_the_kernel_does_not_take() {
        refused(pool_with(|p| p.c = 68), "pool: c is 68, expected a multiple of 8");
        refused(pool_with(|p| p.pixels = 0), "pixels is 0");
        refused(pool_with(|p| p.n = 70_000), "input has");
        refused(pool_with(|p| (p.n, p.pixels) = (70_000, 1)), "n is 70000");
        refused(pool_with(|p| p.input = 0x1008), "input is at address 0x1008");
        refused(pool_with(|p| p.partial_sums = 0), "partial_sums is at address 0x0");
    }

    #[test]
    fn classifier_refuses_what_the_kernel_does_not_take() {
        refused(classifier_with(|p| p.c = 1284), "classifier: c is 1284, expected a multiple of 8");
        refused(
            classifier_with(|p| p.c = 3080),
            "c is 3080, expected a multiple of 8, at most 3072",
        );
        refused(classifier_with(|p| p.classes = 0), "classes is 0");
        refused(classifier_with(|p| p.tiles = -1), "tiles is -1");
        refused(classifier_with(|p| p.classes = 2_000_000), "weight has");
        refused(classifier_with(|p| p.features = 0x4008), "features is at address 0x4008");
        refused(classifier_with(|p| p.bias = 2), "bias is at address 0x2");
        classifier_with(|p| p.classes = 1).unwrap();
    }

    #[test]
    fn top_k_refuses_what_the_kernel_does_not_take() {
        refused(top_k_with(|p| p.k = 1001), "top_k: k is 1001, expected at most the number of");
        refused(top_k_with(|p| p.k = 0), "k is 0");
        refused(top_k_with(|p| p.n = 3_000_000), "logits has");
        refused(top_k_with(|p| p.top_classes = 0), "top_classes is at address 0x0");
        top_k_with(|p| p.k = 1000).unwrap();
    }
}
