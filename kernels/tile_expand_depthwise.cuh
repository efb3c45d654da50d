// The f32 tile of expand_depthwise: a patch of the input is expanded into shared memory, one
// group of channels at a time, and the depthwise window slides over it there.
#pragma once

#include "tensor_core.cuh"

// Four neighbouring channels.
struct Quad {
    float v[4];
};

__device__ __forceinline__ Quad load_quad(const float* at) {
    const float4 x = *reinterpret_cast<const float4*>(at);
    return {{x.x, x.y, x.z, x.w}};
}

__device__ __forceinline__ void store_quad(float* at, const Quad& q) {
    *reinterpret_cast<float4*>(at) = make_float4(q.v[0], q.v[1], q.v[2], q.v[3]);
}

// As copy_chunk, of floats.
__device__ __forceinline__ void copy_16_bytes(float* to, const float* from, bool valid) {
    copy_chunk(reinterpret_cast<__half*>(to), reinterpret_cast<const __half*>(from), valid);
}

// The tile's sizes, which are constants.
template <int K, int STRIDE>
struct ExpandDepthwiseTile {
    static constexpr int kThreads = kExpandDepthwiseWarps * kWarpSize;
    // Output pixels.
    static constexpr int kCols = kExpandDepthwiseTileCols;
    static constexpr int kRows =
        STRIDE == 1 ? kExpandDepthwiseTileRowsStride1 : kExpandDepthwiseTileRowsStride2;
    // The pixels of the expanded map under their windows.
    static constexpr int kPatchCols = (kCols - 1) * STRIDE + K;
    static constexpr int kPatchRows = (kRows - 1) * STRIDE + K;
    static constexpr int kPatch = kPatchRows * kPatchCols;
    // Expanded channels of one group: 96 bytes, whole sectors, and a divisor of six times any
    // multiple of 8.
    static constexpr int kGroup = kExpandDepthwiseGroupF32;
    // Elements in 16 bytes. One vector more in each row of shared memory: rows then lie an odd
    // number of vectors apart, and eight of them touch all banks.
    static constexpr int kVector = 16 / sizeof(float);
    static constexpr int kMidPitch = kGroup + kVector;
    // The depthwise part: a thread owns four channels of a segment of an output row.
    static constexpr int kQuads = kGroup / 4;
    static constexpr int kSegments = kThreads / kQuads;
    static constexpr int kSegment = kRows * kCols / kSegments;
    static constexpr int kSegmentsInRow = kCols / kSegment;
    static_assert(kThreads % kQuads == 0 && kRows * kCols % kSegments == 0, "no thread idles");
    static_assert(kCols % kSegment == 0, "a segment lies in one row");
};

// The shared memory of a block, in this order; src/kernels/expand_depthwise.rs adds it up.
template <int K, int STRIDE>
struct ExpandDepthwiseShared {
    using Tile = ExpandDepthwiseTile<K, STRIDE>;
    float* sums;              // [segments, group]
    float* mid;               // [patch, group], rows kMidPitch apart
    float* depthwise_weight;  // [k, k, group]
    float* expand_weight;     // [group, c_in], rows `pitch` apart
    float* patch;             // [patch, c_in], rows `pitch` apart
    int depth;                // c_in
    int pitch;

    __device__ __forceinline__ ExpandDepthwiseShared(void* shared, int c_in) {
        depth = c_in;
        pitch = depth + Tile::kVector;
        sums = static_cast<float*>(shared);
        mid = reinterpret_cast<float*>(sums + Tile::kSegments * Tile::kGroup);
        depthwise_weight = mid + Tile::kPatch * Tile::kMidPitch;
        expand_weight = depthwise_weight + K * K * Tile::kGroup;
        patch = expand_weight + Tile::kGroup * pitch;
    }
};

// --- Copies ---

// The patch whose first pixel is (top, left); zeros outside the image, and beyond c_in.
template <int K, int STRIDE>
__device__ __forceinline__ void copy_patch(const ExpandDepthwiseShared<K, STRIDE>& s,
                                           const ExpandDepthwiseParams& p, int image, int top,
                                           int left) {
    using Tile = ExpandDepthwiseTile<K, STRIDE>;
    const float* input = static_cast<const float*>(p.input) +
                         image * p.h_in * p.w_in * p.c_in;  // [h_in, w_in, c_in]
    const int vectors = s.depth / Tile::kVector;
    for (int i = threadIdx.x; i < Tile::kPatch * vectors; i += Tile::kThreads) {
        const int pixel = i / vectors;
        const int c = i % vectors * Tile::kVector;
        const int h = top + pixel / Tile::kPatchCols;
        const int w = left + pixel % Tile::kPatchCols;
        const bool valid = h >= 0 && h < p.h_in && w >= 0 && w < p.w_in && c < p.c_in;
        const float* from = valid ? input + (h * p.w_in + w) * p.c_in + c : input;
        copy_16_bytes(s.patch + pixel * s.pitch + c, from, valid);
    }
}

// The weights of the group that begins with channel `first`; zeros beyond c_mid and c_in.
template <int K, int STRIDE>
__device__ __forceinline__ void copy_expand_weight(const ExpandDepthwiseShared<K, STRIDE>& s,
                                                   const ExpandDepthwiseParams& p, int first) {
    using Tile = ExpandDepthwiseTile<K, STRIDE>;
    const float* weight = static_cast<const float*>(p.expand_weight);  // [c_mid, c_in]
    const int vectors = s.depth / Tile::kVector;
    for (int i = threadIdx.x; i < Tile::kGroup * vectors; i += Tile::kThreads) {
        const int row = i / vectors;
        const int c = i % vectors * Tile::kVector;
        const bool valid = first + row < p.c_mid && c < p.c_in;
        const float* from = valid ? weight + (first + row) * p.c_in + c : weight;
        copy_16_bytes(s.expand_weight + row * s.pitch + c, from, valid);
    }
}

template <int K, int STRIDE>
__device__ __forceinline__ void copy_depthwise_weight(const ExpandDepthwiseShared<K, STRIDE>& s,
                                                      const ExpandDepthwiseParams& p, int first) {
    using Tile = ExpandDepthwiseTile<K, STRIDE>;
    const float* weight = static_cast<const float*>(p.depthwise_weight);  // [k, k, c_mid]
    constexpr int kVectors = Tile::kGroup / Tile::kVector;
    for (int i = threadIdx.x; i < K * K * kVectors; i += Tile::kThreads) {
        const int tap = i / kVectors;
        const int c = first + i % kVectors * Tile::kVector;
        const bool valid = c < p.c_mid;
        const float* from = valid ? weight + tap * p.c_mid + c : weight;
        copy_16_bytes(s.depthwise_weight + i * Tile::kVector, from, valid);
    }
}

// --- Expansion ---

// Whether pixel `pixel` of the patch lies in the image. Where it does not, the depthwise
// convolution is padded: with zeros, and not with what a zero would be expanded to.
template <typename Tile>
__device__ __forceinline__ bool in_image(const ExpandDepthwiseParams& p, int top, int left,
                                         int pixel) {
    const int h = top + pixel / Tile::kPatchCols;
    const int w = left + pixel % Tile::kPatchCols;
    return h >= 0 && h < p.h_in && w >= 0 && w < p.w_in;
}

// A thread owns four channels, a quarter of the group apart (so that the lanes of a warp
// read neighbouring rows of weights), of every kStep-th pixel.
template <int K, int STRIDE>
__device__ __forceinline__ void expand(const ExpandDepthwiseShared<K, STRIDE>& s,
                                       const ExpandDepthwiseParams& p, int first, int top,
                                       int left) {
    using Tile = ExpandDepthwiseTile<K, STRIDE>;
    constexpr int kStep = Tile::kThreads / Tile::kQuads;
    constexpr int kPixels = (Tile::kPatch + kStep - 1) / kStep;
    const int c = threadIdx.x % Tile::kQuads;
    const int first_pixel = threadIdx.x / Tile::kQuads;

    float acc[kPixels][4];
#pragma unroll
    for (int i = 0; i < 4 * kPixels; ++i) {
        acc[i / 4][i % 4] = 0.0f;
    }
    for (int k = 0; k < p.c_in; k += 4) {
        Quad w[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            w[j] = load_quad(s.expand_weight + (c + j * Tile::kQuads) * s.pitch + k);
        }
#pragma unroll
        for (int i = 0; i < kPixels; ++i) {
            // Pixels beyond the patch repeat its last one, unused.
            const int pixel = min(first_pixel + i * kStep, Tile::kPatch - 1);
            const Quad x = load_quad(s.patch + pixel * s.pitch + k);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    acc[i][j] = fmaf(x.v[e], w[j].v[e], acc[i][j]);
                }
            }
        }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const int channel = first + c + j * Tile::kQuads;
        const bool live = channel < p.c_mid;  // the last group may be part empty
        const float scale = live ? p.expand_scale[channel] : 0.0f;
        const float shift = live ? p.expand_shift[channel] : 0.0f;
        with_activation(p.activation, [&](auto activation) {
#pragma unroll
            for (int i = 0; i < kPixels; ++i) {
                const int pixel = first_pixel + i * kStep;
                if (pixel < Tile::kPatch) {
                    const float y = fmaf(acc[i][j], scale, shift);
                    s.mid[pixel * Tile::kMidPitch + c + j * Tile::kQuads] =
                        in_image<Tile>(p, top, left, pixel)
                            ? activate<float, decltype(activation)::kValue>(y)
                            : 0.0f;
                }
            }
        });
    }
}

// --- Depthwise ---

// Output rows and columns from (row, col) on; leaves this thread's part of the squeeze in
// shared memory.
template <int K, int STRIDE>
__device__ __forceinline__ void slide(const ExpandDepthwiseShared<K, STRIDE>& s,
                                      const ExpandDepthwiseParams& p, int image, int first,
                                      int tile_row, int tile_col) {
    using Tile = ExpandDepthwiseTile<K, STRIDE>;
    const int quad = threadIdx.x % Tile::kQuads * 4;
    const int segment = threadIdx.x / Tile::kQuads;
    const int row = segment / Tile::kSegmentsInRow;
    const int col = segment % Tile::kSegmentsInRow * Tile::kSegment;
    const int h = tile_row + row;
    const int c = first + quad;
    Quad sum = {};
    if (c < p.c_mid && h < p.h_out && tile_col + col < p.w_out) {
        const float* mid = s.mid +
                           (row * STRIDE * Tile::kPatchCols + col * STRIDE) * Tile::kMidPitch +
                           quad;                          // [k, (segment - 1) * stride + k, group]
        const float* weight = s.depthwise_weight + quad;  // [k, k, group]
        Quad acc[Tile::kSegment] = {};
#pragma unroll 1  // a row at a time is enough to do, and takes few registers
        for (int i = 0; i < K; ++i) {
            Quad taps[K];
#pragma unroll
            for (int j = 0; j < K; ++j) {
                taps[j] = load_quad(weight + (i * K + j) * Tile::kGroup);
            }
#pragma unroll
            for (int x = 0; x < (Tile::kSegment - 1) * STRIDE + K; ++x) {
                const Quad v = load_quad(mid + (i * Tile::kPatchCols + x) * Tile::kMidPitch);
#pragma unroll
                for (int o = 0; o < Tile::kSegment; ++o) {
                    const int j = x - o * STRIDE;
                    if (j >= 0 && j < K) {
#pragma unroll
                        for (int e = 0; e < 4; ++e) {
                            acc[o].v[e] = fmaf(v.v[e], taps[j].v[e], acc[o].v[e]);
                        }
                    }
                }
            }
        }
        const Quad scale = load_quad(p.depthwise_scale + c);
        const Quad shift = load_quad(p.depthwise_shift + c);
        float* output = static_cast<float*>(p.output) +
                        ((image * p.h_out + h) * p.w_out + tile_col + col) * p.c_mid +
                        c;  // [segment, c_mid]
        with_activation(p.activation, [&](auto activation) {
#pragma unroll
            for (int o = 0; o < Tile::kSegment; ++o) {
                if (tile_col + col + o < p.w_out) {
                    Quad y;
#pragma unroll
                    for (int e = 0; e < 4; ++e) {
                        y.v[e] = activate<float, decltype(activation)::kValue>(
                            fmaf(acc[o].v[e], scale.v[e], shift.v[e]));
                        sum.v[e] += y.v[e];
                    }
                    store_quad(output + o * p.c_mid, y);
                }
            }
        });
    }
    store_quad(s.sums + segment * Tile::kGroup + quad, sum);
}

// --- The block ---

template <int K, int STRIDE>
__device__ __forceinline__ void expand_depthwise(const ExpandDepthwiseParams& p, void* shared) {
    using Tile = ExpandDepthwiseTile<K, STRIDE>;
    const ExpandDepthwiseShared<K, STRIDE> s(shared, p.c_in);
    const int image = blockIdx.z;
    const int tiles_in_row = (p.w_out + Tile::kCols - 1) / Tile::kCols;
    const int tile_row = blockIdx.x / tiles_in_row * Tile::kRows;
    const int tile_col = blockIdx.x % tiles_in_row * Tile::kCols;
    const int top = tile_row * STRIDE - p.pad_top;
    const int left = tile_col * STRIDE - p.pad_left;
    const int step = gridDim.y * Tile::kGroup;
    int first = blockIdx.y * Tile::kGroup;

    // Weights do not come from the launch before: the first of them are under way while it ends.
    let_next_launch_begin();
    copy_expand_weight(s, p, first);
    wait_for_launches_before();
    copy_patch(s, p, image, top, left);
    commit_copies();
    for (; first < p.c_mid; first += step) {
        // These arrive during the expansion,
        copy_depthwise_weight(s, p, first);
        commit_copies();
        wait_copies<1>();
        __syncthreads();
        expand(s, p, first, top, left);
        wait_copies<0>();
        __syncthreads();
        // and the next group's expand weights while the window slides.
        if (first + step < p.c_mid) {
            copy_expand_weight(s, p, first + step);
        }
        commit_copies();
        slide(s, p, image, first, tile_row, tile_col);
        __syncthreads();
        // The squeeze: a thread for each channel adds up the segments in their order.
        const int c = first + threadIdx.x;
        if (p.partial_sums != nullptr && threadIdx.x < Tile::kGroup && c < p.c_mid) {
            float sum = s.sums[threadIdx.x];
#pragma unroll 4
            for (int i = 1; i < Tile::kSegments; ++i) {
                sum += s.sums[i * Tile::kGroup + threadIdx.x];
            }
            p.partial_sums[(image * gridDim.x + blockIdx.x) * p.c_mid + c] =
                sum;  // [n, tiles, c_mid]
        }
    }
}
