"""E-NeRV: Expedite Neural Video Representation with Disentangled Spatial-Temporal Context (Li et al., ECCV 2022).

NeRV's stem is made from time by a matrix with a column for each of its numbers. Here a fixed grid of positions says
where, time says when, and small transformers put them together, so that parameters do not grow with the stem's rows and
columns.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import FrameRepresentation, Grid, solve_width
from .frames import (
    MAX_CHANNELS,
    Conv,
    Head,
    Stem,
    StemConfig,
    UpBlock,
    choose_scales,
    dense,
    encode_time,
    halving_widths,
    pixel_shuffle,
    stem_shape,
)
from .nerv import KERNEL, MAX_FREQUENCIES

STEM_ROWS = 4
MAX_HEADS = 16
MAX_TOKENS = 1024
"""Positions of the stem. Attention compares each with each."""
HEADS = 2
"""Of the second transformer, unless told otherwise (paper: 8)."""
HEAD_PART, MLP_PART = 4, 2
"""A head has a quarter of the tokens' width, and the dense layers of a transformer half of it, as in the paper."""
NARROWING = 4
"""The factorised block makes a quarter of its channels before it makes rows and columns."""
EPSILON = 1e-5
"""Added to variances."""


@dataclasses.dataclass(frozen=True)
class EnervConfig(StemConfig):
    """An E-NeRV: `channels` of the stem, halved by blocks as in NeRV, down to `floor`; `width`: of tokens; `heads`: of
    the second transformer (the first has one); `hidden`: units of the time branch; `frequencies` of time and `places`
    of rows and of columns in positional encodings; `shuffle`: see `frames.Head` (paper: 1).
    """

    channels: int
    width: int
    heads: int
    hidden: int
    frequencies: int
    places: int
    floor: int
    shuffle: int
    strides: tuple[int, ...]

    number: ClassVar[int] = 17

    def build(self, grid: Grid, key: PRNGKeyArray) -> Enerv:
        return Enerv(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        height, width = grid.shape[1:]
        shuffle, strides = choose_scales(grid, settings, STEM_ROWS)
        while math.prod(stem_shape(height, width, (*strides, shuffle))) > MAX_TOKENS and len(strides) < 6:
            strides = (4, *strides)
        fixed = {"heads": HEADS, "frequencies": 40, "places": 10, "floor": 12} | settings

        def chosen(channels: int) -> dict[str, int]:
            return {"channels": channels, "width": 2 * channels, "hidden": 2 * channels} | fixed

        def count(channels: int) -> int:
            return cls(**chosen(channels), shuffle=shuffle, strides=strides).n_parameters(grid)

        channels = settings.get("channels") or solve_width(count, n_parameters, 2, MAX_CHANNELS // 4)
        return cls(**chosen(channels), shuffle=shuffle, strides=strides)

    def check(self, grid: Grid) -> None:
        self.check_frames(grid)
        sizes = (self.channels, self.width, self.hidden, self.floor)
        if not all(1 <= size <= MAX_CHANNELS for size in sizes):
            raise ValueError(f"E-NeRV of sizes {sizes}")
        if not all(1 <= n <= MAX_FREQUENCIES for n in (self.frequencies, self.places)):
            raise ValueError(f"E-NeRV of {self.frequencies} and {self.places} frequencies")
        if not 1 <= self.heads <= MAX_HEADS:
            raise ValueError(f"E-NeRV with {self.heads} heads")
        _, height, width = grid.shape
        if math.prod(stem_shape(height, width, (*self.strides, self.shuffle))) > MAX_TOKENS:
            raise ValueError(f"E-NeRV with a stem of more than {MAX_TOKENS} positions")

    def widths(self) -> tuple[int, ...]:
        """Channels of the stem and after each block."""
        return halving_widths(self.channels, self.floor, len(self.strides))

    def kernels(self) -> tuple[int, ...]:
        return (KERNEL,) * len(self.strides)

    def make_stem(self, grid: Grid, key: PRNGKeyArray) -> EnervStem:
        return EnervStem(self, grid, key)


Layer = tuple[Float[Array, "in out"], Float[Array, " out"]]


class Transformer(eqx.Module):
    """Attention of tokens to each other, then two dense layers, both added to what comes in; nothing is normalised."""

    attend: Float[Array, "width three_heads"]
    gather: Layer
    narrow: Layer
    widen: Layer
    heads: int = eqx.field(static=True)

    def __init__(self, width: int, heads: int, key: PRNGKeyArray):
        keys = jax.random.split(key, 4)
        inside, between = heads * -(-width // HEAD_PART), -(-width // MLP_PART)
        self.attend = dense(width, 3 * inside, keys[0])[0]
        self.gather = dense(inside, width, keys[1])
        self.narrow = dense(width, between, keys[2])
        self.widen = dense(between, width, keys[3])
        self.heads = heads

    def __call__(self, x: Float[Array, "b tokens width"]) -> Float[Array, "b tokens width"]:
        b, tokens, width = x.shape
        each = -(-width // HEAD_PART)
        asked, known, told = jnp.moveaxis((x @ self.attend).reshape(b, tokens, 3, self.heads, each), 2, 0)
        likeness = jnp.einsum("bihe,bjhe->bhij", asked, known) / math.sqrt(each)
        heard = jnp.einsum("bhij,bjhe->bihe", jax.nn.softmax(likeness, -1), told).reshape(b, tokens, self.heads * each)
        x = x + apply_dense(self.gather, heard)
        return x + apply_dense(self.widen, jax.nn.gelu(apply_dense(self.narrow, x)))


class FactorisedBlock(eqx.Module):
    """Convolution to few channels, pixel shuffle, convolution to all channels, GELU: the first block of a NeRV has most
    of its parameters otherwise.
    """

    narrow: Conv
    widen: Conv
    stride: int = eqx.field(static=True)

    def __init__(self, n_in: int, n_out: int, stride: int, key: PRNGKeyArray):
        narrow_key, widen_key = jax.random.split(key)
        between = -(-n_in // NARROWING)
        self.narrow = Conv(n_in, between * stride * stride, 3, narrow_key)
        self.widen = Conv(between, n_out, 3, widen_key)
        self.stride = stride

    def __call__(self, x: Float[Array, "b h w in"]) -> Float[Array, "b h2 w2 out"]:
        return jax.nn.gelu(self.widen(pixel_shuffle(self.narrow(x), self.stride)))


class EnervStem(Stem):
    """Time and place, each on its own way, and the transformers that put them together."""

    time: list[Layer]
    when: Layer
    where: Layer
    mixers: list[Transformer]
    widen: Layer
    n_frames: int = eqx.field(static=True)
    rows: int = eqx.field(static=True)
    columns: int = eqx.field(static=True)
    config: EnervConfig = eqx.field(static=True)

    def __init__(self, config: EnervConfig, grid: Grid, key: PRNGKeyArray):
        keys = jax.random.split(key, 7)
        hidden, width = config.hidden, config.width
        self.time = [dense(2 * config.frequencies, hidden, keys[0]), dense(hidden, hidden, keys[1])]
        self.when = dense(hidden, width, keys[2])
        self.where = dense(4 * config.places, width, keys[3])
        self.mixers = [Transformer(width, heads, k) for heads, k in zip((1, config.heads), keys[4:6], strict=True)]
        self.widen = dense(width, config.channels, keys[6])
        self.n_frames, height, width = grid.shape
        self.rows, self.columns = stem_shape(height, width, (*config.strides, config.shuffle))
        self.config = config

    def tell(self, times: Float[Array, " batch"]) -> Float[Array, "batch hidden"]:
        """What the time branch says."""
        z = encode_time(times, self.n_frames, self.config.frequencies)
        for layer in self.time:
            z = jax.nn.gelu(apply_dense(layer, z))
        return z

    def __call__(self, times: Float[Array, " batch"]) -> Float[Array, "batch rows columns channels"]:
        return self.place(self.tell(times))

    def place(
        self, told: Float[Array, "batch hidden"], context: Float[Array, "batch tokens width"] | None = None
    ) -> Float[Array, "batch rows columns channels"]:
        """Features, from what the time branch says, and from what is added to the positions' tokens, if anything."""
        when = jax.nn.gelu(apply_dense(self.when, told))
        where = apply_dense(self.where, _encode_places(self.rows, self.columns, self.config.places))[None]
        x = self.mixers[0](jax.nn.gelu(where if context is None else where + context)) * when[:, None]
        return apply_dense(self.widen, self.mixers[1](x)).reshape(len(told), self.rows, self.columns, -1)


class Enerv(FrameRepresentation):
    """The network of `EnervConfig`; the output is (tanh + 1) / 2."""

    stem: EnervStem
    styles: list[Layer]
    blocks: list[FactorisedBlock | UpBlock]
    head: Head
    config: EnervConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: EnervConfig, grid: Grid, key: PRNGKeyArray):
        n = len(config.strides)
        keys = jax.random.split(key, 2 * n + 2)
        widths = config.widths()
        self.stem = config.make_stem(grid, keys[0])
        self.styles = [dense(config.hidden, 2 * w, k) for w, k in zip(widths[:-1], keys[2 : 2 + n], strict=True)]
        later = zip(widths[1:-1], widths[2:], config.strides[1:], keys[3 + n :], strict=True)
        self.blocks = [
            FactorisedBlock(widths[0], widths[1], config.strides[0], keys[2 + n]),
            *(UpBlock(n_in, n_out, KERNEL, stride, k) for n_in, n_out, stride, k in later),
        ]
        self.head = Head(widths[-1], grid.channels, 1, config.shuffle, keys[1])
        self.config = config
        self.grid = grid

    def predict(self, times: Float[Array, " batch"]) -> Float[Array, "batch height width channels"]:
        z = self.stem.tell(times)
        return self.head(self.refine(self.stem.place(z), z), *self.grid.shape[1:])

    def refine(
        self, x: Float[Array, "batch rows columns channels"], told: Float[Array, "batch hidden"]
    ) -> Float[Array, "batch h w last"]:
        """What the blocks make of features at the lowest resolution and of what the time branch says."""
        for style, block in zip(self.styles, self.blocks, strict=True):
            scale, shift = jnp.split(apply_dense(style, told)[:, None, None], 2, -1)
            x = block(_standardise(x) * (1 + scale) + shift)
        return x


def _encode_places(rows: int, columns: int, n_frequencies: int) -> Float[Array, "tokens features"]:
    """Each position of the stem by the encoding of its row beside that of its column, row by row."""
    down = encode_time(jnp.arange(rows, dtype=float), rows, n_frequencies)
    across = encode_time(jnp.arange(columns, dtype=float), columns, n_frequencies)
    return jnp.concatenate([jnp.repeat(down, columns, 0), jnp.tile(across, (rows, 1))], -1)


def apply_dense(layer: Layer, x: Float[Array, "... in"]) -> Float[Array, "... out"]:
    """A dense layer."""
    return x @ layer[0] + layer[1]


def _standardise(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Instance normalisation: each channel of each image to mean 0 and variance 1."""
    mean = jnp.mean(x, (1, 2), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.mean((x - mean) ** 2, (1, 2), keepdims=True) + EPSILON)
