"""D'OH and PRANC: the same random arrays everywhere, gradients through arrays that are not stored, and the page."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inrzip.architectures import random_bases
from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.nesting import BACKBONES, nested
from inrzip.architectures.random_bases import normal_numbers, project, shuffled, sign_words, signs, spread
from inrzip.architectures.random_networks import CENTRED, MAX_COEFFICIENTS, MAX_SEED, DohConfig, PrancConfig
from inrzip.architectures.siren import SirenConfig
from tests import page_random
from tests.common import check_architecture, check_hostile_config, picture, slow
from tests.page_stream import PAGE

SIZES = [(1, 1), (7, 3), (33, 5), (64, 40), (100, 1)]
VAST = 2**40
PINNED_WORDS = ["0x25abc15e", "0x4a0d2a68", "0x60de3b0a"]
PINNED_SIGNS = [[1, 1, -1], [1, -1, 1], [1, -1, 1], [-1, -1, 1]]
PINNED_BELLS = [116, -65, 28, 147]
PINNED_ORDER = [6, 3, 0, 7, 1, 2, 5, 4]
SMALL = nested(SirenConfig(4, 2, (8, 8)))


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("compiled", [False, True])
def test_signs_are_those_of_the_page(rows: int, columns: int, compiled: bool) -> None:
    groups = -(-rows // 32)
    make = jax.jit(signs, static_argnums=(0, 2, 3)) if compiled else signs
    for seed, first in ((0, 0), (7, 12345), (2**32 - 1, 2**32 - 3)):
        if first + sign_words(rows, columns) <= 2**32:
            expected = page_random.signs(seed, first, rows, columns)
            np.testing.assert_array_equal(make(seed, jnp.uint32(first), groups, columns)[:rows], expected)


def test_pinned_numbers() -> None:
    """Files depend on these."""
    assert [hex(page_random.word(s, p)) for s, p in ((0, 0), (1, 0), (5, 2**32 - 1))] == PINNED_WORDS
    np.testing.assert_array_equal(signs(1, 0, 1, 3)[:4], PINNED_SIGNS)
    assert np.rint(normal_numbers(8, 4) * np.sqrt(21845)).tolist() == PINNED_BELLS
    assert shuffled(2, 8).tolist() == PINNED_ORDER


def test_numpy_makes_the_same_numbers() -> None:
    from inrzip.architectures.counted_random import bell_array, words

    places = np.arange(999, dtype=np.uint32)
    with np.errstate(over="ignore"):
        drawn = words(6, places)
        np.testing.assert_array_equal(drawn, jax.jit(lambda p: words(6, p))(places))
        exact = bell_array(4, (999,))
    np.testing.assert_array_equal(np.rint(normal_numbers(4, 999) * np.sqrt(21845)), exact)
    np.testing.assert_array_equal(shuffled(6, 999), np.argsort(drawn, kind="stable"))


@pytest.mark.parametrize("block", [1, 64, 1000, 1 << 18])
@pytest.mark.parametrize(("rows", "columns"), [*SIZES, (1000, 77)])
def test_projection_and_its_gradient(rows: int, columns: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, whatever their size, make one matrix; the gradient is that of its transpose."""
    monkeypatch.setattr(random_bases, "BLOCK_SIGNS", block)
    matrix = np.asarray(signs(3, 40, -(-rows // 32), columns))[:rows]
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=columns).astype("f4"), rng.normal(size=rows).astype("f4")
    made, pull_back = jax.vjp(lambda v: project(3, 40, rows, v), values)
    np.testing.assert_allclose(made, matrix @ values, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(pull_back(jnp.asarray(weights))[0], weights @ matrix, rtol=1e-4, atol=1e-4)


def test_projection_needs_little_memory() -> None:
    """Of 2^30 signs, forward and backward, only blocks exist."""
    from inrzip.network import _largest_step

    gradient = jax.grad(lambda v: jnp.sum(project(0, 0, 1 << 17, v) ** 2))
    traced = jax.make_jaxpr(gradient)(jnp.zeros(1 << 13))
    assert _largest_step(traced.jaxpr) < 8 << 20


@pytest.mark.parametrize("terms", [1, 3])
def test_shared_coefficients_are_used_evenly(terms: int) -> None:
    ones = jax.jacobian(lambda v: spread(1, 2, 100, terms, v))(jnp.zeros(7))
    used = np.abs(np.asarray(ones)).sum(0)
    assert used.sum() <= 100 * terms  # a value that is added and taken away in one sum counts nothing
    if terms == 1:
        assert set(used.tolist()) == {14.0, 15.0}


CONFIGS = [
    *(DohConfig(9, 5, form, SMALL) for form in range(3)),
    *(PrancConfig(20, 6, terms, SMALL) for terms in (0, 1, 3)),
]


def random_module(config: Any, grid: Grid) -> Any:
    module = config.build(grid, jax.random.key(0))
    leaves, treedef = jax.tree.flatten(module)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [leaf + 0.1 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(treedef, moved)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_page_evaluates_the_same(config: Any) -> None:
    grid = Grid((5, 7), 3)
    module = random_module(config, grid)
    fields = [getattr(config, name) for name, is_tuple in config.field_is_tuple().items() if not is_tuple]
    tensors = [np.asarray(array) for array in parameters(module)]
    expected = page_random.values(config.number, fields, list(config.inner), tensors, (5, 7), 3)
    assert expected.std() > 0.02
    np.testing.assert_allclose(module.render(grid.axes()), expected, atol=1e-4)
    positions = np.stack(np.meshgrid(*grid.axes(), indexing="ij"), -1).reshape(-1, 2)
    np.testing.assert_allclose(module.predict(jnp.asarray(positions)).reshape(5, 7, 3), expected, atol=1e-4)


@pytest.mark.parametrize("number", BACKBONES)
@pytest.mark.parametrize("architecture", [DohConfig, PrancConfig])
def test_any_backbone(architecture: Any, number: int) -> None:
    grid = Grid((6, 5), 2)
    config = architecture.solve(grid, 200, backbone=number)
    assert config.inner[0] == number
    assert np.isfinite(config.build(grid, jax.random.key(0)).render(grid.axes())).all()


def test_starts_with_the_deviations_of_the_network_inside() -> None:
    grid = Grid((64, 48), 3)
    config = DohConfig(500, 0, CENTRED, nested(SirenConfig(40, 3, (8, 8))))
    made = parameters(config.build(grid, jax.random.key(2)).network())
    for mine, theirs in zip(made, parameters(SirenConfig(40, 3, (8, 8)).build(grid, jax.random.key(2))), strict=True):
        if mine.size > 1000:
            assert float(jnp.std(mine) / jnp.std(theirs)) == pytest.approx(1, abs=0.1)


def test_settings() -> None:
    grid = Grid((30, 20), 3)
    config = DohConfig.solve(grid, 500, latents=77, seed=9, width=12, depth=2, ratio=3, form=2)
    assert config == DohConfig(77, 9, 2, nested(SirenConfig(12, 2, (8, 8))))
    assert PrancConfig.solve(grid, 500, coefficients=50, terms=2).n_parameters(grid) > 50
    assert PrancConfig.solve(grid, 500).terms == 1 and PrancConfig.solve(grid, 500, own=1).terms == 0


@pytest.mark.parametrize("architecture", [DohConfig, PrancConfig])
@pytest.mark.parametrize(
    "change",
    [
        (0, 0, 0, SMALL),
        (VAST, 0, 0, SMALL),
        (MAX_COEFFICIENTS + 1, 0, 0, SMALL),
        (5, MAX_SEED + 1, 0, SMALL),
        (5, 0, VAST, SMALL),
        (5, 0, 0, ()),
        (5, 0, 0, (12, 1, 2)),
        (5, 0, 0, (1, 4)),
        (5, 0, 0, (*SMALL, 1)),
        (5, 0, 0, (1, 4, 2, VAST, 8, 8)),
        (5, 0, 0, nested(SirenConfig(VAST, 2, (8, 8)))),
        (5, 0, 0, nested(SirenConfig(4096, 64, (8, 8)))),
        (MAX_COEFFICIENTS, 0, 0, nested(SirenConfig(1000, 4, (8, 8)))),
    ],
    ids=str,
)
def test_hostile(architecture: Any, change: tuple[Any, ...]) -> None:
    names = list(architecture.field_is_tuple())
    check_hostile_config(architecture, dict(zip(names, change, strict=True)), (50, 60))


def test_too_much_to_sort() -> None:
    fields = {"coefficients": 5, "seed": 0, "terms": 16, "inner": nested(SirenConfig(600, 2, (8, 8)))}
    check_hostile_config(PrancConfig, fields, (50, 60))


@pytest.mark.parametrize("architecture", [DohConfig, PrancConfig])
def test_many_channels_and_odd_grids(architecture: Any) -> None:
    for shape, channels in (((31,), 4), ((13, 17), 3), ((2, 3, 5), 1)):
        check_architecture(architecture, shape, channels, 400)


@pytest.mark.parametrize(
    ("settings", "codec"),
    [
        ({}, "auto"),
        slow({"own": 1}, "half"),
        slow({"form": 2}, "auto"),
        slow({}, "half"),
        slow({"own": 1}, "auto"),
        slow({"form": 1}, "auto"),
        slow({"form": 2}, "half"),
    ],
)
def test_whole_files(settings: dict[str, int], codec: str) -> None:
    """Fitted files decode to what was fitted, and better than a flat picture."""
    import inrzip

    recipe = "doh" if "form" in settings else "pranc"
    samples = picture(24, 30, 3)
    fitted = inrzip.fit(samples, recipe, codec=codec, target_size=600, effort=1, settings=settings)
    assert fitted.n_bytes <= 600
    flat = 10 * np.log10(255**2 / np.var(samples.astype(float)))
    assert fitted.quality["psnr_db"] > flat + 2
    region = fitted.reader.render()[3:9, 4:11]
    np.testing.assert_array_equal(fitted.reader.render([(3, 9), (4, 11)]), region)


def test_limits_are_on_the_page() -> None:
    from inrzip.architectures import random_networks as limits

    row = f"| 1 to {MAX_COEFFICIENTS}; at most {MAX_SEED}; at most "
    assert len(re.findall(re.escape(row), PAGE)) == 2
    assert f"at most {limits.MAX_TERMS} |" in PAGE
    assert f"| at most {limits.MAX_INNER}; {limits.MAX_SIGNS}; {limits.MAX_SORTED} |" in PAGE
