"""Hostile checkpoints: small files, and headers, that ask for far more than their tensors need.

Every container has its family: entries that inflate a thousandfold, one storage under many tensors,
lists that take many times their bytes in memory, names that are kept many times, references that
make work quadratic, links to one file. Each is refused, or read at the cost of its own bytes.
"""

import json
import struct
import tarfile
import zlib

MB = 1 << 20
# Refused, whatever the kind of the fault.
REFUSED = [1, 2]
HEADER_BYTES = 4_000_000


def lite0():
    """Names and shapes of Lite0's tensors, as timm has them, without the counters."""
    blocks = [  # repeats, kernel, stride, expansion, output channels
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    ]
    tensors = []

    def norm(name, channels):
        ends = ["weight", "bias", "running_mean", "running_var"]
        tensors.extend((f"{name}.{end}", [channels]) for end in ends)

    tensors.append(("conv_stem.weight", [32, 3, 3, 3]))
    norm("bn1", 32)
    c_in = 32
    for stage, (repeats, k, _, expansion, c_out) in enumerate(blocks):
        for block in range(repeats):
            at = f"blocks.{stage}.{block}"
            c_mid = c_in * expansion
            if expansion == 1:
                tensors.append((f"{at}.conv_dw.weight", [c_in, 1, k, k]))
                norm(f"{at}.bn1", c_in)
                tensors.append((f"{at}.conv_pw.weight", [c_out, c_in, 1, 1]))
                norm(f"{at}.bn2", c_out)
            else:
                tensors.append((f"{at}.conv_pw.weight", [c_mid, c_in, 1, 1]))
                norm(f"{at}.bn1", c_mid)
                tensors.append((f"{at}.conv_dw.weight", [c_mid, 1, k, k]))
                norm(f"{at}.bn2", c_mid)
                tensors.append((f"{at}.conv_pwl.weight", [c_out, c_mid, 1, 1]))
                norm(f"{at}.bn3", c_out)
            c_in = c_out
    tensors.append(("conv_head.weight", [1280, 320, 1, 1]))
    norm("bn2", 1280)
    tensors.extend([("classifier.weight", [1000, 1280]), ("classifier.bias", [1000])])
    return tensors


def elems(shape):
    product = 1
    for side in shape:
        product *= side
    return product


# Zip archives, entry by entry.


def zeros(size):
    """`size` zero bytes, deflated: blocks of a megabyte, which can stand one after another."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(MB)) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = packer.compress(bytes(size % MB)) + packer.flush()
    return block * (size // MB) + end


def deflated(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


class Zip:
    """An archive whose headers may say anything."""

    def __init__(self):
        self.file, self.directory, self.entries = bytearray(), bytearray(), 0

    def add(self, name, raw, size=None, crc=0, at=None):
        """`raw` as it stands; deflated, if a size is given. `at` is the place of another entry."""
        method, size = (0, len(raw)) if size is None else (8, size)
        name = name.encode()
        crc = zlib.crc32(raw) if method == 0 else crc
        fields = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0, crc, len(raw), size, len(name), 0)
        place = len(self.file) if at is None else at
        if at is None:
            self.file += b"PK\x03\x04" + fields + name + raw
        self.directory += b"PK\x01\x02" + struct.pack("<H", 20) + fields
        self.directory += struct.pack("<HHHII", 0, 0, 0, 0, place) + name
        self.entries += 1
        return place

    def bytes(self):
        count = min(self.entries, 0xFFFF)
        end = struct.pack("<HHHHIIH", 0, 0, count, count, len(self.directory), len(self.file), 0)
        return bytes(self.file + self.directory + b"PK\x05\x06" + end)


# Pickles.


def text(word):
    word = word.encode()
    return b"X" + struct.pack("<I", len(word)) + word


def number(value):
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def torch_tensor(key, numel, shape, start=0):
    strides, step = [], 1
    for side in reversed(shape):
        strides.insert(0, step)
        step *= side
    tuples = [b"(" + b"".join(map(number, each)) + b"t" for each in (shape, strides)]
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
    storage += number(numel) + b"tQ"
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return rebuild + storage + number(start) + tuples[0] + tuples[1] + b"\x89NtR"


def dict_of(items):
    return b"\x80\x02}(" + b"".join(text(name) + value for name, value in items) + b"u."


def torch_zip(pickle, storages=()):
    archive = Zip()
    archive.add("a/data.pkl", pickle)
    for key, raw, size in storages:
        archive.add(f"a/data/{key}", raw, size)
    return archive.bytes()


def shared(size, tensors, start=lambda i: 0):
    """All tensors in one deflated storage."""
    numel = size // 4
    views = [
        (name, torch_tensor("0", numel, shape, start(i)))
        for i, (name, shape) in enumerate(tensors)
    ]
    return torch_zip(dict_of(views), [("0", zeros(size), size)])


def torch_files():
    tensors = lite0()
    needed = sum(4 * elems(shape) for _, shape in tensors)
    for size in (1 << 30, 256 * MB, 64 * MB):
        yield f"shared_{size // MB}M.pth", shared(size, tensors), {}
    # Within the bound: inflated once.
    cost = {"rc": [0], "max_peak_mb": 100 + (needed * 2 + 32 * MB) // 10**6}
    yield "shared_32M.pth", shared(32 * MB, tensors), cost
    end = 8 * MB - max(elems(shape) for _, shape in tensors)
    yield "shared_at_the_end.pth", shared(32 * MB, tensors, lambda i: end), cost

    archive, raw = Zip(), zeros(1 << 30)
    views = [(n, torch_tensor(str(i), 1 << 28, shape)) for i, (n, shape) in enumerate(tensors)]
    archive.add("a/data.pkl", dict_of(views))
    at = archive.add("a/data/0", raw, 1 << 30)
    for i in range(1, len(tensors)):
        archive.add(f"a/data/{i}", raw, 1 << 30, at=at)
    yield "overlapping.pth", archive.bytes(), {}

    # A storage of its own for each tensor, with a counter that views all of it.
    size = 8 * MB
    views = [(n, torch_tensor(str(i), size // 4, s)) for i, (n, s) in enumerate(tensors)]
    views += [
        (f"bn{i}.num_batches_tracked", torch_tensor(str(i), size // 4, [size // 4]))
        for i in range(len(tensors))
    ]
    raw = zeros(size)
    storages = [(str(i), raw, size) for i in range(len(tensors))]
    yield "large_storages.pth", torch_zip(dict_of(views), storages), cost | {"rc": [0, 1, 2]}

    many = 3_900_000
    one = torch_tensor("0", 1, [1])
    axes = torch_tensor("0", 1, [1] * 32)
    module = b"cm\nC\n)R}(" + text("_parameters") + b"}" + text("_modules") + b"}ub"
    pickles = {
        "marks": b"(" * many,
        "stack": b"N" * many,
        "lists": b"]" * 1_000_000,
        "dicts": b"}" * 1_000_000,
        "tuples": b"N" + b"\x85" * many,
        "tuples_of_three": b"N" + b"NN\x87" * (many // 3),
        "integers": b"K\x01" * 1_000_000,
        "opaque": b"cm\nC\nq\x010" + b"h\x01)R" * 900_000,
        "tensors": b"]" + b"h\x01a" * 0 + one * 9000,
        "memo": b"}" + b"".join(b"r" + struct.pack("<I", i * 4093) for i in range(1 << 20)),
        "names": b"}(" + text("a") + axes + b"q\x01"
        + b"".join(text(f"{i:x}") + b"h\x01" for i in range(65_000)) + b"u.",
        "many_names": b"}(" + text("a") + axes + b"q\x01"
        + b"".join(text(f"{i:x}") + b"h\x01" for i in range(400_000)) + b"u.",
        "long_names": b"}(" + text("n" * 1000) + b"q\x02" + one + b"q\x01"
        + b"h\x02h\x01" * 1_000_000 + b"u.",
        "dicts_in_a_dict": b"}(" + text("k" * 200) + b"q\x01}" + b"h\x01}" * 900_000 + b"u.",
        "facts": b"}(" + text("v" * 4000) + b"q\x01N"
        + b"".join(text(f"{i:x}") + b"h\x01" for i in range(200_000)) + b"u.",
        "lists_of_facts": b"}(" + text("v" * 4000) + b"q\x01N"
        + b"".join(text(f"{i:x}") + b"](h\x01Ne" for i in range(100_000)) + b"u.",
        "children": module + b"q\x010" + text("x" * 1000) + b"q\x020"
        + b"cm\nC\n)R}(" + text("_parameters") + b"}" + text("_modules") + b"}("
        + b"h\x02h\x01" * 1_000_000 + b"uub.",
        "states": b"}q\x01(" + b"".join(text(f"{i:x}") + b"N" for i in range(4000))
        + b"u0cm\nC\nq\x020"
        + b"}(" + b"".join(text(f"{i:x}") + b"h\x02)Rh\x01b" for i in range(150_000)) + b"u.",
    }
    for name, pickle in pickles.items():
        pickle = b"\x80\x02" + pickle
        yield f"pickle_{name}.pth", torch_zip(pickle), {}
        yield f"pickle_{name}.pdparams", pickle, {}
    for name, size in (("16M", 16 * MB), ("60M", 60 * MB)):
        archive = Zip()
        pickle = b"\x80\x02" + b"(" * size
        archive.add("a/data.pkl", deflated(pickle), len(pickle))
        yield f"deflated_marks_{name}.pth", archive.bytes(), {}

    magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03."
    magic += b"\x80\x02}" + text("little_endian") + b"\x88s."
    legacy = magic + dict_of([("a", torch_tensor("0", 2**60, [4]))]) + b"\x80\x02]" + text("0")
    yield "legacy_2e60.pth", legacy + b"a." + struct.pack("<Q", 2**60) + bytes(64), {}
    keys = b"\x80\x02](" + b"".join(text(f"{i:x}") for i in range(300_000)) + b"e."
    yield "legacy_keys.pth", magic + dict_of([("a", one)]) + keys, {}

# safetensors.


def safetensors(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


def filled(item, start, end, size=HEADER_BYTES):
    """A header of `size` bytes: items between start and end."""
    parts, left, i = [], size - len(start) - len(end), 0
    while True:
        part = item(i)
        left -= len(part) + 1
        if left < 0:
            break
        parts.append(part)
        i += 1
    header = start + b",".join(parts) + end
    return safetensors(header + b" " * (size - len(header)))


def empty(name, shape="[0]", dtype="F32"):
    entry = f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,0]}}'
    return entry.encode()


def safetensors_files():
    effnet = b'{"__metadata__":{"effnet":"{\\"layout_version\\":1}"},'
    stem = b"{" + empty("conv_stem.weight") + b","
    headers = {
        "shape": (lambda i: b"0", b'{"a":{"dtype":"F32","shape":[', b'],"data_offsets":[0,0]}}'),
        "tensors": (lambda i: empty(f"{i:x}"), b"{", b"}"),
        "packed": (lambda i: empty(f"{i:x}"), effnet, b"}"),
        "same_tensor": (lambda i: empty("a"), b"{", b"}"),
        "axes": (lambda i: empty(f"{i:x}", json.dumps([0] * 32)), b"{", b"}"),
        "metadata": (lambda i: b'"%x":""' % i, b'{"__metadata__":{', b"}," + empty("a") + b"}"),
        "stem": (lambda i: empty(f"{i:x}"), stem, b"}"),
        "stems": (lambda i: empty(f"{i:x}.conv_stem.weight"), b"{", b"}"),
        "blocks": (lambda i: empty(f"blocks.{i}.0.x"), stem, b"}"),
        "long_name": (lambda i: b"." * 1000, b'{"', b'":' + empty("")[3:] + b"}"),
    }
    for name, (item, start, end) in headers.items():
        # The bound is 100 MB above what the program itself has.
        yield f"header_{name}.safetensors", filled(item, start, end), {"max_peak_mb": 115}
    yield "header_nested.safetensors", safetensors(b'{"a":' + b"[" * (HEADER_BYTES - 5)), {}
    long = {"says": "expected at most 4000000"}
    for name in ("shape", "tensors", "metadata"):
        item, start, end = headers[name]
        yield f"long_{name}.safetensors", filled(item, start, end, 5 * HEADER_BYTES), long
    yield "length.safetensors", struct.pack("<Q", 2**64 - 1) + b"{}" * 8, {}


# NumPy.


def npy(shape, padding=0):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)!r}, }}".encode()
    header += b" " * padding + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header


def npz_files():
    tensors = lite0()
    archive, one = Zip(), deflated(npy([1 << 28]))[:-2] + zeros(1 << 30)
    at = archive.add("t0.npy", one, 1 << 30)
    for i in range(1, 4000):
        archive.add(f"t{i}.npy", one, 1 << 30, at=at)
    yield "overlapping.npz", archive.bytes(), {}
    archive = Zip()
    head = npy([1 << 26])
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    for name, _ in tensors[:16]:
        archive.add(f"{name}.npy", start + zeros(1 << 28), len(head) + (1 << 28))
    yield "bombs.npz", archive.bytes(), {}
    archive, data = Zip(), npy([0], 9000)
    raw, crc = deflated(data), zlib.crc32(data)
    for i in range(60_000):
        archive.add(f"{i}.npy", raw, len(data), crc)
    yield "headers.npz", archive.bytes(), {}
    archive = Zip()
    for i in range(60_000):
        archive.add(f"{i}.npy", npy([0]))
    yield "entries.npz", archive.bytes(), {}


# Wheels.


def wheel_files():
    for size in (4095 * MB, 200 * MB):
        archive = Zip()
        archive.add("p/m.pth", zeros(size), size)
        name = f"bomb{size // MB}-1.0-py3-none-any.whl"
        yield name, archive.bytes(), {"says": "expected at most", "max_file_mb": 40}
    archive = Zip()
    archive.add("p/m.pth", zeros(100 * MB), 20 * MB)
    yield "lying-1.0-py3-none-any.whl", archive.bytes(), {"max_file_mb": 40}
    archive = Zip()
    for i in range(60_000):
        archive.add(f"p/{i}.pth", b"")
    yield "members-1.0-py3-none-any.whl", archive.bytes(), {}
    archive = Zip()
    at = archive.add("p/m.pth", b"x")
    archive.add("p/m.py", b"x", at=at)
    yield "overlapping-1.0-py3-none-any.whl", archive.bytes(), {"says": "overlap"}


# Protocol buffers, and what holds them.


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx(*graph):
    return field(1, 8) + field(7, b"".join(graph)) + field(8, field(2, 13))


def initializer(name, dims=b"\0", rest=b""):
    return field(5, field(1, dims) + field(2, 1) + field(8, name) + rest)


def node(op, inputs, outputs, rest=b""):
    parts = [field(1, each) for each in inputs] + [field(2, each) for each in outputs]
    return field(1, b"".join(parts) + field(4, op) + rest)


def external(location):
    entry = field(13, field(1, "location") + field(2, location))
    return initializer(location, b"\1", entry + field(14, 1))


def onnx_files(folder):
    x = field(11, field(1, "x"))
    long = "n" * MB
    chain = [node("Reshape", ["a", "s"], ["0"])]
    chain += [node("Reshape", [str(i - 1), "s"], [str(i)]) for i in range(1, 200_000)]
    of_name = [initializer(long), initializer("s"), node("Reshape", [long, "s"], ["0"])]
    yield "reshapes.onnx", onnx(x, initializer("a"), initializer("s"), *chain), {}
    yield "reshapes_of_a_long_name.onnx", onnx(x, *of_name, *chain[1:3000]), {}
    yield "outputs.onnx", onnx(x, node("o" * MB, [], map(str, range(4000)))), {}
    yield "many_outputs.onnx", onnx(x, node("o", [], map(str, range(500_000)))), {}
    yield "many_inputs.onnx", onnx(x, node("Add", [""] * 2_000_000, ["y"])), {}
    yield "dims.onnx", onnx(x, initializer("a", b"\1" * 4 * MB)), {}
    sides = field(2, field(1, field(2, field(1, b"") * 2 * MB)))
    yield "sides.onnx", onnx(field(11, field(1, "x") + sides)), {}
    yield "values.onnx", onnx(x * 400_000), {}
    yield "initializers.onnx", onnx(x, *(initializer(f"{i:x}") for i in range(300_000))), {}
    attribute = field(5, field(1, "axes") + field(8, b"\1" * 4 * MB))
    yield "attribute.onnx", onnx(x, node("ReduceMean", ["x"], ["y"], attribute)), {}
    attributes = b"".join(field(5, field(1, f"{i:x}")) for i in range(400_000))
    yield "attributes.onnx", onnx(x, node("Conv", ["x"], ["y"], attributes)), {}
    names = [node("Identity", ["x"], [f"{i:x}"]) for i in range(300_000)]
    yield "names.onnx", onnx(x, *names), {}
    properties = b"".join(field(14, field(1, f"{i:x}")) for i in range(400_000))
    yield "properties.onnx", onnx(x) + properties, {}

    # One file beside the model under many names: it is mapped and hashed once.
    (folder / "data").write_bytes(bytes(32 * MB))
    spellings = ["./" * i + "data" for i in range(1, 500)]
    yield "spellings.onnx", onnx(x, *map(external, spellings)), {"max_peak_mb": 150}


def paddle_files(folder):
    pir = b'{"base_code":{"magic":"pir","trainable":true,"version":1},"program":{"regions":'
    body = b'[{"blocks":[{"ops":['
    bodies = {
        "lists": b"[" + b"[]," * 1_300_000 + b"[]]}",
        "numbers": b"[" + b"0," * 1_900_000 + b"0]}",
        "nested": b"[" * 3_900_000,
        "inputs": body + b'{"#":"p","A":["' + b"n" * MB + b'"],"O":{"%":1,"TT":{"D":[0,[0]]}}},'
        b'{"#":"1.add","I":[' + b'{"%":1},' * 60_000 + b'{"%":1}],"O":[]}]}]}]}}',
        "objects": body + b'{"":0},' * 500_000 + b"{}]}]}]}}",
        "ops": body + b"{}," * 60_000 + b"{}]}]}]}}",
    }
    for name, program in bodies.items():
        (folder / f"pir_{name}.pdiparams").write_bytes(bytes(32))
        yield f"pir_{name}.json", pir + program, {}
    root = field(1, 0) + b"\x10" + varint(2**64 - 1)
    variable = field(3, field(1, "a") + field(2, field(3, field(1, field(2, b"\1" * 3 * MB)))))
    relu6 = field(4, field(3, "relu6") + field(2, field(1, "Out") + field(2, "y")))
    names = (field(1, f"{i:x}") for i in range(300_000))
    blocks = {
        "sides": variable + field(3, field(1, "a") + field(3, 1)),
        "operations": relu6 * 150_000,
        "variables": b"".join(field(3, name + field(3, 1)) for name in names),
    }
    for name, block in blocks.items():
        (folder / f"block_{name}.pdiparams").write_bytes(bytes(32))
        yield f"block_{name}.pdmodel", field(1, root + block), {}

    # One text under many arrays.
    words = "\u00ff" * 400_000
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(K\0tC\1b\x87R(K\1"
    array += b"(J" + struct.pack("<i", 100_000) + b"tcnumpy\ndtype\n"
    array += text("f4") + b"K\0K\1\x87R(K\3"
    array += text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89"
    array += b"c_codecs\nencode\n" + b"h\1" + text("latin1") + b"\x86Rtb"
    arrays = text(words) + b"q\x010" + b"}("
    arrays += b"".join(text(name) + array for name, _ in lite0())
    yield "latin1.pdparams", b"\x80\x02" + arrays + b"u.", {}

    flood, header = bytearray(), tarfile.TarInfo()
    for i in range(60_000):
        header.name = f"{i}.pdiparams"
        flood += header.tobuf(tarfile.USTAR_FORMAT)
    yield "parameters.tar", bytes(flood), {}
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield "parameters.tar.gz", packed.compress(bytes(flood)) + packed.flush(), {"max_peak_mb": 130}
    header.name, header.size = "m.pdiparams", 2 << 30
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = header.tobuf(tarfile.USTAR_FORMAT)
    start = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + start + zeros(2 << 30) + bytes(8)
    yield "bomb.tar.gz", gzip, {"says": "unpacked archive"}


def shard_files(folder):
    yield "m-000001-of-999999.safetensors", b"x", {"says": "at most 512"}
    places = ",".join(f'"{i:x}":"{i:x}"' for i in range(200_000))
    index = f'{{"weight_map":{{{places}}}}}'.encode()
    yield "shards.safetensors.index.json", index[: 4 * MB], {}
    places = places[: 3 * MB].rpartition(",")[0]
    index = f'{{"weight_map":{{{places}}}}}'.encode()
    yield "many.safetensors.index.json", index, {"says": "shards of a checkpoint"}
    header = filled(lambda i: b'"%x":""' % i, b'{"__metadata__":{', b"}," + empty("a") + b"}")
    first = folder / "links-00001-of-00500.safetensors"
    for i in range(2, 501):
        link = folder / f"links-{i:05}-of-00500.safetensors"
        link.symlink_to(first.name)
    yield first.name, header, {"says": "a link to another shard"}


def make(folder):
    cases = []
    families = {
        "torch": torch_files(),
        "safetensors": safetensors_files(),
        "npz": npz_files(),
        "wheel": wheel_files(),
    }
    for name, family in [("onnx", onnx_files), ("paddle", paddle_files), ("shards", shard_files)]:
        (folder / name).mkdir()
        families[name] = family(folder / name)
    for name, files in families.items():
        (folder / name).mkdir(exist_ok=True)
        for file_name, data, bounds in files:
            path = folder / name / file_name
            path.write_bytes(data)
            case = {"file": str(path), "args": ["import", "{}", "-o", "{out}"], "rc": REFUSED}
            cases.append(case | bounds)
            if name in ("torch", "onnx", "paddle") and "says" not in bounds and "rc" not in bounds:
                lists = case | {"args": ["import", "--list", "{}"], "rc": [0, 1, 2]}
                cases.append(lists | bounds | {"name": f"{name}/{file_name} --list"})
            if name == "safetensors":
                info = case | {"args": ["info", "{}"], "name": f"{name}/{file_name} info"}
                cases.append(info | bounds)
    return cases
