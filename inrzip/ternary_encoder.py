"""A segment as bit planes of a ternary network: fitted with its weights rounded, then coded as -1, 0 and 1."""

from __future__ import annotations

import math

import jax
import numpy as np

from inrzip.architectures.bits import Bits, BitsConfig
from inrzip.architectures.ternary import Ternary, TernaryConfig, rounded
from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.uniform import nearest_step_index
from inrzip.codecs.weights import QuantisedTensor

from .errors import InrzipError
from .fitting import Schedule
from .job import Job
from .network import encode_network
from .segment import TUNE_SHARE, Coded, Goal, Task, configure, part_of, sensible

BITS_PER_WEIGHT = 1.6
"""What a weight takes, nearly: log2(3), and what tables learn."""
UNIT_STEP = nearest_step_index(1.0)


def is_ternary(task: Task) -> bool:
    """Whether the user asked for such a network."""
    asked = bool(task.settings.get("ternary")) or task.settings.get("backbone") == TernaryConfig.number
    return asked and task.recipe.architecture is BitsConfig


def encode_ternary(task: Task, goal: Goal, job: Job) -> Coded:
    """The payload of a network of about the goal's size. Raises InrzipError for goals that are no size."""
    if goal.psnr_db is not None:
        raise InrzipError("ternary networks are fitted to a size: give -q, or leave the target out")
    if task.codec.name != "auto":
        raise InrzipError(f"ternary networks are coded in their own way; leave --codec {task.codec.name} out")
    config = configure(task, sensible(task, goal.size * 8 / BITS_PER_WEIGHT))
    n_steps = max(1, round(task.schedule.n_steps * (1 + TUNE_SHARE)))
    fitted = job.fit(
        f"{task.name}/{config}/{n_steps}",
        config.build(task.grid, jax.random.key(0)),
        task.examples,
        Schedule(n_steps, config.learning_rate(task.schedule.peak, n_steps)),
        deadline=part_of(task.deadline, 1.0),
        describe=lambda loss: f"{loss / math.log(2):.3f} bits for a bit",
    )
    assert isinstance(fitted, Bits) and isinstance(fitted.inside, Ternary)
    tensors = [
        QuantisedTensor(np.asarray(rounded(layer)).astype(np.int32), UniformSteps(UNIT_STEP))
        for layer in fitted.inside.layers
    ]
    return Coded(encode_network(config, tensors))
