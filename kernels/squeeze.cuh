// The squeeze of a depthwise tile, times the weights that reduce it: what squeeze-excite needs of a
// tile, without another pass and without another launch.
//
//   squeeze[n, t, s, j] = sum over the channels c of slice s of S[t, c] * reduce_weight[j, c]
//
// S[t, c] is the sum of the activated output over tile t, in f32, before it is rounded. The
// products of a slice are added in the order of the channels, one fma each, whatever group of
// channels is made at a time. A slice is a power of two of channels. gate.cuh adds up tiles and
// slices.
#pragma once

#include "tensor_core.cuh"

// Values of a part: c_se, rounded up to whole vectors.
__device__ __forceinline__ int part_values(int c_se) {
    return static_cast<int>((static_cast<unsigned>(c_se) + 3) / 4 * 4);
}

// channels / slice, rounded down.
__device__ __forceinline__ int whole_slices(int channels, int slice) {
    return channels >> (31 - __clz(slice));
}

// The shared memory of one group's squeeze.
template <int GROUP>
struct SqueezeShared {
    // Halves from a row of weights to the next: an odd number of 16 bytes.
    static constexpr int kPitch = GROUP + 8;

    float* totals;   // [GROUP]: S of the group
    float* chains;   // [c_se]: sums of a slice that goes on in the next group
    __half* weight;  // [c_se, GROUP], rows kPitch apart
};

// The group's columns of the weight, from channel `first` on; zeros beyond c.
template <int GROUP>
__device__ __forceinline__ void copy_reduce_weight(const SqueezeShared<GROUP>& s,
                                                   const __half* weight,  // [c_se, c]
                                                   int c_se, int first, int c) {
    constexpr int kVectors = GROUP / 8;
#pragma unroll 1
    for (int i = thread_anew(); i < c_se * kVectors; i += blockDim.x) {
        const int row = i / kVectors;
        const int at = i % kVectors * 8;
        const bool valid = first + at < c;
        copy_chunk(s.weight + row * SqueezeShared<GROUP>::kPitch + at,
                   valid ? weight + row * c + first + at : weight, valid);
    }
}

// The squeeze of channels [first, first + GROUP) of `tile`, of all images' tiles. `sums` [items,
// GROUP] are the parts of S; all threads call it, after a barrier, and `sums` may be written again
// after the next one. Groups of a slice follow each other. `squeeze` [n * tiles, slices,
// part_values]; null: none. `partial_sums` [n * tiles, c] gets S; null: none.
template <int GROUP>
__device__ __forceinline__ void squeeze_group(const SqueezeShared<GROUP>& s, const float* sums,
                                              int items, int first, int c, int c_se, int slice,
                                              int tile, float* squeeze, float* partial_sums) {
    const int thread = thread_anew();
    if (thread < GROUP && first + thread < c) {
        float total = sums[thread];
#pragma unroll 4
        for (int i = 1; i < items; ++i) {
            total += sums[i * GROUP + thread];
        }
        s.totals[thread] = total;
        if (partial_sums != nullptr) {
            partial_sums[tile * c + first + thread] = total;
        }
    }
    if (squeeze == nullptr) {
        return;
    }
    __syncthreads();
    const int rows = part_values(c_se);
    if (thread >= rows) {
        return;
    }
    const int end = min(GROUP, c - first);
    const int slice_at = first & (slice - 1);
    const int slices = whole_slices(c + slice - 1, slice);
    float* to = squeeze + (tile * slices + whole_slices(first, slice)) * rows;
#pragma unroll 1
    for (int j = thread; j < rows; j += blockDim.x) {
        const bool live = j < c_se;
        const __half* weight = s.weight + (live ? j : 0) * SqueezeShared<GROUP>::kPitch;
        float sum = slice_at == 0 || !live ? 0.0f : s.chains[j];
        float* at = to + j;
        int left = slice - slice_at;
        for (int channel = 0; channel < end; channel += 8) {
            float w[8];
            load_vector(weight + channel, w);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                sum = fmaf(s.totals[channel + i], w[i], sum);
            }
            left -= 8;
            if (left == 0 || first + channel + 8 >= c) {
                *at = live ? sum : 0.0f;
                at += rows;
                sum = 0.0f;
                left = slice;
            }
        }
        if (live) {
            s.chains[j] = sum;
        }
    }
}
