"""Still images: PNG, JPEG, WebP, TIFF, PPM, BMP, GIF and more, at 8 and 16 bits."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8, UInt16
from numpy import ndarray

from ..errors import InrzipError, UnsupportedSignal
from ..signal import ArraySignal, Kind, Spec
from .samples import array_signal

JPEG_QUALITY = 95
# How Pillow's modes are read: everything else becomes RGB.
_KEPT_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA"}
_WRITE_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_DEEP_PNG_FORMATS = {1: "gray16be", 2: "ya16be", 3: "rgb48be", 4: "rgba64be"}
_DEEP_FORMAT_CHANNELS = {
    "gray16": 1, "ya16": 2, "rgb48": 3, "rgba64": 4, "gray10": 1, "gray12": 1, "gray14": 1,
}  # fmt: skip
_PNG_DEPTH_OFFSET, _PNG_DEEP = 24, 16
# EXIF orientation: quarter turns anticlockwise after an optional left-right flip (TIFF 6.0, tag 274).
_ORIENTATIONS = {
    1: (False, 0), 2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1),
}  # fmt: skip


def read_image(path: Path) -> ArraySignal:
    """The (first) image in a file: grey, grey+alpha, RGB or RGBA, 8 or 16 bits, upright as its EXIF orientation says.

    Palettes are expanded, 1-bit images become 0 and 255, CMYK and other colour spaces RGB.
    Raises `UnsupportedSignal` if the file is no image, is damaged, or has more pixels than Pillow holds to be safe.
    """
    return array_signal(read_pixels(path), Kind.IMAGE, path, os.path.getsize(path))


def read_pixels(path: Path) -> Shaped[ndarray, "h w *c"]:
    """The pixels of `read_image` as an array."""
    data = _head(path)
    deep_png = data.startswith(b"\x89PNG") and data[_PNG_DEPTH_OFFSET : _PNG_DEPTH_OFFSET + 1] == bytes([_PNG_DEEP])
    deep_netpbm = data[:2] in (b"P5", b"P6") and _netpbm_maximum(data) > 255
    with opened(path) as (file, facts):
        if not (deep_png or deep_netpbm):
            return read_frame(file, 0, path)
        pixels = _decode_deep(path, "png" if deep_png else ("pgm", "ppm")[data[:2] == b"P6"])
        return turn_upright(pixels, int(facts.get("Orientation", 1)))


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An image opened with imageio's Pillow plugin, and its metadata; its many errors become `UnsupportedSignal`."""
    import imageio.v3 as iio
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # An absolute path, since imageio takes some relative names (`imageio:…`, `http:…`) for addresses.
            with iio.imopen(path.absolute(), "r", plugin="pillow") as file:
                yield file, file.metadata(index=0, exclude_applied=False)
    except InrzipError:
        raise
    except Exception as error:  # Pillow's decoders let whatever a damaged byte leads to escape
        raise _image_error(path, error) from error


def _image_error(path: Path, error: Exception) -> UnsupportedSignal:
    from PIL import Image

    if isinstance(error.__cause__ or error, (Image.DecompressionBombWarning, Image.DecompressionBombError)):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        return UnsupportedSignal(f"{path}: has more than {limit} million pixels; cut it into smaller images")
    if isinstance(error, MemoryError):
        return UnsupportedSignal(f"{path}: needs more memory than there is; cut it into smaller images")
    reason = "is damaged or cut short" if "truncated" in str(error) else "is not an image that can be read"
    return UnsupportedSignal(f"{path}: {reason}; check the file in an image viewer")


def read_frame(file: Any, index: int, path: Path) -> UInt8[ndarray, "h w *c"]:
    """Frame `index` of an image from `opened`, as 8-bit grey (h, w) or (h, w, 2 to 4); upright."""
    facts = file.metadata(index=index, exclude_applied=False)
    mode = str(facts.get("mode", "RGB"))
    if mode.startswith("I") or mode == "F":
        pixels = np.asarray(file.read(index=index))
        return turn_upright(pixels.astype(np.uint16) if mode.startswith("I;16") else pixels, _orientation(file, index))
    target = _KEPT_MODES.get(mode, "RGB")
    if "transparency" in facts and target in ("L", "RGB"):
        target = "RGBA" if mode == "P" or target == "RGB" else "LA"
    pixels = np.asarray(file.read(index=index, mode=target))
    return turn_upright(pixels, _orientation(file, index))


def _orientation(file: Any, index: int) -> int:
    """The EXIF orientation of a frame that was just read. Only then: Pillow turns TIFF itself and drops the tag."""
    return int(file.metadata(index=index, exclude_applied=False).get("Orientation", 1))


def turn_upright(pixels: Shaped[ndarray, "h w *c"], orientation: int) -> Shaped[ndarray, "h2 w2 *c"]:
    """The picture as it is meant to be seen, given its EXIF orientation (1 to 8; any other changes nothing)."""
    flip, turns = _ORIENTATIONS.get(orientation, (False, 0))
    flipped = pixels[:, ::-1] if flip else pixels
    return np.ascontiguousarray(np.rot90(flipped, turns)) if flip or turns else pixels


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(512)


def _netpbm_maximum(head: bytes) -> int:
    fields = [field for line in head.split(b"\n") for field in line.split(b"#")[0].split()]
    try:
        return int(fields[3])
    except (IndexError, ValueError):
        return 0


def _decode_deep(path: Path, codec: str) -> UInt16[ndarray, "h w *c"]:
    """16-bit PNG and PPM through FFmpeg, which keeps every bit; Pillow cuts colour to 8."""
    import av

    try:
        context: Any = av.CodecContext.create(codec, "r")
        frames = [*context.decode(av.Packet(path.read_bytes())), *context.decode(None)]
        return deep_plane(frames[0])
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise UnsupportedSignal(f"{path}: is damaged or cut short; check the file in an image viewer") from error


def deep_plane(frame: Any) -> UInt16[ndarray, "h w *c"]:
    """The samples of a packed 16-bit FFmpeg frame, in native byte order."""
    name = frame.format.name
    channels = _DEEP_FORMAT_CHANNELS.get(name.removesuffix("be").removesuffix("le"))
    if channels is None:
        raise ValueError(f"no packed 16-bit format: {name}")
    plane = frame.planes[0]
    rows = np.frombuffer(plane, ">u2" if name.endswith("be") else "<u2").reshape(-1, plane.line_size // 2)
    pixels = rows[: frame.height, : frame.width * channels].astype(np.uint16)
    return pixels if channels == 1 else pixels.reshape(frame.height, frame.width, channels)


def write_image(path: Path, spec: Spec, pixels: Shaped[ndarray, "h w c"]) -> None:
    """Writes one image in the format of `path`'s extension. JPEG at quality 95; WebP without loss."""
    extension = path.suffix.lower()
    flat = pixels[..., 0] if spec.channels == 1 else pixels
    if extension in (".tif", ".tiff"):
        import tifffile

        photometric = "rgb" if spec.channels >= 3 else "minisblack"
        extra = ["unassalpha"] if spec.channels in (2, 4) else None
        tifffile.imwrite(path, flat, photometric=photometric, extrasamples=extra, metadata=None)
    elif pixels.dtype == np.uint16:
        path.write_bytes(_deep_netpbm(pixels) if extension in (".ppm", ".pgm", ".pnm") else deep_png(pixels))
    else:
        path.write_bytes(_encode_shallow(flat, _WRITE_MODES[spec.channels], extension))


def _encode_shallow(pixels: UInt8[ndarray, "h w *c"], mode: str, extension: str) -> bytes:
    import imageio.v3 as iio

    options: dict[str, Any] = {}
    if extension in (".jpg", ".jpeg"):
        options = {"quality": JPEG_QUALITY}
    if extension == ".webp":
        options = {"lossless": True, "exact": True}
    buffer = io.BytesIO()
    iio.imwrite(
        buffer, np.ascontiguousarray(pixels), plugin="pillow", extension=extension, mode=mode, is_batch=False, **options
    )
    return buffer.getvalue()


def deep_png(pixels: UInt16[ndarray, "h w c"]) -> bytes:
    """A 16-bit PNG of 1 to 4 channels."""
    import av

    height, width, channels = pixels.shape
    context = av.VideoCodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt = width, height, _DEEP_PNG_FORMATS[channels]
    context.time_base = context.framerate = 1  # type: ignore[assignment]
    frame = av.VideoFrame(width, height, _DEEP_PNG_FORMATS[channels])
    plane = frame.planes[0]
    rows = np.zeros((height, plane.line_size), np.uint8)
    rows[:, : width * channels * 2] = np.ascontiguousarray(pixels.astype(">u2")).reshape(height, -1).view(np.uint8)
    plane.update(rows.tobytes().ljust(plane.buffer_size, b"\0")[: plane.buffer_size])
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def _deep_netpbm(pixels: UInt16[ndarray, "h w c"]) -> bytes:
    height, width, channels = pixels.shape
    return b"P%d\n%d %d\n65535\n" % (6 if channels == 3 else 5, width, height) + pixels.astype(">u2").tobytes()
