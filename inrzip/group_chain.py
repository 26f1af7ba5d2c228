"""Groups of frames as changes of one another: what a segment of NIRVANA holds, made from it and the one before.

A segment holds the integers of its network, or how they differ from those of the segment before; then the steps are
those of that one. Its configuration says which (`chain`), and so how many segments back the last whole one is: decoding
a frame takes these segments and no others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from inrzip.architectures.base import Grid, Representation
from inrzip.architectures.nirvana import NirvanaConfig
from inrzip.codecs.coder import IntegerCoder
from inrzip.codecs.levels import ChannelSteps, UniformSteps
from inrzip.codecs.weights import QuantisedTensor

from . import wire
from .configuration import decode_config
from .errors import CorruptFile, InrzipError
from .network import decode_weights, encode_network, evaluable

Coders = Callable[[Sequence[QuantisedTensor]], list[IntegerCoder]]
"""What codes some tensors: `WeightCodec.coders`."""
CHANGE_STEP = 192
"""The step index that a stream of changes says, and that means nothing: what a stream expects first, so that it takes
next to no bits.
"""
_RANGE = np.iinfo(np.int32)


@dataclasses.dataclass(frozen=True)
class Group:
    """A segment's network in whole numbers. `config.chain` tells how it was coded."""

    config: NirvanaConfig
    tensors: list[QuantisedTensor]

    def network(self, grid: Grid) -> Representation:
        """The network that these stand for, on a grid with as many frames as the segment has."""
        return evaluable(dataclasses.replace(self.config, chain=0), grid, self.tensors)


def has_steps(tensors: Sequence[QuantisedTensor]) -> bool:
    """Whether all integers count steps, so that changes of them can be coded."""
    return all(isinstance(tensor.levels, UniformSteps | ChannelSteps) for tensor in tensors)


def encode_whole(group: Group, coders: Coders) -> bytes:
    """The payload of a group that needs no other."""
    return encode_network(dataclasses.replace(group.config, chain=0), group.tensors, coders(group.tensors))


def encode_changes(group: Group, before: Group, coders: Coders) -> bytes:
    """The payload of a group as changes; `group.config.chain` is one more than that of `before`, and the levels are
    those of `before`.
    """
    changes = [
        QuantisedTensor(new.integers - old.integers, UniformSteps(CHANGE_STEP))
        for new, old in zip(group.tensors, before.tensors, strict=True)
    ]
    return encode_network(group.config, changes, coders(changes))


def decode_group(payload: bytes, grid: Grid, before: Group | None, max_memory: int | None, version: int) -> Group:
    """The group of a payload; `before` is that of the segment before, which only changes need. Raises CorruptFile, or
    LimitExceeded if it would take more than `max_memory` bytes.
    """
    config, tensors = decode_weights(payload, NirvanaConfig.number, grid, max_memory, version)
    assert isinstance(config, NirvanaConfig)
    if config.chain == 0:
        return Group(config, tensors)
    if before is None or dataclasses.replace(config, chain=config.chain - 1) != before.config:
        raise CorruptFile("it holds changes of a network that is not the one before it")
    if any(tensor.levels != UniformSteps(CHANGE_STEP) for tensor in tensors) or not has_steps(before.tensors):
        raise CorruptFile("its changes are not in steps")
    pairs = zip(before.tensors, tensors, strict=True)
    return Group(config, [_changed(old, change) for old, change in pairs])


def _changed(old: QuantisedTensor, change: QuantisedTensor) -> QuantisedTensor:
    integers = old.integers.astype(np.int64) + change.integers
    if integers.size and (integers.min() < _RANGE.min or integers.max() > _RANGE.max):
        raise CorruptFile("its changes lead beyond the range of weights")
    return QuantisedTensor(integers.astype(np.int32), old.levels)


def chain_of(payload: bytes, grid: Grid) -> int:
    """How many segments back the last whole one is. Raises CorruptFile."""
    config = decode_config(NirvanaConfig, wire.Cursor(payload), grid)
    assert isinstance(config, NirvanaConfig)
    return config.chain


class ChainReader:
    """The groups of a file, each made from those that it needs. The last one is kept: going forward decodes each once.

    `payload(i)` reads a segment, `grid(i)` is its grid; `name` is the file's, for messages, which also tell the segment
    that is at fault.
    """

    def __init__(
        self,
        payload: Callable[[int], bytes],
        grid: Callable[[int], Grid],
        name: str,
        max_memory: int | None,
        version: int,
    ):
        self._payload = payload
        self._grid = grid
        self._name = name
        self._limits = max_memory, version
        self._kept: tuple[int, Group] | None = None
        self._turn = threading.Lock()

    def network(self, index: int) -> Representation:
        """The network of a segment. Raises InrzipError."""
        with self._turn:
            group = self._group(index)
        with self._naming(index):
            return group.network(self._grid(index))

    def _group(self, index: int) -> Group:
        payload = self._payload(index)
        with self._naming(index):
            first = index - chain_of(payload, self._grid(index))
            if first < 0:
                raise CorruptFile("it holds changes of a segment before the first")
        at, group = first, None
        if self._kept is not None and first <= self._kept[0] <= index:
            at, group = self._kept[0] + 1, self._kept[1]
        for i in range(at, index + 1):
            part = payload if i == index else self._payload(i)
            with self._naming(i):
                group = decode_group(part, self._grid(i), group, *self._limits)
            self._kept = i, group
        assert group is not None
        return group

    @contextlib.contextmanager
    def _naming(self, index: int) -> Iterator[None]:
        """Puts file and segment before what is wrong with it."""
        try:
            yield
        except InrzipError as error:
            raise type(error)(f"{self._name}: segment {index}: {error}") from error
