//! Ready tensors through a session, and what is made of logits.

use crate::buffer;
use crate::call::call;
use crate::error::{Failure, effnet_error};
use crate::handle;
use crate::session::{Facts, Held, effnet_session};
use crate::status::effnet_status;
use effnet::session::{
    DevicePointer, Input, InputType, NonFiniteLogits, Outputs, Prediction, StreamHandle,
};
use std::ffi::c_void;

/// One class, and how sure the network is of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct effnet_prediction {
    /// The class, for effnet_model_label.
    pub index: u32,
    /// Its probability by the session's activation; NaN where that is EFFNET_ACTIVATION_NONE.
    pub probability: f32,
    /// Its logit.
    pub logit: f32,
}

impl From<&Prediction> for effnet_prediction {
    fn from(prediction: &Prediction) -> effnet_prediction {
        effnet_prediction {
            index: u32::try_from(prediction.class).unwrap_or(u32::MAX),
            probability: prediction.probability.unwrap_or(f32::NAN),
            logit: prediction.logit,
        }
    }
}

/// The caller's places for logits and features, each of which may be left out.
#[derive(Clone, Copy)]
struct Wanted {
    logits: *mut f32,
    logits_len: usize,
    features: *mut f32,
    features_len: usize,
}

impl Wanted {
    /// Before a run, whose outputs would be lost.
    fn check(&self, facts: &Facts, n: usize) -> Result<(), Failure> {
        let Wanted { logits, logits_len, features, features_len } = *self;
        if !logits.is_null() || logits_len > 0 {
            if facts.classes == 0 {
                return Err(no_classifier());
            }
            expect("logits", logits, logits_len, n * facts.classes)?;
        }
        if !features.is_null() || features_len > 0 {
            expect("features", features, features_len, n * facts.features)?;
        }
        Ok(())
    }

    /// # Safety
    ///
    /// Each is NULL, or can be written for as many elements as is said. Nobody else uses them.
    unsafe fn give(&self, facts: &Facts, outputs: &Outputs<'_>) -> Result<(), Failure> {
        let n = outputs.len();
        if self.logits_len > 0 {
            // SAFETY: the caller's promise; checked to be long enough.
            let to = unsafe { buffer::write("logits", self.logits, n * facts.classes) }?;
            for (image, to) in to.chunks_exact_mut(facts.classes).enumerate() {
                to.copy_from_slice(outputs.logits(image));
            }
        }
        if self.features_len > 0 {
            // SAFETY: as above.
            let to = unsafe { buffer::write("features", self.features, n * facts.features) }?;
            for (image, to) in to.chunks_exact_mut(facts.features).enumerate() {
                to.copy_from_slice(outputs.features(image));
            }
        }
        Ok(())
    }
}

fn no_classifier() -> Failure {
    Failure::from(effnet::session::SessionError::NoClassifier)
}

fn expect(what: &str, start: *mut f32, len: usize, expected: usize) -> Result<(), Failure> {
    buffer::expect_len(what, len, expected)?;
    buffer::check::<f32>(what, start.addr(), len)
}

/// The images of a run.
///
/// # Safety
///
/// `input` is NULL, or can be read for `input_len` elements of the session's type, and nobody
/// writes it while the result is used.
unsafe fn images<'a>(
    facts: &Facts,
    input: *const c_void,
    input_len: usize,
    n: usize,
) -> Result<Input<'a>, Failure> {
    if !(1..=facts.batch).contains(&n) {
        let batch = facts.batch;
        return Err(Failure::argument(format!(
            "n: expected 1 to {batch} images, the session's batch, found {n}"
        )));
    }
    let elems = n * facts.input_elems;
    if input_len < elems {
        let size = facts.recipe.size;
        return Err(Failure::argument(format!(
            "input: expected {elems} elements, {n} images of {size} with 3 channels, \
             found {input_len}"
        )));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe {
        match facts.input_type {
            InputType::F32 => Input::F32(buffer::read("input", input.cast(), elems)?),
            InputType::U8 => Input::U8(buffer::read("input", input.cast(), elems)?),
        }
    })
}

/// Runs n images, [n, height, width, 3] in the session's type (effnet_input), and waits for them.
/// input_len is the number of elements of input; n is 1 to the session's batch. Writes logits, [n,
/// classes], and features, [n, features], each with the number of elements that it has room for;
/// either may be NULL with 0.
///
/// Logits are what the network computed, NaN and infinities included. An image's logits are the
/// same bytes whatever batch it is in. No run may be under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_run(
    session: *mut effnet_session,
    input: *const c_void,
    input_len: usize,
    n: usize,
    logits: *mut f32,
    logits_len: usize,
    features: *mut f32,
    features_len: usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let held = unsafe { handle::get::<Held>(session) }?;
        // SAFETY: NULL, or so many elements: the caller's promise.
        let input = unsafe { images(&held.facts, input, input_len, n) }?;
        let wanted = Wanted { logits, logits_len, features, features_len };
        wanted.check(&held.facts, n)?;
        let (mut running, _kept) = held.take()?;
        let outputs = running.session()?.run(input)?;
        // SAFETY: NULL, or so many elements: the caller's promise.
        unsafe { wanted.give(&held.facts, &outputs) }
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// Begins a run as effnet_run does, beside others: at most as many are under way as the session's
/// capacity says, else it is EFFNET_BUSY. The input may be changed when this returns.
/// effnet_collect waits for it. After EFFNET_DEVICE_ERROR nothing is under way any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_submit(
    session: *mut effnet_session,
    input: *const c_void,
    input_len: usize,
    n: usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let held = unsafe { handle::get::<Held>(session) }?;
        // SAFETY: NULL, or so many elements: the caller's promise.
        let input = unsafe { images(&held.facts, input, input_len, n) }?;
        let (mut running, _kept) = held.take()?;
        let session = running.session()?;
        let submitted = session.submit(input);
        let under_way = session.under_way();
        match submitted {
            Ok(()) => running.under_way.push_back(n),
            // A device that fails gives up what is under way.
            Err(_) if under_way == 0 => running.under_way.clear(),
            Err(_) => {}
        }
        Ok(submitted?)
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// Waits for the oldest run that was submitted and not collected, and writes its outputs as
/// effnet_run does; n gets its number of images, unless it is NULL. With a buffer that is too short
/// the run stays to be collected.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_collect(
    session: *mut effnet_session,
    logits: *mut f32,
    logits_len: usize,
    features: *mut f32,
    features_len: usize,
    n: *mut usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let held = unsafe { handle::get::<Held>(session) }?;
        let (mut running, _kept) = held.take()?;
        let oldest = running.under_way.front().copied();
        let images = oldest.ok_or(effnet::session::SessionError::NothingSubmitted)?;
        let wanted = Wanted { logits, logits_len, features, features_len };
        wanted.check(&held.facts, images)?;
        running.under_way.pop_front();
        let session = running.session()?;
        let given = session.collect().map_err(Failure::from).and_then(|outputs| {
            // SAFETY: NULL, or so many elements: the caller's promise.
            unsafe { wanted.give(&held.facts, &outputs) }
        });
        if session.under_way() == 0 {
            running.under_way.clear();
        }
        given?;
        if !n.is_null() {
            // SAFETY: NULL, or a place for a number: the caller's promise.
            unsafe { buffer::place("n", n) }?.set(images);
        }
        Ok(())
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// Runs n images that are in a GPU's memory: from input, [n, height, width, 3] in the session's
/// type, to logits, float [n, classes], both device pointers. Nothing passes the host. The run
/// follows what cuda_stream (a cudaStream_t or CUstream; NULL is the default stream) has been given
/// so far, what cuda_stream is given later follows the run, and the call returns without waiting.
///
/// input must be readable by the session's GPU and stay as it is, and logits be left alone, from
/// the call until the run's end on cuda_stream. The stream belongs to the session's GPU and to its
/// primary context, as those of CUDA's runtime API do; it must not be capturing. The calling
/// thread's current CUDA device stays as it is.
///
/// The run counts as none that is under way, and is not collected. A fault of it is told by whoever
/// waits for cuda_stream, and by later calls. EFFNET_UNSUPPORTED on a session that is not on a CUDA
/// GPU.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_run_device(
    session: *mut effnet_session,
    input: *const c_void,
    n: usize,
    logits: *mut c_void,
    cuda_stream: *mut c_void,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let held = unsafe { handle::get::<Held>(session) }?;
        let (mut running, _kept) = held.take()?;
        let session = running.session()?;
        let [input, logits] =
            [input.addr(), logits.addr()].map(|address| DevicePointer(address as u64));
        // SAFETY: memory and stream are as this function's caller promises.
        let queued = unsafe { session.run_device(input, n, logits, StreamHandle(cuda_stream)) };
        if session.under_way() == 0 {
            running.under_way.clear();
        }
        Ok(queued?)
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// The logits of one image.
///
/// # Safety
///
/// `logits` is NULL, or can be read for `len` elements, and nobody writes them meanwhile.
unsafe fn row<'a>(facts: &Facts, logits: *const f32, len: usize) -> Result<&'a [f32], Failure> {
    if facts.classes == 0 {
        return Err(no_classifier());
    }
    if len != facts.classes {
        let classes = facts.classes;
        return Err(Failure::argument(format!(
            "logits: expected the {classes} of one image, found {len}"
        )));
    }
    // SAFETY: the caller's promise.
    unsafe { buffer::read("logits", logits, len) }
}

/// The probabilities of one image's logits, both of as many elements as the model has classes, by
/// the session's activation; it may be the same memory. EFFNET_NOT_FINITE where one of the logits
/// is NaN or infinite, EFFNET_UNSUPPORTED where the activation is EFFNET_ACTIVATION_NONE. Any
/// number of threads may call it at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_probabilities(
    session: *const effnet_session,
    logits: *const f32,
    logits_len: usize,
    probabilities: *mut f32,
    probabilities_len: usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let Held { facts, .. } = unsafe { handle::get::<Held>(session) }?;
        // SAFETY: NULL, or so many elements: the caller's promise.
        let logits = unsafe { row(facts, logits, logits_len) }?;
        expect("probabilities", probabilities, probabilities_len, facts.classes)?;
        if let Some(fault) = NonFiniteLogits::of(logits) {
            return Err(fault.into());
        }
        let Some(values) = facts.activation.probabilities(logits) else {
            return Err(Failure::new(
                effnet_status::EFFNET_UNSUPPORTED,
                "the session's activation is EFFNET_ACTIVATION_NONE: its logits are scores, and have \
                 no probabilities",
            ));
        };
        // SAFETY: NULL, or so many elements: the caller's promise. The logits are not used any
        // more.
        unsafe { buffer::write("probabilities", probabilities, values.len()) }?
            .copy_from_slice(&values);
        Ok(())
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// The k best classes of one image's logits, the best first, equal logits in the order of their
/// classes. predictions has room for k; count gets how many there are: k, or all classes.
/// EFFNET_NOT_FINITE where one of the logits is NaN or infinite. Any number of threads may call it
/// at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_top_k(
    session: *const effnet_session,
    logits: *const f32,
    logits_len: usize,
    k: usize,
    predictions: *mut effnet_prediction,
    count: *mut usize,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let Held { facts, .. } = unsafe { handle::get::<Held>(session) }?;
        // SAFETY: NULL, or so many elements: the caller's promise.
        let logits = unsafe { row(facts, logits, logits_len) }?;
        let best = Prediction::best(logits, k, facts.activation)?;
        // SAFETY: NULL, or room for k, and a place for a number: the caller's promise.
        unsafe { give(&best, k, predictions, count) }
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// Writes the best classes, and how many they are.
///
/// # Safety
///
/// `predictions` is NULL, or can be written for `k`; `count` is NULL, or can be written.
pub unsafe fn give(
    best: &[Prediction],
    k: usize,
    predictions: *mut effnet_prediction,
    count: *mut usize,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let (to, mut count) =
        unsafe { (buffer::write("predictions", predictions, k)?, buffer::place("count", count)?) };
    for (to, prediction) in to.iter_mut().zip(best) {
        *to = prediction.into();
    }
    count.set(best.len().min(k));
    Ok(())
}
