//! What a PNG's picture needs of its file.

use super::parts::Parts;

/// More than any EXIF takes: as JPEG holds no more than 64 KB of it.
const MAX_EXIF_BYTES: usize = 1 << 20;

/// The PNG without what stands before its pixels and tells nothing of them: texts and colour
/// profiles, which may unpack to a thousand times their size, and whatever else may be left out. An
/// animation becomes its default picture, as in Pillow. From the first `IDAT` on everything
/// remains.
pub(super) fn without_metadata(png: &[u8], exif: bool) -> Parts<'_> {
    let mut parts = Vec::new();
    // What is kept since the last chunk that was left out, and the chunk under way.
    let (mut kept, mut at) = (0, 8);
    while let Some(&[a, b, c, d, ref name @ ..]) = png.get(at..at + 8) {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let end = at + 12 + length;
        if name == b"IDAT" || end > png.len() {
            break;
        }
        // Lower case begins the names of chunks that a decoder may leave out.
        let needed = name[0].is_ascii_uppercase()
            || name == b"tRNS"
            || name == b"eXIf" && exif && length <= MAX_EXIF_BYTES;
        if !needed {
            parts.push(&png[kept..at]);
            kept = end;
        }
        at = end;
    }
    parts.push(&png[kept.min(png.len())..]);
    parts.retain(|part: &&[u8]| !part.is_empty());
    Parts::new(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u32).to_be_bytes();
        [&length, &name[..], data, &[0; 4]].concat()
    }

    #[test]
    fn only_what_the_pixels_need() {
        let start = b"\x89PNG\r\n\x1a\n".to_vec();
        let header = chunk(b"IHDR", &[0; 13]);
        let (texts, profile) = (chunk(b"zTXt", &[1; 50]), chunk(b"iCCP", &[2; 60]));
        let (colours, clear) = (chunk(b"PLTE", &[3; 6]), chunk(b"tRNS", &[4; 2]));
        let (exif, long) = (chunk(b"eXIf", &[5; 9]), chunk(b"eXIf", &vec![5; 2 << 20]));
        let pixels = [chunk(b"IDAT", &[6; 20]), texts.clone(), chunk(b"IEND", &[])].concat();
        let cut = chunk(b"tEXt", &[7; 40])[..20].to_vec();
        let read = |chunks: &[&[u8]], exif| {
            let mut read = Vec::new();
            without_metadata(&chunks.concat(), exif).read_to_end(&mut read).unwrap();
            read
        };
        let whole: &[&[u8]] =
            &[&start, &header, &texts, &profile, &colours, &exif, &long, &clear, &pixels];
        let needed = [&start[..], &header, &colours, &clear, &pixels].concat();
        assert_eq!(read(whole, false), needed);
        let with_exif = [&start[..], &header, &colours, &exif, &clear, &pixels].concat();
        assert_eq!(read(whole, true), with_exif);
        // The decoder tells what is wrong with a file that ends early.
        assert_eq!(read(&[&start, &header, &cut], true), [&start[..], &header, &cut].concat());
        assert_eq!(read(&[&start[..5]], true), start[..5]);
        assert_eq!(read(&[&start, &texts], true), start);
    }
}
