"""The first fit with a price for bits: of several networks that fit equally well, the one that codes cheapest.

Before the first fit, steps are unknown. They need not be known: at high rate, n weights of a Laplace density take
`n log2(mean magnitude)` bits and a constant that depends on the steps only. So a price for that, in the loss, shrinks
what the signal does not need.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from inrzip.architectures.base import Representation, Trainable, parameters

PRICE_SHARE = 0.25
"""What all weights' rate falling by a bit each is worth, as a part of the mean squared error expected in the end.

If quantisation is to add the part x to the error, that is `2 ln 2 x` at high rate (`allocate_steps`). Measured, NeRV:
0.1, 0.25 and 0.5 all make smaller files, 0.25 the best.
"""
_RESOLUTION = 2.0**-12  # magnitudes far below this are not worth shrinking


class Priced(Trainable):
    """What is fitted first, with a price for the bits of the arrays that will be coded."""

    inner: Trainable
    price: float = eqx.field(static=True)

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        prepared, penalty = self.inner.prepare()
        return prepared, penalty + self.price * _relative_bits(_coded(self.inner))

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        raise TypeError("fit what `prepare` returns")

    def finish(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Representation:
        return self.inner.finish(samples, low, high)


def priced(training: Trainable, expected_error: float, share: float = PRICE_SHARE) -> Priced:
    """What to fit in place of `training`. `expected_error`: the mean squared error that the fit will reach, in
    normalised units, within a factor of two or so.
    """
    n_weights = sum(leaf.size for leaf in parameters(_coded(training)))
    return Priced(training, share * expected_error / max(1, n_weights))


def _coded(training: Trainable) -> Representation:
    """The representation within."""
    parts = jax.tree.leaves(training, is_leaf=lambda part: isinstance(part, Representation))
    found: Representation = next(part for part in parts if isinstance(part, Representation))
    return found


def _relative_bits(network: Representation) -> Float[Array, ""]:
    """Bits of all arrays at a step of `_RESOLUTION`, but for a constant for each weight; never below 0."""
    bits = [w.size * jnp.log2(1 + jnp.mean(jnp.abs(w)) / _RESOLUTION) for w in parameters(network) if w.size]
    return sum(bits, jnp.float32(0))
