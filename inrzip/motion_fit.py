"""How frames moved: fields of displacements, fitted to what they predict and to what they cost.

A field is a pyramid of planes (`architectures.warping`). All its levels descend together on the squared error plus
lambda times what the numbers cost, about; then they are rounded one after the other, coarse ones first, while finer
ones go on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from skimage.registration import optical_flow_tvl1

from inrzip.architectures.warping import FRACTIONS, SPACINGS, Plane, moved_with_slopes, node_shape, spreading
from inrzip.codecs.motion import Planes

from .motion_payload import PER_PIXEL, PER_UNIT_OF_MIX

STEPS, REFINING = 50, 8
"""Steps of the first descent, and of each that follows when a level was rounded."""
PEAK, PEAK_REFINING, PEAK_OF_MIXES = 1.0, 0.35, 0.6
"""Of the learning rate, in steps of the coded numbers; that of mixes is a part of it."""
SLOWEST = 0.02
"""Where the rate ends, as a part of its peak."""
DECAYS = 0.8, 0.95
TINY = 1e-5
BITS_PER_OCTAVE = 1.5
"""What a number costs, about, for each doubling of 1 + twice its magnitude."""
SHARPNESS = 3.0
"""How suddenly that begins at zero."""
FLOW_PIXELS = 150_000
"""Larger frames are halved before their flow is guessed."""
FLOW_ATTACHMENT = 15.0
LEAST_SIDE = 16
"""Smaller frames begin without one."""
LUMA = (0.3, 0.5, 0.2)
"""What brightness is made of, where there are three channels or more."""


def brightness(frame: Float[ndarray, "rows columns channels"]) -> Plane:
    """What motion is looked for in."""
    mixed: Plane = np.ascontiguousarray(
        frame[..., :3] @ np.array(LUMA, np.float32) if frame.shape[2] >= 3 else frame[..., 0], np.float32
    )
    return mixed


def guess(target: Plane, reference: Plane) -> list[Float[ndarray, "planes rows columns"]]:
    """A pyramid to begin with, from optical flow (Zach, Pock and Bischof, "A duality based approach for realtime TV-L1
    optical flow", 2007).
    """
    halvings, shape = 0, target.shape
    while target.size > FLOW_PIXELS:
        target, reference, halvings = _halved(target), _halved(reference), halvings + 1
    flow = np.zeros((2, *target.shape))
    if min(target.shape) >= LEAST_SIDE:
        flow = optical_flow_tvl1(target, reference, attachment=FLOW_ATTACHMENT)  # type: ignore[no-untyped-call]
    flow = np.stack([np.repeat(np.repeat(f, 2**halvings, 0), 2**halvings, 1) for f in flow])
    flow = flow[:, : shape[0], : shape[1]] * (2**halvings * PER_PIXEL)
    pyramid = []
    for spacing in SPACINGS:
        rows, columns = (spreading(n, spacing) for n in shape)
        nodes = np.linalg.pinv(rows) @ flow @ np.linalg.pinv(columns).T
        flow = flow - rows @ nodes @ columns.T
        pyramid.append(nodes.astype(np.float32))
    return pyramid


def _halved(plane: Plane) -> Plane:
    height, width = (n + n % 2 for n in plane.shape)
    even = np.pad(plane, [(0, height - plane.shape[0]), (0, width - plane.shape[1])], mode="edge")
    halved: Plane = even.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    return halved


def fit(
    target: Plane,
    references: Sequence[Plane],
    base: Int[ndarray, "planes rows columns"],
    price: float,
    begin: Sequence[ndarray] | None = None,
) -> list[Planes]:
    """The motion of a frame from one or two others: a pyramid of whole numbers, added to `base` (in 1/`FRACTIONS`:
    displacements, then the mix), from `begin` on. `price`: of a bit, in squared error of brightness.
    """
    height, width = target.shape
    spreads = [
        (spreading(height, spacing).astype(np.float32), spreading(width, spacing).astype(np.float32))
        for spacing in SPACINGS
    ]
    n_planes = len(base)
    if begin is None:
        begin = [np.zeros((n_planes, *node_shape((height, width), spacing))) for spacing in SPACINGS]
    levels = [np.array(planes, np.float32) for planes in begin]
    units = np.array([1 / PER_PIXEL] * (2 * len(references)) + [1 / PER_UNIT_OF_MIX] * (n_planes % 2), np.float32)
    paces = np.array([1.0] * (2 * len(references)) + [PEAK_OF_MIXES] * (n_planes % 2), np.float32)[:, None, None]
    start = base.astype(np.float32) / FRACTIONS

    def gradients() -> Float[ndarray, "planes rows columns"]:
        field = start.copy()
        for planes, (rows, columns) in zip(levels, spreads, strict=True):
            field += (rows @ planes @ columns.T) * units[:, None, None]
        seen = [moved_with_slopes(reference, field[2 * i : 2 * i + 2]) for i, reference in enumerate(references)]
        if len(seen) == 1:
            return np.asarray(2 * (seen[0][0] - target) * seen[0][1:])
        mix = np.clip(field[4], 0, 1)
        error = seen[0][0] + mix * (seen[1][0] - seen[0][0]) - target
        parts = [(1 - mix) * seen[0][1:], mix * seen[1][1:], (seen[1][0] - seen[0][0])[None]]
        return np.asarray(2 * error * np.concatenate(parts))

    def descend(free: range, n_steps: int, peak: float) -> None:
        moments = {i: (np.zeros_like(levels[i]), np.zeros_like(levels[i])) for i in free}
        for step in range(n_steps):
            rate = peak * (0.5 * (1 + math.cos(math.pi * step / n_steps)) + SLOWEST)
            by_field = (gradients() * units[:, None, None]).astype(np.float32)
            for i in free:
                rows, columns = spreads[i]
                planes, (first, second) = levels[i], moments[i]
                slope = BITS_PER_OCTAVE / math.log(2) * 2 / (1 + 2 * np.abs(planes)) * np.tanh(SHARPNESS * planes)
                by_nodes = rows.T @ by_field @ columns + price * slope
                first += (1 - DECAYS[0]) * (by_nodes - first)
                second += (1 - DECAYS[1]) * (by_nodes**2 - second)
                mean, square = (m / (1 - d ** (step + 1)) for m, d in zip((first, second), DECAYS, strict=True))
                planes -= rate * paces * mean / (np.sqrt(square) + TINY)

    descend(range(len(levels)), STEPS, PEAK)
    for i in range(len(levels)):
        levels[i] = np.round(levels[i])
        descend(range(i + 1, len(levels)), REFINING if i + 1 < len(levels) else 0, PEAK_REFINING)
    return [planes.astype(np.int64) for planes in levels]
