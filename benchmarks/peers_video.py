"""Video codecs through PyAV: x264, x265, SVT-AV1; and without loss FFV1.

A file is a bare stream (.h264, .hevc, .obu): the smallest that a player opens. Frames go in as YUV 8 bits, made from
RGB by swscale, and PSNR is of the RGB that comes out, as in the papers. All on one thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from inrzip.signal import Kind

from .items import Item
from .methods import CannotCode, Method
from .versions import pyav_version

CRFS = (48.0, 43.0, 38.0, 33.0, 28.0, 23.0, 18.0)
AV1_CRFS = (63.0, 57.0, 50.0, 43.0, 35.0, 28.0, 20.0)
SWSCALE = "BICUBIC"
WITHOUT_NOTES = "filter_units=remove_types=6"  # x264's note of its options, some 700 bytes
LEAST_AV1_SIDE = 64  # SVT-AV1 takes no smaller frames


@dataclasses.dataclass(frozen=True)
class Encoder:
    """What PyAV needs: the encoder, its pixel format and options, and the format of the bare stream."""

    library: str
    container: str
    pixels: str
    options: tuple[tuple[str, str], ...]
    least_side: int = 2


X264 = Encoder("libx264", "h264", "yuv444p", (("preset", "veryslow"), ("threads", "1")))
X265 = Encoder(
    "libx265",
    "hevc",
    "yuv444p",
    (("preset", "slow"), ("x265-params", "log-level=none:pools=none:frame-threads=1:info=0")),
)
SVTAV1 = Encoder("libsvtav1", "obu", "yuv420p", (("preset", "4"), ("svtav1-params", "lp=1:tune=1")), LEAST_AV1_SIDE)
FFV1 = Encoder("ffv1", "matroska", "bgr0", (("level", "3"), ("coder", "1"), ("context", "1"), ("slices", "4")))


def _rgb(item: Item) -> UInt8[ndarray, "t h w 3"]:
    """Frames of 8-bit RGB with even sides, the last row and column repeated. Raises CannotCode for other samples."""
    samples = item.samples
    if samples.dtype != np.uint8 or samples.shape[3] not in (1, 3):
        raise CannotCode(f"{samples.shape[3]} channels of {samples.dtype}: takes grey and RGB of 8 bits")
    odd = [(0, side % 2) for side in samples.shape[1:3]]
    padded = np.pad(samples, ((0, 0), *odd, (0, 0)), mode="edge")
    return np.repeat(padded, 3, -1) if padded.shape[3] == 1 else padded


def _picture(encoder: Encoder, rgb: UInt8[ndarray, "h w 3"], index: int, rate: Fraction) -> Any:
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    picture = frame.reformat(format=encoder.pixels, interpolation=SWSCALE)
    picture.pts, picture.time_base = index, 1 / rate  # rate control weighs frames by how long they are seen
    return picture


@contextlib.contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """Gives the calling thread its scheduling back. Run by the superuser, SVT-AV1 makes it a real-time thread of the
    highest priority, and for good: all that is started later inherits it, and can keep everything else from running.
    """
    if not hasattr(os, "sched_setscheduler"):  # macOS, Windows
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@_scheduled_as_before()
def _encode(encoder: Encoder, item: Item, crf: float) -> bytes:
    os.environ.setdefault("SVT_LOG", "1")  # errors only
    import av

    av.logging.set_level(None)  # with any other level, threads that FFmpeg ends may wait for Python for ever
    frames = _rgb(item)
    if min(frames.shape[1:3]) < encoder.least_side:
        raise CannotCode(f"frames of {frames.shape[2]}x{frames.shape[1]}: takes sides from {encoder.least_side} on")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=encoder.container) as out:
        options = dict(encoder.options) | ({} if encoder is FFV1 else {"crf": f"{crf:g}"})
        rate = Fraction(item.rate or 25).limit_denominator(1001)
        stream: Any = out.add_stream(encoder.library, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], encoder.pixels
        pictures = [_picture(encoder, rgb, i, rate) for i, rgb in enumerate(frames)]
        packets = [packet for picture in (*pictures, None) for packet in stream.encode(picture)]
        if encoder.library == X264.library:
            cutter = av.BitStreamFilterContext(WITHOUT_NOTES, stream)
            packets = [cut for packet in (*packets, None) for cut in cutter.filter(packet)]
        out.mux(packets)
    return buffer.getvalue()


def _decode(container: str, data: bytes, item: Item) -> Shaped[ndarray, "t h w c"]:
    import av

    height, width = item.spec.shape[1:]
    with av.open(io.BytesIO(data), "r", format=container) as source:
        frames = [
            frame.reformat(format="rgb24", interpolation=SWSCALE).to_ndarray()[:height, :width]
            for frame in source.decode(video=0)
        ]
    decoded = np.stack(frames)
    if item.spec.channels == 1:
        decoded = np.rint(decoded.mean(-1, keepdims=True)).astype(np.uint8)
    return decoded


def _method(name: str, settings: str, ladder: tuple[float, ...], encoder: Encoder, lossless: bool = False) -> Method:
    encode = functools.partial(_encode, encoder)
    decode = functools.partial(_decode, encoder.container)
    version = functools.partial(pyav_version, encoder.library)
    return Method(name, Kind.VIDEO, settings, ladder, encode, decode, version, lossless)


def _tuned(encoder: Encoder) -> Encoder:
    """Without what makes a picture look better and its PSNR worse."""
    return dataclasses.replace(encoder, options=(*encoder.options, ("tune", "psnr")))


METHODS = (
    _method("x264", "veryslow, 4:4:4, CRF, bare .h264 stream without x264's note of its options", CRFS, X264),
    _method("x265", "slow, 4:4:4, CRF, bare .hevc stream without x265's note of its options", CRFS, X265),
    _method("x264-psnr", "as x264, tuned for PSNR", CRFS, _tuned(X264)),
    _method("x265-psnr", "as x265, tuned for PSNR", CRFS, _tuned(X265)),
    _method("svt-av1", "preset 4, 4:2:0 (all it has), CRF, tuned for PSNR, bare .obu stream", AV1_CRFS, SVTAV1),
    _method("ffv1", "version 3, range coder, large contexts, Matroska", (0.0,), FFV1, lossless=True),
)
