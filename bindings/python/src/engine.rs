//! A session with the threads that decode for it, shared by Python's threads and streams.

use crate::errors::{Failure, Kind};
use crate::images::Image;
use effnet::image::{ImageWarning, Recipe};
use effnet::memory;
use effnet::session::{InputBuffer, InputMut, Prediction, Session, SessionOptions};
use effnet::weights::Weights;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// What is wanted of each image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// So many of the best classes.
    Best(usize),
    /// The logits.
    Logits,
    /// The pooled features.
    Features,
    /// The tensor that the network would take; nothing is run.
    Tensor,
}

/// What came of one image.
pub enum Output {
    /// Its best classes.
    Best(Vec<Prediction>),
    /// Numbers.
    Row(Vec<f32>),
}

/// One image's result, and what is wrong with its file all the same.
pub struct ImageResult {
    /// The image's place among the inputs, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What came of it.
    pub outcome: Result<(Output, Vec<ImageWarning>), Failure>,
}

/// An image that was taken from the inputs.
pub struct Taken {
    /// Its place among the inputs, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// The image.
    pub image: Image,
}

/// Whether an image's tensor is ready.
struct Prepared {
    index: usize,
    name: String,
    result: Result<Vec<ImageWarning>, Failure>,
}

/// The images of one run, decoded.
pub struct PreparedRun {
    /// The tensors of the good ones, in order and without gaps.
    buffer: InputBuffer,
    /// How many good ones there are.
    n: usize,
    /// All of them.
    images: Vec<Prepared>,
}

/// A session and its threads. In a process that was forked off the one that made them, the threads
/// are missing: there nothing is used, and nothing is dropped.
pub struct Engine {
    parts: ManuallyDrop<Parts>,
    pid: u32,
    closed: AtomicBool,
}

struct Parts {
    session: Mutex<Session>,
    weights: Arc<Weights>,
    options: SessionOptions,
    recipe: Recipe,
    decode_threads: usize,
    /// Started when images are first decoded beside each other.
    pool: Mutex<Option<Arc<ThreadPool>>>,
    /// Memory of runs that nobody uses at the moment.
    spare: Mutex<Vec<InputBuffer>>,
    /// Nanoseconds that the last call of [`Engine::run`] was in the session.
    nanos: AtomicU64,
}

/// Locks what is consistent also after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// A session on these weights. Nothing is started yet that decodes.
    pub fn new(
        weights: Weights,
        options: SessionOptions,
        decode_threads: usize,
    ) -> Result<Engine, Failure> {
        let weights = Arc::new(weights);
        let session = Session::new(weights.clone(), options)?;
        let recipe = session.recipe();
        let parts = Parts {
            session: Mutex::new(session),
            weights,
            options,
            recipe,
            decode_threads,
            pool: Mutex::new(None),
            spare: Mutex::new(Vec::new()),
            nanos: AtomicU64::new(0),
        };
        let (pid, closed) = (process::id(), AtomicBool::new(false));
        Ok(Engine { parts: ManuallyDrop::new(parts), pid, closed })
    }

    /// Whether it can be used: not where it was closed, and not in a fork of its process.
    pub fn check(&self) -> Result<(), Failure> {
        let here = process::id();
        if self.pid != here {
            let pid = self.pid;
            return Err(Failure::new(
                Kind::Device,
                format!(
                    "the model was loaded in process {pid} and this is its fork {here}, which \
                     has none of its threads: load the model after the fork, or start processes by \
                     multiprocessing's 'spawn'"
                ),
            ));
        }
        match self.closed.load(Ordering::Relaxed) {
            true => Err(Failure::new(Kind::Other, "the model is closed: load it again")),
            false => Ok(()),
        }
    }

    /// Whether this is the process that made it.
    pub fn is_here(&self) -> bool {
        self.pid == process::id()
    }

    /// No further call is answered.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// The weights.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.parts.weights
    }

    /// What the session was made for.
    pub fn options(&self) -> SessionOptions {
        self.parts.options
    }

    /// From a picture to the session's input.
    pub fn recipe(&self) -> &Recipe {
        &self.parts.recipe
    }

    /// Threads that decode.
    pub fn decode_threads(&self) -> usize {
        self.parts.decode_threads
    }

    /// Nanoseconds that the last call of [`run`](Engine::run) was in the session.
    pub fn session_nanos(&self) -> u64 {
        self.parts.nanos.load(Ordering::Relaxed)
    }

    /// The session, alone. To be called without the interpreter's lock.
    pub fn session(&self) -> Result<MutexGuard<'_, Session>, Failure> {
        self.parts.session.lock().map_err(|_| {
            let text = "an earlier run of this model has panicked, its message is on standard \
                        error: load the model again";
            Failure::new(Kind::Device, text)
        })
    }

    /// Runs ready images, `[n, h, w, 3]` with `n` at most the session's batch, and writes logits
    /// and features. To be called without the interpreter's lock.
    pub fn run(
        &self,
        input: &[f32],
        logits: &mut [f32],
        features: &mut [f32],
    ) -> Result<(), Failure> {
        let mut session = self.session()?;
        let began = Instant::now();
        let outputs = session.run(input)?;
        let n = outputs.len();
        for image in 0..n {
            copy_row(logits, n, image, outputs.logits(image));
            copy_row(features, n, image, outputs.features(image));
        }
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.parts.nanos.store(nanos, Ordering::Relaxed);
        Ok(())
    }

    fn pool(&self) -> Result<Arc<ThreadPool>, Failure> {
        let threads = self.parts.decode_threads;
        let mut pool = lock(&self.parts.pool);
        if let Some(pool) = &*pool {
            return Ok(pool.clone());
        }
        let made = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("effnet-decode-{index}"))
            .build()
            .map_err(|error| {
                let text = format!(
                    "cannot start the decoding threads: {error}; try fewer than {threads}: \
                     effnet.load(..., decode_threads=1)"
                );
                Failure::new(Kind::Device, text)
            })?;
        Ok(pool.insert(Arc::new(made)).clone())
    }

    /// Memory for the images of one run.
    fn buffer(&self) -> Result<InputBuffer, Failure> {
        if let Some(buffer) = lock(&self.parts.spare).pop() {
            return Ok(buffer);
        }
        let bytes = self.parts.recipe.size.pixels() * 3 * 4 * self.parts.options.batch;
        memory::require(|| "decoded images of a run".to_owned(), bytes as u64)?;
        Ok(self.session()?.input_buffer()?)
    }

    /// Gives memory back; more than all threads can use at once is let go of.
    fn give_back(&self, buffer: InputBuffer) {
        let mut spare = lock(&self.parts.spare);
        if spare.len() < self.window() + 1 {
            spare.push(buffer);
        }
    }

    /// Runs whose images are decoded ahead where nothing else is asked for: two images a thread.
    pub fn window(&self) -> usize {
        (2 * self.parts.decode_threads).div_ceil(self.parts.options.batch).max(2)
    }

    /// Prepares the images of one run on this thread.
    pub fn prepare(&self, images: Vec<Taken>) -> Result<PreparedRun, Failure> {
        Ok(prepare(self.buffer()?, images, &self.parts.recipe, &|| true))
    }

    /// Begins to prepare the images of one run, at most the session's batch. The receiver gets
    /// nothing where nobody wants it any more, or where a thread has panicked.
    pub fn begin(
        &self,
        images: Vec<Taken>,
        wanted: Weak<()>,
    ) -> Result<Receiver<PreparedRun>, Failure> {
        let (pool, buffer, recipe) = (self.pool()?, self.buffer()?, self.parts.recipe.clone());
        let (sender, receiver) = sync_channel(1);
        pool.spawn(move || {
            // A panic that leaves a task of the pool ends the process.
            let prepared = catch_unwind(AssertUnwindSafe(|| {
                prepare(buffer, images, &recipe, &|| wanted.strong_count() > 0)
            }));
            if let Ok(prepared) = prepared {
                let _ = sender.send(prepared);
            }
        });
        Ok(receiver)
    }

    /// Runs prepared images, several runs under way where the device takes them. To be called
    /// without the interpreter's lock.
    pub fn finish(
        &self,
        runs: Vec<PreparedRun>,
        wanted: Wanted,
    ) -> Result<Vec<ImageResult>, Failure> {
        let mut results = Vec::new();
        if wanted == Wanted::Tensor {
            for PreparedRun { mut buffer, n, images } in runs {
                let elems = self.parts.recipe.size.pixels() * 3;
                let rows = floats(&mut buffer, n).chunks_exact(elems);
                let rows = rows.map(|row| Ok(Output::Row(row.to_vec()))).collect();
                tell(images, rows, &mut results);
                self.give_back(buffer);
            }
            return Ok(results);
        }
        let mut session = self.session()?;
        let finished = self.run_all(&mut session, runs, wanted, &mut results);
        session.abandon();
        finished.map(|()| results)
    }

    fn run_all(
        &self,
        session: &mut Session,
        runs: Vec<PreparedRun>,
        wanted: Wanted,
        results: &mut Vec<ImageResult>,
    ) -> Result<(), Failure> {
        let mut waiting: VecDeque<(usize, Vec<Prepared>)> = VecDeque::new();
        let mut collect = |session: &mut Session, (n, images): (usize, Vec<Prepared>)| {
            let mut rows = Vec::new();
            if n > 0 {
                let outputs = session.collect()?;
                for image in 0..outputs.len() {
                    rows.push(match wanted {
                        Wanted::Best(k) => {
                            outputs.top_k(image, k).map(Output::Best).map_err(Failure::from)
                        }
                        Wanted::Features => Ok(Output::Row(outputs.features(image).to_vec())),
                        Wanted::Logits | Wanted::Tensor => {
                            Ok(Output::Row(outputs.logits(image).to_vec()))
                        }
                    });
                }
            }
            tell(images, rows, results);
            Ok::<(), Failure>(())
        };
        for PreparedRun { mut buffer, n, images } in runs {
            while n > 0 && session.under_way() == session.capacity() {
                let Some(run) = waiting.pop_front() else { break };
                collect(session, run)?;
            }
            if n > 0 {
                session.submit_buffer(&mut buffer, n)?;
            }
            waiting.push_back((n, images));
            self.give_back(buffer);
        }
        waiting.into_iter().try_for_each(|run| collect(session, run))
    }

    /// Runs that are handed to the session at once, between two looks at signals: one where a run
    /// takes its time, and as many as there are where a device copies for one and works on another.
    pub fn most_at_once(&self) -> usize {
        if self.parts.options.device.gpu().is_some() { self.window() } else { 1 }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: the parts are dropped here alone, and nobody can reach them any more.
            unsafe { ManuallyDrop::drop(&mut self.parts) }
        }
    }
}

/// Copies one image's outputs to its row; there is none of outputs that the network does not have.
fn copy_row(rows: &mut [f32], n: usize, image: usize, row: &[f32]) {
    let elems = rows.len() / n;
    if row.len() == elems {
        rows[image * elems..(image + 1) * elems].copy_from_slice(row);
    }
}

/// The first `n` images of a buffer, in f32, which every session of this package takes.
fn floats(buffer: &mut InputBuffer, n: usize) -> &mut [f32] {
    match buffer.images_mut(n) {
        InputMut::F32(values) => values,
        InputMut::U8(_) => &mut [],
    }
}

/// Decodes images into the memory of a run, all cores of the current pool at work; `wanted` says
/// whether the next one is still asked for.
fn prepare(
    mut buffer: InputBuffer,
    images: Vec<Taken>,
    recipe: &Recipe,
    wanted: &(dyn Fn() -> bool + Sync),
) -> PreparedRun {
    let elems = recipe.size.pixels() * 3;
    let tensors = floats(&mut buffer, images.len());
    let one = |(Taken { index, name, image }, tensor): (Taken, &mut [f32])| {
        let result = match wanted() {
            true => image.prepare(recipe, tensor).map_err(|error| error.of_image(index, &name)),
            false => Err(Failure::new(Kind::Image, "nobody asks for it any more")),
        };
        Prepared { index, name, result }
    };
    // One image needs no second thread, nor a pool.
    let images: Vec<Prepared> = match images.len() {
        0 | 1 => images.into_iter().zip(tensors.chunks_exact_mut(elems)).map(one).collect(),
        _ => {
            let tensors = tensors.par_chunks_exact_mut(elems);
            images.into_par_iter().zip(tensors).with_max_len(1).map(one).collect()
        }
    };
    let mut n = 0;
    for (place, _) in images.iter().enumerate().filter(|(_, image)| image.result.is_ok()) {
        if place != n {
            tensors.copy_within(place * elems..(place + 1) * elems, n * elems);
        }
        n += 1;
    }
    PreparedRun { buffer, n, images }
}

/// Puts images and the outputs of the good ones together.
fn tell(images: Vec<Prepared>, rows: Vec<Result<Output, Failure>>, results: &mut Vec<ImageResult>) {
    let mut rows = rows.into_iter();
    results.extend(images.into_iter().map(|Prepared { index, name, result }| {
        let outcome = result.and_then(|warnings| {
            let missing = || Err(Failure::new(Kind::Device, "the run gave no output for it"));
            let row = rows.next().unwrap_or_else(missing);
            row.map(|row| (row, warnings)).map_err(|error| error.of_image(index, &name))
        });
        ImageResult { index, name, outcome }
    }));
}
