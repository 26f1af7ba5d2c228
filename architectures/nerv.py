"""NeRV: Neural Representations for Videos (Chen et al., NeurIPS 2021): from a frame's time to the frame."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Self

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Grid, solve_width
from .frames import (
    MAX_CHANNELS,
    Head,
    Rising,
    Stem,
    StemConfig,
    UpBlock,
    choose_scales,
    dense,
    encode_time,
    halving_widths,
    stem_shape,
)

STEM_ROWS = 4
MAX_FREQUENCIES = 200
KERNEL = 3


@dataclasses.dataclass(frozen=True)
class NervConfig(StemConfig):
    """A NeRV: time encoding of `frequencies`, an MLP with `hidden` units to a stem of `channels`, one up-block for each
    of `strides`.

    The first block keeps the channels, each later one halves them, down to `floor`. `shuffle`: see `frames.Head`
    (paper: 1).
    """

    channels: int
    hidden: int
    frequencies: int
    floor: int
    shuffle: int
    strides: tuple[int, ...]

    number: ClassVar[int] = 2

    def build(self, grid: Grid, key: PRNGKeyArray) -> Nerv:
        return Nerv(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        shuffle, strides = choose_scales(grid, settings, STEM_ROWS)
        frequencies = settings.pop("frequencies", 40)
        floor = settings.pop("floor", 12)

        smallest = cls(2, 4, frequencies, floor, shuffle, strides)

        def count(channels: int) -> int:
            return dataclasses.replace(smallest, channels=channels, hidden=2 * channels).n_parameters(grid)

        channels = settings.pop("channels", 0) or solve_width(count, n_parameters, 2, MAX_CHANNELS // 4)
        chosen = {"channels": channels, "hidden": 2 * channels, "frequencies": frequencies, "floor": floor} | settings
        return cls(**chosen, shuffle=shuffle, strides=strides)

    def check(self, grid: Grid) -> None:
        self.check_frames(grid)
        sizes = (self.channels, self.hidden, self.floor)
        if not all(1 <= size <= MAX_CHANNELS for size in sizes) or not 1 <= self.frequencies <= MAX_FREQUENCIES:
            raise ValueError(f"NeRV of sizes {sizes}, {self.frequencies} frequencies")

    def widths(self) -> tuple[int, ...]:
        """Channels of the stem and after each block."""
        return halving_widths(self.channels, self.floor, len(self.strides))

    def kernels(self) -> tuple[int, ...]:
        return (KERNEL,) * len(self.strides)

    def make_stem(self, grid: Grid, key: PRNGKeyArray) -> NervStem:
        return NervStem(self, grid, key)


class NervStem(Stem):
    """Time encoding and a network of two dense layers."""

    first: tuple[Float[Array, "in hidden"], Float[Array, " hidden"]]
    second: tuple[Float[Array, "hidden out"], Float[Array, " out"]]
    n_frames: int = eqx.field(static=True)
    shape: tuple[int, int, int] = eqx.field(static=True)
    frequencies: int = eqx.field(static=True)

    def __init__(self, config: NervConfig, grid: Grid, key: PRNGKeyArray):
        keys = jax.random.split(key)
        self.n_frames, height, width = grid.shape
        self.shape = (*stem_shape(height, width, (*config.strides, config.shuffle)), config.channels)
        self.frequencies = config.frequencies
        self.first = dense(2 * config.frequencies, config.hidden, keys[0])
        self.second = dense(config.hidden, math.prod(self.shape), keys[1])

    def __call__(self, times: Float[Array, " batch"]) -> Float[Array, "batch rows columns channels"]:
        x = encode_time(times, self.n_frames, self.frequencies)
        x = jax.nn.gelu(x @ self.first[0] + self.first[1])
        x = jax.nn.gelu(x @ self.second[0] + self.second[1])
        return x.reshape(len(times), *self.shape)


class Nerv(Rising):
    """The network of `NervConfig`; the output is (tanh + 1) / 2."""

    stem: NervStem
    blocks: list[UpBlock]
    head: Head
    config: NervConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: NervConfig, grid: Grid, key: PRNGKeyArray):
        keys = jax.random.split(key, len(config.strides) + 2)
        self.stem = config.make_stem(grid, keys[0])
        widths = config.widths()
        self.blocks = [
            UpBlock(n_in, n_out, KERNEL, stride, k)
            for n_in, n_out, stride, k in zip(widths[:-1], widths[1:], config.strides, keys[1:-1], strict=True)
        ]
        self.head = Head(widths[-1], grid.channels, 1, config.shuffle, keys[-1])
        self.config = config
        self.grid = grid

    def rise(
        self, x: Float[Array, "batch rows columns channels"], times: Float[Array, " batch"]
    ) -> Float[Array, "batch height width channels"]:
        for block in self.blocks:
            x = block(x)
        return self.head(x, *self.grid.shape[1:])
