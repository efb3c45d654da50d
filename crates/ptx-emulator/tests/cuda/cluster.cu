// Blocks of a cluster read and count in one another's shared memory. sm_90 and later.
//
// Launch: clusters of kBlocks, block kThreads.
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

#include <cooperative_groups.h>

namespace groups = cooperative_groups;

constexpr int kBlocks = 4;
constexpr int kThreads = 64;

// Output: each thread's input plus the sum, over the cluster's other blocks, of the same thread's.
template <bool kSync>
__device__ __forceinline__ void exchange(const int* input, int* output) {
    __shared__ int values[kThreads];
    groups::cluster_group cluster = groups::this_cluster();
    const int i = blockIdx.x * kThreads + threadIdx.x;
    values[threadIdx.x] = input[i];  // finds cluster_without_sync: shared-race
    if constexpr (kSync) {
        cluster.sync();
    }
    int sum = 0;
    for (int other = 0; other < kBlocks; ++other) {
        const int rank = (cluster.block_rank() + other) % kBlocks;
        const int* remote = cluster.map_shared_rank(values, rank);
        sum += remote[threadIdx.x];  // finds cluster_without_sync: shared-race uninitialised-memory
    }
    output[i] = sum;
    // No block leaves while another reads its memory.
    cluster.sync();
}

extern "C" __global__ void __cluster_dims__(kBlocks, 1, 1)
    cluster_exchange(const int* input, int* output) {
    exchange<true>(input, output);
}

extern "C" __global__ void __cluster_dims__(kBlocks, 1, 1)
    cluster_without_sync(const int* input, int* output) {
    exchange<false>(input, output);
}

// A histogram of values in 0..kBlocks * kThreads whose bins are spread over the cluster's blocks; the
// size of the cluster comes with the launch.
extern "C" __global__ void cluster_histogram(const unsigned* input, unsigned elems,
                                             unsigned* counts) {
    __shared__ unsigned bins[kThreads];
    groups::cluster_group cluster = groups::this_cluster();
    bins[threadIdx.x] = 0;
    cluster.sync();
    for (unsigned i = cluster.thread_rank(); i < elems; i += cluster.num_threads()) {
        unsigned* remote = cluster.map_shared_rank(bins, input[i] / kThreads);
        atomicAdd(&remote[input[i] % kThreads], 1u);
    }
    cluster.sync();
    counts[cluster.block_rank() * kThreads + threadIdx.x] = bins[threadIdx.x];
}
