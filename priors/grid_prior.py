"""What the networks of a latent-grid picture are usually like: a learned prior that every such file is a change of.

For each parameter the prior has a mean, a polynomial of the *tone* (the logarithm of lambda, which says how coarse the
picture is), and how far fits of photographs strayed from it. A file holds the tone and the coded differences, so most
parameters cost nothing, and fits start where others ended. All of it is integers, `WEIGHT_BITS` after the point.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Mapping
from importlib import resources

import jax
import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.architectures.grid_layout import COLOURS, MAX_TONE, Networks, flat, structure, unflat
from inrzip.codecs.latent_model import (
    MAX_WEIGHT,
    N_SCALES,
    SCALES_PER_OCTAVE,
    UNIT_SCALE,
    WEIGHT_BITS,
    LatentModel,
    eighth_power,
)

PHOTOGRAPHS = {1: "grid_photographs.npz"}
"""The priors that come with the package, by number. A file names the one that it was made with, so none may go."""
LATEST = max(PHOTOGRAPHS)
ANALYSIS = "grid_photographs_analysis.npz"
TONES_PER_DECADE = 64
NEUTRAL_TONE = 256
"""The tone of lambda 0.001."""
NEUTRAL_LAMBDA = 1e-3
LEARNED_TONES = (-80, 96)
"""Relative to the neutral one, where the polynomial was learned; beyond, its ends hold."""
NEUTRAL_STEP = 0.125
"""What a latent of 1 stands for at the neutral tone; it goes with the square root of lambda."""
STEPS_PER_OCTAVE = 4
NEUTRAL_OFFSET = 64
"""The offsets of steps and of spreads, as files hold them, that change nothing."""


def tone_of(weight: float) -> int:
    """The tone nearest to a lambda."""
    tone = NEUTRAL_TONE + round(TONES_PER_DECADE * float(np.log10(weight / NEUTRAL_LAMBDA)))
    return min(max(tone, 0), MAX_TONE)


def lambda_of(tone: int) -> float:
    """The lambda of a tone."""
    return NEUTRAL_LAMBDA * 10 ** ((tone - NEUTRAL_TONE) / TONES_PER_DECADE)


def latent_step(tone: int) -> float:
    """What a latent of 1 stands for, in the unit of the synthesis network."""
    return NEUTRAL_STEP * 10 ** ((tone - NEUTRAL_TONE) / TONES_PER_DECADE / 2)


@dataclasses.dataclass(frozen=True)
class GridPrior:
    """A learned prior, for pictures of three channels.

    - `mean`: the three coefficients of the polynomial.
    - `spread`: for each parameter, 8 times the base-2 logarithm of the mean distance from its mean.
    - `steps`: for each array, 4 times the base-2 logarithm of its quantisation step.
    - `moves`: what is added to the mean for planes of so many channels, in whole numbers.
    """

    mean: tuple[Networks, Networks, Networks]
    spread: Networks
    steps: Networks
    moves: Mapping[int, Networks] = dataclasses.field(default_factory=dict)

    def networks(self, tone: int, channels: int) -> Networks:
        """The mean at a tone, in whole numbers (int64)."""
        low, high = LEARNED_TONES
        t = min(max(tone - NEUTRAL_TONE, low), high)
        base, slope, bend = self.mean

        def at(base: ndarray, slope: ndarray, bend: ndarray) -> ndarray:
            value: ndarray = base + (slope * t * TONES_PER_DECADE + bend * t * t) // TONES_PER_DECADE**2
            return value

        networks = for_channels(jax.tree.map(at, base, slope, bend), channels)
        if channels in self.moves:
            networks = jax.tree.map(np.add, networks, self.moves[channels])
        return networks

    def scales(self, step: int, spread: int, channels: int) -> Int[ndarray, " n"]:
        """For every parameter in coding order, the index of the scale of its coded difference, at a file's offsets."""
        offset = (spread - step) * (SCALES_PER_OCTAVE // STEPS_PER_OCTAVE)
        index: ndarray = np.clip(self._spread_in_steps[channels] + (offset + UNIT_SCALE), 0, N_SCALES - 1)
        return index

    @functools.cached_property
    def _spread_in_steps(self) -> Mapping[int, Int[ndarray, " n"]]:
        """The same without offsets, for planes of one channel and of three: encoders ask for many."""

        def at(spreads: ndarray, steps: ndarray) -> ndarray:
            eighths: ndarray = spreads - steps * (SCALES_PER_OCTAVE // STEPS_PER_OCTAVE)
            return eighths

        whole = jax.tree.map(at, self.spread, self.steps)
        return {channels: flat(spread_for_channels(whole, channels)) for channels in (1, COLOURS)}

    def step_sizes(self, step: int) -> Networks:
        """The quantisation step of each array, at a file's offset."""

        def at(steps: ndarray) -> np.int64:
            exponent = (int(steps) + step - NEUTRAL_OFFSET) * (SCALES_PER_OCTAVE // STEPS_PER_OCTAVE)
            return np.int64(max(1, min(eighth_power(1, exponent), MAX_WEIGHT)))

        sizes: Networks = jax.tree.map(at, self.steps)
        return sizes


def for_channels(networks: Networks, channels: int) -> Networks:
    """Networks of three channels made into those of one: it is the mean of the three."""
    if channels == networks.narrow.shape[0]:
        return networks

    def mean(array: ndarray) -> ndarray:
        value: ndarray = np.sum(array, 0, keepdims=True) // len(array)
        return value

    return networks._replace(
        narrow=mean(networks.narrow),
        straight=mean(networks.straight),
        narrow_bias=mean(networks.narrow_bias),
        kernel=mean(np.sum(networks.kernel, 1, keepdims=True)),
        kernel_bias=mean(networks.kernel_bias),
    )


def spread_for_channels(spread: Networks, channels: int) -> Networks:
    """As `for_channels`, of indices of scales: those of the first channel."""
    if channels == spread.narrow.shape[0]:
        return spread
    return spread._replace(
        narrow=spread.narrow[:1],
        straight=spread.straight[:1],
        narrow_bias=spread.narrow_bias[:1],
        kernel=spread.kernel[:1, :1],
        kernel_bias=spread.kernel_bias[:1],
    )


def latent_model(networks: Networks) -> LatentModel:
    """The integer context model of whole-numbered networks."""

    def exact(array: ndarray) -> ndarray:
        return np.ascontiguousarray(np.asarray(array, np.float64))

    def turned(array: ndarray) -> ndarray:
        return exact(np.swapaxes(array, -1, -2))

    hidden = turned(networks.hidden) + np.eye(networks.hidden.shape[-1]) * 2.0**WEIGHT_BITS
    return LatentModel(
        n_neighbours=networks.hidden.shape[-1] - networks.grid_bias.shape[-1],
        hidden=hidden,
        hidden_bias=exact(networks.hidden_bias),
        output=turned(networks.output),
        linear=turned(networks.linear),
        output_bias=exact(networks.output_bias),
        coarse=tuple(map(exact, networks.coarse)),
        own=tuple(map(exact, networks.own)),
        grid_bias=exact(networks.grid_bias),
    ).clipped()


def as_floats(networks: Networks) -> Networks:
    """The values that whole-numbered networks stand for, in float32."""
    values: Networks = jax.tree.map(lambda array: np.asarray(array * 2.0**-WEIGHT_BITS, np.float32), networks)
    return values


@functools.cache
def load(number: int) -> GridPrior:
    """A prior of the package. Raises KeyError for a number that there is none of."""
    return loads(resources.files(__package__).joinpath(PHOTOGRAPHS[number]).read_bytes())


def load_analysis() -> bytes:
    """The analysis network that goes with the latest prior (`inrzip.architectures.grid_analysis.loads` reads it)."""
    return resources.files(__package__).joinpath(ANALYSIS).read_bytes()


def dumps(prior: GridPrior) -> bytes:
    """A prior as bytes."""
    out = io.BytesIO()
    np.savez_compressed(
        out,
        mean=np.stack([flat(mean) for mean in prior.mean]).astype(np.int32),
        spread=flat(prior.spread).astype(np.int8),
        steps=np.array(jax.tree.leaves(prior.steps), np.int8),
    )
    return out.getvalue()


def loads(data: bytes) -> GridPrior:
    """The inverse of `dumps`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        mean, spread, steps = (arrays[name].astype(np.int64) for name in ("mean", "spread", "steps"))
    first, second, third = (unflat(row, 3) for row in mean)
    return GridPrior((first, second, third), unflat(spread, 3), jax.tree.unflatten(structure(3), list(steps)))
