"""What a file is, told from its first bytes, and from its extension where these say nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ..errors import UnsupportedSignal

Family = Literal[
    "image", "tiff", "animation", "numpy", "archive", "sound", "media", "mesh", "frames", "store", "protein"
]

IMAGE_EXTENSIONS = frozenset(
    {
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".webp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pnm",
        ".pbm",
        ".bmp",
        ".gif",
        ".avif",
        ".jp2",
    }
)
MESH_EXTENSIONS = frozenset({".obj", ".ply", ".stl", ".off", ".glb", ".gltf"})
PROTEIN_EXTENSIONS = frozenset({".pdb", ".ent", ".cif", ".mmcif"})
SOUND_EXTENSIONS = frozenset(
    {
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".m4a",
        ".aac",
        ".wma",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".mka",
    }
)
RAW_VIDEO_EXTENSIONS = frozenset({".yuv", ".rgb", ".nv12", ".i420"})
STORE_MARKERS = ("zarr.json", ".zarray", "attributes.json", ".zgroup")

_HEAD_BYTES = 64
# (offset, bytes, family). The first match counts.
_MAGIC: tuple[tuple[int, bytes, Family], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image"),
    (0, b"\xff\xd8\xff", "image"),
    (0, b"GIF87a", "animation"),
    (0, b"GIF89a", "animation"),
    (8, b"WEBP", "image"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"II+\0", "tiff"),
    (0, b"MM\0+", "tiff"),
    (0, b"BM", "image"),
    (4, b"ftypavif", "image"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "image"),
    (0, b"\x93NUMPY", "numpy"),
    (0, b"PK\x03\x04", "archive"),
    (8, b"WAVE", "sound"),
    (0, b"fLaC", "sound"),
    (0, b"FORM", "sound"),
    (0, b".snd", "sound"),
    (0, b"YUV4MPEG2", "media"),
    (0, b"ply\n", "mesh"),
    (0, b"ply\r", "mesh"),
    (0, b"glTF", "mesh"),
    (0, b"solid ", "mesh"),
)
_NETPBM = tuple(b"P%d" % digit for digit in range(1, 7))


def identify(path: Path) -> Family:
    """The family of formats that `path` belongs to; the reader of that family decides the rest.

    Raises `UnsupportedSignal` for what is missing, empty, unreadable or known not to be readable.
    """
    if path.is_dir():
        return _identify_folder(path)
    head = read_head(path)
    extension = path.suffix.lower()
    if extension in RAW_VIDEO_EXTENSIONS:
        raise UnsupportedSignal(
            f"{path}: raw video says neither its size nor its frame rate; convert it to .y4m, which does"
        )
    if extension == ".inrz":
        raise UnsupportedSignal(f"{path}: is an .inrz file already; use `inrzip decompress` on it")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        raise UnsupportedSignal(f"{path}: NIfTI is not read; save its array as .npy")
    for offset, magic, family in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return family
    if head[:2] in _NETPBM and head[2:3].isspace():
        return "image"
    return _by_extension(extension)


def holds_streams(path: Path) -> bool:
    """Whether a file is of a kind that can have sound beside its picture: no folder, array or animated image."""
    return identify(path) in ("media", "sound")


def read_head(path: Path) -> bytes:
    """The first bytes of a file, or a clear error if there are none to be had."""
    try:
        if path.exists() and not path.is_file():
            raise UnsupportedSignal(f"{path}: is no ordinary file; copy its contents into one")
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except UnsupportedSignal:
        raise
    except FileNotFoundError:
        raise UnsupportedSignal(f"{path}: no such file; check the name") from None
    except PermissionError:
        raise UnsupportedSignal(f"{path}: no permission to read it; change its permissions") from None
    except (OSError, ValueError) as error:
        raise UnsupportedSignal(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not head:
        raise UnsupportedSignal(f"{path}: is empty; there is nothing to read")
    return head


def folder_files(folder: Path) -> Iterator[Path]:
    """All files under a folder, at any depth."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in names)


def total_bytes(path: Path) -> int:
    """The size of a file, or of all files under a folder."""
    if path.is_dir():
        return sum(file.lstat().st_size for file in folder_files(path))
    return os.path.getsize(path)


def frame_files(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted as people count: frame2 before frame10."""
    try:
        found = [
            file
            for file in folder.iterdir()
            if file.suffix.lower() in IMAGE_EXTENSIONS and not file.name.startswith(".") and file.is_file()
        ]
    except PermissionError:
        raise UnsupportedSignal(f"{folder}: no permission to list it; change its permissions") from None
    return sorted(found, key=_natural_key)


def _natural_key(path: Path) -> tuple[list[tuple[bool, int, str]], str]:
    parts: list[tuple[bool, int, str]] = []
    text = ""
    for character in path.name.lower() + "\0":
        if text and (character.isdecimal() != text[0].isdecimal()):
            parts.append((not text[0].isdecimal(), int(text) if text[0].isdecimal() else 0, text))
            text = ""
        text += character
    return parts, path.name


def _identify_folder(path: Path) -> Family:
    if path.suffix.lower() in (".zarr", ".n5") or any((path / marker).is_file() for marker in STORE_MARKERS):
        return "store"
    if frame_files(path):
        return "frames"
    raise UnsupportedSignal(
        f"{path}: is a folder, but neither of image frames nor a zarr or n5 array; name a file in it"
    )


def _by_extension(extension: str) -> Family:
    if extension in MESH_EXTENSIONS:
        return "mesh"
    if extension in PROTEIN_EXTENSIONS:
        return "protein"
    if extension in (".tif", ".tiff"):
        return "tiff"
    if extension in IMAGE_EXTENSIONS:
        return "image"
    if extension == ".npy":
        return "numpy"
    if extension == ".npz":
        return "archive"
    return "sound" if extension in SOUND_EXTENSIONS else "media"
