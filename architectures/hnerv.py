"""HNeRV (Chen et al., CVPR 2023): a NeRV whose frames start from small content-adaptive embeddings instead of a time
code.

While fitting, a ConvNeXt encoder makes the embeddings from the frames. The file holds the embeddings, quantised and
coded, and the decoder; the encoder is thrown away.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Generic, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from .base import Grid, Trainable, solve_width
from .frames import (
    MAX_CHANNELS,
    Conv,
    FrameConfig,
    Head,
    Rising,
    RisingT,
    Stem,
    StemConfig,
    UpBlock,
    at_time,
    choose_scales,
    depthwise,
    normalise,
    stem_shape,
)

STEM_ROWS = 2
ENCODER_WIDTH = 64
MIXED_POSITIONS = 1_000
"""Positions up to which the encoder has a ConvNeXt block."""
REDUCTION_UNIT = 10
MAX_KERNEL = 7
EMBEDDING_SCALE = 0.1
"""What the encoder makes is multiplied with this: else embeddings run ahead of the decoder, which then learns little.
Measured on 12 frames of 108x132, 12,000 parameters, 360 steps: 20.1 to 24.5 dB without (four seeds), 25.0 to 25.3 with
it (three).
"""
EMBEDDING_CHANNELS = 16
EMBEDDING_SHARE = 0.3
"""At most this part of the parameters goes to embeddings."""


PAPER_SHAPE = {"reduction": 12, "kernel": 5, "floor": 12, "head": 3}
FAST_SHAPE = {"reduction": 20, "kernel": 3, "floor": 16, "head": 1}
"""For large frames: a fourth of the time for a step."""


@dataclasses.dataclass(frozen=True)
class HnervConfig(StemConfig):
    """An HNeRV decoder.

    `embedding`: channels of a frame's embedding; `channels`: after the first 1x1 convolution; `reduction`: tenths, the
    factor by which each block narrows (paper: 1.2); `kernel`: the largest kernel (block i has min(1 + 2i, kernel));
    `floor`: the fewest channels (paper: 12); `head`: kernel of the last convolution; `shuffle`: see `frames.Head`
    (paper: 1).
    """

    embedding: int
    channels: int
    reduction: int
    kernel: int
    floor: int
    head: int
    shuffle: int
    strides: tuple[int, ...]

    number: ClassVar[int] = 3

    def build(self, grid: Grid, key: PRNGKeyArray) -> Hnerv:
        return Hnerv(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        n_frames, height, width = grid.shape
        shuffle, strides = choose_scales(grid, settings, STEM_ROWS)
        positions = n_frames * math.prod(stem_shape(height, width, (*strides, shuffle)))
        affordable = int(EMBEDDING_SHARE * n_parameters / positions)
        embedding = settings.pop("embedding", max(1, min(EMBEDDING_CHANNELS, affordable)))
        fixed = {"channels": 2} | (PAPER_SHAPE if shuffle == 1 else FAST_SHAPE) | settings
        config = cls(embedding=embedding, shuffle=shuffle, strides=strides, **fixed)
        if "channels" in settings:
            return config

        def count(channels: int) -> int:
            return dataclasses.replace(config, channels=channels).n_parameters(grid)

        return dataclasses.replace(config, channels=solve_width(count, n_parameters, 2, MAX_CHANNELS // 4))

    def check(self, grid: Grid) -> None:
        self.check_frames(grid)
        if not all(1 <= size <= MAX_CHANNELS for size in (self.embedding, self.channels, self.floor)):
            raise ValueError(f"HNeRV of {self.embedding}, {self.channels}, {self.floor} channels")
        if not all(k % 2 == 1 and k <= MAX_KERNEL for k in (self.kernel, self.head)) or self.reduction < REDUCTION_UNIT:
            raise ValueError(f"HNeRV with kernels {self.kernel}, {self.head}, reduction {self.reduction}")

    def widths(self) -> tuple[int, ...]:
        """Channels before the first block and after each."""
        widths = [self.channels]
        for _ in self.strides:
            widths.append(max(round(widths[-1] * REDUCTION_UNIT / self.reduction), min(self.floor, widths[-1])))
        return tuple(widths)

    def kernels(self) -> tuple[int, ...]:
        return tuple(min(1 + 2 * i, self.kernel) for i in range(len(self.strides)))

    def make_stem(self, grid: Grid, key: PRNGKeyArray) -> HnervStem:
        return HnervStem(self, grid, key)


class HnervStem(Stem):
    """The embeddings of all frames, and a 1x1 convolution. Between frames, embeddings are interpolated linearly."""

    embeddings: Float[Array, "frames rows columns embedding"]
    widen: Conv

    def __init__(self, config: HnervConfig, grid: Grid, key: PRNGKeyArray):
        n_frames, height, width = grid.shape
        shape = (n_frames, *stem_shape(height, width, (*config.strides, config.shuffle)), config.embedding)
        self.embeddings = jnp.zeros(shape, jnp.float32)
        self.widen = Conv(config.embedding, config.channels, 1, key)

    def decode(
        self, embeddings: Float[Array, "batch rows columns embedding"]
    ) -> Float[Array, "batch rows columns channels"]:
        """Features from embeddings."""
        return jax.nn.gelu(self.widen(embeddings))

    def __call__(self, times: Float[Array, " batch"]) -> Float[Array, "batch rows columns channels"]:
        return self.decode(at_time(self.embeddings, times))


class Hnerv(Rising):
    """The decoder of `HnervConfig` and the embeddings of all frames."""

    stem: HnervStem
    blocks: list[UpBlock]
    head: Head
    config: HnervConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: HnervConfig, grid: Grid, key: PRNGKeyArray):
        keys = jax.random.split(key, len(config.strides) + 2)
        widths = config.widths()
        self.stem = config.make_stem(grid, keys[0])
        shapes = zip(widths[:-1], widths[1:], config.kernels(), config.strides, keys[1:-1], strict=True)
        self.blocks = [UpBlock(*shape) for shape in shapes]
        self.head = Head(widths[-1], grid.channels, config.head, config.shuffle, keys[-1])
        self.config = config
        self.grid = grid

    def rise(
        self, x: Float[Array, "batch rows columns channels"], times: Float[Array, " batch"]
    ) -> Float[Array, "batch height width channels"]:
        """Frames from features at the lowest resolution."""
        for block in self.blocks:
            x = block(x)
        return self.head(x, *self.grid.shape[1:])

    def training_module(self, key: PRNGKeyArray) -> HnervTraining[Hnerv]:
        return HnervTraining(self.config, self, key)


class HnervTraining(Trainable, Generic[RisingT]):
    """Encoder and decoder together, as they are fitted."""

    encoder: Encoder
    decoder: RisingT

    def __init__(self, config: HnervConfig, decoder: RisingT, key: PRNGKeyArray):
        """`decoder`: a network with the stem of `config`."""
        self.encoder = Encoder(config, config.embedding, decoder.grid, key)
        self.decoder = decoder

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        """Frames from themselves, through the embedding."""
        stem = self.decoder.stem
        assert isinstance(stem, HnervStem)
        return self.decoder.rise(stem.decode(self.encoder(targets)), inputs)

    def finish(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> RisingT:
        """The decoder, with the embeddings that the encoder gives each frame."""
        if samples is None:
            raise ValueError("`samples` is None; HNeRV makes its embeddings from frames")
        embeddings = self.encoder.embed(samples, low, high)
        decoder: RisingT = eqx.tree_at(lambda m: m.stem.embeddings, self.decoder, embeddings)
        return decoder


class Encoder(eqx.Module):
    """Strided convolutions, each followed by one ConvNeXt block (Liu et al., CVPR 2022).

    Large frames are averaged down to the decoder's last grid first, and blocks work only where there are few positions:
    the encoder is not stored, and this makes it a small part of the cost.
    """

    downs: list[Conv]
    mixers: list[ConvNext | None]
    strides: tuple[int, ...] = eqx.field(static=True)
    shuffle: int = eqx.field(static=True)

    def __init__(self, config: FrameConfig, embedding: int, grid: Grid, key: PRNGKeyArray):
        """To `embedding` channels at the lowest resolution of `config`."""
        n = len(config.strides)
        keys = jax.random.split(key, 2 * n)
        widths = [grid.channels, *[ENCODER_WIDTH] * (n - 1), embedding]
        self.downs = [
            Conv(a, b, s, k) for a, b, s, k in zip(widths[:-1], widths[1:], config.strides, keys[:n], strict=True)
        ]
        positions = grid.n_points / grid.shape[0] / config.shuffle**2 / np.cumprod(np.square(config.strides))
        self.mixers = [
            ConvNext(width, k) if count <= MIXED_POSITIONS else None
            for width, count, k in zip(widths[1:], positions, keys[n:], strict=True)
        ]
        self.strides = config.strides
        self.shuffle = config.shuffle

    def __call__(self, frames: Float[Array, "b h w c"]) -> Float[Array, "b rows columns embedding"]:
        product = math.prod(self.strides) * self.shuffle
        pad = [(0, 0), *((0, -size % product) for size in frames.shape[1:3]), (0, 0)]
        x = _average(jnp.pad(frames, pad, mode="edge"), self.shuffle)
        for i, (down, mixer, stride) in enumerate(zip(self.downs, self.mixers, self.strides, strict=True)):
            x = down(normalise(x) if i else x, stride)
            x = x if mixer is None else mixer(x)
        return EMBEDDING_SCALE * x

    def embed(
        self, samples: Shaped[np.ndarray, "frames height width channels"], low: float, high: float
    ) -> Float[Array, "frames rows columns embedding"]:
        """The embeddings of all frames, from `low` to `high`, one after the other."""
        span = (high - low) or 1
        encode = eqx.filter_jit(lambda encoder, frames: encoder((frames.astype(jnp.float32) - low) / span))
        return jnp.concatenate([encode(self, samples[i : i + 1]) for i in range(len(samples))])


def _average(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c"]:
    b, h, w, c = x.shape
    return x.reshape(b, h // factor, factor, w // factor, factor, c).mean((2, 4)) if factor > 1 else x


class ConvNext(eqx.Module):
    """Depthwise 7x7 convolution, normalisation, two dense layers with GELU, layer scale, residual."""

    depthwise: Float[Array, "7 7 c"]
    expand: Conv
    contract: Conv
    scale: Float[Array, " c"]

    def __init__(self, channels: int, key: PRNGKeyArray):
        keys = jax.random.split(key, 3)
        self.depthwise = 0.02 * jax.random.truncated_normal(keys[0], -2, 2, (7, 7, channels), jnp.float32)
        self.expand = Conv(channels, 4 * channels, 1, keys[1])
        self.contract = Conv(4 * channels, channels, 1, keys[2])
        self.scale = jnp.full((channels,), 1e-6, jnp.float32)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        y = depthwise(x, self.depthwise)
        return x + self.scale * self.contract(jax.nn.gelu(self.expand(normalise(y))))
