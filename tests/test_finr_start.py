"""Decomposed tensors that begin at the samples: the decompositions, the spans of every backbone, and what fits keep."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrzip.architectures import finr_start
from inrzip.architectures.base import Grid
from inrzip.architectures.finr import FinrConfig, Mode
from inrzip.architectures.finr_start import canonical, span, thinned, train, tucker, with_factors
from inrzip.architectures.nesting import BACKBONES
from inrzip.examples import SubGrids
from inrzip.fitting import Schedule, fit

RNG = np.random.default_rng(0)


def test_exact_decompositions() -> None:
    """Arrays that have the form are found again, and ranks beyond what an axis has change nothing."""
    factors = [RNG.normal(size=(n, 2)) for n in (7, 5, 6, 3)]
    core = np.einsum("ir,jr,kr,cr->ijkc", *factors)
    found, head = canonical(core, 4)
    np.testing.assert_allclose(np.einsum("ir,jr,kr,cr->ijkc", *found, head), core, atol=0.02 * np.abs(core).max())
    for rank in (2, 9):
        found, inner = tucker(core, rank)
        np.testing.assert_allclose(np.einsum("ir,js,kt,crst->ijkc", *found, inner), core, atol=1e-9)
        first, second, third = train(core, rank)
        assert first.shape == (7, 1, rank) and second.shape == (5, rank, rank) and third.shape == (6, rank, 3)
        np.testing.assert_allclose(np.einsum("iar,jrs,ksc->ijkc", first, second, third), core, atol=1e-9)


@pytest.mark.parametrize("number", BACKBONES)
def test_the_span_is_what_the_last_layer_makes(number: int) -> None:
    grid = Grid((40,), 3)
    network = BACKBONES[number].solve(grid, 0, width=5, depth=2).build(grid, jax.random.key(0))
    within = span(network, grid.axes()[0])
    np.testing.assert_allclose(within.basis.T @ within.basis, np.eye(within.basis.shape[1]), atol=1e-6)
    factors = RNG.normal(size=(within.basis.shape[1], 3))
    made = with_factors(network, within, factors).predict(jnp.arange(40, dtype=jnp.float32)[:, None])
    np.testing.assert_allclose(np.asarray(made) - 0.5, within.basis @ factors, atol=2e-3 * np.abs(factors).max())


def test_large_signals_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finr_start, "MOST_VALUES", 1000)
    seen = thinned((100, 20, 3), 2)
    assert np.empty((100, 20, 3))[seen].size * 2 <= 1000
    assert thinned((5, 5), 3) == (slice(None, None, 1),) * 2


@pytest.mark.parametrize("mode", Mode)
def test_fits_begin_at_the_samples_and_end_no_worse(mode: Mode) -> None:
    shape = (12, 1, 9, 10) if mode == Mode.TRAIN else (12, 9, 10)
    places = np.meshgrid(*[np.linspace(0, 2, n) for n in shape], indexing="ij")
    samples = np.rint(120 + 90 * np.stack([np.sin(sum(places)), np.cos(places[0] * places[2])], -1)).astype(np.uint8)
    grid = Grid(shape, 2)
    built = FinrConfig.solve(grid, 3_000, mode=mode, width=16).build(grid, jax.random.key(0))
    placed = built.placed(samples, 0, 255)

    def error(module) -> float:
        return float(np.mean((module.render(grid.axes()) - samples / 255) ** 2))

    assert error(placed) < 0.01 * np.var(samples / 255) < error(built)
    assert built.placed(None, 0, 255) is built
    narrow = FinrConfig.solve(grid, 3_000, mode=mode, width=8).build(grid, jax.random.key(0))
    assert narrow.placed(samples, 0, 255) is narrow
    examples = SubGrids(samples, 0, 255, 1 << 15)
    assert error(fit(placed, examples, Schedule(8, 0.1, error(placed)))) <= 1.01 * error(placed)
