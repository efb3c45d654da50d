// The stem: 3 x 3 convolution of stride 2 on 3 channels, with the normalisation of u8 input,
// batch-norm and activation.
//
//   x[n, h, w, i] = u8: (input / 255 - mean[i]) / std[i]; f16, f32: input
//   y[n, h, w, c] = act(sum_{a,b,i} x[n, 2 * h - pad_top + a, 2 * w - pad_left + b, i]
//                                   * weight[a, b, i, c] * scale[c] + shift[c])
//
// Tensors: input [n, h_in, w_in, 3] u8, f16 or f32, weight [3, 3, 3, c_out] T, scale and shift
//          [c_out] f32 or both null, y [n, h_out, w_out, c_out] T. NHWC, T = f16 or f32.
// Requires: c_out a multiple of 8, in f16 at most 512; input aligned to its elements, the other
//           pointers to 16 bytes; every tensor below 2^31 elements; checked in src/kernels/stem.rs.
//           Pixels outside the input are zero after the normalisation; weights must be finite.
// Launch:  f32: grid (ceil(w_out / 16), ceil(h_out / 8), n), block 128, no dynamic shared memory.
//          f16: grid (ceil(w_out / 16), g, n), g at most ceil(h_out / 8): block y makes the tiles
//          y, y + g, ... of its columns; block 128, dynamic shared memory 72 * c_out bytes.
// Work:    a tile is 8 x 16 outputs, and the 17 x 33 pixels below it lie in shared memory.
//          f32: a thread makes four neighbouring pixels of a row times one 16-byte vector of
//          channels, until all vectors of the tile are made.
//          f16: a warp makes rows of 16 pixels on tensor cores, 32 channels at a time, then 16,
//          then 8. The 27 taps are 15 pairs of which each is one word of the patch: of each of the
//          three rows of taps, nine neighbouring values, four pairs; the nine's odd one is a pair
//          with a zero. Lane l holds pair l % 4 of each row, and the odd one of row l % 4.
// Traffic: the input once, and the tiles' overlapping rows and columns (17 * 33 / (16 * 32)); the
//          output once.
// Numerics: the normalisation rounds each of its three steps to f32, as the CPU does.
//          f32: products and sums are f32 fma, in the order a, i, b.
//          f16: x is rounded to f16 (beyond 65504 it is infinite), then products are exact, and
//          summed in f32 by tensor cores; the result is rounded to f16 once. A pixel takes part in
//          the outputs whose windows have it, in no other: a NaN stays in them.
// Source:  the definition. Architectures: sm_75 and later.

#include "tensor_core.cuh"

constexpr int kStemPatchRows = 2 * kStemTileRows + 1;
constexpr int kStemPatchElems = 3 * (2 * kStemTileCols + 1);  // of a row
constexpr int kStemWarps = kStemThreads / kWarpSize;

__device__ __forceinline__ float stem_value(uint8_t x, float mean, float std) {
    return __fdiv_rn(__fsub_rn(__fdiv_rn(static_cast<float>(x), 255.0f), mean), std);
}

__device__ __forceinline__ float stem_value(float x, float, float) {
    return x;
}

// --- f32 ---

template <typename INPUT>
__device__ __forceinline__ void stem(const StemParams& p) {
    using T = float;
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

// --- f16 ---

// Four neighbouring elements of the input as one vector.
template <typename INPUT>
struct Quad;
template <>
struct Quad<uint8_t> {
    using Vector = unsigned;
};
template <>
struct Quad<__half> {
    using Vector = uint2;
};
template <>
struct Quad<float> {
    using Vector = uint4;
};

constexpr int kLevels = 256;
constexpr int kPatchQuads = 26;  // of a row: 99 elements, and up to 3 that align it
// Words of a row, an even number, by which lanes that read odd values of three rows of taps at
// eight pixels, 3 words each, meet no bank twice.
constexpr int kPatchPitch = 56;

__device__ __forceinline__ unsigned pack(__half low, __half high) {
    const __half2 pair = __halves2half2(low, high);
    return *reinterpret_cast<const unsigned*>(&pair);
}

__device__ __forceinline__ unsigned pack(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const unsigned*>(&pair);
}

// One element as it is multiplied. What each level of its channel is, rounded, lies in `levels`.
__device__ __forceinline__ __half stem_half(uint8_t x, const __half* levels) {
    return levels[x];
}

__device__ __forceinline__ __half stem_half(__half x, const __half*) {
    return x;
}

__device__ __forceinline__ __half stem_half(float x, const __half*) {
    return __float2half_rn(x);
}

// Four elements as they are multiplied; `levels` are those of the first three's channels.
__device__ __forceinline__ uint2 stem_halves(unsigned x, const __half* const (&levels)[3]) {
    const auto at = [&](int i) { return levels[i % 3][__byte_perm(x, 0, 0x4440 + i)]; };
    return make_uint2(pack(at(0), at(1)), pack(at(2), at(3)));
}

__device__ __forceinline__ uint2 stem_halves(uint2 x, const __half* const (&)[3]) {
    return x;
}

__device__ __forceinline__ uint2 stem_halves(uint4 x, const __half* const (&)[3]) {
    return make_uint2(pack(__uint_as_float(x.x), __uint_as_float(x.y)),
                      pack(__uint_as_float(x.z), __uint_as_float(x.w)));
}

// Weights as tensor cores take them: of each octet of channels and each lane the pairs of its four
// pairs of taps. Columns of the octets of one step over channels are dealt so that a lane has
// neighbouring channels of a pixel.
__device__ __forceinline__ void stem_fragments(const StemParams& p, uint4* fragments, int odd) {
    const int octets = p.c_out / 8;
    const int lane = threadIdx.x % kWarpSize;
    const int t = lane % 4;
    const int column = lane / 4;
#pragma unroll 1
    for (int octet = threadIdx.x / kWarpSize; octet < octets; octet += kStemWarps) {
        const int rest = octets - octet / 4 * 4;  // octets of this step over channels and later
        const int of_step = octet % 4;
        const int step = rest >= 4 ? 4 : rest >= 2 && of_step < 2 ? 2 : 1;
        const int first = octet - of_step % step;
        const int channel = 8 * first + 2 * step * (column / 2) + 2 * (of_step % step) + column % 2;
        const __half* weight = static_cast<const __half*>(p.weight) + channel;  // [27, c_out]
        const auto tap = [&](int row, int value) { return weight[(9 * row + value) * p.c_out]; };
        unsigned pairs[4] = {};
#pragma unroll
        for (int row = 0; row < 3; ++row) {
            pairs[row] = pack(tap(row, 2 * t + odd), tap(row, 2 * t + odd + 1));
        }
        if (t < 3) {
            const __half zero = __float2half_rn(0.0f);
            const __half last = tap(t, odd ? 0 : 8);
            pairs[3] = odd ? pack(zero, last) : pack(last, zero);
        }
        fragments[octet * kWarpSize + lane] = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    }
}

template <int N>
__device__ __forceinline__ void store_words(__half* at, const unsigned (&words)[N]) {
    if constexpr (N == 4) {
        *reinterpret_cast<uint4*>(at) = make_uint4(words[0], words[1], words[2], words[3]);
    } else if constexpr (N == 2) {
        *reinterpret_cast<uint2*>(at) = make_uint2(words[0], words[1]);
    } else {
        *reinterpret_cast<unsigned*>(at) = words[0];
    }
}

// Scale and shift of 2 * N channels as pairs.
template <int N>
__device__ __forceinline__ void load_pairs(const float* at, float2 (&to)[N]) {
    if constexpr (N == 1) {
        to[0] = *reinterpret_cast<const float2*>(at);
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 2) {
            const float4 four = *reinterpret_cast<const float4*>(at + 2 * i);
            to[i] = make_float2(four.x, four.y);
            to[i + 1] = make_float2(four.z, four.w);
        }
    }
}

// Where a lane's taps lie in a patch, in words, before the row's offset.
struct StemLane {
    int pairs;      // of the first of three rows of taps
    int last;       // of its own row's odd value
    unsigned mask;  // of the half that has it
};

// 8 * OCTETS channels from `c` on, of a warp's rows of a tile: `output` points to the first pixel
// and channel that the lane has in the warp's first row, `pixels` says which of its two are there.
template <int OCTETS>
__device__ __forceinline__ void stem_channels(const StemParams& p, const uint4* fragments,
                                              const unsigned* patch, const StemLane& at, int c,
                                              int rows, const bool (&pixels)[2], __half* output) {
    const int lane = threadIdx.x % kWarpSize;
    const int channel = c + 2 * OCTETS * (lane % 4);
    uint4 weight[OCTETS];
#pragma unroll
    for (int i = 0; i < OCTETS; ++i) {
        weight[i] = fragments[(c / 8 + i) * kWarpSize + lane];
    }
    const float* bn = reinterpret_cast<const float*>(fragments + 4 * p.c_out);  // [2, c_out]
    float2 scale[OCTETS], shift[OCTETS];
    load_pairs(bn + channel, scale);
    load_pairs(bn + p.c_out + channel, shift);
    output += channel;
    const int row_stride = kStemWarps * p.w_out * p.c_out;

#pragma unroll 1
    for (int row = threadIdx.x / kWarpSize; row < rows; row += kStemWarps) {
        // The second of a lane's two pixels is 8 columns, 24 words, further.
        const unsigned* pairs = patch + 2 * row * kPatchPitch + at.pairs;
        const unsigned* last = patch + 2 * row * kPatchPitch + at.last;
        const unsigned first[4] = {pairs[0], pairs[24], pairs[kPatchPitch],
                                   pairs[kPatchPitch + 24]};
        const unsigned second[4] = {pairs[2 * kPatchPitch], pairs[2 * kPatchPitch + 24],
                                    last[0] & at.mask, last[24] & at.mask};
        float acc[OCTETS][4] = {};
#pragma unroll
        for (int i = 0; i < OCTETS; ++i) {
            multiply(acc[i], first, weight[i].x, weight[i].y);
        }
#pragma unroll
        for (int i = 0; i < OCTETS; ++i) {
            multiply(acc[i], second, weight[i].z, weight[i].w);
        }
        with_activation(p.activation, [&](auto activation) {
            constexpr int32_t kActivation = decltype(activation)::kValue;
#pragma unroll
            for (int q = 0; q < 2; ++q) {
                unsigned words[OCTETS];
#pragma unroll
                for (int i = 0; i < OCTETS; ++i) {
                    const float x = fmaf(acc[i][2 * q], scale[i].x, shift[i].x);
                    const float y = fmaf(acc[i][2 * q + 1], scale[i].y, shift[i].y);
                    words[i] =
                        pack(activate<__half, kActivation>(x), activate<__half, kActivation>(y));
                }
                if (pixels[q]) {
                    store_words(output + q * 8 * p.c_out, words);
                }
            }
        });
        output += row_stride;
    }
}

template <typename INPUT>
__device__ __forceinline__ void stem_f16(const StemParams& p) {
    using Vector = typename Quad<INPUT>::Vector;
    constexpr bool kIsLevels = sizeof(INPUT) == 1;
    constexpr int kRows = (kStemPatchRows + kStemWarps - 1) / kStemWarps;
    extern __shared__ uint4 fragments[];  // [c_out / 8, lanes], then scale and shift, [c_out]
    __shared__ __align__(16) unsigned patches[2][kStemPatchRows * kPatchPitch];
    __shared__ __half levels[kIsLevels ? 3 * kLevels : 1];  // [channels, levels]
    let_next_launch_begin();
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;

    // A row of the patch begins with the quad of the input that has its first element, element
    // `skipped` of it. An odd number makes pairs begin with the second of nine taps.
    const int skipped = -3 * p.pad_left & 3;
    const int odd = skipped & 1;
    stem_fragments(p, fragments, odd);
    float* bn = reinterpret_cast<float*>(fragments + 4 * p.c_out);
#pragma unroll 1
    for (int c = threadIdx.x; c < p.c_out; c += kStemThreads) {
        bn[c] = p.scale == nullptr ? 1.0f : p.scale[c];
        bn[p.c_out + c] = p.scale == nullptr ? 0.0f : p.shift[c];
    }
    if constexpr (kIsLevels) {
#pragma unroll 1
        for (int x = threadIdx.x; x < kLevels; x += kStemThreads) {
            const uint8_t level = static_cast<uint8_t>(x);
#pragma unroll
            for (int i = 0; i < 3; ++i) {
                levels[i * kLevels + x] = __float2half_rn(stem_value(level, p.mean[i], p.std[i]));
            }
        }
        __syncthreads();
    }
    wait_for_launches_before();

    const int t = lane % 4;
    const int words = 3 * (lane / 4);
    const StemLane at = {words + t + (odd + skipped) / 2,
                         words + min(t, 2) * kPatchPitch + (odd ? 0 : 4 + skipped / 2),
                         t == 3 ? 0u
                         : odd  ? 0xffff0000u
                                : 0xffffu};
    const int row_elems = 3 * p.w_in;
    const int tile_w = blockIdx.x * kStemTileCols;
    const int elem = 3 * (2 * tile_w - p.pad_left) - skipped + 4 * lane;  // of a row of the input
    const __half* level[3] = {levels, levels, levels};                    // of a quad's channels
    if constexpr (kIsLevels) {
#pragma unroll
        for (int i = 0; i < 3; ++i) {
            level[i] += (lane + i + 3 - skipped) % 3 * kLevels;
        }
    }
    const INPUT* input = static_cast<const INPUT*>(p.input) +
                         static_cast<int>(blockIdx.z) * p.h_in * row_elems;  // [h_in, w_in * 3]
    const bool aligned =
        reinterpret_cast<uintptr_t>(p.input) % sizeof(Vector) == 0 && row_elems % 4 == 0;
    const bool in_row = lane < kPatchQuads && elem >= 0 && elem < row_elems;
    const int column = tile_w + lane / 4;
    const bool pixels[2] = {column < p.w_out, column + 8 < p.w_out};

    int buffer = 0;
    for (int tile_h = blockIdx.y * kStemTileRows; tile_h < p.h_out;
         tile_h += gridDim.y * kStemTileRows) {
        // A warp takes every fourth row of the patch, a lane four elements of it.
        unsigned* patch = patches[buffer];
        uint2* to = reinterpret_cast<uint2*>(patch + warp * kPatchPitch) + lane;
        const int top = 2 * tile_h - p.pad_top + warp;
        const INPUT* from = input + top * row_elems + elem;
        const auto in_patch = [&](int i) {
            return (i + 1) * kStemWarps <= kStemPatchRows || warp + i * kStemWarps < kStemPatchRows;
        };
        const auto in_image = [&](int i) {
            return static_cast<unsigned>(top + i * kStemWarps) < static_cast<unsigned>(p.h_in);
        };
        if (aligned) {
            Vector quads[kRows] = {};
#pragma unroll
            for (int i = 0; i < kRows; ++i) {
                if (in_row && in_image(i)) {
                    quads[i] = *reinterpret_cast<const Vector*>(from + i * kStemWarps * row_elems);
                }
            }
            if (lane < kPatchQuads) {
#pragma unroll
                for (int i = 0; i < kRows; ++i) {
                    uint2 halves = stem_halves(quads[i], level);
                    if (kIsLevels && !(in_row && in_image(i))) {
                        halves = make_uint2(0, 0);
                    }
                    if (in_patch(i)) {
                        to[i * kStemWarps * kPatchPitch / 2] = halves;
                    }
                }
            }
        } else if (lane < kPatchQuads) {
#pragma unroll 1
            for (int i = 0; in_patch(i); ++i) {
                __half halves[4];
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    halves[j] = __float2half_rn(0.0f);
                    if (in_image(i) && elem + j >= 0 && elem + j < row_elems) {
                        halves[j] = stem_half(from[i * kStemWarps * row_elems + j], level[j % 3]);
                    }
                }
                to[i * kStemWarps * kPatchPitch / 2] =
                    make_uint2(pack(halves[0], halves[1]), pack(halves[2], halves[3]));
            }
        }
        // Also: the patch that is written next was read before this.
        __syncthreads();

        const int rows = min(p.h_out - tile_h, kStemTileRows);
        __half* output =
            static_cast<__half*>(p.output) +
            ((static_cast<int>(blockIdx.z) * p.h_out + tile_h + warp) * p.w_out + column) * p.c_out;
        int c = 0;
#pragma unroll 1
        for (; c + 32 <= p.c_out; c += 32) {
            stem_channels<4>(p, fragments, patch, at, c, rows, pixels, output);
        }
        if (p.c_out - c >= 16) {
            stem_channels<2>(p, fragments, patch, at, c, rows, pixels, output);
            c += 16;
        }
        if (c < p.c_out) {
            stem_channels<1>(p, fragments, patch, at, c, rows, pixels, output);
        }
        buffer ^= 1;
    }
}

#define STEM(name, body)                                       \
    extern "C" __global__ void __launch_bounds__(kStemThreads) \
        name(const __grid_constant__ StemParams p) {           \
        body(p);                                               \
    }

STEM(effnet_stem_u8_f16, stem_f16<uint8_t>)
STEM(effnet_stem_f16_f16, stem_f16<__half>)
STEM(effnet_stem_f32_f16, stem_f16<float>)
STEM(effnet_stem_u8_f32, stem<uint8_t>)
STEM(effnet_stem_f32_f32, stem<float>)
