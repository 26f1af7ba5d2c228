"""From any NumPy array to samples of a type the format codes, and to a signal of the kind asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import UnsupportedSignal
from ..signal import ArraySignal, Kind, MetaValue, Spec

DEFAULT_FRAME_RATE = (25, 1)
DEFAULT_SAMPLE_RATE = (44100, 1)
MAX_VOLUME_AXES = 4
MAX_IMAGE_CHANNELS = 4
AUDIO_TYPES = ("u1", "i1", "i2", "i3", "i4", "f4", "f8")
VIDEO_TYPES = ("u1", "u2")
# Elements looked at in one go when an array on disk is scanned.
_SCAN_ELEMENTS = 1 << 22


def to_sample_type(array: Shaped[ndarray, "*_"], path: Path) -> Shaped[ndarray, "*_"]:
    """`array` in native byte order and in one of `SAMPLE_TYPES`; the same object, where it is so already.

    64-bit integers become 32-bit ones if every value fits. Raises `UnsupportedSignal` for any other type and for no
    samples.
    """
    if array.size == 0:
        raise UnsupportedSignal(f"{path}: holds no samples (its shape is {array.shape}); there is nothing to compress")
    kind, width = array.dtype.kind, array.dtype.itemsize
    if kind in "iu" and width == 8:
        return _narrowed(array, path)
    if not (kind in "biu" or (kind == "f" and width <= 8)):
        raise UnsupportedSignal(
            f"{path}: holds samples of type {array.dtype}; convert them to integers of at most 32 bits or to floats"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _narrowed(array: Shaped[ndarray, "*_"], path: Path) -> Shaped[ndarray, "*_"]:
    lowest, highest = int(array.min()), int(array.max())
    for target in (np.int32, np.uint32):
        bounds = np.iinfo(target)
        if bounds.min <= lowest and highest <= bounds.max:
            return array.astype(target)
    raise UnsupportedSignal(
        f"{path}: holds {array.dtype} values from {lowest} to {highest}, "
        "which do not fit 32 bits; rescale them or use float64"
    )


def type_name(array: Shaped[ndarray, "*_"]) -> str:
    """The entry of `SAMPLE_TYPES` for an array that `to_sample_type` returned."""
    return f"{array.dtype.kind}{array.dtype.itemsize}"


def value_range(array: Shaped[ndarray, "*_ c"], path: Path) -> tuple[float, float]:
    """The lowest and highest sample. Raises `UnsupportedSignal` if any is infinite or not a number."""
    row = max(1, array.size // len(array))
    step = max(1, _SCAN_ELEMENTS // row)
    lowest, highest = np.inf, -np.inf
    bad, first_bad = 0, -1
    for start in range(0, len(array), step):
        part = np.asarray(array[start : start + step])
        if part.dtype.kind == "f":
            wrong = ~np.isfinite(part)
            if wrong.any():
                first_bad = first_bad if bad else start * row + int(wrong.ravel().argmax())
                bad += int(wrong.sum())
                continue
        lowest, highest = min(lowest, float(part.min())), max(highest, float(part.max()))
    if bad:
        index = tuple(int(i) for i in np.unravel_index(first_bad, array.shape))
        refuse_not_finite(bad, index[:-1] if array.shape[-1] == 1 else index, path)
    return lowest, highest


def refuse_not_finite(count: int, first: tuple[int, ...], path: Path) -> None:
    """Raises the error for samples that are infinite or not a number."""
    where = first[0] if len(first) == 1 else first
    raise UnsupportedSignal(
        f"{path}: {count} samples are infinite or not a number, the first at index {where}; replace them first"
    )


def audio_range(array: Shaped[ndarray, "n c"], sample_type: str, path: Path) -> tuple[float, float]:
    """`low`, `high` for audio: symmetric about silence out to the loudest sample, but within the type's own range.

    Silence alone gives (-1, 1), or (127, 129) for unsigned 8-bit samples, whose silence is 128.
    """
    centre = 128.0 if sample_type == "u1" else 0.0
    lowest, highest = value_range(array, path)
    peak = max(highest - centre, centre - lowest) or 1.0
    low, high = centre - peak, centre + peak
    if array.dtype.kind in "iu":
        bits = 24 if sample_type == "i3" else 8 * array.dtype.itemsize
        top = 2.0**bits - 1 if sample_type == "u1" else 2.0 ** (bits - 1) - 1
        return low, min(high, top)
    return (low, high) if np.isfinite([low, high]).all() else (lowest, highest)


def audio_signal(
    array: Shaped[ndarray, "n c"], sample_type: str, meta: Mapping[str, MetaValue], path: Path, source_bytes: int | None
) -> ArraySignal:
    """An audio signal of samples (n, channels). Raises `UnsupportedSignal` if there are none or some are not finite."""
    if array.size == 0:
        raise UnsupportedSignal(f"{path}: holds no sound (0 samples); there is nothing to compress")
    low, high = audio_range(array, sample_type, path)
    spec = Spec(Kind.AUDIO, array.shape[:1], array.shape[1], sample_type, low, high, meta)
    return ArraySignal(spec, array, source_bytes)


def array_signal(
    array: Shaped[ndarray, "*_"],
    kind: Kind,
    path: Path,
    source_bytes: int | None,
    *,
    channel_axis: bool = False,
    meta: Mapping[str, MetaValue] | None = None,
) -> ArraySignal:
    """A signal of `kind` from a bare array.

    - VOLUME: every axis is a grid axis, 1 to 4 of them, unless `channel_axis` says that the last one is of channels.
    - IMAGE: (H, W) or (H, W, 1 to 4).  VIDEO: (T, H, W) or (T, H, W, 1 to 4), 25 frames a second.
    - AUDIO: (N,) or (N, channels), 44,100 samples a second.

    Raises `UnsupportedSignal` where the shape or the sample type does not go with `kind`.
    """
    array = to_sample_type(array, path)
    facts: dict[str, MetaValue] = {"format": path.suffix.lower(), **(meta or {})}
    ranks = {Kind.IMAGE: 2, Kind.VIDEO: 3, Kind.AUDIO: 1}
    if kind not in (*ranks, Kind.VOLUME):
        raise UnsupportedSignal(
            f"{path}: an array cannot be read as a {kind.name.lower()}; give a mesh file (.obj, .ply, .stl)"
        )
    rank = ranks.get(kind, array.ndim - channel_axis)
    samples = array[..., None] if array.ndim == rank else array
    _check_shape(array, samples, kind, rank, path)
    if kind == Kind.AUDIO:
        return audio_signal(samples, type_name(array), {"rate": DEFAULT_SAMPLE_RATE, **facts}, path, source_bytes)
    if kind == Kind.VIDEO:
        facts = {"rate": DEFAULT_FRAME_RATE, **facts}
    low, high = _sample_range(samples, kind, path)
    spec = Spec(kind, samples.shape[:-1], samples.shape[-1], type_name(array), low, high, facts)
    return ArraySignal(spec, samples, source_bytes)


def _sample_range(samples: Shaped[ndarray, "*_"], kind: Kind, path: Path) -> tuple[float, float]:
    if kind == Kind.IMAGE and type_name(samples) == "u1":
        return 0.0, 255.0
    if kind == Kind.VIDEO:
        return 0.0, float(np.iinfo(samples.dtype).max)
    return value_range(samples, path)


def _check_shape(
    array: Shaped[ndarray, "*_"], samples: Shaped[ndarray, "*_"], kind: Kind, rank: int, path: Path
) -> None:
    wanted = {
        Kind.IMAGE: "(height, width) or (height, width, 1 to 4 channels)",
        Kind.VIDEO: "(frames, height, width) or (frames, height, width, 1 to 4 channels)",
        Kind.AUDIO: "(samples,) or (samples, channels)",
        Kind.VOLUME: "1 to 4 axes",
    }[kind]
    limit = 255 if kind == Kind.AUDIO else MAX_IMAGE_CHANNELS
    fits = samples.ndim == rank + 1 and 1 <= rank <= MAX_VOLUME_AXES and samples.shape[-1] <= limit
    if not fits:
        raise UnsupportedSignal(f"{path}: has shape {array.shape}; a {kind.name.lower()} needs {wanted}")
    allowed = {Kind.AUDIO: AUDIO_TYPES, Kind.VIDEO: VIDEO_TYPES}.get(kind)
    if allowed and type_name(array) not in allowed:
        raise UnsupportedSignal(
            f"{path}: holds samples of type {array.dtype}; a {kind.name.lower()} needs one of {', '.join(allowed)}"
        )
