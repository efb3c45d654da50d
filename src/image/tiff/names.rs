//! Names for what TIFF's numbers mean, where it is not taken.

use super::layout::JPEG;

/// By the value of the tag `SampleFormat`.
pub(super) const SAMPLE_FORMATS: [&str; 7] =
    ["unsigned", "unsigned", "signed", "float", "untyped", "complex integer", "complex float"];

/// The name of a compression that is not taken.
pub(super) fn compression_name(compression: u16) -> Option<String> {
    Some(match compression {
        // None, group 4, LZW, JPEG, deflate twice, PackBits.
        1 | 4 | 5 | JPEG | 8 | 32_946 | 32_773 => return None,
        2 => "CCITT Huffman run lengths".into(),
        3 => "CCITT group 3".into(),
        6 => "JPEG of the old kind".into(),
        9 | 10 => "JBIG".into(),
        33_003 | 33_005 | 34_712 => "JPEG 2000".into(),
        34_887 => "LERC".into(),
        34_925 => "LZMA".into(),
        34_926 | 50_000 => "Zstandard".into(),
        34_927 | 50_001 => "WebP".into(),
        50_002 => "JPEG XL".into(),
        other => format!("method {other}"),
    })
}

pub(super) fn photometric_name(photometric: u16) -> String {
    match photometric {
        0 => "grey with white as zero".into(),
        1 => "grey".into(),
        2 => "RGB".into(),
        3 => "palette".into(),
        4 => "transparency mask".into(),
        5 => "CMYK".into(),
        6 => "YCbCr without JPEG".into(),
        8..=10 => "CIE L*a*b*".into(),
        32_803 => "colour filter array (raw sensor data)".into(),
        34_892 => "linear raw sensor data".into(),
        u16::MAX => "no photometric interpretation".into(),
        other => format!("photometric interpretation {other}"),
    }
}
