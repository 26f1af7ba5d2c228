"""Motion between frames as bytes: pyramids of whole numbers, coarse to fine, with contexts that learn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from inrzip.codecs.cabac_kernels import DECODE, ENCODE
from inrzip.codecs.motion_kernels import N_CONTEXTS, NOT_ZERO, PRECISION, code_plane
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.errors import CorruptFile

Planes = Int[ndarray, "planes rows columns"]
Pyramid = Sequence[Planes]
"""Planes of each level, coarse to fine: displacements along rows and columns for each reference, then, for two of them,
the mix.
"""
CLASSES = 3
"""Of planes, at each level: displacements from one reference, from two, and mixes."""
MOST = 1 << 20
"""No number is as great."""
RARE = 1 << (PRECISION - 4)
"""The first probability of a number other than zero among zeros, below the coarsest level."""
_SYMBOLS = 128
"""Bits that a number takes, at most."""
_NOTHING = np.zeros(1, np.int64)


class Contexts:
    """What a coder learned of the planes so far."""

    def __init__(self, n_levels: int) -> None:
        self.array = np.full(2 * N_CONTEXTS * CLASSES * n_levels, 1 << (PRECISION - 1), np.int64)
        for number in range(CLASSES, CLASSES * n_levels):
            start = 2 * (N_CONTEXTS * number + NOT_ZERO)
            self.array[start : start + 2] = RARE


def _classes(n_planes: int) -> list[int]:
    return [0, 0] if n_planes == 2 else [1] * (n_planes - 1) + [2]


def encode_pyramid(encoder: RangeEncoder, contexts: Contexts, pyramid: Pyramid) -> None:
    """Codes the motion of a frame: two planes at each level, or five."""
    for level, planes in enumerate(pyramid):
        before = np.zeros(planes.shape[1:], np.int64)
        for plane, kind in zip(planes, _classes(len(planes)), strict=True):
            own = np.ascontiguousarray(plane, np.int64).copy()
            at = N_CONTEXTS * (CLASSES * level + kind)
            room = encoder.room(_SYMBOLS * own.size)
            predicted = level == 0 and kind == 0
            code_plane(ENCODE, encoder.state, room, _NOTHING, own, before, contexts.array, at, predicted)
            before = own


def decode_pyramid(
    decoder: RangeDecoder, contexts: Contexts, n_planes: int, shapes: Sequence[tuple[int, int]]
) -> list[Planes]:
    """The inverse of `encode_pyramid`, for levels of those shapes. Raises CorruptFile."""
    pyramid = []
    for level, shape in enumerate(shapes):
        planes = np.zeros((n_planes, *shape), np.int64)
        before = np.zeros(shape, np.int64)
        for plane, kind in zip(planes, _classes(n_planes), strict=True):
            at = N_CONTEXTS * (CLASSES * level + kind)
            predicted = level == 0 and kind == 0
            sound = code_plane(
                DECODE, decoder.state, decoder.data, _NOTHING, plane, before, contexts.array, at, predicted
            )
            if not sound or np.abs(plane).max(initial=0) >= MOST:
                raise CorruptFile("its motion is damaged or cut short; get the file again")
            before = plane
        pyramid.append(planes)
    return pyramid
