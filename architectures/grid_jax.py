"""The steps of a fit of latent grids in JAX, as `architectures.grid_kernels` has them in compiled code."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from inrzip.descent import Moments, adam

from .grid_layout import Networks, unflat
from .grid_training import Atlas, Layout, cost_and_gradients, soft_round


class JaxKernels:
    """Costs, gradients and steps for pictures of a layout. What comes out are arrays of JAX."""

    def __init__(self, layout: Layout, channels: int) -> None:
        self._layout, self._channels = layout, channels
        self._mask = jnp.asarray(layout.mask)

    def owned(self, array: Atlas) -> Atlas:
        """An array that `descend` may change: arrays of JAX never change."""
        return array

    def cost(
        self,
        networks: Float[Array, " parameters"],
        latents: Atlas,
        target: Float[Array, "channels rows columns"],
        step: float,
        price: float,
    ) -> tuple[Float[Array, " 2"], Float[Array, " parameters"], Atlas]:
        """`grid_training.cost_and_gradients`, of parameters that lie one after the other in coding order: squares and
        bits, and the gradients by parameters and by latents. Those between the grids mean nothing.
        """
        found: tuple[Array, Array, Atlas] = _cost(
            self._layout, self._channels, networks, latents, target, jnp.float32(step), jnp.float32(price)
        )
        return found

    def smooth(self, latents: Atlas, gain: float, temperature: float, sigma: float, seed: int) -> tuple[Atlas, Atlas]:
        """Latents (times `gain`) made nearly whole, disturbed by normal noise of deviation `sigma`, and made nearly
        whole once more (Agustsson and Theis, 2020); and the slope of all that.
        """
        found: tuple[Atlas, Atlas] = _smooth(self._mask, latents, gain, temperature, sigma, seed)
        return found

    def descend(
        self,
        latents: Atlas,
        moments: tuple[Atlas, Atlas],
        gradient: Atlas,
        slopes: Atlas,
        rate: float,
        decays: tuple[float, float],
        age: int,
    ) -> tuple[Atlas, tuple[Atlas, Atlas]]:
        """A step of Adam for `gradient` times `slopes`; `age` counts steps from 0. What is given may be changed."""
        found: tuple[Atlas, tuple[Atlas, Atlas]] = _descend(latents, moments, gradient * slopes, rate, decays, age)
        return found


@functools.partial(jax.jit, static_argnums=(0, 1))
def _cost(
    layout: Layout, channels: int, networks: Array, latents: Atlas, target: Array, step: Array, price: Array
) -> tuple[Array, Array, Atlas]:
    cost, by_networks, by_latents = cost_and_gradients(layout, unflat(networks, channels), latents, target, step, price)
    return jnp.stack(cost), joined(by_networks), by_latents


def joined(networks: Networks) -> Float[Array, " parameters"]:
    """`grid_layout.flat` within compiled programs."""
    return jnp.concatenate([array.ravel() for array in jax.tree.leaves(networks)])


@jax.jit
def _smooth(
    mask: Atlas, latents: Atlas, gain: Array, temperature: Array, sigma: Array, seed: Array
) -> tuple[Atlas, Atlas]:
    noise = sigma * jax.random.normal(jax.random.key(seed), latents.shape)

    def smooth(y: Atlas) -> Atlas:
        return mask * soft_round(soft_round(y * gain, temperature) + noise, temperature)

    value, back = jax.vjp(smooth, latents)
    return value, back(jnp.ones_like(value))[0]


@jax.jit
def _descend(
    latents: Atlas,
    moments: tuple[Atlas, Atlas],
    gradient: Atlas,
    rate: Array,
    decays: tuple[float, float],
    age: Array,
) -> tuple[Atlas, tuple[Atlas, Atlas]]:
    move, (first, second) = adam(gradient, Moments(*moments), age, decays)
    return latents - rate * move, (first, second)
