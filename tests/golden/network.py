"""A public model, filled by the generator."""

import hashlib
import re

import torch

import families
import generator


class Network:
    """A family's variant with the weights of `seed`, in f64."""

    def __init__(self, family, variant, classes, seed, **changes):
        self.model, implementation = families.build(family, variant, classes, **changes)
        state = self.model.state_dict()
        self.names = families.canonical_names(implementation, state)
        shapes = {name: tuple(state[key].shape) for key, name in self.names.items()}
        self.check_roles(shapes)
        has_se = "blocks.0.se_reduce.weight" in shapes
        relu6 = families.is_lite(variant)

        self.digests = {}
        filled = {}
        for key, name in self.names.items():
            prefix = name.rsplit(".", 2)[0]
            values = generator.tensor(
                seed, name, shapes[name], has_se, relu6, self.skips(shapes, prefix)
            )
            filled[key] = torch.from_numpy(values)
            if name in DIGESTED:
                self.digests[name] = generator.digest(values)
        # `strict` would ask for the batch counters, which no evaluation reads.
        missing, unexpected = self.model.load_state_dict(filled, strict=False)
        assert not unexpected, unexpected
        assert all(key.endswith(".num_batches_tracked") for key in missing), missing
        self.model.eval().double()
        if family == "paddle-clas" and variant != "b0-small":
            self.crop_as_paddle()
        published = {key: list(state[key].shape) for key in self.names}
        if family == "paddle-clas":
            published = self.paddle_names(shapes)
        if family == "keras":
            published = self.model.stored_shapes()
        lines = "".join(f"{key} {shape}\n" for key, shape in sorted(published.items()))
        self.names_sha256 = hashlib.sha256(lines.encode()).hexdigest()

    def crop_as_paddle(self):
        """Pads as PaddleClas: where the sides differ, a convolution is padded by the smaller one
        and the stride on both, and loses its first row and column."""
        for module in self.model.modules():
            pad = getattr(module, "static_padding", None)
            if isinstance(pad, torch.nn.ZeroPad2d):
                left, right, top, bottom = pad.padding
                stride = module.stride[0]
                if left != right:
                    pad.padding = (left, left + stride, top, top + stride)

    @staticmethod
    def skips(shapes, prefix):
        """Whether the block adds its input: only then has it as many channels in as out."""
        if not prefix.startswith("blocks."):
            return False
        c_out, c_mid = shapes[f"{prefix}.project.weight"][:2]
        expand = shapes.get(f"{prefix}.expand.weight")
        return (expand[1] if expand else c_mid) == c_out

    @classmethod
    def paddle_names(cls, shapes):
        """PaddleClas's keys and shapes for the tensors in `shapes`."""
        found = {}
        for name, shape in shapes.items():
            prefix, layer, kind = ("." + name).rsplit(".", 2)
            key = families.paddle_name(layer, kind, prefix[1:], cls.skips(shapes, prefix[1:]))
            # Paddle's Linear keeps [in, out].
            found[key] = list(shape)[::-1] if name == "classifier.weight" else list(shape)
        return found

    @staticmethod
    def check_roles(shapes):
        """Every layer has all its parts: nothing can be left at its initial value unnoticed."""
        blocks = 1 + max(int(m[1]) for name in shapes if (m := re.match(r"blocks\.(\d+)", name)))
        with_bn = ["stem", "head_conv"]
        with_bias = ["classifier"]
        for n in range(blocks):
            with_bn += [f"blocks.{n}.depthwise", f"blocks.{n}.project"]
            if f"blocks.{n}.expand.weight" in shapes:
                with_bn.append(f"blocks.{n}.expand")
            if "blocks.0.se_reduce.weight" in shapes:
                with_bias += [f"blocks.{n}.se_reduce", f"blocks.{n}.se_expand"]
        expected = {f"{l}.{k}" for l in with_bn for k in ("weight", "gamma", "beta", "mean", "var")}
        expected |= {f"{l}.{k}" for l in with_bias for k in ("weight", "bias")}
        assert expected == set(shapes), expected ^ set(shapes)

    def round_weights_to_f16(self):
        """Rounds the convolutions' and the classifier's weights, and nothing else, to the nearest
        f16."""
        for parameter in self.model.parameters():
            if parameter.dim() > 1:
                parameter.data = parameter.data.half().double()

    def logits(self, image):
        """Logits, f64, of one image [3, h, w]."""
        with torch.no_grad():
            return self.model(torch.from_numpy(image).double()[None])[0].numpy()


# Tensors whose bytes are compared with the Rust generator's: one of each kind and layer.
DIGESTED = {
    "stem.weight",
    "stem.var",
    "blocks.0.depthwise.weight",
    "blocks.1.expand.gamma",
    "blocks.1.project.weight",
    "blocks.2.project.weight",
    "blocks.2.se_reduce.weight",
    "blocks.2.se_expand.bias",
    "head_conv.mean",
    "head_conv.beta",
    "classifier.weight",
}
