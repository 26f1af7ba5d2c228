"""NIRVANA (Maiya et al., "NIRVANA: Neural implicit representations of videos with adaptive networks and autoregressive
patch-wise modeling", CVPR 2023): a small network for each group of frames, whose fit starts from that of the group
before.

The network goes from the position of a patch to that patch in all frames of the group: sine layers, a stack of channels
at a lower resolution, and for each frame convolutions of its own with pixel shuffles. Groups are a file's segments;
what a segment holds are the weights, or how their integers changed since the segment before (`inrzip.group_chain`).

Two things differ from the paper. Convolutions see the neighbouring patches, so that there are no seams; and the paper's
constant for each frame and channel is left out, as the biases of the frame's first convolution do the same.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Axes, Config, FrameRepresentation, Grid, resample, solve_width
from .frames import MAX_CHANNELS, MAX_STAGES, MAX_STRIDE, pixel_shuffle
from .siren import OMEGA_HIDDEN, sine

FRAMES = 4
"""Frames of a group, unless a setting says otherwise."""
MAX_FRAMES = 64
MAX_DEPTH = 8
MAX_PATCH = 256
MAX_CHAIN = 15
"""Changes in a row: a frame needs the weights of at most so many segments besides its own. Those of 16 groups of 8,700
weights take a third of a second; a whole group in 16 is 9 % of the bytes where changes are 0.4 of a whole one.
"""
KERNEL = 3
FEW = 8
"""Channels up to which convolutions are done in other ways, which are faster then. Measured on one core: 4 channels
to 4 at 90x160 take 1.6 ms as a convolution, 2.1 as a product with all neighbours, 0.2 as a sum of moved planes; 16 to
16 at 180x320 take 5.1 and 42.7.
"""
PATCH = 8
STRIDES = (1,)
SHUFFLE = 2
DEPTH = 2
WIDTH_TIMES = 8
"""Units of a sine layer for each channel of the stack. Small patches and wide layers are best where parameters are few
(measured: see docs/design.md).
"""
RATE_TIMES_WIDTH = 1.0
"""A learning rate is at most this over the width."""


@dataclasses.dataclass(frozen=True)
class NirvanaConfig(Config):
    """A NIRVANA network for up to `frames` frames.

    `chain`: 0 for weights, n for the n-th segment in a row that holds changes; `patch`: rows and columns of a patch, a
    multiple of all strides and `shuffle` together; `width` and `depth`: of the sine layers; `channels`: of the stack
    that they end in; `lower`: channels after each convolution but the last; `strides`: of the pixel shuffles that
    follow these; `shuffle`: of the last one (see `frames.Head`). The paper has groups of 3 frames, patches of 32, a
    width of 512, a depth of 2, 16 channels, then 32, the stride 2 and no shuffle.
    """

    chain: int
    frames: int
    patch: int
    width: int
    depth: int
    channels: int
    lower: int
    shuffle: int
    strides: tuple[int, ...]

    number: ClassVar[int] = 21
    frame_wise: ClassVar[bool] = True

    def build(self, grid: Grid, key: PRNGKeyArray) -> Nirvana:
        return Nirvana(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> Self:
        scale = math.prod(STRIDES) * settings.get("shuffle", SHUFFLE)
        patch = -(-min(PATCH, max(grid.shape[1:])) // scale) * scale
        usual = {"patch": patch, "depth": DEPTH, "shuffle": SHUFFLE}
        settings = usual | settings | {"chain": 0, "frames": grid.shape[0]}

        def sizes(width: int) -> dict[str, int]:
            channels = max(1, round(width / WIDTH_TIMES))
            return {"width": width, "channels": channels, "lower": channels} | settings

        def count(width: int) -> int:
            return cls(**sizes(width), strides=STRIDES).n_parameters(grid)

        return cls(**sizes(solve_width(count, n_parameters, 1, MAX_CHANNELS)), strides=STRIDES)

    def learning_rate(self, peak: float, n_steps: int) -> float:
        return min(peak, RATE_TIMES_WIDTH / self.width)

    def check(self, grid: Grid) -> None:
        if len(grid.shape) != 3:
            raise ValueError(f"NIRVANA on {len(grid.shape)} axes")
        if not grid.shape[0] <= self.frames <= MAX_FRAMES or self.chain > MAX_CHAIN:
            raise ValueError(f"NIRVANA of {self.frames} frames for {grid.shape[0]}, {self.chain} changes in a row")
        sizes = (self.width, self.channels, self.lower)
        if not all(1 <= size <= MAX_CHANNELS for size in sizes) or not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"NIRVANA of sizes {sizes}, depth {self.depth}")
        strides = (*self.strides, self.shuffle)
        if not 2 <= len(strides) <= MAX_STAGES or not all(1 <= s <= MAX_STRIDE for s in strides):
            raise ValueError(f"strides {strides}")
        if not 1 <= self.patch <= MAX_PATCH or self.patch % self.scale():
            raise ValueError(f"patches of {self.patch} with strides {self.strides}, {self.shuffle}")

    def scale(self) -> int:
        """Rows of a frame for each of the stack."""
        return math.prod(self.strides) * self.shuffle

    def side(self) -> int:
        """Rows and columns of a patch in the stack."""
        return self.patch // self.scale()

    def patches(self, grid: Grid) -> tuple[int, int]:
        """Rows and columns of patches that cover a frame."""
        return -(-grid.shape[1] // self.patch), -(-grid.shape[2] // self.patch)


class Nirvana(FrameRepresentation):
    """The network of `NirvanaConfig`; the output is (tanh + 1) / 2. Between frames, it is that of the nearest."""

    layers: list[tuple[Float[Array, "in out"], Float[Array, " out"]]]
    convolutions: list[GroupedConv]
    config: NirvanaConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: NirvanaConfig, grid: Grid, key: PRNGKeyArray):
        side = config.side()
        sizes = [2, *[config.width] * config.depth, side * side * config.channels]
        keys = jax.random.split(key, len(sizes) + len(config.strides))
        self.layers = [
            _start_layer(a, b, i, k)
            for i, (a, b, k) in enumerate(zip(sizes[:-1], sizes[1:], keys[: len(sizes) - 1], strict=True))
        ]
        widths = [config.channels, *[config.lower] * len(config.strides), grid.channels]
        strides = [*config.strides, config.shuffle]
        self.convolutions = [
            GroupedConv(config.frames, a, b * s * s, k)
            for a, b, s, k in zip(widths[:-1], widths[1:], strides, keys[len(sizes) - 1 :], strict=True)
        ]
        self.config = config
        self.grid = grid

    def stack(self) -> Float[Array, "1 h w channels"]:
        """What all frames are made of: the channels of all patches, side by side."""
        rows, columns = self.config.patches(self.grid)
        side = self.config.side()
        y, x = ((2 * jnp.arange(n, dtype=float) + 1) / n - 1 for n in (rows, columns))
        values = jnp.stack(jnp.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
        for weight, bias in self.layers[:-1]:
            values = sine(OMEGA_HIDDEN * (values @ weight + bias))
        weight, bias = self.layers[-1]
        patches = (values @ weight + bias).reshape(rows, columns, side, side, self.config.channels)
        return patches.transpose(0, 2, 1, 3, 4).reshape(1, rows * side, columns * side, self.config.channels)

    def predict(self, times: Float[Array, " batch"]) -> Float[Array, "batch height width channels"]:
        nearest = jnp.clip(jnp.round(times), 0, self.grid.shape[0] - 1).astype(jnp.int32)
        (height, width), x = self.grid.shape[1:], self.stack()
        for convolution, stride in zip(self.convolutions[:-1], self.config.strides, strict=True):
            x = pixel_shuffle(jax.nn.gelu(convolution(x, nearest)), stride)
        x = pixel_shuffle(self.convolutions[-1](x, nearest), self.config.shuffle)
        return 0.5 * jnp.tanh(x[:, :height, :width]) + 0.5

    @functools.cached_property
    def _kept(self) -> _Kept:
        """What all frames are made of, kept as long as the network."""
        frames, planar = self.config.frames, self.is_narrow()
        weights = [
            np.asarray(c.weight).reshape(KERNEL, KERNEL, -1, frames, c.bias.size // frames) for c in self.convolutions
        ]
        biases = [np.asarray(c.bias).reshape(frames, -1) for c in self.convolutions]
        return _Kept(_stack(self, planar), [np.moveaxis(w, 3, 0) for w in weights], biases)

    def is_narrow(self) -> bool:
        """Whether all convolutions are of few channels."""
        return max(self.config.channels, self.config.lower) <= FEW

    def held_bytes(self) -> int:
        rows, columns = self.config.patches(self.grid)
        kept = rows * columns * self.config.side() ** 2 * self.config.channels
        return 2 * super().held_bytes() + kept * np.dtype(np.float32).itemsize

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        times, rows, columns = axes
        values = np.empty((len(times), len(rows), len(columns), self.grid.channels), np.float32)
        numbers = np.clip(np.rint(times), 0, self.grid.shape[0] - 1).astype(int)
        height, width = self.grid.shape[1:]
        for i, number in enumerate(numbers.tolist()):
            values[i] = resample(np.asarray(self._frame(number))[:height, :width], rows, columns)
        return values

    def _frame(self, number: int) -> Float[Array, "rows columns channels"]:
        """One frame, with padding, by several programs: as one, each convolution would make its input anew for each
        neighbour.
        """
        kept, planar = self._kept, self.is_narrow()
        x, strides = kept.stack, (*self.config.strides, self.config.shuffle)
        for i, stride in enumerate(strides):
            last = i == len(strides) - 1
            x = _activated(x, kept.weights[i][number], kept.biases[i][number], planar, last)
            x = _enlarged(x, stride, planar, planar and not last)
        return x


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The stack, with few channels as planes; weights and biases of each convolution, frame by frame."""

    stack: Float[Array, "..."]
    weights: list[Float[np.ndarray, "frames 3 3 in out"]]
    biases: list[Float[np.ndarray, "frames out"]]


@eqx.filter_jit
def _stack(network: Nirvana, planar: bool) -> Float[Array, "..."]:
    stack = network.stack()[0]
    return jnp.moveaxis(stack, -1, 0) if planar else stack


@functools.partial(jax.jit, static_argnums=(3, 4))
def _activated(
    x: Float[Array, "..."],
    weight: Float[np.ndarray, "3 3 in out"],
    bias: Float[np.ndarray, " out"],
    planar: bool,
    last: bool,
) -> Float[Array, "..."]:
    """The convolution of one frame and what follows, of planes where `planar`."""
    sums = _moved(x, weight, bias) if planar else _convolved(x[None], jnp.asarray(weight))[0] + bias
    return 0.5 * jnp.tanh(sums) + 0.5 if last else jax.nn.gelu(sums)


def _moved(
    x: Float[Array, "in h w"], weight: Float[np.ndarray, "3 3 in out"], bias: Float[np.ndarray, " out"]
) -> Float[Array, "out h w"]:
    """As a sum of planes that are moved: the fastest for few channels, but nine times slower to fit."""
    factors = weight.reshape(KERNEL * KERNEL, len(x), -1, 1, 1)
    moved = _shifted(x, 1)
    terms = [factors[i, k] * moved[i][k] for i in range(len(moved)) for k in range(len(x))]
    sums: Float[Array, "out h w"] = functools.reduce(jnp.add, terms)
    return sums + bias[:, None, None]


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _enlarged(x: Float[Array, "..."], stride: int, planar: bool, to_planes: bool) -> Float[Array, "..."]:
    """`pixel_shuffle` of one frame, from planes where `planar`; `to_planes` or to samples."""
    if not planar:
        return pixel_shuffle(x[None], stride)[0]
    total, height, width = x.shape
    x = x.reshape(stride, stride, total // stride**2, height, width)
    x = x.transpose((2, 3, 0, 4, 1) if to_planes else (3, 0, 4, 1, 2))
    sizes = height * stride, width * stride
    return x.reshape((-1, *sizes) if to_planes else (*sizes, -1))


class GroupedConv(eqx.Module):
    """A 3x3 convolution for each frame, in one array: channels of the first frame's come first."""

    weight: Float[Array, "3 3 in frames*out"]
    bias: Float[Array, " frames*out"]
    n_frames: int = eqx.field(static=True)

    def __init__(self, n_frames: int, n_in: int, n_out: int, key: PRNGKeyArray):
        bound = 1 / math.sqrt(n_in * KERNEL * KERNEL)
        weight_key, bias_key = jax.random.split(key)
        shape = (KERNEL, KERNEL, n_in, n_frames * n_out)
        self.weight = jax.random.uniform(weight_key, shape, jnp.float32, -bound, bound)
        self.bias = jax.random.uniform(bias_key, (n_frames * n_out,), jnp.float32, -bound, bound)
        self.n_frames = n_frames

    def __call__(self, x: Float[Array, "some h w in"], chosen: Array) -> Float[Array, "batch h w out"]:
        """For each frame number in `chosen` its convolution of x, or of that of x which is its own."""
        weight = self.weight.reshape(*self.weight.shape[:3], self.n_frames, -1)[:, :, :, chosen]
        bias = self.bias.reshape(self.n_frames, -1)[chosen]
        sums = _narrow(x, weight) if x.shape[-1] <= FEW else _wide(x, weight)
        return sums + bias[:, None, None]


def _wide(x: Float[Array, "some h w in"], weight: Float[Array, "3 3 in batch out"]) -> Float[Array, "batch h w out"]:
    """Convolutions as such."""
    n = weight.shape[3]
    if len(x) == 1:  # all frames see the same: one convolution
        sums = _convolved(x, weight.reshape(*weight.shape[:3], -1))
        return jnp.moveaxis(sums.reshape(*x.shape[1:3], n, -1), 2, 0)
    return jnp.concatenate([_convolved(x[i : i + 1], weight[:, :, :, i]) for i in range(n)])


def _convolved(x: Float[Array, "1 h w in"], weight: Float[Array, "3 3 in out"]) -> Float[Array, "1 h w out"]:
    return jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _narrow(x: Float[Array, "some h w in"], weight: Float[Array, "3 3 in batch out"]) -> Float[Array, "batch h w out"]:
    """With so few channels, products with what each position and its eight neighbours have are faster."""
    n, (_, height, width, n_in) = weight.shape[3], x.shape
    split = weight.reshape(KERNEL * KERNEL * n_in, n, -1)
    taps = jnp.concatenate(_shifted(x, 1), -1).reshape(len(x), height * width, -1)
    if len(x) == 1:
        sums = jnp.moveaxis((taps[0] @ split.reshape(len(split), -1)).reshape(height * width, n, -1), 1, 0)
    else:
        sums = jnp.stack([taps[i] @ split[:, i] for i in range(n)])
    return sums.reshape(n, height, width, -1)


def _shifted(x: Float[Array, "..."], rows: int) -> list[Float[Array, "..."]]:
    """The nine arrays that hold each position's neighbours, row by row, 0 outside; axis `rows` has the rows, the next
    one the columns.
    """
    height, width = x.shape[rows : rows + 2]
    padded = jnp.pad(x, [(1, 1) if axis in (rows, rows + 1) else (0, 0) for axis in range(x.ndim)])
    along = [jax.lax.slice_in_dim(padded, i, i + height, axis=rows) for i in range(KERNEL)]
    return [jax.lax.slice_in_dim(part, j, j + width, axis=rows + 1) for part in along for j in range(KERNEL)]


def _start_layer(
    n_in: int, n_out: int, number: int, key: PRNGKeyArray
) -> tuple[Float[Array, "in out"], Float[Array, " out"]]:
    """SIREN section 3.2: U(-1/n, 1/n) first, then U(-sqrt(6/n)/30, sqrt(6/n)/30)."""
    bound = 1 / n_in if number == 0 else math.sqrt(6 / n_in) / OMEGA_HIDDEN
    weight_key, bias_key = jax.random.split(key)
    weight = jax.random.uniform(weight_key, (n_in, n_out), jnp.float32, -bound, bound)
    return weight, jax.random.uniform(bias_key, (n_out,), jnp.float32, -bound, bound)
