"""Short files: they stand for plain ones, are damaged when a byte is, and have the head that was promised."""

from __future__ import annotations

import io
import re
import zlib
from importlib import resources
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image
from skimage import data as pictures

import inrzip
import inrzip.plugins
from inrzip import cli, short_files, wire
from inrzip.collection import CollectionFile, write_collection
from inrzip.container import Container, write_container
from inrzip.errors import CorruptFile
from inrzip.header import Header
from inrzip.priors import latent_prior
from inrzip.signal import Kind, Spec

PAGE = (Path(__file__).parent.parent / "docs" / "format.md").read_text()
IMAGE = Spec(Kind.IMAGE, (32, 32), 3, "u1", 0.0, 255.0, {"format": ".png"})
THUMBNAILS = (27, 0x9064D0C)
OWN = bytes.fromhex("01a0a1")


def short_file(spec: Spec = IMAGE, prior: tuple[int, int] = THUMBNAILS, own: bytes = OWN) -> bytes:
    return write_container(Header(spec, prior[0], spec.shape[0]), [wire.varint(prior[1]) + own])


def plain_file(spec: Spec, prior: tuple[int, int], own: bytes) -> bytes:
    """What a short file stands for, put together by hand as the page says."""
    code, format = [1, 3, 4].index(spec.channels), str(spec.meta["format"]).encode()
    fixed = bytes([0x88, code] if format == b".png" else [0x80, 4 | code])
    extras = b"" if format == b".png" else b"\x20\x01\x73" + bytes([len(format)]) + format
    head = b"\x8dIZ" + fixed + wire.varint(spec.shape[0] - 1) + wire.varint(spec.shape[1] - 1) + bytes([prior[0]])
    body = head + extras + wire.varint(prior[1]) + own
    return body + zlib.crc32(body).to_bytes(4, "little")


def test_the_page_knows_all_of_them() -> None:
    """Its table, its example, and that each prior for images of the package is among them."""
    rows = re.findall(r"^\| (\d+) \| `(\w{7})` \| (\d+) \|$", PAGE, re.M)
    assert [(int(a), int(name, 16)) for _, name, a in rows] == list(short_files.PRIORS)
    assert [int(p) for p, _, _ in rows] == list(range(len(rows)))
    [block] = re.findall(r"```hex short\n(.*?)```", PAGE, re.S)
    assert bytes.fromhex("".join(re.split(r"\s{2,}", line)[0] for line in block.splitlines())) == short_file()
    files = [latent_prior.PACKAGED["image"], latent_prior.LARGE["image"]]
    files += [*latent_prior.MODULATED.values(), *latent_prior.LARGE_MODULATED.values()]
    names = {latent_prior.identity(resources.files("inrzip.priors").joinpath(file).read_bytes()) for file in files}
    assert names <= {name for _, name in short_files.PRIORS}


@pytest.mark.parametrize("format", [".png", ".jpg", ".jpeg", ".webp"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("number", range(len(short_files.PRIORS)))
def test_a_short_file_is_a_plain_one(channels: int, format: str, number: int) -> None:
    prior = short_files.PRIORS[number]
    spec = Spec(Kind.IMAGE, (200, 7), channels, "u1", 0.0, 255.0, {"format": format})
    data, plain = short_file(spec, prior), plain_file(spec, prior, OWN)
    code = 4 * [1, 3, 4].index(channels) + [".png", ".jpg", ".jpeg", ".webp"].index(format)
    assert data[:2] == b"\x8dS" and data[2] == 12 * number + code
    assert short_files.whole(data) == plain and len(data) == len(plain) - (9 if format == ".png" else 13 + len(format))
    with Container.open(data) as short, Container.open(plain) as long:
        assert short.header == long.header and short.segment(0) == long.segment(0)
        assert short.overhead == 8 and long.overhead == len(plain) - 7


@pytest.mark.parametrize(
    ("change", "prior"),
    [
        ({}, (27, 0x1234567)),
        ({}, (28, 0x9064D0C)),
        ({"channels": 2}, THUMBNAILS),
        ({"sample_type": "u2", "high": 65535.0}, THUMBNAILS),
        ({"high": 200.0}, THUMBNAILS),
        ({"meta": {"format": ".bmp"}}, THUMBNAILS),
        ({"meta": {"format": ".png", "bits": 4}}, THUMBNAILS),
    ],
)
def test_what_has_no_short_form_is_plain(change: dict[str, object], prior: tuple[int, int]) -> None:
    spec = Spec(**{**{f: getattr(IMAGE, f) for f in IMAGE.__dataclass_fields__}, **change})  # type: ignore[arg-type]
    data = short_file(spec, prior)
    assert data[:3] == b"\x8dIZ"
    with Container.open(data) as file:
        assert file.segment(0) == wire.varint(prior[1]) + OWN and file.header.spec == spec


def test_damage_is_found() -> None:
    data = short_file(own=bytes(range(40)))
    for i in range(2, len(data)):
        for change in (1, 0x80):
            with pytest.raises(CorruptFile):
                Container.open(data[:i] + bytes([data[i] ^ change]) + data[i + 1 :])
    for end in range(len(data)):
        with pytest.raises(CorruptFile):
            Container.open(data[:end])
    for more in (b"\0", b"abcd"):
        with pytest.raises(CorruptFile):
            Container.open(data + more)
    long = short_file(own=bytes((1 << 20) - 16))
    assert len(long) == (1 << 20) - 9 and Container.open(long).overhead == 7
    more = long[:5] + bytes(2) + long[5:]  # shorter than 2^20, but what it stands for is not
    assert len(more) < 1 << 20
    with pytest.raises(CorruptFile, match="too long"):
        Container.open(more)
    with pytest.raises(CorruptFile, match="update inrzip"):
        Container.open(data[:2] + b"\xff" + data[3:])
    with pytest.raises(CorruptFile, match="cut short"):
        Container.open(data[:6])


def test_one_that_was_cut_is_read_as_far_as_it_goes() -> None:
    data = short_file(own=bytes(range(40)))
    with Container.open(data[:30], partial=True) as file:
        assert file.cut and file.segment(0).endswith(bytes(range(25)))
    with Container.open(data, partial=True) as file:
        assert not file.cut and file.segment(0).endswith(bytes(range(40)))


def test_in_collections(tmp_path: Path) -> None:
    """Members share heads, as those of plain files do; a short file can be added to."""
    path = tmp_path / "all"
    files = [(f"a{i}", short_file(own=bytes([i, 1, 2, 3 + i]))) for i in range(4)]
    write_collection(path, files, shared=True)
    with CollectionFile.open(path) as found:
        assert len(found.heads) == 1 and sum(entry.length for entry in found.entries) == 16
        assert [found.section(i).read() for i in range(4)] == [short_files.whole(data) for _, data in files]
        alone = io.BytesIO()
        found.copy(2, alone)
        assert alone.getvalue() == files[2][1]
    (tmp_path / "one.inrz").write_bytes(files[0][1])
    with CollectionFile.open(tmp_path / "one.inrz") as one:
        assert not one.several and one.names == ["one"]
        write_collection(tmp_path / "two", files[1:2], one)
    with CollectionFile.open(tmp_path / "two") as two:
        assert two.several and [Container.open(two.section(i).read()).segment(0)[-4:] for i in range(2)] == [
            bytes([0, 1, 2, 3]), bytes([1, 1, 2, 4])
        ]  # fmt: skip
        assert [entry.length for entry in two.entries] == [len(data) for _, data in files[:2]]


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_a_thumbnail_has_eight_bytes_besides_its_blocks(tmp_path: Path, extension: str) -> None:
    """The command writes a short file, of no more than was asked for, and all ways of reading it give the same."""
    small = pictures.astronaut().reshape(32, 16, 32, 16, 3).mean((1, 3)).astype(np.uint8)
    iio.imwrite(tmp_path / f"a.{extension}", small)
    arguments = [str(tmp_path / f"a.{extension}"), "--recipe", "combiner", "--quiet", "--effort", "1"]
    assert cli.main(["compress", *arguments, "--target-size", "60B"]) == 0
    path = tmp_path / "a.inrz"
    data = path.read_bytes()
    assert data[:2] == b"\x8dS" and 52 <= len(data) <= 60
    assert inrzip.info(path)["overhead_bytes"] == 7 and inrzip.info(path)["bytes"] == len(data)
    with inrzip.Reader(path) as reader:
        picture = np.asarray(reader)
        assert len(reader.container.segment(0)) == len(data) - 3  # the prior's four bytes are not in the file

    with Image.open(path) as opened:
        assert np.array_equal(np.asarray(opened), picture)
    assert np.array_equal(iio.imread(path), picture)
    assert cli.main(["decompress", str(path), "-o", str(tmp_path / "b.png"), "--quiet"]) == 0
    assert np.array_equal(iio.imread(tmp_path / "b.png"), picture)
