"""The scale of an element is a factor of its row times one of its column: the dual axis prior of NVRC (Kwan et al.,
"NVRC: Neural Video Representation Compression", NeurIPS 2024).

Rows and columns are places along the last two axes: for a convolution's weight (height, width, in, out), channels.
Factors are side information, priced as the coder codes them; an axis has them only where they pay.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from inrzip.codecs.axis_tables import AxisTables, grain_of
from inrzip.priors.integer_tables import Family
from inrzip.priors.prior import header_bits
from inrzip.priors.rates import curve_bits, in_steps, mean, scale_of_mean

_ROUNDS = 3  # of the alternating estimate
_MIN_MEAN = 1e-5  # of a tensor's magnitudes
_MIN_FACTOR = 1 / 64  # of a row of zeros, about
_AXIS_BITS = 6.0  # what an axis with factors takes besides them
_INFORMATION = {Family.LAPLACE: 1.0, Family.GAUSS: 2.0}  # of a value about the logarithm of its scale
_FEW = 0.25  # a mean magnitude of mostly zeros
_LN2 = math.log(2.0)
_QUARTER_OCTAVE = _LN2 / 4


class DualAxis(NamedTuple):
    """Parameters: natural logarithms of the tensor's mean magnitude and of the factors of rows and of columns: zeros
    where an axis has no part in it, none for a tensor of less than two axes.
    """

    mean: Float[Array, ""]
    rows: Float[Array, " rows"]
    columns: Float[Array, " columns"]


@dataclasses.dataclass(frozen=True)
class DualAxisPrior:
    """A `Prior`. `family` is that of the curves, `LAPLACE` or `GAUSS`. Its parameters are a `DualAxis`."""

    family: Family = Family.GAUSS

    def initial(self, values: Float[Array, "..."], step: Float[Array, "..."] | float) -> DualAxis:
        """Factors such that rows and columns, divided by the others' factors, have equal mean magnitudes: the most
        likely ones for a Laplace density.
        """
        magnitudes = jnp.round(in_steps(values, step))
        if values.ndim < 2 or not values.size:
            n_rows, n_columns = values.shape[-2:] if values.ndim > 1 else (0, 0)
            return DualAxis(jnp.log(mean(magnitudes) + _MIN_MEAN), jnp.zeros(n_rows), jnp.zeros(n_columns))
        cells = jnp.mean(magnitudes.reshape(-1, *values.shape[-2:]), axis=0)
        rows, columns = jnp.ones(cells.shape[0]), jnp.ones(cells.shape[1])
        for _ in range(_ROUNDS):
            rows = _factors(cells / columns)
            columns = _factors(cells.T / rows)
        worth = self._information(jnp.mean(cells))
        log_rows, log_columns = (_if_paying(jnp.log(factors), values.size, worth) for factors in (rows, columns))
        left = cells / jnp.exp(log_rows[:, None] + log_columns)
        return DualAxis(jnp.log(jnp.maximum(jnp.mean(left), _MIN_MEAN)), log_rows, log_columns)

    def bits(
        self, parameters: DualAxis, values: Float[Array, "..."], step: Float[Array, "..."] | float
    ) -> Float[Array, ""]:
        """See `Prior`."""
        log_mean, side = parameters.mean, jnp.zeros(())
        if values.ndim > 1:
            log_mean = log_mean + parameters.rows[:, None] + parameters.columns
            worth = self._information(jnp.exp(parameters.mean))
            side = sum((_side_bits(factors, values.size, worth) for factors in parameters[1:]), side)
        scale = scale_of_mean(self.family, jnp.exp(log_mean))
        return header_bits(values) + side + jnp.sum(curve_bits(self.family, in_steps(values, step), scale))

    def _information(self, mean_magnitude: Float[Array, ""]) -> Float[Array, ""]:
        """Fisher information, about, of a value about the logarithm of its scale. Of values that are mostly zeros, it
        is the others that tell.
        """
        return _INFORMATION[self.family] * mean_magnitude / (_FEW + mean_magnitude)

    def coder(self) -> AxisTables:
        """See `Prior`."""
        return AxisTables([self.family])


def _factors(cells: Float[Array, "places others"]) -> Float[Array, " places"]:
    """The means of places, relative to their geometric mean."""
    means = jnp.mean(cells, axis=1) + _MIN_FACTOR * jnp.mean(cells) + _MIN_MEAN
    return means / jnp.exp(jnp.mean(jnp.log(means)))


def _if_paying(log_factors: Float[Array, " places"], size: int, information: Array) -> Float[Array, " places"]:
    """The factors, or zeros if they save less than they take.

    An error of e in the logarithm of a scale costs `information e^2 / 2` nats a value, so that is what knowing it
    saves. The factors' variance exceeds that of the scales by what comes of estimating each from m values:
    `1 / (m information)`, at least.
    """
    n = log_factors.shape[0]
    saved = information / (2 * _LN2) * size * (jnp.var(log_factors) - n / (size * information + _MIN_MEAN))
    return jnp.where(saved > _side_bits(log_factors, size, information), log_factors, 0.0)


def _side_bits(log_factors: Float[Array, " places"], size: int, information: Array) -> Float[Array, ""]:
    """What the factors of an axis take: what their rounding to grains costs the values, and about the entropy of
    rounded Gaussian numbers, `log2(2 pi e (s^2 + 1 / 12)) / 2` with s their standard deviation in grains. An axis
    without factors takes a bit.
    """
    n = log_factors.shape[0]
    if not n or not size:
        return jnp.zeros(())
    grain = _QUARTER_OCTAVE * grain_of(size // n)
    entropy = 0.5 * jnp.log2(2 * jnp.pi * jnp.e * (jnp.var(log_factors / grain) + 1 / 12))
    rounding = information / (2 * _LN2) * size * grain**2 / 12
    return jnp.where(jnp.any(log_factors != 0), _AXIS_BITS + rounding + n * entropy, 1.0)
