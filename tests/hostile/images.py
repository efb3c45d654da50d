"""Hostile images: what `classify` may spend on each, and what it must answer.

Bounds: 2 s of processor time and 100 MB, and beside them what the picture's own pixels justify, by
the formulas of `src/image/mod.rs`: bytes for each pixel, and 20 ns for each, twice as much where
arithmetic-coded. A case that is refused justifies nothing.
"""

import struct
import zlib

MB = 10**6
SECONDS = 2.0
SECONDS_PER_PIXEL = 20e-9
PEAK_MB = 100
# Most pixels that are let in, as a square.
LARGE = 14_188
MEDIUM = 4096


# Deflate and PNG.


def deflated(count, start=b""):
    """`count` zeros after `start`, at the best ratio, without having them in memory at once."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(start)]
    parts += [packer.compress(block) for _ in range(count >> 20)]
    parts += [packer.compress(block[: count & (1 << 20) - 1]), packer.flush()]
    return b"".join(parts)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


PNG = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png(width, height, bits=8, colour=2, extra=b"", data=None, interlaced=0):
    row = (width * bits * CHANNELS[colour] + 7) // 8 + 1
    data = deflated(row * height) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return PNG + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


ORIENTATION_6 = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def pngs():
    gigabyte = deflated(1 << 30)
    pixel = zlib.compress(bytes(4))
    one = lambda extra: png(1, 1, extra=extra, data=pixel)
    small = {
        "iccp-1g": chunk(b"iCCP", b"k\0\0" + gigabyte),
        "ztxt-1g": chunk(b"zTXt", b"k\0\0" + gigabyte),
        "64-ztxt-1g": chunk(b"zTXt", b"k\0\0" + gigabyte) * 64,
        "itxt-1g": chunk(b"iTXt", b"k\0\1\0\0\0" + gigabyte),
        "xmp-1g": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + gigabyte),
        "text-64m": chunk(b"tEXt", b"k\0" + bytes(64 * MB)),
        "exif-64m": chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(64 * MB)),
        "exif-64k-entries": chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 65535)),
        "exif-behind": chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
        "1m-chunks": chunk(b"tEXt", b"a\0b") * 1_000_000,
        "1m-palettes": chunk(b"PLTE", bytes(3)) * 1_000_000,
        "1m-frames": chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)) * 1_000_000,
    }
    for name, extra in small.items():
        palettes = name == "1m-palettes"
        yield name, one(extra), dict(rc=[0, 1] if palettes else 0, held=len(extra))
    header = PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    empty = chunk(b"IDAT", b"") * 1_000_000 + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")
    yield "1m-empty-idat", header + empty, dict(rc=0, held=12 * MB)
    long = struct.pack(">I", 2**31 - 1) + b"tEXt" + bytes(100)
    yield "chunk-of-2g", header + long, dict(rc=1, says="PNG")
    broken = zlib.compress(bytes(4))[:-5]
    yield "short-data", png(MEDIUM, MEDIUM, data=broken), dict(rc=1, each=3, of=(MEDIUM, MEDIUM))
    large, medium = (LARGE, LARGE), (MEDIUM, MEDIUM)
    yield "grey1-large", png(LARGE, LARGE, 1, 0), dict(rc=0, each=3, of=large)
    yield "rgba16-large", png(LARGE, LARGE, 16, 6), dict(rc=0, each=8, of=large)
    # Passes over the picture are shorter than its zeros, which is enough for a filter of each row.
    adam7 = png(MEDIUM, MEDIUM, 16, 6, data=deflated(9 * MEDIUM * MEDIUM), interlaced=1)
    yield "adam7-rgba16", adam7, dict(rc=0, each=8, of=medium)
    # The packed weights of the meter do not turn pictures; the chunk is kept for those that do.
    turned = png(LARGE, LARGE, 1, 0, chunk(b"eXIf", ORIENTATION_6))
    yield "grey1-turned", turned, dict(rc=0, each=6, of=large)
    control = struct.pack(">IIIIIHHBB", 0, MEDIUM, MEDIUM, 0, 0, 1, 1, 0, 0)
    apng = chunk(b"acTL", struct.pack(">II", 1000, 0)) + chunk(b"fcTL", control)
    yield "apng", png(1, 1, extra=apng, data=pixel), dict(rc=0)
    yield "65500-square", png(65500, 65500, data=pixel), dict(rc=1, says="too large")
    yield "13000-square-of-100-bytes", png(13000, 13000, data=pixel), dict(rc=1, says="implausible")


# GIF.


def gif(canvas, frames, extensions=b""):
    colours = bytes(3) + b"\xff" * 3
    start = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + colours
    return start + extensions + b"".join(frames) + b";"


def sub_blocks(data):
    parts = (data[at : at + 255] for at in range(0, len(data), 255))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def gif_frame(left, top, width, height, data, flags=0):
    return b"," + struct.pack("<HHHHBB", left, top, width, height, flags, 2) + sub_blocks(data)


def gif_run(pixels):
    """Codes whose runs of one colour are a pixel longer each, as few as can be."""
    bits = count = 0
    data = bytearray()

    def put(code, size):
        nonlocal bits, count
        bits |= code << count
        count += size
        while count >= 8:
            data.append(bits & 255)
            bits >>= 8
            count -= 8

    size, done, following, run = 3, 0, 4096, 1
    while done < pixels:
        if following >= 4095:
            put(4, size)
            size, following, run = 3, 6, 1
            put(0, size)
            done += 1
            continue
        put(following, size)
        run += 1
        done += run
        following += 1
        if following == 1 << size and size < 12:
            size += 1
    put(5, size)
    if count:
        data.append(bits & 255)
    return bytes(data)


def gifs():
    pixel = b"\x44\x01"
    one = gif_frame(0, 0, 1, 1, pixel)
    yield "35-bytes", gif((MEDIUM, MEDIUM), [one]), dict(rc=0, each=3, of=(MEDIUM, MEDIUM))
    large = gif((LARGE, LARGE), [gif_frame(0, 0, LARGE, LARGE, gif_run(LARGE * LARGE))])
    yield "large", large, dict(rc=0, each=5, of=(LARGE, LARGE))
    comment = b"!\xfe" + sub_blocks(bytes(30_000))
    yield "small-frame", gif((LARGE, LARGE), [one], comment), dict(rc=0, each=3, of=(LARGE, LARGE))
    yield "65535-canvas", gif((65535, 65535), [one]), dict(rc=1, says="too large")
    far = gif_frame(65535, 65535, 65535, 65535, pixel)
    yield "far-frame", gif((10, 10), [far]), dict(rc=1, says="too large")
    yield "beside", gif((10, 10), [gif_frame(65535, 0, 1, 1, pixel)]), dict(rc=[0, 1])
    yield "flat-frame", gif((10, 10), [gif_frame(0, 0, 10, 0, pixel)]), dict(rc=1)
    yield "1m-frames", gif((4, 4), [one] * 1_000_000), dict(rc=0, held=20 * MB)
    yield "1m-extensions", gif((4, 4), [one], b"!\xfe\x01a\0" * 1_000_000), dict(rc=0, held=5 * MB)
    application = b"!\xff\x0bICCRGBG1012" + sub_blocks(bytes(60 * MB))
    yield "profile-60m", gif((4, 4), [one], application), dict(rc=[0, 1], held=3 * 61 * MB)
    clears = gif_frame(0, 0, 4, 4, b"\x24\x49\x92" * 5_000_000)
    yield "codes-that-clear", gif((4, 4), [clears]), dict(rc=1, held=16 * MB)


# BMP.


def bmp(width, height, bits, compression, data, colours=0, palette=b""):
    offset = 14 + 40 + len(palette)
    size = (40, width, height, 1, bits, compression, 0, 0, 0, colours, 0)
    header = b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset)
    return header + struct.pack("<IiiHHIIiiII", *size) + palette + data


def bmps():
    palette = bytes(1024)
    rle = lambda w, h, data: bmp(w, h, 8, 1, data, 256, palette)
    medium = dict(each=3, of=(MEDIUM, MEDIUM))
    yield "rle-ends", rle(MEDIUM, MEDIUM, b"\0\1"), dict(rc=0, **medium)
    padded = rle(LARGE, LARGE, b"\0\1" + bytes(30_000))
    yield "rle-ends-large", padded, dict(rc=0, each=3, of=(LARGE, LARGE))
    deltas = rle(MEDIUM, MEDIUM, b"\0\2\xff\xff" * 100_000 + b"\0\1")
    yield "rle-deltas", deltas, dict(rc=[0, 1], **medium)
    lines = rle(MEDIUM, MEDIUM, b"\0\0" * 5_000_000 + b"\0\1")
    yield "rle-lines", lines, dict(rc=[0, 1], held=10 * MB, **medium)
    yield "rle-65535", rle(65535, 65535, b"\0\1"), dict(rc=1, says="too large")
    yield "least-height", bmp(10, -(2**31), 24, 0, bytes(400)), dict(rc=1)
    yield "negative-width", bmp(-10, 10, 24, 0, bytes(400)), dict(rc=1)
    yield "colours-4g", bmp(10, 10, 8, 0, bytes(400), 2**32 - 1), dict(rc=1)


# TIFF.


def tiff(entries, data=b"", following=0):
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, kind, count, value in sorted(entries):
        head += struct.pack("<HHI", tag, kind, count)
        short = kind == 3 and count == 1
        head += struct.pack("<HH", value, 0) if short else struct.pack("<I", value)
    return head + struct.pack("<I", following) + data


def one_strip(width, height, compression, data, bits=8, extra=(), following=0, samples=1):
    offset = 8 + 2 + 12 * (9 + len(extra)) + 4
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, bits),
        (259, 3, 1, compression),
        (262, 3, 1, 1 if samples == 1 else 2),
        (273, 4, 1, offset),
        (277, 3, 1, samples),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
        *extra,
    ]
    return tiff(entries, data, following)


def tiled(width, height, tile, compression, data, each):
    """Tiles that all are the same bytes, `each` of them."""
    count = -(-width // tile) * -(-height // tile)
    first = 8 + 2 + 12 * 10 + 4
    places = struct.pack("<I", first + 8 * count) * count + struct.pack("<I", each) * count
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
        (322, 4, 1, tile),
        (323, 4, 1, tile),
        (324, 4, count, first if count > 1 else first + 8),
        (325, 4, count, first + 4 * count if count > 1 else each),
    ]
    return tiff(entries, places + data)


def tiffs():
    grey = bytes(16)
    area, large, medium = LARGE * LARGE, (LARGE, LARGE), (MEDIUM, MEDIUM)
    yield "grey-large", one_strip(*large, 8, deflated(area)), dict(rc=0, each=4, of=large)
    deep = one_strip(*large, 8, deflated(2 * area), 16)
    yield "grey16-large", deep, dict(rc=0, each=5, of=large)
    turned = one_strip(*large, 8, deflated(area), extra=[(274, 3, 1, 6)])
    yield "grey-turned", turned, dict(rc=0, each=6, of=large)
    rgba = one_strip(*medium, 8, deflated(16 * 8 * MEDIUM * MEDIUM // 8), 16, samples=8)
    yield "8-samples-of-16", rgba, dict(rc=[0, 1], each=19, of=medium)
    predicted = one_strip(*medium, 8, deflated(4 << 24), 32, [(317, 3, 1, 3), (339, 3, 1, 3)])
    yield "predicted-floats", predicted, dict(rc=0, each=7, of=medium)
    yield "64-bits", one_strip(*medium, 8, deflated(8 << 24), 64), dict(rc=1, says="64-bit")
    yield "lzw-of-nothing", one_strip(*large, 5, bytes(100)), dict(rc=1, says="implausible")
    fax = one_strip(*medium, 4, bytes(3000), 1)
    yield "fax-of-zeros", fax, dict(rc=[0, 1], each=4, of=medium)
    packbits = one_strip(4, 4, 32773, b"\x80" * 20 * MB + b"\xf1\0")
    yield "packbits-of-nothing", packbits, dict(rc=0, held=2 * 20 * MB)
    shared = tiled(MEDIUM, MEDIUM, 16, 32773, b"\x80" * 4 * MB + b"\x81\0\x81\0", 4 * MB + 4)
    yield "shared-tiles", shared, dict(rc=1, says="strips or tiles of", held=2 * 5 * MB)
    huge = tiled(1, 65000, 16384, 8, deflated(1 << 28), 261_000)
    yield "tiles-beyond-the-picture", huge, dict(rc=1, says="strips or tiles of 16384x16384")
    yield "ifd-loop", one_strip(4, 4, 1, grey, following=8), dict(rc=[0, 1])
    yield "exif-loop", one_strip(4, 4, 1, grey, extra=[(34665, 4, 1, 8)]), dict(rc=0)
    long = [(305, 2, 2**32 - 1, 8), (34675, 7, 2**31 - 1, 8)]
    yield "long-tags", one_strip(4, 4, 1, grey, extra=long), dict(rc=0)
    strips = [(256, 4, 1, 4096), (257, 4, 1, 4096), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    strips += [(273, 4, 0x3FFFFFFF, 200), (278, 4, 1, 1), (279, 4, 0x3FFFFFFF, 200)]
    yield "1g-strips", tiff(strips, bytes(400)), dict(rc=1)
    of_bytes = strips[:5] + [(273, 1, 7 * MB, 200), (278, 4, 1, 1), (279, 1, 7 * MB, 200)]
    yield "7m-strips-in-bytes", tiff(of_bytes, bytes(8 * MB)), dict(rc=1, says="values of tag 273")
    directories = b"".join(struct.pack("<HI", 0, 8 + 6 * (i + 1)) for i in range(300_000))
    yield "300k-directories", b"II*\0" + struct.pack("<I", 8) + directories, dict(rc=1)
    yield "65500-square", one_strip(65500, 65500, 1, grey), dict(rc=1, says="too large")


# WebP.


def riff(*chunks):
    parts = (n + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for n, data in chunks)
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def three(number):
    return struct.pack("<I", number)[:3]


def vp8x(width, height, flags=0):
    return b"VP8X", bytes([flags, 0, 0, 0]) + three(width - 1) + three(height - 1)


def lossy(width, height, data):
    return b"VP8 ", b"\x10\x02\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + data


class Bits:
    """Bits of a lossless WebP, the lowest first."""

    def __init__(self):
        self.bits, self.count = 0, 0

    def put(self, value, size):
        self.bits |= value << self.count
        self.count += size

    def bytes(self):
        return self.bits.to_bytes(-(-self.count // 8), "little")


def lossless(width, height, data):
    return b"VP8L", b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + data


def one_symbol(bits, symbol):
    """A code of one symbol, which takes no bits."""
    bits.put(1, 2)
    bits.put(1, 1)
    bits.put(symbol, 8)


def deep_code(bits):
    """A code of lengths 1 to 10, 10: a table of 1024 entries."""
    bits.put(0, 1)
    # Lengths of the lengths' own codes, of which there are fifteen: 0 and all but the tenth have 4
    # bits; in the order of the format.
    order = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10]
    own = {0: 3, **{length: 4 for length in range(1, 9)}, 9: 3, 10: 3}
    # Two more of 4 bits would be one too many: the sum of 2^-bits is 3/8 + 8/16 = 7/8.
    own[17] = 3
    bits.put(len(order) - 4, 4)
    for symbol in order:
        bits.put(own.get(symbol, 0), 3)
    codes = canonical(own)
    # Eleven lengths and no more.
    bits.put(1, 1)
    bits.put(1, 3)
    bits.put(11 - 2, 4)
    for length in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]:
        code, size = codes[length]
        bits.put(int(format(code, f"0{size}b")[::-1], 2), size)


def canonical(lengths):
    codes, code, before = {}, 0, 0
    for size, symbol in sorted((size, symbol) for symbol, size in lengths.items()):
        code <<= size - before
        codes[symbol] = code, size
        code, before = code + 1, size
    return codes


def many_codes(groups):
    """A lossless picture with so many groups of codes, none of which its pixels need."""
    bits = Bits()
    # No transforms, no cache; groups are told for every 4x4 pixels, by green and red.
    bits.put(0, 2)
    bits.put(1, 1)
    bits.put(0, 3)
    bits.put(0, 1)
    for symbol in (groups - 1 & 255, groups - 1 >> 8, 0, 0, 0):
        one_symbol(bits, symbol)
    eight = Bits()
    for _ in range(8):
        deep_code(eight)
    codes = eight.bytes() * (5 * groups // 8)
    bits.put(int.from_bytes(codes, "little"), 8 * len(codes))
    return bits.bytes() + bytes(1000)


def webps():
    yield "zeros", riff(lossless(16383, 12000, bytes(100_000))), dict(rc=1, says="WebP")
    yield "short", riff(lossless(MEDIUM, MEDIUM, bytes(64))), dict(rc=1)
    yield "lossy-zeros", riff(lossy(16383, 12000, bytes(30_000))), dict(rc=1)
    # One pixel, says the canvas; 200 million, says the picture in it.
    inner = lossy(16383, 12288, bytes(30_000))
    yield "canvas-of-1x1", riff(vp8x(1, 1), inner), dict(rc=1, says="in a canvas of 1x1")
    frame = bytes(6) + three(0) + three(0) + bytes(4) + riff(inner)[12:]
    animated = riff(vp8x(1, 1, 2), (b"ANIM", bytes(6)), (b"ANMF", frame))
    yield "frame-of-1x1", animated, dict(rc=1, says="in a canvas of 1x1")
    canvas = riff(vp8x(16383, 12000, 2), (b"ANIM", bytes(6)), (b"ANMF", frame))
    yield "animation-of-200-bytes", canvas, dict(rc=1)
    pixel = lossless(1, 1, bytes(20))
    profile = riff(vp8x(1, 1, 0x20), (b"ICCP", bytes(64 * MB)), pixel)
    yield "profile-64m", profile, dict(rc=[0, 1], held=64 * MB)
    exif = (b"EXIF", b"II*\0\x08\0\0\0\xff\xff" + bytes(64 * MB))
    yield "exif-64m", riff(vp8x(1, 1, 8), pixel, exif), dict(rc=[0, 1], held=64 * MB)
    yield "1m-chunks", riff(vp8x(1, 1), *[(b"JUNK", b"")] * 1_000_000, pixel), dict(rc=[0, 1])
    codes = many_codes(1000)
    yield "1000-codes-of-1x1", riff(lossless(1, 1, codes)), dict(rc=[0, 1], held=25 * MB)
    codes = many_codes(65_536)
    says = "bytes of lossless data for 1x1 pixels"
    yield "65536-codes-of-1x1", riff(lossless(1, 1, codes)), dict(rc=1, says=says)
    # 20 KiB for each group, as src/image/mod.rs tells.
    tables = dict(rc=[0, 1], held=len(codes) + 65_536 * 20_480, of=(1024, 1024))
    yield "65536-codes-of-1024x1024", riff(lossless(1024, 1024, codes)), tables


# JPEG.


def segment(marker, data):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


QUANTISATION = segment(0xDB, b"\0" + b"\1" * 64)
START, END = b"\xff\xd8", b"\xff\xd9"


def frame(marker, width, height, samplings, bits=8):
    data = struct.pack(">BHHB", bits, height, width, len(samplings))
    data += b"".join(bytes([i + 1, sampling, 0]) for i, sampling in enumerate(samplings))
    return segment(marker, data)


def huffman(kind, *symbols):
    """Codes of 1 bit, 2 bits, and so on."""
    counts = bytes([1] * len(symbols) + [0] * (16 - len(symbols)))
    return segment(0xC4, bytes([kind]) + counts + bytes(symbols))


def scan(components, first, last, high=0, low=0):
    data = bytes([len(components)]) + b"".join(bytes([id, 0]) for id in components)
    return segment(0xDA, data + bytes([first, last, high << 4 | low]))


def blocks(side):
    return (-(-side // 8)) ** 2


# 0 is no change of a mean, and the end of a block; 10 begins a run of 16384 to 32767 such ends.
TABLES = huffman(0, 0) + huffman(0x10, 0, 0xE0)


def end_runs(count):
    """The ends of so many blocks, in runs of 32767."""
    runs, single = divmod(count, 32767)
    text = ("10" + "1" * 14) * runs + "0" * single
    text += "1" * (-len(text) % 8)
    data = bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))
    return data.replace(b"\xff", b"\xff\0")


def sequential(side, samplings, marker=0xC0):
    components = range(1, len(samplings) + 1)
    area = sum((s >> 4) * (s & 15) for s in samplings) / max(s >> 4 for s in samplings) ** 2
    data = bytes(int((blocks(side + 16)) * area / 4) + 100)
    head = START + QUANTISATION + frame(marker, side, side, samplings) + TABLES
    return head + scan(components, 0, 63) + data + END


def progressive(side, components, scans, refining=False):
    jpeg = START + QUANTISATION + frame(0xC2, side, side, [0x11] * components) + TABLES
    jpeg += scan(range(1, components + 1), 0, 0, 0, 1) + bytes(blocks(side) * components // 8 + 1)
    run = end_runs(blocks(side))
    for i in range(scans):
        jpeg += scan([i % components + 1], 1, 63, int(refining), 0) + run
    return jpeg + END


def arithmetic(side, components, scans, data, marker=0xCA):
    jpeg = START + QUANTISATION + frame(marker, side, side, [0x11] * components)
    comments = -(-side * side // 8256 // 60_000)
    jpeg += segment(0xFE, bytes(60_000)) * comments
    if marker == 0xC9:
        return jpeg + scan(range(1, components + 1), 0, 63) + data + END
    jpeg += scan(range(1, components + 1), 0, 0, 0, 1) + data
    for i in range(scans):
        again = i >= components
        jpeg += scan([i % components + 1], 1, 63, int(again), 0 if again else 1) + data
    return jpeg + END


def jpegs():
    large, medium = (LARGE, LARGE), (MEDIUM, MEDIUM)
    for name, samplings, each in [("grey", [0x11], 4), ("444", [0x11] * 3, 6)]:
        yield f"{name}-large", sequential(LARGE, samplings), dict(rc=0, each=each, of=large)
    yield "420-large", sequential(LARGE, [0x22, 0x11, 0x11]), dict(rc=0, each=7, of=large)
    # Ten scans are what encoders write.
    yield "progressive-large", progressive(LARGE, 3, 9), dict(rc=0, each=12, of=large)
    yield "progressive-16-visits", progressive(LARGE, 3, 40), dict(rc=0, each=12, of=large)
    yield "progressive-64-scans", progressive(LARGE, 3, 63), dict(rc=1, says="costly")
    yield "progressive-65-scans", progressive(64, 3, 64), dict(rc=1, says="costly")
    yield "refining-510-scans", progressive(LARGE, 3, 510, True), dict(rc=1, says="costly")
    yield "refining-medium", progressive(MEDIUM, 1, 63, True), dict(rc=[0, 1], each=6, of=medium)
    for scans in (510, 60):
        jpeg = arithmetic(LARGE, 3, scans, b"\0\0")
        yield f"arithmetic-{scans}-scans", jpeg, dict(rc=1, says="JPEG")
    yield "arithmetic-13-scans", arithmetic(LARGE, 3, 12, b"\0\0"), dict(rc=1, says="no data")
    few = arithmetic(LARGE, 3, 40, b"\x7f\1")
    yield "arithmetic-16-visits", few, dict(rc=1, says="costly")
    few = arithmetic(LARGE, 3, 15, b"\x7f\1")
    yield "arithmetic-hardly-any-data", few, dict(rc=[0, 1], each=12, of=large, slower=2)
    few = arithmetic(MEDIUM, 1, 62, b"\x7f\1")
    yield "arithmetic-63-scans", few, dict(rc=[0, 1], each=6, of=medium)
    nothing = arithmetic(LARGE, 3, 0, b"", 0xC9)
    yield "arithmetic-sequential", nothing, dict(rc=1, says="no data")
    lossless = START + frame(0xC3, MEDIUM, MEDIUM, [0x11] * 3) + huffman(0, 0)
    lossless += scan([1, 2, 3], 1, 0) + bytes(3 * MEDIUM * MEDIUM // 8) + END
    yield "lossless", lossless, dict(rc=[0, 1], each=9, of=medium)
    for bits in (12, 16):
        deep = START + QUANTISATION + frame(0xC1, MEDIUM, MEDIUM, [0x11] * 3, bits) + TABLES
        yield f"{bits}-bits", deep + scan([1, 2, 3], 0, 63) + bytes(9000) + END, dict(rc=1)
    head = START + QUANTISATION + segment(0xDD, b"\0\1") + frame(0xC0, *medium, [0x11]) + TABLES
    restarts = (b"\x3f\xff" + bytes([0xD0 + i % 8]) for i in range(blocks(MEDIUM)))
    grey = dict(rc=[0, 1], each=4, of=medium, held=2 * MB)
    yield "restarts", head + scan([1], 0, 63) + b"".join(restarts) + END, grey
    # Markers for every block and more, which are in no order.
    flood = head + scan([1], 0, 63) + b"\xff\xd2\xff\xd5" * 5 * MB + END
    yield "restarts-out-of-turn", flood, dict(rc=[0, 1], each=4, of=medium, held=2 * 20 * MB)
    far = START + segment(0xDD, b"\0\1") + frame(0xC0, 65500, 65500, [0x11]) + TABLES
    far += scan([1], 0, 63) + b"\xff\xd2" * 5 * MB + END
    yield "restarts-of-65500", far, dict(rc=1, held=2 * 10 * MB)
    none = START + QUANTISATION + segment(0xDD, b"\xff\xff")
    none += frame(0xC0, *medium, [0x22, 0x11, 0x11])
    yield "interval-of-65535", none + TABLES + scan([1, 2, 3], 0, 63) + bytes(99_999) + END, dict(
        rc=[0, 1], each=7, of=medium
    )
    unknown = START + QUANTISATION + frame(0xC0, 64, 0, [0x11]) + TABLES + scan([1], 0, 63)
    yield "height-in-dnl", unknown + bytes(30) + segment(0xDC, b"\0\x40") + END, dict(rc=1)
    yield "65500-square", sequential(100, [0x11]).replace(
        struct.pack(">HH", 100, 100), struct.pack(">HH", 65500, 65500)
    ), dict(rc=1, says="too large")
    exif = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(65_000))
    loop = b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    small = sequential(8, [0x11])
    yield "exif-65535-entries", START + exif + small[2:], dict(rc=0)
    loops = segment(0xE1, b"Exif\0\0" + loop) * 100_000
    yield "exif-loops", START + loops + small[2:], dict(rc=0, held=4 * 4 * MB)
    yield "exif-in-com", START + segment(0xFE, b"Exif\0\0" + loop) + small[2:], dict(rc=0)
    profile = b"".join(
        segment(0xE2, b"ICC_PROFILE\0" + bytes([i + 1, 255]) + bytes(65_000)) for i in range(255)
    )
    yield "profile-16m", START + profile + small[2:], dict(rc=0, held=4 * 17 * MB)
    yield "ff-50m", START + b"\xff" * 50 * MB, dict(rc=1, held=2 * 50 * MB)
    tables = huffman(0x10, *range(16)) * 500_000
    yield "500k-tables", START + tables + small[2:], dict(rc=[0, 1], held=2 * 18 * MB)
    # More pictures after the first, of which a reader of one needs to know nothing.
    entries = struct.pack(">HHII", 0xB001, 4, 1, 2**32 - 1)
    mpo = segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\1" + entries + b"\0\0\0\x08")
    yield "mpo", START + mpo + small[2:] + small * 10_000, dict(rc=0, held=2 * 3 * MB)
    for first in (0x11, 0x14, 0x41, 0x44, 0x12, 0x21, 0x33, 0x13):
        for second in (0x11, 0x44, 0x22, 0x12, 0x41, 0x34):
            yield f"sampling-{first:02x}-{second:02x}", sequential(64, [first, second, 0x11]), dict(
                rc=[0, 1]
            )
    inks = sequential(64, [0x11, 0x44, 0x12, 0x11])
    yield "cmyk-of-four-sizes", inks, dict(rc=1)


def make(folder):
    formats = dict(png=pngs, gif=gifs, bmp=bmps, tiff=tiffs, webp=webps, jpeg=jpegs)
    cases = []
    for extension, files in formats.items():
        for name, data, expected in files():
            path = folder / f"{name}.{extension}"
            path.write_bytes(data)
            width, height = expected.get("of", (0, 0))
            pixels = width * height
            seconds = pixels * SECONDS_PER_PIXEL * expected.get("slower", 1)
            # Bytes for pixels, and those that the file itself takes in memory.
            held = pixels * expected.get("each", 0) + expected.get("held", 0) + len(data)
            cases.append(
                {
                    "file": str(path),
                    "args": ["classify", "--weights", "{weights}", "--threads", "1", "{}"],
                    "rc": expected["rc"],
                    "says": expected.get("says"),
                    "max_user_s": SECONDS + seconds + len(data) / (100 * MB),
                    "max_peak_mb": PEAK_MB + held / MB,
                }
            )
    return cases
