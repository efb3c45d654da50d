// A transpose of a row-major f32 matrix [rows, columns] by tiles in shared memory. The tile's rows are
// one element longer than a warp, so that a column lies in 32 different banks.
//
// Launch: block (32, 8), grid (ceil(columns / 32), ceil(rows / 32)).
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

constexpr int kTile = 32;
constexpr int kRows = 8;

template <int kPadding, bool kBarrier, bool kBounds>
__device__ __forceinline__ void transpose_tile(const float* input, float* output, int rows,
                                               int columns) {
    __shared__ float tile[kTile][kTile + kPadding];
    int column = blockIdx.x * kTile + threadIdx.x;
    for (int i = threadIdx.y; i < kTile; i += kRows) {
        const int row = blockIdx.y * kTile + i;
        if (!kBounds || (row < rows && column < columns)) {
            tile[i][threadIdx.x] = input[row * columns + column];  // finds transpose_without_barrier: shared-race; finds transpose_without_bounds: out-of-bounds
        }
    }
    if constexpr (kBarrier) {
        __syncthreads();
    }
    // Threads in x go along the output's rows now, which are the input's columns.
    const int row = blockIdx.y * kTile + threadIdx.x;
    for (int i = threadIdx.y; i < kTile; i += kRows) {
        column = blockIdx.x * kTile + i;
        if (!kBounds || (row < rows && column < columns)) {
            output[column * rows + row] =  // finds transpose_without_bounds: out-of-bounds global-race
                tile[threadIdx.x][i];  // finds transpose_without_barrier: shared-race uninitialised-memory
        }
    }
}

extern "C" __global__ void transpose(const float* input, float* output, int rows, int columns) {
    transpose_tile<1, true, true>(input, output, rows, columns);
}

extern "C" __global__ void transpose_without_padding(const float* input, float* output, int rows,
                                                     int columns) {
    transpose_tile<0, true, true>(input, output, rows, columns);
}

extern "C" __global__ void transpose_without_barrier(const float* input, float* output, int rows,
                                                     int columns) {
    transpose_tile<1, false, true>(input, output, rows, columns);
}

extern "C" __global__ void transpose_without_bounds(const float* input, float* output, int rows,
                                                    int columns) {
    transpose_tile<1, true, false>(input, output, rows, columns);
}
