"""Fitting latents and networks to a picture: gradient descent on squared error + price * bits.

Latents are rounded smoothly and disturbed by noise while fitting (Agustsson and Theis, 2020; Kim et al., C3, 2024;
Blard et al., Cool-Chic 5), more and more like true rounding. A last phase fits the networks only, rounded as they will
be in the file, to latents that are rounded for good.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from inrzip.architectures.grid_layout import Networks
from inrzip.architectures.grid_training import Atlas, Layout, cost_and_gradients, soft_round

from .descent import Moments, Soap, adam, adam_start, soap, soap_start, turned

GAIN = 16.0
"""What is fitted is a latent over this: Adam's steps are then of a sensible size for latents and networks alike."""
PEAK_LATENTS = 1e-2
PEAK_NETWORKS, PEAK_FROM = 6e-3, 400
"""The peak of fits of so many steps and more; shorter ones must go more slowly."""
CLIP_NETWORKS = 0.1
TEMPERATURE = (0.35, 0.08)
NOISE = (0.22, 0.15)
"""From the first step to the last."""
LAST_PHASE = 0.1
"""Steps of the last phase, as a part of the others."""
PEAK_LAST = 3e-4
STEPS_AT_ONCE = 20
LEAST_STEP = 1e-12
DECAYS_LATENTS, DECAYS_NETWORKS = (0.9, 0.999), (0.95, 0.95)


_barrier: Any = lax.optimization_barrier


class State(NamedTuple):
    """Everything that changes from step to step. `change`: what is added to the prior's networks. `step` counts from
    the beginning of the schedule, `age` from that of the moments.
    """

    change: Networks
    latents: Atlas
    change_moments: Soap
    latent_moments: Moments
    step: Array
    age: Array


class Rounding(NamedTuple):
    """Whether latents are rounded for good, and the steps that changes are rounded to: arrays of 0 for none."""

    latents: Array
    sizes: Networks


class Price(NamedTuple):
    """What bits cost in squared error per sample: `weight` is lambda, MSE + lambda * bits per pixel; `step` is what a
    latent of 1 stands for.
    """

    weight: Array
    step: Array


class Problem(NamedTuple):
    """What is fitted. `prior`: networks that changes are added to; `penalty`: bits for moving a parameter by 1."""

    prior: Networks
    penalty: Networks
    target: Float[Array, "channels rows columns"]
    price: Price


def network_peak(n_steps: int) -> float:
    """The largest learning rate of networks in a fit of so many steps."""
    return PEAK_NETWORKS * min(1.0, math.sqrt(n_steps / PEAK_FROM))


@jax.jit
def start(prior: Networks, latents: Atlas) -> State:
    """The state before the first step: networks as the prior's, `latents` (in whole units) as given."""
    change, scaled = jax.tree.map(jnp.zeros_like, prior), latents / GAIN
    return State(change, scaled, soap_start(change), adam_start(scaled), jnp.int32(0), jnp.int32(0))


def rounded(state: State) -> Atlas:
    """The latents as whole numbers."""
    return jnp.round(state.latents * GAIN)


def _in_steps(change: Array, size: Array) -> Array:
    """Changes rounded to steps, with the gradient of the identity."""
    safe = jnp.maximum(size, LEAST_STEP)
    rounded = jnp.where(size > 0, jnp.round(change / safe) * safe, change)
    return change + lax.stop_gradient(rounded - change)


def smooth(latents: Atlas, mask: Atlas, key: Array, done: Float[Array, ""]) -> Atlas:
    """Latents (in whole units) as they are while fitting, `done` (0 to 1) through it: nearly rounded, and disturbed."""
    temperature, sigma = (first + (last - first) * done for first, last in (TEMPERATURE, NOISE))
    noise = sigma * jax.random.normal(key, mask.shape)
    return mask * soft_round(soft_round(latents, temperature) + noise, temperature)


def run(
    layout: Layout, problem: Problem, state: State, n_steps: int, rounding: Rounding, rates: tuple[float, float]
) -> tuple[State, Float[Array, " 2"]]:
    """`STEPS_AT_ONCE` steps of a fit of `n_steps`; `rates`: the peaks of latents and of networks. Returns the mean
    squared error and bits per pixel of the last one. The state's arrays are given away.
    """
    state = state._replace(change_moments=turned(state.change_moments))
    found: tuple[State, Array] = _run(layout, problem, state, jnp.float32(n_steps), rounding, jnp.array(rates))
    return found


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _run(
    layout: Layout, problem: Problem, state: State, n_steps: Array, rounding: Rounding, rates: Array
) -> tuple[State, Array]:
    prior, penalty, target, price = problem
    mask = jnp.asarray(layout.mask)
    n_pixels = layout.shape[0] * layout.shape[1]
    per_square = 1 / (len(target) * n_pixels)
    bit = price.weight / n_pixels / per_square

    def one(state: State, _: None) -> tuple[State, Array]:
        networks = jax.tree.map(lambda mean, c, size: mean + _in_steps(c, size), prior, state.change, rounding.sizes)
        done = jnp.minimum(state.step / n_steps, 1.0)
        last = rounding.latents
        key = jax.random.fold_in(jax.random.key(0), state.step)
        smoothed, back = jax.vjp(lambda y: smooth(y * GAIN, mask, key, done), state.latents)
        used = _barrier(jnp.where(last, mask * jnp.round(state.latents * GAIN), smoothed))
        cost, by_networks, by_used = cost_and_gradients(layout, networks, used, target, price.step, bit)
        (by_latents,) = back(by_used)

        scale = per_square
        by_change = jax.tree.map(lambda g: g * scale, by_networks)
        norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(by_change)))
        shrink = CLIP_NETWORKS / jnp.maximum(norm, CLIP_NETWORKS)
        by_change = jax.tree.map(
            lambda g, c, p: g * shrink + p * price.weight / n_pixels * jnp.tanh(c * 1e3),
            by_change,
            state.change,
            penalty,
        )
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * done))
        move, change_moments = soap(by_change, state.change_moments, state.age, DECAYS_NETWORKS)
        change = jax.tree.map(lambda c, m: c - rates[1] * cosine * m, state.change, move)
        step, latent_moments = adam(by_latents * scale, state.latent_moments, state.age, DECAYS_LATENTS)
        latents = state.latents - jnp.where(last, 0.0, rates[0] * cosine) * step
        found = jnp.stack([cost.squares * per_square, cost.bits / n_pixels])
        return State(change, latents, change_moments, latent_moments, state.step + 1, state.age + 1), found

    state, found = lax.scan(one, state, None, length=STEPS_AT_ONCE)
    return state, found[-1]
