// One output tile of a 1x1 convolution on tensor cores: the sum over c_in, its chunks put together
// over blocks, and the epilogue. kernels/pointwise.cu has the formula and what must hold.
//
// Which channel is which. An mma multiplies whatever order of k its two factors agree on, and its
// columns may be any output channels. Lane l, with q = l % 4, holds of a panel of 32 input channels
// those from 8 q to 8 q + 7: one 16-byte vector of x for each of its two rows, straight from global
// memory, and one of weight for each of its columns, from shared memory. Two steps of the mma, s = 0
// and 1, take 4 of them each: k = 2 q, 2 q + 1, 2 q + 8, 2 q + 9 of step s are the channels
// 8 q + 4 s, ... + 3. Of a group of F fragments (8 columns each, F = 4, 2 or 1) column 2 q + e of
// fragment f is output channel 2 F q + 2 f + e: a lane's outputs of a row are 2 F neighbours.
#pragma once

#include "gate.cuh"

// Channels of a chunk of the sum over c_in: by c_in alone, so that every tile shape, split or not,
// adds up in the same order.
__device__ __forceinline__ int pointwise_chunk(int c_in) {
    const bool is_short = c_in > kPointwiseLongChunk && c_in <= kPointwiseShortSum;
    return is_short ? kPointwiseShortChunk : kPointwiseLongChunk;
}

// Chunks of that length.
__device__ __forceinline__ int pointwise_chunks(int c_in) {
    const unsigned chunk = pointwise_chunk(c_in);
    const unsigned shift = chunk == kPointwiseShortChunk ? 7 : 8;
    return (c_in + chunk - 1) >> shift;
}
static_assert(kPointwiseShortChunk == 1 << 7 && kPointwiseLongChunk == 1 << 8, "the shifts");

constexpr int kPanel = 32;       // channels of a panel
constexpr int kStepPanels = 2;   // of a step: copied together
constexpr int kTurnPanels = 4;   // multiplied in one turn of the loop
constexpr int kGroupRows = 16;   // rows of a warp at a time
constexpr int kChunkHalves = 8;  // halves of a vector of 16 bytes
static_assert(kPointwiseShortChunk % (kTurnPanels * kPanel) == 0, "a chunk is whole turns");
static_assert(kPointwiseLongChunk % (kTurnPanels * kPanel) == 0, "a chunk is whole turns");
static_assert(kTurnPanels % kStepPanels == 0, "a turn is whole steps");

// The block: threads (32, warps along the rows, warps along the columns).
struct PointwiseBlock {
    int lane;
    int quad;  // lane % 4
    int row_warp;
    int row_warps;
    int col_warp;
    Member thread;
};

__device__ __forceinline__ PointwiseBlock pointwise_block() {
    PointwiseBlock block;
    block.lane = threadIdx.x;
    block.quad = block.lane % 4;
    block.row_warp = threadIdx.y;
    block.row_warps = blockDim.y;
    block.col_warp = threadIdx.z;
    block.thread.index = (threadIdx.z * blockDim.y + threadIdx.y) * kWarpSize + threadIdx.x;
    block.thread.count = blockDim.z * blockDim.y * kWarpSize;
    return block;
}

// Which part of the output a block makes.
struct PointwisePlace {
    int image;  // 0 where tiles may hold rows of several
    int first_row;
    int end_row;
    int first_col;
    int cols;  // of a tile
};

// Column tiles first: blocks that read the same rows run at the same time.
__device__ __forceinline__ PointwisePlace pointwise_place(const PointwiseParams& p, int cols,
                                                          int image) {
    PointwisePlace place;
    place.cols = cols;
    place.image = image;
    place.first_col = blockIdx.x * cols;
    // What no tile crosses: an image, or all rows.
    const bool of_image = p.partial_sums != nullptr || p.squeeze != nullptr || p.gate != nullptr;
    const int span = of_image ? p.pixels : p.rows;
    place.first_row = image * span + blockIdx.y * p.tile_rows;
    place.end_row = min(place.first_row + p.tile_rows, (image + 1) * span);
    return place;
}

// Index of a block's row tile, [n, tiles] where pooled, and of its tile, [row tiles, column tiles].
__device__ __forceinline__ int row_tile(const PointwisePlace& place) {
    return place.image * gridDim.y + blockIdx.y;
}

__device__ __forceinline__ int tile_index(const PointwisePlace& place) {
    return row_tile(place) * gridDim.x + blockIdx.x;
}

// Input channels that a block adds up.
struct PointwiseRange {
    int first;
    int length;
    int panels;   // the last may be part-empty
    int full;     // panels that are not
    int longest;  // panels of the longest range of this launch: shared memory is laid out by it
};

// --- Shared memory ---

// In this order: panels of weight, [cols, 32] halves each; scale and shift, [cols] floats each; the
// gates, [panels, 32] halves; sums of the gate; its weights, where the launch brings room for them;
// the pool's sums, [groups of rows, cols] floats.
struct PointwiseShared {
    __half* weight;
    float* scale;
    float* shift;
    __half* gates;
    float* gate_sums;
    __half* gate_weight;  // null: read from global memory
    float* pool;
};

// Whether all panels of weight of a block stay in shared memory.
__device__ __forceinline__ bool pointwise_stays(int panels, int cols) {
    return panels * cols <= kPointwiseStayRows;
}

__device__ __forceinline__ PointwiseShared pointwise_shared(const PointwiseParams& p, int panels,
                                                            int cols, char* at) {
    PointwiseShared shared;
    const int copied = pointwise_stays(panels, cols) ? panels : kPointwiseStages * kStepPanels;
    shared.weight = reinterpret_cast<__half*>(at);
    at += copied * cols * kPanel * sizeof(__half);
    shared.scale = reinterpret_cast<float*>(at);
    shared.shift = shared.scale + cols;
    at += 2 * cols * sizeof(float);
    shared.gates = reinterpret_cast<__half*>(at);
    if (p.squeeze != nullptr || p.gate != nullptr) {
        at += panels * kPanel * sizeof(__half);
    }
    shared.gate_sums = reinterpret_cast<float*>(at);
    shared.gate_weight = nullptr;
    if (p.squeeze != nullptr) {
        at += gate_floats(p.c_se) * sizeof(float);
        if (p.c_se * panels <= kPointwiseGateRows) {
            shared.gate_weight = reinterpret_cast<__half*>(at);
            at += p.c_se * panels * kPanel * sizeof(__half);
        }
    }
    shared.pool = reinterpret_cast<float*>(at);
    return shared;
}

// --- Copies ---

// A thread's share of weight's copies: the same channels of every so manieth row.
struct WeightCopies {
    const __half* from;  // at the block's first channel; readable, whatever the thread
    int rows;            // that there are
    int c_in;
    int cols;
    int first;  // of the thread's rows
    int stride;
    int channel;  // of a panel

    __device__ __forceinline__ WeightCopies(const PointwiseParams& p, const PointwisePlace& place,
                                            int first_k, Member thread) {
        c_in = p.c_in;
        cols = place.cols;
        rows = min(cols, p.c_out - place.first_col);
        first = thread.index / 4;
        stride = thread.count / 4;
        channel = thread.index % 4 * kChunkHalves;
        from = static_cast<const __half*>(p.weight) + place.first_col * c_in + first_k;
    }

    // Panels [panel, panel + COUNT) that begin before `length`, zeros from there on.
    template <int COUNT>
    __device__ __forceinline__ void copy(__half* to, int panel, int length) const {
        const int k = panel * kPanel + channel;
        const __half* row_from = from + first * c_in + k;
        __half* row_to = to + first * kPanel + channel;
        for (int row = first; row < rows; row += stride) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                if ((panel + i) * kPanel < length) {
                    const bool is_inside = k + i * kPanel < length;
                    copy_chunk(row_to + i * cols * kPanel, is_inside ? row_from + i * kPanel : from,
                               is_inside);
                }
            }
            row_from += stride * c_in;
            row_to += stride * kPanel;
        }
    }

    // Rows of columns that there are not, in `panels` panels.
    __device__ __forceinline__ void clear(__half* panel, int panels) const {
        for (; panels > 0; --panels) {
            for (int row = rows + first; row < cols; row += stride) {
                *reinterpret_cast<uint4*>(panel + row * kPanel + channel) = make_uint4(0, 0, 0, 0);
            }
            panel += cols * kPanel;
        }
    }
};

// Batch-norm of the tile's columns; 1 and 0 where there is none.
__device__ __forceinline__ void copy_batch_norm(const PointwiseParams& p,
                                                const PointwisePlace& place, Member thread,
                                                const PointwiseShared& shared) {
    for (int col = 4 * thread.index; col < place.cols; col += 4 * thread.count) {
        if (p.scale != nullptr && place.first_col + col < p.c_out) {
            copy_chunk(reinterpret_cast<__half*>(shared.scale + col),
                       reinterpret_cast<const __half*>(p.scale + place.first_col + col), true);
            copy_chunk(reinterpret_cast<__half*>(shared.shift + col),
                       reinterpret_cast<const __half*>(p.shift + place.first_col + col), true);
        } else {
            *reinterpret_cast<float4*>(shared.scale + col) = make_float4(1.0f, 1.0f, 1.0f, 1.0f);
            *reinterpret_cast<float4*>(shared.shift + col) = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
    }
}

// The gate's weights of the block's channels, [c_se, length].
__device__ __forceinline__ void copy_gate_weight(const PointwiseParams& p,
                                                 const PointwiseRange& range, Member thread,
                                                 __half* to) {
    const __half* from = static_cast<const __half*>(p.gate_weight) + range.first;
    const int vectors = range.length / kChunkHalves;
    // Lanes along the channels, warps along the rows: lanes beyond the channels go on below.
    const int warps = thread.count / kWarpSize;
    for (int j = thread.index / kWarpSize; j < p.c_se; j += warps) {
        for (int i = thread.index % kWarpSize; i < vectors; i += kWarpSize) {
            copy_chunk(to + j * range.length + i * kChunkHalves,
                       from + j * p.c_in + i * kChunkHalves, true);
        }
    }
}

// The gates of the block's channels, zeros to the end of the last panel. All threads call it; they
// meet in it, so that all see what they copied before, but for what it leaves.
__device__ __forceinline__ void pointwise_gates(const PointwiseParams& p, int image,
                                                const PointwiseRange& range, Member thread,
                                                const PointwiseShared& shared) {
    if (p.squeeze != nullptr) {
        float* reduced = shared.gate_sums + kGateShares * ((p.c_se + 3) / 4 * 4);
        add_parts(p, image, thread, shared.gate_sums);
        __syncthreads();
        reduce_shares(p, thread, shared.gate_sums, reduced);
        wait_copies<0>();
        __syncthreads();
        const float* bias = p.gate_bias + range.first;
        if (shared.gate_weight != nullptr) {
            gate_channels(shared.gate_weight, range.length, bias, range.length, p.c_se, thread,
                          reduced, shared.gates);
        } else {
            gate_channels(static_cast<const __half*>(p.gate_weight) + range.first, p.c_in, bias,
                          range.length, p.c_se, thread, reduced, shared.gates);
        }
    } else {
        const float* gate = p.gate + image * p.c_in + range.first;
        for (int c = 2 * thread.index; c < range.length; c += 2 * thread.count) {
            store_pair(shared.gates + c, load_pair(gate + c));
        }
    }
    for (int c = range.length + 2 * thread.index; c < range.panels * kPanel;
         c += 2 * thread.count) {
        store_pair(shared.gates + c, make_float2(0.0f, 0.0f));
    }
}

// --- The sum ---

// x of a warp's 16 rows, DEPTH panels of it in registers or on their way there.
template <int DEPTH>
struct InputRows {
    const __half* from[2];  // rows lane / 4 and lane / 4 + 8, at the lane's first channel
    uint4 vectors[DEPTH][2];

    // Rows from `row` on; the last row takes the place of those from `end_row` on.
    __device__ __forceinline__ void begin(const PointwiseParams& p, const PointwiseBlock& block,
                                          const PointwiseRange& range, int row, int end_row) {
        const __half* x = static_cast<const __half*>(p.input);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int at = min(row + block.lane / 4 + 8 * half, end_row - 1);
            from[half] = x + at * p.c_in + range.first + block.quad * kChunkHalves;
        }
#pragma unroll
        for (int panel = 0; panel < DEPTH; ++panel) {
            load(block, range, panel, panel);
        }
    }

    __device__ __forceinline__ void load(const PointwiseBlock& block, const PointwiseRange& range,
                                         int slot, int panel) {
        const int k = panel * kPanel;
        if (panel < range.full) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                vectors[slot][half] = *reinterpret_cast<const uint4*>(from[half] + k);
            }
        } else if (panel < range.panels) {
            const bool is_inside = k + block.quad * kChunkHalves < range.length;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                vectors[slot][half] = is_inside ? *reinterpret_cast<const uint4*>(from[half] + k)
                                                : make_uint4(0, 0, 0, 0);
            }
        }
    }
};

// Two products of halves, each rounded once.
__device__ __forceinline__ unsigned multiply_halves(unsigned a, unsigned b) {
    unsigned product;
    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
    return product;
}

// Output columns of a warp: fragments of 8 in groups of 4, and at the end of 2 and of 1.
template <int N>
struct WarpColumns {
    static constexpr int kCols = 8 * N;
    static constexpr int kThreads =
        kCols > kPointwiseWideCols ? kPointwiseWideThreads : kPointwiseThreads;
    // Panels of x in flight: fewer where sums take more registers.
    static constexpr int kDepth = N <= 5 ? 4 : 2;
    using Sums = float[N][4];

    // Fragments of the group that begins at fragment n.
    __device__ static constexpr int group(int n) {
        return N - n >= 4 ? 4 : N - n >= 2 ? 2 : 1;
    }
    // The first fragment of n's group.
    __device__ static constexpr int group_begin(int n) {
        return n < N / 4 * 4 ? n / 4 * 4 : n < N / 2 * 2 ? n / 2 * 2 : n;
    }
};

// sums = the sum over the block's channels of x * gate times weight, chunk by chunk.
template <int N>
__device__ __forceinline__ void pointwise_sum(const PointwiseParams& p, const PointwiseBlock& block,
                                              const PointwiseRange& range, bool stays,
                                              const WeightCopies& copies,
                                              const PointwiseShared& shared,
                                              InputRows<WarpColumns<N>::kDepth>& x,
                                              typename WarpColumns<N>::Sums& sums) {
    using Columns = WarpColumns<N>;
    constexpr int depth = Columns::kDepth;
    const bool is_gated = p.squeeze != nullptr || p.gate != nullptr;
    const int panel_halves = copies.cols * kPanel;
    const int chunk_panels = pointwise_chunk(p.c_in) / kPanel;

    // Where this lane finds its column of the first fragment of a group, by the group's fragments.
    const int row = block.lane / 4;
    const auto column = [&](int fragments) {
        return (block.col_warp * Columns::kCols + row / 2 * 2 * fragments + row % 2) * kPanel +
               block.quad * kChunkHalves;
    };
    const int columns[3] = {column(1), column(2), column(4)};

    float total[N][4];  // of the chunks before this one
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            total[n][i] = -0.0f;  // plus x is x, of every x
            sums[n][i] = 0.0f;
        }
    }

    const __half* gates = shared.gates + block.quad * kChunkHalves;
    const __half* weight = shared.weight;
    int stage = 0;
    int chunk_end = chunk_panels;
    for (int first = 0; first < range.panels; first += kTurnPanels) {
#pragma unroll
        for (int i = 0; i < kTurnPanels; ++i) {
            const int panel = first + i;
            if (panel >= range.panels) {
                break;
            }
            if (i % kStepPanels == 0 && !stays) {
                // All copies of this step are there, and all warps are done with the one before.
                wait_copies<kPointwiseStages - 2>();
                __syncthreads();
                const int later = stage == 0 ? kPointwiseStages - 1 : stage - 1;
                copies.copy<kStepPanels>(shared.weight + later * kStepPanels * panel_halves,
                                         panel + (kPointwiseStages - 1) * kStepPanels,
                                         range.length);
                commit_copies();  // an empty group too, so that the waits count right
                weight = shared.weight + stage * kStepPanels * panel_halves;
                stage = stage + 1 == kPointwiseStages ? 0 : stage + 1;
            }

            uint4(&now)[2] = x.vectors[i % depth];
            unsigned a[2][4] = {{now[0].x, now[1].x, now[0].y, now[1].y},
                                {now[0].z, now[1].z, now[0].w, now[1].w}};
            if (is_gated) {
                const uint4 gate = *reinterpret_cast<const uint4*>(gates + panel * kPanel);
                const unsigned words[4] = {gate.x, gate.y, gate.z, gate.w};
#pragma unroll
                for (int step = 0; step < 2; ++step) {
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        a[step][j] = multiply_halves(a[step][j], words[2 * step + j / 2]);
                    }
                }
            }
            x.load(block, range, i % depth, panel + depth);

#pragma unroll
            for (int n = 0; n < N; ++n) {
                const int begin = Columns::group_begin(n);
                const int at =
                    columns[Columns::group(begin) / 2] + (begin * 8 + (n - begin) * 2) * kPanel;
                const uint4 b = *reinterpret_cast<const uint4*>(weight + at);
                multiply(sums[n], a[0], b.x, b.y);
                multiply(sums[n], a[1], b.z, b.w);
            }
            weight += panel_halves;
        }

        if (first + kTurnPanels == chunk_end && chunk_end < range.panels) {
            chunk_end += chunk_panels;
#pragma unroll
            for (int n = 0; n < N; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    total[n][i] += sums[n][i];
                    sums[n][i] = 0.0f;
                }
            }
        }
    }
#pragma unroll
    for (int n = 0; n < N; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sums[n][i] = total[n][i] + sums[n][i];
        }
    }
}

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
__device__ __forceinline__ bool pointwise_gather(const PointwiseParams& p, PointwisePlace place,
                                                 Member thread, int chunk,
                                                 typename WarpColumns<N>::Sums& sums) {
    // What follows from it is not to wait in registers while sums are made.
    int c_in = p.c_in;
    asm volatile("" : "+r"(place.image), "+r"(thread.index), "+r"(chunk), "+r"(c_in));
    const int chunks = pointwise_chunks(c_in);
    const int tile = tile_index(place);
    // [tiles, chunks, N, threads] of 4 floats
    float4* parts =
        reinterpret_cast<float4*>(p.chunk_sums) + tile * chunks * N * thread.count + thread.index;
#pragma unroll
    for (int n = 0; n < N; ++n) {
        parts[(chunk * N + n) * thread.count] =
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
    constexpr int at_once = N >= 7 ? 1 : N >= 5 ? 2 : 12 / N;  // chunks whose loads are in flight
    for (int first = 0; first < chunks; first += at_once) {
        float4 part[at_once][N];
#pragma unroll
        for (int i = 0; i < at_once; ++i) {
#pragma unroll
            for (int n = 0; n < N; ++n) {
                // From L2, where the other blocks' sums are. Minus zero plus x is x, of every x.
                part[i][n] = first + i < chunks
                                 ? __ldcg(parts + ((first + i) * N + n) * thread.count)
                                 : make_float4(-0.0f, -0.0f, -0.0f, -0.0f);
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

// A block's tile, or, where chunks are split, one chunk of it.
template <int N>
__device__ __forceinline__ void pointwise(const PointwiseParams& p, char* at) {
    using Columns = WarpColumns<N>;
    const PointwiseBlock block = pointwise_block();
    const bool is_split = p.chunk_sums != nullptr;
    const int channels = pointwise_chunk(p.c_in);
    int image = blockIdx.z;
    int chunk = 0;
    if (is_split) {
        const unsigned chunks = pointwise_chunks(p.c_in);
        image = blockIdx.z / chunks;
        chunk = blockIdx.z - image * chunks;
    }
    const PointwisePlace place = pointwise_place(p, blockDim.z * Columns::kCols, image);
    PointwiseRange range;
    range.first = chunk * channels;
    range.length = is_split ? min(channels, p.c_in - range.first) : p.c_in;
    range.panels = (range.length + kPanel - 1) / kPanel;
    range.full = range.length / kPanel;
    range.longest = is_split ? channels / kPanel : range.panels;

    // What does not come from the launch before is under way while it ends.
    const PointwiseShared shared = pointwise_shared(p, range.longest, place.cols, at);
    const WeightCopies copies(p, place, range.first, block.thread);
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
    wait_for_launches_before();

    int group = block.row_warp;
    InputRows<Columns::kDepth> x;
    x.begin(p, block, range, place.first_row + group * kGroupRows, place.end_row);
    if (p.squeeze != nullptr || p.gate != nullptr) {
        pointwise_gates(p, place.image, range, block.thread, shared);
    }
    if (stays) {
        wait_copies<0>();
    }
    __syncthreads();

    const int groups = (place.end_row - place.first_row + kGroupRows - 1) / kGroupRows;
    typename Columns::Sums sums;
#pragma unroll 1
    while (true) {
        pointwise_sum<N>(p, block, range, stays, copies, shared, x, sums);
        if (is_split) {
            if (!pointwise_gather<N>(p, place, block.thread, chunk, sums)) {
                return;
            }
        }
        // The rows after these are under way while these are finished.
        int row_warps = block.row_warps;
        asm volatile("" : "+r"(row_warps));
        const int next = group + row_warps;
        if (next < groups) {
            x.begin(p, block, range, place.first_row + next * kGroupRows, place.end_row);
        }
        if (group < groups) {
            PointwiseBlock here = block;
            // What follows from it is not to wait in registers while sums are made.
            asm volatile("" : "+r"(here.lane), "+r"(here.quad));
            with_activation(p.activation, [&](auto activation) {
                finish_groups<N, 0, decltype(activation)::kValue>(p, here, place, group, shared,
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
        store_pooled(p, place, groups, block.thread, shared);
    }
}
