// Depthwise convolution, batch-norm, activation, and the squeeze's partial sums.
//
//   y[n, h, w, c] = act(sum_{i,j} x[n, h * stride - pad_top + i, w * stride - pad_left + j, c]
//                                 * weight[i, j, c] * scale[c] + shift[c])
//   partial_sums[n, t, c] = sum of y over the pixels of tile t, before y is rounded to T
//
// Tensors: x [n, h_in, w_in, c] T, weight [k, k, c] T, scale and shift [c] f32 or both null,
//          y [n, h_out, w_out, c] T, partial_sums [n, tiles, c] f32 or null. NHWC, T = f16 or f32.
// Requires: c a multiple of 8, pointers aligned to 16 bytes, every tensor below 2^31 elements;
//           checked in src/kernels/depthwise.rs. Pixels outside the input count as zero; weights
//           must be finite.
// Launch:  grid (tiles, ceil(c / 32) for f16, ceil(c / 16) for f32, n), block 64, no dynamic shared
//          memory (64 or 128 bytes static). A strip is four neighbouring pixels of an output row,
//          the last of a row may be part empty; tiles = ceil(h_out * ceil(w_out / 4) / 16).
// Work:    a thread makes one strip of one 16-byte vector of channels: four lanes side by side in
//          the channels, sixteen strips.
// Traffic: a thread loads each row of input below its strip once, for all its pixels, and the taps
//          of that row; windows that overlap between rows are loaded again, by neighbouring strips.
// Numerics: products and sums in f32, rounded once. The order of every sum is fixed by the geometry
//          of one image, so the bytes depend neither on the run nor on the batch.
// Source:  the definition. Architectures: sm_75 and later.

#include "tile_depthwise.cuh"

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

#define DEPTHWISE(name, T, K, STRIDE)                                                   \
    extern "C" __global__ void __launch_bounds__(kDepthwiseLanes* kDepthwiseTileStrips) \
        name(const __grid_constant__ DepthwiseParams p) {                               \
        depthwise<T, K, STRIDE>(p);                                                     \
    }

DEPTHWISE(effnet_depthwise_k3s1_f16, __half, 3, 1)
DEPTHWISE(effnet_depthwise_k3s2_f16, __half, 3, 2)
DEPTHWISE(effnet_depthwise_k5s1_f16, __half, 5, 1)
DEPTHWISE(effnet_depthwise_k5s2_f16, __half, 5, 2)
DEPTHWISE(effnet_depthwise_k3s1_f32, float, 3, 1)
DEPTHWISE(effnet_depthwise_k3s2_f32, float, 3, 2)
DEPTHWISE(effnet_depthwise_k5s1_f32, float, 5, 1)
DEPTHWISE(effnet_depthwise_k5s2_f32, float, 5, 2)
