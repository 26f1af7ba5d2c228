"""A decoder written from docs/format.md alone, plain and slow: here and in `tests.page_stream` and its like.

Its constants are read from the page; numbers that stand here without a name stand so there. It imports nothing of the
package that it is a check on.
"""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from tests import page_backbones, page_finr, page_frames, page_nirvana, page_pfnr, page_ternary, page_tree
from tests.page_frames import conv_shapes as _conv
from tests.page_frames import stem as _stem
from tests.page_hash import hash_shapes, neurbf_shapes
from tests.page_levels import Levels
from tests.page_predicted import CODES
from tests.page_stream import CONSTANTS, Damaged, Moving, Shape, Stream, between, whole


@dataclasses.dataclass(frozen=True)
class Tensor:
    """`levels` and `code`: their kinds. `integers`: as the code sees them."""

    levels: int
    code: int
    integers: Int[ndarray, "..."]
    weights: Float[ndarray, "..."]


def read_tensors(data: bytes, shapes: list[Shape], version: int = 2) -> list[Tensor]:
    """The page's "Weight stream"."""
    stream, tensors = Stream(data), []
    levels, codes = Levels(stream), [code(stream) for code in CODES]
    place = Moving(32, 0, 0, len(CODES) - 1)
    for shape in shapes:
        viewed, meaning = levels.read(shape) if version > 1 else levels.read_uniform(shape)
        number = whole("code_order")[place.read(stream) if version > 1 else 0]
        values = codes[number].read(viewed) if math.prod(shape) else []
        integers = np.array([between(v, -(1 << 31), (1 << 31) - 1) for v in values], np.int64).reshape(viewed)
        tensors.append(Tensor(levels.kind.value, number, integers, meaning(integers).astype(np.float32)))
    if stream.position < stream.length:
        raise Damaged
    return tensors


# ---- payloads ----


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at


SINGLE_FIELDS = {
    2: 5,
    3: 7,
    11: 7,
    12: 3,
    13: 3,
    15: 10,
    16: 4,
    17: 8,
    18: 7,
    19: 2,
    20: 7,
    30: 7,
    21: 8,
    22: 8,
    23: 9,
    26: 1,
}
"""How many fields of an architecture are single numbers, if not 2."""
WITHOUT_LIST = (11, 15)
WITH_TWO = (23,)


def read_config(data: bytes, number: int) -> tuple[list[int], list[int], int]:
    """Single fields, the list, and where the weight stream begins. Of two lists, the first one's length comes first."""
    fields, at = [], 0
    for _ in range(SINGLE_FIELDS.get(number, 2)):
        value, at = read_varint(data, at)
        fields.append(value)
    if number in WITHOUT_LIST:
        return fields, [], at
    length, at = read_varint(data, at)
    entries = []
    for _ in range(length):
        value, at = read_varint(data, at)
        entries.append(value)
    if number in WITH_TWO:
        length, at = read_varint(data, at)
        entries = [len(entries), *entries]
        for _ in range(length):
            value, at = read_varint(data, at)
            entries.append(value)
    return fields, entries, at


def _nerv_shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    width, hidden, frequencies, floor, shuffle = fields
    rows, columns = _stem(strides, shuffle, grid)
    stem = rows * columns * width
    widths = [width, *[max(width // 2**i, min(floor, width)) for i in range(len(strides))]]
    shapes: list[Shape] = [(2 * frequencies, hidden), (hidden,), (hidden, stem), (stem,)]
    for (a, b), stride in zip(pairwise(widths), strides, strict=True):
        shapes += _conv(3, a, b * stride**2)
    return shapes + _conv(1, widths[-1], channels * shuffle**2)


def _hnerv_shapes(fields: list[int], strides: list[int], grid: Shape, channels: int) -> list[Shape]:
    embedding, width, reduction, kernel, floor, head, shuffle = fields
    shapes = [(grid[0], *_stem(strides, shuffle, grid), embedding), *_conv(1, embedding, width)]
    for i, stride in enumerate(strides):
        narrower = max(round(10 * width / reduction), min(floor, width))
        shapes += _conv(min(1 + 2 * i, kernel), width, narrower * stride**2)
        width = narrower
    return shapes + _conv(head, width, channels * shuffle**2)


def inner_shapes(inner: list[int], grid: Shape, channels: int) -> list[Shape]:
    """Of the SIREN inside another network."""
    number, width, depth, n_scales, *scales = inner
    assert number == 1 and n_scales == len(scales)
    return page_backbones.dense_shapes([width, depth], scales, grid, channels)


def _doh_shapes(fields: list[int], inner: list[int], grid: Shape, channels: int) -> list[Shape]:
    latents, _, form = fields
    return [(latents,), (1 if form == 1 else 2, len(inner_shapes(inner, grid, channels)))]


def _bits_shapes(fields: list[int], inner: list[int], grid: Shape, channels: int) -> list[Shape]:
    places = (*grid, max(1, fields[0].bit_length()))
    if inner[0] == page_ternary.NUMBER:
        return page_ternary.shapes(*inner[1:], places, channels)
    return inner_shapes(inner, places, channels)


def own_coefficients(coefficients: int, sizes: list[int]) -> list[int]:
    return [min(size, max(1, coefficients * size // sum(sizes))) for size in sizes]


def _pranc_shapes(fields: list[int], inner: list[int], grid: Shape, channels: int) -> list[Shape]:
    coefficients, _, terms = fields
    sizes = [math.prod(shape) for shape in inner_shapes(inner, grid, channels)]
    return [(coefficients if terms else sum(own_coefficients(coefficients, sizes)),), (2, len(sizes))]


SHAPES = {"SIREN": (1, page_backbones.dense_shapes), "NeRV": (2, _nerv_shapes), "HNeRV": (3, _hnerv_shapes)}
SHAPES |= page_backbones.SHAPES | {"Finr": (14, page_finr.shapes)}
SHAPES |= {"Doh": (12, _doh_shapes), "Pranc": (13, _pranc_shapes)}
SHAPES |= {"Hash": (11, hash_shapes), "Neurbf": (15, neurbf_shapes), "Tree": (16, page_tree.shapes)}
SHAPES |= {"Enerv": (17, page_frames.enerv_shapes), "Nervpp": (18, page_frames.nervpp_shapes)}
SHAPES |= {"Boost": (19, page_frames.boost_shapes), "Normalhinerv": (20, page_frames.hinerv_shapes)}
SHAPES |= {"Hinerv": (30, page_frames.hinerv_shapes)}
SHAPES |= {"Nirvana": (21, page_nirvana.shapes), "Pfnr": (22, page_pfnr.shapes)}
SHAPES |= {"Mvc": (23, page_frames.mvc_shapes), "Bits": (26, _bits_shapes)}


def polynomial_sine(x: Float[ndarray, "..."]) -> Float[ndarray, "..."]:
    f = np.float32
    c = [f(text) for text in CONSTANTS["sine"]]
    t = np.rint(x * f(1 / math.pi))
    r = (x - t * f(3.140625)) - t * f(9.676536e-4)
    s = r * r
    return np.where(t % 2 == 0, f(1), f(-1)) * (r * (c[0] + s * (c[1] + s * (c[2] + s * (c[3] + s * c[4])))))


def siren_values(
    weights: list[Float[ndarray, "..."]], scales: list[int], grid: Shape, sine: Any
) -> Float[ndarray, "*grid c"]:
    positions = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, len(grid))
    x = ((2 * positions + 1) / np.array(grid) - 1).astype(np.float32) * np.array(scales, np.float32) / 8
    for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        x = sine(np.float32(30) * (x @ weight.T + bias))
    values: Float[ndarray, "*grid c"] = (x @ weights[-2].T + weights[-1] + np.float32(0.5)).reshape(*grid, -1)
    return values


def decode_plain_image(data: bytes, sine: Any) -> tuple[list[Tensor], Shaped[ndarray, "h w c"]]:
    """A plain file with a SIREN, 8-bit samples and the default range: the tensors, and the picture."""
    assert data[:3] == b"\x8d\x49\x5a" and data[3] == 0x88 and data[4] & 0xFC == 0
    assert zlib.crc32(data[:-4]) == struct.unpack("<I", data[-4:])[0]
    height, at = read_varint(data, 5)
    width, at = read_varint(data, at)
    grid, channels = (height + 1, width + 1), (1, 3, 4)[data[4] & 3]
    assert data[at] == 1
    payload = data[at + 1 : -4]
    fields, scales, begin = read_config(payload, 1)
    tensors = read_tensors(payload[begin:], page_backbones.dense_shapes(fields, scales, grid, channels))
    values = siren_values([tensor.weights for tensor in tensors], scales, grid, sine)
    samples = np.rint(np.clip(values.astype(np.float64), 0, 1) * 255).astype(np.uint8)
    return tensors, samples
