// The depthwise sums of a strip: neighbouring output pixels of one row, one 16-byte vector of
// channels.
#pragma once

#include "common.cuh"

// acc[p][i] = sum_{y,x} input[top + y, left + p * STRIDE + x, i] * weight[y, x, i], y and x
// ascending, one fma each. Pixels outside the input count as zero.
//
// `input` and `weight` point at the vector's first channel. A row of input is loaded once for all
// pixels of the strip, and a row of taps is in registers only as long as its row of input. Columns
// outside are read from the nearest column inside and then set to zero, so that loads need no
// branch and can all be under way at once.
template <typename T, int K, int STRIDE, int PIXELS>
__device__ __forceinline__ void depthwise_strip(const T* input,   // [h_in, w_in, c]
                                                const T* weight,  // [K, K, c]
                                                int h_in, int w_in, int c, int top, int left,
                                                float (&acc)[PIXELS][kVector<T>]) {
    constexpr int kV = kVector<T>;
    constexpr int kColumns = (PIXELS - 1) * STRIDE + K;

#pragma unroll
    for (int p = 0; p < PIXELS; ++p) {
#pragma unroll
        for (int i = 0; i < kV; ++i) {
            acc[p][i] = 0.0f;
        }
    }

    int offsets[kColumns];
    unsigned inside = 0;
#pragma unroll
    for (int x = 0; x < kColumns; ++x) {
        const int w = left + x;
        const int nearest = min(max(w, 0), w_in - 1);
        offsets[x] = nearest * c;
        inside |= (w == nearest ? 1u : 0u) << x;
    }

#pragma unroll
    for (int y = 0; y < K; ++y) {
        const int h = top + y;
        if (h < 0 || h >= h_in) {
            continue;
        }
        const T* row = input + h * w_in * c;  // [w_in, c]
        float taps[K][kV];
#pragma unroll
        for (int x = 0; x < K; ++x) {
            load_vector(weight + (y * K + x) * c, taps[x]);
        }
#pragma unroll
        for (int x = 0; x < kColumns; ++x) {
            uint4 raw = *reinterpret_cast<const uint4*>(row + offsets[x]);
            const unsigned mask = (inside >> x & 1u) != 0 ? ~0u : 0u;
            raw = make_uint4(raw.x & mask, raw.y & mask, raw.z & mask, raw.w & mask);
            float v[kV];
            unpack_vector(raw, v);
#pragma unroll
            for (int p = 0; p < PIXELS; ++p) {
                const int tap = x - p * STRIDE;
                if (tap >= 0 && tap < K) {
#pragma unroll
                    for (int i = 0; i < kV; ++i) {
                        acc[p][i] = fmaf(v[i], taps[tap][i], acc[p][i]);
                    }
                }
            }
        }
    }
}
