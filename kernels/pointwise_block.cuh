// The block of a 1x1 convolution: which channels its lanes hold, which part of the output it makes,
// its shared memory, and the copies into that. kernels/pointwise.cu has the formula.
//
// Which channel is which. An mma multiplies whatever order of k its two factors agree on, and its
// columns may be any output channels. Lane l, with q = l % 4, holds of a panel of 32 input channels
// those from 8 q to 8 q + 7: one 16-byte vector of x for each of its two rows, straight from global
// memory, and one of weight for each of its columns, from shared memory. Two steps of the mma, s =
// 0 and 1, take 4 of them each: k = 2 q, 2 q + 1, 2 q + 8, 2 q + 9 of step s are the channels 8 q +
// 4 s, ... + 3. Of a group of F fragments (8 columns each, F = 4, 2 or 1) column 2 q + e of
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

// Read anew where it is called: it is not to wait in registers.
__device__ __forceinline__ PointwiseBlock pointwise_block() {
    PointwiseBlock block;
    asm volatile("mov.u32 %0, %%tid.x;" : "=r"(block.lane));
    asm volatile("mov.u32 %0, %%tid.y;" : "=r"(block.row_warp));
    asm volatile("mov.u32 %0, %%tid.z;" : "=r"(block.col_warp));
    __builtin_assume(block.lane >= 0 && block.lane < kWarpSize);
    __builtin_assume(block.row_warp >= 0 && block.col_warp >= 0);
    block.quad = block.lane % 4;
    block.row_warps = blockDim.y;
    block.thread.index = (block.col_warp * blockDim.y + block.row_warp) * kWarpSize + block.lane;
    block.thread.count = blockDim.z * blockDim.y * kWarpSize;
    __builtin_assume(block.thread.index >= 0 && block.thread.count > 0);
    return block;
}

// Which part of the output a block makes.
struct PointwisePlace {
    int image;  // 0 where tiles may hold rows of several
    int chunk;  // of the sum, where the chunks are split
    int first_row;
    int end_row;
    int first_col;
    int cols;  // of a tile
};

// What of that is along the grid's third extent.
struct PointwiseImage {
    int image;
    int chunk;
};

__device__ __forceinline__ PointwiseImage pointwise_image(const PointwiseParams& p) {
    PointwiseImage z = {static_cast<int>(blockIdx.z), 0};
    if (p.chunk_sums != nullptr) {
        const unsigned chunks = pointwise_chunks(p.c_in);
        z.image = blockIdx.z / chunks;
        z.chunk = blockIdx.z - z.image * chunks;
    }
    return z;
}

// The first column of a block's tile. Column tiles come first, so that blocks of the same rows
// run at the same time.
__device__ __forceinline__ int pointwise_first_col(int cols) {
    int tile;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(tile));
    return tile * cols;
}

// Made anew where it is called.
__device__ __forceinline__ PointwisePlace pointwise_place(const PointwiseParams& p, int cols,
                                                          PointwiseImage z) {
    int tile;
    asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(tile));
    PointwisePlace place;
    place.image = z.image;
    place.chunk = z.chunk;
    place.cols = cols;
    place.first_col = pointwise_first_col(cols);
    // What no tile crosses: an image, or all rows.
    const bool of_image = p.partial_sums != nullptr || p.squeeze != nullptr || p.gate != nullptr;
    const int span = of_image ? p.pixels : p.rows;
    place.first_row = z.image * span + tile * p.tile_rows;
    place.end_row = min(place.first_row + p.tile_rows, (z.image + 1) * span);
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
    at += panels * kPanel * sizeof(__half);
    shared.gate_sums = reinterpret_cast<float*>(at);
    shared.gate_weight = nullptr;
    if (p.squeeze != nullptr) {
        at += gate_floats(p.c_se) * sizeof(float);
        if (p.c_se * panels <= kPointwiseGateRows) {
            shared.gate_weight = reinterpret_cast<__half*>(at);
            at += p.c_se * gate_pitch(panels) * sizeof(__half);
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

    __device__ __forceinline__ WeightCopies(const PointwiseParams& p, int tile_cols, int first_k,
                                            Member thread) {
        c_in = p.c_in;
        cols = tile_cols;
        const int first_col = pointwise_first_col(cols);
        rows = min(cols, p.c_out - first_col);
        first = thread.index / 4;
        stride = thread.count / 4;
        channel = thread.index % 4 * kChunkHalves;
        from = static_cast<const __half*>(p.weight) + first_col * c_in + first_k;
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
            copy_chunk(to + j * gate_pitch(range.panels) + i * kChunkHalves,
                       from + j * p.c_in + i * kChunkHalves, true);
        }
    }
}

// The gates of the block's channels, zeros to the end of the last panel. All threads call it; they
// meet in it, so that all see what they copied before, but for what it leaves.
__device__ __forceinline__ void pointwise_gates(const PointwiseParams& p, int image,
                                                const PointwiseRange& range, Member thread,
                                                GateBiases& biases, const PointwiseShared& shared) {
    if (p.squeeze != nullptr) {
        float* reduced = shared.gate_sums + share_floats(p.c_se);
        add_parts(p, image, thread, shared.gate_sums);
        __syncthreads();
        reduce_shares(p, thread, biases.reduce, shared.gate_sums, reduced);
        wait_copies<0>();
        __syncthreads();
        const float* bias = p.gate_bias + range.first;
        const __half* weight = static_cast<const __half*>(p.gate_weight) + range.first;
        const int pitch = gate_pitch(range.panels);
        if (gate_is_short(p.c_se)) {
            if (shared.gate_weight != nullptr) {
                gate_channels_short(SharedWeights{shared.gate_weight}, pitch, bias, range.length,
                                    p.c_se, thread, biases.gate, reduced, shared.gates);
            } else {
                gate_channels_short(GlobalWeights{weight}, p.c_in, bias, range.length, p.c_se,
                                    thread, biases.gate, reduced, shared.gates);
            }
        } else if (shared.gate_weight != nullptr) {
            gate_channels<8>(SharedWeights{shared.gate_weight}, pitch, bias, range.length, p.c_se,
                             thread, biases.gate[0].x, reduced, shared.gates);
        } else {
            gate_channels<16>(GlobalWeights{weight}, p.c_in, bias, range.length, p.c_se, thread,
                              biases.gate[0].x, reduced, shared.gates);
        }
    } else {
        const float* gate = p.gate + image * p.c_in + range.first;
        for (int c = 2 * thread.index; c < range.panels * kPanel; c += 2 * thread.count) {
            const float2 pair =
                load_if(p.gate != nullptr && c < range.length, gate + c, make_float2(1.0f, 1.0f));
            store_pair(shared.gates + c, pair);
        }
    }
}
