"""A decoder of combiner files, written from docs/format.md with NumPy alone, for tests to compare with."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from itertools import accumulate

import numpy as np

from tests.page_backbones import word
from tests.page_random import bell
from tests.page_stream import Stream

NUMBER = 27


Parts = list[tuple[int, int, int, int, int]]
"""Of each part of a block: seed and word of its first latent, this latent, the one after the last, and what is added to
scales.
"""


def prior_name(data: bytes) -> int:
    """The 28 bits that files name a prior by."""
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big") >> 4


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def decode(payload: bytes, prior: bytes, shape: tuple[int, ...], channels: int) -> np.ndarray:
    """Values of a signal, (*shape, channels)."""
    with np.load(io.BytesIO(prior)) as stored:
        p = {name: stored[name] for name in stored.files}
    axes, learned, side, _, _, _, bits = map(int, p["sizes"])
    assert axes == len(shape)
    name, at = varint(payload, 0)
    assert name == prior_name(prior)
    if "field" in p:
        return _decode_field(p, payload, at, (shape[0], shape[1]), channels)
    counts_of_patches = [-(-size // side) for size in shape]
    n = int(np.prod(counts_of_patches))
    members, counts = p["members"].astype(int), p["blocks"].astype(int)
    sizes = np.split(members, np.cumsum(counts)[:-1])
    form, at = varint(payload, at) if n > 1 else (0, at)
    if form == 1:
        chosen = _parted(LearnedNumbers(payload[at:]), n, sizes)
    else:
        chosen = _flat(payload, at, form - 1, n, len(p["weights"]), bits, sizes)
    values = np.zeros((*[n * side for n in counts_of_patches], learned))
    for place, (level, parts) in zip(np.ndindex(*counts_of_patches), chosen, strict=True):
        patch = _values(p, _latents(p, level, parts)[None], (1,) * axes)
        values[tuple(slice(i * side, (i + 1) * side) for i in place)] = patch
    values = values[tuple(slice(size) for size in shape)]
    return values if channels == learned else values.mean(-1, keepdims=True)


def _flat(
    payload: bytes, at: int, length: int, n: int, n_levels: int, bits: int, sizes: list[np.ndarray]
) -> list[tuple[int, list[Parts]]]:
    """Level and blocks of each of `n` patches, each with an index of so many bits; `length` of coded heads."""
    heads = []
    numbers = LearnedNumbers(payload[at : at + max(length, 0)])
    at += max(length, 0)
    for _ in range(n):
        if length > 0:
            level = numbers.read("level")
            heads.append((level, bits - numbers.read(f"saved at {level}"), numbers.read(f"blocks at {level}")))
            continue
        number, at = varint(payload, at)
        own = bits - number // n_levels
        count, at = varint(payload, at) if n > 1 else (8 * (len(payload) - at) // own, at)
        heads.append((number % n_levels, own, count))
    stream = "".join(f"{byte:08b}" for byte in payload[at:])
    chosen: list[list[Parts]] = [[] for _ in heads]
    last = max(count for _, _, count in heads)
    for block in range(last):
        for parts, (level, own, count) in zip(chosen, heads, strict=True):
            if block < min(count, len(sizes[level])) and len(stream) >= own:
                found, stream = _read_parts(stream, own, 0, int(sizes[level][block]), 0)
                seed = 0x52454300 + block
                parts.append([(seed, index * 128 + start, start, *rest) for index, start, *rest in found])
    assert len(stream) < 8
    return [(level, parts) for (level, _, _), parts in zip(heads, chosen, strict=True)]


def _parted(numbers: LearnedNumbers, n: int, sizes: list[np.ndarray]) -> list[tuple[int, list[Parts]]]:
    """The same of patches of parts."""
    heads = []
    for _ in range(n):
        level = numbers.read("level")
        heads.append((level, numbers.read(f"blocks at {level}")))
    chosen: list[list[Parts]] = [[] for _ in heads]
    for block in range(max(count for _, count in heads)):
        for parts, (level, count) in zip(chosen, heads, strict=True):
            if block < count:
                parts.append(list(numbers.parts(int(sizes[level][block]))))
    return [(level, parts) for (level, _), parts in zip(heads, chosen, strict=True)]


class LearnedNumbers:
    """Numbers whose bits each have counts of their own."""

    def __init__(self, data: bytes):
        self.stream, self.counts = Stream(data), dict[str, list[int]]()

    def bit(self, place: str) -> int:
        counts = self.counts.setdefault(place, [1, 1])
        bit = self.stream.bit(1 + counts[1] * (2**16 - 2) // sum(counts))
        counts[bit] += 2
        if sum(counts) > 256:
            counts[:] = [-(-count // 2) for count in counts]
        return bit

    def plain(self, bits: int) -> int:
        return self.stream.symbol(range(0, 2**16 + 1, 2 ** (16 - bits)), 16)

    def parts(self, size: int) -> Iterator[tuple[int, int, int, int, int]]:
        """Of each part of a block that is not 0: what `Parts` holds."""
        left = [(0, size, "whole")]
        while left:
            first, last, what = left.pop()
            digits, middle = f"{last - first:b}", first + -(-(last - first) // 2)
            number = self.read(f"part of {len(digits)} digits, {what}")
            if number == 1:
                left += [(middle, last, "half"), (first, middle, "half")]
            elif number > 1:
                spread = self.read(f"spread of {len(digits)} digits")
                yield 0x52454300, self.plain(number - 1) * 256, first, last, 8 * spread - 4

    def read(self, kind: str) -> int:
        length = next(i for i in range(1, 33) if self.bit(f"{kind}: length {i}"))
        digits = "1"
        while len(digits) < length:
            digits += str(self.bit(f"{kind}: after {digits} of {length}"))
        return int(digits, 2) - 1


def _read_parts(
    stream: str, bits: int, first: int, last: int, wider: int
) -> tuple[list[tuple[int, int, int, int]], str]:
    """Of each part of a block: index, first member, the one after the last, what is added to scales."""
    index, stream = int(stream[:bits], 2), stream[bits:]
    if index < 2**bits - 1:
        return [(index, first, last, wider)], stream
    if last - first == 1:
        return _read_parts(stream, bits, first, last, wider + 16)
    middle = first + -(-(last - first) // 2)
    one, stream = _read_parts(stream, bits, first, middle, wider)
    other, stream = _read_parts(stream, bits, middle, last, wider)
    return one + other, stream


def _latents(p: dict[str, np.ndarray], level: int, blocks: list[Parts]) -> np.ndarray:
    values = np.zeros(p["scales"].shape[1])
    counts = p["blocks"].astype(int)
    members = p["members"].astype(int)
    sizes = np.split(members, np.cumsum(counts)[:-1])
    order = np.split(p["order"].astype(int), np.cumsum([s.sum() for s in sizes])[:-1])
    mantissas = (7095, 7737, 8437, 9200, 10033, 10941, 11932, 13011)
    first = 0
    for block, parts in enumerate(blocks):
        for seed, at, start, stop, wider in parts:
            for j in range(start, stop):
                latent = order[level][first + j]
                scale = int(p["scales"][level, latent]) + wider
                number = bell(word(seed, at + j - start))
                values[latent] = number * mantissas[scale % 8] * 2.0 ** (scale // 8 - 20)
        first += int(sizes[level][block])
    return values


def _decode_field(
    p: dict[str, np.ndarray], payload: bytes, at: int, shape: tuple[int, int], channels: int
) -> np.ndarray:
    _, learned, side, factor, _, _, _ = map(int, p["sizes"])
    group, n_classes = map(int, p["field"])
    grids = list(map(int, p["grids"]))
    rows, columns = -(-shape[0] // side), -(-shape[1] // side)
    n = rows * columns
    weight, at = varint(payload, at)
    fill, at = payload[at], at + 1
    length, at = varint(payload, at)
    classes = _classes(payload[at : at + length], rows, columns, n_classes)
    count, at = varint(payload, at + length)
    numbers = LearnedNumbers(payload[at:])
    sides = [side // factor ** (len(grids) - i) for i in range(len(grids))]
    kinds = [sum(grids[:i]) + c for i, s in enumerate(sides) for _ in range(s * s) for c in range(grids[i])]
    patch_kinds = sum(grids)
    weights = (p["scales"].shape[1] - patch_kinds) // 3
    kinds += [patch_kinds + i for i in range(weights)]
    across = -(-columns // group)
    groups = -(-rows // group) * across
    level = weight * n_classes
    # what there is to be coded: (what it usually takes, class, kind), and the places of each
    every: dict[tuple[int, int], list[int]] = {}
    scale_at = {}
    for patch in range(n):
        for j, kind in enumerate(kinds):
            every.setdefault((int(classes[patch]), kind), []).append(patch * len(kinds) + j)
            scale_at[patch * len(kinds) + j] = int(p["scales"][level + classes[patch], kind])
    for i in range((groups + 1) * weights):
        kind = patch_kinds + (1 if i < groups * weights else 2) * weights + i % weights
        every.setdefault((0, kind), []).append(n * len(kinds) + i)
        scale_at[n * len(kinds) + i] = int(p["scales"][level, kind])
    order = sorted(every, key=lambda e: (-int(p["usual"][level + e[0], e[1]]), e))
    latents = np.zeros(n * len(kinds) + (groups + 1) * weights)
    mantissas = (7095, 7737, 8437, 9200, 10033, 10941, 11932, 13011)
    blocks = _blocks(p, order, every, level, fill)
    for _ in range(count):
        members = next(blocks)
        for seed, word_at, first, last, wider in numbers.parts(len(members)):
            for j, place in enumerate(members[first:last]):
                scale = scale_at[place] + wider
                latents[place] = bell(word(seed, word_at + j)) * mantissas[scale % 8] * 2.0 ** (scale // 8 - 20)
    patches = latents[: n * len(kinds)].reshape(n, -1)
    above = latents[n * len(kinds) :].reshape(groups + 1, weights)
    for patch in range(n):
        i, j = divmod(patch, columns)
        patches[patch, len(kinds) - weights :] += above[i // group * across + j // group] + above[-1]
    image = _values(p, patches, (rows, columns))[: shape[0], : shape[1]]
    return image if channels == learned else image.mean(-1, keepdims=True)


def _blocks(
    p: dict[str, np.ndarray],
    order: list[tuple[int, int]],
    every: dict[tuple[int, int], list[int]],
    level: int,
    fill: int,
) -> Iterator[list[int]]:
    """Members of each block."""
    taken, members, full = 0, [], fill * 32
    for own, kind in order:
        usual = int(p["usual"][level + own, kind])
        if usual == 0:
            break
        for place in sorted(every[own, kind], key=lambda place: (word(0x4F524400, place), place)):
            if members and (taken + usual > full or len(members) == 256):
                yield members
                taken, members = 0, []
            members.append(place)
            taken += usual
    if members:
        yield members


def _classes(data: bytes, rows: int, columns: int, n: int) -> np.ndarray:
    decoder = Stream(data)
    found = np.zeros((rows, columns), int)
    seen: dict[tuple[int, ...], list[int]] = {}
    for i, j in np.ndindex(rows, columns):
        left = found[i, j - 1] if j else 0
        above = found[i - 1, j] if i else left
        places = ((min(left, above), max(left, above)), ())
        counts = [seen.setdefault(place, [1] * n) for place in places]
        joined = [2 * a + b for a, b in zip(*counts, strict=True)]
        sizes = [1 + (4096 - n) * count // sum(joined) for count in joined]
        sizes[-1] += 4096 - sum(sizes)
        found[i, j] = decoder.symbol([0, *accumulate(sizes)], 12)
        for own in counts:
            own[found[i, j]] += 4
    return found.ravel()


def _values(p: dict[str, np.ndarray], latents: np.ndarray, counts: tuple[int, ...]) -> np.ndarray:
    """Of patches beside each other: (*samples, channels) of latents (patches, latents)."""
    axes, learned, side, factor, waves, width, _ = map(int, p["sizes"])
    grids, features, ranks = (list(map(int, p[name])) for name in ("grids", "features", "ranks"))
    shared, used = p["shared"].astype(np.float64), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal shared
        size = int(np.prod(shape))
        part, shared = shared[:size].reshape(shape), shared[size:]
        return part

    def some(*shape: int) -> np.ndarray:
        """The next latents of each patch, (*patches, *shape)."""
        nonlocal used
        size = int(np.prod(shape))
        used += size
        return latents[:, used - size : used].reshape(*counts, *shape)

    def inside(at: tuple[int, ...], size: int) -> tuple[slice, ...]:
        return tuple(slice(i * size, (i + 1) * size) for i in at)

    before, taps, places = [0, *features[:-1]], [3] * axes, [factor] * axes
    kernels = [take(*taps, b + g, *places, f) for b, g, f in zip(before, grids, features, strict=True)]
    biases = [take(*places, f) for f in features]
    straight = take(features[-1], learned)
    inputs = [features[-1] + 2 * axes * waves, *[width] * (len(ranks) - 1)]
    outputs = [*[width] * (len(ranks) - 1), learned]
    bases = [take(i + 1, o) for i, o in zip(inputs, outputs, strict=True)]
    maps = [take(r, (i + 1) * o) if r else None for r, i, o in zip(ranks, inputs, outputs, strict=True)]
    first = side // factor ** len(grids)
    x = np.zeros((*[n * first for n in counts], 0))
    for stage, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
        own, sizes = side // factor ** (len(grids) - stage), x.shape[:-1]
        grid = np.zeros((*sizes, grids[stage]))
        parts = some(*[own] * axes, grids[stage])
        for at in np.ndindex(*counts):
            grid[inside(at, own)] = parts[at]
        padded = np.pad(np.concatenate([x, grid], -1), [*[(1, 1)] * axes, (0, 0)])
        y = np.zeros((*[n * factor for n in sizes], features[stage]))
        for at in np.ndindex(*sizes):
            window = padded[tuple(slice(i, i + 3) for i in at)]
            y[inside(at, factor)] = np.tensordot(window, kernel, axes + 1) + bias
        if stage + 1 < len(grids):
            y[..., learned:] = np.maximum(y[..., learned:], 0.1 * y[..., learned:])
        x = y
    position = (2 * np.arange(side) + 1) / side - 1
    waves_of = [f(np.pi * 2**o * position / 2) for o in range(waves) for f in (np.sin, np.cos)]
    fixed = [
        np.broadcast_to(wave.reshape([side if a == axis else 1 for a in range(axes)]), [side] * axes)
        for axis in range(axes)
        for wave in waves_of
    ]
    layers = []
    for base, rank_map in zip(bases, maps, strict=True):
        change = some(base.size) if rank_map is None else some(len(rank_map)) @ rank_map
        layers.append(base + change.reshape(*counts, *base.shape))
    values = np.zeros((*[n * side for n in counts], learned))
    for at in np.ndindex(*counts):
        there = inside(at, side)
        h = np.concatenate([x[there], *[np.stack(fixed, -1)] * bool(fixed)], -1)
        for layer, weights in enumerate(layers):
            h = h @ weights[at][:-1] + weights[at][-1]
            if layer + 1 < len(layers):
                h = np.sin(h)
        values[there] = h + x[there] @ straight + 0.5
    return values
