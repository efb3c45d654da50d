//! Errors of images, each with a way out.

use super::recipe::RecipeError;
use super::{MAX_IMAGE_PIXELS, MAX_IMAGE_SIDE};
use crate::memory::TooLittleMemory;
use std::fmt;

/// An encoded image's format, recognised from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG.
    Jpeg,
    /// Portable network graphics.
    Png,
    /// WebP, lossy or lossless.
    WebP,
    /// Windows bitmap.
    Bmp,
    /// Graphics interchange format; its first frame counts.
    Gif,
    /// Tagged image file format.
    Tiff,
}

/// The accepted formats, for messages.
pub(super) const ACCEPTED: &str = "JPEG, PNG, WebP, BMP, GIF or TIFF";

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
            Format::Bmp => "BMP",
            Format::Gif => "GIF",
            Format::Tiff => "TIFF",
        })
    }
}

/// Why an image could not be made into an input tensor. It concerns this image alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Nothing was given.
    #[error("the image is empty (0 bytes); expected a {ACCEPTED} file")]
    Empty,
    /// The first bytes belong to no accepted format.
    #[error(
        "unknown image format: the data begin with {first:02x?}; expected a {ACCEPTED} file, \
         recognised by content and not by name"
    )]
    UnknownFormat {
        /// Up to eight first bytes.
        first: Vec<u8>,
    },
    /// The first bytes belong to a format that is not decoded.
    #[error("{name}, which is not decoded: expected a {ACCEPTED} file; {advice}")]
    OtherFormat {
        /// What the file is.
        name: &'static str,
        /// A way to an image that is decoded.
        advice: &'static str,
    },
    /// The data end before the picture does.
    #[error(
        "truncated {format} image: {detail}; the file has {len} bytes and is probably an \
         unfinished copy: fetch it again"
    )]
    Truncated {
        /// The format that the file begins as.
        format: Format,
        /// The part of the image that the decoder was reading.
        detail: String,
        /// Length of the encoded image in bytes.
        len: usize,
    },
    /// The data contradict themselves.
    #[error("corrupt {format} image: {detail}; re-encode it or fetch it again")]
    Corrupt {
        /// The format that the file begins as.
        format: Format,
        /// The decoder's own words.
        detail: String,
    },
    /// The decoder gave up in a way that it should not: it panicked. The panic is caught.
    #[error("the {format} decoder failed on this image: {detail}; re-encode it, as PNG perhaps")]
    Decoder {
        /// The format that the file begins as.
        format: Format,
        /// The panic's message.
        detail: String,
    },
    /// A valid file with a feature that is not decoded.
    #[error("unsupported {format} image: {detail}; convert it to 8-bit RGB first")]
    Unsupported {
        /// The format of the file.
        format: Format,
        /// The feature, in words.
        detail: String,
    },
    /// The header names more pixels than are accepted. Nothing has been allocated for them.
    #[error(
        "image too large: {width}x{height} (width x height), but at most {MAX_IMAGE_PIXELS} pixels \
         and {MAX_IMAGE_SIDE} a side are accepted; scale it down first"
    )]
    TooLarge {
        /// Width in the header.
        width: u64,
        /// Height in the header.
        height: u64,
    },
    /// The header names more pixels than the file can hold.
    #[error(
        "implausible {format} image: its header says {width}x{height} (width x height), for which \
         {len} bytes are too few; the file is truncated or made to exhaust memory"
    )]
    Implausible {
        /// The format of the file.
        format: Format,
        /// Width in the header.
        width: usize,
        /// Height in the header.
        height: usize,
        /// Length of the encoded image in bytes.
        len: usize,
    },
    /// A file that would take more work than its picture justifies. Nothing has been decoded.
    #[error(
        "costly {format} image: {detail}; it may be made to exhaust a machine: re-encode it if you \
         trust it"
    )]
    TooCostly {
        /// The format of the file.
        format: Format,
        /// The work, and what is accepted.
        detail: String,
    },
    /// Its pixels would take more memory than this process can have.
    #[error("{0}; scale it down first, or free memory")]
    TooLittleMemory(#[from] TooLittleMemory),
    /// A picture without pixels.
    #[error("the image has no pixels: it is {width}x{height} (width x height)")]
    ZeroSized {
        /// Width.
        width: usize,
        /// Height.
        height: usize,
    },
    /// An [`RgbImage8`](super::RgbImage8) whose pixels do not fill its size.
    #[error(
        "a {width}x{height} (width x height) RGB image has width * height * 3 samples, \
         but {found} were given"
    )]
    WrongPixelCount {
        /// Width.
        width: usize,
        /// Height.
        height: usize,
        /// Length of `pixels`.
        found: usize,
    },
    /// The caller's tensor has the wrong length.
    #[error("the output tensor must hold {expected} values ([h, w, 3]), but it holds {found}")]
    WrongOutputLength {
        /// `h * w * 3` of the recipe's size.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// The recipe makes no sense.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}
