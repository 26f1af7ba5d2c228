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
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from inrzip.architectures.grid_kernels import Kernels, kernels
from inrzip.architectures.grid_layout import Networks
from inrzip.architectures.grid_training import Atlas, Layout, cost_and_gradients, soft_round

from .descent import EPSILON, Moments, Soap, adam, adam_start, soap, soap_start, turned

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


def _disturbance(done: Any) -> tuple[Any, Any]:
    """The temperature of rounding and the deviation of noise, `done` (0 to 1) through a fit."""
    temperature, sigma = (first + (last - first) * done for first, last in (TEMPERATURE, NOISE))
    return temperature, sigma


def smooth(latents: Atlas, mask: Atlas, key: Array, done: Float[Array, ""]) -> Atlas:
    """Latents (in whole units) as they are while fitting, `done` (0 to 1) through it: nearly rounded, and disturbed."""
    temperature, sigma = _disturbance(done)
    noise = sigma * jax.random.normal(key, mask.shape)
    return mask * soft_round(soft_round(latents, temperature) + noise, temperature)


class Scales(NamedTuple):
    """What makes costs of all samples and pixels into mean ones: of a squared error, and of a bit, which is worth so
    much mean squared error.
    """

    square: Array
    bit: Array


def _scales(problem: Problem) -> Scales:
    n_pixels = problem.target.shape[1] * problem.target.shape[2]
    return Scales(jnp.float32(1 / problem.target.size), problem.price.weight / n_pixels)


def _used(prior: Networks, change: Networks, sizes: Networks) -> Networks:
    networks: Networks = jax.tree.map(lambda mean, c, size: mean + _in_steps(c, size), prior, change, sizes)
    return networks


def _moved(
    change: Networks, moments: Soap, by_networks: Networks, age: Array, rate: Array, penalty: Networks, scales: Scales
) -> tuple[Networks, Soap]:
    """A step of the networks. A change is also drawn to zero, where it costs no bits."""
    by_change = jax.tree.map(lambda g: g * scales.square, by_networks)
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(by_change)))
    shrink = CLIP_NETWORKS / jnp.maximum(norm, CLIP_NETWORKS)
    by_change = jax.tree.map(
        lambda g, c, p: g * shrink + p * scales.bit * jnp.tanh(c * 1e3), by_change, change, penalty
    )
    move, moments = soap(by_change, moments, age, DECAYS_NETWORKS)
    return jax.tree.map(lambda c, m: c - rate * m, change, move), moments


_used_flat = jax.jit(lambda prior, change, sizes: _flat(_used(prior, change, sizes)))


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _networks_step(
    change: Networks,
    moments: Soap,
    by_networks: Float[Array, " parameters"],
    age: Array,
    rate: Array,
    penalty: Networks,
    scales: Scales,
    prior: Networks,
    sizes: Networks,
) -> tuple[Networks, Soap, Float[Array, " parameters"]]:
    """`_moved`, and the networks that are used next, one parameter after the other."""
    change, moments = _moved(change, moments, _unflat(by_networks, change), age, rate, penalty, scales)
    return change, moments, _flat(_used(prior, change, sizes))


def _flat(networks: Networks) -> Float[Array, " parameters"]:
    return jnp.concatenate([array.ravel() for array in jax.tree.leaves(networks)])


def _unflat(values: Float[Array, " parameters"], like: Networks) -> Networks:
    leaves, tree = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    parts = [part.reshape(leaf.shape) for part, leaf in zip(jnp.split(values, ends), leaves, strict=True)]
    networks: Networks = jax.tree.unflatten(tree, parts)
    return networks


def run(
    layout: Layout, problem: Problem, state: State, n_steps: int, rounding: Rounding, rates: tuple[float, float]
) -> tuple[State, Float[Array, " 2"]]:
    """`STEPS_AT_ONCE` steps of a fit of `n_steps`; `rates`: the peaks of latents and of networks. Returns the mean
    squared error and bits per pixel of the last one. The state's arrays are given away.
    """
    state = state._replace(change_moments=turned(state.change_moments))
    compiled = kernels(layout, len(problem.target))
    if compiled is not None:
        return _run_compiled(compiled, layout, problem, state, n_steps, rounding, rates)
    found: tuple[State, Array] = _run(layout, problem, state, jnp.float32(n_steps), rounding, jnp.array(rates))
    return found


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _run(
    layout: Layout, problem: Problem, state: State, n_steps: Array, rounding: Rounding, rates: Array
) -> tuple[State, Array]:
    mask = jnp.asarray(layout.mask)
    scales = _scales(problem)

    def one(state: State, _: None) -> tuple[State, Array]:
        networks = _used(problem.prior, state.change, rounding.sizes)
        done = jnp.minimum(state.step / n_steps, 1.0)
        last = rounding.latents
        key = jax.random.fold_in(jax.random.key(0), state.step)
        smoothed, back = jax.vjp(lambda y: smooth(y * GAIN, mask, key, done), state.latents)
        used = _barrier(jnp.where(last, mask * jnp.round(state.latents * GAIN), smoothed))
        price = scales.bit / scales.square
        cost, by_networks, by_used = cost_and_gradients(
            layout, networks, used, problem.target, problem.price.step, price
        )
        (by_latents,) = back(by_used)
        falling = 0.5 * (1 + jnp.cos(jnp.pi * done))
        change, change_moments = _moved(
            state.change, state.change_moments, by_networks, state.age, rates[1] * falling, problem.penalty, scales
        )
        step, latent_moments = adam(by_latents * scales.square, state.latent_moments, state.age, DECAYS_LATENTS)
        latents = state.latents - jnp.where(last, 0.0, rates[0] * falling) * step
        found = jnp.stack([cost.squares * scales.square, cost.bits * scales.bit / problem.price.weight])
        return State(change, latents, change_moments, latent_moments, state.step + 1, state.age + 1), found

    state, found = lax.scan(one, state, None, length=STEPS_AT_ONCE)
    return state, found[-1]


def _run_compiled(
    compiled: Kernels,
    layout: Layout,
    problem: Problem,
    state: State,
    n_steps: int,
    rounding: Rounding,
    rates: tuple[float, float],
) -> tuple[State, Float[Array, " 2"]]:
    """As `_run`. What has the size of the picture is done by compiled code, in place; the networks are left to JAX."""
    target, last, scales = np.asarray(problem.target), bool(rounding.latents), _scales(problem)
    latents, first, second = (np.array(a) for a in (state.latents, *state.latent_moments))
    square, bit, latent_step = (float(a) for a in (*scales, problem.price.step))
    used, slopes = np.rint(latents * np.float32(GAIN)) * layout.mask, latents
    change, moments = state.change, state.change_moments
    networks = _used_flat(problem.prior, change, rounding.sizes)
    begin, age = int(state.step), int(state.age)
    for i in range(STEPS_AT_ONCE):
        done = min((begin + i) / n_steps, 1.0)
        falling = 0.5 * (1 + math.cos(math.pi * done))
        if not last:
            used, slopes = compiled.smooth(latents, GAIN, *_disturbance(done), begin + i)
        costs, by_networks, by_used = compiled.cost(np.asarray(networks), used, target, latent_step, bit / square)
        change, moments, networks = _networks_step(
            change, moments, by_networks, age + i, rates[1] * falling, problem.penalty, scales, problem.prior,
            rounding.sizes,
        )  # fmt: skip
        if not last:
            compiled.descend(
                latents, (first, second), by_used, slopes, square, rates[0] * falling, DECAYS_LATENTS, age + i, EPSILON
            )
    counts = jnp.int32(begin + STEPS_AT_ONCE), jnp.int32(age + STEPS_AT_ONCE)
    found = jnp.array([costs[0] * square, costs[1] * bit / float(problem.price.weight)], jnp.float32)
    return State(change, latents, moments, Moments(first, second), *counts), found
