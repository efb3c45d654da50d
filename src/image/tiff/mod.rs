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

mod layout;
mod names;
mod patch;

use super::decode::{MAX_DECODER_BYTES, oriented};
use super::samples::{clipped, first_repeated, first_three, inverted_cmyk_to_rgb};
use super::{Decoded, Format, ImageError, ImageWarning, Library, jpeg};
use layout::{Colour, JPEG, Layout, UNCOMPRESSED};
use std::io::{self, Cursor};
use tiff::TiffError;
use tiff::decoder::{Decoder, DecodingResult};
use tiff::tags::{ByteOrder, Tag};

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
        let patched = layout.patched(encoded, reader.byte_order() == ByteOrder::BigEndian)?;
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
            let fits =
                (wanted.0..=self.chunk.0).contains(&w) && (wanted.1..=self.chunk.1).contains(&h);
            if !fits || found != expected || levels.len() != w * h * found {
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
