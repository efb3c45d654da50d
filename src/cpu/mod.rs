//! The CPU executor: a plan's steps in f32, on all cores.
//!
//! Reading order: [`CpuExecutor`] (the work done once, and the work of a run), `layout` (locations
//! of buffers), `program` (steps become kernels), `tile` (the matrix product behind most of them),
//! `depthwise`, `pointwise`, `stem`, `vector` (the kernels), `activation`, `simd`, `memory`, `team`
//! (their foundations), `ceilings` (the rates that they reach in simple work).
//!
//! Batch-norm, activation, gate and skip are applied by the kernel that makes the values, and the
//! squeeze is summed by the depthwise convolution. An `expand` step runs inside of the depthwise
//! step that follows it, a few rows and channels at a time, so its map is never stored.
//!
//! Results are the same bytes whatever the number of threads and the batch: tasks are cut by the
//! sizes of one image, and every sum has a fixed order. They differ in rounding between CPUs with
//! vectors of different lengths.
//!
//! Weights of the `expand`, `project` and `head_conv` convolutions are packed, one after the other,
//! into the order in which they are used, and the mapped pages that they came from are given back:
//! memory holds one copy. Squeeze-excite and classifier read f32 weights where they are mapped. f16
//! weights are converted once.

mod activation;
mod ceilings;
mod depthwise;
mod layout;
mod memory;
mod pointwise;
mod program;
mod simd;
mod stem;
mod team;
#[cfg(test)]
mod tests;
mod tile;
mod vector;

use crate::memory::{self as system, TooLittleMemory};
use crate::plan::{Plan, PlanError};
use crate::weights::{Precision, StoreError, TensorId, Weights};
use layout::{Layout, Location};
use memory::{Floats, Shared};
use program::Program;
use simd::{Isa, Simd, WithSimd};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use team::{Gate, Tasks, Team};

/// Why an executor could not be made, or an input not be run.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The plan is not as [`Plan::new`] made it.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Plan and weights are of different networks.
    #[error(
        "the plan is for {plan} and the weights are of {weights}: make the plan from the weights' network"
    )]
    Network {
        /// The plan's network.
        plan: String,
        /// The weights' network.
        weights: String,
    },
    /// The plan asks for activations that this executor does not have.
    #[error(
        "the CPU executor computes in fp32, and the plan asks for {found} activations: plan with fp32"
    )]
    Precision {
        /// The plan's precision.
        found: Precision,
    },
    /// A run on no threads, or on far too many.
    #[error("{found} threads are not usable: expected 1 to {max}", max = CpuExecutor::MAX_THREADS)]
    ThreadCount {
        /// The number asked for.
        found: usize,
    },
    /// A thread could not be started.
    #[error("cannot start {threads} threads: {source}; ask for fewer")]
    Threads {
        /// The number asked for.
        threads: usize,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Memory for the buffers could not be had.
    #[error("cannot allocate {bytes} bytes for activations: {source}; use a smaller batch or size")]
    Memory {
        /// The number asked for.
        bytes: usize,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A run would need more memory than this process can have.
    #[error("{0}: use a smaller batch, size or network")]
    TooLittleMemory(#[from] TooLittleMemory),
    /// The file of the weights, which is read where it is mapped, has changed.
    #[error(transparent)]
    Weights(#[from] StoreError),
    /// A number of images that the plan has no room for.
    #[error("{found} images do not fit the plan: expected 1 to {batch}")]
    Images {
        /// The plan's batch.
        batch: usize,
        /// The number asked for.
        found: usize,
    },
    /// An input of the wrong length.
    #[error("input for {images} images of {size}: expected {expected} elements, found {found}")]
    Input {
        /// The number of images.
        images: usize,
        /// The plan's input size.
        size: crate::arch::Size,
        /// `images * h * w * 3`.
        expected: usize,
        /// The input's length.
        found: usize,
    },
}

/// Elements of a tensor of the packed file, as f32.
#[derive(Debug)]
enum Values {
    /// The values are read where they are mapped.
    Mapped(TensorId),
    /// The values were converted from f16.
    Owned(Vec<f32>),
}

impl Values {
    fn new(weights: &Weights, id: TensorId) -> Values {
        match weights.f16(id) {
            Some(halves) => Values::Owned(halves.iter().map(|x| x.to_f32()).collect()),
            None => Values::Mapped(id),
        }
    }

    fn get<'a>(&'a self, weights: &'a Weights) -> &'a [f32] {
        match self {
            Values::Mapped(id) => weights.f32(*id).unwrap_or_default(),
            Values::Owned(values) => values,
        }
    }
}

/// The images of a run, `[n, h, w, 3]`.
#[derive(Clone, Copy)]
enum Images<'a> {
    /// Values.
    F32(&'a [f32]),
    /// Levels, and the value of each in each channel.
    Levels(&'a [u8], &'a [[f32; 3]; 256]),
}

impl<'a> Images<'a> {
    fn len(self) -> usize {
        match self {
            Images::F32(values) => values.len(),
            Images::Levels(levels, _) => levels.len(),
        }
    }

    /// One of the images, of so many elements.
    fn image(self, image: usize, elems: usize) -> Images<'a> {
        let part = image * elems..(image + 1) * elems;
        match self {
            Images::F32(values) => Images::F32(&values[part]),
            Images::Levels(levels, values) => Images::Levels(&levels[part], values),
        }
    }
}

/// Data that the tasks of a run share.
struct Run<'a> {
    n: usize,
    images: Images<'a>,
    arena: Shared<'a>,
    /// Partial sums of the squeeze: `[bands, c]` for each image.
    partials: Shared<'a>,
    /// Reduced channels of the squeeze-excite: `[c_se]` for each image, at a stride of
    /// `reduced_stride`.
    reduced: Shared<'a>,
    reduced_stride: usize,
    weights: &'a Weights,
}

impl<'a> Run<'a> {
    /// One of the run's images.
    fn image(&self, location: Location, image: usize) -> Images<'a> {
        match location {
            Location::Input { image_elems } => self.images.image(image, image_elems),
            Location::Arena { .. } | Location::Nowhere => Images::F32(&[]),
        }
    }

    /// A buffer's elements for one image.
    fn map(&self, location: Location, image: usize) -> Shared<'a> {
        match location {
            Location::Arena { start, image_elems } => {
                let start = start + image * image_elems;
                self.arena.part(start..start + image_elems)
            }
            // The stem alone reads the images, see `Run::image`.
            Location::Input { .. } | Location::Nowhere => self.arena.part(0..0),
        }
    }
}

/// Runs a plan on the CPU.
pub struct CpuExecutor {
    plan: Plan,
    weights: Arc<Weights>,
    isa: Isa,
    program: Program,
    layout: Layout,
    arena: Floats,
    partials: Floats,
    reduced: Floats,
    /// Scratch of the threads: `program.scratch_elems` for each.
    scratch: Floats,
    /// Tasks of each kernel.
    tasks: Vec<Tasks>,
    gate: Gate,
    team: Team,
    n: usize,
    /// Most images of a run so far: memory for so many has been touched.
    most: usize,
}

impl std::fmt::Debug for CpuExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CpuExecutor")
            .field("variant", &self.plan.network.variant)
            .field("batch", &self.plan.batch)
            .field("isa", &self.isa)
            .field("threads", &self.team.threads())
            .finish_non_exhaustive()
    }
}

impl CpuExecutor {
    /// The most threads that an executor takes.
    pub const MAX_THREADS: usize = 1024;

    /// Prepares to run `plan` with `weights` on `threads` threads, or on all cores.
    ///
    /// Everything that a run needs is allocated and started here. Activations take memory when a run
    /// first touches them: the first run of more images than any before it is refused with
    /// [`CpuError::TooLittleMemory`] where the system has not enough for them.
    pub fn new(
        plan: Plan,
        weights: Arc<Weights>,
        threads: Option<usize>,
    ) -> Result<CpuExecutor, CpuError> {
        let isa = Isa::available().next().unwrap_or(Isa::Portable);
        let layout = Layout::new(&plan, true);
        CpuExecutor::with(plan, weights, threads, isa, layout)
    }

    fn with(
        plan: Plan,
        weights: Arc<Weights>,
        threads: Option<usize>,
        isa: Isa,
        layout: Layout,
    ) -> Result<CpuExecutor, CpuError> {
        plan.check()?;
        if plan.network != *weights.network() {
            return Err(CpuError::Network {
                plan: plan.network.to_string(),
                weights: weights.network().to_string(),
            });
        }
        if plan.precision != Precision::Fp32 {
            return Err(CpuError::Precision { found: plan.precision });
        }
        let threads =
            threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        if !(1..=CpuExecutor::MAX_THREADS).contains(&threads) {
            return Err(CpuError::ThreadCount { found: threads });
        }
        // The packed convolutions, and what is converted from f16: at most every tensor once more.
        let tensors = weights.tensors().iter().map(|tensor| tensor.elems() as u64 * 4).sum();
        system::require(|| "the network's weights in f32".into(), tensors)?;
        weights.check()?;
        let program = Program::new(&plan, &layout, &weights, isa.lanes());
        let memory = |elems: usize| {
            let bytes = elems.saturating_mul(size_of::<f32>());
            Floats::zeroed(elems).map_err(|source| CpuError::Memory { bytes, source })
        };
        Ok(CpuExecutor {
            arena: memory(layout.elems)?,
            layout,
            partials: memory(plan.batch * program.partials_elems)?,
            reduced: memory(plan.batch * program.reduced_elems)?,
            scratch: memory(threads * program.scratch_elems)?,
            tasks: program.kernels.iter().map(|_| Tasks::default()).collect(),
            gate: Gate::default(),
            team: Team::new(threads).map_err(|source| CpuError::Threads { threads, source })?,
            n: 0,
            most: 0,
            plan,
            weights,
            isa,
            program,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes of memory that the first run of `n` images will touch and no run has touched yet.
    pub fn untouched_bytes(&self, n: usize) -> u64 {
        let n = n.min(self.plan.batch);
        if n <= self.most {
            return 0;
        }
        let arena = self.layout.touched_elems(n) - self.layout.touched_elems(self.most);
        let of_image = self.program.partials_elems + self.program.reduced_elems;
        let scratch = if self.most == 0 { self.scratch.as_slice().len() } else { 0 };
        let elems = (n - self.most).saturating_mul(of_image).saturating_add(arena);
        elems.saturating_add(scratch).saturating_mul(size_of::<f32>()) as u64
    }

    /// The number of threads that a run uses.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Runs `n` images, `1 <= n <= plan.batch`: `input` is `[n, h, w, 3]`.
    ///
    /// # Errors
    ///
    /// If there are none or too many images; if the file of the weights has another length than
    /// when it was opened: before the run, or after it, when nothing that was computed can be
    /// relied on.
    pub fn run(&mut self, input: &[f32], n: usize) -> Result<(), CpuError> {
        self.walk(Images::F32(input), n, None)
    }

    /// Runs as [`CpuExecutor::run`] does, of images whose elements are levels: `values[level][c]` is
    /// what the network takes for a level of channel `c`. The results are the same bytes as those of
    /// [`CpuExecutor::run`] with these values.
    pub fn run_levels(
        &mut self,
        levels: &[u8],
        values: &[[f32; 3]; 256],
        n: usize,
    ) -> Result<(), CpuError> {
        self.walk(Images::Levels(levels, values), n, None)
    }

    /// Runs as [`CpuExecutor::run`] does, and stores the time that each step of the plan took: from
    /// the end of the last task before it to the end of its own last task. An `expand` step is
    /// computed inside of the depthwise step after it, and so takes no time.
    pub fn run_timed(
        &mut self,
        input: &[f32],
        n: usize,
        times: &mut Vec<Duration>,
    ) -> Result<(), CpuError> {
        let ends: Vec<AtomicU64> = self.tasks.iter().map(|_| AtomicU64::new(0)).collect();
        self.walk(Images::F32(input), n, Some(&ends))?;
        times.clear();
        times.resize(self.plan.steps.len(), Duration::ZERO);
        let mut began_ns = 0;
        for (item, end_ns) in self.program.kernels.iter().zip(ends) {
            let end_ns = end_ns.into_inner().max(began_ns);
            times[item.step] += Duration::from_nanos(end_ns - began_ns);
            began_ns = end_ns;
        }
        Ok(())
    }

    fn walk(
        &mut self,
        images: Images<'_>,
        n: usize,
        ends_ns: Option<&[AtomicU64]>,
    ) -> Result<(), CpuError> {
        let batch = self.plan.batch;
        if !(1..=batch).contains(&n) {
            return Err(CpuError::Images { batch, found: n });
        }
        let expected = n * self.plan.buffer(self.plan.input).elems_per_image();
        if images.len() != expected {
            let size = self.plan.input_size();
            return Err(CpuError::Input { images: n, size, expected, found: images.len() });
        }
        if n > self.most {
            let plural = if n == 1 { "" } else { "s" };
            let what = || format!("the activations of {n} image{plural}");
            system::require(what, self.untouched_bytes(n))?;
            self.most = n;
        }
        self.weights.check()?;
        self.n = n;
        self.tasks.iter_mut().for_each(Tasks::reset);
        let walk = Walk {
            run: Run {
                n,
                images,
                arena: self.arena.shared(),
                partials: self.partials.shared(),
                reduced: self.reduced.shared(),
                reduced_stride: self.program.reduced_elems,
                weights: &self.weights,
            },
            program: &self.program,
            tasks: &self.tasks,
            gate: &self.gate,
            scratch: self.scratch.shared(),
            began: Instant::now(),
            ends_ns,
        };
        let isa = self.isa;
        self.team.run(&|thread| isa.dispatch(WalkThread { walk: &walk, thread }));
        // A file that shrank meanwhile has zeros up to the end of its last page.
        Ok(self.weights.check()?)
    }

    /// The stored elements of a buffer after the last run.
    fn stored(&self, location: Location) -> &[f32] {
        match location {
            Location::Arena { start, image_elems } => {
                &self.arena.as_slice()[start..start + self.n * image_elems]
            }
            Location::Input { .. } | Location::Nowhere => &[],
        }
    }

    /// The features of the last run, `[n, c_head]`, which the classifier reads.
    pub fn features(&self) -> &[f32] {
        self.stored(self.layout.location(self.plan.features))
    }

    /// The logits of the last run, `[n, classes]`.
    pub fn logits(&self) -> &[f32] {
        self.stored(self.layout.location(self.plan.logits))
    }
}

/// One walk over the program.
struct Walk<'a> {
    run: Run<'a>,
    program: &'a Program,
    tasks: &'a [Tasks],
    gate: &'a Gate,
    scratch: Shared<'a>,
    began: Instant,
    /// Times at which each kernel's last task ended, in nanoseconds from `began`, where they are
    /// wanted.
    ends_ns: Option<&'a [AtomicU64]>,
}

/// One thread's part of a walk.
struct WalkThread<'a> {
    walk: &'a Walk<'a>,
    thread: usize,
}

impl WithSimd for WalkThread<'_> {
    type Output = ();

    fn call<S: Simd>(self, s: S) {
        let Walk { run, program, tasks, gate, scratch, began, ends_ns } = self.walk;
        let elems = program.scratch_elems;
        let scratch = scratch.part(self.thread * elems..(self.thread + 1) * elems);
        // SAFETY: each thread has a part of its own.
        let scratch = unsafe { scratch.write() };
        for (index, (item, tasks)) in program.kernels.iter().zip(*tasks).enumerate() {
            tasks.work(item.kernel.tasks(run.n), gate, |task| {
                item.kernel.run(s, run, task, scratch);
                // Whichever thread ends last: one that the system does not schedule tells nothing.
                if let Some(ends_ns) = ends_ns {
                    ends_ns[index].fetch_max(began.elapsed().as_nanos() as u64, Relaxed);
                }
            });
        }
    }
}
