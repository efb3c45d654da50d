//! Repeated runs: a warm-up, then samples until there are enough.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Number and duration of the runs. The defaults are those of trtexec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// Runs in this time are not counted; at least one is made, since the first prepares things.
    pub warm_up_ms: u64,
    /// Least time of the counted runs together.
    pub min_duration_ms: u64,
    /// Fewest counted runs, also where they take longer than `min_duration_ms`.
    pub min_iterations: usize,
    /// Most counted runs, whatever the other two ask for.
    pub max_iterations: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            warm_up_ms: 200,
            min_duration_ms: 3000,
            min_iterations: 10,
            max_iterations: 1_000_000,
        }
    }
}

/// The samples of one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled<T> {
    /// One a run, in order; the warm-up's are left out.
    pub samples: Vec<T>,
    /// Runs of the warm-up.
    pub warm_up_runs: usize,
    /// Time from the start of the first counted run to the end of the last. With several subjects,
    /// the time spent in this one's runs.
    pub elapsed: Duration,
}

/// A subject: given the number of the run, warm-up included, it runs once and returns its sample.
pub type Subject<'a, T, E> = dyn FnMut(usize) -> Result<T, E> + 'a;

/// Samples `run`, which is given the number of the run, warm-up included: to take its inputs in
/// turn. Ends at the first error.
pub fn sample<T, E>(
    options: &Sampling,
    mut run: impl FnMut(usize) -> Result<T, E>,
) -> Result<Sampled<T>, E> {
    let mut found = sample_in_turn(options, &mut [&mut run])?;
    Ok(found.remove(0))
}

/// Samples several subjects in turn, so that any change with time (clocks, temperature, other work)
/// meets all of them. A round runs each once, and begins with another one than the last round did.
/// Each subject has the whole warm-up and the whole duration. There is one result for each subject,
/// in their order. Ends at the first error.
pub fn sample_in_turn<T, E>(
    options: &Sampling,
    subjects: &mut [&mut Subject<'_, T, E>],
) -> Result<Vec<Sampled<T>>, E> {
    let count = subjects.len();
    let warm_up = Duration::from_millis(options.warm_up_ms) * count as u32;
    let min_duration = Duration::from_millis(options.min_duration_ms) * count as u32;

    let (start, mut round) = (Instant::now(), 0);
    while round == 0 || start.elapsed() < warm_up {
        for turn in 0..count {
            subjects[(round + turn) % count](round)?;
        }
        round += 1;
    }

    let mut found: Vec<Sampled<T>> = (0..count)
        .map(|_| Sampled { samples: Vec::new(), warm_up_runs: round, elapsed: Duration::ZERO })
        .collect();
    let (start, mut rounds) = (Instant::now(), 0);
    let max_iterations = options.max_iterations.max(1);
    while rounds < max_iterations
        && (rounds < options.min_iterations.max(1) || start.elapsed() < min_duration)
    {
        for turn in 0..count {
            let index = (round + turn) % count;
            let began = Instant::now();
            let sample = subjects[index](round)?;
            let subject = &mut found[index];
            subject.elapsed += began.elapsed();
            subject.samples.push(sample);
        }
        round += 1;
        rounds += 1;
    }
    if let [alone] = &mut found[..] {
        alone.elapsed = start.elapsed();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const AT_ONCE: Sampling =
        Sampling { warm_up_ms: 0, min_duration_ms: 0, min_iterations: 3, max_iterations: 100 };

    #[test]
    fn runs_are_numbered_and_the_warm_up_is_left_out() {
        let found = sample(&AT_ONCE, Ok::<_, Infallible>).unwrap();
        assert_eq!((found.samples, found.warm_up_runs), (vec![1, 2, 3], 1));
    }

    #[test]
    fn the_most_iterations_end_what_the_duration_would_not() {
        let options = Sampling { min_duration_ms: u64::MAX / 4, max_iterations: 5, ..AT_ONCE };
        let found = sample(&options, Ok::<_, Infallible>).unwrap();
        assert_eq!(found.samples.len(), 5);
    }

    #[test]
    fn a_duration_gives_more_than_the_least_iterations() {
        let options = Sampling { min_duration_ms: 20, ..AT_ONCE };
        let slow = |_| {
            std::thread::sleep(Duration::from_millis(1));
            Ok::<_, Infallible>(())
        };
        let found = sample(&Sampling { min_iterations: 1, ..options }, slow).unwrap();
        assert!(found.elapsed >= Duration::from_millis(20), "{:?}", found.elapsed);
    }

    #[test]
    fn subjects_take_turns_and_none_is_always_first() {
        let order = std::cell::RefCell::new(Vec::new());
        let mut a = |run| {
            order.borrow_mut().push(('a', run));
            Ok::<_, Infallible>('a')
        };
        let mut b = |run| {
            order.borrow_mut().push(('b', run));
            Ok('b')
        };
        let found = sample_in_turn(&AT_ONCE, &mut [&mut a, &mut b]).unwrap();
        assert_eq!(found[0].samples, ['a'; 3]);
        assert_eq!(found[1].samples, ['b'; 3]);
        let rounds =
            [('a', 0), ('b', 0), ('b', 1), ('a', 1), ('a', 2), ('b', 2), ('b', 3), ('a', 3)];
        assert_eq!(*order.borrow(), rounds);
    }

    #[test]
    fn the_first_error_ends_it() {
        let found = sample(&AT_ONCE, |run| if run < 2 { Ok(run) } else { Err("broken") });
        assert_eq!(found, Err("broken"));
    }
}
