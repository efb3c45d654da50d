//! A model that is served: its way from a request's images to their outputs.

use super::engine::{Engine, Hold, Place, Wanted};
use super::error::ServeError;
use super::metrics::{ModelMetrics, Row};
use super::network::{ImageInput, ImageOutputs, Make, Network, Null, warm};
use super::oip::{Extents, Images};
use super::prepare::{Decoders, aside, cut, to_levels, to_values};
use super::queue::Priority;
use crate::image::Recipe;
use crate::session::{Device, InputType, Session, SessionError, SessionOptions};
use crate::weights::{OutputActivation, Weights};
use axum::body::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How a model is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelOptions {
    /// How the network runs. All of its outputs are wanted, and its inputs in each type.
    pub session: SessionOptions,
    /// Devices that it runs on beside that one, behind one queue.
    pub more_devices: Vec<Device>,
    /// How long an idle device waits for more images than there are.
    pub delay: Duration,
    /// Most images that may be taken and without an answer.
    pub max_queue: usize,
    /// Most bytes of these images, as they came and as the network takes them.
    pub max_queue_bytes: usize,
    /// How long an answer is waited for; a request may ask for less.
    pub timeout: Option<Duration>,
    /// Images that are decoded at once.
    pub decoders: usize,
}

/// A model that is served.
#[derive(Debug)]
pub struct Model {
    /// What the protocol says of it.
    pub(super) extents: Extents,
    /// What is counted of it.
    pub(super) metrics: Arc<ModelMetrics>,
    /// Device and precision, for people.
    description: String,
    options: ModelOptions,
    recipe: Recipe,
    /// Takes what has been normalised.
    values: Engine,
    /// Takes levels; none where the host normalises them, which is as quick on a CPU.
    levels: Option<Engine>,
    decoders: Decoders,
    queued: Mutex<[usize; 2]>,
    /// Of each GPU, by its number.
    memory: Memory,
    load_time: Duration,
}

/// Bytes of the memory of GPUs, by their number, for each session.
type Memory = Vec<(usize, u64)>;

/// What a session takes of its GPU's memory.
fn memory(session: &Session) -> Option<(usize, u64)> {
    Some((session.device().gpu()?, session.launches()?.device_bytes()))
}

/// A request's images and bytes in the queue, until it is dropped.
struct Seat<'a> {
    queued: &'a Mutex<[usize; 2]>,
    taken: [usize; 2],
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        *queued = [0, 1].map(|i| queued[i] - self.taken[i]);
    }
}

/// A request on its way; where it is dropped, its client has left.
struct Counted<'a> {
    metrics: &'a ModelMetrics,
    is_done: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.pending.fetch_sub(1, Ordering::Relaxed);
        if !self.is_done {
            self.metrics.cancelled();
        }
    }
}

/// Why a model cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The network does not run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The system has no thread.
    #[error(transparent)]
    Thread(#[from] ServeError),
}

/// A session in its place, and how it is made anew.
fn place(session: Session, weights: &Arc<Weights>, options: SessionOptions) -> Place {
    let weights = weights.clone();
    let make: Make = Box::new(move || {
        let network: Box<dyn Network> = Box::new(warm(weights.clone(), options)?);
        Ok(network)
    });
    Place { device: options.device, network: Box::new(session), make }
}

/// A session's side of the protocol.
fn extents(name: String, session: &Session) -> Extents {
    let metadata = session.weights().metadata();
    let name_of = |class| metadata.labels.name(class).map(str::to_owned);
    let size = session.plan().input_size();
    Extents {
        name,
        size: [size.h, size.w],
        classes: metadata.classes,
        features: session.plan().buffer(session.plan().features).elems_per_image(),
        has_probabilities: session.activation() != OutputActivation::None,
        labels: (0..metadata.classes).map_while(name_of).collect(),
        batch: session.batch(),
    }
}

impl Model {
    /// Prepares the network under a name, and runs it once: on a GPU for every number of images,
    /// each of which records its launches in its first run. A GPU has it twice, for normalised values
    /// and for levels.
    pub fn start(
        name: String,
        weights: Arc<Weights>,
        options: ModelOptions,
    ) -> Result<Model, StartError> {
        let began = Instant::now();
        let session = |device, input| -> Result<(Session, SessionOptions), SessionError> {
            let options = SessionOptions { device, input, ..options.session };
            Ok((warm(weights.clone(), options)?, options))
        };
        let device = options.session.device;
        let (first, of_first) = session(device, InputType::F32)?;
        let extents = extents(name, &first);
        let description = first.description();
        let recipe = first.recipe();
        let mut bytes = Memory::from_iter(memory(&first));
        let mut values = vec![place(first, &weights, of_first)];
        for &device in &options.more_devices {
            let (session, options) = session(device, InputType::F32)?;
            bytes.extend(memory(&session));
            values.push(place(session, &weights, options));
        }
        let mut levels = Vec::new();
        if device != Device::Cpu {
            for device in std::iter::once(device).chain(options.more_devices.iter().copied()) {
                let (session, options) = session(device, InputType::U8)?;
                bytes.extend(memory(&session));
                levels.push(place(session, &weights, options));
            }
        }
        let model = Model::with(extents, recipe, [values, levels], options)?;
        Ok(Model { description, memory: bytes, load_time: began.elapsed(), ..model })
    }

    /// A model of a network that does nothing, for what a server adds to one: it takes images of a
    /// number of classes as levels.
    #[doc(hidden)]
    pub fn null(
        name: &str,
        recipe: Recipe,
        classes: usize,
        options: ModelOptions,
    ) -> Result<Model, StartError> {
        let extents = Extents {
            name: name.to_owned(),
            size: [recipe.size.h, recipe.size.w],
            classes,
            features: 0,
            has_probabilities: false,
            labels: Vec::new(),
            batch: Null::BATCH,
        };
        let place = || {
            let make: Make = Box::new(move || Ok(Box::new(Null::new(classes))));
            vec![Place { device: Device::Cpu, network: Box::new(Null::new(classes)), make }]
        };
        Model::with(extents, recipe, [place(), place()], options)
    }

    /// A model of networks for values and for levels.
    fn with(
        extents: Extents,
        recipe: Recipe,
        [values, levels]: [Vec<Place>; 2],
        options: ModelOptions,
    ) -> Result<Model, StartError> {
        let metrics = Arc::<ModelMetrics>::default();
        let engine = |places| Engine::start(places, options.delay, metrics.clone());
        Ok(Model {
            extents,
            description: String::new(),
            recipe,
            values: engine(values)?,
            levels: if levels.is_empty() { None } else { Some(engine(levels)?) },
            decoders: Decoders::new(options.decoders, metrics.clone()),
            queued: Mutex::new([0, 0]),
            metrics,
            memory: Memory::new(),
            load_time: Duration::ZERO,
            options,
        })
    }

    /// The name that it is served under.
    pub fn name(&self) -> &str {
        &self.extents.name
    }

    /// Device and precision, for people.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Bytes of GPUs' memory that it takes, by the GPU's number.
    pub(super) fn memory(&self) -> BTreeMap<usize, u64> {
        let mut memory = BTreeMap::new();
        for &(gpu, bytes) in &self.memory {
            *memory.entry(gpu).or_default() += bytes;
        }
        memory
    }

    /// How long an idle device waits.
    pub(super) fn delay(&self) -> Duration {
        self.options.delay
    }

    /// What metrics tell of it.
    pub(super) fn row(&self) -> Row<'_> {
        Row {
            name: self.name(),
            metrics: &self.metrics,
            queued: self.queued(),
            memory: self.memory(),
            load_time: self.load_time,
        }
    }

    /// Images, and their bytes, that were taken and have no answer yet.
    fn queued(&self) -> [usize; 2] {
        *self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outputs of a request's images, in their order. Where the future is dropped, the images
    /// are run no more.
    pub(super) async fn infer(
        &self,
        images: Images,
        wanted: Wanted,
        priority: Priority,
        timeout: Option<Duration>,
    ) -> Result<Vec<ImageOutputs>, ServeError> {
        let began = Instant::now();
        let mut counted = Counted { metrics: &self.metrics, is_done: false };
        self.metrics.pending.fetch_add(1, Ordering::Relaxed);
        let work = async {
            let _seat = self.enter(&images)?;
            let (engine, inputs) = self.prepare(images).await?;
            let input = began.elapsed();
            let (outputs, spent) = engine.submit(inputs, wanted, priority).answer().await?;
            Ok((outputs, [input, spent.queue, spent.run]))
        };
        let answer = match [timeout, self.options.timeout].into_iter().flatten().min() {
            Some(limit) => {
                tokio::time::timeout(limit, work).await.unwrap_or(Err(ServeError::Late(limit)))
            }
            None => work.await,
        };
        match &answer {
            Ok((_, parts)) => self.metrics.answered(began.elapsed(), *parts),
            Err(error) => self.metrics.failure(error),
        }
        counted.is_done = true;
        answer.map(|(outputs, _)| outputs)
    }

    /// Refuses a request that is not read yet, where not even an image more has a place: what comes
    /// of it would be thrown away.
    pub(super) fn expect_room(&self) -> Result<(), ServeError> {
        let (queued, most) = (self.queued(), self.most());
        if queued[0] < most[0] && queued[1] < most[1] {
            return Ok(());
        }
        let error = ServeError::Full { queued, most };
        self.metrics.failure(&error);
        Err(error)
    }

    /// Images that may be queued, and their bytes.
    fn most(&self) -> [usize; 2] {
        [self.options.max_queue, self.options.max_queue_bytes]
    }

    /// A place in the queue for what the images are and for what they will be: an image of a few
    /// bytes takes as much memory as any when it is decoded.
    fn enter(&self, images: &Images) -> Result<Seat<'_>, ServeError> {
        let elems = self.extents.image_elems();
        let (n, given) = match images {
            Images::Encoded(images) => (images.len(), images.iter().map(Bytes::len).sum::<usize>()),
            Images::Levels(levels) => (levels.len() / elems, levels.len()),
            Images::Values(values) => (values.len() / elems, 4 * values.len()),
        };
        let taken = [n, given.saturating_add(n.saturating_mul(4 * elems))];
        let most = self.most();
        if taken[0] > most[0] || taken[1] > most[1] {
            return Err(ServeError::TooMany { taken, most });
        }
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        let after = [0, 1].map(|i| queued[i].saturating_add(taken[i]));
        if after[0] > most[0] || after[1] > most[1] {
            return Err(ServeError::Full { queued: *queued, most });
        }
        *queued = after;
        Ok(Seat { queued: &self.queued, taken })
    }

    /// Each image's input, and the networks that take it.
    async fn prepare(&self, images: Images) -> Result<(&Engine, Vec<ImageInput>), ServeError> {
        let (elems, recipe) = (self.extents.image_elems(), &self.recipe);
        match (images, &self.levels) {
            (Images::Values(given), _) => {
                let length = given.len();
                let values = move || cut(&given, elems);
                Ok((&self.values, aside(length, values).await?))
            }
            (Images::Levels(levels), Some(engine)) => {
                let image = |at| ImageInput::Levels(levels.slice(at..at + elems));
                Ok((engine, (0..levels.len()).step_by(elems).map(image).collect()))
            }
            (Images::Levels(levels), None) => {
                let normalisation = recipe.normalisation();
                let length = levels.len();
                let values = move || cut(&normalisation.values(&levels), elems);
                Ok((&self.values, aside(length, values).await?))
            }
            (Images::Encoded(images), levels) => match levels {
                Some(engine) if recipe.rounds_to_levels() => {
                    Ok((engine, self.decoders.decode(images, recipe, to_levels).await?))
                }
                _ => Ok((&self.values, self.decoders.decode(images, recipe, to_values).await?)),
            },
        }
    }

    /// Whether images are taken, and a device can run them.
    pub(super) fn is_able(&self) -> bool {
        self.values.is_able() && self.levels.as_ref().is_none_or(Engine::is_able)
    }

    /// Whether a device failed and stayed of no use.
    pub(super) fn is_lost(&self) -> bool {
        self.values.is_lost() || self.levels.as_ref().is_some_and(Engine::is_lost)
    }

    /// Takes no more images; those that are queued are run.
    pub(super) fn close(&self) {
        self.values.close();
        self.levels.iter().for_each(Engine::close);
    }

    /// For tests: holds the devices.
    pub(super) fn hold(&self) -> Vec<Hold> {
        std::iter::once(&self.values).chain(&self.levels).map(Engine::hold).collect()
    }
}
