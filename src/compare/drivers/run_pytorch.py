"""PyTorch on packed weights, eager or compiled: channels last, mixed precision for FP16.

The network is built from the description that `effnet compare` writes (src/compare/description.rs),
so that every variant and padding convention is the same network as effnet's. Batch-norm is a
BatchNorm2d with mean 0 and variance 1: the packed scale and shift are its weight and bias.
"""

import json

import torch
from safetensors.torch import load_file
from torch import nn

from driver_protocol import serve

ACTIVATIONS = {"swish": nn.SiLU, "relu6": nn.ReLU6, "none": nn.Identity}


class ConvBn(nn.Module):
    """A convolution, its batch-norm, and an activation if there is one."""

    def __init__(self, tensors, name, weight, geometry, groups=1, activation=None):
        super().__init__()
        c_out, c_in, k, _ = weight.shape
        stride, pad = geometry["stride"], geometry["pad"]
        # The convolution pads by itself what is symmetric.
        symmetric = len(set(pad)) == 1
        self.pad = nn.Identity() if symmetric else nn.ZeroPad2d(pad)
        own = pad[0] if symmetric else 0
        self.conv = nn.Conv2d(c_in * groups, c_out, k, stride, own, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out, eps=0.0)
        self.activation = ACTIVATIONS[activation](inplace=True) if activation else nn.Identity()
        self.conv.weight.data = weight.contiguous()
        self.bn.weight.data = tensors[f"{name}.scale"]
        self.bn.bias.data = tensors[f"{name}.shift"]

    def forward(self, x):
        return self.activation(self.bn(self.conv(self.pad(x))))


class SqueezeExcite(nn.Module):
    def __init__(self, tensors, name):
        super().__init__()
        reduce = tensors[f"{name}.se_reduce.weight"]  # [c_se, c]
        expand = tensors[f"{name}.se_expand.weight"].t()  # [c, c_se]
        c_se, c = reduce.shape
        self.reduce, self.expand = nn.Conv2d(c, c_se, 1), nn.Conv2d(c_se, c, 1)
        self.activation = nn.SiLU(inplace=True)
        self.reduce.weight.data = reduce[:, :, None, None].contiguous()
        self.expand.weight.data = expand[:, :, None, None].contiguous()
        self.reduce.bias.data = tensors[f"{name}.se_reduce.bias"]
        self.expand.bias.data = tensors[f"{name}.se_expand.bias"]

    def forward(self, x):
        gate = self.expand(self.activation(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * gate.sigmoid()


ONE_BY_ONE = {"stride": 1, "pad": [0, 0, 0, 0]}


class MbConv(nn.Module):
    def __init__(self, tensors, block, activation):
        super().__init__()
        name = f"blocks.{block['index']}"
        pointwise = lambda part: tensors[f"{name}.{part}.weight"][:, :, None, None]
        depthwise = tensors[f"{name}.depthwise.weight"].permute(2, 0, 1)[:, None]  # [c, 1, k, k]
        layers = []
        if block["expand"]:
            part = f"{name}.expand"
            layers.append(ConvBn(tensors, part, pointwise("expand"), ONE_BY_ONE, 1, activation))
        part, groups = f"{name}.depthwise", len(depthwise)
        layers.append(ConvBn(tensors, part, depthwise, block["depthwise"], groups, activation))
        if block["squeeze_excite"]:
            layers.append(SqueezeExcite(tensors, name))
        layers.append(ConvBn(tensors, f"{name}.project", pointwise("project"), ONE_BY_ONE))
        self.layers, self.skip = nn.Sequential(*layers), block["skip"]

    def forward(self, x):
        return x + self.layers(x) if self.skip else self.layers(x)


class EfficientNet(nn.Module):
    def __init__(self, tensors, description):
        super().__init__()
        activation = description["activation"]
        stem = tensors["stem.weight"].permute(3, 2, 0, 1)  # [c_stem, 3, k, k]
        head = tensors["head_conv.weight"][:, :, None, None]
        self.stem = ConvBn(tensors, "stem", stem, description["stem"], 1, activation)
        blocks = description["blocks"]
        self.blocks = nn.Sequential(*[MbConv(tensors, block, activation) for block in blocks])
        self.head_conv = ConvBn(tensors, "head_conv", head, ONE_BY_ONE, 1, activation)
        classes, c_head = tensors["classifier.weight"].shape
        self.classifier = nn.Linear(c_head, classes)
        self.classifier.weight.data = tensors["classifier.weight"]
        self.classifier.bias.data = tensors["classifier.bias"]

    def forward(self, x):
        features = self.head_conv(self.blocks(self.stem(x))).mean((2, 3))
        return self.classifier(features)


class PyTorch:
    def __init__(self, request):
        torch.set_num_threads(request["threads"])
        self.device, precision = request["device"], request["precision"]
        if self.device != "cpu" and not torch.cuda.is_available():
            raise RuntimeError("this torch finds no CUDA GPU")
        tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        with open(request["description"]) as file:
            description = json.load(file)
        tensors = {name: x.float() for name, x in load_file(request["weights"]).items()}
        model = EfficientNet(tensors, description).eval().requires_grad_(False)
        model = model.to(self.device, memory_format=torch.channels_last)
        self.amp = precision == "fp16"
        self.precision = "fp16 (amp)" if self.amp else precision
        self.runtime = f"PyTorch {torch.__version__}"
        self.notes = ["channels last"]
        if mode := request["compile"]:
            graphs = {} if self.device == "cpu" else {"mode": mode}
            model = torch.compile(model, **graphs)
            self.runtime += ", torch.compile"
            self.notes.append(f"mode {mode}" if graphs else "default mode")
        else:
            self.runtime += ", eager"
        self.model = model
        if mode:
            # The first runs compile, and record CUDA graphs.
            zeros = torch.zeros(request["batch"], 3, request["height"], request["width"]).numpy()
            for _ in range(3):
                self.run(zeros)

    @torch.inference_mode()
    def run(self, batch):
        # [batch, 3, h, w]
        x = torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last)
        with torch.autocast(self.device.split(":")[0], torch.float16, enabled=self.amp):
            logits = self.model(x)
        return logits.float().cpu().numpy()


serve(PyTorch)
