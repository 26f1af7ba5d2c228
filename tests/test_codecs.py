"""The range coder, the adaptive integer coder, the quantiser and the stream of a network's weights."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from inrzip.codecs import uniform
from inrzip.codecs.adaptive import N_SCALES, TensorModel, decode_values, encode_values
from inrzip.codecs.model_choice import BIT, choose_model, frequency_costs, values_cost
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import AdaptiveNumber, encode_exp_golomb
from inrzip.codecs.tables import AdaptiveTables
from inrzip.codecs.weights import QuantisedTensor, decode_tensors, encode_tensors, tensor_costs
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import Family, limit
from tests.common import step_indices, uniform_tensors

EXTREME = 1 << 30
Draw = Callable[[np.random.Generator, int], ndarray]

SOURCES: dict[str, Draw] = {
    "laplace": lambda rng, n: rng.laplace(0, 6, n),
    "laplace, wide": lambda rng, n: rng.laplace(0, 16, n),
    "gauss": lambda rng, n: rng.normal(0, 6, n),
    "gauss, narrow": lambda rng, n: rng.normal(0, 1, n),
    "uniform": lambda rng, n: rng.uniform(-12, 12, n),
    "mixed": lambda rng, n: rng.normal(0, 6, n) * np.repeat(rng.lognormal(0, 0.4, 64), -(-n // 64))[:n],
}


def integers(source: str, n: int, seed: int = 0) -> ndarray:
    return np.rint(SOURCES[source](np.random.default_rng(seed), n)).astype(np.int32)


def entropy_bits(values: ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / values.size)).sum())


def encode_uniform(tensors: Sequence[ndarray], steps: Sequence[int]) -> bytes:
    return encode_tensors(uniform_tensors(tensors, steps), [AdaptiveTables()])


def integers_of(tensors: Sequence[QuantisedTensor]) -> list[ndarray]:
    return [tensor.integers for tensor in tensors]


def round_trip(tensors: list[ndarray], steps: list[int]) -> bytes:
    data = encode_uniform(tensors, steps)
    decoded = decode_tensors(data, [tensor.shape for tensor in tensors])
    assert step_indices(decoded) == steps
    for tensor, copy in zip(tensors, integers_of(decoded), strict=True):
        assert copy.dtype == np.int32 and copy.shape == tensor.shape
        np.testing.assert_array_equal(copy, tensor)
    return data


# --- range coder


@st.composite
def operations(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Symbols as (start, size, total bits); raw bits as (value, 0, number of bits)."""
    result = []
    for _ in range(draw(st.integers(0, 60))):
        bits = draw(st.integers(1, 16))
        if draw(st.booleans()):
            result.append((draw(st.integers(0, (1 << 2 * bits) - 1)), 0, 2 * bits))
        else:
            start = draw(st.sampled_from([0, (1 << bits) - 1]) | st.integers(0, (1 << bits) - 1))
            result.append((start, draw(st.sampled_from([1, (1 << bits) - start])), bits))
    return result


@settings(max_examples=150, deadline=None)
@given(operations())
def test_range_coder_round_trip(ops: list[tuple[int, int, int]]) -> None:
    encoder = RangeEncoder()
    for start, size, bits in ops:
        if size:
            encoder.encode(start, size, bits)
        else:
            encoder.encode_bits(start, bits)
    decoder = RangeDecoder(encoder.finish())
    for start, size, bits in ops:
        if size:
            assert start <= decoder.peek(bits) < start + size
            decoder.consume(start, size, bits)
        else:
            assert decoder.decode_bits(bits) == start
    decoder.finish()


def test_range_coder_carries_through_many_bytes() -> None:
    for n in range(40):  # symbols just below the middle, then one that tips the sum over it
        encoder = RangeEncoder()
        symbols = [(32767, 1)] * 1 + [(65535, 1)] * n + [(65000, 536)] * 3
        for start, size in symbols:
            encoder.encode(start, size, 16)
        decoder = RangeDecoder(encoder.finish())
        for start, size in symbols:
            assert start <= decoder.peek(16) < start + size
            decoder.consume(start, size, 16)


def test_range_coder_length_is_near_the_information() -> None:
    rng = np.random.default_rng(1)
    cumulative = [0, 40000, 60000, 65000, 65536]
    sizes = np.diff(cumulative)
    symbols = rng.choice(4, 5000, p=sizes / 65536)
    encoder = RangeEncoder()
    encoder.encode_block(np.array(cumulative)[symbols].tolist(), sizes[symbols].tolist(), 16)
    data = encoder.finish()
    information = -np.log2(sizes[symbols] / 65536).sum() / 8
    assert information - 1 <= len(data) <= 1.001 * information + 2
    assert RangeDecoder(data).decode_block(cumulative, 5000, 16).tolist() == symbols.tolist()


def test_blocks_give_the_bytes_of_single_symbols() -> None:
    one, many = RangeEncoder(), RangeEncoder()
    starts, sizes = [5, 0, 900, 1023, 17], [1, 3, 100, 1, 1000]
    for start, size in zip(starts, sizes, strict=True):
        one.encode(start, size, 10)
    many.encode_block(starts, sizes, 10)
    assert one.finish() == many.finish()


@pytest.mark.parametrize(("start", "size"), [(0, 0), (-1, 3), (5, -1), (1023, 2), (0, 1025)])
def test_an_impossible_interval_is_refused(start: int, size: int) -> None:
    with pytest.raises(ValueError, match="interval"):
        RangeEncoder().encode(start, size, 10)
    with pytest.raises(ValueError, match="sizes"):
        RangeEncoder().encode_block([0, 1], [1], 10)


@given(st.lists(st.integers(-(1 << 33) + 1, (1 << 33) - 1).filter(bool), max_size=20), st.integers(0, 9))
def test_escapes_round_trip(values: list[int], order: int) -> None:
    encoder, single = RangeEncoder(), RangeEncoder()
    encoder.encode_escapes(np.array(values, np.int64), order)
    for value in values:
        single.encode_bits(int(value < 0), 1)
        encode_exp_golomb(single, abs(value) - 1, order)
    data = encoder.finish()
    assert data == single.finish()
    assert RangeDecoder(data).decode_escapes(len(values), order).tolist() == values


@given(st.binary(max_size=40))
def test_hostile_escapes_end_cleanly(data: bytes) -> None:
    with pytest.raises(CorruptFile):
        RangeDecoder(data).decode_escapes(500, 2)


def test_a_long_stream_grows_its_buffer() -> None:
    rng = np.random.default_rng(2)
    encoder, values = RangeEncoder(), rng.integers(0, 1 << 16, 3000)
    for part in np.array_split(values, 7):
        encoder.encode_block(part, np.ones_like(part), 16)
    data = encoder.finish()
    assert len(data) >= 6000
    assert RangeDecoder(data).decode_bits_block(3000, 16).tolist() == values.tolist()


def test_an_empty_stream_has_no_bytes() -> None:
    assert RangeEncoder().finish() == b""
    assert round_trip([], []) == b""


def test_reading_far_past_the_end_is_an_error() -> None:
    decoder = RangeDecoder(b"")
    with pytest.raises(CorruptFile):
        for _ in range(9):
            decoder.decode_bits(8)
    with pytest.raises(CorruptFile):
        RangeDecoder(b"").decode_bits_block(1000, 16)
    with pytest.raises(CorruptFile):
        RangeDecoder(b"\x12").decode_block([0, 1, 65536], 100_000, 16)


def test_bytes_left_over_are_an_error() -> None:
    data = encode_uniform([integers("gauss", 50)], [100])
    with pytest.raises(CorruptFile):
        decode_tensors(data + bytes(8), [(50,)])


# --- small numbers and models


@given(st.lists(st.integers(-(1 << 32), 1 << 32) | st.integers(-5, 5), max_size=30))
@settings(max_examples=60, deadline=None)
def test_adaptive_number_round_trip(values: list[int]) -> None:
    writer, reader, encoder = AdaptiveNumber(512), AdaptiveNumber(512), RangeEncoder()
    for value in values:
        writer.encode(encoder, value)
    decoder = RangeDecoder(encoder.finish())
    assert [reader.decode(decoder) for _ in values] == values


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("adaptation", range(4))
def test_every_model_round_trips(family: Family, adaptation: int) -> None:
    rng = np.random.default_rng(adaptation)
    values = np.concatenate([rng.integers(-20, 21, 100), rng.integers(-(1 << 31), 1 << 31, 10), [-(1 << 31)]])
    for scale in range(1, N_SCALES, 5):
        model = TensorModel(scale, family, adaptation, centre=-7)
        encoder = RangeEncoder()
        encode_values(encoder, values, model)
        data = encoder.finish()
        np.testing.assert_array_equal(decode_values(RangeDecoder(data), len(values), model), values)
        assert abs(8 * len(data) - values_cost(values, model) / BIT) < 16 + 0.002 * len(values)


def test_choice_is_the_right_family_and_scale() -> None:
    def free(_: TensorModel) -> int:
        return 0

    assert choose_model(integers("laplace", 3000).astype(np.int64), free).family == Family.LAPLACE
    assert choose_model(integers("gauss", 3000).astype(np.int64), free).family == Family.GAUSS
    assert choose_model(integers("uniform", 3000).astype(np.int64), free).family == Family.FLAT
    narrow, wide = (choose_model(integers("laplace", 3000).astype(np.int64) << s, free).scale for s in (0, 8))
    assert abs(wide - narrow - 32) <= 1  # 8 octaves of 4 steps


def test_integer_logarithms() -> None:
    frequencies = np.arange(1, 65537)
    exact = (16 - np.log2(frequencies)) * BIT
    error = frequency_costs()[1:] - exact
    assert error.min() > -1e-6 and error.max() < 1.01


# --- streams


@st.composite
def tensors(draw: st.DrawFn) -> ndarray:
    shape = draw(st.lists(st.integers(0, 5), max_size=5))
    bound = draw(st.sampled_from([0, 1, 30, 1000, EXTREME, (1 << 31) - 1]))
    n = math.prod(shape)
    values = draw(st.lists(st.integers(-bound, bound), min_size=min(n, 20), max_size=min(n, 20)))
    return np.resize(np.array(values, np.int32), shape) if n else np.zeros(shape, np.int32)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(tensors(), st.integers(0, uniform.N_STEPS - 1)), max_size=6))
def test_stream_round_trip(network: list[tuple[ndarray, int]]) -> None:
    round_trip([tensor for tensor, _ in network], [step for _, step in network])


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (1, 2, 3, 2, 2), (97,), (40, 41)])
@pytest.mark.parametrize("value", [0, 1, -1, 1000, EXTREME, -EXTREME, -(1 << 31)])
def test_edge_cases_round_trip(shape: tuple[int, ...], value: int) -> None:
    tensor = np.full(shape, value, np.int32)
    round_trip([tensor, tensor], [0, 511])
    if tensor.size > 1:
        tensor.flat[0] = 3  # one value unlike the rest
        round_trip([tensor], [7])


def test_constant_tensors_cost_almost_nothing() -> None:
    zeros = [np.zeros((256, 256), np.int32)] * 20
    assert len(round_trip(zeros, [192] * 20)) <= 10
    assert len(round_trip([np.full((256, 256), 12345, np.int32)], [192])) <= 7


SMALL = [np.array([[3, -1, 0], [0, 2, -5]]), np.array([1, 0, -1]), np.zeros((2, 2), int)]
RAMP = [np.arange(120).reshape(10, 12) * 37 % 41 - 20, np.array([100_000, -7])]


@pytest.mark.parametrize(
    ("tensors", "steps", "first", "second"),
    [
        (SMALL, [190, 188, 190], "64e19387a3470d7c", "68e759fc8f1b6bb9"),
        (
            RAMP,
            [200, 10],
            "ca8259a67386dfb6f1e542fe940ab9e49ac93c7c76d092d221ef10f92b7eace44ed2a277777f14f7d797d95c40ce29c2"
            "1ec129b65cafb9726571303e01b523e1fe55b3fabc332c4c73d08ed6b3cd7ae3f9d90a172a1bbcd6f6338c635add204e",
            "c02ea9be0206ff5a8dc5319c03c602b16a386bb85ced952bab7222a524de5b42fa59790487feca107e23db5e7d556e5f"
            "e266ef6cc1dc027f9e586305d519e552c7675fabe184edce5ecc7c1dae0d4851c1e31f3cedd8b12248f9e97bc872a2b4",
        ),
    ],
)
def test_golden_bytes(tensors: list[ndarray], steps: list[int], first: str, second: str) -> None:
    """What format versions 1 and 2 hold: both are read, the second is written."""
    assert round_trip([tensor.astype(np.int32) for tensor in tensors], steps).hex() == second
    decoded = decode_tensors(bytes.fromhex(first), [tensor.shape for tensor in tensors], version=1)
    assert step_indices(decoded) == steps
    for tensor, copy in zip(tensors, integers_of(decoded), strict=True):
        np.testing.assert_array_equal(copy, tensor)


def test_bytes_do_not_depend_on_dtype_or_layout() -> None:
    tensor = integers("mixed", 600).reshape(20, 30)
    data = encode_uniform([tensor], [80])
    assert encode_uniform([tensor.astype(np.int64)], [80]) == data
    assert encode_uniform([tensor.astype(np.int16)], [80]) == data
    assert encode_uniform([np.asfortranarray(tensor)], [80]) == data


@pytest.mark.parametrize(("n", "allowed"), [(1024, 0.035), (7569, 0.0125), (66049, 0.008)])
@pytest.mark.parametrize("source", SOURCES)
def test_overhead_over_the_entropy(source: str, n: int, allowed: float) -> None:
    seeds = range(3 if n < 10_000 else 1)
    written = sum(8 * len(encode_uniform([integers(source, n, seed)], [192])) for seed in seeds)
    assert written <= (1 + allowed) * sum(entropy_bits(integers(source, n, seed)) for seed in seeds)


@pytest.mark.parametrize("source", SOURCES)
def test_costs_are_those_of_the_written_bytes(source: str) -> None:
    network = [integers(source, n, n).reshape(-1, 3) for n in (3, 300, 1500, 3000)]
    costs = tensor_costs(uniform_tensors(network, [100, 101, 90, 95]), [AdaptiveTables()])
    assert sum(costs) == pytest.approx(8 * len(encode_uniform(network, [100, 101, 90, 95])), rel=0.005, abs=10)
    alone = encode_uniform(network[3:], [95])
    assert costs[3] == pytest.approx(8 * len(alone), rel=0.02)


def test_drifting_scales_are_followed() -> None:
    rng = np.random.default_rng(5)
    values = np.rint(rng.laplace(0, 1, 40_000) * np.geomspace(0.5, 20, 40_000)).astype(np.int32)
    assert 8 * len(encode_uniform([values], [100])) < entropy_bits(values)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([(1,), (0,), (5, 7), (3000,)]))
def test_random_bytes_end_cleanly(data: bytes, shape: tuple[int, ...]) -> None:
    check_hostile(data, [shape, (4,), (), shape])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_streams_end_cleanly(data: st.DataObject) -> None:
    network = [integers("laplace", 500) << 3, integers("gauss", 40), np.array([EXTREME, 0, -EXTREME], np.int32)]
    stream = bytearray(encode_uniform(network, [9, 80, 200]))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    check_hostile(bytes(stream[: data.draw(st.integers(0, len(stream)))]), [tensor.shape for tensor in network])


def check_hostile(data: bytes, shapes: list[tuple[int, ...]]) -> None:
    try:
        decoded = decode_tensors(data, shapes)
    except CorruptFile as error:
        assert "\n" not in str(error)
    else:
        assert [tensor.values().shape for tensor in decoded] == shapes  # a trellis' integers may lie in a view
        assert all(tensor.dtype == np.int32 for tensor in integers_of(decoded))
        assert all(np.isfinite(tensor.values()).all() for tensor in decoded)


def test_a_truncated_stream_is_an_error() -> None:
    data = encode_uniform([integers("gauss", 2000)], [100])
    for length in (0, 10, len(data) // 2, len(data) - 10):
        with pytest.raises(CorruptFile):
            decode_tensors(data[:length], [(2000,)])


def test_what_cannot_be_coded_is_refused() -> None:
    with pytest.raises(ValueError, match="int32"):
        encode_uniform([np.array([1 << 31])], [0])
    with pytest.raises(ValueError, match="quantise"):
        encode_uniform([np.array([0.5])], [0])
    with pytest.raises(ValueError, match="step"):
        encode_uniform([np.array([1])], [uniform.N_STEPS])


# --- quantiser


def test_steps_are_the_ladder_exactly() -> None:
    with localcontext() as context:
        context.prec = 60
        for index in (0, 1, 7, 8, 131, 250, 256, 511):
            assert uniform.step_size(index) == float(Decimal(2) ** (Decimal(index) / 8 - 32))
    for index in (-1, uniform.N_STEPS):
        with pytest.raises(ValueError, match="index"):
            uniform.step_size(index)


@given(st.integers(0, uniform.N_STEPS - 1), st.floats(-0.499, 0.499))
def test_nearest_step(index: int, offset: float) -> None:
    assert uniform.nearest_step_index(uniform.step_size(index) * 2 ** (offset / 8)) == index


def test_nearest_step_beyond_the_ladder() -> None:
    last = uniform.N_STEPS - 1
    assert [uniform.nearest_step_index(step) for step in (0.0, -1.0, 1e-30, 1e30, math.inf)] == [0, 0, 0, last, last]


def test_quantise_rounds_half_to_even_and_clips() -> None:
    unit = uniform.nearest_step_index(1.0)
    values = np.array([[0.5, 1.5, -0.5, -2.5], [1e20, -1e20, math.inf, 2.6]])
    expected = [[0, 2, 0, -2], [EXTREME, -EXTREME, EXTREME, 3]]
    integers_ = uniform.quantise(values, unit)
    assert integers_.dtype == np.int32 and integers_.tolist() == expected
    back = uniform.dequantise(integers_, unit + 8)
    assert back.dtype == np.float32 and back[0].tolist() == [0, 4, 0, -4]
    with pytest.raises(ValueError, match="NaN"):
        uniform.quantise(np.array([math.nan]), unit)


def test_quantisation_error_is_at_most_half_a_step() -> None:
    values = np.random.default_rng(2).normal(0, 1, 1000)
    for index in (150, 201, 230):
        error = uniform.dequantise(uniform.quantise(values, index), index) - values
        assert np.abs(error).max() <= uniform.step_size(index) / 2 + 1e-6


def test_allocated_steps_minimise_the_lagrangian() -> None:
    sensitivity, sizes, level = [4.0, 1e-3, 250.0], [10, 1000, 3], 0.01
    steps = uniform.allocate_steps(sensitivity, level)
    slope = level**2 * math.log(2) / 6

    def lagrangian(indices: list[int]) -> float:
        ladder = [uniform.step_size(index) for index in indices]
        rows = zip(sizes, sensitivity, ladder, strict=True)
        return sum(n * (s * step**2 / 12 - slope * math.log2(step)) for n, s, step in rows)

    for tensor in range(3):
        for change in (-2, 2):
            other = list(steps)
            other[tensor] += change
            assert lagrangian(other) > lagrangian(steps)


def test_allocation_guards() -> None:
    steps = uniform.allocate_steps([0.0, math.inf, 5e-324], 0.01)
    assert steps == [uniform.N_STEPS - 1, 0, uniform.N_STEPS - 1]
    assert not uniform.quantise(np.array([1e3, -1e3]), steps[0]).any()
    for sensitivity, level in (([math.nan], 1.0), ([-1.0], 1.0), ([1.0], 0.0), ([1.0], math.nan)):
        with pytest.raises(ValueError):
            uniform.allocate_steps(sensitivity, level)


def test_limits_grow_with_the_scale() -> None:
    limits = [limit(table) for table in range(32)]
    assert limits == sorted(limits) and limits[0] >= 2 and limits[-1] < 120
