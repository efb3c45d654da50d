// The stem: 3 x 3 convolution of stride 2 on 3 channels, with the normalisation of u8 input,
// batch-norm and activation.
//
//   x[n, h, w, i] = u8: (input / 255 - mean[i]) / std[i]; f16, f32: input
//   y[n, h, w, c] = act(sum_{a,b,i} x[n, 2 * h - pad_top + a, 2 * w - pad_left + b, i]
//                                   * weight[a, b, i, c] * scale[c] + shift[c])
//
// Tensors: input [n, h_in, w_in, 3] u8, f16 or f32, weight [3, 3, 3, c_out] T, scale and shift
//          [c_out] f32 or both null, y [n, h_out, w_out, c_out] T. NHWC, T = f16 or f32.
// Requires: c_out a multiple of 8; input aligned to its elements, the other pointers to 16 bytes;
//           every tensor below 2^31 elements; checked in src/kernels/stem.rs. Pixels outside the
//           input are zero after the normalisation; weights must be finite.
// Launch:  grid (ceil(w_out / 16), ceil(h_out / 8), n), block 128, no dynamic shared memory
//          (6.7 KB static).
// Work:    the block puts the 17 x 33 pixels below its 8 x 16 outputs into shared memory, as f32;
//          then a thread makes four neighbouring pixels of a row times one 16-byte vector of
//          channels, until all vectors of the tile are made.
// Traffic: the input once, and the tiles' overlapping rows and columns (17 * 33 / (16 * 32)); the
//          output once.
// Numerics: the normalisation rounds each of its three steps to f32, as the CPU does; products and
//          sums are f32 fma, in the order a, i, b; rounded to T once.
// Source:  the definition. Architectures: sm_75 and later.

#include "common.cuh"

constexpr int kStemPatchRows = 2 * kStemTileRows + 1;
constexpr int kStemPatchElems = 3 * (2 * kStemTileCols + 1);  // of a row

__device__ __forceinline__ float stem_value(uint8_t x, float mean, float std) {
    return __fdiv_rn(__fsub_rn(__fdiv_rn(static_cast<float>(x), 255.0f), mean), std);
}

__device__ __forceinline__ float stem_value(__half x, float, float) {
    return to_float(x);
}

__device__ __forceinline__ float stem_value(float x, float, float) {
    return x;
}

template <typename INPUT, typename T>
__device__ __forceinline__ void stem(const StemParams& p) {
    constexpr int kV = kVector<T>;
    constexpr int kP = kStemStripPixels;
    __shared__ float patch[kStemPatchRows][kStemPatchElems];  // [rows, columns * 3]
    let_next_launch_begin();
    wait_for_launches_before();

    const int tile_h = blockIdx.y * kStemTileRows;
    const int tile_w = blockIdx.x * kStemTileCols;
    const int image = blockIdx.z;

    // Input to shared memory: a warp takes every fourth row.
    {
        const int row_elems = 3 * p.w_in;
        const INPUT* input =
            static_cast<const INPUT*>(p.input) + image * p.h_in * row_elems;  // [h_in, w_in * 3]
        const int top = 2 * tile_h - p.pad_top;
        const int left = 3 * (2 * tile_w - p.pad_left);
        for (int i = threadIdx.x % kWarpSize; i < kStemPatchElems; i += kWarpSize) {
            const int channel = i % 3;
            const float mean = channel == 0 ? p.mean[0] : channel == 1 ? p.mean[1] : p.mean[2];
            const float std = channel == 0 ? p.std[0] : channel == 1 ? p.std[1] : p.std[2];
            const bool in_row = left + i >= 0 && left + i < row_elems;
            for (int r = threadIdx.x / kWarpSize; r < kStemPatchRows;
                 r += kStemThreads / kWarpSize) {
                const int h = top + r;
                float x = 0.0f;
                if (in_row && h >= 0 && h < p.h_in) {
                    x = stem_value(input[h * row_elems + left + i], mean, std);
                }
                patch[r][i] = x;
            }
        }
    }
    __syncthreads();

    // Vectors are the fastest index: neighbouring threads store neighbouring channels.
    constexpr int kStripsOfRow = kStemTileCols / kP;
    const int vectors = p.c_out / kV;
    const int items = kStemTileRows * kStripsOfRow * vectors;
    for (int item = threadIdx.x; item < items; item += kStemThreads) {
        const int c = item % vectors * kV;
        const int strip = item / vectors;
        const int row = strip / kStripsOfRow;
        const int col = strip % kStripsOfRow * kP;
        const int h = tile_h + row;
        const int w = tile_w + col;
        if (h >= p.h_out || w >= p.w_out) {
            continue;
        }

        const T* weight = static_cast<const T*>(p.weight) + c;  // [3, 3, 3, c_out]
        float acc[kP][kV] = {};
#pragma unroll
        for (int a = 0; a < 3; ++a) {
#pragma unroll
            for (int i = 0; i < 3; ++i) {
                const float* in = &patch[2 * row + a][6 * col + i];  // every third: a column
                float x[2 * kP + 1];
#pragma unroll
                for (int b = 0; b < 2 * kP + 1; ++b) {
                    x[b] = in[3 * b];
                }
#pragma unroll
                for (int b = 0; b < 3; ++b) {
                    float tap[kV];
                    load_vector(weight + ((a * 3 + b) * 3 + i) * p.c_out, tap);
#pragma unroll
                    for (int q = 0; q < kP; ++q) {
#pragma unroll
                        for (int j = 0; j < kV; ++j) {
                            acc[q][j] = fmaf(x[2 * q + b], tap[j], acc[q][j]);
                        }
                    }
                }
            }
        }

        if (p.scale != nullptr) {
            float scale[kV], shift[kV];
            load_floats(p.scale + c, scale);
            load_floats(p.shift + c, shift);
#pragma unroll
            for (int q = 0; q < kP; ++q) {
#pragma unroll
                for (int j = 0; j < kV; ++j) {
                    acc[q][j] = fmaf(acc[q][j], scale[j], shift[j]);
                }
            }
        }
        T* output = static_cast<T*>(p.output) + ((image * p.h_out + h) * p.w_out + w) * p.c_out +
                    c;  // [pixels of the strip, c_out]
        with_activation(p.activation, [&](auto activation) {
#pragma unroll
            for (int q = 0; q < kP; ++q) {
                if (w + q < p.w_out) {
#pragma unroll
                    for (int j = 0; j < kV; ++j) {
                        acc[q][j] = activate<T, decltype(activation)::kValue>(acc[q][j]);
                    }
                    store_vector(output + q * p.c_out, acc[q]);
                }
            }
        });
    }
}

#define STEM(name, INPUT, T)                                   \
    extern "C" __global__ void __launch_bounds__(kStemThreads) \
        name(const __grid_constant__ StemParams p) {           \
        stem<INPUT, T>(p);                                     \
    }

STEM(effnet_stem_u8_f16, uint8_t, __half)
STEM(effnet_stem_f16_f16, __half, __half)
STEM(effnet_stem_f32_f16, float, __half)
STEM(effnet_stem_u8_f32, uint8_t, float)
STEM(effnet_stem_f32_f32, float, float)
