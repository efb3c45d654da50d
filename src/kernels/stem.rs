//! Launches of `kernels/stem.cu`.

use super::launch::Check;
use super::params::{STEM_THREADS, STEM_TILE_COLS, STEM_TILE_ROWS, StemParams};
use super::{Geometry, Launch, LaunchError};
use crate::weights::Precision;

/// The file's stem.
pub const IMAGE: &str = "stem";

/// The kernels of the file.
pub const ENTRIES: [&str; 5] = [
    "effnet_stem_u8_f16",
    "effnet_stem_f16_f16",
    "effnet_stem_f32_f16",
    "effnet_stem_u8_f32",
    "effnet_stem_f32_f32",
];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
pub const RESIDENT_BLOCKS: u32 = 3;

/// The most channels of a stem in FP16, whose weights lie in shared memory.
const MAX_CHANNELS_FP16: i32 = 512;
/// Fewest blocks of a launch in FP16 by which blocks make several tiles each: those that a GPU of 132
/// multiprocessors holds at once. Fewer tiles are one to a block.
const BLOCKS: u32 = 132 * 6;
/// The most tiles of a block in FP16.
const BLOCK_TILES: u32 = 8;

/// Type and range of the input's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StemInput {
    /// Levels 0 to 255, which the kernel normalises.
    U8,
    /// Normalised values.
    F16,
    /// Normalised values.
    F32,
}

impl StemInput {
    /// Bytes of an element.
    pub fn elem_bytes(self) -> usize {
        match self {
            StemInput::U8 => 1,
            StemInput::F16 => 2,
            StemInput::F32 => 4,
        }
    }
}

/// The launch for an input of one type, or which argument the kernels do not take.
pub fn launch(
    input: StemInput,
    precision: Precision,
    params: StemParams,
) -> Result<Launch<StemParams>, LaunchError> {
    let kernel = match (input, precision) {
        (StemInput::U8, Precision::Fp16) => ENTRIES[0],
        (StemInput::F16, Precision::Fp16) => ENTRIES[1],
        (StemInput::F32, Precision::Fp16) => ENTRIES[2],
        (StemInput::U8, Precision::Fp32) => ENTRIES[3],
        (StemInput::F32, Precision::Fp32) => ENTRIES[4],
        (StemInput::F16, Precision::Fp32) => {
            return Err(LaunchError::NoKernel {
                op: IMAGE,
                asked: "f16 input at fp32".to_owned(),
                available: "u8, f16 and f32 input at fp16, u8 and f32 input at fp32",
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
        ("c_out", p.c_out),
    ] {
        check.at_least(what, value, 1)?;
    }
    check.that(p.c_out % 8 == 0, "c_out", p.c_out.into(), "a multiple of 8")?;
    let fits = precision != Precision::Fp16 || p.c_out <= MAX_CHANNELS_FP16;
    check.that(fits, "c_out", p.c_out.into(), "at most 512 in fp16")?;
    check.window([3, 2], [p.pad_top, p.pad_left], [p.h_in, p.w_in], [p.h_out, p.w_out])?;
    check.activation(p.activation)?;
    check.elems("input", &[p.n, p.h_in, p.w_in, 3])?;
    check.elems("weight", &[3, 3, 3, p.c_out])?;
    check.elems("output", &[p.n, p.h_out, p.w_out, p.c_out])?;
    if input == StemInput::U8 {
        check.number(|std| std.is_normal() && std > 0.0, "std", p.std, "a number above 0")?;
        check.number(f32::is_finite, "mean", p.mean, "a finite number")?;
    }
    check.address("input", p.input, input.elem_bytes() as u64)?;
    check.address("weight", p.weight, 16)?;
    check.address("output", p.output, 16)?;
    // Both or neither.
    if p.scale != 0 || p.shift != 0 {
        check.address("scale", p.scale, 16)?;
        check.address("shift", p.shift, 16)?;
    }

    let rows = (p.h_out as u32).div_ceil(STEM_TILE_ROWS as u32);
    let cols = (p.w_out as u32).div_ceil(STEM_TILE_COLS as u32);
    check.grid("h_out / 8", rows)?;
    check.grid("n", p.n as u32)?;
    // The last tile's patch is indexed beyond the input before it is found to be there.
    check.that(p.w_in < 1 << 28, "w_in", p.w_in.into(), "less than 2^28")?;
    let (row_blocks, shared_bytes) = match precision {
        Precision::Fp32 => (rows, 0),
        Precision::Fp16 => {
            let tiles = u64::from(cols) * u64::from(rows) * p.n as u64;
            let of_block = (tiles / u64::from(BLOCKS)).clamp(1, BLOCK_TILES.into()) as u32;
            (rows.div_ceil(of_block), 72 * p.c_out as u32)
        }
    };
    let geometry = Geometry {
        grid: [cols, row_blocks, p.n as u32],
        block: [STEM_THREADS as u32, 1, 1],
        shared_bytes,
    };
    Ok(Launch { image: IMAGE, kernel, geometry, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 224 x 224 to 32 channels, batch 3.
    fn params() -> StemParams {
        StemParams {
            input: 0x1001,
            weight: 0x2000,
            scale: 0x3000,
            shift: 0x4000,
            output: 0x5000,
            mean: [0.5; 3],
            std: [0.25; 3],
            n: 3,
            h_in: 224,
            w_in: 224,
            h_out: 112,
            w_out: 112,
            c_out: 32,
            pad_top: 1,
            pad_left: 1,
            activation: 2,
            reserved: 0,
        }
    }

    #[track_caller]
    fn refused(change: fn(&mut StemParams), message: &str) {
        let mut params = params();
        change(&mut params);
        let error = launch(StemInput::U8, Precision::Fp16, params).expect_err(message).to_string();
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }

    #[test]
    fn geometry_covers_every_output() {
        let launch = launch(StemInput::U8, Precision::Fp16, params()).unwrap();
        assert_eq!(launch.kernel, "effnet_stem_u8_f16");
        let expected = Geometry { grid: [7, 14, 3], block: [128, 1, 1], shared_bytes: 72 * 32 };
        assert_eq!(launch.geometry, expected);
        let launch = super::launch(StemInput::U8, Precision::Fp32, params()).unwrap();
        assert_eq!(launch.geometry, Geometry { shared_bytes: 0, ..expected });
        // Of 98 tiles an image, two and then eight to a block.
        for (n, row_blocks) in [(16, 14), (17, 7), (128, 2)] {
            let params = StemParams { n, ..params() };
            let launch = super::launch(StemInput::U8, Precision::Fp16, params).unwrap();
            assert_eq!(launch.geometry.grid, [7, row_blocks, n as u32]);
        }
    }

    #[test]
    fn what_the_kernel_does_not_take_is_refused() {
        refused(|p| p.c_out = 36, "c_out is 36, expected a multiple of 8");
        refused(|p| p.c_out = 520, "c_out is 520, expected at most 512 in fp16");
        refused(|p| p.n = 0, "n is 0");
        refused(|p| p.h_out = 114, "h_out is 114");
        refused(|p| p.pad_left = 3, "pad_left is 3");
        refused(|p| p.std[1] = 0.0, "std");
        refused(|p| p.mean[2] = f32::NAN, "mean");
        refused(|p| p.input = 0, "input is at address 0x0");
        refused(|p| p.output = 0x5008, "output is at address 0x5008");
        refused(|p| p.scale = 0, "scale is at address 0x0");
        refused(|p| p.n = 40_000, "input has 6021120000 elements");
        let odd = launch(StemInput::F16, Precision::Fp16, params()).unwrap_err().to_string();
        assert!(odd.contains("input is at address 0x1001"), "{odd}");
        let none = launch(StemInput::F16, Precision::Fp32, params()).unwrap_err().to_string();
        assert!(none.contains("no kernel for f16 input at fp32"), "{none}");
        // Neither scale nor shift is no error.
        let plain = StemParams { scale: 0, shift: 0, ..params() };
        launch(StemInput::U8, Precision::Fp32, plain).unwrap();
    }
}
