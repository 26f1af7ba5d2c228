"""A video of pictures and motion, to a quality, a size or a PSNR: `encode_film`."""

from __future__ import annotations

import dataclasses
import time

import jax.numpy as jnp
import numpy as np

from inrzip.architectures.grid import channel_groups
from inrzip.architectures.grid_kernels import workspace
from inrzip.architectures.grid_layout import MAX_TONE
from inrzip.architectures.grid_training import Layout
from inrzip.architectures.motion import MotionConfig, layers
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import tone_of

from . import grid_fit, motion_fit
from .grid_coding import PRIOR, Plane
from .grid_encoder import Encoder, Stage, compile_coder
from .grid_goals import (
    FINAL_SHARE,
    PILOTS,
    SEARCH_WORK,
    search,
    seconds_of_step,
    tone_at,
    typical_lambda,
    with_remark,
)
from .job import Job
from .motion_encoder import FilmEncoder, Pace, work
from .segment import Coded, Goal, Task

QUALITY_TONES = 24
"""By how much videos are coarser than pictures at the same `--quality`."""
TIMES_PICTURES = 2.5
"""By how many times a picture of the same tone takes more than a frame of a video, about (1.6 to 3.7 in four clips)."""
SEARCHES = 2
"""Searches for motion where a size or a PSNR is asked for."""
MOTION_SHARE, MOST_HASTE = 0.4, 5.0
"""The part of the time that they may take; beyond it there is but one, with fewer steps."""


def encode_film(task: Task, goal: Goal, job: Job) -> Coded:
    """Codes a video to the goal, or as near as it can be: then `note` says what was reached."""
    assert task.samples is not None
    frames = (np.asarray(task.samples, np.float32) - task.spec.low) / ((task.spec.high - task.spec.low) or 1)
    config = task.recipe.architecture.solve(task.grid, 0, **task.settings)
    assert isinstance(config, MotionConfig)
    film = FilmEncoder(task, frames.reshape(*task.grid.shape, task.grid.channels), config, job)
    compile_coder()
    try:
        return with_remark(_encode(film, goal))
    finally:
        workspace.cache_clear()


def _encode(film: FilmEncoder, goal: Goal) -> Coded:
    task = film.task
    if task.deadline is not None:
        now = time.monotonic()
        film.task = task = dataclasses.replace(task, deadline=now + FINAL_SHARE * max(task.deadline - now, 0.0))
    n_steps = task.schedule.n_steps if task.deadline is None else _affordable_steps(film, goal)
    if goal.quality is None:
        tone = tone_of(typical_lambda(TIMES_PICTURES * 8 * goal.size / task.grid.n_points))
        return search(film, goal, n_steps, tone, PILOTS if film.haste == 1 else 1, task.deadline)
    tone = min(tone_at(goal.quality) + QUALITY_TONES, MAX_TONE)
    return Coded(film.encode(Stage("fit", tone, None, n_steps, 0.0, (0.0, 1.0), until=task.deadline)).payload)


def _affordable_steps(film: FilmEncoder, goal: Goal) -> int:
    """Steps for each picture for which there is time, besides the search for motion."""
    task, n_frames = film.task, len(film.frames)
    assert task.deadline is not None
    first = film.frames[0]
    layout = Layout(first.shape[:2])
    planes = [
        Plane("", layout, jnp.asarray(np.moveaxis(first[..., group], -1, 0)))
        for group in channel_groups(first.shape[2])
    ]
    film.pace = Pace(seconds_of_step(Encoder(task, planes, grid_prior.load(PRIOR), film.job)))
    searching = 0.0
    if n_frames > 1:
        target, reference = (motion_fit.brightness(frame) for frame in film.frames[:2])
        for _ in range(2):  # the first call compiles
            begun = time.monotonic()
            motion_fit.fit(target, [reference] * 2, np.zeros((5, *target.shape), np.int32), 1.0)
            searching = (time.monotonic() - begun) * n_frames
    left = task.deadline - time.monotonic()
    passes, searches = (1.0, 1) if goal.quality is not None else (SEARCH_WORK, SEARCHES)
    if searches * searching > MOTION_SHARE * left:
        searches = 1
        film.haste = min(max(searching / (MOTION_SHARE * left), 1.01), MOST_HASTE) if left > 0 else MOST_HASTE
    left -= searches * searching / film.haste
    seconds = film.pace.step * work(layers(n_frames, film.config.interval)) * passes
    return max(grid_fit.STEPS_AT_ONCE, min(task.schedule.n_steps, int(left / seconds)))
