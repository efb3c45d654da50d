//! What becomes of logits: which are refused, and what the program prints of the others.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::pipeline::{ImageFailureKind, Pipeline, PipelineError, PipelineOptions};
use effnet::session::{Session, SessionOptions};
use effnet::weights::{Metadata, OutputActivation, Precision, TensorId, Weights, write_packed};
use serde_json::Value;
use std::path::{Path, PathBuf};
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

fn effnet(args: &[&str]) -> (i32, String, String) {
    support::run(env!("CARGO_BIN_EXE_effnet"), args)
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
    let apart = |c: usize| features[ranked(c)[0]][c] - features[ranked(c)[1]][c];
    let c = (0..features[0].len()).max_by(|&a, &b| apart(a).total_cmp(&apart(b))).unwrap();
    let [first, second, _] = ranked(c);
    // As parts of the largest f32: the logit of `first` is above 1 by half of the distance, that of
    // `second` below 1 by as much.
    let weight = 1.0 / features[first][c].max(1.0);
    let [above, below] = [first, second].map(|image| features[image][c] * weight);
    assert!(above - below > 1e-3, "{above} {below}");
    let bias = 1.0 - (above + below) / 2.0;
    let c_head = features[0].len();
    write(path, &metadata, |weights, biases| {
        let row = &mut weights[2 * c_head..3 * c_head];
        row.fill(0.0);
        row[c] = sign * weight * f32::MAX;
        biases[2] = sign * bias * f32::MAX;
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
                let fault = line["error"].as_str().unwrap();
                assert_eq!(error, format!("error: {}: {fault}", photos[index]));
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

/// Logits of these classes are their biases, whatever the image.
fn constant(path: &Path, activation: Option<OutputActivation>, logits: &[f32]) {
    let metadata = Metadata { activation, ..tiny(logits.len()) };
    write(path, &metadata, |weight, bias| {
        weight.fill(0.0);
        bias.copy_from_slice(logits);
    });
}

#[test]
fn one_output_is_a_sigmoid_s_unless_it_is_said_otherwise() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("one.safetensors");
    // As an earlier version of the program packed it: without the field.
    constant(&path, None, &[-5.0]);
    let bytes = std::fs::read(&path).unwrap();
    let field: &[u8] = b"activation";
    assert!(!bytes.windows(field.len()).any(|window| window == field));

    let photo = photo(PHOTOS[0]);
    let [weights, photo] = [&path, &photo].map(|path| path.to_str().unwrap());
    let classify = |more: &[&str]| {
        let fixed = ["classify", "--device", "cpu", "--weights", weights, photo];
        let (status, stdout, stderr) = effnet(&[&fixed[..], more].concat());
        assert_eq!(status, 0, "{stderr}");
        stdout
    };
    // sigmoid(-5), rounded to f32.
    let sigmoid = 1.0 / (1.0 + 5f64.exp());
    for (more, activation, probability) in [
        (&[][..], "sigmoid", Some(sigmoid)),
        (&["--activation", "sigmoid"], "sigmoid", Some(sigmoid)),
        (&["--activation", "softmax"], "softmax", Some(1.0)),
        (&["--activation", "none"], "none", None),
    ] {
        let lines = json(&classify(&[more, &["--json"]].concat()));
        assert_eq!((lines.len(), &lines[0]["activation"]), (1, &activation.into()));
        let top = lines[0]["top"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["index"], &top[0]["logit"]), (1, &0.into(), &(-5.0).into()));
        match probability {
            Some(expected) => {
                let found = top[0]["probability"].as_f64().unwrap();
                assert!((found - expected).abs() <= expected * 2f64.powi(-24), "{found}");
            }
            None => assert!(top[0].as_object().unwrap()["probability"].is_null()),
        }
        let csv = classify(&[more, &["--csv"]].concat());
        let row = csv.lines().nth(1).unwrap().strip_prefix(photo).unwrap().to_owned();
        let text = classify(more);
        match activation {
            "sigmoid" => assert!(row.starts_with(",1,0,,0.00669285") && text.contains("0.67 %")),
            "softmax" => assert!(row == ",1,0,,1" && text.contains("100.00 %")),
            _ => assert!(row == ",1,0,," && text.contains("-5.000") && !text.contains('%')),
        }
    }
    let (status, _, stderr) = effnet(&["classify", "--activation", "tanh", photo]);
    assert!(status == 2 && stderr.contains("softmax, sigmoid, none"), "{stderr}");

    let (_, info, _) = effnet(&["info", weights]);
    assert!(info.contains("activation sigmoid"), "{info}");
    let (_, info, _) = effnet(&["info", "--json", weights]);
    assert_eq!(json(&info)[0]["activation"], "sigmoid", "{info}");
}

#[test]
fn several_labels_have_probabilities_of_their_own() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("labels.safetensors");
    constant(&path, Some(OutputActivation::Sigmoid), &[30.0, 0.0, 31.0, -2.0]);
    let metadata = Weights::open(&path).unwrap().metadata().clone();
    assert_eq!(metadata.activation, Some(OutputActivation::Sigmoid));

    let mut pipeline = pipeline(&path);
    assert_eq!(pipeline.session().activation(), OutputActivation::Sigmoid);
    let mut found = pipeline.classify([photo(PHOTOS[1])], 3).unwrap();
    let top = found.next().unwrap().unwrap().output;
    // The sigmoids of 30 and 31 are both 1 in f32: the logits tell which is better.
    let top: Vec<_> = top.into_iter().map(|p| (p.class, p.probability)).collect();
    assert_eq!(top, [(2, Some(1.0)), (0, Some(1.0)), (1, Some(0.5))]);

    let (_, info, _) = effnet(&["info", path.to_str().unwrap()]);
    assert!(info.contains("activation sigmoid"), "{info}");
}
