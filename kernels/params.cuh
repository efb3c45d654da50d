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

// Output pixels of a depthwise thread, neighbours in a row; strips of a block; and its threads
// along the channels, each of one 16-byte vector.
constexpr int kDepthwiseStripPixels = 4;
constexpr int kDepthwiseTileStrips = 16;
constexpr int kDepthwiseLanes = 4;

// Output rows and columns of a strip of the depthwise convolution in f16.
constexpr int kDepthwiseStripRows = 4;
constexpr int kDepthwiseStripCols = 8;

// Channels that a depthwise block makes at a time in f16, and its warps.
constexpr int kDepthwiseGroup = 32;
constexpr int kDepthwiseWarps = 8;

// Output rows and columns of one stem block, output pixels of a thread, and the block's threads.
constexpr int kStemTileRows = 8;
constexpr int kStemTileCols = 16;
constexpr int kStemStripPixels = 4;
constexpr int kStemThreads = 128;

// Warps of a squeeze_excite block, and the most threads that share the terms of one sum.
constexpr int kSqueezeExciteWarps = 32;
constexpr int kSqueezeExciteMaxShares = 16;

// The number of pixels of a pool tile is a multiple of kPoolStepPixels: the smallest with which an
// image has at most kPoolMaxTiles tiles. Channels of one pool block, and its warps.
constexpr int kPoolStepPixels = 64;
constexpr int kPoolMaxTiles = 128;
constexpr int kPoolTileChannels = 64;
constexpr int kPoolWarps = 8;

// Warps of an f32 classifier block, classes of each, images of a block, and the most channels.
constexpr int kClassifierWarps = 4;
constexpr int kClassifierWarpClasses = 2;
constexpr int kClassifierImages = 4;
constexpr int kClassifierMaxChannels = 3072;

// Warps of an f16 classifier block, each of which has a share of the channels; images of a block;
// channels of a step of a share; and the most steps times octets of classes in shared memory.
constexpr int kClassifierShares = 4;
constexpr int kClassifierTileImages = 16;
constexpr int kClassifierStepChannels = 32;
constexpr int kClassifierMaxStages = 16;

// Warps of a top_k block.
constexpr int kTopKWarps = 8;

// Threads of a resample block, and rows of each thread where it resamples columns alone.
constexpr int kResampleThreads = 128;
constexpr int kResampleRows = 4;

// Channels of a chunk of a pointwise sum: short in sums of more than one long chunk and up to
// kPointwiseShortSum channels.
constexpr int kPointwiseShortChunk = 128;
constexpr int kPointwiseLongChunk = 256;
constexpr int kPointwiseShortSum = 1280;

// Rows of 32 halves in shared memory: of weight, up to which all of a block's stay there; of the
// gate's weights, up to which they are copied there. Stages that weights pass through where they do
// not stay. Most threads of a block, and of one whose warps make more than so many columns.
constexpr int kPointwiseStayRows = 640;
constexpr int kPointwiseGateRows = 256;
constexpr int kPointwiseStages = 3;
constexpr int kPointwiseThreads = 512;
constexpr int kPointwiseWideCols = 16;
constexpr int kPointwiseWideThreads = 384;

// Output pixels of one expand_depthwise block in f32, columns and rows; the channels that it
// expands at a time; and its warps.
constexpr int kExpandDepthwiseTileCols = 8;
constexpr int kExpandDepthwiseTileRowsStride1 = 8;
constexpr int kExpandDepthwiseTileRowsStride2 = 4;
constexpr int kExpandDepthwiseGroupF32 = 24;
constexpr int kExpandDepthwiseWarps = 6;

// Threads of an expand_depthwise block in f16, and the most strips of its tile.
constexpr int kExpandDepthwiseThreadsF16 = 256;
constexpr int kExpandDepthwiseStrips = 16;

struct StemParams {
    const void* input;   // [n, h_in, w_in, 3], u8, f16 or f32
    const void* weight;  // [3, 3, 3, c_out], T
    const float* scale;  // [c_out]; null with shift: neither is applied
    const float* shift;  // [c_out]
    void* output;        // [n, h_out, w_out, c_out], T
    float mean[3];       // of u8 input: (x / 255 - mean) / std
    float std[3];
    int32_t n;
    int32_t h_in;
    int32_t w_in;
    int32_t h_out;
    int32_t w_out;
    int32_t c_out;
    int32_t pad_top;
    int32_t pad_left;
    int32_t activation;
    int32_t reserved;
};
EFFNET_SIZE(StemParams, 104);
EFFNET_FIELD(StemParams, input, 0);
EFFNET_FIELD(StemParams, weight, 8);
EFFNET_FIELD(StemParams, scale, 16);
EFFNET_FIELD(StemParams, shift, 24);
EFFNET_FIELD(StemParams, output, 32);
EFFNET_FIELD(StemParams, mean, 40);
EFFNET_FIELD(StemParams, std, 52);
EFFNET_FIELD(StemParams, n, 64);
EFFNET_FIELD(StemParams, h_in, 68);
EFFNET_FIELD(StemParams, w_in, 72);
EFFNET_FIELD(StemParams, h_out, 76);
EFFNET_FIELD(StemParams, w_out, 80);
EFFNET_FIELD(StemParams, c_out, 84);
EFFNET_FIELD(StemParams, pad_top, 88);
EFFNET_FIELD(StemParams, pad_left, 92);
EFFNET_FIELD(StemParams, activation, 96);
EFFNET_FIELD(StemParams, reserved, 100);

struct DepthwiseParams {
    const void* input;          // [n, h_in, w_in, c], T
    const void* weight;         // [k, k, c], T
    const float* scale;         // [c]; null with shift: neither is applied
    const float* shift;         // [c]
    void* output;               // [n, h_out, w_out, c], T
    float* partial_sums;        // [n, tiles, c]; null: none
    const void* reduce_weight;  // [c_se, c], T; null with squeeze
    float* squeeze;             // [n, tiles, slices, c_se rounded up to 4]; null: none
    int32_t n;
    int32_t h_in;
    int32_t w_in;
    int32_t h_out;
    int32_t w_out;
    int32_t c;
    int32_t pad_top;
    int32_t pad_left;
    int32_t activation;
    int32_t c_se;            // 0 without squeeze
    int32_t slice;           // channels of a slice; 0 without squeeze
    int32_t tile_rows;       // of output, in f16
    int32_t tile_cols;       // of output, in f16
    int32_t block_channels;  // in f16: a multiple of the group and of the slice
};
EFFNET_SIZE(DepthwiseParams, 120);
EFFNET_FIELD(DepthwiseParams, input, 0);
EFFNET_FIELD(DepthwiseParams, weight, 8);
EFFNET_FIELD(DepthwiseParams, scale, 16);
EFFNET_FIELD(DepthwiseParams, shift, 24);
EFFNET_FIELD(DepthwiseParams, output, 32);
EFFNET_FIELD(DepthwiseParams, partial_sums, 40);
EFFNET_FIELD(DepthwiseParams, reduce_weight, 48);
EFFNET_FIELD(DepthwiseParams, squeeze, 56);
EFFNET_FIELD(DepthwiseParams, n, 64);
EFFNET_FIELD(DepthwiseParams, h_in, 68);
EFFNET_FIELD(DepthwiseParams, w_in, 72);
EFFNET_FIELD(DepthwiseParams, h_out, 76);
EFFNET_FIELD(DepthwiseParams, w_out, 80);
EFFNET_FIELD(DepthwiseParams, c, 84);
EFFNET_FIELD(DepthwiseParams, pad_top, 88);
EFFNET_FIELD(DepthwiseParams, pad_left, 92);
EFFNET_FIELD(DepthwiseParams, activation, 96);
EFFNET_FIELD(DepthwiseParams, c_se, 100);
EFFNET_FIELD(DepthwiseParams, slice, 104);
EFFNET_FIELD(DepthwiseParams, tile_rows, 108);
EFFNET_FIELD(DepthwiseParams, tile_cols, 112);
EFFNET_FIELD(DepthwiseParams, block_channels, 116);

struct ExpandDepthwiseParams {
    const void* input;             // [n, h_in, w_in, c_in], T
    const void* expand_weight;     // [c_mid, c_in], T
    const float* expand_scale;     // [c_mid]
    const float* expand_shift;     // [c_mid]
    const void* depthwise_weight;  // [k, k, c_mid], T
    const float* depthwise_scale;  // [c_mid]
    const float* depthwise_shift;  // [c_mid]
    void* output;                  // [n, h_out, w_out, c_mid], T
    float* partial_sums;           // [n, tiles, c_mid]; null: none
    const void* reduce_weight;     // [c_se, c_mid], T; null with squeeze
    float* squeeze;                // [n, tiles, slices, c_se rounded up to 4]; null: none
    int32_t n;
    int32_t h_in;
    int32_t w_in;
    int32_t h_out;
    int32_t w_out;
    int32_t c_in;
    int32_t c_mid;
    int32_t pad_top;
    int32_t pad_left;
    int32_t activation;
    int32_t c_se;       // 0 without squeeze
    int32_t slice;      // channels of a slice; 0 without squeeze
    int32_t tile_rows;  // of f16: output pixels of a block; 0 in f32
    int32_t tile_cols;
    int32_t channels;  // of f16: expanded channels of a block; 0 in f32
    int32_t reserved;
};
EFFNET_SIZE(ExpandDepthwiseParams, 152);
EFFNET_FIELD(ExpandDepthwiseParams, input, 0);
EFFNET_FIELD(ExpandDepthwiseParams, expand_weight, 8);
EFFNET_FIELD(ExpandDepthwiseParams, expand_scale, 16);
EFFNET_FIELD(ExpandDepthwiseParams, expand_shift, 24);
EFFNET_FIELD(ExpandDepthwiseParams, depthwise_weight, 32);
EFFNET_FIELD(ExpandDepthwiseParams, depthwise_scale, 40);
EFFNET_FIELD(ExpandDepthwiseParams, depthwise_shift, 48);
EFFNET_FIELD(ExpandDepthwiseParams, output, 56);
EFFNET_FIELD(ExpandDepthwiseParams, partial_sums, 64);
EFFNET_FIELD(ExpandDepthwiseParams, reduce_weight, 72);
EFFNET_FIELD(ExpandDepthwiseParams, squeeze, 80);
EFFNET_FIELD(ExpandDepthwiseParams, n, 88);
EFFNET_FIELD(ExpandDepthwiseParams, h_in, 92);
EFFNET_FIELD(ExpandDepthwiseParams, w_in, 96);
EFFNET_FIELD(ExpandDepthwiseParams, h_out, 100);
EFFNET_FIELD(ExpandDepthwiseParams, w_out, 104);
EFFNET_FIELD(ExpandDepthwiseParams, c_in, 108);
EFFNET_FIELD(ExpandDepthwiseParams, c_mid, 112);
EFFNET_FIELD(ExpandDepthwiseParams, pad_top, 116);
EFFNET_FIELD(ExpandDepthwiseParams, pad_left, 120);
EFFNET_FIELD(ExpandDepthwiseParams, activation, 124);
EFFNET_FIELD(ExpandDepthwiseParams, c_se, 128);
EFFNET_FIELD(ExpandDepthwiseParams, slice, 132);
EFFNET_FIELD(ExpandDepthwiseParams, tile_rows, 136);
EFFNET_FIELD(ExpandDepthwiseParams, tile_cols, 140);
EFFNET_FIELD(ExpandDepthwiseParams, channels, 144);
EFFNET_FIELD(ExpandDepthwiseParams, reserved, 148);

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
    const void* input;         // [rows, c_in], T
    const void* weight;        // [c_out, c_in], T
    const float* scale;        // [c_out]; null with shift: neither is applied
    const float* shift;        // [c_out]
    const float* gate;         // [rows / pixels, c_in]; null: none
    const float* squeeze;      // [n, parts, c_se rounded up to 4]; null: no gate of it
    const float* reduce_bias;  // [c_se]; null with squeeze
    const void* gate_weight;   // [c_se, c_in], T; null with squeeze
    const float* gate_bias;    // [c_in]; null with squeeze
    const void* skip;          // [rows, c_out], T; null: none
    void* output;              // [rows, c_out], T; null: only partial_sums
    float* partial_sums;       // [n, tiles, c_out]; null: none
    float* chunk_sums;         // of chunks of c_in split over blocks, see the kernels; null: none
    uint32_t* arrivals;  // one for each output tile, zero before and after; null as chunk_sums
    int32_t rows;        // n * pixels
    int32_t pixels;      // h * w of one image
    int32_t c_in;
    int32_t c_out;
    int32_t activation;
    int32_t parts;      // of an image's squeeze; 0 without
    int32_t c_se;       // 0 without squeeze
    int32_t tile_rows;  // of a block of the f16 kernels, a multiple of 16
};
EFFNET_SIZE(PointwiseParams, 144);
EFFNET_FIELD(PointwiseParams, input, 0);
EFFNET_FIELD(PointwiseParams, weight, 8);
EFFNET_FIELD(PointwiseParams, scale, 16);
EFFNET_FIELD(PointwiseParams, shift, 24);
EFFNET_FIELD(PointwiseParams, gate, 32);
EFFNET_FIELD(PointwiseParams, squeeze, 40);
EFFNET_FIELD(PointwiseParams, reduce_bias, 48);
EFFNET_FIELD(PointwiseParams, gate_weight, 56);
EFFNET_FIELD(PointwiseParams, gate_bias, 64);
EFFNET_FIELD(PointwiseParams, skip, 72);
EFFNET_FIELD(PointwiseParams, output, 80);
EFFNET_FIELD(PointwiseParams, partial_sums, 88);
EFFNET_FIELD(PointwiseParams, chunk_sums, 96);
EFFNET_FIELD(PointwiseParams, arrivals, 104);
EFFNET_FIELD(PointwiseParams, rows, 112);
EFFNET_FIELD(PointwiseParams, pixels, 116);
EFFNET_FIELD(PointwiseParams, c_in, 120);
EFFNET_FIELD(PointwiseParams, c_out, 124);
EFFNET_FIELD(PointwiseParams, activation, 128);
EFFNET_FIELD(PointwiseParams, parts, 132);
EFFNET_FIELD(PointwiseParams, c_se, 136);
EFFNET_FIELD(PointwiseParams, tile_rows, 140);

struct BnSwishParams {
    const void* input;   // [rows, c], T
    const float* scale;  // [c]; null with shift: neither is applied
    const float* shift;  // [c]
    const float* gate;   // [rows / pixels, c]; null: none
    const void* skip;    // [rows, c], T; null: none
    void* output;        // [rows, c], T
    int32_t rows;        // n * pixels
    int32_t pixels;      // h * w of one image
    int32_t c;
    int32_t activation;
};
EFFNET_SIZE(BnSwishParams, 64);
EFFNET_FIELD(BnSwishParams, input, 0);
EFFNET_FIELD(BnSwishParams, scale, 8);
EFFNET_FIELD(BnSwishParams, shift, 16);
EFFNET_FIELD(BnSwishParams, gate, 24);
EFFNET_FIELD(BnSwishParams, skip, 32);
EFFNET_FIELD(BnSwishParams, output, 40);
EFFNET_FIELD(BnSwishParams, rows, 48);
EFFNET_FIELD(BnSwishParams, pixels, 52);
EFFNET_FIELD(BnSwishParams, c, 56);
EFFNET_FIELD(BnSwishParams, activation, 60);

struct PoolParams {
    const void* input;    // [n, pixels, c], T
    float* partial_sums;  // [n, tiles, c]
    int32_t n;
    int32_t pixels;
    int32_t c;
    int32_t reserved;
};
EFFNET_SIZE(PoolParams, 32);
EFFNET_FIELD(PoolParams, input, 0);
EFFNET_FIELD(PoolParams, partial_sums, 8);
EFFNET_FIELD(PoolParams, n, 16);
EFFNET_FIELD(PoolParams, pixels, 20);
EFFNET_FIELD(PoolParams, c, 24);
EFFNET_FIELD(PoolParams, reserved, 28);

struct ClassifierParams {
    const float* partial_sums;  // [n, tiles, c]
    const void* weight;         // [classes, c], T
    const float* bias;          // [classes]
    float* features;            // [n, c]
    float* logits;              // [n, classes]
    int32_t n;
    int32_t tiles;
    int32_t pixels;  // of the map that was summed
    int32_t c;
    int32_t classes;
    int32_t octets;  // f16: of classes, of a block
};
EFFNET_SIZE(ClassifierParams, 64);
EFFNET_FIELD(ClassifierParams, partial_sums, 0);
EFFNET_FIELD(ClassifierParams, weight, 8);
EFFNET_FIELD(ClassifierParams, bias, 16);
EFFNET_FIELD(ClassifierParams, features, 24);
EFFNET_FIELD(ClassifierParams, logits, 32);
EFFNET_FIELD(ClassifierParams, n, 40);
EFFNET_FIELD(ClassifierParams, tiles, 44);
EFFNET_FIELD(ClassifierParams, pixels, 48);
EFFNET_FIELD(ClassifierParams, c, 52);
EFFNET_FIELD(ClassifierParams, classes, 56);
EFFNET_FIELD(ClassifierParams, octets, 60);

struct TopKParams {
    const float* logits;       // [n, classes]
    int32_t* top_classes;      // [n, k], the best first
    float* top_logits;         // [n, k]
    float* top_probabilities;  // [n, k], parts of the softmax over all classes
    int32_t n;
    int32_t classes;
    int32_t k;
    int32_t reserved;
};
EFFNET_SIZE(TopKParams, 48);
EFFNET_FIELD(TopKParams, logits, 0);
EFFNET_FIELD(TopKParams, top_classes, 8);
EFFNET_FIELD(TopKParams, top_logits, 16);
EFFNET_FIELD(TopKParams, top_probabilities, 24);
EFFNET_FIELD(TopKParams, n, 32);
EFFNET_FIELD(TopKParams, classes, 36);
EFFNET_FIELD(TopKParams, k, 40);
EFFNET_FIELD(TopKParams, reserved, 44);

struct ResampleParams {
    const uint8_t* input;    // [h_in, w_in, 3]
    const int32_t* columns;  // [words, w_out], taps; null: the columns stay
    const int32_t* rows;     // [words, h_out], taps; null: the rows stay
    uint8_t* output;         // [h_out, w_out, 3]
    int32_t h_in;
    int32_t w_in;
    int32_t h_out;
    int32_t w_out;
};
EFFNET_SIZE(ResampleParams, 48);
EFFNET_FIELD(ResampleParams, input, 0);
EFFNET_FIELD(ResampleParams, columns, 8);
EFFNET_FIELD(ResampleParams, rows, 16);
EFFNET_FIELD(ResampleParams, output, 24);
EFFNET_FIELD(ResampleParams, h_in, 32);
EFFNET_FIELD(ResampleParams, w_in, 36);
EFFNET_FIELD(ResampleParams, h_out, 40);
EFFNET_FIELD(ResampleParams, w_out, 44);
