"""Pictures of latent grids as payloads (docs/format.md, "Latent grids").

A picture is one or more *planes*: three channels at once, or one. Each has networks, coded as differences to a learned
prior, and latents, coded under what those networks predict.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.architectures import grid_render
from inrzip.architectures.grid import GridConfig, channel_groups
from inrzip.architectures.grid_layout import FILTER_REACH, KERNEL_REACH, LEVELS, N_GRIDS, Networks, places, unflat
from inrzip.codecs.latents import GridDecoder, Latents, decode_numbers, encode_grids, encode_numbers, number_bits
from inrzip.codecs.range_coder import RangeDecoder, RangeEncoder
from inrzip.priors import grid_prior
from inrzip.priors.grid_prior import GridPrior

from .errors import CorruptFile


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
    """The coded stream of all planes."""
    encoder = RangeEncoder()
    for plane in planes:
        encode_numbers(encoder, plane.changes, _scales(prior, config, plane.channels))
        networks = networks_of(prior, config, plane.changes, plane.channels)
        encode_grids(encoder, grid_prior.latent_model(networks), places(shape), plane.grids)
    return encoder.finish()


def change_bits(prior: GridPrior, config: GridConfig, changes: Int[ndarray, " n"], channels: int) -> float:
    """What a plane's differences cost, in bits."""
    return float(np.sum(number_bits(changes, _scales(prior, config, channels))))


def _scales(prior: GridPrior, config: GridConfig, channels: int) -> Int[ndarray, " n"]:
    return prior.scales(config.step, config.spread, channels)


class Picture:
    """A coded picture, decoded when and as far as it is looked at. Everything raises CorruptFile for damaged data.

    `partial`: the stream may end early. Latents that are missing then are 0, and planes that are missing full.
    """

    def __init__(self, config: GridConfig, stream: bytes, shape: tuple[int, int], channels: int, partial: bool = False):
        try:
            self._prior = grid_prior.load(config.prior)
        except KeyError:
            raise CorruptFile(
                f"its learned prior {config.prior} is unknown; the file may be from a newer inrzip"
            ) from None
        self._config, self._shape, self._groups = config, shape, channel_groups(channels)
        self._partial = partial
        self._decoder = RangeDecoder(stream)
        self._planes: list[_Plane] = []
        self._step = np.float32(grid_prior.latent_step(config.tone))

    def render(
        self, rows: grid_render.Span, columns: grid_render.Span, level: int = 0
    ) -> Float[ndarray, "rows columns channels"]:
        """Samples of a region at the resolution of a level, in normalised units."""
        values = []
        last_row = min(self._shape[0], (rows[1] + KERNEL_REACH + FILTER_REACH) << level)
        for number, group in enumerate(self._groups):
            plane = self._plane(number, level, last_row)
            if plane is None:
                values.append(np.ones((rows[1] - rows[0], columns[1] - columns[0], _count(group)), np.float32))
            else:
                values.append(grid_render.render(plane.networks, plane.window, self._shape, rows, columns, level))
        return np.concatenate(values, -1)

    def _plane(self, number: int, level: int, last_row: int) -> _Plane | None:
        """A plane, read as far as is needed; None if it is missing."""
        while len(self._planes) <= number:
            if self._planes:
                self._planes[-1].read(N_GRIDS)
                if self._planes[-1].decoder.ended:
                    return None
            self._planes.append(self._begin(_count(self._groups[len(self._planes)])))
        plane = self._planes[number]
        if number == len(self._planes) - 1:
            plane.read(N_GRIDS - level, last_row if level == 0 else None)
            if plane.decoder.finished and not self._partial and number == len(self._groups) - 1:
                self._decoder.finish()
        return plane

    def _begin(self, channels: int) -> _Plane:
        changes = decode_numbers(self._decoder, _scales(self._prior, self._config, channels))
        networks = networks_of(self._prior, self._config, changes, channels)
        decoder = GridDecoder(self._decoder, grid_prior.latent_model(networks), places(self._shape))
        return _Plane(grid_prior.as_floats(networks), decoder, self._step, self._partial)


@dataclasses.dataclass
class _Plane:
    networks: Networks
    decoder: GridDecoder
    step: np.float32
    partial: bool

    def read(self, n_grids: int, n_rows: int | None = None) -> None:
        """Reads on until these grids are there, the last of them in its first `n_rows`."""
        self.decoder.read(n_grids, n_rows)
        if self.decoder.ended and not self.partial:
            raise CorruptFile("its latents are damaged or cut short; get the file again")

    def window(self, level: int, rows: grid_render.Span, columns: grid_render.Span) -> Float[ndarray, "rows columns"]:
        """Latents of a level, times their step."""
        if MAIN_GRIDS[level] >= len(self.decoder.grids):  # the data ended before
            return np.zeros((rows[1] - rows[0], columns[1] - columns[0]), np.float32)
        return window_of(self.decoder.grids, self.step, level, rows, columns)


def _count(group: slice) -> int:
    """Channels of a plane."""
    count: int = group.stop - group.start
    return count


def window_of(
    grids: list[Latents], step: np.float32, level: int, rows: grid_render.Span, columns: grid_render.Span
) -> Float[ndarray, "rows columns"]:
    """A part of a level's latents, times their step, as `grid_render.render` asks for it."""
    part = grids[MAIN_GRIDS[level]][rows[0] : rows[1], columns[0] : columns[1]]
    scaled: Float[ndarray, "rows columns"] = part.astype(np.float32) * step
    return scaled


MAIN_GRIDS = {place.level: i for i, place in enumerate(places((1, 1))) if not place.hyper}
"""The number of each level's main grid, in coding order."""
assert len(MAIN_GRIDS) == LEVELS
