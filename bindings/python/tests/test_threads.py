"""Many threads on one model, forks, and interrupts."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import effnet

Script = Callable[..., "subprocess.CompletedProcess[str]"]


def test_eight_threads_on_one_model(small: effnet.Model, photos: list[Path]) -> None:
    x = small.preprocess(photos)
    logits, best = small.run(x).logits, small.classify(photos)
    features = small.features(photos)
    start = threading.Barrier(8)

    def work(thread: int) -> int:
        start.wait(timeout=60)
        for turn in range(25):
            match (thread + turn) % 5:
                case 0:
                    assert np.array_equal(small.run(x).logits, logits)
                case 1:
                    assert small.classify(photos) == best
                case 2:
                    assert small.classify(photos[turn % 3]) == best[turn % 3]
                case 3:
                    assert list(small.stream(iter(photos))) == best
                case 4:
                    assert np.array_equal(small.features(photos), features)
        return thread

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(work, range(8))) == list(range(8))


def test_other_threads_run_meanwhile(weights: Path) -> None:
    """Python's lock is let go of: a run on the emulator takes long, and this thread counts on."""
    model = effnet.load(weights, device="emulator", size=64)
    done = threading.Event()

    def run() -> None:
        model.run(np.zeros((1, 64, 64, 3), np.float32))
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    counted = 0
    while not done.wait(0.001):
        counted += 1
    thread.join()
    assert counted >= 3, "this thread had no turn while the other one ran"


def test_a_model_is_closed_while_others_use_it(weights: Path, photos: list[Path]) -> None:
    model = effnet.load(weights, device="cpu", size=32)
    begun = threading.Barrier(5)

    def work() -> int:
        begun.wait(timeout=60)
        calls = 0
        with pytest.raises(effnet.Error, match="the model is closed"):
            while True:
                model.classify(photos)
                calls += 1
        return calls

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(work) for _ in range(4)]
        begun.wait(timeout=60)
        model.close()
        for one in waiting:
            one.result(timeout=60)


FORK = """
import effnet, numpy as np, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
model = effnet.load(weights, device="cpu", size=32, threads=4, decode_threads=4)
x = np.zeros((2, 32, 32, 3), np.float32)
before = model.predict([photo, photo])
stream = model.stream([photo] * 100)
next(stream)
busy = threading.Event()
def others():
    while True:
        model.run(x)
        busy.set()
# At the fork, another thread holds the session.
threading.Thread(target=others, daemon=True).start()
busy.wait()
child = os.fork()
if child == 0:
    calls = [
        lambda: model.classify(photo), lambda: model.classify([photo, photo]),
        lambda: model.predict([photo]), lambda: model.run(x), lambda: model.features(photo),
        lambda: model.preprocess(photo), lambda: next(stream), lambda: model.stream([photo]),
        lambda: model.profile(), lambda: model.metadata,
    ]
    for call in calls:
        try:
            call()
        except effnet.DeviceError as error:
            assert "fork" in str(error) and str(os.getppid()) in str(error), error
        else:
            raise AssertionError("a fork used its parent's model")
    repr(model), model.labels
    stream.close()
    del stream
    model.close()
    del model, calls
    # A model of its own works.
    own = effnet.load(weights, device="cpu", size=32, decode_threads=2)
    assert np.array_equal(own.predict([photo, photo]), before)
    print("child: well", flush=True)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert np.array_equal(model.predict([photo, photo]), before)
assert len(list(stream)) == 99
print("parent: well", flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(sys, "platform") or sys.platform == "win32", reason="no fork")
def test_a_fork_after_use_is_an_error_and_no_hang(script: Script) -> None:
    done = script(FORK)
    assert done.stdout.split("\n")[:2] == ["child: well", "parent: well"], done


def test_multiprocessing(script: Script) -> None:
    done = script(
        """
import effnet, multiprocessing, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
model = effnet.load(weights, device="cpu", size=32)
model.classify([photo])
def work(_):
    try:
        model.classify([photo])
    except effnet.DeviceError as error:
        return "fork" in str(error)
    return False
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(4)) == [True] * 4
print("well")
"""
    )
    assert done.stdout == "well\n", done


def test_verify_in_a_fork(script: Script) -> None:
    done = script(
        """
import effnet, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
assert effnet.verify("lite0", device="emulator", size=32)
child = os.fork()
if child == 0:
    try:
        effnet.verify("lite0", device="emulator", size=32)
    except effnet.DeviceError as error:
        os._exit(0 if "fork" in str(error) else 3)
    os._exit(4)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""
    )
    assert done.stdout == "0\n", done


INTERRUPT = """
import effnet, itertools, numpy as np, os, signal, threading
# A shell's job in the background is born deaf to it.
signal.signal(signal.SIGINT, signal.default_int_handler)
model = effnet.load(weights, device={device!r}, size=32)

class Endless:
    "More images than anybody waits for."
    def __len__(self):
        return 10**9
    def __getitem__(self, index):
        return photo

many = np.zeros((200_000, 32, 32, 3), np.float32)
calls = {{
    "classify": lambda: model.classify(Endless()),
    "stream": lambda: [None for _ in model.stream(itertools.repeat(photo))],
    "run": lambda: model.run(many),
    "verify": lambda: [effnet.verify("b0", device="emulator", size=64) for _ in range(1000)],
    "profile": lambda: model.profile(duration=10000, copy_mib=1),
}}
timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
timer.start()
try:
    calls[{call!r}]()
except KeyboardInterrupt:
    print("interrupted", flush=True)
# Where a thread of a profile is left behind, it ends with the process.
os._exit(0)
"""


@pytest.mark.parametrize("call", ["classify", "stream", "run", "verify", "profile"])
def test_interrupts_are_noticed(script: Script, call: str) -> None:
    done = script(INTERRUPT.format(device="cpu", call=call), timeout=100)
    assert done.stdout == "interrupted\n", done


def test_this_thread_writes_what_another_one_reads(script: Script) -> None:
    """Where Python's lock were held while an image is read, nobody could write it."""
    done = script(
        """
import effnet, os, threading
model = effnet.load(weights, device="cpu", size=32)
os.mkfifo("pipe")
data = open(photo, "rb").read()
for images in ["pipe", ["pipe"]]:
    found = []
    reader = threading.Thread(target=lambda: found.append(model.predict(images)))
    reader.start()
    with open("pipe", "wb") as pipe:
        pipe.write(data)
    reader.join()
    assert (found[0] == model.predict(photo)).all()
print("well")
"""
    )
    assert done.stdout == "well\n", done


def test_an_image_that_never_comes_holds_nobody(script: Script) -> None:
    done = script(
        """
import effnet, os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
model = effnet.load(weights, device="cpu", size=32, decode_threads=2)
os.mkfifo("pipe")
stream = model.stream([photo, "pipe", photo], ahead=3)
next(stream)
stream.close()
del stream
threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    model.classify([photo, "pipe"])
except KeyboardInterrupt:
    print("interrupted")
assert model.classify(photo)
model.close()
del model
print("well")
"""
    )
    assert done.stdout == "interrupted\nwell\n" and done.returncode == 0, done


def test_a_process_ends_whatever_is_under_way(script: Script) -> None:
    done = script(
        """
import effnet, itertools, threading
model = effnet.load(weights, device="cpu", size=32)
stream = model.stream(itertools.repeat(photo))
next(stream)
def others():
    while True:
        model.classify([photo] * 4)
threading.Thread(target=others, daemon=True).start()
threading.Thread(target=lambda: list(stream), daemon=True).start()
for _ in range(20):
    model.classify(photo)
print("ends")
"""
    )
    assert done.stdout == "ends\n" and done.returncode == 0, done
