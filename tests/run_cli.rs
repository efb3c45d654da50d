//! `effnet run`: logits and features of ready tensors are the library's, to the last bit.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::image::normalise_pixels;
use effnet::session::{Session, SessionOptions};
use effnet::weights::import::Checkpoint;
use effnet::weights::{Metadata, Precision, Weights};
use half::f16;
use safetensors::tensor::TensorView;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const CLASSES: usize = 11;
const SIZE: Size = Size { h: 40, w: 48 };
const N: usize = 3;
const ELEMS: usize = SIZE.h * SIZE.w * 3;

/// A folder with packed weights, `w.safetensors`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let metadata = Metadata {
        classes: CLASSES,
        ..support::metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16)
    };
    support::write_random(&folder.path().join("w.safetensors"), &metadata, 1);
    folder
}

fn effnet(folder: &Path, args: &[&str], stdin: &[u8]) -> (i32, Vec<u8>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_effnet"))
        .args(["run", "--weights", "w.safetensors", "--device", "cpu"])
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().unwrap();
    (code, output.stdout, String::from_utf8(output.stderr).unwrap())
}

/// Logits and features of images, `[n, h, w, 3]`, one at a time.
fn reference(folder: &Path, input: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let weights = Arc::new(Weights::open(&folder.join("w.safetensors")).unwrap());
    let options = SessionOptions { size: Some(SIZE), ..SessionOptions::default() };
    let mut session = Session::new(weights, options).unwrap();
    let (mut logits, mut features) = (vec![], vec![]);
    for image in input.chunks(ELEMS) {
        let outputs = session.run(image).unwrap();
        logits.extend_from_slice(outputs.logits(0));
        features.extend_from_slice(outputs.features(0));
    }
    (logits, features)
}

/// An array of an output file, and its shape.
fn array(bytes: Vec<u8>) -> (Vec<f32>, Vec<usize>) {
    let file = Checkpoint::from_bytes(bytes).unwrap();
    (file.read_f32("arr_0").unwrap(), file.tensors()["arr_0"].shape.clone())
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn pixels() -> Vec<u8> {
    (0..N * ELEMS).map(|i| (i * 31 + i / 97) as u8).collect()
}

fn floats() -> Vec<f32> {
    // Exact in f16 too.
    pixels().iter().map(|&pixel| f32::from(pixel) / 64.0 - 2.0).collect()
}

fn nchw<T: Copy>(values: &[T]) -> Vec<T> {
    let pixels = SIZE.pixels();
    let image = |image: &[T]| -> Vec<T> {
        (0..3)
            .flat_map(|c| (0..pixels).map(move |p| (c, p)))
            .map(|(c, p)| image[p * 3 + c])
            .collect()
    };
    values.chunks(ELEMS).flat_map(image).collect()
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(dict.len() as u16).to_le_bytes());
    bytes.extend_from_slice(dict.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn safetensors(name: &str, dtype: safetensors::Dtype, shape: &[usize], data: &[u8]) -> Vec<u8> {
    let view = TensorView::new(dtype, shape.to_vec(), data).unwrap();
    safetensors::serialize([(name, view)], None).unwrap()
}

#[test]
fn every_kind_of_tensor_gives_the_library_s_logits() {
    let folder = folder();
    let weights = Weights::open(&folder.path().join("w.safetensors")).unwrap();
    let normalised = normalise_pixels(&pixels(), &weights.metadata().recipe).unwrap();
    let halves: Vec<u8> =
        floats().iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
    let (h, w) = (SIZE.h, SIZE.w);
    let nhwc = format!("({N}, {h}, {w}, 3)");
    let shape = [N, 3, h, w];
    let (of_floats, of_pixels) =
        (reference(folder.path(), &floats()), reference(folder.path(), &normalised));
    let size = format!("{SIZE}");
    let raw = |kind: &'static str| ["--raw", kind, "--size", &size].map(str::to_owned).to_vec();
    let plain = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
    let cases = [
        ("x.npy", npy("<f4", "False", &nhwc, &le(&floats())), plain(&[]), &of_floats),
        ("x.npy", npy("|u1", "False", &nhwc, &pixels()), plain(&["--batch", "2"]), &of_pixels),
        (
            "x.st",
            safetensors("image", safetensors::Dtype::F16, &[N, h, w, 3], &halves),
            plain(&["--tensor", "image"]),
            &of_floats,
        ),
        (
            "x.st",
            safetensors("image", safetensors::Dtype::F32, &shape, &le(&nchw(&floats()))),
            plain(&["--layout", "nchw"]),
            &of_floats,
        ),
        (
            "x.st",
            safetensors("image", safetensors::Dtype::U8, &shape, &nchw(&pixels())),
            plain(&["--layout", "nchw"]),
            &of_pixels,
        ),
        ("x.bin", le(&floats()), raw("f32"), &of_floats),
        ("x.bin", halves.clone(), raw("f16"), &of_floats),
        ("x.bin", pixels(), raw("u8"), &of_pixels),
    ];
    for (name, bytes, args, (logits, features)) in cases {
        std::fs::write(folder.path().join(name), &bytes).unwrap();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (status, stdout, stderr) = effnet(
            folder.path(),
            &[&[name, "-o", "l.npy", "--features", "f.npy"], &args[..]].concat(),
            &[],
        );
        assert_eq!(status, 0, "{name} {args:?}: {stderr}");
        let stdout = String::from_utf8(stdout).unwrap();
        assert!(stdout.contains("l.npy: f32 [3, 11]"), "{stdout}");
        let read = |name: &str| array(std::fs::read(folder.path().join(name)).unwrap());
        let (found, shape) = read("l.npy");
        assert_eq!((bits(&found), shape), (bits(logits), vec![N, CLASSES]), "{name} {args:?}");
        let (found, shape) = read("f.npy");
        assert_eq!((bits(&found), shape), (bits(features), vec![N, 1280]), "{name} {args:?}");

        // From a pipe, into a pipe.
        let (status, stdout, stderr) =
            effnet(folder.path(), &[&["-", "-o", "-"], &args[..]].concat(), &bytes);
        assert_eq!(status, 0, "{name} {args:?}: {stderr}");
        assert_eq!(bits(&array(stdout).0), bits(logits));
        assert!(stderr.contains("standard output: f32 [3, 11]"), "{stderr}");
    }
}

#[test]
fn one_image_needs_no_first_axis_and_the_report_is_json() {
    let folder = folder();
    let shape = format!("({}, {}, 3)", SIZE.h, SIZE.w);
    let image = &floats()[..ELEMS];
    std::fs::write(folder.path().join("x.npy"), npy("<f4", "False", &shape, &le(image))).unwrap();
    let (status, stdout, stderr) = effnet(folder.path(), &["x.npy", "--json"], &[]);
    assert_eq!((status, stderr.as_str()), (0, ""));
    let report: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    let expected = serde_json::json!({
        "schema": "effnet-run/1",
        "input": {
            "path": "x.npy", "tensor": "arr_0", "dtype": "f32", "layout": "nhwc",
            "shape": [SIZE.h, SIZE.w, 3],
        },
        "weights": "w.safetensors", "device": "cpu", "compute": "fp32", "batch": 1, "images": 1,
        "size": {"h": SIZE.h, "w": SIZE.w},
        "outputs": [
            {"name": "logits", "path": "logits.npy", "shape": [1, CLASSES], "not_finite": 0},
        ],
    });
    assert_eq!(report, expected);
    let (logits, _) = array(std::fs::read(folder.path().join("logits.npy")).unwrap());
    assert_eq!(bits(&logits), bits(&reference(folder.path(), image).0));
}

#[test]
fn numbers_that_are_none_are_written_and_reported() {
    let folder = folder();
    let mut input = floats();
    input[ELEMS] = f32::NAN;
    let shape = format!("({N}, {}, {}, 3)", SIZE.h, SIZE.w);
    std::fs::write(folder.path().join("x.npy"), npy("<f4", "False", &shape, &le(&input))).unwrap();
    let (status, stdout, stderr) = effnet(folder.path(), &["x.npy", "--json", "--batch", "3"], &[]);
    assert_eq!(status, 0, "{stderr}");
    assert!(stderr.contains("logits: 11 of 33") && stderr.contains("NaN of image 1"), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(report["outputs"][0]["not_finite"], CLASSES);
    let (logits, _) = array(std::fs::read(folder.path().join("logits.npy")).unwrap());
    let (expected, _) = reference(folder.path(), &floats());
    for (image, (found, expected)) in
        logits.chunks(CLASSES).zip(expected.chunks(CLASSES)).enumerate()
    {
        match image {
            1 => assert!(found.iter().all(|logit| logit.is_nan())),
            _ => assert_eq!(bits(found), bits(expected)),
        }
    }
}

#[test]
fn what_is_no_input_is_refused_with_the_reason() {
    let folder = folder();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let (h, w) = (SIZE.h, SIZE.w);
    write("nchw.npy", &npy("<f4", "False", &format!("(3, {h}, {w})"), &le(&floats()[..ELEMS])));
    write("flat.npy", &npy("<f4", "False", &format!("({ELEMS},)"), &le(&floats()[..ELEMS])));
    write("none.npy", &npy("<f4", "False", &format!("(0, {h}, {w}, 3)"), &[]));
    write("short.npy", &npy("<f4", "False", &format!("({h}, {w}, 3)"), &[0; 12]));
    write("int.npy", &npy("<i4", "False", &format!("({h}, {w}, 3)"), &le(&floats()[..ELEMS])));
    write("good.npy", &npy("|u1", "False", &format!("({h}, {w}, 3)"), &pixels()[..ELEMS]));
    write("odd.bin", &[0; 100]);
    write("empty.bin", &[]);
    let two = ["a", "b"].map(|name| {
        (name, TensorView::new(safetensors::Dtype::U8, vec![4], &[1, 2, 3, 4]).unwrap())
    });
    write("two.st", &safetensors::serialize(two, None).unwrap());
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    for (args, parts) in [
        (&["nchw.npy"][..], &["[3, 40, 48]", "give --layout nchw"][..]),
        (&["flat.npy"], &["expected [n, height, width, 3]", "found [5760]"]),
        (&["none.npy"], &["found [0, 40, 48, 3]"]),
        (&["short.npy"], &["5760 elements of f32", "12 bytes"]),
        (&["int.npy"], &["expected f16, bf16, f32 or f64, found i32"]),
        (&["good.npy", "--size", "64"], &["--size is 64x64", "40x48", "not resized"]),
        (&["good.npy", "--tensor", "x"], &["no tensor called 'x'", "arr_0: u8"]),
        (&["good.npy", "-o", "good.npy"], &["this is the input"]),
        (&["good.npy", "-o", "x.npy", "--features", "x.npy"], &["a file each"]),
        (&["good.npy", "--features", "-"], &["name a file"]),
        (&["good.npy", "-o", "-", "--json"], &["leave --json out"]),
        (&["good.npy", "-o", "no/folder/x.npy"], &["no/folder/x.npy: cannot write there"]),
        (&["two.st"], &["which tensor?", "a: u8 [4]", "b: u8 [4]"]),
        (&["odd.bin"], &["odd.bin", "--raw TYPE"]),
        (&["odd.bin", "--raw", "u8"], &["found 100 bytes", "--size"]),
        (&["empty.bin", "--raw", "u8"], &["found 0 bytes"]),
        (&["absent.npy"], &["absent.npy"]),
        (&[".", "--raw", "u8"], &["found a folder"]),
    ] {
        let (status, _, stderr) = effnet(folder.path(), args, &[]);
        assert_eq!(status, 2, "{args:?}: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{args:?}: '{part}' not in: {stderr}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before);
}
