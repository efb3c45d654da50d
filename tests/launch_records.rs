//! Launches as plain data do not change by accident: a digest of every launch of each variant,
//! path, precision and batch is held against `tests/fixtures/launch_records.tsv`.
//!
//! A change that is meant to alter launches records them anew:
//! `EFFNET_RECORD=1 cargo test --test launch_records`.

use effnet::arch::{Network, Padding, Variant};
use effnet::kernels::Compute;
use effnet::launches::{LaunchOptions, LaunchPlan, LaunchRecord, Path};
use effnet::plan::{Plan, PlanOptions};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

const RECORDS: &str = "tests/fixtures/launch_records.tsv";
const BATCHES: [usize; 4] = [1, 3, 8, 32];
const COMPUTES: [Compute; 3] = [Compute::Fp16, Compute::Fp32, Compute::Tf32];
const PATHS: [Path; 2] = [Path::Layerwise, Path::Fused];

/// Adds everything that a device sees of a launch, and the facts that a profile shows of it.
fn add(hash: &mut Sha256, record: &LaunchRecord) {
    let LaunchRecord { name, steps, kernel, geometry, params, addresses, bytes_moved, macs } =
        record;
    for text in [name.as_str(), kernel.image_name(), kernel.symbol()] {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    for word in geometry.grid.iter().chain(&geometry.block).chain([&geometry.shared_bytes]) {
        hash.update(word.to_le_bytes());
    }
    let numbers = [steps.start as u64, steps.end as u64, *bytes_moved, *macs, params.len() as u64];
    for number in numbers.into_iter().chain(addresses.iter().map(|&at| at as u64)) {
        hash.update(number.to_le_bytes());
    }
    hash.update(params);
}

/// A line of the table: the launches of a plan for its whole batch and for one image.
fn line(variant: Variant, path: Path, compute: Compute, batch: usize) -> String {
    let options = PlanOptions {
        batch,
        size: variant.native(),
        padding: if batch == 3 { Padding::Symmetric } else { Padding::SameDynamic },
        precision: compute.storage(),
    };
    let plan = Plan::new(&Network::new(variant, 1000), options).unwrap();
    let top_k = if batch == 8 { 5 } else { 0 };
    let options = LaunchOptions { top_k, ..LaunchOptions::new(path, compute) };
    let launches = LaunchPlan::new(&plan, options).unwrap();
    let mut hash = Sha256::new();
    for n in [1, batch] {
        for record in &launches.launches(n).unwrap() {
            add(&mut hash, record);
        }
    }
    for number in [launches.arena_bytes(), launches.output_bytes(), launches.counters_bytes()] {
        hash.update(number.to_le_bytes());
    }
    let digest = hash.finalize()[..12].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!("{variant}\t{path}\t{compute}\t{batch}\t{}\t{digest}", launches.len())
}

#[test]
fn launches_are_those_that_were_recorded() {
    let mut found = String::from("variant\tpath\tprecision\tbatch\tlaunches\tdigest\n");
    for variant in Variant::all() {
        for path in PATHS {
            for compute in COMPUTES {
                for batch in BATCHES {
                    found.push_str(&line(variant, path, compute, batch));
                    found.push('\n');
                }
            }
        }
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDS);
    if std::env::var("EFFNET_RECORD").is_ok_and(|v| v == "1") {
        std::fs::write(&file, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    let changed: Vec<String> = expected
        .lines()
        .zip(found.lines())
        .filter(|(expected, found)| expected != found)
        .map(|(expected, found)| format!("expected {expected}\n   found {found}"))
        .collect();
    assert!(
        changed.is_empty() && expected.lines().count() == found.lines().count(),
        "{} of {} plans have other launches than {RECORDS} says; if that is meant, record them with \
         EFFNET_RECORD=1:\n{}",
        changed.len(),
        found.lines().count() - 1,
        changed.join("\n"),
    );
}
