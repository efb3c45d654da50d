//! What runs batches: a session, or for benches a network that does nothing.

use super::engine::Wanted;
use crate::session::{Device, InputMut, Outputs, Session, SessionError, SessionOptions};
use crate::weights::Weights;
use axum::body::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// One image as a network takes it, `[h, w, 3]`.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageInput {
    /// Normalised.
    Values(Vec<f32>),
    /// From 0 to 255: the network normalises them.
    Levels(Bytes),
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

/// What runs batches. Runs that were submitted are collected in their order.
pub trait Network: Send {
    /// Most images of a run.
    fn batch(&self) -> usize;

    /// Most runs that are under way at once.
    fn capacity(&self) -> usize;

    /// Begins a run of images, all in the type that the network was made for.
    fn submit(&mut self, images: &[&ImageInput]) -> Result<(), SessionError>;

    /// The outputs of the oldest run that is under way, of each image as it is wanted.
    fn collect(&mut self, wanted: &[Wanted]) -> Result<Vec<ImageOutputs>, SessionError>;
}

/// Makes a network, also anew when a device has failed.
pub type Make = Box<dyn Fn() -> Result<Box<dyn Network>, SessionError> + Send>;

/// A session that has run once: on a GPU for every number of images, each of which records its
/// launches in its first run.
pub fn warm(weights: Arc<Weights>, options: SessionOptions) -> Result<Session, SessionError> {
    let mut session = Session::new(weights, options)?;
    let most = match session.device() {
        Device::Cuda(_) => session.batch(),
        Device::Cpu | Device::Emulator => 1,
    };
    for n in 1..=most {
        match session.input_mut(n)? {
            InputMut::F32(values) => values.fill(0.0),
            InputMut::U8(levels) => levels.fill(0),
        }
        session.run_staged(n)?;
    }
    Ok(session)
}

impl Network for Session {
    fn batch(&self) -> usize {
        Session::batch(self)
    }

    fn capacity(&self) -> usize {
        Session::capacity(self)
    }

    fn submit(&mut self, images: &[&ImageInput]) -> Result<(), SessionError> {
        let elems = self.input_elems();
        match self.input_mut(images.len())? {
            InputMut::F32(to) => copy(to, elems, images.iter().filter_map(|image| image.values())),
            InputMut::U8(to) => copy(to, elems, images.iter().filter_map(|image| image.levels())),
        }
        self.submit_staged(images.len())
    }

    fn collect(&mut self, wanted: &[Wanted]) -> Result<Vec<ImageOutputs>, SessionError> {
        match Session::collect(self) {
            Ok(outputs) => {
                let of = |(image, &wanted)| image_outputs(&outputs, image, wanted);
                Ok(wanted.iter().enumerate().map(of).collect())
            }
            Err(error) => Err(error),
        }
    }
}

impl ImageInput {
    fn values(&self) -> Option<&[f32]> {
        match self {
            ImageInput::Values(values) => Some(values),
            ImageInput::Levels(_) => None,
        }
    }

    fn levels(&self) -> Option<&[u8]> {
        match self {
            ImageInput::Levels(levels) => Some(levels),
            ImageInput::Values(_) => None,
        }
    }
}

fn copy<'a, T: Copy + 'a>(to: &mut [T], elems: usize, images: impl Iterator<Item = &'a [T]>) {
    for (to, image) in to.chunks_exact_mut(elems).zip(images) {
        to.copy_from_slice(image);
    }
}

fn image_outputs(outputs: &Outputs<'_>, image: usize, wanted: Wanted) -> ImageOutputs {
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

/// A network that does nothing at once: what a server adds to a network is what it takes with this
/// one. It copies levels as a session does, and gives zeros.
#[derive(Debug)]
pub struct Null {
    classes: usize,
    staged: Vec<u8>,
    under_way: VecDeque<usize>,
}

impl Null {
    /// Of so many classes.
    pub fn new(classes: usize) -> Null {
        Null { classes, staged: Vec::new(), under_way: VecDeque::new() }
    }

    /// Images of a batch.
    pub const BATCH: usize = 32;
}

impl Network for Null {
    fn batch(&self) -> usize {
        Null::BATCH
    }

    fn capacity(&self) -> usize {
        2
    }

    fn submit(&mut self, images: &[&ImageInput]) -> Result<(), SessionError> {
        self.staged.clear();
        for levels in images.iter().filter_map(|image| image.levels()) {
            self.staged.extend_from_slice(levels);
        }
        self.under_way.push_back(images.len());
        Ok(())
    }

    fn collect(&mut self, wanted: &[Wanted]) -> Result<Vec<ImageOutputs>, SessionError> {
        self.under_way.pop_front().ok_or(SessionError::NothingSubmitted)?;
        let outputs = |wanted: &Wanted| ImageOutputs {
            logits: vec![0.0; self.classes],
            features: Vec::new(),
            probabilities: Ok(wanted.probabilities.then(|| vec![0.0; self.classes])),
        };
        Ok(wanted.iter().map(outputs).collect())
    }
}
