"""Networks of positions next to docs/format.md: its numbers, its random words, and the values that it describes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrzip.architectures import backbones, pointwise
from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.counted_random import BELL_SCALE, bell_array, traced_places, words
from inrzip.examples import GridPoints
from inrzip.fitting import Schedule, fit
from inrzip.network import dequantise_network
from inrzip.recipes import ARCHITECTURES, RECIPES
from tests import page_backbones
from tests.common import picture, uniform_tensors
from tests.page_backbones import VALUES
from tests.page_stream import PAGE

GRIDS = [Grid((1,), 1), Grid((1700,), 2), Grid((13, 8), 3), Grid((3, 5, 4), 1), Grid((2, 3, 2, 3), 4)]
STEP_INDEX = 200
"""A step of 2^-7."""


def noisy(config: Any, grid: Grid) -> Any:
    """A network that has just begun, in integers, none of its parameters 0."""
    rng = np.random.default_rng(1)
    start = config.build(grid, jax.random.key(2))
    integers = [np.rint(np.asarray(a) * 128 + rng.normal(0, 6, a.shape)).astype(np.int32) for a in parameters(start)]
    return dequantise_network(start, uniform_tensors(integers, [STEP_INDEX] * len(integers)))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("number", VALUES)
def test_values_are_those_of_the_page(number: int, grid: Grid) -> None:
    for width, depth in ((9, 3), (4, 1)):
        scales = tuple((6, 8, 3, 5)[: len(grid.shape)])
        network = noisy(ARCHITECTURES[number](width, depth, scales), grid)
        axes = tuple(np.linspace(-0.5, n - 0.5, 7) if n > 1000 else np.arange(n) for n in grid.shape)
        positions = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
        weights = [np.asarray(leaf, np.float64) for leaf in parameters(network)]
        expected = VALUES[number]([width, depth], list(scales), weights, positions, grid.shape)
        assert expected.std() > 0.01 or len(positions) == 1
        np.testing.assert_allclose(network.render(axes).reshape(expected.shape), expected, atol=1e-4, rtol=1e-5)


def test_limits() -> None:
    assert f"BACON: scales | at most {pointwise.SCALE_UNIT} |" in PAGE
    assert f"min(ceil(n_d s_d / (16 (depth + 1))), {backbones.MAX_TURNS})" in PAGE


def test_counted_random_numbers() -> None:
    """Those of the page, by NumPy and inside a compiled program; nearly normal, and alike for no two seeds."""
    numbers = np.arange(2000, dtype=np.uint32) * np.uint32(2_147_483)
    for seed in (0, 1, 2**32 - 1):
        expected = [page_backbones.word(seed, int(i)) for i in numbers]
        assert np.asarray(words(seed, numbers)).tolist() == expected
        assert np.asarray(jax.jit(lambda x, seed=seed: words(seed, x))(jnp.asarray(numbers))).tolist() == expected
    drawn = bell_array(7, (300, 100))
    np.testing.assert_array_equal(drawn[2, :5], [page_backbones.bell(7, i) for i in range(200, 205)])
    np.testing.assert_array_equal(bell_array(7, (5,), 200), drawn[2, :5])
    assert abs(drawn.std() / BELL_SCALE - 1) < 0.01 and abs(drawn.mean()) < 2
    assert abs(np.corrcoef(drawn.ravel(), bell_array(8, (300, 100)).ravel())[0, 1]) < 0.02
    assert np.asarray(traced_places(5, 3)).tolist() == [5, 6, 7]


def test_bacon_is_band_limited() -> None:
    """Of half the band, what is above the middle of the spectrum is nothing."""
    network = noisy(backbones.BaconConfig(20, 2, (4,)), Grid((256,), 1))
    spectrum = np.abs(np.fft.rfft(network.render(network.grid.axes())[:, 0]))
    assert spectrum[67:].max() < 1e-5 * spectrum.max()
    assert spectrum[40:67].max() > 1e-3 * spectrum.max()


@pytest.mark.parametrize("name", [r.name for r in RECIPES.values() if r.architecture.number in VALUES])
def test_recipes_fit(name: str) -> None:
    """Some hundred steps of each recipe describe a picture better than its mean does."""
    recipe, pixels = RECIPES[name], picture(20, 24, 3)
    grid = Grid(pixels.shape[:2], 3)
    config = recipe.architecture.solve(grid, 2500)
    network = config.build(grid, jax.random.key(0))
    schedule = Schedule(150, config.learning_rate(recipe.peak, 150))
    fitted = fit(network, GridPoints(pixels, 0, 255, recipe.batch_size), schedule)
    errors = fitted.render(grid.axes()) - pixels / 255
    assert np.mean(errors**2) < 0.3 * np.var(pixels / 255)
