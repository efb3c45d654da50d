// The gate of squeeze-excite for a range of channels of one image, in the block that multiplies by
// it: the second half of squeeze-excite without a launch of its own.
//
//   sum[j]     = 8 shares in order; share h adds the parts h, h + 8, h + 16, ... in order
//   reduced[j] = swish(sum[j] / pixels + reduce_bias[j])
//   gate[c]    = sigmoid(sum_j reduced[j] * gate_weight[j, c] + gate_bias[c]), j in order
//
// Tensors: squeeze [n, parts, c_se rounded up to 4] f32, parts of se_reduce that the launch before
//          left; reduce_bias [c_se] f32, gate_weight [c_se, c_in] f16, gate_bias [c_in] f32.
// Numerics: f32; 1 / pixels, swish and sigmoid by approximations; the gate is rounded to f16 once.
#pragma once

#include "tensor_core.cuh"

// Shares of the parts that are added up side by side.
constexpr int kGateShares = 8;

// Floats of shared memory that the sums take.
__device__ __forceinline__ int gate_floats(int c_se) {
    return (kGateShares + 1) * ((c_se + 3) / 4 * 4);
}

// A thread among those of a block.
struct Member {
    int index;
    int count;
};

// The shares' sums of an image's parts, [shares, c_se rounded up to 4].
__device__ __forceinline__ void add_parts(const PointwiseParams& p, int image, Member thread,
                                          float* shares) {
    const int quads = (p.c_se + 3) / 4;
    const float4* parts = reinterpret_cast<const float4*>(p.squeeze) + image * p.parts * quads;
    const int shift = kWarpSize - __clz(quads - 1);  // quads, rounded up to a power of two
    for (int item = thread.index; item < kGateShares << shift; item += thread.count) {
        const int share = item >> shift;
        const int quad = item - (share << shift);
        if (quad < quads) {
            float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 4
            for (int part = share; part < p.parts; part += kGateShares) {
                const float4 x = parts[part * quads + quad];
                sum.x += x.x;
                sum.y += x.y;
                sum.z += x.z;
                sum.w += x.w;
            }
            reinterpret_cast<float4*>(shares)[share * quads + quad] = sum;
        }
    }
}

// reduced [c_se rounded up to 4], zeros at its end.
__device__ __forceinline__ void reduce_shares(const PointwiseParams& p, Member thread,
                                              const float* shares, float* reduced) {
    const int width = (p.c_se + 3) / 4 * 4;
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(static_cast<float>(p.pixels)));
    for (int j = thread.index; j < width; j += thread.count) {
        float sum = shares[j];
#pragma unroll
        for (int share = 1; share < kGateShares; ++share) {
            sum += shares[share * width + j];
        }
        const float bias = j < p.c_se ? p.reduce_bias[j] : 0.0f;
        const float x = fmaf(sum, inverse, bias);
        reduced[j] = j < p.c_se ? activate<__half, kActivationSwish>(x) : 0.0f;
    }
}

// Gates of `channels` channels, two at a time; `weight` [c_se, pitch] and `bias` begin there.
__device__ __forceinline__ void gate_channels(const __half* weight, int pitch, const float* bias,
                                              int channels, int c_se, Member thread,
                                              const float* reduced, __half* gates) {
    for (int c = 2 * thread.index; c < channels; c += 2 * thread.count) {
        float2 sum = {0.0f, 0.0f};
        const __half* from = weight + c;
        const float2 shift = load_pair(bias + c);
#pragma unroll 8
        for (int j = 0; j < c_se; ++j) {
            const float2 w = load_pair(from);
            sum.x = fmaf(reduced[j], w.x, sum.x);
            sum.y = fmaf(reduced[j], w.y, sum.y);
            from += pitch;
        }
        const float2 gate = {sigmoid<__half>(sum.x + shift.x), sigmoid<__half>(sum.y + shift.y)};
        store_pair(gates + c, gate);
    }
}
