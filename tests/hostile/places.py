"""Folders, links and pipes in the places of files: none is waited for, and none costs more than
its entries."""

import os
import struct
import zlib

# Folders below each other; Python's own clean-up takes no more than a thousand.
LEVELS = 900
# Folders with links to each other.
WEB = 40
# Pipes with the names of temporary files.
PIPES = 500


def png(side):
    """A grey picture."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(range(side)) for _ in range(side)))
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def deep(folder):
    """An image below a thousand folders. Each of them, resolved from the root, is cubic work."""
    path = folder.joinpath(*["d"] * LEVELS)
    path.mkdir(parents=True)
    (path / "image.png").write_bytes(png(64))
    (path / "loop").symlink_to(folder)


def web(folder):
    """One image, and folders of links to all others: as many paths as there are orders of them."""
    for i in range(WEB):
        (folder / f"{i}").mkdir(parents=True)
        for j in range(WEB):
            (folder / f"{i}" / f"to-{j}").symlink_to(f"../{j}")
    (folder / "image.png").write_bytes(png(64))


def make(folder):
    classify = ["classify", "{}", "--weights", "{weights}", "--device", "cpu", "--size", "64"]
    deep(folder / "deep")
    web(folder / "web")
    image = folder / "image.png"
    image.write_bytes(png(64))
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    listed = folder / "list.csv"
    listed.write_text("image.png,1\npipe,2\n/dev/zero,3\n")
    evaluate = ["eval", str(folder), "--list", "{}", "--weights", "{weights}", "--device", "cpu"]
    loop = folder / "loop.onnx"
    loop.symlink_to("loop.onnx")
    export = ["export", "onnx", "--weights", "{weights}", "--size", "64", "--json", "-o"]
    outputs = folder / "outputs"
    outputs.mkdir()
    for i in range(PIPES):
        os.mkfifo(outputs / f".effnet-pipe{i:04}.tmp")
        (outputs / f".effnet-link{i:04}.tmp").symlink_to("/dev/zero")
    return [
        {"file": folder / "deep", "args": classify, "rc": 0},
        {"file": folder / "web", "args": classify, "rc": 0},
        {
            "file": listed,
            "args": [*evaluate, "--size", "64"],
            "rc": 1,
            "says": "expected a file, as a list names",
        },
        {
            "file": pipe,
            "name": "pipe as weights",
            "args": ["classify", str(image), "--weights", "{}"],
            "rc": 2,
            "says": "pipe",
        },
        {
            "file": pipe,
            "name": "pipe as a checkpoint",
            "args": ["import", "{}", "-o", "{out}"],
            "rc": 2,
            "says": "pipe",
        },
        {"file": loop, "args": [*export, "{}"], "rc": 2, "says": "symbolic links"},
        {"file": outputs, "args": [*export, "{}/network.onnx"], "rc": 0},
    ]
