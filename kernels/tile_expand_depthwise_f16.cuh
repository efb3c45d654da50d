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
    int pixels_at;        // bytes of shared memory before `pixels`, and so on
    int mid;
    int weight;
    int sums;
    int reduce_weight;
    int pairs;                // of strips of the tile
    int pairs_of_whole_tile;  // as if none of it were outside the image

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
    // [strips of a tile, in pairs]
    __device__ __forceinline__ DepthwiseStrip* strips() const {
        return reinterpret_cast<DepthwiseStrip*>(base + sizeof(ExpandPlace));
    }
    // [pixels of the patch in the image, to whole 32]: where each lies in the input, in elements from
    // the first
    __device__ __forceinline__ unsigned* inputs() const {
        return reinterpret_cast<unsigned*>(base + sizeof(ExpandPlace) +
                                           kExpandDepthwiseStrips * 16);
    }
    // [the same]: where each lies, in bytes of `mid`
    __device__ __forceinline__ uint16_t* pixels() const {
        return reinterpret_cast<uint16_t*>(base + place().pixels_at);
    }
    // [patch, group], pixels kPitch apart
    __device__ __forceinline__ __half* mid() const {
        return reinterpret_cast<__half*>(base + place().mid);
    }
    // [group], then the shift; then the weights, [group, c_in] in an order of their own, see
    // weight_row() and copy_group(), rows weight_pitch() apart
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
    // Of the depthwise convolution: [group], then the shift; then the taps, [K, K, group]
    __device__ __forceinline__ float* depthwise_scale() const {
        return sums() + place().pairs_of_whole_tile * GROUP;
    }
    __device__ __forceinline__ __half* taps() const {
        return reinterpret_cast<__half*>(depthwise_scale() + 2 * GROUP);
    }
    __device__ __forceinline__ SqueezeShared<GROUP> squeeze() const {
        float* totals = reinterpret_cast<float*>(taps() + K * K * GROUP);
        return {totals, totals + GROUP, reinterpret_cast<__half*>(base + place().reduce_weight)};
    }
};

// Steps of 32 channels.
__device__ __forceinline__ int expand_steps(int c_in) {
    return static_cast<int>((static_cast<unsigned>(c_in) + 31) / 32);
}

// An odd number of 16 bytes: the rows of a matrix then touch all banks.
__device__ __forceinline__ int weight_pitch(int c_in) {
    return expand_steps(c_in) * 32 + 8;
}

// The row of weights of a channel: of 16, first the even ones, then the odd ones. Rows l and l + 8
// of a matrix are then neighbours, and so are a lane's two sums of a pixel.
__device__ __forceinline__ int weight_row(int channel) {
    return channel / 16 * 16 + channel % 2 * 8 + channel % 16 / 2;
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

    // Whole strips, which may reach beyond the tile.
    const int patch = ((strip_rows * kDepthwiseStripRows - 1) * STRIDE + K) * at.row_pixels;
    using Shared = ExpandDepthwiseHalf<K, GROUP>;
    at.pairs = strip_pairs(at.rows, (at.cols + kDepthwiseStripCols - 1) / kDepthwiseStripCols);
    at.pairs_of_whole_tile = (strip_rows * strip_cols + 1) / 2;
    at.pixels_at = sizeof(ExpandPlace) + kExpandDepthwiseStrips * 16 + (patch + 31) / 32 * 128;
    at.mid = at.pixels_at + (patch + 31) / 32 * 64;
    at.weight = at.mid + patch * Shared::kPitch * 2;
    at.sums = at.weight + GROUP * (8 + weight_pitch(p.c_in) * 2);
    at.reduce_weight = at.sums + at.pairs_of_whole_tile * GROUP * 4 + GROUP * (8 + K * K * 2) +
                       (GROUP + part_values(p.c_se)) * 4;
    return at;
}

// Batch-norm of the group that begins with channel `first`: its scale, then its shift, zeros beyond c.
template <int GROUP>
__device__ __forceinline__ void copy_factors(float* to, const float* scale, const float* shift,
                                             int first, int c) {
    constexpr int kVectors = GROUP / 4;
    const int thread = thread_anew();
    if (thread < 2 * kVectors) {
        const int at = first + thread % kVectors * 4;
        const float* of = thread < kVectors ? scale : shift;
        copy_chunk(reinterpret_cast<__half*>(to + thread * 4),
                   reinterpret_cast<const __half*>(at < c ? of + at : of), at < c);
    }
}

// The expand weights and batch-norm of the group that begins with channel `first`: zeros beyond
// c_mid and c_in.
//
// Of 32 channels of the input lane q = lane % 4 has 8 q to 8 q + 7, as pairs 4 q to 4 q + 3. Pair
// 4 q + i is its part of fragment i of two matrix instructions, so pair 4 q + i of the weights comes
// fourth i, place q.
template <int K, int GROUP>
__device__ __forceinline__ void copy_group(const ExpandDepthwiseHalf<K, GROUP>& s,
                                           const ExpandDepthwiseParams& p, int first) {
    constexpr int kPairs = 16;  // of 32 channels: a lane each
    constexpr int kRows = kExpandDepthwiseThreadsF16 / kPairs;
    static_assert(GROUP % kRows == 0 && kRows % 16 == 0, "rows of a thread keep their order");
    const int thread = thread_anew();
    const int row = thread / kPairs;
    const int pair = thread % kPairs;
    const int pitch = weight_pitch(p.c_in);
    const auto* weight = static_cast<const __half*>(p.expand_weight);
    unsigned from = (first + row) * p.c_in + pair * 2;
    const unsigned end = (first + row + 1) * p.c_in;
    unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(
        s.weight() + weight_row(row) * pitch + pair % 4 * 8 + pair / 4 * 2));
    // A whole number of steps: the last pairs may lie beyond the row.
    const unsigned whole = from + expand_steps(p.c_in) * 32;
#pragma unroll 1
    for (; from != whole; from += 32) {
#pragma unroll
        for (int i = 0; i < GROUP; i += kRows) {
            const bool valid = from < end && first + row + i < p.c_mid;
            const unsigned at = valid ? from + i * p.c_in : 0;
            copy_word(to + i * pitch * 2, weight + at, valid);
        }
        to += 64;
    }
    copy_factors<GROUP>(s.scale(), p.expand_scale, p.expand_shift, first, p.c_mid);
}

// The input of TILES times 8 pixels, 32 channels of them: lane l has channels l % 4 * 8 to + 7 of
// pixel l / 4 of each 8. A vector from global memory is its part of two matrix instructions, whose
// order of channels is that of copy_group(). It was written by the launch before: not
// ld.global.nc.
template <int TILES>
struct ExpandInput {
    uint4 v[TILES];

    // This lane's channels, which lie `channel` behind `pixels`.
    __device__ __forceinline__ void load(const __half* const (&pixels)[TILES], int channel) {
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
            v[i] = *reinterpret_cast<const uint4*>(pixels[i] + channel);
        }
    }
};

// acc += the weights of 16 BLOCKS channels times x. `weight` is this lane's row of the first matrix,
// in shared memory; blocks lie `block_bytes` apart.
template <int TILES, int BLOCKS>
__device__ __forceinline__ void expand_step(const ExpandInput<TILES>& x, unsigned weight,
                                            int block_bytes, float (&acc)[TILES][BLOCKS][4]) {
#pragma unroll
    for (int block = 0; block < BLOCKS; ++block) {
        unsigned a[2][4];
        load_matrices(a[0], weight + block * block_bytes);
        load_matrices(a[1], weight + block * block_bytes + 32);
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
            multiply(acc[i][block], a[0], x.v[i].x, x.v[i].y);
        }
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
            multiply(acc[i][block], a[1], x.v[i].z, x.v[i].w);
        }
    }
}

// Expands TILES times 8 pixels from `first` on, a multiple of 8.
template <int K, int STRIDE, int GROUP, int TILES>
__device__ __forceinline__ void expand_tiles(const ExpandDepthwiseHalf<K, GROUP>& s,
                                             const ExpandDepthwiseParams& p, int first) {
    constexpr int kBlocks = GROUP / 16;
    const int lane = thread_anew() % kWarpSize;
    const int depth = p.c_in;
    const ExpandPlace& at = s.place();
    // In the last step, lanes beyond the last channel read the step's first: the weights there are
    // zero.
    int steps = expand_steps(depth);
    const int last = lane % 4 * 8 < depth - (steps - 1) * 32 ? 0 : lane % 4 * -8;
    const int first_channel = lane % 4 * 8 + (steps == 1 ? last : 0);
    // Opaque to the compiler, which would otherwise add its parts to each pixel's place.
    const __half* input = static_cast<const __half*>(p.input) + at.input + first_channel;
    asm volatile("" : "+l"(input));
    const __half* pixels[TILES];  // at the lane's channels of a step
    const unsigned* inputs = s.inputs() + first + lane / 4;
#pragma unroll
    for (int i = 0; i < TILES; ++i) {
        pixels[i] = input + inputs[i * 8];
    }
    float acc[TILES][kBlocks][4];
#pragma unroll
    for (int i = 0; i < TILES * kBlocks * 4; ++i) {
        acc[i / 4 / kBlocks][i / 4 % kBlocks][i % 4] = 0.0f;
    }
    // Matrices: rows 0 to 7 and 8 to 15 of the first 8 channels of a k, then of the others.
    const int block_bytes = 16 * 2 * weight_pitch(depth);
    unsigned weight = static_cast<unsigned>(
        __cvta_generic_to_shared(s.weight() + lane % 16 * weight_pitch(depth) + lane / 16 * 8));

    // The next step's input is under way.
    const auto advance = [&](int channels) {
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
            pixels[i] += channels;
        }
    };
    ExpandInput<TILES> x;
    x.load(pixels, 0);
#pragma unroll 1
    for (; steps > 2; steps -= 2) {
        ExpandInput<TILES> next;
        next.load(pixels, 32);
        expand_step(x, weight, block_bytes, acc);
        advance(64 + (steps == 3 ? last : 0));
        x.load(pixels, 0);
        expand_step(next, weight + 64, block_bytes, acc);
        weight += 128;
    }
    // Once at most. A loop all the same: as a condition it would become predicates, and its products
    // would be issued in vain where it does not hold.
#pragma unroll 1
    for (; steps == 2; --steps) {
        ExpandInput<TILES> next;
        advance(32 + last);
        next.load(pixels, 0);
        expand_step(x, weight, block_bytes, acc);
        x = next;
        weight += 64;
        asm volatile("" : "+r"(steps));
    }
    expand_step(x, weight, block_bytes, acc);

    // A lane's sums: of pixels lane % 4 * 2 and the next, channels lane / 4 * 2 and the next. What
    // is known of the pixels is not to wait in registers during the sums.
    int pixel = first + lane % 4 * 2;
    asm volatile("" : "+r"(pixel));
    const int pixels_left = at.pixels - pixel;
    const float* factors = s.scale() + lane / 4 * 2;
    char* mid = reinterpret_cast<char*>(s.mid() + lane / 4 * 2);
    __half* to[TILES][2];
#pragma unroll
    for (int i = 0; i < TILES; ++i) {
        const unsigned pair = *reinterpret_cast<const unsigned*>(s.pixels() + pixel + i * 8);
        to[i][0] = reinterpret_cast<__half*>(mid + (pair & 0xffffu));
        to[i][1] = reinterpret_cast<__half*>(mid + (pair >> 16));
    }
    with_activation(p.activation, [&](auto activation) {
        constexpr int32_t kActivation = decltype(activation)::kValue;
#pragma unroll
        for (int block = 0; block < kBlocks; ++block) {
            constexpr float kScale = kActivationScale<kActivation>;
            float2 scale = load_pair(factors + block * 16);
            float2 shift = load_pair(factors + GROUP + block * 16);
            scale = {scale.x * kScale, scale.y * kScale};
            shift = {shift.x * kScale, shift.y * kScale};
#pragma unroll
            for (int i = 0; i < 2 * TILES; ++i) {
                const float* sum = &acc[i / 2][block][i % 2];
                float2 y = {fmaf(sum[0], scale.x, shift.x), fmaf(sum[2], scale.y, shift.y)};
                y.x = activate_scaled<kActivation>(y.x);
                y.y = activate_scaled<kActivation>(y.y);
                if (i / 2 * 8 + i % 2 < pixels_left) {
                    store_pair(to[i / 2][i % 2] + block * 16, y);
                }
            }
        }
    });
}

// The patch of one group.
template <int K, int STRIDE, int GROUP>
__device__ __forceinline__ void expand(const ExpandDepthwiseHalf<K, GROUP>& s,
                                       const ExpandDepthwiseParams& p) {
    constexpr int kWarps = kExpandDepthwiseThreadsF16 / kWarpSize;
    // Of small maps: where channels are many, fewer warps read the weights; where they are few, more
    // warps have less to do.
    constexpr int kFewTiles = GROUP == 32 ? 2 : 1;
    const int warp = threadIdx.x / kWarpSize;
    const int pixels = s.place().pixels;
    if (pixels <= kWarps * 8) {
        if (warp * kFewTiles * 8 < pixels) {
            expand_tiles<K, STRIDE, GROUP, kFewTiles>(s, p, warp * kFewTiles * 8);
        }
        return;
    }
#pragma unroll 1
    for (int i = warp * 32; i < pixels; i += kWarps * 32) {
        expand_tiles<K, STRIDE, GROUP, 4>(s, p, i);
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
    out.channels = min(GROUP, p.c_mid - first);
    const int octet = octet_of_warp<GROUP>() * kOctet;
    DepthwiseOctet<K> of;
    of.template load<true>(s.taps() + octet, s.depthwise_scale() + octet,
                           s.depthwise_scale() + GROUP + octet, GROUP);
    with_activation(p.activation, [&](auto activation) {
        constexpr int32_t kActivation = decltype(activation)::kValue;
        DepthwiseOctet<K> unscaled = of;
        unscaled.factor.x *= kActivationUnscale<kActivation>;
        unscaled.factor.y *= kActivationUnscale<kActivation>;
        depthwise_tile<K, STRIDE, GROUP, kWarps, kActivation>(map, s.strips(), at.pairs, out,
                                                              unscaled, s.sums());
    });
}

// What becomes of the group's sums.
template <int K, int GROUP>
__device__ __forceinline__ void squeeze(const ExpandDepthwiseHalf<K, GROUP>& s,
                                        const ExpandDepthwiseParams& p, int first) {
    const int tile = blockIdx.z * gridDim.x + blockIdx.x;
    const ExpandPlace& at = s.place();
    squeeze_group<GROUP>(s.squeeze(), s.sums(), at.pairs, first, p.c_mid, p.c_se, p.slice, tile,
                         p.squeeze, p.partial_sums);
}

// What the depthwise convolution and the squeeze of the group that begins with channel `first` are
// multiplied by: zeros beyond c_mid.
template <int K, int GROUP>
__device__ __forceinline__ void copy_depthwise(const ExpandDepthwiseHalf<K, GROUP>& s,
                                               const ExpandDepthwiseParams& p, int first) {
    constexpr int kTapVectors = GROUP / 8;
    const __half* taps = static_cast<const __half*>(p.depthwise_weight) + first;
    __half* to = s.taps();
#pragma unroll 1
    for (int i = thread_anew(); i < K * K * kTapVectors; i += kExpandDepthwiseThreadsF16) {
        const int c = i % kTapVectors * 8;
        const bool valid = first + c < p.c_mid;
        copy_chunk(to + i * 8, valid ? taps + i / kTapVectors * p.c_mid + c : taps, valid);
    }
    copy_factors<GROUP>(s.depthwise_scale(), p.depthwise_scale, p.depthwise_shift, first, p.c_mid);
    if (p.squeeze != nullptr) {
        copy_reduce_weight<GROUP>(s.squeeze(), static_cast<const __half*>(p.reduce_weight), p.c_se,
                                  first, p.c_mid);
    }
}

// Where the pixels of the patch lie that are in the image, and in the input.
template <int K, int STRIDE, int GROUP>
__device__ __forceinline__ void place_pixels(const ExpandDepthwiseHalf<K, GROUP>& s,
                                             const ExpandDepthwiseParams& p) {
    const ExpandPlace at = s.place();
    unsigned* from = s.inputs();
    uint16_t* to = s.pixels();
#pragma unroll 1
    for (int i = threadIdx.x; i < (at.pixels + 31) / 32 * 32; i += kExpandDepthwiseThreadsF16) {
        // Pixels beyond the last repeat it: they are read, and not used.
        const int i_live = min(i, at.pixels - 1);
        const int row = at.row_of(i_live);
        const int in_patch_row = i_live - row * at.patch_cols;
        from[i] = static_cast<unsigned>(row * p.w_in + in_patch_row) * p.c_in;
        const int col = at.first_col + in_patch_row;
        // At stride 2 the even columns of a row come first.
        const int in_row =
            STRIDE == 1 ? col : col / 2 + (col % 2 == 0 ? 0 : (at.row_pixels + 1) / 2);
        const int pixel = (at.first_row + row) * at.row_pixels + in_row;
        to[i] = static_cast<uint16_t>(pixel * (ExpandDepthwiseHalf<K, GROUP>::kPitch * 2));
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
    copy_depthwise(s, p, begin);
    commit_copies();
    const ExpandPlace& at = s.place();
    place_pixels<K, STRIDE, GROUP>(s, p);
    const DepthwiseMap<K, STRIDE, GROUP> map(s.mid(), at.row_pixels);
    place_strips(s.strips(), at.rows, at.cols, map, p.w_out * p.c_mid, p.c_mid);
    // The depthwise convolution is padded with zeros, not with what a zero would be expanded to.
    const int end_of_mid = at.weight;
#pragma unroll 1
    for (int i = at.mid + threadIdx.x * 16; i < end_of_mid; i += kExpandDepthwiseThreadsF16 * 16) {
        *reinterpret_cast<uint4*>(shared + i) = make_uint4(0, 0, 0, 0);
    }
    wait_for_launches_before();
#pragma unroll 1
    for (int first = begin; first < end; first += GROUP) {
        wait_copies<0>();
        __syncthreads();
        if (first != begin) {
            copy_depthwise(s, p, first);
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
