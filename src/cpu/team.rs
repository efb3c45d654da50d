//! The threads that walk a plan together.
//!
//! All threads run the same walk: a step's tasks are handed out by a counter, and the next step
//! begins when the last task is done. Nobody waits for a thread that holds no task, so a thread
//! that the system does not schedule delays nothing. A run wakes the threads once and allocates
//! nothing, which queues of jobs do not promise.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Locks, also after a panic elsewhere: data behind the locks is plain and always consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// The tasks of one step.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    next: AtomicUsize,
    done: AtomicUsize,
}

/// Meeting point of the threads that wait for a step's last task.
#[derive(Debug, Default)]
pub(super) struct Gate {
    sleepers: AtomicUsize,
    mutex: Mutex<()>,
    opened: Condvar,
}

impl Tasks {
    /// Resets the tasks before a run.
    pub(super) fn reset(&mut self) {
        *self = Tasks::default();
    }

    /// Takes tasks until none of `count` is left, then waits until all are done.
    pub(super) fn work(&self, count: usize, gate: &Gate, mut task: impl FnMut(usize)) {
        /// Number of looks at the counter before a thread sleeps.
        const SPINS: usize = 4000;
        loop {
            let next = self.next.fetch_add(1, SeqCst);
            if next >= count {
                break;
            }
            task(next);
            if self.done.fetch_add(1, SeqCst) + 1 == count && gate.sleepers.load(SeqCst) > 0 {
                // Whoever counts as a sleeper either has seen the last task done, or waits by the
                // time that this lock is had.
                drop(lock(&gate.mutex));
                gate.opened.notify_all();
            }
        }
        let open = || self.done.load(SeqCst) >= count;
        for _ in 0..SPINS {
            if open() {
                return;
            }
            std::hint::spin_loop();
        }
        gate.sleepers.fetch_add(1, SeqCst);
        let mut guard = lock(&gate.mutex);
        while !open() {
            guard = wait(&gate.opened, guard);
        }
        drop(guard);
        gate.sleepers.fetch_sub(1, SeqCst);
    }
}

/// The work of a run, `work(thread)`, with its lifetime taken away: [`Team::run`] does not return
/// while a thread uses it.
#[derive(Clone, Copy)]
struct Work(*const (dyn Fn(usize) + Sync));

// SAFETY: the closure pointed to is `Sync`, and `Team::run` promises that it outlives its use.
unsafe impl Send for Work {}

#[derive(Default)]
struct State {
    /// Number of runs so far.
    run: u64,
    /// Work of the current run, until its first thread is done.
    work: Option<Work>,
    /// Threads that are using `work`.
    active: usize,
    /// Threads that have begun to serve.
    started: usize,
    stop: bool,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    start: Condvar,
    idle: Condvar,
}

/// A fixed number of threads, the caller's among them.
pub(super) struct Team {
    threads: usize,
    inner: Arc<Inner>,
    workers: Vec<JoinHandle<()>>,
}

impl Team {
    /// Starts `threads - 1` threads.
    pub(super) fn new(threads: usize) -> io::Result<Team> {
        let mut team = Team { threads, inner: Arc::default(), workers: Vec::new() };
        for thread in 1..threads {
            let inner = team.inner.clone();
            let builder = Builder::new().name(format!("effnet-cpu-{thread}"));
            team.workers.push(builder.spawn(move || inner.serve(thread))?);
        }
        // A thread allocates as it starts. That is to happen here, not late, during some run.
        let mut state = lock(&team.inner.state);
        while state.started < team.workers.len() {
            state = wait(&team.inner.idle, state);
        }
        drop(state);
        Ok(team)
    }

    /// Number of threads.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work(0)` here, and `work(thread)` on whichever other threads wake before it is done;
    /// returns when none runs. A panic in any of them ends the process: the others would wait for
    /// its task for ever.
    pub(super) fn run(&mut self, work: &(dyn Fn(usize) + Sync)) {
        if self.threads == 1 {
            return work(0);
        }
        // SAFETY: only the lifetime changes; below, this call waits until nobody uses it.
        let shared = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(usize) + Sync + '_),
                *const (dyn Fn(usize) + Sync + 'static),
            >(work)
        };
        {
            let mut state = lock(&self.inner.state);
            state.run += 1;
            state.work = Some(Work(shared));
        }
        self.inner.start.notify_all();
        or_abort(|| {
            work(0);
            let mut state = lock(&self.inner.state);
            state.work = None;
            while state.active > 0 {
                state = wait(&self.inner.idle, state);
            }
        });
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        lock(&self.inner.state).stop = true;
        self.inner.start.notify_all();
        for worker in self.workers.drain(..) {
            // A panic of the worker has already ended the process.
            let _ = worker.join();
        }
    }
}

/// Ends the process when it is dropped, so that no frame which it stands in is unwound.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        let said = "effnet: a fault in the CPU executor (see the panic above); stopping";
        // Not `eprintln!`: it panics where standard error is a pipe that nobody reads.
        let _ = writeln!(io::stderr(), "{said}");
        std::process::abort();
    }
}

/// Calls `f`, which is not unwound out of: a panic ends the process.
fn or_abort(f: impl FnOnce()) {
    let guard = AbortOnUnwind;
    f();
    std::mem::forget(guard);
}

impl Inner {
    fn serve(&self, thread: usize) {
        let mut seen = 0;
        let mut state = lock(&self.state);
        state.started += 1;
        self.idle.notify_all();
        while !state.stop {
            match state.work {
                Some(Work(work)) if state.run != seen => {
                    seen = state.run;
                    state.active += 1;
                    drop(state);
                    // SAFETY: `Team::run` keeps it alive while this thread counts as active.
                    or_abort(|| unsafe { (*work)(thread) });
                    state = lock(&self.state);
                    state.active -= 1;
                    if state.active == 0 {
                        self.idle.notify_all();
                    }
                }
                _ => state = wait(&self.start, state),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_and_steps_follow_each_other() {
        const TASKS: usize = 17;
        let mut team = Team::new(3).unwrap();
        let gate = Gate::default();
        for _ in 0..200 {
            let steps = [Tasks::default(), Tasks::default(), Tasks::default()];
            let done = AtomicUsize::new(0);
            team.run(&|_| {
                for (i, step) in steps.iter().enumerate() {
                    step.work(TASKS, &gate, |_| {
                        let before = done.fetch_add(1, SeqCst);
                        assert!((i * TASKS..(i + 1) * TASKS).contains(&before));
                    });
                }
            });
            assert_eq!(done.load(SeqCst), 3 * TASKS);
        }
    }

    /// In a child process, whose standard error is a pipe that nobody reads: a message which panics
    /// in its turn must not save the process, neither in the caller of `run` nor in a worker.
    #[cfg(unix)]
    #[test]
    fn a_fault_ends_the_process_also_where_nobody_reads_its_message() {
        use std::os::unix::process::ExitStatusExt;
        use std::process::{Command, Stdio};
        const CHILD: &str = "EFFNET_TEST_TEAM_FAULT";
        const SIGABRT: i32 = 6;
        if let Ok(thread) = std::env::var(CHILD) {
            fault_in_thread(thread.parse().unwrap());
        }
        let name = "cpu::team::tests::a_fault_ends_the_process_also_where_nobody_reads_its_message";
        for thread in ["0", "1"] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture"])
                .env(CHILD, thread)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            drop(child.stderr.take());
            // The child begins when its input ends.
            drop(child.stdin.take());
            let ended = child.wait().unwrap();
            assert_eq!(ended.signal(), Some(SIGABRT), "a fault in thread {thread}: {ended}");
        }
    }

    /// Panics in one of two threads while the other works, and ends the process with status 1 if
    /// that lets `Team::run` return or unwind, with 2 if it hangs.
    #[cfg(unix)]
    fn fault_in_thread(faulty: usize) -> ! {
        use std::panic::{AssertUnwindSafe, catch_unwind};
        use std::time::Duration;
        io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_secs(10));
            std::process::exit(2);
        });
        let other_works = AtomicUsize::new(0);
        let mut team = std::mem::ManuallyDrop::new(Team::new(2).unwrap());
        let _ = catch_unwind(AssertUnwindSafe(|| {
            team.run(&|thread| {
                if thread == faulty {
                    while other_works.load(SeqCst) == 0 {
                        std::hint::spin_loop();
                    }
                    panic!("a fault in a task");
                }
                other_works.store(1, SeqCst);
                // The caller waits for a worker that has begun; a worker need not begin at all.
                std::thread::sleep(Duration::from_secs(if thread == 0 { 1 } else { 5 }));
            });
        }));
        std::process::exit(1)
    }

    #[test]
    fn a_team_that_never_ran_stops() {
        drop(Team::new(4).unwrap());
    }
}
