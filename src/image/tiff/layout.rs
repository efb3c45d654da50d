//! What a TIFF's directory says about its samples, and whether they are taken.

use super::names::{SAMPLE_FORMATS, compression_name, photometric_name};
use super::{Reader, corrupt, tiff_error, unsupported};
use crate::image::budget::peak;
use crate::image::codecs::turns;
use crate::image::decode::{MAX_IMAGE_PIXELS, check_size};
use crate::image::jpeg::PART_BYTES_PER_PIXEL;
use crate::image::{Format, ImageError};
use image::metadata::Orientation;
use tiff::tags::Tag;

/// The longest side of a tile, and the most samples of a pixel.
const MAX_TILE_SIDE: u32 = 1 << 16;
const MAX_SAMPLES: usize = 8;

/// The most bytes of one strip or tile: 16-bit RGBA of the largest picture.
const MAX_CHUNK_BYTES: u64 = MAX_IMAGE_PIXELS as u64 * 8;

/// Pixels that tiles of any picture may have, its own and those beyond its edges; else tiles may
/// have four times its own, as where each side is a pixel longer than a tile.
const ALWAYS_TILED: u64 = 1 << 26;

/// How often the bytes of a file may be in its strips or tiles. Files whose strips or tiles are the
/// same here and there may have those once; but bytes that give no pixels would be read for each.
const MAX_SHARING: u64 = 8;

/// Values of the tag `Compression`.
pub(super) const UNCOMPRESSED: u16 = 1;
pub(super) const JPEG: u16 = 7;

/// What the samples of a pixel mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
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
pub(super) struct Layout {
    pub width: usize,
    pub height: usize,
    pub colour: Colour,
    pub bits: u16,
    /// Samples of a pixel in the file.
    pub samples: usize,
    pub planes_apart: bool,
    pub compression: u16,
    /// Lowest bit first, as fax machines send.
    pub bits_reversed: bool,
    pub orientation: Orientation,
    /// Size of a whole strip or tile.
    pub chunk: (usize, usize),
    /// Place and length of each strip or tile.
    pub chunks: Vec<(u64, u64)>,
}

impl Layout {
    pub(super) fn new(reader: &mut Reader<'_>, len: usize) -> Result<Layout, ImageError> {
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
        // Strips that share their bytes would be copied, or turned round, again and again.
        let bytes = layout.chunks.iter().fold(0_u64, |sum, chunk| sum.saturating_add(chunk.1));
        let sharing = if as_jpeg || bits_reversed { 1 } else { MAX_SHARING };
        if compression != UNCOMPRESSED && bytes > len as u64 * sharing {
            return Err(corrupt(format!("strips or tiles of {bytes} bytes in a file of {len}")));
        }
        let planes = if planes_apart { samples } else { 1 };
        if layout.chunks_per_plane() * planes != layout.chunks.len() {
            return Err(corrupt(format!("{} strips or tiles", layout.chunks.len())));
        }
        let (pixels, chunk) = (layout.pixels() as u64, layout.chunk_pixels());
        let tiled = layout.chunks_per_plane() as u64 * chunk;
        if tiled > ALWAYS_TILED.max(pixels * 4) {
            let (w, h) = layout.chunk;
            return Err(corrupt(format!("strips or tiles of {w}x{h} for {width}x{height} pixels")));
        }
        if layout.chunk_bytes() > MAX_CHUNK_BYTES {
            return Err(ImageError::TooLarge { width: width.into(), height: height.into() });
        }
        Ok(layout)
    }

    pub(super) fn pixels(&self) -> usize {
        self.width * self.height
    }

    /// Pixels of a whole strip or tile.
    fn chunk_pixels(&self) -> u64 {
        self.chunk.0 as u64 * self.chunk.1 as u64
    }

    /// Bytes of a whole strip or tile as the decoder gives it.
    pub(super) fn chunk_bytes(&self) -> u64 {
        let row_bits = (self.chunk.0 * self.chunk_samples()) as u64 * u64::from(self.bits);
        row_bits.div_ceil(8) * self.chunk.1 as u64
    }

    /// The most bytes that decoding takes: of one strip or tile, of the samples where their planes
    /// are apart, of the picture, and of a copy of the file's `len` bytes that may be made.
    pub(super) fn memory(&self, len: usize) -> u64 {
        let pixels = self.pixels() as u64;
        let chunk = match self.compression {
            JPEG => PART_BYTES_PER_PIXEL * self.chunk_pixels(),
            _ => self.chunk_bytes(),
        };
        let picture = if self.planes_apart { self.named_samples().max(3) } else { 3 };
        peak(chunk + pixels * picture as u64 + len as u64, pixels, turns(self.orientation))
    }

    /// Samples of a pixel that its colour is made of.
    pub(super) fn named_samples(&self) -> usize {
        match self.colour {
            Colour::Grey | Colour::Palette => 1,
            Colour::Rgb | Colour::Ycbcr => 3,
            Colour::RgbPremultiplied | Colour::Cmyk => 4,
        }
    }

    /// Samples of a pixel in one strip or tile.
    pub(super) fn chunk_samples(&self) -> usize {
        if self.planes_apart { 1 } else { self.samples }
    }

    pub(super) fn chunks_across(&self) -> usize {
        self.width.div_ceil(self.chunk.0)
    }

    pub(super) fn chunks_per_plane(&self) -> usize {
        self.chunks_across() * self.height.div_ceil(self.chunk.1)
    }
}
