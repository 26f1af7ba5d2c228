"""The container: exact round trips, its size, its limits, random access, damage, and its specification."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
import random
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inrzip import container as container_module
from inrzip import limits, wire
from inrzip.checks import checksum
from inrzip.container import Container, write_container, write_stream
from inrzip.errors import CorruptFile, InrzipError, UnsupportedSignal
from inrzip.header import Header
from inrzip.signal import SAMPLE_TYPES, AudioTrack, Kind, MetaValue, Spec
from tests import fuzz

FORMAT_PAGE = Path(__file__).parent.parent / "docs" / "format.md"

IMAGE = Spec(Kind.IMAGE, (32, 32), 3, "u1", 0, 255, {"format": ".png"})
VIDEO = Spec(Kind.VIDEO, (300, 144, 176), 3, "u1", 16, 235, {"rate": (30000, 1001), "format": ".mkv"})
VIDEO_SEGMENTS = [b"\xb0\xb1", b"\xb2", b"\xb3\xb4\xb5"]
VIDEO_TRACKS = [AudioTrack("copy", b"\xc0\xc1")]


def plain_file() -> bytes:
    return write_container(Header(IMAGE, 1, 32), [bytes.fromhex("a0a1a2a3")])


def indexed_file() -> bytes:
    return write_container(Header(VIDEO, 2, 128), VIDEO_SEGMENTS, VIDEO_TRACKS)


def exact(value: object) -> object:
    """Equal only for values of one type that are equal to the last bit: NaN equals NaN, 0.0 does not equal -0.0."""
    if isinstance(value, tuple):
        return tuple(map(exact, value))
    return (type(value).__name__, struct.pack("<d", value) if isinstance(value, float) else value)


# ---- round trips ----

whole = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ratio = st.tuples(st.integers(1, 2**32), st.integers(1, 2**32))
any_value: st.SearchStrategy[Any] = st.one_of(
    whole,
    st.floats(),
    st.floats(width=32),
    text,
    st.binary(max_size=20),
    st.lists(whole, max_size=8).map(tuple),
    st.lists(st.integers(-50, 50), max_size=30).map(lambda steps: tuple(7 * i + n for i, n in enumerate(steps))),
    st.lists(st.floats(), min_size=1, max_size=5).map(tuple),
    st.lists(st.floats(width=32), min_size=1, max_size=5).map(tuple),
)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    kind = draw(st.sampled_from(Kind))
    fewest, most = limits.RANKS[kind]
    small, large = st.integers(1, 300 if most <= 3 else 40), st.integers(1, 2 ** min(40, 48 // most))
    shape = tuple(draw(st.lists(small | large, min_size=fewest, max_size=most)))
    sample_type = draw(st.sampled_from(limits.sample_types(kind)))
    default = limits.DEFAULT_RANGES[sample_type]
    largest = min(1e300, limits._largest_magnitude(sample_type))
    ends = st.floats(-largest, largest) | st.integers(-int(min(largest, 1e9)), int(min(largest, 1e9))).map(float)
    low, high = draw(st.just(default) | st.tuples(ends, ends).map(sorted) | ends.map(lambda x: (-abs(x), abs(x))))
    known: dict[Any, st.SearchStrategy[Any]] = {
        "rate": ratio,
        "aspect": ratio,
        "bits": st.integers(1, 64),
        "subtype": st.sampled_from(["PCM_16", "DOUBLE"]),
        "format": st.sampled_from([".png", ".mp4", ".wav", ".obj", ".npy", "", ".tar.gz", ".é"]),
        "box": st.tuples(*[st.floats(-1e9, 1e9)] * 3, st.floats(0.1, 1e9)),
    }
    if shape[0] <= 300:
        known["times"] = st.lists(whole, min_size=shape[0], max_size=shape[0]).map(lambda times: tuple(sorted(times)))
    others: dict[str, MetaValue] = draw(
        st.dictionaries(text.filter(lambda key: key and key not in limits.META_KEYS), any_value, max_size=4)
    )
    meta: dict[str, MetaValue] = draw(st.fixed_dictionaries({}, optional=known))
    channels = limits.PROTEIN_CHANNELS if kind == Kind.PROTEIN else draw(st.integers(1, 255))
    return Spec(kind, shape, channels, sample_type, low, high, meta | others)


@settings(deadline=None, max_examples=300)
@given(specs(), st.integers(0, 255), st.integers(1, 7), st.integers(0, 3), st.randoms(use_true_random=False))
def test_every_spec_round_trips_exactly(spec: Spec, architecture: int, parts: int, n_tracks: int, rng: Any) -> None:
    header = Header(spec, architecture, -(-spec.shape[0] // parts))
    segments = [rng.randbytes(rng.choice((0, 1, 127, 128, 300))) for _ in range(header.n_segments)]
    tracks = [AudioTrack(rng.choice(("copy", "inr")), rng.randbytes(rng.randrange(200))) for _ in range(n_tracks)]
    data = write_container(header, segments, tracks)
    with Container.open(data) as opened:
        assert opened.header.architecture == architecture
        assert opened.header.segment_length == header.segment_length
        back = opened.header.spec
        assert dataclasses.replace(back, meta={}) == dataclasses.replace(spec, meta={})
        assert exact((back.low, back.high)) == exact((spec.low, spec.high))
        assert {k: exact(v) for k, v in back.meta.items()} == {k: exact(v) for k, v in spec.meta.items()}
        assert [opened.segment(i) for i in range(opened.header.n_segments)] == segments
        assert opened.tracks == tracks
        assert opened.overhead == len(data) - sum(map(len, segments)) - sum(len(track.payload) for track in tracks)
        opened.verify()
    out = io.BytesIO()
    assert write_stream(out, header, iter(segments), tracks) == len(data)
    assert out.getvalue() == data


def test_low_and_high_may_be_integers_and_equal() -> None:
    back = Container.open(write_container(Header(dataclasses.replace(IMAGE, low=7, high=7), 0, 32), [b""])).header.spec
    assert (back.low, back.high) == (7, 7)


def test_metadata_order_does_not_change_the_bytes() -> None:
    meta: dict[str, MetaValue] = {"zoo": 1, "format": ".mkv", "rate": (25, 1), "ant": b"x"}
    turned = dict(reversed(meta.items()))
    files = {write_container(Header(dataclasses.replace(IMAGE, meta=m), 1, 32), [b"p"]) for m in (meta, turned)}
    assert len(files) == 1


def test_times_of_a_steady_video_take_a_byte_each() -> None:
    times = tuple(3003 * i for i in range(10_000))
    spec = Spec(Kind.VIDEO, (10_000, 8, 8), 3, "u1", 0, 255, {"times": times})
    data = write_container(Header(spec, 1, 10_000), [b""])
    assert len(data) < 10_040
    assert Container.open(data).header.spec.meta["times"] == times


def test_a_long_single_segment_gets_an_index() -> None:
    longest = container_module.MAX_PLAIN_BYTES - 12
    assert len(write_container(Header(IMAGE, 1, 32), [bytes(longest)])) == container_module.MAX_PLAIN_BYTES
    data = write_container(Header(IMAGE, 1, 32), [bytes(longest + 1)])
    opened = Container.open(data)
    assert opened.segment(0) == bytes(longest + 1)
    assert opened.overhead > 12
    out = io.BytesIO()
    assert write_stream(out, Header(IMAGE, 1, 32), [bytes(longest + 1)]) == len(data)
    assert out.getvalue() == data


# ---- size ----


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("meta", [{}, {"format": ".png"}])
def test_a_small_image_costs_twelve_bytes(channels: int, meta: dict[str, MetaValue]) -> None:
    spec = Spec(Kind.IMAGE, (32, 32), channels, "u1", 0, 255, meta)
    data = write_container(Header(spec, 7, 32), [bytes(100)])
    assert len(data) == 112
    assert Container.open(data).overhead == 12


def test_a_segment_of_a_video_costs_a_few_bytes() -> None:
    spec = dataclasses.replace(VIDEO, shape=(3000, 144, 176))
    overhead = [
        Container.open(write_container(Header(spec, 1, n), [bytes(9000)] * (3000 // n))).overhead for n in (10, 20)
    ]
    assert overhead[0] - overhead[1] == 150 * (2 + 4)


# ---- random access ----


class CountingFile(io.BytesIO):
    """Remembers which bytes were read."""

    def __init__(self, data: bytes):
        super().__init__(data)
        self.reads: list[range] = []

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        data = super().read(size)
        self.reads.append(range(start, start + len(data)))
        return data


def test_a_segment_is_read_without_the_others() -> None:
    spec = dataclasses.replace(VIDEO, shape=(1000, 64, 64))
    segments = [bytes([i]) * 10_000 for i in range(100)]
    file = CountingFile(write_container(Header(spec, 1, 10), segments, [AudioTrack("copy", bytes(50_000))]))
    opened = Container.open(file)
    head = sum(map(len, file.reads))
    assert head < 300
    file.reads.clear()
    assert opened.segment(57) == segments[57]
    assert sum(map(len, file.reads)) == 10_000 + 4
    assert opened.header.segment_bounds(57) == (570, 580)
    file.reads.clear()
    assert opened.n_tracks == 1
    assert not file.reads
    opened.verify()
    assert set().union(*file.reads) >= set(range(head, opened.size))
    opened.close()
    assert not file.closed  # it was given open


def test_segment_bounds() -> None:
    header = Header(VIDEO, 0, 128)
    assert [header.segment_bounds(i) for i in range(header.n_segments)] == [(0, 128), (128, 256), (256, 300)]
    assert Header(VIDEO, 0, 10**9).segment_length == 300
    opened = Container.open(indexed_file())
    for index in (-1, 3):
        with pytest.raises(IndexError):
            opened.segment(index)


# ---- wrong use ----


@pytest.mark.parametrize("segments", [[], [b""] * 2, [b""] * 4])
def test_the_number_of_segments_must_be_right(segments: list[bytes]) -> None:
    with pytest.raises(ValueError, match="the header says 3"):
        write_container(Header(VIDEO, 2, 128), segments)
    with pytest.raises(ValueError, match="the header says 3"):
        write_stream(io.BytesIO(), Header(VIDEO, 2, 128), segments)


@pytest.mark.parametrize(("architecture", "length"), [(-1, 1), (256, 1), (0, 0)])
def test_header_numbers_out_of_range(architecture: int, length: int) -> None:
    with pytest.raises(ValueError):
        Header(IMAGE, architecture, length)


# ---- limits ----

FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"shape": ()}, "0 axes"),
    ({"shape": (3,)}, "1 axes"),
    ({"shape": (3, 4, 5)}, "3 axes"),
    ({"kind": Kind.VOLUME, "shape": (1,) * 9}, "9 axes"),
    ({"shape": (0, 4)}, "1 to 2"),
    ({"shape": (2**40 + 1, 1)}, "1 to 2"),
    ({"shape": (2**40, 2**22)}, "fewer than 2"),
    ({"shape": (2**31, 2**31), "channels": 1}, "fewer than 2"),
    ({"channels": 0}, "0 channels"),
    ({"channels": 256}, "256 channels"),
    ({"sample_type": "i8"}, "sample type i8"),
    ({"sample_type": "i3"}, "sample type i3"),
    ({"kind": Kind.AUDIO, "shape": (5,), "sample_type": "b1", "high": 1}, "sample type b1"),
    ({"kind": Kind.SHAPE, "shape": (5, 5, 5)}, "sample type u1"),
    ({"low": 3, "high": 2}, "sample range"),
    ({"low": math.nan}, "sample range"),
    ({"high": math.inf}, "sample range"),
    ({"high": 257}, "sample range"),
    ({"low": -257}, "sample range"),
    ({"sample_type": "f4", "high": 1e39}, "sample range"),
    ({"sample_type": "f8", "low": -1.7e308, "high": 1.7e308}, "span"),
    ({"meta": {"rate": (0, 1)}}, "`rate`"),
    ({"meta": {"rate": (25, 2**33)}}, "`rate`"),
    ({"meta": {"rate": 25}}, "`rate`"),
    ({"meta": {"aspect": (1, -1)}}, "`aspect`"),
    ({"meta": {"times": (1, 2)}}, "`times`"),
    ({"meta": {"times": (*range(31), 5)}}, "`times`"),
    ({"meta": {"bits": 0}}, "`bits`"),
    ({"meta": {"bits": 65}}, "`bits`"),
    ({"meta": {"subtype": "é"}}, "`subtype`"),
    ({"meta": {"format": "/../x"}}, "`format`"),
    ({"meta": {"format": "a\nb"}}, "`format`"),
    ({"meta": {"format": "x" * 65}}, "`format`"),
    ({"meta": {"box": (0.0, 0.0, 0.0, 0.0)}}, "`box`"),
    ({"meta": {"box": (0.0, math.nan, 0.0, 1.0)}}, "`box`"),
    ({"meta": {str(i): 0 for i in range(256)}}, "256 metadata entries"),
]


@pytest.mark.parametrize(("changes", "message"), FAULTS)
def test_specs_without_a_place(changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataclasses.replace(IMAGE, **changes)
    with pytest.raises(UnsupportedSignal, match=re.escape(message)) as caught:
        Header(spec, 1, 32)
    assert "\n" not in str(caught.value)
    written_rank = len(spec.shape) if spec.kind == Kind.VOLUME else limits.RANKS[spec.kind][0]
    if spec.sample_type not in SAMPLE_TYPES or len(spec.shape) != written_rank or len(spec.meta) > 255:
        return  # nothing can write that
    with monkeypatch.context() as lax:  # a hostile writer, which checks nothing
        lax.setattr("inrzip.header.check_spec", lambda spec: None)
        lax.setattr("inrzip.header._has_usual_format", lambda spec: False)
        header = object.__new__(Header)
        for name, value in {"spec": spec, "architecture": 1, "segment_length": max(1, spec.shape[0])}.items():
            object.__setattr__(header, name, value)
        try:
            data = write_container(header, [b"payload"] * header.n_segments)
        except (ValueError, OverflowError):
            return
    with pytest.raises(CorruptFile):
        Container.open(data)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"big": 2**63}, "64"),
        ({"text": "\ud800"}, "text"),
        ({"\ud800": 1}, "cannot be stored"),
        ({"": 1}, "0 bytes"),
        ({"k" * 256: 1}, "256 bytes"),
        ({"blob": bytes(limits.MAX_META_BYTES)}, "metadata of"),
    ],
)
def test_metadata_without_a_place(meta: dict[str, MetaValue], message: str) -> None:
    with pytest.raises(UnsupportedSignal, match=message):
        write_container(Header(dataclasses.replace(IMAGE, meta=meta), 1, 32), [b""])


def test_metadata_of_a_wrong_type() -> None:
    values: list[Any] = [None, [1], ("a",), {}]
    for value in values:
        with pytest.raises(TypeError):
            wire.encode_value(value)


def test_limits_of_the_index() -> None:
    long = dataclasses.replace(VIDEO, shape=(2**20 + 1, 1, 1))
    with pytest.raises(UnsupportedSignal, match="segments"):
        Header(long, 1, 1)
    with pytest.raises(UnsupportedSignal, match="audio tracks"):
        write_container(Header(IMAGE, 1, 32), [b""], [AudioTrack("copy", b"")] * 256)


def indexed_with(body: bytes, rest: bytes = b"", fixed: bytes = b"\x8dIZ\x10\x09") -> bytes:
    """An indexed image file with this header and index, its checksum made right."""
    head = fixed + wire.varint(len(body)) + body
    return head + checksum(head) + rest


SHAPE = wire.varint(31) + wire.varint(31) + b"\x01"  # 32 × 32, architecture 1
HUGE_SHAPE = wire.varint(2**40 - 1) + wire.varint(0) + b"\x01"
EMPTY_PART = bytes(4)  # no payload, and its checksum


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (indexed_with(SHAPE + b"\x1f" + b"\x00\x00", EMPTY_PART), None),
        (indexed_with(SHAPE + b"\x20" + b"\x00\x00", EMPTY_PART), "segments of 33 rows"),
        (indexed_with(SHAPE + b"\x0f" + b"\x00\x00", EMPTY_PART * 2), "over the end"),
        (indexed_with(SHAPE + b"\x00" + b"\x00\x00"), "32 segments in an index of 2 bytes"),
        (indexed_with(HUGE_SHAPE + b"\x00\x00"), "segments; the file format holds"),
        (indexed_with(SHAPE + b"\x1f" + b"\x00\x01\x02\x00", EMPTY_PART * 2), "mode 2"),
        (indexed_with(SHAPE + b"\x1f" + b"\x00\x00\x00", EMPTY_PART), "1 bytes too many"),
        (indexed_with(SHAPE + b"\x1f" + wire.varint(2**64 - 1) + b"\x00", EMPTY_PART), "cut short"),
        (indexed_with(SHAPE + b"\x9f\x00" + b"\x00\x00", EMPTY_PART), "longer than it needs"),
        (indexed_with(b"\xff" * 10 + b"\x01"), "longer than 64 bits"),
        (indexed_with(SHAPE, fixed=b"\x8dIZ\x10\xb9"), "sample type 11"),
        (indexed_with(SHAPE, fixed=b"\x8dIZ\x16\x09"), "kind 6"),
        (indexed_with(b"\x09" + SHAPE, fixed=b"\x8dIZ\x14\x09"), "9 axes"),
        (indexed_with(SHAPE + b"\x40", fixed=b"\x8dIZ\x10\x0d"), "flags 0x40"),
        (indexed_with(SHAPE + b"\x00", fixed=b"\x8dIZ\x10\x0d"), "flags 0x00"),
        (indexed_with(SHAPE + b"\x14", fixed=b"\x8dIZ\x10\x0d"), "form 5"),
        (indexed_with(SHAPE + b"\x02" + b"\x00\x00\xc0\x7f", fixed=b"\x8dIZ\x10\x0d"), "not finite"),
        (indexed_with(SHAPE + b"\x20\x00", fixed=b"\x8dIZ\x10\x0d"), "without an entry"),
        (indexed_with(SHAPE + b"\x20\x02\x30\x02\x30\x02", fixed=b"\x8dIZ\x10\x0d"), "given twice"),
        (indexed_with(SHAPE + b"\x20\x01\x00\x04bits\x02", fixed=b"\x8dIZ\x10\x0d"), "given twice"),
        (indexed_with(SHAPE + b"\x20\x01\x73\x01x", fixed=b"\x8dIZ\x18\x0d"), "given twice"),
        (indexed_with(SHAPE + b"\x20\x01\xf0", fixed=b"\x8dIZ\x10\x0d"), "metadata key 15"),
        (indexed_with(SHAPE + b"\x20\x01\x09\x01x", fixed=b"\x8dIZ\x10\x0d"), "unknown type 9"),
        (indexed_with(SHAPE + b"\x20\x01\x03\x01x\x02\xff\xff", fixed=b"\x8dIZ\x10\x0d"), "not UTF-8"),
        (indexed_with(SHAPE + b"\x20\x01\x05\x01x" + wire.varint(2**40), fixed=b"\x8dIZ\x10\x0d"), "list is longer"),
        (
            indexed_with(SHAPE + b"\x20\x01\x06\x01x\x02" + wire.signed(2**62) * 2, fixed=b"\x8dIZ\x10\x0d"),
            "longer than 64 bits",
        ),
        (b"\x8dIZ\x10\x09" + wire.varint(2**40) + bytes(100), "its head claims"),
        (b"\x8dIZ\x10\x01" + bytes(2**20), "a file without index has at most"),
    ],
)
def test_hostile_headers(data: bytes, message: str | None) -> None:
    if message is None:
        Container.open(data).verify()
        return
    with pytest.raises(CorruptFile, match=re.escape(message)) as caught:
        Container.open(data, "some.inrz")
    assert str(caught.value).startswith("some.inrz: ")
    assert "\n" not in str(caught.value)


# ---- damage ----


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0 a JPEG file", "is not an .inrz file"),
        (b"\xff", "is not an .inrz file"),
        (b"\x8dI", "cut short: only 2 bytes"),
        (b"\x8dIZ\x90" + bytes(20), "newer inrzip (format 9; this one reads 8); update inrzip"),
        (b"\x8dIZ\x00" + bytes(20), "format version 0"),
        (plain_file() + b"\n", "1 bytes follow its end"),
        (plain_file()[:-1], "damaged or cut short"),
        (indexed_file() + bytes(300), "300 bytes follow its end"),
        (indexed_file()[:-5], "at least 5 bytes are missing"),
        (indexed_file()[:20], "cut short"),
        (indexed_file().replace(b".mkv", b".mkw"), "its head is damaged"),
    ],
)
def test_each_fault_has_its_message(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "some.inrz"
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=re.escape(message)) as caught:
        Container.open(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_damaged_part_leaves_the_others_readable() -> None:
    data = bytearray(indexed_file())
    data[data.index(b"\xb2\x2d")] ^= 1
    data[data.index(b"\xc0\xc1")] ^= 1
    opened = Container.open(bytes(data), "film.inrz")
    assert opened.segment(0) == VIDEO_SEGMENTS[0]
    assert opened.segment(2) == VIDEO_SEGMENTS[2]
    for read in (lambda: opened.segment(1), opened.verify):
        with pytest.raises(CorruptFile, match=r"film\.inrz: segment 1 is damaged"):
            read()
    with pytest.raises(CorruptFile, match="audio track 0 is damaged"):
        _ = opened.tracks


@pytest.mark.parametrize("data", [plain_file(), indexed_file()])
def test_no_flipped_bit_and_no_cut_is_overlooked(data: bytes) -> None:
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptFile):
            fuzz.decode_container(bytes(flipped))
    for length in range(len(data)):
        with pytest.raises(CorruptFile):
            fuzz.decode_container(data[:length])


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    cases = {tmp_path: "is a directory", tmp_path / "none": "does not exist", pipe: "is not a regular file"}
    for path, message in {
        **cases,
        Path("a\0b"): "no file's name",
        plain_path(tmp_path) / "x": "cannot be opened",
    }.items():
        with pytest.raises(InrzipError, match=message):
            Container.open(path)
    reading, writing = os.pipe()
    os.close(writing)
    with open(reading, "rb") as stream, pytest.raises(InrzipError, match="cannot be read at random"):
        Container.open(stream)


def plain_path(folder: Path) -> Path:
    path = folder / "plain.inrz"
    path.write_bytes(plain_file())
    return path


def test_a_file_that_shrinks_while_open(tmp_path: Path) -> None:
    path = tmp_path / "film.inrz"
    path.write_bytes(write_container(Header(VIDEO, 2, 128), [bytes(100_000)] * 3))
    with Container.open(path) as opened:
        os.truncate(path, 200_000)
        with pytest.raises(CorruptFile, match="became shorter"):
            opened.verify()


def test_opening_by_path_text_and_closing(tmp_path: Path) -> None:
    path = tmp_path / "film.inrz"
    path.write_bytes(indexed_file())
    with Container.open(str(path)) as opened:
        assert opened.segment(1) == VIDEO_SEGMENTS[1]
    with pytest.raises(ValueError, match="closed"):
        opened.segment(1)


# ---- the mutation harness itself ----


def test_repairing_changes_only_wrong_checksums() -> None:
    for data in fuzz.sample_files():
        assert fuzz.repair_checksums(data) == data
        opened = Container.open(data)
        damaged = bytearray(data)
        damaged[-1] ^= 1
        damaged[-5 - 4 * (opened.n_tracks == 0 and opened.segment(0) == b"")] ^= 1
        Container.open(fuzz.repair_checksums(bytes(damaged))).verify()


def test_mutants_of_the_container() -> None:
    outcome = fuzz.run(fuzz.sample_files(), fuzz.decode_container, count=1500, seed=5, limits=fuzz.Limits(2.0, 64))
    assert not outcome.failures, outcome.failures[0][1]
    assert set(outcome.counts) == {"decoded", "CorruptFile"}
    assert min(outcome.counts.values()) > 150


def test_only_repaired_mutants_decode() -> None:
    files = fuzz.sample_files()
    rng = random.Random(3)
    for _ in range(1000):
        data = fuzz.mutate_anywhere(rng, rng.choice(files), rng.choice(files))
        if data not in files:
            with pytest.raises(CorruptFile):
                fuzz.decode_container(data)


def test_the_harness_sees_bugs() -> None:
    def buggy(data: bytes) -> None:
        if len(data) % 3 == 0:
            raise KeyError(data[0])
        if len(data) % 3 == 1:
            while True:
                pass
        raise CorruptFile("two\nlines")

    outcome = fuzz.run(fuzz.sample_files(), buggy, count=20, limits=fuzz.Limits(seconds=0.02))
    assert {"KeyError", "TooSlow", "CorruptFile"} <= set(outcome.counts)
    assert len(outcome.failures) == fuzz.MAX_FAILURES
    number, _, data = outcome.failures[-1]
    assert fuzz.mutant(fuzz.sample_files(), 0, number) == data


def test_the_harness_sees_memory() -> None:
    def greedy(data: bytes) -> None:
        (b"x" * int((fuzz.peak_memory_mib() + 64) * fuzz.MEBIBYTE)).count(b"y")

    what, fault = fuzz.try_one(b"", greedy, fuzz.Limits(60.0, 32))
    assert (what, fault and fault.startswith("took")) == ("decoded", True)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "limit_address_space", lambda extra: None)  # it would stay for the other tests
    path = plain_path(tmp_path)
    assert fuzz.main(["--parser-only", "--count", "50", str(path)]) == 0
    assert "of 50 mutants" in capsys.readouterr().out


def test_full_decoding_goes_through_the_public_face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Opened(contextlib.nullcontext["Opened"]):
        def __init__(self, path: Path, max_memory: int):
            super().__init__(self)
            assert 0 < max_memory <= 256 * fuzz.MEBIBYTE
            self.data = path.read_bytes()
            with Container.open(path) as container:
                self.spec = container.header.spec

        def tracks(self) -> list[AudioTrack]:
            return []

        def render(self, frames: object) -> None:
            fuzz.decode_container(self.data)

        mesh = render

    monkeypatch.setattr("inrzip.open", Opened, raising=False)
    assert fuzz.main(["--count", "20", "--keep", str(tmp_path / "kept"), str(plain_path(tmp_path))]) == 0
    monkeypatch.setattr(Opened, "render", lambda self, frames: 1 // (self.data[4] == 1))
    assert fuzz.main(["--count", "200", "--keep", str(tmp_path / "kept"), str(plain_path(tmp_path))]) == 1
    assert list((tmp_path / "kept").glob("mutant-*.inrz"))


# ---- the specification ----


def section(title: str) -> str:
    return FORMAT_PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("name", "data"), [("plain", plain_file()), ("indexed", indexed_file())])
def test_the_examples_of_the_format_page(name: str, data: bytes) -> None:
    block = section("Examples").partition(f"```hex {name}\n")[2].partition("```")[0]
    documented = b"".join(bytes.fromhex(line.partition("  ")[0]) for line in block.splitlines())
    assert documented == data


def test_the_tables_of_the_format_page() -> None:
    rows = [[cell.strip(" `") for cell in row.split("|")[1:-1]] for row in section("Fixed bytes").splitlines()]
    types = [row for row in rows if len(row) == 6 and row[0].isdigit()]
    assert [row[1] for row in types] == list(SAMPLE_TYPES)
    assert {row[1]: (float(row[3]), float(row[4])) for row in types} == limits.DEFAULT_RANGES
    keys = re.findall(r"^\| (\d) \| `(\w+)`", section("Metadata"), re.MULTILINE)
    assert keys == [(str(i + 1), key) for i, key in enumerate(limits.META_KEYS)]
    for kind, extension in limits.USUAL_FORMATS.items():
        assert f"{kind.name.lower()} `{extension}`" in section("Fixed bytes")
    table = section("Limits")
    for text_of_limit, value in [
        ("at most 2^20 bytes", container_module.MAX_PLAIN_BYTES == 2**20),
        ("at most 2^24 bytes", container_module.MAX_HEAD_BYTES == 2**24),
        ("at most 2^22 bytes, 255 entries", (limits.MAX_META_BYTES, limits.MAX_META_ENTRIES) == (2**22, 255)),
        ("| 1 to 8 (volume)", limits.MAX_RANK == 8),
        ("| 1 to 2^40 |", limits.MAX_DIMENSION == 2**40),
        ("below 2^62", limits.MAX_SAMPLES == 2**62),
        ("| 1 to 2^20 |", limits.MAX_SEGMENTS == 2**20),
    ]:
        assert value and text_of_limit in table
