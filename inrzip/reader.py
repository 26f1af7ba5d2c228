"""Opening a file: nothing is decoded until it is asked for, and then only the segments that are needed."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import Any, BinaryIO, Self, SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from inrzip.architectures.base import Axes, Grid, Representation

from .container import Container
from .errors import CorruptFile, InrzipError, LimitExceeded
from .network import decode_network
from .signal import AudioTrack, Kind, Mesh, Spec

DEFAULT_MAX_MEMORY = 4 << 30
MAX_SUPERSAMPLING = 8
"""Points along an axis that are averaged for one sample when minifying."""
BYTES_PER_SAMPLE = 12
"""Memory that rendering takes for a sample, beside the sample itself: floats before and after rounding."""

Bounds = tuple[int, int | None]


class Reader:
    """A signal in an `.inrz` file, decoded when and where it is looked at.

    `reader[100:200, 300:400]` decodes that region (a video by frame, a sound by sample), `np.asarray(reader)` all of it, `render`
    any region at any scale. The last segment decoded is kept, so going through a file in order decodes each once.
    """

    def __init__(self, source: Path | str | bytes | BinaryIO, max_memory: int | None = DEFAULT_MAX_MEMORY):
        self._container = Container.open(source)
        self._max_memory = max_memory
        self._cached: tuple[int, Representation] | None = None

    @property
    def spec(self) -> Spec:
        """What the header says of the signal."""
        return self._container.header.spec

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `np.asarray(reader)`: the grid, and the channels if there are several."""
        return self.spec.shape if self.spec.channels == 1 else (*self.spec.shape, self.spec.channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.spec.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def container(self) -> Container:
        """The parsed file."""
        return self._container

    def tracks(self) -> list[AudioTrack]:
        """The sound tracks of a video."""
        return self._container.tracks

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<inrzip.Reader {self.spec.kind.name.lower()} {self.shape} {self.dtype}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Shaped[ndarray, "..."]:
        if copy is False:
            raise ValueError("a compressed signal has no array to share; decoding makes a new one")
        samples = self[...]
        return samples if dtype is None else samples.astype(dtype)

    def __getitem__(self, key: Any) -> Shaped[ndarray, "..."]:
        """NumPy indexing with ints, slices (also with steps and from the end) and an ellipsis; decodes no other region."""
        keys = _expand(key if isinstance(key, tuple) else (key,), self.ndim)
        rank = len(self.spec.shape)
        picked = [np.atleast_1d(np.arange(n)[k]) for k, n in zip(keys, self.shape, strict=True)]
        samples = self._samples([p.astype(np.float64) for p in picked[:rank]])
        if self.spec.channels > 1:
            samples = samples[..., picked[-1]]
        else:
            samples = samples[..., 0]
        whole = tuple(0 if isinstance(k, int) else slice(None) for k in keys)
        return samples[whole]

    def render(
        self,
        region: Sequence[Bounds] | None = None,
        frames: Bounds | None = None,
        scale: float = 1.0,
    ) -> Shaped[ndarray, "*grid channels"]:
        """Samples of a region at any scale, in the signal's sample type, with a channel axis.

        `region`: (start, stop) along each axis, in samples, time excepted for videos; stop None is the end. `frames`: (start, stop) of a
        video, or samples of a sound. `scale`: samples for each original one along the axes of `region` (time stays as it is in
        videos): above 1 the function is evaluated in between, below 1 it is averaged, so that nothing aliases.
        """
        return np.concatenate(list(self.parts(region, frames, scale)))

    def parts(
        self,
        region: Sequence[Bounds] | None = None,
        frames: Bounds | None = None,
        scale: float = 1.0,
    ) -> Iterator[Shaped[ndarray, "part *rest channels"]]:
        """What `render` returns, in consecutive pieces along the first axis, one for each segment or frame."""
        axes, factors = self._plan(region, frames, scale)
        for piece in self._pieces(axes[0], factors[0]):
            yield self.spec.quantise(self._values([piece, *axes[1:]], factors))

    def output_shape(
        self, region: Sequence[Bounds] | None = None, frames: Bounds | None = None, scale: float = 1.0
    ) -> tuple[int, ...]:
        """The grid shape of what `render` would return, without decoding."""
        axes, factors = self._plan(region, frames, scale)
        return tuple(len(axis) // factor for axis, factor in zip(axes, factors, strict=True))

    def mesh(self, region: Sequence[Bounds] | None = None, scale: float = 1.0) -> Mesh:
        """The surface of a shape by marching cubes, on its grid scaled by `scale`."""
        from .sdf import extract_mesh

        if self.spec.kind != Kind.SHAPE:
            raise InrzipError(f"a {self.spec.kind.name.lower()} has no mesh")
        axes, _ = self._plan(region, None, scale, supersample=False)
        values = self._values(axes, [1] * 3)[..., 0] * (self.spec.high - self.spec.low) + self.spec.low
        cube = [(2 * axis + 1) / n - 1 for axis, n in zip(axes, self.spec.shape, strict=True)]
        spacing = tuple(float(a[1] - a[0]) if len(a) > 1 else 1.0 for a in cube)
        return extract_mesh(values, self.spec, tuple(float(a[0]) for a in cube), spacing)  # type: ignore[arg-type]

    def segment(self, index: int) -> Representation:
        """The network of one segment, its weights decoded; raises CorruptFile or LimitExceeded."""
        if self._cached is None or self._cached[0] != index:
            header = self._container.header
            start, stop = header.segment_bounds(index)
            grid = Grid((stop - start, *self.spec.shape[1:]), self.spec.channels)
            module = decode_network(self._container.segment(index), header.architecture, grid, self._max_memory)
            self._cached = index, module
        return self._cached[1]

    def _plan(
        self, region: Sequence[Bounds] | None, frames: Bounds | None, scale: float, supersample: bool = True
    ) -> tuple[list[Float[ndarray, " n"]], list[int]]:
        """Positions along each axis, and how many neighbours along it are averaged into one sample."""
        if not (math.isfinite(scale) and scale > 0):
            raise InrzipError(f"scale {scale} is no positive number")
        spec = self.spec
        scaled = [not (spec.kind == Kind.VIDEO and i == 0) for i in range(len(spec.shape))]
        bounds = self._bounds(region, frames)
        factor = min(math.ceil(1 / scale), MAX_SUPERSAMPLING) if supersample else 1
        factors = [factor if s else 1 for s in scaled]
        self._check_memory([(stop - start) * (scale if s else 1) for (start, stop), s in zip(bounds, scaled, strict=True)])
        return [_positions(*b, scale if s else 1.0, f) for b, s, f in zip(bounds, scaled, factors, strict=True)], factors

    def _bounds(self, region: Sequence[Bounds] | None, frames: Bounds | None) -> list[tuple[int, int]]:
        spec = self.spec
        if frames is not None and spec.kind not in (Kind.VIDEO, Kind.AUDIO):
            raise InrzipError(f"a {spec.kind.name.lower()} has no frames; use a region")
        timed = spec.kind == Kind.VIDEO or (spec.kind == Kind.AUDIO and frames is not None)
        given: list[Bounds] = [frames or (0, None)] if timed else []
        n_spatial = len(spec.shape) - len(given)
        if region is not None and len(region) != n_spatial:
            raise InrzipError(f"a region of this {spec.kind.name.lower()} has {n_spatial} ranges, not {len(region)}")
        given += region if region is not None else [(0, None)] * n_spatial
        bounds = []
        for (start, stop), size in zip(given, spec.shape, strict=True):
            end = size if stop is None else min(stop, size)
            if not 0 <= start < end:
                raise InrzipError(f"range {start}:{'' if stop is None else stop} is empty or outside 0:{size}")
            bounds.append((start, end))
        return bounds

    def _check_memory(self, sizes: Sequence[float]) -> None:
        """Refuses what would not fit. A video is decoded frame by frame, anything else segment by segment."""
        spec = self.spec
        at_once = 1 if spec.kind == Kind.VIDEO else min(sizes[0], self._container.header.segment_length * max(1, sizes[0]))
        needed = math.prod([at_once, *sizes[1:]]) * spec.channels * (BYTES_PER_SAMPLE + spec.dtype.itemsize)
        if self._max_memory is not None and needed > self._max_memory:
            raise LimitExceeded(
                f"decoding needs about {needed / 2**20:.0f} MiB, the limit is {self._max_memory / 2**20:.0f} MiB; "
                "raise it (--max-memory) or decode a region"
            )

    def _pieces(self, positions: Float[ndarray, " n"], factor: int) -> Iterator[Float[ndarray, " m"]]:
        """Cuts positions along the first axis where segments end; frames of a video one by one."""
        if self.spec.kind == Kind.VIDEO:
            yield from np.split(positions, len(positions))
            return
        owner = self._owners(positions)[::factor]
        cuts = factor * (np.flatnonzero(np.diff(owner)) + 1)
        yield from np.split(positions, cuts)

    def _owners(self, positions: Float[ndarray, " n"]) -> Shaped[ndarray, " n"]:
        header = self._container.header
        nearest = np.clip(np.rint(positions), 0, self.spec.shape[0] - 1).astype(np.int64)
        return nearest // header.segment_length

    def _samples(self, axes: Sequence[Float[ndarray, " n"]]) -> Shaped[ndarray, "*grid channels"]:
        self._check_memory([len(axis) for axis in axes])
        if not len(axes[0]):
            return np.empty((*(len(a) for a in axes), self.spec.channels), self.dtype)
        parts = [self.spec.quantise(self._values([piece, *axes[1:]], [1] * len(axes))) for piece in self._pieces(axes[0], 1)]
        return np.concatenate(parts)

    def _values(self, axes: Sequence[Float[ndarray, " n"]], factors: Sequence[int]) -> Float[ndarray, "*grid channels"]:
        """Normalised values on the outer product of `axes`, `factors` neighbours averaged."""
        owners = self._owners(axes[0])
        values = []
        for index in dict.fromkeys(owners.tolist()):
            mine: Axes = (axes[0][owners == index] - self._container.header.segment_bounds(index)[0], *axes[1:])
            values.append(self.segment(index).render(mine))
        result = np.concatenate(values) if len(values) != 1 else values[0]
        if not np.isfinite(result).all():
            raise CorruptFile("the network's values are not finite")
        for axis, factor in enumerate(factors):
            if factor > 1:
                shape = (*result.shape[:axis], result.shape[axis] // factor, factor, *result.shape[axis + 1 :])
                result = result.reshape(shape).mean(axis + 1)
        return result


def _positions(start: int, stop: int, scale: float, factor: int) -> Float[ndarray, " n"]:
    """Sample positions between two original ones, `factor` for each output sample, evenly over its extent."""
    n = max(1, round((stop - start) * scale))
    step = (stop - start) / n
    fine = (np.arange(n * factor) + 0.5) / factor * step + start - 0.5
    return fine


def _expand(keys: Sequence[Any], ndim: int) -> list[int | slice]:
    """An index tuple with its ellipsis spelled out. Raises IndexError for what is not an int, slice or ellipsis."""
    if not all(isinstance(k, slice | EllipsisType | SupportsIndex) and not isinstance(k, bool) for k in keys):
        raise IndexError("only whole numbers, slices and one ellipsis index a compressed signal")
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1 or len(keys) - len(dots) > ndim:
        raise IndexError(f"too many indices for a signal of {ndim} axes")
    at = dots[0] if dots else len(keys)
    fill = [slice(None)] * (ndim - (len(keys) - len(dots)))
    spelled = [*keys[:at], *fill, *keys[at + 1 :]]
    return [k if isinstance(k, slice) else operator.index(k) for k in spelled]
