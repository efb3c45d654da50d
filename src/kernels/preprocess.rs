//! Launches of `kernels/preprocess.cu`: from a decoded frame to the crop that the stem reads.
//!
//! [`resample`] follows a [`Recipe`] for a frame of one size: it computes the taps on the host, and
//! gives the launches once the addresses are known. The result agrees with
//! [`resize_and_crop`](crate::image::resize_and_crop): for Pillow and OpenCV it is the same levels;
//! for TensorFlow, whose CPU levels are fractions that may leave 0 to 255, it is those levels
//! clamped and rounded to the nearest, halves to even.

mod framing;
mod taps;

use self::framing::Axis;
use self::taps::Taps;
use super::launch::Check;
use super::params::{RESAMPLE_ROWS, RESAMPLE_THREADS, ResampleParams};
use super::{Geometry, Launch, LaunchError};
use crate::arch::Size;
use crate::image::{self, Interpolation, Recipe, RecipeError};
use std::ops::Range;

/// The file's stem.
pub const IMAGE: &str = "preprocess";

/// The kernels of the file.
pub const ENTRIES: [&str; 4] = [
    "effnet_resample_pillow_columns_u8",
    "effnet_resample_pillow_rows_u8",
    "effnet_resample_opencv_u8",
    "effnet_resample_tensorflow_u8",
];

/// Fewest blocks that a multiprocessor holds at once, to hide the time that a block waits.
/// One: no network runs them.
pub const RESIDENT_BLOCKS: u32 = 1;

const CHECK: Check = Check("resample");

/// Why a frame cannot be resampled on the device.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ResampleError {
    /// The recipe cannot be followed.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The frame is not one that the kernels take.
    #[error(transparent)]
    Frame(#[from] LaunchError),
}

/// The way from a frame of one size to a crop: everything but addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct Resample {
    interpolation: Interpolation,
    frame: Size,
    crop: Size,
    columns: Taps,
    rows: Taps,
    /// Rows of the frame that any tap needs.
    used: Range<usize>,
}

/// Device addresses that [`Resample::launches`] reads and writes. Each frame has its own, but for
/// the taps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResampleAddresses {
    /// The decoded frame, u8, `[h, w, 3]`.
    pub frame: u64,
    /// [`Resample::taps`], aligned to 16 bytes.
    pub taps: u64,
    /// [`Resample::between_bytes`] of scratch, aligned to 4 bytes; 0 where none are needed.
    pub between: u64,
    /// The crop, u8, `[h, w, 3]` of the recipe's size.
    pub output: u64,
}

/// Prepares the recipe's resize and crop for decoded frames of `[height, width]`.
pub fn resample(recipe: &Recipe, [h, w]: [usize; 2]) -> Result<Resample, ResampleError> {
    recipe.validate()?;
    let side = |what, side: usize| {
        let holds = (1..=image::MAX_IMAGE_SIDE).contains(&side);
        CHECK.that(holds, what, side.try_into().unwrap_or(i64::MAX), "between 1 and 65535")
    };
    side("h", h)?;
    side("w", w)?;
    CHECK.elems("frame", &[h as i32, w as i32, 3])?;

    let (frame, crop) = (Size { h, w }, recipe.size);
    let [rows, columns] = framing::axes(frame, recipe);
    let resample = match recipe.interpolation {
        Interpolation::PillowBicubic => {
            pillow(&image::pillow::BICUBIC, frame, crop, &rows, &columns)
        }
        Interpolation::PillowBilinear => {
            pillow(&image::pillow::BILINEAR, frame, crop, &rows, &columns)
        }
        Interpolation::OpencvBilinear => {
            let (columns, rows) = (taps::opencv_columns(&columns), taps::opencv_rows(&rows));
            (columns, rows, 0..h)
        }
        Interpolation::TensorflowBicubic => {
            (taps::tensorflow(&columns), taps::tensorflow(&rows), 0..h)
        }
    };
    let (columns, rows, used) = resample;
    let interpolation = recipe.interpolation;
    let resample = Resample { interpolation, frame, crop, columns, rows, used };
    CHECK.elems("between", &[resample.used.len() as i32, resample.columns.extent as i32, 3])?;
    Ok(resample)
}

/// The picture between the passes has the rows that are used, counted from the first, and columns
/// to a multiple of 4, so that each row is whole 32-bit words.
fn pillow(
    kernel: &image::pillow::Kernel,
    frame: Size,
    crop: Size,
    rows: &Axis,
    columns: &Axis,
) -> (Taps, Taps, Range<usize>) {
    let columns = taps::pillow(kernel, columns, crop.w.next_multiple_of(4));
    let mut rows = taps::pillow(kernel, rows, crop.h);
    let used = rows.used();
    // A crop without any of the picture: some row, of no weight.
    let used = if used.is_empty() { 0..1.min(frame.h) } else { used };
    rows.count_from(used.start);
    (columns, rows, used)
}

impl Resample {
    /// The taps of both axes, to be copied to the device: 32-bit words.
    pub fn taps(&self) -> Vec<i32> {
        let mut words = self.columns.words.clone();
        words.resize(self.rows_at(), 0);
        words.extend(&self.rows.words);
        words
    }

    /// Index of the first word of the rows' taps: a multiple of 16 bytes.
    fn rows_at(&self) -> usize {
        self.columns.words.len().next_multiple_of(4)
    }

    /// Bytes of the picture between two passes; 0 where there is one pass.
    pub fn between_bytes(&self) -> usize {
        match self.interpolation {
            Interpolation::PillowBicubic | Interpolation::PillowBilinear => {
                self.used.len() * self.columns.extent * 3
            }
            Interpolation::OpencvBilinear | Interpolation::TensorflowBicubic => 0,
        }
    }

    /// Bytes of the crop.
    pub fn output_bytes(&self) -> usize {
        self.crop.pixels() * 3
    }

    /// The launches, to be run in order: two where the library rounds between the passes, else one.
    pub fn launches(
        &self,
        addresses: ResampleAddresses,
    ) -> Result<Vec<Launch<ResampleParams>>, LaunchError> {
        let ResampleAddresses { frame, taps, between, output } = addresses;
        CHECK.address("frame", frame, 1)?;
        CHECK.address("taps", taps, 16)?;
        CHECK.address("output", output, 1)?;
        let blocks = |threads: usize| threads.div_ceil(RESAMPLE_THREADS as usize) as u32;
        let launch = |kernel, [x, y]: [u32; 2], params| {
            CHECK.grid("rows", y)?;
            let block = [RESAMPLE_THREADS as u32, 1, 1];
            let geometry = Geometry { grid: [x, y, 1], block, shared_bytes: 0 };
            Ok(Launch { image: IMAGE, kernel, geometry, params })
        };
        let (Size { h, w }, crop) = (self.frame, self.crop);
        let rows = taps + 4 * self.rows_at() as u64;
        let whole = ResampleParams {
            input: frame,
            columns: taps,
            rows,
            output,
            h_in: h as i32,
            w_in: w as i32,
            h_out: crop.h as i32,
            w_out: crop.w as i32,
        };
        match self.interpolation {
            Interpolation::PillowBicubic | Interpolation::PillowBilinear => {
                CHECK.address("between", between, 4)?;
                let (height, width) = (self.used.len(), self.columns.extent);
                let columns = ResampleParams {
                    input: frame + (self.used.start * w * 3) as u64,
                    rows: 0,
                    output: between,
                    h_in: height as i32,
                    h_out: height as i32,
                    w_out: width as i32,
                    ..whole
                };
                let rows = ResampleParams {
                    input: between,
                    columns: 0,
                    h_in: height as i32,
                    w_in: width as i32,
                    ..whole
                };
                let turns = height.div_ceil(RESAMPLE_ROWS as usize) as u32;
                let words = (crop.w * 3).div_ceil(4);
                Ok(vec![
                    launch(ENTRIES[0], [blocks(width), turns], columns)?,
                    launch(ENTRIES[1], [blocks(words), crop.h as u32], rows)?,
                ])
            }
            Interpolation::OpencvBilinear => {
                Ok(vec![launch(ENTRIES[2], [blocks(crop.w), crop.h as u32], whole)?])
            }
            Interpolation::TensorflowBicubic => {
                Ok(vec![launch(ENTRIES[3], [blocks(crop.w), crop.h as u32], whole)?])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Framing, Rounding, ShortSide};

    fn recipe(interpolation: Interpolation) -> Recipe {
        Recipe {
            interpolation,
            framing: Framing::ResizeThenCrop {
                short_side: ShortSide::Margin(32),
                rounding: Rounding::Torchvision,
            },
            mean: [0.5; 3],
            std: [0.5; 3],
            exif_orientation: false,
            size: Size { h: 224, w: 224 },
        }
    }

    const ADDRESSES: ResampleAddresses =
        ResampleAddresses { frame: 0x1001, taps: 0x10_0000, between: 0x20_0000, output: 0x30_0001 };

    #[test]
    fn pillow_resamples_the_rows_that_the_crop_needs() {
        let resample = resample(&recipe(Interpolation::PillowBicubic), [512, 700]).unwrap();
        // Twice as high as the crop: rows 16 to 240 of 256, each with four source rows to either
        // side.
        assert_eq!(resample.used, 2 * 16 + 1 - 4..2 * 239 + 1 + 4);
        assert_eq!(resample.between_bytes(), 454 * 224 * 3);
        let launches = resample.launches(ADDRESSES).unwrap();
        assert_eq!(launches.len(), 2);
        assert_eq!(launches[0].params.input, 0x1001 + 29 * 700 * 3);
        assert_eq!(launches[0].geometry.grid, [2, 114, 1]);
        assert_eq!(launches[1].geometry.grid, [2, 224, 1]);
        assert_eq!(launches[1].params.rows % 16, 0);
    }

    #[test]
    fn the_others_need_one_launch() {
        for interpolation in [Interpolation::OpencvBilinear, Interpolation::TensorflowBicubic] {
            let resample = resample(&recipe(interpolation), [375, 500]).unwrap();
            assert_eq!(resample.between_bytes(), 0);
            let launches = resample.launches(ADDRESSES).unwrap();
            assert_eq!(launches.len(), 1);
            assert_eq!(launches[0].geometry.grid, [2, 224, 1]);
        }
    }

    #[test]
    fn what_the_kernels_do_not_take_is_refused() {
        let good = recipe(Interpolation::PillowBicubic);
        let says = |error: &dyn std::error::Error, message: &str| {
            let error = error.to_string();
            assert!(error.contains(message), "{error:?} does not say {message:?}");
        };
        says(&resample(&good, [0, 9]).unwrap_err(), "resample: h is 0, expected between 1 and");
        says(&resample(&good, [9, 65_536]).unwrap_err(), "w is 65536");
        says(&resample(&good, [65_535, 65_535]).unwrap_err(), "frame has 12884508675 elements");
        let nothing = good.with_size(Size { h: 0, w: 3 });
        says(&resample(&nothing, [9, 9]).unwrap_err(), "invalid image recipe: size");

        let resample = resample(&good, [375, 500]).unwrap();
        let with = |change: fn(&mut ResampleAddresses)| {
            let mut addresses = ADDRESSES;
            change(&mut addresses);
            resample.launches(addresses).unwrap_err()
        };
        says(&with(|a| a.frame = 0), "frame is at address 0x0");
        says(&with(|a| a.taps += 4), "taps is at address 0x100004");
        says(&with(|a| a.between += 2), "between is at address 0x200002");
        says(&with(|a| a.output = 0), "output is at address 0x0");
    }
}
