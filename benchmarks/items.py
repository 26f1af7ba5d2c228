"""What is measured: files of all kinds as arrays or meshes, cut to an excerpt if asked, known by their content."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from inrzip.errors import InrzipError
from inrzip.media import read_signal
from inrzip.signal import ArraySignal, Kind, Mesh, ShapeSignal, Signal, Spec

Content = Shaped[ndarray, "..."] | Mesh
"""Samples with a channel axis at the end, or a triangle mesh."""


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    """A signal to compress. `excerpt` says in words what was done to the file, if anything."""

    name: str
    spec: Spec
    content: Content
    excerpt: str = ""

    @property
    def kind(self) -> Kind:
        return self.spec.kind

    @property
    def samples(self) -> Shaped[ndarray, "*grid channels"]:
        """The samples. Raises TypeError for a mesh."""
        if isinstance(self.content, Mesh):
            raise TypeError(f"{self.name}: a mesh has no samples")
        return self.content

    @property
    def mesh(self) -> Mesh:
        """The mesh. Raises TypeError for anything else."""
        if not isinstance(self.content, Mesh):
            raise TypeError(f"{self.name}: no mesh")
        return self.content

    @property
    def n_points(self) -> int:
        """Pixels, voxels, sound samples (all channels together) or vertices."""
        return len(self.mesh.vertices) if self.kind == Kind.SHAPE else int(np.prod(self.spec.shape))

    @property
    def rate(self) -> float:
        """Frames or samples a second; 0 for what has no time."""
        rate = self.spec.meta.get("rate")
        return rate[0] / rate[1] if isinstance(rate, tuple) else 0.0

    @property
    def raw_bytes(self) -> int:
        """Bytes of the bare samples; of float32 positions and int32 corners for a mesh."""
        return 4 * (self.mesh.vertices.size + self.mesh.faces.size) if self.kind == Kind.SHAPE else self.samples.nbytes

    def digest(self) -> str:
        """SHA-256 of all that the spec says and of the content: equal items are compressed alike."""
        spec = self.spec
        facts = (
            spec.kind.name,
            spec.shape,
            spec.channels,
            spec.sample_type,
            spec.low,
            spec.high,
            *sorted(spec.meta.items()),
        )
        digest = hashlib.sha256(repr(facts).encode())
        arrays = [self.mesh.vertices, self.mesh.faces] if isinstance(self.content, Mesh) else [self.samples]
        for array in arrays:
            digest.update(array.tobytes())
        return digest.hexdigest()


def find_files(paths: Iterable[Path]) -> list[Path]:
    """Files, and all files below folders, by name. Raises InrzipError for what does not exist and for no files."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise InrzipError(f"{path}: does not exist")
        found += sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    if not found:
        raise InrzipError("there are no files to measure")
    return found


def load_item(path: Path, max_frames: int | None = None, size: tuple[int, int] | None = None) -> Item:
    """The signal in a file. Videos are cut to their first `max_frames` and averaged to `size` (width, height).

    Raises InrzipError as `inrzip.read_signal` does, and for a video that is smaller than `size`.
    """
    signal = read_signal(path)
    spec = signal.spec
    if isinstance(signal, ShapeSignal):
        return Item(path.name, spec, signal.mesh)
    if spec.kind != Kind.VIDEO:
        return Item(path.name, spec, signal.read(0, spec.shape[0]))
    n_frames = min(max_frames or spec.shape[0], spec.shape[0])
    frames = [signal.read(i, i + 1) for i in range(n_frames)]
    notes = [f"first {n_frames} of {spec.shape[0]} frames"] if n_frames < spec.shape[0] else []
    if size is not None and size != spec.shape[2:0:-1]:
        frames = [area_averaged(frame[0], size[1], size[0])[None] for frame in frames]
        notes.append(f"area-averaged from {spec.shape[2]}x{spec.shape[1]} to {size[0]}x{size[1]}")
    samples = np.concatenate(frames)
    meta = {key: value for key, value in spec.meta.items() if key != "times"}
    cut = dataclasses.replace(spec, shape=samples.shape[:-1], meta=meta)
    return Item(path.name, cut, samples, ", ".join(notes))


def area_averaged(frame: Shaped[ndarray, "h w c"], height: int, width: int) -> Shaped[ndarray, "p q c"]:
    """A frame made smaller: each new pixel is the mean of the area it covers, rounded. Raises InrzipError if larger."""
    if height > frame.shape[0] or width > frame.shape[1]:
        raise InrzipError(f"--size {width}x{height} is larger than the video, {frame.shape[1]}x{frame.shape[0]}")
    rows, columns = _coverage(frame.shape[0], height), _coverage(frame.shape[1], width)
    means = np.einsum("ph,hwc,qw->pqc", rows, frame.astype(np.float64), columns, optimize=True)
    return np.asarray(np.rint(means), frame.dtype)


def _coverage(old: int, new: int) -> Shaped[ndarray, "new old"]:
    """The share of each old cell in each new one; rows sum to 1."""
    edges = np.arange(new + 1) * (old / new)
    cells = np.arange(old)
    low, high = np.maximum(edges[:-1, None], cells), np.minimum(edges[1:, None], cells + 1)
    overlaps: Shaped[ndarray, "new old"] = np.maximum(high - low, 0) * (new / old)
    return overlaps


def as_signal(item: Item) -> Signal:
    """The item as `inrzip` takes it."""
    if item.kind == Kind.SHAPE:
        return ShapeSignal(item.spec, item.mesh)
    return ArraySignal(item.spec, item.samples)


def kinds_of(items: Sequence[Item]) -> list[Kind]:
    """The kinds present, in the order of their numbers."""
    return sorted({item.kind for item in items})
