"""The baselines: Huffman words, fixed widths, and pruned tensors with their positions."""

import heapq
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.huffman import MAX_LENGTH, MAX_SYMBOLS, HuffmanCoder, HuffmanTable, word_lengths
from inrzip.codecs.model_choice import BIT
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.raw_coder import RawCoder
from inrzip.codecs.sparse import SparseCoder, prune
from inrzip.errors import CorruptFile

EXTREMES = [0, 1, -1, 1 << 30, -(1 << 30), -(1 << 31), (1 << 31) - 1]
CODERS = [HuffmanCoder, RawCoder, SparseCoder]
Network = list[ndarray]


def encoder_for(kind: type, tensors: Network) -> IntegerCoder:
    return kind() if kind is RawCoder else kind.surveying(tensors)


def round_trip(kind: type, tensors: Network) -> bytes:
    """Codes, decodes and compares; the cost announced must be that of the bytes."""
    encoder, writer, predicted = RangeEncoder(), encoder_for(kind, tensors), 0
    for tensor in tensors:
        predicted += writer.cost(tensor)
        writer.encode(encoder, tensor)
    data = encoder.finish()
    bits = predicted / BIT
    assert bits - 48 < 8 * len(data) < bits + 10 + 0.005 * bits  # up to four bytes of zeros at the end are left out
    decoder, reader = RangeDecoder(data), kind()
    for tensor in tensors:
        copy = reader.decode(decoder, tensor.shape)
        assert copy.dtype == np.int32 and copy.shape == tensor.shape
        np.testing.assert_array_equal(copy, tensor)
    decoder.finish()
    return data


def laplace(n: int, scale: float = 4.0, seed: int = 0) -> ndarray:
    return np.rint(np.random.default_rng(seed).laplace(0, scale, n)).astype(np.int64)


@st.composite
def tensors(draw: st.DrawFn) -> ndarray:
    shape = draw(st.lists(st.integers(0, 4), max_size=5))
    values = draw(st.lists(st.sampled_from(EXTREMES) | st.integers(-9, 9), min_size=1, max_size=12))
    return np.resize(np.array(values, np.int64), shape) if math.prod(shape) else np.zeros(shape, np.int64)


@pytest.mark.parametrize("kind", CODERS)
@settings(max_examples=60, deadline=None)
@given(network=st.lists(tensors(), max_size=5))
def test_round_trip(kind: type, network: Network) -> None:
    round_trip(kind, network)


@pytest.mark.parametrize("kind", CODERS)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (1, 2, 3, 2, 2), (97,), (40, 41)])
def test_edge_cases(kind: type, shape: tuple[int, ...]) -> None:
    for value in EXTREMES:
        round_trip(kind, [np.full(shape, value), np.full(shape, 3)])


@pytest.mark.parametrize("kind", CODERS)
def test_many_different_values(kind: type) -> None:
    values = np.random.default_rng(1).integers(-(1 << 31), 1 << 31, 2 * MAX_SYMBOLS)
    data = round_trip(kind, [values, values[:10]])
    assert len(data) < 7.5 * values.size


@pytest.mark.parametrize("kind", CODERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_streams_end_cleanly(kind: type, data: st.DataObject) -> None:
    network = [laplace(300), laplace(20, 400.0), np.array([1 << 30, 0, -5])]
    encoder, writer = RangeEncoder(), encoder_for(kind, network)
    for tensor in network:
        writer.encode(encoder, tensor)
    stream = bytearray(encoder.finish())
    for _ in range(data.draw(st.integers(0, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    decoder, reader = RangeDecoder(bytes(stream[: data.draw(st.integers(0, len(stream)))])), kind()
    try:
        for tensor in network:
            copy = reader.decode(decoder, tensor.shape)
            assert copy.dtype == np.int32 and copy.shape == tensor.shape
    except CorruptFile as error:
        assert "\n" not in str(error)


# --- Huffman


def shortest_total(counts: list[int]) -> int:
    """Bits of the best code: the sum of the inner nodes of Huffman's tree."""
    heap, total = sorted(counts), 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=60))
def test_word_lengths_are_the_best(counts: list[int]) -> None:
    lengths = word_lengths(counts)
    assert sum(length * count for length, count in zip(lengths, counts, strict=True)) == shortest_total(counts)
    assert sum(2.0**-length for length in lengths) == 1


def test_words_are_never_too_long() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = word_lengths(fibonacci)
    assert max(lengths) <= MAX_LENGTH and sum(2.0**-length for length in lengths) == 1
    cost = sum(length * count for length, count in zip(lengths, fibonacci, strict=True))
    assert cost < 1.01 * shortest_total(fibonacci)


def test_words_are_those_of_the_canonical_code() -> None:
    table = HuffmanTable.of([np.array([5] * 8 + [-2] * 4 + [0] * 2 + [7] * 2)])
    assert table.values == (-2, 0, 5, 7) and table.lengths == (2, 3, 1, 3)
    words = [
        f"{start >> (16 - table.lengths[s]):0{table.lengths[s]}b}"
        for s, start in zip(table.order(), table.starts(), strict=False)
    ]
    assert words == ["0", "10", "110", "111"]


def test_eight_bit_weights_take_huffman_s_length_and_a_small_table() -> None:
    values = np.clip(laplace(20_000, 16.0), -128, 127) + 128
    counts = np.bincount(values)
    words = shortest_total(counts[counts > 0].tolist()) / 8
    written = len(round_trip(HuffmanCoder, [values]))
    assert words < written < words + 90  # at most three bits for each of the 256 values


def test_a_common_table_serves_tensors_alike_and_no_others() -> None:
    alike = [laplace(400, 10.0, seed) for seed in range(8)]
    together = len(round_trip(HuffmanCoder, alike))
    apart = sum(len(round_trip(HuffmanCoder, [tensor])) for tensor in alike)
    assert together < apart - 100
    strange = 1000 + 7 * np.arange(40)
    assert len(round_trip(HuffmanCoder, [*alike[:4], strange, *alike[4:]])) < together + 60


def test_incomplete_codes_are_refused() -> None:
    for lengths in ((1, 2), (1, 1, 1), (0, 0)):
        with pytest.raises(ValueError, match="code"):
            HuffmanTable(tuple(range(len(lengths))), lengths, escape=False)


# --- fixed width


def test_raw_values_take_their_width() -> None:
    values = np.random.default_rng(2).integers(0, 256, 5000)
    assert 5000 <= len(round_trip(RawCoder, [values])) <= 5004
    assert 10_000 <= len(round_trip(RawCoder, [values * 257 - 40_000])) <= 10_010
    assert len(round_trip(RawCoder, [np.full(5000, 77)])) <= 6


# --- pruning


def test_positions_cost_their_entropy() -> None:
    rng = np.random.default_rng(3)
    for share in (0.02, 0.3, 0.6):
        kept = rng.random(20_000) < share
        written = 8 * len(round_trip(SparseCoder, [np.where(kept, 7, 0)]))  # all alike, so that positions are all
        mean = kept.mean()
        entropy = -20_000 * (mean * math.log2(mean) + (1 - mean) * math.log2(1 - mean))
        assert entropy < written < 1.002 * entropy + 60


def test_pruning_keeps_the_largest_weights_of_all_layers() -> None:
    rng = np.random.default_rng(4)
    network = [
        rng.normal(0, scale, shape).astype(np.float32)
        for scale, shape in ((1, (20, 30)), (0.1, (10,)), (0.2, (5, 5, 8)))
    ]
    pruned = prune(network, 0.6)
    np.testing.assert_array_equal(pruned[1], network[1])
    weights, left = (np.concatenate([t.ravel() for t in (n[0], n[2])]) for n in (network, pruned))
    assert np.count_nonzero(left) == 480
    assert np.abs(weights[left == 0]).max() < np.abs(left[left != 0]).min()
    assert all(t.dtype == np.float32 for t in pruned)
    assert [np.count_nonzero(t) for t in prune(network, 0.0)] == [0, 10, 0]
    for tensor, same in zip(prune(network, 1.0), network, strict=True):
        np.testing.assert_array_equal(tensor, same)
    with pytest.raises(ValueError, match="keep"):
        prune(network, 1.5)
