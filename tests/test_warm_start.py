"""`train-prior --start`: goes on from what is known, and refuses what it cannot go on from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import inrzip
from inrzip import cli, prior_training, warm_start
from inrzip.architectures.combiner_network import Shared
from inrzip.errors import InrzipError
from inrzip.prior_training import TrainReport
from inrzip.priors import latent_prior
from tests.test_combiner import TINY, learn_tiny

USUAL = prior_training.LAYOUTS["image"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learn_tiny(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True)
def tiny_networks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(folder))
    monkeypatch.setitem(prior_training.LAYOUTS, "image", TINY)


def cost(report: TrainReport) -> float:
    """What training makes smaller, as the report tells it: of each lambda, as a part of it."""
    errors = 10.0 ** (-np.array(report.psnr_db) / 10)
    return float(np.mean(np.log(errors + np.array(prior_training.LAMBDAS) * report.bits_per_point)))


def test_what_is_known_need_not_be_learned(tmp_path: Path, folder: Path) -> None:
    """Two rounds from a prior end better than two from nothing, on signals of the same kind."""
    fresh = inrzip.train_prior(folder / "media", tmp_path / "a.inrprior", patches=60, rounds=2, seed=5)
    warm = inrzip.train_prior(folder / "media", tmp_path / "b.inrprior", start="tiny", patches=60, rounds=2, seed=5)
    assert cost(warm) < cost(fresh) - 0.02


def test_the_network_is_the_priors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posteriors begin near what the encoder would find, whatever signals were multiplied by in training."""
    monkeypatch.setitem(prior_training.GAINS, "image", 4.0)
    _, prior = warm_start.prior_named("tiny", TINY, "image")
    targets = prior_training.training_patches(folder / "media", "image", TINY, 40, 1)
    larger = (0.5 + 4 * (targets - 0.5)).astype(np.float32)
    levels = prior_training.levels_of(TINY, larger)
    state = warm_start.begin_with(prior, TINY, larger, levels)
    values = np.asarray(TINY.evaluate(state.shared, state.posterior[0], np))
    assert np.mean((values - larger) ** 2) < 0.35 * np.mean((larger - 0.5) ** 2)
    assert isinstance(prior.shared, Shared) and isinstance(state.shared, Shared)
    plain = np.asarray(TINY.evaluate(prior.shared, state.posterior[0], np))
    assert np.allclose(values - 0.5, 4 * (plain - 0.5), atol=1e-4)


def test_a_killed_run_goes_on(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From where it was; not one that began elsewhere."""
    monkeypatch.setattr(prior_training, "SAVE_SECONDS", 0.0)

    def killed(report: inrzip.prior_training.Progress) -> None:
        if report.fraction >= 0.5:
            raise KeyboardInterrupt

    path = tmp_path / "a.inrprior"
    with pytest.raises(KeyboardInterrupt):
        inrzip.train_prior(folder / "media", path, start="tiny", patches=60, rounds=4, progress=killed)
    part = path.with_name(path.name + ".part").read_bytes()
    assert inrzip.train_prior(folder / "media", path, start="tiny", patches=60, rounds=4).resumed
    path.with_name(path.name + ".part").write_bytes(part)
    assert not inrzip.train_prior(folder / "media", path, patches=60, rounds=4, overwrite=True).resumed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--start", "nothing"], "there is no such prior"),
        (["--start", "package"], "has another network"),
        (["--start", "tiny", "--recipe", "siren"], "do not begin with another"),
        (["--start", "tiny", "--recipe", "vc-inr"], "do not begin with another"),
        (["--start", "tiny", "--kind", "audio"], "is for signals of kind image"),
    ],
)
def test_what_cannot_be_gone_on_from(
    tmp_path: Path, folder: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.inrprior"
    assert cli.main(["train-prior", str(folder / "media"), "-o", str(out), *options]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not out.exists()


def test_large_ones_begin_alone(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train-prior", str(folder / "media"), "-o", str(tmp_path / "a.inrprior"), "--large"]
    assert cli.main([*arguments, "--start", "tiny"]) == 2
    assert "--start" in capsys.readouterr().err


def test_the_packages_prior_can_be_gone_on_from() -> None:
    """Its network is the one that is trained now."""
    _, prior = warm_start.prior_named(warm_start.PACKAGE, USUAL, "image")
    assert prior.layout == USUAL and len(latent_prior.dumps(prior)) > 1000
    with pytest.raises(InrzipError, match="has another network"):
        warm_start.prior_named(warm_start.PACKAGE, TINY, "image")
