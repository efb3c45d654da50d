//! `effnet bench`: its measurements, output, files and comparisons; on the CPU, and on a driver
//! library whose GPU is the PTX emulator (`tests/emulated_driver/`), whose events tell one
//! millisecond between any two.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::weights::Precision;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Short runs.
const SHORT: [&str; 6] = ["--duration", "0.001", "--warm-up", "0", "--iterations", "3"];

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.current_dir(self.folder.path()).arg("bench").args(args).args(SHORT);
        command.env_remove("EFFNET_WEIGHTS_DIR").env("EFFNET_CACHE", self.path("cache"));
        // No GPU and no driver but those of a test.
        command.env("LD_LIBRARY_PATH", self.path("driver")).env("PATH", self.path("bin"));
        command
    }

    fn bench(&self, args: &[&str]) -> Ran {
        Ran::new(self.command(args).output().unwrap())
    }

    /// On the CPU, at 32x32.
    fn on_cpu(&self, args: &[&str]) -> Ran {
        self.bench(&[&["--device", "cpu", "--size", "32"], args].concat())
    }
}

#[derive(Debug)]
struct Ran {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn new(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ran { status: output.status.code(), stdout, stderr }
    }

    #[track_caller]
    fn exits(self, status: i32) -> Ran {
        assert_eq!(self.status, Some(status), "{self:#?}");
        self
    }

    #[track_caller]
    fn says(self, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(self.stderr.contains(part), "standard error without '{part}': {self:#?}");
        }
        self
    }

    #[track_caller]
    fn prints(self, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(self.stdout.contains(part), "standard output without '{part}': {self:#?}");
        }
        self
    }

    #[track_caller]
    fn document(&self) -> Value {
        let document: Value = serde_json::from_str(&self.stdout).expect("one JSON document");
        assert_eq!(document["schema"], "effnet-bench/1");
        document
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_combination_is_a_row_with_consistent_times() {
    let place = Place::new();
    let document = place.on_cpu(&["lite0,b0", "--batch", "1,2,1", "--json"]).exits(0).document();
    let environment = &document["environment"];
    assert_eq!(environment["effnet"], env!("CARGO_PKG_VERSION"));
    assert!(environment["cpu"]["logical_cores"].as_u64().unwrap() > 0);
    assert_eq!(document["options"]["min_iterations"], 3);

    let rows = document["rows"].as_array().unwrap();
    let key =
        |row: &Value| (row["variant"].as_str().unwrap().to_owned(), row["batch"].as_u64().unwrap());
    let expected = [("lite0", 1), ("lite0", 2), ("b0", 1), ("b0", 2)];
    assert_eq!(rows.iter().map(key).collect::<Vec<_>>(), expected.map(|(v, b)| (v.to_owned(), b)));
    for row in rows {
        assert_eq!((&row["precision"], &row["path"]), (&"fp32".into(), &Value::Null), "{row}");
        assert_eq!((&row["device"], &row["weights"]), (&"cpu".into(), &"random".into()), "{row}");
        let result = &row["result"];
        let latency = &result["latency_us"];
        let of = |name: &str| latency[name].as_f64().unwrap();
        assert!(of("n") >= 3.0 && of("min") > 0.0, "{row}");
        let ascending = ["min", "median", "p90", "p95", "p99", "max"].map(of);
        assert!(ascending.is_sorted(), "{row}");
        // All runs are within the time that passed, and it has little else in it.
        let number = |name: &str| result[name].as_f64().unwrap();
        let (elapsed_s, images_per_s) = (number("elapsed_s"), number("images_per_s"));
        assert!(of("mean") * of("n") <= elapsed_s * 1e6 * (1.0 + 1e-9), "{row}");
        // On the CPU the throughput is of the same runs.
        assert_eq!((number("throughput_runs"), number("throughput_s")), (of("n"), elapsed_s));
        assert_eq!(result["overlapped"], false);
        let rate = row["batch"].as_f64().unwrap() * of("n") / elapsed_s;
        assert!((images_per_s / rate - 1.0).abs() < 1e-9, "{row}");
        assert_eq!(result["compute_us"], Value::Null);
        // 64 MiB of 12 KiB inputs.
        assert!(result["inputs"].as_u64().unwrap() > 2000, "{row}");
    }
}

#[test]
fn text_tells_the_machine_and_html_has_the_plots() {
    let place = Place::new();
    place
        .on_cpu(&["lite0", "--batch", "1,2", "--threads", "64", "--html", "report.html"])
        .exits(0)
        .prints(&[
            "effnet ",
            "kernels ",
            "logical cores",
            "median",
            "p99",
            "Throughput",
            "random weights",
        ])
        .says(&[
            "64 threads on",
            "give at most",
            "lite0 32x32 fp32 cpu, batch 1 (and 1 more): few runs",
        ]);
    let page = read(&place.path("report.html"));
    for part in [
        "<svg",
        "median latency, ms",
        "images/s",
        "logical cores",
        "64 threads on",
        "lite0 32x32 fp32 cpu",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    assert!(!page.contains("<script") && !page.contains("src="), "something from elsewhere");
}

#[test]
fn a_saved_document_is_compared_with() {
    let place = Place::new();
    let saved =
        place.on_cpu(&["lite0", "--batch", "1,4", "--save", "then.json", "--json"]).exits(0);
    assert_eq!(read(&place.path("then.json")), saved.stdout);

    // The same file may be read and then replaced.
    let args = ["lite0", "--batch", "2,1", "--against", "then.json", "--save", "then.json"];
    place
        .on_cpu(&args)
        .exits(0)
        .prints(&["ratio", "then: median latency of then.json"])
        .prints(&["not in the earlier run: lite0 32x32 fp32 cpu, batch 2"])
        .prints(&["only in the earlier run: lite0 32x32 fp32 cpu, batch 4"]);
    let document: Value = serde_json::from_str(&read(&place.path("then.json"))).unwrap();
    let ratio = &document["against"]["ratios"][0];
    let now = &document["rows"][1]["result"];
    let expected =
        now["latency_us"]["median"].as_f64().unwrap() / ratio["then_latency_us"].as_f64().unwrap();
    assert_eq!(ratio["batch"], 1);
    assert!((ratio["latency"].as_f64().unwrap() / expected - 1.0).abs() < 1e-9, "{ratio}");

    // Differences besides the code are named.
    let mut other = document;
    other["environment"]["cpu"]["model"] = "Abacus".into();
    other["options"]["threads"] = 99.into();
    fs::write(place.path("other.json"), other.to_string()).unwrap();
    place.on_cpu(&["lite0", "--against", "other.json"]).exits(0).says(&[
        "compare more than the code",
        "Abacus",
        "99 then",
    ]);
}

#[test]
fn packed_weights_bring_their_variant_and_size() {
    let place = Place::new();
    let mut metadata = support::metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
    metadata.recipe.size = Size { h: 32, w: 48 };
    fs::create_dir(place.path("weights")).unwrap();
    support::write_random(&place.path("weights/mine.safetensors"), &metadata, 1);
    for chosen in [["--weights", "weights/mine.safetensors"], ["--model", "mine"]] {
        let args = [&["--device", "cpu", "--json"], &chosen[..]].concat();
        let document = place.bench(&args).exits(0).document();
        let row = &document["rows"][0];
        assert_eq!(row["variant"], "lite0");
        assert_eq!((&row["size"]["h"], &row["size"]["w"]), (&32.into(), &48.into()));
        assert!(row["weights"].as_str().unwrap().ends_with("mine.safetensors"), "{row}");
    }
    place.bench(&["b0", "--model", "mine"]).exits(2).says(&["cannot be used with"]);
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is() {
    let place = Place::new();
    place.bench(&["b9"]).exits(2).says(&["b9", "b0-small"]);
    place.bench(&["b0", "--device", "gpu"]).exits(2).says(&["expected auto, cuda"]);
    place
        .bench(&["b0", "--device", "emulator"])
        .exits(2)
        .says(&["the emulator has no times", "effnet profile --device emulator"]);
    place
        .on_cpu(&["b0", "--precision", "fp16,tf32"])
        .exits(2)
        .says(&["computes in fp32", "fp16, tf32"]);
    place.on_cpu(&["b0", "--batch", "1,0"]).exits(2).says(&["1 to 1024"]);
    let zero =
        Command::new(env!("CARGO_BIN_EXE_effnet")).args(["bench", "--duration", "0"]).output();
    Ran::new(zero.unwrap()).exits(2).says(&["--duration", "above 0"]);
    place.bench(&["--weights", "none.safetensors"]).exits(2).says(&["none.safetensors"]);

    place.on_cpu(&["--against", "none.json"]).exits(2).says(&["--against none.json", "--save"]);
    for (text, says) in [
        ("not JSON", "line 1"),
        ("{\"schema\": \"effnet-profile/1\"}", "found \"effnet-profile/1\""),
        ("{\"schema\": \"effnet-bench/1\"}", "missing field"),
        ("[1]", "found none"),
    ] {
        fs::write(place.path("bad.json"), text).unwrap();
        place.on_cpu(&["--against", "bad.json"]).exits(2).says(&["bad.json", says, "--save"]);
    }
    for option in ["--save", "--html"] {
        place.on_cpu(&[option, "none/file"]).exits(2).says(&["none/file", "existing folder"]);
        place.on_cpu(&[option, "."]).exits(2).says(&["cannot write there"]);
    }
}

/// The driver library, built as an example.
#[cfg(target_os = "linux")]
fn with_driver(place: &Place) {
    fs::create_dir(place.path("driver")).unwrap();
    support::emulated_driver::link(&place.path("driver"));
}

/// A program of this name that answers as `nvidia-smi` does of one GPU.
#[cfg(target_os = "linux")]
fn with_smi(place: &Place) {
    use std::os::unix::fs::PermissionsExt;
    let answer = "00000000:19:00.0, 580.65.06, P0, 1755, 1980, 2619, 2619, 121.05, 700.00, 36, 97";
    fs::create_dir(place.path("bin")).unwrap();
    let program = place.path("bin/nvidia-smi");
    fs::write(&program, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_gpu_gives_the_parts_of_a_run_its_driver_and_its_clocks() {
    let place = Place::new();
    with_driver(&place);
    with_smi(&place);
    let args = [
        "lite0",
        "--size",
        "32",
        "--iterations",
        "1",
        "--device",
        "cuda,cpu",
        "--precision",
        "fp16,fp32",
    ];
    // One row for the CPU, which computes in fp32.
    let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
    command.current_dir(place.folder.path()).arg("bench").args(args);
    command.args([
        "--duration",
        "0.001",
        "--warm-up",
        "0",
        "--html",
        "report.html",
        "--save",
        "now.json",
    ]);
    command.env("LD_LIBRARY_PATH", place.path("driver")).env("PATH", place.path("bin"));
    Ran::new(command.output().unwrap())
        .exits(0)
        .prints(&["cuda:0   PTX emulator, sm_", "580.65.06 (CUDA 13.0)", "1755 of 1980 MHz"])
        .prints(&["Enqueue", "H2D", "GPU Compute", "D2H", "1755 MHz", "CUDA graph"])
        .says(&[
            // 35 launches, of which the emulated driver says 50 us each.
            "copies take 2000.0 us, computing 1754.0 us",
            "few runs (1)",
            "the host is the bottleneck",
        ]);
    let document: Value = serde_json::from_str(&read(&place.path("now.json"))).unwrap();
    let rows = document["rows"].as_array().unwrap();
    let key = |row: &Value| {
        format!("{} {} {}", row["device"], row["precision"], row["path"]).replace('"', "")
    };
    let keys: Vec<String> = rows.iter().map(key).collect();
    assert_eq!(keys, ["cuda:0 fp16 fused", "cuda:0 fp32 fused", "cpu fp32 null"]);
    // A copy takes the emulated driver's events a millisecond; launches take 50 us each.
    for (row, launches) in rows[..2].iter().zip([35.0f32, 48.0]) {
        let computing = f64::from(launches * 0.05 + 0.004) * 1000.0;
        for (part, us) in [("h2d_us", 1000.0), ("compute_us", computing), ("d2h_us", 1000.0)] {
            assert_eq!(row["result"][part]["median"], us, "{part}");
        }
        // From the first event to the last, between which the same launches are.
        assert_eq!(row["result"]["latency_us"]["median"], computing);
        assert!(row["result"]["enqueue_us"]["median"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["result"]["gpu_state"]["power_w"], 121.05);
        assert_eq!(row["result"]["overlapped"], true);
    }
    assert!(read(&place.path("report.html")).contains("GPU Compute"));
}

/// Without a graph every launch reaches the driver by itself; the launches are those of the plan
/// either way.
#[cfg(target_os = "linux")]
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_graph_and_single_launches_run_the_same_kernels() {
    let place = Place::new();
    with_driver(&place);
    let launched = |graph: &str| {
        let log = place.path(graph);
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.args([
            "bench",
            "lite0",
            "--size",
            "32",
            "--device",
            "cuda",
            "--iterations",
            "1",
            "--json",
        ]);
        command.args(["--duration", "0.001", "--warm-up", "0", "--graph", graph]);
        command
            .env("LD_LIBRARY_PATH", place.path("driver"))
            .env("EFFNET_EMULATED_DRIVER_LOG", &log);
        let ran = Ran::new(command.output().unwrap()).exits(0);
        assert_eq!(ran.document()["options"]["cuda_graph"], graph == "on");
        let lines = read(&log);
        // Without the parameters, which hold addresses.
        let kernels: Vec<String> =
            lines.lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect();
        kernels
    };
    let (with, without) = (launched("on"), launched("off"));
    // A warm-up run and a counted one for the latency; the same number for the throughput, after
    // two that are under way.
    let run = without.len() / 2;
    assert_eq!((without.len(), with.len()), (2 * run, 6 * run));
    for other in without.chunks(run).chain(with.chunks(run)) {
        assert_eq!(other, &without[..run]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_configuration_that_fails_is_a_row_and_the_others_go_on() {
    let place = Place::new();
    let ran = place.bench(&["lite0", "--size", "32", "--device", "cuda:99,cpu"]).exits(1);
    let ran =
        ran.says(&["error: lite0 32x32 u8 fp16 fused cuda:99, batch 1: "]).prints(&["failed"]);
    assert!(ran.stdout.contains("cpu"), "{ran:#?}");
    let ran = place.bench(&["lite0", "--size", "32", "--device", "cuda:99,cpu", "--json"]).exits(1);
    let document = ran.document();
    let rows = document["rows"].as_array().unwrap();
    assert!(rows[0]["error"].as_str().is_some_and(|error| !error.is_empty()));
    assert_eq!(rows[0]["result"], Value::Null);
    assert_eq!((&rows[1]["error"], rows[1]["result"].is_object()), (&Value::Null, true));
    assert_eq!(document["environment"]["gpus"][0]["name"], Value::Null);
}
