"""The sound that goes with a video: copied as it is, or decoded."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import UnsupportedSignal
from ..signal import ArraySignal
from .ffmpeg import decode, first_time, main_stream, open_media
from .samples import audio_signal

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.packet import Packet

# No index, no random identifiers, long clusters: the track is only ever read from its start. Time stamps may be
# negative (sound that begins before the picture), so the muxer must not shift them.
_MATROSKA_OPTIONS = {
    "fflags": "+bitexact",
    "avoid_negative_ts": "disabled",
    "cluster_time_limit": "30000",
    "cluster_size_limit": "5000000",
}
_EXACT_TYPES = {"u8": "u1", "s16": "i2", "s32": "i4"}


def copy_sound(path: Path) -> bytes | None:
    """The packets of a file's first audio stream, untouched, as a Matroska audio file; None if it has no sound.

    Time 0 of that file is the first frame of the video; sound that starts earlier has negative times. Matroska rounds
    times to 1 ms. Raises `UnsupportedSignal` for the rare codec that Matroska cannot hold.
    """
    import av

    with open_media(path) as container:
        stream = main_stream(container, "audio")
        if stream is None:
            return None
        origin = _video_start(path)
        try:
            return _remux(container, stream, origin)
        except (av.FFmpegError, ValueError) as error:
            name = stream.codec_context.name
            raise UnsupportedSignal(
                f"{path}: its {name} sound cannot be copied as it is; "
                "give --audio inr to compress it, or --audio drop to leave it out"
            ) from error


def _remux(container: InputContainer, stream: Any, origin: Fraction) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska", options=dict(_MATROSKA_OPTIONS)) as output:
        copy = output.add_stream_from_template(stream)
        for packet in packets_of(container, stream):
            _move(packet, -origin)
            packet.stream = copy
            output.mux(packet)
    return buffer.getvalue()


def packets_of(container: InputContainer, stream: Any) -> Iterator[Packet[Any]]:
    """The packets of a stream that hold data, until the file ends or is cut."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        if packet.size and packet.pts is not None:
            yield packet


def _move(packet: Packet[Any], seconds: Fraction) -> None:
    shift = round(seconds / packet.time_base)
    packet.pts = (packet.pts or 0) + shift
    packet.dts = packet.pts if packet.dts is None else packet.dts + shift


def _video_start(path: Path) -> Fraction:
    """When the picture starts, in the file's own time; 0 if it has none."""
    with open_media(path) as container:
        stream = main_stream(container, "video")
        return first_time(container, stream) if stream is not None else Fraction(0)


def read_sound(path: Path) -> ArraySignal | None:
    """The first audio stream of a file, decoded; None if it has none. Sample 0 is heard with the first video frame.

    Silence is put before sound that starts later than the video, and sound from before it is cut off. Samples are
    int16 where the codec is lossy. Raises `UnsupportedSignal` if the sound cannot be decoded.
    """
    with open_media(path) as container:
        stream = main_stream(container, "audio")
        if stream is None:
            return None
        samples, sample_type, start = decode_sound(container, stream, path)
        rate = int(stream.codec_context.sample_rate)
        has_video = main_stream(container, "video") is not None
    if has_video:
        samples = _aligned(samples, round((start - _video_start(path)) * rate), 128 if sample_type == "u1" else 0)
    return audio_signal(samples, sample_type, {"rate": (rate, 1), "format": ".wav"}, path, os.path.getsize(path))


def _aligned(samples: Shaped[ndarray, "n c"], late: int, silence: int) -> Shaped[ndarray, "m c"]:
    if late <= 0:
        return samples[min(-late, len(samples) - 1) :]
    return np.pad(samples, ((late, 0), (0, 0)), constant_values=silence)


def decode_sound(container: InputContainer, stream: Any, path: Path) -> tuple[Shaped[ndarray, "n c"], str, Fraction]:
    """All samples of an audio stream, their sample type, and when the first is heard (seconds)."""
    parts: list[Shaped[ndarray, "n c"]] = []
    first: AudioFrame | None = None
    for frame in decode(container, stream):
        first = first or frame
        if (frame.format.name, frame.layout.nb_channels, frame.sample_rate) != (
            first.format.name, first.layout.nb_channels, first.sample_rate,
        ):  # fmt: skip
            raise UnsupportedSignal(f"{path}: its sound changes channels or rate on the way; convert it to .wav first")
        parts.append(_frame_samples(frame))
    if first is None:
        raise UnsupportedSignal(f"{path}: has no sound that can be decoded; check that it plays")
    samples, sample_type = _exact_samples(np.concatenate(parts), first.format.name, stream)
    start = Fraction(first.pts) * first.time_base if first.pts is not None and first.time_base else Fraction(0)
    return samples, sample_type, start


def _frame_samples(frame: AudioFrame) -> Shaped[ndarray, "n c"]:
    samples = frame.to_ndarray()
    return np.ascontiguousarray(samples.T) if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels)


def _exact_samples(samples: Shaped[ndarray, "n c"], form: str, stream: Any) -> tuple[Shaped[ndarray, "n c"], str]:
    """Samples in the type that the codec keeps: lossy codecs decode to floats, of which 16 bits are worth keeping."""
    context = stream.codec_context
    base = form.removesuffix("p")
    if base in _EXACT_TYPES:
        bits = getattr(context, "bits_per_raw_sample", 0) or getattr(context, "bits_per_coded_sample", 0)
        if base == "s32" and (bits == 24 or not (samples & 0xFF).any()):
            return samples >> 8, "i3"
        return samples, _EXACT_TYPES[base]
    if context.name.startswith("pcm_f"):
        return samples, f"f{samples.dtype.itemsize}"
    return to_int16(samples), "i2"


def to_int16(samples: Shaped[ndarray, "n c"]) -> Shaped[ndarray, "n c"]:
    """Samples of -1 to 1 (more is clipped) as 16-bit integers."""
    with np.errstate(invalid="ignore"):
        clipped: Shaped[ndarray, "n c"] = np.clip(np.nan_to_num(samples, nan=0.0) * 32768.0, -32768, 32767)
    rounded: Shaped[ndarray, "n c"] = np.rint(clipped).astype(np.int16)
    return rounded
