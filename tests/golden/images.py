"""Writes tests/fixtures/images: small pictures and what the reference libraries make of them.

    python -m venv venv && venv/bin/pip install pillow==11.3.0 opencv-python-headless==4.10.0.84 \
        numpy==2.2.6 torch==2.5.1 torchvision==0.20.1
    venv/bin/python tests/golden/images.py

Pillow is pinned below 13, which for some shapes resizes rows before columns and then rounds
differently; published accuracies are from the older order. The TensorFlow values need
tensorflow-cpu==2.21.0, in an environment of its own: `images.py --tensorflow`.

Pictures are not rewritten if they exist, because encoders change between releases; expectations are.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent / "fixtures" / "images"
FORMATS = ROOT / "formats"
EXPECTED = ROOT / "expected"


def scene(h, w, channels=3):
    """Smooth colours, edges and a little noise: [h, w, channels], u8."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    noise = np.random.default_rng(h * 1000 + w).integers(-9, 10, (h, w, channels))
    planes = [
        128 + 100 * np.sin(x / 5 + c) * np.cos(y / (6 + c)) + 40 * ((x + y * (c + 1)) % 23 > 11)
        for c in range(channels)
    ]
    return np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)


def write_pictures():
    import cv2
    from PIL import Image

    FORMATS.mkdir(parents=True, exist_ok=True)

    def save(name, image, **options):
        path = FORMATS / name
        if not path.exists():
            image.save(path, **options)

    rgb = Image.fromarray(scene(47, 61))
    grey = Image.fromarray(scene(47, 61, 1)[..., 0])
    alpha = Image.fromarray(scene(47, 61, 4), "RGBA")
    for name, sampling in (("444", 0), ("422", 1), ("420", 2)):
        save(f"ycbcr-{name}.jpg", rgb, quality=90, subsampling=sampling)
    save("progressive.jpg", rgb, quality=85, progressive=True)
    save("restart.jpg", rgb, quality=85, restart_marker_rows=1)
    save("rgb-adobe.jpg", rgb, quality=90, keep_rgb=True)
    save("grey.jpg", grey, quality=90)
    save("cmyk.jpg", Image.fromarray(scene(47, 61, 4), "CMYK"), quality=90)
    small = Image.fromarray(scene(19, 30))
    for orientation in range(1, 9):
        exif = small.getexif()
        exif[0x0112] = orientation
        save(f"exif-{orientation}.jpg", small, quality=90, exif=exif)
    save("exif-6.png", small, exif=exif_of(small, 6))
    save("exif-6.webp", small, exif=exif_of(small, 6), lossless=True)
    save("rgb.png", rgb)
    save("grey.png", grey)
    save("grey-1bit.png", grey.convert("1"))
    save("grey-alpha.png", alpha.convert("LA"))
    save("rgba.png", alpha)
    save("palette-transparent.png", rgb.quantize(31), transparency=3)
    wide = (scene(47, 61).astype(np.uint16) << 8) + scene(47, 61)[::-1, ::-1]
    for name, pixels in (("grey-16bit", wide[..., 0]), ("rgb-16bit", wide)):
        path = FORMATS / f"{name}.png"
        if not path.exists():
            cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    save("lossy.webp", rgb, quality=85)
    save("lossless.webp", rgb, lossless=True)
    save("alpha.webp", alpha, lossless=True, exact=True)
    save("rgb.bmp", rgb)
    save("palette.bmp", rgb.quantize(31))
    save("two-frames.gif", rgb.quantize(31), save_all=True, append_images=[grey.convert("P")])
    save("rgb.tiff", rgb, compression="tiff_lzw")
    save("grey.tiff", grey)
    save("orientation-6.tiff", small, tiffinfo={0x0112: 6})
    # One pixel wide, one high, one in all; and sizes for the framings.
    for h, w in ((50, 1), (1, 50), (1, 1), (40, 40), (33, 90), (90, 33), (72, 64)):
        save(f"scene-{w}x{h}.png", Image.fromarray(scene(h, w)))


def exif_of(image, orientation):
    exif = image.getexif()
    exif[0x0112] = orientation
    return exif


def decoded(path, exif=False):
    """Pillow's convert("RGB"), [h, w, 3]."""
    from PIL import Image, ImageOps

    image = Image.open(path)
    if image.mode.startswith("I;16"):
        # Pillow clips 16-bit grey instead of scaling it; OpenCV keeps the high byte.
        import cv2

        return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    if exif:
        image = ImageOps.exif_transpose(image)
    return np.asarray(image.convert("RGB"))


def recipe(interpolation, framing, h, w):
    return {
        "interpolation": interpolation,
        "framing": framing,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "exif_orientation": False,
        "size": {"h": h, "w": w},
    }


def torchvision_frame(image, framing, interpolation, h, w):
    """With torchvision's own Resize and CenterCrop, as timm's transforms_imagenet_eval calls them."""
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    mode = InterpolationMode.BICUBIC if interpolation.endswith("bicubic") else InterpolationMode.BILINEAR
    if "squash" in framing:
        pct = framing["squash"]["crop_pct"]
        target = [math.floor(h / pct), math.floor(w / pct)]
    else:
        short = framing["resize-then-crop"]["short_side"]
        side = (lambda x: x + short["margin"]) if "margin" in short else (lambda x: math.floor(x / short["crop-pct"]))
        target = side(h)
        if h != w:  # timm's ResizeKeepRatio
            ratio = min(image.height / side(h), image.width / side(w))
            target = [round(image.height / ratio), round(image.width / ratio)]
    return np.asarray(CenterCrop((h, w))(Resize(target, mode)(image)))


def paddle_frame(pixels, framing, h, w):
    """PaddleClas's ResizeImage(resize_short) and CropImage."""
    import cv2

    margin = framing["resize-then-crop"]["short_side"]["margin"]
    percent = max((h + margin) / pixels.shape[0], (w + margin) / pixels.shape[1])
    resized_w, resized_h = (int(round(side * percent)) for side in (pixels.shape[1], pixels.shape[0]))
    pixels = cv2.resize(pixels, (resized_w, resized_h), interpolation=cv2.INTER_LINEAR)
    top, left = (resized_h - h) // 2, (resized_w - w) // 2
    return pixels[top : top + h, left : left + w]


def write_expectations():
    from PIL import Image

    EXPECTED.mkdir(exist_ok=True)
    for old in EXPECTED.glob("*.png"):
        old.unlink()
    decode = []
    for path in sorted(FORMATS.iterdir()):
        for exif in (False, True):
            if exif and not path.name.startswith("exif"):
                continue
            pixels = decoded(path, exif)
            name = f"{path.name}{'.upright' if exif else ''}.png"
            Image.fromarray(np.ascontiguousarray(pixels)).save(EXPECTED / name)
            decode.append({"file": f"formats/{path.name}", "exif": exif, "expected": f"expected/{name}"})

    margin = lambda n, rounding: {"resize-then-crop": {"short_side": {"margin": n}, "rounding": rounding}}
    pct = lambda p: {"resize-then-crop": {"short_side": {"crop-pct": p}, "rounding": "torchvision"}}
    squash = lambda p: {"squash": {"crop_pct": p}}
    files = [f"formats/scene-{s}.png" for s in ("1x50", "50x1", "1x1", "40x40", "33x90", "90x33", "64x72")]
    files += [f"photos/{name}.jpg" for name in ("chelsea", "coffee", "rocket")]
    resize = []
    for file in files:
        image = Image.open(ROOT / file).convert("RGB")
        for interpolation in ("pillow-bicubic", "pillow-bilinear"):
            for framing, h, w in (
                (pct(0.875), 35, 35),
                (margin(8, "torchvision"), 27, 27),
                (pct(0.9), 31, 45),
                (margin(32, "torchvision"), 224, 224),
                (squash(0.95), 60, 41),
                (squash(1.0), 20, 20),
            ):
                resize.append((file, recipe(interpolation, framing, h, w), torchvision_frame(image, framing, interpolation, h, w)))
        for h, w, n in ((35, 35, 5), (32, 32, 8), (41, 30, 6), (224, 224, 32)):
            framing = margin(n, "paddle")
            resize.append((file, recipe("opencv-bilinear", framing, h, w), paddle_frame(np.asarray(image), framing, h, w)))
    resize = [
        {
            "file": file,
            "recipe": made,
            "sha256": hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest(),
            # For a first look when the digest differs.
            "corner": pixels[0, 0].tolist(),
            "mean": round(float(pixels.mean()), 4),
        }
        for file, made, pixels in resize
    ]
    write_json("expected.json", {"decode": decode, "resize": resize})


def write_tensorflow():
    """Google's crop, then TF1's resize_bicubic: every 7th value."""
    import tensorflow as tf
    from PIL import Image

    cases = []
    for name in ("64x72", "90x33", "1x50", "40x40"):
        file = f"formats/scene-{name}.png"
        pixels = np.asarray(Image.open(ROOT / file).convert("RGB"))
        for side, padding in ((35, 5), (60, 32)):
            short = tf.cast(tf.minimum(pixels.shape[0], pixels.shape[1]), tf.float32)
            crop = max(int(tf.cast((side / (side + padding)) * short, tf.int32)), 1)
            top, left = ((size - crop + 1) // 2 for size in pixels.shape[:2])
            cut = pixels[None, top : top + crop, left : left + crop]
            out = tf.raw_ops.ResizeBicubic(images=cut, size=[side, side], align_corners=False, half_pixel_centers=False)
            made = recipe("tensorflow-bicubic", {"crop-then-resize": {"margin": padding}}, side, side)
            values = [round(float(v), 5) for v in out.numpy().ravel()[::7]]
            cases.append({"file": file, "recipe": made, "step": 7, "values": values})
    write_json("tensorflow.json", cases)


def write_json(name, value):
    lines = json.dumps(value, separators=(",", ":")).replace('{"file"', '\n{"file"')
    (ROOT / name).write_text(lines + "\n")


if __name__ == "__main__":
    if "--tensorflow" in sys.argv:
        write_tensorflow()
    else:
        write_pictures()
        write_expectations()
