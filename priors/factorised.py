"""A density of free shape for each tensor, learned: the factorised prior of Ballé et al. ("Variational image
compression with a scale hyperprior", ICLR 2018, appendix 6.1).

There, a monotone network is the cumulative distribution. Here it is a Laplace curve times a correction whose logarithm
is linear between a few knots, which a file can hold in about twenty bits (`inrzip.codecs.shaped_tables`); that is an
exponential family, so that the most likely corrections are found by iterative scaling.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inrzip.codecs.shaped_tables import KNOTS_8, ShapedTables
from inrzip.priors.prior import header_bits
from inrzip.priors.rates import MIN_SCALE, in_steps, laplace_bits, laplace_scale, mean

_ROUNDS = 24  # of iterative scaling
_CELLS = 96  # that the curve is summed over, to 12 scales at least
_CELLS_A_SCALE = 8
_SIDE_BITS = 16.0  # for the corrections
_TINY = 1e-9  # keeps knots out of it that no whole number is near
_BELIEVED = 0.5  # values that are taken to lie where the curve has them


class Factorised(NamedTuple):
    """Parameters: the natural logarithm of the scale; the corrections, in bits, at `KNOTS_8` eighths of the scale.
    After the last knot they stay as they are there; at zero the correction is 0.
    """

    scale: Float[Array, ""]
    corrections: Float[Array, " knots"]


@dataclasses.dataclass(frozen=True)
class FactorisedPrior:
    """A `Prior`. Its parameters are `Factorised`."""

    def initial(self, values: Float[Array, "..."], step: Float[Array, "..."] | float) -> Factorised:
        """The most likely corrections of the Laplace curve that `LaplacePrior` has, by generalised iterative scaling
        (Darroch and Ratcliff, 1972).
        """
        distance = jnp.round(in_steps(values, step))
        scale = laplace_scale(mean(distance))
        places, masses = _cells(scale)
        shares = _shares(places / scale)
        expected = masses @ shares
        seen = (jnp.sum(_shares(distance.ravel() / scale), axis=0) + _BELIEVED * expected) / (values.size + _BELIEVED)

        def improve(_: Array, heights: Float[Array, " knots"]) -> Float[Array, " knots"]:
            corrected = masses * jnp.exp2(shares @ heights)
            return heights + jnp.log2(seen + _TINY) - jnp.log2(corrected @ shares / jnp.sum(corrected) + _TINY)

        heights = jax.lax.fori_loop(0, _ROUNDS, improve, jnp.zeros(len(KNOTS_8) + 1))
        return Factorised(jnp.log(scale), heights[1:] - heights[0])

    def bits(
        self, parameters: Factorised, values: Float[Array, "..."], step: Float[Array, "..."] | float
    ) -> Float[Array, ""]:
        """See `Prior`."""
        scale = jnp.maximum(jnp.exp(parameters.scale), MIN_SCALE)
        places, masses = _cells(scale)
        total = jnp.sum(masses * jnp.exp2(_correction(parameters, places / scale)))
        distance = in_steps(values, step)
        each = laplace_bits(distance, scale) - _correction(parameters, distance / scale) + jnp.log2(total)
        return header_bits(values) + (_SIDE_BITS if values.size else 0.0) + jnp.sum(each)

    def coder(self) -> ShapedTables:
        """See `Prior`."""
        return ShapedTables()


def _cells(scale: Float[Array, ""]) -> tuple[Float[Array, " cells"], Float[Array, " cells"]]:
    """The whole numbers from 0 on, or for a large scale the middles of cells of several; and the Laplace masses of
    these and their mirror images.
    """
    size = jnp.maximum(1.0, scale / _CELLS_A_SCALE)
    places = size * jnp.arange(_CELLS)
    inner = jnp.exp(-jnp.maximum(places - size / 2, 0.0) / scale)
    return places, inner - jnp.exp(-(places + size / 2) / scale)


def _ramps(x: Float[Array, "*shape"]) -> Float[Array, "*shape gaps"]:
    """How far, from 0 to 1, a value at `x` scales is on its way between each two knots."""
    knots = jnp.array([0, *KNOTS_8]) / 8
    return jnp.clip((x[..., None] - knots[:-1]) / jnp.diff(knots), 0, 1)


def _shares(x: Float[Array, " n"]) -> Float[Array, "n knots"]:
    """By how much a value at `x` scales counts for each knot: linear interpolation's weights."""
    return -jnp.diff(_ramps(x), prepend=1.0, append=0.0)


def _correction(parameters: Factorised, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """In bits, at `x` scales from the middle."""
    return _ramps(x) @ jnp.diff(parameters.corrections, prepend=0.0)
