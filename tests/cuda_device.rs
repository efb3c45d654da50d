//! The CUDA device without a GPU: `effnet --device cuda` on a driver library whose GPU is the PTX
//! emulator (`tests/emulated_driver/`), and on drivers that are missing, too old or in trouble.
//!
//! The tests see everything that reaches the driver: memory, copies, graphs, kernels with their
//! geometry and parameter bytes. The results must be those of `--device emulator`, byte for byte.
#![cfg(target_os = "linux")] // the library is found through LD_LIBRARY_PATH

mod support;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::device::{CudaDevice, CudaError, EmulatedDevice, EmulatedError};
use effnet::kernels::Compute;
use effnet::launches::{
    Address, Download, LaunchInput, LaunchOptions, LaunchPlan, LaunchPlanError, LaunchRecord, Path,
    Region,
};
use effnet::plan::{Plan, PlanOptions};
use effnet::weights::{Precision, stand_in};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};
use support::emulated_driver;
use support::{metadata, write_random};
use tempfile::TempDir;

struct Place {
    folder: TempDir,
}

impl Place {
    /// A folder with random weights, images and, where it is asked for, a driver.
    fn new(variant: Variant, precision: Precision, has_driver: bool) -> Place {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("driver")).unwrap();
        if has_driver {
            emulated_driver::link(&folder.path().join("driver"));
        }
        let metadata = metadata(variant, Padding::SameDynamic, precision);
        write_random(&folder.path().join("random.safetensors"), &metadata, 1);
        Place { folder }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("launches.log")
    }

    /// `effnet classify` of three photographs at 64x64.
    fn classify(&self, device: &str, args: &[&str], fail: &str) -> Output {
        self.classify_in_order(device, args, fail, "late")
    }

    /// As [`Place::classify`], with a driver that does work which no wait needs as late, or as
    /// early, as it may.
    fn classify_in_order(&self, device: &str, args: &[&str], fail: &str, order: &str) -> Output {
        let args = [&["--verbose", "--json"], args].concat();
        self.run(device, &args, fail, order)
    }

    fn run(&self, device: &str, args: &[&str], fail: &str, order: &str) -> Output {
        let photos = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/photos");
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command
            .current_dir(self.folder.path())
            .args(["classify", "--size", "64", "--weights", "random.safetensors"])
            .args(["--device", device])
            .args(args)
            .arg(photos)
            .env("LD_LIBRARY_PATH", self.folder.path().join("driver"))
            .env("EFFNET_EMULATED_DRIVER_LOG", self.log())
            .env("EFFNET_EMULATED_DRIVER_FAIL", fail)
            .env("EFFNET_EMULATED_DRIVER_ORDER", order);
        command.output().unwrap()
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

/// Both paths, in a precision: images one by one, in one batch, and in a batch that the last images
/// do not fill.
fn gives_what_the_emulator_gives(variant: Variant, precision: Precision) {
    let place = Place::new(variant, precision, true);
    for path in ["fused", "layerwise"] {
        let args = ["--path", path, "--batch", "2"];
        let expected = succeeded(&place.classify("emulator", &args, ""));
        assert_eq!(expected.lines().count(), 3, "{expected}");
        let cuda = place.classify("cuda", &args, "");
        assert_eq!(succeeded(&cuda), expected, "{path}");
        let said = text(&cuda.stderr);
        assert!(said.contains("cuda:0, PTX emulator, sm_"), "{said}");
        assert!(said.contains(path) && said.contains(&precision.to_string()), "{said}");
        // Copies of one image beside the launches of another.
        for order in ["late", "early"] {
            let args = ["--path", path, "--threads", "3"];
            let one_by_one = place.classify_in_order("cuda:0", &args, "", order);
            assert_eq!(succeeded(&one_by_one), expected, "{path}, {order}");
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b0_f16_gives_what_the_emulator_gives() {
    gives_what_the_emulator_gives(Variant::B0, Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn lite0_f32_gives_what_the_emulator_gives() {
    gives_what_the_emulator_gives(Variant::Lite0, Precision::Fp32);
}

/// `effnet verify` through the driver: single launches, and memory that is read and written between them.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn every_launch_is_verified_and_the_card_named() {
    let place = Place::new(Variant::Lite0, Precision::Fp16, true);
    let verify = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
        command
            .current_dir(place.folder.path())
            .args(["verify", "--weights", "random.safetensors", "--size", "32"])
            .args(args)
            .env("LD_LIBRARY_PATH", place.folder.path().join("driver"))
            .env("EFFNET_EMULATED_DRIVER_LOG", place.log())
            .env("EFFNET_EMULATED_DRIVER_ORDER", "late");
        succeeded(&command.output().unwrap())
    };
    for path in ["fused", "layerwise"] {
        let found = verify(&["--device", "cuda", "--path", path]);
        let (table, last) = found.trim_end().rsplit_once('\n').unwrap();
        let expected = format!("verified: lite0, {path}, fp16, 32x32 on cuda:0, PTX emulator, sm_");
        assert!(last.starts_with(&expected), "{last}");
        assert!(last.contains("driver"), "{last}");
        // The same launches, and so the same values.
        let emulated = verify(&["--device", "emulator", "--path", path]);
        assert_eq!(table, emulated.trim_end().rsplit_once('\n').unwrap().0);
        let log = std::fs::read_to_string(place.log()).unwrap();
        assert!(log.lines().all(|line| !line.starts_with("dependent")), "one by one: {log}");
        std::fs::remove_file(place.log()).unwrap();
    }
    // Where there is a GPU, it is taken.
    assert!(verify(&[]).contains(" on cuda:0, "));
}

/// One line of the driver's log.
struct Launched {
    line: String,
    params: Vec<u8>,
}

fn launched(log: &str) -> Vec<Launched> {
    let lines = log.lines().map(|line| {
        let (line, hex) = line.rsplit_once(' ').unwrap();
        let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
        let params = (0..hex.len()).step_by(2).map(byte).collect();
        Launched { line: line.to_owned(), params }
    });
    lines.collect()
}

/// The plan's launches reach the driver in order, byte for byte but for where the regions lie.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn launches_are_those_of_the_plan() {
    let place = Place::new(Variant::B0, Precision::Fp16, true);
    // The number of threads is that of the images, so that all are decoded before the first run
    // begins.
    succeeded(&place.classify("cuda", &["--batch", "2", "--threads", "4"], ""));
    let log = launched(&std::fs::read_to_string(place.log()).unwrap());

    let network = Network::new(Variant::B0, 1000);
    let plan = Plan::new(
        &network,
        PlanOptions {
            batch: 2,
            size: Size::square(64),
            padding: Padding::SameDynamic,
            precision: Precision::Fp16,
        },
    )
    .unwrap();
    // Photographs go to the GPU as levels, and the best classes alone come back.
    let recipe = metadata(Variant::B0, Padding::SameDynamic, Precision::Fp16).recipe;
    let options = LaunchOptions {
        input: LaunchInput::U8(recipe.normalisation()),
        top_k: 5,
        download: Download::TopK,
        ..LaunchOptions::new(Path::Fused, Compute::Fp16)
    };
    let launches = LaunchPlan::new(&plan, options).unwrap();
    // Three images: two, then one. Inputs and outputs of the second run are not those of the first.
    let (first, second) = log.split_at(launches.len());
    let mut bases = BTreeMap::new();
    check_run(first, &launches.launches(2).unwrap(), &mut bases);
    let regions = [Region::Weights, Region::Arena, Region::Input, Region::Output, Region::Counters];
    assert!(bases.keys().eq(&regions), "{bases:?}");
    let copied = [Region::Input, Region::Output].map(|region| bases.remove(&region));
    check_run(second, &launches.launches(1).unwrap(), &mut bases);
    assert_ne!(copied, [Region::Input, Region::Output].map(|region| bases.remove(&region)));
}

/// A run's launches in order, each but the first beginning while the one before it may still run.
fn check_run(log: &[Launched], records: &[LaunchRecord], bases: &mut BTreeMap<Region, u64>) {
    assert_eq!(log.len(), records.len());
    for (index, (launched, record)) in log.iter().zip(records).enumerate() {
        let geometry = record.geometry;
        let expected = format!(
            "{}{} {:?} {:?} {}",
            if index > 0 { "dependent " } else { "" },
            record.kernel.symbol(),
            geometry.grid,
            geometry.block,
            geometry.shared_bytes
        );
        assert_eq!(launched.line, expected, "{}", record.name);
        check_params(&launched.params, record, bases);
    }
}

fn check_params(found: &[u8], record: &LaunchRecord, bases: &mut BTreeMap<Region, u64>) {
    assert_eq!(found.len(), record.params.len(), "{}", record.name);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut unbound = found.to_vec();
    for &at in record.addresses {
        let symbolic = word(&record.params, at);
        if let Some(Address { region, offset_bytes }) = Address::parse(symbolic) {
            let base = word(found, at) - offset_bytes;
            assert_eq!(base % LaunchPlan::ALIGN_BYTES as u64, 0, "{}", record.name);
            assert_eq!(*bases.entry(region).or_insert(base), base, "{}: {region:?}", record.name);
            unbound[at..at + 8].copy_from_slice(&symbolic.to_le_bytes());
        }
    }
    assert_eq!(unbound, record.params, "{}", record.name);
}

/// A plan for fewer classes has a smaller region for the weights: their upload would go past it.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn weights_of_another_network_are_refused_and_not_uploaded() {
    const CHILD: &str = "EFFNET_TEST_WITH_DRIVER";
    if std::env::var_os(CHILD).is_some() {
        return other_weights_are_refused();
    }
    let driver = tempfile::tempdir().unwrap();
    emulated_driver::link(driver.path());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "weights_of_another_network_are_refused_and_not_uploaded", "--nocapture"])
        .env(CHILD, "1")
        .env("LD_LIBRARY_PATH", driver.path());
    let said = succeeded(&command.output().unwrap());
    assert!(said.contains("1 passed"), "{said}");
}

fn other_weights_are_refused() {
    let launches = |variant, classes| {
        let options = PlanOptions {
            batch: 1,
            size: Size::square(32),
            padding: Padding::SameDynamic,
            precision: Precision::Fp16,
        };
        let plan = Plan::new(&Network::new(variant, classes), options).unwrap();
        LaunchPlan::new(&plan, LaunchOptions::new(Path::Fused, Compute::Fp16)).unwrap()
    };
    let metadata = metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    let weights = stand_in::weights(&metadata, 1).unwrap();
    let classes = metadata.classes;
    // The same tensors with other shapes, and those of another variant.
    for (variant, classes) in [(Variant::Lite0, 10), (Variant::B0Small, classes)] {
        let plan = launches(variant, classes);
        assert_eq!(plan.weight_offsets().len(), weights.tensors().len());
        let says = format!(
            "the launch plan is for {variant} with {classes} classes and the weights are of lite0 \
             with 1000 classes: make the plan from the weights' network"
        );
        let cuda = CudaDevice::new(0, plan.clone(), &weights).unwrap_err();
        assert!(matches!(&cuda, CudaError::Plan(LaunchPlanError::Network { .. })), "{cuda:?}");
        assert_eq!(cuda.to_string(), says);
        let emulated = EmulatedDevice::new(plan, &weights).unwrap_err();
        let is_network = matches!(&emulated, EmulatedError::Plan(LaunchPlanError::Network { .. }));
        assert!(is_network, "{emulated:?}");
        assert_eq!(emulated.to_string(), says);
    }
    let plan = launches(Variant::Lite0, classes);
    let mut device = CudaDevice::new(0, plan, &weights).unwrap();
    device.run(&[0.5; 32 * 32 * 3], 1).unwrap();
    assert_eq!(device.logits().len(), classes);
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

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn what_is_missing_is_said_with_what_to_do() {
    let place = Place::new(Variant::Lite0, Precision::Fp16, true);
    let cuda = |fail| place.classify("cuda", &[], fail);
    refused(&cuda("no-device"), &["sees no GPU", "nvidia-smi", "run on the CPU"]);
    refused(&cuda("old-driver"), &["CUDA 11.2", "too old", "CUDA 12.0", "update NVIDIA's driver"]);
    refused(&cuda("architecture"), &["sm_50", "EFFNET_CUDA_ARCHS=50"]);
    refused(&cuda("memory"), &["no memory for the weights", "smaller batch"]);
    refused(&cuda("load"), &["CUDA_ERROR_NO_BINARY_FOR_GPU"]);
    refused(&place.classify("cuda:3", &[], ""), &["no GPU 3", "counted from 0"]);

    let without = Place::new(Variant::Lite0, Precision::Fp16, false);
    refused(&without.classify("cuda", &[], ""), &["no CUDA driver", "libcuda"]);
}

/// The first usable GPU, else the CPU, saying which and why.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn auto_takes_a_usable_gpu_and_else_the_cpu() {
    let place = Place::new(Variant::Lite0, Precision::Fp16, true);
    let gpu = place.classify("auto", &[], "");
    succeeded(&gpu);
    assert!(text(&gpu.stderr).contains("(auto: the first usable GPU)"), "{}", text(&gpu.stderr));
    let cpu = place.classify("auto", &[], "no-device");
    succeeded(&cpu);
    let said = text(&cpu.stderr);
    assert!(said.contains("CPU, f32") && said.contains("sees no GPU"), "{said}");
    // Unasked, one short line.
    let cpu = place.run("auto", &[], "no-device", "late");
    let said = text(&cpu.stderr);
    let note = said.lines().find(|line| line.contains("CPU, f32")).unwrap_or_default();
    assert!(note.contains("no GPU") && note.len() <= 100, "{said}");
}

#[test]
fn the_cpu_takes_no_path_and_no_other_precision() {
    let place = Place::new(Variant::Lite0, Precision::Fp16, false);
    refused(&place.classify("cpu", &["--path", "fused"], ""), &["--path", "runs no kernels"]);
    refused(&place.classify("cpu", &["--precision", "fp16"], ""), &["CPU computes in fp32"]);
    succeeded(&place.classify("cpu", &["--precision", "fp32"], ""));
}
