"""Of docs/format.md: exact samples. From the page alone, in Python's whole numbers: see `tests.page_decoder`."""

from __future__ import annotations

import functools
import math
import re
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np

from tests.page_decoder import read_varint
from tests.page_latents import Curve
from tests.page_stream import PAGE, Damaged, Stream, between, clip

NUMBER = 25
PRIORS = dict.fromkeys((1, 2), Path(__file__).resolve().parent.parent / "priors" / "context.npz")
NAMES = ("first", "first_bias", "second", "second_bias", "last", "last_bias")
PLACES = {
    line.split()[0]: [tuple(map(int, pair)) for pair in re.findall(r"\((-?\d+), (-?\d+)\)", line)]
    for line in PAGE.split("```offsets")[1].split("```")[0].strip().splitlines()
}
OWN, AROUND = PLACES["own"], PLACES["around"]
LINE_OWN = [(0, -k) for k in range(1, 33)]
LINE_AROUND = [(0, x) for x in (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, -6, -7, -8)]
RULES = {
    1: [(16, 0, 9, 9, None, False, 4), (32, 0, 8, 12, None, False, 16)],
    2: [(14, 0, 9, 2, 4, True, 2), (18, 0, 10, 10, None, False, 16)],
    3: [(10, 9, 5, 2, 4, True, 2), (14, 13, 5, 10, None, False, 16)],
}


@functools.cache
def log(n: int) -> int:
    k = 0
    while n >> k > 4095:
        k += 1
    with localcontext(prec=40):
        return int((32 * Decimal(n >> k).ln() / Decimal(2).ln()).to_integral_value()) + 32 * k


@functools.cache
def root(i: int) -> int:
    with localcontext(prec=40):
        return int((65536 * (Decimal(2).ln() * i / 32).exp()).to_integral_value())


def power(x: int, n: int) -> int:
    shift = (x >> 5) + n - 16
    value = root(x % 32)
    return value << shift if shift >= 0 else value >> -shift


@functools.cache
def sigma(j: int) -> int:
    with localcontext(prec=40):
        return int((2**30 / (1 + (16 - Decimal(min(j, 512)) / 16).exp())).to_integral_value())


class Memory:
    """One regression of a plane."""

    def __init__(self, rule: tuple[Any, ...], n: int, width: int):
        self.drop, self.back, self.columns, self.every = rule[3:]
        self.n = n
        size = (n + 1) * (n + 2) // 2
        self.along = [0] * size
        self.down = [[0] * size for _ in range(width)] if self.columns else []
        self.weights = [0] * n
        self.above: list[list[int]] = []

    def fade(self, x: int) -> int:
        return x - (x >> self.drop) + (0 if self.back is None else x >> self.back)

    def begin_row(self) -> None:
        if not self.columns:
            return
        left, right = list(self.down[0]), [0] * len(self.along)
        rows = [left]
        for column in self.down[1:]:
            rows.append([self.fade(a) + c for a, c in zip(rows[-1], column, strict=True)])
        for x in range(len(rows) - 1, -1, -1):
            rows[x] = [a + q for a, q in zip(rows[x], right, strict=True)]
            right = [self.fade(q + c) for q, c in zip(right, self.down[x], strict=True)]
        self.above = rows

    def solve(self, x: int, ridge: int) -> None:
        n = self.n
        flat = [a + b for a, b in zip(self.along, self.above[x], strict=True)] if self.columns else self.along
        e = [[flat[a * (a + 1) // 2 + b] for b in range(a + 1)] for a in range(n + 1)]
        largest, t = max([1, *(e[a][a] for a in range(n))]), 0
        while largest >> (28 + t):
            t += 1
        rho = max(ridge >> t, 16)
        p = [[0] * n for _ in range(n)]
        f = [[0] * n for _ in range(n)]
        d = [0] * n
        for a in range(n):
            for b in range(a + 1):
                value = (e[a][b] >> t) - (sum(p[a][k] * f[b][k] for k in range(b)) >> 24)
                if b < a:
                    p[a][b], f[a][b] = value, (value << 24) // d[b]
                else:
                    d[a] = max(value + rho, rho)
        y = [0] * n
        for a in range(n):
            y[a] = (e[n][a] >> t) - (sum(f[a][k] * y[k] for k in range(a)) >> 24)
        for a in range(n - 1, -1, -1):
            others = sum(f[k][a] * self.weights[k] for k in range(a + 1, n))
            self.weights[a] = clip((y[a] << 16) // d[a] - (others >> 24), -(1 << 20), 1 << 20)

    def learn(self, x: int, values: list[int], spare: int) -> None:
        i = 0
        for a in range(self.n + 1):
            for b in range(a + 1):
                new = (values[a] * values[b]) << spare
                self.along[i] = self.fade(self.along[i]) + new
                if self.columns:
                    self.down[x][i] = self.fade(self.down[x][i]) + new
                i += 1


class Planes:
    """All values and errors, with borders."""

    def __init__(self, shape: tuple[int, ...], channels: int, bits: int):
        self.rank = min(len(shape), 3)
        slices = math.prod(shape[:-2]) if self.rank == 3 else 1
        self.shape = slices, shape[-2] if self.rank > 1 else 1, shape[-1]
        self.rows, self.columns = (0, 33) if self.rank == 1 else (3, 3)
        self.middle = 1 << (bits - 1)
        full = (channels, slices + 1, self.shape[1] + 2 * self.rows, self.shape[2] + 2 * self.columns)
        self.values = np.full(full, self.middle, object)
        self.errors = np.full(full, 0, object)
        self.others = np.full(full, 0, object)

    def at(self, what: np.ndarray, plane: int, z: int, y: int, x: int) -> int:
        return int(what[plane, z + 1, y + self.rows, x + self.columns])


def layers(network: list[np.ndarray], inputs: list[int]) -> list[int]:
    values = np.array(inputs, object)
    for i in (0, 2, 4):
        values = network[i + 1] * 128 + values @ network[i]
        if i < 4:
            values = np.array(
                [clip(h if h >= 0 else h >> 3, -4095, 4095) for h in (int(v) >> 10 for v in values)], object
            )
    return [int(v) for v in values]


class Sample:
    """The curve of one value, and its decisions."""

    def __init__(self, o: list[int], anchor: int, base: int, bits: int):
        g = [power((o[k] - max(o[:3])) >> 12, 16) for k in range(3)]
        w = [(g[k] << 16) // sum(g) for k in range(2)]
        self.weights = [*w, (1 << 16) - sum(w)]
        self.means = [32 * anchor + (base * clip(o[3 + k] >> 7, -(1 << 14), 1 << 14) >> 8) for k in range(3)]
        scales = [192 - log(base) - clip(o[6 + k] >> 12, -256, 256) for k in range(3)]
        self.inverses = [clip(power(s, 24), 1, 1 << 29) for s in scales]
        self.mean = sum(a * b for a, b in zip(self.weights, self.means, strict=True)) >> 16
        self.bits = bits

    def below(self, v: int) -> int:
        if v <= 0 or v >= 1 << self.bits:
            return 0 if v <= 0 else 1 << 32
        total = 0
        for w, mean, inverse in zip(self.weights, self.means, self.inverses, strict=True):
            z = clip((256 * v - 128 - mean) * inverse >> 20, -(1 << 16), 1 << 16) + (1 << 16)
            j, rest = z >> 8, z % 256
            total += w * (sigma(j) + ((sigma(j + 1) - sigma(j)) * rest >> 8))
        total >>= 14
        return total - (total >> 12) + (1 << 20) * v // (1 << self.bits)


def decision(stream: Stream, frequency: int, least: int = 24) -> int:
    f = clip(frequency, least, (1 << 16) - least)
    return stream.symbol([0, f, 1 << 16], 16)


class Habit:
    """Multiples that a plane's values have differed by."""

    def __init__(self) -> None:
        self.last, self.counts, self.levels = 0, [0] * 9, [1 << 21] * 9

    def coarse(self, stream: Stream) -> int:
        c = max([k for k in range(1, 9) if self.counts[k] >= 48], default=0)
        if c:
            bit = decision(stream, self.levels[c] >> 6)
            self.levels[c] += ((0 if bit else (1 << 22) - 1) - self.levels[c]) >> 6
            c = 0 if bit else c
        return c

    def learn(self, value: int) -> None:
        step, self.last = value - self.last, value
        for k in range(1, 9):
            self.counts[k] = 0 if step % (1 << k) else self.counts[k] + (step != 0)


class Recall:
    """What followed the same neighbours before."""

    def __init__(self) -> None:
        self.tables: list[dict[int, tuple[int, int, int, int | None]]] = [{}, {}, {}]  # by place: hash, w, count, x
        self.chances: dict[tuple[int, int, int, int], list[int]] = {}

    @staticmethod
    def hash(values: list[int]) -> int:
        mixed = 0
        for v in values:
            mixed = 0x9E3779B1 * (mixed + v + 1) % (1 << 32)
        return mixed

    def read(self, stream: Stream, hashes: list[int]) -> int | None:
        asked: list[int] = []
        for u in range(2):
            for s, own in enumerate(hashes):
                there, w, count, x = self.tables[s].get(own >> 15, (0, 0, 0, None))
                candidate = x if u else w
                if not count or there != own or candidate is None or candidate in asked:
                    continue
                chance = self.chances.setdefault((u, s, len(asked), count.bit_length()), [1 << 21, 0])
                bit = decision(stream, chance[0] >> 6, 3)
                chance[0] += (((0 if bit else (1 << 22) - 1) - chance[0]) * ((1 << 17) // (2 * chance[1] + 3))) >> 16
                chance[1] = min(chance[1] + 1, 255)
                if not bit:
                    return candidate
                asked.append(candidate)
        return None

    def learn(self, hashes: list[int], value: int) -> None:
        for table, own in zip(self.tables, hashes, strict=True):
            there, w, count, x = table.get(own >> 15, (0, 0, 0, None))
            if not count or there != own:
                table[own >> 15] = (own, value, 1, None)
            elif w == value:
                table[own >> 15] = (own, w, min(count + 1, 255), x)
            else:
                table[own >> 15] = (own, w, count >> 2, value) if count >> 2 else (own, value, 1, w)


RECALLED = {1: ((6, 0), (3, 0), (1, 0)), 2: ((12, 0), (4, 0), (2, 0)), 3: ((6, 5), (2, 1), (0, 1))}


def neighbour_sets(plane: int, rank: int, own: list[Any], around: list[Any]) -> list[list[tuple[int, ...]]]:
    same = [(plane - k, 0, 0, 0) for k in (1, 2)[: min(rank, 2)] if plane >= k]
    sets = []
    for n_own, n_behind in RECALLED[rank]:
        near = [(plane, 0, *o) for o in own[:n_own]] + [(plane, -1, *o) for o in around[:n_behind]]
        sets.append(same + near)
    return [*sets[:2], same or sets[2]]


def read_value(stream: Stream, curve: Sample, habit: Habit) -> int:
    c = habit.coarse(stream)
    r = habit.last % (1 << c)
    n = (((1 << curve.bits) - 1 - r) >> c) + 1
    low, high, f_low, f_high = 0, n, 0, 1 << 32

    def split(m: int) -> int:
        nonlocal low, high, f_low, f_high
        f = curve.below(r + (m << c) - ((1 << c) >> 1))
        bit = decision(stream, ((f - f_low) << 16) // (f_high - f_low) if f_high > f_low else 1 << 15)
        if bit:
            low, f_low = m, f
        else:
            high, f_high = m, f
        return bit

    p = clip((((curve.mean + 128) >> 8) - r + ((1 << c) >> 1)) >> c, 0, n - 1)
    side = split(p) if p > 0 else 1
    sizes = [1, *(1 << k for k in range(40))] if side else [1 << k for k in range(40)]
    for size in sizes:
        if size >= high - low or split(low + size if side else high - size) != side:
            break
    while high - low > 1:
        split((low + high) >> 1)
    return r + (low << c)


def read_plane(stream: Stream, planes: Planes, plane: int, bits: int, network: list[np.ndarray], mode: int) -> None:
    rank, (depth, height, width) = planes.rank, planes.shape
    earlier = [plane - k for k in (1, 2)[: min(rank, 2)] if plane >= k]
    own, around = (LINE_OWN, LINE_AROUND) if rank == 1 else (OWN, AROUND)
    regressors = []
    for n_own, n_behind, n_around, *_ in RULES[rank]:
        places = [(plane, 0, *o) for o in own[:n_own]] + [(plane, -1, *o) for o in around[:n_behind]]
        regressors.append(places + [(q, 0, *o) for q in earlier for o in around[:n_around]])
    memories = [Memory(rule, len(places), width) for rule, places in zip(RULES[rank], regressors, strict=True)]
    spare = max(24 - 2 * bits, 0)
    r, q = (1, 22) if rank == 1 else (20, 16)
    ridge = (r << spare << 2 * bits) >> q
    top, habit = 8 * ((1 << bits) - 1), Habit()
    errors_at = [(0, *o) for o in own[:7]]
    if rank == 3:
        errors_at[5:] = [(-1, 0, 0), (-1, 0, 1)]
    later = [(0, 1), (0, 2)] if rank == 1 else [(0, 1), (1, 0)]
    values, b, c = planes.values[plane], planes.rows, planes.columns
    recalled, sets = Recall(), neighbour_sets(plane, rank, own, around)
    for z in range(depth):
        if rank > 1 and z:
            values[z + 1, :b] = values[z, b]
        for y in range(height):
            if rank > 1:
                values[z + 1, y + b, :c] = values[z + 1, y + b - 1, c]
            for memory in memories:
                memory.begin_row()
            for x in range(width):

                def value(p: int, dz: int, dy: int, dx: int) -> int:
                    return planes.at(planes.values, p, z + dz, y + dy, x + dx)  # noqa: B023

                def mean(p: int, dz: int) -> int:
                    return sum(value(p, dz, *o) for o in OWN[:4]) >> 2

                predictions, seen = [], []
                m = value(plane, 0, 0, -1) if rank == 1 else mean(plane, 0)
                for memory, places in zip(memories, regressors, strict=True):
                    if rank == 1:
                        v = [value(*o) - value(*o[:3], o[3] - 1) for o in places]
                    else:
                        v = [value(*o) - mean(o[0], o[1]) for o in places]
                    if x % memory.every == 0:
                        memory.solve(x, ridge)
                    total = (m << 16) + sum(w * a for w, a in zip(memory.weights, v, strict=True))
                    predictions.append(clip(total >> 13, 0, top))
                    seen.append(v)
                anchor, far = predictions
                place = (plane, z, y, x)

                def error(p: int, dz: int, dy: int, dx: int, what: np.ndarray = planes.errors) -> int:
                    return planes.at(what, p, z + dz, y + dy, x + dx)  # noqa: B023

                e = [error(plane, *o) for o in errors_at]
                o_ = [error(plane, *errors_at[i], planes.others) for i in (0, 1, 3)]
                near = [value(plane, 0, *o) for o in own[:12]]
                a = [abs(k) for k in e]
                base = 8 * (4 * (a[0] + a[1]) + 2 * (a[2] + a[3]) + a[4] + a[5] + a[6]) // 15 + 22
                signed = [far - anchor, *(8 * k - anchor for k in near), e[0], e[1], e[3]]
                logs = [*a, *o_, abs(far - anchor)]
                logs.append(8 * (abs(near[0] - near[2]) + abs(near[1] - near[3]) + abs(near[1] - near[2])) + 2)
                for p in earlier:
                    three = [error(p, 0, *o) for o in ((0, 0), *later)]
                    signed += three
                    logs += [*map(abs, three), sum(abs(error(p, 0, *o)) for o in around[1:5])]
                features = [clip((k << 9) // base, -384, 384) for k in signed]
                features += [2 * log(k + 2) - 256 for k in logs]
                features += [4 * log(base) - 768, 256 * anchor // (top + 1) - 128]
                found, hashes = None, [Recall.hash([value(*o) for o in places]) for places in sets]
                if mode == 1:
                    found = stream.number(bits)
                elif mode == 2:
                    found = recalled.read(stream, hashes)
                if found is None:
                    found = read_value(stream, Sample(layers(network, features), anchor, base, bits), habit)
                recalled.learn(hashes, found)
                habit.learn(found)
                index = (place[0], z + 1, y + b, x + c)
                planes.values[index] = found
                planes.errors[index] = 8 * found - anchor
                planes.others[index] = abs(8 * found - far)
                for memory, v in zip(memories, seen, strict=True):
                    memory.learn(x, [*v, found - m], spare)
            if rank > 1:
                values[z + 1, y + b, c + width :] = values[z + 1, y + b, c + width - 1]
        if rank > 1:
            values[z + 1, b + height :] = values[z + 1, b + height - 1]


def exact_samples(payload: bytes, shape: tuple[int, ...], channels: int) -> np.ndarray:
    """Samples (*shape, channels) of a payload of architecture 25."""
    at = 0

    def varint() -> int:
        nonlocal at
        value, at = read_varint(payload, at)
        return value

    prior, low, step, q = varint(), varint(), varint() + 1, varint()
    low = (low >> 1) ^ -(low & 1)
    bits, listed = q // 2, [0]
    if q % 2:
        for _ in range(between(q // 2, 2, 1 << 24) - 1):
            listed.append(listed[-1] + varint() + 1)
        bits = next(b for b in range(25) if len(listed) <= 1 << b)
    between(bits, 0, 24)
    between(low, -(1 << 32), 1 << 32)
    between(step, 1, 1 << 32)
    between(step * (listed[-1] if q % 2 else (1 << bits) - 1), 0, 1 << 32)
    data = payload[at:]
    if not bits:
        if data:
            raise Damaged("bytes follow")
        return np.full((*shape, channels), low, np.int64)
    arrays = np.load(PRIORS[prior])
    stream = Stream(data)
    rank, networks, modes = min(len(shape), 3), [], []
    for plane in range(channels):
        modes.append(between(stream.number(2), 0, 2) if prior == 2 else 0)
        network = [arrays[f"{rank}_{min(plane, min(rank, 2))}_{name}"].astype(object) for name in NAMES]
        u = 0 if modes[-1] == 1 else stream.number(4)
        for i in range(6 if u else 0):
            curve = Curve(stream.number(7))
            changes = [curve.read(stream, 0) for _ in range(network[i].size)]
            network[i] = network[i] + (np.array(changes, object).reshape(network[i].shape) << u)
            between(int(abs(network[i]).max()), 0, 32767)
        networks.append(network)
    planes = Planes(shape, channels, bits)
    for plane in range(channels):
        read_plane(stream, planes, plane, bits, networks[plane], modes[plane])
    b, c = planes.rows, planes.columns
    inner = planes.values[:, 1:, b : b + planes.shape[1], c : c + planes.shape[2]].reshape(channels, *shape)
    order = [1, 0, *range(2, channels)] if channels >= 3 else list(range(channels))
    multiples = inner[np.argsort(order)].astype(np.int64)
    if q % 2:
        multiples = np.array(listed)[np.minimum(multiples, len(listed) - 1)]
    return np.moveaxis(multiples * step + low, 0, -1)
