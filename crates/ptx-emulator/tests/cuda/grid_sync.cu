// Steps of a heat equation, u'[i] = (u[i - 1] + 2 u[i] + u[i + 1]) / 4 with fixed ends, all in one
// cooperative launch: every block waits for all others between two steps.
//
// Launch: cooperative, any block and grid. The result is in `odd` after an odd number of steps.
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

#include <cooperative_groups.h>

namespace groups = cooperative_groups;

template <bool kGridSync>
__device__ __forceinline__ void heat_steps(float* even, float* odd, int elems, int steps) {
    const groups::grid_group grid = groups::this_grid();
    const int threads = gridDim.x * blockDim.x;
    for (int step = 0; step < steps; ++step) {
        const float* from = step % 2 == 0 ? even : odd;
        float* to = step % 2 == 0 ? odd : even;
        for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < elems; i += threads) {
            const float here = from[i];
            float next = here;
            if (i > 0 && i < elems - 1) {
                const float left = from[i - 1];   // finds heat_without_grid_sync: global-race uninitialised-memory
                const float right = from[i + 1];  // finds heat_without_grid_sync: global-race uninitialised-memory
                next = 0.25f * (left + 2.0f * here + right);
            }
            to[i] = next;  // finds heat_without_grid_sync: global-race
        }
        if constexpr (kGridSync) {
            grid.sync();
        } else {
            __syncthreads();
        }
    }
}

extern "C" __global__ void heat(float* even, float* odd, int elems, int steps) {
    heat_steps<true>(even, odd, elems, steps);
}

extern "C" __global__ void heat_without_grid_sync(float* even, float* odd, int elems, int steps) {
    heat_steps<false>(even, odd, elems, steps);
}
