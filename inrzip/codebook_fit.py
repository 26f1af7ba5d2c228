"""Codebooks learned with the network, after JLCM (joint learning of codewords and mappings; known here from its
abstract and reviews, so the details are ours).

- *Groups*: output channels of alike distributions share a codebook (`group_channels`: k-means of sorted weights). The
  units of a SIREN's hidden layers can be sorted by group for nothing, as the next layer takes up the permutation
  (`sort_units`); elsewhere each channel's group is coded.
- *Codewords* start as a uniform quantiser's levels, moved to the means of what they stand for (Lloyd, 1982).
- *Joint learning*: weights stay as hidden values, and codewords are parameters; a weight is rounded to the nearest
  codeword. A gradient step on hidden values and this rounding are a proximal gradient step: weights change to
  neighbouring codewords first. Codewords get the sum of their weights' gradients.
- *Price*: the entropy of soft assignments, which fall off with a codeword's distance. So here, too, what pulls a weight
  to another codeword is weaker the farther that is: JLCM's re-weighting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from inrzip.architectures.base import Representation, Trainable, parameters
from inrzip.architectures.siren import Siren
from inrzip.codecs.codebook import MAX_CODEWORDS, Codebook
from inrzip.codecs.levels import UniformSteps, step_ladder
from inrzip.codecs.uniform import STEPS_PER_OCTAVE, bit_price, quantise
from inrzip.codecs.weights import QuantisedTensor

from .constraints import Quantising, round_through

LEAST_ELEMENTS = 512
"""Tensors with fewer elements keep uniform steps: codewords would cost more than they save."""
FINENESS = 4 * STEPS_PER_OCTAVE
"""Codewords are multiples of a sixteenth of the step they started from."""
PRICE_SHARE = 0.25
"""What a bit is worth, as a part of its worth at high rate (see `inrzip.codecs.uniform.allocate_steps`). Measured on a
NeRV at 2 bits a weight, against uniform steps fitted as long: 0 gains 0.1 dB at equal bytes, 0.15 and 0.3 gain 0.3.
"""
SOFTNESS = 0.4
"""Standard deviation of soft assignments, in the steps that codewords started from."""
NEIGHBOURS = 4
"""Codewords on each side of the nearest that take part in soft assignments: the next is beyond four steps, or, if
learning has moved words together, beyond what matters.
"""
LEAST_SHARE = 1e-9
"""Of the weights, so that the logarithm of a word's share is finite."""
WORD_UNIT = 10.0
"""Codewords are learned in tenths of the weights' unit, or Adam would move them, which thousands of weights share, as
far as it moves one weight.
"""
LLOYD_ROUNDS = 8
KMEANS_ROUNDS = 20
QUANTILES = 16


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one tensor is quantised: with uniform steps of `step_index`, or, if it has `groups`, with codebooks that
    started from them, and the group of each channel along `axis`.
    """

    step_index: int
    axis: int = 0
    groups: tuple[int, ...] = ()

    @property
    def step(self) -> float:
        """The step."""
        return float(step_ladder()[self.step_index])

    @property
    def word_step(self) -> float:
        """The step that codewords are multiples of."""
        return float(step_ladder()[self.word_step_index])

    @property
    def word_step_index(self) -> int:
        """Its number on the ladder."""
        return max(0, self.step_index - FINENESS)

    def members(self) -> list[Int[np.ndarray, " members"]]:
        """The channels of each group."""
        return [np.flatnonzero(np.array(self.groups) == group) for group in range(max(self.groups) + 1)]


class LearnedCodebooks(Quantising):
    """A network whose arrays take their values from codebooks that are fitted along with them.

    `codewords[t]` holds those of each group, in `WORD_UNIT`; it is empty for a tensor with uniform steps.
    """

    network: Representation
    codewords: list[Float[Array, "groups words"]]
    plans: tuple[Plan, ...] = eqx.field(static=True)
    price: float = eqx.field(static=True)

    def prepare(self) -> tuple[Trainable, Float[Array, ""]]:
        arrays, static = eqx.partition(self.network, eqx.is_inexact_array)
        leaves, treedef = jax.tree.flatten(arrays)
        rounded, bits = [], jnp.float32(0)
        for array, words, plan in zip(leaves, self.codewords, self.plans, strict=True):
            if not plan.groups:
                rounded.append(round_through(array, jnp.float32(plan.step)))
                continue
            rows, words = _rows(array, plan.axis), jnp.sort(words / WORD_UNIT)
            chosen = round_through(words, jnp.float32(plan.word_step))
            nearest, counts = jnp.zeros_like(rows), jnp.zeros(words.shape[1])
            for group, members in enumerate(plan.members()):
                mine = rows[members]
                nearest = nearest.at[members].set(chosen[group][nearest_places(mine, chosen[group])])
                counts = counts + _soft_counts(mine, words[group], SOFTNESS * plan.step)
            rounded.append(_unrows(nearest + rows - jax.lax.stop_gradient(rows), array.shape, plan.axis))
            bits = bits - jnp.sum(counts * jnp.log2(jnp.maximum(counts / rows.size, LEAST_SHARE)))
        network: Trainable = eqx.combine(jax.tree.unflatten(treedef, rounded), static)
        return network, self.price * bits

    def quantised(self) -> list[QuantisedTensor]:
        """The arrays as they are rounded now. Codewords that no weight uses are left out."""
        arrays = [np.asarray(array, np.float32) for array in parameters(self.network)]
        return [
            _code(array, np.asarray(words, np.float64) / WORD_UNIT, plan)
            if plan.groups
            else QuantisedTensor(quantise(array, plan.step_index), UniformSteps(plan.step_index))
            for array, words, plan in zip(arrays, self.codewords, self.plans, strict=True)
        ]


def start_codebooks(
    network: Representation, step_indices: Sequence[int], level: float, n_groups: int = 1, axis: int = -1
) -> LearnedCodebooks:
    """Codebooks to learn from, for a network and the steps that `allocate_steps` gives its arrays at `level`.

    `axis`: that of output channels in weights: -1, but 0 in a SIREN.
    """
    plans, codewords = [], []
    for array, index in zip(map(np.asarray, parameters(network)), step_indices, strict=True):
        plan, words = Plan(index), np.zeros((0, 0))
        span = float(np.abs(array).max(initial=0.0)) / plan.step
        if array.ndim > 1 and array.size >= LEAST_ELEMENTS and 2 * span + 2 < MAX_CODEWORDS:
            rows = _rows(array.astype(np.float64), axis % array.ndim)
            groups = group_channels(rows, n_groups)
            plan = Plan(index, axis % array.ndim, tuple(groups.tolist()))
            grid = plan.step * np.arange(-round(span), round(span) + 1)
            words = np.stack([_lloyd(rows[groups == group], grid) for group in range(groups.max() + 1)])
        plans.append(plan)
        codewords.append(jnp.asarray(WORD_UNIT * words, jnp.float32))
    return LearnedCodebooks(network, codewords, tuple(plans), PRICE_SHARE * bit_price(level))


def group_channels(rows: Float[np.ndarray, "channels weights"], n_groups: int) -> Int[np.ndarray, " channels"]:
    """Numbers of groups of channels with alike distributions, from the narrowest to the widest: k-means (Lloyd, 1982)
    of their quantiles. Empty groups are left out.
    """
    places = np.linspace(0, rows.shape[1] - 1, min(QUANTILES, rows.shape[1])).astype(int)
    quantiles = np.sort(rows, axis=1)[:, places]
    by_spread = np.argsort(np.abs(rows).mean(axis=1), kind="stable")
    centres = np.stack([quantiles[part].mean(axis=0) for part in np.array_split(by_spread, min(n_groups, len(rows)))])
    for _ in range(KMEANS_ROUNDS):
        groups = np.argmin(((quantiles[:, None] - centres) ** 2).sum(axis=-1), axis=1)
        kept = np.unique(groups)
        centres = np.stack([quantiles[groups == group].mean(axis=0) for group in kept])
    spread = np.argsort(np.argsort(np.abs(centres).mean(axis=1), kind="stable"))
    numbers: Int[np.ndarray, " channels"] = spread[np.searchsorted(kept, groups)]
    return numbers


def sort_units(siren: Siren, n_groups: int) -> Siren:
    """The same function, with each hidden layer's units sorted by group, and within groups by spread: rows of its
    weight and its bias, and columns of the next layer's weight.
    """
    layers = [(np.asarray(weight), np.asarray(bias)) for weight, bias in siren.layers]
    for i in range(len(layers) - 1):
        (weight, bias), (following, last_bias) = layers[i], layers[i + 1]
        order = np.lexsort((np.abs(weight).mean(axis=1), group_channels(weight, n_groups)))
        layers[i], layers[i + 1] = (weight[order], bias[order]), (following[:, order], last_bias)
    sorted_siren: Siren = eqx.tree_at(lambda m: m.layers, siren, [(jnp.asarray(w), jnp.asarray(b)) for w, b in layers])
    return sorted_siren


def _lloyd(
    rows: Float[np.ndarray, "channels weights"], words: Float[np.ndarray, " words"]
) -> Float[np.ndarray, " words"]:
    """Codewords moved to the means of the weights nearest to them, a few times; unused ones stay."""
    weights = np.sort(rows.ravel())
    sums = np.concatenate([[0.0], np.cumsum(weights)])
    for _ in range(LLOYD_ROUNDS):
        ends = np.searchsorted(weights, (words[1:] + words[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(weights)]])
        counts = np.diff(ends)
        words = np.where(counts > 0, np.diff(sums[ends]) / np.maximum(counts, 1), words)
    return words


def nearest_places(values: Any, words: Any) -> Any:
    """For each of `values`, the place of the nearest of `words`, which increase; of two, the first. Arrays of NumPy or
    JAX: a search between the midpoints instead of a distance for each pair, which took most of a fit's time and memory.
    """
    search = jnp.searchsorted if isinstance(values, jax.Array) else np.searchsorted
    return search((words[1:] + words[:-1]) / 2, values)


def _soft_counts(
    rows: Float[Array, "channels weights"], words: Float[Array, " words"], softness: float
) -> Float[Array, " words"]:
    """How many weights each word has, with a weight shared out among the words near it; `words` increase."""
    places = nearest_places(rows, words)[..., None] + jnp.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    exist = (places >= 0) & (places < len(words))
    places = jnp.clip(places, 0, len(words) - 1)
    distances = jnp.where(exist, (rows[..., None] - words[places]) ** 2, jnp.inf)
    shares = jax.nn.softmax(-distances / (2 * softness**2), axis=-1)
    return jnp.zeros_like(words).at[places].add(shares)


def _code(array: Float[np.ndarray, "*shape"], words: Float[np.ndarray, "groups words"], plan: Plan) -> QuantisedTensor:
    """The integers and the codebooks of a tensor."""
    rows, groups = _rows(array.astype(np.float64), plan.axis), np.array(plan.groups)
    multiples = np.sort(np.rint(words / plan.word_step).astype(np.int64))
    books, integers = [], np.zeros(rows.shape, np.int64)
    for group, own in enumerate(multiples):
        mine = rows[groups == group]
        values = own[nearest_places(mine, own * plan.word_step)]
        used = np.unique(values)
        books.append(tuple(used.tolist()))
        integers[groups == group] = np.searchsorted(used, values) - np.argmin(np.abs(used))
    levels = Codebook(plan.word_step_index, plan.axis, tuple(books), plan.groups if len(books) > 1 else ())
    return QuantisedTensor(_unrows(integers, array.shape, plan.axis).astype(np.int32), levels)


def _rows(array: Any, axis: int) -> Any:
    """An array of NumPy or JAX with a row for each channel along `axis`."""
    return array.swapaxes(0, axis).reshape(array.shape[axis], -1)


def _unrows(rows: Any, shape: tuple[int, ...], axis: int) -> Any:
    """The array of that shape that `_rows` made rows of."""
    swapped = list(shape)
    swapped[0], swapped[axis] = shape[axis], shape[0]
    return rows.reshape(swapped).swapaxes(0, axis)
