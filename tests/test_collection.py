"""Files of several signals: members of every kind, their bytes kept, names, damage; and what commands make of them."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import inrzip
from inrzip import Kind, Spec, cli
from inrzip.architectures.siren import SirenConfig
from inrzip.checks import checksum
from inrzip.collection import (
    MAX_NAME_BYTES,
    CollectionFile,
    Entry,
    Section,
    decode_index,
    encode_index,
    usable_name,
    write_collection,
)
from inrzip.container import write_container
from inrzip.errors import CorruptFile, InrzipError
from inrzip.header import Header
from inrzip.members import Collection
from inrzip.open_file import OpenFile
from tests import common, page_pfnr
from tests.page_stream import PAGE

PICTURE = Spec(Kind.IMAGE, (9, 11), 3, "u1", 0.0, 255.0, {"format": ".png"})
SOUND = Spec(Kind.AUDIO, (50,), 1, "i2", -900.0, 900.0, {"rate": (8000, 1), "format": ".wav"})
VOLUME = Spec(Kind.VOLUME, (4, 5, 6), 1, "f4", 0.0, 1.0, {"format": ".npy"})
MEMBERS = [(f"member {i}", common.random_file(spec, SirenConfig)) for i, spec in enumerate((PICTURE, SOUND, VOLUME))]


@pytest.fixture
def several(tmp_path: Path) -> Path:
    path = tmp_path / "several.inrz"
    write_collection(path, MEMBERS)
    return path


def test_the_example_of_the_page(tmp_path: Path) -> None:
    [block] = re.findall(r"```hex collection\n(.*?)```", PAGE, re.S)
    digits = " ".join(re.split(r"\s{2,}", line)[0] for line in block.splitlines())
    data = bytes.fromhex(digits)
    member = data[-16:]
    write_collection(tmp_path / "x", [("a", member), ("bb", member)])
    assert (tmp_path / "x").read_bytes() == data
    assert page_pfnr.members(data) == [("a", member), ("bb", member)]


def test_members_are_files(several: Path) -> None:
    """Each decodes to what it does alone, from a path, bytes or an open file, in any order."""
    data = several.read_bytes()
    assert page_pfnr.members(data) == MEMBERS
    for source in (several, data, io.BytesIO(data)):
        with inrzip.open_all(source) as members:
            assert members.names == [name for name, _ in MEMBERS] and len(members) == 3
            for number in (2, 0, 1, -1):
                name, alone = MEMBERS[number]
                for key in (number, name):
                    np.testing.assert_array_equal(np.asarray(members[key]), np.asarray(inrzip.open(alone)))
            assert [reader.spec.kind for reader in members] == [Kind.IMAGE, Kind.AUDIO, Kind.VOLUME]
            assert "member 0" in repr(members)


def test_one_signal_is_a_collection_of_one(tmp_path: Path) -> None:
    path = tmp_path / "alone.inrz"
    path.write_bytes(MEMBERS[0][1])
    with inrzip.open_all(path) as members:
        assert members.names == ["alone"] and members.file.overhead == 0
        np.testing.assert_array_equal(np.asarray(members["alone"]), np.asarray(inrzip.open(path)))
    assert not inrzip.is_collection(path)


def test_appending_keeps_bytes(several: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer.inrz"
    with CollectionFile.open(several) as before:
        write_collection(longer, [("last", MEMBERS[1][1])], before)
    assert page_pfnr.members(longer.read_bytes()) == [*MEMBERS, ("last", MEMBERS[1][1])]


def test_only_what_is_needed_is_read(several: Path) -> None:
    """Index and member, nothing else."""
    seen: list[tuple[int, int]] = []

    class Watching(io.BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            begun = self.tell()
            data = super().read(count)
            seen.append((begun, self.tell()))
            return data

    data = several.read_bytes()
    with inrzip.open_all(Watching(data)) as members:
        seen.clear()
        assert np.asarray(members[1]).std() > 0
    start = data.index(MEMBERS[1][1])
    assert all(start <= a <= b <= start + len(MEMBERS[1][1]) for a, b in seen)


def test_a_section_is_a_file() -> None:
    section = Section(OpenFile(io.BytesIO(b"0123456789"), "digits", False), 3, 4)
    assert section.seek(0, 2) == 4 and section.read(5) == b""
    assert section.seek(1) == 1 and section.read(2) == b"45" and section.read() == b"6"
    assert section.seek(-2, 1) == 2 and section.readable() and section.seekable()


def test_keys(several: Path) -> None:
    write_collection(several, [("7", MEMBERS[0][1]), ("1", MEMBERS[1][1]), *MEMBERS[2:]])
    with CollectionFile.open(several) as file:
        assert [file.find(key) for key in ("7", "1", "0", "2", 0, -1, "member 2")] == [0, 1, 0, 2, 0, 2, 2]
        for key in ("3", 3, -4, "-1", "seven", "", "9" * 30, "²"):
            with pytest.raises(InrzipError, match="no member"):
                file.find(key)
    with inrzip.open_all(several) as members, pytest.raises(IndexError):
        members[3]


def test_names() -> None:
    assert usable_name("a/b\\c\n\udce4") == "a_b_c__" and usable_name("") == "signal"
    assert len(usable_name("ä" * 300).encode()) <= MAX_NAME_BYTES
    for name in ("", "a/b", "a\\b", "a\0", "\x1b[2J", "\udce4", "n" * 256):
        with pytest.raises(InrzipError, match="cannot be named"):
            encode_index([Entry(name, 5)])
    with pytest.raises(InrzipError, match="0 signals"):
        encode_index([])


def with_index(body: bytes, tail: bytes = b"", flags: int = 0) -> bytes:
    head = b"\x8d\x49\x5a\x87" + bytes([flags, len(body)]) + body
    return head + checksum(head) + tail


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (with_index(b"\x00"), "lists 0 signals"),
        (with_index(b"\xff\xff\xff\xff\x0f"), "longer than"),
        (with_index(b"\x01\x01/\x01", b"x"), "names"),
        (with_index(b"\x01\x00\x01", b"x"), "names"),
        (with_index(b"\x01\x01\xff\x01", b"x"), "UTF-8"),
        (with_index(b"\x02\x01a\x01\x01a\x01", b"xx"), "come twice"),
        (with_index(b"\x01\x01a\x01\x00", b"x"), "too many"),
        (with_index(b"\x01\x01a\x02", b"x"), "cut short"),
        (with_index(b"\x01\x01a\x01", b"xy"), "follow its end"),
        (with_index(b"\x01\x01a" + b"\xff" * 9 + b"\x01", b"x"), "cut short"),
        (with_index(b"\x01\xff\x01a\x01", b"x"), "runs over"),
        (with_index(b"\x01\x01a\x01", b"x", flags=2), "a form that"),
        (b"\x8d\x49\x5a\x47\x00" + b"\xff" * 9 + b"\x01" + bytes(9), "claims"),
        (b"\x8d\x49\x5a\x47\x00\x7f" + bytes(9), "cut short"),
        (b"\x8d\x49\x5a\x4f\x00\x01" + bytes(9), "a form that"),
    ],
)
def test_hostile_indices(data: bytes, why: str) -> None:
    with pytest.raises(CorruptFile, match=rf"^<bytes>: [^\n]*{why}[^\n]*$"):
        inrzip.open_all(data)


def test_every_byte_is_checked(several: Path) -> None:
    """A changed byte, or a missing end, is one clear line that names the member where it is in one."""
    data = several.read_bytes()
    head = len(data) - sum(len(member) for _, member in MEMBERS)
    for place in [*range(head), head + 3, head + 40, len(data) - 1]:
        damaged = bytearray(data)
        damaged[place] ^= 0x20
        with pytest.raises(CorruptFile) as caught:
            members = inrzip.open_all(bytes(damaged))
            for reader in members:
                reader.container.verify()
        assert "\n" not in str(caught.value)
        if place >= head:
            assert "member member" in str(caught.value)
    for size in range(len(data)):
        with pytest.raises(CorruptFile):
            inrzip.open_all(data[:size])


def test_a_member_is_one_signal(tmp_path: Path, several: Path) -> None:
    nested = tmp_path / "nested.inrz"
    write_collection(nested, [("inside", several.read_bytes())])
    with inrzip.open_all(nested) as members, pytest.raises(CorruptFile, match="is a collection"):
        members[0]
    with pytest.raises(CorruptFile, match=r"is a collection of signals; name one"):
        inrzip.open(several)


# ---- the Python interface ----


def test_compress_and_append(tmp_path: Path, quick: None) -> None:
    picture = common.write_png(tmp_path / "a.png", common.picture(9, 10, 3))
    np.save(tmp_path / "b.npy", np.sin(np.arange(60.0).reshape(3, 4, 5)).astype("f4"))
    out, alone = tmp_path / "both.inrz", tmp_path / "alone.inrz"
    first = inrzip.compress(picture, out, recipe="siren", target_size=150, effort=1, member="first")
    single = inrzip.compress(picture, alone, recipe="siren", target_size=150, effort=1)
    assert page_pfnr.members(out.read_bytes()) == [("first", alone.read_bytes())]
    assert first.bytes == single.bytes <= 150 and first.quality == single.quality
    second = inrzip.compress(tmp_path / "b.npy", out, target_size=150, effort=1, append=True)
    assert [name for name, _ in page_pfnr.members(out.read_bytes())] == ["first", "b"]
    assert page_pfnr.members(out.read_bytes())[0] == ("first", alone.read_bytes())
    assert second.bytes == len(page_pfnr.members(out.read_bytes())[1][1])
    there = out.read_bytes()
    with pytest.raises(InrzipError, match="has a member b already"):
        inrzip.compress(tmp_path / "b.npy", out, append=True)
    with pytest.raises(InrzipError, match="already exists"):
        inrzip.compress(picture, out, member="x")
    with pytest.raises(InrzipError, match="does not exist"):
        inrzip.compress(picture, tmp_path / "none.inrz", append=True)
    with pytest.raises(CorruptFile, match=r"not an \.inrz file"):
        inrzip.compress(picture, picture, append=True)
    assert out.read_bytes() == there
    # A file of one signal becomes one of two, and keeps its bytes.
    inrzip.compress(picture, alone, recipe="siren", target_size=150, effort=1, append=True)
    assert [name for name, _ in page_pfnr.members(alone.read_bytes())] == ["alone", "a"]
    assert common.leftovers(tmp_path, ["a.png", "b.npy", "both.inrz", "alone.inrz"]) == []


def test_what_changed_meanwhile_stays(tmp_path: Path, several: Path) -> None:
    from inrzip.destination import Destination

    adding = Destination(several, "mine", append=True, overwrite=False)
    with CollectionFile.open(several) as before:
        write_collection(tmp_path / "x", [("other", MEMBERS[0][1])], before)
    (tmp_path / "x").replace(several)
    there = several.read_bytes()
    with pytest.raises(InrzipError, match="changed meanwhile"):
        adding.write(MEMBERS[1][1])
    assert several.read_bytes() == there


def test_decompress(several: Path, tmp_path: Path) -> None:
    written = inrzip.decompress_all(several)
    assert [report.path.name for report in written] == ["member 0.png", "member 1.wav", "member 2.npy"]
    assert {path.name for path in (tmp_path / "several").iterdir()} == {report.path.name for report in written}
    with pytest.raises(InrzipError, match="already exists"):
        inrzip.decompress_all(several)
    inrzip.decompress_all(several, overwrite=True)
    one = inrzip.decompress(several, member="member 2")
    assert one.path == tmp_path / "member 2.npy"
    np.testing.assert_array_equal(np.load(one.path), np.asarray(inrzip.open(MEMBERS[2][1])))
    with pytest.raises(CorruptFile, match="is a collection"):
        inrzip.decompress(several)
    damaged = bytearray(several.read_bytes())
    damaged[-1] ^= 1
    several.write_bytes(bytes(damaged))
    with pytest.raises(CorruptFile, match="member member 2"):
        inrzip.decompress_all(several, tmp_path / "whole or not at all")
    assert not (tmp_path / "whole or not at all").exists()


# ---- commands ----


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_info_and_verify(several: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "info", str(several))
    assert status == 0 and re.search(r"^ +1 +member 1 +\d+ +audio +50 +siren$", out, re.M)
    _, out, _ = run(capsys, "info", str(several), "--json")
    facts = json.loads(out)
    assert facts["bytes"] == several.stat().st_size
    assert facts["bytes"] == facts["overhead_bytes"] + sum(member["bytes"] for member in facts["members"])
    _, out, _ = run(capsys, "info", str(several), "--member", "2")
    assert "volume" in out
    status, out, _ = run(capsys, "verify", str(several))
    assert status == 0 and "member 2" in out
    status, _, err = run(capsys, "verify", str(several), "--against", "x.png")
    assert status == 1 and "--member" in err
    status, _, err = run(capsys, "info", str(several), "--member", "no")
    assert status == 1 and "no member 'no'" in err


def test_one_file_of_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compress A B -o X.inrz` and `append`: a failed input is told of, and the others are there."""
    from inrzip import verbs

    made: list[dict[str, Any]] = []

    def work(source: Path, destination: Path, **how: Any) -> Any:
        made.append({name: how.get(name) for name in ("member", "append", "overwrite")})
        if source.stem == "bad":
            raise InrzipError(f"{source}: is no picture")
        from tests.test_cli import Report

        return Report(destination)

    monkeypatch.setattr(inrzip, "compress", work, raising=False)
    monkeypatch.setattr(verbs, "_choose_machine", lambda opts: None)
    out = str(tmp_path / "x.inrz")
    status, text, err = run(capsys, "compress", "bad.png", "a.png", "b.wav", "-o", out)
    assert status == 1 and "bad.png: is no picture" in err and "x.inrz a " in text and "x.inrz b " in text
    assert made == [
        {"member": "bad", "append": None, "overwrite": False},
        {"member": "a", "append": None, "overwrite": False},
        {"member": "b", "append": True, "overwrite": None},
    ]
    made.clear()
    assert run(capsys, "append", out, "c.png", "--name", "third", "--json")[0] == 0
    assert run(capsys, "append", out, "d.png", "e.png")[0] == 0
    assert [how["member"] for how in made] == ["third", "d", "e"] and all(how["append"] for how in made)
    for line, why in (
        ("append x.inrz", "what to add"),
        ("append x.inrz a.png b.png --name n", "for one input"),
        ("append x.inrz a.png a.wav", "both be called a"),
        ("compress a.png a.wav -o x.inrz", "both be called a"),
    ):
        status, _, err = run(capsys, *line.split())
        assert status == 2 and why in err


def test_decompress_command(several: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    status, out, _ = run(capsys, "decompress", str(several), "-o", str(folder))
    assert status == 0 and out.count("\n") == 3 and len(list(folder.iterdir())) == 3
    status, _, err = run(capsys, "decompress", str(several), "-o", str(folder))
    assert status == 1 and "already exists" in err and err.count("\n") == 1
    status, _, _ = run(capsys, "decompress", str(several), "--member", "0", "-o", str(tmp_path / "one.png"))
    assert status == 0 and (tmp_path / "one.png").exists()


def test_an_index_alone() -> None:
    entries = [Entry("a", 1), Entry("ünï", 2**40)]
    head = encode_index(entries)
    assert decode_index(head[:-4], 6) == entries
    assert Collection is inrzip.open_all


# ---- shared heads ----

SMALL = Spec(Kind.IMAGE, (4, 4), 3, "u1", 0.0, 255.0, {"format": ".png"})
OTHER = Spec(Kind.IMAGE, (2, 2), 3, "u1", 0.0, 255.0, {"format": ".png"})


def alike(count: int, spec: Spec = SMALL) -> list[tuple[str, bytes]]:
    """Files of one header, with payloads that begin alike, as those of one prior do."""
    rng = np.random.default_rng(spec.shape[0])
    header = Header(spec, SirenConfig.number, spec.shape[0])
    parts = [b"prior" + rng.integers(0, 256, 9 + i, np.uint8).tobytes() for i in range(count)]
    return [(f"picture_{spec.shape[0]}_{i:03d}", write_container(header, [part])) for i, part in enumerate(parts)]


def test_heads_are_shared(tmp_path: Path) -> None:
    """What is written once, and the index, take at most 8 bytes a member; each member is the file that it was."""
    path, files = tmp_path / "x", alike(60)
    write_collection(path, files, shared=True)
    data = path.read_bytes()
    assert page_pfnr.members(data) == files
    own = sum(9 + i for i in range(60))
    assert (len(data) - own) / 60 <= 8 < (sum(len(file) for _, file in files) - own) / 60
    with CollectionFile.open(path) as file:
        for number in (59, 0, 7):
            out = io.BytesIO()
            file.copy(number, out)
            assert out.getvalue() == files[number][1] == file.section(number).read()
        assert len(file.heads) == 1 and file.overhead == len(data) - own


def test_heads_of_several_kinds(tmp_path: Path) -> None:
    """Files that share nothing stay whole; nothing is shared where nothing can be."""
    path, files = tmp_path / "x", [*alike(3), *alike(2, OTHER), *MEMBERS]
    write_collection(path, files, shared=True)
    assert page_pfnr.members(path.read_bytes()) == files
    with CollectionFile.open(path) as file:
        assert len(file.heads) == 3 and file.heads[-1] == b""
    write_collection(path, MEMBERS, shared=True)
    assert path.read_bytes()[4] == 0


def test_added_to_shared_heads(tmp_path: Path) -> None:
    """Members that are there keep their bytes; one that begins alike shares the head, another comes whole."""
    path, longer, files = tmp_path / "x", tmp_path / "y", alike(4)
    write_collection(path, files[:3], shared=True)
    for added in (files[3], MEMBERS[0]):
        with CollectionFile.open(path) as before:
            write_collection(longer, [added], before)
        assert page_pfnr.members(longer.read_bytes()) == [*files[:3], added]
        with CollectionFile.open(longer) as file:
            assert len(file.heads) == (1 if added is files[3] else 2)


def test_damage_with_shared_heads(tmp_path: Path) -> None:
    """Found in the index at once, in a member when it is read, which harms no other."""
    path, files = tmp_path / "x", alike(3)
    write_collection(path, files, shared=True)
    data = path.read_bytes()
    for i in range(len(data)):
        damaged = data[:i] + bytes([data[i] ^ 0x11]) + data[i + 1 :]
        good = 0
        try:
            with CollectionFile.open(damaged) as file:
                if not file.several:
                    continue  # it claims to be one file, which it is not: who opens it as such will see
                for number, (_, whole) in enumerate(files):
                    with contextlib.suppress(CorruptFile):
                        good += file.section(number).read() == whole
        except InrzipError:
            continue
        assert good == 2
    for end in range(len(data)):
        with pytest.raises(InrzipError):
            CollectionFile.open(data[:end])


def test_the_example_of_shared_heads(tmp_path: Path) -> None:
    [block] = re.findall(r"```hex shared\n(.*?)```", PAGE, re.S)
    digits = " ".join(re.split(r"\s{2,}", line)[0] for line in block.splitlines())
    data = bytes.fromhex(digits)
    [(_, member), _] = members = page_pfnr.members(data)
    assert [name for name, _ in members] == ["a", "bb"] and member == members[1][1]
    write_collection(tmp_path / "x", members, shared=True)
    with CollectionFile.open(data) as ours, CollectionFile.open(tmp_path / "x") as again:
        assert ours.entries == again.entries and ours.heads == again.heads
