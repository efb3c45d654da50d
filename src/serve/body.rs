//! Bodies of requests: as long as they may be, in memory that they share, and unpacked.

use super::error::ServeError;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use flate2::read::{GzDecoder, ZlibDecoder};
use hyper::body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::Read;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Bodies of the greatest length that are in memory at once; others wait.
const AT_ONCE: usize = 8;
/// How long a body is waited for that was not there when the server ended.
const END_TIME: Duration = Duration::from_secs(2);
/// Parts of the greatest length in which memory is counted.
const PARTS: u32 = 1024;

/// How bodies are taken.
#[derive(Debug)]
pub struct Bodies {
    /// Most bytes of one, also when it is unpacked.
    most: usize,
    /// How long one is waited for, and memory for it.
    time: Duration,
    memory: Arc<Semaphore>,
    /// Whether the server ends: what is not there by then has little time left.
    is_ending: watch::Receiver<bool>,
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
    /// Bodies of at most `most` bytes, waited for for `time`, or for [`END_TIME`] from when the server
    /// ends.
    pub fn new(most: usize, time: Duration, is_ending: watch::Receiver<bool>) -> Bodies {
        let memory = Arc::new(Semaphore::new(AT_ONCE * PARTS as usize));
        Bodies { most, time, memory, is_ending }
    }

    /// The whole body, unpacked.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Held, ServeError> {
        let most = self.most;
        let encoding = headers.get(CONTENT_ENCODING).map(|text| text.to_str().unwrap_or("?"));
        let encoding = encoding.unwrap_or_default().to_ascii_lowercase();
        let unpack: Option<Unpack> = match &encoding[..] {
            "" | "identity" => None,
            "gzip" | "x-gzip" => Some(|bytes| Box::new(GzDecoder::new(bytes))),
            "deflate" => Some(|bytes| Box::new(ZlibDecoder::new(bytes))),
            _ => return Err(ServeError::Encoding(encoding)),
        };
        let length = headers.get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > most) {
            return Err(ServeError::TooLong { most });
        }
        let (packed, mut memory) = self.in_time(self.whole(body, length.unwrap_or(0))).await?;
        let bytes = match unpack {
            None => packed,
            Some(unpack) => {
                memory.merge(self.reserve(PARTS).await?);
                spawn_blocking(move || unpacked(unpack(&packed), most))
                    .await
                    .map_err(|_| ServeError::Invalid("unpacking the body failed".to_owned()))??
            }
        };
        Ok(Held { bytes: bytes.into(), _memory: memory })
    }

    /// Everything that comes, with memory for as much as has come: what a client announces takes none.
    async fn whole(
        &self,
        body: Body,
        length: usize,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), ServeError> {
        let mut body = pin!(body);
        let mut memory = self.reserve(0).await?;
        let mut bytes = Vec::with_capacity(length);
        while let Some(data) = next(body.as_mut()).await {
            let data =
                data.map_err(|error| ServeError::Invalid(format!("the body broke off: {error}")))?;
            if data.len() > self.most - bytes.len() {
                return Err(ServeError::TooLong { most: self.most });
            }
            self.grow(&mut memory, bytes.len() + data.len()).await?;
            bytes.extend_from_slice(&data);
        }
        Ok((bytes, memory))
    }

    /// What a body comes to, in the time that there is for one.
    async fn in_time<T>(
        &self,
        taken: impl Future<Output = Result<T, ServeError>>,
    ) -> Result<T, ServeError> {
        let mut is_ending = self.is_ending.clone();
        let ended = async {
            // Where the server is gone, nobody waits.
            let _ = is_ending.wait_for(|&is_ending| is_ending).await;
            tokio::time::sleep(END_TIME).await;
        };
        tokio::select! {
            biased;
            taken = taken => taken,
            () = tokio::time::sleep(self.time) => Err(ServeError::Slow(self.time)),
            () = ended => Err(ServeError::Stopping("the server".to_owned())),
        }
    }
}

impl Bodies {
    /// Most bytes of a body.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The whole of a gRPC request of one message, whose length its first bytes say: a flag and four
    /// bytes, big-endian, then the message.
    pub async fn message(&self, body: Body) -> Result<(Frames, Held), ServeError> {
        const HEAD: usize = 5;
        let mut body = pin!(body);
        let mut frames = Frames::default();
        let mut memory = self.reserve(0).await?;
        let whole = async {
            let mut is_packed = false;
            while let Some(data) = next(body.as_mut()).await {
                let broken = |error| ServeError::Invalid(format!("the body broke off: {error}"));
                frames.push(data.map_err(broken)?);
                let length = frames.head::<HEAD>().map_or(0, |head| {
                    is_packed = head[0] != 0;
                    u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize
                });
                if length > self.most || frames.length > self.most.saturating_add(HEAD) {
                    return Err(ServeError::TooLong { most: self.most });
                }
                self.grow(&mut memory, frames.length).await?;
            }
            if is_packed {
                memory.merge(self.reserve(PARTS).await?);
            }
            Ok(())
        };
        self.in_time(whole).await?;
        Ok((frames, Held { bytes: Bytes::new(), _memory: memory }))
    }

    /// Makes memory enough for so many bytes.
    async fn grow(
        &self,
        memory: &mut OwnedSemaphorePermit,
        bytes: usize,
    ) -> Result<(), ServeError> {
        let more = self.parts(bytes).saturating_sub(memory.num_permits() as u32);
        if more > 0 {
            memory.merge(self.reserve(more).await?);
        }
        Ok(())
    }

    /// Parts of memory for so many bytes.
    fn parts(&self, bytes: usize) -> u32 {
        let parts =
            (bytes as u64).saturating_mul(u64::from(PARTS)).div_ceil(self.most.max(1) as u64);
        parts.min(2 * u64::from(PARTS)) as u32
    }

    async fn reserve(&self, parts: u32) -> Result<OwnedSemaphorePermit, ServeError> {
        let memory = self.memory.clone().acquire_many_owned(parts);
        let memory =
            timeout(self.time, memory).await.map_err(|_| ServeError::Crowded(self.time))?;
        // Nobody closes the semaphore.
        memory.map_err(|_| ServeError::Stopping("the server".to_owned()))
    }
}

/// A body in the pieces that it came in.
#[derive(Debug, Default)]
pub struct Frames {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Frames {
    fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        self.pieces.push_back(piece);
    }

    /// The first bytes, where so many are there.
    fn head<const N: usize>(&self) -> Option<[u8; N]> {
        let mut head = [0; N];
        let mut bytes = self.pieces.iter().flatten();
        for to in &mut head {
            *to = *bytes.next()?;
        }
        Some(head)
    }
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// A request's body, the rest of which can be taken when the request has been answered.
#[derive(Debug)]
pub struct Lent {
    body: Option<Body>,
    rest: Rest,
}

/// What is left of a body that was lent.
#[derive(Clone, Debug, Default)]
pub struct Rest(Arc<Mutex<Option<Body>>>);

impl Lent {
    /// Lends a body.
    pub fn new(body: Body) -> (Lent, Rest) {
        let rest = Rest::default();
        (Lent { body: Some(body), rest: rest.clone() }, rest)
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        *self.rest.0.lock().unwrap_or_else(PoisonError::into_inner) = rest;
    }
}

impl Bodies {
    /// Takes what is left of a body and keeps none of it, up to the greatest length: many clients look
    /// for an answer only when they have sent all, and find none where the connection has been closed.
    pub async fn drop_rest(&self, rest: Rest) {
        let body = rest.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(body) = body else { return };
        let mut body = pin!(body);
        let all = async {
            let mut left = self.most;
            while let Some(Ok(data)) = next(body.as_mut()).await {
                match left.checked_sub(data.len()) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
            Ok(())
        };
        // What has not come in time is not waited for.
        let _ = self.in_time(all).await;
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
