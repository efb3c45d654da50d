//! Broken and hostile checkpoints, each named after its fault: every one is an error that names the
//! place and the bytes found, and none of them panics, recurses or allocates on a lie.

mod support;

use effnet::weights::import::{Checkpoint, CheckpointError};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::io::{Cursor, Write};
use std::path::Path;
use support::containers::{
    ContainerKind, NamedTensor, Pickle, TorchTensor, container_bytes, npy_header,
    torch_legacy_prelude,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use CheckpointError as E;

/// A fault, the file that has it, the parts of its message, and the kind of error.
type Case = (&'static str, Vec<u8>, &'static [&'static str], fn(&CheckpointError) -> bool);

macro_rules! is {
    ($variant:ident) => {
        |error| matches!(error, E::$variant { .. })
    };
}

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
    let zip = |name: &str| archive(&[(name, b"x")], CompressionMethod::Deflated);
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

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

#[test]
fn malformed_safetensors() {
    let good = small(ContainerKind::Safetensors);
    let lying = |len: u64| [&len.to_le_bytes(), &good[8..]].concat();
    let one = |dtype: &str, shape: &str, end: usize, data: usize| {
        let entry = format!(r#""dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]"#);
        safetensors(&format!(r#"{{"a":{{{entry}}}}}"#), data)
    };
    let large = (1u64 << 61) - 1;
    let entry = |i: u64| {
        let (start, end) = (i * large, (i + 1) * large);
        format!(r#""{i}":{{"dtype":"U8","shape":[{large}],"data_offsets":[{start},{end}]}}"#)
    };
    let eight_large = format!("{{{}}}", (0..8).map(entry).collect::<Vec<_>>().join(","));
    refuse_all(vec![
        ("cut in its header", good[..20].to_vec(), &["offset 8", "truncated"], is!(Truncated)),
        ("cut in its data", cut(&good, 1), &["as many bytes as"], is!(Corrupt)),
        ("bytes after its data", [&good[..], b"x"].concat(), &["as many bytes"], is!(Corrupt)),
        ("header of 2^63 bytes", lying(1 << 63), &["9223372036854775808"], is!(Truncated)),
        ("header of 2^64-1 bytes", lying(u64::MAX), &["offset 8"], is!(Truncated)),
        (
            // Would be a fault of the JSON if it were parsed.
            "header of more than 4 MB",
            safetensors(&"{".repeat(4_000_001), 0),
            &["offset 0", "at most 4000000, found 4000001", "save the state dict alone"],
            is!(TooLarge),
        ),
        ("header of 4 MB", safetensors(&"{".repeat(4_000_000), 0), &["JSON"], is!(Corrupt)),
        ("header cut by a shorter length", lying(40), &["offset ", "JSON"], is!(Corrupt)),
        ("header that is no JSON", safetensors("{]", 0), &["offset 10", "JSON"], is!(Corrupt)),
        (
            "header that is no UTF-8",
            patched(&good, b"a.weight", b"\xff.weight"),
            &["UTF-8"],
            is!(Corrupt),
        ),
        ("no tensors", safetensors("{}", 0), &["a safetensors file without any"], is!(NoTensors)),
        (
            "size that is not the shape's",
            one("F32", "[3]", 8, 8),
            &["shape and dtype"],
            is!(Corrupt),
        ),
        (
            "shape beyond 64 bits",
            one("F32", "[4294967296,4294967296,4]", 8, 8),
            &["offset 8"],
            is!(Corrupt),
        ),
        (
            // Their end, after header and length, is beyond 64 bits.
            "eight tensors of 2^61 - 1 bytes",
            safetensors(&eight_large, 0),
            &["as many bytes as"],
            is!(Corrupt),
        ),
        ("negative extent", one("F32", "[-2]", 8, 8), &["JSON"], is!(Corrupt)),
        (
            "gap before a tensor",
            patched(&good, b"[96,144]", b"[97,145]"),
            &["\"b.weight\""],
            is!(Corrupt),
        ),
        (
            "tensors that overlap",
            patched(&good, b"[96,144]", b"[92,140]"),
            &["\"b.weight\""],
            is!(Corrupt),
        ),
        ("8-bit floats", one("F8_E4M3", "[2]", 2, 2), &["\"a\"", "F8_E4M3"], is!(Unsupported)),
    ]);
}

/// A pickle of protocol 4 with this body.
fn pickle(body: &[u8]) -> Vec<u8> {
    [b"\x80\x04", body].concat()
}

#[test]
fn malformed_pickles() {
    let good = small(ContainerKind::PaddleProtocol4);
    let stack_global = |module: &str, name: &str| {
        let mut pickle = Pickle::new(4);
        pickle.text(module).text(name).op(b"\x93.");
        pickle.0
    };
    let mut reduce_eval = Pickle::new(2);
    reduce_eval.op(b"}").text("model").global("builtins", "eval").text("1").op(b"\x85Rs.");
    let mut system = Pickle::new(2);
    system.op(b"}").text("model").global("os", "system").text("true").op(b"\x85Rs.");
    let mut cyclic = Pickle::new(2);
    cyclic.op(b"}q\x00").text("model").op(b"h\x00s.");
    let mut laughs = Pickle::new(2);
    laughs.op(b"(Nq\x00");
    for _ in 0..2000 {
        laughs.op(b"h\x00h\x00\x86q\x00");
    }
    laughs.op(b"t.");
    let mut flood = Pickle::new(2);
    flood.op(b"(");
    flood.0.extend((0..1_100_000).flat_map(|_| *b"K\x01"));
    flood.op(b"t.");
    let mut copies = Pickle::new(2);
    copies.op(b"](");
    for _ in 0..1000 {
        copies.op(b"NN\x86");
    }
    copies.op(b"eq\x00");
    for _ in 0..2000 {
        copies.op(b"ccollections\nOrderedDict\nh\x00\x85R");
    }

    refuse_all(vec![
        ("nothing after PROTO", pickle(b""), &["offset 2", "truncated pickle"], is!(Truncated)),
        ("no STOP", cut(&good, 1), &["truncated pickle"], is!(Truncated)),
        ("bytes after STOP", [&good[..], b"N."].concat(), &["2 more bytes"], is!(Corrupt)),
        (
            "protocol 9",
            b"\x80\x02\x80\x09N.".to_vec(),
            &["offset 2", "at most 5", "found 9"],
            is!(Corrupt),
        ),
        (
            "os.system by INST",
            pickle(b"(\x8c\x04trueios\nsystem\n."),
            &["offset 9", "\"os.system\"", "a state dict", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system by OBJ",
            pickle(b"(cos\nsystem\n\x8c\x04trueo."),
            &["offset 20", "\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system by NEWOBJ_EX",
            pickle(b"cos\nsystem\n\x8c\x04true\x85}\x92."),
            &["offset 21", "\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system through copyreg",
            pickle(b"ccopyreg\n_reconstructor\n(cos\nsystem\ncos\nsystem\nNtR."),
            &["\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system's result called",
            pickle(b"cos\nsystem\n)R)R}b."),
            &["offset 16", "\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        ("OBJ of nothing", pickle(b"(o."), &["offset 3", "a class"], is!(Corrupt)),
        (
            "OBJ of a number",
            pickle(b"(K\x01o."),
            &["offset 5", "a global and a tuple", "an integer"],
            is!(Corrupt),
        ),
        ("POP of nothing", pickle(b"0."), &["offset 2", "too few"], is!(Corrupt)),
        ("DUP of nothing", pickle(b"(2."), &["offset 3", "too few"], is!(Corrupt)),
        ("POP_MARK without a mark", pickle(b"1."), &["offset 2", "a mark"], is!(Corrupt)),
        (
            "a tensor's type that rebuilds itself",
            pickle(
                &[&b"ctorch._tensor\n_rebuild_from_type_v2\nq\x00h\x00N)Ntq\x01"[..], b"."]
                    .concat(),
            ),
            &["a mark"],
            is!(Corrupt),
        ),
        ("opcode EXT1", pickle(b"\x82\x01."), &["offset 2", "0x82"], is!(ForbiddenOpcode)),
        ("opcode that is none", pickle(b"\xff"), &["offset 2", "0xff"], is!(ForbiddenOpcode)),
        (
            "os.system",
            system.0,
            &["offset 34", "\"model\"", "\"os.system\"", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        (
            "eval",
            reduce_eval.0,
            &["offset 35", "\"model\"", "\"builtins.eval\""],
            is!(ForbiddenGlobal),
        ),
        (
            "os.system from the stack",
            stack_global("os", "system"),
            &["\"os.system\""],
            is!(ForbiddenGlobal),
        ),
        (
            "dotted global",
            stack_global("torch", "_utils.x"),
            &["torch._utils.x", "nothing was run"],
            is!(ForbiddenGlobal),
        ),
        ("torch.load", stack_global("torch", "load"), &["\"torch.load\""], is!(ForbiddenGlobal)),
        (
            "global of a million letters",
            stack_global("os", &"y".repeat(1_000_000)),
            &["\"os.yyy", "more bytes"],
            is!(ForbiddenGlobal),
        ),
        (
            "global without a line's end",
            pickle(&[b'c'; 2000]),
            &["offset 2", "a line of at most"],
            is!(Corrupt),
        ),
        (
            "global of numbers",
            pickle(b"K\x01K\x02\x93."),
            &["two strings", "an integer"],
            is!(Corrupt),
        ),
        (
            "string of 2^63 bytes",
            pickle(b"\x8d\0\0\0\0\0\0\0\x80abc."),
            &["offset 11", "9223372036854775808", "found 4"],
            is!(Truncated),
        ),
        (
            "bytes of 4 GiB",
            pickle(b"B\xff\xff\xff\xffabc."),
            &["4294967295", "found 4"],
            is!(Truncated),
        ),
        (
            "bytes of 2^64-1",
            pickle(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff."),
            &["pickled bytes"],
            is!(Truncated),
        ),
        (
            "integer of 4 GiB",
            pickle(b"\x8b\xff\xff\xff\xff\x01."),
            &["pickled integer"],
            is!(Truncated),
        ),
        (
            "frame beyond the end",
            pickle(b"\x95\x10\0\0\0\0\0\0\0N."),
            &["pickle frame"],
            is!(Truncated),
        ),
        (
            "string that is no UTF-8",
            pickle(b"\x8c\x02a\xff."),
            &["offset 5", "UTF-8"],
            is!(Corrupt),
        ),
        ("REDUCE of nothing", pickle(b"R."), &["offset 2", "operands"], is!(Corrupt)),
        ("REDUCE across a mark", pickle(b"N(NR."), &["offset 5", "too few"], is!(Corrupt)),
        (
            "REDUCE of a string",
            pickle(b"\x8c\x01a)R."),
            &["a global and a tuple", "a string"],
            is!(Corrupt),
        ),
        ("TUPLE without a mark", pickle(b"Nt."), &["offset 3", "a mark"], is!(Corrupt)),
        (
            "BUILD of a number",
            pickle(b"K\x01Nb."),
            &["target of BUILD", "an integer"],
            is!(Corrupt),
        ),
        ("SETITEMS of three", pickle(b"}(NNNu."), &["pairs"], is!(Corrupt)),
        ("SETITEM of a list", pickle(b"]NNs."), &["a dict", "a list"], is!(Corrupt)),
        ("APPEND to a dict", pickle(b"}Na."), &["a list", "a dict"], is!(Corrupt)),
        ("STOP with two objects", pickle(b"NN."), &["one object at STOP"], is!(Corrupt)),
        ("memo slot that was not set", pickle(b"h\x07."), &["offset 2", "slot 7"], is!(Corrupt)),
        ("MEMOIZE of nothing", pickle(b"\x94N."), &["offset 2"], is!(Corrupt)),
        ("a dict inside itself", cyclic.0, &["a dict of 1", "\"model\""], is!(NoTensors)),
        (
            "nesting of a million",
            pickle(&[vec![b']'; 500_000], vec![b'a'; 499_999], b".".to_vec()].concat()),
            &["found a list"],
            is!(NoTensors),
        ),
        ("references that double 2000 times", laughs.0, &["found a tuple"], is!(NoTensors)),
        ("a million objects", flood.0, &["pickled objects", "at most 1048576"], is!(TooLarge)),
        ("a list copied 2000 times", copies.0, &["copied pickle items"], is!(TooLarge)),
        ("17 million opcodes", pickle(&vec![b'N'; 17 << 20]), &["pickle opcodes"], is!(TooLarge)),
        ("a root that is no dict", pickle(b"]."), &["offset 0", "a list"], is!(NoTensors)),
        (
            "a dict without tensors",
            pickle(b"}\x8c\x05epochK\x03s."),
            &["a dict of 1 with the keys \"epoch\""],
            is!(NoTensors),
        ),
    ]);
}

/// A Paddle file with one array, named `a`.
fn paddle(descr: &str, order: &str, state: impl FnOnce(&mut Pickle)) -> Vec<u8> {
    let mut file = Pickle::new(4);
    file.op(b"}").text("a").global("numpy.core.multiarray", "_reconstruct");
    file.global("numpy", "ndarray").op(b"K\x00\x85C\x01b\x87R(K\x01");
    let dtype = |file: &mut Pickle| {
        file.global("numpy", "dtype").text(descr).op(b"\x89\x88\x87R(K\x03").text(order);
        file.op(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89");
    };
    // The state is given around the dtype: shape first, bytes last.
    let mut parts = Pickle::default();
    state(&mut parts);
    let split = parts.0.iter().position(|&byte| byte == b'|').unwrap();
    file.op(&parts.0[..split]);
    dtype(&mut file);
    file.op(&parts.0[split + 1..]).op(b"tbs.");
    file.0
}

#[test]
fn malformed_paddle_files() {
    let array = |shape: &[usize], descr: &str, order: &str, bytes: &[u8]| {
        paddle(descr, order, |state| {
            state.tuple(shape).op(b"|B").op(&(bytes.len() as u32).to_le_bytes()).op(bytes);
        })
    };
    assert!(Checkpoint::from_bytes(array(&[2], "f4", "<", &[0; 8])).is_ok());
    let encoded = |text: &str, encoding: &str| {
        paddle("f4", "<", |state| {
            state.tuple(&[1]).op(b"|").global("_codecs", "encode").text(text).text(encoding);
            state.op(b"\x86R");
        })
    };
    assert!(Checkpoint::from_bytes(encoded("\0\u{80}\u{ff}?", "latin1")).is_ok());
    let mut without_state = Pickle::new(4);
    without_state.op(b"}").text("a").global("numpy.core.multiarray", "_reconstruct");
    without_state.global("numpy", "ndarray").op(b"K\x00\x85C\x01b\x87Rs.");
    let good = small(ContainerKind::PaddleProtocol4);
    let protocol_2 = small(ContainerKind::PaddleProtocol2);
    let mut split = Pickle::new(2);
    split.op(b"}").text("UnpackBigParamInfor@@").op(b"}s.");
    refuse_all(vec![
        (
            "one byte too few",
            array(&[2], "f4", "<", &[0; 7]),
            &["\"a\"", "2 elements of f32", "7 bytes"],
            is!(Corrupt),
        ),
        ("one byte too many", array(&[2], "f4", "<", &[0; 9]), &["9 bytes"], is!(Corrupt)),
        (
            "big-endian array",
            array(&[2], "f4", ">", &[0; 8]),
            &["little-endian", "\"a\""],
            is!(Unsupported),
        ),
        ("array of objects", array(&[2], "O8", "|", &[0; 16]), &["\"O8\""], is!(Unsupported)),
        ("byte order that is none", array(&[2], "f4", "!", &[0; 8]), &["byte order"], is!(Corrupt)),
        (
            "shape beyond 64 bits",
            array(&[2_000_000_000; 8], "f4", "<", &[0; 8]),
            &["fits 64 bits"],
            is!(Corrupt),
        ),
        (
            "shape of 33 axes",
            array(&[1; 33], "f4", "<", &[0; 4]),
            &["up to 32", "33 of them"],
            is!(Corrupt),
        ),
        (
            "negative shape",
            paddle("f4", "<", |s| {
                s.op(b"J\xff\xff\xff\xff\x85|C\x00");
            }),
            &["not negative"],
            is!(Corrupt),
        ),
        (
            "data that are a list",
            paddle("f4", "<", |s| {
                s.tuple(&[1]).op(b"|]");
            }),
            &["bytes", "a list"],
            is!(Corrupt),
        ),
        (
            "text beyond Latin-1",
            encoded("abc\u{100}", "latin1"),
            &["below 256", "offset "],
            is!(Corrupt),
        ),
        ("text in another encoding", encoded("abcd", "utf-8"), &["latin1"], is!(Corrupt)),
        ("text one byte short", encoded("ab\u{ff}", "latin1"), &["3 bytes"], is!(Corrupt)),
        ("array without its state", without_state.0, &["its state"], is!(Corrupt)),
        (
            "name twice",
            patched(&good, b"b.weight", b"a.weight"),
            &["\"a.weight\" twice"],
            is!(DuplicateTensor),
        ),
        ("array in pieces", split.0, &["whole arrays"], is!(Unsupported)),
        ("protocol 2, cut in a text", protocol_2[..300].to_vec(), &["offset "], is!(Truncated)),
    ]);
}

/// The parts of a PyTorch file with one float tensor `a` over storage `0` of six elements.
struct Torch {
    storage: &'static str,
    numel: usize,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Default for Torch {
    fn default() -> Self {
        Torch {
            storage: "FloatStorage",
            numel: 6,
            offset: 0,
            shape: vec![2, 3],
            strides: vec![3, 1],
        }
    }
}

impl Torch {
    fn pickle(&self, legacy: bool) -> Vec<u8> {
        let mut pickle = Pickle::new(2);
        let tensor = TorchTensor {
            storage: self.storage,
            key: "0",
            numel: self.numel,
            offset: self.offset,
            shape: &self.shape,
            strides: &self.strides,
        };
        pickle.op(b"}").text("a").torch_tensor(&tensor, legacy).op(b"s.");
        pickle.0
    }

    fn zip(&self) -> Vec<u8> {
        torch_zip(&self.pickle(false), &[("data/0", &[0; 24])])
    }
}

fn torch_zip(pickle: &[u8], entries: &[(&str, &[u8])]) -> Vec<u8> {
    let entries: Vec<_> =
        entries.iter().map(|&(name, bytes)| (format!("archive/{name}"), bytes)).collect();
    let mut all = vec![("archive/data.pkl", pickle)];
    all.extend(entries.iter().map(|(name, bytes)| (name.as_str(), *bytes)));
    archive(&all, CompressionMethod::Stored)
}

fn archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A legacy file: the state dict's pickle, the keys, then `(count, bytes)` for each storage.
fn torch_legacy(pickle: &[u8], keys: &[&str], storages: &[(u64, &[u8])]) -> Vec<u8> {
    let mut list = Pickle::new(2);
    list.op(b"](");
    for key in keys {
        list.text(key);
    }
    list.op(b"e.");
    let mut file = [&torch_legacy_prelude()[..], pickle, &list.0].concat();
    for (count, bytes) in storages {
        file.extend_from_slice(&count.to_le_bytes());
        file.extend_from_slice(bytes);
    }
    file
}

#[test]
fn tensors_that_their_storage_does_not_hold() {
    let torch = Torch::default;
    assert!(Checkpoint::from_bytes(torch().zip()).is_ok());
    // BININT holds negative numbers, which the writer's unsigned ones never are.
    let negative = |from: &[u8], to: &[u8]| {
        torch_zip(&patched(&torch().pickle(false), from, to), &[("data/0", &[0; 24])])
    };
    refuse_all(vec![
        (
            "last element outside",
            Torch { offset: 1, ..torch() }.zip(),
            &["\"a\"", "at most the 6 f32 elements", "first element 1"],
            is!(Corrupt),
        ),
        (
            "strides that reach outside",
            Torch { strides: vec![4, 1], ..torch() }.zip(),
            &["strides [4, 1]"],
            is!(Corrupt),
        ),
        (
            "more elements than the storage",
            Torch { shape: vec![5, 2], strides: vec![1, 1], ..torch() }.zip(),
            &["shape [5, 2]"],
            is!(Corrupt),
        ),
        (
            "stride of zero",
            Torch { strides: vec![0, 1], ..torch() }.zip(),
            &["positive stride", "0 along an axis of 2"],
            is!(Unsupported),
        ),
        (
            "offset beyond 63 bits",
            Torch { offset: i64::MAX as usize, ..torch() }.zip(),
            &["first element 9223372036854775807"],
            is!(Corrupt),
        ),
        (
            "stride whose product overflows",
            Torch { shape: vec![3, 2], strides: vec![i64::MAX as usize, 1], ..torch() }.zip(),
            &["9223372036854775807"],
            is!(Corrupt),
        ),
        (
            "shape whose product overflows",
            Torch { shape: vec![1 << 40, 1 << 40], ..torch() }.zip(),
            &["fits 64 bits"],
            is!(Corrupt),
        ),
        (
            "zero extent that hides an overflow",
            Torch { shape: vec![1 << 40, 1 << 40, 0], strides: vec![1; 3], ..torch() }.zip(),
            &["fits 64 bits"],
            is!(Corrupt),
        ),
        (
            "fewer strides than axes",
            Torch { strides: vec![1], ..torch() }.zip(),
            &["2 of them", "found 1"],
            is!(Corrupt),
        ),
        (
            "33 axes",
            Torch { shape: vec![1; 33], strides: vec![1; 33], ..torch() }.zip(),
            &["up to 32", "33 of them"],
            is!(Corrupt),
        ),
        (
            "negative stride",
            negative(b"J\x03\0\0\0J\x01\0\0\0t", b"J\xfd\xff\xff\xffJ\x01\0\0\0t"),
            &["strides", "not negative", "found -3"],
            is!(Corrupt),
        ),
        (
            "negative extent",
            negative(b"J\x02\0\0\0J\x03\0\0\0t", b"J\xfe\xff\xff\xffJ\x03\0\0\0t"),
            &["shape", "not negative"],
            is!(Corrupt),
        ),
        (
            "negative offset",
            negative(b"QJ\0\0\0\0", b"QJ\xff\xff\xff\xff"),
            &["storage offset", "not negative"],
            is!(Corrupt),
        ),
        (
            "storage larger than its bytes",
            Torch { numel: 7, ..torch() }.zip(),
            &["7 elements of f32", "24 bytes"],
            is!(Corrupt),
        ),
        (
            "storage of 2^62 elements",
            Torch { numel: 1 << 62, ..torch() }.zip(),
            &["24 bytes"],
            is!(Corrupt),
        ),
        (
            "storage smaller than its bytes",
            Torch { numel: 5, ..torch() }.zip(),
            &["5 elements"],
            is!(Corrupt),
        ),
        (
            "storage of wider elements",
            Torch { storage: "DoubleStorage", ..torch() }.zip(),
            &["6 elements of f64"],
            is!(Corrupt),
        ),
        (
            "storage of complex numbers",
            Torch { storage: "ComplexFloatStorage", ..torch() }.zip(),
            &["torch.ComplexFloatStorage"],
            is!(ForbiddenGlobal),
        ),
    ]);
}

#[test]
fn malformed_torch_zip_files() {
    let pickle = Torch::default().pickle(false);
    let data: (&str, &[u8]) = ("data/0", &[0; 24]);
    let good = torch_zip(&pickle, &[data]);
    let mut twice = Pickle::new(2);
    let tensor = TorchTensor {
        storage: "FloatStorage",
        key: "0",
        numel: 6,
        offset: 0,
        shape: &[6],
        strides: &[1],
    };
    twice.op(b"}(").text("a").torch_tensor(&tensor, false).text("a").torch_tensor(&tensor, false);
    twice.op(b"u.");
    let mut module = Pickle::new(2);
    module.op(b"(").text("module").op(b"NNNNtQ.");
    let mut short = Pickle::new(2);
    short.op(b"(").text("storage").op(b"tQ.");
    let mut free = Pickle::new(2);
    free.global("torch._utils", "_rebuild_tensor_v2").op(b"(NK\x00)))tR.");
    // Eight mebibytes of zeros deflate to eight kibibytes: the directory then says 4 GiB.
    let zeros = vec![0; 8 << 20];
    let bomb = archive(&[("archive/data.pkl", &zeros)], CompressionMethod::Deflated);
    let lying = patched(&bomb, &(8u32 << 20).to_le_bytes(), &0xfff0_0000u32.to_le_bytes());
    let encrypted =
        patched(&good, b"PK\x01\x02\x0a\x03\x0a\0\0\0", b"PK\x01\x02\x0a\x03\x0a\0\x01\0");
    refuse_all(vec![
        ("cut in its directory", cut(&good, 1), &["zip archive"], is!(Corrupt)),
        ("cut after its first entry", good[..60].to_vec(), &["zip archive"], is!(Corrupt)),
        ("four bytes", b"PK\x03\x04".to_vec(), &["zip archive"], is!(Corrupt)),
        (
            "no data.pkl",
            archive(&[("readme", b"x")], CompressionMethod::Stored),
            &["a zip archive of 1 files, as \"readme\"", "unpack it"],
            is!(UnknownContainer),
        ),
        (
            "data.pkl two folders down",
            archive(&[("a/b/data.pkl", &pickle)], CompressionMethod::Stored),
            &["data.pkl in an inner folder"],
            is!(UnknownContainer),
        ),
        ("no storage", torch_zip(&pickle, &[]), &["archive/data/0", "found none"], is!(Corrupt)),
        (
            "big-endian",
            torch_zip(&pickle, &[data, ("byteorder", b"big")]),
            &["\"little\"", "\"big\""],
            is!(Unsupported),
        ),
        ("name twice", torch_zip(&twice.0, &[data]), &["\"a\" twice"], is!(DuplicateTensor)),
        (
            "pickled module",
            torch_zip(&module.0, &[data]),
            &["storage", "another kind"],
            is!(Corrupt),
        ),
        (
            "persistent id of one item",
            torch_zip(&short.0, &[data]),
            &["a tuple of 1"],
            is!(Corrupt),
        ),
        (
            "tensor without a storage",
            torch_zip(&free.0, &[data]),
            &["a storage", "None"],
            is!(Corrupt),
        ),
        ("pickle cut", torch_zip(&cut(&pickle, 1), &[data]), &["truncated pickle"], is!(Truncated)),
        ("pickle of zeros", bomb, &["0x00"], is!(ForbiddenOpcode)),
        (
            "zip bomb by its declared size",
            lying,
            &["bytes of zip entry", "4293918720"],
            is!(TooLarge),
        ),
        ("encrypted entry", encrypted, &["encrypted"], is!(Unsupported)),
    ]);
}

#[test]
fn malformed_torch_legacy_files() {
    let pickle = Torch::default().pickle(true);
    let good = torch_legacy(&pickle, &["0"], &[(6, &[0; 24])]);
    assert!(Checkpoint::from_bytes(good.clone()).is_ok());
    let with_view = patched(&pickle, b"J\x06\0\0\0NtQ", b"J\x06\0\0\0K\x01tQ");
    let mut differing = Pickle::new(2);
    differing.op(b"}(");
    for (name, numel) in [("a", 6), ("b", 7)] {
        let tensor = TorchTensor {
            storage: "FloatStorage",
            key: "0",
            numel,
            offset: 0,
            shape: &[6],
            strides: &[1],
        };
        differing.text(name).torch_tensor(&tensor, true);
    }
    differing.op(b"u.");
    let list = b"\x80\x02](X\x01\0\0\x000e.";
    refuse_all(vec![
        ("cut after the magic number", good[..15].to_vec(), &["offset 15"], is!(Truncated)),
        ("cut in a storage", cut(&good, 1), &["truncated storage", "24", "23"], is!(Truncated)),
        ("cut before a storage", cut(&good, 28), &["length of a storage"], is!(Truncated)),
        (
            "bytes after the last storage",
            [&good[..], b"x"].concat(),
            &["1 more bytes"],
            is!(Corrupt),
        ),
        (
            "another version",
            patched(&good, b"\x80\x02M\xe9\x03.", b"\x80\x02M\xe8\x03."),
            &["1001", "found 1000"],
            is!(Unsupported),
        ),
        (
            "big-endian",
            patched(&good, b"little_endian\x88", b"little_endian\x89"),
            &["big-endian"],
            is!(Unsupported),
        ),
        (
            "no byte order",
            patched(&good, b"little_endian", b"middle_endian"),
            &["little_endian"],
            is!(Corrupt),
        ),
        (
            "key that is not listed",
            torch_legacy(&pickle, &[], &[]),
            &["key \"0\"", "none"],
            is!(Corrupt),
        ),
        (
            "key that no tensor has",
            torch_legacy(&pickle, &["0", "1"], &[(6, &[0; 24]), (6, &[0; 24])]),
            &["storage \"1\""],
            is!(Corrupt),
        ),
        (
            "key twice",
            torch_legacy(&pickle, &["0", "0"], &[(6, &[0; 24]), (6, &[0; 24])]),
            &["once"],
            is!(Corrupt),
        ),
        (
            "storage of another length",
            torch_legacy(&pickle, &["0"], &[(5, &[0; 20])]),
            &["6 elements", "found 5"],
            is!(Corrupt),
        ),
        (
            "storage of 2^64-1 elements",
            torch_legacy(&pickle, &["0"], &[(u64::MAX, &[0; 24])]),
            &["18446744073709551615"],
            is!(Corrupt),
        ),
        (
            "storage inside another",
            torch_legacy(&with_view, &["0"], &[(6, &[0; 24])]),
            &["view of a storage"],
            is!(Corrupt),
        ),
        (
            "storage of two lengths",
            torch_legacy(&differing.0, &["0"], &[(6, &[0; 24])]),
            &["one type and size"],
            is!(Corrupt),
        ),
        (
            "keys that are no list",
            patched(&good, list, b"\x80\x02}."),
            &["a list", "a dict"],
            is!(Corrupt),
        ),
        (
            "key that is no string",
            patched(&good, list, b"\x80\x02](K\x01e."),
            &["a string"],
            is!(Corrupt),
        ),
    ]);
}

fn npz(npy: &[u8]) -> Vec<u8> {
    archive(&[("a.npy", npy)], CompressionMethod::Stored)
}

#[test]
fn malformed_npz_files() {
    let npy = |descr: &str, shape: &str, data: usize| {
        let literal = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
        let mut bytes = npy_header(&literal);
        bytes.resize(bytes.len() + data, 0);
        bytes
    };
    let good = npy("'<f4'", "(2,)", 8);
    assert!(Checkpoint::from_bytes(npz(&good)).is_ok());
    let stray = archive(&[("a.npy", &good), ("b.txt", b"x")], CompressionMethod::Stored);
    let two = archive(&[("a.npy", &good), ("b.npy", &good)], CompressionMethod::Stored);
    refuse_all(vec![
        ("cut in its magic", npz(&good[..5]), &["truncated .npy header"], is!(Truncated)),
        ("cut in its header", npz(&good[..40]), &["truncated .npy header"], is!(Truncated)),
        ("cut in its data", npz(&cut(&good, 1)), &["2 elements of f32", "7 bytes"], is!(Corrupt)),
        ("bytes after its data", npz(&[&good[..], b"x"].concat()), &["9 bytes"], is!(Corrupt)),
        (
            "wrong magic",
            npz(&patched(&good, b"NUMPY", b"NUMPX")),
            &["\"\\x93NUMPX\""],
            is!(Corrupt),
        ),
        (
            "version 9",
            npz(&patched(&good, b"NUMPY\x01", b"NUMPY\x09")),
            &["version 1, 2 or 3", "found 9"],
            is!(Unsupported),
        ),
        (
            "header of 65535 bytes",
            npz(&patched(&good, b"\x01\0\x76\0", b"\x01\0\xff\xff")),
            &["at most 10000"],
            is!(Corrupt),
        ),
        (
            "version 2 and 4 GiB of header",
            npz(&patched(&good, b"\x01\0\x76\0", b"\x02\0\xff\xff")),
            &["at most 10000"],
            is!(Corrupt),
        ),
        (
            "shape beyond 64 bits",
            npz(&npy("'<f4'", "(4294967296, 4294967296, 4)", 8)),
            &["fits 64 bits"],
            is!(Corrupt),
        ),
        ("negative shape", npz(&npy("'<f4'", "(-2,)", 8)), &["not negative"], is!(Corrupt)),
        (
            "code in its header",
            npz(&npy("__import__('os').system('true')", "(2,)", 8)),
            &["a dtype of plain numbers", "__import__"],
            is!(Corrupt),
        ),
        (
            "structured type",
            npz(&npy("[('x', '<f4')]", "(2,)", 8)),
            &["a dtype of plain numbers"],
            is!(Corrupt),
        ),
        (
            "array of objects",
            npz(&npy("'|O'", "(1,)", 8)),
            &["plain numbers", "\"|O\""],
            is!(Unsupported),
        ),
        ("big-endian array", npz(&npy("'>f4'", "(2,)", 8)), &["little-endian"], is!(Unsupported)),
        ("entry that is no array", stray, &["\"b.txt\""], is!(Corrupt)),
        ("name twice", patched(&two, b"b.npy", b"a.npy"), &["zip archive"], is!(Corrupt)),
        (
            "no entries",
            archive(&[], CompressionMethod::Stored),
            &["a zip archive without files"],
            is!(UnknownContainer),
        ),
    ]);

    // Damage to the data is found by the checksum, when they are read.
    let damaged =
        patched(&npz(&npy("'<f4'", "(2,)", 8)), b"\n\0\0\0\0\0\0\0\0", b"\n\0\0\0\0\0\0\x01\0");
    let error = Checkpoint::from_bytes(damaged).unwrap().read_f32("a").unwrap_err();
    assert!(error.to_string().contains("checksum of a zip entry"), "{error}");
}

/// Opens a file, and reads each tensor of those that open. It must return, with or without an
/// error.
fn read_all(file: Vec<u8>) -> Result<(), CheckpointError> {
    let checkpoint = Checkpoint::from_bytes(file)?;
    for (name, info) in checkpoint.tensors() {
        if let Ok(values) = checkpoint.read_f32(name) {
            assert_eq!(values.len(), info.shape.iter().product::<usize>(), "{name}");
        }
    }
    Ok(())
}

#[test]
fn every_truncation_is_refused() {
    for kind in ContainerKind::ALL {
        let file = small(kind);
        for len in 0..file.len() {
            let cut = read_all(file[..len].to_vec());
            assert!(cut.is_err(), "{kind:?} of {} bytes opened when cut to {len}", file.len());
        }
        read_all(file).unwrap();
    }
}

#[test]
fn any_single_damaged_byte_is_survived() {
    for kind in ContainerKind::ALL {
        let file = small(kind);
        for at in 0..file.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = file.clone();
                damaged[at] ^= flip;
                let _ = read_all(damaged);
            }
        }
    }
}

#[test]
fn random_damage_is_survived() {
    use proptest::prelude::*;
    for kind in ContainerKind::ALL {
        let file = small(kind);
        let flips = proptest::collection::vec((0..file.len(), any::<u8>()), 1..24);
        let moves = (0..file.len(), 0..file.len(), 0..64usize);
        let damage = (flips, moves, 0..=file.len());
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config::with_cases(1500), rng);
        let outcome = runner.run(&damage, |(flips, (from, to, len), cut)| {
            let mut damaged = file.clone();
            for (at, value) in flips {
                damaged[at] = value;
            }
            let len = len.min(file.len() - from).min(file.len() - to);
            damaged.copy_within(from..from + len, to);
            let _ = read_all(damaged.clone());
            damaged.truncate(cut);
            let _ = read_all(damaged);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
    }
}
