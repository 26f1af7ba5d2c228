"""Image codecs: JPEG, WebP, AVIF, JPEG XL, JPEG 2000; and without loss PNG, WebP, JPEG XL. All on one thread."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from inrzip.signal import Kind

from .items import Item
from .methods import CannotCode, Method, NotInstalled
from .versions import imagecodecs_version

AVIF_SPEED, JXL_EFFORT, JXL_LOSSLESS_EFFORT, WEBP_METHOD = 4, 7, 9, 6
QUALITIES = (5.0, 10.0, 20.0, 35.0, 50.0, 65.0, 80.0, 90.0, 95.0)
AVIF_QUALITIES = (5.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0, 75.0, 85.0, 92.0)
JXL_DISTANCES = (15.0, 10.0, 7.0, 5.0, 3.5, 2.5, 1.7, 1.0, 0.6, 0.3)
JPEG2000_RATIOS = (160.0, 96.0, 64.0, 40.0, 24.0, 14.0, 8.0, 5.0)
LOSSLESS = (100.0,)

Samples = Shaped[ndarray, "h w c"]


def _eight_bits(item: Item) -> UInt8[ndarray, "h w c"]:
    """Grey or RGB samples of 8 bits. Raises CannotCode for others."""
    samples = item.samples
    if samples.dtype != np.uint8 or samples.shape[2] not in (1, 3):
        raise CannotCode(f"{samples.shape[2]} channels of {samples.dtype}: takes grey and RGB of 8 bits")
    return samples


def _pillow_version(feature: str | None = None) -> str:
    try:
        import PIL
        from PIL import features
    except ImportError as error:
        raise NotInstalled("Pillow") from error
    if feature is not None and not features.check(feature):
        raise NotInstalled(f"Pillow with {feature}")
    return f"Pillow {PIL.__version__}" + (f" ({feature} {features.version(feature)})" if feature else "")


def _pillow_encode(options: Callable[[float], dict[str, Any]], item: Item, quality: float) -> bytes:
    from PIL import Image

    samples = _eight_bits(item)
    buffer = io.BytesIO()
    Image.fromarray(samples if samples.shape[2] == 3 else samples[..., 0]).save(buffer, **options(quality))
    return buffer.getvalue()


def _pillow_decode(data: bytes, item: Item) -> Samples:
    from PIL import Image

    image = Image.open(io.BytesIO(data))
    return np.asarray(image.convert("L" if item.spec.channels == 1 else "RGB")).reshape(item.samples.shape)


def _pillow(
    name: str,
    settings: str,
    ladder: tuple[float, ...],
    options: Callable[[float], dict[str, Any]],
    feature: str | None,
    lossless: bool = False,
) -> Method:
    encode, version = functools.partial(_pillow_encode, options), functools.partial(_pillow_version, feature)
    return Method(name, Kind.IMAGE, settings, ladder, encode, _pillow_decode, version, lossless)


def _jxl_encode(item: Item, distance: float) -> bytes:
    import imagecodecs

    samples = _eight_bits(item)
    return bytes(imagecodecs.jpegxl_encode(samples, distance=distance, effort=JXL_EFFORT, numthreads=1))


def _jxl_lossless_encode(item: Item, _: float) -> bytes:
    import imagecodecs

    if item.samples.dtype.name not in ("uint8", "uint16"):
        raise CannotCode(f"{item.samples.dtype}: takes 8 and 16 bits")
    return bytes(imagecodecs.jpegxl_encode(item.samples, lossless=True, effort=JXL_LOSSLESS_EFFORT, numthreads=1))


def _jxl_decode(data: bytes, item: Item) -> Samples:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1)).reshape(item.samples.shape)


def _png_encode(item: Item, _: float) -> bytes:
    import imageio.v3 as iio

    if item.samples.dtype.name not in ("uint8", "uint16"):
        raise CannotCode(f"{item.samples.dtype}: takes 8 and 16 bits")
    if item.samples.dtype == np.uint16 and item.spec.channels == 3:  # Pillow has no RGB of 16 bits
        import imagecodecs

        return bytes(imagecodecs.png_encode(item.samples, level=9))
    samples = item.samples[..., 0] if item.spec.channels == 1 else item.samples
    return bytes(iio.imwrite("<bytes>", samples, extension=".png", optimize=True))


def _png_decode(data: bytes, item: Item) -> Samples:
    import imagecodecs

    return np.asarray(imagecodecs.png_decode(data)).reshape(item.samples.shape)


def _imagecodecs_png_version() -> str:
    return f"{_pillow_version()}; {imagecodecs_version('png')}"


METHODS = (
    _pillow(
        "jpeg",
        "Pillow, 4:4:4, optimised Huffman tables, progressive",
        QUALITIES,
        lambda q: {"format": "JPEG", "quality": int(q), "subsampling": 0, "optimize": True, "progressive": True},
        "jpg",
    ),
    _pillow(
        "webp",
        f"Pillow, method {WEBP_METHOD} (lossy WebP is always 4:2:0)",
        QUALITIES,
        lambda q: {"format": "WEBP", "quality": int(q), "method": WEBP_METHOD},
        "webp",
    ),
    _pillow(
        "avif",
        f"Pillow, libaom, 4:4:4, speed {AVIF_SPEED}",
        AVIF_QUALITIES,
        lambda q: {
            "format": "AVIF",
            "quality": int(q),
            "speed": AVIF_SPEED,
            "subsampling": "4:4:4",
            "codec": "aom",
            "max_threads": 1,
        },
        "avif",
    ),
    Method(
        "jxl",
        Kind.IMAGE,
        f"libjxl, XYB, effort {JXL_EFFORT}, quality points are distances",
        JXL_DISTANCES,
        _jxl_encode,
        _jxl_decode,
        functools.partial(imagecodecs_version, "jpegxl"),
    ),
    _pillow(
        "jpeg2000",
        "OpenJPEG, bare codestream, 9/7 wavelet, quality points are compression ratios",
        JPEG2000_RATIOS,
        lambda q: {
            "format": "JPEG2000",
            "quality_mode": "rates",
            "quality_layers": [q],
            "irreversible": True,
            "no_jp2": True,
            "mct": 1,
        },
        "jpg_2000",
    ),
    Method(
        "png",
        Kind.IMAGE,
        "Pillow, optimised (RGB of 16 bits: libpng, level 9)",
        LOSSLESS,
        _png_encode,
        _png_decode,
        _imagecodecs_png_version,
        lossless=True,
    ),
    _pillow(
        "webp-lossless",
        "Pillow, method 6, quality 100",
        LOSSLESS,
        lambda q: {"format": "WEBP", "lossless": True, "quality": 100, "method": 6, "exact": True},
        "webp",
        lossless=True,
    ),
    Method(
        "jxl-lossless",
        Kind.IMAGE,
        f"libjxl, effort {JXL_LOSSLESS_EFFORT}",
        LOSSLESS,
        _jxl_lossless_encode,
        _jxl_decode,
        functools.partial(imagecodecs_version, "jpegxl"),
        lossless=True,
    ),
)
