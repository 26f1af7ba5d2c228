"""A signal and its description: what a media file becomes when read, and what the header of an `.inrz` file says."""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

MetaValue = int | float | str | bytes | tuple[int, ...] | tuple[float, ...]

# Sample types a signal may have, as NumPy type strings (native byte order). "i3" is 24-bit audio held in int32.
SAMPLE_TYPES = ("u1", "u2", "i2", "i3", "i4", "u4", "f2", "f4", "f8", "i1", "b1")

VALUES_AT_ONCE = 1 << 15
"""Values that are rounded in one go: few enough that their passes stay in a cache."""


class Kind(enum.IntEnum):
    """What a signal is. The value is stored in the file."""

    IMAGE = 0
    VIDEO = 1
    AUDIO = 2
    SHAPE = 3
    VOLUME = 4
    PROTEIN = 5


@dataclasses.dataclass(frozen=True)
class Spec:
    """Everything about a signal but its samples; all that a writer needs to make a file of the same kind again.

    - `shape`: the sample grid without channels: image (H, W), video (T, H, W), audio (N,), volume 1 to 4 axes, shape
      (R, R, R), the grid on which its surface is extracted, protein (residues,).
    - `channels`: samples at each grid point. Images: 1 grey, 2 grey+alpha, 3 RGB, 4 RGBA. Proteins: x, y, z of each
      C-alpha atom, in thousandths of an angstrom.
    - `sample_type`: one of `SAMPLE_TYPES`.
    - `low`, `high`: the sample values that fitting maps to 0 and 1; `low < high`, unless all samples are equal.
    - `meta`: kind-specific facts. Known keys: `rate` (numerator, denominator): frames or samples a second; `times`:
      frame times of a video of variable frame rate, in 1/90000 s; `bits`: bits a sample really has, where fewer than
      the type's; `depth`: bits that a video's samples had in its file, where 9 to 15, before they were spread over 16;
      `subtype`: soundfile's name of an audio encoding; `aspect`: pixel aspect ratio (numerator,
      denominator); `box`: a shape's (x, y, z, edge) of its cube in the mesh's units; `origin`: a
      protein's (x, y, z) in angstroms, from which samples count; `residues`: which ones it has (see
      `inrzip.residues`); `format`: the extension of the file it was read from.
    """

    kind: Kind
    shape: tuple[int, ...]
    channels: int
    sample_type: str
    low: float
    high: float
    meta: Mapping[str, MetaValue] = dataclasses.field(default_factory=dict)

    @property
    def n_samples(self) -> int:
        """Grid points times channels."""
        return int(np.prod(self.shape, dtype=object)) * self.channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type that holds the samples."""
        return np.dtype("i4" if self.sample_type == "i3" else self.sample_type)

    @property
    def peak(self) -> float:
        """The peak value that PSNR is taken against: the span of the integer type (2^bits - 1), else `high - low`.

        Audio counts as the papers of this field do (COIN++): the wave from -1 to 1 is mapped to 0 to 1, so the peak is
        the full span.
        """
        if self.sample_type == "b1":
            return 1.0
        if self.sample_type == "i3":
            return 2.0**24 - 1
        if self.kind in (Kind.IMAGE, Kind.VIDEO, Kind.AUDIO) and self.dtype.kind in "ui":
            bits = int(self.meta.get("bits", 8 * self.dtype.itemsize))  # type: ignore[arg-type]
            return float(2.0**bits) - 1
        if self.kind == Kind.AUDIO:
            return 2.0
        return (self.high - self.low) or 1.0

    def normalise(self, samples: Shaped[ndarray, "..."]) -> Float[ndarray, "..."]:
        """Samples as float32 with `low` at 0 and `high` at 1."""
        span = (self.high - self.low) or 1.0
        wide: Float[ndarray, "..."] = samples.astype(np.float64 if samples.dtype.itemsize > 2 else np.float32)
        normal: Float[ndarray, "..."] = (wide - self.low) / span
        return normal.astype(np.float32)

    def quantise(self, values: Float[ndarray, "..."]) -> Shaped[ndarray, "..."]:
        """The inverse of `normalise`: back to sample values, clipped to [low, high] and rounded to the sample type."""
        flat = np.asarray(values).reshape(-1)
        samples = np.empty(len(flat), self.dtype)
        for start in range(0, len(flat), VALUES_AT_ONCE):
            samples[start : start + VALUES_AT_ONCE] = self._rounded(flat[start : start + VALUES_AT_ONCE])
        return samples.reshape(np.shape(values))

    def _rounded(self, values: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
        """As samples, but still floats."""
        wide = np.array(values, np.float64)
        np.clip(wide, 0.0, 1.0, wide)
        wide *= self.high - self.low
        wide += self.low
        if self.dtype.kind in "uib":
            np.rint(wide, wide)
        if self.dtype.kind in "ui":  # a range may end a little beyond the type, where casting has no meaning
            np.clip(wide, np.iinfo(self.dtype).min, np.iinfo(self.dtype).max, wide)
        return wide


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A triangle mesh. `vertices` are in the units of the file it came from."""

    vertices: Float[ndarray, "v 3"]
    faces: Int[ndarray, "f 3"]


@dataclasses.dataclass(frozen=True)
class AudioTrack:
    """The sound of a video. `copy`: `payload` is a Matroska audio file holding the original packets, untouched.
    `inr`: `payload` is a whole `.inrz` file of kind AUDIO."""

    mode: Literal["copy", "inr"]
    payload: bytes


class Signal(abc.ABC):
    """A signal that can be read piecewise along its first axis, so that a long video need not fit in memory."""

    spec: Spec
    source_bytes: int | None  # size of the file it came from, if any

    @abc.abstractmethod
    def read(self, start: int, stop: int) -> Shaped[ndarray, "part *rest channels"]:
        """Samples `start:stop` along the first axis, with a channel axis at the end."""


class ArraySignal(Signal):
    """A signal in memory. `samples` has the shape `spec.shape + (spec.channels,)`."""

    def __init__(self, spec: Spec, samples: Shaped[ndarray, "..."], source_bytes: int | None = None):
        expected = (*spec.shape, spec.channels)
        if samples.shape != expected:
            raise ValueError(f"`samples` has shape {samples.shape}; the spec wants {expected}")
        self.spec = spec
        self.samples = samples
        self.source_bytes = source_bytes

    def read(self, start: int, stop: int) -> Shaped[ndarray, "part *rest channels"]:
        return self.samples[start:stop]


class ShapeSignal(Signal):
    """A 3-D shape: the mesh it came from. Fitting samples its signed distance (see `inrzip.sdf`)."""

    def __init__(self, spec: Spec, mesh: Mesh, source_bytes: int | None = None):
        self.spec = spec
        self.mesh = mesh
        self.source_bytes = source_bytes

    def read(self, start: int, stop: int) -> Shaped[ndarray, "part *rest channels"]:
        raise TypeError("a shape has no samples of its own; use `inrzip.sdf.sample_sdf`")
