"""PFNR (Cho et al., "Progressive Fourier neural representation for sequential video compilation", ICLR 2024): videos in
sequence, each a part of the weights of one network.

The network is NeRV's, with a Fourier operator beside one block: of the block's input the lowest frequencies are kept,
multiplied with complex matrices, and added to what the convolution makes, at its resolution. A video uses a part of
the weights, chosen by scores while they are fitted. What earlier videos use keeps its value for good: a later one may
use it, too, or leave it out. Which weights of earlier videos a video uses, what else it uses, and its own biases and
head are what its file holds (`inrzip.video_sequence`); the last two stand in the place of the paper's encoding of the
video's number: a constant input of the first layer is a change of its bias.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, PRNGKeyArray, Shaped

from .base import FrameRepresentation, Grid, Representation, Trainable, parameters, solve_width
from .frames import MAX_CHANNELS, Head, Rising, StemConfig, UpBlock, choose_scales, pixel_shuffle
from .nerv import KERNEL, STEM_ROWS, NervConfig, NervStem

MAX_MODES = 16
MODES = 2
SHARE = 40
OLD_SCORE = 0.05
"""First scores of weights that earlier videos use, as a part of what they would be by their magnitude: these are far
larger than those of fresh weights, which fit the video better (measured: 2 to 3 dB in short fits).
"""
WHOLE = 100
FOURIER_BLOCK = 1
"""The Fourier operator is beside this block, or beside the last if there are fewer."""


@dataclasses.dataclass(frozen=True)
class PfnrConfig(StemConfig):
    """A NeRV of those fields (see `NervConfig`), and a Fourier operator of `modes` frequencies along columns and twice
    as many along rows.

    `before`: how many members back in the file the video is whose weights this one may use; 0: there is none. `share`:
    of the weights of each layer, the part in percent that a video uses.
    """

    before: int
    share: int
    modes: int
    channels: int
    hidden: int
    frequencies: int
    floor: int
    shuffle: int
    strides: tuple[int, ...]

    number: ClassVar[int] = 22

    def build(self, grid: Grid, key: PRNGKeyArray) -> Pfnr:
        return Pfnr(self, grid, key)

    @classmethod
    def solve(cls, grid: Grid, n_parameters: int, **settings: int) -> PfnrConfig:
        """`n_parameters` counts what a first video uses."""
        shuffle, strides = choose_scales(grid, settings, STEM_ROWS)
        usual = {"before": 0, "share": SHARE, "modes": MODES, "frequencies": 40, "floor": 12}
        chosen = usual | settings | {"before": 0}

        def config(channels: int) -> PfnrConfig:
            sizes = {"channels": channels, "hidden": 2 * channels} | chosen
            return cls(**sizes, shuffle=shuffle, strides=strides)

        wanted = n_parameters * WHOLE // max(chosen["share"], 1)
        return config(solve_width(lambda c: config(c).n_parameters(grid), wanted, 2, MAX_CHANNELS // 4))

    def check(self, grid: Grid) -> None:
        self.nerv.check(grid)
        if not self.strides:
            raise ValueError("PFNR without a block")
        if not 1 <= self.modes <= MAX_MODES or not 1 <= self.share <= WHOLE:
            raise ValueError(f"PFNR of {self.modes} frequencies, {self.share} percent of the weights")

    @property
    def nerv(self) -> NervConfig:
        """The network without the Fourier operator."""
        names = NervConfig.field_is_tuple()
        return NervConfig(**{name: getattr(self, name) for name in names})

    def widths(self) -> tuple[int, ...]:
        return self.nerv.widths()

    def kernels(self) -> tuple[int, ...]:
        return self.nerv.kernels()

    def make_stem(self, grid: Grid, key: PRNGKeyArray) -> NervStem:
        return self.nerv.make_stem(grid, key)


class Fourier(eqx.Module):
    """The lowest frequencies of an image, each multiplied with a complex matrix, as an image of more rows and columns.

    These are the two corners of `rfft2` that hold them, and `irfft2`; as they are few, sums are faster.
    """

    real: Float[Array, "rows columns in out"]
    imaginary: Float[Array, "rows columns in out"]

    def __init__(self, n_in: int, n_out: int, modes: int, key: PRNGKeyArray):
        shape, bound = (2 * modes, modes, n_in, n_out), (2 * modes * modes * n_in) ** -0.5
        real_key, imaginary_key = jax.random.split(key)
        self.real = jax.random.uniform(real_key, shape, jnp.float32, -bound, bound)
        self.imaginary = jax.random.uniform(imaginary_key, shape, jnp.float32, -bound, bound)

    def __call__(self, x: Float[Array, "b h w in"], factor: int) -> Float[Array, "b h2 w2 out"]:
        """`factor` times the rows and columns."""
        (_, height, width, _), modes = x.shape, self.real.shape[1]
        along_rows, along_columns = np.r_[:modes, -modes:0], np.arange(modes)
        rows, columns = _waves(along_rows, height), _waves(along_columns, width)
        spectrum = jnp.einsum("ph,qw,bhwc->bpqc", rows.conj(), columns.conj(), x + 0j) / (height * width)
        spectrum = jnp.einsum("bpqc,pqco->bpqo", spectrum, jax.lax.complex(self.real, self.imaginary))
        twice = np.where(along_columns > 0, 2, 1).astype(np.complex64)  # frequencies below 0 are mirrors of these
        rows, columns = _waves(along_rows, height * factor), _waves(along_columns, width * factor) * twice[:, None]
        return jnp.einsum("ph,qw,bpqo->bhwo", rows, columns, spectrum).real


def _waves(frequencies: Shaped[np.ndarray, " n"], size: int) -> Array:
    """exp(2 pi i f j / size) for each frequency f and place j."""
    turns = np.outer(frequencies, np.arange(size)) % size / size
    return jnp.asarray(np.exp(2j * math.pi * turns).astype(np.complex64))


class Pfnr(Rising):
    """The network of `PfnrConfig`, whatever of its weights is used."""

    stem: NervStem
    blocks: list[UpBlock]
    fourier: Fourier
    head: Head
    config: PfnrConfig = eqx.field(static=True)
    grid: Grid = eqx.field(static=True)

    def __init__(self, config: PfnrConfig, grid: Grid, key: PRNGKeyArray):
        keys = jax.random.split(key, len(config.strides) + 3)
        self.stem = config.make_stem(grid, keys[0])
        widths = config.widths()
        pairs = list(pairwise(widths))
        self.blocks = [
            UpBlock(n_in, n_out, KERNEL, stride, k)
            for (n_in, n_out), stride, k in zip(pairs, config.strides, keys[1:-2], strict=True)
        ]
        self.fourier = Fourier(*pairs[min(FOURIER_BLOCK, len(pairs) - 1)], config.modes, keys[-2])
        self.head = Head(widths[-1], grid.channels, 1, config.shuffle, keys[-1])
        self.config = config
        self.grid = grid

    def rise(
        self, x: Float[Array, "batch rows columns channels"], times: Float[Array, " batch"]
    ) -> Float[Array, "batch height width channels"]:
        for i, block in enumerate(self.blocks):
            if i == min(FOURIER_BLOCK, len(self.blocks) - 1):
                both = pixel_shuffle(block.conv(x), block.stride) + self.fourier(x, block.stride)
                x = jax.nn.gelu(both)
            else:
                x = block(x)
        return self.head(x, *self.grid.shape[1:])

    def training_module(self, key: PRNGKeyArray) -> Trainable:
        none = [np.zeros(leaf.shape, np.float32) for leaf in parameters(self)]
        return Choosing(Subnetwork(self, none), self.config.share)


def is_shared(module: Pfnr) -> list[bool]:
    """For each parameter array of a network, whether later videos may use it: all weights but the head's."""
    arrays = parameters(module)
    return [array.ndim > 1 for array in arrays[:-2]] + [False, False]


class Subnetwork(FrameRepresentation):
    """A network of which some weights are used. Its parameters are those that the video brings.

    `network`: with the video's own weights, 0 where there is none; `kept`: values of weights that earlier videos use, 0
    where they use none, as the bits of their float32 (whole numbers are no parameters); `used`: what this one uses.
    """

    network: Pfnr
    kept: list[Int32[Array, "..."]]
    used: list[Bool[Array, "..."]]
    grid: Grid = eqx.field(static=True)

    def __init__(
        self,
        network: Pfnr,
        kept: Sequence[Float[np.ndarray, "..."]],
        used: Sequence[Bool[np.ndarray, "..."]] | None = None,
    ):
        """`used`: None for all."""
        self.network = network
        self.kept = [jnp.asarray(np.ascontiguousarray(values, np.float32).view(np.int32)) for values in kept]
        self.used = [jnp.asarray(each) for each in used or [np.ones(values.shape, bool) for values in kept]]
        self.grid = network.grid

    def candidates(self) -> list[Float[Array, "..."]]:
        """All weights as they are if they are used: those of earlier videos where there are any."""
        kept = [jax.lax.bitcast_convert_type(bits, jnp.float32) for bits in self.kept]
        pairs = zip(kept, jax.tree.leaves(self.network), strict=True)
        return [jnp.where(bits != 0, old, own) for (old, own), bits in zip(pairs, self.kept, strict=True)]

    def whole(self) -> Pfnr:
        """The network as it is evaluated."""
        pairs = zip(self.candidates(), self.used, strict=True)
        return self.made_of([jnp.where(used, values, 0) for values, used in pairs])

    def made_of(self, arrays: Sequence[Array]) -> Pfnr:
        """The network of these parameter arrays."""
        made: Pfnr = jax.tree.unflatten(jax.tree.structure(self.network), arrays)
        return made

    def predict(self, times: Float[Array, " batch"]) -> Float[Array, "batch height width channels"]:
        return self.whole().predict(times)

    def training_module(self, key: PRNGKeyArray) -> Trainable:
        return Choosing(self, self.network.config.share)

    def per_weight(self, means: Sequence[float]) -> list[float]:
        """Means over all elements of the parameter arrays, where those that the video does not bring are 0, as means
        over the others.
        """
        own = [np.asarray(used & (bits == 0)) for used, bits in zip(self.used, self.kept, strict=True)]
        return [mean / max(float(each.mean()), 1 / each.size) for mean, each in zip(means, own, strict=True)]


class Choosing(Trainable):
    """A subnetwork while its weights are chosen: in each layer those whose scores have the greatest magnitudes, up to
    the `share` of the network's configuration. Gradients pass straight through the choice to the scores, as in the
    winning subnetworks of the paper.
    """

    network: Subnetwork
    scores: list[Float[Array, "..."]]
    share: int = eqx.field(static=True)

    def __init__(self, network: Subnetwork, share: int):
        """The first scores are the magnitudes of the weights, in units of their layer's mean; see `OLD_SCORE`."""
        self.network = network
        parts = zip(network.candidates(), network.kept, is_shared(network.network), strict=True)
        shared = [(jnp.abs(values), bits != 0) for values, bits, is_one in parts if is_one]
        self.scores = [jnp.where(old, OLD_SCORE, 1) * each / (jnp.mean(each) + 1e-12) for each, old in shared]
        self.share = share

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        arrays, choices = self.network.candidates(), iter(self.choices())
        scores = iter(self.scores)
        for i, is_one in enumerate(is_shared(self.network.network)):
            if is_one:
                magnitude = jnp.abs(next(scores))
                passed = next(choices) + magnitude - jax.lax.stop_gradient(magnitude)
                arrays[i] = arrays[i] * passed
        return self.network.made_of(arrays), jnp.float32(0)

    def choices(self) -> list[Bool[Array, "..."]]:
        """What is used now of each shared array."""
        return [_greatest(jnp.abs(jax.lax.stop_gradient(each)), self.share) for each in self.scores]

    def predict_training(self, inputs: Array, targets: Array) -> Array:
        raise TypeError("fit what `prepare` returns")

    def finish(self, samples: Shaped[np.ndarray, "part ..."] | None, low: float, high: float) -> Representation:
        choices, used, own = iter(self.choices()), [], []
        parts = zip(jax.tree.leaves(self.network.network), self.network.kept, strict=True)
        for (array, bits), is_one in zip(parts, is_shared(self.network.network), strict=True):
            used.append(np.asarray(next(choices)) if is_one else np.ones(array.shape, bool))
            own.append(jnp.where(jnp.asarray(used[-1]) & (bits == 0), array, 0))
        kept = [np.asarray(bits).view(np.float32) for bits in self.network.kept]
        return Subnetwork(self.network.made_of(own), kept, used)


def _greatest(magnitudes: Float[Array, "..."], share: int) -> Bool[Array, "..."]:
    """Whether each is among the greatest `share` percent, at least one."""
    n = magnitudes.size
    n_left = n - max(1, n * share // WHOLE)
    return magnitudes >= jnp.sort(magnitudes.ravel())[n_left]
