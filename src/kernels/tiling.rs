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
}

/// Tiles, and chunks of the sum over input channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Rows of one tile.
    pub tile_rows: i32,
    /// Output channels of one tile.
    pub tile_cols: i32,
    /// Tiles along the rows: of one image where the output is pooled, else of all rows.
    pub row_tiles: i32,
    /// Tiles along the output channels.
    pub col_tiles: i32,
    /// Chunks that the sum over input channels is made of, added up in order; by `c_in` alone.
    pub chunks: i32,
    /// Whether each chunk has a block of its own.
    pub split: bool,
}

impl Tiling {
    /// Elements of `chunk_sums`: `[chunks, rows, c_out]` where chunks are split, else none.
    pub fn chunk_sums_elems(&self, shape: PointwiseShape) -> i64 {
        let elems = i64::from(self.chunks) * i64::from(shape.rows) * i64::from(shape.c_out);
        if self.split { elems } else { 0 }
    }

    /// Elements of `arrivals`: one per output tile where chunks are split, else none.
    pub fn arrivals_elems(&self, shape: PointwiseShape) -> i64 {
        let images = if shape.pooled { shape.rows / shape.pixels.max(1) } else { 1 };
        let tiles = i64::from(images) * i64::from(self.row_tiles) * i64::from(self.col_tiles);
        if self.split { tiles } else { 0 }
    }
}
