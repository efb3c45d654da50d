// Depthwise convolution, batch-norm, activation, and what the squeeze needs of the output.
//
//   y[n, h, w, c] = act(sum_{i,j} x[n, h * stride - pad_top + i, w * stride - pad_left + j, c]
//                                 * weight[i, j, c] * scale[c] + shift[c])
//   partial_sums[n, t, c] = sum of y over the pixels of tile t, before y is rounded to T
//   squeeze[n, t, s, j] = sum over channels c of slice s of partial_sums[n, t, c]
//                         * reduce_weight[j, c]; f16 only, see squeeze.cuh
//
// Tensors: x [n, h_in, w_in, c] T, weight [k, k, c] T, scale and shift [c] f32 or both null,
//          y [n, h_out, w_out, c] T, partial_sums [n, tiles, c] f32 or null, reduce_weight
//          [c_se, c] T, squeeze [n, tiles, slices, c_se rounded up to 4] f32 or null. NHWC,
//          T = f16 or f32.
// Requires: c a multiple of 8, pointers aligned to 16 bytes, every tensor below 2^31 elements;
//           checked in src/kernels/depthwise.rs. Pixels outside the input count as zero; weights
//           must be finite.
// Launch:  f16: grid (tiles, ceil(c / block_channels), n), block 256, dynamic shared memory for the
//          patch under a tile, where its strips lie, sums, and c_se rows of reducing weights, up to
//          64 KB; a block's channels are 32, or a slice where that has more.
//          f32: grid (tiles, ceil(c / 16), n), block 64, 64 bytes of static shared memory; a strip
//          is four neighbouring pixels of an output row, the last of a row may be part empty;
//          tiles = ceil(h_out * ceil(w_out / 4) / 16).
// Work:    f16: a block copies the patch of 32 channels (cp.async); a warp makes an octet of them
//          of pairs of strips of 4 x 8 outputs on tensor cores (tile_depthwise_f16.cuh).
//          f32: a thread makes one strip of one 16-byte vector of channels: four lanes side by side
//          in the channels, sixteen strips.
// Traffic: f16: the input once for each tile, halo included; the taps once a block.
//          f32: a thread loads each row of input below its strip once, for all its pixels, and the
//          taps of that row; windows that overlap between rows are loaded again, by neighbours.
// Numerics: products and sums in f32, rounded once. The order of every sum is fixed by the geometry
//          of one image, so the bytes depend neither on the run nor on the batch. An infinity in x
//          makes NaN of its octet of channels in f16: see tile_depthwise_f16.cuh.
// Source:  the definition. Architectures: sm_75 and later; sm_75 copies through registers and
//          multiplies by pairs of m16n8k8.

#include "squeeze.cuh"
#include "tile_depthwise.cuh"
#include "tile_depthwise_f16.cuh"

// --- f32 ---

template <typename T, int K, int STRIDE>
__device__ __forceinline__ void depthwise(const DepthwiseParams& p) {
    constexpr int kV = kVector<T>;
    constexpr int kP = kDepthwiseStripPixels;
    let_next_launch_begin();
    wait_for_launches_before();
    const int lane = threadIdx.x % kDepthwiseLanes;
    const int c = (blockIdx.y * kDepthwiseLanes + lane) * kV;
    const int image = blockIdx.z;
    const int strips_of_row = (p.w_out + kP - 1) / kP;
    const int strip = blockIdx.x * kDepthwiseTileStrips + threadIdx.x / kDepthwiseLanes;
    const int h = strip / strips_of_row;
    const int w = strip % strips_of_row * kP;

    float sum[kV] = {};
    // The last tile and the last group of channels may be part empty.
    if (h < p.h_out && c < p.c) {
        const T* input =
            static_cast<const T*>(p.input) + image * p.h_in * p.w_in * p.c + c;  // [h_in, w_in, c]
        const T* weight = static_cast<const T*>(p.weight) + c;                   // [k, k, c]
        float acc[kP][kV];
        depthwise_strip<T, K, STRIDE>(input, weight, p.h_in, p.w_in, p.c, h * STRIDE - p.pad_top,
                                      w * STRIDE - p.pad_left, acc);

        if (p.scale != nullptr) {
            float scale[kV], shift[kV];
            load_floats(p.scale + c, scale);
            load_floats(p.shift + c, shift);
#pragma unroll
            for (int i = 0; i < kP; ++i) {
#pragma unroll
                for (int j = 0; j < kV; ++j) {
                    acc[i][j] = fmaf(acc[i][j], scale[j], shift[j]);
                }
            }
        }

        T* output = static_cast<T*>(p.output) + ((image * p.h_out + h) * p.w_out + w) * p.c +
                    c;  // [pixels of the strip, c]
        with_activation(p.activation, [&](auto activation) {
#pragma unroll
            for (int i = 0; i < kP; ++i) {
                if (w + i < p.w_out) {
#pragma unroll
                    for (int j = 0; j < kV; ++j) {
                        acc[i][j] = activate<T, decltype(activation)::kValue>(acc[i][j]);
                        sum[j] += acc[i][j];
                    }
                    store_vector(output + i * p.c, acc[i]);
                }
            }
        });
    }

    // The squeeze: the strips of a warp in a tree, then the second warp's sum on the first's.
    static_assert(kDepthwiseLanes * kDepthwiseTileStrips == 2 * kWarpSize, "two warps");
    if (p.partial_sums == nullptr) {
        return;
    }
#pragma unroll
    for (int offset = kDepthwiseLanes; offset < kWarpSize; offset *= 2) {
#pragma unroll
        for (int j = 0; j < kV; ++j) {
            sum[j] += __shfl_xor_sync(kFullWarp, sum[j], offset);
        }
    }
    __shared__ __align__(16) float second[kDepthwiseLanes][kV];
    if (threadIdx.x >= kWarpSize && threadIdx.x < kWarpSize + kDepthwiseLanes) {
        store_floats(second[lane], sum);
    }
    __syncthreads();
    if (threadIdx.x < kDepthwiseLanes && c < p.c) {
        float other[kV];
        load_floats(second[lane], other);
#pragma unroll
        for (int j = 0; j < kV; ++j) {
            sum[j] += other[j];
        }
        const int tile = image * gridDim.x + blockIdx.x;
        store_floats(p.partial_sums + tile * p.c + c, sum);  // [n, tiles, c]
    }
}

// --- f16 ---

// The shared memory of a block, in this order; src/kernels/depthwise.rs adds it up.
template <int K, int STRIDE>
__device__ __forceinline__ void depthwise_f16(const DepthwiseParams& p, char* shared) {
    constexpr int kGroup = kDepthwiseGroup;
    constexpr int kWarps = kDepthwiseWarps;
    constexpr int kVectors = kGroup / 8;
    using Map = DepthwiseMap<K, STRIDE, kGroup>;

    // The tile: its output pixels, and the patch of input under whole strips.
    const unsigned tile_rows = p.tile_rows;
    const unsigned tiles_down = (p.h_out + tile_rows - 1) / tile_rows;
    const unsigned tile_col = blockIdx.x / tiles_down;
    const int tile_w = static_cast<int>(tile_col) * p.tile_cols;
    const int tile_h = static_cast<int>((blockIdx.x - tile_col * tiles_down) * tile_rows);
    const int rows = min(p.tile_rows, p.h_out - tile_h);
    const int cols = min(p.tile_cols, p.w_out - tile_w);
    const int strip_cols = (p.tile_cols + kDepthwiseStripCols - 1) / kDepthwiseStripCols;
    const int patch_rows =
        ((p.tile_rows + kDepthwiseStripRows - 1) / kDepthwiseStripRows * kDepthwiseStripRows - 1) *
            STRIDE +
        K;
    const int patch_cols = (strip_cols * kDepthwiseStripCols - 1) * STRIDE + K;
    const int pairs = strip_pairs(p.tile_rows, strip_cols);

    __half* patch = reinterpret_cast<__half*>(shared);
    const Map map(patch, patch_cols);
    auto* strips =
        reinterpret_cast<DepthwiseStrip*>(shared + patch_rows * patch_cols * Map::kPixelBytes);
    float* sums = reinterpret_cast<float*>(strips + 2 * pairs);
    SqueezeShared<kGroup> s;
    s.totals = sums + pairs * kGroup;
    s.weight = reinterpret_cast<__half*>(s.totals + kGroup);
    s.chains = reinterpret_cast<float*>(s.weight + p.c_se * SqueezeShared<kGroup>::kPitch);

    const int image = blockIdx.z;
    const int top = tile_h * STRIDE - p.pad_top;
    const int left = tile_w * STRIDE - p.pad_left;
    const __half* input =
        static_cast<const __half*>(p.input) + image * p.h_in * p.w_in * p.c;  // [h_in, w_in, c]
    const __half* weight = static_cast<const __half*>(p.weight);              // [K, K, c]
    const __half* reduce = static_cast<const __half*>(p.reduce_weight);       // [c_se, c]

    const int begin = static_cast<int>(blockIdx.y) * p.block_channels;
    const int end = min(begin + p.block_channels, p.c);
    const auto load_octet = [&](DepthwiseOctet<K>& of, int first) {
        const int c = first + octet_of_warp<kGroup>() * kOctet;
        if (c < end) {
            of.template load<false>(weight + c, p.scale == nullptr ? nullptr : p.scale + c,
                                    p.shift + c, p.c);
        }
    };
    DepthwiseOctet<K> of;
    let_next_launch_begin();
    load_octet(of, begin);
    if (p.squeeze != nullptr) {
        copy_reduce_weight(s, reduce, p.c_se, begin, p.c);
    }
    place_strips(strips, rows, cols, map, p.w_out * p.c, p.c);
    const int live_pairs =
        strip_pairs(rows, (cols + kDepthwiseStripCols - 1) / kDepthwiseStripCols);
    wait_for_launches_before();
    for (int first = begin; first < end; first += kGroup) {
        if (first != begin) {
            __syncthreads();  // the group before has been read
            load_octet(of, first);
            if (p.squeeze != nullptr) {
                copy_reduce_weight(s, reduce, p.c_se, first, p.c);
            }
        }
        // A warp copies whole rows of the patch, some pixels at a time.
        constexpr int kPixels = kWarpSize / kVectors;
        static_assert(kPixels % STRIDE == 0, "a lane keeps to even columns, or to odd ones");
        const int lane = threadIdx.x % kWarpSize;
        const int channel = first + lane % kVectors * 8;
        const int lane_col = lane / kVectors;
        const unsigned lane_bytes = lane % kVectors * 16 + map.column(lane_col);
        for (int row = threadIdx.x / kWarpSize; row < patch_rows; row += kWarps) {
            const int h = top + row;
            const bool has_row =
                static_cast<unsigned>(h) < static_cast<unsigned>(p.h_in) && channel < p.c;
            int at = (h * p.w_in + left + lane_col) * p.c + channel;
            unsigned to = row * map.row_bytes + lane_bytes;
            for (int col = lane_col; col < patch_cols; col += kPixels) {
                const int w = left + col;
                const bool valid =
                    has_row && static_cast<unsigned>(w) < static_cast<unsigned>(p.w_in);
                copy_chunk(reinterpret_cast<__half*>(shared + to), valid ? input + at : input,
                           valid);
                at += kPixels * p.c;
                to += kPixels / STRIDE * Map::kPixelBytes;
            }
        }
        commit_copies();
        wait_copies<0>();
        __syncthreads();

        DepthwiseTileOutput out;
        out.output = static_cast<__half*>(p.output) +
                     ((image * p.h_out + tile_h) * p.w_out + tile_w) * p.c + first;
        out.w_out = p.w_out;
        out.c = p.c;
        out.channels = min(kGroup, end - first);
        const bool is_summed = p.squeeze != nullptr || p.partial_sums != nullptr;
        with_activation(p.activation, [&](auto activation) {
            depthwise_tile<K, STRIDE, kGroup, kWarps, decltype(activation)::kValue>(
                map, strips, live_pairs, out, of, is_summed ? sums : nullptr);
        });
        if (is_summed) {
            __syncthreads();
            const int tile = blockIdx.z * gridDim.x + blockIdx.x;
            squeeze_group(s, sums, live_pairs, first, p.c, p.c_se, p.slice, tile, p.squeeze,
                          p.partial_sums);
        }
    }
}

#define DEPTHWISE_F16(name, K, STRIDE)                                          \
    extern "C" __global__ void __launch_bounds__(kDepthwiseWarps* kWarpSize,    \
                                                 STRIDE == 1 && K == 3 ? 3 : 2) \
        name(const __grid_constant__ DepthwiseParams p) {                       \
        extern __shared__ __align__(128) char shared[];                         \
        depthwise_f16<K, STRIDE>(p, shared);                                    \
    }

DEPTHWISE_F16(effnet_depthwise_k3s1_f16, 3, 1)
DEPTHWISE_F16(effnet_depthwise_k3s2_f16, 3, 2)
DEPTHWISE_F16(effnet_depthwise_k5s1_f16, 5, 1)
DEPTHWISE_F16(effnet_depthwise_k5s2_f16, 5, 2)

#define DEPTHWISE(name, T, K, STRIDE)                                                   \
    extern "C" __global__ void __launch_bounds__(kDepthwiseLanes* kDepthwiseTileStrips) \
        name(const __grid_constant__ DepthwiseParams p) {                               \
        depthwise<T, K, STRIDE>(p);                                                     \
    }

DEPTHWISE(effnet_depthwise_k3s1_f32, float, 3, 1)
DEPTHWISE(effnet_depthwise_k3s2_f32, float, 3, 2)
DEPTHWISE(effnet_depthwise_k5s1_f32, float, 5, 1)
DEPTHWISE(effnet_depthwise_k5s2_f32, float, 5, 2)
