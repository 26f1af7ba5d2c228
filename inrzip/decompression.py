"""`decompress`: from an `.inrz` file back to a media file of the same kind, or to a part of it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from . import media
from .errors import CorruptFile, InrzipError
from .files import atomic_output, check_writable
from .members import Collection
from .progress import Progress, ProgressCallback
from .reader import DEFAULT_MAX_MEMORY, Bounds, Reader, deepened
from .signal import Kind, Spec

CUT_NOTE = "the file is damaged or cut short: details are missing, and nothing was checked"
PREVIEW_NOTE = "made of the preview in the file: larger scales show more"


@dataclasses.dataclass(frozen=True)
class DecompressReport:
    """What `decompress` wrote. `shape`: of the samples, channels last; of a shape, (vertices, faces). `note`: what else
    should be known.
    """

    path: Path
    bytes: int
    seconds: float
    shape: tuple[int, ...]
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """All fields as plain values."""
        return dataclasses.asdict(self) | {"path": str(self.path)}


def decompress(
    source: Path | str,
    destination: Path | str | None = None,
    *,
    region: Sequence[Bounds] | None = None,
    frames: Bounds | None = None,
    scale: float = 1.0,
    max_memory: int | None = None,
    partial: bool = False,
    bits: int | None = None,
    member: int | str | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> DecompressReport:
    """Decodes a file, or a region, some frames, or another scale of it (see `Reader.render`), to `destination`.

    The extension of `destination` decides the format; without it, the signal goes beside `source` in the format it once
    had. A part of a video has no sound. Decoding that needs more than `max_memory` bytes (default 4 GiB) is refused.
    `partial`: what is there of a picture or video whose file was cut short is written, without the details that are
    missing; of long videos and of sounds, the segments that are there.
    `bits`: 16, to write samples of 8 bits with 16: the function's value, rounded less; of the recipe `bits`, planes
    below those that it was fitted to.
    `member`: which signal of a file of several, by its name or number; it goes beside `source` under its own name.
    Raises InrzipError.
    """
    source = Path(source)
    memory = DEFAULT_MAX_MEMORY if max_memory is None else max_memory
    output = None if destination is None else Path(destination)
    if member is None:
        with Reader(source, memory, partial=partial) as reader:
            return _write(reader, output, source.with_suffix(""), region, frames, scale, overwrite, progress, bits)
    with Collection(source, memory) as members, members.open(member, partial=partial) as reader:
        beside = source.with_name(members.names[members.file.find(member)])
        return _write(reader, output, beside, region, frames, scale, overwrite, progress, bits)


def decompress_all(
    source: Path | str,
    folder: Path | str | None = None,
    *,
    region: Sequence[Bounds] | None = None,
    frames: Bounds | None = None,
    scale: float = 1.0,
    max_memory: int | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> list[DecompressReport]:
    """Decodes all signals of a file to `folder` (default: beside the file, with its name), each under its own name. A
    folder that is there gets one file after the other; else all appear at once. Raises InrzipError.
    """
    source = Path(source)
    output = source.with_suffix("") if folder is None else Path(folder)
    memory = DEFAULT_MAX_MEMORY if max_memory is None else max_memory
    reports = []
    with contextlib.ExitStack() as stack:
        members = stack.enter_context(Collection(source, memory))
        if not output.is_dir():
            written = stack.enter_context(atomic_output(output, overwrite))
            written.mkdir()
        else:
            written = output
        for name, reader in zip(members.names, members, strict=True):
            target = written / (name + media.output_extension(reader.spec))
            report = _write(reader, target, target, region, frames, scale, overwrite, progress)
            reports.append(dataclasses.replace(report, path=output / target.name))
    return reports


def _write(
    reader: Reader,
    destination: Path | None,
    beside: Path,
    region: Sequence[Bounds] | None,
    frames: Bounds | None,
    scale: float,
    overwrite: bool,
    progress: ProgressCallback | None,
    bits: int | None = None,
) -> DecompressReport:
    """Writes what a reader decodes; without a destination, to the name `beside` and an extension."""
    begun = time.monotonic()
    spec, notes = reader.spec, [CUT_NOTE] if reader.container.cut else []
    if reader.container.cut and spec.kind in (Kind.VIDEO, Kind.AUDIO):
        frames, missing = _frames_there(reader, frames)
        notes += missing
    if reader.is_preview(scale):
        notes.append(PREVIEW_NOTE)
    deep = None if bits is None else deepened(spec, bits)
    output = destination or beside.with_name(beside.name + media.output_extension(deep or spec))
    check_writable(output, overwrite)
    if spec.kind == Kind.SHAPE:
        if frames is not None:
            raise InrzipError("a shape has no frames; use a region (--region)")
        shape = _write_mesh(reader, output, region, scale, overwrite)
    else:
        shape = _write_samples(reader, output, region, frames, scale, overwrite, progress, deep)
    return DecompressReport(output, _size(output), time.monotonic() - begun, shape, "; ".join(notes))


def _frames_there(reader: Reader, frames: Bounds | None) -> tuple[Bounds | None, list[str]]:
    """Which of the frames, or samples of a sound, a file that was cut short still holds, and what to say of others.
    Raises InrzipError if there are none.
    """
    all_there, n = reader.rows_there(), reader.spec.shape[0]
    if all_there == n:
        return frames, []
    what = "frames" if reader.spec.kind == Kind.VIDEO else "samples"
    said = f"only the first {all_there:,} of {n:,} {what} are there"
    first, stop = frames or (0, None)
    if first >= all_there:
        raise InrzipError(f"{reader.container.name}: the file is damaged or cut short: {said}")
    return (first, all_there if stop is None else min(stop, all_there)), [said]


def _write_mesh(
    reader: Reader, output: Path, region: Sequence[Bounds] | None, scale: float, overwrite: bool
) -> tuple[int, ...]:
    from .media.meshes import write_mesh

    media.check_output(output, reader.spec)
    mesh = reader.mesh(region, scale)
    if not len(mesh.faces):
        raise InrzipError("the decoded shape has no surface here; try another region")
    with atomic_output(output, overwrite) as temporary:
        write_mesh(temporary, mesh)
    return len(mesh.vertices), len(mesh.faces)


def _write_samples(
    reader: Reader,
    output: Path,
    region: Sequence[Bounds] | None,
    frames: Bounds | None,
    scale: float,
    overwrite: bool,
    progress: ProgressCallback | None,
    deep: Spec | None,
) -> tuple[int, ...]:
    shape = reader.output_shape(region, frames, scale)
    spec = _rescaled(deep or reader.spec, shape, frames, scale)
    if spec.kind == Kind.PROTEIN:
        spec = _residues(reader.spec, shape[0], region, scale)
    media.check_output(output, spec)
    whole_in_time = frames is None or shape[0] == reader.spec.shape[0]
    sound = _sound(reader) if spec.kind == Kind.VIDEO and whole_in_time and media.holds_sound(output) else {}
    with atomic_output(output, overwrite) as temporary:
        parts = _reporting(reader.parts(region, frames, scale, deep=deep), shape[0], progress)
        media.write_signal(temporary, spec, parts, **sound)
    return (*shape, spec.channels)


def _residues(spec: Spec, count: int, region: Sequence[Bounds] | None, scale: float) -> Spec:
    """The description of the residues of a region."""
    from .media.proteins import part_of

    if scale != 1:
        raise InrzipError("a protein has no atoms between its own; leave the scale out")
    first = 0 if region is None else region[0][0]
    return part_of(spec, first, first + count)


def _rescaled(spec: Spec, shape: tuple[int, ...], frames: Bounds | None, scale: float) -> Spec:
    """The description of what is written: its size, the rate of a sound at another scale, the times of the frames
    chosen.
    """
    meta = dict(spec.meta)
    rate = meta.get("rate")
    if spec.kind == Kind.AUDIO and scale != 1 and isinstance(rate, tuple):
        hertz = Fraction(int(rate[0]), int(rate[1])) * Fraction(scale).limit_denominator(1000)
        meta["rate"] = (round(hertz), 1)
    times = meta.get("times")
    if frames is not None and isinstance(times, tuple):
        chosen = times[frames[0] : frames[0] + shape[0]]
        meta["times"] = tuple(int(t) - int(chosen[0]) for t in chosen)
    return dataclasses.replace(spec, shape=shape, meta=meta)


def _sound(reader: Reader) -> dict[str, Any]:
    """Arguments of `media.write_signal` for the first sound track."""
    for track in reader.tracks():
        if track.mode == "copy":
            return {"copied_sound": track.payload}
        with Reader(track.payload) as sound:
            if sound.spec.kind != Kind.AUDIO:
                raise CorruptFile("the sound track holds something else")
            return {"decoded_sound": (sound.spec, sound.render())}
    return {}


def _reporting(
    parts: Iterator[Shaped[np.ndarray, "part ..."]], n_rows: int, progress: ProgressCallback | None
) -> Iterator[Shaped[np.ndarray, "part ..."]]:
    begun, done = time.monotonic(), 0
    for part in parts:
        yield part
        done += len(part)
        if progress is not None:
            elapsed = time.monotonic() - begun
            progress(Progress("writing", done / n_rows, elapsed / done * (n_rows - done)))


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*")) if path.is_dir() else path.stat().st_size
