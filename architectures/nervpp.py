"""NeRV++: An Enhanced Implicit Neural Video Representation (Ghorbel et al., DCC 2024): a NeRV whose blocks look around
before and after they make rows and columns, with a shorter way past both.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import FrameRepresentation, Grid, solve_width
from .frames import (
    MAX_CHANNELS,
    Conv,
    FrameConfig,
    Head,
    UpBlock,
    choose_scales,
    dense,
    depthwise,
    encode_time,
    halving_widths,
    stem_shape,
    upsample,
)
from .nerv import MAX_FREQUENCIES

STEM_ROWS = 4
EXPANSION_UNIT = 3
MAX_EXPANSION = 24
GATED_KERNEL = 5
FEED_KERNEL = 3


@dataclasses.dataclass(frozen=True)
class NervppConfig(FrameConfig):
    """A NeRV++: time encoding of `frequencies`, a gated MLP with `hidden` units to a stem of `channels`, one block for
    each of `strides`.

    The first block keeps the channels, each later one halves them, down to `floor`. `expansion`: thirds, how many times
    its channels a gated CNN has inside (paper: 8); `feed`: thirds, the same for what follows the up-sampling;
    `shuffle`: see `frames.Head` (paper: 1).
    """

    channels: int
    hidden: int
    frequencies: int
    expansion: int
    feed: int
    floor: int
    shuffle: int
    strides: tuple[int, ...]

    number: ClassVar[int] = 18

    def build(self, grid: Grid, key: PRNGKeyArray) -> Nervpp:
        return Nervpp(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        shuffle, strides = choose_scales(grid, settings, STEM_ROWS)
        fixed = {"frequencies": 40, "expansion": 8, "feed": 6, "floor": 12} | settings

        def chosen(channels: int) -> dict[str, int]:
            return {"channels": channels, "hidden": 2 * channels} | fixed

        def count(channels: int) -> int:
            return cls(**chosen(channels), shuffle=shuffle, strides=strides).n_parameters(grid)

        channels = settings.get("channels") or solve_width(count, n_parameters, 2, MAX_CHANNELS // 4)
        return cls(**chosen(channels), shuffle=shuffle, strides=strides)

    def check(self, grid: Grid) -> None:
        self.check_frames(grid)
        sizes = (self.channels, self.hidden, self.floor)
        if not all(1 <= size <= MAX_CHANNELS for size in sizes) or not 1 <= self.frequencies <= MAX_FREQUENCIES:
            raise ValueError(f"NeRV++ of sizes {sizes}, {self.frequencies} frequencies")
        if not all(1 <= times <= MAX_EXPANSION for times in (self.expansion, self.feed)):
            raise ValueError(f"NeRV++ that expands by {self.expansion} and {self.feed} thirds")

    def widths(self) -> tuple[int, ...]:
        """Channels of the stem and after each block."""
        return halving_widths(self.channels, self.floor, len(self.strides))


def _expanded(channels: int, thirds: int) -> int:
    return -(-channels * thirds // EXPANSION_UNIT)


def _depthwise_weight(kernel: int, channels: int, key: PRNGKeyArray) -> Float[Array, "k k c"]:
    return jax.random.uniform(key, (kernel, kernel, channels), jnp.float32, -1 / kernel, 1 / kernel)


class Gated(eqx.Module):
    """Gated CNN: a 1x1 convolution to gates and values, values looked at 5x5, their product by GELU of the gates, and a
    1x1 convolution back, added to what comes in.
    """

    expand: Conv
    look: Float[Array, "5 5 inner"]
    contract: Conv

    def __init__(self, channels: int, thirds: int, key: PRNGKeyArray):
        keys = jax.random.split(key, 3)
        inner = _expanded(channels, thirds)
        self.expand = Conv(channels, 2 * inner, 1, keys[0])
        self.look = _depthwise_weight(GATED_KERNEL, inner, keys[1])
        self.contract = Conv(inner, channels, 1, keys[2])

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        gates, values = jnp.split(self.expand(x), 2, -1)
        return x + self.contract(jax.nn.gelu(gates) * depthwise(values, self.look))


class Feed(eqx.Module):
    """Depthwise 3x3, two 1x1 convolutions with GELU between them, added to what comes in."""

    look: Float[Array, "3 3 c"]
    expand: Conv
    contract: Conv

    def __init__(self, channels: int, thirds: int, key: PRNGKeyArray):
        keys = jax.random.split(key, 3)
        inner = _expanded(channels, thirds)
        self.look = _depthwise_weight(FEED_KERNEL, channels, keys[0])
        self.expand = Conv(channels, inner, 1, keys[1])
        self.contract = Conv(inner, channels, 1, keys[2])

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return x + self.contract(jax.nn.gelu(self.expand(depthwise(x, self.look))))


class Block(eqx.Module):
    """A 1x1 convolution to the new channels; then gated CNN, NeRV's block and feed-forward, beside a bilinear
    enlargement that is added.
    """

    enter: Conv
    gated: Gated
    up: UpBlock
    feed: Feed

    def __init__(self, n_in: int, n_out: int, stride: int, config: NervppConfig, key: PRNGKeyArray):
        keys = jax.random.split(key, 4)
        self.enter = Conv(n_in, n_out, 1, keys[0])
        self.gated = Gated(n_out, config.expansion, keys[1])
        self.up = UpBlock(n_out, n_out, 3, stride, keys[2])
        self.feed = Feed(n_out, config.feed, keys[3])

    def __call__(self, x: Float[Array, "b h w in"]) -> Float[Array, "b h2 w2 out"]:
        x = self.enter(x)
        return self.feed(self.up(self.gated(x))) + upsample(x, self.up.stride)


class Nervpp(FrameRepresentation):
    """The network of `NervppConfig`; the output is (tanh + 1) / 2."""

    first: tuple[Float[Array, "in two_hidden"], Float[Array, " two_hidden"]]
    second: tuple[Float[Array, "hidden out"], Float[Array, " out"]]
    blocks: list[Block]
    head: Head
    config: NervppConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: NervppConfig, grid: Grid, key: PRNGKeyArray):
        rows, columns = stem_shape(grid.shape[1], grid.shape[2], (*config.strides, config.shuffle))
        keys = jax.random.split(key, len(config.strides) + 3)
        self.first = dense(2 * config.frequencies, 2 * config.hidden, keys[0])
        self.second = dense(config.hidden, rows * columns * config.channels, keys[1])
        widths = config.widths()
        self.blocks = [
            Block(n_in, n_out, stride, config, k)
            for n_in, n_out, stride, k in zip(widths[:-1], widths[1:], config.strides, keys[2:-1], strict=True)
        ]
        self.head = Head(widths[-1], grid.channels, 1, config.shuffle, keys[-1])
        self.config = config
        self.grid = grid

    def predict(self, times: Float[Array, " batch"]) -> Float[Array, "batch height width channels"]:
        n_frames, height, width = self.grid.shape
        z = encode_time(times, n_frames, self.config.frequencies)
        gates, values = jnp.split(z @ self.first[0] + self.first[1], 2, -1)
        x = (jax.nn.gelu(gates) * values) @ self.second[0] + self.second[1]
        x = x.reshape(
            len(times), *stem_shape(height, width, (*self.config.strides, self.config.shuffle)), self.config.channels
        )
        for block in self.blocks:
            x = block(x)
        return self.head(x, height, width)
