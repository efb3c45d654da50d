//! One photograph (600x400 JPEG) to a tensor, whole and in its steps; and to the memory that a GPU reads
//! it from, by a tensor in f32 that is copied there, and as levels that are written there at once.

use criterion::{Criterion, criterion_group, criterion_main};
use effnet::arch::Size;
use effnet::image::{
    Framing, Interpolation, Library, Recipe, Rounding, ShortSide, decode, preprocess,
    preprocess_levels, resize_and_crop,
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

    // What the host writes of an image behind the resizing: the tensor and its copy, or the levels.
    let elems = recipe.size.pixels() * 3;
    let (before, after) = (2 * elems * size_of::<f32>(), elems);
    println!(
        "staging an image of {}: {before} bytes by f32, {after} bytes as levels, {} times fewer",
        recipe.size,
        before / after
    );
    let mut group = c.benchmark_group("staging");
    let mut staged = vec![0.0f32; elems];
    group.bench_function("f32, copied", |b| {
        b.iter(|| {
            preprocess(black_box(encoded), &recipe, &mut out)?;
            staged.copy_from_slice(black_box(&out));
            Ok::<_, effnet::image::ImageError>(())
        })
    });
    group.bench_function("f32, the copy alone", |b| {
        b.iter(|| staged.copy_from_slice(black_box(&out)))
    });
    let mut levels = vec![0u8; elems];
    group.bench_function("u8, in place", |b| {
        b.iter(|| preprocess_levels(black_box(encoded), &recipe, &mut levels))
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
