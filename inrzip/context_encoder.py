"""A segment as exact samples: what is seen of each, networks fitted to it from a prior's, and the bytes."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jax
import numpy as np

from inrzip.architectures.context import ContextConfig
from inrzip.codecs import context
from inrzip.codecs.context import MAX_BITS, MAX_WEIGHT, Looks, Network, Samples
from inrzip.codecs.context_kernels import MIXED, NETWORK_BITS, RECALLED
from inrzip.codecs.range_coder import RangeEncoder
from inrzip.priors import context_prior

from . import context_fit
from .context_coding import compact, plane_order
from .context_fit import PEAK, STEPS_AT_ONCE, as_floats
from .context_payload import NO_CHANGES, UNITS, Changes, change_bits, encode_smallest, network_of, priors_of
from .errors import UnsupportedSignal
from .job import Job
from .segment import Coded, Task

TYPICAL_CHANGE = 0.03
"""By how much a weight moves where it does: a change of so much costs 1 / ln 2 bits while fitting."""
TRIED_UNITS = (5, 6, 7)
"""Numbers of units; fits round to the middle one."""
ROUNDED_TO = UNITS[TRIED_UNITS[1] - 1] / (1 << NETWORK_BITS)
TRIED_SAMPLES = 1 << 17
"""Samples that say which unit of changes is best."""
LEAST_SAMPLES = 4096
"""Planes with fewer samples that a network tells are coded with the prior's network as it is: changes would cost more
than they save.
"""
PLAUSIBLE = 0.75
"""Planes of which this part or more is recalled by its neighbours are tried that way. Photographs have less."""
CLEARLY = 0.9
"""Of the bytes without it, what recalling takes at most where it is used: fits make the usual way better than it was
tried.
"""
TRIED_PLANE = 1 << 18
"""Samples of a plane, at most, with which that is tried: rows from the middle."""
SEEING, FITTING, CODING = (0.0, 0.12), (0.12, 0.85), (0.85, 1.0)
"""The parts of the whole work."""
FITTING_TIME = 0.9
"""Of the time that is left once all samples were seen, and before they are coded, what fits take."""


def encode_exactly(task: Task, job: Job) -> Coded:
    """Codes a segment so that all its samples come back. Raises UnsupportedSignal for samples of too many bits."""
    assert task.samples is not None
    samples = np.asarray(task.samples).reshape(*task.grid.shape, task.grid.channels)
    compacted, scale = compact(samples, plane_order(task.grid.channels))
    config = ContextConfig(context_prior.PLAIN)
    if scale.bits > MAX_BITS:
        raise UnsupportedSignal(f"samples of {scale.bits} bits; recipe {task.recipe.name} codes {MAX_BITS} at most")
    priors = priors_of(config, compacted.ndim - 1, len(compacted))
    changes = [Changes(NO_CHANGES, ())] * len(priors)
    modes = choose_modes(compacted, scale.bits, priors) if scale.bits else [MIXED] * len(priors)
    if scale.bits and task.schedule.n_steps and compacted[0].size >= LEAST_SAMPLES:
        begun = time.monotonic()
        seen = context.collect(compacted, scale.bits, modes, lambda done: job.tell("looking", _within(SEEING, done)))
        coding = 2 * (time.monotonic() - begun)  # the samples are coded, and then decoded and compared
        depth = 1 << scale.bits
        changes = [_fit(task, i, len(seen), looks, prior, depth, coding, job)
                   for i, (looks, prior) in enumerate(zip(seen, priors, strict=True))]  # fmt: skip
    return Coded(
        encode_smallest(scale, compacted, changes, modes, lambda done: job.tell("coding", _within(CODING, done)))
    )


def choose_modes(samples: Samples, bits: int, priors: Sequence[Network]) -> list[int]:
    """Which planes are recalled by their neighbours, as drawings and screenshots are: those that take less so, under
    the prior's networks.
    """
    shares = context.shares_recalled(samples, bits)
    tried = [RECALLED if share >= PLAUSIBLE else MIXED for share in shares]
    if RECALLED not in tried:
        return tried
    n_rows = max(1, samples.shape[1] * TRIED_PLANE // samples[0].size)
    start = max(0, samples.shape[1] - n_rows) // 2
    some = np.ascontiguousarray(samples[:, start : start + n_rows])
    plain = context.encode(some, bits, priors, RangeEncoder())
    recalled = context.encode(some, bits, priors, RangeEncoder(), tried)
    return [mode if b < CLEARLY * a else MIXED for mode, a, b in zip(tried, plain, recalled, strict=True)]


def _within(part: tuple[float, float], done: float) -> float:
    return part[0] + (part[1] - part[0]) * done


def _fit(
    task: Task, plane: int, n_planes: int, looks: Looks, prior: Network, depth: int, coding: float, job: Job
) -> Changes:
    """What a plane's network is to differ from the prior's."""
    if len(looks.values) < LEAST_SAMPLES:
        return Changes(NO_CHANGES, ())
    name, start = f"{task.name}/plane{plane}/{task.schedule.n_steps}", as_floats(prior)
    known = job.finished(name, start)
    if known is None:
        n_samples = len(looks.values)
        price = 1 / (TYPICAL_CHANGE * float(np.log(2)) * n_samples)
        n_steps = _affordable(task, n_planes - plane, looks, start, depth, coding)
        known = start
        if n_steps:

            def going(step: int, bits: float) -> bool:
                done = (plane + min(step / n_steps, 1.0)) / n_planes
                job.tell("fitting", _within(FITTING, done), f"{bits:.3f} bits for a sample")
                return not job.stopping

            known = context_fit.fit(looks, depth, start, n_steps, PEAK, price, ROUNDED_TO, going)
        job.finish(name, known)
    return _cheapest(looks, prior, known, depth)


def _affordable(task: Task, n_planes: int, looks: Looks, start: context_fit.Arrays, depth: int, coding: float) -> int:
    """Steps for which there is time."""
    if task.deadline is None:
        return task.schedule.n_steps
    seconds = 0.0
    for _ in range(2):  # the first call compiles
        begun = time.monotonic()
        context_fit.fit(looks, depth, start, STEPS_AT_ONCE, 0.0)
        seconds = time.monotonic() - begun
    left = FITTING_TIME * (task.deadline - time.monotonic() - coding) / n_planes
    return max(0, min(task.schedule.n_steps, int(left / seconds) * STEPS_AT_ONCE))


def _cheapest(looks: Looks, prior: Network, fitted: context_fit.Arrays, depth: int) -> Changes:
    """The changes that take the fewest bits with what is coded under them: rounded to one unit or another, or none."""
    n_samples = len(looks.values)

    def cost(changes: Changes) -> float:
        network = as_floats(network_of(prior, changes))
        return change_bits(changes) + n_samples * context_fit.mean_bits(network, looks, depth, TRIED_SAMPLES)

    candidates = [Changes(NO_CHANGES, ())]
    for unit in TRIED_UNITS:
        moved = [
            np.rint((np.asarray(own, np.float64) * (1 << NETWORK_BITS) - mean) / UNITS[unit - 1]).astype(np.int64)
            for own, mean in zip(jax.device_get(fitted), prior, strict=True)
        ]
        changes = Changes(unit, tuple(moved))
        if max(int(np.abs(array).max()) for array in network_of(prior, changes)) <= MAX_WEIGHT:
            candidates.append(changes)
    return min(candidates, key=cost)
