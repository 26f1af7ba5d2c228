"""docs/format.md against the code: what the page says of networks, and a decoder written from the page alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from jaxtyping import Int
from numpy import ndarray

from tests import page_combiner, page_context, page_latents, page_modulated, page_motion
from tests.common import step_indices, uniform_tensors
from tests.page_decoder import SHAPES, Tensor, decode_plain_image, polynomial_sine, read_config, read_tensors
from tests.page_stream import PAGE, Damaged, Shape, Stream
from tests.page_tables import read_values

if TYPE_CHECKING:
    from inrzip.codecs.coder import IntegerCoder
    from inrzip.codecs.weights import QuantisedTensor


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
    from inrzip.configuration import decode_config, encode_config
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

    apart = (page_latents, page_motion, page_context, page_combiner)
    written = {number for number, _ in SHAPES.values()} | {page.NUMBER for page in apart} | set(page_modulated.NUMBERS)
    assert written == set(ARCHITECTURES)
    for number, architecture in ARCHITECTURES.items():
        [row] = re.findall(rf"^\| \w+ \| {number} \| (.*) \|$", PAGE, re.M)
        named = [(field.split()[0], "(list)" in field) for field in row.split(", ")]
        assert named == list(architecture.field_is_tuple().items())


def test_limits() -> None:
    from inrzip import collection, configuration, group_chain, network, video_sequence
    from inrzip.architectures import (
        enerv,
        frames,
        grid_layout,
        hash_grid,
        hnerv,
        motion,
        mvc,
        nerv,
        nervpp,
        neurbf,
        nirvana,
        pfnr,
        pointwise,
    )
    from inrzip.codecs import parted_blocks

    for text in (
        f"at most {configuration.MAX_TUPLE})",
        f"{parted_blocks.PARTS_PER_BYTE} B + 2^{parted_blocks.FREE_PARTS.bit_length() - 1} parts at most",
        f"{network.FREE_WEIGHTS} + {network.WEIGHTS_PER_BYTE} n weights",
        f"1 to {pointwise.MAX_WIDTH}; 1 to {pointwise.MAX_DEPTH}; as many",
        f"1 to {frames.MAX_CHANNELS}; 1 to {nerv.MAX_FREQUENCIES} |",
        f"1 to {enerv.MAX_HEADS}; at most {enerv.MAX_TOKENS} |",
        f"1 to {frames.MAX_CHANNELS}; 1 to {mvc.MAX_SCENES} numbers, each at least 1, their sum T |",
        f"1 to {frames.MAX_CHANNELS}; 1 to {nerv.MAX_FREQUENCIES}; 1 to {nervpp.MAX_EXPANSION} |",
        f"1 to {frames.MAX_CHANNELS}; at least {hnerv.REDUCTION_UNIT} |",
        f"odd, 1 to {hnerv.MAX_KERNEL} |",
        f"1 to {motion.MAX_INTERVAL}; three axes, T at most {motion.MAX_FRAMES} |",
        f"at most {grid_layout.MAX_TONE}; {grid_layout.MAX_OFFSET}; {grid_layout.MAX_OFFSET}; two axes",
        f"1 to {hash_grid.MAX_LEVELS}; 1 to {hash_grid.MAX_FEATURES}; at most {hash_grid.MAX_LOG_TABLE}; one to four",
        f"1 to {hash_grid.MAX_RESOLUTION}, base at most finest; 1 to {hash_grid.MAX_WIDTH}; 1 to {hash_grid.MAX_DEPTH}",
        f"1 to {neurbf.MAX_KERNELS}; 1 to {neurbf.MAX_NEAREST}, at most kernels; 1 to {neurbf.MAX_WAVES} |",
        f"at most min({neurbf.MAX_BINS}, floor({neurbf.MAX_PAIRS} / kernels))",
        f"u_d = clip(round({neurbf.UNITS // neurbf.CENTRE_UNITS} c_d), -{neurbf.MAX_UNITS}, {neurbf.MAX_UNITS})",
        f"s_j = {neurbf.FASTEST_WAVE}^(j / max(waves",
        f"t_j = {neurbf.FASTEST_INNER}^(j / max(width",
        ", ".join(map(str, hash_grid.HASH_FACTORS)),
        f"1 to {frames.MAX_STAGES} numbers, shuffle included, each 1 to {frames.MAX_STRIDE}, P",
        f"at most {nirvana.MAX_CHAIN}; T to {nirvana.MAX_FRAMES}; 1 to {nirvana.MAX_PATCH}, a multiple of P |",
        f"1 to {frames.MAX_CHANNELS}; 1 to {nirvana.MAX_DEPTH} |",
        f"2 to {frames.MAX_STAGES} numbers, shuffle included, each 1 to {frames.MAX_STRIDE} |",
        f"step\nindex {group_chain.CHANGE_STEP}, which means nothing",
        f"1 to {pfnr.MAX_MODES}; 1 to {pfnr.WHOLE}; as NeRV",
        f"step index is {video_sequence.CHOICE_STEP}, which means nothing",
        f"in bytes, a varint, 1 to {collection.MAX_NAME_BYTES} |",
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


def check(tensors: Sequence[QuantisedTensor], coders: Iterable[IntegerCoder] | None = None) -> list[Tensor]:
    """Codes tensors, and has them decoded from the page."""
    from inrzip.codecs.weights import encode_tensors

    return check_stream(encode_tensors(tensors, coders), tensors)


def check_stream(data: bytes, tensors: Sequence[QuantisedTensor]) -> list[Tensor]:
    decoded = read_tensors(data, [tensor.shape for tensor in tensors])
    for mine, theirs in zip(decoded, tensors, strict=True):
        assert mine.levels == theirs.levels.number
        np.testing.assert_array_equal(mine.integers, theirs.integers)
        np.testing.assert_array_equal(mine.weights, theirs.values(), strict=True)
    return decoded


def _uniform() -> list[QuantisedTensor]:
    steps = [192, 190, 0, 511, 200, 201, 202, 202, 100, 300, 190, 191, 192, 250]
    return uniform_tensors(_tensors(np.random.default_rng(1)), steps)


def test_default_codes() -> None:
    """What the encoder chooses of its own accord, in one stream."""
    rng = np.random.default_rng(2)
    smooth = np.cumsum(np.cumsum(rng.normal(0, 4, (12, 12, 2, 3)), 0), 1)
    several = [np.rint(smooth).astype(np.int32), _sparse_and_wide(rng)]
    tensors = [*_uniform(), *uniform_tensors(several, [192, 192])]
    assert {tensor.code for tensor in check(tensors)} == {0, 1, 8}


def test_version_1() -> None:
    """Streams without kinds."""
    from inrzip.codecs.range_coder import RangeEncoder
    from inrzip.codecs.tables import AdaptiveTables
    from inrzip.codecs.tensor_header import HeaderCoder
    from inrzip.codecs.weights import decode_tensors

    encoder, steps, values, tensors = RangeEncoder(), HeaderCoder(), AdaptiveTables(), _uniform()
    for tensor, step in zip(tensors, step_indices(tensors), strict=True):
        steps.encode_step(encoder, step, tensor.integers.ndim)
        values.encode(encoder, tensor.integers.astype(np.int64))
    data, shapes = encoder.finish(), [tensor.shape for tensor in tensors]
    for mine, theirs in zip(read_tensors(data, shapes, 1), decode_tensors(data, shapes, 1), strict=True):
        np.testing.assert_array_equal(mine.integers, theirs.integers)
        np.testing.assert_array_equal(mine.weights, theirs.values())


def _sparse_and_wide(rng: np.random.Generator) -> Int[ndarray, "..."]:
    """Mostly zeros, with scales that change in runs: what contexts learn best."""
    scales = np.repeat([0.05, 3.0, 0.05, 60.0], 500)
    values: Int[ndarray, "..."] = np.rint(rng.laplace(0, 1, 2000) * scales).astype(np.int32)
    return values


@pytest.mark.parametrize("number", range(10))
def test_every_code(number: int) -> None:
    """All kinds of tensors in each code."""
    from inrzip.codecs.weights import CODERS

    assert {tensor.code for tensor in check(_uniform(), [CODERS[number]()])} == {number}


def test_every_code_is_on_the_page() -> None:
    from inrzip.codecs.levels_coder import LevelsCoder
    from inrzip.codecs.weights import AUTOMATIC, CODERS

    rows = re.findall(r"^\| (\d?) ?\| ?([a-z -]*?) ?\| \| (\d+) \| ([\w ]+) \|$", PAGE, re.M)
    assert {int(kind) for kind, *_ in rows if kind} == set(LevelsCoder()._coders)
    assert [int(row[2]) for row in rows] == sorted(CODERS)
    for name in [*(row[1] for row in rows if row[1]), *(row[3] for row in rows)]:
        assert re.search(rf"^### {name[:10]}.* \((levels|codes?) ", PAGE, re.M | re.I), name
    first, second, third = (make().number for make in AUTOMATIC)
    assert f"chooses among codes {first}, {second} and {third}" in PAGE


def test_codes_that_learn_between_tensors() -> None:
    """Many codes in one stream, each with what it remembers; common Huffman tables; an escape."""
    from inrzip.codecs.huffman import HuffmanCoder
    from inrzip.codecs.sparse import SparseCoder
    from inrzip.codecs.weights import CODERS

    rng = np.random.default_rng(3)
    alike = [np.rint(rng.laplace(0, 3, (6, n))).astype(np.int32) for n in range(8, 60, 5)]
    tensors = uniform_tensors(alike, range(100, 111))
    check(tensors, [HuffmanCoder.surveying(alike)])
    check(tensors, [SparseCoder.surveying(alike)])
    many = uniform_tensors([rng.integers(-(10**6), 10**6, 4200).astype(np.int32)], [5])
    check(many, [HuffmanCoder()])
    pruned = [np.where(rng.random(values.shape) < 0.8, 0, values) for values in alike]
    mixed = uniform_tensors([*alike[:5], *pruned[:5], *_tensors(rng)[:8]], range(18))
    assert len({tensor.code for tensor in check(mixed, [make() for make in CODERS.values()])}) > 3


def test_axis_tables() -> None:
    """Offsets of rows and of columns, in all grains."""
    from inrzip.codecs.axis_tables import AxisTables

    rng, tensors = np.random.default_rng(4), []
    for shape in ((3, 3, 6, 50), (6, 200), (30, 30), (450, 4)):
        scales = 2.0 ** (rng.normal(3, 1.5, (shape[-2], 1)) + rng.normal(0, 1.5, shape[-1]))
        tensors.append(np.rint(rng.normal(0, 1, shape) * scales).astype(np.int32))
    check(uniform_tensors(tensors, [100] * 4), [AxisTables()])


def test_mixtures_and_shapes() -> None:
    """Two curves in one, and curves with corrections, of tensors with low bits, too."""
    from inrzip.codecs.mixture_tables import MixtureTables
    from inrzip.codecs.shaped_tables import ShapedTables

    rng, tensors = np.random.default_rng(5), []
    for size in (0.2, 5.0, 400.0, 1e6):
        scales = np.where(rng.random(1200) < 0.7, 0.15, 1) * size
        tensors.append(np.rint(rng.normal(0, scales)).astype(np.int32))
        tensors.append(np.rint(rng.choice([-1, 1], 600) * rng.normal(size, size / 5, 600)).astype(np.int32))
    check(uniform_tensors(tensors, [100] * 8), [MixtureTables()])
    check(uniform_tensors(tensors, [100] * 8), [ShapedTables()])


def test_predictive_views() -> None:
    """Splits, every curve, and values far from their predictions."""
    from inrzip.codecs.predictive import DependentPredictive, Predictive

    rng = np.random.default_rng(6)
    kernel = np.cumsum(np.cumsum(rng.normal(0, 9, (6, 6, 3, 5)), 0), 1)
    split = kernel.reshape(3, 2, 3, 2, 3, 5)[:, ::-1, :, ::-1].transpose(0, 2, 4, 1, 3, 5).reshape(3, 3, 3, 20)
    outliers = rng.normal(0, 0.6, (2, 2, 2, 5, 9))
    outliers[0, 1, 0] += 1e9
    drawn = [split, outliers, rng.normal(0, 2, (20, 20)), rng.laplace(0, 2, (20, 20)), np.array(7.0)]
    tensors = uniform_tensors([np.rint(values).astype(np.int32) for values in drawn], [100] * 5)
    check(tensors, [Predictive()])
    check(tensors, [DependentPredictive()])


@pytest.mark.parametrize("curve", range(3))
def test_every_predictive_model(curve: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All parameters, whatever an encoder would choose."""
    from inrzip.codecs.predictive import DependentPredictive, Predictive
    from inrzip.codecs.predictive_model import PredictiveModel

    rng = np.random.default_rng(curve)
    for paired, scale in enumerate((-16, 2, 13, 124)):
        a, b, c, d = rng.integers(-90, 91, 4).tolist()
        model = PredictiveModel(
            scale, 1 + scale % 2, curve, (paired + 1) % 4, paired, paired % 2, (a, b, c, d), 9 - 20 * paired
        )
        monkeypatch.setattr(Predictive, "_choose", lambda _self, _values, model=model: model)
        values = np.rint(rng.laplace(0, 2 ** min(scale / 4, 24), (2, 2, 3, 8))).astype(np.int32)
        for coder in (Predictive(), DependentPredictive()):
            check(uniform_tensors([values], [190]), [coder])


def test_trellis() -> None:
    """Levels 2 with codes 8, 9 and 0, with and without splits, and with quantisers of large integers."""
    from inrzip.codecs.levels import UniformSteps
    from inrzip.codecs.predictive import DependentPredictive, Predictive
    from inrzip.codecs.tables import AdaptiveTables
    from inrzip.codecs.trellis import TrellisSteps, quantise_trellis
    from inrzip.codecs.weights import QuantisedTensor

    rng, tensors = np.random.default_rng(7), []
    for shape, split in (((3, 3, 3, 16), 2), ((3, 3, 2, 18), 3), ((12, 20), 1), ((7,), 1), ((2, 1, 3, 2, 4), 2)):
        for size in (0.7, 20.0, 4e8):
            tensors.append(QuantisedTensor(*quantise_trellis(rng.normal(0, size, shape), 256, split=split)))
    tensors.append(QuantisedTensor(np.zeros((0, 1, 1, 3), np.int32), TrellisSteps(255, 1, (0, 1, 1, 3))))
    tensors.append(QuantisedTensor(np.array([3, -4], np.int32), UniformSteps(250)))
    assert {tensor.code for tensor in check(tensors, [DependentPredictive()])} == {9}
    assert {tensor.code for tensor in check(tensors, [Predictive()])} == {8}
    assert 9 in {tensor.code for tensor in check(tensors, [DependentPredictive(), AdaptiveTables()])}


def test_other_levels() -> None:
    """Levels 1, 3, 4 and 5, from all that their classes take, in one stream with levels 0."""
    from inrzip.codecs.codebook import Codebook
    from inrzip.codecs.levels import ChannelSteps, HalfFloat, UniformSteps
    from inrzip.codecs.minmax import MinMax, quantise_minmax, quantise_pruned
    from inrzip.codecs.weights import QuantisedTensor

    rng = np.random.default_rng(8)
    floats = rng.normal(0, 1, (40, 3, 5)).astype(np.float32)
    small = rng.integers(-3, 4, (40, 3, 5)).astype(np.int32)
    books = ((-9, -2, 0, 1, 5, 700, 701), (-300, 4, 6, 7, 9, 10, 11), (-3, -2, -1, 1, 3, 4, 2**30))
    homes = np.array([2, 1, 2])
    groups = rng.integers(0, 3, 40)
    places = np.stack([rng.integers(-homes[group], 7 - homes[group], (3, 5)) for group in groups]).astype(np.int32)
    pruned = np.where(rng.random(floats.shape) < 0.5, 0, floats).astype(np.float32)
    offsets = rng.integers(-9, 9, 40) * 4, rng.integers(-9, 9, 5)
    tensors = [
        QuantisedTensor(small, ChannelSteps(190, (tuple(offsets[0].tolist()), (), tuple(offsets[1].tolist())))),
        QuantisedTensor(small[0, 0], ChannelSteps(192, ((0,) * 5,))),
        QuantisedTensor(small[0, 0, 0], ChannelSteps(192, ())),
        QuantisedTensor(small, UniformSteps(200)),
        QuantisedTensor(places, Codebook(180, 0, books, tuple(groups.tolist()))),
        QuantisedTensor(places[groups == 0], Codebook(181, 0, books[:1], ())),
        QuantisedTensor(HalfFloat().quantise(floats * 1e-4), HalfFloat()),
        QuantisedTensor(*quantise_minmax(floats * np.linspace(1, 9, 5, dtype=np.float32), 6)),
        QuantisedTensor(*quantise_minmax(floats[0, 0], 8)),
        QuantisedTensor(*quantise_pruned(pruned, 5)),
        QuantisedTensor(small[0], MinMax(0, (0.5, -2.0, 0.0), (0.25, 0.0, 3.0), pruned=True)),
        QuantisedTensor(np.zeros((2, 0), np.int32), MinMax(1, (), ())),
        QuantisedTensor(small[1], ChannelSteps(195, ((1, 2, 3), ()))),
    ]
    assert {tensor.levels for tensor in check(tensors)} == {0, 1, 3, 4, 5}


def test_damage_is_damage_on_the_page() -> None:
    """Streams with changed bytes: where the package finds no damage, the page means the same tensors; else none."""
    from inrzip.codecs.predictive import DependentPredictive
    from inrzip.codecs.trellis import quantise_trellis
    from inrzip.codecs.weights import CODERS, QuantisedTensor, decode_tensors, encode_tensors
    from inrzip.errors import CorruptFile

    rng, n_sound = np.random.default_rng(9), 0
    values = rng.laplace(0, 3, (3, 8))
    tensors = uniform_tensors([np.rint(values).astype(np.int32), np.array([5, -700], np.int32)], [190, 180])
    trellis = [QuantisedTensor(*quantise_trellis(values, 250)), tensors[1]]
    streams = [(tensors, encode_tensors(tensors, [make()])) for make in CODERS.values()]
    for coded, stream in [*streams, (trellis, encode_tensors(trellis, [DependentPredictive()]))]:
        shapes = [tensor.shape for tensor in coded]
        for _ in range(40):
            damaged = bytearray(stream)
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
            try:
                sound = [(tensor, tensor.values()) for tensor in decode_tensors(bytes(damaged), shapes)]
            except CorruptFile:
                with pytest.raises(Damaged):
                    read_tensors(bytes(damaged), shapes)
                continue
            n_sound += 1
            for mine, (theirs, weights) in zip(read_tensors(bytes(damaged), shapes), sound, strict=True):
                np.testing.assert_array_equal(mine.integers, theirs.integers)
                np.testing.assert_array_equal(mine.weights, weights)
    assert n_sound > 20


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
    from inrzip.architectures.base import Grid, parameters
    from inrzip.network import encode_network
    from inrzip.recipes import ARCHITECTURES

    number, from_page = SHAPES[name]
    grid, rng = Grid((3, 11, 14), 3), np.random.default_rng(0)
    config = ARCHITECTURES[number].solve(grid, 1500)
    shapes = [leaf.shape for leaf in parameters(config.structure(grid))]
    integers = [np.rint(rng.normal(0, 9, shape)).astype(np.int32) for shape in shapes]
    tensors = uniform_tensors(integers, range(180, 180 + len(shapes)))
    payload = encode_network(config, tensors)
    fields, strides, begin = read_config(payload, number)
    assert [tensor.shape for tensor in tensors] == from_page(fields, strides, grid.shape, grid.channels)
    check_stream(payload[begin:], tensors)


@pytest.mark.parametrize("sine", [polynomial_sine, np.sin])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_siren_image_file(channels: int, sine: Any) -> None:
    """A file decoded from the page alone: the same integers, and samples within one level, whatever the sine."""
    import jax

    from inrzip import Kind, Reader, Spec
    from inrzip.architectures.base import Grid
    from inrzip.architectures.siren import SirenConfig
    from inrzip.codecs.uniform import nearest_step_index
    from inrzip.container import write_container
    from inrzip.header import Header
    from inrzip.network import encode_network, quantise_network

    grid = Grid((13, 9), channels)
    config = SirenConfig(12, 3, (8, 12))
    module = config.build(grid, jax.random.key(3))
    quantised = quantise_network(module, [nearest_step_index(0.002 * (1 + i % 3)) for i in range(8)])
    spec = Spec(Kind.IMAGE, grid.shape, channels, "u1", 0.0, 255.0, {"format": ".png"})
    data = write_container(Header(spec, config.number, grid.shape[0]), [encode_network(config, quantised)], [])
    tensors, samples = decode_plain_image(data, sine)
    for mine, theirs in zip(tensors, quantised, strict=True):
        np.testing.assert_array_equal(mine.integers, theirs.integers)
    with Reader(data) as reader:
        expected = reader.render()
    assert expected.std() > 5
    assert np.abs(samples.astype(int) - expected.astype(int)).max() <= 1
    assert (samples == expected).mean() > 0.98
