"""Modulations of a learned network (COIN++, VC-INR): networks, priors, training, files, collections, damage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import imageio.v3 as iio
import jax
import numpy as np
import pytest

import inrzip
from inrzip import cli, modulation_training, prior_training
from inrzip.architectures import modulated_network as network
from inrzip.architectures.base import Grid
from inrzip.architectures.modulated import CoinppConfig, ModulatedConfig, VcinrConfig
from inrzip.architectures.modulated_network import Layout
from inrzip.errors import CorruptFile, InrzipError
from inrzip.integer_prices import price
from inrzip.modulation_fit import rounded
from inrzip.modulation_payload import Coded, encode_payload
from inrzip.network import decode_network
from inrzip.priors import latent_prior, modulation_prior
from inrzip.priors.integer_tables import Family
from tests import page_combiner, page_modulated
from tests.common import check_fitted_together, check_hostile_config
from tests.test_combiner import pictures, write_pictures

TINY = {
    "coin++": Layout(False, 2, 3, 8, (40,), 10, (6, 5)),
    "vc-inr": Layout(True, 2, 3, 8, (30, 9, 7), 12, (6, 5), 3, 4),
}
ARCHITECTURES: dict[str, type[ModulatedConfig]] = {"coin++": CoinppConfig, "vc-inr": VcinrConfig}
RECIPES = pytest.mark.parametrize("recipe", list(TINY))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with priors named as their recipes, learned from the pictures in its folder `media`."""
    folder = tmp_path_factory.mktemp("home")
    write_pictures(folder, 6, 24, 24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(latent_prior.FOLDER_VARIABLE, str(folder))
        for recipe, layout in TINY.items():
            patch.setitem(modulation_training.LAYOUTS, (recipe, "image"), layout)
            how = ["--patches", "100", "--rounds", "4", "--quiet"]
            assert cli.main(["train-prior", str(folder / "media"), "--recipe", recipe, "-o", recipe, *how]) == 0
    return folder


@pytest.fixture(autouse=True)
def priors_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(home))
    modulation_prior.find.cache_clear()


def bytes_of(home: Path, recipe: str) -> bytes:
    return (home / f"{recipe}.inrprior").read_bytes()


# ---- networks and priors ----


@pytest.mark.parametrize(
    "layout",
    [Layout(False, 2, 3, 8, (192,), 4, (3,)), Layout(True, 2, 3, 8, (64, 64, 64), 4, (3,), 3, 2),
     Layout(False, 1, 1, 16, (16,), 4, (3,)), Layout(True, 1, 1, 16, (16,), 4, (3,), 1, 2)],
)  # fmt: skip
def test_training_begins_as_the_cosine_transform(layout: Layout) -> None:
    """With as many latents as samples, the network that training begins with makes any small change of grey."""
    points = layout.side**layout.axes
    patches = np.random.default_rng(0).uniform(size=(9, points, layout.channels)).astype(np.float32)
    shared, latents = network.start(layout, patches, 0)
    behind = shared.out[layout.units :]
    shared = shared._replace(out=np.concatenate([shared.out[: layout.units], 0 * behind]))
    small = 0.01
    again = network.evaluate(layout, shared, (small * latents).astype(np.float32), np)
    assert np.abs(again - 0.5 - small * (patches - 0.5)).max() < 1e-4
    compiled = jax.jit(lambda z: network.evaluate(layout, shared, z, jax.numpy))(latents)
    assert np.abs(compiled - network.evaluate(layout, shared, latents, np)).max() < 1e-4


@RECIPES
def test_a_prior_as_bytes(home: Path, recipe: str) -> None:
    data = bytes_of(home, recipe)
    prior = modulation_prior.loads(data)
    assert modulation_prior.dumps(prior) == data
    assert modulation_prior.find(latent_prior.identity(data)).layout == TINY[recipe]
    for damaged in (b"", data[:100], data[:-30], b"PK" + data[2:40]):
        with pytest.raises(ValueError):
            modulation_prior.loads(damaged)
    for change in ({"shares": 0 * prior.shares}, {"steps": prior.steps[::-1]}, {"families": prior.families + 9}):
        with pytest.raises(ValueError):
            modulation_prior.loads(modulation_prior.dumps(dataclasses.replace(prior, **change)))


def test_what_a_curve_takes() -> None:
    """The trainer's prices are those of the tables, within what their rounding to 2^-16 makes."""
    values = np.arange(-200, 201)
    for table in (0, 10, 31, 38):
        assert abs(np.exp2(-price(Family.LAPLACE, table, values).astype(np.float64)).sum() - 1) < 0.01
    assert rounded(np.array([0.29, 0.31, -0.5, 0.74]), 0.5, np).tolist() == [0.0, 0.5, -0.5, 0.5]


def test_training_goes_on_where_it_was(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(modulation_training.LAYOUTS, ("vc-inr", "image"), TINY["vc-inr"])
    monkeypatch.setattr(modulation_training, "SAVE_SECONDS", 0.0)

    def killed(report: inrzip.prior_training.Progress) -> None:
        if report.fraction > 0.6:
            raise RuntimeError

    path = tmp_path / "again.inrprior"
    with pytest.raises(RuntimeError):
        inrzip.train_prior(home / "media", path, recipe="vc-inr", patches=100, rounds=4, progress=killed)
    assert inrzip.train_prior(home / "media", path, recipe="vc-inr", patches=100, rounds=4).resumed
    assert not path.with_name(path.name + ".part").exists()
    once, again = (modulation_prior.loads(p.read_bytes()) for p in (home / "vc-inr.inrprior", path))
    pairs = zip(jax.tree.leaves(once.shared), jax.tree.leaves(again.shared), strict=True)
    assert all(np.allclose(a, b, atol=1e-2) for a, b in pairs)


# ---- files ----


@RECIPES
@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 3), (13, 17, 3), (9, 5, 1), (1, 1, 3)])
def test_a_picture_there_and_back(
    tmp_path: Path, home: Path, recipe: str, height: int, width: int, channels: int
) -> None:
    """The page's decoder, which knows docs/format.md alone, makes the same of the file."""
    [picture] = pictures(1, height, width)
    picture = picture if channels == 3 else picture[..., 0]
    iio.imwrite(tmp_path / "a.png", picture)
    arguments = ["compress", str(tmp_path / "a.png"), "--recipe", recipe, "--prior", recipe, "-q", "75", "--quiet"]
    assert cli.main(arguments) == 0
    assert cli.main(["decompress", str(tmp_path / "a.inrz"), "-o", str(tmp_path / "b.png"), "--quiet"]) == 0
    again = iio.imread(tmp_path / "b.png")
    assert again.shape == picture.shape
    error = np.mean((again.astype(float) - picture) ** 2)
    assert error < 0.1 * np.mean((picture - 128.0) ** 2) + 30
    with inrzip.Reader(tmp_path / "a.inrz") as reader:
        payload, values = reader.container.segment(0), reader.segment(0).render(Grid((height, width), 1).axes())
        assert np.array_equal(reader[0:1, -1:], reader[...][0:1, -1:])
    read = page_modulated.decode_image(payload, bytes_of(home, recipe), (height, width), channels)
    assert np.abs(read - values).max() < 1e-4


def test_every_curve_and_step(home: Path) -> None:
    """Large and small integers, at steps between levels and beyond them, as the page's decoder reads them."""
    rng = np.random.default_rng(0)
    for recipe in TINY:
        data = bytes_of(home, recipe)
        prior = modulation_prior.loads(data)
        with np.load(home / f"{recipe}.inrprior") as stored:
            page = dict(stored)
        for step in (0, 5, 21, 24, 60, 127):
            group = rng.integers(prior.n_classes)
            live = prior.scales_at(step)[group] >= 0
            integers = np.rint(rng.laplace(0, 30, TINY[recipe].n_latents)).astype(np.int64) * live
            config = ARCHITECTURES[recipe](latent_prior.identity(data), step)
            payload = encode_payload(config, prior, [Coded(group, integers)])
            decoded = decode_network(payload, config.number, Grid((8, 8), 3)).coded.integers
            assert np.array_equal(decoded[0], integers)
            _, at = page_combiner.varint(payload, 0)
            assert np.array_equal(page_modulated.decode_integers(payload[at + 1 :], page, step, 1), decoded)


@RECIPES
def test_sizes_and_qualities(tmp_path: Path, recipe: str) -> None:
    """A size is not exceeded; a quality is reached, or it is said that it is not."""
    iio.imwrite(tmp_path / "a.png", pictures(1, 16, 16)[0])
    found = []
    for goal in ({"target_size": 45}, {"target_size": 110}, {"target_psnr": 24}):
        report = inrzip.compress(
            tmp_path / "a.png", tmp_path / "a.inrz", recipe=recipe, prior=recipe, overwrite=True, **goal
        )
        found.append((report.bytes, report.quality["psnr_db"]))
    assert 20 < found[0][0] <= 45 and 50 < found[1][0] <= 110 and found[0][1] < found[1][1]
    assert 24 <= found[2][1] < 27
    with pytest.raises(InrzipError, match="cannot hold"):
        inrzip.compress(tmp_path / "a.png", tmp_path / "b.inrz", recipe=recipe, prior=recipe, target_size=18)


def test_a_prior_that_is_not_there(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    iio.imwrite(tmp_path / "a.png", pictures(1, 8, 8)[0])
    inrzip.compress(tmp_path / "a.png", recipe="vc-inr", prior="vc-inr")
    with pytest.raises(InrzipError, match="is for vc-inr and signals of kind image"):
        inrzip.compress(tmp_path / "a.png", tmp_path / "c.inrz", recipe="coin++", prior="vc-inr")
    with pytest.raises(InrzipError, match="it is no prior"):
        inrzip.compress(tmp_path / "a.png", tmp_path / "c.inrz", recipe="combiner", prior="vc-inr")
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(tmp_path))
    modulation_prior.find.cache_clear()
    assert cli.main(["decompress", str(tmp_path / "a.inrz"), "-o", str(tmp_path / "b.png")]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "which is not here; put its file" in told


@RECIPES
def test_damaged_payloads(home: Path, recipe: str) -> None:
    data = bytes_of(home, recipe)
    prior, name, architecture = modulation_prior.loads(data), latent_prior.identity(data), ARCHITECTURES[recipe]
    one, other = Grid((8, 8), 3), ARCHITECTURES["coin++" if recipe == "vc-inr" else "vc-inr"]
    integers = np.arange(TINY[recipe].n_latents) % 5
    good = encode_payload(architecture(name, 20), prior, [Coded(0, integers)])
    decode_network(good, architecture.number, one)
    large = encode_payload(architecture(name, 20), prior, [Coded(0, integers + (1 << 20))])
    bad = [
        (good[:6], one), (good + 9 * b"\1", one), (large, one), (good, Grid((8,), 3)),
        (good, Grid((1 << 20, 1 << 20), 3)),
    ]  # fmt: skip
    for payload, grid in bad:
        with pytest.raises(InrzipError):
            decode_network(payload, architecture.number, grid, 1 << 40)
    with pytest.raises(CorruptFile, match="another recipe"):
        decode_network(good, other.number, one)
    with pytest.raises(CorruptFile, match="not for this recipe"):
        decode_network(good, 27, one)
    with pytest.raises(InrzipError):
        decode_network(good, architecture.number, one, 1000)
    for fields in ({"prior": 1 << 28, "step": 0}, {"prior": name, "step": 128}):
        check_hostile_config(architecture, fields, (8, 8))


def test_a_collection_fitted_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_fitted_together(tmp_path, capsys, pictures(3, 10, 8), "vc-inr", "vc-inr")


@pytest.mark.parametrize(("recipe", "kind"), list(latent_prior.MODULATED))
def test_the_packages_priors(recipe: str, kind: str) -> None:
    """They are there, and small."""
    name, prior = modulation_prior.named(None, kind, recipe, recipe == "vc-inr")
    assert len(modulation_prior.dumps(prior)) < 1 << 19
    assert modulation_prior.find(name) is not None


def test_parts_of_large_images(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior of their own is learned from parts at about their scale, and taken where an image is large."""
    striped = np.zeros((96, 96, 3), np.float32)
    striped[:, ::2] = 1
    rng = np.random.default_rng(0)
    parts = [prior_training.part_of_image(striped, 8, rng).reshape(8, 8, 3) for _ in range(30)]
    assert sum(part.std() > 0.4 for part in parts) > 8  # at the scale of the picture: not made smaller
    monkeypatch.setitem(modulation_training.LAYOUTS, ("vc-inr", "image"), TINY["vc-inr"])
    how = ["--recipe", "vc-inr", "--large", "--patches", "100", "--rounds", "2", "--quiet"]
    assert cli.main(["train-prior", str(home / "media"), "-o", str(tmp_path / "a.inrprior"), *how]) == 0
    assert modulation_prior.loads((tmp_path / "a.inrprior").read_bytes()).n_classes > 8
    assert cli.main(["train-prior", str(home / "media"), "-o", "b", "--kind", "audio", *how]) == 1
    _, small = modulation_prior.named(None, "image", "vc-inr", True)
    _, large = modulation_prior.named(None, "image", "vc-inr", True, large=True)
    assert small.n_classes == 8 and large.n_classes == 16
