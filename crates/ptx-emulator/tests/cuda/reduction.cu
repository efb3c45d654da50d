// A sum over all blocks in one launch: lanes by shuffles, warps through shared memory, and the last
// block to arrive adds the blocks' partial sums (CUDA C++ Programming Guide, "Memory Fence
// Functions").
//
// Launch: block 256 (or any whole number of warps up to 1024), any grid. `arrived` starts at 0.
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

#include <cstdint>

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float warp_sum(float value) {
    for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
        value += __shfl_down_sync(kAllLanes, value, distance);
    }
    return value;
}

// The block's sum, in thread 0.
template <bool kBarrier>
__device__ __forceinline__ float block_sum(float value, float* warp_sums) {
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    value = warp_sum(value);
    if (lane == 0) {
        warp_sums[warp] = value;  // finds reduction_without_barrier: shared-race
    }
    if constexpr (kBarrier) {
        __syncthreads();
    }
    if (warp == 0) {
        value = 0.0f;
        if (lane < blockDim.x / kWarpSize) {
            value = warp_sums[lane];  // finds reduction_without_barrier: shared-race uninitialised-memory
        }
        value = warp_sum(value);
    }
    return value;
}

template <bool kBarrier, bool kFence>
__device__ __forceinline__ void reduce(const float* input, float* partial, unsigned* arrived,
                                       float* sum, unsigned elems) {
    __shared__ float warp_sums[kWarpSize];
    __shared__ bool is_last;
    float value = 0.0f;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < elems;
         i += gridDim.x * blockDim.x) {
        value += input[i];
    }
    value = block_sum<kBarrier>(value, warp_sums);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = value;  // finds reduction_without_fence: global-race
        if constexpr (kFence) {
            __threadfence();
        }
        is_last = atomicAdd(arrived, 1u) == gridDim.x - 1;
        if constexpr (kFence) {
            __threadfence();
        }
    }
    __syncthreads();
    if (!is_last) {
        return;
    }
    value = 0.0f;
    for (unsigned i = threadIdx.x; i < gridDim.x; i += blockDim.x) {
        value += partial[i];  // finds reduction_without_fence: global-race
    }
    value = block_sum<kBarrier>(value, warp_sums);
    if (threadIdx.x == 0) {
        *sum = value;
    }
}

extern "C" __global__ void reduction(const float* input, float* partial, unsigned* arrived,
                                     float* sum, unsigned elems) {
    reduce<true, true>(input, partial, arrived, sum, elems);
}

extern "C" __global__ void reduction_without_barrier(const float* input, float* partial,
                                                     unsigned* arrived, float* sum,
                                                     unsigned elems) {
    reduce<false, true>(input, partial, arrived, sum, elems);
}

extern "C" __global__ void reduction_without_fence(const float* input, float* partial,
                                                   unsigned* arrived, float* sum, unsigned elems) {
    reduce<true, false>(input, partial, arrived, sum, elems);
}

// Half of the warp names all of it.
extern "C" __global__ void reduction_with_wrong_membermask(const float* input, float* sum) {
    float value = input[threadIdx.x];
    if (threadIdx.x < kWarpSize / 2) {
        for (int distance = kWarpSize / 4; distance > 0; distance /= 2) {
            value += __shfl_down_sync(kAllLanes, value, distance);  // finds reduction_with_wrong_membermask: membermask
        }
        sum[threadIdx.x] = value;
    }
}

// One warp, through shared memory instead of shuffles: lanes see one another's values only after
// __syncwarp().
template <bool kSyncWarp>
__device__ __forceinline__ void warp_tree(const float* input, float* sum) {
    __shared__ float values[2 * kWarpSize];
    const int lane = threadIdx.x;
    values[lane] = input[lane];
    values[kWarpSize + lane] = 0.0f;
    for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
        if constexpr (kSyncWarp) {
            __syncwarp();
        }
        const float other = values[lane + distance];  // finds warp_tree_without_syncwarp: shared-race uninitialised-memory
        if constexpr (kSyncWarp) {
            __syncwarp();
        }
        values[lane] += other;  // finds warp_tree_without_syncwarp: shared-race
    }
    if (lane == 0) {
        *sum = values[0];
    }
}

extern "C" __global__ void warp_tree(const float* input, float* sum) {
    warp_tree<true>(input, sum);
}

extern "C" __global__ void warp_tree_without_syncwarp(const float* input, float* sum) {
    warp_tree<false>(input, sum);
}
