"""What every architecture promises: a configuration of whole numbers, a module built from it, and one way to evaluate
it.

A new architecture is one file here with two classes, and one line in `inrzip/recipes.py`:

- a `Config`: a frozen dataclass whose fields are non-negative ints or tuples of them. It is written in the file as it
  is, and together with the `Grid` it rebuilds the module exactly, weights apart.
- a `Representation`: an `equinox.Module` whose float array leaves are the parameters that get quantised and coded, in
  the order of `jax.tree.leaves`.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self, get_type_hints

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from .precision import double_precision, single_operations, widened

Axes = tuple[Float[np.ndarray, " n"], ...]
"""Positions along each grid axis, in samples: sample i has its centre at i. Their outer product is what is evaluated.
"""


@dataclasses.dataclass(frozen=True)
class Grid:
    """The sample grid an architecture is built for: `shape` without channels, and the number of `channels`."""

    shape: tuple[int, ...]
    channels: int

    @property
    def n_points(self) -> int:
        return int(np.prod(self.shape, dtype=object))

    def axes(self) -> Axes:
        """The positions of all samples."""
        return tuple(np.arange(n, dtype=np.float32) for n in self.shape)


@dataclasses.dataclass(frozen=True)
class Config(abc.ABC):
    """The choices that define a network, all whole numbers. See the module's docstring."""

    number: ClassVar[int]
    """Identifies the architecture in the file. Never re-used."""
    frame_wise: ClassVar[bool] = False
    """Whether `predict` makes whole frames from times, rather than samples from positions."""
    grid_wise: ClassVar[bool] = False
    """Whether fits take sub-grids, positions along each axis, rather than single positions: where a network makes those
    for much less.
    """
    part_wise: ClassVar[bool] = False
    """Whether fits take parts of large frames, rather than whole ones: `inrzip.examples.FrameParts`."""
    exact: ClassVar[bool] = False
    """Whether what it decodes to are the samples that were compressed, bit by bit: then `exact_samples` gives them, and
    its files are lossless ones.
    """
    extra_settings: ClassVar[tuple[str, ...]] = ()
    """Settings that `solve` takes besides fields: what fields follow from."""

    @abc.abstractmethod
    def build(self, grid: Grid, key: PRNGKeyArray) -> Representation:
        """A freshly initialised network for signals on `grid`."""

    @classmethod
    @abc.abstractmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        """The configuration for `grid` of nearly `n_parameters` parameters; `settings` fixes fields."""

    @classmethod
    def solve_for(
        cls,
        grid: Grid,
        n_parameters: int,
        samples: Shaped[np.ndarray, "part ..."] | None,
        low: float,
        high: float,
        **settings: int,
    ) -> Self:
        """The same for `samples`, from `low` to `high` (None: they do not lie on a grid): for architectures whose
        fields follow from them.
        """
        return cls.solve(grid, n_parameters, **settings)

    @abc.abstractmethod
    def check(self, grid: Grid) -> None:
        """Raises ValueError if a field is out of its range: `Config`s are read from files that may be hostile."""

    def learning_rate(self, peak: float, n_steps: int) -> float:
        """The largest learning rate for this network and a fit of `n_steps`, where its recipe says `peak`."""
        return peak

    def structure(self, grid: Grid) -> Representation:
        """The module with shapes in place of arrays: nothing is allocated."""
        module: Representation = eqx.filter_eval_shape(lambda: self.build(grid, jax.random.key(0)))
        return module

    def n_parameters(self, grid: Grid) -> int:
        """Numbers that a file has to hold."""
        return sum(leaf.size for leaf in parameters(self.structure(grid)))

    def n_coordinates(self, grid: Grid) -> int:
        """Numbers that `predict` takes of each point, where it makes samples from positions."""
        return len(grid.shape)

    @classmethod
    def settable(cls) -> tuple[str, ...]:
        """The settings that `solve` takes: fields that are one number, and `extra_settings`."""
        return (*(name for name, is_tuple in cls.field_is_tuple().items() if not is_tuple), *cls.extra_settings)

    @classmethod
    def field_is_tuple(cls) -> dict[str, bool]:
        """For each field, in order, whether it is a tuple: what the file format needs to know."""
        hints = get_type_hints(cls)
        return {field.name: hints[field.name] is not int for field in dataclasses.fields(cls)}


class Trainable(eqx.Module):
    """What is fitted: a representation itself, one with a training-only part around it (HNeRV's encoder), or one whose
    parameters are rounded, priced or made from others (see `inrzip.constraints`).
    """

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        """What predicts, made of the fitted arrays once a step, and a penalty in the unit of the mean squared error."""
        return self, jnp.float32(0)

    @abc.abstractmethod
    def predict_training(self, inputs: Array, targets: Array) -> Array:
        """Predictions of `targets`, which only a training-only part may look at."""

    def training_loss(self, inputs: Array, targets: Array) -> Float[Array, ""]:
        """What a step makes smaller: the mean squared error, to which an architecture may add terms."""
        return jnp.mean((self.predict_training(inputs, targets) - targets) ** 2)

    def shown(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Trainable:
        """The same, once it has seen what it will be fitted to, as `finish` is given it: for terms of the loss that
        need more than the frames of a step.
        """
        return self

    @abc.abstractmethod
    def finish(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Representation:
        """The representation that was fitted, without what only training needs. `samples`, from `low` to `high`, are
        what it was fitted to, if they lie on a grid.
        """


class Representation(Trainable):
    """A signal as a function of its coordinates. Subclasses are either point-wise or frame-wise."""

    grid: eqx.AbstractVar[Grid]
    output_axis: ClassVar[int] = -1
    """The axis of output channels in weights."""

    @abc.abstractmethod
    def predict(self, inputs: Array) -> Array:
        """Values at positions, or frames at times; normalised units."""

    def training_module(self, key: PRNGKeyArray) -> Trainable:
        """What is fitted at first: an architecture with a training-only part wraps itself here."""
        return self

    def placed(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Representation:
        """Where a fit to `samples`, from `low` to `high`, begins (None: they do not lie on a grid): what stands
        somewhere may move there, and what can be solved for may be solved.
        """
        return self

    def settled(self) -> Representation:
        """The same, with what it keeps besides parameters made anew from these: called when they have come."""
        return self

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        return self.predict(inputs)

    def finish(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Representation:
        return self

    def held_bytes(self) -> int:
        """Memory that it takes as long as it is kept, about."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self) if isinstance(leaf, np.ndarray | jax.Array))

    @abc.abstractmethod
    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        """Evaluates on the outer product of `axes`, in normalised units (0 to 1). Memory is bounded by the result and
        blocks.
        """

    def precise(self) -> Float[np.ndarray, "*grid channels"]:
        """All samples in double precision, in normalised units: what `render` gives, but for float32's rounding."""
        raise TypeError(f"{type(self).__name__} has no values in double precision")

    def in_single(self) -> set[str]:
        """What `precise` computes in float32 all the same: names of operations, if there are any."""
        return set()

    def exact_samples(self) -> Int[np.ndarray, "*grid channels"]:
        """All samples of the grid in the units of the signal, where `Config.exact` promises them."""
        raise TypeError(f"{type(self).__name__} is not exact")


def parameters(module: eqx.Module) -> list[Float[Array, "..."]]:
    """The float arrays of a module, in the order in which they are coded."""
    return [
        leaf for leaf in jax.tree.leaves(module) if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    ]


POINT_BLOCKS = (1024, 16384)
"""Points evaluated in one call: few sizes, so that few programs are compiled; cache-sized, so that they run fast."""


class PointRepresentation(Representation):
    """A function of position alone: SIREN and its kin."""

    @abc.abstractmethod
    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        """Values at `positions` (in samples along each grid axis), normalised units."""

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        shape = tuple(len(axis) for axis in axes)
        n_points = int(np.prod(shape))
        values = np.empty((n_points, self.grid.channels), np.float32)
        for start, stop, block in _blocks(n_points):
            index = np.unravel_index(np.minimum(np.arange(start, start + block), n_points - 1), shape)
            positions = np.stack([axis[i] for axis, i in zip(axes, index, strict=True)], axis=-1).astype(np.float32)
            values[start:stop] = np.asarray(predict(self, positions))[: stop - start]
        return values.reshape(*shape, self.grid.channels)

    def precise(self) -> Float[np.ndarray, "*grid channels"]:
        with double_precision():
            network, axes = _in_double(self), [np.arange(n, dtype=np.float64) for n in self.grid.shape]
            values = np.empty((self.grid.n_points, self.grid.channels))
            for start, stop, block in _blocks(len(values)):
                index = np.unravel_index(np.minimum(np.arange(start, start + block), len(values) - 1), self.grid.shape)
                positions = np.stack([axis[i] for axis, i in zip(axes, index, strict=True)], axis=-1)
                values[start:stop] = np.asarray(predict(network, positions))[: stop - start]
        return values.reshape(*self.grid.shape, self.grid.channels)

    def in_single(self) -> set[str]:
        return _in_single(self, (POINT_BLOCKS[0], len(self.grid.shape)))


def _in_double(module: Representation) -> Any:
    """What predicts, with its parameters in double precision and all else made of these."""
    return widened(module).settled().prepare()[0]


def _in_single(module: Representation, shape: tuple[int, ...]) -> set[str]:
    with double_precision():
        inputs = jax.ShapeDtypeStruct(shape, jnp.float64)  # type: ignore[no-untyped-call]
        traced, _, _ = eqx.filter_make_jaxpr(lambda m, x: m.prepare()[0].predict(x))(widened(module).settled(), inputs)
    return single_operations(traced)


class FrameRepresentation(Representation):
    """A function from a frame's time to the whole frame: NeRV and its kin. The grid is (frames, height, width)."""

    @abc.abstractmethod
    def predict(self, times: Float[Array, " batch"]) -> Float[Array, "batch height width channels"]:
        """Whole frames at `times` (in frames), normalised units."""

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        times, rows, columns = axes
        values = np.empty((len(times), len(rows), len(columns), self.grid.channels), np.float32)
        for i, time in enumerate(times):
            frame = np.asarray(predict(self, np.asarray([time], np.float32)))[0]
            values[i] = resample(frame, rows, columns)
        return values

    def precise(self) -> Float[np.ndarray, "*grid channels"]:
        values = np.empty((*self.grid.shape, self.grid.channels))
        with double_precision():
            network = _in_double(self)
            for i in range(len(values)):
                values[i] = np.asarray(predict(network, np.asarray([i], np.float64)))[0]
        return values

    def in_single(self) -> set[str]:
        return _in_single(self, (1,))


@eqx.filter_jit
def predict(model: Representation, inputs: Array | Float[np.ndarray, "..."]) -> Array:
    """`model.predict`, compiled."""
    return model.predict(jnp.asarray(inputs))


def _blocks(n_points: int) -> Iterator[tuple[int, int, int]]:
    """Cuts `n_points` into pieces: (start, stop, size of the padded block)."""
    start = 0
    while start < n_points:
        block = POINT_BLOCKS[0] if n_points - start <= POINT_BLOCKS[0] else POINT_BLOCKS[1]
        stop = min(start + block, n_points)
        yield start, stop, block
        start = stop


def resample(
    frame: Float[np.ndarray, "height width channels"],
    rows: Float[np.ndarray, " rows"],
    columns: Float[np.ndarray, " columns"],
) -> Float[np.ndarray, "rows columns channels"]:
    """A frame at the given row and column positions: samples where these are whole numbers, else bilinear. All
    positions in order give the frame itself, which is not copied.
    """
    return _interpolate(_interpolate(frame, rows, 0), columns, 1)


def _interpolate(
    frame: Float[np.ndarray, "h w c"], positions: Float[np.ndarray, " n"], axis: int
) -> Float[np.ndarray, "h2 w2 c"]:
    last = frame.shape[axis] - 1
    if len(positions) == last + 1 and bool((positions == np.arange(last + 1)).all()):
        return frame
    positions = np.clip(positions, 0, last)
    low = np.floor(positions).astype(np.int64)
    weight = (positions - low).astype(np.float32)
    below: Float[np.ndarray, "h2 w2 c"] = np.take(frame, low, axis)
    if not weight.any():
        return below
    weight = weight.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    above: Float[np.ndarray, "h2 w2 c"] = np.take(frame, np.minimum(low + 1, last), axis)
    mixed: Float[np.ndarray, "h2 w2 c"] = below * (1 - weight) + above * weight
    return mixed


def solve_width(count: Callable[[int], int], n_parameters: int, smallest: int, largest: int) -> int:
    """The width whose parameter `count`, increasing in the width, is nearest to `n_parameters`."""
    low, high = smallest, largest
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(middle) <= n_parameters else (low, middle - 1)
    if low < largest and count(low + 1) - n_parameters < n_parameters - count(low):
        low += 1
    return low
