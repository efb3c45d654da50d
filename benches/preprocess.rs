//! One photograph (600x400 JPEG) to a tensor, whole and in its steps.

use criterion::{Criterion, criterion_group, criterion_main};
use effnet::arch::Size;
use effnet::image::{
    Framing, Interpolation, Library, Recipe, Rounding, ShortSide, decode, preprocess,
    resize_and_crop,
};
use std::hint::black_box;

fn bench(c: &mut Criterion) {
    let encoded = include_bytes!("../tests/fixtures/images/photos/coffee.jpg");
    let recipe = Recipe {
        interpolation: Interpolation::PillowBicubic,
        framing: Framing::ResizeThenCrop {
            short_side: ShortSide::Margin(32),
            rounding: Rounding::Torchvision,
        },
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        exif_orientation: false,
        size: Size::square(224),
    };
    let mut out = vec![0.0; recipe.size.pixels() * 3];
    let mut group = c.benchmark_group("preprocess");
    group.bench_function("decode", |b| {
        b.iter(|| decode(black_box(encoded), Library::Pillow, false))
    });
    let image = decode(encoded, Library::Pillow, false).expect("a valid photograph").image;
    for interpolation in [
        Interpolation::PillowBicubic,
        Interpolation::PillowBilinear,
        Interpolation::OpencvBilinear,
        Interpolation::TensorflowBicubic,
    ] {
        let recipe = Recipe { interpolation, ..recipe.clone() };
        group.bench_function(format!("resize/{interpolation:?}"), |b| {
            b.iter(|| resize_and_crop(black_box(&image), &recipe, &mut out))
        });
    }
    group.bench_function("whole", |b| b.iter(|| preprocess(black_box(encoded), &recipe, &mut out)));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
