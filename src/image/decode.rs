//! Encoded images to 8-bit RGB.

use super::RgbImage8;
use super::error::{Format, ImageError};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use libjpeg_turbo_rs::{DecodeLimits, Decoder as JpegDecoder, JpegError, PixelFormat};
use std::error::Error;
use std::io::{self, Cursor};
use std::panic::{AssertUnwindSafe, catch_unwind};

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

/// Scans that a progressive JPEG may have; encoders write about ten.
const MAX_JPEG_SCANS: usize = 512;

/// An encoded image as 8-bit RGB.
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
/// allocated for the pixels. A truncated image is an error, never a half grey picture.
pub fn decode(encoded: &[u8], exif_orientation: bool) -> Result<RgbImage8, ImageError> {
    if encoded.is_empty() {
        return Err(ImageError::Empty);
    }
    let (format, codec) = match image::guess_format(encoded) {
        Ok(ImageFormat::Jpeg) => return decode_jpeg(encoded, exif_orientation),
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
    Ok(oriented(width as usize, height as usize, pixels, orientation))
}

/// libjpeg-turbo's arithmetic; the `image` crate's decoder differs from it by a level or two, which
/// moves logits by up to 0.15.
fn decode_jpeg(encoded: &[u8], exif_orientation: bool) -> Result<RgbImage8, ImageError> {
    let fail = |error| jpeg_error(encoded.len(), error);
    let unsupported =
        |detail: String| Err(ImageError::Unsupported { format: Format::Jpeg, detail });
    let limits = DecodeLimits {
        max_width: MAX_IMAGE_SIDE,
        max_height: MAX_IMAGE_SIDE,
        max_pixels: MAX_IMAGE_PIXELS as u64,
        max_scans: MAX_JPEG_SCANS,
        ..DecodeLimits::default()
    };
    let mut decoder = unpanicked(|| JpegDecoder::new_with_limits(encoded, limits)).map_err(fail)?;
    let header = decoder.header();
    let (width, height) = (usize::from(header.width), usize::from(header.height));
    check_size(Format::Jpeg, width, height, encoded.len())?;
    if header.precision != 8 {
        return unsupported(format!("{} bits a sample", header.precision));
    }
    let cmyk = match header.components.len() {
        1 | 3 => false,
        4 => true,
        n => return unsupported(format!("{n} components")),
    };
    // The decoder would index past a plane that is coarser than another one expects.
    let sampling = |i: usize| {
        let component = &header.components[i];
        (component.horizontal_sampling, component.vertical_sampling)
    };
    let coarser = |i| sampling(i).0 > sampling(0).0 || sampling(i).1 > sampling(0).1;
    if cmyk && (sampling(3) != sampling(0) || (1..3).any(coarser)) {
        return unsupported("CMYK whose first or black component is subsampled".into());
    }
    decoder.set_output_format(if cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let orientation = decoder
        .exif_orientation()
        .filter(|_| exif_orientation)
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms);
    let mut pixels = unpanicked(|| decoder.decode_image()).map_err(fail)?.data;
    if cmyk {
        pixels = inverted_cmyk_to_rgb(&pixels);
    }
    if pixels.len() != width * height * 3 {
        let detail = format!("{} samples decoded of {width}x{height}", pixels.len());
        return Err(ImageError::Corrupt { format: Format::Jpeg, detail });
    }
    Ok(oriented(width, height, pixels, orientation))
}

/// A panic of the decoder as an error: byte flips have made it index past a plane (version 0.9.0),
/// and one bad file must not end a batch. Nothing that the closure touches is used afterwards.
fn unpanicked<T>(decode: impl FnOnce() -> Result<T, JpegError>) -> Result<T, JpegError> {
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(JpegError::CorruptData("the decoder gave up".into())))
}

/// [.., 4] of 255 minus cyan, magenta, yellow and black to [.., 3] of red, green and blue.
fn inverted_cmyk_to_rgb(pixels: &[u8]) -> Vec<u8> {
    let rgb = |&[c, m, y, k]: &[u8; 4]| {
        let (k, [c, m, y]) = (u32::from(k), [c, m, y].map(|ink| 255 - u32::from(ink)));
        // k - ink * k / 255, the quotient rounded.
        let level = |ink: u32| {
            let product = ink * k + 128;
            (k - (((product >> 8) + product) >> 8)) as u8
        };
        [level(c), level(m), level(y)]
    };
    pixels.as_chunks::<4>().0.iter().flat_map(rgb).collect()
}

fn check_size(format: Format, width: usize, height: usize, len: usize) -> Result<(), ImageError> {
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
fn oriented(width: usize, height: usize, pixels: Vec<u8>, orientation: Orientation) -> RgbImage8 {
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

fn jpeg_error(len: usize, error: JpegError) -> ImageError {
    let format = Format::Jpeg;
    let detail = error.to_string();
    match error {
        JpegError::Unsupported(_) => ImageError::Unsupported { format, detail },
        JpegError::UnexpectedEof => ImageError::Truncated { format, detail, len },
        _ => ImageError::Corrupt { format, detail },
    }
}
