"""How much each parameter array matters: what the quantiser needs to choose its steps."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from inrzip.architectures.base import Representation, parameters

from .examples import Examples

N_BATCHES = 8
MAX_ITEMS = 4096
"""Points of a batch used; more would only average more of the same."""


@eqx.filter_jit
def _squared_gradients(module: Representation, inputs: Array, key: PRNGKeyArray) -> list[Array]:
    """The squared gradient of a random projection of the output, by each element of each parameter array."""

    def project(module: Representation) -> Array:
        outputs = module.predict(inputs)
        return jnp.sum(outputs * jax.random.rademacher(key, outputs.shape, jnp.float32)) / jnp.sqrt(outputs.size)

    return [gradient * gradient for gradient in jax.tree.leaves(eqx.filter_grad(project)(module))]


def element_sensitivities(
    module: Representation, examples: Examples, n_batches: int, seed: int = 0
) -> list[Float[np.ndarray, "..."]]:
    """For each element of each parameter array, the mean squared change of the output for a unit squared change of it.

    This is the diagonal of the Gauss-Newton matrix J^T J / n, estimated as the expected square of J^T r for random
    signs r (Hutchinson's estimator). Estimates of single elements are noisy; means over many are what to use.
    """
    total = [np.zeros(leaf.shape) for leaf in parameters(module)]
    for i in range(n_batches):
        key = jax.random.fold_in(jax.random.key(seed), i)
        inputs, _ = examples.items(examples.choose(key, jnp.int32(i)))
        for sums, squares in zip(total, _squared_gradients(module, inputs[:MAX_ITEMS], key), strict=True):
            sums += np.asarray(squares, np.float64) / n_batches
    return total


def sensitivities(module: Representation, examples: Examples, seed: int = 0) -> list[float]:
    """For each parameter array, the mean of its `element_sensitivities`; 0 for an empty one."""
    elements = element_sensitivities(module, examples, N_BATCHES, seed)
    return [float(array.mean()) if array.size else 0.0 for array in elements]
