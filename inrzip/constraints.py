"""What stands between fitted arrays and a network's parameters: rounding while fitting."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from inrzip.architectures.base import Representation, Trainable
from inrzip.codecs.weights import QuantisedTensor


class Constrained(Trainable):
    """A network whose parameters are transformed on their way into it, or cost something. Subclasses say how, in
    `prepare`.
    """

    network: eqx.AbstractVar[Representation]

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        raise TypeError("fit what `prepare` returns")

    def finish(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Representation:
        return self.network


class Quantising(Constrained):
    """A network that is fitted together with the levels that its arrays are rounded to."""

    @abc.abstractmethod
    def quantised(self) -> list[QuantisedTensor]:
        """The arrays as they are rounded now, and the levels, as they are coded."""


class Rounded(Constrained):
    """Each parameter array rounded to multiples of its step, or steps; gradients pass straight through (Bengio et al.,
    2013).
    """

    network: Representation
    steps: list[Float[Array, "..."]]

    def __init__(self, network: Representation, steps: Sequence[float | Float[np.ndarray, "..."]]):
        """`steps`: one for each array, or as many as can be broadcast to its shape."""
        self.network = network
        self.steps = [jnp.asarray(step, jnp.float32) for step in steps]

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        arrays, static = eqx.partition(self.network, eqx.is_inexact_array)
        leaves, treedef = jax.tree.flatten(arrays)
        rounded = [round_through(w, jax.lax.stop_gradient(s)) for w, s in zip(leaves, self.steps, strict=True)]
        network: Trainable = eqx.combine(jax.tree.unflatten(treedef, rounded), static)
        return network, jnp.float32(0)


def round_through(values: Float[Array, "*shape"], step: Float[Array, "..."]) -> Float[Array, "*shape"]:
    """`values` rounded to multiples of `step`; the gradient is that of `values` themselves."""
    return values + jax.lax.stop_gradient(jnp.round(values / step) * step - values)
