"""Latent grids as bytes: every latent under the curve that `inrzip.codecs.latent_model` predicts for it.

Grids come coarsest first, so that a file that is cut short still gives a coarse signal.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.architectures.grid_layout import HYPER_LEVELS, Place
from inrzip.codecs import latent_kernels
from inrzip.codecs.latent_model import (
    ACTIVATION_BITS,
    MARGIN,
    MAX_ACTIVATION,
    NEIGHBOURS,
    TOTAL_BITS,
    WEIGHT_BITS,
    Exact,
    LatentModel,
    exponentials,
    intervals,
    inverse_scales,
    predict,
    reaches,
    shifted,
)
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder, check

Latents = Int[ndarray, "rows columns"]

ROWS_AT_ONCE = 64
ESCAPE_ROOM = 12
"""Symbols that the longest escape takes."""


class Coarser:
    """What is known already at each step: all grids so far, at the size of the last level."""

    def __init__(self, model: LatentModel):
        self._model = model
        self._stack: Int[ndarray, "grids rows columns"] | None = None
        self._level: list[Latents] = []
        self._number = 0

    def features(self, place: Place) -> tuple[Exact, int]:
        """For the next grid: features (rows, columns, features), and by how many bits of rows and columns they are
        coarser than it.
        """
        model, shape = self._model, place.shape
        bias = model.grid_bias[self._number]
        half = (-(-shape[0] // 2), -(-shape[1] // 2))
        sums = np.broadcast_to(bias, (*half, len(bias)))
        if self._stack is not None:
            sums = np.moveaxis(self._stack, 0, -1) @ model.coarse[place.level].T + bias
        shift = 1
        if self._level:
            sums = double(double(sums, 0), 1)[: shape[0], : shape[1]]
            sums = sums + self._level[-1][..., None] * model.own[HYPER_LEVELS.index(place.level)]
            shift = 0
        limit = float(MAX_ACTIVATION)
        return np.ascontiguousarray(np.clip(shifted(sums, WEIGHT_BITS - ACTIVATION_BITS), -limit, limit)), shift

    def add(self, place: Place, latents: Latents) -> None:
        """The grid that `features` was asked for is known now."""
        self._number += 1
        self._level.append(latents)
        if not place.hyper:
            stack = np.stack(self._level[::-1]).astype(np.float64)
            if self._stack is not None:
                known = double(double(self._stack, 1), 2)[:, : place.shape[0], : place.shape[1]]
                stack = np.concatenate([known, stack])
            self._stack, self._level = stack, []


def double(array: Exact, axis: int) -> Exact:
    """Every entry twice along an axis."""
    return np.repeat(array, 2, axis)


def encode_grids(encoder: RangeEncoder, model: LatentModel, order: Sequence[Place], grids: Sequence[Latents]) -> None:
    """Codes all grids, in the order of `places`."""
    coarser = Coarser(model)
    for place, latents in zip(order, grids, strict=True):
        for starts, sizes, beyond in _grid_intervals(model, latents, *coarser.features(place)):
            room = encoder.room(len(starts) + ESCAPE_ROOM * int(np.count_nonzero(beyond >= 0)))
            latent_kernels.encode_latents(encoder.state, room, starts, sizes, beyond)
        coarser.add(place, latents)


def _grid_intervals(model: LatentModel, latents: Latents, features: Exact, shift: int):  # type: ignore[no-untyped-def]
    """`intervals` of a grid's latents, some rows at a time."""
    height, width = latents.shape
    padded = pad(height, width)
    padded[MARGIN:, MARGIN : MARGIN + width] = latents
    columns = np.arange(width) >> shift
    for top in range(0, height, ROWS_AT_ONCE):
        rows = np.arange(top, min(top + ROWS_AT_ONCE, height))
        window = [
            padded[rows[0] + MARGIN + dy : rows[-1] + 1 + MARGIN + dy, MARGIN + dx : MARGIN + dx + width]
            for dy, dx in NEIGHBOURS[: model.n_neighbours]
        ]
        known = np.stack(window, -1) * 2.0**ACTIVATION_BITS
        inputs = np.concatenate([known, features[(rows >> shift)[:, None], columns[None]]], -1)
        centres, scales = predict(model, inputs.reshape(-1, model.width))
        yield intervals(latents[rows].ravel().astype(np.int64), centres.astype(np.int64), scales.astype(np.int64))


def pad(height: int, width: int) -> Int[ndarray, "rows columns"]:
    """Zeros for a grid and its margins."""
    return np.zeros((height + MARGIN, width + 2 * MARGIN), np.int64)


class GridDecoder:
    """Reads grids in coding order, as far as they are wanted.

    `grids` holds those that were begun. `ended`: the data ended, or proved damaged, before all that was wanted was
    read; what is missing stays 0.
    """

    def __init__(self, decoder: RangeDecoder, model: LatentModel, order: Sequence[Place]):
        self.grids: list[Latents] = []
        self.ended = False
        self._decoder, self._model, self._order = decoder, model, order
        self._coarser = Coarser(model)
        self._padded = pad(0, 0)
        self._features: tuple[Exact, int] | None = None
        self._row = 0

    @property
    def finished(self) -> bool:
        """Whether every latent was read."""
        return len(self.grids) == len(self._order) and self._row == self._order[-1].shape[0]

    def read(self, n_grids: int, n_rows: int | None = None) -> None:
        """Reads on until the first `n_grids` are there, the last of them at least in its first `n_rows` (None: all)."""
        while not self.ended:
            number = len(self.grids) - 1
            if number >= 0 and self._row < self._order[number].shape[0]:
                end = self._order[number].shape[0]
                if number + 1 == n_grids and n_rows is not None:
                    end = min(end, n_rows)
                if number + 1 > n_grids or self._row >= end:
                    return
                self._read_rows(self._order[number], end)
            elif number + 1 >= n_grids:
                return
            else:
                self._begin(self._order[number + 1], number)

    def _begin(self, place: Place, before: int) -> None:
        if before >= 0:
            self._coarser.add(self._order[before], self.grids[before])
        self._features = self._coarser.features(place)
        self._padded = pad(*place.shape)
        self.grids.append(self._padded[MARGIN:, MARGIN : MARGIN + place.shape[1]])
        self._row = 0

    def _read_rows(self, place: Place, end: int) -> None:
        assert self._features is not None
        model = self._model
        stride = self._padded.shape[1]
        neighbours = np.array([dy * stride + dx for dy, dx in NEIGHBOURS[: model.n_neighbours]], np.int64)
        read = latent_kernels.decode_grid(
            self._decoder.state,
            self._decoder.data,
            self._padded,
            neighbours,
            *self._features,
            self._row,
            end,
            model.hidden,
            model.hidden_bias,
            model.output,
            model.linear,
            model.output_bias,
            inverse_scales(),
            reaches(),
            exponentials(),
            np.zeros((3, model.width)),
        )
        self.ended = read < (end - self._row) * place.shape[1]
        self._row = end


def encode_numbers(encoder: RangeEncoder, numbers: Int[ndarray, " n"], scales: Int[ndarray, " n"]) -> None:
    """Codes numbers under curves around 0, of the scales with these indices."""
    starts, sizes, beyond = intervals(numbers, np.zeros_like(numbers), scales)
    room = encoder.room(len(starts) + ESCAPE_ROOM * int(np.count_nonzero(beyond >= 0)))
    latent_kernels.encode_latents(encoder.state, room, starts, sizes, beyond)


def number_bits(numbers: Int[ndarray, " n"], scales: Int[ndarray, " n"]) -> Float[ndarray, " n"]:
    """What each number costs in `encode_numbers`, in bits."""
    _, sizes, beyond = intervals(numbers, np.zeros_like(numbers), scales)
    bits: Float[ndarray, " n"] = TOTAL_BITS - np.log2(sizes) + _escape_bits(beyond)
    return bits


def decode_numbers(decoder: RangeDecoder, scales: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
    """The inverse of `encode_numbers`. Raises CorruptFile."""
    numbers = np.zeros(len(scales), np.int64)
    tables = inverse_scales(), reaches(), exponentials()
    check(latent_kernels.decode_numbers(decoder.state, decoder.data, scales.astype(np.int64), *tables, numbers))
    return numbers


def _escape_bits(beyond: Int[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Bits of the escaped numbers, 0 where there is none."""
    groups = np.floor(np.log2(np.maximum(beyond, 0) + (1 << latent_kernels.ESCAPE_ORDER)))
    return np.where(beyond >= 0, 2 * groups + 1 - latent_kernels.ESCAPE_ORDER, 0.0)
