//! Encoded images to 8-bit RGB.

use super::budget::{Budget, Memory, Reserved};
use super::error::{Format, ImageError};
use super::kind::{Kind, kind};
use super::recipe::Library;
use super::{Decoded, RgbImage8, codecs, guard, jpeg, tiff};
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

/// The most pixels that an image may have: those of a sensor of 200 megapixels, 16384x12288, the
/// largest that photographs come from. (Pillow refuses from 178,956,970 on, unless it is told
/// otherwise.)
pub const MAX_IMAGE_PIXELS: usize = 16_384 * 12_288;

/// The longest side that an image may have, as in JPEG's own header.
pub const MAX_IMAGE_SIDE: usize = 65_535;

/// Up to this many pixels, any file length is believed; beyond it a file must have a byte for
/// every [`PIXELS_PER_BYTE`].
const ALWAYS_PLAUSIBLE: usize = 1 << 24;
/// Deflate, the densest of the usual codings, cannot exceed 1032:1, that is 8256 one-bit pixels.
const PIXELS_PER_BYTE: usize = 8256;

/// An encoded image as 8-bit RGB, with what is wrong with it.
///
/// The format is recognised from the content. Alpha is dropped and a palette applied, as Pillow's
/// `convert("RGB")` does; grey is repeated. Of 16-bit samples the high byte is kept, except of grey
/// ones for `Library::Pillow`, which makes everything above level 255 white (checked with Pillow
/// 11.3 and 13.0). CMYK is multiplied out with Pillow's arithmetic; in JPEG it is taken as Adobe's,
/// inverted. Of a GIF, an animated WebP or a TIFF of many pages the first picture counts; a GIF's
/// canvas around its first frame has the transparent colour, else the first. Embedded colour
/// profiles are ignored, again as in Pillow.
///
/// The EXIF orientation is applied only if `exif_orientation` is true, except in TIFF, where it is
/// part of the format and applied always (Pillow and OpenCV agree).
///
/// Sizes are checked against [`MAX_IMAGE_PIXELS`] and [`MAX_IMAGE_SIDE`] before anything is
/// allocated for the pixels. What a picture may cost, and that all decodes of the process share a
/// budget of memory, is told in the [module's documentation](super).
///
/// A truncated image is an error, never a half grey picture; a JPEG with a fault that libjpeg mends
/// is decoded with an [`ImageWarning`](super::ImageWarning). A panic of a decoder is an
/// [`ImageError::Decoder`], and nothing of it is printed; for that, the first call puts a panic
/// hook before the one that is there, which passes all other panics on to it.
pub fn decode(
    encoded: &[u8],
    library: Library,
    exif_orientation: bool,
) -> Result<Decoded, ImageError> {
    decode_within(encoded, library, exif_orientation, Budget::shared()).map(|(decoded, _)| decoded)
}

/// As [`decode`] within a budget; what remains reserved of it is the picture's own bytes.
pub(super) fn decode_within<'a>(
    encoded: &[u8],
    library: Library,
    exif_orientation: bool,
    budget: &'a Budget,
) -> Result<(Decoded, Option<Reserved<'a>>), ImageError> {
    let format = match kind(encoded) {
        Kind::Accepted(format) => format,
        Kind::Other { name, advice } => return Err(ImageError::OtherFormat { name, advice }),
        Kind::Unknown if encoded.is_empty() => return Err(ImageError::Empty),
        Kind::Unknown => {
            let first = encoded[..encoded.len().min(8)].to_vec();
            return Err(ImageError::UnknownFormat { first });
        }
    };
    let mut memory = Memory::of(budget);
    let decode = || match format {
        Format::Jpeg => jpeg::decode(encoded, exif_orientation, &mut memory),
        Format::Tiff => tiff::decode(encoded, library, &mut memory),
        Format::Gif => codecs::gif(encoded, &mut memory),
        Format::Png => codecs::png(encoded, library, exif_orientation, &mut memory),
        Format::WebP => codecs::webp(encoded, exif_orientation, &mut memory),
        Format::Bmp => codecs::bmp(encoded, &mut memory),
    };
    let failed = |detail| Err(ImageError::Decoder { format, detail });
    let decoded = guard::caught(decode).unwrap_or_else(failed)?;
    let reserved = memory.keep(decoded.image.pixels.len());
    Ok((decoded, reserved))
}

pub(super) fn check_size(
    format: Format,
    width: usize,
    height: usize,
    len: usize,
) -> Result<(), ImageError> {
    if width == 0 || height == 0 {
        return Err(ImageError::ZeroSized { width, height });
    }
    let pixels = width as u64 * height as u64;
    if width > MAX_IMAGE_SIDE || height > MAX_IMAGE_SIDE || pixels > MAX_IMAGE_PIXELS as u64 {
        return Err(ImageError::TooLarge { width: width as u64, height: height as u64 });
    }
    if pixels as usize > ALWAYS_PLAUSIBLE.max(len.saturating_mul(PIXELS_PER_BYTE)) {
        return Err(ImageError::Implausible { format, width, height, len });
    }
    Ok(())
}

/// `pixels` is [height, width, 3].
pub(super) fn oriented(
    width: usize,
    height: usize,
    pixels: Vec<u8>,
    orientation: Orientation,
) -> RgbImage8 {
    if orientation == Orientation::NoTransforms {
        return RgbImage8 { width, height, pixels };
    }
    let image = RgbImage::from_raw(width as u32, height as u32, pixels);
    let mut image = DynamicImage::ImageRgb8(image.expect("length was checked when decoding"));
    image.apply_orientation(orientation);
    let image = image.into_rgb8();
    RgbImage8 {
        width: image.width() as usize,
        height: image.height() as usize,
        pixels: image.into_raw(),
    }
}
