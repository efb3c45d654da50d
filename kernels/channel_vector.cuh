// Vectors of 16 bytes over neighbouring channels, as f32: eight f16 or four f32 values. And quads,
// four f32 values, in shared memory, where the quads of a vector lie so that a warp that reads the
// same quad of neighbouring vectors meets every bank equally often.
#pragma once

#include "common.cuh"

// Quads of a vector.
template <typename T>
constexpr int kVectorQuads = kVector<T> / 4;

// Loads weights, through the read-only path: not for a tensor that an earlier launch may still
// write. The address must be aligned to 16 bytes.
__device__ __forceinline__ uint4 load_raw(const void* at) {
    return __ldg(static_cast<const uint4*>(at));
}

template <typename T>
struct ChannelVector {
    float x[kVector<T>];

    __device__ __forceinline__ explicit ChannelVector(uint4 raw) {
        unpack_vector(raw, x);
    }
};

// Where quad `quad` of `vectors` vectors lies in shared memory, in quads: all first quads, then all
// second ones.
template <typename T>
__device__ __forceinline__ int quad_slot(int quad, int vectors) {
    return kVectorQuads<T> == 1 ? quad : quad % 2 * vectors + quad / 2;
}
