"""Modulations of patches as bytes and back (docs/format.md, "Modulations")."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.architectures import modulated_network as network
from inrzip.architectures.base import Grid
from inrzip.architectures.combiner import MAX_PATCHES, Patches, Real, of_planes, patch_counts, planes_of
from inrzip.architectures.modulated import ModulatedConfig
from inrzip.codecs.adaptive import TensorModel
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.codecs.static_tables import decode_under, encode_under, parametric_table
from inrzip.priors import modulation_prior
from inrzip.priors.integer_tables import TOTAL_BITS, Family
from inrzip.priors.latent_context import shifted
from inrzip.priors.modulation_prior import ModulationPrior, step_size

from . import wire
from .errors import CorruptFile

LARGEST = 1 << 15
"""Latents are smaller than so many steps."""
PATCHES_AT_ONCE = 64
BYTES_PER_LATENT, BYTES_PER_SAMPLE = 64, 80
"""Memory that decoding takes, about."""


class Coded(NamedTuple):
    """A coded patch: its class, and its latents in steps."""

    group: int
    integers: Int[ndarray, " latents"]


def encode_payload(config: ModulatedConfig, prior: ModulationPrior, coded: Sequence[Coded]) -> bytes:
    """The payload of all patches of a signal, plane after plane: their classes, then, stage by stage, the integers of
    one curve after the other.
    """
    groups, integers = np.array([patch.group for patch in coded]), np.stack([patch.integers for patch in coded])
    encoder = RangeEncoder()
    if prior.n_classes > 1:
        starts = prior.class_starts()
        encoder.encode_block(starts[groups], starts[groups + 1] - starts[groups], TOTAL_BITS)
    curves = curves_of(prior, config.step, groups)
    for columns in _stages(prior):
        own, values = _in_context(prior, curves, integers, columns), integers[:, columns].astype(np.int64)
        for curve in np.unique(own[own >= 0]):
            encode_under(encoder, values[own == curve], parametric_table(_model(int(curve))))
    return wire.varint(config.prior) + wire.varint(config.step) + encoder.finish()


def decode_payload(
    config: ModulatedConfig, cursor: wire.Cursor, grid: Grid, check_memory: Callable[[int], None]
) -> Patches:
    """The signal of a payload of which `config` was read. `check_memory` is told how many bytes it will take, and may
    raise. Raises CorruptFile, and InrzipError if its prior is not there.
    """
    prior = modulation_prior.find(config.prior)
    layout = prior.layout
    if layout.gated != config.gated:
        raise CorruptFile("its prior is for another recipe")
    if len(grid.shape) != layout.axes:
        raise CorruptFile(f"its prior is for signals of {layout.axes} axes, not of {len(grid.shape)}")
    n_planes = len(list(planes_of(grid.channels, layout.channels)))
    n = n_planes * int(np.prod(patch_counts(grid.shape, layout.patch), dtype=object))
    if n > MAX_PATCHES:
        raise CorruptFile(f"{n} patches, more than {MAX_PATCHES}")
    check_memory(n * (layout.n_latents * BYTES_PER_LATENT + layout.side**layout.axes * BYTES_PER_SAMPLE))
    integers = _decode_integers(prior, config.step, RangeDecoder(cursor.take(cursor.remaining)), n)
    return Patches(grid, layout.patch, Decoder(prior, config.step, integers, grid.channels, n_planes))


def _decode_integers(
    prior: ModulationPrior, step: int, decoder: RangeDecoder, n: int
) -> Int[ndarray, "patches latents"]:
    groups = np.zeros(n, np.int64)
    if prior.n_classes > 1:
        groups = decoder.decode_block(prior.class_starts(), n, TOTAL_BITS)
    curves = curves_of(prior, step, groups)
    integers = np.zeros(curves.shape, np.int32)
    for columns in _stages(prior):
        own = _in_context(prior, curves, integers, columns)
        values = np.zeros(own.shape, np.int32)
        for curve in np.unique(own[own >= 0]):
            mine = own == curve
            values[mine] = decode_under(decoder, int(mine.sum()), parametric_table(_model(int(curve))))
        if (np.abs(values.astype(np.int64)) >= LARGEST).any():
            raise CorruptFile("a latent is out of range; get the file again")
        integers[:, columns] = values
    decoder.finish()
    return integers


def _stages(prior: ModulationPrior) -> list[Int[ndarray, " some"]]:
    """The latents that are coded together, one group after the other."""
    return [np.arange(prior.layout.n_latents)] if prior.contexts is None else prior.contexts.columns()


def _in_context(
    prior: ModulationPrior, curves: Int[ndarray, "patches latents"], integers: Int[ndarray, "patches latents"],
    columns: Int[ndarray, " some"],
) -> Int[ndarray, "patches some"]:  # fmt: skip
    """The curves of latents of one stage; those of earlier ones are known."""
    if prior.contexts is None:
        return curves[:, columns]
    return shifted(prior.contexts, curves, integers, columns)


def curves_of(prior: ModulationPrior, step: int, groups: Int[ndarray, " patches"]) -> Int[ndarray, "patches latents"]:
    """Of each latent, twice the number of its table plus its family, without contexts; -1 where it is 0."""
    scales = prior.scales_at(step)
    curves = np.where(scales < 0, -1, scales // 2 * 2 + prior.families)
    found: Int[ndarray, "patches latents"] = curves[groups]
    return found


def _model(curve: int) -> TensorModel:
    return TensorModel(curve // 2 + 1, Family(curve % 2))


@dataclasses.dataclass
class Decoder:
    """The patches of a signal, evaluated where they are looked at."""

    prior: ModulationPrior
    step: int
    integers: Int[ndarray, "patches latents"]
    channels: int
    n_planes: int

    def values(self, numbers: list[int], real: Real = np.float32) -> Float[ndarray, "patches *patch channels"]:
        """See `CodedPatches`."""
        n = len(self.integers) // self.n_planes
        wanted = [plane * n + number for plane in range(self.n_planes) for number in numbers]
        parts = values_of(self.prior, self.step, self.integers[wanted], real)
        joined = of_planes(np.stack(np.split(parts, self.n_planes)), self.channels)
        return joined.reshape(len(numbers), *self.prior.layout.patch, self.channels)


def values_of(
    prior: ModulationPrior, step: int, integers: Int[ndarray, "patches latents"], real: Real = np.float32
) -> Float[ndarray, "patches samples channels"]:
    """The values of coded patches."""
    latents = integers.astype(real) * np.asarray(step_size(step), real)
    parts = [
        network.evaluate(prior.layout, prior.shared, latents[i : i + PATCHES_AT_ONCE], np)
        for i in range(0, len(latents), PATCHES_AT_ONCE)
    ]
    return np.asarray(np.concatenate(parts), real)
