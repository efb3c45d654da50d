//! The threads that walk a plan together.
//!
//! All threads run the same walk: a step's tasks are handed out by a counter, and a barrier stands
//! between steps. A run wakes the threads once and allocates nothing, which queues of jobs do not
//! promise.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// How often a thread looks again before it sleeps: long enough for most waits between steps.
const SPINS: usize = 20_000;

/// The work of a run, `work(thread)`, with its lifetime taken away: [`Team::run`] does not return
/// before every thread is done with it.
#[derive(Clone, Copy)]
struct Work(*const (dyn Fn(usize) + Sync));

// SAFETY: what is pointed to is `Sync`, and outlives its use by `Team::run`'s contract.
unsafe impl Send for Work {}

#[derive(Default)]
struct State {
    /// Counts runs; threads start when it changes.
    run: u64,
    work: Option<Work>,
    stop: bool,
}

struct Inner {
    threads: usize,
    state: Mutex<State>,
    start: Condvar,
    /// Threads that have reached the barrier.
    arrived: AtomicUsize,
    /// Counts openings of the barrier.
    opened: AtomicUsize,
    sleepers: AtomicUsize,
    gate: Mutex<()>,
    open: Condvar,
}

/// Locks, also after a panic elsewhere: the data is plain and always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fixed number of threads, the caller's among them.
pub(super) struct Team {
    inner: Arc<Inner>,
    workers: Vec<JoinHandle<()>>,
}

impl Team {
    /// Starts `threads - 1` threads.
    pub(super) fn new(threads: usize) -> io::Result<Team> {
        let inner = Arc::new(Inner {
            threads,
            state: Mutex::default(),
            start: Condvar::new(),
            arrived: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            gate: Mutex::new(()),
            open: Condvar::new(),
        });
        let mut team = Team { inner, workers: Vec::new() };
        for thread in 1..threads {
            let inner = team.inner.clone();
            let builder = Builder::new().name(format!("effnet-cpu-{thread}"));
            team.workers.push(builder.spawn(move || inner.serve(thread))?);
        }
        Ok(team)
    }

    /// Number of threads.
    pub(super) fn threads(&self) -> usize {
        self.inner.threads
    }

    /// Runs `work(thread)` on every thread at once, and returns when all are done. A panic in any
    /// of them ends the process: the others would wait for it for ever.
    pub(super) fn run(&mut self, work: &(dyn Fn(usize) + Sync)) {
        if self.inner.threads > 1 {
            // SAFETY: only the lifetime changes. The last barrier below keeps this call from
            // returning before every thread is done with `work`.
            let work = unsafe {
                std::mem::transmute::<
                    *const (dyn Fn(usize) + Sync + '_),
                    *const (dyn Fn(usize) + Sync),
                >(work)
            };
            let mut state = lock(&self.inner.state);
            state.run += 1;
            state.work = Some(Work(work));
            drop(state);
            self.inner.start.notify_all();
        }
        or_abort(|| work(0));
        self.inner.barrier();
    }

    /// The barrier between the steps of a run's work.
    pub(super) fn barrier(&self) -> Barrier {
        Barrier(self.inner.clone())
    }
}

/// Holds every thread of a run until all have come.
pub(super) struct Barrier(Arc<Inner>);

impl Barrier {
    /// Waits for the others.
    pub(super) fn wait(&self) {
        self.0.barrier();
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        lock(&self.inner.state).stop = true;
        self.inner.start.notify_all();
        for worker in self.workers.drain(..) {
            // A worker's panic has already ended the process.
            let _ = worker.join();
        }
    }
}

fn or_abort(f: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(f)).is_err() {
        eprintln!("effnet: a fault in the CPU executor (see the panic above); stopping");
        std::process::abort();
    }
}

impl Inner {
    fn serve(&self, thread: usize) {
        let mut seen = 0;
        loop {
            let mut state = lock(&self.state);
            while state.run == seen && !state.stop {
                state = self.start.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stop {
                return;
            }
            seen = state.run;
            let work = state.work;
            drop(state);
            if let Some(Work(work)) = work {
                // SAFETY: `Team::run` keeps it alive until this thread passes the barrier below.
                or_abort(|| unsafe { (*work)(thread) });
            }
            self.barrier();
        }
    }

    fn barrier(&self) {
        if self.threads == 1 {
            return;
        }
        let before = self.opened.load(SeqCst);
        if self.arrived.fetch_add(1, SeqCst) + 1 == self.threads {
            self.arrived.store(0, SeqCst);
            self.opened.store(before.wrapping_add(1), SeqCst);
            if self.sleepers.load(SeqCst) > 0 {
                // Whoever counts as a sleeper either saw the barrier open or waits by the time
                // that this lock is had.
                drop(lock(&self.gate));
                self.open.notify_all();
            }
            return;
        }
        for _ in 0..SPINS {
            if self.opened.load(SeqCst) != before {
                return;
            }
            std::hint::spin_loop();
        }
        self.sleepers.fetch_add(1, SeqCst);
        let mut guard = lock(&self.gate);
        while self.opened.load(SeqCst) == before {
            guard = self.open.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        drop(guard);
        self.sleepers.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_runs_and_barriers_order_them() {
        let mut team = Team::new(3).unwrap();
        let inner = team.inner.clone();
        for _ in 0..200 {
            let count = AtomicUsize::new(0);
            team.run(&|_| {
                count.fetch_add(1, SeqCst);
                inner.barrier();
                assert_eq!(count.load(SeqCst), 3);
                inner.barrier();
                count.fetch_add(1, SeqCst);
            });
            assert_eq!(count.load(SeqCst), 6);
        }
    }
}
