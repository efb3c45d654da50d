//! JPEG, with libjpeg-turbo's arithmetic and its ways with damaged files.
//!
//! The `image` crate's decoder differs from libjpeg-turbo by a level or two, which moves logits by
//! up to 0.15.
//!
//! | fault | result |
//! |---|---|
//! | bytes that belong to nothing, between markers | a warning |
//! | a restart marker that is missing, surplus or out of turn | a warning; pixels as libjpeg's, which may give a segment up |
//! | data that end before their segment does, and go on after a restart marker | a warning; grey, as libjpeg |
//! | data that end before the picture, with the end marker there | a warning and grey, up to one block in [`MISSING_PART`]; else [`ImageError::Corrupt`] (libjpeg: grey) |
//! | a code that no Huffman table has | [`ImageError::Corrupt`] (libjpeg takes a zero, and the decoder used here cannot) |
//! | a coefficient beyond 16 bits, as damaged data may give | the arithmetic of libjpeg's C code; its SIMD code, which Pillow uses, saturates |
//! | no end marker, the data being all there | a warning (Pillow refuses, libjpeg warns) |
//! | a file that ends before the picture | [`ImageError::Truncated`], as in Pillow |
//! | an arithmetic-coded scan without data | [`ImageError::Corrupt`] (libjpeg: grey) |
//!
//! # Cost
//!
//! A progressive picture's scans go over the same coefficients again and again, and a scan may have
//! next to no data. So the scans are counted before anything is decoded: at most
//! [`MAX_JPEG_SCANS`], and together they may visit each of the picture's samples [`MAX_VISITS`]
//! times, arithmetic-coded ones [`MAX_ARITHMETIC_VISITS`], or [`ALWAYS_VISITED`] samples in all. A
//! sample is counted in whole blocks of 64, in each component. What encoders write, in scans and in
//! visits of a sample: sequential 1 to 4 and 1; `cjpeg -progressive` 10 (of CMYK 18) and 6;
//! mozjpeg, which tries 64 scans and keeps the best, at most 16 and 8. Beyond that it is
//! [`ImageError::TooCostly`].
//!
//! Memory, in bytes: the samples in whole blocks, thrice those where progressive (two for each
//! coefficient), twice where lossless; a byte for each pixel of a subsampled component; and 3 for
//! each pixel, or 4 of CMYK.

use super::budget::{Memory, peak};
use super::codecs::turns;
use super::decode::{MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE, check_size, oriented};
use super::error::{Format, ImageError};
use super::restarts::{Arithmetic, Unrepairable, Walk, walk};
use super::samples::{cmyk_to_rgb, inverted_cmyk_to_rgb, to_rgb};
use super::{Decoded, ImageWarning};
use image::metadata::Orientation;
use libjpeg_turbo_rs::{
    DecodeLimits, DecodeWarning, Decoder as JpegDecoder, Image, JpegError, PixelFormat,
};

/// Scans that a JPEG may have.
const MAX_JPEG_SCANS: usize = 64;

/// Scans, on the average, that may visit a sample.
const MAX_VISITS: u64 = 16;

/// The same of arithmetic-coded scans, which may code any number of blocks in hardly any data, and
/// take their decoder's whole work all the same.
const MAX_ARITHMETIC_VISITS: u64 = 6;

/// Visits that any JPEG may have: 64 scans over a component of 16 megapixels.
const ALWAYS_VISITED: u64 = 1 << 30;

/// A picture that ends early, by more than one block in so many, is an error.
const MISSING_PART: usize = 10;

pub(super) fn decode(
    encoded: &[u8],
    exif_orientation: bool,
    memory: &mut Memory<'_>,
) -> Result<Decoded, ImageError> {
    let most = (MAX_IMAGE_SIDE, MAX_IMAGE_SIDE);
    decode_with(encoded, exif_orientation, most, inverted_cmyk_to_rgb, memory)
}

/// A JPEG inside another file, of at most so many columns and rows; its memory is part of what that
/// file's picture has reserved. CMYK is taken as it is there: not inverted.
pub(super) fn decode_part(encoded: &[u8], most: (usize, usize)) -> Result<Decoded, ImageError> {
    decode_with(encoded, false, most, cmyk_to_rgb, &mut Memory::included())
}

/// The most bytes that [`decode_part`] takes for each pixel: four components in whole blocks, and
/// their coefficients; the picture, CMYK.
pub(super) const PART_BYTES_PER_PIXEL: u64 = 4 * 3 + 4;

fn decode_with(
    encoded: &[u8],
    exif_orientation: bool,
    most: (usize, usize),
    cmyk_to_rgb: fn(&[u8; 4]) -> [u8; 3],
    memory: &mut Memory<'_>,
) -> Result<Decoded, ImageError> {
    let walked = walk(encoded).map_err(|Unrepairable(detail)| corrupt(detail))?;
    check_scans(&walked, encoded.len())?;
    let mended = walked.repaired.as_ref().map_or(encoded, |repaired| &repaired.bytes);
    let fail = |error| jpeg_error(encoded.len(), walked.ended, error);
    let unsupported =
        |detail: String| Err(ImageError::Unsupported { format: Format::Jpeg, detail });
    let limits = DecodeLimits {
        max_width: most.0,
        max_height: most.1,
        max_pixels: MAX_IMAGE_PIXELS as u64,
        max_scans: MAX_JPEG_SCANS,
        ..DecodeLimits::default()
    };
    let mut decoder = JpegDecoder::new_with_limits(mended, limits).map_err(fail)?;
    let header = decoder.header();
    let (width, height) = (usize::from(header.width), usize::from(header.height));
    check_size(Format::Jpeg, width, height, encoded.len())?;
    if width > most.0 || height > most.1 {
        let (w, h) = most;
        return Err(corrupt(format!("{width}x{height} in a strip or tile of {w}x{h}")));
    }
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
    let pixels = (width * height) as u64;
    let all = 0..header.components.len();
    let most = |side: fn((u8, u8)) -> u8| all.clone().map(|i| side(sampling(i))).max();
    let finest = most(|s| s.0).zip(most(|s| s.1));
    let subsampled = all.clone().filter(|&i| Some(sampling(i)) != finest);
    // The walk knows no lossless frames, which have no blocks.
    let samples = walked.samples.max(pixels * all.len() as u64);
    let held = match (header.is_progressive, header.is_lossless) {
        (true, _) => 3,
        (_, true) => 2,
        _ => 1,
    };
    let decoding = samples * held + pixels * (subsampled.count() + if cmyk { 4 } else { 3 }) as u64;
    // As libjpeg does unless it is told otherwise; a whole picture is not changed by it.
    decoder.set_block_smoothing(true);
    decoder.set_output_format(if cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let orientation = decoder
        .exif_orientation()
        .filter(|_| exif_orientation)
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms);
    memory.reserve(peak(decoding, pixels, turns(orientation)))?;
    let decoded = match decoder.decode_image() {
        // The data end early: the lenient decoder tells where, and goes on where it can.
        Err(JpegError::UnexpectedEof) if walked.ended => {
            decoder.set_lenient(true);
            decoder.decode_image()
        }
        decoded => decoded,
    };
    let decoded = decoded.map_err(fail)?;
    let warnings = warnings(&walked, &decoded, encoded.len())?;
    let mut pixels = decoded.data;
    if pixels.len() != width * height * if cmyk { 4 } else { 3 } {
        return Err(corrupt(format!("{} samples decoded of {width}x{height}", pixels.len())));
    }
    if cmyk {
        to_rgb(&mut pixels, width * height, cmyk_to_rgb);
    }
    Ok(Decoded { image: oriented(width, height, pixels, orientation), warnings })
}

/// Whether the scans have data, and are not too many for the picture.
fn check_scans(walked: &Walk, len: usize) -> Result<(), ImageError> {
    let Walk { scans, samples, visits, ended, ref arithmetic, .. } = *walked;
    let costly = |detail| Err(ImageError::TooCostly { format: Format::Jpeg, detail });
    if scans > MAX_JPEG_SCANS {
        return costly(format!("{scans} scans, of which {MAX_JPEG_SCANS} are accepted"));
    }
    let most = if arithmetic.scans > 0 { MAX_ARITHMETIC_VISITS } else { MAX_VISITS };
    if visits > ALWAYS_VISITED.max(samples.saturating_mul(most)) {
        return costly(format!(
            "its {scans} scans visit {samples} samples {visits} times, where {most} visits \
             of each sample are accepted"
        ));
    }
    let Arithmetic { scans, empty, missing } = *arithmetic;
    if scans > 0 && !ended {
        // Where they are cut the decoder does not see: zeros follow.
        let detail = "its arithmetic-coded data have no end marker".to_owned();
        return Err(ImageError::Truncated { format: Format::Jpeg, detail, len });
    }
    if missing > 0 || empty == scans && scans > 0 {
        let missing = missing.max(1);
        return Err(corrupt(format!("{missing} of its {scans} scans have no data")));
    }
    Ok(())
}

fn corrupt(detail: String) -> ImageError {
    ImageError::Corrupt { format: Format::Jpeg, detail }
}

/// What is wrong with a JPEG that was decoded, or why that is too much.
fn warnings(walked: &Walk, decoded: &Image, len: usize) -> Result<Vec<ImageWarning>, ImageError> {
    let mut warnings = Vec::new();
    let (mut missing, mut all) = (0, 1);
    if let Some(repaired) = &walked.repaired {
        (missing, all) = (repaired.lost, repaired.blocks);
        warnings.push(ImageWarning::RestartMarkers { faults: repaired.faults });
    }
    for warning in &decoded.warnings {
        match warning {
            &DecodeWarning::ExtraneousData { bytes } => {
                warnings.push(ImageWarning::ExtraneousBytes { bytes });
            }
            &DecodeWarning::TruncatedData { decoded_mcus: found, total_mcus: blocks } => {
                // After a restart marker the data go on; else nothing comes after the first gap.
                if !walked.restarts {
                    (missing, all) = (blocks.saturating_sub(found), blocks);
                }
                warnings.push(ImageWarning::MissingBlocks { found, blocks });
            }
            DecodeWarning::UnsupportedRecovered { detail } => {
                let detail = detail.clone();
                return Err(ImageError::Unsupported { format: Format::Jpeg, detail });
            }
            // The decoder's pixels for such a block are not libjpeg's.
            other => return Err(corrupt(other.to_string())),
        }
    }
    if missing * MISSING_PART > all {
        return Err(corrupt(format!("{missing} of its {all} blocks are missing")));
    }
    if !walked.ended {
        // Scans after those that are there may be missing.
        if walked.scans != 1 {
            let detail = format!("it ends after {} scans, without an end marker", walked.scans);
            return Err(ImageError::Truncated { format: Format::Jpeg, detail, len });
        }
        warnings.push(ImageWarning::NoEnd);
    }
    Ok(warnings)
}

fn jpeg_error(len: usize, ended: bool, error: JpegError) -> ImageError {
    let format = Format::Jpeg;
    let detail = error.to_string();
    match error {
        JpegError::Unsupported(_) => ImageError::Unsupported { format, detail },
        JpegError::UnexpectedEof if !ended => ImageError::Truncated { format, detail, len },
        _ => ImageError::Corrupt { format, detail },
    }
}
