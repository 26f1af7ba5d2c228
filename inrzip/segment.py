"""One segment's tools: fit a network, measure how much each parameter matters, choose steps, fine-tune, code.

`inrzip.goals` puts them together to reach a size, `inrzip.psnr_goal` to reach a quality.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from inrzip.architectures.base import Config, Grid, Representation, predict
from inrzip.architectures.bits import BitsConfig, bit_planes
from inrzip.architectures.pfnr import PfnrConfig, Subnetwork
from inrzip.codecs.weights import QuantisedTensor

from .constraints import Quantising
from .errors import InrzipError
from .examples import Examples, FrameParts, Frames, GridPoints, SubGrids
from .fitting import Schedule
from .job import Job
from .metrics import psnr
from .network import dequantise_network, encode_network, max_weights
from .recipes import Recipe
from .signal import Kind, Spec
from .video_sequence import Pool, encode_video
from .weight_codecs import Sensitivity, WeightCodec

TUNE_SHARE = 0.3
"""Steps of the quantisation-aware fit, as a part of those of the first."""
TUNE_PEAK = 0.1
"""Its largest learning rate, as a part of the first fit's."""
FIT_SHARE = 1 / (1 + TUNE_SHARE)
"""Of the time for both, what the first takes."""
FINAL_SHARE = 0.96
"""Of the time allowed, what fits may use; the rest codes, writes and measures."""
MIN_PARAMETERS = 12
MOST_PARAMETERS_PER_VALUE = 2
"""A network with more than this for each sample and channel would be larger than the samples, and take for ever."""
SOUND_BITS = 6.5
"""What a parameter of a sound's network takes at least: sound is wanted more exactly than pictures (measured: at equal
bytes, 6 or 7 bits are 0.5 to 1.8 dB better than 5).
"""
LEVEL_ROUNDS = 14
QUICK_ROUNDS = 2
ZEROING_LEVEL = 2.0**40
"""At this level every parameter is rounded to zero."""


@dataclasses.dataclass(frozen=True)
class Goal:
    """What to reach: `size` in bytes (never exceeded), or `psnr_db` with `size` as the first guess. Architectures that
    can fit to a quality, 0 to 100, do that instead, if there is one.
    """

    size: int
    psnr_db: float | None = None
    quality: float | None = None


@dataclasses.dataclass(frozen=True)
class Task:
    """A segment to be coded: where its examples come from, how long to fit, and the weights of earlier videos that it
    may use. `prior`: the name of a learned one, for recipes that take one (None: the package's).
    """

    name: str
    spec: Spec
    grid: Grid
    recipe: Recipe
    codec: WeightCodec
    settings: dict[str, int]
    examples: Examples
    samples: Shaped[np.ndarray, "part ..."] | None
    schedule: Schedule
    deadline: float | None
    pool: Pool | None = None
    prior: str | None = None
    effort: int = 5

    def db(self, loss: float) -> float:
        """PSNR in dB of a mean squared error in normalised units, with the rounding to whole samples."""
        rounding = 1 / 12 if self.spec.dtype.kind in "ui" else 0.0
        return psnr(max(loss, 0.0) * (self.spec.high - self.spec.low) ** 2 + rounding, self.spec.peak)


@dataclasses.dataclass(frozen=True)
class Coded:
    """A coded segment."""

    payload: bytes
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class FittedNetwork:
    """A network fitted in floating point, and how much each of its parameter arrays matters."""

    config: Config
    module: Representation
    sensitivity: Sensitivity


@dataclasses.dataclass(frozen=True)
class Quantised:
    """A network and what it is in integers."""

    module: Representation
    tensors: list[QuantisedTensor]

    def db(self, task: Task, everything: bool = False) -> float:
        """PSNR in dB of what the integers stand for: over all samples, or over a representative part."""
        return module_db(task, dequantise_network(self.module, self.tensors), everything)


def make_examples(recipe: Recipe, samples: Shaped[np.ndarray, "part ..."], low: float, high: float) -> Examples:
    """Mini-batches of a segment's samples, as the recipe's architecture takes them."""
    architecture = recipe.architecture
    if architecture is BitsConfig:
        return GridPoints(bit_planes(samples, low, high), 0, 1, recipe.batch_size)
    frames = FrameParts if architecture.part_wise else Frames
    points = SubGrids if architecture.grid_wise else GridPoints
    return (frames if architecture.frame_wise else points)(samples, low, high, recipe.batch_size)


def bits_per_parameter(task: Task) -> float:
    """What a parameter takes, about."""
    usual = task.recipe.bits_per_parameter
    return task.codec.fixed_bits or (max(usual, SOUND_BITS) if task.spec.kind == Kind.AUDIO else usual)


def sensible(task: Task, n_parameters: float) -> int:
    """`n_parameters` within reason: a few at least, and not many for each value that there is to describe."""
    most = MOST_PARAMETERS_PER_VALUE * task.grid.n_points * task.grid.channels
    return max(MIN_PARAMETERS, int(min(n_parameters, most)))


def configure(task: Task, n_parameters: int) -> Config:
    """The network of about that size, with the user's settings. Raises InrzipError where these make no sense."""
    if task.pool is not None:
        return task.pool.config
    try:
        config = task.recipe.architecture.solve_for(
            task.grid, n_parameters, task.samples, task.spec.low, task.spec.high, **task.settings
        )
        config.check(task.grid)
    except (ValueError, ZeroDivisionError) as error:
        chosen = " ".join(f"--set {key}={value}" for key, value in task.settings.items())
        raise InrzipError(
            f"{chosen}: no network can be made for this signal: {error}; set less, or use another --recipe"
        ) from error
    count = config.n_parameters(task.grid)
    most = max_weights(int(n_parameters * bits_per_parameter(task) / 8))
    if task.settings and count > most:
        raise InrzipError(
            f"the settings make a network of {count} parameters; for this size, at most {most} can be coded"
        )
    return config


def fit_network(
    task: Task, n_parameters: int, job: Job, share_of_steps: float = 1.0, share_of_time: float = FIT_SHARE
) -> FittedNetwork:
    """A fit in floating point. Shares are of the task's schedule and of what is left of its time."""
    config = configure(task, n_parameters)
    built = config.build(task.grid, jax.random.key(0)) if task.pool is None else task.pool.begin(task.grid)
    module = built.placed(task.samples, task.spec.low, task.spec.high)
    loss = math.inf if module is built else module_loss(task, module)
    training = module.training_module(jax.random.key(1)).shown(task.samples, task.spec.low, task.spec.high)
    n_steps = max(1, round(task.schedule.n_steps * share_of_steps))
    fitted = job.fit(
        f"{task.name}/{n_parameters}/{n_steps}",
        training,
        task.examples,
        Schedule(n_steps, config.learning_rate(task.schedule.peak, n_steps), loss),
        deadline=part_of(task.deadline, share_of_time),
        describe=lambda loss: f"{task.db(loss):.2f} dB",
        within=(0.0, FIT_SHARE),
    )
    finished = fitted.finish(task.samples, task.spec.low, task.spec.high)
    sensitivity = task.codec.survey(finished, task.examples)
    if isinstance(finished, Subnetwork):
        sensitivity = finished.per_weight(sensitivity)
    return FittedNetwork(config, finished, sensitivity)


def quantised(
    task: Task, fitted: FittedNetwork, module: Representation, level: float, round_number: int, job: Job
) -> Quantised:
    """`module` in integers at a level, after the codec's fine-tuning unless the user wants to stop."""
    if task.codec.constrain is None or job.stopping:
        return as_it_is(task, fitted, module, level)
    n_steps = max(1, int(task.schedule.n_steps * TUNE_SHARE / (1 + 2 * round_number)))
    tuned = job.fit(
        f"{task.name}/{fitted.config}/tune{round_number}",
        task.codec.constrain(module, fitted.sensitivity, level),
        task.examples,
        Schedule(n_steps, fitted.config.learning_rate(task.schedule.peak, task.schedule.n_steps) * TUNE_PEAK),
        deadline=part_of(task.deadline, 1.0),
        describe=lambda loss: f"{task.db(loss):.2f} dB (quantised)",
        within=(FIT_SHARE, 1.0),
    )
    if isinstance(tuned, Quantising):
        result = Quantised(tuned.network, tuned.quantised())
    else:
        result = as_it_is(task, fitted, tuned.network, level)
    plain = as_it_is(task, fitted, module, level)  # what is left if the fit has gone astray
    return max((plain, result), key=lambda either: either.db(task))


def part_of(deadline: float | None, share: float) -> float | None:
    if deadline is None:
        return None
    now = time.monotonic()
    return now + max(deadline - now, 0.0) * FINAL_SHARE * share


def as_it_is(task: Task, fitted: FittedNetwork, module: Representation, level: float) -> Quantised:
    """`module` in integers at a level, without fine-tuning."""
    tensors = task.codec.quantise(module, fitted.sensitivity, level)
    if task.codec.polish is not None:
        tensors = task.codec.polish(module, task.examples, tensors)
    return Quantised(module, tensors)


def payload(task: Task, fitted: FittedNetwork, result: Quantised) -> bytes:
    """What a file holds of a network that has the configuration of `fitted`."""
    if isinstance(result.module, Subnetwork):
        assert isinstance(fitted.config, PfnrConfig)
        return encode_video(fitted.config, result.module, result.tensors, task.codec.coders)
    return encode_network(fitted.config, result.tensors, task.codec.coders(result.tensors))


def level_for_size(task: Task, fitted: FittedNetwork, module: Representation, wanted: float) -> float:
    """The level at which the payload takes `wanted` bytes, or nearly: found with the codec's quick measure, if it has
    one, and its ratio to the true size.
    """
    quick, aim = task.codec.quick, wanted
    if quick is None:
        return find_level(lambda level: len(payload(task, fitted, as_it_is(task, fitted, module, level))), wanted)
    for _ in range(QUICK_ROUNDS):
        level = find_level(lambda level: quick(module, fitted.sensitivity, level), aim)
        aim *= wanted / len(payload(task, fitted, as_it_is(task, fitted, module, level)))
    return find_level(lambda level: quick(module, fitted.sensitivity, level), aim)


def find_level(measure: Callable[[float], float], wanted: float) -> float:
    """The level at which the decreasing function `measure` comes down to `wanted`, by bisection of its logarithm."""
    low, high = -30.0, 10.0
    for _ in range(LEVEL_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if measure(2.0**middle) > wanted else (low, middle)
    return float(2.0**high)


def module_db(task: Task, module: Representation, everything: bool = False) -> float:
    """PSNR in dB of `module` as it is, values clipped as a decoder does."""
    return task.db(module_loss(task, module, everything))


def module_loss(task: Task, module: Representation, everything: bool = False) -> float:
    """Mean squared error of the same, in normalised units."""
    total, count = 0.0, 0
    for index in task.examples.probe(everything):
        inputs, targets = task.examples.items(jnp.asarray(index))
        errors = (np.clip(np.asarray(predict(module, inputs)), 0, 1) - np.asarray(targets)) ** 2
        total, count = total + float(errors.sum(dtype=np.float64)), count + errors.size
    return total / count
