"""The public implementations: how each is built, and what its tensors are to the network.

The name maps are regular expressions over the public models' own `state_dict` keys, written from
those projects' sources and independent of the importer's.
"""

import os
import re

os.environ.setdefault("KERAS_BACKEND", "torch")

import efficientnet_lite_pytorch
import efficientnet_pytorch
import timm
import torch
import torchvision
import transformers
from torch import nn

BN = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "var"}
CONV = {"weight": "weight", "bias": "bias"}


def rules(*pairs):
    return [(re.compile(pattern + r"\.(\w+)$"), layer, kinds) for pattern, layer, kinds in pairs]


LUKEMELAS = rules(
    (r"_conv_stem", "stem", CONV),
    (r"_bn0", "stem", BN),
    (r"_blocks\.(\d+)\._expand_conv", "expand", CONV),
    (r"_blocks\.(\d+)\._bn0", "expand", BN),
    (r"_blocks\.(\d+)\._depthwise_conv", "depthwise", CONV),
    (r"_blocks\.(\d+)\._bn1", "depthwise", BN),
    (r"_blocks\.(\d+)\._se_reduce", "se_reduce", CONV),
    (r"_blocks\.(\d+)\._se_expand", "se_expand", CONV),
    (r"_blocks\.(\d+)\._project_conv", "project", CONV),
    (r"_blocks\.(\d+)\._bn2", "project", BN),
    (r"_conv_head", "head_conv", CONV),
    (r"_bn1", "head_conv", BN),
    (r"_fc", "classifier", CONV),
)

# Stage 0 of timm and torchvision has no expand, and there the other layers have other names.
TIMM = rules(
    (r"conv_stem", "stem", CONV),
    (r"bn1", "stem", BN),
    (r"blocks\.(0\.\d+)\.conv_dw", "depthwise", CONV),
    (r"blocks\.(0\.\d+)\.bn1", "depthwise", BN),
    (r"blocks\.(0\.\d+)\.conv_pw", "project", CONV),
    (r"blocks\.(0\.\d+)\.bn2", "project", BN),
    (r"blocks\.([1-9]\.\d+)\.conv_pw", "expand", CONV),
    (r"blocks\.([1-9]\.\d+)\.bn1", "expand", BN),
    (r"blocks\.([1-9]\.\d+)\.conv_dw", "depthwise", CONV),
    (r"blocks\.([1-9]\.\d+)\.bn2", "depthwise", BN),
    (r"blocks\.([1-9]\.\d+)\.conv_pwl", "project", CONV),
    (r"blocks\.([1-9]\.\d+)\.bn3", "project", BN),
    (r"blocks\.(\d\.\d+)\.se\.conv_reduce", "se_reduce", CONV),
    (r"blocks\.(\d\.\d+)\.se\.conv_expand", "se_expand", CONV),
    (r"conv_head", "head_conv", CONV),
    (r"bn2", "head_conv", BN),
    (r"classifier", "classifier", CONV),
)

TORCHVISION = rules(
    (r"features\.0\.0", "stem", CONV),
    (r"features\.0\.1", "stem", BN),
    (r"features\.(1\.\d+)\.block\.0\.0", "depthwise", CONV),
    (r"features\.(1\.\d+)\.block\.0\.1", "depthwise", BN),
    (r"features\.(1\.\d+)\.block\.1\.fc1", "se_reduce", CONV),
    (r"features\.(1\.\d+)\.block\.1\.fc2", "se_expand", CONV),
    (r"features\.(1\.\d+)\.block\.2\.0", "project", CONV),
    (r"features\.(1\.\d+)\.block\.2\.1", "project", BN),
    (r"features\.([2-7]\.\d+)\.block\.0\.0", "expand", CONV),
    (r"features\.([2-7]\.\d+)\.block\.0\.1", "expand", BN),
    (r"features\.([2-7]\.\d+)\.block\.1\.0", "depthwise", CONV),
    (r"features\.([2-7]\.\d+)\.block\.1\.1", "depthwise", BN),
    (r"features\.([2-7]\.\d+)\.block\.2\.fc1", "se_reduce", CONV),
    (r"features\.([2-7]\.\d+)\.block\.2\.fc2", "se_expand", CONV),
    (r"features\.([2-7]\.\d+)\.block\.3\.0", "project", CONV),
    (r"features\.([2-7]\.\d+)\.block\.3\.1", "project", BN),
    (r"features\.8\.0", "head_conv", CONV),
    (r"features\.8\.1", "head_conv", BN),
    (r"classifier\.1", "classifier", CONV),
)

TRANSFORMERS = rules(
    (r"efficientnet\.embeddings\.convolution", "stem", CONV),
    (r"efficientnet\.embeddings\.batchnorm", "stem", BN),
    (r"efficientnet\.encoder\.blocks\.(\d+)\.expansion\.expand_conv", "expand", CONV),
    (r"efficientnet\.encoder\.blocks\.(\d+)\.expansion\.expand_bn", "expand", BN),
    (r"efficientnet\.encoder\.blocks\.(\d+)\.depthwise_conv\.depthwise_conv", "depthwise", CONV),
    (r"efficientnet\.encoder\.blocks\.(\d+)\.depthwise_conv\.depthwise_norm", "depthwise", BN),
    (r"efficientnet\.encoder\.blocks\.(\d+)\.squeeze_excite\.reduce", "se_reduce", CONV),
    (r"efficientnet\.encoder\.blocks\.(\d+)\.squeeze_excite\.expand", "se_expand", CONV),
    (r"efficientnet\.encoder\.blocks\.(\d+)\.projection\.project_conv", "project", CONV),
    (r"efficientnet\.encoder\.blocks\.(\d+)\.projection\.project_bn", "project", BN),
    (r"efficientnet\.encoder\.top_conv", "head_conv", CONV),
    (r"efficientnet\.encoder\.top_bn", "head_conv", BN),
    (r"classifier", "classifier", CONV),
)

KERAS_BN = {"gamma": "gamma", "beta": "beta", "moving_mean": "mean", "moving_variance": "var"}
KERAS_CONV = {"kernel": "weight", "bias": "bias"}
# Here a slash stands between layer and tensor.
KERAS = [
    (re.compile(pattern + r"/(\w+)$"), layer, kinds)
    for pattern, layer, kinds in (
        (r"stem_conv", "stem", KERAS_CONV),
        (r"stem_bn", "stem", KERAS_BN),
        (r"block(\d\w)_expand_conv", "expand", KERAS_CONV),
        (r"block(\d\w)_expand_bn", "expand", KERAS_BN),
        (r"block(\d\w)_dwconv", "depthwise", KERAS_CONV),
        (r"block(\d\w)_bn", "depthwise", KERAS_BN),
        (r"block(\d\w)_se_reduce", "se_reduce", KERAS_CONV),
        (r"block(\d\w)_se_expand", "se_expand", KERAS_CONV),
        (r"block(\d\w)_project_conv", "project", KERAS_CONV),
        (r"block(\d\w)_project_bn", "project", KERAS_BN),
        (r"top_conv", "head_conv", KERAS_CONV),
        (r"top_bn", "head_conv", KERAS_BN),
        (r"predictions", "classifier", KERAS_CONV),
    )
]

NAME_MAPS = {
    "timm": TIMM,
    "timm-tf": TIMM,
    "torchvision": TORCHVISION,
    "lukemelas": LUKEMELAS,
    "lite-pytorch": LUKEMELAS,
    "transformers": TRANSFORMERS,
    "keras": KERAS,
}

# Width, depth, native size and the blocks with symmetric pads, as the published configurations have
# them (transformers, models/efficientnet/convert_efficientnet_to_pytorch.py).
TRANSFORMERS_CONFIGS = {
    "b0": (1.0, 1.0, 224, []),
    "b1": (1.0, 1.1, 240, [16]),
    "b2": (1.1, 1.2, 260, [5, 8, 16]),
    "b3": (1.2, 1.4, 300, [5, 18]),
    "b4": (1.4, 1.8, 380, [6]),
    "b5": (1.6, 2.2, 456, [13, 27]),
    "b6": (1.8, 2.6, 528, [31]),
    "b7": (2.0, 3.1, 600, [18]),
}


class TransformersLogits(nn.Module):
    """transformers' classifier, from an image to logits as the other networks go."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model(pixel_values=image).logits

    def state_dict(self, *args, **kwargs):
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args, **kwargs):
        return self.model.load_state_dict(*args, **kwargs)


class KerasLogits(nn.Module):
    """Keras's classifier in f64, with the tensors and images of PyTorch's order.

    Its pads are frozen at the size that it is built for. It takes pixels, which its first layers
    bring to `x / 255`: the inverse goes before.
    """

    def __init__(self, variant, classes, size):
        super().__init__()
        import keras

        keras.config.set_floatx("float64")
        keras.backend.clear_session()
        build = getattr(keras.applications, f"EfficientNet{variant.upper()}")
        self.network = build(
            weights=None, classes=classes, input_shape=(*size, 3), classifier_activation=None
        )
        self.tensors = {
            weight.path: weight
            for weight in self.network.weights
            if not weight.path.startswith("normalization")
        }

    @staticmethod
    def from_keras(name, shape):
        """The axes of a tensor of Keras's in PyTorch's order."""
        if len(shape) == 4:
            return (2, 3, 0, 1) if "dwconv" in name else (3, 2, 0, 1)
        return (1, 0) if len(shape) == 2 else (0,)

    def state_dict(self):
        return {
            name: torch.from_numpy(weight.numpy()).permute(self.from_keras(name, weight.shape))
            for name, weight in self.tensors.items()
        }

    def load_state_dict(self, state, strict):
        for name, values in state.items():
            axes = self.from_keras(name, self.tensors[name].shape)
            back = [axes.index(axis) for axis in range(len(axes))]
            self.tensors[name].assign(values.permute(back).numpy())
        return sorted(set(self.tensors) - set(state)), sorted(set(state) - set(self.tensors))

    def stored_shapes(self):
        return {name: list(weight.shape) for name, weight in self.tensors.items()}

    def forward(self, image):
        logits = self.network(image.permute(0, 2, 3, 1) * 255.0, training=False)
        return logits.detach()


def transformers_model(variant, classes, **changes):
    width, depth, size, padding = TRANSFORMERS_CONFIGS[variant]
    config = transformers.EfficientNetConfig(
        width_coefficient=width,
        depth_coefficient=depth,
        image_size=size,
        hidden_dim=max(8, int(1280 * width + 4) // 8 * 8),
        num_labels=classes,
        **{"depthwise_padding": padding, **changes},
    )
    return transformers.EfficientNetForImageClassification(config)


def canonical_names(implementation, keys):
    """Maps a public model's `state_dict` keys to the network's own names.

    Every key but `num_batches_tracked` must match exactly one rule, and no two keys may mean the
    same tensor.
    """
    found = {}
    for key in keys:
        if key.endswith(".num_batches_tracked"):
            continue
        matches = [
            (match.groups()[:-1], layer, kinds[match.groups()[-1]])
            for pattern, layer, kinds in NAME_MAPS[implementation]
            if (match := pattern.match(key)) and match.groups()[-1] in kinds
        ]
        assert len(matches) == 1, f"{implementation}: '{key}' matches {len(matches)} rules"
        found[key] = matches[0]
    # Flat block numbers: the order of (stage, position) pairs, or of flat numbers.
    places = {block[0] for block, _, _ in found.values() if block}
    # Keras's places are a digit and a letter.
    parts = lambda place: [int(part) if part.isdigit() else part for part in place.split(".")]
    ordered = sorted(places, key=parts)
    flat = {place: index for index, place in enumerate(ordered)}
    names = {
        key: (f"blocks.{flat[block[0]]}." if block else "") + f"{layer}.{kind}"
        for key, (block, layer, kind) in found.items()
    }
    assert len(set(names.values())) == len(names), f"{implementation}: one tensor has two names"
    return names


PADDLE = {
    "stem": "_ef._conv_stem._conv",
    "expand": "_ecn._conv",
    "depthwise": "_dcn._conv",
    "se_reduce": "_se._conv1",
    "se_expand": "_se._conv2",
    "project": "_pcn._conv",
    "head_conv": "_conv",
    "classifier": "_fc",
}
PADDLE_BN = {"gamma": "weight", "beta": "bias", "mean": "_mean", "var": "_variance"}


def paddle_name(layer, kind, block, skips):
    """PaddleClas's key of a tensor; `block` is as in `blocks.3`, or empty.

    The first block of a stage, which is the one that adds no input, stands in another list than
    the rest, and every block's name ends in a dot of its own.
    """
    place = ""
    if block:
        number = block.removeprefix("blocks.")
        place = f"_ef.{'block' if skips else '_blocks'}.{number}.."
    module = PADDLE[layer]
    if kind in PADDLE_BN:
        return f"{place}{module}._bn.{PADDLE_BN[kind]}"
    if layer == "classifier":
        return f"{module}.{kind}"
    # A ConvBNLayer holds a Conv2ds, which holds a Conv2D; an SEBlock holds Conv2ds.
    depth = "._conv" if layer.startswith("se_") else "._conv._conv"
    return f"{place}{module}{depth}.{kind}"


def is_lite(variant):
    return variant.startswith("lite")


def build(family, variant, classes, **changes):
    """The public model of a family's variant, untrained; also says whose code it is.

    `changes` go to the public constructor: they are how `mutations.py` gets its wrong networks.
    """
    name = variant.replace("-", "_")
    if family == "paddle-clas":
        # Without Paddle: its networks are, to the last operation, these two.
        if variant == "b0-small":
            changes = {"act_layer": nn.SiLU, "bn_eps": 1e-3, **changes}
            model, implementation = build("timm", "lite0", classes, **changes)
            return model, implementation
        return build("lukemelas", variant, classes, **changes)
    if family in ("timm", "timm-tf"):
        prefix = "tf_" if family == "timm-tf" else ""
        model = timm.create_model(f"{prefix}efficientnet_{name}", num_classes=classes, **changes)
    elif family == "torchvision":
        model = getattr(torchvision.models, f"efficientnet_{name}")(num_classes=classes, **changes)
    elif family == "lukemelas":
        model = efficientnet_pytorch.EfficientNet.from_name(
            f"efficientnet-{variant}", num_classes=classes, **changes
        )
    elif family == "lite-pytorch":
        model = efficientnet_lite_pytorch.EfficientNet.from_name(
            f"efficientnet-{variant}", num_classes=classes, **changes
        )
    elif family == "transformers":
        model = TransformersLogits(transformers_model(variant, classes, **changes))
    elif family == "keras":
        model = KerasLogits(variant, classes, **changes)
    else:
        raise ValueError(f"unknown family {family}")
    return model, family
