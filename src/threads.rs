//! The threads that whole rooms share: rayon's, started once for the process. The emulator runs on
//! the same ones.

/// Starts rayon's threads if need be. Where they could not be started, rayon itself would panic.
#[cfg(feature = "emulator")]
pub(crate) fn start_shared() -> std::io::Result<()> {
    Ok(ptx_emulator::start_threads()?)
}

/// Starts rayon's threads if need be. Where they could not be started, rayon itself would panic.
#[cfg(not(feature = "emulator"))]
pub(crate) fn start_shared() -> std::io::Result<()> {
    use std::error::Error;
    use std::sync::OnceLock;
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| {
        // An error without a source: somebody else has started them, which is as good.
        let error = rayon::ThreadPoolBuilder::new().build_global().err()?;
        Some(error.source()?.to_string())
    });
    match refused {
        None => Ok(()),
        Some(message) => Err(std::io::Error::other(format!(
            "no threads: {message}; lower RAYON_NUM_THREADS, or raise `ulimit -u`"
        ))),
    }
}
