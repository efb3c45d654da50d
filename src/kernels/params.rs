//! Launch parameters: the twins of the structs and constants in `kernels/params.cuh`.
//!
//! Every pointer is a device address; 0 where a tensor is absent. Shapes are in the kernels' heads.

mod layout;

pub use layout::{Field, Params, ParamsLayout};

use crate::arch::Activation;
use bytemuck::{Pod, Zeroable};

/// Output pixels of a depthwise thread, neighbours in a row.
pub const DEPTHWISE_STRIP_PIXELS: i32 = 4;
/// Strips of one depthwise block.
pub const DEPTHWISE_TILE_STRIPS: i32 = 16;
/// Threads of a depthwise block along the channels, each of one 16-byte vector.
pub const DEPTHWISE_LANES: i32 = 4;
/// Output rows of a strip of the depthwise convolution in f16.
pub const DEPTHWISE_STRIP_ROWS: i32 = 4;
/// Output columns of a strip of the depthwise convolution in f16.
pub const DEPTHWISE_STRIP_COLS: i32 = 8;
/// Channels that a depthwise block makes at a time in f16.
pub const DEPTHWISE_GROUP: i32 = 32;
/// Warps of a depthwise block in f16.
pub const DEPTHWISE_WARPS: i32 = 8;
/// Output rows of one stem block.
pub const STEM_TILE_ROWS: i32 = 8;
/// Output columns of one stem block.
pub const STEM_TILE_COLS: i32 = 16;
/// Output pixels of a stem thread, neighbours in a row.
pub const STEM_STRIP_PIXELS: i32 = 4;
/// Threads of a stem block.
pub const STEM_THREADS: i32 = 128;
/// Warps of a squeeze_excite block.
pub const SQUEEZE_EXCITE_WARPS: i32 = 32;
/// The most threads of a squeeze_excite block that share the terms of one sum.
pub const SQUEEZE_EXCITE_MAX_SHARES: i32 = 16;
/// Step of a pool tile's number of pixels, which is a multiple of it.
pub const POOL_STEP_PIXELS: i32 = 64;
/// The most tiles that a pooled image is cut into.
pub const POOL_MAX_TILES: i32 = 128;
/// Channels of one pool block.
pub const POOL_TILE_CHANNELS: i32 = 64;
/// Warps of a pool block.
pub const POOL_WARPS: i32 = 8;
/// Warps of an f32 classifier block.
pub const CLASSIFIER_WARPS: i32 = 4;
/// Classes of an f32 classifier warp.
pub const CLASSIFIER_WARP_CLASSES: i32 = 2;
/// Images of an f32 classifier block.
pub const CLASSIFIER_IMAGES: i32 = 4;
/// The most channels of the features: those of a block's images lie in shared memory.
pub const CLASSIFIER_MAX_CHANNELS: i32 = 3072;
/// Warps of an f16 classifier block, each of which has a share of the channels.
pub const CLASSIFIER_SHARES: i32 = 4;
/// Images of an f16 classifier block.
pub const CLASSIFIER_TILE_IMAGES: i32 = 16;
/// Channels of a step of a share of an f16 classifier.
pub const CLASSIFIER_STEP_CHANNELS: i32 = 32;
/// The most steps times octets of classes that an f16 classifier has in shared memory.
pub const CLASSIFIER_MAX_STAGES: i32 = 16;
/// Warps of a top_k block.
pub const TOP_K_WARPS: i32 = 8;
/// Threads of a resample block.
pub const RESAMPLE_THREADS: i32 = 128;
/// Rows of a thread that resamples columns alone.
pub const RESAMPLE_ROWS: i32 = 4;
/// Channels of a chunk in a pointwise sum of more than [`POINTWISE_LONG_CHUNK`] channels and at
/// most [`POINTWISE_SHORT_SUM`].
pub const POINTWISE_SHORT_CHUNK: i32 = 128;
/// Channels of a chunk in every other pointwise sum.
pub const POINTWISE_LONG_CHUNK: i32 = 256;
/// Channels of the longest pointwise sum in short chunks.
pub const POINTWISE_SHORT_SUM: i32 = 1280;
/// Rows of 32 halves of weight, up to which all of a pointwise block's stay in shared memory.
pub const POINTWISE_STAY_ROWS: i32 = 640;
/// Rows of 32 halves of the gate's weights, up to which a pointwise block copies them to shared memory.
pub const POINTWISE_GATE_ROWS: i32 = 256;
/// Stages that a pointwise block's weights pass through where they do not stay.
pub const POINTWISE_STAGES: i32 = 3;
/// Most threads of a pointwise block.
pub const POINTWISE_THREADS: i32 = 512;
/// Columns of a pointwise warp, above which a block has fewer threads.
pub const POINTWISE_WIDE_COLS: i32 = 16;
/// Most threads of a pointwise block whose warps make more columns than that.
pub const POINTWISE_WIDE_THREADS: i32 = 384;

/// Columns of output pixels of one expand_depthwise block in f32.
pub const EXPAND_DEPTHWISE_TILE_COLS: i32 = 8;
/// Rows of output pixels of one expand_depthwise block in f32 at stride 1.
pub const EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_1: i32 = 8;
/// Rows of output pixels of one expand_depthwise block in f32 at stride 2.
pub const EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_2: i32 = 4;
/// Channels that an expand_depthwise block expands at a time in f32.
pub const EXPAND_DEPTHWISE_GROUP_F32: i32 = 24;
/// Warps of an expand_depthwise block in f32.
pub const EXPAND_DEPTHWISE_WARPS: i32 = 6;
/// Threads of an expand_depthwise block in f16.
pub const EXPAND_DEPTHWISE_THREADS_F16: i32 = 256;
/// Most strips of a tile of an f16 block: its shared memory has room for where they lie.
pub const EXPAND_DEPTHWISE_STRIPS: i32 = 16;

/// Threads of a warp.
pub(super) const WARP_SIZE: i32 = 32;

/// `kActivationNone`.
pub const ACTIVATION_NONE: i32 = 0;
/// `kActivationRelu6`.
pub const ACTIVATION_RELU6: i32 = 1;
/// `kActivationSwish`.
pub const ACTIVATION_SWISH: i32 = 2;

/// The kernels' number for an activation.
pub fn activation_code(activation: Activation) -> i32 {
    match activation {
        Activation::None => ACTIVATION_NONE,
        Activation::Relu6 => ACTIVATION_RELU6,
        Activation::Swish => ACTIVATION_SWISH,
    }
}

/// Parameters of the stem kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/stem.cu
pub struct StemParams {
    /// `[n, h_in, w_in, 3]`, u8, f16 or f32.
    pub input: u64,
    /// `[3, 3, 3, c_out]`.
    pub weight: u64,
    /// `[c_out]`, f32; 0 with shift: neither is applied.
    pub scale: u64,
    /// `[c_out]`, f32.
    pub shift: u64,
    /// `[n, h_out, w_out, c_out]`.
    pub output: u64,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    pub n: i32,
    pub h_in: i32,
    pub w_in: i32,
    pub h_out: i32,
    pub w_out: i32,
    pub c_out: i32,
    pub pad_top: i32,
    pub pad_left: i32,
    /// [`activation_code`].
    pub activation: i32,
    /// Zero: the struct has no padding.
    pub reserved: i32,
}

/// Parameters of the depthwise kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/depthwise.cu
pub struct DepthwiseParams {
    /// `[n, h_in, w_in, c]`.
    pub input: u64,
    /// `[k, k, c]`.
    pub weight: u64,
    /// `[c]`, f32; 0 with shift: neither is applied.
    pub scale: u64,
    /// `[c]`, f32.
    pub shift: u64,
    /// `[n, h_out, w_out, c]`.
    pub output: u64,
    /// `[n, tiles, c]`, f32; 0: none.
    pub partial_sums: u64,
    /// `[c_se, c]`; 0 with squeeze.
    pub reduce_weight: u64,
    /// `[n, tiles, slices, c_se rounded up to 4]`, f32; 0: none.
    pub squeeze: u64,
    pub n: i32,
    pub h_in: i32,
    pub w_in: i32,
    pub h_out: i32,
    pub w_out: i32,
    pub c: i32,
    pub pad_top: i32,
    pub pad_left: i32,
    /// [`activation_code`].
    pub activation: i32,
    /// Rows of `reduce_weight`; 0 without squeeze.
    pub c_se: i32,
    /// Channels of a slice; 0 without squeeze.
    pub slice: i32,
    /// Rows of output of a tile; set by the launch, in f16.
    pub tile_rows: i32,
    /// Columns of output of a tile; set by the launch, in f16.
    pub tile_cols: i32,
    /// Channels of a block; set by the launch, in f16.
    pub block_channels: i32,
}

/// Parameters of the expand_depthwise kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/expand_depthwise.cu
pub struct ExpandDepthwiseParams {
    /// `[n, h_in, w_in, c_in]`.
    pub input: u64,
    /// `[c_mid, c_in]`.
    pub expand_weight: u64,
    /// `[c_mid]`, f32.
    pub expand_scale: u64,
    /// `[c_mid]`, f32.
    pub expand_shift: u64,
    /// `[k, k, c_mid]`.
    pub depthwise_weight: u64,
    /// `[c_mid]`, f32.
    pub depthwise_scale: u64,
    /// `[c_mid]`, f32.
    pub depthwise_shift: u64,
    /// `[n, h_out, w_out, c_mid]`.
    pub output: u64,
    /// `[n, tiles, c_mid]`, f32; 0: none.
    pub partial_sums: u64,
    /// `[c_se, c_mid]`; 0 with squeeze.
    pub reduce_weight: u64,
    /// `[n, tiles, slices, c_se rounded up to 4]`, f32; 0: none.
    pub squeeze: u64,
    pub n: i32,
    pub h_in: i32,
    pub w_in: i32,
    pub h_out: i32,
    pub w_out: i32,
    pub c_in: i32,
    pub c_mid: i32,
    pub pad_top: i32,
    pub pad_left: i32,
    /// [`activation_code`].
    pub activation: i32,
    /// Rows of `reduce_weight`; 0 without squeeze.
    pub c_se: i32,
    /// Channels of a slice; 0 without squeeze.
    pub slice: i32,
    /// Output rows of a block in f16; 0 in f32.
    pub tile_rows: i32,
    /// Output columns of a block in f16; 0 in f32.
    pub tile_cols: i32,
    /// Expanded channels of a block in f16; 0 in f32.
    pub channels: i32,
    /// Zero: the struct has no padding.
    pub reserved: i32,
}

/// Parameters of the squeeze_excite kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/squeeze_excite.cu
pub struct SqueezeExciteParams {
    /// `[n, tiles, c]`, f32.
    pub partial_sums: u64,
    /// `[c_se, c]`.
    pub reduce_weight: u64,
    /// `[c_se]`, f32.
    pub reduce_bias: u64,
    /// `[c_se, c]`.
    pub expand_weight: u64,
    /// `[c]`, f32.
    pub expand_bias: u64,
    /// `[n, c]`, f32.
    pub gate: u64,
    pub n: i32,
    pub tiles: i32,
    /// Pixels of the map that was summed, `h_out * w_out`.
    pub pixels: i32,
    pub c: i32,
    pub c_se: i32,
    /// Zero: the struct has no padding.
    pub reserved: i32,
}

/// Parameters of the pointwise kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/pointwise.cu
pub struct PointwiseParams {
    /// `[rows, c_in]`.
    pub input: u64,
    /// `[c_out, c_in]`.
    pub weight: u64,
    /// `[c_out]`, f32; 0 with shift: neither is applied.
    pub scale: u64,
    /// `[c_out]`, f32.
    pub shift: u64,
    /// `[rows / pixels, c_in]`, f32; 0: none.
    pub gate: u64,
    /// `[n, parts, c_se rounded up to 4]`, f32; 0: no gate of it.
    pub squeeze: u64,
    /// `[c_se]`, f32; 0 with squeeze.
    pub reduce_bias: u64,
    /// `[c_se, c_in]`; 0 with squeeze.
    pub gate_weight: u64,
    /// `[c_in]`, f32; 0 with squeeze.
    pub gate_bias: u64,
    /// `[rows, c_out]`; 0: none.
    pub skip: u64,
    /// `[rows, c_out]`; 0: only partial_sums.
    pub output: u64,
    /// `[n, tiles, c_out]`, f32; 0: none.
    pub partial_sums: u64,
    /// Of chunks of c_in that are split over blocks, f32; 0: none are.
    pub chunk_sums: u64,
    /// One counter for each output tile, zero before and after; 0 as chunk_sums.
    pub arrivals: u64,
    /// `n * pixels`.
    pub rows: i32,
    /// `h * w` of one image.
    pub pixels: i32,
    pub c_in: i32,
    pub c_out: i32,
    /// [`activation_code`].
    pub activation: i32,
    /// Parts of an image's squeeze; 0 without.
    pub parts: i32,
    /// Values of a part; 0 without squeeze.
    pub c_se: i32,
    /// Rows of a block of the f16 kernels, a multiple of 16: of the launch module's making.
    pub tile_rows: i32,
}

/// Parameters of the bn_swish kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/bn_swish.cu
pub struct BnSwishParams {
    /// `[rows, c]`.
    pub input: u64,
    /// `[c]`, f32; 0 with shift: neither is applied.
    pub scale: u64,
    /// `[c]`, f32.
    pub shift: u64,
    /// `[rows / pixels, c]`, f32; 0: none.
    pub gate: u64,
    /// `[rows, c]`; 0: none.
    pub skip: u64,
    /// `[rows, c]`.
    pub output: u64,
    /// `n * pixels`.
    pub rows: i32,
    /// `h * w` of one image.
    pub pixels: i32,
    pub c: i32,
    /// [`activation_code`].
    pub activation: i32,
}

/// Parameters of the pool kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/head.cu
pub struct PoolParams {
    /// `[n, pixels, c]`.
    pub input: u64,
    /// `[n, tiles, c]`, f32.
    pub partial_sums: u64,
    pub n: i32,
    pub pixels: i32,
    pub c: i32,
    /// Zero: the struct has no padding.
    pub reserved: i32,
}

/// Parameters of the classifier kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/head.cu
pub struct ClassifierParams {
    /// `[n, tiles, c]`, f32.
    pub partial_sums: u64,
    /// `[classes, c]`.
    pub weight: u64,
    /// `[classes]`, f32.
    pub bias: u64,
    /// `[n, c]`, f32.
    pub features: u64,
    /// `[n, classes]`, f32.
    pub logits: u64,
    pub n: i32,
    pub tiles: i32,
    /// Pixels of the map that was summed.
    pub pixels: i32,
    pub c: i32,
    pub classes: i32,
    /// Octets of classes of an f16 block; the launch says it.
    pub octets: i32,
}

/// Parameters of the top_k kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/head.cu
pub struct TopKParams {
    /// `[n, classes]`, f32.
    pub logits: u64,
    /// `[n, k]`, the best first.
    pub top_classes: u64,
    /// `[n, k]`, f32.
    pub top_logits: u64,
    /// `[n, k]`, f32, parts of the softmax over all classes.
    pub top_probabilities: u64,
    pub n: i32,
    pub classes: i32,
    pub k: i32,
    /// Zero: the struct has no padding.
    pub reserved: i32,
}

/// Parameters of the resample kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/preprocess.cu
pub struct ResampleParams {
    /// `[h_in, w_in, 3]`.
    pub input: u64,
    /// `[words, w_out]`, taps; 0: the columns stay.
    pub columns: u64,
    /// `[words, h_out]`, taps; 0: the rows stay.
    pub rows: u64,
    /// `[h_out, w_out, 3]`.
    pub output: u64,
    pub h_in: i32,
    pub w_in: i32,
    pub h_out: i32,
    pub w_out: i32,
}

// The fields of every struct above: a test holds them against the C++ structs, all of them.
layout::params! {
    StemParams {
        input, weight, scale, shift, output, mean, std, n, h_in, w_in, h_out, w_out, c_out,
        pad_top, pad_left, activation, reserved,
    }
    DepthwiseParams {
        input, weight, scale, shift, output, partial_sums, reduce_weight, squeeze, n, h_in, w_in,
        h_out, w_out, c, pad_top, pad_left, activation, c_se, slice, tile_rows, tile_cols,
        block_channels,
    }
    ExpandDepthwiseParams {
        input, expand_weight, expand_scale, expand_shift, depthwise_weight, depthwise_scale,
        depthwise_shift, output, partial_sums, reduce_weight, squeeze, n, h_in, w_in, h_out,
        w_out, c_in, c_mid, pad_top, pad_left, activation, c_se, slice, tile_rows, tile_cols,
        channels, reserved,
    }
    SqueezeExciteParams {
        partial_sums, reduce_weight, reduce_bias, expand_weight, expand_bias, gate, n, tiles,
        pixels, c, c_se, reserved,
    }
    PointwiseParams {
        input, weight, scale, shift, gate, squeeze, reduce_bias, gate_weight, gate_bias, skip,
        output, partial_sums, chunk_sums, arrivals, rows, pixels, c_in, c_out, activation, parts,
        c_se, tile_rows,
    }
    BnSwishParams { input, scale, shift, gate, skip, output, rows, pixels, c, activation }
    PoolParams { input, partial_sums, n, pixels, c, reserved }
    ClassifierParams {
        partial_sums, weight, bias, features, logits, n, tiles, pixels, c, classes, octets,
    }
    TopKParams { logits, top_classes, top_logits, top_probabilities, n, classes, k, reserved }
    ResampleParams { input, columns, rows, output, h_in, w_in, h_out, w_out }
}
