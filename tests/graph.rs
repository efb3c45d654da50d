//! Exported graphs as checkpoints: this project's own ONNX files round trip, those of public
//! exporters and Paddle's inference models are recognised, and whatever differs is refused by name.
//!
//! `tests/field/graph.py` wrote the fixtures, graphs without their weights, with the public
//! exporters, and compares logits of whole models with ONNX Runtime and Paddle.

mod support;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::export::onnx::proto::{AttributeProto, ModelProto, NodeProto, TensorProto};
use effnet::export::onnx::{Batch, BatchNorm, OnnxOptions, model, model_bytes};
use effnet::session::{Session, SessionOptions};
use effnet::weights::import::{Checkpoint, Container};
use effnet::weights::{
    Family, ImportOptions, ImportReport, Layer, Metadata, Precision, SourceRole, TensorId,
    TensorKind, Weights, import,
};
use flate2::read::GzDecoder;
use prost::Message;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use support::{generator, metadata, random_weights};

const CLASSES: usize = 7;
/// Even and odd maps on the way, and no square.
const SIZE: Size = Size { h: 66, w: 98 };

fn fp32() -> ImportOptions {
    ImportOptions { precision: Precision::Fp32, ..ImportOptions::default() }
}

fn weights(variant: Variant, padding: Padding) -> Weights {
    let metadata = Metadata { classes: CLASSES, ..metadata(variant, padding, Precision::Fp32) };
    random_weights(&metadata, 3)
}

fn options(batch_norm: BatchNorm) -> OnnxOptions {
    let size = Some(SIZE);
    OnnxOptions { batch_norm, size, batch: Batch::Dynamic, ..OnnxOptions::new(Precision::Fp32) }
}

/// The bytes of an ONNX file, imported.
fn round_trip(bytes: &[u8], options: &ImportOptions) -> Result<(Weights, ImportReport), String> {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("model.onnx"), folder.path().join("packed"));
    std::fs::write(&source, bytes).unwrap();
    let report = import(&source, &output, options).map_err(|error| error.to_string())?;
    Ok((Weights::open(&output).unwrap(), report))
}

/// The output channel of a packed element.
fn channel(shape: &[usize], layer: Layer, index: usize) -> usize {
    match layer {
        Layer::Stem | Layer::Depthwise(_) => index % shape[shape.len() - 1],
        _ => index / shape[1],
    }
}

/// Every tensor of `found` against that of `given`: the same bits, or with the scales in the
/// weights.
fn check_tensors(given: &Weights, found: &Weights, batch_norm: BatchNorm) {
    let folded = batch_norm == BatchNorm::Folded;
    for (index, tensor) in given.tensors().iter().enumerate() {
        let id = TensorId(index as u32);
        let (given_data, found_data) = (given.f32(id).unwrap(), found.f32(id).unwrap());
        let variant = given.network().variant;
        let name = tensor.name();
        let scale = given.tensors().get(index + 1).filter(|next| {
            folded && tensor.kind == TensorKind::Weight && next.kind == TensorKind::BnScale
        });
        let scale = scale.map(|_| given.f32(TensorId(index as u32 + 1)).unwrap());
        for (i, (&x, &y)) in given_data.iter().zip(found_data).enumerate() {
            let expected = match (tensor.kind, scale) {
                (TensorKind::BnScale, _) if folded => 1.0,
                (_, Some(scale)) => {
                    let scale = scale[channel(&tensor.shape, tensor.layer, i)];
                    (f64::from(x) * f64::from(scale)) as f32
                }
                _ => x,
            };
            assert_eq!(y, expected, "{variant}: {name}[{i}]");
        }
    }
}

#[test]
fn exported_networks_come_back_tensor_by_tensor() {
    for (index, variant) in Variant::all().enumerate() {
        let padding = [
            Padding::Symmetric,
            Padding::SameDynamic,
            Padding::SameFrozen(variant.native()),
            Padding::SameCropped(variant.native()),
        ][index % 4];
        let given = weights(variant, padding);
        for batch_norm in [BatchNorm::Folded, BatchNorm::Separate] {
            let bytes = model_bytes(&given, &options(batch_norm)).unwrap();
            let (found, report) = round_trip(&bytes, &fp32()).unwrap();
            let metadata = &report.metadata;
            assert_eq!((metadata.variant, metadata.classes), (variant, CLASSES));
            assert_eq!(metadata.padding, padding, "{variant}");
            assert_eq!(metadata.family, Family::Timm);
            assert_eq!(metadata.recipe, given.metadata().recipe.with_size(SIZE), "{variant}");
            assert_eq!(metadata.source.container, "ONNX");
            check_tensors(&given, &found, batch_norm);
        }
    }
}

/// The file without what this project writes about itself.
fn anonymous(weights: &Weights, options: &OnnxOptions) -> ModelProto {
    let mut model = model(weights, options).unwrap();
    model.metadata_props.clear();
    model.producer_name = None;
    // timm calls it so too.
    let graph = model.graph.as_mut().unwrap();
    let rename = |name: &mut String| {
        if name.starts_with("classifier.") {
            *name = name.replace("classifier.", "constant_");
        }
    };
    graph.initializer.iter_mut().filter_map(|tensor| tensor.name.as_mut()).for_each(rename);
    graph.node.iter_mut().flat_map(|node| &mut node.input).for_each(rename);
    model
}

#[test]
fn pads_alone_tell_the_convention() {
    let frozen = Padding::SameFrozen;
    let odd = Size { h: 65, w: 97 };
    let native = Variant::B0.native();
    for (padding, size, expected, family) in [
        (Padding::Symmetric, SIZE, Padding::Symmetric, Family::Timm),
        // At the size of the export SAME is SAME frozen there.
        (Padding::SameDynamic, SIZE, frozen(SIZE), Family::TimmTf),
        // At odd sides all conventions are one.
        (Padding::SameDynamic, odd, Padding::Symmetric, Family::Timm),
        // Maps of other parities than SAME has there: the native size is tried next.
        (frozen(native), Size { h: 66, w: 98 }, frozen(native), Family::TimmTf),
    ] {
        let given = weights(Variant::B0, padding);
        let options = OnnxOptions { size: Some(size), ..options(BatchNorm::Separate) };
        let bytes = anonymous(&given, &options).encode_to_vec();
        let (_, report) = round_trip(&bytes, &fp32()).unwrap();
        let metadata = &report.metadata;
        assert_eq!((metadata.padding, metadata.family), (expected, family), "{padding} {size}");
        assert_eq!(metadata.recipe.size, size);
        assert!(report.notes.iter().any(|note| note.contains("give --family")), "{report:?}");
        let asked = ImportOptions { family: Some(Family::Lukemelas), ..fp32() };
        let (_, report) = round_trip(&bytes, &asked).unwrap();
        assert_eq!(
            (report.metadata.padding, report.metadata.family),
            (expected, Family::Lukemelas)
        );
        assert!(!report.notes.iter().any(|note| note.contains("give --family")), "{report:?}");
    }
}

#[test]
fn a_half_precision_file_is_read_to_the_bit() {
    let given = weights(Variant::Lite0, Padding::Symmetric);
    let bytes = model_bytes(
        &given,
        &OnnxOptions { precision: Precision::Fp16, ..options(BatchNorm::Separate) },
    )
    .unwrap();
    let (found, _) = round_trip(&bytes, &fp32()).unwrap();
    for (index, tensor) in given.tensors().iter().enumerate() {
        let id = TensorId(index as u32);
        // The classifier is f32 by default: its sums are.
        let rounds = tensor.layer != Layer::Classifier;
        for (&x, &y) in given.f32(id).unwrap().iter().zip(found.f32(id).unwrap()) {
            let expected = if rounds { half::f16::from_f32(x).to_f32() } else { x };
            assert_eq!(y, expected, "{}", tensor.name());
        }
    }
}

/// The tensors in other fields, and the operations in other words, as other exporters write them.
#[test]
fn other_spellings_of_the_same_graph() {
    let given = weights(Variant::Lite0, Padding::Symmetric);
    let mut model = anonymous(&given, &options(BatchNorm::Separate));
    let graph = model.graph.as_mut().unwrap();
    // The classifier as a product and a sum, behind a constant under another name.
    let gemm = graph.node.iter().position(|node| node.op_type() == "Gemm").unwrap();
    let node = graph.node.remove(gemm);
    let [x, weight, bias] = [&node.input[0], &node.input[1], &node.input[2]].map(String::clone);
    let constant = graph.initializer.iter_mut().find(|tensor| *tensor.name() == weight).unwrap();
    let (classes, c_head) = (constant.dims[0] as usize, constant.dims[1] as usize);
    let rows: Vec<f32> = bytemuck::pod_collect_to_vec(constant.raw_data());
    let columns = (0..c_head).flat_map(|i| (0..classes).map(move |c| (c, i)));
    let transposed: Vec<f32> = columns.map(|(c, i)| rows[c * c_head + i]).collect();
    constant.dims.reverse();
    constant.raw_data = Some(bytemuck::pod_collect_to_vec(&transposed));
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: None,
        op_type: Some(op.to_owned()),
        attribute: vec![],
    };
    let output = graph.output[0].name().to_owned();
    graph.node.push(node("Identity", &[&weight], "alias"));
    graph.node.push(node("MatMul", &[&x, "alias"], "product"));
    graph.node.push(node("Add", &[&bias, "product"], "sum"));
    graph.node.push(node("Softmax", &["sum"], &output));
    let (found, report) = round_trip(&model.encode_to_vec(), &fp32()).unwrap();
    check_tensors(&given, &found, BatchNorm::Separate);
    assert_eq!(report.metadata.classes, CLASSES);
}

/// The first operation that is another network's is named, with what stands there.
#[test]
fn what_differs_is_refused_by_the_first_node() {
    let given = weights(Variant::B0, Padding::Symmetric);
    let whole = anonymous(&given, &options(BatchNorm::Separate));
    type Change = fn(&mut NodeProto);
    let at = |name: &str| {
        let nodes = &whole.graph.as_ref().unwrap().node;
        nodes.iter().position(|node| node.name() == name).unwrap_or_else(|| panic!("{name}"))
    };
    fn ints<'a>(node: &'a mut NodeProto, name: &str) -> &'a mut AttributeProto {
        node.attribute.iter_mut().find(|attribute| attribute.name() == name).unwrap()
    }
    let cases: [(&str, Change, &[&str]); 8] = [
        (
            "blocks.3.expand.sigmoid",
            |node| node.op_type = Some("HardSigmoid".into()),
            &["'blocks.3.expand.sigmoid' (HardSigmoid)", "swish after blocks.3.expand", "b0's"],
        ),
        (
            "blocks.1.depthwise.conv",
            |node| ints(node, "strides").ints = vec![1, 1],
            &["'blocks.1.depthwise.conv' (Conv)", "stride 2", "stride [1, 1]"],
        ),
        (
            "blocks.1.depthwise.conv",
            |node| ints(node, "pads").ints = vec![2, 2, 0, 0],
            &["'blocks.1.depthwise.conv' (Conv)", "2 rows above", "blocks"],
        ),
        (
            "stem.conv",
            |node| ints(node, "dilations").ints = vec![2, 2],
            &["'stem.conv' (Conv)", "for stem", "a convolution that is dilated"],
        ),
        (
            "blocks.2.project.skip",
            |node| node.op_type = Some("Sub".into()),
            &["'blocks.2.project.skip' (Sub)", "the sum with the input of blocks.2", "found Sub"],
        ),
        (
            "blocks.0.squeeze_excite.gate",
            |node| node.op_type = Some("Tanh".into()),
            &["(Tanh)", "gate blocks.0", "found Tanh"],
        ),
        (
            "blocks.4.project.batch_norm",
            |node| ints(node, "epsilon").f = Some(0.5),
            &["'blocks.4.project.batch_norm'", "eps of the batch-norms before, 0", "eps 0.5"],
        ),
        (
            "classifier.gemm",
            |node| ints(node, "transB").i = Some(0),
            &["'classifier.gemm' (Gemm)", "[classes, 1280]", "weights [7, 1280]"],
        ),
    ];
    for (name, change, says) in cases {
        let mut model = whole.clone();
        change(&mut model.graph.as_mut().unwrap().node[at(name)]);
        let error = round_trip(&model.encode_to_vec(), &fp32()).map(|_| ()).unwrap_err();
        for word in says {
            assert!(error.contains(word), "{name}: {word} is not in: {error}");
        }
    }
}

#[test]
fn tensors_in_a_file_beside_stay_in_the_folder() {
    let given = weights(Variant::Lite0, Padding::Symmetric);
    let whole = anonymous(&given, &options(BatchNorm::Separate));
    // `external_data` and `data_location` are no fields of this project's own messages.
    let stem = whole.graph.as_ref().unwrap().initializer[0].clone();
    let external = |location: &str, length: usize| {
        let mut tensor = TensorProto { raw_data: None, ..stem.clone() }.encode_to_vec();
        for (key, value) in [("location", location), ("length", &length.to_string())] {
            let pair = effnet::export::onnx::proto::StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            };
            let pair = pair.encode_to_vec();
            tensor.extend([0x6a, pair.len() as u8]);
            tensor.extend(pair);
        }
        tensor.extend([0x70, 1]);
        let mut model = whole.clone();
        let mut graph = model.graph.take().unwrap();
        graph.initializer.remove(0);
        // Field 5 of the graph, and field 7 of the model.
        let mut graph = graph.encode_to_vec();
        graph.extend([0x2a, tensor.len() as u8]);
        graph.extend(tensor);
        let mut bytes = model.encode_to_vec();
        bytes.push(0x3a);
        varint(graph.len() as u64, &mut bytes);
        bytes.extend(graph);
        bytes
    };
    let data = stem.raw_data.clone().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("models");
    std::fs::create_dir_all(inside.join("data")).unwrap();
    std::fs::write(inside.join("data/stem.bin"), &data).unwrap();
    std::fs::write(folder.path().join("outside.bin"), &data).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../outside.bin", inside.join("link.bin")).unwrap();
    let run = |location: &str, length: usize| {
        let path = inside.join("model.onnx");
        std::fs::write(&path, external(location, length)).unwrap();
        import(&path, &folder.path().join("packed"), &fp32()).map_err(|error| error.to_string())
    };
    run("data/stem.bin", data.len()).unwrap();
    let found = Weights::open(&folder.path().join("packed")).unwrap();
    check_tensors(&given, &found, BatchNorm::Separate);
    let mut outside = vec!["../outside.bin", "/etc/passwd", "", "data/../../outside.bin"];
    if cfg!(unix) {
        outside.push("link.bin");
    }
    for location in outside {
        let error = run(location, data.len()).unwrap_err();
        assert!(error.contains("a file in the model's folder"), "{location}: {error}");
    }
    for (location, length, says) in [
        ("data/none.bin", data.len(), "data/none.bin"),
        ("data", data.len(), "data"),
        ("data/stem.bin", data.len() + 1, "at most"),
        ("data/stem.bin", data.len() - 4, "elements of f32"),
    ] {
        let error = run(location, length).unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
    }
    let bytes = external("data/stem.bin", data.len());
    let error = Checkpoint::from_bytes(bytes).unwrap_err().to_string();
    assert!(error.contains("expected all tensors in the file"), "{error}");
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/graph").join(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// The graphs of public exporters, with weights of 0: what they prove, and whose they are.
#[test]
fn public_exporters_graphs_are_recognised() {
    let frozen = |h, w| Padding::SameFrozen(Size { h, w });
    #[rustfmt::skip]
    let table = [
        ("torchvision-b0-torchscript17", Family::Torchvision, Variant::B0,    Padding::Symmetric,   Some((96, 64)), None),
        ("torchvision-b0-dynamo18",      Family::Torchvision, Variant::B0,    Padding::Symmetric,   Some((96, 96)), None),
        ("torchvision-b0-unfolded13",    Family::Torchvision, Variant::B0,    Padding::Symmetric,   None,           Some(1e-5)),
        ("timm-tf-b0-torchscript13",     Family::TimmTf,      Variant::B0,    Padding::SameDynamic, None,           None),
        ("timm-tf-lite0-torchscript11",  Family::TimmTf,      Variant::Lite0, frozen(66, 96),       Some((66, 96)), None),
        ("lukemelas-b1-torchscript11",   Family::Lukemelas,   Variant::B1,    frozen(240, 240),     None,           None),
    ];
    for (name, family, variant, padding, size, eps) in table {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("model.onnx");
        std::fs::write(&source, fixture(&format!("{name}.onnx.gz"))).unwrap();
        // As long as the largest of them needs: a file of zeros takes no space.
        let zeros = std::fs::File::create(folder.path().join("weights.bin")).unwrap();
        zeros.set_len(1 << 26).unwrap();
        let report = import(&source, &folder.path().join("packed"), &fp32());
        let report = report.unwrap_or_else(|error| panic!("{name}: {error}"));
        let metadata = &report.metadata;
        assert_eq!((metadata.family, metadata.variant), (family, variant), "{name}");
        assert_eq!((metadata.padding, metadata.classes), (padding, 10), "{name}");
        if let Some((h, w)) = size {
            assert_eq!(metadata.recipe.size, Size { h, w }, "{name}");
        }
        if let Some(eps) = eps {
            assert_eq!(metadata.bn_eps, eps, "{name}");
        }
        let folded = report.notes.iter().any(|note| note.contains("folded"));
        assert_eq!(folded, eps.is_none(), "{name}: {:?}", report.notes);
        assert!(!report.notes.iter().any(|note| note.contains("--family")), "{:?}", report.notes);
    }
}

/// A record of `tests/golden/paddle-inference.json`.
#[derive(Deserialize)]
struct Case {
    fixture: String,
    variant: String,
    height: usize,
    width: usize,
    classes: usize,
    weights_seed: u64,
    image_seed: u64,
    logits: Vec<f64>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/paddle-inference.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Paddle's own name of a parameter, as in `_blocks.3._se_reduce_offset`.
fn parameter(layer: Layer, role: SourceRole) -> String {
    let block = |n: usize, part: &str| format!("_blocks.{n}.{part}");
    let (conv, norm) = match layer {
        Layer::Stem => ("_conv_stem".to_owned(), "_bn0".to_owned()),
        Layer::Expand(n) => (block(n, "_expand_conv"), block(n, "_bn0")),
        Layer::Depthwise(n) => (block(n, "_depthwise_conv"), block(n, "_bn1")),
        Layer::SeReduce(n) => (block(n, "_se_reduce"), String::new()),
        Layer::SeExpand(n) => (block(n, "_se_expand"), String::new()),
        Layer::Project(n) => (block(n, "_project_conv"), block(n, "_bn2")),
        Layer::HeadConv => ("_conv_head".to_owned(), "_bn1".to_owned()),
        Layer::Classifier => ("_fc".to_owned(), String::new()),
    };
    match role {
        SourceRole::Weight => format!("{conv}_weights"),
        SourceRole::Bias => format!("{conv}_offset"),
        SourceRole::Gamma => format!("{norm}_scale"),
        SourceRole::Beta => format!("{norm}_offset"),
        SourceRole::Mean => format!("{norm}_mean"),
        SourceRole::Variance => format!("{norm}_variance"),
        SourceRole::BatchesTracked => unreachable!("Paddle has no such tensor"),
    }
}

fn varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// A `.pdiparams` of the generator's weights: sorted by name, without names.
fn parameters(seed: u64, network: &Network) -> Vec<u8> {
    let sources = effnet::weights::source_names(Family::PaddleClas, network);
    let tensors = generator::checkpoint(seed, Family::PaddleClas, network);
    let named: BTreeMap<_, _> = sources
        .iter()
        .zip(tensors)
        .map(|(source, tensor)| (parameter(source.layer, source.role), tensor))
        .collect();
    assert_eq!(named.len(), sources.len());
    let mut bytes = Vec::new();
    for tensor in named.values() {
        let mut description = vec![0x08, 5];
        for &side in &tensor.shape {
            description.push(0x10);
            varint(side as u64, &mut description);
        }
        bytes.extend([0; 16]);
        bytes.extend((description.len() as u32).to_le_bytes());
        bytes.extend(description);
        bytes.extend_from_slice(bytemuck::cast_slice(&tensor.data));
    }
    bytes
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, data) in files {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        header[156] = b'0';
        header[257..263].copy_from_slice(b"ustar\0");
        archive.extend(header);
        archive.extend_from_slice(data);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// Logits of Paddle's own inference, in each form of the program and given in each way.
#[test]
fn paddle_s_inference_models_give_paddle_s_logits() {
    let cases = cases();
    assert_eq!(cases.len(), 12, "two variants, two forms, three sizes");
    for (index, case) in cases.iter().enumerate() {
        let variant: Variant = case.variant.parse().unwrap();
        let network = Network::new(variant, case.classes);
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("EfficientNet_infer");
        std::fs::create_dir(&model).unwrap();
        let (_, form) = case.fixture.rsplit_once('.').unwrap();
        let program_name = format!("inference.{form}");
        let program = fixture(&format!("{}.gz", case.fixture));
        let parameters = parameters(case.weights_seed, &network);
        let archive = folder.path().join("model.tar");
        let entries = [
            (format!("x/{program_name}"), &program[..]),
            ("x/inference.pdiparams".to_owned(), &parameters[..]),
        ];
        let entries = entries.each_ref().map(|(name, data)| (name.as_str(), *data));
        std::fs::write(&archive, tar(&entries)).unwrap();
        std::fs::write(model.join(&program_name), &program).unwrap();
        std::fs::write(model.join("inference.pdiparams"), &parameters).unwrap();
        let ways: [PathBuf; 4] =
            [model.join(&program_name), model.join("inference.pdiparams"), model.clone(), archive];
        let source = &ways[index % ways.len()];
        let packed = folder.path().join("packed");
        let report = import(source, &packed, &fp32()).unwrap_or_else(|error| panic!("{error}"));
        let metadata = &report.metadata;
        assert_eq!((metadata.family, metadata.variant), (Family::PaddleClas, variant));
        let padding = match variant {
            Variant::B0Small => Padding::Symmetric,
            _ => Padding::SameCropped(variant.native()),
        };
        assert_eq!((metadata.padding, metadata.bn_eps), (padding, 1e-3));
        let took = report.notes.iter().all(|note| note.contains("in the folder"));
        assert!(took && report.notes.len() == usize::from(source.is_dir()), "{:?}", report.notes);

        let weights = Arc::new(Weights::open(&packed).unwrap());
        let size = Some(Size { h: case.height, w: case.width });
        let options = SessionOptions { size, ..SessionOptions::default() };
        let mut session = Session::new(weights, options).unwrap();
        let image = generator::image(case.image_seed, case.height, case.width);
        let outputs = session.run(&image).unwrap();
        let largest = case.logits.iter().fold(0.0f64, |max, logit| logit.abs().max(max));
        for (&found, expected) in outputs.logits(0).iter().zip(&case.logits) {
            // As in `tests/golden.rs`.
            let relative = (f64::from(found) - expected).abs() / largest;
            assert!(relative <= 1e-4, "{}: {found}, expected {expected}", case.fixture);
        }
    }
}

#[test]
fn half_a_paddle_model_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new(Variant::B0Small, 10);
    let program = folder.path().join("b0.pdmodel");
    std::fs::write(&program, fixture("paddle_b0_small.pdmodel.gz")).unwrap();
    let error = Checkpoint::open(&program).unwrap_err().to_string();
    assert!(error.contains("expected \"b0.pdiparams\" beside the program"), "{error}");
    let whole = parameters(1, &network);
    let other = folder.path().join("other.pdiparams");
    std::fs::write(&other, &whole).unwrap();
    let error = Checkpoint::open(&other).unwrap_err().to_string();
    assert!(error.contains("expected other.json or other.pdmodel in"), "{error}");
    let error = Checkpoint::from_bytes(whole.clone()).unwrap_err().to_string();
    assert!(error.contains("parameters without names"), "{error}");

    let own = folder.path().join("b0.pdiparams");
    for (bytes, says) in [
        (&whole[..whole.len() - 1], "truncated Paddle parameters"),
        (&whole[..], ""),
        (&[&whole[..], &[0]].concat()[..], "1 more bytes"),
        (&parameters(1, &Network::new(Variant::B0Small, 11))[..], "_fc_offset"),
    ] {
        std::fs::write(&own, bytes).unwrap();
        match Checkpoint::open(folder.path()) {
            Ok(checkpoint) => {
                assert_eq!(says, "");
                assert_eq!(checkpoint.container(), Container::PaddleInference);
                assert_eq!(checkpoint.tensors().len(), 247);
            }
            Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{error}"),
        }
    }
}

/// A network of two operations, in few bytes.
fn tiny() -> Vec<u8> {
    let given = weights(Variant::Lite0, Padding::Symmetric);
    let mut model = anonymous(&given, &options(BatchNorm::Separate));
    let graph = model.graph.as_mut().unwrap();
    let names = ["stem.conv", "stem.batch_norm"];
    graph.node.retain(|node| names.contains(&node.name()));
    let used: Vec<String> = graph.node.iter().flat_map(|node| node.input.clone()).collect();
    graph.initializer.retain(|tensor| used.iter().any(|name| name == tensor.name()));
    graph.value_info.clear();
    graph.output[0].name = Some("stem.batch_norm".into());
    model.encode_to_vec()
}

/// A file cut at any byte, or with any byte changed, is an error or a checkpoint: never a panic.
#[test]
fn broken_files_are_errors() {
    let whole = tiny();
    assert!(whole.len() < 6000, "{}", whole.len());
    let checkpoint = Checkpoint::from_bytes(whole.clone()).unwrap();
    assert_eq!((checkpoint.container(), checkpoint.tensors().len()), (Container::Onnx, 5));
    for end in 0..whole.len() {
        let found = Checkpoint::from_bytes(whole[..end].to_vec());
        // After the graph come the opsets: a file without them is cut.
        assert!(found.is_err(), "{end} of {} bytes", whole.len());
    }
    let network = Network::new(Variant::B0Small, 10);
    let parameters = parameters(1, &network);
    let read = |name: &str, program: &[u8]| {
        let files = [(name, program), ("a.pdiparams", &parameters[..])];
        Checkpoint::from_bytes(tar(&files)).map(|checkpoint| checkpoint.tensors().len())
    };
    let mut random = 1u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) as usize % below
    };
    for name in ["a.pdmodel", "a.json"] {
        let ending = name.rsplit_once('.').unwrap().1;
        let program = fixture(&format!("paddle_b0_small.{ending}.gz"));
        assert_eq!(read(name, &program).unwrap(), 247);
        for _ in 0..60 {
            assert!(read(name, &program[..next(program.len() - 100)]).is_err());
            let mut changed = program.clone();
            let at = next(changed.len());
            changed[at] ^= 1 << next(8);
            let _ = read(name, &changed);
        }
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << next(8);
        if let Ok(checkpoint) = Checkpoint::from_bytes(changed) {
            for (name, info) in checkpoint.tensors() {
                if let Ok(values) = checkpoint.read_f32(name) {
                    assert_eq!(values.len(), info.shape.iter().product::<usize>(), "{name}");
                }
            }
        }
    }
}

#[test]
fn a_graph_in_a_circle_is_refused() {
    let given = weights(Variant::Lite0, Padding::Symmetric);
    let mut model = anonymous(&given, &options(BatchNorm::Separate));
    let graph = model.graph.as_mut().unwrap();
    let last = graph.node.last().unwrap().output[0].clone();
    graph.node[0].input[0] = last.clone();
    let error = round_trip(&model.encode_to_vec(), &fp32()).map(|_| ()).unwrap_err();
    assert!(error.contains(&format!("found \"{last}\"")), "{error}");
}
