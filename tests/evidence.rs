//! Checkpoints as trainers and hubs leave them: what beside the tensors tells family, recipe and
//! labels, and the classifiers that people put in the family's place.

mod support;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::export::onnx::{self, OnnxOptions};
use effnet::image::{Framing, Interpolation, Rounding, ShortSide};
use effnet::pipeline::{Pipeline, PipelineError, PipelineOptions};
use effnet::session::{Session, SessionError, SessionOptions};
use effnet::weights::{
    Family, ImportError, ImportOptions, ImportReport, Labels, OutputActivation, Precision,
    RecipeOverrides, RecogniseError, TensorId, Weights, import, settings,
};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::containers::{ContainerKind, NamedTensor, Pickle, TorchTensor, write_container};
use support::generator;
use tempfile::TempDir;

fn tensors(family: Family, variant: Variant, classes: usize) -> Vec<NamedTensor> {
    generator::checkpoint(1, family, &Network::new(variant, classes))
}

/// A folder of this test alone.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A checkpoint under a name, in the folders that the name has.
    fn write(&self, name: &str, tensors: &[NamedTensor]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_container(&path, ContainerKind::Safetensors, tensors);
        path
    }

    fn import(&self, source: &Path, options: &ImportOptions) -> Result<ImportReport, ImportError> {
        import(source, &self.path("packed.safetensors"), options)
    }

    fn weights(&self) -> Weights {
        Weights::open(&self.path("packed.safetensors")).unwrap()
    }
}

fn fp32() -> ImportOptions {
    ImportOptions { precision: Precision::Fp32, ..ImportOptions::default() }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn effnet(args: &[&str]) -> (i32, String, String) {
    support::run(env!("CARGO_BIN_EXE_effnet"), args)
}

/// timm's configuration as a hub has it.
fn config(architecture: &str) -> Value {
    json!({
        "architecture": architecture, "num_classes": 3, "num_features": 1280,
        "label_names": ["ant", "bee", "cat"],
        "pretrained_cfg": {
            "input_size": [3, 240, 240], "interpolation": "bilinear", "crop_pct": 0.95,
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_mode": "center",
        },
    })
}

#[test]
fn a_snapshot_s_configuration_tells_family_recipe_and_labels() {
    let place = Place::new();
    let name = "models--timm--tf_efficientnet_b0.ns_jft_in1k/snapshots/0a1b/model.safetensors";
    let source = place.write(name, &tensors(Family::TimmTf, Variant::B0, 3));
    let beside = source.with_file_name("config.json");
    fs::write(&beside, config("tf_efficientnet_b0").to_string()).unwrap();

    let report = place.import(&source, &fp32()).unwrap();
    let metadata = &report.metadata;
    assert_eq!((metadata.family, metadata.padding), (Family::TimmTf, Padding::SameDynamic));
    assert_eq!((metadata.bn_eps, metadata.recipe.size), (1e-3, Size::square(240)));
    assert_eq!(metadata.recipe.interpolation, Interpolation::PillowBilinear);
    assert_eq!((metadata.recipe.mean, metadata.recipe.std), ([0.5; 3], [0.5; 3]));
    let (short_side, rounding) = (ShortSide::CropPct(0.95), Rounding::Torchvision);
    assert_eq!(metadata.recipe.framing, Framing::ResizeThenCrop { short_side, rounding });
    assert_eq!(metadata.labels, Labels::Names(["ant", "bee", "cat"].map(String::from).into()));
    assert_eq!(metadata.activation, Some(OutputActivation::Softmax));
    assert_eq!(report.notes, [""; 0]);
    assert_eq!(
        report.evidence,
        "family timm-tf: config.json beside it says tf_efficientnet_b0; recipe: config.json's \
         240x240, bilinear, mean 0.5"
    );

    // The user's options go before all of it.
    let recipe = RecipeOverrides {
        size: Some(Size::square(96)),
        margin: Some(8),
        mean: Some([0.25; 3]),
        ..RecipeOverrides::default()
    };
    let options = ImportOptions {
        family: Some(Family::Timm),
        labels: Some(Labels::None),
        activation: Some(OutputActivation::Sigmoid),
        recipe,
        ..fp32()
    };
    let report = place.import(&source, &options).unwrap();
    let metadata = place.weights().metadata().clone();
    assert_eq!(metadata, report.metadata);
    assert_eq!((metadata.family, metadata.padding), (Family::Timm, Padding::Symmetric));
    assert_eq!((metadata.recipe.size, metadata.recipe.mean), (Size::square(96), [0.25; 3]));
    assert_eq!((metadata.recipe.std, metadata.labels), ([0.5; 3], Labels::None));
    let short_side = ShortSide::Margin(8);
    assert_eq!(metadata.recipe.framing, Framing::ResizeThenCrop { short_side, rounding });
    assert_eq!(metadata.activation, Some(OutputActivation::Sigmoid));
    assert_eq!(report.notes, [""; 0]);
    let starts = "family timm: as asked; recipe: config.json's 96x96, bilinear, mean 0.25";
    assert_eq!(report.evidence, format!("{starts}, with your changes"));
}

#[test]
fn without_evidence_the_warning_stays_and_only_then() {
    let tensors = tensors(Family::Timm, Variant::B0, 3);
    for (name, config, family, notes, evidence) in [
        (
            "model_best.pth.tar",
            None,
            Family::Timm,
            &["give --family timm-tf"][..],
            "nothing says 'tf_'",
        ),
        (
            "tf_efficientnet_b0/model.safetensors",
            None,
            Family::TimmTf,
            &[],
            "a folder above it says",
        ),
        ("tf_efficientnet_b0.pth", None, Family::TimmTf, &[], "the file's name says"),
        (
            "run/tf_efficientnet_b0-224/last/model.bin",
            None,
            Family::TimmTf,
            &[],
            "a folder above it",
        ),
        (
            "x/model.bin",
            Some(config("efficientnet_b0")),
            Family::Timm,
            &[],
            "config.json beside it",
        ),
        (
            "tf_efficientnet_b0/model.bin",
            Some(config("efficientnet_b0")),
            Family::Timm,
            &["a folder above it says tf_efficientnet_b0, of family timm-tf"],
            "config.json beside it says efficientnet_b0; recipe: config.json's",
        ),
        (
            "x/model.safetensors",
            Some(config("tf_efficientnet_b1")),
            Family::TimmTf,
            &["but the tensors have the shapes of b0, not of b1"],
            "recipe: the family's 224x224, bicubic, mean 0.485 0.456 0.406",
        ),
        (
            "x/model.safetensors",
            Some(config("efficientnetv2_s")),
            Family::Timm,
            &["give --family timm-tf"],
            "nothing says 'tf_'; recipe: the family's",
        ),
        (
            "x/model.safetensors",
            Some(json!([1])),
            Family::Timm,
            &["give --family timm-tf", "config.json: expected a JSON object"],
            "nothing says",
        ),
    ] {
        let place = Place::new();
        let source = place.write(name, &tensors);
        if let Some(config) = config {
            fs::write(source.with_file_name("config.json"), config.to_string()).unwrap();
        }
        let report = place.import(&source, &fp32()).unwrap();
        assert_eq!(report.metadata.family, family, "{name}");
        assert_eq!(report.notes.len(), notes.len(), "{name}: {:?}", report.notes);
        let all = report.notes.iter().zip(notes);
        assert!(all.into_iter().all(|(note, part)| note.contains(part)), "{:?}", report.notes);
        assert!(report.evidence.contains(evidence), "{name}: {}", report.evidence);
    }
}

#[test]
fn a_family_of_names_of_its_own_needs_no_evidence() {
    for (family, variant, evidence) in [
        (Family::Torchvision, Variant::B0, "family torchvision: the names of its tensors;"),
        (
            Family::LitePytorch,
            Variant::Lite0,
            "family lite-pytorch: the names of its tensors, without squeeze-excite;",
        ),
    ] {
        let place = Place::new();
        let source = place.write("tf_efficientnet_b1/x.bin", &tensors(family, variant, 3));
        fs::write(source.with_file_name("config.json"), config("tf_efficientnet_b1").to_string())
            .unwrap();
        let report = place.import(&source, &fp32()).unwrap();
        assert!(report.evidence.starts_with(evidence), "{}", report.evidence);
        assert_eq!(report.metadata.recipe, settings(family, variant).recipe);
        assert_eq!((report.metadata.labels, report.notes), (Labels::None, vec![]));
    }
}

#[test]
fn import_prints_the_evidence_in_a_line() {
    let place = Place::new();
    let source = place.write("x/model.safetensors", &tensors(Family::TimmTf, Variant::Lite0, 3));
    let config = config("tf_efficientnet_lite0").to_string();
    fs::write(source.with_file_name("config.json"), config).unwrap();
    let output = place.path("out.safetensors");
    let [source, output] = [&source, &output].map(|path| path.to_str().unwrap());
    let import = ["import", source, "-o", output, "--activation", "sigmoid"];
    let expected = "family timm-tf: config.json beside it says tf_efficientnet_lite0; recipe: \
                    config.json's 240x240, bilinear, mean 0.5";
    let (status, stdout, stderr) = effnet(&import);
    assert_eq!((status, stderr.as_str()), (0, ""));
    let lines: Vec<&str> = stdout.lines().filter(|line| line.contains("evidence")).collect();
    assert_eq!(lines, [format!("  evidence   {expected}")]);
    assert!(stdout.contains("activation sigmoid") && stdout.contains("3 (ant, ...)"), "{stdout}");
    let (_, stdout, _) = effnet(&[&import[..], &["--json"]].concat());
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["evidence"], expected);
    assert_eq!(report["metadata"]["activation"], "sigmoid");
    assert_eq!(report["notes"], json!([]));
}

/// Tensors with the classifier's renamed, by their ends.
fn renamed(tensors: &[NamedTensor], from: &str, to: &str) -> Vec<NamedTensor> {
    let mut tensors = tensors.to_vec();
    for tensor in &mut tensors {
        if let Some(end) = tensor.name.strip_prefix(from) {
            tensor.name = format!("{to}{end}");
        }
    }
    tensors
}

fn packed(weights: &Weights) -> Vec<Vec<f32>> {
    let ids = 0..weights.tensors().len() as u32;
    ids.map(|id| weights.f32(TensorId(id)).unwrap().to_vec()).collect()
}

#[test]
fn a_classifier_may_have_another_name_and_no_bias() {
    let usual = tensors(Family::TimmTf, Variant::Lite0, 3);
    let place = Place::new();
    let name = "tf_efficientnet_lite0.safetensors";
    place.import(&place.write(name, &usual), &fp32()).unwrap();
    let expected = packed(&place.weights());
    for to in ["classifier.0.", "classifier.1.", "fc.", "head.", "head.fc."] {
        let source = place.write(name, &renamed(&usual, "classifier.", to));
        let report = place.import(&source, &fp32()).unwrap();
        assert_eq!((report.metadata.classes, report.notes), (3, vec![]), "{to}");
        assert_eq!(packed(&place.weights()), expected, "{to}");
    }
    // torchvision's is the second of a sequence; a plain one is as good.
    let torchvision = tensors(Family::Torchvision, Variant::B0, 3);
    let source = place.write("b0.pth", &renamed(&torchvision, "classifier.1.", "classifier."));
    assert_eq!(place.import(&source, &fp32()).unwrap().metadata.classes, 3);

    let mut unbiased = usual.clone();
    unbiased.retain(|tensor| tensor.name != "classifier.bias");
    let report = place.import(&place.write(name, &unbiased), &fp32()).unwrap();
    assert!(report.notes[0].contains("'classifier' has no bias"), "{:?}", report.notes);
    let found = packed(&place.weights());
    let (bias, rest) = found.split_last().unwrap();
    assert_eq!((&bias[..], rest), (&[0.0; 3][..], &expected[..expected.len() - 1]));

    let matrix = |name: &str, shape: [usize; 2]| {
        let data = vec![0.5; shape[0] * shape[1]];
        NamedTensor { name: name.into(), shape: shape.into(), data }
    };
    unbiased.retain(|tensor| !tensor.name.starts_with("classifier."));
    let with = |more: &[NamedTensor]| place.write(name, &[&unbiased[..], more].concat());
    let two = [matrix("classifier.0.weight", [8, 1280]), matrix("classifier.2.weight", [3, 8])];
    let error = place.import(&with(&two), &fp32()).unwrap_err();
    let ImportError::Recognise { source: RecogniseError::Classifier { layers: 2, list }, .. } =
        &error
    else {
        panic!("{error}")
    };
    assert_eq!(list, "  classifier.0.weight [8, 1280]\n  classifier.2.weight [3, 8]");
}

#[test]
fn a_checkpoint_without_a_classifier_gives_its_features() {
    let whole = tensors(Family::TimmTf, Variant::Lite0, 3);
    let mut headless = whole.clone();
    headless.retain(|tensor| !tensor.name.starts_with("classifier."));
    let place = Place::new();
    let name = "tf_efficientnet_lite0.safetensors";
    let size = Some(Size::square(64));
    let image = generator::image(7, 64, 64);
    let options = SessionOptions { batch: 2, size, ..SessionOptions::default() };
    let session = |place: &Place| Session::new(Arc::new(place.weights()), options).unwrap();

    place.import(&place.write(name, &whole), &fp32()).unwrap();
    let mut with = session(&place);
    let expected = with.run(&image).unwrap().features(0).to_vec();
    assert!(with.has_classifier());

    let report = place.import(&place.write(name, &headless), &fp32()).unwrap();
    let metadata = &report.metadata;
    assert_eq!((metadata.classes, &metadata.labels), (0, &Labels::None));
    assert_eq!(metadata.activation, Some(OutputActivation::None));
    assert!(report.notes[0].contains("no classifier"), "{:?}", report.notes);
    let mut without = session(&place);
    let outputs = without.run(&[&image[..], &image].concat()).unwrap();
    for i in 0..2 {
        assert_eq!((outputs.features(i), outputs.logits(i)), (&expected[..], &[][..]));
        assert_eq!(outputs.top_k(i, 5), Ok(vec![]));
        assert_eq!(outputs.probabilities(i), Ok(None));
    }
    let mut pipeline = Pipeline::new(without, PipelineOptions::default()).unwrap();
    let error = pipeline.classify(["absent.jpg"], 1).unwrap_err();
    assert!(matches!(error, PipelineError::Session(SessionError::NoClassifier)), "{error}");

    let weights = place.weights();
    for features in [false, true] {
        for precision in [Precision::Fp32, Precision::Fp16] {
            let options = OnnxOptions { features, size, ..OnnxOptions::new(precision) };
            assert_eq!(options.outputs(&weights), ["features"]);
            let graph = onnx::model(&weights, &options).unwrap().graph.unwrap();
            let names: Vec<&str> = graph.output.iter().map(|output| output.name()).collect();
            assert_eq!(names, ["features"]);
            assert!(graph.node.iter().all(|node| node.op_type() != "Gemm"));
            let classifier = |name: &str| name.starts_with("classifier");
            assert!(!graph.initializer.iter().any(|tensor| classifier(tensor.name())));
        }
    }

    let path = place.path("packed.safetensors");
    let path = path.to_str().unwrap();
    let (_, info, _) = effnet(&["info", path]);
    assert!(info.contains("classes    none: features only\n  activation none"), "{info}");
    let photos = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/photos");
    for command in [&["classify", photos][..], &["eval", photos], &["compare"]] {
        let (status, stdout, stderr) = effnet(&[command, &["--weights", path]].concat());
        assert!(status == 2 && stdout.is_empty(), "{command:?}: {stderr}");
        for part in [path, "found one without", "effnet export onnx", "effnet import"] {
            assert!(stderr.contains(part), "{command:?}: {part}: {stderr}");
        }
    }
    // A ready tensor gives the same features as the library's.
    let [input, logits, features] = ["x.f32", "logits.npy", "features.npy"].map(|n| place.path(n));
    fs::write(&input, bytes(&image)).unwrap();
    let [from, to, aside] = [&input, &features, &logits].map(|path| path.to_str().unwrap());
    let run = ["run", from, "--raw", "f32", "--size", "64", "--weights", path, "--device", "cpu"];
    let (status, _, stderr) = effnet(&[&run[..], &["-o", aside]].concat());
    assert!(status == 2 && stderr.contains("give --features FILE"), "{stderr}");
    let (status, stdout, stderr) = effnet(&[&run[..], &["-o", aside, "--features", to]].concat());
    assert!(status == 0 && stdout.contains("[1, 1280]"), "{stdout}{stderr}");
    assert!(!logits.exists() && fs::read(&features).unwrap().ends_with(&bytes(&expected)));

    let output = place.path("features.onnx");
    let export = ["export", "onnx", "--weights", path, "-o", output.to_str().unwrap(), "--json"];
    let (status, stdout, stderr) = effnet(&export);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["outputs"], json!(["features"]));
}

/// A zip of PyTorch's that holds `{"arch": ..., "hyper_parameters": {...}, "state_dict": {...}}`.
fn write_training(path: &Path, arch: &str, model_name: &str, tensors: &[NamedTensor]) {
    let mut pickle = Pickle::new(2);
    pickle.op(b"}(").text("arch").text(arch);
    pickle.text("hyper_parameters").op(b"}(").text("model_name").text(model_name).op(b"u");
    pickle.text("state_dict").op(b"}(");
    for (index, tensor) in tensors.iter().enumerate() {
        let mut strides = vec![1; tensor.shape.len()];
        for axis in (1..tensor.shape.len()).rev() {
            strides[axis - 1] = strides[axis] * tensor.shape[axis];
        }
        let torch = TorchTensor {
            storage: "FloatStorage",
            key: &index.to_string(),
            numel: tensor.data.len(),
            offset: 0,
            shape: &tensor.shape,
            strides: &strides,
        };
        pickle.text(&tensor.name).torch_tensor(&torch, false);
    }
    pickle.op(b"uu.");
    let stored = || {
        let options = zip::write::SimpleFileOptions::default();
        options.compression_method(zip::CompressionMethod::Stored).with_alignment(64)
    };
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let mut entry = |name: &str, bytes: &[u8]| {
        zip.start_file(format!("archive/{name}"), stored()).unwrap();
        zip.write_all(bytes).unwrap();
    };
    entry("data.pkl", &pickle.0);
    entry("byteorder", b"little");
    for (index, tensor) in tensors.iter().enumerate() {
        entry(&format!("data/{index}"), &bytes(&tensor.data));
    }
    entry("version", b"3\n");
    zip.finish().unwrap();
}

#[test]
fn what_a_file_says_of_itself_counts() {
    let place = Place::new();
    let source = place.path("model_best.pth.tar");
    let mut tensors = tensors(Family::TimmTf, Variant::Lite0, 2);
    tensors.retain(|tensor| !tensor.name.ends_with("num_batches_tracked"));
    for (arch, model_name, family, evidence) in [
        ("tf_efficientnet_lite0", "x", Family::TimmTf, "its own 'arch' says tf_efficientnet_lite0"),
        (
            "EfficientNet",
            "hf_hub:timm/tf_efficientnet_lite0.in1k",
            Family::TimmTf,
            "its own 'hyper_parameters.model_name' says tf_efficientnet_lite0",
        ),
        ("efficientnet_lite0", "x", Family::Timm, "its own 'arch' says efficientnet_lite0"),
    ] {
        write_training(&source, arch, model_name, &tensors);
        let report = place.import(&source, &fp32()).unwrap();
        assert_eq!((report.metadata.family, &report.notes[..]), (family, &[][..]), "{arch}");
        assert!(report.evidence.contains(evidence), "{}", report.evidence);
    }
    write_training(&source, "efficientnet_lite0", "tf_efficientnet_lite0", &tensors);
    let report = place.import(&source, &fp32()).unwrap();
    let note =
        "its own 'hyper_parameters.model_name' says tf_efficientnet_lite0, of family timm-tf";
    assert_eq!((report.metadata.family, report.notes.len()), (Family::Timm, 1));
    assert!(report.notes[0].starts_with(note), "{:?}", report.notes);

    // safetensors has its metadata.
    let source = place.write("model.safetensors", &tensors);
    let bytes = fs::read(&source).unwrap();
    let data = 8 + length_of(&bytes);
    let header = std::str::from_utf8(&bytes[8..data]).unwrap().trim_end();
    let mut header =
        header.replace(r#"{"format":"pt"}"#, r#"{"architecture":"tf_efficientnet_lite0"}"#);
    assert!(header.contains("architecture"));
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&source, [&length[..], header.as_bytes(), &bytes[data..]].concat()).unwrap();
    let report = place.import(&source, &fp32()).unwrap();
    assert_eq!((report.metadata.family, report.notes), (Family::TimmTf, vec![]));
}

fn length_of(safetensors: &[u8]) -> usize {
    u64::from_le_bytes(safetensors[..8].try_into().unwrap()) as usize
}
