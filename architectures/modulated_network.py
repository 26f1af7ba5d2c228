"""Signals as modulations of one learned coordinate network: COIN++ and VC-INR.

COIN++ (Dupont et al., TMLR 2022) keeps one SIREN for all signals and shifts its units by a linear map of a signal's
latents. VC-INR (Schwarz et al., ICML 2023) multiplies its weights by gates, G = sigmoid(U V), whose low-rank factors a
second network makes of the latents: each signal selects a sub-network. What is shared by all signals lies in a prior
(`inrzip.priors.modulation_prior`); latents are rounded and coded.

Own choices, as there is no GPU to meta-learn a network of ten layers from random numbers: the first layer is wide and
seen by the output, and everything is set so that training begins as the cosine transform of a patch, one latent to a
coefficient. Shifts are exact for that: sin(a + s) + sin(-a + s) = 2 sin(s) cos(a). Gates are nearly so: of a unit's
weight w, (sigmoid(l) - 1/2) w is taken, where w / 2 is what all signals have. The layers behind see the largest waves
of the patch, and all latents; they start at nearly nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from .combiner_network import opponents
from .siren import sine

MIDDLE = 0.5
"""Of the range of samples: what latents of 0 are near to."""
LEAK = 0.1
REACH = 1.5
"""The largest coefficient that a unit's shift of 1, or a gate's logarithm of 1, makes, over the largest of training."""
CALM = 0.1
"""What usual latents do to the layers behind the first, and to the features of their gates, when training begins: at 1
descent from 0 goes astray, as what these layers say of a latent changes with all others.
"""
LITTLE = 0.02
"""Of the layers behind the first: what they add to the output when training begins."""

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a modulated network is made of.

    - `gated`: gates on weights (VC-INR), or shifts of units (COIN++).
    - `axes`, `channels`: of the signals; `side`: samples of a patch along each axis.
    - `latents`: how many there are; with gates, for each channel, as many as waves it has.
    - `inner`: so many units of the first layer are seen by the second; `widths`: of the layers behind the first.
    - `rank`: of gates; `hyper`: width of the network that makes them. Both 0 with shifts.
    """

    gated: bool
    axes: int
    channels: int
    side: int
    latents: tuple[int, ...]
    inner: int
    widths: tuple[int, ...]
    rank: int = 0
    hyper: int = 0

    def check(self) -> None:
        """Raises ValueError for a layout that no trainer makes."""
        if not (
            1 <= self.axes <= 3
            and 1 <= self.channels <= 4
            and 1 <= self.side <= 4096
            and self.side**self.axes <= 1 << 14
            and len(self.latents) == (self.channels if self.gated else 1)
            and all(1 <= n <= 4096 for n in self.latents)
            and 1 <= len(self.widths) <= 8
            and all(1 <= n <= 256 for n in self.widths)
            and 1 <= self.inner <= self.units
            and (self.channels <= self.rank <= 16 if self.gated else self.rank == 0)
            and (1 <= self.hyper <= 256 if self.gated else self.hyper == 0)
        ):
            raise ValueError("it describes no network that could be")

    @property
    def patch(self) -> Shape:
        return (self.side,) * self.axes

    @property
    def n_latents(self) -> int:
        """Latents of a patch."""
        return sum(self.latents)

    @property
    def fold(self) -> int:
        """Units of the first layer that a latent moves, next to each other."""
        return 1 << (self.axes - 1 if self.gated else self.axes)

    @property
    def units(self) -> int:
        """Of the first layer."""
        return self.fold * max(self.latents)

    def layer_sizes(self) -> list[tuple[int, int]]:
        """Inputs and outputs of the layers between the first and the output."""
        return list(itertools.pairwise([self.inner, *self.widths]))


class Shared(NamedTuple):
    """The arrays that all signals share: see `shapes`."""

    waves: Any
    phases: Any
    moves: Any
    weights: tuple[Any, ...]
    biases: tuple[Any, ...]
    maps: tuple[Any, ...]
    hyper: tuple[Any, ...]
    left: tuple[Any, ...]
    right: tuple[Any, ...]
    out: Any
    straight: tuple[Any, ...]
    middle: Any


def shapes(layout: Layout) -> Shared:
    """Of each array. `moves`: what a latent does to the shift, or to the gate, of each unit of the first layer; `maps`:
    from latents to shifts of each layer behind; `hyper`: from latents to the features that gates are made of; `left`
    and `right`: from these features, and 1, to the factors of the gates of each layer and of the output; `straight`:
    what the output has without gates.
    """
    n, sizes, gated = layout.n_latents, layout.layer_sizes(), layout.gated
    seen, r, features = layout.units + layout.widths[-1], layout.rank, layout.hyper + 1
    rows = [a for a, _ in sizes] + [layout.widths[-1]]
    columns = [b for _, b in sizes] + [layout.channels]
    return Shared(
        waves=(layout.axes, layout.units),
        phases=(layout.units,),
        moves=(layout.channels, layout.units) if gated else (layout.units,),
        weights=tuple(sizes),
        biases=tuple((b,) for _, b in sizes),
        maps=() if gated else tuple((n, b) for _, b in sizes),
        hyper=((n, layout.hyper), (layout.hyper,)) if gated else (),
        left=tuple((features, a * r) for a in rows) if gated else (),
        right=tuple((features, r * b) for b in columns) if gated else (),
        out=(seen, layout.channels),
        straight=((seen, layout.channels),) if gated else (),
        middle=(layout.channels,),
    )


def is_shape(node: object) -> bool:
    """Whether a node of `shapes` is the shape of an array."""
    return isinstance(node, tuple) and bool(node) and all(isinstance(n, int) for n in node)


def positions(layout: Layout) -> Float[np.ndarray, "samples axes"]:
    """Of the samples of a patch, in half turns of the slowest wave: (i + 1/2) pi / side."""
    axis = (np.arange(layout.side) + 0.5) * (math.pi / layout.side)
    return np.stack(np.meshgrid(*[axis] * layout.axes, indexing="ij"), -1).reshape(-1, layout.axes)


def evaluate(layout: Layout, shared: Shared, latents: Any, xp: ModuleType) -> Any:
    """Values of patches, (patches, samples, channels), of latents (patches, n_latents), computed in their type of
    number. `xp`: NumPy or JAX's.
    """
    angles = positions(layout).astype(latents.dtype) @ shared.waves + shared.phases
    return (_gated if layout.gated else _shifted)(layout, shared, latents, angles, xp) + MIDDLE


def _sine(x: Any, xp: ModuleType) -> Any:
    return np.sin(x) if xp is np else sine(x)


def _cosine(x: Any, xp: ModuleType) -> Any:
    return np.cos(x) if xp is np else sine(x + math.pi / 2)


def _by_patch(inputs: Any, matrices: Any) -> Any:
    """(samples, a) times (patches, a, b): one product of two large matrices."""
    n, a, b = matrices.shape
    product = inputs @ matrices.transpose(1, 0, 2).reshape(a, n * b)
    return product.reshape(-1, n, b).transpose(1, 0, 2)


def _shifted(layout: Layout, shared: Shared, latents: Any, angles: Any, xp: ModuleType) -> Any:
    """COIN++. The first layer's units are sin(angle + shift): sines and cosines of the angles are the same for all
    patches, and those of the shifts for all samples.
    """
    shifts = xp.repeat(latents, layout.fold, 1) * shared.moves
    both = xp.concatenate([_sine(angles, xp), _cosine(angles, xp)], 1)
    turned = _cosine(shifts, xp)[..., None], _sine(shifts, xp)[..., None]
    units, inner = layout.units, layout.inner
    result = _by_patch(both, xp.concatenate([turn * shared.out[:units] for turn in turned], 1))
    seen = xp.concatenate([both[:, :inner], both[:, units : units + inner]], 1)
    x = _by_patch(seen, xp.concatenate([turn[:, :inner] * shared.weights[0] for turn in turned], 1))
    for i, (bias, own) in enumerate(zip(shared.biases, shared.maps, strict=True)):
        if i:
            x = x @ shared.weights[i]
        x = _sine(x + bias + (latents @ own)[:, None], xp)
    return result + x @ shared.out[units:] + shared.middle


def _gated(layout: Layout, shared: Shared, latents: Any, angles: Any, xp: ModuleType) -> Any:
    """VC-INR. The first layer is the same for all patches."""
    first = _sine(angles, xp)
    units, n = layout.units, latents.shape[0]
    features = latents @ shared.hyper[0] + shared.hyper[1]
    features = xp.maximum(features, LEAK * features)
    features = xp.concatenate([features, xp.ones((n, 1), features.dtype)], 1)
    lefts = [(features @ left).reshape(n, -1, layout.rank) for left in shared.left]
    rights = [(features @ right).reshape(n, layout.rank, -1) for right in shared.right]
    x = None
    for weight, bias, left, right in zip(shared.weights, shared.biases, lefts, rights, strict=False):
        weights = _sigmoid(left @ right, xp) * weight
        x = _sine((_by_patch(first[:, : layout.inner], weights) if x is None else x @ weights) + bias, xp)
    waves = []
    for own, first_latent, count in zip(
        shared.moves, itertools.accumulate((0, *layout.latents)), layout.latents, strict=False
    ):
        moved = xp.repeat(latents[:, first_latent : first_latent + count], layout.fold, 1)
        waves.append(xp.pad(moved, [(0, 0), (0, units - count * layout.fold)]) * own)
    colours = rights[-1][:, : layout.channels]
    gates = _sigmoid(xp.stack(waves, -1) @ colours, xp)
    result = _by_patch(first, gates * shared.out[:units] + shared.straight[0][:units])
    gates = _sigmoid(lefts[-1] @ rights[-1], xp)
    return result + x @ (gates * shared.out[units:] + shared.straight[0][units:]) + shared.middle


def _sigmoid(x: Any, xp: ModuleType) -> Any:
    return 0.5 + 0.5 * xp.tanh(0.5 * x)


# ---- where training begins ----


def cosines(layout: Layout, patches: Float[np.ndarray, "n samples channels"]) -> Float[np.ndarray, "n side_axes c"]:
    """Coefficients of the orthonormal cosine transform of patches less `MIDDLE`, in opponent colours."""
    k, i = np.arange(layout.side)[:, None], np.arange(layout.side)
    one = np.cos(math.pi * k * (2 * i + 1) / (2 * layout.side)) * np.sqrt(np.where(k == 0, 1, 2) / layout.side)
    x = ((patches - np.float32(MIDDLE)) @ opponents(layout.channels).T).reshape(-1, *layout.patch, layout.channels)
    for axis in range(1, layout.axes + 1):
        x = np.moveaxis(np.tensordot(x, one.astype(np.float32), (axis, 1)), -1, axis)
    return np.ascontiguousarray(x.reshape(len(x), -1, layout.channels), np.float32)


def start(
    layout: Layout, patches: Float[np.ndarray, "n samples channels"], seed: int
) -> tuple[Shared, Float[np.ndarray, "n latents"]]:
    """Where training begins: the network, float32, and the latents of patches, which are their largest coefficients."""
    rng = np.random.default_rng(seed)

    def drawn(shape: Shape, spread: float) -> np.ndarray:
        return rng.normal(0, spread, shape).astype(np.float32)

    own, wanted = cosines(layout, patches), shapes(layout)
    energy, units, fold = np.square(own).mean(0), layout.units, layout.fold
    falling = np.argsort(-energy.sum(1), kind="stable")[: max(layout.latents)]
    if layout.gated:
        chosen = [(int(at), colour) for colour, count in enumerate(layout.latents) for at in falling[:count]]
    else:
        order = np.argsort(-energy.ravel(), kind="stable")[: layout.n_latents]
        chosen = [divmod(int(at), layout.channels) for at in order]
    latents = np.stack([own[:, at, colour] for at, colour in chosen], 1)
    reach = REACH * np.abs(latents).max(0) + 1e-3
    at_unit = falling if layout.gated else np.array([at for at, _ in chosen])
    waves = np.stack(np.unravel_index(at_unit, layout.patch)).astype(np.float32)
    norm = np.prod(np.sqrt(np.where(waves == 0, 1, 2) / layout.side), 0) / fold
    signs = np.array(list(itertools.product((1, -1), repeat=layout.axes)))[:fold]  # with gates, those that begin with 1
    every = (waves[:, :, None] * signs.T[:, None]).reshape(layout.axes, units)
    mix = opponents(layout.channels)
    straight: tuple[np.ndarray, ...] = ()
    if layout.gated:
        most = np.zeros((layout.channels, max(layout.latents)))
        ends = np.cumsum((0, *layout.latents))
        for colour, count in enumerate(layout.latents):
            most[colour, :count] = reach[ends[colour] : ends[colour + 1]]
        top = most.max(0)
        moves = np.repeat(np.where(most > 0, 1 / top, 0), fold, 1).astype(np.float32)
        out = np.repeat((4 * norm * top)[:, None], fold, 0) * np.ones(layout.channels)
    else:
        moves = np.repeat(1 / reach, fold).astype(np.float32)
        out = np.repeat((norm * reach)[:, None] * mix[[colour for _, colour in chosen]], fold, 0)
    behind = drawn((layout.widths[-1], layout.channels), LITTLE / math.sqrt(layout.widths[-1]))
    out = np.concatenate([out.astype(np.float32), behind])
    if layout.gated:
        straight = (np.concatenate([-out[:units] / 2, 0 * behind]),)
    spread = np.sqrt(np.square(latents).mean(0))[:, None] + 1e-3
    rights = [drawn(s, 0.3) for s in wanted.right]
    if layout.gated:
        rights[-1][:-1] *= 0
        rights[-1][-1] = np.concatenate([mix, drawn((layout.rank, layout.channels), 0.3)])[: layout.rank].ravel()
    shared = Shared(
        waves=every,
        phases=np.full(units, math.pi / 2 if layout.gated else 0, np.float32),
        moves=moves,
        weights=tuple(drawn(s, (2 if layout.gated else 1) * 1.5 / math.sqrt(s[0])) for s in wanted.weights),
        biases=tuple(drawn(s, 0.5) for s in wanted.biases),
        maps=tuple((drawn(s, CALM / math.sqrt(s[0])) / spread).astype(np.float32) for s in wanted.maps),
        hyper=tuple(drawn(s, 1 / math.sqrt(s[0])) * (CALM / spread if len(s) > 1 else 1) for s in wanted.hyper),
        left=tuple(drawn(s, 0.3) for s in wanted.left),
        right=tuple(rights),
        out=out,
        straight=straight,
        middle=np.zeros(layout.channels, np.float32),
    )
    return Shared(*(_floats(part) for part in shared)), latents


def _floats(part: Any) -> Any:
    return tuple(map(_floats, part)) if isinstance(part, tuple) else np.asarray(part, np.float32)
