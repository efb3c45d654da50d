//! The thread that owns a session: it takes batches from the queue, runs them, and hands each
//! image's outputs to the request that it is of.

use super::error::ServeError;
use super::metrics::ModelMetrics;
use super::network::{ImageInput, ImageOutputs, Make, Network};
use super::queue::{Next, Policy, Priority, Queue, Released};
use crate::session::{Device, SessionError};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
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

/// What came of a request's images, in their order.
pub type Answer = Result<(Vec<ImageOutputs>, Spent), ServeError>;

/// The longest that an image of a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// In the queue.
    pub queue: Duration,
    /// On the device.
    pub run: Duration,
}

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
    spent: Spent,
    to: Option<oneshot::Sender<Answer>>,
}

impl Request {
    /// Takes the outputs of one image; those of the last one are the answer.
    fn done(&self, index: usize, outputs: ImageOutputs, spent: Spent) {
        let mut state = lock(&self.state);
        state.spent.queue = state.spent.queue.max(spent.queue);
        state.spent.run = state.spent.run.max(spent.run);
        if state.images[index].replace(outputs).is_none() {
            state.left -= 1;
        }
        if state.left == 0
            && let Some(to) = state.to.take()
        {
            let images = state.images.iter_mut().filter_map(Option::take).collect();
            // Nobody may be there any more.
            let _ = to.send(Ok((images, state.spent)));
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
    input: ImageInput,
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
    /// For tests: devices take no batch.
    is_held: bool,
    /// Threads, and those of them whose network can run.
    threads: usize,
    able: usize,
    /// A thread has ended because its device stayed of no use.
    is_lost: bool,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    start: Instant,
    metrics: Arc<ModelMetrics>,
}

/// What has gone wrong on a device that engines share: when a GPU has failed, whoever uses it has to
/// let go of it before anybody can use it again.
#[derive(Debug, Default)]
struct Faults {
    count: AtomicU64,
    engines: Mutex<Vec<Weak<Shared>>>,
}

/// By device: a GPU's state is the whole process's.
static FAULTS: LazyLock<Mutex<BTreeMap<Option<usize>, Arc<Faults>>>> =
    LazyLock::new(Mutex::default);

impl Faults {
    fn of(device: Device, engine: &Arc<Shared>) -> Arc<Faults> {
        let faults = match device.gpu() {
            gpu @ Some(_) => lock(&FAULTS).entry(gpu).or_default().clone(),
            None => Arc::default(),
        };
        let mut engines = lock(&faults.engines);
        engines.retain(|engine| engine.strong_count() > 0);
        engines.push(Arc::downgrade(engine));
        drop(engines);
        faults
    }

    /// One more, of which every engine is told.
    fn tell(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let engines = lock(&self.engines).clone();
        for engine in engines.iter().filter_map(Weak::upgrade) {
            // A thread that has looked at the count and does not wait yet holds the lock.
            drop(lock(&engine.waiting));
            engine.arrived.notify_all();
        }
    }
}

/// Networks behind one queue, each with its thread.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// A device, what makes a network on it, and the first of them.
pub struct Place {
    /// Where the network runs.
    pub device: Device,
    /// The network.
    pub network: Box<dyn Network>,
    /// Makes it anew.
    pub make: Make,
}

impl Engine {
    /// Starts the threads of networks that have the same batch; at least one.
    ///
    /// # Errors
    ///
    /// Where the system has no thread.
    pub fn start(
        places: Vec<Place>,
        delay: Duration,
        metrics: Arc<ModelMetrics>,
    ) -> Result<Engine, ServeError> {
        let batch = places.iter().map(|place| place.network.batch()).min().unwrap_or(1);
        let threads = places.len();
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting {
                queue: Queue::new(Policy { batch, delay }),
                is_closed: false,
                is_held: false,
                threads,
                able: threads,
                is_lost: false,
            }),
            arrived: Condvar::new(),
            start: Instant::now(),
            metrics,
        });
        // Dropped where a thread does not start, which ends the others.
        let engine = Engine { shared };
        for Place { device, network, make } in places {
            let shared = engine.shared.clone();
            let faults = Faults::of(device, &shared);
            let seen = faults.count.load(Ordering::Relaxed);
            let runs = VecDeque::new();
            let worker = Worker { shared, network: Some(network), make, faults, seen, runs };
            let life = move || {
                worker.work();
                give_back_memory();
            };
            thread::Builder::new().name("device".to_owned()).spawn(life).map_err(|e| {
                ServeError::Device(format!("cannot start the device's thread: {e}"))
            })?;
        }
        Ok(engine)
    }

    /// Queues a request's images; at least one.
    pub fn submit(&self, images: Vec<ImageInput>, wanted: Wanted, priority: Priority) -> Pending {
        let (to, answer) = oneshot::channel();
        let state = Answering {
            images: images.iter().map(|_| None).collect(),
            left: images.len(),
            spent: Spent::default(),
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

    /// Whether images are taken, and a device can run them.
    pub fn is_able(&self) -> bool {
        let waiting = lock(&self.shared.waiting);
        !waiting.is_closed && waiting.able > 0
    }

    /// Whether a device failed and stayed of no use.
    pub fn is_lost(&self) -> bool {
        lock(&self.shared.waiting).is_lost
    }

    /// Takes no more images; those that are queued are run.
    pub fn close(&self) {
        lock(&self.shared.waiting).is_closed = true;
        self.shared.arrived.notify_all();
    }

    /// For tests: the devices take no batch until what is returned has been dropped.
    pub fn hold(&self) -> Hold {
        lock(&self.shared.waiting).is_held = true;
        Hold { shared: self.shared.clone() }
    }
}

impl Drop for Engine {
    /// The threads end by themselves when they have run what is queued.
    fn drop(&mut self) {
        self.close();
    }
}

/// For tests: devices that take no batch until this is dropped.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        lock(&self.shared.waiting).is_held = false;
        self.shared.arrived.notify_all();
    }
}

/// How often, and after how long each, a network is made anew where its device does not let it: others
/// may have to let go of the device.
const RENEWALS: u32 = 20;
const RENEWAL_PAUSE: Duration = Duration::from_millis(250);

/// A thread's own.
struct Worker {
    shared: Arc<Shared>,
    /// None while it is made anew.
    network: Option<Box<dyn Network>>,
    make: Make,
    faults: Arc<Faults>,
    /// The faults that are dealt with.
    seen: u64,
    /// Images of the runs that are under way, the oldest first.
    runs: VecDeque<(Vec<Piece>, Instant)>,
}

/// What a thread has to do.
enum Work {
    Run(Vec<Piece>, Released),
    /// To wait for a run that is under way.
    Collect,
    /// To let go of a device that has failed, and to make the network anew.
    Renew,
    End,
}

impl Worker {
    fn work(mut self) {
        loop {
            let is_going_on = match self.next() {
                Work::Run(pieces, released) => self.begin(pieces, released),
                Work::Collect => self.finish(),
                Work::Renew => self.renew(),
                Work::End => false,
            };
            if !is_going_on {
                break;
            }
        }
    }

    fn next(&self) -> Work {
        let capacity = self.network.as_ref().map_or(1, |network| network.capacity());
        if self.runs.len() >= capacity {
            return Work::Collect;
        }
        let mut waiting = lock(&self.shared.waiting);
        loop {
            if self.faults.count.load(Ordering::Relaxed) != self.seen {
                return Work::Renew;
            }
            if waiting.is_held {
                waiting = self.shared.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let now = self.shared.start.elapsed();
            let is_idle = self.runs.is_empty() && !waiting.is_closed;
            let is_wanted = |piece: &Piece| piece.request.is_awaited.load(Ordering::Relaxed);
            match waiting.queue.next(now, is_idle, is_wanted) {
                Next::Run(pieces, released) => {
                    if waiting.queue.len() > 0 {
                        // For another thread.
                        self.shared.arrived.notify_one();
                    }
                    return Work::Run(pieces, released);
                }
                Next::Empty | Next::Wait(_) if !self.runs.is_empty() => return Work::Collect,
                Next::Empty if waiting.is_closed => return Work::End,
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

    fn begin(&mut self, pieces: Vec<Piece>, released: Released) -> bool {
        let Some(network) = &mut self.network else {
            return self.fail(pieces, &SessionError::NothingSubmitted);
        };
        let began = Instant::now();
        let metrics = &self.shared.metrics;
        metrics.released(released);
        for piece in &pieces {
            metrics.queue.add(began - piece.since);
        }
        let images: Vec<&ImageInput> = pieces.iter().map(|piece| &piece.input).collect();
        match network.submit(&images) {
            Ok(()) => {
                self.runs.push_back((pieces, began));
                true
            }
            Err(error) => self.fail(pieces, &error),
        }
    }

    /// Waits for the oldest run, and hands out its outputs.
    fn finish(&mut self) -> bool {
        let Some((pieces, began)) = self.runs.pop_front() else { return true };
        let Some(network) = &mut self.network else { return true };
        let wanted: Vec<Wanted> = pieces.iter().map(|piece| piece.request.wanted).collect();
        match network.collect(&wanted) {
            Ok(outputs) => {
                let now = Instant::now();
                let run = now - began;
                self.shared.metrics.ran(pieces.len(), run);
                for (piece, outputs) in pieces.iter().zip(outputs) {
                    let spent = Spent { queue: began - piece.since, run };
                    piece.request.done(piece.index, outputs, spent);
                }
                self.shared.metrics.output.add(now.elapsed());
                true
            }
            Err(error) => self.fail(pieces, &error),
        }
    }

    /// Nothing that is under way has an answer: a device that failed gives up all of it, and may be
    /// of no use before everybody has let go of it.
    fn fail(&mut self, pieces: Vec<Piece>, error: &SessionError) -> bool {
        let error = ServeError::Device(format!("the device failed: {error}"));
        let under_way = self.runs.drain(..).flat_map(|(pieces, _)| pieces);
        for piece in pieces.into_iter().chain(under_way) {
            piece.request.fail(error.clone());
        }
        self.faults.tell();
        self.renew()
    }

    /// Makes the network anew; whether that could be done. What is under way has no answer.
    fn renew(&mut self) -> bool {
        self.seen = self.faults.count.load(Ordering::Relaxed);
        lock(&self.shared.waiting).able -= 1;
        self.network = None;
        let error = ServeError::Device("the device failed under another run".to_owned());
        for piece in self.runs.drain(..).flat_map(|(pieces, _)| pieces) {
            piece.request.fail(error.clone());
        }
        for renewal in 0..RENEWALS {
            if renewal > 0 {
                thread::sleep(RENEWAL_PAUSE);
            }
            match (self.make)() {
                Ok(network) => {
                    self.network = Some(network);
                    lock(&self.shared.waiting).able += 1;
                    self.shared.metrics.renewed();
                    return true;
                }
                Err(error) => tracing::error!(%error, "a device that failed is of no use yet"),
            }
            if lock(&self.shared.waiting).is_closed {
                return false;
            }
        }
        lock(&self.shared.waiting).is_lost = true;
        false
    }
}

impl Drop for Worker {
    /// After a panic too: nobody waits for what will not come.
    fn drop(&mut self) {
        let mut waiting = lock(&self.shared.waiting);
        waiting.threads -= 1;
        waiting.able -= usize::from(self.network.is_some());
        let left: Vec<Piece> = match waiting.threads {
            0 => {
                waiting.is_closed = true;
                waiting.queue.drain().collect()
            }
            _ => Vec::new(),
        };
        drop(waiting);
        let under_way = self.runs.drain(..).flat_map(|(pieces, _)| pieces);
        for piece in under_way.chain(left) {
            piece.request.fail(ServeError::Stopping("the model".to_owned()));
        }
    }
}

/// Gives the system back what the network that has ended left free. glibc keeps it for itself else, for
/// each of its arenas: a server whose models are exchanged grows.
fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` takes the allocator's own locks, needs nothing of its caller, and touches no
    // block that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What a lock holds is whole at every moment, so that a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Fails at its run of this number, and gives the number of the network that ran.
    struct Failing {
        network: usize,
        fails_at: usize,
        runs: usize,
    }

    impl Network for Failing {
        fn batch(&self) -> usize {
            2
        }

        fn capacity(&self) -> usize {
            1
        }

        fn submit(&mut self, _: &[&ImageInput]) -> Result<(), SessionError> {
            self.runs += 1;
            if self.runs == self.fails_at { Err(SessionError::NoClassifier) } else { Ok(()) }
        }

        fn collect(&mut self, wanted: &[Wanted]) -> Result<Vec<ImageOutputs>, SessionError> {
            let logits = vec![self.network as f32];
            let outputs = ImageOutputs { logits, features: Vec::new(), probabilities: Ok(None) };
            Ok(vec![outputs; wanted.len()])
        }
    }

    /// An engine whose networks fail at a run, and are made anew after so many failures of that.
    fn engine(fails_at: usize, refusals: usize) -> Engine {
        let made = AtomicUsize::new(0);
        let make: Make = Box::new(move || {
            let network = made.fetch_add(1, Ordering::Relaxed) + 1;
            match network > refusals {
                true => Ok(Box::new(Failing { network, fails_at: 0, runs: 0 })),
                false => Err(SessionError::NoClassifier),
            }
        });
        let network = Box::new(Failing { network: 0, fails_at, runs: 0 });
        let place = Place { device: Device::Cpu, network, make };
        Engine::start(vec![place], Duration::ZERO, Arc::default()).unwrap()
    }

    fn ask(engine: &Engine, images: usize) -> Answer {
        let input = ImageInput::Values(vec![0.0]);
        let pending = engine.submit(vec![input; images], Wanted::default(), Priority::Usual);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(pending.answer())
    }

    #[test]
    fn a_device_that_failed_is_made_anew_and_what_was_under_way_has_an_error() {
        let engine = engine(2, 1);
        assert_eq!(ask(&engine, 1).unwrap().0[0].logits, [0.0]);
        assert!(matches!(ask(&engine, 1), Err(ServeError::Device(_))));
        // Refused once, made at the second try.
        assert_eq!(ask(&engine, 3).unwrap().0[2].logits, [2.0]);
        assert!(engine.is_able());
    }

    #[test]
    fn a_device_that_stays_of_no_use_ends_its_engine_when_that_is_closed() {
        let engine = engine(1, usize::MAX);
        assert!(matches!(ask(&engine, 1), Err(ServeError::Device(_))));
        while engine.is_able() {
            thread::yield_now();
        }
        engine.close();
        assert!(matches!(ask(&engine, 1), Err(ServeError::Stopping(_))));
    }
}
