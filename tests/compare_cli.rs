//! `effnet compare` from end to end: this runtime for real, stand-ins for trtexec and Python.
#![cfg(unix)]

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::compare::inputs::random_images;
use effnet::compare::{Job, JobOptions};
use effnet::kernels::Compute;
use effnet::session::Device;
use effnet::weights::{Precision, Weights};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use support::compare::{python, trtexec, write_answers};

const SIZE: Size = Size { h: 32, w: 32 };

/// Packed weights, and the stand-ins' answers to the command's random images, all taken at once.
struct Place {
    folder: tempfile::TempDir,
}

struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new(variant: Variant) -> Place {
        Place::with_batch(variant, 4)
    }

    fn with_batch(variant: Variant, batch: usize) -> Place {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("tiny.safetensors");
        let mut metadata = support::metadata(variant, Padding::SameDynamic, Precision::Fp16);
        (metadata.recipe.size, metadata.classes) = (SIZE, 10);
        support::write_random(&path, &metadata, 3);
        let options = JobOptions {
            batch,
            size: SIZE,
            device: Device::Cpu,
            compute: Compute::Fp32,
            threads: 1,
            dynamic_batch: false,
            starts: 1,
            timeout: Duration::from_secs(1),
        };
        let inputs = random_images(batch, SIZE.pixels() * 3, 1);
        let files = folder.path().join("job");
        fs::create_dir(&files).unwrap();
        let weights = Arc::new(Weights::open(&path).unwrap());
        let job = Job::new(weights, options, &inputs, &files).unwrap();
        let reference = job.reference().unwrap();
        write_answers(&folder.path().join("answers"), &job, &reference);
        let bytes: Vec<u8> = reference.iter().flat_map(|logit| logit.to_le_bytes()).collect();
        fs::write(folder.path().join("logits.f32"), bytes).unwrap();
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.args(["compare", "--weights", "tiny.safetensors", "--threads", "1"]);
        command.args(["--duration", "0.001", "--warm-up", "0", "--starts", "1"]);
        command.args(["--timeout", "60"]).args(args);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("STAND_IN_LOG", self.path("log"));
        command.env("STAND_IN_ANSWERS", self.path("answers"));
        command.env("STAND_IN_LOGITS", self.path("logits.f32"));
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        let common = ["--device", "cpu", "--batch", "4", "--rounds", "2"];
        let output = self.command(&[&common, args].concat()).output().unwrap();
        Ran {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn json(&self, args: &[&str], status: i32) -> Value {
        let ran = self.run(&[args, &["--json"]].concat());
        assert_eq!(ran.status, status, "{}{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

fn text(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn json_has_every_figure_of_every_runtime() {
    let place = Place::new(Variant::B0);
    let [trtexec, python] = [trtexec("10.16"), python("python")].map(text);
    let baselines = "trtexec,onnxruntime,pytorch";
    let args = ["--baselines", baselines, "--trtexec", &trtexec, "--python", &python];
    let report = place.json(&args, 0);
    assert_eq!(report["schema"], "effnet-compare/1");
    assert!(report["environment"]["cpu"]["logical_cores"].is_u64());
    assert_eq!(report["setup"]["variant"], "b0");
    assert_eq!(report["setup"]["batch"], 4);
    assert_eq!(report["setup"]["random_images"], 4);
    assert_eq!(report["setup"]["rounds"], 2);

    let contestants = report["contestants"].as_array().unwrap();
    let names: Vec<&str> = contestants.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["effnet", "trtexec", "onnxruntime", "pytorch"]);
    for contestant in contestants {
        assert_eq!(contestant["status"], "measured", "{contestant}");
        for figure in [
            "/latency_ms/median",
            "/latency_ms/p99",
            "/images_per_s",
            "/start_up_ms",
            "/build_ms",
            "/disk_bytes",
        ] {
            let value = contestant.pointer(figure).and_then(Value::as_f64);
            assert!(value.is_some_and(|x| x > 0.0), "{figure}: {contestant}");
        }
        assert_eq!(contestant["rounds"].as_array().unwrap().len(), 2);
        assert_eq!(contestant["accuracy"]["images"], 4);
        assert_eq!(contestant["accuracy"]["top1_agreement"], 4);
        let difference = contestant["accuracy"]["max_difference_relative"].as_f64().unwrap();
        assert!(difference <= 1e-5, "{contestant}");
        assert!(contestant["gpu_bytes"].is_null());
        if cfg!(target_os = "linux") {
            assert!(contestant["peak_resident_bytes"].as_u64().unwrap() > 0, "{contestant}");
        }
    }
    let [ours, tensorrt, onnxruntime, _] = &contestants[..] else { panic!("{report}") };
    assert!(ours["latency_ratio"].is_null() && ours["device_ms"].is_null());
    assert_eq!(ours["accuracy"]["max_difference"], 0.0);
    assert_eq!(ours["disk_file"], "packed weights");
    assert_eq!(tensorrt["runtime"], "TensorRT 10.16.0, trtexec");
    assert_eq!(tensorrt["device_ms"]["median"], 1.5);
    assert_eq!(tensorrt["images_per_s"], 2600.0);
    assert_eq!(onnxruntime["runtime"], "Stand-In 1.0");
    assert_eq!(onnxruntime["build_ms"], 250.0);
    assert_eq!(onnxruntime["latency_ms"]["median"], 1e7);
    assert!(onnxruntime["latency_ratio"]["min"].as_f64().unwrap() > 1.0);

    let published = &report["published"];
    assert!(published["source"].as_str().unwrap().contains("PaddleClas"));
    let rows = published["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 9);
    assert!(rows.iter().all(|row| row["variant"] == "b0"));
    assert_eq!((&rows[0]["hardware"], &rows[0]["latency_ms"]), (&"V100".into(), &1.96.into()));
}

#[test]
fn text_and_html_show_the_same_and_published_figures_apart() {
    let place = Place::new(Variant::B0Small);
    let [trtexec, python] = [trtexec("11.1"), python("python")].map(text);
    // trtexec takes part because it is named.
    let args = ["--trtexec", &trtexec, "--python", &python, "--html", "report.html"];
    let ran = place.run(&args);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let html = fs::read_to_string(place.path("report.html")).unwrap();
    for part in [
        "random (b0-small), fp32, batch 4, input 32x32, cpu",
        "TensorRT 11.1.0, trtexec",
        "Stand-In 1.0",
        "a note",
        "4/4",
        "1.540",
        "ublished, other hardware",
        "2.39166",
    ] {
        assert!(ran.stdout.contains(part), "no {part} in {}", ran.stdout);
        assert!(html.contains(part), "no {part} in the page");
    }
    assert_eq!(html.matches("<svg").count(), 7);
    for absent in ["<script", "src=", "href=\"http", "url(", "<link"] {
        assert!(!html.contains(absent), "{absent} in the page");
    }
    let (measured, published) = ran.stdout.split_once("published, other hardware").unwrap();
    assert!(!measured.contains("V100") && published.contains("V100"), "{}", ran.stdout);
    // Columns without a value are left out.
    assert!(!measured.contains("GPU memory"), "{measured}");
}

#[test]
fn a_variant_without_published_figures_shows_none() {
    let place = Place::new(Variant::Lite0);
    let missing = ["--baselines", "trtexec", "--trtexec", "/nowhere/trtexec"];
    assert!(!place.run(&missing).stdout.contains("published"));
    assert_eq!(place.json(&missing, 0)["published"]["rows"], Value::Array(Vec::new()));
}

#[test]
fn what_is_missing_is_a_line_that_says_how_to_get_it() {
    let place = Place::new(Variant::Lite0);
    let baselines = "trtexec,onnxruntime,torch-compile";
    let nowhere = ["--trtexec", "/nowhere/trtexec", "--python", "/nowhere/python"];
    let ran = place.run(&[&["--baselines", baselines], &nowhere[..]].concat());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    for line in [
        "trtexec: not here: /nowhere/trtexec: no such file: it comes with TensorRT",
        "onnxruntime: not here: /nowhere/python: ",
        "torch-compile: not here: /nowhere/python: ",
    ] {
        assert!(ran.stdout.contains(line), "no {line} in {}", ran.stdout);
    }

    let python = text(python("python-no-modules"));
    let report = place.json(&["--python", &python], 0);
    let contestants = report["contestants"].as_array().unwrap();
    assert_eq!(contestants.len(), 3);
    for (contestant, command) in contestants[1..].iter().zip([
        "effnet compare --requirements onnxruntime > onnxruntime.txt",
        "effnet compare --requirements pytorch > pytorch.txt",
    ]) {
        assert_eq!(contestant["status"], "missing");
        let how_to_get = contestant["how_to_get"].as_str().unwrap();
        assert!(how_to_get.contains(command) && how_to_get.contains(&python), "{how_to_get}");
    }
}

#[test]
fn what_fails_shows_its_last_lines_and_is_told_by_the_status() {
    let place = Place::new(Variant::Lite0);
    for (name, step, message, last_words) in [
        ("python-import-error", "loading", "ended early", "libcudart.so.13"),
        ("python-no-gpu", "loading", "this torch finds no CUDA GPU", "a library that prints"),
        ("python-ends-early", "timing", "ended early", "Killed by the system"),
    ] {
        let python = text(python(name));
        let report = place.json(&["--baselines", "pytorch", "--python", &python], 1);
        let [ours, failed] = &report["contestants"].as_array().unwrap()[..] else {
            panic!("{report}")
        };
        assert_eq!((&ours["status"], &failed["status"]), (&"measured".into(), &"failed".into()));
        assert!(failed["step"].as_str().unwrap().contains(step), "{failed}");
        assert!(failed["message"].as_str().unwrap().contains(message), "{failed}");
        let lines = failed["last_lines"].as_array().unwrap();
        assert!(lines.iter().any(|l| l.as_str().unwrap().contains(last_words)), "{failed}");
    }
    let trtexec = text(trtexec("build-failure"));
    let ran = place.run(&["--baselines", "trtexec", "--trtexec", &trtexec]);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains("trtexec: failed: building the engine"), "{}", ran.stdout);
    assert!(ran.stdout.contains("  | [11/28/2026-12:00:09] [E] Error[10]"), "{}", ran.stdout);
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    let place = Place::new(Variant::Lite0);
    fs::write(place.path("broken.jpg"), "no picture").unwrap();
    for (args, words) in [
        (&["--baselines", "tensorflow"][..], "expected one of trtexec, onnxruntime"),
        (&["--random", "many"], "expected a whole number"),
        (&["--images", "absent.jpg"], "--images: absent.jpg: no such file"),
        (&["--images", "broken.jpg"], "--images: broken.jpg: "),
        (&["--precision", "fp16"], "the CPU computes in fp32"),
        (&["--requirements", "tensorrt"], "expected onnxruntime or pytorch"),
        (&["--baselines", "trtexec", "--html", "no/such/report.html"], "no/such/report.html"),
    ] {
        let ran = place.run(args);
        assert_eq!(ran.status, 2, "{args:?}: {}", ran.stdout);
        assert!(ran.stderr.contains(words), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn requirements_are_printed_as_pip_reads_them() {
    let place = Place::new(Variant::Lite0);
    let ran = place.run(&["--requirements", "onnxruntime"]);
    assert_eq!(ran.status, 0);
    assert!(ran.stdout.contains("\nonnxruntime=="), "{}", ran.stdout);
}

#[test]
fn the_emulator_is_compared_with_nothing() {
    let place = Place::new(Variant::Lite0);
    let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
    command.args(["compare", "--weights", "tiny.safetensors", "--device", "emulator"]);
    let output = command.current_dir(place.folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--device: the emulator"));
}

/// A folder with CUDA's driver library on the emulator, which is built as an example, and one with
/// an `nvidia-smi` that knows every process.
#[cfg(target_os = "linux")]
fn with_gpu(place: &Place, command: &mut Command) {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let exe = std::env::current_exe().expect("a test has a path");
    let folder = exe.parent().and_then(std::path::Path::parent).expect("target/PROFILE/deps/TEST");
    let library = folder.join("examples/libemulated_driver.so");
    assert!(library.is_file(), "{}: run `cargo build --examples`", library.display());
    let [driver, bin] = ["driver", "bin"].map(|name| place.path(name));
    fs::create_dir(&driver).unwrap();
    fs::create_dir(&bin).unwrap();
    symlink(library, driver.join("libcuda.so")).unwrap();
    let script = "#!/bin/sh\ncase $1 in *compute-apps*) ;; *) exit 1 ;; esac\n\
                  for path in /proc/[0-9]*; do echo \"${path#/proc/}, 512\"; done\n";
    fs::write(bin.join("nvidia-smi"), script).unwrap();
    fs::set_permissions(bin.join("nvidia-smi"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&path)));
    command.env("LD_LIBRARY_PATH", driver).env("PATH", path.unwrap());
}

#[cfg(target_os = "linux")]
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn on_a_gpu_both_have_its_clock_and_its_memory() {
    let place = Place::with_batch(Variant::Lite0, 1);
    let trtexec = text(trtexec("11.1"));
    let mut command = place.command(&[
        "--device",
        "cuda",
        "--precision",
        "fp16",
        "--random",
        "1",
        "--rounds",
        "1",
        "--baselines",
        "trtexec",
        "--trtexec",
        &trtexec,
        "--json",
    ]);
    with_gpu(&place, &mut command);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["setup"]["device"], &report["setup"]["precision"]),
        (&"cuda:0".into(), &"fp16".into())
    );
    let [ours, tensorrt] = &report["contestants"].as_array().unwrap()[..] else {
        panic!("{report}")
    };
    // The emulated driver's events tell 50 us for each of 35 launches, and 4 us for themselves.
    let device_ms = f64::from(35.0f32 * 0.05 + 0.004);
    assert_eq!(ours["device_ms"]["median"], device_ms, "{ours}");
    let ratio = tensorrt["device_ratio"]["median"].as_f64().unwrap();
    assert!((ratio - 1.5 / device_ms).abs() < 1e-9, "{tensorrt}");
    assert_eq!(ours["gpu_bytes"], 512u64 << 20);
    assert_eq!(ours["precision"], "fp16");
    let difference = ours["accuracy"]["max_difference_relative"].as_f64().unwrap();
    assert!(difference > 0.0 && difference < 0.02, "{ours}");
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert!(log.contains("--onnx=model.fp16.onnx") && !log.contains("--fp16"), "{log}");
}
