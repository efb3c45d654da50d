//! The library's tools: checkpoints imported and fetched, devices listed, verified and profiled.

mod checkpoints;
mod profiling;
mod verification;

pub use checkpoints::{import_checkpoint, pull};
pub use profiling::{ProfileOptions, profile};
pub use verification::verify;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What serialises, as Python's dictionaries, lists, texts and numbers.
pub fn from_json(py: Python<'_>, value: &impl serde::Serialize) -> PyResult<Py<PyAny>> {
    let text = serde_json::to_string(value)
        .map_err(|error| PyValueError::new_err(format!("no JSON: {error}")))?;
    Ok(py.import("json")?.call_method1("loads", (text,))?.unbind())
}

/// An object of `effnet/_reports.py`.
fn report<'py>(
    py: Python<'py>,
    class: &str,
    fields: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    py.import("effnet._reports")?.getattr(class)?.call((), Some(fields))
}

/// Work that calls back, with signals looked at in each callback; an interrupt leaves the work by
/// unwinding it, so that its files and locks are let go of.
fn interruptible<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut(&mut dyn FnMut(Python<'_>) -> PyResult<()>)) -> T + Send,
) -> PyResult<T> {
    /// What unwinds.
    struct Interrupted(PyErr);
    let done = py.detach(|| {
        catch_unwind(AssertUnwindSafe(|| {
            work(&mut |tell| {
                let told = Python::attach(|py| {
                    tell(py)?;
                    py.check_signals()
                });
                if let Err(error) = told {
                    resume_unwind(Box::new(Interrupted(error)));
                }
            })
        }))
    });
    done.or_else(|panic| match panic.downcast::<Interrupted>() {
        Ok(interrupted) => Err(interrupted.0),
        Err(panic) => resume_unwind(panic),
    })
}

/// The known public checkpoints.
///
/// Returns:
///     A list of dicts with name, variant, family, classes, licence, accuracy and so on, as
///     ``effnet pull --list --json`` prints them.
#[pyfunction]
pub fn catalogue(py: Python<'_>) -> PyResult<Py<PyAny>> {
    from_json(py, &effnet::weights::catalogue())
}

/// What networks can run on here.
///
/// Returns:
///     A list of dicts, one a device: ``device`` (what ``effnet.load`` takes), ``name``,
///         ``usable``,
///     ``why_not``, ``auto`` (whether ``"auto"`` takes it), memory and so on, as
///     ``effnet devices --json`` prints them.
#[pyfunction]
pub fn devices(py: Python<'_>) -> PyResult<Py<PyAny>> {
    let rows = py.detach(effnet::environment::devices);
    from_json(py, &rows)
}
