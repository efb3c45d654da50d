#!/usr/bin/env python3
"""Checkpoints as trainers write them, by the real libraries.

    pip install -r tests/field/requirements.txt
    tests/field/checkpoints.py                              writes tests/fixtures/trainers
    cargo build && tests/field/checkpoints.py check target/debug/effnet

The fixtures hold one small network each: the container, the dicts and the objects are what matters.
Element i of the floating-point tensor number n of its state dict is (i - 7) * (n + 1) / 4;
tests/trainers.rs computes the same. `check` saves a full B0 in every way that a trainer does, imports
it with the program, and compares logits of random images with those of timm: within 1e-4 of the
largest (f32 on both sides, sums in another order), and far outside for the weights not taken.
"""

import argparse
import collections
import copy
import datetime
import enum
import functools
import json
import operator
import pathlib
import subprocess
import sys
import tempfile
import types
import warnings
import zipfile

import lightning
import numpy as np
import timm
import timm.utils
import torch
from torch import nn

warnings.filterwarnings("ignore")
ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures/trainers"
# As a part of the largest |logit|.
TOLERANCE = 1e-4


# A trainer's own code, which a reader of its checkpoints does not have.
trainer = types.ModuleType("trainer_config")
sys.modules["trainer_config"] = trainer


def of_trainer(thing):
    thing.__module__, thing.__qualname__ = "trainer_config", thing.__name__
    setattr(trainer, thing.__name__, thing)
    return thing


@of_trainer
class Config:
    def __init__(self):
        self.model, self.sizes = "tf_efficientnet_b0", (240, 240)


@of_trainer
class Phase(enum.Enum):
    TRAIN = "train"


@of_trainer
class AttributeDict(dict):
    pass


@of_trainer
def collate(batch):
    return batch


@of_trainer
class Net(nn.Module):
    """One of each part that a network has."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, bias=False)
        self.bn = nn.BatchNorm2d(2)
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 3))
        self.register_buffer("scratch", torch.ones(4), persistent=False)
        self.nothing = None
        self.register_parameter("absent", None)

    def forward(self, x):
        return self.head(self.bn(self.conv(x)).mean((2, 3)))


def numbered(model, offset=0.0):
    """Gives each tensor its values."""
    state = model.state_dict()
    floats = [tensor for tensor in state.values() if tensor.is_floating_point()]
    for n, tensor in enumerate(floats):
        count = torch.arange(tensor.numel(), dtype=torch.float32)
        tensor.copy_(((count - 7) * (n + 1) / 4 + offset).view(tensor.shape))
    return model


def objects(state):
    """A state dict with the objects that trainers keep beside it."""
    return {
        "state_dict": state,
        "cfg": Config(),
        "out": pathlib.PosixPath("/runs/7"),
        "phase": Phase.TRAIN,
        "when": datetime.datetime(2024, 1, 31, 10, 11, 12),
        "metric": np.float64(0.5),
        "names": np.array(["ant", "bee"], dtype=object),
        "hparams": AttributeDict(lr=0.1, arch="tf_efficientnet_b0"),
        "history": collections.defaultdict(list, loss=[1.0, 0.5]),
        "schedule": functools.partial(operator.mul, 2),
        "collate": collate,
        "seen": {1, 2},
        "device": torch.device("cpu"),
        "dtype": torch.complex64,
        "spectrum": torch.zeros(2, dtype=torch.complex64),
        "args": argparse.Namespace(model="tf_efficientnet_b0", classes=3),
    }


@of_trainer
class LightningNet(lightning.LightningModule):
    def __init__(self, model_name="tf_efficientnet_b0", net=None, classes=3):
        super().__init__()
        self.save_hyperparameters(ignore=["net"])
        self.model = net or Net()
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(classes))

    def training_step(self, batch):
        x, y = batch
        loss = self.loss(self.model(x), y)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.0, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


def lightning_checkpoint(module, side, path):
    """One step of the real trainer, with its callbacks, at a learning rate of zero."""
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = [(torch.randn(3, side, side), n % 3) for n in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder,
            callbacks=[lightning.pytorch.callbacks.ModelCheckpoint(folder, monitor="loss")],
        )
        trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=2))
        # Statistics move in training: the values that are looked for are set again.
        if isinstance(module.model, Net):
            numbered(module.model)
        trainer.save_checkpoint(path)


def without_sources(path):
    """Takes the sources of torch's own modules out of an archive, and where they were."""
    with zipfile.ZipFile(path) as archive:
        kept = [
            (entry.filename, archive.read(entry))
            for entry in archive.infolist()
            if "/code/" not in entry.filename or entry.filename.endswith("trainer_config.py")
        ]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in kept:
            archive.writestr(zipfile.ZipInfo(name), data)


def write():
    FIXTURES.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    # The legacy container has each module's source text beside its class.
    torch.serialization.get_source_lines_and_file = lambda thing: (["class: ...\n"], 1, "module.py")
    legacy = dict(_use_new_zipfile_serialization=False)
    net = numbered(Net())
    average = numbered(Net(), offset=0.5)
    torch.save(objects(net.state_dict()), FIXTURES / "objects.pth")
    torch.save(objects(net.state_dict()), FIXTURES / "objects_protocol5.pth", pickle_protocol=5)
    torch.save(net, FIXTURES / "module.pth")
    torch.save(net, FIXTURES / "module_legacy.pth", **legacy)
    torch.save(
        {"epoch": 3, "model": net, "ema": average, "updates": 12, "opt": None},
        FIXTURES / "module_checkpoint.pth",
    )
    torch.save(
        {"student": net.state_dict(), "teacher": average.state_dict(), "epoch": 3},
        FIXTURES / "student_teacher.pth",
    )
    # An average of the parameters alone is no model: the statistics are missing.
    parameters = {name: tensor.detach() for name, tensor in average.named_parameters()}
    torch.save({"state_dict": net.state_dict(), "ema": parameters}, FIXTURES / "part_of_average.pth")
    lightning_checkpoint(LightningNet(net=net), 8, FIXTURES / "lightning.ckpt")
    script = torch.jit.script(numbered(Net()).eval())
    torch.jit.save(script, FIXTURES / "script.pt")
    torch.jit.save(torch.jit.trace(numbered(Net()).eval(), torch.zeros(1, 3, 8, 8)), FIXTURES / "trace.pt")
    torch.jit.save(torch.jit.freeze(script), FIXTURES / "frozen.pt")
    for name in ("script.pt", "trace.pt", "frozen.pt"):
        without_sources(FIXTURES / name)


def full(name="tf_efficientnet_b0", seed=0, classes=7):
    """A network with random weights whose logits stay of order one."""
    generator = torch.Generator().manual_seed(seed)
    model = timm.create_model(name, num_classes=classes).eval()
    for tensor in model.state_dict().values():
        if tensor.dim() == 1:
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
        elif tensor.dim() > 1:
            fan = tensor[0].numel()
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (1.5 / fan) ** 0.5)
    return model


def check(effnet):
    folder = pathlib.Path(tempfile.mkdtemp())
    packed, inputs, outputs = (folder / name for name in ("packed.st", "in.npy", "out.npy"))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(9))
    np.save(inputs, images.permute(0, 2, 3, 1).contiguous().numpy())
    model, average = full(seed=1), full(seed=2)
    with torch.no_grad():
        logits = {id(m): m(images).numpy() for m in (model, average)}
    state, mean = model.state_dict(), average.state_dict()
    faults = []

    def imported(path, *options):
        options = ["--family", "timm-tf", "--precision", "fp32", *options]
        command = [effnet, "import", path, "-o", packed, "--json", *options]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)

    def near(title, wanted, path, *options, notes=()):
        ran = imported(path, *options)
        if ran.returncode != 0:
            faults.append(f"{title}: {ran.stderr.strip()}")
            return
        found = json.loads(ran.stdout)["notes"]
        for note in notes:
            if not any(note in line for line in found):
                faults.append(f"{title}: no note says {note!r}: {found}")
        command = [effnet, "run", inputs, "--weights", packed, "--size", "64", "--device", "cpu", "-q"]
        subprocess.run([*map(str, command), "-o", str(outputs)], check=True, stdout=subprocess.DEVNULL)
        far = {}
        for which in (model, average):
            expected = logits[id(which)]
            far[id(which)] = np.abs(np.load(outputs) - expected).max() / np.abs(expected).max()
        other = average if wanted is model else model
        print(f"  {title}: off by {far[id(wanted)]:.1e}, the other model by {far[id(other)]:.1e}")
        if far[id(wanted)] > TOLERANCE or far[id(other)] < 100 * TOLERANCE:
            faults.append(f"{title}: off by {far[id(wanted)]:.1e} of the largest")

    def saved(thing, name="model_best.pth.tar", **options):
        torch.save(thing, folder / name, **options)
        return folder / name

    for prefix in ("model.", "net.", "network.", "backbone.", "encoder.", "0.", "module.model.",
                   "ema_model.", "any.thing."):
        named = {prefix + name: tensor for name, tensor in state.items()}
        near(f"prefix {prefix}", model, saved({"state_dict": named}))
    extra = {**{"model." + name: tensor for name, tensor in state.items()}, "loss.weight": torch.ones(3)}
    near("a loss beside the model", model, saved({"state_dict": extra}), notes=["loss.weight"])
    averaged = torch.optim.swa_utils.AveragedModel(average)
    near("AveragedModel", average, saved(averaged.state_dict()), notes=["n_averaged"])
    both = {**{"model." + name: tensor for name, tensor in state.items()},
            **{"ema_model." + name: tensor for name, tensor in mean.items()}}
    near("an average by its prefix", average, saved(both), notes=["took ema_model, the moving average"])
    near("the other prefix", model, saved(both), "--key", "model")

    near("objects beside the state dict", model, saved(objects(state)))
    near("objects, legacy", model, saved(objects(state), _use_new_zipfile_serialization=False))
    near("a whole module", model, saved(model))
    near("a whole module, legacy", model, saved(model, _use_new_zipfile_serialization=False))
    near("a module in DataParallel", model, saved(nn.DataParallel(model)))
    modules = saved({"model": copy.deepcopy(model).half(), "ema": average, "updates": 3})
    near("modules under model and ema", average, modules, notes=["took ema, the moving average"])
    wrapped = nn.Sequential(collections.OrderedDict(body=model))
    near("a module in a module", model, saved({"learner": wrapped}))

    for key in ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "params_ema"):
        path = saved({"state_dict": state, key: mean})
        notes = [f"took {key}, the moving average; state_dict is there too: --key state_dict"]
        near(f"weights and {key}", average, path, notes=notes)
        near(f"--key state_dict beside {key}", model, path, "--key", "state_dict")
    heads = lambda s: {**{f"backbone.{name}": t for name, t in s.items()}, "head.mlp.weight": torch.ones(3, 2)}
    dino = saved({"student": heads(state), "teacher": heads(mean), "epoch": 3})
    near("student and teacher", average, dino, notes=["took teacher, the moving average", "head.mlp.weight"])
    near("--key student", model, dino, "--key", "student")
    parameters = {name: tensor.detach() for name, tensor in average.named_parameters()}
    near("an average without statistics", model, saved({"state_dict": state, "ema": parameters}),
         notes=["ema, an average, has only"])
    ema = timm.utils.ModelEmaV3(average)
    near("timm's ModelEmaV3", average, saved({"state_dict": state, "state_dict_ema": ema.state_dict()}))
    near("nested keys", average, saved({"weights": {"plain": state, "best": {"sd": mean}}}),
         "--key", "weights.best.sd")
    ran = imported(saved({"state_dict": state, "ema": mean}), "--key", "emma")
    if ran.returncode == 0 or '"ema" (360 tensors), "state_dict" (360 tensors)' not in ran.stderr:
        faults.append(f"a wrong key: {ran.stderr}")

    path = folder / "last.ckpt"
    lightning_checkpoint(LightningNet(net=copy.deepcopy(model), classes=7), 64, path)
    trained = torch.load(path, weights_only=False)["state_dict"]
    after = full(seed=1)
    after.load_state_dict({k.removeprefix("model."): v for k, v in trained.items() if k.startswith("model.")})
    with torch.no_grad():
        logits[id(after)] = after.eval()(images).numpy()
    plain, model = model, after
    near("Lightning", after, path, notes=["loss.weight"])
    model = plain

    script = torch.jit.script(model)
    torch.jit.save(script, folder / "script.pt")
    near("TorchScript", model, folder / "script.pt")
    torch.jit.save(torch.jit.trace(model, images), folder / "trace.pt")
    near("TorchScript, traced", model, folder / "trace.pt")
    torch.jit.save(torch.jit.freeze(script), folder / "frozen.pt")
    ran = imported(folder / "frozen.pt")
    if ran.returncode == 0 or "a frozen module" not in ran.stderr:
        faults.append(f"a frozen TorchScript: {ran.stderr}")

    for fault in faults:
        print(f"FAULT {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(sys.argv[2])
    else:
        write()
