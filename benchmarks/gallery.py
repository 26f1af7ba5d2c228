"""Items side by side: the original, and what each method makes of it at about the same bytes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from inrzip.signal import Kind
from inrzip.units import format_size

from . import previews
from .items import Item
from .measuring import MAIN_METRIC, Point
from .methods import Method
from .report import Row, Shown
from .runner import Cache, Task, measure

NEAR = 0.02
"""Files whose sizes differ by less than this part count as equal."""
SEARCH_STEPS = 6
MOST_SECONDS = 10.0  # a method that takes longer for a point is shown at the nearest point there is
LOSSLESS_FROM_DB = 500.0


def gallery_row(
    item: Item, methods: Mapping[str, Method], points: Sequence[Point], cache: Cache, deadline: float | None
) -> Row | None:
    """The item and each lossy method's file nearest in bytes to a middle one of ours (of the first peer, without ours).

    Between two points of a quick peer's ladder, a quality is searched for; such points are in no curve.
    """
    mine = [p for p in points if p.item == item.name and not methods[p.method].lossless]
    if not mine:
        return None
    first = next((p.method for p in mine if methods[p.method].ours), mine[0].method)
    sizes = sorted(p.bytes for p in mine if p.method == first)
    wanted = sizes[len(sizes) // 2]
    shown = [Shown("original", size_words(item), previews.data_url(previews.picture(item.spec, item.content)))]
    for name in sorted(dict.fromkeys(p.method for p in mine), key=lambda name: not methods[name].ours):
        method = methods[name]
        found = _nearest(item, method, [p for p in mine if p.method == name], wanted, cache, deadline)
        stored = cache.file(Task(item, method, found.quality))
        if stored is not None:
            decoded = previews.data_url(previews.picture(item.spec, method.decode(stored[0], item)))
            shown.append(Shown(name, _figures(item, found), decoded))
    return Row(item.name, tuple(shown))


def size_words(item: Item) -> str:
    """ "768x512", "352x288, 24 frames", "2.8 s at 16 kHz", "2930 vertices"; and what was done to the file."""
    shape = item.spec.shape
    words = "x".join(map(str, shape))
    if item.kind in (Kind.IMAGE, Kind.VIDEO):
        words = f"{shape[-1]}x{shape[-2]}" + (f", {shape[0]} frames" if item.kind == Kind.VIDEO else "")
    elif item.kind == Kind.AUDIO:
        words = f"{shape[0] / item.rate:.1f} s at {item.rate / 1000:g} kHz"
        words += {1: "", 2: ", stereo"}.get(item.spec.channels, f", {item.spec.channels} channels")
    elif item.kind == Kind.SHAPE:
        words = f"{item.n_points} vertices"
    if item.kind in (Kind.IMAGE, Kind.VOLUME) and item.samples.dtype != np.uint8:
        words += f", {item.samples.dtype}"
    return ", ".join(filter(None, [words, item.excerpt]))


def _figures(item: Item, point: Point) -> str:
    db = point.metrics[MAIN_METRIC[item.kind]]
    return f"{format_size(point.bytes)}, " + (f"{db:.2f} dB" if db < LOSSLESS_FROM_DB else "lossless")


def _nearest(
    item: Item, method: Method, points: Sequence[Point], wanted: int, cache: Cache, deadline: float | None
) -> Point:
    """The point nearest to `wanted` bytes; for a quick peer also of qualities between, found by bisection."""
    best = min(points, key=lambda p: abs(p.bytes - wanted))
    below = max((p for p in points if p.bytes <= wanted), key=lambda p: p.bytes, default=None)
    above = min((p for p in points if p.bytes > wanted), key=lambda p: p.bytes, default=None)
    if method.ours or below is None or above is None or best.encode_seconds > MOST_SECONDS:
        return best
    low, high = below.quality, above.quality
    for _ in range(SEARCH_STEPS):
        late = deadline is not None and time.monotonic() > deadline
        if late or abs(best.bytes - wanted) <= NEAR * wanted:
            break
        middle = (low + high) / 2
        point = measure(Task(item, method, middle), cache)
        best = min(best, point, key=lambda p: abs(p.bytes - wanted))
        low, high = (middle, high) if point.bytes <= wanted else (low, middle)
    return best
