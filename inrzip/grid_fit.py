"""Fitting latents and networks to a picture: gradient descent on squared error + price * bits.

Latents are rounded smoothly and disturbed by noise while fitting (Agustsson and Theis, 2020; Kim et al., C3, 2024;
Blard et al., Cool-Chic 5), more and more like true rounding. A last phase fits the networks only, rounded as they will
be in the file, to latents that are rounded for good.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from inrzip.architectures.grid_kernels import kernels
from inrzip.architectures.grid_layout import Networks, flat, unflat
from inrzip.architectures.grid_training import Atlas, Layout

from .descent import Moments, Soap, adam_start, soap, soap_start, turned

GAIN = 16.0
"""What is fitted is a latent over this: Adam's steps are then of a sensible size for latents and networks alike."""
PEAK_LATENTS = 1e-2
PEAK_NETWORKS, PEAK_FROM = 1e-2, 400
"""The peak of fits of so many steps and more; shorter ones must go more slowly."""
CLIP_NETWORKS = 0.1
TEMPERATURE = (0.35, 0.08)
NOISE = (0.22, 0.15)
"""From the first step to the last."""
LAST_PHASE, MOST_LAST = 0.1, 500
"""Steps of the last phase, as a part of the others, and at most."""
PEAK_LAST = 3e-4
STEPS_AT_ONCE = 20
LEAST_STEP = 1e-12
WARMING, MOST_WARMING = 0.1, 50
"""The part of a fit, and at most how many steps, in which rates rise from zero: the first steps of SOAP are wild."""
PRICED_AS = 256
"""Bits of smaller pictures are as cheap as if they had so many pixels: one pixel would not be worth its colour."""
SHORT = 600
"""Fits of fewer steps have a shorter memory of latents' gradients."""
DECAYS_SHORT, DECAYS_LATENTS, DECAYS_NETWORKS = (0.725, 0.97), (0.9, 0.999), (0.95, 0.95)


Samples = Float[Array, "channels rows columns"] | Float[ndarray, "channels rows columns"]


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

    latents: bool
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
    target: Samples
    price: Price


def network_peak(n_steps: int) -> float:
    """The largest learning rate of networks in a fit of so many steps."""
    return PEAK_NETWORKS * min(1.0, math.sqrt(n_steps / PEAK_FROM))


def last_steps(n_steps: int) -> int:
    """Steps of the last phase of a fit of so many."""
    return max(STEPS_AT_ONCE, min(round(LAST_PHASE * n_steps), MOST_LAST))


def start(prior: Networks, latents: Atlas) -> State:
    """The state before the first step: networks as the prior's, `latents` (in whole units) as given."""
    change, scaled = jax.tree.map(lambda mean: np.zeros(mean.shape, np.float32), prior), latents / GAIN
    return State(change, scaled, soap_start(change), adam_start(scaled), jnp.int32(0), jnp.int32(0))


def rounded(state: State) -> Atlas:
    """The latents as whole numbers."""
    return jnp.round(state.latents * GAIN)


def _in_steps(change: ndarray, size: ndarray) -> ndarray:
    """Changes rounded to steps, where there is one."""
    safe = np.maximum(size, np.float32(LEAST_STEP))
    rounded: ndarray = np.where(size > 0, np.round(change / safe) * safe, change)
    return rounded


def disturbance(done: float) -> tuple[float, float]:
    """The temperature of rounding and the deviation of noise, `done` (0 to 1) through a fit."""
    temperature, sigma = (first + (last - first) * done for first, last in (TEMPERATURE, NOISE))
    return temperature, sigma


class Scales(NamedTuple):
    """What makes costs of all samples and pixels into mean ones: of a squared error, and of a bit, which is worth so
    much mean squared error.
    """

    square: float
    bit: float


def _scales(problem: Problem) -> Scales:
    n_pixels = problem.target.shape[1] * problem.target.shape[2]
    return Scales(1 / problem.target.size, float(problem.price.weight) / max(n_pixels, PRICED_AS))


def _used(prior: Networks, change: Networks, sizes: Networks) -> Float[ndarray, " parameters"]:
    """The networks that are evaluated, one parameter after the other."""
    return flat(jax.tree.map(lambda mean, c, size: mean + _in_steps(c, size), prior, change, sizes))


def _networks_step(
    change: Networks, moments: Soap, by_networks: ndarray, age: int, rate: float, penalty: Networks, scales: Scales
) -> tuple[Networks, Soap]:
    """A step of the networks, in NumPy. A change is also drawn to zero, where it costs no bits. Rounding has the
    gradient of the identity.
    """
    by_change = jax.tree.map(lambda g: g * scales.square, unflat(by_networks, len(change.narrow)))
    norm = math.sqrt(sum(float(np.vdot(g, g)) for g in jax.tree.leaves(by_change)))
    shrink = CLIP_NETWORKS / max(norm, CLIP_NETWORKS)
    by_change = jax.tree.map(lambda g, c, p: g * shrink + p * scales.bit * np.tanh(c * 1e3), by_change, change, penalty)
    move, moments = soap(by_change, moments, age, DECAYS_NETWORKS)
    return jax.tree.map(lambda c, m: c - rate * m, change, move), moments


def run(
    layout: Layout,
    problem: Problem,
    state: State,
    n_steps: int,
    rounding: Rounding,
    rates: tuple[float, float],
    free: Float[ndarray, "rows columns"] | None = None,
) -> tuple[State, tuple[float, float]]:
    """`STEPS_AT_ONCE` steps of a fit of `n_steps`; `rates`: the peaks of latents and of networks; `free`: 1 for latents
    that may change, 0 for others. Returns the mean squared error and bits per pixel of the last one. The state's arrays
    are given away.
    """
    compute, scales = kernels(layout, len(problem.target)), _scales(problem)
    latent_step = float(problem.price.step)
    begin, age, changing = int(state.step), int(state.age), not rounding.latents
    decays, warming = DECAYS_SHORT if n_steps < SHORT else DECAYS_LATENTS, min(WARMING * n_steps, MOST_WARMING)
    latents, first, second = (compute.owned(array) for array in (state.latents, *state.latent_moments))
    used: Any = latents if changing else rounded(state) * layout.mask
    slopes, latent_moments = latents, (first, second)
    prior, penalty, sizes, change = jax.tree.map(
        np.asarray, (problem.prior, problem.penalty, rounding.sizes, state.change)
    )
    moments: Soap = jax.tree.map(np.asarray, turned(state.change_moments))
    for i in range(STEPS_AT_ONCE):
        done = min((begin + i) / n_steps, 1.0)
        falling = 0.5 * (1 + math.cos(math.pi * done)) * min(1.0, (begin + i + 1) / (warming + 1))
        if changing:
            used, slopes = compute.smooth(latents, GAIN, *disturbance(done), begin + i)
        costs, by_networks, by_used = compute.cost(
            _used(prior, change, sizes), used, problem.target, latent_step, scales.bit / scales.square
        )
        change, moments = _networks_step(
            change, moments, np.asarray(by_networks), age + i, rates[1] * falling, penalty, scales
        )
        if changing:
            by_used = by_used if free is None else by_used * free
            latents, latent_moments = compute.descend(
                latents, latent_moments, by_used, slopes, rates[0] * falling, decays, age + i
            )
    counts = jnp.int32(begin + STEPS_AT_ONCE), jnp.int32(age + STEPS_AT_ONCE)
    state = State(change, jnp.asarray(latents), moments, Moments(*map(jnp.asarray, latent_moments)), *counts)
    return state, (float(costs[0]) * scales.square, float(costs[1]) / math.prod(layout.shape))
