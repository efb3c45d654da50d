// Counts of the byte values, by atomics: in shared memory for a block, then into global memory.
//
// Launch: block 256, any grid. `counts` [256] starts at 0.
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

#include <cstdint>

constexpr int kBins = 256;

template <bool kBarrier, bool kAtomic>
__device__ __forceinline__ void count(const uint8_t* input, unsigned elems, unsigned* counts) {
    __shared__ unsigned bins[kBins];
    for (int bin = threadIdx.x; bin < kBins; bin += blockDim.x) {
        bins[bin] = 0;  // finds histogram_without_barrier: shared-race
    }
    if constexpr (kBarrier) {
        __syncthreads();
    }
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < elems;
         i += gridDim.x * blockDim.x) {
        atomicAdd(&bins[input[i]], 1u);  // finds histogram_without_barrier: shared-race uninitialised-memory
    }
    __syncthreads();
    for (int bin = threadIdx.x; bin < kBins; bin += blockDim.x) {
        if constexpr (kAtomic) {
            atomicAdd(&counts[bin], bins[bin]);
        } else {
            counts[bin] += bins[bin];  // finds histogram_without_atomics: global-race
        }
    }
}

extern "C" __global__ void histogram(const uint8_t* input, unsigned elems, unsigned* counts) {
    count<true, true>(input, elems, counts);
}

extern "C" __global__ void histogram_without_barrier(const uint8_t* input, unsigned elems,
                                                     unsigned* counts) {
    count<false, true>(input, elems, counts);
}

extern "C" __global__ void histogram_without_atomics(const uint8_t* input, unsigned elems,
                                                     unsigned* counts) {
    count<true, false>(input, elems, counts);
}

// The lanes with the same value elect one of them to count for all (`match`), which adds into the
// slot of a table that it takes by compare-and-swap. `keys` [kBins] starts at ~0, `counts` at 0.
extern "C" __global__ void histogram_by_matching(const unsigned* input, unsigned elems,
                                                 unsigned* keys, unsigned* counts) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned active = __ballot_sync(0xffffffffu, i < elems);
    if (i >= elems) {
        return;
    }
    const unsigned value = input[i];
    const unsigned same = __match_any_sync(active, value);
    const bool is_leader = (threadIdx.x % 32) == __ffs(same) - 1;
    if (is_leader) {
        unsigned slot = value * 2654435761u % kBins;
        while (true) {
            const unsigned found = atomicCAS(&keys[slot], ~0u, value);
            if (found == ~0u || found == value) {
                break;
            }
            slot = (slot + 1) % kBins;
        }
        atomicAdd(&counts[slot], static_cast<unsigned>(__popc(same)));
    }
}
