// Squeeze-excite: from the depthwise kernel's partial sums to a gate per image and channel.
//
//   squeeze[c]  = sum_t partial_sums[n, t, c] / pixels
//   reduced[j]  = swish(sum_c squeeze[c] * reduce_weight[j, c] + reduce_bias[j])
//   gate[n, c]  = sigmoid(sum_j reduced[j] * expand_weight[j, c] + expand_bias[c])
//
// Tensors: partial_sums [n, tiles, c] f32, both weights [c_se, c] T, biases f32, gate [n, c] f32.
//          T = f16 or f32.
// Requires: every tensor below 2^31 elements, (c + c_se) * 4 bytes of shared memory within 48 KB;
//           checked in src/kernels/squeeze_excite.rs.
// Launch:  grid n, block 256, dynamic shared (c + c_se) * 4 bytes.
// Work:    a block per image; threads over channels, warps over c_se, threads over channels.
// Traffic: the weights once per image.
// Numerics: f32 throughout; every sum in a fixed order. Exact exp and division.
// Source:  Hu et al., Squeeze-and-Excitation Networks, 2018. Architectures: sm_75 and later.

#include "common.cuh"

template <typename T>
__device__ __forceinline__ void squeeze_excite(const SqueezeExciteParams& p) {
    extern __shared__ float shared[];
    float* squeeze = shared;        // [c]
    float* reduced = shared + p.c;  // [c_se]
    const int image = blockIdx.x;
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const T* reduce_weight = static_cast<const T*>(p.reduce_weight);     // [c_se, c]
    const T* expand_weight = static_cast<const T*>(p.expand_weight);     // [c_se, c]
    const float* partial_sums = p.partial_sums + image * p.tiles * p.c;  // [tiles, c]

    // Squeeze.
    for (int c = threadIdx.x; c < p.c; c += kSqueezeExciteWarps * kWarpSize) {
        float sum = 0.0f;
        for (int t = 0; t < p.tiles; ++t) {
            sum += partial_sums[t * p.c + c];
        }
        squeeze[c] = sum / static_cast<float>(p.pixels);
    }
    __syncthreads();

    // Reduce: a warp per row.
    for (int j = warp; j < p.c_se; j += kSqueezeExciteWarps) {
        float sum = 0.0f;
        for (int c = lane; c < p.c; c += kWarpSize) {
            sum = fmaf(squeeze[c], to_float(reduce_weight[j * p.c + c]), sum);
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            reduced[j] = activate(sum + p.reduce_bias[j], kActivationSwish);
        }
    }
    __syncthreads();

    // Expand, and the gate.
    for (int c = threadIdx.x; c < p.c; c += kSqueezeExciteWarps * kWarpSize) {
        float sum = p.expand_bias[c];
        for (int j = 0; j < p.c_se; ++j) {
            sum = fmaf(reduced[j], to_float(expand_weight[j * p.c + c]), sum);
        }
        p.gate[image * p.c + c] = sigmoid(sum);
    }
}

extern "C" __global__ void __launch_bounds__(kSqueezeExciteWarps* kWarpSize)
    effnet_squeeze_excite_f16(const __grid_constant__ SqueezeExciteParams p) {
    squeeze_excite<__half>(p);
}

extern "C" __global__ void __launch_bounds__(kSqueezeExciteWarps* kWarpSize)
    effnet_squeeze_excite_f32(const __grid_constant__ SqueezeExciteParams p) {
    squeeze_excite<float>(p);
}
