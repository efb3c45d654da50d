//! Why a request has no answer.

use std::time::Duration;

/// Why a request has no answer; a protocol's code follows from the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    /// The request is wrong: what, where, expected, found.
    #[error("{0}")]
    Invalid(String),
    /// There is no such model, version or path.
    #[error("{0}")]
    NotFound(String),
    /// The request is longer than the limit.
    #[error("the body is longer than {most} bytes: send fewer images, or start with --max-body")]
    TooLong {
        /// The limit.
        most: usize,
    },
    /// The request came too slowly.
    #[error("the body was not there after {} s", .0.as_secs())]
    Slow(Duration),
    /// The request is larger than the queue.
    #[error(
        "{} images that take {} bytes, expected at most {} and {}: send fewer at once, or start with \
         --max-queue or --max-queue-bytes",
        taken[0], taken[1], most[0], most[1]
    )]
    TooMany {
        /// Images and bytes of the request.
        taken: [usize; 2],
        /// The limits.
        most: [usize; 2],
    },
    /// The queue is full.
    #[error(
        "the queue is full: {} images of at most {}, {} bytes of at most {}; try again later, or \
         start with --max-queue or --max-queue-bytes",
        queued[0], most[0], queued[1], most[1]
    )]
    Full {
        /// Images and bytes in the queue.
        queued: [usize; 2],
        /// The limits.
        most: [usize; 2],
    },
    /// Other requests' bodies take the memory for them.
    #[error("bodies of other requests took all memory for them for {} s: try again later", .0.as_secs())]
    Crowded(Duration),
    /// The answer was not there in time.
    #[error("no answer within {}", within(.0))]
    Late(Duration),
    /// The deadline of the call itself is over.
    #[error("no answer within {}, the call's deadline", within(.0))]
    Expired(Duration),
    /// The server is stopping, or the model is.
    #[error("{0} is stopping")]
    Stopping(String),
    /// A model is not there yet.
    #[error("{0}")]
    Unavailable(String),
    /// No key, or none that is known.
    #[error("expected a key, as Authorization: Bearer KEY or X-API-Key: KEY")]
    Unauthorised,
    /// A body that is packed in another way.
    #[error("Content-Encoding {0}: expected gzip or deflate")]
    Encoding(String),
    /// The protocol has it, this server has not.
    #[error("{0}")]
    Unsupported(String),
    /// The device failed.
    #[error("{0}")]
    Device(String),
}

impl ServeError {
    /// The status of an answer by HTTP.
    pub fn status(&self) -> u16 {
        match self {
            ServeError::Invalid(_) => 400,
            ServeError::Unauthorised => 401,
            ServeError::NotFound(_) => 404,
            ServeError::Slow(_) => 408,
            ServeError::TooLong { .. } | ServeError::TooMany { .. } => 413,
            ServeError::Device(_) => 500,
            ServeError::Encoding(_) | ServeError::Unsupported(_) => 501,
            ServeError::Full { .. }
            | ServeError::Crowded(_)
            | ServeError::Late(_)
            | ServeError::Unavailable(_)
            | ServeError::Stopping(_) => 503,
            ServeError::Expired(_) => 504,
        }
    }

    /// As metrics name the reason.
    pub fn reason(&self) -> &'static str {
        match self {
            ServeError::Invalid(_)
            | ServeError::NotFound(_)
            | ServeError::Unauthorised
            | ServeError::Encoding(_)
            | ServeError::Unsupported(_) => "invalid",
            ServeError::TooLong { .. } | ServeError::TooMany { .. } => "too_large",
            ServeError::Slow(_) => "slow",
            ServeError::Full { .. } | ServeError::Crowded(_) => "full",
            ServeError::Late(_) | ServeError::Expired(_) => "late",
            ServeError::Stopping(_) | ServeError::Unavailable(_) => "stopping",
            ServeError::Device(_) => "device",
        }
    }
}

/// A limit of time as requests give them.
fn within(limit: &Duration) -> String {
    match limit.as_micros() {
        us if us % 1000 == 0 => format!("{} ms", us / 1000),
        us => format!("{us} us"),
    }
}
