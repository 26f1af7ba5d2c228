"""Latent grids in JAX: distortion and rate with their gradients, blocked so that they run fast on a plain CPU.

All grids lie in one array, the *atlas*, with a margin of zeros around each, so that a neighbour is one flat offset
whatever the grid. Rate and distortion are sums over blocks that fit in cache; each block's gradient is taken inside the
loop over blocks, so nothing of the size of the image times the width of a network is ever stored.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from inrzip.codecs.latent_model import MARGIN
from inrzip.codecs.latent_model import NEIGHBOURS as NEIGHBOUR_OFFSETS

from .grid_layout import (
    FEATURES,
    FILTER_REACH,
    HYPER_LEVELS,
    KERNEL_REACH,
    LEVELS,
    NEIGHBOURS,
    UPSAMPLING_REACH,
    Networks,
    Place,
    places,
)

LATENTS_AT_ONCE = 8192
ROWS_AT_ONCE = 16
LEAST_LOG_SCALE, MOST_LOG_SCALE = -7.0, 7.0
LEAST_PROBABILITY = 2.0**-16

_barrier: Any = lax.optimization_barrier
"""Keeps XLA from computing its argument again in every loop that uses it."""

Atlas = Float[Array, "rows columns"]
Stack = Float[Array, "levels rows columns"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each grid of a signal of a shape lies in its atlas."""

    shape: tuple[int, int]

    @functools.cached_property
    def places(self) -> list[Place]:
        """All grids in coding order."""
        return places(self.shape)

    @functools.cached_property
    def corners(self) -> list[tuple[int, int]]:
        """First row and column of each grid in the atlas: shelves from the finest to the coarsest."""
        top, left, tallest = MARGIN, 0, 0
        found = {}
        for index in sorted(range(len(self.places)), key=lambda i: self.places[i].level):
            height, width = self.places[index].shape
            if left and left + width + MARGIN > self.columns:
                top, left, tallest = top + tallest + MARGIN, 0, 0
            found[index] = top, left
            left, tallest = left + width + MARGIN, max(tallest, height)
        return [found[i] for i in range(len(self.places))]

    @property
    def columns(self) -> int:
        """Of the atlas: the finest grid's, and a margin."""
        return self.shape[1] + MARGIN

    @functools.cached_property
    def rows(self) -> int:
        """Of the atlas."""
        return max(y + place.shape[0] for (y, _), place in zip(self.corners, self.places, strict=True))

    @functools.cached_property
    def mask(self) -> Float[np.ndarray, "rows columns"]:
        """1 where there is a latent, 0 between the grids."""
        mask = np.zeros((self.rows, self.columns), np.float32)
        for (y, x), place in zip(self.corners, self.places, strict=True):
            mask[y : y + place.shape[0], x : x + place.shape[1]] = 1
        return mask

    def split(self, atlas: Any) -> list[Any]:
        """The grids, in coding order, of an atlas of JAX or of NumPy, which gives views."""
        pairs = zip(self.corners, self.places, strict=True)
        return [atlas[y : y + place.shape[0], x : x + place.shape[1]] for (y, x), place in pairs]

    def join(self, grids: Sequence[Array]) -> Atlas:
        """The inverse of `split`."""
        atlas = jnp.zeros((self.rows, self.columns), jnp.float32)
        for (y, x), grid in zip(self.corners, grids, strict=True):
            atlas = lax.dynamic_update_slice(atlas, jnp.asarray(grid, jnp.float32), (y, x))
        return atlas


class Cost(NamedTuple):
    """What latents cost: the sum of squared errors over all samples and channels, and bits."""

    squares: Float[Array, ""]
    bits: Float[Array, ""]


def cost_and_gradients(
    layout: Layout,
    networks: Networks,
    latents: Atlas,
    target: Float[Array, "channels rows columns"],
    step: Float[Array, ""],
    price: Float[Array, ""],
) -> tuple[Cost, Networks, Atlas]:
    """The cost of latents, and the gradients of `squares + price * bits` by the networks and by the latents.

    `step`: what a latent of 1 stands for, as the synthesis sees it.
    """
    empty = jax.tree.map(jnp.zeros_like, networks)

    features, features_back = jax.vjp(lambda n, a: _features(layout, n, a), _only(networks, *_FEATURE_PARTS), latents)
    bits, context_part, latents_1, by_features = _rate(
        layout, _only(networks, *_CONTEXT_PARTS), latents, _barrier(features)
    )
    feature_part, latents_2 = features_back(_barrier(by_features))
    rate_gradient = jax.tree.map(lambda g: price * g, _filled(_filled(empty, context_part), feature_part))

    stack, stack_back = jax.vjp(
        lambda taps, filters, a: upsampled([g * step for g in layout.split(a)], taps, filters),
        networks.taps,
        networks.filters,
        latents,
    )
    squares, synthesis_part, by_stack = _distortion(_only(networks, *_SYNTHESIS_PARTS), _barrier(stack), target)
    taps, filters, latents_3 = stack_back(_barrier(by_stack))
    gradient = _filled(rate_gradient, synthesis_part)._replace(taps=taps, filters=filters)
    return Cost(squares, bits), gradient, price * (latents_1 + latents_2) + latents_3


_FEATURE_PARTS = ("coarse", "own", "grid_bias")
_CONTEXT_PARTS = ("hidden", "hidden_bias", "output", "linear", "output_bias")
_SYNTHESIS_PARTS = (
    "wide", "wide_bias", "narrow", "straight", "narrow_bias", "kernel", "kernel_bias",
)  # fmt: skip
Part = dict[str, Any]


def _only(networks: Networks, *names: str) -> Part:
    return {name: getattr(networks, name) for name in names}


def _filled(networks: Networks, part: Part) -> Networks:
    return networks._replace(**part)


def soft_round(x: Array, temperature: Float[Array, ""]) -> Array:
    """Rounding made smooth: the identity at a high temperature, rounding at 0 (Agustsson and Theis, 2020)."""
    base = jnp.floor(x) + 0.5
    return base + 0.5 * jnp.tanh((x - base) / temperature) / jnp.tanh(0.5 / temperature)


def _features(layout: Layout, part: Part, latents: Atlas) -> Float[Array, "features rows columns"]:
    """Features for all latents, in atlas order, from the grids that are known before each."""
    out = jnp.zeros((FEATURES, layout.rows, layout.columns))
    stack: Array | None = None
    level: list[Array] = []
    for number, (place, corner, grid) in enumerate(
        zip(layout.places, layout.corners, layout.split(latents), strict=True)
    ):
        height, width = place.shape
        bias = part["grid_bias"][number][:, None, None]
        known = jnp.zeros((FEATURES, -(-height // 2), -(-width // 2))) + bias
        if stack is not None:
            known = known + jnp.einsum("fn,nhw->fhw", part["coarse"][place.level], stack)
        known = _doubled(known)[:, :height, :width]
        if level:
            known = known + part["own"][HYPER_LEVELS.index(place.level)][:, None, None] * level[-1]
        out = lax.dynamic_update_slice(out, known, (0, *corner))
        level.append(grid)
        if not place.hyper:
            new = jnp.stack(level[::-1])
            stack = new if stack is None else jnp.concatenate([_doubled(stack)[:, :height, :width], new])
            level = []
    return out


def _doubled(planes: Array) -> Array:
    return jnp.repeat(jnp.repeat(planes, 2, 1), 2, 2)


def _bits(centre: Array, log_scale: Array, latents: Array) -> Array:
    """What latents cost under Laplace curves that are integrated over bins of width 1."""
    inverse = jnp.exp2(-jnp.clip(log_scale, LEAST_LOG_SCALE, MOST_LOG_SCALE))
    distance = jnp.abs(latents - centre)
    low, high = (distance - 0.5) * inverse, (distance + 0.5) * inverse
    tail_low, tail_high = jnp.exp(-jnp.abs(low)), jnp.exp(-high)
    mass = 0.5 * jnp.where(low < 0, 2 - tail_low - tail_high, tail_low - tail_high)
    return -jnp.log2(jnp.maximum(mass, LEAST_PROBABILITY))


def _rate(layout: Layout, part: Part, latents: Atlas, features: Array) -> tuple[Array, Part, Atlas, Array]:
    """Bits of all latents, and their gradients by the context network, the latents and the features."""
    offsets = [dy * layout.columns + dx for dy, dx in NEIGHBOUR_OFFSETS[:NEIGHBOURS]]
    before, n = -min(offsets), latents.size
    block = min(LATENTS_AT_ONCE, n)
    n_blocks = -(-n // block)
    flat = jnp.pad(latents.reshape(-1), (before, n_blocks * block - n))
    known = jnp.pad(features.reshape(FEATURES, -1), ((0, 0), (0, n_blocks * block - n)))
    mask = jnp.pad(jnp.asarray(layout.mask).reshape(-1), (0, n_blocks * block - n))

    def bits(part: Part, values: Array, known: Array, mask: Array) -> Array:
        seen = [lax.slice_in_dim(values, before + o, before + o + block) for o in offsets]
        inputs = jnp.concatenate([jnp.stack(seen), known])
        state = inputs
        for weights, bias in zip(part["hidden"], part["hidden_bias"], strict=True):
            state = jax.nn.relu(weights @ state + state + bias[:, None])
        out = part["output"] @ state + part["linear"] @ inputs + part["output_bias"][:, None]
        return jnp.sum(_bits(out[0], out[1], values[before:]) * mask)

    def body(carry: tuple[tuple[Array, Part], Array, Array], i: Array) -> tuple[object, None]:
        sums, by_latents, by_features = carry
        start = i * block
        values = lax.dynamic_slice(flat, (start,), (before + block,))
        result, (by_part, by_values, by_known) = jax.value_and_grad(bits, (0, 1, 2))(
            part,
            values,
            lax.dynamic_slice(known, (0, start), (FEATURES, block)),
            lax.dynamic_slice(mask, (start,), (block,)),
        )
        old = lax.dynamic_slice(by_latents, (start,), (before + block,))
        by_latents = lax.dynamic_update_slice(by_latents, old + by_values, (start,))
        by_features = lax.dynamic_update_slice(by_features, by_known, (0, start))
        return (jax.tree.map(jnp.add, sums, (result, by_part)), by_latents, by_features), None

    zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, part))
    start = (zero, jnp.zeros_like(flat), jnp.zeros_like(known))
    ((total, by_part), by_latents, by_features), _ = lax.scan(body, start, jnp.arange(n_blocks))  # type: ignore[arg-type]
    return (
        total,
        by_part,
        by_latents[before : before + n].reshape(latents.shape),
        by_features[:, :n].reshape(features.shape),
    )


def upsampled(
    grids: Sequence[Array], taps: Float[Array, "steps 2 taps"], filters: Float[Array, "levels 2 taps"]
) -> Stack:
    """All levels at full size, finest first. `grids` in coding order; hyper-latents are passed over."""
    mains = [grid for grid, place in zip(grids, places((1, 1)), strict=True) if not place.hyper]
    stack = mains[0][None]
    for level, grid in zip(reversed(range(LEVELS - 1)), mains[1:], strict=True):
        stack = _stretch(_stretch(stack, taps[level, 1], 2), taps[level, 0], 1)
        stack = _barrier(stack[:, : grid.shape[0], : grid.shape[1]])
        own = _symmetric(_symmetric(grid, filters[level, 0], 0), filters[level, 1], 1)
        stack = jnp.concatenate([_barrier(own)[None], stack])
    return stack


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _symmetric(plane: Array, taps: Float[Array, " taps"], axis: int) -> Array:
    """`architectures.grid_render.symmetric`, of a plane that repeats its ends."""
    at = _neighbours(plane, axis, reach=FILTER_REACH)
    return _weighted(at, taps)


def _weighted(at: Sequence[Array], taps: Array) -> Array:
    pairs = [taps[i] * (at[FILTER_REACH - i] + at[FILTER_REACH + i]) for i in range(1, FILTER_REACH + 1)]
    return functools.reduce(jnp.add, pairs, taps[0] * at[FILTER_REACH])


def _symmetric_forward(plane: Array, taps: Array, axis: int) -> tuple[Array, tuple[Array, Array]]:
    return _symmetric(plane, taps, axis), (plane, taps)


def _symmetric_backward(axis: int, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    plane, taps = kept
    n = plane.shape[axis]
    pads = [(0, 0)] * 2
    pads[axis] = (2 * FILTER_REACH, 2 * FILTER_REACH)
    wide = jnp.pad(gradient, pads)
    m = n + 2 * FILTER_REACH
    at = [lax.slice_in_dim(wide, i, i + m, axis=axis) for i in range(2 * FILTER_REACH + 1)]
    by_plane = _unpadded(_weighted(at, taps), n, axis, FILTER_REACH)
    near = _barrier(tuple(_neighbours(plane, axis, reach=FILTER_REACH)))
    by_taps = [jnp.vdot(gradient, near[FILTER_REACH])]
    by_taps += [jnp.vdot(gradient, near[FILTER_REACH - i] + near[FILTER_REACH + i]) for i in range(1, FILTER_REACH + 1)]
    return by_plane, jnp.stack(by_taps)


_symmetric.defvjp(_symmetric_forward, _symmetric_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _stretch(planes: Stack, taps: Float[Array, " taps"], axis: int) -> Stack:
    """`architectures.grid_render.upsample`. XLA's own gradient would recompute its input for every tap."""
    at = _neighbours(planes, axis)
    before = taps[0] * at[2] + taps[1] * at[1] + taps[2] * at[3] + taps[3] * at[0]
    after = taps[0] * at[2] + taps[1] * at[3] + taps[2] * at[1] + taps[3] * at[4]
    shape = list(planes.shape)
    shape[axis] *= 2
    return jnp.stack([before, after], axis + 1).reshape(shape)


def _neighbours(planes: Array, axis: int, mode: str = "edge", reach: int = UPSAMPLING_REACH) -> list[Array]:
    """`planes` moved by -reach to reach samples along an axis."""
    pads = [(0, 0)] * planes.ndim
    pads[axis] = (reach, reach)
    padded = jnp.pad(planes, pads, mode=mode)
    return [lax.slice_in_dim(padded, i, i + planes.shape[axis], axis=axis) for i in range(2 * reach + 1)]


def _stretch_forward(planes: Stack, taps: Array, axis: int) -> tuple[Stack, tuple[Stack, Array]]:
    return _stretch(planes, taps, axis), (planes, taps)


def _stretch_backward(axis: int, kept: tuple[Stack, Array], gradient: Stack) -> tuple[Stack, Array]:
    planes, taps = kept
    n = planes.shape[axis]
    shape = list(planes.shape)
    shape[axis : axis + 1] = [n, 2]
    pair = gradient.reshape(shape)
    before, after = _barrier((lax.index_in_dim(pair, 0, axis + 1, False), lax.index_in_dim(pair, 1, axis + 1, False)))
    b, a = _neighbours(before, axis, "constant"), _neighbours(after, axis, "constant")
    by_planes = taps[0] * (b[2] + a[2]) + taps[1] * (b[3] + a[1]) + taps[2] * (b[1] + a[3]) + taps[3] * (b[4] + a[0])

    def one(planes: Array, index: int) -> Array:
        return lax.slice_in_dim(planes, index, index + 1, axis=axis)

    # what samples beyond the ends, which repeat the first and the last, were used for
    first = (taps[1] + taps[3]) * one(before, 0) + taps[2] * one(after, 0)
    last = (taps[1] + taps[3]) * one(after, n - 1) + taps[2] * one(before, n - 1)
    if n > 1:
        first = first + taps[3] * one(before, 1)
        last = last + taps[3] * one(after, n - 2)
        middle = lax.slice_in_dim(by_planes, 1, n - 1, axis=axis)
        by_planes = jnp.concatenate([one(by_planes, 0) + first, middle, one(by_planes, n - 1) + last], axis)
    else:
        by_planes = by_planes + first + last
    at = _barrier(tuple(_neighbours(planes, axis)))
    by_taps = [
        jnp.vdot(before + after, at[2]),
        jnp.vdot(before, at[1]) + jnp.vdot(after, at[3]),
        jnp.vdot(before, at[3]) + jnp.vdot(after, at[1]),
        jnp.vdot(before, at[0]) + jnp.vdot(after, at[4]),
    ]
    return by_planes, jnp.stack(by_taps)


_stretch.defvjp(_stretch_forward, _stretch_backward)


def _distortion(part: Part, stack: Stack, target: Float[Array, "channels rows columns"]) -> tuple[Array, Part, Stack]:
    """The sum of squared errors, and its gradients by the synthesis network and by what enters it."""
    levels, height, width = stack.shape
    rows = min(ROWS_AT_ONCE, height)
    n_strips = -(-height // rows)
    extra = n_strips * rows - height
    pitch = width + 2 * KERNEL_REACH
    n = rows * pitch - 2 * KERNEL_REACH  # samples that a strip gives: its last ones in the margin are missing
    padded = jnp.pad(
        stack, ((0, 0), (KERNEL_REACH, KERNEL_REACH + extra), (KERNEL_REACH, KERNEL_REACH)), mode="edge"
    ).reshape(levels, -1)
    wanted = jnp.pad(target, ((0, 0), (0, extra), (0, 2 * KERNEL_REACH))).reshape(len(target), -1)
    mask = np.zeros((height + extra, pitch), np.float32)
    mask[:height, :width] = 1
    flat_mask = jnp.asarray(mask.reshape(-1))

    def squares(part: Part, strip: Array, wanted: Array, mask: Array) -> Array:
        error = (_synthesised(part, strip, pitch) - wanted) * mask
        return jnp.sum(error * error)

    def body(carry: tuple[tuple[Array, Part], Array], i: Array) -> tuple[object, None]:
        sums, by_stack = carry
        start = i * rows * pitch
        size = (rows + 2 * KERNEL_REACH) * pitch
        result, (by_part, by_strip) = jax.value_and_grad(squares, (0, 1))(
            part,
            lax.dynamic_slice(padded, (0, start), (levels, size)),
            lax.dynamic_slice(wanted, (0, start), (len(target), n)),
            lax.dynamic_slice(flat_mask, (start,), (n,)),
        )
        old = lax.dynamic_slice(by_stack, (0, start), (levels, size))
        by_stack = lax.dynamic_update_slice(by_stack, old + by_strip, (0, start))
        return (jax.tree.map(jnp.add, sums, (result, by_part)), by_stack), None

    zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, part))
    ((total, by_part), by_padded), _ = lax.scan(body, (zero, jnp.zeros_like(padded)), jnp.arange(n_strips))  # type: ignore[arg-type]
    by_padded = by_padded.reshape(levels, -1, pitch)
    return total, by_part, _unpadded(_unpadded(by_padded, height, 1), width, 2)


def _unpadded(gradient: Array, n: int, axis: int, margin: int = KERNEL_REACH) -> Array:
    """The gradient by planes that were padded by repeating their ends, `KERNEL_REACH` and more samples."""
    size = gradient.shape[axis]
    inner = lax.slice_in_dim(gradient, margin, margin + n, axis=axis)
    first = jnp.sum(lax.slice_in_dim(gradient, 0, margin, axis=axis), axis, keepdims=True)
    last = jnp.sum(lax.slice_in_dim(gradient, margin + n, size, axis=axis), axis, keepdims=True)
    index = lax.broadcasted_iota(jnp.int32, inner.shape, axis)
    return inner + jnp.where(index == 0, first, 0) + jnp.where(index == n - 1, last, 0)


def _synthesised(part: Part, strip: Float[Array, "levels samples"], pitch: int) -> Float[Array, "channels samples"]:
    """Samples of a flat strip of rows; see `architectures.grid_render.synthesise`."""
    wide = jax.nn.relu(part["wide"] @ strip + part["wide_bias"][:, None])
    trunk = part["narrow"] @ wide + part["straight"] @ strip + part["narrow_bias"][:, None]
    change = _convolved(trunk, part["kernel"], pitch) + part["kernel_bias"][:, None]
    samples: Array = lax.slice_in_dim(trunk, pitch + 1, pitch + 1 + change.shape[1], axis=1) + change
    return samples


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolved(
    planes: Float[Array, "in samples"], kernel: Float[Array, "out in 3 3"], pitch: int
) -> Float[Array, "out fewer"]:
    """A 3x3 convolution of rows that lie flat behind each other; every tap is a slice."""
    n = planes.shape[1] - 2 * pitch - 2
    slices = [
        [[lax.slice_in_dim(plane, i * pitch + j, i * pitch + j + n) for j in range(3)] for i in range(3)]
        for plane in planes
    ]
    out = []
    for filters in kernel:
        taps = [filters[c, i, j] * slices[c][i][j] for c in range(len(planes)) for i in range(3) for j in range(3)]
        out.append(functools.reduce(jnp.add, taps))
    return jnp.stack(out)


def _convolved_forward(planes: Array, kernel: Array, pitch: int) -> tuple[Array, tuple[Array, Array]]:
    return _convolved(planes, kernel, pitch), (planes, kernel)


def _convolved_backward(pitch: int, kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    planes, kernel = kept
    n, margin = gradient.shape[1], 2 * pitch + 2
    turned = jnp.flip(kernel, (2, 3)).transpose(1, 0, 2, 3)
    by_planes = _convolved(jnp.pad(gradient, ((0, 0), (margin, margin))), turned, pitch)
    by_kernel = [
        jnp.stack(
            [gradient @ lax.slice_in_dim(planes, i * pitch + j, i * pitch + j + n, axis=1).T for j in range(3)], -1
        )
        for i in range(3)
    ]
    return by_planes, jnp.stack(by_kernel, -2)


_convolved.defvjp(_convolved_forward, _convolved_backward)
