// 1x1 convolution on tensor cores, with gate, batch-norm, activation and skip.
//
//   y[r, o] = act(sum_i x[r, i] * gate[r / pixels, i] * weight[o, i] * scale[o] + shift[o])
//             + skip[r, o]
//
// Tensors: x [rows, c_in] f16, weight [c_out, c_in] f16, scale and shift [c_out] f32,
//          gate [n, c_in] f32 or null, skip [rows, c_out] f16 or null, y [rows, c_out] f16;
//          rows = n * pixels, NHWC.
// Requires: c_in a multiple of 8, c_out even, x and weight aligned to 16 bytes, the others to two
//           elements, every tensor below 2^31 elements; checked in src/kernels/pointwise.rs.
// Launch:  grid (ceil(rows / 64), ceil(c_out / 64)), block 128, no dynamic shared memory
//          (20 KB static).
// Work:    a block makes 64 x 64 outputs, each of its 2 x 2 warps 32 x 32; k in steps of 32, double
//          buffered: the next step is copied while this one is multiplied.
// Traffic: x is read ceil(c_out / 64) times, weight ceil(rows / 64) times.
// Numerics: f16 products, f32 sums on tensor cores; x * gate is rounded to f16 once; the rest
//          in f32, rounded once. Each row's sum has the same order wherever its row lies.
// Source:  PTX ISA, fragments of mma.m16n8k16. Architectures: sm_80 and later as written; on sm_75,
//          which has neither cp.async nor this shape, plain copies and pairs of m16n8k8.

#include "common.cuh"

constexpr int kTileK = 32;
// Halves: rows of 80 bytes, so that the 8 rows of an ldmatrix meet no bank twice.
constexpr int kRowPitch = kTileK + 8;
constexpr int kStages = 2;
constexpr int kChunk = 8;  // halves copied at once: 16 bytes
constexpr int kThreads = kPointwiseWarps * kWarpSize;
static_assert(kPointwiseTileRows == kPointwiseTileCols, "one loader serves both tiles");

using Tile = __half[kPointwiseTileRows][kRowPitch];

// 16 bytes into shared memory; zeros where `valid` is false (`from` must be readable all the same).
__device__ __forceinline__ void copy_chunk(__half* to, const __half* from, bool valid) {
#if __CUDA_ARCH__ >= 800
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    const int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(bytes)
                 : "memory");
#else
    *reinterpret_cast<uint4*>(to) =
        valid ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
#endif
}

__device__ __forceinline__ void commit_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most `PENDING` of this thread's groups are under way.
template <int PENDING>
__device__ __forceinline__ void wait_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

// Four 8x8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(unsigned (&to)[4], const __half* row) {
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
}

// d [16, 8] += a [16, 16] . b [8, 16]^T
__device__ __forceinline__ void multiply(float (&d)[4], const unsigned (&a)[4], unsigned b0,
                                         unsigned b1) {
#if __CUDA_ARCH__ >= 800
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

// Rows [first, first + 64) and columns [k, k + 32) of a [rows, c_in] matrix; zeros outside it.
__device__ __forceinline__ void copy_tile(Tile& to, const __half* from, int first, int rows, int k,
                                          int c_in) {
    constexpr int chunks = kTileK / kChunk;
    for (int i = threadIdx.x; i < kPointwiseTileRows * chunks; i += kThreads) {
        const int row = i / chunks;
        const int column = i % chunks * kChunk;
        const bool valid = first + row < rows && k + column < c_in;
        copy_chunk(&to[row][column], valid ? from + (first + row) * c_in + k + column : from,
                   valid);
    }
}

// The two f16 values of a fragment register times their channels' gates.
__device__ __forceinline__ unsigned apply_gate(unsigned pair, float2 gate) {
    float2 x = __half22float2(*reinterpret_cast<const __half2*>(&pair));
    const __half2 gated = __floats2half2_rn(x.x * gate.x, x.y * gate.y);
    return *reinterpret_cast<const unsigned*>(&gated);
}

extern "C" __global__ void __launch_bounds__(kThreads)
    effnet_pointwise_f16(const __grid_constant__ PointwiseParams p) {
    __shared__ alignas(16) Tile x_tiles[kStages];       // [64, 32] of x
    __shared__ alignas(16) Tile weight_tiles[kStages];  // [64, 32] of weight

    const __half* input = static_cast<const __half*>(p.input);    // [rows, c_in]
    const __half* weight = static_cast<const __half*>(p.weight);  // [c_out, c_in]
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const int first_row = blockIdx.x * kPointwiseTileRows;
    const int first_col = blockIdx.y * kPointwiseTileCols;
    const int warp_row = warp / 2 * 32;  // within the tile
    const int warp_col = warp % 2 * 32;

    // Where this lane's fragments lie: rows lane / 4 (+ 8), columns lane % 4 * 2 (+ 1).
    const int lane_row = lane / 4;
    const int lane_col = lane % 4 * 2;
    // Which row this lane addresses for ldmatrix: a's matrices go down first, b's along k first.
    const int a_row = lane % 16;
    const int a_col = lane / 16 * 8;
    const int b_row = lane / 16 * 8 + lane % 8;
    const int b_col = lane / 8 % 2 * 8;

    // Gates of the rows in this lane's a fragments; the last row stands in for those outside.
    const float* gates[2][2] = {};
    if (p.gate != nullptr) {
        for (int m = 0; m < 2; ++m) {
            for (int half = 0; half < 2; ++half) {
                const int row =
                    min(first_row + warp_row + m * 16 + half * 8 + lane_row, p.rows - 1);
                gates[m][half] = p.gate + row / p.pixels * p.c_in;
            }
        }
    }

    float acc[2][4][4] = {};  // [16 rows, 8 columns] each
    const int steps = (p.c_in + kTileK - 1) / kTileK;
    copy_tile(x_tiles[0], input, first_row, p.rows, 0, p.c_in);
    copy_tile(weight_tiles[0], weight, first_col, p.c_out, 0, p.c_in);
    commit_copies();

    for (int step = 0; step < steps; ++step) {
        const int stage = step % kStages;
        // Copy ahead. An empty group is committed too, so that the wait below counts right.
        if (step + 1 < steps) {
            copy_tile(x_tiles[stage ^ 1], input, first_row, p.rows, (step + 1) * kTileK, p.c_in);
            copy_tile(weight_tiles[stage ^ 1], weight, first_col, p.c_out, (step + 1) * kTileK,
                      p.c_in);
        }
        commit_copies();
        wait_copies<1>();
        __syncthreads();

#pragma unroll
        for (int k = 0; k < kTileK; k += 16) {
            unsigned a[2][4];
            unsigned b[2][4];
#pragma unroll
            for (int m = 0; m < 2; ++m) {
                load_matrices(a[m], &x_tiles[stage][warp_row + m * 16 + a_row][k + a_col]);
            }
#pragma unroll
            for (int n = 0; n < 2; ++n) {
                load_matrices(b[n], &weight_tiles[stage][warp_col + n * 16 + b_row][k + b_col]);
            }
            if (p.gate != nullptr) {
#pragma unroll
                for (int m = 0; m < 2; ++m) {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        // Registers: rows 0-7, rows 8-15, then the same for k + 8.
                        const int channel = step * kTileK + k + i / 2 * 8 + lane_col;
                        if (channel < p.c_in) {
                            a[m][i] = apply_gate(a[m][i], load_pair(gates[m][i % 2] + channel));
                        }
                    }
                }
            }
#pragma unroll
            for (int m = 0; m < 2; ++m) {
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    multiply(acc[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1]);
                }
            }
        }
        __syncthreads();  // before the next step's copies overwrite this stage
    }

    // Epilogue.
    const __half* skip = static_cast<const __half*>(p.skip);  // [rows, c_out]
    __half* output = static_cast<__half*>(p.output);          // [rows, c_out]
#pragma unroll
    for (int n = 0; n < 4; ++n) {
        const int col = first_col + warp_col + n * 8 + lane_col;
        if (col >= p.c_out) {
            continue;
        }
        const float2 scale = load_pair(p.scale + col);
        const float2 shift = load_pair(p.shift + col);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = first_row + warp_row + i * 8 + lane_row;
            if (row >= p.rows) {
                continue;
            }
            float2 y;
            y.x = activate(fmaf(acc[i / 2][n][i % 2 * 2], scale.x, shift.x), p.activation);
            y.y = activate(fmaf(acc[i / 2][n][i % 2 * 2 + 1], scale.y, shift.y), p.activation);
            if (skip != nullptr) {
                const float2 s = load_pair(skip + row * p.c_out + col);
                y.x += s.x;
                y.y += s.y;
            }
            store_pair(output + row * p.c_out + col, y);
        }
    }
}
