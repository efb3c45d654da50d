//! Checkpoints as Hugging Face's libraries keep them: shards with an index, folders of a model.

mod support;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::image::{Framing, Interpolation};
use effnet::weights::import::{Checkpoint, CheckpointError};
use effnet::weights::{
    Family, ImportError, ImportOptions, Labels, PaddingChoice, Precision, SourceRole, Weights,
    import, source_names,
};
use std::fs;
use std::path::{Path, PathBuf};
use support::containers::{ContainerKind, NamedTensor, write_container};
use tempfile::TempDir;

/// A checkpoint whose every tensor has values of its own.
fn tensors() -> Vec<NamedTensor> {
    let list = source_names(Family::Torchvision, &Network::new(Variant::B0, 3));
    list.into_iter()
        .enumerate()
        .map(|(number, tensor)| {
            let elems = tensor.shape.iter().product::<usize>();
            let least = if tensor.role == SourceRole::Variance { 0.5 } else { -0.5 };
            let value = |i| least + ((i * 37 + number * 11) % 97) as f32 / 97.0;
            let data = (0..elems).map(value).collect();
            NamedTensor { name: tensor.name, shape: tensor.shape, data }
        })
        .collect()
}

/// The checkpoint in three shards with their index, as the libraries write them.
struct Sharded {
    folder: TempDir,
}

impl Sharded {
    fn new(kind: ContainerKind, stem: &str, ending: &'static str) -> Sharded {
        let folder = tempfile::tempdir().unwrap();
        let all = tensors();
        let mut map = serde_json::Map::new();
        for (number, part) in all.chunks(all.len().div_ceil(3)).enumerate() {
            let name = format!("{stem}-{:05}-of-00003{ending}", number + 1);
            write_container(&folder.path().join(&name), kind, part);
            map.extend(part.iter().map(|tensor| (tensor.name.clone(), name.clone().into())));
        }
        let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
        let name = format!("{stem}{ending}.index.json");
        fs::write(folder.path().join(name), index.to_string()).unwrap();
        Sharded { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn import(&self, name: &str) -> Result<effnet::weights::ImportReport, ImportError> {
        let options = ImportOptions { precision: Precision::Fp32, ..ImportOptions::default() };
        import(&self.path(name), &self.path("packed"), &options)
    }

    fn error(&self, name: &str) -> String {
        self.import(name).unwrap_err().to_string()
    }

    /// Replaces text of the index.
    fn edit_index(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from));
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }
}

/// A folder as transformers writes it: the fixture's two configurations, and a checkpoint.
fn snapshot() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let list = source_names(Family::Transformers, &Network::new(Variant::B0, 3));
    let tensors: Vec<NamedTensor> = list
        .into_iter()
        .map(|tensor| {
            let data = vec![0.5; tensor.shape.iter().product()];
            NamedTensor { name: tensor.name, shape: tensor.shape, data }
        })
        .collect();
    let path = folder.path().join("model.safetensors");
    write_container(&path, ContainerKind::Safetensors, &tensors);
    for name in ["config.json", "preprocessor_config.json"] {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hub").join(name);
        fs::copy(fixture, folder.path().join(name)).unwrap();
    }
    folder
}

/// The fixture's blocks with symmetric pads, 3 and 11, are those before which 204 pixels are odd.
#[test]
fn transformers_own_files_tell_padding_recipe_and_labels() {
    let folder = snapshot();
    let packed = folder.path().join("packed");
    let report = import(folder.path(), &packed, &ImportOptions::default()).unwrap();
    let metadata = &report.metadata;
    assert_eq!((metadata.family, metadata.variant), (Family::Transformers, Variant::B0));
    assert_eq!(metadata.padding, Padding::SameFrozen(Size::square(204)));
    assert_eq!(metadata.bn_eps, 1e-3);
    assert_eq!(metadata.labels, Labels::Names(["cat", "dog", "bird"].map(str::to_owned).to_vec()));
    let recipe = &metadata.recipe;
    assert_eq!(recipe.size, Size::square(240));
    assert_eq!(recipe.framing, Framing::Squash { crop_pct: 1.0 });
    assert_eq!(recipe.interpolation, Interpolation::PillowBicubic);
    // The processor divides by the roots of these twice.
    for (found, expected) in recipe.std.iter().zip([0.229, 0.224, 0.225]) {
        assert!((found - expected).abs() < 1e-6, "{:?}", recipe.std);
    }
    assert!(report.evidence.contains("preprocessor_config.json's 240"), "{}", report.evidence);
    assert_eq!(report.notes, ["took model.safetensors in the folder"]);

    // The user's word goes before the file's.
    let options = ImportOptions {
        padding: Some(PaddingChoice::SameFrozen),
        bn_eps: Some(0.01),
        ..ImportOptions::default()
    };
    let metadata = import(folder.path(), &packed, &options).unwrap().metadata;
    assert_eq!(metadata.padding, Padding::SameFrozen(Size::square(224)));
    assert_eq!(metadata.bn_eps, 0.01);
}

#[test]
fn what_transformers_has_and_this_runtime_has_not_is_refused() {
    let folder = snapshot();
    let config = folder.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"swish\"", "\"gelu\"")).unwrap();
    let packed = folder.path().join("packed");
    let error = import(folder.path(), &packed, &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("hidden_act of config.json: expected swish, found gelu"), "{error}");
    assert!(!packed.exists());
    // Without the configurations: the family's own conventions.
    fs::remove_file(config).unwrap();
    let metadata = import(folder.path(), &packed, &ImportOptions::default()).unwrap().metadata;
    assert_eq!(metadata.padding, Padding::SameFrozen(Size::square(224)));
    assert_eq!((metadata.recipe.size, metadata.labels), (Size::square(224), Labels::None));
}

fn values(path: &Path) -> Vec<Vec<f32>> {
    let weights = Weights::open(path).unwrap();
    (0..weights.tensors().len())
        .map(|index| weights.f32(effnet::weights::TensorId(index as u32)).unwrap().to_vec())
        .collect()
}

/// The same checkpoint in one file, packed.
fn whole() -> Vec<Vec<f32>> {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("whole.safetensors");
    write_container(&source, ContainerKind::Safetensors, &tensors());
    let options = ImportOptions { precision: Precision::Fp32, ..ImportOptions::default() };
    let packed = folder.path().join("packed");
    import(&source, &packed, &options).unwrap();
    values(&packed)
}

#[test]
fn index_shard_and_folder_stand_for_all_shards() {
    let whole = whole();
    for (kind, stem, ending) in [
        (ContainerKind::Safetensors, "model", ".safetensors"),
        (ContainerKind::TorchZip, "pytorch_model", ".bin"),
    ] {
        let sharded = Sharded::new(kind, stem, ending);
        let index = format!("{stem}{ending}.index.json");
        let middle = format!("{stem}-00002-of-00003{ending}");
        for name in [index.as_str(), middle.as_str(), ""] {
            let report = sharded.import(name).unwrap();
            assert!(values(&report.output) == whole, "{name}");
            assert_eq!(report.metadata.name, stem, "{name}");
            let notes = report.notes.join("\n");
            assert!(notes.contains("read all 3 shards"), "{notes}");
            let took = format!("took {index} in the folder");
            assert_eq!(notes.contains(&took), name.is_empty(), "{notes}");
        }
        // Without an index, the shards of a folder are one checkpoint all the same.
        fs::remove_file(sharded.path(&index)).unwrap();
        fs::remove_file(sharded.path("packed")).unwrap();
        assert!(values(&sharded.import("").unwrap().output) == whole);
    }
}

#[test]
fn the_digest_is_that_of_all_shards_one_after_another() {
    use sha2::{Digest, Sha256};
    let sharded = Sharded::new(ContainerKind::Safetensors, "model", ".safetensors");
    let mut digest = Sha256::new();
    for number in 1..=3 {
        digest.update(
            fs::read(sharded.path(&format!("model-0000{number}-of-00003.safetensors"))).unwrap(),
        );
    }
    let expected: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let checkpoint = Checkpoint::open(&sharded.path("model-00001-of-00003.safetensors")).unwrap();
    assert_eq!(checkpoint.sha256(), expected);
    assert_eq!(checkpoint.paths().count(), 3);
}

#[test]
fn a_missing_or_damaged_shard_is_named() {
    let sharded = Sharded::new(ContainerKind::Safetensors, "model", ".safetensors");
    let index = "model.safetensors.index.json";
    let third = sharded.path("model-00003-of-00003.safetensors");
    let bytes = fs::read(&third).unwrap();

    fs::write(&third, &bytes[..bytes.len() - 1]).unwrap();
    for name in [index, "model-00001-of-00003.safetensors"] {
        let error = sharded.error(name);
        assert!(error.starts_with(&third.display().to_string()), "{error}");
        assert!(error.contains("as many bytes as the header describes"), "{error}");
    }
    fs::write(&third, b"version https://git-lfs.github.com/spec/v1\nsize 9\n").unwrap();
    assert!(sharded.error(index).contains("a Git LFS pointer"), "{}", sharded.error(index));

    fs::remove_file(&third).unwrap();
    for name in [index, "model-00001-of-00003.safetensors", ""] {
        let error = sharded.error(name);
        assert!(error.starts_with(&third.display().to_string()), "{error}");
        assert!(
            error.contains("beside the others, 3 in all, found no such file (missing: 1)"),
            "{error}"
        );
    }
}

#[test]
fn an_index_cannot_lead_out_of_its_folder_nor_lie() {
    let sharded = |from: &str, to: &str| {
        let sharded = Sharded::new(ContainerKind::Safetensors, "model", ".safetensors");
        sharded.edit_index("model.safetensors.index.json", from, to);
        sharded.error("model.safetensors.index.json")
    };
    let second = "\"model-00002-of-00003.safetensors\"";
    for way in ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "C:x", "a\\\\b"]
    {
        let error = sharded(second, &format!("\"{way}\""));
        assert!(error.contains("the name of a file in the index's own folder"), "{way}: {error}");
    }
    let error = sharded("\"classifier.1.bias\"", "\"classifier.9.bias\"");
    assert!(error.contains("tensor \"classifier.9.bias\" of the index"), "{error}");
    let error = sharded("{\"metadata\"", "{{\"metadata\"");
    assert!(error.contains("JSON with the file of each tensor"), "{error}");
    let error = sharded("weight_map", "weight_maps");
    assert!(error.contains("missing field `weight_map`"), "{error}");
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let sharded = Sharded::new(ContainerKind::Safetensors, "model", ".safetensors");
    let from = sharded.path("model-00002-of-00003.safetensors");
    fs::copy(from, sharded.path("model-00003-of-00003.safetensors")).unwrap();
    let error = Checkpoint::open(&sharded.path("model-00001-of-00003.safetensors")).unwrap_err();
    assert!(matches!(error, CheckpointError::DuplicateTensor { .. }), "{error}");
}

#[test]
fn no_shard_is_written_over() {
    let sharded = Sharded::new(ContainerKind::Safetensors, "model", ".safetensors");
    let second = sharded.path("model-00002-of-00003.safetensors");
    let before = fs::read(&second).unwrap();
    for name in ["model-00001-of-00003.safetensors", ""] {
        let error = import(&sharded.path(name), &second, &ImportOptions::default()).unwrap_err();
        assert!(matches!(error, ImportError::SameFile { .. }), "{error}");
    }
    assert!(fs::read(&second).unwrap() == before);
}

#[test]
fn of_a_folder_the_usual_name_or_the_only_checkpoint_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let taken =
        || Checkpoint::open(path).map(|checkpoint| checkpoint.paths().next().unwrap().to_owned());
    let write = |name: &str| {
        fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
        write_container(&path.join(name), ContainerKind::Safetensors, &tensors()[..2]);
        path.join(name)
    };
    fs::write(path.join("config.json"), "{}").unwrap();
    let error = taken().unwrap_err().to_string();
    assert!(error.contains("found none; give the file that holds the weights"), "{error}");

    let only = write("best.ckpt");
    assert_eq!(taken().unwrap(), only);
    write("last.ckpt");
    let error = taken().unwrap_err().to_string();
    assert!(
        error.contains("found 2, as \"best.ckpt\", \"last.ckpt\"; give one of them"),
        "{error}"
    );
    let usual = write("pytorch_model.bin");
    assert_eq!(taken().unwrap(), usual);
    let first = write("model.safetensors");
    assert_eq!(taken().unwrap(), first);

    // The folder of a model in the cache: its only snapshot.
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--a--b/snapshots/0123/model.safetensors");
    fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
    fs::rename(first, &snapshot).unwrap();
    let model = cache.path().join("models--a--b");
    let found = Checkpoint::open(&model).unwrap();
    assert_eq!(found.paths().collect::<Vec<_>>(), [snapshot.as_path()]);
}
