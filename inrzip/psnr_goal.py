"""One segment to a PSNR: the number of parameters by fits that correct each other, then the steps by fine-tuning.

Cheap pilot fits come first: they tell, for a part of the price, how quality grows with the number of parameters. Those
of points take as many steps with fewer points in each (fewer steps would not tell: large networks learn slowly at
first); those of frames take fewer steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from inrzip.architectures.base import Representation

from .job import Job
from .segment import (
    Coded,
    FittedNetwork,
    Quantised,
    Task,
    as_it_is,
    bits_per_parameter,
    configure,
    find_level,
    fit_network,
    make_examples,
    module_db,
    payload,
    quantised,
    sensible,
)

WINDOW_DB = 0.4
"""A quality asked for is met from above within this."""
HEADROOM_DB = 1.2
"""What the network before quantisation should have above the quality asked for."""
HEADROOM_TOLERANCE_DB = 0.6
TUNING_GAIN_DB = 0.6
"""What fine-tuning with rounded parameters typically wins back: quantisation aims so much below what was asked for."""
TUNING_ROUNDS = 3

PILOT_SHARE = 1 / 4
"""What a pilot fit takes, as a part of a whole one's time; of frames, also of its steps."""
PILOT_POINTS = 4096
PILOT_RATE = 0.5
"""A pilot's learning rate, as a part of a whole fit's: smaller batches bear less (measured: SIRENs of 109 and 148 units
ended at 22 dB with all of it).
"""
PILOT_LOSS_DB = {False: 1.2, True: 1.6}
"""What a pilot fit of points (False) or frames (True) is expected to fall short of a whole one, which corrects it."""
GAIN_PER_DOUBLING_DB = 2.0
"""What a network of twice the parameters is expected to be better; corrected by the pilots."""
GAIN_RANGE_DB = (0.7, 5.0)
"""Two fits may be too near each other to tell the gain: it is kept in this range."""
MAX_PILOTS = 4
PILOT_TOLERANCE_DB = 0.8
MAX_FITS = 3
FIT_SHARE_OF_TIME = 0.5
LEAST_CHANGE, MOST_CHANGE = -3.0, 2.5
"""Octaves by which the number of parameters may change from one fit to the next."""


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A fit's result: the logarithm, to base 2, of the number of parameters, and the PSNR."""

    log_count: float
    db: float


def encode_to_psnr(task: Task, size: int, psnr_db: float, job: Job) -> Coded:
    """The payload of a network that reaches `psnr_db`, or as near as may be, and then a note. `size`, in bytes, is the
    first guess.
    """
    fitted = _fit_to(task, size, psnr_db + HEADROOM_DB, job)
    reachable = module_db(task, fitted.module)
    if reachable < psnr_db:
        level = _level_for_db(task, fitted, fitted.module, reachable - 0.05)
        result = quantised(task, fitted, fitted.module, level, 0, job)
        reached = result.db(task, everything=True)
        advice = f"{psnr_db:g} dB was not reached, only {reached:.2f} dB; try more effort (-e) or time (--time)"
        return Coded(payload(task, fitted, result), None if reached >= psnr_db else advice)
    good = fitted.module  # what each round starts from: the last network that was good enough
    aim = max(psnr_db - TUNING_GAIN_DB, min(psnr_db, reachable - 0.5))
    best: bytes | None = None

    def keep(result: Quantised) -> float:
        nonlocal good, best
        data, reached = payload(task, fitted, result), result.db(task, everything=True)
        if reached >= psnr_db and (best is None or len(data) < len(best)):
            good, best = result.module, data
        return reached

    for round_number in range(TUNING_ROUNDS):
        result = quantised(task, fitted, good, _level_for_db(task, fitted, good, aim), round_number, job)
        reached = keep(result)
        if psnr_db <= reached <= psnr_db + WINDOW_DB or job.stopping:
            break
        aim += psnr_db + WINDOW_DB / 2 - reached
    else:  # no round hit the window: coarser steps without fine-tuning come down to it gently
        result = as_it_is(task, fitted, good, _level_for_db(task, fitted, good, psnr_db + WINDOW_DB / 2))
        reached = keep(result)
    if best is None:
        return Coded(payload(task, fitted, result), f"{psnr_db:g} dB was not reached, only {reached:.2f} dB")
    return Coded(best)


def _level_for_db(task: Task, fitted: FittedNetwork, module: Representation, wanted: float) -> float:
    return find_level(lambda level: as_it_is(task, fitted, module, level).db(task), wanted)


def _fit_to(task: Task, size: int, wanted_db: float, job: Job) -> FittedNetwork:
    """A fit whose PSNR is `wanted_db`, or nearly: the first of those seen that is near enough, or the nearest."""
    pilot_task, share_of_steps = _pilot_task(task)
    pilot_db = wanted_db - PILOT_LOSS_DB[task.recipe.architecture.frame_wise]
    n_parameters = sensible(task, size * 8 / bits_per_parameter(task))
    pilots: list[_Seen] = []
    while len(pilots) < MAX_PILOTS and not job.stopping:
        pilot = fit_network(pilot_task, n_parameters, job, share_of_steps, PILOT_SHARE * FIT_SHARE_OF_TIME)
        pilots.append(_see(task, pilot))
        n_parameters = _next_count(task, pilots, pilot_db, _gain_per_doubling(pilots))
        if abs(pilots[-1].db - pilot_db) < PILOT_TOLERANCE_DB:
            break
        if _pointless(task, n_parameters) or configure(task, n_parameters) == pilot.config:
            break
    seen: list[_Seen] = []
    fits: list[FittedNetwork] = []
    while len(fits) < MAX_FITS:
        fits.append(fit_network(task, n_parameters, job, share_of_time=FIT_SHARE_OF_TIME))
        seen.append(_see(task, fits[-1]))
        if abs(seen[-1].db - wanted_db) < HEADROOM_TOLERANCE_DB or job.stopping:
            return fits[-1]
        n_parameters = _next_count(task, seen, wanted_db, _gain_per_doubling(seen if len(seen) > 1 else pilots))
        if _pointless(task, n_parameters) or configure(task, n_parameters) == fits[-1].config:
            break
    return min(zip(fits, seen, strict=True), key=lambda pair: abs(pair[1].db - wanted_db))[0]


def _pilot_task(task: Task) -> tuple[Task, float]:
    """The task of a pilot fit, and the part of its schedule to run."""
    if task.recipe.architecture.frame_wise or task.samples is None:
        return task, PILOT_SHARE
    recipe = dataclasses.replace(task.recipe, batch_size=PILOT_POINTS)
    examples = make_examples(recipe, task.samples, task.spec.low, task.spec.high)
    schedule = dataclasses.replace(task.schedule, peak=PILOT_RATE * task.schedule.peak)
    pilot = dataclasses.replace(task, name=f"{task.name}/pilot", recipe=recipe, examples=examples, schedule=schedule)
    return pilot, 1.0


def _see(task: Task, fitted: FittedNetwork) -> _Seen:
    return _Seen(math.log2(fitted.config.n_parameters(task.grid)), module_db(task, fitted.module))


def _gain_per_doubling(seen: Sequence[_Seen]) -> float:
    """The slope through the last two different results, or what is typical."""
    for a, b in zip(seen[-2::-1], seen[:0:-1], strict=False):
        if a.log_count != b.log_count:
            low, high = GAIN_RANGE_DB
            return min(max((a.db - b.db) / (a.log_count - b.log_count), low), high)
    return GAIN_PER_DOUBLING_DB


def _next_count(task: Task, seen: Sequence[_Seen], wanted_db: float, gain_db: float) -> int:
    """Parameters that should give `wanted_db`, as seen from the result nearest to it."""
    nearest = min(seen, key=lambda result: abs(result.db - wanted_db))
    change = min(max((wanted_db - nearest.db) / gain_db, LEAST_CHANGE), MOST_CHANGE)
    return sensible(task, round(2 ** (nearest.log_count + change)))


def _pointless(task: Task, n_parameters: int) -> bool:
    """Whether so many parameters would take more than the samples do as they are."""
    raw_bits = 8 * task.grid.n_points * task.grid.channels * task.spec.dtype.itemsize
    return n_parameters * bits_per_parameter(task) > raw_bits
