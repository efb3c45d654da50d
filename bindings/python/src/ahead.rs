//! Images of a Python iterator through an engine, in order, decoded while the network runs.
//!
//! The thread that asks for the next result takes objects from the iterator, so that a generator
//! runs where its caller does. Runs of images wait in a queue of bounded length while threads
//! decode them.

use crate::engine::{Engine, ImageResult, PreparedRun, Taken, Wanted};
use crate::errors::{Failure, Kind, OrRaise};
use crate::images;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyIterator;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

/// Longest wait before signals are looked at.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// Images on their way.
pub struct Ahead {
    engine: Arc<Engine>,
    wanted: Wanted,
    /// Most runs on their way.
    window: usize,
    /// Images that were taken.
    taken: usize,
    /// The iterator has no more, or has failed.
    ended: bool,
    /// What the iterator raised; told when what it gave before is through.
    raised: Option<PyErr>,
    pending: VecDeque<Receiver<PreparedRun>>,
    ready: VecDeque<ImageResult>,
    /// While it lives, somebody wants the images that are being decoded.
    still_wanted: Arc<()>,
}

impl Ahead {
    /// Nothing is taken yet. `window` is the most runs on their way, at least 1.
    pub fn new(engine: Arc<Engine>, wanted: Wanted, window: usize) -> Ahead {
        Ahead {
            engine,
            wanted,
            window,
            taken: 0,
            ended: false,
            raised: None,
            pending: VecDeque::new(),
            ready: VecDeque::new(),
            still_wanted: Arc::new(()),
        }
    }

    /// The next image's result, in the order of the images; none after the last.
    ///
    /// # Errors
    ///
    /// What ends everything: an exception of the iterator, an interrupt, a session that failed. An
    /// image's error is its result.
    pub fn next(
        &mut self,
        py: Python<'_>,
        images: &Bound<'_, PyIterator>,
    ) -> PyResult<Option<ImageResult>> {
        let result = self.advance(py, images);
        if result.is_err() {
            self.end();
        }
        result
    }

    /// Nothing more is taken, and what is on its way is let go of.
    pub fn end(&mut self) {
        self.ended = true;
        self.raised = None;
        self.still_wanted = Arc::new(());
        self.pending.clear();
        self.ready.clear();
    }

    fn advance(
        &mut self,
        py: Python<'_>,
        images: &Bound<'_, PyIterator>,
    ) -> PyResult<Option<ImageResult>> {
        loop {
            if let Some(result) = self.ready.pop_front() {
                return Ok(Some(result));
            }
            self.engine.check().or_raise(py)?;
            while !self.ended && self.pending.len() < self.window {
                self.take(py, images)?;
            }
            let Some(first) = self.pending.pop_front() else {
                return self.raised.take().map_or(Ok(None), Err);
            };
            let runs = self.decoded(py, first)?;
            let (engine, wanted) = (&self.engine, self.wanted);
            let results = py.detach(|| engine.finish(runs, wanted)).or_raise(py)?;
            self.ready.extend(results);
            py.check_signals()?;
        }
    }

    /// Takes the images of one run, and begins to decode them.
    fn take(&mut self, py: Python<'_>, images: &Bound<'_, PyIterator>) -> PyResult<()> {
        let batch = self.engine.options().batch;
        let mut run = Vec::new();
        let mut images = images.clone();
        while run.len() < batch {
            match images.next() {
                Some(Ok(object)) => run.push(self.taken(&object)?),
                Some(Err(error)) if error.is_instance_of::<PyException>(py) => {
                    self.ended = true;
                    self.raised = Some(error);
                    break;
                }
                Some(Err(error)) => return Err(error),
                None => {
                    self.ended = true;
                    break;
                }
            }
        }
        if !run.is_empty() {
            let (engine, wanted) = (&self.engine, Arc::downgrade(&self.still_wanted));
            self.pending.push_back(py.detach(|| engine.begin(run, wanted)).or_raise(py)?);
        }
        Ok(())
    }

    fn taken(&mut self, object: &Bound<'_, PyAny>) -> PyResult<Taken> {
        let index = self.taken;
        self.taken += 1;
        taken(index, object)
    }

    /// The run that is waited for, and those after it that are decoded by then.
    fn decoded(
        &mut self,
        py: Python<'_>,
        mut first: Receiver<PreparedRun>,
    ) -> PyResult<Vec<PreparedRun>> {
        let mut runs = Vec::new();
        loop {
            let waited;
            (waited, first) = py.detach(move || (first.recv_timeout(SIGNALS_EVERY), first));
            match waited {
                Ok(run) => break runs.push(run),
                Err(RecvTimeoutError::Timeout) => py.check_signals()?,
                Err(RecvTimeoutError::Disconnected) => return Err(panicked().into_err(py)),
            }
        }
        while runs.len() < self.engine.most_at_once()
            && let Some(next) = self.pending.front()
        {
            match next.try_recv() {
                Ok(run) => runs.push(run),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(panicked().into_err(py)),
            }
            self.pending.pop_front();
        }
        Ok(runs)
    }
}

/// An object of the inputs as an image with its name.
pub fn taken(index: usize, object: &Bound<'_, PyAny>) -> PyResult<Taken> {
    let image = images::image(object)?;
    let name = image.name().map_or_else(|| format!("image {index}"), str::to_owned);
    Ok(Taken { index, name, image })
}

fn panicked() -> Failure {
    let text = "a decoding thread has panicked; its message is on standard error";
    Failure::new(Kind::Other, text)
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if !self.engine.is_here() {
            // The threads that would send are not in this fork of the process.
            mem::forget(mem::take(&mut self.pending));
        }
    }
}
