// A depthwise window over a map in shared memory, on tensor cores: the matrix of taps is diagonal.
//
// The map is a patch of [rows, columns, GROUP channels] f16 with everything under the windows of a
// tile of output, zeros where that is outside the image. A warp makes an item: an octet of channels
// of two strips, each of 8 neighbouring output columns and 4 output rows. A product is of 16
// pixels, 8 of each strip, by 8 channels: A has a tap's pixels, B that tap's weights on its
// diagonal, and two taps of a row go into one instruction. The order of every sum is that of the
// taps, so an output's bits depend neither on its strip nor on its tile.
//
// A zero of B times an infinity or a NaN is NaN: one of them makes NaN of all channels of its
// octet, at the windows that touch it.
#pragma once

#include "tensor_core.cuh"

constexpr int kOctet = 8;

// The layout of a map. Pixels lie an odd number of 16 bytes apart, so that 8 neighbours meet no
// bank twice. With a stride of 2 the even columns of a row come first, then the odd ones: the
// columns under a tap are neighbours again.
template <int K, int STRIDE, int GROUP>
struct DepthwiseMap {
    static constexpr int kPixelBytes = (GROUP + 8) * 2;
    static constexpr int kOctets = GROUP / kOctet;
    // Input rows under the 4 rows of a strip.
    static constexpr int kWindowRows = (kDepthwiseStripRows - 1) * STRIDE + K;
    static_assert(kPixelBytes / 16 % 2 == 1, "8 neighbours meet no bank twice");

    unsigned address;  // in shared memory, of its first pixel
    int row_bytes;
    int odd_bytes;  // from the first even column of a row to the first odd one

    // `cols` are the columns of the patch.
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

// What an octet of channels is multiplied by: its taps as B, this lane's two elements of each
// diagonal matrix; and the batch-norm of this lane's channels, lane % 4 * 2 and the next.
template <int K>
struct DepthwiseOctet {
    unsigned b[K][K];
    float2 factor;
    float2 term;

    // `weight` points at the octet's first channel of [K, K, c], `scale` and `shift` at that of
    // [c]; both null: neither is applied. All of them are in shared memory, or none.
    template <bool SHARED>
    __device__ __forceinline__ void load(const __half* weight, const float* scale,
                                         const float* shift, int c) {
        const int lane = threadIdx.x % kWarpSize;
        const int column = lane / 4;
        // Rows of B: 2 * (lane % 4) in the low half, the next in the high one.
        const unsigned mask = lane % 4 != column / 2 ? 0u
                              : column % 2 == 0      ? 0x0000ffffu
                                                     : 0xffff0000u;
        weight += column / 2 * 2;
#pragma unroll
        for (int i = 0; i < K; ++i) {
#pragma unroll
            for (int j = 0; j < K; ++j) {
                const auto* at = reinterpret_cast<const unsigned*>(weight + (i * K + j) * c);
                b[i][j] = (SHARED ? *at : __ldg(at)) & mask;
            }
        }
        factor = {1.0f, 1.0f};
        term = {-0.0f, -0.0f};  // plus x is x, of every x
        if (scale != nullptr) {
            factor = load_pair(scale + lane % 4 * 2);
            term = load_pair(shift + lane % 4 * 2);
        }
    }
};

// --- The windows of two strips ---

// Calls finish(row, sums) for each of the strips' rows, downwards, as soon as its sums are whole:
// sums[2 * strip + channel], of pixel lane / 4 and the channels lane % 4 * 2 and the next. `strips`
// are where the windows of the strips begin, in bytes from the start of the map.
template <int K, int STRIDE, int GROUP, typename F>
__device__ __forceinline__ void depthwise_strips(const DepthwiseMap<K, STRIDE, GROUP>& map,
                                                 const unsigned (&taps)[K][K], int octet,
                                                 const int (&strips)[2], F&& finish) {
    using Map = DepthwiseMap<K, STRIDE, GROUP>;
    const int lane = threadIdx.x % kWarpSize;
    // ldmatrix: lanes 0 to 7 address the first strip's pixels under a tap, 8 to 15 the second's,
    // and the next 16 lanes the same under the next tap. Only the first 16 address the last tap.
    unsigned address = map.address + octet * kOctet * 2 + lane % 8 * Map::kPixelBytes +
                       (lane / 8 % 2 == 0 ? strips[0] : strips[1]) +
                       (lane / 16 == 0 ? 0 : map.column(1));
    constexpr int kPairBytes = 2 / STRIDE * Map::kPixelBytes;

    float sums[kDepthwiseStripRows][4];
#pragma unroll
    for (int r = 0; r < Map::kWindowRows; ++r) {
        unsigned two[K / 2][4];
        unsigned one[2];
#pragma unroll
        for (int j = 0; j < K / 2; ++j) {
            load_matrices(two[j], address + j * kPairBytes);
        }
        load_matrices(one, address + K / 2 * kPairBytes);
        address += map.row_bytes;
        // The row that this one completes comes first.
#pragma unroll
        for (int i = K - 1; i >= 0; --i) {
            const int row = (r - i) / STRIDE;
            if (r < i || (r - i) % STRIDE != 0 || row >= kDepthwiseStripRows) {
                continue;
            }
            float (&d)[4] = sums[row];
            if (i == 0) {
                multiply_into(d, two[0], taps[0][0], taps[0][1]);
            } else {
                multiply(d, two[0], taps[i][0], taps[i][1]);
            }
#pragma unroll
            for (int j = 1; j < K / 2; ++j) {
                multiply(d, two[j], taps[i][2 * j], taps[i][2 * j + 1]);
            }
            multiply(d, one, taps[i][K - 1]);
            if (i == K - 1) {
                finish(row, d);
            }
        }
    }
}

// --- A tile ---

// Where a strip lies, in its tile's map and output, and how much of it is in the image. In shared
// memory: it is the same for every octet.
struct alignas(16) DepthwiseStrip {
    int map;     // bytes from the start of the map to its windows
    int output;  // elements from the tile's first pixel to its own
    int rows;    // from its first one to the tile's last; none of a strip beyond the last
    int cols;
};

// The output of a tile, a group of channels at a time.
struct DepthwiseTileOutput {
    __half* output;  // [tile's first row and column, group's first channel]; rows w_out apart
    int w_out;
    int c;         // channels of the output
    int channels;  // of the group that there are, a multiple of 8
};

// Pairs of strips of a tile of output that is `strip_cols` strips wide.
__device__ __forceinline__ int strip_pairs(int rows, int strip_cols) {
    return (((rows + kDepthwiseStripRows - 1) / kDepthwiseStripRows) * strip_cols + 1) / 2;
}

// The strips of a tile of [rows, cols] outputs, by rows, in pairs; threads are the block's. `row`
// and `column` are the elements from one row, and one column, of the output to the next.
template <int K, int STRIDE, int GROUP>
__device__ __forceinline__ void place_strips(DepthwiseStrip* strips, int rows, int cols,
                                             const DepthwiseMap<K, STRIDE, GROUP>& map, int row,
                                             int column) {
    const int strip_cols = (cols + kDepthwiseStripCols - 1) / kDepthwiseStripCols;
#pragma unroll 1
    for (int i = threadIdx.x; i < 2 * strip_pairs(rows, strip_cols); i += blockDim.x) {
        const int h = i / strip_cols * kDepthwiseStripRows;
        const int w = i % strip_cols * kDepthwiseStripCols;
        // A strip beyond the last reads the first, and is not stored.
        const bool live = h < rows;
        DepthwiseStrip strip;
        strip.map = live ? h * STRIDE * map.row_bytes + w * map.kPixelBytes : 0;
        strip.output = live ? h * row + w * column : 0;
        strip.rows = live ? rows - h : 0;
        strip.cols = cols - w;
        strips[i] = strip;
    }
}

// The octet of a group that this warp makes.
template <int GROUP>
__device__ __forceinline__ int octet_of_warp() {
    return threadIdx.x / kWarpSize % (GROUP / kOctet);
}

// Stores under a predicate: no branch, so that the next row's loads can be under way.
__device__ __forceinline__ void store_pair_if(bool live, __half* at, float2 value) {
    const __half2 pair = __float22half2_rn(value);
    asm volatile(
        "{\n\t.reg .pred live;\n\tsetp.ne.s32 live, %2, 0;\n\t"
        "@live st.global.b32 [%0], %1;\n\t}" ::"l"(at),
        "r"(*reinterpret_cast<const unsigned*>(&pair)), "r"(static_cast<int>(live))
        : "memory");
}

// This warp's items of one group: of the first `pairs` pairs of `strips`. `sums` [pairs, GROUP] gets
// each item's sums of the activated output, if it is not null. `of` is what octet_of_warp() of the
// group is multiplied by.
template <int K, int STRIDE, int GROUP, int WARPS, int32_t ACTIVATION>
__device__ __forceinline__ void depthwise_tile(const DepthwiseMap<K, STRIDE, GROUP>& map,
                                               const DepthwiseStrip* strips, int pairs,
                                               const DepthwiseTileOutput& out,
                                               const DepthwiseOctet<K>& of, float* sums) {
    using Map = DepthwiseMap<K, STRIDE, GROUP>;
    static_assert(WARPS % Map::kOctets == 0, "a warp keeps to its octet");
    constexpr int kPairStep = WARPS / Map::kOctets;
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const int octet = octet_of_warp<GROUP>();
    if (octet * kOctet >= out.channels) {
        return;
    }
    // This lane's pixel of the tile's first strip, and from a row to the next. Opaque to the
    // compiler, which would otherwise make each row's address anew, of more instructions than one
    // addition.
    __half* place = out.output + octet * kOctet + lane / 4 * out.c + lane % 4 * 2;
    int row_elems = out.w_out * out.c;
    // Lanes 0 to 3 get the sums of their first channels, 4 to 7 those of the second.
    constexpr unsigned kNone = ~0u;
    unsigned sum_at = sums == nullptr ? kNone
                                      : static_cast<unsigned>(__cvta_generic_to_shared(sums)) +
                                            (octet * kOctet + lane % 4 * 2 + lane / 4) * 4;
    int lane_once = lane;
    asm volatile("" : "+l"(place), "+r"(row_elems), "+r"(sum_at));

#pragma unroll 1
    for (int pair = warp / Map::kOctets; pair < pairs; pair += kPairStep) {
        int starts[2];  // of the strips' windows
        int rows[2];    // rows of the strip that this lane stores; none where it is outside
        __half* to[2];  // this lane's pixel of the strip's next row
#pragma unroll
        for (int s = 0; s < 2; ++s) {
            const int4 strip = reinterpret_cast<const int4*>(strips)[2 * pair + s];
            starts[s] = strip.x;
            to[s] = place + strip.y;
            rows[s] = lane / 4 < strip.w ? strip.z : 0;
        }

        float2 sum[2];
        depthwise_strips(map, of.b, octet, starts, [&](int row, const float (&d)[4]) {
#pragma unroll
            for (int s = 0; s < 2; ++s) {
                float2 y;
                y.x = activate<__half, ACTIVATION>(fmaf(d[2 * s], of.factor.x, of.term.x));
                y.y = activate<__half, ACTIVATION>(fmaf(d[2 * s + 1], of.factor.y, of.term.y));
                const bool live = row < rows[s];
                if (row == 0) {
                    sum[s].x = live ? y.x : 0.0f;
                    sum[s].y = live ? y.y : 0.0f;
                } else if (live) {
                    sum[s].x += y.x;
                    sum[s].y += y.y;
                }
                store_pair_if(live, to[s], y);
                to[s] += row_elems;
            }
        });
        if (sum_at != kNone) {
            // Over the strips, then over the pixels in a tree: of both channels in half the
            // exchanges, each lane going on with one of them.
            const bool is_second = (lane_once & 4) != 0;
            const float x = sum[0].x + sum[1].x;
            const float y = sum[0].y + sum[1].y;
            float total = is_second ? y : x;
            total += __shfl_xor_sync(kFullWarp, is_second ? x : y, 4);
            total += __shfl_xor_sync(kFullWarp, total, 8);
            total += __shfl_xor_sync(kFullWarp, total, 16);
            if (lane_once < 8) {
                asm volatile("st.shared.f32 [%0], %1;" ::"r"(sum_at + pair * (GROUP * 4)),
                             "f"(total)
                             : "memory");
            }
        }
    }
}
