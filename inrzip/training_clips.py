"""Short clips to learn a prior of videos from: cut out of videos, or made of pictures that a camera moves over.

Videos that anyone may learn from are rare, photographs are not. What a camera sees of them has the statistics of
pictures, of motion that is one for all pixels, and of edges behind which something else moves; nothing in it bends,
and light stays as it is.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import ndimage

STILL_SHARE, MEAN_SPEED, MOST_SPEED = 0.3, 0.6, 3.0
"""The part of cameras that do not move; how fast others do, in pixels a frame, falling exponentially."""
ZOOM_SHARE, ZOOM = 0.3, 0.01
"""The part that come nearer or go back, by about so much a frame."""
COVERED_SHARE = 0.3
"""The part in which one thing moves before another."""
LEAST_SCALE = 1.0
ORDER = 1
"""Of the interpolation: pictures are at least as large as what is made of them."""
TRIES = 20


def clip(video: Float[ndarray, "frames h w c"], side: int, rng: np.random.Generator) -> Float[ndarray, "points c"]:
    """A cube of `side` frames and as many rows and columns, (side^3, channels): of a video at a random place and scale,
    of a picture (one frame) what a camera sees.
    """
    found = filmed(video[0], side, rng) if len(video) == 1 else _cut(video, side, rng)
    found = found[:, :, ::-1] if rng.integers(2) else found
    found = found[::-1] if rng.integers(2) else found
    return np.ascontiguousarray(found, np.float32).reshape(side**3, -1)


def _cut(video: Float[ndarray, "frames h w c"], side: int, rng: np.random.Generator) -> Float[ndarray, "f h w c"]:
    largest = min(video.shape[1:3]) // side
    factor = int(np.exp(rng.uniform(0, np.log(largest + 0.999))))
    first = int(rng.integers(len(video) - side + 1))
    top, left = (int(rng.integers(n - side * factor + 1)) for n in video.shape[1:3])
    part = video[first : first + side, top : top + side * factor, left : left + side * factor]
    small: ndarray = part.reshape(side, side, factor, side, factor, -1).mean((2, 4), dtype=np.float32)
    return small


def filmed(picture: Float[ndarray, "h w c"], side: int, rng: np.random.Generator) -> Float[ndarray, "f h w c"]:
    """What a camera sees that moves over a picture; at times another part of the picture moves before it."""
    behind = _panned(picture, side, rng)
    if rng.random() >= COVERED_SHARE:
        return behind
    before = _panned(picture, side, rng)
    angle, speed, where = rng.uniform(0, 2 * np.pi), _speed(rng), rng.uniform(-side / 3, side / 3)
    at, middle = np.arange(side), (side - 1) / 2
    frames, rows, columns = np.meshgrid(at, at, at, indexing="ij")
    beyond = (rows - middle) * np.sin(angle) + (columns - middle) * np.cos(angle) - where - speed * (frames - middle)
    covered = np.clip(beyond + 0.5, 0, 1)[..., None]
    return np.asarray(behind * (1 - covered) + before * covered)


def _speed(rng: np.random.Generator) -> float:
    return 0.0 if rng.random() < STILL_SHARE else min(float(rng.exponential(MEAN_SPEED)), MOST_SPEED)


def _panned(picture: Float[ndarray, "h w c"], side: int, rng: np.random.Generator) -> Float[ndarray, "f h w c"]:
    """A window of a random scale that moves evenly, and becomes larger or smaller."""
    times = np.arange(side) - (side - 1) / 2
    for _ in range(TRIES):
        angle, speed = rng.uniform(0, 2 * np.pi), _speed(rng)
        zoom = np.exp(times * (rng.normal(0, ZOOM) if rng.random() < ZOOM_SHARE else 0.0))
        reach = side / 2 * zoom.max() + speed * side / 2 + 1  # from the middle, in pixels of the clip
        largest = min(picture.shape[:2]) / (2 * reach)
        if largest >= LEAST_SCALE:
            break
    else:
        speed, zoom, reach, largest = 0.0, np.ones(side), side / 2, max(min(picture.shape[:2]) / side, LEAST_SCALE)
    scale = float(np.exp(rng.uniform(np.log(LEAST_SCALE), np.log(largest))))
    middles = [rng.uniform(reach * scale, max(n - reach * scale, reach * scale)) for n in picture.shape[:2]]
    spread = np.arange(side) - (side - 1) / 2
    moved = [speed * scale * times * step for step in (np.sin(angle), np.cos(angle))]
    # Means of whole numbers of pixels first: where the window is much smaller than what it shows, pixels between would
    # be left out.
    factor = int(scale)
    far = int(np.ceil(reach * scale)) + factor
    top, left = (max(int(middle) - far, 0) for middle in middles)
    part = picture[top : int(middles[0]) + far + 1, left : int(middles[1]) + far + 1]
    part = part[: len(part) // factor * factor, : part.shape[1] // factor * factor]
    part = part.astype(np.float32)
    small = part.reshape(len(part) // factor, factor, part.shape[1] // factor, factor, -1).mean((1, 3))
    frames = []
    for i in range(side):
        axes = [
            (middle + way[i] + spread * scale * zoom[i] - first) / factor - 0.5
            for middle, way, first in zip(middles, moved, (top, left), strict=True)
        ]
        where = np.meshgrid(*axes, indexing="ij")
        channels = [
            ndimage.map_coordinates(small[..., c], where, order=ORDER, mode="nearest") for c in range(small.shape[-1])
        ]
        frames.append(np.stack(channels, -1))
    return np.stack(frames)
