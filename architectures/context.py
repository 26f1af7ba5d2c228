"""Exact samples: a network that tells how likely each is, given those before it, and is fitted to the signal.

What a file holds is not a function of coordinates but the samples themselves, under the probabilities that
`inrzip.codecs.context` makes of a small network: the winning form of an overfitted network for lossless files (FNLIC,
"Fitted neural lossless image compression", 2025; LINR-PCGC, 2025).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Protocol, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from inrzip.codecs.context_layout import earlier_planes
from inrzip.priors import context_prior

from .base import Axes, Config, Grid, Representation

MAX_AXES = 8
BYTES_PER_SAMPLE = 40
"""Memory that decoding takes for a sample (three planes of 4 bytes, then copies of 8), about."""
HELD_BYTES_PER_SAMPLE = 8
"""Of them, what stays."""
SEGMENT_SAMPLES = 1 << 21
"""Of a segment, unless a row has more: how far a decoder goes at most to show one sample."""


@dataclasses.dataclass(frozen=True)
class ContextConfig(Config):
    """`prior`: the learned prior's number, see `inrzip.priors.context_prior`."""

    prior: int

    number: ClassVar[int] = 25
    exact: ClassVar[bool] = True

    def build(self, grid: Grid, key: PRNGKeyArray) -> ExactSamples:
        raise TypeError("exact samples are made by inrzip.context_encoder and inrzip.context_payload")

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        raise TypeError("the size of exact samples follows from the signal")

    @classmethod
    def settable(cls) -> tuple[str, ...]:
        return ()

    def check(self, grid: Grid) -> None:
        if not 1 <= len(grid.shape) <= MAX_AXES:
            raise ValueError(f"exact samples of {len(grid.shape)} axes")
        if self.prior not in context_prior.PRIORS:
            raise ValueError(f"there is no prior {self.prior}; the file may be from a newer inrzip")

    def n_parameters(self, grid: Grid) -> int:
        networks = context_prior.load(self.prior)
        rank = min(len(grid.shape), context_prior.MAX_RANK)
        planes = [networks[rank, earlier_planes(plane, rank)] for plane in range(grid.channels)]
        return sum(array.size for network in planes for array in network)


class Source(Protocol):
    """Samples that are decoded when they are looked at."""

    def samples(self) -> Int[np.ndarray, "*grid channels"]:
        """All of them, in the signal's units."""


class ExactSamples(Representation):
    """A decoded signal, as other parts of the package see it: between samples, it goes straight from one to the next.
    `low`, `high`: what 0 and 1 stand for.
    """

    grid: Grid = eqx.field(static=True)
    source: Source = eqx.field(static=True)
    low: float = eqx.field(static=True, default=0.0)
    high: float = eqx.field(static=True, default=1.0)

    def held_bytes(self) -> int:
        return self.grid.n_points * self.grid.channels * HELD_BYTES_PER_SAMPLE

    def predict(self, inputs: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        places = np.asarray(inputs)
        rows = [self.render(tuple(place[i : i + 1] for i in range(len(place)))).reshape(-1) for place in places]
        return jnp.asarray(np.stack(rows))

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        values = self.source.samples()
        lows, weights = [], []
        for axis, n in zip(axes, self.grid.shape, strict=True):
            place = np.clip(np.asarray(axis, np.float64), 0, n - 1)
            low = np.minimum(np.floor(place).astype(np.int64), max(n - 2, 0))
            lows.append(low)
            weights.append(place - low)
        # whole samples first, axis by axis: what lies between is mixed of two
        mixed: np.ndarray = values
        for i, (low, weight) in enumerate(zip(lows, weights, strict=True)):
            first = np.take(mixed, low, i)
            if weight.any():
                share = weight.reshape((-1, *([1] * (mixed.ndim - i - 1))))
                first = first + (np.take(mixed, np.minimum(low + 1, mixed.shape[i] - 1), i) - first) * share
            mixed = first
        return ((mixed - self.low) / ((self.high - self.low) or 1.0)).astype(np.float32)

    def exact_samples(self) -> Int[np.ndarray, "*grid channels"]:
        return self.source.samples()


def decoding_memory(grid: Grid) -> int:
    """Bytes that decoding takes, about."""
    return grid.n_points * grid.channels * BYTES_PER_SAMPLE
