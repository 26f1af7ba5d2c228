"""Opening and decoding media with PyAV (FFmpeg), so that damaged or hostile files end in one clear error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InrzipError, UnsupportedSignal

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.video.frame import VideoFrame

# Containers that hold their own media. Left out are FFmpeg's many play-list, pattern, text and device formats, through
# which a file could make the reader open other files or the network.
_DEMUXERS = (
    "mov mp4 m4a 3gp 3g2 mj2 matroska webm avi mpegts mpeg mpegvideo m4v flv asf ogg yuv4mpegpipe gif apng ivf "
    "h264 hevc obu vc1 dv mxf nut rm h261 h263 dirac wav w64 mp3 aac flac ac3 eac3 dts dtshd amr amrnb amrwb aiff "
    "au caf ape wv tta tak mpc mpc8 dsf voc oma gxf swf nuv roq truehd mlp vvc av1 webp"
)
_INPUT_OPTIONS = {"format_whitelist": _DEMUXERS.replace(" ", ","), "protocol_whitelist": "file"}


@contextlib.contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """An open media file. FFmpeg's errors inside the block become `UnsupportedSignal`."""
    with readable(path), open_container(path) as container:
        yield container


def open_container(path: Path) -> InputContainer:
    """The file, opened; FFmpeg's errors are left as they are. With `file:`, a name with a colon is no address."""
    import av

    return av.open(f"file:{path}", "r", options=dict(_INPUT_OPTIONS), metadata_errors="replace")


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns whatever PyAV raises while reading `path` into `UnsupportedSignal`."""
    import av

    try:
        yield
    except InrzipError:
        raise
    except (av.FFmpegError, ValueError, IndexError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnsupportedSignal(
            f"{path}: is no image, video or sound that can be read ({reason}); check that it plays"
        ) from error


def main_stream(container: InputContainer, kind: str) -> Any | None:
    """The first stream of `kind` ("video" or "audio") that can be decoded; pictures attached to sound do not count."""
    from av.stream import Disposition

    for stream in container.streams:
        wanted = stream.type == kind and not stream.disposition & Disposition.attached_pic
        # A stream whose codec FFmpeg does not know has no codec context.
        if wanted and getattr(stream, "codec_context", None) is not None:
            return stream
    return None


def decode(container: InputContainer, stream: Any) -> Iterator[Any]:
    """All frames of a stream, in the order shown. Packets that cannot be decoded are passed over; a cut ends it."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        yield from frames


def first_time(container: InputContainer, stream: Any) -> Fraction:
    """When the first frame of a stream is shown or heard, in seconds; 0 where the file does not say."""
    frame: VideoFrame | AudioFrame | None = next(decode(container, stream), None)
    if frame is None or frame.pts is None or frame.time_base is None:
        return Fraction(0)
    return Fraction(frame.pts) * frame.time_base
