// The sum over c_in of a 1x1 convolution: rows of x from global memory into registers, weights from
// shared memory, gates on the way. pointwise_block.cuh says which channels a lane has.
#pragma once

#include "pointwise_block.cuh"

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
        if (DEPTH <= range.full) {
#pragma unroll
            for (int panel = 0; panel < DEPTH; ++panel) {
                load_full(panel, panel);
            }
        } else {
#pragma unroll
            for (int panel = 0; panel < DEPTH; ++panel) {
                load_any(block, range, panel, panel);
            }
        }
    }

    // A panel all of whose channels there are.
    __device__ __forceinline__ void load_full(int slot, int panel) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            vectors[slot][half] = *reinterpret_cast<const uint4*>(from[half] + panel * kPanel);
        }
    }

    // Zeros for the channels that there are not.
    __device__ __forceinline__ void load(const PointwiseBlock& block, const PointwiseRange& range,
                                         int slot, int panel) {
        const int k = panel * kPanel;
        const bool is_inside = k + block.quad * kChunkHalves < range.length;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            vectors[slot][half] = load_if(is_inside, from[half] + k, make_uint4(0, 0, 0, 0));
        }
    }

    // Nothing where there is no such panel.
    __device__ __forceinline__ void load_any(const PointwiseBlock& block,
                                             const PointwiseRange& range, int slot, int panel) {
        if (panel < range.full) {
            load_full(slot, panel);
        } else if (panel < range.panels) {
            load(block, range, slot, panel);
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
    static constexpr int kDepth = N <= 4 ? 4 : 2;
    // Panels of a turn of the loop.
    static constexpr int kTurn = N <= 4 ? 4 : 2;
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
                                              const PointwiseRange& range, bool stays, int cols,
                                              const PointwiseShared& shared,
                                              InputRows<WarpColumns<N>::kDepth>& x,
                                              typename WarpColumns<N>::Sums& sums) {
    using Columns = WarpColumns<N>;
    constexpr int depth = Columns::kDepth;
    constexpr int turn = Columns::kTurn;
    constexpr int together = N <= 4 ? N : (N + 1) / 2;  // fragments whose weights are in registers
    const int panel_halves = cols * kPanel;
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
    // The panel at `first + i`, and x of one that is `depth` further on.
    const auto multiply_panel = [&](int first, int i, auto load) {
        uint4(&now)[2] = x.vectors[i % depth];
        unsigned a[2][4] = {{now[0].x, now[1].x, now[0].y, now[1].y},
                            {now[0].z, now[1].z, now[0].w, now[1].w}};
        const uint4 gate = *reinterpret_cast<const uint4*>(gates + (first + i) * kPanel);
        const unsigned words[4] = {gate.x, gate.y, gate.z, gate.w};
#pragma unroll
        for (int step = 0; step < 2; ++step) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                a[step][j] = multiply_halves(a[step][j], words[2 * step + j / 2]);
            }
        }
        load(i % depth, first + i + depth);
#pragma unroll
        for (int begin = 0; begin < N; begin += together) {
            uint4 b[together];
#pragma unroll
            for (int n = begin; n < N && n < begin + together; ++n) {
                const int group = Columns::group_begin(n);
                const int at =
                    columns[Columns::group(group) / 2] + (group * 8 + (n - group) * 2) * kPanel;
                b[n - begin] = *reinterpret_cast<const uint4*>(weight + at);
            }
            // Neighbours do not wait for each other.
#pragma unroll
            for (int n = begin; n < N && n < begin + together; ++n) {
                multiply(sums[n], a[0], b[n - begin].x, b[n - begin].y);
            }
#pragma unroll
            for (int n = begin; n < N && n < begin + together; ++n) {
                multiply(sums[n], a[1], b[n - begin].z, b[n - begin].w);
            }
        }
        weight += panel_halves;
    };
    int chunk_end = chunk_panels;
    const auto end_turn = [&](int end) {
        if (end == chunk_end && end < range.panels) {
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
    };
    const auto load_full = [&](int slot, int panel) { x.load_full(slot, panel); };
    const auto load_rest = [&](int slot, int panel) { x.load(block, range, slot, panel); };
    const auto load_any = [&](int slot, int panel) { x.load_any(block, range, slot, panel); };

    int first = 0;
    if (stays) {
        // Turns without a branch, as long as what they load is whole.
#pragma unroll 1
        for (; first + turn + depth <= range.full; first += turn) {
#pragma unroll
            for (int i = 0; i < turn; ++i) {
                multiply_panel(first, i, load_full);
            }
            end_turn(first + turn);
        }
#pragma unroll 1
        for (; first + turn <= range.panels; first += turn) {
#pragma unroll
            for (int i = 0; i < turn; ++i) {
                multiply_panel(first, i, load_rest);
            }
            end_turn(first + turn);
        }
#pragma unroll
        for (int i = 0; i < turn - 1; ++i) {
            if (first + i >= range.panels) {
                break;
            }
            multiply_panel(first, i, load_rest);
        }
    } else {
        const WeightCopies copies(p, cols, range.first, pointwise_block().thread);
        int stage = 0;
        const auto next_step = [&](int panel) {
            // All copies of this step are there, and all warps are done with the one before.
            wait_copies<kPointwiseStages - 2>();
            __syncthreads();
            const int later = stage == 0 ? kPointwiseStages - 1 : stage - 1;
            copies.copy<kStepPanels>(shared.weight + later * kStepPanels * panel_halves,
                                     panel + (kPointwiseStages - 1) * kStepPanels, range.length);
            commit_copies();  // an empty group too, so that the waits count right
            weight = shared.weight + stage * kStepPanels * panel_halves;
            stage = stage + 1 == kPointwiseStages ? 0 : stage + 1;
        };
#pragma unroll 1
        for (; first < range.panels; first += turn) {
#pragma unroll
            for (int i = 0; i < turn; ++i) {
                if (first + i >= range.panels) {
                    break;
                }
                if (i % kStepPanels == 0) {
                    next_step(first + i);
                }
                multiply_panel(first, i, load_any);
            }
            end_turn(first + turn);
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
