//! Cut of a pointwise convolution into blocks: a matter of its shape alone.

/// Facts about a pointwise convolution that are known when it is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointwiseShape {
    /// `n * pixels`.
    pub rows: i32,
    /// Pixels of one image.
    pub pixels: i32,
    /// Input channels.
    pub c_in: i32,
    /// Output channels.
    pub c_out: i32,
    /// Whether the output is summed over the pixels of each image: then no tile crosses images.
    pub pooled: bool,
    /// Whether a gate multiplies the input: then no tile of the f16 kernels crosses images.
    pub gated: bool,
    /// Values of a part of the squeeze that the gate is computed from; 0 where it is not.
    pub c_se: i32,
}

impl PointwiseShape {
    /// Nothing, to begin with.
    pub const EMPTY: PointwiseShape = PointwiseShape {
        rows: 0,
        pixels: 0,
        c_in: 0,
        c_out: 0,
        pooled: false,
        gated: false,
        c_se: 0,
    };
}

/// Tiles, and chunks of the sum over input channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Rows of one tile.
    pub tile_rows: i32,
    /// Output channels of one tile.
    pub tile_cols: i32,
    /// Warps of a block along the rows and along the output channels; zeros of the f32 kernels, whose
    /// tiles say it.
    pub warps: [i32; 2],
    /// Tiles along the rows: of one image where no tile crosses images, else of all rows.
    pub row_tiles: i32,
    /// Tiles along the output channels.
    pub col_tiles: i32,
    /// Chunks that the sum over input channels is made of, added up in order; by `c_in` alone.
    pub chunks: i32,
    /// Whether each chunk has a block of its own.
    pub split: bool,
}

impl Tiling {
    /// Elements of `chunk_sums` of the f32 kernels: `[chunks, rows, c_out]` where chunks are split, else none.
    pub fn chunk_sums_elems(&self, shape: PointwiseShape) -> i64 {
        let elems = i64::from(self.chunks) * i64::from(shape.rows) * i64::from(shape.c_out);
        if self.split { elems } else { 0 }
    }

    /// Elements of `arrivals` of the f32 kernels: one per output tile where chunks are split, else none.
    pub fn arrivals_elems(&self, shape: PointwiseShape) -> i64 {
        let images = if shape.pooled { shape.rows / shape.pixels.max(1) } else { 1 };
        let tiles = i64::from(images) * i64::from(self.row_tiles) * i64::from(self.col_tiles);
        if self.split { tiles } else { 0 }
    }
}
