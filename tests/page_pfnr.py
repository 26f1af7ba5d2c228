"""PFNR and collections of docs/format.md, from the page alone, in float64. Like `tests.page_frames`."""

from __future__ import annotations

import cmath
import math
import struct
import zlib
from collections.abc import Callable
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tests.page_frames import Image, Shape, Weights, conv, conv_shapes, encode, gelu, head, shuffled, stem

Arrays = list[Float[ndarray, "..."]]
Read = Callable[[list[Shape]], list[tuple[Float[ndarray, "..."], Float[ndarray, "..."]]]]
"""Reads tensors of these shapes, in order: their integers and their weights."""


def _widths(fields: list[int], strides: list[int]) -> list[int]:
    channels, floor = fields[3], fields[6]
    return [channels, *[max(channels // 2**i, min(floor, channels)) for i in range(len(strides))]]


def shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    _, _, modes, first, hidden, frequencies, _, shuffle = fields
    rows, columns = stem(strides, shuffle, grid)
    widths = _widths(fields, strides)
    n = rows * columns * first
    found: list[Shape] = [(2 * frequencies, hidden), (hidden,), (hidden, n), (n,)]
    for (a, b), stride in zip(pairwise(widths), strides, strict=True):
        found += conv_shapes(3, a, b * stride**2)
    q = min(1, len(strides) - 1)
    found += 2 * [(2 * modes, modes, widths[q], widths[q + 1])]
    return found + conv_shapes(1, widths[-1], channels * shuffle**2)


def _turn(part: float) -> complex:
    return cmath.exp(2j * math.pi * part)


def operator(x: Image, real: Float[ndarray, "..."], imaginary: Float[ndarray, "..."], s: int) -> Image:
    (h, w, _), (n_rows, modes, _, b) = x.shape, real.shape
    y = np.zeros((h * s, w * s, b))
    for u, v in np.ndindex(n_rows, modes):
        f = u if u < modes else u - n_rows
        spectrum = sum(x[i, j] * _turn(-f * i / h - v * j / w) for i, j in np.ndindex(h, w)) / (h * w)
        made = spectrum @ (real[u, v] + 1j * imaginary[u, v])
        for i, j in np.ndindex(h * s, w * s):
            y[i, j] += (1 if v == 0 else 2) * (made * _turn(f * i / (h * s) + v * j / (w * s))).real
    return y


def frame(fields: list[int], strides: list[int], arrays: Arrays, time: float, grid: Shape) -> Image:
    _, _, _, first, _, frequencies, _, shuffle = fields
    real, imaginary = arrays[-4:-2]
    weights: Weights = iter([*arrays[:-4], *arrays[-2:]])
    z = encode(time, grid[0], frequencies)
    z = gelu(z @ next(weights) + next(weights))
    z = gelu(z @ next(weights) + next(weights))
    x = z.reshape(*stem(strides, shuffle, grid), first)
    for number, stride in enumerate(strides):
        up = shuffled(conv(x, weights), stride)
        beside = number == min(1, len(strides) - 1)
        x = gelu(up + operator(x, real, imaginary, stride)) if beside else gelu(up)
    return head(x, weights, shuffle, grid)


def weights_of(wanted: list[Shape], store: Arrays | None, read: Read) -> tuple[Arrays, Arrays]:
    """The weights of a video and the store after it; `store`: that of the video whose weights it uses, if there is
    one. Weights of the store are not 0.
    """
    mine = [np.zeros(shape) for shape in wanted]
    if store is not None:
        assert len(store) == len(wanted)
        mine = [old if old.shape == shape else new for old, new, shape in zip(store, mine, wanted, strict=True)]
    counts = [int((old != 0).sum()) for old in mine]
    own = [(old.size - m,) if m else old.shape for old, m in zip(mine, counts, strict=True)]
    found = iter(read([(m,) for m in counts if m] + [shape for shape in own if shape != (0,)]))
    choices = [next(found)[0] if m else None for m in counts]
    used, after = [], []
    for place, (old, choice, shape) in enumerate(zip(mine, choices, own, strict=True)):
        new = np.zeros(old.shape)
        if shape != (0,):
            new[old == 0] = next(found)[1].ravel()
        chosen = np.zeros(old.shape)
        if choice is not None:
            assert set(choice.tolist()) <= {0, 1}
            chosen[old != 0] = choice
        used.append(old * chosen + new)
        shared = old.ndim > 1 and place < len(mine) - 2
        after.append(old + new if shared else np.zeros(old.shape))
    return used, after


def members(data: bytes) -> list[tuple[str, bytes]]:
    """Of a collection."""

    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value, at

    assert data[:4] == b"\x8d\x49\x5a\x87" and data[4] in (0, 1)
    length, at = varint(5)
    place = at + length + 4
    assert zlib.crc32(data[: place - 4]) == struct.unpack("<I", data[place - 4 : place])[0]
    n, at = varint(at)
    found = []
    if data[4]:
        n_heads, at = varint(at)
        heads = []
        for _ in range(n_heads):
            length, at = varint(at)
            heads.append(data[at : at + length])
            at += length
        length, at = varint(at)
        names, at = zlib.decompress(data[at : at + length], -15).decode().split("\n")[:-1], at + length
        for name in names:
            head, at = varint(at) if n_heads > 1 else (0, at)
            length, at = varint(at)
            file, place = heads[head] + data[place : place + length], place + length
            if heads[head]:
                file += struct.pack("<I", zlib.crc32(file))
                assert file[-4:-2] == data[at : at + 2]
                at += 2
            found.append((name, file))
        assert place == len(data) and len(names) == n
        return found
    for _ in range(n):
        length, at = varint(at)
        name, at = data[at : at + length].decode(), at + length
        length, at = varint(at)
        found.append((name, data[place : place + length]))
        place += length
    assert place == len(data)
    return found
