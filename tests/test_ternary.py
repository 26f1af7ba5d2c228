"""Ternary networks of bit planes: what the page says, the same in floats and whole numbers, files and damaged ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import inrzip
from inrzip import cli, exact
from inrzip.architectures import ternary
from inrzip.architectures.base import Grid, parameters
from inrzip.architectures.bits import Bits, BitsConfig, bit_planes
from inrzip.architectures.ternary import Ternary, TernaryConfig, rounded
from inrzip.codecs.levels import UniformSteps
from inrzip.codecs.weights import QuantisedTensor, encode_tensors
from inrzip.errors import CorruptFile, InrzipError
from inrzip.examples import GridPoints
from inrzip.network import decode_network, encode_network
from inrzip.ternary_encoder import UNIT_STEP
from tests import page_exact, page_ternary
from tests.common import check_hostile_config, picture, write_png

GRIDS = [Grid((1, 1, 1), 2), Grid((9, 8), 1), Grid((5, 3, 8), 3), Grid((2, 3, 2, 4), 1)]


def random_network(grid: Grid, width: int = 11, depth: int = 2, seed: int = 0) -> Ternary:
    network = TernaryConfig(width, depth).build(grid, jax.random.key(seed))
    return Ternary(layers=[rounded(layer) for layer in network.layers], config=network.config, grid=grid)


@pytest.mark.parametrize("grid", GRIDS)
def test_values_are_those_of_the_page(grid: Grid) -> None:
    network = random_network(grid)
    assert [layer.shape for layer in network.layers] == page_ternary.shapes(11, 2, grid.shape, grid.channels)
    expected = page_ternary.values(network.whole(), grid.shape)
    assert grid.n_points == 1 or 0 < expected.mean() < 1
    np.testing.assert_array_equal(network.precise(), expected)
    part = tuple(axis[len(axis) // 2 :] for axis in grid.axes())
    region = expected[tuple(slice(n // 2, None) for n in grid.shape)]
    np.testing.assert_array_equal(network.render(part), region)


def test_what_is_fitted_is_what_is_evaluated() -> None:
    """Floats, with weights that are rounded on the way, say what the whole numbers do, but for sums of 0, or nearly."""
    grid = Grid((16, 15, 8), 2)
    network = TernaryConfig(24, 2).build(grid, jax.random.key(1))
    final = Ternary(layers=[rounded(layer) for layer in network.layers], config=network.config, grid=grid)
    places = np.stack(np.meshgrid(*grid.axes(), indexing="ij"), -1).reshape(-1, 3)
    told = np.asarray(network.predict(jnp.asarray(places))).reshape(*grid.shape, 2) > 0.5
    assert (told != (final.precise() > 0.5)).mean() < 0.002
    for mine, again in zip(final.layers, map(rounded, final.layers), strict=True):
        np.testing.assert_array_equal(mine, again)


def test_gradients_are_numbers_however_they_are_compiled() -> None:
    """With the compiler's settings of the tests, a maximum that is made twice differs in its last bits."""
    pixels, grid = picture(11, 9, 3), Grid((11, 9), 3)
    module = BitsConfig.solve_for(grid, 2000, pixels, 0, 255, ternary=1, width=12).build(grid, jax.random.key(0))
    planes = bit_planes(pixels, 0, 255)
    inputs, targets = GridPoints(planes, 0, 1, planes.size).items(np.arange(math.prod(planes.shape[:-1])))
    gradient = eqx.filter_jit(eqx.filter_grad(lambda m: m.training_loss(inputs, targets)))(module)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))


def test_tables_are_the_same_everywhere() -> None:
    """No entry lies so near to one half that another machine's sine or error function could round it otherwise."""
    top = ternary.TOP
    bends = [top / 4 * z * 0.5 * (1 + math.erf(z / math.sqrt(2))) for z in (4 * q / top for q in range(-top, top + 1))]
    waves = [top * math.sin(2 * math.pi * i / ternary.TURN) for i in range(ternary.TURN)]
    for exact_values, table in ((bends, ternary.bends()), (waves, ternary.waves())):
        assert min(abs(v - math.floor(v) - 0.5) for v in exact_values) > 1e-6
        assert max(abs(int(a) - b) for a, b in zip(table, exact_values, strict=True)) <= 0.5
    assert [page_ternary.g(q) for q in range(-top, top + 1, 97)] == ternary.bends()[::97].tolist()
    assert ternary.waves().tolist() == page_ternary.S


def test_weights_take_few_bits() -> None:
    network = random_network(Grid((64, 64, 8), 3), width=96)
    tensors = [QuantisedTensor(layer.astype(np.int32), UniformSteps(UNIT_STEP)) for layer in network.whole()]
    n_weights = sum(layer.size for layer in network.layers)
    assert 8 * len(encode_tensors(tensors)) < 1.61 * n_weights


def test_other_weights_are_damage() -> None:
    grid = Grid((4, 5), 1)
    config = BitsConfig(255, (31, 4, 1))
    inside = config.inside(grid)
    assert inside is not None and inside.n_parameters(config.planes(grid)) == sum(
        leaf.size for leaf in parameters(config.structure(grid))
    )
    integers = [np.full(leaf.shape, 2, np.int32) for leaf in parameters(config.structure(grid))]
    payload = encode_network(config, [QuantisedTensor(array, UniformSteps(UNIT_STEP)) for array in integers])
    network = decode_network(payload, config.number, grid)
    assert isinstance(network, Bits)
    with pytest.raises(CorruptFile, match="besides -1, 0 and 1"):
        network.precise()


@pytest.mark.parametrize(
    "inner", [(31,), (31, 0, 2), (31, 8, 0), (31, 4097, 1), (31, 8, 65), (31, 2**40, 1), (31, 8, 2, 1)]
)
def test_hostile_configurations(inner: tuple[int, ...]) -> None:
    check_hostile_config(BitsConfig, {"span": 255, "inner": inner}, (5, 6))


def test_files(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    """From a picture to a file that keeps its network, decoded by the package, the page and the command line."""
    pixels = picture(11, 9, 3)
    photo = write_png(tmp_path / "a.png", pixels)
    command = [
        "compress",
        str(photo),
        "--recipe",
        "bits",
        "-e",
        "1",
        "--set",
        "ternary=1",
        "--set",
        "keep=1",
        "--set",
        "width=12",
    ]
    assert cli.main(command) == 0
    assert "lossless, checked" in capsys.readouterr().out
    assert cli.main(["decompress", str(tmp_path / "a.inrz"), "-o", str(tmp_path / "b.png")]) == 0
    np.testing.assert_array_equal(inrzip.read_signal(tmp_path / "b.png").read(0, 11), pixels)
    with inrzip.Reader(tmp_path / "a.inrz") as reader:
        network = reader.segment(0)
        assert isinstance(network, Bits) and isinstance(network.inside, Ternary) and network.config.inner == (31, 12, 2)
        coded, part = exact.split(reader.container.segment(0))
        assert reader.render(scale=2).shape == (22, 18, 3)
    assert part[5] == 0  # the network tells all planes
    values = page_ternary.values(network.inside.whole(), (11, 9, 8))
    np.testing.assert_array_equal(page_exact.decode_bits(part, values, 0), pixels)
    wrong = (values != bit_planes(pixels, 0, 255)).mean()
    assert wrong > 0  # so some are listed
    inrzip.decompress(tmp_path / "a.inrz", tmp_path / "deep.tiff", bits=16)
    np.testing.assert_array_equal(inrzip.read_signal(tmp_path / "deep.tiff").read(0, 11) >> 8, pixels)
    rng = np.random.default_rng(0)
    for _ in range(20):
        damaged = bytearray(coded)
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        try:
            other: Any = decode_network(bytes(damaged), BitsConfig.number, Grid((11, 9), 3))
            if other.network is not None and other.config.is_ternary:
                other.precise()
        except InrzipError as error:
            assert "\n" not in str(error)


def test_what_cannot_be_asked(quick: None) -> None:
    pixels = picture(5, 6, 1)
    with pytest.raises(InrzipError, match="fitted to a size"):
        inrzip.fit(pixels, "bits", settings={"ternary": 1}, target_psnr=30)
    with pytest.raises(InrzipError, match="leave --codec"):
        inrzip.fit(pixels, "bits", settings={"ternary": 1}, codec="trellis")
    with pytest.raises(InrzipError, match="have no scale"):
        inrzip.fit(pixels, "bits", settings={"ternary": 1, "scale": 9})
