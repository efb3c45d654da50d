//! Bodies of requests: as long as they may be, in memory that they share, and unpacked.

use super::error::ServeError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use flate2::read::{GzDecoder, ZlibDecoder};
use std::future::poll_fn;
use std::io::Read;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Bodies of the greatest length that are in memory at once; others wait.
const AT_ONCE: usize = 8;
/// Parts of the greatest length in which memory is counted.
const PARTS: u32 = 1024;

/// How bodies are taken.
#[derive(Debug)]
pub struct Bodies {
    /// Most bytes of one, also when it is unpacked.
    most: usize,
    /// How long memory for one is waited for, and then the body itself.
    time: Duration,
    memory: Arc<Semaphore>,
}

/// What unpacks a body.
type Unpack = fn(&[u8]) -> Box<dyn Read + '_>;

/// A body with its part of the memory.
#[derive(Debug)]
pub struct Held {
    /// Unpacked.
    pub bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl Bodies {
    /// Bodies of at most `most` bytes, waited for for `time`.
    pub fn new(most: usize, time: Duration) -> Bodies {
        Bodies { most, time, memory: Arc::new(Semaphore::new(AT_ONCE * PARTS as usize)) }
    }

    /// The whole body, unpacked.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Held, ServeError> {
        let most = self.most;
        let encoding = headers.get(CONTENT_ENCODING).map(|text| text.to_str().unwrap_or("?"));
        let unpack: Option<Unpack> = match encoding {
            None | Some("identity" | "") => None,
            Some("gzip") => Some(|bytes| Box::new(GzDecoder::new(bytes))),
            Some("deflate") => Some(|bytes| Box::new(ZlibDecoder::new(bytes))),
            Some(encoding) => {
                return Err(ServeError::Unsupported(format!(
                    "Content-Encoding {encoding}: expected gzip or deflate"
                )));
            }
        };
        let length = headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > most) {
            let _ = timeout(self.time, drop_rest(pin!(body), most)).await;
            return Err(ServeError::TooLong { most });
        }
        let parts = match (length, unpack) {
            (Some(length), None) => (length as u64 * u64::from(PARTS)).div_ceil(most.max(1) as u64),
            // Packed and unpacked.
            (_, Some(_)) => 2 * u64::from(PARTS),
            (None, None) => u64::from(PARTS),
        };
        let memory = self.memory.clone().acquire_many_owned(parts as u32);
        let memory =
            timeout(self.time, memory).await.map_err(|_| ServeError::Crowded(self.time))?;
        // Nobody closes the semaphore.
        let memory = memory.map_err(|_| ServeError::Stopping("the server".to_owned()))?;
        let packed = timeout(self.time, whole(body, length.unwrap_or(0), most)).await;
        let packed = packed.map_err(|_| ServeError::Slow(self.time))??;
        let bytes = match unpack {
            None => packed,
            Some(unpack) => spawn_blocking(move || unpacked(unpack(&packed), most))
                .await
                .map_err(|_| ServeError::Invalid("unpacking the body failed".to_owned()))??,
        };
        Ok(Held { bytes: bytes.into(), _memory: memory })
    }
}

/// Everything that comes, up to `most` bytes.
async fn whole(body: Body, length: usize, most: usize) -> Result<Vec<u8>, ServeError> {
    let mut body = pin!(body);
    let mut bytes = Vec::with_capacity(length);
    while let Some(data) = next(body.as_mut()).await {
        let data =
            data.map_err(|error| ServeError::Invalid(format!("the body broke off: {error}")))?;
        if data.len() > most - bytes.len() {
            drop_rest(body, most).await;
            return Err(ServeError::TooLong { most });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Takes so many bytes more and keeps none: many clients look for an answer only when they have sent
/// all, and find none where the connection has been closed.
async fn drop_rest(mut body: Pin<&mut Body>, most: usize) {
    let mut left = most;
    while let Some(Ok(data)) = next(body.as_mut()).await {
        match left.checked_sub(data.len()) {
            Some(rest) => left = rest,
            None => break,
        }
    }
}

/// The next bytes; trailers are none.
async fn next(mut body: Pin<&mut Body>) -> Option<Result<Bytes, axum::Error>> {
    let frame = poll_fn(|context| body.as_mut().poll_frame(context)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

fn unpacked(reader: Box<dyn Read + '_>, most: usize) -> Result<Vec<u8>, ServeError> {
    let mut bytes = Vec::new();
    match reader.take(most as u64 + 1).read_to_end(&mut bytes) {
        Err(error) => Err(ServeError::Invalid(format!("the body does not unpack: {error}"))),
        Ok(length) if length > most => Err(ServeError::TooLong { most }),
        Ok(_) => Ok(bytes),
    }
}
