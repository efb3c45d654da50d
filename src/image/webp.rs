//! What a WebP's headers say, before anything is decoded.

use image::metadata::Orientation;

/// More than any EXIF takes.
const MAX_EXIF_BYTES: usize = 1 << 20;

/// Bytes for each pixel: RGBA and RGB; or as much, with the levels of a lossy picture, its alpha's
/// RGBA and its alpha; or the canvas of an animation beside those.
const SIMPLE: u64 = 7;
const EXTENDED: u64 = 11;
const ANIMATED: u64 = 15;

/// Bytes of one group of prefix codes of a lossless picture: five tables of 1024 entries.
const GROUP_BYTES: u64 = 5 * 1024 * 4;
/// The most groups that a picture may have.
const MAX_GROUPS: u64 = 1 << 16;
/// Bytes of the file that a group takes at least, where its tables have that size: five times ten
/// code lengths, and the code of those lengths.
const GROUP_CODE_BYTES: u64 = 60;

/// A lossless picture has fewer bytes than these for each pixel and for its codes, or else its
/// encoder would have done better without them.
const BYTES_PER_PIXEL: u64 = 5;
const TABLE_BYTES: u64 = 64 << 10;

/// What a walk over the chunks finds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    /// Bytes that decoding takes for each pixel of the canvas.
    pub bytes_per_pixel: u64,
    /// Width and height of each lossy picture, of the frames too. The decoder allocates for them
    /// before it compares them with the canvas.
    pub lossy: Vec<(u32, u32)>,
    /// Bytes of the longest lossless picture or alpha.
    pub lossless: u64,
    /// Its EXIF orientation.
    pub orientation: Option<Orientation>,
}

impl Headers {
    /// Bytes that the prefix codes of a lossless picture may take: as many groups as its bytes
    /// admit. How many there are is only found by decoding, and the decoder keeps those, too, that
    /// no pixel uses.
    pub(super) fn code_bytes(&self) -> u64 {
        self.lossless.div_ceil(GROUP_CODE_BYTES).min(MAX_GROUPS) * GROUP_BYTES
    }

    /// Whether a lossless picture or alpha is longer than so many pixels uncompressed and a
    /// picture's own tables.
    pub(super) fn is_overlong(&self, pixels: u64) -> bool {
        self.lossless > pixels * BYTES_PER_PIXEL + TABLE_BYTES
    }
}

/// Chunks of a RIFF file from `at` on: names and contents, as far as they are there.
fn chunks(riff: &[u8], at: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = riff.get(at..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, body) = rest.split_at_checked(8)?;
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let (content, after) = body.split_at(length.min(body.len()));
        rest = after.get(length % 2..).unwrap_or_default();
        Some((&header[..4], content))
    })
}

/// The size in a lossy picture's header, which follows three bytes and a start code.
fn lossy_size(content: &[u8]) -> Option<(u32, u32)> {
    let side = |at: usize| {
        let bytes = content.get(at..at + 2)?;
        Some(u32::from(u16::from_le_bytes([bytes[0], bytes[1]]) & 0x3fff))
    };
    Some((side(6)?, side(8)?))
}

/// Walks over the chunks.
pub(super) fn headers(webp: &[u8]) -> Headers {
    let mut headers = Headers { bytes_per_pixel: SIMPLE, ..Headers::default() };
    for (name, content) in chunks(webp, 12) {
        match name {
            b"VP8X" => {
                let animated = content.first().is_some_and(|flags| flags & 2 != 0);
                headers.bytes_per_pixel = if animated { ANIMATED } else { EXTENDED };
            }
            b"VP8 " => headers.lossy.extend(lossy_size(content)),
            b"VP8L" | b"ALPH" => headers.lossless = headers.lossless.max(content.len() as u64),
            // Sixteen bytes of its own precede a frame's chunks.
            b"ANMF" => {
                for (name, content) in chunks(content, 16) {
                    match name {
                        b"VP8 " => headers.lossy.extend(lossy_size(content)),
                        b"VP8L" | b"ALPH" => {
                            headers.lossless = headers.lossless.max(content.len() as u64);
                        }
                        _ => {}
                    }
                }
            }
            // Only extended files have metadata.
            b"EXIF" if headers.bytes_per_pixel > SIMPLE && content.len() <= MAX_EXIF_BYTES => {
                let first = headers.orientation;
                headers.orientation = first.or_else(|| Orientation::from_exif_chunk(content));
            }
            _ => {}
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let padding = vec![0; data.len() % 2];
        [name, &(data.len() as u32).to_le_bytes()[..], data, &padding].concat()
    }

    #[test]
    fn headers_of_pictures_and_frames() {
        let lossy = |w: u16, h: u16| {
            [b"\0\0\0\x9d\x01\x2a", &w.to_le_bytes()[..], &h.to_le_bytes(), b"!"].concat()
        };
        let file = |chunks: &[Vec<u8>]| [b"RIFF\0\0\0\0WEBP".to_vec(), chunks.concat()].concat();
        let simple = headers(&file(&[chunk(b"VP8 ", &lossy(0x4007, 9))]));
        let lossy_only = Headers { bytes_per_pixel: 7, lossy: vec![(7, 9)], ..Headers::default() };
        assert_eq!(simple, lossy_only);
        let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let frame = [vec![0; 16], chunk(b"ALPH", &[0; 30]), chunk(b"VP8 ", &lossy(5, 6))].concat();
        let found = headers(&file(&[
            chunk(b"VP8X", &[2; 10]),
            chunk(b"ANMF", &frame),
            chunk(b"EXIF", exif),
        ]));
        assert_eq!((found.bytes_per_pixel, found.lossy), (15, vec![(5, 6)]));
        assert_eq!((found.lossless, found.orientation), (30, Some(Orientation::Rotate90)));
        // Metadata belong to extended files.
        assert_eq!(
            headers(&file(&[chunk(b"VP8L", &[0; 9]), chunk(b"EXIF", exif)])).orientation,
            None
        );
        for cut in 0..40 {
            headers(&file(&[chunk(b"VP8X", &[0; 10]), chunk(b"VP8 ", &lossy(3, 4))])[..cut]);
        }
    }

    #[test]
    fn groups_of_codes() {
        let of = |lossless| Headers { lossless, ..Headers::default() };
        assert_eq!(of(0).code_bytes(), 0);
        assert_eq!(of(6001).code_bytes(), 101 * GROUP_BYTES);
        assert_eq!(of(1 << 30).code_bytes(), MAX_GROUPS * GROUP_BYTES);
        assert!(of(65_542).is_overlong(1) && !of(65_541).is_overlong(1));
    }
}
