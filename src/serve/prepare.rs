//! From a request's images to a network's inputs, aside where that takes long.

use super::error::ServeError;
use super::metrics::ModelMetrics;
use super::network::ImageInput;
use crate::image::{self, ImageError, Recipe};
use axum::body::Bytes;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

/// Elements that are worked on at once; more are worked on aside, for other requests not to wait.
const SHORT: usize = 1 << 18;

/// What a function of so many elements gives.
pub async fn aside<T: Send + 'static>(
    elems: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    if elems <= SHORT {
        return Ok(work());
    }
    let lost = |_| ServeError::Device("preparing a request panicked".to_owned());
    spawn_blocking(work).await.map_err(lost)
}

/// Images of so many values each.
pub fn cut(values: &[f32], elems: usize) -> Vec<ImageInput> {
    values.chunks_exact(elems).map(|image| ImageInput::Values(image.to_vec())).collect()
}

/// From an encoded image to a network's input.
pub type Prepare = fn(&[u8], &Recipe) -> Result<ImageInput, ImageError>;

/// See [`Prepare`].
pub fn to_values(bytes: &[u8], recipe: &Recipe) -> Result<ImageInput, ImageError> {
    let mut values = vec![0.0; 3 * recipe.size.pixels()];
    image::preprocess(bytes, recipe, &mut values)?;
    Ok(ImageInput::Values(values))
}

/// See [`Prepare`].
pub fn to_levels(bytes: &[u8], recipe: &Recipe) -> Result<ImageInput, ImageError> {
    let mut levels = vec![0; 3 * recipe.size.pixels()];
    image::preprocess_levels(bytes, recipe, &mut levels)?;
    Ok(ImageInput::Levels(levels.into()))
}

/// What decodes a model's images.
#[derive(Debug)]
pub struct Decoders {
    permits: Arc<Semaphore>,
    metrics: Arc<ModelMetrics>,
}

impl Decoders {
    /// Decodes so many images at once.
    pub fn new(at_once: usize, metrics: Arc<ModelMetrics>) -> Decoders {
        Decoders { permits: Arc::new(Semaphore::new(at_once.max(1))), metrics }
    }

    /// Decodes on as many threads as there are permits. An image that cannot be decoded has no
    /// place in a batch.
    pub async fn decode(
        &self,
        images: Vec<Bytes>,
        recipe: &Recipe,
        prepare: Prepare,
    ) -> Result<Vec<ImageInput>, ServeError> {
        let n = images.len();
        let mut tasks = JoinSet::new();
        for (index, bytes) in images.into_iter().enumerate() {
            let permit = self.permits.clone().acquire_owned().await;
            let (recipe, metrics) = (recipe.clone(), self.metrics.clone());
            tasks.spawn_blocking(move || {
                let began = Instant::now();
                let result = prepare(&bytes, &recipe);
                metrics.decode.add(began.elapsed());
                drop(permit);
                (index, result)
            });
        }
        let mut inputs = vec![None; n];
        while let Some(task) = tasks.join_next().await {
            let lost = |_| ServeError::Device("decoding an image panicked".to_owned());
            let (index, result) = task.map_err(lost)?;
            let input = result
                .map_err(|error| ServeError::Invalid(format!("image {index} of {n}: {error}")))?;
            inputs[index] = Some(input);
        }
        Ok(inputs.into_iter().flatten().collect())
    }
}
