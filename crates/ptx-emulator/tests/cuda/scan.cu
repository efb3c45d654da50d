// Inclusive prefix sums of u32: Hillis and Steele's in shared memory for one block, and a single pass
// over many blocks in which each block adds what its predecessors publish (Merrill and Garland,
// "Single-pass Parallel Prefix Scan with Decoupled Look-back", 2016).
//
// Launch: block kBlock. The look-back needs `ticket` and `states` zeroed; a block takes its place in
//         the order by ticket, so that it waits for running blocks only.
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

#include <cstdint>

constexpr int kBlock = 256;

// The inclusive sum up to and with this thread. Two buffers: one is read while the other is written.
template <bool kBarrier>
__device__ __forceinline__ unsigned block_scan(unsigned value, unsigned (*buffers)[kBlock]) {
    int from = 0;
    buffers[from][threadIdx.x] = value;
    __syncthreads();
    for (int distance = 1; distance < kBlock; distance *= 2) {
        const int to = 1 - from;
        value = buffers[from][threadIdx.x];
        if (threadIdx.x >= distance) {
            value += buffers[from][threadIdx.x - distance];  // finds scan_without_barrier: shared-race uninitialised-memory
        }
        buffers[to][threadIdx.x] = value;  // finds scan_without_barrier: shared-race
        if constexpr (kBarrier) {
            __syncthreads();
        }
        from = to;
    }
    return value;
}

extern "C" __global__ void scan_block(const unsigned* input, unsigned* output) {
    __shared__ unsigned buffers[2][kBlock];
    output[threadIdx.x] = block_scan<true>(input[threadIdx.x], buffers);
}

extern "C" __global__ void scan_without_barrier(const unsigned* input, unsigned* output) {
    __shared__ unsigned buffers[2][kBlock];
    output[threadIdx.x] = block_scan<false>(input[threadIdx.x], buffers);
}

// A block's state: nothing yet, its own sum, or the sum up to and with it.
enum State : unsigned { kNothing = 0, kOwn = 1, kInclusive = 2 };

template <bool kFence>
__device__ __forceinline__ void look_back(const unsigned* input, unsigned* output, unsigned elems,
                                          unsigned* ticket, volatile unsigned* states,
                                          unsigned* own, unsigned* inclusive) {
    __shared__ unsigned buffers[2][kBlock];
    __shared__ unsigned block;
    __shared__ unsigned before;
    if (threadIdx.x == 0) {
        block = atomicAdd(ticket, 1u);
    }
    __syncthreads();
    const unsigned i = block * kBlock + threadIdx.x;
    const unsigned sum = block_scan<true>(i < elems ? input[i] : 0u, buffers);
    if (threadIdx.x == kBlock - 1) {
        unsigned earlier = 0;
        if (block > 0) {
            own[block] = sum;  // finds look_back_without_fence: global-race
            if constexpr (kFence) {
                __threadfence();
            }
            states[block] = kOwn;
            for (unsigned other = block - 1;; --other) {
                unsigned state;
                do {
                    state = states[other];
                } while (state == kNothing);
                if constexpr (kFence) {
                    __threadfence();
                }
                if (state == kInclusive) {
                    earlier += inclusive[other];  // finds look_back_without_fence: global-race
                    break;
                }
                earlier += own[other];  // finds look_back_without_fence: global-race
            }
        }
        inclusive[block] = earlier + sum;  // finds look_back_without_fence: global-race
        if constexpr (kFence) {
            __threadfence();
        }
        states[block] = kInclusive;
        before = earlier;
    }
    __syncthreads();
    if (i < elems) {
        output[i] = before + sum;
    }
}

extern "C" __global__ void scan_look_back(const unsigned* input, unsigned* output, unsigned elems,
                                          unsigned* ticket, unsigned* states, unsigned* own,
                                          unsigned* inclusive) {
    look_back<true>(input, output, elems, ticket, states, own, inclusive);
}

extern "C" __global__ void look_back_without_fence(const unsigned* input, unsigned* output,
                                                   unsigned elems, unsigned* ticket,
                                                   unsigned* states, unsigned* own,
                                                   unsigned* inclusive) {
    look_back<false>(input, output, elems, ticket, states, own, inclusive);
}
