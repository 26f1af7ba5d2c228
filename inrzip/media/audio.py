"""Audio files: WAV, FLAC, Ogg, MP3 and more through libsndfile, the rest through FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import InrzipError, UnsupportedSignal
from ..signal import ArraySignal, MetaValue, Spec
from .ffmpeg import main_stream, open_media
from .samples import audio_signal
from .sound import decode_sound, to_int16
from .sound_write import audio_rate, decoded_track

# Read and written in blocks of frames: a header may lie about the length, and libsndfile's Vorbis coder fails on huge
# blocks.
_BLOCK_FRAMES = 1 << 16
_SYSTEM_ERROR = 2  # libsndfile's number for a read or write that the operating system refused
# libsndfile's encodings that keep samples exactly: how they are read, by how many bits shifted, and as which sample
# type.
_EXACT_SUBTYPES: dict[str, tuple[str, int, str]] = {
    "PCM_S8": ("int16", 8, "i1"),
    "PCM_U8": ("int16", 8, "u1"),
    "PCM_16": ("int16", 0, "i2"),
    "PCM_24": ("int32", 8, "i3"),
    "PCM_32": ("int32", 0, "i4"),
    "FLOAT": ("float32", 0, "f4"),
    "DOUBLE": ("float64", 0, "f8"),
    "ULAW": ("int16", 0, "i2"),
    "ALAW": ("int16", 0, "i2"),
    "ALAC_16": ("int16", 0, "i2"),
    "ALAC_24": ("int32", 8, "i3"),
    "ALAC_32": ("int32", 0, "i4"),
}
_U8_SILENCE = 128
# The encoding that each sample type is written with.
_WAV = {"u1": "PCM_U8", "i1": "PCM_U8", "i2": "PCM_16", "i3": "PCM_24", "i4": "PCM_32", "f4": "FLOAT", "f8": "DOUBLE"}
_FLAC = {"u1": "PCM_S8", "i1": "PCM_S8", "i2": "PCM_16", "i3": "PCM_24"}
_AIFF = {**_WAV, "u1": "PCM_U8", "i1": "PCM_S8"}
_LOSSY_TYPES = tuple(_WAV)
SOUNDFILE_FORMATS: dict[str, tuple[str, dict[str, str]]] = {
    ".wav": ("WAV", _WAV),
    ".flac": ("FLAC", _FLAC),
    ".aiff": ("AIFF", _AIFF),
    ".aif": ("AIFF", _AIFF),
    ".ogg": ("OGG", dict.fromkeys(_LOSSY_TYPES, "VORBIS")),
    ".oga": ("OGG", dict.fromkeys(_LOSSY_TYPES, "VORBIS")),
    ".opus": ("OGG", dict.fromkeys(_LOSSY_TYPES, "OPUS")),
    ".mp3": ("MP3", dict.fromkeys(_LOSSY_TYPES, "MPEG_LAYER_III")),
}
_WIDE_WAV_CHANNELS = 2  # beyond stereo, WAV wants its extensible header


def read_audio(path: Path) -> ArraySignal:
    """An audio file, decoded: samples (N, channels) in the type that the file keeps (int16, where its codec is lossy).

    A file that breaks off gives what comes before the break. Raises `UnsupportedSignal` if there is no sound in it,
    or samples that are infinite or not a number.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            samples, sample_type = _read_soundfile(file)
            rate, subtype = int(file.samplerate), str(file.subtype)
    except (soundfile.LibsndfileError, TypeError, ValueError):
        # Unknown to libsndfile, or damaged: FFmpeg keeps what comes before the damage.
        samples, sample_type, rate = _read_ffmpeg(path)
        subtype = ""
    kept = subtype if subtype in _EXACT_SUBTYPES else _WAV[sample_type]
    meta: dict[str, MetaValue] = {"rate": (rate, 1), "format": path.suffix.lower(), "subtype": kept}
    return audio_signal(samples, sample_type, meta, path, os.path.getsize(path))


def _read_soundfile(file: Any) -> tuple[Shaped[ndarray, "n c"], str]:
    form, shift, sample_type = _EXACT_SUBTYPES.get(file.subtype, ("float32", 0, ""))
    blocks = []
    while len(block := file.read(_BLOCK_FRAMES, dtype=form, always_2d=True)):
        blocks.append(block)
    if not blocks:
        return np.empty((0, file.channels), np.int16), "i2"
    samples = np.concatenate(blocks)
    if not sample_type:
        return to_int16(samples), "i2"
    return _to_type(samples >> shift if shift else samples, sample_type), sample_type


def _to_type(samples: Shaped[ndarray, "n c"], sample_type: str) -> Shaped[ndarray, "n c"]:
    if sample_type == "u1":
        return (samples + _U8_SILENCE).astype(np.uint8)
    return samples.astype(np.int8) if sample_type == "i1" else samples


def _read_ffmpeg(path: Path) -> tuple[Shaped[ndarray, "n c"], str, int]:
    with open_media(path) as container:
        stream = main_stream(container, "audio")
        if stream is None:
            raise UnsupportedSignal(f"{path}: has no sound that can be decoded; check that it plays")
        samples, sample_type, _ = decode_sound(container, stream, path)
        return samples, sample_type, int(stream.codec_context.sample_rate)


def audio_problem(extension: str, spec: Spec) -> str | None:
    """Why a file of this extension cannot hold this audio, and what can; None if it can."""
    if extension == ".m4a":
        return None if spec.channels in (1, 2, 3, 4, 5, 6, 8) else f"cannot hold {spec.channels} channels; use .wav"
    import soundfile

    form, subtypes = SOUNDFILE_FORMATS[extension]
    if spec.sample_type not in subtypes:
        return f"cannot hold samples of type {spec.sample_type}; use .wav"
    limits = {".mp3": 2, ".flac": 8, ".opus": 8}
    if spec.channels > limits.get(extension, 255):
        return f"cannot hold {spec.channels} channels; use .wav"
    rates = {
        ".mp3": (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
        ".opus": (8000, 12000, 16000, 24000, 48000),
    }
    rate = audio_rate(spec)
    if extension in rates and rate not in rates[extension]:
        return f"cannot hold {rate} samples a second; use .wav"
    if extension == ".flac" and rate > 655_350:
        return f"cannot hold {rate} samples a second; use .wav"
    return None if soundfile.check_format(form, subtypes[spec.sample_type]) else "cannot be written here; use .wav"


def write_audio(path: Path, spec: Spec, parts: Iterable[Shaped[ndarray, "_ c"]]) -> None:
    """Writes audio in the format of `path`'s extension; WAV, FLAC and AIFF keep every sample as it is."""
    extension = path.suffix.lower()
    if extension == ".m4a":
        return _write_m4a(path, spec, parts)
    import soundfile

    form, subtypes = SOUNDFILE_FORMATS[extension]
    if form == "WAV" and spec.channels > _WIDE_WAV_CHANNELS:
        form = "WAVEX"
    try:
        with soundfile.SoundFile(
            path, "w", audio_rate(spec), spec.channels, subtypes[spec.sample_type], None, form
        ) as file:
            for part in parts:
                for start in range(0, len(part), _BLOCK_FRAMES):
                    file.write(_for_soundfile(np.asarray(part[start : start + _BLOCK_FRAMES]), spec.sample_type))
    except soundfile.LibsndfileError as error:
        if error.code == _SYSTEM_ERROR:
            raise InrzipError(f"{path}: cannot be written: the system refuses; is the disk full?") from error
        raise InrzipError(f"{path}: cannot be written: {error.error_string} Use .wav or .npy") from error


def _for_soundfile(samples: Shaped[ndarray, "n c"], sample_type: str) -> Shaped[ndarray, "n c"]:
    if sample_type == "u1":
        return (samples.astype(np.int16) - _U8_SILENCE) << 8
    if sample_type == "i1":
        return samples.astype(np.int16) << 8
    return samples.astype(np.int32) << 8 if sample_type == "i3" else samples


def _write_m4a(path: Path, spec: Spec, parts: Iterable[Shaped[ndarray, "_ c"]]) -> None:
    import av

    samples = np.concatenate([np.asarray(part) for part in parts])
    try:
        with av.open(f"file:{path}", "w", format="ipod") as output:
            decoded_track(output, ".m4a", (spec, samples), path).advance(Fraction(2**62))
    except av.FFmpegError as error:
        raise InrzipError(f"{path}: FFmpeg cannot write this sound: {error.strerror}; use .wav") from error
