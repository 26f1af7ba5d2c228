"""What a part of a signal costs to decode, next to all of it: `python -m benchmarks.on_the_fly [--out FOLDER]`.

Most files hold networks as they begin, or random latents: what they are does not matter for the time. Videos of
pictures and motion are fitted to the first frames of a clip, with few steps, and these segments are repeated. The part
is decoded once before it is timed, so that programs are compiled and tables made; then each time is that of a new
reader, in seconds of processor time, all threads together; those of parts are the best of a few. *Fixed* is what comes
before the first sample: opening the file, and decoding the weights, or the motion, of the segment that is looked at.
Samples are those that networks evaluated, or that were made of latents or of other frames; latents are those that the
entropy coder read.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import inrzip
from inrzip import plan
from inrzip.architectures import base, grid_render
from inrzip.architectures.base import FrameRepresentation
from inrzip.codecs.latents import TileDecoder
from inrzip.container import write_container
from inrzip.header import Header
from inrzip.motion_payload import CodedFrames
from inrzip.reader import Reader
from inrzip.recipes import RECIPES
from inrzip.signal import Kind, Spec

from .machine import facts
from .ours import ROOT
from .random_files import random_file, random_picture

CLIP = ROOT / "tests/data/bunny.mp4"
REPEATS = 3
FILM_STEPS = 30
PIECE = (30.2, 30.3)
LIMIT = 0.05
"""The part of a full decode that a part of a signal may take beyond what is fixed."""
IMAGE = Spec(Kind.IMAGE, (2000, 3000), 3, "u1", 0, 255)
FILM = Spec(Kind.VIDEO, (132, 180, 320), 3, "u1", 0, 255, {"rate": (25, 1)})
SMALL_FILM = Spec(Kind.VIDEO, (132, 90, 160), 3, "u1", 0, 255, {"rate": (25, 1)})
LONG_FILM = Spec(Kind.VIDEO, (2016, 90, 160), 3, "u1", 0, 255, {"rate": (25, 1)})
SOUND = Spec(Kind.AUDIO, (60 * 44100,), 1, "i2", -32768, 32767, {"rate": (44100, 1)})
VOLUME = Spec(Kind.VOLUME, (128, 128, 128), 1, "u1", 0, 255)


@dataclasses.dataclass(frozen=True)
class Case:
    """A part of a signal, how to make a file of the signal, and a row along axis 0 that lies in the part."""

    what: str
    recipe: str
    make: Callable[[], bytes]
    part: Callable[[Reader], object]
    row: int = 0


@dataclasses.dataclass
class Counts:
    """Samples that were made, and latents that were read."""

    samples: int = 0
    latents: int = 0


@dataclasses.dataclass(frozen=True)
class Row:
    """Seconds of processor time, and counts."""

    case: Case
    n_bytes: int
    full: float
    part: float
    fixed: float
    all_counts: Counts
    counts: Counts

    @property
    def share(self) -> float:
        """Of a full decode, beyond what is fixed."""
        return max(0.0, self.part - self.fixed) / self.full


@contextlib.contextmanager
def counted() -> Iterator[Counts]:
    """Counts what is evaluated meanwhile."""
    counts = Counts()
    predict, render, made, read = base.predict, grid_render.render, CodedFrames._made, TileDecoder.read

    def predicted(model: Any, inputs: Any) -> Any:
        counts.samples += len(inputs) * (
            math.prod(model.grid.shape[1:]) if isinstance(model, FrameRepresentation) else 1
        )
        return predict(model, inputs)

    def rendered(networks: Any, window: Any, shape: Any, rows: Any, columns: Any) -> Any:
        counts.samples += (rows[1] - rows[0]) * (columns[1] - columns[0])
        return render(networks, window, shape, rows, columns)

    def made_frame(self: Any, step: Any, references: Any, double: bool) -> Any:
        before = counts.samples
        frame = made(self, step, references, double)
        counts.samples = before + math.prod(frame.shape[:2])  # whether there is a picture or not
        return frame

    def read_rows(self: Any, end: int | None = None) -> None:
        before = self.row
        read(self, end)
        counts.latents += (self.row - before) * self.latents.shape[1]

    with (
        mock.patch.object(base, "predict", predicted),
        mock.patch.object(grid_render, "render", rendered),
        mock.patch.object(CodedFrames, "_made", made_frame),
        mock.patch.object(TileDecoder, "read", read_rows),
    ):
        yield counts


@functools.cache
def fitted_segment(n_frames: int, size: tuple[int, int]) -> bytes:
    """The payload of the clip's first frames, as pictures and motion, with few steps."""
    frames = inrzip.read_signal(CLIP).read(0, n_frames)
    by = frames.shape[1] // size[0]
    small = frames[:, : size[0] * by, : size[1] * by].reshape(n_frames, size[0], by, size[1], by, 3).mean((2, 4))
    with mock.patch.object(plan, "FILM_STEPS", (FILM_STEPS,) * 9):
        fitted = inrzip.fit(np.rint(small).astype(np.uint8), "motion", kind="video", quality=50.0, effort=1)
    with fitted.reader as reader:
        assert reader.container.header.n_segments == 1
        return reader.container.segment(0)


def film_of_motion(spec: Spec) -> bytes:
    """Segments as long as they would be; all but the last are alike."""
    recipe = RECIPES["motion"]
    header = Header(spec, recipe.architecture.number, plan.segment_length(spec, recipe, {}))
    height, width = spec.shape[1:]
    lengths = [b - a for a, b in map(header.segment_bounds, range(header.n_segments))]
    return write_container(header, [fitted_segment(n, (height, width)) for n in lengths])


def random(spec: Spec, recipe: str, n_parameters: int) -> Callable[[], bytes]:
    """A file of random networks, in segments as long as they would be."""
    chosen = RECIPES[recipe]
    length = plan.segment_length(spec, chosen, {})
    return lambda: random_file(spec, chosen.architecture, n_parameters, length)


def _piece(reader: Reader) -> object:
    return reader.render(time=PIECE)


CORNER = np.s_[1400:1464, 1000:1064]
CASES = (
    Case("64x64 of a 2000x3000 image", "grid", lambda: random_picture(IMAGE), lambda r: r[CORNER]),
    Case("64x64 of a 2000x3000 image", "siren", random(IMAGE, "siren", 5000), lambda r: r[CORNER]),
    Case("frame 100 of 132, 320x180", "hnerv", random(FILM, "hnerv", 100_000), lambda r: r[100]),
    Case("frame 100 of 132, 320x180", "nerv", random(FILM, "nerv", 100_000), lambda r: r[100]),
    Case("frame 100 of 132, 160x90", "motion", lambda: film_of_motion(SMALL_FILM), lambda r: r[100], 100),
    Case("frame 1,500 of 2,016, 160x90", "motion", lambda: film_of_motion(LONG_FILM), lambda r: r[1500], 1500),
    Case(
        "0.1 s of a minute of sound", "siren", random(SOUND, "siren", 5000), lambda r: r.render(time=PIECE), 30 * 44100
    ),
    Case("a slice of 128x128x128", "siren", random(VOLUME, "siren", 5000), lambda r: r[64], 64),
    Case("a slice across, [:, :, 64]", "siren", random(VOLUME, "siren", 5000), lambda r: r[:, :, 64], 64),
)


def processor_seconds(data: bytes, work: Callable[[Reader], object]) -> float:
    """With a new reader."""
    begun = time.process_time()
    with Reader(data, max_memory=None) as reader:
        work(reader)
    return time.process_time() - begun


def everything(reader: Reader) -> None:
    """Decodes all of a signal, part by part."""
    for _ in reader.parts():
        pass


def measure(case: Case) -> Row:
    """Counts, which also warms up, and then times."""
    data = case.make()
    with counted() as counts, Reader(data, max_memory=None) as reader:
        case.part(reader)
        index = case.row // reader.container.header.segment_length
    with counted() as all_counts:
        full = processor_seconds(data, everything)
    part = min(processor_seconds(data, case.part) for _ in range(REPEATS))
    fixed = min(processor_seconds(data, lambda reader: reader.segment(index)) for _ in range(REPEATS))
    return Row(case, len(data), full, part, fixed, all_counts, counts)


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [
        "| part | recipe | bytes | all, s | part, s | fixed, s | beyond it, of all | samples | latents | at most 5 % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        latents = f"{row.counts.latents / row.all_counts.latents:.2%}" if row.all_counts.latents else ""
        cells = (
            row.case.what,
            row.case.recipe,
            f"{row.n_bytes:,}",
            f"{row.full:.2f}",
            f"{row.part:.4f}",
            f"{row.fixed:.4f}",
            f"{row.share:.2%}",
            f"{row.counts.samples:,} ({row.counts.samples / row.all_counts.samples:.2%})",
            latents,
            "yes" if row.share <= LIMIT else "no",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table, and writes it where it is told to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_the_fly", description=__doc__)
    parser.add_argument("--out", type=Path, help="a folder for README.md")
    parser.add_argument("--only", default="", help="recipes separated by commas")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(RECIPES)
    rows = []
    for case in CASES:
        if case.recipe in wanted:
            rows.append(measure(case))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    said = facts(["on_the_fly"])
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        described = (__doc__ or "").split("\n\n", 1)[1]
        text = (
            f"# Parts of signals, and all of them\n\n`python -m benchmarks.on_the_fly`\n\n{described}\n{table(rows)}\n"
        )
        (options.out / "README.md").write_text(f"{text}\nCommit {said['commit']}; {said['device']}.\n")


if __name__ == "__main__":
    main()
