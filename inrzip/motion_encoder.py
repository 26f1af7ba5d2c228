"""Fits and codes a video of pictures and motion at a tone, layer by layer: what a decoder shows of one layer is what
the next is predicted from.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from inrzip.architectures.base import Grid
from inrzip.architectures.grid import channel_groups
from inrzip.architectures.grid_layout import MAX_TONE
from inrzip.architectures.grid_training import Layout
from inrzip.architectures.motion import Layer, MotionConfig, Step, layers, mosaics
from inrzip.architectures.warping import Frame
from inrzip.codecs.motion import Planes
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import lambda_of

from . import motion_fit, wire
from .configuration import encode_config
from .grid_coding import PRIOR, Plane
from .grid_encoder import Encoder, Result, Stage, hurried
from .grid_fit import LAST_PHASE, STEPS_AT_ONCE, State
from .grid_payload import Picture
from .job import Job
from .motion_payload import (
    MIDDLE,
    Field,
    Motions,
    base_field,
    encode_motions,
    field_of,
    note_fields,
    predicted,
    read_picture,
)
from .segment import Task

TRIAL, HOPELESS = 0.25, 1.2
"""Between anchors, a fit of that part of the steps shows first what a picture would bring: if it costs so many times
what none costs, none is coded.
"""
HURRIED = 8.0
"""By how much searches for motion are shorter once time is up."""
BLOCK = 8
"""Rows and columns of what counts as one colour, when a frame and what motion leaves of it are compared."""
MOTION_PRICE = 4.0
"""A bit of motion must save so many times what a bit of a picture saves: what motion leaves will be coded again."""


@dataclasses.dataclass
class Pace:
    """Seconds that a frame takes in a pass over a video: for each step of its picture, and besides (motion, compiling,
    coding), as the last pass shows.
    """

    step: float
    besides: float = 0.0

    def steps(self, seconds: float, frames: int, work: float) -> float:
        """For which multiple of `work`, frames times steps, there is time."""
        return (seconds - frames * self.besides) / (self.step * work)


@dataclasses.dataclass
class FilmEncoder:
    """A video to be coded. `motions`: what the last search found; `haste`: by how much searches are shorter; `pace`:
    how long steps take, where time is limited.
    """

    task: Task
    frames: Float[ndarray, "frames rows columns channels"]
    config: MotionConfig
    job: Job
    motions: Motions = dataclasses.field(default_factory=dict)
    haste: float = 1.0
    pace: Pace | None = None

    @property
    def hurried(self) -> bool:
        """Whether the user wants to stop, or time is up."""
        return hurried(self.task, self.job)

    def encode(self, stage: Stage) -> Result:
        """Fits and codes all frames. Motion is looked for anew unless the stage only corrects the one before."""
        if self._short(stage):
            stage = dataclasses.replace(stage, pilot=True)
        coding = _Coding(self, stage, reuse=self._known(stage))
        order = layers(len(self.frames), self.config.interval)
        for layer, depth in zip(order, depths(order), strict=True):
            coding.code(layer, depth)
        parts = [encode_motions(order, self.motions), *coding.pictures]
        payload = encode_config(self.config) + b"".join(wire.varint(len(part)) + part for part in parts)
        errors = [np.mean((coding.decoded[i] - frame) ** 2) for i, frame in enumerate(self.frames)]
        return Result(payload, self.task.db(float(np.mean(errors))), coding.fits, stage.tone)

    def _short(self, stage: Stage) -> bool:
        """Whether a pass like the last one would not be done in time, however few steps it took."""
        if self.pace is None or stage.until is None:
            return False
        return self.pace.besides * len(self.frames) > stage.until - time.monotonic()

    def _known(self, stage: Stage) -> bool:
        """Whether motion need not be looked for anew: where a stage corrects the one before, or time is short."""
        return stage.before is not None and (stage.pilot or stage.begin > 0 or self.haste > 1)


class _Depth(NamedTuple):
    """How pictures of a layer differ from others: by how many tones they are coarser, and the part of the usual steps
    that they get.
    """

    tones: int
    steps: float


DEPTHS = (_Depth(-40, 4.0), _Depth(-20, 2.0), _Depth(0, 1.0), _Depth(10, 0.7), _Depth(20, 0.5))
"""The first frame, anchors, and each layer between them: what others are made of must be finer."""


def depths(order: Sequence[Layer]) -> list[_Depth]:
    """How the pictures of each layer are coded."""
    found, number = [], 0
    for layer in order:
        number = 0 if not layer[0].references else 1 if len(layer[0].references) == 1 else max(number, 1) + 1
        found.append(DEPTHS[min(number, len(DEPTHS) - 1)])
    return found


def work(order: Sequence[Layer]) -> float:
    """Steps of all frames together, in those of a picture, with trials and what settles."""
    return sum(map(_layer_work, order, depths(order)))


def _layer_work(layer: Layer, depth: _Depth) -> float:
    return len(layer) * depth.steps * (1 + LAST_PHASE + (TRIAL if len(layer[0].references) == 2 else 0))


class _Picture(NamedTuple):
    """A coded picture, what it shows, and what that costs."""

    payload: bytes
    picture: Picture | None
    values: Frame
    cost: float


class _Coding:
    """One pass over a video: what is decoded of it so far, and what was coded."""

    def __init__(self, film: FilmEncoder, stage: Stage, reuse: bool) -> None:
        self._film, self._stage, self._reuse = film, stage, reuse
        self.decoded: dict[int, Frame] = {}
        self.pictures: list[bytes] = []
        self.fits: list[State] = []
        self._fields: dict[tuple[int, int], Field] = {}
        self._before: Picture | None = None
        self._done = 0
        self._begun, self._stepped = time.monotonic(), 0.0
        self._work_left = work(layers(len(film.frames), film.config.interval))

    def code(self, layer: Layer, depth: _Depth) -> None:
        """Codes the frames of a layer."""
        stage, film = self._stage, self._film
        tone = min(max(stage.tone + depth.tones, 0), MAX_TONE)
        guesses = {step.frame: self._predicted(step, lambda_of(tone)) for step in layer}
        low, high = stage.within
        for steps in mosaics(layer, film.frames.shape[1:3]):
            n_steps = max(STEPS_AT_ONCE, round(depth.steps * stage.n_steps * self._part_of_steps()))
            within = [low + (high - low) * n / len(film.frames) for n in (self._done, self._done + len(steps))]
            own = dataclasses.replace(stage, tone=tone, n_steps=n_steps, within=(within[0], within[1]))
            rest = np.concatenate([film.frames[step.frame] - guesses[step.frame] for step in steps])
            found = self._coded(own, rest, steps)
            for step, values in zip(steps, np.split(found.values, len(steps)), strict=True):
                self.decoded[step.frame] = np.clip(values + guesses[step.frame], 0, 1)
            self.pictures.append(found.payload)
            self._done += len(steps)
            self._note_pace(steps, depth, n_steps)

    def _part_of_steps(self) -> float:
        """How many of the steps that were planned there is time for, from 0 to 1."""
        film, stage = self._film, self._stage
        if film.pace is None or stage.until is None:
            return 1.0
        left = stage.until - time.monotonic()
        planned = self._work_left * stage.n_steps
        return min(max(film.pace.steps(left, len(film.frames) - self._done, planned), 0.0), 1.0)

    def _note_pace(self, steps: Layer, depth: _Depth, n_steps: int) -> None:
        """Learns from a picture that is done how long those to come will take."""
        self._work_left -= _layer_work(steps, depth)
        self._stepped += _layer_work(steps, depth) / depth.steps * n_steps
        pace = self._film.pace
        if pace is not None:
            seconds = time.monotonic() - self._begun
            pace.besides = max(0.0, seconds - pace.step * self._stepped) / self._done

    def _predicted(self, step: Step, price: float) -> Frame:
        """What motion makes of a frame's references, less `MIDDLE`; the motion is noted."""
        film, shape = self._film, self._film.frames.shape[1:3]
        target = film.frames[step.frame]
        if not step.references:
            return np.zeros_like(target)
        references = [self.decoded[reference] for reference in step.references]
        base = base_field(step, self._fields, shape)
        known = film.motions[step.frame] if self._reuse else self._searched(step, references, base, price)
        made = None if known is None else predicted(field_of(base, known), references)
        if made is not None and len(references) == 1 and _unexplained(made - target) > _unexplained(target):
            known, made = None, None
        note_fields(step, base * 0 if known is None else field_of(base, known), self._fields)
        film.motions[step.frame] = known
        return np.zeros_like(target) if made is None else made - np.float32(MIDDLE)

    def _searched(self, step: Step, references: list[Frame], base: Field, price: float) -> list[Planes]:
        film, (low, high) = self._film, self._stage.within
        done = low + (high - low) * self._done / len(film.frames)
        film.job.tell("fitting", done, f"motion of frame {step.frame + 1}/{len(film.frames)}")
        haste = max(film.haste, HURRIED) if film.hurried else film.haste
        seen = [motion_fit.brightness(frame) for frame in (film.frames[step.frame], *references)]
        guessed = len(references) == 1 or haste == 1
        begin = motion_fit.guess(seen[0], seen[1:], base) if guessed else None
        return motion_fit.fit(seen[0], seen[1:], base, MOTION_PRICE * price, begin, haste)

    def _coded(self, stage: Stage, rest: Frame, steps: Layer) -> _Picture:
        """A picture of what motion leaves of frames; none, if that is cheaper."""
        encoder = self._encoder(rest)
        planes = len(encoder.planes)
        if stage.before is not None:
            first = len(self.pictures) * planes
            stage = dataclasses.replace(stage, before=stage.before[first : first + planes])
        nothing = _Picture(b"", self._before, np.full_like(rest, MIDDLE), _cost(MIDDLE - rest, b"", stage.tone))
        found = None
        n_trial = round(TRIAL * stage.n_steps)
        if len(steps[0].references) == 2 and stage.before is None and n_trial >= STEPS_AT_ONCE:
            trial = dataclasses.replace(stage, name=f"{stage.name}/trial", n_steps=n_trial, pilot=True)
            fits, found = self._encoded(encoder, trial, rest)
        if found is None or found.cost < HOPELESS * nothing.cost:
            fits, found = self._encoded(encoder, stage, rest)
        self.fits += fits
        if not steps[0].references:
            return found
        best = min(found, nothing, key=lambda picture: picture.cost)
        self._before = best.picture
        return best

    def _encoder(self, rest: Frame) -> Encoder:
        film, (height, width, channels) = self._film, rest.shape
        name = f"{film.task.name}/picture{len(self.pictures)}"
        task = dataclasses.replace(film.task, name=name, grid=Grid((height, width), channels), samples=None)
        planes = [
            Plane(f"{name}/plane{i}", Layout((height, width)), jnp.asarray(np.moveaxis(rest[..., group], -1, 0)))
            for i, group in enumerate(channel_groups(channels))
        ]
        moves = {} if self._before is None else self._before.moves()
        prior = dataclasses.replace(grid_prior.load(PRIOR), moves=moves)
        return Encoder(task, planes, prior, film.job, previewed=False)

    def _encoded(self, encoder: Encoder, stage: Stage, rest: Frame) -> tuple[list[State], _Picture]:
        found = encoder.encode(stage)
        picture = read_picture(wire.Cursor(found.payload), encoder.task.grid, self._before)
        values = picture.render((0, rest.shape[0]), (0, rest.shape[1]))
        return found.fits, _Picture(found.payload, picture, values, _cost(values - rest, found.payload, stage.tone))


def _cost(error: Frame, payload: bytes, tone: int) -> float:
    """What descends while pictures are fitted: the mean squared error and lambda times bits for a pixel."""
    bits_per_pixel = 8 * len(payload) / (error.shape[0] * error.shape[1])
    return float(np.mean(error**2) + lambda_of(tone) * bits_per_pixel)


def _unexplained(frame: Frame) -> float:
    """The squared error of a frame that is flat in each block of `BLOCK` rows and columns: what few bits make of it."""
    height, width = (n // BLOCK * BLOCK for n in frame.shape[:2])
    if not height or not width:
        return float(np.sum((frame - frame.mean((0, 1))) ** 2))
    blocks = frame[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, -1)
    return float(np.sum((blocks - blocks.mean((1, 3), keepdims=True)) ** 2))
