"""Trees of networks: their formulas next to docs/format.md, any size, hostile configurations, whole files."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inrzip
from inrzip.architectures import tree
from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.tree import TILE, TreeConfig, tiles
from tests.common import check_architecture, check_hostile_config
from tests.page_stream import PAGE
from tests.page_tree import ACTIVATIONS, values
from tests.test_backbones import noisy

VAST = 2**40
VOLUME = {"backbone": 1, "levels": 2, "width": 5, "depth": 2, "scales": (8, 8, 8)}


@pytest.mark.parametrize(
    ("backbone", "grid", "levels"),
    [(1, Grid((11,), 2), 3), (6, Grid((9, 7), 3), 2), (7, Grid((3, 5, 4), 1), 2), (1, Grid((2, 3, 1, 5), 4), 3)],
)
def test_values_are_those_of_the_page(backbone: int, grid: Grid, levels: int) -> None:
    scales = (6, 8, 12, 8)[: len(grid.shape)]
    network = noisy(TreeConfig(backbone, levels, 4, 2, scales), grid)
    axes = tuple(np.linspace(-0.9, n - 0.2, n + 1) for n in grid.shape)
    positions = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))
    weights = [np.asarray(leaf, np.float64) for leaf in parameters(network)]
    expected = values([backbone, levels, 4, 2], list(scales), weights, positions, grid.shape)
    found = network.render(axes).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_limits() -> None:
    assert set(tree._KINDS) == set(ACTIVATIONS)
    assert f"1, 6 or 7; 1 to {tree.MAX_LEVELS}; 1 to {tree.MAX_WIDTH}; 1 to {tree.MAX_DEPTH} |" in PAGE
    assert f"at most {tree.MAX_BLOCKS}; as many as axes; one to four" in PAGE


@pytest.mark.parametrize("shape", [(1,), (997,), (1, 9), (11, 13), (5, 1, 7), (2, 3, 1, 4)])
def test_contract(shape: tuple[int, ...]) -> None:
    check_architecture(TreeConfig, shape)


@pytest.mark.parametrize("shape", [(3_000_000,), (40, 50), (1, 60, 70), (9, 8, 7, 6)])
def test_solve_comes_near(shape: tuple[int, ...]) -> None:
    grid = Grid(shape, 3)
    for asked in (1_000, 20_000, 300_000):
        config = TreeConfig.solve(grid, asked)
        config.check(grid)
        assert abs(config.n_parameters(grid) - asked) < 0.2 * asked
    chosen = TreeConfig.solve(grid, 5_000, levels=3, depth=1, backbone=6, scale=16)
    assert (chosen.levels, chosen.depth, chosen.backbone, set(chosen.scales)) == (3, 1, 6, {16})


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in ("levels", "width", "depth") for value in (0, VAST)),
        *({"backbone": number} for number in (0, 2, 9, VAST)),
        *({"scales": scales} for scales in ((), (8, 8), (8,) * 4)),
        {"levels": 8, "width": 256, "depth": 8},
    ],
)
def test_hostile(change: dict) -> None:
    check_hostile_config(TreeConfig, VOLUME | change, (200, 200, 200))


@pytest.mark.parametrize(("n_points", "n_leaves"), [(1, 1), (5, 100), (200, 3), (3 * TILE, 1)])
def test_tiles_hold_points_of_one_leaf(n_points: int, n_leaves: int) -> None:
    leaf = np.random.default_rng(0).integers(0, n_leaves, n_points).astype(np.int32)
    slots, of_tile = map(np.asarray, tiles(jnp.asarray(leaf), n_leaves))
    assert len(set(slots.tolist())) == n_points
    np.testing.assert_array_equal(of_tile[slots // TILE], leaf)


def test_blocks_have_networks_of_their_own() -> None:
    """What one block of the last level is changed to, no other block shows."""
    grid = Grid((8, 6), 1)
    config = TreeConfig(1, 3, 4, 1, (8, 8))
    network = config.build(grid, jax.random.key(0))
    before = network.render(grid.axes())
    changed = eqx.tree_at(lambda n: n.layers[-1][1], network, network.layers[-1][1].at[5].add(1.0))
    differs = np.abs(changed.render(grid.axes()) - before)[..., 0] > 0.5
    assert config.blocks(2, grid) == (4, 3)
    np.testing.assert_array_equal(np.argwhere(differs), [[2, 4], [2, 5], [3, 4], [3, 5]])


def test_a_file(quick: None) -> None:
    waves = sum(np.sin(place) for place in np.meshgrid(*map(np.arange, (9, 9, 8)), indexing="ij"))
    samples = np.rint(100 + 30 * waves).astype(np.int16)
    found = inrzip.fit(samples, "tree", kind="volume", target_size=900, effort=1)
    assert found.n_bytes == len(found.data) <= 900
    with inrzip.open(found.data) as reader:
        decoded = reader[...].reshape(samples.shape)
    assert np.std(decoded - samples.astype(float)) < 0.7 * np.std(samples)
