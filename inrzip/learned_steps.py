"""Learned quantisation steps: LSQ (Esser et al., "Learned step size quantization", ICLR 2020), on the ladder of steps.

A weight w becomes `round(clip(w / s)) s`. The gradient by w is 1 within the range and 0 beyond; by s it is
`round(w / s) - w / s` within and the range's end beyond (section 2.1). Two things differ from the paper:

- What is learned is the logarithm of s, rounded to the ladder of `inrzip.codecs.uniform` on its way (straight through),
  so that fitting sees the very steps that are stored.
- LSQ multiplies the gradient by s by `1 / sqrt(N Q)`, so that steps and weights change by about equal parts of
  themselves (section 2.2). Adam divides such factors out; here the unit in which a logarithm is learned does it.

Where weights have no range, being entropy-coded, a step would shrink for ever: a price for bits holds it up. One step
for each tensor without a range is what `inrzip.rate_tuning` learns, too; ranges and steps for channels are only here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from inrzip.architectures.base import Representation, Trainable, parameters
from inrzip.codecs.levels import ChannelSteps, UniformSteps, along, step_ladder
from inrzip.codecs.uniform import MAX_MAGNITUDE, MIN_EXPONENT, N_STEPS, STEPS_PER_OCTAVE, nearest_step_index
from inrzip.codecs.weights import QuantisedTensor
from inrzip.priors.laplace import LaplacePrior
from inrzip.priors.prior import Prior, estimated_bits

from .constraints import Quantising

LAPLACE = LaplacePrior()
SEARCHED = 24
"""Steps below the one that spans the whole tensor, or channel, that are tried as a start: three octaves."""
MIN_SPAN = 1e-9
"""Tensors within this of zero get a step as if they reached it."""
LEAST_UNIT = 1e-3
"""Of a step's logarithm, for arrays near zero."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The integers that a tensor's weights may become: all from `low` to `high`. `axes`: those along which each channel
    has a factor of the step of its own.
    """

    low: int = -MAX_MAGNITUDE
    high: int = MAX_MAGNITUDE
    axes: tuple[int, ...] = ()

    @classmethod
    def of_bits(cls, bits: int, axes: tuple[int, ...] = ()) -> Range:
        """Two's complement: `-2**(bits - 1)` to `2**(bits - 1) - 1`."""
        return cls(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, axes)

    def without(self, bits: int) -> Range:
        """The range of integers of which so many low bits are dropped."""
        return Range(self.low >> bits, self.high >> bits, self.axes)


class LearnedSteps(Quantising):
    """A network whose arrays are rounded with steps that are fitted along with them.

    `exponents[t]` holds, for each of the array's `axes`, `unit[t]` times each channel's part of the index of its step
    on the ladder, shaped to be combined with the array; the parts add up. Without axes there is one part for all.
    """

    network: Representation
    exponents: list[list[Float[Array, "..."]]]
    units: tuple[float, ...] = eqx.field(static=True)
    ranges: tuple[Range, ...] = eqx.field(static=True)
    price: float = eqx.field(static=True)
    prior: Prior[Any] = eqx.field(static=True)

    def __init__(
        self,
        network: Representation,
        step_indices: Sequence[Int[np.ndarray, "..."]],
        ranges: Sequence[Range],
        price: float = 0.0,
        prior: Prior[Any] = LAPLACE,
    ):
        """`step_indices`: where each array's steps start on the ladder, one index or one for each channel of the first
        of its axes. `price`: the mean squared error that a bit is worth; `prior` says how many there are.
        """
        arrays = parameters(network)
        self.network = network
        self.ranges = tuple(ranges)
        self.price = float(price)
        self.prior = prior
        self.units = tuple(max(LEAST_UNIT, float(np.abs(w).mean())) if w.size else 1.0 for w in arrays)
        self.exponents = [
            _parts(unit * np.asarray(start, np.float64), w.shape, r.axes)
            for w, r, unit, start in zip(arrays, self.ranges, self.units, step_indices, strict=True)
        ]

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        network = self.rounded()
        if not self.price:
            return network, jnp.float32(0)
        bits = [estimated_bits(self.prior, w, s) for w, s in zip(parameters(network), self._steps(), strict=True)]
        return network, self.price * sum(bits, jnp.float32(0))

    def rounded(self, dropped: Sequence[int] | None = None) -> Representation:
        """The network as it is rounded now; with `dropped`, without so many low bits of each array's integers."""
        arrays, static = eqx.partition(self.network, eqx.is_inexact_array)
        leaves, treedef = jax.tree.flatten(arrays)
        shifts = [0] * len(leaves) if dropped is None else dropped
        tensors = zip(leaves, self._steps(), self.ranges, shifts, strict=True)
        rounded = [
            round_within(round_within(w, s, r), s * 2**d, r.without(d)) if d else round_within(w, s, r)
            for w, s, r, d in tensors
        ]
        network: Representation = eqx.combine(jax.tree.unflatten(treedef, rounded), static)
        return network

    def quantised(self) -> list[QuantisedTensor]:
        """The arrays as they are rounded now."""
        tensors = []
        for array, within, levels in zip(parameters(self.network), self.ranges, self._levels(), strict=True):
            nearest = np.clip(np.floor(np.asarray(array, np.float64) / levels.steps() + 0.5), within.low, within.high)
            tensors.append(QuantisedTensor(nearest.astype(np.int32), levels))
        return tensors

    def _steps(self) -> list[Float[Array, "..."]]:
        """The steps of each array, shaped to be combined with it."""
        return [_ladder(parts, unit) for parts, unit in zip(self.exponents, self.units, strict=True)]

    def _levels(self) -> list[UniformSteps | ChannelSteps]:
        found: list[UniformSteps | ChannelSteps] = []
        for parts, within, unit in zip(self.exponents, self.ranges, self.units, strict=True):
            indices = [np.rint(np.asarray(part, np.float64) / unit).astype(np.int64).ravel() for part in parts]
            if within.axes:
                found.append(_channel_steps(dict(zip(within.axes, indices, strict=True)), parts[0].ndim))
            else:
                found.append(UniformSteps(int(np.clip(indices[0][0], 0, N_STEPS - 1))))
        return found


def round_within(values: Float[Array, "*shape"], steps: Float[Array, "..."], within: Range) -> Float[Array, "*shape"]:
    """`values` rounded to multiples of `steps` within a range, with LSQ's gradients."""
    inside = jnp.clip(values / steps, within.low, within.high)
    return (inside + jax.lax.stop_gradient(jnp.floor(inside + 0.5) - inside)) * steps


def best_step_indices(tensor: Float[np.ndarray, "..."], within: Range) -> Int[np.ndarray, " channels"]:
    """The ladder's steps that round a tensor, or each channel of its first axis of steps, into a finite range with the
    least squared error: where learning starts.
    """
    rows = np.asarray(tensor, np.float64).reshape(1, -1)
    if within.axes:
        rows = np.moveaxis(np.asarray(tensor, np.float64), within.axes[0], 0).reshape(tensor.shape[within.axes[0]], -1)
    spans = np.maximum(np.abs(rows).max(axis=1, initial=0.0), MIN_SPAN) / within.high
    widest = np.array([nearest_step_index(span) for span in spans.tolist()])
    candidates = np.clip(widest - np.arange(-1, SEARCHED)[:, None], 0, N_STEPS - 1)
    errors = []
    for steps in step_ladder()[candidates][:, :, None]:
        errors.append(((np.clip(np.rint(rows / steps), within.low, within.high) * steps - rows) ** 2).sum(axis=1))
    best: Int[np.ndarray, " channels"] = candidates[np.argmin(errors, axis=0), np.arange(len(rows))]
    return best


def _parts(start: Float[np.ndarray, "..."], shape: tuple[int, ...], axes: tuple[int, ...]) -> list[Float[Array, "..."]]:
    """The start as the part of the first axis, and zeros for the other axes."""
    if not axes:
        return [jnp.full((1,) * len(shape), start.ravel()[0], jnp.float32)]
    first = np.broadcast_to(start.ravel(), (shape[axes[0]],))
    values = [first, *(np.zeros(shape[axis]) for axis in axes[1:])]
    return [jnp.asarray(along(v, axis, len(shape)), jnp.float32) for v, axis in zip(values, axes, strict=True)]


def _ladder(parts: list[Float[Array, "..."]], unit: float) -> Float[Array, "..."]:
    """The steps whose indices are the sums of the rounded parts; the gradient is that of a smooth ladder."""
    whole = [part / unit + jax.lax.stop_gradient(jnp.round(part / unit) - part / unit) for part in parts]
    index = jnp.clip(sum(whole[1:], whole[0]), 0, N_STEPS - 1)
    return jnp.exp2(index / STEPS_PER_OCTAVE + MIN_EXPONENT)


def _channel_steps(indices: dict[int, Int[np.ndarray, " channels"]], rank: int) -> ChannelSteps:
    """Steps whose indices are the sums of `indices` along their axes."""
    middles = {axis: int(np.median(values)) for axis, values in indices.items()}
    offsets = tuple(tuple((indices[axis] - middles[axis]).tolist()) if axis in indices else () for axis in range(rank))
    return ChannelSteps(sum(middles.values()), offsets)
