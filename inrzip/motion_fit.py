"""How frames moved: fields of displacements, fitted to what they predict and to what they cost.

A field is a pyramid of planes (`architectures.warping`). All its levels descend together on the squared error plus
lambda times what the numbers cost, about; then they are rounded one after the other, coarse ones first, while finer
ones go on.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from skimage.registration import optical_flow_tvl1

from inrzip.architectures.warping import FRACTIONS, SPACINGS, Plane, moved_with_slopes, node_shape, spreading
from inrzip.codecs.motion import Planes

from .motion_payload import PER_PIXEL, PER_UNIT_OF_MIX, Field

STEPS, REFINING = 50, 8
"""Steps of the first descent, and of each that follows when a level was rounded. (40 at half the resolution and 20 more
are quicker by a fourth, and not as good: docs/design.md.)
"""
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
FLOW_PIXELS = 50_000
"""Larger frames are halved before their flow is guessed: three times quicker, and fits end as well."""
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


def guess(target: Plane, references: Sequence[Plane], base: Field) -> list[Float[ndarray, "planes rows columns"]]:
    """A pyramid to begin with, to be added to `base`: from the optical flow to each reference, and an even mix.
    Displacements of more than some pixels are found by this alone.
    """
    flow = np.concatenate([_flow(target, reference) for reference in references]) - base[: 2 * len(references)] / (
        FRACTIONS // PER_PIXEL
    )
    pyramid = []
    for spacing in SPACINGS:
        rows, columns = (spreading(n, spacing) for n in target.shape)
        nodes = np.linalg.pinv(rows) @ flow @ np.linalg.pinv(columns).T
        flow = flow - rows @ nodes @ columns.T
        mix = np.zeros((len(base) % 2, *nodes.shape[1:]))
        pyramid.append(np.concatenate([nodes, mix]).astype(np.float32))
    return pyramid


def _flow(target: Plane, reference: Plane) -> Float[ndarray, "2 rows columns"]:
    """Optical flow (Zach, Pock and Bischof, "A duality based approach for realtime TV-L1 optical flow", 2007), in the
    unit of coded displacements.
    """
    halvings, shape = 0, target.shape
    while target.size > FLOW_PIXELS:
        target, reference, halvings = _halved(target), _halved(reference), halvings + 1
    flow = np.zeros((2, *target.shape))
    if min(target.shape) >= LEAST_SIDE:
        flow = optical_flow_tvl1(target, reference, attachment=FLOW_ATTACHMENT)  # type: ignore[no-untyped-call]
    flow = np.stack([np.repeat(np.repeat(f, 2**halvings, 0), 2**halvings, 1) for f in flow])
    return np.asarray(flow[:, : shape[0], : shape[1]] * (2**halvings * PER_PIXEL))


def _halved(plane: Plane) -> Plane:
    height, width = (n + n % 2 for n in plane.shape)
    even = np.pad(plane, [(0, height - plane.shape[0]), (0, width - plane.shape[1])], mode="edge")
    halved: Plane = even.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
    return halved


def fit(
    target: Plane,
    references: Sequence[Plane],
    base: Field,
    price: float,
    begin: Sequence[ndarray] | None = None,
    haste: float = 1.0,
) -> list[Planes]:
    """The motion of a frame from one or two others: a pyramid of whole numbers, added to `base`, from `begin` on.
    `price`: of a bit, in squared error of brightness. `haste`: by how many times fewer steps are done.
    """
    height, width = target.shape
    if begin is None:
        begin = [np.zeros((len(base), *node_shape((height, width), spacing))) for spacing in SPACINGS]
    levels = [np.array(planes, np.float32) for planes in begin]
    view = _View(target, list(references), base.astype(np.float32) / FRACTIONS)
    steps, refining = (max(1, round(n / haste)) for n in (STEPS, REFINING))
    free = range(len(levels))
    _descend(view, levels, price, free, steps, PEAK)
    for i in free:
        levels[i] = np.round(levels[i])
        if i + 1 < len(levels):
            _descend(view, levels, price, range(i + 1, len(levels)), refining, PEAK_REFINING)
    return [planes.astype(np.int64) for planes in levels]


@dataclasses.dataclass(frozen=True)
class _View:
    """A frame, its references, and what is known of its field: displacements in pixels, and the mix."""

    target: Plane
    references: list[Plane]
    base: Float[ndarray, "planes rows columns"]

    @functools.cached_property
    def spreads(self) -> list[tuple[ndarray, ndarray]]:
        """What each node gives to each row and to each column, for each level."""
        height, width = self.target.shape
        return [
            (spreading(height, spacing).astype(np.float32), spreading(width, spacing).astype(np.float32))
            for spacing in SPACINGS
        ]

    @functools.cached_property
    def units(self) -> Float[ndarray, "planes 1 1"]:
        """What a coded 1 adds to each plane of the field."""
        moving = [1 / PER_PIXEL] * (2 * len(self.references))
        units = np.array(moving + [1 / PER_UNIT_OF_MIX] * (len(self.base) % 2), np.float32)
        return units[:, None, None]

    def slopes(self, levels: Sequence[ndarray]) -> Float[ndarray, "planes rows columns"]:
        """The derivatives of the squared error by the field that `levels` make."""
        field = self.base.copy()
        for planes, (rows, columns) in zip(levels, self.spreads, strict=True):
            field += (rows @ planes @ columns.T) * self.units
        seen = [moved_with_slopes(r, field[2 * i : 2 * i + 2]) for i, r in enumerate(self.references)]
        if len(seen) == 1:
            return np.asarray(2 * (seen[0][0] - self.target) * seen[0][1:])
        mix = np.clip(field[4], 0, 1)
        error = seen[0][0] + mix * (seen[1][0] - seen[0][0]) - self.target
        parts = [(1 - mix) * seen[0][1:], mix * seen[1][1:], (seen[1][0] - seen[0][0])[None]]
        return np.asarray(2 * error * np.concatenate(parts))


def _descend(view: _View, levels: list[ndarray], price: float, free: range, n_steps: int, peak: float) -> None:
    """Changes the `free` levels by Adam (Kingma and Ba, 2015), at a rate that falls."""
    paces = np.ones_like(view.units)
    paces[2 * len(view.references) :] = PEAK_OF_MIXES
    moments = {i: (np.zeros_like(levels[i]), np.zeros_like(levels[i])) for i in free}
    for step in range(n_steps):
        rate = peak * (0.5 * (1 + math.cos(math.pi * step / n_steps)) + SLOWEST)
        by_field = view.slopes(levels) * view.units
        for i in free:
            rows, columns = view.spreads[i]
            planes, (first, second) = levels[i], moments[i]
            slope = BITS_PER_OCTAVE / math.log(2) * 2 / (1 + 2 * np.abs(planes)) * np.tanh(SHARPNESS * planes)
            by_nodes = rows.T @ by_field @ columns + price * slope
            first += (1 - DECAYS[0]) * (by_nodes - first)
            second += (1 - DECAYS[1]) * (by_nodes**2 - second)
            mean, square = (m / (1 - d ** (step + 1)) for m, d in zip((first, second), DECAYS, strict=True))
            planes -= rate * paces * mean / (np.sqrt(square) + TINY)
