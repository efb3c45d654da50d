//! Results of images without end, decoded ahead, in order.

use crate::ahead::Ahead;
use crate::arguments::OnError;
use crate::model::{Facts, settled};
use pyo3::PyTraverseError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyIterator;
use std::sync::{Arc, Mutex, TryLockError};

/// The results of images, in the order of the images: an iterator, made by :meth:`Model.stream`.
///
/// Whoever asks for the next result takes images from the iterable, as many ahead as
/// :attr:`ahead` says; threads of their own decode them. An error of an image is raised, or stands
/// in its place, as ``on_error`` said; after one that was raised the next image can be asked for.
#[pyclass(module = "effnet", frozen, weakref, generic)]
pub struct Stream {
    facts: Arc<Facts>,
    on_error: OnError,
    /// Most images that are taken ahead.
    #[pyo3(get)]
    ahead: usize,
    state: Mutex<State>,
}

struct State {
    /// None once it is closed.
    images: Option<Py<PyIterator>>,
    ahead: Ahead,
}

impl Stream {
    /// Nothing is taken yet.
    pub fn new(
        facts: Arc<Facts>,
        on_error: OnError,
        images: Py<PyIterator>,
        ahead: Ahead,
        most: usize,
    ) -> Stream {
        let state = Mutex::new(State { images: Some(images), ahead });
        Stream { facts, on_error, ahead: most, state }
    }
}

#[pymethods]
impl Stream {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        // Whoever waited here would wait for itself where the iterable asks its own stream.
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(PyRuntimeError::new_err(
                    "the stream is being asked for a result already: use a stream in one thread, \
                     and not in the iterable that it reads",
                ));
            }
        };
        let State { images, ahead } = &mut *state;
        let Some(taken) = images.as_ref().map(|images| images.bind(py).clone()) else {
            return Ok(None);
        };
        let result = ahead.next(py, &taken);
        let result = match result {
            Ok(Some(result)) => result,
            ended => {
                *images = None;
                return ended.map(|_| None);
            }
        };
        drop(state);
        settled(py, &self.facts, result, self.on_error).map(Some)
    }

    /// Lets go of the iterable and of what is decoded; there are no further results.
    fn close(&self) -> PyResult<()> {
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(PyRuntimeError::new_err("the stream is being asked for a result"));
            }
        };
        state.ahead.end();
        let images = state.images.take();
        drop(state);
        // A generator that ends may run code of its own, which finds no lock held.
        drop(images);
        Ok(())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close()
    }

    fn __repr__(&self) -> String {
        format!("<effnet.Stream of {}, {} images ahead>", self.facts.variant, self.ahead)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.state.try_lock() {
            Ok(state) => visit.call(&state.images),
            // In use: it is reachable, and nothing is collected.
            Err(_) => Ok(()),
        }
    }

    fn __clear__(&self) {
        if let Ok(mut state) = self.state.try_lock() {
            let images = state.images.take();
            drop(state);
            drop(images);
        }
    }
}
