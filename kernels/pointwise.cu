// 1x1 convolution on tensor cores, with gate, batch-norm, activation, skip and pool.
//
//   y[r, o] = act(sum_i x[r, i] * gate[r / pixels, i] * weight[o, i] * scale[o] + shift[o])
//             + skip[r, o]
//   partial_sums[n, t, o] = sum of y over the rows of image n's tile t, before y is rounded to f16
//
// Tensors: x [rows, c_in] f16, weight [c_out, c_in] f16, scale and shift [c_out] f32 or both null
//          (neither is applied), gate [n, c_in] f32 or null, skip [rows, c_out] f16 or null,
//          y [rows, c_out] f16 or null, partial_sums [n, tiles, c_out] f32 or null,
//          chunk_sums [chunks, rows, c_out] f32 and arrivals [output tiles] u32 or both null;
//          rows = n * pixels, NHWC.
// Requires: c_in and c_out multiples of 8; x, weight, gate, skip and y aligned to 16 bytes, scale,
//           shift and chunk_sums to 8, partial_sums and arrivals to 4; y or partial_sums; every
//           tensor below 2^31 elements; arrivals zero; checked in src/kernels/pointwise.rs, but for
//           the zeros.
// Launch:  grid (column tiles * row tiles, 1, 1, or chunks in z where chunk_sums is given); tiles
//          of ROWS x COLS as in the name, row tiles of all rows or, with partial_sums, of each
//          image; block 128 (256 where ROWS * COLS is 8192 or more), no dynamic shared memory (48,
//          48, 40, 32, 24, 16 KB static in the order below).
// Work:    a block makes a tile; steps of 32 channels go through 3 or 4 stages of shared memory. A
//          warp makes 64 x 32 outputs of a tile of 128 x 128, 16 x 32 of one of 64 x 32, 16 x 16 of
//          one of 32 x 32, and 32 x 32 of every other. Where the sum is split into chunks, each
//          chunk has a block of its own, and the last block of a tile to arrive adds the chunks up.
// Traffic: x is read once for each column tile, weight once for each row tile; y and skip once, in
//          vectors of 16 bytes; chunk_sums is written and read once.
// Numerics: f16 products, f32 sums on tensor cores, in chunks whose length follows from c_in alone
//          and which are added up in f32 in order; x * gate is rounded to f16 once; the rest in
//          f32, rounded once. The bytes of y depend neither on the tile shape nor on splitting nor
//          on the batch, those of partial_sums on ROWS only: groups of 16 rows by pairs, then in
//          order.
// Source:  PTX ISA, fragments of mma.m16n8k16. Architectures: sm_80 and later as written; on sm_75,
//          which has neither cp.async nor this shape, plain copies and pairs of m16n8k8.

#include "tile_pointwise.cuh"

#define POINTWISE(name, BLOCKS, ...)                                                             \
    extern "C" __global__ void __launch_bounds__((PointwiseTile<__VA_ARGS__>::kThreads), BLOCKS) \
        name(const __grid_constant__ PointwiseParams p) {                                        \
        using Tile = PointwiseTile<__VA_ARGS__>;                                                 \
        __shared__ alignas(128) __half shared[Tile::kStages * Tile::kStageHalves];               \
        let_next_launch_begin();                                                                 \
        pointwise<Tile>(p, blockIdx.x, blockIdx.z, shared);                                      \
    }

// With pairs of smaller matrices sm_75 needs more registers than two blocks leave each other.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define BLOCKS_OF_128X64 1
#else
#define BLOCKS_OF_128X64 2
#endif

// Blocks that a multiprocessor can hold, then rows, columns, warps down and across, stages.
POINTWISE(effnet_pointwise_t128x128_f16, 1, 128, 128, 2, 4, 3)
POINTWISE(effnet_pointwise_t128x64_f16, BLOCKS_OF_128X64, 128, 64, 4, 2, 4)
POINTWISE(effnet_pointwise_t128x32_f16, 4, 128, 32, 4, 1, 4)
POINTWISE(effnet_pointwise_t64x64_f16, 4, 64, 64, 2, 2, 4)
POINTWISE(effnet_pointwise_t64x32_f16, 4, 64, 32, 4, 1, 4)
POINTWISE(effnet_pointwise_t32x32_f16, 8, 32, 32, 2, 2, 4)
