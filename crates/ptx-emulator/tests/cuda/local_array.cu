// Each thread sorts its row of `input` [threads, kElems] in an array of its own. Indices known only at
// run time keep the array in local memory.
//
// Launch: any block and grid, one thread for each row; 0 <= elems <= kElems.
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

constexpr int kElems = 16;

// Inserts `value` into the sorted `row[0..elems]`. The address cannot be kept in registers.
__device__ __forceinline__ void insert(int* row, int elems, int value) {
    int at = elems;
    while (at > 0 && row[at - 1] > value) {  // finds sort_past_the_end: out-of-bounds
        row[at] = row[at - 1];  // finds sort_past_the_end: out-of-bounds
        --at;
    }
    row[at] = value;  // finds sort_past_the_end: out-of-bounds
}

extern "C" __global__ void sort_rows(const int* input, int* output, int rows, int elems) {
    const int thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= rows) {
        return;
    }
    int row[kElems];
    for (int i = 0; i < elems; ++i) {
        insert(row, i, input[thread * elems + i]);
    }
    for (int i = 0; i < elems; ++i) {
        output[thread * elems + i] = row[i];
    }
}

// With more than kElems elements the array is too short.
extern "C" __global__ void sort_past_the_end(const int* input, int* output, int elems) {
    int row[kElems];
    for (int i = 0; i < elems; ++i) {
        insert(row, i, input[i]);
    }
    for (int i = 0; i < kElems; ++i) {
        output[i] = row[(i * 5) % elems];  // finds sort_past_the_end: out-of-bounds
    }
}

// Reads an element that was never written.
extern "C" __global__ void read_before_write(const int* indices, int* output) {
    int row[kElems];
    row[indices[0]] = 1;
    row[indices[1]] = 2;
    output[0] = row[indices[2]];  // finds read_before_write: uninitialised-memory
}
