"""Text files: labels, lists of images, config.json, saved measurements, and PTX for the emulator.

A list costs in proportion to its images, of which each takes some 200 bytes; labels, configurations
and measurements are 4 MiB at most, lists in one JSON value 64 MiB, their lines 1 MiB, PTX 8 MiB. A
byte of JSON may take 32 bytes of memory, one of PTX 80, and an instruction of PTX 160.
"""

import struct
import zlib

MIB = 1 << 20

# Texts that are lists of images, which are not there.
OF_IMAGES = ["keys.json", "columns.csv", "utf16.txt", "latin.txt"]


def png():
    """A grey picture of one pixel."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def filled(start, unit, end, size):
    """A text of at most `size` bytes, most of which is `unit`, again and again."""
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


def texts(size):
    """Texts that look like JSON or a list, of about `size` bytes, by file name."""
    return {
        "deep.json": filled("", "[", "", size),
        "deep_objects.json": filled("", '{"a":', "", size),
        "zeros.json": filled("[", "0,", "0]", size),
        "empty_lists.json": filled("[", "[],", "[]]", size),
        "lists_in_object.json": filled('{"id2label":[', "[],", "[]]}", size),
        "empty_objects.json": filled("{", '"a":{},', '"b":{}}', size),
        "keys.json": "{" + ",".join(f'"{n}":0' for n in range(size // 11)) + "}",
        "one_line.txt": "a" * size,
        "newlines.txt": "\n" * size,
        "words.txt": filled("", "a ", "", size),
        "commas.txt": "," * size,
        "quote.csv": filled('"', "a\n", "", size),
        "quoted_fields.csv": filled("", '"\n",', "", size),
        "comments.csv": filled("", "#\n", "", size),
        "columns.csv": "path,label" + ",x" * 10**5 + "\n" + filled("", "a,0\n", "", size),
        "numbered.txt": "".join(f"{n} a{n}\n" for n in range(size // 16)),
        "nul.txt": filled("", "a,0\n", "\0", size),
        "utf16.txt": b"\xff\xfe" + filled("", "a,0\n", "", size).encode("utf-16-le"),
        "latin.txt": filled("", "\xe9,0\n", "", size).encode("latin-1"),
    }


def ptx():
    """PTX by file name."""
    head = ".version 8.0\n.target sm_80\n.address_size 64\n"
    kernel = head + ".visible .entry k(.param .u64 p) {\n"
    most = 8 * MIB
    doubled = "".join(
        f".func f{n}() {{ call f{n - 1}; call f{n - 1}; ret; }}\n" for n in range(1, 40)
    )
    return {
        "zeros.ptx": b"\0" * most,
        "long.ptx": filled(head, " ", "", 9 * MIB),
        "braces.ptx": filled(kernel, "{", "", most),
        "parentheses.ptx": filled(kernel + "mov.u32 %r0, ", "(", "", most),
        "minus.ptx": filled(head + ".global .u32 x = ", "-", "1;\n", most),
        "comment.ptx": filled(head, "/*", "", most),
        "slashes.ptx": filled(head, "/", "", most),
        "huge_array.ptx": head + ".global .b8 x[4611686018427387904];\n",
        "arrays.ptx": head + "".join(f".global .b8 x{n}[1000000000];\n" for n in range(1000)),
        "array_of_arrays.ptx": filled(head + ".global .b8 x", "[65536]", ";\n", most),
        "shared.ptx": kernel + ".shared .b8 s[1000000000];\nret;\n}\n",
        "registers.ptx": kernel + ".reg .b64 %r<4294967295>;\nret;\n}\n",
        "many_registers.ptx": filled(kernel, ".reg .b64 %a<1000000>;\n", "ret;\n}\n", most),
        "string.ptx": filled(head + '.file 1 "', "a", "", most),
        "doubled_calls.ptx": head
        + ".func f0() { ret; }\n"
        + doubled
        + ".entry k() { call f39; ret; }\n",
        "kernels_of_calls.ptx": head
        + filled(".func f() {", "ret;\n", "}\n", MIB)
        + "".join(f".entry k{n}() {{ call f; ret; }}\n" for n in range(10**4)),
        "kernels.ptx": head + "".join(f".entry k{n}() {{ ret; }}\n" for n in range(2 * 10**5)),
        "labels.ptx": kernel + "".join(f"l{n}:\n" for n in range(8 * 10**5)) + "ret;\n}\n",
        "returns.ptx": filled(kernel, "ret;\n", "}\n", most),
        "symbols.ptx": head
        + "".join(f".global .u32 x{n};\n" for n in range(10**5))
        + f".global .u64 y[] = {{ {', '.join(f'x{n}' for n in range(10**5))} }};\n"
        + ".entry k() { .reg .b64 %r<2>;\n"
        + "".join(f"mov.u64 %r0, x{n};\n" for n in range(10**5))
        + "ret; }\n",
    }


def make(folder):
    cases = []
    picture = folder / "a.png"
    picture.write_bytes(png())

    def case(name, content, args, rc=2, **rest):
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        args = [str(picture) if argument == "PICTURE" else argument for argument in args.split()]
        cases.append({"file": file, "args": args, "rc": rc, **rest})

    classify = "classify --quiet --size 32 --weights {weights} --labels {} PICTURE"
    evaluate = "eval --quiet --size 32 --weights {weights} {}"
    against = "bench --quiet --against {} lite0 --device cpu"
    for name, text in texts(4 * MIB).items():
        case(f"labels/{name}", text, classify, max_peak_mb=200)
        if name not in OF_IMAGES:
            case(f"lists/{name}", text, evaluate, max_peak_mb=200)
    # Each image is looked for, with one ending after another, and named in an error: a present one
    # would cost more than the tenth of a millisecond and the 200 bytes that are allowed for it.
    images = MIB // 8 // 4
    for name in OF_IMAGES:
        costs = {"max_user_s": 2 + images * 1e-4, "max_said_mb": images * 200 / 10**6}
        case(f"lists/{name}", texts(MIB // 8)[name], evaluate, rc=[1, 2], **costs)
    long = texts(60 * MIB)
    for name in ["zeros.json", "newlines.txt"]:
        case(f"long_labels/{name}", long[name], classify, max_peak_mb=40)
    for name in ["zeros.json", "commas.txt", "quoted_fields.csv", "comments.csv"]:
        case(f"long_lists/{name}", long[name], evaluate, max_peak_mb=60 * 32, max_user_s=10)
    case("long_lists/one_value.json", filled("[", "0,", "0]", 65 * MIB), evaluate)
    for name in ["deep.json", "zeros.json", "empty_objects.json", "keys.json", "one_line.txt"]:
        case(f"against/{name}", texts(4 * MIB)[name], against, max_peak_mb=200)
    case("against/long.json", filled("[", "0,", "0]", 5 * MIB), against, max_peak_mb=40)
    for name, text in ptx().items():
        # A small text can have the most instructions that there may be, of 160 bytes.
        peak = 80 * len(text) // 10**6 + 120
        case(f"ptx/{name}", text, "emulate --list {}", rc=[0, 2], max_peak_mb=peak, max_user_s=4)
    return cases
