// Batch-norm and activation, gate, skip: each by itself or all at once, element by element.
//
//   y[r, i] = act(x[r, i] * scale[i] + shift[i]) * gate[r / pixels, i] + skip[r, i]
//
// Tensors: x, skip and y [rows, c] T, scale and shift [c] f32, gate [rows / pixels, c] f32. Without
//          scale and shift, without gate, without skip: the same without that part. T = f16 or f32.
// Requires: c a multiple of 8, pointers aligned to 16 bytes, every tensor below 2^31 elements;
//           checked in src/kernels/bn_swish.rs. y may be x, or skip: every element is read, by the
//           thread that writes it, before it is written. It must not overlap them otherwise.
// Launch:  grid ceil(ceil(rows / 2) * (c / V) / 128), block 128, no shared memory; V of T are
//          16 bytes.
// Work:    a thread owns V neighbouring channels of two rows, one in either half of the rows:
//          neighbouring threads have neighbouring vectors whatever c is, and scale and shift are
//          read once for both.
// Traffic: x and skip once, y once; scale, shift and gate once for each row pair.
// Numerics: one fma, the activation, one multiplication and one addition in f32, rounded once.
// Source:  the definition. Architectures: sm_75 and later.

#include "common.cuh"

constexpr int kBlockThreads = 128;
constexpr int kThreadRows = 2;

// The elements of 16 bytes, as f32.
__device__ __forceinline__ void unpack(uint4 from, float (&to)[8]) {
    const __half2* pairs = reinterpret_cast<const __half2*>(&from);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float2 pair = __half22float2(pairs[i]);
        to[2 * i] = pair.x;
        to[2 * i + 1] = pair.y;
    }
}

__device__ __forceinline__ void unpack(uint4 from, float (&to)[4]) {
    to[0] = __uint_as_float(from.x);
    to[1] = __uint_as_float(from.y);
    to[2] = __uint_as_float(from.z);
    to[3] = __uint_as_float(from.w);
}

__device__ __forceinline__ uint4 pack(const float (&from)[8]) {
    uint4 to;
    __half2* pairs = reinterpret_cast<__half2*>(&to);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        pairs[i] = __floats2half2_rn(from[2 * i], from[2 * i + 1]);
    }
    return to;
}

__device__ __forceinline__ uint4 pack(const float (&from)[4]) {
    return make_uint4(__float_as_uint(from[0]), __float_as_uint(from[1]), __float_as_uint(from[2]),
                      __float_as_uint(from[3]));
}

template <int CHANNELS>
__device__ __forceinline__ void load_channels(const float* from, float (&to)[CHANNELS]) {
#pragma unroll
    for (int i = 0; i < CHANNELS; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(from + i);
        to[i] = four.x;
        to[i + 1] = four.y;
        to[i + 2] = four.z;
        to[i + 3] = four.w;
    }
}

template <typename T>
__device__ __forceinline__ void bn_swish(const BnSwishParams& p) {
    constexpr int channels = 16 / sizeof(T);
    let_next_launch_begin();
    wait_for_launches_before();
    const int vectors = p.c / channels;  // of a row
    const int half = (p.rows + kThreadRows - 1) / kThreadRows;
    const int index = blockIdx.x * kBlockThreads + threadIdx.x;
    const int first_row = index / vectors;
    const int vector = index - first_row * vectors;
    const int channel = vector * channels;
    if (first_row >= half) {
        return;
    }
    const uint4* input = static_cast<const uint4*>(p.input);  // [rows, c / channels]
    const uint4* skip = static_cast<const uint4*>(p.skip);    // [rows, c / channels]
    uint4* output = static_cast<uint4*>(p.output);            // [rows, c / channels]

    // Both rows are asked for before either is written.
    uint4 x[kThreadRows];
    uint4 s[kThreadRows];
#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
        const int row = first_row + i * half;
        if (row < p.rows) {
            x[i] = input[row * vectors + vector];
            if (skip != nullptr) {
                s[i] = skip[row * vectors + vector];
            }
        }
    }
    float scale[channels];
    float shift[channels];
    if (p.scale != nullptr) {
        load_channels(p.scale + channel, scale);
        load_channels(p.shift + channel, shift);
    }

#pragma unroll
    for (int i = 0; i < kThreadRows; ++i) {
        const int row = first_row + i * half;
        if (row >= p.rows) {
            continue;
        }
        float y[channels];
        unpack(x[i], y);
        if (p.scale != nullptr) {
#pragma unroll
            for (int j = 0; j < channels; ++j) {
                y[j] = fmaf(y[j], scale[j], shift[j]);
            }
        }
        with_activation(p.activation, [&](auto activation) {
#pragma unroll
            for (int j = 0; j < channels; ++j) {
                y[j] = activate<T, decltype(activation)::kValue>(y[j]);
            }
        });
        if (p.gate != nullptr) {
            float gate[channels];
            load_channels(p.gate + row / p.pixels * p.c + channel, gate);  // [rows / pixels, c]
#pragma unroll
            for (int j = 0; j < channels; ++j) {
                y[j] = __fmul_rn(y[j], gate[j]);
            }
        }
        if (skip != nullptr) {
            float other[channels];
            unpack(s[i], other);
#pragma unroll
            for (int j = 0; j < channels; ++j) {
                y[j] = __fadd_rn(y[j], other[j]);
            }
        }
        output[row * vectors + vector] = pack(y);
    }
}

extern "C" __global__ void __launch_bounds__(kBlockThreads)
    effnet_bn_swish_f16(const __grid_constant__ BnSwishParams p) {
    bn_swish<__half>(p);
}

extern "C" __global__ void __launch_bounds__(kBlockThreads)
    effnet_bn_swish_f32(const __grid_constant__ BnSwishParams p) {
    bn_swish<float>(p);
}
