"""Odd images, written by Pillow or byte by byte, and what Pillow makes of them.

    python images.py                   writes tests/fixtures/images/odd and its expected.json
    python images.py check EFFNET [FOLDER]
        classifies each image of FOLDER (else of the fixtures) with the program, and a PNG of what
        Pillow makes of it: the same logits to the last digit, wherever the program decodes

Pinned: pillow and numpy as in requirements.txt; `check` needs timm and torch too.

expected.json has an entry per file: Pillow's size and the SHA-256 of its RGB bytes, and the kinds of
warnings; or the words of the refusal. `differs` says why the program's pixels or its refusal are not
Pillow's.
"""

import hashlib
import io
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import numpy as np
from PIL import Image

ODD = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "images" / "odd"
H, W = 24, 29
Y, X = np.mgrid[0:H, 0:W]


def scene(h, w):
    """Smooth colours and a little noise: [h, w, 3], u8."""
    y, x = np.mgrid[0:h, 0:w]
    noise = np.random.default_rng(3).integers(-8, 9, (h, w, 3))
    waves = np.stack(
        [
            128 + 90 * np.sin(x / 7) * np.cos(y / 9),
            120 + 80 * np.cos(x / 5 + y / 11),
            100 + 70 * np.sin((x + y) / 13),
        ],
        -1,
    )
    return np.clip(waves + noise, 0, 255).astype(np.uint8)


RGB = scene(H, W)
GREY = RGB[..., 1]
RGBA = np.concatenate([RGB, (X * 8 % 256).astype(np.uint8)[..., None]], -1)
GREY16 = (RGB[..., 0].astype(np.uint16) << 8) | RGB[..., 1]
RGB16 = (RGB.astype(np.uint16) << 8) | RGB[::-1]
PALETTE = Image.fromarray(RGB).quantize(31)


# Files, and what is expected of them: name to bytes, name to the refusal's words, name to the kinds
# of warnings, name to a reason.
FILES, REFUSED, WARNED, DIFFERS = {}, {}, {}, {}


def add(name, data, refused=None, warned=(), differs=None):
    FILES[name] = data
    if refused:
        REFUSED[name] = refused
    WARNED[name] = list(warned)
    if differs:
        DIFFERS[name] = differs


def saved(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


# TIFF.

TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def tiff(chunks, tags, end="<", big=False):
    """Strips, or tiles if there is a tag TileWidth, behind a header; then the directory."""
    offset, long = (16, "Q") if big else (8, "I")
    tile = 322 in tags
    tags, offsets = dict(tags), []
    for chunk in chunks:
        offsets.append(offset)
        offset += len(chunk)
    data = b"".join(chunks)
    data += bytes(offset % 2)
    offset += offset % 2
    tags[324 if tile else 273] = (4, offsets)
    tags[325 if tile else 279] = (4, [len(chunk) for chunk in chunks])
    entries, behind, inline = b"", b"", 8 if big else 4
    for tag, (kind, values) in sorted(tags.items()):
        raw = b"".join(struct.pack(end + TYPES[kind], value) for value in values)
        entries += struct.pack(end + "HH" + long, tag, kind, len(values))
        if len(raw) <= inline:
            entries += raw.ljust(inline, b"\0")
        else:
            entries += struct.pack(end + long, offset + len(behind))
            behind += raw + bytes(len(raw) % 2)
    directory = offset + len(behind)
    order = b"II" if end == "<" else b"MM"
    if big:
        head = order + struct.pack(end + "HHHQ", 43, 8, 0, directory)
    else:
        head = order + struct.pack(end + "HI", 42, directory)
    count = struct.pack(end + ("Q" if big else "H"), len(tags))
    return head + data + behind + count + entries + bytes(8 if big else 4)


def tags(bits, photometric, samples=1, **more):
    found = {
        256: (3, [W]), 257: (3, [H]), 258: (3, [bits] * samples), 259: (3, [1]),
        262: (3, [photometric]), 277: (3, [samples]), 278: (3, [H]),
    }  # fmt: skip
    names = dict(format=339, planar=284, extra=338, order=266, compression=259, predictor=317)
    found.update({names[name]: (3, value) for name, value in more.items()})
    return found


def packed(levels, bits):
    rows = ("".join(format(int(level), f"0{bits}b") for level in row) for row in levels)
    rows = (row + "0" * (-len(row) % 8) for row in rows)
    return b"".join(bytes(int(row[i : i + 8], 2) for i in range(0, len(row), 8)) for row in rows)


def tiles(levels, side=16):
    down, across = -(-H // side), -(-W // side)
    whole = np.zeros((down * side, across * side) + levels.shape[2:], levels.dtype)
    whole[:H, :W] = levels
    return [
        whole[y * side : (y + 1) * side, x * side : (x + 1) * side].tobytes()
        for y in range(down)
        for x in range(across)
    ]


def tiled(levels_tags):
    found = {**levels_tags, 322: (3, [16]), 323: (3, [16])}
    del found[278]
    return found


def colours(count, depth=257):
    levels = np.arange(count)
    return (3, [int(v) for c in range(3) for v in (levels * (c * 37 + 11) % 256) * depth])


def tiffs():
    image, grey = Image.fromarray(RGB), Image.fromarray(GREY)
    clip = ["ClippedGrey"]
    for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        short = name.removeprefix("tiff_").removeprefix("adobe_")
        add(f"rgb-{short}.tiff", saved(image, "TIFF", compression=name))
        add(f"grey-{short}.tiff", saved(grey, "TIFF", compression=name))
    add("cmyk-jpeg.tiff", saved(Image.fromarray(RGBA, "CMYK"), "TIFF", compression="jpeg"))
    add("palette-lzw.tiff", saved(PALETTE, "TIFF", compression="tiff_lzw"))
    add("fax-group4.tiff", saved(grey.convert("1"), "TIFF", compression="group4"))
    for compression, words in (
        ("group3", "compressed with CCITT group 3"),
        ("tiff_ccitt", "compressed with CCITT Huffman run lengths"),
    ):
        data = saved(grey.convert("1"), "TIFF", compression=compression)
        add(f"fax-{compression.removeprefix('tiff_')}.tiff", data, words)
    add("rgb-zstd.tiff", saved(image, "TIFF", compression="zstd"), "compressed with Zstandard")
    add("rgb-lzma.tiff", saved(image, "TIFF", compression="lzma"), "compressed with LZMA")
    add("ycbcr.tiff", saved(image.convert("YCbCr"), "TIFF"), "YCbCr without JPEG")
    add("lab.tiff", saved(image.convert("LAB"), "TIFF"), "CIE L*a*b*")
    add("pages.tiff", saved(image, "TIFF", save_all=True, append_images=[grey]))
    for end, name in (("<", "le"), (">", "be")):
        for bits in (1, 2, 4):
            levels = packed(GREY >> (8 - bits), bits)
            add(f"grey{bits}-{name}.tiff", tiff([levels], tags(bits, 1), end))
            add(f"white-is-zero{bits}-{name}.tiff", tiff([levels], tags(bits, 0), end))
        bytes_of = lambda levels, kind: [levels.astype(end + kind).tobytes()]
        add(f"grey16-{name}.tiff", tiff(bytes_of(GREY16, "u2"), tags(16, 1), end), warned=clip)
        signed = GREY16.astype(np.int32) - 30000
        data = tiff(bytes_of(signed, "i2"), tags(16, 1, format=[2]), end)
        add(f"signed16-{name}.tiff", data, warned=clip)
        data = tiff(bytes_of(GREY16 / 257, "f4"), tags(32, 1, format=[3]), end)
        add(f"float32-{name}.tiff", data)
        add(f"rgb16-{name}.tiff", tiff(bytes_of(RGB16, "u2"), tags(16, 2, 3), end))
    data = tiff([packed(GREY16 >> 4, 12)], tags(12, 1))
    add("grey12.tiff", data, "1 unsigned 12-bit sample a pixel, grey")
    add("grey32.tiff", tiff([GREY16.astype("<u4").tobytes()], tags(32, 1)), warned=clip)
    data = tiff([GREY16.astype("<u2").tobytes()], tags(16, 0))
    add("white-is-zero16.tiff", data, "1 unsigned 16-bit sample a pixel, grey with white as zero")
    data = tiff([(GREY16 / 257).astype("<f2").tobytes()], tags(16, 1, format=[3]))
    add("float16.tiff", data, "1 float 16-bit sample a pixel, grey")
    data = tiff([(RGB / 255).astype("<f4").tobytes()], tags(32, 2, 3, format=[3] * 3))
    add("rgb-float.tiff", data, "3 float 32-bit samples a pixel, RGB")
    add("rgb4.tiff", tiff([packed((RGB >> 4).reshape(H, -1), 4)], tags(4, 2, 3)), "3 unsigned 4-bit")
    add("mask.tiff", tiff([packed(GREY >> 7, 1)], tags(1, 4)), "transparency mask")
    add("white-is-zero8.tiff", tiff([GREY.tobytes()], tags(8, 0)))
    for bits in (1, 2, 4, 8):
        found = {**tags(bits, 3), 320: colours(1 << bits)}
        add(f"palette{bits}.tiff", tiff([packed(GREY >> (8 - bits), bits)], found))
    add("palette-tiles.tiff", tiff(tiles(GREY), tiled({**tags(8, 3), 320: colours(256)}), ">"))
    planes = [RGB[..., c].tobytes() for c in range(3)]
    add("planes.tiff", tiff(planes, tags(8, 2, 3, planar=[2])))
    add("big.tiff", tiff([RGB.tobytes()], tags(8, 2, 3), big=True))
    reason = "Pillow refuses BigTIFF of this byte order"
    add("big-be.tiff", tiff([RGB.tobytes()], tags(8, 2, 3), ">", big=True), differs=reason)
    add("tiles.tiff", tiff(tiles(RGB), tiled(tags(8, 2, 3))))
    plane_tiles = [tile for c in range(3) for tile in tiles(RGB[..., c])]
    add("planes-tiles.tiff", tiff(plane_tiles, tiled(tags(8, 2, 3, planar=[2]))))
    strips = [RGB[y : y + 7].tobytes() for y in range(0, H, 7)]
    add("strips.tiff", tiff(strips, {**tags(8, 2, 3), 278: (3, [7])}))
    for kind, name in ((0, "unnamed"), (1, "premultiplied"), (2, "alpha")):
        add(f"rgb-{name}.tiff", tiff([RGBA.tobytes()], tags(8, 2, 4, extra=[kind])))
    add("grey-alpha.tiff", tiff([RGBA[..., 2:].tobytes()], tags(8, 1, 2, extra=[2])))
    add("cmyk.tiff", tiff([RGBA.tobytes()], tags(8, 5, 4)))
    add("cmyk16.tiff", tiff([(RGBA.astype("<u2") * 257).tobytes()], tags(16, 5, 4)))
    ink = [RGBA[..., c].tobytes() for c in range(4)]
    add("cmyk-planes.tiff", tiff(ink, tags(8, 5, 4, planar=[2])))
    turned = bytes(int(format(byte, "08b")[::-1], 2) for byte in packed(GREY >> 4, 4))
    add("bits-reversed.tiff", tiff([turned], tags(4, 1, order=[2])))
    steps = RGB.copy()
    steps[:, 1:] -= RGB[:, :-1]
    found = tags(8, 2, 3, predictor=[2], compression=[8])
    add("predictor.tiff", tiff([zlib.compress(steps.tobytes())], found))
    add("short.tiff", tiff([RGB.tobytes()[:900]], tags(8, 2, 3)), "too few bytes")


# GIF, PNG, BMP, WebP.


def gif(screen, frame, transparent=None, local=False, table=True):
    """One frame at left, top, width, height; codes of 6 bits, with clear codes between them."""
    levels = np.resize(np.asarray(PALETTE.getpalette()[:93], np.uint8), 96)
    out = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x84 if table else 0, 3, 0)
    out += levels.tobytes() if table else b""
    if transparent is not None:
        out += bytes([0x21, 0xF9, 4, 1, 0, 0, transparent, 0])
    out += b"\x21\xfe\x03abc\0\x2c" + struct.pack("<HHHHB", *frame, 0x84 if local else 0)
    out += (255 - levels).tobytes() if local else b""
    codes = []
    for i, index in enumerate(np.asarray(PALETTE)[: frame[3], : frame[2]].ravel()):
        codes += [32] * (i % 25 == 0) + [int(index) % 32]
    bits = [code >> i & 1 for code in codes + [33] for i in range(6)]
    data = bytes(sum(b << i for i, b in enumerate(bits[j : j + 8])) for j in range(0, len(bits), 8))
    blocks = (data[i : i + 255] for i in range(0, len(data), 255))
    return out + b"\x05" + b"".join(bytes([len(b)]) + b for b in blocks) + b"\0;"


def png(levels, bits, kind, more=b""):
    chunk = lambda name, data: (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    )
    raw = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in levels)
    head = struct.pack(">IIBBBBB", W, H, bits, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", head)] + ([chunk(b"tRNS", more)] if more else [])
    parts += [chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def bmp(height, bits, compression, data, behind=b"", colours=0):
    """`behind` stands between header and pixels: masks, or a palette."""
    head = struct.pack("<IiiHHIIiiII", 40, W, height, 1, bits, compression, len(data), 0, 0, colours, 0)
    offset = 14 + len(head) + len(behind)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + head + behind + data


def rows(levels):
    return b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in levels)


def others():
    whole, inset = (0, 0, W, H), (4, 5, 20, 12)
    add("whole-transparent.gif", gif((W, H), whole, 7))
    add("inset.gif", gif((W, H), inset))
    add("inset-transparent.gif", gif((W, H), inset, 7))
    add("inset-local.gif", gif((W, H), inset, 7, local=True))
    add("only-local.gif", gif((W, H), inset, local=True, table=False))
    add("band.gif", gif((W, H), (0, 3, W, 12), 9))
    add("overhang.gif", gif((20, 20), (3, 4, 26, 20), 2))
    add("no-palette.gif", gif((W, H), inset, table=False), "no color table")
    add("interlaced.gif", saved(PALETTE, "GIF", interlace=1))
    clip = ["ClippedGrey"]
    add("grey16.png", png(GREY16, 16, 0), warned=clip)
    add("grey16-transparent.png", png(GREY16, 16, 0, struct.pack(">H", 300)), warned=clip)
    add("grey16-dark.png", png(GREY16 >> 8, 16, 0))
    add("grey16-alpha.png", png(np.stack([GREY16, GREY16[::-1]], -1), 16, 4))
    add("rgb16.png", png(RGB16, 16, 2))
    add("palette-alphas.png", saved(PALETTE, "PNG", transparency=bytes([0, 50, 100] + [255] * 28)))
    flipped = Image.fromarray(RGB[::-1].copy())
    add("moving.png", saved(Image.fromarray(RGB), "PNG", save_all=True, append_images=[flipped]))
    moving = saved(Image.fromarray(RGB), "WEBP", save_all=True, append_images=[flipped], lossless=True)
    add("moving.webp", moving)
    bgr = RGB[..., ::-1]
    add("top-down.bmp", bmp(-H, 24, 0, rows(bgr)))
    five = RGB.astype(np.uint16) >> 3
    narrow = (five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]).astype("<u2")
    add("555.bmp", bmp(H, 16, 0, rows(narrow[::-1])))
    narrow = (five[..., 0] << 11 | RGB[..., 1].astype(np.uint16) >> 2 << 5 | five[..., 2]).astype("<u2")
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    add("565.bmp", bmp(H, 16, 3, rows(narrow[::-1]), masks))
    add("32.bmp", bmp(H, 32, 0, rows(np.concatenate([bgr, RGBA[..., 3:]], -1)[::-1])))
    table = bytes(b for i in range(256) for b in (i, 255 - i, i * 7 % 256, 0))
    runs = b"".join(b"".join(bytes([1, v]) for v in row) + b"\0\0" for row in GREY[::-1]) + b"\0\1"
    add("runs.bmp", bmp(H, 8, 1, runs, table))


# JPEGs with faults.


def jpegs():
    # Large enough that one segment is no large part of it.
    image = Image.fromarray(scene(48, 56))
    grey = image.convert("L")
    kinds = {
        "plain": saved(image, "JPEG", quality=85),
        "restarts": saved(image, "JPEG", quality=85, restart_marker_blocks=1),
        "grey": saved(grey, "JPEG", quality=85, restart_marker_blocks=3),
        "progressive": saved(image, "JPEG", quality=85, progressive=True),
    }
    markers, missing = "RestartMarkers", "MissingBlocks"
    for kind, jpeg in kinds.items():
        scan = jpeg.index(b"\xff\xda")
        cut = scan + (len(jpeg) - scan) // 2
        if kind == "progressive":
            add("progressive-no-end.jpg", jpeg[:-2], "truncated JPEG")
        else:
            reason = "Pillow refuses what has no end marker, though nothing is missing"
            add(f"{kind}-no-end.jpg", jpeg[:-2], warned=["NoEnd"], differs=reason)
        add(f"{kind}-cut.jpg", jpeg[:cut].rstrip(b"\xff"), "truncated JPEG")
        add(f"{kind}-before-scan.jpg", jpeg[:scan] + b"\0\x12\x34" + jpeg[scan:], warned=["ExtraneousBytes"])
        add(f"{kind}-behind.jpg", jpeg + b"more bytes")
        add(f"{kind}-before-end.jpg", jpeg[:-2] + b"garbage" + jpeg[-2:])
    # Three of ten scans: libjpeg smooths what they leave open.
    ends = [at for at in range(len(jpeg)) if jpeg[at : at + 2] == b"\xff\xda"]
    add("progressive-three-scans.jpg", jpeg[: jpeg.rindex(b"\xff\xc4", 0, ends[3])] + b"\xff\xd9")
    jpeg = kinds["plain"]
    scan = jpeg.index(b"\xff\xda")
    reason = "Pillow gives a picture that is half grey"
    add("plain-early-end.jpg", jpeg[: (scan + len(jpeg)) // 2] + b"\xff\xd9", "blocks are missing", differs=reason)
    add("plain-last-block.jpg", jpeg[:-12] + b"\xff\xd9", warned=[missing])
    add("unknown-marker.jpg", jpeg[:-2] + b"\xff\x4a\xff\xd9", "unexpected marker 0x4a")
    for kind in ("restarts", "grey"):
        jpeg = kinds[kind]
        at = lambda n: jpeg.index(bytes([0xFF, 0xD0 + n]), jpeg.index(b"\xff\xda"))
        put = lambda n, code: jpeg[: at(n)] + bytes([0xFF, code]) + jpeg[at(n) + 2 :]
        add(f"{kind}-no-marker.jpg", jpeg[: at(3)] + jpeg[at(3) + 2 :], warned=[markers, missing])
        for step in (1, 2, 3, -1, -2):
            lost = [missing] if step != 3 else []
            name = f"{kind}-marker{step:+d}.jpg"
            add(name, put(3, 0xD0 + (3 + step) % 8), warned=[markers] + lost)
        add(f"{kind}-marker-unknown.jpg", put(3, 0x05), warned=[markers, missing])
        add(f"{kind}-before-marker.jpg", jpeg[: at(3)] + b"\x12\x34" + jpeg[at(3) :])
        add(f"{kind}-segment-lost.jpg", jpeg[: at(3)] + jpeg[at(4) :], warned=[markers, missing])
        add(f"{kind}-segment-twice.jpg", jpeg[: at(4)] + jpeg[at(3) :], warned=[markers])
        short = jpeg[: at(3) + 4] + jpeg[at(4) :]
        add(f"{kind}-segment-short.jpg", short, warned=[missing])


def rest():
    """What is known by its first bytes, and no more."""
    box = lambda brand: b"\0\0\0\x20ftyp" + brand + bytes(20)
    for name, data, words in (
        ("a.avif", box(b"avif"), "an AVIF image"),
        ("a.heic", box(b"heic"), "a HEIC image"),
        ("a.heif", box(b"mif1"), "a HEIF image"),
        ("a.mp4", box(b"isom"), "video"),
        ("a.jxl", b"\xff\x0a" + bytes(9), "JPEG XL"),
        ("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(9), "JPEG 2000"),
        ("a.psd", b"8BPS\0\1" + bytes(9), "Photoshop"),
        ("a.svg", b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        ("a.pdf", b"%PDF-1.7\n", "PDF"),
        ("a.webm", b"\x1a\x45\xdf\xa3" + bytes(9), "video"),
        ("a.html", b"<!DOCTYPE html><html>404</html>", "HTML"),
        ("a.pgm", b"P5 1 1 255 \x01", "anymap"),
        ("a.lfs", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ):
        add(name, data, words)


def pillow(data):
    """Pillow's size and RGB bytes, or None where it refuses."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
        return image.size, image.convert("RGB").tobytes()
    except Exception:
        return None


def write():
    for part in (tiffs, others, jpegs, rest):
        part()
    ODD.mkdir(parents=True, exist_ok=True)
    for old in ODD.iterdir():
        old.unlink()
    entries = []
    undamaged = {"plain-no-end.jpg": "plain-behind.jpg", "restarts-no-end.jpg": "restarts-behind.jpg",
                 "grey-no-end.jpg": "grey-behind.jpg", "big-be.tiff": "big.tiff"}  # fmt: skip
    for name, data in sorted(FILES.items()):
        (ODD / name).write_bytes(data)
        entry = {"file": name}
        found = pillow(data)
        if name in REFUSED:
            entry["refused"] = REFUSED[name]
            if found and name not in DIFFERS:
                DIFFERS[name] = "Pillow decodes it"
        else:
            if found is None:
                assert name in DIFFERS, f"Pillow refuses {name}"
                found = pillow(FILES[undamaged[name]])
            entry["size"], pixels = found
            entry["sha256"] = hashlib.sha256(pixels).hexdigest()
            entry["first"] = list(pixels[:3])
            entry["warnings"] = WARNED[name]
        if name in DIFFERS:
            entry["differs"] = DIFFERS[name]
        entries.append(entry)
    text = "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n"
    (ODD / "expected.json").write_text(text)
    print(f"{len(entries)} files, {sum(map(len, FILES.values()))} bytes")


def check(effnet, folder):
    import timm
    import torch

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        place = pathlib.Path(temporary)
        torch.save(timm.create_model("efficientnet_lite0").state_dict(), place / "lite0.pth")
        weights = place / "lite0.safetensors"
        run = lambda *args: subprocess.run([effnet, *args], capture_output=True, text=True)
        imported = run("import", place / "lite0.pth", "-o", weights)
        assert imported.returncode == 0, imported.stderr
        originals, pngs = [], []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            found = pillow(path.read_bytes())
            if found:
                png = place / f"{len(pngs)}.png"
                Image.frombytes("RGB", *found).save(png)
                originals.append(path)
                pngs.append(png)
        common = ("classify", "--weights", weights, "--device", "cpu", "--json", "--topk", "3")
        common += ("--size", "64")
        results = [
            [json.loads(line) for line in run(*common, *paths).stdout.splitlines()]
            for paths in (originals, pngs)
        ]
        assert len(results[0]) == len(results[1]) == len(pngs), "a line is missing"
        same = refused = 0
        differing = []
        for path, found, wanted in zip(originals, *results):
            assert wanted["error"] is None, wanted
            if found["error"]:
                refused += 1
            elif found["top"] == wanted["top"]:
                same += 1
            else:
                differing.append(path.name)
        print(f"{len(pngs)} images that Pillow decodes: {same} the same, {refused} refused")
        assert not differing, f"other logits than for Pillow's pixels: {differing}"
        assert same > 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(sys.argv[2], pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else ODD)
    else:
        write()
