// Tiles of f32 brought into shared memory while earlier ones are used: by cp.async, and by producer
// warps that hand stages to consumer warps through mbarriers.
//
// Each thread t of the users adds element kTile - 1 - t of every tile: what another thread brought.
// Tensors: input [grid, tiles, kTile] f32, output [grid, kTile] f32.
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

#include <cuda_pipeline.h>

#include <cuda/barrier>

constexpr int kStages = 3;
constexpr int kTile = 128;

// Launch: block kTile / 4, each thread copies 16 bytes of a tile.
template <int kBehind, bool kBarrier>
__device__ __forceinline__ void copy_and_sum(const float* input, float* output, int tiles) {
    __shared__ __align__(16) float stages[kStages][kTile];
    input += static_cast<size_t>(blockIdx.x) * tiles * kTile;
    output += blockIdx.x * kTile;
    const int at = 4 * threadIdx.x;
    for (int tile = 0; tile < kStages - 1; ++tile) {
        if (tile < tiles) {
            __pipeline_memcpy_async(&stages[tile][at], &input[tile * kTile + at], 16);  // finds copy_without_barrier: shared-race; finds copy_waits_too_little: shared-race
        }
        __pipeline_commit();
    }
    float sums[4] = {};
    for (int tile = 0; tile < tiles; ++tile) {
        // All but the youngest `kBehind` groups have landed: this tile's is among them.
        __pipeline_wait_prior(kBehind);  // finds copy_without_barrier: shared-race; finds copy_waits_too_little: shared-race
        if constexpr (kBarrier) {
            __syncthreads();
        }
        const float* stage = stages[tile % kStages];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            sums[i] += stage[kTile - 1 - at - i];  // finds copy_waits_too_little: async-in-flight; finds copy_without_barrier: async-in-flight shared-race uninitialised-memory
        }
        const int next = tile + kStages - 1;
        if (next < tiles) {
            __pipeline_memcpy_async(&stages[next % kStages][at], &input[next * kTile + at], 16);  // finds copy_without_barrier: shared-race; finds copy_waits_too_little: shared-race
        }
        __pipeline_commit();
    }
    for (int i = 0; i < 4; ++i) {
        output[at + i] = sums[i];
    }
}

extern "C" __global__ void copy_pipeline(const float* input, float* output, int tiles) {
    copy_and_sum<kStages - 2, true>(input, output, tiles);
}

extern "C" __global__ void copy_waits_too_little(const float* input, float* output, int tiles) {
    copy_and_sum<kStages - 1, true>(input, output, tiles);
}

extern "C" __global__ void copy_without_barrier(const float* input, float* output, int tiles) {
    copy_and_sum<kStages - 2, false>(input, output, tiles);
}

// Launch: block 2 kTile; the first half produces, the second consumes.
using Barrier = cuda::barrier<cuda::thread_scope_block>;

template <bool kWaitEmpty, bool kWaitFull>
__device__ __forceinline__ void hand_over(const float* input, float* output, int tiles) {
    __shared__ float stages[kStages][kTile];
#pragma nv_diag_suppress static_var_with_dynamic_init
    __shared__ Barrier full[kStages];
    __shared__ Barrier empty[kStages];
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < kStages; ++stage) {
            init(&full[stage], blockDim.x);
            init(&empty[stage], blockDim.x);
        }
    }
    __syncthreads();
    input += static_cast<size_t>(blockIdx.x) * tiles * kTile;
    if (threadIdx.x < kTile) {
        for (int tile = 0; tile < tiles; ++tile) {
            const int stage = tile % kStages;
            if constexpr (kWaitEmpty) {
                empty[stage].arrive_and_wait();  // finds consume_without_waiting: deadlock livelock
            }
            stages[stage][threadIdx.x] = input[tile * kTile + threadIdx.x];  // finds produce_without_waiting: shared-race; finds consume_without_waiting: shared-race
            (void)full[stage].arrive();
        }
    } else {
        const int thread = threadIdx.x - kTile;
        if constexpr (kWaitEmpty) {
            for (int stage = 0; stage < kStages; ++stage) {
                (void)empty[stage].arrive();
            }
        }
        float sum = 0.0f;
        for (int tile = 0; tile < tiles; ++tile) {
            const int stage = tile % kStages;
            if constexpr (kWaitFull) {
                full[stage].arrive_and_wait();  // finds produce_without_waiting: deadlock livelock
            } else {
                (void)full[stage].arrive();
            }
            sum += stages[stage][kTile - 1 - thread];  // finds produce_without_waiting: shared-race uninitialised-memory; finds consume_without_waiting: shared-race uninitialised-memory
            if (kWaitEmpty && tile + kStages < tiles) {
                (void)empty[stage].arrive();
            }
        }
        output[blockIdx.x * kTile + thread] = sum;
    }
}

extern "C" __global__ void produce_consume(const float* input, float* output, int tiles) {
    hand_over<true, true>(input, output, tiles);
}

extern "C" __global__ void produce_without_waiting(const float* input, float* output, int tiles) {
    hand_over<false, true>(input, output, tiles);
}

extern "C" __global__ void consume_without_waiting(const float* input, float* output, int tiles) {
    hand_over<true, false>(input, output, tiles);
}
