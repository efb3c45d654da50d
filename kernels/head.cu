// The network's head behind its convolution: pool, classifier, softmax with the best classes. The
// pool also gives the squeeze of paths whose convolutions do not sum their own output.
//
//   pool:        partial_sums[n, t, c] = sum of x[n, p, c] over the pixels p of tile t
//   classifier:  features[n, c] = sum_t partial_sums[n, t, c] / pixels
//                logits[n, o]   = sum_c features[n, c] * weight[o, c] + bias[o]
//   top_k:       the k best classes of each image, with their logits and
//                exp(logit - best) / sum_o exp(logits[n, o] - best)
//
// Tensors: x [n, pixels, c] T, partial_sums [n, tiles, c] f32, weight [classes, c] T, bias
//          [classes] f32, features [n, c] f32, logits [n, classes] f32; top_classes i32, top_logits
//          and top_probabilities f32, all [n, k]. T = f16 or f32.
// Requires: c a multiple of 8, at most 3072 for the classifier; x, weight and partial_sums aligned
//           to 16 bytes; k at most classes; every tensor below 2^31 elements; checked in
//           src/kernels/head.rs.
// Launch:  pool: grid (tiles, ceil(c / 64), n), block 256. Tiles have a multiple of 64 pixels, the
//          fewest with which an image has at most 128 tiles.
//          classifier: grid (ceil(classes / 8), ceil(n / 4)), block 128, dynamic shared memory
//          min(n, 4) * c * 4 bytes.
//          top_k: grid n, block 256.
// Work:    pool: a thread owns 16 bytes of channels and takes every 32nd (f16) or 16th (f32) pixel.
//          classifier: every block averages the features of its images; a warp takes two classes of
//          four images, its lanes the channels.
//          top_k: a thread owns every 256th class; the block finds the best class left, k times.
// Traffic: pool: the input once. classifier: the weights once for every four images, the partial
//          sums once for every eight classes. top_k: the logits about twice.
// Numerics: f32 sums in an order that the pixels, or channels, or classes of one image fix, so the
//          bytes depend neither on the run nor on the batch. Exact exp and division.
//          Equal logits keep the order of their classes, and 0 equals -0. A NaN is better than
//          every number, so that it comes first. With a logit that is NaN or infinite every
//          probability of its image is NaN: who gets the best classes alone learns of it.
// Source:  the definitions. Architectures: sm_75 and later.

#include "channel_vector.cuh"

// --- Pool ---

template <typename T>
__device__ __forceinline__ void pool(const PoolParams& p) {
    constexpr int kChannels = kVector<T>;
    constexpr int kColumns = kPoolTileChannels / kChannels;  // threads over the channels
    constexpr int kRows = kPoolWarps * kWarpSize / kColumns;
    let_next_launch_begin();
    wait_for_launches_before();
    const int column = threadIdx.x % kColumns;
    const int row = threadIdx.x / kColumns;
    const int c = blockIdx.y * kPoolTileChannels + column * kChannels;
    const int image = blockIdx.z;
    const int tile_pixels =
        kPoolStepPixels * ((p.pixels - 1) / (kPoolStepPixels * kPoolMaxTiles) + 1);
    const int first = blockIdx.x * tile_pixels;
    const int end = min(first + tile_pixels, p.pixels);

    // Every kRows-th pixel of the tile.
    float sum[kChannels] = {};
    if (c < p.c) {
        const T* input =
            static_cast<const T*>(p.input) + image * p.pixels * p.c + c;  // [pixels, c]
#pragma unroll 4
        for (int pixel = first + row; pixel < end; pixel += kRows) {
            const ChannelVector<T> value(*reinterpret_cast<const uint4*>(input + pixel * p.c));
#pragma unroll
            for (int i = 0; i < kChannels; ++i) {
                sum[i] += value.x[i];
            }
        }
    }

    // The lanes of a warp that own the same channels, then the warps in their order.
#pragma unroll
    for (int offset = kColumns; offset < kWarpSize; offset *= 2) {
#pragma unroll
        for (int i = 0; i < kChannels; ++i) {
            sum[i] += __shfl_xor_sync(kFullWarp, sum[i], offset);
        }
    }
    __shared__ float sums[kPoolWarps][kPoolTileChannels];
    if (threadIdx.x % kWarpSize < kColumns) {
#pragma unroll
        for (int i = 0; i < kChannels; ++i) {
            sums[threadIdx.x / kWarpSize][column * kChannels + i] = sum[i];
        }
    }
    __syncthreads();
    const int channel = blockIdx.y * kPoolTileChannels + threadIdx.x;
    if (threadIdx.x < kPoolTileChannels && channel < p.c) {
        float total = sums[0][threadIdx.x];
#pragma unroll
        for (int i = 1; i < kPoolWarps; ++i) {
            total += sums[i][threadIdx.x];
        }
        const int tile = image * gridDim.x + blockIdx.x;
        p.partial_sums[tile * p.c + channel] = total;  // [n, tiles, c]
    }
}

extern "C" __global__ void __launch_bounds__(kPoolWarps* kWarpSize)
    effnet_pool_f16(const __grid_constant__ PoolParams p) {
    pool<__half>(p);
}

extern "C" __global__ void __launch_bounds__(kPoolWarps* kWarpSize)
    effnet_pool_f32(const __grid_constant__ PoolParams p) {
    pool<float>(p);
}

// --- Classifier ---

constexpr int kClassifierThreads = kClassifierWarps * kWarpSize;
// Vectors of each class that a lane asks for at once.
constexpr int kAhead = 4;

// The features of the block's images: to shared memory as quads, each image's as quad_slot says;
// the first block of an image also writes them to global memory.
template <typename T>
__device__ __forceinline__ void average(const ClassifierParams& p, float4* shared, int first_image,
                                        int images) {
    const int quads = p.c / 4;
    const float pixels = static_cast<float>(p.pixels);
    for (int i = threadIdx.x; i < images * quads; i += kClassifierThreads) {
        const int image = i / quads;
        const int quad = i % quads;
        const int at = (first_image + image) * p.tiles * p.c + 4 * quad;
        const float4* sums = reinterpret_cast<const float4*>(p.partial_sums + at);  // [tiles, c]
        float4 mean = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 4
        for (int t = 0; t < p.tiles; ++t) {
            const float4 sum = sums[t * quads];
            mean.x += sum.x;
            mean.y += sum.y;
            mean.z += sum.z;
            mean.w += sum.w;
        }
        mean = {mean.x / pixels, mean.y / pixels, mean.z / pixels, mean.w / pixels};
        shared[image * quads + quad_slot<T>(quad, p.c / kVector<T>)] = mean;
        if (blockIdx.x == 0) {
            float* features = p.features + (first_image + image) * p.c;  // [c]
            reinterpret_cast<float4*>(features)[quad] = mean;
        }
    }
}

template <typename T>
__device__ __forceinline__ void classifier(const ClassifierParams& p) {
    extern __shared__ float4 features[];  // [images, c / 4], see quad_slot
    let_next_launch_begin();
    const int lane = threadIdx.x % kWarpSize;
    const int warp = blockIdx.x * kClassifierWarps + threadIdx.x / kWarpSize;
    const int first_class = warp * kClassifierWarpClasses;
    const int first_image = blockIdx.y * kClassifierImages;
    const int images = min(p.n - first_image, kClassifierImages);
    const int vectors = p.c / kVector<T>;

    // A class beyond the last one is computed as the last one, and not stored.
    const T* weight[kClassifierWarpClasses];  // [c]
#pragma unroll
    for (int o = 0; o < kClassifierWarpClasses; ++o) {
        weight[o] = static_cast<const T*>(p.weight) + min(first_class + o, p.classes - 1) * p.c;
    }
    uint4 ahead[kAhead][kClassifierWarpClasses] = {};
    const auto load = [&](int first) {
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int v = first + a * kWarpSize;
            if (v < vectors) {
#pragma unroll
                for (int o = 0; o < kClassifierWarpClasses; ++o) {
                    ahead[a][o] = load_raw(weight[o] + v * kVector<T>);
                }
            }
        }
    };

    // The first weights are under way while the launch before ends and the features are averaged.
    load(lane);
    wait_for_launches_before();
    average<T>(p, features, first_image, images);
    __syncthreads();

    float sum[kClassifierWarpClasses][kClassifierImages] = {};
    for (int first = lane; first < vectors; first += kAhead * kWarpSize) {
        if (first != lane) {
            load(first);
        }
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int v = first + a * kWarpSize;
            if (v >= vectors) {
                break;
            }
            // Product by product in the order of the channels.
#pragma unroll
            for (int image = 0; image < kClassifierImages; ++image) {
                if (image < images) {
#pragma unroll
                    for (int q = 0; q < kVectorQuads<T>; ++q) {
                        const float4 x = features[image * (p.c / 4) + q * vectors + v];
#pragma unroll
                        for (int o = 0; o < kClassifierWarpClasses; ++o) {
                            const ChannelVector<T> w(ahead[a][o]);
                            float& s = sum[o][image];
                            s = fmaf(x.x, w.x[4 * q], s);
                            s = fmaf(x.y, w.x[4 * q + 1], s);
                            s = fmaf(x.z, w.x[4 * q + 2], s);
                            s = fmaf(x.w, w.x[4 * q + 3], s);
                        }
                    }
                }
            }
        }
    }

#pragma unroll
    for (int o = 0; o < kClassifierWarpClasses; ++o) {
        const int output = first_class + o;
#pragma unroll
        for (int image = 0; image < kClassifierImages; ++image) {
            const float total = warp_sum(sum[o][image]);
            if (lane == 0 && output < p.classes && image < images) {
                float* logits = p.logits + (first_image + image) * p.classes;  // [classes]
                logits[output] = total + p.bias[output];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(kClassifierThreads)
    effnet_classifier_f16(const __grid_constant__ ClassifierParams p) {
    classifier<__half>(p);
}

extern "C" __global__ void __launch_bounds__(kClassifierThreads)
    effnet_classifier_f32(const __grid_constant__ ClassifierParams p) {
    classifier<float>(p);
}

// --- Softmax and the best classes ---

constexpr int kTopKThreads = kTopKWarps * kWarpSize;
constexpr uint32_t kLastClass = 0x7fffffff;

// A class as a number that is larger the better the class is; no two classes have the same, and
// none has 0 or the largest number.
__device__ __forceinline__ uint64_t standing(float logit, int output) {
    // Adding 0 makes -0 into 0. Integers order the positive numbers; the negative ones, reversed.
    const uint32_t bits = __float_as_uint(logit + 0.0f);
    uint32_t order = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    if (isnan(logit)) {
        order = 0xffffffffu;
    }
    return static_cast<uint64_t>(order) << 32 | (kLastClass - static_cast<uint32_t>(output));
}

// The best of this thread's classes that stands below `below`; 0 if there is none.
__device__ __forceinline__ uint64_t best_below(const float* logits, int classes, uint64_t below) {
    uint64_t best = 0;
    for (int output = threadIdx.x; output < classes; output += kTopKThreads) {
        const uint64_t here = standing(logits[output], output);
        best = here < below && here > best ? here : best;
    }
    return best;
}

__device__ __forceinline__ uint64_t larger(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

// The exponential's part of a softmax. Zero times the logit adds nothing to it, or NaN where the
// logit is no finite number: the exponential of -infinity is a number.
__device__ __forceinline__ float above(float logit, float best) {
    return fmaf(0.0f, logit, expf(logit - best));
}

extern "C" __global__ void __launch_bounds__(kTopKThreads)
    effnet_top_k_f32(const __grid_constant__ TopKParams p) {
    __shared__ uint64_t bests[2][kTopKWarps];  // of even and of odd rounds
    __shared__ float sums[kTopKWarps];
    let_next_launch_begin();
    wait_for_launches_before();
    const int lane = threadIdx.x % kWarpSize;
    const int warp = threadIdx.x / kWarpSize;
    const int image = blockIdx.x;
    const float* logits = p.logits + image * p.classes;  // [classes]

    uint64_t mine = best_below(logits, p.classes, ~uint64_t{0});
    float best_logit = 0.0f;
    float sum = 0.0f;
    for (int i = 0; i < p.k; ++i) {
        // The best class left. A warp may be a round ahead of another, never two.
        uint64_t best = mine;
#pragma unroll
        for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
            best = larger(best, __shfl_xor_sync(kFullWarp, best, offset));
        }
        if (lane == 0) {
            bests[i % 2][warp] = best;
        }
        __syncthreads();
#pragma unroll
        for (int w = 0; w < kTopKWarps; ++w) {
            best = larger(best, bests[i % 2][w]);
        }
        const int output = static_cast<int>(kLastClass - static_cast<uint32_t>(best));
        const float logit = logits[output];

        // The first is the best of all: the softmax's sum, once.
        if (i == 0) {
            best_logit = logit;
            for (int o = threadIdx.x; o < p.classes; o += kTopKThreads) {
                sum += above(logits[o], best_logit);
            }
            sum = warp_sum(sum);
            if (lane == 0) {
                sums[warp] = sum;
            }
            __syncthreads();
            sum = sums[0];
#pragma unroll
            for (int w = 1; w < kTopKWarps; ++w) {
                sum += sums[w];
            }
        }

        if (threadIdx.x == 0) {
            const int at = image * p.k + i;  // [n, k]
            p.top_classes[at] = output;
            p.top_logits[at] = logit;
            p.top_probabilities[at] = above(logit, best_logit) / sum;
        }
        if (mine == best) {
            mine = best_below(logits, p.classes, best);
        }
    }
}
