"""Latent grids: a pyramid of integer latents, and small networks that predict and render them.

After Cool-Chic (Ladune et al., 2023; Blard et al., version 5) and C3 (Kim et al., 2024), the strongest codecs that fit
each picture. Here the networks are changes of a learned prior, and files come from `inrzip.grid_fit`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Protocol, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from inrzip.memory import POINTS_AT_ONCE

from .base import Axes, Config, Grid, Representation, resample
from .grid_layout import COLOURS, MAX_OFFSET, MAX_TONE, places, shapes
from .grid_render import Span

DECODING_BYTES, DECODING_BYTES_PER_PLANE = 100, 60
"""Memory that decoding takes for a pixel (measured at 4 megapixels: 150 bytes for one plane, 204 for two)."""
TILED_BYTES_PER_PLANE = 3
"""What of it stays while a large picture is decoded in parts: latents as 16-bit numbers."""
UNTILED_BYTES_PER_PLANE = 40
"""What of it stays of a small one: latents as 64-bit numbers, and what the entropy coder knew of the last grid."""


@dataclasses.dataclass(frozen=True)
class GridConfig(Config):
    """`prior`: the learned prior's number. `tone`: the logarithm of lambda. `step`, `spread`: by how much quantisation
    steps and spreads of the networks differ from the prior's. See `inrzip.priors.grid_prior`.
    """

    prior: int
    tone: int
    step: int
    spread: int

    number: ClassVar[int] = 4

    def build(self, grid: Grid, key: PRNGKeyArray) -> LatentGrid:
        raise TypeError("pictures of latent grids are made by inrzip.grid_fit and inrzip.grid_payload")

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        raise TypeError("the size of latent grids is that of the picture; their rate follows from the tone")

    @classmethod
    def settable(cls) -> tuple[str, ...]:
        return ()

    def check(self, grid: Grid) -> None:
        if len(grid.shape) != 2:
            raise ValueError(f"latent grids for a signal of {len(grid.shape)} axes")
        if self.tone > MAX_TONE or self.step > MAX_OFFSET or self.spread > MAX_OFFSET:
            raise ValueError(f"latent grids of tone {self.tone}, step {self.step} and spread {self.spread}")

    def n_parameters(self, grid: Grid) -> int:
        height, width = grid.shape
        latents = sum(math.prod(place.shape) for place in places((height, width)))
        groups = channel_groups(grid.channels)
        return sum(latents + count(group.stop - group.start) for group in groups)


def count(channels: int) -> int:
    """Parameters of the networks of a plane."""
    return sum(
        math.prod(shape)
        for field in shapes(channels)
        for shape in (field if field and isinstance(field[0], tuple) else (field,))
    )


def channel_groups(channels: int) -> list[slice]:
    """The channels of each plane: colours together, all others alone."""
    first = [slice(0, COLOURS)] if channels >= COLOURS else []
    return first + [slice(i, i + 1) for i in range(COLOURS * len(first), channels)]


def decoding_memory(grid: Grid, tiled: bool) -> int:
    """Bytes that decoding takes, about; what is `tiled` is decoded in parts."""
    n_planes = len(channel_groups(grid.channels))
    at_once = min(grid.n_points, max(POINTS_AT_ONCE, grid.shape[1])) if tiled else grid.n_points
    kept = grid.n_points * TILED_BYTES_PER_PLANE * n_planes if tiled else 0
    return kept + at_once * (DECODING_BYTES + DECODING_BYTES_PER_PLANE * n_planes)


class Picture(Protocol):
    """A coded picture that is decoded as far as it is looked at."""

    def render(self, rows: Span, columns: Span, double: bool = False) -> Float[np.ndarray, "rows columns channels"]:
        """Samples of a region, in normalised units; `double`: in double precision."""


class LatentGrid(Representation):
    """A decoded picture, as other parts of the package see it. `preview`: the same at a small scale, of large ones."""

    grid: Grid = eqx.field(static=True)
    picture: Picture = eqx.field(static=True)
    preview: LatentGrid | None = eqx.field(static=True, default=None)

    def held_bytes(self) -> int:
        each = TILED_BYTES_PER_PLANE if self.preview is not None else UNTILED_BYTES_PER_PLANE
        return self.grid.n_points * each * len(channel_groups(self.grid.channels))

    def predict(self, inputs: Float[Array, "points 2"]) -> Float[Array, "points channels"]:
        height, width = self.grid.shape
        whole = self.picture.render((0, height), (0, width))
        rows, columns = np.asarray(inputs).T
        pairs = [resample(whole, rows[i : i + 1], columns[i : i + 1])[0, 0] for i in range(len(rows))]
        return jnp.asarray(np.stack(pairs))

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        (rows, first_row), (columns, first_column) = (
            _span(axis, n) for axis, n in zip(axes, self.grid.shape, strict=True)
        )
        values = self.picture.render(rows, columns)
        return resample(values, axes[0] - first_row, axes[1] - first_column)

    def precise(self) -> Float[np.ndarray, "*grid channels"]:
        height, width = self.grid.shape
        return self.picture.render((0, height), (0, width), double=True)


def _span(axis: Float[np.ndarray, " n"], n: int) -> tuple[Span, int]:
    """The samples that positions lie between, and the first of them."""
    low = min(max(math.floor(float(np.min(axis))), 0), n - 1)
    high = min(max(math.ceil(float(np.max(axis))), 0), n - 1)
    return (low, high + 1), low
