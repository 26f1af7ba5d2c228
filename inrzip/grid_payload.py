"""Pictures of latent grids as payloads (docs/format.md, "Latent grids").

A picture is one or more *planes*: three channels at once, or one. Each has networks, coded as differences to a learned
prior, and latents, coded under what those networks predict.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from inrzip.architectures import grid, grid_render
from inrzip.architectures.grid import GridConfig, channel_groups
from inrzip.architectures.grid_layout import LEVELS, N_GRIDS, Networks, places, unflat
from inrzip.architectures.grid_render import Span
from inrzip.codecs.latent_tiles import UNTILED, TiledGrids, encode_tiles, n_head, n_tiles
from inrzip.codecs.latents import GridDecoder, Latents, decode_numbers, encode_grids, encode_numbers, number_bits
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import GridPrior

from . import grid_preview, wire
from .errors import CorruptFile
from .header import VERSION

Moves = Mapping[int, Networks]
"""Whole numbers that are added to a prior's networks, for planes of so many channels."""
TILED_FROM = 3
"""Format version that wrote large pictures in tiles first."""


@dataclasses.dataclass(frozen=True)
class CodedPlane:
    """Differences to the prior's networks in steps, and latents in coding order, of a plane of so many channels."""

    channels: int
    changes: Int[ndarray, " parameters"]
    grids: list[Latents]


def networks_of(prior: GridPrior, config: GridConfig, changes: Int[ndarray, " n"], channels: int) -> Networks:
    """A plane's networks in whole numbers."""
    sizes = prior.step_sizes(config.step)
    return jax.tree.map(  # type: ignore[no-any-return]
        lambda mean, change, size: mean + change * size,
        prior.networks(config.tone, channels),
        unflat(changes, channels),
        sizes,
    )


def encode_planes(config: GridConfig, prior: GridPrior, shape: tuple[int, int], planes: list[CodedPlane]) -> bytes:
    """The coded stream of all planes; of a large picture, a table of lengths and its streams."""
    order, tiled = places(shape), is_tiled(shape)
    encoder, streams = RangeEncoder(), []
    for plane in planes:
        encode_numbers(encoder, plane.changes, _scales(prior, config, plane.channels))
        model = grid_prior.latent_model(networks_of(prior, config, plane.changes, plane.channels))
        encode_grids(encoder, model, order, plane.grids[: n_head(order)] if tiled else plane.grids)
        if tiled:
            streams += [encoder.finish(), *encode_tiles(model, order, plane.grids)]
            encoder = RangeEncoder()
    return b"".join([*map(wire.varint, map(len, streams)), *streams]) if tiled else encoder.finish()


def is_tiled(shape: tuple[int, int], version: int = VERSION) -> bool:
    """Whether pictures of a size are in tiles, in files of a version of the format."""
    return version >= TILED_FROM and shape[0] * shape[1] > UNTILED


def has_preview(shape: tuple[int, int], version: int = VERSION) -> bool:
    """Whether pictures of a size have a preview, in files of a version of the format."""
    return version >= grid_preview.FIRST_FROM and is_tiled(shape, version)


def _streams(table_and_streams: bytes, n: int, partial: bool) -> list[bytes]:
    """The streams of a large picture; with `partial`, they may end early."""
    if n > len(table_and_streams) and not partial:
        raise CorruptFile(f"{len(table_and_streams)} bytes cannot hold its {n} parts; get the file again")
    cursor = wire.Cursor(table_and_streams)
    try:
        lengths = [cursor.varint() for _ in range(n)]
    except CorruptFile:
        if not partial:
            raise
        return [b""] * n
    if sum(lengths) != cursor.remaining and not (partial and sum(lengths) > cursor.remaining):
        raise CorruptFile(f"its parts take {sum(lengths)} bytes, but {cursor.remaining} are there; get the file again")
    return [cursor.take(min(length, cursor.remaining)) for length in lengths]


def change_bits(prior: GridPrior, config: GridConfig, changes: Int[ndarray, " n"], channels: int) -> float:
    """What a plane's differences cost, in bits."""
    return float(np.sum(number_bits(changes, _scales(prior, config, channels))))


def _scales(prior: GridPrior, config: GridConfig, channels: int) -> Int[ndarray, " n"]:
    return prior.scales(config.step, config.spread, channels)


class Picture:
    """A coded picture, decoded when and as far as it is looked at. Everything raises CorruptFile for damaged data.

    `partial`: the stream may end early. Then what is missing is as in the `preview`; without one, latents that are
    missing are 0, and planes that are missing full.
    """

    def __init__(
        self,
        config: GridConfig,
        stream: bytes,
        shape: tuple[int, int],
        channels: int,
        partial: bool = False,
        version: int = VERSION,
        preview: grid.Picture | None = None,
        moves: Callable[[], Moves] | None = None,
    ):
        self.shape, self.preview, self._moves_before = shape, preview, moves
        try:
            self._mean = grid_prior.load(config.prior)
        except KeyError:
            raise CorruptFile(
                f"its learned prior {config.prior} is unknown; the file may be from a newer inrzip"
            ) from None
        self._config, self._groups = config, channel_groups(channels)
        self._order, self._partial = places(shape), partial
        self._step = grid_prior.latent_step(config.tone)
        self._planes: dict[int, _Plane] = {}
        self._turn = threading.RLock()
        self._parts: list[list[bytes]] | None = None
        if is_tiled(shape, version):
            n = 1 + n_tiles(self._order)
            streams = _streams(stream, n * len(self._groups), partial)
            self._parts = [streams[n * i : n * (i + 1)] for i in range(len(self._groups))]
        else:
            self._decoder = RangeDecoder(stream)

    @functools.cached_property
    def _prior(self) -> GridPrior:
        return dataclasses.replace(self._mean, moves={} if self._moves_before is None else self._moves_before())

    def moves(self) -> Moves:
        """How the networks of its planes differ from the learned prior's, by the planes' channels."""
        found = {}
        for number, group in enumerate(self._groups):
            plane, channels = self._plane(number), _count(group)
            assert plane is not None
            found[channels] = jax.tree.map(np.subtract, plane.whole, self._mean.networks(self._config.tone, channels))
        return found

    def render(self, rows: Span, columns: Span, double: bool = False) -> Float[ndarray, "rows columns channels"]:
        """Samples of a region, in normalised units; `double`: in double precision."""
        if self.preview is not None and self._partial:
            return self._render_corrected(self.preview, rows, columns)
        values = self._render(rows, columns, double)
        if self._parts is None and not self._partial and self._all_read():
            with self._turn:
                self._decoder.finish()
        return values

    def _render(self, rows: Span, columns: Span, double: bool = False) -> Float[ndarray, "rows columns channels"]:
        values = []
        for number, group in enumerate(self._groups):
            plane = self._plane(number)
            if plane is None:
                values.append(np.ones((rows[1] - rows[0], columns[1] - columns[0], _count(group)), np.float32))
            else:
                networks, window = plane.networks, plane.window
                if double:
                    networks, window = jax.tree.map(np.float64, networks), plane.precise_window
                values.append(grid_render.render(networks, window, self.shape, rows, columns))
        return np.concatenate(values, -1)

    def _render_corrected(
        self, preview: grid.Picture, rows: Span, columns: Span
    ) -> Float[ndarray, "rows columns channels"]:
        """A region of a picture that was cut short, with the preview's colours where latents are missing."""
        n = grid_preview.halvings(self.shape)
        spans = [grid_preview.aligned(span, n, end) for span, end in zip((rows, columns), self.shape, strict=True)]
        values = self._render(spans[0], spans[1])
        (top, bottom), (left, right) = ((start >> n, -(-stop >> n)) for start, stop in spans)
        small = preview.render((top, bottom), (left, right))
        lost = [self._lost(number, n)[top:bottom, left:right] for number in range(len(self._groups))]
        each = np.stack([lost[i] for i, group in enumerate(self._groups) for _ in range(_count(group))], -1)
        values = grid_preview.corrected(values, small, each, n)
        (top, bottom), (left, right) = (
            (wanted[0] - span[0], wanted[1] - span[0]) for wanted, span in zip((rows, columns), spans, strict=True)
        )
        return values[top:bottom, left:right]

    def _lost(self, number: int, n: int) -> Bool[ndarray, "less fewer"]:
        """Where something of a plane proved to be missing, in a picture that is halved `n` times."""
        plane = self._plane(number)
        lost = np.full(grid_preview.size(self.shape, n), plane is None)
        for (top, bottom), (left, right) in plane.grids.lost if plane and isinstance(plane.grids, TiledGrids) else ():
            lost[top >> n : -(-bottom >> n), left >> n : -(-right >> n)] = True
        return lost

    def _all_read(self) -> bool:
        last = self._planes.get(len(self._groups) - 1)
        return last is not None and isinstance(last.grids, GridDecoder) and last.grids.finished

    def _plane(self, number: int) -> _Plane | None:
        """A plane that can be looked at; None if it is missing."""
        with self._turn:
            if number not in self._planes:
                if self._parts is None and number > 0:  # it comes after all others in the same stream
                    before = self._plane(number - 1)
                    if before is None or not before.read_whole():
                        return None
                found = self._begin(number)
                if found is None:
                    return None
                self._planes[number] = found
            return self._planes[number]

    def _begin(self, number: int) -> _Plane | None:
        streams = None if self._parts is None else self._parts[number]
        if streams is not None and not streams[0] and (number > 0 or self.preview is not None) and self._partial:
            return None
        decoder = self._decoder if streams is None else RangeDecoder(streams[0])
        channels = _count(self._groups[number])
        try:
            changes = decode_numbers(decoder, _scales(self._prior, self._config, channels))
        except CorruptFile:
            if self.preview is not None and self._partial:
                return None
            raise
        networks = networks_of(self._prior, self._config, changes, channels)
        model = grid_prior.latent_model(networks)
        grids: GridDecoder | TiledGrids
        if streams is None:
            grids = GridDecoder(decoder, model, self._order)
        else:
            head = GridDecoder(decoder, model, self._order[: n_head(self._order)])
            if self.preview is not None and self._partial:
                head.read(n_head(self._order))
                if head.ended:
                    return None
            grids = TiledGrids(head, model, self._order, streams[1:])
        return _Plane(networks, grid_prior.as_floats(networks), grids, self._step, self._partial, self._turn)


@dataclasses.dataclass
class _Plane:
    whole: Networks
    networks: Networks
    grids: GridDecoder | TiledGrids
    step: float
    partial: bool
    turn: threading.RLock
    """Latents are read by one thread at a time; samples are made of them side by side."""

    def read_whole(self) -> bool:
        """Reads to the end of a plane that is not tiled; False if the data end before."""
        assert isinstance(self.grids, GridDecoder)
        self.grids.read(N_GRIDS)
        self._check()
        return not self.grids.ended

    def window(self, level: int, rows: Span, columns: Span) -> Float[ndarray, "rows columns"]:
        """Latents of a level, times their step."""
        scaled: Float[ndarray, "rows columns"] = self._latents(level, rows, columns).astype(np.float32)
        return scaled * np.float32(self.step)

    def precise_window(self, level: int, rows: Span, columns: Span) -> Float[ndarray, "rows columns"]:
        """The same in double precision."""
        return self._latents(level, rows, columns).astype(np.float64) * self.step

    def _latents(self, level: int, rows: Span, columns: Span) -> Latents:
        with self.turn:
            part = self.grids.window(MAIN_GRIDS[level], rows, columns)
            self._check()
        return part

    def _check(self) -> None:
        if self.grids.ended and not self.partial:
            raise CorruptFile("its latents are damaged or cut short; get the file again")


def _count(group: slice) -> int:
    """Channels of a plane."""
    count: int = group.stop - group.start
    return count


MAIN_GRIDS = {place.level: i for i, place in enumerate(places((1, 1))) if not place.hyper}
"""The number of each level's main grid, in coding order."""
assert len(MAIN_GRIDS) == LEVELS
