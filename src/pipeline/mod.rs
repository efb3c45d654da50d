//! Images through a session: decoded on all cores while the network runs the images before them.
//!
//! ```text
//! inputs ──▶ decoding thread, pool ──▶ tensors ──▶ caller's thread: session ──▶ results, in order
//!                     ▲                                     │
//!                     └──────── memory of runs ◀────────────┘
//! ```
//!
//! ```no_run
//! use effnet::pipeline::{Pipeline, PipelineOptions};
//! use effnet::session::{Device, Session, SessionOptions};
//! use effnet::weights::Weights;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let weights = Arc::new(Weights::open("lite0.safetensors".as_ref())?);
//! let options = SessionOptions { device: Device::auto().device, batch: 8, ..Default::default() };
//! let session = Session::new(weights, options)?;
//! let mut pipeline = Pipeline::new(session, PipelineOptions::default())?;
//! for result in pipeline.classify(["cat.jpg", "dog.jpg"], 5)? {
//!     match result {
//!         Ok(image) => println!("{}: class {}", image.name, image.output[0].class),
//!         Err(error) => eprintln!("{error}"), // names the image; the others go on
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Images come from files, from bytes in memory or from readers, see [`ImageInput`]. Memory is
//! bounded whatever the number of images: at most three groups of them have tensors, `[n, h, w, 3]`,
//! beside the encoded bytes that the inputs hold themselves. A group has as many images as
//! there are decoding threads, rounded up to whole batches.
//!
//! Images are decoded and resized into the memory that a run reads them from
//! ([`Session::input_buffer`]): nothing copies them on the host. A session whose input is
//! [`InputType::U8`] gets them as levels, a quarter of the bytes of f32, which its network normalises.
//! That takes a recipe that rounds to levels, see [`Recipe::rounds_to_levels`]: Pillow's and OpenCV's
//! resampling do, and TensorFlow's bicubic does not.
//!
//! [`Recipe::rounds_to_levels`]: crate::image::Recipe::rounds_to_levels
//! Pictures that are being decoded share one budget, whatever the number of threads, see
//! [`image`](crate::image); each thread holds one encoded image, of [`MAX_ENCODED_BYTES`] at most.

mod decode;
mod input;
mod results;

pub use input::{ImageFailure, ImageFailureKind, ImageInput, MAX_ENCODED_BYTES};
pub use results::{ImageOutput, Results};

use crate::image::{RecipeError, preprocess, preprocess_levels};
use crate::memory::TooLittleMemory;
use crate::session::{
    InputBuffer, InputMut, InputType, Outputs, Prediction, Session, SessionError,
};
use decode::Decoder;
use results::Network;
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

/// How images are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PipelineOptions {
    /// Threads that decode, at least 1; one per core where none is given.
    pub threads: Option<usize>,
}

/// Why a pipeline could not be made, why one image has no result, or why no further result comes.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// One image has no result. The others go on.
    #[error(transparent)]
    Image(#[from] ImageFailure),
    /// The session failed. No further result comes.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A session that takes levels, with a recipe that does not round to them.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The system has no thread to spare.
    #[error("cannot start the decoding threads: {source}; try fewer than {threads}")]
    Threads {
        /// The number of decoding threads asked for.
        threads: usize,
        /// The system's words.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Decoded images and the network's activations would need more memory than this process can have.
    #[error("{0}: use a smaller batch or size, or fewer decoding threads")]
    TooLittleMemory(#[from] TooLittleMemory),
    /// A panic of a caller's reader, or of this library: a decoder's is its image's error. No further
    /// result comes.
    #[error(
        "a decoding thread has panicked, in or after image {index}; its message is on standard \
         error"
    )]
    Panicked {
        /// The place among the inputs, from 0, of the first image that has no result.
        index: usize,
    },
}

/// A session with threads that decode for it.
#[derive(Debug)]
pub struct Pipeline {
    session: Session,
    decoder: Decoder,
    session_time: Duration,
}

impl Pipeline {
    /// Starts the decoding threads. Images are prepared by the session's recipe, in its type.
    ///
    /// # Errors
    ///
    /// [`PipelineError::Recipe`] where the session takes levels and its recipe does not round to them.
    pub fn new(session: Session, options: PipelineOptions) -> Result<Pipeline, PipelineError> {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or_else(cores).max(1);
        let recipe = session.recipe();
        if session.input_type() == InputType::U8 {
            recipe.expect_levels()?;
        }
        let prepare = move |bytes: &[u8], image: InputMut<'_>| match image {
            InputMut::F32(values) => preprocess(bytes, &recipe, values),
            InputMut::U8(levels) => preprocess_levels(bytes, &recipe, levels),
        };
        let decoder = Decoder::new(threads, session.batch(), prepare)?;
        Ok(Pipeline { session, decoder, session_time: Duration::ZERO })
    }

    /// Finds the `k` best classes of each image, the best first, and gives them in the order of the
    /// images. An image with a logit that is NaN or infinite has the error
    /// [`ImageFailureKind::NonFinite`]. A network without a classifier is refused with
    /// [`SessionError::NoClassifier`], and one that gives fewer best classes with
    /// [`SessionError::TopK`]. See [`map`](Pipeline::map).
    pub fn classify<'a, I>(
        &'a mut self,
        images: I,
        k: usize,
    ) -> Result<Results<'a, Vec<Prediction>>, PipelineError>
    where
        I: IntoIterator<Item: Into<ImageInput> + 'a, IntoIter: 'a>,
    {
        if !self.session.has_classifier() {
            return Err(SessionError::NoClassifier.into());
        }
        if let Some(given) = self.session.top_k().filter(|&given| k > given) {
            return Err(SessionError::TopK { asked: k, given }.into());
        }
        self.try_map(images, move |outputs, image| Ok(outputs.top_k(image, k)?))
    }

    /// Runs each image, and gives what `output` makes of the outputs of its run and its place in
    /// them, in the order of the images.
    ///
    /// The results are an iterator. The thread that asks for the next result takes items from
    /// `images`, up to three groups ahead, and runs the session; reading and decoding go on
    /// meanwhile. An image that cannot be read or decoded is a [`PipelineError::Image`] at its
    /// place. Any other error is the last item.
    ///
    /// Whoever stops asking drops the iterator: images that were taken ahead are then lost, runs
    /// that are under way are waited for, and the pipeline can be used again. Nothing waits for a
    /// reader that blocks; the pipeline has its decoding thread back when the reader ends.
    ///
    /// ```
    /// # use effnet::pipeline::{Pipeline, PipelineError};
    /// /// The features of images in memory; the first that is none ends it.
    /// fn features(
    ///     pipeline: &mut Pipeline,
    ///     images: Vec<Vec<u8>>,
    /// ) -> Result<Vec<Vec<f32>>, PipelineError> {
    ///     let results = pipeline.map(images, |outputs, image| outputs.features(image).to_vec())?;
    ///     results.map(|result| result.map(|image| image.output)).collect()
    /// }
    /// ```
    pub fn map<'a, I, T>(
        &'a mut self,
        images: I,
        mut output: impl FnMut(&Outputs<'_>, usize) -> T + 'a,
    ) -> Result<Results<'a, T>, PipelineError>
    where
        I: IntoIterator<Item: Into<ImageInput> + 'a, IntoIter: 'a>,
    {
        self.try_map(images, move |outputs, image| Ok(output(outputs, image)))
    }

    /// Like [`map`](Pipeline::map), where `output` may refuse an image: its error is that image's
    /// result, and the others go on.
    pub fn try_map<'a, I, T>(
        &'a mut self,
        images: I,
        output: impl FnMut(&Outputs<'_>, usize) -> Result<T, ImageFailureKind> + 'a,
    ) -> Result<Results<'a, T>, PipelineError>
    where
        I: IntoIterator<Item: Into<ImageInput> + 'a, IntoIter: 'a>,
    {
        let Pipeline { session, decoder, session_time } = self;
        let network = SessionNetwork { session, output, time: session_time };
        Results::new(decoder, Box::new(network), images.into_iter().map(Into::into))
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Gives the session back.
    pub fn into_session(self) -> Session {
        self.session
    }

    /// Time that all calls so far have spent in the session: beginning runs, waiting for them, and
    /// taking their outputs.
    pub fn session_time(&self) -> Duration {
        self.session_time
    }
}

/// A session, and what is made of the outputs of its runs.
struct SessionNetwork<'a, F> {
    session: &'a mut Session,
    output: F,
    time: &'a mut Duration,
}

impl<T, F> Network<T> for SessionNetwork<'_, F>
where
    F: FnMut(&Outputs<'_>, usize) -> Result<T, ImageFailureKind>,
{
    fn capacity(&self) -> usize {
        self.session.capacity()
    }

    fn untouched_bytes(&self, images: usize) -> u64 {
        self.session.untouched_bytes(images)
    }

    fn buffer_bytes(&self) -> u64 {
        let elems = self.session.batch().saturating_mul(self.session.input_elems());
        elems.saturating_mul(self.session.input_type().elem_bytes()) as u64
    }

    fn buffer(&self) -> Result<InputBuffer, SessionError> {
        self.session.input_buffer()
    }

    fn submit(&mut self, images: &mut InputBuffer, n: usize) -> Result<(), SessionError> {
        let start = Instant::now();
        self.session.submit_buffer(images, n)?;
        *self.time += start.elapsed();
        Ok(())
    }

    fn collect(&mut self) -> Result<Vec<Result<T, ImageFailureKind>>, SessionError> {
        let start = Instant::now();
        let outputs = self.session.collect()?;
        let found = (0..outputs.len()).map(|image| (self.output)(&outputs, image)).collect();
        *self.time += start.elapsed();
        Ok(found)
    }

    fn abandon(&mut self) {
        self.session.abandon();
    }
}
