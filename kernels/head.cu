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
//          classifier, f32: grid (ceil(classes / 8), ceil(n / 4)), block 128, dynamic shared
//          memory min(n, 4) * c * 4 bytes.
//          classifier, f16: grid (ceil(classes / (8 * octets)), ceil(n / 16)), block 128, octets 1
//          or 4; dynamic shared memory 2048 * octets bytes for each of ceil(c / 128) steps of a
//          share, at most 16 / octets.
//          top_k: grid n, block 256.
// Work:    pool: a thread owns 16 bytes of channels and takes every 32nd (f16) or 16th (f32) pixel.
//          classifier, f32: every block averages the features of its images; a warp takes two
//          classes of four images, its lanes the channels.
//          classifier, f16: a matrix product on tensor cores. A warp has a share of the channels,
//          every fourth 32 of them, and multiplies the sums of 16 images over their tiles, each as
//          two f16, by the weights of the block's classes; the shares are added up. Weights come
//          to shared memory while the launch before ends, and each feature is divided and written
//          by one block.
//          top_k: a thread owns every 256th class; the block finds the best class left, k times.
// Traffic: pool: the input once. classifier: the weights once for every four images, f16: sixteen;
//          the partial sums once for every block's classes. top_k: the logits about twice.
// Numerics: f32 sums in an order that the pixels, or channels, or classes of one image fix, so the
//          bytes depend neither on the run nor on the batch. Exact exp and division.
//          classifier, f16: a sum over tiles, scaled by a power of two, is the sum of two f16 to
//          within 2^-22 of it, and 2^-31 of the feature; features up to 2^20. Products are exact,
//          and summed in f32 by tensor cores; the scale and the bias are one fma. A NaN or an
//          infinity is in its own image's logits alone.
//          Equal logits keep the order of their classes, and 0 equals -0. A NaN is better than
//          every number, so that it comes first. With a logit that is NaN or infinite every
//          probability of its image is NaN: who gets the best classes alone learns of it.
// Source:  the definitions. Architectures: sm_75 and later.

#include "channel_vector.cuh"
#include "tensor_core.cuh"

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
    // First quads of all columns, then second ones: lanes that store one meet no bank twice.
    constexpr int kQuads = kChannels / 4;
    __shared__ float4 sums[kPoolWarps][kQuads][kColumns];
    if (threadIdx.x % kWarpSize < kColumns) {
#pragma unroll
        for (int q = 0; q < kQuads; ++q) {
            sums[threadIdx.x / kWarpSize][q][column] = {sum[4 * q], sum[4 * q + 1], sum[4 * q + 2],
                                                        sum[4 * q + 3]};
        }
    }
    __syncthreads();
    const int channel = blockIdx.y * kPoolTileChannels + threadIdx.x;
    if (threadIdx.x < kPoolTileChannels && channel < p.c) {
        const int quad = threadIdx.x / 4;
        const float* of_warps =
            &sums[0][quad % kQuads][quad / kQuads].x + threadIdx.x % 4;  // [warps, channels]
        float total = of_warps[0];
#pragma unroll
        for (int i = 1; i < kPoolWarps; ++i) {
            total += of_warps[i * kPoolTileChannels];
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

// --- Classifier, f32 ---

constexpr int kClassifierThreads = kClassifierWarps * kWarpSize;
// Vectors of each class that a lane asks for at once.
constexpr int kAhead = 4;

// The features of the block's images: to shared memory, [images, c / 4] quads; the first block of
// an image also writes them to global memory.
__device__ __forceinline__ void average(const ClassifierParams& p, float4* shared, int first_image,
                                        int images) {
    const int quads = p.c / 4;
    const float pixels = static_cast<float>(p.pixels);
    for (int image = 0; image < images; ++image) {
        const int row = first_image + image;
        const float4* sums =
            reinterpret_cast<const float4*>(p.partial_sums + row * p.tiles * p.c);  // [tiles, c]
        for (int quad = threadIdx.x; quad < quads; quad += kClassifierThreads) {
            float4 mean = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 4
            for (int t = 0; t < p.tiles; ++t) {
                const float4 sum = sums[t * quads + quad];
                mean.x += sum.x;
                mean.y += sum.y;
                mean.z += sum.z;
                mean.w += sum.w;
            }
            mean = {mean.x / pixels, mean.y / pixels, mean.z / pixels, mean.w / pixels};
            shared[image * quads + quad] = mean;
            if (blockIdx.x == 0) {
                reinterpret_cast<float4*>(p.features + row * p.c)[quad] = mean;
            }
        }
    }
}

__device__ __forceinline__ void classifier_f32(const ClassifierParams& p) {
    extern __shared__ float4 features[];  // [images, c / 4]
    let_next_launch_begin();
    const int lane = threadIdx.x % kWarpSize;
    const int warp = blockIdx.x * kClassifierWarps + threadIdx.x / kWarpSize;
    const int first_class = warp * kClassifierWarpClasses;
    const int first_image = blockIdx.y * kClassifierImages;
    const int images = min(p.n - first_image, kClassifierImages);
    const int vectors = p.c / kVector<float>;

    // A class beyond the last one is computed as the last one, and not stored.
    const float* weight[kClassifierWarpClasses];  // [c]
#pragma unroll
    for (int o = 0; o < kClassifierWarpClasses; ++o) {
        weight[o] = static_cast<const float*>(p.weight) + min(first_class + o, p.classes - 1) * p.c;
    }
    uint4 ahead[kAhead][kClassifierWarpClasses] = {};
    const auto load = [&](int first) {
#pragma unroll
        for (int a = 0; a < kAhead; ++a) {
            const int v = first + a * kWarpSize;
            if (v < vectors) {
#pragma unroll
                for (int o = 0; o < kClassifierWarpClasses; ++o) {
                    ahead[a][o] = load_raw(weight[o] + v * kVector<float>);
                }
            }
        }
    };

    // The first weights are under way while the features are averaged; not before: ptxas puts no
    // load of the kind above the wait.
    wait_for_launches_before();
    load(lane);
    average(p, features, first_image, images);
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
                    const float4 x = features[image * vectors + v];
#pragma unroll
                    for (int o = 0; o < kClassifierWarpClasses; ++o) {
                        const ChannelVector<float> w(ahead[a][o]);
                        float& s = sum[o][image];
                        s = fmaf(x.x, w.x[0], s);
                        s = fmaf(x.y, w.x[1], s);
                        s = fmaf(x.z, w.x[2], s);
                        s = fmaf(x.w, w.x[3], s);
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
    effnet_classifier_f32(const __grid_constant__ ClassifierParams p) {
    classifier_f32(p);
}

// --- Classifier, f16 ---

constexpr int kShareThreads = kClassifierShares * kWarpSize;
// Of a multiprocessor: what registers are for.
constexpr int kResidentBlocks = 3;
// Sums are scaled by a power of two so that a mean of up to 2^kMeanBits fits an f16.
constexpr int kMeanBits = 20;
constexpr int kHalfBits = 16;
// What is left of a sum beyond its first f16 is multiplied by this before it is made one.
constexpr float kRestScale = 2048.0f;

// Two values as pairs of f16: `high`, and what `high` leaves of them, times kRestScale, `rest`.
__device__ __forceinline__ void split(float2 x, unsigned& high, unsigned& rest) {
    const __half2 rounded = __floats2half2_rn(x.x, x.y);
    const float2 taken = __half22float2(rounded);
    const __half2 left =
        __floats2half2_rn((x.x - taken.x) * kRestScale, (x.y - taken.y) * kRestScale);
    high = *reinterpret_cast<const unsigned*>(&rounded);
    rest = *reinterpret_cast<const unsigned*>(&left);
}

// x / pixels, off by half a unit in the last place and 2^-46 of itself. `inverse` is 1 / pixels,
// rounded: the quotient by it is off by 2^-23 of itself, an fma has exactly what it leaves, and
// that is divided in the same way (Markstein 1990, "Computation of elementary functions on the IBM
// RISC System/6000 processor"). Other than a division it has no slow path.
__device__ __forceinline__ float mean_of(float x, float pixels, float inverse) {
    const float quotient = x * inverse;
    const float rest = fmaf(-quotient, pixels, x);
    return isinf(quotient) ? quotient : fmaf(rest, inverse, quotient);
}

// 8 * OCTETS classes of 16 images, of which lane l has rows l / 4 and, with two ROWS, 8 + l / 4.
// The sums over tiles of STEPS steps are loaded at once. Lane l has the channels 8 * (l % 4) to
// 8 * (l % 4) + 7 of a step, of its images as of class l / 4 of each octet: as the order of a sum's
// terms is free, they are the pairs of two products of 16 channels.
//
// `inverse` is 1 / pixels.
template <int OCTETS, int ROWS, int STEPS>
__device__ __forceinline__ void classifier_f16(const ClassifierParams& p, float inverse) {
    constexpr int kStages = kClassifierMaxStages / OCTETS;
    static_assert(STEPS <= kStages, "all steps that are loaded at once have stages");
    // [shares, stages, octets, lanes], of which the sums are in the first stage in the end.
    extern __shared__ uint4 ring[];
    const int lane = threadIdx.x % kWarpSize;
    const int share = threadIdx.x / kWarpSize;
    const int first_class = blockIdx.x * 8 * OCTETS;
    const int first_image = blockIdx.y * kClassifierTileImages;
    const int steps = (p.c + kClassifierStepChannels - 1) / kClassifierStepChannels;
    const int share_steps = (steps + kClassifierShares - 1) / kClassifierShares;
    const int stages = min(kStages, share_steps);
    // Step s of the share is step share + 4 * s.
    constexpr int kStride = kClassifierShares * kClassifierStepChannels;
    const int channel = share * kClassifierStepChannels + 8 * (lane % 4);

    // A lane copies what it reads itself: no other one has to know.
    uint4* mine = ring + share * stages * OCTETS * kWarpSize + lane;
    const int row_class = first_class + lane / 4;
    const __half* weight = static_cast<const __half*>(p.weight);  // [classes, c]
    const auto copy_step = [&](int step, int stage) {
        const int c = channel + step * kStride;
#pragma unroll
        for (int o = 0; o < OCTETS; ++o) {
            const bool valid = c < p.c && row_class + 8 * o < p.classes;
            const __half* from = valid ? weight + (row_class + 8 * o) * p.c + c : weight;
            copy_chunk(reinterpret_cast<__half*>(mine + (stage * OCTETS + o) * kWarpSize), from,
                       valid);
        }
    };
#pragma unroll 1
    for (int stage = 0; stage < kStages; ++stage) {
        if (stage < stages) {
            copy_step(stage, stage);
        }
        commit_copies();
    }
    // Steps whose features this block writes: an even part of them.
    const int blocks = gridDim.x;
    const int first_written = static_cast<int>(blockIdx.x) * steps / blocks;
    const int end_written = (static_cast<int>(blockIdx.x) + 1) * steps / blocks;
    // 2^exponent is at least 16 * pixels, and less than twice that.
    const int exponent = 32 - __clz(p.pixels - 1) + kMeanBits - kHalfBits;
    const float pixels = static_cast<float>(p.pixels);
    const float scale = __int_as_float((127 - exponent) << 23);
    const float unscale = __int_as_float((127 + exponent) << 23) * inverse;
    wait_for_launches_before();

    const float* sums[ROWS];  // [tiles, c]
    bool present[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const int image = first_image + lane / 4 + 8 * r;
        present[r] = image < p.n;
        sums[r] = p.partial_sums + (present[r] ? image : 0) * p.tiles * p.c + channel;
    }

    float high_sum[OCTETS][4] = {};
    float rest_sum[OCTETS][4] = {};
    int stage = 0;
#pragma unroll 1
    for (int first = 0; first < share_steps; first += STEPS) {
        float2 sum[STEPS][ROWS][4] = {};  // pairs of channels
#pragma unroll 2
        for (int tile = 0; tile < p.tiles; ++tile) {
#pragma unroll
            for (int s = 0; s < STEPS; ++s) {
                const int c = (first + s) * kStride;
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    if (present[r] && channel + c < p.c) {
                        const float4* at =
                            reinterpret_cast<const float4*>(sums[r] + tile * p.c + c);
                        const float4 low = at[0];
                        const float4 high = at[1];
                        float2(&to)[4] = sum[s][r];
                        to[0] = {to[0].x + low.x, to[0].y + low.y};
                        to[1] = {to[1].x + low.z, to[1].y + low.w};
                        to[2] = {to[2].x + high.x, to[2].y + high.y};
                        to[3] = {to[3].x + high.z, to[3].y + high.w};
                    }
                }
            }
        }
#pragma unroll
        for (int s = 0; s < STEPS; ++s) {
            if (first + s >= share_steps) {
                break;
            }
            const int step = share + (first + s) * kClassifierShares;
            if (step >= first_written && step < end_written) {
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    const int c = channel + (first + s) * kStride;
                    if (present[r] && c < p.c) {
                        const float2(&from)[4] = sum[s][r];
                        float4* to = reinterpret_cast<float4*>(
                            p.features + (first_image + lane / 4 + 8 * r) * p.c + c);
#pragma unroll
                        for (int i = 0; i < 2; ++i) {
                            to[i] = {mean_of(from[2 * i].x, pixels, inverse),
                                     mean_of(from[2 * i].y, pixels, inverse),
                                     mean_of(from[2 * i + 1].x, pixels, inverse),
                                     mean_of(from[2 * i + 1].y, pixels, inverse)};
                        }
                    }
                }
            }
            // Fragments of two products: pairs 0 and 1, pairs 2 and 3.
            unsigned high[2][4] = {};
            unsigned rest[2][4] = {};
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float2 x = {sum[s][r][i].x * scale, sum[s][r][i].y * scale};
                    split(x, high[i / 2][i % 2 * 2 + r], rest[i / 2][i % 2 * 2 + r]);
                }
            }
            wait_copies<kStages - 1>();
#pragma unroll
            for (int o = 0; o < OCTETS; ++o) {
                const uint4 w = mine[(stage * OCTETS + o) * kWarpSize];
                multiply(high_sum[o], high[0], w.x, w.y);
                multiply(rest_sum[o], rest[0], w.x, w.y);
                multiply(high_sum[o], high[1], w.z, w.w);
                multiply(rest_sum[o], rest[1], w.z, w.w);
            }
            if (first + s + stages < share_steps) {
                copy_step(first + s + stages, stage);
            }
            commit_copies();
            stage = stage + 1 == stages ? 0 : stage + 1;
        }
    }

    // The shares of each sum, in their order. A lane's part goes where its own weights were.
    float4* parts = reinterpret_cast<float4*>(ring);
    const int share_stride = stages * OCTETS * kWarpSize;
#pragma unroll
    for (int o = 0; o < OCTETS; ++o) {
        parts[share * share_stride + o * kWarpSize + lane] = {
            fmaf(rest_sum[o][0], 1.0f / kRestScale, high_sum[o][0]),
            fmaf(rest_sum[o][1], 1.0f / kRestScale, high_sum[o][1]),
            fmaf(rest_sum[o][2], 1.0f / kRestScale, high_sum[o][2]),
            fmaf(rest_sum[o][3], 1.0f / kRestScale, high_sum[o][3])};
    }
    __syncthreads();
    for (int at = threadIdx.x; at < OCTETS * kWarpSize; at += kShareThreads) {
        float4 total = parts[at];
#pragma unroll
        for (int s = 1; s < kClassifierShares; ++s) {
            const float4 part = parts[s * share_stride + at];
            total.x += part.x;
            total.y += part.y;
            total.z += part.z;
            total.w += part.w;
        }
        const int output = first_class + at / kWarpSize * 8 + 2 * (lane % 4);
        const float values[2][2] = {{total.x, total.y}, {total.z, total.w}};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            if (output + i < p.classes) {
                const float bias = p.bias[output + i];
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    const int image = first_image + lane / 4 + 8 * r;
                    if (image < p.n) {
                        p.logits[image * p.classes + output + i] =
                            fmaf(values[r][i], unscale, bias);
                    }
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(kShareThreads, kResidentBlocks)
    effnet_classifier_f16(const __grid_constant__ ClassifierParams p) {
    let_next_launch_begin();
    const float inverse = 1.0f / static_cast<float>(p.pixels);
    if (p.octets == 4) {
        classifier_f16<4, 2, 2>(p, inverse);
    } else if (p.n > 8) {
        classifier_f16<1, 2, 4>(p, inverse);
    } else {
        classifier_f16<1, 1, 5>(p, inverse);
    }
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
