//! Launch parameters: the twins of the structs and constants in `kernels/params.cuh`.
//!
//! Every pointer is a device address; 0 where a tensor is absent. Shapes are in the kernels' heads.

use crate::arch::Activation;
use bytemuck::{Pod, Zeroable};

/// Output pixels of one depthwise block.
pub const DEPTHWISE_TILE_PIXELS: i32 = 64;
/// Channels of one depthwise block.
pub const DEPTHWISE_TILE_CHANNELS: i32 = 64;
/// Warps of a depthwise block.
pub const DEPTHWISE_WARPS: i32 = 8;
/// Warps of a squeeze_excite block.
pub const SQUEEZE_EXCITE_WARPS: i32 = 8;
/// Rows of one pointwise block.
pub const POINTWISE_TILE_ROWS: i32 = 64;
/// Output channels of one pointwise block.
pub const POINTWISE_TILE_COLS: i32 = 64;
/// Warps of a pointwise block.
pub const POINTWISE_WARPS: i32 = 4;

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

/// Parameters of the depthwise kernels.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/depthwise.cu
pub struct DepthwiseParams {
    /// `[n, h_in, w_in, c]`.
    pub input: u64,
    /// `[k, k, c]`.
    pub weight: u64,
    /// `[c]`, f32.
    pub scale: u64,
    /// `[c]`, f32.
    pub shift: u64,
    /// `[n, h_out, w_out, c]`.
    pub output: u64,
    /// `[n, tiles, c]`, f32; 0: no squeeze.
    pub partial_sums: u64,
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
    /// Tiles that the depthwise kernel cut an image into.
    pub tiles: i32,
    /// Pixels that were summed, of one image.
    pub pixels: i32,
    pub c: i32,
    pub c_se: i32,
    /// Zero: the struct has no padding.
    pub reserved: i32,
}

/// Parameters of the pointwise kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[allow(missing_docs)] // see kernels/pointwise.cu
pub struct PointwiseParams {
    /// `[rows, c_in]`.
    pub input: u64,
    /// `[c_out, c_in]`.
    pub weight: u64,
    /// `[c_out]`, f32.
    pub scale: u64,
    /// `[c_out]`, f32.
    pub shift: u64,
    /// `[rows / pixels, c_in]`, f32; 0: none.
    pub gate: u64,
    /// `[rows, c_out]`; 0: none.
    pub skip: u64,
    /// `[rows, c_out]`.
    pub output: u64,
    /// `n * pixels`.
    pub rows: i32,
    /// Of one image.
    pub pixels: i32,
    pub c_in: i32,
    pub c_out: i32,
    /// [`activation_code`].
    pub activation: i32,
    /// Zero: the struct has no padding.
    pub reserved: i32,
}
