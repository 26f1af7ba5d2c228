"""Which file formats can be written, and what each can hold."""

from __future__ import annotations

from pathlib import Path

from ..errors import InrzipError
from ..signal import SAMPLE_TYPES, Kind, Spec
from .audio import SOUNDFILE_FORMATS, audio_problem

# Extension: (sample types, channels).
_ALL_BUT_BOOL = tuple(name for name in SAMPLE_TYPES if name != "b1")
_IMAGES: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    ".png": (("u1", "u2"), (1, 2, 3, 4)),
    ".tif": (_ALL_BUT_BOOL, (1, 2, 3, 4)),
    ".tiff": (_ALL_BUT_BOOL, (1, 2, 3, 4)),
    ".jpg": (("u1",), (1, 3)),
    ".jpeg": (("u1",), (1, 3)),
    ".webp": (("u1",), (1, 2, 3, 4)),
    ".bmp": (("u1",), (1, 3)),
    ".gif": (("u1",), (1, 3)),
    ".ppm": (("u1", "u2"), (3,)),
    ".pgm": (("u1", "u2"), (1,)),
    ".pnm": (("u1", "u2"), (1, 3)),
}
_VIDEOS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    ".mp4": (("u1", "u2"), (1, 3)),
    ".m4v": (("u1", "u2"), (1, 3)),
    ".mov": (("u1", "u2"), (1, 3)),
    ".mkv": (("u1", "u2"), (1, 3)),
    ".y4m": (("u1", "u2"), (1, 3)),
    ".webm": (("u1",), (1, 3)),
    ".gif": (("u1",), (1, 3)),
    "": (("u1", "u2"), (1, 2, 3, 4)),
}
_SOUNDS = (*SOUNDFILE_FORMATS, ".m4a")
_VOLUMES = (".npy", ".npz", ".zarr", ".n5", ".tif", ".tiff")
_MESHES = (".obj", ".ply", ".stl", ".off", ".glb")
_PROTEINS = (".pdb", ".ent", ".cif", ".mmcif")
_NAMES = {
    Kind.IMAGE: "an image",
    Kind.VIDEO: "a video",
    Kind.AUDIO: "audio",
    Kind.SHAPE: "a shape",
    Kind.VOLUME: "a volume",
    Kind.PROTEIN: "a protein",
}
_MAX_SIDES = {".jpg": 65_535, ".jpeg": 65_535, ".webp": 16_383, ".gif": 65_535}
_MAX_H264_SIDE = 16_384


def output_extension(spec: Spec) -> str:
    """The extension to write a signal with, if the user names none: its source's, or else one that holds it well."""
    own = spec.meta.get("format")
    if isinstance(own, str) and own and problem(own, spec) is None:
        return own
    candidates = {
        Kind.IMAGE: (".png", ".tiff", ".npy"),
        Kind.VIDEO: (".mp4", ".npy"),
        Kind.AUDIO: (".wav", ".npy"),
        Kind.SHAPE: (".obj",),
        Kind.VOLUME: (".npy",),
        Kind.PROTEIN: (".pdb",),
    }[spec.kind]
    return next(extension for extension in candidates if problem(extension, spec) is None)


def check_output(path: Path, spec: Spec) -> None:
    """Raises `InrzipError`, if a file of `path`'s extension cannot hold this signal, and says what can. Writes nothing.

    A video whose `path` has no extension becomes a folder of PNG frames.
    """
    trouble = problem(path.suffix.lower(), spec)
    if trouble is not None:
        raise InrzipError(f"{path}: {trouble}")


def problem(extension: str, spec: Spec) -> str | None:
    """What keeps a format from holding a signal, and what to use instead; None if it can."""
    known = extensions_of(spec.kind)
    if extension not in known:
        name = f"a {extension} file" if extension else "a file without extension"
        return f"{name} cannot hold {_NAMES[spec.kind]}; use one of {' '.join(sorted(e for e in known if e))}"
    if extension == ".npy":
        return None
    if spec.kind in (Kind.IMAGE, Kind.VIDEO):
        return _picture_problem(extension, spec)
    if spec.kind == Kind.AUDIO:
        trouble = audio_problem(extension, spec)
        return f"{extension} {trouble}" if trouble else None
    if extension == ".n5" and spec.sample_type in ("b1", "f2"):
        return ".n5 cannot hold truth values or half floats; use .zarr"
    return _stack_problem(extension, spec) if extension in (".tif", ".tiff") else None


def extensions_of(kind: Kind) -> tuple[str, ...]:
    """All extensions that a kind can be written with; "" stands for a folder of frames."""
    return {
        Kind.IMAGE: (*_IMAGES, ".npy"),
        Kind.VIDEO: (*_VIDEOS, ".npy"),
        Kind.AUDIO: (*_SOUNDS, ".npy"),
        Kind.SHAPE: _MESHES,
        Kind.VOLUME: _VOLUMES,
        Kind.PROTEIN: _PROTEINS,
    }[kind]


def _picture_problem(extension: str, spec: Spec) -> str | None:
    table, exact = (_IMAGES, ".png") if spec.kind == Kind.IMAGE else (_VIDEOS, ".mkv")
    sample_types, channels = table[extension]
    if spec.sample_type not in sample_types:
        bits = {"u1": "8-bit samples", "u2": "16-bit samples"}.get(
            spec.sample_type, f"samples of type {spec.sample_type}"
        )
        instead = exact if spec.sample_type in ("u1", "u2") else ".tiff or .npy"
        return f"{extension} cannot hold {bits}; use {instead}"
    if spec.channels not in channels:
        what = {1: "a single channel", 2: "transparency", 3: "colour", 4: "transparency"}.get(
            spec.channels, f"{spec.channels} channels"
        )
        return f"{extension} cannot hold {what}; use {'.png' if exact == '.png' else '.npy'}"
    limit = _MAX_SIDES.get(extension) or (
        _MAX_H264_SIDE if spec.kind == Kind.VIDEO and extension not in ("", ".y4m") else None
    )
    if limit and max(spec.shape[-2:]) > limit:
        return f"{extension} cannot hold sides of more than {limit} pixels; use {exact if exact == '.png' else '.npy'}"
    return None


def _stack_problem(extension: str, spec: Spec) -> str | None:
    if spec.sample_type == "b1":
        return f"{extension} cannot hold truth values; use .npy"
    if len(spec.shape) < 2 or (spec.channels > 1 and (spec.channels < 3 or len(spec.shape) < 3)):
        return f"{extension} cannot hold a volume of this shape; use .npy"
    return None
