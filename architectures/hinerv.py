"""HiNeRV (Kwan et al., NeurIPS 2023): feature grids, bilinear up-sampling with grids of local features, and ConvNeXt
blocks in place of wide convolutions. Unlike the paper's, it does without layer normalisation: see `NormalhinervConfig`.

A frame begins as a grid of learned features, which the frames around it share as far as coarser grids in time hold
them. Each stage up-samples bilinearly, adds features that depend on the time and on the place within a cell of the
stage before, and mixes them with depthwise convolutions and dense layers.
"""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
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
    at_time,
    choose_scales,
    depthwise,
    halving_widths,
    normalise,
    stem_shape,
    upsample,
)
from .windows import Part, Window

STEM_ROWS = 4
TIME_LEVELS = 2
"""Grids of features: each has half the frames of the one before, or one more."""
MAX_DEPTH = 16
MAX_EXPANSION = 16
FEATURES = 16
FEATURE_SHARE = 0.3
LOCAL_SHARE = 0.1
"""At most these parts of the parameters go to the features at the lowest resolution, and to local ones."""
FLOOR = 24
"""Fewest channels of a stage. With 12 the last stages are thin: 0.6 dB less for 30,000 parameters (docs/video.md)."""
FEATURE_SCALE = 0.1
"""The largest feature at the beginning."""
BRANCH_SCALE = 0.1
"""By which blocks begin smaller than what they are added to."""


@dataclasses.dataclass(frozen=True)
class HinervConfig(FrameConfig):
    """A HiNeRV.

    `features`: channels of the grids at the lowest resolution; `local`: of the local grids; `channels`: after the first
    convolution, halved by each stage but the first, down to `floor`; `depth`: ConvNeXt blocks in a stage (the last has
    one); `expansion`: by which a block is wider inside (paper: 4; in the last stage 1); `shuffle`: see `frames.Head`
    (paper: 1).
    """

    features: int
    local: int
    channels: int
    floor: int
    depth: int
    expansion: int
    shuffle: int
    strides: tuple[int, ...]

    number: ClassVar[int] = 30
    part_wise: ClassVar[bool] = True
    normal: ClassVar[bool] = False
    """Whether channels are normalised to a mean of 0 and a variance of 1 before each stage and in each block."""

    def build(self, grid: Grid, key: PRNGKeyArray) -> Hinerv:
        return Hinerv(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        n_frames, height, width = grid.shape
        shuffle, strides = choose_scales(grid, settings, STEM_ROWS)
        frames = sum(time_levels(n_frames))
        positions = frames * math.prod(stem_shape(height, width, (*strides, shuffle)))
        cells = frames * sum(stride * stride for stride in strides)
        chosen = {
            "features": max(1, min(FEATURES, int(FEATURE_SHARE * n_parameters / positions))),
            "local": max(1, min(FEATURES, int(LOCAL_SHARE * n_parameters / cells))),
            "floor": FLOOR,
            "depth": 2,
            "expansion": 2,
        } | settings
        config = cls(channels=chosen.pop("channels", 2), shuffle=shuffle, strides=strides, **chosen)
        if "channels" in settings:
            return config

        def count(channels: int) -> int:
            return dataclasses.replace(config, channels=channels).n_parameters(grid)

        return dataclasses.replace(config, channels=solve_width(count, n_parameters, 2, MAX_CHANNELS // 4))

    def check(self, grid: Grid) -> None:
        self.check_frames(grid)
        sizes = self.features, self.local, self.channels, self.floor
        if not all(1 <= size <= MAX_CHANNELS for size in sizes):
            raise ValueError(f"HiNeRV of sizes {sizes}")
        if not 1 <= self.depth <= MAX_DEPTH or not 1 <= self.expansion <= MAX_EXPANSION:
            raise ValueError(f"HiNeRV of {self.depth} blocks, {self.expansion} times as wide inside")
        if not self.strides:
            raise ValueError("HiNeRV without a stage")

    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return halving_widths(self.channels, self.floor, len(self.strides))[1:]


@dataclasses.dataclass(frozen=True)
class NormalhinervConfig(HinervConfig):
    """A HiNeRV with the paper's layer normalisations. No recipe makes it any more: at sizes that fit here, fits without
    gain 1 to 4 dB (docs/video.md), as the size of features says something, too.
    """

    number: ClassVar[int] = 20
    normal: ClassVar[bool] = True


def time_levels(n_frames: int) -> list[int]:
    """Frames of each grid of features."""
    return [-(-n_frames // 2**level) for level in range(TIME_LEVELS)]


class Stage(eqx.Module):
    """Up-sampling, local features, and blocks."""

    narrow: Conv
    local: list[Float[Array, "frames stride stride local"]]
    spread: Float[Array, "local out"]
    blocks: list[Block]
    stride: int = eqx.field(static=True)
    normal: bool = eqx.field(static=True)

    def __init__(self, config: HinervConfig, number: int, n_frames: int, key: PRNGKeyArray):
        widths = config.widths()
        n_in, n_out, last = widths[max(number - 1, 0)], widths[number], number == len(widths) - 1
        keys = jax.random.split(key, 2 + TIME_LEVELS + config.depth)
        self.stride, self.normal = config.strides[number], config.normal
        self.narrow = Conv(n_in, n_out, 1, keys[0])
        self.local = [
            _features((frames, self.stride, self.stride, config.local), k)
            for frames, k in zip(time_levels(n_frames), keys[2:], strict=False)
        ]
        n_local = config.local * TIME_LEVELS
        self.spread = jax.random.uniform(keys[1], (n_local, n_out), jnp.float32, -1, 1) / math.sqrt(n_local)
        expansion = 1 if last else config.expansion
        self.blocks = [
            Block(n_out, expansion, config.normal, k) for k in keys[2 + TIME_LEVELS :][: 1 if last else config.depth]
        ]

    def __call__(
        self, x: Float[Array, "b h w in"], times: Float[Array, " b"], n_frames: int
    ) -> Float[Array, "b h2 w2 out"]:
        b, h, w, _ = x.shape
        x = upsample(self._narrowed(x), self.stride)
        local = _at_times(self.local, times, n_frames) @ self.spread
        cells = x.reshape(b, h, self.stride, w, self.stride, -1) + local[:, None, :, None]
        x = cells.reshape(x.shape)
        for block in self.blocks:
            x = block(x)
        return x

    def part(
        self, x: Float[Array, "h w in"], time: Float[Array, ""], n_frames: int, source: Part, wanted: Part
    ) -> Float[Array, "h2 w2 out"]:
        """The part `wanted` of what the stage makes of a frame, from its part `source`."""
        margin = len(self.blocks)
        wide = wanted.widened(margin)
        local = _at_times(self.local, time[None], n_frames)[0] @ self.spread
        x = wide.made_of(self._narrowed(x[None])[0], source) + wide.repeated(local)
        for i, block in enumerate(self.blocks):
            x = block.shrinking((x * wanted.widened(margin - i).inside())[None])[0]
        return x

    def _narrowed(self, x: Float[Array, "b h w in"]) -> Float[Array, "b h w out"]:
        return self.narrow(normalise(x) if self.normal else x)


class Block(eqx.Module):
    """Depthwise 3x3 convolution, normalisation if wanted, two dense layers with GELU between them, residual."""

    depthwise: Float[Array, "3 3 c"]
    expand: Conv
    contract: Conv
    normal: bool = eqx.field(static=True)

    def __init__(self, channels: int, expansion: int, normal: bool, key: PRNGKeyArray):
        keys = jax.random.split(key, 3)
        self.depthwise = jax.random.uniform(keys[0], (3, 3, channels), jnp.float32, -1 / 3, 1 / 3)
        self.expand = Conv(channels, expansion * channels, 1, keys[1])
        contract = Conv(expansion * channels, channels, 1, keys[2])
        self.contract = jax.tree.map(lambda x: x * BRANCH_SCALE, contract)
        self.normal = normal

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return x + self._mixed(depthwise(x, self.depthwise))

    def shrinking(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        """The same without padding: the outer rows and columns are only looked at."""
        inner = slice(1, -1)
        return x[:, inner, inner] + self._mixed(depthwise(x, self.depthwise)[:, inner, inner])

    def _mixed(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return self.contract(jax.nn.gelu(self.expand(normalise(x) if self.normal else x)))


class Hinerv(FrameRepresentation):
    """The network of `HinervConfig`; the output is (tanh + 1) / 2."""

    features: list[Float[Array, "frames rows columns features"]]
    stem: Conv
    stages: list[Stage]
    head: Head
    config: HinervConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: HinervConfig, grid: Grid, key: PRNGKeyArray):
        n_frames, height, width = grid.shape
        keys = jax.random.split(key, TIME_LEVELS + len(config.strides) + 2)
        shape = stem_shape(height, width, (*config.strides, config.shuffle))
        self.features = [
            _features((frames, *shape, config.features), k)
            for frames, k in zip(time_levels(n_frames), keys, strict=False)
        ]
        self.stem = Conv(config.features * TIME_LEVELS, config.channels, 3, keys[-2])
        self.stages = [Stage(config, i, n_frames, k) for i, k in enumerate(keys[TIME_LEVELS:-2])]
        self.head = Head(config.widths()[-1], grid.channels, 1, config.shuffle, keys[-1])
        self.config = config
        self.grid = grid

    def predict(self, times: Float[Array, " batch"]) -> Float[Array, "batch height width channels"]:
        n_frames, height, width = self.grid.shape
        x = self.stem(_at_times(self.features, times, n_frames))
        for stage in self.stages:
            x = stage(x, times, n_frames)
        return self.head(x, height, width)

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        if inputs.ndim == 1:
            return self.predict(inputs)
        return jax.vmap(lambda corner: self._part(corner, targets.shape[1:3]))(inputs)

    def _part(self, corner: Float[Array, "3"], size: tuple[int, ...]) -> Float[Array, "height width channels"]:
        """So many rows and columns of the frame at a time, from a first row and column on: what `predict` has there."""
        n_frames, shuffle = self.grid.shape[0], self.config.shuffle
        shape = self.features[0].shape[1:3]
        edge = shuffle * math.prod(self.config.strides)
        starts = corner[1:].astype(jnp.int32)
        pixels = Part(*(Window(starts[axis], size[axis], shape[axis] * edge) for axis in range(2)))
        parts = [pixels.by_axis(lambda window: window.squares(shuffle))]
        for stage in reversed(self.stages):
            wide = parts[0].widened(len(stage.blocks))
            parts.insert(0, Part(wide.rows.source(stage.stride), wide.columns.source(stage.stride)))
        everything = Part(*(Window(jnp.int32(0), n, n) for n in shape))
        features = parts[0].widened(1).made_of(_at_times(self.features, corner[:1], n_frames)[0], everything)
        x = self.stem(features[None])[0, 1:-1, 1:-1]
        for stage, (source, wanted) in zip(self.stages, pairwise(parts), strict=True):
            x = stage.part(x, corner[0], n_frames, source, wanted)
        whole = self.head(x[None], x.shape[0] * shuffle, x.shape[1] * shuffle)[0]
        offsets = [to.start - of.start * shuffle for to, of in zip(pixels, parts[-1], strict=True)]
        return jax.lax.dynamic_slice(whole, (*offsets, 0), (*size, whole.shape[-1]))


def _features(shape: tuple[int, ...], key: PRNGKeyArray) -> Float[Array, "..."]:
    return jax.random.uniform(key, shape, jnp.float32, -FEATURE_SCALE, FEATURE_SCALE)


def _at_times(
    grids: list[Float[Array, "frames ..."]], times: Float[Array, " b"], n_frames: int
) -> Float[Array, "b ..."]:
    """Features of all grids at times: a grid of fewer frames has its first and last where the video has them."""
    found = []
    for grid in grids:
        scale = (len(grid) - 1) / (n_frames - 1) if n_frames > 1 else 0.0
        found.append(at_time(grid, times * jnp.float32(scale)))
    return jnp.concatenate(found, -1)
