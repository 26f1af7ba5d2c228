"""Priors of the weights of any network of positions: trained, written, and what signals decode to with them."""

from __future__ import annotations

import io
from pathlib import Path

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inrzip
from inrzip import cli, posterior_goals, prior_training, weight_training
from inrzip.architectures import network_weights
from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import Patches
from inrzip.architectures.network_weights import WeightLayout
from inrzip.architectures.siren import SirenConfig
from inrzip.errors import InrzipError
from inrzip.posterior_payload import Decoder, latents_of
from inrzip.priors import latent_prior
from inrzip.priors.latent_prior import LatentPrior
from tests import page_backbones
from tests.test_combiner import TINY, pictures, write_pictures

SIDE = TINY.side


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with priors of weights of 8x8 patches, `siren` and `hash`."""
    folder = tmp_path_factory.mktemp("home")
    write_pictures(folder, 6, 24, 24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(prior_training.LAYOUTS, "image", TINY)
        patch.setitem(weight_training.WEIGHTS, "image", 150)
        patch.setattr(prior_training, "BITS", 10)
        patch.setattr(prior_training, "BLOCK_BITS", 9.6)
        patch.setenv(latent_prior.FOLDER_VARIABLE, str(folder))
        for recipe in ("siren", "hash"):
            arguments = ["train-prior", str(folder / "media"), "-o", recipe, "--recipe", recipe, "--quiet"]
            assert cli.main([*arguments, "--patches", "120", "--rounds", "40"]) == 0
    return folder


@pytest.fixture(autouse=True)
def priors_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(home))
    latent_prior.find.cache_clear()
    monkeypatch.setattr(posterior_goals, "STEPS", (200,) * 9)


def prior_of(home: Path, name: str) -> LatentPrior:
    data = (home / f"{name}.inrprior").read_bytes()
    prior = latent_prior.loads(data)
    assert isinstance(prior, LatentPrior) and latent_prior.dumps(prior) == data
    return prior


@pytest.mark.parametrize("recipe", ["siren", "hash"])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (30, 37)])
def test_there_and_back(tmp_path: Path, home: Path, recipe: str, height: int, width: int) -> None:
    """One patch, and many; better than nothing, and the better the more bytes there are."""
    [picture] = pictures(1, height, width)
    iio.imwrite(tmp_path / "a.png", picture)
    errors, sizes = [], []
    for quality in (30, 80):
        arguments = ["compress", str(tmp_path / "a.png"), "--recipe", "combiner", "--prior", recipe, "--quiet", "-f"]
        assert cli.main([*arguments, "-q", str(quality)]) == 0
        with inrzip.Reader(tmp_path / "a.inrz") as reader:
            errors.append(np.mean((reader[...].astype(float) - picture) ** 2))
            assert np.array_equal(reader[1:3, 2:5], reader[...][1:3, 2:5])
        sizes.append((tmp_path / "a.inrz").stat().st_size)
    assert sizes[0] < sizes[1] and errors[1] < errors[0] < np.mean((picture - 128.0) ** 2)
    assert inrzip.verify(tmp_path / "a.inrz")["intact"]


def test_a_siren_as_the_page_says(tmp_path: Path, home: Path) -> None:
    """Weights are those of the prior plus latents, and values those of that network."""
    [picture], prior = pictures(1, SIDE, SIDE), prior_of(home, "siren")
    iio.imwrite(tmp_path / "a.png", picture)
    inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", recipe="combiner", prior="siren", quality=80)
    with inrzip.Reader(tmp_path / "a.inrz") as reader:
        patches = reader.segment(0)
        assert isinstance(patches, Patches) and isinstance(patches.coded, Decoder)
        values = patches.render(Grid((SIDE, SIDE), 3).axes())
        latents = latents_of(prior, patches.coded._coded[0])
    assert latents.any()
    layout = prior.layout
    assert isinstance(layout, WeightLayout) and isinstance(layout.config, SirenConfig)
    ends = np.cumsum(layout.latent_counts())[:-1]
    pieces = np.split(np.asarray(prior.shared.weights, np.float64) + latents, ends)
    weights = [piece.reshape(shape) for piece, shape in zip(pieces, layout.shapes(), strict=True)]
    at = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1).reshape(-1, 2).astype(float)
    fields, scales = [layout.config.width, layout.config.depth], list(layout.config.scales)
    wanted = page_backbones.siren(fields, scales, weights, at, (SIDE, SIDE)).reshape(SIDE, SIDE, 3)
    assert np.abs(values - wanted).max() < 1e-4
    assert np.abs(patches.precise() - wanted).max() < 1e-6


def test_sums_that_are_drawn_have_the_weights_distribution() -> None:
    """Local reparameterisation: at each sample, mean and spread are those of networks of drawn weights."""
    layout = WeightLayout(SirenConfig(6, 1, (8, 8)), 2, 3, 4)
    shared, n, key = network_weights.start(layout, 0), 4000, jax.random.key(1)
    mean, deviation = jnp.zeros((n, layout.n_latents)), jnp.full((n, layout.n_latents), 0.05)
    drawn = layout.evaluate(shared, deviation * jax.random.normal(key, mean.shape), jnp)
    sums = layout.sampled(shared, mean, deviation, key)
    assert np.abs(drawn.mean(0) - sums.mean(0)).max() < 0.02
    assert np.abs(np.log(drawn.std(0) / sums.std(0))).max() < 0.1
    same = layout.sampled(shared, mean[:1], 0 * deviation[:1], key)
    assert np.abs(same - layout.evaluate(shared, mean[:1], jnp)).max() < 1e-4


@pytest.mark.parametrize(
    "recipe", ["finer", "wire", "gauss", "relu", "bacon", "poly", "finr", "doh", "pranc", "neurbf"]
)
def test_networks_whose_weights_can_be_latents(recipe: str) -> None:
    [layout] = weight_training.way_of(recipe, "image").layouts.values()
    values = layout.evaluate(network_weights.start(layout, 0), np.zeros((2, layout.n_latents), np.float32), np)
    assert values.shape == (2, 32 * 32, 3) and np.isfinite(values).all() and np.array_equal(values[0], values[1])


@pytest.mark.parametrize(("recipe", "kind"), [("hnerv", "video"), ("grid", "image"), ("nothing", "image")])
def test_others_are_refused(tmp_path: Path, recipe: str, kind: str) -> None:
    with pytest.raises(InrzipError, match=r"cannot be latents|does not exist"):
        inrzip.train_prior(tmp_path, tmp_path / "a.inrprior", kind, recipe=recipe)


def test_damaged_priors(home: Path) -> None:
    prior = prior_of(home, "siren")
    for change in ({"side": 300}, {"axes": 3}, {"config": SirenConfig(12, 3, (8, 8))}):
        layout = WeightLayout(**({"config": prior.layout.config, "axes": 2, "channels": 3, "side": SIDE} | change))
        damaged = LatentPrior(**(vars(prior) | {"layout": layout}))
        with pytest.raises(ValueError):
            latent_prior.loads(latent_prior.dumps(damaged)).check()


@pytest.mark.parametrize("network", [b"", b"\x63", b"\x01\x07", b"\x1b\x01", b"\x01\x07\x03\x02\x08\x08\x00"])
def test_networks_that_are_none(home: Path, network: bytes) -> None:
    """No bytes, an unknown architecture, too few, one of learned priors, too many."""
    with np.load(home / "siren.inrprior") as stored:
        arrays = {name: stored[name] for name in stored.files}
    out = io.BytesIO()
    np.savez(out, **(arrays | {"network": np.frombuffer(network, np.uint8)}))
    with pytest.raises((ValueError, InrzipError)):
        latent_prior.loads(out.getvalue())


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_and_a_size(tmp_path: Path, channels: int) -> None:
    """Planes of a network of three channels, to a size; and a part of what was cut short."""
    picture = np.concatenate([*pictures(2, 30, 37)], -1)[..., :channels]
    iio.imwrite(tmp_path / "a.png", picture if channels > 1 else picture[..., 0])
    how = {"recipe": "combiner", "prior": "siren", "overwrite": True}
    sizes = [inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", target_size=n, **how).bytes for n in (150, 500)]
    assert sizes[0] <= 150 < sizes[1] <= 500
    data = (tmp_path / "a.inrz").read_bytes()
    with inrzip.Reader(data[: len(data) // 2], partial=True) as reader:
        assert reader[...].shape == (picture.shape if channels > 1 else picture.shape[:2])


def test_a_run_of_another_recipe_is_not_gone_on_with(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is not gone on with, though its arrays have the same shapes."""
    monkeypatch.setitem(prior_training.LAYOUTS, "image", TINY)
    monkeypatch.setitem(weight_training.WEIGHTS, "image", 150)
    monkeypatch.setattr(prior_training, "SAVE_SECONDS", 0.0)
    how = {"patches": 60, "rounds": 3, "overwrite": True}

    def killed() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rounds = iter([False, True])
        inrzip.train_prior(
            home / "media", tmp_path / "a.inrprior", recipe="siren", stop=lambda: next(rounds) and killed(), **how
        )
    assert (tmp_path / "a.inrprior.part").exists()
    assert not inrzip.train_prior(home / "media", tmp_path / "a.inrprior", recipe="finer", **how).resumed


def test_a_prior_elsewhere(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is named by its path is known as long as the program runs; others are told what to do."""
    [picture] = pictures(1, 8, 8)
    iio.imwrite(tmp_path / "a.png", picture)
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(tmp_path / "none"))
    how = {"recipe": "combiner", "prior": str(home / "siren.inrprior"), "quality": 50}
    report = inrzip.compress(tmp_path / "a.png", tmp_path / "a.inrz", **how)
    assert report.bytes == (tmp_path / "a.inrz").stat().st_size
    monkeypatch.setattr(latent_prior, "_NAMED", {})
    latent_prior.find.cache_clear()
    with pytest.raises(InrzipError, match="is not here"):
        np.asarray(inrzip.Reader(tmp_path / "a.inrz"))
