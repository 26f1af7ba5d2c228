"""The findings of a run as Markdown, for results that are kept in a repository."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from . import plots
from .bd import SOUND_SHARE, Delta
from .curves import Comparison, ItemDelta
from .report import KIND_WORDS, Section, interval_words

COLUMNS = ("method", "BD-rate", "BD-PSNR", "mean of items' BD-rates", "points used, dB in common (part of the shorter)")

ITEM_COLUMNS = ("item", "BD-rate", "BD-PSNR", "part of the shorter in common")


def summary(title: str, meta: Mapping[str, str], sections: Sequence[Section], notes: Sequence[str]) -> str:
    """The whole file. Plots lie beside it, as `KIND.svg`."""
    parts = [f"# {title}", f"`{meta['command']}`"]
    parts.append(f"Commit {meta['commit']}, {meta['source']}; {meta['device']}; {meta['versions']}.")
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    for section in sections:
        parts += _section(section)
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    parts = [f"## {KIND_WORDS[section.kind]}", "; ".join(section.item_words)]
    if any(curve.nodes and not curve.lossless for curve in section.curves):
        parts.append(f"![quality over rate]({section.kind.name.lower()}.svg)")
    if section.comparisons:
        parts.append(f"Against {section.comparisons[0].anchor}; negative rates and positive dB are better:")
        ranked = sorted(section.comparisons, key=lambda c: c.rate.value if c.rate else float("inf"))
        parts.append(_table(COLUMNS, [_comparison(found) for found in ranked]))
    pairs = dict.fromkeys((d.codec, d.anchor) for d in section.deltas if section.published)
    for codec, anchor in pairs:
        if codec.endswith("(published)") or anchor.endswith("(published)"):
            mine = [d for d in section.deltas if (d.codec, d.anchor) == (codec, anchor)]
            parts.append(f"{codec} against {anchor}:")
            parts.append(_table(ITEM_COLUMNS, [*map(_item, mine), _mean(mine)]))
    exact = sorted((c for c in section.curves if c.lossless and c.nodes), key=lambda c: c.nodes[0].bytes)
    if exact:
        rows = [(c.name, f"{c.nodes[0].bytes:,.0f}", f"{c.nodes[0].rate:.3f}", str(len(c.items))) for c in exact]
        parts.append(_table(("without loss", "mean bytes", plots.RATE_WORDS[section.kind], "items"), rows))
    settings = [f"{curve.name}: {curve.settings}" for curve in section.curves]
    return [*parts, "\n".join(f"- {line}" for line in settings)]


def _comparison(found: Comparison) -> tuple[str, ...]:
    mean = "–" if found.item_mean is None else f"{found.item_mean:+.1f} % ({found.n_items})"
    if found.rate is None:
        return found.codec, "–", _db(found.psnr), mean, found.problem
    rate = found.rate
    words = f"{rate.n_codec} and {rate.n_anchor}, {interval_words(rate)}"
    return found.codec, _percent(rate), _db(found.psnr), mean, words + (", too little" if _weak(rate) else "")


def _item(found: ItemDelta) -> tuple[str, ...]:
    share = "–"
    if found.rate is not None:
        point = found.rate.overlap[0] == found.rate.overlap[1]
        share = interval_words(found.rate) if point else f"{100 * found.rate.share:.0f} %"
    return found.item, _percent(found.rate), _db(found.psnr), share


def _mean(found: Sequence[ItemDelta]) -> tuple[str, ...]:
    """Of the items whose curves have enough in common, as in the report."""
    rates = [d.rate.value for d in found if d.rate is not None and not _weak(d.rate)]
    gains = [d.psnr.value for d in found if d.psnr is not None and not _weak(d.psnr)]
    rate = f"{np.mean(rates):+.1f} % ({len(rates)})" if rates else "–"
    return "mean (of so many items)", rate, f"{np.mean(gains):+.2f} dB ({len(gains)})" if gains else "–", ""


def _weak(delta: Delta) -> bool:
    return delta.share < SOUND_SHARE


def _percent(delta: Delta | None) -> str:
    return "–" if delta is None else f"{delta.value:+.1f} %"


def _db(delta: Delta | None) -> str:
    return "–" if delta is None else f"{delta.value:+.2f} dB"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
