//! The threads that launches share: rayon's, started once for the process.

use rayon::ThreadPoolBuilder;
use std::error::Error;
use std::io;
use std::sync::OnceLock;

/// Why the threads that launches share could not be started: the system allows no more of them, or
/// has no memory for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no threads for the emulator: {message}; lower RAYON_NUM_THREADS, or raise `ulimit -u`")]
pub struct ThreadsError {
    /// What the system said.
    pub message: String,
}

/// Starts rayon's threads if need be, one per core or as many as `RAYON_NUM_THREADS` says. Where
/// they could not be started, rayon itself would panic. What failed once fails again: rayon tries
/// once.
///
/// # Errors
/// [`ThreadsError`] where the system starts no more threads.
pub fn start_threads() -> Result<(), ThreadsError> {
    static STARTED: OnceLock<Result<(), ThreadsError>> = OnceLock::new();
    STARTED.get_or_init(|| outcome(ThreadPoolBuilder::new().build_global())).clone()
}

/// Threads that somebody else has started are as good.
fn outcome(built: Result<(), rayon::ThreadPoolBuildError>) -> Result<(), ThreadsError> {
    let refused = built.err().and_then(|error| Some(error.source()?.to_string()));
    refused.map_or(Ok(()), |message| Err(ThreadsError { message }))
}

impl From<ThreadsError> for io::Error {
    fn from(error: ThreadsError) -> io::Error {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_run_already_are_as_good() {
        start_threads().unwrap();
        assert!(ThreadPoolBuilder::new().build_global().is_err());
        outcome(ThreadPoolBuilder::new().build_global()).unwrap();
    }

    #[test]
    fn what_the_system_refuses_is_told() {
        let refused = ThreadPoolBuilder::new()
            .num_threads(1)
            .spawn_handler(|_| Err(io::ErrorKind::WouldBlock.into()))
            .build()
            .map(drop);
        let error = outcome(refused).unwrap_err().to_string();
        assert!(error.contains("no threads for the emulator"), "{error}");
    }
}
