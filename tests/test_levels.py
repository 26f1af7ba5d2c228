"""What integers stand for: the kinds of levels, and how they are written."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from inrzip.codecs.bit_counter import BitCounter, cost_of
from inrzip.codecs.codebook import MAX_CODEWORDS, MAX_GROUPS, MAX_MULTIPLE, Codebook
from inrzip.codecs.levels import ChannelSteps, HalfFloat, Levels, UniformSteps
from inrzip.codecs.levels_coder import LevelsCoder
from inrzip.codecs.minmax import MinMax, quantise_minmax, quantise_pruned
from inrzip.codecs.model_choice import BIT
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.uniform import N_STEPS, dequantise, nearest_step_index, quantise, step_size
from inrzip.errors import CorruptFile

UNIT = nearest_step_index(1.0)
INT32 = (-(1 << 31), (1 << 31) - 1)
SHAPES = [(), (0,), (1,), (7,), (3, 0, 2), (5, 4), (2, 3, 4), (3, 3, 2, 5), (1, 2, 3, 2, 2)]


def halves(rng: np.random.Generator, n: int) -> tuple[float, ...]:
    return tuple(rng.normal(0, 0.1, n).astype(np.float16).astype(float).tolist())


def examples(shape: tuple[int, ...], seed: int = 0) -> list[Levels]:
    """Levels of every kind that a tensor of that shape can have."""
    rng = np.random.default_rng(seed)
    levels: list[Levels] = [
        UniformSteps(int(rng.integers(N_STEPS))),
        HalfFloat(),
        MinMax(None, *(halves(rng, 2)[i::2] for i in (0, 1))),
    ]
    words = tuple(sorted(rng.choice(np.arange(-40, 41), min(4, max(1, math.prod(shape))), replace=False).tolist()))
    levels.append(Codebook(180, 0, (words,), ()))
    levels.append(ChannelSteps(250, tuple(tuple(rng.integers(-9, 10, n).tolist()) for n in shape)))
    levels.append(ChannelSteps(0, tuple((N_STEPS - 1,) * n if i == 0 else () for i, n in enumerate(shape))))
    for axis, n in enumerate(shape):
        one = tuple((4 * rng.integers(-5, 6, n)).tolist())
        levels.append(ChannelSteps(200, tuple(one if i == axis else () for i in range(len(shape)))))
        levels.append(MinMax(axis, halves(rng, n), halves(rng, n), pruned=bool(axis % 2)))
        if math.prod(shape) > 1:
            levels.append(Codebook(100, axis, (words, (-3,)), tuple(rng.integers(0, 2, n).tolist())))
    return levels


@pytest.mark.parametrize("shape", SHAPES)
def test_levels_round_trip(shape: tuple[int, ...]) -> None:
    written = [levels for _ in range(2) for levels in examples(shape)]
    encoder, coder = RangeEncoder(), LevelsCoder()
    predicted = 0
    for levels in written:
        predicted += coder.cost(levels, shape)
        coder.encode(encoder, levels, shape)
    data = encoder.finish()
    bits = predicted / BIT
    assert bits - 48 < 8 * len(data) < bits + 10 + 0.01 * bits  # up to four bytes of zeros at the end are left out
    decoder, coder = RangeDecoder(data), LevelsCoder()
    assert [coder.decode(decoder, shape) for _ in written] == written
    decoder.finish()


@pytest.mark.parametrize("shape", SHAPES)
def test_dequantised_values_have_the_shape_and_are_finite(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    extreme = np.resize(np.array([*INT32, 0, 1, -1], np.int32), shape)
    for levels in examples(shape):
        integers = rng.integers(0, 1, shape, np.int32) if isinstance(levels, Codebook | HalfFloat) else extreme
        values = levels.dequantise(integers)
        assert values.shape == shape and values.dtype == np.float32 and np.isfinite(values).all()


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(SHAPES))
def test_random_bytes_end_cleanly(data: bytes, shape: tuple[int, ...]) -> None:
    decoder, coder = RangeDecoder(data), LevelsCoder()
    try:
        for _ in range(6):
            levels = coder.decode(decoder, shape)
            values = levels.dequantise(np.full(shape, 3, np.int32))
            assert np.isfinite(values).all() and values.shape == shape
    except CorruptFile as error:
        assert "\n" not in str(error)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_streams_end_cleanly(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    encoder, coder = RangeEncoder(), LevelsCoder()
    for levels in examples(shape):
        coder.encode(encoder, levels, shape)
    stream = bytearray(encoder.finish())
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    decoder, coder = RangeDecoder(bytes(stream)), LevelsCoder()
    try:
        for _ in examples(shape):
            assert np.isfinite(coder.decode(decoder, shape).dequantise(np.zeros(shape, np.int32))).all()
    except CorruptFile:
        pass


# --- uniform and per-channel steps


def test_uniform_steps_are_those_of_the_quantiser() -> None:
    integers = np.array([[3, -7], [0, 1 << 30]], np.int32)
    np.testing.assert_array_equal(UniformSteps(77).dequantise(integers), dequantise(integers, 77))


def test_channel_steps_quantise_each_element_with_its_own() -> None:
    tensor = np.random.default_rng(2).normal(0, 1, (3, 2, 4)).astype(np.float32)
    offsets = ((-9, -2, 5), (), (0, 8, -8, 3))
    levels = ChannelSteps(UNIT - 24, offsets)
    integers = levels.quantise(tensor)
    values = levels.dequantise(integers)
    for i, j, k in np.ndindex(3, 2, 4):
        index = UNIT - 24 + offsets[0][i] + offsets[2][k]
        assert integers[i, j, k] == quantise(tensor[i, j, k], index)
        assert values[i, j, k] == dequantise(integers[i, j, k], index)


def test_equal_channels_are_nearly_free_and_coarse_offsets_are_cheaper() -> None:
    def bits(offsets: tuple[int, ...]) -> float:
        return LevelsCoder().cost(ChannelSteps(192, ((), offsets)), (3, len(offsets))) / BIT

    rng = np.random.default_rng(3)
    grains = rng.integers(-2, 3, 60)
    assert bits((0,) * 60) < 25
    assert bits(tuple((4 * grains).tolist())) < bits(tuple((4 * grains + rng.integers(-1, 2, 60)).tolist())) - 60


def test_impossible_steps_are_refused() -> None:
    for step, offsets in ((500, ((0, 12),)), (20, ((-11, 0), (0, -10))), (N_STEPS, ())):
        with pytest.raises(ValueError, match="ladder"):
            ChannelSteps(step, offsets)
    with pytest.raises(ValueError, match="channels"):
        LevelsCoder().cost(ChannelSteps(100, ((), (0, 1))), (2, 3))
    with pytest.raises(ValueError, match="NaN"):
        ChannelSteps(100, ((0,),)).quantise(np.array([math.nan]))


# --- half floats


def test_every_half_float_is_exact() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    finite = patterns[np.isfinite(patterns.view(np.float16))]
    values = finite.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(
        HalfFloat().dequantise(finite.astype(np.int32)).view(np.uint32), values.view(np.uint32)
    )
    np.testing.assert_array_equal(HalfFloat().quantise(values), finite.astype(np.int32))
    assert HalfFloat().dequantise(HalfFloat().quantise(np.array([1e9, -1e9], np.float32))).tolist() == [65504, -65504]


@pytest.mark.parametrize("pattern", [-1, 1 << 16, 0x7C00, 0xFC01, *INT32])
def test_patterns_that_are_no_finite_float_are_refused(pattern: int) -> None:
    with pytest.raises(CorruptFile):
        HalfFloat().dequantise(np.array([0, pattern], np.int32))


# --- min-max


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_minmax_spans_the_tensor(bits: int) -> None:
    tensor = np.random.default_rng(4).normal(0, 0.1, (40, 50)).astype(np.float32)
    integers, levels = quantise_minmax(tensor, bits)
    assert integers.min() == 0 and integers.max() == (1 << bits) - 1
    error = np.abs(levels.dequantise(integers) - tensor)
    assert error.max() < 0.51 * max(levels.scales) + 1e-3  # minima are rounded to half precision


def test_minmax_takes_the_axis_that_errs_least() -> None:
    rng = np.random.default_rng(5)
    scales = np.geomspace(0.01, 1, 6)
    for axis in (0, 1):
        tensor = rng.uniform(-1, 1, (6, 400) if axis == 0 else (400, 6)) * np.expand_dims(scales, 1 - axis)
        assert quantise_minmax(tensor.astype(np.float32), 8)[1].axis == axis
    assert quantise_minmax(rng.uniform(-1, 1, (10, 10)).astype(np.float32), 8)[1].axis is None  # pairs cost too much


def test_minmax_of_odd_tensors() -> None:
    for tensor in (np.zeros((0,)), np.zeros((3, 0, 2)), np.full((4, 300), 0.25), np.array(2.5), np.array([1e9, -1e9])):
        integers, levels = quantise_minmax(tensor.astype(np.float32), 8)
        values = levels.dequantise(integers)
        assert values.shape == tensor.shape and np.isfinite(values).all()
        if tensor.size and abs(tensor).max() < 1e4:
            np.testing.assert_allclose(values, tensor, atol=1e-3)
    with pytest.raises(ValueError, match="diverged"):
        quantise_minmax(np.array([math.inf]), 8)


def test_removed_weights_stay_exactly_zero() -> None:
    rng = np.random.default_rng(6)
    tensor = np.where(rng.random((30, 40)) < 0.4, 0, rng.uniform(0.5, 1, (30, 40))).astype(np.float32)
    tensor[3] = 0
    for bits in (4, 8):
        integers, levels = quantise_pruned(tensor, bits)
        values = levels.dequantise(integers)
        assert levels.pruned and integers.max() <= (1 << bits) - 1
        np.testing.assert_array_equal(values == 0, tensor == 0)
        assert np.abs(values - tensor).max() < 0.6 / ((1 << bits) - 2)


# --- codebooks


def test_codebook_values() -> None:
    book = Codebook(UNIT, 1, ((-8, -1, 2, 9), (4, 5)), (0, 1, 0))
    assert book.homes() == [1, 0]
    values = book.dequantise(np.array([[-1, 0, 2], [1, 1, 0]], np.int32))
    assert values.tolist() == [[-8, 4, 9], [2, 5, -1]]
    whole = Codebook(UNIT - 8, 0, ((-8, -1, 2, 9),), ())
    assert whole.dequantise(np.array([2], np.int32)).tolist() == [4.5]
    assert whole.dequantise(np.array(-1, np.int32)).tolist() == -4


@pytest.mark.parametrize("integer", [-2, 3, *INT32])
def test_codewords_that_do_not_exist_are_refused(integer: int) -> None:
    with pytest.raises(CorruptFile):
        Codebook(UNIT, 0, ((-8, -1, 2, 9),), ()).dequantise(np.array([0, integer], np.int32))


@pytest.mark.parametrize(
    "fields",
    [
        (0, 0, (), ()),
        (0, 0, ((),), ()),
        (0, 0, ((1, 1),), ()),
        (0, 0, ((1, 0),), ()),
        (0, 0, ((MAX_MULTIPLE + 1,),), ()),
        (N_STEPS, 0, ((1,),), ()),
        (0, -1, ((1,),), ()),
        (0, 0, ((1,), (2,)), ()),
        (0, 0, ((1,),), (0,)),
        (0, 0, ((1,), (2,)), (0, 2)),
        (0, 0, (tuple(range(MAX_CODEWORDS + 1)),), ()),
        (0, 0, ((1,),) * (MAX_GROUPS + 1), (0,)),
    ],
)
def test_impossible_codebooks_are_refused(
    fields: tuple[int, int, tuple[tuple[int, ...], ...], tuple[int, ...]],
) -> None:
    with pytest.raises(ValueError):
        Codebook(*fields)


def test_sorted_groups_cost_little() -> None:
    rng = np.random.default_rng(7)
    words = ((-9, -4, 0, 4, 9), (-5, -2, 0, 2, 5))
    mixed = rng.permutation(np.repeat([0, 1], 46))

    def bits(groups: ndarray) -> float:
        return LevelsCoder().cost(Codebook(180, 0, words, tuple(groups.tolist())), (92, 92)) / BIT

    assert bits(np.sort(mixed)) < bits(mixed) - 60
    assert bits(np.sort(mixed)) < bits(np.zeros(92, int)) + 25


def test_a_small_tensor_has_no_large_codebook() -> None:
    """A stream of few bytes must not ask for much work."""
    encoder, coder = RangeEncoder(), LevelsCoder()
    coder.encode(encoder, Codebook(180, 0, (tuple(range(9)),), ()), (8,))
    with pytest.raises(CorruptFile):
        LevelsCoder().decode(RangeDecoder(encoder.finish()), (8,))


# --- prices


def test_a_counter_spends_what_an_encoder_does() -> None:
    calls: list[Callable[[RangeEncoder], None]] = [
        lambda encoder: encoder.encode(100, 3, 9),
        lambda encoder: encoder.encode_bits(12345678, 40),
        lambda encoder: encoder.encode_block([0, 1, 2], [1, 1, 65000], 16),
        lambda encoder: encoder.encode_block([], [], 16),
    ]
    counter, encoder = BitCounter(), RangeEncoder()
    for call in calls * 20:
        call(counter)
        call(encoder)
    assert counter.cost / BIT == pytest.approx(8 * len(encoder.finish()), abs=9)


def test_pricing_leaves_the_state_alone() -> None:
    state = [1]
    cost = cost_of(state, lambda s, encoder: (s.append(2), encoder.encode_bits(0, 5))[1])
    assert state == [1] and cost == 5 * BIT


def test_step_sizes_of_channels_are_the_ladder() -> None:
    assert ChannelSteps(10, ((0, 5), ())).steps().ravel().tolist() == [step_size(10), step_size(15)]
