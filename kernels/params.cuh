// Launch parameters: one struct by value for each kernel, and the constants that host and kernels
// share. The twin is src/kernels/params.rs. nvcc checks every size and offset written here; a Rust
// test reads the same lines and checks the twin against them.
#pragma once

#include <cstddef>
#include <cstdint>

#define EFFNET_SIZE(type, bytes) static_assert(sizeof(type) == bytes, "twin: size of " #type)
#define EFFNET_FIELD(type, field, offset) \
    static_assert(offsetof(type, field) == offset, "twin: " #type "." #field)

// Applied after batch-norm.
constexpr int32_t kActivationNone = 0;
constexpr int32_t kActivationRelu6 = 1;
constexpr int32_t kActivationSwish = 2;

// Output pixels and channels of one depthwise block, and its warps.
constexpr int kDepthwiseTilePixels = 64;
constexpr int kDepthwiseTileChannels = 64;
constexpr int kDepthwiseWarps = 8;

// Warps of a squeeze_excite block.
constexpr int kSqueezeExciteWarps = 8;

// Rows (pixels) and columns (output channels) of one pointwise block, and its warps.
constexpr int kPointwiseTileRows = 64;
constexpr int kPointwiseTileCols = 64;
constexpr int kPointwiseWarps = 4;

struct DepthwiseParams {
    const void* input;    // [n, h_in, w_in, c], T
    const void* weight;   // [k, k, c], T
    const float* scale;   // [c]
    const float* shift;   // [c]
    void* output;         // [n, h_out, w_out, c], T
    float* partial_sums;  // [n, tiles, c]; null: no squeeze
    int32_t n;
    int32_t h_in;
    int32_t w_in;
    int32_t h_out;
    int32_t w_out;
    int32_t c;
    int32_t pad_top;
    int32_t pad_left;
    int32_t activation;
    int32_t reserved;
};
EFFNET_SIZE(DepthwiseParams, 88);
EFFNET_FIELD(DepthwiseParams, input, 0);
EFFNET_FIELD(DepthwiseParams, weight, 8);
EFFNET_FIELD(DepthwiseParams, scale, 16);
EFFNET_FIELD(DepthwiseParams, shift, 24);
EFFNET_FIELD(DepthwiseParams, output, 32);
EFFNET_FIELD(DepthwiseParams, partial_sums, 40);
EFFNET_FIELD(DepthwiseParams, n, 48);
EFFNET_FIELD(DepthwiseParams, h_in, 52);
EFFNET_FIELD(DepthwiseParams, w_in, 56);
EFFNET_FIELD(DepthwiseParams, h_out, 60);
EFFNET_FIELD(DepthwiseParams, w_out, 64);
EFFNET_FIELD(DepthwiseParams, c, 68);
EFFNET_FIELD(DepthwiseParams, pad_top, 72);
EFFNET_FIELD(DepthwiseParams, pad_left, 76);
EFFNET_FIELD(DepthwiseParams, activation, 80);
EFFNET_FIELD(DepthwiseParams, reserved, 84);

struct SqueezeExciteParams {
    const float* partial_sums;  // [n, tiles, c]
    const void* reduce_weight;  // [c_se, c], T
    const float* reduce_bias;   // [c_se]
    const void* expand_weight;  // [c_se, c], T
    const float* expand_bias;   // [c]
    float* gate;                // [n, c]
    int32_t n;
    int32_t tiles;
    int32_t pixels;  // of the map that was summed, h_out * w_out
    int32_t c;
    int32_t c_se;
    int32_t reserved;
};
EFFNET_SIZE(SqueezeExciteParams, 72);
EFFNET_FIELD(SqueezeExciteParams, partial_sums, 0);
EFFNET_FIELD(SqueezeExciteParams, reduce_weight, 8);
EFFNET_FIELD(SqueezeExciteParams, reduce_bias, 16);
EFFNET_FIELD(SqueezeExciteParams, expand_weight, 24);
EFFNET_FIELD(SqueezeExciteParams, expand_bias, 32);
EFFNET_FIELD(SqueezeExciteParams, gate, 40);
EFFNET_FIELD(SqueezeExciteParams, n, 48);
EFFNET_FIELD(SqueezeExciteParams, tiles, 52);
EFFNET_FIELD(SqueezeExciteParams, pixels, 56);
EFFNET_FIELD(SqueezeExciteParams, c, 60);
EFFNET_FIELD(SqueezeExciteParams, c_se, 64);
EFFNET_FIELD(SqueezeExciteParams, reserved, 68);

struct PointwiseParams {
    const void* input;   // [rows, c_in], T
    const void* weight;  // [c_out, c_in], T
    const float* scale;  // [c_out]
    const float* shift;  // [c_out]
    const float* gate;   // [rows / pixels, c_in]; null: none
    const void* skip;    // [rows, c_out], T; null: none
    void* output;        // [rows, c_out], T
    int32_t rows;        // n * pixels
    int32_t pixels;      // h * w of one image
    int32_t c_in;
    int32_t c_out;
    int32_t activation;
    int32_t reserved;
};
EFFNET_SIZE(PointwiseParams, 80);
EFFNET_FIELD(PointwiseParams, input, 0);
EFFNET_FIELD(PointwiseParams, weight, 8);
EFFNET_FIELD(PointwiseParams, scale, 16);
EFFNET_FIELD(PointwiseParams, shift, 24);
EFFNET_FIELD(PointwiseParams, gate, 32);
EFFNET_FIELD(PointwiseParams, skip, 40);
EFFNET_FIELD(PointwiseParams, output, 48);
EFFNET_FIELD(PointwiseParams, rows, 56);
EFFNET_FIELD(PointwiseParams, pixels, 60);
EFFNET_FIELD(PointwiseParams, c_in, 64);
EFFNET_FIELD(PointwiseParams, c_out, 68);
EFFNET_FIELD(PointwiseParams, activation, 72);
EFFNET_FIELD(PointwiseParams, reserved, 76);
