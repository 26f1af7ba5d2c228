"""The baseline prior: the values of a tensor are independent, with a Laplace density around zero."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from inrzip.codecs.axis_tables import AxisTables
from inrzip.priors.integer_tables import Family
from inrzip.priors.prior import header_bits
from inrzip.priors.rates import in_steps, laplace_bits, laplace_scale, mean


@dataclasses.dataclass(frozen=True)
class LaplacePrior:
    """A `Prior`. Its parameter is the natural logarithm of the scale."""

    def initial(self, values: Float[Array, "..."], step: Float[Array, "..."] | float) -> Float[Array, ""]:
        """The scale whose quantised values have the mean magnitude that the tensor's have."""
        return jnp.log(laplace_scale(mean(jnp.round(in_steps(values, step)))))

    def bits(
        self, parameters: Float[Array, ""], values: Float[Array, "..."], step: Float[Array, "..."] | float
    ) -> Float[Array, ""]:
        """See `Prior`."""
        return header_bits(values) + jnp.sum(laplace_bits(in_steps(values, step), jnp.exp(parameters)))

    def coder(self) -> AxisTables:
        """See `Prior`."""
        return AxisTables([Family.LAPLACE], dual=False)
