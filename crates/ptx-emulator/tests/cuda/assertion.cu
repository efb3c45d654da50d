// assert() and __trap().
//
// Lines that a broken entry is reported at are marked `finds ENTRY: CHECK`.

#include <cassert>

extern "C" __global__ void square_roots(const float* input, float* output) {
    const float value = input[threadIdx.x];
    assert(value >= 0.0f);  // finds square_roots: trap
    output[threadIdx.x] = sqrtf(value);
}

extern "C" __global__ void traps(const int* input) {
    if (input[threadIdx.x] != 0) {
        __trap();  // finds traps: trap
    }
}
