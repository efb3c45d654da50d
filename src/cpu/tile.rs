//! The matrix product behind every pointwise convolution and the stem.
//!
//! `y[m, n] = sum over k of a[m, k] * w[n, k]`: rows `m` are pixels, contiguous in memory, so `a`
//! is used where it lies. Weights are packed once into panels of up to three vectors of columns,
//! `[k, columns]`, zeros beyond the last column. A register tile of `TILE_ROWS` rows by one panel
//! keeps its sums in registers over all of `k`, then hands each row to an epilogue: no partial sum
//! is ever stored, and a pixel's sums do not depend on which rows share its tile.

use super::activation::apply;
use super::simd::{MAX_LANES, Simd};
use crate::arch::Activation;
use std::mem::MaybeUninit;

/// Most vectors in a row of a register tile.
pub(super) const MAX_PANEL_VECTORS: usize = 3;

/// Columns of one panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    /// First column.
    pub start: usize,
    /// Columns that exist: the rest up to `vectors * lanes` is padding.
    pub columns: usize,
    /// Vectors in a row: 1 to [`MAX_PANEL_VECTORS`].
    pub vectors: usize,
}

/// Per-column values (batch-norm scale and shift), with zeros up to a whole vector.
pub(super) fn padded(values: &[f32], lanes: usize) -> Vec<f32> {
    let mut padded = values.to_vec();
    padded.resize(values.len().next_multiple_of(lanes), 0.0);
    padded
}

/// Stores the first `columns` elements of `vectors`.
#[inline(always)]
pub(super) fn store_columns<S: Simd, const NV: usize>(
    s: S,
    to: &mut [f32],
    vectors: [S::V; NV],
    columns: usize,
) {
    assert!(to.len() >= columns && columns <= NV * S::LANES);
    if columns == NV * S::LANES {
        for (v, &vector) in vectors.iter().enumerate() {
            // SAFETY: `to` holds NV vectors, as just checked.
            unsafe { s.store(to.as_mut_ptr().add(v * S::LANES), vector) };
        }
    } else {
        let mut whole = [0.0; MAX_PANEL_VECTORS * MAX_LANES];
        for (v, &vector) in vectors.iter().enumerate() {
            // SAFETY: the buffer holds MAX_PANEL_VECTORS of the longest vectors.
            unsafe { s.store(whole.as_mut_ptr().add(v * S::LANES), vector) };
        }
        to[..columns].copy_from_slice(&whole[..columns]);
    }
}

/// Loads `columns` elements of `from`, and zeros beyond.
#[inline(always)]
pub(super) fn load_columns<S: Simd, const NV: usize>(
    s: S,
    from: &[f32],
    columns: usize,
) -> [S::V; NV] {
    assert!(from.len() >= columns && columns <= NV * S::LANES);
    if columns == NV * S::LANES {
        // SAFETY: `from` holds NV vectors, as just checked.
        unsafe { load_vectors(s, from.as_ptr()) }
    } else {
        let mut whole = [0.0; MAX_PANEL_VECTORS * MAX_LANES];
        whole[..columns].copy_from_slice(&from[..columns]);
        // SAFETY: the buffer holds MAX_PANEL_VECTORS of the longest vectors.
        unsafe { load_vectors(s, whole.as_ptr()) }
    }
}

/// Loads NV vectors that follow each other.
///
/// # Safety
///
/// `from` must be valid for reading `NV * LANES` elements.
#[inline(always)]
unsafe fn load_vectors<S: Simd, const NV: usize>(s: S, from: *const f32) -> [S::V; NV] {
    let mut vectors = [s.splat(0.0); NV];
    for (v, vector) in vectors.iter_mut().enumerate() {
        // SAFETY: the caller vouches for NV vectors.
        *vector = unsafe { s.load(from.add(v * S::LANES)) };
    }
    vectors
}

/// `act(sums * scale + shift)`.
#[inline(always)]
pub(super) fn finish<S: Simd, const NV: usize>(
    s: S,
    activation: Activation,
    sums: [S::V; NV],
    scale: &[S::V; NV],
    shift: &[S::V; NV],
) -> [S::V; NV] {
    let mut y = sums;
    for v in 0..NV {
        y[v] = apply(s, activation, s.fma(y[v], scale[v], shift[v]));
    }
    y
}

/// `n` columns in packed panels.
#[derive(Debug)]
pub(super) struct Panels {
    k: usize,
    lanes: usize,
    panels: Vec<Panel>,
    data: Vec<f32>,
}

impl Panels {
    /// Packs `[n, k]` weights, `at(n, k)`, into panels of at most `max_vectors` vectors of about
    /// equal width.
    pub(super) fn pack(
        n: usize,
        k: usize,
        lanes: usize,
        max_vectors: usize,
        at: impl Fn(usize, usize) -> f32,
    ) -> Panels {
        let vectors = n.div_ceil(lanes);
        let count = vectors.div_ceil(max_vectors);
        let mut panels = Vec::with_capacity(count);
        let mut data = Vec::with_capacity(vectors * lanes * k);
        let mut first = 0;
        for i in 0..count {
            let width = (vectors - first).div_ceil(count - i);
            let (start, offset) = (first * lanes, data.len());
            let columns = (width * lanes).min(n - start);
            for p in 0..k {
                data.extend((start..start + columns).map(|n| at(n, p)));
                data.resize(offset + (p + 1) * width * lanes, 0.0);
            }
            panels.push(Panel { start, columns, vectors: width });
            first += width;
        }
        Panels { k, lanes, panels, data }
    }

    /// The panels, from the first column to the last.
    pub(super) fn panels(&self) -> &[Panel] {
        &self.panels
    }

    /// The length of the sums.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// A panel's weights, `[k, vectors * lanes]`; `panel` may be of other weights that are cut
    /// alike.
    pub(super) fn data(&self, panel: &Panel) -> &[f32] {
        &self.data[panel.start * self.k..][..self.k * panel.vectors * self.lanes]
    }
}

/// Consumer of the rows of sums: called once per row, rows in order. Implementations are marked
/// `#[inline(always)]`, as everything that handles vectors is.
pub(super) trait Epilogue<S: Simd, const NV: usize> {
    /// Takes row `row`'s sums.
    fn row(&mut self, s: S, row: usize, sums: [S::V; NV]);
}

/// Most elements of a register tile: 8 rows of 3 vectors of 16.
const TILE_ELEMS: usize = 8 * MAX_PANEL_VECTORS * MAX_LANES;

/// Rows `0..rows` of `a` (row stride `stride`, `k` long) by the panel `w`, `[k, NV * LANES]`.
#[inline(always)]
pub(super) fn product<S: Simd, const NV: usize, E: Epilogue<S, NV>>(
    s: S,
    a: &[f32],
    stride: usize,
    rows: usize,
    k: usize,
    w: &[f32],
    epilogue: &mut E,
) {
    assert!(rows == 0 || a.len() >= (rows - 1) * stride + k);
    assert!(w.len() == k * NV * S::LANES);
    let mut row = 0;
    // SAFETY: of every tile, the rows `row..row + MR` are below `rows`, so the assertions above
    // cover its reads.
    unsafe {
        if S::TILE_ROWS >= 8 {
            while row + 8 <= rows {
                tile::<S, 8, NV, E>(s, a, stride, row, k, w, epilogue);
                row += 8;
            }
        }
        if S::TILE_ROWS >= 4 {
            while row + 4 <= rows {
                tile::<S, 4, NV, E>(s, a, stride, row, k, w, epilogue);
                row += 4;
            }
        }
        while row + 2 <= rows {
            tile::<S, 2, NV, E>(s, a, stride, row, k, w, epilogue);
            row += 2;
        }
        if row < rows {
            tile::<S, 1, NV, E>(s, a, stride, row, k, w, epilogue);
        }
    }
}

/// One register tile.
///
/// # Safety
///
/// `a` must hold `k` elements from `(row + MR - 1) * stride`, and `w` `k * NV * LANES`.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize, E: Epilogue<S, NV>>(
    s: S,
    a: &[f32],
    stride: usize,
    row: usize,
    k: usize,
    w: &[f32],
    epilogue: &mut E,
) {
    let mut sums = [[s.splat(0.0); NV]; MR];
    // SAFETY: the caller vouches for `MR` rows of `k` elements from here, and for `w`.
    unsafe {
        let mut rows = [a.as_ptr(); MR];
        for (r, start) in rows.iter_mut().enumerate() {
            *start = a.as_ptr().add((row + r) * stride);
        }
        let mut w = w.as_ptr();
        for p in 0..k {
            let columns: [S::V; NV] = load_vectors(s, w);
            for r in 0..MR {
                let x = s.splat(*rows[r].add(p));
                for v in 0..NV {
                    sums[r][v] = s.fma(x, columns[v], sums[r][v]);
                }
            }
            w = w.add(NV * S::LANES);
        }
    }
    // Through memory, so that the epilogue is compiled once and not once per row.
    const { assert!(MR * NV * S::LANES <= TILE_ELEMS) };
    let mut rows = [MaybeUninit::<f32>::uninit(); TILE_ELEMS];
    let rows = rows.as_mut_ptr().cast::<f32>();
    for (r, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            // SAFETY: the tile fits `rows`, as asserted.
            unsafe { s.store(rows.add((r * NV + v) * S::LANES), sum) };
        }
    }
    for r in 0..MR {
        // SAFETY: written just above.
        let sums = unsafe { load_vectors(s, rows.add(r * NV * S::LANES)) };
        epilogue.row(s, row + r, sums);
    }
}
