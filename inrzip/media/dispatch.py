"""From a path to the module that reads or writes it."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import UnsupportedSignal
from ..signal import Kind, Signal, Spec
from .formats import check_output
from .sniff import Family, identify, read_head

# What each family of files can be read as.
_READABLE_AS: dict[Family, tuple[Kind, ...]] = {
    "image": (Kind.IMAGE, Kind.VIDEO, Kind.VOLUME),
    "animation": (Kind.VIDEO, Kind.IMAGE, Kind.VOLUME),
    "tiff": (Kind.IMAGE, Kind.VOLUME, Kind.VIDEO),
    "numpy": (Kind.VOLUME, Kind.IMAGE, Kind.VIDEO, Kind.AUDIO),
    "archive": (Kind.VOLUME, Kind.IMAGE, Kind.VIDEO, Kind.AUDIO),
    "store": (Kind.VOLUME, Kind.IMAGE, Kind.VIDEO, Kind.AUDIO),
    "sound": (Kind.AUDIO,),
    "media": (Kind.VIDEO, Kind.AUDIO, Kind.VOLUME),
    "mesh": (Kind.SHAPE,),
    "frames": (Kind.VIDEO, Kind.VOLUME),
    "protein": (Kind.PROTEIN,),
}


def read(path: Path, kind: Kind | None) -> Signal:
    """See `inrzip.media.read_signal`."""
    try:
        family = identify(path)
        if kind is not None and kind not in _READABLE_AS[family]:
            options = ", ".join(option.name.lower() for option in _READABLE_AS[family])
            raise UnsupportedSignal(f"{path}: cannot be read as {kind.name.lower()}; it can be read as {options}")
        return _READERS[family](path, kind)
    except PermissionError:
        raise UnsupportedSignal(f"{path}: no permission to read it; change its permissions") from None
    except MemoryError:
        raise UnsupportedSignal(f"{path}: needs more memory than there is; cut it into smaller parts") from None
    except OSError as error:
        raise UnsupportedSignal(f"{path}: cannot be read: {error.strerror or error}") from error


def _read_still(path: Path, kind: Kind | None) -> Signal:
    from .frames import read_animation, stacked
    from .images import read_image

    if kind != Kind.IMAGE and read_head(path)[:4] in (b"RIFF", b"\x89PNG"):
        moving = read_animation(path)
        if moving is not None:
            return stacked(moving, kind, path) if kind == Kind.VOLUME else moving
    image = read_image(path)
    return image if kind in (None, Kind.IMAGE) else _picture_as(image, kind, path)


def _picture_as(image: Signal, kind: Kind, path: Path) -> Signal:
    """One picture as a video of one frame, or as a volume of two axes (three with its colours)."""
    from .samples import array_signal

    samples = image.read(0, image.spec.shape[0])
    if kind == Kind.VIDEO:
        return array_signal(samples[None], kind, path, image.source_bytes)
    colour = image.spec.channels > 1
    return array_signal(samples if colour else samples[..., 0], kind, path, image.source_bytes, channel_axis=colour)


def _read_gif(path: Path, kind: Kind | None) -> Signal:
    from .images import opened, read_image

    with opened(path) as (file, _):
        moving = int(file.properties(index=...).n_images or 1) > 1
    if kind == Kind.IMAGE or (kind is None and not moving):
        return read_image(path)
    return _read_media(path, kind)


def _read_media(path: Path, kind: Kind | None) -> Signal:
    from .audio import read_audio
    from .ffmpeg import main_stream, open_media
    from .video import VideoSignal

    with open_media(path) as container:
        has_video, has_sound = (main_stream(container, name) is not None for name in ("video", "audio"))
    if not (has_video or has_sound):
        raise UnsupportedSignal(f"{path}: has neither video nor sound that can be decoded; check that it plays")
    if kind == Kind.AUDIO or not has_video:
        if not has_sound:
            raise UnsupportedSignal(f"{path}: has no sound")
        if kind not in (None, Kind.AUDIO):
            raise UnsupportedSignal(f"{path}: has no video, only sound; it can be read as audio")
        return read_audio(path) if not has_video else _sound_of(path)
    video = VideoSignal(path)
    if kind == Kind.VOLUME:
        # The same samples under another name; they still stream.
        video.spec = dataclasses.replace(video.spec, kind=Kind.VOLUME)
    return video


def _sound_of(path: Path) -> Signal:
    from .sound import read_sound

    sound = read_sound(path)
    if sound is None:
        raise UnsupportedSignal(f"{path}: has no sound")
    return sound


def _read_sound_file(path: Path, kind: Kind | None) -> Signal:
    from .audio import read_audio

    return read_audio(path)


def _read_tiff(path: Path, kind: Kind | None) -> Signal:
    from .volumes import read_tiff

    return read_tiff(path, kind)


def _read_array(path: Path, kind: Kind | None) -> Signal:
    from .volumes import read_volume

    if path.is_file() and path.suffix.lower() != ".npz" and read_head(path)[:2] == b"PK" and not _holds_arrays(path):
        raise UnsupportedSignal(f"{path}: is a zip archive without arrays; unpack it first")
    return read_volume(path, kind)


def _holds_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def _read_mesh(path: Path, kind: Kind | None) -> Signal:
    from .meshes import read_mesh

    return read_mesh(path)


def _read_protein(path: Path, kind: Kind | None) -> Signal:
    from .proteins import read_protein

    return read_protein(path)


def _read_frames(path: Path, kind: Kind | None) -> Signal:
    from .frames import read_frame_folder, stacked

    frames = read_frame_folder(path)
    return stacked(frames, kind, path) if kind == Kind.VOLUME else frames


_READERS = {
    "image": _read_still,
    "animation": _read_gif,
    "tiff": _read_tiff,
    "numpy": _read_array,
    "archive": _read_array,
    "store": _read_array,
    "sound": _read_sound_file,
    "media": _read_media,
    "mesh": _read_mesh,
    "frames": _read_frames,
    "protein": _read_protein,
}


def write(
    path: Path,
    spec: Spec,
    parts: Iterable[Shaped[ndarray, "_ *rest c"]],
    copied_sound: bytes | None,
    decoded_sound: tuple[Spec, Shaped[ndarray, "m k"]] | None,
) -> None:
    """See `inrzip.media.write_signal`."""
    if spec.kind == Kind.SHAPE:
        raise ValueError("a shape is written by `inrzip.media.meshes.write_mesh`")
    check_output(path, spec)
    extension = path.suffix.lower()
    if extension == ".npy" or spec.kind == Kind.VOLUME:
        from .volumes import write_volume

        write_volume(path, spec, parts)
    elif spec.kind == Kind.PROTEIN:
        from .proteins import write_protein

        write_protein(path, spec, np.concatenate([np.asarray(part) for part in parts]))
    elif spec.kind == Kind.IMAGE:
        from .images import write_image

        write_image(path, spec, np.concatenate([np.asarray(part) for part in parts]))
    elif spec.kind == Kind.AUDIO:
        from .audio import write_audio

        write_audio(path, spec, parts)
    else:
        from .video_write import write_frame_folder, write_video

        if extension == "":
            write_frame_folder(path, spec, parts)
        else:
            write_video(path, spec, parts, copied_sound, decoded_sound)
