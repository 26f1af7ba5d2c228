"""Few bits for each weight, and one network for several precisions and sizes, after ANI (known here from its abstract;
the details are ours).

- *Low precision* (`low_bit`): the network, fitted in floating point first, is fitted on with its weights rounded to
  4 bits, and to 8 in its first and last layers (`inrzip.learned_steps`: LSQ, a step for each row).
- *Several precisions* (`drop_bits`): steps an octave apart are neighbours on the ladder, so the high bits of integers
  are integers of a coarser network.
- *Several sizes* (`narrow`): a SIREN's first units are a narrower SIREN, as in slimmable networks (Yu et al., ICLR
  2019).

`Versions` fits a network so that all of these do well; who has it needs no other file for a smaller one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from inrzip.architectures.base import Representation, Trainable, parameters
from inrzip.architectures.siren import Siren, SirenConfig
from inrzip.codecs.levels import ChannelSteps, Levels, UniformSteps
from inrzip.codecs.uniform import STEPS_PER_OCTAVE
from inrzip.codecs.weights import QuantisedTensor

from .learned_steps import LearnedSteps, Range, best_step_indices

BITS = 4
EDGE_BITS = 8
"""Of the first and the last layer's weights."""
BIAS_BITS = 12
"""Of biases. They are few, and a SIREN's first ones are phases: 8 bits cost 1.7 dB on a photograph, 12 nothing."""


def low_bit(
    network: Representation, bits: int = BITS, edge_bits: int = EDGE_BITS, axis: int = -1, price: float = 0.0
) -> LearnedSteps:
    """The network to fit on. `axis`: that of output channels in weights (-1; 0 in a SIREN), which have a step each.
    `price`: see `LearnedSteps`.
    """
    arrays = [np.asarray(array) for array in parameters(network)]
    inner = inner_weights(network)
    ranges = []
    for i, array in enumerate(arrays):
        own_bits = bits if i in inner else edge_bits
        own = Range.of_bits(own_bits, (axis % array.ndim,)) if array.ndim > 1 else Range.of_bits(BIAS_BITS)
        ranges.append(own)
    starts = [best_step_indices(array, within) for array, within in zip(arrays, ranges, strict=True)]
    return LearnedSteps(network, starts, ranges, price)


def inner_weights(network: Representation) -> list[int]:
    """Which arrays are weights of layers but the first and the last."""
    return [i for i, array in enumerate(parameters(network)) if array.ndim > 1][1:-1]


@dataclasses.dataclass(frozen=True)
class Version:
    """A smaller form of a network: without so many low bits of its inner weights, and, in a SIREN, with only the first
    `width` units of each hidden layer (None: all).
    """

    dropped: int = 0
    width: int | None = None


class Versions(Trainable):
    """A network fitted in several versions at once; the loss is the mean of theirs."""

    learned: LearnedSteps
    versions: tuple[Version, ...] = eqx.field(static=True)

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        inner = inner_weights(self.learned.network)
        networks = []
        for version in self.versions:
            dropped = [version.dropped if i in inner else 0 for i in range(len(self.learned.ranges))]
            network = self.learned.rounded(dropped)
            networks.append(network if version.width is None else narrow(network, version.width))
        return _Several(networks), self.learned.prepare()[1]

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        raise TypeError("fit what `prepare` returns")

    def finish(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Representation:
        return self.learned.network


class _Several(Trainable):
    """Networks that are judged together: their predictions are stacked along a new first axis."""

    networks: list[Representation]

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        return jnp.stack([network.predict_training(inputs, targets) for network in self.networks])

    def finish(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Representation:
        raise TypeError("finish the module that this was prepared from")


def drop_bits(tensor: QuantisedTensor, within: Range, dropped: int) -> QuantisedTensor:
    """The tensor without the low bits of its integers, which are rounded half up and stay in what is left of their
    range. Its steps are so many octaves larger.
    """
    shifted = (tensor.integers.astype(np.int64) + ((1 << dropped) >> 1)) >> dropped
    coarser = within.without(dropped)
    levels = tensor.levels
    if not isinstance(levels, UniformSteps | ChannelSteps):
        raise ValueError(f"`tensor` has levels of kind {levels.number}; bits can be dropped of multiples of steps")
    levels = dataclasses.replace(levels, step_index=levels.step_index + dropped * STEPS_PER_OCTAVE)
    return QuantisedTensor(np.clip(shifted, coarser.low, coarser.high).astype(np.int32), levels)


def narrow(siren: Representation, width: int) -> Siren:
    """The SIREN of the first `width` units of each hidden layer."""
    config, shapes = _narrower(siren, width)
    arrays = [array[_corner(shape)] for array, shape in zip(parameters(siren), shapes, strict=True)]
    narrower: Siren = jax.tree.unflatten(jax.tree.structure(config.structure(siren.grid)), arrays)
    return narrower


def narrow_tensors(siren: Representation, tensors: Sequence[QuantisedTensor], width: int) -> list[QuantisedTensor]:
    """The same of a quantised SIREN's tensors: what a file of the narrower one holds."""
    _, shapes = _narrower(siren, width)
    return [
        QuantisedTensor(tensor.integers[_corner(shape)], _narrow_levels(tensor.levels, shape))
        for tensor, shape in zip(tensors, shapes, strict=True)
    ]


def _narrower(siren: Representation, width: int) -> tuple[SirenConfig, list[tuple[int, ...]]]:
    """The narrower configuration, and the shapes of its arrays."""
    if not isinstance(siren, Siren) or not 1 <= width <= siren.config.width:
        raise ValueError(f"`width` is {width}; a SIREN can be made narrower, to 1 unit at least, other networks not")
    config = dataclasses.replace(siren.config, width=width)
    return config, [array.shape for array in parameters(config.structure(siren.grid))]


def _corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(n) for n in shape)


def _narrow_levels(levels: Levels, shape: tuple[int, ...]) -> Levels:
    if not isinstance(levels, ChannelSteps):
        return levels
    return dataclasses.replace(levels, offsets=tuple(o[:n] for o, n in zip(levels.offsets, shape, strict=True)))
