"""`python -m benchmarks.cross_check FOLDER`: WebP, JPEG XL and JPEG against AVIF, computed another way.

Nothing here is shared with the suite: other bindings (imagecodecs for all four), another PSNR, another BD-rate
(Bjontegaard's own of 2001: a cubic polynomial through each curve, integrated). It is there to be compared with what
`python -m benchmarks rd` says of the same images; both are in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

AVIF: dict[str, Any] = {"speed": 4, "pixelformat": "444", "codec": "aom", "numthreads": 1}
WEBP: dict[str, Any] = {"method": 6, "lossless": False}
JPEG: dict[str, Any] = {"subsampling": "444", "optimize": True}
Choices = tuple[Callable[..., Any], Callable[..., Any], str, tuple[float, ...], dict[str, Any]]
CODECS: dict[str, Choices] = {
    "avif": (imagecodecs.avif_encode, imagecodecs.avif_decode, "level", (5, 25, 45, 65, 80, 92), AVIF),
    "webp": (imagecodecs.webp_encode, imagecodecs.webp_decode, "level", (5, 20, 40, 60, 80, 95), WEBP),
    "jxl": (imagecodecs.jpegxl_encode, imagecodecs.jpegxl_decode, "distance", (15, 8, 4, 2, 0.8, 0.3), {"effort": 7}),
    "jpeg": (imagecodecs.jpeg8_encode, imagecodecs.jpeg8_decode, "level", (5, 15, 35, 60, 85, 95), JPEG),
}
"""Encoder, decoder, the name of its quality, six qualities from end to end of the suite's, everything else."""


def curve(codec: str, images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean PSNR and mean bits per pixel over the images, at each quality."""
    encode, decode, name, qualities, options = CODECS[codec]
    decibels, rates = [], []
    for quality in qualities:
        files = [encode(image, **{name: quality}, **options) for image in images]
        errors = [np.asarray(decode(f))[..., :3] - i.astype(float) for f, i in zip(files, images, strict=True)]
        decibels.append(np.mean([20 * np.log10(255 / np.sqrt((error**2).mean())) for error in errors]))
        rates.append(np.mean([8 * len(f) / (i.size / 3) for f, i in zip(files, images, strict=True)]))
    return np.array(decibels), np.array(rates)


def bd_rate(anchor: tuple[np.ndarray, np.ndarray], codec: tuple[np.ndarray, np.ndarray]) -> float:
    """% more bits at equal PSNR."""
    low, high = max(a[0].min() for a in (anchor, codec)), min(a[0].max() for a in (anchor, codec))
    areas = []
    for decibels, rates in (anchor, codec):
        integral = np.poly1d(np.polyfit(decibels, np.log(rates), 3)).integ()
        areas.append(integral(high) - integral(low))
    return float(100 * np.expm1((areas[1] - areas[0]) / (high - low)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.png"))]
    if not images:
        sys.exit(f"cross_check: {folder}: holds no .png files")
    anchor = curve("avif", images)
    for codec in ("webp", "jxl", "jpeg"):
        print(f"{codec}: {bd_rate(anchor, curve(codec, images)):+.1f} % against avif, {len(images)} images", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
