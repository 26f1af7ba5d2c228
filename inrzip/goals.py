"""One segment to a goal: `encode_segment`.

fit in floating point -> measure how much each parameter matters -> choose the steps -> fine-tune with rounded
parameters -> code.
"""

from __future__ import annotations

from inrzip.architectures.base import Representation
from inrzip.architectures.combiner import CombinerConfig
from inrzip.architectures.context import ContextConfig
from inrzip.architectures.grid import GridConfig
from inrzip.architectures.modulated import ModulatedConfig
from inrzip.architectures.motion import MotionConfig

from .context_encoder import encode_exactly
from .errors import InrzipError
from .grid_goals import encode_picture
from .job import Job
from .modulation_goals import encode_modulated
from .motion_goals import encode_film
from .posterior_goals import encode_with_prior
from .psnr_goal import encode_to_psnr
from .segment import (
    FIT_SHARE,
    MIN_PARAMETERS,
    ZEROING_LEVEL,
    Coded,
    FittedNetwork,
    Goal,
    Task,
    as_it_is,
    bits_per_parameter,
    configure,
    fit_network,
    level_for_size,
    payload,
    quantised,
    sensible,
)
from .ternary_encoder import encode_ternary, is_ternary

AIM = 0.985
"""Part of the size asked for that quantisation aims at before fine-tuning, which changes sizes a little."""
LEAST_SHARE = 0.955
"""A file below this part of the size asked for is coded again with finer steps."""
MAX_ROUNDS = 4
MAX_COARSER = 100
COARSER = 1.05
FEWER = 0.97
"""A network that is too large for the number of parameters to tell is followed by one of so many times as many."""
COUNT_SHARE = 0.4
"""Of the time left, what each try takes if the number of parameters is to be found."""


def encode_segment(task: Task, goal: Goal, job: Job) -> Coded:
    """Codes a segment to the goal, or as near as it can be: then `note` says what was reached."""
    if task.recipe.architecture is GridConfig:
        return encode_picture(task, goal, job)
    if task.recipe.architecture is MotionConfig:
        return encode_film(task, goal, job)
    if task.recipe.architecture is ContextConfig:
        return encode_exactly(task, job)
    if task.recipe.architecture is CombinerConfig:
        return encode_with_prior(task, goal, job)
    if is_ternary(task):
        return encode_ternary(task, goal, job)
    if issubclass(task.recipe.architecture, ModulatedConfig):
        return encode_modulated(task, goal, job)
    if goal.psnr_db is None:
        return Coded(encode_to_size(task, goal.size, job))
    return encode_to_psnr(task, goal.size, goal.psnr_db, job)


def encode_to_size(task: Task, size: int, job: Job) -> bytes:
    """The payload of a network for a segment, of `size` bytes or a little less. Raises InrzipError if none is so
    small.
    """
    if task.codec.fixed_bits:
        return _encode_by_count(task, size, job)
    fitted = fit_network(task, sensible(task, size * 8 / bits_per_parameter(task)), job)
    module, level, aim, best = fitted.module, 0.0, size * AIM, None
    for round_number in range(MAX_ROUNDS):
        job.tell("coding", FIT_SHARE)
        level = level_for_size(task, fitted, module, aim)
        found = quantised(task, fitted, module, level, round_number, job)
        module, data = found.module, payload(task, fitted, found)
        if len(data) <= size and (best is None or len(data) > len(best)):
            best = data
        if LEAST_SHARE * size <= len(data) <= size or job.stopping:
            break
        aim *= 0.99 * size / len(data)
    if best is None:
        best = _shrink(task, fitted, module, level, size)
    if best is None:
        smallest = payload(task, fitted, as_it_is(task, fitted, module, ZEROING_LEVEL))
        raise InrzipError(
            f"a size of {size} bytes for a segment cannot be reached; the smallest network takes {len(smallest)}"
        )
    return best


def _shrink(task: Task, fitted: FittedNetwork, module: Representation, level: float, size: int) -> bytes | None:
    """Coarser steps, without fine-tuning, until the payload fits."""
    for _ in range(MAX_COARSER):
        data = payload(task, fitted, as_it_is(task, fitted, module, level))
        if len(data) <= size:
            return data
        level *= COARSER
    return None


def _encode_by_count(task: Task, size: int, job: Job) -> bytes:
    """For a codec without levels: a network of as many parameters as the size allows, found by trying."""
    n_parameters = sensible(task, size * 8 / bits_per_parameter(task))
    best = None
    for round_number in range(MAX_ROUNDS):
        fitted = fit_network(task, n_parameters, job, share_of_time=COUNT_SHARE)
        data = payload(task, fitted, quantised(task, fitted, fitted.module, 1.0, round_number, job))
        if len(data) <= size and (best is None or len(data) > len(best)):
            best = data
        if LEAST_SHARE * size <= len(data) <= size or job.stopping:
            break
        n_parameters = sensible(task, n_parameters * AIM * size / len(data))
        while configure(task, n_parameters) == fitted.config and len(data) > size and n_parameters > MIN_PARAMETERS:
            n_parameters = sensible(task, FEWER * n_parameters)
        if configure(task, n_parameters) == fitted.config:
            break
    if best is None:
        raise InrzipError(f"a size of {size} bytes cannot be reached with --codec {task.codec.name}")
    return best
