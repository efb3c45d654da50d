//! Exported ONNX files, read back: a graph that can run, types and shapes that chain, every weight
//! in its place. `tests/onnx/check.py` runs them.

mod support;

use effnet::arch::{Activation, Network, Padding, Size, Variant};
use effnet::export::onnx::proto::{
    AttributeProto, DimensionValue, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
    data_type,
};
use effnet::export::onnx::{Batch, BatchNorm, OnnxError, OnnxOptions, model, model_bytes, write};
use effnet::plan::{Op, Plan, PlanOptions};
use effnet::weights::{
    Layer, Metadata, Precision, TensorId, TensorKind, Weights, packed_tensors, write_packed,
};
use half::f16;
use prost::Message;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use support::{metadata, random_weights};

/// One variant of each kind: squeeze-excite, swish without it, relu6; and an odd map among even.
const VARIANTS: [Variant; 4] = [Variant::B0, Variant::B0Small, Variant::Lite0, Variant::B2];
const CLASSES: usize = 7;
/// Even and odd sides, and no square.
const SIZE: Size = Size { h: 66, w: 96 };

fn small(variant: Variant, padding: Padding, precision: Precision) -> Weights {
    let metadata = Metadata { classes: CLASSES, ..metadata(variant, padding, precision) };
    random_weights(&metadata, 1)
}

/// Every combination that makes a difference to the graph.
fn forms() -> Vec<OnnxOptions> {
    let mut forms = Vec::new();
    for batch_norm in [BatchNorm::Folded, BatchNorm::Separate] {
        for (precision, reductions) in [
            (Precision::Fp32, Precision::Fp32),
            (Precision::Fp16, Precision::Fp32),
            (Precision::Fp16, Precision::Fp16),
        ] {
            let features = reductions == Precision::Fp32;
            let batch = if features { Batch::Dynamic } else { Batch::Static(3) };
            let size = Some(SIZE);
            let options = OnnxOptions::new(precision);
            forms.push(OnnxOptions { batch, size, batch_norm, reductions, features, ..options });
        }
    }
    forms
}

fn graph(weights: &Weights, options: &OnnxOptions) -> GraphProto {
    let bytes = model_bytes(weights, options).unwrap();
    ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap()
}

/// A tensor's type: the type of its elements, and its sides, the batch's as `None` where it is
/// open.
type Type = (i32, Vec<Option<i64>>);

fn type_of(info: &ValueInfoProto) -> Type {
    let tensor = info.r#type.clone().unwrap().tensor_type.unwrap();
    let sides = tensor.shape.unwrap().dim.into_iter().map(|side| match side.value.unwrap() {
        DimensionValue::DimValue(side) => Some(side),
        DimensionValue::DimParam(name) => {
            assert_eq!(name, "N");
            None
        }
    });
    (tensor.elem_type.unwrap(), sides.collect())
}

fn attribute<'a>(node: &'a NodeProto, name: &str) -> &'a AttributeProto {
    let found = node.attribute.iter().find(|attribute| attribute.name() == name);
    found.unwrap_or_else(|| panic!("{} has no {name}", node.name()))
}

/// Type of an operator's output, by the operator's definition; panics where it takes no such
/// inputs.
fn infer(node: &NodeProto, inputs: &[Type]) -> Type {
    let (element, sides) = &inputs[0];
    // Strongly typed: but for casts, all of a node's tensors have one type.
    assert!(inputs.iter().all(|(other, _)| other == element), "{}: {inputs:?}", node.name());
    let side = |index: usize| sides[index].unwrap();
    match node.op_type() {
        "Conv" => {
            let weight: Vec<i64> = inputs[1].1.iter().map(|side| side.unwrap()).collect();
            let (kernel, strides) = (attribute(node, "kernel_shape"), attribute(node, "strides"));
            let (pads, group) = (attribute(node, "pads"), attribute(node, "group").i());
            assert_eq!(kernel.ints, weight[2..], "{}", node.name());
            assert_eq!(weight[1] * group, side(1), "{}", node.name());
            assert!(inputs.len() == 2 || inputs[2].1 == [Some(weight[0])], "{}", node.name());
            let out = |i: usize| {
                let padded = side(2 + i) + pads.ints[i] + pads.ints[2 + i];
                Some((padded - weight[2 + i]) / strides.ints[i] + 1)
            };
            (*element, vec![sides[0], Some(weight[0]), out(0), out(1)])
        }
        "BatchNormalization" => {
            assert!(inputs[1..].iter().all(|input| input.1 == [sides[1]]), "{}", node.name());
            inputs[0].clone()
        }
        "Sigmoid" => inputs[0].clone(),
        "Clip" => {
            assert!(inputs[1..].iter().all(|bound| bound.1.is_empty()), "{}", node.name());
            inputs[0].clone()
        }
        "Mul" | "Add" => {
            let per_channel = [sides[0], sides[1], Some(1), Some(1)];
            let gated = node.name().ends_with(".gated") && inputs[1].1 == per_channel;
            assert!(gated || inputs[1].1 == *sides, "{}", node.name());
            inputs[0].clone()
        }
        "GlobalAveragePool" => (*element, vec![sides[0], sides[1], Some(1), Some(1)]),
        "Flatten" => {
            assert_eq!((attribute(node, "axis").i(), side(2) * side(3)), (1, 1));
            (*element, vec![sides[0], sides[1]])
        }
        "Gemm" => {
            assert_eq!(attribute(node, "transB").i(), 1);
            let [classes, c_in] = inputs[1].1[..] else { panic!("{:?}", inputs[1]) };
            assert_eq!((sides[1], &inputs[2].1[..]), (c_in, &[classes][..]));
            (*element, vec![sides[0], classes])
        }
        "Cast" => (attribute(node, "to").i() as i32, sides.clone()),
        other => panic!("{}: {other} is not expected", node.name()),
    }
}

#[test]
fn nodes_are_in_order_and_their_types_and_shapes_chain() {
    for variant in VARIANTS {
        let weights = small(variant, Padding::SameDynamic, Precision::Fp32);
        for options in forms() {
            let graph = graph(&weights, &options);
            let infos = graph.input.iter().chain(&graph.value_info).chain(&graph.output);
            let mut recorded: HashMap<_, _> =
                infos.map(|info| (info.name().to_owned(), type_of(info))).collect();
            let constant = |tensor: &TensorProto| {
                let sides = tensor.dims.iter().map(|&side| Some(side)).collect();
                (tensor.name().to_owned(), (tensor.data_type(), sides))
            };
            let mut known: HashMap<_, Type> = graph.initializer.iter().map(constant).collect();
            assert_eq!(known.len(), graph.initializer.len(), "two constants share a name");
            let mut uses: HashMap<String, usize> = HashMap::new();
            for info in &graph.input {
                known.insert(info.name().to_owned(), recorded.remove(info.name()).unwrap());
            }
            let mut names = HashSet::new();
            for node in &graph.node {
                assert!(names.insert(node.name()), "two nodes are called {}", node.name());
                let inputs: Vec<Type> = node.input.iter().map(|name| known[name].clone()).collect();
                node.input.iter().for_each(|name| *uses.entry(name.clone()).or_default() += 1);
                let [output] = &node.output[..] else { panic!("{}: outputs", node.name()) };
                let found = infer(node, &inputs);
                assert_eq!(recorded.remove(output), Some(found.clone()), "{output}");
                assert!(known.insert(output.clone(), found).is_none(), "{output} again");
            }
            assert!(recorded.is_empty(), "nothing writes {recorded:?}");
            for tensor in &graph.initializer {
                // Only relu6's bounds are shared.
                let used = uses[tensor.name()];
                assert!(used == 1 || tensor.dims.is_empty(), "{}: {used}", tensor.name());
            }

            let n = match options.batch {
                Batch::Static(n) => Some(n as i64),
                Batch::Dynamic => None,
            };
            let image = vec![n, Some(3), Some(SIZE.h as i64), Some(SIZE.w as i64)];
            let ends = |list: &[ValueInfoProto]| -> Vec<(String, Type)> {
                list.iter().map(|info| (info.name().to_owned(), type_of(info))).collect()
            };
            let float = data_type::FLOAT;
            assert_eq!(ends(&graph.input), [("input".to_owned(), (float, image))]);
            let c_head = weights.network().c_head as i64;
            let mut outputs = vec![("logits".to_owned(), (float, vec![n, Some(CLASSES as i64)]))];
            if options.features {
                outputs.push(("features".to_owned(), (float, vec![n, Some(c_head)])));
            }
            assert_eq!(ends(&graph.output), outputs);
        }
    }
}

#[test]
fn types_are_those_asked_for() {
    let weights = small(Variant::B0, Padding::Symmetric, Precision::Fp32);
    for options in forms() {
        let graph = graph(&weights, &options);
        let element = |precision| match precision {
            Precision::Fp32 => data_type::FLOAT,
            Precision::Fp16 => data_type::FLOAT16,
        };
        for tensor in &graph.initializer {
            let reduced = tensor.name().starts_with("classifier.");
            let expected = if reduced { options.reductions } else { options.precision };
            assert_eq!(tensor.data_type(), element(expected), "{}", tensor.name());
        }
        let types: HashMap<_, _> =
            graph.value_info.iter().map(|info| (info.name(), type_of(info).0)).collect();
        let means = graph.node.iter().filter(|node| node.op_type() == "GlobalAveragePool");
        let mut count = 0;
        for node in means {
            assert_eq!(types[node.output[0].as_str()], element(options.reductions));
            count += 1;
        }
        assert_eq!(count, 17, "sixteen squeezes and the pool");
        let casts = graph.node.iter().filter(|node| node.op_type() == "Cast").count();
        let expected = match (options.precision, options.reductions) {
            (Precision::Fp32, _) => 0,
            // The image; before and after each squeeze, before the pool.
            (_, Precision::Fp32) => 1 + 2 * 16 + 1,
            // The image and the logits.
            (_, Precision::Fp16) => 2,
        };
        assert_eq!(casts, expected, "{options:?}");
    }
}

/// Elements of an exported tensor.
fn values(tensor: &TensorProto) -> Vec<f64> {
    let bytes = tensor.raw_data();
    let values: Vec<f64> = match tensor.data_type() {
        data_type::FLOAT => bytes
            .chunks_exact(4)
            .map(|x| f64::from(f32::from_le_bytes(x.try_into().unwrap())))
            .collect(),
        data_type::FLOAT16 => bytes
            .chunks_exact(2)
            .map(|x| f16::from_le_bytes(x.try_into().unwrap()).to_f64())
            .collect(),
        other => panic!("{}: type {other}", tensor.name()),
    };
    assert_eq!(values.len() as i64, tensor.dims.iter().product::<i64>(), "{}", tensor.name());
    values
}

/// Index of PyTorch's `[o, i, y, x]` in a packed tensor.
fn packed_index(layer: Layer, shape: &[usize], [o, i, y, x]: [usize; 4]) -> usize {
    match layer {
        Layer::Stem => ((y * shape[1] + x) * shape[2] + i) * shape[3] + o,
        Layer::Depthwise(_) => (y * shape[1] + x) * shape[2] + o,
        Layer::SeExpand(_) => i * shape[1] + o,
        _ => o * shape[1] + i,
    }
}

#[test]
fn every_weight_is_there_once_in_onnx_s_layout() {
    for (variant, stored) in [
        (Variant::B0, Precision::Fp32),
        (Variant::B0, Precision::Fp16),
        (Variant::Lite0, Precision::Fp32),
    ] {
        let weights = small(variant, Padding::Symmetric, stored);
        let packed = |id: TensorId| -> Vec<f64> {
            match weights.f32(id) {
                Some(values) => values.iter().map(|&x| f64::from(x)).collect(),
                None => weights.f16(id).unwrap().iter().map(|x| x.to_f64()).collect(),
            }
        };
        for options in forms() {
            let graph = graph(&weights, &options);
            let mut exported: HashMap<_, _> =
                graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect();
            let folded = options.batch_norm == BatchNorm::Folded;
            for (index, tensor) in weights.tensors().iter().enumerate() {
                let name = tensor.name();
                let id = TensorId(index as u32);
                if folded && tensor.kind == TensorKind::BnScale {
                    assert!(!exported.contains_key(name.as_str()), "{name} is folded");
                    continue;
                }
                let found = exported.remove(name.as_str()).unwrap_or_else(|| panic!("no {name}"));
                let source = packed(id);
                let dims: Vec<usize> = found.dims.iter().map(|&side| side as usize).collect();
                let round = |x: f64| match found.data_type() {
                    data_type::FLOAT => f64::from(x as f32),
                    _ => f16::from_f64(x).to_f64(),
                };
                let found = values(found);
                if dims.len() < 4 {
                    assert_eq!(dims, tensor.shape, "{name}");
                    assert!(found.iter().zip(&source).all(|(&y, &x)| y == round(x)), "{name}");
                    continue;
                }
                // The scale follows its weights in a packed file.
                let has_scale = weights.tensors()[index + 1].kind == TensorKind::BnScale;
                let scale = (folded && has_scale).then(|| packed(TensorId(index as u32 + 1)));
                for (at, &y) in found.iter().enumerate() {
                    let (rest, x) = (at / dims[3], at % dims[3]);
                    let (rest, row) = (rest / dims[2], rest % dims[2]);
                    let (o, i) = (rest / dims[1], rest % dims[1]);
                    let from = packed_index(tensor.layer, &tensor.shape, [o, i, row, x]);
                    let factor = scale.as_ref().map_or(1.0, |scale| scale[o]);
                    assert_eq!(y, round(source[from] * factor), "{name} {o} {i} {row} {x}");
                }
            }
            // The rest are the constants of relu6 and of separate batch-norms.
            for (name, tensor) in exported {
                let expected = match name.rsplit_once('.').unwrap() {
                    ("relu6", "min") => 0.0,
                    ("relu6", "max") => 6.0,
                    (_, "mean") if !folded => 0.0,
                    (_, "variance") if !folded => 1.0,
                    _ => panic!("{name} is not expected"),
                };
                assert!(values(tensor).iter().all(|&x| x == expected), "{name}");
            }
        }
    }
}

/// Pads and strides are the plan's, whatever the convention; nodes are called as steps are.
#[test]
fn convolutions_are_those_of_the_plan() {
    for variant in VARIANTS {
        for padding in
            [Padding::Symmetric, Padding::SameDynamic, Padding::SameFrozen(Size::square(97))]
        {
            let weights = small(variant, padding, Precision::Fp32);
            let options = OnnxOptions {
                size: Some(SIZE),
                batch_norm: BatchNorm::Separate,
                ..OnnxOptions::new(Precision::Fp32)
            };
            let graph = graph(&weights, &options);
            let nodes: HashMap<_, _> = graph.node.iter().map(|node| (node.name(), node)).collect();
            let plan_options =
                PlanOptions { batch: 1, size: SIZE, padding, precision: Precision::Fp32 };
            let plan = Plan::new(weights.network(), plan_options).unwrap();
            for step in &plan.steps {
                let name = &step.name;
                let (conv, activation) = match &step.op {
                    Op::Stem { conv, activation, .. } | Op::Depthwise { conv, activation, .. } => {
                        (Some(conv), activation)
                    }
                    Op::Pointwise { activation, .. } => (None, activation),
                    _ => continue,
                };
                let node = nodes[format!("{name}.conv").as_str()];
                let pads = &attribute(node, "pads").ints;
                if let Some(conv) = conv {
                    let side = |x: usize| x as i64;
                    assert_eq!(pads[..2], [side(conv.pad_top), side(conv.pad_left)], "{name}");
                    assert_eq!(attribute(node, "strides").ints, [side(conv.stride); 2], "{name}");
                    if padding == Padding::Symmetric {
                        assert_eq!(pads[2..], [side(conv.k / 2); 2], "{name}");
                    }
                    // The last row and column that are read: the pads decide, and no row is
                    // computed from pads alone.
                    let last = |out: usize| (out - 1) * conv.stride + conv.k;
                    let read = [last(conv.output.h) as i64, last(conv.output.w) as i64];
                    let input = [side(conv.input.h), side(conv.input.w)];
                    for axis in 0..2 {
                        let padded = input[axis] + pads[axis] + pads[2 + axis];
                        let spare = padded - read[axis];
                        assert!((0..side(conv.stride)).contains(&spare), "{name}: {pads:?}");
                    }
                } else {
                    assert_eq!(pads, &[0; 4], "{name}");
                }
                let norm = nodes[format!("{name}.batch_norm").as_str()];
                assert_eq!(attribute(norm, "epsilon").f, Some(0.0), "written, or it is 1e-5");
                let has = |suffix: &str| nodes.contains_key(format!("{name}.{suffix}").as_str());
                assert_eq!(has("swish"), *activation == Activation::Swish, "{name}");
                assert_eq!(has("relu6"), *activation == Activation::Relu6, "{name}");
            }
            let skips = weights.network().blocks.iter().filter(|block| block.skip).count();
            let of = |op: &str| graph.node.iter().filter(|node| node.op_type() == op).count();
            assert_eq!(of("Add"), skips);
            let gates = graph.node.iter().filter(|node| node.name().ends_with(".gated")).count();
            let squeezed = weights.network().blocks.iter().filter(|block| block.c_se.is_some());
            assert_eq!(gates, squeezed.count());
        }
    }
}

#[test]
fn the_file_says_what_it_is() {
    let weights = small(Variant::B0, Padding::SameFrozen(Size { h: 97, w: 99 }), Precision::Fp16);
    let options = OnnxOptions { size: Some(SIZE), ..OnnxOptions::new(Precision::Fp32) };
    let model = model(&weights, &options).unwrap();
    assert_eq!((model.ir_version, model.opset_import[0].version), (Some(8), Some(17)));
    // The versions of the format are those of ONNX's own table of releases.
    for (opset, ir_version) in [(13, 7), (14, 7), (15, 8), (18, 8), (19, 9), (20, 9), (21, 10)] {
        let other = effnet::export::onnx::model(&weights, &OnnxOptions { opset, ..options });
        let other = other.unwrap();
        let found = (other.ir_version, other.opset_import[0].version);
        assert_eq!(found, (Some(ir_version), Some(opset)));
        assert_eq!(other.graph, model.graph, "opset {opset}");
    }
    let properties: HashMap<_, _> =
        model.metadata_props.iter().map(|entry| (entry.key(), entry.value())).collect();
    assert_eq!(properties.len(), model.metadata_props.len());
    for (key, value) in [
        ("effnet.version", env!("CARGO_PKG_VERSION")),
        ("effnet.variant", "b0"),
        ("effnet.family", "timm"),
        ("effnet.activation", "softmax"),
        ("effnet.padding", "same-frozen:97x99"),
        ("effnet.size", "66x96"),
        ("effnet.mean", "0.5,0.5,0.5"),
        ("effnet.std", "0.5,0.5,0.5"),
        ("effnet.interpolation", "pillow-bicubic"),
    ] {
        assert_eq!(properties.get(key), Some(&value), "{key}");
    }
    let recipe = serde_json::from_str(properties["effnet.recipe"]).unwrap();
    assert_eq!(weights.metadata().recipe.with_size(SIZE), recipe);
}

#[test]
fn equal_exports_give_equal_bytes_and_replace_the_file() {
    let weights = small(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
    let options = OnnxOptions::new(Precision::Fp16);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.onnx");
    std::fs::write(&path, "something else").unwrap();
    let written = write(&path, &weights, &options).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes, model_bytes(&weights, &options).unwrap());
    assert_eq!((written.bytes, written.size), (bytes.len() as u64, Size::square(224)));
    let graph = graph(&weights, &options);
    assert_eq!((written.nodes, written.initializers), (graph.node.len(), graph.initializer.len()));
    // Nothing else is left.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }
}

/// Packed weights of which one element is `value`.
fn with_value(path: &Path, layer: Layer, kind: TensorKind, value: f32) -> Weights {
    let metadata = Metadata {
        classes: CLASSES,
        ..metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp32)
    };
    let tensors = packed_tensors(&Network::new(Variant::Lite0, CLASSES));
    let mut data: Vec<Vec<f32>> = tensors.iter().map(|tensor| vec![0.5; tensor.elems()]).collect();
    let index = tensors.iter().position(|t| (t.layer, t.kind) == (layer, kind)).unwrap();
    data[index][3] = value;
    write_packed(path, &metadata, &data).unwrap();
    Weights::open(path).unwrap()
}

#[test]
fn what_cannot_be_exported_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("packed.safetensors");
    let target = folder.path().join("network.onnx");
    let (fp16, fp32) = (OnnxOptions::new(Precision::Fp16), OnnxOptions::new(Precision::Fp32));
    let fails = |weights: &Weights, path: &Path, options: OnnxOptions, parts: &[&str]| {
        let error = write(path, weights, &options).unwrap_err();
        let text = error.to_string();
        parts.iter().for_each(|part| assert!(text.contains(part), "'{part}' not in: {text}"));
        error
    };

    let large = with_value(&packed, Layer::Project(2), TensorKind::BnShift, 70_000.0);
    fails(&large, &target, fp16, &["blocks.2.project.shift", "element 3", "70000", "export fp32"]);
    assert!(!target.exists());
    write(&target, &large, &fp32).unwrap();
    let same = fails(&large, &packed, fp32, &["packed weights", "-o"]);
    assert!(matches!(same, OnnxError::SameFile { .. }));
    Weights::open(&packed).unwrap();

    let endless = with_value(&packed, Layer::Stem, TensorKind::Weight, f32::INFINITY);
    fails(&endless, &target, fp32, &["stem.weight", "inf", "import the checkpoint again"]);

    let good = small(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
    let batch = OnnxOptions { batch: Batch::Static(0), ..fp32 };
    fails(&good, &target, batch, &["batch 0", "1 to 1024"]);
    let size = OnnxOptions { size: Some(Size { h: 5000, w: 8 }), ..fp32 };
    fails(&good, &target, size, &["5000x8"]);
    let reductions = OnnxOptions { reductions: Precision::Fp16, ..fp32 };
    fails(&good, &target, reductions, &["fp16", "expected fp32"]);
    for opset in [12, 22, -1] {
        let options = OnnxOptions { opset, ..fp32 };
        fails(&good, &target, options, &[&format!("opset {opset}: expected 13 to 21")]);
    }
    let nowhere = folder.path().join("no/such/folder/network.onnx");
    fails(&good, &nowhere, fp32, &["network.onnx", "No such file", "existing folder"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// A million classes of a B7, as a file of holes.
#[test]
fn more_than_a_protocol_buffer_holds_is_refused_before_it_is_read() {
    let metadata = Metadata {
        classes: Metadata::MAX_CLASSES,
        ..metadata(Variant::B7, Padding::Symmetric, Precision::Fp32)
    };
    let mut header = serde_json::Map::new();
    let text = serde_json::to_string(&metadata).unwrap();
    header.insert("__metadata__".to_owned(), serde_json::json!({ Metadata::KEY: text }));
    let mut end = 0;
    for tensor in packed_tensors(&Network::new(metadata.variant, metadata.classes)) {
        let start = end;
        end += 4 * tensor.elems();
        let entry = serde_json::json!({
            "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end],
        });
        header.insert(tensor.name(), entry);
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.safetensors");
    let prefix = [&(header.len() as u64).to_le_bytes(), &header[..]].concat();
    std::fs::write(&path, &prefix).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len((prefix.len() + end) as u64).unwrap();

    let weights = Weights::open(&path).unwrap();
    let error = model(&weights, &OnnxOptions::new(Precision::Fp16)).unwrap_err();
    assert!(matches!(error, OnnxError::TooLarge { bytes } if bytes > 5 << 30), "{error}");
}

#[test]
fn the_command_writes_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = Metadata {
        name: "some/net".to_owned(),
        classes: CLASSES,
        ..metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16)
    };
    support::write_random(&folder.path().join("w.safetensors"), &metadata, 1);
    let effnet = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.args(["export", "onnx", "--weights", "w.safetensors"]).args(args);
        let output = command.current_dir(folder.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let json = ["--precision", "fp16", "--dynamic-batch", "--features", "--size", "64", "--json"];
    let (status, stdout, stderr) = effnet(&json);
    assert_eq!((status, stderr.as_str()), (0, ""));
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let path = folder.path().join("some--net.fp16.onnx");
    let bytes = std::fs::read(&path).unwrap();
    let options = OnnxOptions {
        batch: Batch::Dynamic,
        size: Some(Size::square(64)),
        features: true,
        ..OnnxOptions::new(Precision::Fp16)
    };
    let weights = Weights::open(&folder.path().join("w.safetensors")).unwrap();
    assert_eq!(bytes, model_bytes(&weights, &options).unwrap());
    let expected = serde_json::json!({
        "schema": "effnet-export/1",
        "output": "some--net.fp16.onnx",
        "output_bytes": bytes.len(),
        "format": "onnx",
        "opset": 17,
        "variant": "lite0",
        "precision": "fp16",
        "reductions": "fp32",
        "batch_norm": "folded",
        "batch": null,
        "size": {"h": 64, "w": 64},
        "outputs": ["logits", "features"],
        "nodes": report["nodes"],
        "initializers": report["initializers"],
    });
    assert_eq!(report, expected);

    let (status, stdout, _) = effnet(&["--batch", "4", "--batch-norm", "separate", "-o", "b.onnx"]);
    assert_eq!(status, 0);
    for part in ["b.onnx: ", "lite0, fp32, batch-norms separate", "input [4, 3, 224, 224]"] {
        assert!(stdout.contains(part), "'{part}' not in: {stdout}");
    }
    let (status, _, stderr) = effnet(&["--batch", "4", "--dynamic-batch"]);
    assert!(status == 2 && stderr.contains("--dynamic-batch"), "{stderr}");
    let (status, _, stderr) = effnet(&["--reductions", "fp16"]);
    assert!(status == 2 && stderr.contains("expected fp32"), "{stderr}");
    let (status, _, stderr) = effnet(&["--opset", "12"]);
    assert!(status == 2 && stderr.contains("13..=21"), "{stderr}");
    let (status, _, stderr) = effnet(&["-o", "-", "--json"]);
    assert!(status == 2 && stderr.contains("leave --json out"), "{stderr}");
    assert!(!folder.path().join("-").exists());

    // The file on standard output is the file, and nothing else.
    let export = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.arg("export").args(args).current_dir(folder.path()).output().unwrap()
    };
    let output =
        export(&["onnx", "--weights", "w.safetensors", "--size", "64", "--opset", "13", "-o", "-"]);
    let options = OnnxOptions {
        size: Some(Size::square(64)),
        opset: 13,
        ..OnnxOptions::new(Precision::Fp32)
    };
    assert!(output.status.success());
    assert_eq!(output.stdout, model_bytes(&weights, &options).unwrap());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("standard output: ") && stderr.contains("opset 13"), "{stderr}");

    let output = export(&[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("which format? expected `effnet export onnx`"), "{stderr}");
}
