// Squeeze-excite: from partial sums over an image's pixels to a gate per image and channel.
//
//   squeeze[c]  = sum_t partial_sums[n, t, c] / pixels
//   reduced[j]  = swish(sum_c squeeze[c] * reduce_weight[j, c] + reduce_bias[j])
//   gate[n, c]  = sigmoid(sum_j reduced[j] * expand_weight[j, c] + expand_bias[c])
//
// Tensors: partial_sums [n, tiles, c] f32, both weights [c_se, c] T, biases f32, gate [n, c] f32.
//          T = f16 or f32.
// Requires: c a multiple of 8, any c_se; all but reduce_bias aligned to 16 bytes; every tensor
//           below 2^31 elements; shared memory within 48 KB; checked in
//           src/kernels/squeeze_excite.rs.
// Launch:  grid n, block 1024, dynamic shared (max(slices, parts) * c + c_se) * 4 bytes, where
//          slices = min(tiles, 16, 1024 / (c / 4)), at least 1, and parts = min(c_se, 16,
//          1024 / vectors of c), at least 1.
// Work:    a block per image. Squeeze: a thread owns four channels of every slices-th tile. Reduce:
//          a warp owns rows j and j + 32 of the weight, its lanes the channels. Expand: a thread
//          owns 16 bytes of channels of every parts-th row.
// Traffic: the partial sums once, both weights once per image.
// Numerics: f32 throughout; every sum in an order that tiles, c and c_se fix. Exact exp and
//           division.
// Source:  Hu et al., Squeeze-and-Excitation Networks, 2018. Architectures: sm_75 and later.

#include "channel_vector.cuh"

constexpr int kThreads = kSqueezeExciteWarps * kWarpSize;

// The number of threads that share the terms of one sum: `threads` of the block sum side by side,
// and the others help them, with at least one term each.
__device__ __forceinline__ int shares(int terms, int threads) {
    return max(1, min(min(terms, kSqueezeExciteMaxShares), kThreads / threads));
}

__device__ __forceinline__ float4 operator+(float4 a, float4 b) {
    return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// The sum of quad `at` of each of `count` rows of `quads` quads, in their order.
__device__ __forceinline__ float4 sum_rows(const float4* rows, int count, int quads, int at) {
    float4 sum = rows[at];
    for (int i = 1; i < count; ++i) {
        sum = sum + rows[i * quads + at];
    }
    return sum;
}

template <typename T>
__device__ __forceinline__ void squeeze_excite(const SqueezeExciteParams& p) {
    constexpr int kChannels = kVector<T>;
    extern __shared__ float4 shared[];
    let_next_launch_begin();
    wait_for_launches_before();
    const int quads = p.c / 4;
    const int vectors = p.c / kChannels;
    const int slices = shares(p.tiles, quads);
    const int parts = shares(p.c_se, vectors);
    float4* sums = shared;  // [slices or parts, c / 4], see quad_slot
    float* reduced = reinterpret_cast<float*>(shared + max(slices, parts) * quads);  // [c_se]
    const int image = blockIdx.x;
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const T* reduce_weight = static_cast<const T*>(p.reduce_weight);  // [c_se, c]
    const T* expand_weight = static_cast<const T*>(p.expand_weight);  // [c_se, c]

    // Squeeze: each slice's sum over its tiles, then the slices in their order, over the first.
    const float* partial_sums = p.partial_sums + image * p.tiles * p.c;  // [tiles, c]
    for (int i = threadIdx.x; i < slices * quads; i += kThreads) {
        const int slice = i / quads;
        const int quad = i % quads;
        float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 4
        for (int t = slice; t < p.tiles; t += slices) {
            sum = sum + reinterpret_cast<const float4*>(partial_sums + t * p.c)[quad];
        }
        sums[slice * quads + quad_slot<T>(quad, vectors)] = sum;
    }
    __syncthreads();
    for (int slot = threadIdx.x; slot < quads; slot += kThreads) {
        const float4 sum = sum_rows(sums, slices, quads, slot);
        const float pixels = static_cast<float>(p.pixels);
        sums[slot] = {sum.x / pixels, sum.y / pixels, sum.z / pixels, sum.w / pixels};
    }
    __syncthreads();

    // Reduce: two rows of the weight at a time. A row beyond the last is computed as the first of
    // the two, and not stored.
    for (int j = warp; j < p.c_se; j += 2 * kSqueezeExciteWarps) {
        const int rows[2] = {j, j + kSqueezeExciteWarps};
        const T* weight[2];  // [c]
        weight[0] = reduce_weight + j * p.c;
        weight[1] = rows[1] < p.c_se ? reduce_weight + rows[1] * p.c : weight[0];
        float sum[2] = {};
#pragma unroll 2  // 64 registers are all that a thread of 1024 has
        for (int v = lane; v < vectors; v += kWarpSize) {
            const ChannelVector<T> w[2] = {ChannelVector<T>(load_raw(weight[0] + v * kChannels)),
                                           ChannelVector<T>(load_raw(weight[1] + v * kChannels))};
#pragma unroll
            for (int q = 0; q < kVectorQuads<T>; ++q) {
                const float4 x = sums[q * vectors + v];
#pragma unroll
                for (int r = 0; r < 2; ++r) {
                    sum[r] = fmaf(x.x, w[r].x[4 * q], sum[r]);
                    sum[r] = fmaf(x.y, w[r].x[4 * q + 1], sum[r]);
                    sum[r] = fmaf(x.z, w[r].x[4 * q + 2], sum[r]);
                    sum[r] = fmaf(x.w, w[r].x[4 * q + 3], sum[r]);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            const float total = warp_sum(sum[r]);
            if (lane == 0 && rows[r] < p.c_se) {
                reduced[rows[r]] = activate<T, kActivationSwish>(total + p.reduce_bias[rows[r]]);
            }
        }
    }
    __syncthreads();

    // Expand: each part's sum over its rows; the squeeze is not needed any more.
    for (int i = threadIdx.x; i < parts * vectors; i += kThreads) {
        const int part = i / vectors;
        const int v = i % vectors;
        float sum[kChannels] = {};
#pragma unroll 4
        for (int j = part; j < p.c_se; j += parts) {
            const ChannelVector<T> w(load_raw(expand_weight + j * p.c + v * kChannels));
            const float x = reduced[j];
#pragma unroll
            for (int k = 0; k < kChannels; ++k) {
                sum[k] = fmaf(x, w.x[k], sum[k]);
            }
        }
#pragma unroll
        for (int q = 0; q < kVectorQuads<T>; ++q) {
            sums[part * quads + q * vectors + v] = {sum[4 * q], sum[4 * q + 1], sum[4 * q + 2],
                                                    sum[4 * q + 3]};
        }
    }
    __syncthreads();

    // The gate: the parts in their order, then the bias.
    for (int quad = threadIdx.x; quad < quads; quad += kThreads) {
        const float4 sum = sum_rows(sums, parts, quads, quad_slot<T>(quad, vectors)) +
                           __ldg(reinterpret_cast<const float4*>(p.expand_bias) + quad);
        float4* gate = reinterpret_cast<float4*>(p.gate + image * p.c);  // [c]
        gate[quad] = {sigmoid<T>(sum.x), sigmoid<T>(sum.y), sigmoid<T>(sum.z), sigmoid<T>(sum.w)};
    }
}

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    effnet_squeeze_excite_f16(const __grid_constant__ SqueezeExciteParams p) {
    squeeze_excite<__half>(p);
}

extern "C" __global__ void __launch_bounds__(kThreads, 1)
    effnet_squeeze_excite_f32(const __grid_constant__ SqueezeExciteParams p) {
    squeeze_excite<float>(p);
}
