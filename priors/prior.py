"""What every prior promises."""

from __future__ import annotations

from typing import Protocol, TypeVar

import jax
from jaxtyping import Array, Float

from inrzip.codecs.coder import IntegerCoder

ParametersT = TypeVar("ParametersT")

_HEADER_BITS = 8.0


class Prior(Protocol[ParametersT]):
    """How likely the values of one tensor are: a differentiable rate while fitting, an exact distribution afterwards.

    A prior is a frozen dataclass without arrays; what belongs to a tensor is in its *parameters*, a pytree of float
    arrays that a fit may learn; scales among them are in steps. Values may be rounded to multiples of the step
    (straight through) or not; at values in between, the rate is a smooth curve through those of its neighbours.
    """

    def initial(self, values: Float[Array, "..."], step: Float[Array, "..."] | float) -> ParametersT:
        """Parameters estimated from a tensor, which is quantised with `step` (or steps, shaped to be combined with it).
        They may be arguments of a compiled function.
        """

    def bits(
        self, parameters: ParametersT, values: Float[Array, "..."], step: Float[Array, "..."] | float
    ) -> Float[Array, ""]:
        """Bits of the whole tensor once it is coded, side information included. Differentiable by all three."""

    def coder(self) -> IntegerCoder:
        """A new coder whose distributions are this prior's. It finds the parameters that suit the integers best, and
        codes them.
        """


def header_bits(values: Float[Array, "..."]) -> float:
    """What a tensor's scale, family and centre take in a coder's stream, about. An empty tensor takes nothing."""
    return _HEADER_BITS if values.size else 0.0


def estimated_bits(
    prior: Prior[ParametersT], values: Float[Array, "..."], step: Float[Array, "..."] | float
) -> Float[Array, ""]:
    """Bits of a tensor under the parameters that `initial` finds for it.

    No gradient flows through these: at the best parameters, the rate's derivative by them vanishes.
    """
    parameters = jax.lax.stop_gradient(prior.initial(jax.lax.stop_gradient(values), jax.lax.stop_gradient(step)))
    return prior.bits(parameters, values, step)
