// Depthwise convolution, batch-norm, activation, and the squeeze's partial sums.
//
//   y[n, h, w, c] = act(sum_{i,j} x[n, h * stride - pad_top + i, w * stride - pad_left + j, c]
//                                 * weight[i, j, c] * scale[c] + shift[c])
//   partial_sums[n, t, c] = sum of y over the pixels of tile t, before y is rounded to T
//
// Tensors: x [n, h_in, w_in, c] T, weight [k, k, c] T, scale and shift [c] f32,
//          y [n, h_out, w_out, c] T, partial_sums [n, tiles, c] f32 or null. NHWC, T = f16 or f32.
// Requires: c even, pointers aligned to two elements, every tensor below 2^31 elements; checked in
//           src/kernels/depthwise.rs. Pixels outside the input count as zero.
// Launch:  grid (tiles, ceil(c / 64), n), block 256, no dynamic shared memory (2 KB static);
//          tiles = ceil(h_out * w_out / 64).
// Work:    a lane owns two channels and keeps their k*k weights in registers; a warp takes every
//          eighth pixel of the block's 64.
// Traffic: each input pixel is asked for up to (k / stride)^2 times, by neighbouring warps.
// Numerics: products and sums in f32, rounded once. The order of every sum is fixed by the geometry
//          of one image, so the bytes depend neither on the run nor on the batch.
// Source:  the definition. Architectures: sm_75 and later.

#include "common.cuh"

template <typename T, int K, int STRIDE>
__device__ __forceinline__ void depthwise(const DepthwiseParams& p) {
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const int c = blockIdx.y * kDepthwiseTileChannels + 2 * lane;
    const int image = blockIdx.z;
    const int pixels = p.h_out * p.w_out;
    const bool live = c < p.c;  // the last channel tile may be part empty

    float2 sum = {0.0f, 0.0f};
    if (live) {
        const T* weight = static_cast<const T*>(p.weight) + c;  // [k, k, c]
        const int pixels_in = p.h_in * p.w_in;
        const T* input =
            static_cast<const T*>(p.input) + image * pixels_in * p.c + c;  // [h_in, w_in, c]
        T* output = static_cast<T*>(p.output) + image * pixels * p.c + c;  // [h_out, w_out, c]

        float2 taps[K * K];
#pragma unroll
        for (int i = 0; i < K * K; ++i) {
            taps[i] = load_pair(weight + i * p.c);
        }
        const float2 scale = load_pair(p.scale + c);
        const float2 shift = load_pair(p.shift + c);

        for (int i = warp; i < kDepthwiseTilePixels; i += kDepthwiseWarps) {
            const int pixel = blockIdx.x * kDepthwiseTilePixels + i;
            if (pixel >= pixels) {
                break;
            }
            const int top = pixel / p.w_out * STRIDE - p.pad_top;
            const int left = pixel % p.w_out * STRIDE - p.pad_left;
            float2 acc = {0.0f, 0.0f};
#pragma unroll
            for (int y = 0; y < K; ++y) {
#pragma unroll
                for (int x = 0; x < K; ++x) {
                    const int h = top + y;
                    const int w = left + x;
                    if (h >= 0 && h < p.h_in && w >= 0 && w < p.w_in) {
                        const float2 v = load_pair(input + (h * p.w_in + w) * p.c);
                        acc.x = fmaf(v.x, taps[y * K + x].x, acc.x);
                        acc.y = fmaf(v.y, taps[y * K + x].y, acc.y);
                    }
                }
            }
            acc.x = activate(fmaf(acc.x, scale.x, shift.x), p.activation);
            acc.y = activate(fmaf(acc.y, scale.y, shift.y), p.activation);
            store_pair(output + pixel * p.c, acc);
            sum.x += acc.x;
            sum.y += acc.y;
        }
    }

    // The squeeze: the first warp adds up the warps in their order.
    if (p.partial_sums == nullptr) {
        return;
    }
    __shared__ float2 sums[kDepthwiseWarps][kWarpSize];
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && live) {
        for (int i = 1; i < kDepthwiseWarps; ++i) {
            sum.x += sums[i][lane].x;
            sum.y += sums[i][lane].y;
        }
        const int tile = image * gridDim.x + blockIdx.x;
        store_pair(p.partial_sums + tile * p.c + c, sum);  // [n, tiles, c]
    }
}

#define DEPTHWISE(name, T, K, STRIDE)                                        \
    extern "C" __global__ void __launch_bounds__(kDepthwiseWarps* kWarpSize) \
        name(const __grid_constant__ DepthwiseParams p) {                    \
        depthwise<T, K, STRIDE>(p);                                          \
    }

DEPTHWISE(effnet_depthwise_k3s1_f16, __half, 3, 1)
DEPTHWISE(effnet_depthwise_k3s2_f16, __half, 3, 2)
DEPTHWISE(effnet_depthwise_k5s1_f16, __half, 5, 1)
DEPTHWISE(effnet_depthwise_k5s2_f16, __half, 5, 2)
DEPTHWISE(effnet_depthwise_k3s1_f32, float, 3, 1)
DEPTHWISE(effnet_depthwise_k3s2_f32, float, 3, 2)
DEPTHWISE(effnet_depthwise_k5s1_f32, float, 5, 1)
DEPTHWISE(effnet_depthwise_k5s2_f32, float, 5, 2)
