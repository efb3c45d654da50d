// Bulk copies between global and shared memory, waited for by an mbarrier's transaction count on the
// way in and by bulk groups on the way out. sm_90 and later.
//
// Each thread doubles its element of every tile. Tensors: input, output [grid, tiles, kTile] f32.
// Launch: block kTile.
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

#include <cstdint>

constexpr int kTile = 128;
constexpr unsigned kTileBytes = kTile * sizeof(float);

__device__ __forceinline__ unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void barrier_init(uint64_t* barrier, unsigned count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
                 "r"(count)
                 : "memory");
}

__device__ __forceinline__ void barrier_expect(uint64_t* barrier, unsigned bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                     shared_address(barrier)),
                 "r"(bytes)
                 : "memory");
}

// Waits for the end of the phase with this parity.
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, unsigned parity) {
    asm volatile(  // finds bulk_expects_too_much: deadlock livelock
        "{\n"
        "    .reg .pred done;\n"
        "again:\n"
        "    mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "    @done bra.uni end;\n"
        "    bra.uni again;\n"
        "end:\n"
        "}" ::"r"(shared_address(barrier)),
        "r"(parity)  // finds bulk_expects_too_much: deadlock livelock
        : "memory");
}

__device__ __forceinline__ void bulk_load(float* to, const float* from, uint64_t* barrier) {
    asm volatile(  // finds bulk_without_wait: shared-race
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
            "r"(shared_address(to)),
        "l"(from), "r"(kTileBytes), "r"(shared_address(barrier))  // finds bulk_without_wait: shared-race
        : "memory");
}

__device__ __forceinline__ void bulk_store(float* to, const float* from) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to),
                 "r"(shared_address(from)), "r"(kTileBytes)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

template <bool kWait, bool kWaitRead, unsigned kMore>
__device__ __forceinline__ void double_tiles(const float* input, float* output, int tiles) {
    __shared__ __align__(128) float in[kTile];
    __shared__ __align__(128) float out[kTile];
    __shared__ uint64_t arrived;
    const bool leads = threadIdx.x == 0;
    if (leads) {
        barrier_init(&arrived, 1);
        // The asynchronous proxy sees the barrier.
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    for (int tile = 0; tile < tiles; ++tile) {
        const size_t at = (static_cast<size_t>(blockIdx.x) * tiles + tile) * kTile;
        if (leads) {
            barrier_expect(&arrived, kTileBytes + kMore);
            bulk_load(in, &input[at], &arrived);
        }
        if constexpr (kWait) {
            barrier_wait(&arrived, tile % 2);
        }
        const float value = in[threadIdx.x];  // finds bulk_without_wait: async-in-flight uninitialised-memory shared-race
        if constexpr (kWaitRead) {
            // `out` is free once the last store has read it.
            if (leads) {
                asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
            }
        }
        __syncthreads();
        out[threadIdx.x] = 2.0f * value;
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
        if (leads) {
            bulk_store(&output[at], out);
        }
    }
    if (leads) {
        asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
    }
}

extern "C" __global__ void bulk_copy(const float* input, float* output, int tiles) {
    double_tiles<true, true, 0>(input, output, tiles);
}

extern "C" __global__ void bulk_without_wait(const float* input, float* output, int tiles) {
    double_tiles<false, true, 0>(input, output, tiles);
}

extern "C" __global__ void bulk_expects_too_much(const float* input, float* output, int tiles) {
    double_tiles<true, true, 16>(input, output, tiles);
}
