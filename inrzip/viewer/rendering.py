"""What the page asks for, as bytes: planes of pixels, sound, surfaces, blocks of a volume."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray

from ..errors import InrzipError
from ..reader import Reader
from ..signal import Kind, Mesh, Spec
from .signals import Original, Viewed, as_waves

MOST_SAMPLES = 1 << 24
"""Of one answer. A page asks for what a screen shows."""
ERROR_GAIN = 4
"""An error map is told in quarters of a level of 8 bits."""
SURFACE_POINTS = 200_000
"""Of an original, that distances of a decoded surface are measured to."""

Source = Literal["decoded", "original", "error"]
Range = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Answer:
    """Bytes of an array of that shape, row by row, lowest byte of a number first. Without a shape: JSON."""

    shape: tuple[int, ...]
    data: bytes


@dataclasses.dataclass(frozen=True)
class PlaneQuery:
    """`bounds`: (start, stop) of each axis, in samples; all but two have one sample. `scale`: pixels for a sample."""

    source: Source
    bounds: tuple[Range, ...]
    scale: float


def plane(viewed: Viewed, query: PlaneQuery) -> Answer:
    """A rectangle of pixels as 8-bit numbers, channels last; of an error map one channel, in quarters of a level."""
    reader = viewed.signal()
    bounds, scale = _checked(reader.spec, query.bounds), query.scale
    if not (math.isfinite(scale) and scale > 0):
        raise InrzipError(f"scale {scale} is no positive number")
    samples = 1.0
    for start, stop in bounds:
        samples *= max(1.0, (stop - start) * scale)
    if samples > MOST_SAMPLES:
        raise InrzipError(f"a view of {samples:.3g} samples is more than a page shows; zoom out or take a part")
    if query.source == "error":
        return _answer(_flat(error_levels(viewed, bounds, scale), reader.spec, bounds))
    if query.source == "original":
        original = _original(viewed)
        return _answer(_flat(levels(original.render(bounds, scale), original.spec), reader.spec, bounds))
    return _answer(_flat(levels(_decode(reader, bounds, scale), reader.spec), reader.spec, bounds))


def _checked(spec: Spec, bounds: Sequence[Range]) -> tuple[Range, ...]:
    if len(bounds) != len(spec.shape) or spec.kind in (Kind.AUDIO, Kind.SHAPE):
        raise InrzipError(f"{len(bounds)} ranges for a signal of {len(spec.shape)} axes")
    for (start, stop), n in zip(bounds, spec.shape, strict=True):
        if not 0 <= start < stop <= n:
            raise InrzipError(f"range {start}:{stop} is empty or outside 0:{n}")
    return tuple(bounds)


def _decode(reader: Reader, bounds: Sequence[Range], scale: float) -> Shaped[ndarray, "*grid channels"]:
    if reader.spec.kind == Kind.VIDEO:
        return reader.render(region=bounds[1:], frames=bounds[0], scale=scale)
    return reader.render(region=bounds, scale=scale)


def _original(viewed: Viewed) -> Original:
    if viewed.original is None:
        raise InrzipError(f"{viewed.name}: there is no original to compare with; name one with --against")
    return viewed.original


def _flat(shown: UInt8[ndarray, "*grid channels"], spec: Spec, bounds: Sequence[Range]) -> UInt8[ndarray, "h w c"]:
    """Without the axes of one sample: of those that are evaluated more finely, the middle."""
    axes = [axis for axis, (start, stop) in enumerate(bounds) if stop - start > 1]
    for axis in range(len(bounds) - 1, -1, -1):
        if len(axes) < 2 and axis not in axes:
            axes.append(axis)
    kept = sorted(axes)
    if len(kept) != min(2, len(bounds)):
        raise InrzipError(f"a plane has two axes, not {len(kept)}")
    picked = shown[tuple(slice(None) if i in kept else shown.shape[i] // 2 for i in range(len(bounds)))]
    return picked if len(kept) == 2 else picked[None]


def levels(samples: Shaped[ndarray, "..."], spec: Spec) -> UInt8[ndarray, "..."]:
    """Samples as a screen shows them."""
    if spec.sample_type == "u1" and samples.dtype == np.uint8:
        return samples
    shown: UInt8[ndarray, "..."] = np.rint(_shown(samples, spec)).astype(np.uint8)
    return shown


def _shown(samples: Shaped[ndarray, "..."], spec: Spec) -> Float[ndarray, "..."]:
    """From 0 to 255: pictures by their type's span, volumes and floats by the range of their samples."""
    low, high = spec.low, spec.high
    if spec.sample_type == "u1":
        low, high = 0.0, 255.0
    elif spec.kind in (Kind.IMAGE, Kind.VIDEO) and spec.dtype.kind == "u":
        low, high = 0.0, spec.peak
    span = (high - low) or 1.0
    shown: Float[ndarray, "..."] = np.clip((samples.astype(np.float64) - low) * (255 / span), 0, 255)
    return shown


def error_levels(viewed: Viewed, bounds: Sequence[Range], scale: float) -> UInt8[ndarray, "*grid 1"]:
    """Mean absolute differences of samples: averaged where the view is small; else one for each sample."""
    original, reader = _original(viewed), viewed.signal()
    if math.prod(stop - start for start, stop in bounds) > MOST_SAMPLES:
        raise InrzipError("an error map of so much at once; zoom in")
    both = [_shown(s, reader.spec) for s in (original.render(bounds, 1.0), _decode(reader, bounds, 1.0))]
    differences = np.abs(both[0] - both[1]).mean(-1, keepdims=True)
    if scale < 1:
        differences = _averaged(differences, scale, 1 if reader.spec.kind == Kind.VIDEO else 0)
    return _as_bytes(ERROR_GAIN * differences)


def _as_bytes(values: Float[ndarray, "..."]) -> UInt8[ndarray, "..."]:
    rounded: UInt8[ndarray, "..."] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _averaged(values: Float[ndarray, "*grid 1"], scale: float, first: int) -> Float[ndarray, "*grid 1"]:
    """Means over blocks, along the axes from `first` on."""
    for axis in range(first, values.ndim - 1):
        size = max(1, round(values.shape[axis] * scale))
        starts = np.arange(size) * values.shape[axis] // size
        counts = np.diff([*starts, values.shape[axis]])
        sums = np.add.reduceat(values, starts, axis)
        values = sums / counts.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    return values


def _answer(array: ndarray) -> Answer:
    return Answer(array.shape, np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())


def waves(viewed: Viewed, source: Source, start: int, stop: int, scale: float) -> Answer:
    """Sound as 32-bit floats from -1 to 1, (samples, channels): of a sound, of a video, or a volume of one axis."""
    reader = viewed.signal()
    spec = reader.spec
    n_samples = max(1.0, (stop - start) * scale)
    if not (math.isfinite(scale) and scale > 0) or n_samples * spec.channels > MOST_SAMPLES:
        raise InrzipError(f"{n_samples:.3g} samples at once are more than a page shows")
    if spec.kind == Kind.VIDEO:
        sound = viewed.sound()
        if sound is None:
            raise InrzipError(f"{viewed.name}: has no sound")
        return _answer(sound.samples[start:stop])
    if len(spec.shape) != 1 or not 0 <= start < stop <= spec.shape[0]:
        raise InrzipError(f"range {start}:{stop} is empty or outside 0:{spec.shape[0]}")
    if source == "original":
        found = _original(viewed).render([(start, stop)], scale)
    else:
        found = reader.render(region=[(start, stop)], scale=scale)
    if spec.kind == Kind.AUDIO:
        return _answer(as_waves(found, spec))
    span = (spec.high - spec.low) or 1.0
    return _answer(((found.astype(np.float64) - spec.low) / span * 2 - 1).astype(np.float32))


def surface(viewed: Viewed, source: Source, scale: float) -> Answer:
    """A shape's triangles: the number of vertices and of faces, 32 bits each, then vertices (x, y, z and the distance
    to the original in the length of the box, or 0) as 32-bit floats, then faces as three 32-bit numbers each.
    """
    reader = viewed.signal()
    mesh = _original(viewed).mesh() if source == "original" else viewed.mesh(scale)
    vertices = np.zeros((len(mesh.vertices), 4), "<f4")
    box = reader.spec.meta["box"]
    assert isinstance(box, tuple)
    vertices[:, :3] = (mesh.vertices - np.array(box[:3], np.float64)) * (2 / float(box[3])) - 1
    if source == "error" and len(vertices):
        vertices[:, 3] = _distances(mesh, _original(viewed).mesh()) / float(box[3])
    head = np.array([len(vertices), len(mesh.faces)], "<u4")
    data = head.tobytes() + vertices.tobytes() + mesh.faces.astype("<u4").tobytes()
    return Answer((len(vertices), len(mesh.faces)), data)


def _distances(mesh: Mesh, original: Mesh) -> Float[ndarray, " v"]:
    """From each vertex to the nearest of many random points of the original."""
    from scipy.spatial import cKDTree

    corners = np.asarray(original.vertices, np.float64)[original.faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    rng = np.random.default_rng(0)
    picked = corners[rng.choice(len(corners), SURFACE_POINTS, p=areas / areas.sum())]
    root, along = np.sqrt(rng.random(SURFACE_POINTS))[:, None], rng.random(SURFACE_POINTS)[:, None]
    points = (1 - root) * picked[:, 0] + root * (1 - along) * picked[:, 1] + root * along * picked[:, 2]
    distances: Float[ndarray, " v"] = cKDTree(points).query(mesh.vertices)[0]
    return distances


def block(viewed: Viewed, source: Source, step: int, index: int, channel: int) -> Answer:
    """Every `step`-th sample of a volume of three axes (of four: at `index` of the first) as 8-bit numbers."""
    reader = viewed.signal()
    spec = reader.spec
    if spec.kind != Kind.VOLUME or len(spec.shape) not in (3, 4) or step < 1 or not 0 <= channel < spec.channels:
        raise InrzipError("a block is of a volume of three or four axes")
    first = (slice(index, index + 1),) if len(spec.shape) == 4 else ()
    if first and not 0 <= index < spec.shape[0]:
        raise InrzipError(f"place {index} is outside 0:{spec.shape[0]}")
    key = (*first, *[slice(step // 2 if n > step // 2 else 0, None, step) for n in spec.shape[-3:]])
    if math.prod(-(-n // step) for n in spec.shape[-3:]) > MOST_SAMPLES:
        raise InrzipError("a block of so much at once; take larger steps")
    whole = (*key, slice(channel, channel + 1)) if spec.channels > 1 else key
    if source == "decoded":
        found = reader[whole]
    else:
        original = _original(viewed)
        rows = key[0].indices(spec.shape[0])
        samples = original.rows(rows[0], rows[1])[(slice(None, None, rows[2]), *key[1:])][..., channel]
        found = samples
        if source == "error":
            decoded = np.asarray(reader[whole]).reshape(samples.shape)
            error = np.abs(_shown(decoded, spec) - _shown(samples, spec))
            return _answer(_as_bytes(ERROR_GAIN * error).reshape(error.shape[-3:]))
    shown = levels(np.asarray(found), spec)
    shape = [-(-(n - (k.start or 0)) // step) for n, k in zip(spec.shape[-3:], key[-3:], strict=True)]
    return _answer(shown.reshape(shape))
