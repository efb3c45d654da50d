// What all kernels share: activations, pairs of channels, and sums in a fixed order.
#pragma once

#include <cuda_fp16.h>

#include "params.cuh"

constexpr int kWarpSize = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

__device__ __forceinline__ float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

// `activation` is one of kActivation*: the same for the whole launch, so no warp diverges.
__device__ __forceinline__ float activate(float x, int32_t activation) {
    if (activation == kActivationSwish) {
        // Not x * sigmoid(x): one rounding less. Where expf overflows the quotient is -0.
        return x / (1.0f + expf(-x));
    }
    if (activation == kActivationRelu6) {
        // Comparisons, unlike fminf and fmaxf, let a NaN through.
        x = x < 0.0f ? 0.0f : x;
        return x > 6.0f ? 6.0f : x;
    }
    return x;
}

// Two neighbouring channels as f32. The address must be aligned to two elements.
__device__ __forceinline__ float2 load_pair(const __half* at) {
    return __half22float2(*reinterpret_cast<const __half2*>(at));
}

__device__ __forceinline__ float2 load_pair(const float* at) {
    return *reinterpret_cast<const float2*>(at);
}

__device__ __forceinline__ void store_pair(__half* at, float2 value) {
    *reinterpret_cast<__half2*>(at) = __float22half2_rn(value);
}

__device__ __forceinline__ void store_pair(float* at, float2 value) {
    *reinterpret_cast<float2*>(at) = value;
}

__device__ __forceinline__ float to_float(__half x) {
    return __half2float(x);
}

__device__ __forceinline__ float to_float(float x) {
    return x;
}

// The sum over all lanes, in every lane; the order of additions is fixed. All lanes must call it.
__device__ __forceinline__ float warp_sum(float x) {
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
        x += __shfl_xor_sync(kFullWarp, x, offset);
    }
    return x;
}
