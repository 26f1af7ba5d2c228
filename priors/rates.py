"""Differentiable rates of single bell curves at a whole or broken number of steps from their middle.

At whole numbers they are those of the integer tables of `inrzip.priors.integer_tables`. `scale` is the mean magnitude
of the curve in steps, as there.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from inrzip.priors.integer_tables import Family

MIN_SCALE = 2.0**-5
"""There a weight that is not 0 costs 24 bits or more, and all-zero tensors nothing."""
_LN2 = math.log(2.0)
_SERIES = 6  # terms of the sum over all integers that count where the scale is below `_WIDE`
_WIDE = 1.0
_NARROW = 0.25  # mean square below which only -1, 0 and 1 matter
_NARROW_MEAN = 0.15
_SAMPLED = 0.11  # what a discrete Gaussian's squared scale exceeds its squared mean magnitude by, about
_TINY = 1e-12


def curve_bits(family: Family, distance: Float[Array, "*shape"], scale: Float[Array, "..."]) -> Float[Array, "*shape"]:
    """Bits of a value `distance >= 0` steps from the middle. Raises `ValueError` for a family that is no prior's."""
    if family == Family.LAPLACE:
        return laplace_bits(distance, scale)
    if family == Family.GAUSS:
        return gauss_bits(distance, scale)
    raise ValueError(f"there is no rate of the family {family.name}")


def laplace_bits(distance: Float[Array, "*shape"], scale: Float[Array, "..."]) -> Float[Array, "*shape"]:
    """`-log2` of the Laplace mass of a bin of one step around the value.

    A bin beside the middle has the mass `exp(-(distance - 1/2) / scale) (1 - exp(-1 / scale)) / 2`, whose logarithm is
    taken term by term, so that it neither vanishes in the tail nor cancels for a large scale. One that holds the middle
    has `1 - (exp(-a) + exp(-b)) / 2`, with `a` and `b` its ends' distances, computed as a sum of two `expm1` of equal
    sign.
    """
    width = 1 / jnp.maximum(scale, MIN_SCALE)
    inside = distance < 0.5
    # keeps the branch that is not taken finite, as its gradient is multiplied by zero
    near = jnp.where(inside, distance, 0.0)
    mass = -0.5 * (jnp.expm1(-width * (0.5 - near)) + jnp.expm1(-width * (0.5 + near)))
    beside = width * (distance - 0.5) - jnp.log(-jnp.expm1(-width)) + _LN2
    return jnp.where(inside, -jnp.log(mass), beside) / _LN2


def gauss_bits(distance: Float[Array, "*shape"], scale: Float[Array, "..."]) -> Float[Array, "*shape"]:
    """`-log2` of the mass of the discrete Gaussian: `exp(-k^2 / (pi scale^2))`, over its sum for all integers k."""
    scale = jnp.maximum(scale, MIN_SCALE)
    exponent = 1 / (jnp.pi * scale**2)
    # above `_WIDE`, the sum is the integral but for exp(-pi^3), by Poisson's summation formula
    series = 1 + 2 * sum(jnp.exp(-exponent * k * k) for k in range(1, _SERIES + 1))
    total = jnp.where(scale < _WIDE, series, jnp.pi * scale)
    return (exponent * distance**2 + jnp.log(total)) / _LN2


def laplace_scale(mean: Float[Array, "..."]) -> Float[Array, "..."]:
    """The scale whose quantised values have that mean magnitude: with `s = exp(-1 / (2 scale))`, a quantised Laplace
    variable has the mean magnitude `s / (1 - s^2)`, so `scale = 1 / (2 asinh(1 / (2 mean)))`. It is also the most
    likely scale, but for values rounded to zero.
    """
    return jnp.maximum(0.5 / jnp.arcsinh(0.5 / jnp.maximum(mean, _TINY)), MIN_SCALE)


def gauss_scale(mean_square: Float[Array, "..."]) -> Float[Array, "..."]:
    """The scale whose integers have that mean square: the most likely one.

    A discrete Gaussian's variance is `pi scale^2 / 2` unless it is narrow; then, with `x = exp(-1 / (pi scale^2))`, it
    is about `2 x / (1 + 2 x)`.
    """
    narrow = jnp.clip(mean_square, _TINY, _NARROW)
    x = 0.5 * narrow / (1 - narrow)
    wide = jnp.sqrt(2 * jnp.maximum(mean_square, _NARROW) / jnp.pi)
    return jnp.maximum(jnp.where(mean_square < _NARROW, jnp.sqrt(-1 / (jnp.pi * jnp.log(x))), wide), MIN_SCALE)


def scale_of_mean(family: Family, mean: Float[Array, "..."]) -> Float[Array, "..."]:
    """The scale of the family's curve whose integers have that mean magnitude; of a Gaussian's, within 2 %."""
    if family == Family.LAPLACE:
        return laplace_scale(mean)
    narrow = gauss_scale(jnp.minimum(mean, _NARROW_MEAN))  # -1, 0 and 1 have the same mean magnitude and mean square
    return jnp.where(mean < _NARROW_MEAN, narrow, jnp.sqrt(mean**2 + _SAMPLED))


def in_steps(values: Float[Array, "*shape"], step: Float[Array, "..."] | float) -> Float[Array, "*shape"]:
    """Magnitudes of values in steps."""
    return jnp.abs(values / step)


def mean(values: Float[Array, "..."]) -> Float[Array, ""]:
    """The mean; 0 of nothing."""
    return jnp.sum(values) / max(values.size, 1)
