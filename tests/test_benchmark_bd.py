"""Bjontegaard deltas against an implementation of their own, and against cases whose answer is known."""

from __future__ import annotations

import bisect
import itertools
import math

import numpy as np
import pytest

from benchmarks import bd

ANCHOR = [(0.1, 27.0), (0.2, 29.5), (0.45, 32.6), (0.9, 35.1), (1.7, 38.0)]
CODEC = [(0.09, 26.1), (0.25, 29.4), (0.5, 31.8), (1.1, 35.5), (1.9, 37.2)]


def own_pchip(xs: list[float], ys: list[float], x: float) -> float:
    """Fritsch and Butland's slopes and the Hermite cubic, written out."""
    h = [b - a for a, b in itertools.pairwise(xs)]
    d = [(b - a) / step for a, b, step in zip(ys, ys[1:], h, strict=False)]

    def end(h0: float, h1: float, d0: float, d1: float) -> float:
        slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1)
        if slope * d0 <= 0:
            return 0.0
        return 3 * d0 if d0 * d1 <= 0 and abs(slope) > 3 * abs(d0) else slope

    m = [end(h[0], h[1], d[0], d[1])]
    for i in range(1, len(d)):
        w1, w2 = 2 * h[i] + h[i - 1], h[i] + 2 * h[i - 1]
        m.append((w1 + w2) / (w1 / d[i - 1] + w2 / d[i]) if d[i - 1] * d[i] > 0 else 0.0)
    m.append(end(h[-1], h[-2], d[-1], d[-2]))
    i = min(max(bisect.bisect_right(xs, x) - 1, 0), len(h) - 1)
    t = (x - xs[i]) / h[i]
    return (
        (1 + 2 * t) * (1 - t) ** 2 * ys[i]
        + t * (1 - t) ** 2 * h[i] * m[i]
        + t * t * (3 - 2 * t) * ys[i + 1]
        + t * t * (t - 1) * h[i] * m[i + 1]
    )


def own_mean(anchor: list[tuple[float, float]], codec: list[tuple[float, float]]) -> float:
    """Mean of y(codec) - y(anchor) over the common x, by the trapezoid rule."""
    curves = [([x for x, _ in c], [y for _, y in c]) for c in (anchor, codec)]
    grid = np.linspace(max(anchor[0][0], codec[0][0]), min(anchor[-1][0], codec[-1][0]), 4001)
    values = [np.array([own_pchip(xs, ys, x) for x in grid]) for xs, ys in curves]
    return float(np.trapezoid(values[1] - values[0], grid) / (grid[-1] - grid[0]))


def test_against_an_implementation_of_its_own() -> None:
    logs = [[(q, math.log(r)) for r, q in curve] for curve in (ANCHOR, CODEC)]
    found = bd.bd_rate(ANCHOR, CODEC)
    assert found.value == pytest.approx(100 * (math.exp(own_mean(*logs)) - 1), abs=1e-4)
    assert found.overlap == (27.0, 37.2) and (found.n_anchor, found.n_codec, found.n_dropped) == (5, 5, 0)
    assert found.share == pytest.approx((37.2 - 27.0) / (38.0 - 27.0)) and "PCHIP" in found.method
    swapped = [[(x, y) for y, x in curve] for curve in logs]
    gain = bd.bd_psnr(ANCHOR, CODEC)
    assert gain.value == pytest.approx(own_mean(*swapped), abs=1e-5)
    assert gain.overlap == pytest.approx((0.1, 1.7))


def test_known_answers() -> None:
    """A curve of 20 % more bytes, one of half a dB more, and the same curve backwards."""
    assert bd.bd_rate(ANCHOR, [(1.2 * r, q) for r, q in ANCHOR]).value == pytest.approx(20)
    assert bd.bd_psnr(ANCHOR, [(r, q + 0.5) for r, q in ANCHOR]).value == pytest.approx(0.5)
    there, back = bd.bd_rate(ANCHOR, CODEC).value, bd.bd_rate(CODEC, ANCHOR).value
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1)
    assert bd.bd_rate(ANCHOR, ANCHOR[::-1]).value == pytest.approx(0)


def test_a_codec_of_one_point_is_compared_at_that_point() -> None:
    xs, ys = [q for _, q in ANCHOR], [math.log(r) for r, _ in ANCHOR]
    expected = math.exp(own_pchip(xs, ys, 30.7))
    found = bd.bd_rate(ANCHOR, [(0.9 * expected, 30.7)])
    assert found.value == pytest.approx(-10) and found.overlap == (30.7, 30.7) and found.share == 1
    assert (found.n_anchor, found.n_codec) == (5, 1)
    assert bd.bd_psnr(ANCHOR, [(0.45, 33.0)]).value == pytest.approx(0.4)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="share no interval of quality"):
        bd.bd_rate(ANCHOR, [(r, q + 20) for r, q in ANCHOR])
    with pytest.raises(ValueError, match="share no interval of rate"):
        bd.bd_psnr(ANCHOR, [(100 * r, q) for r, q in ANCHOR])
    with pytest.raises(ValueError, match="1 usable of 1"):
        bd.bd_rate(ANCHOR[:1], ANCHOR)
    with pytest.raises(ValueError, match="0 usable of 0"):
        bd.bd_rate(ANCHOR, [])
    with pytest.raises(ValueError, match="share no interval of quality"):
        bd.bd_rate(ANCHOR, [(0.1, 26.9)])
    with pytest.raises(ValueError, match="not positive"):
        bd.bd_rate(ANCHOR, [(0.0, 20.0), *CODEC])
    with pytest.raises(ValueError, match="not finite"):
        bd.bd_psnr(ANCHOR, [*CODEC, (2.0, math.nan)])


def test_few_points_warn() -> None:
    with pytest.warns(UserWarning, match="3 points"):
        bd.bd_rate(ANCHOR, CODEC[:3])


def test_points_that_another_beats_do_not_count() -> None:
    """More bytes and no better, or the same bytes and worse: left out, and said so."""
    found = bd.bd_rate(ANCHOR, [*CODEC, (0.6, 31.0), (0.25, 28.0)])
    assert found == bd.Delta(**{**vars(bd.bd_rate(ANCHOR, CODEC)), "n_dropped": 2})
