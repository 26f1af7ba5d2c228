"""Where the probability model of exact samples looks: neighbours that a decoder knows already, as offsets.

Samples lie in planes, one for each channel, each an array of (slices, rows, columns) with borders, all in one array
without axes. So a neighbour is a number that is added to a place. Sounds have one row, images one slice.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Int
from numpy import ndarray

Offset = tuple[int, int, int]
"""Slices, rows and columns from a sample to its neighbour."""

NEVER = 63
EARLIER_PLANES, EARLIER_LINES = 2, 1
"""Of the planes before, so many are looked at, or in sounds so many."""

PLANE_OWN: tuple[Offset, ...] = tuple(
    (0, y, x)
    for y, x in (
        (0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, 2), (-1, -2), (-2, -1), (-2, 1), (-2, 2), (-2, -2),
        (0, -3), (-3, 0), (-1, 3), (-1, -3), (-3, 1), (-3, -1),
    )
)  # fmt: skip
PLANE_AROUND: tuple[Offset, ...] = tuple(
    (0, y, x)
    for y, x in (
        (0, 0), (0, -1), (-1, 0), (0, 1), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1), (0, 2), (2, 0), (0, -2), (-2, 0),
    )
)  # fmt: skip
LINE_OWN: tuple[Offset, ...] = tuple((0, 0, -k) for k in range(1, 33))
LINE_AROUND: tuple[Offset, ...] = tuple((0, 0, x) for x in (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, -6, -7, -8))


def earlier_planes(plane: int, rank: int) -> int:
    """Planes before that one that are looked at, in signals of so many axes."""
    return min(plane, EARLIER_LINES if rank == 1 else EARLIER_PLANES)


def behind(offsets: tuple[Offset, ...]) -> tuple[Offset, ...]:
    """The same places one slice before."""
    return tuple((-1, y, x) for _, y, x in offsets)


@dataclasses.dataclass(frozen=True)
class Regression:
    """One linear predictor: how many neighbours of each sort it weighs, how soon it forgets, and how often it weighs
    anew. From one sample to the next it keeps 1 - 2^-drop + 2^-back of what it remembers (back 63: 1 - 2^-drop). With
    `down`, it does so from one row to the next, too, in each column; else rows follow each other.
    """

    own: int
    around: int
    behind: int
    drop: int
    back: int
    down: bool
    every: int


@dataclasses.dataclass(frozen=True)
class Neighbourhood:
    """What is looked at for signals of one, two or three axes. `centre`: neighbours whose mean is taken from those that
    are weighed; none: of each, the one before it is. `ridge`, in 2^-`ridge_bits` of the squared range of samples, is
    added to the square of each: how much a weight of 0 is preferred.
    """

    own: tuple[Offset, ...]
    around: tuple[Offset, ...]
    behind: tuple[Offset, ...]
    centre: tuple[Offset, ...]
    errors: tuple[Offset, ...]
    later: tuple[Offset, ...]
    regressions: tuple[Regression, ...]
    ridge: int
    ridge_bits: int


LINE = Neighbourhood(
    own=LINE_OWN,
    around=LINE_AROUND,
    behind=(),
    centre=(),
    errors=LINE_OWN[:7],
    later=((0, 0, 1), (0, 0, 2)),
    regressions=(Regression(16, 9, 0, 9, NEVER, False, 4), Regression(32, 8, 0, 12, NEVER, False, 16)),
    ridge=1,
    ridge_bits=22,
)
PLANE = Neighbourhood(
    own=PLANE_OWN,
    around=PLANE_AROUND,
    behind=(),
    centre=(PLANE_OWN[0], PLANE_OWN[1], PLANE_OWN[2], PLANE_OWN[3]),
    errors=PLANE_OWN[:7],
    later=((0, 0, 1), (0, 1, 0)),
    regressions=(Regression(14, 9, 0, 2, 4, True, 2), Regression(18, 10, 0, 10, NEVER, False, 16)),
    ridge=20,
    ridge_bits=16,
)
SPACE = Neighbourhood(
    own=PLANE_OWN,
    around=PLANE_AROUND,
    behind=behind(PLANE_AROUND),
    centre=(PLANE_OWN[0], PLANE_OWN[1], PLANE_OWN[2], PLANE_OWN[3]),
    errors=(*PLANE_OWN[:5], (-1, 0, 0), (-1, 0, 1)),
    later=((0, 0, 1), (0, 1, 0)),
    regressions=(Regression(10, 5, 9, 2, 4, True, 2), Regression(14, 5, 13, 10, NEVER, False, 16)),
    ridge=20,
    ridge_bits=16,
)


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Planes with their borders. `shape`: slices, rows, columns of the samples; `border`: the same, before and (but for
    slices) after them.
    """

    shape: tuple[int, int, int]
    border: tuple[int, int, int]
    channels: int

    @property
    def full(self) -> tuple[int, int, int]:
        """With borders."""
        (z, y, x), (a, b, c) = self.shape, self.border
        return z + a, y + 2 * b, x + 2 * c

    @property
    def size(self) -> int:
        """Of one plane."""
        return int(np.prod(self.full))

    def place(self, plane: int, z: int, y: int, x: int) -> int:
        """Where a sample is."""
        a, b, c = self.border
        return plane * self.size + self.reach((z + a, y + b, x + c))

    def reach(self, offset: Offset) -> int:
        """What is added to a place to come to a neighbour."""
        _, height, width = self.full
        return (offset[0] * height + offset[1]) * width + offset[2]

    def inner(self, planes: Int[ndarray, " size"]) -> Int[ndarray, "channels z y x"]:
        """The samples of `planes`, a view."""
        (_, y, x), (a, b, c) = self.shape, self.border
        return planes.reshape(self.channels, *self.full)[:, a:, b : b + y, c : c + x]


def canvas(shape: tuple[int, ...], channels: int) -> Canvas:
    """Planes for a signal of that grid."""
    around = (shape[0] if len(shape) > 2 else 1, shape[-2] if len(shape) > 1 else 1, shape[-1])
    if len(shape) > 3:
        around = (int(np.prod(shape[:-2])), shape[-2], shape[-1])
    return Canvas(around, {1: (0, 0, 33), 2: (0, 3, 3), 3: (1, 3, 3)}[min(len(shape), 3)], channels)


def neighbourhood(rank: int) -> Neighbourhood:
    """What is looked at for a signal of so many axes."""
    return {1: LINE, 2: PLANE}.get(rank, SPACE)


@dataclasses.dataclass(frozen=True)
class Regressors:
    """Neighbours of one regression, each less the mean of four neighbours around it: `reach` of each, the `group` of
    it, and the `centres` of all groups; group 0 is that of the sample itself.
    """

    reach: Int[ndarray, " n"]
    group: Int[ndarray, " n"]
    centres: Int[ndarray, "groups 4"]


def regressors(layout: Neighbourhood, at: Canvas, plane: int, which: Regression) -> Regressors:
    """The neighbours of a regression in a plane."""
    earlier = range(plane - earlier_planes(plane, 1 if layout is LINE else 2), plane)
    parts = [(0, layout.own[: which.own], 0)]
    if which.behind:
        parts.append((0, layout.behind[: which.behind], -1))
    parts += [((q - plane) * at.size, layout.around[: which.around], 0) for q in reversed(earlier)]
    reach = [shift + at.reach(offset) for shift, offsets, _ in parts for offset in offsets]
    if not layout.centre:
        steps = [shift + at.reach((z, y, x - 1)) for shift, offsets, _ in parts for z, y, x in offsets]
        centres = [[at.reach(layout.own[0])] * 4, *([step] * 4 for step in steps)]
        return Regressors(np.array(reach), np.arange(len(reach)) + 1, np.array(centres))
    group = [i for i, (_, offsets, _) in enumerate(parts) for _ in offsets]
    centres = [[shift + at.reach((slices, y, x)) for _, y, x in layout.centre] for shift, _, slices in parts]
    return Regressors(np.array(reach), np.array(group), np.array(centres))


RECALLED: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((6, 0), (3, 0), (1, 0)),
    2: ((12, 0), (4, 0), (2, 0)),
    3: ((6, 5), (2, 1), (0, 1)),
}
"""For signals of so many axes: how many neighbours of its own slice, and of the one before, a value is recalled by, in
each of three sets. The same place in earlier planes is one, too; then the last set has no others.
"""


def recalled_by(rank: int, at: Canvas, plane: int) -> Int[ndarray, "sets most"]:
    """The reach of the neighbours of each set, after their number."""
    layout, axes = neighbourhood(rank), min(rank, 3)
    earlier = [-back * at.size for back in range(1, 1 + earlier_planes(plane, rank))]
    places = PLANE_AROUND if axes == 3 else ()
    rows = [
        earlier + [at.reach(o) for o in (*layout.own[:n_own], *behind(places)[:n_behind])]
        for n_own, n_behind in RECALLED[axes]
    ]
    if earlier:
        rows[-1] = earlier
    found = np.zeros((len(rows), 1 + max(map(len, rows))), np.int64)
    for i, row in enumerate(rows):
        found[i, : 1 + len(row)] = [len(row), *row]
    return found


@functools.cache
def n_features(rank: int, earlier: int) -> int:
    """Numbers that a network sees of a sample with so many earlier planes."""
    layout = neighbourhood(rank)
    return n_signed(layout, earlier) + n_logs(layout, earlier) + 2


def n_signed(layout: Neighbourhood, earlier: int) -> int:
    """Of them, those that have a sign."""
    return (len(layout.regressions) - 1) + SEEN + 3 + earlier * (1 + len(layout.later))


def n_logs(layout: Neighbourhood, earlier: int) -> int:
    """Of them, logarithms of magnitudes."""
    return len(layout.errors) + 3 + 2 + earlier * (2 + len(layout.later))


SEEN = 12
"""Neighbours that the network sees themselves."""
