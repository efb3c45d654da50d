// 1x1 convolution on tensor cores, with gate, batch-norm, activation, skip and pool.
//
//   y[r, o] = act(sum_i x[r, i] * gate[r / pixels, i] * weight[o, i] * scale[o] + shift[o])
//             + skip[r, o]
//   partial_sums[n, t, o] = sum of y over the rows of image n's tile t, before y is rounded to f16
//
// Tensors: x [rows, c_in] f16, weight [c_out, c_in] f16, scale and shift [c_out] f32 or both null
//          (neither is applied), gate [n, c_in] f32 or null, skip [rows, c_out] f16 or null,
//          y [rows, c_out] f16 or null, partial_sums [n, tiles, c_out] f32 or null; chunk_sums
//          [tiles, chunks, fragments of a warp, threads, 4] f32 and arrivals [tiles] u32 or both
//          null; rows = n * pixels, NHWC. In place of gate what it is computed from: squeeze,
//          reduce_bias, gate_weight and gate_bias of gate.cuh, or all null.
// Requires: c_in and c_out multiples of 8, c_se up to 256; x, weight, scale, shift, gate, squeeze,
//           gate_weight, skip, y and chunk_sums aligned to 16 bytes, gate_bias to 8, reduce_bias,
//           partial_sums and arrivals to 4; y or partial_sums; every tensor below 2^31 elements;
//           arrivals zero; checked in src/kernels/pointwise.rs, but for the zeros.
// Launch:  grid (column tiles, row tiles, 1, or images where a tile must not hold rows of two, each
//          times chunks where chunk_sums is given); block (32, warps along the rows, warps along
//          the columns), up to 512 threads, 384 where a warp makes more than 16 columns; dynamic
//          shared memory as pointwise_shared lays it out, up to 64 KB.
// Work:    a warp makes 16 rows x 8 N columns at a time. x comes from global memory as 16-byte
//          vectors that are the mma's registers as they are, panels ahead; weights through shared
//          memory: all of a block's where they fit, and then a warp goes through several groups of
//          rows, else in three stages of two panels of 32 channels. Where the sum is split into
//          chunks, each has a block of its own, and the last block of a tile to arrive adds the
//          chunks up. Gates are made once a block, while the first x is under way; they are ones
//          where there are none: a product puts x where the mma wants it, as a move would.
// Traffic: x is read once for each column tile, and by the block's warps along the columns from the
//          first cache; weight once for each row tile; y and skip once, 16 bytes a lane but for
//          the last columns; chunk_sums is written and read once.
// Numerics: f16 products, f32 sums on tensor cores, in chunks whose length follows from c_in alone
//          and which are added up in f32 in order; the gate is rounded to f16, and so is x * gate;
//          the rest in f32, rounded once. The bytes of y depend neither on the block nor on
//          splitting nor on the batch; nor do those of partial_sums, whose tiles follow from
//          pixels: groups of 16 rows by pairs, then in order.
// Source:  PTX ISA, fragments of mma.m16n8k16. Architectures: sm_80 and later as written; on sm_75,
//          which has neither cp.async nor this shape, plain copies and pairs of m16n8k8.

#include "tile_pointwise.cuh"

#define POINTWISE(name, N)                                                    \
    extern "C" __global__ void __launch_bounds__(WarpColumns<N>::kThreads, 1) \
        name(const __grid_constant__ PointwiseParams p) {                     \
        extern __shared__ uint4 shared[];                                     \
        let_next_launch_begin();                                              \
        pointwise<N>(p, reinterpret_cast<char*>(shared));                     \
    }

// By the output channels of a warp: N fragments of 8.
POINTWISE(effnet_pointwise_n8_f16, 1)
POINTWISE(effnet_pointwise_n16_f16, 2)
POINTWISE(effnet_pointwise_n24_f16, 3)
POINTWISE(effnet_pointwise_n32_f16, 4)
POINTWISE(effnet_pointwise_n40_f16, 5)
POINTWISE(effnet_pointwise_n48_f16, 6)
POINTWISE(effnet_pointwise_n56_f16, 7)
