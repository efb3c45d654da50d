//! The CPU executor against naive f64 loops, and against itself.

mod support;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::cpu::{CpuError, CpuExecutor};
use effnet::plan::{Plan, PlanOptions};
use effnet::session::{Session, SessionError, SessionOptions};
use effnet::weights::{Precision, StoreError, Weights, packed_tensors, write_packed};
use std::sync::Arc;
use std::time::Duration;
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

fn check_network(variant: Variant, precision: Precision) {
    for padding in [Padding::Symmetric, Padding::SameDynamic, Padding::SameFrozen(variant.native())]
    {
        let size = Size { h: 64, w: 48 };
        let found = difference(variant, padding, size, precision);
        assert!(found.iter().all(|&d| d <= 1e-4), "{variant} {padding}: {found:?}");
    }
}

#[test]
fn b0_agrees_with_the_oracle() {
    check_network(Variant::B0, Precision::Fp32);
}

#[test]
fn b0_small_agrees_with_the_oracle() {
    check_network(Variant::B0Small, Precision::Fp32);
}

#[test]
fn lite0_agrees_with_the_oracle() {
    check_network(Variant::Lite0, Precision::Fp16);
}

/// The bits of `[logits, features]` of each image of a run.
fn bits(session: &mut Session, images: &[f32]) -> Vec<[Vec<u32>; 2]> {
    let outputs = session.run(images).unwrap();
    (0..outputs.len())
        .map(|i| {
            [outputs.logits(i), outputs.features(i)]
                .map(|values| values.iter().map(|x| x.to_bits()).collect())
        })
        .collect()
}

#[test]
fn results_depend_on_neither_threads_nor_batch_nor_runs() {
    for variant in [Variant::B0, Variant::Lite0] {
        let metadata = metadata(variant, Padding::SameDynamic, Precision::Fp32);
        let weights = Arc::new(random_weights(&metadata, 1));
        let size = Some(Size { h: 97, w: 128 });
        let mut alone = Session::new(
            weights.clone(),
            SessionOptions { batch: 1, size, threads: Some(1), ..SessionOptions::default() },
        )
        .unwrap();
        let elems = alone.input_elems();
        let images = Random::new(2).vector(4 * elems);
        let expected: Vec<_> =
            images.chunks(elems).flat_map(|image| bits(&mut alone, image)).collect();
        assert_ne!(expected[0], expected[1], "different images give different results");

        for threads in [1, 2, 3] {
            let options = SessionOptions {
                batch: 4,
                size,
                threads: Some(threads),
                ..SessionOptions::default()
            };
            let mut session = Session::new(weights.clone(), options).unwrap();
            for n in [4, 3, 1, 4] {
                let found = bits(&mut session, &images[..n * elems]);
                assert!(found == expected[..n], "{variant}, {threads} threads, {n} images");
            }
            // The same images at other places of the batch.
            let turned = [&images[2 * elems..], &images[..2 * elems]].concat();
            let found = bits(&mut session, &turned);
            assert!(found == [&expected[2..], &expected[..2]].concat(), "{variant}, turned");
        }
    }
}

#[test]
fn inputs_of_the_wrong_length_are_refused() {
    let metadata = metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
    let weights = Arc::new(random_weights(&metadata, 1));
    let size = Some(Size::square(32));
    let options = SessionOptions { batch: 2, size, threads: Some(1), ..SessionOptions::default() };
    let mut session = Session::new(weights, options).unwrap();
    assert_eq!(session.recipe().size, Size::square(32));
    for found in [0, 1, 32 * 32 * 3 - 1, 32 * 32 * 3 + 1, 3 * 32 * 32 * 3] {
        let error = session.run(&vec![0.0; found]).unwrap_err().to_string();
        assert!(error.contains(&format!("input of {found} elements")), "{error}");
        assert!(error.contains("1 to 2 images of 3072 elements"), "{error}");
    }
    assert!(session.run(&vec![0.0; 2 * 32 * 32 * 3]).is_ok());
}

/// One run at a time may be under way on the CPU; a submitted run gives the same outputs as `run`.
#[test]
fn a_run_is_submitted_and_collected() {
    let metadata = metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp32);
    let weights = Arc::new(random_weights(&metadata, 1));
    let size = Some(Size::square(32));
    let options = SessionOptions { size, threads: Some(1), ..SessionOptions::default() };
    let mut session = Session::new(weights, options).unwrap();
    let image = Random::new(4).vector(session.input_elems());
    let expected = session.run(&image).unwrap().logits(0).to_vec();
    assert!(matches!(session.collect(), Err(SessionError::NothingSubmitted)));
    assert!(matches!(session.submit(&image[1..]), Err(SessionError::Input { .. })));
    session.submit(&image).unwrap();
    assert_eq!((session.capacity(), session.under_way()), (1, 1));
    assert!(matches!(session.submit(&image), Err(SessionError::Busy { under_way: 1 })));
    assert!(matches!(session.run(&image), Err(SessionError::Busy { under_way: 1 })));
    assert_eq!(session.collect().unwrap().logits(0), expected);
    assert!(matches!(session.collect(), Err(SessionError::NothingSubmitted)));
    assert_eq!(session.run(&image).unwrap().logits(0), expected);
}

#[test]
fn nan_is_the_error_of_its_image_alone() {
    let metadata = metadata(Variant::B0, Padding::Symmetric, Precision::Fp32);
    let weights = Arc::new(random_weights(&metadata, 1));
    let size = Some(Size::square(32));
    let options = SessionOptions { batch: 2, size, threads: Some(2), ..SessionOptions::default() };
    let mut session = Session::new(weights, options).unwrap();
    let elems = session.input_elems();
    let mut images = Random::new(2).vector(2 * elems);
    images[elems + 100] = f32::NAN;
    let outputs = session.run(&images).unwrap();
    assert!(outputs.logits(1).iter().all(|logit| logit.is_nan()));
    let fault = outputs.top_k(1, 5).unwrap_err();
    assert_eq!((fault.count, fault.classes, fault.class), (1000, 1000, 0), "{fault}");
    assert!(fault.value.is_nan() && outputs.top_k(0, 5).unwrap().len() == 5);
    let beside = outputs.logits(0).to_vec();
    assert_eq!(
        session.run(&images[..elems]).unwrap().logits(0),
        beside,
        "the other image is right"
    );
    assert!(session.run(&images[..elems]).is_ok(), "nothing is left of the NaN");
}

#[test]
fn what_cannot_be_run_is_refused() {
    let weights =
        Arc::new(random_weights(&metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16), 1));
    let options = PlanOptions {
        batch: 1,
        size: Size::square(32),
        padding: Padding::Symmetric,
        precision: Precision::Fp32,
    };
    let new = |network: &Network, options, threads| {
        CpuExecutor::new(Plan::new(network, options).unwrap(), weights.clone(), threads)
    };
    let error = new(&Network::new(Variant::Lite0, 7), options, None).unwrap_err().to_string();
    assert!(error.contains("lite0 with 7 classes"), "{error}");
    let network = weights.network().clone();
    let half = PlanOptions { precision: Precision::Fp16, ..options };
    assert!(matches!(new(&network, half, None), Err(CpuError::Precision { .. })));
    assert!(matches!(new(&network, options, Some(0)), Err(CpuError::ThreadCount { found: 0 })));
    let mut executor = new(&network, options, Some(1)).unwrap();
    let image = vec![0.0; 32 * 32 * 3];
    assert!(matches!(executor.run(&image, 2), Err(CpuError::Images { batch: 1, found: 2 })));
    assert!(matches!(executor.run(&image[1..], 1), Err(CpuError::Input { found: 3071, .. })));
}

#[test]
fn every_step_but_the_expansions_is_timed() {
    let metadata = metadata(Variant::B0, Padding::Symmetric, Precision::Fp32);
    let weights = Arc::new(random_weights(&metadata, 1));
    let options = PlanOptions {
        batch: 1,
        size: Size::square(64),
        padding: Padding::Symmetric,
        precision: Precision::Fp32,
    };
    let plan = Plan::new(weights.network(), options).unwrap();
    let mut executor = CpuExecutor::new(plan.clone(), weights, Some(1)).unwrap();
    let mut times = Vec::new();
    executor.run_timed(&vec![0.5; 64 * 64 * 3], 1, &mut times).unwrap();
    assert_eq!(times.len(), plan.steps.len());
    for (step, time) in plan.steps.iter().zip(times) {
        assert_eq!(time == Duration::ZERO, step.op.name() == "expand", "{}", step.name);
    }
}

#[test]
fn weights_in_memory_and_in_a_file_give_the_same_results() {
    // A session lets go of the mapped pages that it has repacked: they must come back.
    let metadata = metadata(Variant::B0, Padding::Symmetric, Precision::Fp32);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.safetensors");
    support::write_random(&path, &metadata, 1);
    let size = Some(Size::square(32));
    let options = SessionOptions { batch: 1, size, threads: Some(1), ..SessionOptions::default() };
    let image = Random::new(2).vector(32 * 32 * 3);
    let bytes = std::fs::read(&path).unwrap();
    let in_memory = Arc::new(Weights::from_bytes(&bytes).unwrap());
    let in_file = Arc::new(Weights::open(&path).unwrap());
    let copied = Arc::new(Weights::open_copied(&path).unwrap());
    let results: Vec<_> = [&in_memory, &in_memory, &in_file, &in_file, &copied, &copied]
        .map(|weights| bits(&mut Session::new(weights.clone(), options).unwrap(), &image))
        .into();
    assert!(results.iter().all(|result| *result == results[0]));
    for index in 0..in_file.tensors().len() as u32 {
        let id = effnet::weights::TensorId(index);
        assert!(in_file.bytes(id) == in_memory.bytes(id));
        assert!(copied.bytes(id) == in_memory.bytes(id));
    }
}

/// Another program truncates the file between two runs, and puts it back as it was.
#[test]
fn a_run_on_a_truncated_file_is_refused_and_one_on_a_copy_is_not() {
    let metadata = metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.safetensors");
    support::write_random(&path, &metadata, 1);
    let bytes = std::fs::read(&path).unwrap();
    let size = Some(Size::square(32));
    let options = SessionOptions { size, threads: Some(2), ..SessionOptions::default() };
    let image = Random::new(2).vector(32 * 32 * 3);
    let opened = Arc::new(Weights::open(&path).unwrap());
    let mut mapped = Session::new(opened.clone(), options).unwrap();
    let copy = Arc::new(Weights::open_copied(&path).unwrap());
    let mut copied = Session::new(copy.clone(), options).unwrap();
    let expected = bits(&mut mapped, &image);
    assert_eq!(bits(&mut copied, &image), expected);

    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for len in [0, bytes.len() as u64 - 1, bytes.len() as u64 + 1] {
        file.set_len(len).unwrap();
        let refused = mapped.run(&image).unwrap_err();
        let says = format!(
            "{}: expected the {} bytes that it had when it was opened, found {len}: another program",
            path.display(),
            bytes.len()
        );
        assert!(matches!(&refused, SessionError::Cpu(CpuError::Weights(_))), "{refused:?}");
        assert!(refused.to_string().starts_with(&says), "{refused}");
        assert!(matches!(opened.check(), Err(StoreError::Changed { .. })));
        assert!(Session::new(opened.clone(), options).is_err());
        assert_eq!(bits(&mut copied, &image), expected);
        copy.check().unwrap();
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(bits(&mut mapped, &image), expected);
    // Replaced by renaming, as the importer does.
    std::fs::rename(&path, folder.path().join("old.safetensors")).unwrap();
    std::fs::write(&path, b"another").unwrap();
    assert_eq!(bits(&mut mapped, &image), expected);
}

/// Memory is asked for only where the header justifies it.
#[test]
fn a_file_that_is_no_packed_file_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.safetensors");
    let file = std::fs::File::create(&path).unwrap();
    // A file of holes, larger than any memory.
    file.set_len(1 << 42).unwrap();
    for error in [Weights::open(&path), Weights::open_copied(&path)].map(Result::unwrap_err) {
        assert!(matches!(error, StoreError::Container { .. }), "{error}");
    }
}

#[test]
fn a_network_of_zeros_gives_its_bias() {
    let metadata = metadata(Variant::B0, Padding::Symmetric, Precision::Fp32);
    let mut data: Vec<Vec<f32>> = packed_tensors(&Network::new(Variant::B0, 1000))
        .iter()
        .map(|tensor| vec![0.0; tensor.elems()])
        .collect();
    let bias = Random::new(4).vector(1000);
    *data.last_mut().unwrap() = bias.clone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zeros.safetensors");
    write_packed(&path, &metadata, &data).unwrap();
    let size = Some(Size::square(32));
    let options = SessionOptions { size, ..SessionOptions::default() };
    let mut session = Session::new(Arc::new(Weights::open(&path).unwrap()), options).unwrap();
    assert_eq!(session.run(&vec![1.0; 32 * 32 * 3]).unwrap().logits(0), bias);
}
