// Expansion and depthwise convolution in one kernel: each with batch-norm and activation, and the
// squeeze. The expanded map lives in shared memory only.
//
//   mid[n, h, w, c] = act(sum_i x[n, h, w, i] * expand_weight[c, i]
//                         * expand_scale[c] + expand_shift[c]), rounded to T; zero outside the
//                         image
//   y[n, h, w, c] = act(sum_{i,j} mid[n, h * stride - pad_top + i, w * stride - pad_left + j, c]
//                                 * depthwise_weight[i, j, c]
//                       * depthwise_scale[c] + depthwise_shift[c])
//   partial_sums[n, t, c] = sum of y over the pixels of tile t, before y is rounded to T
//   squeeze[n, t, s, j] = sum over channels c of slice s of partial_sums[n, t, c]
//                         * reduce_weight[j, c]; f16 only, see squeeze.cuh
//
// Tensors: x [n, h_in, w_in, c_in] T, expand_weight [c_mid, c_in] T, depthwise_weight [k, k, c_mid]
//          T, scales and shifts [c_mid] f32, y [n, h_out, w_out, c_mid] T, partial_sums
//          [n, tiles, c_mid] f32 or null, reduce_weight [c_se, c_mid] T, squeeze
//          [n, tiles, slices, c_se rounded up to 4] f32 or null. NHWC, T = f16 or f32.
// Requires: c_in and c_mid multiples of 8, pointers aligned to 16 bytes, every tensor below 2^31
//           elements, pads below k, shared memory of at most 64 KB; checked in
//           src/kernels/expand_depthwise.rs.
// Launch:  f16: grid (tiles, ranges of channels, n), block 256; the tile is the one with which
//          least is computed, the whole map where it fits; a block's range of channels is whole
//          slices of the squeeze, and follows from the batch: few blocks have few channels each.
//          f32: grid (tiles, slices, n), block 192; a tile is 8 x 8 output pixels at stride 1, 4
//          rows of 8 at stride 2; any number of slices from 1 to the number of channel groups.
//          Dynamic shared memory by k, stride, tile and c_in.
// Work:    f16: a block walks over groups of 16 or 32 of its channels. A warp expands 32 or 8
//          pixels at a time (m16n8k16, weights as A from shared memory, pixels as B straight from
//          global memory); then a warp makes pairs of strips of the depthwise
//          (tile_depthwise_f16.cuh). The next group's weights (cp.async) arrive under that.
//          f32: a block keeps the input under its tile and walks over groups of 24 channels, every
//          slices-th: copies of the next weights run under the arithmetic; expansion by fma into
//          shared memory; then a thread slides the window over a segment of an output row for four
//          channels.
// Traffic: the input once for each group of channels in f16, from caches but for the first, and
//          once for each slice in f32, halo included; the output once; weights once for each tile,
//          from L2. Halo pixels are expanded by each tile that needs them.
// Numerics: products and sums in f32; mid is rounded to T once, y once. With swish in f16 mid is kept
//          times -log2(e), which batch-norms take in and out in f32: 45,403 and more overflow. The
//          order of every sum is fixed by the geometry of one image, so the bytes depend neither on
//          the run, nor on the batch, nor on how channels are dealt to blocks. An infinity in mid
//          makes NaN of its octet of channels in f16: see tile_depthwise_f16.cuh; and one in x may
//          make NaN of its pixel of mid where c_in is no multiple of 32, since weights of zero fill
//          the last step.
// Source:  the definition. Architectures: sm_75 and later; sm_75 copies through registers and
//          multiplies by pairs of m16n8k8.

#include "tile_expand_depthwise.cuh"
#include "tile_expand_depthwise_f16.cuh"

extern __shared__ __align__(16) unsigned char shared[];

#define EXPAND_DEPTHWISE_F16(name, K, STRIDE, GROUP)                            \
    extern "C" __global__ void __launch_bounds__(kExpandDepthwiseThreadsF16, 2) \
        name(const __grid_constant__ ExpandDepthwiseParams p) {                 \
        expand_depthwise_f16<K, STRIDE, GROUP>(p, shared);                      \
    }

#define EXPAND_DEPTHWISE_F32(name, K, STRIDE)                                         \
    extern "C" __global__ void __launch_bounds__(kExpandDepthwiseWarps* kWarpSize, 2) \
        name(const __grid_constant__ ExpandDepthwiseParams p) {                       \
        expand_depthwise<K, STRIDE>(p, shared);                                       \
    }

EXPAND_DEPTHWISE_F16(effnet_expand_depthwise_k3s1g16_f16, 3, 1, 16)
EXPAND_DEPTHWISE_F16(effnet_expand_depthwise_k3s2g16_f16, 3, 2, 16)
EXPAND_DEPTHWISE_F16(effnet_expand_depthwise_k5s1g16_f16, 5, 1, 16)
EXPAND_DEPTHWISE_F16(effnet_expand_depthwise_k5s2g16_f16, 5, 2, 16)
EXPAND_DEPTHWISE_F16(effnet_expand_depthwise_k3s1g32_f16, 3, 1, 32)
EXPAND_DEPTHWISE_F16(effnet_expand_depthwise_k3s2g32_f16, 3, 2, 32)
EXPAND_DEPTHWISE_F16(effnet_expand_depthwise_k5s1g32_f16, 5, 1, 32)
EXPAND_DEPTHWISE_F16(effnet_expand_depthwise_k5s2g32_f16, 5, 2, 32)
EXPAND_DEPTHWISE_F32(effnet_expand_depthwise_k3s1_f32, 3, 1)
EXPAND_DEPTHWISE_F32(effnet_expand_depthwise_k3s2_f32, 3, 2)
EXPAND_DEPTHWISE_F32(effnet_expand_depthwise_k5s1_f32, 5, 1)
EXPAND_DEPTHWISE_F32(effnet_expand_depthwise_k5s2_f32, 5, 2)
