//! `effnet compare` with the real ONNX Runtime and PyTorch, on the CPU: the drivers' networks are
//! the same networks.
//!
//! These tests need a Python with both, in EFFNET_TEST_PYTHON, and so run only when asked for:
//! `cargo test --test compare_baselines -- --ignored`.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::weights::Precision;
use serde_json::Value;
use std::process::Command;

fn compare(variant: Variant, padding: Padding, args: &[&str]) -> Value {
    let python = std::env::var_os("EFFNET_TEST_PYTHON")
        .expect("EFFNET_TEST_PYTHON: a Python with what `effnet compare --requirements` lists");
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("random.safetensors");
    let mut metadata = support::metadata(variant, padding, Precision::Fp16);
    metadata.recipe.size = Size { h: 96, w: 128 };
    support::write_random(&weights, &metadata, 11);
    let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
    command.args(["compare", "--device", "cpu", "--json", "--weights"]).arg(&weights);
    command.args(["--duration", "0.1", "--warm-up", "0", "--rounds", "1", "--starts", "1"]);
    command.arg("--python").arg(python).args(args);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn assert_same(report: &Value, names: &[&str]) {
    let contestants = report["contestants"].as_array().unwrap();
    let found: Vec<&str> = contestants.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(found, names);
    for contestant in contestants {
        assert_eq!(contestant["status"], "measured", "{contestant}");
        let accuracy = &contestant["accuracy"];
        assert_eq!(accuracy["top1_agreement"], accuracy["images"], "{contestant}");
        // Whole networks in f32: 1e-4 of the largest logit.
        assert!(accuracy["max_difference_relative"].as_f64().unwrap() <= 1e-4, "{contestant}");
    }
}

#[test]
#[ignore = "needs ONNX Runtime and PyTorch in EFFNET_TEST_PYTHON"]
fn every_padding_and_kind_of_network_is_the_same_network() {
    for (variant, padding) in [
        (Variant::B0, Padding::SameDynamic),
        (Variant::B1, Padding::SameFrozen(Size::square(240))),
        (Variant::B0Small, Padding::Symmetric),
        (Variant::Lite0, Padding::SameFrozen(Size::square(224))),
    ] {
        let report = compare(variant, padding, &["--batch", "2"]);
        assert_same(&report, &["effnet", "onnxruntime", "pytorch"]);
    }
}

#[test]
#[ignore = "needs ONNX Runtime and PyTorch in EFFNET_TEST_PYTHON"]
fn an_open_batch_is_the_same_network() {
    let args = ["--dynamic-batch", "--batch", "3", "--baselines", "onnxruntime-cpu"];
    let report = compare(Variant::B0, Padding::Symmetric, &args);
    assert_same(&report, &["effnet", "onnxruntime-cpu"]);
}

#[test]
#[ignore = "needs ONNX Runtime and PyTorch in EFFNET_TEST_PYTHON"]
fn a_provider_that_is_not_there_is_an_error_and_not_the_cpu() {
    let python = std::env::var("EFFNET_TEST_PYTHON").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("random.safetensors");
    let metadata = support::metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
    support::write_random(&weights, &metadata, 11);
    let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
    command.args([
        "compare",
        "--device",
        "cpu",
        "--size",
        "32",
        "--duration",
        "0.001",
        "--weights",
    ]);
    command.arg(weights).args(["--python", &python, "--baselines", "onnxruntime-tensorrt"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("onnxruntime-tensorrt: failed: loading the network"), "{stdout}");
}
