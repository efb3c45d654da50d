//! What a small hostile checkpoint may cost: work and memory are counted, or the sizes are such
//! that anything but work in proportion would take minutes.

mod support;

use effnet::weights::import::{Checkpoint, CheckpointError};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use support::containers::{Pickle, TorchTensor, zip_archive};
use zip::CompressionMethod;

use CheckpointError as E;

const MB: usize = 1 << 20;

/// A state dict of `tensors` tensors of `elems` elements, `step` elements apart in one storage.
fn views(tensors: usize, elems: usize, step: usize, numel: usize) -> Vec<u8> {
    let mut pickle = Pickle::new(2);
    pickle.op(b"}(");
    for i in 0..tensors {
        let tensor = TorchTensor {
            storage: "FloatStorage",
            key: "0",
            numel,
            offset: i * step,
            shape: &[elems],
            strides: &[1],
        };
        pickle.text(&format!("t{i}")).torch_tensor(&tensor, false);
    }
    pickle.op(b"u.");
    pickle.0
}

fn torch_zip(pickle: &[u8], storage: &[u8], method: CompressionMethod) -> Vec<u8> {
    zip_archive(&[("archive/data.pkl", pickle), ("archive/data/0", storage)], method)
}

fn refused(file: Vec<u8>) -> CheckpointError {
    match Checkpoint::from_bytes(file) {
        Ok(checkpoint) => panic!("read as {checkpoint:?}"),
        Err(error) => error,
    }
}

#[test]
fn a_storage_that_many_tensors_view_is_inflated_once() {
    const TENSORS: usize = 200;
    let storage: Vec<u8> = (0..TENSORS).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let file = torch_zip(&views(TENSORS, 1, 1, TENSORS), &storage, CompressionMethod::Deflated);
    let checkpoint = Checkpoint::from_bytes(file).unwrap();
    assert_eq!(checkpoint.inflated_bytes(), 0);
    for i in 0..TENSORS {
        assert_eq!(checkpoint.read_f32(&format!("t{i}")).unwrap(), [i as f32]);
        assert_eq!(checkpoint.inflated_bytes(), storage.len() as u64);
    }
    // What was kept is gone: another read is another inflation, and as right.
    assert_eq!(checkpoint.read_f32("t7").unwrap(), [7.0]);
    assert_eq!(checkpoint.inflated_bytes(), 2 * storage.len() as u64);

    // Stored entries cost nothing, as large as they may be beside the tensor.
    let storage = vec![0; 40 * MB];
    let file = torch_zip(&views(2, 1, 1, 10 * MB), &storage, CompressionMethod::Stored);
    let checkpoint = Checkpoint::from_bytes(file).unwrap();
    assert_eq!((checkpoint.read_f32("t1").unwrap(), checkpoint.inflated_bytes()), (vec![0.0], 0));
}

#[test]
fn an_entry_far_larger_than_file_and_tensors_is_refused_untouched() {
    let zeros = vec![0; 40 * MB];
    let file = torch_zip(&views(3, 5, 1, 10 * MB), &zeros, CompressionMethod::Deflated);
    assert!(file.len() < MB);
    let checkpoint = Checkpoint::from_bytes(file).unwrap();
    for name in ["t0", "t1", "t0"] {
        let error = checkpoint.read_f32(name).unwrap_err();
        assert!(matches!(error, E::TooLarge { found: 41_943_040, .. }), "{error:?}");
        let says = format!("zip entries, with that of tensor \"{name}\"");
        assert!(error.to_string().contains(&says), "{error}");
        assert_eq!(checkpoint.inflated_bytes(), 0);
    }
    // A tensor of zeros that is as large pays for itself, in either container.
    let file = torch_zip(&views(1, 10 * MB, 1, 10 * MB), &zeros, CompressionMethod::Deflated);
    let checkpoint = Checkpoint::from_bytes(file).unwrap();
    assert_eq!(checkpoint.read_f32("t0").unwrap().len(), 10 * MB);
}

#[test]
fn entries_that_overlap_are_refused() {
    let two = zip_archive(&[("a.npy", b"one"), ("b.npy", b"two")], CompressionMethod::Stored);
    // The second entry's place, 42 bytes into its central header, becomes the first's.
    let header = b"PK\x01\x02";
    let at = two.windows(4).rposition(|window| window == header).unwrap() + 42;
    assert_ne!(two[at..at + 4], [0; 4]);
    let mut file = two.clone();
    file[at..at + 4].fill(0);
    let error = refused(file).to_string();
    assert!(error.contains("entries that overlap"), "{error}");
    assert!(!refused(two).to_string().contains("overlap"));
}

#[test]
fn a_pickle_is_as_large_as_descriptions_of_tensors_are() {
    let large = [&b"\x80\x02"[..], &vec![b'N'; 17 * MB]].concat();
    let file = torch_zip(&large, &[], CompressionMethod::Deflated);
    assert!(file.len() < MB / 8);
    let error = refused(file);
    assert!(matches!(error, E::TooLarge { limit: 16_777_216, .. }), "{error:?}");

    let marks = [&b"\x80\x02"[..], &vec![b'('; 5_000_000]].concat();
    let error = refused(marks).to_string();
    assert!(error.contains("pickle opcodes: expected at most 4194304"), "{error}");
}

#[test]
fn objects_of_classes_are_counted() {
    let mut pickle = Pickle::new(2);
    pickle.global("m", "C").op(b"q\x010").op(&b"h\x01)R".repeat(300_000));
    let error = refused(pickle.0).to_string();
    assert!(error.contains("pickled objects of classes: expected at most 262144"), "{error}");
}

#[test]
fn names_of_one_tensor_are_counted() {
    let mut pickle = Pickle::new(2);
    let tensor = TorchTensor {
        storage: "FloatStorage",
        key: "0",
        numel: 1,
        offset: 0,
        shape: &[1; 32],
        strides: &[1; 32],
    };
    pickle.op(b"}(").text("t").torch_tensor(&tensor, false).op(b"q\x07");
    for i in 0..70_000 {
        pickle.text(&i.to_string()).op(b"h\x07");
    }
    pickle.op(b"u.");
    let error = refused(torch_zip(&pickle.0, &[0; 4], CompressionMethod::Stored)).to_string();
    assert!(error.contains("tensors of all dicts: expected at most 65536"), "{error}");
}

/// Modules that share one state, of as many attributes as are looked at, and a module of many
/// children of one name.
#[test]
fn what_modules_share_is_looked_at_once() {
    let mut pickle = Pickle::new(2);
    pickle.op(b"}q\x01(");
    for i in 0..4000 {
        pickle.text(&format!("attribute {i}")).op(b"N");
    }
    pickle.op(b"u0}(");
    for i in 0..100_000 {
        pickle.text(&i.to_string()).global("m", "C").op(b")Rh\x01b");
    }
    pickle.op(b"u.");
    let error = refused(torch_zip(&pickle.0, &[], CompressionMethod::Stored));
    assert!(matches!(error, E::ForbiddenGlobal { .. }), "{error:?}");

    let mut pickle = Pickle::new(2);
    pickle
        .global("m", "C")
        .op(b")R}(")
        .text("_parameters")
        .op(b"}")
        .text("_modules")
        .op(b"}ubq\x01");
    pickle.op(b"0").text(&"x".repeat(900)).op(b"q\x020");
    pickle.global("m", "C").op(b")R}(").text("_parameters").op(b"}").text("_modules").op(b"}(");
    for _ in 0..40_000 {
        pickle.op(b"h\x02h\x01");
    }
    pickle.op(b"uub.");
    let error = refused(torch_zip(&pickle.0, &[], CompressionMethod::Stored)).to_string();
    assert!(error.contains("modules: expected at most 32768, found 40000"), "{error}");
}

/// The header of a tar entry.
fn tar_header(name: &str, bytes: usize) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{bytes:011o}").as_bytes());
    block[156] = b'0';
    block[257..263].copy_from_slice(b"ustar\0");
    block
}

#[test]
fn archives_are_unpacked_in_proportion_and_searched_once() {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar_header("model.pdiparams", 40 * MB)).unwrap();
    gzip.write_all(&vec![0; 40 * MB]).unwrap();
    let error = refused(gzip.finish().unwrap());
    assert!(matches!(error, E::TooLarge { .. }), "{error:?}");
    assert!(error.to_string().contains("bytes of the unpacked archive"), "{error}");

    // Parameters of many models, each of which looks for its program.
    let tar: Vec<u8> = (0..60_000).flat_map(|i| tar_header(&format!("{i}.pdiparams"), 0)).collect();
    assert!(refused(tar).to_string().contains("a tar archive"));
}

/// A protocol buffer's field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

/// An ONNX model of this graph: IR version 8, opset 13.
fn onnx(graph: &[Vec<u8>]) -> Vec<u8> {
    [b"\x08\x08".to_vec(), field(7, &graph.concat()), field(8, b"\x10\x0d")].concat()
}

#[test]
fn graphs_are_as_large_as_a_network_s() {
    let input = field(11, &field(1, b"x"));
    let initializer = |name: &[u8], dims: &[u8]| {
        // float_data is empty, and so is the tensor.
        field(5, &[field(1, dims), b"\x10\x01".to_vec(), field(8, name)].concat())
    };
    let reshape = |from: &[u8], to: &str| {
        let parts = [field(1, from), field(1, b"shape"), field(2, to.as_bytes())];
        field(1, &[parts.concat(), field(4, b"Reshape")].concat())
    };

    // Each constant keeps the name of the tensor that it is.
    let long = vec![b'n'; MB];
    let mut graph =
        vec![input.clone(), initializer(&long, b"\x00"), initializer(b"shape", b"\x00")];
    graph.push(reshape(&long, "0"));
    graph.extend((1..1000).map(|i| reshape((i - 1).to_string().as_bytes(), &i.to_string())));
    let error = refused(onnx(&graph)).to_string();
    assert!(error.contains("bytes of names in a graph: expected at most 33554432"), "{error}");

    let mut graph = vec![input.clone(), initializer(b"shape", b"\x00")];
    graph.push(reshape(b"shape", "0"));
    graph.extend((1..70_000).map(|i| reshape((i - 1).to_string().as_bytes(), &i.to_string())));
    let error = refused(onnx(&graph)).to_string();
    assert!(error.contains("values of a graph: expected at most 65536"), "{error}");

    let dims = vec![1; 5000];
    let error = refused(onnx(&[input.clone(), initializer(b"a", &dims)])).to_string();
    assert!(error.contains("numbers of ONNX tensor: expected at most 4096"), "{error}");

    let many = field(1, &b"\x0a\x00".repeat(5000));
    let error = refused(onnx(&[input, many])).to_string();
    assert!(error.contains("parts of a node: expected at most 4096"), "{error}");
}

/// Two spellings and a link lead to one file, which is mapped once, and hashed once.
#[cfg(unix)]
#[test]
fn a_file_of_many_names_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(folder.path().join("data"), 1.5f32.to_le_bytes()).unwrap();
    std::os::unix::fs::symlink("data", folder.path().join("link")).unwrap();
    let external = |location: &str| {
        let place = [field(1, b"location"), field(2, location.as_bytes())].concat();
        let parts = [field(1, b"\x01"), b"\x10\x01".to_vec(), field(8, location.as_bytes())];
        field(5, &[parts.concat(), field(13, &place), b"\x70\x01".to_vec()].concat())
    };
    let names = ["data", "./data", "././data", "link", "./link"];
    let graph: Vec<_> =
        std::iter::once(field(11, &field(1, b"x"))).chain(names.map(external)).collect();
    std::fs::write(&path, onnx(&graph)).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.beside().count(), 1);
    for name in names {
        assert_eq!(checkpoint.read_f32(name).unwrap(), [1.5]);
    }
}

#[test]
fn programs_are_counted_before_they_are_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, program: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(path.with_extension("pdiparams"), [0; 32]).unwrap();
        std::fs::write(&path, program).unwrap();
        Checkpoint::open(&path).unwrap_err().to_string()
    };
    // No JSON, so that parsing it would be another error.
    let objects = "{".repeat(70_000);
    let error = refused("a.json", format!("{{\"magic\":\"pir\"{objects}").as_bytes());
    assert!(error.contains("objects of a program: expected at most 65536"), "{error}");

    let root = b"\x08\x00\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec();
    let variable =
        |i: u32| field(3, &[field(1, i.to_string().as_bytes()), b"\x18\x01".to_vec()].concat());
    let block: Vec<_> = std::iter::once(root).chain((0..70_000).map(variable)).collect();
    let error = refused("b.pdmodel", &field(1, &block.concat()));
    assert!(error.contains("variables of a program: expected at most 65536"), "{error}");
}

#[test]
fn each_shard_is_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("model-000001-of-999999.safetensors");
    std::fs::write(&first, b"x").unwrap();
    let error = Checkpoint::open(&first).unwrap_err();
    assert!(matches!(error, E::TooLarge { limit: 512, found: 999_999, .. }), "{error:?}");

    #[cfg(unix)]
    {
        let shard = |number| folder.path().join(format!("m-{number}-of-2.safetensors"));
        std::fs::write(shard(1), b"x").unwrap();
        std::os::unix::fs::symlink(shard(1), shard(2)).unwrap();
        let error = Checkpoint::open(&shard(1)).unwrap_err().to_string();
        assert!(error.contains("a link to another shard"), "{error}");
    }
}
