"""`train-prior --meta`: meta-learns a modulated network, as COIN++ (Dupont et al., TMLR 2022, section 3) and VC-INR do.

The latents of each patch are found by a few steps of gradient descent from 0, and the network learns by the gradient
through these steps (second order; Finn et al., 2017), and so do the rates of the steps, one for each latent (Meta-SGD;
Li et al., 2017). Nothing is kept of a patch from one round to the next. Unlike in the papers, the cost that is learned
from is that of rounded latents: squared error and lambda times bits.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from inrzip.architectures import modulated_network as network
from inrzip.architectures.modulated_network import Layout, Shared
from inrzip.priors.modulation_prior import step_size

from .descent import Moments, adam, adam_start
from .modulation_fit import bits_of, cheapest_class, lambda_of, push, rounded
from .modulation_training import BATCH, DECAYS, LAMBDA_POWER, STEPS, curvature, learning_rate, spreads_of

INNER_STEPS = 3
FIRST_RATE = 0.8
"""Of Newton's step, that steps begin with."""
MOST_RATE = 1.1
RATE_SPEED = 10.0
"""Learning rate of the logarithms of rates, beside that of the network."""
MOST_INFLUENCE = 3.0
"""Patches whose cost is larger than the median by more count as if it were not: inner steps can go astray."""
GENTLE = 0.3
"""Learning rates, beside those of networks that no descent goes through."""
MEMORY = 0.95
"""What the spreads of latents keep of before, after each batch."""
PROBES = 32


class MetaState(NamedTuple):
    """`rates`: logarithms of the steps' rates, (steps, latents); `limits`: the largest they may be. `spreads`: mean
    absolute values of latents, (classes, latents). `losses`: of each item, squared error of a sample, bits of a patch.
    """

    shared: Shared
    moments: Moments
    rates: Array
    limits: Array
    rate_moments: Moments
    spreads: Array
    losses: Array


def begin(
    layout: Layout, shared: Shared, latents: Float[ndarray, "items latents"], classes: Int[ndarray, " items"]
) -> MetaState:
    """Where training begins: rates are nearly those of Newton's steps for the network that it begins with."""
    stiffness = curvature(layout, shared, latents[:PROBES])
    rates = jnp.asarray(np.tile(np.log(FIRST_RATE / stiffness), (INNER_STEPS, 1)), jnp.float32)
    every = jax.tree.map(jnp.asarray, shared)
    spreads, limits = jnp.asarray(spreads_of(latents, classes)), rates + math.log(MOST_RATE / FIRST_RATE)
    return MetaState(every, adam_start(every), rates, limits, adam_start(rates), spreads, jnp.ones((len(latents), 2)))


def one_round(
    layout: Layout, state: MetaState, targets: ndarray, levels: ndarray, sizes: Shared, at: int, rounds: int, seed: int
) -> MetaState:
    """Every item once, in batches of random order."""
    order = np.random.default_rng((seed, at)).permutation(len(targets))
    size = min(BATCH, len(targets))
    deltas = np.array([step_size(step) for step in STEPS], np.float32)
    for i in range(len(targets) // size):
        index = np.sort(order[i * size : (i + 1) * size])
        state = _step(
            layout, state, index, targets[index], deltas[levels[index]], sizes,
            jnp.asarray([GENTLE * learning_rate(at, rounds), at * (len(targets) // size) + i], jnp.float32),
        )  # fmt: skip
    return state


def found_latents(layout: Layout, shared: Shared, rates: Array, targets: Array) -> Array:
    """The latents of patches, (patches, latents), after the inner steps."""

    def squares(latents: Array) -> Array:
        return jnp.sum((network.evaluate(layout, shared, latents, jnp) - targets) ** 2)

    latents = jnp.zeros((targets.shape[0], layout.n_latents))
    for step in range(INNER_STEPS):
        latents = latents - jnp.exp(rates[step]) * jax.grad(squares)(latents) / 2
    return latents


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _step(
    layout: Layout, state: MetaState, index: Array, targets: Array, deltas: Array, sizes: Shared, rates: Array
) -> MetaState:
    delta = deltas[:, None]
    weights = lambda_of(deltas)

    def cost(shared: Shared, own: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        latents = found_latents(layout, shared, own, targets)
        costs = jax.lax.map(lambda spread: bits_of(jax.lax.stop_gradient(latents), delta, spread).sum(1), state.spreads)
        groups = jnp.argmin(costs, 0)
        spread = state.spreads[groups]
        drawn = latents - jax.lax.stop_gradient(push(latents, delta, spread))
        used = drawn + jax.lax.stop_gradient(rounded(drawn, delta, jnp) - drawn)
        squares = jnp.sum((network.evaluate(layout, shared, used, jnp) - targets) ** 2, (1, 2))
        bits = bits_of(drawn, delta, spread).sum(1)
        costs_of_all = (squares + weights * bits) / weights**LAMBDA_POWER
        usual = MOST_INFLUENCE * jnp.median(jax.lax.stop_gradient(costs_of_all))
        total = jnp.sum(costs_of_all * jnp.minimum(1.0, usual / jax.lax.stop_gradient(costs_of_all)))
        return total, (jnp.stack([squares / targets[0].size, bits], 1), drawn, groups)

    (_, (losses, latents, groups)), (by_shared, by_rates) = jax.value_and_grad(cost, (0, 1), has_aux=True)(
        state.shared, state.rates
    )
    move, moments = adam(by_shared, state.moments, rates[1], DECAYS)
    shared = jax.tree.map(lambda p, m, size: p - rates[0] * size * m, state.shared, move, sizes)
    move, rate_moments = adam(by_rates, state.rate_moments, rates[1], DECAYS)
    mine = jax.nn.one_hot(groups, len(state.spreads), axis=0)
    seen = (mine @ jnp.abs(latents) + state.spreads) / (mine.sum(1, keepdims=True) + 1)
    inner = jnp.minimum(state.rates - RATE_SPEED * rates[0] * move, state.limits)
    return MetaState(
        shared, moments, inner, state.limits, rate_moments,
        jnp.maximum(MEMORY * state.spreads + (1 - MEMORY) * seen, 1e-4), state.losses.at[index].set(losses),
    )  # fmt: skip


def outcome(
    layout: Layout, state: MetaState, targets: ndarray
) -> tuple[Float[ndarray, "some latents"], Int[ndarray, " some"]]:
    """The latents of items, but for a few at the end, and the class that each takes the fewest bits in."""
    find, size = jax.jit(functools.partial(found_latents, layout)), min(BATCH, len(targets))
    parts = [
        np.asarray(find(state.shared, state.rates, targets[first : first + size]))
        for first in range(0, len(targets) - size + 1, size)
    ]
    latents, middle = np.concatenate(parts), np.float32(step_size(STEPS[len(STEPS) // 2]))
    return latents, cheapest_class(jnp.asarray(latents), middle, np.asarray(state.spreads))
