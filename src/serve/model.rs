//! A model that is served: its way from a request's images to their outputs.

use super::engine::{Answer, Engine, Wanted};
use super::error::ServeError;
use super::metrics::ModelMetrics;
use super::oip::{Extents, Images};
use super::queue::Priority;
use crate::image::{self, Recipe};
use crate::session::{Device, Session, SessionError, SessionOptions};
use crate::weights::{OutputActivation, Weights};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

/// How a model is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelOptions {
    /// Where and how the network runs. Its input is f32, and all of its outputs are wanted.
    pub session: SessionOptions,
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
    engine: Engine,
    decoders: Arc<Semaphore>,
    queued: Mutex<[usize; 2]>,
}

/// A request's images and bytes in the queue, until it is dropped.
struct Place<'a> {
    queued: &'a Mutex<[usize; 2]>,
    taken: [usize; 2],
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        *queued = [0, 1].map(|i| queued[i] - self.taken[i]);
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

impl Model {
    /// Prepares the network under a name, and runs it once: on a GPU for every number of images,
    /// each of which records its launches in its first run.
    pub fn start(
        name: String,
        weights: Arc<Weights>,
        options: ModelOptions,
    ) -> Result<Model, StartError> {
        let mut session = Session::new(weights, options.session)?;
        let elems = session.input_elems();
        let most = match session.device() {
            Device::Cuda(_) => session.batch(),
            Device::Cpu | Device::Emulator => 1,
        };
        for n in 1..=most {
            session.run(&vec![0.0f32; n * elems])?;
        }
        let metadata = session.weights().metadata();
        let name_of = |class| metadata.labels.name(class).map(str::to_owned);
        let size = session.plan().input_size();
        let extents = Extents {
            name,
            size: [size.h, size.w],
            classes: metadata.classes,
            features: session.plan().buffer(session.plan().features).elems_per_image(),
            has_probabilities: session.activation() != OutputActivation::None,
            labels: (0..metadata.classes).map_while(name_of).collect(),
            batch: session.batch(),
        };
        let metrics = Arc::<ModelMetrics>::default();
        Ok(Model {
            extents,
            description: session.description(),
            options,
            recipe: session.recipe(),
            engine: Engine::start(session, options.delay, metrics.clone())?,
            metrics,
            decoders: Arc::new(Semaphore::new(options.decoders.max(1))),
            queued: Mutex::new([0, 0]),
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

    /// How long an idle device waits.
    pub(super) fn delay(&self) -> Duration {
        self.options.delay
    }

    /// Images, and their bytes, that were taken and have no answer yet.
    pub(super) fn queued(&self) -> [usize; 2] {
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
    ) -> Answer {
        let began = Instant::now();
        let work = async {
            let _place = self.enter(&images)?;
            let inputs = self.prepare(images).await?;
            self.engine.submit(inputs, wanted, priority).answer().await
        };
        let answer = match [timeout, self.options.timeout].into_iter().flatten().min() {
            Some(limit) => {
                tokio::time::timeout(limit, work).await.unwrap_or(Err(ServeError::Late(limit)))
            }
            None => work.await,
        };
        match &answer {
            Ok(_) => self.metrics.request.add(began.elapsed()),
            Err(error) => self.metrics.failure(error),
        }
        answer
    }

    /// A place in the queue for what the images are and for what they will be: an image of a few
    /// bytes takes as much memory as any when it is decoded.
    fn enter(&self, images: &Images) -> Result<Place<'_>, ServeError> {
        let elems = self.extents.image_elems();
        let (n, given) = match images {
            Images::Encoded(images) => (images.len(), images.iter().map(Vec::len).sum::<usize>()),
            Images::Levels(levels) => (levels.len() / elems, levels.len()),
            Images::Values(values) => (values.len() / elems, 4 * values.len()),
        };
        let taken = [n, given.saturating_add(n.saturating_mul(4 * elems))];
        let ModelOptions { max_queue, max_queue_bytes, .. } = self.options;
        let most = [max_queue, max_queue_bytes];
        if taken[0] > most[0] || taken[1] > most[1] {
            return Err(ServeError::TooMany { taken, most });
        }
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        let after = [0, 1].map(|i| queued[i].saturating_add(taken[i]));
        if after[0] > most[0] || after[1] > most[1] {
            return Err(ServeError::Full { queued: *queued, most });
        }
        *queued = after;
        Ok(Place { queued: &self.queued, taken })
    }

    /// Each image's input, `[h, w, 3]`, normalised.
    async fn prepare(&self, images: Images) -> Result<Vec<Vec<f32>>, ServeError> {
        let elems = self.extents.image_elems();
        let cut = |values: &[f32]| values.chunks_exact(elems).map(<[f32]>::to_vec).collect();
        match images {
            Images::Values(values) => Ok(cut(&values)),
            Images::Levels(levels) => Ok(cut(&self.recipe.normalisation().values(&levels))),
            Images::Encoded(images) => self.decode(images).await,
        }
    }

    /// Decodes on as many threads as there are permits. An image that cannot be decoded has no
    /// place in a batch.
    async fn decode(&self, images: Vec<Vec<u8>>) -> Result<Vec<Vec<f32>>, ServeError> {
        let (n, elems) = (images.len(), self.extents.image_elems());
        let mut tasks = JoinSet::new();
        for (index, bytes) in images.into_iter().enumerate() {
            let permit = self.decoders.clone().acquire_owned().await;
            let (recipe, metrics) = (self.recipe.clone(), self.metrics.clone());
            tasks.spawn_blocking(move || {
                let began = Instant::now();
                let mut input = vec![0.0; elems];
                let result = image::preprocess(&bytes, &recipe, &mut input);
                metrics.decode.add(began.elapsed());
                drop(permit);
                (index, result.map(|_warnings| input))
            });
        }
        let mut inputs = vec![Vec::new(); n];
        while let Some(task) = tasks.join_next().await {
            let lost = |_| ServeError::Device("decoding an image panicked".to_owned());
            let (index, result) = task.map_err(lost)?;
            inputs[index] = result
                .map_err(|error| ServeError::Invalid(format!("image {index} of {n}: {error}")))?;
        }
        Ok(inputs)
    }

    /// Whether images are taken.
    pub(super) fn is_open(&self) -> bool {
        self.engine.is_open()
    }

    /// Takes no more images; those that are queued are run.
    pub(super) fn close(&self) {
        self.engine.close();
    }

    /// For tests: holds the device.
    pub(super) fn hold(&self) -> oneshot::Sender<()> {
        self.engine.hold()
    }
}
