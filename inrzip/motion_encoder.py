"""Fits and codes a video of pictures and motion at a tone, layer by layer: what a decoder shows of one layer is what
the next is predicted from.
"""

from __future__ import annotations

import dataclasses

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
from .grid_coding import PRIOR, Plane
from .grid_encoder import Encoder, Result, Stage, hurried
from .grid_fit import State
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
from .network import encode_config
from .segment import Task

TONES = (-40, -20, 0, 10, 20)
"""By how much the first frame, anchors, and each layer between them is coarser: what others are made of must be finer.
"""
BLOCK = 8
MOTION_PRICE = 4.0
"""A bit of motion must save so many times what a bit of a picture saves: what motion leaves will be coded again."""


@dataclasses.dataclass
class FilmEncoder:
    """A video to be coded. `motions`: what the last search found."""

    task: Task
    frames: Float[ndarray, "frames rows columns channels"]
    config: MotionConfig
    job: Job
    motions: Motions = dataclasses.field(default_factory=dict)

    @property
    def hurried(self) -> bool:
        """Whether the user wants to stop, or time is up."""
        return hurried(self.task, self.job)

    def encode(self, stage: Stage) -> Result:
        """Fits and codes all frames. Motion is looked for anew unless the stage only corrects the one before."""
        coding = _Coding(self, stage, reuse=stage.before is not None and (stage.pilot or stage.begin > 0))
        order = layers(len(self.frames), self.config.interval)
        depth = 0
        for layer in order:
            depth = 0 if not layer[0].references else 1 if len(layer[0].references) == 1 else max(depth, 1) + 1
            coding.code(layer, min(max(stage.tone + TONES[min(depth, len(TONES) - 1)], 0), MAX_TONE))
        parts = [encode_motions(order, self.motions), *coding.pictures]
        payload = encode_config(self.config) + b"".join(wire.varint(len(part)) + part for part in parts)
        errors = [np.mean((coding.decoded[i] - frame) ** 2) for i, frame in enumerate(self.frames)]
        return Result(payload, self.task.db(float(np.mean(errors))), coding.fits, stage.tone)


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

    def code(self, layer: Layer, tone: int) -> None:
        """Codes the frames of a layer."""
        guesses = [self._predicted(step, lambda_of(tone)) for step in layer]
        shape = self._film.frames.shape[1:3]
        for i, steps in enumerate(mosaics(layer, shape)):
            first = i * len(list(mosaics(layer, shape))[0])
            self._code_picture(steps, guesses[first : first + len(steps)], tone)

    def _predicted(self, step: Step, price: float) -> Frame:
        """What motion makes of a frame's references, less `MIDDLE`; the motion is noted."""
        film, shape = self._film, self._film.frames.shape[1:3]
        target = film.frames[step.frame]
        if not step.references:
            return np.zeros_like(target)
        references = [self.decoded[reference] for reference in step.references]
        base = base_field(step, self._fields, shape)
        if self._reuse:
            pyramid = film.motions[step.frame]
        else:
            pyramid = self._searched(step, references, base, price)
        field = base * 0 if pyramid is None else field_of(base, pyramid)
        if pyramid is not None:
            made = predicted(field, references)
            if not self._reuse and len(references) == 1 and _unexplained(made - target) > _unexplained(target):
                pyramid, field = None, base * 0
        note_fields(step, field, self._fields)
        film.motions[step.frame] = pyramid
        return np.zeros_like(target) if pyramid is None else made - np.float32(MIDDLE)

    def _searched(self, step: Step, references: list[Frame], base: Field, price: float) -> list[Planes]:
        film = self._film
        seen = [motion_fit.brightness(frame) for frame in (film.frames[step.frame], *references)]
        begin = motion_fit.guess(seen[0], seen[1]) if len(references) == 1 else None
        return motion_fit.fit(seen[0], seen[1:], base, MOTION_PRICE * price, begin)

    def _code_picture(self, steps: Layer, guesses: list[Frame], tone: int) -> None:
        film, stage, number = self._film, self._stage, len(self.pictures)
        height, width, channels = film.frames.shape[1:]
        rest = np.concatenate([film.frames[step.frame] - made for step, made in zip(steps, guesses, strict=True)])
        grid = Grid((len(rest), width), channels)
        groups = channel_groups(channels)
        before = None if stage.before is None else stage.before[number * len(groups) : (number + 1) * len(groups)]
        task = dataclasses.replace(film.task, name=f"{film.task.name}/picture{number}", grid=grid, samples=None)
        planes = [
            Plane(f"{task.name}/plane{i}", Layout(grid.shape), jnp.asarray(np.moveaxis(rest[..., group], -1, 0)))
            for i, group in enumerate(groups)
        ]
        low, high = stage.within
        ends = [low + (high - low) * n / len(film.frames) for n in (self._done, self._done + len(steps))]
        own = dataclasses.replace(stage, tone=tone, before=before, within=(ends[0], ends[1]))
        prior = grid_prior.load(PRIOR)
        if self._before is not None:
            prior = dataclasses.replace(prior, moves=self._before.moves())
        found = Encoder(task, planes, prior, film.job, previewed=False).encode(own)
        picture = read_picture(wire.Cursor(found.payload), grid, self._before)
        values = picture.render((0, len(rest)), (0, width))
        if steps[0].references and _cost(values - rest, found.payload, tone) >= _cost(MIDDLE - rest, b"", tone):
            values, payload = np.full_like(rest, MIDDLE), b""
        else:
            payload = found.payload
            self._before = picture if steps[0].references else None
        for i, (step, made) in enumerate(zip(steps, guesses, strict=True)):
            self.decoded[step.frame] = np.clip(values[i * height : (i + 1) * height] + made, 0, 1)
        self.pictures.append(payload)
        self.fits += found.fits
        self._done += len(steps)


def _cost(error: Frame, payload: bytes, tone: int) -> float:
    """What descends while pictures are fitted: the mean squared error and lambda times bits for a pixel."""
    return float(np.mean(error**2)) + lambda_of(tone) * 8 * len(payload) / (error.shape[0] * error.shape[1])


def _unexplained(frame: Frame) -> float:
    """The squared error of a frame that is flat in each block of `BLOCK` rows and columns: what a few bits make of it."""
    height, width = (n // BLOCK * BLOCK for n in frame.shape[:2])
    if not height or not width:
        return float(np.sum((frame - frame.mean((0, 1))) ** 2))
    blocks = frame[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, -1)
    return float(np.sum((blocks - blocks.mean((1, 3), keepdims=True)) ** 2))
