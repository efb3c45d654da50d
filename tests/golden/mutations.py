"""What each fault that an importer or an executor could have does to the logits.

    python mutations.py

For each fault: the public implementation with the fault put in, against the same one without, as
max |logit difference| / max |logit|. The tests allow 1e-4; a fault that moves the logits by less
than that would go unseen. Also printed: what f32 arithmetic and f16 weights do, which are no
faults. The figures stand in README.md.
"""

import contextlib
import sys
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import generator
from network import Network

SEED = 1
CLASSES = 40


def blocks(model):
    """The MBConv blocks of a timm or lukemelas model."""
    if hasattr(model, "_blocks"):
        return list(model._blocks)
    return [block for stage in model.blocks for block in stage]


def modules(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


def network(family, variant, **changes):
    return Network(family, variant, CLASSES, SEED, **changes)


# Each fault takes (family, variant, image) and gives the logits of the faulty network.


def other_padding(family, variant, image):
    """Symmetric for SAME, SAME for symmetric."""
    pad_type = "" if family == "timm-tf" else "same"
    return network(family, variant, pad_type=pad_type).logits(image)


def pads_of_input_size(family, variant, image):
    """Pads computed from the input where the family keeps those of its native size."""
    return network(family, variant, image_size=None).logits(image)


def wrong_eps(family, variant, image):
    net = network(family, variant)
    for norm in modules(net.model, nn.BatchNorm2d):
        norm.eps = 1e-5 if norm.eps == 1e-3 else 1e-3
    return net.logits(image)


def wrong_eps_in_last_project(family, variant, image):
    net = network(family, variant)
    norm = [n for n in modules(blocks(net.model)[-1], nn.BatchNorm2d)][-1]
    norm.eps = 1e-5 if norm.eps == 1e-3 else 1e-3
    return net.logits(image)


def mean_ignored_in_one_norm(family, variant, image):
    net = network(family, variant)
    modules(blocks(net.model)[-1], nn.BatchNorm2d)[0].running_mean.zero_()
    return net.logits(image)


def relu_for_relu6(family, variant, image):
    net = network(family, variant)
    with mock.patch.object(functional, "hardtanh", lambda x, *_, **__: x.clamp(min=0)):
        return net.logits(image)


def swish_for_relu6(family, variant, image):
    net = network(family, variant)
    with mock.patch.object(functional, "hardtanh", lambda x, *_, **__: functional.silu(x)):
        return net.logits(image)


def relu_after_se_reduce(family, variant, image):
    net = network(family, variant)
    for block in blocks(net.model):
        block.se.act1 = nn.ReLU()
    return net.logits(image)


def no_activation_after_se_reduce(family, variant, image):
    net = network(family, variant)
    for block in blocks(net.model):
        block.se.act1 = nn.Identity()
    return net.logits(image)


def hard_sigmoid_gate(family, variant, image):
    net = network(family, variant)
    for block in blocks(net.model):
        block.se.gate = nn.Hardsigmoid()
    return net.logits(image)


def no_gate_in_one_block(family, variant, image):
    net = network(family, variant)
    blocks(net.model)[-1].se = nn.Identity()
    return net.logits(image)


def no_skip_in_one_block(family, variant, image):
    net = network(family, variant)
    [block for block in blocks(net.model) if block.has_skip][-1].has_skip = False
    return net.logits(image)


def activation_after_project(family, variant, image):
    net = network(family, variant)
    blocks(net.model)[-1].register_forward_hook(lambda module, args, out: functional.silu(out))
    return net.logits(image)


def depthwise_kernel_transposed(family, variant, image):
    net = network(family, variant)
    for conv in modules(net.model, nn.Conv2d):
        if conv.groups > 1:
            conv.weight.data = conv.weight.data.transpose(2, 3).contiguous()
    return net.logits(image)


def bgr(family, variant, image):
    return network(family, variant).logits(image[::-1].copy())


def one_weight_of_last_project(family, variant, image):
    """One of the last project's weights is zero: about where the tolerance begins to see."""
    net = network(family, variant)
    modules(blocks(net.model)[-1], nn.Conv2d)[-1].weight.data[0, 0] = 0
    return net.logits(image)


def f32_arithmetic(family, variant, image):
    net = network(family, variant)
    net.model.float()
    with torch.no_grad():
        return net.model(torch.from_numpy(image)[None])[0].double().numpy()


def f16_weights(family, variant, image):
    """Convolution and classifier weights rounded to f16; everything else exact."""
    net = network(family, variant)
    net.round_weights_to_f16()
    return net.logits(image)


SE_CASES = [("timm", "b0", 97, 65), ("timm-tf", "b0", 224, 224), ("timm-tf", "b7", 64, 96)]
LITE_CASES = [("timm", "lite0", 128, 160), ("timm-tf", "lite4", 97, 65)]
FROZEN_CASES = [("lukemelas", "b0", 97, 65), ("lukemelas", "b1", 256, 256)]
TIMM_CASES = SE_CASES + LITE_CASES
EVEN_CASES = [case for case in TIMM_CASES if not (case[2] % 2 and case[3] % 2)]
FAULTS = [
    (other_padding, EVEN_CASES + [("timm", "b0", 224, 224)]),
    (pads_of_input_size, FROZEN_CASES),
    (wrong_eps, TIMM_CASES + FROZEN_CASES),
    (wrong_eps_in_last_project, TIMM_CASES),
    (mean_ignored_in_one_norm, TIMM_CASES),
    (relu_for_relu6, LITE_CASES),
    (swish_for_relu6, LITE_CASES),
    (relu_after_se_reduce, SE_CASES),
    (no_activation_after_se_reduce, SE_CASES),
    (hard_sigmoid_gate, SE_CASES),
    (no_gate_in_one_block, SE_CASES),
    (no_skip_in_one_block, TIMM_CASES),
    (activation_after_project, SE_CASES),
    (depthwise_kernel_transposed, TIMM_CASES),
    (bgr, TIMM_CASES),
]
# For comparison. At 97x65 every stride-2 convolution meets odd sides, where the conventions agree.
NO_FAULTS = [
    (other_padding, [("timm", "b0", 97, 65)]),
    (one_weight_of_last_project, TIMM_CASES),
    (f32_arithmetic, TIMM_CASES),
    (f16_weights, TIMM_CASES),
]
TOLERANCE = 1e-4


def main():
    right = {}
    unseen = []
    for fault, cases, must_show in [(*f, True) for f in FAULTS] + [(*f, False) for f in NO_FAULTS]:
        for family, variant, h, w in cases:
            image = generator.image(SEED, h, w)
            case = (family, variant, h, w)
            if case not in right:
                right[case] = network(family, variant).logits(image)
            change = np.abs(fault(family, variant, image) - right[case]).max()
            relative = change / np.abs(right[case]).max()
            print(f"| {fault.__name__.replace('_', ' ')} | {family} {variant} {h}x{w} "
                  f"| {relative:.1e} | {relative / TOLERANCE:.2g} |", flush=True)
            if must_show and relative <= TOLERANCE:
                unseen.append((fault.__name__, case))
    if unseen:
        sys.exit(f"the tolerance hides {unseen}")


if __name__ == "__main__":
    main()
