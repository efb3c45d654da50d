//! Broken and hostile checkpoints, each named after its fault: every one is an error that names the
//! place and the bytes found, and none of them panics, recurses or allocates on a lie.
//!
//! One file per container; `damage` has files of every container, cut and damaged.

#[path = "../support/mod.rs"]
mod support;

use effnet::weights::import::{Checkpoint, CheckpointError};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::path::Path;
use support::containers::{
    ContainerKind, NamedTensor, Pickle, TorchTensor, container_bytes, npy_header,
    torch_legacy_prelude, zip_archive,
};
use zip::CompressionMethod;

use CheckpointError as E;

/// A fault, the file that has it, the parts of its message, and the kind of error.
type Case = (&'static str, Vec<u8>, &'static [&'static str], fn(&CheckpointError) -> bool);

macro_rules! is {
    ($variant:ident) => {
        |error| matches!(error, E::$variant { .. })
    };
}

// Below the macro, which they use.
mod damage;
mod npz;
mod paddle;
mod pickle;
mod safetensors;
mod torch;

fn refuse_all(cases: Vec<Case>) {
    for (fault, file, says, is_kind) in cases {
        let error = match Checkpoint::from_bytes(file) {
            Ok(checkpoint) => panic!("{fault}: read as {checkpoint:?}"),
            Err(error) => error,
        };
        let text = error.to_string();
        assert!(is_kind(&error), "{fault}: {error:?}");
        for word in says {
            assert!(text.contains(word), "{fault}: {word:?} is not in: {text}");
        }
    }
}

fn small_tensors() -> Vec<NamedTensor> {
    let tensor = |name: &str, shape: &[usize]| NamedTensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        data: (0..shape.iter().product::<usize>()).map(|i| i as f32 * 0.7 - 3.0).collect(),
    };
    vec![tensor("a.weight", &[3, 2, 2, 2]), tensor("b.weight", &[4, 3]), tensor("b.bias", &[4])]
}

fn small(kind: ContainerKind) -> Vec<u8> {
    container_bytes(kind, &small_tensors())
}

/// `bytes` with every occurrence of `from` replaced; there must be one.
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    assert!(rest.len() < bytes.len(), "nothing to patch");
    out.extend_from_slice(rest);
    out
}

fn cut(bytes: &[u8], drop: usize) -> Vec<u8> {
    bytes[..bytes.len() - drop].to_vec()
}

#[test]
fn files_of_no_container() {
    refuse_all(vec![
        ("empty file", vec![], &["offset 0", "an empty file"], is!(UnknownContainer)),
        ("text", b"not a checkpoint".to_vec(), &["not a checkpoint"], is!(UnknownContainer)),
        (
            "HDF5",
            b"\x89HDF\r\n\x1a\n....".to_vec(),
            &["HDF5", "Keras", "savez"],
            is!(UnknownContainer),
        ),
        ("one byte of a pickle", vec![0x80], &["\\x80"], is!(UnknownContainer)),
        ("pickle of protocol 1", b"\x80\x01N.".to_vec(), &["\\x80\\x01N."], is!(UnknownContainer)),
    ]);
    let dir = tempfile::tempdir().unwrap();
    for (path, is_kind) in [
        (dir.path(), is!(Folder) as fn(&CheckpointError) -> bool),
        (Path::new("no/such/checkpoint.pth"), is!(Io)),
    ] {
        let error = Checkpoint::open(path).unwrap_err();
        assert!(is_kind(&error), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    let empty = dir.path().join("empty.pth");
    std::fs::write(&empty, []).unwrap();
    assert!(matches!(Checkpoint::open(&empty), Err(E::UnknownContainer { .. })));
}

/// Each by the bytes that its own program writes first, and with the way out.
#[test]
fn what_is_no_checkpoint_is_named_as_what_it_is() {
    let at = |start: usize, magic: &[u8], len: usize| {
        let mut file = vec![1; len];
        file[start..start + magic.len()].copy_from_slice(magic);
        file
    };
    let zip = |name: &str| zip_archive(&[(name, b"x")], CompressionMethod::Deflated);
    let mut bitmap = at(0, b"BM", 70);
    bitmap[2..6].copy_from_slice(&70u32.to_le_bytes());
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 21444401\n";
    let joblib = b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x13joblib.numpy_pickle\x94.";
    let table = at(92, b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", 100);
    let files: Vec<(Vec<u8>, [&str; 2])> = vec![
        (pointer.to_vec(), ["a Git LFS pointer to a file of 21444401 bytes", "git lfs pull"]),
        (b"<!DOCTYPE html>\n<title>403</title>".to_vec(), ["HTML page titled \"403\"", "direct"]),
        (b"<?xml version=\"1.0\"?><Error/>".to_vec(), ["an XML document", "fetch it again"]),
        // The ninth byte is a brace, as in a safetensors file.
        (b"{\"model\":{\"a\": 1}}".to_vec(), ["a JSON document", "holds the weights"]),
        (b"{\"weight_map\": {}}".to_vec(), ["an index of shards", "model.safetensors.index.json"]),
        (b"import torch\n".to_vec(), ["Python source", "holds the weights"]),
        (vec![0; 4096], ["4096 bytes that are all zero", "fetch it again"]),
        (at(0, b"\x89HDF\r\n\x1a\n", 80), ["an HDF5 file, as Keras writes .h5", "numpy.savez"]),
        (zip("model.weights.h5"), ["a Keras model (.keras)", "keras.models.load_model"]),
        (zip("efficientnet/b0.pth"), ["1 files, as \"efficientnet/b0.pth\"", "unpack it"]),
        (zip("MAR-INF/MANIFEST.json"), ["TorchServe", "unpack it"]),
        (b"\x08\x01\x12\x02\x0a\x00".to_vec(), ["a TensorFlow SavedModel", "made from"]),
        (table, ["the index of a TensorFlow checkpoint", "made from"]),
        (at(4, b"TFL3", 80), ["a TensorFlow Lite model", "made from"]),
        (at(0, b"ftrt", 80), ["a TensorRT engine", "made from"]),
        (joblib.to_vec(), ["joblib", "save the state dict again"]),
        (at(0, b"\x1f\x8b\x08", 80), ["a gzip archive", "unpack it"]),
        (at(257, b"ustar", 600), ["a tar archive", "unpack it"]),
        (at(0, b"7z\xbc\xaf\x27\x1c", 80), ["a 7z archive", "unpack it"]),
        (at(0, b"BZh", 80), ["a bzip2 archive", "unpack it"]),
        (at(0, b"\xfd7zXZ\0", 80), ["an xz archive", "unpack it"]),
        (at(0, b"\xff\xd8\xff", 80), ["a JPEG image", "holds the weights"]),
        (at(0, b"\x89PNG\r\n\x1a\n", 80), ["a PNG image", "holds the weights"]),
        (bitmap, ["a BMP image", "holds the weights"]),
    ];
    for (file, says) in files {
        let error = Checkpoint::from_bytes(file).unwrap_err();
        assert!(matches!(error, E::UnknownContainer { .. }), "{error:?}");
        let text = error.to_string();
        assert!(says.iter().all(|word| text.contains(word)), "{says:?} are not in: {text}");
    }

    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str, inside: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.join("data")).unwrap();
        std::fs::write(path.join(inside), b"x").unwrap();
        Checkpoint::open(&path).unwrap_err().to_string()
    };
    for (inside, says) in [
        ("saved_model.pb", "a TensorFlow SavedModel"),
        ("data.pkl", "a PyTorch checkpoint that was unpacked"),
        ("checkpoint", "the folder of a TensorFlow checkpoint"),
    ] {
        let error = folder(&format!("with-{inside}"), inside);
        assert!(error.contains(says), "{says} is not in: {error}");
    }
    let engine = dir.path().join("b0.engine");
    std::fs::write(&engine, [1; 64]).unwrap();
    let error = Checkpoint::open(&engine).unwrap_err().to_string();
    assert!(error.contains("a TensorRT engine, by its name"), "{error}");
}

#[test]
fn asking_for_what_is_not_there() {
    let mut tensors = small_tensors();
    tensors[2].name = "bn.num_batches_tracked".to_owned();
    tensors[2] = NamedTensor { shape: vec![], data: vec![5.0], ..tensors[2].clone() };
    let file = container_bytes(ContainerKind::TorchLegacy, &tensors);
    let checkpoint = Checkpoint::from_bytes(file).unwrap();
    let error = checkpoint.read_f32("fc.weight").unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected one of the checkpoint's 3 tensors, found no \"fc.weight\""
    );
    let error = checkpoint.read_f32("bn.num_batches_tracked").unwrap_err().to_string();
    assert!(error.starts_with("offset ") && error.ends_with("or f64, found i64"), "{error}");
}
