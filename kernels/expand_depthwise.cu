// Expansion and depthwise convolution in one kernel: each with batch-norm and activation, and the
// squeeze's partial sums. The expanded map lives in shared memory only.
//
//   mid[n, h, w, c] = act(sum_i x[n, h, w, i] * expand_weight[c, i]
//                         * expand_scale[c] + expand_shift[c]), rounded to T; zero outside the
//                         image
//   y[n, h, w, c] = act(sum_{i,j} mid[n, h * stride - pad_top + i, w * stride - pad_left + j, c]
//                                 * depthwise_weight[i, j, c]
//                       * depthwise_scale[c] + depthwise_shift[c])
//   partial_sums[n, t, c] = sum of y over the pixels of tile t, before y is rounded to T
//
// Tensors: x [n, h_in, w_in, c_in] T, expand_weight [c_mid, c_in] T, depthwise_weight [k, k, c_mid]
//          T, scales and shifts [c_mid] f32, y [n, h_out, w_out, c_mid] T, partial_sums
//          [n, tiles, c_mid] f32 or null. NHWC, T = f16 or f32.
// Requires: c_in and c_mid multiples of 8, pointers aligned to 16 bytes, every tensor below 2^31
//           elements, pads below k, shared memory of at most 64 KB; checked in
//           src/kernels/expand_depthwise.rs.
// Launch:  grid (tiles, slices, n), block 192, dynamic shared memory by k, stride, T and c_in;
//          a tile is 8 x 8 output pixels at stride 1, 4 rows of 8 at stride 2; any number of slices
//          from 1 to the number of channel groups.
// Work:    a block keeps the input under its tile and walks over groups of channels (48 in f16, 24
//          in f32), every slices-th: copies (cp.async) of the next weights run under the
//          arithmetic; expansion (m16n8k16 in f16, fma in f32) into shared memory; then a thread
//          slides the window over a segment of an output row for four channels.
// Traffic: the input once for each slice and tile, halo included; the output once; weights once for
//          each tile, from L2. Halo pixels are expanded by each tile that needs them.
// Numerics: products and sums in f32; mid is rounded to T once, y once. The order of every sum is
//          fixed by the geometry of one image, so the bytes depend neither on the run, nor on the
//          batch, nor on the number of slices.
// Source:  the definition. Architectures: sm_75 and later; sm_75 copies through registers and
//          multiplies by pairs of m16n8k8.

#include "tile_expand_depthwise.cuh"

extern __shared__ __align__(16) unsigned char shared[];

#define EXPAND_DEPTHWISE(name, T, K, STRIDE)                                          \
    extern "C" __global__ void __launch_bounds__(kExpandDepthwiseWarps* kWarpSize, 2) \
        name(const __grid_constant__ ExpandDepthwiseParams p) {                       \
        expand_depthwise<T, K, STRIDE>(p, shared);                                    \
    }

EXPAND_DEPTHWISE(effnet_expand_depthwise_k3s1_f16, __half, 3, 1)
EXPAND_DEPTHWISE(effnet_expand_depthwise_k3s2_f16, __half, 3, 2)
EXPAND_DEPTHWISE(effnet_expand_depthwise_k5s1_f16, __half, 5, 1)
EXPAND_DEPTHWISE(effnet_expand_depthwise_k5s2_f16, __half, 5, 2)
EXPAND_DEPTHWISE(effnet_expand_depthwise_k3s1_f32, float, 3, 1)
EXPAND_DEPTHWISE(effnet_expand_depthwise_k3s2_f32, float, 3, 2)
EXPAND_DEPTHWISE(effnet_expand_depthwise_k5s1_f32, float, 5, 1)
EXPAND_DEPTHWISE(effnet_expand_depthwise_k5s2_f32, float, 5, 2)
