//! Depthwise convolution, with the expand convolution before it and the squeeze after it.
//!
//! A task is a block of channels (up to three vectors) by a band of output rows. The block's input
//! rows live in a ring that is small enough for the cache: each is made when the band first needs
//! it, by the expand convolution of those channels alone, or by a copy where the block has no
//! expand. So the widest maps of the network are never written to memory. The ring's rows have zero
//! columns on both sides, and windows leave out rows above and below the map, so that no tap is
//! tested.
//!
//! Neighbouring bands both make the `k - stride` rows that they share; the number of bands depends
//! only on the sizes of one image, as do the partial sums of the squeeze.

use super::Run;
use super::layout::Location;
use super::memory::Shared;
use super::simd::{MAX_LANES, Simd};
use super::tile::{
    Epilogue, MAX_PANEL_VECTORS, Panel, Panels, finish, load_columns, product, store_columns,
};
use crate::arch::{Activation, ConvGeometry};
use std::ops::Range;

/// The expand convolution that makes the rows.
#[derive(Debug)]
pub(super) struct Expand {
    pub activation: Activation,
    /// `[c, c_in]`, in the same panels as the depthwise weights.
    pub weight: Panels,
    /// `[c]`, padded.
    pub scale: Vec<f32>,
    /// `[c]`, padded.
    pub shift: Vec<f32>,
}

/// Cut of a depthwise convolution into tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiling {
    /// Vectors of channels in a block.
    pub vectors: usize,
    /// Bands of output rows.
    pub bands: usize,
    /// Output rows that are made between two fills of the ring.
    pub chunk_rows: usize,
}

impl Tiling {
    /// A tiling for `c` channels; depends only on the sizes of one image.
    pub(super) fn new(conv: &ConvGeometry, c: usize, expanded: bool, lanes: usize) -> Tiling {
        // Wide enough for whole register tiles of the expand convolution.
        const CHUNK_PIXELS: usize = 48;
        const RING_ELEMS: usize = 12 << 10;
        const TASKS: usize = 12;

        let (h, w) = (conv.output.h, conv.output.w);
        let chunk_rows = CHUNK_PIXELS.div_ceil(w * conv.stride).min(h);
        let pixels = ring_rows(conv, chunk_rows) * ring_width(conv);
        let blocks = |vectors: usize| c.div_ceil(lanes).div_ceil(vectors);
        let vectors = [3, 2]
            .into_iter()
            .find(|&v| pixels * v * lanes <= RING_ELEMS && blocks(v) >= TASKS)
            .unwrap_or(1);
        // Rows that two bands both make are only cheap where they are copied.
        let shared_rows = if expanded { conv.k.saturating_sub(conv.stride).max(1) } else { 1 };
        let most = (h * conv.stride / (8 * shared_rows)).max(1);
        let bands = TASKS.div_ceil(blocks(vectors)).min(most).min(h);
        Tiling { vectors, bands, chunk_rows }
    }
}

/// Rows of input that `rows` rows of output are made of.
fn ring_rows(conv: &ConvGeometry, rows: usize) -> usize {
    (rows - 1) * conv.stride + conv.k
}

/// Pixels of a row of the ring: all columns that a window touches, and all of the input's.
fn ring_width(conv: &ConvGeometry) -> usize {
    let touched = (conv.output.w - 1) * conv.stride + conv.k;
    touched.max(conv.pad_left + conv.input.w)
}

/// A depthwise convolution, ready to run.
#[derive(Debug)]
pub(super) struct Depthwise {
    pub conv: ConvGeometry,
    pub c: usize,
    pub activation: Activation,
    /// The expand convolution's input where there is one.
    pub input: Location,
    pub output: Location,
    pub expand: Option<Expand>,
    pub tiling: Tiling,
    /// Whether the sums of the output are wanted, for the squeeze.
    pub sums: bool,
    /// `[c, k * k]`.
    pub weight: Panels,
    /// `[c]`, padded.
    pub scale: Vec<f32>,
    /// `[c]`, padded.
    pub shift: Vec<f32>,
}

impl Depthwise {
    /// Number of tasks per image.
    pub(super) fn tasks(&self) -> usize {
        self.weight.panels().len() * self.tiling.bands
    }

    /// Elements of scratch memory that a task needs.
    pub(super) fn scratch_elems(&self, lanes: usize) -> usize {
        ring_rows(&self.conv, self.tiling.chunk_rows)
            * ring_width(&self.conv)
            * self.tiling.vectors
            * lanes
    }

    /// Elements of partial sums of one image: `[bands, c]`.
    pub(super) fn sums_elems(&self) -> usize {
        if self.sums { self.tiling.bands * self.c } else { 0 }
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
        let panel = self.weight.panels()[task / self.tiling.bands];
        let band = task % self.tiling.bands;
        match panel.vectors {
            1 => self.band::<S, 1>(s, run, image, panel, band, scratch),
            2 => self.band::<S, 2>(s, run, image, panel, band, scratch),
            _ => self.band::<S, 3>(s, run, image, panel, band, scratch),
        }
    }

    fn band<S: Simd, const NV: usize>(
        &self,
        s: S,
        run: &Run<'_>,
        image: usize,
        panel: Panel,
        band: usize,
        scratch: &mut [f32],
    ) {
        let conv = &self.conv;
        let bands = self.tiling.bands;
        // SAFETY: the plan keeps a step's inputs unwritten while the step runs.
        let x = unsafe { run.map(self.input, image).read() };
        let output = run.map(self.output, image);

        let width = ring_width(conv) * NV * S::LANES;
        let rows = ring_rows(conv, self.tiling.chunk_rows);
        let mut ring = Ring { data: &mut scratch[..rows * width], rows, width };
        ring.data.fill(0.0);

        let mut sums = [0.0; MAX_PANEL_VECTORS * MAX_LANES];
        let mut y = band * conv.output.h / bands;
        let last = (band + 1) * conv.output.h / bands;
        let mut made = 0;
        while y < last {
            let end = (y + self.tiling.chunk_rows).min(last);
            let needed = ((end - 1) * conv.stride + conv.k).saturating_sub(conv.pad_top);
            let from = (y * conv.stride).saturating_sub(conv.pad_top).max(made);
            let needed = needed.min(conv.input.h);
            if from < needed {
                self.make_rows::<S, NV>(s, x, panel, from..needed, &mut ring);
                made = needed;
            }
            for y in y..end {
                self.filter_row::<S, NV>(s, &ring, panel, y, output, &mut sums);
            }
            y = end;
        }
        if self.sums {
            let start = image * self.sums_elems() + band * self.c + panel.start;
            // SAFETY: this band's sums of these channels belong to this task alone.
            let to = unsafe { run.partials.part(start..start + panel.columns).write() };
            to.copy_from_slice(&sums[..panel.columns]);
        }
    }

    /// Makes input rows `rows` of the panel's channels.
    fn make_rows<S: Simd, const NV: usize>(
        &self,
        s: S,
        x: &[f32],
        panel: Panel,
        rows: Range<usize>,
        ring: &mut Ring<'_>,
    ) {
        let w_in = self.conv.input.w;
        s.vectorize(
            #[inline(always)]
            || match &self.expand {
                Some(expand) => {
                    let c_in = expand.weight.k();
                    let a = &x[rows.start * w_in * c_in..rows.end * w_in * c_in];
                    let mut epilogue = IntoRing::<S, NV> {
                        scale: load_columns(s, &expand.scale[panel.start..], NV * S::LANES),
                        shift: load_columns(s, &expand.shift[panel.start..], NV * S::LANES),
                        activation: expand.activation,
                        y: rows.start,
                        column: 0,
                        w_in,
                        at: 0,
                        pad_left: self.conv.pad_left,
                        ring,
                    };
                    let w = expand.weight.data(&panel);
                    product(s, a, c_in, rows.len() * w_in, c_in, w, &mut epilogue);
                }
                None => {
                    for y in rows.clone() {
                        let start = self.conv.pad_left * NV * S::LANES;
                        let to = &mut ring.row_mut(y)[start..start + w_in * NV * S::LANES];
                        let from = &x[y * w_in * self.c..(y + 1) * w_in * self.c];
                        for (to, from) in
                            to.chunks_exact_mut(NV * S::LANES).zip(from.chunks_exact(self.c))
                        {
                            let from = &from[panel.start..panel.start + panel.columns];
                            let pixel: [S::V; NV] = load_columns(s, from, panel.columns);
                            store_columns(s, to, pixel, NV * S::LANES);
                        }
                    }
                }
            },
        );
    }

    /// Makes output row `y` of the panel's channels.
    fn filter_row<S: Simd, const NV: usize>(
        &self,
        s: S,
        ring: &Ring<'_>,
        panel: Panel,
        y: usize,
        output: Shared<'_>,
        sums: &mut [f32],
    ) {
        match (self.conv.k, self.conv.stride) {
            (3, 1) => self.filter_row_of::<S, NV, 3, 1>(s, ring, panel, y, output, sums),
            (3, _) => self.filter_row_of::<S, NV, 3, 2>(s, ring, panel, y, output, sums),
            (_, 1) => self.filter_row_of::<S, NV, 5, 1>(s, ring, panel, y, output, sums),
            _ => self.filter_row_of::<S, NV, 5, 2>(s, ring, panel, y, output, sums),
        }
    }

    fn filter_row_of<S: Simd, const NV: usize, const K: usize, const STRIDE: usize>(
        &self,
        s: S,
        ring: &Ring<'_>,
        panel: Panel,
        y: usize,
        output: Shared<'_>,
        sums: &mut [f32],
    ) {
        let conv = &self.conv;
        assert!(conv.k == K && conv.stride == STRIDE);
        let top = y * STRIDE;
        // Taps whose rows lie within the map.
        let from = conv.pad_top.saturating_sub(top).min(K);
        let to = (conv.input.h + conv.pad_top).saturating_sub(top).min(K);
        let mut rows: [&[f32]; K] = [&[]; K];
        for (ky, row) in rows.iter_mut().enumerate().take(to).skip(from) {
            *row = ring.row(top + ky - conv.pad_top);
        }
        let row_elems = conv.output.w * self.c;
        let output = output.part(y * row_elems..(y + 1) * row_elems);
        let filter = Filter::<K, STRIDE> {
            rows: &rows,
            taps: from..to,
            weight: self.weight.data(&panel),
            scale: &self.scale[panel.start..],
            shift: &self.shift[panel.start..],
            activation: self.activation,
            w_out: conv.output.w,
            c: self.c,
            panel,
        };
        s.vectorize(
            #[inline(always)]
            || filter.run::<S, NV>(s, output, sums),
        );
    }
}

/// The latest input rows of a block of channels: row `y` is at `y % rows`.
struct Ring<'a> {
    data: &'a mut [f32],
    rows: usize,
    /// Elements of a row.
    width: usize,
}

impl Ring<'_> {
    #[inline(always)]
    fn row(&self, y: usize) -> &[f32] {
        &self.data[y % self.rows * self.width..][..self.width]
    }

    #[inline(always)]
    fn row_mut(&mut self, y: usize) -> &mut [f32] {
        &mut self.data[y % self.rows * self.width..][..self.width]
    }
}

/// Scale, shift, activation, and the pixel's place in the ring.
struct IntoRing<'a, 'r, S: Simd, const NV: usize> {
    scale: [S::V; NV],
    shift: [S::V; NV],
    activation: Activation,
    /// The next pixel's row and column.
    y: usize,
    column: usize,
    w_in: usize,
    /// Index of the next pixel, unless it begins a row.
    at: usize,
    pad_left: usize,
    ring: &'a mut Ring<'r>,
}

impl<S: Simd, const NV: usize> Epilogue<S, NV> for IntoRing<'_, '_, S, NV> {
    #[inline(always)]
    fn row(&mut self, s: S, _: usize, sums: [S::V; NV]) {
        let width = NV * S::LANES;
        if self.column == 0 {
            self.at = self.y % self.ring.rows * self.ring.width + self.pad_left * width;
        }
        let y = finish(s, self.activation, sums, &self.scale, &self.shift);
        store_columns(s, &mut self.ring.data[self.at..self.at + width], y, width);
        self.at += width;
        self.column += 1;
        if self.column == self.w_in {
            self.column = 0;
            self.y += 1;
        }
    }
}

/// One output row of one block of channels.
struct Filter<'a, const K: usize, const STRIDE: usize> {
    /// Ring rows, `[width, NV * LANES]`; only `taps` are there.
    rows: &'a [&'a [f32]; K],
    taps: Range<usize>,
    /// `[K * K, NV * LANES]`.
    weight: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    activation: Activation,
    w_out: usize,
    c: usize,
    panel: Panel,
}

impl<const K: usize, const STRIDE: usize> Filter<'_, K, STRIDE> {
    #[inline(always)]
    fn run<S: Simd, const NV: usize>(self, s: S, output: Shared<'_>, sums: &mut [f32]) {
        let width = NV * S::LANES;
        assert!(self.taps.end <= K && self.weight.len() == K * K * width);
        for row in &self.rows[self.taps.clone()] {
            assert!(row.len() >= ((self.w_out - 1) * STRIDE + K) * width);
        }
        for v in 0..NV {
            // The panel's last vectors may have fewer channels than lanes.
            let columns = self.panel.columns.saturating_sub(v * S::LANES).min(S::LANES);
            let scale = load_columns::<S, 1>(s, &self.scale[v * S::LANES..], S::LANES);
            let shift = load_columns::<S, 1>(s, &self.shift[v * S::LANES..], S::LANES);
            let mut sum = s.splat(0.0);
            let mut x = 0;
            while x < self.w_out {
                const PIXELS: usize = 4;
                let mut pixels = [0.0; PIXELS * MAX_LANES];
                let count = PIXELS.min(self.w_out - x);
                // SAFETY: the pixels `x..x + count` are within the row, so the assertions above
                // cover the windows and the weights.
                unsafe {
                    if count == PIXELS {
                        self.windows::<S, NV, PIXELS>(s, v, x, &mut pixels);
                    } else {
                        for i in 0..count {
                            let to = &mut pixels[i * S::LANES..];
                            self.windows::<S, NV, 1>(s, v, x + i, to);
                        }
                    }
                }
                for i in 0..count {
                    let y = load_columns::<S, 1>(s, &pixels[i * S::LANES..], S::LANES);
                    let y = finish(s, self.activation, y, &scale, &shift);
                    sum = s.add(sum, y[0]);
                    let start = (x + i) * self.c + self.panel.start + v * S::LANES;
                    // SAFETY: this row's pixels of these channels belong to this task alone.
                    let to = unsafe { output.part(start..start + columns).write() };
                    store_columns(s, to, y, columns);
                }
                x += count;
            }
            let sums = &mut sums[v * S::LANES..(v + 1) * S::LANES];
            let total = load_columns::<S, 1>(s, sums, S::LANES);
            store_columns(s, sums, [s.add(total[0], sum)], S::LANES);
        }
    }

    /// The sums of vector `v` for the output pixels `x..x + PIXELS`.
    ///
    /// # Safety
    ///
    /// Each of `rows[taps]` must hold `(x + PIXELS - 1) * STRIDE + K` pixels of `NV * LANES`
    /// elements, and `weight` `K * K`.
    #[inline(always)]
    unsafe fn windows<S: Simd, const NV: usize, const PIXELS: usize>(
        &self,
        s: S,
        v: usize,
        x: usize,
        to: &mut [f32],
    ) {
        let width = NV * S::LANES;
        let mut sums = [s.splat(0.0); PIXELS];
        for ky in self.taps.clone() {
            // SAFETY: the caller vouches for these pixels and weights.
            unsafe {
                let row = self.rows[ky].as_ptr().add(x * STRIDE * width + v * S::LANES);
                let weight = self.weight.as_ptr().add(ky * K * width + v * S::LANES);
                for kx in 0..K {
                    let w = s.load(weight.add(kx * width));
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum = s.fma(s.load(row.add((i * STRIDE + kx) * width)), w, *sum);
                    }
                }
            }
        }
        assert!(to.len() >= PIXELS * S::LANES);
        for (i, &sum) in sums.iter().enumerate() {
            // SAFETY: `to` holds PIXELS vectors, as just checked.
            unsafe { s.store(to.as_mut_ptr().add(i * S::LANES), sum) };
        }
    }
}
