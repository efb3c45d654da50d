// One tile of a 1x1 convolution in f32: copies, sums, chunks, epilogue. The formula and the shapes
// are in pointwise_f32.cu.
#pragma once

#include "tensor_core.cuh"

namespace pointwise_f32 {

// The channels of a chunk. The sum over c_in is made of sums over chunks, each from zero, added up
// in their order. A constant: the bytes of the result depend neither on the tile nor on who adds.
constexpr int kChunkChannels = 128;
constexpr int kStep = 32;   // channels that are in shared memory at once
constexpr int kVector = 4;  // floats of 16 bytes
// Floats. Rows of 144 bytes: eight neighbouring rows meet no bank twice, 16 bytes of each.
constexpr int kPitch = kStep + kVector;
constexpr int kStages = 2;
static_assert(kChunkChannels % kStep == 0, "a step lies within one chunk");

__device__ __forceinline__ void copy_vector(float* to, const float* from) {
#if __CUDA_ARCH__ >= 800
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
#else
    *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(from);
#endif
}

__device__ __forceinline__ float4& vector(float* at) {
    return *reinterpret_cast<float4*>(at);
}

__device__ __forceinline__ const float4& vector(const float* at) {
    return *reinterpret_cast<const float4*>(at);
}

__device__ __forceinline__ float4 multiplied(float4 a, float4 b) {
    return make_float4(__fmul_rn(a.x, b.x), __fmul_rn(a.y, b.y), __fmul_rn(a.z, b.z),
                       __fmul_rn(a.w, b.w));
}

__device__ __forceinline__ float4 added(float4 a, float4 b) {
    return make_float4(__fadd_rn(a.x, b.x), __fadd_rn(a.y, b.y), __fadd_rn(a.z, b.z),
                       __fadd_rn(a.w, b.w));
}

// --- Two ways to multiply [ROWS, kStep] of x by [COLS, kStep] of weight ---

// A thread sums THREAD_ROWS x THREAD_COLS outputs, one fma after the other. Its rows and columns
// lie apart, so that lanes next to each other read rows of shared memory next to each other.
template <int ROWS, int COLS, int THREAD_ROWS, int THREAD_COLS>
struct Simt {
    static constexpr int kRows = ROWS;
    static constexpr int kCols = COLS;
    static constexpr int kLaneRows = ROWS / THREAD_ROWS;
    static constexpr int kLaneCols = COLS / THREAD_COLS;
    static constexpr int kThreads = kLaneRows * kLaneCols;
    static constexpr int kSums = THREAD_ROWS * THREAD_COLS;
    static constexpr bool kRoundsFactors = false;

    static __device__ __forceinline__ float rounded(float x) {
        return x;
    }

    // sums += x . w^T over four channels.
    static __device__ __forceinline__ void multiply_vectors(float (&sums)[kSums], const float* x,
                                                            const float* w) {
        float4 b[THREAD_COLS];
#pragma unroll
        for (int j = 0; j < THREAD_COLS; ++j) {
            b[j] = vector(w + j * kLaneCols * kPitch);
        }
#pragma unroll
        for (int i = 0; i < THREAD_ROWS; ++i) {
            const float4 a = vector(x + i * kLaneRows * kPitch);
#pragma unroll
            for (int j = 0; j < THREAD_COLS; ++j) {
                float& sum = sums[i * THREAD_COLS + j];
                sum = fmaf(a.x, b[j].x, sum);
                sum = fmaf(a.y, b[j].y, sum);
                sum = fmaf(a.z, b[j].z, sum);
                sum = fmaf(a.w, b[j].w, sum);
            }
        }
    }

    // sums += x . w^T over `width` channels, a multiple of 8.
    static __device__ __forceinline__ void multiply(float (&sums)[kSums], const float* x,
                                                    const float* w, int width) {
        x += threadIdx.x / kLaneCols * kPitch;
        w += threadIdx.x % kLaneCols * kPitch;
        // Two vectors in flight where there are the registers for them.
        constexpr int turn = kSums <= 8 ? 2 * kVector : kVector;
#pragma unroll 1
        for (int k = 0; k < width; k += turn) {
#pragma unroll
            for (int i = k; i < k + turn; i += kVector) {
                multiply_vectors(sums, x + i, w + i);
            }
        }
    }

    // Into [ROWS, pitch].
    static __device__ __forceinline__ void store(const float (&sums)[kSums], float* to, int pitch) {
        to += threadIdx.x / kLaneCols * pitch + threadIdx.x % kLaneCols;
#pragma unroll
        for (int i = 0; i < kSums; ++i) {
            to[i / THREAD_COLS * kLaneRows * pitch + i % THREAD_COLS * kLaneCols] = sums[i];
        }
    }
};

#if __CUDA_ARCH__ >= 800 || !defined(__CUDA_ARCH__)
// A warp sums WARP_ROWS x WARP_COLS outputs on tensor cores.
template <int ROWS, int COLS, int WARP_ROWS, int WARP_COLS>
struct Tf32 {
    static constexpr int kRows = ROWS;
    static constexpr int kCols = COLS;
    static constexpr int kWarpsDown = ROWS / WARP_ROWS;
    static constexpr int kThreads = kWarpsDown * (COLS / WARP_COLS) * kWarpSize;
    static constexpr int kM = WARP_ROWS / 16;
    static constexpr int kN = WARP_COLS / 8;
    static constexpr int kSums = kM * kN * 4;
    static constexpr bool kRoundsFactors = true;

    // To 10 bits of fraction, the nearest, ties away from zero.
    static __device__ __forceinline__ float rounded(float x) {
        unsigned bits;
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
        return __uint_as_float(bits);
    }

    static __device__ __forceinline__ int first_row() {
        return threadIdx.x / kWarpSize % kWarpsDown * WARP_ROWS;
    }

    static __device__ __forceinline__ int first_col() {
        return threadIdx.x / kWarpSize / kWarpsDown * WARP_COLS;
    }

    // 16 bytes of a row, as ldmatrix takes them for eight halves, are four floats: the matrices
    // that it hands out are the fragments of tf32.
    static __device__ __forceinline__ void load(unsigned (&to)[4], const float* row) {
        load_matrices(to, reinterpret_cast<const __half*>(row));
    }

    // sums += x . w^T over eight channels.
    static __device__ __forceinline__ void multiply_fragments(float (&sums)[kSums], const float* x,
                                                              const float* w) {
        unsigned a[kM][4];
        unsigned b[kN / 2][4];
#pragma unroll
        for (int m = 0; m < kM; ++m) {
            load(a[m], x + m * 16 * kPitch);
        }
#pragma unroll
        for (int n = 0; n < kN / 2; ++n) {
            load(b[n], w + n * 16 * kPitch);
        }
#pragma unroll
        for (int m = 0; m < kM; ++m) {
#pragma unroll
            for (int n = 0; n < kN; ++n) {
                float* d = &sums[(m * kN + n) * 4];
                asm volatile(
                    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                    "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                    : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                    : "r"(a[m][0]), "r"(a[m][1]), "r"(a[m][2]), "r"(a[m][3]),
                      "r"(b[n / 2][n % 2 * 2]), "r"(b[n / 2][n % 2 * 2 + 1]));
            }
        }
    }

    static __device__ __forceinline__ void multiply(float (&sums)[kSums], const float* x,
                                                    const float* w, int width) {
        // Which row this lane addresses: x's matrices go down first, those of w along k.
        const int lane = threadIdx.x % kWarpSize;
        x += (first_row() + lane % 16) * kPitch + lane / 16 * kVector;
        w += (first_col() + lane / 16 * 8 + lane % 8) * kPitch + lane / 8 % 2 * kVector;
        if (width == kStep) {
#pragma unroll
            for (int k = 0; k < kStep; k += 8) {
                multiply_fragments(sums, x + k, w + k);
            }
        } else {
#pragma unroll 1
            for (int k = 0; k < width; k += 8) {
                multiply_fragments(sums, x + k, w + k);
            }
        }
    }

    static __device__ __forceinline__ void store(const float (&sums)[kSums], float* to, int pitch) {
        const int lane = threadIdx.x % kWarpSize;
        to += (first_row() + lane / 4) * pitch + first_col() + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < kSums; i += 2) {
            // Rows lane / 4 and 8 below it, a pair of columns each.
            const int row = i / (kN * 4) * 16 + i / 2 % 2 * 8;
            const int col = i / 4 % kN * 8;
            store_pair(to + row * pitch + col, make_float2(sums[i], sums[i + 1]));
        }
    }
};
#else
// sm_75 has no tf32: sums in f32.
template <int ROWS, int COLS, int WARP_ROWS, int WARP_COLS>
struct Tf32 : Simt<ROWS, COLS, ROWS == 16 ? 2 : 4, ROWS == 64 ? 8 : 4> {};
#endif

// --- Shared memory ---

template <typename Math>
union Shared {
    struct {
        float x[kStages][Math::kRows * kPitch];  // [rows, kStep] of x
        float w[kStages][Math::kCols * kPitch];  // [cols, kStep] of weight
    } factors;
    float sums[Math::kRows * (Math::kCols + 8)];  // [rows, cols]: columns of 8 rows meet no bank
    float pool[Math::kThreads * kVector];         // [threads / (cols / 4), cols]
};

// What one thread copies of [ROWS, kStep]: 16 bytes of the same columns in each of kEach rows.
template <int ROWS, int THREADS>
struct Copies {
    static constexpr int kLanes = kStep / kVector;  // of a row
    static constexpr int kRowsAtOnce = THREADS / kLanes;
    static constexpr int kEach = ROWS / kRowsAtOnce;
    int row;
    int column;
    int offset[kEach];  // of the rows in a [.., c_in] matrix

    // Rows from `first` on; the row before `end` stands in for those beyond, which are not stored.
    __device__ __forceinline__ Copies(int first, int end, int c_in)
        : row(threadIdx.x / kLanes), column(threadIdx.x % kLanes * kVector) {
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            offset[i] = min(first + row + i * kRowsAtOnce, end - 1) * c_in + column;
        }
    }

    __device__ __forceinline__ float* in_tile(float* tile, int i) const {
        return tile + (row + i * kRowsAtOnce) * kPitch + column;
    }

    __device__ __forceinline__ void start(float* tile, const float* from, int k, int width) const {
        if (column < width) {
#pragma unroll
            for (int i = 0; i < kEach; ++i) {
                copy_vector(in_tile(tile, i), from + offset[i] + k);
            }
        }
    }
};

// --- The tile ---

// Which tile, and which part of c_in.
struct Part {
    int first_row;
    int end_row;  // of the image where the output is pooled, else of all
    int first_col;
    int first_channel;
    int end_channel;
};

// The chunks of a part, added up, in this thread's places of the tile.
template <typename Math>
__device__ __forceinline__ void sum_chunks(const PointwiseParams& p, const Part& part,
                                           Shared<Math>& shared, float (&total)[Math::kSums]) {
    const float* input = static_cast<const float*>(p.input);    // [rows, c_in]
    const float* weight = static_cast<const float*>(p.weight);  // [c_out, c_in]
    using RowCopies = Copies<Math::kRows, Math::kThreads>;
    using ColCopies = Copies<Math::kCols, Math::kThreads>;
    const RowCopies x_copies(part.first_row, part.end_row, p.c_in);
    const ColCopies w_copies(part.first_col, p.c_out, p.c_in);
    const int end = part.end_channel;
    // Weights do not come from the launch before: the first of them are under way while it ends.
    w_copies.start(shared.factors.w[0], weight, part.first_channel, end - part.first_channel);
    wait_for_launches_before();
    int gate_offset[RowCopies::kEach];  // of each copied row's image in [n, c_in]
    if (p.gate != nullptr) {
#pragma unroll
        for (int i = 0; i < RowCopies::kEach; ++i) {
            const int row = part.first_row + x_copies.row + i * RowCopies::kRowsAtOnce;
            gate_offset[i] = min(row, part.end_row - 1) / p.pixels * p.c_in + x_copies.column;
        }
    }

    float sums[Math::kSums] = {};
    int stage = 0;
    x_copies.start(shared.factors.x[0], input, part.first_channel, end - part.first_channel);
    commit_copies();
    for (int k = part.first_channel; k < end; k += kStep) {
        // Copy ahead. An empty group is committed too, so that the wait below counts right.
        const int width = min(kStep, end - k);
        x_copies.start(shared.factors.x[stage ^ 1], input, k + kStep, end - k - kStep);
        w_copies.start(shared.factors.w[stage ^ 1], weight, k + kStep, end - k - kStep);
        commit_copies();
        float* x = shared.factors.x[stage];
        float* w = shared.factors.w[stage];
        const bool copied = x_copies.column < width;

        // What has to happen to the factors happens once, to those that this thread copied.
        if (p.gate != nullptr) {
            float4 gate[RowCopies::kEach];
            if (copied) {
#pragma unroll
                for (int i = 0; i < RowCopies::kEach; ++i) {
                    gate[i] = vector(p.gate + gate_offset[i] + k);
                }
            }
            wait_copies<1>();
            if (copied) {
#pragma unroll
                for (int i = 0; i < RowCopies::kEach; ++i) {
                    float4& at = vector(x_copies.in_tile(x, i));
                    at = multiplied(at, gate[i]);
                }
            }
        } else {
            wait_copies<1>();
        }
        if (Math::kRoundsFactors && copied) {
#pragma unroll
            for (int i = 0; i < RowCopies::kEach + ColCopies::kEach; ++i) {
                float4& at =
                    vector(i < RowCopies::kEach ? x_copies.in_tile(x, i)
                                                : w_copies.in_tile(w, i - RowCopies::kEach));
                at = make_float4(Math::rounded(at.x), Math::rounded(at.y), Math::rounded(at.z),
                                 Math::rounded(at.w));
            }
        }
        __syncthreads();

        Math::multiply(sums, x, w, width);
        if ((k + kStep) % kChunkChannels == 0 || k + kStep >= end) {
#pragma unroll
            for (int i = 0; i < Math::kSums; ++i) {
                total[i] = __fadd_rn(total[i], sums[i]);
                sums[i] = 0.0f;
            }
        }
        stage ^= 1;
        __syncthreads();  // before the next step's copies overwrite this stage
    }
}

// Whether this block is the last of its tile's to come here. What the others wrote before they came
// is visible to it. It leaves the counter as it was.
__device__ __forceinline__ bool is_last_to_arrive(unsigned* arrivals, unsigned blocks) {
    __shared__ bool last;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicAdd(arrivals, 1u) == blocks - 1;
        if (last) {
            atomicExch(arrivals, 0u);
        }
        __threadfence();
    }
    __syncthreads();
    return last;
}

// Tile (row_tile, col_tile) of the output; `image` where the output is pooled, else 0. Of
// `chunk_blocks` blocks that share the tile, where chunks are split, this is number `chunk`.
template <typename Math>
__device__ __forceinline__ void tile(const PointwiseParams& p, Shared<Math>& shared, int image,
                                     int row_tile, int row_tiles, int col_tile, int col_tiles,
                                     int chunk, int chunk_blocks) {
    const bool split = p.chunk_sums != nullptr;
    const bool pooled = p.partial_sums != nullptr;
    Part part;
    part.first_row = row_tile * Math::kRows + (pooled ? image * p.pixels : 0);
    part.end_row = pooled ? (image + 1) * p.pixels : p.rows;
    part.first_col = col_tile * Math::kCols;
    const int channels = split ? kChunkChannels : p.c_in;
    part.first_channel = chunk * channels;
    part.end_channel = min(part.first_channel + channels, p.c_in);

    constexpr int pitch = Math::kCols + 8;
    float total[Math::kSums] = {};
    sum_chunks<Math>(p, part, shared, total);
    Math::store(total, shared.sums, pitch);
    __syncthreads();

    // From here on a thread owns 4 columns of every kLaneRows-th row.
    constexpr int lane_cols = Math::kCols / kVector;
    constexpr int lane_rows = Math::kThreads / lane_cols;
    const int lane_row = threadIdx.x / lane_cols;
    const int lane_col = threadIdx.x % lane_cols * kVector;
    const int col = part.first_col + lane_col;
    const bool live = col < p.c_out;
    const int rows = min(Math::kRows, part.end_row - part.first_row);

    if (split) {
        if (live) {
            for (int r = lane_row; r < rows; r += lane_rows) {
                const int at = (chunk * p.rows + part.first_row + r) * p.c_out + col;
                vector(p.chunk_sums + at) = vector(shared.sums + r * pitch + lane_col);
            }
        }
        const int index = (image * row_tiles + row_tile) * col_tiles + col_tile;
        if (!is_last_to_arrive(p.arrivals + index, chunk_blocks)) {
            return;
        }
    }

    // Epilogue.
    const float* skip = static_cast<const float*>(p.skip);  // [rows, c_out]
    float* output = static_cast<float*>(p.output);          // [rows, c_out]
    float4 pool = {};
    if (live) {
        // These change nothing, not even the sign of a zero.
        float4 scale = {1.0f, 1.0f, 1.0f, 1.0f};
        float4 shift = {-0.0f, -0.0f, -0.0f, -0.0f};
        if (p.scale != nullptr) {
            scale = vector(p.scale + col);
            shift = vector(p.shift + col);
        }
#pragma unroll 1
        for (int r = lane_row; r < rows; r += lane_rows) {
            const int at = (part.first_row + r) * p.c_out + col;
            float4 y = {};
            if (split) {
                for (int i = 0; i < chunk_blocks; ++i) {
                    y = added(y, vector(p.chunk_sums + i * p.rows * p.c_out + at));
                }
            } else {
                y = vector(shared.sums + r * pitch + lane_col);
            }
            with_activation(p.activation, [&](auto activation) {
                constexpr int32_t kActivation = decltype(activation)::kValue;
                y.x = activate<float, kActivation>(fmaf(y.x, scale.x, shift.x));
                y.y = activate<float, kActivation>(fmaf(y.y, scale.y, shift.y));
                y.z = activate<float, kActivation>(fmaf(y.z, scale.z, shift.z));
                y.w = activate<float, kActivation>(fmaf(y.w, scale.w, shift.w));
            });
            if (skip != nullptr) {
                y = added(y, vector(skip + at));
            }
            if (output != nullptr) {
                vector(output + at) = y;
            }
            pool = added(pool, y);
        }
    }
    if (!pooled) {
        return;
    }

    // The pool: the first row of threads adds up the others in their order.
    __syncthreads();  // before the sums are overwritten
    vector(shared.pool + threadIdx.x * kVector) = pool;
    __syncthreads();
    if (lane_row == 0 && live) {
        for (int i = 1; i < lane_rows; ++i) {
            pool = added(pool, vector(shared.pool + i * Math::kCols + lane_col));
        }
        const int at = (image * row_tiles + row_tile) * p.c_out + col;
        vector(p.partial_sums + at) = pool;  // [n, row_tiles, c_out]
    }
}

}  // namespace pointwise_f32
