//! Photographs: decoded, prepared by the model's recipe, classified.

use crate::buffer;
use crate::call::call;
use crate::error::{Failure, effnet_error};
use crate::handle;
use crate::run::{effnet_prediction, give};
use crate::session::{Facts, Held, effnet_session};
use crate::status::effnet_status;
use effnet::image::{
    MAX_IMAGE_SIDE, RgbImage8, preprocess, preprocess_levels, preprocess_pixels,
    preprocess_pixels_levels,
};
use effnet::pipeline::{ImageFailure, ImageInput, PipelineError};
use effnet::session::{InputMut, InputType, Outputs, SessionError};
use std::ffi::{c_char, c_void};
use std::ptr::null_mut;

/// An encoded image in memory: JPEG, PNG, WebP, BMP, GIF (its first frame) or TIFF, recognised by
/// content.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct effnet_image {
    /// Its bytes.
    pub data: *const c_void,
    /// How many they are.
    pub len: usize,
}

/// What became of one image of effnet_classify_many.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct effnet_outcome {
    /// An effnet_status: EFFNET_OK, or why the image has no classes.
    pub status: i32,
    /// Classes that it has, at most k.
    pub count: u32,
    /// The same in words, to be given back by effnet_error_free; NULL where the status is
    /// EFFNET_OK.
    pub error: *mut effnet_error,
}

/// An encoded image as the session's input.
fn prepare(facts: &Facts, encoded: &[u8], to: InputMut<'_>) -> Result<(), Failure> {
    match to {
        InputMut::F32(values) => preprocess(encoded, &facts.recipe, values)?,
        InputMut::U8(levels) => {
            facts.expect_levels()?;
            preprocess_levels(encoded, &facts.recipe, levels)?
        }
    };
    Ok(())
}

/// The caller's place for one image.
///
/// # Safety
///
/// `out` is NULL, or can be written for `out_len` elements of the session's type, and nobody else
/// uses it.
unsafe fn tensor<'a>(
    facts: &Facts,
    out: *mut c_void,
    out_len: usize,
) -> Result<InputMut<'a>, Failure> {
    let elems = facts.input_elems;
    buffer::expect_len("out", out_len, elems)?;
    // SAFETY: the caller's promise.
    Ok(unsafe {
        match facts.input_type {
            InputType::F32 => InputMut::F32(buffer::write("out", out.cast(), elems)?),
            InputType::U8 => InputMut::U8(buffer::write("out", out.cast(), elems)?),
        }
    })
}

/// Decodes an image of len bytes, resizes and crops it by the model's recipe, and writes it as one
/// image of the session's input, [height, width, 3] in the session's type; out_len is the number of
/// elements that out has room for. After a failure what is in out means nothing. Any number of
/// threads may call it at once, also while another is in a call on the session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_preprocess(
    session: *const effnet_session,
    data: *const c_void,
    len: usize,
    out: *mut c_void,
    out_len: usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let Held { facts, .. } = unsafe { handle::get::<Held>(session) }?;
        // SAFETY: NULL, or so many bytes: the caller's promise.
        let encoded = unsafe { buffer::read("data", data.cast::<u8>(), len) }?;
        // SAFETY: NULL, or so many elements, of other memory: the caller's promise.
        let out = unsafe { tensor(facts, out, out_len) }?;
        prepare(facts, encoded, out)
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// As effnet_preprocess, of a picture that is decoded already: levels from 0 to 255 in the order R,
/// G, B, rows from the top, each stride bytes behind the one before; a stride of 0 is width * 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_preprocess_rgb(
    session: *const effnet_session,
    pixels: *const u8,
    width: usize,
    height: usize,
    stride: usize,
    out: *mut c_void,
    out_len: usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let Held { facts, .. } = unsafe { handle::get::<Held>(session) }?;
        let sides = 1..=MAX_IMAGE_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(Failure::argument(format!(
                "pixels: expected sides of 1 to {MAX_IMAGE_SIDE}, found {width} x {height} \
                 (width x height)"
            )));
        }
        let row = width * 3;
        let stride = if stride == 0 { row } else { stride };
        let len = (height - 1).checked_mul(stride).and_then(|len| len.checked_add(row));
        let (Some(len), true) = (len, stride >= row) else {
            return Err(Failure::argument(format!(
                "stride: expected at least {row} bytes, width * 3, found {stride}"
            )));
        };
        // SAFETY: NULL, or a picture of that size: the caller's promise.
        let from = unsafe { buffer::read("pixels", pixels, len) }?;
        let mut pixels = Vec::with_capacity(height * row);
        from.chunks(stride).for_each(|line| pixels.extend_from_slice(&line[..row]));
        let image = RgbImage8 { width, height, pixels };
        // SAFETY: NULL, or so many elements, of other memory: the caller's promise.
        match unsafe { tensor(facts, out, out_len) }? {
            InputMut::F32(values) => preprocess_pixels(&image, &facts.recipe, values)?,
            InputMut::U8(levels) => {
                facts.expect_levels()?;
                preprocess_pixels_levels(&image, &facts.recipe, levels)?
            }
        }
        Ok(())
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// One image through the session, by its own memory.
///
/// # Safety
///
/// `session` is NULL, or a handle that is held.
unsafe fn one<T>(
    session: *mut effnet_session,
    expects_classes: bool,
    prepare: impl FnOnce(&Facts, InputMut<'_>) -> Result<(), Failure>,
    output: impl FnOnce(&Facts, &Outputs<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    // SAFETY: the caller's promise.
    let held = unsafe { handle::get::<Held>(session) }?;
    if expects_classes && held.facts.classes == 0 {
        return Err(SessionError::NoClassifier.into());
    }
    let (mut running, _kept) = held.take()?;
    let session = running.session()?;
    if session.under_way() > 0 {
        return Err(SessionError::Busy { under_way: session.under_way() }.into());
    }
    prepare(&held.facts, session.input_mut(1)?)?;
    output(&held.facts, &session.run_staged(1)?)
}

fn expect_k(k: usize) -> Result<(), Failure> {
    if k > 0 { Ok(()) } else { Err(Failure::argument("k: expected at least 1 class, found 0")) }
}

/// The k best classes of an image of len bytes, the best first. predictions has room for k; count
/// gets how many there are: k, or all classes. No run may be under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_classify(
    session: *mut effnet_session,
    data: *const c_void,
    len: usize,
    k: usize,
    predictions: *mut effnet_prediction,
    count: *mut usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        expect_k(k)?;
        // SAFETY: NULL, or so many bytes: the caller's promise.
        let encoded = unsafe { buffer::read("data", data.cast::<u8>(), len) }?;
        let best = |facts: &Facts, outputs: &Outputs<'_>| {
            // SAFETY: NULL, or room for k, and a place for a number: the caller's promise.
            unsafe { give(&outputs.top_k(0, k.min(facts.classes))?, k, predictions, count) }
        };
        // SAFETY: NULL, or a handle: the caller's promise.
        unsafe { one(session, true, |facts, to| prepare(facts, encoded, to), best) }
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// As effnet_classify, of an image file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_classify_file(
    session: *mut effnet_session,
    path: *const c_char,
    k: usize,
    predictions: *mut effnet_prediction,
    count: *mut usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        expect_k(k)?;
        // SAFETY: NULL, or a text: the caller's promise.
        let path = unsafe { buffer::path("path", path) }?;
        let prepare = |facts: &Facts, to: InputMut<'_>| {
            facts.expect_levels()?;
            let image = ImageInput::file(path);
            let prepared = match to {
                InputMut::F32(values) => image.prepare(&facts.recipe, values),
                InputMut::U8(levels) => image.prepare_levels(&facts.recipe, levels),
            };
            prepared.map_err(|kind| Failure::of_file(path, kind))?;
            Ok(())
        };
        let best = |facts: &Facts, outputs: &Outputs<'_>| {
            // SAFETY: NULL, or room for k, and a place for a number: the caller's promise.
            unsafe { give(&outputs.top_k(0, k.min(facts.classes))?, k, predictions, count) }
        };
        // SAFETY: NULL, or a handle: the caller's promise.
        unsafe { one(session, true, prepare, best) }
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// The features of an image of len bytes: what the network has before its classifier. features_len
/// is the number of elements that features has room for, at least the session's. No run may be
/// under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_features(
    session: *mut effnet_session,
    data: *const c_void,
    len: usize,
    features: *mut f32,
    features_len: usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or so many bytes: the caller's promise.
        let encoded = unsafe { buffer::read("data", data.cast::<u8>(), len) }?;
        let prepare = |facts: &Facts, to: InputMut<'_>| {
            buffer::expect_len("features", features_len, facts.features)?;
            prepare(facts, encoded, to)
        };
        let output = |facts: &Facts, outputs: &Outputs<'_>| {
            // SAFETY: NULL, or so many elements: the caller's promise.
            let to = unsafe { buffer::write("features", features, facts.features) }?;
            to.copy_from_slice(outputs.features(0));
            Ok(())
        };
        // SAFETY: NULL, or a handle: the caller's promise.
        unsafe { one(session, false, prepare, output) }
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// The k best classes of each of n images. Images are decoded on all cores (the session's threads)
/// while the network runs as many at once as the session's batch. Image i has its classes at
/// predictions[i * k], which has room for n * k, and its outcome at outcomes[i].
///
/// A bad image has an outcome of its own, and the others go on; the call is EFFNET_OK where every
/// image has had its turn. After another status, outcomes without an error object are of images
/// that had none. No run may be under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_classify_many(
    session: *mut effnet_session,
    images: *const effnet_image,
    n: usize,
    k: usize,
    predictions: *mut effnet_prediction,
    outcomes: *mut effnet_outcome,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        expect_k(k)?;
        let room = n.checked_mul(k).ok_or_else(|| Failure::argument("n * k is too large"))?;
        // SAFETY: NULL, or as many as is said: the caller's promise.
        let (images, predictions, outcomes) = unsafe {
            (
                buffer::read("images", images, n)?,
                buffer::write("predictions", predictions, room)?,
                buffer::write("outcomes", outcomes, n)?,
            )
        };
        let mut outcomes = Outcomes { outcomes, reached: 0 };
        // SAFETY: NULL, or a handle, and images of as many bytes as they say: the caller's promise.
        let done = unsafe { many(session, images, k, predictions, &mut outcomes) };
        outcomes.end(done)
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// The caller's places for outcomes, and how many are written.
struct Outcomes<'a> {
    outcomes: &'a mut [effnet_outcome],
    reached: usize,
}

impl Outcomes<'_> {
    fn set(&mut self, outcome: effnet_outcome) {
        if let Some(to) = self.outcomes.get_mut(self.reached) {
            *to = outcome;
        }
        self.reached += 1;
    }

    /// What is not reached is as the call is.
    fn end(self, done: Result<(), Failure>) -> Result<(), Failure> {
        let status =
            done.as_ref().err().map_or(effnet_status::EFFNET_INTERNAL, |f| f.status) as i32;
        let rest = self.outcomes.iter_mut().skip(self.reached);
        rest.for_each(|to| *to = effnet_outcome { status, count: 0, error: null_mut() });
        done
    }
}

/// # Safety
///
/// `session` is NULL, or a handle that is held; the bytes of each image can be read, and nobody
/// writes them meanwhile, or its pointer is NULL.
unsafe fn many(
    session: *mut effnet_session,
    images: &[effnet_image],
    k: usize,
    predictions: &mut [effnet_prediction],
    outcomes: &mut Outcomes<'_>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let held = unsafe { handle::get::<Held>(session) }?;
    if held.facts.classes == 0 {
        return Err(SessionError::NoClassifier.into());
    }
    let (mut running, _kept) = held.take()?;
    let pipeline = running.pipeline(&held.facts)?;
    // Copied when their turn comes: a decoding thread may outlive a call that fails.
    let inputs = images.iter().map(|image| {
        // SAFETY: the caller's promise.
        match unsafe { buffer::read("data", image.data.cast::<u8>(), image.len) } {
            Ok(bytes) => ImageInput::bytes(bytes.to_vec()),
            Err(failure) => ImageInput::failed(failure.to_string()),
        }
    });
    let rows = predictions.chunks_exact_mut(k);
    let results = pipeline.classify(inputs, k.min(held.facts.classes))?;
    for (result, row) in results.zip(rows) {
        match result {
            Ok(image) => {
                for (to, prediction) in row.iter_mut().zip(&image.output) {
                    *to = prediction.into();
                }
                let count = u32::try_from(image.output.len()).unwrap_or(u32::MAX);
                let status = effnet_status::EFFNET_OK as i32;
                outcomes.set(effnet_outcome { status, count, error: null_mut() });
            }
            Err(PipelineError::Image(ImageFailure { kind, .. })) => {
                let failure = Failure::from(kind);
                let status = failure.status as i32;
                outcomes.set(effnet_outcome { status, count: 0, error: failure.into_object() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
