"""docs/format.md against the code: what the page says of networks, and a decoder written from the page alone."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from jaxtyping import Int
from numpy import ndarray

from tests.common import uniform_tensors
from tests.page_decoder import (
    PAGE,
    SHAPES,
    Shape,
    Stream,
    decode_plain_image,
    polynomial_sine,
    read_config,
    read_tensors,
    read_values,
)


def network_examples() -> list[Any]:
    return [pytest.param(*found, id=found[0]) for found in re.findall(r"```network (\w+)\n(.*?)```", PAGE, re.S)]


def _parse_example(block: str) -> tuple[bytes, Shape, int, list[Shape]]:
    config, grid, *shapes = (line.split("#")[0].strip() for line in block.splitlines())
    axes, channels = grid.removeprefix("grid").split("channels")
    wanted = [tuple(map(int, shape.split())) for shape in shapes]
    return bytes.fromhex(config.removeprefix("config")), tuple(map(int, axes.split())), int(channels), wanted


@pytest.mark.parametrize(("name", "block"), network_examples())
def test_tensor_tables(name: str, block: str) -> None:
    from inrzip import wire
    from inrzip.architectures.base import Grid, parameters
    from inrzip.network import decode_config, encode_config
    from inrzip.recipes import ARCHITECTURES

    config_bytes, axes, channels, shapes = _parse_example(block)
    number, from_page = SHAPES[name]
    assert re.search(rf"^\| {name} \| {number} \|", PAGE, re.M)
    fields, entries, used = read_config(config_bytes, number)
    assert used == len(config_bytes)
    grid = Grid(axes, channels)
    config = decode_config(ARCHITECTURES[number], wire.Cursor(config_bytes), grid)
    assert encode_config(config) == config_bytes
    assert type(config).__name__ == f"{name.capitalize()}Config"
    assert from_page(fields, entries, axes, channels) == shapes
    assert [leaf.shape for leaf in parameters(config.structure(grid))] == shapes


def test_every_architecture_is_on_the_page() -> None:
    from inrzip.recipes import ARCHITECTURES

    assert {number for number, _ in SHAPES.values()} == set(ARCHITECTURES)
    for number, architecture in ARCHITECTURES.items():
        [row] = re.findall(rf"^\| \w+ \| {number} \| (.*) \|$", PAGE, re.M)
        named = [(field.split()[0], "(list)" in field) for field in row.split(", ")]
        assert named == list(architecture.field_is_tuple().items())


def test_limits() -> None:
    from inrzip import network
    from inrzip.architectures import frames, hnerv, nerv, siren

    for text in (
        f"at most {network.MAX_TUPLE})",
        f"{network.FREE_WEIGHTS} + {network.WEIGHTS_PER_BYTE} n weights",
        f"1 to {siren.MAX_WIDTH}; 1 to {siren.MAX_DEPTH}; as many",
        f"1 to {frames.MAX_CHANNELS}; 1 to {nerv.MAX_FREQUENCIES} |",
        f"1 to {frames.MAX_CHANNELS}; at least {hnerv.REDUCTION_UNIT} |",
        f"odd, 1 to {hnerv.MAX_KERNEL} |",
        f"1 to {frames.MAX_STAGES} numbers, shuffle included, each 1 to {frames.MAX_STRIDE}, P",
    ):
        assert text in PAGE


def _tensors(rng: np.random.Generator) -> list[Int[ndarray, "..."]]:
    """Of every family, with escapes, low bits, centres, constants, many blocks, and of no element."""
    drawn = [
        rng.laplace(0, 0.3, (5, 7)),
        rng.laplace(0, 6, 40),
        rng.normal(0, 300, (3, 3, 4, 8)),
        rng.uniform(-12, 12, (20, 30)),
        rng.standard_t(1.2, (50, 20)).clip(-1e6, 1e6),
        np.full(9, -3.0),
        np.zeros((4, 4)),
        np.zeros((0, 3)),
        rng.normal(1_000_003, 2, 70),
        rng.normal(0, 3e8, 33).clip(-(2**30), 2**30),
        rng.uniform(-3e4, 3e4, (9, 9)),
        np.array([-1234567.0]),
        np.where(rng.random(2500) < 0.5, 9, -9) + rng.integers(-1, 2, 2500),
        np.repeat([1.0, 40.0, 1.0], 700) * rng.laplace(0, 1, 2100),
    ]
    return [np.rint(values).astype(np.int32) for values in drawn]


def test_weight_stream() -> None:
    from inrzip.codecs.tables import AdaptiveTables
    from inrzip.codecs.weights import encode_tensors

    tensors = _tensors(np.random.default_rng(1))
    steps = [192, 190, 0, 511, 200, 201, 202, 202, 100, 300, 190, 191, 192, 250]
    decoded = read_tensors(
        encode_tensors(uniform_tensors(tensors, steps), [AdaptiveTables()]), [tensor.shape for tensor in tensors]
    )
    assert [step for step, _ in decoded] == steps
    for (_, mine), theirs in zip(decoded, tensors, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("adaptation", range(4))
@pytest.mark.parametrize("family", range(3))
def test_every_model(family: int, adaptation: int) -> None:
    """All tables of a family, and all that goes with them, whatever an encoder would choose."""
    from inrzip.codecs.adaptive import TensorModel, encode_values
    from inrzip.codecs.range_coder import RangeEncoder
    from inrzip.priors.integer_tables import Family

    rng, shape, n = np.random.default_rng(family), family * 4 + adaptation, 70
    for scale in (*range(1, 33, 3), 32, 33, 36, 50, 97, 100, 140):
        values = np.rint(rng.laplace(0, 2 ** min((scale - 17) / 4, 25), n)).astype(np.int64) + 5
        encoder = RangeEncoder()
        encode_values(encoder, values, TensorModel(scale, Family(family), adaptation, 5))
        stream = Stream(encoder.finish())
        assert read_values(stream, n, scale, shape, 5) == values.tolist()


def test_counts_are_halved() -> None:
    """More symbols than the shortest memory holds."""
    from inrzip.codecs.adaptive import TensorModel, encode_values
    from inrzip.codecs.range_coder import RangeEncoder
    from inrzip.priors.integer_tables import Family

    values = np.rint(np.random.default_rng(0).laplace(0, 0.4, 6500)).astype(np.int64)
    encoder = RangeEncoder()
    encode_values(encoder, values, TensorModel(10, Family.GAUSS, 3))
    assert read_values(Stream(encoder.finish()), len(values), 10, 7, 0) == values.tolist()


@pytest.mark.parametrize("name", ["NeRV", "HNeRV"])
def test_video_network(name: str) -> None:
    """A whole payload of random weights comes back as the same integers."""
    import jax

    from inrzip.architectures.base import Grid, parameters
    from inrzip.codecs.tables import AdaptiveTables
    from inrzip.codecs.uniform import nearest_step_index
    from inrzip.network import encode_network, quantise_network
    from inrzip.recipes import ARCHITECTURES

    number, from_page = SHAPES[name]
    grid = Grid((3, 11, 14), 3)
    config = ARCHITECTURES[number].solve(grid, 1500)
    module = config.build(grid, jax.random.key(0))
    steps = [nearest_step_index(0.003 * (1 + i)) for i in range(len(parameters(module)))]
    tensors = quantise_network(module, steps)
    payload = encode_network(config, tensors, [AdaptiveTables()])
    fields, strides, begin = read_config(payload, number)
    decoded = read_tensors(payload[begin:], from_page(fields, strides, grid.shape, grid.channels))
    assert [step for step, _ in decoded] == steps
    for (_, mine), theirs in zip(decoded, tensors, strict=True):
        np.testing.assert_array_equal(mine, theirs.integers)


@pytest.mark.parametrize("sine", [polynomial_sine, np.sin])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_siren_image_file(channels: int, sine: Any) -> None:
    """A file decoded from the page alone: the same integers, and samples within one level, whatever the sine."""
    import jax

    from inrzip import Kind, Reader, Spec
    from inrzip.architectures.base import Grid
    from inrzip.architectures.siren import SirenConfig
    from inrzip.codecs.tables import AdaptiveTables
    from inrzip.codecs.uniform import nearest_step_index
    from inrzip.container import write_container
    from inrzip.header import Header
    from inrzip.network import encode_network, quantise_network

    grid = Grid((13, 9), channels)
    config = SirenConfig(12, 3, (8, 12))
    module = config.build(grid, jax.random.key(3))
    quantised = quantise_network(module, [nearest_step_index(0.002 * (1 + i % 3)) for i in range(8)])
    spec = Spec(Kind.IMAGE, grid.shape, channels, "u1", 0.0, 255.0, {"format": ".png"})
    data = write_container(
        Header(spec, config.number, grid.shape[0]), [encode_network(config, quantised, [AdaptiveTables()])], []
    )
    integers, samples = decode_plain_image(data, sine)
    for mine, theirs in zip(integers, quantised, strict=True):
        np.testing.assert_array_equal(mine, theirs.integers)
    with Reader(data) as reader:
        expected = reader.render()
    assert expected.std() > 5
    assert np.abs(samples.astype(int) - expected.astype(int)).max() <= 1
    assert (samples == expected).mean() > 0.98
