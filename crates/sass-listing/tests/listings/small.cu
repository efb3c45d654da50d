// A fixture: a loop, a division with a slow path, shared memory, a barrier.
__device__ __forceinline__ float swish(float x) {
    return x / (1.0f + __expf(-x));
}
extern "C" __global__ void scale(const float* in, float* out, int n, int steps) {
    __shared__ float tile[64];
    tile[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    float sum = 0;
#pragma unroll 1
    for (int i = 0; i < steps; ++i) {
        sum += swish(tile[(threadIdx.x + i) & 63]);
    }
    if (threadIdx.x < n) {
        out[threadIdx.x] = sum;
    }
}
