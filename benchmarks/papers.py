"""`python -m benchmarks papers`: one small, repeatable comparison for each paper's headline, as docs/papers.md.

The signals need no download: a photograph that scikit-image brings along, and frames of the clip in tests/data. They
are small, so that the whole table takes minutes; a verdict here is about these signals and efforts, and says so.
"""

from __future__ import annotations

import argparse
import functools
import time
from pathlib import Path
from typing import Any

from inrzip.errors import InrzipError
from inrzip.files import atomic_output
from inrzip.media.samples import array_signal
from inrzip.signal import Kind

from . import curves, machine
from .bd import SOUND_SHARE
from .claims import CLAIMS, Claim, Protocol
from .items import Item, area_averaged, load_item
from .methods import Method
from .ours import ROOT, Effort, recipe_method
from .peers import PEERS
from .runner import Cache, make_tasks, run, stderr_teller

PHOTO_SIDE, CLIP_SIZE, CLIP_FRAMES, SHORT_FRAMES = 192, (160, 90), 24, 12
DEFAULT_OUTPUT = ROOT / "docs" / "papers.md"
DEFAULT_CACHE = ROOT / "demo" / "papers-cache"
NO_DIFFERENCE = {"dB": 0.05, "%": 0.5}
"""Smaller deltas are noise."""


INTRODUCTION = f"""# What papers claim, and what comes of it here

Written by `{{command}}`; do not edit. One small, repeatable comparison for each headline claim: whole files, decoded
and measured. The photo is a portrait of {PHOTO_SIDE}x{PHOTO_SIDE}, the large photo one of 512x512, the clip
{CLIP_FRAMES} frames of Big Buck Bunny at {CLIP_SIZE[0]}x{CLIP_SIZE[1]}, the short clip the first {SHORT_FRAMES} of
them. Recipes are fitted at the effort given, at several qualities. Numbers are Bjontegaard deltas (PCHIP over
log-rate): dB more at equal bytes, or % of bytes at equal PSNR. Verdicts are about these signals and efforts;
the papers' own data sets, sizes and GPU days are others.
"""
HEAD = "| paper | claim | protocol here | our number | verdict |\n|---|---|---|---|---|"


@functools.cache
def signal(name: str) -> Item:
    """The "photo": a portrait, 192x192; the "large photo", 512x512; the "clip": 24 frames of Bunny, 160x90; the
    "short clip": 12 of them.
    """
    if name in ("clip", "short clip"):
        n_frames = CLIP_FRAMES if name == "clip" else SHORT_FRAMES
        return load_item(ROOT / "tests" / "data" / "bunny.mp4", n_frames, CLIP_SIZE)
    import skimage.data

    photo: Any = skimage.data.astronaut  # scikit-image has no types
    crop = photo() if name == "large photo" else area_averaged(photo()[:384, 64:448], PHOTO_SIDE, PHOTO_SIDE)
    made = array_signal(crop, Kind.IMAGE, Path("astronaut.png"), None)
    return Item("astronaut.png", made.spec, made.samples)


def measure(protocol: Protocol, cache: Cache, folder: Path, deadline: float | None, quiet: bool) -> curves.Comparison:
    """The deltas of the protocol's two methods. `problem` says why there are none, or that time ran out."""
    item = signal(protocol.signal)

    def method(text: str) -> Method:
        if text in PEERS:
            return PEERS[text]
        ladder = Effort(protocol.effort), protocol.qualities
        return recipe_method(text, item.kind, *ladder, folder=folder, deadline=deadline)

    methods = [method(protocol.anchor), method(protocol.codec)]
    outcome = run(make_tasks([item], methods), cache, deadline, stderr_teller(not quiet))
    if outcome.n_left or outcome.refused:
        reason = outcome.refused[0][1] if outcome.refused else "not measured yet: the time limit came first"
        return curves.Comparison(methods[0].name, methods[1].name, None, None, None, 0, reason)
    anchor, codec = (curves.make_curve(m, [item], outcome.points) for m in methods)
    return curves.compare(anchor, codec, outcome.points)


def verdict(protocol: Protocol, found: curves.Comparison) -> tuple[str, str]:
    """Our number and what it says of the claim."""
    delta = found.psnr if protocol.unit == "dB" else found.rate
    if delta is None:
        other = f" ({found.psnr.value:+.2f} dB at equal bytes)" if found.psnr else ""
        return "–", f"no number: {found.problem}{other}"
    unit, digits = protocol.unit, 2 if protocol.unit == "dB" else 1
    number = f"{delta.value:+.{digits}f} {unit}"
    number += f" ({delta.n_codec} and {delta.n_anchor} points, {100 * delta.share:.0f} % of the shorter in common)"
    better = delta.value if unit == "dB" else -delta.value
    claimed = None if protocol.claimed is None else abs(protocol.claimed)
    if delta.share < SOUND_SHARE:
        return number, "undecided: the curves have little in common"
    if better <= -NO_DIFFERENCE[unit]:
        return number, "not here"
    if better < NO_DIFFERENCE[unit]:
        return number, "no difference here"
    if claimed is None or better >= claimed:
        return number, "holds here"
    return number, f"same direction, less than the {claimed:g} {unit} claimed"


def row(claim: Claim, number: str, judged: str) -> str:
    """A line of the table."""
    protocol = claim.protocol
    how = "–"
    if protocol is not None:
        how = (
            f"{protocol.signal}: `{protocol.codec}` against `{protocol.anchor}`, -e {protocol.effort}; {protocol.words}"
        )
    return f"| {claim.paper} | {claim.text} ({claim.source}) | {how} | {number} | {judged} |"


def earlier_lines(page: Path) -> dict[str, str]:
    """The lines of a page written before, by their paper."""
    text = page.read_text() if page.exists() else ""
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    return {line.split("|")[1].strip(): line for line in rows}


def main(options: argparse.Namespace) -> int:
    """Runs the protocols and writes the table. Of papers that are not asked for, lines stay as they are."""
    wanted = {claim.paper for claim in CLAIMS} if options.only is None else set(options.only.split(","))
    unknown = wanted - {claim.paper for claim in CLAIMS}
    if unknown:
        raise InrzipError(f"no paper {', '.join(unknown)}; there are {', '.join(claim.paper for claim in CLAIMS)}")
    page = options.out or DEFAULT_OUTPUT
    deadline = None if options.limit_time is None else time.monotonic() + options.limit_time
    folder = options.cache or DEFAULT_CACHE
    folder.mkdir(parents=True, exist_ok=True)
    cache, lines = Cache(folder), []
    earlier = earlier_lines(page)
    for claim in CLAIMS:
        if claim.paper not in wanted and claim.paper in earlier:
            lines.append(earlier[claim.paper])
        elif claim.protocol is None:
            page_of = f"see [{claim.elsewhere}]({claim.elsewhere})"
            lines.append(row(claim, "–", page_of if claim.elsewhere else "not built yet"))
        else:
            lines.append(
                row(claim, *verdict(claim.protocol, measure(claim.protocol, cache, folder, deadline, options.quiet)))
            )
    facts = machine.facts(options.command)
    text = f"{INTRODUCTION.format(command=facts['command'])}\n{HEAD}\n" + "\n".join(lines)
    if options.only is not None:
        text += "\n\nOnly the lines that the command names were measured by it; others are those of earlier runs."
    text += f"\n\nCommit {facts['commit']}, {facts['source']}; {facts['device']}; {facts['versions']}.\n"
    with atomic_output(page, overwrite=True) as temporary:
        temporary.write_text(text)
    return 0
