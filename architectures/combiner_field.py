"""Patches that know of each other: a field of them, after the hierarchy of RECOMBINER (He et al., ICLR 2024).

There, weights of a patch's coordinate network are made of its own latents plus those of its group of patches plus those
of the whole signal; and grids of latents are joined before they are upsampled, so that no seams are seen. Both is so
here. Which latents share a block is in `inrzip.priors.field_prior`.

Own choices: a group is a cube of patches, as they lie beside each other; all latents of a signal are one row of
numbers: those of each patch as in `combiner_network`, then those of each group, then the signal's.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from . import combiner_network as network
from .combiner_network import Layout, Shape, Shared

MARGIN = 2
"""Patches around those looked at that change them: convolutions reach over less than two patches."""


@dataclasses.dataclass(frozen=True)
class Field:
    """`counts`: patches along each axis; `group`: those of a group along each axis. The last groups may be smaller."""

    counts: Shape
    group: int

    @property
    def n_patches(self) -> int:
        return math.prod(self.counts)

    @property
    def group_counts(self) -> Shape:
        return tuple(-(-n // self.group) for n in self.counts)

    @property
    def n_groups(self) -> int:
        return math.prod(self.group_counts)

    def groups(self) -> Int[ndarray, " patches"]:
        """The group of each patch."""
        places = np.indices(self.counts).reshape(len(self.counts), -1) // self.group
        return np.asarray(np.ravel_multi_index(tuple(places), self.group_counts))


def n_weights(layout: Layout) -> int:
    """Latents of a patch, a group or a signal that the coordinate network's weights are made of."""
    return sum(layout.latent_counts()[len(layout.grids) :])


def n_latents(layout: Layout, field: Field) -> int:
    """Of a whole signal."""
    return field.n_patches * layout.n_latents + (field.n_groups + 1) * n_weights(layout)


def combined(layout: Layout, field: Field, latents: Any, xp: ModuleType) -> Any:
    """What the network is given for each patch, (items, patches, latents of a patch), of all latents (items, all)."""
    n, items, weights = field.n_patches, latents.shape[0], n_weights(layout)
    own = latents[:, : n * layout.n_latents].reshape(items, n, layout.n_latents)
    above = latents[:, n * layout.n_latents :].reshape(items, field.n_groups + 1, weights)
    shared = above[:, field.groups()] + above[:, -1:]
    first = layout.n_latents - weights
    return xp.concatenate([own[..., :first], own[..., first:] + shared], -1)


def evaluate(layout: Layout, shared: Shared, counts: Shape, latents: Any, xp: ModuleType) -> Any:
    """Values of a box of patches, (items, patches, samples, channels), of the latents of each, (items, patches, latents
    of a patch). Outside of the box is nothing.
    """
    items, n = latents.shape[0], math.prod(counts)
    parts = network.split(layout, latents)
    grids = [_joined(part, counts, shape) for part, shape in zip(parts, layout.grid_shapes(), strict=False)]
    fixed = network.fixed_encodings(layout).astype(latents.dtype)
    x = xp.broadcast_to(xp.asarray(fixed), (items * n, *fixed.shape))
    learned = network.encodings(layout, shared, grids, xp)
    if learned is not None:
        learned = _patches(learned, counts, layout)
        x = xp.concatenate([learned, x], -1)
    own = [part.reshape(items * n, -1) for part in parts[len(layout.grids) :]]
    values = network.coordinate_network(layout, shared, own, x, xp)
    if learned is not None:
        values = values + learned @ shared.straight[0]
    return values.reshape(items, n, -1, layout.channels) + np.float32(network.MIDDLE)


def _joined(part: Any, counts: Shape, shape: Shape) -> Any:
    """The grids of all patches as one, (items, *whole grid, channels)."""
    axes, items = len(counts), part.shape[0]
    order = [0, *[i for a in range(axes) for i in (1 + a, 1 + axes + a)], 1 + 2 * axes]
    whole = [n * size for n, size in zip(counts, shape, strict=False)]
    return part.reshape(items, *counts, *shape).transpose(order).reshape(items, *whole, shape[-1])


def _patches(values: Any, counts: Shape, layout: Layout) -> Any:
    """The inverse for what is there at each sample: (items times patches, samples, features)."""
    axes, items = len(counts), values.shape[0]
    split = values.reshape(items, *[n for count in counts for n in (count, layout.side)], values.shape[-1])
    order = [0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1]
    return split.transpose(order).reshape(items * math.prod(counts), layout.side**axes, -1)


def cut_evenly(values: Any, field: Field, layout: Layout) -> Any:
    """The patches, (items, patches, samples, channels), of signals (items, samples, channels) of whole patches."""
    return _patches(values, field.counts, layout).reshape(values.shape[0], field.n_patches, -1, values.shape[-1])


@functools.lru_cache(maxsize=16)
def kinds_of_latents(layout: Layout) -> Int[ndarray, " latents"]:
    """The kind of each latent of a patch: channels of each grid, wherever they lie, and then each for itself."""
    kinds, first = [], 0
    for shape in layout.grid_shapes():
        kinds.append(first + np.arange(math.prod(shape)) % shape[-1])
        first += shape[-1]
    return np.concatenate([*kinds, first + np.arange(n_weights(layout))])


def n_kinds(layout: Layout) -> int:
    """Kinds of latents of a patch."""
    return sum(layout.grids) + n_weights(layout)
