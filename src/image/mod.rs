//! Conversion of encoded images to input tensors.
//!
//! [`preprocess`] is the whole way: [`decode`] to 8-bit RGB, [`resize_and_crop`] with the
//! arithmetic of the library that the checkpoint's family was evaluated with, and normalisation.
//! Each step follows its model closely enough that logits do not tell the two apart:
//!
//! | step | model | agreement |
//! |---|---|---|
//! | JPEG | libjpeg-turbo: accurate integer IDCT, triangle-filtered chroma; its ways with damaged files | bit for bit |
//! | [`Interpolation::PillowBicubic`], [`Interpolation::PillowBilinear`] | Pillow `Image.resize` on RGB | bit for bit |
//! | [`Interpolation::OpencvBilinear`] | `cv2.resize`, `INTER_LINEAR`, 8-bit | bit for bit |
//! | [`Interpolation::TensorflowBicubic`] | `tf.compat.v1.image.resize_bicubic` | f32 rounding |
//! | framing | torchvision, timm, PaddleClas, Google's `preprocessing.py` | same whole numbers |
//! | normalisation | `torchvision.transforms.Normalize` | bit for bit |
//!
//! [`preprocess_levels`] leaves the last step to the network: where resizing rounds to levels, as
//! Pillow's and OpenCV's does and TensorFlow's does not, a byte holds what four hold in f32.
//!
//! Checked with Pillow 11.3, OpenCV 4.10 and 5.0, torchvision 0.20 and TensorFlow 2.21. Pillow 13
//! resizes rows before columns for some strong changes of the aspect ratio, which rounds
//! differently; the older order, with which checkpoints were published, is followed. CMYK is
//! converted as by Pillow in OpenCV recipes too.
//!
//! # What an image may cost
//!
//! Images are files of strangers. What one takes is bounded by the size that its header states, and
//! that by the file's length:
//!
//! | what | bound |
//! |---|---|
//! | pixels | [`MAX_IMAGE_PIXELS`], 201,326,592 (16384x12288), and [`MAX_IMAGE_SIDE`] a side |
//! | pixels of a short file | 2^24, or 8,256 for each byte of the file |
//! | memory of one decode | 3 to 16 bytes a pixel by format and 4 MiB, beside the encoded bytes |
//! | memory of all decodes of the process | 1 GiB, or half of what there is; or one picture that takes more, alone |
//! | scans of a JPEG | 64; 16 for each sample on the average, 6 where arithmetic-coded, or 2^30 visits of samples |
//! | strips or tiles of a TIFF | 2^20 |
//! | pixels of a TIFF's strips or tiles, with those beyond the edges | 4 times the picture's, or 2^26 |
//! | compressed bytes of a TIFF's strips or tiles, those that share them counted each | 8 times the file |
//!
//! The bytes a pixel, for each format:
//!
//! | format | bytes for each of the picture's `width * height` pixels |
//! |---|---|
//! | PNG, BMP | `max(3, channels * bytes a channel)` |
//! | GIF | `max(5 f, 3 f + 3)`, `f` being the part of the canvas that the first frame covers; 5 where it is all |
//! | WebP | 7, with alpha or metadata 11, animated 15; and the tables of lossless codes |
//! | TIFF | 3, or 4 where planes are apart; the bytes of one strip or tile; and a copy of the file |
//! | JPEG | the samples in whole blocks, thrice where progressive, twice where lossless; 1 for each subsampled component; 3, of CMYK 4 |
//!
//! An orientation that turns the picture takes 6 at least. The tables of a lossless WebP take
//! 20 KiB for each group of its codes; only decoding tells how many groups there are, so as many
//! are counted as its bytes admit, one for every 60, and the format, 65,536. Its bytes may be
//! 5 for each pixel and 64 KiB.
//!
//! Texts and colour profiles are passed over without being unpacked. A decode waits for its memory
//! before it allocates any; that cannot deadlock, see `budget.rs`.

mod budget;
mod codecs;
mod decode;
mod error;
pub(crate) mod frame;
mod gif;
mod guard;
mod jpeg;
mod kind;
mod normalise;
mod opencv;
mod parts;
pub(crate) mod pillow;
mod png;
mod recipe;
mod restarts;
mod samples;
mod tensorflow;
mod tiff;
mod warning;
mod webp;

pub(crate) use budget::Budget;
pub use decode::{MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE, decode};
pub use error::{Format, ImageError};
pub use normalise::{LevelValues, Normalisation, normalise_pixels};
pub use recipe::{Framing, Interpolation, Library, Recipe, RecipeError, Rounding, ShortSide};
pub use warning::ImageWarning;

use crate::arch::Size;
use frame::Frame;
use std::ops::Range;

/// A decoded picture: 8-bit R, G, B, rows from the top, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbImage8 {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Samples, [height, width, 3].
    pub pixels: Vec<u8>,
}

/// A decoded picture, and what is wrong with the file that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The picture.
    pub image: RgbImage8,
    /// Faults of the file that the picture was decoded in spite of; empty as a rule.
    pub warnings: Vec<ImageWarning>,
}

impl RgbImage8 {
    fn check(&self) -> Result<(), ImageError> {
        let (width, height) = (self.width, self.height);
        if width == 0 || height == 0 {
            return Err(ImageError::ZeroSized { width, height });
        }
        if width > MAX_IMAGE_SIDE || height > MAX_IMAGE_SIDE || width * height > MAX_IMAGE_PIXELS {
            return Err(ImageError::TooLarge { width: width as u64, height: height as u64 });
        }
        if self.pixels.len() != width * height * 3 {
            let found = self.pixels.len();
            return Err(ImageError::WrongPixelCount { width, height, found });
        }
        Ok(())
    }
}

/// The part of a picture that is resized.
#[derive(Clone, Copy)]
struct View<'a> {
    image: &'a RgbImage8,
    top: usize,
    left: usize,
    size: Size,
}

impl View<'_> {
    /// Row `y` of the view, [size.w, 3].
    fn row(&self, y: usize) -> &[u8] {
        let start = ((self.top + y) * self.image.width + self.left) * 3;
        &self.image.pixels[start..start + self.size.w * 3]
    }
}

/// A resize of which only a window is wanted: pixels outside the window are not computed.
struct Resize<'a> {
    source: View<'a>,
    /// Size of the whole resized picture.
    resized: Size,
    /// Rows of the resized picture that are wanted.
    rows: Range<usize>,
    /// Columns of the resized picture that are wanted.
    columns: Range<usize>,
}

/// A sample of a crop: a level from 0 to 255.
trait Sample: Copy {
    const BLACK: Self;

    fn of_level(level: u8) -> Self;
}

impl Sample for u8 {
    const BLACK: u8 = 0;

    fn of_level(level: u8) -> u8 {
        level
    }
}

impl Sample for f32 {
    const BLACK: f32 = 0.0;

    fn of_level(level: u8) -> f32 {
        f32::from(level)
    }
}

/// The part of the crop that the resized picture covers.
struct Window<'a, T> {
    values: &'a mut [T],
    /// Values from one row of the crop to the next.
    stride: usize,
    y0: usize,
    x0: usize,
    width: usize,
}

impl<T> Window<'_, T> {
    /// Row `y` of the window, [width, 3].
    fn row(&mut self, y: usize) -> &mut [T] {
        let start = (self.y0 + y) * self.stride + self.x0 * 3;
        &mut self.values[start..start + self.width * 3]
    }
}

/// An encoded image as the normalised NHWC tensor that the recipe describes.
///
/// `out` is [size.h, size.w, 3] of `recipe.size` and is written as a whole, or left in an
/// unspecified state with an error. The result is what is wrong with the image that was decoded all
/// the same. Value: `(x / 255 - mean) / std`, evaluated in f32 in that
/// order, as torchvision's `ToTensor` and `Normalize` do.
///
/// ```
/// use effnet::arch::Size;
/// use effnet::image::{Framing, Interpolation, Recipe, Rounding, ShortSide, preprocess};
///
/// let recipe = Recipe {
///     interpolation: Interpolation::PillowBicubic,
///     framing: Framing::ResizeThenCrop {
///         short_side: ShortSide::CropPct(0.875),
///         rounding: Rounding::Torchvision,
///     },
///     mean: [0.485, 0.456, 0.406],
///     std: [0.229, 0.224, 0.225],
///     exif_orientation: false,
///     size: Size::square(224),
/// };
/// let encoded = include_bytes!("../../tests/fixtures/images/photos/chelsea.jpg");
/// let mut tensor = vec![0.0; 224 * 224 * 3];
/// preprocess(encoded, &recipe, &mut tensor)?;
/// # Ok::<(), effnet::image::ImageError>(())
/// ```
pub fn preprocess(
    encoded: &[u8],
    recipe: &Recipe,
    out: &mut [f32],
) -> Result<Vec<ImageWarning>, ImageError> {
    preprocess_within(encoded, recipe, out, Budget::shared())
}

/// As [`preprocess`] within a budget, of which nothing remains reserved.
pub(crate) fn preprocess_within(
    encoded: &[u8],
    recipe: &Recipe,
    out: &mut [f32],
    budget: &Budget,
) -> Result<Vec<ImageWarning>, ImageError> {
    decode_and_resize(encoded, recipe, out, budget, preprocess_pixels)
}

/// As [`preprocess`], of a picture that is decoded already, and turned as it should be.
///
/// # Errors
///
/// [`ImageError`] where the recipe, the length of `out` or the picture's own does not fit.
pub fn preprocess_pixels(
    image: &RgbImage8,
    recipe: &Recipe,
    out: &mut [f32],
) -> Result<(), ImageError> {
    resize_and_crop(image, recipe, out)?;
    recipe.normalisation().apply(out);
    Ok(())
}

/// An encoded image as the levels, 0 to 255, that [`preprocess`] normalises: `out` is
/// [size.h, size.w, 3] of `recipe.size`, as there. Normalised, they are its values, bit for bit.
///
/// # Errors
///
/// Those of [`preprocess`], and [`ImageError::Recipe`] where the recipe's values are no whole
/// levels, see [`Recipe::rounds_to_levels`].
///
/// ```
/// # use effnet::arch::Size;
/// # use effnet::image::{Framing, Interpolation, Recipe, preprocess, preprocess_levels};
/// # let recipe = Recipe {
/// #     interpolation: Interpolation::OpencvBilinear,
/// #     framing: Framing::Squash { crop_pct: 1.0 },
/// #     mean: [0.485, 0.456, 0.406],
/// #     std: [0.229, 0.224, 0.225],
/// #     exif_orientation: false,
/// #     size: Size::square(64),
/// # };
/// # let encoded = include_bytes!("../../tests/fixtures/images/photos/chelsea.jpg");
/// assert!(recipe.rounds_to_levels());
/// let (mut levels, mut values) = (vec![0; 64 * 64 * 3], vec![0.0; 64 * 64 * 3]);
/// preprocess_levels(encoded, &recipe, &mut levels)?;
/// preprocess(encoded, &recipe, &mut values)?;
/// assert_eq!(recipe.normalisation().values(&levels), values);
/// # Ok::<(), effnet::image::ImageError>(())
/// ```
pub fn preprocess_levels(
    encoded: &[u8],
    recipe: &Recipe,
    out: &mut [u8],
) -> Result<Vec<ImageWarning>, ImageError> {
    recipe.expect_levels()?;
    decode_and_resize(encoded, recipe, out, Budget::shared(), preprocess_pixels_levels)
}

/// As [`preprocess_levels`], of a picture that is decoded already, and turned as it should be.
///
/// # Errors
///
/// Those of [`preprocess_pixels`], and [`ImageError::Recipe`] as in [`preprocess_levels`].
pub fn preprocess_pixels_levels(
    image: &RgbImage8,
    recipe: &Recipe,
    out: &mut [u8],
) -> Result<(), ImageError> {
    recipe.expect_levels()?;
    resized(image, recipe, out, |_, _| unreachable!("recipes with fractions are refused"))
}

/// Decodes, within a budget of which nothing remains reserved, and writes the crop.
fn decode_and_resize<T>(
    encoded: &[u8],
    recipe: &Recipe,
    out: &mut [T],
    budget: &Budget,
    resize: impl FnOnce(&RgbImage8, &Recipe, &mut [T]) -> Result<(), ImageError>,
) -> Result<Vec<ImageWarning>, ImageError> {
    recipe.validate()?;
    check_length(recipe, out)?;
    let library = recipe.interpolation.library();
    let (Decoded { image, warnings }, _reserved) =
        decode::decode_within(encoded, library, recipe.exif_orientation, budget)?;
    resize(&image, recipe, out)?;
    Ok(warnings)
}

/// Resizes and crops by the recipe's framing and interpolation, without normalising.
///
/// `out` is [size.h, size.w, 3] of `recipe.size`, in levels 0 to 255. The Pillow and OpenCV kernels
/// give whole levels; TensorFlow's gives fractions and may leave the range by overshooting. Where
/// the resized picture does not cover the crop, the rest is black, as torchvision's `CenterCrop`.
pub fn resize_and_crop(
    image: &RgbImage8,
    recipe: &Recipe,
    out: &mut [f32],
) -> Result<(), ImageError> {
    resized(image, recipe, out, tensorflow::resize)
}

/// As [`resize_and_crop`], in samples of any type; `fractions` is the kernel that does not round to
/// levels.
fn resized<T: Sample>(
    image: &RgbImage8,
    recipe: &Recipe,
    out: &mut [T],
    fractions: impl FnOnce(&Resize<'_>, &mut Window<'_, T>),
) -> Result<(), ImageError> {
    recipe.validate()?;
    check_length(recipe, out)?;
    image.check()?;
    let Frame { top, left, source, resized, offset } =
        Frame::new(Size { h: image.height, w: image.width }, recipe);
    let (rows, columns) = (
        frame::covered(offset.y, recipe.size.h, resized.h),
        frame::covered(offset.x, recipe.size.w, resized.w),
    );
    // Where the covered window lies in the crop; zero unless the crop is larger than the picture.
    let (y0, x0) = ((-offset.y).max(0) as usize, (-offset.x).max(0) as usize);
    let width = columns.len();
    if rows.len() * width < recipe.size.pixels() {
        out.fill(T::BLACK);
    }
    let resize = Resize { source: View { image, top, left, size: source }, resized, rows, columns };
    let mut out = Window { values: out, stride: recipe.size.w * 3, y0, x0, width };
    match recipe.interpolation {
        Interpolation::PillowBicubic => pillow::resize(&resize, &pillow::BICUBIC, &mut out),
        Interpolation::PillowBilinear => pillow::resize(&resize, &pillow::BILINEAR, &mut out),
        Interpolation::OpencvBilinear => opencv::resize(&resize, &mut out),
        Interpolation::TensorflowBicubic => fractions(&resize, &mut out),
    }
    Ok(())
}

fn check_length<T>(recipe: &Recipe, out: &[T]) -> Result<(), ImageError> {
    let expected = recipe.size.pixels() * 3;
    if out.len() == expected {
        Ok(())
    } else {
        Err(ImageError::WrongOutputLength { expected, found: out.len() })
    }
}
