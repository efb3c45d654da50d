// A depthwise window over a map in shared memory, on tensor cores: the matrix of taps is diagonal.
//
// The map is a patch of [rows, columns, GROUP channels] f16 with everything under the windows of a
// tile of output, zeros where that is outside the image. A warp makes an item: an octet of channels
// of two strips, each of 8 neighbouring output columns and 4 output rows. A product is of 16 pixels,
// 8 of each strip, by 8 channels: A has a tap's pixels, B that tap's weights on its diagonal, and
// two taps of a row go into one instruction. The order of every sum is that of the taps, so an
// output's bits depend neither on its strip nor on its tile.
//
// A zero of B times an infinity or a NaN is NaN: one of them makes NaN of all channels of its octet,
// at the windows that touch it.
#pragma once

#include "tensor_core.cuh"

constexpr int kOctet = 8;
constexpr int kStripCols = 8;
constexpr int kStripRows = 4;

// The layout of a map. Pixels lie an odd number of 16 bytes apart, so that 8 neighbours meet no bank
// twice. With a stride of 2 the even columns of a row come first, then the odd ones: the columns
// under a tap are neighbours again.
template <int K, int STRIDE, int GROUP>
struct DepthwiseMap {
    static constexpr int kPixelBytes = (GROUP + 8) * 2;
    static constexpr int kOctets = GROUP / kOctet;
    // Input rows under the 4 rows of a strip.
    static constexpr int kWindowRows = (kStripRows - 1) * STRIDE + K;
    static_assert(kPixelBytes / 16 % 2 == 1, "8 neighbours meet no bank twice");

    unsigned address;  // in shared memory, of its first pixel
    int row_bytes;
    int odd_bytes;  // from the first even column of a row to the first odd one

    // `cols` is what map_cols() says.
    __device__ __forceinline__ DepthwiseMap(const void* shared, int cols)
        : address(static_cast<unsigned>(__cvta_generic_to_shared(shared))),
          row_bytes(cols * kPixelBytes),
          odd_bytes((cols + 1) / 2 * kPixelBytes) {}

    // Bytes from the start of a row to a column of it.
    __device__ __forceinline__ int column(int col) const {
        return STRIDE == 1 ? col * kPixelBytes : col / 2 * kPixelBytes + col % 2 * odd_bytes;
    }
};

// --- Taps ---

// An octet's taps as B: this lane's two elements of each diagonal matrix.
template <int K>
struct DiagonalTaps {
    unsigned b[K][K];

    // `weight` points at the octet's first channel of [K, K, c].
    __device__ __forceinline__ void load(const __half* weight, int c) {
        const int lane = threadIdx.x % kWarpSize;
        const int column = lane / 4;
        // Rows of B: 2 * (lane % 4) in the low half, the next in the high one.
        const unsigned mask = lane % 4 != column / 2 ? 0u
                              : column % 2 == 0      ? 0x0000ffffu
                                                     : 0xffff0000u;
#pragma unroll
        for (int i = 0; i < K; ++i) {
#pragma unroll
            for (int j = 0; j < K; ++j) {
                const unsigned tap = __half_as_ushort(__ldg(weight + (i * K + j) * c + column));
                b[i][j] = (tap | tap << 16) & mask;
            }
        }
    }
};

// --- The windows of two strips ---

// Sums of two strips: [row][2 * strip + channel], of pixel lane / 4 and the channels
// 2 * (lane % 4) and the next.
using StripSums = float[kStripRows][4];

// `strips` are where the windows of the strips begin, in bytes from the start of the map.
template <int K, int STRIDE, int GROUP>
__device__ __forceinline__ void depthwise_strips(const DepthwiseMap<K, STRIDE, GROUP>& map,
                                                 const DiagonalTaps<K>& taps, int octet,
                                                 const int (&strips)[2], StripSums& sums) {
    using Map = DepthwiseMap<K, STRIDE, GROUP>;
    const int lane = threadIdx.x % kWarpSize;
    // ldmatrix: lanes 0 to 7 address the first strip's pixels under a tap, 8 to 15 the second's, and
    // the next 16 lanes the same under the next tap.
    const unsigned first = map.address + octet * kOctet * 2 + lane % 8 * Map::kPixelBytes +
                           (lane / 8 % 2 == 0 ? strips[0] : strips[1]);
    unsigned pairs = first + (lane / 16 == 0 ? 0 : map.column(1));
    // An even number of columns to the right is the same whatever the stride.
    unsigned last = first + map.column(K - 1);

#pragma unroll
    for (int row = 0; row < kStripRows; ++row) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sums[row][i] = 0.0f;
        }
    }
#pragma unroll
    for (int r = 0; r < Map::kWindowRows; ++r) {
        unsigned two[K / 2][4];
        unsigned one[2];
#pragma unroll
        for (int j = 0; j < K / 2; ++j) {
            load_matrices(two[j], pairs + 2 * j / STRIDE * Map::kPixelBytes);
        }
        load_matrices(one, last);
        pairs += map.row_bytes;
        last += map.row_bytes;
#pragma unroll
        for (int i = 0; i < K; ++i) {
            const int row = (r - i) / STRIDE;
            if (r < i || (r - i) % STRIDE != 0 || row >= kStripRows) {
                continue;
            }
#pragma unroll
            for (int j = 0; j < K / 2; ++j) {
                multiply(sums[row], two[j], taps.b[i][2 * j], taps.b[i][2 * j + 1]);
            }
            multiply(sums[row], one, taps.b[i][K - 1]);
        }
    }
}

// --- A tile ---

// The output of a tile, a group of channels at a time.
struct DepthwiseTileOutput {
    __half* output;  // [tile's first row and column, group's first channel]; rows w_out apart
    int w_out;
    int c;         // channels of the output
    int rows;      // of the tile that are in the image
    int cols;
    int channels;  // of the group that there are, a multiple of 8
    int strip_cols;            // strips side by side
    unsigned strip_reciprocal;  // see reciprocal()
};

// ceil(2^20 / d): n / d is n * that >> 20 where n * d < 2^20.
__device__ __forceinline__ unsigned reciprocal(int d) {
    return ((1u << 20) + d - 1) / d;
}

__device__ __forceinline__ int divided(int n, unsigned reciprocal) {
    return static_cast<int>(n * reciprocal >> 20);
}

// Pairs of strips of a tile of output.
__device__ __forceinline__ int strip_pairs(int rows, int strip_cols) {
    return (((rows + kStripRows - 1) / kStripRows) * strip_cols + 1) / 2;
}

// This warp's items of one group. `sums` [pairs, GROUP] gets each item's sums of the activated
// output, if it is not null. `scale` and `shift` [c], both null: neither is applied; they and
// `weight` [K, K, c] point at the group's first channel.
template <int K, int STRIDE, int GROUP, int WARPS, int32_t ACTIVATION>
__device__ __forceinline__ void depthwise_tile(const DepthwiseMap<K, STRIDE, GROUP>& map,
                                               const DepthwiseTileOutput& out,
                                               const __half* weight, const float* scale,
                                               const float* shift, float* sums) {
    using Map = DepthwiseMap<K, STRIDE, GROUP>;
    static_assert(WARPS % Map::kOctets == 0, "a warp keeps to its octet");
    constexpr int kPairStep = WARPS / Map::kOctets;
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const int octet = warp % Map::kOctets;
    if (octet * kOctet >= out.channels) {
        return;
    }
    const int channel = octet * kOctet + lane % 4 * 2;
    DiagonalTaps<K> taps;
    taps.load(weight + octet * kOctet, out.c);
    float2 factor = {1.0f, 1.0f};
    float2 term = {-0.0f, -0.0f};  // plus x is x, of every x
    if (scale != nullptr) {
        factor = load_pair(scale + channel);
        term = load_pair(shift + channel);
    }

    const int pairs = strip_pairs(out.rows, out.strip_cols);
#pragma unroll 1
    for (int pair = warp / Map::kOctets; pair < pairs; pair += kPairStep) {
        int strips[2];
        int rows[2];   // rows of the strip that this lane stores; none where its column is outside
        __half* to[2];  // this lane's pixel of the strip's first row
#pragma unroll
        for (int s = 0; s < 2; ++s) {
            const int strip = 2 * pair + s;
            const int strip_row = divided(strip, out.strip_reciprocal);
            const int row = strip_row * kStripRows;
            const int col = (strip - strip_row * out.strip_cols) * kStripCols;
            // A strip beyond the last reads the first, and is not stored.
            strips[s] = row < out.rows
                            ? row * STRIDE * map.row_bytes + col * Map::kPixelBytes
                            : 0;
            rows[s] = col + lane / 4 < out.cols ? out.rows - row : 0;
            to[s] = out.output + (row * out.w_out + col + lane / 4) * out.c + channel;
        }
        StripSums acc;
        depthwise_strips(map, taps, octet, strips, acc);

        float2 sum[2] = {};
#pragma unroll
        for (int row = 0; row < kStripRows; ++row) {
#pragma unroll
            for (int s = 0; s < 2; ++s) {
                float2 y;
                y.x = activate<__half, ACTIVATION>(fmaf(acc[row][2 * s], factor.x, term.x));
                y.y = activate<__half, ACTIVATION>(fmaf(acc[row][2 * s + 1], factor.y, term.y));
                if (row < rows[s]) {
                    sum[s].x += y.x;
                    sum[s].y += y.y;
                    store_pair(to[s] + row * out.w_out * out.c, y);
                }
            }
        }
        if (sums != nullptr) {
            float2 total = {sum[0].x + sum[1].x, sum[0].y + sum[1].y};
#pragma unroll
            for (int offset = 4; offset < kWarpSize; offset *= 2) {
                total.x += __shfl_xor_sync(kFullWarp, total.x, offset);
                total.y += __shfl_xor_sync(kFullWarp, total.y, offset);
            }
            if (lane < 4) {
                store_pair(sums + pair * GROUP + channel, total);
            }
        }
    }
}
