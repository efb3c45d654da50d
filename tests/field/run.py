"""`effnet run` beside timm: the same tensors into both, logits and features out of both.

usage: python tests/field/run.py check EFFNET
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy
import timm
import torch
from safetensors.torch import save_file

# Two networks in f32 may differ by rounding: this part of the largest value.
TOLERANCE = 1e-4
SIZE = 96


def check(effnet):
    torch.manual_seed(0)
    # timm's initial head is so small that its logits would be all rounding.
    model = timm.create_model("efficientnet_b0", num_classes=7).eval()
    torch.nn.init.normal_(model.classifier.weight, std=0.1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def run(*arguments):
            subprocess.run([effnet, *map(str, arguments)], cwd=folder, check=True, text=True,
                           stdout=subprocess.DEVNULL)

        torch.save(model.state_dict(), folder / "efficientnet_b0.pth")
        run("import", "efficientnet_b0.pth", "--precision", "fp32", "-o", "packed.safetensors")
        pixels = numpy.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), numpy.uint8)
        config = model.pretrained_cfg
        mean, std = (numpy.array(config[key], numpy.float32) for key in ("mean", "std"))
        images = ((pixels.astype(numpy.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
        images = numpy.ascontiguousarray(images, dtype=numpy.float32)
        with torch.no_grad():
            expected = {
                "logits": model(torch.from_numpy(images)).numpy(),
                "features": model.forward_head(
                    model.forward_features(torch.from_numpy(images)), pre_logits=True
                ).numpy(),
            }
        numpy.save(folder / "nchw.npy", images)
        numpy.save(folder / "fortran.npy", numpy.asfortranarray(images))
        numpy.savez_compressed(folder / "two.npz", x=images, y=images[:1])
        save_file({"x": torch.from_numpy(images)}, folder / "x.safetensors")
        pixels.tofile(folder / "pixels.bin")
        numpy.save(folder / "pixels.npy", pixels)
        nchw = ["--layout", "nchw"]
        for name, arguments in {
            "nchw.npy": nchw,
            "fortran.npy": nchw,
            "two.npz": ["--tensor", "x", *nchw],
            "x.safetensors": nchw,
            "pixels.bin": ["--raw", "u8", "--size", SIZE],
            "pixels.npy": ["--batch", 2],
        }.items():
            outputs = ["-o", "logits.npy", "--features", "features.npy"]
            run("run", name, "--weights", "packed.safetensors", "--device", "cpu", *arguments,
                *outputs)
            for output, values in expected.items():
                found = numpy.load(folder / f"{output}.npy")
                if found.shape != values.shape or found.dtype != numpy.float32:
                    sys.exit(f"{name}: {output} is {found.dtype} {found.shape}")
                worst = float(abs(found - values).max() / abs(values).max())
                print(f"{name}: {output} within {worst:.1e} of the largest")
                if not worst <= TOLERANCE:
                    sys.exit(f"{name}: {output}: allowed {TOLERANCE:.0e}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check", effnet]:
            check(pathlib.Path(effnet).resolve())
        case _:
            sys.exit(__doc__)
