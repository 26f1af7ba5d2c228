"""Latent grids as bytes: every latent under the curve that `inrzip.codecs.latent_model` predicts for it.

Grids come coarsest first: each is predicted from those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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


class Tile(NamedTuple):
    """A part of a grid: the grid's number in coding order, the first row and the one after the last, and columns. Both
    begin at even numbers.
    """

    number: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


def whole(order: Sequence[Place], number: int) -> Tile:
    """A whole grid as a tile."""
    height, width = order[number].shape
    return Tile(number, (0, height), (0, width))


def features(model: LatentModel, order: Sequence[Place], grids: Sequence[Latents], tile: Tile) -> tuple[Exact, int]:
    """What is known of a tile from all grids before its own: features (rows, columns, features), and by how many bits
    of rows and columns they are coarser than it.
    """
    level = order[tile.number].level
    rows, columns = (np.arange(start >> 1, (stop + 1) >> 1) for start, stop in (tile.rows, tile.columns))
    bias = model.grid_bias[tile.number]
    sums = np.broadcast_to(bias, (len(rows), len(columns), len(bias)))
    coarser = [i for i in range(tile.number) if order[i].level > level]
    if coarser:
        coarser.sort(key=lambda i: (-order[i].level, order[i].hyper))
        shifts = [order[i].level - level - 1 for i in coarser]
        known = [grids[i][rows >> shift][:, columns >> shift] for i, shift in zip(coarser, shifts, strict=True)]
        sums = np.stack(known, -1).astype(np.float64) @ model.coarse[level].T + bias
    shift = 1
    if len(coarser) < tile.number:  # the hyper-latents of the level itself
        own = grids[tile.number - 1][slice(*tile.rows), slice(*tile.columns)]
        sums = double(double(sums, 0), 1)[: tile.shape[0], : tile.shape[1]]
        sums = sums + own[..., None] * model.own[HYPER_LEVELS.index(level)]
        shift = 0
    limit = float(MAX_ACTIVATION)
    return np.ascontiguousarray(np.clip(shifted(sums, WEIGHT_BITS - ACTIVATION_BITS), -limit, limit)), shift


def double(array: Exact, axis: int) -> Exact:
    """Every entry twice along an axis."""
    return np.repeat(array, 2, axis)


def encode_tile(
    encoder: RangeEncoder, model: LatentModel, order: Sequence[Place], grids: Sequence[Latents], tile: Tile
) -> None:
    """Codes a tile, as if there were nothing beside it."""
    latents = grids[tile.number][slice(*tile.rows), slice(*tile.columns)]
    for starts, sizes, beyond in _tile_intervals(model, latents, *features(model, order, grids, tile)):
        room = encoder.room(len(starts) + ESCAPE_ROOM * int(np.count_nonzero(beyond >= 0)))
        latent_kernels.encode_latents(encoder.state, room, starts, sizes, beyond)


def encode_grids(encoder: RangeEncoder, model: LatentModel, order: Sequence[Place], grids: Sequence[Latents]) -> None:
    """Codes as many whole grids, in the order of `places`, as are given."""
    for number in range(len(grids)):
        encode_tile(encoder, model, order, grids, whole(order, number))


def _tile_intervals(model: LatentModel, latents: Latents, features: Exact, shift: int):  # type: ignore[no-untyped-def]
    """`intervals` of a tile's latents, some rows at a time."""
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


class TileDecoder:
    """Reads a tile, row by row, as far as is wanted. `latents` are those of the tile; what is missing is 0. `ended`:
    the data ended, or proved damaged.
    """

    def __init__(
        self,
        decoder: RangeDecoder,
        model: LatentModel,
        order: Sequence[Place],
        grids: Sequence[Latents],
        tile: Tile,
    ):
        self.ended, self.row = False, 0
        self._decoder, self._model = decoder, model
        self._features, self._shift = features(model, order, grids, tile)
        self._padded = pad(*tile.shape)
        self.latents: Latents = self._padded[MARGIN:, MARGIN : MARGIN + tile.shape[1]]

    @property
    def finished(self) -> bool:
        """Whether every latent was read."""
        return self.row == len(self.latents)

    def read(self, end: int | None = None) -> None:
        """Reads on until the first `end` rows are there (None: all)."""
        end = len(self.latents) if end is None else min(end, len(self.latents))
        if self.ended or self.row >= end:
            return
        model = self._model
        stride = self._padded.shape[1]
        neighbours = np.array([dy * stride + dx for dy, dx in NEIGHBOURS[: model.n_neighbours]], np.int64)
        read = latent_kernels.decode_grid(
            self._decoder.state,
            self._decoder.data,
            self._padded,
            neighbours,
            self._features,
            self._shift,
            self.row,
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
        self.ended = read < (end - self.row) * self.latents.shape[1]
        self.row = end


class GridDecoder:
    """Reads whole grids in coding order, as far as they are wanted.

    `grids` holds those that were begun. `ended`: the data ended, or proved damaged, before all that was wanted was
    read; what is missing stays 0.
    """

    def __init__(self, decoder: RangeDecoder, model: LatentModel, order: Sequence[Place]):
        self.grids: list[Latents] = []
        self._decoder, self._model, self._order = decoder, model, order
        self._latest: TileDecoder | None = None

    @property
    def ended(self) -> bool:
        return self._latest is not None and self._latest.ended

    @property
    def finished(self) -> bool:
        """Whether every latent was read."""
        return len(self.grids) == len(self._order) and (self._latest is None or self._latest.finished)

    def window(self, number: int, rows: tuple[int, int], columns: tuple[int, int]) -> Latents:
        """A part of a grid, and all before it, read if need be. Where the data ended before it, it is 0."""
        self.read(number + 1, rows[1])
        if number >= len(self.grids):
            return np.zeros((rows[1] - rows[0], columns[1] - columns[0]), np.int64)
        return self.grids[number][slice(*rows), slice(*columns)]

    def read(self, n_grids: int, n_rows: int | None = None) -> None:
        """Reads on until the first `n_grids` are there, the last of them at least in its first `n_rows` (None: all)."""
        while len(self.grids) < n_grids and not self.ended:
            if self._latest is not None:
                self._latest.read()
                if self._latest.ended:
                    return
            tile = whole(self._order, len(self.grids))
            self._latest = TileDecoder(self._decoder, self._model, self._order, self.grids, tile)
            self.grids.append(self._latest.latents)
        if self._latest is not None and len(self.grids) == n_grids:
            self._latest.read(n_rows)


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
