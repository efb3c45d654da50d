// One output tile of a 1x1 convolution on tensor cores: the sum over c_in, its chunks put together
// over blocks, and the epilogue. kernels/pointwise.cu has the formula and what must hold.
#pragma once

#include "tensor_core.cuh"

// Channels of a chunk of the sum over c_in: by c_in alone, so that every tile shape, split or not,
// adds up in the same order.
__device__ __forceinline__ int pointwise_chunk(int c_in) {
    const bool is_short = c_in > kPointwiseLongChunk && c_in <= kPointwiseShortSum;
    return is_short ? kPointwiseShortChunk : kPointwiseLongChunk;
}

constexpr int kPointwiseStep = 32;  // channels multiplied between two barriers
constexpr int kChunkHalves = 8;     // halves copied at once: 16 bytes
constexpr int kStepVectors = kPointwiseStep / kChunkHalves;  // of one row
static_assert(kPointwiseShortChunk % kPointwiseStep == 0, "a chunk is whole steps");
static_assert(kPointwiseLongChunk % kPointwiseStep == 0, "a chunk is whole steps");

// Where 8 halves of a [rows, 32] tile lie in shared memory. Rows are 64 bytes; their vectors change
// places so that 8 rows of an ldmatrix meet no bank twice.
__device__ __forceinline__ int swizzled(int row, int vector) {
    return row * kPointwiseStep + (vector ^ (row / 2 % kStepVectors)) * kChunkHalves;
}

// A block's tile of ROWS x COLS outputs, cut among ROW_WARPS x COL_WARPS warps; STAGES steps of
// factors are in shared memory or on their way there.
template <int ROWS, int COLS, int ROW_WARPS, int COL_WARPS, int STAGES>
struct PointwiseTile {
    static constexpr int kRows = ROWS;
    static constexpr int kCols = COLS;
    static constexpr int kColWarps = COL_WARPS;
    static constexpr int kStages = STAGES;
    static constexpr int kThreads = ROW_WARPS * COL_WARPS * kWarpSize;
    static constexpr int kWarpRows = ROWS / ROW_WARPS;
    static constexpr int kWarpCols = COLS / COL_WARPS;
    static constexpr int kM = kWarpRows / 16;  // fragments of a warp down
    static constexpr int kN = kWarpCols / 8;   // and across
    // Vectors that a thread copies in a step.
    static constexpr int kInputCopies = ROWS * kStepVectors / kThreads;
    static constexpr int kWeightCopies = COLS * kStepVectors / kThreads;
    // Halves of the output tile's rows, so that the 8 rows of a fragment meet no bank twice.
    static constexpr int kOutputPitch = COLS + kChunkHalves;
    static constexpr int kGroups = ROWS / 16;  // of rows, in the pool's sums
    static constexpr int kStageHalves = (ROWS + COLS) * kPointwiseStep;
    static constexpr int kOutputHalves = ROWS * kOutputPitch;
    static constexpr int kEpilogueHalves = kOutputHalves + 2 * kGroups * COLS;

    using Sums = float[kM][kN][4];  // [16 rows, 8 columns] each

    static_assert(kWarpRows % 16 == 0 && kWarpCols % 16 == 0, "whole ldmatrix loads");
    static_assert(kInputCopies * kThreads == ROWS * kStepVectors, "no thread copies less");
    static_assert(kWeightCopies * kThreads == COLS * kStepVectors, "no thread copies less");
    static_assert(kEpilogueHalves <= STAGES * kStageHalves, "the epilogue fits");
    static_assert(kEpilogueHalves % kChunkHalves == 0, "aligned as it is");
    static_assert(STAGES * kStageHalves * sizeof(__half) <= 48 * 1024, "static shared memory");
    static_assert(COLS <= kThreads, "one thread for each column's sum");
};

// Which part of the output a block makes.
struct PointwisePlace {
    int tile;      // of all: the index of its arrivals
    int row_tile;  // [n, tiles] where pooled
    int first_row;
    int end_row;  // rows from here on belong to another image, or to none
    int first_col;
};

// Column tiles first: blocks that read the same rows run at the same time.
template <typename Tile>
__device__ __forceinline__ PointwisePlace pointwise_place(const PointwiseParams& p, int tile) {
    const int col_tiles = (p.c_out + Tile::kCols - 1) / Tile::kCols;
    PointwisePlace place;
    place.tile = tile;
    place.row_tile = tile / col_tiles;
    place.first_col = tile % col_tiles * Tile::kCols;
    // What no tile crosses: an image, or all rows.
    const int span = p.partial_sums != nullptr ? p.pixels : p.rows;
    const int span_tiles = (span + Tile::kRows - 1) / Tile::kRows;
    const int image = place.row_tile / span_tiles;
    place.first_row = image * span + place.row_tile % span_tiles * Tile::kRows;
    place.end_row = (image + 1) * span;
    return place;
}

// --- The sum ---

// A thread's share of the copies of one factor: the same column of every ROW_STRIDE-th row.
template <int COPIES, int ROW_STRIDE>
struct FactorCopies {
    const __half* base;          // readable
    const __half* from[COPIES];  // channel `column` of each row
    bool valid[COPIES];          // false: the row is outside, zeros take its place
    int column;
    int to[COPIES];  // halves within the stage's tile

    __device__ __forceinline__ FactorCopies(const __half* matrix, int first, int end, int c_in)
        : base(matrix) {
        column = threadIdx.x % kStepVectors * kChunkHalves;
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const int row = threadIdx.x / kStepVectors + i * ROW_STRIDE;
            valid[i] = first + row < end;
            from[i] = matrix + (valid[i] ? (first + row) * c_in : 0) + column;
            to[i] = swizzled(row, threadIdx.x % kStepVectors);
        }
    }

    // Channels [k, k + 32), zeros from end_k on.
    __device__ __forceinline__ void copy(__half* stage, int k, int end_k) const {
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const bool is_inside = valid[i] && k + column < end_k;
            copy_chunk(stage + to[i], is_inside ? from[i] + k : base, is_inside);
        }
    }
};

__device__ __forceinline__ void load_gates(float (&to)[kChunkHalves], const float* from) {
#pragma unroll
    for (int i = 0; i < kChunkHalves; i += 4) {
        const float4 part = *reinterpret_cast<const float4*>(from + i);
        to[i] = part.x;
        to[i + 1] = part.y;
        to[i + 2] = part.z;
        to[i + 3] = part.w;
    }
}

// 8 halves in shared memory times their channels' gates, each rounded once.
__device__ __forceinline__ void apply_gates(__half* at, const float (&gates)[kChunkHalves]) {
    uint4 packed = *reinterpret_cast<const uint4*>(at);
    __half2* pairs = reinterpret_cast<__half2*>(&packed);
#pragma unroll
    for (int i = 0; i < kChunkHalves / 2; ++i) {
        const float2 x = __half22float2(pairs[i]);
        pairs[i] = __floats2half2_rn(x.x * gates[2 * i], x.y * gates[2 * i + 1]);
    }
    *reinterpret_cast<uint4*>(at) = packed;
}

// sums = the sum over channels [first_k, end_k) of x * gate times weight, chunk by chunk.
template <typename Tile>
__device__ __forceinline__ void pointwise_sum(const PointwiseParams& p, const PointwisePlace& place,
                                              int first_k, int end_k, __half* shared,
                                              typename Tile::Sums& sums) {
    constexpr int stages = Tile::kStages;
    constexpr int row_stride = Tile::kThreads / kStepVectors;
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const FactorCopies<Tile::kInputCopies, row_stride> input(
        static_cast<const __half*>(p.input), place.first_row, place.end_row, p.c_in);
    const FactorCopies<Tile::kWeightCopies, row_stride> weight(static_cast<const __half*>(p.weight),
                                                               place.first_col, p.c_out, p.c_in);

    // Weights do not come from the launch before: the first of them are under way while it ends.
    const int steps = (end_k - first_k + kPointwiseStep - 1) / kPointwiseStep;
#pragma unroll
    for (int step = 0; step < stages - 1; ++step) {
        if (step < steps) {
            weight.copy(shared + step * Tile::kStageHalves + Tile::kRows * kPointwiseStep,
                        first_k + step * kPointwiseStep, end_k);
        }
    }
    wait_for_launches_before();

    // Gates of the vectors of x that this thread copies, [n, c_in].
    const bool is_gated = p.gate != nullptr;
    // Zero where there are none: nvcc prepares addresses ahead of the condition.
    int gate_rows[Tile::kInputCopies] = {};
    float gates[kChunkHalves] = {};  // of the first of them, a step ahead
    if (is_gated) {
#pragma unroll
        for (int i = 0; i < Tile::kInputCopies; ++i) {
            const int row = place.first_row + threadIdx.x / kStepVectors + i * row_stride;
            gate_rows[i] = min(row, p.rows - 1) / p.pixels * p.c_in + input.column;
        }
        if (first_k + input.column < end_k) {
            load_gates(gates, p.gate + gate_rows[0] + first_k);
        }
    }

    // Which vectors this lane addresses for ldmatrix: of x matrices go down first, of weight along
    // k first. The tiles of the warps begin at multiples of 8 rows, so the swizzle is the lane's.
    const int warp_row = warp / Tile::kColWarps * Tile::kWarpRows;
    const int warp_col = warp % Tile::kColWarps * Tile::kWarpCols;
    int a_at[2];  // by k / 16
    int b_at[2];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
        a_at[k] = swizzled(warp_row + lane % 16, 2 * k + lane / 16);
        b_at[k] = Tile::kRows * kPointwiseStep +
                  swizzled(warp_col + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2);
    }

    const int chunk_steps = pointwise_chunk(p.c_in) / kPointwiseStep;
    const auto copy = [&](int step, int stage) {
        if (step < steps) {
            const int k = first_k + step * kPointwiseStep;
            __half* to = shared + stage * Tile::kStageHalves;
            input.copy(to, k, end_k);
            weight.copy(to + Tile::kRows * kPointwiseStep, k, end_k);
        }
        commit_copies();  // an empty group too, so that the waits count right
    };
#pragma unroll
    for (int step = 0; step < stages - 1; ++step) {
        if (step < steps) {
            input.copy(shared + step * Tile::kStageHalves, first_k + step * kPointwiseStep, end_k);
        }
        commit_copies();
    }

    typename Tile::Sums total;  // of the chunks before this one
#pragma unroll
    for (int m = 0; m < Tile::kM; ++m) {
#pragma unroll
        for (int n = 0; n < Tile::kN; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                total[m][n][i] = -0.0f;  // plus x is x, of every x
                sums[m][n][i] = 0.0f;
            }
        }
    }

    int stage = 0;
    for (int step = 0; step < steps; ++step) {
        const int k = first_k + step * kPointwiseStep;
        __half* now = shared + stage * Tile::kStageHalves;
        wait_copies<stages - 2>();
        if (is_gated && k + input.column < end_k) {
            // Each thread the vectors that it copied: no other knows yet that they are there.
#pragma unroll
            for (int i = 0; i < Tile::kInputCopies; ++i) {
                if (gate_rows[i] == gate_rows[0]) {
                    apply_gates(now + input.to[i], gates);
                } else {
                    float others[kChunkHalves];  // of another image
                    load_gates(others, p.gate + gate_rows[i] + k);
                    apply_gates(now + input.to[i], others);
                }
            }
        }
        // All copies of this step are there, and all warps are done with the stage before it.
        __syncthreads();
        copy(step + stages - 1, stage == 0 ? stages - 1 : stage - 1);
        if (is_gated && k + kPointwiseStep + input.column < end_k) {
            load_gates(gates, p.gate + gate_rows[0] + k + kPointwiseStep);
        }

#pragma unroll
        for (int half = 0; half < 2; ++half) {
            unsigned a[Tile::kM][4];
            unsigned b[Tile::kN / 2][4];
#pragma unroll
            for (int m = 0; m < Tile::kM; ++m) {
                load_matrices(a[m], now + a_at[half] + m * 16 * kPointwiseStep);
            }
#pragma unroll
            for (int n = 0; n < Tile::kN / 2; ++n) {
                load_matrices(b[n], now + b_at[half] + n * 16 * kPointwiseStep);
            }
#pragma unroll
            for (int m = 0; m < Tile::kM; ++m) {
#pragma unroll
                for (int n = 0; n < Tile::kN; ++n) {
                    multiply(sums[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
                }
            }
        }

        if ((step + 1) % chunk_steps == 0 && step + 1 < steps) {
#pragma unroll
            for (int m = 0; m < Tile::kM; ++m) {
#pragma unroll
                for (int n = 0; n < Tile::kN; ++n) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        total[m][n][i] += sums[m][n][i];
                        sums[m][n][i] = 0.0f;
                    }
                }
            }
        }
        stage = stage + 1 == stages ? 0 : stage + 1;
    }
#pragma unroll
    for (int m = 0; m < Tile::kM; ++m) {
#pragma unroll
        for (int n = 0; n < Tile::kN; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                sums[m][n][i] = total[m][n][i] + sums[m][n][i];
            }
        }
    }
}

// --- Where a thread's sums lie ---

// Row of sums[m][..][2 * half] and column of sums[..][n][0], within the tile.
template <typename Tile>
__device__ __forceinline__ int sums_row(int m, int half) {
    const int warp = threadIdx.x / kWarpSize;
    return warp / Tile::kColWarps * Tile::kWarpRows + m * 16 + half * 8 +
           threadIdx.x % kWarpSize / 4;
}

template <typename Tile>
__device__ __forceinline__ int sums_col(int n) {
    const int warp = threadIdx.x / kWarpSize;
    return warp % Tile::kColWarps * Tile::kWarpCols + n * 8 + threadIdx.x % 4 * 2;
}

// --- Chunks split over blocks ---

// Hands in one chunk's sums. True in the last block of the tile to come here, whose sums are then
// those of all chunks, added up in order.
template <typename Tile>
__device__ __forceinline__ bool pointwise_gather(const PointwiseParams& p,
                                                 const PointwisePlace& place, int chunk, int chunks,
                                                 typename Tile::Sums& sums) {
    const int elems = p.rows * p.c_out;
    float* own = p.chunk_sums + chunk * elems;  // [rows, c_out]
#pragma unroll
    for (int m = 0; m < Tile::kM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = place.first_row + sums_row<Tile>(m, half);
#pragma unroll
            for (int n = 0; n < Tile::kN; ++n) {
                const int col = place.first_col + sums_col<Tile>(n);
                if (row < place.end_row && col < p.c_out) {
                    const float2 pair = {sums[m][n][2 * half], sums[m][n][2 * half + 1]};
                    store_pair(own + row * p.c_out + col, pair);
                }
            }
        }
    }
    __syncthreads();
    bool is_last = false;
    if (threadIdx.x == 0) {
        // On behalf of the whole block: what it wrote is seen by whoever sees its arrival, and
        // the last one to arrive sees what the others wrote.
        __threadfence();
        is_last = atomicAdd(p.arrivals + place.tile, 1u) + 1 == static_cast<unsigned>(chunks);
        __threadfence();
        if (is_last) {
            atomicExch(p.arrivals + place.tile, 0u);  // for the next launch
        }
    }
    if (!__syncthreads_or(is_last)) {
        return false;
    }
    for (int i = 0; i < chunks; ++i) {
        const float* part = p.chunk_sums + i * elems;  // [rows, c_out]
#pragma unroll
        for (int m = 0; m < Tile::kM; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int row = place.first_row + sums_row<Tile>(m, half);
#pragma unroll
                for (int n = 0; n < Tile::kN; ++n) {
                    const int col = place.first_col + sums_col<Tile>(n);
                    float2 pair = {0.0f, 0.0f};
                    if (row < place.end_row && col < p.c_out) {
                        // From L2, where the other blocks' sums are.
                        pair = __ldcg(reinterpret_cast<const float2*>(part + row * p.c_out + col));
                    }
                    float* sum = &sums[m][n][2 * half];
                    sum[0] = i == 0 ? pair.x : sum[0] + pair.x;
                    sum[1] = i == 0 ? pair.y : sum[1] + pair.y;
                }
            }
        }
    }
    return true;
}

// --- Epilogue ---

// Batch-norm, activation, skip; the output and the pool's sums.
template <typename Tile, int32_t ACTIVATION>
__device__ __forceinline__ void pointwise_finish(const PointwiseParams& p,
                                                 const PointwisePlace& place, __half* shared,
                                                 typename Tile::Sums& sums) {
    constexpr int row_vectors = Tile::kCols / kChunkHalves;
    constexpr int vectors = Tile::kRows * row_vectors / Tile::kThreads;  // of a thread
    const __half* skip = static_cast<const __half*>(p.skip);             // [rows, c_out]
    __half* output = static_cast<__half*>(p.output);                     // [rows, c_out]
    // From the end: a stage that short sums leave alone.
    constexpr int begin = Tile::kStages * Tile::kStageHalves - Tile::kEpilogueHalves;
    __half* tile = shared + begin;  // [rows, pitch] of the output
    float* groups = reinterpret_cast<float*>(tile + Tile::kOutputHalves);  // [groups, cols]

    __syncthreads();  // all warps are done with the factors
    if (skip != nullptr) {
#pragma unroll
        for (int i = 0; i < vectors; ++i) {
            const int vector = threadIdx.x + i * Tile::kThreads;
            const int row = vector / row_vectors;
            const int col = vector % row_vectors * kChunkHalves;
            const bool is_inside =
                place.first_row + row < place.end_row && place.first_col + col < p.c_out;
            const int at = (place.first_row + row) * p.c_out + place.first_col + col;
            copy_chunk(tile + row * Tile::kOutputPitch + col, is_inside ? skip + at : skip,
                       is_inside);
        }
        commit_copies();
        wait_copies<0>();
        __syncthreads();
    }

#pragma unroll
    for (int n = 0; n < Tile::kN; ++n) {
        const int col = sums_col<Tile>(n);
        if (place.first_col + col >= p.c_out) {
            continue;  // the whole warp: c_out is a multiple of 8
        }
        float2 scale = {1.0f, 1.0f};
        float2 shift = {0.0f, 0.0f};
        if (p.scale != nullptr) {
            scale = load_pair(p.scale + place.first_col + col);
            shift = load_pair(p.shift + place.first_col + col);
        }
#pragma unroll
        for (int m = 0; m < Tile::kM; ++m) {
            float2 pooled = {0.0f, 0.0f};
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int row = sums_row<Tile>(m, half);
                float2 y = {sums[m][n][2 * half], sums[m][n][2 * half + 1]};
                if (p.scale != nullptr) {
                    y.x = fmaf(y.x, scale.x, shift.x);
                    y.y = fmaf(y.y, scale.y, shift.y);
                }
                y.x = activate<__half, ACTIVATION>(y.x);
                y.y = activate<__half, ACTIVATION>(y.y);
                // This thread alone reads and writes this pair.
                __half* pair = tile + row * Tile::kOutputPitch + col;
                if (skip != nullptr) {
                    const float2 s = load_pair(pair);
                    y.x += s.x;
                    y.y += s.y;
                }
                if (output != nullptr) {
                    store_pair(pair, y);
                }
                const bool is_inside = place.first_row + row < place.end_row;
                pooled.x += is_inside ? y.x : 0.0f;
                pooled.y += is_inside ? y.y : 0.0f;
            }
            if (p.partial_sums != nullptr) {
                // 16 rows by pairs: the same order in every tile shape.
#pragma unroll
                for (int offset = 4; offset < kWarpSize; offset *= 2) {
                    pooled.x += __shfl_xor_sync(kFullWarp, pooled.x, offset);
                    pooled.y += __shfl_xor_sync(kFullWarp, pooled.y, offset);
                }
                if (threadIdx.x % kWarpSize < 4) {
                    const int group = sums_row<Tile>(m, 0) / 16;
                    store_pair(groups + group * Tile::kCols + col, pooled);
                }
            }
        }
    }
    __syncthreads();

    if (output != nullptr) {
#pragma unroll
        for (int i = 0; i < vectors; ++i) {
            const int vector = threadIdx.x + i * Tile::kThreads;
            const int row = vector / row_vectors;
            const int col = vector % row_vectors * kChunkHalves;
            if (place.first_row + row < place.end_row && place.first_col + col < p.c_out) {
                const int at = (place.first_row + row) * p.c_out + place.first_col + col;
                *reinterpret_cast<uint4*>(output + at) =
                    *reinterpret_cast<const uint4*>(tile + row * Tile::kOutputPitch + col);
            }
        }
    }
    if (p.partial_sums != nullptr) {
        const int col = threadIdx.x;
        if (col < Tile::kCols && place.first_col + col < p.c_out) {
            float sum = groups[col];
#pragma unroll
            for (int group = 1; group < Tile::kGroups; ++group) {
                sum += groups[group * Tile::kCols + col];
            }
            // [n, tiles, c_out]
            p.partial_sums[place.row_tile * p.c_out + place.first_col + col] = sum;
        }
    }
}

// One tile. Where chunks are split, `chunk` is the one of this block.
template <typename Tile>
__device__ __forceinline__ void pointwise(const PointwiseParams& p, int tile, int chunk,
                                          __half* shared) {
    const PointwisePlace place = pointwise_place<Tile>(p, tile);
    const bool is_split = p.chunk_sums != nullptr;
    const int channels = pointwise_chunk(p.c_in);
    const int first_k = is_split ? chunk * channels : 0;
    const int end_k = min(first_k + (is_split ? channels : p.c_in), p.c_in);

    typename Tile::Sums sums;
    pointwise_sum<Tile>(p, place, first_k, end_k, shared, sums);
    if (is_split) {
        const int chunks = (p.c_in + channels - 1) / channels;
        if (!pointwise_gather<Tile>(p, place, chunk, chunks, sums)) {
            return;
        }
    }
    with_activation(p.activation, [&](auto activation) {
        pointwise_finish<Tile, decltype(activation)::kValue>(p, place, shared, sums);
    });
}
