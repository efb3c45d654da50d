//! What is wrong with an image that is decoded all the same.

use std::fmt;

/// A fault of an image that is decoded all the same, as libjpeg decodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageWarning {
    /// Bytes of a JPEG that belong to nothing were passed over.
    ExtraneousBytes {
        /// The number of them.
        bytes: usize,
    },
    /// Restart markers of a JPEG are missing, surplus or out of turn.
    RestartMarkers {
        /// Places where another marker is due.
        faults: usize,
    },
    /// The data of some blocks of a JPEG are missing; such blocks are grey.
    MissingBlocks {
        /// Blocks whose data were found before the first such block.
        found: usize,
        /// Blocks in all.
        blocks: usize,
    },
    /// Grey levels above 255, of 16 bits or more, became white.
    ClippedGrey,
    /// A JPEG has all its data and no end marker.
    NoEnd,
}

impl fmt::Display for ImageWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageWarning::ExtraneousBytes { bytes } => {
                write!(f, "corrupt JPEG data: {bytes} extraneous bytes before a marker")
            }
            ImageWarning::RestartMarkers { faults } => {
                let s = if *faults == 1 { "" } else { "s" };
                write!(f, "corrupt JPEG data: {faults} restart marker{s} missing or out of turn")
            }
            ImageWarning::MissingBlocks { found, blocks } => write!(
                f,
                "corrupt JPEG data: the first {found} of {blocks} blocks are there, and not all \
                 after them; what is missing is grey"
            ),
            ImageWarning::ClippedGrey => f.write_str(
                "grey levels above 255 became white, as in Pillow, with which these weights' images \
                 are read; scale the image to 8 bits first if it is a photograph",
            ),
            ImageWarning::NoEnd => f.write_str("the JPEG has no end marker"),
        }
    }
}
