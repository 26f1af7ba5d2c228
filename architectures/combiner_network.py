"""Signals as latents of a learned network: what is in a file is a sample of a Gaussian posterior, told by a prior.

COMBINER (Guo et al., NeurIPS 2023) codes a sample of the weights of a small coordinate network; RECOMBINER (He et al.,
ICLR 2024) makes those weights from latents by a learned linear map, and tells the network where it is by learned
positional encodings, which a network upsamples from a coarse grid of latents. Both are here, as a `Layout` says. What
is shared by all signals lies in a prior (`inrzip.priors.latent_prior`).

Own choices: there are latents at each resolution of the upsampling, not at the coarsest alone; convolutions come before
their upsampling (sub-pixel), where they cost a fraction; the learned map is not square, but has a few rows only; the
first features of each stage are a picture, which is only enlarged and added to, and values are a linear function of the
encodings plus what the coordinate network adds. So training can begin with a block transform, where one that began with
random numbers would have to find out first what pictures are.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from types import ModuleType
from typing import Any, ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .siren import sine

TAPS = 3
"""Of each convolution, along every axis."""
LEAK = 0.1
MIDDLE = 0.5
"""Of the range of samples: what latents of 0 are near to."""

MAX_FACTOR = 256
ANALYSED_AT_ONCE = 64
"""Patches: those of videos take 2 MB each meanwhile."""

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a learned network is made of.

    - `axes`, `channels`: of the signals; `side`: samples of a patch along each axis.
    - `grids`: channels of latents before each stage, coarsest first; a stage makes `factor` times as many samples along
      an axis. Empty: there are no learned encodings.
    - `features`: channels after each stage.
    - `waves`: frequencies of the fixed encodings along each axis, octaves apart.
    - `width`: of the coordinate network's hidden layers; `ranks`: for each layer, rows of the map from latents to its
      weights; 0: its weights are latents themselves.
    """

    axes: int
    channels: int
    side: int
    factor: int
    grids: tuple[int, ...]
    features: tuple[int, ...]
    waves: int
    width: int
    ranks: tuple[int, ...]

    gain: ClassVar[float] = 1.0
    """See `WeightLayout`."""

    def check(self) -> None:
        """Raises ValueError for a layout that no trainer makes."""
        stages = len(self.grids)
        if not (
            1 <= self.axes <= 3
            and 1 <= self.channels <= 4
            and 1 <= self.side <= 4096
            and 2 <= self.factor <= MAX_FACTOR
            and len(self.features) == stages <= 6
            and self.side % self.factor**stages == 0
            and 1 <= len(self.ranks) <= 8
            and 0 <= self.waves <= 16
            and 1 <= self.width <= 256
            and all(1 <= n <= 256 for n in (*self.grids, *self.features))
            and all(0 <= rank <= 4096 for rank in self.ranks)
            and all(features >= self.channels for features in self.features)
            and self.inputs > 0
        ):
            raise ValueError("it describes no network that could be")

    @property
    def patch(self) -> Shape:
        return (self.side,) * self.axes

    @property
    def inputs(self) -> int:
        """Numbers that the coordinate network sees at a sample."""
        return 2 * self.waves * self.axes + (self.features[-1] if self.features else 0)

    def layer_sizes(self) -> list[tuple[int, int]]:
        """Inputs, with the constant 1, and outputs of each layer of the coordinate network."""
        widths = [self.inputs, *[self.width] * (len(self.ranks) - 1), self.channels]
        return [(a + 1, b) for a, b in itertools.pairwise(widths)]

    def grid_shapes(self) -> list[Shape]:
        """Of the latents before each stage, channels last."""
        n = len(self.grids)
        return [(*[self.side // self.factor ** (n - i)] * self.axes, c) for i, c in enumerate(self.grids)]

    def convolution_shapes(self) -> list[Shape]:
        """Inputs of all taps, and outputs of all places that a sample becomes."""
        before = [0, *self.features[:-1]]
        return [
            (TAPS**self.axes * (a + c), self.factor**self.axes * b)
            for a, c, b in zip(before, self.grids, self.features, strict=True)
        ]

    def latent_counts(self) -> list[int]:
        """Of each grid, and then of each layer."""
        layers = [rank or math.prod(size) for rank, size in zip(self.ranks, self.layer_sizes(), strict=True)]
        return [*map(math.prod, self.grid_shapes()), *layers]

    @property
    def n_latents(self) -> int:
        """Latents of a patch."""
        return sum(self.latent_counts())

    def evaluate(self, shared: Shared, latents: Any, xp: ModuleType) -> Any:
        """See the function of this name."""
        return evaluate(self, shared, latents, xp)

    def sampled(self, shared: Shared, mean: Array, deviation: Array, key: PRNGKeyArray) -> Array:
        """Values of a sample of Gaussian latents."""
        latents = mean + deviation * jax.random.normal(key, mean.shape)
        return cast(Array, evaluate(self, shared, latents, jnp))


class Shared(NamedTuple):
    """The arrays that all signals share: see `shapes`."""

    kernels: tuple[Any, ...]
    biases: tuple[Any, ...]
    straight: tuple[Any, ...]
    bases: tuple[Any, ...]
    maps: tuple[Any, ...]


def shapes(layout: Layout) -> Shared:
    """Of each array: convolutions and their biases, the linear map of encodings to values, the weights that latents of
    0 make, and the maps from latents to changes of these.
    """
    convolutions = layout.convolution_shapes()
    sizes = layout.layer_sizes()
    return Shared(
        tuple(convolutions),
        tuple((outputs,) for _, outputs in convolutions),
        ((layout.features[-1], layout.channels),) if layout.features else (),
        tuple(sizes),
        tuple((rank, math.prod(size)) for rank, size in zip(layout.ranks, sizes, strict=True) if rank),
    )


def start(layout: Layout, seed: int) -> Shared:
    """Where training begins, float32: grids of latents are coefficients of a block transform of pictures in opponent
    colours, each a finer one than the last. Everything else begins at little or nothing.
    """
    rng = np.random.default_rng(seed)

    def drawn(shape: Shape, spread: float) -> np.ndarray:
        return rng.normal(0, spread, shape).astype(np.float32)

    wanted = shapes(layout)
    last = len(wanted.bases) - 1
    return Shared(
        tuple(_first_kernel(layout, i, drawn(s, 0.5 / math.sqrt(s[0]))) for i, s in enumerate(wanted.kernels)),
        tuple(np.zeros(s, np.float32) for s in wanted.biases),
        tuple(_padded(opponents(layout.channels), s) for s in wanted.straight),
        tuple(drawn(s, (0.02 if i == last else 1.5) / math.sqrt(s[0])) for i, s in enumerate(wanted.bases)),
        tuple(drawn(s, 0.001 if i == last else 0.02) for i, s in enumerate(wanted.maps)),
    )


def _padded(matrix: np.ndarray, shape: Shape) -> np.ndarray:
    """`matrix` above zeros."""
    return np.concatenate([matrix, np.zeros((shape[0] - len(matrix), shape[1]), np.float32)])


def opponents(channels: int) -> np.ndarray:
    """Orthonormal rows of colours: grey, red to blue, green to both. For other numbers of channels, the unit matrix."""
    if channels != 3:
        return np.eye(channels, dtype=np.float32)
    rows = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32)
    unit: np.ndarray = rows / np.sqrt((rows**2).sum(1, keepdims=True))
    return unit


def block_transform(layout: Layout) -> np.ndarray:
    """Orthonormal rows, (coefficients, places): the cosine transform of the samples that one sample becomes."""
    n = layout.factor
    k, i = np.arange(n)[:, None], np.arange(n)
    one = np.cos(math.pi * k * (2 * i + 1) / (2 * n)) * np.where(k == 0, math.sqrt(1 / n), math.sqrt(2 / n))
    whole = np.ones((1, 1))
    for _ in range(layout.axes):
        whole = np.kron(whole, one)
    return whole.astype(np.float32)


def _first_kernel(layout: Layout, stage: int, kernel: np.ndarray) -> np.ndarray:
    """A convolution that enlarges what was there before, with its slopes, and adds the details of its own latents."""
    axes, factor, c = layout.axes, layout.factor, layout.channels
    taps, places, features = TAPS**axes, factor**axes, layout.features[stage]
    before = 0 if stage == 0 else layout.features[stage - 1]
    k = kernel.reshape(taps, before + layout.grids[stage], places, features)
    k[..., :c] = 0
    offsets = ((np.arange(factor) + 0.5) / factor - 0.5).astype(np.float32)
    one = np.stack([-offsets / 2, np.ones_like(offsets), offsets / 2])  # a slope, which leaves the mean as it is
    enlarge = np.ones((1, 1), np.float32)
    for _ in range(axes):
        enlarge = np.kron(enlarge, one)
    transform, middle = block_transform(layout), taps // 2
    for colour in range(c):
        first = 0 if stage == 0 else before - c  # where coefficient 0 of each colour would be
        if stage == 0:
            k[middle, colour, :, colour] = transform[0]
        else:
            k[:, colour, :, colour] = enlarge
        for coefficient in range(1, places):
            k[middle, first + coefficient * c + colour, :, colour] = transform[coefficient]
    return k.reshape(kernel.shape)


def details(layout: Layout, stage: int) -> tuple[np.ndarray, float]:
    """The rows of the block transform that the latents of a stage are, (coefficients, places), and how much squared
    error of a whole patch an error of 1 in one of them makes.
    """
    rows = block_transform(layout)[0 if stage == 0 else 1 :]
    return rows, float(layout.factor ** ((len(layout.grids) - 1 - stage) * layout.axes))


def analyse(layout: Layout, values: np.ndarray) -> list[np.ndarray]:
    """What the latents of the network of `start` are for patches (patches, samples, channels): of each stage (patches,
    samples, coefficients times channels).
    """
    some = [values[i : i + ANALYSED_AT_ONCE] for i in range(0, len(values), ANALYSED_AT_ONCE)]
    return [np.concatenate(parts) for parts in zip(*[_analysed(layout, part) for part in some], strict=True)]


def _analysed(layout: Layout, values: np.ndarray) -> list[np.ndarray]:
    axes, factor, n, c = layout.axes, layout.factor, len(layout.grids), layout.channels
    x = ((values - np.float32(MIDDLE)) @ opponents(c).T).reshape(-1, *layout.patch, c)
    shared, found, picture = start(layout, 0), [], None
    for stage in range(n):
        size = layout.side // factor ** (n - 1 - stage)
        wide = x.reshape(-1, *itertools.chain(*[(size, layout.side // size)] * axes), c)
        target = wide.mean(tuple(range(2, 2 * axes + 1, 2)))
        if picture is not None:
            empty = np.zeros((*picture.shape[:-1], layout.features[stage - 1] + layout.grids[stage]), np.float32)
            empty[..., :c] = picture
            enlarged = _upsampled(layout, empty, shared.kernels[stage], shared.biases[stage], np)[..., :c]
        else:
            enlarged = np.zeros_like(target)
        rows, _ = details(layout, stage)
        cells = (target - enlarged).reshape(-1, *itertools.chain(*[(size // factor, factor)] * axes), c)
        order = [0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1]
        cells = cells.transpose(order).reshape(len(x), (size // factor) ** axes, factor**axes, c)
        own = np.einsum("npqc,kq->npkc", cells, rows)
        found.append(own.reshape(len(x), -1, len(rows) * c))
        back = np.einsum("npkc,kq->npqc", own, rows).reshape(-1, *[size // factor] * axes, *[factor] * axes, c)
        picture = enlarged + back.transpose(np.argsort(order)).reshape(target.shape)
    return found


def fixed_encodings(layout: Layout) -> np.ndarray:
    """Sines and cosines of the position in a patch, (samples, 2 waves axes)."""
    position = (2 * np.arange(layout.side) + 1) / layout.side - 1
    columns = []
    for axis in range(layout.axes):
        x = np.broadcast_to(np.expand_dims(position, [i for i in range(layout.axes) if i != axis]), layout.patch)
        for octave in range(layout.waves):
            columns += [np.sin(math.pi * 2**octave * x / 2), np.cos(math.pi * 2**octave * x / 2)]
    if not columns:
        return np.zeros((layout.side**layout.axes, 0))
    return np.stack(columns, -1).reshape(-1, len(columns))


def evaluate(layout: Layout, shared: Shared, latents: Any, xp: ModuleType) -> Any:
    """Values of patches, (patches, samples, channels), of latents (patches, n_latents), computed in their type of
    number. `xp`: NumPy or JAX's.
    """
    parts, n = split(layout, latents), latents.shape[0]
    grids = [part.reshape(n, *shape) for part, shape in zip(parts, layout.grid_shapes(), strict=False)]
    learned = encodings(layout, shared, grids, xp)
    fixed = fixed_encodings(layout).astype(latents.dtype)
    x = xp.broadcast_to(xp.asarray(fixed), (n, *fixed.shape))
    if learned is not None:
        learned = learned.reshape(n, -1, learned.shape[-1])
        x = xp.concatenate([learned, x], -1)
    values = coordinate_network(layout, shared, parts[len(layout.grids) :], x, xp)
    if learned is not None:
        values = values + learned @ shared.straight[0]
    return values + np.float32(MIDDLE)


def split(layout: Layout, latents: Any) -> list[Any]:
    """Latents (.., n_latents) of each grid and each layer."""
    ends = list(itertools.accumulate(layout.latent_counts()))
    return [latents[..., a:b] for a, b in zip([0, *ends], ends, strict=False)]


def encodings(layout: Layout, shared: Shared, grids: list[Any], xp: ModuleType) -> Any:
    """Learned positional encodings, (items, *samples, features), of grids of latents, (items, *grid, channels), which
    may be those of several patches beside each other. None if there are none.
    """
    x = None
    for i, own in enumerate(grids):
        x = own if x is None else xp.concatenate([x, own], -1)
        x = _upsampled(layout, x, shared.kernels[i], shared.biases[i], xp)
        if i + 1 < len(grids):
            linear, bent = x[..., : layout.channels], x[..., layout.channels :]
            x = xp.concatenate([linear, xp.maximum(bent, np.float32(LEAK) * bent)], -1)
    return x


def _upsampled(layout: Layout, x: Any, kernel: Any, bias: Any, xp: ModuleType) -> Any:
    """A convolution whose outputs are the `factor` samples along each axis that a sample becomes."""
    axes, factor = layout.axes, layout.factor
    n, inner = x.shape[0], x.shape[1:-1]
    padded = xp.pad(x, [(0, 0), *[(1, 1)] * axes, (0, 0)])
    taps = [
        padded[(slice(None), *(slice(a, a + size) for a, size in zip(at, inner, strict=True)))]
        for at in itertools.product(range(TAPS), repeat=axes)
    ]
    y = xp.concatenate(taps, -1) @ kernel + bias
    y = y.reshape(n, *inner, *[factor] * axes, -1)
    order = [0, *itertools.chain(*[(1 + a, 1 + axes + a) for a in range(axes)]), 1 + 2 * axes]
    return y.transpose(order).reshape(n, *[size * factor for size in inner], -1)


def coordinate_network(layout: Layout, shared: Shared, latents: list[Any], x: Any, xp: ModuleType) -> Any:
    """Sine layers whose weights each patch has for its own."""
    maps = iter(shared.maps)
    for i, (size, rank) in enumerate(zip(layout.layer_sizes(), layout.ranks, strict=True)):
        change = latents[i] @ next(maps) if rank else latents[i]
        weights = shared.bases[i] + change.reshape(-1, *size)
        x = x @ weights[:, :-1] + weights[:, -1:]
        if i + 1 < len(layout.ranks):
            x = _sine(x, xp)
    return x


def _sine(x: Any, xp: ModuleType) -> Any:
    return np.sin(x) if xp is np else sine(x)
