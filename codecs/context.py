"""Samples that come back exactly, coded one by one under what a small network says of each (docs/format.md, "Exact
samples").

Two linear predictors learn from the samples before (least squares that forget, in whole numbers), and a network that
was fitted to the signal makes a mixture of logistic curves of what they say, of how wrong they were and of neighbours.
Context-based coding is Wu and Memon's ("Context-based, adaptive, lossless image coding", 1997), least squares that
learn on the way are Li and Orchard's (2001); a network that is fitted to each signal as its probability model is what
FNLIC (2025) and LINR-PCGC (2025) have.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from inrzip.errors import CorruptFile

from . import context_kernels
from .context_kernels import (
    CANDIDATES,
    COLLECT,
    COMPONENTS,
    DECODE,
    ENCODE,
    HABIT,
    HABIT_BITS,
    MIXED,
    ORDERS,
    RECALLED,
    SLOT_BITS,
    SURE_BITS,
)
from .context_layout import (
    SEEN,
    Canvas,
    Regressors,
    canvas,
    earlier_planes,
    n_features,
    neighbourhood,
    recalled_by,
    regressors,
)
from .context_tables import logarithms, logistic, powers
from .kernels import LENGTH
from .range_coder import RangeDecoder, RangeEncoder

Samples = Int[ndarray, "channels *grid"]
"""Whole numbers from 0 on, channels first."""
Tell = Callable[[float], None]

OUTPUTS = 3 * COMPONENTS
MAX_BITS = 24
MAX_WEIGHT = (1 << 15) - 1
PRODUCT_BITS = 24
"""Products of neighbours are held in at least so many bits."""
_SCRATCH = 600
_MOST_DECISIONS = 3
"""For each bit of a sample, and one, besides candidates: what a sample takes at most."""


class Network(NamedTuple):
    """Weights and biases of three layers, in 1/1024 (int64)."""

    first: Int[ndarray, "features hidden"]
    first_bias: Int[ndarray, " hidden"]
    second: Int[ndarray, "hidden hidden"]
    second_bias: Int[ndarray, " hidden"]
    last: Int[ndarray, "hidden outputs"]
    last_bias: Int[ndarray, " outputs"]


@dataclasses.dataclass(frozen=True)
class Looks:
    """What a network sees of the samples of a plane (in 1/128), and what it has to predict: values, near anchors (in
    1/8 level), within bases (in 1/64 level). Of planes whose values are recalled, only those that were not.
    """

    features: Int[ndarray, "samples features"]
    anchors: Int[ndarray, " samples"]
    bases: Int[ndarray, " samples"]
    values: Int[ndarray, " samples"]


def shapes(rank: int, earlier: int, hidden: int) -> list[tuple[int, ...]]:
    """Of the arrays of a network, for a signal of so many axes and a plane with so many earlier ones."""
    features = n_features(min(rank, 3), earlier)
    return [(features, hidden), (hidden,), (hidden, hidden), (hidden,), (hidden, OUTPUTS), (OUTPUTS,)]


class _Stream(NamedTuple):
    """Where decisions go, or come from."""

    mode: int
    state: Int[ndarray, " 3"]
    data: Callable[[int], UInt8[ndarray, " bytes"]]


class _Planes:
    """All samples of a signal with their borders, and the predictors' errors: what is looked at."""

    def __init__(self, at: Canvas, bits: int):
        self.at, self.bits = at, bits
        self.middle = 1 << (bits - 1)
        self.values = np.full(at.channels * at.size, self.middle, np.int32)
        self.errors = np.zeros_like(self.values)
        self.others = np.zeros_like(self.values)

    def rows(self, plane: int, samples: Samples | None) -> Iterator[tuple[int, int]]:
        """The rows of a plane in order, as (number, place of the first sample): for each, its border is made before,
        from `samples` it is filled if there are any, and after it its border is finished.
        """
        (depth, height, width), (before, above, left) = self.at.shape, self.at.border
        full = self.values.reshape(self.at.channels, *self.at.full)[plane]
        for z in range(depth):
            slab = full[z + before]
            if above:
                slab[:above] = full[z + before - 1, above] if z and before else self.middle
            for y in range(height):
                row = slab[y + above]
                if above:
                    row[:left] = slab[y + above - 1, left]
                if samples is not None:
                    row[left : left + width] = samples[plane, z, y]
                yield z * height + y, self.at.place(plane, z, y, 0)
                if above:
                    row[left + width :] = row[left + width - 1]
            if above:
                slab[above + height :] = slab[above + height - 1]


class _Predictors:
    """The two regressions of a plane: where they look and what they remember."""

    def __init__(self, at: Canvas, rank: int, plane: int):
        layout = neighbourhood(rank)
        width = at.shape[2]
        found: list[Regressors] = [regressors(layout, at, plane, rule) for rule in layout.regressions]
        sizes = [len(r.reach) for r in found]
        most = max(sizes)
        n_products = [_triangle(n + 1) for n in sizes]
        self.reach = np.zeros((2, most), np.int64)
        self.group = np.zeros((2, most), np.int64)
        self.centres = np.zeros((2, max(len(r.centres) for r in found), 4), np.int64)
        for i, r in enumerate(found):
            self.reach[i, : sizes[i]], self.group[i, : sizes[i]] = r.reach, r.group
            self.centres[i, : len(r.centres)] = r.centres
        self.counts = np.array([*sizes, *(len(r.centres) for r in found)], np.int64)
        self.rules = np.array([[rule.drop, rule.back, rule.every] for rule in layout.regressions], np.int64)
        self.down = layout.regressions[0].down
        self.memory = np.zeros((2, max(n_products)), np.int64)
        n_rows = width + 1 if self.down else 1
        self.columns = np.zeros((n_rows, n_products[0]), np.int64)  # row 0 is scratch; then what each column remembers
        self.spread = np.zeros((n_rows, n_products[0]), np.int64)
        self.weights = np.zeros((2, most), np.int64)
        self.values = np.zeros((2, most + 1), np.int64)
        self.lower = np.zeros((most, most), np.int64)
        self.product = np.zeros((most + 1, most), np.int64)

    def next_row(self) -> None:
        """Gathers what the rows above say of each column."""
        if self.down:
            context_kernels.spread_memory(self.columns[1:], self.spread, int(self.rules[0, 0]), int(self.rules[0, 1]))


def _triangle(n: int) -> int:
    return n * (n + 1) // 2


@functools.cache
def _tables() -> tuple[Int[ndarray, " n"], Int[ndarray, " n"], Int[ndarray, " n"]]:
    return logarithms(), powers(), logistic()


class _Memory:
    """What values of a plane are recalled by: where neighbours are, what followed these, how often that was right."""

    def __init__(self, at: Canvas, rank: int, plane: int, used: bool = True):
        self.at = recalled_by(rank, at, plane)
        self.values = np.zeros((ORDERS, 1 << SLOT_BITS if used else 1, 4), np.int64)
        self.chances = np.zeros((CANDIDATES * CANDIDATES * SURE_BITS, 2), np.int64)
        self.chances[:, 0] = 1 << (HABIT_BITS - 1)


def _scan(
    planes: _Planes,
    rank: int,
    networks: Sequence[Network] | None,
    modes: Sequence[int],
    samples: Samples | None,
    stream: _Stream,
    tell: Tell,
) -> Iterator[tuple[Int[ndarray, "samples features"], Int[ndarray, "samples 4"]]]:
    """Goes through all samples, plane by plane; yields, after each plane, what was seen of it if that is collected."""
    at, layout = planes.at, neighbourhood(rank)
    depth, height, width = at.shape
    spare = max(PRODUCT_BITS - 2 * planes.bits, 0)
    ridge = layout.ridge << spare << 2 * planes.bits >> layout.ridge_bits
    errors_at, own_at, later_at = (
        np.array([at.reach(o) for o in offsets]) for offsets in (layout.errors, layout.own[:SEEN], layout.later)
    )
    logs, exps, curve = _tables()
    for plane in range(at.channels):
        earlier = earlier_planes(plane, rank)
        n_inputs = n_features(min(rank, 3), earlier)
        predictors = _Predictors(at, rank, plane)
        around = [[-q * at.size + at.reach(o) for o in layout.around[:5]] for q in range(1, earlier + 1)]
        around_at = np.array(around, np.int64).reshape(earlier, 5)
        network = _nothing(n_inputs) if networks is None else networks[plane]
        collecting = stream.mode == COLLECT
        features = np.zeros((depth * height * width if collecting else 1, n_inputs), np.int16)
        targets = np.zeros((len(features), 4), np.int32)
        numbers = np.array([width, planes.bits, spare, predictors.down, earlier, ridge, modes[plane]], np.int64)
        memory = _Memory(at, rank, plane, modes[plane] == RECALLED)
        scratch, parts = np.zeros(_SCRATCH, np.int64), np.zeros((3, COMPONENTS), np.int64)
        habits = np.zeros(2 * HABIT + 1, np.int64)
        habits[HABIT + 1 :] = 1 << (HABIT_BITS - 1)
        for i, place in planes.rows(plane, samples):
            predictors.next_row()
            seen = slice(i * width, (i + 1) * width) if collecting else slice(None)
            fine = context_kernels.code_row(
                stream.mode, numbers, predictors.counts, place, planes.values, planes.errors, planes.others,
                predictors.reach, predictors.group, predictors.centres, predictors.rules,
                predictors.memory, predictors.spread, predictors.columns, predictors.weights,
                errors_at, own_at, later_at, around_at, *network, logs, exps, curve, scratch,
                predictors.values, predictors.lower, predictors.product, parts, habits,
                memory.at, memory.values, memory.chances,
                stream.state, stream.data(width), features[seen], targets[seen],
            )  # fmt: skip
            if not fine:
                raise CorruptFile("its samples are damaged or cut short; get the file again")
            tell((plane + (i + 1) / (depth * height)) / at.channels)
        yield features, targets


def _nothing(n_inputs: int) -> Network:
    return Network(
        *(np.zeros(shape, np.int64) for shape in ((n_inputs, 1), (1,), (1, 1), (1,), (1, OUTPUTS), (OUTPUTS,)))
    )


def collect(
    samples: Samples, bits: int, modes: Sequence[int] | None = None, tell: Tell = lambda done: None
) -> list[Looks]:
    """What networks see of each plane of `samples`, which are below 2^bits. `modes`: how each plane is coded (None:
    under the network's curves).
    """
    rank = samples.ndim - 1
    at = canvas(samples.shape[1:], len(samples))
    nowhere = _Stream(COLLECT, np.zeros(3, np.int64), lambda n: np.zeros(1, np.uint8))
    own, how = samples.reshape(len(samples), *at.shape), modes or [MIXED] * len(samples)
    found = []
    for mode, (features, targets) in zip(
        how, _scan(_Planes(at, bits), rank, None, how, own, nowhere, tell), strict=True
    ):
        asked = targets[:, 3] == 0 if mode == RECALLED else slice(None)
        found.append(Looks(features[asked], *targets[asked, :3].T))
    return found


def shares_recalled(samples: Samples, bits: int) -> list[float]:
    """Of each plane of `samples`, below 2^bits, the part that is what followed the same neighbours before."""
    at = canvas(samples.shape[1:], len(samples))
    planes, own = _Planes(at, bits), samples.reshape(len(samples), *at.shape)
    scratch, nothing, shares = np.zeros(16, np.int64), np.zeros(1, np.uint8), []
    for plane in range(len(samples)):
        memory, n = _Memory(at, samples.ndim - 1, plane), 0
        for _, place in planes.rows(plane, own):
            n += context_kernels.count_recalled(
                at.shape[2], place, planes.values, memory.at, memory.values, memory.chances, scratch, nothing
            )
        shares.append(n / samples[0].size)
    return shares


def encode(
    samples: Samples,
    bits: int,
    networks: Sequence[Network],
    encoder: RangeEncoder,
    modes: Sequence[int] | None = None,
    tell: Tell = lambda done: None,
) -> list[int]:
    """Codes `samples`, which are below 2^bits, with a network for each plane; returns the bytes that each plane takes,
    or a few less. `modes`: how each plane is coded (None: under the network's curves).
    """
    at = canvas(samples.shape[1:], len(samples))
    per_sample = _MOST_DECISIONS * (bits + 1) + CANDIDATES
    stream = _Stream(ENCODE, encoder.state, lambda n: encoder.room(per_sample * n))
    own, how = samples.reshape(len(samples), *at.shape), modes or [MIXED] * len(samples)
    lengths = [int(encoder.state[LENGTH])]
    for _ in _scan(_Planes(at, bits), samples.ndim - 1, networks, how, own, stream, tell):
        lengths.append(int(encoder.state[LENGTH]))
    return np.diff(lengths).tolist()


def decode(
    shape: tuple[int, ...],
    channels: int,
    bits: int,
    networks: Sequence[Network],
    decoder: RangeDecoder,
    modes: Sequence[int] | None = None,
    tell: Tell = lambda done: None,
) -> Samples:
    """The inverse of `encode`. Raises CorruptFile."""
    at = canvas(shape, channels)
    planes, how = _Planes(at, bits), modes or [MIXED] * channels
    stream = _Stream(DECODE, decoder.state, lambda n: decoder.data)
    for _ in _scan(planes, len(shape), networks, how, None, stream, tell):
        pass
    return at.inner(planes.values).reshape(channels, *shape).copy()
