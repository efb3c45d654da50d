// Resize and crop of a decoded frame with the arithmetic of the library that a recipe names.
//
//   y[h, w, c] = level(sum_{i, j} rows[h].weight[i] * columns[w].weight[j]
//                                 * x[rows[h].sample[i], columns[w].sample[j], c])
//
//   pillow:      the number of taps grows with the reduction; weights with 22 fractional bits; the
//                columns first, rounded to a level, then the rows
//   opencv:      two taps; weights with 11 fractional bits; the columns first, then the rows, of
//                whose products two fractional bits are kept
//   tensorflow:  four taps; f32; the rows first, then the columns; then rounded half to even
//
// Tensors: x [h_in, w_in, 3] u8, y [h_out, w_out, 3] u8. Taps are 32-bit words, [words, extent], so
//          that neighbouring outputs lie side by side; src/kernels/preprocess/taps.rs makes them.
//          pillow: first sample, count, weights. opencv: two samples, two weights. tensorflow: four
//          samples, four f32 weights. An output that the resized picture does not cover is black:
//          no taps, or weights of 0.
// Requires: samples within x; every tensor below 2^31 elements; for pillow's rows, x aligned to 4
//           bytes and w_in a multiple of 4; checked or made in src/kernels/preprocess.rs.
// Launch:  block 128. pillow_columns: grid (ceil(w_out / 128), ceil(h_in / 4)); it makes
//          [h_in, w_out, 3]. pillow_rows: grid (ceil(w_out * 3 / 512), h_out). opencv, tensorflow:
//          grid (ceil(w_out / 128), h_out).
// Work:    pillow_columns: a thread makes one pixel of each of four rows. pillow_rows: four
//          neighbouring samples. opencv, tensorflow: one pixel, both axes.
// Traffic: pillow: every row that the crop needs once, and the picture between the passes, u8,
//          written and read once. The others: the pixels under their taps.
// Numerics: pillow, opencv: integers, the very levels of the CPU's src/image. tensorflow: each f32
//          operation of the CPU's in its order, unfused, so the very values before the rounding.
// Source:  Pillow's, OpenCV's and TensorFlow's documented behaviour, as src/image has it.
//          Architectures: sm_75 and later.

#include "common.cuh"

__device__ __forceinline__ uint8_t clamp_level(int32_t x) {
    return static_cast<uint8_t>(min(max(x, 0), 255));
}

// --- Pillow ---

constexpr int kPillowBits = 22;
constexpr int32_t kPillowHalf = 1 << (kPillowBits - 1);

__device__ __forceinline__ uint8_t pillow_level(int32_t sum) {
    return clamp_level(sum >> kPillowBits);
}

extern "C" __global__ void __launch_bounds__(kResampleThreads)
    effnet_resample_pillow_columns_u8(const __grid_constant__ ResampleParams p) {
    const int x = blockIdx.x * kResampleThreads + threadIdx.x;
    const int y = blockIdx.y * kResampleRows;
    if (x >= p.w_out) {
        return;
    }
    const int first = p.columns[x];
    const int count = p.columns[p.w_out + x];
    const int32_t* weights = p.columns + 2 * p.w_out + x;  // [taps], w_out apart
    // A row beyond the last is computed as the last one, and not stored.
    const uint8_t* rows[kResampleRows];  // [w_in, 3], from the first tap on
    int32_t sums[kResampleRows][3];
#pragma unroll
    for (int r = 0; r < kResampleRows; ++r) {
        rows[r] = p.input + (min(y + r, p.h_in - 1) * p.w_in + first) * 3;
        sums[r][0] = sums[r][1] = sums[r][2] = kPillowHalf;
    }
#pragma unroll 2
    for (int k = 0; k < count; ++k) {
        const int32_t weight = __ldg(weights + k * p.w_out);
#pragma unroll
        for (int r = 0; r < kResampleRows; ++r) {
#pragma unroll
            for (int c = 0; c < 3; ++c) {
                sums[r][c] += weight * __ldg(rows[r] + 3 * k + c);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < kResampleRows; ++r) {
        if (y + r < p.h_in) {
            uint8_t* to = p.output + ((y + r) * p.w_out + x) * 3;  // [3]
#pragma unroll
            for (int c = 0; c < 3; ++c) {
                to[c] = pillow_level(sums[r][c]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(kResampleThreads)
    effnet_resample_pillow_rows_u8(const __grid_constant__ ResampleParams p) {
    const int word = blockIdx.x * kResampleThreads + threadIdx.x;  // of four samples
    const int y = blockIdx.y;
    const int samples = p.w_out * 3;
    if (4 * word >= samples) {
        return;
    }
    const int first = p.rows[y];
    const int count = p.rows[p.h_out + y];
    const int32_t* weights = p.rows + 2 * p.h_out + y;  // [taps], h_out apart
    const int words_in = p.w_in * 3 / 4;
    const uint32_t* input = reinterpret_cast<const uint32_t*>(p.input) + first * words_in +
                            word;  // [taps, w_in * 3 / 4]
    int32_t sums[4] = {kPillowHalf, kPillowHalf, kPillowHalf, kPillowHalf};
#pragma unroll 4
    for (int k = 0; k < count; ++k) {
        const int32_t weight = __ldg(weights + k * p.h_out);
        const uint32_t four = __ldg(input + k * words_in);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sums[i] += weight * static_cast<int32_t>(four >> (8 * i) & 0xff);
        }
    }
    uint32_t four = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        four |= static_cast<uint32_t>(pillow_level(sums[i])) << (8 * i);
    }
    uint8_t* to = p.output + y * samples + 4 * word;
    if (4 * word + 4 <= samples && reinterpret_cast<uintptr_t>(to) % 4 == 0) {
        *reinterpret_cast<uint32_t*>(to) = four;
        return;
    }
    for (int i = 0; i < min(samples - 4 * word, 4); ++i) {
        to[i] = static_cast<uint8_t>(four >> (8 * i));
    }
}

// --- OpenCV ---

extern "C" __global__ void __launch_bounds__(kResampleThreads)
    effnet_resample_opencv_u8(const __grid_constant__ ResampleParams p) {
    const int x = blockIdx.x * kResampleThreads + threadIdx.x;
    const int y = blockIdx.y;
    if (x >= p.w_out) {
        return;
    }
    int column[4];  // two samples, two weights
    int row[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        column[i] = p.columns[i * p.w_out + x];
        row[i] = p.rows[i * p.h_out + y];
    }
    uint8_t* to = p.output + (y * p.w_out + x) * 3;  // [3]
#pragma unroll
    for (int c = 0; c < 3; ++c) {
        int32_t sum = 0;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const uint8_t* line = p.input + row[i] * p.w_in * 3 + c;  // [w_in, 3]
            const int32_t resampled =
                __ldg(line + 3 * column[0]) * column[2] + __ldg(line + 3 * column[1]) * column[3];
            sum += (row[2 + i] * (resampled >> 4)) >> 16;
        }
        to[c] = clamp_level((sum + 2) >> 2);
    }
}

// --- TensorFlow ---

// In the order of the taps, and unfused.
__device__ __forceinline__ float weighted(const float* weights, const float* x) {
    float sum = __fmul_rn(x[0], weights[0]);
#pragma unroll
    for (int i = 1; i < 4; ++i) {
        sum = __fadd_rn(sum, __fmul_rn(x[i], weights[i]));
    }
    return sum;
}

extern "C" __global__ void __launch_bounds__(kResampleThreads)
    effnet_resample_tensorflow_u8(const __grid_constant__ ResampleParams p) {
    const int x = blockIdx.x * kResampleThreads + threadIdx.x;
    const int y = blockIdx.y;
    if (x >= p.w_out) {
        return;
    }
    int columns[4];
    int rows[4];
    float column_weights[4];
    float row_weights[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        columns[i] = p.columns[i * p.w_out + x];
        rows[i] = p.rows[i * p.h_out + y];
        column_weights[i] = __int_as_float(p.columns[(4 + i) * p.w_out + x]);
        row_weights[i] = __int_as_float(p.rows[(4 + i) * p.h_out + y]);
    }
    uint8_t* to = p.output + (y * p.w_out + x) * 3;  // [3]
#pragma unroll
    for (int c = 0; c < 3; ++c) {
        float between[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            float near[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                near[i] = __ldg(p.input + (rows[i] * p.w_in + columns[j]) * 3 + c);
            }
            between[j] = weighted(row_weights, near);
        }
        to[c] = clamp_level(__float2int_rn(weighted(column_weights, between)));
    }
}
