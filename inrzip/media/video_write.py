"""Writing video frame by frame: H.264, VP9, y4m and GIF files, and folders of frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import InrzipError
from ..signal import Kind, Spec
from .colour import BT709, LIMITED_RANGE, SMPTE170M, array_to_frame, matrix_for
from .images import write_image
from .sound_write import SoundTrack, copied_track, decoded_track
from .timing import TICKS_PER_SECOND

if TYPE_CHECKING:
    from av.container import OutputContainer

_FRAME_NAME_DIGITS = 6
_GIF_TICKS = 100  # GIF counts time in hundredths of a second


@dataclasses.dataclass(frozen=True)
class _Coding:
    """How one file format is written: FFmpeg's container and codec, and the codec's options."""

    container: str
    codec: str
    options: dict[str, str]


_X264 = {"crf": "12", "preset": "medium"}
_VP9 = {"crf": "12", "b": "0", "deadline": "good", "cpu-used": "3", "row-mt": "1"}
_CODINGS = {
    ".mp4": _Coding("mp4", "libx264", _X264),
    ".m4v": _Coding("mp4", "libx264", _X264),
    ".mov": _Coding("mov", "libx264", _X264),
    ".mkv": _Coding("matroska", "libx264", _X264),
    ".webm": _Coding("webm", "libvpx-vp9", _VP9),
    ".y4m": _Coding("yuv4mpegpipe", "rawvideo", {}),
    ".gif": _Coding("gif", "gif", {}),
}
_SILENT = (".y4m", ".gif")


def holds_sound(extension: str) -> bool:
    """Whether a video of this extension can have sound."""
    return extension in _CODINGS and extension not in _SILENT


def write_frame_folder(path: Path, spec: Spec, parts: Iterable[Shaped[ndarray, "_ h w c"]]) -> None:
    """Writes each frame as a PNG of 8 or 16 bits in the folder `path`: 000000.png, 000001.png and on."""
    path.mkdir(parents=True, exist_ok=True)
    frame_spec = dataclasses.replace(spec, kind=Kind.IMAGE, shape=spec.shape[1:])
    for k, frame in enumerate(_frames(parts)):
        write_image(path / f"{k:0{_FRAME_NAME_DIGITS}d}.png", frame_spec, frame)


def write_video(
    path: Path,
    spec: Spec,
    parts: Iterable[Shaped[ndarray, "_ h w c"]],
    copied_sound: bytes | None = None,
    decoded_sound: tuple[Spec, Shaped[ndarray, "m k"]] | None = None,
) -> None:
    """Writes a video in the format of `path`'s extension, with its exact frame count and times, and sound if given.

    H.264 at crf 12 (mp4, mov, mkv) and VP9 at crf 12 (webm) are visually lossless: 4:2:0, or 4:4:4 where a side is
    odd, so that no pixel is lost; 16-bit samples are written with 10 bits. y4m is uncompressed 4:4:4. mkv and webm
    round frame times to 1 ms, GIF to 10 ms. The colour matrix is BT.709 from 720 lines on and BT.601 below, and is
    stated in the file.
    Raises `InrzipError` if FFmpeg refuses.
    """
    import av

    extension = path.suffix.lower()
    coding = _CODINGS[extension]
    options = {"strict": "-1"} if extension == ".y4m" else {}
    try:
        with av.open(f"file:{path}", "w", format=coding.container, options=options) as output:
            stream = _add_stream(output, spec, coding)
            sound = _sound(output, extension, copied_sound, decoded_sound, path)
            _encode(output, stream, spec, coding, parts, sound)
    except av.FFmpegError as error:
        if isinstance(error, OSError) and error.errno and 0 < error.errno < 256:
            raise OSError(error.errno, error.strerror) from error
        raise InrzipError(f"{path}: FFmpeg cannot write this video: {error.strerror}; try .mkv or .npy") from error
    except OverflowError as error:  # FFmpeg counts in 32 bits, times in 64
        raise InrzipError(f"{path}: its frame rate, times or aspect cannot be written; use .npy") from error


def _sound(
    output: OutputContainer, extension: str, copied: bytes | None, decoded: tuple[Spec, Any] | None, path: Path
) -> SoundTrack | None:
    if not holds_sound(extension):
        return None
    if decoded is not None:
        return decoded_track(output, extension, decoded, path)
    return copied_track(output, extension, copied, path) if copied is not None else None


def _add_stream(output: OutputContainer, spec: Spec, coding: _Coding) -> Any:
    _, height, width = spec.shape
    rate = _rate(spec)
    stream: Any = output.add_stream(coding.codec, rate=rate, options=dict(coding.options))
    stream.width, stream.height = width, height
    stream.pix_fmt = _pixel_format(spec, coding)
    stream.codec_context.time_base = _time_base(spec, coding)
    # An automatic thread count uses every core; FFmpeg's default here is one.
    stream.thread_count = 0
    if stream.pix_fmt.startswith("yuv"):
        # H.273 numbers primaries and transfer functions of these two standards as it does matrices.
        standard = matrix_for(height)
        stream.codec_context.colorspace = standard
        stream.codec_context.color_range = LIMITED_RANGE
        stream.codec_context.color_primaries = standard if standard == BT709 else SMPTE170M
        stream.codec_context.color_trc = standard if standard == BT709 else SMPTE170M
    aspect = spec.meta.get("aspect")
    if isinstance(aspect, tuple):
        stream.codec_context.sample_aspect_ratio = Fraction(int(aspect[0]), int(aspect[1]))
    return stream


def _encode(
    output: OutputContainer,
    stream: Any,
    spec: Spec,
    coding: _Coding,
    parts: Iterable[Shaped[ndarray, "_ h w c"]],
    sound: SoundTrack | None,
) -> None:
    times, base, matrix = spec.meta.get("times"), _time_base(spec, coding), matrix_for(spec.shape[1])
    palette = _PaletteFilter(spec, base) if coding.codec == "gif" else None
    rate, last = _rate(spec), -1
    for k, samples in enumerate(_frames(parts)):
        moment = Fraction(int(times[k]), TICKS_PER_SECOND) if isinstance(times, tuple) else k / rate
        frame: Any = array_to_frame(samples, "rgb24" if palette else stream.pix_fmt, matrix)
        # Coarse time bases may round two frames to one moment; muxers want them to increase.
        last = max(round(moment / base), last + 1)
        frame.pts, frame.time_base = last, base
        output.mux(stream.encode(palette(frame) if palette else frame))
        if sound is not None:
            sound.advance(moment)
    output.mux(stream.encode(None))
    if sound is not None:
        sound.advance(float("inf"))


def _rate(spec: Spec) -> Fraction:
    rate = spec.meta.get("rate")
    return Fraction(int(rate[0]), int(rate[1])) if isinstance(rate, tuple) else Fraction(25)


def _time_base(spec: Spec, coding: _Coding) -> Fraction:
    if coding.codec == "gif":
        return Fraction(1, _GIF_TICKS)
    if coding.codec != "rawvideo" and "times" in spec.meta:
        return Fraction(1, TICKS_PER_SECOND)
    return 1 / _rate(spec)


def _pixel_format(spec: Spec, coding: _Coding) -> str:
    """What the codec is given. Grey goes to H.264 and VP9 with neutral chroma, which costs next to nothing."""
    deep = spec.sample_type == "u2"
    if coding.codec == "gif":
        return "pal8"
    if coding.codec == "rawvideo":
        return ("gray16le" if deep else "gray") if spec.channels == 1 else ("yuv444p16le" if deep else "yuv444p")
    odd = spec.shape[1] % 2 or spec.shape[2] % 2
    return ("yuv444p" if odd else "yuv420p") + ("10le" if deep else "")


def _frames(parts: Iterable[Shaped[ndarray, "_ h w c"]]) -> Iterator[Shaped[ndarray, "h w c"]]:
    for part in parts:
        yield from np.asarray(part)


class _PaletteFilter:
    """Gives each frame of a GIF the palette of 256 colours that suits it best."""

    def __init__(self, spec: Spec, time_base: Fraction):
        import av

        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=spec.shape[2], height=spec.shape[1], format=av.VideoFormat("rgb24"), time_base=time_base
        )
        split = graph.add("split")
        generate = graph.add("palettegen", "stats_mode=single")
        use = graph.add("paletteuse", "new=1:dither=none")
        sink = graph.add("buffersink")
        source.link_to(split)
        split.link_to(use, 0, 0)
        split.link_to(generate, 1, 0)
        generate.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()
        self._graph = graph

    def __call__(self, frame: Any) -> Any:
        stamp, base = frame.pts, frame.time_base
        self._graph.push(frame)
        coloured: Any = self._graph.pull()
        coloured.pts, coloured.time_base = stamp, base
        return coloured
