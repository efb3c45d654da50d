//! What becomes of logits: which are refused, and what the program prints of the others.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::pipeline::{ImageFailureKind, Pipeline, PipelineError, PipelineOptions};
use effnet::session::{Session, SessionOptions};
use effnet::weights::{Metadata, Precision, TensorId, Weights, write_packed};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use support::{metadata, write_random};
use tempfile::TempDir;

const PHOTOS: [&str; 3] = ["chelsea.jpg", "coffee.jpg", "rocket.jpg"];

fn photo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/photos").join(name)
}

/// Lite0 for pictures of 32x32 pixels.
fn tiny(classes: usize) -> Metadata {
    let mut tiny = metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp32);
    tiny.recipe.size = Size::square(32);
    tiny.classes = classes;
    tiny
}

/// Random weights, of which `change` changes the classifier's, `[classes, c_head]` and `[classes]`.
fn write(path: &Path, metadata: &Metadata, change: impl FnOnce(&mut [f32], &mut [f32])) {
    write_random(path, metadata, 1);
    let weights = Weights::open(path).unwrap();
    let tensors = weights.tensors().len();
    let mut data: Vec<Vec<f32>> =
        (0..tensors).map(|id| weights.f32(TensorId(id as u32)).unwrap().to_vec()).collect();
    let [.., weight, bias] = &mut data[..] else { panic!("{tensors} tensors") };
    change(weight, bias);
    write_packed(path, metadata, &data).unwrap();
}

fn pipeline(path: &Path) -> Pipeline {
    let weights = Arc::new(Weights::open(path).unwrap());
    let session = Session::new(weights, SessionOptions { batch: 2, ..Default::default() }).unwrap();
    Pipeline::new(session, PipelineOptions::default()).unwrap()
}

/// Exit status, standard output, standard error.
fn effnet(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_effnet"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Weights whose third class has a logit beyond f32 for the photograph that has most of some
/// feature, and for no other. Gives the photograph's place, too.
fn overflowing(path: &Path, sign: f32) -> usize {
    let metadata = tiny(4);
    write(path, &metadata, |_, _| {});
    let features: Vec<Vec<f32>> = pipeline(path)
        .map(PHOTOS.map(photo), |outputs, image| outputs.features(image).to_vec())
        .unwrap()
        .map(|result| result.unwrap().output)
        .collect();
    // The feature by which the largest photograph is furthest from the second.
    let ranked = |c: usize| {
        let mut order = [0, 1, 2];
        order.sort_by(|&a, &b| features[b][c].total_cmp(&features[a][c]));
        order
    };
    let apart = |c: usize| features[ranked(c)[0]][c] / features[ranked(c)[1]][c].max(1e-3);
    let c = (0..features[0].len()).max_by(|&a, &b| apart(a).total_cmp(&apart(b))).unwrap();
    assert!(apart(c) > 1.5, "{}", apart(c));
    let [first, second, _] = ranked(c);
    let middle = (features[first][c] * features[second][c].max(1e-3)).sqrt();
    // The logit of `first` is middle / second > 1 times the largest f32, those of the others less.
    let huge = f32::MAX / middle;
    assert!(huge.is_finite(), "a weight that an import would take");
    let c_head = features[0].len();
    write(path, &metadata, |weight, _| {
        let row = &mut weight[2 * c_head..3 * c_head];
        row.fill(0.0);
        row[c] = sign * huge;
    });
    first
}

#[test]
fn an_image_whose_logits_overflow_fails_alone() {
    for (sign, value) in [(1.0, "inf"), (-1.0, "-inf")] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("overflows.safetensors");
        let overflows = overflowing(&path, sign);

        let found: Vec<_> = pipeline(&path).classify(PHOTOS.map(photo), 2).unwrap().collect();
        assert_eq!(found.len(), 3);
        for (index, result) in found.into_iter().enumerate() {
            match result {
                Ok(image) => assert!(index != overflows && image.output.len() == 2),
                Err(PipelineError::Image(failure)) => {
                    assert_eq!((failure.index, index), (overflows, overflows));
                    let ImageFailureKind::NonFinite(fault) = failure.kind else {
                        panic!("{failure}")
                    };
                    assert_eq!((fault.count, fault.classes, fault.class), (1, 4, 2));
                    assert_eq!(fault.value, sign * f32::INFINITY);
                }
                Err(error) => panic!("{error}"),
            }
        }

        let weights = path.to_str().unwrap();
        let photos = PHOTOS.map(|name| photo(name).to_str().unwrap().to_owned());
        let classify = |format: &[&str]| {
            let fixed = ["classify", "--device", "cpu", "--topk", "2", "--weights", weights];
            let images = photos.each_ref().map(String::as_str);
            let (status, stdout, stderr) = effnet(&[&fixed[..], format, &images[..]].concat());
            assert_eq!(status, 1, "{stderr}");
            let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap().to_owned();
            for part in [
                &photos[overflows],
                &format!("found 1 of 4 that are not, the first ({value}) of class 2"),
                "fp32",
            ] {
                assert!(error.contains(part), "{part}: {error}");
            }
            (stdout, error)
        };
        let (stdout, error) = classify(&["--json"]);
        assert!(!stdout.contains("\"logit\":null"), "{stdout}");
        let lines = json(&stdout);
        assert_eq!(lines.len(), 3);
        for (index, line) in lines.iter().enumerate() {
            assert_eq!(line["path"], photos[index]);
            let top = line["top"].as_array().unwrap();
            if index == overflows {
                assert_eq!(error, format!("error: {}", line["error"].as_str().unwrap()));
                assert!(top.is_empty());
            } else {
                assert!(line["error"].is_null() && top.len() == 2, "{line}");
                assert!(top.iter().all(|class| class["logit"].is_f64()), "{line}");
            }
        }
        let (stdout, _) = classify(&["--csv"]);
        assert_eq!(stdout.lines().count(), 1 + 2 * 2, "{stdout}");
        assert!(!stdout.contains(&photos[overflows]), "{stdout}");
        let (stdout, _) = classify(&[]);
        assert!(!stdout.contains(&photos[overflows]) && !stdout.contains("inf"), "{stdout}");

        let list = folder.path().join("list.csv");
        let lines = photos.iter().map(|path| format!("{path},0\n"));
        std::fs::write(&list, lines.collect::<String>()).unwrap();
        let list = list.to_str().unwrap();
        let args = ["eval", list, "--device", "cpu", "--weights", weights];
        let (status, stdout, stderr) = effnet(&[&args[..], &["--json"]].concat());
        let report = &json(&stdout)[0];
        assert_eq!((status, &report["images"], &report["failed"]), (1, &3.into(), &1.into()));
        assert!(stderr.contains(&photos[overflows]) && stderr.contains("class 2"), "{stderr}");
        let (status, stdout, _) = effnet(&args);
        assert!(status == 1 && stdout.contains("failed   1 image"), "{stdout}");
    }
}
