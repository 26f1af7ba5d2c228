"""`train-prior --meta`: descent that can be learned through, priors that come of it, and what is counted in the end."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inrzip
from inrzip import cli, meta_training, modulation_fit, modulation_training, prior_training
from inrzip.architectures import modulated_network as network
from inrzip.architectures.modulated_network import Layout
from inrzip.modulation_payload import encode_payload
from inrzip.priors import latent_prior, modulation_prior
from tests.test_combiner import pictures, write_pictures
from tests.test_modulated import ARCHITECTURES, RECIPES, TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_pictures(home, 6, 24, 24)
    return home


@pytest.fixture(autouse=True)
def tiny_networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(folder))
    modulation_prior.find.cache_clear()
    for recipe, layout in TINY.items():
        monkeypatch.setitem(modulation_training.LAYOUTS, (recipe, "image"), layout)


def patches(folder: Path, layout: Layout, count: int = 64) -> np.ndarray:
    return prior_training.training_patches(folder / "media", "image", layout, count, 3)


@RECIPES
def test_descent_comes_near_in_three_steps(folder: Path, recipe: str) -> None:
    """As near, nearly, as the latents that the network begins with."""
    layout = TINY[recipe]
    targets = patches(folder, layout)
    shared, latents = network.start(layout, targets, 0)
    state = meta_training.begin(layout, shared, latents, np.zeros(len(targets), np.int64))
    found = meta_training.found_latents(layout, state.shared, state.rates, jnp.asarray(targets))
    errors = [
        float(np.square(np.asarray(network.evaluate(layout, shared, np.asarray(each), np)) - targets).mean())
        for each in (np.zeros_like(latents), latents, found)
    ]
    assert errors[2] < errors[1] + 0.05 * errors[0]


@RECIPES
def test_the_gradient_goes_through_the_steps(folder: Path, recipe: str) -> None:
    """It says what the squared error after all inner steps becomes where the network is a little different."""
    layout = TINY[recipe]
    targets = jnp.asarray(patches(folder, layout))
    shared, latents = network.start(layout, np.asarray(targets), 0)
    state = meta_training.begin(layout, shared, latents, np.zeros(len(targets), np.int64))

    def error(shared: network.Shared, rates: jax.Array) -> jax.Array:
        found = meta_training.found_latents(layout, shared, rates, targets)
        return jnp.sum((network.evaluate(layout, shared, found, jnp) - targets) ** 2)

    before, (by_shared, by_rates) = jax.jit(jax.value_and_grad(error, (0, 1)))(state.shared, state.rates)
    flat, structure = jax.tree.flatten((state.shared, state.rates))
    slopes = jax.tree.leaves((by_shared, by_rates))
    rng = np.random.default_rng(0)
    sizes = [np.sqrt(np.mean(np.square(np.asarray(leaf)))) + 1e-3 for leaf in flat]
    step = [2e-4 * size * rng.normal(size=leaf.shape) for leaf, size in zip(flat, sizes, strict=True)]
    step = [s * np.sign((s * np.asarray(g)).sum()) for s, g in zip(step, slopes, strict=True)]  # all of one sign
    predicted = sum(float((s * np.asarray(g)).sum()) for s, g in zip(step, slopes, strict=True))
    moved = jax.tree.unflatten(structure, [jnp.asarray(f + s, jnp.float32) for f, s in zip(flat, step, strict=True)])
    changed = float(error(*moved)) - float(before)
    assert abs(changed - predicted) < 0.15 * abs(predicted)


@RECIPES
def test_a_prior_that_was_meta_learned(folder: Path, tmp_path: Path, recipe: str) -> None:
    """It is made by the command, codes pictures that it has not seen, and costs less than where training began."""
    how = ["--recipe", recipe, "--meta", "--patches", "128", "--quiet", "-f"]
    losses = []
    for rounds in ("1", "40"):
        assert cli.main(["train-prior", str(folder / "media"), "-o", "meta", "--rounds", rounds, *how]) == 0
        prior = modulation_prior.loads((folder / "meta.inrprior").read_bytes())
        picture = pictures(9, 8, 8)[8]
        iio.imwrite(tmp_path / "a.png", picture)
        arguments = ["--recipe", recipe, "--prior", "meta", "--quiet", "-f", "-q", "50"]
        assert cli.main(["compress", str(tmp_path / "a.png"), *arguments]) == 0
        assert cli.main(["decompress", str(tmp_path / "a.inrz"), "-o", str(tmp_path / "b.png"), "--quiet", "-f"]) == 0
        error = np.mean((iio.imread(tmp_path / "b.png").astype(float) - picture) ** 2)
        assert error < 0.2 * np.mean((picture - 128.0) ** 2) + 30
        losses.append(payload_cost(folder, prior, recipe))
    assert losses[1] < losses[0]


def payload_cost(folder: Path, prior: modulation_prior.ModulationPrior, recipe: str) -> float:
    """Bits of real payloads, and squared error in bits that are worth it at some steps."""
    return sum(_cost_at(patches(folder, prior.layout, 96), prior, recipe, step) for step in (21, 28, 35))


def _cost_at(targets: np.ndarray, prior: modulation_prior.ModulationPrior, recipe: str, step: int) -> float:
    coded = modulation_fit.encode_patches(
        prior, targets, np.ones(targets.shape[:2], np.float32), step, 16, lambda done, remark: False
    )
    size = modulation_prior.step_size(step)
    latents = np.stack([each.integers for each in coded]).astype(np.float32) * np.float32(size)
    errors = np.square(network.evaluate(prior.layout, prior.shared, latents, np) - targets).sum()
    config = ARCHITECTURES[recipe](1, step)
    return float(errors / modulation_fit.lambda_of(size)) + 8 * len(encode_payload(config, prior, coded))


def test_what_is_counted_is_what_files_hold(folder: Path) -> None:
    """Tables that are counted in what the prior itself codes make that cheaper than those of training do."""
    layout = TINY["vc-inr"]
    targets = patches(folder, layout, 200)
    shared, latents = network.start(layout, targets, 0)
    classes = modulation_training.sorted_by_activity(latents, 2)
    first = modulation_training.finished(layout, "image", shared, latents, classes)
    told: list[float] = []
    again = modulation_training.recounted(first, targets, told.append)
    assert payload_cost(folder, again, "vc-inr") < payload_cost(folder, first, "vc-inr")
    assert told == sorted(told) and told[-1] == 1


def test_a_killed_run_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where it was; a run of the other way does not go on from it."""
    monkeypatch.setattr(modulation_training, "SAVE_SECONDS", 0.0)

    def killed(report: inrzip.prior_training.Progress) -> None:
        if report.stage == "training" and report.fraction > 0.6:
            raise RuntimeError

    path, media = tmp_path / "a.inrprior", folder / "media"
    with pytest.raises(RuntimeError):
        inrzip.train_prior(media, path, recipe="vc-inr", meta=True, patches=64, rounds=4, progress=killed)
    part = path.with_name(path.name + ".part").read_bytes()
    assert inrzip.train_prior(media, path, recipe="vc-inr", meta=True, patches=64, rounds=4).resumed
    path.with_name(path.name + ".part").write_bytes(part)
    assert not inrzip.train_prior(media, path, recipe="vc-inr", patches=64, rounds=4, overwrite=True).resumed


@pytest.mark.parametrize(
    ("options", "status"),
    [(["--recipe", "combiner"], 1), (["--recipe", "siren"], 1), (["--large"], 2)],
)
def test_what_is_not_meta_learned(
    folder: Path, tmp_path: Path, options: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.inrprior"
    assert cli.main(["train-prior", str(folder / "media"), "-o", str(out), "--meta", *options]) == status
    assert "meta" in capsys.readouterr().err and not out.exists()
