"""Steps of Gaussian posteriors of latents, of patches side by side: what fits of learned priors are made of.

Means go down the natural gradient, logarithms of deviations with Adam; one sample of the latents a step.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from inrzip.architectures.network_weights import AnyLayout, AnyShared

from .descent import Moments, adam, best_changes

STEPS_AT_ONCE = 5
"""Of one call of the compiled program."""
MEAN_STEP, MEAN_MOMENTUM, MEAN_LIMIT = 0.25, 0.7, 2.0
"""Means go down the natural gradient: Newton's step where the network is linear and latents do not
meddle, but no more than so many deviations: where these are too large yet, the step would be, too."""
PEAK_DEVIATION = 0.06
DECAYS = (0.9, 0.97)
PRICE_STEPS, PRICE_RANGE = (0.85, 1.5), (0.25, 64.0)
"""Each block has a price of its own for a bit, so that it comes to take as many bits as an index has."""
LINEAR_PRICE_RANGE = (0.25, 1.2)
"""With one stage. Rare latents that are far out would be pulled in at a larger price: that is worse than a candidate
that is not very near.
"""
SLACK_BITS = 0.6
SMALLEST_DEVIATION = 1e-4
NEARER_STEPS = 12


class Problem(NamedTuple):
    """What is fitted: `targets` (patches, samples, channels), `inside` (patches, samples) 1 where there is signal,
    `spread` (patches, latents) of the prior, `block` (patches, latents): each latent's, `price` of a bit.
    """

    targets: Array
    inside: Array
    spread: Array
    block: Array
    price: Array


class State(NamedTuple):
    """`mean` and `narrow` (the logarithm of the deviation), in deviations of the prior. Where `done` is 1, the latent
    is `mean` and does not change. `speed`: of the mean.
    """

    mean: Array
    narrow: Array
    speed: Array
    moments: Moments
    done: Array
    prices: Array
    step: Array


def errors(problem: Problem, values: Array) -> Array:
    squares = jnp.mean((values - problem.targets) ** 2, -1) * problem.inside
    return squares.sum(1) / problem.inside.sum(1)


@functools.partial(jax.jit, static_argnums=0)
def error(layout: AnyLayout, shared: AnyShared, problem: Problem, state: State) -> Array:
    return errors(problem, layout.evaluate(shared, state.mean * problem.spread, jnp))


@functools.partial(jax.jit, static_argnums=0)
def nearer(layout: AnyLayout, shared: AnyShared, problem: Problem, state: State) -> Array:
    """Means that would be best under the prior if the network were linear where it is: by conjugate gradients, each
    latent in deviations of its posterior. Steps of a fit are of such deviations, too, and would take long.
    """
    n_grids = sum(layout.latent_counts()[: len(layout.grids)])  # what weights do is far from linear: they stay
    unit = jnp.exp(state.narrow) * (1 - state.done) * (jnp.arange(layout.n_latents) < n_grids)
    factor = jnp.sqrt(math.log(2) / (layout.channels * problem.inside.sum(1) * problem.price))
    weights = problem.inside[..., None] * factor[:, None, None]

    def errors(changes: Array) -> Array:
        """The network's values, such that the sum of their squares is the cost in nats."""
        latents = (state.mean + unit * changes) * problem.spread
        weighted: Array = (layout.evaluate(shared, latents, jnp) - problem.targets) * weights
        return weighted

    return state.mean + unit * best_changes(errors, state.mean, unit, NEARER_STEPS)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=3)
def advance(
    layout: AnyLayout, shared: AnyShared, problem: Problem, state: State, rate: Array, bits: Array, key: PRNGKeyArray
) -> State:
    """A few steps. `bits`: what blocks of each patch are to take; 0: the price of a bit is the same everywhere."""

    def cost(posterior: tuple[Array, Array], now: PRNGKeyArray, done: Array, prices: Array) -> Array:
        mean, narrow = posterior
        free = 1 - done
        values = layout.sampled(shared, mean * problem.spread, free * jnp.exp(narrow) * problem.spread, now)
        each = divergence(mean, jnp.exp(narrow), jnp.ones(())) * free
        by_latent = jnp.take_along_axis(prices, problem.block, 1)
        total = errors(problem, values) / problem.price + (by_latent * each).sum(1)
        return total.sum()

    def step(state: State, _: None) -> tuple[State, None]:
        now = jax.random.fold_in(key, state.step)
        gradient = jax.grad(cost)((state.mean, state.narrow), now, state.done, state.prices)
        return descended(state, gradient, rate), None

    state, _ = jax.lax.scan(step, state, None, length=STEPS_AT_ONCE)
    each = divergence(state.mean, jnp.exp(state.narrow), jnp.ones(())) * (1 - state.done)
    rows = jnp.arange(each.shape[0])[:, None]
    taken = jnp.zeros_like(state.prices).at[rows, problem.block].add(each)
    limits = LINEAR_PRICE_RANGE if len(layout.grids) == 1 else PRICE_RANGE
    return state._replace(prices=next_prices(state.prices, taken, bits[:, None], limits))


def descended(state: State, gradient: tuple[Array, Array], rate: Array) -> State:
    """A step of the latents that are not coded yet; `gradient` in bits, by means and logarithms of deviations."""
    free = 1 - state.done
    speed = free * faster(state.speed, gradient[0] * math.log(2), jnp.exp(state.narrow))
    move, moments = adam(gradient[1] * free, state.moments, state.step, DECAYS)
    return state._replace(
        mean=state.mean + jnp.sqrt(rate) * speed, narrow=state.narrow - rate * PEAK_DEVIATION * move * free,
        speed=speed, moments=moments, step=state.step + 1,
    )  # fmt: skip


def next_prices(prices: Array, taken: Array, bits: Array, limits: tuple[float, float]) -> Array:
    """Prices of a bit at which blocks come nearer to the `bits` that they are to take; those of 0 keep theirs."""
    too_much = jnp.clip(jnp.sqrt(taken / jnp.maximum(bits, 1.0)), *PRICE_STEPS)
    factor = jnp.where((taken > bits) | (taken < bits - SLACK_BITS), too_much, 1.0)
    return jnp.where(bits > 0, jnp.clip(prices * factor, *limits), prices)


def faster(speed: Array, gradient: Array, deviation: Array) -> Array:
    """The next speed of means; `gradient` in nats."""
    push = jnp.clip(deviation * gradient, -MEAN_LIMIT, MEAN_LIMIT)
    return MEAN_MOMENTUM * speed - MEAN_STEP * deviation * push


def divergence(mean: Array, deviation: Array, spread: Array) -> Array:
    """Bits from a prior around 0 to Gaussian posteriors, for each latent."""
    ratio = deviation / spread
    return ((mean / spread) ** 2 + ratio**2 - 1 - 2 * jnp.log(ratio)) / (2 * math.log(2))
