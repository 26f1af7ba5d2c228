"""One segment to a goal: `encode_segment`.

fit in floating point -> measure how much each parameter matters -> choose the steps -> fine-tune with rounded
parameters -> code.
"""

from __future__ import annotations

from inrzip.architectures.base import Representation

from .errors import InrzipError
from .job import Job
from .psnr_goal import encode_to_psnr
from .segment import (
    FIT_SHARE,
    ZEROING_LEVEL,
    Coded,
    FittedNetwork,
    Goal,
    Task,
    bits_per_parameter,
    code,
    configure,
    fit_network,
    level_for_size,
    sensible,
    tune,
)

AIM = 0.985
"""Part of the size asked for that quantisation aims at before fine-tuning, which changes sizes a little."""
LEAST_SHARE = 0.955
"""A file below this part of the size asked for is coded again with finer steps."""
MAX_ROUNDS = 4
MAX_COARSER = 100
COARSER = 1.05
COUNT_SHARE = 0.4
"""Of the time left, what each try takes if the number of parameters is to be found."""


def encode_segment(task: Task, goal: Goal, job: Job) -> Coded:
    """Codes a segment to the goal, or as near as it can be: then `note` says what was reached."""
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
    module, level, best = fitted.module, 0.0, None
    aim = size * AIM
    for round_number in range(MAX_ROUNDS):
        job.tell("coding", FIT_SHARE)
        level = level_for_size(task, fitted, module, aim)
        if not job.stopping:
            module = tune(task, fitted, module, level, round_number, job)
        payload = code(task, fitted, module, level)
        if len(payload) <= size and (best is None or len(payload) > len(best)):
            best = payload
        if LEAST_SHARE * size <= len(payload) <= size or job.stopping:
            break
        aim *= 0.99 * size / len(payload)
    if best is None:
        best = _shrink(task, fitted, module, level, size)
    if best is None:
        smallest = code(task, fitted, module, ZEROING_LEVEL)
        raise InrzipError(
            f"a size of {size} bytes for a segment cannot be reached; the smallest network takes {len(smallest)}"
        )
    return best


def _shrink(task: Task, fitted: FittedNetwork, module: Representation, level: float, size: int) -> bytes | None:
    """Coarser steps, without fine-tuning, until the payload fits."""
    for _ in range(MAX_COARSER):
        payload = code(task, fitted, module, level)
        if len(payload) <= size:
            return payload
        level *= COARSER
    return None


def _encode_by_count(task: Task, size: int, job: Job) -> bytes:
    """For a codec without levels: a network of as many parameters as the size allows, found by trying."""
    n_parameters = sensible(task, size * 8 / bits_per_parameter(task))
    best = None
    for _ in range(MAX_ROUNDS):
        fitted = fit_network(task, n_parameters, job, share_of_time=COUNT_SHARE)
        payload = code(task, fitted, fitted.module, 0.0)
        if len(payload) <= size and (best is None or len(payload) > len(best)):
            best = payload
        if LEAST_SHARE * size <= len(payload) <= size or job.stopping:
            break
        fewer = sensible(task, n_parameters * AIM * size / len(payload))
        if configure(task, fewer) == fitted.config:
            break
        n_parameters = fewer
    if best is None:
        raise InrzipError(f"a size of {size} bytes cannot be reached with --codec {task.codec.name}")
    return best
