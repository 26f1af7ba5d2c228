"""Fields of patches: what is shared by all, their prior and its training, files and their damage."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

import inrzip
from inrzip import cli, field_training, posterior_goals, wire
from inrzip.architectures import combiner_field as fields
from inrzip.architectures import combiner_network as network
from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import CombinerConfig
from inrzip.architectures.combiner_field import Field
from inrzip.architectures.combiner_network import Layout
from inrzip.codecs.parted_blocks import Part
from inrzip.errors import CorruptFile, InrzipError
from inrzip.field_payload import CodedField, decode_classes, encode_classes, encode_field
from inrzip.network import decode_network
from inrzip.priors import latent_prior
from inrzip.priors.field_prior import FieldPrior
from tests import page_combiner
from tests.test_combiner import pictures, write_pictures

TINY = Layout(2, 3, 8, 2, (12, 9), (5, 4), 1, 4, (2, 0))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prior `wide`, learned from the pictures in its folder `media`."""
    folder = tmp_path_factory.mktemp("home")
    write_pictures(folder, 4, 72, 70)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(field_training.LAYOUTS, "image", TINY)
        patch.setattr(field_training, "BITS", 10)
        patch.setenv(latent_prior.FOLDER_VARIABLE, str(folder))
        arguments = ["train-prior", str(folder / "media"), "-o", "wide", "--large", "--patches", "512", "--quiet"]
        assert cli.main([*arguments, "--rounds", "5"]) == 0
    return folder


@pytest.fixture(autouse=True)
def priors_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(home))
    latent_prior.find.cache_clear()
    monkeypatch.setattr(posterior_goals, "STEPS", (200,) * 9)


def prior_of(home: Path) -> tuple[int, FieldPrior]:
    data = (home / "wide.inrprior").read_bytes()
    prior = latent_prior.loads(data)
    assert isinstance(prior, FieldPrior) and latent_prior.dumps(prior) == data
    return latent_prior.identity(data), prior


def test_a_field_of_one_patch_is_a_patch() -> None:
    """With nothing of groups and the whole; and they are added to what is the patch's own."""
    field, rng = Field((1, 1), 4), np.random.default_rng(0)
    shared = network.start(TINY, 0)
    latents = rng.normal(size=(1, TINY.n_latents)).astype(np.float32)
    weights = fields.n_weights(TINY)
    whole = np.concatenate([latents, np.zeros((1, 2 * weights), np.float32)], 1)
    each = fields.combined(TINY, field, whole, np)
    alone = network.evaluate(TINY, shared, latents, np)
    assert np.allclose(fields.evaluate(TINY, shared, (1, 1), each, np)[0], alone, atol=1e-6)
    whole[:, TINY.n_latents :] = 0.25
    difference = fields.combined(TINY, field, whole, np)[0] - latents
    assert np.all(difference[:, -weights:] == pytest.approx(0.5)) and not difference[:, :-weights].any()


def test_groups_and_seams() -> None:
    field = Field((5, 3), 2)
    assert field.group_counts == (3, 2)
    assert field.groups().reshape(5, 3).tolist() == [[0, 0, 1], [0, 0, 1], [2, 2, 3], [2, 2, 3], [4, 4, 5]]
    # a latent of one patch is seen in the next, across the seam, and nowhere two patches away
    latents = np.zeros((1, 4, TINY.n_latents), np.float32)
    shared = network.start(TINY, 0)
    before = fields.evaluate(TINY, shared, (1, 4), latents, np)
    latents[0, 0, : TINY.n_latents - fields.n_weights(TINY)] = 1
    changed = np.abs(fields.evaluate(TINY, shared, (1, 4), latents, np) - before)[0].max((1, 2)) > 1e-6
    assert changed.tolist() == [True, True, False, False]


def test_blocks(home: Path) -> None:
    """Each latent that is coded comes once, the important first, and those of one kind mixed across patches."""
    _, prior = prior_of(home)
    field = prior.field((4, 6))
    classes = np.arange(24) % prior.classes
    usual = prior.at_each(prior.usual, 1, classes, field)
    blocks = list(prior.blocks(1, classes, field, 80))
    order = np.concatenate([members for _, members in blocks])
    assert sorted(order) == np.flatnonzero(usual).tolist()
    assert np.all(np.diff(usual[order]) <= 0)
    assert all(8 <= bits <= prior.bits for bits, _ in blocks)
    assert all(usual[members[1:]].sum() <= 80 * 32 for _, members in blocks)
    patches = [len(set(members // TINY.n_latents)) for _, members in blocks if len(members) > 4]
    assert np.mean(patches) > 2


def test_classes_as_bytes() -> None:
    rng, field = np.random.default_rng(0), Field((16, 24), 4)
    for classes in (rng.integers(0, 6, 384), np.repeat(rng.integers(0, 6, 16), 24), np.zeros(384, np.int64)):
        data = encode_classes(6, field, classes)
        assert decode_classes(6, field, data).tolist() == classes.tolist()
    assert len(encode_classes(6, field, classes)) < 12
    assert page_combiner._classes(data, 16, 24, 6).tolist() == classes.tolist()


@pytest.mark.parametrize(("height", "width", "channels"), [(30, 21, 3), (8, 9, 1), (1, 1, 3)])
def test_a_picture_there_and_back(tmp_path: Path, home: Path, height: int, width: int, channels: int) -> None:
    """The page's decoder makes the same of the file; parts are the same as of the whole."""
    [picture] = pictures(1, height, width)
    picture = picture if channels == 3 else picture[..., 0]
    iio.imwrite(tmp_path / "a.png", picture)
    arguments = ["compress", str(tmp_path / "a.png"), "--recipe", "combiner", "--prior", "wide", "-q", "60", "--quiet"]
    assert cli.main(arguments) == 0
    with inrzip.Reader(tmp_path / "a.inrz") as reader:
        payload, values = reader.container.segment(0), reader.segment(0).render(Grid((height, width), 1).axes())
        assert np.array_equal(reader[0:1, -1:], reader[...][0:1, -1:])
        again = reader[...]
    assert again.shape == picture.shape
    assert np.mean((again.astype(float) - picture) ** 2) < 0.4 * np.mean((picture - 128.0) ** 2) + 60
    prior = (home / "wide.inrprior").read_bytes()
    assert np.abs(page_combiner.decode(payload, prior, (height, width), channels) - values).max() < 1e-4


def test_tiles(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is decoded in parts is what is decoded at once."""
    name, prior = prior_of(home)
    field, rng = prior.field((5, 9)), np.random.default_rng(0)
    blocks = [(Part(8, int(i) % 4, int(i)),) for i in rng.integers(0, 200, 20)]
    coded = CodedField(3, rng.integers(0, prior.classes, 45), 90, blocks)
    payload, grid = encode_field(name, prior, field, coded), Grid((40, 70), 3)
    once = decode_network(payload, CombinerConfig.number, grid).render(grid.axes())
    monkeypatch.setattr("inrzip.field_payload.TILE", 2)
    again = decode_network(payload, CombinerConfig.number, grid).render(grid.axes())
    assert np.abs(once - again).max() < 1e-5 and np.std(once) > 0.01
    precise = decode_network(payload, CombinerConfig.number, grid).precise()
    assert precise.dtype == np.float64 and 0 < np.abs(once - precise).max() < 1e-5


def test_sizes_and_a_file_cut_short(tmp_path: Path) -> None:
    [picture] = pictures(1, 30, 21)
    iio.imwrite(tmp_path / "a.png", picture)
    how = {"recipe": "combiner", "prior": "wide", "overwrite": True}
    found = [inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", target_size=size, **how) for size in (90, 240)]
    assert found[0].bytes <= 90 and found[1].bytes <= 240
    data, errors = (tmp_path / "a.inrz").read_bytes(), []
    for end in (len(data), len(data) // 2):
        with inrzip.Reader(data[:end], partial=True) as reader:
            errors.append(np.mean((reader[...] - picture.astype(float)) ** 2))
    assert errors[0] < errors[1] < np.mean((picture - 128.0) ** 2) * 2
    with pytest.raises(CorruptFile):
        inrzip.Reader(data[: len(data) // 2])
    with pytest.raises(InrzipError, match="cannot hold"):
        inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", target_size=30, **how)


def at_count(payload: bytes, count: int) -> bytes:
    """With another number of blocks, of one that has one."""
    cursor = wire.Cursor(payload)
    cursor.varint(), cursor.varint(), cursor.byte()
    cursor.take(cursor.varint())
    assert payload[cursor.position] == 1
    return payload[: cursor.position] + wire.varint(count) + payload[cursor.position + 1 :]


def test_damaged_payloads(home: Path) -> None:
    name, prior = prior_of(home)
    field, grid = prior.field((2, 2)), Grid((16, 16), 3)
    busiest = np.argmax(prior.usual[-prior.classes :].sum(1))
    good = encode_field(name, prior, field, CodedField(3, np.full(4, busiest), 40, [(Part(3, 1, 5),)]))
    decode_network(good, CombinerConfig.number, grid)
    start = len(wire.varint(name))
    bad = [
        (good + bytes(4000), grid),
        (good, Grid((16,), 3)),
        (at_count(good, 1 << 40), grid),
        (at_count(good, (1 << 64) - 1), grid),
        (at_count(good, 2000), grid),
        (good, Grid((16, 16), 2)),
        (good[:start] + b"\x7f" + good[start + 1 :], grid),
        (good[: start + 1] + b"\0" + good[start + 2 :], grid),
        (good[: start + 2] + b"\x7f" + good[start + 3 :], grid),
        (good[: start + 2], grid),
        (good, Grid((1 << 20, 1 << 20), 3)),
    ]
    for payload, shape in bad:
        with pytest.raises(InrzipError):
            decode_network(payload, CombinerConfig.number, shape, 1 << 42)


def test_small_and_large_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large ones are fitted by themselves, each with the prior for its size."""
    name, prior = latent_prior.named("wide", "image")
    monkeypatch.setattr(posterior_goals, "LARGE", 100)
    paths = []
    for i, picture in enumerate([*pictures(1, 8, 9), *pictures(1, 30, 21)]):
        paths.append((f"p{i}", tmp_path / f"p{i}.png"))
        iio.imwrite(paths[-1][1], picture)
    report = inrzip.compress_together(paths, tmp_path / "all.inrz", prior="wide")
    assert report.bytes == (tmp_path / "all.inrz").stat().st_size
    with inrzip.open_all(tmp_path / "all.inrz") as members:
        assert [member.spec.shape for member in members] == [(8, 9), (30, 21)]
    assert latent_prior.find(name).bits == prior.bits
