"""The latent grids of a signal, and the shapes of the networks that belong to them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy import ndarray

LEVELS = 7
HYPER_LEVELS = (4, 5, 6)
"""Levels that have a second grid, which only helps to predict the others (Cool-Chic 5)."""
NEIGHBOURS = 16
FEATURES = 8
WIDTH = NEIGHBOURS + FEATURES
"""Inputs of the context network, and units of its hidden layers."""
HIDDEN_LAYERS = 2
SYNTHESIS_WIDTH = 32
TAPS = 4
"""Of an upsampling filter's eight, which are symmetric."""
FILTER_TAPS = 4
"""Of a level's own filter of seven, which is symmetric."""
UPSAMPLING_REACH, FILTER_REACH, KERNEL_REACH = 2, 3, 1
"""Samples to either side that an upsampling filter, a level's own filter, and the 3x3 convolution look at."""
COLOURS = 3
MAX_TONE = 511
MAX_OFFSET = 127
"""The greatest numbers of a configuration."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A grid of latents: its level (0 is the finest), whether it is a hyper-latent, and its size."""

    level: int
    hyper: bool
    shape: tuple[int, int]


def places(shape: tuple[int, int]) -> list[Place]:
    """All grids of a signal, in the order in which they are coded: coarse to fine, hyper-latents first."""
    found = []
    for level in reversed(range(LEVELS)):
        size = (-(-shape[0] // 2**level), -(-shape[1] // 2**level))
        found += [Place(level, True, size)] * (level in HYPER_LEVELS) + [Place(level, False, size)]
    return found


N_GRIDS = LEVELS + len(HYPER_LEVELS)


def n_coarser(level: int) -> int:
    """How many grids are known before those of a level."""
    return sum(place.level > level for place in places((1, 1)))


class Networks(NamedTuple):
    """All parameters: arrays of JAX or NumPy, or whatever stands for them.

    The context network: residual layers of `WIDTH` units on neighbours and features, and a linear branch; outputs are
    the centre and the base-2 logarithm of the scale of a Laplace curve. `coarse[l]` makes the features of grids of
    level l out of all coarser grids, `own[i]` adds the hyper-latent of the level `HYPER_LEVELS[i]` itself, `grid_bias`
    has a row for each grid, in coding order.

    Upsampling: `taps` (steps from level l + 1 to l, rows and columns, taps), nearest first. A level's own latents pass
    `filters` (levels, rows and columns, taps from the middle outwards) before they join the coarser ones.

    Synthesis: from all levels to `SYNTHESIS_WIDTH` units and on to the channels, a linear branch beside it, then a
    residual 3x3 convolution, (out, in, rows, columns).
    """

    hidden: Any
    hidden_bias: Any
    output: Any
    linear: Any
    output_bias: Any
    coarse: tuple[Any, ...]
    own: tuple[Any, ...]
    grid_bias: Any
    taps: Any
    filters: Any
    wide: Any
    wide_bias: Any
    narrow: Any
    straight: Any
    narrow_bias: Any
    kernel: Any
    kernel_bias: Any


def shapes(channels: int) -> Networks:
    """The shape of every parameter array."""
    return Networks(
        hidden=(HIDDEN_LAYERS, WIDTH, WIDTH),
        hidden_bias=(HIDDEN_LAYERS, WIDTH),
        output=(2, WIDTH),
        linear=(2, WIDTH),
        output_bias=(2,),
        coarse=tuple((FEATURES, n_coarser(level)) for level in range(LEVELS - 1)),
        own=((FEATURES,),) * len(HYPER_LEVELS),
        grid_bias=(N_GRIDS, FEATURES),
        taps=(LEVELS - 1, 2, TAPS),
        filters=(LEVELS - 1, 2, FILTER_TAPS),
        wide=(SYNTHESIS_WIDTH, LEVELS),
        wide_bias=(SYNTHESIS_WIDTH,),
        narrow=(channels, SYNTHESIS_WIDTH),
        straight=(channels, LEVELS),
        narrow_bias=(channels,),
        kernel=(channels, channels, 3, 3),
        kernel_bias=(channels,),
    )


def structure(channels: int) -> Any:
    """The pytree structure of networks."""
    return jax.tree.structure(shapes(channels), is_leaf=_is_shape)


def flat(networks: Networks) -> ndarray:
    """All parameters one after the other, in coding order."""
    return np.concatenate([np.asarray(array).ravel() for array in jax.tree.leaves(networks)])


def unflat(values: Any, channels: int) -> Networks:
    """The inverse of `flat`, for NumPy and JAX."""
    leaves, position = [], 0
    for shape in jax.tree.leaves(shapes(channels), is_leaf=_is_shape):
        leaves.append(values[position : position + math.prod(shape)].reshape(shape))
        position += math.prod(shape)
    networks: Networks = jax.tree.unflatten(structure(channels), leaves)
    return networks


def _is_shape(node: object) -> bool:
    return type(node) is tuple and all(isinstance(n, int) for n in node)
