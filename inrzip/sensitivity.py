"""How much each parameter array matters: what the quantiser needs to choose its steps."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from .examples import Examples

N_BATCHES = 8
MAX_ITEMS = 4096
"""Points of a batch used; more would only average more of the same."""


@eqx.filter_jit
def _squared_gradients(module: Any, inputs: Array, key: PRNGKeyArray) -> PyTree[Array]:
    def project(module: Any) -> Array:
        outputs = module.predict(inputs)
        return jnp.sum(outputs * jax.random.rademacher(key, outputs.shape, jnp.float32)) / jnp.sqrt(outputs.size)

    return jax.tree.map(lambda g: jnp.mean(g * g), eqx.filter_grad(project)(module))


def sensitivities(module: eqx.Module, examples: Examples, seed: int = 0) -> list[float]:
    """For each parameter array, the mean squared change of the output for a unit squared change of one of its elements.

    This is the mean diagonal of the Gauss-Newton matrix J^T J / n, estimated as the expected square of J^T r for random
    signs r (Hutchinson's estimator).
    """
    total: list[float] = []
    for i in range(N_BATCHES):
        key = jax.random.fold_in(jax.random.key(seed), i)
        inputs, _ = examples.batch(key, jnp.int32(i))
        squares = [float(g) for g in jax.tree.leaves(_squared_gradients(module, inputs[:MAX_ITEMS], key))]
        total = [a + b for a, b in zip(total or [0.0] * len(squares), squares, strict=True)]
    return [t / N_BATCHES for t in total]
