//! `effnet profile` from end to end: on the CPU, on the emulator, and on a GPU that is the emulator
//! behind a driver.

mod support;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::kernels::Compute;
use effnet::launches::{LaunchOptions, LaunchPlan, Path};
use effnet::plan::{Plan, PlanOptions};
use effnet::weights::Precision;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

/// One run, whatever the clock says, and small ceilings.
const ONCE: [&str; 8] =
    ["--warm-up", "0", "--duration", "0.001", "--iterations", "1", "--copy-mib", "1"];

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

    /// `effnet profile` with these arguments, in the folder.
    fn profile(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command.current_dir(self.folder.path()).arg("profile").args(args);
        #[cfg(target_os = "linux")]
        command.env("LD_LIBRARY_PATH", self.path("driver"));
        command.output().unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.profile(&[args, &["--json"]].concat());
        let report: Value = serde_json::from_str(&succeeded(&output)).unwrap();
        assert_eq!(report["schema"], "effnet-profile/1");
        assert!(report["environment"]["cpu"]["logical_cores"].as_u64() > Some(0));
        report
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Ends with exit status 2, no panic, and every one of `says`.
#[track_caller]
fn refused(output: &Output, says: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    for part in says {
        assert!(said.contains(part), "{said:?} does not say {part:?}");
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_else(|| panic!("no list: {value}"))
}

#[track_caller]
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Each grouping has every item once, and its sums are the total's.
fn groups_add_up(report: &Value, fields: &[&str]) {
    let items = list(&report["items"]);
    for by in ["layer", "block", "stage", "op"] {
        let groups = list(&report["groups"][by]);
        let mut places: Vec<u64> =
            groups.iter().flat_map(|g| list(&g["items"])).map(|i| i.as_u64().unwrap()).collect();
        places.sort_unstable();
        assert_eq!(places, Vec::from_iter(0..items.len() as u64), "{by}");
        for group in groups {
            for place in list(&group["items"]) {
                let item = &items[place.as_u64().unwrap() as usize];
                assert_eq!(item[by], group["name"], "{item}");
            }
        }
        for field in fields {
            let sum: f64 = groups.iter().map(|group| number(&group[field])).sum();
            let total = number(&report["total"][field]);
            assert!((sum - total).abs() <= 1e-9 * total.abs(), "{by} {field}: {sum} of {total}");
        }
    }
}

/// Launches of a variant with the random weights of `effnet profile`, at 32x32.
fn launches(variant: Variant, path: Path, compute: Compute) -> usize {
    let options = PlanOptions {
        batch: 1,
        size: Size::square(32),
        padding: Padding::SameDynamic,
        precision: compute.storage(),
    };
    let plan = Plan::new(&Network::new(variant, 1000), options).unwrap();
    LaunchPlan::new(&plan, LaunchOptions::new(path, compute)).unwrap().len()
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn the_emulator_counts_every_launch() {
    let place = Place::new();
    let args = ["lite0", "--device", "emulator", "--size", "32"];
    let report = place.json(&args);
    assert_eq!(
        (&report["kind"], &report["subject"]["device"]),
        (&"counters".into(), &"emulator".into())
    );
    let items = list(&report["items"]);
    assert_eq!(items.len(), launches(Variant::Lite0, Path::Fused, Compute::Fp16));
    groups_add_up(&report, &["instructions", "tensor_ops", "bytes", "global_sectors", "barriers"]);

    for item in items {
        let (name, counters) = (&item["name"], &item["counters"]);
        let count = |field: &str| counters[field].as_u64().unwrap();
        assert!(count("instructions") > 0 && count("global_requests") > 0, "{name}");
        let by_class = counters["by_class"].as_object().unwrap();
        let sum: u64 = by_class.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum, count("instructions"), "{name}");
        // A request touches a sector at least, and none beyond two for each lane.
        let sectors = number(&counters["sectors_per_request"]);
        assert!((1.0..=64.0).contains(&sectors), "{name}: {sectors}");
        let op = item["op"].as_str().unwrap();
        let products = ["stem", "expand", "project", "head_conv", "classifier"].contains(&op);
        let on_tensor_cores = products || ["depthwise", "expand_depthwise"].contains(&op);
        assert_eq!(count("tensor_ops") > 0, on_tensor_cores, "{name}");
        if products {
            // Tiles are at least as large as the product.
            assert!(count("tensor_macs") >= item["macs"].as_u64().unwrap(), "{name}");
            assert!(count("barriers") > 0, "{name}");
            // Every byte of inputs, weights and outputs is asked for.
            assert!(number(&counters["times_compulsory"]) >= 1.0, "{name}");
        }
        let occupancy = number(&item["kernel"]["occupancy"]);
        assert!(occupancy > 0.0 && occupancy <= 1.0, "{name}");
    }
    let total = &report["total"];
    assert!(number(&total["times_compulsory"]) >= 1.0, "{total}");
    assert!(total["bank_conflicts"].as_u64() > Some(0), "{total}");
    assert_eq!(total["share"], 1.0);

    let page = place.path("profile.html");
    let table =
        succeeded(&place.profile(&[&args[..], &["--by", "op", "--html", "profile.html"]].concat()));
    for part in
        ["tensor ops", "sectors/request", "x minimum", "conflicts", "head_conv", "synchronise"]
    {
        assert!(table.contains(part), "no {part} in {table}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    for part in ["<svg", "Instructions of each block", "blocks.15", "Environment"] {
        assert!(page.contains(part), "no {part} in the page");
    }
    // The only address is the name of SVG.
    assert!(!page.replace("http://www.w3.org/2000/svg", "").contains("http"), "a page by itself");
    assert!(!page.contains("<script") && !page.contains("src="));
}

/// A kernel per layer, in f32: nothing runs on tensor cores, and layers have more than one launch.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn the_layerwise_path_has_more_launches_than_layers() {
    let args = ["lite0", "--device", "emulator", "--size", "32"];
    let args = [&args[..], &["--path", "layerwise", "--precision", "fp32"]].concat();
    let report = Place::new().json(&args);
    let (items, layers) = (list(&report["items"]), list(&report["groups"]["layer"]));
    assert_eq!(items.len(), launches(Variant::Lite0, Path::Layerwise, Compute::Fp32));
    assert!(items.len() > layers.len());
    assert_eq!(report["total"]["tensor_ops"], 0);
    let stem = &layers[0];
    assert_eq!((&stem["name"], list(&stem["items"]).len()), (&"stem".into(), 2));
    groups_add_up(&report, &["instructions", "flops"]);
}

fn check_trace(path: &std::path::Path, items: usize, total_us: f64) {
    let trace: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let events = list(&trace["traceEvents"]);
    let spans = |tid: u64| events.iter().filter(move |e| e["ph"] == "X" && e["tid"] == tid);
    assert_eq!(spans(3).count(), items);
    for tid in 1..=3 {
        let mut end = 0.0;
        for span in spans(tid) {
            assert!(span["name"].is_string() && span["cat"].is_string() && span["pid"] == 1);
            assert!((number(&span["ts"]) - end).abs() < 1e-6, "{span}");
            end = number(&span["ts"]) + number(&span["dur"]);
        }
        assert!((end - total_us).abs() <= 1e-9 * total_us, "{end} of {total_us}");
    }
    let named = events.iter().filter(|e| e["ph"] == "M" && e["name"] == "thread_name");
    assert_eq!(named.count(), 3);
}

/// Checks a report of times: floors, rates and bounds follow from the ceilings.
fn check_times(report: &Value) {
    groups_add_up(report, &["time_us", "bytes", "flops", "floor_us", "share"]);
    let ceilings = &report["ceilings"];
    let [copy, product, launch] =
        ["copy_gbps", "product_tflops", "launch_us"].map(|name| number(&ceilings[name]));
    assert!(copy > 0.0 && product > 0.0 && launch > 0.0, "{ceilings}");
    for item in list(&report["items"]) {
        let (bytes, flops) = (number(&item["bytes"]), number(&item["flops"]));
        assert_eq!(flops, 2.0 * number(&item["macs"]));
        let floors = [
            ("memory", bytes / (copy * 1e3)),
            ("compute", flops / (product * 1e6)),
            ("launch", launch),
        ];
        let (bound, floor) = floors.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_eq!(item["bound"], bound, "{item}");
        assert!((number(&item["floor_us"]) - floor).abs() <= 1e-9 * floor, "{item}");
        let us = number(&item["time_us"]);
        assert_eq!(us, number(&item["samples_us"]["median"]));
        assert!(us > 0.0, "{item}");
        assert!((number(&item["gbps"]) * us * 1e3 - bytes).abs() <= 1e-6 * bytes, "{item}");
    }
}

#[test]
fn the_cpu_s_steps_add_up_to_less_than_the_run() {
    let place = Place::new();
    let args = ["b0", "--device", "cpu", "--size", "64", "--threads", "2", "--product-side", "64"];
    let files = ["--trace", "trace.json", "--html", "profile.html", "--svg", "blocks.svg"];
    let args = [&args[..], &ONCE, &files].concat();
    let report = place.json(&args);
    assert_eq!((&report["kind"], &report["subject"]["threads"]), (&"times".into(), &2.into()));
    assert_eq!(report["subject"]["path"], Value::Null);
    check_times(&report);
    // One run may be all that is counted.
    if report["run_us"]["n"] == 1 {
        assert!(number(&report["total"]["time_us"]) <= number(&report["run_us"]["median"]));
    }
    let items = list(&report["items"]);
    // 16 blocks of depthwise, squeeze-excite and project, the stem and three at the end.
    assert_eq!(items.len(), 3 * 16 + 4);
    assert!(items.iter().all(|item| item["op"] != "expand"));
    assert!(
        list(&report["notes"]).iter().any(|n| n.as_str().unwrap().contains("expand_depthwise"))
    );
    check_trace(&place.path("trace.json"), items.len(), number(&report["total"]["time_us"]));
    let page = std::fs::read_to_string(place.path("profile.html")).unwrap();
    for part in ["Time of each block", "Roofline", "FLOP/byte", "floor", "blocks.3"] {
        assert!(page.contains(part), "no {part} in the page");
    }
    let picture = std::fs::read_to_string(place.path("blocks.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
    for part in ["xmlns=", "Time of each block", "floor", "blocks.3", "prefers-color-scheme"] {
        assert!(picture.contains(part), "no {part} in {picture}");
    }
}

/// The CUDA path, with the PTX emulator as the GPU: its events are told, not measured.
#[cfg(target_os = "linux")]
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_gpu_s_launches_are_timed_against_its_ceilings() {
    let place = Place::new();
    std::fs::create_dir(place.path("driver")).unwrap();
    support::emulated_driver::link(&place.path("driver"));
    for precision in ["fp16", "tf32"] {
        let args = ["lite0", "--device", "cuda", "--size", "32", "--product-side", "64"];
        let args =
            [&args[..], &ONCE, &["--precision", precision, "--trace", "trace.json"]].concat();
        let report = place.json(&args);
        assert_eq!(report["subject"]["device"], "cuda:0");
        assert_eq!(report["subject"]["precision"], precision);
        assert!(report["subject"]["device_name"].as_str().unwrap().contains("PTX emulator"));
        assert_eq!(report["environment"]["gpus"][0]["ordinal"], 0);
        check_times(&report);
        let items = list(&report["items"]);
        let compute = if precision == "fp16" { Compute::Fp16 } else { Compute::Tf32 };
        assert_eq!(items.len(), launches(Variant::Lite0, Path::Fused, compute));
        assert!(items.iter().all(|item| item["kernel"]["symbol"].is_string()));
        check_trace(&place.path("trace.json"), items.len(), number(&report["total"]["time_us"]));
        let method = report["ceilings"]["method"]["product"].as_str().unwrap();
        assert!(method.contains("64 x 64 x 64") && method.contains("tensor cores"), "{method}");
    }
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is_measured() {
    let place = Place::new();
    let cpu = |args: &[&str]| place.profile(&[&["b0", "--device", "cpu"], args].concat());
    refused(
        &cpu(&["--trace", "no/such/folder/t.json"]),
        &["no/such/folder/t.json", "cannot write"],
    );
    refused(&cpu(&["--html", "."]), &["cannot write", "the name of a file"]);
    refused(&cpu(&["--precision", "fp16"]), &["CPU computes in fp32"]);
    refused(&cpu(&["--path", "fused"]), &["--path", "runs no kernels"]);
    refused(&cpu(&["--by", "kernel"]), &["launch, layer, block, stage, op"]);
    refused(&cpu(&["--product-side", "100"]), &["multiple of 8"]);
    refused(&cpu(&["--copy-mib", "0"]), &["--copy-mib"]);
    refused(&place.profile(&["b9"]), &["unknown variant 'b9'", "lite0"]);
    refused(&place.profile(&["b0", "--weights", "w.safetensors"]), &["cannot be used with"]);
    refused(&place.profile(&["--weights", "w.safetensors"]), &["w.safetensors"]);
    assert!(!place.path("t.json").exists());
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn the_emulator_makes_no_trace() {
    let place = Place::new();
    let traced = place.profile(&["b0", "--device", "emulator", "--trace", "t.json"]);
    refused(&traced, &["emulator counts", "--device cuda or cpu"]);
    assert!(!place.path("t.json").exists());
}

/// A packed file is profiled in its own precision, under its own name.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn packed_weights_are_profiled_as_they_are() {
    let place = Place::new();
    let metadata = support::metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp32);
    support::write_random(&place.path("w.safetensors"), &metadata, 1);
    let args = ["--weights", "w.safetensors", "--device", "emulator", "--size", "32"];
    let report = place.json(&args);
    assert_eq!(report["subject"]["weights"], "w.safetensors");
    assert_eq!(
        (&report["subject"]["precision"], &report["subject"]["variant"]),
        (&"fp32".into(), &"lite0".into())
    );
}
