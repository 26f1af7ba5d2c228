"""Hash grids and NeuRBF: the contract of architectures, the page, neighbours, and where kernels begin."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.hash_grid import HashConfig, resolution
from inrzip.architectures.neurbf import (
    CENTRE_UNITS,
    MAX_BINS,
    NeurbfConfig,
    bin_edge,
    bin_of,
    nearest_kernels,
    place_kernels,
    reach,
)
from inrzip.recipes import ARCHITECTURES
from tests.common import check_architecture, check_hostile_config, picture, reference_psnr, slow
from tests.page_hash import hash_shapes, hash_values, neurbf_shapes, neurbf_values

ARCHITECTURES_HERE = [HashConfig, NeurbfConfig]
LINES, PLANES = [(1,), (2,), (13,), (1500,)], [(1, 1), (1, 9), (7, 1), (11, 13)]
SHAPES = [*LINES, *PLANES, (1, 1, 1), (5, 7, 3), (1, 1, 1, 1), (3, 5, 2, 3)]
FILM = Grid((4, 40, 60), 3)
VAST = 2**40
HASH = {"levels": 3, "features": 2, "table": 6, "base": 2, "finest": 9, "width": 5, "depth": 2}
NEURBF = HASH | {"kernels": 20, "nearest": 4, "waves": 6}
HOSTILE = [
    {"levels": 0},
    {"levels": VAST},
    {"features": 0},
    {"features": VAST},
    {"table": 25},
    {"table": VAST},
    {"base": 0},
    {"base": 10},
    {"finest": VAST},
    {"width": 0},
    {"width": VAST},
    {"depth": 0},
    {"depth": VAST},
    {"levels": 16, "features": 16, "table": 24, "finest": 2**20},
]
HOSTILE_KERNELS = [{"kernels": 0}, {"kernels": VAST}, {"nearest": 0}, {"nearest": 21}, {"waves": 0}, {"waves": VAST}]
HOSTILE_KERNELS += [{"kernels": 100, "nearest": 17}, {"kernels": 2**14, "waves": 256}]


def test_they_have_numbers():
    assert [ARCHITECTURES[architecture.number] for architecture in ARCHITECTURES_HERE] == ARCHITECTURES_HERE


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("architecture", ARCHITECTURES_HERE)
def test_contract(architecture, shape):
    check_architecture(architecture, shape)


@pytest.mark.parametrize("architecture", ARCHITECTURES_HERE)
@pytest.mark.parametrize("asked", [500, 5_000, 20_000])
def test_solve_comes_near(architecture, asked):
    for channels in (1, 3):
        grid = Grid(FILM.shape, channels)
        assert abs(architecture.solve(grid, asked).n_parameters(grid) - asked) < 0.2 * asked


@pytest.mark.parametrize("architecture", ARCHITECTURES_HERE)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (7, 11, 13, 5), (2, 1, 997), (3_000_000,)])
def test_solve_is_sound_for_extreme_grids(architecture, shape):
    grid = Grid(shape, 3)
    counts = []
    for n_parameters in (0, 12, 300, 5_000, 10**9):
        config = architecture.solve(grid, n_parameters)
        config.check(grid)
        counts.append(config.n_parameters(grid))
    assert counts == sorted(counts) and counts[0] < 700 and counts[-1] > 50_000


@pytest.mark.parametrize("architecture", ARCHITECTURES_HERE)
@pytest.mark.parametrize("settings", [{"finest": 1}, {"base": 7}, {"table": 0}, {"levels": 1}, {"features": 16}])
def test_settings(architecture, settings):
    config = architecture.solve(FILM, 2_000, **settings)
    config.check(FILM)
    assert settings.items() <= {name: getattr(config, name) for name in config.field_is_tuple()}.items()


@pytest.mark.parametrize("settings", [{"nearest": 16}, {"kernels": 2}, {"waves": 1}])
def test_settings_of_kernels(settings):
    config = NeurbfConfig.solve(FILM, 2_000, **settings)
    config.check(FILM)
    assert settings.items() <= {name: getattr(config, name) for name in config.field_is_tuple()}.items()


@pytest.mark.parametrize("change", HOSTILE)
def test_hostile(change):
    check_hostile_config(HashConfig, HASH | change, (50, 60, 70))
    check_hostile_config(NeurbfConfig, NEURBF | change, (50, 60, 70))


@pytest.mark.parametrize("change", HOSTILE_KERNELS)
def test_hostile_kernels(change):
    check_hostile_config(NeurbfConfig, NEURBF | change, (50, 60, 70))


@pytest.mark.parametrize("architecture", ARCHITECTURES_HERE)
def test_too_many_axes(architecture):
    fields = HASH if architecture is HashConfig else NEURBF
    check_hostile_config(architecture, fields, (3, 3, 3, 3, 3))


@pytest.mark.parametrize("shape", [(2**30, 2**20, 2), (1, 2**40, 1), (2**40,)])
@pytest.mark.parametrize("architecture", ARCHITECTURES_HERE)
def test_vast_grids(architecture, shape):
    """A header may claim any size: positions are found, or the payload is refused."""
    import jax.numpy as jnp

    from inrzip.network import decode_network, encode_network, quantise_network

    grid, config = Grid(shape, 1), architecture(**(HASH if architecture is HashConfig else NEURBF))
    module = config.build(grid, _key())
    payload = encode_network(config, quantise_network(module, [100] * len(parameters(module))))
    decoded = decode_network(payload, config.number, grid, 1 << 28)
    ends = jnp.asarray([[0.0] * len(shape), [float(n - 1) for n in shape], [-1e30] * len(shape), [1e30] * len(shape)])
    assert np.isfinite(np.asarray(decoded.predict(ends))).all()


def _key():
    import jax

    return jax.random.key(0)


# ---- the page ----


def _fields(config):
    return [getattr(config, name) for name in config.field_is_tuple()]


@pytest.mark.parametrize("shape", [(1,), (9, 14), (5, 1, 7), (3, 4, 2, 5)])
@pytest.mark.parametrize("change", [{}, {"table": 3}, {"levels": 1}, {"depth": 1}])
def test_hash_grid_from_the_page(shape, change):
    grid, config = Grid(shape, 2), HashConfig(**HASH | change)
    module = _restless(config.build(grid, _key()))
    arrays = [np.asarray(array) for array in parameters(module)]
    assert [array.shape for array in arrays] == hash_shapes(_fields(config), [], shape, 2)
    np.testing.assert_allclose(module.render(grid.axes()), hash_values(_fields(config), arrays, shape), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "change"),
    [
        *((shape, {}) for shape in [(1,), (60,), (9, 14), (1, 30), (5, 1, 7), (3, 4, 2, 5)]),
        ((9, 14), {"kernels": 3, "nearest": 3}),
        ((5, 1, 7), {"kernels": 3, "nearest": 3}),
        ((9, 14), {"waves": 1, "width": 1}),
        ((9, 14), {"kernels": 16000}),
        slow((70, 70), {"kernels": 16000}),  # bins are larger than samples
    ],
)
def test_neurbf_from_the_page(shape, change):
    grid, config = Grid(shape, 2), NeurbfConfig(**NEURBF | change)
    module = config.build(grid, _key())
    arrays = [np.asarray(array) for array in parameters(module)]
    assert [array.shape for array in arrays] == neurbf_shapes(_fields(config), [], shape, 2)
    np.testing.assert_allclose(module.render(grid.axes()), neurbf_values(_fields(config), arrays, shape), atol=1e-4)


def _restless(module):
    """Tables of large entries, so that every vertex counts."""
    import equinox as eqx
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    tables = [jnp.asarray(rng.normal(0, 0.5, table.shape), jnp.float32) for table in module.tables]
    return eqx.tree_at(lambda m: m.tables, module, tables)


@pytest.mark.parametrize(("base", "finest", "levels"), [(1, 1, 4), (1, 7, 5), (3, 1000, 16), (2, 2**20, 16), (5, 9, 1)])
def test_resolutions_grow_evenly(base, finest, levels):
    found = [resolution(level, levels, base, finest) for level in range(levels)]
    assert found == sorted(found) and found[-1] == finest and (levels == 1 or found[0] == base)
    for level, n in itertools.islice(enumerate(found), levels - 1):
        assert abs(n - base ** (1 - level / (levels - 1)) * finest ** (level / (levels - 1))) < 1 + 1e-9 * finest


def test_a_level_as_fine_as_the_samples_holds_them():
    """Interpolation at a sample reads its own entry alone."""
    import jax.numpy as jnp

    from inrzip.architectures.hash_grid import cells_of, interpolate

    grid = Grid((5, 8), 1)
    cells = cells_of(7, grid)
    assert cells == (4, 7)
    table = np.random.default_rng(0).normal(size=(5, 8, 3)).astype(np.float32)
    positions = np.stack(np.meshgrid(*grid.axes(), indexing="ij"), -1).reshape(-1, 2)
    found = interpolate(jnp.asarray(table), cells, jnp.asarray(positions), grid)
    np.testing.assert_allclose(np.asarray(found).T, table.reshape(-1, 3), atol=1e-5)


# ---- kernels ----


@pytest.mark.parametrize("shape", [(40,), (12, 31), (300, 2), (6, 5, 9)])
def test_nearest_kernels_are_the_nearest(shape):
    grid, rng = Grid(shape, 1), np.random.default_rng(0)
    ends = np.array(shape) / max(shape)
    centres = rng.uniform(-ends, ends, (50, len(shape))).astype(np.float32)
    near = np.asarray(nearest_kernels(centres * CENTRE_UNITS, grid, 5))
    points = np.stack(np.meshgrid(*grid.axes(), indexing="ij"), -1).reshape(-1, len(shape))
    bins = np.asarray(bin_of(points, grid, 50))
    assert bin_edge(grid, 50) == 1 and sorted(bins) == list(range(len(points)))
    z = (2 * points + 1 - shape) / max(shape)
    distances = np.linalg.norm(z[:, None] - centres, axis=-1)
    found = np.take_along_axis(distances, near[bins], axis=1)
    np.testing.assert_allclose(found, np.sort(distances, axis=1)[:, :5], atol=1e-3)


def test_equal_kernels_come_in_order_and_absurd_ones_do_no_harm():
    centres = np.zeros((6, 2), np.float32)
    assert np.asarray(nearest_kernels(centres, Grid((4, 4), 1), 3)).tolist() == [[0, 1, 2]] * 16
    centres[:3] = [[np.inf, 0], [-1e30, 1e30], [np.nan, 0.1]]
    near = np.asarray(nearest_kernels(centres, Grid((4, 4), 1), 3))
    assert ((near >= 0) & (near < 6)).all() and (np.diff(np.sort(near, axis=1), axis=1) > 0).all()


@pytest.mark.parametrize("shape", [(1,), (10**7,), (3000, 2000), (40, 1000, 900)])
def test_bins_are_few(shape):
    for kernels in (1, 1000, 16384):
        edge = bin_edge(Grid(shape, 1), kernels)
        count = np.prod([-(-n // edge) for n in shape])
        assert count <= min(MAX_BINS, 2**26 // kernels)


def test_kernels_gather_where_the_signal_changes():
    """A flat picture with a rough corner."""
    rng = np.random.default_rng(0)
    samples = np.full((40, 40, 3), 100, np.uint8)
    samples[:10, :10] = rng.integers(0, 256, (10, 10, 3))
    centres, lower = place_kernels(samples, 60, reach(60, Grid((40, 40), 3)))
    inside = (centres < -0.5 * CENTRE_UNITS).all(axis=1).mean()
    assert inside > 3 * 10 * 10 / (40 * 40)
    assert (np.abs(centres) <= CENTRE_UNITS).all() and np.isfinite(lower).all() and (np.linalg.det(lower) > 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5,), (3, 2, 4)])
def test_kernels_can_be_placed_anywhere(shape):
    samples = np.zeros((*shape, 2), np.float32)
    config = NeurbfConfig.solve(Grid(shape, 2), 2_000)
    module = config.build(Grid(shape, 2), _key()).placed(samples, 0, 1)
    assert np.isfinite(module.render(Grid(shape, 2).axes())).all()
    assert module.placed(None, 0, 1) is module


def test_decoded_kernels_are_found_anew():
    """Neighbours follow from the centres in the file, not from those before rounding."""
    from inrzip.network import dequantise_network, quantise_network

    grid = Grid((20, 20), 1)
    module = NeurbfConfig(**NEURBF).build(grid, _key())
    coarse = quantise_network(module, [40 * 8] * len(parameters(module)))  # steps of 256
    decoded = dequantise_network(module, coarse)
    expected = nearest_kernels(np.rint(np.asarray(module.centres) / 256) * 256, grid, 4)
    np.testing.assert_array_equal(decoded.near, expected)
    assert (np.asarray(decoded.near) != np.asarray(module.near)).any()


@pytest.mark.parametrize(
    ("recipe", "codec"),
    [
        ("hash", None),
        slow("hash", "half"),
        slow("neurbf", None),
        ("neurbf", "outputs"),
        *(slow("hash", codec) for codec in ("trellis", "huffman", "outputs", "codebook")),
        *(slow("neurbf", codec) for codec in ("trellis", "half", "huffman", "codebook")),
    ],
)
def test_fits_with_codecs(recipe, codec, quick):
    from inrzip import research

    pixels = picture(24, 31, 3)
    size = 3000 if codec == "half" else 1500
    fitted = research.fit(pixels, recipe, target_size=size, effort=1, codec=codec)
    assert fitted.n_bytes <= size
    assert fitted.quality["psnr_db"] > 2 + reference_psnr(pixels, np.full_like(pixels, 128), 255)
