"""Of docs/format.md: "Lossless files". From the page alone: see `tests.page_decoder`."""

from __future__ import annotations

import itertools
import zlib
from collections import defaultdict

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from tests.page_predicted import SQUASH, STRETCH
from tests.page_stream import Damaged, Stream, clip

Place = tuple[int, int, int, int]


def varint(data: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[position]
        value, shift, position = value | (byte & 127) << shift, shift + 7, position + 1
        if byte < 128:
            return value, position


class Numbers:
    """Whole numbers in contexts of their own."""

    def __init__(self, stream: Stream):
        self.stream, self.contexts, self.sign = stream, defaultdict(lambda: [1 << 23, 1 << 23]), 0

    def bit(self, *name: object) -> int:
        context = self.contexts[name]
        bit = self.stream.bit(clip(sum(context) >> 9, 16, 65520))
        for i, rate in enumerate((4, 7)):
            context[i] += ((bit << 24) - context[i]) >> rate
        return bit

    def read(self) -> int:
        sign, self.sign = self.sign, 0
        if not self.bit("zero", sign):
            return 0
        positive = self.bit("sign", sign)
        self.sign = 1 if positive else 2
        magnitude = 1
        while magnitude <= 10 and self.bit("greater", magnitude):
            magnitude += 1
        if magnitude == 11:
            k = 0
            while self.bit("prefix", k):
                k += 1
            number = 1
            for i in range(k):
                number = 2 * number + (self.bit("suffix", k) if i == 0 else self.stream.bit(1 << 15))
            magnitude = number + 10
        return magnitude if positive else -magnitude


class Decisions:
    """Bits whose probabilities in four contexts are mixed."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.seen = defaultdict(lambda: [1 << 21, 0])
        self.weights = defaultdict(lambda: [24576] * 4)

    def read(self, contexts: list[tuple[int, ...]], *name: object) -> int:
        weights = self.weights[name]
        states = [self.seen[number, context, name] for number, context in enumerate(contexts)]
        logits = [STRETCH[state[0] >> 10] for state in states]
        total = sum(v * a for v, a in zip(weights, logits, strict=True)) >> 16
        frequency = SQUASH[clip(total, -1535, 1535)]
        bit = self.stream.bit(frequency)
        error = (bit << 16) - frequency
        for i, (state, a) in enumerate(zip(states, logits, strict=True)):
            weights[i] += (error * a + (1 << 13)) >> 14
            state[0] += (((bit << 22) - state[0]) * ((1 << 17) // (2 * state[1] + 3))) >> 16
            state[1] = min(state[1] + 1, 255)
        return bit


def bits_of(number: int) -> int:
    return number.bit_length()


def tables(planes: int, rows: int, c: int) -> tuple[list[Place], list[tuple[Place, int]], list[Place]]:
    """Neighbours that are inputs, those of the activity with their shares, and the pair."""
    if rows == planes == 1:
        inputs = [(0, 0, i, 0) for i in range(1, 25)] + [(0, 0, i, d) for d in range(1, c + 1) for i in range(8)]
        around = [((0, 0, i, 0), w) for i, w in zip(range(1, 9), (3, 2, 2, 1, 1, 1, 1, 1), strict=True)]
        around += [((0, 0, 0, 1), 4)] if c else []
    else:
        inputs, around = [(0, 0, 1, 0), (0, 0, 2, 0)], [((0, 0, 1, 0), 4), ((0, 0, 2, 0), 1)]
        if rows > 1:
            inputs += [(0, 1, 0, 0), (0, 1, 1, 0), (0, 1, -1, 0), (0, 2, 0, 0)]
            around += list(zip(inputs[-4:], (4, 2, 2, 1), strict=True))
        if planes > 1:
            inputs += [(1, 0, 0, 0)]
            around += [((1, 0, 0, 0), 4)]
        for d in range(1, c + 1):
            inputs += [(0, 0, 0, d), (0, 0, 1, d), *([(0, 1, 0, d)] if rows > 1 else [])]
        around += [((0, 0, 0, 1), 6)] if c else []
    total = sum(weight for _, weight in around)
    shares = [(place, 16 * weight // total) for place, weight in around]
    shares[0] = shares[0][0], shares[0][1] + 16 - sum(share for _, share in shares)
    second = (0, 0, 2, 0)
    if c:
        second = (0, 0, 0, 1)
    elif planes > 1:
        second = (1, 0, 0, 0)
    elif rows > 1:
        second = (0, 1, 0, 0)
    return inputs, shares, [(0, 0, 1, 0), second]


def read_difference(read: Decisions, contexts: list[tuple[int, ...]], expected: int) -> int:
    j = expected
    if read.read(contexts, "up", j):
        j += 1
        while j < 33 and read.read(contexts, "up", j):
            j += 1
        n = j
    else:
        n = 0
        while j > 0:
            j -= 1
            if read.read(contexts, "down", j):
                n = j + 1
                break
    if not n:
        return 0
    negative, value = read.read(contexts, "sign"), 1
    for place in range(n - 1):
        if place == 0:
            bit = read.read(contexts, "second", n)
        elif place == 1:
            bit = read.read(contexts, "third", n, value & 1)
        elif place == 2 and n < 8:
            bit = read.read(contexts, "fourth", n, value & 3)
        else:
            bit = read.stream.bit(1 << 15)
        value = 2 * value + bit
    return -value if negative else value


def read_samples(stream: Stream, p: Int[ndarray, "*grid channels"], b: int) -> Int[ndarray, "*grid channels"]:
    """The samples of a segment, less o."""
    *grid, channels = p.shape
    columns, rows = grid[-1], grid[-2] if len(grid) > 1 else 1
    planes = int(np.prod(grid[:-2], dtype=int))
    shape = planes, rows, columns, channels
    p = p.reshape(shape)
    found = [tables(planes, rows, c) for c in range(channels)]
    axes = [axis for axis, several in ((2, True), (1, rows > 1), (0, planes > 1)) if several]
    weights = [[0] * (len(inputs) + len(axes)) for inputs, _, _ in found]
    if stream.number(1):
        numbers = Numbers(stream)
        weights = [[numbers.read() << 6 for _ in row] for row in weights]
    read, samples = Decisions(stream), np.zeros(shape, np.int64)
    differences, magnitudes = defaultdict(int), defaultdict(int)
    least, most = -(1 << (b - 1)), (1 << (b - 1)) - 1

    def beside(at: Place, axis: int, step: int) -> int:
        moved = list(at)
        moved[axis] = clip(moved[axis] + step, 0, shape[axis] - 1)
        return int(p[tuple(moved)])

    for at in itertools.product(*map(range, shape)):
        c, here = at[3], int(p[at])
        inputs, shares, pair = found[c]
        back = [tuple(a - o for a, o in zip(at, offset, strict=True)) for offset in inputs]
        x = [differences[place] for place in back]
        x += [beside(at, axis, -1) + beside(at, axis, 1) - 2 * here for axis in axes]
        extra = sum(w * value for w, value in zip(weights[c], x, strict=True)) >> 12
        centre = 16 * here + extra
        guess, fraction = clip((centre + 8) >> 4, least, most), centre % 16
        seen = [share * magnitudes[tuple(a - o for a, o in zip(at, offset, strict=True))] for offset, share in shares]
        activity = sum(seen)
        length = bits_of(activity)
        near = [magnitudes[tuple(a - o for a, o in zip(at, offset, strict=True))] for offset in pair]
        around = [here, *(beside(at, axis, step) for axis in (1, 2) for step in (-1, 1))]
        contexts = [
            (min(c, 2), min(4 * length + (activity >> max(length - 3, 0)) % 4, 127)),
            (min(c, 1), *(min(bits_of(m), 23) for m in near)),
            (min(bits_of(max(around) - min(around)), 23), min(length, 31)),
            (fraction, min(length, 31)),
        ]
        m = read_difference(read, contexts, clip(length - 4, 0, 32))
        if not least <= m <= most:
            raise Damaged
        sample = guess + m
        sample += (1 << b) * (int(sample < least) - int(sample > most))
        samples[at] = sample
        differences[at] = clip(sample - here, -(2**31 - 1), 2**31 - 1)
        magnitudes[at] = min(abs(m), 2**31 - 1)
        s = max(b - 23, 0)
        energy = 1 + sum((value >> s) ** 2 for value in x)
        error = clip(16 * (sample - here) - extra, -(1 << 24), 1 << 24)
        step = (error * 2 ** (36 - s) + (energy >> 1)) // energy
        for i, value in enumerate(x):
            weights[c][i] = clip(weights[c][i] + ((step * (value >> s) + (1 << 31)) >> 32), -(1 << 20), 1 << 20)
    return samples.reshape(*grid, channels)


def decode(
    part: bytes, values: Float[ndarray, "*grid channels"], low: float, high: float, b: int, unsigned: bool
) -> Int[ndarray, "*grid channels"]:
    """The samples of a segment whose network has these values; the checksum is for the caller."""
    k, n_ties, position = part[4], *varint(part, 6)
    u = (high - low) / 2.0**k
    t = np.clip(values * u, 0, np.floor(u)).reshape(-1)
    q = np.round(t)
    stream = Stream(part[position:])
    if n_ties:
        numbers, at, ties = Numbers(stream), -1, []
        for _ in range(n_ties):
            at += numbers.read() + 1
            ties.append(at)
        numbers = Numbers(stream)
        for tie in ties:
            parity = numbers.read()
            q[tie] = 2 * np.round((t[tie] - parity) / 2) + parity
    o = 1 << (b - 1) if unsigned else 0
    p = np.clip(q * 2**k + round(low) - o, -(2 ** (b - 1)), 2 ** (b - 1) - 1).astype(np.int64)
    return read_samples(stream, p.reshape(values.shape), b) + o


def decode_bits(
    part: bytes, values: Float[ndarray, "*grid bits channels"], low: float
) -> Int[ndarray, "*grid channels"]:
    """The same of a network of bits."""
    *grid, n_bits, channels = values.shape
    first, position, lengths = part[5], 6, []
    for _ in range(first, n_bits):
        length, position = varint(part, position)
        lengths.append(length)
    high = np.zeros((*grid, channels), np.int64)
    for plane, length in zip(range(first, n_bits), lengths, strict=True):
        stream, bits = Stream(part[position : position + length]), (values[..., plane, :] > 0.5).reshape(-1)
        position += length
        n, gaps, at = Numbers(stream).read(), Numbers(stream), -1
        places = [at := at + gaps.read() + 1 for _ in range(n)]
        listed = Numbers(stream)
        for place in places:
            bits[place] = listed.read()
        high += bits.reshape(high.shape).astype(np.int64) << plane
    if first:
        half = 1 << (n_bits - 1)
        high = read_samples(Stream(part[position:]), high + ((1 << first) >> 1) - half, n_bits) + half
    return high + round(low)


def crc(samples: Int[ndarray, "..."], sample_type: str) -> bytes:
    return zlib.crc32(samples.astype(f"<{sample_type}").tobytes()).to_bytes(4, "little")
