"""Reading and writing media files of every kind. Heavy libraries are loaded only when they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jaxtyping import Shaped
from numpy import ndarray

from ..signal import Kind, Signal, Spec

__all__ = ["check_output", "copy_sound", "holds_sound", "output_extension", "read_signal", "read_sound", "write_signal"]


def read_signal(path: Path, *, kind: Kind | None = None) -> Signal:
    """The signal in a file or folder. What it is shows in its first bytes, else in its extension; `kind` forces it.

    - IMAGE: PNG, JPEG, WebP, TIFF, PPM, BMP, GIF, AVIF, JPEG 2000; 8 or 16 bits (TIFF also floats).
    - VIDEO: whatever FFmpeg decodes, y4m, animated GIF, WebP and PNG, a folder of image frames.
    - AUDIO: WAV, FLAC, Ogg, AIFF, MP3, M4A, Opus, WMA and more.  - SHAPE: OBJ, PLY, STL, OFF, GLB.
    - PROTEIN: C-alpha atoms of PDB and mmCIF (with the extra `proteins`).
    - VOLUME: .npy, .npz, Zarr, N5, TIFF of several pages.

    `kind` makes sense where a file can be several things: an array as an image, a stack of pages or frames as a video
    or a volume, a video as its sound. Raises `UnsupportedSignal` with one line that says what is wrong with which file.
    """
    from .dispatch import read

    return read(Path(path), kind)


def read_sound(path: Path) -> Signal | None:
    """A video's first audio stream as an AUDIO `ArraySignal`, in step with the picture; None if it has no sound."""
    from .sniff import holds_streams
    from .sound import read_sound as read

    return read(Path(path)) if holds_streams(Path(path)) else None


def copy_sound(path: Path) -> bytes | None:
    """The packets of a video's first audio stream, untouched, as a Matroska audio file; None if it has no sound.

    Raises `UnsupportedSignal` for sound that cannot be copied.
    """
    from .sniff import holds_streams
    from .sound import copy_sound as copy

    return copy(Path(path)) if holds_streams(Path(path)) else None


def write_signal(
    path: Path,
    spec: Spec,
    parts: Iterable[Shaped[ndarray, "_ *rest channels"]],
    *,
    copied_sound: bytes | None = None,
    decoded_sound: tuple[Spec, Shaped[ndarray, "m k"]] | None = None,
) -> None:
    """Writes a signal in the format of `path`'s extension. `parts` are consecutive pieces along axis 0.

    A video can have sound, either as `copy_sound` gave it or decoded (if both are given, decoded); formats without
    sound leave it out (`holds_sound` tells). Shapes are written by `inrzip.media.meshes.write_mesh`.
    Raises `InrzipError` as `check_output` does, and where a library refuses; `OSError` where the disk does.
    """
    from .dispatch import write

    write(Path(path), spec, parts, copied_sound, decoded_sound)


def output_extension(spec: Spec) -> str:
    """The extension to write a signal with, if the user names none.

    That of its source where it can be written and can hold the signal, else .png (.tiff for floats), .mp4, .wav, .npy,
    .obj or .pdb.
    """
    from .formats import output_extension as extension

    return extension(spec)


def check_output(path: Path, spec: Spec) -> None:
    """Raises `InrzipError` if a file of `path`'s extension cannot hold this signal; says what can. Writes nothing."""
    from .formats import check_output as check

    check(Path(path), spec)


def holds_sound(path: Path) -> bool:
    """Whether a video written to `path` can have sound."""
    from .video_write import holds_sound as holds

    return holds(Path(path).suffix.lower())
