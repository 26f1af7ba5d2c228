"""One segment: from samples to the bytes of a network, at a size or a quality that was asked for.

fit in floating point -> measure how much each parameter matters -> choose the steps -> fine-tune with rounded
parameters -> code.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from inrzip.architectures.base import Config, Grid, Representation, predict
from inrzip.codecs.uniform import allocate_steps, step_size

from .errors import InrzipError
from .examples import Examples, Frames, GridPoints
from .fitting import Schedule
from .job import Job
from .metrics import psnr
from .network import Quantised, dequantise_network, encode_network, max_weights, quantise_network, step_tree
from .recipes import Recipe
from .sensitivity import sensitivities
from .signal import Spec

TUNE_SHARE = 0.3
"""Steps of the quantisation-aware fit, as a part of those of the first."""
TUNE_PEAK = 0.1
"""Its largest learning rate, as a part of the first fit's."""
AIM = 0.985
"""Part of the size asked for that quantisation aims at before fine-tuning, which changes sizes a little."""
LEAST_SHARE = 0.955
"""A file below this part of the size asked for is coded again with finer steps."""
MAX_ROUNDS = 4
FINAL_SHARE = 0.96
"""Of the time allowed, what fits may use; the rest codes, writes and measures."""
PSNR_WINDOW_DB = 0.4
"""A quality asked for is met from above within this."""
PSNR_ROUNDS = 3
TUNING_GAIN_DB = 0.6
"""What fine-tuning with rounded parameters typically wins back: quantisation aims so much below what was asked for."""
PSNR_HEADROOM_DB = 0.9
"""What the network before quantisation should have above the quality asked for."""
DB_PER_DOUBLING = 2.0
"""Typical gain of a network with twice the parameters; only a first guess, corrected by what is seen."""
MIN_PARAMETERS = 12
MOST_PARAMETERS_PER_VALUE = 2
"""A network with more than this for each sample and channel would be larger than the samples, and take for ever."""
LEVEL_ROUNDS = 14


@dataclasses.dataclass(frozen=True)
class Goal:
    """What to reach: `size` in bytes (never exceeded), or `psnr_db` with `size` as the first guess."""

    size: int
    psnr_db: float | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """A segment to be coded: where its examples come from, and how long to fit."""

    name: str
    spec: Spec
    grid: Grid
    recipe: Recipe
    settings: dict[str, int]
    examples: Examples
    samples: Shaped[np.ndarray, "part ..."] | None
    schedule: Schedule
    deadline: float | None

    def db(self, loss: float) -> float:
        """PSNR in dB of a mean squared error in normalised units, with the rounding to whole samples."""
        rounding = 1 / 12 if self.spec.dtype.kind in "ui" else 0.0
        return psnr(max(loss, 0.0) * (self.spec.high - self.spec.low) ** 2 + rounding, self.spec.peak)


@dataclasses.dataclass(frozen=True)
class Coded:
    """A coded segment."""

    payload: bytes
    n_parameters: int
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class _Fitted:
    config: Config
    module: Representation
    sensitivity: list[float]


def make_examples(recipe: Recipe, samples: Shaped[np.ndarray, "part ..."], low: float, high: float) -> Examples:
    """Mini-batches of a segment's samples, as the recipe's architecture takes them."""
    examples = Frames if recipe.architecture.frame_wise else GridPoints
    return examples(samples, low, high, recipe.batch_size)


def encode_segment(task: Task, goal: Goal, job: Job) -> Coded:
    """Codes a segment to the goal, or as near as it can be: then `note` says what was reached."""
    if goal.psnr_db is None:
        return _encode_to_size(task, goal.size, job)
    return _encode_to_psnr(task, goal.size, goal.psnr_db, job)


def _encode_to_size(task: Task, size: int, job: Job) -> Coded:
    n_parameters = _sensible(task, size * 8 / task.recipe.bits_per_parameter)
    fitted = _fit(task, n_parameters, job)
    module, level, best = fitted.module, 0.0, None
    aim = size * AIM
    for round_number in range(MAX_ROUNDS):
        job.tell("coding", 1 / (1 + TUNE_SHARE))
        level = _level_for(partial(_payload_size, fitted, module), aim)
        if not job.stopping:
            module = _tune(task, fitted, module, level, round_number, job)
        payload = _code(fitted.config, module, fitted.sensitivity, level)
        if len(payload) <= size and (best is None or len(payload) > len(best)):
            best = payload
        if LEAST_SHARE * size <= len(payload) <= size or job.stopping:
            break
        aim *= 0.99 * size / len(payload)
    if best is None:
        best = _shrink(fitted, module, level, size)
    if best is None:
        smallest = _code(fitted.config, module, fitted.sensitivity, 2.0**40)
        raise InrzipError(
            f"a size of {size} bytes for a segment cannot be reached; the smallest network takes {len(smallest)}"
        )
    return Coded(best, fitted.config.n_parameters(task.grid))


def _payload_size(fitted: _Fitted, module: Representation, level: float) -> float:
    return len(_code(fitted.config, module, fitted.sensitivity, level))


def _shrink(fitted: _Fitted, module: Representation, level: float, size: int) -> bytes | None:
    """Coarser steps, without fine-tuning, until the payload fits."""
    for _ in range(100):
        payload = _code(fitted.config, module, fitted.sensitivity, level)
        if len(payload) <= size:
            return payload
        level *= 1.05
    return None


def _encode_to_psnr(task: Task, size: int, psnr_db: float, job: Job) -> Coded:
    """Finds the number of parameters by fits that correct each other, then the steps by fine-tuning."""
    fitted = _fit_to_psnr(task, size, psnr_db + PSNR_HEADROOM_DB, job)
    reachable = task.db(_probe_loss(task, fitted.module))
    n_parameters = fitted.config.n_parameters(task.grid)
    if reachable < psnr_db:
        level = _level_for(partial(_quality, task, fitted, fitted.module), reachable - 0.05)
        module = _tune(task, fitted, fitted.module, level, 0, job)
        payload = _code(fitted.config, module, fitted.sensitivity, level)
        reached = _quality(task, fitted, module, level, everything=True)
        advice = f"{psnr_db:g} dB was not reached, only {reached:.2f} dB; try more effort (-e) or time (--time)"
        return Coded(payload, n_parameters, advice)
    good = fitted.module  # what each round starts from: the last network that was good enough
    aim = max(psnr_db - TUNING_GAIN_DB, min(psnr_db, reachable - 0.5))
    best: bytes | None = None
    for round_number in range(PSNR_ROUNDS):
        level = _level_for(partial(_quality, task, fitted, good), aim)
        module = _tune(task, fitted, good, level, round_number, job)
        payload = _code(fitted.config, module, fitted.sensitivity, level)
        reached = _quality(task, fitted, module, level, everything=True)
        if reached >= psnr_db and (best is None or len(payload) < len(best)):
            good, best = module, payload
        if psnr_db <= reached <= psnr_db + PSNR_WINDOW_DB or job.stopping:
            break
        aim += psnr_db + PSNR_WINDOW_DB / 2 - reached
    else:  # no round hit the window: coarser steps without fine-tuning come down to it gently
        level = _level_for(partial(_quality, task, fitted, good), psnr_db + PSNR_WINDOW_DB / 2)
        payload = _code(fitted.config, good, fitted.sensitivity, level)
        reached = _quality(task, fitted, good, level, everything=True)
        if reached >= psnr_db and (best is None or len(payload) < len(best)):
            best = payload
    if best is None:
        return Coded(payload, n_parameters, f"{psnr_db:g} dB was not reached, only {reached:.2f} dB")
    return Coded(best, n_parameters)


def _fit_to_psnr(task: Task, size: int, wanted_db: float, job: Job) -> _Fitted:
    n_parameters = _sensible(task, size * 8 / task.recipe.bits_per_parameter)
    seen: list[tuple[float, float]] = []
    best: _Fitted | None = None
    for _ in range(MAX_ROUNDS):
        fitted = _fit(task, n_parameters, job)
        reached = task.db(_probe_loss(task, fitted.module))
        seen.append((math.log2(fitted.config.n_parameters(task.grid)), reached))
        if best is None or abs(reached - wanted_db) < abs(_reached(seen, best, task) - wanted_db):
            best = fitted
        if -0.3 <= reached - wanted_db <= 1.2 or job.stopping:
            return fitted
        n_parameters = _sensible(task, _next_count(seen, wanted_db + 0.3))
        if (
            n_parameters * task.recipe.bits_per_parameter
            > 8 * task.grid.n_points * task.grid.channels * task.spec.dtype.itemsize
        ):
            break  # more parameters than samples: raw storage would be smaller
    return best if best is not None else fitted


def _reached(seen: Sequence[tuple[float, float]], fitted: _Fitted, task: Task) -> float:
    log_count = math.log2(fitted.config.n_parameters(task.grid))
    return next(db for count, db in seen if count == log_count)


def _next_count(seen: Sequence[tuple[float, float]], target: float) -> int:
    """Parameters for a quality, along the line through the two nearest results."""
    slope = DB_PER_DOUBLING
    if len(seen) > 1:
        (x0, y0), (x1, y1) = sorted(seen, key=lambda point: abs(point[1] - target))[:2]
        slope = min(max((y1 - y0) / (x1 - x0), 0.7), 5.0) if x1 != x0 else slope
    x, y = min(seen, key=lambda point: abs(point[1] - target))
    return max(MIN_PARAMETERS, round(2 ** (x + min(max((target - y) / slope, -3.0), 2.5))))


def _sensible(task: Task, n_parameters: float) -> int:
    """`n_parameters` within reason: a few at least, and not many for each value that there is to describe."""
    most = MOST_PARAMETERS_PER_VALUE * task.grid.n_points * task.grid.channels
    return max(MIN_PARAMETERS, int(min(n_parameters, most)))


def _configure(task: Task, n_parameters: int) -> Config:
    """The network of about that size, with the user's settings. Raises InrzipError where these make no sense."""
    try:
        config = task.recipe.architecture.solve(task.grid, n_parameters, **task.settings)
        config.check(task.grid)
    except (ValueError, ZeroDivisionError) as error:
        chosen = " ".join(f"--set {key}={value}" for key, value in task.settings.items())
        raise InrzipError(
            f"{chosen}: no network can be made for this signal: {error}; set less, or use another --recipe"
        ) from error
    count = config.n_parameters(task.grid)
    most = max_weights(int(n_parameters * task.recipe.bits_per_parameter / 8))
    if task.settings and count > most:
        raise InrzipError(
            f"the settings make a network of {count} parameters; for this size, at most {most} can be coded"
        )
    return config


def _fit(task: Task, n_parameters: int, job: Job) -> _Fitted:
    """A fit in floating point."""
    config = _configure(task, n_parameters)
    module = config.build(task.grid, jax.random.key(0))
    training = module.training_module(jax.random.key(1))
    fitted = job.fit(
        f"{task.name}/{n_parameters}",
        training,
        task.examples,
        task.schedule,
        deadline=_part_of(task.deadline, 1 / (1 + TUNE_SHARE)),
        describe=lambda loss: f"{task.db(loss):.2f} dB",
        within=(0.0, 1 / (1 + TUNE_SHARE)),
    )
    finished = fitted.finish(task.samples, task.spec.low, task.spec.high)
    return _Fitted(config, finished, sensitivities(finished, task.examples))


def _tune(
    task: Task, fitted: _Fitted, module: Representation, level: float, round_number: int, job: Job
) -> Representation:
    """A fit with rounded parameters."""
    indices = allocate_steps(fitted.sensitivity, level)
    n_steps = max(1, int(task.schedule.n_steps * TUNE_SHARE / (1 + 2 * round_number)))
    tuned = job.fit(
        f"{task.name}/{fitted.config}/tune{round_number}",
        module,
        task.examples,
        Schedule(n_steps, task.schedule.peak * TUNE_PEAK),
        steps=step_tree(module, [step_size(i) for i in indices]),
        deadline=_part_of(task.deadline, 1.0),
        describe=lambda loss: f"{task.db(loss):.2f} dB (quantised)",
        within=(1 / (1 + TUNE_SHARE), 1.0),
    )
    return max(tuned, module, key=lambda candidate: _quality(task, fitted, candidate, level))


def _part_of(deadline: float | None, share: float) -> float | None:
    if deadline is None:
        return None
    now = time.monotonic()
    return now + max(deadline - now, 0.0) * FINAL_SHARE * share


def _code(config: Config, module: eqx.Module, sensitivity: Sequence[float], level: float) -> bytes:
    return encode_network(config, quantise_network(module, allocate_steps(sensitivity, level)))


def _level_for(measure: Callable[[float], float], wanted: float) -> float:
    """The level at which the decreasing function `measure` comes down to `wanted`, by bisection of its logarithm."""
    low, high = -30.0, 10.0
    for _ in range(LEVEL_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if measure(2.0**middle) > wanted else (low, middle)
    return float(2.0**high)


def _quality(task: Task, fitted: _Fitted, module: Representation, level: float, everything: bool = False) -> float:
    quantised: Quantised = quantise_network(module, allocate_steps(fitted.sensitivity, level))
    return task.db(_probe_loss(task, dequantise_network(module, quantised), everything))


def _probe_loss(task: Task, module: Representation, everything: bool = False) -> float:
    """Mean squared error, values clipped as a decoder does: over all samples, or over a representative part."""
    total, count = 0.0, 0
    for index in task.examples.probe(everything):
        inputs, targets = task.examples.items(jnp.asarray(index))
        errors = (np.clip(np.asarray(predict(module, inputs)), 0, 1) - np.asarray(targets)) ** 2
        total, count = total + float(errors.sum(dtype=np.float64)), count + errors.size
    return total / count
