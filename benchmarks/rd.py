"""`python -m benchmarks rd`: rate-distortion of recipes and peers on files, as JSON, CSV and one HTML report."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import mimetypes
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from inrzip.errors import InrzipError, UnsupportedSignal
from inrzip.files import atomic_output
from inrzip.signal import Kind

from . import curves, gallery, machine, plots, published, report, summary
from .items import Item, find_files, kinds_of, load_item
from .measuring import MAIN_METRIC, Point
from .methods import Method
from .ours import QUALITIES, Effort, Length, Seconds, knows, recipe_method
from .peers import choose_peers
from .runner import Cache, Outcome, make_tasks, run, stderr_teller

TITLE = "inrzip: rate and distortion"
ANCHORS = {Kind.IMAGE: "avif", Kind.VIDEO: "x265", Kind.AUDIO: "opus", Kind.SHAPE: "draco", Kind.VOLUME: "sz3"}
"""What Bjontegaard deltas are taken against, where it was measured and nothing else was asked for."""


def load_items(options: argparse.Namespace) -> tuple[list[Item], list[str]]:
    """All files of --data, and what was left out: files of folders that are no media. Equal names get their folder's.

    Raises InrzipError for a file that was named, or that its ending calls image, sound or video, and cannot be read:
    a mean over the others would look whole.
    """
    paths = find_files(options.data)
    counts = Counter(path.name for path in paths)
    items, notes = [], []
    for path in paths:
        try:
            item = load_item(path, options.max_frames, options.size)
        except UnsupportedSignal as error:
            if path in options.data or (mimetypes.guess_type(path)[0] or "").startswith(("image", "audio", "video")):
                raise
            notes.append(f"{path.name} was left out: {str(error).removeprefix(f'{path}: ')}")
            continue
        name = f"{path.parent.name}/{path.name}" if counts[path.name] > 1 else path.name
        items.append(dataclasses.replace(item, name=name))
    if len({item.name for item in items}) < len(items):
        raise InrzipError("--data: the same file is given twice")
    if not items:
        raise InrzipError("--data: there is nothing to measure")
    return items, notes


def choose_methods(options: argparse.Namespace, kinds: Sequence[Kind], deadline: float | None) -> list[Method]:
    """Peers first, as they are quick; then our recipes, each at each effort, or for each time."""
    methods = choose_peers(options.peers, kinds)
    lengths: list[Length] = [Seconds(time) for time in options.times] or [Effort(effort) for effort in options.efforts]
    for kind in kinds:
        for text in options.recipes:
            for length in lengths:
                make = functools.partial(recipe_method, folder=options.cache, deadline=deadline)
                methods += [make(text, kind, length, options.qualities or QUALITIES)] if knows(text, kind) else []
    if not methods:
        words = ", ".join(kind.name.lower() for kind in kinds)
        raise InrzipError(f"no recipe of --recipes and no peer of --peers is for the files there are ({words})")
    return methods


def make_section(
    kind: Kind,
    items: Sequence[Item],
    methods: Sequence[Method],
    outcome: Outcome,
    options: argparse.Namespace,
    cache: Cache,
    deadline: float | None,
) -> report.Section:
    """Curves, deltas and pictures of one kind."""
    mine = [item for item in items if item.kind == kind]
    names = {item.name for item in mine}
    points = [point for point in outcome.points if point.item in names]
    made = [curves.make_curve(m, mine, points) for m in methods if m.kind == kind]
    made = [curve for curve in made if curve.items]
    lossy = [curve for curve in made if not curve.lossless]
    anchor = next((c for c in lossy if c.name in (options.anchor or ANCHORS[kind])), lossy[0] if lossy else None)
    compared = [curves.compare(anchor, c, points) for c in lossy if anchor is not None and c is not anchor]
    papers = published.load(options.published, names) if options.published and kind == Kind.IMAGE else []
    by_name = {method.name: method for method in methods if method.kind == kind}
    each = _item_deltas(anchor, lossy, papers, points)
    rows = [gallery.gallery_row(item, by_name, points, cache, deadline) for item in mine[: options.previews]]
    words = [f"{item.name} ({gallery.size_words(item)})" for item in mine]
    shown = tuple(row for row in rows if row)
    return report.Section(kind, tuple(words), tuple(made), tuple(compared), tuple(papers), tuple(each), shown)


def _item_deltas(
    anchor: curves.Curve | None,
    lossy: Sequence[curves.Curve],
    papers: Sequence[published.PublishedCurve],
    points: Sequence[Point],
) -> list[curves.ItemDelta]:
    """Every item: all against the anchor, and ours against papers that print single items."""
    printed = {f"{paper.name} (published)": paper.items for paper in papers if paper.items}
    items = dict(curves.measured_items(lossy, points)) | printed
    pairs = [(anchor.name, name) for name in items if anchor is not None and name != anchor.name]
    pairs += [(name, curve.name) for name in printed for curve in lossy if curve.ours]
    return [delta for pair in pairs for delta in curves.item_deltas(*pair, items)]


def write_outputs(
    folder: Path,
    sections: Sequence[report.Section],
    outcome: Outcome,
    items: Sequence[Item],
    meta: dict[str, str],
    notes: Sequence[str],
) -> None:
    """The report, its summary, CSV files, and JSON for each curve, each written whole or not at all."""
    texts = {"items.csv": curves.items_csv(outcome.points, items)}
    texts["deltas.csv"] = curves.deltas_csv({section.kind: section.deltas for section in sections})
    texts["report.html"] = report.page(TITLE, meta, sections, notes)
    texts["README.md"] = summary.summary(TITLE, meta, sections, notes)
    for section in sections:
        lossy = [curve for curve in section.curves if not curve.lossless and curve.nodes]
        if lossy:
            plot = plots.rd_plot(lossy, MAIN_METRIC[section.kind], section.published)
            texts[f"{section.kind.name.lower()}.svg"] = plot
        for curve in section.curves:
            name = f"{section.kind.name.lower()}-{curve.name.replace(' ', '').replace(':', '-')}.json"
            texts[name] = json.dumps(curves.compressai_json(curve, meta), indent=1) + "\n"
    for name, text in texts.items():
        with atomic_output(folder / name, overwrite=True) as temporary:
            temporary.write_text(text)


def main(options: argparse.Namespace) -> int:
    """Runs the comparison. Raises InrzipError for what a user can mend."""
    begun = time.monotonic()
    deadline = None if options.limit_time is None else begun + options.limit_time
    options.out.mkdir(parents=True, exist_ok=True)
    options.cache = options.cache or options.out / "cache"
    cache = Cache(options.cache)
    items, notes = load_items(options)
    kinds = kinds_of(items)
    methods = choose_methods(options, kinds, deadline)
    if options.anchor and options.anchor not in {method.name for method in methods}:
        raise InrzipError(f"--anchor {options.anchor}: is not measured; there are {', '.join(m.name for m in methods)}")
    if options.published:
        published.load(options.published, ())  # an error shows before the work
    tell = stderr_teller(not options.quiet)
    outcome = run(make_tasks(items, methods), cache, deadline, tell)
    notes += [f"{name}: {reason}" for name, reason in outcome.refused]
    if not outcome.points and not outcome.n_left:
        raise InrzipError(f"nothing could be measured; {'; '.join(notes)}")
    if outcome.n_left:
        notes.insert(0, f"The time limit came first; points left: {outcome.n_left}. The same command goes on.")
    sections = [make_section(kind, items, methods, outcome, options, cache, deadline) for kind in kinds]
    write_outputs(options.out, sections, outcome, items, machine.facts(options.command), notes)
    for note in notes:
        tell(f"note: {note}\n")
    tell(f"{len(outcome.points)} points, {outcome.n_left} left; wrote {options.out}/report.html\n")
    return 0
