//! Pointwise convolution: `y = act((x * gate) . w^T * scale + shift) + skip`.
//!
//! A task is a block of rows (pixels of one image) by one panel of columns (output channels). With
//! a gate, the task first copies its rows times the gate, so that the product reads gated rows from
//! the cache; without one, it reads the map where it lies.

use super::Run;
use super::layout::Location;
use super::memory::Shared;
use super::simd::Simd;
use super::tile::{Epilogue, Panel, Panels, finish, load_columns, product, store_columns};
use crate::arch::Activation;

/// A pointwise convolution, ready to run.
#[derive(Debug)]
pub(super) struct Pointwise {
    pub pixels: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub activation: Activation,
    pub input: Location,
    pub gate: Option<Location>,
    pub skip: Option<Location>,
    pub output: Location,
    /// `[c_out, c_in]`.
    pub weight: Panels,
    /// `[c_out]`, padded.
    pub scale: Vec<f32>,
    /// `[c_out]`, padded.
    pub shift: Vec<f32>,
    /// Rows of a task.
    pub block_rows: usize,
}

impl Pointwise {
    /// Rows per task: the most that keep a gated copy within half of a common level-two cache, but
    /// few enough that all threads have work. Depends only on the sizes of one image.
    pub(super) fn block_rows(pixels: usize, c_in: usize) -> usize {
        const COPY_ELEMS: usize = 64 << 10;
        let most = (COPY_ELEMS / c_in).clamp(16, 128);
        pixels.div_ceil(pixels.div_ceil(most)).next_multiple_of(8)
    }

    fn blocks(&self) -> usize {
        self.pixels.div_ceil(self.block_rows)
    }

    /// Number of tasks per image.
    pub(super) fn tasks(&self) -> usize {
        self.blocks() * self.weight.panels().len()
    }

    /// Elements of scratch memory that a task needs.
    pub(super) fn scratch_elems(&self) -> usize {
        if self.gate.is_some() { self.block_rows * self.c_in } else { 0 }
    }

    /// Runs a task of one image.
    pub(super) fn run<S: Simd>(
        &self,
        s: S,
        run: &Run<'_>,
        image: usize,
        task: usize,
        scratch: &mut [f32],
    ) {
        let panel = self.weight.panels()[task / self.blocks()];
        let first = task % self.blocks() * self.block_rows;
        let rows = self.block_rows.min(self.pixels - first);
        // SAFETY: the plan keeps a step's inputs unwritten while the step runs.
        let x = unsafe { run.map(self.input, image).read() };
        let x = &x[first * self.c_in..(first + rows) * self.c_in];
        let x = match self.gate {
            None => x,
            Some(gate) => {
                // SAFETY: as above.
                let gate = unsafe { run.map(gate, image).read() };
                let gated = &mut scratch[..rows * self.c_in];
                gate_rows(s, x, gate, gated);
                &*gated
            }
        };
        let tile = Tile { panel, first, rows, x };
        match panel.vectors {
            1 => self.panel::<S, 1>(s, run, image, tile),
            2 => self.panel::<S, 2>(s, run, image, tile),
            _ => self.panel::<S, 3>(s, run, image, tile),
        }
    }

    fn panel<S: Simd, const NV: usize>(&self, s: S, run: &Run<'_>, image: usize, tile: Tile<'_>) {
        s.vectorize(
            #[inline(always)]
            || {
                let panel = tile.panel;
                let width = NV * S::LANES;
                let mut epilogue = Finish::<S, NV> {
                    scale: load_columns(s, &self.scale[panel.start..], width),
                    shift: load_columns(s, &self.shift[panel.start..], width),
                    activation: self.activation,
                    skip: self.skip.map(|skip| run.map(skip, image)),
                    output: run.map(self.output, image),
                    first: tile.first,
                    stride: self.c_out,
                    panel,
                };
                let w = self.weight.data(&panel);
                product(s, tile.x, self.c_in, tile.rows, self.c_in, w, &mut epilogue);
            },
        );
    }
}

/// Operands of a task.
struct Tile<'a> {
    panel: Panel,
    first: usize,
    rows: usize,
    /// `[rows, c_in]`.
    x: &'a [f32],
}

/// `gated[p, c] = x[p, c] * gate[c]`.
fn gate_rows<S: Simd>(s: S, x: &[f32], gate: &[f32], gated: &mut [f32]) {
    s.vectorize(
        #[inline(always)]
        || {
            let c = gate.len();
            for (x, gated) in x.chunks_exact(c).zip(gated.chunks_exact_mut(c)) {
                for ((y, &x), &gate) in gated.iter_mut().zip(x).zip(gate) {
                    *y = x * gate;
                }
            }
        },
    );
}

/// Scale, shift, activation, skip, store.
struct Finish<'a, S: Simd, const NV: usize> {
    scale: [S::V; NV],
    shift: [S::V; NV],
    activation: Activation,
    skip: Option<Shared<'a>>,
    output: Shared<'a>,
    first: usize,
    stride: usize,
    panel: Panel,
}

impl<S: Simd, const NV: usize> Epilogue<S, NV> for Finish<'_, S, NV> {
    #[inline(always)]
    fn row(&mut self, s: S, row: usize, sums: [S::V; NV]) {
        let columns = self.panel.columns;
        let start = (self.first + row) * self.stride + self.panel.start;
        let mut y = finish(s, self.activation, sums, &self.scale, &self.shift);
        if let Some(skip) = self.skip {
            // SAFETY: the plan keeps a step's inputs unwritten while the step runs.
            let skip = unsafe { skip.part(start..start + columns).read() };
            let skip: [S::V; NV] = load_columns(s, skip, columns);
            for v in 0..NV {
                y[v] = s.add(y[v], skip[v]);
            }
        }
        // SAFETY: these pixels and channels of the output belong to this task alone.
        let to = unsafe { self.output.part(start..start + columns).write() };
        store_columns(s, to, y, columns);
    }
}
