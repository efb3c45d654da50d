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

use super::decode::{MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE, check_size, oriented};
use super::error::{Format, ImageError};
use super::restarts::{Unrepairable, Walk, walk};
use super::samples::inverted_cmyk_to_rgb;
use super::{Decoded, ImageWarning};
use image::metadata::Orientation;
use libjpeg_turbo_rs::{
    DecodeLimits, DecodeWarning, Decoder as JpegDecoder, Image, JpegError, PixelFormat,
};

/// Scans that a progressive JPEG may have; encoders write about ten.
const MAX_JPEG_SCANS: usize = 512;

/// A picture that ends early, by more than one block in so many, is an error.
const MISSING_PART: usize = 10;

pub(super) fn decode(encoded: &[u8], exif_orientation: bool) -> Result<Decoded, ImageError> {
    decode_with(encoded, exif_orientation, inverted_cmyk_to_rgb)
}

/// A JPEG inside another file. CMYK is taken as it is there: not inverted.
pub(super) fn decode_part(encoded: &[u8]) -> Result<Decoded, ImageError> {
    decode_with(encoded, false, |pixels| {
        inverted_cmyk_to_rgb(&pixels.iter().map(|ink| 255 - ink).collect::<Vec<_>>())
    })
}

fn decode_with(
    encoded: &[u8],
    exif_orientation: bool,
    cmyk_to_rgb: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Result<Decoded, ImageError> {
    let walked = walk(encoded).map_err(|Unrepairable(detail)| corrupt(detail))?;
    let mended = walked.repaired.as_ref().map_or(encoded, |repaired| &repaired.bytes);
    let fail = |error| jpeg_error(encoded.len(), walked.ended, error);
    let unsupported =
        |detail: String| Err(ImageError::Unsupported { format: Format::Jpeg, detail });
    let limits = DecodeLimits {
        max_width: MAX_IMAGE_SIDE,
        max_height: MAX_IMAGE_SIDE,
        max_pixels: MAX_IMAGE_PIXELS as u64,
        max_scans: MAX_JPEG_SCANS,
        ..DecodeLimits::default()
    };
    let mut decoder = JpegDecoder::new_with_limits(mended, limits).map_err(fail)?;
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
    // As libjpeg does unless it is told otherwise; a whole picture is not changed by it.
    decoder.set_block_smoothing(true);
    decoder.set_output_format(if cmyk { PixelFormat::Cmyk } else { PixelFormat::Rgb });
    let orientation = decoder
        .exif_orientation()
        .filter(|_| exif_orientation)
        .and_then(Orientation::from_exif)
        .unwrap_or(Orientation::NoTransforms);
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
    if cmyk {
        pixels = cmyk_to_rgb(&pixels);
    }
    if pixels.len() != width * height * 3 {
        return Err(corrupt(format!("{} samples decoded of {width}x{height}", pixels.len())));
    }
    Ok(Decoded { image: oriented(width, height, pixels, orientation), warnings })
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
