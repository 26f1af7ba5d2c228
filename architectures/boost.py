"""Boosting-NeRV (Zhang et al., CVPR 2024): a network of frames that is told the time at every stage.

Wraps NeRV, E-NeRV or HNeRV: their way to the lowest resolution stays. What follows is replaced by sinusoidal up-blocks,
each with a residual block after it whose features are scaled and shifted by the time (temporal-aware affine transform,
TAT). Of the paper's two layers from the time to a scale, one is left, and kernels are 3 at most: ours are small.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .base import Config, Grid, Trainable, solve_width
from .enerv import EnervConfig
from .frames import MAX_CHANNELS, Conv, Head, Rising, Stem, StemConfig, dense, encode_time, pixel_shuffle, steady_rate
from .hnerv import HnervConfig, HnervTraining
from .nerv import MAX_FREQUENCIES, NervConfig
from .nesting import nested, unnested

INNER: dict[int, type[StemConfig]] = {config.number: config for config in (NervConfig, HnervConfig, EnervConfig)}
"""What can be inside, by its number."""
FREQUENCIES = 20
TIME_WIDTH = 8
MAX_KERNEL = 3
AFFINE_SCALE = 0.1
"""Scales and shifts begin with this part of what dense layers begin with, and residual blocks with nothing. Measured on
12 frames of 108x132, 12,000 parameters, 360 steps at 0.0075: 24.3 dB without (four seeds), 25.1 with both (three).
"""


@dataclasses.dataclass(frozen=True)
class BoostConfig(Config):
    """`frequencies` of the time encoding; `time`: the numbers made of it, which tell the time (paper: 32); `inner`: the
    network inside, see `nesting`.
    """

    frequencies: int
    time: int
    inner: tuple[int, ...]

    number: ClassVar[int] = 19
    frame_wise: ClassVar[bool] = True
    extra_settings: ClassVar[tuple[str, ...]] = ("backbone", "stem")

    def build(self, grid: Grid, key: PRNGKeyArray) -> Boosted:
        return Boosted(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> BoostConfig:
        number, own = settings.pop("backbone", HnervConfig.number), {"frequencies": FREQUENCIES, "time": TIME_WIDTH}
        if number not in INNER:
            raise ValueError(f"backbone {number} is none of {', '.join(map(str, INNER))}")
        own |= {name: settings.pop(name) for name in tuple(own) if name in settings}

        def config(channels: int) -> BoostConfig:
            return cls(**own, inner=nested(INNER[number].solve(grid, n_parameters, channels=channels, **settings)))

        return config(solve_width(lambda c: config(c).n_parameters(grid), n_parameters, 2, MAX_CHANNELS // 4))

    def learning_rate(self, peak: float, n_steps: int) -> float:
        fields = list(INNER[self.inner[0]].field_is_tuple())
        return steady_rate(peak, self.inner[1 + fields.index("channels")], n_steps)

    def check(self, grid: Grid) -> None:
        if len(grid.shape) != 3:
            raise ValueError(f"Boosting-NeRV on {len(grid.shape)} axes")
        if not 1 <= self.frequencies <= MAX_FREQUENCIES or not 1 <= self.time <= MAX_CHANNELS:
            raise ValueError(f"a time of {self.frequencies} frequencies, {self.time} numbers")
        self.inside(grid)

    def inside(self, grid: Grid) -> StemConfig:
        """The configuration of the network inside. Raises ValueError."""
        return unnested(self.inner, grid, INNER)


class TimeAffine(eqx.Module):
    """Features times 1 + scale, plus a shift; both are dense layers of the time."""

    weight: Float[Array, "time out"]
    bias: Float[Array, " out"]

    def __init__(self, time: int, channels: int, key: PRNGKeyArray):
        weight, bias = dense(time, 2 * channels, key)
        self.weight, self.bias = AFFINE_SCALE * weight, AFFINE_SCALE * bias

    def __call__(self, x: Float[Array, "b h w c"], time: Float[Array, "b time"]) -> Float[Array, "b h w c"]:
        scale, shift = jnp.split((time @ self.weight + self.bias)[:, None, None], 2, -1)
        return x * (1 + scale) + shift


class Stage(eqx.Module):
    """Convolution, pixel shuffle and sine; then the residual block of the time."""

    up: Conv
    affine: list[TimeAffine]
    convs: list[Conv]
    stride: int = eqx.field(static=True)

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, time: int, key: PRNGKeyArray):
        keys = jax.random.split(key, 5)
        self.up = Conv(n_in, n_out * stride * stride, min(kernel, MAX_KERNEL), keys[0])
        self.affine = [TimeAffine(time, n_out, k) for k in keys[1:3]]
        first, second = (Conv(n_out, n_out, MAX_KERNEL, k) for k in keys[3:])
        self.convs = [first, jax.tree.map(jnp.zeros_like, second)]
        self.stride = stride

    def __call__(self, x: Float[Array, "b h w in"], time: Float[Array, "b time"]) -> Float[Array, "b h2 w2 out"]:
        x = pixel_shuffle(jnp.sin(self.up(x)), self.stride)
        y = jax.nn.gelu(self.convs[0](self.affine[0](x, time)))
        return x + self.convs[1](self.affine[1](y, time))


class Boosted(Rising):
    """The network of `BoostConfig`."""

    stem: Stem
    first: tuple[Float[Array, "in time"], Float[Array, " time"]]
    second: tuple[Float[Array, "time time"], Float[Array, " time"]]
    stages: list[Stage]
    head: Head
    config: BoostConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: BoostConfig, grid: Grid, key: PRNGKeyArray):
        inside = config.inside(grid)
        keys = jax.random.split(key, len(inside.strides) + 4)
        self.stem = inside.make_stem(grid, keys[0])
        self.first = dense(2 * config.frequencies, config.time, keys[1])
        self.second = dense(config.time, config.time, keys[2])
        widths = inside.widths()
        shapes = zip(widths[:-1], widths[1:], inside.kernels(), inside.strides, strict=True)
        self.stages = [Stage(*shape, config.time, k) for shape, k in zip(shapes, keys[3:-1], strict=True)]
        self.head = Head(widths[-1], grid.channels, MAX_KERNEL, inside.shuffle, keys[-1])
        self.config = config
        self.grid = grid

    def rise(
        self, x: Float[Array, "batch rows columns channels"], times: Float[Array, " batch"]
    ) -> Float[Array, "batch height width channels"]:
        time = encode_time(times, self.grid.shape[0], self.config.frequencies)
        time = jnp.sin(time @ self.first[0] + self.first[1])
        time = jnp.sin(time @ self.second[0] + self.second[1])
        for stage in self.stages:
            x = stage(x, time)
        return self.head(x, *self.grid.shape[1:])

    def training_module(self, key: PRNGKeyArray) -> Trainable:
        inside = self.config.inside(self.grid)
        return HnervTraining(inside, self, key) if isinstance(inside, HnervConfig) else self
