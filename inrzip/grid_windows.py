"""Fits of large pictures, a window at a time, so that memory stays bounded and no seams show.

The networks are fitted to a sample of the picture first. Then windows of rows are fitted one after the other with these
networks: each sees some rows of the one above, whose latents are final, and some of the one below, whose latents are
thrown away. Latents so belong to one picture, and nothing tells where a window ended.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from inrzip.architectures.grid_layout import LEVELS, places
from inrzip.architectures.grid_training import Layout

AT_ONCE = 4_000_000
"""Pictures of more pixels are fitted in windows of about so many."""
ALIGNMENT = 1 << (LEVELS - 1)
"""Windows begin where latents of all levels do."""
BESIDE = 64
"""Rows of its neighbours that a window sees, a multiple of `ALIGNMENT`."""
SAMPLES, SAMPLE_SIDE = 4, 256
"""A sample are so many rows and columns of squares from all over the picture."""
SAMPLE_LONGER = 2
"""Networks take so many times the steps of latents: a sample is small."""


@dataclasses.dataclass(frozen=True)
class Window:
    """Rows of a picture: `own` are those that it is fitted for, `seen` those that it is fitted to. Both are the first
    row and the one after the last.
    """

    own: tuple[int, int]
    seen: tuple[int, int]

    def parts(self, grid: tuple[int, int], which: tuple[int, int], level: int) -> tuple[slice, slice]:
        """Of rows `which`, those of a level's grid of that size: in the whole picture's grid, and in the window's."""
        first, last = which[0] >> level, min(-(-which[1] >> level), grid[0])
        offset = self.seen[0] >> level
        return slice(first, last), slice(first - offset, last - offset)


def is_large(shape: tuple[int, int]) -> bool:
    """Whether a picture is fitted in windows."""
    return shape[0] * shape[1] > AT_ONCE and shape[0] > ALIGNMENT


def windows(shape: tuple[int, int]) -> list[Window]:
    """The windows of a picture, from the top."""
    height, width = shape
    rows = max(ALIGNMENT, (AT_ONCE // width - 2 * BESIDE) // ALIGNMENT * ALIGNMENT)
    return [
        Window((top, min(top + rows, height)), (max(top - BESIDE, 0), min(top + rows + BESIDE, height)))
        for top in range(0, height, rows)
    ]


def work(shape: tuple[int, int]) -> int:
    """The pixels that a step of all windows, and the steps of the sample that go with it, see."""
    seen = sum(window.seen[1] - window.seen[0] for window in windows(shape)) * shape[1]
    return seen + SAMPLE_LONGER * SAMPLES**2 * math.prod(min(SAMPLE_SIDE, n) for n in shape)


def sample(target: Float[ndarray, "channels rows columns"]) -> Float[ndarray, "channels rows columns"]:
    """Squares from all over a picture, put together."""
    side = [min(SAMPLE_SIDE, n) for n in target.shape[1:]]
    tops, lefts = (
        np.linspace(0, n - s, SAMPLES).astype(int).tolist() for n, s in zip(target.shape[1:], side, strict=True)
    )
    rows = [
        np.concatenate([target[:, top : top + side[0], left : left + side[1]] for left in lefts], 2) for top in tops
    ]
    return np.ascontiguousarray(np.concatenate(rows, 1))


def cut(layout: Layout, whole: Any, window: Window, part: Layout) -> Float[ndarray, "rows columns"]:
    """The atlas of a window, out of that of the whole picture."""
    atlas = np.zeros((part.rows, part.columns), np.float32)
    _copy(layout, np.asarray(whole), window, part, atlas, window.seen, into_part=True)
    return atlas


def paste(layout: Layout, whole: ndarray, window: Window, part: Layout, atlas: Any) -> None:
    """Puts what a window owns into the atlas of the whole picture."""
    _copy(layout, whole, window, part, np.asarray(atlas), window.own, into_part=False)


def free(window: Window, part: Layout) -> Float[ndarray, "rows columns"]:
    """1 for latents of a window that may change, 0 for those that are final."""
    mask = np.ones((part.rows, part.columns), np.float32)
    for place, grid in zip(part.places, part.split(mask), strict=True):
        grid[: (window.own[0] - window.seen[0]) >> place.level] = 0
    return mask


def _copy(
    layout: Layout, whole: ndarray, window: Window, part: Layout, atlas: ndarray, rows: tuple[int, int], into_part: bool
) -> None:
    for place, grid, own in zip(places(layout.shape), layout.split(whole), part.split(atlas), strict=True):
        there, here = window.parts(place.shape, rows, place.level)
        if into_part:
            own[here] = grid[there]
        else:
            grid[there] = own[here]
