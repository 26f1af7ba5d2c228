"""What is looked at: files, their members, and the originals to compare them with."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from .. import media
from ..console import one_line
from ..errors import InrzipError, UnsupportedSignal
from ..indexing import positions, scaled_size
from ..inspection import info
from ..limits import USUAL_FORMATS
from ..members import Collection
from ..reader import MAX_SUPERSAMPLING, Reader
from ..signal import Kind, Mesh, ShapeSignal, Spec

NO_PROTEINS = "proteins are not shown here; decompress it to .pdb, which molecular viewers show"
OTHER_FORMATS = {Kind.VOLUME: (".npz", ".tif", ".tiff", ".zarr"), Kind.AUDIO: (".flac", ".mp3", ".ogg")}
"""What else may lie beside a file as its original."""


@dataclasses.dataclass(frozen=True)
class Sound:
    """Samples of all channels, -1 to 1, and how many there are a second."""

    samples: Float[ndarray, "samples channels"]
    rate: float


class Original:
    """A media file that is looked at beside what is decoded: its samples where the decoded ones are."""

    def __init__(self, path: Path, spec: Spec):
        """Raises UnsupportedSignal if the file is not of the same kind and size as `spec`."""
        self.path = path
        self._signal = media.read_signal(path, kind=spec.kind)
        self.spec = self._signal.spec
        same = (self.spec.shape, self.spec.channels) == (spec.shape, spec.channels)
        if spec.kind != Kind.SHAPE and not same:
            sizes = [" x ".join(map(str, (*s.shape, s.channels))) for s in (self.spec, spec)]
            raise UnsupportedSignal(f"{path}: holds {sizes[0]} samples, not {sizes[1]}: it is not the original")

    def rows(self, start: int, stop: int) -> Shaped[ndarray, "rows *rest channels"]:
        """Samples along the first axis, all of the others."""
        return self._signal.read(start, stop)

    def mesh(self) -> Mesh:
        """Of a shape."""
        assert isinstance(self._signal, ShapeSignal)
        return self._signal.mesh

    def render(self, bounds: Sequence[tuple[int, int]], scale: float) -> Shaped[ndarray, "*grid channels"]:
        """As `Reader.render`, but the nearest sample for what lies between; in float64 where samples are averaged.

        `bounds`: of all axes. The first axis of a video is not scaled.
        """
        factor = min(math.ceil(1 / scale), MAX_SUPERSAMPLING)
        samples = self.rows(*bounds[0])
        for axis, (start, stop) in enumerate(bounds):
            if self.spec.kind == Kind.VIDEO and axis == 0:
                continue
            places = positions(start, stop, scaled_size(start, stop, scale), factor)
            picked = np.clip(np.rint(places), start, stop - 1).astype(np.int64) - (start if axis == 0 else 0)
            samples = np.take(samples, picked, axis)
            if factor > 1:
                shape = (*samples.shape[:axis], -1, factor, *samples.shape[axis + 1 :])
                samples = samples.reshape(shape).mean(axis + 1)
        return samples


@dataclasses.dataclass
class Viewed:
    """One signal on the page, or why it cannot be shown. `note`: what else should be known."""

    name: str
    path: Path
    member: str | None = None
    reader: Reader | None = None
    original: Original | None = None
    error: str = ""
    note: str = ""
    _sound: Sound | None = None
    _mesh: tuple[float, Mesh] | None = None

    def signal(self) -> Reader:
        """Raises InrzipError if there is none."""
        if self.reader is None:
            raise InrzipError(self.error)
        return self.reader

    def mesh(self, scale: float) -> Mesh:
        """The decoded surface; that of the last scale is kept."""
        if self._mesh is None or self._mesh[0] != scale:
            self._mesh = scale, self.signal().mesh(scale=scale)
        return self._mesh[1]

    def facts(self) -> dict[str, object]:
        """What `inrzip info` tells."""
        return {key: value for key, value in info(self.path, self.member).items() if key != "file"}

    def sound(self) -> Sound | None:
        """Of a video, decoded once; of a sound there is `Reader.render`. None: it has none."""
        if self._sound is None:
            for track in self.signal().tracks():
                self._sound = _coded_sound(track.payload) if track.mode == "inr" else _copied_sound(track.payload)
                break
        return self._sound


def open_files(paths: Sequence[Path], member: str | None, against: Path | None) -> list[Viewed]:
    """All signals of all files, or each file's `member`. `against`: the original of all of them.

    A file that cannot be opened is there with its error. Raises InrzipError if none can, or `against` cannot be read.
    """
    found = [viewed for path in paths for viewed in _open(path, member)]
    for viewed in found:
        if viewed.reader is not None:
            viewed.original = _original(viewed, against)
    if all(viewed.reader is None for viewed in found):
        raise InrzipError("; ".join(viewed.error for viewed in found))
    return found


def _open(path: Path, member: str | None) -> list[Viewed]:
    try:
        members = Collection(path)
        several = members.file.several
        numbers = range(len(members)) if member is None else [members.file.find(member)]
    except (InrzipError, OSError) as error:
        return [Viewed(path.name, path, error=_text(error))]
    found = []
    for number in numbers:
        name = members.names[number] if several else ""
        viewed = Viewed(f"{path.name}: {name}" if several else path.name, path, name or None)
        try:
            reader = members.open(number)
            if reader.spec.kind == Kind.PROTEIN:
                viewed.error = f"{viewed.name}: {NO_PROTEINS}"
            else:
                viewed.reader = reader
        except InrzipError as error:
            viewed.error = _text(error)
        found.append(viewed)
    return found


def _text(error: Exception) -> str:
    return one_line(f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error))


def _original(viewed: Viewed, against: Path | None) -> Original | None:
    """The one that was named, else one that lies beside the file, if it is of the same size."""
    spec = viewed.signal().spec
    if against is not None:
        return Original(against, spec)
    stem = viewed.path.with_name(viewed.member) if viewed.member else viewed.path.with_suffix("")
    own = str(spec.meta.get("format", USUAL_FORMATS[spec.kind]))
    for extension in (own, USUAL_FORMATS[spec.kind], *OTHER_FORMATS.get(spec.kind, ())):
        beside = stem.with_name(stem.name + extension)
        if beside.exists():
            try:
                return Original(beside, spec)
            except InrzipError as error:
                viewed.note = f"not compared with {beside.name}: {_text(error)}"
    return None


def rate_of(spec: Spec, usual: float) -> float:
    """Frames or samples a second."""
    rate = spec.meta.get("rate")
    return float(Fraction(int(rate[0]), int(rate[1]))) if isinstance(rate, tuple) else usual


def as_waves(samples: Shaped[ndarray, "samples channels"], spec: Spec) -> Float[ndarray, "samples channels"]:
    """Sound from -1 to 1, whatever its sample type."""
    wide = samples.astype(np.float32)
    if spec.sample_type == "u1":
        return (wide - 128) / 128
    return wide / np.float32((spec.peak + 1) / 2) if spec.dtype.kind in "iu" else wide


def _coded_sound(payload: bytes) -> Sound:
    with Reader(payload) as reader:
        return Sound(as_waves(reader.render(), reader.spec), rate_of(reader.spec, 44100))


def _copied_sound(payload: bytes) -> Sound | None:
    """Packets as they were: time 0 is the first frame."""
    from ..media.audio import read_audio
    from ..media.ffmpeg import first_time, main_stream, open_media

    with tempfile.TemporaryDirectory(prefix="inrzip-") as folder:
        path = Path(folder) / "sound.mka"
        path.write_bytes(payload)
        signal = read_audio(path)
        with open_media(path) as container:
            late = float(first_time(container, main_stream(container, "audio")))
    spec = signal.spec
    rate = rate_of(spec, 44100)
    samples = as_waves(signal.read(0, spec.shape[0]), spec)
    silence = round(late * rate)
    if silence < 0:
        return Sound(samples[-silence:], rate)
    return Sound(np.concatenate([np.zeros((silence, samples.shape[1]), np.float32), samples]), rate)
