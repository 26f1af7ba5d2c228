"""Contexts of modulations: curves that neighbours move, learned where there is something to learn, hostile priors."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest

from inrzip.architectures.base import Grid
from inrzip.architectures.modulated import VcinrConfig
from inrzip.architectures.modulated_network import Layout
from inrzip.context_counting import with_contexts
from inrzip.errors import CorruptFile
from inrzip.modulation_payload import Coded, curves_of, encode_payload
from inrzip.network import decode_network
from inrzip.priors import latent_prior, modulation_prior
from inrzip.priors.integer_tables import UNIT_TABLE, spread_256
from inrzip.priors.latent_context import LIMITS, REACH, Contexts, expected_256, ratios, shifted
from inrzip.priors.modulation_prior import ModulationPrior
from tests import page_combiner, page_modulated
from tests.test_modulated import TINY

LAYOUT: Layout = TINY["vc-inr"]
STEP = 28


@pytest.fixture(autouse=True)
def priors_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(latent_prior.FOLDER_VARIABLE, str(tmp_path))
    modulation_prior.find.cache_clear()


def prior_of(rng: np.random.Generator, classes: int = 2) -> ModulationPrior:
    """One of drawn numbers, whose latents become smaller from first to last."""
    from inrzip.architectures import modulated_network as network

    patches = rng.uniform(0, 1, (20, 64, 3)).astype(np.float32)
    shared, _ = network.start(LAYOUT, patches, 0)
    n = LAYOUT.n_latents
    scales = np.linspace(44, 26, n).astype(np.int64)[None, None] + 4 * np.arange(classes)[None, :, None]
    scales = scales + np.zeros((1, 1, 1), np.int64)
    scales[:, :, -1] = -1
    families = rng.integers(0, 2, (classes, n))
    return ModulationPrior(
        LAYOUT, shared, "image", np.array([STEP]), scales, families, np.arange(1, classes + 1),
        np.zeros(n, np.int64),
    )  # fmt: skip


def alike(rng: np.random.Generator, prior: ModulationPrior, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Integers whose magnitudes go together in a patch, and classes."""
    groups = rng.integers(0, prior.n_classes, count)
    usual = 2.0 ** ((curves_of(prior, STEP, groups) // 2 - UNIT_TABLE) / 4)
    strength = np.exp(rng.normal(0, 0.8, (count, 1)))
    integers = np.rint(rng.laplace(size=usual.shape) * usual * strength).astype(np.int64)
    integers[:, -1] = 0
    return integers, groups


def saved(prior: ModulationPrior, folder: Path) -> tuple[bytes, int]:
    data = modulation_prior.dumps(prior)
    (folder / "own.inrprior").write_bytes(data)
    modulation_prior.find.cache_clear()
    return data, latent_prior.identity(data)


def test_expected_magnitudes() -> None:
    """They are the means of the curves, which are near their scales where latents are not nearly always 0."""
    tables = np.arange(13, 61)
    assert np.allclose(expected_256(tables), 256 * 2.0 ** ((tables - UNIT_TABLE) / 4), rtol=0.2)
    assert (np.diff(expected_256(np.arange(61))) >= 0).all() and expected_256(np.array([5])) == spread_256(5)
    assert np.allclose(LIMITS, 2.0**16 * 2.0 ** ((2 * np.arange(1 - REACH, REACH + 1) - 1) / 4), rtol=1e-3)


def test_ratios() -> None:
    """Half octaves of what neighbours are over what they are expected to be."""
    contexts = Contexts(np.array([0, 1, 1]), np.zeros((3, 2), int), np.array([[0, 0], [9, 0], [0, 0]]), np.arange(17))
    curves = np.full((6, 3), 2 * (UNIT_TABLE + 16))  # 16 is expected
    integers = np.zeros((6, 3), np.int32)
    integers[:, 0] = [0, 8, 16, -32, 64, 30000]
    assert ratios(contexts, curves, integers, np.array([1, 2])).tolist() == [
        [0, 8], [6, 8], [8, 8], [10, 8], [12, 8], [16, 8]
    ]  # fmt: skip
    moved = shifted(dataclasses.replace(contexts, shifts=np.full(17, -50)), curves, integers, np.array([1]))
    assert (moved == 0).all()
    curves[:, 1] = -1
    assert (shifted(contexts, curves, integers, np.array([1])) == -1).all()


def test_files_are_smaller_where_magnitudes_go_together(tmp_path: Path) -> None:
    """By contexts that were learned from others; and the page's decoder finds the same integers."""
    rng = np.random.default_rng(0)
    plain = prior_of(rng)
    learned = with_contexts(plain, [alike(rng, plain, 600)])
    assert learned.contexts is not None
    shifts = learned.contexts.shifts
    assert shifts[0] < 0 < shifts[-1] and (np.diff(shifts) >= 0).all()
    integers, groups = alike(rng, plain, 12)
    coded = [Coded(int(group), own) for group, own in zip(groups, integers, strict=True)]
    sizes = []
    for prior in (plain, learned):
        data, name = saved(prior, tmp_path)
        payload = encode_payload(VcinrConfig(name, STEP), prior, coded)
        sizes.append(len(payload))
        found = decode_network(payload, VcinrConfig.number, Grid((24, 32), 3))
        assert np.array_equal(found.coded.integers, integers)  # type: ignore[attr-defined]
        with np.load(tmp_path / "own.inrprior") as stored:
            arrays = {key: stored[key] for key in stored.files}
        _, at = page_combiner.varint(payload, 0)
        _, at = page_combiner.varint(payload, at)
        assert np.array_equal(page_modulated.decode_integers(payload[at:], arrays, STEP, 12), integers)
        again = modulation_prior.loads(data)
        assert modulation_prior.dumps(again) == data
    assert sizes[1] < 0.97 * sizes[0]


def test_where_nothing_goes_together_little_changes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    plain = prior_of(rng)
    groups = rng.integers(0, 2, 600)
    usual = 2.0 ** ((curves_of(plain, STEP, groups) // 2 - UNIT_TABLE) / 4)
    integers = np.rint(rng.laplace(size=usual.shape) * usual).astype(np.int64)
    integers[:, -1] = 0
    learned = with_contexts(plain, [(integers, groups)])
    coded = [Coded(int(group), own) for group, own in zip(groups, integers, strict=True)]
    sizes = [len(encode_payload(VcinrConfig(1, STEP), prior, coded)) for prior in (plain, learned)]
    assert sizes[1] < 1.005 * sizes[0]


def test_damaged_payloads(tmp_path: Path) -> None:
    """They are refused, or decode to something; nothing else happens."""
    rng = np.random.default_rng(2)
    plain = prior_of(rng)
    prior = with_contexts(plain, [alike(rng, plain, 200)])
    _, name = saved(prior, tmp_path)
    integers, groups = alike(rng, plain, 4)
    coded = [Coded(int(group), own) for group, own in zip(groups, integers, strict=True)]
    payload = encode_payload(VcinrConfig(name, STEP), prior, coded)
    for _ in range(60):
        damaged = bytearray(payload)
        for _ in range(int(rng.integers(1, 4))):
            damaged[int(rng.integers(5, len(damaged)))] = int(rng.integers(256))
        try:
            found = decode_network(bytes(damaged), VcinrConfig.number, Grid((16, 16), 3))
        except CorruptFile:
            continue
        assert np.isfinite(found.coded.values([0, 3])).all()  # type: ignore[attr-defined]


def test_contexts_beyond_their_limits() -> None:
    """Each by one, where the rest is as it should be."""
    rng = np.random.default_rng(3)
    prior = with_contexts(prior_of(rng), [alike(rng, prior_of(rng), 100)])
    good = prior.contexts
    assert good is not None
    last = good.stages == good.stages.max()
    for change in (
        {"stages": np.where(last, 64, good.stages)},
        {"weights": np.where(good.weights == 255, 256, good.weights)},
    ):
        with pytest.raises(ValueError, match="fit together"):
            dataclasses.replace(good, **change).check(46)
    dataclasses.replace(good, stages=np.where(last, 63, good.stages)).check(46)


@pytest.mark.parametrize("number", [[3], [8, 8]])
def test_other_forms_of_priors(number: list[int]) -> None:
    """Of which nothing is known."""
    rng = np.random.default_rng(4)
    data = modulation_prior.dumps(with_contexts(prior_of(rng), [alike(rng, prior_of(rng), 50)]))
    with np.load(io.BytesIO(data)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["modulated"] = np.concatenate([arrays["modulated"][:7], number]).astype(np.uint16)
    out = io.BytesIO()
    np.savez(out, **arrays)
    with pytest.raises(ValueError, match="form that this version does not know"):
        modulation_prior.loads(out.getvalue())


@pytest.mark.parametrize(
    "change",
    [
        {"stages": np.zeros(46, int)},
        {"neighbours": np.full((46, 8), 46)},
        {"neighbours": np.zeros((46, 3), int)},
        {"weights": np.full((46, 8), 1)},
        {"shifts": np.zeros(16, int)},
    ],
)
def test_contexts_that_cannot_be(change: dict[str, np.ndarray]) -> None:
    rng = np.random.default_rng(3)
    plain = prior_of(rng)
    prior = with_contexts(plain, [alike(rng, plain, 100)])
    assert prior.contexts is not None
    prior.check()
    wrong = dataclasses.replace(prior, contexts=dataclasses.replace(prior.contexts, **change))
    with pytest.raises(ValueError, match="fit together"):
        wrong.check()
