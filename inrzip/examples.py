"""What a network is fitted to: mini-batches drawn from a segment's samples inside the compiled training loop."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

PROBE_POINTS = 1 << 16
PROBE_FRAMES = 8
PART = 96
"""Rows and columns of parts of frames, about (HiNeRV's paper: 80 at 1280x720, 120 at 1920x1080)."""
POINTS_AT_ONCE = 1 << 14
POINTS_PER_BLOCK = 4096
"""Points evaluated at once in training: their activations stay in cache (measured: 2 to 3 times faster than all at
once).
"""


class Examples(eqx.Module):
    """A data set of `n_items` items: points, or frames."""

    batch_size: eqx.AbstractVar[int]
    n_items: eqx.AbstractVar[int]
    compiled_loop: eqx.AbstractClassVar[bool]
    """Whether many steps are compiled as one loop (see `inrzip.fitting`)."""

    @property
    def steps_per_epoch(self) -> int:
        """Steps over which losses must be averaged to be compared: 1 where every batch stands for all items."""
        return 1

    @abc.abstractmethod
    def items(self, index: Int[Array, " batch"]) -> tuple[Array, Array]:
        """(inputs, targets) of the items numbered `index`. Inputs are what `predict` of the representation takes."""

    @abc.abstractmethod
    def choose(self, key: PRNGKeyArray, step: Int[Array, ""]) -> Int[Array, " batch"]:
        """The items of one step."""

    @abc.abstractmethod
    def probe(self, everything: bool) -> Iterator[Int[np.ndarray, " some"]]:
        """Items to measure a loss on, in pieces that are evaluated at once: all, or few that stand for all."""

    def batch(self, key: PRNGKeyArray, step: Int[Array, ""]) -> tuple[Array, Array]:
        """(inputs, targets) of one step."""
        return self.items(self.choose(key, step))


def _random_points(key: PRNGKeyArray, batch_size: int, n_items: int) -> Int[Array, " batch"]:
    if batch_size == n_items:
        return jnp.arange(n_items)
    return jax.random.randint(key, (batch_size,), 0, n_items)


def _point_batch(wanted: int, n_items: int) -> int:
    """All points of a small signal, else whole blocks."""
    return (
        n_items if n_items <= POINTS_PER_BLOCK else max(1, min(wanted, n_items) // POINTS_PER_BLOCK) * POINTS_PER_BLOCK
    )


def _probe_points(n_items: int, everything: bool) -> Iterator[Int[np.ndarray, " some"]]:
    everything = everything or n_items <= PROBE_POINTS
    index = np.arange(n_items) if everything else np.random.default_rng(0).integers(0, n_items, PROBE_POINTS)
    return iter([index[i : i + POINTS_AT_ONCE] for i in range(0, len(index), POINTS_AT_ONCE)])


class GridPoints(Examples):
    """Random samples of a grid. Positions are computed from the index, so that memory is that of the samples."""

    samples: Shaped[Array, "points channels"]
    offset: Float[Array, ""]
    gain: Float[Array, ""]
    shape: tuple[int, ...] = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    n_items: int = eqx.field(static=True)
    compiled_loop: ClassVar[bool] = True

    def __init__(self, samples: Shaped[np.ndarray, "*grid channels"], low: float, high: float, batch_size: int):
        self.shape = samples.shape[:-1]
        if samples.dtype.itemsize > 2:  # wide types are normalised in double precision, beforehand
            samples, low, high = ((samples.astype(np.float64) - low) / ((high - low) or 1)).astype(np.float32), 0.0, 1.0
        self.samples = jnp.asarray(samples.reshape(-1, samples.shape[-1]))
        self.offset = jnp.float32(low)
        self.gain = jnp.float32(1 / ((high - low) or 1))
        self.n_items = self.samples.shape[0]
        self.batch_size = _point_batch(batch_size, self.n_items)

    def items(self, index: Int[Array, " batch"]) -> tuple[Array, Array]:
        positions = jnp.stack(jnp.unravel_index(jnp.asarray(index), self.shape), axis=-1).astype(jnp.float32)
        return positions, (self.samples[index].astype(jnp.float32) - self.offset) * self.gain

    def choose(self, key: PRNGKeyArray, step: Int[Array, ""]) -> Int[Array, " batch"]:
        return _random_points(key, self.batch_size, self.n_items)

    def probe(self, everything: bool) -> Iterator[Int[np.ndarray, " some"]]:
        return _probe_points(self.n_items, everything)


class SubGrids(GridPoints):
    """The samples of a grid; those of a step make a grid themselves, of places drawn along each axis."""

    sizes: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, samples: Shaped[np.ndarray, "*grid channels"], low: float, high: float, batch_size: int):
        super().__init__(samples, low, high, batch_size)
        self.sizes = _sub_sizes(self.shape, batch_size)

    def batch(self, key: PRNGKeyArray, step: Int[Array, ""]) -> tuple[Array, Array]:
        """Positions of all axes, one after the other, and targets as a grid. Each axis is cut into equal parts, and a
        place is drawn from each: all parts of an axis are seen, and its neighbours together.
        """
        picked, places = self.samples.reshape(*self.shape, -1), []
        for axis, (n, size) in enumerate(zip(self.shape, self.sizes, strict=True)):
            shift = jax.random.uniform(jax.random.fold_in(key, axis), (size,)) if size < n else 0.0
            places.append(jnp.minimum(((jnp.arange(size) + shift) * (n / size)).astype(jnp.int32), n - 1))
            picked = jnp.take(picked, places[-1], axis) if size < n else picked
        return jnp.concatenate(places).astype(jnp.float32), (picked.astype(jnp.float32) - self.offset) * self.gain


def _sub_sizes(shape: tuple[int, ...], n_points: int) -> tuple[int, ...]:
    """Places along each axis of a sub-grid of about `n_points`: equal parts of all axes, as far as they go."""
    sizes = list(shape)
    for done, axis in enumerate(sorted(range(len(shape)), key=lambda axis: shape[axis])):
        share = min(1.0, (n_points / math.prod(sizes)) ** (1 / (len(shape) - done)))
        sizes[axis] = max(1, round(shape[axis] * share))
    return tuple(sizes)


class ScatteredPoints(Examples):
    """Random items of a list of (position, value) pairs: a shape's signed distances."""

    positions: Float[Array, "points dims"]
    values: Float[Array, "points channels"]
    batch_size: int = eqx.field(static=True)
    n_items: int = eqx.field(static=True)
    compiled_loop: ClassVar[bool] = True

    def __init__(
        self, positions: Float[np.ndarray, "points dims"], values: Float[np.ndarray, "points channels"], batch_size: int
    ):
        self.positions = jnp.asarray(positions, jnp.float32)
        self.values = jnp.asarray(values, jnp.float32)
        self.n_items = len(values)
        self.batch_size = _point_batch(batch_size, self.n_items)

    def items(self, index: Int[Array, " batch"]) -> tuple[Array, Array]:
        return self.positions[index], self.values[index]

    def choose(self, key: PRNGKeyArray, step: Int[Array, ""]) -> Int[Array, " batch"]:
        return _random_points(key, self.batch_size, self.n_items)

    def probe(self, everything: bool) -> Iterator[Int[np.ndarray, " some"]]:
        return _probe_points(self.n_items, everything)


class Frames(Examples):
    """Whole frames, each once in every epoch, in random order."""

    samples: Shaped[Array, "frames height width channels"]
    offset: Float[Array, ""]
    gain: Float[Array, ""]
    epoch_key: PRNGKeyArray
    batch_size: int = eqx.field(static=True)
    n_items: int = eqx.field(static=True)
    compiled_loop: ClassVar[bool] = False

    def __init__(
        self, samples: Shaped[np.ndarray, "frames height width channels"], low: float, high: float, batch_size: int
    ):
        self.samples = jnp.asarray(samples)
        self.offset = jnp.float32(low)
        self.gain = jnp.float32(1 / ((high - low) or 1))
        self.epoch_key = jax.random.key(0)
        self.n_items = samples.shape[0]
        self.batch_size = min(batch_size, self.n_items)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.n_items // self.batch_size)

    def items(self, index: Int[Array, " batch"]) -> tuple[Array, Array]:
        times = jnp.asarray(index).astype(jnp.float32)
        return times, (self.samples[index].astype(jnp.float32) - self.offset) * self.gain

    def choose(self, key: PRNGKeyArray, step: Int[Array, ""]) -> Int[Array, " batch"]:
        epoch, place = step // self.steps_per_epoch, step % self.steps_per_epoch
        order = jax.random.permutation(jax.random.fold_in(self.epoch_key, epoch), self.n_items)
        return order[(place * self.batch_size + jnp.arange(self.batch_size)) % self.n_items]

    def probe(self, everything: bool) -> Iterator[Int[np.ndarray, " some"]]:
        index = np.arange(self.n_items) if everything else np.linspace(0, self.n_items - 1, PROBE_FRAMES).astype(int)
        return iter(np.unique(index)[:, None])


class FrameParts(Frames):
    """Parts of frames, each once in every epoch, in random order; a step has as many pixels as with `Frames`, but of
    different frames. Its inputs are each part's frame, first row and first column. Frames that are one part come as
    with `Frames`.
    """

    size: tuple[int, int] = eqx.field(static=True)
    corners: Int[Array, "parts 2"]

    def __init__(
        self, samples: Shaped[np.ndarray, "frames height width channels"], low: float, high: float, batch_size: int
    ):
        super().__init__(samples, low, high, batch_size)
        rows, columns = (_parts(length) for length in samples.shape[1:3])
        self.size = samples.shape[1] - rows[-1], samples.shape[2] - columns[-1]
        self.corners = jnp.stack(jnp.meshgrid(jnp.asarray(rows), jnp.asarray(columns), indexing="ij"), -1).reshape(
            -1, 2
        )

    def batch(self, key: PRNGKeyArray, step: Int[Array, ""]) -> tuple[Array, Array]:
        n_parts = len(self.corners)
        if n_parts == 1:
            return super().batch(key, step)
        epoch, place = step // self.steps_per_epoch, step % self.steps_per_epoch
        order = jax.random.permutation(jax.random.fold_in(self.epoch_key, epoch), self.n_items * n_parts)
        n_chosen = self.batch_size * n_parts
        chosen = order[(place * n_chosen + jnp.arange(n_chosen)) % len(order)]
        corners = jnp.concatenate([(chosen // n_parts)[:, None], self.corners[chosen % n_parts]], axis=1)

        def part(corner: Int[Array, "3"]) -> Array:
            shape = (1, *self.size, self.samples.shape[-1])
            return jax.lax.dynamic_slice(self.samples, (*corner, 0), shape)[0]

        targets = jax.vmap(part)(corners).astype(jnp.float32)
        return corners.astype(jnp.float32), (targets - self.offset) * self.gain


def _parts(length: int) -> list[int]:
    """Where parts of an axis begin: equal ones that cover it, which overlap by a few samples where they must."""
    n_parts = max(1, round(length / PART))
    size = -(-length // n_parts)
    return [round(i * (length - size) / max(n_parts - 1, 1)) for i in range(n_parts)]
