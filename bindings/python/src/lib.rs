//! The Python package `effnet`.
//!
//! - `model`: what `effnet.load` gives; `prediction`, `outputs` and `stream` are what it gives in
//!   turn;
//! - `engine`: the session with the threads that decode for it, which knows nothing of Python;
//! - `ahead`: objects of an iterator through an engine, decoded while the network runs;
//! - `images`, `tensors`, `arguments`: from Python's objects to the library's;
//! - `errors`: from the library's errors to the exceptions of `effnet/_errors.py`;
//! - `tools`: import, pull, catalogue, devices, verify, profile.
//!
//! Python's lock is let go of wherever images are decoded or the network runs. Nothing takes it
//! while it holds a lock of this package, so that the two cannot wait for each other.

mod ahead;
mod arguments;
mod engine;
mod errors;
mod images;
mod model;
mod outputs;
mod prediction;
mod stream;
mod tensors;
mod tools;

/// The part of the package that is not Python.
#[pyo3::pymodule(gil_used = false)]
mod _effnet {
    #[pymodule_export]
    use crate::model::{Model, load};
    #[pymodule_export]
    use crate::outputs::Outputs;
    #[pymodule_export]
    use crate::prediction::Prediction;
    #[pymodule_export]
    use crate::stream::Stream;
    #[pymodule_export]
    use crate::tools::{catalogue, devices, import_checkpoint, pull, verify};

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name for it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
