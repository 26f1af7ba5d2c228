"""Networks whose weights are sums of fixed random arrays: a file holds the seed and the coefficients of the sums.

D'OH (Gordon et al., "D'OH: Decoder-only random hypernetworks for implicit neural representations", ACCV 2024) makes
all arrays of a network from one latent vector. PRANC (Nooralinejad et al., "PRANC: Pseudo random networks for
compacting deep models", ICCV 2023) mixes random networks. Both work with any network of positions inside, and the
number of coefficients, not the network's size, decides the file's.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, Self, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Axes, Config, Grid, PointRepresentation, Trainable, parameters
from .nesting import BACKBONES, DEFAULT_BACKBONE, backbone, nested, unnested
from .random_bases import normal_numbers, project, sign_words, spread
from .siren import sine

MAX_INNER = 1 << 22
MAX_COEFFICIENTS = 1 << 16
MAX_SIGNS = 1 << 33
"""Random signs that one network may take: some seconds of work for a decoder."""
MAX_SEED = (1 << 20) - 1
MAX_TERMS = 16
MAX_SORTED = 1 << 22
"""Terms, of all weights together, that a decoder puts in a random order."""
CENTRED, PLAIN, TURNED = range(3)
"""Forms of D'OH: sums are B z, B z, and B [cos(pi z / 2), sin(pi z / 2)] (magnitude-invariant); all but the second are
added to an array that random numbers alone decide.
"""
STREAMS = 4
_START, _SIGNS, _ORDER = range(3)
"""Random numbers of seed s come from seeds 4 s + these."""
GAIN_OCTAVES = 6
"""What a gain of 1 means. Gains have to move much faster than coefficients: see docs/compact.md."""
SUM_SPREAD = 0.03
"""Deviation of what is added to an array where all coefficients have that of 1, before the fit."""
LEAST_SPREAD = 0.002
"""Standard deviation that arrays start with where those of the network inside would be smaller."""
RATIO = 2
"""Weights inside for each coefficient: 2 and 4 are as good as each other, 8 is worse."""
RATE_TIMES_WIDTH = 2.0
"""The largest learning rate of a width is this over the width."""


class MixtureConfig(Config):
    """What both have in common: a seed, a network inside as `inrzip.architectures.nesting` writes it, and gains.

    Array l of the network is 2^(6 g) W + 2^(6 h) S: W fixed random numbers of variance 1, S the sums that coefficients
    make, g and h the array's gains. Without W, there is one gain.
    """

    seed: int
    inner: tuple[int, ...]

    extra_settings: ClassVar[tuple[str, ...]] = ("backbone", "width", "depth", "scale", "ratio")

    @property
    def centred(self) -> bool:
        """Whether sums are added to fixed arrays."""
        return True

    @abc.abstractmethod
    def count(self, sizes: Sequence[int]) -> int:
        """Of coefficients, for arrays of so many weights."""

    @abc.abstractmethod
    def n_signs(self, sizes: Sequence[int]) -> int:
        """Random signs that making the weights takes."""

    @abc.abstractmethod
    def sums(self, values: Float[Array, " coefficients"], sizes: Sequence[int]) -> Float[Array, " weights"]:
        """Of all arrays, in a row."""

    def first_values(self, key: PRNGKeyArray, count: int) -> Float[Array, " coefficients"]:
        """What a fit starts from."""
        return jnp.zeros(count)

    def inner_structure(self, grid: Grid) -> PointRepresentation:
        """The network inside, with shapes in place of arrays."""
        return cast(PointRepresentation, unnested(self.inner, grid, BACKBONES).structure(grid))

    def sizes(self, grid: Grid) -> list[int]:
        """Weights in each array of the network inside."""
        return [array.size for array in parameters(self.inner_structure(grid))]

    def n_parameters(self, grid: Grid) -> int:
        sizes = self.sizes(grid)
        return self.count(sizes) + (1 + self.centred) * len(sizes)

    def learning_rate(self, peak: float, n_steps: int) -> float:
        _, width, *_ = self.inner
        return min(peak, RATE_TIMES_WIDTH / width)

    def check(self, grid: Grid) -> None:
        if self.seed > MAX_SEED:
            raise ValueError(f"seed {self.seed}")
        n_weights = unnested(self.inner, grid, BACKBONES).n_parameters(grid)
        if n_weights > MAX_INNER:
            raise ValueError(f"{n_weights} weights made of random numbers")
        signs = self.n_signs(self.sizes(grid))
        if signs > MAX_SIGNS:
            raise ValueError(f"{n_weights} weights made of {signs} random signs")

    def build(self, grid: Grid, key: PRNGKeyArray) -> Mixture:
        inner_key, own_key = jax.random.split(key)
        arrays = parameters(unnested(self.inner, grid, BACKBONES).build(grid, inner_key))
        deviations = jnp.stack([jnp.sqrt(jnp.mean(jnp.square(array))) for array in arrays])
        spreads = [jnp.maximum(deviations, LEAST_SPREAD)]
        spreads += [jnp.full(len(arrays), SUM_SPREAD)] * self.centred
        values = self.first_values(own_key, self.count([array.size for array in arrays]))
        return Mixture(grid=grid, values=values, gains=jnp.log2(jnp.stack(spreads)) / GAIN_OCTAVES, config=self)


class Mixture(PointRepresentation):
    """The network that random arrays make."""

    values: Float[Array, " coefficients"]
    gains: Float[Array, "parts arrays"]
    config: MixtureConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    output_axis: ClassVar[int] = 0

    def network(self) -> PointRepresentation:
        """The network inside, with its weights."""
        leaves, treedef = jax.tree.flatten(self.config.inner_structure(self.grid))
        sizes = [leaf.size for leaf in leaves]
        parts = [self.config.sums(self.values, sizes)]
        if self.config.centred:
            parts.insert(0, normal_numbers(STREAMS * self.config.seed + _START, sum(sizes)))
        scales = jnp.exp2(GAIN_OCTAVES * self.gains)
        total = jnp.repeat(scales, np.array(sizes), axis=1, total_repeat_length=sum(sizes)) * jnp.stack(parts)
        arrays = jnp.split(total.sum(axis=0), np.cumsum(sizes)[:-1])
        shaped = [array.reshape(leaf.shape) for array, leaf in zip(arrays, leaves, strict=True)]
        network: PointRepresentation = jax.tree.unflatten(treedef, shaped)
        return network

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        return self.network(), jnp.float32(0)

    def predict(self, positions: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        return self.network().predict(positions)

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        return _made(self).render(axes)


@eqx.filter_jit
def _made(mixture: Mixture) -> PointRepresentation:
    return mixture.network()


@dataclasses.dataclass(frozen=True)
class DohConfig(MixtureConfig):
    """One vector of `latents` numbers times a random matrix; `form` is one of `CENTRED`, `PLAIN`, `TURNED`."""

    latents: int
    seed: int
    form: int
    inner: tuple[int, ...]

    number: ClassVar[int] = 12

    @property
    def centred(self) -> bool:
        return self.form != PLAIN

    def count(self, sizes: Sequence[int]) -> int:
        return self.latents

    def n_signs(self, sizes: Sequence[int]) -> int:
        return sum(sizes) * self.latents * (2 if self.form == TURNED else 1)

    def first_values(self, key: PRNGKeyArray, count: int) -> Float[Array, " coefficients"]:
        drawn = {PLAIN: jax.random.normal, CENTRED: lambda _, shape: jnp.zeros(shape), TURNED: jax.random.uniform}
        return drawn[self.form](key, (count,))

    def sums(self, values: Float[Array, " coefficients"], sizes: Sequence[int]) -> Float[Array, " weights"]:
        if self.form == TURNED:
            angles = np.float32(math.pi / 2) * values
            values = jnp.concatenate([sine(angles + np.float32(math.pi / 2)), sine(angles)])
        sums = project(STREAMS * self.seed + _SIGNS, 0, sum(sizes), values)
        return sums * np.float32(1 / math.sqrt(self.latents))

    def check(self, grid: Grid) -> None:
        if not 1 <= self.latents <= MAX_COEFFICIENTS or self.form > TURNED:
            raise ValueError(f"{self.latents} latents of form {self.form}")
        super().check(grid)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        latents, seed = settings.pop("latents", 0), settings.pop("seed", 0)
        form = settings.pop("form", CENTRED)
        inner, n_gains = solve_inner(grid, n_parameters, settings)
        config = cls(latents or 1, seed, form, inner)
        most = MAX_SIGNS // config.n_signs(config.sizes(grid))
        return config if latents else dataclasses.replace(config, latents=_left(n_parameters, n_gains, most))


@dataclasses.dataclass(frozen=True)
class PrancConfig(MixtureConfig):
    """A random network and a mixture of further ones. With `terms` 0, each array has coefficients of its own, about in
    proportion to its size; else each weight is the sum of so many of the coefficients with random signs. The setting
    `own` asks for the former: it is no better at equal bytes, and each step takes longer (docs/compact.md).
    """

    coefficients: int
    seed: int
    terms: int
    inner: tuple[int, ...]

    number: ClassVar[int] = 13
    extra_settings: ClassVar[tuple[str, ...]] = (*MixtureConfig.extra_settings, "own")

    def shares(self, sizes: Sequence[int]) -> list[int]:
        """The coefficients of each array, where each has its own."""
        total = sum(sizes)
        return [min(size, max(1, self.coefficients * size // total)) for size in sizes]

    def count(self, sizes: Sequence[int]) -> int:
        return self.coefficients if self.terms else sum(self.shares(sizes))

    def n_signs(self, sizes: Sequence[int]) -> int:
        if self.terms:
            return sum(sizes) * self.terms
        return sum(size * share for size, share in zip(sizes, self.shares(sizes), strict=True))

    def sums(self, values: Float[Array, " coefficients"], sizes: Sequence[int]) -> Float[Array, " weights"]:
        seed = STREAMS * self.seed
        if self.terms:
            sums = spread(seed + _ORDER, seed + _SIGNS, sum(sizes), self.terms, values)
            return sums * np.float32(1 / math.sqrt(self.terms))
        parts, first, used = [], 0, 0
        for size, share in zip(sizes, self.shares(sizes), strict=True):
            own = values[used : used + share] * np.float32(1 / math.sqrt(share))
            parts.append(project(seed + _SIGNS, first, size, own))
            first, used = first + sign_words(size, share), used + share
        return jnp.concatenate(parts)

    def check(self, grid: Grid) -> None:
        if not 1 <= self.coefficients <= MAX_COEFFICIENTS or self.terms > MAX_TERMS:
            raise ValueError(f"{self.coefficients} coefficients, {self.terms} for each weight")
        super().check(grid)
        if self.terms * unnested(self.inner, grid, BACKBONES).n_parameters(grid) > MAX_SORTED:
            raise ValueError(f"too many weights that are sums of {self.terms} coefficients")

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        coefficients, seed = settings.pop("coefficients", 0), settings.pop("seed", 0)
        terms = 0 if settings.pop("own", 0) else settings.pop("terms", 1)
        inner, n_gains = solve_inner(grid, n_parameters, settings)
        config = cls(coefficients or 1, seed, terms, inner)
        most = MAX_SIGNS // unnested(inner, grid, BACKBONES).n_parameters(grid)
        return config if coefficients else dataclasses.replace(config, coefficients=_left(n_parameters, n_gains, most))


def _left(n_parameters: int, n_gains: int, most: int) -> int:
    """Coefficients, besides the gains, within the limits."""
    return max(1, min(n_parameters - n_gains, most, MAX_COEFFICIENTS))


def solve_inner(grid: Grid, n_parameters: int, settings: dict[str, int]) -> tuple[tuple[int, ...], int]:
    """The network inside, of about so many times as many weights as the setting `ratio` says, and the number of its
    gains.
    """
    ratio = settings.pop("ratio", RATIO)
    architecture = backbone(settings.pop("backbone", DEFAULT_BACKBONE), BACKBONES)
    n_weights = min(ratio * min(n_parameters, MAX_COEFFICIENTS), MAX_INNER // 2)
    inner = architecture.solve(grid, n_weights, **settings)
    return nested(inner), 2 * len(parameters(inner.structure(grid)))
