"""Coders with a fixed table for each tensor or each scale: dual axes, mixtures, shaped curves."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from inrzip.codecs.adaptive import CONSTANT, N_SCALES, TensorModel
from inrzip.codecs.axis_search import axis_scales, cell_sums
from inrzip.codecs.axis_tables import AxisTables
from inrzip.codecs.mixture_tables import MixtureModel, MixtureTables, mixture_table
from inrzip.codecs.model_choice import BIT
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.shaped_tables import KNOTS_8, MAX_CORRECTION, ShapedTables, shaped_table
from inrzip.codecs.static_choice import best_static, histogram, histogram_cost, nearest_scale
from inrzip.codecs.static_tables import STATIC, decode_under, encode_under, parametric_table
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import TOTAL_BITS, UNIT_TABLE, Family

CODERS: dict[str, Callable[[], Any]] = {
    "axes": AxisTables,
    "one scale": lambda: AxisTables(dual=False),
    "mixture": MixtureTables,
    "shaped": ShapedTables,
}
EXTREME = 1 << 30


def dual(shape: tuple[int, ...], spread: float = 6.0, seed: int = 0) -> ndarray:
    """Integers whose scale differs along the last two axes."""
    rng = np.random.default_rng(seed)
    scales = rng.lognormal(0, 0.6, shape[-1]) * rng.lognormal(0, 0.6, (shape[-2], 1))
    return np.rint(rng.normal(0, spread, shape) * scales).astype(np.int64)


def encode(name: str, tensors: list[ndarray]) -> bytes:
    encoder, coder = RangeEncoder(), CODERS[name]()
    for tensor in tensors:
        coder.encode(encoder, tensor)
    return encoder.finish()


def decode(name: str, data: bytes, shapes: list[tuple[int, ...]]) -> list[ndarray]:
    decoder, coder = RangeDecoder(data), CODERS[name]()
    tensors = [coder.decode(decoder, shape) for shape in shapes]
    decoder.finish()
    return tensors


def round_trip(name: str, tensors: list[ndarray]) -> bytes:
    data = encode(name, tensors)
    for tensor, copy in zip(tensors, decode(name, data, [tensor.shape for tensor in tensors]), strict=True):
        assert copy.dtype == np.int32 and copy.shape == tensor.shape
        np.testing.assert_array_equal(copy, tensor)
    return data


@st.composite
def any_tensor(draw: st.DrawFn) -> ndarray:
    shape = draw(st.lists(st.integers(0, 6), max_size=5))
    bound = draw(st.sampled_from([0, 1, 30, 1000, EXTREME, (1 << 31) - 1]))
    n = math.prod(shape)
    values = draw(st.lists(st.integers(-bound, bound), min_size=min(n, 20), max_size=min(n, 20)))
    return np.resize(np.array(values, np.int64), shape) if n else np.zeros(shape, np.int64)


@pytest.mark.parametrize("name", CODERS)
@settings(max_examples=25, deadline=None)
@given(st.lists(any_tensor(), max_size=5))
def test_round_trip(name: str, tensors: list[ndarray]) -> None:
    round_trip(name, tensors)


@pytest.mark.parametrize("name", CODERS)
def test_costs_are_those_of_the_written_bytes(name: str) -> None:
    network = [
        dual((30, 40)),
        dual((1, 40)),
        dual((3, 3, 8, 24), 0.5, 1),
        dual((40, 20), 5000.0, 2),
        np.full((3, 3), 9),
    ]
    encoder, coder, total = RangeEncoder(), CODERS[name](), 0
    for tensor in network:
        total += coder.cost(tensor)
        assert coder.cost(tensor) == coder.cost(tensor)  # asking changes nothing
        coder.encode(encoder, tensor)
    assert total / BIT == pytest.approx(8 * len(encoder.finish()), rel=0.001, abs=10)


@pytest.mark.parametrize("name", CODERS)
def test_constant_tensors_cost_almost_nothing(name: str) -> None:
    assert len(round_trip(name, [np.zeros((256, 256), np.int64)] * 20)) <= 8
    assert len(round_trip(name, [np.full((256, 256), -12345)])) <= 7


def test_dual_axes_pay_where_scales_differ() -> None:
    for shape in ((3, 3, 16, 64), (100, 120)):
        unlike, alike = dual(shape), np.rint(np.random.default_rng(0).normal(0, 6, shape)).astype(np.int64)
        assert len(encode("axes", [unlike])) < 0.95 * len(encode("one scale", [unlike]))
        assert len(encode("axes", [alike])) <= len(encode("one scale", [alike])) + 1
    assert len(encode("axes", [dual((100, 120))])) < 0.95 * len(encode("shaped", [dual((100, 120))]))


def test_dual_axes_come_near_to_known_scales() -> None:
    """The entropy of each element, given its scale, and a little for the scales."""
    rng = np.random.default_rng(0)
    scales = 40 * rng.lognormal(0, 0.6, 300) * rng.lognormal(0, 0.6, (300, 1))
    values = np.rint(rng.normal(0, 1, (300, 300)) * scales).astype(np.int64)
    entropy = float(np.log2(scales * math.sqrt(2 * math.pi * math.e)).sum())
    assert 8 * len(encode("axes", [values])) < 1.012 * entropy


def test_mixtures_and_shaped_curves_pay_where_no_single_curve_fits() -> None:
    rng = np.random.default_rng(1)
    values = np.rint(rng.normal(0, 30, 5000) * np.where(rng.random(5000) < 0.5, 0.05, 1)).astype(np.int64)
    assert len(encode("mixture", [values])) < 0.96 * len(encode("one scale", [values]))
    assert len(encode("shaped", [values])) < 0.97 * len(encode("one scale", [values]))


def test_alternating_estimates_find_the_scales() -> None:
    rng = np.random.default_rng(2)
    rows, columns = rng.integers(-6, 7, 50), rng.integers(-6, 7, 60)
    scales = 2.0 ** ((rows[:, None] + columns + 12) / 4)
    sums = cell_sums(np.rint(rng.laplace(0, 1, (9, 50, 60)) * scales).astype(np.int64), 0)
    found_rows, found_columns = axis_scales(sums, 9, UNIT_TABLE + 12, True, True)
    assert found_rows is not None and found_columns is not None
    shift = int(np.median(found_rows - rows))
    assert np.abs(found_rows - shift - rows).max() <= 1 and np.abs(found_columns + shift - columns).max() <= 1
    only_rows, nothing = axis_scales(sums, 9, UNIT_TABLE + 12, True, False)
    assert nothing is None and only_rows is not None and abs(np.corrcoef(only_rows, rows)[0, 1]) > 0.9


def test_extreme_sums_do_not_overflow() -> None:
    values = np.full((4, 200, 200), -(1 << 31), np.int64)
    values[:, :, :100] = 1
    rows, columns = axis_scales(cell_sums(values, 0), 4, N_SCALES - 2, True, True)
    assert rows is not None and columns is not None
    assert np.ptp(rows) == 0 and columns[0] < columns[-1] and np.ptp(columns[100:]) == 0


def test_golden_bytes() -> None:
    """Changing these changes the file format."""
    tensors = [(np.arange(600).reshape(20, 30) * 37 % 41 - 20) * (np.arange(30) % 7) // 6, np.arange(-9, 9) ** 3]
    written = {name: round_trip(name, tensors) for name in CODERS}
    assert {name: (len(data), data[-16:].hex()) for name, data in written.items()} == {
        "axes": (343, "06ad8a7dee1c3d90f8658ea7271f9fd9"),
        "one scale": (380, "074c91c9996b1961e0821e26fb03dba2"),
        "mixture": (372, "8a4226e1b24a1b098f3162d5ee0ed14b"),
        "shaped": (378, "4a873e151af63f234d6e9419d359360a"),
    }


# --- fixed tables


@pytest.mark.parametrize("scale", [0, 5, UNIT_TABLE, 31, 40, N_SCALES - 2])
@pytest.mark.parametrize("family", Family)
def test_fixed_tables_round_trip(family: Family, scale: int) -> None:
    rng = np.random.default_rng(scale)
    values = np.concatenate([rng.integers(-20, 21, 300), rng.integers(-(1 << 31), 1 << 31, 10), [-(1 << 31)]])
    table = parametric_table(TensorModel(1 + scale, family, STATIC, centre=-7))
    encoder = RangeEncoder()
    encode_under(encoder, values, table)
    np.testing.assert_array_equal(decode_under(RangeDecoder(encoder.finish()), len(values), table), values)


def test_the_static_choice_is_the_best_of_all_scales() -> None:
    rng = np.random.default_rng(3)
    for spread in (0.3, 0.7, 5.0, 300.0):
        values = np.rint(rng.normal(0, spread, 2000)).astype(np.int64)
        for family in Family:
            chosen = best_static(values, [family], lambda model: 0)
            costs = []
            for scale in range(60):
                table = parametric_table(TensorModel(1 + scale, family, STATIC))
                bins = (values + ((1 << table.shift) >> 1)) >> table.shift
                costs.append(histogram_cost(histogram(bins), table))
            assert chosen.scale - 1 == int(np.argmin(costs))
    assert best_static(np.full(5, 3), [Family.GAUSS], lambda model: 0) == TensorModel(CONSTANT, centre=3)


def test_histograms_of_any_magnitudes() -> None:
    for bins in ([], [0], [3, -3, 0], [1 << 40, -(1 << 40), 2]):
        magnitudes, counts = histogram(np.array(bins, np.int64))
        unique = np.unique(np.abs(np.array(bins, np.int64)), return_counts=True)
        assert magnitudes.tolist() == unique[0].tolist() and counts.tolist() == unique[1].tolist()


def test_scales_are_nearest_to_means() -> None:
    assert nearest_scale(1000, 1000) in (UNIT_TABLE, UNIT_TABLE + 1)
    assert nearest_scale(0, 10) == 0 and nearest_scale(0, 0) == 0
    assert nearest_scale(1 << 50, 1) == N_SCALES - 2


@pytest.mark.parametrize("corrections", [(MAX_CORRECTION,) * 6, (-MAX_CORRECTION,) * 6, (0, 32, -32, 32, -32, 32)])
def test_tables_are_sound_at_their_limits(corrections: tuple[int, ...]) -> None:
    assert len(corrections) == len(KNOTS_8)
    for scale in (0, 3, UNIT_TABLE, 31, N_SCALES - 2):
        starts = shaped_table(TensorModel(1 + scale), corrections).cumulative
        assert starts[0] == 0 and starts[-1] == 1 << TOTAL_BITS and np.diff(starts).min() >= 1
        wide = TensorModel(1 + scale, Family.GAUSS)
        starts = mixture_table(MixtureModel(wide, 15, wide.table)).cumulative
        assert starts[0] == 0 and starts[-1] == 1 << TOTAL_BITS and np.diff(starts).min() >= 1


def test_shaped_curves_without_corrections_are_laplace_curves() -> None:
    model = TensorModel(1 + 22)
    ratio = np.diff(shaped_table(model, (0,) * 6).cumulative) / np.diff(parametric_table(model).cumulative)
    assert abs(ratio - 1).max() < 0.01


# --- hostile streams


@pytest.mark.parametrize("name", CODERS)
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([(1,), (0,), (5, 7), (2, 3, 4, 40), (3000,)]))
def test_random_bytes_end_cleanly(name: str, data: bytes, shape: tuple[int, ...]) -> None:
    check_hostile(name, data, [shape, (4,), (), shape])


@pytest.mark.parametrize("name", CODERS)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_streams_end_cleanly(name: str, data: st.DataObject) -> None:
    network = [dual((20, 30), 30.0), dual((3, 3, 4, 20)), np.array([EXTREME, 0, -EXTREME])]
    stream = bytearray(encode(name, network))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    check_hostile(name, bytes(stream[: data.draw(st.integers(0, len(stream)))]), [tensor.shape for tensor in network])


def check_hostile(name: str, data: bytes, shapes: list[tuple[int, ...]]) -> None:
    try:
        decoded = decode(name, data, shapes)
    except CorruptFile as error:
        assert "\n" not in str(error)
    else:
        assert [tensor.shape for tensor in decoded] == shapes
        assert all(tensor.dtype == np.int32 for tensor in decoded)


@pytest.mark.parametrize("name", CODERS)
def test_large_tensors_are_coded_fast(name: str) -> None:
    """A quarter of a million weights; a hundred times what is measured would be too slow."""
    tensor = dual((500, 500))
    encode(name, [tensor[:9, :9]])  # compiles kernels, if no cache has them
    begun = time.perf_counter()
    data = encode(name, [tensor])
    decode(name, data, [tensor.shape])
    assert time.perf_counter() - begun < 5
