"""Videos as pictures and motion: frames are made of frames that are known, moved, and latent grids hold the rest.

The grids are those of pictures (`architectures.grid`); that a frame can be predicted from one or two others along
fields of displacements, in the order of a binary tree, is how all codecs of the shops work, and Cool-Chic's for videos
(Leguay et al., "Cool-chic video: learned video coding with 800 parameters", 2024). Files come from
`inrzip.motion_encoder`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import ClassVar, NamedTuple, Protocol, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Axes, Config, Grid, Representation, resample
from .grid import DECODING_BYTES, DECODING_BYTES_PER_PLANE, channel_groups

INTERVAL = 8
"""Frames from one anchor to the next, unless a setting says otherwise."""
MAX_INTERVAL = 64
MAX_FRAMES = 256
"""Of a segment."""
FRAMES = 32
"""Of a segment, unless frames are large: how far a decoder goes at most to show one."""
LEAST_FRAMES, SEGMENT_MEMORY = 9, 1 << 30
"""However large frames are, so many; else, decoding takes at most so many bytes."""
MOST_SAMPLES = 1 << 20
"""Pixels of frames that are coded as one picture, if there are several."""


class Step(NamedTuple):
    """A frame, and the frames that it is predicted from: none, one before it, or one on either side."""

    frame: int
    references: tuple[int, ...]


Layer = tuple[Step, ...]
"""Frames that do not need each other."""


def layers(n_frames: int, interval: int) -> list[Layer]:
    """All frames in coding order: the first, the anchors, each from the one before, and then what lies between two
    known frames, the middle first.
    """
    anchors = [*range(0, n_frames - 1, interval), n_frames - 1]
    found: list[Layer] = [(Step(0, ()),)]
    gaps = list(itertools.pairwise(anchors))
    found += [(Step(end, (start,)),) for start, end in gaps]
    while True:
        gaps = [gap for gap in gaps if gap[1] - gap[0] > 1]
        if not gaps:
            return found
        middles = [(start + end) // 2 for start, end in gaps]
        found.append(tuple(Step(middle, gap) for middle, gap in zip(middles, gaps, strict=True)))
        gaps = [
            part
            for middle, (start, end) in zip(middles, gaps, strict=True)
            for part in ((start, middle), (middle, end))
        ]


def mosaics(layer: Layer, shape: tuple[int, int]) -> Iterator[Layer]:
    """The frames of a layer that are coded as one picture, one below the other."""
    at_once = max(1, MOST_SAMPLES // (shape[0] * shape[1]))
    for i in range(0, len(layer), at_once):
        yield layer[i : i + at_once]


@dataclasses.dataclass(frozen=True)
class MotionConfig(Config):
    """`interval`: frames from one anchor to the next."""

    interval: int

    number: ClassVar[int] = 24

    def build(self, grid: Grid, key: PRNGKeyArray) -> Film:
        raise TypeError("videos of pictures and motion are made by inrzip.motion_encoder and inrzip.motion_payload")

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        return cls(**{"interval": INTERVAL} | settings)

    def check(self, grid: Grid) -> None:
        if len(grid.shape) != 3:
            raise ValueError(f"motion on {len(grid.shape)} axes")
        if not 1 <= self.interval <= MAX_INTERVAL or grid.shape[0] > MAX_FRAMES:
            raise ValueError(f"motion of {grid.shape[0]} frames, anchors {self.interval} apart")

    def n_parameters(self, grid: Grid) -> int:
        """Samples of the finest grids, about: latents are a third more."""
        return math.prod(grid.shape) * len(channel_groups(grid.channels))


def kept_memory(grid: Grid) -> int:
    """What of it stays: frames, motion and latents."""
    n_planes = len(channel_groups(grid.channels))
    return math.prod(grid.shape) * (grid.channels * 4 + 4 * 4 + n_planes * 3)


def decoding_memory(grid: Grid) -> int:
    """Bytes that decoding takes, about."""
    _, height, width = grid.shape
    at_once = max(height * width, min(MOST_SAMPLES, math.prod(grid.shape)))
    n_planes = len(channel_groups(grid.channels))
    return kept_memory(grid) + at_once * (DECODING_BYTES + DECODING_BYTES_PER_PLANE * n_planes)


def frames_of_segment(grid: Grid) -> int:
    """Frames of a long video that are coded together: as many as usual, fewer where they would take much memory."""
    for n_frames in range(FRAMES, LEAST_FRAMES, -1):
        if decoding_memory(Grid((n_frames, *grid.shape[1:]), grid.channels)) <= SEGMENT_MEMORY:
            return n_frames
    return LEAST_FRAMES


class Frames(Protocol):
    """Frames that are decoded as they are looked at."""

    def frame(self, number: int, double: bool = False) -> Float[np.ndarray, "rows columns channels"]:
        """A frame in normalised units; `double`: in double precision."""


class Film(Representation):
    """A decoded video, as other parts of the package see it. Between frames it fades from one to the next."""

    grid: Grid = eqx.field(static=True)
    frames: Frames = eqx.field(static=True)

    def held_bytes(self) -> int:
        return kept_memory(self.grid)

    def predict(self, inputs: Float[Array, "points 3"]) -> Float[Array, "points channels"]:
        places = np.asarray(inputs)
        samples = [self.render(tuple(place[i : i + 1] for i in range(3)))[0, 0, 0] for place in places]
        return jnp.asarray(np.stack(samples))

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        times, rows, columns = axes
        values = np.empty((len(times), len(rows), len(columns), self.grid.channels), np.float32)
        last = self.grid.shape[0] - 1
        for i, time in enumerate(times):
            place = min(max(float(time), 0.0), float(last))
            number = math.floor(place)
            frame = self.frames.frame(number)
            if place > number:
                frame = frame + np.float32(place - number) * (self.frames.frame(number + 1) - frame)
            values[i] = resample(frame, rows, columns)
        return values

    def precise(self) -> Float[np.ndarray, "*grid channels"]:
        return np.stack([self.frames.frame(i, double=True) for i in range(self.grid.shape[0])])
