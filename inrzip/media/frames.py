"""Videos that are separate pictures: folders of image files, and animated WebP and PNG."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import UnsupportedSignal
from ..signal import Kind, MetaValue, Signal, Spec
from .images import opened, read_frame, read_pixels
from .samples import DEFAULT_FRAME_RATE, VIDEO_TYPES, array_signal, type_name
from .sniff import frame_files, identify, total_bytes
from .timing import TICKS_PER_SECOND
from .volumes import read_tiff

_DEFAULT_DELAY_MS = 100.0  # what browsers make of a missing delay


class FramesSignal(Signal):
    """A video whose frames are read one by one by `frame(k)`, which gives (h, w, channels)."""

    def __init__(self, spec: Spec, frame: Callable[[int], Shaped[ndarray, "h w c"]], source_bytes: int):
        self.spec = spec
        self.source_bytes = source_bytes
        self._frame = frame

    def read(self, start: int, stop: int) -> Shaped[ndarray, "part h w c"]:
        start, stop, _ = slice(start, stop).indices(self.spec.shape[0])
        part = np.empty((max(0, stop - start), *self.spec.shape[1:], self.spec.channels), self.spec.dtype)
        for k in range(len(part)):
            part[k] = self._frame(start + k)
        return part


def read_frame_folder(folder: Path) -> FramesSignal:
    """A folder of images as a video of 25 frames a second, in natural order of their names.

    All must have the same size, channels and depth (8 or 16 bits); `UnsupportedSignal` names the first that differs.
    """
    files = frame_files(folder)
    if not files:
        raise UnsupportedSignal(f"{folder}: holds no images; name a folder of frames")
    first = _pixels(files[0])
    for file in files[1:]:
        _check_size(file, first.shape[:2], files[0])

    def frame(k: int) -> Shaped[ndarray, "h w c"]:
        pixels = _pixels(files[k])
        if pixels.shape != first.shape or pixels.dtype != first.dtype:
            raise UnsupportedSignal(
                f"{files[k]}: is {_describe(pixels)}, but {files[0].name} is {_describe(first)}; frames must be alike"
            )
        return pixels

    meta: dict[str, MetaValue] = {"rate": DEFAULT_FRAME_RATE}
    return FramesSignal(_spec(first, len(files), meta, folder), frame, sum(total_bytes(file) for file in files))


def read_animation(path: Path) -> FramesSignal | None:
    """An animated image (WebP, PNG) as a video with its own frame times; None if it stands still."""
    with opened(path) as (file, _):
        count = int(file.properties(index=...).n_images or 1)
        if count < 2:
            return None
        first = _with_channels(read_frame(file, 0, path))
        delays = [_delay(file, k) for k in range(count)]
    channels = first.shape[-1]

    def frame(k: int) -> Shaped[ndarray, "h w c"]:
        with opened(path) as (again, _):
            pixels = _with_channels(read_frame(again, k, path))
        if pixels.shape[-1] > channels:
            return pixels[..., :channels]
        return (
            pixels if pixels.shape[-1] == channels else np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], -1)
        )

    starts = np.cumsum([0.0, *delays[:-1]]) * (TICKS_PER_SECOND / 1000)
    meta: dict[str, MetaValue] = {"rate": (1000, max(1, round(sum(delays) / count))), "format": path.suffix.lower()}
    if len(set(delays)) > 1:
        meta["times"] = tuple(round(float(start)) for start in starts)
    return FramesSignal(_spec(first, count, meta, path), functools.lru_cache(maxsize=1)(frame), total_bytes(path))


def _delay(file: Any, k: int) -> float:
    """How long frame `k` is shown, in ms. Pillow knows only once it has decoded the frame."""
    file.read(index=k)
    return float(file.metadata(index=k).get("duration") or _DEFAULT_DELAY_MS)


def _spec(first: Shaped[ndarray, "h w c"], count: int, meta: dict[str, MetaValue], path: Path) -> Spec:
    sample_type = type_name(first)
    if sample_type not in VIDEO_TYPES:
        raise UnsupportedSignal(
            f"{path}: its frames hold samples of type {first.dtype}; a video needs 8 or 16-bit integers"
        )
    high = float(np.iinfo(first.dtype).max)
    return Spec(Kind.VIDEO, (count, *first.shape[:2]), first.shape[2], sample_type, 0.0, high, meta)


def _pixels(path: Path) -> Shaped[ndarray, "h w c"]:
    """One frame's image; of an animation or a TIFF, the first."""
    if identify(path) == "tiff":
        return read_tiff(path, Kind.IMAGE).read(0, 2**62)
    return _with_channels(read_pixels(path))


def _with_channels(pixels: Shaped[ndarray, "h w *c"]) -> Shaped[ndarray, "h w c"]:
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _check_size(path: Path, size: tuple[int, ...], like: Path) -> None:
    """Compares a frame's size by its header alone. A frame with an EXIF orientation may be stored on its side."""
    if identify(path) == "tiff":
        return  # found out when the frame is read
    with opened(path) as (file, _):
        shape = file.properties(index=0).shape
    if sorted(shape[:2]) != sorted(size):
        raise UnsupportedSignal(
            f"{path}: is {shape[1]}x{shape[0]}, but {like.name} is {size[1]}x{size[0]}; frames must be of one size"
        )


def _describe(pixels: Shaped[ndarray, "h w c"]) -> str:
    height, width, channels = pixels.shape
    return f"{width}x{height} of {channels} channels, {8 * pixels.dtype.itemsize} bits"


def stacked(signal: Signal, kind: Kind, path: Path) -> Signal:
    """A video's frames as a volume (T, H, W) in memory, its channels kept."""
    spec, samples = signal.spec, signal.read(0, signal.spec.shape[0])
    array = samples[..., 0] if spec.channels == 1 else samples
    return array_signal(array, kind, path, signal.source_bytes, channel_axis=spec.channels > 1)
