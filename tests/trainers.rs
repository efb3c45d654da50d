//! Checkpoints as trainers write them: files of the real libraries (`tests/field/checkpoints.py`
//! wrote them), and hostile ones of the same make.

mod support;

use effnet::arch::{Network, Variant};
use effnet::weights::import::{Checkpoint, CheckpointError, Container};
use effnet::weights::{
    Family, ImportError, ImportOptions, ImportReport, Precision, TensorId, Weights, import,
    source_names,
};
use std::path::{Path, PathBuf};
use support::containers::{
    ContainerKind, NamedTensor, Pickle, TorchTensor, container_bytes, write_container, zip_archive,
};
use zip::CompressionMethod;

/// Floating-point tensors of the fixtures' network, in the order of its state dict.
const TENSORS: [(&str, &[usize]); 7] = [
    ("conv.weight", &[2, 3, 3, 3]),
    ("bn.weight", &[2]),
    ("bn.bias", &[2]),
    ("bn.running_mean", &[2]),
    ("bn.running_var", &[2]),
    ("head.1.weight", &[3, 2]),
    ("head.1.bias", &[3]),
];

fn fixture_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trainers").join(name)
}

fn fixture(name: &str) -> Checkpoint {
    Checkpoint::open(&fixture_path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Holds the tensors under `prefix` to the formula of the generator.
fn assert_is_net(name: &str, checkpoint: &Checkpoint, prefix: &str, offset: f32) {
    for (n, (tensor, shape)) in TENSORS.into_iter().enumerate() {
        let tensor = format!("{prefix}{tensor}");
        assert_eq!(checkpoint.tensors()[&tensor].shape, shape, "{name}: {tensor}");
        let expected: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|i| (i as f32 - 7.0) * (n + 1) as f32 / 4.0 + offset)
            .collect();
        assert_eq!(checkpoint.read_f32(&tensor).unwrap(), expected, "{name}: {tensor}");
    }
    assert!(checkpoint.tensors().contains_key(&format!("{prefix}bn.num_batches_tracked")));
}

#[test]
fn objects_beside_the_state_dict_are_passed_over() {
    for name in ["objects.pth", "objects_protocol5.pth"] {
        let checkpoint = fixture(name);
        assert_is_net(name, &checkpoint, "", 0.0);
        assert_eq!(checkpoint.tensors().len(), 8, "{name}");
        assert_eq!((checkpoint.note(), checkpoint.dicts().len()), (None, 1), "{name}");
        for (key, value) in [
            ("args.model", "tf_efficientnet_b0"),
            ("cfg.model", "tf_efficientnet_b0"),
            ("cfg.sizes", "[240, 240]"),
            ("hparams.arch", "tf_efficientnet_b0"),
            ("phase", "train"),
        ] {
            assert_eq!(checkpoint.facts().get(key).map(String::as_str), Some(value), "{key}");
        }
        for object in ["trainer_config.Config", "functools.partial", "datetime.datetime"] {
            assert!(checkpoint.objects().contains(object), "{:?}", checkpoint.objects());
        }
    }
}

#[test]
fn modules_that_were_saved_whole_are_their_state_dicts() {
    for (name, container) in
        [("module.pth", Container::TorchZip), ("module_legacy.pth", Container::TorchLegacy)]
    {
        let checkpoint = fixture(name);
        assert_eq!(checkpoint.container(), container);
        assert_is_net(name, &checkpoint, "", 0.0);
        // Neither the buffer that is not persistent nor the parameter that is None.
        assert_eq!(checkpoint.tensors().len(), 8, "{name}");
    }
    let both = fixture("module_checkpoint.pth");
    assert_is_net("ema", &both, "", 0.5);
    let note = "took ema, the moving average; model is there too: --key model";
    assert_eq!(both.note(), Some(note));
    assert_is_net("model", &both.at("model").unwrap(), "", 0.0);
}

#[test]
fn the_teacher_is_the_student_s_average() {
    let checkpoint = fixture("student_teacher.pth");
    assert_is_net("teacher", &checkpoint, "", 0.5);
    assert!(checkpoint.note().unwrap().starts_with("took teacher, the moving average; student"));
    assert_is_net("student", &checkpoint.at("student").unwrap(), "", 0.0);
}

#[test]
fn an_average_without_statistics_is_no_model() {
    let checkpoint = fixture("part_of_average.pth");
    assert_is_net("state_dict", &checkpoint, "", 0.0);
    let note = "took state_dict; ema, an average, has only 5 of 7 tensors: --key ema";
    assert_eq!(checkpoint.note(), Some(note));
    assert_eq!(checkpoint.at("ema").unwrap().tensors().len(), 5);
}

#[test]
fn lightning_s_checkpoints_are_read_as_they_are() {
    let checkpoint = fixture("lightning.ckpt");
    assert_eq!(checkpoint.taken().key, "state_dict");
    assert_is_net("lightning", &checkpoint, "model.", 0.0);
    assert_eq!(checkpoint.facts()["hyper_parameters.model_name"], "tf_efficientnet_b0");
    assert_eq!(checkpoint.read_f32("loss.weight").unwrap(), [1.0; 3]);
    // A key may end in the names of the tensors, with or without the dict's own.
    for key in ["model", "state_dict.model", "model."] {
        let inner = Checkpoint::open_at(&fixture_path("lightning.ckpt"), Some(key)).unwrap();
        assert_is_net(key, &inner, "", 0.0);
        assert_eq!(inner.tensors().len(), 8, "{key}");
    }
}

#[test]
fn torchscript_archives_are_their_modules() {
    for name in ["script.pt", "trace.pt"] {
        let checkpoint = fixture(name);
        assert_is_net(name, &checkpoint, "", 0.0);
        // TorchScript does not tell which buffers are persistent.
        assert_eq!(checkpoint.tensors().len(), 9, "{name}");
    }
    let error = Checkpoint::open(&fixture_path("frozen.pt")).unwrap_err();
    assert!(matches!(error, CheckpointError::Unsupported { .. }), "{error:?}");
    let text = error.to_string();
    for part in ["a frozen module, whose", "before torch.jit.freeze", "constants without names"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A torch archive with this pickle and one storage of six floats.
fn archive(pickle: Vec<u8>) -> Vec<u8> {
    let entries = [("x/data.pkl", &pickle[..]), ("x/data/0", &[0; 24])];
    zip_archive(&entries, CompressionMethod::Deflated)
}

const SIX: TorchTensor<'static> = TorchTensor {
    storage: "FloatStorage",
    key: "0",
    numel: 6,
    offset: 0,
    shape: &[6],
    strides: &[1],
};

#[test]
fn an_object_in_the_place_of_a_tensor_is_refused_by_name() {
    let mut pickle = Pickle::new(2);
    pickle.op(b"}(").text("a").torch_tensor(&SIX, false).text("b").global("os", "system");
    pickle.text("touch /tmp/pwned").op(b"\x85R").text("c").global("x", "Later").op(b"u.");
    let checkpoint = Checkpoint::from_bytes(archive(pickle.0)).unwrap();
    assert_eq!(checkpoint.tensors().len(), 1);
    assert_eq!(checkpoint.read_f32("a").unwrap(), [0.0; 6]);
    for (name, global) in [("b", "os.system"), ("c", "x.Later")] {
        assert_eq!(checkpoint.foreign()[name].global, global);
        let error = checkpoint.read_f32(name).unwrap_err();
        assert!(matches!(error, CheckpointError::ForbiddenGlobal { .. }), "{error:?}");
        let text = error.to_string();
        for part in [&format!("{name:?}: expected a tensor"), global, "nothing was run"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

/// A module whose `_modules` are what `children` writes.
fn module(pickle: &mut Pickle, slot: u8, children: impl FnOnce(&mut Pickle)) {
    pickle.global("trainer", "Module").op(b")\x81q").op(&[slot]).op(b"}(").text("_parameters");
    pickle.op(b"}").text("w").torch_tensor(&SIX, false).op(b"s").text("_buffers").op(b"}");
    pickle.text("_modules").op(b"}(");
    children(pickle);
    pickle.op(b"uub");
}

#[test]
fn modules_inside_themselves_have_an_end() {
    let mut once = Pickle::new(2);
    module(&mut once, 9, |p| {
        p.text("self").op(b"h\x09");
    });
    let mut twice = Pickle::new(2);
    module(&mut twice, 9, |p| {
        p.text("a").op(b"h\x09").text("b").op(b"h\x09");
    });
    for mut pickle in [once, twice] {
        pickle.op(b".");
        let error = Checkpoint::from_bytes(archive(pickle.0)).unwrap_err();
        assert!(matches!(error, CheckpointError::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().contains("modules inside modules"), "{error}");
    }
    // One module in two places is two.
    let mut shared = Pickle::new(2);
    module(&mut shared, 9, |p| {
        p.text("a");
        module(p, 8, |_| ());
        p.text("b").op(b"h\x08");
    });
    shared.op(b".");
    let checkpoint = Checkpoint::from_bytes(archive(shared.0)).unwrap();
    assert_eq!(checkpoint.tensors().keys().collect::<Vec<_>>(), ["a.w", "b.w", "w"]);
}

#[test]
fn dicts_that_share_their_names_are_bounded() {
    // 64 dicts at most are listed, and a long name in many dicts is counted in each.
    let mut many = Pickle::new(2);
    many.op(b"}(");
    for n in 0..100 {
        many.text(&format!("d{n}")).op(b"}").text("w").torch_tensor(&SIX, false).op(b"s");
    }
    many.op(b"u.");
    let checkpoint = Checkpoint::from_bytes(archive(many.0)).unwrap();
    assert_eq!(checkpoint.dicts().len(), 64);
    assert_eq!(checkpoint.taken().key, "d0");
}

/// A B0-sized model of few values: weights `value`, statistics that batch-norm likes.
fn model(prefix: &str, value: f32) -> Vec<NamedTensor> {
    source_names(Family::Timm, &Network::new(Variant::Lite0, 2))
        .into_iter()
        .map(|tensor| {
            let elems = tensor.shape.iter().product();
            let name = format!("{prefix}{}", tensor.name);
            NamedTensor { name, shape: tensor.shape, data: vec![value; elems] }
        })
        .collect()
}

fn imported(
    tensors: &[NamedTensor],
    key: Option<&str>,
) -> Result<(ImportReport, f32), ImportError> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("efficientnet_lite0.safetensors");
    let output = folder.path().join("packed.st");
    write_container(&source, ContainerKind::Safetensors, tensors);
    let options = ImportOptions {
        precision: Precision::Fp32,
        key: key.map(str::to_owned),
        ..ImportOptions::default()
    };
    let report = import(&source, &output, &options);
    assert_eq!(report.is_err(), !output.exists());
    let report = report?;
    let first = Weights::open(&output).unwrap().f32(TensorId(0)).unwrap()[0];
    Ok((report, first))
}

fn beside(name: &str) -> NamedTensor {
    NamedTensor { name: name.into(), shape: vec![3], data: vec![9.0; 3] }
}

#[test]
fn prefixes_are_found_and_what_is_beside_them_is_named() {
    for prefix in ["model.", "backbone.", "module.model.", "0.", "any.thing.at.all."] {
        let (report, first) = imported(&model(prefix, 0.5), None).unwrap();
        assert_eq!((report.notes, first), (vec![], 0.5), "{prefix}");
    }
    let mut tensors = model("model.", 0.5);
    tensors.extend([beside("loss.weight"), beside("metric.total")]);
    let (report, _) = imported(&tensors, None).unwrap();
    let note = "took the tensors under 'model.'; left out 2 beside them: loss.weight, metric.total";
    assert_eq!(report.notes, [note]);
    // Without a prefix nothing is outside it.
    let tensors = [model("", 0.5), vec![beside("loss.weight")]].concat();
    let error = imported(&tensors, None).unwrap_err().to_string();
    assert!(error.contains("loss.weight: expected nothing, found [3]"), "{error}");
}

/// A module of a body without a classifier and of a linear layer: its classifier, if it is one.
#[test]
fn a_linear_layer_beside_the_body_is_the_classifier() {
    let matrix = |name: &str, shape: &[usize]| {
        let elems = shape.iter().product();
        NamedTensor { name: name.into(), shape: shape.into(), data: vec![0.125; elems] }
    };
    let body = |prefix: &str| {
        let own = format!("{prefix}classifier.");
        let tensors = model(prefix, 0.5).into_iter();
        tensors.filter(|tensor| !tensor.name.starts_with(&own)).collect::<Vec<_>>()
    };
    for (prefix, layer) in [
        ("backbone.", "head"),
        ("model.encoder.", "model.fc"),
        ("net.", "classifier.1"),
        ("0.", "1"),
        ("model.0.", "model.2"),
    ] {
        let head = [
            matrix(&format!("{layer}.weight"), &[5, 1280]),
            matrix(&format!("{layer}.bias"), &[5]),
        ];
        let (report, _) = imported(&[body(prefix), head.into()].concat(), None).unwrap();
        assert_eq!(report.metadata.classes, 5, "{prefix}");
        let note = format!("took {layer}, beside '{prefix}', as the classifier");
        assert_eq!(report.notes, [note]);
    }
    // Neither a layer of another kind nor one of several is taken.
    for beside in [
        vec![matrix("head.weight", &[5, 1280, 1, 1])],
        vec![matrix("head.0.weight", &[64, 1280]), matrix("head.2.weight", &[5, 64])],
        vec![matrix("loss.weight", &[5, 1280])],
    ] {
        let (report, _) = imported(&[body("backbone."), beside].concat(), None).unwrap();
        assert_eq!(report.metadata.classes, 0);
        assert!(report.notes.iter().any(|note| note.contains("left out")), "{:?}", report.notes);
    }
    // A model with a classifier keeps its own.
    let tensors = [model("model.", 0.5), vec![matrix("head.weight", &[5, 1280])]].concat();
    assert_eq!(imported(&tensors, None).unwrap().0.metadata.classes, 2);
}

#[test]
fn of_two_models_by_their_prefixes_the_average_is_taken() {
    let tensors = [model("model.", 0.25), model("ema_model.", 0.75)].concat();
    let (report, first) = imported(&tensors, None).unwrap();
    assert_eq!(first, 0.75);
    let note = "took ema_model, the moving average; model is there too: --key model";
    assert_eq!(report.notes, [note]);
    let (report, first) = imported(&tensors, Some("model")).unwrap();
    assert_eq!((report.notes, first), (vec![], 0.25));

    let tensors = [model("left.", 0.25), model("right.", 0.75)].concat();
    let error = imported(&tensors, None).unwrap_err().to_string();
    assert!(error.contains("found several: left, right; choose with --key"), "{error}");
    assert_eq!(imported(&tensors, Some("right")).unwrap().1, 0.75);
    let error = imported(&tensors, Some("centre")).unwrap_err().to_string();
    let there = "found \"centre\"; there are \"left\" (296 tensors), \"right\" (296 tensors)";
    assert!(error.contains(there), "{error}");
}

#[test]
fn a_key_that_is_empty_or_a_dot_is_no_prefix() {
    let file = container_bytes(ContainerKind::Safetensors, &[beside(".a"), beside("b")]);
    let checkpoint = Checkpoint::from_bytes(file).unwrap().at("").unwrap();
    assert_eq!(checkpoint.tensors().len(), 2);
}

#[test]
#[cfg(feature = "cli")]
fn import_lists_what_a_file_holds_and_writes_nothing() {
    let run = |args: &[&str]| {
        let path = fixture_path("module_checkpoint.pth");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_effnet"));
        let ran = command.arg("import").arg(path).arg("--list").args(args).output().unwrap();
        (ran.status.success(), ran.stdout, String::from_utf8(ran.stderr).unwrap())
    };
    let (done, out, notes) = run(&[]);
    let text = String::from_utf8(out).unwrap();
    for part in [
        "PyTorch zip",
        "ema: 8 tensors, 72 elements, taken\n",
        "model: 8 tensors, 72 elements\n",
        "f32   [2, 3, 3, 3]\n",
        "  epoch: 3\n",
    ] {
        assert!(done && text.contains(part), "{part}: {text}");
    }
    assert!(notes.contains("took ema, the moving average"), "{notes}");

    let (done, out, _) = run(&["--json", "--key", "model"]);
    let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(done && json["dicts"].as_array().unwrap().len() == 1, "{json}");
    assert_eq!(
        (&json["dicts"][0]["key"], &json["dicts"][0]["elems"]),
        (&"model".into(), &72.into())
    );
    let (done, out, error) = run(&["--key", "nothing"]);
    assert!(!done && out.is_empty() && error.contains("\"ema\" (8 tensors)"), "{error}");
}
