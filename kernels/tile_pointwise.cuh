// One output tile of a 1x1 convolution on tensor cores: the sum over c_in, its chunks put together
// over blocks, and the epilogue. kernels/pointwise.cu has the formula and what must hold.
#pragma once

#include "pointwise_sum.cuh"

// --- Chunks split over blocks ---

// Counts an arrival, and is true of the last of `count`, after which the counter is zero again.
// What the others did before they arrived is seen after it.
__device__ __forceinline__ bool arrive(uint32_t* counter, unsigned count) {
    unsigned before;
    asm volatile("atom.acq_rel.gpu.global.inc.u32 %0, [%1], %2;"
                 : "=r"(before)
                 : "l"(counter), "r"(count - 1)
                 : "memory");
    return before == count - 1;
}

// Hands in one chunk's sums. True in the last block of the tile to come here, whose sums are then
// those of all chunks, added up in order.
template <int N>
__device__ __forceinline__ bool pointwise_gather(const PointwiseParams& p,
                                                 const PointwisePlace& place, Member thread,
                                                 typename WarpColumns<N>::Sums& sums) {
    const int chunks = pointwise_chunks(p.c_in);
    const int tile = tile_index(place);
    // [tiles, chunks, N, threads] of 4 floats
    float4* parts =
        reinterpret_cast<float4*>(p.chunk_sums) + tile * chunks * N * thread.count + thread.index;
#pragma unroll
    for (int n = 0; n < N; ++n) {
        parts[(place.chunk * N + n) * thread.count] =
            make_float4(sums[n][0], sums[n][1], sums[n][2], sums[n][3]);
    }
    __syncthreads();
    bool is_last = false;
    if (thread.index == 0) {
        is_last = arrive(p.arrivals + tile, chunks);
    }
    if (!__syncthreads_or(is_last)) {
        return false;
    }
    constexpr int at_once = N >= 5 ? 3 : 12 / N;  // chunks whose loads are in flight
    for (int first = 0; first < chunks; first += at_once) {
        float4 part[at_once][N];
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
#pragma unroll
            for (int n = 0; n < N; ++n) {
                // Minus zero plus x is x, of every x.
                part[i][n] = load_if_from_l2(first + i < chunks,
                                             parts + ((first + i) * N + n) * thread.count,
                                             make_float4(-0.0f, -0.0f, -0.0f, -0.0f));
            }
        }
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
#pragma unroll
            for (int n = 0; n < N; ++n) {
                const bool is_first = first + i == 0;
                sums[n][0] = is_first ? part[i][n].x : sums[n][0] + part[i][n].x;
                sums[n][1] = is_first ? part[i][n].y : sums[n][1] + part[i][n].y;
                sums[n][2] = is_first ? part[i][n].z : sums[n][2] + part[i][n].z;
                sums[n][3] = is_first ? part[i][n].w : sums[n][3] + part[i][n].w;
            }
        }
    }
    return true;
}

// --- Epilogue ---

// 2 F neighbouring halves.
template <int F>
struct Neighbours {
    unsigned pairs[F];
};

template <int F>
__device__ __forceinline__ Neighbours<F> load_neighbours(const __half* at) {
    Neighbours<F> to;
    if constexpr (F == 4) {
        const uint4 raw = *reinterpret_cast<const uint4*>(at);
        to.pairs[0] = raw.x;
        to.pairs[1] = raw.y;
        to.pairs[2] = raw.z;
        to.pairs[3] = raw.w;
    } else if constexpr (F == 2) {
        const uint2 raw = *reinterpret_cast<const uint2*>(at);
        to.pairs[0] = raw.x;
        to.pairs[1] = raw.y;
    } else {
        to.pairs[0] = *reinterpret_cast<const unsigned*>(at);
    }
    return to;
}

template <int F>
__device__ __forceinline__ void store_neighbours(__half* at, const Neighbours<F>& from) {
    if constexpr (F == 4) {
        *reinterpret_cast<uint4*>(at) =
            make_uint4(from.pairs[0], from.pairs[1], from.pairs[2], from.pairs[3]);
    } else if constexpr (F == 2) {
        *reinterpret_cast<uint2*>(at) = make_uint2(from.pairs[0], from.pairs[1]);
    } else {
        *reinterpret_cast<unsigned*>(at) = from.pairs[0];
    }
}

// Batch-norm, activation, skip; the output and the pool's sums, of the group of F fragments that
// begins at fragment BEGIN.
template <int N, int BEGIN, int F, int32_t ACTIVATION>
__device__ __forceinline__ void finish_group(const PointwiseParams& p, const PointwiseBlock& block,
                                             const PointwisePlace& place, int group,
                                             const PointwiseShared& shared,
                                             const typename WarpColumns<N>::Sums& sums) {
    const int col = (block.col_warp * N + BEGIN) * 8 + block.quad * 2 * F;  // of the tile
    const bool has_col = place.first_col + col < p.c_out;
    const bool is_pooled = p.partial_sums != nullptr;
    float2 scale[F];
    float2 shift[F];
#pragma unroll
    for (int f = 0; f < F; ++f) {
        scale[f] = load_pair(shared.scale + col + 2 * f);
        shift[f] = load_pair(shared.shift + col + 2 * f);
    }
    float2 pooled[F] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = place.first_row + group * kGroupRows + block.lane / 4 + 8 * half;
        const bool is_inside = row < place.end_row && has_col;
        const int at = row * p.c_out + place.first_col + col;
        float2 y[F];
#pragma unroll
        for (int f = 0; f < F; ++f) {
            y[f].x = fmaf(sums[BEGIN + f][2 * half], scale[f].x, shift[f].x);
            y[f].y = fmaf(sums[BEGIN + f][2 * half + 1], scale[f].y, shift[f].y);
            y[f].x = activate<__half, ACTIVATION>(y[f].x);
            y[f].y = activate<__half, ACTIVATION>(y[f].y);
        }
        if (p.skip != nullptr && is_inside) {
            const Neighbours<F> skip = load_neighbours<F>(static_cast<const __half*>(p.skip) + at);
#pragma unroll
            for (int f = 0; f < F; ++f) {
                const float2 s = __half22float2(*reinterpret_cast<const __half2*>(&skip.pairs[f]));
                y[f].x += s.x;
                y[f].y += s.y;
            }
        }
        if (p.output != nullptr && is_inside) {
            Neighbours<F> packed;
#pragma unroll
            for (int f = 0; f < F; ++f) {
                const __half2 pair = __float22half2_rn(y[f]);
                packed.pairs[f] = *reinterpret_cast<const unsigned*>(&pair);
            }
            store_neighbours<F>(static_cast<__half*>(p.output) + at, packed);
        }
        if (is_pooled) {
#pragma unroll
            for (int f = 0; f < F; ++f) {
                pooled[f].x += is_inside ? y[f].x : 0.0f;
                pooled[f].y += is_inside ? y[f].y : 0.0f;
            }
        }
    }
    if (is_pooled) {
        // 16 rows by pairs: the same order in every tile shape.
#pragma unroll
        for (int f = 0; f < F; ++f) {
#pragma unroll
            for (int offset = 4; offset < kWarpSize; offset *= 2) {
                pooled[f].x += __shfl_xor_sync(kFullWarp, pooled[f].x, offset);
                pooled[f].y += __shfl_xor_sync(kFullWarp, pooled[f].y, offset);
            }
            if (block.lane < 4) {
                store_pair(shared.pool + group * place.cols + col + 2 * f, pooled[f]);
            }
        }
    }
}

template <int N, int BEGIN, int32_t ACTIVATION>
__device__ __forceinline__ void finish_groups(const PointwiseParams& p, const PointwiseBlock& block,
                                              const PointwisePlace& place, int group,
                                              const PointwiseShared& shared,
                                              const typename WarpColumns<N>::Sums& sums) {
    if constexpr (BEGIN < N) {
        constexpr int fragments = WarpColumns<N>::group(BEGIN);
        finish_group<N, BEGIN, fragments, ACTIVATION>(p, block, place, group, shared, sums);
        finish_groups<N, BEGIN + fragments, ACTIVATION>(p, block, place, group, shared, sums);
    }
}

// The tile's sums for the pool, of its groups of rows in order.
__device__ __forceinline__ void store_pooled(const PointwiseParams& p, const PointwisePlace& place,
                                             int groups, Member thread,
                                             const PointwiseShared& shared) {
    const int cols = min(place.cols, p.c_out - place.first_col);
    for (int col = thread.index; col < cols; col += thread.count) {
        float sum = shared.pool[col];
        for (int group = 1; group < groups; ++group) {
            sum += shared.pool[group * place.cols + col];
        }
        // [n, tiles, c_out]
        p.partial_sums[row_tile(place) * p.c_out + place.first_col + col] = sum;
    }
}

// --- The tile ---

// Groups of rows of a block's tile.
__device__ __forceinline__ int pointwise_groups(const PointwisePlace& place) {
    const unsigned rows = place.end_row - place.first_row;
    return static_cast<int>((rows + kGroupRows - 1) / kGroupRows);
}

// A block's tile, or, where chunks are split, one chunk of it.
template <int N>
__device__ __forceinline__ void pointwise(const PointwiseParams& p, char* at) {
    using Columns = WarpColumns<N>;
    const PointwiseBlock block = pointwise_block();
    const bool is_split = p.chunk_sums != nullptr;
    const int channels = pointwise_chunk(p.c_in);
    const PointwiseImage z = pointwise_image(p);
    const PointwisePlace place = pointwise_place(p, blockDim.z * Columns::kCols, z);
    PointwiseRange range;
    range.first = place.chunk * channels;
    range.length = is_split ? min(channels, p.c_in - range.first) : p.c_in;
    range.panels = (range.length + kPanel - 1) / kPanel;
    range.full = range.length / kPanel;
    range.longest = is_split ? channels / kPanel : range.panels;

    // What does not come from the launch before is under way while it ends.
    const PointwiseShared shared = pointwise_shared(p, range.longest, place.cols, at);
    const WeightCopies copies(p, place.cols, range.first, block.thread);
    const bool stays = pointwise_stays(range.longest, place.cols);
    if (shared.gate_weight != nullptr) {
        copy_gate_weight(p, range, block.thread, shared.gate_weight);
    }
    copy_batch_norm(p, place, block.thread, shared);
    const int panel_halves = place.cols * kPanel;
    const int first_panels = stays ? range.panels : (kPointwiseStages - 1) * kStepPanels;
#pragma unroll 1
    for (int panel = 0; panel < first_panels; panel += kStepPanels) {
        copies.copy<kStepPanels>(shared.weight + panel * panel_halves, panel, range.length);
        commit_copies();
    }
    copies.clear(shared.weight, stays ? range.panels : kPointwiseStages * kStepPanels);
    GateBiases biases = {};
    if (p.squeeze != nullptr) {
        biases = first_biases(p, p.gate_bias + range.first, range.length, block.thread);
    }
    wait_for_launches_before();

    int group = block.row_warp;
    InputRows<Columns::kDepth> x;
    x.begin(p, block, range, place.first_row + group * kGroupRows, place.end_row);
    pointwise_gates(p, place.image, range, block.thread, biases, shared);
    if (stays) {
        wait_copies<0>();
    }
    __syncthreads();

    typename Columns::Sums sums;
#pragma unroll 1
    while (true) {
        pointwise_sum<N>(p, block, range, stays, place.cols, shared, x, sums);
        // What follows from these is not to wait in registers while sums are made.
        const PointwiseBlock here = pointwise_block();
        const PointwisePlace there = pointwise_place(p, blockDim.z * Columns::kCols, z);
        if (is_split) {
            if (!pointwise_gather<N>(p, there, here.thread, sums)) {
                return;
            }
        }
        // The rows after these are under way while these are finished.
        const int next = group + here.row_warps;
        const int groups = pointwise_groups(there);
        if (next < groups) {
            x.begin(p, here, range, there.first_row + next * kGroupRows, there.end_row);
        }
        if (group < groups) {
            with_activation(p.activation, [&](auto activation) {
                finish_groups<N, 0, decltype(activation)::kValue>(p, here, there, group, shared,
                                                                  sums);
            });
        }
        if (next >= groups) {
            break;
        }
        group = next;
    }
    if (p.partial_sums != nullptr) {
        __syncthreads();
        const PointwisePlace there = pointwise_place(p, blockDim.z * Columns::kCols, z);
        store_pooled(p, there, pointwise_groups(there), pointwise_block().thread, shared);
    }
}
