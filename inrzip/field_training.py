"""`train-prior --large`: learns a prior of fields of patches (`inrzip.architectures.combiner_field`).

As in `inrzip.prior_training`, but what is learned from are squares of several groups of patches each, whose latents
are those of patches, of groups and of the whole. Spreads are those of kinds of latents, not of single ones; and the
class of a patch is learned, too: after each round it becomes the one that the patch costs least with.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy import ndarray

from inrzip.architectures import combiner_field as fields
from inrzip.architectures import combiner_network as network
from inrzip.architectures.combiner_field import Field
from inrzip.architectures.combiner_network import Layout, Shared
from inrzip.codecs.relative_entropy import scale_values
from inrzip.priors.field_prior import UNITS_PER_BIT, FieldPrior
from inrzip.priors.latent_prior import eighths

from . import prior_training
from .descent import Moments, adam_start
from .posterior_steps import divergence
from .prior_training import (
    FIRST_DEVIATION,
    FIRST_MEAN,
    FIRST_OF_WEIGHT,
    LAMBDA_POWER,
    LEAST_SPREAD,
    STATISTICS_SHARE,
    TrainReport,
    Way,
    moved,
    rates_at,
    scaled_start,
)
from .progress import ProgressCallback

LAYOUTS = {
    "image": Layout(2, 3, 32, 2, (12, 9, 9, 9, 9), (16, 16, 16, 12, 8), 3, 16, (24, 24, 12)),
    "audio": Layout(1, 1, 512, 4, (4, 3, 3, 3), (24, 16, 16, 12), 8, 16, (24, 24, 12)),
}
LAMBDAS = (3.2e-2, 1e-2, 3.2e-3, 1e-3)
CLASSES = 6
GROUP, CROP = 4, 8
"""Patches along an axis: of a group, and of what is learned from."""
BATCH = 4
BITS = 16
LEAST_BITS = 0.08
"""Latents that usually take less are not coded."""
LEAST_OF_CLASS = 8
"""A class of fewer patches keeps its spreads."""


class State(NamedTuple):
    """`spreads`: (levels, kinds of a patch), and of groups and the signal (lambdas, 2, weights). `posterior`: means and
    logarithms of deviations, (items, latents of a field). `classes`: (items, patches).
    """

    shared: Shared
    moments: Moments
    spreads: Array
    above: Array
    posterior: tuple[Array, Array]
    speeds: Array  # of the means
    moments_own: Moments  # of the logarithms of deviations
    classes: Array
    losses: Array  # of each item: squared error and bits per sample point, as last seen


def train_field_prior(
    folder: Path | str,
    output: Path | str,
    kind: str = "image",
    *,
    patches: int = 8192,
    rounds: int = 100,
    seed: int = 0,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainReport:
    """Learns a prior for signals of many patches; everything else is as of `train_prior`."""
    return prior_training.train(WAY, folder, output, kind, patches, rounds, seed, overwrite, progress, stop)


def field_of(layout: Layout) -> Field:
    """What is learned from."""
    return Field((CROP,) * layout.axes, GROUP)


def levels_of(layout: Layout, targets: Float[ndarray, "count points channels"]) -> Int[ndarray, " count"]:
    """The lambda of each item: by turns."""
    return np.arange(len(targets)) % len(LAMBDAS)


def begin(
    layout: Layout, targets: Float[ndarray, "count points channels"], levels: Int[ndarray, " count"], seed: int
) -> State:
    """Where training begins: posteriors as they are best for the network that it begins with, which is linear."""
    field, items = field_of(layout), len(targets)
    shared, means, narrows = scaled_start(layout, CROP, targets, np.array(LAMBDAS)[levels], seed)
    grids = [
        (_of_patches(layout, m, shape), _of_patches(layout, d, shape))
        for m, d, shape in zip(means, narrows, layout.grid_shapes(), strict=True)
    ]
    counts = layout.latent_counts()[len(means) :]
    plain = np.repeat([0.0 if rank else 1.0 for rank in layout.ranks], counts)
    rng, n = np.random.default_rng(seed), field.n_patches
    first, deviation = (np.where(plain, FIRST_OF_WEIGHT, usual) for usual in (FIRST_MEAN, FIRST_DEVIATION))
    rows = [(items, n, len(plain)), (items, field.n_groups + 1, len(plain))]
    drawn = [(rng.normal(0, 1, shape) * first, np.broadcast_to(np.log(deviation), shape)) for shape in rows]
    joined = [
        np.concatenate(
            [
                np.concatenate([*[grid[i] for grid in grids], drawn[0][i]], -1).reshape(items, -1),
                drawn[1][i].reshape(items, -1),
            ],
            1,
        ).astype(np.float32)
        for i in range(2)
    ]
    finest = grids[-1][0]
    activity = np.log(np.mean(np.square(finest), -1) + 1e-8)
    classes = np.zeros((items, n), np.int64)
    for i in range(len(LAMBDAS)):
        rank = np.argsort(np.argsort(activity[levels == i].ravel()))
        classes[levels == i] = (rank * CLASSES // len(rank)).reshape(-1, n)
    posterior = jnp.asarray(joined[0]), jnp.asarray(joined[1])
    shared = jax.tree.map(jnp.asarray, shared)
    state = State(
        shared, adam_start(shared), jnp.ones((len(LAMBDAS) * CLASSES, fields.n_kinds(layout))),
        jnp.ones((len(LAMBDAS), 2, len(plain))), posterior, jnp.zeros_like(posterior[0]), adam_start(posterior[1]),
        jnp.asarray(classes), jnp.ones((items, 2)),
    )  # fmt: skip
    return _with_spreads(layout, state, levels, choose=False)


def _of_patches(layout: Layout, whole: Float[ndarray, "items cells channels"], shape: tuple[int, ...]) -> ndarray:
    """The latents of each patch, (items, patches, latents), of the grid of all patches of a crop."""
    sides = [CROP, shape[0]] * layout.axes
    split = whole.reshape(len(whole), *sides, shape[-1])
    order = [0, *range(1, 2 * layout.axes, 2), *range(2, 2 * layout.axes + 1, 2), 2 * layout.axes + 1]
    return split.transpose(order).reshape(len(whole), CROP**layout.axes, -1)


def one_round(
    layout: Layout, state: State, targets: ndarray, levels: ndarray, at: int, rounds: int, seed: int
) -> State:
    """Every item once, in batches of random order, and then the spreads."""
    order = np.random.default_rng((seed, at)).permutation(len(targets))
    key = jax.random.fold_in(jax.random.key(seed), at)
    rates = rates_at(at, rounds)
    size = min(BATCH, len(targets))
    for i in range(len(targets) // size):
        index = np.sort(order[i * size : (i + 1) * size])
        state = _step(
            layout, state, index, targets[index], levels[index], jnp.asarray(rates),
            jnp.asarray([at * (len(targets) // size) + i, at]), jax.random.fold_in(key, i),
        )  # fmt: skip
    return _with_spreads(layout, state, levels, choose=at / rounds < 1 - STATISTICS_SHARE)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _step(
    layout: Layout, state: State, index: Array, targets: Array, levels: Array, rates: Array,
    steps: Array, key: PRNGKeyArray,
) -> State:  # fmt: skip
    field = field_of(layout)
    mine = tuple(part[index] for part in state.posterior)
    noise = jax.random.normal(key, mine[0].shape)
    own = state.spreads[levels[:, None] * CLASSES + state.classes[index]][:, :, fields.kinds_of_latents(layout)]
    above = state.above[levels]
    groups = jnp.repeat(above[:, :1], field.n_groups, 1)
    spreads = jnp.concatenate([part.reshape(len(index), -1) for part in (own, groups, above[:, 1:])], 1)
    weights = jnp.asarray(LAMBDAS, jnp.float32)[levels]
    wanted = fields.cut_evenly(targets, field, layout)

    def cost(shared: Shared, posterior: tuple[Array, Array]) -> tuple[Array, Array]:
        mean, log_deviation = posterior
        each = fields.combined(layout, field, mean + noise * jnp.exp(log_deviation), jnp)
        values = fields.evaluate(layout, shared, field.counts, each, jnp)
        errors = jnp.mean((values - wanted) ** 2, (1, 2, 3))
        bits = divergence(mean, jnp.exp(log_deviation), spreads).sum(1) / targets.shape[1]
        costs = (errors + weights * bits) / weights**LAMBDA_POWER
        return costs.sum(), jnp.stack([errors, bits], 1)

    (_, losses), gradients = jax.value_and_grad(cost, (0, 1), has_aux=True)(state.shared, mine)
    return moved(state, index, gradients, weights, targets.shape[1], losses, rates, steps)


def _means(
    layout: Layout, values: Float[ndarray, "items latents"]
) -> tuple[Float[ndarray, "items patches kinds"], Float[ndarray, "items groups weights"]]:
    """Of each patch and kind over the places where there are latents of that kind; and what groups and the signal
    have.
    """
    n, items = field_of(layout).n_patches, len(values)
    own = values[:, : n * layout.n_latents].reshape(items, n, -1)
    above = values[:, n * layout.n_latents :].reshape(items, -1, fields.n_weights(layout))
    parts = network.split(layout, own)
    grids = [
        part.reshape(items, n, -1, shape[-1]).mean(2) for part, shape in zip(parts, layout.grid_shapes(), strict=False)
    ]
    return np.concatenate([*grids, *parts[len(layout.grids) :]], -1), above


def _with_spreads(layout: Layout, state: State, levels: Int[ndarray, " items"], choose: bool) -> State:
    """With the prior under which the posteriors of each level cost least. `choose`: classes are chosen anew."""
    mean, log_deviation = (np.asarray(part) for part in state.posterior)
    own, above = _means(layout, mean**2 + np.exp(2 * log_deviation))
    classes, spreads, higher = np.asarray(state.classes).copy(), np.array(state.spreads), np.array(state.above)
    number = np.bincount(fields.kinds_of_latents(layout))
    for i in range(len(LAMBDAS)):
        mine, rows = own[levels == i], slice(i * CLASSES, (i + 1) * CLASSES)
        if choose:
            square = np.square(spreads[rows])
            costs = (mine * number) @ (0.5 / square).T + (number * np.log(square) / 2).sum(1)
            classes[levels == i] = np.argmin(costs, -1)
        for k in range(CLASSES):
            patches = mine[classes[levels == i] == k]
            if len(patches) >= LEAST_OF_CLASS:
                spreads[i * CLASSES + k] = np.maximum(np.sqrt(patches.mean(0)), LEAST_SPREAD)
        for j, part in enumerate((above[levels == i, :-1], above[levels == i, -1:])):
            higher[i, j] = np.maximum(np.sqrt(part.mean((0, 1))), LEAST_SPREAD)
    return state._replace(spreads=jnp.asarray(spreads), above=jnp.asarray(higher), classes=jnp.asarray(classes))


def finished(layout: Layout, kind: str, state: State, levels: Int[ndarray, " items"]) -> FieldPrior:
    """The prior, rounded as files hold it."""
    mean, log_deviation = (np.asarray(part) for part in state.posterior)
    squares, logs = _means(layout, mean**2 + np.exp(2 * log_deviation)), _means(layout, log_deviation)
    higher = np.repeat(np.asarray(state.above).reshape(len(LAMBDAS), -1), CLASSES, 0)
    scales = eighths(np.concatenate([np.asarray(state.spreads), higher], 1))
    spread = scale_values(scales.astype(np.int64))
    classes = np.asarray(state.classes)
    narrowing, usual = np.zeros(scales.shape), np.zeros(scales.shape)
    for level in range(len(scales)):
        i, k = divmod(level, CLASSES)
        chosen = classes[levels == i] == k
        if not chosen.any():
            continue
        energy, narrow = (
            np.concatenate(
                [
                    own[levels == i][chosen].mean(0),
                    above[levels == i, :-1].mean((0, 1)),
                    above[levels == i, -1:].mean((0, 1)),
                ]
            )
            for own, above in (squares, logs)
        )
        narrowing[level] = narrow - np.log(spread[level])
        usual[level] = ((energy / spread[level] ** 2 - 1) / 2 - narrowing[level]) / math.log(2)
    coded = np.where(usual >= LEAST_BITS, np.rint(UNITS_PER_BIT * usual), 0)
    shared: Shared = jax.tree.map(lambda a: np.asarray(a).astype(np.float16).astype(np.float32), state.shared)
    return FieldPrior(
        layout, shared, kind, LAMBDAS, CLASSES, GROUP, scales.astype(np.int64),
        eighths(np.exp(narrowing)).astype(np.int64), coded.astype(np.int64), BITS,
    )  # fmt: skip


WAY = Way("field", LAYOUTS, {}, CROP, len(LAMBDAS), lambda layout: 1, levels_of, begin, one_round, finished)
