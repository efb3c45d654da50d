//! The functions as C calls them, on weights of random numbers. `test.sh` has the rest: real weights, C
//! and C++, what a program may get wrong.

use crate::call::call;
use crate::device::*;
use crate::error::*;
use crate::image::*;
use crate::model::*;
use crate::options::*;
use crate::run::*;
use crate::session::*;
use crate::status::effnet_status::*;
use crate::versioned::{self, versioned};
use effnet::arch::{Padding, Size, Variant};
use effnet::session::{Session, SessionOptions};
use effnet::weights::stand_in::{self, Random};
use effnet::weights::{Labels, Metadata, OutputActivation, Precision};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Barrier};
use std::thread;

const CLASSES: usize = 10;
const SIDE: u32 = 32;

fn metadata() -> Metadata {
    let metadata = stand_in::metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16);
    Metadata { classes: CLASSES, labels: Labels::None, ..metadata }
}

/// A packed file, for as long as the folder lives.
fn packed(folder: &Path, metadata: &Metadata) -> CString {
    let path = folder.join("weights.safetensors");
    stand_in::write(&path, metadata, 1).unwrap();
    CString::new(path.to_str().unwrap()).unwrap()
}

/// The words of an error, which is given back.
fn words(error: *mut effnet_error) -> String {
    // SAFETY: an error of this library, or NULL.
    unsafe {
        let words = CStr::from_ptr(effnet_error_message(error)).to_str().unwrap().to_owned();
        effnet_error_free(error);
        words
    }
}

struct Owned {
    model: *mut effnet_model,
    session: *mut effnet_session,
}

impl Owned {
    /// A session of so many images at a time; the model's handle is held too.
    fn new(metadata: &Metadata, change: impl FnOnce(&mut effnet_session_options)) -> Owned {
        let folder = tempfile::tempdir().unwrap();
        let path = packed(folder.path(), metadata);
        let (mut model, mut session, mut error) = (null_mut(), null_mut(), null_mut());
        // SAFETY: texts, places and a struct that live until the calls have returned.
        unsafe {
            let status =
                effnet_model_open(path.as_ptr(), EFFNET_MODEL_COPY, &mut model, &mut error);
            assert_eq!(status, EFFNET_OK, "{}", words(error));
            let mut options = options();
            change(&mut options);
            let status = effnet_session_create(model, &options, &mut session, &mut error);
            assert_eq!(status, EFFNET_OK, "{}", words(error));
        }
        Owned { model, session }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: handles of this library, not used again.
        unsafe {
            effnet_model_release(self.model);
            effnet_session_destroy(self.session);
        }
    }
}

fn options() -> effnet_session_options {
    let mut options = MaybeUninit::uninit();
    // SAFETY: as many bytes as are said.
    unsafe {
        let status =
            effnet_session_options_init(options.as_mut_ptr(), size_of::<effnet_session_options>());
        assert_eq!(status, EFFNET_OK);
        effnet_session_options {
            device: effnet_device::EFFNET_DEVICE_CPU as i32,
            batch: 2,
            height: SIDE,
            width: SIDE,
            threads: 1,
            ..options.assume_init()
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_run_is_that_of_the_runtime() {
    let metadata = metadata();
    let owned = Owned::new(&metadata, |_| {});
    let weights = Arc::new(stand_in::weights(&metadata, 1).unwrap());
    let size = Some(Size::square(SIDE as usize));
    let options = SessionOptions { batch: 2, size, ..SessionOptions::default() };
    let mut session = Session::new(weights, options).unwrap();
    let input = Random::new(3).vector(2 * session.input_elems());
    let expected = session.run(&input[..]).unwrap();
    let expected_logits = [expected.logits(0), expected.logits(1)].concat();
    let expected_features = [expected.features(0), expected.features(1)].concat();

    let (mut logits, mut features) = (vec![0.0; 2 * CLASSES], vec![0.0; expected_features.len()]);
    let mut error = null_mut();
    // SAFETY: buffers of the lengths that are said.
    let status = unsafe {
        effnet_run(
            owned.session,
            input.as_ptr().cast(),
            input.len(),
            2,
            logits.as_mut_ptr(),
            logits.len(),
            features.as_mut_ptr(),
            features.len(),
            &mut error,
        )
    };
    assert_eq!(status, EFFNET_OK, "{}", words(error));
    assert_eq!(bits(&logits), bits(&expected_logits));
    assert_eq!(bits(&features), bits(&expected_features));
    let mut best = [effnet_prediction { index: 0, probability: 0.0, logit: 0.0 }; 3];
    let mut count = 0;
    // SAFETY: as above.
    let status = unsafe {
        let (row, best) = (logits[CLASSES..].as_ptr(), best.as_mut_ptr());
        effnet_top_k(owned.session, row, CLASSES, 3, best, &mut count, &mut error)
    };
    assert_eq!((status, count), (EFFNET_OK, 3), "{}", words(error));
    let expected = expected.top_k(1, 3).unwrap();
    let expected: Vec<effnet_prediction> = expected.iter().map(Into::into).collect();
    assert_eq!(best[..], expected[..]);
    // No names: a class has a number alone.
    // SAFETY: a handle that is held.
    assert!(unsafe { effnet_model_label(owned.model, 0) }.is_null());
}

#[test]
fn a_second_thread_at_once_is_told_that_the_session_is_busy() {
    let owned = Owned::new(&metadata(), |_| {});
    // SAFETY: a handle that is held.
    let held: &Held = unsafe { crate::handle::get(owned.session) }.unwrap();
    let (taken, told) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let _call = held.take().unwrap();
            taken.wait();
            told.wait();
        });
        taken.wait();
        let mut error = null_mut();
        // SAFETY: a handle that is held, and nothing to read or write.
        let status = unsafe {
            effnet_collect(owned.session, null_mut(), 0, null_mut(), 0, null_mut(), &mut error)
        };
        assert_eq!(status, EFFNET_BUSY);
        let words = words(error);
        assert!(words.contains("one thread at a time"), "{words}");
        // What does not change is told meanwhile.
        let mut info = MaybeUninit::<effnet_session_info>::zeroed();
        // SAFETY: a struct with its own length.
        unsafe {
            let info = info.as_mut_ptr();
            (*info).struct_size = size_of::<effnet_session_info>();
            assert_eq!(effnet_session_get_info(owned.session, info, null_mut()), EFFNET_OK);
            assert_eq!(((*info).batch, (*info).height), (2, SIDE));
        }
        told.wait();
    });
}

#[test]
fn nothing_unwinds_and_a_session_whose_call_panicked_says_so() {
    let mut error = null_mut();
    // SAFETY: a place for an error.
    let status = unsafe { call(&mut error, || panic!("a fault of {}", "a test")) };
    assert_eq!(status, EFFNET_INTERNAL);
    let said = words(error);
    assert!(said.ends_with("a fault of a test") && said.contains("worth a report"), "{said}");

    let owned = Owned::new(&metadata(), |_| {});
    // SAFETY: a handle that is held.
    let held: &Held = unsafe { crate::handle::get(owned.session) }.unwrap();
    // SAFETY: nobody is told the words.
    let status = unsafe {
        call(null_mut(), || {
            let _call = held.take()?;
            panic!("in the middle of a run");
        })
    };
    assert_eq!(status, EFFNET_INTERNAL);
    // SAFETY: a handle that is held, and nothing to read or write.
    let status = unsafe {
        effnet_collect(owned.session, null_mut(), 0, null_mut(), 0, null_mut(), &mut error)
    };
    assert_eq!(status, EFFNET_INTERNAL);
    let said = words(error);
    assert!(said.contains("destroy it, and make another"), "{said}");
}

/// Without a classifier there are features alone.
#[test]
fn a_model_without_a_classifier_has_no_logits() {
    let activation = Some(OutputActivation::None);
    let owned = Owned::new(&Metadata { classes: 0, activation, ..metadata() }, |_| {});
    // SAFETY: a handle that is held.
    let facts = &unsafe { crate::handle::get::<Held>(owned.session) }.unwrap().facts;
    let input = vec![0.5f32; facts.input_elems];
    let mut features = vec![0.0; facts.features];
    let mut run = |logits: *mut f32, logits_len, error: &mut *mut effnet_error| {
        // SAFETY: buffers of the lengths that are said.
        unsafe {
            effnet_run(
                owned.session,
                input.as_ptr().cast(),
                input.len(),
                1,
                logits,
                logits_len,
                features.as_mut_ptr(),
                features.len(),
                error,
            )
        }
    };
    let mut error = null_mut();
    assert_eq!(run(null_mut(), 0, &mut error), EFFNET_OK, "{}", words(error));
    let mut logits = [0.0; 1];
    assert_eq!(run(logits.as_mut_ptr(), 1, &mut error), EFFNET_UNSUPPORTED);
    assert!(words(error).contains("no classifier"));
    assert!(features.iter().any(|&x| x != 0.0));
    let photo = include_bytes!("../../../tests/fixtures/images/photos/coffee.jpg");
    let image = effnet_image { data: photo.as_ptr().cast(), len: photo.len() };
    let mut best = effnet_prediction { index: 0, probability: 0.0, logit: 0.0 };
    let mut outcome = effnet_outcome { status: 0, count: 9, error: null_mut() };
    let mut count = 0;
    // SAFETY: buffers of the lengths that are said.
    let statuses = unsafe {
        let (data, len) = (image.data, image.len);
        [
            effnet_classify(owned.session, data, len, 1, &mut best, &mut count, null_mut()),
            effnet_classify_many(owned.session, &image, 1, 1, &mut best, &mut outcome, null_mut()),
            effnet_top_k(owned.session, null(), 0, 1, &mut best, &mut count, null_mut()),
        ]
    };
    assert_eq!(statuses, [EFFNET_UNSUPPORTED; 3]);
    assert_eq!((outcome.status, outcome.count), (EFFNET_UNSUPPORTED as i32, 0));
}

/// Pixels that a decoder of the caller's has made are prepared as the library's own decoder's are.
#[test]
fn pixels_are_prepared_as_encoded_images_are() {
    let photo = include_bytes!("../../../tests/fixtures/images/photos/coffee.jpg");
    for input in [effnet_input::EFFNET_INPUT_F32, effnet_input::EFFNET_INPUT_U8] {
        let owned = Owned::new(&metadata(), |options| options.input = input as i32);
        // SAFETY: a handle that is held.
        let facts = &unsafe { crate::handle::get::<Held>(owned.session) }.unwrap().facts;
        let library = facts.recipe.interpolation.library();
        let decoded = effnet::image::decode(photo, library, facts.recipe.exif_orientation).unwrap();
        let image = decoded.image;
        let elems = facts.input_elems;
        let [mut expected, mut found] = [(); 2].map(|()| vec![0f32; elems]);
        let mut error = null_mut();
        // SAFETY: buffers of the lengths that are said, for elements of either type.
        unsafe {
            let (data, out) = (photo.as_ptr().cast(), expected.as_mut_ptr().cast());
            let status =
                effnet_preprocess(owned.session, data, photo.len(), out, elems, &mut error);
            assert_eq!(status, EFFNET_OK, "{}", words(error));
            let (pixels, out) = (image.pixels.as_ptr(), found.as_mut_ptr().cast());
            let (width, height) = (image.width, image.height);
            let status = effnet_preprocess_rgb(
                owned.session,
                pixels,
                width,
                height,
                0,
                out,
                elems,
                &mut error,
            );
            assert_eq!(status, EFFNET_OK, "{}", words(error));
        }
        assert_eq!(bits(&found), bits(&expected), "{input:?}");
        assert!(found.iter().any(|&x| x != 0.0));
    }
}

/// A struct of a header.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct Grown {
    struct_size: usize,
    first: u64,
    second: u32,
    third: u32,
}

versioned!(Grown { struct_size: usize, first: u64, second: u32, third: u32 });

#[test]
fn a_struct_has_the_fields_that_the_caller_knows() {
    const DEFAULT: Grown = Grown { struct_size: 24, first: 1, second: 2, third: 3 };
    let given = Grown { struct_size: 0, first: 11, second: 12, third: 13 };
    for (struct_size, expected) in [
        (8, Grown { struct_size: 8, ..DEFAULT }),
        (15, Grown { struct_size: 15, ..DEFAULT }),
        (16, Grown { struct_size: 16, first: 11, ..DEFAULT }),
        (23, Grown { struct_size: 23, third: 3, ..given }),
        (24, Grown { struct_size: 24, ..given }),
    ] {
        let given = Grown { struct_size, ..given };
        // SAFETY: a struct that is at least as long as it says.
        assert_eq!(unsafe { versioned::read(&given, DEFAULT) }.unwrap(), expected);
        let mut written = Grown { struct_size, first: u64::MAX, second: !0, third: !0 };
        // SAFETY: as above.
        unsafe { versioned::write(&mut written, given) }.unwrap();
        // Whole fields are the value's, the rest of the caller's length is zeros, and what lies behind
        // it is as it was.
        let bytes = |value: &Grown| -> [u8; 24] {
            // SAFETY: as many bytes, without padding.
            unsafe { std::ptr::from_ref(value).cast::<[u8; 24]>().read() }
        };
        let known = [8, 16, 20, 24].into_iter().rfind(|&end| end <= struct_size).unwrap();
        assert_eq!(bytes(&written)[..known], bytes(&given)[..known]);
        assert!(bytes(&written)[known..struct_size].iter().all(|&byte| byte == 0));
        assert!(bytes(&written)[struct_size..].iter().all(|&byte| byte == 0xff));
    }
    for struct_size in [0, 7, 4097, usize::MAX] {
        let given = Grown { struct_size, ..given };
        // SAFETY: as above: nothing behind the length is looked at.
        let refused = unsafe { versioned::read(&given, DEFAULT) }.unwrap_err();
        assert_eq!(refused.status, EFFNET_INVALID_ARGUMENT);
        assert!(refused.to_string().contains("sizeof"), "{refused}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let (mut model, mut error) = (null_mut(), null_mut());
    // SAFETY: a text and places.
    let status = unsafe {
        effnet_model_open(c"/no/such/file.safetensors".as_ptr(), 0, &mut model, &mut error)
    };
    assert_eq!(status, EFFNET_NOT_FOUND);
    // SAFETY: an error of this library.
    assert_eq!(unsafe { effnet_error_status(error) }, EFFNET_NOT_FOUND);
    let said = words(error);
    assert!(said.contains("/no/such/file.safetensors"), "{said}");
}
