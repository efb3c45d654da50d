// The gate of squeeze-excite for a range of channels of one image, in the block that multiplies by
// it: the second half of squeeze-excite without a launch of its own.
//
//   sum[j]     = H shares; share h adds the parts h, h + H, h + 2 H, ...; H is 8, 16 or 32 by c_se
//   reduced[j] = swish(sum[j] / pixels + reduce_bias[j])
//   gate[c]    = sigmoid(sum_j reduced[j] * gate_weight[j, c] + gate_bias[c]), j in 4 shares;
//                share s adds j = s, s + 4, s + 8, ... in order
//
// Tensors: squeeze [n, parts, c_se rounded up to 4] f32, parts of se_reduce that the launch before
//          left; reduce_bias [c_se] f32, gate_weight [c_se, c_in] f16, gate_bias [c_in] f32.
// Numerics: f32; parts and shares are added by pairs, in an order that follows from parts and c_se
//          alone; 1 / pixels, swish and sigmoid by approximations; the gate is rounded to f16 once.
#pragma once

#include "tensor_core.cuh"

constexpr int kGateParts = 12;    // of a share whose loads are in flight together
constexpr int kGateFewParts = 4;  // where a share has so few
constexpr int kGateLanes = 8;     // lanes of a warp that have a share's channels
constexpr int kGateShares = kWarpSize / kGateLanes;  // of the sum over c_se
constexpr int kGateShort = 16;    // the most values whose shares a lane adds up by itself
constexpr int kGateChannels = 4;  // of a lane
constexpr int kGateCols = kGateLanes * kGateChannels;  // of a warp at a time
static_assert(kGateCols == 32, "a panel");

// Vectors of 4 that c_se values take.
__device__ __forceinline__ int gate_quads(int c_se) {
    return static_cast<int>((static_cast<unsigned>(c_se) + 3) / 4);
}

// Shares of the parts that are added up side by side: more where a part has few vectors.
__device__ __forceinline__ int part_shares(int quads) {
    return quads <= 4 ? 32 : quads <= 8 ? 16 : 8;
}

// Values from one share of `reduced` to the next: vectors of 4.
__device__ __forceinline__ int reduced_pitch(int c_se) {
    return static_cast<int>((static_cast<unsigned>(c_se) + 15) / 16 * 4);
}

// Floats of shared memory that the shares' sums take, and with those what is made of them.
__device__ __forceinline__ int share_floats(int c_se) {
    const int quads = gate_quads(c_se);
    return part_shares(quads) * 4 * quads;
}

__device__ __forceinline__ int gate_floats(int c_se) {
    return share_floats(c_se) + kGateShares * reduced_pitch(c_se);
}

// Halves from one row to the next of the gate's weights in shared memory, by the panels of a row:
// the rows of two neighbouring shares have no bank in common.
__device__ __forceinline__ int gate_pitch(int panels) {
    return (panels | 1) * kGateCols;
}

// A thread among those of a block.
struct Member {
    int index;
    int count;
};

// Loads that are predicated, not branched around, so that all can be in flight:
// `at` is read where `valid`, and elsewhere the value is `otherwise`.
__device__ __forceinline__ uint4 load_if(bool valid, const void* at, uint4 otherwise) {
    asm volatile(
        "{\n\t.reg .pred valid;\n\tsetp.ne.s32 valid, %5, 0;\n\t"
        "@valid ld.global.v4.u32 {%0, %1, %2, %3}, [%4];\n\t}"
        : "+r"(otherwise.x), "+r"(otherwise.y), "+r"(otherwise.z), "+r"(otherwise.w)
        : "l"(at), "r"(static_cast<int>(valid))
        : "memory");
    return otherwise;
}

__device__ __forceinline__ uint2 load_if(bool valid, const void* at, uint2 otherwise) {
    asm volatile(
        "{\n\t.reg .pred valid;\n\tsetp.ne.s32 valid, %3, 0;\n\t"
        "@valid ld.global.v2.u32 {%0, %1}, [%2];\n\t}"
        : "+r"(otherwise.x), "+r"(otherwise.y)
        : "l"(at), "r"(static_cast<int>(valid))
        : "memory");
    return otherwise;
}

__device__ __forceinline__ float load_if(bool valid, const float* at, float otherwise) {
    asm volatile(
        "{\n\t.reg .pred valid;\n\tsetp.ne.s32 valid, %2, 0;\n\t"
        "@valid ld.global.f32 %0, [%1];\n\t}"
        : "+f"(otherwise)
        : "l"(at), "r"(static_cast<int>(valid))
        : "memory");
    return otherwise;
}

__device__ __forceinline__ float2 load_if(bool valid, const float* at, float2 otherwise) {
    asm volatile(
        "{\n\t.reg .pred valid;\n\tsetp.ne.s32 valid, %3, 0;\n\t"
        "@valid ld.global.v2.f32 {%0, %1}, [%2];\n\t}"
        : "+f"(otherwise.x), "+f"(otherwise.y)
        : "l"(at), "r"(static_cast<int>(valid))
        : "memory");
    return otherwise;
}

// From L2, where what other blocks of this launch have stored is.
__device__ __forceinline__ float4 load_if_from_l2(bool valid, const float4* at, float4 otherwise) {
    asm volatile(
        "{\n\t.reg .pred valid;\n\tsetp.ne.s32 valid, %5, 0;\n\t"
        "@valid ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];\n\t}"
        : "+f"(otherwise.x), "+f"(otherwise.y), "+f"(otherwise.z), "+f"(otherwise.w)
        : "l"(at), "r"(static_cast<int>(valid))
        : "memory");
    return otherwise;
}

__device__ __forceinline__ float4 add(float4 a, float4 b) {
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

// Adds COUNT parts, `stride` vectors apart, of which there are `left`: a multiple of 4.
template <int COUNT>
__device__ __forceinline__ float4 add_batch(float4 sum, const float4* from, int stride, int left) {
    const float4 zero = {0.0f, 0.0f, 0.0f, 0.0f};
    float4 x[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        x[i] = load_if_from_l2(i < left, from, zero);
        from += stride;
    }
#pragma unroll
    for (int i = 0; i < COUNT; i += 4) {
        sum = add(sum, add(add(x[i], x[i + 1]), add(x[i + 2], x[i + 3])));
    }
    return sum;
}

// The shares' sums of an image's parts, [shares, c_se rounded up to 4].
__device__ __forceinline__ void add_parts(const PointwiseParams& p, int image, Member thread,
                                          float* sums) {
    const int quads = gate_quads(p.c_se);
    const int shares = part_shares(quads);
    const int share_shift = kWarpSize - 1 - __clz(shares);
    const float4* parts = reinterpret_cast<const float4*>(p.squeeze) + image * p.parts * quads;
    const int shift = kWarpSize - __clz(quads - 1);  // quads, rounded up to a power of two
    for (int item = thread.index; item < shares << shift; item += thread.count) {
        const int share = item >> shift;
        const int quad = item - (share << shift);
        if (quad >= quads) {
            continue;
        }
        const float4* from = parts + share * quads + quad;
        const int stride = shares * quads;
        float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
        int left = (p.parts - share + shares - 1) >> share_shift;
        if (left <= kGateFewParts) {
            sum = add_batch<kGateFewParts>(sum, from, stride, left);
        } else {
#pragma unroll 1
            for (; left > 0; left -= kGateParts) {
                sum = add_batch<kGateParts>(sum, from, stride, left);
                from += kGateParts * stride;
            }
        }
        reinterpret_cast<float4*>(sums)[share * quads + quad] = sum;
    }
}

// Whether a lane adds up all shares of its channels: what few values there are is done at once.
__device__ __forceinline__ bool gate_is_short(int c_se) {
    return c_se <= kGateShort;
}

// The channel of which a lane has the sum in the end, of those that its warp makes at a time.
__device__ __forceinline__ int gate_channel(int lane) {
    const int share = lane / kGateLanes;
    return lane % kGateLanes * kGateChannels + share % 2 * 2 + share / 2;
}

// What a thread needs of the biases first: of one channel, or of its four.
struct GateBiases {
    float reduce;
    float2 gate[2];
};

__device__ __forceinline__ float load_reduce_bias(const PointwiseParams& p, int j) {
    return load_if(j < p.c_se, p.reduce_bias + j, 0.0f);
}

// Of the lane's channel of the 32 from `first` on, where `bias` begins at the first of `channels`.
__device__ __forceinline__ float load_gate_bias(const float* bias, int channels, int first,
                                                Member thread) {
    const int c = first + gate_channel(thread.index % kWarpSize);
    return load_if(c < channels, bias + c, 0.0f);
}

__device__ __forceinline__ GateBiases first_biases(const PointwiseParams& p, const float* bias,
                                                   int channels, Member thread) {
    GateBiases first;
    first.reduce = load_reduce_bias(p, thread.index);
    if (gate_is_short(p.c_se)) {
        const int c = kGateChannels * thread.index;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            first.gate[i] = load_if(c < channels, bias + c + 2 * i, float2{0.0f, 0.0f});
        }
    } else {
        const int panel = thread.index / kWarpSize;
        first.gate[0].x = load_gate_bias(bias, channels, panel * kGateCols, thread);
    }
    return first;
}

// reduced [4 shares, pitch], j by j round the shares, zeros at their ends.
__device__ __forceinline__ void reduce_shares(const PointwiseParams& p, Member thread, float bias,
                                              const float* sums, float* reduced) {
    const int quads = gate_quads(p.c_se);
    const int shares = part_shares(quads);
    const int pitch = reduced_pitch(p.c_se);
    float inverse;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(static_cast<float>(p.pixels)));
    for (int j = thread.index; j < kGateShares * pitch; j += thread.count) {
        float value = 0.0f;
        if (j < p.c_se) {
            float sum = 0.0f;
            for (int first = 0; first < shares; first += 8) {
                float x[8];
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    x[i] = sums[(first + i) * 4 * quads + j];
                }
                sum += ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
            }
            value = activate<__half, kActivationSwish>(fmaf(sum, inverse, bias));
        }
        reduced[j % kGateShares * pitch + j / kGateShares] = value;
        bias = load_reduce_bias(p, j + thread.count);
    }
}

// Where gate_channels finds its weights: two words of four channels, zeros where not `valid`.
struct GlobalWeights {
    const __half* at;
    __device__ __forceinline__ uint2 load(bool valid, int offset) const {
        return load_if(valid, at + offset, make_uint2(0, 0));
    }
};

struct SharedWeights {
    const __half* at;
    __device__ __forceinline__ uint2 load(bool valid, int offset) const {
        const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(at + offset));
        uint2 words = {0, 0};
        asm volatile(
            "{\n\t.reg .pred valid;\n\tsetp.ne.s32 valid, %3, 0;\n\t"
            "@valid ld.shared.v2.u32 {%0, %1}, [%2];\n\t}"
            : "+r"(words.x), "+r"(words.y)
            : "r"(address), "r"(static_cast<int>(valid))
            : "memory");
        return words;
    }
};

// sum += factor times the four weights.
__device__ __forceinline__ void add_products(float (&sum)[kGateChannels], float factor, uint2 w) {
    const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&w.x));
    const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&w.y));
    sum[0] = fmaf(factor, low.x, sum[0]);
    sum[1] = fmaf(factor, low.y, sum[1]);
    sum[2] = fmaf(factor, high.x, sum[2]);
    sum[3] = fmaf(factor, high.y, sum[3]);
}

// As gate_channels, but a thread makes four channels at a time: where the sum over c_se is short.
template <class Weights>
__device__ __forceinline__ void gate_channels_short(Weights weight, int pitch, const float* bias,
                                                    int channels, int c_se, Member thread,
                                                    float2 (&shift)[2], const float* reduced,
                                                    __half* gates) {
    const int end = (channels + kGateCols - 1) / kGateCols * kGateCols;
    const int stride = kGateChannels * thread.count;
    for (int c = kGateChannels * thread.index; c < end; c += stride) {
        const bool is_inside = c < channels;
        uint2 w[kGateShort];
#pragma unroll
        for (int j = 0; j < kGateShort; ++j) {
            w[j] = weight.load(is_inside && j < c_se, j * pitch + c);
        }
        float sum[kGateShares][kGateChannels] = {};
#pragma unroll
        for (int share = 0; share < kGateShares; ++share) {
            // reduced [4 shares, 4]
            const float4 x = *reinterpret_cast<const float4*>(reduced + share * 4);
            add_products(sum[share], x.x, w[share]);
            add_products(sum[share], x.y, w[share + 4]);
            add_products(sum[share], x.z, w[share + 8]);
            add_products(sum[share], x.w, w[share + 12]);
        }
        float gate[kGateChannels];
        const float shifts[kGateChannels] = {shift[0].x, shift[0].y, shift[1].x, shift[1].y};
#pragma unroll
        for (int i = 0; i < kGateChannels; ++i) {
            const float total = (sum[0][i] + sum[1][i]) + (sum[2][i] + sum[3][i]);
            gate[i] = is_inside ? sigmoid<__half>(total + shifts[i]) : 0.0f;
        }
        store_pair(gates + c, make_float2(gate[0], gate[1]));
        store_pair(gates + c + 2, make_float2(gate[2], gate[3]));
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int next = c + stride;
            shift[i] = load_if(next < channels, bias + next + 2 * i, float2{0.0f, 0.0f});
        }
    }
}

// Gates of `channels` channels, a warp 32 at a time, zeros to the end of the last 32; `weight`
// [c_se, pitch] and `bias` begin there. AT_ONCE rows of a share are in flight together.
template <int AT_ONCE, class Weights>
__device__ __forceinline__ void gate_channels(Weights weight, int pitch, const float* bias,
                                              int channels, int c_se, Member thread,
                                              float first_bias, const float* reduced,
                                              __half* gates) {
    static_assert(AT_ONCE % 4 == 0, "vectors of reduced");
    const int lane = thread.index % kWarpSize;
    const int share = lane / kGateLanes;
    const int own = gate_channel(lane);
    const int rows = (c_se - share + kGateShares - 1) / kGateShares;
    const int stride = thread.count / kWarpSize * kGateCols;
    float shift = first_bias;
    for (int first = thread.index / kWarpSize * kGateCols; first < channels; first += stride) {
        const float next_shift = load_gate_bias(bias, channels, first + stride, thread);
        // Lanes beyond the channels read the last ones.
        const int c = min(first + lane % kGateLanes * kGateChannels, channels - kGateChannels);
        int offset = share * pitch + c;
        const float* factors = reduced + share * reduced_pitch(c_se);
        float sum[kGateChannels] = {};
#pragma unroll 1
        for (int row = 0; row < rows; row += AT_ONCE) {
            uint2 w[AT_ONCE];
#pragma unroll
            for (int i = 0; i < AT_ONCE; ++i) {
                w[i] = weight.load(row + i < rows, offset);
                offset += kGateShares * pitch;
            }
#pragma unroll
            for (int i = 0; i < AT_ONCE; i += 4) {
                if (i > 0 && row + i >= rows) {
                    break;
                }
                const float4 x = *reinterpret_cast<const float4*>(factors + row + i);
                add_products(sum, x.x, w[i]);
                add_products(sum, x.y, w[i + 1]);
                add_products(sum, x.z, w[i + 2]);
                add_products(sum, x.w, w[i + 3]);
            }
        }
        // Each share's lane ends up with one of the channels: shares 0 and 1 together, 2 and 3.
        const bool is_odd = share % 2 != 0;
        const bool is_late = share / 2 != 0;
        float half[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const float given = is_odd ? sum[i] : sum[i + 2];
            const float kept = is_odd ? sum[i + 2] : sum[i];
            half[i] = kept + __shfl_xor_sync(kFullWarp, given, kGateLanes);
        }
        const float given = is_late ? half[0] : half[1];
        const float kept = is_late ? half[1] : half[0];
        const float total = kept + __shfl_xor_sync(kFullWarp, given, 2 * kGateLanes);
        const float gate = first + own < channels ? sigmoid<__half>(total + shift) : 0.0f;
        gates[first + own] = __float2half_rn(gate);
        shift = next_shift;
    }
}
