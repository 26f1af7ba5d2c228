"""How levels are written: the kind, and then what it needs, compared with the levels of tensors before."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np

from inrzip.codecs.bit_counter import cost_of
from inrzip.codecs.codebook import MAX_CODEWORDS, MAX_GROUPS, Codebook
from inrzip.codecs.levels import DAMAGED, HALF_BITS, ChannelSteps, HalfFloat, Levels, UniformSteps
from inrzip.codecs.minmax import MinMax
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.side_numbers import AdaptiveNumber, decode_exp_golomb, encode_exp_golomb
from inrzip.codecs.tensor_header import HeaderCoder
from inrzip.codecs.trellis import TrellisSteps
from inrzip.errors import CorruptFile
from inrzip.priors.integer_tables import TOTAL_BITS, cumulative_frequencies

_GRAIN_BITS = 2
_RARE = 4  # groups are coded by counts that start at 1 and grow by this much
Shape = tuple[int, ...]


class KindCoder(Protocol):
    """Codes the levels of one kind. It may learn from tensor to tensor, as `inrzip.codecs.coder` says of coders."""

    number: ClassVar[int]
    """The kind."""

    def encode(self, encoder: RangeEncoder, levels: Any, shape: Shape) -> None:
        """Codes the levels of a tensor of that shape."""

    def decode(self, decoder: RangeDecoder, shape: Shape) -> Levels:
        """Reads them. Raises `CorruptFile`."""


class LevelsCoder:
    """Codes the levels of one network's tensors, of whatever kind, into one stream."""

    def __init__(self) -> None:
        steps = HeaderCoder()  # shared, so that a step is compared with the one before of whatever kind
        coders = (
            UniformCoder(steps),
            ChannelCoder(steps),
            TrellisCoder(steps),
            CodebookCoder(steps),
            MinMaxCoder(),
            HalfFloatCoder(),
        )
        self._coders: dict[int, KindCoder] = {coder.number: coder for coder in coders}
        self._changes = AdaptiveNumber(32)
        self._kind = 0

    def encode(self, encoder: RangeEncoder, levels: Levels, shape: Shape) -> None:
        """Codes the kind and the levels of a tensor."""
        self._changes.encode(encoder, levels.number - self._kind)
        self._kind = levels.number
        self._coders[levels.number].encode(encoder, levels, shape)

    def decode(self, decoder: RangeDecoder, shape: Shape, tagged: bool = True) -> Levels:
        """Reads the levels of a tensor; not `tagged`: in a stream without kinds. Raises `CorruptFile`."""
        if tagged:
            self._kind += self._changes.decode(decoder)
        if self._kind not in self._coders:
            raise CorruptFile("the coded weights are of an unknown kind; the file is damaged, or from a newer inrzip")
        return self._coders[self._kind].decode(decoder, shape)

    def cost(self, levels: Levels, shape: Shape) -> int:
        """What `encode` would spend, in 1 / 4096 bit. The state stays as it is."""
        return cost_of(self, lambda coder, encoder: coder.encode(encoder, levels, shape))


class UniformCoder:
    """A step, as the difference to the one of the last tensor of that rank."""

    number: ClassVar[int] = UniformSteps.number

    def __init__(self, steps: HeaderCoder) -> None:
        self._steps = steps

    def encode(self, encoder: RangeEncoder, levels: UniformSteps, shape: Shape) -> None:
        self._steps.encode_step(encoder, levels.step_index, len(shape))

    def decode(self, decoder: RangeDecoder, shape: Shape) -> Levels:
        return UniformSteps(self._steps.decode_step(decoder, len(shape)))


class ChannelCoder:
    """A step; for each axis, whether it has offsets, their grain (the power of two that divides them all), and the
    offsets in grains.
    """

    number: ClassVar[int] = ChannelSteps.number

    def __init__(self, steps: HeaderCoder) -> None:
        self._steps = steps
        self._offsets = AdaptiveNumber(2 * 256)

    def encode(self, encoder: RangeEncoder, levels: ChannelSteps, shape: Shape) -> None:
        if len(levels.offsets) != len(shape) or not all(
            len(offsets) in (0, n) for offsets, n in zip(levels.offsets, shape, strict=True)
        ):
            raise ValueError(f"offsets for {[len(o) for o in levels.offsets]} channels of a tensor of shape {shape}")
        self._steps.encode_step(encoder, levels.step_index, len(shape))
        for offsets in levels.offsets:
            encoder.encode_bits(int(bool(offsets)), 1)
            if offsets:
                grain = min((_twos(offset) for offset in offsets if offset), default=0)
                encoder.encode_bits(grain, _GRAIN_BITS)
                for offset in offsets:
                    self._offsets.encode(encoder, offset >> grain)

    def decode(self, decoder: RangeDecoder, shape: Shape) -> Levels:
        step = self._steps.decode_step(decoder, len(shape))
        offsets = tuple(self._decode_offsets(decoder, n) for n in shape)
        return _sound("a quantisation step", ChannelSteps, step, offsets)

    def _decode_offsets(self, decoder: RangeDecoder, n: int) -> tuple[int, ...]:
        if not decoder.decode_bits(1):
            return ()
        grain = decoder.decode_bits(_GRAIN_BITS)
        return tuple(self._offsets.decode(decoder) << grain for _ in range(n))


class TrellisCoder:
    """A step, and the split as the difference to the one before."""

    number: ClassVar[int] = TrellisSteps.number

    def __init__(self, steps: HeaderCoder) -> None:
        self._steps = steps
        self._changes = AdaptiveNumber(256)
        self._split = 1

    def encode(self, encoder: RangeEncoder, levels: TrellisSteps, shape: Shape) -> None:
        self._steps.encode_step(encoder, levels.step_index, len(shape))
        self._changes.encode(encoder, levels.split - self._split)
        self._split = levels.split

    def decode(self, decoder: RangeDecoder, shape: Shape) -> Levels:
        step = self._steps.decode_step(decoder, len(shape))
        self._split += self._changes.decode(decoder)
        return _sound("a split", TrellisSteps, step, self._split, shape)


class CodebookCoder:
    """A step, an axis, the codewords of each group as the distances between them, and each channel's group."""

    number: ClassVar[int] = Codebook.number

    def __init__(self, steps: HeaderCoder) -> None:
        self._steps = steps
        self._sizes = AdaptiveNumber(256)
        self._firsts = AdaptiveNumber(16 * 256)
        self._gaps = AdaptiveNumber(4 * 256)
        self._size = 8

    def encode(self, encoder: RangeEncoder, levels: Codebook, shape: Shape) -> None:
        self._steps.encode_step(encoder, levels.step_index, len(shape))
        encode_exp_golomb(encoder, len(levels.codewords) - 1, 0)
        for words in levels.codewords:
            self._sizes.encode(encoder, len(words) - self._size)
            self._size = len(words)
            self._firsts.encode(encoder, words[0])
            before = 0
            for gap in np.diff(words).tolist():
                self._gaps.encode(encoder, gap - before)
                before = gap
        if levels.groups:
            _check_channels(levels.axis, len(levels.groups), shape)
            _encode_axis(encoder, levels.axis, len(shape))
            counts = _GroupCounts(len(levels.codewords))
            for group in levels.groups:
                starts = counts.starts()
                encoder.encode(starts[group], starts[group + 1] - starts[group], TOTAL_BITS)
                counts.observe(group)

    def decode(self, decoder: RangeDecoder, shape: Shape) -> Levels:
        step = self._steps.decode_step(decoder, len(shape))
        n_groups = 1 + decode_exp_golomb(decoder, 0)
        if n_groups > min(MAX_GROUPS, max(1, math.prod(shape))):
            raise CorruptFile(DAMAGED.format("a number of codebooks"))
        codewords = tuple(self._decode_codewords(decoder, math.prod(shape)) for _ in range(n_groups))
        axis, groups = 0, []
        if n_groups > 1:
            axis, counts = _decode_axis(decoder, len(shape)), _GroupCounts(n_groups)
            for _ in range(shape[axis]):
                groups.append(decoder.decode(counts.starts(), TOTAL_BITS))
                counts.observe(groups[-1])
        return _sound("a codebook", Codebook, step, axis, codewords, tuple(groups))

    def _decode_codewords(self, decoder: RangeDecoder, n: int) -> tuple[int, ...]:
        """The codewords of a group of a tensor of `n` elements: no more than these, so that a stream's length and the
        number of weights bound the work.
        """
        self._size += self._sizes.decode(decoder)
        if not 1 <= self._size <= min(MAX_CODEWORDS, max(1, n)):
            raise CorruptFile(DAMAGED.format("a number of codewords"))
        words, gap = [self._firsts.decode(decoder)], 0
        for _ in range(self._size - 1):
            gap += self._gaps.decode(decoder)
            words.append(words[-1] + gap)
        return tuple(words)


class _GroupCounts:
    """How often each group followed each: channels sorted by group cost next to nothing."""

    def __init__(self, n_groups: int) -> None:
        self._counts = np.ones((n_groups, n_groups), np.int64)
        self._last = 0

    def starts(self) -> list[int]:
        starts: list[int] = cumulative_frequencies(self._counts[self._last]).tolist()
        return starts

    def observe(self, group: int) -> None:
        self._counts[self._last, group] += _RARE
        self._last = group


class MinMaxCoder:
    """An axis, whether there are removed weights, and pairs of half-precision floats as they are."""

    number: ClassVar[int] = MinMax.number

    def encode(self, encoder: RangeEncoder, levels: MinMax, shape: Shape) -> None:
        encoder.encode_bits(int(levels.axis is None), 1)
        if levels.axis is not None:
            _check_channels(levels.axis, len(levels.scales), shape)
            _encode_axis(encoder, levels.axis, len(shape))
        encoder.encode_bits(int(levels.pruned), 1)
        for value in (*levels.minima, *levels.scales):
            encoder.encode_bits(int(np.float16(value).view(np.uint16)), HALF_BITS)

    def decode(self, decoder: RangeDecoder, shape: Shape) -> Levels:
        axis = None if decoder.decode_bits(1) else _decode_axis(decoder, len(shape))
        pruned = bool(decoder.decode_bits(1))
        count = 1 if axis is None else shape[axis]
        patterns = np.array(decoder.decode_bits_block(2 * count, HALF_BITS), np.int32)
        values = tuple(HalfFloat().dequantise(patterns).tolist())
        return _sound("a scale", MinMax, axis, values[:count], values[count:], pruned)


class HalfFloatCoder:
    """Nothing to code."""

    number: ClassVar[int] = HalfFloat.number

    def encode(self, encoder: RangeEncoder, levels: HalfFloat, shape: Shape) -> None:
        pass

    def decode(self, decoder: RangeDecoder, shape: Shape) -> Levels:
        return HalfFloat()


def _sound(what: str, kind: Callable[..., Levels], *fields: Any) -> Levels:
    """Levels of these fields, which come from a stream."""
    try:
        return kind(*fields)
    except ValueError:
        raise CorruptFile(DAMAGED.format(what)) from None


def _twos(value: int) -> int:
    """How often 2 divides `value`, at most as often as a grain can say."""
    return min((1 << _GRAIN_BITS) - 1, (value & -value).bit_length() - 1)


def _check_channels(axis: int, count: int, shape: Shape) -> None:
    if axis >= len(shape) or shape[axis] != count:
        raise ValueError(f"levels for {count} channels along axis {axis} of a tensor of shape {shape}")


def _axis_bits(rank: int) -> int:
    return (rank - 1).bit_length()


def _encode_axis(encoder: RangeEncoder, axis: int, rank: int) -> None:
    """The axis counted from the last, which is the channels' in most layouts."""
    encoder.encode_bits(rank - 1 - axis, _axis_bits(rank))


def _decode_axis(decoder: RangeDecoder, rank: int) -> int:
    axis = rank - 1 - decoder.decode_bits(_axis_bits(rank)) if rank else -1
    if axis < 0:
        raise CorruptFile(DAMAGED.format("an axis"))
    return axis
