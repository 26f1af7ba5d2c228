"""Every coder of integer tensors: round trips, prices, hostile streams; what each promises beyond."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from inrzip.codecs.bit_counter import cost_of
from inrzip.codecs.cabac import Cabac, start_contexts
from inrzip.codecs.cabac_kernels import GREATER, NOT_ZERO, PRECISION
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.model_choice import BIT
from inrzip.codecs.predictive import DependentPredictive, Predictive
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.tables import AdaptiveTables
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import Family, mass_table

EXTREME = 1 << 30
CODERS: tuple[Callable[[], IntegerCoder], ...] = (AdaptiveTables, Cabac, Predictive, DependentPredictive)
each_coder = pytest.mark.parametrize("make", CODERS)


def encode(make: Callable[[], IntegerCoder], tensors: list[ndarray]) -> bytes:
    encoder, coder = RangeEncoder(), make()
    for tensor in tensors:
        coder.encode(encoder, tensor.astype(np.int64))
    return encoder.finish()


def decode(make: Callable[[], IntegerCoder], data: bytes, shapes: list[tuple[int, ...]]) -> list[ndarray]:
    decoder, coder = RangeDecoder(data), make()
    tensors = [coder.decode(decoder, shape) for shape in shapes]
    decoder.finish()
    return tensors


def round_trip(make: Callable[[], IntegerCoder], tensors: list[ndarray]) -> int:
    """Bits that the tensors take."""
    data = encode(make, tensors)
    for copy, tensor in zip(decode(make, data, [tensor.shape for tensor in tensors]), tensors, strict=True):
        assert copy.dtype == np.int32 and copy.shape == tensor.shape
        np.testing.assert_array_equal(copy, tensor)
    return 8 * len(data)


def entropy_bits(values: ndarray) -> float:
    counts = np.unique(values, return_counts=True)[1]
    return float(-(counts * np.log2(counts / values.size)).sum())


def laplace(shape: tuple[int, ...] | int, scale: float = 6.0, seed: int = 0) -> ndarray:
    return np.rint(np.random.default_rng(seed).laplace(0, scale, shape)).astype(np.int64)


@st.composite
def tensors(draw: st.DrawFn) -> ndarray:
    shape = draw(st.lists(st.integers(0, 5), max_size=6))
    bound = draw(st.sampled_from([0, 1, 30, 1000, EXTREME, (1 << 31) - 1]))
    n = int(np.prod(shape))
    values = draw(st.lists(st.integers(-bound, bound), min_size=min(n, 20), max_size=min(n, 20)))
    return np.resize(np.array(values, np.int64), shape) if n else np.zeros(shape, np.int64)


@each_coder
@settings(max_examples=60, deadline=None)
@given(network=st.lists(tensors(), max_size=5))
def test_round_trip(make: Callable[[], IntegerCoder], network: list[ndarray]) -> None:
    round_trip(make, network)


@each_coder
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (1, 2, 3, 2, 2), (97,), (40, 41)])
@pytest.mark.parametrize("value", [0, -1, 1000, EXTREME, (1 << 31) - 1, -(1 << 31)])
def test_edge_cases(make: Callable[[], IntegerCoder], shape: tuple[int, ...], value: int) -> None:
    tensor = np.full(shape, value, np.int64)
    round_trip(make, [tensor, tensor])
    if tensor.size > 1:
        tensor.flat[0] = 3  # one value unlike the rest
        round_trip(make, [tensor])


@each_coder
def test_prices_are_those_of_the_written_bytes(make: Callable[[], IntegerCoder]) -> None:
    network = [
        laplace((3, 5)),
        laplace((30, 100), 0.4),
        laplace((3, 3, 8, 48), 40),
        laplace((7,), 1e6),
        laplace((64, 65)),
    ]
    network[2].flat[17] = EXTREME
    encoder, coder, before = RangeEncoder(), make(), 0.0
    for tensor in network:
        predicted = coder.cost(tensor) / BIT
        assert coder.cost(tensor) / BIT == predicted  # asking changes nothing
        counted = cost_of(coder, lambda coder, encoder: coder.encode(encoder, tensor)) / BIT  # noqa: B023
        assert counted == pytest.approx(predicted, abs=1)
        coder.encode(encoder, tensor)
        written = 8 * int(encoder.state[2])
        assert written - before == pytest.approx(predicted, rel=0.005, abs=24)
        before = written


@each_coder
def test_bytes_do_not_depend_on_layout(make: Callable[[], IntegerCoder]) -> None:
    tensor = laplace((3, 3, 10, 12))
    copy = np.asfortranarray(tensor)
    assert encode(make, [copy]) == encode(make, [tensor])
    np.testing.assert_array_equal(copy, tensor)  # coding does not write into what it is given


@each_coder
def test_constant_tensors_cost_almost_nothing(make: Callable[[], IntegerCoder]) -> None:
    assert round_trip(make, [np.zeros((256, 256), np.int64)] * 20) <= 80
    assert round_trip(make, [np.full((256, 256), 12345, np.int64)]) <= 56


@each_coder
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=80), shape=st.sampled_from([(1,), (0,), (5, 7), (3, 3, 4, 20), (3000,)]))
def test_random_bytes_end_cleanly(make: Callable[[], IntegerCoder], data: bytes, shape: tuple[int, ...]) -> None:
    check_hostile(make, data, [shape, (4,), (), shape])


@each_coder
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_streams_end_cleanly(make: Callable[[], IntegerCoder], data: st.DataObject) -> None:
    network = [laplace((5, 100)) << 3, laplace((3, 3, 4, 16)), np.array([EXTREME, 0, -EXTREME])]
    stream = bytearray(encode(make, network))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    check_hostile(make, bytes(stream[: data.draw(st.integers(0, len(stream)))]), [tensor.shape for tensor in network])


def check_hostile(make: Callable[[], IntegerCoder], data: bytes, shapes: list[tuple[int, ...]]) -> None:
    try:
        decoded = decode(make, data, shapes)
    except CorruptFile as error:
        assert "\n" not in str(error)
    else:
        assert [tensor.shape for tensor in decoded] == shapes
        assert all(tensor.dtype == np.int32 for tensor in decoded)


@pytest.mark.parametrize("make", [AdaptiveTables, Cabac, Predictive])
@pytest.mark.parametrize(("n", "allowed"), [(1024, 0.03), (7569, 0.012), (66049, 0.008)])
@pytest.mark.parametrize("source", ["laplace", "normal"])
def test_overhead_over_the_entropy(make: Callable[[], IntegerCoder], source: str, n: int, allowed: float) -> None:
    draws = [getattr(np.random.default_rng(seed), source)(0, 6, n) for seed in range(3 if n < 10_000 else 1)]
    written = sum(round_trip(make, [np.rint(draw).astype(np.int64)]) for draw in draws)
    assert written <= (1 + allowed) * sum(entropy_bits(np.rint(draw)) for draw in draws)


# --- CABAC


@pytest.mark.parametrize("family", Family)
def test_start_states_are_the_table(family: Family) -> None:
    masses = mass_table(family, 24) / 2**24
    magnitudes = np.append(np.abs(np.arange(len(masses) - 1) - len(masses) // 2 + 1), 10**6)
    starts = start_contexts(family, 24)[::2] / 2**PRECISION
    assert starts[NOT_ZERO] == pytest.approx(masses[magnitudes > 0].sum(), rel=1e-5)
    for n in range(1, 8):
        expected = masses[magnitudes > n].sum() / masses[magnitudes >= n].sum()
        assert starts[GREATER + n - 1] == pytest.approx(expected, rel=1e-5)
    assert ((starts >= 0) & (starts <= 1)).all()


def test_alternating_signs_are_learned() -> None:
    """What a table coder cannot see: the sign of a value follows from the one before."""
    values = np.abs(laplace(8000, 4.0)) * np.resize([1, -1], 8000)
    assert round_trip(Cabac, [values]) < 0.85 * round_trip(AdaptiveTables, [values])
