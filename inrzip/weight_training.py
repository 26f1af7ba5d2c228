"""`train-prior --recipe siren` and other networks of positions: learns what their weights are usually like.

As in COMBINER (Guo et al., NeurIPS 2023): each training patch has a Gaussian posterior of all weights, and after each
round the prior becomes the one that all posteriors are nearest to, its means as its spreads (EM). Everything else is as
in `inrzip.prior_training`. With such a prior the recipe `combiner` codes signals as weights of that network.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from inrzip.architectures import network_weights
from inrzip.architectures.base import Grid
from inrzip.architectures.network_weights import Usual, WeightLayout

from . import prior_training
from .descent import adam_start
from .errors import InrzipError
from .prior_training import GAINS, LAMBDAS, LAYOUTS, State, Way, classes_of, finished, with_spreads
from .recipes import RECIPES

WEIGHTS = {"image": 1000, "audio": 700, "protein": 500, "video": 1500, "volume": 1000}
"""Of the networks that are trained, about."""
FIRST_MEAN, FIRST_DEVIATION = 0.02, 0.05
"""Of latents, as a part of the root mean square of the weights that they are added to."""


def way_of(recipe: str, kind: str) -> Way:
    """How priors of this recipe's weights are learned. Raises InrzipError if they cannot be."""
    if kind not in LAYOUTS:
        raise InrzipError(f"no priors are trained for {kind}; there are {', '.join(LAYOUTS)}")
    if recipe not in RECIPES:
        raise InrzipError(f"recipe {recipe!r} does not exist; there are {', '.join(RECIPES)}")
    architecture, usual = RECIPES[recipe].architecture, LAYOUTS[kind]
    grid = Grid(usual.patch, usual.channels)
    try:
        config = architecture.solve(grid, WEIGHTS[kind])
        layout = WeightLayout(config, usual.axes, usual.channels, usual.side, GAINS[kind])
        layout.check()
        zeros = np.zeros((1, layout.n_latents), np.float32)
        jax.eval_shape(lambda z: layout.evaluate(Usual(jnp.zeros(layout.n_latents)), z, jnp), zeros)
    except (ValueError, TypeError) as error:
        raise InrzipError(f"weights of {recipe} cannot be latents of {kind}; take those of siren, say") from error
    return Way(recipe, {kind: layout}, {}, 1, len(LAMBDAS), classes_of, levels_of, begin, one_round, finished)


def levels_of(layout: WeightLayout, targets: Float[ndarray, "count points channels"]) -> Int[ndarray, " count"]:
    """The level of each item: lambdas by turns, and as many of each class, the calm first."""
    activity, classes = targets.var(1).sum(-1), classes_of(layout)
    quality = np.arange(len(targets)) % len(LAMBDAS)
    levels = np.zeros(len(targets), np.int64)
    for i in range(len(LAMBDAS)):
        mine = np.flatnonzero(quality == i)
        levels[mine] = i * classes + np.argsort(np.argsort(activity[mine])) * classes // len(mine)
    return levels


def begin(
    layout: WeightLayout, targets: Float[ndarray, "count points channels"], levels: Int[ndarray, " count"], seed: int
) -> State:
    """Where training begins: the network as it is drawn, and posteriors near it."""
    shared = network_weights.start(layout, seed)
    sizes, shape = network_weights.sizes(layout, shared), (len(targets), layout.n_latents)
    drawn = np.random.default_rng(seed).normal(size=shape) * FIRST_MEAN * sizes
    posterior = (
        jnp.asarray(drawn, jnp.float32),
        jnp.asarray(np.broadcast_to(np.log(FIRST_DEVIATION * sizes), shape), jnp.float32),
    )
    every = jax.tree.map(jnp.asarray, shared)
    spreads = jnp.ones((len(LAMBDAS) * classes_of(layout), layout.n_latents))
    state = State(
        every, adam_start(every), spreads, posterior, jnp.zeros(shape), adam_start(posterior[1]),
        jnp.ones((len(targets), 2)),
    )  # fmt: skip
    return with_spreads(layout, state, levels)


def one_round(
    layout: WeightLayout, state: State, targets: ndarray, levels: ndarray, at: int, rounds: int, seed: int
) -> State:
    """Every item once, and then the prior: first its means, so that latents are around 0, and then its spreads. Taking
    the middle of latents to the network's weights changes neither what networks are nor how latents are spread, so that
    is done in the last rounds, too.
    """
    state = prior_training.one_round(layout, state, targets, levels, at, rounds, seed)
    centre: Array = state.posterior[0].mean(0)
    centred = state._replace(
        shared=state.shared._replace(weights=state.shared.weights + centre),
        posterior=(state.posterior[0] - centre, state.posterior[1]),
    )
    return with_spreads(layout, centred, levels)
