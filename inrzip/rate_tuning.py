"""Fine-tuning for rate and distortion at once: rounded weights, priced by a prior's bits.

The loss is the mean squared error and `price` for each bit that the prior expects. At high rate, the steps of
`allocate_steps(sensitivity, level)` are optimal where a bit is worth `bit_price(level)` of error, so that
one level drives both. Fitting while rounding makes coarse steps cheaper than that: see `PRICE_SHARE`.

Two published schemes are choices of options:

- Entropy-penalised reparameterisation (Oktay et al., "Scalable model compression by entropy penalized
  reparameterization", ICLR 2020): learned steps and a learned factorised density.
- Consistent entropy minimisation (Zhang et al., "Boosting neural representations for videos with a conditional
  decoder", CVPR 2024): learned steps, a Gaussian of each tensor's own moments, and a price only for bits beyond a
  target.

Both take the rate under uniform noise. Here it is the mean over a few offsets: the same expectation, nearly, without
its variance and without random draws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from inrzip.architectures.base import Representation, Trainable, parameters
from inrzip.codecs.uniform import MIN_EXPONENT, N_STEPS, STEPS_PER_OCTAVE, allocate_steps, bit_price
from inrzip.codecs.weights import QuantisedTensor
from inrzip.priors.factorised import FactorisedPrior
from inrzip.priors.gaussian import GaussianPrior
from inrzip.priors.prior import Prior

from .constraints import Quantising, round_through
from .network import quantise_network

PRICE_SHARE = 0.4
"""What a bit is worth, as a part of what it is worth at high rate: the slope of the error over bits, as measured after
fine-tuning with rounded weights at several levels.
"""
OFFSETS = (-0.375, -0.125, 0.125, 0.375)
"""Parts of a step: they stand for uniform noise where the rate is smooth."""
CONSISTENT_TARGET = 4.0
"""Bits a weight that consistent entropy minimisation leaves free."""


@dataclasses.dataclass(frozen=True)
class RateOptions:
    """How weights are priced while fine-tuning.

    - `prior`: whose bits count. Its parameters are estimated anew in every step, or learned (`learn_prior`).
    - `learn_steps`: steps start as those of the level, and are learned; otherwise they stay.
    - `smooth`: bits are those of unrounded weights under noise, not those of rounded weights.
    - `target_bits`: bits a weight that are free.
    - `price_share`: see `PRICE_SHARE`.
    """

    prior: Prior[Any] = dataclasses.field(default_factory=GaussianPrior)
    learn_prior: bool = False
    learn_steps: bool = False
    smooth: bool = False
    target_bits: float = 0.0
    price_share: float = PRICE_SHARE


DEFAULT = RateOptions()
ENTROPY_PENALISED = RateOptions(FactorisedPrior(), learn_prior=True, learn_steps=True, smooth=True)
CONSISTENT_ENTROPY = RateOptions(learn_steps=True, smooth=True, target_bits=CONSISTENT_TARGET)


class RateTuned(Quantising):
    """A network whose arrays are rounded and priced. Steps, and the prior's parameters, are fitted along with it if the
    options say so.

    `positions` are the steps' indices on the ladder of `inrzip.codecs.uniform`, each times its array's unit: Adam moves
    all arrays by about the same amount, and so steps and weights change by like parts of themselves. `learned` are the
    prior's parameters.
    """

    network: Representation
    positions: list[Float[Array, ""]]
    learned: list[PyTree[Array]]
    units: tuple[float, ...] = eqx.field(static=True)
    price: float = eqx.field(static=True)
    options: RateOptions = eqx.field(static=True)

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        arrays, static = eqx.partition(self.network, eqx.is_inexact_array)
        leaves, treedef = jax.tree.flatten(arrays)
        steps = self._steps()
        rounded = [_multiples(w, step) for w, step in zip(leaves, steps, strict=True)]
        network: Trainable = eqx.combine(jax.tree.unflatten(treedef, rounded), static)
        tensors = zip(leaves, rounded, steps, self.learned, strict=True)
        bits = sum((self._bits(*tensor) for tensor in tensors), jnp.float32(0))
        free = self.options.target_bits * sum(leaf.size for leaf in leaves)
        return network, self.price * jnp.maximum(bits - free, 0.0)

    def step_indices(self) -> list[int]:
        """The step that each array is rounded with now."""
        indices = [np.rint(float(p) / unit) for p, unit in zip(self.positions, self.units, strict=True)]
        return [int(np.clip(index, 0, N_STEPS - 1)) for index in indices]

    def quantised(self) -> list[QuantisedTensor]:
        return quantise_network(self.network, self.step_indices())

    def _steps(self) -> list[Float[Array, ""]]:
        steps = []
        for position, unit in zip(self.positions, self.units, strict=True):
            index = jnp.clip(round_through(position / unit, jnp.float32(1)), 0, N_STEPS - 1)
            step = jnp.exp2(index / STEPS_PER_OCTAVE + MIN_EXPONENT)
            steps.append(step if self.options.learn_steps else jax.lax.stop_gradient(step))
        return steps

    def _bits(self, values: Array, rounded: Array, step: Float[Array, ""], learned: PyTree[Array]) -> Float[Array, ""]:
        prior = self.options.prior
        known = learned if self.options.learn_prior else jax.lax.stop_gradient(prior.initial(values, step))
        if not self.options.smooth:
            return prior.bits(known, rounded, step)
        return jnp.mean(jax.vmap(lambda offset: prior.bits(known, values + offset * step, step))(jnp.array(OFFSETS)))


def rate_tuned(
    network: Representation, sensitivity: Sequence[float], level: float, options: RateOptions = DEFAULT
) -> RateTuned:
    """What to fit in order to fine-tune `network` at a level, as `allocate_steps` takes both. What is then to be coded
    is the result, `quantised()`.
    """
    arrays, indices = parameters(network), allocate_steps(sensitivity, level)
    initial = jax.jit(options.prior.initial)
    units = tuple((float(jnp.mean(jnp.abs(w))) if w.size else 0.0) or 1.0 for w in arrays)
    steps = [2.0 ** (index / STEPS_PER_OCTAVE + MIN_EXPONENT) for index in indices]
    return RateTuned(
        network,
        [jnp.float32(index * unit) for index, unit in zip(indices, units, strict=True)],
        [initial(w, step) if options.learn_prior else () for w, step in zip(arrays, steps, strict=True)],
        units,
        options.price_share * bit_price(level),
        options,
    )


def _multiples(values: Float[Array, "*shape"], step: Float[Array, ""]) -> Float[Array, "*shape"]:
    """Values rounded to multiples of the step. The gradient by values is that of no rounding, the one by the step that
    of LSQ (Esser et al., "Learned step size quantization", ICLR 2020): `round(v / step) - v / step`.
    """
    return round_through(values / step, jnp.float32(1)) * step
