"""Video files read as streams of frames: only the frames asked for are ever in memory."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ..errors import UnsupportedSignal
from ..signal import Kind, MetaValue, Signal, Spec
from .colour import PixelLayout, frame_to_array, layout_of
from .ffmpeg import decode, main_stream, open_container, open_media, readable
from .timing import find_timing

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame

# Going on decoding is cheaper than seeking, up to about this many frames ahead.
_SEEK_AHEAD = 120


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What one pass over a video found: each frame's time stamp, and whether a group of frames starts there."""

    height: int
    width: int
    layout: PixelLayout
    stamps: tuple[int | None, ...]
    keys: tuple[bool, ...]

    @property
    def seekable(self) -> bool:
        """Whether time stamps identify frames."""
        stamps = [stamp for stamp in self.stamps if stamp is not None]
        return len(stamps) == len(self.stamps) and all(a < b for a, b in itertools.pairwise(stamps))


class VideoSignal(Signal):
    """A video file. `read` decodes on from where it stopped, and seeks or starts again where it must.

    Frames are RGB (or grey, where the file is), 8 bits, or 16 where the file has more; upright; alpha is dropped.
    """

    def __init__(self, path: Path):
        self._path = path
        self._container: InputContainer | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._position = 0
        with open_media(path) as container:
            stream = _video_stream(container, path)
            self._scan = _scan(container, stream, path)
            self.spec = _spec(self._scan, stream, path)
        self.source_bytes = os.path.getsize(path)
        self._index = {stamp: k for k, stamp in enumerate(self._scan.stamps)} if self._scan.seekable else {}

    def read(self, start: int, stop: int) -> Shaped[ndarray, "part h w c"]:
        """Frames `start:stop`, as a slice counts. Raises `UnsupportedSignal` if the file changed meanwhile."""
        start, stop, _ = slice(start, stop).indices(self.spec.shape[0])
        part = np.empty((max(0, stop - start), *self.spec.shape[1:], self.spec.channels), self.spec.dtype)
        if len(part) == 0:
            return part
        with readable(self._path):
            pending = self._go_to(start)
            for k in range(len(part)):
                frame = pending or next(self._frames, None)
                pending = None
                if frame is None or (frame.height, frame.width) != (self._scan.height, self._scan.width):
                    raise UnsupportedSignal(
                        f"{self._path}: frame {start + k} cannot be decoded any more; has the file changed?"
                    )
                part[k] = frame_to_array(frame, self._scan.layout)
                self._position = start + k + 1
        return part

    def close(self) -> None:
        """Closes the file; reading opens it again."""
        if self._container is not None:
            self._container.close()
        self._container, self._frames, self._position = None, iter(()), 0

    def _go_to(self, target: int) -> VideoFrame | None:
        """Makes frame `target` the next one; returns it, if finding it took decoding it."""
        if self._container is not None and self._position <= target <= self._position + _SEEK_AHEAD:
            self._skip(target - self._position)
            return None
        key = max((k for k in range(target + 1) if self._scan.keys[k]), default=0)
        if self._index and key > 0:
            self._reopen()
            frame = self._seek(key, target)
            if frame is not None:
                return frame
        self._reopen()
        self._skip(target)
        return None

    def _reopen(self) -> None:
        self.close()
        self._container = open_container(self._path)
        self._frames = decode(self._container, _video_stream(self._container, self._path))

    def _skip(self, count: int) -> None:
        for _ in range(count):
            next(self._frames, None)

    def _seek(self, key: int, target: int) -> VideoFrame | None:
        """Frame `target`, found by seeking to the key frame `key`; None where the container does not land there.

        Frames shown before the key frame are passed over: they may lack what they refer to.
        """
        import av

        assert self._container is not None
        stamp = self._scan.stamps[key]
        assert stamp is not None
        try:
            self._container.seek(stamp, stream=main_stream(self._container, "video"), backward=True)
        except av.FFmpegError:
            return None
        expected = None
        for frame in self._frames:
            index = self._index.get(frame.pts, -1)
            if expected is None and index > key:
                return None
            if expected is None and index < key:
                continue
            if expected is not None and index != expected:
                return None
            if index == target:
                return frame
            expected = index + 1
        return None


def _video_stream(container: InputContainer, path: Path) -> Any:
    stream = main_stream(container, "video")
    if stream is None:
        raise UnsupportedSignal(f"{path}: has no video that can be decoded; check that it plays")
    stream.thread_type = "AUTO"
    return stream


def _scan(container: InputContainer, stream: Any, path: Path) -> _Scan:
    """Decodes the whole video once: the frame count in the header is often missing or wrong."""
    layout, size = None, (0, 0)
    stamps: list[int | None] = []
    keys: list[bool] = []
    for frame in decode(container, stream):
        if layout is None:
            layout, size = layout_of(frame), (frame.height, frame.width)
        if (frame.height, frame.width) != size:
            raise UnsupportedSignal(
                f"{path}: its picture size changes from {size[1]}x{size[0]} to {frame.width}x{frame.height} "
                f"at frame {len(stamps)}; "
                "convert it to one size first"
            )
        stamps.append(frame.pts)
        keys.append(bool(frame.key_frame))
    if layout is None:
        raise UnsupportedSignal(f"{path}: has no frame that can be decoded; is it cut short?")
    return _Scan(*size, layout, tuple(stamps), tuple(keys))


def _spec(scan: _Scan, stream: Any, path: Path) -> Spec:
    claimed: list[Fraction | None] = [stream.average_rate, stream.guessed_rate, stream.base_rate]
    timing = find_timing(scan.stamps, stream.time_base, claimed)
    meta: dict[str, MetaValue] = {
        "rate": (timing.rate.numerator, timing.rate.denominator),
        "format": path.suffix.lower(),
    }
    if timing.ticks is not None:
        meta["times"] = timing.ticks
    if 8 < scan.layout.depth < 16:
        meta["depth"] = scan.layout.depth
    sideways = scan.layout.quarter_turns % 2 == 1
    aspect = stream.sample_aspect_ratio
    if aspect and aspect > 0 and aspect != 1:
        aspect = 1 / Fraction(aspect) if sideways else Fraction(aspect)
        meta["aspect"] = (aspect.numerator, aspect.denominator)
    height, width = (scan.width, scan.height) if sideways else (scan.height, scan.width)
    high = float(np.iinfo(scan.layout.sample_type).max)
    shape = (len(scan.stamps), height, width)
    return Spec(Kind.VIDEO, shape, scan.layout.channels, scan.layout.sample_type, 0.0, high, meta)
