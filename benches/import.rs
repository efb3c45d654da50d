//! Import of a public checkpoint into packed weights: B0 as timm names it, in each container that
//! families publish.

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use effnet::arch::{Network, Variant};
use effnet::weights::{Family, ImportOptions, Precision, import};
use std::time::Duration;
use support::containers::{ContainerKind, write_container};
use support::generator;

fn bench(c: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tensors = generator::checkpoint(1, Family::Timm, &Network::new(Variant::B0, 1000));
    let output = folder.path().join("packed.safetensors");
    let mut group = c.benchmark_group("import");
    group.sample_size(20).measurement_time(Duration::from_secs(10));
    for (name, kind) in [
        ("safetensors", ContainerKind::Safetensors),
        ("torch-zip", ContainerKind::TorchZip),
        ("torch-legacy", ContainerKind::TorchLegacy),
    ] {
        let source = folder.path().join(format!("efficientnet_b0-{name}.{}", kind.extension()));
        write_container(&source, kind, &tensors);
        for precision in [Precision::Fp16, Precision::Fp32] {
            let options = ImportOptions {
                variant: Some(Variant::B0),
                family: Some(Family::Timm),
                precision,
                ..ImportOptions::default()
            };
            group.bench_function(format!("b0/{name}/{precision}"), |b| {
                b.iter(|| import(&source, &output, &options).expect("a checkpoint"));
            });
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
