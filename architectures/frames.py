"""Parts shared by the networks that make whole frames (the NeRV family): up-sampling blocks, time encoding, choice of
strides.
"""

from __future__ import annotations

import abc
import itertools
import math
from typing import ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Config, FrameRepresentation, Grid

MAX_STRIDE = 8
MAX_STAGES = 8
MAX_CHANNELS = 4096
STRIDES = (5, 4, 3, 2)
SMALL_FRAME = 30_000
LARGE_FRAME = 250_000
"""Pixels up to which a frame is made without, and with little, sub-pixel up-sampling in the head."""

RATE_TIMES_CHANNELS = 1.0
SHORT, LEAST_SHARE = 400, 0.5
"""A learning rate is at most the first over the channels; fits of more steps than the second have less, but not below
that part of it: see `steady_rate`.
"""


class Conv(eqx.Module):
    """A 2-D convolution on channels-last images, zero-padded to keep the size."""

    weight: Float[Array, "k k in out"]
    bias: Float[Array, " out"]

    def __init__(self, n_in: int, n_out: int, kernel: int, key: PRNGKeyArray):
        bound = 1 / math.sqrt(n_in * kernel * kernel)
        weight_key, bias_key = jax.random.split(key)
        self.weight = jax.random.uniform(weight_key, (kernel, kernel, n_in, n_out), jnp.float32, -bound, bound)
        self.bias = jax.random.uniform(bias_key, (n_out,), jnp.float32, -bound, bound)

    def __call__(self, x: Float[Array, "b h w in"], stride: int = 1) -> Float[Array, "b h2 w2 out"]:
        """`stride` is 1, or the kernel's size, which cuts the image into patches (their number is whole)."""
        kernel, _, n_in, n_out = self.weight.shape
        if kernel == stride:  # one product with each patch: dense products are faster than convolutions
            b, h, w, _ = x.shape
            patches = x.reshape(b, h // kernel, kernel, w // kernel, kernel, n_in).transpose(0, 1, 3, 2, 4, 5)
            y = patches.reshape(-1, kernel * kernel * n_in) @ self.weight.reshape(-1, n_out)
            y = y.reshape(b, h // kernel, w // kernel, n_out)
        else:
            y = jax.lax.conv_general_dilated(
                x, self.weight, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        return y + self.bias


class UpBlock(eqx.Module):
    """NeRV block: convolution to s^2 times the channels, pixel shuffle by s, GELU (Chen et al., NeurIPS 2021, section
    3.1).
    """

    conv: Conv
    stride: int = eqx.field(static=True)

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, key: PRNGKeyArray):
        self.conv = Conv(n_in, n_out * stride * stride, kernel, key)
        self.stride = stride

    def __call__(self, x: Float[Array, "b h w in"]) -> Float[Array, "b h2 w2 out"]:
        return pixel_shuffle(jax.nn.gelu(self.conv(x)), self.stride)


def pixel_shuffle(x: Float[Array, "b h w c"], stride: int) -> Float[Array, "b h2 w2 c2"]:
    """Channels to space: (h, w, c s^2) to (h s, w s, c)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, stride, stride, c // stride**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * stride, w * stride, c // stride**2)


def upsample(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c"]:
    """Bilinear interpolation to `factor` times the rows and columns; what lies beyond the outer samples' centres takes
    their values.
    """
    return _upsample_axis(_upsample_axis(x, factor, 2), factor, 1)


def _upsample_axis(x: Float[Array, "b h w c"], factor: int, axis: int) -> Float[Array, "b h2 w2 c"]:
    """Each phase is a sum of the image and of itself moved by one: gathers, and gradients of padding by edges, are slow
    on CPUs.
    """
    size = x.shape[axis]
    first, last = (jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in (0, size - 1))
    before = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)], axis)
    after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, size, axis=axis), last], axis)
    offsets = [(2 * phase + 1 - factor) / (2 * factor) for phase in range(factor)]
    phases = [x * (1 - abs(offset)) + (after if offset > 0 else before) * abs(offset) for offset in offsets]
    return jnp.stack(phases, axis + 1).reshape(*x.shape[:axis], size * factor, *x.shape[axis + 1 :])


def dense(n_in: int, n_out: int, key: PRNGKeyArray) -> tuple[Float[Array, "in out"], Float[Array, " out"]]:
    """Weight and bias of a dense layer, uniform within 1 / sqrt(n_in)."""
    bound = n_in**-0.5
    weight_key, bias_key = jax.random.split(key)
    return (
        jax.random.uniform(weight_key, (n_in, n_out), jnp.float32, -bound, bound),
        jax.random.uniform(bias_key, (n_out,), jnp.float32, -bound, bound),
    )


def encode_time(times: Float[Array, " batch"], n_frames: int, n_frequencies: int) -> Float[Array, "batch features"]:
    """NeRV's positional encoding: sin and cos of 1.25^i pi t, with t = (frame + 1/2) / n_frames."""
    t = (times + 0.5) / n_frames
    angles = t[:, None] * (math.pi * 1.25 ** jnp.arange(n_frequencies, dtype=float))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def depthwise(x: Float[Array, "b h w c"], weight: Float[Array, "k k c"]) -> Float[Array, "b h w c"]:
    """Depthwise convolution, zero-padded to keep the size, as a sum of shifted products: XLA's own is many times slower
    on CPUs.
    """
    kernel, (_, height, width, _) = weight.shape[0], x.shape
    half = kernel // 2
    padded = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    total = jnp.zeros_like(x)
    for i in range(kernel):
        for j in range(kernel):
            total += padded[:, i : i + height, j : j + width] * weight[i, j]
    return total


def normalise(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Layer normalisation over channels, without parameters of its own (the next layer's do their work)."""
    mean = jnp.mean(x, -1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.mean((x - mean) ** 2, -1, keepdims=True) + 1e-6)


def at_time(arrays: Float[Array, "frames *rest"], times: Float[Array, " b"]) -> Float[Array, "b *rest"]:
    """Arrays of frames at times between them, interpolated linearly; beyond the ends they repeat."""
    last = len(arrays) - 1
    low = jnp.clip(jnp.floor(times), 0, last).astype(jnp.int32)
    weight = jnp.clip(times - low, 0, 1).reshape(-1, *[1] * (arrays.ndim - 1))
    return arrays[low] * (1 - weight) + arrays[jnp.minimum(low + 1, last)] * weight


class Head(eqx.Module):
    """The last convolution, to the signal's channels. With `shuffle` above 1 it makes each pixel of a square of that
    edge from a position of a coarser grid (sub-pixel convolution), so that no wide activations exist at full size: many
    times cheaper.
    """

    conv: Conv
    shuffle: int = eqx.field(static=True)

    def __init__(self, n_in: int, channels: int, kernel: int, shuffle: int, key: PRNGKeyArray):
        self.conv = Conv(n_in, channels * shuffle * shuffle, kernel, key)
        self.shuffle = shuffle

    def __call__(self, x: Float[Array, "b h w in"], height: int, width: int) -> Float[Array, "b height width channels"]:
        """Frames cropped to their true size, values in (0, 1)."""
        return 0.5 * jnp.tanh(pixel_shuffle(self.conv(x), self.shuffle)[:, :height, :width]) + 0.5


class Stem(eqx.Module):
    """A network's way from the time to features at the lowest resolution."""

    @abc.abstractmethod
    def __call__(self, times: Float[Array, " batch"]) -> Float[Array, "batch rows columns channels"]:
        """Features of the frames at `times`."""


class FrameConfig(Config):
    """A configuration of a network that makes frames from a few rows and columns of `channels`: step by step by
    `strides`, and by `shuffle` in its head.
    """

    frame_wise: ClassVar[bool] = True
    extra_settings: ClassVar[tuple[str, ...]] = ("stem",)
    channels: int
    shuffle: int
    strides: tuple[int, ...]

    def learning_rate(self, peak: float, n_steps: int) -> float:
        return steady_rate(peak, self.channels, n_steps)

    def check_frames(self, grid: Grid) -> None:
        """Raises ValueError for a grid without frames, and for strides that no encoder writes."""
        if len(grid.shape) != 3:
            raise ValueError(f"a network of frames on {len(grid.shape)} axes")
        check_strides((*self.strides, self.shuffle), *grid.shape[1:])

    @abc.abstractmethod
    def widths(self) -> tuple[int, ...]:
        """Channels at the lowest resolution and after each step; or, where they change before it, in each step."""


class StemConfig(FrameConfig):
    """One whose frames begin in a `Stem`, and whose steps are blocks with a convolution each."""

    @abc.abstractmethod
    def kernels(self) -> tuple[int, ...]:
        """Kernels of the blocks' convolutions."""

    @abc.abstractmethod
    def make_stem(self, grid: Grid, key: PRNGKeyArray) -> Stem:
        """The stem for signals on `grid`."""


class Rising(FrameRepresentation):
    """A network whose frames rise from a stem."""

    stem: eqx.AbstractVar[Stem]

    @abc.abstractmethod
    def rise(
        self, x: Float[Array, "batch rows columns channels"], times: Float[Array, " batch"]
    ) -> Float[Array, "batch height width channels"]:
        """Frames from features at the lowest resolution."""

    def predict(self, times: Float[Array, " batch"]) -> Float[Array, "batch height width channels"]:
        return self.rise(self.stem(times), times)


RisingT = TypeVar("RisingT", bound=Rising)


def choose_shuffle(height: int, width: int) -> int:
    """Sub-pixel factor of the head: 1, as in the papers, for small frames."""
    return 1 if height * width <= SMALL_FRAME else 2 if height * width <= LARGE_FRAME else 4


def choose_scales(grid: Grid, settings: dict[str, int], stem_rows: int) -> tuple[int, tuple[int, ...]]:
    """The head's sub-pixel factor and the strides for frames; `shuffle` and `stem` are taken out of the settings."""
    height, width = grid.shape[1:]
    shuffle = settings.pop("shuffle", choose_shuffle(height, width))
    return shuffle, choose_strides(-(-height // shuffle), -(-width // shuffle), settings.pop("stem", stem_rows))


def steady_rate(peak: float, channels: int, n_steps: int) -> float:
    """The largest learning rate for a network that begins with so many channels, in a fit of so many steps.

    Measured with SOAP, PSNR after the fit. NeRV: 6 channels, 360 steps: 25.3 dB with 0.01, 25.6 with 0.02, 25.7 with
    0.03; 26 channels, 640 steps: 29.5, 29.1 with 0.02, 28.0 with 0.04; 11 channels, 2,880 steps: 31.8, 31.6, 30.9 with
    0.03. HNeRV: 16 channels, 360 steps: 24.6 with 0.006, 24.9 with 0.012; 74 channels, 640 steps: 28.8 with 0.005, 29.2
    with 0.01, 29.3 with 0.02.
    """
    falling = min(1.0, math.sqrt(SHORT / max(n_steps, 1)))
    return min(peak, RATE_TIMES_CHANNELS / channels) * max(falling, LEAST_SHARE)


def choose_strides(height: int, width: int, stem: int) -> tuple[int, ...]:
    """Strides, largest first, that bring a stem of about `stem` rows (or columns, the shorter side) to at least the
    frame's size.

    The frame is padded inside to a multiple of their product, and cropped on output; products that pad little are
    preferred.
    """
    candidates = [s for n in range(1, 6) for s in itertools.combinations_with_replacement(STRIDES, n)]

    def cost(strides: tuple[int, ...]) -> float:
        rows, columns = stem_shape(height, width, strides)
        product = math.prod(strides)
        waste = rows * columns * product**2 / (height * width)
        return math.log(waste) * 4 + abs(math.log(min(rows, columns) / stem)) + 0.05 * len(strides)

    return min(candidates, key=cost) if min(height, width) > stem else (1,)


def halving_widths(channels: int, floor: int, n_blocks: int) -> tuple[int, ...]:
    """NeRV's channels before the first block and after each: the first keeps them, each later one halves them, down to
    `floor`.
    """
    return (channels, *(max(channels >> i, min(floor, channels)) for i in range(n_blocks)))


def stem_shape(height: int, width: int, strides: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns at the lowest resolution."""
    product = math.prod(strides)
    return -(-height // product), -(-width // product)


def check_strides(strides: tuple[int, ...], height: int, width: int) -> None:
    """Raises ValueError for strides that no encoder writes."""
    product = math.prod(strides)
    if (
        not 1 <= len(strides) <= MAX_STAGES
        or not all(1 <= s <= MAX_STRIDE for s in strides)
        or product > 2 * max(height, width)
    ):
        raise ValueError(f"strides {strides} for frames of {height} x {width}")
