//! Every container, read back exactly: files of our own writers, and files that torch, Paddle,
//! NumPy and safetensors wrote (`tests/fixtures`).

mod support;

use effnet::weights::import::{Checkpoint, CheckpointError, Container, Dtype, TensorInfo};
use std::io::{Cursor, Write};
use std::path::Path;
use support::containers::{
    ContainerKind, NamedTensor, Pickle, container_bytes, write_container, zip_archive,
};
use zip::CompressionMethod;

/// A value for every index: no two alike, all exact in f32.
fn ramp(len: usize, step: f32) -> Vec<f32> {
    (0..len).map(|i| (i as f32 - 7.0) * step).collect()
}

fn tensors() -> Vec<NamedTensor> {
    let tensor = |name: &str, shape: &[usize], step| NamedTensor {
        name: name.to_owned(),
        shape: shape.to_vec(),
        data: ramp(shape.iter().product(), step),
    };
    let mut list = vec![
        tensor("conv_stem.weight", &[4, 3, 3, 3], 0.25),
        tensor("bn1.weight", &[4], -1.5),
        tensor("blocks.0.0.conv_dw.weight", &[6, 1, 5, 5], 0.125),
        tensor("blocks.0.0.conv_pw.weight", &[8, 6, 1, 1], 3.0),
        tensor("classifier.weight", &[10, 8], 1.0 / 1024.0),
        tensor("classifier.bias", &[10], 1e-6),
        tensor("temperature", &[], 2.0),
    ];
    list.push(NamedTensor {
        name: "bn1.num_batches_tracked".to_owned(),
        shape: vec![],
        data: vec![12345.0],
    });
    list
}

#[test]
fn every_container_of_our_writers_is_read_exactly() {
    let tensors = tensors();
    for kind in ContainerKind::ALL {
        let checkpoint = Checkpoint::from_bytes(container_bytes(kind, &tensors)).unwrap();
        let expected = match kind {
            ContainerKind::Safetensors => Container::Safetensors,
            ContainerKind::TorchZip => Container::TorchZip,
            ContainerKind::TorchLegacy => Container::TorchLegacy,
            ContainerKind::PaddleProtocol4 | ContainerKind::PaddleProtocol2 => Container::Paddle,
            ContainerKind::Npz => Container::Npz,
        };
        assert_eq!(checkpoint.container(), expected);
        assert_eq!(checkpoint.tensors().len(), tensors.len(), "{kind:?}");
        for tensor in &tensors {
            let name = &tensor.name;
            let counter = name.ends_with("num_batches_tracked");
            let dtype = if counter { Dtype::I64 } else { Dtype::F32 };
            let info = TensorInfo { dtype, shape: tensor.shape.clone() };
            assert_eq!(checkpoint.tensors().get(name), Some(&info), "{kind:?}: {name}");
            match checkpoint.read_f32(name) {
                Ok(data) => assert_eq!(data, tensor.data, "{kind:?}: {name}"),
                Err(CheckpointError::NotFloat { dtype, .. }) => assert_eq!(dtype, Dtype::I64),
                Err(error) => panic!("{kind:?}: {name}: {error}"),
            }
        }
    }
}

#[test]
fn a_file_is_recognised_by_its_content_and_digested_whole() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ContainerKind::ALL {
        let path = dir.path().join("weights.bin");
        write_container(&path, kind, &tensors());
        let opened = Checkpoint::open(&path).unwrap();
        let in_memory = Checkpoint::from_bytes(container_bytes(kind, &tensors())).unwrap();
        assert_eq!(opened.tensors(), in_memory.tensors());
        assert_eq!(opened.container(), in_memory.container());
        assert_eq!(opened.sha256().len(), 64);
        assert_eq!(opened.sha256(), in_memory.sha256());
    }
}

/// Opens a file of `tests/fixtures`.
fn fixture(name: &str) -> Checkpoint {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    Checkpoint::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The tensors that `write_fixtures.py` puts into every file, in its order.
const FIXTURE_TENSORS: [(&str, &[usize]); 5] = [
    ("conv.weight", &[4, 3, 3, 3]),
    ("dw.weight", &[6, 1, 3, 3]),
    ("fc.weight", &[5, 4]),
    ("fc.bias", &[5]),
    ("scalar", &[]),
];

/// Asserts that `checkpoint` holds the fixture's tensors as `dtype`, and `others` besides.
fn assert_is_fixture(name: &str, checkpoint: &Checkpoint, dtype: Dtype, others: usize) {
    assert_eq!(checkpoint.tensors().len(), FIXTURE_TENSORS.len() + others, "{name}");
    for (n, (tensor, shape)) in FIXTURE_TENSORS.into_iter().enumerate() {
        let info = TensorInfo { dtype, shape: shape.to_vec() };
        assert_eq!(checkpoint.tensors().get(tensor), Some(&info), "{name}: {tensor}");
        let values = ramp(shape.iter().product(), (n + 1) as f32 / 4.0);
        assert_eq!(checkpoint.read_f32(tensor).unwrap(), values, "{name}: {tensor}");
    }
}

#[test]
fn files_of_torch_are_read_exactly() {
    for (name, dtype, container) in [
        ("torch_zip.pth", Dtype::F32, Container::TorchZip),
        ("torch_zip_strided.pth", Dtype::F32, Container::TorchZip),
        ("torch_zip_float16.pth", Dtype::F16, Container::TorchZip),
        ("torch_zip_bfloat16.pth", Dtype::Bf16, Container::TorchZip),
        ("torch_zip_float64.pth", Dtype::F64, Container::TorchZip),
        ("torch_zip_protocol4.pth", Dtype::F32, Container::TorchZip),
        ("torch_legacy.pth", Dtype::F32, Container::TorchLegacy),
        ("torch_legacy_strided.pth", Dtype::F32, Container::TorchLegacy),
        ("torch_legacy_float64.pth", Dtype::F64, Container::TorchLegacy),
    ] {
        let checkpoint = fixture(name);
        assert_eq!(checkpoint.container(), container, "{name}");
        assert_is_fixture(name, &checkpoint, dtype, 1);
        let counter = &checkpoint.tensors()["bn.num_batches_tracked"];
        assert_eq!(counter, &TensorInfo { dtype: Dtype::I64, shape: vec![] });
    }
}

#[test]
fn files_of_safetensors_are_read_exactly() {
    for (name, dtype) in [
        ("safetensors_float32.safetensors", Dtype::F32),
        ("safetensors_bfloat16.safetensors", Dtype::Bf16),
    ] {
        let checkpoint = fixture(name);
        assert_eq!(checkpoint.container(), Container::Safetensors);
        assert_is_fixture(name, &checkpoint, dtype, 1);
    }
}

#[test]
fn files_of_numpy_are_read_exactly() {
    for (name, dtype, others) in [
        ("numpy_stored.npz", Dtype::F32, 0),
        ("numpy_deflated.npz", Dtype::F32, 0),
        ("numpy_fortran.npz", Dtype::F64, 0),
        ("numpy_float16.npz", Dtype::F16, 1),
    ] {
        let checkpoint = fixture(name);
        assert_eq!(checkpoint.container(), Container::Npz);
        assert_is_fixture(name, &checkpoint, dtype, others);
    }
}

#[test]
fn files_of_paddle_are_read_exactly() {
    for protocol in [2, 3, 4] {
        let name = format!("paddle_protocol{protocol}.pdparams");
        let checkpoint = fixture(&name);
        assert_eq!(checkpoint.container(), Container::Paddle);
        // The layer's own names have no dots.
        assert_eq!(checkpoint.tensors().len(), FIXTURE_TENSORS.len());
        for (n, (tensor, shape)) in FIXTURE_TENSORS.into_iter().enumerate() {
            let tensor = tensor.replace('.', "_");
            let info = TensorInfo { dtype: Dtype::F32, shape: shape.to_vec() };
            assert_eq!(checkpoint.tensors().get(&tensor), Some(&info), "{name}: {tensor}");
            let values = ramp(shape.iter().product(), (n + 1) as f32 / 4.0);
            assert_eq!(checkpoint.read_f32(&tensor).unwrap(), values, "{name}: {tensor}");
        }

        // `{"model": state, ..}`: tensors are `(name, array)`.
        let name = format!("paddle_nested_protocol{protocol}.pdparams");
        assert_is_fixture(&name, &fixture(&name), Dtype::F64, 0);
    }
}

#[test]
fn a_training_checkpoint_gives_its_state_dict() {
    for name in ["torch_zip_training.pth", "torch_legacy_training.pth"] {
        // The averaged weights are all zero here.
        let checkpoint = fixture(name);
        assert_eq!(checkpoint.taken().key, "state_dict_ema", "{name}");
        assert_eq!(checkpoint.read_f32("conv.weight").unwrap(), [0.0], "{name}");
        let note = "took state_dict_ema, the moving average; state_dict is there too: \
                    --key state_dict";
        assert_eq!(checkpoint.note(), Some(note), "{name}");
        let keys: Vec<_> = checkpoint.dicts().iter().map(|dict| dict.key.as_str()).collect();
        assert_eq!(keys, ["state_dict_ema", "state_dict"], "{name}");
        assert_eq!(checkpoint.dicts()[1].tensors[0].0, "module.conv.weight", "{name}");

        // `module.` is gone.
        let plain = checkpoint.at("state_dict").unwrap();
        assert_eq!(plain.note(), None, "{name}");
        assert_is_fixture(name, &plain, Dtype::F32, 1);
        let error = plain.at("model").unwrap_err();
        assert_eq!(
            error.to_string(),
            "expected a key of the checkpoint, found \"model\"; there are \"state_dict_ema\" (6 \
             tensors), \"state_dict\" (6 tensors)"
        );
    }
    let name = "torch_zip_ema_only.pth";
    assert_is_fixture(name, &fixture(name), Dtype::F32, 1);
}

#[test]
fn tensors_may_share_a_storage() {
    let checkpoint = fixture("torch_zip_shared.pth");
    let info = |shape: &[usize]| TensorInfo { dtype: Dtype::F32, shape: shape.to_vec() };
    assert_eq!(checkpoint.tensors()["a"], info(&[3, 4]));
    assert_eq!(checkpoint.tensors()["b"], info(&[4, 3]));
    let values: Vec<f32> = (0..24u8).map(f32::from).collect();
    assert_eq!(checkpoint.read_f32("a").unwrap(), values[..12]);
    assert_eq!(checkpoint.read_f32("b").unwrap(), values[12..]);
}

#[test]
fn big_endian_arrays_are_refused_by_name() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/numpy_big_endian.npz");
    let error = Checkpoint::open(&path).unwrap_err();
    assert!(matches!(error, CheckpointError::Unsupported { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("little-endian") && text.contains(">f4"), "{text}");
}

#[test]
fn the_digest_is_that_of_the_whole_file() {
    // `sha256sum tests/fixtures/torch_legacy.pth`
    let expected = "7d5b24458af5a7ba993136b8bd91c988adbe2afa99b1efff36f85cb0d5ac8ecc";
    assert_eq!(fixture("torch_legacy.pth").sha256(), expected);
}

#[test]
fn a_deflated_pytorch_archive_is_read() {
    let original = container_bytes(ContainerKind::TorchZip, &tensors());
    let mut archive = zip::ZipArchive::new(Cursor::new(original)).unwrap();
    let mut deflated = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        // Another folder's name, as when the file was saved under that name.
        let name = entry.name().unwrap().replacen("archive", "efficientnet_b0", 1);
        deflated.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        std::io::copy(&mut entry, &mut deflated).unwrap();
    }
    deflated.flush().unwrap();
    let checkpoint = Checkpoint::from_bytes(deflated.finish().unwrap().into_inner()).unwrap();
    for tensor in tensors().iter().filter(|tensor| !tensor.name.ends_with("tracked")) {
        assert_eq!(checkpoint.read_f32(&tensor.name).unwrap(), tensor.data, "{}", tensor.name);
    }
}

#[test]
fn prefixes_of_wrappers_are_removed_only_where_all_names_have_them() {
    let named = |names: &[&str]| {
        let tensors: Vec<_> = names
            .iter()
            .map(|name| NamedTensor { name: (*name).into(), shape: vec![1], data: vec![1.0] })
            .collect();
        let bytes = container_bytes(ContainerKind::Safetensors, &tensors);
        Checkpoint::from_bytes(bytes).unwrap().tensors().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(named(&["module.a", "module.b"]), ["a", "b"]);
    assert_eq!(named(&["module._orig_mod.a"]), ["a"]);
    assert_eq!(named(&["module.a", "b"]), ["b", "module.a"]);
}

#[test]
fn pickles_of_python_2_are_read() {
    // Strings and bytes are both BINSTRINGs, and an OrderedDict is made of a list of pairs.
    let mut pickle = Pickle::new(2);
    pickle.global("collections", "OrderedDict").op(b"]]q\x01(U\x01a");
    pickle.global("numpy.core.multiarray", "_reconstruct").global("numpy", "ndarray");
    pickle.op(b"K\x00\x85U\x01b\x87R(K\x01").tuple(&[2, 2]).global("numpy", "dtype");
    pickle.op(b"U\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb");
    // Fortran order.
    pickle.op(b"\x88U\x10");
    for value in [1.0f32, -2.0, 3.5, 1e9] {
        pickle.op(&value.to_le_bytes());
    }
    pickle.op(b"tbea\x85R.");
    let checkpoint = Checkpoint::from_bytes(pickle.0).unwrap();
    assert_eq!(checkpoint.container(), Container::Paddle);
    assert_eq!(checkpoint.read_f32("a").unwrap(), [1.0, 3.5, -2.0, 1e9]);
}

#[test]
fn an_untyped_storage_takes_its_type_from_the_tensor() {
    let mut pickle = Pickle::new(2);
    pickle.op(b"}").text("a").global("torch._utils", "_rebuild_tensor_v3").op(b"((");
    pickle.text("storage").global("torch.storage", "UntypedStorage").text("0").text("cpu").int(12);
    pickle.op(b"tQ").int(1).tuple(&[2]).tuple(&[1]).op(b"\x89");
    pickle.global("collections", "OrderedDict").op(b")R").global("torch", "float32").op(b"NtRs.");
    let values: Vec<u8> = [9.0f32, 0.5, -0.25].into_iter().flat_map(f32::to_le_bytes).collect();
    let entries = [("x/data.pkl", &pickle.0[..]), ("x/data/0", &values)];
    let file = zip_archive(&entries, CompressionMethod::Deflated);
    let checkpoint = Checkpoint::from_bytes(file).unwrap();
    assert_eq!(checkpoint.read_f32("a").unwrap(), [0.5, -0.25]);
}

/// PyTorch writes zip64's records whether they are needed or not: 76 bytes between the directory and its
/// end, as an entry of the directory has whose name has 30.
#[test]
fn a_pytorch_file_of_any_name_is_read() {
    let values: Vec<u8> = [0.5f32, -0.25].into_iter().flat_map(f32::to_le_bytes).collect();
    let mut pickle = Pickle::new(2);
    pickle.op(b"}").text("a").global("torch._utils", "_rebuild_tensor_v2").op(b"((");
    pickle.text("storage").global("torch", "FloatStorage").text("0").text("cpu").int(2);
    pickle.op(b"tQ").int(0).tuple(&[2]).tuple(&[1]).op(b"\x89");
    pickle.global("collections", "OrderedDict").op(b")RtRs.");
    for stem in (1..=40).map(|length| "a".repeat(length)) {
        let entries = [("data.pkl", &pickle.0[..]), ("data/0", &values), ("version", b"3\n")];
        let names = entries.map(|(name, _)| format!("{stem}/{name}"));
        let entries = [0, 1, 2].map(|i| (names[i].as_str(), entries[i].1));
        let file = zip64_records(zip_archive(&entries, CompressionMethod::Stored));
        let checkpoint = Checkpoint::from_bytes(file);
        let read = checkpoint.unwrap_or_else(|e| panic!("{stem}: {e}")).read_f32("a").unwrap();
        assert_eq!(read, [0.5, -0.25], "{stem}");
    }
}

/// The archive, which has no comment, with zip64's end of the directory and its locator.
fn zip64_records(archive: Vec<u8>) -> Vec<u8> {
    let end = archive.len() - 22;
    let number = |at: usize, bytes: usize| {
        let mut all = [0; 8];
        all[..bytes].copy_from_slice(&archive[end + at..][..bytes]);
        u64::from_le_bytes(all)
    };
    let (entries, length, start) = (number(10, 2), number(12, 4), number(16, 4));
    let mut file = archive[..end].to_vec();
    file.extend(b"PK\x06\x06");
    file.extend(44u64.to_le_bytes());
    file.extend([30, 3, 45, 0]);
    file.extend([0; 8]); // disks
    for field in [entries, entries, length, start] {
        file.extend(field.to_le_bytes());
    }
    file.extend(b"PK\x06\x07\0\0\0\0");
    file.extend((end as u64).to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(&archive[end..]);
    file
}

#[test]
fn a_checkpoint_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Checkpoint>();
}

#[test]
fn what_a_file_says_beside_its_tensors_is_kept() {
    let mut pickle = Pickle::new(4);
    pickle.op(b"}(").text("arch").text("tf_efficientnet_b0").text("epoch").op(b"K\x07");
    pickle.text("best").op(b"G\x3f\xe8\0\0\0\0\0\0").text("none").op(b"N");
    // A namespace, whose attributes are its state.
    pickle.text("args").global("argparse", "Namespace").op(b")\x81}(").text("model").text("b1");
    pickle.text("mean").op(b"(G\x3f\xe0\0\0\0\0\0\0K\x00t").text("amp").op(b"\x88ub");
    // A kind of dict with a configuration inside it.
    pickle.text("hyper_parameters").global("lightning.fabric", "AttributeDict").op(b")\x81(");
    pickle.text("names").op(b"](").text("a\"").text("b").op(b"e");
    pickle.text("cfg").global("omegaconf.dictconfig", "DictConfig").op(b")\x81}(");
    pickle.text("_metadata").text("machinery").text("_content").op(b"}(").text("lr");
    pickle.global("omegaconf.nodes", "AnyNode").op(b")\x81}").text("_val").op(b"G\x3f\xd0");
    pickle.op(b"\0\0\0\0\0\0sbuubu");
    // A member of an enumeration, and itself: a cycle.
    pickle.text("mode").global("x", "Mode").text("best").op(b"\x85R");
    pickle.text("state_dict").op(b"}").text("w");
    pickle.global("numpy.core.multiarray", "_reconstruct").global("numpy", "ndarray");
    pickle.op(b"K\x00\x85C\x01b\x87R(K\x01").tuple(&[1]).global("numpy", "dtype");
    pickle.text("f4").op(b"K\x00K\x01\x87R(K\x03").text("<");
    pickle.op(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89C\x04\0\0\x80?tbsu.");
    let checkpoint = Checkpoint::from_bytes(pickle.0).unwrap();
    assert_eq!(checkpoint.read_f32("w").unwrap(), [1.0]);
    let facts: Vec<_> = checkpoint.facts().iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        facts,
        [
            ("arch", "tf_efficientnet_b0"),
            ("args.amp", "true"),
            ("args.mean", "[0.5, 0]"),
            ("args.model", "b1"),
            ("best", "0.75"),
            ("epoch", "7"),
            ("hyper_parameters.cfg.lr", "0.25"),
            ("hyper_parameters.names", "[\"a\\\"\", \"b\"]"),
            ("mode", "best"),
        ]
    );

    let training = fixture("torch_zip_training.pth");
    for (key, value) in [
        ("arch", "efficientnet_b0"),
        ("args.lr", "0.1"),
        ("args.sizes", "[224, 224]"),
        ("args.device", "cpu"),
        ("best", "77.5"),
        ("big", "1099511627776"),
    ] {
        assert_eq!(training.facts().get(key).map(String::as_str), Some(value), "{key}");
    }
    let safetensors = fixture("safetensors_float32.safetensors");
    assert_eq!(safetensors.facts().iter().collect::<Vec<_>>(), [(&"format".into(), &"pt".into())]);
    assert!(fixture("numpy_stored.npz").facts().is_empty());
}

#[test]
fn facts_are_bounded_in_number_length_and_depth() {
    let mut pickle = Pickle::new(4);
    pickle.op(b"}q\x00(").text("w");
    pickle.global("numpy.core.multiarray", "_reconstruct").global("numpy", "ndarray");
    pickle.op(b"K\x00\x85C\x01b\x87R(K\x01").tuple(&[1]).global("numpy", "dtype");
    pickle.text("f4").op(b"K\x00K\x01\x87R(K\x03").text("<");
    pickle.op(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89C\x04\0\0\x80?tb");
    pickle.text("long").text(&"x".repeat(5000)).text(&"k".repeat(300)).op(b"K\x01");
    // The dict in itself, and 5000 more values.
    pickle.text("self").op(b"h\x00");
    for n in 0..5000 {
        pickle.text(&format!("n{n}")).op(b"K\x01");
    }
    pickle.op(b"u.");
    let facts = Checkpoint::from_bytes(pickle.0).unwrap().facts().clone();
    assert_eq!(facts.len(), 4096);
    assert!(facts.keys().all(|key| key.len() <= 256 && key != "long"), "{facts:?}");
}
