"""From points to curves: means over the items of a kind, Bjontegaard deltas, and the files that hold them."""

from __future__ import annotations

import csv
import dataclasses
import io
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from inrzip.signal import Kind

from . import bd, metrics
from .items import Item
from .measuring import MAIN_METRIC, RATE_UNIT, Point
from .methods import Method


@dataclasses.dataclass(frozen=True)
class Node:
    """A quality point of a curve: means over all items."""

    quality: float
    rate: float
    bytes: float
    metrics: dict[str, float]
    encode_seconds: float
    decode_seconds: float


@dataclasses.dataclass(frozen=True)
class Curve:
    """A method over all items of its kind. `nodes` rise in rate; `n_partial` qualities lack items and are left out."""

    name: str
    kind: Kind
    settings: str
    ours: bool
    lossless: bool
    nodes: tuple[Node, ...]
    items: tuple[str, ...]
    n_partial: int = 0

    def pairs(self) -> list[bd.Point]:
        """Rate and main metric."""
        return [(node.rate, node.metrics[MAIN_METRIC[self.kind]]) for node in self.nodes]


def make_curve(method: Method, items: Sequence[Item], points: Sequence[Point]) -> Curve:
    """The method's mean curve. Only qualities that every item has count: means over other items are not comparable."""
    names = [item.name for item in items if item.kind == method.kind]
    mine = [point for point in points if point.method == method.name]
    able = [name for name in names if any(point.item == name for point in mine)]
    nodes, n_partial = [], 0
    for quality in method.ladder:
        group = [point for point in mine if point.quality == quality]
        if not group or len(group) < len(able):
            n_partial += 1
            continue
        nodes.append(_mean(quality, group, method.kind))
    nodes.sort(key=lambda node: node.rate)
    settings = f"{method.settings}; {_version(method)}"
    return Curve(method.name, method.kind, settings, method.ours, method.lossless, tuple(nodes), tuple(able), n_partial)


def _version(method: Method) -> str:
    return "source " + method.version()[:12] if method.ours else method.version()


def _mean(quality: float, group: Sequence[Point], kind: Kind) -> Node:
    shared = [name for name in group[0].metrics if all(name in point.metrics for point in group)]
    means = {name: float(np.mean([point.metrics[name] for point in group])) for name in shared}
    if kind != Kind.SHAPE:
        name = "psnr-rgb-of-mean-mse" if kind in (Kind.IMAGE, Kind.VIDEO) else "psnr-of-mean-mse"
        means[name] = metrics.psnr_of_mean_mse([point.relative_mse or 0.0 for point in group], [1.0] * len(group))
    return Node(
        quality,
        float(np.mean([point.rate for point in group])),
        float(np.mean([point.bytes for point in group])),
        means,
        float(np.mean([point.encode_seconds for point in group])),
        float(np.mean([point.decode_seconds for point in group])),
    )


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A curve against the anchor: both deltas of the mean curves, and the mean of the items' own BD-rates; or why not.

    `n_items`: items whose curves could be compared.
    """

    anchor: str
    codec: str
    rate: bd.Delta | None
    psnr: bd.Delta | None
    item_mean: float | None
    n_items: int
    problem: str = ""


def compare(anchor: Curve, codec: Curve, points: Sequence[Point]) -> Comparison:
    """Bjontegaard deltas of `codec` against `anchor`. Mean curves must be of the same items."""
    each = [
        found.rate.value
        for found in item_deltas(anchor.name, codec.name, measured_items([anchor, codec], points))
        if found.rate is not None
    ]
    mean = float(np.mean(each)) if each else None
    if anchor.items != codec.items:
        return Comparison(anchor.name, codec.name, None, None, mean, len(each), "measured on other items")
    pairs = anchor.pairs(), codec.pairs()
    gain = _or_none(bd.bd_psnr, pairs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Comparison(anchor.name, codec.name, bd.bd_rate(*pairs), gain, mean, len(each))
    except ValueError as error:
        return Comparison(anchor.name, codec.name, None, gain, mean, len(each), str(error))


@dataclasses.dataclass(frozen=True)
class ItemDelta:
    """One item: a codec against an anchor, each measured or published. None where they have nothing in common."""

    item: str
    anchor: str
    codec: str
    rate: bd.Delta | None
    psnr: bd.Delta | None


ItemCurves = Mapping[str, Mapping[str, Sequence[bd.Point]]]
"""For each name, the points of each item."""


def measured_items(curves: Sequence[Curve], points: Sequence[Point]) -> ItemCurves:
    """The curves' single items."""
    return {curve.name: {item: _item_pairs(curve, item, points) for item in curve.items} for curve in curves}


def item_deltas(anchor: str, codec: str, items: ItemCurves) -> list[ItemDelta]:
    """Bjontegaard deltas of every item that both have."""
    found = []
    for item, pairs in items[codec].items():
        if item in items[anchor]:
            both = items[anchor][item], pairs
            found.append(ItemDelta(item, anchor, codec, _or_none(bd.bd_rate, both), _or_none(bd.bd_psnr, both)))
    return found


def _or_none(
    delta: Callable[[Sequence[bd.Point], Sequence[bd.Point]], bd.Delta], both: tuple[Sequence[bd.Point], ...]
) -> bd.Delta | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever prints deltas prints how many points were used
        try:
            return delta(both[0], both[1])
        except ValueError:
            return None


def _item_pairs(curve: Curve, item: str, points: Sequence[Point]) -> list[bd.Point]:
    metric = MAIN_METRIC[curve.kind]
    return [(p.rate, p.metrics[metric]) for p in points if p.item == item and p.method == curve.name]


def compressai_json(curve: Curve, meta: Mapping[str, object]) -> dict[str, object]:
    """The curve in the shape that CompressAI's tools read: lists by metric, points by rising rate; and `meta`."""
    results: dict[str, list[float]] = {RATE_UNIT[curve.kind]: [node.rate for node in curve.nodes]}
    shared = [name for name in (curve.nodes[0].metrics if curve.nodes else ())]
    for name in shared:
        results[name] = [node.metrics[name] for node in curve.nodes]
    results["bytes"] = [node.bytes for node in curve.nodes]
    results["quality"] = [node.quality for node in curve.nodes]
    results["encoding_time"] = [node.encode_seconds for node in curve.nodes]
    results["decoding_time"] = [node.decode_seconds for node in curve.nodes]
    description = f"{curve.settings}; mean over {len(curve.items)} items"
    return {"name": curve.name, "description": description, "results": results, "meta": dict(meta)}


def items_csv(points: Sequence[Point], items: Sequence[Item]) -> str:
    """A row for each point; columns of figures that an item does not have are empty."""
    kinds = {item.name: item.kind for item in items}
    names = list(dict.fromkeys(name for point in points for name in point.metrics))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    head = ["kind", "item", "method", "quality", "bytes", "rate", "rate_unit", "exact"]
    writer.writerow([*head, *names, "encode_seconds", "decode_seconds"])
    for point in points:
        kind = kinds[point.item]
        row = [kind.name.lower(), point.item, point.method, f"{point.quality:g}", point.bytes, f"{point.rate:.6g}"]
        figures = [f"{point.metrics[name]:.6g}" if name in point.metrics else "" for name in names]
        times = [f"{point.encode_seconds:.3f}", f"{point.decode_seconds:.3f}"]
        writer.writerow([*row, RATE_UNIT[kind], int(point.exact), *figures, *times])
    return buffer.getvalue()


DELTA_COLUMNS = ("kind", "item", "codec", "anchor", "bd_rate_percent", "bd_psnr_db", "db_low", "db_high", "db_share")


def deltas_csv(deltas: Mapping[Kind, Sequence[ItemDelta]]) -> str:
    """A row for each item and pair. `db_low` to `db_high` is what the BD-rate averages over, `db_share` its part of the
    shorter curve; without anything in common they are empty.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(DELTA_COLUMNS)
    for kind, found in deltas.items():
        for each in found:
            rate = [""] * 4
            if each.rate is not None:
                figures = each.rate.value, *each.rate.overlap, each.rate.share
                rate = [f"{figure:.2f}" for figure in figures]
            gain = "" if each.psnr is None else f"{each.psnr.value:.3f}"
            writer.writerow([kind.name.lower(), each.item, each.codec, each.anchor, rate[0], gain, *rate[1:]])
    return buffer.getvalue()
