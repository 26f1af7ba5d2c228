"""F-INR (Vemuri et al., 2025): a signal as a decomposed tensor, whose factors are networks of one coordinate.

Networks are evaluated once for each position along an axis, not once for each sample; sums of products make the samples
of them. Any network of positions can be inside (`inrzip/architectures/nesting.py`).
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .base import Axes, Config, Grid, PointRepresentation, solve_width
from .finr_start import canonical, projected, span, thinned, train, tucker, with_factors
from .nesting import BACKBONES, DEFAULT_BACKBONE, backbone, nested, unnested
from .pointwise import MAX_WIDTH, SCALE_UNIT, PointwiseConfig, Shape

DEPTH = 2
MAX_RANK = 1024
MAX_CORE = 1 << 24
"""Numbers in the core of a Tucker decomposition."""
FACTOR_GAIN = 8.0
"""Factors are what the networks put out, times this: so they begin with about unit variance."""
HEAD_SPREAD = 1.0
SOLVED_AXES, SOLVED_WIDTH, SOLVED_RATE = 3, 16, 1 / 6
"""From so many axes on, and with layers so wide, fits begin at a decomposition of the samples, and go on at so much of
the learning rate. Whole files of 10 kB at 300 steps: a volume 29.7 dB in place of 28.0 (Tucker), 29.2 of 28.4 (CP), a
video 24.0 of 23.6. A photograph fared worse: 24.6 of 26.3 dB; and so did a volume of 400 bytes, with layers of 3.
"""
WIDTH_PER_SCALE = 8
"""Wide layers over three axes and more span higher frequencies, if these are there from the beginning: a video's
decomposition with layers of 114 is at 25.7 dB with scale 8, at 26.6 dB with 16 and at 25.2 dB with 24; one with layers
of 187 at 26.1, 27.8 and 28.4 dB.
"""
TINY = 1e-30
VALUES_AT_ONCE = 1 << 24
"""Numbers that rendering makes at once, if that is a row at least."""

_PLACES, _RANKS, _CHANNEL = "abcdefgh", "ijklmnop", "z"


class Mode(enum.IntEnum):
    """How samples are made of factors: see `Finr`."""

    CP = 1
    TRAIN = 2
    TUCKER = 3


RANK_PER_WIDTH = {Mode.CP: 2.0, Mode.TRAIN: 2.0, Mode.TUCKER: 1.5}
"""The usual rank of a network of one unit; see `usual_rank`."""


@dataclasses.dataclass(frozen=True)
class FinrConfig(Config):
    """A decomposition of that rank, and the networks inside: their common settings, with the scales of all axes (see
    `nesting`).
    """

    mode: int
    rank: int
    inner: tuple[int, ...]

    number: ClassVar[int] = 14
    grid_wise: ClassVar[bool] = True
    extra_settings: ClassVar[tuple[str, ...]] = ("backbone", "width", "depth", "scale")

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        inside = backbone(settings.pop("backbone", DEFAULT_BACKBONE), BACKBONES)
        mode, rank, width = Mode(settings.pop("mode", Mode.CP)), settings.pop("rank", 0), settings.pop("width", 0)
        settings.setdefault("depth", DEPTH)

        def inner(width: int) -> PointwiseConfig:
            usual = {"scale": width // WIDTH_PER_SCALE} if width > SCALE_UNIT * WIDTH_PER_SCALE else {}
            return inside.solve(grid, 0, width=width, **((usual if len(grid.shape) >= SOLVED_AXES else {}) | settings))

        def rank_of(width: int) -> int:
            return rank or usual_rank(mode, width, len(grid.shape))

        def count(width: int) -> int:
            return cls(mode, rank_of(width), nested(inner(width))).n_parameters(grid)

        width = width or solve_width(count, n_parameters, 2, MAX_WIDTH)
        return cls(mode, rank_of(width), nested(inner(width)))

    def check(self, grid: Grid) -> None:
        if self.mode not in list(Mode) or not 1 <= self.rank <= MAX_RANK:
            raise ValueError(f"a decomposition {self.mode} of rank {self.rank}")
        if len(grid.shape) > len(_PLACES) or math.prod(self.head_shape(grid)) > MAX_CORE:
            raise ValueError(f"a decomposition of rank {self.rank} along {len(grid.shape)} axes")
        unnested(self.inner, grid, BACKBONES)

    def learning_rate(self, peak: float, n_steps: int) -> float:
        number, width, *_ = self.inner
        return min(peak, backbone(number, BACKBONES).rate_times_width / width) * (SOLVED_RATE if self.solved else 1.0)

    @property
    def solved(self) -> bool:
        """Whether fits begin at a decomposition of the samples."""
        _, width, _, n_axes, *_ = self.inner
        return n_axes >= SOLVED_AXES and width >= SOLVED_WIDTH

    def factor_shapes(self, grid: Grid) -> list[Shape]:
        """What the networks give for a position along each axis: a vector, or a matrix of a train."""
        n_axes = len(grid.shape)
        if self.mode != Mode.TRAIN:
            return [(self.rank,)] * n_axes
        ends = [*[self.rank] * (n_axes - 1), grid.channels]
        return [(ends[0],), *((self.rank, end) for end in ends[1:])]

    def head_shape(self, grid: Grid) -> Shape:
        """The array that makes channels of the factors; empty for a train, whose last matrix does."""
        n_axes = {Mode.CP: 1, Mode.TRAIN: 0, Mode.TUCKER: len(grid.shape)}[Mode(self.mode)]
        return (grid.channels, *[self.rank] * n_axes) if n_axes else ()

    def networks(self, grid: Grid) -> list[tuple[PointwiseConfig, Grid]]:
        """Of each axis, the configuration of its network, and the grid that it is for."""
        inner = unnested(self.inner, grid, BACKBONES)
        alone = [dataclasses.replace(inner, scales=(scale,)) for scale in inner.scales]
        sizes = map(math.prod, self.factor_shapes(grid))
        return [(c, Grid((n,), size)) for c, n, size in zip(alone, grid.shape, sizes, strict=True)]

    def n_parameters(self, grid: Grid) -> int:
        head = self.head_shape(grid)
        return sum(c.n_parameters(g) for c, g in self.networks(grid)) + (math.prod(head) if head else 0)

    def build(self, grid: Grid, key: PRNGKeyArray) -> Finr:
        return Finr(self, grid, key)


def usual_rank(mode: Mode, width: int, n_axes: int) -> int:
    """The rank for networks of a width, at which all parts grow alike: as the square of the width."""
    power = {Mode.CP: 1.0, Mode.TRAIN: 0.5, Mode.TUCKER: min(1.0, 2 / n_axes)}[mode]
    return min(max(1, round(RANK_PER_WIDTH[mode] * math.pow(width, power))), MAX_RANK)


class Finr(PointRepresentation):
    """Factors f_k of each axis make a value: sum_r head[c, r] prod_k f_k[r] (CP); the product of a row f_1, matrices
    f_2 .. and a matrix to the channels (TRAIN); sum head[c, r_1, r_2, ..] prod_k f_k[r_k] (TUCKER).
    """

    networks: list[PointRepresentation]
    head: Float[Array, "..."] | None
    config: FinrConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    output_axis: ClassVar[int] = 0

    def __init__(self, config: FinrConfig, grid: Grid, key: PRNGKeyArray):
        self.config, self.grid = config, grid
        inside = config.networks(grid)
        first, *keys = jax.random.split(key, 1 + len(inside))
        self.networks = [inner.build(line, k) for (inner, line), k in zip(inside, keys, strict=True)]
        shape = config.head_shape(grid)
        bound = HEAD_SPREAD / math.sqrt(math.prod(shape[1:]))
        self.head = jax.random.uniform(first, shape, jnp.float32, -bound, bound) if shape else None

    def placed(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Finr:
        """At a decomposition of the samples, as far as networks with these hidden layers can make its factors."""
        if samples is None or not self.config.solved:
            return self
        seen = thinned(self.grid.shape, self.grid.channels)
        values = (samples[seen].astype(np.float32) - np.float32(low)) / np.float32((high - low) or 1) - np.float32(0.5)
        axes = [axis[piece] for axis, piece in zip(self.grid.axes(), seen, strict=True)]
        spans = [span(network, axis) for network, axis in zip(self.networks, axes, strict=True)]
        core, sizes = projected(values, spans), [math.sqrt(len(axis)) for axis in axes]
        head: np.ndarray | None = None
        if self.config.mode == Mode.TRAIN:
            factors = [matrices.reshape(len(matrices), -1) for matrices in train(core, self.config.rank)]
            lengths = [
                float(np.linalg.norm(f)) / math.sqrt(len(axis) * f.shape[1])
                for f, axis in zip(factors, axes, strict=True)
            ]
            mean = math.pow(math.prod(lengths), 1 / len(lengths))
            factors = [f * (mean / max(length, TINY)) for f, length in zip(factors, lengths, strict=True)]
        else:
            decompose = canonical if self.config.mode == Mode.CP else tucker
            factors, head = decompose(core, self.config.rank)
            factors = [factor * size for factor, size in zip(factors, sizes, strict=True)]
            head = head / math.prod(sizes)
        networks = [
            with_factors(network, within, factor / FACTOR_GAIN)
            for network, within, factor in zip(self.networks, spans, factors, strict=True)
        ]
        solved = self.head if head is None else jnp.asarray(head, jnp.float32)
        module: Finr = eqx.tree_at(
            lambda m: (m.networks, m.head), self, (networks, solved), is_leaf=lambda x: x is None
        )
        return module

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        values = [network.predict(positions[:, k : k + 1]) for k, network in enumerate(self.networks)]
        return jnp.einsum(self._sum(apart=False), *self._operands(values)) + 0.5

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        """`inputs` are points, or a sub-grid's axes, one after the other (`inrzip.examples.SubGrids`)."""
        if inputs.ndim == 2:
            return self.predict(inputs)
        axes = jnp.split(inputs, np.cumsum(targets.shape[:-2]))
        values = [network.predict(axis[:, None]) for network, axis in zip(self.networks, axes, strict=True)]
        return jnp.einsum(self._sum(apart=True), *self._operands(values)) + 0.5

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        values = [network.render((axis,)) for network, axis in zip(self.networks, axes, strict=True)]
        first, *rest = [np.asarray(operand) for operand in self._operands(values)]
        result = np.empty((*map(len, axes), self.grid.channels), np.float32)
        rows = max(1, VALUES_AT_ONCE // (math.prod(map(len, axes[1:])) * max(self.grid.channels, self.config.rank)))
        for start in range(0, len(axes[0]), rows):
            piece = slice(start, start + rows)
            result[piece] = np.einsum(self._sum(apart=True), first[piece], *rest, optimize="greedy")
        return result + np.float32(0.5)

    def _operands(self, values: Sequence[Any]) -> list[Any]:
        """Factors in their shapes, then the head."""
        shapes = self.config.factor_shapes(self.grid)
        factors = [FACTOR_GAIN * (v - 0.5).reshape(-1, *shape) for v, shape in zip(values, shapes, strict=True)]
        return factors if self.head is None else [*factors, self.head]

    def _sum(self, apart: bool) -> str:
        """The sum of products, as `einsum` has it: at points, or with the axes apart."""
        n_axes = len(self.grid.shape)
        places, ranks = _PLACES[:n_axes] if apart else _PLACES[0] * n_axes, _RANKS[:n_axes]
        if self.config.mode == Mode.CP:
            inner, head = [ranks[0]] * n_axes, [_CHANNEL + ranks[0]]
        elif self.config.mode == Mode.TUCKER:
            inner, head = list(ranks), [_CHANNEL + ranks]
        else:
            ends = ranks[: n_axes - 1] + _CHANNEL
            inner, head = [ends[max(k - 1, 0) : k + 1] for k in range(n_axes)], []
        factors = [place + rank for place, rank in zip(places, inner, strict=True)]
        return f"{','.join([*factors, *head])}->{places if apart else places[0]}{_CHANNEL}"
