// 1x1 convolution in f32, or with factors in tf32, with gate, batch-norm, activation, skip and the
// head's partial sums.
//
//   y[r, o] = act(sum_i x[r, i] * gate[r / pixels, i] * weight[o, i] * scale[o] + shift[o])
//             + skip[r, o]
//   partial_sums[n, t, o] = sum of y over the rows of tile t of image n
//
// Tensors: x [rows, c_in], weight [c_out, c_in], scale and shift [c_out] or both null, gate
//          [n, c_in] or null, skip [rows, c_out] or null, y [rows, c_out], partial_sums
//          [n, tiles, c_out] or null (y or partial_sums has to be there); chunk_sums
//          [chunks, rows, c_out] and arrivals, u32, one for each tile, or both null. All others
//          f32; rows = n * pixels, NHWC.
// Requires: c_in and c_out multiples of 8, pointers aligned to 16 bytes, every tensor below 2^31
//           elements, arrivals zero; checked, but for the zeros, in src/kernels/pointwise_f32.rs.
//           arrivals are zero again at the end.
// Launch:  grid (tiles of rows, tiles of columns, chunks where chunk_sums is given, else 1), block
//          128 for tiles of 64 x 64, else 64; no dynamic shared memory (36 to 14 KB static).
//          With partial_sums no tile crosses an image: grid x = n * tiles of one image's rows.
// Work:    c_in in steps of 32, double buffered: the next step is copied while this one is
//          multiplied. f32: a thread makes 4 x 8 outputs, 4 x 4 of a tile of 32 x 32, 2 x 4 of one
//          of 16 x 32. tf32: a warp makes 32 x 32 outputs, 16 x 32 and 16 x 16 of these.
//          Where chunks are split, each block adds up one chunk of its tile; the last of a tile's
//          blocks to be done adds the chunks and goes on.
// Traffic: x is read once for each tile of columns, weight once for each tile of rows; split, the
//          sums of all chunks are written and read once.
// Numerics: x * gate is rounded to f32 once; tf32 rounds both factors to 10 bits of fraction, to
//          nearest, ties away from zero. Chunks of 128 channels are summed from zero, in f32, in
//          the order of channels (within 8 of them a tensor core's own), and the chunks added in
//          their order, split or not: the bytes do not depend on tile, batch or run. partial_sums:
//          every eighth row of the tile in order, then these eight sums in order.
// Source:  PTX ISA, fragments of mma.m16n8k8. Architectures: sm_80 and later as written; on sm_75,
//          which has neither cp.async nor tf32, plain copies, and the tf32 kernels run the body of
//          f32, exact factors included.

#include "tile_pointwise_f32.cuh"

namespace pointwise_f32 {

template <typename Math>
__device__ __forceinline__ void block(const PointwiseParams& p) {
    __shared__ alignas(16) Shared<Math> shared;
    let_next_launch_begin();
    int image = 0;
    int row_tile = blockIdx.x;
    int row_tiles = gridDim.x;
    if (p.partial_sums != nullptr) {
        row_tiles = (p.pixels + Math::kRows - 1) / Math::kRows;
        image = row_tile / row_tiles;
        row_tile -= image * row_tiles;
    }
    tile<Math>(p, shared, image, row_tile, row_tiles, blockIdx.y, gridDim.y, blockIdx.z, gridDim.z);
}

}  // namespace pointwise_f32

// Two blocks at least, said aloud: left alone, ptxas goes for more and spills on some targets.
#define POINTWISE(name, ...)                                                                \
    extern "C" __global__ void __launch_bounds__((pointwise_f32::__VA_ARGS__::kThreads), 2) \
        name(const __grid_constant__ PointwiseParams p) {                                   \
        pointwise_f32::block<pointwise_f32::__VA_ARGS__>(p);                                \
    }

POINTWISE(effnet_pointwise_64x64_f32, Simt<64, 64, 4, 8>)
POINTWISE(effnet_pointwise_64x32_f32, Simt<64, 32, 4, 8>)
POINTWISE(effnet_pointwise_32x32_f32, Simt<32, 32, 4, 4>)
POINTWISE(effnet_pointwise_16x32_f32, Simt<16, 32, 2, 4>)
POINTWISE(effnet_pointwise_64x64_tf32, Tf32<64, 64, 32, 32>)
POINTWISE(effnet_pointwise_64x32_tf32, Tf32<64, 32, 32, 32>)
POINTWISE(effnet_pointwise_32x32_tf32, Tf32<32, 32, 16, 32>)
POINTWISE(effnet_pointwise_16x32_tf32, Tf32<16, 32, 16, 16>)
