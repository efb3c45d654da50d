//! Encoded images to 8-bit RGB.

use super::error::{Format, ImageError};
use super::kind::{Kind, kind};
use super::recipe::Library;
use super::samples::{clipped, first_repeated, first_three};
use super::{Decoded, ImageWarning, RgbImage8, gif, guard, jpeg, tiff};
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
pub(super) const MAX_DECODER_BYTES: u64 = MAX_IMAGE_PIXELS as u64 * 8 + (64 << 20);

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
/// allocated for the pixels. A truncated image is an error, never a half grey picture; a JPEG with a
/// fault that libjpeg mends is decoded with an [`ImageWarning`]. A panic of a decoder is an
/// [`ImageError::Decoder`], and nothing of it is printed; for that, the first call puts a panic hook
/// before the one that is there, which passes all other panics on to it.
pub fn decode(
    encoded: &[u8],
    library: Library,
    exif_orientation: bool,
) -> Result<Decoded, ImageError> {
    let format = match kind(encoded) {
        Kind::Accepted(format) => format,
        Kind::Other { name, advice } => return Err(ImageError::OtherFormat { name, advice }),
        Kind::Unknown if encoded.is_empty() => return Err(ImageError::Empty),
        Kind::Unknown => {
            let first = encoded[..encoded.len().min(8)].to_vec();
            return Err(ImageError::UnknownFormat { first });
        }
    };
    let plain = |codec| decode_with(format, codec, encoded, library, exif_orientation);
    let decode = || match format {
        Format::Jpeg => jpeg::decode(encoded, exif_orientation),
        Format::Tiff => tiff::decode(encoded, library),
        Format::Gif => decode_gif(encoded),
        Format::Png => plain(ImageFormat::Png),
        Format::WebP => plain(ImageFormat::WebP),
        Format::Bmp => plain(ImageFormat::Bmp).map(|decoded| as_pillows_bmp(encoded, decoded)),
    };
    let failed = |detail| Err(ImageError::Decoder { format, detail });
    guard::caught(decode).unwrap_or_else(failed)
}

fn decode_gif(encoded: &[u8]) -> Result<Decoded, ImageError> {
    let frame = gif::first_frame(encoded);
    let roomy = frame.as_ref().map_or(encoded.into(), |frame| gif::with_room(encoded, frame));
    let decoded = decode_with(Format::Gif, ImageFormat::Gif, &roomy, Library::Pillow, false);
    let Decoded { mut image, warnings } = decoded?;
    if let Some(frame) = frame {
        frame.fill_around(&mut image.pixels, image.width);
    }
    Ok(Decoded { image, warnings })
}

/// Levels of 5 and 6 bits as Pillow widens them, `level * 255 / 31` rounded down; the decoder rounds
/// to the nearest.
fn as_pillows_bmp(encoded: &[u8], mut decoded: Decoded) -> Decoded {
    let number = |at: usize, bytes: usize| {
        encoded
            .get(at..at + bytes)
            .map_or(0, |n| n.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)))
    };
    // A header of 40 bytes or more, 16 bits a pixel; the mask of the green levels.
    if number(14, 4) < 40 || number(28, 2) != 16 {
        return decoded;
    }
    let green = if number(30, 4) == 3 && number(58, 4) == 0x7e0 { 63 } else { 31 };
    for pixel in decoded.image.pixels.as_chunks_mut::<3>().0 {
        for (level, most) in pixel.iter_mut().zip([31, green, 31]) {
            let narrow = (u32::from(*level) * most + 127) / 255;
            *level = (narrow * 255 / most) as u8;
        }
    }
    decoded
}

/// The formats of the `image` crate.
fn decode_with(
    format: Format,
    codec: ImageFormat,
    encoded: &[u8],
    library: Library,
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
    let orientation = if exif_orientation {
        // Broken metadata does not spoil a picture.
        decoder.orientation().unwrap_or(Orientation::NoTransforms)
    } else {
        Orientation::NoTransforms
    };
    let mut clips = false;
    let image = DynamicImage::from_decoder(decoder).map_err(fail)?;
    // A transparent level gives 16-bit grey an alpha channel that it has not in Pillow.
    let deep_grey = format == Format::Png && encoded.get(24..26) == Some(&[16, 0]);
    let image = match image {
        DynamicImage::ImageLumaA16(_) if deep_grey => image.into_luma16().into(),
        image => image,
    };
    let pixels = to_rgb8(format, image, library, &mut clips)?;
    let image = oriented(width as usize, height as usize, pixels, orientation);
    let warnings = if clips { vec![ImageWarning::ClippedGrey] } else { Vec::new() };
    Ok(Decoded { image, warnings })
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
fn to_rgb8(
    format: Format,
    image: DynamicImage,
    library: Library,
    clips: &mut bool,
) -> Result<Vec<u8>, ImageError> {
    let narrow = |levels: Vec<u16>| levels.into_iter().map(|level| (level >> 8) as u8).collect();
    Ok(match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma8(image) => first_repeated(&image.into_raw(), 1),
        DynamicImage::ImageLumaA8(image) => first_repeated(&image.into_raw(), 2),
        DynamicImage::ImageRgba8(image) => first_three(&image.into_raw(), 4),
        DynamicImage::ImageRgb16(image) => narrow(image.into_raw()),
        DynamicImage::ImageLuma16(image) if library == Library::Pillow => {
            first_repeated(&clipped(image.into_raw().into_iter().map(i64::from), clips), 1)
        }
        DynamicImage::ImageLuma16(image) => first_repeated(&narrow(image.into_raw()), 1),
        DynamicImage::ImageLumaA16(image) => first_repeated(&narrow(image.into_raw()), 2),
        DynamicImage::ImageRgba16(image) => first_three(&narrow(image.into_raw()), 4),
        other => {
            let detail = format!("samples of type {:?}", other.color());
            return Err(ImageError::Unsupported { format, detail });
        }
    })
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
