//! Images of unusual kinds and JPEGs with faults, against Pillow (`tests/field/images.py`).

use effnet::image::{Decoded, ImageError, ImageWarning, Library, decode};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

#[derive(Deserialize)]
struct Case {
    file: String,
    /// Words of the refusal; else the four fields after it.
    refused: Option<String>,
    #[serde(default)]
    size: [usize; 2],
    #[serde(default)]
    sha256: String,
    #[serde(default)]
    first: [u8; 3],
    #[serde(default)]
    warnings: BTreeSet<String>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/odd")
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(&fs::read(folder().join("expected.json")).unwrap()).unwrap()
}

fn file(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn kind(warning: &ImageWarning) -> String {
    let kind = match warning {
        ImageWarning::ExtraneousBytes { .. } => "ExtraneousBytes",
        ImageWarning::RestartMarkers { .. } => "RestartMarkers",
        ImageWarning::MissingBlocks { .. } => "MissingBlocks",
        ImageWarning::ClippedGrey => "ClippedGrey",
        ImageWarning::NoEnd => "NoEnd",
        other => panic!("a warning without a case: {other}"),
    };
    kind.to_owned()
}

#[test]
fn every_pixel_is_pillows_or_the_refusal_has_a_name() {
    let cases = cases();
    let named: BTreeSet<String> = cases.iter().map(|case| case.file.clone()).collect();
    let there = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let there = there.map(|name| name.into_string().unwrap());
    let there: BTreeSet<String> = there.filter(|name| name != "expected.json").collect();
    assert_eq!(named, there);
    let mut faults = Vec::new();
    for case in &cases {
        let decoded = decode(&file(&case.file), Library::Pillow, false);
        match (decoded, &case.refused) {
            (Err(error), Some(words)) if error.to_string().contains(words) => {}
            (Ok(Decoded { image, warnings }), None) => {
                let digest = Sha256::digest(&image.pixels);
                let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                let found = ([image.width, image.height], &digest);
                let kinds: BTreeSet<String> = warnings.iter().map(kind).collect();
                if found != (case.size, &case.sha256) || kinds != case.warnings {
                    let first = &image.pixels[..3];
                    let (size, wanted) = (case.size, case.first);
                    faults.push(format!(
                        "{}: {found:?} from {first:?} with {kinds:?}, expected {size:?} {} from \
                         {wanted:?} with {:?}",
                        case.file, case.sha256, case.warnings
                    ));
                }
            }
            (found, _) => faults.push(format!(
                "{}: {:?}, expected {:?}",
                case.file,
                found.map(|decoded| decoded.warnings).map_err(|error| error.to_string()),
                case.refused
            )),
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// OpenCV and TensorFlow keep the high byte of 16-bit grey; Pillow makes all above 255 white.
#[test]
fn deep_grey_is_as_in_the_recipes_library() {
    for name in ["grey16.png", "grey16-le.tiff", "grey16-be.tiff"] {
        let first = |library| {
            let Decoded { image, warnings } = decode(&file(name), library, false).unwrap();
            (image.pixels[..3].to_vec(), warnings)
        };
        let (clipped, warnings) = first(Library::Pillow);
        assert_eq!((clipped, warnings), (vec![255; 3], vec![ImageWarning::ClippedGrey]), "{name}");
        for library in [Library::OpenCv, Library::TensorFlow] {
            // The first pixel's red level, which the generator puts into the high byte.
            assert_eq!(first(library), (vec![133; 3], vec![]), "{name}");
        }
    }
}

#[test]
fn only_what_is_cut_is_called_an_unfinished_copy() {
    for case in cases().iter().filter(|case| case.file.ends_with(".jpg")) {
        let error = decode(&file(&case.file), Library::Pillow, false).err();
        let cut = ["-cut.jpg", "progressive-no-end.jpg"];
        let cut = cut.iter().any(|end| case.file.ends_with(end));
        let told = error.is_some_and(|error| error.to_string().contains("unfinished copy"));
        assert_eq!(told, cut, "{}", case.file);
    }
}

/// A small generator (xorshift64), so that every run tries the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Errors or pictures of the stated size, and no panic, not even one that is caught.
#[test]
fn changed_bytes() {
    let files: Vec<(String, Vec<u8>)> =
        cases().into_iter().map(|case| (case.file.clone(), file(&case.file))).collect();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut decoded = 0;
    for _ in 0..6000 {
        let (name, whole) = &files[random.below(files.len())];
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(5) {
            // A TIFF's directory stands at its end here, other headers at the beginning.
            let near = random.below(bytes.len().min(300));
            let at = match random.below(3) {
                0 => near,
                1 => bytes.len() - 1 - near,
                _ => random.below(bytes.len()),
            };
            match random.below(5) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes[at] = 0xff,
                3 => bytes.insert(at, bytes[at]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let library = [Library::Pillow, Library::OpenCv][random.below(2)];
        match decode(&bytes, library, true) {
            Ok(Decoded { image, .. }) => {
                decoded += 1;
                assert_eq!(image.pixels.len(), image.width * image.height * 3, "{name}");
            }
            Err(ImageError::Decoder { detail, .. }) => panic!("{name}: {detail}"),
            Err(_) => {}
        }
    }
    // The changes leave enough of the files that decoders are reached.
    assert!(decoded > 1000, "{decoded}");
}
