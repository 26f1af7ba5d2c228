"""Two Gaussian densities around zero, a wide and a narrow one: tensors with many small values and few large ones."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inrzip.codecs.mixture_tables import MixtureTables
from inrzip.priors.integer_tables import Family
from inrzip.priors.prior import header_bits
from inrzip.priors.rates import gauss_bits, gauss_scale, in_steps, mean

_ROUNDS = 16  # of expectation maximisation
_FIRST_WIDE, _FIRST_NARROW = 1.5, 0.5  # scales to start from, as parts of that of a single Gaussian
_SIDE_BITS = 7.0  # for the share and the narrow scale
_LN2 = 0.6931471805599453
_TINY = 1e-12


class Mixture(NamedTuple):
    """Parameters: natural logarithms of two scales, and the logit of the share of the narrow density."""

    wide: Float[Array, ""]
    narrow: Float[Array, ""]
    share: Float[Array, ""]


@dataclasses.dataclass(frozen=True)
class MixturePrior:
    """A `Prior`. Its parameters are a `Mixture`."""

    def initial(self, values: Float[Array, "..."], step: Float[Array, "..."] | float) -> Mixture:
        """The most likely mixture near one that is fixed, by expectation maximisation (Dempster, Laird and Rubin,
        1977).
        """
        distance = jnp.round(in_steps(values, step))
        single = jnp.log(gauss_scale(mean(distance**2)))
        first = Mixture(single + jnp.log(_FIRST_WIDE), single + jnp.log(_FIRST_NARROW), jnp.float32(0))

        def improve(_: Array, mixture: Mixture) -> Mixture:
            narrow = jax.nn.sigmoid(_logit(mixture, distance))
            return Mixture(
                _weighted_scale(distance, 1 - narrow),
                _weighted_scale(distance, narrow),
                jax.scipy.special.logit(jnp.clip(mean(narrow), _TINY, 1 - 1e-6)),
            )

        found: Mixture = jax.lax.fori_loop(0, _ROUNDS, improve, first)
        return found

    def bits(
        self, parameters: Mixture, values: Float[Array, "..."], step: Float[Array, "..."] | float
    ) -> Float[Array, ""]:
        """See `Prior`."""
        distance = in_steps(values, step)
        wide = gauss_bits(distance, jnp.exp(parameters.wide))
        # the narrow density adds to the wide one: -log2((1 - q) w + q n) = -log2((1 - q) w) - log2(1 + e^logit)
        added = jax.nn.softplus(_logit(parameters, distance)) - jax.nn.softplus(parameters.share)
        return header_bits(values) + (_SIDE_BITS if values.size else 0.0) + jnp.sum(wide - added / _LN2)

    def coder(self) -> MixtureTables:
        """See `Prior`."""
        return MixtureTables(Family.GAUSS)


def _logit(mixture: Mixture, distance: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Of the chance that a value is of the narrow density."""
    wide, narrow = gauss_bits(distance, jnp.exp(mixture.wide)), gauss_bits(distance, jnp.exp(mixture.narrow))
    return mixture.share + _LN2 * (wide - narrow)


def _weighted_scale(distance: Float[Array, "..."], weight: Float[Array, "..."]) -> Float[Array, ""]:
    """The logarithm of the scale of values that count by their weights."""
    return jnp.log(gauss_scale(mean(weight * distance**2) / jnp.maximum(mean(weight), _TINY)))
