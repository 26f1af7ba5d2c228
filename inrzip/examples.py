"""What a network is fitted to: mini-batches drawn from a segment's samples inside the compiled training loop."""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped


class Examples(eqx.Module):
    """A data set of `size` items from which `batch` draws."""

    batch_size: eqx.AbstractVar[int]
    compiled_loop: eqx.AbstractClassVar[bool]
    """Whether many steps are compiled as one loop (see `inrzip.fitting`)."""

    def batch(self, key: PRNGKeyArray, step: Int[Array, ""]) -> tuple[Array, Array]:
        """(inputs, targets) of one step. Inputs are what `predict` of the representation takes."""
        raise TypeError


class GridPoints(Examples):
    """Random samples of a grid. Positions are computed from the index, so that memory is that of the samples."""

    samples: Shaped[Array, "points channels"]
    offset: Float[Array, ""]
    gain: Float[Array, ""]
    shape: tuple[int, ...] = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    compiled_loop: ClassVar[bool] = True

    def __init__(self, samples: Shaped[np.ndarray, "*grid channels"], low: float, high: float, batch_size: int):
        self.shape = samples.shape[:-1]
        if samples.dtype.itemsize > 2:  # wide types are normalised in double precision, beforehand
            samples, low, high = ((samples.astype(np.float64) - low) / ((high - low) or 1)).astype(np.float32), 0.0, 1.0
        self.samples = jnp.asarray(samples.reshape(-1, samples.shape[-1]))
        self.offset = jnp.float32(low)
        self.gain = jnp.float32(1 / ((high - low) or 1))
        self.batch_size = min(batch_size, self.samples.shape[0])

    def batch(self, key: PRNGKeyArray, step: Int[Array, ""]) -> tuple[Array, Array]:
        index = jax.random.randint(key, (self.batch_size,), 0, self.samples.shape[0])
        positions = jnp.stack(jnp.unravel_index(index, self.shape), axis=-1).astype(jnp.float32)
        return positions, (self.samples[index].astype(jnp.float32) - self.offset) * self.gain


class ScatteredPoints(Examples):
    """Random items of a list of (position, value) pairs: a shape's signed distances."""

    positions: Float[Array, "points dims"]
    values: Float[Array, "points channels"]
    batch_size: int = eqx.field(static=True)
    compiled_loop: ClassVar[bool] = True

    def __init__(self, positions: Float[np.ndarray, "points dims"], values: Float[np.ndarray, "points channels"], batch_size: int):
        self.positions = jnp.asarray(positions, jnp.float32)
        self.values = jnp.asarray(values, jnp.float32)
        self.batch_size = min(batch_size, len(values))

    def batch(self, key: PRNGKeyArray, step: Int[Array, ""]) -> tuple[Array, Array]:
        index = jax.random.randint(key, (self.batch_size,), 0, self.values.shape[0])
        return self.positions[index], self.values[index]


class Frames(Examples):
    """Whole frames, each once in every epoch, in random order."""

    samples: Shaped[Array, "frames height width channels"]
    offset: Float[Array, ""]
    gain: Float[Array, ""]
    epoch_key: PRNGKeyArray
    batch_size: int = eqx.field(static=True)
    compiled_loop: ClassVar[bool] = False

    def __init__(self, samples: Shaped[np.ndarray, "frames height width channels"], low: float, high: float, batch_size: int, seed: int):
        self.samples = jnp.asarray(samples)
        self.offset = jnp.float32(low)
        self.gain = jnp.float32(1 / ((high - low) or 1))
        self.epoch_key = jax.random.key(seed)
        self.batch_size = min(batch_size, samples.shape[0])

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.samples.shape[0] // self.batch_size)

    def batch(self, key: PRNGKeyArray, step: Int[Array, ""]) -> tuple[Array, Array]:
        n = self.samples.shape[0]
        epoch, place = step // self.steps_per_epoch, step % self.steps_per_epoch
        order = jax.random.permutation(jax.random.fold_in(self.epoch_key, epoch), n)
        index = order[(place * self.batch_size + jnp.arange(self.batch_size)) % n]
        return index.astype(jnp.float32), (self.samples[index].astype(jnp.float32) - self.offset) * self.gain
