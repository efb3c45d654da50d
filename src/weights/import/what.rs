//! What a file is that is no checkpoint, from its content: named, with what to do about it.
//!
//! A download that answered with a page, a pointer in place of the weights and another runtime's
//! model are the files that people bring most. Only their first and last bytes are looked at, but
//! for the tags of a protocol buffer.

use super::archive::Member;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A file that is no checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct What {
    /// The file, in words.
    pub(super) found: String,
    /// The way to a checkpoint that can be read.
    pub(super) advice: String,
}

fn what(found: impl Into<String>, advice: impl Into<String>) -> What {
    What { found: found.into(), advice: advice.into() }
}

const UNPACK: &str = "unpack it and import the checkpoint inside";
const FROM_MODEL: &str =
    "import the checkpoint that it was made from, or save that model's state dict";
const NO_WEIGHTS: &str = "give the file that holds the weights";
const FETCH: &str = "fetch the file again";
const SAVE_AGAIN: &str = "save the state dict again in one of these containers";
/// Two lines of Python from a Keras model to an `.npz` of named arrays.
const KERAS: &str = "convert it with Keras 3, in two lines of Python, and import model.npz: \
     model = keras.models.load_model(\"FILE\") or, where FILE holds weights alone, model = \
     keras.applications.EfficientNetB0(weights=\"FILE\"); then numpy.savez(\"model.npz\", \
     **{w.path: w.numpy() for w in model.weights})";

/// First bytes that tell a format, where they stand, and what the file then is.
const MAGICS: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes .h5", KERAS),
    (4, b"TFL3", "a TensorFlow Lite model", FROM_MODEL),
    (4, b"ORTM", "an ONNX Runtime model (.ort)", FROM_MODEL),
    (4, b"ET12", "an ExecuTorch program", FROM_MODEL),
    (0, b"ftrt", "a TensorRT engine", FROM_MODEL),
    (0, b"ptrt", "a TensorRT engine", FROM_MODEL),
    (0, b"GGUF", "a GGUF file", FROM_MODEL),
    (0, b"\x12\x01\0\0\0\0\0\0", "MXNet parameters", FROM_MODEL),
    (0, b"\x1f\x8b\x08", "a gzip archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"BZh", "a bzip2 archive", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (0, b"\xff\xd8\xff", "a JPEG image", NO_WEIGHTS),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image", NO_WEIGHTS),
    (0, b"GIF8", "a GIF image", NO_WEIGHTS),
    (8, b"WEBPVP8", "a WebP image", NO_WEIGHTS),
    (0, b"II*\0", "a TIFF image", NO_WEIGHTS),
    (0, b"MM\0*", "a TIFF image", NO_WEIGHTS),
    (0, b"%PDF-", "a PDF document", NO_WEIGHTS),
    (0, b"\x7fELF", "a program or library (ELF)", NO_WEIGHTS),
];

/// Last bytes of a table of TensorFlow's checkpoints, LevelDB's.
const TABLE_END: &[u8] = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb";

/// Endings of names that tell formats without a mark of their own.
const ENDINGS: &[(&str, &str, &str)] = &[
    (".engine", "a TensorRT engine, by its name", FROM_MODEL),
    (".plan", "a TensorRT engine, by its name", FROM_MODEL),
    (".trt", "a TensorRT engine, by its name", FROM_MODEL),
    (".pb", "a TensorFlow graph, by its name", FROM_MODEL),
    (".meta", "a TensorFlow graph, by its name", FROM_MODEL),
    (".data-00000-of-00001", "the data of a TensorFlow checkpoint, by its name", FROM_MODEL),
    (".msgpack", "Flax parameters, by its name", FROM_MODEL),
    (".mlmodel", "a Core ML model, by its name", FROM_MODEL),
    (".caffemodel", "a Caffe model, by its name", FROM_MODEL),
];

/// The name of a file that starts like no container. `path` counts where the content tells nothing.
pub(super) fn name(file: &[u8], path: Option<&Path>) -> What {
    if file.is_empty() {
        return what("an empty file", FETCH);
    }
    if file.len() >= 16 && file.iter().all(|&byte| byte == 0) {
        let found = format!("{} bytes that are all zero", file.len());
        return what(found, "the file was never filled, or its disk was full: fetch it again");
    }
    let at = |(start, magic, ..): &&(usize, &[u8], _, _)| {
        file.get(*start..).is_some_and(|rest| rest.starts_with(magic))
    };
    if let Some(&(_, _, found, advice)) = MAGICS.iter().find(at) {
        return what(found, advice);
    }
    // A bitmap names its own size: two letters alone say little.
    if file.starts_with(b"BM") && file.get(2..6) == Some(&(file.len() as u32).to_le_bytes()[..]) {
        return what("a BMP image", NO_WEIGHTS);
    }
    if file.ends_with(TABLE_END) {
        return what("the index of a TensorFlow checkpoint", FROM_MODEL);
    }
    if is_text(file) {
        return text(file);
    }
    if let Some(found) = protobuf(file) {
        return found;
    }
    let lower = path.map(|path| path.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if let Some((_, found, advice)) = ENDINGS.iter().find(|(end, ..)| lower.ends_with(end)) {
        return what(*found, *advice);
    }
    let start = &file[..file.len().min(16)];
    what(format!("\"{}\"", start.escape_ascii()), SAVE_AGAIN)
}

/// A pickle that holds something else than a state dict.
pub(super) fn pickle(file: &[u8]) -> Option<What> {
    const LOOKED_AT: usize = 1 << 16;
    if file.first() != Some(&0x80) {
        return None;
    }
    let start = &file[..file.len().min(LOOKED_AT)];
    let names = |text: &[u8]| start.windows(text.len()).any(|window| window == text);
    (names(b"joblib.numpy_pickle") || names(b"sklearn."))
        .then(|| what("a pickle of joblib or scikit-learn", SAVE_AGAIN))
}

/// A zip archive that is neither PyTorch's nor NumPy's.
pub(super) fn zip(members: &BTreeMap<String, Member>) -> What {
    let has = |end: &str| members.keys().find(|name| name.ends_with(end));
    if has("model.weights.h5").is_some() {
        return what("a Keras model (.keras)", KERAS);
    }
    if has("MAR-INF/MANIFEST.json").is_some() {
        return what("a model archive of TorchServe (.mar)", UNPACK);
    }
    if has("com.apple.CoreML/model.mlmodel").is_some() {
        return what("a zipped Core ML package", FROM_MODEL);
    }
    if has("saved_model.pb").is_some() {
        return what("a zipped TensorFlow SavedModel", FROM_MODEL);
    }
    if has("data.pkl").is_some() {
        return what("a zip archive with PyTorch's data.pkl in an inner folder", SAVE_AGAIN);
    }
    let inner = [".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".pdparams", ".tar", ".npz"];
    match inner.iter().find_map(|end| has(end)).or_else(|| members.keys().next()) {
        Some(name) => {
            let count = members.len();
            what(
                format!("a zip archive of {count} files, as {}", super::error::quote(name)),
                UNPACK,
            )
        }
        None => what("a zip archive without files", FETCH),
    }
}

/// What a folder is that holds no checkpoint, from what stands in it.
pub(super) fn folder(path: &Path) -> Option<What> {
    let has = |name: &str| path.join(name).exists();
    if has("saved_model.pb") {
        return Some(what("a TensorFlow SavedModel", FROM_MODEL));
    }
    if has("Manifest.json") && has("Data") {
        return Some(what("a Core ML package", FROM_MODEL));
    }
    if has("data.pkl") && has("data") {
        let advice = "zip it again with the folder itself in it (zip -0 -r model.pth FOLDER), or \
                      fetch the file as it was";
        return Some(what("a PyTorch checkpoint that was unpacked", advice));
    }
    if has("checkpoint") {
        return Some(what("the folder of a TensorFlow checkpoint", FROM_MODEL));
    }
    None
}

/// Whether a file reads as text: its start is UTF-8 without control characters. No binary container
/// does, for their lengths have bytes that are zero.
pub(super) fn is_text(file: &[u8]) -> bool {
    let start = text_start(file);
    !start.trim().is_empty()
        && start.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}'))
}

/// The first characters, without a byte order mark; nothing where the file is no UTF-8.
fn text_start(file: &[u8]) -> &str {
    const LOOKED_AT: usize = 4096;
    let start = &file[..file.len().min(LOOKED_AT)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // A character that the cut went through.
        Err(error) if error.error_len().is_none() && start.len() < file.len() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => "",
    };
    text.trim_start_matches('\u{feff}')
}

fn text(file: &[u8]) -> What {
    let start = text_start(file).trim_start();
    let lower = start.to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| lower.starts_with(word));
    if begins(&["version https://git-lfs", "version https://hawser"]) {
        let size = start.lines().find_map(|line| line.strip_prefix("size ")?.parse::<u64>().ok());
        let size = size.map(|bytes| format!(" of {bytes} bytes")).unwrap_or_default();
        let advice = "run `git lfs pull` in its folder (`git lfs install` before, once), or fetch \
                      the file itself";
        return what(format!("a Git LFS pointer to a file{size} that is not here"), advice);
    }
    if begins(&["<!doctype html", "<html", "<head", "<body"]) {
        let title = lower.find("<title>").and_then(|at| {
            let rest = &start[at + "<title>".len()..];
            Some(rest[..rest.find('<')?].trim())
        });
        let title =
            title.map(|t| format!(" titled {}", super::error::quote(t))).unwrap_or_default();
        let advice = "the download answered with a page (a login, a confirmation, a missing file): \
                      fetch the file by its direct address";
        return what(format!("an HTML page{title}"), advice);
    }
    if begins(&["<?xml", "<error", "<net "]) {
        if lower.contains("<net ") {
            return what("an OpenVINO model (.xml)", FROM_MODEL);
        }
        let advice = "if it was downloaded, the server answered with an error: fetch it again";
        return what("an XML document", advice);
    }
    if begins(&["{", "["]) {
        return if lower.contains("\"weight_map\"") {
            let advice = "keep it beside its shards under the name that it has there, as in \
                          model.safetensors.index.json, and give it again";
            what("an index of shards (JSON)", advice)
        } else {
            what("a JSON document", NO_WEIGHTS)
        };
    }
    let python = |line: &str| {
        ["import ", "from ", "def ", "class ", "#!/usr/bin/env python", "# -*- coding"]
            .iter()
            .any(|word| line.starts_with(word))
    };
    if start.lines().take(60).any(python) {
        return what("Python source", NO_WEIGHTS);
    }
    let line = start.lines().next().unwrap_or_default();
    what(format!("text: {}", super::error::quote(line)), NO_WEIGHTS)
}

/// The models that are one protocol buffer, by the numbers of its outermost fields.
fn protobuf(file: &[u8]) -> Option<What> {
    let fields = fields(file)?;
    let has = |field: u64| fields.contains(&field);
    let only = |known: &[u64]| fields.iter().all(|field| known.contains(field));
    Some(match file {
        // Core ML: the version, a description, and a kind of model from 200 on.
        [0x08, ..] if has(2) && fields.iter().any(|&field| field >= 200) => {
            what("a Core ML model", FROM_MODEL)
        }
        // ONNX: ir_version first, a graph in field 7.
        [0x08, ..] if has(7) => what("an ONNX model", FROM_MODEL),
        // SavedModel: schema version 1, then its graphs.
        [0x08, 0x01, 0x12, ..] if only(&[1, 2]) => what("a TensorFlow SavedModel", FROM_MODEL),
        // Paddle: block 0, whose parent is -1.
        [0x0a, ..] if only(&[1, 2, 4, 5]) && starts_a_program(file) => {
            what("the program of a Paddle inference model", FROM_MODEL)
        }
        [0x0a, ..] if has(4) && only(&[1, 2, 3, 4]) => what("a TensorFlow graph", FROM_MODEL),
        _ => return None,
    })
}

fn starts_a_program(file: &[u8]) -> bool {
    let mut rest = &file[1..];
    varint(&mut rest).is_some() && rest.starts_with(&[0x08, 0x00, 0x10])
}

/// The numbers of the outermost fields, if the whole file is such fields.
fn fields(file: &[u8]) -> Option<BTreeSet<u64>> {
    let mut fields = BTreeSet::new();
    let mut rest = file;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let len = match tag & 7 {
            0 => varint(&mut rest).map(|_| 0)?,
            1 => 8,
            2 => varint(&mut rest)?,
            5 => 4,
            _ => return None,
        };
        rest = rest.get(usize::try_from(len).ok()?..)?;
        // No field has the number 0; many numbers are no sign of a model.
        if tag >> 3 == 0 || (fields.insert(tag >> 3) && fields.len() > 64) {
            return None;
        }
    }
    Some(fields)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(file: &[u8]) -> String {
        name(file, None).found
    }

    #[test]
    fn text_is_told_from_what_is_none() {
        assert_eq!(
            found(
                "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 214\n".as_bytes()
            ),
            "a Git LFS pointer to a file of 214 bytes that is not here"
        );
        assert_eq!(
            found(b"\n <!DOCTYPE html><html><head><title>Sign in</title>"),
            "an HTML page titled \"Sign in\""
        );
        assert_eq!(found(b"<html>"), "an HTML page");
        assert_eq!(
            found(b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
            "an XML document"
        );
        assert_eq!(
            found(b"<?xml version=\"1.0\"?>\n<net name=\"b0\" version=\"11\">"),
            "an OpenVINO model (.xml)"
        );
        assert_eq!(found(b"{\"architectures\": [\"X\"]}"), "a JSON document");
        assert_eq!(found(b"\"\"\"A model.\"\"\"\nimport torch\n"), "Python source");
        assert_eq!(found("\u{feff}Liesmich äöü".as_bytes()), "text: \"Liesmich äöü\"");
        // A character cut at the end of what is looked at, and none at the end of the file.
        let mut long = "é".repeat(4000).into_bytes();
        long.insert(0, b'x');
        assert!(is_text(&long));
        assert!(
            !is_text(b"abc\xff") && !is_text(b"a\0b") && !is_text(b"  ") && !is_text(b"ab\xc3")
        );
    }

    #[test]
    fn protocol_buffers_are_told_by_their_fields() {
        assert_eq!(found(b"\x08\x08\x12\x07pytorch\x3a\x02\x0a\x00"), "an ONNX model");
        assert_eq!(found(b"\x08\x05\x12\x00\xb2\x1f\x01\x00"), "a Core ML model");
        assert_eq!(found(b"\x08\x01\x12\x02\x0a\x00"), "a TensorFlow SavedModel");
        assert_eq!(
            found(b"\x0a\x04\x08\x00\x10\x00\x22\x02\x08\x00"),
            "the program of a Paddle inference model"
        );
        assert_eq!(found(b"\x0a\x05\x0a\x03abc\x22\x02\x08\x01"), "a TensorFlow graph");
        // Cut, and fields without end.
        assert!(found(b"\x08\x08\x12\x07pytorch\x3a\x05\x0a").starts_with('"'));
        assert!(found(&[0xff; 40]).starts_with('"'));
        let many: Vec<u8> =
            (1..100u8).flat_map(|n| [n << 3 & 0x78 | 0x80, n >> 4 | 1, 0]).collect();
        assert!(protobuf(&many).is_none());
    }

    #[test]
    fn the_file_s_name_counts_where_its_content_tells_nothing() {
        let unknown = b"\x01\x02\x03\x04";
        assert_eq!(
            name(unknown, Some(Path::new("b0.ENGINE"))).found,
            "a TensorRT engine, by its name"
        );
        assert_eq!(name(unknown, Some(Path::new("b0.pth"))).found, "\"\\x01\\x02\\x03\\x04\"");
        assert_eq!(name(b"GIF89a", Some(Path::new("b0.engine"))).found, "a GIF image");
    }
}
