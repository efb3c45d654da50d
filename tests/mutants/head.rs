//! `kernels/head.cu`.

use super::*;
use crate::support::emulated::{Classifier, Pool, TopK};
use effnet::kernels::head;

const PRECISIONS: [Precision; 2] = [Precision::Fp16, Precision::Fp32];

fn subject(entry: usize, shapes: Vec<Box<dyn Case>>) -> Subject {
    (head::IMAGE, head::ENTRIES[entry], shapes)
}

/// Part-empty groups of channels and tiles of pixels, and more than one step of pixels to a tile.
fn pool_subjects() -> Vec<Subject> {
    let shapes = [[2, 70, 72], [1, 1, 8], [1, 64 * 128 + 9, 8]];
    let subject = |(i, precision)| {
        let case = |shape| -> Box<dyn Case> {
            Box::new(Pool::new(precision, shape, Data::Uniform, i as u64))
        };
        subject(i, shapes.into_iter().map(case).collect())
    };
    PRECISIONS.into_iter().enumerate().map(subject).collect()
}

/// Every remainder of the loop over tiles, part-empty blocks of classes and of images, and channels
/// of less than a warp's turn, of one, and of more.
fn classifier_subjects() -> Vec<Subject> {
    let shapes = [
        ([5, 3, 100], [72, 9]),
        ([1, 1, 1], [8, 1]),
        ([2, 6, 49], [1032, 10]),
        ([1, 4, 64], [520, 7]),
    ];
    let subject = |(i, precision)| {
        let case = |(image, channels)| -> Box<dyn Case> {
            Box::new(Classifier::new(precision, image, channels, Data::Uniform, i as u64))
        };
        subject(2 + i, shapes.into_iter().map(case).collect())
    };
    PRECISIONS.into_iter().enumerate().map(subject).collect()
}

/// Fewer and more classes than threads, some and all of them asked for.
fn top_k_subjects() -> Vec<Subject> {
    let shapes =
        [([2, 300, 7], None), ([1, 1, 1], None), ([1, 37, 37], Some(4)), ([1, 1027, 5], None)];
    let case = |(shape, distinct)| -> Box<dyn Case> { Box::new(TopK::new(shape, distinct, 1)) };
    vec![subject(4, shapes.into_iter().map(case).collect())]
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn head_has_no_report_under_adversarial_schedules() {
    no_report(pool_subjects());
    no_report(classifier_subjects());
    no_report(top_k_subjects());
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn mutants_of_head_are_reported() {
    let subjects = [pool_subjects(), classifier_subjects(), top_k_subjects()];
    all_are_reported(subjects.into_iter().flatten().collect(), 95.0);
}
