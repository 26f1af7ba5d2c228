"""From patches of signals to rounded latents of a modulated network: descent from 0, as in COIN++ and VC-INR.

A step goes down the gradient of the squared error, divided by what the prior knows of each latent's curvature, and of
what latents cost. In the last part of a fit the network sees latents rounded, and the cheapest that it comes to is
kept: squared error plus lambda times bits. All patches are fitted side by side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from inrzip.architectures import modulated_network as network
from inrzip.architectures.modulated_network import Layout, Shared
from inrzip.codecs.relative_entropy import SCALES_PER_OCTAVE
from inrzip.priors.modulation_prior import ModulationPrior, step_size

from .modulation_payload import Coded

LAMBDA_OF_STEP = 0.14
"""Squared error that a bit is worth, over the square of the step: what uniform quantisation trades."""
DEAD = 0.1
"""By so much of a step what rounds to 0 reaches farther than half a step."""
STEP_RATE, IMPATIENCE = 0.4, 0.2
"""Of Newton's step, and what is kept of the last."""
GROWTH = (1.02, 1.5)
"""Where the squared error grows by more, while bits cost nothing and while they do, a patch goes back, and on in steps
half as long: far from usual patches the network bends more than the prior knows.
"""
PLAIN_SHARE, SMOOTH_SHARE = 0.35, 0.35
"""Of all steps: those of least squares, those with the cost of bits but without rounding. The others round."""
STEPS_AT_ONCE = 4
BATCHES = (1, 8, 32)
"""Patches that are fitted side by side: few numbers, so that few programs are compiled."""

Watch = Callable[[float, str], bool]
"""Is told how much is done and a remark; true: what is left is to be hurried."""


def lambda_of(delta: Any) -> Any:
    """Squared error of a patch, of samples from 0 to 1, that a bit is worth with this step."""
    return LAMBDA_OF_STEP * delta**2


def rounded(latents: Any, delta: Any, xp: ModuleType) -> Any:
    """Latents as multiples of the step."""
    units = xp.abs(latents) / delta
    return xp.sign(latents) * xp.where(units < 0.5 + DEAD, 0, xp.floor(units + 0.5)) * delta


def bits_of(latents: Any, delta: Any, spreads: Any) -> Array:
    """What latents take, under Laplace's curve of this mean absolute value; continuous, so that it can be descended."""
    half = delta / (2 * spreads)
    places = jnp.abs(latents) / spreads
    inner = jnp.minimum(places, half)
    within = -jnp.log2(1 - (jnp.exp(inner - half) + jnp.exp(-inner - half)) / 2)
    beyond = (places - half) / jnp.log(2.0) - jnp.log2((1 - jnp.exp(-2 * half)) / 2)
    return jnp.asarray(jnp.where(jnp.abs(latents) < delta / 2, within, beyond))


def push(latents: Any, delta: Any, spreads: Any) -> Array:
    """Half of lambda times the slope of `bits_of`, about, but no more than a quarter of the step."""
    slope = jnp.minimum(LAMBDA_OF_STEP * delta**2 / (2 * jnp.log(2.0) * spreads), delta / 4)
    return jnp.asarray(slope * jnp.clip(2 * latents / delta, -1, 1))


class State(NamedTuple):
    """Arrays of one row for each patch. `best`: rounded latents of the least cost so far, `least`. `before`: where it
    was, with the squared error `last`. `rate`: of its steps.
    """

    latents: Array
    speed: Array
    before: Array
    last: Array
    rate: Array
    best: Array
    least: Array


def encode_patches(
    prior: ModulationPrior,
    targets: Float[ndarray, "patches samples channels"],
    inside: Float[ndarray, "patches samples"],
    step: int,
    steps: int,
    watch: Watch,
) -> list[Coded]:
    """Codes patches with latents in a step, in so many steps of descent. They know nothing of each other."""
    coded: list[Coded] = []
    for first in range(0, len(targets), BATCHES[-1]):
        part = slice(first, min(first + BATCHES[-1], len(targets)))

        def told(done: float, part: slice = part) -> bool:
            return watch((part.start + done * (part.stop - part.start)) / len(targets), "")

        coded += _encode_some(prior, targets[part], inside[part], step, steps, told)
    return coded


def _encode_some(
    prior: ModulationPrior, targets: ndarray, inside: ndarray, step: int, steps: int, told: Callable[[float], bool]
) -> list[Coded]:
    size, n = next(size for size in BATCHES if size >= len(targets)), len(targets)
    extra = [np.repeat(array[-1:], size - n, 0) for array in (targets, inside)]
    targets, inside = (np.concatenate(each).astype(np.float32) for each in zip((targets, inside), extra, strict=True))
    delta, spreads = np.float32(step_size(step)), prior.spreads_at(step).astype(np.float32)
    shared: Shared = jax.tree.map(jnp.asarray, prior.shared)
    rates = np.exp2(-np.maximum(prior.stiffness, -2 * SCALES_PER_OCTAVE) / SCALES_PER_OCTAVE).astype(np.float32)
    zeros = jnp.zeros((size, prior.layout.n_latents))
    far, ones = jnp.full(size, jnp.inf), jnp.ones(size)
    state = State(zeros, zeros + 0, zeros + 0, far, ones, zeros + 0, far + 0)  # + 0: of its own, as each is donated
    calls = max(3, round(steps / STEPS_AT_ONCE))
    plain, smooth = (max(1, round(share * calls)) for share in (PLAIN_SHARE, SMOOTH_SHARE))
    groups, hurried = np.zeros(size, np.int64), False
    for call in range(calls):
        phase = 0 if call < plain else 1 if call < plain + smooth else 2
        if hurried and call not in (plain, calls - 1):
            continue
        if call >= plain:
            groups = cheapest_class(state.latents, delta, spreads)
        state = _advance(
            prior.layout, shared, jnp.asarray(targets), jnp.asarray(inside), state, delta, spreads[groups], rates,
            jnp.asarray([phase > 0, phase > 1], jnp.float32),
        )  # fmt: skip
        hurried = told((call + 1) / calls)
    integers = np.rint(np.asarray(state.best) / delta).astype(np.int64)
    groups = cheapest_class(state.best, delta, spreads)
    integers[prior.scales_at(step)[groups] < 0] = 0
    return [Coded(int(groups[i]), integers[i]) for i in range(n)]


def cheapest_class(latents: Array, delta: np.float32, spreads: Float[ndarray, "classes latents"]) -> Int[ndarray, " n"]:
    """The class that each patch takes the fewest bits in."""
    costs = np.stack([np.asarray(bits_of(latents, delta, own).sum(1)) for own in spreads])
    return np.asarray(np.argmin(costs, 0))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def _advance(
    layout: Layout, shared: Shared, targets: Array, inside: Array, state: State, delta: Array, spreads: Array,
    rates: Array, phase: Array,
) -> State:  # fmt: skip
    """A few steps. `phase`: whether bits cost anything, whether latents are rounded."""

    def squares(latents: Array) -> Array:
        errors = (network.evaluate(layout, shared, latents, jnp) - targets) ** 2
        return jnp.asarray((errors.sum(2) * inside).sum(1))

    def advance(state: State, _: None) -> tuple[State, None]:
        coarse = rounded(state.latents, delta, jnp)
        used = jnp.where(phase[1] > 0, coarse, state.latents)
        errors, back = jax.vjp(squares, used)
        slope = back(jnp.ones_like(errors))[0] / 2
        slope = slope + (state.latents - used) / rates  # what it is, about, where nothing is rounded
        slope = slope + phase[0] * push(state.latents, delta, spreads)
        cost = errors + lambda_of(delta) * bits_of(coarse, delta, spreads).sum(1)
        better = (phase[1] > 0) & (cost < state.least)
        limit = jnp.where(phase[1] > 0, jnp.inf, jnp.where(phase[0] > 0, GROWTH[1], GROWTH[0]))
        back_again = (phase[1] == 0) & ~(errors <= limit * state.last)
        rate = jnp.where(back_again, state.rate / 2, state.rate)
        speed = IMPATIENCE * state.speed - STEP_RATE * rate[:, None] * rates * slope
        speed = jnp.where(back_again[:, None], 0.0, speed)
        return State(
            jnp.where(back_again[:, None], state.before, state.latents + speed), speed,
            jnp.where(back_again[:, None], state.before, state.latents),
            jnp.where(back_again, state.last, errors), rate,
            jnp.where(better[:, None], coarse, state.best), jnp.where(better, cost, state.least),
        ), None  # fmt: skip

    found, _ = jax.lax.scan(advance, state, None, length=STEPS_AT_ONCE)
    return State(*found)
