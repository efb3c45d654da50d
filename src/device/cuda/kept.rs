//! The context that a thread of the caller's has: a call here makes another the thread's.

use super::driver::{Driver, ThreadContext};
use cudarc::driver::sys::CUcontext;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::null_mut;

/// The calling thread's current CUDA context, which is the thread's again when this is dropped.
///
/// A program that uses CUDA by itself chooses a GPU for each thread (`cudaSetDevice`). Whatever works
/// on a GPU here chooses that GPU; a caller that minds holds this meanwhile.
pub struct KeptContext {
    found: Option<(ThreadContext, CUcontext)>,
    /// It is of the thread that made it.
    _of_thread: PhantomData<*mut ()>,
}

impl KeptContext {
    /// Of the calling thread, where a CUDA driver is there; else nothing is kept.
    pub fn new() -> KeptContext {
        KeptContext::by(ThreadContext::find())
    }

    pub(super) fn of(driver: &Driver) -> KeptContext {
        KeptContext::by(Some(driver.thread_context()))
    }

    fn by(functions: Option<ThreadContext>) -> KeptContext {
        let found = functions.map(|functions| {
            let mut handle = null_mut();
            // SAFETY: the handle is written. Null where the thread has none, and where the call fails, as
            // it does before the driver has been started: then the thread has none either.
            unsafe { (functions.get)(&mut handle) };
            (functions, handle)
        });
        KeptContext { found, _of_thread: PhantomData }
    }
}

impl Default for KeptContext {
    fn default() -> KeptContext {
        KeptContext::new()
    }
}

impl Drop for KeptContext {
    fn drop(&mut self) {
        if let Some((functions, handle)) = self.found {
            // SAFETY: the thread had it. The driver refuses one that is gone since, which is told to
            // nobody: there is then nothing to give back.
            unsafe { (functions.set)(handle) };
        }
    }
}

impl fmt::Debug for KeptContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptContext").field("kept", &self.found.is_some()).finish()
    }
}
