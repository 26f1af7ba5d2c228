"""Of docs/format.md: pictures and motion. From the page alone: see `tests.page_decoder`."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from tests.page_latents import Arrays, Plane, decode_planes, means, varint
from tests.page_stream import Damaged, Stream, clip

NUMBER = 24
"""Of the architecture."""
SPACINGS = (64, 32, 16, 8)
Field = Int[ndarray, "rows columns planes"]
"""Displacements for each reference, along rows and along columns, then the mix, if there are two."""
Frame = Float[ndarray, "rows columns channels"]
Motions = dict[int, list[list[ndarray]] | None]
"""Of each frame but the first: its planes for each spacing, or None, if it is not predicted."""


class Step(NamedTuple):
    """A frame of a layer."""

    number: int
    references: tuple[int, ...]


class Film(NamedTuple):
    """All that a payload tells."""

    motions: Motions
    fields: dict[int, Field]
    frames: list[Frame]


def layers(n: int, interval: int) -> list[list[Step]]:
    """Of `n` frames."""
    anchors = sorted({*range(0, n - 1, interval), n - 1})
    found = [[Step(0, ())], *([Step(b, (a,))] for a, b in pairwise(anchors))]
    known = anchors
    while True:
        between = [Step((a + b) // 2, (a, b)) for a, b in pairwise(known) if b - a > 1]
        if not between:
            return found
        found.append(between)
        known = sorted([*known, *(step.number for step in between)])


class Context:
    """Of a bit."""

    def __init__(self, first: int):
        self.p = self.q = first

    def read(self, stream: Stream) -> int:
        bit = stream.bit(clip((self.p + self.q) >> 9, 16, 65520))
        self.p += ((bit << 24) - self.p) >> 4
        self.q += ((bit << 24) - self.q) >> 7
        return bit


class Numbers:
    """A spacing's and class's set of contexts."""

    def __init__(self, spacing: int):
        self.zero = [Context(1 << 23) for _ in range(15)]
        if spacing != 64:
            self.zero[0] = Context(1 << 20)
        self.sign = [Context(1 << 23) for _ in range(12)]
        self.greater = [Context(1 << 23) for _ in range(15)]
        self.prefix = [Context(1 << 23) for _ in range(35)]

    def read(self, stream: Stream, zero: int, sign: int) -> int:
        if not self.zero[zero].read(stream):
            return 0
        positive = self.sign[sign].read(stream)
        magnitude = 1
        while magnitude <= 14 and self.greater[magnitude].read(stream):
            magnitude += 1
        if magnitude == 15:
            k = 0
            while self.prefix[k].read(stream):
                k += 1
                if k == 35:
                    raise Damaged
            number = 1
            for _ in range(k):
                number = 2 * number + stream.bit(1 << 15)
            magnitude = number + 14
        return magnitude if positive else -magnitude


def read_plane(stream: Stream, numbers: Numbers, differences: bool, before: ndarray) -> ndarray:
    """Whole numbers, in as many rows and columns as the plane `before` has."""
    plane = np.zeros_like(before)
    rows, columns = plane.shape
    for i in range(rows):
        for j in range(columns):
            left = int(plane[i, j - 1]) if j else 0
            above = int(plane[i - 1, j]) if i else 0
            right = int(plane[i - 1, j + 1]) if i and j + 1 < columns else above
            if i == 0:
                right = left
            if j == 0:
                left = above
            if differences:
                guess = left if i == 0 else above if j == 0 else clip(right, min(left, above), max(left, above))
                n = abs(left - above) + abs(above - right)
            else:
                guess, n = 0, abs(left) + abs(above) + abs(right)
            case = n if n < 3 else 3 if n < 6 else 4
            zero = 3 * case + min(abs(int(before[i, j])), 2)
            signs = [0 if value == 0 else 1 if value > 0 else 2 for value in (left, above)]
            number = guess + numbers.read(stream, zero, 0 if differences else 3 + 3 * signs[0] + signs[1])
            if abs(number) >= 1 << 20:
                raise Damaged
            plane[i, j] = number
    return plane


def n_planes(step: Step) -> int:
    return 2 if len(step.references) == 1 else 5


def read_motions(
    data: bytes, order: list[list[Step]], height: int, width: int
) -> dict[int, list[list[ndarray]] | None]:
    stream = Stream(data)
    numbers = {(spacing, kind): Numbers(spacing) for spacing in SPACINGS for kind in ("one", "two", "mix")}
    motions: Motions = {}
    for layer in order[1:]:
        for step in layer:
            if stream.number(1):
                motions[step.number] = None
                continue
            pyramid = []
            for spacing in SPACINGS:
                planes = [np.zeros((-(-(height - 1) // spacing) + 1, -(-(width - 1) // spacing) + 1), np.int64)]
                for i in range(n_planes(step)):
                    kind = "one" if n_planes(step) == 2 else "mix" if i == 4 else "two"
                    differences = spacing == 64 and kind == "one"
                    planes.append(read_plane(stream, numbers[spacing, kind], differences, planes[-1]))
                pyramid.append(planes[1:])
            motions[step.number] = pyramid
    if stream.position < stream.length:
        raise Damaged
    return motions


def interpolated(plane: ndarray, spacing: int, height: int, width: int) -> ndarray:
    """At all pixels, times spacing^2."""
    out = np.zeros((height, width), np.int64)
    for y in range(height):
        for x in range(width):
            (i, v), (j, u) = divmod(y, spacing), divmod(x, spacing)
            for row, a in ((i, spacing - v), (i + 1, v)):
                for column, b in ((j, spacing - u), (j + 1, u)):
                    if a and b:
                        out[y, x] += a * b * plane[row, column]
    return out


def halves_up(numerator: ndarray, denominator: int) -> ndarray:
    """floor(numerator / denominator + 1/2)."""
    rounded: ndarray = (2 * numerator + denominator) // (2 * denominator)
    return rounded


def base(step: Step, fields: dict[int, Field], order: dict[int, Step], height: int, width: int) -> Field:
    field = np.zeros((height, width, n_planes(step)), np.int64)
    if len(step.references) == 2:
        t, (a, b) = step.number, step.references
        if a in order[b].references:
            at = 2 * order[b].references.index(a)
            d = fields[b][..., at : at + 2]
        else:
            at = 2 * order[a].references.index(b)
            d = -fields[a][..., at : at + 2]
        field[..., 0:2] = halves_up(d * (t - a), b - a)
        field[..., 2:4] = halves_up(d * (t - b), b - a)
        field[..., 4] = 32
    return field


def field_of(start: Field, pyramid: list[list[ndarray]]) -> Field:
    height, width, _ = start.shape
    total = np.zeros_like(start)
    for spacing, planes in zip(SPACINGS, pyramid, strict=True):
        for i, plane in enumerate(planes):
            unit = 8 if i == 4 else 16
            total[..., i] += unit * (64 // spacing) ** 2 * interpolated(plane, spacing, height, width)
    field: Field = np.clip(start + halves_up(total, 64**2), -(1 << 18), 1 << 18)
    return field


def _taps() -> ndarray:
    found = np.zeros((64, 6), np.int64)
    for f in range(64):
        x = np.arange(6) - 2 - f / 64
        windowed = np.sinc(x) * np.sinc(x / 3)
        found[f] = np.round(4096 * windowed / windowed.sum())
        found[f, np.argmax(found[f])] += 4096 - found[f].sum()
    return found


TAPS = _taps()


def moved(reference: Frame, u: ndarray, v: ndarray) -> Frame:
    height, width, _ = reference.shape
    y, x = np.arange(height)[:, None] + (u >> 6), np.arange(width) + (v >> 6)
    out = np.zeros(reference.shape)
    for i in range(6):
        for j in range(6):
            z = reference[np.clip(y + i - 2, 0, height - 1), np.clip(x + j - 2, 0, width - 1)]
            out += (TAPS[u & 63, i] * TAPS[v & 63, j])[..., None] / 4096**2 * z
    return out


def predicted(field: Field, references: list[Frame]) -> Frame:
    first = moved(references[0], field[..., 0], field[..., 1])
    if len(references) == 1:
        return first
    second = moved(references[1], field[..., 2], field[..., 3])
    mixed: Frame = first + np.clip(field[..., 4:], 0, 64) / 64 * (second - first)
    return mixed


class Pictures:
    """Of a payload, one after another."""

    def __init__(self, data: bytes, channels: int, untiled: int, side: int):
        self.data, self.channels, self.untiled, self.side = data, channels, untiled, side
        self.before: dict[int, Arrays] = {}
        """What networks of each number of channels differ from the prior's, in the picture before."""

    def read(self, height: int, width: int, first: bool) -> Frame:
        length, self.data = varint(self.data)
        if length == 0:
            return np.full((height, width, self.channels), 0.5)
        if length > len(self.data):
            raise Damaged
        payload, self.data = self.data[:length], self.data[length:]
        config = []
        for _ in range(4):
            field, payload = varint(payload)
            config.append(field)
        planes = decode_planes(config, payload, height, width, self.channels, self.untiled, self.side, self.before)
        self.before = {} if first else {plane.n_channels: _differences(config, plane) for plane in planes}
        return np.concatenate([plane.values for plane in planes], -1)


def _differences(config: list[int], plane: Plane) -> Arrays:
    prior = means(config[0], config[1], plane.n_channels)
    return [array - mean for array, mean in zip(plane.arrays, prior, strict=True)]


def decode(
    payload: bytes,
    n_frames: int,
    height: int,
    width: int,
    channels: int,
    pixels: int = 1 << 20,
    untiled: int = 1 << 20,
    side: int = 256,
) -> Film:
    """A payload with its configuration. `pixels`: of pictures of several frames."""
    interval, data = varint(payload)
    order = layers(n_frames, interval)
    steps = {step.number: step for layer in order for step in layer}
    length, data = varint(data)
    motions = read_motions(data[:length], order, height, width)
    pictures = Pictures(data[length:], channels, untiled, side)
    fields: dict[int, Field] = {}
    frames: dict[int, Frame] = {}
    together = max(1, pixels // (height * width))
    for layer in order:
        for first in range(0, len(layer), together):
            stacked = layer[first : first + together]
            picture = pictures.read(height * len(stacked), width, layer is order[0])
            for place, step in enumerate(stacked):
                own = picture[place * height : (place + 1) * height]
                pyramid = motions.get(step.number)
                if pyramid is None:
                    fields[step.number] = np.zeros((height, width, n_planes(step)), np.int64)
                else:
                    fields[step.number] = field_of(base(step, fields, steps, height, width), pyramid)
                    references = [frames[number] for number in step.references]
                    own = predicted(fields[step.number], references) + own - 0.5
                frames[step.number] = np.clip(own, 0, 1)
    if pictures.data:
        raise Damaged
    return Film(motions, fields, [frames[number] for number in range(n_frames)])
