"""Bit planes (Han et al., "Towards lossless implicit neural representation via bit plane decomposition", CVPR 2025): a
network of the coordinates and of a bit's number, whose outputs are the logits of that bit in each channel.

The network inside may be any of positions, or one of ternary weights (`inrzip.architectures.ternary`). Files hold what
it gets wrong, and so are exact (`inrzip.bit_planes`): a fit need not reach zero errors, as the paper's do. Where it
saves less than it takes, there is none, and all bits are coded, unless the setting `keep` is given.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from .base import Axes, Config, Grid, PointRepresentation, Representation
from .nesting import BACKBONES, DEFAULT_BACKBONE, backbone, nested, unnested
from .pointwise import PointwiseConfig
from .ternary import TernaryConfig

MAX_BITS = 24
INSIDE: dict[int, type[PointwiseConfig] | type[TernaryConfig]] = {**BACKBONES, TernaryConfig.number: TernaryConfig}
"""What can be inside, by its number."""
LOGIT_GAIN = 8.0
"""Logits are so many times what the network inside differs from one half: it starts with small numbers."""


@dataclasses.dataclass(frozen=True)
class BitsConfig(Config):
    """`span`: the highest sample less the lowest, whose bits are told; `inner`: the network inside, see `nesting`, on a
    grid with the bits as one more axis, the lowest first; empty: there is none.
    """

    span: int
    inner: tuple[int, ...]

    number: ClassVar[int] = 26
    exact: ClassVar[bool] = True
    extra_settings: ClassVar[tuple[str, ...]] = ("backbone", "width", "depth", "scale", "ternary", "keep")

    @property
    def bits(self) -> int:
        """Bit planes."""
        return max(1, self.span.bit_length())

    def planes(self, grid: Grid) -> Grid:
        """The grid of all bits."""
        return Grid((*grid.shape, self.bits), grid.channels)

    def build(self, grid: Grid, key: PRNGKeyArray) -> Bits:
        inside = self.inside(grid)
        network = None if inside is None else inside.build(self.planes(grid), key)
        return Bits(network=network, config=self, grid=grid)

    @property
    def alone(self) -> BitsConfig:
        """The same without a network."""
        return dataclasses.replace(self, inner=())

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> BitsConfig:
        span = settings.pop("span", 255)
        settings.pop("keep", 0)  # which says nothing of the network: see `inrzip.compression`
        if settings.pop("ternary", 0):
            settings["backbone"] = TernaryConfig.number
        wide = Grid((*grid.shape, max(1, span.bit_length())), grid.channels)
        inner = backbone(settings.pop("backbone", DEFAULT_BACKBONE), INSIDE)
        return cls(span, nested(inner.solve(wide, n_parameters, **settings)))

    @classmethod
    def solve_for(
        cls,
        grid: Grid,
        n_parameters: int,
        samples: Shaped[np.ndarray, "part ..."] | None,
        low: float,
        high: float,
        **settings: int,
    ) -> BitsConfig:
        return cls.solve(grid, n_parameters, **{**settings, "span": round(high) - round(low)})

    def learning_rate(self, peak: float, n_steps: int) -> float:
        inside = INSIDE[self.inner[0]]
        width = self.inner[1 + list(inside.field_is_tuple()).index("width")]
        return min(peak, inside.rate_times_width / width)

    @classmethod
    def settable(cls) -> tuple[str, ...]:
        return cls.extra_settings

    def check(self, grid: Grid) -> None:
        if not 0 <= self.span < 1 << MAX_BITS:
            raise ValueError(f"a range of {self.span}; bit planes are of at most {MAX_BITS} bits")
        self.inside(grid)

    def n_coordinates(self, grid: Grid) -> int:
        return len(grid.shape) + 1

    @property
    def is_ternary(self) -> bool:
        """Whether the network inside has weights -1, 0 and 1."""
        return self.inner[:1] == (TernaryConfig.number,)

    def inside(self, grid: Grid) -> PointwiseConfig | TernaryConfig | None:
        """The configuration of the network inside, if there is one. Raises ValueError."""
        return unnested(self.inner, self.planes(grid), INSIDE) if self.inner else None


class Bits(Representation):
    """The network of `BitsConfig`. Its inputs are positions with the bit's number last, its outputs probabilities.
    Without a network only `inrzip.bit_planes` knows what it decodes to.
    """

    network: PointRepresentation | None
    config: BitsConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)
    output_axis: ClassVar[int] = 0

    @property
    def inside(self) -> PointRepresentation:
        """The network inside. Raises ValueError if there is none."""
        if self.network is None:
            raise ValueError("there is no network of bits")
        return self.network

    def logits(self, inputs: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        return LOGIT_GAIN * (self.inside.predict(inputs) - 0.5)

    def predict(self, inputs: Float[Array, "points dims"]) -> Float[Array, "points channels"]:
        return jax.nn.sigmoid(self.logits(inputs))

    def training_loss(self, inputs: Array, targets: Array) -> Float[Array, ""]:
        """Binary cross-entropy, in nats."""
        logits = self.logits(inputs)
        return jnp.mean(jax.nn.softplus(logits) - targets * logits)

    def precise(self) -> Float[np.ndarray, "*grid bits channels"]:
        """What the network inside says of all bits, in double precision: above one half means 1."""
        return self.inside.precise()

    def in_single(self) -> set[str]:
        return self.inside.in_single()

    def single(self) -> Float[np.ndarray, "*grid bits channels"]:
        """The same in single precision."""
        return self.inside.render(self.inside.grid.axes())

    def render(self, axes: Axes) -> Float[np.ndarray, "*grid channels"]:
        """The samples whose bits are likelier than not, without what a file tells of those that are wrong."""
        ones = self.inside.render((*axes, np.arange(self.config.bits, dtype=np.float32))) > 0.5
        values = np.moveaxis(ones, -2, -1) @ (2.0 ** np.arange(self.config.bits))
        normal: Float[np.ndarray, "*grid channels"] = (values / max(self.config.span, 1)).astype(np.float32)
        return normal

    def finer(self, numbers: Float[np.ndarray, "*grid channels"], axes: Axes, bits: int) -> Float[np.ndarray, "..."]:
        """Samples less the lowest, whole numbers, with so many bits more after the point: those of planes that the
        network was never shown, below the lowest (bit-depth expansion, section 4 of the paper).
        """
        ones = self.inside.render((*axes, np.arange(-bits, 0, dtype=np.float32))) > 0.5
        return numbers + np.moveaxis(ones, -2, -1) @ (2.0 ** np.arange(-bits, 0))


def bit_planes(samples: Int[np.ndarray, "*grid channels"], low: float, high: float) -> Int[np.ndarray, "..."]:
    """The bits of samples less the lowest, (*grid, bits, channels), lowest bit first."""
    n_bits = max(1, (round(high) - round(low)).bit_length())
    numbers = samples.astype(np.int64)[..., None, :] - round(low)
    bits: Int[np.ndarray, "..."] = (numbers >> np.arange(n_bits)[:, None] & 1).astype(np.uint8)
    return bits
