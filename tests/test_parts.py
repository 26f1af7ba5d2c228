"""Blocks that tell how many bits their indices have: parts, what they are chosen by, and patches of them as files."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

import inrzip
from inrzip import part_search, posterior_goals
from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import CombinerConfig, Patches
from inrzip.codecs import parted_blocks
from inrzip.codecs.learned_numbers import NumberCounts, NumberDecoder, NumberEncoder
from inrzip.codecs.parted_blocks import HALVES, NOTHING, Block, BlockReader, Part
from inrzip.errors import CorruptFile
from inrzip.network import decode_network
from inrzip.parted_payload import PartedPatch
from inrzip.posterior_payload import Decoder, decode_patches, encode_payload, shortened
from inrzip.priors import latent_prior
from tests import page_combiner
from tests.make_golden import FOLDER
from tests.test_combiner import learn_tiny, pictures


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small prior of patches of 8x8, `tiny`."""
    return learn_tiny(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True)
def priors_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(home))
    latent_prior.find.cache_clear()
    monkeypatch.setattr(posterior_goals, "STEPS", (200,) * 9)


def test_blocks_as_parts() -> None:
    """Parts are read as they were written, and halves lie where they belong."""
    blocks = [
        ((HALVES, Part(16, 3, 65535), HALVES, NOTHING, Part(1, 0, 1)), 9),
        ((NOTHING,), 1),
        ((Part(5, 2, 17),), 200),
    ]
    encoder = NumberEncoder()
    for block, size in blocks:
        parted_blocks.write(encoder, block, size)
    decoder = NumberDecoder(encoder.finish())
    assert [(parted_blocks.read(decoder, size), size) for _, size in blocks] == blocks
    decoder.finish()
    assert parted_blocks.sizes(*blocks[0]) == [(9, False), (5, True), (4, True), (2, True), (2, True)]
    found = parted_blocks.values(blocks[0][0], np.full(9, 8))
    assert found[:5].all() and not found[5:7].any() and found[7:].all()
    of_candidate = parted_blocks.candidates(65535, 1, 5)[0]
    assert np.allclose(found[:5], of_candidate / 148.0 * 2 ** (1 + 2.5), rtol=2e-2)


def test_what_is_read_of_damaged_parts() -> None:
    for written, size in (([1], 1), ([18], 4), ([9, 4], 4)):
        encoder = NumberEncoder()
        kinds = parted_blocks.kind_of_bits(size, False), parted_blocks.kind_of_spread(size)
        for number, kind in zip(written, kinds, strict=False):
            encoder.number(kind, number)
        with pytest.raises(CorruptFile):
            parted_blocks.read(NumberDecoder(encoder.finish()), size)


def test_parts_are_what_they_are_worth() -> None:
    """Latents that hardly matter take nothing, what is known well has a near candidate, and outliers are split off."""
    counts, n = NumberCounts(), 12
    calm = part_search.latents_of(np.full(n, 0.01), np.full(n, 0.99))
    sharp = part_search.latents_of(np.linspace(-1, 1, 3), np.full(3, 0.2))
    far = np.zeros(n)
    far[-1] = 8.0
    outlier = part_search.latents_of(far, np.where(far > 0, 0.1, 0.9))
    blocks = part_search.blocks_of(counts, [calm, sharp, outlier], 10)
    assert blocks[0] == (NOTHING,)
    assert blocks[1][0].bits >= 5
    assert np.abs(parted_blocks.values(blocks[1], np.zeros(3, int)) - np.linspace(-1, 1, 3)).max() < 0.5
    assert blocks[2][0] == HALVES
    assert parted_blocks.values(blocks[2], np.zeros(n, int))[-1] == pytest.approx(8.0, abs=0.5)


def parted(rng: np.random.Generator, size: int) -> Block:
    """A block that may be split."""
    if size > 1 and rng.random() < 0.3:
        return (HALVES, *(part for half in parted_blocks.halves(size) for part in parted(rng, half)))
    bits = int(rng.integers(0, 9))
    return (Part(bits, int(rng.integers(4)), int(rng.integers(1 << bits))) if bits else NOTHING,)


def test_patches_of_parts(home: Path) -> None:
    """Are read as the page says; cut short, as many blocks as are wholly there, and damage is found."""
    data = (home / "tiny.inrprior").read_bytes()
    name, prior = latent_prior.identity(data), latent_prior.loads(data)
    assert isinstance(prior, latent_prior.LatentPrior)
    rng, n = np.random.default_rng(2), 20
    coded = []
    for i in range(n):
        level = i % len(prior.weights)
        sizes = prior.sizes[level][: int(rng.integers(len(prior.sizes[level]) + 1))]
        coded.append(PartedPatch(level, [parted(rng, int(size)) for size in sizes]))
    payload, shape = encode_payload(name, prior, coded), (8 * 4, 8 * 5)
    values = decode_network(payload, CombinerConfig.number, Grid(shape, 3)).render(Grid(shape, 3).axes())
    wanted = decode_patches(prior, coded).reshape(4, 5, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(*shape, 3)
    assert np.abs(values - wanted).max() < 1e-5
    assert np.abs(page_combiner.decode(payload, data, shape, 3) - values).max() < 1e-4
    half = payload[: len(payload) * 3 // 4]
    part = decode_network(half, CombinerConfig.number, Grid(shape, 3), partial=True)
    assert isinstance(part, Patches) and isinstance(part.coded, Decoder)
    for found, patch in zip(part.coded._coded, coded, strict=True):
        assert list(found.blocks) == list(patch.blocks[: len(found.blocks)])
    assert 0 < sum(len(patch.blocks) for patch in part.coded._coded) < sum(len(patch.blocks) for patch in coded)
    for damaged in (half, payload + bytes(9), payload[:6] + b"\xff" * 40):
        with pytest.raises(CorruptFile):
            decode_network(damaged, CombinerConfig.number, Grid(shape, 3))
    least = len(encode_payload(name, prior, [patch._replace(blocks=[]) for patch in coded]))
    for size in (len(payload) - 1, len(payload) // 2):
        assert least <= len(shortened(name, prior, coded, size)) <= size


def test_more_parts_than_bytes_can_tell() -> None:
    """A block of nothing takes next to no bits, but not as many as would keep a reader busy."""
    counts = NumberEncoder()
    for _ in range(200_000):
        parted_blocks.write(counts, (NOTHING,), 5)
    source = BlockReader(counts.finish())
    with pytest.raises(CorruptFile, match="more in it"):
        for _ in range(200_000):
            source.take(5)


def test_what_a_stream_may_hold() -> None:
    """An encoder leaves out the last blocks of those that a reader would refuse."""
    nothing, some = (NOTHING,), (Part(8, 0, 3),)
    few = [nothing] * 10 + [some]
    assert parted_blocks.tellable(few) == 11 and parted_blocks.useful([*few, nothing]) == 11
    many = [nothing] * parted_blocks.FREE_PARTS + [some] * 2
    assert parted_blocks.tellable(many) == len(many)
    beyond = [nothing] * 10 + many
    n = parted_blocks.tellable(beyond)
    assert n == len(beyond)  # two indices of 8 bits make room for 128 parts
    longer = [*beyond[:-1], *[nothing] * 100]
    assert parted_blocks.tellable(longer) == parted_blocks.FREE_PARTS + parted_blocks.PARTS_PER_BYTE < len(longer)
    encoder = NumberEncoder()
    for block in beyond[:n]:
        parted_blocks.write(encoder, block, 5)
    source = BlockReader(encoder.finish())
    for block in beyond[:n]:
        assert source.take(5) == block
    source.finish()


@pytest.mark.parametrize("name", ["image_large_combiner", "image_parts_combiner"])
def test_a_file_whose_end_is_damaged_or_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all of its blocks there, all are decoded; of a shorter one, those that are."""
    monkeypatch.delenv(latent_prior.FOLDER_VARIABLE)
    data = (FOLDER / f"{name}.inrz").read_bytes()
    with inrzip.Reader(data) as reader:
        whole = reader[...]
    for damaged in (data[:-1] + bytes([data[-1] ^ 255]), data[:-1], data[:-4]):
        with pytest.raises(CorruptFile):
            inrzip.Reader(damaged)
        with inrzip.Reader(damaged, partial=True) as reader:
            assert np.array_equal(reader[...], whole)
    with inrzip.Reader(data[: len(data) * 2 // 3], partial=True) as reader:
        part = reader[...].astype(float)
    assert 0 < np.mean((part - whole) ** 2) < np.mean((whole - 128.0) ** 2)


def test_a_picture_of_many_patches(tmp_path: Path, home: Path) -> None:
    """Has blocks of parts, fits into a size, and comes out about as well as of flat ones."""
    [picture] = pictures(1, 40, 37)
    iio.imwrite(tmp_path / "a.png", picture)
    how = {"recipe": "combiner", "prior": "tiny", "overwrite": True}
    inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", quality=70, **how)
    with inrzip.Reader(tmp_path / "a.inrz") as reader:
        patches = reader.segment(0)
        assert isinstance(patches, Patches) and isinstance(patches.coded, Decoder)
        assert all(isinstance(patch, PartedPatch) for patch in patches.coded._coded)
        error = np.mean((reader[...].astype(float) - picture) ** 2)
    size = (tmp_path / "a.inrz").stat().st_size
    assert inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", target_size=size, **how).bytes <= size
    assert error < 0.3 * np.mean((picture - 128.0) ** 2)
