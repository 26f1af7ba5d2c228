"""Rate-distortion plots as inline SVG, whose text stays text."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inrzip.signal import Kind

from .curves import Curve
from .measuring import MAIN_METRIC, WORDS
from .published import PublishedCurve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE_WORDS: Mapping[Kind, str] = {
    Kind.IMAGE: "bits per pixel",
    Kind.VIDEO: "bits per pixel",
    Kind.AUDIO: "kbit/s",
    Kind.SHAPE: "bits per vertex of the original",
    Kind.VOLUME: "bits per voxel",
}
OURS = ("#d6336c", "#e8590c", "#9c36b5", "#c92a2a", "#f08c00", "#862e9c")
PEERS = ("#1864ab", "#37b24d", "#15aabf", "#7048e8", "#343a40", "#a9a100", "#4dabf7", "#63e6be")
PUBLISHED = ("#868e96", "#a9856b", "#748ffc", "#94d82d", "#66d9e8", "#b197fc", "#c0a000", "#adb5bd")
SIZES = {True: (8.2, 5.0), False: (5.2, 3.5)}
"""Inches of the main plot, and of the smaller ones."""
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "inrzip",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#adb5bd",
    "axes.grid": True,
    "grid.color": "#e9ecef",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def colours(curves: Sequence[Curve]) -> dict[str, str]:
    """A colour for each method: warm for ours, cold for peers; the same in every plot and table."""
    found: dict[str, str] = {}
    for ours, palette in ((True, OURS), (False, PEERS)):
        names = dict.fromkeys(curve.name for curve in curves if curve.ours == ours)
        found |= {name: palette[i % len(palette)] for i, name in enumerate(names)}
    return found


def rd_plot(curves: Sequence[Curve], metric: str, published: Sequence[PublishedCurve] = ()) -> str:
    """`metric` over rate (a logarithmic axis) of curves of one kind, as an `<svg>` element."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        return _rd_plot(curves, metric, published)


def _rd_plot(curves: Sequence[Curve], metric: str, published: Sequence[PublishedCurve]) -> str:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    kind = curves[0].kind
    palette, large = colours(curves), metric == MAIN_METRIC[kind]
    figure = Figure(figsize=SIZES[large], layout="constrained")
    axes = figure.add_subplot()
    n_items = max(len(curve.items) for curve in curves)
    for curve in sorted(curves, key=lambda c: not c.ours):
        nodes = [node for node in curve.nodes if metric in node.metrics]
        if not nodes or curve.lossless:
            continue
        width, size = (2.4, 6) if curve.ours else (1.4, 4)
        axes.plot(
            [node.rate for node in nodes],
            [node.metrics[metric] for node in nodes],
            label=curve.name + (f" ({len(curve.items)} of {n_items} items)" if len(curve.items) < n_items else ""),
            color=palette[curve.name],
            lw=width,
            marker="o",
            ms=size,
            zorder=3 if curve.ours else 2,
        )
    for i, paper in enumerate(published):
        rates, values = zip(*paper.pairs, strict=True)
        style: dict[str, Any] = {"color": PUBLISHED[i % len(PUBLISHED)], "lw": 1, "ls": "--", "marker": ".", "ms": 4}
        axes.plot(rates, values, label=f"{paper.name} (published)", **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    low, high = axes.get_xlim()
    named = "25" if high > 10 * low else "23457"  # ticks between powers of ten that get their number, as there is room
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in named else ""))
    axes.set_xlabel(RATE_WORDS[kind])
    axes.set_title(WORDS.get(metric, metric), loc="left", fontsize=11)
    if large:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return svg_of(figure)


def svg_of(figure: Figure) -> str:
    """A figure as an `<svg>` element that scales with the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    head, body = text.split(">", 1)
    return re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + body
