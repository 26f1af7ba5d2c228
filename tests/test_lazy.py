"""Opening without decoding: threads, bytes that are read, the cache, servers, time, and what is finer than a scale."""

from __future__ import annotations

import functools
import http.server
import io
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrzip
from inrzip import Kind, Spec
from inrzip.architectures.base import Grid, resample
from inrzip.architectures.siren import SirenConfig
from inrzip.errors import CorruptFile, InrzipError
from inrzip.reader import Reader
from inrzip.segment_cache import Cache
from tests.common import random_file

GOLDEN = Path(__file__).parent / "golden"
SOUND = Spec(Kind.AUDIO, (400,), 2, "i2", -30000.0, 30000.0, {"rate": (8000, 1)})
FILM = Spec(Kind.VIDEO, (12, 8, 10), 3, "u1", 0.0, 255.0, {"rate": (25, 1)})
IMAGE = Spec(Kind.IMAGE, (64, 48), 1, "u1", 0.0, 255.0)


@pytest.fixture(scope="module")
def sound() -> bytes:
    return random_file(SOUND, SirenConfig, 300, 30)


@pytest.fixture(scope="module")
def film() -> bytes:
    return random_file(FILM, SirenConfig, 300, 2)


class Watched(io.BytesIO):
    """A file that notes what is read of it, and takes its time between seeking and reading."""

    def __init__(self, data: bytes, pause: float = 0.0):
        super().__init__(data)
        self.seen: list[tuple[int, int]] = []
        self._pause = pause

    def seek(self, offset: int, whence: int = 0, /) -> int:
        place = super().seek(offset, whence)
        time.sleep(self._pause)
        return place

    def read(self, count: int | None = -1, /) -> bytes:
        begun = self.tell()
        data = super().read(count)
        self.seen.append((begun, self.tell()))
        return data


class Short:
    """The least that a file may be: it gives a few bytes at a time."""

    def __init__(self, data: bytes):
        self._inner = io.BytesIO(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._inner.seek(offset, whence)

    def read(self, count: int) -> bytes:
        return self._inner.read(min(count, 7))


def segment_span(data: bytes, number: int) -> tuple[int, int]:
    """First and last byte of a segment, its checksum included."""
    with inrzip.open(data) as reader:
        payload = reader.container.segment(number)
    start = data.index(payload)
    return start, start + len(payload) + 4


# ---- what is read ----


def test_only_head_and_the_segments_wanted_are_read(sound: bytes) -> None:
    file = Watched(sound)
    reader = inrzip.open(file)
    assert (reader.shape, reader.dtype, reader.meta["rate"]) == ((400, 2), np.dtype("i2"), (8000, 1))
    assert reader.output_shape([(10, 50)]) == (40,) and len(reader) == 400 and reader.ndim == 2
    first, _ = segment_span(sound, 0)
    assert all(stop <= first for _, stop in file.seen)
    file.seen.clear()
    assert reader[95:110].shape == (15, 2)
    start, stop = segment_span(sound, 3)
    assert all(start <= a <= b <= stop for a, b in file.seen) and sum(b - a for a, b in file.seen) == stop - start
    file.seen.clear()
    reader[119:91:-3]
    assert not file.seen  # it is kept


def test_a_file_that_reads_and_seeks_is_enough(sound: bytes) -> None:
    np.testing.assert_array_equal(inrzip.open(Short(sound))[50:70], inrzip.open(sound)[50:70])  # type: ignore[arg-type]


def test_a_file_that_fails_is_told_in_a_line(sound: bytes) -> None:
    class Failing(io.BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            if self.tell() > 200:
                raise RuntimeError("server\nis gone")
            return super().read(count)

    with pytest.raises(InrzipError, match="cannot be read: server is gone"):
        inrzip.open(Failing(sound))[350]


# ---- threads ----


def alike(data: bytes, opened: Callable[[], Reader], keys: list[Any]) -> None:
    """Threads that share a reader get what one alone gets."""
    alone = [inrzip.open(data)[key] for key in keys]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        shared = opened()
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(shared.__getitem__, keys))
    finally:
        sys.setswitchinterval(interval)
    for mine, theirs in zip(together, alone, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_threads_share_a_file(sound: bytes) -> None:
    keys = [np.s_[a : a + 25] for a in np.random.default_rng(0).integers(0, 375, 40).tolist()]
    alike(sound, lambda: inrzip.open(Watched(sound, 1e-4), cache_bytes=0), keys)


@pytest.mark.parametrize("name", ["image_grid", "image_alpha_grid", "video_motion", "video_nirvana"])
def test_threads_share_what_is_decoded_bit_by_bit(name: str) -> None:
    data = next(GOLDEN.glob(f"*/{name}.inrz")).read_bytes()
    n = inrzip.open(data).shape[0]
    rng = np.random.default_rng(1)
    keys = [np.s_[a : a + 2, b : b + 9] for a, b in zip(rng.integers(0, n, 24), rng.integers(0, 9, 24), strict=True)]
    for _ in range(3):
        alike(data, lambda: inrzip.open(data), keys)


def test_members_share_a_file(sound: bytes, film: bytes, tmp_path: Path) -> None:
    from inrzip.collection import write_collection

    path = tmp_path / "both.inrz"
    write_collection(path, [("sound", sound), ("film", film)])
    wanted = [inrzip.open(sound)[30:300], inrzip.open(film)[:]]
    with inrzip.open_all(Watched(path.read_bytes(), 1e-4)) as members, ThreadPoolExecutor(2) as pool:
        readers = [members["sound"], members["film"]]
        for _ in range(3):
            found = list(pool.map(lambda r, key: r[key], readers, [np.s_[30:300], np.s_[:]]))
            for mine, theirs in zip(found, wanted, strict=True):
                np.testing.assert_array_equal(mine, theirs)


# ---- the cache ----


class Held:
    def __init__(self, size: int):
        self._size = size

    def held_bytes(self) -> int:
        return self._size


def test_a_cache_keeps_what_was_used_last() -> None:
    made: list[int] = []

    def get(cache: Cache, number: int, size: int = 10) -> None:
        def make() -> Any:
            made.append(number)
            return Held(size)

        cache.get(number, make)

    cache = Cache(30, Held.held_bytes)
    for number in (0, 1, 2, 0, 3, 0, 2, 1):
        get(cache, number)
    assert made == [0, 1, 2, 3, 1]  # 1 was used longest ago when 3 came, and 3 when 1 came back
    get(cache, 9, 1000)
    get(cache, 9, 1000)
    get(cache, 0)
    assert made[5:] == [9, 0]  # the last is kept, whatever its size; it pushed out the others


def test_a_segment_that_cannot_be_made_is_tried_again() -> None:
    cache = Cache(30, Held.held_bytes)

    def fail() -> Any:
        raise CorruptFile("damaged")

    for _ in range(2):
        with pytest.raises(CorruptFile):
            cache.get(0, fail)
    assert cache.get(0, lambda: Held(1)) is not None  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(("cache_bytes", "decoded"), [(1 << 20, 6), (0, 24)])
def test_segments_are_decoded_once_if_there_is_room(
    film: bytes, monkeypatch: pytest.MonkeyPatch, cache_bytes: int, decoded: int
) -> None:
    calls: list[int] = []
    decode = Reader._decode
    monkeypatch.setattr(Reader, "_decode", lambda self, index: (calls.append(index), decode(self, index))[1])
    reader = inrzip.open(film, cache_bytes=cache_bytes)
    for _ in range(4):
        for frame in (0, 4, 2, 11, 7, 8):
            reader[frame]
    assert len(calls) == decoded


# ---- servers ----


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves one file, in parts, and counts the bytes sent."""

    data: bytes
    sent: list[int]
    whole_only = False

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        if self.path != "/a.inrz":
            self.send_error(404)
            return
        part, status = self.data, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and not self.whole_only:
            part, status = self.data[int(asked[1]) : int(asked[2]) + 1], 206
        self.send_response(status)
        self.send_header("Accept-Ranges", "none" if self.whole_only else "bytes")
        self.send_header("Content-Length", str(len(part)))
        if status == 206 and asked:
            self.send_header("Content-Range", f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(self.data)}")
        self.end_headers()
        if body:
            self.sent.append(len(part))
            self.wfile.write(part)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(sound: bytes) -> Iterator[tuple[str, type[Ranges]]]:
    pytest.importorskip("fsspec.implementations.http", reason="files on servers need fsspec[http]")
    handler: type[Ranges] = type("Handler", (Ranges,), {"data": sound, "sent": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=functools.partial(server.serve_forever, 0.02), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/a.inrz", handler
        server.shutdown()


def test_of_a_server_only_parts_are_fetched(served: tuple[str, type[Ranges]], sound: bytes) -> None:
    url, handler = served
    with inrzip.open(url) as reader:
        head = sum(handler.sent)
        assert head <= segment_span(sound, 0)[0] + 32  # the head, and the bytes that tell how long it is
        np.testing.assert_array_equal(reader[95:110], inrzip.open(sound)[95:110])
        start, stop = segment_span(sound, 3)
        assert sum(handler.sent) - head == stop - start < len(sound) / 8


def test_servers_that_do_not_serve(served: tuple[str, type[Ranges]]) -> None:
    url, handler = served
    with pytest.raises(InrzipError, match=r"b\.inrz: does not exist"):
        inrzip.open(url.replace("a.inrz", "b.inrz"))
    with pytest.raises(InrzipError, match="nosuch://x: cannot be opened"):
        inrzip.open("nosuch://x")
    handler.whole_only = True
    with pytest.raises(InrzipError, match="cannot be read"):
        inrzip.open(url)


def test_other_places(sound: bytes) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://lazy/a.inrz", "wb") as file:
        file.write(sound)
    with inrzip.open("memory://lazy/a.inrz") as reader, inrzip.open_all("memory://lazy/a.inrz") as members:
        np.testing.assert_array_equal(reader[7], members[0][7])


def test_without_fsspec_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InrzipError, match=re.escape("inrzip[remote]")):
        inrzip.open("https://example.org/a.inrz")


# ---- time ----


def test_seconds_of_sound_and_film(sound: bytes, film: bytes) -> None:
    heard, seen = inrzip.open(sound), inrzip.open(film)
    np.testing.assert_array_equal(heard.render(time=(0.01, 0.02)), heard[80:160])
    np.testing.assert_array_equal(heard.render(time=(0.0100625, None)), heard[81:])  # a sample lies at each 1/8000 s
    np.testing.assert_array_equal(heard.render(time=(0.0, 0.1 / 3)), heard[:267])
    np.testing.assert_array_equal(seen.render(time=(0.08, 0.16)), seen[2:4])
    np.testing.assert_array_equal(seen.render([(0, 3), (0, 3)], time=(0.1, 0.1001)), seen[2:3, :3, :3])  # shown then
    assert seen.output_shape(time=(0.2, None), scale=0.5) == (7, 4, 5)
    assert sum(len(part) for part in seen.parts(time=(0.2, None))) == 7


def test_frames_of_uneven_times() -> None:
    uneven = Spec(Kind.VIDEO, (4, 3, 3), 1, "u1", 0.0, 255.0, {"rate": (25, 1), "times": (0, 9000, 90000, 99000)})
    reader = inrzip.open(random_file(uneven, SirenConfig))
    for span, frames in (((0.0, 0.1), (0, 1)), ((0.05, 0.5), (0, 2)), ((0.1, 1.05), (1, 3)), ((1.1, None), (3, 4))):
        np.testing.assert_array_equal(reader.render(time=span), reader.render(frames=frames))


@pytest.mark.parametrize("span", [(-0.1, 0.01), (0.02, 0.02), (1.0, None), (float("nan"), None), (0.0, float("inf"))])
def test_times_that_are_none(sound: bytes, span: tuple[float, float | None]) -> None:
    with pytest.raises(InrzipError):
        inrzip.open(sound).render(time=span)


def test_time_is_for_what_has_one(sound: bytes) -> None:
    with pytest.raises(InrzipError, match="has no time"):
        inrzip.open(random_file(IMAGE, SirenConfig)).render(time=(0.0, 1.0))
    with pytest.raises(InrzipError, match="not both"):
        inrzip.open(sound).render(time=(0.0, 0.01), frames=(0, 10))


# ---- small scales ----


class Grating:
    """Stripes two and a bit samples wide: finer than anything that a smaller scale can show."""

    grid = Grid((64, 480), 1)

    def held_bytes(self) -> int:
        return 0

    def render(self, axes: Any) -> np.ndarray:
        stripes = 0.5 + 0.5 * np.cos(2 * np.pi * np.arange(480) / 2.1)
        return resample(np.broadcast_to(stripes[None, :, None], (64, 480, 1)).astype(np.float32), axes[0], axes[1])


@pytest.mark.parametrize("scale", [1 / 4, 1 / 12, 1 / 30, 1 / 60])
def test_what_is_finer_than_a_scale_does_not_alias(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    wide = Spec(Kind.IMAGE, (64, 480), 1, "u1", 0.0, 255.0)
    reader = inrzip.open(random_file(wide, SirenConfig))
    monkeypatch.setattr(reader, "segment", lambda index: Grating())
    small = reader.render(scale=scale).astype(float)
    assert np.abs(small - 127.5).max() < 127.5 * max(2 * scale, 0.07)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.37, 2.3])
def test_a_part_at_a_scale_is_a_part_of_the_whole_at_it(film: bytes, scale: float) -> None:
    reader = inrzip.open(film)
    level, whole = reader.at(scale), reader.render(scale=scale)
    assert level.shape == whole.shape and level.dtype == whole.dtype and level.ndim == 4 and len(level) == 12
    assert "at" in repr(level)
    for key in (np.s_[3, 1:3], np.s_[::-5, ..., 1], np.s_[-1, -1:, [0, 2, 1]], np.s_[...]):
        difference = level[key].astype(int) - whole[key]
        assert np.abs(difference).max() <= 1
    assert np.abs(np.asarray(level, float) - whole).max() <= 1
    with pytest.raises(ValueError, match="no array"):
        np.array(level, copy=False)


def test_sizes_at_a_scale_are_known_without_decoding() -> None:
    huge = Spec(Kind.IMAGE, (2**20, 2**20), 3, "u1", 0.0, 255.0)
    level = inrzip.open(random_file(huge, SirenConfig)).at(0.5)
    assert level.shape == (2**19, 2**19, 3) and level[7, -3:].shape == (3, 3)
    with pytest.raises(InrzipError, match="max-memory"):
        np.asarray(level)
