"""Bjontegaard deltas: how much more rate one codec takes than another at equal quality, and how much quality it gains.

Quality is interpolated by PCHIP (a monotone cubic, as in JVET's sheets) over the logarithm of the rate, or the
reverse, and the mean difference over the common interval is the delta. With four points a curve, differences under 1 %
are noise. A codec of a single point, as where a point takes half an hour, is compared at that point.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence

from scipy.interpolate import PchipInterpolator

METHOD = "PCHIP over log-rate"
LEAST_POINTS, WISE_POINTS = 2, 4
"""Of an anchor's curve, and of both."""
SOUND_SHARE = 0.5
"""Of the shorter curve: with less in common, a delta says little, and whoever prints it says so."""
Point = tuple[float, float]
"""Rate (more than 0, any unit) and quality (dB)."""


@dataclasses.dataclass(frozen=True)
class Delta:
    """A delta of a codec against an anchor.

    - `value`: % of rate (negative: the codec saves), or dB (positive: the codec gains).
    - `overlap`: low and high end of the interval averaged over: dB for a BD-rate, rate for a BD-PSNR. Equal for a codec
      of one point.
    - `share`: that interval as a part of what the shorter curve spans; 1 for a codec of one point.
    - `n_anchor`, `n_codec`: points used; `n_dropped`: points left out, as another had no more rate and no less quality.
    """

    value: float
    overlap: tuple[float, float]
    share: float
    n_anchor: int
    n_codec: int
    n_dropped: int
    method: str = METHOD


def bd_rate(anchor: Sequence[Point], codec: Sequence[Point]) -> Delta:
    """The mean difference of rate at equal quality, in %: +10 says that `codec` takes 10 % more than `anchor`.

    Raises ValueError for a codec without points, for an anchor of fewer than 2 usable ones, and for curves that share
    no quality; warns under 4 points.
    """
    curves = [_frontier(anchor, LEAST_POINTS), _frontier(codec, 1)]
    axes = [([quality for _, quality in curve], [math.log(rate) for rate, _ in curve]) for curve in curves]
    mean, (low, high), share = _mean_difference(axes[0], axes[1], "quality")
    return Delta(
        100 * math.expm1(mean), (low, high), share, len(curves[0]), len(curves[1]), _dropped(anchor, codec, curves)
    )


def bd_psnr(anchor: Sequence[Point], codec: Sequence[Point]) -> Delta:
    """The mean difference of quality at equal rate, in dB: +0.5 says that `codec` is half a dB better than `anchor`.

    Raises and warns as `bd_rate`.
    """
    curves = [_frontier(anchor, LEAST_POINTS), _frontier(codec, 1)]
    axes = [([math.log(rate) for rate, _ in curve], [quality for _, quality in curve]) for curve in curves]
    mean, (low, high), share = _mean_difference(axes[0], axes[1], "rate")
    overlap = math.exp(low), math.exp(high)
    return Delta(mean, overlap, share, len(curves[0]), len(curves[1]), _dropped(anchor, codec, curves))


def _frontier(curve: Sequence[Point], least: int) -> list[Point]:
    """The points that no other beats, by rising rate: so quality rises too, and either can be the axis."""
    if not all(rate > 0 and math.isfinite(rate) and math.isfinite(quality) for rate, quality in curve):
        raise ValueError("a curve has a rate that is not positive, or a number that is not finite")
    kept: list[Point] = []
    for rate, quality in sorted(curve, key=lambda point: (point[0], -point[1])):
        if not kept or quality > kept[-1][1]:
            kept.append((rate, quality))
    if len(kept) < least:
        raise ValueError(f"a curve has {len(kept)} usable of {len(curve)} points; at least {least} are needed")
    if len(kept) < WISE_POINTS:
        warnings.warn(f"a curve has only {len(kept)} points; {WISE_POINTS} make a sound delta", stacklevel=3)
    return kept


def _dropped(anchor: Sequence[Point], codec: Sequence[Point], curves: Sequence[Sequence[Point]]) -> int:
    return len(anchor) + len(codec) - sum(map(len, curves))


Axis = tuple[Sequence[float], Sequence[float]]


def _mean_difference(anchor: Axis, codec: Axis, name: str) -> tuple[float, tuple[float, float], float]:
    """Mean of codec's y less anchor's over the common x; that interval, and its share of the shorter curve."""
    low, high = max(anchor[0][0], codec[0][0]), min(anchor[0][-1], codec[0][-1])
    if low > high or (low == high and len(codec[0]) > 1):
        spans = [f"{x[0]:.4g} to {x[-1]:.4g}" for x, _ in (anchor, codec)]
        raise ValueError(f"the curves share no interval of {name} ({spans[0]}, {spans[1]})")
    if len(codec[0]) == 1:
        return codec[1][0] - float(PchipInterpolator(*anchor)(low)), (low, low), 1.0
    areas = [float(PchipInterpolator(x, y).integrate(low, high)) for x, y in (anchor, codec)]
    shorter = min(x[-1] - x[0] for x, _ in (anchor, codec))
    return (areas[1] - areas[0]) / (high - low), (low, high), (high - low) / shorter
