"""From fits to what is coded: latents rounded, and the networks' changes with the steps and spreads that cost least."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int
from numpy import ndarray

from inrzip.architectures.grid import GridConfig
from inrzip.architectures.grid_kernels import kernels
from inrzip.architectures.grid_layout import MAX_OFFSET, Networks, flat
from inrzip.architectures.grid_training import Layout
from inrzip.codecs.latent_model import MAX_LATENT, SCALES_PER_OCTAVE, WEIGHT_BITS
from inrzip.codecs.latents import Latents
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import NEUTRAL_OFFSET, GridPrior, lambda_of, latent_step

from . import grid_fit
from .grid_fit import Samples, State
from .grid_payload import CodedPlane, change_bits, networks_of

PRIOR = grid_prior.LATEST
STEP_OFFSETS = tuple(range(-6, 31, 3))
PILOT_OFFSETS = (3,)
SPREAD_OFFSETS = tuple(range(-24, 25, 4))
GIVE_UP, SMALL = 1.01, 50_000
"""Coarser steps are not tried once they cost so many times the best, except for pictures of fewer pixels than this:
there trying is quick, and the cost goes up and down.
"""


@dataclasses.dataclass(frozen=True)
class Plane:
    """One plane of a picture: what it should look like, in normalised units."""

    name: str
    layout: Layout
    target: Samples

    @property
    def channels(self) -> int:
        return len(self.target)


class Coding(NamedTuple):
    """Fits in whole numbers, and what they cost, lambda times the bits of networks included."""

    config: GridConfig
    planes: list[CodedPlane]
    cost: float


def coded_fits(planes: list[Plane], prior: GridPrior, tone: int, fits: list[State], offsets: Sequence[int]) -> Coding:
    """The networks rounded with those of some steps, and coded with the spreads, that make the whole cheapest."""
    weight, n_pixels = lambda_of(tone), planes[0].layout.shape[0] * planes[0].layout.shape[1]
    grids = [whole_latents(plane.layout, fit) for plane, fit in zip(planes, fits, strict=True)]
    best: Coding | None = None
    for offset in offsets:
        config, coded, bits = _coded(planes, prior, tone, fits, grids, offset)
        cost = weight * bits / max(n_pixels, grid_fit.PRICED_AS)
        for plane, numbers in zip(planes, coded, strict=True):
            networks = networks_of(prior, config, numbers.changes, plane.channels)
            cost += plane_cost(plane, networks, numbers.grids, tone)
        if best is None or cost < best.cost:
            best = Coding(config, coded, cost)
        elif n_pixels >= SMALL and cost > GIVE_UP * best.cost:
            break
    assert best is not None
    return best


def coded_large(
    planes: list[Plane], prior: GridPrior, tone: int, fits: list[State]
) -> tuple[GridConfig, list[CodedPlane]]:
    """Large pictures hardly notice what networks take, and their cost would take much memory."""
    grids = [whole_latents(plane.layout, fit) for plane, fit in zip(planes, fits, strict=True)]
    config, coded, _ = _coded(planes, prior, tone, fits, grids, STEP_OFFSETS[0])
    return config, coded


def _coded(
    planes: list[Plane], prior: GridPrior, tone: int, fits: list[State], grids: list[list[Latents]], offset: int
) -> tuple[GridConfig, list[CodedPlane], float]:
    """Networks rounded to steps, coded with the best spread; and their bits."""
    step = NEUTRAL_OFFSET + offset
    coded = [
        CodedPlane(plane.channels, _rounded(prior, fit.change, step), grid)
        for plane, fit, grid in zip(planes, fits, grids, strict=True)
    ]
    config, bits = _best_spread(prior, tone, step, [plane.changes for plane in coded], planes)
    return config, coded, bits


def whole_latents(layout: Layout, fit: State) -> list[Latents]:
    """A fit's latents as they are coded."""
    grids = layout.split(np.asarray(fit.latents))
    return [np.clip(np.round(grid * grid_fit.GAIN), -MAX_LATENT, MAX_LATENT).astype(np.int16) for grid in grids]


def plane_cost(plane: Plane, networks: Networks, grids: list[Latents], tone: int) -> float:
    """Mean squared error and lambda times the bits of latents for a pixel, in floats, as while fitting: good enough to
    choose by. `networks` in whole numbers.
    """
    compute = kernels(plane.layout, plane.channels)
    latents = np.zeros((plane.layout.rows, plane.layout.columns), np.float32)
    for view, grid in zip(plane.layout.split(latents), grids, strict=True):
        view[...] = grid
    floats, step, price = flat(grid_prior.as_floats(networks)), latent_step(tone), lambda_of(tone)
    squares, bits = compute.cost(floats, latents, plane.target, step, price)[0]
    n_pixels = plane.layout.shape[0] * plane.layout.shape[1]
    return float(squares) / (plane.channels * n_pixels) + price * float(bits) / max(n_pixels, grid_fit.PRICED_AS)


def _rounded(prior: GridPrior, change: Networks, step: int) -> Int[ndarray, " parameters"]:
    """Changes in steps."""

    def at(change: Array, size: ndarray) -> ndarray:
        steps: ndarray = np.round(np.asarray(change, np.float64) * 2.0**WEIGHT_BITS / size).astype(np.int64)
        return steps

    return flat(jax.tree.map(at, change, prior.step_sizes(step)))


def _best_spread(
    prior: GridPrior, tone: int, step: int, changes: list[Int[ndarray, " n"]], planes: list[Plane]
) -> tuple[GridConfig, float]:
    """The spread that codes changes best, and their bits."""

    def bits(config: GridConfig) -> float:
        pairs = zip(changes, planes, strict=True)
        return sum(change_bits(prior, config, change, plane.channels) for change, plane in pairs)

    spreads = [min(max(NEUTRAL_OFFSET + offset, 0), MAX_OFFSET) for offset in SPREAD_OFFSETS]
    configs = [GridConfig(PRIOR, tone, step, spread) for spread in spreads]
    return min(((config, bits(config)) for config in configs), key=lambda pair: pair[1])


def rounding_of(config: GridConfig | None, prior: GridPrior) -> grid_fit.Rounding:
    """What the last phase rounds; with None, that of the phases before."""
    sizes = prior.step_sizes(NEUTRAL_OFFSET if config is None else config.step)
    unit = 0.0 if config is None else 2.0**-WEIGHT_BITS
    return grid_fit.Rounding(config is not None, jax.device_put(jax.tree.map(lambda s: np.float32(s * unit), sizes)))


def penalty_of(prior: GridPrior, channels: int) -> Networks:
    """Bits that moving a parameter by 1 costs, under Laplace curves of the prior's spreads."""
    spreads = grid_prior.spread_for_channels(prior.spread, channels)

    def price(eighths: ndarray) -> ndarray:
        return np.asarray(2.0 ** (WEIGHT_BITS - eighths / SCALES_PER_OCTAVE) / math.log(2), np.float32)

    return jax.device_put(jax.tree.map(price, spreads))  # type: ignore[no-any-return]
