"""How much memory decoding takes, worked out beforehand, so that what a header asks for can be refused untried."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .errors import LimitExceeded
from .units import format_size

POINTS_AT_ONCE = 1 << 20
"""Points decoded in one piece, if that is a row at least."""
BYTES_PER_VALUE = 28
"""For each value of a piece: floats before, while and after rounding to samples."""
BYTES_PER_POSITION = 48
"""For each position along an axis: itself, and the segment it is in."""
BYTES_PER_VERTEX = 400
"""For each vertex of a surface, and its two or three triangles: as marching cubes makes them, and in world units."""


def rows_at_once(row_points: int) -> int:
    """Rows of `row_points` points each that make a piece."""
    return max(1, POINTS_AT_ONCE // max(row_points, 1))


def decoding_bytes(sizes: Sequence[int], factors: Sequence[int], channels: int, rows: int) -> int:
    """Memory for decoding a grid of `sizes` samples, `rows` rows at once, each sample the mean of `factors` points."""
    fine = [size * factor for size, factor in zip(sizes, factors, strict=True)]
    points = min(rows * factors[0], fine[0]) * math.prod(fine[1:])
    return points * channels * BYTES_PER_VALUE + sum(fine) * BYTES_PER_POSITION


def check(needed: int, limit: int | None, name: str) -> None:
    """Raises `LimitExceeded` if `needed` bytes are more than `limit`; None is no limit. `name`: the file's."""
    if limit is not None and needed > limit:
        raise LimitExceeded(
            f"{name}: decoding needs about {format_size(needed)}, the limit is {format_size(limit)}; "
            "raise it (--max-memory) or decode a part, or less finely"
        )
