"""Signals of patches that are latents of a learned network (COMBINER, RECOMBINER), as a file holds them.

The network is in `combiner_network.py`, the prior in `inrzip.priors.latent_prior`, and files come from
`inrzip.posterior_fit`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import ClassVar, Protocol

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .base import Axes, Grid, Representation
from .learned import LearnedConfig

Real = type[np.float32] | type[np.float64]
"""Of the numbers that a decoder computes in: double precision is for lossless files."""

MAX_PATCHES = 1 << 14
MOST_AXES, COLOURS, FLOAT_BYTES = 3, 3, 4
SIDE_OF_CUBES = 16
"""Frames of a patch of a video, or slices of a volume, and its height and width."""
DECODING_BYTES, SAMPLE_BYTES = 4000, 64
"""Memory that decoding takes for a sample point, about: while its patch is evaluated (encodings, and what convolutions
read), and as long as it is kept.
"""
POINTS_AT_ONCE = 1 << 16
"""Of patches that are evaluated side by side, but one patch at least."""


@dataclasses.dataclass(frozen=True)
class CombinerConfig(LearnedConfig):
    """Latents that are samples of Gaussian posteriors (COMBINER, RECOMBINER)."""

    number: ClassVar[int] = 27


class CodedPatches(Protocol):
    """The patches of a signal."""

    def values(self, numbers: list[int], real: Real = np.float32) -> Float[np.ndarray, "patches *patch channels"]:
        """Of the patches of these numbers, in normalised units; computed in numbers of type `real`."""


class Patches(Representation):
    """A signal cut into patches of equal size, decoded where it is looked at; the last ones may reach beyond it."""

    grid: Grid = eqx.field(static=True)
    patch: tuple[int, ...] = eqx.field(static=True)
    coded: CodedPatches = eqx.field(static=True)

    def held_bytes(self) -> int:
        """Of the patches that were looked at last: of a video or a volume a layer, which are read layer by layer."""
        counts = patch_counts(self.grid.shape, self.patch)
        kept = counts[1:] if len(counts) == MOST_AXES else counts
        return math.prod(kept) * math.prod(self.patch) * max(self.grid.channels, COLOURS) * FLOAT_BYTES

    def predict(self, inputs: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        positions = np.asarray(inputs)
        values = [self.render(tuple(position[i : i + 1] for i in range(len(position)))) for position in positions]
        return jnp.asarray(np.stack(values).reshape(len(positions), -1))

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        spans = [_span(axis, n) for axis, n in zip(axes, self.grid.shape, strict=True)]
        values = self._samples(spans)
        for i, (axis, (first, _)) in enumerate(zip(axes, spans, strict=True)):
            values = _interpolated(values, axis - first, i)
        return values

    def precise(self) -> Float[np.ndarray, "*grid channels"]:
        """As `Representation.precise`: NumPy's double precision, a row of patches at once."""
        first, *others = self.grid.shape
        rows = self.patch[0]
        whole = [(0, n) for n in others]
        parts = [self._samples([(i, min(i + rows, first)), *whole], np.float64) for i in range(0, first, rows)]
        return np.concatenate(parts)

    def _samples(self, spans: list[tuple[int, int]], real: Real = np.float32) -> Float[np.ndarray, "*grid channels"]:
        """Of whole numbers from .. to along each axis."""
        counts = patch_counts(self.grid.shape, self.patch)
        touched = [range(a // p, -(-b // p)) for (a, b), p in zip(spans, self.patch, strict=True)]
        numbers = [int(np.ravel_multi_index(at, counts)) for at in itertools.product(*touched)]
        parts = self.coded.values(numbers, real)
        shape = [len(r) for r in touched]
        axes = len(shape)
        joined = parts.reshape(*shape, *self.patch, -1)
        order = [*itertools.chain(*[(i, axes + i) for i in range(axes)]), 2 * axes]
        whole = joined.transpose(order).reshape(*[n * p for n, p in zip(shape, self.patch, strict=True)], -1)
        starts = [r.start * p for r, p in zip(touched, self.patch, strict=True)]
        return whole[tuple(slice(a - s, b - s) for (a, b), s in zip(spans, starts, strict=True))]


def patch_counts(shape: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """Patches along each axis."""
    return tuple(-(-n // p) for n, p in zip(shape, patch, strict=True))


def cut(
    values: Float[np.ndarray, "*grid channels"], patch: tuple[int, ...]
) -> tuple[Float[np.ndarray, "patches samples channels"], Float[np.ndarray, "patches samples"]]:
    """Patches row by row, what lies beyond the signal filled with what is nearest; and 1 where there is signal."""
    shape = values.shape[:-1]
    counts = patch_counts(shape, patch)
    beyond = [(0, n * p - size) for n, p, size in zip(counts, patch, shape, strict=True)]
    filled = np.pad(values, [*beyond, (0, 0)], mode="edge")
    inside = np.pad(np.ones((*shape, 1), np.float32), [*beyond, (0, 0)])

    def parts(array: np.ndarray) -> np.ndarray:
        axes = len(shape)
        split = array.reshape(*itertools.chain(*zip(counts, patch, strict=True)), array.shape[-1])
        order = [*range(0, 2 * axes, 2), *range(1, 2 * axes, 2), 2 * axes]
        found: np.ndarray = split.transpose(order).reshape(math.prod(counts), math.prod(patch), -1)
        return found

    return parts(filled), parts(inside)[..., 0]


def _span(axis: Float[np.ndarray, " n"], n: int) -> tuple[int, int]:
    """The samples that positions lie between."""
    low = min(max(math.floor(float(np.min(axis))), 0), n - 1)
    high = min(max(math.ceil(float(np.max(axis))), 0), n - 1)
    return low, high + 1


def _interpolated(values: np.ndarray, positions: Float[np.ndarray, " n"], axis: int) -> np.ndarray:
    last = values.shape[axis] - 1
    at = np.clip(positions, 0, last)
    low = np.floor(at).astype(np.int64)
    share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    below: np.ndarray = np.take(values, low, axis)
    if not share.any():
        return below
    above = np.take(values, np.minimum(low + 1, last), axis)
    return np.asarray(below * (1 - share) + above * share)


def planes_of(channels: int, learned: int) -> Iterator[slice]:
    """The channels that are coded together, with a network of `learned` channels: so many at once, and those that are
    left one by one, as greys.
    """
    first = 0
    while first < channels:
        n = learned if channels - first >= learned else 1
        yield slice(first, first + n)
        first += n


def of_planes(parts: Float[np.ndarray, "planes *values learned"], channels: int) -> Float[np.ndarray, "*values c"]:
    """The channels of a signal from what a network made of each of its planes."""
    learned = parts.shape[-1]
    planes = zip(parts, planes_of(channels, learned), strict=True)
    whole = [part if plane.stop - plane.start == learned else part.mean(-1, keepdims=True) for part, plane in planes]
    return np.concatenate(whole, -1)
