"""The report: one HTML file that holds all it shows."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence

from inrzip.metrics import LOSSLESS_DB
from inrzip.signal import Kind
from inrzip.units import format_duration

from . import plots
from .bd import SOUND_SHARE, Delta
from .curves import Comparison, Curve, ItemDelta
from .measuring import MAIN_METRIC, RATE_UNIT, WORDS
from .page import PAGE_SCRIPT, PAGE_STYLE
from .published import PublishedCurve

KIND_WORDS: Mapping[Kind, str] = {
    Kind.IMAGE: "Images",
    Kind.VIDEO: "Video",
    Kind.AUDIO: "Sound",
    Kind.SHAPE: "Shapes",
    Kind.VOLUME: "Volumes",
}
WIDEST_BAR = 46  # % of a table cell
LARGEST_BAR_RATE = 200.0  # % of BD-rate that fills it


@dataclasses.dataclass(frozen=True)
class Shown:
    """A picture in a row of pictures: its caption in two lines, and its URL."""

    title: str
    detail: str
    url: str


@dataclasses.dataclass(frozen=True)
class Row:
    """What one item looks like: the original first, then every method near the same bytes."""

    item: str
    shown: tuple[Shown, ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """All about one kind."""

    kind: Kind
    item_words: tuple[str, ...]
    curves: tuple[Curve, ...]
    comparisons: tuple[Comparison, ...]
    published: tuple[PublishedCurve, ...]
    deltas: tuple[ItemDelta, ...]
    rows: tuple[Row, ...]


def page(title: str, meta: Mapping[str, str], sections: Sequence[Section], notes: Sequence[str]) -> str:
    """The whole file."""
    facts = "".join(f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in meta.items())
    warnings = "".join(f"<li>{_text(note)}</li>" for note in notes)
    links = "".join(f'<a href="#{s.kind.name.lower()}">{KIND_WORDS[s.kind]}</a>' for s in sections)
    body = "".join(section_html(section) for section in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{PAGE_STYLE}</style></head><body><header><h1>{_text(title)}</h1><nav>{links}</nav></header><main>"
        f"{f'<ul class=notes>{warnings}</ul>' if notes else ''}{body}"
        f"<section><h2>How this was made</h2><dl>{facts}</dl>{_definitions()}</section></main>"
        f"<script>{PAGE_SCRIPT}</script></body></html>\n"
    )


def section_html(section: Section) -> str:
    """One kind: headline, plots, deltas, pictures, every number."""
    lossy = [curve for curve in section.curves if not curve.lossless and curve.nodes]
    parts = [f'<section id="{section.kind.name.lower()}"><h2>{KIND_WORDS[section.kind]}</h2>']
    parts.append(f"<p class=items>{_text('; '.join(section.item_words))}</p>")
    if lossy:
        main = MAIN_METRIC[section.kind]
        others = dict.fromkeys(name for curve in lossy for node in curve.nodes for name in node.metrics)
        parts.append(_headline(section))
        parts.append(f"<figure class=main>{plots.rd_plot(lossy, main, section.published)}{_scope(section)}</figure>")
        parts.append(_comparison_table(section, plots.colours(section.curves)))
        small = [plots.rd_plot(lossy, name) for name in others if name != main]
        parts.append("<div class=grid>" + "".join(f"<figure>{svg}</figure>" for svg in small) + "</div>")
    parts.append(_lossless_table(section))
    parts += [_row_html(row) for row in section.rows]
    parts.append(_item_table(section))
    parts.append(_node_table(section))
    parts.append(_settings_table(section))
    return "".join(parts) + "</section>"


def _scope(section: Section) -> str:
    """What published curves were averaged over, which need not be the items here."""
    scopes: dict[str, list[str]] = {}
    for paper in section.published:
        scopes.setdefault(paper.scope, []).append(paper.name)
    words = "; ".join(f"{', '.join(names)}: {scope}" for scope, names in scopes.items())
    return f"<figcaption>Published means, not measured here. {_text(words)}.</figcaption>" if words else ""


def _headline(section: Section) -> str:
    """The finding in a sentence: where the best of ours stands against the anchor."""
    ours = {curve.name for curve in section.curves if curve.ours}
    found = [c for c in section.comparisons if c.codec in ours and (c.rate or c.psnr)]
    wide = [c for c in found if c.rate is not None and c.rate.share >= SOUND_SHARE]
    if wide:
        best, rate = min(((c, c.rate) for c in wide if c.rate), key=lambda pair: pair[1].value)
        finding = f"takes <b>{abs(rate.value):.0f} %</b> {'more' if rate.value >= 0 else 'less'} bytes than"
        where = f"at equal quality ({rate.overlap[0]:.1f} to {rate.overlap[1]:.1f} dB)"
    elif any(c.psnr for c in found):
        best, gain = max(((c, c.psnr) for c in found if c.psnr), key=lambda pair: pair[1].value)
        finding = f"is <b>{abs(gain.value):.1f} dB</b> {'above' if gain.value >= 0 else 'below'}"
        unit = plots.RATE_WORDS[section.kind]
        where = f"at equal bytes ({gain.overlap[0]:.3g} to {gain.overlap[1]:.3g} {unit})"
    else:
        return ""
    return f"<p class=headline><b>{_text(best.codec)}</b> {finding} <b>{_text(best.anchor)}</b> {where}.</p>"


def _comparison_table(section: Section, palette: Mapping[str, str]) -> str:
    if not section.comparisons:
        return ""
    rows = []
    ranked = sorted(section.comparisons, key=lambda c: c.rate.value if c.rate else float("inf"))
    for found in ranked:
        cells = [f'<i style="background:{palette[found.codec]}"></i>{_text(found.codec)}']
        cells += _delta_cells(found.rate, found.psnr)
        cells.append("" if found.item_mean is None else f"{found.item_mean:+.1f} % ({found.n_items})")
        cells.append(_points_used(found))
        rows.append(
            "<tr>" + "".join(f"<td{'' if i in (0, 5) else ' class=n'}>{c}</td>" for i, c in enumerate(cells)) + "</tr>"
        )
    anchor = _text(section.comparisons[0].anchor)
    return (
        f"<table><caption>Against {anchor}: negative rates and positive dB are better</caption><tr><th>method</th>"
        "<th></th><th class=n>BD-rate</th><th class=n>BD-PSNR</th><th class=n>mean of items' BD-rates</th>"
        "<th>points used, and qualities in common (part of the shorter curve)</th></tr>" + "".join(rows) + "</table>"
    )


def _delta_cells(rate: Delta | None, gain: Delta | None) -> list[str]:
    """A bar, the BD-rate and the BD-PSNR; a dash for what does not exist."""
    cells = ["", "&ndash;"]
    if rate is not None:
        weak = "" if rate.share >= SOUND_SHARE else " class=weak"
        cells = [_bar(rate.value) if not weak else "", f"<span{weak}>{rate.value:+.1f} %</span>"]
    return [*cells, "&ndash;" if gain is None else f"{gain.value:+.2f} dB"]


def interval_words(rate: Delta) -> str:
    """What a BD-rate averages over."""
    low, high = rate.overlap
    return f"at {low:.1f} dB" if low == high else f"{low:.1f} to {high:.1f} dB ({100 * rate.share:.0f} %)"


def _points_used(found: Comparison) -> str:
    """How sound the deltas are, in words."""
    if found.rate is None:
        return _text(found.problem)
    rate = found.rate
    words = f"{rate.n_codec} and {rate.n_anchor} points, {interval_words(rate)}"
    words += f", {rate.n_dropped} left out" if rate.n_dropped else ""
    return words + ("; <b>little in common: take no number from the BD-rate</b>" if rate.share < SOUND_SHARE else "")


def _bar(value: float) -> str:
    """A bar from the middle: to the left saves, to the right costs."""
    width = min(abs(value) / LARGEST_BAR_RATE, 1.0) * WIDEST_BAR
    side = "right:50%;background:#2b8a3e" if value < 0 else "left:50%;background:#d6336c"
    return f'<div class=bar><span style="{side};width:{width:.1f}%"></span></div>'


def _lossless_table(section: Section) -> str:
    curves = sorted((c for c in section.curves if c.lossless and c.nodes), key=lambda c: c.nodes[0].bytes)
    if not curves:
        return ""
    rows = "".join(
        f"<tr><td>{_text(c.name)}</td><td class=n>{c.nodes[0].bytes:,.0f}</td><td class=n>{c.nodes[0].rate:.3f}</td>"
        f"<td class=n>{len(c.items)}</td></tr>"
        for c in curves
    )
    unit = plots.RATE_WORDS[section.kind]
    return (
        "<table><caption>Without loss (decoded and compared)</caption><tr><th>method</th><th class=n>mean bytes</th>"
        f"<th class=n>{unit}</th><th class=n>items</th></tr>{rows}</table>"
    )


def _row_html(row: Row) -> str:
    figures = "".join(
        f'<figure><img src="{shown.url}" alt="{_text(shown.title)}"><figcaption><b>{_text(shown.title)}</b>'
        f"<br>{_text(shown.detail)}</figcaption></figure>"
        for shown in row.shown
    )
    hint = "<small>at about equal bytes; hold the pointer on one for the original</small>"
    return f"<h3>{_text(row.item)} {hint}</h3><div class=row>{figures}</div>"


def _item_table(section: Section) -> str:
    """BD-rates of every item: ours and papers against the anchor, and ours against papers. Folded away if there are
    no papers to compare with.
    """
    ours = {curve.name for curve in section.curves if curve.ours}
    peers = {curve.name for curve in section.curves} - ours
    pairs = dict.fromkeys((d.codec, d.anchor) for d in section.deltas if d.codec not in peers)
    if not pairs or len(section.item_words) < 2:
        return ""
    by_key = {(d.codec, d.anchor, d.item): d for d in section.deltas}
    head = "".join(f"<th class=n>{_text(codec)}<br>against {_text(anchor)}</th>" for codec, anchor in pairs)
    names = dict.fromkeys(d.item for d in section.deltas)
    rows = [
        f"<tr><td>{_text(name)}</td>" + "".join(_item_cell(by_key.get((*pair, name))) for pair in pairs) + "</tr>"
        for name in names
    ]
    means = "".join(_mean_cell([d for d in section.deltas if (d.codec, d.anchor) == pair]) for pair in pairs)
    opened = " open" if section.published else ""
    return (
        f"<details{opened}><summary>Every item: BD-rate</summary><div class=wide><table><caption>Negative is better. "
        "In dB: BD-PSNR, where no quality is in common but some rate is. In grey: less than half of the shorter curve "
        "in common; such items are not in the mean. Published points are what the papers print.</caption>"
        f"<tr><th>item</th>{head}</tr>{''.join(rows)}<tr><th>mean of BD-rates</th>{means}</tr></table></div></details>"
    )


def _item_cell(found: ItemDelta | None) -> str:
    if found is not None and found.rate is not None:
        weak = "" if found.rate.share >= SOUND_SHARE else " weak"
        return f"<td class='n{weak}'>{found.rate.value:+.1f} %</td>"
    if found is not None and found.psnr is not None:
        return f"<td class=n>{found.psnr.value:+.2f} dB</td>"
    return "<td class=n>&ndash;</td>"


def _mean_cell(found: Sequence[ItemDelta]) -> str:
    """The mean over those items whose curves have enough in common, and how many they are."""
    values = [d.rate.value for d in found if d.rate is not None and d.rate.share >= SOUND_SHARE]
    mean = f"{sum(values) / len(values):+.1f} % ({len(values)})" if values else "&ndash;"
    return f"<th class=n>{mean}</th>"


def _node_table(section: Section) -> str:
    """Every point of every curve, folded away."""
    names = list(dict.fromkeys(n for curve in section.curves for node in curve.nodes for n in node.metrics))
    head = "".join(f"<th class=n>{_text(name)}</th>" for name in names)
    rows = []
    for curve in section.curves:
        for node in curve.nodes:
            figures = "".join(
                f"<td class=n>{_figure(node.metrics[n])}</td>" if n in node.metrics else "<td></td>" for n in names
            )
            rows.append(
                f"<tr><td>{_text(curve.name)}</td><td class=n>{node.quality:g}</td><td class=n>{node.bytes:,.0f}</td>"
                f"<td class=n>{node.rate:.4f}</td>{figures}<td class=n>{format_duration(node.encode_seconds)}</td>"
                f"<td class=n>{format_duration(node.decode_seconds)}</td></tr>"
            )
    unit = RATE_UNIT[section.kind]
    return (
        "<details><summary>Every point (means over the items; items.csv has each item)</summary><div class=wide><table>"
        f"<tr><th>method</th><th class=n>quality</th><th class=n>bytes</th><th class=n>{unit}</th>{head}"
        "<th class=n>encode</th><th class=n>decode</th></tr>" + "".join(rows) + "</table></div></details>"
    )


def _figure(value: float) -> str:
    return "exact" if value == LOSSLESS_DB else f"{value:.4g}"


def _settings_table(section: Section) -> str:
    rows = []
    for curve in section.curves:
        left_out = (
            f"; {curve.n_partial} quality points left out, not measured for every item" if curve.n_partial else ""
        )
        rows.append(f"<tr><td>{_text(curve.name)}</td><td>{_text(curve.settings + left_out)}</td></tr>")
    for paper in section.published:
        rows.append(
            f"<tr><td>{_text(paper.name)} (published)</td><td>{_text(paper.scope)}; {_text(paper.source)}</td></tr>"
        )
    return (
        "<details><summary>Settings and sources</summary><table><tr><th>method</th><th>settings</th></tr>"
        + "".join(rows)
        + "</table></details>"
    )


def _definitions() -> str:
    words = "; ".join(f"<b>{_text(name)}</b>: {_text(text)}" for name, text in WORDS.items())
    return (
        "<p class=fine>Rates are bytes of whole files. Distortions are of what was decoded from them. Curves are means "
        "over the items at each quality point; BD-rate and BD-PSNR are by PCHIP over log-rate, of these "
        f"mean curves; points that another beats in both are left out. {words}.</p>"
    )


def _text(value: str) -> str:
    return html.escape(value, quote=True)
