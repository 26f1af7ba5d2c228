"""Where the scenes of a video begin."""

from __future__ import annotations

import itertools

import numpy as np
from jaxtyping import Float, Shaped

CUT_SHARE, CUT_LOSS = 0.5, 1e-3
"""A scene begins where what came before leaves more than this part of the frames' variance, and more than this error.
"""
CELLS = 12
"""Frames are compared as averages over so many rows of cells, and as many columns: what moves a little stays."""
SUDDEN = 3.0
"""A cut is a step of so many times those beside it: a pan, or a flash of a frame, is none."""
LEAST_FRAMES = 4
"""Of a scene: a network of its own costs more than a few frames are worth."""


def begins_scene(error: float, variance: float) -> bool:
    """Whether frames of that variance begin a scene, if what came before predicts them with that mean squared error, in
    normalised units.
    """
    return error > CUT_SHARE * variance + CUT_LOSS


def scene_lengths(
    samples: Shaped[np.ndarray, "frames height width channels"], low: float, high: float, most: int
) -> tuple[int, ...]:
    """Frames of each scene, in order; `most` scenes at most, those of the greatest changes. Samples go from `low` to
    `high`.
    """
    small = [_averages(frame) / ((high - low) or 1) for frame in samples]
    steps = [float(np.mean((new - old) ** 2)) for old, new in itertools.pairwise(small)]
    cuts = []
    for i, step in enumerate(steps):
        variance = float(np.mean(np.var(small[i + 1], axis=(0, 1))))
        beside = max(steps[max(i - 1, 0) : i] + steps[i + 1 : i + 2], default=0.0)
        if begins_scene(step, variance) and step > SUDDEN * beside:
            cuts.append((step, i + 1))
    bounds = [0, len(samples)]
    for _, cut in sorted(cuts, reverse=True):
        if len(bounds) - 1 < most and all(abs(cut - other) >= LEAST_FRAMES for other in bounds):
            bounds.append(cut)
    return tuple(np.diff(sorted(bounds)).tolist())


def _averages(frame: Shaped[np.ndarray, "height width channels"]) -> Float[np.ndarray, "rows columns channels"]:
    """Means over cells; where there are fewer samples than cells, the samples."""
    means = frame.astype(np.float64)
    for axis in (0, 1):
        edges = np.unique(np.linspace(0, frame.shape[axis], CELLS + 1).astype(int)[:-1])
        counts = np.diff([*edges, frame.shape[axis]]).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        means = np.add.reduceat(means, edges, axis) / counts
    return means
