"""The counter-based generator of weights and inputs; `tests/support/generator.rs` is its twin.

Nothing here is a stream: every number is a function of (seed, tensor name, element index), so
tensors can be made in any order and in both languages, bit for bit.

    key(seed, name) = mix64(seed + fnv1a64(name))                          all modulo 2^64
    bits(key, i)    = mix64(key + (i + 1) * 0x9E3779B97F4A7C15)            splitmix64
    u(key, i)       = (bits >> 40) * 2^-23 - 1                             in [-1, 1), exact in f32

`mix64` is splitmix64's finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", 2014). Everything after `u` is done in f32, one rounded operation at a time.

Tensors are named by what they are to the network (`blocks.3.expand.weight`), never by a family's
own names, and are filled in PyTorch's shape, row-major. So two families' checkpoints of one
variant hold the same network.
"""

import hashlib
import math

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)
F32 = np.float32


def mix64(z):
    """splitmix64's finaliser, on an array of uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fnv1a64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def uniform(seed, name, count):
    """`count` values of u in [-1, 1), f32."""
    start = np.array([(seed + fnv1a64(name)) & 0xFFFFFFFFFFFFFFFF], np.uint64)
    with np.errstate(over="ignore"):
        key = mix64(start)
        counter = np.arange(1, count + 1, dtype=np.uint64)
        bits = mix64(key + counter * GAMMA)
    return (bits >> np.uint64(40)).astype(F32) * F32(2.0**-23) - F32(1)


# A convolution's weights are uniform in [-limit, limit) with limit = sqrt(3 * gain / fan_in): their
# variance is gain / fan_in. The gains undo what the activation, the squeeze-excite gate and the
# batch-norms do to the mean square, so that it stays near one through every variant.
#                 swish, with SE   swish, no SE   relu6
GAINS = {
    "stem":       (4.0,            4.0,           4.0),
    "expand":     (1.0,            1.0,           2.4),
    "depthwise":  (1.6,            1.6,           2.4),
    "se_reduce":  (3.0,            None,          None),
    "se_expand":  (4.0,            None,          None),
    "project":    (3.2,            1.2,           0.7),
    "head_conv":  (0.8,            0.8,           0.8),
    "classifier": (6.0,            6.0,           6.0),
}
# A project whose output is added to the block's input, as a part of the gain above: a stage of 15
# blocks must not outgrow a stage of one.
SKIP_PART = 0.125

# Every 32nd channel or so has a running variance of exactly zero, as in the published Lite files:
# there, eps alone sets the scale. Its gamma is small, so that the output stays of order one.
ZERO_VARIANCE_BELOW = F32(-0.9375)
ZERO_VARIANCE_GAMMA = F32(2.0**-9)
# Every 32nd channel or so is three times as large: relu6 must meet values above 6.
LARGE_GAMMA_ABOVE = F32(0.9375)


def column(has_se, relu6):
    return 2 if relu6 else 0 if has_se else 1


def tensor(seed, name, shape, has_se, relu6, skip):
    """The tensor `name` (as in `blocks.3.expand.weight`) in PyTorch's shape, f32.

    `has_se` and `relu6` tell the variant; `skip` says whether the tensor's block adds its input.
    """
    layer, kind = name.rsplit(".", 1)
    role = layer.rsplit(".", 1)[-1]
    count = math.prod(shape)
    u = uniform(seed, name, count)
    if kind == "weight":
        gain = GAINS[role][column(has_se, relu6)]
        if role == "project" and skip:
            gain *= SKIP_PART
        fan_in = math.prod(shape[1:])
        values = u * F32(math.sqrt(3.0 * gain / fan_in))
    elif kind == "gamma":
        values = F32(1) + F32(0.25) * u
        values = np.where(u > LARGE_GAMMA_ABOVE, values * F32(3), values)
        zero = uniform(seed, layer + ".var", count) < ZERO_VARIANCE_BELOW
        values = np.where(zero, values * ZERO_VARIANCE_GAMMA, values)
    elif kind == "var":
        values = np.where(u < ZERO_VARIANCE_BELOW, F32(0), F32(1) + F32(0.5) * u)
    elif kind in ("beta", "mean"):
        values = F32(0.25) * u
    elif kind == "bias":
        values = F32(0.5) * u
    else:
        raise ValueError(f"no rule for {name}")
    assert values.dtype == F32
    return values.reshape(shape)


COARSE = 16


def image(seed, h, w):
    """An input tensor [3, h, w], f32 in [-1, 1]: half noise, half 16-pixel squares.

    Element (c, y, x) has the index (c * h + y) * w + x in the stream `input`; its square has the
    index (c * ceil(h / 16) + y // 16) * ceil(w / 16) + x // 16 in the stream `input.coarse`.
    """
    fine = uniform(seed, "input", 3 * h * w).reshape(3, h, w)
    rows, columns = -(-h // COARSE), -(-w // COARSE)
    coarse = uniform(seed, "input.coarse", 3 * rows * columns).reshape(3, rows, columns)
    coarse = coarse.repeat(COARSE, axis=1)[:, :h].repeat(COARSE, axis=2)[:, :, :w]
    return F32(0.5) * fine + F32(0.5) * coarse


def digest(values):
    """SHA-256 of an f32 array's little-endian bytes."""
    return hashlib.sha256(np.ascontiguousarray(values, "<f4").tobytes()).hexdigest()
