"""A picture as latent grids, to a quality, a size or a PSNR: `encode_picture`.

fit at a lambda -> round and code the networks -> look at size and quality -> move lambda, and fit on from there.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from inrzip.architectures.grid import channel_groups
from inrzip.architectures.grid_kernels import library, workspace
from inrzip.architectures.grid_layout import MAX_TONE
from inrzip.architectures.grid_training import Layout
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import latent_step, tone_of

from . import grid_fit, grid_windows
from .errors import TargetMissed
from .grid_coding import PRIOR, Plane, rounding_of
from .grid_encoder import Encoder, Result, Stage, compile_coder
from .grid_fit import State
from .job import Job
from .segment import Coded, Goal, Task

TONES_PER_QUALITY = 3.0
"""Tones by which a point of quality is finer."""
QUALITY_OF_NEUTRAL_TONE = 55.0
TYPICAL_RATES = ((1e-1, 0.03), (2e-2, 0.084), (4e-3, 0.219), (1e-3, 0.482), (4e-4, 0.759), (1e-4, 1.357), (1e-6, 4.0))
"""Lambda and bits per pixel of a typical photograph: where the search for a size begins."""
BYTES_PER_LAMBDA = -0.65
"""d log(bytes) / d log(lambda), about."""
DB_PER_DECADE = -6.0
"""What ten times the lambda does to the PSNR, about."""
PILOT_SHARE, PILOTS = 0.12, 3
"""Short fits that look for lambda, each with this part of the steps."""
PILOT_EXCESS, PILOT_LOSS_DB = 0.75, 0.5
"""What a whole fit takes of a pilot's bytes, and gains on its PSNR, about."""
MAIN_SHARE = 0.8
"""Of the whole job, what pilots and the main fit take."""
PILOT_TIME, MAIN_TIME, REFIT_TIME = 0.3, 0.5, 0.6
"""Of what is left of a limited time, what each may take."""
REFIT_SHARE, REFITS = 0.3, 4
"""Fits that correct lambda after the main one."""
RESCUES, RESCUE_TONES = 5, 8
"""Whole fits where that has not helped: in small pictures the networks' changes are most of the file, and a later fit
hardly undoes what an earlier one did. Each is at least so many tones coarser (or finer) than the last.
"""
HURRIED_TONES = 6
"""Where time is up, a correcting fit is at least so much coarser (or finer), the next one by twice as many, and so on:
there shall not be many.
"""
PASSES_LEFT = 4
"""Where time is limited, there is no further pilot unless so many would fit in what is left."""
SAFE_AIM, SAFE_DB = 0.85, 0.4
"""Where time is limited, what the main fit aims at: a part of the size, dB above a PSNR."""
REFIT_FROM = 0.2
"""Where in the schedule a correcting fit begins. Late in it, rounding is too hard for latents to find their places on a
new scale: files stayed as large while they got worse.
"""
SIZE_WINDOW = 0.965
"""A target size is met from this part of it up to all of it."""
AIM = 0.985
WINDOW_DB = 0.25
FINAL_SHARE = 0.8
"""Of the time allowed, what fits may use."""
NOT_COMPILED = "fitted without compiled code, in fewer steps"
QUALITY_WORK, SEARCH_WORK = 1 + grid_fit.LAST_PHASE, 1.3
"""Steps of all fits together, as a multiple of the main one's, typically."""


def encode_picture(task: Task, goal: Goal, job: Job) -> Coded:
    """Codes a picture to the goal, or as near as it can be: then `note` says what was reached."""
    encoder = Encoder(task, _planes(task), grid_prior.load(PRIOR), job)
    compile_coder()
    try:
        coded = _encode(encoder, goal)
    finally:
        workspace.cache_clear()
    return with_remark(coded)


def with_remark(coded: Coded) -> Coded:
    """The same, with a remark where compiled code is missing."""
    if library() is not None:
        return coded
    return dataclasses.replace(coded, note="; ".join(filter(None, (coded.note, NOT_COMPILED))))


def _encode(encoder: Encoder, goal: Goal) -> Coded:
    task = encoder.task
    n_steps = task.schedule.n_steps if task.deadline is None else _affordable_steps(encoder, goal)
    if goal.quality is None:
        return search(encoder, goal, n_steps, tone_of(typical_lambda(8 * goal.size / task.grid.n_points)))
    return Coded(encoder.encode(Stage("fit", tone_at(goal.quality), None, n_steps, 0.0, (0.0, 1.0))).payload)


def tone_at(quality: float) -> int:
    """The tone of `--quality`."""
    return round(grid_prior.NEUTRAL_TONE - TONES_PER_QUALITY * (quality - QUALITY_OF_NEUTRAL_TONE))


def _affordable_steps(encoder: Encoder, goal: Goal) -> int:
    """Steps for which there is time."""
    task = encoder.task
    assert task.deadline is not None
    seconds = seconds_of_step(encoder)
    work = QUALITY_WORK if goal.quality is not None else SEARCH_WORK
    left = FINAL_SHARE * (task.deadline - time.monotonic())
    return max(grid_fit.STEPS_AT_ONCE, min(task.schedule.n_steps, int(left / seconds / work)))


def seconds_of_step(encoder: Encoder) -> float:
    """How long a step of a picture takes, as a few show that are then forgotten."""
    seconds, tone = 0.0, grid_prior.NEUTRAL_TONE
    for plane in encoder.planes:
        mean, n_pixels = encoder.mean(plane, tone), math.prod(plane.layout.shape)
        if encoder.large:
            n_pixels = grid_windows.work(plane.layout.shape)
            rows = slice(*grid_windows.windows(plane.layout.shape)[0].seen)
            layout = Layout((rows.stop - rows.start, plane.layout.shape[1]))
            plane = Plane(plane.name, layout, jnp.asarray(plane.target[:, rows]))
        latents = jnp.zeros((plane.layout.rows, plane.layout.columns))
        state = grid_fit.start(mean, latents)
        for _ in range(2):  # the first call compiles
            begun = time.monotonic()
            state, _ = encoder.advance(plane, mean, tone, state, 1, rounding_of(None, encoder.prior), (0.0, 0.0))
            state.latents.block_until_ready()
            latest = time.monotonic() - begun
        seconds += latest / grid_fit.STEPS_AT_ONCE * n_pixels / math.prod(plane.layout.shape)
    return seconds


class Encodes(Protocol):
    """An encoder of pictures or videos."""

    @property
    def hurried(self) -> bool: ...

    def encode(self, stage: Stage) -> Result: ...


def search(
    encoder: Encodes, goal: Goal, n_steps: int, tone: int, pilots: int = PILOTS, deadline: float | None = None
) -> Coded:
    """Pilot fits, the first at `tone`, find the tone; the main fit is corrected by short ones until it is within the
    goal's window. `deadline`: each is told to leave time for those that follow.
    """

    def until(share: float) -> float | None:
        now = time.monotonic()
        return None if deadline is None else now + share * max(deadline - now, 0.0)

    fits: list[State] | None = None
    n_pilot = max(grid_fit.STEPS_AT_ONCE, round(PILOT_SHARE * n_steps))
    share = pilots * PILOT_SHARE
    for i in range(pilots):
        within = i * PILOT_SHARE * MAIN_SHARE, (i + 1) * PILOT_SHARE * MAIN_SHARE
        begun, by = time.monotonic(), until(PILOT_TIME)
        found = encoder.encode(Stage(f"pilot{i}", tone, fits, n_pilot, 0.0, within, pilot=True, until=by))
        tone, fits = _moved_on(found, goal, pilot=True, safe=deadline is not None)
        took = time.monotonic() - begun
        if encoder.hurried or (deadline is not None and begun + (1 + PASSES_LEFT) * took > deadline):
            break
    n_main, n_refit = round((1 - share) * n_steps), max(grid_fit.STEPS_AT_ONCE, round(REFIT_SHARE * n_steps))
    best: Result | None = None
    for i in range(1 + REFITS + RESCUES):
        if i == 0:
            stage = Stage("main", tone, fits, n_main, 0.0, (share * MAIN_SHARE, MAIN_SHARE), until=until(MAIN_TIME))
        elif i <= REFITS:
            stage = Stage(f"refit{i}", tone, fits, n_refit, REFIT_FROM, (MAIN_SHARE, 1.0), until=until(REFIT_TIME))
        else:
            stage = Stage(f"again{i}", tone, None, n_steps, 0.0, (MAIN_SHARE, 1.0))
        found = encoder.encode(stage)
        if _allowed(found, goal) and (best is None or _nearer(found, best, goal)):
            best = found
        if _met(found, goal) or (best is not None and (i >= REFITS or encoder.hurried)):
            break
        if i == 0 or i > REFITS:
            last_whole = found
        least = HURRIED_TONES * (i + 1) if encoder.hurried else 0
        tone, fits = _moved_on(found, goal, least) if i < REFITS else _moved_on(last_whole, goal, RESCUE_TONES)
    if best is None:
        return _missed(found, goal)
    return Coded(best.payload)


def _missed(found: Result, goal: Goal) -> Coded:
    if goal.psnr_db is None:
        raise TargetMissed(f"a size of {goal.size} bytes cannot be reached; {len(found.payload)} came nearest")
    return Coded(found.payload, f"{goal.psnr_db:g} dB was not reached, only {found.db:.2f} dB")


def _miss(found: Result, goal: Goal, pilot: bool, safe: bool) -> float:
    """By how many tones the result should be coarser."""
    share, gain = (PILOT_EXCESS, PILOT_LOSS_DB) if pilot else (1.0, 0.0)
    aim, margin = (SAFE_AIM, SAFE_DB) if safe else (AIM, WINDOW_DB / 2)
    if goal.psnr_db is not None:
        decades = (goal.psnr_db + margin - found.db - gain) / DB_PER_DECADE
    else:
        decades = math.log10(goal.size * aim / (share * len(found.payload))) / BYTES_PER_LAMBDA
    return decades * grid_prior.TONES_PER_DECADE


def _moved_on(
    found: Result, goal: Goal, at_least: int = 0, pilot: bool = False, safe: bool = False
) -> tuple[int, list[State]]:
    """A tone that should come nearer to the goal, and the fits to begin with there: what they decode to is the same."""
    towards = 1 if goal.psnr_db is None else -1
    by = round(_miss(found, goal, pilot, safe)) or towards
    if at_least:
        by = towards * max(towards * by, at_least)
    tone = min(max(found.tone + by, 0), MAX_TONE)
    ratio = latent_step(found.tone) / latent_step(tone)
    return tone, [fit._replace(latents=fit.latents * ratio) for fit in found.fits]


def _allowed(found: Result, goal: Goal) -> bool:
    return len(found.payload) <= goal.size if goal.psnr_db is None else found.db >= goal.psnr_db


def _nearer(found: Result, best: Result, goal: Goal) -> bool:
    return found.db > best.db if goal.psnr_db is None else len(found.payload) < len(best.payload)


def _met(found: Result, goal: Goal) -> bool:
    if goal.psnr_db is not None:
        return goal.psnr_db <= found.db <= goal.psnr_db + WINDOW_DB
    return SIZE_WINDOW * goal.size <= len(found.payload) <= goal.size


def typical_lambda(bpp: float) -> float:
    """The lambda at which a typical photograph takes so many bits per pixel."""
    weights, rates = np.array(TYPICAL_RATES).T
    return float(np.exp(np.interp(np.log(bpp), np.log(rates), np.log(weights))))


def _planes(task: Task) -> list[Plane]:
    assert task.samples is not None
    normal = (np.asarray(task.samples, np.float32) - task.spec.low) / (task.spec.high - task.spec.low)
    normal = np.moveaxis(normal.reshape(*task.grid.shape, task.grid.channels), -1, 0)
    height, width = task.grid.shape
    kept: Callable[[Any], Any] = np.asarray if grid_windows.is_large((height, width)) else jnp.asarray
    return [
        Plane(f"{task.name}/plane{i}", Layout((height, width)), kept(normal[group]))
        for i, group in enumerate(channel_groups(task.grid.channels))
    ]
