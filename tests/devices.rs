//! `effnet devices`, and which code a GPU gets under which driver: on a driver library that says to
//! be of any age and to see any GPUs (`tests/emulated_driver/`), and on machines without one.
#![cfg(target_os = "linux")] // the library is found through LD_LIBRARY_PATH

mod support;

use effnet::arch::{Padding, Variant};
use effnet::kernels::{self, CudaVersion};
use effnet::weights::Precision;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use support::{emulated_driver, metadata, write_random};

/// The program, with a driver of this version that sees GPUs of these compute capabilities.
fn effnet(driver: &Path, version: i32, gpus: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_effnet"));
    command
        .env("LD_LIBRARY_PATH", driver)
        .env("EFFNET_EMULATED_DRIVER_VERSION", version.to_string())
        .env("EFFNET_EMULATED_DRIVER_GPUS", gpus);
    command
}

/// What a command that has to succeed prints.
#[track_caller]
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn with_driver() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    emulated_driver::link(folder.path());
    folder
}

/// Every GPU gets machine code of its own target where that is built and the driver is new enough for
/// it, later ones than 9.0 else the PTX, and the rest a reason with what to do.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn each_gpu_gets_what_it_and_its_driver_can_run() {
    let folder = with_driver();
    let built = kernels::built().unwrap();
    let gpus = [87, 90, 110, 120, 75];
    for version in [12_000, 12_040, 13_000] {
        let driver = CudaVersion(version);
        let json =
            printed(effnet(folder.path(), version, "87,90,110,120,75").args(["devices", "--json"]));
        let rows = rows(&json);
        assert_eq!(rows.len(), gpus.len() + 2, "{json}");
        for (ordinal, (row, gpu)) in rows.iter().zip(gpus).enumerate() {
            assert_eq!(row["device"], format!("cuda:{ordinal}"));
            assert_eq!(row["name"], "PTX emulator");
            assert_eq!(row["capability"], format!("{}.{}", gpu / 10, gpu % 10));
            assert_eq!(row["driver"], driver.to_string());
            assert_eq!(row["memory_bytes"], 8u64 << 30);
            let has_code = built.driver_for(gpu).is_some_and(|needed| needed <= driver);
            let reads_ptx = gpu >= 90 && built.driver_for_ptx() <= driver;
            let found = (row["code"].as_str(), row["target"].as_str());
            if has_code {
                assert_eq!(found, (Some("machine code"), Some(&*format!("sm_{gpu}"))), "{row}");
            } else if reads_ptx {
                assert_eq!(found, (Some("ptx"), Some("compute_90")), "{row}");
            } else {
                assert_eq!(found, (None, None), "{row}");
                let why = row["why_not"].as_str().unwrap();
                assert!(
                    why.contains(&format!("EFFNET_CUDA_ARCHS={gpu}"))
                        || why.contains("too old") && why.contains("make cuda"),
                    "{why}"
                );
            }
            assert_eq!(row["usable"], has_code || reads_ptx);
            assert_eq!(row["why_not"].is_null(), has_code || reads_ptx);
        }
        // The first that is usable, and no other.
        let usable = rows.iter().position(|row| row["usable"] == true).unwrap();
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(row["auto"], at == usable, "{row}");
        }
    }
}

/// A build with a ptxas of CUDA 12 asks for no more than a driver of CUDA 12.0, for all of its targets
/// but those that came with CUDA 13.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn every_driver_since_cuda_12_reads_the_ptx() {
    let built = kernels::built().unwrap();
    assert_eq!(built.driver_for_ptx(), CudaVersion::new(12, 0), "{:?}", built.ptx_version);
    for (arch, ptxas) in built.archs.iter().zip(built.ptxas) {
        assert_eq!(built.driver_for(*arch), Some(ptxas.oldest_driver()));
    }
    assert_eq!(built.archs.len(), built.ptxas.len());
    assert_eq!(built.driver_for(61), None);
    for image in built.images {
        let ptx = image.ptx().unwrap();
        assert!(ptx.contains("\n.version 8.0\n"), "{}", image.name);
        assert!(!ptx.contains("used_bytes_mask"), "{}", image.name);
    }
}

#[test]
fn without_a_gpu_the_list_says_why_and_has_the_rest() {
    let folder = with_driver();
    let none = tempfile::tempdir().unwrap();
    let list = |driver: &Path, version, gpus, fail| {
        let mut command = effnet(driver, version, gpus);
        let command = command.env("EFFNET_EMULATED_DRIVER_FAIL", fail);
        let rows = rows(&printed(command.args(["devices", "--json"])));
        let text = printed(
            effnet(driver, version, gpus).env("EFFNET_EMULATED_DRIVER_FAIL", fail).arg("devices"),
        );
        let why_not = rows[0]["why_not"].as_str().unwrap();
        assert!(text.contains(why_not), "{text}");
        assert_eq!(rows[0]["device"], "cuda");
        assert_eq!(rows[0]["usable"], false);
        let [_, cpu, emulator] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((&cpu["device"], &cpu["usable"]), (&"cpu".into(), &true.into()));
        assert_eq!(cpu["auto"], true);
        assert!(cpu["memory_free_bytes"].as_u64().unwrap() > 0);
        assert_eq!(emulator["device"], "emulator");
        assert_eq!(emulator["usable"], kernels::built().is_ok());
        (rows[0]["driver"].clone(), why_not.to_owned())
    };
    let (driver, why) = list(none.path(), 13_000, "90", "");
    assert!(driver.is_null() && why.contains("no CUDA driver") && why.contains("install"), "{why}");
    let (driver, why) = list(folder.path(), 11_080, "90", "");
    assert_eq!(driver, "11.8");
    assert!(why.contains("CUDA 11.8, too old") && why.contains("CUDA 12.0 (R525)"), "{why}");
    let (driver, why) = list(folder.path(), 12_040, "90", "no-device");
    assert_eq!(driver, "12.4");
    assert!(why.contains("sees no GPU") && why.contains("CUDA_VISIBLE_DEVICES"), "{why}");
}

/// A driver of CUDA 12.0 records no dependent launches: each waits for the one before it.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_driver_of_cuda_12_0_gives_what_a_newer_one_gives() {
    let folder = with_driver();
    let weights = folder.path().join("random.safetensors");
    let metadata = metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    write_random(&weights, &metadata, 1);
    let classify = |version| {
        let log = folder.path().join(format!("{version}.log"));
        let photo =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/photos/chelsea.jpg");
        let answer = printed(
            effnet(folder.path(), version, "90")
                .env("EFFNET_EMULATED_DRIVER_LOG", &log)
                .args(["classify", "--json", "--size", "32", "--device", "cuda", "--weights"])
                .arg(&weights)
                .arg(photo),
        );
        (answer, std::fs::read_to_string(log).unwrap())
    };
    let ((old, old_log), (new, new_log)) = (classify(12_000), classify(13_000));
    assert_eq!(old, new);
    let dependent = |log: &str| log.lines().filter(|line| line.starts_with("dependent ")).count();
    assert_eq!(old_log.lines().count(), new_log.lines().count());
    assert_eq!((dependent(&old_log), dependent(&new_log) + 1), (0, new_log.lines().count()));
}
