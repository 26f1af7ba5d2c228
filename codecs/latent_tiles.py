"""Grids of large pictures in tiles, each a stream of its own, so that a region is decoded without the rest.

Grids that fit in a tile come first, one after the other in one stream (the *head*); then, coarse to fine, the tiles of
all others. A tile is predicted from coarser grids and from itself, not from what is beside it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from inrzip.architectures.grid_layout import Place
from inrzip.codecs.latent_model import LatentModel
from inrzip.codecs.latents import GridDecoder, Latents, Tile, TileDecoder, encode_tile
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.errors import CorruptFile

SIDE = 256
"""Rows and columns of a tile, if its grid has as many."""
UNTILED = 1 << 20
"""Pictures of so many samples and fewer are one stream."""
Span = tuple[int, int]


def n_head(order: Sequence[Place]) -> int:
    """How many grids are in the head."""
    return sum(max(place.shape) <= SIDE for place in order)


def n_tiles(order: Sequence[Place]) -> int:
    """How many tiles follow the head."""
    return sum(math.prod(-(-n // SIDE) for n in place.shape) for place in order[n_head(order) :])


def tiles(order: Sequence[Place]) -> list[Tile]:
    """The tiles after the head, in order."""
    found = []
    for number in range(n_head(order), len(order)):
        height, width = order[number].shape
        found += [
            Tile(number, (top, min(top + SIDE, height)), (left, min(left + SIDE, width)))
            for top in range(0, height, SIDE)
            for left in range(0, width, SIDE)
        ]
    return found


def encode_tiles(model: LatentModel, order: Sequence[Place], grids: Sequence[Latents]) -> list[bytes]:
    """All tiles after the head."""
    streams = []
    for tile in tiles(order):
        encoder = RangeEncoder()
        encode_tile(encoder, model, order, grids, tile)
        streams.append(encoder.finish())
    return streams


class TiledGrids:
    """All grids of a picture, decoded where they are looked at. `head` gives the first of them, `streams` the tiles.

    `ended`: data that were wanted were damaged or missing; the latents are 0 there. `lost`: the rows and columns of
    the picture for which tiles were.
    """

    def __init__(self, head: GridDecoder, model: LatentModel, order: Sequence[Place], streams: Sequence[bytes]):
        self.ended = False
        self.lost: list[tuple[Span, Span]] = []
        self._head, self._model, self._order = head, model, order
        self._streams = dict(zip(tiles(order), streams, strict=True))
        self._first = n_head(order)
        self._later: list[Latents] = [np.zeros(place.shape, np.int16) for place in order[self._first :]]

    def window(self, number: int, rows: Span, columns: Span) -> Latents:
        """A part of a grid."""
        self.read(number, rows, columns)
        return self._grids()[number][slice(*rows), slice(*columns)]

    def read(self, number: int, rows: Span, columns: Span) -> None:
        """Decodes what is missing of a part of a grid, and what it is predicted from, coarse to fine."""
        self._head.read(self._first)
        level = self._order[number].level
        for i in range(self._first, number + 1):
            shift = self._order[i].level - level
            missing = list(self._missing(i, _coarser(rows, shift), _coarser(columns, shift)))
            if not missing:
                continue
            with ThreadPoolExecutor(min(len(missing), os.cpu_count() or 1)) as pool:
                for tile, sound in zip(missing, pool.map(self._decode, missing), strict=True):
                    del self._streams[tile]
                    if not sound:
                        self.ended = True
                        self.lost.append(
                            (_finer(tile.rows, self._order[i].level), _finer(tile.columns, self._order[i].level))
                        )
        self.ended |= self._head.ended

    def _missing(self, number: int, rows: Span, columns: Span) -> Iterator[Tile]:
        for tile in self._streams:
            if tile.number == number and _meet(tile.rows, rows) and _meet(tile.columns, columns):
                yield tile

    def _decode(self, tile: Tile) -> bool:
        """Whether the tile was whole."""
        stream = RangeDecoder(self._streams[tile])
        decoder = TileDecoder(stream, self._model, self._order, self._grids(), tile)
        decoder.read()
        self._later[tile.number - self._first][slice(*tile.rows), slice(*tile.columns)] = decoder.latents
        if decoder.ended:
            return False
        try:
            stream.finish()
        except CorruptFile:
            return False
        return True

    def _grids(self) -> list[Latents]:
        missing = [np.zeros(place.shape, np.int64) for place in self._order[len(self._head.grids) : self._first]]
        return [*self._head.grids, *missing, *self._later]


def _coarser(span: Span, shift: int) -> Span:
    return span[0] >> shift, ((span[1] - 1) >> shift) + 1


def _finer(span: Span, shift: int) -> Span:
    return span[0] << shift, span[1] << shift


def _meet(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]
