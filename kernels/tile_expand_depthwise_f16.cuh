// The f16 block of expand_depthwise: a patch of the map between the two convolutions is made in
// shared memory on tensor cores, a group of channels at a time, and the depthwise walks over it.
#pragma once

#include "squeeze.cuh"
#include "tile_depthwise_f16.cuh"

// Where a block's tile lies, and the patch that it expands: the pixels under the tile's windows. In
// shared memory, from where each part of the work reads what it needs: it takes no registers of
// the others.
struct alignas(16) ExpandPlace {
    int input;   // elements before the first pixel of the patch that lies in the image
    int output;  // elements before the tile's first pixel
    int rows;    // of the tile, in the image
    int cols;
    int row_pixels;  // of a row of the patch in shared memory, halo included
    int first_row;   // of the patch that lies in the image
    int first_col;
    int patch_cols;       // of the patch that lie in the image
    int pixels;           // of the patch that lie in the image
    unsigned reciprocal;  // of patch_cols, in units of 2^-31
    int weight;           // bytes of shared memory before `weight`, and so on
    int sums;
    int totals;
    int reduce_weight;
    int strip_cols;             // of the tile, side by side
    unsigned strip_reciprocal;  // see reciprocal()

    // Row of pixel `i` of those in the image: i / patch_cols for i * patch_cols below 2^31.
    __device__ __forceinline__ int row_of(int i) const {
        return static_cast<int>(__umulhi(2 * static_cast<unsigned>(i), reciprocal));
    }
};

// The shared memory of a block; src/kernels/expand_depthwise/half.rs adds it up.
template <int K, int GROUP>
struct ExpandDepthwiseHalf {
    static constexpr int kPitch = GROUP + 8;  // halves: DepthwiseMap's
    unsigned char* base;

    __device__ __forceinline__ ExpandPlace& place() const {
        return *reinterpret_cast<ExpandPlace*>(base);
    }
    // [patch, group], pixels kPitch apart
    __device__ __forceinline__ __half* mid() const {
        return reinterpret_cast<__half*>(base + sizeof(ExpandPlace));
    }
    // [group], then the shift; then [group, c_in], rows weight_pitch() apart
    __device__ __forceinline__ float* scale() const {
        return reinterpret_cast<float*>(base + place().weight);
    }
    __device__ __forceinline__ __half* weight() const {
        return reinterpret_cast<__half*>(scale() + 2 * GROUP);
    }
    // [pairs of strips, group]
    __device__ __forceinline__ float* sums() const {
        return reinterpret_cast<float*>(base + place().sums);
    }
    __device__ __forceinline__ SqueezeShared<GROUP> squeeze() const {
        float* totals = reinterpret_cast<float*>(base + place().totals);
        return {totals, totals + GROUP, reinterpret_cast<__half*>(base + place().reduce_weight)};
    }
};

// An odd number of 64 bytes: the lanes of a matrix instruction then touch all banks.
__device__ __forceinline__ int weight_pitch(int c_in) {
    const int depth = (c_in + 31) / 32 * 32;
    return depth % 64 == 0 ? depth + 32 : depth;
}

// Of the tile of this block.
template <int K, int STRIDE, int GROUP>
__device__ __forceinline__ ExpandPlace expand_place(const ExpandDepthwiseParams& p) {
    const int image = blockIdx.z;
    const int tiles_in_row = (p.w_out + p.tile_cols - 1) / p.tile_cols;
    const int tile_row = blockIdx.x / tiles_in_row;
    const int h_tile = tile_row * p.tile_rows;
    const int w_tile = (blockIdx.x - tile_row * tiles_in_row) * p.tile_cols;
    ExpandPlace at;
    at.rows = min(p.tile_rows, p.h_out - h_tile);
    at.cols = min(p.tile_cols, p.w_out - w_tile);
    at.output = ((image * p.h_out + h_tile) * p.w_out + w_tile) * p.c_mid;

    const int top = h_tile * STRIDE - p.pad_top;
    const int left = w_tile * STRIDE - p.pad_left;
    const int strip_cols = (p.tile_cols + kDepthwiseStripCols - 1) / kDepthwiseStripCols;
    const int strip_rows = (p.tile_rows + kDepthwiseStripRows - 1) / kDepthwiseStripRows;
    at.row_pixels = (strip_cols * kDepthwiseStripCols - 1) * STRIDE + K;
    at.first_row = max(-top, 0);
    at.first_col = max(-left, 0);
    const int h = top + at.first_row;
    const int w = left + at.first_col;
    at.patch_cols = min(left + (at.cols - 1) * STRIDE + K, p.w_in) - w;
    at.pixels = (min(top + (at.rows - 1) * STRIDE + K, p.h_in) - h) * at.patch_cols;
    at.reciprocal = 0x7fffffffu / at.patch_cols + 1;
    at.input = ((image * p.h_in + h) * p.w_in + w) * p.c_in;

    at.strip_cols = (at.cols + kDepthwiseStripCols - 1) / kDepthwiseStripCols;
    at.strip_reciprocal = reciprocal(at.strip_cols);

    // Whole strips, which may reach beyond the tile.
    const int patch = ((strip_rows * kDepthwiseStripRows - 1) * STRIDE + K) * at.row_pixels;
    at.weight = sizeof(ExpandPlace) + patch * ExpandDepthwiseHalf<K, GROUP>::kPitch * 2;
    at.sums = at.weight + GROUP * (8 + weight_pitch(p.c_in) * 2);
    at.totals = at.sums + (strip_rows * strip_cols + 1) / 2 * GROUP * 4;
    at.reduce_weight = at.totals + (GROUP + part_values(p.c_se)) * 4;
    return at;
}

// The expand weights and batch-norm of the group that begins with channel `first`: zeros beyond
// c_mid and c_in.
template <int K, int GROUP>
__device__ __forceinline__ void copy_group(const ExpandDepthwiseHalf<K, GROUP>& s,
                                           const ExpandDepthwiseParams& p, int first) {
    constexpr int kLanes = kExpandDepthwiseThreadsF16 / GROUP;  // of a row
    const int row = threadIdx.x / kLanes;
    const int lane = threadIdx.x % kLanes;
    const bool live = first + row < p.c_mid;
    const __half* from =
        static_cast<const __half*>(p.expand_weight) + (live ? first + row : 0) * p.c_in;
    __half* to = s.weight() + row * weight_pitch(p.c_in);
    const int depth = (p.c_in + 31) / 32 * 32;
    for (int c = lane * 8; c < depth; c += kLanes * 8) {
        const bool valid = live && c < p.c_in;
        copy_chunk(to + c, valid ? from + c : from, valid);
    }
    constexpr int kVectors = GROUP / 4;
    if (threadIdx.x < 2 * kVectors) {
        const int c = first + threadIdx.x % kVectors * 4;
        const float* of = threadIdx.x < kVectors ? p.expand_scale : p.expand_shift;
        copy_chunk(reinterpret_cast<__half*>(s.scale() + threadIdx.x * 4),
                   reinterpret_cast<const __half*>(c < p.c_mid ? of + c : of), c < p.c_mid);
    }
}

// The input of TILES times 16 pixels, 32 channels of them: a lane has channels lane % 4 * 8 to + 7
// of pixels lane / 4 and lane / 4 + 8 of each 16. A vector from global memory is its part of two
// matrix instructions, whose order of channels is not that of memory, and the same in both
// operands. Of the last 16 or fewer channels it has lane % 4 * 4 to + 3, for one instruction.
//
// Lanes beyond the last channel read the pixel's first ones: the weights there are zero. It was
// written by the launch before: not ld.global.nc.
template <int TILES>
struct ExpandInput {
    uint4 v[TILES][2];

    __device__ __forceinline__ void load(const __half* const (&pixels)[TILES][2], int channel) {
#pragma unroll
        for (int i = 0; i < 2 * TILES; ++i) {
            v[i / 2][i % 2] = *reinterpret_cast<const uint4*>(pixels[i / 2][i % 2] + channel);
        }
    }

    __device__ __forceinline__ void load_half(const __half* const (&pixels)[TILES][2],
                                              int channel) {
#pragma unroll
        for (int i = 0; i < 2 * TILES; ++i) {
            const uint2 half = *reinterpret_cast<const uint2*>(pixels[i / 2][i % 2] + channel);
            v[i / 2][i % 2].x = half.x;
            v[i / 2][i % 2].y = half.y;
        }
    }
};

// Four registers side by side, as a matrix instruction takes them: the compiler is not to gather
// them anew for each.
struct ExpandFragment {
    unsigned v[4];

    ExpandFragment() = default;

    __device__ __forceinline__ ExpandFragment(unsigned a, unsigned b, unsigned c, unsigned d)
        : v{a, b, c, d} {
        asm volatile("" : "+r"(v[0]), "+r"(v[1]), "+r"(v[2]), "+r"(v[3]));
    }
};

// acc += 32 channels of x times those of the weights: OCTETS rows of them lie 8 * pitch apart.
template <int TILES, int OCTETS>
__device__ __forceinline__ void expand_step(ExpandInput<TILES>& x, const __half* weight, int pitch,
                                            float (&acc)[TILES][OCTETS][4]) {
    ExpandFragment even[TILES], odd[TILES];
#pragma unroll
    for (int i = 0; i < TILES; ++i) {
        const uint4(&v)[2] = x.v[i];
        even[i] = ExpandFragment(v[0].x, v[1].x, v[0].y, v[1].y);
        odd[i] = ExpandFragment(v[0].z, v[1].z, v[0].w, v[1].w);
    }
#pragma unroll
    for (int o = 0; o < OCTETS; ++o) {
        const uint4 b = *reinterpret_cast<const uint4*>(weight + o * 8 * pitch);
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
            multiply(acc[i][o], even[i].v, b.x, b.y);
            multiply(acc[i][o], odd[i].v, b.z, b.w);
        }
    }
}

// Expands OCTETS times 8 channels from `octet` on of TILES times 16 pixels from `first` on.
template <int K, int STRIDE, int GROUP, int TILES, int OCTETS>
__device__ __forceinline__ void expand_tiles(const ExpandDepthwiseHalf<K, GROUP>& s,
                                             const ExpandDepthwiseParams& p, int first, int octet) {
    constexpr int kPitch = ExpandDepthwiseHalf<K, GROUP>::kPitch;
    const int lane = threadIdx.x % kWarpSize;
    const int depth = p.c_in;
    const ExpandPlace& at = s.place();
    const __half* input = static_cast<const __half*>(p.input) + at.input;  // [h_in, w_in, c_in]
    const __half* pixels[TILES][2];
#pragma unroll
    for (int i = 0; i < 2 * TILES; ++i) {
        // Pixels beyond the patch repeat its last one, unused.
        const int pixel = min(first + i * 8 + lane / 4, at.pixels - 1);
        const int row = at.row_of(pixel);
        pixels[i / 2][i % 2] = input + (row * (p.w_in - at.patch_cols) + pixel) * depth;
    }
    float acc[TILES][OCTETS][4];
#pragma unroll
    for (int i = 0; i < TILES * OCTETS * 4; ++i) {
        acc[i / 4 / OCTETS][i / 4 % OCTETS][i % 4] = 0.0f;
    }
    const int pitch = weight_pitch(depth);
    const __half* weight = s.weight() + (octet * 8 + lane / 4) * pitch + lane % 4 * 8;

    // Whole steps of 32 channels, the next one's input under way; then what is left.
    const int whole = depth / 32;
    ExpandInput<TILES> x;
    if (whole > 0) {
        x.load(pixels, lane % 4 * 8);
    }
#pragma unroll 1
    for (int step = 1; step < whole; ++step) {
        ExpandInput<TILES> next;
#pragma unroll
        for (int i = 0; i < 2 * TILES; ++i) {
            pixels[i / 2][i % 2] += 32;
        }
        next.load(pixels, lane % 4 * 8);
        expand_step(x, weight, pitch, acc);
        weight += 32;
        x = next;
    }
    const int left = depth % 32;
    if (whole > 0) {
        expand_step(x, weight, pitch, acc);
        weight += 32;
#pragma unroll
        for (int i = 0; i < 2 * TILES; ++i) {
            pixels[i / 2][i % 2] += 32;
        }
    }
    if (left > 16) {
        x.load(pixels, lane % 4 * 8 < left ? lane % 4 * 8 : 0);
        expand_step(x, weight, pitch, acc);
    } else if (left > 0) {
        x.load_half(pixels, lane % 4 * 4 < left ? lane % 4 * 4 : 0);
        weight -= lane % 4 * 4;
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
            const uint4(&v)[2] = x.v[i];
            const ExpandFragment all(v[0].x, v[1].x, v[0].y, v[1].y);
#pragma unroll
            for (int o = 0; o < OCTETS; ++o) {
                const uint2 b = *reinterpret_cast<const uint2*>(weight + o * 8 * pitch);
                multiply(acc[i][o], all.v, b.x, b.y);
            }
        }
    }
    const int channel = octet * 8 + lane % 4 * 2;
    int to[TILES][2];
#pragma unroll
    for (int i = 0; i < 2 * TILES; ++i) {
        const int pixel = first + i * 8 + lane / 4;
        const int row = at.row_of(pixel);
        const int col = at.first_col + pixel - row * at.patch_cols;
        // At stride 2 the even columns of a row come first.
        const int in_row =
            STRIDE == 1 ? col : col / 2 + (col % 2 == 0 ? 0 : (at.row_pixels + 1) / 2);
        const int slot = (at.first_row + row) * at.row_pixels + in_row;
        to[i / 2][i % 2] = pixel < at.pixels ? slot * kPitch + channel : -1;
    }
    with_activation(p.activation, [&](auto activation) {
        constexpr int32_t kActivation = decltype(activation)::kValue;
#pragma unroll
        for (int o = 0; o < OCTETS; ++o) {
            const float2 scale = load_pair(s.scale() + channel + o * 8);
            const float2 shift = load_pair(s.scale() + GROUP + channel + o * 8);
#pragma unroll
            for (int i = 0; i < 2 * TILES; ++i) {
                const float* sum = &acc[i / 2][o][i % 2 * 2];
                float2 y = {fmaf(sum[0], scale.x, shift.x), fmaf(sum[1], scale.y, shift.y)};
                y.x = activate<__half, kActivation>(y.x);
                y.y = activate<__half, kActivation>(y.y);
                if (to[i / 2][i % 2] >= 0) {
                    store_pair(s.mid() + to[i / 2][i % 2] + o * 8, y);
                }
            }
        }
    });
}

// The patch of one group. Few pixels are shared out by channels too.
template <int K, int STRIDE, int GROUP>
__device__ __forceinline__ void expand(const ExpandDepthwiseHalf<K, GROUP>& s,
                                       const ExpandDepthwiseParams& p) {
    constexpr int kWarps = kExpandDepthwiseThreadsF16 / kWarpSize;
    constexpr int kOctets = GROUP / 8;
    const int warp = threadIdx.x / kWarpSize;
    const int pixels = s.place().pixels;
    if (pixels > (kWarps / 2) * 16) {
#pragma unroll 1
        for (int i = warp * 32; i < pixels; i += kWarps * 32) {
            expand_tiles<K, STRIDE, GROUP, 2, kOctets>(s, p, i, 0);
        }
    } else {
#pragma unroll 1
        for (int i = warp / 2 * 16; i < pixels; i += kWarps / 2 * 16) {
            expand_tiles<K, STRIDE, GROUP, 1, kOctets / 2>(s, p, i, warp % 2 * (kOctets / 2));
        }
    }
}

// The depthwise convolution of the group that begins with channel `first`.
template <int K, int STRIDE, int GROUP>
__device__ __forceinline__ void walk(const ExpandDepthwiseHalf<K, GROUP>& s,
                                     const ExpandDepthwiseParams& p, int first) {
    constexpr int kWarps = kExpandDepthwiseThreadsF16 / kWarpSize;
    const ExpandPlace& at = s.place();
    const DepthwiseMap<K, STRIDE, GROUP> map(s.mid(), at.row_pixels);
    DepthwiseTileOutput out;
    out.output = static_cast<__half*>(p.output) + at.output + first;
    out.w_out = p.w_out;
    out.c = p.c_mid;
    out.rows = at.rows;
    out.cols = at.cols;
    out.channels = min(GROUP, p.c_mid - first);
    out.strip_cols = at.strip_cols;
    out.strip_reciprocal = at.strip_reciprocal;
    with_activation(p.activation, [&](auto activation) {
        depthwise_tile<K, STRIDE, GROUP, kWarps, decltype(activation)::kValue>(
            map, out, static_cast<const __half*>(p.depthwise_weight) + first,
            p.depthwise_scale + first, p.depthwise_shift + first, s.sums());
    });
}

// What becomes of the group's sums.
template <int K, int GROUP>
__device__ __forceinline__ void squeeze(const ExpandDepthwiseHalf<K, GROUP>& s,
                                        const ExpandDepthwiseParams& p, int first) {
    const int tile = blockIdx.z * gridDim.x + blockIdx.x;
    const ExpandPlace& at = s.place();
    float* squeeze = squeeze_of_tile(p.squeeze, tile, p.c_mid, p.c_se, p.slice);
    float* partial_sums = p.partial_sums == nullptr ? nullptr : p.partial_sums + tile * p.c_mid;
    const int pairs = strip_pairs(at.rows, at.strip_cols);
    squeeze_group<GROUP>(s.squeeze(), s.sums(), pairs, first, p.c_mid, p.c_se, p.slice, squeeze,
                         partial_sums);
}

// The squeeze's weights of the group that begins with channel `first`.
template <int K, int GROUP>
__device__ __forceinline__ void copy_squeeze(const ExpandDepthwiseHalf<K, GROUP>& s,
                                             const ExpandDepthwiseParams& p, int first) {
    if (p.squeeze != nullptr) {
        copy_reduce_weight<GROUP>(s.squeeze(), static_cast<const __half*>(p.reduce_weight), p.c_se,
                                  first, p.c_mid);
    }
}

// --- The block ---

template <int K, int STRIDE, int GROUP>
__device__ __forceinline__ void expand_depthwise_f16(const ExpandDepthwiseParams& p,
                                                     unsigned char* shared) {
    const ExpandDepthwiseHalf<K, GROUP> s{shared};
    const int begin = blockIdx.y * p.channels;
    const int end = min(begin + p.channels, p.c_mid);
    if (threadIdx.x == 0) {
        s.place() = expand_place<K, STRIDE, GROUP>(p);
    }
    __syncthreads();

    // Weights do not come from the launch before: the first of them are under way while it ends.
    let_next_launch_begin();
    copy_group(s, p, begin);
    copy_squeeze(s, p, begin);
    commit_copies();
    // The depthwise convolution is padded with zeros, not with what a zero would be expanded to.
    const int bytes = s.place().weight - static_cast<int>(sizeof(ExpandPlace));
    for (int i = threadIdx.x * 16; i < bytes; i += kExpandDepthwiseThreadsF16 * 16) {
        *reinterpret_cast<uint4*>(shared + sizeof(ExpandPlace) + i) = make_uint4(0, 0, 0, 0);
    }
    wait_for_launches_before();
#pragma unroll 1
    for (int first = begin; first < end; first += GROUP) {
        wait_copies<0>();
        __syncthreads();
        if (first != begin) {
            copy_squeeze(s, p, first);
            commit_copies();
        }
        expand<K, STRIDE, GROUP>(s, p);
        wait_copies<0>();
        __syncthreads();
        // The next group's weights arrive during the walk.
        if (first + GROUP < end) {
            copy_group(s, p, first + GROUP);
            commit_copies();
        }
        walk<K, STRIDE, GROUP>(s, p, first);
        if (p.squeeze != nullptr || p.partial_sums != nullptr) {
            __syncthreads();
            squeeze(s, p, first);
        }
    }
}
