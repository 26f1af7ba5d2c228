"""Fitting a network whose integers are coded as changes: each change has its price.

The network begins as that of the group before, on the same lattice of steps. While it is fitted its weights are
rounded, and the bits that the changes would take are part of the loss, so that what gains little stays as it was
(NIRVANA prices the weights themselves, and codes their changes where that is shorter).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from inrzip.architectures.base import Representation, Trainable, parameters
from inrzip.codecs.levels import ChannelSteps, UniformSteps
from inrzip.codecs.weights import QuantisedTensor
from inrzip.priors.laplace import LaplacePrior

from .constraints import Constrained, round_through

LEAST_SCALE = 0.1
"""Mean magnitude of changes, in steps, that a tensor is priced with at least: where nothing has changed yet, the first
change should not cost more than a coder that learns would ask.
"""


class Changing(Constrained):
    """`network`, rounded to the steps of what it was `before`, with a price in mean squared error for each bit of
    change.
    """

    network: Representation
    before: list[Float[Array, "..."]]
    steps: list[Float[Array, "..."]]
    price: Float[Array, ""]

    def __init__(self, network: Representation, tensors: Sequence[QuantisedTensor], price: float):
        """`tensors`: those of the group before, all in steps."""
        self.network = network
        self.before = [jnp.asarray(tensor.values()) for tensor in tensors]
        self.steps = [jnp.asarray(levels_of(tensor).steps(), jnp.float32) for tensor in tensors]
        self.price = jnp.float32(price)

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        arrays, static = eqx.partition(self.network, eqx.is_inexact_array)
        leaves, treedef = jax.tree.flatten(arrays)
        before, steps, price = jax.lax.stop_gradient((self.before, self.steps, self.price))
        rounded = [round_through(w, step) for w, step in zip(leaves, steps, strict=True)]
        bits = [_bits(w - old, step) for w, old, step in zip(leaves, before, steps, strict=True)]
        network: Trainable = eqx.combine(jax.tree.unflatten(treedef, rounded), static)
        return network, price * sum(bits, jnp.float32(0))


def rounded_like(network: Representation, tensors: Sequence[QuantisedTensor]) -> list[QuantisedTensor]:
    """`network` in integers, with the levels of `tensors`, which are all steps."""
    pairs = zip(parameters(network), map(levels_of, tensors), strict=True)
    return [QuantisedTensor(own.quantise(np.asarray(array)), own) for array, own in pairs]


def levels_of(tensor: QuantisedTensor) -> UniformSteps | ChannelSteps:
    """Those of a tensor in steps."""
    return cast(UniformSteps | ChannelSteps, tensor.levels)


def _bits(change: Float[Array, "..."], step: Float[Array, "..."]) -> Float[Array, ""]:
    """What the changes of a tensor take under a Laplace curve of their own width, smooth between whole steps."""
    prior = LaplacePrior()
    scale = jnp.maximum(jax.lax.stop_gradient(prior.initial(change, step)), np.log(LEAST_SCALE))
    return prior.bits(scale, change, step)
