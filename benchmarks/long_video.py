"""A long video, whole and one frame of it: `python -m benchmarks.long_video CLIP... --out FOLDER`.

Clips, made smaller, are played one after the other and over again until there are enough frames. The file of these is
losslessly coded, compressed in a process of its own, and decompressed in others: all of it, and one frame. Memory is
the most that was resident in each process; it does not depend on how many steps fits take. As a process takes a second
to begin, the frame is also read in this one, with a new reader each time, next to all frames: in seconds of processor
time.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

import inrzip
from inrzip.progress import Progress
from inrzip.reader import Reader

from .items import area_averaged
from .machine import facts

N_FRAMES, FRAME = 2000, 1500
SIZE = "160x90"
FRAMES_OF_CLIP = 132
"""Of each clip, from its beginning, before the next one comes."""
RATE = 25
REPEATS = 5
SECONDS_BETWEEN_REPORTS = 60.0


@dataclasses.dataclass(frozen=True)
class Process:
    """What a command took. `memory`: the most bytes that were resident."""

    seconds: float
    processor: float
    memory: int


def looped(clips: Sequence[Path], size: tuple[int, int], n_frames: int) -> Iterator[UInt8[ndarray, "h w c"]]:
    """Frames of all clips, (width, height) large, from the first again after the last."""
    frames = []
    for clip in clips:
        signal = inrzip.read_signal(clip)
        for i in range(min(FRAMES_OF_CLIP, signal.spec.shape[0])):
            frames.append(area_averaged(signal.read(i, i + 1)[0], size[1], size[0]))
    for i in range(n_frames):
        yield frames[i % len(frames)]


def write_video(path: Path, frames: Iterator[UInt8[ndarray, "h w c"]]) -> None:
    """As lossless H.264 of RGB samples."""
    with av.open(path, "w") as container:
        stream = None
        for samples in frames:
            if stream is None:
                stream = container.add_stream("libx264rgb", Fraction(RATE), {"qp": "0", "preset": "veryfast"})
                stream.height, stream.width = samples.shape[:2]
                stream.pix_fmt = "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(samples), "rgb24")))
        assert stream is not None
        container.mux(stream.encode(None))


def run(function: Callable[..., object], *arguments: object) -> Process:
    """Calls a function in a process of its own. Raises RuntimeError if it fails."""
    begun = time.monotonic()
    child = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    child.start()
    assert child.pid is not None
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise RuntimeError(f"{function.__name__} failed")
    unit = 1 if sys.platform == "darwin" else 1024
    return Process(time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss * unit)


def compress(original: Path, packed: Path, effort: int, hurried: bool) -> None:
    """What `inrzip compress` does; `hurried`: as if Ctrl-C had been pressed at once, so that fits are the shortest."""
    inrzip.compress(original, packed, effort=effort, progress=_Printed(), stop=lambda: hurried)


def decompress(packed: Path, output: Path, frames: tuple[int, int] | None) -> None:
    """What `inrzip decompress` does."""
    inrzip.decompress(packed, output, frames=frames, overwrite=True)


class _Printed:
    """Prints how far a job is, once a minute."""

    def __init__(self) -> None:
        self._due = 0.0

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + SECONDS_BETWEEN_REPORTS
            print(f"{progress.fraction:.1%} {progress.detail}", file=sys.stderr, flush=True)


def seconds_of_frame(path: Path, frame: int) -> tuple[float, UInt8[ndarray, "h w c"]]:
    """With a new reader, the best of some tries; and the frame."""
    best = float("inf")
    for _ in range(REPEATS):
        begun = time.process_time()
        with Reader(path) as reader:
            samples = reader[frame]
        best = min(best, time.process_time() - begun)
    return best, samples


def seconds_of_all(path: Path, frame: int) -> tuple[float, UInt8[ndarray, "h w c"]]:
    """Frame after frame; and one of them."""
    begun = time.process_time()
    with Reader(path) as reader:
        for i, part in enumerate(reader.parts()):
            if i == frame:
                kept = part[0]
    return time.process_time() - begun, kept


def _row(what: str, process: Process) -> str:
    memory = f"{process.memory / 2**20:,.0f} MiB"
    return f"| {what} | {process.seconds:.1f} | {process.processor:.1f} | {memory} |"


def main() -> None:
    """Prints what was measured, and writes it to the folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_video", description=__doc__)
    parser.add_argument("clips", type=Path, nargs="+", help="videos")
    parser.add_argument("--out", type=Path, required=True, help="a folder for README.md and the files")
    parser.add_argument("--frames", type=int, default=N_FRAMES)
    parser.add_argument("--frame", type=int, default=FRAME, help="the one that is decoded alone")
    parser.add_argument("--size", default=SIZE, help="of frames")
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--hurried", action="store_true", help="as if Ctrl-C had been pressed at once")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    original, packed = options.out / "long.mp4", options.out / "long.inrz"
    width, height = map(int, options.size.split("x"))
    if not original.exists():
        write_video(original, looped(options.clips, (width, height), options.frames))
    rows = []
    if not packed.exists():
        rows.append(_row("compress", run(compress, original, packed, options.effort, options.hurried)))
        print(rows[-1], flush=True)
    one = (options.frame, options.frame + 1)
    for what, frames, name in (("all", None, "whole.mkv"), (f"frame {options.frame:,}", one, "frame.mkv")):
        rows.append(_row(f"decompress, {what}", run(decompress, packed, options.out / name, frames)))
        print(rows[-1], flush=True)
    seconds_of_frame(packed, options.frame)  # compiles, and makes tables
    alone, frame = seconds_of_frame(packed, options.frame)
    whole, same = seconds_of_all(packed, options.frame)
    assert np.array_equal(frame, same), "a frame on its own differs from the one among all"
    said = facts(["long_video"])
    words = " ".join([*(clip.name for clip in options.clips), f"--frames {options.frames} --size {options.size}"])
    words += f" --effort {options.effort}" + (" --hurried" if options.hurried else "")
    lines = [
        "# A long video",
        "",
        f"`python -m benchmarks.long_video {words} --out long`",
        "",
        (__doc__ or "").split("\n\n", 1)[1],
        "| process | seconds | of processor time | memory |",
        "|---|---|---|---|",
        *rows,
        "",
        f"{packed.stat().st_size:,} bytes, {original.stat().st_size:,} losslessly. In one process, all "
        f"{options.frames:,} frames are decoded in {whole:.2f} s, "
        f"frame {options.frame:,} alone in {alone:.4f} s: {alone / whole:.2%} of it.",
        "",
        f"Commit {said['commit']}; {said['device']}.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    (options.out / "README.md").write_text(text)


if __name__ == "__main__":
    main()
