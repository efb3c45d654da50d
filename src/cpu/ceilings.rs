//! Rates that this executor's threads and kernels reach in simple work: a copy, a matrix product,
//! steps that do nothing. A network's steps are measured against them.

use super::layout::Location;
use super::memory::{Floats, Shared};
use super::pointwise::Pointwise;
use super::simd::{Simd, WithSimd};
use super::team::Tasks;
use super::tile::{MAX_PANEL_VECTORS, Panels};
use super::{CpuError, CpuExecutor, Images, Run};
use crate::arch::Activation;
use std::time::{Duration, Instant};

/// Elements of a copy's task.
const COPY_ELEMS: usize = 64 << 10;
/// Steps that one measurement of nothing is made of: long enough for all threads to wake and take
/// part.
const STEPS: usize = 20_000;

impl CpuExecutor {
    /// Times `runs` copies of `bytes` bytes from one buffer to another on all threads. One more,
    /// which makes the pages exist, comes first.
    pub fn time_copies(&mut self, bytes: usize, runs: usize) -> Result<Vec<Duration>, CpuError> {
        let elems = bytes / size_of::<f32>();
        let [mut from, mut to] = [memory(elems)?, memory(elems)?];
        // Pages that nothing has written are all the same page.
        // SAFETY: nobody else has the buffer.
        unsafe { from.shared().write() }.fill(1.0);
        let (from, to) = (from.shared(), to.shared());
        let tasks = elems.div_ceil(COPY_ELEMS);
        Ok(self.time(runs, &[tasks], |task| {
            let range = task * COPY_ELEMS..elems.min((task + 1) * COPY_ELEMS);
            // SAFETY: nobody writes `from`.
            let from = unsafe { from.part(range.clone()).read() };
            // SAFETY: each task has a part of its own.
            unsafe { to.part(range).write() }.copy_from_slice(from);
        }))
    }

    /// Times `runs` pointwise convolutions of `side` pixels from `side` to `side` channels, with
    /// the kernel that networks run through: `side^3` multiply-accumulates. One more comes first.
    pub fn time_products(&mut self, side: usize, runs: usize) -> Result<Vec<Duration>, CpuError> {
        let elems = side * side;
        let mut arena = memory(2 * elems)?;
        // SAFETY: nobody else has the buffer.
        unsafe { arena.shared().part(0..elems).write() }.fill(0.5);
        let lanes = self.isa.lanes();
        let channels = vec![1.0; side.next_multiple_of(lanes)];
        let kernel = Pointwise {
            pixels: side,
            c_in: side,
            c_out: side,
            activation: Activation::None,
            input: Location::Arena { start: 0, image_elems: elems },
            gate: None,
            skip: None,
            output: Location::Arena { start: elems, image_elems: elems },
            weight: Panels::pack(side, side, lanes, MAX_PANEL_VECTORS, |n, k| {
                if n == k { 1.0 } else { 0.25 }
            }),
            scale: channels.clone(),
            shift: channels,
            block_rows: Pointwise::block_rows(side, side),
        };
        let (isa, weights, arena) = (self.isa, self.weights.clone(), arena.shared());
        let run = Run {
            n: 1,
            images: Images::F32(&[]),
            arena,
            partials: Shared::read_only(&[]),
            reduced: Shared::read_only(&[]),
            reduced_stride: 0,
            weights: &weights,
        };
        Ok(self.time(runs, &[kernel.tasks()], |task| {
            isa.dispatch(Product { kernel: &kernel, run: &run, task });
        }))
    }

    /// Times `runs` times some steps that do nothing, and gives the time of one: the time to hand
    /// out a step's tasks and to wait for the last of them.
    pub fn time_empty_steps(&mut self, runs: usize) -> Vec<Duration> {
        let steps = vec![self.threads(); STEPS];
        let mut times = self.time(runs, &steps, |_| ());
        times.iter_mut().for_each(|time| *time /= STEPS as u32);
        times
    }

    /// Times `runs` walks over steps with `steps` tasks each, after one that is not counted.
    fn time(&mut self, runs: usize, steps: &[usize], task: impl Fn(usize) + Sync) -> Vec<Duration> {
        let mut tasks: Vec<Tasks> = steps.iter().map(|_| Tasks::default()).collect();
        let mut times = Vec::with_capacity(runs + 1);
        for _ in 0..=runs {
            tasks.iter_mut().for_each(Tasks::reset);
            let (gate, tasks) = (&self.gate, &tasks);
            let began = Instant::now();
            self.team.run(&|_| {
                for (&count, step) in steps.iter().zip(tasks) {
                    step.work(count, gate, &task);
                }
            });
            times.push(began.elapsed());
        }
        times.split_off(1)
    }
}

fn memory(elems: usize) -> Result<Floats, CpuError> {
    let bytes = elems * size_of::<f32>();
    Floats::zeroed(elems).map_err(|source| CpuError::Memory { bytes, source })
}

/// One task of the product.
struct Product<'a> {
    kernel: &'a Pointwise,
    run: &'a Run<'a>,
    task: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    fn call<S: Simd>(self, s: S) {
        self.kernel.run(s, self.run, 0, self.task, &mut []);
    }
}
