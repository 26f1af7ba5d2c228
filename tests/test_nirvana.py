"""NIRVANA's networks and their chains of changes, decoded: next to docs/format.md, at random, damaged and hostile."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from jaxtyping import Int
from numpy import ndarray

from inrzip import Kind, Reader, Spec, group_chain
from inrzip.architectures.base import Grid, parameters, predict
from inrzip.architectures.nirvana import FEW, MAX_CHAIN, NirvanaConfig
from inrzip.codecs.levels import HalfFloat, UniformSteps
from inrzip.codecs.weights import AUTOMATIC, QuantisedTensor
from inrzip.container import Container, write_container
from inrzip.errors import CorruptFile
from inrzip.group_chain import CHANGE_STEP, ChainReader, Group, decode_group, encode_changes, encode_whole
from inrzip.header import Header
from inrzip.network import decode_network, encode_network
from tests import page_nirvana
from tests.common import check_architecture, check_hostile_config
from tests.page_decoder import read_config, read_tensors
from tests.test_backbones import noisy

VAST = 2**40
SHAPE = (11, 9, 13)
"""A film in groups of 3 frames, of which the last has 2."""
FRAMES = 3
CHAINS = (0, 1, 2, 0)
"""How its groups are coded."""
VERSION = 4


def coders(tensors: Any) -> list[Any]:
    return [make() for make in AUTOMATIC]


def config(**changes: Any) -> NirvanaConfig:
    return dataclasses.replace(NirvanaConfig(0, FRAMES, 8, 6, 2, 2, 3, 2, (1,)), **changes)


def random_integers(rng: np.random.Generator, grid: Grid, of: NirvanaConfig) -> list[Int[ndarray, "..."]]:
    shapes = [leaf.shape for leaf in parameters(of.structure(grid))]
    return [np.rint(rng.normal(0, 20, shape)).astype(np.int32) for shape in shapes]


def film() -> tuple[bytes, list[Group]]:
    """A file, and the groups in it."""
    spec = Spec(Kind.VIDEO, SHAPE, 3, "u1", 0.0, 255.0, {"rate": (25, 1), "format": ".mp4"})
    header = Header(spec, NirvanaConfig.number, FRAMES)
    rng, groups, payloads = np.random.default_rng(3), [], []
    grid = Grid((FRAMES, *SHAPE[1:]), 3)
    levels = [UniformSteps(200 + i % 3) for i in range(len(parameters(config().structure(grid))))]
    for chain in CHAINS:
        integers = random_integers(rng, grid, config())
        if chain:
            pairs = zip(groups[-1].tensors, integers, strict=True)
            integers = [old.integers + np.where(rng.random(x.shape) < 0.2, x, 0).astype(np.int32) for old, x in pairs]
        tensors = [QuantisedTensor(x, own) for x, own in zip(integers, levels, strict=True)]
        groups.append(Group(config(chain=chain), tensors))
        payloads.append(encode_changes(groups[-1], groups[-2], coders) if chain else encode_whole(groups[-1], coders))
    return write_container(header, payloads), groups


FILM, GROUPS = film()


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 11, 9)])
def test_contract(shape: tuple[int, ...]) -> None:
    check_architecture(NirvanaConfig, shape)


@pytest.mark.parametrize("channels", [1, 3])
def test_solve_comes_near(channels: int) -> None:
    grid = Grid((4, 40, 60), channels)
    for asked in (5_000, 15_000, 60_000):
        found = NirvanaConfig.solve(grid, asked)
        found.check(grid)
        assert abs(found.n_parameters(grid) - asked) < 0.3 * asked
    chosen = NirvanaConfig.solve(grid, 15_000, width=9, patch=4, frames=4)
    assert (chosen.width, chosen.patch, chosen.frames) == (9, 4, 4)


@pytest.mark.parametrize(
    ("of", "grid"),
    [
        (config(), Grid((3, 9, 13), 3)),
        (config(strides=(2, 1), patch=12, shuffle=3, depth=1, frames=5), Grid((2, 13, 7), 1)),
        (config(channels=FEW + 1, lower=FEW + 2), Grid((2, 5, 9), 3)),
    ],
)
def test_values_are_those_of_the_page(of: NirvanaConfig, grid: Grid) -> None:
    network = noisy(of, grid)
    fields = [of.chain, of.frames, of.patch, of.width, of.depth, of.channels, of.lower, of.shuffle]
    weights = [np.asarray(leaf, np.float64) for leaf in parameters(network)]
    found = network.render(grid.axes())
    for number in range(grid.shape[0]):
        expected = page_nirvana.frame(fields, list(of.strides), weights, grid.shape, grid.channels, number)
        assert expected.std() > 0.01
        np.testing.assert_allclose(found[number], expected, atol=1e-4)
    # Several frames at once, in any order, are what single ones are.
    order = np.arange(grid.shape[0])[::-1]
    np.testing.assert_allclose(predict(network, order.astype("f4")), found[order], atol=1e-5)


def test_a_file_is_decoded_from_the_page() -> None:
    with Reader(FILM) as reader:
        expected = np.asarray(reader)
    with Container.open(FILM) as container:
        payloads = [container.segment(i) for i in range(len(CHAINS))]
    before: list[Int[ndarray, "..."]] = []
    levels: list[Any] = []
    for i, payload in enumerate(payloads):
        grid = (min(FRAMES, SHAPE[0] - FRAMES * i), *SHAPE[1:])
        fields, strides, begin = read_config(payload, 21)
        tensors = read_tensors(payload[begin:], page_nirvana.shapes(fields, strides, grid, 3))
        integers = [tensor.integers for tensor in tensors]
        if fields[0]:
            integers = page_nirvana.changed(before, integers)
        else:
            # The same steps as the page's decoder found them, from the weights of integers that are not 0.
            levels = [np.max(np.abs(t.weights)) / np.max(np.abs(t.integers)) for t in tensors]
        for mine, theirs in zip(integers, GROUPS[i].tensors, strict=True):
            np.testing.assert_array_equal(mine, theirs.integers)
        weights = [x * step for x, step in zip(integers, levels, strict=True)]
        for number in range(grid[0]):
            values = page_nirvana.frame(fields, strides, weights, grid, 3, number)
            samples = np.rint(values * 255).astype(int)
            assert np.abs(samples - expected[FRAMES * i + number]).max() <= 1
        before = integers


def reads(monkeypatch: pytest.MonkeyPatch, wanted: list[int]) -> list[int]:
    """The segments that are decoded for frames, in order."""
    decoded: list[int] = []
    sizes = {len(Container.open(FILM).segment(i)): i for i in range(len(CHAINS))}
    assert len(sizes) == len(CHAINS)

    def noting(payload: bytes, *arguments: Any) -> Group:
        decoded.append(sizes[len(payload)])
        return decode_group(payload, *arguments)

    monkeypatch.setattr(group_chain, "decode_group", noting)
    with Reader(FILM) as reader:
        for frame in wanted:
            assert reader[frame].std() > 0
    return decoded


def test_only_what_is_needed_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reads(monkeypatch, [8]) == [0, 1, 2]
    assert reads(monkeypatch, [10]) == [3]
    assert reads(monkeypatch, [4, 3, 8]) == [0, 1, 2]
    assert reads(monkeypatch, [7, 4]) == [0, 1, 2, 0, 1]
    assert reads(monkeypatch, list(range(11))) == [0, 1, 2, 3]


def test_random_access_equals_the_whole() -> None:
    with Reader(FILM) as reader:
        whole = np.asarray(reader)
    for key in (8, slice(4, 7), slice(10, None), (slice(2, 9, 3), 4, slice(3, 8))):
        with Reader(FILM) as reader:
            np.testing.assert_array_equal(reader[key], whole[key])
    with Reader(FILM) as reader:
        np.testing.assert_array_equal(reader.render([(2, 7), (1, 4)], (5, 9)), whole[5:9, 2:7, 1:4])


def test_a_damaged_segment_is_named() -> None:
    """What needs it fails with one clear line; what does not is there."""
    with Container.open(FILM) as container:
        payload = container.segment(1)
    damaged = bytearray(FILM)
    damaged[FILM.index(payload) + len(payload) // 2] ^= 0x10
    with Reader(bytes(damaged)) as reader:
        for frame in (7, 4, 6):
            with pytest.raises(CorruptFile, match=r"^<bytes>: segment 1 is damaged[^\n]*$"):
                reader[frame]
        assert reader[1].shape == reader[10].shape == (*SHAPE[1:], 3)


def chain_of_payloads(payloads: list[bytes]) -> ChainReader:
    return ChainReader(payloads.__getitem__, lambda i: Grid((FRAMES, *SHAPE[1:]), 3), "a file", None, VERSION)


def test_chains_that_no_encoder_writes() -> None:
    first, second, third = (Container.open(FILM).segment(i) for i in range(3))
    with pytest.raises(CorruptFile, match=r"a file: segment 0: .* before the first"):
        chain_of_payloads([second]).network(0)
    with pytest.raises(CorruptFile, match=r"a file: segment 1: .* before the first"):
        chain_of_payloads([first, third]).network(1)
    with pytest.raises(CorruptFile, match=r"a file: segment 2: .* not the one before"):
        chain_of_payloads([first, first, third]).network(2)
    with pytest.raises(CorruptFile, match=r"a file: segment 0: .* not the one before"):
        chain_of_payloads([second, second]).network(1)
    with pytest.raises(CorruptFile, match="changes of the segment before"):
        decode_network(second, NirvanaConfig.number, Grid((FRAMES, *SHAPE[1:]), 3))


def refused(before: Group, of: NirvanaConfig, changes: list[QuantisedTensor], why: str) -> None:
    payload = encode_network(of, changes)
    with pytest.raises(CorruptFile, match=why):
        decode_group(payload, Grid((FRAMES, *SHAPE[1:]), 3), before, None, VERSION)


def test_changes_that_no_encoder_writes() -> None:
    before, following = GROUPS[0], config(chain=1)
    none = [QuantisedTensor(np.zeros_like(t.integers), UniformSteps(CHANGE_STEP)) for t in before.tensors]
    grid = Grid((FRAMES, *SHAPE[1:]), 3)
    same = decode_group(encode_network(following, none), grid, before, None, VERSION)
    for mine, theirs in zip(same.tensors, before.tensors, strict=True):
        np.testing.assert_array_equal(mine.integers, theirs.integers)
        assert mine.levels == theirs.levels
    other = config(chain=1, channels=3, width=6)
    arrays = random_integers(np.random.default_rng(0), grid, other)
    refused(before, other, [QuantisedTensor(x, UniformSteps(CHANGE_STEP)) for x in arrays], "not the one before")
    refused(before, following, [dataclasses.replace(none[0], levels=UniformSteps(191)), *none[1:]], "not in steps")
    halves = Group(before.config, [QuantisedTensor(np.abs(t.integers), HalfFloat()) for t in before.tensors])
    refused(halves, following, none, "not in steps")
    far = dataclasses.replace(none[1], integers=np.full_like(none[1].integers, 2**31 - 1))
    large = dataclasses.replace(before.tensors[1], integers=np.full_like(none[1].integers, 2**30))
    beyond = Group(before.config, [before.tensors[0], large, *before.tensors[2:]])
    refused(beyond, following, [none[0], far, *none[2:]], "beyond the range")


@pytest.mark.parametrize(
    "change",
    [
        {"chain": MAX_CHAIN + 1},
        {"frames": 2},
        {"frames": VAST},
        {"patch": 0},
        {"patch": 9},
        {"patch": 512},
        {"width": 0},
        {"width": VAST},
        {"depth": 0},
        {"depth": VAST},
        {"channels": 0},
        {"channels": 4096, "width": 4096},
        {"lower": VAST},
        {"shuffle": 0},
        {"shuffle": 9},
        {"strides": ()},
        {"strides": (1,) * 8},
        {"strides": (0,)},
        {"strides": (VAST,)},
    ],
)
def test_hostile_configurations(change: dict[str, Any]) -> None:
    check_hostile_config(NirvanaConfig, dataclasses.asdict(config()) | change, (FRAMES, *SHAPE[1:]))


def test_three_axes() -> None:
    with pytest.raises(ValueError, match="2 axes"):
        config().check(Grid((4, 5), 1))
