//! Properties of launch plans, over every variant, batch, precision and path.

use super::*;
use crate::arch::{Network, Padding, Size, Variant};
use crate::plan::PlanOptions;
use crate::weights::stand_in::random_weights;

const BATCHES: [usize; 4] = [1, 3, 8, 32];
const COMPUTES: [Compute; 3] = [Compute::Fp16, Compute::Fp32, Compute::Tf32];
const PATHS: [Path; 2] = [Path::Layerwise, Path::Fused];

fn plan_of(variant: Variant, batch: usize, compute: Compute) -> Plan {
    let options = PlanOptions {
        batch,
        size: variant.native(),
        padding: if batch == 3 { Padding::Symmetric } else { Padding::SameDynamic },
        precision: compute.storage(),
    };
    Plan::new(&Network::new(variant, 1000), options).unwrap()
}

/// Every launch plan, with the plan that it is of.
fn for_all(mut check: impl FnMut(&str, &Plan, &LaunchPlan)) {
    for variant in Variant::all() {
        for batch in BATCHES {
            for compute in COMPUTES {
                let plan = plan_of(variant, batch, compute);
                for path in PATHS {
                    let top_k = if batch == 8 { 5 } else { 0 };
                    let options = LaunchOptions { top_k, ..LaunchOptions::new(path, compute) };
                    let what = format!("{variant}, batch {batch}, {compute}, {path}");
                    let launches =
                        LaunchPlan::new(&plan, options).unwrap_or_else(|e| panic!("{what}: {e}"));
                    check(&what, &plan, &launches);
                }
            }
        }
    }
}

#[test]
fn live_buffers_never_overlap_and_lie_in_their_region() {
    for_all(|what, _, launches| {
        for (i, a) in launches.buffers.iter().enumerate() {
            let a_end = a.offset_bytes + a.bytes() as u64;
            let region_bytes = match a.region {
                Region::Arena => launches.arena_bytes,
                Region::Output => launches.output_bytes,
                other => panic!("{what}: {} in {other:?}", a.name),
            };
            assert!(a_end <= region_bytes, "{what}: {}", a.name);
            assert_eq!(a.offset_bytes % LaunchPlan::ALIGN_BYTES as u64, 0);
            for b in &launches.buffers[i + 1..] {
                let together = a.region == b.region
                    && a.first_launch <= b.last_launch
                    && b.first_launch <= a.last_launch;
                let apart =
                    a_end <= b.offset_bytes || b.offset_bytes + b.bytes() as u64 <= a.offset_bytes;
                assert!(!together || apart, "{what}: {} and {} share bytes", a.name, b.name);
            }
        }
    });
}

#[test]
fn every_weight_is_used_once_and_every_buffer_is_written_before_it_is_read() {
    for_all(|what, _, launches| {
        let mut used = vec![0; launches.weight_offsets.len()];
        let mut written = vec![false; launches.buffers.len()];
        for node in &launches.nodes {
            for id in node.op.tensors() {
                used[id.0 as usize] += 1;
            }
            for Buf(i) in node.op.reads() {
                assert!(written[i], "{what}: {} reads {}", node.name, launches.buffers[i].name);
            }
            for Buf(i) in node.op.writes() {
                written[i] = true;
            }
        }
        assert!(used.iter().all(|&count| count == 1), "{what}: {used:?}");
        assert!(written.iter().all(|&written| written), "{what}: a buffer is never written");
    });
}

/// The extents that two launches give to the same buffer agree, and all fit its size.
#[test]
fn shapes_chain_and_steps_are_all_launched() {
    for_all(|what, plan, launches| {
        let mut launched = vec![false; plan.steps.len()];
        for node in &launches.nodes {
            for step in node.steps.clone() {
                launched[step] = true;
            }
        }
        assert!(launched.iter().all(|&launched| launched), "{what}");
        let macs: u64 = launches.launches(plan.batch).unwrap().iter().map(|r| r.macs).sum();
        assert_eq!(macs, plan.macs(), "{what}");
    });
}

/// Two launches a block, and the stem, the last convolution and the classifier.
#[test]
fn a_block_is_two_launches_in_f16() {
    let fused = |variant, compute| {
        let plan = plan_of(variant, 1, compute);
        let options = LaunchOptions::new(Path::Fused, compute);
        let launches = LaunchPlan::new(&plan, options).unwrap();
        (plan, launches)
    };
    for (variant, expected) in [(Variant::B0, 35), (Variant::B4, 67), (Variant::B7, 113)] {
        assert_eq!(fused(variant, Compute::Fp16).1.len(), expected, "{variant}");
    }
    for variant in Variant::all() {
        let (plan, launches) = fused(variant, Compute::Fp16);
        assert_eq!(launches.len(), 2 * plan.network.blocks.len() + 3, "{variant}");
        for node in launches.nodes() {
            let steps: Vec<&str> =
                plan.steps[node.steps.clone()].iter().map(|step| step.op.name()).collect();
            let expected: &[&str] = match node.name.rsplit('.').next().unwrap() {
                "stem" => &["stem"],
                "depthwise" => &["depthwise"],
                "expand_depthwise" => &["expand", "depthwise"],
                "project" if variant.has_squeeze_excite() => &["squeeze_excite", "project"],
                "project" => &["project"],
                "head_conv" => &["head_conv", "pool"],
                "classifier" => &["classifier"],
                other => panic!("{variant}: {other}"),
            };
            assert_eq!(steps, expected, "{variant}: {}", node.name);
        }
        // What the kernels of f32 do: a launch of its own for each squeeze-excite.
        let gates = |launches: &LaunchPlan| {
            launches.nodes().iter().filter(|n| n.name.ends_with("squeeze_excite")).count()
        };
        let blocks = plan.network.blocks.iter().filter(|block| block.c_se.is_some()).count();
        for compute in [Compute::Fp32, Compute::Tf32] {
            assert_eq!(gates(&fused(variant, compute).1), blocks, "{variant}");
        }
    }
}

/// What every GPU from compute capability 7.5 on takes.
#[test]
fn launches_are_within_device_limits() {
    for_all(|what, plan, launches| {
        for n in [1, plan.batch] {
            for record in launches.launches(n).unwrap() {
                let what = format!("{what}: {} for {n} images", record.name);
                let [x, y, z] = record.geometry.grid;
                assert!((1..1 << 31).contains(&x), "{what}");
                assert!((1..65_536).contains(&y) && (1..65_536).contains(&z), "{what}");
                let threads: u32 = record.geometry.block.iter().product();
                assert!((1..=1024).contains(&threads) && threads.is_multiple_of(32), "{what}");
                assert!(record.geometry.shared_bytes <= 64 * 1024, "{what}");
                for address in record.addresses.iter().filter_map(|&at| address_at(&record, at)) {
                    check_address(&what, launches, address);
                }
            }
        }
    });
}

fn address_at(record: &LaunchRecord, at: usize) -> Option<Address> {
    Address::parse(u64::from_le_bytes(record.params[at..at + 8].try_into().unwrap()))
}

/// An address is the start of something.
fn check_address(what: &str, launches: &LaunchPlan, address: Address) {
    let at = address.offset_bytes;
    let starts = match address.region {
        Region::Weights => launches.weight_offsets.contains(&at),
        Region::Arena | Region::Output => {
            launches.buffers.iter().any(|buffer| buffer.address() == address)
        }
        Region::Input | Region::Counters => at == 0,
    };
    assert!(starts, "{what}: {address:?}");
}

/// Device memory at batch 1 and native size, weights and all, in MB: what each variant may take in FP16 and in FP32.
#[test]
fn device_memory_is_bounded() {
    let bounds = [
        ("b0", 15, 29),
        ("b1", 21, 40),
        ("b2", 25, 48),
        ("b3", 36, 69),
        ("b4", 57, 110),
        ("b5", 88, 168),
        ("b6", 130, 252),
        ("b7", 190, 369),
        ("b8", 247, 479),
        ("b0-small", 15, 27),
        ("lite0", 15, 27),
        ("lite1", 17, 31),
        ("lite2", 19, 35),
        ("lite3", 27, 50),
        ("lite4", 38, 72),
    ];
    assert_eq!(bounds.len(), Variant::all().count());
    for (name, fp16, fp32) in bounds {
        let variant = Variant::all().find(|v| v.name() == name).unwrap();
        for (compute, bound) in [(Compute::Fp16, fp16), (Compute::Fp32, fp32)] {
            for path in PATHS {
                let plan = plan_of(variant, 1, compute);
                let options = LaunchOptions::new(path, compute);
                let bytes = LaunchPlan::new(&plan, options).unwrap().device_bytes();
                let mb = bytes as f64 / 1e6;
                println!("{variant} {compute} {path}: {mb:.1} MB");
                assert!(mb <= f64::from(bound), "{variant} {compute} {path}: {mb:.1} MB");
            }
        }
    }
}

#[test]
fn addresses_survive_binding() {
    let bases = Bases {
        weights: 0x1000,
        arena: 0x7000_0000_0000,
        input: 0x3000,
        output: 0x5000,
        counters: 0x4000,
    };
    for (region, base) in [
        (Region::Weights, bases.weights),
        (Region::Arena, bases.arena),
        (Region::Input, bases.input),
        (Region::Output, bases.output),
        (Region::Counters, bases.counters),
    ] {
        let address = Address { region, offset_bytes: 0x1_2345_6789 };
        assert_eq!(Address::parse(address.symbolic()), Some(address));
        assert_eq!(address.bind(&bases), base + 0x1_2345_6789);
    }
    assert_eq!(Address::parse(0), None);
}

/// A device binds what is at these offsets: they are the struct's first fields, 8 bytes each.
#[test]
fn addresses_of_every_struct_come_first() {
    for layout in crate::kernels::params::LAYOUTS {
        let count = layout.addresses.len();
        let first: Vec<usize> = (0..count).map(|i| 8 * i).collect();
        assert_eq!(layout.addresses, first, "{}", layout.name);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let plan = plan_of(Variant::Lite0, 2, Compute::Fp16);
    let options = LaunchOptions::new(Path::Fused, Compute::Fp16);
    let launches = LaunchPlan::new(&plan, options).unwrap();
    assert!(launches.launches(0).unwrap_err().to_string().contains("1 to 2"));
    assert!(launches.launches(3).unwrap_err().to_string().contains("3 images"));
    let error = LaunchPlan::new(&plan, LaunchOptions { top_k: 1001, ..options }).unwrap_err();
    assert!(error.to_string().contains("1001 best classes of 1000"), "{error}");
    let none = LaunchOptions { download: Download::TopK, ..options };
    assert_eq!(LaunchPlan::new(&plan, none).unwrap_err(), LaunchPlanError::NoTopK);
    assert!(LaunchPlan::new(&plan, LaunchOptions { top_k: 1, ..none }).is_ok());
}

/// An upload that is longer than its tensor's place would overwrite the next one's, and the last
/// one's would leave the region.
#[test]
fn a_tensor_is_uploaded_to_its_own_place_or_not_at_all() {
    let plan = |classes| {
        let options = PlanOptions {
            batch: 1,
            size: Size::square(32),
            padding: Padding::SameDynamic,
            precision: Precision::Fp16,
        };
        let plan = Plan::new(&Network::new(Variant::Lite0, classes), options).unwrap();
        LaunchPlan::new(&plan, LaunchOptions::new(Path::Fused, Compute::Fp16)).unwrap()
    };
    let weights = random_weights(Variant::Lite0, Precision::Fp16).unwrap();
    let (right, other) = (plan(weights.metadata().classes), plan(10));
    right.check_weights(&weights).unwrap();
    assert!(matches!(other.check_weights(&weights), Err(LaunchPlanError::Network { .. })));
    let last = TensorId(right.weight_offsets.len() as u32 - 1);
    for id in (0..=last.0).map(TensorId) {
        let bytes = right.tensor_bytes(&weights, id);
        assert_eq!(right.place(id, &bytes), Ok(right.weight_offsets[id.0 as usize]));
        for wrong in [&[&bytes[..], &[0]].concat()[..], &bytes[1..]] {
            let refused = right.place(id, wrong);
            assert!(matches!(refused, Err(LaunchPlanError::Tensor { .. })), "{refused:?}");
        }
    }
    let refused = other.place(last, &right.tensor_bytes(&weights, last));
    assert!(matches!(refused, Err(LaunchPlanError::Tensor { .. })), "{refused:?}");
    // A region that is too small for the right tensor.
    let mut small = right.clone();
    small.weights_bytes = small.weight_offsets[last.0 as usize] + 1;
    let refused = small.place(last, &right.tensor_bytes(&weights, last));
    assert!(matches!(refused, Err(LaunchPlanError::Tensor { .. })), "{refused:?}");
}
