//! A model on a device, for one thread at a time.

use crate::buffer;
use crate::call::call;
use crate::device::effnet_device;
use crate::error::{Failure, c_string, effnet_error};
use crate::handle::{self, Kind};
use crate::model::{Model, effnet_model};
use crate::options::{activation_number, effnet_input, effnet_session_options, precision_number};
use crate::status::effnet_status;
use crate::versioned::{self, versioned};
use effnet::device::cuda::KeptContext;
use effnet::image::Recipe;
use effnet::pipeline::{Pipeline, PipelineOptions};
use effnet::session::{Device, InputType, Session};
use effnet::weights::OutputActivation;
use std::collections::VecDeque;
use std::ffi::{CString, c_char};
use std::process;
use std::sync::{Mutex, MutexGuard, TryLockError};

/// A model that is ready to run on a device, with all the memory that its runs take. One thread at
/// a time uses it, any thread: a call while another thread is in one gives EFFNET_BUSY, and does
/// nothing. Threads that are to run at once have a session each, of one model. So has a child of
/// fork: a session of its parent gives EFFNET_UNSUPPORTED there.
pub struct effnet_session(());

/// Behind an [`effnet_session`].
pub struct Held {
    pub facts: Facts,
    /// The process that has the session's threads.
    process: u32,
    running: Mutex<Running>,
}

/// What does not change.
pub struct Facts {
    pub classes: usize,
    pub features: usize,
    pub batch: usize,
    pub input_elems: usize,
    pub input_type: InputType,
    pub recipe: Recipe,
    pub activation: OutputActivation,
    device: Device,
    device_name: CString,
    description: CString,
    capacity: usize,
    precision: i32,
    threads: Option<usize>,
}

/// What one thread at a time has.
pub struct Running {
    machine: Machine,
    /// Images of each run that was submitted and not collected, the oldest first.
    pub under_way: VecDeque<usize>,
}

enum Machine {
    Session(Box<Session>),
    /// With threads that decode, once many images were asked for.
    Pipeline(Box<Pipeline>),
    /// What it was has failed on the way to the other.
    Lost,
}

impl Kind for Held {
    const MAGIC: u64 = u64::from_le_bytes(*b"effn_ses");
    const NAME: &'static str = "effnet_session";
    type Opaque = effnet_session;
}

impl Held {
    fn new(session: Session, threads: Option<usize>) -> Held {
        let plan = session.plan();
        let classes = if session.has_classifier() { plan.network.classes } else { 0 };
        Held {
            facts: Facts {
                classes,
                features: plan.network.c_head,
                batch: session.batch(),
                input_elems: session.input_elems(),
                input_type: session.input_type(),
                recipe: session.recipe(),
                activation: session.activation(),
                device: session.device(),
                device_name: c_string(&session.device_name()),
                description: c_string(&session.description()),
                capacity: session.capacity(),
                precision: precision_number(session.compute()),
                threads,
            },
            process: process::id(),
            running: Mutex::new(Running {
                machine: Machine::Session(Box::new(session)),
                under_way: VecDeque::new(),
            }),
        }
    }

    /// The session for the calling thread alone; the thread's CUDA context is as before at the end.
    pub fn take(&self) -> Result<(MutexGuard<'_, Running>, Option<KeptContext>), Failure> {
        if !self.is_of_this_process() {
            let (parent, child) = (self.process, process::id());
            return Err(Failure::new(
                effnet_status::EFFNET_UNSUPPORTED,
                format!(
                    "the session was made by process {parent}, and this is its child {child}, which \
                     has none of its threads: make sessions after the fork"
                ),
            ));
        }
        let running = self.running.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Failure::new(
                effnet_status::EFFNET_BUSY,
                "another thread is in a call on this session: one thread at a time uses a session; \
                 make a session of the same model for each thread",
            ),
            TryLockError::Poisoned(_) => lost(),
        })?;
        Ok((running, self.kept_context()))
    }

    /// Whether the session's threads are there: a forked child has memory alone.
    fn is_of_this_process(&self) -> bool {
        self.process == process::id()
    }

    fn kept_context(&self) -> Option<KeptContext> {
        self.facts.device.gpu().map(|_| KeptContext::new())
    }
}

fn lost() -> Failure {
    Failure::new(
        effnet_status::EFFNET_INTERNAL,
        "an earlier call on this session ended in a fault of libeffnet: destroy it, and make \
         another",
    )
}

impl Running {
    /// The session, without threads that decode.
    pub fn session(&mut self) -> Result<&mut Session, Failure> {
        let machine = std::mem::replace(&mut self.machine, Machine::Lost);
        self.machine = match machine {
            Machine::Pipeline(pipeline) => Machine::Session(Box::new(pipeline.into_session())),
            other => other,
        };
        match &mut self.machine {
            Machine::Session(session) => Ok(session),
            Machine::Pipeline(_) | Machine::Lost => Err(lost()),
        }
    }

    /// The session with threads that decode, and none of its runs under way.
    pub fn pipeline(&mut self, facts: &Facts) -> Result<&mut Pipeline, Failure> {
        if !self.under_way.is_empty() {
            let under_way = self.under_way.len();
            return Err(Failure::new(
                effnet_status::EFFNET_BUSY,
                format!("{under_way} runs are under way: collect them before this call"),
            ));
        }
        if let Machine::Session(_) = &self.machine {
            facts.expect_levels()?;
            let Machine::Session(session) = std::mem::replace(&mut self.machine, Machine::Lost)
            else {
                return Err(lost());
            };
            let options = PipelineOptions { threads: facts.threads };
            self.machine = Machine::Pipeline(Box::new(Pipeline::new(*session, options)?));
        }
        match &mut self.machine {
            Machine::Pipeline(pipeline) => Ok(pipeline),
            Machine::Session(_) | Machine::Lost => Err(lost()),
        }
    }
}

impl Facts {
    /// Whether photographs can be prepared for the session at all.
    pub fn expect_levels(&self) -> Result<(), Failure> {
        if self.input_type == InputType::F32 || self.recipe.rounds_to_levels() {
            return Ok(());
        }
        Err(Failure::new(
            effnet_status::EFFNET_UNSUPPORTED,
            "the model's recipe resizes to fractions of levels, which a session of EFFNET_INPUT_U8 \
             does not take: make one of EFFNET_INPUT_F32, or give it pixels that are resized already",
        ))
    }
}

/// What there is to know of a session. Fields are added at its end alone. Texts are UTF-8 and live
/// as long as the session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct effnet_session_info {
    /// sizeof(effnet_session_info), set by the caller.
    pub struct_size: usize,
    /// The device's own name, as "NVIDIA H100 80GB HBM3, sm_90".
    pub device_name: *const c_char,
    /// The session in a line for people: device, kernels, precision.
    pub description: *const c_char,
    /// Elements of one image, height * width * 3.
    pub input_elems: usize,
    /// Most images of a run.
    pub batch: u32,
    /// Most runs that may be under way at once, of effnet_submit.
    pub capacity: u32,
    /// Height of the images.
    pub height: u32,
    /// Width of the images.
    pub width: u32,
    /// Logits of an image; 0 where the model has no classifier.
    pub classes: u32,
    /// Features of an image.
    pub features: u32,
    /// An effnet_device, never EFFNET_DEVICE_AUTO.
    pub device: i32,
    /// A GPU's number.
    pub device_index: u32,
    /// An effnet_precision, never EFFNET_PRECISION_DEFAULT: in which the device computes.
    pub precision: i32,
    /// An effnet_activation, never EFFNET_ACTIVATION_DEFAULT.
    pub activation: i32,
    /// An effnet_input: the type of the images' elements.
    pub input: i32,
    /// 0.
    pub reserved: u32,
}

versioned!(effnet_session_info {
    struct_size: usize,
    device_name: *const c_char,
    description: *const c_char,
    input_elems: usize,
    batch: u32,
    capacity: u32,
    height: u32,
    width: u32,
    classes: u32,
    features: u32,
    device: i32,
    device_index: u32,
    precision: i32,
    activation: i32,
    input: i32,
    reserved: u32,
});

/// Makes a session: plans the network, allocates the memory of its runs, uploads the weights to a
/// GPU. options may be NULL, for those of effnet_session_options_init. The model may be released
/// afterwards.
///
/// On a GPU the first run of each number of images records its launches, and takes longer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_session_create(
    model: *const effnet_model,
    options: *const effnet_session_options,
    session: *mut *mut effnet_session,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a place for a handle: the caller's promise.
        let mut session = unsafe { buffer::place("session", session) }?;
        session.set(std::ptr::null_mut());
        // SAFETY: NULL, or a handle: the caller's promise.
        let model = unsafe { handle::get::<Model>(model) }?;
        // SAFETY: NULL, or a struct that begins with its own length: the caller's promise.
        let options = unsafe { effnet_session_options::read(options) }?;
        let _kept = options.may_use_cuda().then(KeptContext::new);
        let runtime = options.to_runtime()?;
        let made = Session::new(model.weights.clone(), runtime).map_err(|error| {
            let failure = Failure::from(error);
            // A build without the emulator: not a device that failed.
            match runtime.device == Device::Emulator
                && failure.status == effnet_status::EFFNET_DEVICE_ERROR
            {
                true => Failure { status: effnet_status::EFFNET_UNSUPPORTED, ..failure },
                false => failure,
            }
        })?;
        session.set(handle::new(Held::new(made, options.threads())));
        Ok(())
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// Gives a session back, with what is under way on it. Does nothing for NULL. Where another thread
/// is in a call on the session, it waits for the end of that call; no call may begin meanwhile. In a
/// forked child, which has none of the session's threads, the memory stays in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_session_destroy(session: *mut effnet_session) {
    let work = || {
        // SAFETY: NULL, or a handle that is held: the caller's promise.
        let _kept = match unsafe { handle::get::<Held>(session) } {
            Err(_) => return Ok(()),
            // It would wait for threads that are not there.
            Ok(held) if !held.is_of_this_process() => return Ok(()),
            Ok(held) => {
                drop(held.running.lock());
                held.kept_context()
            }
        };
        // SAFETY: a handle that the caller does not use again: the caller's promise.
        drop(unsafe { handle::release::<Held>(session) });
        Ok(())
    };
    // SAFETY: nobody is told the words.
    unsafe { call(std::ptr::null_mut(), work) };
}

/// Tells of a session; also while another thread is in a call on it. info->struct_size is set by
/// the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_session_get_info(
    session: *const effnet_session,
    info: *mut effnet_session_info,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let Held { facts, .. } = unsafe { handle::get::<Held>(session) }?;
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (device, device_index) = effnet_device::numbers(facts.device);
        let value = effnet_session_info {
            struct_size: size_of::<effnet_session_info>(),
            device_name: facts.device_name.as_ptr(),
            description: facts.description.as_ptr(),
            input_elems: facts.input_elems,
            batch: number(facts.batch),
            capacity: number(facts.capacity),
            height: number(facts.recipe.size.h),
            width: number(facts.recipe.size.w),
            classes: number(facts.classes),
            features: number(facts.features),
            device,
            device_index,
            precision: facts.precision,
            activation: activation_number(facts.activation),
            input: match facts.input_type {
                InputType::F32 => effnet_input::EFFNET_INPUT_F32 as i32,
                InputType::U8 => effnet_input::EFFNET_INPUT_U8 as i32,
            },
            reserved: 0,
        };
        // SAFETY: NULL, or a struct that begins with its own length: the caller's promise.
        unsafe { versioned::write(info, value) }
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}
