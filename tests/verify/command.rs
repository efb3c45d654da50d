//! The command: its table, its JSON, its exit status.

use super::*;

fn effnet(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_effnet"))
        .arg("verify")
        .args(args)
        // A driver of the machine's, or none: neither matters here.
        .env("LD_LIBRARY_PATH", "/nowhere")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn ended(output: &Output, status: i32) -> (String, String) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{out}\n{err}");
    assert!(!err.contains("panicked"), "{err}");
    (out, err)
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn the_command_says_what_was_verified() {
    let (out, err) = ended(&effnet(&["lite0", "--device", "emulator", "--size", "32"]), 0);
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    for part in ["stem", "block 0", "block 15", "head", "logits"] {
        assert!(out.lines().any(|line| line.starts_with(part)), "{part}: {out}");
    }
    let last = out.lines().last().unwrap();
    assert!(last.starts_with("verified: lite0"), "{last}");
    assert!(
        last.contains("emulator") && last.contains("no GPU") && last.contains("fp16"),
        "{last}"
    );
    assert!(out.starts_with("lite0, fused, fp16, 32x32: seeded stand-in weights"), "{out}");
    assert!(err.contains("emulator"), "{err}");

    // Of an image, where there is no GPU, at the size that takes seconds.
    let photo = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/photos/rocket.jpg");
    let (out, err) = ended(&effnet(&["b0", "--precision", "fp32", "--image", photo]), 0);
    assert!(out.lines().last().unwrap().starts_with("verified: b0, fused, fp32, 64x64"), "{out}");
    assert!(err.contains("no GPU") && err.contains("--size 224x224"), "{err}");
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let (_, err) = ended(&effnet(&["b0", "--image", text]), 2);
    let reason = err.split_once("README.md: ").map_or("", |(_, reason)| reason.trim());
    assert!(err.contains("--image: ") && reason.len() > 10, "{err}");
    let (_, err) = ended(&effnet(&["b0", "--image", "nowhere.jpg"]), 2);
    assert!(err.contains("nowhere.jpg"), "{err}");
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn json_has_every_launch() {
    let args = ["b0", "--device", "emulator", "--size", "32", "--path", "layerwise", "--json"];
    let (out, _) = ended(&effnet(&args), 0);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["schema"], "effnet-verify/1");
    assert_eq!((&report["variant"], &report["path"]), (&"b0".into(), &"layerwise".into()));
    assert_eq!((&report["device"], &report["precision"]), (&"emulator".into(), &"fp16".into()));
    assert_eq!((&report["size"]["h"], &report["fault"]), (&32.into(), &Value::Null));
    let checks = report["checks"].as_array().unwrap();
    let network = Network::new(Variant::B0, 1000);
    let options = PlanOptions {
        batch: 1,
        size: Size::square(32),
        padding: Padding::SameDynamic,
        precision: Precision::Fp16,
    };
    let plan = Plan::new(&network, options).unwrap();
    let options = LaunchOptions { top_k: 5, ..LaunchOptions::new(Path::Layerwise, Compute::Fp16) };
    let launches = LaunchPlan::new(&plan, options).unwrap().launches(1).unwrap();
    assert!(
        checks.iter().map(|check| &check["launch"]).eq(launches.iter().map(|l| l.name.as_str()))
    );
    assert!(
        checks.iter().map(|check| &check["kernel"]).eq(launches.iter().map(|l| l.kernel.symbol()))
    );
    for check in checks {
        let worst = &check["worst"];
        assert!(worst["ratio"].as_f64().unwrap() <= 1.0 && worst["index"].is_array(), "{check}");
    }
    assert!(
        report["logits"]["difference"].as_f64().unwrap()
            <= report["logits"]["bound"].as_f64().unwrap()
    );
    assert!(report["verified"].as_str().unwrap().contains("no GPU"));
}

/// Weights whose stem is too large for f16: the first wrong layer, exit status 1.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_network_that_overflows_is_off_at_the_layer_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    let metadata = metadata(Variant::B0, Padding::SameDynamic, Precision::Fp16);
    let network = Network::new(Variant::B0, metadata.classes);
    let mut random = Random::new(4);
    let data = packed_tensors(&network).into_iter().map(|tensor| {
        let scale = if tensor.name() == "stem.scale" { 1e7 } else { 0.1 };
        random.vector(tensor.elems()).into_iter().map(|x| scale * x).collect()
    });
    write_packed(&path, &metadata, &data.collect::<Vec<Vec<f32>>>()).unwrap();
    let path = path.to_str().unwrap();
    let args = ["--weights", path, "--device", "emulator", "--size", "32"];
    let (out, _) = ended(&effnet(&args), 1);
    assert!(out.contains("stem is off: kernel effnet_stem_f32_f16"), "{out}");
    assert!(out.contains("found     inf"), "{out}");
    assert!(!out.contains("verified:"), "{out}");
    let (out, _) = ended(&effnet(&[&args[..], &["--json"]].concat()), 1);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["fault"]["kind"], &report["fault"]["launch"]),
        (&"value".into(), &"stem".into())
    );
    assert_eq!(report["fault"]["element"]["found"], "inf");
    assert_eq!(report["verified"], Value::Null);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn what_cannot_be_run_is_said() {
    let (_, err) = ended(&effnet(&["b0", "--device", "cpu"]), 2);
    assert!(err.contains("CPU") && err.contains("launches"), "{err}");
    let (_, err) = ended(&effnet(&["b0", "--device", "cuda"]), 2);
    assert!(err.contains("driver"), "{err}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.safetensors");
    let metadata = metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp32);
    write_random(&path, &metadata, 1);
    // Bytes of all ones are NaN. The file ends with the classifier's bias.
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len() - 12;
    bytes[end..end + 4].fill(0xff);
    std::fs::write(&path, bytes).unwrap();
    let args = ["--weights", path.to_str().unwrap(), "--device", "emulator", "--size", "32"];
    let (_, err) = ended(&effnet(&args), 2);
    assert!(err.contains("NaN") && err.contains("tensor "), "{err}");
}

/// Without kernels there is nothing to verify.
#[test]
#[cfg_attr(kernels, ignore = "this build has kernels")]
fn a_build_without_kernels_says_so() {
    let (_, err) = ended(&effnet(&["b0"]), 2);
    assert!(err.contains("built without GPU kernels"), "{err}");
}
