//! The pipeline as its users call it: images from files, memory and readers, through a session.

mod support;

use effnet::arch::{Network, Padding, Size, Variant};
use effnet::image::{ImageError, Interpolation, normalise_pixels, preprocess};
use effnet::pipeline::{
    ImageFailureKind, ImageInput, MAX_ENCODED_BYTES, Pipeline, PipelineError, PipelineOptions,
};
use effnet::session::{InputType, NonFiniteLogits, Session, SessionError, SessionOptions};
use effnet::weights::{Precision, Weights, packed_tensors, write_packed};
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use support::{metadata, random_weights};

const PHOTOS: [&str; 3] = ["chelsea.jpg", "coffee.jpg", "rocket.jpg"];

fn photo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/photos").join(name)
}

/// A session on the CPU, at a small size.
fn session(batch: usize) -> Session {
    let metadata = metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
    let weights = Arc::new(random_weights(&metadata, 1));
    let size = Some(Size::square(64));
    Session::new(weights, SessionOptions { batch, size, ..SessionOptions::default() }).unwrap()
}

fn pipeline(batch: usize, threads: usize) -> Pipeline {
    Pipeline::new(session(batch), PipelineOptions { threads: Some(threads) }).unwrap()
}

/// Logits and the five best classes of each photograph, by the session alone.
fn expected() -> Vec<(Vec<u32>, Vec<usize>)> {
    let mut session = session(1);
    let recipe = session.recipe();
    let of = |name| {
        let mut input = vec![0.0; session.input_elems()];
        preprocess(&std::fs::read(photo(name)).unwrap(), &recipe, &mut input).unwrap();
        let outputs = session.run(&input).unwrap();
        let classes = outputs.top_k(0, 5).unwrap().iter().map(|best| best.class).collect();
        (bits(outputs.logits(0)), classes)
    };
    PHOTOS.map(of).into()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// A reader that blocks until its other end is gone, and then fails.
struct Blocking(Receiver<()>);

impl Read for Blocking {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.recv().map_err(io::Error::other)?;
        Ok(0)
    }
}

/// Photographs in every form, twice, with images that fail between them.
fn mixed() -> Vec<ImageInput> {
    let read = |name| std::fs::read(photo(name)).unwrap();
    let truncated = read(PHOTOS[0])[..2000].to_vec();
    vec![
        ImageInput::file(photo(PHOTOS[0])),
        ImageInput::bytes(b"no image at all"),
        ImageInput::bytes(Arc::<[u8]>::from(read(PHOTOS[1]))).named("in memory"),
        ImageInput::file("/nowhere/absent.jpg"),
        ImageInput::reader(Cursor::new(read(PHOTOS[2]))).named("-"),
        ImageInput::failed("not to be had").named("elsewhere"),
        ImageInput::from(read(PHOTOS[1])),
        ImageInput::from(&photo(PHOTOS[0])),
        ImageInput::reader(io::empty()),
        ImageInput::bytes(truncated),
    ]
}

/// Which photograph each of [`mixed`] is, if it is one.
const MIXED: [Option<usize>; 10] =
    [Some(0), None, Some(1), None, Some(2), None, Some(1), Some(0), None, None];

#[test]
fn results_are_those_of_the_session_in_the_order_of_the_images() {
    let expected = expected();
    for (batch, threads) in [(1, 1), (1, 4), (3, 2), (8, 2)] {
        let mut pipeline = pipeline(batch, threads);
        let output = |outputs: &effnet::session::Outputs<'_>, image: usize| {
            (bits(outputs.logits(image)), outputs.features(image).len())
        };
        let found: Vec<_> = pipeline.map(mixed(), output).unwrap().collect();
        assert_eq!(found.len(), MIXED.len());
        for (index, (result, photo)) in found.into_iter().zip(MIXED).enumerate() {
            match (result, photo) {
                (Ok(image), Some(photo)) => {
                    assert_eq!((image.index, &image.output.0), (index, &expected[photo].0));
                    assert_eq!(image.output.1, 1280);
                }
                (Err(PipelineError::Image(failure)), None) => assert_eq!(failure.index, index),
                (result, _) => panic!("image {index} with batch {batch}: {result:?}"),
            }
        }
        assert!(!pipeline.session_time().is_zero());

        // The same pipeline again, by another call.
        let found: Vec<_> = pipeline.classify(PHOTOS.map(photo), 5).unwrap().collect();
        assert_eq!(found.len(), PHOTOS.len());
        for ((result, (_, classes)), name) in found.into_iter().zip(&expected).zip(PHOTOS) {
            let image = result.unwrap();
            let found: Vec<usize> = image.output.iter().map(|best| best.class).collect();
            assert_eq!((&found, &image.name), (classes, &photo(name).display().to_string()));
        }
        assert_eq!(pipeline.into_session().under_way(), 0);
    }
}

/// Whatever carries the images, the logits are the same bytes: levels that the network normalises are
/// the values that the recipe gives.
#[test]
fn levels_give_the_logits_of_values() {
    let interpolations = [
        Interpolation::PillowBicubic,
        Interpolation::PillowBilinear,
        Interpolation::OpencvBilinear,
    ];
    for interpolation in interpolations {
        let weights = weights_with(interpolation);
        let run = |input, batch| {
            let options = SessionOptions { input, batch, ..small() };
            let session = Session::new(weights.clone(), options).unwrap();
            assert_eq!(session.input_type(), input);
            let mut pipeline = Pipeline::new(session, PipelineOptions::default()).unwrap();
            let output = |outputs: &effnet::session::Outputs<'_>, image: usize| {
                (bits(outputs.logits(image)), bits(outputs.features(image)))
            };
            let results = pipeline.map(mixed(), output).unwrap();
            results.map(|result| result.map(|image| image.output).ok()).collect::<Vec<_>>()
        };
        let expected = run(InputType::F32, 3);
        assert!(
            expected.iter().zip(MIXED).all(|(found, photo)| found.is_some() == photo.is_some())
        );
        for batch in [1, 4] {
            assert!(run(InputType::U8, batch) == expected, "{interpolation:?}, batch {batch}");
        }
    }
    let session = Session::new(
        weights_with(Interpolation::TensorflowBicubic),
        SessionOptions { input: InputType::U8, ..small() },
    );
    let refused = Pipeline::new(session.unwrap(), PipelineOptions::default()).unwrap_err();
    assert!(matches!(refused, PipelineError::Recipe(_)), "{refused}");
    assert!(refused.to_string().contains("TensorflowBicubic"), "{refused}");
}

/// Sessions at a small size.
fn small() -> SessionOptions {
    SessionOptions { size: Some(Size::square(64)), ..SessionOptions::default() }
}

fn weights_with(interpolation: Interpolation) -> Arc<Weights> {
    let mut metadata = metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp16);
    metadata.recipe.interpolation = interpolation;
    metadata.recipe.mean = [0.485, 0.456, 0.406];
    metadata.recipe.std = [0.229, 0.224, 0.225];
    Arc::new(random_weights(&metadata, 1))
}

/// Memory that the session lends: what is written there is run, as many images as are asked for.
#[test]
fn lent_memory_is_run_and_each_run_asks_for_it() {
    let weights = weights_with(Interpolation::PillowBicubic);
    let new = |input| Session::new(weights.clone(), SessionOptions { batch: 2, input, ..small() });
    let mut by_values = new(InputType::F32).unwrap();
    let mut by_levels = new(InputType::U8).unwrap();
    let elems = by_values.input_elems();
    let levels: Vec<u8> = (0..2 * elems).map(|i| (i * i / 7) as u8).collect();
    let values = normalise_pixels(&levels, &by_values.recipe()).unwrap();
    let expected = [0, 1].map(|image| bits(by_values.run(&values).unwrap().logits(image)));

    by_levels.input_mut(2).unwrap().u8().unwrap().copy_from_slice(&levels);
    let outputs = by_levels.run_staged(2).unwrap();
    assert_eq!([0, 1].map(|image| bits(outputs.logits(image))), expected);
    // Fewer than were asked for, and overlapping.
    by_levels.input_mut(2).unwrap().u8().unwrap().copy_from_slice(&levels);
    by_levels.submit_staged(1).unwrap();
    assert!(matches!(by_levels.input_mut(1), Err(SessionError::Busy { under_way: 1 })));
    let outputs = by_levels.collect().unwrap();
    assert_eq!((outputs.len(), &bits(outputs.logits(0))), (1, &expected[0]));
    by_values.input_mut(1).unwrap().f32().unwrap().copy_from_slice(&values[elems..]);
    assert_eq!(bits(by_values.run_staged(1).unwrap().logits(0)), expected[1]);
    // Memory beside the session's, which another thread fills.
    let mut buffer = by_levels.input_buffer().unwrap();
    let copy = levels.clone();
    let fill = move || {
        buffer.images_mut(2).u8().unwrap().copy_from_slice(&copy);
        buffer
    };
    let mut buffer = std::thread::spawn(fill).join().unwrap();
    by_levels.submit_buffer(&mut buffer, 2).unwrap();
    assert_eq!(bits(by_levels.collect().unwrap().logits(1)), expected[1]);

    // What is wrong is an error, and the session goes on.
    type Refused = fn(&SessionError) -> bool;
    let refused = |result: Result<(), SessionError>, is: Refused| {
        let error = result.unwrap_err();
        assert!(is(&error), "{error}");
    };
    let run = |session: &mut Session, n| session.run_staged(n).map(|_| ());
    refused(run(&mut by_levels, 2), |e| matches!(e, SessionError::NotStaged { asked: 2, lent: 0 }));
    by_levels.input_mut(1).unwrap();
    refused(run(&mut by_levels, 2), |e| matches!(e, SessionError::NotStaged { asked: 2, lent: 1 }));
    for n in [0, 3] {
        refused(by_levels.input_mut(n).map(|_| ()), |e| matches!(e, SessionError::Images { .. }));
        refused(run(&mut by_levels, n), |e| matches!(e, SessionError::Images { batch: 2, .. }));
        refused(by_levels.submit_buffer(&mut buffer, n), |e| {
            matches!(e, SessionError::Images { batch: 2, .. })
        });
    }
    refused(by_levels.run(&values).map(|_| ()), |e| matches!(e, SessionError::InputType(_)));
    refused(by_levels.submit(&values), |e| matches!(e, SessionError::InputType(_)));
    refused(by_values.submit_buffer(&mut buffer, 1), |e| matches!(e, SessionError::InputType(_)));
    assert!(by_values.input_mut(1).unwrap().u8().is_err());
    assert_eq!(bits(by_values.run(&values).unwrap().logits(1)), expected[1]);
}

/// The best classes alone, on the host: the same ones, and nothing else.
#[test]
fn a_session_for_the_best_classes_gives_them_alone() {
    let weights = weights_with(Interpolation::PillowBicubic);
    let expected = expected();
    let options = SessionOptions { top_k: Some(3), input: InputType::U8, batch: 2, ..small() };
    let session = Session::new(weights.clone(), options).unwrap();
    let all = Session::new(weights.clone(), SessionOptions { batch: 2, ..small() }).unwrap();
    let mut pipelines =
        [session, all].map(|s| Pipeline::new(s, PipelineOptions::default()).unwrap());
    let [found, all] = pipelines.each_mut().map(|pipeline| {
        let results = pipeline.classify(PHOTOS.map(photo), 3).unwrap();
        results.map(|result| result.unwrap().output).collect::<Vec<_>>()
    });
    assert_eq!(found, all);
    assert_eq!(expected.len(), found.len());
    let [pipeline, _] = &mut pipelines;
    assert_eq!(pipeline.session().top_k(), Some(3));
    let given = pipeline.map([photo(PHOTOS[0])], |outputs, image| {
        [outputs.logits(image).len(), outputs.features(image).len()]
    });
    assert_eq!(given.unwrap().next().unwrap().unwrap().output, [0, 0]);
    let more = pipeline.classify(PHOTOS.map(photo), 4).map(|_| ()).unwrap_err();
    assert!(
        matches!(more, PipelineError::Session(SessionError::TopK { asked: 4, given: 3 })),
        "{more}"
    );
    for k in [0, 1001] {
        let options = SessionOptions { top_k: Some(k), ..small() };
        let error = Session::new(weights.clone(), options).unwrap_err();
        assert!(error.to_string().contains(&format!("the {k} best classes of 1000")), "{error}");
    }
}

#[test]
fn errors_name_the_image_and_say_what_is_wrong() {
    let mut pipeline = pipeline(2, 2);
    let mut failures = Vec::new();
    let mut names = Vec::new();
    for result in pipeline.classify(mixed(), 1).unwrap() {
        match result {
            Ok(image) => names.push(image.name),
            Err(PipelineError::Image(failure)) => failures.push(failure),
            Err(error) => panic!("{error}"),
        }
    }
    let chelsea = photo(PHOTOS[0]).display().to_string();
    assert_eq!(names, [&chelsea[..], "in memory", "-", "image 6", &chelsea[..]]);
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(texts[0].starts_with("image 1: unknown image format"), "{}", texts[0]);
    assert!(texts[1].starts_with("/nowhere/absent.jpg: No such file"), "{}", texts[1]);
    assert_eq!(texts[2], "elsewhere: not to be had");
    assert!(texts[3].starts_with("image 8: the image is empty"), "{}", texts[3]);
    assert!(texts[4].starts_with("image 9: truncated JPEG image"), "{}", texts[4]);
    let kinds: Vec<_> = failures.into_iter().map(|failure| failure.kind).collect();
    assert!(matches!(
        &kinds[..],
        [
            ImageFailureKind::Decode(ImageError::UnknownFormat { .. }),
            ImageFailureKind::Read(_),
            ImageFailureKind::Input(_),
            ImageFailureKind::Decode(ImageError::Empty),
            ImageFailureKind::Decode(ImageError::Truncated { .. }),
        ]
    ));
}

#[test]
fn an_image_that_never_ends_is_cut_off() {
    let mut pipeline = pipeline(1, 1);
    let inputs = [ImageInput::reader(io::repeat(0)).named("endless"), photo(PHOTOS[0]).into()];
    let found: Vec<_> = pipeline.classify(inputs, 1).unwrap().collect();
    let error = found[0].as_ref().unwrap_err().to_string();
    assert_eq!(error, format!("endless: longer than {MAX_ENCODED_BYTES} bytes, so not an image"));
    assert!(found[1].is_ok() && found.len() == 2);
}

#[test]
fn no_images_give_no_results() {
    let mut pipeline = pipeline(4, 2);
    assert!(pipeline.classify([] as [&str; 0], 5).unwrap().next().is_none());
    assert!(pipeline.session_time().is_zero());
}

#[test]
fn logits_that_are_not_finite_are_their_image_s_error() {
    let metadata = metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp32);
    let tensors = packed_tensors(&Network::new(Variant::Lite0, 1000));
    let mut data: Vec<Vec<f32>> = tensors.iter().map(|tensor| vec![0.0; tensor.elems()]).collect();
    data.last_mut().unwrap()[7] = f32::NAN;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.safetensors");
    write_packed(&path, &metadata, &data).unwrap();
    let size = Some(Size::square(32));
    let options = SessionOptions { size, ..SessionOptions::default() };
    let session = Session::new(Arc::new(Weights::open(&path).unwrap()), options).unwrap();
    let mut pipeline = Pipeline::new(session, PipelineOptions::default()).unwrap();

    let images: [PathBuf; 3] = ["absent.jpg".into(), photo(PHOTOS[0]), photo(PHOTOS[1])];
    let found: Vec<_> = pipeline.classify(&images, 5).unwrap().collect();
    assert_eq!(found.len(), 3);
    for (index, result) in found.iter().enumerate() {
        let Err(PipelineError::Image(failure)) = result else { panic!("{result:?}") };
        let name = images[index].display().to_string();
        assert_eq!((failure.index, &failure.name), (index, &name));
        match &failure.kind {
            ImageFailureKind::Read(_) => assert_eq!(index, 0),
            ImageFailureKind::NonFinite(fault) => {
                let NonFiniteLogits { count, classes, class, value } = *fault;
                assert_eq!((count, classes, class, value.is_nan()), (1, 1000, 7, true));
            }
            kind => panic!("{kind}"),
        }
    }
    assert_eq!(pipeline.session().under_way(), 0);
    // What the network computed is there for those who ask for it.
    let raw = pipeline.map([photo(PHOTOS[0])], |outputs, image| outputs.logits(image).to_vec());
    let logits = raw.unwrap().next().unwrap().unwrap().output;
    assert!(logits[7].is_nan() && logits[6] == 0.0);
}

#[test]
fn nothing_hangs_when_the_consumer_stops_early() {
    let expected = expected();
    let mut pipeline = pipeline(1, 2);
    let (hold, blocked): (Sender<()>, _) = channel();
    // More than is taken ahead, with a reader that blocks.
    let mut inputs: Vec<ImageInput> = (0..40).map(|_| photo(PHOTOS[0]).into()).collect();
    inputs[2] = ImageInput::reader(Blocking(blocked));
    let mut results = pipeline.classify(inputs, 5).unwrap();
    assert_eq!(results.next().unwrap().unwrap().index, 0);
    drop(results);
    assert_eq!(pipeline.session().under_way(), 0);

    // The other decoding thread is enough, though the reader still blocks.
    for (result, (_, classes)) in pipeline.classify(PHOTOS.map(photo), 5).unwrap().zip(&expected) {
        let found: Vec<usize> = result.unwrap().output.iter().map(|best| best.class).collect();
        assert_eq!(&found, classes);
    }
    drop(pipeline);
    drop(hold);
}
