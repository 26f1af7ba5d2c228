"""`train-prior --start`: goes on from a prior that was learned before, perhaps from other signals.

The network is the prior's, and the posteriors of the new patches begin where they would be best for it if it were
linear. Training then is as the second half of one of twice as many rounds: what is known already is only refined.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from inrzip.architectures.combiner_network import Layout, Shared
from inrzip.codecs.relative_entropy import SCALES_PER_OCTAVE
from inrzip.priors import latent_prior
from inrzip.priors.latent_prior import LatentPrior

from . import posterior_steps
from .descent import adam_start
from .errors import InrzipError
from .posterior_steps import Problem
from .prior_training import BATCH, GAINS, State, weights_of, with_spreads

PACKAGE = "package"
"""Names the prior that comes with inrzip."""


class Named(NamedTuple):
    """A prior, and files' name for it."""

    name: int
    prior: LatentPrior


def prior_named(name: str, layout: Layout, kind: str) -> Named:
    """The prior to go on from, by name or file. Raises InrzipError if another network is trained."""
    own, prior = latent_prior.named(None if name == PACKAGE else name, kind)
    if not isinstance(prior, LatentPrior) or prior.layout != layout or len(prior.weights) != len(weights_of(layout)):
        raise InrzipError(f"prior {name} has another network than the one that would be trained")
    return Named(own, prior)


def begin_with(
    prior: LatentPrior,
    layout: Layout,
    targets: Float[ndarray, "count points channels"],
    levels: Int[ndarray, " count"],
) -> State:
    """Where training begins that goes on from `prior`; `targets` as `prior_training` has them, larger by its gain."""
    shared = jax.tree.map(jnp.asarray, larger(prior, layout))
    spread, narrow = prior_tables(prior)
    means, deviations = [], []
    for first in range(0, len(targets), BATCH):
        now = slice(first, first + BATCH)
        mean = _means(layout, shared, targets[now], levels[now], spread, narrow)
        means.append(mean * spread[levels[now]])
        deviations.append(np.log(spread[levels[now]]) + narrow[levels[now]])
    posterior = (
        jnp.asarray(np.concatenate(means), jnp.float32), jnp.asarray(np.concatenate(deviations), jnp.float32)
    )  # fmt: skip
    state = State(
        shared, adam_start(shared), jnp.asarray(spread, jnp.float32), posterior, jnp.zeros_like(posterior[0]),
        adam_start(posterior[1]), jnp.ones((len(targets), 2)),
    )  # fmt: skip
    return with_spreads(layout, state, levels)


def larger(prior: LatentPrior, layout: Layout) -> Shared:
    """The arrays of a prior, for signals that are larger by the gain of training (see `prior_training.finished`)."""
    shared = prior.shared
    assert isinstance(shared, Shared)
    gain = GAINS[prior.kind]
    return shared._replace(
        straight=tuple(array * gain for array in shared.straight),
        bases=(*shared.bases[:-1], shared.bases[-1] * gain),
        maps=(*shared.maps[:-1], shared.maps[-1] * gain) if layout.ranks[-1] else shared.maps,
    )


def prior_tables(prior: LatentPrior) -> tuple[Float[ndarray, "levels latents"], Float[ndarray, "levels latents"]]:
    """Spreads of a prior, and the logarithms of how much narrower usual posteriors are."""
    spread = np.stack([prior.spread(level) for level in range(len(prior.weights))])
    return spread, prior.narrowing / SCALES_PER_OCTAVE * np.log(2)


def _means(
    layout: Layout, shared: Shared, targets: ndarray, levels: ndarray, spread: ndarray, narrow: ndarray
) -> Float[ndarray, "items latents"]:
    """In deviations of the prior. The last batch is filled up, so that one program serves all."""
    n = len(targets)
    rows = np.minimum(np.arange(BATCH), n - 1)
    own, points = levels[rows], targets.shape[1]
    zeros = jnp.zeros((BATCH, layout.n_latents))
    problem = Problem(
        jnp.asarray(targets[rows]), jnp.ones((BATCH, points)), jnp.asarray(spread[own], jnp.float32),
        jnp.zeros((BATCH, layout.n_latents), jnp.int32), jnp.asarray(weights_of(layout)[own] / points, jnp.float32),
    )  # fmt: skip
    start = posterior_steps.State(
        zeros, jnp.asarray(narrow[own], jnp.float32), zeros, adam_start(zeros), zeros, jnp.ones((BATCH, 1)),
        jnp.int32(0),
    )  # fmt: skip
    return np.asarray(posterior_steps.nearer(layout, shared, problem, start))[:n]
