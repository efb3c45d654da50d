//! The thread that owns a session: it takes batches from the queue, runs them, and hands each
//! image's outputs to the request that it is of.

use super::error::ServeError;
use super::metrics::ModelMetrics;
use super::queue::{Next, Policy, Priority, Queue, Released};
use crate::session::{Outputs, Session, SessionError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Which outputs a request asks for, beside the logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The pooled head convolution.
    pub features: bool,
    /// Probabilities by the weights' activation.
    pub probabilities: bool,
}

/// Probabilities of one image: none where they are not wanted or the activation has none; or why
/// the logits have none.
pub type Probabilities = Result<Option<Vec<f32>>, String>;

/// Outputs of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageOutputs {
    /// As the network computed them; none without a classifier.
    pub logits: Vec<f32>,
    /// Where they are wanted.
    pub features: Vec<f32>,
    /// See [`Probabilities`].
    pub probabilities: Probabilities,
}

/// What came of a request's images, in their order.
pub type Answer = Result<Vec<ImageOutputs>, ServeError>;

/// A request that waits for its images.
#[derive(Debug)]
struct Request {
    wanted: Wanted,
    /// Whether somebody waits for the answer.
    is_awaited: AtomicBool,
    state: Mutex<Answering>,
}

#[derive(Debug)]
struct Answering {
    images: Vec<Option<ImageOutputs>>,
    left: usize,
    to: Option<oneshot::Sender<Answer>>,
}

impl Request {
    /// Takes the outputs of one image; those of the last one are the answer.
    fn done(&self, index: usize, outputs: ImageOutputs) {
        let mut state = lock(&self.state);
        if state.images[index].replace(outputs).is_none() {
            state.left -= 1;
        }
        if state.left == 0
            && let Some(to) = state.to.take()
        {
            let images = state.images.iter_mut().filter_map(Option::take).collect();
            // Nobody may be there any more.
            let _ = to.send(Ok(images));
        }
    }

    fn fail(&self, error: ServeError) {
        if let Some(to) = lock(&self.state).to.take() {
            let _ = to.send(Err(error));
        }
        self.is_awaited.store(false, Ordering::Relaxed);
    }
}

/// An image that waits.
#[derive(Debug)]
struct Piece {
    request: Arc<Request>,
    index: usize,
    /// `[h, w, 3]`, normalised.
    input: Vec<f32>,
    since: Instant,
}

/// A request on its way. When it is dropped, its images are run no more.
#[derive(Debug)]
pub struct Pending {
    request: Arc<Request>,
    answer: oneshot::Receiver<Answer>,
}

impl Pending {
    /// Waits for the answer.
    pub async fn answer(mut self) -> Answer {
        let lost = || ServeError::Stopping("the device".to_owned());
        (&mut self.answer).await.unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.request.is_awaited.store(false, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Waiting {
    queue: Queue<Piece>,
    is_closed: bool,
    /// For tests: what the device waits for before it takes a batch.
    held: Option<oneshot::Receiver<()>>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    start: Instant,
    metrics: Arc<ModelMetrics>,
}

/// A session with its thread.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system has no thread.
    pub fn start(
        session: Session,
        delay: Duration,
        metrics: Arc<ModelMetrics>,
    ) -> Result<Engine, ServeError> {
        let policy = Policy { batch: session.batch(), delay };
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting {
                queue: Queue::new(policy),
                is_closed: false,
                held: None,
            }),
            arrived: Condvar::new(),
            start: Instant::now(),
            metrics,
        });
        let of_thread = shared.clone();
        let run = move || Worker { shared: of_thread, session, runs: VecDeque::new() }.work();
        let thread = thread::Builder::new()
            .name("device".to_owned())
            .spawn(run)
            .map_err(|e| ServeError::Device(format!("cannot start the device's thread: {e}")))?;
        Ok(Engine { shared, thread: Some(thread) })
    }

    /// Queues a request's images, each `[h, w, 3]`, normalised; at least one.
    pub fn submit(&self, images: Vec<Vec<f32>>, wanted: Wanted, priority: Priority) -> Pending {
        let (to, answer) = oneshot::channel();
        let state = Answering {
            images: images.iter().map(|_| None).collect(),
            left: images.len(),
            to: Some(to),
        };
        let request = Arc::new(Request {
            wanted,
            is_awaited: AtomicBool::new(true),
            state: Mutex::new(state),
        });
        let now = Instant::now();
        let mut waiting = lock(&self.shared.waiting);
        if waiting.is_closed {
            drop(waiting);
            request.fail(ServeError::Stopping("the model".to_owned()));
        } else {
            for (index, input) in images.into_iter().enumerate() {
                let piece = Piece { request: request.clone(), index, input, since: now };
                waiting.queue.push(piece, priority, now - self.shared.start);
            }
            drop(waiting);
            self.shared.arrived.notify_one();
        }
        Pending { request, answer }
    }

    /// Whether images are taken: not after [`close`](Engine::close), nor when the thread has panicked.
    pub fn is_open(&self) -> bool {
        !lock(&self.shared.waiting).is_closed
    }

    /// Takes no more images; those that are queued are run.
    pub fn close(&self) {
        lock(&self.shared.waiting).is_closed = true;
        self.shared.arrived.notify_all();
    }

    /// For tests: the device takes no batch until what is returned has been used or dropped.
    pub fn hold(&self) -> oneshot::Sender<()> {
        let (release, held) = oneshot::channel();
        lock(&self.shared.waiting).held = Some(held);
        self.shared.arrived.notify_all();
        release
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            // A panic has failed what was under way, see `Worker`.
            let _ = thread.join();
        }
    }
}

/// The thread's own.
struct Worker {
    shared: Arc<Shared>,
    session: Session,
    /// Images of the runs that are under way, the oldest first.
    runs: VecDeque<(Vec<Piece>, Instant)>,
}

impl Worker {
    fn work(mut self) {
        while let Some((pieces, released)) = self.next() {
            if let Some(released) = released {
                self.begin(pieces, released);
            }
            if self.runs.len() >= self.session.capacity() || released.is_none() {
                self.finish();
            }
        }
    }

    /// The next batch; no images and no reason where a run that is under way is to be waited for;
    /// none where all is done.
    fn next(&self) -> Option<(Vec<Piece>, Option<Released>)> {
        let mut waiting = lock(&self.shared.waiting);
        loop {
            if let Some(held) = waiting.held.take() {
                drop(waiting);
                // A release and a drop are the same.
                let _ = held.blocking_recv();
                waiting = lock(&self.shared.waiting);
                continue;
            }
            let now = self.shared.start.elapsed();
            let is_idle = self.runs.is_empty() && !waiting.is_closed;
            let is_wanted = |piece: &Piece| piece.request.is_awaited.load(Ordering::Relaxed);
            match waiting.queue.next(now, is_idle, is_wanted) {
                Next::Run(pieces, released) => return Some((pieces, Some(released))),
                Next::Empty | Next::Wait(_) if !self.runs.is_empty() => {
                    return Some((Vec::new(), None));
                }
                Next::Empty if waiting.is_closed => return None,
                Next::Empty => {
                    waiting =
                        self.shared.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
                Next::Wait(due) => {
                    let rest = due.saturating_sub(now);
                    let woken = self.shared.arrived.wait_timeout(waiting, rest);
                    waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn begin(&mut self, pieces: Vec<Piece>, released: Released) {
        let began = Instant::now();
        let metrics = &self.shared.metrics;
        metrics.batch(pieces.len(), released);
        for piece in &pieces {
            metrics.queue.add(began - piece.since);
        }
        match submit(&mut self.session, &pieces) {
            Ok(()) => self.runs.push_back((pieces, began)),
            Err(error) => self.fail(pieces, &error),
        }
    }

    /// Waits for the oldest run, and hands out its outputs.
    fn finish(&mut self) {
        let Some((pieces, began)) = self.runs.pop_front() else { return };
        match self.session.collect() {
            Ok(outputs) => {
                self.shared.metrics.compute.add(began.elapsed());
                for (image, piece) in pieces.iter().enumerate() {
                    piece.request.done(piece.index, image_outputs(&outputs, image, piece));
                }
            }
            Err(error) => self.fail(pieces, &error),
        }
    }

    /// Nothing that is under way has an answer: a device that failed gives up all of it.
    fn fail(&mut self, pieces: Vec<Piece>, error: &SessionError) {
        self.session.abandon();
        let error = ServeError::Device(format!("the device failed: {error}"));
        let under_way = self.runs.drain(..).flat_map(|(pieces, _)| pieces);
        for piece in pieces.into_iter().chain(under_way) {
            piece.request.fail(error.clone());
        }
    }
}

impl Drop for Worker {
    /// After a panic too: nobody waits for what will not come.
    fn drop(&mut self) {
        let mut waiting = lock(&self.shared.waiting);
        waiting.is_closed = true;
        let left: Vec<Piece> = waiting.queue.drain().collect();
        drop(waiting);
        let under_way = self.runs.drain(..).flat_map(|(pieces, _)| pieces);
        for piece in under_way.chain(left) {
            piece.request.fail(ServeError::Stopping("the model".to_owned()));
        }
    }
}

fn submit(session: &mut Session, pieces: &[Piece]) -> Result<(), SessionError> {
    let elems = session.input_elems();
    let input = session.input_mut(pieces.len())?.f32()?;
    for (to, piece) in input.chunks_exact_mut(elems).zip(pieces) {
        to.copy_from_slice(&piece.input);
    }
    session.submit_staged(pieces.len())
}

fn image_outputs(outputs: &Outputs<'_>, image: usize, piece: &Piece) -> ImageOutputs {
    let wanted = piece.request.wanted;
    let features = if wanted.features { outputs.features(image) } else { &[] };
    let probabilities = match wanted.probabilities {
        true => outputs.probabilities(image).map_err(|fault| fault.to_string()),
        false => Ok(None),
    };
    ImageOutputs {
        logits: outputs.logits(image).to_vec(),
        features: features.to_vec(),
        probabilities,
    }
}

/// What a lock holds is whole at every moment, so that a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
