//! ptxas' report on every kernel, for every target that is built: no spills, no stack, and blocks that
//! fit a multiprocessor; on sm_80 and sm_90 as many as the kernels are written for.

use effnet::arch::{Network, Padding, Variant};
use effnet::kernels::occupancy::Multiprocessor;
use effnet::kernels::{self, CATALOGUE, Compute, RESIDENT_BLOCKS};
use effnet::launches::{LaunchOptions, LaunchPlan, Path};
use effnet::plan::{Plan, PlanOptions};
use std::collections::BTreeMap;

/// Targets on which kernels have the number of resident blocks that they are written for.
const WRITTEN_FOR: [u32; 2] = [80, 90];

#[test]
#[cfg_attr(
    not(all(kernel_target = "80", kernel_target = "90")),
    ignore = "needs kernels for 80 and 90: build with nvcc (make cuda) and EFFNET_CUDA_ARCHS=80,90"
)]
fn nothing_spills() {
    let built = kernels::built().unwrap();
    let mut seen = 0;
    for (image, (name, entries)) in built.images.iter().zip(CATALOGUE) {
        assert_eq!(image.name, name);
        for &arch in built.archs {
            for entry in entries {
                let report = image.resources.iter().find(|r| r.arch == arch && r.entry == *entry);
                let report = report.unwrap_or_else(|| panic!("no report of {entry} for sm_{arch}"));
                println!("sm_{arch} {entry}: {} registers", report.registers);
                assert!((1..=255).contains(&report.registers), "{report:?}");
                let wasted =
                    [report.stack_bytes, report.spill_store_bytes, report.spill_load_bytes];
                assert_eq!(wasted, [0; 3], "{report:?}");
                seen += 1;
            }
        }
    }
    assert!(built.archs.len() >= 2 && seen >= built.archs.len() * CATALOGUE.len());
}

/// Over every launch of B0, B4, B7 and Lite4, at batch 1 and 32. Targets beside 80 and 90 hold one block
/// of each, but of fused ones that ask for more shared memory than a block of theirs has: the host
/// refuses these, and names the other path.
#[test]
#[cfg_attr(
    not(all(kernel_target = "80", kernel_target = "90")),
    ignore = "needs kernels for 80 and 90: build with nvcc (make cuda) and EFFNET_CUDA_ARCHS=80,90"
)]
fn enough_blocks_are_resident() {
    let built = kernels::built().unwrap();
    let mut least: BTreeMap<(u32, &str), u32> = BTreeMap::new();
    for variant in [Variant::B0, Variant::B4, Variant::B7, Variant::Lite4] {
        for batch in [1, 32] {
            for compute in [Compute::Fp16, Compute::Fp32, Compute::Tf32] {
                let network = Network::new(variant, 1000);
                let size = variant.native();
                let padding = Padding::SameDynamic;
                let precision = compute.storage();
                let options = PlanOptions { batch, size, padding, precision };
                let plan = Plan::new(&network, options).unwrap();
                for path in [Path::Layerwise, Path::Fused] {
                    let options = LaunchOptions { top_k: 5, ..LaunchOptions::new(path, compute) };
                    let launches = LaunchPlan::new(&plan, options).unwrap();
                    for record in launches.launches(batch).unwrap() {
                        let image = &built.images[record.kernel.image];
                        for &arch in built.archs {
                            let symbol = record.kernel.symbol();
                            let mut reports = image.resources.iter();
                            let report =
                                reports.find(|r| r.arch == arch && r.entry == symbol).unwrap();
                            let sm = Multiprocessor::of(arch).unwrap();
                            let blocks = sm.resident_blocks(report, &record.geometry);
                            let shared = report.shared_bytes + record.geometry.shared_bytes;
                            let expected = match WRITTEN_FOR.contains(&arch) {
                                true => RESIDENT_BLOCKS[record.kernel.image],
                                false if path == Path::Fused && shared > sm.block_shared_bytes => 0,
                                false => 1,
                            };
                            let least = least.entry((arch, symbol)).or_insert(u32::MAX);
                            *least = blocks.min(*least);
                            assert!(
                                blocks >= expected,
                                "{variant}, batch {batch}, {}: {blocks} blocks of {symbol} on \
                                 sm_{arch}: {report:?}, {:?}",
                                record.name,
                                record.geometry
                            );
                        }
                    }
                }
            }
        }
    }
    for ((arch, kernel), blocks) in least {
        println!("sm_{arch} {kernel}: at least {blocks} resident blocks");
    }
}
