"""How much each channel of each parameter array matters, and the steps for channels that follow from it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from inrzip.architectures.base import Representation
from inrzip.codecs.levels import ChannelSteps, UniformSteps
from inrzip.codecs.uniform import N_STEPS, STEPS_PER_OCTAVE, allocate_steps

from .examples import Examples
from .sensitivity import element_sensitivities

N_BATCHES = 96
"""With 8, as for whole tensors, estimates of channels are so noisy that steps made of them cost more than they save
(measured on a NeRV: 3 % more bytes in place of 4 % fewer).
"""
GRAIN = 4
"""Offsets of steps are multiples of this many eighths of an octave. A step that is a quarter of an octave off its best
costs about 0.015 bits a weight at equal quality; finer offsets cost more themselves.
"""
OFFSET_BITS = 3.0
"""About what an offset takes in a stream."""


def channel_sensitivities(module: Representation, examples: Examples, seed: int = 0) -> list[Float[np.ndarray, "..."]]:
    """The elements' sensitivities, of so many batches that means over channels can be trusted."""
    return element_sensitivities(module, examples, N_BATCHES, seed)


def channel_steps(sensitivity: Float[np.ndarray, "*shape"], level: float) -> UniformSteps | ChannelSteps:
    """Steps for a tensor of these elements' sensitivities, at a level as `allocate_steps` takes it.

    Sensitivity is taken to be a product of factors, one for each channel along each axis. As for whole tensors, the
    best step is the level over the root of the sensitivity. Where the roots along an axis vary by d octaves (standard
    deviation, normal), steps of their own for its channels save `ln 2 d^2` bits a weight at equal quality: that is by
    how much the logarithm of a mean exceeds the mean of logarithms. An axis gets them if that is more than they cost.
    """
    shape, mean = sensitivity.shape, float(sensitivity.mean()) if sensitivity.size else 0.0
    (index,) = allocate_steps([mean], level)
    if not 0 < mean < np.inf:
        return UniformSteps(index)
    offsets, middle = [], float(index)
    for axis, n in enumerate(shape):
        octaves = _octaves(sensitivity, axis)
        if np.log(2) * octaves.var() * sensitivity.size <= OFFSET_BITS * n:
            offsets.append(np.zeros(0, np.int64))
            continue
        middle -= STEPS_PER_OCTAVE * octaves.mean()
        offsets.append(GRAIN * np.rint(-STEPS_PER_OCTAVE * (octaves - octaves.mean()) / GRAIN).astype(np.int64))
    if not any(len(o) for o in offsets):
        return UniformSteps(index)
    lowest, highest = (sum(int(end(o)) for o in offsets if len(o)) for end in (np.min, np.max))
    start = int(np.clip(round(middle), -lowest, N_STEPS - 1 - highest))
    return ChannelSteps(start, tuple(tuple(o.tolist()) for o in offsets))


def _octaves(sensitivity: Float[np.ndarray, "..."], axis: int) -> Float[np.ndarray, " channels"]:
    """Binary logarithms of the roots of the sensitivities of an axis's channels, over that of the tensor's. Channels
    that were not seen to matter count as the tensor's mean.
    """
    means = sensitivity.mean(axis=tuple(i for i in range(sensitivity.ndim) if i != axis)) / sensitivity.mean()
    return np.asarray(0.5 * np.log2(np.where(means > 0, means, 1.0)))
