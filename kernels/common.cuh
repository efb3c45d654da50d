// What all kernels share: activations, pairs of channels, and sums in a fixed order.
#pragma once

#include <cuda_fp16.h>

#include "params.cuh"

constexpr int kWarpSize = 32;
constexpr unsigned kFullWarp = 0xffffffffu;

// Programmatic dependent launch, of sm_90 on (PTX ISA, griddepcontrol): a launch may begin while
// the one before it still runs. Elsewhere both functions do nothing: launches follow each other.
//
// The next launch may begin once all blocks of this one have called the function below. Every
// kernel of a network calls it first; those of preprocess.cu run by themselves.
__device__ __forceinline__ void let_next_launch_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// Waits until the launches before this one have ended and their writes are visible. Every thread
// calls it. Before the call a thread reads nothing but weights and writes nothing: its inputs may
// not be there yet, and its outputs may lie where an earlier launch still reads.
__device__ __forceinline__ void wait_for_launches_before() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// An activation as a type: code is made for each, and no element asks which it is.
template <int32_t ACTIVATION>
struct Activation {
    static constexpr int32_t kValue = ACTIVATION;
};

// Calls `f` with the type of one of kActivation*: the same for the whole launch, so no warp
// diverges. What `f` does is compiled three times: keep it to the part that activates.
template <typename F>
__device__ __forceinline__ void with_activation(int32_t activation, F&& f) {
    if (activation == kActivationSwish) {
        f(Activation<kActivationSwish>{});
    } else if (activation == kActivationRelu6) {
        f(Activation<kActivationRelu6>{});
    } else {
        f(Activation<kActivationNone>{});
    }
}

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

// 1 / (1 + 2^x): the sigmoid of x / -log2(e), for f16. Two approximations that are off by less than
// 2^-21 and have no branch: of an x above 126 the result is 0, where exactly it is below 2^-126.
__device__ __forceinline__ float sigmoid_base_2(float x) {
    float exponential, inverse;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(exponential) : "f"(x));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + exponential));
    return inverse;
}

// 1 / (1 + exp(-x)), as exact as T can tell.
template <typename T>
__device__ __forceinline__ float sigmoid(float x) {
    if constexpr (sizeof(T) == 2) {
        return sigmoid_base_2(x * -kLog2E);
    } else {
        return 1.0f / (1.0f + expf(-x));
    }
}

template <typename T, int32_t ACTIVATION>
__device__ __forceinline__ float activate(float x) {
    if constexpr (ACTIVATION == kActivationSwish) {
        if constexpr (sizeof(T) == 2) {
            return x * sigmoid<T>(x);
        } else {
            // Not x * sigmoid(x): one rounding less. Where expf overflows the quotient is -0.
            return x / (1.0f + expf(-x));
        }
    } else if constexpr (ACTIVATION == kActivationRelu6) {
        // Comparisons, unlike fminf and fmaxf, let a NaN through.
        x = x < 0.0f ? 0.0f : x;
        return x > 6.0f ? 6.0f : x;
    } else {
        return x;
    }
}

// Where what reads an activation can scale it, the batch-norm before it scales its argument: swish
// then has one product less. What argument and result are scaled by, and the inverse.
template <int32_t ACTIVATION>
constexpr float kActivationScale = ACTIVATION == kActivationSwish ? -kLog2E : 1.0f;
template <int32_t ACTIVATION>
constexpr float kActivationUnscale = ACTIVATION == kActivationSwish ? -kLn2 : 1.0f;

// The scaled activation of a scaled x, for f16.
template <int32_t ACTIVATION>
__device__ __forceinline__ float activate_scaled(float x) {
    if constexpr (ACTIVATION == kActivationSwish) {
        return x * sigmoid_base_2(x);
    } else {
        return activate<__half, ACTIVATION>(x);
    }
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

// Elements of a 16-byte vector.
template <typename T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

// A 16-byte vector as f32: eight halves or four floats, by the array's length.
__device__ __forceinline__ void unpack_vector(uint4 raw, float (&v)[8]) {
    const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float2 pair = __half22float2(*reinterpret_cast<const __half2*>(&words[i]));
        v[2 * i] = pair.x;
        v[2 * i + 1] = pair.y;
    }
}

__device__ __forceinline__ void unpack_vector(uint4 raw, float (&v)[4]) {
    v[0] = __uint_as_float(raw.x);
    v[1] = __uint_as_float(raw.y);
    v[2] = __uint_as_float(raw.z);
    v[3] = __uint_as_float(raw.w);
}

// A vector at an address that is aligned to 16 bytes.
template <typename T>
__device__ __forceinline__ void load_vector(const T* at, float (&v)[kVector<T>]) {
    unpack_vector(*reinterpret_cast<const uint4*>(at), v);
}

__device__ __forceinline__ void store_vector(__half* at, const float (&v)[8]) {
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const __half2 pair = __floats2half2_rn(v[2 * i], v[2 * i + 1]);
        words[i] = *reinterpret_cast<const unsigned*>(&pair);
    }
    *reinterpret_cast<uint4*>(at) = make_uint4(words[0], words[1], words[2], words[3]);
}

__device__ __forceinline__ void store_vector(float* at, const float (&v)[4]) {
    *reinterpret_cast<float4*>(at) = make_float4(v[0], v[1], v[2], v[3]);
}

// N floats, a multiple of four, at an address that is aligned to 16 bytes.
template <int N>
__device__ __forceinline__ void load_floats(const float* at, float (&v)[N]) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(at + i);
        v[i] = four.x;
        v[i + 1] = four.y;
        v[i + 2] = four.z;
        v[i + 3] = four.w;
    }
}

template <int N>
__device__ __forceinline__ void store_floats(float* at, const float (&v)[N]) {
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        *reinterpret_cast<float4*>(at + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    }
}

// The sum over all lanes, in every lane; the order of additions is fixed. All lanes must call it.
__device__ __forceinline__ float warp_sum(float x) {
    for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
        x += __shfl_xor_sync(kFullWarp, x, offset);
    }
    return x;
}
