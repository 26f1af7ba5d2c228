"""F-INR: its formulas next to docs/format.md, fits on sub-grids, and every backbone inside."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inrzip
from inrzip.architectures import finr
from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.finr import FinrConfig, Mode
from inrzip.architectures.nesting import BACKBONES
from inrzip.examples import SubGrids
from inrzip.fitting import Schedule, fit
from inrzip.sensitivity import sensitivities
from tests.common import check_architecture, check_hostile_config, picture, slow
from tests.page_finr import values
from tests.page_stream import PAGE
from tests.test_backbones import noisy

GRIDS = [Grid((11,), 2), Grid((9, 7), 3), Grid((3, 5, 4), 1), Grid((2, 3, 2, 3), 4)]
SOUND = {"mode": 1, "rank": 4, "inner": (1, 5, 2, 3, 8, 8, 8)}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("number", [1, 8, *(slow(number) for number in BACKBONES if number not in (1, 8))])
def test_values_are_those_of_the_page(number: int, mode: Mode, grid: Grid) -> None:
    n_axes = len(grid.shape)
    inner = [number, 5, 2, n_axes, *(6, 8, 3, 5)[:n_axes]]
    network = noisy(FinrConfig(mode, 3, tuple(inner)), grid)
    axes = tuple(np.linspace(-0.5, n - 0.5, n) for n in grid.shape)
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, n_axes)
    weights = [np.asarray(leaf, np.float64) for leaf in parameters(network)]
    expected = values([mode, 3], inner, weights, positions, grid.shape, grid.channels)
    size = np.abs(expected).max()
    rendered = network.render(axes).reshape(expected.shape)
    np.testing.assert_allclose(rendered, expected, atol=1e-4 * max(1, size))
    np.testing.assert_allclose(network.predict(jnp.asarray(positions, jnp.float32)), rendered, atol=1e-5 * max(1, size))


def test_limits() -> None:
    assert f"1 to {len(Mode)}; 1 to {finr.MAX_RANK}; at most {finr.MAX_CORE};" in PAGE
    assert f"f_k = {finr.FACTOR_GAIN:g} (v_k - 1/2)" in PAGE


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("shape", [(1,), (13,), (1, 9), (11, 13), (5, 7, 3), (2, 3, 1, 4)])
def test_every_mode_keeps_the_contract(mode: Mode, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finr, "VALUES_AT_ONCE", 100)  # so that grids are rendered in pieces

    class Chosen(FinrConfig):
        @classmethod
        def solve(cls, grid, n_parameters, **settings):
            return FinrConfig.solve(grid, n_parameters, mode=mode, **settings)

    check_architecture(Chosen, shape)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("shape", [(400,), (30, 40), (6, 20, 30), (3, 8, 9, 10)])
def test_solve_comes_near(mode: Mode, shape: tuple[int, ...]) -> None:
    grid = Grid(shape, 3)
    for asked in (600, 5_000, 40_000):
        config = FinrConfig.solve(grid, asked, mode=mode)
        config.check(grid)
        assert abs(config.n_parameters(grid) - asked) < 0.35 * asked


def test_settings() -> None:
    grid = Grid((30, 40), 3)
    config = FinrConfig.solve(grid, 5_000, mode=3, rank=7, backbone=8, width=9, depth=3, scale=16)
    assert config == FinrConfig(3, 7, (8, 9, 3, 2, 16, 16))
    assert FinrConfig.solve(grid, 5_000, rank=50).n_parameters(grid) < 6_000
    for wrong in ({"mode": 4}, {"backbone": 2}, {"backbone": 99}):
        with pytest.raises(ValueError, match=r"4|2|99"):
            FinrConfig.solve(grid, 5_000, **wrong)


@pytest.mark.parametrize(
    "change",
    [
        *({"mode": mode} for mode in (0, 4, 2**40)),
        *({"rank": rank} for rank in (0, 2**11, 2**40)),
        {"mode": 3, "rank": 1024},
        *({"inner": inner} for inner in ((), (1,), (4, 5, 2, 3, 8, 8, 8), (99, 5, 2, 3, 8, 8, 8))),
        {"inner": (1, 5, 2, 3, 8, 8)},
        {"inner": (1, 5, 2, 2, 8, 8)},
        {"inner": (1, 5, 2, 3, 8, 8, 8, 8)},
        {"inner": (1, 5, 2, 2**40, 8, 8, 8)},
        {"inner": (1, 2**40, 2, 3, 8, 8, 8)},
        {"inner": (1, 5, 0, 3, 8, 8, 8)},
        {"inner": (9, 5, 2, 3, 8, 9, 8)},
        {"mode": 2, "rank": 1024, "inner": (1, 4096, 64, 3, 8, 8, 8)},
    ],
)
def test_hostile(change: dict) -> None:
    check_hostile_config(FinrConfig, SOUND | change, (5, 6, 7))


@pytest.mark.parametrize("shape", [(1,), (5000,), (1, 9), (40, 50), (3, 1, 17), (2, 30, 40), (3, 4, 5, 6)])
@pytest.mark.parametrize("wanted", [1, 500, 10**6])
def test_sub_grids(shape: tuple[int, ...], wanted: int) -> None:
    """Targets are the samples at the positions; sub-grids have about the size asked for; every sample has its turn."""
    samples = np.arange(math.prod(shape) * 2, dtype=np.uint16).reshape(*shape, 2)
    examples = SubGrids(samples, 0, 1, wanted)
    seen = np.zeros(shape, bool)
    for step in range(30):
        inputs, targets = examples.batch(jax.random.key(step), jnp.int32(step))
        assert inputs.shape == (sum(targets.shape[:-1]),)
        places = np.split(np.asarray(inputs).astype(int), np.cumsum(targets.shape[:-2]))
        assert all((np.diff(place) >= 0).all() for place in places)
        np.testing.assert_array_equal(targets, samples[np.ix_(*places)])
        seen[np.ix_(*places)] = True
    size = min(wanted, math.prod(shape))
    assert 0.5 * size <= math.prod(targets.shape[:-1]) <= max(2 * size, 2 ** len(shape))
    assert seen.all() or wanted < math.prod(shape) / 2


def test_fits_on_sub_grids_equal_the_function() -> None:
    """What training sees is what decoding makes, for every mode; and the mean gradient of sub-grids is that of all."""
    samples = picture(12, 10, 2).reshape(4, 3, 10, 2)
    grid = Grid((4, 3, 10), 2)
    for mode in Mode:
        network = FinrConfig.solve(grid, 900, mode=mode).build(grid, jax.random.key(0))
        inputs, targets = SubGrids(samples, 0, 255, 60).batch(jax.random.key(1), jnp.int32(0))
        axes = np.split(np.asarray(inputs), np.cumsum(targets.shape[:-2]))
        np.testing.assert_allclose(network.predict_training(inputs, targets), network.render(tuple(axes)), atol=1e-5)
        positions = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        flat = network.predict_training(jnp.asarray(positions), targets.reshape(-1, 2))
        np.testing.assert_allclose(flat, network.render(tuple(axes)).reshape(-1, 2), atol=1e-5)


@pytest.mark.parametrize("mode", Mode)
def test_every_mode_fits(mode: Mode) -> None:
    pixels = picture(20, 24, 3)
    grid = Grid((20, 24), 3)
    network = FinrConfig.solve(grid, 1500, mode=mode).build(grid, jax.random.key(0))
    examples = SubGrids(pixels, 0, 255, 300)
    fitted = fit(network, examples, Schedule(300, 3e-3))
    assert np.mean((fitted.render(grid.axes()) - pixels / 255) ** 2) < 0.02 * np.var(pixels / 255)
    assert all(s > 0 for s in sensitivities(fitted, examples))


@pytest.mark.parametrize(("kind", "shape"), [("image", (16, 12)), ("volume", (5, 9, 8)), ("audio", (900,))])
def test_files(kind: str, shape: tuple[int, ...], quick: None) -> None:
    """Whole files of each kind, no larger than asked for, and like what they are of."""
    waves = sum(np.sin(place * 9 / max(shape)) for place in np.meshgrid(*map(np.arange, shape), indexing="ij"))
    samples = np.rint(100 + 30 * waves).astype(np.uint8 if kind == "image" else np.int16)
    found = inrzip.fit(samples, "finr", kind=kind, target_size=900, effort=1)
    assert found.n_bytes == len(found.data) <= 900
    with inrzip.open(found.data) as reader:
        decoded = reader[...].reshape(shape)
    assert np.std(decoded - samples.astype(float)) < 0.7 * np.std(samples)
