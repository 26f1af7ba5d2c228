"""The values of a tensor are independent, with a Gaussian density around zero."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inrzip.codecs.axis_tables import AxisTables
from inrzip.priors.integer_tables import STEPS_PER_OCTAVE, UNIT_TABLE, Family
from inrzip.priors.prior import header_bits
from inrzip.priors.rates import gauss_bits, gauss_scale, in_steps, mean

_LADDER = math.log(2) / STEPS_PER_OCTAVE  # between the logarithms of the coder's scales
_LEAST = -UNIT_TABLE * _LADDER


@dataclasses.dataclass(frozen=True)
class GaussianPrior:
    """A `Prior`. Its parameter is the natural logarithm of the scale, the mean magnitude."""

    def initial(self, values: Float[Array, "..."], step: Float[Array, "..."] | float) -> Float[Array, ""]:
        """The scale whose integers have the mean square that the tensor's have."""
        return jnp.log(gauss_scale(mean(jnp.round(in_steps(values, step)) ** 2)))

    def bits(
        self, parameters: Float[Array, ""], values: Float[Array, "..."], step: Float[Array, "..."] | float
    ) -> Float[Array, ""]:
        """See `Prior`. The coder's ladder of scales is coarse for values that are mostly zeros: what counts is the
        better one of the two scales of the ladder beside the parameter, and gradients pass straight through to it.
        """
        position = (parameters - _LEAST) / _LADDER
        distance = in_steps(values, step)
        costs = []
        for on_ladder in (jnp.floor(position), jnp.ceil(position)):
            log_scale = parameters + jax.lax.stop_gradient(_LEAST + _LADDER * on_ladder - parameters)
            costs.append(jnp.sum(gauss_bits(distance, jnp.exp(log_scale))))
        return header_bits(values) + jnp.minimum(*costs)

    def coder(self) -> AxisTables:
        """See `Prior`."""
        return AxisTables([Family.GAUSS], dual=False)
