//! Encoded images to 8-bit RGB.

use super::error::{Format, ImageError};
use super::{Decoded, RgbImage8, guard, jpeg};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use std::error::Error;
use std::io::{self, Cursor};

/// The most pixels that an image may have: where Pillow, too, refuses with a
/// `DecompressionBombError`.
pub const MAX_IMAGE_PIXELS: usize = 178_956_970;

/// The longest side that an image may have, as in JPEG's own header.
pub const MAX_IMAGE_SIDE: usize = 65_535;

/// The most bytes that a decoder may allocate: 16-bit RGBA of the largest picture, and 64 MiB of
/// its own.
const MAX_DECODER_BYTES: u64 = MAX_IMAGE_PIXELS as u64 * 8 + (64 << 20);

/// Up to this many pixels, any file length is believed; beyond it a file must have a byte for
/// every [`PIXELS_PER_BYTE`].
const ALWAYS_PLAUSIBLE: usize = 1 << 24;
/// Deflate, the densest of the usual codings, cannot exceed 1032:1, that is 8256 one-bit pixels.
const PIXELS_PER_BYTE: usize = 8256;

/// An encoded image as 8-bit RGB, with what is wrong with it.
///
/// The format is recognised from the content. Alpha is dropped and a palette applied, as Pillow's
/// `convert("RGB")` does; grey is repeated; of 16-bit samples the high byte is kept, as OpenCV and
/// TensorFlow do and Pillow does for colour. CMYK is taken as Adobe's, inverted, and multiplied out
/// with Pillow's arithmetic. Of a GIF, an animated WebP or a TIFF of many pages the first picture
/// counts. Embedded colour profiles are ignored, again as in Pillow.
///
/// The EXIF orientation is applied only if `exif_orientation` is true, except in TIFF, where it is
/// part of the format and applied always (Pillow and OpenCV agree).
///
/// Sizes are checked against [`MAX_IMAGE_PIXELS`] and [`MAX_IMAGE_SIDE`] before anything is
/// allocated for the pixels. A truncated image is an error, never a half grey picture; a JPEG with a
/// fault that libjpeg mends is decoded with an [`ImageWarning`](super::ImageWarning). A panic of a
/// decoder is an [`ImageError::Decoder`], and nothing of it is printed; for that, the first call
/// puts a panic hook before the one that is there, which passes all other panics on to it.
pub fn decode(encoded: &[u8], exif_orientation: bool) -> Result<Decoded, ImageError> {
    if encoded.is_empty() {
        return Err(ImageError::Empty);
    }
    let (format, codec) = match image::guess_format(encoded) {
        Ok(codec @ ImageFormat::Jpeg) => (Format::Jpeg, codec),
        Ok(codec @ ImageFormat::Png) => (Format::Png, codec),
        Ok(codec @ ImageFormat::WebP) => (Format::WebP, codec),
        Ok(codec @ ImageFormat::Bmp) => (Format::Bmp, codec),
        Ok(codec @ ImageFormat::Gif) => (Format::Gif, codec),
        Ok(codec @ ImageFormat::Tiff) => (Format::Tiff, codec),
        _ => {
            let first = encoded[..encoded.len().min(8)].to_vec();
            return Err(ImageError::UnknownFormat { first });
        }
    };
    let decode = || match format {
        Format::Jpeg => jpeg::decode(encoded, exif_orientation),
        _ => decode_with(format, codec, encoded, exif_orientation),
    };
    let failed = |detail| Err(ImageError::Decoder { format, detail });
    guard::caught(decode).unwrap_or_else(failed)
}

/// The formats of the `image` crate.
fn decode_with(
    format: Format,
    codec: ImageFormat,
    encoded: &[u8],
    exif_orientation: bool,
) -> Result<Decoded, ImageError> {
    let fail = |error| codec_error(format, encoded.len(), error);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(encoded), codec);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    check_size(format, width as usize, height as usize, encoded.len())?;
    let orientation = if exif_orientation || format == Format::Tiff {
        // Broken metadata does not spoil a picture.
        decoder.orientation().unwrap_or(Orientation::NoTransforms)
    } else {
        Orientation::NoTransforms
    };
    let pixels = to_rgb8(format, DynamicImage::from_decoder(decoder).map_err(fail)?)?;
    let image = oriented(width as usize, height as usize, pixels, orientation);
    Ok(Decoded { image, warnings: Vec::new() })
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

/// [h, w, 3] of any 8- or 16-bit picture.
fn to_rgb8(format: Format, image: DynamicImage) -> Result<Vec<u8>, ImageError> {
    let narrow = |samples: Vec<u16>| samples.into_iter().map(|s| (s >> 8) as u8).collect();
    Ok(match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma8(image) => first_repeated::<1>(&image.into_raw()),
        DynamicImage::ImageLumaA8(image) => first_repeated::<2>(&image.into_raw()),
        DynamicImage::ImageRgba8(image) => first_three::<4>(&image.into_raw()),
        DynamicImage::ImageRgb16(image) => narrow(image.into_raw()),
        DynamicImage::ImageLuma16(image) => first_repeated::<1>(&narrow(image.into_raw())),
        DynamicImage::ImageLumaA16(image) => first_repeated::<2>(&narrow(image.into_raw())),
        DynamicImage::ImageRgba16(image) => first_three::<4>(&narrow(image.into_raw())),
        other => {
            let detail = format!("samples of type {:?}", other.color());
            return Err(ImageError::Unsupported { format, detail });
        }
    })
}

fn first_repeated<const CHANNELS: usize>(samples: &[u8]) -> Vec<u8> {
    samples.as_chunks::<CHANNELS>().0.iter().flat_map(|pixel| [pixel[0]; 3]).collect()
}

fn first_three<const CHANNELS: usize>(samples: &[u8]) -> Vec<u8> {
    let three = |pixel: &[u8; CHANNELS]| [pixel[0], pixel[1], pixel[2]];
    samples.as_chunks::<CHANNELS>().0.iter().flat_map(three).collect()
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

fn codec_error(format: Format, len: usize, error: image::ImageError) -> ImageError {
    let detail = error.to_string();
    match &error {
        image::ImageError::Unsupported(_) => ImageError::Unsupported { format, detail },
        _ if ended_early(&error) => ImageError::Truncated { format, detail, len },
        _ => ImageError::Corrupt { format, detail },
    }
}

/// Whether any cause is the end of the data.
fn ended_early(error: &image::ImageError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof) {
            return true;
        }
        cause = error.source();
    }
    false
}
