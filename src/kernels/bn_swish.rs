//! Launches of `kernels/bn_swish.cu`.

use super::launch::Check;
use super::params::BnSwishParams;
use super::{Geometry, Launch, LaunchError};
use crate::weights::Precision;

/// The file's stem.
pub const IMAGE: &str = "bn_swish";

/// The kernels of the file.
pub const ENTRIES: [&str; 2] = ["effnet_bn_swish_f16", "effnet_bn_swish_f32"];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
pub const RESIDENT_BLOCKS: u32 = 3;

/// Threads of a block.
const THREADS: u32 = 128;
/// Rows of a thread.
const THREAD_ROWS: u32 = 2;

/// The launch, or which argument the kernels do not take. Scale and shift, gate and skip may each
/// be absent; output may be input or skip, and must not overlap them otherwise.
pub fn launch(
    precision: Precision,
    params: BnSwishParams,
) -> Result<Launch<BnSwishParams>, LaunchError> {
    let p = &params;
    let check = Check(IMAGE);
    for (what, value) in [("rows", p.rows), ("pixels", p.pixels), ("c", p.c)] {
        check.at_least(what, value, 1)?;
    }
    check.that(p.rows % p.pixels == 0, "rows", p.rows.into(), "a multiple of pixels")?;
    check.that(p.c % 8 == 0, "c", p.c.into(), "a multiple of 8")?;
    check.activation(p.activation)?;
    check.elems("input", &[p.rows, p.c])?;
    check.address("input", p.input, 16)?;
    check.address("output", p.output, 16)?;
    if p.scale != 0 || p.shift != 0 {
        check.address("scale", p.scale, 16)?;
        check.address("shift", p.shift, 16)?;
    }
    check.optional("gate", p.gate, 16)?;
    check.optional("skip", p.skip, 16)?;

    let (kernel, channels) = match precision {
        Precision::Fp16 => (ENTRIES[0], 8),
        Precision::Fp32 => (ENTRIES[1], 4),
    };
    // Below 2^31, as the elements are.
    let threads = (p.rows as u32).div_ceil(THREAD_ROWS) * (p.c as u32 / channels);
    let geometry = Geometry {
        grid: [threads.div_ceil(THREADS), 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: 0,
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> BnSwishParams {
        BnSwishParams {
            input: 0x1000,
            scale: 0x2000,
            shift: 0x3000,
            gate: 0x4000,
            skip: 0x5000,
            output: 0x6000,
            rows: 98,
            pixels: 49,
            c: 40,
            activation: 2,
        }
    }

    #[test]
    fn geometry_covers_rows_and_channels() {
        let grid = |precision, params| launch(precision, params).unwrap().geometry.grid;
        // 49 pairs of rows of 5 or 10 vectors, by 128.
        assert_eq!(grid(Precision::Fp16, params()), [2, 1, 1]);
        assert_eq!(grid(Precision::Fp32, params()), [4, 1, 1]);
        let one = BnSwishParams { rows: 1, pixels: 1, c: 8, ..params() };
        assert_eq!(grid(Precision::Fp16, one), [1, 1, 1]);
        let parts =
            BnSwishParams { scale: 0, shift: 0, gate: 0, skip: 0, output: 0x1000, ..params() };
        assert_eq!(grid(Precision::Fp16, parts), [2, 1, 1]);
    }

    #[test]
    fn refusals_name_the_argument() {
        let refused = |change: fn(&mut BnSwishParams), message: &str| {
            let mut params = params();
            change(&mut params);
            let error = launch(Precision::Fp16, params).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        };
        refused(|p| p.rows = 0, "rows is 0");
        refused(|p| p.pixels = 0, "pixels is 0");
        refused(|p| p.rows = 97, "rows is 97, expected a multiple of pixels");
        refused(|p| p.c = 44, "c is 44, expected a multiple of 8");
        refused(|p| p.activation = 3, "activation is 3");
        refused(|p| (p.rows, p.c) = (49 << 20, 48), "input has");
        refused(|p| p.input = 0x1008, "input is at address 0x1008");
        refused(|p| p.output = 0, "output is at address 0x0");
        refused(|p| p.scale = 0, "scale is at address 0x0");
        refused(|p| p.shift = 0, "shift is at address 0x0");
        refused(|p| p.gate = 0x4004, "gate is at address 0x4004");
        refused(|p| p.skip = 0x5008, "skip is at address 0x5008");
    }
}
