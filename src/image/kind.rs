//! What a file is, by its first bytes.

use super::error::Format;
use image::ImageFormat;

/// What a file is.
pub(super) enum Kind {
    /// A format that is decoded.
    Accepted(Format),
    /// Something else that is known by its name, and what makes an image of it.
    Other {
        name: &'static str,
        advice: &'static str,
    },
    Unknown,
}

const MAGICK: &str = "convert it first: magick IN OUT.png";
const FIRST_PICTURE: &str = "take a picture out of it: ffmpeg -i IN -frames:v 1 OUT.png";

/// Signatures at the beginning, names and advice.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image", "convert it first: djxl IN OUT.png"),
    (b"\xff\x0a", "a JPEG XL image", "convert it first: djxl IN OUT.png"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image", JPEG_2000),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image", JPEG_2000),
    (b"II\xbc\x01", "a JPEG XR image", MAGICK),
    (b"8BPS", "a Photoshop document", "convert it first: magick 'IN[0]' OUT.png"),
    (b"%PDF-", "a PDF document", "make images of its pages: pdftoppm -png IN OUT"),
    (b"%!PS", "a PostScript document", MAGICK),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM video", FIRST_PICTURE),
    (b"FLV\x01", "a Flash video", FIRST_PICTURE),
    (b"OggS", "an Ogg video or sound", FIRST_PICTURE),
    (b"\0\0\x01\xba", "an MPEG video", FIRST_PICTURE),
    (b"\0\0\x01\xb3", "an MPEG video", FIRST_PICTURE),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media video", FIRST_PICTURE),
    (b"\0\0\x01\0", "a Windows icon", MAGICK),
    (b"\0\0\x02\0", "a Windows cursor or a Targa image", MAGICK),
    (b"icns", "an Apple icon", MAGICK),
    (b"\x76\x2f\x31\x01", "an OpenEXR image", MAGICK),
    (b"#?RADIANCE", "a Radiance HDR image", MAGICK),
    (b"#?RGBE", "a Radiance HDR image", MAGICK),
    (b"qoif", "a QOI image", MAGICK),
    (b"DDS ", "a DirectDraw surface", MAGICK),
    (b"SIMPLE  =", "a FITS image", MAGICK),
    (b"IIRO", "an Olympus raw image", RAW),
    (b"IIRS", "an Olympus raw image", RAW),
    (b"IIU\0", "a Panasonic raw image", RAW),
    (b"FUJIFILMCCD-RAW", "a Fujifilm raw image", RAW),
    (b"\x93NUMPY", "a NumPy array", "save it as an image first: PIL.Image.fromarray(a).save(OUT)"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip file", "unpack it first"),
];

const JPEG_2000: &str = "convert it first: opj_decompress -i IN -o OUT.png";
const RAW: &str = "develop it first: dcraw_emu -T IN";
const HEIF: &str = "convert it first: heif-convert IN OUT.png";

/// Tells what a file is.
pub(super) fn kind(encoded: &[u8]) -> Kind {
    let accepted = match image::guess_format(encoded) {
        Ok(ImageFormat::Jpeg) => Some(Format::Jpeg),
        Ok(ImageFormat::Png) => Some(Format::Png),
        Ok(ImageFormat::WebP) => Some(Format::WebP),
        Ok(ImageFormat::Bmp) => Some(Format::Bmp),
        Ok(ImageFormat::Gif) => Some(Format::Gif),
        Ok(ImageFormat::Tiff) => Some(Format::Tiff),
        // BigTIFF.
        _ if encoded.starts_with(b"II\x2b\0") || encoded.starts_with(b"MM\0\x2b") => {
            Some(Format::Tiff)
        }
        _ => None,
    };
    if let Some(format) = accepted {
        return Kind::Accepted(format);
    }
    let other = |name, advice| Kind::Other { name, advice };
    if encoded.get(4..8) == Some(b"ftyp") {
        return match encoded.get(8..12).unwrap_or_default() {
            b"avif" | b"avis" => other("an AVIF image", "convert it first: avifdec IN OUT.png"),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => {
                other("a HEIC image", HEIF)
            }
            b"mif1" | b"msf1" => other("a HEIF image", HEIF),
            b"crx " => other("a Canon raw image", RAW),
            _ => other("an MP4 or QuickTime video", FIRST_PICTURE),
        };
    }
    if encoded.starts_with(b"RIFF") && encoded.get(8..12) == Some(b"AVI ") {
        return other("an AVI video", FIRST_PICTURE);
    }
    if encoded.get(128..132) == Some(b"DICM") {
        return other("a DICOM image", "convert it first: dcmj2pnm --write-png IN OUT.png");
    }
    for &(signature, name, advice) in OTHERS {
        if encoded.starts_with(signature) {
            return other(name, advice);
        }
    }
    if let [b'P', b'1'..=b'6', next, ..] = encoded
        && next.is_ascii_whitespace()
    {
        return other("a portable anymap (PBM, PGM or PPM)", MAGICK);
    }
    let start = encoded.strip_prefix(b"\xef\xbb\xbf").unwrap_or(encoded).trim_ascii_start();
    let start = start[..start.len().min(2000)].to_ascii_lowercase();
    let holds = |tag: &[u8]| start.windows(tag.len()).any(|part| part == tag);
    let is_markup = start.starts_with(b"<");
    if is_markup && (holds(b"<!doctype html") || holds(b"<html")) {
        return other(
            "an HTML page, perhaps an error message in the place of an image",
            "fetch it again",
        );
    }
    if is_markup && holds(b"<svg") {
        return other("an SVG drawing", "draw it first: rsvg-convert -o OUT.png IN");
    }
    Kind::Unknown
}
