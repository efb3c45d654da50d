//! Pictures against the results of Pillow, OpenCV, torchvision and TensorFlow
//! (`tests/golden/images.py`), and pictures that are broken.

use effnet::arch::Size;
use effnet::image::{
    Decoded, Format, Framing, ImageError, Interpolation, Library, Recipe, RgbImage8, Rounding,
    ShortSide, decode, normalise_pixels, preprocess, preprocess_levels, resize_and_crop,
};
use proptest::prelude::*;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

#[derive(Deserialize)]
struct Expected {
    decode: Vec<DecodeCase>,
    resize: Vec<ResizeCase>,
}

#[derive(Deserialize)]
struct DecodeCase {
    file: String,
    exif: bool,
    expected: String,
}

#[derive(Deserialize)]
struct ResizeCase {
    file: String,
    recipe: Recipe,
    sha256: String,
    corner: [u8; 3],
    mean: f64,
}

#[derive(Deserialize)]
struct TensorflowCase {
    file: String,
    recipe: Recipe,
    step: usize,
    values: Vec<f32>,
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn expected() -> Expected {
    serde_json::from_slice(&fixture("expected.json")).unwrap()
}

fn recipe(size: Size) -> Recipe {
    Recipe {
        interpolation: Interpolation::PillowBicubic,
        framing: Framing::ResizeThenCrop {
            short_side: ShortSide::Margin(32),
            rounding: Rounding::Torchvision,
        },
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        exif_orientation: false,
        size,
    }
}

/// Levels by which a decoder may differ from Pillow's: only lossy WebP may at all.
fn tolerance(file: &str) -> u8 {
    if file.ends_with("lossy.webp") { 2 } else { 0 }
}

#[test]
fn decoded_pixels_equal_pillows() {
    let cases = expected().decode;
    assert!(cases.len() > 40);
    for case in cases {
        // The one picture that is expected as OpenCV reads it.
        let deep_grey = case.file.ends_with("grey-16bit.png");
        let library = if deep_grey { Library::OpenCv } else { Library::Pillow };
        let Decoded { image: found, warnings } = decode(&fixture(&case.file), library, case.exif)
            .unwrap_or_else(|e| panic!("{}: {e}", case.file));
        assert_eq!(warnings, [], "{}", case.file);
        let wanted = image::load_from_memory(&fixture(&case.expected)).unwrap().into_rgb8();
        let size = (wanted.width() as usize, wanted.height() as usize);
        assert_eq!((found.width, found.height), size, "{} (width, height)", case.file);
        let differing = |(i, (a, b)): (usize, (&u8, &u8))| Some((i, *a, *b, a.abs_diff(*b)));
        let worst = found.pixels.iter().zip(wanted.as_raw()).enumerate().filter_map(differing);
        let (i, a, b, worst) = worst.max_by_key(|d| d.3).unwrap();
        let limit = tolerance(&case.file);
        assert!(
            worst <= limit,
            "{} (EXIF {}): sample {i} is {a}, Pillow's {b}",
            case.file,
            case.exif
        );
    }
}

#[test]
fn crops_equal_torchvisions_and_paddles() {
    let cases = expected().resize;
    assert!(cases.len() > 150);
    for case in cases {
        let image = decode(&fixture(&case.file), Library::Pillow, false).unwrap().image;
        let mut levels = vec![-1.0; case.recipe.size.pixels() * 3];
        resize_and_crop(&image, &case.recipe, &mut levels).unwrap();
        let bytes: Vec<u8> = levels.iter().map(|&level| level as u8).collect();
        assert!(levels.iter().zip(&bytes).all(|(&l, &b)| l == f32::from(b)), "whole levels");
        let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        let mean = bytes.iter().map(|&b| f64::from(b)).sum::<f64>() / bytes.len() as f64;
        assert!(
            digest == case.sha256,
            "{} with {:?}: mean {mean:.4}, expected {}; corner {:?}, expected {:?}",
            case.file,
            case.recipe,
            case.mean,
            &bytes[..3],
            case.corner
        );
    }
}

#[test]
fn crops_equal_googles() {
    let cases: Vec<TensorflowCase> = serde_json::from_slice(&fixture("tensorflow.json")).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let image = decode(&fixture(&case.file), Library::Pillow, false).unwrap().image;
        let mut levels = vec![f32::NAN; case.recipe.size.pixels() * 3];
        resize_and_crop(&image, &case.recipe, &mut levels).unwrap();
        let found: Vec<f32> = levels.iter().step_by(case.step).copied().collect();
        assert_eq!(found.len(), case.values.len());
        for (i, (found, wanted)) in found.iter().zip(&case.values).enumerate() {
            // f32 rounding at 255 and the file's five decimals.
            assert!(
                (found - wanted).abs() <= 1e-4,
                "{}: value {i} is {found}, TensorFlow's {wanted}",
                case.file
            );
        }
    }
}

#[test]
fn preprocess_is_decode_crop_and_normalise() {
    let recipe = recipe(Size { h: 30, w: 41 });
    let encoded = fixture("formats/ycbcr-420.jpg");
    let mut tensor = vec![f32::NAN; recipe.size.pixels() * 3];
    preprocess(&encoded, &recipe, &mut tensor).unwrap();
    let mut levels = tensor.clone();
    resize_and_crop(&decode(&encoded, Library::Pillow, false).unwrap().image, &recipe, &mut levels)
        .unwrap();
    for (i, (x, level)) in tensor.iter().zip(&levels).enumerate() {
        let c = i % 3;
        assert_eq!(*x, (level / 255.0 - recipe.mean[c]) / recipe.std[c], "value {i}");
    }
}

/// Of every file, by every kernel that rounds, and by every framing: a crop that overhangs the picture
/// among them.
#[test]
fn levels_are_what_preprocess_normalises() {
    let formats = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/formats");
    let mut files: Vec<_> =
        std::fs::read_dir(formats).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let resized = |short_side| Framing::ResizeThenCrop { short_side, rounding: Rounding::Paddle };
    let framings = [
        resized(ShortSide::Margin(4)),
        Framing::Squash { crop_pct: 0.875 },
        Framing::CropThenResize { margin: 8 },
    ];
    let mut decoded = 0;
    for (index, file) in files.iter().enumerate() {
        let encoded = std::fs::read(file).unwrap();
        for interpolation in [
            Interpolation::PillowBicubic,
            Interpolation::PillowBilinear,
            Interpolation::OpencvBilinear,
        ] {
            let size = Size { h: 16 + 4 * (index % 3), w: 20 };
            let framing = framings[index % 3];
            let recipe = Recipe { interpolation, framing, ..recipe(size) };
            assert!(recipe.rounds_to_levels());
            let mut values = vec![f32::NAN; size.pixels() * 3];
            let mut levels = vec![77; size.pixels() * 3];
            let (a, b) = (
                preprocess(&encoded, &recipe, &mut values).map_err(|e| e.to_string()),
                preprocess_levels(&encoded, &recipe, &mut levels).map_err(|e| e.to_string()),
            );
            assert_eq!(a, b, "{}", file.display());
            if a.is_ok() {
                decoded += 1;
                let found = normalise_pixels(&levels, &recipe).unwrap();
                assert!(found.iter().zip(&values).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }
    assert!(decoded > 60, "{decoded}");
}

/// TensorFlow's values are no levels: u8 could not hold them.
#[test]
fn levels_of_a_recipe_with_fractions_are_refused() {
    let interpolation = Interpolation::TensorflowBicubic;
    let recipe = Recipe { interpolation, ..recipe(Size::square(24)) };
    assert!(!recipe.rounds_to_levels());
    let mut levels = vec![0; recipe.size.pixels() * 3];
    let error = preprocess_levels(&fixture("formats/rgb.png"), &recipe, &mut levels).unwrap_err();
    assert!(matches!(error, ImageError::Recipe(_)), "{error}");
    assert!(error.to_string().contains("rounds to levels"), "{error}");
    // And indeed: some of its values are fractions, and some lie beyond the levels.
    let photo = fixture("photos/chelsea.jpg");
    let image = decode(&photo, Library::TensorFlow, false).unwrap().image;
    let mut crop = vec![0.0; recipe.size.pixels() * 3];
    resize_and_crop(&image, &recipe, &mut crop).unwrap();
    assert!(crop.iter().any(|x| x.fract() != 0.0));
}

#[test]
fn orientation_follows_the_recipe() {
    let encoded = fixture("formats/exif-6.jpg");
    let lying = decode(&encoded, Library::Pillow, false).unwrap().image;
    let upright = decode(&encoded, Library::Pillow, true).unwrap().image;
    assert_eq!((lying.width, lying.height), (upright.height, upright.width));
    let mut tensors = [false, true].map(|exif_orientation| {
        let recipe = Recipe { exif_orientation, ..recipe(Size::square(24)) };
        let mut tensor = vec![0.0; 24 * 24 * 3];
        preprocess(&encoded, &recipe, &mut tensor).unwrap();
        tensor
    });
    assert_ne!(tensors[0], tensors[1]);
    // Orientation 1 changes nothing.
    let plain = fixture("formats/exif-1.jpg");
    for (tensor, exif_orientation) in tensors.iter_mut().zip([false, true]) {
        let recipe = Recipe { exif_orientation, ..recipe(Size::square(24)) };
        preprocess(&plain, &recipe, tensor).unwrap();
    }
    assert_eq!(tensors[0], tensors[1]);
}

#[test]
fn extreme_aspect_ratios_cost_no_more_than_the_crop() {
    for (width, height) in [(65_535, 1), (1, 65_535)] {
        let image = RgbImage8 { width, height, pixels: vec![77; width * height * 3] };
        for interpolation in [
            Interpolation::PillowBicubic,
            Interpolation::PillowBilinear,
            Interpolation::OpencvBilinear,
            Interpolation::TensorflowBicubic,
        ] {
            for framing in [
                recipe(Size::square(9)).framing,
                Framing::ResizeThenCrop {
                    short_side: ShortSide::Margin(3),
                    rounding: Rounding::Paddle,
                },
                Framing::Squash { crop_pct: 0.9 },
                Framing::CropThenResize { margin: 3 },
            ] {
                let recipe = Recipe { interpolation, framing, ..recipe(Size { h: 40, w: 33 }) };
                let mut levels = vec![0.0; recipe.size.pixels() * 3];
                resize_and_crop(&image, &recipe, &mut levels).unwrap();
                let wrong = levels.iter().find(|&&level| (level - 77.0).abs() > 1.0);
                assert_eq!(wrong, None, "{width}x{height} with {recipe:?}");
            }
        }
    }
}

// Broken pictures.

fn error(encoded: &[u8]) -> ImageError {
    decode(encoded, Library::Pillow, true).expect_err("a broken picture")
}

#[test]
fn zero_bytes() {
    assert!(matches!(error(&[]), ImageError::Empty));
}

#[test]
fn garbage_names_the_accepted_formats() {
    for other in [&b"%PDF-1.7\n"[..], b"\0\0\0\x20ftypavif"] {
        let error = error(other);
        assert!(matches!(error, ImageError::OtherFormat { .. }), "{error}");
        for format in ["JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF"] {
            assert!(error.to_string().contains(format), "{error}");
        }
    }
    for garbage in [&b"x"[..], b"P7x", &[0xff; 4000]] {
        let error = error(garbage);
        assert!(matches!(error, ImageError::UnknownFormat { .. }), "{error}");
        for format in ["JPEG", "PNG", "WebP", "BMP", "GIF", "TIFF"] {
            assert!(error.to_string().contains(format), "{error}");
        }
    }
}

/// A small picture of each format, and of both kinds of JPEG and WebP.
const ONE_OF_EACH: [&str; 10] = [
    "ycbcr-420.jpg",
    "progressive.jpg",
    "restart.jpg",
    "cmyk.jpg",
    "rgb.png",
    "lossy.webp",
    "lossless.webp",
    "rgb.bmp",
    "two-frames.gif",
    "rgb.tiff",
];

#[test]
fn truncated_anywhere() {
    for name in ONE_OF_EACH {
        let whole = fixture(&format!("formats/{name}"));
        // A GIF's first frame ends where the second's graphic control extension begins.
        let second = whole.windows(3).rposition(|bytes| bytes == [0x21, 0xf9, 0x04]);
        let end = second.filter(|_| name.ends_with("gif")).unwrap_or(whole.len());
        for part in [2, 10, 25, 50, 75, 90] {
            let cut = &whole[..end * part / 100];
            assert!(decode(cut, Library::Pillow, false).is_err(), "{name} cut to {part} %");
        }
    }
    let jpeg = fixture("formats/ycbcr-420.jpg");
    let error = error(&jpeg[..jpeg.len() * 3 / 4]);
    assert!(matches!(error, ImageError::Truncated { format: Format::Jpeg, .. }), "{error}");
}

#[test]
fn jpeg_whose_middle_is_missing_is_no_half_grey_picture() {
    let whole = fixture("formats/ycbcr-420.jpg");
    let mut closed = whole[..whole.len() * 3 / 4].to_vec();
    closed.extend([0xff, 0xd9]);
    assert!(decode(&closed, Library::Pillow, false).is_err());
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut png = fixture("formats/rgb.png");
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    png
}

fn jpeg_of_size(width: u16, height: u16) -> Vec<u8> {
    let mut jpeg = fixture("formats/ycbcr-420.jpg");
    let sof = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[sof + 5..sof + 7].copy_from_slice(&height.to_be_bytes());
    jpeg[sof + 7..sof + 9].copy_from_slice(&width.to_be_bytes());
    jpeg
}

fn bmp_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut bmp = fixture("formats/rgb.bmp");
    bmp[18..22].copy_from_slice(&width.to_le_bytes());
    bmp[22..26].copy_from_slice(&height.to_le_bytes());
    bmp
}

fn gif_of_size(width: u16, height: u16) -> Vec<u8> {
    let mut gif = fixture("formats/two-frames.gif");
    gif[6..8].copy_from_slice(&width.to_le_bytes());
    gif[8..10].copy_from_slice(&height.to_le_bytes());
    gif
}

#[test]
fn header_of_60000_by_60000() {
    for encoded in [
        png_of_size(60_000, 60_000),
        jpeg_of_size(60_000, 60_000),
        bmp_of_size(60_000, 60_000),
        gif_of_size(60_000, 60_000),
    ] {
        let error = error(&encoded);
        assert!(matches!(error, ImageError::TooLarge { width: 60_000, height: 60_000 }), "{error}");
        assert!(error.to_string().contains("60000x60000"), "{error}");
    }
}

#[test]
fn header_that_the_file_cannot_fill() {
    for encoded in [png_of_size(13_000, 13_000), jpeg_of_size(13_000, 13_000)] {
        let error = error(&encoded);
        assert!(matches!(error, ImageError::Implausible { width: 13_000, .. }), "{error}");
    }
}

/// A file found by flipping bytes, which made the JPEG decoder index past a plane.
#[test]
fn cmyk_with_a_coarser_component() {
    let whole = fixture("formats/cmyk.jpg");
    let sof = whole.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    for component in 0..4 {
        let mut jpeg = whole.clone();
        jpeg[sof + 11 + 3 * component] = 0x22;
        let found = decode(&jpeg, Library::Pillow, false);
        assert!(found.is_err(), "component {component}");
    }
}

#[test]
fn zero_sized() {
    for encoded in [png_of_size(0, 9), jpeg_of_size(0, 9), bmp_of_size(0, 9), gif_of_size(0, 9)] {
        assert!(decode(&encoded, Library::Pillow, false).is_err());
    }
    let image = RgbImage8 { width: 0, height: 3, pixels: vec![] };
    let mut out = vec![0.0; 27];
    let error = resize_and_crop(&image, &recipe(Size::square(3)), &mut out).unwrap_err();
    assert!(matches!(error, ImageError::ZeroSized { width: 0, height: 3 }), "{error}");
}

#[test]
fn buffers_of_the_wrong_length() {
    let recipe = recipe(Size::square(3));
    let image = RgbImage8 { width: 2, height: 2, pixels: vec![0; 11] };
    let error = resize_and_crop(&image, &recipe, &mut [0.0; 27]).unwrap_err();
    assert!(matches!(error, ImageError::WrongPixelCount { found: 11, .. }), "{error}");
    let error = preprocess(&fixture("formats/rgb.png"), &recipe, &mut [0.0; 26]).unwrap_err();
    assert!(matches!(error, ImageError::WrongOutputLength { expected: 27, found: 26 }), "{error}");
}

#[test]
fn invalid_recipes() {
    let good = recipe(Size::square(3));
    let pct = |crop_pct| Recipe { framing: Framing::Squash { crop_pct }, ..good.clone() };
    let cases = [
        ("size", good.with_size(Size { h: 0, w: 3 })),
        ("size", good.with_size(Size { h: 3, w: 5000 })),
        ("mean", Recipe { mean: [0.0, f32::NAN, 0.0], ..good.clone() }),
        ("std", Recipe { std: [1.0, 1.0, 0.0], ..good.clone() }),
        ("margin", Recipe { framing: Framing::CropThenResize { margin: 5000 }, ..good.clone() }),
        ("crop_pct", pct(0.0)),
        ("crop_pct", pct(1.01)),
        ("crop_pct", pct(1e-9)),
        ("crop_pct", pct(f64::NAN)),
    ];
    for (field, recipe) in cases {
        let error = recipe.validate().unwrap_err();
        assert_eq!(error.field, field, "{error}");
        let mut out = vec![0.0; recipe.size.pixels() * 3];
        let error = preprocess(&fixture("formats/rgb.png"), &recipe, &mut out).unwrap_err();
        assert!(matches!(error, ImageError::Recipe(_)), "{error}");
    }
    good.validate().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        rng_seed: proptest::test_runner::RngSeed::Fixed(5),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Errors or pictures of the stated size; never a panic.
    #[test]
    fn flipped_bytes(
        file in 0..ONE_OF_EACH.len(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut encoded = fixture(&format!("formats/{}", ONE_OF_EACH[file]));
        for (at, with) in flips {
            let at = at.index(encoded.len());
            encoded[at] ^= with;
        }
        if let Some(cut) = cut {
            encoded.truncate(cut.index(encoded.len()));
        }
        if let Ok(Decoded { image, .. }) = decode(&encoded, Library::Pillow, true) {
            prop_assert_eq!(image.pixels.len(), image.width * image.height * 3);
        }
    }
}
