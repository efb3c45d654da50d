//! The stem: a 3x3 stride-2 convolution of the image, batch-norm, activation.
//!
//! A task is a row of output pixels. Their windows are gathered into rows of `k * k * 3` taps,
//! zeros outside of the image, and multiplied like a pointwise convolution.

use super::layout::Location;
use super::memory::Shared;
use super::simd::Simd;
use super::tile::{Epilogue, Panel, Panels, finish, load_columns, product, store_columns};
use super::{Images, Run};
use crate::arch::{Activation, ConvGeometry, Network};

/// The stem, ready to run.
#[derive(Debug)]
pub(super) struct Stem {
    pub conv: ConvGeometry,
    pub c_out: usize,
    pub activation: Activation,
    pub input: Location,
    pub output: Location,
    /// `[c_out, k * k * 3]`.
    pub weight: Panels,
    /// `[c_out]`, padded.
    pub scale: Vec<f32>,
    /// `[c_out]`, padded.
    pub shift: Vec<f32>,
}

impl Stem {
    /// Number of tasks per image.
    pub(super) fn tasks(&self) -> usize {
        self.conv.output.h
    }

    /// Elements of scratch memory that a task needs.
    pub(super) fn scratch_elems(&self) -> usize {
        self.conv.output.w * self.weight.k()
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
        let windows = &mut scratch[..self.scratch_elems()];
        match run.image(self.input, image) {
            Images::F32(x) => self.gather(x, task, windows, <[f32]>::copy_from_slice),
            Images::Levels(x, values) => self.gather(x, task, windows, |to, levels| {
                let pixels = to.as_chunks_mut().0.iter_mut().zip(levels.as_chunks().0);
                for (to, levels) in pixels {
                    *to = std::array::from_fn::<f32, 3, _>(|c| {
                        let levels: &[u8; 3] = levels;
                        values[usize::from(levels[c])][c]
                    });
                }
            }),
        }
        let w_out = self.conv.output.w;
        let row_elems = w_out * self.c_out;
        let output = run.map(self.output, image).part(task * row_elems..(task + 1) * row_elems);
        for panel in self.weight.panels() {
            match panel.vectors {
                1 => self.panel::<S, 1>(s, windows, *panel, output),
                2 => self.panel::<S, 2>(s, windows, *panel, output),
                _ => self.panel::<S, 3>(s, windows, *panel, output),
            }
        }
    }

    /// The windows of the output pixels of row `y`: `[w_out, k, k, 3]`. `take` writes the values of
    /// a few pixels of the image.
    fn gather<T>(&self, x: &[T], y: usize, windows: &mut [f32], take: impl Fn(&mut [f32], &[T])) {
        const C: usize = Network::C_IMAGE;
        let ConvGeometry { k, stride, pad_top, pad_left, input, output } = self.conv;
        windows.fill(0.0);
        for ky in 0..k {
            let Some(iy) = (y * stride + ky).checked_sub(pad_top).filter(|&iy| iy < input.h) else {
                continue;
            };
            let row = &x[iy * input.w * C..(iy + 1) * input.w * C];
            for ox in 0..output.w {
                // Taps `from..to` of the window lie within the image.
                let left = ox * stride;
                let from = pad_left.saturating_sub(left).min(k);
                let to = (input.w + pad_left).saturating_sub(left).min(k);
                if from < to {
                    let start = left + from - pad_left;
                    let tap = (ox * k + ky) * k + from;
                    take(
                        &mut windows[tap * C..][..(to - from) * C],
                        &row[start * C..][..(to - from) * C],
                    );
                }
            }
        }
    }

    fn panel<S: Simd, const NV: usize>(
        &self,
        s: S,
        windows: &[f32],
        panel: Panel,
        output: Shared<'_>,
    ) {
        s.vectorize(
            #[inline(always)]
            || {
                let width = NV * S::LANES;
                let mut epilogue = Finish::<S, NV> {
                    scale: load_columns(s, &self.scale[panel.start..], width),
                    shift: load_columns(s, &self.shift[panel.start..], width),
                    activation: self.activation,
                    output,
                    c_out: self.c_out,
                    panel,
                };
                let k = self.weight.k();
                let w = self.weight.data(&panel);
                product(s, windows, k, self.conv.output.w, k, w, &mut epilogue);
            },
        );
    }
}

/// Scale, shift, activation, store.
struct Finish<'a, S: Simd, const NV: usize> {
    scale: [S::V; NV],
    shift: [S::V; NV],
    activation: Activation,
    output: Shared<'a>,
    c_out: usize,
    panel: Panel,
}

impl<S: Simd, const NV: usize> Epilogue<S, NV> for Finish<'_, S, NV> {
    #[inline(always)]
    fn row(&mut self, s: S, row: usize, sums: [S::V; NV]) {
        let columns = self.panel.columns;
        let start = row * self.c_out + self.panel.start;
        let y = finish(s, self.activation, sums, &self.scale, &self.shift);
        // SAFETY: this row of the output belongs to this task alone.
        let to = unsafe { self.output.part(start..start + columns).write() };
        store_columns(s, to, y, columns);
    }
}
