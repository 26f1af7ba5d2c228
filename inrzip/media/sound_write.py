"""Putting sound beside the picture of a new file: the packets that were copied, or decoded sound encoded again."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import InrzipError
from ..signal import Spec
from .ffmpeg import decode, main_stream
from .samples import DEFAULT_SAMPLE_RATE
from .sound import packets_of

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

BITS_PER_CHANNEL = 96_000
_FRAME_SAMPLES = 4096
_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
_OPUS_RATE = 48_000
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
# Codecs that encode decoded sound, by the extension of the video.
_CODECS = {".mp4": "aac", ".m4v": "aac", ".mov": "aac", ".m4a": "aac", ".mkv": "flac", ".webm": "libopus"}
_TRANSCODERS = {**_CODECS, ".mkv": "aac"}
_ENCODER_FORMATS = {"aac": "fltp", "libopus": "flt", "flac": "s32"}  # FLAC takes 24 of 32 bits


class SoundTrack:
    """One sound stream of an output file, given out in step with the picture."""

    def __init__(self, output: OutputContainer, packets: Iterator[Packet[Any]]):
        self._output = output
        self._packets = packets
        self._next: Packet[Any] | None = None
        self._started = False

    def advance(self, seconds: float | Fraction) -> None:
        """Writes all sound up to a time, so that sound and picture lie side by side in the file."""
        if not self._started:
            self._started, self._next = True, next(self._packets, None)
        while self._next is not None and (self._next.pts is None or self._next.pts * self._next.time_base <= seconds):
            self._output.mux(self._next)
            self._next = next(self._packets, None)


def copied_track(output: OutputContainer, extension: str, payload: bytes, path: Path) -> SoundTrack:
    """The sound that `copy_sound` kept: the same packets, or transcoded where the file's format refuses their codec."""
    import av

    source = av.open(io.BytesIO(payload), "r", format="matroska")
    stream = main_stream(source, "audio")
    if stream is None:
        raise InrzipError(f"{path}: the copied sound cannot be read; decompress without sound")
    if _accepts(output.format.name, stream):
        return SoundTrack(output, _retimed(source, stream, output.add_stream_from_template(stream)))
    codec = _TRANSCODERS[extension]
    form = _ENCODER_FORMATS[codec]
    channels, rate = int(stream.codec_context.layout.nb_channels), int(stream.codec_context.sample_rate)
    return SoundTrack(output, _encoded(output, codec, form, channels, rate, decode(source, stream), path))


def _accepts(container_format: str, stream: Any) -> bool:
    """Whether a container format takes a stream as it is, found by writing a header to memory."""
    import av

    output = av.open(io.BytesIO(), "w", format=container_format)
    try:
        output.add_stream_from_template(stream)
        output.start_encoding()
        return True
    except (av.FFmpegError, ValueError):
        return False
    finally:
        with contextlib.suppress(av.FFmpegError, ValueError):
            output.close()


def _retimed(source: InputContainer, stream: Any, target: Any) -> Iterator[Packet[Any]]:
    """Packets with Matroska's 1 ms rounding of their times undone, where all frames are of one known length."""
    size, rate = int(stream.codec_context.frame_size or 0), int(stream.codec_context.sample_rate or 0)
    exact: Fraction | None = None
    for packet in packets_of(source, stream):
        stamp = Fraction(packet.pts or 0) * packet.time_base
        if size and rate:
            follows = exact is not None and abs(exact - stamp) <= 2 * packet.time_base
            exact = exact if follows and exact is not None else stamp
            packet.time_base = Fraction(1, rate)
            packet.pts = packet.dts = round(exact * rate)
            packet.duration = size
            exact += Fraction(size, rate)
        packet.stream = target
        yield packet


def decoded_track(
    output: OutputContainer, extension: str, sound: tuple[Spec, Shaped[ndarray, "n c"]], path: Path
) -> SoundTrack:
    """Decoded sound, encoded by the codec that goes with the file's extension."""
    spec, samples = sound
    rate = audio_rate(spec)
    codec = _CODECS[extension]
    narrow = codec == "flac" and spec.sample_type in ("u1", "i1", "i2")
    frames = audio_frames(samples, spec.sample_type, rate, path)
    form = "s16" if narrow else _ENCODER_FORMATS[codec]
    return SoundTrack(output, _encoded(output, codec, form, spec.channels, rate, frames, path))


def audio_rate(spec: Spec) -> int:
    """Samples a second, rounded to a whole number as audio files have it."""
    rate = spec.meta.get("rate")
    return max(1, round(Fraction(int(rate[0]), int(rate[1])))) if isinstance(rate, tuple) else DEFAULT_SAMPLE_RATE[0]


def audio_frames(samples: Shaped[ndarray, "n c"], sample_type: str, rate: int, path: Path) -> Iterator[AudioFrame]:
    """FFmpeg's audio frames of decoded samples, from time 0."""
    import av

    layout = _layout(samples.shape[1], path)
    for start in range(0, len(samples), _FRAME_SAMPLES):
        part, form = _ffmpeg_samples(samples[start : start + _FRAME_SAMPLES], sample_type)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part).reshape(1, -1), format=form, layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), start
        yield frame


def _ffmpeg_samples(part: Shaped[ndarray, "n c"], sample_type: str) -> tuple[Shaped[ndarray, "n c"], str]:
    if sample_type == "i1":
        return part.astype(np.int16) << 8, "s16"
    if sample_type == "i3":
        return part.astype(np.int32) << 8, "s32"
    return part, {"u1": "u8", "i2": "s16", "i4": "s32", "f4": "flt", "f8": "dbl"}[sample_type]


def _layout(channels: int, path: Path) -> str:
    if channels not in _LAYOUTS:
        raise InrzipError(f"{path}: sound of {channels} channels cannot be encoded in it; write a .wav or .npy instead")
    return _LAYOUTS[channels]


def _encoded(
    output: OutputContainer, codec: str, form: str, channels: int, rate: int, frames: Iterator[AudioFrame], path: Path
) -> Iterator[Packet[Any]]:
    """Adds a stream of `codec` to `output` at once; its packets are made as they are asked for."""
    import av

    layout = _layout(channels, path)
    if codec == "libopus":
        rate = _OPUS_RATE
    if codec == "aac":
        rate = min(_AAC_RATES, key=lambda known: (known < rate, abs(known - rate)))
    stream: Any = output.add_stream(codec, rate=rate, layout=layout, format=form)
    if codec != "flac":
        stream.bit_rate = BITS_PER_CHANNEL * channels
    resampler = av.AudioResampler(format=form, layout=layout, rate=rate)

    def packets() -> Iterator[Packet[Any]]:
        for frame in frames:
            for ready in resampler.resample(frame):
                yield from stream.encode(ready)
        for ready in resampler.resample(None):
            yield from stream.encode(ready)
        yield from stream.encode(None)

    return packets()
