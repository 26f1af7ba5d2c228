"""Of docs/format.md: latent grids. From the page alone: see `tests.page_decoder`."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tests.page_stream import PAGE, Damaged, Shape, Stream, clip

NUMBER = 4
"""Of the architecture."""
PRIORS = {1: Path(__file__).resolve().parent.parent / "priors" / "grid_photographs.npz"}
COARSER = (9, 8, 7, 6, 4, 2)
ROOTS = (65536, 71468, 77936, 84990, 92682, 101070, 110218, 120194)
NEIGHBOURS = [
    tuple(map(int, pair))
    for pair in re.findall(r"\((-?\d+), (-?\d+)\)", PAGE.split("```neighbours")[1].split("```")[0])
]
GRIDS = [(6, True), (6, False), (5, True), (5, False), (4, True), (4, False)] + [(i, False) for i in (3, 2, 1, 0)]
Arrays = list[Any]


def array_shapes(k: int) -> list[Shape]:
    """All arrays of a plane of `k` channels."""
    return [
        (2, 24, 24), (2, 24), (2, 24), (2, 24), (2,), *((8, m) for m in COARSER), (8,), (8,), (8,), (10, 8), (6, 2, 4),
        (6, 2, 4), (32, 7), (32,), (k, 32), (k, 7), (k,), (k, k, 3, 3), (k,),
    ]  # fmt: skip


def root(factor: int, i: int) -> int:
    value = factor * ROOTS[i % 8]
    return (value << i // 8 if i >= 0 else value >> -(i // 8)) >> 16


def exponential(k: int) -> int:
    return 0 if k == 3072 else math.floor(2**15 * math.exp(-k / 256) + 0.5)


class Curve:
    """Numbers of one scale."""

    def __init__(self, scale: int):
        self.reach = 2 + root(9, scale - 64)
        self.inverse = root(1 << 19, 64 - scale)

    def read(self, stream: Stream, centre: int) -> int:
        middle = (centre + 16) >> 5
        fraction = centre - 32 * middle
        n = 2 * self.reach + 3
        symbol = stream.symbol(Starts(self, n, fraction), 16)
        number = middle + symbol - self.reach - 1
        if symbol in (0, n - 1):
            number += stream.exp_golomb(3) * (-1 if symbol == 0 else 1)
        if abs(number) > 32767:
            raise Damaged("number")
        return number

    def start(self, symbol: int, n: int, fraction: int) -> int:
        if symbol in (0, n):
            return 0 if symbol == 0 else 1 << 16
        edge = 16 * (2 * (symbol - self.reach) - 3) - fraction
        tail = exponential(min(abs(edge) * self.inverse >> 16, 3072))
        mass = tail if edge < 0 else (1 << 16) - tail
        return symbol + (mass * ((1 << 16) - n) >> 16)


class Starts(Sequence[int]):
    """All of a curve, worked out where they are looked at."""

    def __init__(self, curve: Curve, n: int, fraction: int):
        self.curve, self.n, self.fraction = curve, n, fraction

    def __len__(self) -> int:
        return self.n + 1

    def __getitem__(self, symbol: Any) -> Any:
        return self.curve.start(symbol, self.n, self.fraction)


CURVES = [Curve(scale) for scale in range(128)]


def split(flat: ndarray, k: int) -> Arrays:
    """Arrays of plain integers."""
    found, at = [], 0
    for shape in array_shapes(k):
        size = math.prod(shape)
        found.append(flat[at : at + size].reshape(shape))
        at += size
    return found


@functools.cache
def stored_arrays(prior: int) -> tuple[list[Arrays], Arrays, list[int]]:
    """Means, in three parts, spreads and steps."""
    with np.load(PRIORS[prior]) as stored:
        parts = [split(row.astype(np.int64), 3) for row in stored["mean"]]
        return parts, split(stored["spread"].astype(np.int64), 3), stored["steps"].tolist()


def means(prior: int, tone: int, k: int) -> Arrays:
    """The prior's parameters of a plane of `k` channels."""
    t = clip(tone - 256, -80, 96)
    found = [x + ((64 * y * t + z * t * t) >> 12) for x, y, z in zip(*stored_arrays(prior)[0], strict=True)]
    if k == 1:
        found[-2] = found[-2].sum(1, keepdims=True)
        found[-5:] = [array.sum(0, keepdims=True) // 3 for array in found[-5:]]
    return found


def read_arrays(stream: Stream, config: list[int], k: int, added: Arrays | None = None) -> Arrays:
    """A plane's parameters, whole numbers. `added`: to the prior's."""
    prior, tone, step, spread = config
    _, spreads, steps = stored_arrays(prior)
    arrays = means(prior, tone, k)
    if added is not None:
        arrays = [mean + more for mean, more in zip(arrays, added, strict=True)]
    for i, (mean, wide, s) in enumerate(zip(arrays, spreads, steps, strict=True)):
        size = max(1, min(root(1, 2 * (s + step - 64)), 1 << 17))
        own = wide[tuple(slice(n) for n in mean.shape)]
        scales = [clip(int(w) - 2 * s + 2 * (spread - step) + 64, 0, 127) for w in own.ravel()]
        arrays[i] = mean + size * np.array([CURVES[scale].read(stream, 0) for scale in scales]).reshape(mean.shape)
    return arrays


def limited(arrays: Arrays) -> Arrays:
    """As the context model takes them."""
    whole = [arrays[0] + 16384 * np.eye(24, dtype=np.int64), *arrays[1:15]]
    return [np.clip(array, -(1 << 17), 1 << 17) for array in whole]


def predict(
    arrays: Arrays, grids: list[ndarray], number: int, y: int, x: int, side: int | None = None
) -> tuple[int, int]:
    """Centre and scale of the latent at (y, x) of grid `number`; later latents are not looked at. `side`: of tiles.

    The arrays are `limited`.
    """
    hidden, hidden_bias, output, linear, output_bias = arrays[:5]
    level, hyper = GRIDS[number]
    height, width = grids[number].shape
    inputs = []
    for dy, dx in NEIGHBOURS:
        inside = 0 <= y + dy < height and 0 <= x + dx < width
        if side is not None:
            inside = inside and (y // side, x // side) == ((y + dy) // side, (x + dx) // side)
        inputs.append(256 * int(grids[number][y + dy, x + dx]) if inside else 0)
    known = []
    for m in range(6, level, -1):
        for wanted in (False, True):
            if (m, wanted) in GRIDS:
                known.append(int(grids[GRIDS.index((m, wanted))][y >> (m - level), x >> (m - level)]))
    features = arrays[14][number]
    if known:
        features = features + arrays[5 + level] @ np.array(known, np.int64)
    if level >= 4 and not hyper:
        features = features + arrays[11 + level - 4] * grids[number - 1][y, x]
    state = z = np.array([*inputs, *np.clip((features + 32) >> 6, -(1 << 23), 1 << 23)], np.int64)
    for w, b in zip(hidden, hidden_bias, strict=True):
        state = np.clip((w @ state + 256 * b + 8192) >> 14, 0, 1 << 23)
    sums = (output @ state + linear @ z + 256 * output_bias + 8192) >> 14
    out = [clip(int(total), -(1 << 23), 1 << 23) for total in sums]
    return (out[0] + 4) >> 3, clip((8 * out[1] >> 8) + 64, 0, 127)


def read_grids(
    streams: list[Stream], arrays: Arrays, height: int, width: int, side: int | None = None
) -> list[ndarray]:
    """All latents of a plane, from the streams that are its; `side`: of tiles, if there are any."""
    arrays = limited(arrays)
    grids: list[ndarray] = []
    first = streams.pop(0) if side is not None else streams[0]
    for number, (level, _) in enumerate(GRIDS):
        rows, columns = -(-height >> level), -(-width >> level)
        grids.append(np.zeros((rows, columns), np.int64))
        small = side is None or max(rows, columns) <= side
        step = max(rows, columns) if small or side is None else side
        for top in range(0, rows, step):
            for left in range(0, columns, step):
                stream = first if small else streams.pop(0)
                for y in range(top, min(top + step, rows)):
                    for x in range(left, min(left + step, columns)):
                        centre, scale = predict(arrays, grids, number, y, x, side)
                        grids[-1][y, x] = CURVES[scale].read(stream, centre)
    return grids


def synthesise(arrays: Arrays, grids: list[ndarray], tone: int) -> Float[ndarray, "rows columns channels"]:
    """A plane's values."""
    floats = [np.asarray(array, np.float32) / np.float32(1 << 14) for array in arrays]
    taps, filters, wide, wide_bias, narrow, straight, narrow_bias, kernel, kernel_bias = floats[15:]
    scale = np.float32(2**-3 * 10 ** ((tone - 256) / 128))
    mains = {level: grids[i] * scale for i, (level, hyper) in enumerate(GRIDS) if not hyper}
    stack = mains[6][None].astype(np.float32)
    for level in range(5, -1, -1):
        rows, columns = mains[level].shape
        stack = doubled(doubled(stack, taps[level, 0]).swapaxes(1, 2), taps[level, 1]).swapaxes(1, 2)
        own = filtered(filtered(mains[level].astype(np.float32), filters[level, 0]).T, filters[level, 1]).T
        stack = np.concatenate([own[None], stack[:, :rows, :columns]])
    p = np.pad(stack, ((0, 0), (1, 1), (1, 1)), mode="edge")
    h = np.maximum(np.einsum("oi,iyx->oyx", wide, p) + wide_bias[:, None, None], 0)
    u = np.einsum("oi,iyx->oyx", narrow, h) + np.einsum("oi,iyx->oyx", straight, p) + narrow_bias[:, None, None]
    return np.moveaxis(u[:, 1:-1, 1:-1] + correlated(u, kernel) + kernel_bias[:, None, None], 0, -1)


def filtered(x: ndarray, taps: ndarray) -> ndarray:
    """Along columns of samples; the ends repeat."""
    n = x.shape[0]
    rows = [[x[clip(i + s * d, 0, n - 1)] for d in range(4) for s in (-1, 1)] for i in range(n)]
    return np.stack(
        [sum(taps[d] * (at[2 * d] + at[2 * d + 1]) / (2 if d == 0 else 1) for d in range(4)) for at in rows]
    )


def doubled(x: ndarray, taps: ndarray) -> ndarray:
    """Twice the rows."""
    n = x.shape[1]
    out = np.zeros((x.shape[0], 2 * n, x.shape[2]), np.float32)
    for i in range(n):
        at = [x[:, clip(i + d, 0, n - 1)] for d in (0, -1, 1, -2, 2)]
        out[:, 2 * i] = taps[0] * at[0] + taps[1] * at[1] + taps[2] * at[2] + taps[3] * at[3]
        out[:, 2 * i + 1] = taps[0] * at[0] + taps[1] * at[2] + taps[2] * at[1] + taps[3] * at[4]
    return out


def correlated(u: ndarray, kernel: ndarray) -> ndarray:
    height, width = u.shape[1] - 2, u.shape[2] - 2
    parts = [
        np.einsum("oi,iyx->oyx", kernel[:, :, i, j], u[:, i : i + height, j : j + width])
        for i in range(3)
        for j in range(3)
    ]
    total: ndarray = np.sum(parts, 0)
    return total


def n_streams(height: int, width: int, side: int) -> int:
    """Streams of a plane in tiles."""
    sizes = [(-(-height >> level), -(-width >> level)) for level, _ in GRIDS]
    return 1 + sum(-(-rows // side) * -(-columns // side) for rows, columns in sizes if max(rows, columns) > side)


class Plane(NamedTuple):
    """All that is told of one."""

    n_channels: int
    arrays: Arrays
    latents: list[ndarray]
    values: Float[ndarray, "rows columns channels"]


def decode_planes(
    config: list[int],
    data: bytes,
    height: int,
    width: int,
    channels: int,
    untiled: int = 1 << 20,
    side: int = 256,
    added: dict[int, Arrays] | None = None,
) -> list[Plane]:
    """Of a payload after its configuration. `added`: to the prior's parameters, for a number of channels of a plane."""
    planes = []
    sizes = ([3] if channels >= 3 else []) + [1] * (channels - 3 if channels >= 3 else channels)
    tiled = height * width > untiled
    if tiled:
        lengths = []
        for _ in range(len(sizes) * n_streams(height, width, side)):
            length, data = varint(data)
            lengths.append(length)
        ends = np.cumsum(lengths).tolist()
        assert ends[-1] == len(data)
        streams = [Stream(data[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
    else:
        streams = [Stream(data)]
    for k in sizes:
        arrays = read_arrays(streams[0], config, k, None if added is None else added.get(k))
        latents = read_grids(streams, arrays, height, width, side if tiled else None)
        planes.append(Plane(k, arrays, latents, synthesise(arrays, latents, config[1])))
    return planes


def decode_grids(
    config: list[int], data: bytes, height: int, width: int, channels: int, untiled: int = 1 << 20, side: int = 256
) -> tuple[list[list[ndarray]], Float[ndarray, "rows columns channels"]]:
    """Latents and values of all planes of a payload after its configuration."""
    planes = decode_planes(config, data, height, width, channels, untiled, side)
    return [plane.latents for plane in planes], np.concatenate([plane.values for plane in planes], -1)


def varint(data: bytes) -> tuple[int, bytes]:
    """The number that data begin with, and what follows."""
    value, n = 0, 0
    while True:
        value |= (data[n] & 127) << 7 * n
        n += 1
        if data[n - 1] < 128:
            return value, data[n:]
