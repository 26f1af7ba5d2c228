"""Of docs/format.md: codes 8 and 9. From the page alone: see `tests.page_decoder`."""

from __future__ import annotations

import math

import numpy as np

from tests.page_levels import Trellis, from_view, view_shape
from tests.page_stream import ONE, Shape, SmallNumber, Stream, between, clip, powers, whole
from tests.page_tables import AxisTables, Code, Contexts, MixtureTables, ModelledCode, ShapedTables, read_long
from tests.page_words import HuffmanWords, Raw, Sparse


def _curve(number: int) -> tuple[list[int], list[int]]:
    [root] = whole(("logistic_root", "laplace_root", "gauss_root")[number])
    density = powers(root, 1025)
    if number == 0:
        density = [(z << 124) // (ONE + z) ** 2 for z in density]
    if number == 2:
        density, factor = [ONE], root
        for _ in range(1024):
            density.append(density[-1] * factor >> 62)
            factor = factor * (root * root >> 62) >> 62
    tails = [0] * 1025
    for i in range(1023, -1, -1):
        tails[i] = tails[i + 1] + density[i] + density[i + 1]
    return [(tail << 46) // tails[0] for tail in tails], [(2 * i * d << 46) // tails[0] for i, d in enumerate(density)]


CURVES = [_curve(number) for number in range(3)]
_UPPER = [min((1 << 78) // (ONE + z), 65532) for z in powers(whole("logit_root")[0], 1536)]
SQUASH = {z: _UPPER[z] if z >= 0 else 65536 - _UPPER[-z] for z in range(-1535, 1536)}
STRETCH = [next(z for z in SQUASH if SQUASH[z] >= clip(p, 1, 4095) << 4) for p in range(4097)]
OCTAVE = [power >> 46 for power in powers(whole("octave_root")[0], 256)]


class Prediction(Code):
    dependent = False

    def __init__(self, stream: Stream):
        super().__init__(stream)
        self.equal, self.coefficients, self.lengths = SmallNumber(32), SmallNumber(1024), SmallNumber(64)
        self.numbers = [SmallNumber(first) for first in (64, 1024, 128, 128, 64, 32)]
        self.last, self.of_rank = whole("model_before"), dict[int, list[int]]()

    def read(self, shape: Shape) -> list[int]:
        if self.equal.read(self.stream):
            return [self._constant()] * math.prod(shape)
        limits = zip(whole("model_least"), whole("model_greatest"), strict=True)
        before = self.of_rank.get(len(shape), self.last)
        fields = []
        for old, number, (least, greatest) in zip(before, self.numbers, limits, strict=True):
            fields.append(between(old + number.read(self.stream), least, greatest))
        sizes = view_shape(shape, fields[0])
        coefficients = [between(self.coefficients.read(self.stream), -127, 127) if n > 1 else 0 for n in sizes]
        constant = self._constant()
        self.last = self.of_rank[len(shape)] = fields
        predicted = Predicted(self.stream, sizes, fields, coefficients, constant, self.dependent)
        return from_view(predicted.read(), shape, fields[0])

    def _constant(self) -> int:
        return read_long(self.stream, between(self.lengths.read(self.stream), -35, 35))


class DependentPrediction(Prediction):
    dependent = True


class Predicted:
    """The integers of one tensor."""

    def __init__(
        self,
        stream: Stream,
        sizes: Shape,
        fields: list[int],
        coefficients: list[int],
        constant: int,
        dependent: bool,
    ):
        _, scale, curve, variance, locality, paired = fields
        self.stream, self.sizes, self.coefficients, self.constant = stream, sizes, coefficients, constant
        self.chances, self.moments = CURVES[curve]
        self.information, self.locality = whole("information")[curve], whole("localities")[locality]
        self.effects: dict[tuple[str | int, ...], list[int]] = {(): [scale << 22, 3 << 19]}
        for axis, size in enumerate(sizes):
            first = whole("variances")[variance] << 19 if size > 1 else 0
            self.effects |= {(axis, place): [0, first] for place in range(size)}
        self.effects |= {("pair", *pair): [0, paired << 19] for pair in np.ndindex(sizes[2:])}
        self.trellis = Trellis() if dependent else None
        self.bits: dict[tuple[int, str, int], list[int]] = {}
        self.quantiser = self.centre = self.log = self.middle = 0

    def read(self) -> list[int]:
        integers, scores, values = list[int](), dict[Shape, int](), dict[Shape, int]()
        for place in np.ndindex(self.sizes):
            neighbours = [tuple(p - (i == axis) for i, p in enumerate(place)) for axis in range(4)]
            predicted = sum(c * values.get(n, 0) for c, n in zip(self.coefficients, neighbours, strict=True))
            self.centre = clip(8 * self.constant + predicted, -(1 << 37), 1 << 37)
            local = self.locality * sum(scores.get(n, 0) for n in neighbours) >> 5
            effects = [self.effects[()], *(self.effects[key] for key in enumerate(place))]
            effects.append(self.effects[("pair", *place[2:])])
            self.log = clip(sum(effect[0] for effect in effects) + 5909 * local, -5 << 24, 33 << 24)
            self.quantiser = 0 if self.trellis is None else 1 + self.trellis.state % 2
            integer, score = self._integer()
            integers.append(between(integer, -(1 << 31), (1 << 31) - 1))
            self._learn(effects, score)
            scores[place] = clip(score + local, -6144, 6144)
            values[place] = integer if self.trellis is None else self.trellis.value(integer)
        return integers

    def _learn(self, effects: list[list[int]], score: int) -> None:
        gain = (1 << 40) // ((1 << 24) + (self.information * sum(effect[1] for effect in effects) >> 4))
        for effect in effects:
            v = effect[1]
            step = ((v * gain >> 16) * score + (1 << 11)) >> 12
            effect[0] += (94548 * step + (1 << 15)) >> 16
            effect[1] -= ((v * v >> 24) * gain >> 16) * self.information >> 4
        effects[0][1] += 168

    def _edge(self, k: int) -> int:
        if self.quantiser < 2:
            return 2 * k - 1 if self.quantiser == 0 else 4 * k - 2
        return 4 * k - 4 if k > 1 else 2 * k - 1 if k >= 0 else 4 * k

    def _at(self, entries: list[int], up: int, magnitude: int) -> int:
        """C or M at a magnitude."""
        distance = 32 * self._edge(self.middle + magnitude) - self.centre
        if not up:
            distance = self.centre - 32 * self._edge(self.middle - magnitude + 1)
        x = distance * OCTAVE[(self.log >> 16) % 256] >> (7 + (self.log >> 24))
        i = x >> 10
        return 0 if i >= 1024 else entries[i] + ((entries[i + 1] - entries[i]) * (x % 1024) >> 10)

    def _bit(self, kind: str, number: int, a: int, b: int) -> int:
        state = self.bits.setdefault((self.quantiser, kind, number), [1 << 16, 0])
        logit = STRETCH[min((a << 12) // b, 4096) if b else 2048]
        frequency = SQUASH[clip((state[0] * logit + state[1]) >> 16, -1535, 1535)]
        bit = self.stream.bit(frequency)
        error = (bit << 16) - frequency
        state[0] += (error * logit + (1 << 15)) >> 16
        state[1] += error >> 5
        return bit

    def _integer(self) -> tuple[int, int]:
        """The integer and its score."""
        size = (abs(self.centre) + 128) >> 7 if abs(self.centre) >= 32 else 0
        odd = size if self.centre > 0 else -size
        self.middle = ((self.centre + 32) >> 6, (self.centre + 64) >> 7, odd)[self.quantiser]
        above, below = (self._at(self.chances, up, 1) for up in (1, 0))
        if not self._bit("zero", 0, above + below, 1 << 47):
            moment = sum(self._at(self.moments, up, 1) for up in (1, 0))
            return self.middle, -((moment << 12) // max((1 << 47) - above - below, 1))
        up = self._bit("sign", 0, above, above + below)
        low, high, k = above if up else below, self._at(self.chances, up, 2), 0
        while self._bit("prefix", k, high, low):
            k = between(k + 1, 0, 34)
            low, high = high, self._at(self.chances, up, 2 ** (k + 1))
        first = 2**k
        for i in range(k - 1, -1, -1):
            half = first + 2**i
            middle = self._at(self.chances, up, half)
            kind, number = ("small", half) if half < 32 else ("large", k) if i == k - 1 else ("other", 0)
            if self._bit(kind, number, middle - high, low - high):
                low, first = middle, half
            else:
                high = middle
        score = 12288
        if low != high:
            moment = self._at(self.moments, up, first) - self._at(self.moments, up, first + 1)
            score = min((moment << 12) // (low - high), score)
        return self.middle + first if up else self.middle - first, score


CODES: tuple[type[Code], ...] = (
    ModelledCode,
    Contexts,
    AxisTables,
    MixtureTables,
    ShapedTables,
    HuffmanWords,
    Raw,
    Sparse,
    Prediction,
    DependentPrediction,
)
