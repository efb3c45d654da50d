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

mod directory;
mod layout;
mod names;
mod patch;

use super::budget::Memory;
use super::decode::oriented;
use super::samples::{clipped_level, cmyk_to_rgb, to_rgb};
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
pub(super) fn decode(
    encoded: &[u8],
    library: Library,
    memory: &mut Memory<'_>,
) -> Result<Decoded, ImageError> {
    let fail = |error| tiff_error(encoded.len(), error);
    directory::check(encoded)?;
    let mut reader = Decoder::new(Cursor::new(encoded)).map_err(fail)?;
    let layout = Layout::new(&mut reader, encoded.len())?;
    let palette = match layout.colour {
        Colour::Palette => palette(&mut reader, layout.bits).map_err(fail)??,
        _ => Vec::new(),
    };
    memory.reserve(layout.memory(encoded.len()))?;
    let mut warnings = Vec::new();
    let mut canvas = Canvas::new(&layout, palette);
    if layout.compression == JPEG {
        let tables = reader.find_tag(Tag::JPEGTables).map_err(fail)?;
        let tables = tables.map(|tables| tables.into_u8_vec()).transpose().map_err(fail)?;
        for chunk in 0..layout.chunks.len() {
            let Decoded { image, warnings: found } =
                layout.jpeg(encoded, chunk, tables.as_deref())?;
            warnings.extend(found);
            // A JPEG's colours are RGB already.
            let row = |y: usize, to: &mut Vec<u8>| {
                let from = &image.pixels[y * image.width * 3..][..image.width * 3];
                match layout.colour {
                    Colour::Grey => {
                        to.extend(from.as_chunks().0.iter().flat_map(|p: &[u8; 3]| [p[0]; 3]))
                    }
                    _ => to.extend_from_slice(from),
                }
            };
            canvas.put(chunk, (image.width, image.height), Samples::Rgb, row)?;
        }
    } else {
        let patched = layout.patched(encoded, reader.byte_order() == ByteOrder::BigEndian)?;
        let bytes = patched.as_deref().unwrap_or(encoded);
        let mut limits = tiff::decoder::Limits::default();
        // What is read again of the directory is no larger than what was read of it before.
        let directory = limits.decoding_buffer_size;
        limits.decoding_buffer_size = directory.max(layout.chunk_bytes() as usize);
        limits.intermediate_buffer_size = encoded.len();
        reader = Decoder::new(Cursor::new(bytes)).map_err(fail)?.with_limits(limits);
        let mut clips = false;
        for chunk in 0..layout.chunks.len() {
            let (w, h) = reader.chunk_data_dimensions(chunk as u32);
            let (w, h) = (w as usize, h as usize);
            let row_bits = w * usize::from(layout.bits) * layout.chunk_samples();
            let chunk_bytes = (row_bits.div_ceil(8) * h) as u64;
            if layout.compression == UNCOMPRESSED && layout.chunks[chunk].1 < chunk_bytes {
                return Err(corrupt(format!("strip or tile {chunk} has too few bytes")));
            }
            let read = reader.read_chunk(chunk as u32).map_err(fail)?;
            let found = layout.samples_read(&read, (w, h), chunk)?;
            let levels = layout.levels(&read, (w, found), library, &mut clips)?;
            canvas.put(chunk, (w, h), Samples::Levels(found), levels)?;
        }
        warnings.extend(clips.then_some(ImageWarning::ClippedGrey));
    }
    let Layout { width, height, orientation, .. } = layout;
    Ok(Decoded { image: oriented(width, height, canvas.pixels(), orientation), warnings })
}

/// What the rows of a strip or tile hold.
#[derive(Clone, Copy)]
enum Samples {
    Rgb,
    /// So many of a pixel.
    Levels(usize),
}

/// The picture that strips and tiles are put together to.
struct Canvas<'a> {
    layout: &'a Layout,
    palette: Vec<[u8; 3]>,
    /// [height, width, 3]; where planes are apart, their samples [height, width, named] at its end.
    pixels: Vec<u8>,
    /// One row of a strip or tile.
    row: Vec<u8>,
}

impl<'a> Canvas<'a> {
    fn new(layout: &'a Layout, palette: Vec<[u8; 3]>) -> Canvas<'a> {
        let samples = if layout.planes_apart { layout.named_samples().max(3) } else { 3 };
        Canvas { layout, palette, pixels: vec![0; layout.pixels() * samples], row: Vec::new() }
    }

    /// Puts a strip or tile of size (w, h) to its place; `read` appends one of its rows.
    fn put(
        &mut self,
        index: usize,
        (w, h): (usize, usize),
        samples: Samples,
        mut read: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<(), ImageError> {
        let layout = self.layout;
        let (per_plane, across) = (layout.chunks_per_plane(), layout.chunks_across());
        let (plane, place) = (index / per_plane, index % per_plane);
        let (left, top) = (place % across * layout.chunk.0, place / across * layout.chunk.1);
        let wanted =
            (layout.chunk.0.min(layout.width - left), layout.chunk.1.min(layout.height - top));
        let (named, wrong) = (layout.named_samples(), || {
            let found = match samples {
                Samples::Rgb => 3,
                Samples::Levels(found) => found,
            };
            corrupt(format!("strip or tile {index} is {w}x{h} of {found} samples"))
        });
        let fits =
            (wanted.0..=layout.chunk.0).contains(&w) && (wanted.1..=layout.chunk.1).contains(&h);
        let enough = match samples {
            Samples::Rgb => true,
            Samples::Levels(found) if layout.planes_apart => found == 1,
            Samples::Levels(found) => found >= named,
        };
        if !fits || !enough {
            return Err(wrong());
        }
        // Samples that no colour is made of.
        if layout.planes_apart && plane >= named {
            return Ok(());
        }
        for y in 0..wanted.1 {
            self.row.clear();
            read(y, &mut self.row);
            let to = (top + y) * layout.width + left;
            match samples {
                Samples::Rgb => {
                    let from = &self.row[..wanted.0 * 3];
                    self.pixels[to * 3..][..from.len()].copy_from_slice(from);
                }
                Samples::Levels(_) if layout.planes_apart => {
                    let start = self.pixels.len() - layout.pixels() * named;
                    let to = self.pixels[start + to * named + plane..].iter_mut().step_by(named);
                    to.zip(&self.row[..wanted.0]).for_each(|(to, from)| *to = *from);
                }
                Samples::Levels(found) => {
                    let to = self.pixels[to * 3..][..wanted.0 * 3].as_chunks_mut::<3>().0;
                    let from = self.row.chunks_exact(found);
                    match layout.colour {
                        Colour::Grey => put(to, from, |p| [p[0]; 3]),
                        Colour::Palette => put(to, from, |p| colour(&self.palette, p[0])),
                        Colour::Rgb | Colour::Ycbcr => put(to, from, |p| [p[0], p[1], p[2]]),
                        Colour::RgbPremultiplied => {
                            put(to, from, |p| straight(&[p[0], p[1], p[2], p[3]]));
                        }
                        Colour::Cmyk => put(to, from, |p| cmyk_to_rgb(&[p[0], p[1], p[2], p[3]])),
                    }
                }
            }
        }
        Ok(())
    }

    /// [height, width, 3] of the whole picture.
    fn pixels(self) -> Vec<u8> {
        let Canvas { layout, palette, mut pixels, .. } = self;
        let count = layout.pixels();
        if layout.planes_apart {
            match layout.colour {
                Colour::Grey => to_rgb(&mut pixels, count, |&[level]| [level; 3]),
                Colour::Palette => to_rgb(&mut pixels, count, |&[index]| colour(&palette, index)),
                Colour::Rgb | Colour::Ycbcr => {}
                Colour::RgbPremultiplied => to_rgb(&mut pixels, count, straight),
                Colour::Cmyk => to_rgb(&mut pixels, count, cmyk_to_rgb),
            }
        }
        pixels
    }
}

fn put<'a>(
    to: &mut [[u8; 3]],
    from: impl Iterator<Item = &'a [u8]>,
    rgb: impl Fn(&[u8]) -> [u8; 3],
) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = rgb(from));
}

fn colour(palette: &[[u8; 3]], index: u8) -> [u8; 3] {
    palette.get(usize::from(index)).copied().unwrap_or([0; 3])
}

/// Levels that alpha has not been multiplied by.
fn straight(&[r, g, b, alpha]: &[u8; 4]) -> [u8; 3] {
    [r, g, b].map(|level| match alpha {
        0 => 0,
        _ => (u32::from(level) * 255 / u32::from(alpha)).min(255) as u8,
    })
}

impl Layout {
    /// Samples of a pixel in a strip or tile of size (w, h), as it was read.
    fn samples_read(
        &self,
        read: &DecodingResult,
        (w, h): (usize, usize),
        chunk: usize,
    ) -> Result<usize, ImageError> {
        let levels = match read {
            DecodingResult::U8(packed) if self.bits < 8 => {
                let rows = packed.len() / (w * usize::from(self.bits)).div_ceil(8).max(1);
                let short = corrupt(format!("strip or tile {chunk} of {w}x{h} has {rows} rows"));
                return if rows < h { Err(short) } else { Ok(1) };
            }
            DecodingResult::U8(levels) => levels.len(),
            DecodingResult::U16(levels) => levels.len(),
            DecodingResult::U32(levels) => levels.len(),
            DecodingResult::I8(levels) => levels.len(),
            DecodingResult::I16(levels) => levels.len(),
            DecodingResult::I32(levels) => levels.len(),
            DecodingResult::F32(levels) => levels.len(),
            _ => return Err(unsupported("samples of more than 32 bits")),
        };
        let samples = levels / (w * h).max(1);
        if samples == 0 || levels != w * h * samples {
            return Err(corrupt(format!("strip or tile {chunk} of {w}x{h} has {levels} levels")));
        }
        Ok(samples)
    }

    /// Appends a row of a strip or tile, of `w` pixels of so many samples, in 8-bit levels; indices
    /// of a palette stay as they are.
    fn levels<'r>(
        &self,
        read: &'r DecodingResult,
        (w, samples): (usize, usize),
        library: Library,
        clips: &'r mut bool,
    ) -> Result<impl FnMut(usize, &mut Vec<u8>) + use<'r>, ImageError> {
        let grey = self.colour == Colour::Grey && self.samples == 1;
        let high = !grey || library != Library::Pillow;
        let bits = usize::from(self.bits);
        if bits < 8 && samples != 1 {
            return Err(corrupt(format!("{samples} samples of {bits} bits")));
        }
        let mask = if bits < 8 { (1_u8 << bits) - 1 } else { u8::MAX };
        let scale = if grey { 255 / mask } else { 1 };
        let row = w * samples;
        Ok(move |y: usize, to: &mut Vec<u8>| {
            let place = y * row..(y + 1) * row;
            let mut clip = |level: i64| clipped_level(level, clips);
            match read {
                DecodingResult::U8(levels) if bits == 8 => to.extend_from_slice(&levels[place]),
                DecodingResult::U8(packed) => {
                    let row_bytes = (w * bits).div_ceil(8);
                    let packed = &packed[y * row_bytes..][..row_bytes];
                    to.extend((0..w).map(|x| {
                        let at = x * bits;
                        (packed[at / 8] >> (8 - bits - at % 8) & mask) * scale
                    }));
                }
                DecodingResult::U16(levels) if high => {
                    to.extend(levels[place].iter().map(|level| (level >> 8) as u8));
                }
                DecodingResult::U16(levels) => {
                    to.extend(levels[place].iter().map(|&level| clip(i64::from(level))));
                }
                DecodingResult::U32(levels) => {
                    to.extend(levels[place].iter().map(|&level| clip(i64::from(level))));
                }
                // As Pillow, which takes these bytes for unsigned ones.
                DecodingResult::I8(levels) => {
                    to.extend(levels[place].iter().map(|&level| level as u8));
                }
                DecodingResult::I16(levels) => {
                    to.extend(levels[place].iter().map(|&level| clip(i64::from(level))));
                }
                DecodingResult::I32(levels) => {
                    to.extend(levels[place].iter().map(|&level| clip(i64::from(level))));
                }
                // A float made an integer is truncated, and NaN is 0.
                DecodingResult::F32(levels) => {
                    to.extend(levels[place].iter().map(|&level| clip(level as i64)));
                }
                // Refused before.
                _ => {}
            }
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
        jpeg::decode_part(&whole, self.chunk)
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
