//! Launches as plain data do not change by accident: a digest of every launch of each variant,
//! path, precision and batch is held against `tests/fixtures/launch_records.tsv`, and of those that
//! take u8 images against `tests/fixtures/launch_records_u8.tsv`.
//!
//! A change that is meant to alter launches records them anew:
//! `EFFNET_RECORD=1 cargo test --test launch_records`.

use effnet::arch::{Network, Padding, Variant};
use effnet::image::Normalisation;
use effnet::kernels::Compute;
use effnet::kernels::params::StemParams;
use effnet::launches::{LaunchInput, LaunchOptions, LaunchPlan, LaunchRecord, Path};
use effnet::plan::{Plan, PlanOptions};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

const RECORDS: &str = "tests/fixtures/launch_records.tsv";
const U8_RECORDS: &str = "tests/fixtures/launch_records_u8.tsv";
const U8: LaunchInput =
    LaunchInput::U8(Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] });
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

/// The launches of a plan.
fn launches(
    input: LaunchInput,
    variant: Variant,
    path: Path,
    compute: Compute,
    batch: usize,
) -> LaunchPlan {
    let options = PlanOptions {
        batch,
        size: variant.native(),
        padding: if batch == 3 { Padding::Symmetric } else { Padding::SameDynamic },
        precision: compute.storage(),
    };
    let plan = Plan::new(&Network::new(variant, 1000), options).unwrap();
    let top_k = if batch == 8 { 5 } else { 0 };
    let options = LaunchOptions { input, top_k, ..LaunchOptions::new(path, compute) };
    LaunchPlan::new(&plan, options).unwrap()
}

/// A line of a table: the launches of a plan for its whole batch and for one image.
fn line(
    input: LaunchInput,
    variant: Variant,
    path: Path,
    compute: Compute,
    batch: usize,
) -> String {
    let launches = launches(input, variant, path, compute, batch);
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
    recorded(LaunchInput::F32, &BATCHES, RECORDS);
}

#[test]
fn launches_of_u8_images_are_those_that_were_recorded() {
    recorded(U8, &[1, 8], U8_RECORDS);
}

/// Images in u8 change their own region and the stem's launch: kernel, normalisation, bytes moved.
#[test]
fn u8_images_change_the_stem_alone() {
    for path in PATHS {
        for compute in COMPUTES {
            let of = |input| launches(input, Variant::B0, path, compute, 8);
            let (u8_plan, f32_plan) = (of(U8), of(LaunchInput::F32));
            assert_eq!(u8_plan.buffers(), f32_plan.buffers());
            let sizes = |plan: &LaunchPlan| {
                [
                    plan.weights_bytes(),
                    plan.arena_bytes(),
                    plan.output_bytes(),
                    plan.counters_bytes(),
                ]
            };
            assert_eq!(sizes(&u8_plan), sizes(&f32_plan));
            assert_eq!(4 * u8_plan.input_bytes(), f32_plan.input_bytes());
            let (u8_launches, f32_launches) =
                (u8_plan.launches(3).unwrap(), f32_plan.launches(3).unwrap());
            assert_eq!(u8_launches[1..], f32_launches[1..]);
            let (u8_stem, f32_stem) = (&u8_launches[0], &f32_launches[0]);
            let symbol = |compute: Compute| match compute {
                Compute::Fp16 => "effnet_stem_u8_f16",
                Compute::Fp32 | Compute::Tf32 => "effnet_stem_u8_f32",
            };
            assert_eq!(u8_stem.kernel.symbol(), symbol(compute));
            assert_eq!(u8_stem.geometry, f32_stem.geometry);
            let image_elems = u8_plan.input_elems() as u64;
            assert_eq!(f32_stem.bytes_moved - u8_stem.bytes_moved, 3 * 3 * image_elems);
            let stem: StemParams = bytemuck::pod_read_unaligned(&u8_stem.params);
            assert_eq!((stem.mean, stem.std), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]));
        }
    }
}

fn recorded(input: LaunchInput, batches: &[usize], records: &str) {
    let mut found = String::from("variant\tpath\tprecision\tbatch\tlaunches\tdigest\n");
    for variant in Variant::all() {
        for path in PATHS {
            for compute in COMPUTES {
                for &batch in batches {
                    found.push_str(&line(input, variant, path, compute, batch));
                    found.push('\n');
                }
            }
        }
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(records);
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
        "{} of {} plans have other launches than {records} says; if that is meant, record them with \
         EFFNET_RECORD=1:\n{}",
        changed.len(),
        found.lines().count() - 1,
        changed.join("\n"),
    );
}
