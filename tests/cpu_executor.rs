//! The CPU executor against naive f64 loops, and against itself.

mod support;

use effnet::arch::{Padding, Size, Variant};
use effnet::session::{Session, SessionOptions};
use effnet::weights::Precision;
use std::sync::Arc;
use support::{Random, metadata, oracle, random_weights};

/// Largest difference of the logits and of the features from the oracle's, as a part of the
/// largest magnitude.
fn difference(variant: Variant, padding: Padding, size: Size, precision: Precision) -> [f64; 2] {
    let weights = Arc::new(random_weights(&metadata(variant, padding, precision), 1));
    let options = SessionOptions { size: Some(size), ..SessionOptions::default() };
    let mut session = Session::new(weights.clone(), options).unwrap();
    let image = Random::new(2).vector(session.input_elems());
    let plan = session.plan().clone();
    let exact = oracle::run(&plan, &weights, &image);
    let outputs = session.run(&image).unwrap();
    [(outputs.logits(0), plan.logits), (outputs.features(0), plan.features)].map(
        |(found, buffer)| {
            let exact = &exact[buffer.0 as usize];
            assert_eq!(found.len(), exact.len());
            let largest = exact.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            assert!((1e-2..1e2).contains(&largest), "activations are not of order one: {largest}");
            let difference = found.iter().zip(exact).map(|(&x, y)| (f64::from(x) - y).abs());
            difference.fold(0.0, f64::max) / largest
        },
    )
}

#[test]
fn whole_networks_agree_with_the_oracle() {
    let native = |variant: Variant| Padding::SameFrozen(variant.native());
    for variant in [Variant::B0, Variant::B0Small, Variant::Lite0] {
        for padding in [Padding::Symmetric, Padding::SameDynamic, native(variant)] {
            let found = difference(variant, padding, Size { h: 64, w: 48 }, Precision::Fp32);
            assert!(found.iter().all(|&d| d <= 1e-4), "{variant} {padding}: {found:e?}");
        }
    }
}
