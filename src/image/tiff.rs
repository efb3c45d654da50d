//! TIFF: its many kinds of samples to 8-bit RGB, as Pillow makes them.
//!
//! The `tiff` crate reads directories and uncompresses strips and tiles; what the samples mean is
//! told here. Strips that are JPEGs go to the JPEG decoder, whose pixels are libjpeg's.
//!
//! | kind | taken |
//! |---|---|
//! | grey | 1, 2, 4, 8, 16 and 32 bits, signed 8, 16 and 32, float 32; white as zero up to 8 bits |
//! | palette | 1, 2, 4 and 8 bits |
//! | RGB, with or without alpha or unnamed samples | 8 and 16 bits |
//! | CMYK | 8 and 16 bits |
//! | YCbCr | as JPEG |
//! | compression | none, LZW, deflate, PackBits, CCITT group 4, JPEG |
//! | arrangement | strips and tiles, planes together or apart, either byte order, BigTIFF, either bit order |
//!
//! Anything else is refused by its name.

use super::decode::{MAX_DECODER_BYTES, check_size, oriented};
use super::error::{Format, ImageError};
use super::jpeg;
use super::recipe::Library;
use super::samples::{clipped, first_repeated, first_three, inverted_cmyk_to_rgb};
use super::{Decoded, ImageWarning};
use image::metadata::Orientation;
use std::io::{self, Cursor};
use tiff::TiffError;
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::Tag;

/// The longest side of a tile, and the most samples of a pixel.
const MAX_TILE_SIDE: u32 = 1 << 16;
const MAX_SAMPLES: usize = 8;

/// Values of the tag `Compression`.
const UNCOMPRESSED: u16 = 1;
const JPEG: u16 = 7;

fn unsupported(detail: impl Into<String>) -> ImageError {
    ImageError::Unsupported { format: Format::Tiff, detail: detail.into() }
}

fn corrupt(detail: impl Into<String>) -> ImageError {
    ImageError::Corrupt { format: Format::Tiff, detail: detail.into() }
}

fn tiff_error(len: usize, error: TiffError) -> ImageError {
    let (format, detail) = (Format::Tiff, error.to_string());
    match error {
        TiffError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { format, detail, len }
        }
        TiffError::UnsupportedError(_) => ImageError::Unsupported { format, detail },
        _ => ImageError::Corrupt { format, detail },
    }
}

/// What the samples of a pixel mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colour {
    Grey,
    Palette,
    Rgb,
    /// The fourth sample is alpha, by which the others are multiplied.
    RgbPremultiplied,
    Cmyk,
    /// Only as JPEG, whose decoder makes it RGB.
    Ycbcr,
}

/// What the directory says about the samples.
struct Layout {
    width: usize,
    height: usize,
    colour: Colour,
    bits: u16,
    /// Samples of a pixel in the file.
    samples: usize,
    planes_apart: bool,
    compression: u16,
    /// Lowest bit first, as fax machines send.
    bits_reversed: bool,
    orientation: Orientation,
    /// Size of a whole strip or tile.
    chunk: (usize, usize),
    /// Place and length of each strip or tile.
    chunks: Vec<(u64, u64)>,
}

type Reader<'a> = Decoder<Cursor<&'a [u8]>>;

/// The first picture of a TIFF.
pub(super) fn decode(encoded: &[u8], library: Library) -> Result<Decoded, ImageError> {
    let fail = |error| tiff_error(encoded.len(), error);
    let mut reader = Decoder::new(Cursor::new(encoded)).map_err(fail)?;
    let layout = Layout::new(&mut reader, encoded.len())?;
    let palette = match layout.colour {
        Colour::Palette => Some(palette(&mut reader, layout.bits).map_err(fail)??),
        _ => None,
    };
    let Layout { width, height, orientation, .. } = layout;
    let mut warnings = Vec::new();
    let (pixels, samples) = if layout.compression == JPEG {
        let tables = reader.find_tag(Tag::JPEGTables).map_err(fail)?;
        let tables = tables.map(|tables| tables.into_u8_vec()).transpose().map_err(fail)?;
        let mut found = |chunk: usize| {
            let decoded = layout.jpeg(encoded, chunk, tables.as_deref())?;
            warnings.extend(decoded.warnings);
            Ok((decoded.image.pixels, (decoded.image.width, decoded.image.height)))
        };
        layout.assembled(&mut found)?
    } else {
        let patched = layout.patched(encoded, &reader)?;
        let bytes = patched.as_deref().unwrap_or(encoded);
        let mut limits = tiff::decoder::Limits::default();
        limits.decoding_buffer_size = MAX_DECODER_BYTES as usize;
        limits.intermediate_buffer_size = MAX_DECODER_BYTES as usize;
        reader = Decoder::new(Cursor::new(bytes)).map_err(fail)?.with_limits(limits);
        let mut clips = false;
        let mut found = |chunk: usize| {
            let (w, h) = reader.chunk_data_dimensions(chunk as u32);
            let (w, h) = (w as usize, h as usize);
            let row_bits = w * usize::from(layout.bits) * layout.chunk_samples();
            let chunk_bytes = (row_bits.div_ceil(8) * h) as u64;
            if layout.compression == UNCOMPRESSED && layout.chunks[chunk].1 < chunk_bytes {
                return Err(corrupt(format!("strip or tile {chunk} has too few bytes")));
            }
            let read = reader.read_chunk(chunk as u32).map_err(fail)?;
            Ok((layout.levels(read, w, library, &mut clips)?, (w, h)))
        };
        let assembled = layout.assembled(&mut found)?;
        warnings.extend(clips.then_some(ImageWarning::ClippedGrey));
        assembled
    };
    let pixels = match (layout.colour, samples) {
        (Colour::Grey, 1..) => first_repeated(&pixels, samples),
        (Colour::Palette, 1) => {
            let palette = palette.unwrap_or_default();
            let colour = |&index: &u8| palette.get(usize::from(index)).copied().unwrap_or([0; 3]);
            pixels.iter().flat_map(colour).collect()
        }
        (Colour::Rgb | Colour::Ycbcr, 3) => pixels,
        (Colour::Rgb, 4..) => first_three(&pixels, samples),
        (Colour::RgbPremultiplied, 4) => {
            let straight = |&[r, g, b, alpha]: &[u8; 4]| {
                let level = |level: u8| match alpha {
                    0 => 0,
                    _ => (u32::from(level) * 255 / u32::from(alpha)).min(255) as u8,
                };
                [level(r), level(g), level(b)]
            };
            pixels.as_chunks::<4>().0.iter().flat_map(straight).collect()
        }
        // A JPEG's are RGB already.
        (Colour::Cmyk, 3) => pixels,
        (Colour::Cmyk, 4..) => {
            let inverted = pixels.chunks_exact(samples).flat_map(|ink| &ink[..4]);
            inverted_cmyk_to_rgb(&inverted.map(|ink| 255 - ink).collect::<Vec<_>>())
        }
        (colour, samples) => {
            return Err(corrupt(format!("{samples} samples a pixel decoded of {colour:?}")));
        }
    };
    Ok(Decoded { image: oriented(width, height, pixels, orientation), warnings })
}

impl Layout {
    fn new(reader: &mut Reader<'_>, len: usize) -> Result<Layout, ImageError> {
        let fail = |error| tiff_error(len, error);
        let (width, height) = reader.dimensions().map_err(fail)?;
        check_size(Format::Tiff, width as usize, height as usize, len)?;
        let mut number = |tag, usual: u16| -> Result<u16, ImageError> {
            let found = reader.find_tag_unsigned_vec::<u16>(tag).map_err(fail)?;
            Ok(found.and_then(|values| values.first().copied()).unwrap_or(usual))
        };
        let photometric = number(Tag::PhotometricInterpretation, u16::MAX)?;
        let compression = number(Tag::Compression, UNCOMPRESSED)?;
        let bits = number(Tag::BitsPerSample, 1)?;
        let samples = usize::from(number(Tag::SamplesPerPixel, 1)?);
        let sample_format = number(Tag::SampleFormat, 1)?;
        let planes_apart = number(Tag::PlanarConfiguration, 1)? == 2 && samples > 1;
        let bits_reversed = number(Tag::FillOrder, 1)? == 2;
        let extra = number(Tag::ExtraSamples, 0)?;
        let predictor = number(Tag::Predictor, 1)?;
        let orientation = number(Tag::Orientation, 1)?;
        let kind = SAMPLE_FORMATS.get(usize::from(sample_format)).copied();
        let kind = kind.ok_or_else(|| unsupported(format!("sample format {sample_format}")))?;
        if let Some(name) = compression_name(compression) {
            return Err(unsupported(format!("compressed with {name}")));
        }
        let colour = match photometric {
            0 | 1 => Colour::Grey,
            2 if extra == 1 && samples == 4 => Colour::RgbPremultiplied,
            2 => Colour::Rgb,
            3 => Colour::Palette,
            5 => Colour::Cmyk,
            6 if compression == JPEG => Colour::Ycbcr,
            _ => return Err(unsupported(photometric_name(photometric))),
        };
        let as_jpeg = compression == JPEG;
        let taken = match colour {
            _ if samples == 0 || samples > MAX_SAMPLES => false,
            Colour::Ycbcr => bits == 8 && kind == "unsigned" && samples == 3 && !planes_apart,
            _ if as_jpeg => {
                let whole = matches!(
                    (colour, samples),
                    (Colour::Grey, 1) | (Colour::Rgb, 3) | (Colour::Cmyk, 4)
                );
                whole && photometric != 0 && bits == 8 && kind == "unsigned" && !planes_apart
            }
            Colour::Grey if samples == 1 => match (bits, kind) {
                (1 | 2 | 4 | 8, "unsigned") => true,
                (16 | 32, "unsigned") | (8 | 16 | 32, "signed") | (32, "float") => photometric == 1,
                _ => false,
            },
            // The other samples are alpha, or unnamed.
            Colour::Grey => {
                matches!(bits, 8 | 16) && kind == "unsigned" && photometric == 1 && extra != 1
            }
            Colour::Palette => matches!(bits, 1 | 2 | 4 | 8) && kind == "unsigned" && samples == 1,
            Colour::Rgb => matches!(bits, 8 | 16) && kind == "unsigned" && samples >= 3,
            Colour::RgbPremultiplied => bits == 8 && kind == "unsigned",
            Colour::Cmyk => matches!(bits, 8 | 16) && kind == "unsigned" && samples >= 4,
        };
        let odd = if as_jpeg { " as JPEG" } else { "" };
        let described = || {
            let s = if samples == 1 { "" } else { "s" };
            let name = photometric_name(photometric);
            format!("{samples} {kind} {bits}-bit sample{s} a pixel, {name}{odd}")
        };
        if !taken {
            return Err(unsupported(described()));
        }
        // The crate reads fewer samples than there are, and then predicts from the wrong ones.
        let named = if colour == Colour::Cmyk { 4 } else { 3 };
        if predictor != 1 && colour != Colour::Grey && samples > named && extra != 2 {
            return Err(unsupported(format!("{}, with a predictor", described())));
        }
        if width as u64 * height as u64 * samples as u64 > MAX_DECODER_BYTES {
            return Err(ImageError::TooLarge { width: width.into(), height: height.into() });
        }
        let (chunk_w, chunk_h) = reader.chunk_dimensions();
        if chunk_w.max(chunk_h) > MAX_TILE_SIDE {
            return Err(corrupt(format!("strips or tiles of {chunk_w}x{chunk_h}")));
        }
        let mut list = |strip, tile| {
            let found = reader.find_tag_unsigned_vec::<u64>(strip).map_err(fail)?;
            let found = match found {
                None => reader.find_tag_unsigned_vec::<u64>(tile).map_err(fail)?,
                found => found,
            };
            found.ok_or_else(|| corrupt("it has neither strips nor tiles"))
        };
        let offsets = list(Tag::StripOffsets, Tag::TileOffsets)?;
        let lengths = list(Tag::StripByteCounts, Tag::TileByteCounts)?;
        let orientation = u8::try_from(orientation).ok().and_then(Orientation::from_exif);
        let layout = Layout {
            width: width as usize,
            height: height as usize,
            colour,
            bits,
            samples,
            planes_apart,
            compression,
            bits_reversed,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
            chunk: (chunk_w as usize, chunk_h as usize),
            chunks: offsets.into_iter().zip(lengths).collect(),
        };
        let planes = if planes_apart { samples } else { 1 };
        if layout.chunks_per_plane() * planes != layout.chunks.len() {
            return Err(corrupt(format!("{} strips or tiles", layout.chunks.len())));
        }
        Ok(layout)
    }

    /// Samples of a pixel in one strip or tile.
    fn chunk_samples(&self) -> usize {
        if self.planes_apart { 1 } else { self.samples }
    }

    fn chunks_across(&self) -> usize {
        self.width.div_ceil(self.chunk.0)
    }

    fn chunks_per_plane(&self) -> usize {
        self.chunks_across() * self.height.div_ceil(self.chunk.1)
    }

    /// The file with the bytes of its strips in the usual order of bits, and a palette's indices
    /// declared as grey levels, for the `tiff` crate; none where nothing is to be changed.
    fn patched(&self, encoded: &[u8], reader: &Reader<'_>) -> Result<Option<Vec<u8>>, ImageError> {
        if !self.bits_reversed && self.colour != Colour::Palette {
            return Ok(None);
        }
        let mut bytes = encoded.to_vec();
        if self.bits_reversed {
            for &(at, len) in &self.chunks {
                let end = at.saturating_add(len).min(bytes.len() as u64) as usize;
                let start = (at.min(end as u64)) as usize;
                // Strips that overlap would be turned round twice: they are no longer than the file.
                for byte in &mut bytes[start..end] {
                    *byte = byte.reverse_bits();
                }
            }
        }
        if self.colour == Colour::Palette {
            set_grey(&mut bytes, reader.byte_order() == tiff::tags::ByteOrder::BigEndian)
                .ok_or_else(|| corrupt("its directory cannot be read"))?;
        }
        Ok(Some(bytes))
    }

    /// The whole picture from its strips or tiles, each `[h, w, samples]` of its own size: the
    /// samples and how many there are of a pixel.
    #[allow(clippy::type_complexity)]
    fn assembled(
        &self,
        chunk: &mut dyn FnMut(usize) -> Result<(Vec<u8>, (usize, usize)), ImageError>,
    ) -> Result<(Vec<u8>, usize), ImageError> {
        let (per_plane, across) = (self.chunks_per_plane(), self.chunks_across());
        let mut pixels = Vec::new();
        let mut samples = 0;
        for index in 0..self.chunks.len() {
            let (levels, (w, h)) = chunk(index)?;
            let (plane, place) = (index / per_plane, index % per_plane);
            let (left, top) = (place % across * self.chunk.0, place / across * self.chunk.1);
            let wanted = (self.chunk.0.min(self.width - left), self.chunk.1.min(self.height - top));
            let found = levels.len() / (w * h).max(1);
            if index == 0 {
                samples = if self.planes_apart { self.samples } else { found };
                pixels = vec![0; self.width * self.height * samples];
            }
            let expected = if self.planes_apart { 1 } else { samples };
            if w < wanted.0 || h < wanted.1 || found != expected || levels.len() != w * h * found {
                return Err(corrupt(format!(
                    "strip or tile {index} is {w}x{h} of {found} samples"
                )));
            }
            for y in 0..wanted.1 {
                let from = &levels[y * w * found..][..wanted.0 * found];
                let to = ((top + y) * self.width + left) * samples;
                if self.planes_apart {
                    let to = pixels[to + plane..].iter_mut().step_by(samples);
                    to.zip(from).for_each(|(to, from)| *to = *from);
                } else {
                    pixels[to..to + from.len()].copy_from_slice(from);
                }
            }
        }
        Ok((pixels, samples))
    }

    /// 8-bit levels of one strip or tile of width `w`; indices of a palette stay as they are.
    fn levels(
        &self,
        read: DecodingResult,
        w: usize,
        library: Library,
        clips: &mut bool,
    ) -> Result<Vec<u8>, ImageError> {
        let grey = self.colour == Colour::Grey && self.samples == 1;
        Ok(match read {
            DecodingResult::U8(levels) if self.bits == 8 => levels,
            DecodingResult::U8(packed) => {
                let (bits, mask) = (usize::from(self.bits), (1_u8 << self.bits) - 1);
                let scale = if grey { 255 / mask } else { 1 };
                let row_bytes = (w * bits).div_ceil(8);
                let unpacked = packed.chunks_exact(row_bytes).flat_map(|row| {
                    (0..w).map(move |x| {
                        let at = x * bits;
                        (row[at / 8] >> (8 - bits - at % 8) & mask) * scale
                    })
                });
                unpacked.collect()
            }
            DecodingResult::U16(levels) if !grey || library != Library::Pillow => {
                levels.into_iter().map(|level| (level >> 8) as u8).collect()
            }
            DecodingResult::U16(levels) => clipped(levels.into_iter().map(i64::from), clips),
            DecodingResult::U32(levels) => clipped(levels.into_iter().map(i64::from), clips),
            // As Pillow, which takes these bytes for unsigned ones.
            DecodingResult::I8(levels) => levels.into_iter().map(|level| level as u8).collect(),
            DecodingResult::I16(levels) => clipped(levels.into_iter().map(i64::from), clips),
            DecodingResult::I32(levels) => clipped(levels.into_iter().map(i64::from), clips),
            // A float made an integer is truncated, and NaN is 0.
            DecodingResult::F32(levels) => {
                clipped(levels.into_iter().map(|level| level as i64), clips)
            }
            _ => return Err(unsupported("samples of more than 32 bits")),
        })
    }

    /// A strip or tile that is a JPEG, whose tables may be the whole file's.
    fn jpeg(
        &self,
        encoded: &[u8],
        chunk: usize,
        tables: Option<&[u8]>,
    ) -> Result<Decoded, ImageError> {
        let (at, len) = self.chunks[chunk];
        let range = usize::try_from(at).ok().zip(usize::try_from(at.saturating_add(len)).ok());
        let part = range.and_then(|(start, end)| encoded.get(start..end));
        let part = part.ok_or_else(|| ImageError::Truncated {
            format: Format::Tiff,
            detail: format!("strip or tile {chunk} lies behind its end"),
            len: encoded.len(),
        })?;
        let body = part.strip_prefix(&[0xff, 0xd8]);
        let body = body.ok_or_else(|| corrupt(format!("strip or tile {chunk} is no JPEG")))?;
        // The directory says what the samples mean; Adobe's marker says it to the decoder.
        let transform = u8::from(self.colour == Colour::Ycbcr);
        let mut whole = vec![0xff, 0xd8, 0xff, 0xee, 0, 14];
        whole.extend(*b"Adobe\0\x64\0\0\0\0");
        whole.push(transform);
        if let Some(tables) = tables {
            let tables = tables.strip_prefix(&[0xff, 0xd8]).unwrap_or(tables);
            whole.extend(tables.strip_suffix(&[0xff, 0xd9]).unwrap_or(tables));
        }
        whole.extend(body);
        jpeg::decode_part(&whole)
    }
}

/// 3 times `2^bits` 16-bit levels, as colours.
fn palette(
    reader: &mut Reader<'_>,
    bits: u16,
) -> Result<Result<Vec<[u8; 3]>, ImageError>, TiffError> {
    let levels = reader.find_tag_unsigned_vec::<u16>(Tag::ColorMap)?.unwrap_or_default();
    let colours = 1_usize << bits;
    if levels.len() != 3 * colours {
        let found = levels.len();
        return Ok(Err(corrupt(format!("its palette has {found} levels, not {}", 3 * colours))));
    }
    let level = |at: usize| (levels[at] >> 8) as u8;
    Ok(Ok((0..colours).map(|i| [level(i), level(colours + i), level(2 * colours + i)]).collect()))
}

/// Declares the first directory's samples as grey levels with black as zero.
fn set_grey(bytes: &mut [u8], big_endian: bool) -> Option<()> {
    let number = |bytes: &[u8], at: usize, len: usize| {
        let part = bytes.get(at..at.checked_add(len)?)?;
        let add = |n: u64, &byte: &u8| n << 8 | u64::from(byte);
        Some(if big_endian { part.iter().fold(0, add) } else { part.iter().rev().fold(0, add) })
    };
    let big = number(bytes, 2, 2)? == 43;
    let (at, offset, count, entry) = if big { (8, 8, 8, 20) } else { (4, 4, 2, 12) };
    let directory = usize::try_from(number(bytes, at, offset)?).ok()?;
    let entries = number(bytes, directory, count)?.min(u64::from(u16::MAX)) as usize;
    for i in 0..entries {
        let at = directory.checked_add(count + i * entry)?;
        if number(bytes, at, 2)? == u64::from(Tag::PhotometricInterpretation.to_u16()) {
            let value = at + if big { 12 } else { 8 };
            let field = bytes.get_mut(value..value + 2)?;
            field.copy_from_slice(&if big_endian { [0, 1] } else { [1, 0] });
            return Some(());
        }
    }
    None
}

/// By the value of the tag `SampleFormat`.
const SAMPLE_FORMATS: [&str; 7] =
    ["unsigned", "unsigned", "signed", "float", "untyped", "complex integer", "complex float"];

/// The name of a compression that is not taken.
fn compression_name(compression: u16) -> Option<String> {
    Some(match compression {
        // None, group 4, LZW, JPEG, deflate twice, PackBits.
        1 | 4 | 5 | JPEG | 8 | 32_946 | 32_773 => return None,
        2 => "CCITT Huffman run lengths".into(),
        3 => "CCITT group 3".into(),
        6 => "JPEG of the old kind".into(),
        9 | 10 => "JBIG".into(),
        33_003 | 33_005 | 34_712 => "JPEG 2000".into(),
        34_887 => "LERC".into(),
        34_925 => "LZMA".into(),
        34_926 | 50_000 => "Zstandard".into(),
        34_927 | 50_001 => "WebP".into(),
        50_002 => "JPEG XL".into(),
        other => format!("method {other}"),
    })
}

fn photometric_name(photometric: u16) -> String {
    match photometric {
        0 => "grey with white as zero".into(),
        1 => "grey".into(),
        2 => "RGB".into(),
        3 => "palette".into(),
        4 => "transparency mask".into(),
        5 => "CMYK".into(),
        6 => "YCbCr without JPEG".into(),
        8..=10 => "CIE L*a*b*".into(),
        32_803 => "colour filter array (raw sensor data)".into(),
        34_892 => "linear raw sensor data".into(),
        u16::MAX => "no photometric interpretation".into(),
        other => format!("photometric interpretation {other}"),
    }
}
