//! PNG, WebP, BMP and GIF, through the decoders of the `image` crate.
//!
//! A decoder gives its samples into the end of a buffer, in which they become RGB from the
//! beginning on: no picture is held twice.

use super::budget::{Memory, OWN_BYTES, peak};
use super::decode::{check_size, oriented};
use super::error::{Format, ImageError};
use super::gif::FirstFrame;
use super::parts::Parts;
use super::recipe::Library;
use super::samples::{clipped_level, to_rgb};
use super::{Decoded, ImageWarning, gif, png, webp};
use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageResult, Limits};
use std::error::Error;
use std::io::{self, Cursor};

/// What there is to know of a picture before it is decoded.
struct Picture {
    format: Format,
    library: Library,
    orientation: Orientation,
    /// Bytes that the decoder takes for each pixel beside its samples, and for all together.
    beside: u64,
    tables: u64,
    /// Length of the file.
    len: usize,
}

pub(super) fn png(
    encoded: &[u8],
    library: Library,
    exif_orientation: bool,
    memory: &mut Memory<'_>,
) -> Result<Decoded, ImageError> {
    let len = encoded.len();
    // For chunks and rows; the samples are not among it.
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(OWN_BYTES);
    let needed = png::without_metadata(encoded, exif_orientation);
    let decoder = PngDecoder::with_limits(needed, limits);
    let mut decoder = decoder.map_err(|error| codec_error(Format::Png, len, error))?;
    let orientation = if exif_orientation {
        // Broken metadata does not spoil a picture.
        decoder.orientation().unwrap_or(Orientation::NoTransforms)
    } else {
        Orientation::NoTransforms
    };
    let picture = Picture { format: Format::Png, library, orientation, beside: 0, tables: 0, len };
    // A transparent level gives 16-bit grey an alpha channel that it has not in Pillow.
    let deep_grey = encoded.get(24..26) == Some(&[16, 0]);
    picture.decoded(decoder, deep_grey, memory)
}

pub(super) fn webp(
    encoded: &[u8],
    exif_orientation: bool,
    memory: &mut Memory<'_>,
) -> Result<Decoded, ImageError> {
    let (format, len) = (Format::WebP, encoded.len());
    let decoder = WebPDecoder::new(Cursor::new(encoded));
    let decoder = decoder.map_err(|error| codec_error(format, len, error))?;
    let headers = webp::headers(encoded);
    let (width, height) = decoder.dimensions();
    if let Some((w, h)) = headers.lossy.iter().find(|&&(w, h)| w > width || h > height) {
        let detail = format!("a picture of {w}x{h} in a canvas of {width}x{height}");
        return Err(ImageError::Corrupt { format, detail });
    }
    if headers.is_overlong(u64::from(width) * u64::from(height)) {
        let bytes = headers.lossless;
        let detail = format!("{bytes} bytes of lossless data for {width}x{height} pixels");
        return Err(ImageError::Corrupt { format, detail });
    }
    let orientation = headers.orientation.filter(|_| exif_orientation);
    let picture = Picture {
        format,
        library: Library::Pillow,
        orientation: orientation.unwrap_or(Orientation::NoTransforms),
        beside: headers.bytes_per_pixel - 3,
        tables: headers.code_bytes(),
        len,
    };
    picture.decoded(decoder, false, memory)
}

pub(super) fn bmp(encoded: &[u8], memory: &mut Memory<'_>) -> Result<Decoded, ImageError> {
    let picture = Picture::plain(Format::Bmp, encoded.len());
    let decoder = picture.checked(BmpDecoder::new(Cursor::new(encoded)))?;
    Ok(as_pillows_bmp(encoded, picture.decoded(decoder, false, memory)?))
}

/// The first frame, on its canvas.
pub(super) fn gif(encoded: &[u8], memory: &mut Memory<'_>) -> Result<Decoded, ImageError> {
    let picture = Picture::plain(Format::Gif, encoded.len());
    let picture = Picture { beside: gif::INDEX_BYTES, ..picture };
    let Some(frame) = gif::first_frame(encoded).filter(FirstFrame::has_pixels) else {
        // The decoder tells what is wrong.
        let decoder = picture.checked(GifDecoder::new(Cursor::new(encoded)))?;
        return picture.decoded(decoder, false, memory);
    };
    let (width, height) = frame.canvas;
    check_size(Format::Gif, width, height, encoded.len())?;
    check_size(Format::Gif, frame.width, frame.height, encoded.len())?;
    let (pixels, of_frame) = ((width * height) as u64, (frame.width * frame.height) as u64);
    let alone = of_frame * (4 + gif::INDEX_BYTES);
    let whole = frame.is_whole();
    memory.reserve(alone.max(if whole { 0 } else { 3 * (of_frame + pixels) }))?;
    let header = frame.header_alone(encoded);
    let decoder = GifDecoder::new(Parts::new(frame.alone(encoded, &header)));
    let decoder = picture.checked(decoder)?;
    let Decoded { image, warnings } = picture.decoded(decoder, false, &mut Memory::included())?;
    let image = if whole { image } else { frame.placed(image) };
    Ok(Decoded { image, warnings })
}

impl Picture {
    /// One whose format tells nothing more.
    fn plain(format: Format, len: usize) -> Picture {
        let orientation = Orientation::NoTransforms;
        Picture { format, library: Library::Pillow, orientation, beside: 0, tables: 0, len }
    }

    fn checked<T>(&self, result: ImageResult<T>) -> Result<T, ImageError> {
        result.map_err(|error| codec_error(self.format, self.len, error))
    }

    fn decoded(
        self,
        decoder: impl ImageDecoder,
        deep_grey: bool,
        memory: &mut Memory<'_>,
    ) -> Result<Decoded, ImageError> {
        let (width, height) = decoder.dimensions();
        let (width, height) = (width as usize, height as usize);
        check_size(self.format, width, height, self.len)?;
        let pixels = width * height;
        let colour = decoder.color_type();
        let size = usize::from(colour.bytes_per_pixel());
        let turned = turns(self.orientation);
        let decoding = pixels as u64 * (size.max(3) as u64 + self.beside) + self.tables;
        memory.reserve(peak(decoding, pixels as u64, turned))?;
        let mut samples = vec![0; pixels * size.max(3)];
        let start = samples.len() - pixels * size;
        self.checked(decoder.read_image(&mut samples[start..]))?;
        let mut clips = false;
        let deep = |level: [u8; 2]| u16::from_ne_bytes(level);
        let high = |level: [u8; 2]| (deep(level) >> 8) as u8;
        let mut clipped = |level| clipped_level(i64::from(deep(level)), &mut clips);
        let clip = self.library == Library::Pillow;
        match colour {
            ColorType::Rgb8 => {}
            ColorType::L8 => to_rgb(&mut samples, pixels, |&[y]| [y; 3]),
            ColorType::La8 => to_rgb(&mut samples, pixels, |&[y, _]| [y; 3]),
            ColorType::Rgba8 => to_rgb(&mut samples, pixels, |&[r, g, b, _]| [r, g, b]),
            ColorType::L16 if clip => to_rgb(&mut samples, pixels, |&level| [clipped(level); 3]),
            ColorType::La16 if clip && deep_grey => {
                to_rgb(&mut samples, pixels, |&[a, b, _, _]| [clipped([a, b]); 3]);
            }
            ColorType::L16 => to_rgb(&mut samples, pixels, |&level| [high(level); 3]),
            ColorType::La16 => to_rgb(&mut samples, pixels, |&[a, b, _, _]| [high([a, b]); 3]),
            ColorType::Rgb16 => {
                to_rgb(&mut samples, pixels, |&[a, b, c, d, e, f]| {
                    [[a, b], [c, d], [e, f]].map(high)
                });
            }
            ColorType::Rgba16 => to_rgb(&mut samples, pixels, |&[a, b, c, d, e, f, _, _]| {
                [[a, b], [c, d], [e, f]].map(high)
            }),
            other => {
                let (format, detail) = (self.format, format!("samples of type {other:?}"));
                return Err(ImageError::Unsupported { format, detail });
            }
        }
        let image = oriented(width, height, samples, self.orientation);
        let warnings = if clips { vec![ImageWarning::ClippedGrey] } else { Vec::new() };
        Ok(Decoded { image, warnings })
    }
}

/// Whether a picture is turned to the side, which takes it twice.
pub(super) fn turns(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
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
